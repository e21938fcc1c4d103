// SPDX-License-Identifier: GPL-2.0
/*
 * pmd_fallback: Huge zero PMDs where no THP or no table can be had.
 */

/*
 * The huge zero PMD is written to and no THP can be had: the fault falls back to
 * splitting the PMD and one base page.
 */
THP_COVERS(pmd, zero_write_fallback, "zero-write-fallback");
TEST_F(pmd, zero_write_fallback)
{
	struct thp_map *m = &self->set.map[0];
	struct thp_why why = { 0 };
	struct thp_events e0, e1;
	unsigned int i;
	long long a, b;

	THP_NEEDS(THP_NEED_ZERO | THP_NEED_FAIL_NTH);
	THP_REQUIRE_OK(thp_set_create(&self->set, THP_ZERO, &why), &why);
	THP_REQUIRE_OK(thp_set_fault(&self->set, &why), &why);
	/* Every order above that of a page-table fragment page. */
	THP_REQUIRE_OK(thp_inject_setup(false, 2, &why), &why);
	a = thp_obs_vmpte(0);
	THP_REQUIRE_OK(thp_inject_task(getpid(), true), &why);
	thp_obs_events(&e0);
	for (i = 0; i < thp_env.unit; i++)
		thp_touch(self->set.map[i].thp);
	thp_obs_events(&e1);
	b = thp_obs_vmpte(0);
	THP_REQUIRE_OK(thp_inject_task(getpid(), false), &why);
	THP_CHECK(e1.fault_fallback > e0.fault_fallback,
		  "the injector did not fire: thp_fault_fallback +0");
	THP_CHECK(e1.split_pmd - e0.split_pmd == thp_env.unit,
		  "thp_split_pmd %+lld, expected +%u", (long long)(e1.split_pmd - e0.split_pmd),
		  thp_env.unit);
	THP_CHECK_OK(thp_map_expect(m, THP_STATE_PTE, &why), &why);
	THP_CHECK_OK(expect_tables("split of the huge zero PMD", b - a,
				   thp_tables_split(THP_ZERO), &why), &why);
	THP_CHECK(thp_peek(m->thp) == 1, "the written byte is lost");
	*m->thp = 0;
	THP_CHECK_OK(thp_check_zero(m->thp, thp_env.nr, &why), &why);
}

/*
 * There is no huge zero folio to map, and none can be had: a base page, with its table.
 * What an eager kernel had allocated for the deposit is freed.
 */
THP_COVERS(pmd, zero_fallback, "fault-zero");
TEST_F(pmd, zero_fallback)
{
	struct thp_map *m = &self->set.map[0];
	struct thp_why why = { 0 };
	struct thp_events e0, e1;
	enum thp_state state;
	unsigned int i;
	long long a, b;

	THP_NEEDS(THP_NEED_ZERO | THP_NEED_FAIL_NTH | THP_NEED_ROOT);
	THP_REQUIRE_OK(thp_set_create(&self->set, THP_ZERO, &why), &why);
	THP_REQUIRE_OK(thp_inject_setup(false, 2, &why), &why);
	/* It is freed when nobody has it mapped. */
	THP_REQUIRE_OK(thp_write_file("/proc/sys/vm/drop_caches", "2"), &why);
	a = thp_obs_vmpte(0);
	THP_REQUIRE_OK(thp_inject_task(getpid(), true), &why);
	thp_obs_events(&e0);
	for (i = 0; i < thp_env.unit; i++)
		(void)thp_peek(self->set.map[i].thp);
	thp_obs_events(&e1);
	b = thp_obs_vmpte(0);
	THP_REQUIRE_OK(thp_inject_task(getpid(), false), &why);
	THP_REQUIRE_OK(thp_obs_state(m->thp, thp_env.pmd, &state), &why);
	if (state == THP_STATE_PMD_ZERO && !thp_inject_fired())
		THP_SKIP("needs a huge zero folio that nobody else uses");
	THP_CHECK(e1.fault_fallback > e0.fault_fallback, "thp_fault_fallback +0, expected +%u",
		  thp_env.unit);
	THP_CHECK(e1.split_pmd == e0.split_pmd, "thp_split_pmd %+lld, expected +0",
		  (long long)(e1.split_pmd - e0.split_pmd));
	THP_CHECK(state == THP_STATE_PTE, "range is %s, expected PTE-mapped",
		  thp_state_name(state));
	THP_CHECK_OK(expect_tables("fallback to a base page", b - a, 1, &why), &why);
	THP_CHECK_OK(thp_check_zero(m->thp, thp_env.nr, &why), &why);
}
