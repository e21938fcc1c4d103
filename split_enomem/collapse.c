// SPDX-License-Identifier: GPL-2.0
/*
 * MADV_COLLAPSE and khugepaged while no PTE table can be had. A lazy kernel needs none:
 * collapse frees the table that is there. An eager one keeps that table as the deposit
 * (collapse_huge_page()), or, from Linux 7.4 on, deposits a new one, and may then have to
 * give up. Either is right: a THP and its tables, or everything as it was.
 */

FIXTURE(collapse_starved) {
	struct thp_map map;
	pid_t khugepaged;
};

FIXTURE_SETUP(collapse_starved)
{
	(void)self;
	THP_NEEDS(THP_NEED_COLLAPSE);
	thp_warm_up();
}

FIXTURE_TEARDOWN_PARENT(collapse_starved)
{
	if (self->khugepaged)
		thp_inject_task(self->khugepaged, false);
	thp_teardown(_metadata);
	thp_guard_await_khugepaged();
}

/* Base pages that may become a THP. */
static int collapse_map(struct thp_map *m, struct thp_why *why)
{
	int ret = thp_map_new(m, THP_SMALL, why);

	if (ret)
		return ret;
	return madvise(m->thp, thp_env.pmd, MADV_HUGEPAGE) ?
		thp_why(why, -errno, "MADV_HUGEPAGE: %s", strerror(errno)) : 0;
}

/* After @err of MADV_COLLAPSE: a THP, or nothing has changed; VmPTE was @tables. */
static int collapse_judge(struct thp_map *m, int err, long long tables, struct thp_why *why)
{
	long got, want = err ? 0 : thp_tables_collapse();
	int ret;

	tables = thp_obs_vmpte(0) - tables;
	ret = thp_map_expect(m, err ? THP_STATE_PTE : THP_STATE_PMD, why);
	if (!ret)
		ret = thp_map_check(m, 0, thp_env.nr, why);
	if (ret)
		return ret;
	if (err && err != -ENOMEM && err != -EAGAIN && err != -EBUSY)
		return thp_why(why, -EPROTO, "MADV_COLLAPSE: %s, expected ENOMEM or EAGAIN",
			       thp_errno_name(err));
	/* A table may be less than the 1 kB that VmPTE shows. */
	if (thp_env.table < 1024)
		return 0;
	if (!thp_env_tables(tables, &got) || got != want)
		return thp_why(why, -EPROTO,
			       "MADV_COLLAPSE: %s, %+ld tables (%+lld B), expected %+ld",
			       thp_errno_name(err), got, tables, want);
	return 0;
}

/* With memory at hand: it becomes one now. */
static int collapse_retry(struct thp_map *m, struct thp_why *why)
{
	int ret = thp_map_collapse(m);

	if (ret == -ENOMEM)
		return thp_skip(why, THP_FRAGMENTED);
	if (ret)
		return thp_why(why, ret, "MADV_COLLAPSE with memory at hand: %s",
			       thp_errno_name(ret));
	ret = thp_map_expect(m, THP_STATE_PMD, why);
	return ret ? ret : thp_map_check(m, 0, thp_env.nr, why);
}

/* Every PTE table is refused. */
THP_COVERS(collapse_starved, targeted, "collapse collapse-fails");
TEST_F_TIMEOUT(collapse_starved, targeted, 60)
{
	struct thp_map *m = &self->map;
	struct thp_why why = { 0 };
	struct thp_deadline d;
	long fired, drained;
	long long tables;
	int err;

	THP_NEEDS(THP_NEED_FAIL_PAGE);
	THP_REQUIRE_OK(thp_inject_setup(true, 0, &why), &why);
	THP_REQUIRE_OK(collapse_map(m, &why), &why);
	/* A busy page or fragmentation are no want of a table: then it is tried again. */
	thp_deadline_start(&d, 0, THP_SETTLE_MS);
	do {
		THP_REQUIRE_OK(thp_inject_task(getpid(), true), &why);
		THP_REQUIRE_OK(thp_inject_drain(-1), &why);
		drained = thp_inject_drained();
		tables = thp_obs_vmpte(0);
		err = madvise(m->thp, thp_env.pmd, MADV_COLLAPSE) ? -errno : 0;
		THP_REQUIRE_OK(thp_inject_task(getpid(), false), &why);
		fired = thp_inject_fired() - drained;
		THP_CHECK_OK(collapse_judge(m, err, tables, &why), &why);
	} while (err && !fired && !thp_deadline_over(&d));
	printf("# collapse: %s, %ld tables refused\n", thp_errno_name(err), fired);
	if (thp_env.contract == THP_LAZY)
		THP_CHECK(!fired, "MADV_COLLAPSE asked for %ld tables, expected none", fired);
	if (err && !fired)
		THP_SKIP(THP_FRAGMENTED);
	THP_REQUIRE_OK(err ? collapse_retry(m, &why) : 0, &why);
	THP_CHECK_OK(thp_map_zap(m), &why);
}

/* One allocation is refused, the first, the second, ... until none is left. */
static int collapse_sweep(struct thp_chan *chan, void *arg)
{
	struct thp_why *why = &chan->why;
	static struct thp_map m;
	int fd, nth, err, ret, fired = 1;
	long long tables;

	(void)arg;
	thp_warm_up();
	fd = thp_inject_nth_open();
	if (fd < 0)
		return thp_why(why, fd, "fail-nth: %s", thp_errno_name(fd));
	for (nth = 1; nth <= NTH_MAX && fired; nth++) {
		ret = collapse_map(&m, why);
		if (!ret)
			ret = thp_inject_drain(fd);
		tables = thp_obs_vmpte(0);
		if (!ret)
			ret = thp_inject_nth_arm(fd, nth);
		if (ret)
			return thp_why(why, ret, "setup: %s", thp_errno_name(ret));
		err = madvise(m.thp, thp_env.pmd, MADV_COLLAPSE) ? -errno : 0;
		fired = thp_inject_nth_disarm(fd);
		if (fired < 0)
			return thp_why(why, fired, "fail-nth: %s", thp_errno_name(fired));
		chan->val[0] += fired;
		ret = collapse_judge(&m, err, tables, why);
		if (!ret && err && fired)
			ret = collapse_retry(&m, why);
		if (!ret)
			ret = thp_map_zap(&m);
		thp_map_destroy(&m);
		if (ret)
			return thp_why_from(why, ret, why, "nth=%d", nth);
	}
	thp_chan_post_parent(chan, 1);
	return nth <= NTH_MAX ? 0 : thp_why(why, -EPROTO, "still failing at nth=%d", NTH_MAX);
}

THP_COVERS(collapse_starved, fail_nth, "collapse collapse-fails");
TEST_F_TIMEOUT(collapse_starved, fail_nth, 90)
{
	struct thp_child c = { 0 };
	struct thp_why why = { 0 };
	char knob[192];

	(void)self;
	THP_NEEDS(THP_NEED_FAIL_NTH);
	THP_REQUIRE_OK(thp_inject_setup(false, 0, &why), &why);
	/* The THP, too. */
	snprintf(knob, sizeof(knob), "%s/fail_page_alloc/ignore-gfp-highmem", thp_env.debugfs);
	THP_REQUIRE_OK(thp_settings_set(knob, "N"), &why);
	THP_REQUIRE_OK(thp_child_prepare(&c), &why);
	THP_REQUIRE_OK(thp_child_start(&c, collapse_sweep, NULL), &why);
	(void)thp_child_await(&c, 1, THP_LONG_MS);
	printf("# collapse: %lld allocations were refused\n", c.chan->val[0]);
	THP_CHECK(c.chan->val[0] > 0, "no allocation of MADV_COLLAPSE was refused");
	THP_CHECK_OK(thp_child_join(&c, THP_STEP_MS, &why), &why);
}

/* khugepaged is refused every table. */
THP_COVERS(collapse_starved, khugepaged, "collapse collapse-fails");
TEST_F_TIMEOUT(collapse_starved, khugepaged, 60)
{
	const char *dir = THP_SYSFS "khugepaged/";
	enum thp_state state = THP_STATE_PTE;
	struct thp_map *m = &self->map;
	struct thp_why why = { 0 };
	struct thp_deadline d;
	long long tables;
	char path[128];
	long fired;

	THP_NEEDS(THP_NEED_FAIL_PAGE);
	self->khugepaged = kthread("khugepaged");
	THP_REQUIRE(self->khugepaged, "no kernel thread khugepaged");
	THP_REQUIRE_OK(thp_inject_setup(true, 0, &why), &why);
	THP_REQUIRE_OK(collapse_map(m, &why), &why);
	THP_REQUIRE_OK(drain_self(&why), &why);
	tables = thp_obs_vmpte(0);
	THP_REQUIRE_OK(thp_inject_task(self->khugepaged, true), &why);
	/* In this order: restoring the second one wakes khugepaged. */
	snprintf(path, sizeof(path), "%sscan_sleep_millisecs", dir);
	THP_REQUIRE_OK(thp_settings_set(path, "20"), &why);
	snprintf(path, sizeof(path), "%spages_to_scan", dir);
	THP_REQUIRE_OK(thp_settings_set(path, THP_GUARD_SCAN), &why);
	thp_deadline_start(&d, 0, THP_DAEMON_MS);
	for (; !thp_deadline_over(&d); thp_sleep_ms(10)) {
		THP_REQUIRE(!thp_obs_state(m->thp, thp_env.pmd, &state), "page map");
		/* Refused, it tries again and again, and must not get through once. */
		if (state == THP_STATE_PMD || thp_inject_fired() >= 3)
			break;
	}
	fired = thp_inject_fired();
	THP_REQUIRE_OK(thp_inject_task(self->khugepaged, false), &why);
	printf("# collapse: khugepaged was refused %ld tables, the range is %s\n", fired,
	       thp_state_name(state));
	if (thp_env.contract == THP_LAZY)
		THP_CHECK(fired <= thp_inject_drained(),
			  "khugepaged asked for %ld tables, expected none", fired);
	if (state != THP_STATE_PMD && fired <= thp_inject_drained())
		THP_SKIP("needs a khugepaged with less to scan");
	/* It may have come through by now. */
	THP_REQUIRE(!thp_obs_state(m->thp, thp_env.pmd, &state), "page map");
	THP_CHECK_OK(collapse_judge(m, state == THP_STATE_PMD ? 0 : -ENOMEM, tables, &why), &why);
	THP_CHECK_OK(thp_map_zap(m), &why);
}
