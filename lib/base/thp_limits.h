/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The time limits of the suite, and how slow the machine is.
 *
 * A limit decides whether something goes on for ever, so it must not depend on what
 * else the machine does. Each program measures at its start how long a fixed piece of
 * work takes, and multiplies every limit by how much longer that is than on a machine
 * that is 8 times (16 times, for CPU time) slower than a current one: emulation,
 * debugging options of the kernel and busy neighbours look alike there. Two things cope
 * with a load that changes later. A limit on another process is one of CPU time, which a
 * process that waits for a CPU does not spend. And before any limit counts as exceeded,
 * the load is measured anew.
 *
 * The numbers below are milliseconds on a normal machine, which is a current one or not
 * much slower; thp_limit() makes them those of this machine. Times that are no limits,
 * how long a race is to run for example, stay as they are.
 */
#ifndef THP_LIMITS_H
#define THP_LIMITS_H

#include <stdbool.h>
#include <sys/types.h>
#include <time.h>

/* A starved operation, which takes a millisecond: one that burns this much never returns. */
#define THP_RETURN_MS	2000
/* The same where this program has already seen that operation loop. */
#define THP_AGAIN_MS	250
/* A step of a child: a fault of some THPs, a fork, a look at all contents. */
#define THP_STEP_MS	5000
/* Many such steps: a sweep, a loop that looks for a leak. */
#define THP_LONG_MS	60000
/* From SIGKILL to the end of a process. */
#define THP_KILL_MS	4000
/* Kernel threads that work at their own pace: ksmd, khugepaged, kdamond, kswapd. */
#define THP_DAEMON_MS	20000
/* Two threads meet for the first time in a race that is to show what then happens. */
#define THP_MEET_MS	10000
/* System-wide counters come to rest, a lock is let go. */
#define THP_SETTLE_MS	5000
/* A sleep in the kernel that nothing interrupts: for a lock, a grace period, a page. */
#define THP_LOCK_MS	6000
/* All that is found out before the tests. */
#define THP_READY_MS	30000
/* What is left of a test when the kernel has crashed in it. */
#define THP_REST_MS	3000

/* A process that does not get on may wait for this many times its limit of CPU time. */
#define THP_WALL	4

/* Limits are multiplied by 1 to this. */
#define THP_SLOW_MAX	30

/*
 * Measures the speed of this machine, in 0.05 to 1 s. To be called once, before
 * the first fork: what is measured later is shared with all processes. Without it the
 * machine counts as normal. Uses base pages only: the kernel may not stand a THP.
 */
void thp_limits_init(void);

/*
 * How much slower than a normal machine, 1 to THP_SLOW_MAX: by the clock, and in CPU time,
 * which busy neighbours do not make longer (unless they are those of a virtual machine).
 */
double thp_slow(void);
double thp_cpu_slow(void);

/* Milliseconds by the clock, here, for @ms on a normal machine. */
int thp_limit(int ms);

/*
 * Time that processes spent until a limit ended them is on this account, which is
 * shared. From THP_LOST_MS on, limits are a quarter: the kernel is known to be wrong
 * then, and what is left to say should not take ten times as long.
 */
#define THP_LOST_MS	30000

struct thp_deadline {
	pid_t pid;		/* whose CPU time counts; 0: nobody's */
	int ms;			/* the limit, as it was given */
	long long begin;	/* ms of the monotonic clock */
	long long cpu_begin;	/* ms of CPU time of @pid, -1 if that cannot be told */
	long long wall;		/* ms spent, set by thp_deadline_over() */
	long long cpu;
};

/*
 * Begins now. With a process @pid (all of its threads): over when it has spent @ms on a
 * CPU, or THP_WALL times that went by. With 0: over when @ms went by.
 */
void thp_deadline_start(struct thp_deadline *d, pid_t pid, int ms);

/* Whether it is over; the load is measured again before the answer is yes. */
bool thp_deadline_over(struct thp_deadline *d);

/* CPU time that process @pid has spent in the kernel, in ms; -1 if it is gone. */
long long thp_kernel_ms(pid_t pid);

/* After thp_deadline_over(): whether the process burnt its time, rather than slept. */
bool thp_deadline_burnt(const struct thp_deadline *d);

#endif /* THP_LIMITS_H */
