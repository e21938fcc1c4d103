// SPDX-License-Identifier: GPL-2.0
#include <errno.h>
#include <string.h>

#include "starve.h"
#include "thp_contract.h"
#include "thp_inject.h"
#include "thp_run.h"

/* A fault waits for memory: long enough to see that it does not give up. */
#define WAIT_MS		300

/* The state of the victim, in its own memory. */
struct victim {
	const struct starve_job *job;
	struct thp_map m;
	struct thp_smaps before;
	long long tables;		/* VmPTE, bytes */
};

const char *starve_outcome(const struct starve_result *r)
{
	return r->waited ? "waited" : thp_errno_name(r->ret);
}

void starve_report(const char *injector, const struct starve_job *job, long refused)
{
	const struct starve_result *r = job->result;

	thp_inject_report(injector, r->needed, refused,
			  "%s, thp_split_pmd_failed %+ld", starve_outcome(r), r->failed_splits);
}

int starve_rehearse(const struct split_op *op, enum thp_kind kind, struct thp_why *why)
{
	static struct thp_map m;
	int ret;

	ret = thp_map_new(&m, kind, why);
	if (!ret)
		ret = split_prepare(op, &m, why);
	if (!ret)
		(void)split_run(op, &m);
	thp_map_destroy(&m);
	return ret;
}

/* Creates a mapping for the operation, and everything else that the victim needs later. */
static int victim_prepare(struct victim *v, struct thp_why *why)
{
	const struct starve_job *job = v->job;
	int ret;

	if (job->by->prepare)
		TRY(job->by->prepare(job, why));
	thp_warm_up();
	/* fork() does not map shared memory, which may need a PTE table of its own. */
	__atomic_store_n(&job->result->ret, 0, __ATOMIC_SEQ_CST);
	ret = job->prepare ? job->prepare(why) : 0;
	if (!ret)
		ret = starve_rehearse(job->op, job->kind, why);
	if (!ret)
		ret = thp_map_new(&v->m, job->kind, why);
	if (!ret)
		ret = split_prepare(job->op, &v->m, why);
	if (!ret)
		ret = thp_obs_smaps(0, v->m.area, v->m.area_len, &v->before);
	v->tables = thp_obs_vmpte(0);
	return ret ? thp_why(why, ret, "setup: %s", thp_errno_name(ret)) : 0;
}

/* With memory available again: judges the result, then runs the operation once more. */
static int victim_judge(struct victim *v, struct thp_why *why)
{
	struct starve_result *r = v->job->result;
	const struct split_op *op = v->job->op;
	/* Only the targeted injector refuses tables and nothing else. */
	bool strict = v->job->by->refused && split_expected(op, v->m.kind) &&
		      thp_split_allocates(v->m.kind);
	int ret;

	v->tables = thp_obs_vmpte(0) - v->tables;
	ret = thp_obs_state(v->m.thp, thp_env.pmd, &r->state);
	if (ret)
		return thp_why(why, ret, "page map: %s", thp_errno_name(ret));
	r->needed = split_owed(op, v->m.kind, r->state) && thp_split_allocates(v->m.kind);
	r->still_huge = split_expected(op, v->m.kind) && r->state == thp_kind_state(v->m.kind);
	TRY(starve_judge(op, &v->m, r->ret, r->state, v->before.layout, strict, why));
	if (!r->ret)
		return 0;
	if (strict && v->tables)
		return thp_why(why, -EPROTO, "%s failed and left %+lld B of tables", op->name,
			       v->tables);
	return starve_retry(op, &v->m, strict, why);
}

int starve_victim(struct thp_chan *chan, void *arg)
{
	const struct starve_job *job = arg;
	struct thp_why *why = &chan->why;
	static struct victim v;
	int ret;

	v.job = job;
	TRY(victim_prepare(&v, why));
	thp_chan_post_parent(chan, STARVE_READY);
	thp_chan_await_parent(chan, STARVE_GO);
	ret = job->by->exhaust ? job->by->exhaust(why) : 0;
	if (job->by->refused)
		v.tables = thp_obs_vmpte(0);
	thp_chan_post_parent(chan, STARVE_HUNGRY);
	if (!ret)
		job->result->ret = split_run(job->op, &v.m);
	thp_chan_post_parent(chan, STARVE_DONE);
	if (ret)
		return ret;
	thp_chan_await_parent(chan, STARVE_FED);
	TRY(victim_judge(&v, why));
	if (!(job->op->flags & OP_NO_ZAP))
		thp_map_zap(&v.m);
	thp_map_destroy(&v.m);
	return 0;
}

/* Starts the victim and waits until it is ready. */
static int watch_start(const struct starve_job *job, struct thp_child *c, struct thp_why *why)
{
	int ret;

	ret = thp_child_start(c, job->victim ? job->victim : starve_victim, (void *)job);
	if (ret)
		return thp_why(why, ret, "fork: %s", thp_errno_name(ret));
	ret = thp_child_await(c, STARVE_READY, THP_STEP_MS);
	if (!ret)
		return 0;
	if (ret == -ETIMEDOUT)
		thp_why(why, ret, "the victim was not ready within %lld ms", c->limit.wall);
	thp_child_join(c, 0, why);
	if (why->skip)
		return -ENOTSUP;
	return ret == -ETIMEDOUT ? -EPROTO : -ECHILD;
}

/* The time limit of the operation, ms. */
static int return_limit(const struct starve_job *job)
{
	int ms = job->return_ms ? job->return_ms : THP_RETURN_MS;

	/* An operation that has looped before does not get that long again: ten IDs, one bug. */
	if (thp_run_has_looped(job->op->name))
		return THP_AGAIN_MS;
	/* In a full control group the kernel writes an OOM report for each attempt. */
	return job->by->reports ? 2 * ms : ms;
}

/*
 * Waits until the victim has returned. 0, -ECHILD if it ended, -ETIMEDOUT if it never
 * returns: by the limit @d, or because it was refused THP_REFUSED_MAX tables (*@endless),
 * which on a slow machine is known long before.
 */
static int await_return(const struct starve_job *job, struct thp_child *c, struct thp_deadline *d,
			bool *endless)
{
	long (*refused)(void) = job->by->refused, before = refused ? refused() : 0;
	int ret;

	/* The condition also sets what has been spent. */
	while (!*endless && !thp_deadline_over(d)) {
		ret = thp_child_watch(c, STARVE_DONE, 20);
		if (ret != -ETIMEDOUT)
			return ret;
		*endless = refused && refused() - before >= THP_REFUSED_MAX;
	}
	return thp_child_watch(c, STARVE_DONE, 0);
}

/*
 * Runs the operation, starved and then fed. 0; -ETIMEDOUT with a cause if the victim never
 * returned; -ECHILD if it ended. A cause with 0: the operation returned only because the
 * watch fed the victim.
 */
static int watch_operation(const struct starve_job *job, struct thp_child *c,
			   struct thp_why *why)
{
	const char *op = job->op->name;
	int limit = return_limit(job), ret;
	struct thp_deadline d;
	bool endless = false;

	thp_chan_post_child(c->chan, STARVE_GO);
	/*
	 * The victim uses up its group: the kernel writes an OOM report then, which can take
	 * long and is no part of the operation.
	 */
	(void)thp_child_await(c, STARVE_HUNGRY, THP_STEP_MS);
	thp_deadline_start(&d, c->pid, limit);
	if (job->op->starved == WAITS)
		ret = thp_child_watch(c, STARVE_DONE, WAIT_MS);
	else
		ret = await_return(job, c, &d, &endless);
	job->result->waited = ret == -ETIMEDOUT;
	if (job->by->starve)
		(void)job->by->starve(job, c->pid, false);
	if (ret != -ETIMEDOUT)
		return ret;
	if (job->op->starved != WAITS) {
		thp_run_note_loop(op);
		thp_why(why, -EPROTO,
			"%s did not return within %lld ms while starved: %s, CPU %lld ms", op,
			d.wall, endless || thp_deadline_burnt(&d) ? "livelock" : "it sleeps",
			d.cpu);
	}
	ret = thp_child_await(c, STARVE_DONE, limit);
	if (ret == -ETIMEDOUT) {
		thp_run_note_loop(op);
		thp_why(why, ret, "%s did not return even with memory at hand", op);
	}
	return ret;
}

int starve_run(const struct starve_job *job, struct thp_why *why)
{
	struct starve_result *r = job->result;
	struct thp_child c = { 0 };
	struct thp_events e[2];
	int ret;

	TRY(watch_start(job, &c, why));
	thp_obs_events(&e[0]);
	ret = job->by->starve ? job->by->starve(job, c.pid, true) : 0;
	if (ret) {
		thp_child_kill(&c);
		return thp_why(why, ret, "cannot starve the victim: %s", thp_errno_name(ret));
	}
	ret = watch_operation(job, &c, why);
	/* An operation that waited has been refused up to now. */
	thp_obs_events(&e[1]);
	if (job->by->refused)
		r->fired = job->by->refused();
	r->splits = e[1].split_pmd - e[0].split_pmd;
	r->failed_splits = e[1].split_pmd_failed - e[0].split_pmd_failed;
	r->entries = e[1].swpout_pmd - e[0].swpout_pmd;
	r->fallbacks = e[1].swpout_fallback - e[0].swpout_fallback;
	if (c.chan)
		thp_chan_post_child(c.chan, STARVE_FED);
	thp_child_join(&c, ret == -ETIMEDOUT ? 0 : THP_STEP_MS, why);
	if (why->skip)
		return -ENOTSUP;
	return why->text[0] ? -EPROTO : 0;
}
