/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The kernel log as an oracle: any WARNING, BUG, Oops, lockdep or stall report
 * (thp_complaints.h) that a test's processes cause fails that test, whatever the test
 * itself saw. Who is to blame is decided by thp_run.h.
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
 * The log of this program, opened by the guardian: one file description for all of its
 * processes, so that each line is looked at once.
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
 * description. 0 if nothing is held against the running test; -EPROTO with the first
 * line that is, in @why; -EPIPE if there is none, but the log overflowed and lines were
 * lost: the OOM reports of one starved fault can do that. What is not the test's doing
 * goes to thp_run_unowned().
 *
 * The taint, which no WARNING or Oops leaves alone, is looked at all the same: bits that
 * no line explains are held against the running test. Once held against somebody, it is
 * the base for the next call, whichever process that is in.
 */
int thp_kmsg_check(struct thp_kmsg *log, struct thp_why *why);

/*
 * Has every CPU switch to this process once. A CPU that idles keeps the address space of
 * the last process (its lazy TLB), and so puts off the checks at its end, check_mm().
 */
void thp_kmsg_flush_mms(void);

/*
 * For a log that nobody else reads: the first new line after which the kernel cannot be
 * trusted, false if there is none.
 */
bool thp_kmsg_find_broken(struct thp_kmsg *log, char *line, size_t len);

/* Whether a change of the taint mask is one that a test can have caused. */
bool thp_kmsg_taint_is_bad(uint64_t before, uint64_t now);

/* Whether a log line reports a kernel defect (not mere injection noise). */
bool thp_kmsg_is_bad(const char *line);

/* The process that a line of a report names: its PID and name ("": not said), or false. */
bool thp_kmsg_names_task(const char *line, pid_t *pid, char *comm, size_t len);

#endif /* THP_KMSG_H */
