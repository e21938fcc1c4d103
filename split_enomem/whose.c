// SPDX-License-Identifier: GPL-2.0
/*
 * A monitor acts on another process, the target: whose PMD is split, whose VmPTE rises,
 * whose allocations fail, and which group is charged. Monitor and target have the same
 * range mapped at the same addresses; the monitor has never touched it.
 *
 *	target:		| below | THP | THP | ... | above |
 *	monitor:	| below |   nothing       | above |
 *
 * The table belongs to the mm of the target (mm_inc_nr_ptes()); the memory group of the
 * task that allocates is charged, as for any page table (GFP_PGTABLE_USER): the monitor's.
 * A kernel that charges the target instead is right, too; one that charges neither is
 * wrong.
 */

#ifndef SYS_pidfd_open
#define SYS_pidfd_open		434
#endif
#ifndef SYS_pidfd_getfd
#define SYS_pidfd_getfd		438
#endif
#ifndef SYS_process_madvise
#define SYS_process_madvise	440
#endif

/* Enough for whole kB of tables, and for a group's tables to exceed its noise. */
#define WHOSE_THPS	16

FIXTURE(whose) {
	int unused;
};

enum whose_call { WHOSE_UFFD_WP, WHOSE_COLD, WHOSE_DEBUGFS, WHOSE_MEM };

/* The monitor's knowledge of the target. */
struct whose {
	enum whose_call call;
	struct thp_map maps[WHOSE_THPS];	/* at the same addresses in both */
	bool grouped;				/* the test charges each to a group */
	bool starved;
	struct thp_child target;
	int uffd, pidfd, mem;
};

FIXTURE_VARIANT(whose) {
	enum whose_call call;
};

FIXTURE_VARIANT_ADD(whose, uffd_wp) { .call = WHOSE_UFFD_WP };
FIXTURE_VARIANT_ADD(whose, madvise) { .call = WHOSE_COLD };
FIXTURE_VARIANT_ADD(whose, debugfs) { .call = WHOSE_DEBUGFS };
FIXTURE_VARIANT_ADD(whose, mem) { .call = WHOSE_MEM };

static bool whose_possible(void)
{
	return !syscall(SYS_process_madvise, -1, NULL, 0UL, 0, 0U) || errno != ENOSYS;
}

FIXTURE_SETUP(whose)
{
	(void)self;
	if (!whose_possible())
		THP_SKIP("needs process_madvise and pidfd_getfd (Linux 5.10)");
	THP_NEEDS((variant->call == WHOSE_UFFD_WP ? THP_NEED_UFFD_WP : 0) |
		  (variant->call == WHOSE_DEBUGFS ? THP_NEED_DEBUGFS : 0) | THP_NEED_ROOT);
}

FIXTURE_TEARDOWN_PARENT(whose)
{
	(void)self;
	(void)variant;
	thp_teardown(_metadata);
}

/* Steps of target and monitor. */
enum whose_step { WHOSE_MAPPED = 1, WHOSE_SPLIT };

struct whose_target {
	int uffd;		/* its userfaultfd, if that is what splits */
};

/* Steps of monitor and test. */
enum monitor_step { MONITOR_READY = 1, MONITOR_GO, MONITOR_DONE, MONITOR_END };

struct monitor_told {
	pid_t target;
};

/* Page 1 of each THP may have been written to. */
static int whose_check(const struct whose *w, struct thp_why *why)
{
	int i, ret = 0, split = WHOSE_THPS;

	/* A starved monitor tries one of the THPs, which an eager kernel can split. */
	if (w->starved)
		split = thp_split_allocates(THP_ANON) ? 0 : 1;
	for (i = 0; i < WHOSE_THPS && !ret; i++) {
		ret = thp_map_expect(&w->maps[i], i < split ? THP_STATE_PTE : THP_STATE_PMD, why);
		if (!ret)
			ret = thp_map_check(&w->maps[i], 0, 1, why);
		if (!ret)
			ret = thp_map_check(&w->maps[i], 2, thp_env.nr - 2, why);
	}
	return ret;
}

/* The page below the THP: a refused call has protected nothing. */
static int whose_unprotected(const struct whose *w, struct thp_why *why)
{
	uint64_t entry;

	if (thp_obs_pagemap(w->maps[0].thp - thp_env.page, &entry, 1))
		return thp_why(why, -EIO, "pagemap cannot be read");
	return entry & THP_PM_UFFD_WP ?
		thp_why(why, -EPROTO, "refused, but the page below is write-protected") : 0;
}

/* A userfaultfd with all ranges registered, and the page below the first; or -errno. */
static int whose_watch(const struct whose *w, struct thp_why *why)
{
	int fd = thp_uffd_open(UFFD_FEATURE_PAGEFAULT_FLAG_WP), i, ret = 0;

	if (fd < 0)
		return thp_why(why, fd, "userfaultfd: %s", thp_errno_name(fd));
	for (i = 0; i < WHOSE_THPS && !ret; i++)
		ret = thp_uffd_register(fd, w->maps[i].thp - thp_env.page,
					thp_env.pmd + thp_env.page, UFFDIO_REGISTER_MODE_WP);
	return ret ? thp_why(why, ret, "UFFDIO_REGISTER: %s", thp_errno_name(ret)) : fd;
}

static int whose_target(struct thp_chan *chan, void *arg)
{
	struct thp_child holder = { 0 };
	struct thp_why *why = &chan->why;
	struct whose *w = arg;
	int i, ret = 0;

	for (i = 0; i < WHOSE_THPS && !ret; i++)
		ret = thp_map_fault(&w->maps[i], why);
	if (!ret && w->call == WHOSE_UFFD_WP) {
		ret = whose_watch(w, why);
		thp_chan_data(chan, struct whose_target)->uffd = ret;
	}
	if (ret >= 0 && w->call == WHOSE_MEM)
		ret = keep_start(&holder, why);
	if (ret < 0)
		return thp_why(why, ret, "setup: %s", thp_errno_name(ret));
	thp_chan_post_parent(chan, WHOSE_MAPPED);
	thp_chan_await_parent(chan, WHOSE_SPLIT);
	ret = w->starved && thp_split_allocates(THP_ANON) ? whose_unprotected(w, why) : 0;
	if (!ret)
		ret = whose_check(w, why);
	thp_child_kill(&holder);
	return ret;
}

/* The call of the monitor; 0 or -errno. */
static int whose_call(struct whose *w, int i)
{
	struct iovec iov = { .iov_base = thp_page(&w->maps[i], 1), .iov_len = thp_env.page };
	uintptr_t page = (uintptr_t)iov.iov_base;
	char byte = SPLIT_BYTE;

	switch (w->call) {
	case WHOSE_UFFD_WP:
		return thp_uffd_wp(w->uffd, iov.iov_base, thp_env.page, 1);
	case WHOSE_COLD:
		return syscall(SYS_process_madvise, w->pidfd, &iov, 1UL, MADV_COLD, 0U) ==
		       (long)thp_env.page ? 0 : -errno;
	case WHOSE_DEBUGFS:
		return thp_split_folios(w->target.pid, page, thp_env.page);
	default:
		return pwrite(w->mem, &byte, 1, page) == 1 ? 0 : -errno;
	}
}

static int whose_open(struct whose *w, struct thp_why *why)
{
	char path[64];

	w->pidfd = syscall(SYS_pidfd_open, w->target.pid, 0);
	if (w->pidfd < 0)
		return thp_why(why, -errno, "pidfd_open: %s", strerror(errno));
	if (w->call == WHOSE_UFFD_WP) {
		w->uffd = syscall(SYS_pidfd_getfd, w->pidfd,
				  thp_chan_data(w->target.chan, struct whose_target)->uffd, 0);
		if (w->uffd < 0)
			return thp_why(why, -errno, "pidfd_getfd: %s", strerror(errno));
	}
	snprintf(path, sizeof(path), "/proc/%d/mem", w->target.pid);
	w->mem = open(path, O_RDWR | O_CLOEXEC);
	return w->mem < 0 ? thp_why(why, -errno, "%s: %s", path, strerror(errno)) : 0;
}

/* The monitor splits all THPs; checks which process has the tables. */
static int whose_split_all(struct whose *w, struct thp_why *why)
{
	int want = WHOSE_THPS * thp_tables_split(THP_ANON), i, ret;
	long long own = thp_obs_vmpte(0), theirs = thp_obs_vmpte(w->target.pid);
	long got;

	for (i = 0; i < WHOSE_THPS; i++) {
		ret = whose_call(w, i);
		if (ret)
			return thp_why(why, ret, "%s", thp_errno_name(ret));
	}
	own = thp_obs_vmpte(0) - own;
	theirs = thp_obs_vmpte(w->target.pid) - theirs;
	if (own)
		return thp_why(why, -EPROTO, "VmPTE of the monitor: %+lld B, expected +0", own);
	if (!thp_env_tables(theirs, &got) || got != want)
		return thp_why(why, -EPROTO,
			       "VmPTE of the target: %+ld tables (%+lld B), expected %+d", got,
			       theirs, want);
	for (i = 0; i < WHOSE_THPS; i++)
		if (thp_obs_pages(w->maps[i].thp, thp_env.pmd, THP_PM_POPULATED))
			return thp_why(why, -EPROTO, "the monitor has memory in range %d", i);
	return 0;
}

/*
 * The range goes from the page below the first THP to its middle, and the monitor gets no
 * table: a kernel could protect the page before it finds that the THP cannot be split.
 */
static int whose_starve(struct whose *w, struct thp_why *why)
{
	struct thp_map *m = &w->maps[0];
	int err, want = thp_split_allocates(THP_ANON) ? -ENOMEM : 0;

	TRY(thp_inject_self(why));
	err = thp_uffd_wp(w->uffd, m->thp - thp_env.page, thp_env.page + thp_env.pmd / 2, 1);
	(void)thp_inject_own(false);
	if (err != want)
		return thp_why(why, -EPROTO, "by a starved monitor: %s, expected %s",
			       thp_errno_name(err), thp_errno_name(want));
	return 0;
}

static int whose_monitor(struct thp_chan *chan, void *arg)
{
	struct thp_why *why = &chan->why;
	struct whose *w = arg;
	int i, ret = 0;

	thp_warm_up();
	for (i = 0; i < WHOSE_THPS && !ret; i++)
		ret = thp_map_create(&w->maps[i], THP_ANON, why);
	if (!ret)
		ret = thp_child_start(&w->target, whose_target, w);
	if (ret)
		return thp_why(why, ret, "setup: %s", thp_errno_name(ret));
	thp_chan_data(chan, struct monitor_told)->target = w->target.pid;
	ret = thp_child_await(&w->target, WHOSE_MAPPED, THP_STEP_MS);
	if (!ret)
		ret = whose_open(w, why);
	if (!ret && w->grouped) {
		thp_chan_post_parent(chan, MONITOR_READY);
		thp_chan_await_parent(chan, MONITOR_GO);
	}
	if (!ret)
		ret = w->starved ? whose_starve(w, why) : whose_split_all(w, why);
	if (!ret && w->grouped) {
		thp_chan_post_parent(chan, MONITOR_DONE);
		thp_chan_await_parent(chan, MONITOR_END);
	}
	thp_chan_post_child(w->target.chan, WHOSE_SPLIT);
	if (!ret || ret == -ECHILD)
		return thp_child_join(&w->target, THP_STEP_MS, why);
	thp_child_kill(&w->target);
	return ret;
}

/* A monitor that does @w, in a process of its own. */
static int monitor_run(const void *arg, struct thp_why *why)
{
	struct whose *w = malloc(sizeof(*w));
	int ret;

	if (!w)
		return thp_why(why, -ENOMEM, "no memory");
	*w = *(const struct whose *)arg;
	ret = w->starved ? thp_inject_tables(why) : 0;
	if (!ret)
		ret = thp_child_run(whose_monitor, w, THP_LONG_MS, why);
	free(w);
	return ret;
}

THP_COVERS_VARIANT(whose, uffd_wp, counts, "protect-uffd-wp");
THP_COVERS_VARIANT(whose, madvise, counts, "folio-split-advice");
THP_COVERS_VARIANT(whose, debugfs, counts, "folio-split-debugfs");
THP_COVERS_VARIANT(whose, mem, counts, "cow-gup");
TEST_F_TIMEOUT(whose, counts, 60)
{
	static struct whose w;

	(void)self;
	w.call = variant->call;
	THP_SCENARIO(monitor_run, &w);
}

/* UFFDIO_WRITEPROTECT of another process: which task is refused, and which group is charged. */
FIXTURE(monitor) {
	struct thp_cg cg[2];		/* of monitor and target */
};

FIXTURE_SETUP(monitor)
{
	(void)self;
	if (!whose_possible())
		THP_SKIP("needs process_madvise and pidfd_getfd (Linux 5.10)");
	THP_NEEDS(THP_NEED_ROOT | THP_NEED_UFFD_WP);
}

FIXTURE_TEARDOWN_PARENT(monitor)
{
	struct thp_why why = { 0 };

	THP_CHECK_OK(thp_cg_destroy(&self->cg[0]), &why);
	THP_CHECK_OK(thp_cg_destroy(&self->cg[1]), &why);
	thp_teardown(_metadata);
}

THP_COVERS(monitor, starved, "protect-uffd-wp");
TEST_F_TIMEOUT(monitor, starved, 60)
{
	static struct whose w = { .call = WHOSE_UFFD_WP, .starved = true };

	(void)self;
	THP_NEEDS(THP_NEED_FAIL_PAGE);
	THP_SCENARIO(monitor_run, &w);
}

static long long whose_charged(struct thp_cg *cg, struct thp_why *why)
{
	long long a = thp_cg_stat(&cg[0], "pagetables"), b = thp_cg_stat(&cg[1], "pagetables");

	return a < 0 || b < 0 ? thp_why(why, -EIO, "pagetables cannot be read") : a + b;
}

/*
 * Starts the monitor and waits until both processes are in the groups @cg, without a split
 * so far.
 */
static int monitor_start(struct thp_cg *cg, struct whose *w, struct thp_child *c,
			 struct thp_why *why)
{
	int ret;

	TRY(thp_cg_create(&cg[0], "monitor", why));
	TRY(thp_cg_create(&cg[1], "target", why));
	if (thp_cg_stat(&cg[0], "pagetables") < 0)
		return thp_skip(why, "needs pagetables in memory.stat");
	TRY(thp_child_start(c, whose_monitor, w));
	ret = thp_child_await(c, MONITOR_READY, THP_STEP_MS);
	if (ret)
		return thp_child_join(c, 0, why) ? : ret;
	TRY(thp_cg_join(&cg[0], c->pid));
	TRY(thp_cg_join(&cg[1], thp_chan_data(c->chan, struct monitor_told)->target));
	/* The kernel updates memory.stat every 2 s. */
	thp_sleep_ms(CHARGED_MS);
	return 0;
}

/* One of the two groups is charged for the tables of all splits. */
static int charge_splits(const void *arg, struct thp_why *why)
{
	struct thp_cg *cg = *(struct thp_cg *const *)arg;
	static struct whose w = { .call = WHOSE_UFFD_WP, .grouped = true };
	long long own, before, after = 0, want, end;
	struct thp_child c = { 0 };

	TRY(monitor_start(cg, &w, &c, why));
	own = thp_cg_stat(&cg[0], "pagetables");
	before = whose_charged(cg, why);
	thp_chan_post_child(c.chan, MONITOR_GO);
	want = WHOSE_THPS * thp_tables_split(THP_ANON) * (long long)thp_env.table;
	for (end = thp_now_ms() + 2 * CHARGED_MS; thp_now_ms() < end; thp_sleep_ms(50)) {
		if (thp_child_watch(&c, MONITOR_DONE, 1) == -ECHILD)
			break;
		after = whose_charged(cg, why);
		if (want && after - before == want)
			break;
	}
	own = thp_cg_stat(&cg[0], "pagetables") - own;
	printf("# monitor: %+lld B of tables are charged, %+lld B of it to the monitor\n",
	       after - before, own);
	thp_chan_post_child(c.chan, MONITOR_END);
	TRY(thp_child_join(&c, THP_STEP_MS, why));
	if (after - before != want)
		return thp_why(why, -EPROTO,
			       "%d splits by a monitor: %+lld B of tables charged to it and its target, expected %+lld",
			       WHOSE_THPS, after - before, want);
	return 0;
}

THP_COVERS(monitor, charged, "protect-uffd-wp");
TEST_F_TIMEOUT(monitor, charged, 60)
{
	struct thp_cg *const cg = self->cg;

	THP_NEEDS(THP_NEED_MEMCG);
	if (thp_env.memcg != 2)
		THP_SKIP("needs version 2 of the memory controller");
	if (thp_env.table < thp_env.page)
		THP_SKIP("needs PTE tables of a whole page");
	THP_SCENARIO(charge_splits, &cg);
}
