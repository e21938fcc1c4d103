/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Processes that work in lockstep with a test.
 *
 * They communicate through one shared page that is mapped and touched beforehand, so that a
 * starved process can use it, too. Waiting polls: it notices a dead peer and has a time
 * limit, so that no test can hang.
 */
#ifndef THP_CHILD_H
#define THP_CHILD_H

#include <assert.h>
#include <sys/types.h>

#include "thp_clock.h"
#include "thp_file.h"
#include "thp_limits.h"

struct thp_chan {
	int to_child;		/* last step that the parent announced */
	int to_parent;		/* last step that the child announced */
	int beats;		/* of the child: proof of progress within a step */
	long long val[32];	/* for any use by both */
	struct thp_why why;	/* the child's cause when its function fails */
};

/*
 * .val as a struct shared by both: struct foo *f = thp_chan_data(chan, struct foo).
 * Initially all zeroes.
 */
#define thp_chan_data(chan, type) ({					\
	static_assert(sizeof(type) <= sizeof((chan)->val), #type);	\
	(type *)(void *)(chan)->val;					\
})

struct thp_child {
	pid_t pid;
	int status;		/* of waitpid(), valid after thp_child_join() */
	struct thp_chan *chan;
	struct thp_deadline limit;	/* what the last thp_child_await() took */
};

/*
 * Reserves the address range of the channels, once, before the first test: its PTE table
 * stays when a channel is unmapped. 0 or -errno; without it the kernel finds a place for
 * each channel, which may have a PTE table for itself.
 */
int thp_child_init(void);

/*
 * Maps the channel beforehand, for a thp_child_start() that must not add to the
 * mappings of the parent. 0 or -errno. thp_child_start() keeps it on failure.
 */
int thp_child_prepare(struct thp_child *c);

/*
 * Forks; the child runs @fn(chan, arg) and exits with 0 if it returned 0, with
 * 1 after storing its cause otherwise. It dies with its parent. 0 or -errno.
 */
int thp_child_start(struct thp_child *c, int (*fn)(struct thp_chan *chan, void *arg), void *arg);

/* Announces @step: in the parent, and in the child. */
void thp_chan_post_child(struct thp_chan *chan, int step);
void thp_chan_post_parent(struct thp_chan *chan, int step);

/* In the child: waits until the parent announces @step or a later one. */
void thp_chan_await_parent(struct thp_chan *chan, int step);

/* In the child: proof of progress, which starts the limit of its next step anew. */
void thp_chan_beat(struct thp_chan *chan);

/*
 * In the parent: waits until the child announces @step or a later one. 0, -ETIMEDOUT, or
 * -ECHILD if it ended first (then thp_child_join() tells how). The limit is one of
 * thp_limits.h: of the CPU time that the child spends meanwhile, on a normal machine.
 */
int thp_child_await(struct thp_child *c, int step, int limit_ms);

/* The same for @ms by the clock: a look, not a limit. */
int thp_child_watch(struct thp_child *c, int step, int ms);

/*
 * Waits for the end of the child, kills it at the limit, as above, or at once if that is 0.
 * 0 if it exited with 0; -EPROTO with a cause (its own, its signal, or the time limit);
 * -ENOTSUP if its cause is the reason of a SKIP; -ECHILD if the kernel crashed in it and
 * leaves no status to wait for.
 */
int thp_child_join(struct thp_child *c, int limit_ms, struct thp_why *why);

/* Kills and reaps; for clean-up, safe on a child that is gone. */
void thp_child_kill(struct thp_child *c);

/* fork() + join of a function whose work needs a process of its own. */
int thp_child_run(int (*fn)(struct thp_chan *chan, void *arg), void *arg, int limit_ms,
		  struct thp_why *why);

#endif /* THP_CHILD_H */
