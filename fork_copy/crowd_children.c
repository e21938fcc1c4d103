// SPDX-License-Identifier: GPL-2.0
/*
 * crowd_children: Up to a thousand processes that map the group. They are light: they wait
 * for orders on a futex in one shared page, and no step of theirs allocates anything but
 * the one that was ordered.
 */
#ifndef SYS_futex
#define SYS_futex SYS_futex_time64
#endif

#define CROWD_MAX	1000
#define CROWD_MIN	64
/*
 * What a process costs without page tables of THPs, in bytes: pages of its own, and memory
 * of the kernel, with all checks on.
 */
#define CROWD_BYTES	(20 * thp_env.page + 320 * 1024)
/* Base pages of each THP that an order to look at some of them names. */
#define CROWD_SAMPLE	8

#define CROWD_NEEDS	"needs memory and numbers for 64 processes more (pids.max, RLIMIT_NPROC)"

enum crowd_order {
	CROWD_IDLE,
	CROWD_SAMPLES,		/* look at CROWD_SAMPLE pages of each THP */
	CROWD_ALL,		/* at all of them */
	CROWD_WRITE,		/* write one page of each THP */
	CROWD_WRITTEN,		/* look at the pages that any of them has written */
};

static struct crowd {
	struct crowd_board {	/* in shared memory */
		int number;	/* of the order; the futex */
		int ready;	/* processes that have done it */
		int wrong;	/* ... that have seen wrong data */
		enum crowd_order order;
		size_t pages;	/* of each THP that they look at: every step-th of the first */
		size_t step;
		bool locked;	/* all of their memory but the group stays in memory */
		struct thp_why why;
	} *board;
	unsigned int n;
	bool short_of;		/* fewer than asked for: memory or numbers were short */
	bool locked;		/* for the next crowd_gather() */
	pid_t pid[CROWD_MAX];
} crowd;

static uint64_t crowd_seed(unsigned int i)
{
	return SEED_CHILD + i * 256;
}

static size_t crowd_page(unsigned int i)
{
	return i % thp_env.nr;
}

/* What process @i, which may have written a page, was told to look at. */
static int crowd_look(unsigned int i, bool wrote, struct thp_why *why)
{
	const struct crowd_board *b = crowd.board;
	unsigned int t;
	size_t p;

	for (t = 0; t < thp_group.n; t++) {
		for (p = 0; p < b->pages; p += b->step) {
			bool own = wrote && p == crowd_page(i);
			uint64_t seed = own ? crowd_seed(i) + t : thp_group.map[t].seed;

			TRY(thp_check(thp_page(&thp_group.map[t], p), seed, p, 1, why));
		}
	}
	return 0;
}

static void crowd_write(unsigned int i)
{
	unsigned int t;

	for (t = 0; t < thp_group.n; t++)
		thp_group_fill(thp_page(&thp_group.map[t], crowd_page(i)), t, crowd_page(i),
			       crowd_seed(i));
}

static void crowd_obey(unsigned int i, bool *wrote)
{
	struct crowd_board *b = crowd.board;
	struct thp_why why = { 0 };
	int ret;

	if (b->order == CROWD_WRITE) {
		crowd_write(i);
		*wrote = true;
		return;
	}
	ret = crowd_look(i, *wrote, &why);
	if (ret && !__atomic_fetch_add(&b->wrong, 1, __ATOMIC_SEQ_CST))
		(void)thp_why_from(&b->why, ret, &why, "process %u", i);
}

static void crowd_child(unsigned int i, pid_t parent)
{
	struct crowd_board *b = crowd.board;
	bool wrote = false;
	int number = 0;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(1);
	/* Without MCL_ONFAULT it would copy all that it shares. */
	if (b->locked && (mlockall(MCL_CURRENT | MCL_ONFAULT) ||
			  munlock(thp_group.area, thp_group.area_len)))
		_exit(1);
	for (;;) {
		/* The first time: it is there. Waiting needs no page that it has not touched. */
		__atomic_add_fetch(&b->ready, 1, __ATOMIC_SEQ_CST);
		while (__atomic_load_n(&b->number, __ATOMIC_SEQ_CST) == number)
			(void)syscall(SYS_futex, &b->number, FUTEX_WAIT, number, NULL, NULL, 0);
		number++;
		crowd_obey(i, &wrote);
	}
}

/* All of them are still there. */
static int crowd_alive(struct thp_why *why)
{
	siginfo_t info = { .si_pid = 0 };

	if (waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) || !info.si_pid)
		return 0;
	return thp_why(why, -EPROTO, "process %d of the crowd has ended, by %s", info.si_pid,
		       info.si_code == CLD_EXITED ? "itself" : thp_signal_name(info.si_status));
}

static int crowd_await(struct thp_why *why)
{
	struct crowd_board *b = crowd.board;
	struct thp_deadline d;
	int had = 0, has;

	thp_deadline_start(&d, 0, THP_LONG_MS);
	while ((has = __atomic_load_n(&b->ready, __ATOMIC_SEQ_CST)) < (int)crowd.n) {
		TRY(crowd_alive(why));
		if (has != had)
			thp_deadline_start(&d, 0, THP_LONG_MS);
		had = has;
		if (thp_deadline_over(&d))
			return thp_why(why, -EPROTO, "%d of %u processes did not answer",
				       (int)crowd.n - has, crowd.n);
		thp_sleep_ms(1);
	}
	return b->wrong ? thp_why_pass(why, -EPROTO, &b->why) : 0;
}

static int crowd_orders(enum crowd_order order, struct thp_why *why)
{
	struct crowd_board *b = crowd.board;

	b->order = order;
	b->pages = thp_env.nr;
	b->step = 1;
	if (order == CROWD_WRITTEN && crowd.n < thp_env.nr)
		b->pages = crowd.n;
	else if (order == CROWD_SAMPLES)
		b->step = (thp_env.nr + CROWD_SAMPLE - 1) / CROWD_SAMPLE;
	b->ready = 0;
	__atomic_add_fetch(&b->number, 1, __ATOMIC_SEQ_CST);
	(void)syscall(SYS_futex, &b->number, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
	return crowd_await(why);
}

static void crowd_disperse(void)
{
	unsigned int i;

	for (i = 0; i < crowd.n; i++)
		kill(crowd.pid[i], SIGKILL);
	for (i = 0; i < crowd.n; i++)
		(void)waitpid(crowd.pid[i], NULL, 0);
	crowd.n = 0;
	if (crowd.board)
		munmap(crowd.board, sizeof(*crowd.board));
	crowd.board = NULL;
}

/* The processes, out of @n, that there is memory for: each with a table per THP or two. */
static unsigned int crowd_fits(unsigned int n)
{
	size_t each = CROWD_BYTES + 2 * thp_group.n * thp_env.table;

	while (n && !thp_env_room(n * each))
		n--;
	return n;
}

/*
 * @n processes that map the group, or as many as the machine allows (crowd.short_of). 0;
 * -ENOTSUP if these are fewer than CROWD_MIN, too; -errno.
 */
static int crowd_gather(unsigned int n, struct thp_why *why)
{
	unsigned int fits = crowd_fits(n);
	pid_t parent = getpid();

	crowd.board = mmap(NULL, sizeof(*crowd.board), PROT_READ | PROT_WRITE,
			   MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (crowd.board == MAP_FAILED) {
		crowd.board = NULL;
		return thp_why(why, -errno, "mmap: %s", strerror(errno));
	}
	memset(crowd.board, 0, sizeof(*crowd.board));
	crowd.board->locked = crowd.locked;
	fflush(stdout);
	for (crowd.n = 0; crowd.n < fits; crowd.n++) {
		pid_t pid = fork();

		if (!pid)
			crowd_child(crowd.n, parent);
		if (pid < 0)
			break;
		crowd.pid[crowd.n] = pid;
	}
	crowd.short_of = crowd.n < n;
	if (crowd.n < n && crowd.n < CROWD_MIN)
		return thp_skip(why, CROWD_NEEDS, "%u", crowd.n);
	return crowd_await(why);
}

/* VmPTE of all processes in bytes: exact, whatever else runs. Or -errno. */
static long long crowd_tables(void)
{
	long long sum = thp_obs_vmpte(0), bytes;
	unsigned int i;

	for (i = 0; i < crowd.n && sum >= 0; i++) {
		bytes = thp_obs_vmpte(crowd.pid[i]);
		if (bytes < 0)
			return bytes;
		sum += bytes;
	}
	return sum;
}
