// SPDX-License-Identifier: GPL-2.0
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "thp_cgroup.h"
#include "thp_child.h"
#include "thp_env.h"
#include "thp_file.h"
#include "thp_limits.h"
#include "thp_proc.h"
#include "thp_run.h"

#define TESTS	64	/* remembered by name */
#define LOOPS	32
#define LOOP_NAME 48
#define SUSPECTS 8
#define COMM	16

/* Inode of the initial PID namespace, PROC_PID_INIT_INO: the kernel log has its PIDs. */
#define INIT_PID_NS 0xEFFFFFFCUL

struct test {
	pid_t pid;		/* the first of its processes, and their group */
	char name[THP_RUN_NAME];
};

struct run {
	pid_t guardian;
	bool notes;		/* for the next programs */
	char comm[COMM + 1];
	bool real_pids;		/* the PIDs of the kernel log are ours */
	unsigned int begun;	/* tests */
	unsigned int ended;	/* the number of the last that ended by itself */
	struct test tests[TESTS];
	long long began;
	int limit;		/* seconds */
	unsigned int accused;	/* the number of the test that the guardian has found guilty */
	char cause[THP_WHY_LEN];
	pid_t starving;
	long long starving_since;	/* ms of CPU time in the kernel */
	int broken;
	pid_t suspects[SUSPECTS];
	int unowned;
	char first[THP_WHY_LEN];
	unsigned long long taint;
	char loops[LOOPS][LOOP_NAME];
};

static struct run alone, *run = &alone;

/* Only root can write there, and it does not survive a reboot; see thp_settings.c. */
static const char * const notes[] = {
	"/run/thp_lazy_pte.broken",
	"/dev/thp_lazy_pte.broken",
};

int thp_run_init(bool notes)
{
	struct stat st;
	void *page;

	page = mmap(NULL, sizeof(*run), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (page == MAP_FAILED)
		return -errno;
	run = page;
	run->guardian = getpid();
	run->notes = notes;
	prctl(PR_GET_NAME, run->comm);
	run->real_pids = !stat("/proc/self/ns/pid", &st) && st.st_ino == INIT_PID_NS;
	return 0;
}

static struct test *current(void)
{
	return run->begun ? &run->tests[(run->begun - 1) % TESTS] : NULL;
}

const char *thp_run_name(void)
{
	return run->begun ? current()->name : "";
}

bool thp_run_between(void)
{
	return __atomic_load_n(&run->ended, __ATOMIC_SEQ_CST) == run->begun;
}

pid_t thp_run_pid(void)
{
	return thp_run_between() ? 0 : current()->pid;
}

static bool is_left(const struct thp_proc *p, const void *group)
{
	return p->group == *(const pid_t *)group && thp_proc_lives(p);
}

/* A process of group @group that is alive and no zombie, which is killed again. */
static bool find_alive(pid_t group, struct thp_proc *p)
{
	return thp_proc_find(is_left, &group, p) && !kill(p->pid, SIGKILL);
}

static bool find_suspect(struct thp_proc *p)
{
	int i;

	for (i = 0; i < SUSPECTS; i++) {
		if (run->suspects[i] && thp_proc_read(run->suspects[i], p) && thp_proc_lives(p))
			return true;
		run->suspects[i] = 0;
	}
	return false;
}

/*
 * The processes of the last test are exiting, and its settings and control groups are
 * restored: one that remains holds a lock or loops in the kernel.
 */
static void await_last(void)
{
	bool clean = thp_run_between();
	char cause[THP_WHY_LEN];
	struct thp_deadline d;
	struct thp_proc p;

	thp_deadline_start(&d, 0, THP_KILL_MS);
	for (;;) {
		if (!find_suspect(&p) &&
		    (clean || !run->begun || !find_alive(current()->pid, &p)))
			return;
		if (thp_deadline_over(&d))
			break;
		thp_cg_sweep();
		thp_sleep_ms(10);
	}
	snprintf(cause, sizeof(cause), "process %d (%s) of %s was killed and is there, state %c",
		 p.pid, p.comm, thp_run_name(), p.state);
	thp_run_break(cause);
}

bool thp_run_begin(const char *name, int seconds)
{
	struct test *t;

	if (!thp_run_broken())
		await_last();
	if (thp_run_broken())
		return false;
	t = &run->tests[run->begun % TESTS];
	t->pid = getpid();
	snprintf(t->name, sizeof(t->name), "%s", name);
	run->began = thp_now_ms();
	run->limit = seconds;
	run->cause[0] = '\0';
	run->starving = 0;
	/* The guardian looks at the test only from here on. */
	__atomic_add_fetch(&run->begun, 1, __ATOMIC_SEQ_CST);
	return true;
}

void thp_run_end(void)
{
	__atomic_store_n(&run->ended, run->begun, __ATOMIC_SEQ_CST);
}

static int read_boot(char *buf, size_t len)
{
	return thp_read_file("/proc/sys/kernel/random/boot_id", buf, len) > 0 ? 0 : -ENOENT;
}

static void leave_note(const char *cause)
{
	char boot[64], text[THP_WHY_LEN + 64];
	size_t i;
	int fd, n;

	if (!thp_env_owns_root() || read_boot(boot, sizeof(boot)))
		return;
	n = snprintf(text, sizeof(text), "%s%s\n", boot, cause);
	for (i = 0; i < ARRAY_SIZE(notes); i++) {
		fd = open(notes[i], O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0644);
		if (fd < 0)
			continue;
		n = write(fd, text, n) == n ? 0 : -EIO;
		close(fd);
		if (!n)
			return;
	}
}

void thp_run_break(const char *cause)
{
	if (__atomic_exchange_n(&run->broken, 1, __ATOMIC_SEQ_CST))
		return;
	printf("# the kernel is broken from here on: %s\n", cause);
	fflush(stdout);
	if (run->notes)
		leave_note(cause);
}

bool thp_run_broken(void)
{
	return __atomic_load_n(&run->broken, __ATOMIC_SEQ_CST);
}

bool thp_run_was_broken(char *cause)
{
	char boot[64], text[THP_WHY_LEN + 64];
	size_t i, n;

	if (read_boot(boot, sizeof(boot)))
		return false;
	n = strlen(boot);
	for (i = 0; i < ARRAY_SIZE(notes); i++) {
		if (thp_read_file(notes[i], text, sizeof(text)) <= 0 || strncmp(text, boot, n))
			continue;
		snprintf(cause, THP_RUN_NAME, "%.*s", (int)strcspn(text + n, "\n"), text + n);
		return true;
	}
	return false;
}

void thp_run_suspect(pid_t pid)
{
	int i;

	for (i = 0; i < SUSPECTS; i++) {
		if (run->suspects[i])
			continue;
		run->suspects[i] = pid;
		return;
	}
}

/* Whether PID @pid was allocated from @first to @last. */
static bool in_range(pid_t first, pid_t last, pid_t pid)
{
	/* PIDs start again at kernel.pid_max. */
	if (first <= last)
		return pid >= first && pid <= last;
	return pid >= first || pid <= last;
}

/* The PID that was allocated last; a guess if the kernel does not show it. */
static pid_t last_pid(void)
{
	char text[128], *blank;

	if (thp_read_file("/proc/loadavg", text, sizeof(text)) <= 0)
		return getpid();
	blank = strrchr(text, ' ');
	return blank ? atoi(blank + 1) : getpid();
}

/* A process of this program: itself, its children, and what they execute by /proc/self/exe. */
static bool is_our_name(const char *comm)
{
	return !strcmp(comm, run->comm) || !strcmp(comm, "exe");
}

static bool is_descendant(pid_t pid)
{
	struct thp_proc p;
	int i;

	for (i = 0; i < 64 && pid > 1; i++) {
		if (pid == run->guardian)
			return true;
		if (!thp_proc_read(pid, &p))
			return false;
		pid = p.parent;
	}
	return false;
}

static enum thp_owner find_test(pid_t pid, char *test)
{
	pid_t last = last_pid();
	unsigned int i;

	snprintf(test, THP_RUN_NAME, "the set-up");
	for (i = 0; i < TESTS && i < run->begun; i++) {
		const struct test *t = &run->tests[(run->begun - 1 - i) % TESTS];

		if (!in_range(t->pid, last, pid)) {
			last = t->pid - 1;
			continue;
		}
		snprintf(test, THP_RUN_NAME, "%s", t->name);
		return i ? THP_OWNER_EARLIER : THP_OWNER_TEST;
	}
	return THP_OWNER_EARLIER;
}

enum thp_owner thp_run_owner(pid_t pid, const char *comm, char *test)
{
	struct thp_proc p;

	if (pid <= 0 || !strncmp(comm, "swapper/", 8) || !strncmp(comm, "kworker/", 8))
		return THP_OWNER_KERNEL;
	if (!run->real_pids)
		return is_our_name(comm) ? THP_OWNER_TEST :
		       comm[0] ? THP_OWNER_OTHER : THP_OWNER_KERNEL;
	if (thp_proc_read(pid, &p)) {
		/* Kernel threads are children of process 2. */
		if (pid == 2 || p.parent == 2)
			return THP_OWNER_KERNEL;
		if (!is_descendant(pid))
			return THP_OWNER_OTHER;
	} else if (comm[0] && !is_our_name(comm)) {
		return THP_OWNER_OTHER;
	}
	return find_test(pid, test);
}

void thp_run_unowned(const char *fmt, ...)
{
	char text[THP_WHY_LEN];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	printf("# %s\n", text);
	fflush(stdout);
	if (!run->unowned++)
		snprintf(run->first, sizeof(run->first), "%s", text);
}

int thp_run_unowned_count(void)
{
	return run->unowned;
}

const char *thp_run_unowned_first(void)
{
	return run->first;
}

unsigned long long *thp_run_taint(void)
{
	return &run->taint;
}

void thp_run_note_loop(const char *op)
{
	int i;

	for (i = 0; i < LOOPS; i++) {
		if (!strncmp(run->loops[i], op, LOOP_NAME - 1))
			return;
		if (run->loops[i][0])
			continue;
		snprintf(run->loops[i], LOOP_NAME, "%s", op);
		return;
	}
}

bool thp_run_has_looped(const char *op)
{
	int i;

	for (i = 0; i < LOOPS && run->loops[i][0]; i++)
		if (!strncmp(run->loops[i], op, LOOP_NAME - 1))
			return true;
	return false;
}

long long thp_run_overdue(void)
{
	long long spent = thp_now_ms() - run->began;

	return thp_run_between() || spent <= run->limit * 1000LL * thp_slow() ? -1 : spent;
}

void thp_run_accuse(const char *cause)
{
	/* Keeps the first cause. */
	if (thp_run_accused()[0])
		return;
	snprintf(run->cause, sizeof(run->cause), "%s", cause);
	__atomic_store_n(&run->accused, run->begun, __ATOMIC_SEQ_CST);
}

const char *thp_run_accused(void)
{
	return __atomic_load_n(&run->accused, __ATOMIC_SEQ_CST) == run->begun ? run->cause : "";
}

void thp_run_starve(bool on)
{
	run->starving_since = on ? thp_kernel_ms(getpid()) : 0;
	__atomic_store_n(&run->starving, on ? getpid() : 0, __ATOMIC_SEQ_CST);
}

pid_t thp_run_starving(long long *since)
{
	*since = run->starving_since;
	return __atomic_load_n(&run->starving, __ATOMIC_SEQ_CST);
}
