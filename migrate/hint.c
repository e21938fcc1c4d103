// SPDX-License-Identifier: GPL-2.0
/* hint: NUMA hinting that starts in the middle of a THP. */

/*
 * NUMA balancing removes the access to a range of a process, round by round, to see which
 * node accesses it (task_numa_work()). A round starts where the last one has ended. That is
 * in the middle of a THP if the VMA ended there: the memory behind it was not accessible
 * then, and the two VMAs have been merged and collapsed since. A round needs some CPU time
 * of the process, so the process has to spend it.
 */
#define BALANCING "/proc/sys/kernel/numa_balancing"

#define HINT_MISSING "needs NUMA balancing and its settings in debugfs (no lockdown)"

/* CPU time between two rounds, about, and between two checks, ms. */
#define HINT_PERIOD_MS 800
#define HINT_LOOK_MS 50

FIXTURE(hint) {
	struct thp_map m;
	struct thp_meter meter;
	struct thp_why why;
	pthread_t idle;
	int gate[2];
};

FIXTURE_SETUP(hint)
{
	thp_warm_up();
}

FIXTURE_TEARDOWN_PARENT(hint)
{
	thp_teardown(_metadata);
}

static int hint_set(const char *name, unsigned long value)
{
	char path[192], text[24];

	snprintf(path, sizeof(path), "%s/sched/numa_balancing/%s", thp_env.debugfs, name);
	snprintf(text, sizeof(text), "%lu", value);
	return thp_settings_set(path, text);
}

/* Switches balancing off, and sets rounds of 1 MB, or the rest of a VMA up to the next PMD. */
static int hint_settings(void)
{
	/* The kernel divides the period by the number of rounds for the resident memory. */
	unsigned long ms = HINT_PERIOD_MS * ((thp_env.pmd >> 20) + 3);
	int ret = thp_settings_set(BALANCING, "0");

	if (!ret)
		ret = hint_set("scan_size_mb", 1);
	if (!ret)
		ret = hint_set("scan_period_min_ms", ms);
	return ret ? ret : hint_set("scan_period_max_ms", ms);
}

/*
 * Whether the access to a page was removed; this check restores it. Balancing must be off:
 * otherwise the stack could be without access, too.
 */
static bool hinted(const char *page)
{
	long before;

	(void)thp_obs_minor_faults();
	before = thp_obs_minor_faults();
	(void)thp_peek(page);
	return thp_obs_minor_faults() != before;
}

static void burn_ms(long ms)
{
	struct timespec ts;
	long long end;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
	end = ts.tv_sec * 1000LL + ts.tv_nsec / 1000000 + ms;
	do {
		clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
	} while (ts.tv_sec * 1000LL + ts.tv_nsec / 1000000 < end);
}

/* Makes a THP of base pages such that the next round starts in its middle, with balancing off. */
static int hint_place(struct thp_map *m, struct thp_why *why)
{
	char *half = thp_page(m, thp_env.nr / 2);
	size_t rest = m->area + m->area_len - half;
	bool found = false;
	int i, ret = 0;

	if (mprotect(half, rest, PROT_NONE))
		return thp_why(why, -errno, "mprotect: %s", strerror(errno));
	for (i = 0; i < 20 * HINT_PERIOD_MS / HINT_LOOK_MS && !ret && !found; i++) {
		ret = thp_write_file(BALANCING, "1");
		burn_ms(HINT_LOOK_MS);
		if (!ret)
			ret = thp_write_file(BALANCING, "0");
		found = hinted(thp_page(m, i % (thp_env.nr / 2)));
	}
	if (ret)
		return thp_why(why, ret, BALANCING ": %s", thp_errno_name(ret));
	if (!found)
		return thp_why(why, -EAGAIN, "NUMA balancing has not come by");
	if (mprotect(half, rest, PROT_READ | PROT_WRITE))
		return thp_why(why, -errno, "mprotect: %s", strerror(errno));
	TRY(thp_map_check(m, 0, thp_env.nr, why));
	(void)hinted(m->thp + thp_env.pmd);
	if (madvise(m->area, m->area_len, MADV_HUGEPAGE))
		return thp_why(why, -errno, "MADV_HUGEPAGE: %s", strerror(errno));
	ret = thp_map_collapse(m);
	if (ret == -ENOMEM)
		return thp_skip(why, "needs more free huge pages for MADV_COLLAPSE");
	if (ret)
		return thp_why(why, ret, "MADV_COLLAPSE: %s", thp_errno_name(ret));
	return thp_map_expect(m, THP_STATE_PMD, why);
}

/* Lets one round run: the THP is split, or with @starved a table is refused. */
static int hint_round(struct thp_meter *meter, bool starved, struct thp_why *why)
{
	struct thp_events ev;
	bool done = false;
	int i, ret;

	ret = thp_write_file(BALANCING, "1");
	for (i = 0; i < 20 * HINT_PERIOD_MS / HINT_LOOK_MS && !ret && !done; i++) {
		burn_ms(HINT_LOOK_MS);
		ret = thp_obs_events(&ev);
		done = ev.split_pmd != meter->ev[0].split_pmd ||
		       (starved && thp_inject_fired() > 0);
	}
	if (!ret)
		ret = thp_write_file(BALANCING, "0");
	if (ret)
		return thp_why(why, ret, BALANCING ": %s", thp_errno_name(ret));
	return done ? 0 : thp_why(why, -EAGAIN, "no scan has begun in the middle of the THP");
}

static void *hint_idle(void *gate)
{
	char c;

	return read(*(int *)gate, &c, 1) < 0 ? gate : NULL;
}

/*
 * Sets up NUMA balancing as the tests need it, and a second thread: balancing ignores pages
 * on the local node of a single-threaded process.
 */
static int hint_set_up(pthread_t *idle, int *gate, struct thp_why *why)
{
	int ret = hint_settings();

	if (ret == -ENOENT || ret == -ENOTSUP)
		return thp_skip(why, HINT_MISSING);
	if (ret)
		return thp_why(why, ret, "NUMA balancing cannot be set up: %s",
			       thp_errno_name(ret));
	if (pipe(gate))
		return thp_why(why, -errno, "pipe: %s", strerror(errno));
	ret = pthread_create(idle, NULL, hint_idle, &gate[0]);
	return ret ? thp_why(why, -ret, "pthread_create: %s", strerror(ret)) : 0;
}

/* A THP, and the effect of a round on it. */
struct hint {
	struct thp_map *m;
	struct thp_meter *meter;	/* from before the round */
	uint64_t *updates;		/* the same of numa_pte_updates */
	bool starved;			/* no table can be allocated */
};

/* Places a THP and lets one round reach it. A round too early or too late: -EAGAIN. */
static int hint_meet(const void *arg, struct thp_why *why)
{
	const struct hint *h = arg;
	int ret;

	/* Removes the THP of the last try. */
	thp_map_destroy(h->m);
	TRY(thp_map_new(h->m, THP_SMALL, why));
	TRY(hint_place(h->m, why));
	if (h->starved) {
		TRY(thp_inject_tables(why));
		thp_inject_own(true);
		ret = thp_inject_drain(NULL);
		if (ret) {
			thp_inject_own(false);
			return thp_why(why, ret, "PTE tables cannot be used up");
		}
	}
	/* Not before hint_place(), whose hints would hide an error that counts as -12. */
	*h->updates = thp_obs_vmstat("numa_pte_updates");
	ret = thp_meter_start(h->meter, 0, why);
	if (!ret)
		ret = hint_round(h->meter, h->starved, why);
	if (h->starved)
		thp_inject_own(false);
	return ret;
}

static void hint_end(struct thp_map *m, pthread_t idle, int *gate)
{
	close(gate[1]);
	pthread_join(idle, NULL);
	close(gate[0]);
	thp_map_destroy(m);
}

/* Older kernels (6.1 does, 6.12 does not) skip large folios whose PMD is split. */
static bool hints_after_split(void)
{
	return thp_env.release >= THP_RELEASE(6, 12);
}

/* Checks PMD splits, and tables if those of one THP make whole kB. */
static int hint_expect(struct thp_meter *meter, long tables, long splits, struct thp_why *why)
{
	int ret = thp_meter_read(meter, why);

	if (!ret)
		ret = thp_meter_splits(meter, splits, "NUMA hinting", why);
	if (!ret && thp_env.unit == 1)
		ret = thp_meter_tables(meter, tables, "NUMA hinting", why);
	return ret;
}

THP_COVERS(hint, split, "protect-numa");
TEST_F(hint, split)
{
	uint64_t updates, half = thp_env.nr / 2;
	const struct hint h = { .m = &self->m, .meter = &self->meter, .updates = &updates };

	THP_NEEDS(THP_NEED_ROOT | THP_NEED_COLLAPSE);
	THP_REQUIRE_OK(hint_set_up(&self->idle, self->gate, &self->why), &self->why);
	THP_SCENARIO(hint_meet, &h);
	THP_CHECK_OK(hint_expect(&self->meter, thp_tables_split(THP_ANON), 1, &self->why),
		     &self->why);
	updates = thp_obs_vmstat("numa_pte_updates") - updates;
	if (hints_after_split()) {
		THP_CHECK(updates >= half && updates < UINT32_MAX,
			  "numa_pte_updates: expected at least +%llu, got +%llu",
			  (unsigned long long)half, (unsigned long long)updates);
		THP_CHECK(hinted(thp_page(&self->m, half)), "the upper half has kept its access");
	}
	THP_CHECK(!hinted(thp_page(&self->m, 0)), "the lower half has lost its access");
	THP_CHECK_OK(thp_map_expect(&self->m, THP_STATE_PTE, &self->why), &self->why);
	THP_CHECK_OK(thp_map_check(&self->m, 0, thp_env.nr, &self->why), &self->why);
	hint_end(&self->m, self->idle, self->gate);
}

/*
 * Without memory for the split, NUMA balancing drops the hint: the THP keeps its access,
 * counts as no update, and the round continues behind it.
 */
THP_COVERS(hint, starved, "protect-numa");
TEST_F(hint, starved)
{
	bool lazy = thp_env.contract == THP_LAZY;
	uint64_t updates, failed;
	const struct hint h = {
		.m = &self->m, .meter = &self->meter, .updates = &updates, .starved = true,
	};
	long fired;

	THP_NEEDS(THP_NEED_ROOT | THP_NEED_COLLAPSE | THP_NEED_FAIL_PAGE);
	THP_REQUIRE_OK(hint_set_up(&self->idle, self->gate, &self->why), &self->why);
	THP_SCENARIO(hint_meet, &h);
	fired = thp_inject_fired();
	thp_inject_report("targeted", lazy, fired, "not hinted");
	THP_CHECK(lazy ? fired > 0 : !fired, "%ld tables refused, expected %s", fired,
		  lazy ? "at least 1" : "none");
	THP_CHECK_OK(hint_expect(&self->meter, 0, lazy ? 0 : 1, &self->why), &self->why);
	failed = thp_meter_event(&self->meter, split_pmd_failed);
	if (self->meter.ev[1].split_pmd_failed != THP_EVENT_NONE)
		THP_CHECK(failed == (uint64_t)lazy, "thp_split_pmd_failed: expected +%d, got +%llu",
			  lazy, (unsigned long long)failed);
	updates = thp_obs_vmstat("numa_pte_updates") - updates;
	THP_CHECK(updates < UINT32_MAX, "numa_pte_updates: +%llu, as if an error were a number",
		  (unsigned long long)updates);
	if (lazy || hints_after_split())
		THP_CHECK(hinted(thp_page(&self->m, thp_env.nr / 2)) == !lazy,
			  "the upper half has %s its access", lazy ? "lost" : "kept");
	if (lazy)
		THP_CHECK(hinted(self->m.thp + thp_env.pmd),
			  "the round ended at the THP that could not be split");
	THP_CHECK_OK(thp_map_expect(&self->m, lazy ? THP_STATE_PMD : THP_STATE_PTE, &self->why),
		     &self->why);
	THP_CHECK_OK(thp_map_check(&self->m, 0, thp_env.nr, &self->why), &self->why);
	hint_end(&self->m, self->idle, self->gate);
}
