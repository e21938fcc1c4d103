// SPDX-License-Identifier: GPL-2.0
/*
 * pmd_exit: The end of a process that has THPs: exit, execve(), process_mrelease().
 */

/* A process that ends with PMDs, split PMDs and huge zero PMDs: check_mm() looks. */
static int exit_mixed(struct thp_chan *chan, void *arg)
{
	struct thp_map *maps = arg;
	int ret;

	ret = thp_map_new(&maps[0], THP_ANON, &chan->why);
	if (!ret)
		ret = thp_map_new(&maps[1], THP_ANON, &chan->why);
	if (!ret && munmap(thp_page(&maps[1], 1), thp_env.page))
		ret = -errno;
	if (!ret && !thp_env_missing(THP_NEED_ZERO))
		ret = thp_map_new(&maps[2], THP_ZERO, &chan->why);
	return ret;
}

THP_COVERS(pmd, exit_mm, "zap-exit");
TEST_F(pmd, exit_mm)
{
	struct thp_why why = { 0 };
	unsigned int i;

	for (i = 0; i < 8 * thp_env.scale; i++)
		THP_REQUIRE_OK(thp_child_run(exit_mixed, self->set.map, THP_STEP_MS, &why), &why);
}

/* The same by execve(): the old address space goes away in the middle of a system call. */
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

	THP_CHECK_OK(thp_child_run(exec_mixed, self->set.map, THP_STEP_MS, &why), &why);
}

/* A killed process whose memory is reaped before it is gone. */
static int wait_for_kill(struct thp_chan *chan, void *arg)
{
	int ret = exit_mixed(chan, arg);

	thp_chan_post_parent(chan, 1);
	thp_chan_await_parent(chan, 2);
	return ret;
}

/* Reaps the memory of a killed process; 0 or -errno, -ENOSYS before Linux 5.15. */
static int reap(pid_t pid)
{
	int pidfd = syscall(__NR_pidfd_open, pid, 0), ret = -ENOSYS, tries;

	/* EAGAIN: someone had the mmap lock. */
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

THP_COVERS(pmd, mrelease, "zap-reaper");
TEST_F(pmd, mrelease)
{
	struct thp_child child = { 0 };
	struct thp_why why = { 0 };
	int ret;

	THP_NEEDS(THP_NEED_MRELEASE);
	THP_REQUIRE_OK(thp_child_start(&child, wait_for_kill, self->set.map), &why);
	THP_CHECK_OK(thp_child_await(&child, 1, THP_STEP_MS), &why);
	kill(child.pid, SIGKILL);
	ret = reap(child.pid);
	thp_child_kill(&child);
	/* ESRCH: it was gone before we asked. */
	THP_CHECK(!ret || ret == -ESRCH, "process_mrelease: %s", thp_errno_name(ret));
}

/* Until @pid, traced and killed, stands at the end of its life, its mm still there. */
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

/*
 * A fault in memory that has been reaped maps nothing and gives back what it had
 * prepared. The process itself does not fault any more: it was killed, and waits for
 * its tracer, who faults for it.
 */
THP_COVERS(pmd, mrelease_fault, "fault-reaped zap-reaper");
TEST_F(pmd, mrelease_fault)
{
	struct thp_map *m = &self->set.map[THP_SET_MAX - 1];
	long long before = 0, after = 0;
	struct thp_child child = { 0 };
	struct thp_why why = { 0 };
	ssize_t got = 0, put = 0;
	char path[64], byte = 1;
	int fd = -1, ret;

	THP_NEEDS(THP_NEED_MRELEASE);
	/* Not touched, by nobody. */
	THP_REQUIRE_OK(thp_map_create(m, THP_ANON, &why), &why);
	THP_REQUIRE_OK(thp_child_start(&child, wait_for_kill, self->set.map), &why);
	THP_CHECK_OK(thp_child_await(&child, 1, THP_STEP_MS), &why);
	if (ptrace(PTRACE_SEIZE, child.pid, NULL, PTRACE_O_TRACEEXIT)) {
		thp_child_kill(&child);
		THP_SKIP("needs ptrace (kernel.yama.ptrace_scope, seccomp)");
	}
	kill(child.pid, SIGKILL);
	ret = await_exit_stop(child.pid);
	if (!ret) {
		snprintf(path, sizeof(path), "/proc/%d/mem", child.pid);
		fd = open(path, O_RDWR | O_CLOEXEC);
		ret = fd < 0 ? -errno : reap(child.pid);
	}
	if (!ret) {
		before = thp_obs_vmpte(child.pid);
		got = pread(fd, &byte, 1, (uintptr_t)m->thp);
		put = pwrite(fd, &byte, 1, (uintptr_t)m->thp);
		after = thp_obs_vmpte(child.pid);
	}
	if (fd >= 0)
		close(fd);
	ptrace(PTRACE_DETACH, child.pid, NULL, NULL);
	thp_child_kill(&child);
	THP_REQUIRE(!ret, "killing and reaping: %s", thp_errno_name(ret));
	THP_CHECK(got < 0 && put < 0, "reaped memory was read (%zd) and written (%zd)", got, put);
	THP_CHECK(before > 0 && before == after, "VmPTE %lld B, after faults in vain %lld B",
		  before, after);
}
