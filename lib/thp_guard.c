// SPDX-License-Identifier: GPL-2.0
#include <dirent.h>
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "thp_cgroup.h"
#include "thp_child.h"
#include "thp_env.h"
#include "thp_guard.h"
#include "thp_kmsg.h"
#include "thp_settings.h"

#define KILL_WAIT_MS 10000

/*
 * khugepaged would collapse what a test has just split. One page an hour is as
 * good as stopped, and does not touch what the tests are about (enabled, defrag).
 *
 * Whenever it has no process to scan and gets one, it scans at once, whatever the
 * settings: so the guardian itself is one, for as long as it lives.
 */
static void quieten(void)
{
	uint64_t pmd;
	void *p;

	(void)thp_settings_set(THP_SYSFS "khugepaged/pages_to_scan", "1");
	(void)thp_settings_set(THP_SYSFS "khugepaged/scan_sleep_millisecs", "3600000");
	(void)thp_settings_set(THP_SYSFS "shmem_enabled", "advise");
	/* Only now: this can wake it, and then it goes by the number of pages. */
	if (!thp_read_u64(THP_SYSFS "hpage_pmd_size", &pmd)) {
		p = mmap(NULL, 2 * pmd, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
		if (p != MAP_FAILED)
			madvise(p, 2 * pmd, MADV_HUGEPAGE);
	}
	/* For what it may have begun before. */
	thp_sleep_ms(20);
}

/* debugfs in a mount namespace of our own: nothing to undo, whatever happens. */
static void private_debugfs(void)
{
	if (unshare(CLONE_NEWNS) || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL))
		return;
	thp_env_find_mounts();
	if (!thp_env.debugfs[0])
		(void)mount("thp_lazy_pte", "/sys/kernel/debug", "debugfs", 0, NULL);
}

/* Kills all descendants: orphans come to us, as we are their subreaper. */
static int kill_all(void)
{
	long long end = thp_now_ms() + KILL_WAIT_MS;
	char path[64], text[4096], *p, *next;
	pid_t pid;

	snprintf(path, sizeof(path), "/proc/self/task/%d/children", getpid());
	for (;;) {
		pid = waitpid(-1, NULL, WNOHANG);
		if (pid < 0)
			return 0;
		if (pid > 0)
			continue;
		/* Starved processes have to be fed before they can die. */
		thp_cg_sweep();
		if (thp_read_file(path, text, sizeof(text)) > 0) {
			for (p = text; *p; p = next) {
				pid = strtol(p, &next, 10);
				if (next == p)
					break;
				kill(pid, SIGKILL);
			}
		}
		if (thp_now_ms() > end)
			return -ETIMEDOUT;
		thp_sleep_ms(5);
	}
}

static int exit_code(int status, int sig)
{
	if (sig)
		return 128 + sig;
	if (WIFEXITED(status))
		return WEXITSTATUS(status);
	printf("# the test program was killed by SIG%s\n", sigabbrev_np(WTERMSIG(status)));
	return 1;
}

int thp_guard_run(int (*body)(void *arg), void *arg)
{
	const struct rlimit no_core = { 0, 0 };
	struct thp_why why = { "" };
	int status = 0, sig = 0, code, ret;
	struct thp_kmsg log;
	sigset_t set, old;
	pid_t child, pid;

	thp_env_find_mounts();
	ret = thp_settings_open(&why);
	if (ret) {
		fprintf(stderr, "%s\n", why.text);
		return 2;
	}
	quieten();
	/* Without it thp_cg_create() fails, and says so. */
	(void)thp_cg_prepare();
	(void)thp_kmsg_open(&log);
	setrlimit(RLIMIT_CORE, &no_core);
	prctl(PR_SET_CHILD_SUBREAPER, 1);

	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGHUP);
	sigaddset(&set, SIGCHLD);
	sigprocmask(SIG_BLOCK, &set, &old);
	fflush(stdout);
	child = fork();
	if (child < 0) {
		fprintf(stderr, "fork: %s\n", strerror(errno));
		thp_settings_restore(0, NULL);
		return 1;
	}
	if (!child) {
		sigprocmask(SIG_SETMASK, &old, NULL);
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (!geteuid())
			private_debugfs();
		exit(body(arg));
	}

	for (;;) {
		pid = waitpid(-1, &status, WNOHANG);
		if (pid == child)
			break;
		if (pid > 0)
			continue;
		ret = sigwaitinfo(&set, NULL);
		if (ret > 0 && ret != SIGCHLD) {
			sig = ret;
			kill(child, SIGKILL);
			printf("\n# interrupted by SIG%s: restoring settings\n", sigabbrev_np(sig));
			fflush(stdout);
		}
	}
	code = exit_code(status, sig);

	if (kill_all()) {
		printf("# a process of this test cannot be killed\n");
		code = 1;
	}
	thp_cg_sweep();
	if (thp_settings_restore(0, &why)) {
		printf("# %s\n", why.text);
		code = 1;
	}
	memset(&why, 0, sizeof(why));
	if (thp_kmsg_check(&log, &why) == -EPROTO) {
		printf("# after the tests: %s\n", why.text);
		if (!code || code == 4)
			code = 1;
	}
	fflush(stdout);
	return code;
}

int thp_guard_repair(void)
{
	struct thp_why why = { "" };

	thp_env_find_mounts();
	if (!thp_settings_open(&why))
		return 0;
	fprintf(stderr, "%s\n", why.text);
	return 1;
}
