// SPDX-License-Identifier: GPL-2.0
/*
 * race_actors: The actors of the races.
 */

/*
 * The pages that an actor may write: those with its number. All other pages keep the
 * pattern of thp_map_fault(). Races that zap the whole THP use words instead: the first
 * word of an actor's page is what it wrote last or, after a zap, zero.
 */
#define OWN_PAGES 4

static size_t own_page(const struct thp_actor *a, size_t k)
{
	return (size_t)a->slot * OWN_PAGES + k;
}

static size_t stable_page(const struct thp_actor *a)
{
	size_t first = THP_RACE_ACTORS * OWN_PAGES + 1;

	return first + (size_t)a->loops * 7 % (thp_env.nr - first);
}

static int fill_own(struct thp_race *r, struct thp_actor *a)
{
	size_t k;

	for (k = 0; k < OWN_PAGES; k++)
		thp_fill(thp_page(&r->map, own_page(a, k)), r->map.seed, own_page(a, k));
	return 0;
}

static int check_own(struct thp_race *r, struct thp_actor *a, struct thp_why *why)
{
	return thp_map_check(&r->map, own_page(a, 0), OWN_PAGES, why);
}

static int check_stable(struct thp_race *r, struct thp_actor *a, struct thp_why *why)
{
	return thp_map_check(&r->map, stable_page(a), 1, why);
}

static int protect_cycle(struct thp_race *r, struct thp_actor *a, struct thp_why *why)
{
	return thp_split_at(thp_page(&r->map, own_page(a, 1)), why);
}

static int dump_cycle(struct thp_race *r, struct thp_actor *a, struct thp_why *why)
{
	char *p = thp_page(&r->map, own_page(a, 1));

	if (madvise(p, thp_env.page, MADV_DONTDUMP) || madvise(p, thp_env.page, MADV_DODUMP))
		return thp_why(why, -errno, "MADV_DONTDUMP: %s", strerror(errno));
	return 0;
}

static int zap_own(struct thp_race *r, struct thp_actor *a, struct thp_why *why)
{
	char *p = thp_page(&r->map, own_page(a, 2));

	if (madvise(p, thp_env.page, MADV_DONTNEED))
		return thp_why(why, -errno, "MADV_DONTNEED: %s", strerror(errno));
	return thp_check_zero(p, 1, why);
}

static int cold(struct thp_race *r, struct thp_actor *a, struct thp_why *why)
{
	char *p = thp_page(&r->map, own_page(a, 3));

	/* Unknown before Linux 5.4; on newer kernels this advice always succeeds. */
	if (madvise(p, thp_env.page, MADV_COLD) && errno != EINVAL)
		return thp_why(why, -errno, "MADV_COLD: %s", strerror(errno));
	return 0;
}

/* Splits the PMD in different ways in turn. */
static int act_split(struct thp_race *r, struct thp_actor *a, struct thp_why *why)
{
	int (* const ways[])(struct thp_race *r, struct thp_actor *a, struct thp_why *why) = {
		protect_cycle, dump_cycle, zap_own, cold,
	};
	int ret = ways[a->loops % 4](r, a, why);

	if (ret)
		return ret;
	fill_own(r, a);
	return check_own(r, a, why);
}

/* The same where another actor zaps everything: writes its words only. */
static int act_split_words(struct thp_race *r, struct thp_actor *a, struct thp_why *why)
{
	int (* const ways[])(struct thp_race *r, struct thp_actor *a, struct thp_why *why) = {
		protect_cycle, dump_cycle, zap_own, cold,
	};

	return ways[a->loops % 4](r, a, why);
}

static int act_touch(struct thp_race *r, struct thp_actor *a, struct thp_why *why)
{
	int ret = check_own(r, a, why);

	if (!ret)
		ret = check_stable(r, a, why);
	fill_own(r, a);
	return ret;
}

static int act_words(struct thp_race *r, struct thp_actor *a, struct thp_why *why)
{
	uint64_t *w = (uint64_t *)thp_page(&r->map, own_page(a, 0)), got;

	got = __atomic_load_n(w, __ATOMIC_RELAXED);
	if (got && got != (uint64_t)a->loops)
		return thp_why(why, -EILSEQ, "expected %ld or 0, found %#llx", a->loops,
			       (unsigned long long)got);
	if (!got)
		a->hits++;
	__atomic_store_n(w, a->loops + 1, __ATOMIC_RELAXED);
	return 0;
}

/* Zaps the whole range: by MADV_DONTNEED, or by a new mapping over it. */
static int act_zap(struct thp_race *r, struct thp_actor *a, struct thp_why *why)
{
	void *p = r->map.thp;
	uint64_t *w;

	if (a->loops % 2) {
		p = mmap(p, thp_env.pmd, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
		if (p == MAP_FAILED || madvise(p, thp_env.pmd, MADV_HUGEPAGE))
			return thp_why(why, -errno, "mmap: %s", strerror(errno));
	} else if (madvise(p, thp_env.pmd, MADV_DONTNEED)) {
		return thp_why(why, -errno, "MADV_DONTNEED: %s", strerror(errno));
	}
	/* A huge fault, if this actor is first; no other actor writes this word. */
	w = (uint64_t *)thp_page(&r->map, own_page(a, 0));
	if (*w)
		return thp_why(why, -EILSEQ, "zapped memory reads %#llx", (unsigned long long)*w);
	*w = a->loops + 1;
	return 0;
}

/* May fail for any passing reason, but must not change contents. */
static int act_collapse(struct thp_race *r, struct thp_actor *a, struct thp_why *why)
{
	if (!madvise(r->map.thp, thp_env.pmd, MADV_COLLAPSE)) {
		a->hits++;
		return 0;
	}
	switch (errno) {
	case EAGAIN:
	case EBUSY:
	case ENOMEM:
	case EINVAL:
		return 0;
	}
	return thp_why(why, -errno, "MADV_COLLAPSE: %s", strerror(errno));
}

/* The handshake of two actors that have to run at the same time. */
enum { IDLE, GO, MEETING, DONE };

static int race_phase;

static void phase(int next)
{
	__atomic_store_n(&race_phase, next, __ATOMIC_SEQ_CST);
}

static int phase_now(void)
{
	return __atomic_load_n(&race_phase, __ATOMIC_SEQ_CST);
}

/* Waits for the phase: true, or false if the race is over. */
static bool await_phase(const struct thp_race *r, int wanted)
{
	while (phase_now() != wanted) {
		if (__atomic_load_n(&r->ended, __ATOMIC_SEQ_CST))
			return false;
		sched_yield();
	}
	return true;
}

/* Whether the last collapse succeeded. */
static bool collapse_worked;

/*
 * Prepares a range to collapse and a partner that meets the collapse: the collapse swaps a
 * page in after it has scanned the range, which gives the partner time.
 */
static int act_recollapse(struct thp_race *r, struct thp_actor *a, struct thp_why *why)
{
	void *swapped = r->map.thp + thp_env.pmd / 2;
	int ret = zap_own(r, a, why);
	long hits = a->hits;

	fill_own(r, a);
	if (!ret && madvise(swapped, thp_env.pmd / 8, MADV_PAGEOUT) && errno != EINVAL)
		ret = thp_why(why, -errno, "MADV_PAGEOUT: %s", strerror(errno));
	if (ret || !await_phase(r, IDLE))
		return ret;
	phase(GO);
	/* Otherwise it may be over before the other actor has seen its start. */
	if (!await_phase(r, MEETING))
		return 0;
	ret = act_collapse(r, a, why);
	collapse_worked = a->hits > hits;
	phase(DONE);
	return ret ? ret : check_own(r, a, why);
}

#define PREY_CYCLES 32

/*
 * Splits a folio and offers its pages to reclaim, which then has to wait for the rmap lock
 * while VMA splits hold it. Reclaim only tries a free lock, and lock debugging learns
 * nothing from that.
 */
static int act_prey(struct thp_race *r, struct thp_actor *a, struct thp_why *why)
{
	int ret = act_collapse(r, a, why), i;

	if (!ret)
		ret = cold(r, a, why);
	if (!ret && madvise(r->map.thp, thp_env.pmd, MADV_COLD) && errno != EINVAL)
		ret = thp_why(why, -errno, "MADV_COLD: %s", strerror(errno));
	for (i = 0; !ret && i < PREY_CYCLES; i++)
		ret = protect_cycle(r, a, why);
	return ret;
}

/*
 * Takes a reference to a page during a collapse. If the collapse still succeeded, this
 * actor takes it earlier next time, otherwise later: that converges on the moment when
 * the collapse isolates the page (__collapse_huge_page_isolate()).
 */
static int act_pin(struct thp_race *r, struct thp_actor *a, struct thp_why *why)
{
	struct iovec iov = { thp_page(&r->map, stable_page(a)), 1 };
	static int fds[2] = { -1, -1 };
	static long long us = -1;
	long long begin;
	char byte;

	if (fds[0] < 0 && pipe2(fds, O_CLOEXEC))
		return thp_why(why, -errno, "pipe: %s", strerror(errno));
	if (!await_phase(r, GO))
		return 0;
	phase(MEETING);
	begin = thp_now_us();
	if (us >= 0) {
		thp_spin_us(us);
		if (vmsplice(fds[1], &iov, 1, 0) != 1)
			return thp_why(why, -errno, "vmsplice: %s", strerror(errno));
		a->hits += phase_now() == MEETING;
	}
	if (!await_phase(r, DONE))
		return 0;
	if (us >= 0 && read(fds[0], &byte, 1) != 1)
		return thp_why(why, -errno, "read: %s", strerror(errno));
	if (us >= 0)
		us += collapse_worked ? -(us / 16) : us / 16 + 1;
	else if (collapse_worked)
		us = (thp_now_us() - begin) / 2;
	phase(IDLE);
	return 0;
}

static int act_pageout(struct thp_race *r, struct thp_actor *a, struct thp_why *why)
{
	(void)a;
	if (madvise(r->map.thp, thp_env.pmd, MADV_PAGEOUT) && errno != EINVAL)
		return thp_why(why, -errno, "MADV_PAGEOUT: %s", strerror(errno));
	return 0;
}

static struct thp_swapdev race_swapdev;

/* Without enough memory, or with a signal, the area is swapped to as before. */
static int act_swapoff(struct thp_race *r, struct thp_actor *a, struct thp_why *why)
{
	int ret = thp_swapdev_off(&race_swapdev);

	(void)r;
	if (ret && ret != -ENOMEM && ret != -EINTR)
		return thp_why(why, ret, "swapoff: %s", thp_errno_name(ret));
	a->hits += !ret;
	ret = ret ? 0 : thp_swapdev_again(&race_swapdev);
	return ret ? thp_why(why, ret, "swapon: %s", thp_errno_name(ret)) : 0;
}

/* Files that reclaim from the nodes with memory; the second may be empty. */
static char node_reclaim[2][64];

/*
 * Reclaims like kswapd: -EAGAIN if it reclaimed less than requested. Only a swapped out
 * page shows that it has waited for rmap locks. Each call reclaims little, because beside
 * busy threads one call may last as long as the race.
 */
static int act_reclaim(struct thp_race *r, struct thp_actor *a, struct thp_why *why)
{
	const char *file = node_reclaim[node_reclaim[1][0] ? a->loops % 2 : 0];
	uint64_t before = thp_obs_vmstat("pswpout");
	int ret = thp_write_file(file, "128K swappiness=max");

	(void)r;
	if (ret && ret != -EAGAIN && ret != -EBUSY)
		return thp_why(why, ret, "%s: %s", file, thp_errno_name(ret));
	a->hits += thp_obs_vmstat("pswpout") != before;
	return 0;
}

static int act_move(struct thp_race *r, struct thp_actor *a, struct thp_why *why)
{
	void *page = thp_page(&r->map, a->loops / 2 % thp_env.nr);
	int to = r->nodes[a->loops % 2], status = -EIO;
	long ret;

	/* Any page may be refused; the system call itself succeeds. */
	ret = sys_move_pages(0, 1, &page, &to, &status, MPOL_MF_MOVE);
	if (ret && ret != -ENOENT)
		return thp_why(why, ret, "move_pages: %s", thp_errno_name(ret));
	a->hits += status == to;
	return 0;
}

/* Forks: @look runs in the child, which must not use locks or stdio. */
static int fork_and_look(struct thp_race *r, struct thp_actor *a,
			 int (*look)(struct thp_race *r, struct thp_actor *a), struct thp_why *why)
{
	struct thp_chan *chan = r->chan;
	int status;
	pid_t pid;

	thp_why_clear(&chan->why);
	pid = fork();
	if (pid < 0)
		return thp_why(why, -errno, "fork: %s", strerror(errno));
	if (!pid)
		_exit(look(r, a) ? 1 : 0);
	if (waitpid(pid, &status, 0) != pid)
		return thp_why(why, -errno, "waitpid: %s", strerror(errno));
	if (WIFSIGNALED(status))
		return thp_why(why, -EPROTO, "child killed by signal %d", WTERMSIG(status));
	if (WEXITSTATUS(status))
		return thp_why_from(why, -EPROTO, &chan->why, "child");
	return 0;
}

/* One table, or none if the PMD needs none; more is a leak, less an underflow. */
static int child_zap(struct thp_race *r, long most)
{
	long long before, after;
	long got;

	before = thp_obs_vmpte(0);
	munmap(r->map.thp, thp_env.pmd);
	after = thp_obs_vmpte(0);
	if (thp_env.unit > 1)
		return 0;
	if (!thp_env_tables(before - after, &got) || got < 0 || got > most)
		return thp_why(&r->chan->why, -EPROTO,
			       "munmap frees %lld B of tables, expected 0 to %ld tables",
			       before - after, most);
	return 0;
}

static int look_stable(struct thp_race *r, struct thp_actor *a)
{
	size_t first = THP_RACE_ACTORS * OWN_PAGES + 1;

	TRY(check_stable(r, a, &r->chan->why));
	TRY(thp_map_check(&r->map, first, 4, &r->chan->why));
	thp_touch(thp_page(&r->map, own_page(a, 0)));
	return child_zap(r, 1);
}

static int look_words(struct thp_race *r, struct thp_actor *a)
{
	thp_touch(thp_page(&r->map, own_page(a, 0)));
	return child_zap(r, 1);
}

static int act_fork(struct thp_race *r, struct thp_actor *a, struct thp_why *why)
{
	return fork_and_look(r, a, look_stable, why);
}

static int act_fork_words(struct thp_race *r, struct thp_actor *a, struct thp_why *why)
{
	return fork_and_look(r, a, look_words, why);
}
