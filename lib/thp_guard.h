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

#include "thp_file.h"

/*
 * Takes the lock, restores what a killed run left, quietens khugepaged, and runs
 * @body(arg) in a child with debugfs mounted privately. Returns the exit code:
 * that of @body; 1 if it crashed or the kernel log complained; 130 or 143 after
 * SIGINT or SIGTERM; 2 if the suite is busy elsewhere.
 */
int thp_guard_run(int (*body)(void *arg), void *arg);

/*
 * To be called by the body, once it knows the machine: until then the guardian goes by
 * a time limit of its own, as what is found out may be that this kernel crashes.
 */
void thp_guard_ready(void);

/*
 * For a test that has set khugepaged to work, once the settings are restored: waits until
 * the scan that was begun before is over, as it would go on with the next test. Prints a
 * line if that takes more than 20 s; does nothing without root, who alone can wake it.
 */
void thp_guard_await_khugepaged(void);

/* Restores what a killed run left; 0, or 1 with a message on stderr. */
int thp_guard_repair(void);

#endif /* THP_GUARD_H */
