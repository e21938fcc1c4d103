// SPDX-License-Identifier: GPL-2.0
/* brk: brk() and the stack: VMAs that the kernel itself shrinks and moves. */

#define HEAP_MISSING "needs a heap that can grow by four PMDs"

/* Creates one THP in the heap, with neighbours like those of a struct thp_map. */
static int heap_thp(struct thp_map *m, enum thp_kind kind, char **old_end, struct thp_why *why)
{
	size_t pmd = thp_env.pmd, span = thp_span();
	char *top;

	*old_end = sbrk(0);
	top = (char *)(((uintptr_t)*old_end + pmd - 1) & ~(pmd - 1));
	/* In a span of its own, the page above the THP would need a PMD table, too. */
	if (span && !((uintptr_t)(top + 2 * pmd) % span))
		top += pmd;
	if (brk(top + 3 * pmd))
		return thp_skip(why, HEAP_MISSING, "brk: %s", strerror(errno));
	memset(m, 0, sizeof(*m));
	m->kind = kind;
	m->fd = -1;
	m->seed = getpid();
	m->thp = top + pmd;
	madvise(top, 3 * pmd, MADV_NOHUGEPAGE);
	thp_touch(m->thp - thp_env.page);
	thp_touch(m->thp + pmd);
	if (madvise(m->thp, pmd, MADV_HUGEPAGE))
		return thp_why(why, -errno, "MADV_HUGEPAGE: %s", strerror(errno));
	return 0;
}

/* A heap that ends in the middle of a THP, see brk_shrink(). */
static int brk_into_thp(struct thp_map *m, struct thp_why *why)
{
	long dep = thp_tables_mapped(m->kind), tables;
	char *half = thp_page(m, thp_env.nr / 2);
	long long vmpte = thp_obs_vmpte(0);
	struct thp_meter meter;
	int splits;

	TRY(thp_map_fault(m, why));
	madvise(m->thp - thp_env.pmd, 3 * thp_env.pmd, MADV_NOHUGEPAGE);
	TRY(thp_meter_start(&meter, 0, why));
	if (thp_env.unit == 1 &&
	    (!thp_env_tables(meter.vmpte[0] - vmpte, &tables) || tables != dep))
		return thp_why(why, -EPROTO, "the THP costs %lld B of tables, expected %ld tables",
			       meter.vmpte[0] - vmpte, dep);
	if (brk(half))
		return thp_why(why, -EPROTO, "brk: %s", strerror(errno));
	TRY(thp_meter_read(&meter, why));
	splits = thp_meter_splits(&meter, 1, "brk", why);
	if (splits && splits != -EAGAIN)
		return splits;
	/* brk() frees the table of the page above the THP; the THP has one now. */
	vmpte = thp_meter_bytes(&meter);
	if (thp_env.unit == 1 && (!thp_env_tables(vmpte, &tables) || tables != -dep))
		return thp_why(why, -EPROTO, "brk changed VmPTE by %lld B, expected %ld tables",
			       vmpte, -dep);
	TRY(thp_map_check(m, 0, thp_env.nr / 2, why));
	TRY(thp_map_expect(m, THP_STATE_PTE, why));
	if (thp_obs_pages(half, thp_env.pmd / 2, THP_PM_POPULATED))
		return thp_why(why, -EPROTO, "pages beyond the end of heap");
	/* The heap grows again: the part that was cut off reads as zeroes. */
	if (brk(m->thp + thp_env.pmd))
		return thp_why(why, -EPROTO, "brk: %s", strerror(errno));
	TRY(thp_check_zero(half, thp_env.nr / 2, why));
	return splits;
}

static int brk_shrink(const void *arg, struct thp_why *why)
{
	const enum thp_kind *kind = arg;
	struct thp_map m;
	char *end;
	int ret;

	TRY(heap_thp(&m, *kind, &end, why));
	ret = brk_into_thp(&m, why);
	if (brk(end))
		ret = thp_why(why, -EPROTO, "brk: %s", strerror(errno));
	return ret;
}

/* The end of the heap moves into a THP. */
THP_COVERS(mremap, brk_shrink_anon, "brk-shrink");
TEST_F(mremap, brk_shrink_anon)
{
	const enum thp_kind kind = THP_ANON;

	(void)self;
	THP_SCENARIO(brk_shrink, &kind);
}

THP_COVERS(mremap, brk_shrink_zero, "brk-shrink");
TEST_F(mremap, brk_shrink_zero)
{
	const enum thp_kind kind = THP_ZERO;

	(void)self;
	THP_NEEDS(THP_NEED_ZERO);
	THP_SCENARIO(brk_shrink, &kind);
}

/* Without a table the end of the heap stays where it is. */
THP_COVERS(mremap, brk_shrink_starved, "brk-shrink move-fail");
TEST_F(mremap, brk_shrink_starved)
{
	bool lazy = thp_env.contract == THP_LAZY;
	struct thp_why why = { 0 };
	char *end, *top, *half;
	struct thp_map m;
	long fired;
	int err;

	(void)self;
	THP_NEEDS(THP_NEED_FAIL_PAGE);
	if (!thp_inject_can_target())
		THP_SKIP("needs kallsyms with the allocator of PTE tables");
	THP_REQUIRE_OK(heap_thp(&m, THP_ANON, &end, &why), &why);
	THP_REQUIRE_OK(thp_map_fault(&m, &why), &why);
	madvise(m.thp - thp_env.pmd, 3 * thp_env.pmd, MADV_NOHUGEPAGE);
	THP_REQUIRE_OK(thp_inject_tables(&why), &why);
	top = sbrk(0);
	half = thp_page(&m, thp_env.nr / 2);
	(void)thp_inject_own(true);
	THP_REQUIRE(!thp_inject_drain(NULL), "PTE tables cannot be used up");
	/*
	 * The system call returns the old end if it fails, which the C library
	 * takes for success when the heap was to shrink.
	 */
	err = brk(half) ? errno : 0;
	if (!err && sbrk(0) != half)
		err = ENOMEM;
	(void)thp_inject_own(false);
	fired = thp_inject_fired();
	thp_inject_report("targeted", lazy, fired, "%s", thp_errno_name(err));
	if (lazy) {
		THP_CHECK(fired > 0, "the injector did not fire");
		THP_CHECK(err == ENOMEM, "brk: %s, expected ENOMEM", thp_errno_name(err));
		THP_CHECK(sbrk(0) == top, "the end of the heap moved by %td",
			  (char *)sbrk(0) - top);
		THP_CHECK_OK(thp_map_expect(&m, THP_STATE_PMD, &why), &why);
		THP_CHECK_OK(thp_map_check(&m, 0, thp_env.nr, &why), &why);
		THP_CHECK(!brk(half), "with memory: %s", strerror(errno));
	} else {
		THP_CHECK(!err && !fired, "brk: %s after %ld failures, expected success without",
			  thp_errno_name(err), fired);
	}
	THP_CHECK_OK(thp_map_check(&m, 0, thp_env.nr / 2, &why), &why);
	THP_CHECK(!brk(end), "brk: %s", strerror(errno));
}

/* The strings of a program with many arguments: about 4 MB, in pieces of 128 kB. */
#define ARG_LEN		(128 * 1024 - 1)
#define ARGS		32

static char long_arg[ARG_LEN + 1];

/*
 * execve() moves the stack that it has built: 4 MB of base pages that never become a THP,
 * because the VMA is marked temporary. There is nothing to split, and nothing fails.
 */
static int exec_stack(const void *arg, struct thp_why *why)
{
	static char * const env[] = { NULL };
	char *argv[ARGS + 3] = { "thp_mremap", "-h" };
	struct thp_meter meter;
	struct rlimit rl;
	int status, i;
	pid_t pid;

	(void)arg;
	memset(long_arg, 'x', ARG_LEN);
	for (i = 0; i < ARGS; i++)
		argv[2 + i] = long_arg;
	TRY(thp_meter_start(&meter, 0, why));
	pid = fork();
	if (pid < 0)
		return thp_why(why, -errno, "fork: %s", strerror(errno));
	if (!pid) {
		/* Arguments may take a quarter of the stack. */
		if (!getrlimit(RLIMIT_STACK, &rl)) {
			rl.rlim_cur = rl.rlim_max < 64UL << 20 ? rl.rlim_max : 64UL << 20;
			setrlimit(RLIMIT_STACK, &rl);
		}
		if (!freopen("/dev/null", "w", stdout))
			_exit(126);
		execve("/proc/self/exe", argv, env);
		_exit(errno == E2BIG ? 125 : 127);
	}
	if (waitpid(pid, &status, 0) != pid)
		return thp_why(why, -errno, "waitpid: %s", strerror(errno));
	if (WIFEXITED(status) && WEXITSTATUS(status) == 125)
		return thp_skip(why, "needs RLIMIT_STACK for 4 MB of arguments");
	if (status)
		return thp_why(why, -EPROTO, "execve ended with status %#x, expected 0", status);
	TRY(thp_meter_read(&meter, why));
	return thp_meter_splits(&meter, 0, "execve", why);
}

THP_COVERS(mremap, exec_stack_control, "exec-stack");
TEST_F(mremap, exec_stack_control)
{
	(void)self;
	THP_SCENARIO(exec_stack, NULL);
}
