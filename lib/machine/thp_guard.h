/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The guardian: the process that survives the tests.
 *
 * Tests crash, time out and get killed by design. So the tests run in a child. Whatever
 * happens there, its parent restores settings, removes control groups, kills remaining
 * processes and reads the kernel log once more.
 */
#ifndef THP_GUARD_H
#define THP_GUARD_H

#include <stdbool.h>

#include "thp_file.h"

/*
 * Takes the lock, restores what a killed run left, quietens khugepaged, and runs @body(arg)
 * in a child with debugfs mounted privately. Returns an exit code: that of @body; 1 if it
 * crashed, ended without thp_guard_finished(), or the kernel log complained; 130 or 143
 * after SIGINT or SIGTERM. Or -errno if @body was not started: -EBUSY if another run of the
 * suite has the lock, -ENOTRECOVERABLE if an earlier program has broken the kernel. @why
 * says what ended the run before its verdict, and is empty if the body reached one.
 *
 * The guardian ends a test that exceeds its time limit, see thp_run_begin(), and lets its
 * clean-up run.
 */
int thp_guard_run(int (*body)(void *arg), void *arg, struct thp_why *why);

/*
 * The body calls this once it has probed the machine. Until then the guardian applies its
 * own time limit, because probing may crash the kernel.
 */
void thp_guard_ready(void);

/* For the process that called thp_guard_run(): whether the body was ready for tests. */
bool thp_guard_was_ready(void);

/*
 * The body calls this once its exit code is a verdict and its output says so: without this
 * call even exit code 0 is not a pass.
 */
void thp_guard_finished(void);

/*
 * For a test that has made khugepaged work, after the settings are restored: waits for the
 * end of the scan in progress, which would otherwise continue in the next test. Prints a
 * line if that takes more than THP_DAEMON_MS; does nothing without root, which alone can
 * wake khugepaged.
 */
void thp_guard_await_khugepaged(void);

/*
 * khugepaged/pages_to_scan for such a test: more than the empty range that the guardian
 * registers, so that one scan reaches the process of the test. With less khugepaged sleeps
 * hundreds of times on the way.
 */
#define THP_GUARD_SCAN "33554432"

/* Restores what a killed run left; 0, or 1 with a message on stderr. */
int thp_guard_repair(void);

#endif /* THP_GUARD_H */
