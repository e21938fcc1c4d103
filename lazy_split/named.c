// SPDX-License-Identifier: GPL-2.0
/*
 * Only the named page. MADV_FREE of one page of a THP that cannot be split leaves the THP
 * alone (madvise_free_huge_pmd()): reclaim must not discard any other page with it. Such a
 * mistake shows only when reclaim runs later, after the THP has become splittable.
 */

FIXTURE(named) {
	int unused;	/* the harness wants data */
};

FIXTURE_SETUP(named)
{
	(void)self;
	thp_warm_up();
}

FIXTURE_TEARDOWN_PARENT(named)
{
	(void)self;
	thp_teardown(_metadata);
}

/*
 * Reclaims the range; then all pages but @page must have their data, and @page its data or
 * zeroes.
 */
static int reclaimed_but(struct thp_map *m, size_t page, struct thp_why *why)
{
	struct thp_why other = { 0 };
	int ret;

	if (madvise(m->thp, thp_env.pmd, MADV_PAGEOUT))
		return thp_why(why, -errno, "MADV_PAGEOUT: %s", strerror(errno));
	ret = thp_map_check(m, 0, page, why);
	if (!ret)
		ret = thp_map_check(m, page + 1, thp_env.nr - page - 1, why);
	if (!ret && thp_map_check(m, page, 1, &other))
		ret = thp_check_zero(thp_page(m, page), 1, why);
	return ret;
}

/* Another reference: a page of the THP waits in a pipe. */
static int free_pinned(const void *arg, struct thp_why *why)
{
	size_t page = thp_env.nr / 2;
	struct thp_map m;
	struct iovec iov;

	(void)arg;
	TRY(thp_map_new(&m, THP_ANON, why));
	iov.iov_base = thp_page(&m, 1);
	iov.iov_len = thp_env.page;
	if (pipe2(m.pipe, O_CLOEXEC) || vmsplice(m.pipe[1], &iov, 1, 0) <= 0)
		return thp_why(why, -errno, "vmsplice: %s", strerror(errno));
	if (madvise(thp_page(&m, page), thp_env.page, MADV_FREE))
		return thp_why(why, -errno, "MADV_FREE: %s", strerror(errno));
	if (close(m.pipe[0]) || close(m.pipe[1]))
		return thp_why(why, -errno, "close: %s", strerror(errno));
	m.pipe[0] = -1;
	m.pipe[1] = -1;
	TRY(reclaimed_but(&m, page, why));
	thp_map_destroy(&m);
	return 0;
}

THP_COVERS(named, free_pinned, "folio-split-advice reclaim-lazyfree");
TEST_F(named, free_pinned)
{
	(void)self;
	THP_SCENARIO(free_pinned, NULL);
}

enum named_step { NAMED_READY = 1, NAMED_FREED };

static int named_child(struct thp_chan *chan, void *arg)
{
	struct thp_map *m = arg;

	thp_chan_post_parent(chan, NAMED_READY);
	thp_chan_await_parent(chan, NAMED_FREED);
	return thp_map_check(m, 0, thp_env.nr, &chan->why);
}

/* Another process maps it: neither that process nor, after its exit, the caller loses data. */
static int free_shared(const void *arg, struct thp_why *why)
{
	size_t page = thp_env.nr / 2;
	struct thp_map m;

	(void)arg;
	TRY(thp_map_new(&m, THP_ANON, why));
	TRY(thp_child_start(&m.child, named_child, &m));
	TRY(thp_child_await(&m.child, NAMED_READY, THP_STEP_MS));
	if (madvise(thp_page(&m, page), thp_env.page, MADV_FREE))
		return thp_why(why, -errno, "MADV_FREE: %s", strerror(errno));
	thp_chan_post_child(m.child.chan, NAMED_FREED);
	TRY(thp_child_join(&m.child, THP_STEP_MS, why));
	TRY(reclaimed_but(&m, page, why));
	thp_map_destroy(&m);
	return 0;
}

THP_COVERS(named, free_shared, "folio-split-advice reclaim-lazyfree");
TEST_F(named, free_shared)
{
	(void)self;
	THP_SCENARIO(free_shared, NULL);
}
