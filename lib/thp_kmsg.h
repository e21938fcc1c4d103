/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The kernel log as an oracle: any WARNING, BUG, Oops, lockdep or leak report
 * that appears during a test fails that test, whatever the test itself saw.
 */
#ifndef THP_KMSG_H
#define THP_KMSG_H

#include <stdint.h>

#include "thp_file.h"

struct thp_kmsg {
	int fd;			/* /dev/kmsg, or -1 where it may not be read */
	uint64_t taint;		/* /proc/sys/kernel/tainted at the last check */
	bool selftest;		/* report lines with THP_KMSG_SELFTEST, too */
};

/* Marks log lines that the project's own self-test makes up. */
#define THP_KMSG_SELFTEST "thp_lazy_pte self-test: "

/*
 * Starts watching at the end of the log. 0, or -errno where the log cannot be
 * read (dmesg_restrict without privilege); the taint is watched all the same.
 */
int thp_kmsg_open(struct thp_kmsg *log);

/*
 * Reads what was logged since the last call, in any process that shares the
 * file description. 0 if nothing is wrong, -EPROTO with the first bad line in
 * @why, -EPIPE if nothing bad was seen, but the log overflowed and lines were
 * lost: the OOM reports of one starved fault can do that. The taint, which no
 * WARNING or Oops leaves alone, is looked at all the same.
 */
int thp_kmsg_check(struct thp_kmsg *log, struct thp_why *why);

/* Whether a change of the taint mask is one that a test can have caused. */
bool thp_kmsg_taint_is_bad(uint64_t before, uint64_t now);

/* Whether a log line reports a kernel defect (not mere injection noise). */
bool thp_kmsg_is_bad(const char *line);

#endif /* THP_KMSG_H */
