/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A scenario, and how often it is tried.
 *
 * A scenario is what a test decides, as a function: it brings about a state, does one
 * thing, and looks. It returns 0, or -errno with a cause; of these mean the same in
 * every scenario:
 *
 *	-EPROTO		the kernel has broken the contract
 *	-EAGAIN		somebody else may have: it was disturbed, and may be tried again
 *	-ENOTSUP	of thp_skip(): it cannot be tested here
 *
 * The settings and counters that tests look at belong to the whole system, and the
 * kernel takes references to folios on its own: it is such a scenario that returns
 * -EAGAIN. Each try begins from nothing.
 */
#ifndef THP_RETRY_H
#define THP_RETRY_H

struct thp_why;

typedef int (*thp_scenario)(const void *arg, struct thp_why *why);

/* Tries at a scenario, in all. */
#define THP_TRIES 5

/*
 * Runs @fn while it returns -EAGAIN, THP_TRIES times at most, each time with an empty
 * cause; @reset, if there is one, puts away after each try what it has left. Returns
 * what @fn returned last, but -EPROTO for -EAGAIN, with that cause: what disturbs every
 * time is no disturbance.
 */
int thp_retry(thp_scenario fn, const void *arg, void (*reset)(void), struct thp_why *why);

#endif /* THP_RETRY_H */
