// SPDX-License-Identifier: GPL-2.0
/*
 * A refusal changes nothing in the task, however often it is refused:
 *
 * - its locked memory (VmLck), its page tables and the commit charge are what they were;
 * - a userfaultfd of it can be used: no change of mappings is left open (-EAGAIN for
 *   ever from UFFDIO_COPY, see mmap_changing in mm/userfaultfd.c);
 * - what it allocates is charged to its own group (set_active_memcg());
 * - the limit of its group still binds it (PF_MEMALLOC of memalloc_noreclaim_save());
 * - it can be killed, and when it is gone, so is its group (references to a css).
 *
 * The targeted injector refuses. On an eager kernel nothing is refused: the same holds for
 * a task whose operation succeeds once.
 */

#define AFTER_ROUNDS	300
/* Pages: far more than the stock of a CPU, which hides up to 64 of them. */
#define AFTER_PIPE	256

struct after_of {
	const char *row;		/* of lib/ops/op_*.c, or */
	const struct split_op *op;	/* one of the rows below */
	enum thp_kind kind;
};

/* Reads the events of a userfaultfd, because a call that causes one waits for the reader. */
static void *after_read_events(void *arg)
{
	struct thp_map *m = arg;
	struct pollfd pfd = { .fd = m->uffd, .events = POLLIN };
	struct uffd_msg msg;

	while (poll(&pfd, 1, -1) > 0)
		if (read(m->uffd, &msg, sizeof(msg)) == sizeof(msg) &&
		    msg.event == UFFD_EVENT_FORK)
			close(msg.arg.fork.ufd);
	return NULL;
}

static int after_watch(struct thp_map *m, struct thp_why *why)
{
	pthread_t reader;
	int ret;

	m->uffd = thp_uffd_watch(m->thp, 2 * thp_env.pmd,
				 UFFD_FEATURE_EVENT_FORK | UFFD_FEATURE_EVENT_REMAP,
				 UFFDIO_REGISTER_MODE_MISSING, why);
	if (m->uffd < 0)
		return m->uffd;
	ret = pthread_create(&reader, NULL, after_read_events, m);
	return ret ? thp_why(why, -ret, "pthread_create: %s", strerror(ret)) : 0;
}

/* An address below every program, so that fork() copies it first. */
#define AFTER_LOW	0x100000UL

/*
 * Maps one more page, in the lowest VMA: dup_userfaultfd() marks the change of mappings as
 * in progress for it, then the table for its copy is refused, and fork() fails.
 */
static int after_watch_low(struct thp_map *m, struct thp_why *why)
{
	char *low = mmap((void *)AFTER_LOW, thp_env.page, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
	int ret;

	if (low != (void *)AFTER_LOW)
		return thp_skip(why, "needs address space below the program");
	thp_touch(low);
	ret = after_watch(m, why);
	if (!ret)
		ret = thp_uffd_register(m->uffd, low, thp_env.page, UFFDIO_REGISTER_MODE_MISSING);
	return ret ? thp_why(why, ret, "UFFDIO_REGISTER: %s", thp_errno_name(ret)) : 0;
}

static int after_fork(struct thp_map *m, char *addr, size_t len)
{
	pid_t pid = fork();

	(void)m;
	(void)addr;
	(void)len;
	if (pid < 0)
		return -errno;
	if (!pid)
		_exit(0);
	(void)waitpid(pid, NULL, 0);
	return 0;
}

/* Moves the page to an untouched page behind the THP. */
static int after_mremap(struct thp_map *m, char *addr, size_t len)
{
	return mremap(addr, len, len, MREMAP_MAYMOVE | MREMAP_FIXED,
		      thp_page(m, thp_env.nr + 16)) == MAP_FAILED ? -errno : 0;
}

/* A read-only mapping without anon_vma, so that making it writable charges it (VM_ACCOUNT). */
static int after_readonly(struct thp_map *m, struct thp_why *why)
{
	void *p = mmap(m->thp, thp_env.pmd, PROT_READ,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);

	if (p == MAP_FAILED || madvise(m->thp, thp_env.pmd, MADV_HUGEPAGE))
		return thp_why(why, -errno, "mmap: %s", strerror(errno));
	(void)thp_peek(m->thp);
	return thp_map_expect(m, THP_STATE_PMD_ZERO, why);
}

/* The mappings of lib/thp/thp_map.h are MAP_NORESERVE, and charge nothing. */
static int after_accounted(struct thp_map *m, struct thp_why *why)
{
	void *p = mmap(m->thp, thp_env.pmd, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);

	if (p == MAP_FAILED || madvise(m->thp, thp_env.pmd, MADV_HUGEPAGE))
		return thp_why(why, -errno, "mmap: %s", strerror(errno));
	return thp_map_fault(m, why);
}

static int after_map_fixed(struct thp_map *m, char *addr, size_t len)
{
	(void)m;
	return mmap(addr, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED,
		    -1, 0) == MAP_FAILED ? -errno : 0;
}

static int after_mremap_keep(struct thp_map *m, char *addr, size_t len)
{
	return mremap(addr, len, len, MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP,
		      thp_page(m, thp_env.nr + 16)) == MAP_FAILED ? -errno : 0;
}

static int after_writable(struct thp_map *m, char *addr, size_t len)
{
	(void)m;
	return mprotect(addr, len, PROT_READ | PROT_WRITE) ? -errno : 0;
}

static const struct split_op after_mprotect_commit = {
	.name = "mprotect_commit", .run = after_writable, .prepare = after_readonly,
	.needs = THP_NEED_ZERO, .kinds = THP_ZERO, .where = AT_UPPER,
};

static const struct split_op after_map_fixed_commit = {
	.name = "map_fixed_commit", .run = after_map_fixed, .prepare = after_accounted,
	.kinds = THP_ANON, .where = AT_UPPER,
};

static const struct split_op after_mremap_commit = {
	.name = "mremap_commit", .run = after_mremap, .prepare = after_accounted,
	.kinds = THP_ANON, .where = AT_UPPER,
};

static const struct split_op after_mremap_keep_commit = {
	.name = "mremap_keep_commit", .run = after_mremap_keep, .prepare = after_accounted,
	.kinds = THP_ANON, .where = AT_UPPER,
};

static const struct split_op after_mremap_event = {
	.name = "mremap_event", .run = after_mremap, .prepare = after_watch,
	.needs = THP_NEED_UFFD, .kinds = THP_ANON, .where = AT_MID,
};

static const struct split_op after_fork_event = {
	.name = "fork_event", .run = after_fork, .prepare = after_watch_low,
	.needs = THP_NEED_UFFD, .kinds = THP_ANON, .where = AT_MID,
};

FIXTURE(after) {
	struct thp_cg cg;
};

FIXTURE_VARIANT(after) {
	struct after_of of;
};

FIXTURE_VARIANT_ADD(after, munmap) { .of = { .row = "munmap_mid", .kind = THP_ANON } };
FIXTURE_VARIANT_ADD(after, munmap_zero) { .of = { .row = "munmap_mid", .kind = THP_ZERO } };
FIXTURE_VARIANT_ADD(after, mlock) { .of = { .row = "mlock_mid", .kind = THP_ANON } };
FIXTURE_VARIANT_ADD(after, dontneed) { .of = { .row = "dontneed_mid", .kind = THP_ANON } };
FIXTURE_VARIANT_ADD(after, uffd_wp) { .of = { .row = "uffd_wp_mid", .kind = THP_ANON } };
FIXTURE_VARIANT_ADD(after, cold) { .of = { .row = "cold_mid", .kind = THP_ANON } };
FIXTURE_VARIANT_ADD(after, mprotect_commit) {
	.of = { .op = &after_mprotect_commit, .kind = THP_ZERO },
};

FIXTURE_VARIANT_ADD(after, map_fixed_commit) {
	.of = { .op = &after_map_fixed_commit, .kind = THP_ANON },
};

FIXTURE_VARIANT_ADD(after, mremap_commit) {
	.of = { .op = &after_mremap_commit, .kind = THP_ANON },
};

FIXTURE_VARIANT_ADD(after, mremap_keep_commit) {
	.of = { .op = &after_mremap_keep_commit, .kind = THP_ANON },
};

FIXTURE_VARIANT_ADD(after, mremap_event) {
	.of = { .op = &after_mremap_event, .kind = THP_ANON },
};

FIXTURE_VARIANT_ADD(after, fork_event) {
	.of = { .op = &after_fork_event, .kind = THP_ANON },
};

static const struct split_op *after_op(const struct after_of *of)
{
	return of->row ? split_op_by_name(of->row) : of->op;
}

FIXTURE_SETUP(after)
{
	const struct split_op *op = after_op(&variant->of);

	(void)self;
	THP_REQUIRE(op, "no operation %s", variant->of.row);
	THP_NEEDS(op->needs | thp_kind_needs(variant->of.kind) | THP_NEED_FAIL_PAGE |
		  THP_NEED_MEMCG | THP_NEED_POPULATE);
}

FIXTURE_TEARDOWN_PARENT(after)
{
	struct thp_why why = { 0 };

	THP_CHECK_OK(thp_cg_destroy(&self->cg), &why);
	thp_teardown(_metadata);
}

/* Steps of the child and the parent. */
enum after_step {
	AFTER_REFUSED = GROUP_JOINED + 1, AFTER_NOTED, AFTER_PIPED,
	AFTER_LIMITED, AFTER_FULL, AFTER_NEVER
};

/* The results of the child. */
struct after_told {
	int refused;		/* rounds */
	long long bytes;	/* in a pipe, or -errno */
	int full;		/* 0: the limit binds it, or -errno of thp_burner_burn() */
};

/* One round: 1 if it was refused; 0 if it succeeded; -errno. */
static int after_round(const struct split_op *op, struct thp_map *m, struct thp_why *why)
{
	enum thp_state state;
	int ret, err;

	TRY(thp_inject_self(why));
	err = split_run(op, m);
	(void)thp_inject_own(false);
	ret = thp_obs_state(m->thp, thp_env.pmd, &state);
	if (ret)
		return thp_why(why, ret, "page map: %s", thp_errno_name(ret));
	if (state == thp_kind_state(m->kind) && (err || op->starved == ADVICE))
		return 1;
	if (state == THP_STATE_PTE && !err)
		return 0;
	return thp_why(why, -EPROTO, "%s returned %s, and the range is %s", op->name,
		       thp_errno_name(err), thp_state_name(state));
}

/*
 * Runs all rounds and checks that the amounts of the process are unchanged. Refusals, or
 * -errno.
 */
static int after_rounds(const struct split_op *op, struct thp_map *m, struct thp_why *why)
{
	long long tables = thp_obs_vmpte(0), locked = thp_read_field("/proc/self/status", "VmLck");
	size_t len = AFTER_ROUNDS * (thp_env.pmd / 2);
	long long committed, lost;
	int i, ret = 1;
	void *ballast;

	/*
	 * Committed_AS is never shown below 0, so the ballast is more than the rounds could
	 * uncharge twice. If they have done so, the ballast stays, so that the next try starts
	 * above 0 as well.
	 */
	ballast = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	committed = thp_read_field("/proc/meminfo", "Committed_AS");
	if (tables < 0 || locked < 0 || committed < 0)
		return thp_why(why, -EIO, "VmPTE, VmLck or Committed_AS cannot be read");
	for (i = 0; i < AFTER_ROUNDS && ret == 1; i++)
		ret = after_round(op, m, why);
	if (ret < 0)
		return ret;
	i -= !ret;
	/* Other tests check the effect of success. */
	if (!ret)
		return i;
	lost = thp_read_field("/proc/self/status", "VmLck") - locked;
	if (lost)
		return thp_why(why, -EPROTO, "VmLck: %+lld kB after %d refusals, expected +0",
			       lost, i);
	lost = thp_obs_vmpte(0) - tables;
	if (lost && thp_env.table >= thp_env.page)
		return thp_why(why, -EPROTO, "VmPTE: %+lld B after %d refusals, expected +0",
			       lost, i);
	/* Other processes charge meanwhile: tolerates half of what the refusals could leak. */
	lost = thp_read_field("/proc/meminfo", "Committed_AS") - committed;
	if (op->where == AT_UPPER && llabs(lost) > i * (long long)thp_env.pmd / 4 / 1024)
		return thp_why(why, -EAGAIN, "Committed_AS: %+lld kB after %d refusals, not +0",
			       lost, i);
	if (ballast != MAP_FAILED)
		munmap(ballast, len);
	return i;
}

/* Fills a pipe: kernel memory charged to the task; bytes, or -errno. */
static long long after_fill_pipe(void)
{
	static char page[65536];
	long long bytes = 0;
	int fd[2], size;

	if (pipe2(fd, O_NONBLOCK | O_CLOEXEC))
		return -errno;
	size = fcntl(fd[1], F_SETPIPE_SZ, AFTER_PIPE * thp_env.page);
	if (size < 0)
		return -errno;
	while (write(fd[1], page, thp_env.page) == (ssize_t)thp_env.page)
		bytes += thp_env.page;
	return bytes;
}

/* Maps a range, and a burner; both are charged to the group of the child. */
static int after_prepare(const struct after_of *of, struct thp_map *m, struct thp_burner *burner,
			 struct thp_why *why)
{
	int ret;

	ret = thp_burner_create(burner);
	if (!ret)
		ret = thp_pin_cpu();
	if (!ret)
		ret = thp_map_new(m, of->kind, why);
	if (!ret)
		ret = split_prepare(after_op(of), m, why);
	return ret ? thp_why(why, ret, "setup: %s", thp_errno_name(ret)) : 0;
}

/* Runs one round beforehand, because some things are allocated only once; then all rounds. */
static int after_refusals(const struct after_of *of, struct thp_map *m, struct thp_why *why)
{
	int try, ret = after_round(after_op(of), m, why);

	for (try = 0; try < 4 && (ret == 1 || (try && ret == -EAGAIN)); try++) {
		thp_why_clear(why);
		ret = after_rounds(after_op(of), m, why);
		if (ret >= 0)
			break;
	}
	return ret;
}

static int after_child(struct thp_chan *chan, void *arg)
{
	struct after_told *told = thp_chan_data(chan, struct after_told);
	const struct after_of *of = arg;
	struct thp_why *why = &chan->why;
	static struct thp_burner burner;
	static struct thp_map m;
	int ret;

	TRY(thp_cg_spare_self(why));
	thp_warm_up();
	group_await(chan);
	TRY(after_prepare(of, &m, &burner, why));
	ret = after_refusals(of, &m, why);
	if (ret < 0)
		return ret;
	told->refused = ret;
	if (m.uffd >= 0 && of->op) {
		ret = thp_uffd_copy(m.uffd, thp_page(&m, thp_env.nr + 8), burner.base,
				    thp_env.page);
		if (ret)
			return thp_why(why, -EPROTO, "UFFDIO_COPY after %d refusals: %s",
				       told->refused, thp_errno_name(ret));
	}
	thp_chan_post_parent(chan, AFTER_REFUSED);
	thp_chan_await_parent(chan, AFTER_NOTED);
	told->bytes = after_fill_pipe();
	thp_chan_post_parent(chan, AFTER_PIPED);
	thp_chan_await_parent(chan, AFTER_LIMITED);
	told->full = thp_burner_burn(&burner);
	thp_chan_post_parent(chan, AFTER_FULL);
	thp_chan_await_parent(chan, AFTER_NEVER);
	return 0;
}

/* Kills the child while its group is full. */
static int after_kill(struct thp_child *c, struct thp_why *why)
{
	struct thp_deadline d;
	siginfo_t info;

	kill(c->pid, SIGKILL);
	thp_deadline_start(&d, 0, THP_KILL_MS);
	do {
		info.si_pid = 0;
		if (waitid(P_PID, c->pid, &info, WEXITED | WNOHANG | WNOWAIT) || info.si_pid)
			return 0;
		thp_sleep_ms(1);
	} while (!thp_deadline_over(&d));
	return thp_why(why, -EPROTO, "SIGKILL has not ended the task in %lld ms", d.wall);
}

/* The group disappears with its last process; a leaked reference would keep it. */
static int after_remove(struct thp_cg *cg, long long before, struct thp_why *why)
{
	int ret = thp_cg_destroy(cg);
	struct thp_deadline d;
	long long dying;

	if (ret)
		return thp_why(why, ret, "the group cannot be removed: %s", thp_errno_name(ret));
	thp_deadline_start(&d, 0, THP_SETTLE_MS);
	while ((dying = thp_cg_dying()) > before && !thp_deadline_over(&d))
		thp_sleep_ms(20);
	if (dying <= before)
		return 0;
	return thp_why(why, -EPROTO,
		       "%lld removed groups are still there after %lld ms, expected %lld", dying,
		       d.wall, before);
}

struct after_case {
	const struct after_of *of;
	struct thp_cg *cg;
};

/* Starts the child in its group and waits for the end of its rounds. */
static int after_start(const struct after_case *a, struct thp_child *c, struct thp_why *why)
{
	const struct after_told *told;
	int ret;

	TRY(thp_cg_create(a->cg, "after", why));
	TRY(group_start(c, a->cg, after_child, a->of));
	ret = thp_child_await(c, AFTER_REFUSED, THP_LONG_MS);
	if (ret)
		return thp_child_join(c, 0, why) ? : ret;
	told = thp_chan_data(c->chan, struct after_told);
	printf("# after: %s: %d refused\n", after_op(a->of)->name, told->refused);
	if (split_expected(after_op(a->of), a->of->kind) && thp_split_allocates(a->of->kind) &&
	    told->refused != AFTER_ROUNDS)
		return thp_why(why, -EPROTO, "%d of %d rounds were refused", told->refused,
			       AFTER_ROUNDS);
	return 0;
}

/* Allocations of the task are charged to its group, and the limit of the group binds it. */
static int after_charged(const struct thp_cg *cg, struct thp_child *c, struct thp_why *why)
{
	const struct after_told *told = thp_chan_data(c->chan, struct after_told);
	long long usage = thp_cg_usage(cg), rose, limit;

	thp_chan_post_child(c->chan, AFTER_NOTED);
	TRY(thp_child_await(c, AFTER_PIPED, THP_STEP_MS));
	rose = thp_cg_usage(cg) - usage;
	/* Each CPU may have charged 64 pages ahead (MEMCG_CHARGE_BATCH): half of it or more. */
	if (rose < told->bytes / 4 || told->bytes <= 0)
		return thp_why(why, -EPROTO,
			       "%lld B in a pipe: %+lld B charged to the group of the task",
			       told->bytes, rose);
	limit = thp_cg_limit_near(cg);
	if (limit < 0)
		return limit;
	thp_chan_post_child(c->chan, AFTER_LIMITED);
	TRY(thp_child_await(c, AFTER_FULL, THP_STEP_MS));
	if (told->full)
		return thp_why(why, -EPROTO,
			       "the limit of the group does not bind the task any more: usage is %+lld B from it",
			       thp_cg_usage(cg) - limit);
	return 0;
}

static int same_after_refusals(const void *arg, struct thp_why *why)
{
	const struct after_case *a = arg;
	long long dying = thp_cg_dying();
	struct thp_child c = { 0 };

	TRY(thp_inject_tables(why));
	TRY(after_start(a, &c, why));
	TRY(after_charged(a->cg, &c, why));
	TRY(after_kill(&c, why));
	(void)thp_cg_limit(a->cg, THP_CG_MAX);
	thp_child_kill(&c);
	return after_remove(a->cg, dying, why);
}

THP_COVERS_VARIANT(after, munmap, same, "split-munmap");
THP_COVERS_VARIANT(after, munmap_zero, same, "split-munmap");
THP_COVERS_VARIANT(after, mlock, same, "split-mlock");
THP_COVERS_VARIANT(after, dontneed, same, "zap-dontneed");
THP_COVERS_VARIANT(after, uffd_wp, same, "protect-uffd-wp");
THP_COVERS_VARIANT(after, cold, same, "folio-split-advice folio-split");
THP_COVERS_VARIANT(after, mprotect_commit, same, "split-mprotect");
THP_COVERS_VARIANT(after, map_fixed_commit, same, "split-map-fixed");
THP_COVERS_VARIANT(after, mremap_commit, same, "move-partial move-fail");
THP_COVERS_VARIANT(after, mremap_keep_commit, same, "mremap-dontunmap move-fail");
THP_COVERS_VARIANT(after, mremap_event, same, "move-partial move-fail");
THP_COVERS_VARIANT(after, fork_event, same, "fork-anon");
TEST_F_TIMEOUT(after, same, 90)
{
	const struct after_case a = { .of = &variant->of, .cg = &self->cg };

	THP_SCENARIO(same_after_refusals, &a);
}
