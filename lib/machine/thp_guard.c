// SPDX-License-Identifier: GPL-2.0
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

#include "thp_access.h"
#include "thp_cgroup.h"
#include "thp_child.h"
#include "thp_env.h"
#include "thp_guard.h"
#include "thp_inject.h"
#include "thp_kmsg.h"
#include "thp_limits.h"
#include "thp_module.h"
#include "thp_obs.h"
#include "thp_proc.h"
#include "thp_run.h"
#include "thp_settings.h"

#define KHUGEPAGED_SLEEP THP_SYSFS "khugepaged/scan_sleep_millisecs"
/* An hour: longer than any run. */
#define KHUGEPAGED_SLEEP_MS "3600000"

/*
 * khugepaged_enter() starts a scan at once, whatever the settings, when khugepaged gets its
 * first process to scan. So the guardian registers itself: it lives longer than all tests.
 * khugepaged scans processes in the order in which they came: before it reaches a test it
 * has to scan this range, which stays empty and is large enough for many scans.
 */
static void feed_khugepaged(void)
{
	uint64_t page = sysconf(_SC_PAGESIZE), pmd, mode, len;
	char *p;

	if (thp_read_u64(THP_SYSFS "hpage_pmd_size", &pmd))
		return;
	/*
	 * One scan covers 8 PMDs by default; 8 per base page if they are empty, in Linux 7.3. A
	 * test that wants to be scanned sets THP_GUARD_SCAN.
	 */
	len = 64 * (pmd / page) * pmd;
	/* A size_t of 32 bits would wrap around to 0. */
	if (len > SIZE_MAX / 4)
		len = SIZE_MAX / 4 + 1;
	/* With strict overcommit address space counts as memory: leave it to the tests. */
	if (thp_read_u64("/proc/sys/vm/overcommit_memory", &mode) || mode == 2)
		len = 2 * pmd;
	for (;;) {
		p = mmap(NULL, len, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
		if (p != MAP_FAILED)
			break;
		len /= 2;
		if (len < 2 * pmd)
			return;
	}
	madvise(p, len, MADV_DONTFORK);
	/*
	 * A process has to touch the range before khugepaged_enter() registers it. It touches a
	 * base page: if the kernel crashed on a huge page here, nobody would report it.
	 */
	madvise(p, len, MADV_NOHUGEPAGE);
	thp_touch(p);
	madvise(p, len, MADV_DONTNEED);
	madvise(p, len, MADV_HUGEPAGE);
}

static bool is_asleep(pid_t pid)
{
	struct thp_proc p;

	return !thp_proc_read(pid, &p) || p.state == 'S';
}

/*
 * Waits until khugepaged sleeps with the new settings. A scan in progress uses the old
 * ones, and can take long under load. khugepaged sleeps again after that scan; but this may
 * be a pause in the middle of it because no huge page could be allocated (there is at most
 * one such pause), or a sleep whose length was decided before. The second wake-up rules out
 * both.
 */
void thp_guard_await_khugepaged(void)
{
	struct thp_deadline d;
	pid_t khugepaged;
	int i;

	if (!thp_env_owns_root())
		return;
	khugepaged = thp_proc_kthread("khugepaged");
	if (!khugepaged) {
		/* khugepaged may not be visible in a container. */
		thp_sleep_ms(100);
		return;
	}
	thp_deadline_start(&d, 0, THP_DAEMON_MS);
	for (i = 0; i < 2; i++) {
		/* Each write wakes it, also one that does not change the value. */
		if (thp_write_file(KHUGEPAGED_SLEEP, KHUGEPAGED_SLEEP_MS))
			return;
		while (!is_asleep(khugepaged)) {
			if (thp_deadline_over(&d)) {
				printf("# khugepaged has not come to rest within %lld ms\n",
				       d.wall);
				return;
			}
			thp_sleep_ms(1);
		}
	}
}

/*
 * khugepaged would collapse what a test has just split. One scan of one page per hour is as
 * good as none, and this does not change the settings under test (enabled, defrag).
 */
static void quieten(void)
{
	(void)thp_settings_set(THP_SYSFS "khugepaged/pages_to_scan", "1");
	(void)thp_settings_set(KHUGEPAGED_SLEEP, KHUGEPAGED_SLEEP_MS);
	(void)thp_settings_set(THP_SYSFS "shmem_enabled", "advise");
	feed_khugepaged();
	thp_guard_await_khugepaged();
}

/* Mounts debugfs in a private mount namespace, so that nothing has to be undone. */
static void private_debugfs(void)
{
	if (unshare(CLONE_NEWNS) || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL))
		return;
	thp_env_find_mounts();
	if (!thp_env.debugfs[0])
		(void)mount("thp_lazy_pte", "/sys/kernel/debug", "debugfs", 0, NULL);
}

/* Kills all descendants: orphans are reparented to this subreaper. */
static int kill_all(void)
{
	struct thp_deadline d;
	char path[64], text[4096], *p, *next;
	pid_t pid;

	/* On a broken kernel some processes do not die: do not wait long. */
	thp_deadline_start(&d, 0, thp_run_broken() ? THP_REST_MS / 3 : THP_KILL_MS);
	snprintf(path, sizeof(path), "/proc/self/task/%d/children", getpid());
	for (;;) {
		pid = waitpid(-1, NULL, WNOHANG);
		if (pid < 0)
			return 0;
		if (pid > 0)
			continue;
		/* Starved processes need memory before they can die. */
		thp_cg_sweep();
		if (thp_read_file(path, text, sizeof(text)) > 0) {
			for (p = text; *p; p = next) {
				pid = strtol(p, &next, 10);
				if (next == p)
					break;
				kill(pid, SIGKILL);
			}
		}
		if (thp_deadline_over(&d))
			return -ETIMEDOUT;
		thp_sleep_ms(5);
	}
}

/* The progress of the child, which it writes to a shared page itself. */
enum { STARTED, READY, FINISHED };
static int *progress;

static void set_progress(int step)
{
	if (progress)
		__atomic_store_n(progress, step, __ATOMIC_SEQ_CST);
}

static int get_progress(void)
{
	return progress ? __atomic_load_n(progress, __ATOMIC_SEQ_CST) : STARTED;
}

void thp_guard_ready(void)
{
	set_progress(READY);
}

bool thp_guard_was_ready(void)
{
	return get_progress() >= READY;
}

void thp_guard_finished(void)
{
	set_progress(FINISHED);
}

/* Twice the time between two looks of the guardian, in ms. */
#define LOOK_MS		500

/*
 * What the guardian does about a test that exceeds its limit, or that has met a crash of
 * the kernel: it kills the process that runs the test, so that the test's clean-up follows;
 * if the clean-up does not end either, it kills that, too. If even that process stays, as
 * one does that waits in the kernel for a CPU which never returns from there, it gives up:
 * the harness would wait for it for ever.
 */
struct warden {
	struct thp_kmsg log;	/* its own file description: the tests read another */
	pid_t pid;		/* of the test that was handled last */
	int stage;
	long long since;	/* ms */
	pid_t starving;		/* as thp_run_starving() says */
	long long starving_since;
	long fired;		/* refused allocations when that was seen first */
	long long looked;	/* ms, CPU time in the kernel at the last look at it */
	long long spent;	/* ms of that which count, see starved_for() */
	unsigned long long sleeps;	/* times that the test's process has gone to sleep */
	long long asleep;	/* ms, start of the current sleep in the kernel */
};

/* Kills the children of a process. */
static void kill_children(pid_t pid)
{
	char path[64], text[4096], *p, *next;
	pid_t child;

	snprintf(path, sizeof(path), "/proc/%d/task/%d/children", pid, pid);
	if (thp_read_file(path, text, sizeof(text)) <= 0)
		return;
	for (p = text; *p; p = next) {
		child = strtol(p, &next, 10);
		if (next == p)
			break;
		kill(child, SIGKILL);
	}
}

/*
 * For how long the process that runs the test (the child of @pid) has been in one and the
 * same uninterruptible sleep, in ms: usually it waits for a lock that is never released.
 */
static long long asleep_for(struct warden *w, pid_t pid)
{
	unsigned long long sleeps = 0;
	char path[64], text[4096], *p;

	snprintf(path, sizeof(path), "/proc/%d/task/%d/children", pid, pid);
	if (thp_read_file(path, text, sizeof(text)) <= 0)
		return 0;
	snprintf(path, sizeof(path), "/proc/%ld/status", strtol(text, NULL, 10));
	if (thp_read_file(path, text, sizeof(text)) <= 0)
		return 0;
	p = strstr(text, "\nvoluntary_ctxt_switches:");
	if (p)
		sleeps = strtoull(p + 25, NULL, 10);
	if (!strstr(text, "\nState:\tD") || sleeps != w->sleeps) {
		w->sleeps = sleeps;
		w->asleep = thp_now_ms();
	}
	return thp_now_ms() - w->asleep;
}

/*
 * The CPU time in the kernel, in ms, that the process has used since it began to starve
 * itself; negative if it has ended. Of what it used between two looks LOOK_MS counts at most:
 * a virtual machine that its host stopped for seconds takes them for CPU time.
 */
static long long starved_for(struct warden *w, pid_t pid, long long since)
{
	long long now = thp_kernel_ms(pid), spent;

	if (pid != w->starving || since != w->starving_since) {
		if (!thp_env.debugfs[0])
			thp_env_find_mounts();
		w->starving = pid;
		w->starving_since = since;
		w->fired = thp_inject_fired();
		w->looked = since;
		w->spent = 0;
	}
	spent = now - w->looked;
	if (now < 0 || spent < 0)
		return -1;
	w->spent += spent < LOOK_MS ? spent : LOOK_MS;
	w->looked = now;
	return w->spent;
}

/*
 * A test that starves itself has no watchdog of its own, and a task that loops in the
 * kernel may not even die. With memory the loop ends, and so does the test.
 */
static void feed_starving(struct warden *w)
{
	const char *name = thp_run_name(), *test = strrchr(name, '.');
	char key[THP_RUN_NAME], cause[THP_WHY_LEN];
	long long since, spent;
	pid_t pid = thp_run_starving(&since);
	int limit;

	if (!pid || !test)
		return;
	/* The same test with other variants: see thp_run_has_looped(). */
	snprintf(key, sizeof(key), "%.*s%s", (int)strcspn(name, "."), name, test);
	limit = thp_run_has_looped(key) ? THP_AGAIN_MS : THP_RETURN_MS;
	spent = starved_for(w, pid, since);
	/* It may have ended, and its settings been restored: then the counter means nothing. */
	if (spent < 0 || (spent <= limit * thp_cpu_slow() &&
			  thp_inject_fired() - w->fired < THP_REFUSED_MAX))
		return;
	snprintf(cause, sizeof(cause),
		 "did not return within %lld ms of CPU time while starved: livelock", spent);
	thp_run_accuse(cause);
	thp_run_note_loop(key);
	(void)thp_inject_task(pid, false);
}

/* Looks at the running test from time to time. False: nothing can end it. */
static bool look_after_test(struct warden *w)
{
	pid_t pid = thp_run_pid();
	long long overdue = thp_run_overdue(), asleep;
	char cause[THP_WHY_LEN];

	if (thp_kmsg_find_broken(&w->log, cause, sizeof(cause)))
		thp_run_break(cause);
	if (pid != w->pid) {
		w->pid = pid;
		w->stage = 0;
		w->since = thp_now_ms();
		w->asleep = w->since;
	}
	if (!pid)
		return true;
	feed_starving(w);
	asleep = asleep_for(w, pid);
	/* No limit ends a test before the load was measured again. */
	if (!w->stage && (overdue >= 0 || asleep > thp_limit(THP_LOCK_MS))) {
		thp_limits_renew();
		overdue = thp_run_overdue();
	}
	switch (w->stage) {
	case 0:
		/* The test may still find the crash in the kernel log by itself. */
		if (overdue < 0 && asleep <= thp_limit(THP_LOCK_MS) && !thp_run_broken())
			w->since = thp_now_ms();
		if (overdue < 0 && asleep <= thp_limit(THP_LOCK_MS) &&
		    thp_now_ms() - w->since <= thp_limit(THP_REST_MS))
			break;
		if (asleep > thp_limit(THP_LOCK_MS))
			snprintf(cause, sizeof(cause), "asleep in the kernel for %lld ms", asleep);
		else if (overdue >= 0)
			snprintf(cause, sizeof(cause), "not done after %lld s", overdue / 1000);
		else
			snprintf(cause, sizeof(cause), "ended: the kernel is broken");
		thp_run_accuse(cause);
		kill_children(pid);
		w->since = thp_now_ms();
		w->stage = 1;
		break;
	case 1:
		if (thp_now_ms() - w->since > thp_limit(THP_KILL_MS + THP_REST_MS)) {
			printf("# %s: Test terminated after its time limit, its clean-up too\n",
			       thp_run_name());
			fflush(stdout);
			kill(-pid, SIGKILL);
			w->since = thp_now_ms();
			w->stage = 2;
		}
		break;
	case 2:
		return thp_now_ms() - w->since <= thp_limit(THP_KILL_MS);
	}
	return true;
}

/* What the kernel logged when it crashed before the first test; else empty. */
static char crash[THP_WHY_LEN];

/* The test that nothing could end; else empty. */
static char endless[THP_RUN_NAME];

/*
 * Waits for the child to end: its wait status. Kills it if the guardian gets a signal,
 * *@sig, or if the child is not ready in time; -ETIMEDOUT if it cannot be killed.
 */
static int await_child(pid_t child, const sigset_t *set, int *sig, int *status)
{
	const struct timespec tick = { .tv_nsec = 250000000 };
	struct warden warden = { .pid = 0 };
	struct thp_deadline d;
	bool killed = false;
	pid_t pid;
	int ret;

	(void)thp_kmsg_open(&warden.log);
	thp_deadline_start(&d, 0, THP_READY_MS);
	for (;;) {
		pid = waitpid(-1, status, WNOHANG);
		if (pid == child)
			return 0;
		if (pid > 0)
			continue;
		ret = sigtimedwait(set, NULL, &tick);
		if (ret > 0 && ret != SIGCHLD && !*sig) {
			*sig = ret;
			printf("\n# interrupted by %s: restoring settings\n",
			       thp_signal_name(*sig));
		} else {
			if (thp_guard_was_ready() && !killed) {
				if (look_after_test(&warden))
					continue;
				snprintf(endless, sizeof(endless), "%s", thp_run_name());
			} else if (!killed &&
				   thp_kmsg_find_broken(&warden.log, crash, sizeof(crash))) {
				/* A child that calls into a crashed kernel may wait for ever. */
				thp_run_break(crash);
			} else if (!thp_deadline_over(&d)) {
				continue;
			}
			if (killed)
				return -ETIMEDOUT;
			if (!crash[0] && !endless[0])
				printf("# what this kernel does was not found out within %lld s\n",
				       d.wall / 1000);
		}
		fflush(stdout);
		kill(child, SIGKILL);
		killed = true;
		thp_deadline_start(&d, 0, THP_KILL_MS);
	}
}

/* An exit code unknown to kselftest is a failure, and so is one without a verdict. */
static int exit_code(int status, int sig, struct thp_why *why)
{
	if (sig)
		return thp_why(why, 128 + sig, "interrupted by %s", thp_signal_name(sig));
	if (crash[0])
		return thp_why(why, 1, "the kernel has crashed: %s", crash);
	if (endless[0])
		return thp_why(why, 1, "%s cannot be killed, and no test runs after it", endless);
	if (WIFSIGNALED(status))
		return thp_why(why, 1, "the test program was killed by %s",
			       thp_signal_name(WTERMSIG(status)));
	if (get_progress() != FINISHED)
		return thp_why(why, 1, "the test program ended before its tests, exit code %d",
			       WEXITSTATUS(status));
	return WEXITSTATUS(status);
}

/* Set-up before the first test: 0, or -errno with a cause. */
static int set_up(struct thp_why *end)
{
	const struct rlimit no_core = { 0, 0 };
	char cause[THP_RUN_NAME];
	int ret;

	/* The caller may ignore SIGCHLD, and then children cannot be waited for. */
	signal(SIGCHLD, SIG_DFL);
	/* With RLIMIT_FSIZE below the size of a THP, EFBIG is enough. */
	signal(SIGXFSZ, SIG_IGN);
	if (thp_run_was_broken(cause))
		return thp_why(end, -ENOTRECOVERABLE, "%s", cause);
	thp_env_allow_thps();
	(void)thp_run_init(true);
	thp_limits_init();
	thp_env_find_mounts();
	progress = mmap(NULL, sizeof(*progress), PROT_READ | PROT_WRITE,
			MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (progress == MAP_FAILED) {
		ret = thp_why(end, -errno, "no memory for a page: %s", strerror(errno));
		progress = NULL;
		return ret;
	}
	ret = thp_settings_open(end);
	if (ret)
		return ret;
	thp_module_load();
	quieten();
	/* Without it thp_cg_create() fails, and says so. */
	(void)thp_cg_prepare();
	(void)thp_kmsg_open(&thp_log);
	setrlimit(RLIMIT_CORE, &no_core);
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	return 0;
}

/*
 * After the last test: none of its processes lives, settings are restored, and the kernel
 * has not complained. Returns the exit code, which is @code if all of that is so.
 */
static int clean_up(int code, struct thp_why *end)
{
	struct thp_why why = { 0 };

	if (kill_all()) {
		printf("# a process of this test cannot be killed\n");
		code = thp_why(end, 1, "a process of this test cannot be killed");
	}
	thp_cg_sweep();
	if (thp_settings_restore(0, &why)) {
		printf("# %s\n", why.text);
		code = thp_why(end, 1, "%s", why.text);
	}
	memset(&why, 0, sizeof(why));
	thp_kmsg_flush_mms();
	if (thp_kmsg_check(&thp_log, &why) == -EPROTO)
		thp_run_unowned("%s", why.text);
	if (thp_run_unowned_count() || thp_run_broken()) {
		printf("# after the tests: %s%s\n", thp_run_unowned_count() ?
		       thp_run_unowned_first() : THP_RUN_BROKEN,
		       thp_run_unowned_count() > 1 ? ", and more" : "");
		thp_why(end, 1, "after the tests: %s", thp_run_unowned_count() ?
			thp_run_unowned_first() : THP_RUN_BROKEN);
		if (!code || code == 4)
			code = 1;
	}
	return code;
}

int thp_guard_run(int (*body)(void *arg), void *arg, struct thp_why *end)
{
	int status = 0, sig = 0, code, ret;
	sigset_t set, old;
	pid_t child;

	TRY(set_up(end));
	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGHUP);
	sigaddset(&set, SIGCHLD);
	sigprocmask(SIG_BLOCK, &set, &old);
	fflush(stdout);
	child = fork();
	if (child < 0) {
		ret = thp_why(end, -errno, "fork: %s", strerror(errno));
		thp_settings_restore(0, NULL);
		return ret;
	}
	if (!child) {
		sigprocmask(SIG_SETMASK, &old, NULL);
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (thp_env_owns_root())
			private_debugfs();
		exit(body(arg));
	}

	/* The reader of the output may be gone: settings have to be restored all the same. */
	signal(SIGPIPE, SIG_IGN);
	ret = await_child(child, &set, &sig, &status);
	code = ret ? thp_why(end, 1, "the test program cannot be killed") :
		     exit_code(status, sig, end);
	code = clean_up(code, end);
	fflush(stdout);
	return code;
}

int thp_guard_repair(void)
{
	struct thp_why why = { 0 };

	thp_env_find_mounts();
	if (!thp_settings_open(&why))
		return 0;
	fprintf(stderr, "%s\n", why.text);
	return 1;
}
