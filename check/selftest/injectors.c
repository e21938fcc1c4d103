// SPDX-License-Identifier: GPL-2.0
/* Injectors make the selected allocations fail, and no others. */

TEST_F(oracle, memcg_limit)
{
	struct thp_why why = { 0 };
	long long usage;

	THP_NEEDS(THP_NEED_MEMCG);
	THP_REQUIRE_OK(thp_cg_create(&self->cg, "selftest", &why), &why);
	usage = thp_cg_usage(&self->cg);
	THP_CHECK(usage >= 0, "usage: %lld", usage);
	THP_CHECK_OK(thp_cg_limit(&self->cg, 0), &why);
	THP_CHECK_OK(thp_cg_limit(&self->cg, THP_CG_MAX), &why);
	THP_CHECK(thp_cg_stat(&self->cg, "no_such_field") == -ENOENT, "an unknown field passed");
}

/* An injector that is set up but refuses nothing reports no failure. */
TEST_F(oracle, injector_silent)
{
	struct thp_why why = { 0 };

	THP_NEEDS(THP_NEED_FAIL_PAGE);
	THP_REQUIRE_OK(thp_inject_tables(&why), &why);
	THP_CHECK(!thp_inject_fired(), "%ld failures before anything failed", thp_inject_fired());
	THP_REQUIRE_OK(thp_inject_own(true), &why);
	getppid();
	THP_REQUIRE_OK(thp_inject_own(false), &why);
	THP_CHECK(!thp_inject_fired(), "%ld failures of getppid()", thp_inject_fired());
}

/* ... and hits what it aims at: mlock() of a range that has no table yet. */
TEST_F(oracle, injector_hits)
{
	struct thp_map *m = &self->map;
	struct thp_why why = { 0 };
	size_t table = thp_env.table;
	int ret;

	THP_NEEDS(THP_NEED_FAIL_PAGE | THP_NEED_POPULATE);
	THP_REQUIRE_OK(thp_map_create(m, THP_SMALL, &why), &why);
	THP_REQUIRE_OK(thp_inject_tables(&why), &why);
	THP_REQUIRE_OK(thp_inject_own(true), &why);
	ret = madvise(m->thp, thp_env.page, MADV_POPULATE_WRITE) ? -errno : 0;
	THP_REQUIRE_OK(thp_inject_own(false), &why);
	THP_CHECK(ret == -ENOMEM, "MADV_POPULATE_WRITE without a table: %s, expected ENOMEM",
		  thp_errno_name(ret));
	THP_CHECK(thp_inject_fired() == 1, "%ld failures, expected 1", thp_inject_fired());
	/* What uses up the rest of a page, if pages are made of several tables, is no failure. */
	thp_env.table = thp_env.page / 4;
	THP_CHECK_OK(thp_inject_self(&why), &why);
	thp_env.table = table;
	THP_REQUIRE_OK(thp_inject_own(false), &why);
	THP_CHECK(thp_inject_fired() == 1, "%ld failures with those of thp_inject_drain()",
		  thp_inject_fired());
}
