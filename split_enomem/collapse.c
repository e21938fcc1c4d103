// SPDX-License-Identifier: GPL-2.0
/*
 * MADV_COLLAPSE and khugepaged while no PTE table can be allocated. A lazy kernel needs
 * none: collapse frees the table of the range. An eager one keeps that table as the deposit
 * (collapse_huge_page()), or, from Linux 7.4 on, deposits a new one, and may then have to
 * give up. Both results are right: a THP and its tables, or an unchanged range.
 */

FIXTURE(collapse_starved) {
	pid_t khugepaged;	/* its PID while it is starved, else 0 */
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

/* Maps base pages that can become a THP. */
static int collapse_map(struct thp_map *m, struct thp_why *why)
{
	int ret = thp_map_new(m, THP_SMALL, why);

	if (ret)
		return ret;
	return madvise(m->thp, thp_env.pmd, MADV_HUGEPAGE) ?
		thp_why(why, -errno, "MADV_HUGEPAGE: %s", strerror(errno)) : 0;
}

/* Judges the range after @err of MADV_COLLAPSE: a THP, or unchanged; VmPTE was @tables. */
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

/* With memory available the range becomes a THP. */
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

/* One MADV_COLLAPSE without tables. *@fired: number of refused tables. */
static int collapse_once(struct thp_map *m, int *err, long *fired, struct thp_why *why)
{
	long long tables;

	TRY(thp_inject_self(why));
	tables = thp_obs_vmpte(0);
	*err = madvise(m->thp, thp_env.pmd, MADV_COLLAPSE) ? -errno : 0;
	TRY(thp_inject_own(false));
	*fired = thp_inject_fired();
	return collapse_judge(m, *err, tables, why);
}

/* Every PTE table is refused. */
static int collapse_without_tables(const void *arg, struct thp_why *why)
{
	struct thp_deadline d;
	struct thp_map m;
	long fired;
	int err;

	(void)arg;
	TRY(thp_inject_tables(why));
	TRY(collapse_map(&m, why));
	/* A busy page or fragmentation is not a missing table: tries again then. */
	thp_deadline_start(&d, 0, THP_SETTLE_MS);
	do
		TRY(collapse_once(&m, &err, &fired, why));
	while (err && !fired && !thp_deadline_over(&d));
	printf("# collapse: %s, %ld tables refused\n", thp_errno_name(err), fired);
	if (thp_env.contract == THP_LAZY && fired)
		return thp_why(why, -EPROTO, "MADV_COLLAPSE asked for %ld tables, expected none",
			       fired);
	if (err && !fired)
		return thp_skip(why, THP_FRAGMENTED);
	if (err)
		TRY(collapse_retry(&m, why));
	TRY(thp_map_zap(&m));
	thp_map_destroy(&m);
	return 0;
}

THP_COVERS(collapse_starved, targeted, "collapse collapse-fails");
TEST_F_TIMEOUT(collapse_starved, targeted, 60)
{
	THP_NEEDS(THP_NEED_FAIL_PAGE);
	THP_SCENARIO(collapse_without_tables, NULL);
}

/* The results of the child that sweeps. */
struct collapse_told {
	long refused;		/* allocations */
};

enum collapse_step { COLLAPSE_SWEPT = 1 };

/* MADV_COLLAPSE of a new range, with its @nth allocation refused. 1 if it was, 0, -errno. */
static int collapse_shoot(int fd, int nth, struct thp_why *why)
{
	static struct thp_map m;
	long long tables;
	int ret, err, fired;

	ret = collapse_map(&m, why);
	if (!ret)
		ret = thp_inject_nth_drain(fd);
	tables = thp_obs_vmpte(0);
	if (!ret)
		ret = thp_inject_nth_arm(fd, nth);
	if (ret)
		return thp_why(why, ret, "setup: %s", thp_errno_name(ret));
	err = madvise(m.thp, thp_env.pmd, MADV_COLLAPSE) ? -errno : 0;
	fired = thp_inject_nth_disarm(fd);
	if (fired < 0)
		return thp_why(why, fired, "fail-nth: %s", thp_errno_name(fired));
	TRY(collapse_judge(&m, err, tables, why));
	if (err && fired)
		TRY(collapse_retry(&m, why));
	TRY(thp_map_zap(&m));
	thp_map_destroy(&m);
	return fired;
}

/* Refuses one allocation, the first, the second, ... until none is refused any more. */
static int collapse_sweep(struct thp_chan *chan, void *arg)
{
	struct collapse_told *told = thp_chan_data(chan, struct collapse_told);
	struct thp_why *why = &chan->why;
	int fd, nth, fired = 1;

	(void)arg;
	thp_warm_up();
	fd = thp_inject_nth_open();
	if (fd < 0)
		return thp_why(why, fd, "fail-nth: %s", thp_errno_name(fd));
	for (nth = 1; nth <= NTH_MAX && fired; nth++) {
		fired = collapse_shoot(fd, nth, why);
		if (fired < 0)
			return why->skip ? fired : thp_why_from(why, fired, why, "nth=%d", nth);
		told->refused += fired;
	}
	thp_chan_post_parent(chan, COLLAPSE_SWEPT);
	return fired ? thp_why(why, -EPROTO, "still failing at nth=%d", NTH_MAX) : 0;
}

static int collapse_swept(const void *arg, struct thp_why *why)
{
	struct thp_child c = { 0 };
	long refused;

	(void)arg;
	TRY(nth_with_thps(why));
	TRY(thp_child_prepare(&c));
	TRY(thp_child_start(&c, collapse_sweep, NULL));
	(void)thp_child_await(&c, COLLAPSE_SWEPT, THP_LONG_MS);
	refused = thp_chan_data(c.chan, struct collapse_told)->refused;
	printf("# collapse: %ld allocations were refused\n", refused);
	TRY(thp_child_join(&c, THP_STEP_MS, why));
	if (!refused)
		return thp_why(why, -EPROTO, "no allocation of MADV_COLLAPSE was refused");
	return 0;
}

THP_COVERS(collapse_starved, fail_nth, "collapse collapse-fails");
TEST_F_TIMEOUT(collapse_starved, fail_nth, 90)
{
	(void)self;
	THP_NEEDS(THP_NEED_FAIL_NTH);
	THP_SCENARIO(collapse_swept, NULL);
}

/*
 * Wakes khugepaged and waits until it has made a THP of @m, or until three tables were
 * refused: khugepaged tries again and again, and must never succeed.
 */
static int await_khugepaged(const struct thp_map *m, enum thp_state *state)
{
	struct thp_deadline d;

	/* In this order: restoring the second one wakes khugepaged. */
	TRY(thp_settings_set(THP_SYSFS "khugepaged/scan_sleep_millisecs", "20"));
	TRY(thp_settings_set(THP_SYSFS "khugepaged/pages_to_scan", THP_GUARD_SCAN));
	thp_deadline_start(&d, 0, THP_DAEMON_MS);
	for (; !thp_deadline_over(&d); thp_sleep_ms(10)) {
		TRY(thp_obs_state(m->thp, thp_env.pmd, state));
		if (*state == THP_STATE_PMD || thp_inject_fired() >= 3)
			break;
	}
	return 0;
}

struct khugepaged_case {
	pid_t *starved;		/* for the clean-up: a kernel thread outlives the test */
};

/* Refuses every table to khugepaged. */
static int khugepaged_without_tables(const void *arg, struct thp_why *why)
{
	const struct khugepaged_case *k = arg;
	enum thp_state state = THP_STATE_PTE;
	pid_t pid = thp_proc_kthread("khugepaged");
	struct thp_map m;
	long long tables;
	long fired;

	if (!pid)
		return thp_why(why, -ENOENT, "no kernel thread khugepaged");
	TRY(thp_inject_tables(why));
	TRY(collapse_map(&m, why));
	TRY(drain_own_tables(why));
	tables = thp_obs_vmpte(0);
	*k->starved = pid;
	TRY(thp_inject_task(pid, true));
	TRY(await_khugepaged(&m, &state));
	fired = thp_inject_fired();
	TRY(thp_inject_task(pid, false));
	printf("# collapse: khugepaged was refused %ld tables, the range is %s\n", fired,
	       thp_state_name(state));
	if (thp_env.contract == THP_LAZY && fired > 0)
		return thp_why(why, -EPROTO, "khugepaged asked for %ld tables, expected none",
			       fired);
	if (state != THP_STATE_PMD && fired <= 0)
		return thp_skip(why, "needs a khugepaged with less to scan");
	/* It may have succeeded by now. */
	TRY(thp_obs_state(m.thp, thp_env.pmd, &state));
	TRY(collapse_judge(&m, state == THP_STATE_PMD ? 0 : -ENOMEM, tables, why));
	return thp_map_zap(&m);
}

THP_COVERS(collapse_starved, khugepaged, "collapse collapse-fails");
TEST_F_TIMEOUT(collapse_starved, khugepaged, 60)
{
	const struct khugepaged_case k = { .starved = &self->khugepaged };

	THP_NEEDS(THP_NEED_FAIL_PAGE);
	THP_SCENARIO(khugepaged_without_tables, &k);
}
