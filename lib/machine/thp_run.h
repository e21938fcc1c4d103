/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The state that all processes of one run of a program share: which test runs, which
 * processes belong to it, whether the kernel still works, and complaints for which no test
 * is to blame. It is a page of shared memory that the guardian maps before its first fork,
 * because the findings of a test must outlive its process.
 *
 * Who is to blame for what the kernel reports:
 *
 *	the report names ...			to blame is
 *	a process of the running test		the test
 *	a process of an earlier test		the program, with the name of that test
 *	a kernel thread, another process	the program, "during" the running test
 *	nobody					the running test
 *	anything, between two tests		the program, "after" the earlier one
 */
#ifndef THP_RUN_H
#define THP_RUN_H

#include <stdbool.h>
#include <sys/types.h>

#define THP_RUN_NAME	160

/*
 * Without this call there is one process, no test, and a kernel that works. @notes: whether
 * thp_run_break() leaves a note. 0 or -errno.
 */
int thp_run_init(bool notes);

/*
 * Starts a test, in the process that is the ancestor of all processes of the test and
 * leader of their process group. @seconds: its time limit on a normal machine. False if it
 * must not run as the kernel is broken: see THP_RUN_BROKEN.
 */
bool thp_run_begin(const char *name, int seconds);
void thp_run_end(void);

/* The reason of the SKIP that tests get on a broken kernel: no verdict. */
#define THP_RUN_BROKEN	"the kernel is broken: see the first failure"

/* The running test, or the last one; "" before the first. */
const char *thp_run_name(void);
bool thp_run_between(void);

/*
 * Called when the kernel cannot be trusted any more: an oops, a task that hangs. Prints
 * that once, and leaves a note for the next programs, until the next boot.
 */
void thp_run_break(const char *cause);
bool thp_run_broken(void);

/* Whether an earlier run left such a note; its cause is copied to @cause (THP_RUN_NAME bytes). */
bool thp_run_was_broken(char *cause);

/*
 * Called when process @pid does not die although it was killed. The test may be starving
 * it: only if it is still there when the next test begins, the kernel is broken.
 */
void thp_run_suspect(pid_t pid);

enum thp_owner {
	THP_OWNER_TEST,		/* a process of the running test */
	THP_OWNER_EARLIER,	/* of an earlier test */
	THP_OWNER_KERNEL,	/* a kernel thread, or no task at all */
	THP_OWNER_OTHER,	/* of somebody else */
};

/*
 * Whose process @pid is or was; @comm: its name if known, else "". For THP_OWNER_EARLIER
 * the name of the test is copied to @test (THP_RUN_NAME bytes).
 */
enum thp_owner thp_run_owner(pid_t pid, const char *comm, char *test);

/* Prints a report that no test is to blame for; the program then fails in the end. */
void thp_run_unowned(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* The number of such reports, and the first of them. */
int thp_run_unowned_count(void);
const char *thp_run_unowned_first(void);

/* The mask of /proc/sys/kernel/tainted up to which somebody has been blamed. */
unsigned long long *thp_run_taint(void);

/* Remembers that operation @op did not return, and whether this has been seen. */
void thp_run_note_loop(const char *op);
bool thp_run_has_looped(const char *op);

/*
 * The calling process, of the running test, makes its own allocations fail (or no longer),
 * and has no parent that watches it: the guardian does, see thp_run_starving().
 */
void thp_run_starve(bool on);

/*
 * For the guardian: the process that starves itself, or 0, and its thp_kernel_ms() at the
 * start.
 */
pid_t thp_run_starving(long long *since);

/* For the guardian: ms since the running test began if it has exceeded its limit, else -1. */
long long thp_run_overdue(void);
/* ... the process that runs it, 0 if none does. */
pid_t thp_run_pid(void);
/* ... blames the test; for the test's clean-up: the cause, or "". */
void thp_run_accuse(const char *cause);
const char *thp_run_accused(void);

#endif /* THP_RUN_H */
