// SPDX-License-Identifier: GPL-2.0
/* between: A PMD becomes huge in the middle of an operation. */

/*
 * A huge PMD appears across the edge of a range after the operation has split the edges:
 * while the operation handles base pages, another thread zaps the memory behind them and
 * faults it in again. There is one table for the first split and none for the second, which
 * fails where nothing can be undone; the operation may fail, but it has to return an error.
 */
#define BETWEEN_PMDS	256
#define BETWEEN_TRIES	400
/* The number of refusals after which the test ends, reported or not. */
#define BETWEEN_HITS	5
/* The same where most refusals are those of markers. */
#define MARKER_HITS	25
/*
 * CPU time of all tries, on a normal machine. The watch gives them the time of one operation
 * more, see between_once(); its limit is measured anew when it is reached, this one is not.
 */
#define BETWEEN_MS	THP_RETURN_MS
#define REFAULT_MS	1000	/* of one operation */

struct between_op {
	const char *row;	/* the operation */
	bool installs;		/* installs markers, which need tables on any kernel */
	uint64_t features, mode;	/* of a userfaultfd, or 0 */
};

enum refaulter_order { REFAULT_REST, REFAULT_GO, REFAULT_QUIT };

/* The other thread, and the range that it works on. */
static struct {
	char *tail;
	int period_us;
	int want, is;
} refaulter = { .period_us = 1000 };

static int refaulter_wants(void)
{
	return __atomic_load_n(&refaulter.want, __ATOMIC_ACQUIRE);
}

/*
 * Runs on the CPU of the operation with a higher priority: it interrupts the operation,
 * also on machines, and virtual ones, where two CPUs seldom run at the same time. It stops
 * after a while, because an operation may start over as long as the PMD becomes huge again.
 */
static void *refault(void *arg)
{
	struct sched_param fifo = { .sched_priority = 1 };
	long long end = 0;
	int want;

	(void)arg;
	/* Without permission for that the race works as well, but is met less often. */
	(void)pthread_setschedparam(pthread_self(), SCHED_FIFO, &fifo);
	while ((want = refaulter_wants()) != REFAULT_QUIT) {
		if (want != REFAULT_GO) {
			end = thp_now_ms() + REFAULT_MS;
		} else if (thp_now_ms() < end) {
			madvise(refaulter.tail, thp_env.pmd, MADV_DONTNEED);
			(void)thp_peek(refaulter.tail + thp_env.pmd - thp_env.page);
		}
		__atomic_store_n(&refaulter.is, want, __ATOMIC_RELEASE);
		usleep(refaulter.period_us);
	}
	return NULL;
}

/* For the order to rest it returns once the thread rests; it does not wait for other orders. */
static void refaulter_set(enum refaulter_order want)
{
	__atomic_store_n(&refaulter.want, want, __ATOMIC_RELEASE);
	while (want == REFAULT_REST &&
	       __atomic_load_n(&refaulter.is, __ATOMIC_ACQUIRE) != REFAULT_REST)
		usleep(100);
}

/* Maps the zero page in each of many PTE tables, and a huge zero PMD behind them. */
static int between_new(struct thp_map *m, const struct between_op *b, struct thp_why *why)
{
	size_t small = BETWEEN_PMDS * thp_env.pmd;
	enum thp_state state = THP_STATE_NONE;
	size_t i;
	int ret;

	thp_map_init(m, THP_ZERO);
	m->area_len = small + thp_env.pmd;
	m->area = edges_reserve(m->area_len);
	if (m->area == MAP_FAILED) {
		m->area = NULL;
		return thp_why(why, -errno, "mmap: %s", strerror(errno));
	}
	m->thp = m->area + small;
	if (mprotect(m->area, m->area_len, PROT_READ | PROT_WRITE) ||
	    madvise(m->area, m->area_len, MADV_NOHUGEPAGE))
		return thp_why(why, -errno, "madvise: %s", strerror(errno));
	for (i = 0; i < BETWEEN_PMDS; i++)
		(void)thp_peek(m->area + i * thp_env.pmd);
	if (madvise(m->area, m->area_len, MADV_HUGEPAGE))
		return thp_why(why, -errno, "MADV_HUGEPAGE: %s", strerror(errno));
	if (b->mode) {
		m->uffd = thp_uffd_watch(m->area, m->area_len, b->features, b->mode, why);
		if (m->uffd < 0)
			return m->uffd;
	}
	(void)thp_peek(m->thp);
	ret = thp_obs_state(m->thp, thp_env.pmd, &state);
	if (!ret && state != THP_STATE_PMD_ZERO)
		ret = -EPROTO;
	return ret ? thp_why(why, ret, "the tail is %s", thp_state_name(state)) : 0;
}

/* Whether zapping a split PMD frees its table, so that it can become huge: CONFIG_PT_RECLAIM. */
static bool between_reclaims(struct thp_map *m)
{
	enum thp_state state;

	if (madvise(m->thp, thp_env.page, MADV_DONTNEED) ||
	    madvise(m->thp, thp_env.pmd, MADV_DONTNEED))
		return false;
	(void)thp_peek(m->thp);
	return !thp_obs_state(m->thp, thp_env.pmd, &state) && state == THP_STATE_PMD_ZERO;
}

/* One run, and what the victim has found out about this kernel. */
struct between_run {
	const struct between_op *between;
	bool *reclaims;		/* empty PTE tables are freed: CONFIG_PT_RECLAIM */
};

/* The outcome of one operation. */
enum between_hit {
	BETWEEN_MISSED,		/* no table was refused */
	BETWEEN_REPORTED,	/* a table was refused, and the operation returned an error */
	BETWEEN_SILENT,		/* a table was refused, and the operation returned success */
};

/*
 * Runs one operation against the other thread: enum between_hit, or -errno with a cause.
 * Sometimes success is right all the same: the thread may have zapped the PMD for which the
 * table was needed.
 */
static int between_once(const struct starve_job *job, struct thp_map *m, struct thp_why *why)
{
	const struct split_op *op = job->op;
	struct thp_deadline d;
	long fired;
	int ret;

	ret = thp_inject_own(true);
	if (!ret)
		ret = thp_inject_grant(1);
	fired = thp_inject_fired();
	if (ret || fired < 0)
		return thp_why(why, -EIO, "PTE tables cannot be limited");
	refaulter_set(REFAULT_GO);
	thp_deadline_start(&d, getpid(), THP_RETURN_MS);
	ret = split_run_at(op, m, m->area, m->area_len - thp_env.pmd / 2);
	refaulter_set(REFAULT_REST);
	(void)thp_inject_own(false);
	fired = thp_inject_fired() - fired;
	job->result->ret = ret;
	if (thp_deadline_over(&d))
		return thp_why(why, -EPROTO, "%s took %lld ms, %lld ms of it on a CPU: livelock",
			       op->name, d.wall, d.cpu);
	if (fired && !ret)
		return BETWEEN_SILENT;
	if (ret && (!fired || !split_errno_ok(op, ret)))
		return thp_why(why, -EPROTO, "%s returned %s, with %ld tables refused", op->name,
			       thp_errno_name(ret), fired);
	return fired > 0 ? BETWEEN_REPORTED : BETWEEN_MISSED;
}

/* Runs one operation on a new range, with a new delay. Returns as between_once(). */
static int between_try(const struct starve_job *job, int try, struct thp_why *why)
{
	const struct between_run *run = job->arg;
	static struct thp_map m;
	int ret;

	/* Its preparation needs tables. */
	ret = thp_inject_own(false);
	if (!ret)
		ret = between_new(&m, run->between, why);
	if (ret)
		return ret;
	refaulter.tail = m.thp;
	refaulter.period_us = 100 + try % 5 * 200;
	ret = between_once(job, &m, why);
	thp_map_destroy(&m);
	return ret;
}

/* The first steps of the victim; its other thread runs afterwards. */
static int between_prepare(const struct between_run *run, pthread_t *thread, struct thp_why *why)
{
	struct thp_map m;
	int ret;

	TRY(between_new(&m, run->between, why));
	*run->reclaims = between_reclaims(&m);
	thp_map_destroy(&m);
	ret = thp_pin_cpu();
	if (ret)
		return thp_why(why, ret, "sched_setaffinity: %s", thp_errno_name(ret));
	if (pthread_create(thread, NULL, refault, NULL))
		return thp_why(why, -EAGAIN, "no thread");
	return 0;
}

static int between_victim(struct thp_chan *chan, void *arg)
{
	const struct starve_job *job = arg;
	const struct between_run *run = job->arg;
	struct thp_why *why = &chan->why;
	const double end = BETWEEN_MS * thp_cpu_slow() * (CLOCKS_PER_SEC / 1000);
	int want = run->between->installs ? MARKER_HITS : BETWEEN_HITS;
	int ret = 0, try, hits[] = { [BETWEEN_SILENT] = 0 };
	pthread_t thread;
	clock_t begin;

	thp_warm_up();
	TRY(between_prepare(run, &thread, why));
	thp_chan_post_parent(chan, STARVE_READY);
	thp_chan_await_parent(chan, STARVE_GO);
	thp_chan_post_parent(chan, STARVE_HUNGRY);
	begin = clock();
	for (try = 0; try < BETWEEN_TRIES && hits[BETWEEN_REPORTED] < want &&
	     hits[BETWEEN_SILENT] < want && clock() - begin < end && *run->reclaims; try++) {
		thp_chan_beat(chan);
		ret = between_try(job, try, why);
		if (ret < 0)
			break;
		hits[ret]++;
	}
	refaulter_set(REFAULT_QUIT);
	thp_chan_post_parent(chan, STARVE_DONE);
	thp_chan_await_parent(chan, STARVE_FED);
	pthread_join(thread, NULL);
	if (ret < 0)
		return thp_why(why, ret, "try %d: %s", try, thp_errno_name(ret));
	if (hits[BETWEEN_SILENT] > hits[BETWEEN_REPORTED])
		return thp_why(why, -EPROTO, "%s was refused a table %d times and said so %d times",
			       job->op->name, hits[BETWEEN_REPORTED] + hits[BETWEEN_SILENT],
			       hits[BETWEEN_REPORTED]);
	return 0;
}

FIXTURE(between) {
	struct starve_result result;
	bool reclaims;
};

FIXTURE_VARIANT(between) {
	struct between_op op;
};

THP_COVERS_VARIANT(between, dontneed, reported, "zap-dontneed");
FIXTURE_VARIANT_ADD(between, dontneed) { .op = { .row = "dontneed_mid" } };

THP_COVERS_VARIANT(between, guard_install, reported, "zap-guard");
FIXTURE_VARIANT_ADD(between, guard_install) {
	.op = { .row = "guard_install_mid", .installs = true },
};

THP_COVERS_VARIANT(between, uffd_wp, reported, "protect-uffd-wp");
FIXTURE_VARIANT_ADD(between, uffd_wp) {
	.op = { .row = "uffd_wp_mid", .mode = UFFDIO_REGISTER_MODE_WP },
};

THP_COVERS_VARIANT(between, uffd_rwp, reported, "protect-uffd-rwp");
FIXTURE_VARIANT_ADD(between, uffd_rwp) {
	.op = {
		.row = "uffd_rwp_mid", .mode = UFFDIO_REGISTER_MODE_RWP,
		.features = UFFD_FEATURE_RWP | UFFD_FEATURE_RWP_ASYNC,
	},
};

FIXTURE_SETUP(between)
{
	const struct split_op *op = split_op_by_name(variant->op.row);

	THP_REQUIRE(op, "no operation %s", variant->op.row);
	THP_NEEDS(op->needs | THP_NEED_FAIL_PAGE | THP_NEED_ZERO);
}

FIXTURE_TEARDOWN_PARENT(between)
{
	thp_teardown(_metadata);
}

/* An operation whose second table is refused returns an error. */
static int refusal_reported(const void *arg, struct thp_why *why)
{
	const struct starve_job *job = arg;
	const struct between_run *run = job->arg;
	bool lazy = thp_env.contract == THP_LAZY;
	struct starve_result *r = job->result;

	memset(r, 0, sizeof(*r));
	TRY(thp_inject_tables(why));
	TRY(starve_run(job, why));
	if (!*run->reclaims)
		return thp_skip(why, "needs a kernel that frees empty PTE tables (PT_RECLAIM)");
	thp_inject_report("targeted", lazy || run->between->installs, r->fired,
			  "another PMD became huge, then %s", starve_outcome(r));
	if (!lazy && r->fired && !run->between->installs)
		return thp_why(why, -EPROTO, "asked for %ld tables, expected none", r->fired);
	if (lazy && !r->fired)
		return thp_skip(why, "no PMD became huge at the right time");
	return 0;
}

TEST_F_TIMEOUT(between, reported, 120)
{
	const struct between_run run = { &variant->op, &self->reclaims };
	const struct starve_job job = {
		.op = split_op_by_name(variant->op.row), .by = &starve_tables,
		.victim = between_victim, .arg = &run,
		.return_ms = BETWEEN_MS + THP_RETURN_MS + REFAULT_MS,
		.result = &self->result,
	};

	THP_SCENARIO(refusal_reported, &job);
}
