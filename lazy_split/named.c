// SPDX-License-Identifier: GPL-2.0
/*
 * Only what was named. MADV_FREE of one page of a THP that cannot be split leaves the THP
 * alone (madvise_free_huge_pmd()): no other page may be given to reclaim with it. Nothing
 * is to be seen of such a mistake until reclaim comes, when the reason why the THP could
 * not be split is gone.
 */

FIXTURE(named) {
	struct thp_map map;
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

/* Reclaims the range; then all pages but @page have their data, and that one or none. */
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
THP_COVERS(named, free_pinned, "folio-split-advice reclaim-lazyfree");
TEST_F(named, free_pinned)
{
	struct thp_map *m = &self->map;
	size_t page = thp_env.nr / 2;
	struct thp_why why = { 0 };
	struct iovec iov;

	THP_REQUIRE_OK(thp_map_new(m, THP_ANON, &why), &why);
	iov.iov_base = thp_page(m, 1);
	iov.iov_len = thp_env.page;
	THP_REQUIRE(!pipe2(m->pipe, O_CLOEXEC) && vmsplice(m->pipe[1], &iov, 1, 0) > 0,
		    "vmsplice: %s", strerror(errno));
	THP_REQUIRE(!madvise(thp_page(m, page), thp_env.page, MADV_FREE), "MADV_FREE: %s",
		    strerror(errno));
	THP_CHECK(!close(m->pipe[0]) && !close(m->pipe[1]), "close: %s", strerror(errno));
	m->pipe[0] = -1;
	m->pipe[1] = -1;
	THP_CHECK_OK(reclaimed_but(m, page, &why), &why);
	thp_map_destroy(m);
}

static int named_hold(struct thp_chan *chan, void *arg)
{
	struct thp_map *m = arg;

	thp_chan_post_parent(chan, 1);
	thp_chan_await_parent(chan, 2);
	return thp_map_check(m, 0, thp_env.nr, &chan->why);
}

/* Another process maps it: neither it nor, when it is gone, the caller loses anything. */
THP_COVERS(named, free_shared, "folio-split-advice reclaim-lazyfree");
TEST_F(named, free_shared)
{
	struct thp_map *m = &self->map;
	size_t page = thp_env.nr / 2;
	struct thp_why why = { 0 };

	THP_REQUIRE_OK(thp_map_new(m, THP_ANON, &why), &why);
	THP_REQUIRE_OK(thp_child_start(&m->child, named_hold, m), &why);
	THP_REQUIRE_OK(thp_child_await(&m->child, 1, THP_STEP_MS), &why);
	THP_REQUIRE(!madvise(thp_page(m, page), thp_env.page, MADV_FREE), "MADV_FREE: %s",
		    strerror(errno));
	thp_chan_post_child(m->child.chan, 2);
	THP_CHECK_OK(thp_child_join(&m->child, THP_STEP_MS, &why), &why);
	THP_CHECK_OK(reclaimed_but(m, page, &why), &why);
	thp_map_destroy(m);
}
