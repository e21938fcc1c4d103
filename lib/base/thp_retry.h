/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A scenario, and how often it is tried.
 *
 * A scenario is the body of a test as a function: it sets up a state, does one operation,
 * and checks the result. It returns 0, or -errno with a cause; these values mean the same
 * in every scenario:
 *
 *	-EPROTO		the kernel has broken the contract
 *	-EAGAIN		somebody else may have: it was disturbed, and may be tried again
 *	-ENOTSUP	of thp_skip(): it cannot be tested here
 *
 * A scenario returns -EAGAIN because the settings and counters it reads are system-wide,
 * and because the kernel takes references to folios on its own. Each try starts from
 * scratch.
 */
#ifndef THP_RETRY_H
#define THP_RETRY_H

struct thp_why;

typedef int (*thp_scenario)(const void *arg, struct thp_why *why);

/* Tries at a scenario, in all. */
#define THP_TRIES 5

/*
 * Runs @fn while it returns -EAGAIN, at most THP_TRIES times, each time with an empty
 * cause; @reset, if given, cleans up after each try. Returns the last result of @fn, but
 * -EPROTO instead of -EAGAIN, with the same cause: a disturbance in every try is a failure.
 */
int thp_retry(thp_scenario fn, const void *arg, void (*reset)(void), struct thp_why *why);

#endif /* THP_RETRY_H */
