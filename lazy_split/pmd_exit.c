// SPDX-License-Identifier: GPL-2.0
/*
 * pmd_exit: The end of a process that has THPs: exit, execve(), process_mrelease().
 */

/* A process exits with PMDs, split PMDs and huge zero PMDs: check_mm() checks its tables. */
static int exit_mixed(struct thp_chan *chan, void *arg)
{
	static struct thp_map maps[3];
	struct thp_why *why = &chan->why;

	(void)arg;
	TRY(thp_map_new(&maps[0], THP_ANON, why));
	TRY(thp_map_new(&maps[1], THP_ANON, why));
	if (munmap(thp_page(&maps[1], 1), thp_env.page))
		return thp_why(why, -errno, "munmap: %s", strerror(errno));
	return thp_env_missing(THP_NEED_ZERO) ? 0 : thp_map_new(&maps[2], THP_ZERO, why);
}

static int exit_often(const void *arg, struct thp_why *why)
{
	unsigned int i;

	(void)arg;
	for (i = 0; i < 8 * thp_env.scale; i++)
		TRY(thp_child_run(exit_mixed, NULL, THP_STEP_MS, why));
	return 0;
}

THP_COVERS(pmd, exit_mm, "zap-exit");
TEST_F(pmd, exit_mm)
{
	(void)self;
	THP_SCENARIO(exit_often, NULL);
}

/* The same by execve(): it frees the old address space in the middle of the system call. */
static int exec_mixed(struct thp_chan *chan, void *arg)
{
	char name[] = "thp_exec", opt[] = "-h";
	int ret = exit_mixed(chan, arg), fd;
	char *argv[3], *envp[1] = { NULL };

	if (ret)
		return ret;
	argv[0] = name;
	argv[1] = opt;
	argv[2] = NULL;
	fd = open("/dev/null", O_WRONLY);
	dup2(fd, 1);
	execve("/proc/self/exe", argv, envp);
	return thp_why(&chan->why, -errno, "execve: %s", strerror(errno));
}

THP_COVERS(pmd, exec_mm, "zap-exit");
TEST_F(pmd, exec_mm)
{
	struct thp_why why = { 0 };

	(void)self;
	THP_CHECK_OK(thp_child_run(exec_mixed, NULL, THP_STEP_MS, &why), &why);
}

enum kill_step { KILL_MAPPED = 1, KILL_NEVER };

/* A killed process whose memory is reaped before it exits. */
static int wait_for_kill(struct thp_chan *chan, void *arg)
{
	int ret = exit_mixed(chan, arg);

	thp_chan_post_parent(chan, KILL_MAPPED);
	thp_chan_await_parent(chan, KILL_NEVER);
	return ret;
}

/* Reaps the memory of a killed process; 0 or -errno, -ENOSYS before Linux 5.15. */
static int reap_memory(pid_t pid)
{
	int pidfd = syscall(__NR_pidfd_open, pid, 0), ret = -ENOSYS, tries;

	/* EAGAIN: another task had the mmap lock. */
	for (tries = 0; pidfd >= 0 && tries < 100; tries++) {
		ret = syscall(__NR_process_mrelease, pidfd, 0) ? -errno : 0;
		if (ret != -EAGAIN)
			break;
		thp_sleep_ms(10);
	}
	if (pidfd >= 0)
		close(pidfd);
	return ret;
}

static int reap_killed(const void *arg, struct thp_why *why)
{
	struct thp_child c = { 0 };
	int ret;

	(void)arg;
	TRY(thp_child_start(&c, wait_for_kill, NULL));
	TRY(thp_child_await(&c, KILL_MAPPED, THP_STEP_MS));
	kill(c.pid, SIGKILL);
	ret = reap_memory(c.pid);
	thp_child_kill(&c);
	/* ESRCH: it had exited already. */
	if (ret && ret != -ESRCH)
		return thp_why(why, ret, "process_mrelease: %s", thp_errno_name(ret));
	return 0;
}

THP_COVERS(pmd, mrelease, "zap-reaper");
TEST_F(pmd, mrelease)
{
	(void)self;
	THP_NEEDS(THP_NEED_MRELEASE);
	THP_SCENARIO(reap_killed, NULL);
}

/* Waits until @pid, traced and killed, stops at its exit, when it still has its mm. */
static int await_exit_stop(pid_t pid)
{
	struct thp_deadline d;
	siginfo_t info;

	thp_deadline_start(&d, 0, THP_KILL_MS);
	for (;;) {
		info.si_pid = 0;
		if (waitid(P_PID, pid, &info, WSTOPPED | WEXITED | WNOHANG | WNOWAIT))
			return -errno;
		if (info.si_pid)
			return info.si_code == CLD_TRAPPED &&
			       info.si_status >> 8 == PTRACE_EVENT_EXIT ? 0 : -ECHILD;
		if (thp_deadline_over(&d))
			return -ETIMEDOUT;
		thp_sleep_ms(1);
	}
}

/* The tracer's faults in a reaped process. */
struct reaped_faults {
	ssize_t got, put;
	long long before, after;	/* VmPTE, bytes */
};

/*
 * Kills @pid, which is traced, reaps its memory, and causes a fault in it at @addr. 0 or
 * -errno.
 */
static int fault_reaped(pid_t pid, const char *addr, struct reaped_faults *f)
{
	char path[64], byte = 1;
	int fd, ret;

	kill(pid, SIGKILL);
	TRY(await_exit_stop(pid));
	snprintf(path, sizeof(path), "/proc/%d/mem", pid);
	fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	ret = reap_memory(pid);
	if (!ret) {
		f->before = thp_obs_vmpte(pid);
		f->got = pread(fd, &byte, 1, (uintptr_t)addr);
		f->put = pwrite(fd, &byte, 1, (uintptr_t)addr);
		f->after = thp_obs_vmpte(pid);
	}
	close(fd);
	return ret;
}

/*
 * A fault in reaped memory maps nothing and gives back what it has prepared. The process
 * was killed and waits for its tracer, so the tracer causes the fault.
 */
static int fault_in_vain(const void *arg, struct thp_why *why)
{
	struct reaped_faults f = { 0 };
	struct thp_child c = { 0 };
	struct thp_map m;
	int ret;

	(void)arg;
	/* No process has touched it. */
	TRY(thp_map_create(&m, THP_ANON, why));
	TRY(thp_child_start(&c, wait_for_kill, NULL));
	TRY(thp_child_await(&c, KILL_MAPPED, THP_STEP_MS));
	if (ptrace(PTRACE_SEIZE, c.pid, NULL, PTRACE_O_TRACEEXIT)) {
		thp_child_kill(&c);
		return thp_skip(why, "needs ptrace (kernel.yama.ptrace_scope, seccomp)");
	}
	ret = fault_reaped(c.pid, m.thp, &f);
	ptrace(PTRACE_DETACH, c.pid, NULL, NULL);
	thp_child_kill(&c);
	if (ret)
		return thp_why(why, ret, "killing and reaping: %s", thp_errno_name(ret));
	if (f.got >= 0 || f.put >= 0)
		return thp_why(why, -EPROTO, "reaped memory was read (%zd) and written (%zd)",
			       f.got, f.put);
	if (f.before <= 0 || f.before != f.after)
		return thp_why(why, -EPROTO, "VmPTE %lld B, after faults in vain %lld B", f.before,
			       f.after);
	return 0;
}

THP_COVERS(pmd, mrelease_fault, "fault-reaped zap-reaper");
TEST_F(pmd, mrelease_fault)
{
	(void)self;
	THP_NEEDS(THP_NEED_MRELEASE);
	THP_SCENARIO(fault_in_vain, NULL);
}
