// SPDX-License-Identifier: GPL-2.0
/* pmd_fallback: Huge zero PMDs while no THP or no table can be allocated. */

/* Every order above that of a page of page-table fragments is refused. */
#define REFUSED_ORDER	2

/*
 * A write to the huge zero PMD while no THP can be allocated: the fault splits the PMD and
 * allocates one base page.
 */
static int write_without_thp(const void *arg, struct thp_why *why)
{
	struct thp_meter meter;
	struct thp_set set;
	unsigned int i;

	(void)arg;
	TRY(thp_set_new(&set, THP_ZERO, why));
	TRY(thp_inject_any(REFUSED_ORDER, why));
	TRY(thp_meter_start(&meter, 0, why));
	TRY(thp_inject_own(true));
	for (i = 0; i < set.n; i++)
		thp_touch(set.map[i].thp);
	TRY(thp_meter_read(&meter, why));
	TRY(thp_inject_own(false));
	if (thp_meter_event(&meter, fault_fallback) <= 0)
		return thp_why(why, -EPROTO,
			       "the injector did not fire: thp_fault_fallback +0");
	TRY(thp_meter_expect(&meter, set.n * thp_tables_split(THP_ZERO), set.n,
			     "split of the huge zero PMD", why));
	TRY(thp_map_expect(&set.map[0], THP_STATE_PTE, why));
	if (thp_peek(set.map[0].thp) != 1)
		return thp_why(why, -EPROTO, "the written byte is lost");
	*set.map[0].thp = 0;
	return thp_check_zero(set.map[0].thp, thp_env.nr, why);
}

THP_COVERS(pmd, zero_write_fallback, "zero-write-fallback");
TEST_F(pmd, zero_write_fallback)
{
	(void)self;
	THP_NEEDS(THP_NEED_ZERO | THP_NEED_FAIL_NTH);
	THP_SCENARIO(write_without_thp, NULL);
}

/*
 * No huge zero folio exists, and none can be allocated: the fault maps a base page, with
 * its table. An eager kernel frees the table that it had allocated for the deposit.
 */
static int read_without_zero(const void *arg, struct thp_why *why)
{
	struct thp_meter meter;
	enum thp_state state;
	struct thp_set set;
	unsigned int i;

	(void)arg;
	TRY(thp_set_create(&set, THP_ZERO, why));
	TRY(thp_inject_any(REFUSED_ORDER, why));
	/* The kernel frees it when no process maps it. */
	TRY(thp_write_file("/proc/sys/vm/drop_caches", "2"));
	TRY(thp_meter_start(&meter, 0, why));
	TRY(thp_inject_own(true));
	for (i = 0; i < set.n; i++)
		(void)thp_peek(set.map[i].thp);
	TRY(thp_meter_read(&meter, why));
	TRY(thp_inject_own(false));
	TRY(thp_obs_state(set.map[0].thp, thp_env.pmd, &state));
	if (state == THP_STATE_PMD_ZERO && !thp_inject_fired())
		return thp_skip(why, "needs a huge zero folio that nobody else uses");
	if (thp_meter_event(&meter, fault_fallback) <= 0)
		return thp_why(why, -EPROTO, "thp_fault_fallback +0, expected +%u", set.n);
	if (state != THP_STATE_PTE)
		return thp_why(why, -EPROTO, "range is %s, expected PTE-mapped",
			       thp_state_name(state));
	TRY(thp_meter_expect(&meter, set.n, 0, "fallback to a base page", why));
	return thp_check_zero(set.map[0].thp, thp_env.nr, why);
}

THP_COVERS(pmd, zero_fallback, "fault-zero");
TEST_F(pmd, zero_fallback)
{
	(void)self;
	THP_NEEDS(THP_NEED_ZERO | THP_NEED_FAIL_NTH | THP_NEED_ROOT);
	THP_SCENARIO(read_without_zero, NULL);
}
