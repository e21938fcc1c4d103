// SPDX-License-Identifier: GPL-2.0
/*
 * crowd_low: A machine that is short of memory, with the THPs of a crowd as the prey of
 * reclaim, and a disk to swap to: zram takes the memory for what it compresses at the same
 * time, which hides what page tables take. The eager kernel is the measure: the hog asks
 * for what that can give, which has to spare the deposits of all processes.
 */

/* Machines with more memory are not filled. */
#define LOW_TOTAL	(1ULL << 30)
#define LOW_SWAP	(128ULL << 20)
#define LOW_THPS	8
/* min_free_kbytes: with THP enabled the kernel keeps more, which would hide the effect. */
#define LOW_MIN_KB	4096
/* As far down as allocations that cannot wait may go, see __zone_watermark_ok(). */
#define LOW_LEAST_KB	(LOW_MIN_KB * 3 / 8)
/* Left to the page tables of the hog, and to whoever else needs some memory. */
#define LOW_SLACK	(4LL << 20)
/* What the hog asks for beyond its measure, of memory that can be swapped out, too. */
#define LOW_MORE	(32LL << 20)
/* Microseconds between two looks at the free memory. */
#define LOW_SAMPLE_US	200

struct low_board {		/* in shared memory */
	bool stop;	/* sampling */
	long long least;	/* bytes that were free at the worst moment */
	long long samples;
	long long touched;	/* by the hog, in bytes */
	bool done;
};

struct low_hog {
	long long locked, more;	/* bytes */
};

static long long free_bytes(void)
{
	struct sysinfo si;

	/* Allocates nothing, unlike files of /proc. */
	return sysinfo(&si) ? -errno : (long long)si.freeram * si.mem_unit;
}

static void low_sample(struct low_board *b)
{
	const struct sched_param fifo = { .sched_priority = 1 };

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	/* It must not lock the prey, which would also copy it. */
	munmap(thp_group.area, thp_group.area_len);
	(void)mlockall(MCL_CURRENT);
	(void)sched_setscheduler(0, SCHED_FIFO, &fifo);
	while (!__atomic_load_n(&b->stop, __ATOMIC_SEQ_CST)) {
		long long now = free_bytes();

		if (now >= 0 && now < b->least)
			b->least = now;
		b->samples++;
		usleep(LOW_SAMPLE_US);
	}
	_exit(0);
}

/* Base pages: the first part cannot be swapped out. */
static void low_eat(struct low_board *b, const struct low_hog *hog)
{
	size_t len = hog->locked + hog->more, at;
	char *p;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (thp_group.area)
		munmap(thp_group.area, thp_group.area_len);
	/* The one for the OOM killer, if it has to be somebody. */
	(void)thp_write_file("/proc/self/oom_score_adj", "1000");
	p = mmap(NULL, len, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (p == MAP_FAILED || madvise(p, len, MADV_NOHUGEPAGE) ||
	    (hog->locked && mlock2(p, hog->locked, MLOCK_ONFAULT)))
		_exit(1);
	for (at = 0; at < len; at += thp_env.page) {
		__atomic_store_n((size_t *)(p + at), at + 1, __ATOMIC_RELAXED);
		__atomic_store_n(&b->touched, at + thp_env.page, __ATOMIC_RELAXED);
	}
	__atomic_store_n(&b->done, true, __ATOMIC_SEQ_CST);
	for (;;)
		pause();
}

/* All swap is on disks, and enough of it is free. */
static bool low_swap(void)
{
	struct thp_swap_area areas[THP_SWAP_AREAS];
	unsigned long long room = 0;
	int i, n = thp_swap_areas(areas);

	for (i = 0; i < n; i++) {
		if (areas[i].in_memory)
			return false;
		room += areas[i].free_kb << 10;
	}
	return room >= LOW_SWAP;
}

/* Failed allocations that the log tells of since @fd was opened at its end. */
static unsigned int low_failures(int fd)
{
	char record[8192];
	unsigned int n = 0;
	ssize_t len;

	/* -EPIPE: the oldest lines have been overwritten, go on with the next one. */
	while ((len = read(fd, record, sizeof(record) - 1)) > 0 || (len < 0 && errno == EPIPE)) {
		if (len < 0)
			continue;
		record[len] = '\0';
		n += !!strstr(record, "page allocation failure");
	}
	return n;
}

/*
 * What the hog may ask for: all memory but the processes and the watermarks, with the THPs
 * in swap, and with the tables that an eager kernel has for them. A kernel that need not
 * swap these THPs out is asked for more than that, and may take it from the hog itself.
 */
static void low_measure(struct low_hog *hog)
{
	long long tables = (crowd.n + 1LL) * thp_group.n * thp_env.table *
			   thp_tables_split(THP_ANON);

	hog->locked = free_bytes() + thp_group.n * (long long)thp_env.pmd - tables -
		      LOW_MIN_KB * 3 / 2 * 1024 - LOW_SLACK;
	hog->locked &= -(long long)thp_env.page;
	hog->more = crowd_owed() ? 0 : LOW_MORE;
}

/* Until the hog has got all, or has been killed, or gets no more. */
static int low_await(struct low_board *b, const struct low_hog *hog, pid_t pid,
		     struct thp_why *why)
{
	struct thp_deadline d;
	int status;

	thp_deadline_start(&d, 0, THP_LONG_MS);
	while (!__atomic_load_n(&b->done, __ATOMIC_SEQ_CST)) {
		if (waitpid(pid, &status, WNOHANG) == pid)
			return thp_why(why, -EPROTO,
				       "%u processes: the hog ended with %lld of %lld kB, by %s, with swap free",
				       crowd.n, b->touched / 1024,
				       (hog->locked + hog->more) / 1024,
				       WIFSIGNALED(status) ? thp_signal_name(WTERMSIG(status)) :
							     "itself");
		if (thp_deadline_over(&d))
			return thp_why(why, -EPROTO,
				       "%u processes: the hog has %lld of %lld kB after %d s, with swap free",
				       crowd.n, b->touched / 1024,
				       (hog->locked + hog->more) / 1024,
				       (int)(d.wall / 1000));
		thp_sleep_ms(5);
	}
	return 0;
}

/* What the kernel caches and would give back, for the hog to have it, is gone afterwards. */
static int low_squeeze(struct low_board *b, struct thp_why *why)
{
	const struct low_hog hog = { .more = free_bytes() + LOW_MORE };
	pid_t pid;
	int ret;

	memset(b, 0, sizeof(*b));
	fflush(stdout);
	pid = fork();
	if (!pid)
		low_eat(b, &hog);
	if (pid < 0)
		return thp_why(why, -EAGAIN, "fork: %s", strerror(errno));
	ret = low_await(b, &hog, pid, why);
	kill(pid, SIGKILL);
	(void)waitpid(pid, NULL, 0);
	return ret;
}

static int low_judge(const struct low_board *b, uint64_t killed, unsigned int failures,
		     long long tables, struct thp_why *why)
{
	long long out = swapped() * (long long)thp_env.page;

	if (killed)
		return thp_why(why, -EPROTO, "%u processes: %llu killed for want of memory",
			       crowd.n, (unsigned long long)killed);
	if (failures)
		return thp_why(why, -EPROTO, "%u processes: %u page allocation failures logged",
			       crowd.n, failures);
	if (b->least < LOW_LEAST_KB * 1024)
		return thp_why(why, -EPROTO,
			       "%u processes: %lld kB free at the worst moment, expected at least %d: the rest is kept for emergencies",
			       crowd.n, b->least / 1024, LOW_LEAST_KB);
	if (tables && tables >= out)
		return thp_why(why, -EPROTO,
			       "%u processes: reclaim took %lld kB for page tables, and swapped out %lld kB",
			       crowd.n, tables / 1024, out / 1024);
	return 0;
}

/* The hog beside a crowd that is there. */
static int low_fill(struct low_board *b, int kmsg, struct thp_why *why)
{
	uint64_t killed = thp_obs_vmstat("oom_kill");
	long long tables = crowd_tables(), us = thp_now_us();
	pid_t sampler, eater;
	struct low_hog hog;
	int ret;

	memset(b, 0, sizeof(*b));
	low_measure(&hog);
	b->least = free_bytes();
	(void)low_failures(kmsg);
	fflush(stdout);
	sampler = fork();
	if (!sampler)
		low_sample(b);
	eater = fork();
	if (!eater)
		low_eat(b, &hog);
	ret = sampler < 0 || eater < 0 ? thp_why(why, -EAGAIN, "fork: %s", strerror(errno)) :
	      low_await(b, &hog, eater, why);
	__atomic_store_n(&b->stop, true, __ATOMIC_SEQ_CST);
	us = thp_now_us() - us;
	tables = crowd_tables() - tables;
	printf("# crowd.low: %u processes: %lld of %lld kB in %lld ms\n", crowd.n,
	       b->touched / 1024, (hog.locked + hog.more) / 1024, us / 1000);
	printf("# crowd.low: %lld kB free at the worst of %lld moments\n", b->least / 1024,
	       b->samples);
	printf("# crowd.low: %+lld kB of tables, %lld of %lld kB in swap\n", tables / 1024,
	       swapped() * (long long)thp_env.page / 1024,
	       thp_group.n * (long long)thp_env.pmd / 1024);
	fflush(stdout);
	if (!ret)
		ret = low_judge(b, thp_obs_vmstat("oom_kill") - killed, low_failures(kmsg),
				tables, why);
	if (eater > 0) {
		kill(eater, SIGKILL);
		(void)waitpid(eater, NULL, 0);
	}
	if (sampler > 0)
		(void)waitpid(sampler, NULL, 0);
	return ret;
}

static int low_memory(const void *arg, struct thp_why *why)
{
	const unsigned int sizes[] = { CROWD_MIN, 255, 600 };
	struct low_board *b;
	int kmsg, ret = 0;
	size_t i;

	(void)arg;
	kmsg = open("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	if (kmsg < 0 || lseek(kmsg, 0, SEEK_END) < 0)
		return thp_why(why, -errno, "/dev/kmsg: %s", strerror(errno));
	b = mmap(NULL, sizeof(*b), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (b == MAP_FAILED)
		return thp_why(why, -errno, "mmap: %s", strerror(errno));
	TRY(low_squeeze(b, why));
	crowd.short_of = false;
	for (i = 0; i < ARRAY_SIZE(sizes) && !crowd.short_of; i++) {
		TRY(thp_group_new(THP_ANON, LOW_THPS, why));
		/* The THPs are the only prey. */
		crowd.locked = true;
		ret = crowd_gather(sizes[i], why);
		crowd.locked = false;
		TRY(ret);
		ret = low_fill(b, kmsg, why);
		TRY(ret);
		TRY(crowd_orders(CROWD_SAMPLES, why));
		crowd_disperse();
		TRY(thp_group_finish(why));
		thp_group_free();
	}
	close(kmsg);
	munmap(b, sizeof(*b));
	return 0;
}

THP_COVERS(crowd, low, "reclaim-unmap multi-mm-split");
TEST_F_TIMEOUT(crowd, low, 240)
{
	struct thp_why why = { 0 };
	struct sysinfo si;
	char text[16];

	if (sysinfo(&si) || (unsigned long long)si.totalram * si.mem_unit > LOW_TOTAL)
		THP_SKIP("needs a machine of at most 1 GiB, which the test fills");
	if (!low_swap())
		THP_SKIP("needs 128 MiB of swap on a disk, and none in memory");
	snprintf(text, sizeof(text), "%d", LOW_MIN_KB);
	THP_REQUIRE_OK(thp_settings_set("/proc/sys/vm/min_free_kbytes", text), &why);
	THP_SCENARIO(low_memory, NULL);
}
