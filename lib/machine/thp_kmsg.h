/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The kernel log as an oracle: any WARNING, BUG, Oops, lockdep or stall report
 * (thp_complaints.h) that a test's processes cause fails that test, whatever the test
 * itself saw. thp_run.h decides who is to blame.
 */
#ifndef THP_KMSG_H
#define THP_KMSG_H

#include <stdint.h>

#include "thp_file.h"

struct thp_kmsg {
	int fd;			/* /dev/kmsg, or -1 where it may not be read */
	bool selftest;		/* report lines with THP_KMSG_SELFTEST, too */
};

/* Marks log lines that the project's own self-test makes up. */
#define THP_KMSG_SELFTEST "thp_lazy_pte self-test: "

/*
 * The log of this program, opened by the guardian: all its processes share one file
 * description, so that each line is read once.
 */
extern struct thp_kmsg thp_log;

/*
 * Starts watching at the end of the log. 0, or -errno where the log cannot be
 * read (dmesg_restrict without privilege); the taint is watched all the same, from when
 * thp_log is opened.
 */
int thp_kmsg_open(struct thp_kmsg *log);

/*
 * Reads what was logged since the last call, in any process that shares the file
 * description. 0 if the running test is not to blame for any line; -EPROTO with the first
 * line that it is to blame for, in @why; -EPIPE if there is none, but the log overflowed
 * and lines were lost: the OOM reports of one starved fault can do that. Other complaints
 * go to thp_run_unowned().
 *
 * Every WARNING and Oops sets a taint bit, so the taint is checked as well: the running
 * test is to blame for bits that no line explains. Bits that somebody has been blamed for
 * are not reported again, by any process.
 */
int thp_kmsg_check(struct thp_kmsg *log, struct thp_why *why);

/*
 * Makes every CPU switch to this process once. An idle CPU keeps the address space of its
 * last process (lazy TLB), which delays check_mm() at the end of that address space. Does
 * nothing once the kernel is broken (thp_run_broken()).
 */
void thp_kmsg_flush_mms(void);

/*
 * For a log that has no other reader: the first new line after which the kernel cannot be
 * trusted, false if there is none.
 */
bool thp_kmsg_find_broken(struct thp_kmsg *log, char *line, size_t len);

/* Whether a test can have caused this change of the taint mask. */
bool thp_kmsg_taint_is_bad(uint64_t before, uint64_t now);

/* Whether a log line reports a kernel defect (not mere injection noise). */
bool thp_kmsg_is_bad(const char *line);

/* The task that a line of a report names: its PID and name ("": not said), or false. */
bool thp_kmsg_names_task(const char *line, pid_t *pid, char *comm, size_t len);

#endif /* THP_KMSG_H */
