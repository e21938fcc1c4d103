/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Runs one operation of the split table in a process whose allocations fail, the victim,
 * while its parent, the watch, observes it from outside.
 *
 *	victim				watch: starve_run()
 *	maps, prepares
 *	STARVE_READY ---------------->	reads the events, makes allocations fail
 *	uses up what is left  <------	STARVE_GO
 *	STARVE_HUNGRY --------------->	the time of the operation begins
 *	runs the operation
 *	STARVE_DONE ----------------->	lets allocations succeed again, reads the events
 *	judges the result     <------	STARVE_FED
 *	runs the operation again, ends
 *
 * The watch is never starved, and feeds the victim when a time limit expires: memory ends
 * even a livelock that no signal can end.
 */
#ifndef STARVE_H
#define STARVE_H

#include "split_ops.h"
#include "thp_cgroup.h"
#include "thp_child.h"

enum starve_step { STARVE_READY = 1, STARVE_GO, STARVE_HUNGRY, STARVE_DONE, STARVE_FED };

struct starve_job;

/* How allocations of the victim are made to fail: steps of victim and watch, each optional. */
struct starve_means {
	/* The victim, before it maps anything. 0 or -errno with a cause. */
	int (*prepare)(const struct starve_job *job, struct thp_why *why);
	/* The watch: from now on they fail, or no longer. 0 or -errno. */
	int (*starve)(const struct starve_job *job, pid_t pid, bool on);
	/* The victim, right before the operation: uses up what is left. As above. */
	int (*exhaust)(struct thp_why *why);
	/* How many were refused so far, if only tables are. */
	long (*refused)(void);
	bool reports;		/* the kernel logs each refusal, at length */
};

extern const struct starve_means starve_tables;	/* of PTE tables, all: targeted injector */
extern const struct starve_means starve_memcg;	/* that are charged: its group is full */
extern const struct starve_means starve_nothing;	/* for an operation that is itself wrong */

/*
 * The outcome of a job. Victim and watch write to it, so it has to be in memory that both
 * share, such as the data of a fixture with FIXTURE_TEARDOWN_PARENT().
 */
struct starve_result {
	int ret;		/* of the operation: 0 or -errno */
	bool waited;		/* it returned only after being fed */
	bool still_huge;	/* the PMD that it had to split is not split */
	enum thp_state state;	/* how the range is mapped right after it */
	bool needed;		/* it had to allocate a PTE table: a PMD swap entry takes none */
	long fired;		/* allocations that were refused */
	long splits;		/* thp_split_pmd, of the whole system */
	long failed_splits;	/* thp_split_pmd_failed, the same */
	long entries;		/* thp_swpout_pmd, the same */
	long fallbacks;		/* thp_swpout_fallback, the same */
};

struct starve_job {
	const struct split_op *op;
	enum thp_kind kind;	/* of the mapping that it runs on */
	const struct starve_means *by;
	struct thp_cg *cg;	/* starve_memcg: the group of the victim, made by the caller */
	int (*prepare)(struct thp_why *why);	/* by the victim, before it maps anything */
	int return_ms;		/* limit of the operation, 0: THP_RETURN_MS */
	/* Instead of starve_victim(): @arg is the job; it posts and awaits the same steps. */
	int (*victim)(struct thp_chan *chan, void *arg);
	const void *arg;	/* free for it */
	struct starve_result *result;
};

/*
 * Runs the job: victim, shortage, watch. starve_tables needs thp_inject_tables()
 * before. 0 if the result is one that the contract of the operation allows, whatever
 * @job->result says of it; -EPROTO with a cause if not, or if the operation did not
 * return in time; -ENOTSUP with the reason of a SKIP; another -errno with a cause.
 */
int starve_run(const struct starve_job *job, struct thp_why *why);

/* The victim of starve_run(): @arg is the struct starve_job. */
int starve_victim(struct thp_chan *chan, void *arg);

/*
 * Runs @op once with memory available, on a mapping of its own, so that everything that is
 * allocated only once is allocated. 0 or -errno with a cause.
 */
int starve_rehearse(const struct split_op *op, enum thp_kind kind, struct thp_why *why);

/* "0", "ENOMEM", "waited": for people. */
const char *starve_outcome(const struct starve_result *r);

/* thp_inject_report() of a job: @refused as there. */
void starve_report(const char *injector, const struct starve_job *job, long refused);

/* The judge, in starve_judge.c. */

/*
 * Judges the result @op_ret of @op on @m by its contract, with memory available again:
 * success is complete; a failure is one that it may return and has changed nothing. @state:
 * how the range is mapped since. @vmas: thp_smaps.layout from before. @strict: only tables
 * can have been refused. 0; -EPROTO or another -errno with a cause.
 */
int starve_judge(const struct split_op *op, struct thp_map *m, int op_ret, enum thp_state state,
		 const char *vmas, bool strict, struct thp_why *why);

/* Runs @op again after a failure, now with memory at hand: it has to succeed. As above. */
int starve_retry(const struct split_op *op, struct thp_map *m, bool strict,
		 struct thp_why *why);

/* Whether two answers of thp_obs_smaps() show the same VMAs: 0, or -EPROTO with a cause. */
int starve_same_vmas(const struct split_op *op, const char *before, const char *after,
		     struct thp_why *why);

/*
 * Compares events with a result: a refused table counts once in thp_split_pmd_failed, a
 * split PMD once in thp_split_pmd, and neither in the other. @refused: refused tables, or
 * (!@tables) refused allocations of any kind, none of which need be that of the split. 0;
 * -EAGAIN with a cause: more events than that, which may be due to others; -EPROTO with a
 * cause: fewer.
 */
int starve_events(const struct starve_result *r, const struct split_op *op, enum thp_kind kind,
		  long refused, bool tables, struct thp_why *why);

#endif /* STARVE_H */
