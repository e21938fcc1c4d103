// SPDX-License-Identifier: GPL-2.0
/*
 * race_rmap: fork() and exit against splits that come through the reverse mapping.
 */

/*
 * A folio split that names one process reaches all others by rmap, without their mmap
 * locks. debugfs holds the mmap lock of the process that it is given, so the tests name a
 * process other than the one under test. fork() and exit walk the addresses upwards:
 * ballast of small pages at the lowest addresses delays them, so that the split has time to
 * begin.
 */
#define RMAP_THPS	4
#define RMAP_MANY	16	/* of 2 MiB, or as many as make the same size */
#define RMAP_ROUNDS	60
#define RMAP_BALLAST	2048	/* pages */

struct rmap_area {
	char *base;
	size_t ballast;		/* PMD ranges before those of the THPs */
	size_t thps;
	char *spare;		/* SPARE_RANGES of a sharer */
	size_t spares;		/* number of these for which it takes tables */
	long long took_us;	/* duration of the last split */
	pid_t by;		/* the process given to debugfs */
	int ret;
	int done;
};

/* Steps of a sharer, or of the process that counts for it, and of the parent. */
enum { RMAP_READY = 1 };
enum { RMAP_END = 1 };

/* The value that they leave: the number of spares, or whether it was right. */
enum { RMAP_SPARES };

static char *rmap_range(const struct rmap_area *a, size_t i)
{
	return a->base + i * thp_env.pmd;
}

/* Two pages distinguish the ranges. */
static void rmap_fill(const struct rmap_area *a, size_t i)
{
	thp_fill(rmap_range(a, i), i, 0);
	thp_fill(rmap_range(a, i + 1) - thp_env.page, i, 1);
}

static int rmap_check(const struct rmap_area *a, struct thp_why *why)
{
	size_t i;
	int ret = 0;

	for (i = a->ballast; i < a->ballast + a->thps && !ret; i++) {
		ret = thp_check(rmap_range(a, i), i, 0, 1, why);
		if (!ret)
			ret = thp_check(rmap_range(a, i + 1) - thp_env.page, i, 1, 1, why);
	}
	return ret;
}

static int rmap_new(struct rmap_area *a, struct thp_why *why)
{
	size_t len;

	a->ballast = (RMAP_BALLAST + thp_env.nr - 1) / thp_env.nr;
	len = (a->ballast + a->thps + 1) * thp_env.pmd;
	a->base = mmap(NULL, len, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (a->base == MAP_FAILED || madvise(a->base, len, MADV_HUGEPAGE))
		return thp_why(why, -errno, "mmap: %s", strerror(errno));
	a->base += thp_env.pmd - (uintptr_t)a->base % thp_env.pmd;
	return 0;
}

/*
 * New THPs behind ballast. The ballast grows and, when full, starts anew; with spares it
 * stays.
 */
static int rmap_renew(const struct rmap_area *a, unsigned int round, struct thp_why *why)
{
	size_t i, n = a->spares ? a->ballast : round % (a->ballast + 1);

	if (!n) {
		TRY(anew(a->base, a->ballast * thp_env.pmd, why));
	} else {
		rmap_fill(a, n - 1);
		/* Splits the THP. */
		madvise(rmap_range(a, n - 1) + thp_env.pmd / 2, thp_env.page, MADV_DONTNEED);
	}
	TRY(anew(rmap_range(a, a->ballast), a->thps * thp_env.pmd, why));
	for (i = 0; i < a->thps; i++)
		rmap_fill(a, a->ballast + i);
	return 0;
}

static void *rmap_split(void *arg)
{
	struct rmap_area *a = arg;

	a->ret = thp_split_folios(a->by, (unsigned long)rmap_range(a, a->ballast),
				  rmap_range(a, a->ballast + a->thps) -
				  rmap_range(a, a->ballast));
	__atomic_store_n(&a->done, 1, __ATOMIC_SEQ_CST);
	return NULL;
}

#define SPARE_RANGES	1024
#define SPARE_ROUNDS	1000

/* Touches everything else that a sharer uses: a table allocated later would not be counted. */
static int spare_begin(struct rmap_area *a, struct thp_chan *chan)
{
	size_t len = SPARE_RANGES * thp_env.pmd;

	chan->val[RMAP_SPARES] = 0;
	thp_warm_up();
	(void)thp_obs_pagetables_kb();
	a->spare = mmap(NULL, len, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (a->spare == MAP_FAILED)
		return thp_why(&chan->why, -errno, "mmap: %s", strerror(errno));
	madvise(a->spare, len, MADV_NOHUGEPAGE);
	return 0;
}

/* Maps the zero page: takes a table, and no other memory. */
static void spare_take(const struct rmap_area *a, size_t i)
{
	(void)thp_peek(a->spare + i * thp_env.pmd);
}

/* Whether tables are cut from pages that are set aside: tables that are whole pages never are. */
static bool spare_cut(void)
{
	return thp_env.table < thp_env.page;
}

/*
 * RMAP_SPARES: whether the last table is in the page in which the counted tables began. A
 * page that is freed at that moment hides it.
 */
static int spare_use_up(struct rmap_area *a, struct thp_chan *chan)
{
	size_t i, begin = a->spares - thp_env.page / thp_env.table;
	int ret = spare_begin(a, chan);
	long long before;

	if (ret)
		return ret;
	for (i = 0; i < begin; i++)
		spare_take(a, i);
	before = thp_obs_pagetables_kb();
	spare_take(a, i++);
	chan->val[RMAP_SPARES] = !spare_cut() || thp_obs_pagetables_kb() > before;
	for (; i < a->spares; i++)
		spare_take(a, i);
	return 0;
}

/* Shares the THPs until it is told to end. */
static int rmap_sharer(struct thp_chan *chan, void *arg)
{
	struct rmap_area *a = arg;
	int ret = a->spares ? spare_use_up(a, chan) : 0;

	if (ret)
		return ret;
	thp_chan_post_parent(chan, RMAP_READY);
	while (__atomic_load_n(&chan->to_child, __ATOMIC_SEQ_CST) < RMAP_END)
		sched_yield();
	return 0;
}

/* Forks while the folios are split through the sharer. */
static int rmap_meets_fork(struct rmap_area *a, struct thp_child *sharer, struct thp_why *why)
{
	pthread_t thread;
	int ret, status;
	pid_t pid = 0;

	a->by = sharer->pid;
	a->done = 0;
	ret = pthread_create(&thread, NULL, rmap_split, a);
	if (ret)
		return thp_why(why, -ret, "pthread_create: %s", strerror(ret));
	do {
		pid = fork();
		if (!pid)
			_exit(0);
		if (pid > 0 && waitpid(pid, &status, 0) != pid)
			pid = -1;
	} while (pid > 0 && !__atomic_load_n(&a->done, __ATOMIC_SEQ_CST));
	if (pid < 0)
		ret = thp_why(why, -errno, "fork: %s", strerror(errno));
	pthread_join(thread, NULL);
	thp_chan_post_child(sharer->chan, RMAP_END);
	return ret;
}

#define EXIT_SWEEP	32

/*
 * Splits the folios while the sharer exits, each time at another moment of the exit. A
 * split reaches the sharer soon, so it starts after the exit begins, by up to twice the
 * time that a split takes.
 */
static int rmap_meets_exit(struct rmap_area *a, struct thp_child *sharer, struct thp_why *why)
{
	static unsigned int round;
	long long begin;

	(void)why;
	a->by = getpid();
	thp_chan_post_child(sharer->chan, RMAP_END);
	thp_spin_us(a->took_us * 2 * (round++ % EXIT_SWEEP) / EXIT_SWEEP);
	begin = thp_now_us();
	rmap_split(a);
	a->took_us = thp_now_us() - begin;
	return 0;
}

/*
 * Runs in a process like a sharer: the number of tables it takes until it has used up the
 * page from which they are cut.
 */
static int spare_count(struct thp_chan *chan, void *arg)
{
	size_t per = thp_env.page / thp_env.table, jumps[16], n = 0, i, k;
	struct rmap_area *a = arg;
	int ret = spare_begin(a, chan);
	long long before, now;

	if (ret)
		return ret;
	before = thp_obs_pagetables_kb();
	for (i = 0; i < SPARE_RANGES && n < ARRAY_SIZE(jumps); i++) {
		spare_take(a, i);
		now = thp_obs_pagetables_kb();
		if (now > before) {
			/* Other processes allocate tables, too, and PMD tables count as well. */
			for (k = 0; k < n; k++)
				if (jumps[k] + per == i)
					chan->val[RMAP_SPARES] = i;
			jumps[n++] = i;
			if (chan->val[RMAP_SPARES]) {
				thp_chan_post_parent(chan, RMAP_READY);
				return 0;
			}
		}
		before = now;
	}
	return thp_why(&chan->why, -ENODATA, "PageTables does not grow with PTE tables");
}

static int spare_find(struct rmap_area *a, struct thp_why *why)
{
	struct thp_child child = { 0 };
	int ret;

	ret = thp_child_start(&child, spare_count, a);
	if (ret)
		return thp_why(why, ret, "fork: %s", thp_errno_name(ret));
	if (!thp_child_await(&child, RMAP_READY, THP_STEP_MS))
		a->spares = child.chan->val[RMAP_SPARES];
	return thp_child_join(&child, THP_STEP_MS, why);
}

static int spare_new(struct rmap_area *a, struct thp_why *why)
{
	unsigned int i;
	int ret = 0;

	/* From here on it takes the same tables each time. */
	for (i = 0; i <= a->ballast && !ret; i++)
		ret = rmap_renew(a, i, why);
	return ret ? ret : spare_find(a, why);
}

struct rmap_race {
	int (*meet)(struct rmap_area *a, struct thp_child *sharer, struct thp_why *why);
	int ms;			/* for all rounds, well below the test's time limit */
	bool many;		/* all can be met, not just the first few */
	bool spare;		/* sharers use up the page from which tables are cut */
};

static size_t rmap_thps(const struct rmap_race *race)
{
	size_t many = (RMAP_MANY << 21) / thp_env.pmd;

	/*
	 * With several THPs the first might be split before the exit, and leave a table set
	 * aside.
	 */
	if (race->spare)
		return 1;
	return race->many && many > RMAP_THPS ? many : RMAP_THPS;
}

static int race_by_rmap(const void *arg, struct thp_why *why)
{
	const struct rmap_race *race = arg;
	long long end = thp_now_ms() + race->ms;
	struct thp_child sharer = { 0 };
	struct thp_events ev[2] = { 0 };
	unsigned int i, rounds, stray = 0;
	struct rmap_area a = { 0 };
	bool meets;
	int ret;

	a.thps = rmap_thps(race);
	rounds = race->spare && spare_cut() ? SPARE_ROUNDS : RMAP_ROUNDS;
	ret = rmap_new(&a, why);
	if (!ret && race->spare)
		ret = spare_new(&a, why);
	thp_obs_events(&ev[0]);
	for (i = 0; i < rounds * thp_env.scale && thp_now_ms() < end && !ret; i++) {
		ret = rmap_renew(&a, i, why);
		if (ret)
			break;
		ret = thp_child_start(&sharer, rmap_sharer, &a);
		if (!ret)
			ret = thp_child_await(&sharer, RMAP_READY, THP_STEP_MS);
		if (ret) {
			ret = thp_why(why, ret, "fork: %s", thp_errno_name(ret));
			break;
		}
		/* With a wrong count, the race can corrupt the kernel unnoticed. */
		meets = !race->spare || sharer.chan->val[RMAP_SPARES];
		if (meets)
			ret = race->meet(&a, &sharer, why);
		else
			thp_chan_post_child(sharer.chan, RMAP_END);
		if (!ret)
			ret = thp_child_join(&sharer, THP_STEP_MS, why);
		if (!ret && a.ret && a.ret != -ESRCH && a.ret != -EINVAL)
			ret = thp_why(why, a.ret, "split_huge_pages: %s", thp_errno_name(a.ret));
		if (!ret)
			ret = rmap_check(&a, why);
		/* Not earlier: the channel of the sharer may take a table itself. */
		if (!ret && !meets) {
			stray++;
			ret = spare_find(&a, why);
		}
	}
	thp_child_kill(&sharer);
	thp_obs_events(&ev[1]);
	printf("# by rmap: %u rounds, %u of them left out, %lld of %zu folios split\n", i, stray,
	       (long long)(ev[1].split_page - ev[0].split_page), i * a.thps);
	if (!ret && stray > i - i / 8)
		ret = thp_why(why, -ENODATA, "%u of %u sharers had other tables than counted",
			      stray, i);
	return ret;
}

/*
 * An exiting mm must not get a table any more: exit has freed the fragments that the mm had
 * set aside, and a fragment set aside now is never freed. This test looks for the leak, and
 * runs before the other races because a kernel with the use after free may crash in them.
 */
THP_COVERS(race, exit_no_leak, "multi-mm-split leak-page-tables");
TEST_F_TIMEOUT(race, exit_no_leak, 90)
{
	/* Less than the exits that are met would leak, more than other processes use. */
	long long slack = 2 * (long long)thp_env.page / 1024 + 64, before;
	const struct rmap_race race = { .meet = rmap_meets_exit, .ms = 40000, .spare = true };
	struct thp_why why = { 0 };

	THP_NEEDS(THP_NEED_DEBUGFS | THP_NEED_STATS);
	THP_REQUIRE_OK(thp_race_residue(&before), &why);
	THP_SCENARIO(race_by_rmap, &race);
	THP_CHECK_OK(thp_race_no_residue(before, slack, &why), &why);
}

THP_COVERS(race, fork_split, "race-fork fork-anon multi-mm-split");
TEST_F_TIMEOUT(race, fork_split, 60)
{
	const struct rmap_race race = { .meet = rmap_meets_fork, .ms = 25000, .many = true };

	THP_NEEDS(THP_NEED_DEBUGFS);
	THP_SCENARIO(race_by_rmap, &race);
}

/* exit_mmap() unmaps the rest in any case. */
THP_COVERS(race, exit_split, "multi-mm-split");
TEST_F(race, exit_split)
{
	const struct rmap_race race = { .meet = rmap_meets_exit, .ms = 15000 };

	THP_NEEDS(THP_NEED_DEBUGFS);
	THP_SCENARIO(race_by_rmap, &race);
}

#define REFUSED_ROUNDS	40
#define REFUSED_ALL_MS	20000
/* For the splitter, if nobody ends it. */
#define REFUSED_MS	5000

/* Shared by the processes of one round. */
struct refused {
	pid_t splitter;
	int tries;		/* of the splitter */
	int done;		/* set by the splitter: 1 if it was right, or -errno */
	unsigned int round;
	struct thp_why why;
};

/*
 * Splits in an endless loop while @creator lives. The walk reaches the creator first,
 * because its VMA was the first with this anon_vma, and is refused a table for it.
 */
static void refused_splitter(struct refused *s, struct thp_map *m, pid_t creator)
{
	long long end = thp_now_ms() + REFUSED_MS;
	int ret = thp_inject_own(true);

	while (!ret && getppid() == creator && thp_now_ms() < end) {
		(void)thp_split_folios(getpid(), (unsigned long)m->thp, thp_env.pmd);
		__atomic_add_fetch(&s->tries, 1, __ATOMIC_SEQ_CST);
	}
	(void)thp_inject_own(false);
	if (!ret)
		ret = thp_map_check(m, 0, thp_env.nr, &s->why);
	__atomic_store_n(&s->done, ret ? ret : 1, __ATOMIC_SEQ_CST);
	_exit(0);
}

static int refused_creator(struct thp_chan *chan, void *arg)
{
	static struct thp_map m;
	struct refused *s = arg;
	pid_t self = getpid();
	struct thp_deadline d;
	int ret;

	ret = thp_map_new(&m, THP_ANON, &chan->why);
	if (ret)
		return ret;
	s->splitter = fork();
	if (s->splitter < 0)
		return thp_why(&chan->why, -errno, "fork: %s", strerror(errno));
	if (!s->splitter)
		refused_splitter(s, &m, self);
	thp_deadline_start(&d, 0, THP_STEP_MS);
	while (__atomic_load_n(&s->tries, __ATOMIC_SEQ_CST) < 2 && !thp_deadline_over(&d))
		sched_yield();
	/* Varies the time since the splitter's last try. */
	thp_spin_us(s->round * 37 % 500);
	return 0;
}

static int refused_round(struct refused *s, unsigned int round, struct thp_why *why)
{
	struct thp_deadline d;

	memset(s, 0, sizeof(*s));
	s->round = round;
	TRY(thp_child_run(refused_creator, s, 2 * THP_STEP_MS, why));
	/* The creator has exited: the splitter ends after its current try. */
	thp_deadline_start(&d, 0, THP_KILL_MS);
	while (!__atomic_load_n(&s->done, __ATOMIC_SEQ_CST)) {
		if (thp_deadline_over(&d)) {
			kill(s->splitter, SIGKILL);
			thp_run_suspect(s->splitter);
			return thp_why(why, -EPROTO,
				       "a folio split during an exit has not returned for %lld ms",
				       d.wall);
		}
		thp_sleep_ms(1);
	}
	return s->done == 1 ? 0 : thp_why(why, s->done, "in the process that splits: %s",
					  s->why.text[0] ? s->why.text : thp_errno_name(s->done));
}

static int race_refused(const void *arg, struct thp_why *why)
{
	long long end = thp_now_ms() + REFUSED_ALL_MS;
	struct refused *s;
	unsigned int i;
	int ret;

	(void)arg;
	s = mmap(NULL, sizeof(*s), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (s == MAP_FAILED)
		return thp_why(why, -errno, "mmap: %s", strerror(errno));
	ret = thp_inject_tables(why);
	for (i = 0; i < REFUSED_ROUNDS * thp_env.scale && thp_now_ms() < end && !ret; i++)
		ret = refused_round(s, i, why);
	munmap(s, sizeof(*s));
	return ret;
}

/*
 * A process exits while the rmap walk of a folio split holds a reference to its mm, to
 * allocate a table. This can make the walk the last user of the mm. It must leave
 * exit_mmap() to another task, because exit_mmap() takes the rmap lock that the walk holds.
 * A refused walk does little else, so it holds the reference most of the time.
 */
THP_COVERS(race, exit_refused, "multi-mm-split");
TEST_F_TIMEOUT(race, exit_refused, 60)
{
	THP_NEEDS(THP_NEED_DEBUGFS | THP_NEED_FAIL_PAGE);
	THP_SCENARIO(race_refused, NULL);
}
