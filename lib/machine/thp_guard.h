/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The guardian: the process that survives the tests.
 *
 * Tests crash, time out and get killed by design. So the tests run in a child,
 * and its parent restores settings, removes control groups, kills what is left
 * and looks at the kernel log once more, whatever happened below.
 */
#ifndef THP_GUARD_H
#define THP_GUARD_H

#include <stdbool.h>

#include "thp_file.h"

/*
 * Takes the lock, restores what a killed run left, quietens khugepaged, and runs
 * @body(arg) in a child with debugfs mounted privately. Returns an exit code: that of
 * @body; 1 if it crashed, ended without thp_guard_finished(), or the kernel log
 * complained; 130 or 143 after SIGINT or SIGTERM. Or -errno if @body was not started:
 * -EBUSY if another run of the suite has the lock, -ENOTRECOVERABLE if an earlier
 * program has broken the kernel. @why says what ended the run before its verdict, and is
 * empty if the body came to one.
 *
 * A test that is over its time limit is ended from here, see thp_run_begin(), in a way
 * that lets its clean-up run.
 */
int thp_guard_run(int (*body)(void *arg), void *arg, struct thp_why *why);

/*
 * To be called by the body, once it knows the machine. Until then the guardian applies
 * its own time limit, because probing may crash the kernel.
 */
void thp_guard_ready(void);

/* For the process that called thp_guard_run(): whether the body was ready for tests. */
bool thp_guard_was_ready(void);

/*
 * To be called by the body, once its exit code is a verdict, and its output says so:
 * without it even exit code 0 is none.
 */
void thp_guard_finished(void);

/*
 * For a test that has set khugepaged to work, once the settings are restored: waits until
 * the scan that was begun before is over, as it would go on with the next test. Prints a
 * line if that takes more than THP_DAEMON_MS; does nothing without root, who alone can wake it.
 */
void thp_guard_await_khugepaged(void);

/*
 * khugepaged/pages_to_scan for such a test: more than the empty range that the guardian
 * keeps it busy with, so that one scan gets to the process of the test. With less it sleeps
 * hundreds of times on the way.
 */
#define THP_GUARD_SCAN "33554432"

/* Restores what a killed run left; 0, or 1 with a message on stderr. */
int thp_guard_repair(void);

#endif /* THP_GUARD_H */
