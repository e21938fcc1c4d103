// SPDX-License-Identifier: GPL-2.0
/*
 * unasked: Splits that nobody asked for: KSM, the shrinker, DAMON.
 */

/*
 * Splits that the kernel starts: KSM, the shrinker of underused THPs, DAMON. The task
 * that splits is starved, not the owner of the memory; it gives the split up, and the
 * data is unchanged.
 */
FIXTURE(unasked) {
	struct thp_map maps[2];
	pid_t pid;		/* who is starved */
};

FIXTURE_SETUP(unasked)
{
	self->pid = 0;
	thp_warm_up();
}

FIXTURE_TEARDOWN_PARENT(unasked)
{
	/* A kernel thread outlives the test. */
	if (self->pid)
		thp_inject_task(self->pid, false);
	thp_teardown(_metadata);
}

/* A kernel thread by its name, or 0. */
static pid_t kthread(const char *name)
{
	char path[64], comm[32];
	pid_t pid;

	/* They are started at boot, but after the modules' own. */
	for (pid = 2; pid < 4096; pid++) {
		snprintf(path, sizeof(path), "/proc/%d/comm", pid);
		if (thp_read_file(path, comm, sizeof(comm)) < 0)
			continue;
		comm[strcspn(comm, "\n")] = '\0';
		if (!strcmp(comm, name))
			return pid;
	}
	return 0;
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

/* Page 7 of the second THP equals page 3 of the first, the others are their own. */
static int check_twins(const struct thp_map *m, struct thp_why *why)
{
	int ret = thp_map_check(&m[0], 0, thp_env.nr, why);

	if (!ret)
		ret = thp_map_check(&m[1], 0, 7, why);
	if (!ret)
		ret = thp_check(thp_page(&m[1], 7), m[0].seed, 3, 1, why);
	return ret ? ret : thp_map_check(&m[1], 8, thp_env.nr - 8, why);
}

/* Nobody finds a table to use in what is left of a page: see thp_inject_drain(). */
static int drain_self(struct thp_why *why)
{
	int ret = thp_inject_task(getpid(), true);

	if (!ret)
		ret = thp_inject_drain(-1);
	if (!ret)
		ret = thp_inject_task(getpid(), false);
	return ret ? thp_why(why, ret, "PTE tables cannot be used up: %s", thp_errno_name(ret)) : 0;
}

#define KSM "/sys/kernel/mm/ksm/"

THP_COVERS(unasked, ksm, "folio-split-ksm");
TEST_F_TIMEOUT(unasked, ksm, 90)
{
	int limit = thp_limit(THP_DAEMON_MS), ret;
	struct thp_map *m = self->maps;
	struct thp_why why = { 0 };
	long long end;

	THP_NEEDS(THP_NEED_KSM | THP_NEED_FAIL_PAGE);
	self->pid = kthread("ksmd");
	THP_REQUIRE(self->pid, "no kernel thread ksmd");
	THP_REQUIRE_OK(thp_map_new(&m[0], THP_ANON, &why), &why);
	THP_REQUIRE_OK(thp_map_new(&m[1], THP_ANON, &why), &why);
	memcpy(thp_page(&m[1], 7), thp_page(&m[0], 3), thp_env.page);
	THP_REQUIRE_OK(thp_settings_set(KSM "sleep_millisecs", "1"), &why);
	THP_REQUIRE_OK(thp_settings_set(KSM "pages_to_scan", "4096"), &why);
	THP_REQUIRE(!madvise(m[0].thp, thp_env.pmd, MADV_MERGEABLE) &&
		    !madvise(m[1].thp, thp_env.pmd, MADV_MERGEABLE), "MADV_MERGEABLE: %s",
		    strerror(errno));
	THP_REQUIRE_OK(thp_inject_setup(true, 0, &why), &why);
	THP_REQUIRE_OK(drain_self(&why), &why);
	THP_REQUIRE_OK(thp_inject_task(self->pid, true), &why);
	THP_REQUIRE_OK(thp_settings_set(KSM "run", "1"), &why);
	if (thp_env.contract == THP_LAZY) {
		/* It tries again and again, and must not get through once. */
		for (end = thp_now_ms() + limit; thp_now_ms() < end; thp_sleep_ms(20))
			if (thp_inject_fired() >= 3)
				break;
		thp_inject_report("targeted", true, thp_inject_fired(), "tries again");
		THP_CHECK(thp_inject_fired() > 0, "KSM asked for no table in %d ms", limit);
		THP_CHECK_OK(thp_map_expect(&m[0], THP_STATE_PMD, &why), &why);
		THP_CHECK_OK(thp_map_expect(&m[1], THP_STATE_PMD, &why), &why);
		THP_CHECK_OK(check_twins(m, &why), &why);
		THP_REQUIRE_OK(thp_inject_task(self->pid, false), &why);
	}
	ret = await_states(m, THP_STATE_PTE, limit);
	THP_CHECK(!ret, "KSM did not split both THPs within %d ms: %s", limit,
		  thp_errno_name(ret));
	if (thp_env.contract == THP_EAGER)
		THP_CHECK(!thp_inject_fired(), "KSM asked for %ld tables, expected none",
			  thp_inject_fired());
	THP_REQUIRE_OK(thp_inject_task(self->pid, false), &why);
	THP_CHECK_OK(check_twins(m, &why), &why);
}

/* The shrinker of THPs that are mostly zeroes gives up on one that it cannot split. */
THP_COVERS(unasked, underused, "folio-split-deferred");
TEST_F_TIMEOUT(unasked, underused, 90)
{
	bool lazy = thp_env.contract == THP_LAZY;
	struct thp_map *m = &self->maps[0];
	struct thp_why why = { 0 };
	struct thp_events e0, e1;
	enum thp_state state;
	int try;

	THP_NEEDS(THP_NEED_ROOT | THP_NEED_FAIL_PAGE);
	THP_REQUIRE_OK(thp_map_underused(m, &why), &why);
	thp_obs_events(&e0);
	THP_REQUIRE_OK(thp_inject_setup(true, 0, &why), &why);
	THP_REQUIRE_OK(drain_self(&why), &why);
	self->pid = getpid();
	THP_REQUIRE_OK(thp_inject_task(self->pid, true), &why);
	for (try = 0; try < 50; try++) {
		THP_CHECK_OK(thp_write_file("/proc/sys/vm/drop_caches", "2"), &why);
		THP_REQUIRE_OK(thp_obs_state(m->thp, thp_env.pmd, &state), &why);
		if (thp_inject_fired() || state == THP_STATE_PTE)
			break;
		thp_sleep_ms(20);
	}
	THP_REQUIRE_OK(thp_inject_task(self->pid, false), &why);
	thp_obs_events(&e1);
	thp_inject_report("targeted", lazy, thp_inject_fired(), "range is %s",
			  thp_state_name(state));
	THP_CHECK(lazy ? thp_inject_fired() > 0 : !thp_inject_fired(),
		  "the shrinker asked for %ld tables, expected %s", thp_inject_fired(),
		  lazy ? "some" : "none");
	THP_CHECK(state == (lazy ? THP_STATE_PMD : THP_STATE_PTE), "range is %s, expected %s",
		  thp_state_name(state), lazy ? "PMD-mapped" : "PTE-mapped");
	if (!lazy)
		THP_CHECK(e1.underused > e0.underused, "thp_underused_split_page +0, expected +1");
	THP_CHECK_OK(thp_map_check(m, 0, 1, &why), &why);
	THP_CHECK_OK(thp_check_zero(thp_page(m, 1), thp_env.nr - 1, &why), &why);
	/* The shrinker has lost interest, but the THP can be split. */
	THP_CHECK(!madvise(thp_page(m, 3), thp_env.page, MADV_COLD), "MADV_COLD: %s",
		  strerror(errno));
	THP_CHECK_OK(thp_map_expect(m, THP_STATE_PTE, &why), &why);
	THP_CHECK_OK(thp_map_check(m, 0, 1, &why), &why);
}

/* DAMON finds that nobody uses a page, and calls it cold, from a thread of its own. */
#define DAMON "/sys/kernel/mm/damon/admin/kdamonds/"
#define DAMON_CTX DAMON "0/contexts/0/"

/* One region of one page, and a scheme that takes whatever it finds. */
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
	/* This one brings the others, and takes them away when it is restored. */
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

THP_COVERS(unasked, damon, "folio-split-damon");
TEST_F_TIMEOUT(unasked, damon, 90)
{
	bool lazy = thp_env.contract == THP_LAZY;
	struct thp_map *m = &self->maps[0];
	int limit = thp_limit(THP_DAEMON_MS);
	enum thp_state state = THP_STATE_PMD;
	struct thp_why why = { 0 };
	long long end, tables;
	uint64_t val = 0;
	long got;
	int ret;

	if (access(DAMON "nr_kdamonds", W_OK))
		THP_SKIP("needs root, CONFIG_DAMON_SYSFS and CONFIG_DAMON_VADDR");
	if (thp_read_u64(DAMON "nr_kdamonds", &val) || val)
		THP_SKIP("needs DAMON for itself");
	THP_NEEDS(THP_NEED_FAIL_PAGE);
	THP_REQUIRE_OK(thp_map_new(m, THP_ANON, &why), &why);
	THP_REQUIRE_OK(damon_setup(thp_page(m, thp_env.nr / 2), &why), &why);
	THP_REQUIRE_OK(thp_inject_setup(true, 0, &why), &why);
	THP_REQUIRE_OK(drain_self(&why), &why);
	tables = thp_obs_vmpte(0);
	ret = thp_settings_set(DAMON "0/state", "on");
	if (ret == -EBUSY)
		THP_SKIP("needs DAMON for itself");
	THP_REQUIRE_RESULT(ret, &why);
	/* Its first step is an aggregation interval away. */
	THP_REQUIRE_OK(thp_read_u64(DAMON "0/pid", &val), &why);
	self->pid = val;
	THP_REQUIRE_OK(thp_inject_task(self->pid, true), &why);
	for (end = thp_now_ms() + limit; thp_now_ms() < end; thp_sleep_ms(20)) {
		THP_REQUIRE_OK(thp_obs_state(m->thp, thp_env.pmd, &state), &why);
		if (thp_inject_fired() >= 2 || state == THP_STATE_PTE)
			break;
	}
	thp_inject_report("targeted", lazy, thp_inject_fired(), "range is %s",
			  thp_state_name(state));
	THP_CHECK(lazy ? thp_inject_fired() > 0 : !thp_inject_fired(),
		  "DAMON asked for %ld tables, expected %s", thp_inject_fired(),
		  lazy ? "some" : "none");
	THP_CHECK(state == (lazy ? THP_STATE_PMD : THP_STATE_PTE), "range is %s, expected %s",
		  thp_state_name(state), lazy ? "PMD-mapped" : "PTE-mapped");
	THP_CHECK_OK(thp_map_check(m, 0, thp_env.nr, &why), &why);
	THP_REQUIRE_OK(thp_inject_task(self->pid, false), &why);
	for (end = thp_now_ms() + limit; thp_now_ms() < end; thp_sleep_ms(20)) {
		THP_REQUIRE_OK(thp_obs_state(m->thp, thp_env.pmd, &state), &why);
		if (state == THP_STATE_PTE)
			break;
	}
	THP_CHECK(state == THP_STATE_PTE, "range is %s %d ms later, expected PTE-mapped",
		  thp_state_name(state), limit);
	tables = thp_obs_vmpte(0) - tables;
	if (thp_env.unit == 1)
		THP_CHECK(thp_env_tables(tables, &got) && got == lazy,
			  "DAMON: %+lld B of tables, expected %+d tables", tables, lazy);
	THP_CHECK_OK(thp_map_check(m, 0, thp_env.nr, &why), &why);
}

static const struct split_op *op_by_name(const char *name)
{
	return split_op_by_name(name);
}
