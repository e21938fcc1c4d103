// SPDX-License-Identifier: GPL-2.0
/*
 * between: A PMD that becomes huge in the middle of an operation.
 */

/*
 * A huge PMD that appears across the edge of a range after the edges were split: while
 * the operation is busy with base pages, another thread zaps what is behind them and
 * faults it in anew. There is one table for the first split and none for the second,
 * which fails where nothing can be taken back; it may fail, but it has to say so.
 */
#define BETWEEN_PMDS	256
#define BETWEEN_TRIES	400
/* Refusals that are reported, or are not. */
#define BETWEEN_HITS	5
/* The same where most are those of markers. */
#define MARKER_HITS	25
#define BETWEEN_MS	20000
#define REFAULT_MS	1000	/* of one operation */

struct between_op {
	const char *row;	/* the operation */
	bool installs;		/* markers, for which it needs tables on any kernel */
	uint64_t features, mode;	/* of a userfaultfd, or 0 */
};

enum { REST, GO, QUIT };

/* The other thread, and what it works on. */
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
 * On the CPU of the operation and with a higher priority: it interrupts the operation,
 * also on machines, and virtual ones, where two CPUs seldom run at the same time. Not
 * for ever: who starts over as long as the PMD becomes huge again may do so.
 */
static void *refault(void *arg)
{
	struct sched_param fifo = { .sched_priority = 1 };
	long long end = 0;
	int want;

	(void)arg;
	/* Without the right to that it is the same, less often at the right time. */
	(void)pthread_setschedparam(pthread_self(), SCHED_FIFO, &fifo);
	while ((want = refaulter_wants()) != QUIT) {
		if (want != GO) {
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

/* Returns when it rests; the rest is not waited for. */
static void refaulter_set(int want)
{
	__atomic_store_n(&refaulter.want, want, __ATOMIC_RELEASE);
	while (want == REST && __atomic_load_n(&refaulter.is, __ATOMIC_ACQUIRE) != REST)
		usleep(100);
}

/* A base page, the zero page, for each of many PTE tables, and a huge zero PMD behind them. */
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

/* Whether zapping a split PMD makes room for a huge one: CONFIG_PT_RECLAIM. */
static bool between_reclaims(struct thp_map *m)
{
	enum thp_state state;

	if (madvise(m->thp, thp_env.page, MADV_DONTNEED) ||
	    madvise(m->thp, thp_env.pmd, MADV_DONTNEED))
		return false;
	(void)thp_peek(m->thp);
	return !thp_obs_state(m->thp, thp_env.pmd, &state) && state == THP_STATE_PMD_ZERO;
}

/*
 * One operation against the other thread. -errno; 0 if it was refused no table; 1 if it
 * was and says so; 2 if it does not. Once in a while that is no lie, as the other thread
 * may have zapped what the table was for.
 */
static int between_once(struct job *job, struct thp_map *m, struct thp_why *why)
{
	struct trial *self = job->trial;
	const struct split_op *op = job->op;
	struct thp_deadline d;
	long fired;
	int ret;

	ret = thp_inject_task(getpid(), true);
	if (!ret)
		ret = thp_inject_grant(1);
	fired = thp_inject_fired();
	if (ret || fired < 0)
		return thp_why(why, -EIO, "PTE tables cannot be limited");
	refaulter_set(GO);
	thp_deadline_start(&d, getpid(), THP_RETURN_MS);
	self->ret = split_run_at(op, m, m->area, m->area_len - thp_env.pmd / 2);
	refaulter_set(REST);
	(void)thp_inject_task(getpid(), false);
	fired = thp_inject_fired() - fired;
	if (thp_deadline_over(&d))
		return thp_why(why, -EPROTO, "%s took %lld ms, %lld ms of it on a CPU: livelock",
			       op->name, d.wall, d.cpu);
	if (fired && !self->ret)
		return 2;
	if (self->ret && (!fired || !split_errno_ok(op, self->ret)))
		return thp_why(why, -EPROTO, "%s returned %s, with %ld tables refused", op->name,
			       thp_errno_name(self->ret), fired);
	return fired > 0;
}

static int between_victim(struct thp_chan *chan, void *arg)
{
	struct job *job = arg;
	struct trial *self = job->trial;
	struct thp_why *why = &chan->why;
	long long end = thp_now_ms() + BETWEEN_MS;
	static struct thp_map m;
	int want = job->between->installs ? MARKER_HITS : BETWEEN_HITS;
	int ret, try, hits[3] = { 0 };
	pthread_t thread;

	thp_warm_up();
	TRY(between_new(&m, job->between, why));
	self->reclaims = between_reclaims(&m);
	thp_map_destroy(&m);
	ret = thp_pin_cpu();
	if (ret)
		return thp_why(why, ret, "sched_setaffinity: %s", thp_errno_name(ret));
	if (pthread_create(&thread, NULL, refault, NULL))
		return thp_why(why, -EAGAIN, "no thread");
	thp_chan_post_parent(chan, 1);
	thp_chan_await_parent(chan, 2);
	for (try = 0; try < BETWEEN_TRIES && hits[1] < want && hits[2] < want &&
	     thp_now_ms() < end && self->reclaims; try++) {
		thp_chan_beat(chan);
		/* What prepares it gets its tables. */
		ret = thp_inject_task(getpid(), false);
		if (!ret)
			ret = between_new(&m, job->between, why);
		if (ret)
			break;
		refaulter.tail = m.thp;
		refaulter.period_us = 100 + try % 5 * 200;
		ret = between_once(job, &m, why);
		thp_map_destroy(&m);
		if (ret < 0)
			break;
		hits[ret]++;
	}
	refaulter_set(QUIT);
	self->drained = thp_inject_drained();
	thp_chan_post_parent(chan, 3);
	thp_chan_await_parent(chan, 4);
	pthread_join(thread, NULL);
	if (ret < 0)
		return thp_why(why, ret, "try %d: %s", try, thp_errno_name(ret));
	if (hits[2] > hits[1])
		return thp_why(why, -EPROTO, "%s was refused a table %d times and said so %d times",
			       job->op->name, hits[1] + hits[2], hits[1]);
	return 0;
}

FIXTURE(between) {
	struct trial trial;
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
	const struct split_op *op = op_by_name(variant->op.row);

	THP_REQUIRE(op, "no operation %s", variant->op.row);
	THP_NEEDS(op->needs | THP_NEED_FAIL_PAGE | THP_NEED_ZERO);
}

FIXTURE_TEARDOWN_PARENT(between)
{
	thp_teardown(_metadata);
}

TEST_F_TIMEOUT(between, reported, 120)
{
	bool lazy = thp_env.contract == THP_LAZY;
	struct trial *t = &self->trial;
	struct job job = {
		.op = op_by_name(variant->op.row), .between = &variant->op, .trial = t,
		.fn = between_victim, .injector = TARGETED, .return_ms = THP_RETURN_MS + REFAULT_MS,
	};
	struct thp_why why = { 0 };

	THP_REQUIRE_OK(thp_inject_setup(true, 0, &why), &why);
	THP_REQUIRE_OK(watch(&job, &why), &why);
	if (!t->reclaims)
		THP_SKIP("needs a kernel that frees empty PTE tables (PT_RECLAIM)");
	thp_inject_report("targeted", lazy || variant->op.installs, t->fired,
			  "another PMD became huge, then %s", outcome(t));
	if (!lazy) {
		THP_CHECK(!t->fired || variant->op.installs, "asked for %ld tables, expected none",
			  t->fired);
		return;
	}
	if (!t->fired)
		THP_SKIP("no PMD became huge at the right time");
}
