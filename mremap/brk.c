// SPDX-License-Identifier: GPL-2.0
/*
 * brk: brk() and the stack: VMAs that the kernel shrinks and moves itself.
 */

/* Sets up one THP in the heap; it has neighbours like that of a struct thp_map. */
static int heap_thp(struct thp_map *m, enum thp_kind kind, char **old_end, struct thp_why *why)
{
	size_t pmd = thp_env.pmd;
	char *top;

	*old_end = sbrk(0);
	top = (char *)(((uintptr_t)*old_end + pmd - 1) & ~(pmd - 1));
	if (brk(top + 3 * pmd))
		return thp_why(why, -ENOSPC, "brk: %s", strerror(errno));
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

static int brk_once(enum thp_kind kind, struct thp_why *why)
{
	long dep = thp_tables_mapped(kind), tables;
	struct thp_meter meter;
	struct thp_map m;
	char *end, *half;
	long long vmpte;
	int ret, splits;

	TRY(heap_thp(&m, kind, &end, why));
	vmpte = thp_obs_vmpte(0);
	ret = thp_map_fault(&m, why);
	if (ret)
		goto out;
	madvise(m.thp - thp_env.pmd, 3 * thp_env.pmd, MADV_NOHUGEPAGE);
	half = thp_page(&m, thp_env.nr / 2);
	ret = thp_meter_start(&meter, 0, why);
	if (ret)
		goto out;
	if (thp_env.unit == 1 &&
	    (!thp_env_tables(meter.vmpte[0] - vmpte, &tables) || tables != dep)) {
		ret = thp_why(why, -EPROTO, "the THP costs %lld B of tables, expected %ld tables",
			      meter.vmpte[0] - vmpte, dep);
		goto out;
	}
	if (brk(half)) {
		ret = thp_why(why, -EPROTO, "brk: %s", strerror(errno));
		goto out;
	}
	ret = thp_meter_read(&meter, why);
	splits = ret ? ret : thp_meter_splits(&meter, 1, "brk", why);
	if (splits && splits != -EAGAIN) {
		ret = splits;
		goto out;
	}
	/* The table of the page above the THP goes; that of the THP is there now. */
	vmpte = thp_meter_bytes(&meter);
	if (thp_env.unit == 1 && (!thp_env_tables(vmpte, &tables) || tables != -dep)) {
		ret = thp_why(why, -EPROTO, "brk changed VmPTE by %lld B, expected %ld tables",
			      vmpte, -dep);
		goto out;
	}
	ret = thp_map_check(&m, 0, thp_env.nr / 2, why);
	if (!ret)
		ret = thp_map_expect(&m, THP_STATE_PTE, why);
	if (!ret && thp_obs_populated(half, thp_env.pmd / 2))
		ret = thp_why(why, -EPROTO, "pages beyond the end of heap");
	/* The heap grows again: what was cut off reads as zeroes. */
	if (!ret && brk(m.thp + thp_env.pmd))
		ret = thp_why(why, -EPROTO, "brk: %s", strerror(errno));
	if (!ret)
		ret = thp_check_zero(half, thp_env.nr / 2, why);
	if (!ret)
		ret = splits;
out:
	if (brk(end))
		ret = thp_why(why, -EPROTO, "brk: %s", strerror(errno));
	return ret;
}

static int retry_brk(enum thp_kind kind, struct thp_why *why)
{
	int try, ret = -EAGAIN;

	for (try = 0; try < TRIES && ret == -EAGAIN; try++) {
		thp_why_clear(why);
		ret = brk_once(kind, why);
	}
	return ret;
}

/* The end of the heap moves into a THP. */
THP_COVERS(mremap, brk_shrink_anon, "brk-shrink");
TEST_F(mremap, brk_shrink_anon)
{
	struct thp_why why = { 0 };
	int ret;

	(void)self;
	ret = retry_brk(THP_ANON, &why);
	if (ret == -ENOSPC)
		THP_SKIP("needs a heap that can grow by four PMDs");
	THP_REQUIRE_RESULT(ret, &why);
}

THP_COVERS(mremap, brk_shrink_zero, "brk-shrink");
TEST_F(mremap, brk_shrink_zero)
{
	struct thp_why why = { 0 };
	int ret;

	(void)self;
	THP_NEEDS(THP_NEED_ZERO);
	ret = retry_brk(THP_ZERO, &why);
	if (ret == -ENOSPC)
		THP_SKIP("needs a heap that can grow by four PMDs");
	THP_REQUIRE_RESULT(ret, &why);
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
	THP_REQUIRE_OK(thp_inject_setup(true, 0, &why), &why);
	top = sbrk(0);
	half = thp_page(&m, thp_env.nr / 2);
	(void)thp_inject_task(getpid(), true);
	THP_REQUIRE(!thp_inject_drain(-1), "PTE tables cannot be used up");
	/*
	 * The system call returns the old end if it fails, which the C library
	 * takes for success when the heap was to shrink.
	 */
	err = brk(half) ? errno : 0;
	if (!err && sbrk(0) != half)
		err = ENOMEM;
	(void)thp_inject_task(getpid(), false);
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

static char arg[ARG_LEN + 1];

/*
 * execve() moves the stack that it has built: 4 MB of base pages that never are
 * a THP, as the VMA is marked temporary. Nothing to split, and no failure.
 */
static int exec_once(struct thp_why *why)
{
	static char * const env[] = { NULL };
	char *argv[ARGS + 3] = { "thp_mremap", "-h" };
	struct thp_meter meter;
	struct rlimit rl;
	int status, i, ret;
	pid_t pid;

	memset(arg, 'x', ARG_LEN);
	for (i = 0; i < ARGS; i++)
		argv[2 + i] = arg;
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
		return -E2BIG;
	if (status)
		return thp_why(why, -EPROTO, "execve ended with status %#x, expected 0", status);
	ret = thp_meter_read(&meter, why);
	return ret ? ret : thp_meter_splits(&meter, 0, "execve", why);
}

THP_COVERS(mremap, exec_stack_control, "exec-stack");
TEST_F(mremap, exec_stack_control)
{
	struct thp_why why = { 0 };
	int try, ret = -EAGAIN;

	(void)self;
	for (try = 0; try < TRIES && ret == -EAGAIN; try++) {
		thp_why_clear(&why);
		ret = exec_once(&why);
	}
	if (ret == -E2BIG)
		THP_SKIP("needs RLIMIT_STACK for 4 MB of arguments");
	THP_REQUIRE_RESULT(ret, &why);
}
