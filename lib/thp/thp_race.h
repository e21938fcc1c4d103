/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Threads of one process that operate on the same memory at the same time, bounded in loops
 * and in time, and checks of what remains afterwards.
 */
#ifndef THP_RACE_H
#define THP_RACE_H

#include "thp_child.h"
#include "thp_map.h"

#define THP_RACE_ACTORS 4

struct thp_actor;

struct thp_race {
	struct thp_map map;
	struct thp_chan *chan;	/* for the children of actors; one page, touched */
	long nodes[2];		/* for actors that migrate, -1 if there is only one */
	int max_loops;		/* of the first actor */
	int max_ms;
	long min_hits;		/* of the first actor: worth 5 times the time, or THP_MEET_MS */
	int ended;		/* set when one actor ends: the others follow */
	int failed;		/* -errno of the first actor that failed */
	struct thp_why why;	/* its cause */
};

/*
 * One step of an actor, called in a loop. 0, or -errno with a cause in @why.
 * Only one actor of a race may use thp_obs_*(): they share a buffer.
 */
struct thp_actor {
	const char *name;
	int (*step)(struct thp_race *race, struct thp_actor *self, struct thp_why *why);
	long loops;		/* steps done */
	long hits;		/* free for the actor: steps that met the state they look for */
	struct thp_race *race;
	int slot;
};

/*
 * Runs @n actors, each in a thread with a preallocated stack, until the first has done
 * max_loops steps, its time is over, or one fails. 0 or -errno.
 */
int thp_race_run(struct thp_race *race, struct thp_actor *actors, int n, struct thp_why *why);

/*
 * Maps the race's channel and starts a thread that does nothing, so that the C library
 * allocates all its memory before page tables are counted. 0 or -errno.
 */
int thp_race_warm_up(struct thp_race *race);

/*
 * Page tables that belong to no process: PageTables of /proc/meminfo minus VmPTE of every
 * process, in kB. Leaked tables show up here, whatever else the machine does. 0 or -errno.
 */
int thp_race_residue(long long *kb);

/*
 * Polls until the residue is at most @before + @slack kB: tables are freed after a grace
 * period, processes start and end. 0, or -EPROTO. Without THP_NEED_STATS it prints that it
 * cannot tell, and returns 0.
 */
int thp_race_no_residue(long long before, long long slack, struct thp_why *why);

#endif /* THP_RACE_H */
