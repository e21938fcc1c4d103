/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The time limits of the suite, and how slow the machine is.
 *
 * A limit decides whether an operation loops for ever, so it must not depend on the load of
 * the machine. Each program measures at its start how long a fixed piece of work takes, and
 * multiplies every limit by how much longer that is than on a machine that is 8 times (16
 * times, for CPU time) slower than a current one: emulation, debugging options of the
 * kernel and busy neighbours look alike there. Three rules handle a load that changes
 * later. A limit on another process is one of CPU time, which a process that waits for a
 * CPU does not spend. Time in which the waiting process did not run either does not count
 * in full: a virtual machine that stands still charges it to whatever ran at that moment.
 * And before any limit counts as exceeded, the load is measured anew.
 *
 * The numbers below are milliseconds on a normal machine, which is a current one or not
 * much slower; thp_limit() makes them those of this machine. Durations that are not limits,
 * such as the length of a race, are not scaled.
 */
#ifndef THP_LIMITS_H
#define THP_LIMITS_H

#include <stdbool.h>
#include <sys/types.h>
#include <time.h>

/* A starved operation takes a millisecond: one that uses this much CPU time never returns. */
#define THP_RETURN_MS	2000
/* The same limit once this program has seen that operation loop. */
#define THP_AGAIN_MS	250
/*
 * No time, and so the same on every machine: an operation is refused a few tables, advice one
 * for each page. One that was refused this many never returns.
 */
#define THP_REFUSED_MAX	65536
/* A step of a child: a fault of some THPs, a fork, a look at all contents. */
#define THP_STEP_MS	5000
/* Many such steps: a sweep, a loop that looks for a leak. */
#define THP_LONG_MS	60000
/* From SIGKILL to the end of a process. */
#define THP_KILL_MS	4000
/* Kernel threads that work at their own pace: ksmd, khugepaged, kdamond, kswapd. */
#define THP_DAEMON_MS	20000
/* Two threads of a race meet for the first time. */
#define THP_MEET_MS	10000
/* System-wide counters settle, a lock is released. */
#define THP_SETTLE_MS	5000
/* An uninterruptible sleep in the kernel: for a lock, a grace period, a page. */
#define THP_LOCK_MS	6000
/* All probing before the first test. */
#define THP_READY_MS	30000
/* The rest of a test in which the kernel has crashed. */
#define THP_REST_MS	3000

/* A process that makes no progress may wait for this many times its limit of CPU time. */
#define THP_WALL	4

/* How often a limit allows for a machine that stood still. */
#define THP_STALLS	8

/* Limits are multiplied by 1 to this. */
#define THP_SLOW_MAX	30

/*
 * Measures the speed of this machine, in 0.05 to 1 s. Call it once, before the first fork:
 * the result of a later measurement is then shared by all processes. Without this call the
 * machine counts as normal. Uses base pages only, because a broken kernel may crash on a
 * THP.
 */
void thp_limits_init(void);

/*
 * How much slower than a normal machine, 1 to THP_SLOW_MAX: by the clock, and in CPU time,
 * which busy neighbours do not increase (except those of a virtual machine).
 */
double thp_slow(void);
double thp_cpu_slow(void);

/* @ms of a normal machine in milliseconds of the clock of this machine. */
int thp_limit(int ms);

/*
 * This account, which all processes share, adds up the time spent in waits that a limit
 * ended. Beyond THP_LOST_MS all limits are divided by 4: the kernel is then known to be
 * wrong, and the remaining reports should not take ten times as long.
 */
#define THP_LOST_MS	30000

struct thp_deadline {
	pid_t pid;		/* whose CPU time counts; 0: nobody's */
	int ms;			/* the limit, as it was given */
	long long wall;		/* ms spent, set by thp_deadline_over() */
	long long cpu;
	long long delay;	/* ms that @pid has waited for a CPU */
	int stalls;		/* times that neither counted in full, up to THP_STALLS */
	/* At the last look, and at the start: */
	long long last;		/* ms of the monotonic clock */
	long long cpu_last;	/* ms of CPU time of @pid, -1 if the process is gone */
	long long delay_begin;
};

/*
 * Starts now. With a process @pid (all of its threads) it is over when the process has
 * spent @ms on a CPU, or after THP_WALL * @ms by the clock. With 0 it is over after @ms by
 * the clock.
 */
void thp_deadline_start(struct thp_deadline *d, pid_t pid, int ms);

/* Whether it is over; the load is measured again before the answer is yes. */
bool thp_deadline_over(struct thp_deadline *d);

/* Measures the load again, in 0.05 to 1 s: limits may grow, and never shrink. */
void thp_limits_renew(void);

/* CPU time that process @pid has spent in the kernel, in ms; -1 if it is gone. */
long long thp_kernel_ms(pid_t pid);

/* After thp_deadline_over(): whether the process used CPU time rather than slept. */
bool thp_deadline_burnt(const struct thp_deadline *d);

#endif /* THP_LIMITS_H */
