// SPDX-License-Identifier: GPL-2.0
/*
 * reuse: When a page may be written to in place.
 */

FIXTURE(reuse) {
	int unused;
};

FIXTURE_SETUP(reuse)
{
	thp_warm_up();
}

FIXTURE_TEARDOWN_PARENT(reuse)
{
	thp_teardown(_metadata);
}

static int after_exit(const void *arg, struct thp_why *why)
{
	struct thp_meter m;

	(void)arg;
	TRY(share(THP_ANON, 1, &m, why));
	TRY(child_sees(&thp_peers[0], THP_STATE_PMD, why));
	TRY(thp_peer_end(&thp_peers[0], why));
	TRY(sole_owner_writes("write after the child's exit", why));
	TRY(parent_sees(THP_STATE_PMD, why));
	return thp_group_finish(why);
}

THP_COVERS(reuse, after_exit, "cow-reuse");
TEST_F(reuse, after_exit)
{
	THP_SCENARIO(after_exit, NULL);
}

/* The child still runs, but has copied everything. */
static int after_copies(const void *arg, struct thp_why *why)
{
	struct thp_meter m;

	(void)arg;
	TRY(share(THP_ANON, 1, &m, why));
	TRY(thp_peer_order(&thp_peers[0], THP_ORDER_FILL, SEED_CHILD, 0, NULL, why));
	TRY(sole_owner_writes("write after the child copied all", why));
	TRY(parent_sees(THP_STATE_PMD, why));
	TRY(child_sees(&thp_peers[0], THP_STATE_PTE, why));
	TRY(thp_peer_end(&thp_peers[0], why));
	return thp_group_finish(why);
}

THP_COVERS(reuse, after_copies, "cow-reuse cow-write");
TEST_F(reuse, after_copies)
{
	THP_SCENARIO(after_copies, NULL);
}

/* A page in a pipe has another user: the parent must not write to it in place. */
static int lent_page(const void *arg, struct thp_why *why)
{
	const bool *returned = arg;
	struct iovec iov;
	unsigned int i;
	struct thp_meter m;
	int ret;

	TRY(open_pipe(why));
	TRY(thp_group_new(THP_ANON, 0, why));
	TRY(thp_peers_prepare(1, why));
	iov.iov_len = thp_env.page;
	for (i = 0; i < thp_group.n; i++) {
		iov.iov_base = thp_page(&thp_group.map[i], middle());
		if (vmsplice(pipe_fd[1], &iov, 1, 0) != (ssize_t)thp_env.page)
			return thp_why(why, -errno, "vmsplice: %s", strerror(errno));
	}
	ret = thp_meter_start(&m, 0, why);
	if (!ret)
		ret = thp_peer_start(&thp_peers[0], why);
	/* A plain reference is no pin: fork() shares the page all the same. */
	if (!ret)
		ret = thp_meter_stop(&m, 0, 0, "fork with a lent page", why);
	if (!ret)
		ret = child_sees(&thp_peers[0], THP_STATE_PMD, why);
	if (!ret)
		ret = thp_peer_end(&thp_peers[0], why);
	if (!ret && !*returned)
		ret = parent_write(middle(), SEED_PARENT, why);
	for (i = 0; i < thp_group.n && !ret; i++) {
		if (read(pipe_fd[0], buffer, thp_env.page) != (ssize_t)thp_env.page)
			return thp_why(why, -EIO, "pipe: short read");
		ret = thp_check(buffer, thp_group.map[i].seed, middle(), 1, why);
	}
	if (!ret && *returned)
		ret = sole_owner_writes("write after the page came back", why);
	return ret ? ret : thp_group_finish(why);
}

THP_COVERS(reuse, lent_page, "cow-extra-ref");
TEST_F(reuse, lent_page)
{
	const bool returned = false;

	THP_SCENARIO(lent_page, &returned);
}

THP_COVERS(reuse, returned_page, "cow-reuse");
TEST_F(reuse, returned_page)
{
	const bool returned = true;

	THP_SCENARIO(lent_page, &returned);
}
