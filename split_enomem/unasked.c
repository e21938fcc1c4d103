// SPDX-License-Identifier: GPL-2.0
/*
 * unasked: Splits that the kernel starts: KSM, the shrinker of underused THPs, DAMON. The
 * task that splits is starved, not the owner of the memory; it abandons the split, and the
 * data is unchanged.
 */

FIXTURE(unasked) {
	pid_t starved;		/* the task whose allocations fail, 0: none yet */
};

FIXTURE_SETUP(unasked)
{
	self->starved = 0;
	thp_warm_up();
}

FIXTURE_TEARDOWN_PARENT(unasked)
{
	/* A kernel thread is still there after the test. */
	if (self->starved)
		thp_inject_task(self->starved, false);
	thp_teardown(_metadata);
}

/* The argument of a scenario here: the clean-up ends the starving of the task in it. */
struct unasked {
	pid_t *starved;
};

/* As thp_map_expect(), but an unknown state is a failure, too. */
static int expect_exactly(const struct thp_map *m, enum thp_state want, struct thp_why *why)
{
	enum thp_state state;
	int ret = thp_obs_state(m->thp, thp_env.pmd, &state);

	if (ret)
		return thp_why(why, ret, "page map: %s", thp_errno_name(ret));
	if (state != want)
		return thp_why(why, -EPROTO, "range is %s, expected %s", thp_state_name(state),
			       thp_state_name(want));
	return 0;
}

/* @who has requested a table if it needs one: then the range is @state, unsplit. */
static int refused_split(const char *who, const struct thp_map *m, struct thp_why *why)
{
	bool lazy = thp_env.contract == THP_LAZY;
	long fired = thp_inject_fired();
	enum thp_state state;
	int ret;

	ret = thp_obs_state(m->thp, thp_env.pmd, &state);
	if (ret)
		return thp_why(why, ret, "page map: %s", thp_errno_name(ret));
	thp_inject_report("targeted", lazy, fired, "range is %s", thp_state_name(state));
	if (lazy ? fired <= 0 : fired)
		return thp_why(why, -EPROTO, "%s asked for %ld tables, expected %s", who, fired,
			       lazy ? "some" : "none");
	return expect_exactly(m, lazy ? THP_STATE_PMD : THP_STATE_PTE, why);
}

/* Waits until both are mapped as @want; 0, -ETIMEDOUT, -errno. */
static int await_states(const struct thp_map *m, enum thp_state want, int ms)
{
	long long end = thp_now_ms() + ms;
	enum thp_state a, b;
	int ret;

	do {
		ret = thp_obs_state(m[0].thp, thp_env.pmd, &a);
		if (!ret)
			ret = thp_obs_state(m[1].thp, thp_env.pmd, &b);
		if (ret || (a == want && b == want))
			return ret;
		thp_sleep_ms(20);
	} while (thp_now_ms() < end);
	return -ETIMEDOUT;
}

/* Page 7 of the second THP equals page 3 of the first, the other pages all differ. */
static int check_twins(const struct thp_map *m, struct thp_why *why)
{
	int ret = thp_map_check(&m[0], 0, thp_env.nr, why);

	if (!ret)
		ret = thp_map_check(&m[1], 0, 7, why);
	if (!ret)
		ret = thp_check(thp_page(&m[1], 7), m[0].seed, 3, 1, why);
	return ret ? ret : thp_map_check(&m[1], 8, thp_env.nr - 8, why);
}

#define KSM "/sys/kernel/mm/ksm/"

/* Two THPs that have one page in common, for ksmd to find. */
static int make_twins(struct thp_map *m, struct thp_why *why)
{
	TRY(thp_map_new(&m[0], THP_ANON, why));
	TRY(thp_map_new(&m[1], THP_ANON, why));
	memcpy(thp_page(&m[1], 7), thp_page(&m[0], 3), thp_env.page);
	TRY(thp_settings_set(KSM "sleep_millisecs", "1"));
	TRY(thp_settings_set(KSM "pages_to_scan", "4096"));
	if (madvise(m[0].thp, thp_env.pmd, MADV_MERGEABLE) ||
	    madvise(m[1].thp, thp_env.pmd, MADV_MERGEABLE))
		return thp_why(why, -errno, "MADV_MERGEABLE: %s", strerror(errno));
	return 0;
}

/* ksmd tries again and again, and must never succeed. */
static int ksm_refused(const struct thp_map *m, int ms, struct thp_why *why)
{
	long long end = thp_now_ms() + ms;

	while (thp_now_ms() < end && thp_inject_fired() < 3)
		thp_sleep_ms(20);
	thp_inject_report("targeted", true, thp_inject_fired(), "tries again");
	if (thp_inject_fired() <= 0)
		return thp_why(why, -EPROTO, "KSM asked for no table in %d ms", ms);
	TRY(thp_map_expect(&m[0], THP_STATE_PMD, why));
	TRY(thp_map_expect(&m[1], THP_STATE_PMD, why));
	return check_twins(m, why);
}

static int starve_ksm(const void *arg, struct thp_why *why)
{
	const struct unasked *unasked = arg;
	int ms = thp_limit(THP_DAEMON_MS), ret;
	struct thp_map m[2];

	*unasked->starved = thp_proc_kthread("ksmd");
	if (!*unasked->starved)
		return thp_why(why, -ENOENT, "no kernel thread ksmd");
	TRY(make_twins(m, why));
	TRY(thp_inject_tables(why));
	TRY(drain_own_tables(why));
	TRY(thp_inject_task(*unasked->starved, true));
	TRY(thp_settings_set(KSM "run", "1"));
	if (thp_env.contract == THP_LAZY) {
		TRY(ksm_refused(m, ms, why));
		TRY(thp_inject_task(*unasked->starved, false));
	}
	ret = await_states(m, THP_STATE_PTE, ms);
	if (ret)
		return thp_why(why, ret, "KSM did not split both THPs within %d ms: %s", ms,
			       thp_errno_name(ret));
	if (thp_env.contract == THP_EAGER && thp_inject_fired())
		return thp_why(why, -EPROTO, "KSM asked for %ld tables, expected none",
			       thp_inject_fired());
	TRY(thp_inject_task(*unasked->starved, false));
	return check_twins(m, why);
}

THP_COVERS(unasked, ksm, "folio-split-ksm");
TEST_F_TIMEOUT(unasked, ksm, 90)
{
	const struct unasked unasked = { .starved = &self->starved };

	THP_NEEDS(THP_NEED_KSM | THP_NEED_FAIL_PAGE);
	THP_SCENARIO(starve_ksm, &unasked);
}

/* Runs the shrinkers until one was refused a table, or has split the THP. */
static int shrink_until_refused(const struct thp_map *m, struct thp_why *why)
{
	enum thp_state state;
	int try, ret;

	for (try = 0; try < 50; try++) {
		TRY(thp_write_file("/proc/sys/vm/drop_caches", "2"));
		ret = thp_obs_state(m->thp, thp_env.pmd, &state);
		if (ret)
			return thp_why(why, ret, "page map: %s", thp_errno_name(ret));
		if (thp_inject_fired() || state == THP_STATE_PTE)
			break;
		thp_sleep_ms(20);
	}
	return 0;
}

/* The shrinker of THPs that are mostly zeroes abandons one that it cannot split. */
static int starve_shrinker(const void *arg, struct thp_why *why)
{
	const struct unasked *unasked = arg;
	struct thp_events e[2];
	struct thp_map m;

	TRY(thp_map_underused(&m, why));
	thp_obs_events(&e[0]);
	TRY(thp_inject_tables(why));
	TRY(drain_own_tables(why));
	*unasked->starved = getpid();
	TRY(thp_inject_own(true));
	TRY(shrink_until_refused(&m, why));
	TRY(thp_inject_own(false));
	thp_obs_events(&e[1]);
	TRY(refused_split("the shrinker", &m, why));
	if (thp_env.contract == THP_EAGER && e[1].underused <= e[0].underused)
		return thp_why(why, -EPROTO, "thp_underused_split_page +0, expected +1");
	TRY(thp_map_check(&m, 0, 1, why));
	TRY(thp_check_zero(thp_page(&m, 1), thp_env.nr - 1, why));
	/* The shrinker has dropped the THP from its list, but the THP can be split. */
	if (madvise(thp_page(&m, 3), thp_env.page, MADV_COLD))
		return thp_why(why, -errno, "MADV_COLD: %s", strerror(errno));
	TRY(thp_map_expect(&m, THP_STATE_PTE, why));
	return thp_map_check(&m, 0, 1, why);
}

THP_COVERS(unasked, underused, "folio-split-deferred");
TEST_F_TIMEOUT(unasked, underused, 90)
{
	const struct unasked unasked = { .starved = &self->starved };

	THP_NEEDS(THP_NEED_ROOT | THP_NEED_FAIL_PAGE);
	THP_SCENARIO(starve_shrinker, &unasked);
}

/* DAMON finds that a page is unused and calls MADV_COLD for it, from a thread of its own. */
#define DAMON "/sys/kernel/mm/damon/admin/kdamonds/"
#define DAMON_CTX DAMON "0/contexts/0/"
#define DAMON_TAKEN "needs DAMON for itself"

/* One region of one page, and a scheme that matches any region. */
static int damon_setup(const char *page, struct thp_why *why)
{
	unsigned long start = (unsigned long)page;
	char pid[16], from[24], to[24];
	const struct {
		const char *name, *value;
	} files[] = {
		{ DAMON "0/contexts/nr_contexts", "1" },
		{ DAMON_CTX "operations", "fvaddr" },
		{ DAMON_CTX "monitoring_attrs/intervals/aggr_us", "500000" },
		{ DAMON_CTX "targets/nr_targets", "1" },
		{ DAMON_CTX "targets/0/pid_target", pid },
		{ DAMON_CTX "targets/0/regions/nr_regions", "1" },
		{ DAMON_CTX "targets/0/regions/0/start", from },
		{ DAMON_CTX "targets/0/regions/0/end", to },
		{ DAMON_CTX "schemes/nr_schemes", "1" },
		{ DAMON_CTX "schemes/0/action", "cold" },
		{ DAMON_CTX "schemes/0/access_pattern/sz/max", "1000000000" },
		{ DAMON_CTX "schemes/0/access_pattern/nr_accesses/max", "1000000000" },
		{ DAMON_CTX "schemes/0/access_pattern/age/max", "1000000000" },
	};
	size_t i;
	int ret;

	snprintf(pid, sizeof(pid), "%d", getpid());
	snprintf(from, sizeof(from), "%lu", start);
	snprintf(to, sizeof(to), "%lu", start + thp_env.page);
	/* This setting creates the other files, and removes them when it is restored. */
	ret = thp_settings_set(DAMON "nr_kdamonds", "1");
	if (ret)
		return thp_why_default(why, ret);
	for (i = 0; i < ARRAY_SIZE(files); i++) {
		ret = thp_write_file(files[i].name, files[i].value);
		if (ret)
			return thp_why(why, ret, "%s: %s", files[i].name, thp_errno_name(ret));
	}
	return 0;
}

/* Waits until DAMON was refused @refusals tables (0: ignored), or has split the THP. */
static int await_damon(const struct thp_map *m, long refusals, struct thp_why *why)
{
	long long end = thp_now_ms() + thp_limit(THP_DAEMON_MS);
	enum thp_state state;
	int ret;

	for (; thp_now_ms() < end; thp_sleep_ms(20)) {
		ret = thp_obs_state(m->thp, thp_env.pmd, &state);
		if (ret)
			return thp_why(why, ret, "page map: %s", thp_errno_name(ret));
		if (state == THP_STATE_PTE || (refusals && thp_inject_fired() >= refusals))
			break;
	}
	return 0;
}

static int starve_damon(const void *arg, struct thp_why *why)
{
	const struct unasked *unasked = arg;
	struct thp_map m;
	long long tables;
	uint64_t pid;
	int ret;

	TRY(thp_map_new(&m, THP_ANON, why));
	TRY(damon_setup(thp_page(&m, thp_env.nr / 2), why));
	TRY(thp_inject_tables(why));
	TRY(drain_own_tables(why));
	tables = thp_obs_vmpte(0);
	ret = thp_settings_set(DAMON "0/state", "on");
	if (ret == -EBUSY)
		return thp_skip(why, DAMON_TAKEN);
	if (ret)
		return ret;
	/* Its first step comes after one aggregation interval. */
	TRY(thp_read_u64(DAMON "0/pid", &pid));
	*unasked->starved = pid;
	TRY(thp_inject_task(pid, true));
	TRY(await_damon(&m, 2, why));
	TRY(refused_split("DAMON", &m, why));
	TRY(thp_map_check(&m, 0, thp_env.nr, why));
	TRY(thp_inject_task(pid, false));
	TRY(await_damon(&m, 0, why));
	TRY(expect_exactly(&m, THP_STATE_PTE, why));
	tables = thp_obs_vmpte(0) - tables;
	if (thp_env.unit == 1)
		TRY(thp_expect_tables("DAMON", tables, thp_tables_split(THP_ANON), why));
	return thp_map_check(&m, 0, thp_env.nr, why);
}

THP_COVERS(unasked, damon, "folio-split-damon");
TEST_F_TIMEOUT(unasked, damon, 90)
{
	const struct unasked unasked = { .starved = &self->starved };
	uint64_t val = 0;

	if (access(DAMON "nr_kdamonds", W_OK))
		THP_SKIP("needs root, CONFIG_DAMON_SYSFS and CONFIG_DAMON_VADDR");
	if (thp_read_u64(DAMON "nr_kdamonds", &val) || val)
		THP_SKIP(DAMON_TAKEN);
	THP_NEEDS(THP_NEED_FAIL_PAGE);
	THP_SCENARIO(starve_damon, &unasked);
}
