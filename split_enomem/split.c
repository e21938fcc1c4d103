// SPDX-License-Identifier: GPL-2.0
/*
 * split: Every row of the table of operations while page tables cannot be had.
 */

THP_TESTS_OF(split);

FIXTURE(split) {
	struct trial trial;
};

#include "split_variants.h"

FIXTURE_SETUP(split)
{
	THP_NEEDS(variant->op->needs | thp_kind_needs(variant->kind));
}

FIXTURE_TEARDOWN_PARENT(split)
{
	struct thp_why why = { 0 };

	THP_CHECK_OK(thp_cg_destroy(&self->trial.cg), &why);
	thp_teardown(_metadata);
}

/* Only PTE-table allocations fail, and all of them: the sharpest instrument. */
TEST_F_TIMEOUT(split, targeted, 90)
{
	struct trial *t = &self->trial;
	struct job job = {
		.op = variant->op, .kind = variant->kind, .injector = TARGETED, .trial = t,
	};
	const struct split_op *op = variant->op;
	bool needed = needs_table(op, variant->kind);
	int try, events = -EAGAIN;
	struct thp_why why = { 0 };

	THP_NEEDS(THP_NEED_FAIL_PAGE);
	for (try = 0; try < EVENT_TRIES && events == -EAGAIN; try++) {
		memset(t, 0, sizeof(*t));
		thp_why_clear(&why);
		THP_REQUIRE_OK(thp_inject_setup(true, 0, &why), &why);
		THP_REQUIRE_OK(watch(&job, &why), &why);
		events = judge_events(t, op, variant->kind, counts_failures() ? t->fired : 0, true,
				      &why);
	}
	THP_CHECK_RESULT(events, &why);
	report("targeted", op, variant->kind, t, t->fired);
	if (!needed) {
		/* Eager kernels have the table; without a THP there is no need for one. */
		THP_CHECK(!t->fired, "%s of %s asked for %ld tables, expected none", op->name,
			  thp_kind_name(variant->kind), t->fired);
		THP_CHECK(!t->ret && !t->waited, "%s of %s: %s, expected success", op->name,
			  thp_kind_name(variant->kind), outcome(t));
		return;
	}
	THP_CHECK(t->fired > 0, "%s of %s: the injector did not fire, no table was asked for",
		  op->name, thp_kind_name(variant->kind));
	THP_CHECK(t->ret || t->waited || op->starved == ADVICE,
		  "%s of %s succeeded without a table", op->name, thp_kind_name(variant->kind));
}

/* The control group is full: also the victim's other allocations fail. */
TEST_F_TIMEOUT(split, memcg, 90)
{
	struct trial *t = &self->trial;
	struct job job = {
		.op = variant->op, .kind = variant->kind, .injector = MEMCG, .trial = t,
	};
	const struct split_op *op = variant->op;
	struct thp_why why = { 0 };

	THP_NEEDS(THP_NEED_MEMCG | THP_NEED_POPULATE);
	THP_REQUIRE_OK(thp_cg_create(&t->cg, "victim", &why), &why);
	THP_REQUIRE_OK(watch(&job, &why), &why);
	report("memcg", op, variant->kind, t,
	       t->ret || t->waited || t->still || t->failed_splits > 0);
	/* Zapping base pages takes nothing; that must not change. */
	if (is_plain(variant->kind) && (op->flags & OP_ZAPS))
		THP_CHECK(!t->ret, "%s of %s: %s, expected success", op->name,
			  thp_kind_name(variant->kind), thp_errno_name(t->ret));
	if (is_plain(variant->kind) && counts_failures())
		THP_CHECK(!t->failed_splits, "%s without a THP: thp_split_pmd_failed %+ld",
			  op->name, t->failed_splits);
}

/* judge_events() of one shot, which @fired or did not. */
static int shot_events(struct job *job, const struct thp_map *m, const struct thp_events *before,
		       const struct thp_events *after, int fired, struct thp_why *why)
{
	struct trial t = {
		.splits = after->split_pmd - before->split_pmd,
		.failed_splits = after->split_pmd_failed - before->split_pmd_failed,
	};
	int ret = thp_obs_state(m->thp, thp_env.pmd, &t.state);

	return ret ? thp_why(why, ret, "page map: %s", thp_errno_name(ret)) :
	       judge_events(&t, job->op, m->kind, fired, false, why);
}

/* One allocation fails, the first, the second, ... until none is left. */
static int sweep(struct thp_chan *chan, void *arg)
{
	static struct thp_smaps before;
	struct job *job = arg;
	const struct split_op *op = job->op;
	struct thp_why *why = &chan->why;
	struct thp_events e0, e1, s0, s1;
	static struct thp_map m;
	long long end = thp_now_ms() + SWEEP_MS;
	int fd, nth, ret, fired, again = 0, noise = 0;

	thp_warm_up();
	fd = thp_inject_nth_open();
	if (fd < 0)
		return thp_why(why, fd, "fail-nth: %s", thp_errno_name(fd));
	TRY(rehearse(op, job->kind, why));
	thp_obs_events(&e0);
	for (nth = 1; nth <= NTH_MAX; nth++) {
		thp_chan_beat(chan);
		ret = thp_map_new(&m, job->kind, why);
		if (!ret)
			ret = split_prepare(op, &m, why);
		if (!ret)
			ret = thp_obs_smaps(0, m.area, m.area_len, &before);
		if (ret)
			return thp_why(why, ret, "setup: %s", thp_errno_name(ret));
		ret = thp_inject_drain(fd);
		thp_obs_events(&s0);
		if (!ret)
			ret = thp_inject_nth_arm(fd, nth);
		if (ret)
			return thp_why(why, ret, "fail-nth: %s", thp_errno_name(ret));
		job->trial->ret = split_run(op, &m);
		fired = thp_inject_nth_disarm(fd);
		thp_obs_events(&s1);
		if (fired < 0)
			return thp_why(why, fired, "fail-nth: %s", thp_errno_name(fired));
		job->trial->fired += fired;
		ret = shot_events(job, &m, &s0, &s1, fired, why);
		if (ret == -EAGAIN && ++noise < EVENT_TRIES) {
			thp_why_clear(why);
			thp_map_destroy(&m);
			nth--;
			continue;
		}
		if (ret)
			return ret;
		if (!fired && job->trial->ret)
			return thp_why(why, -EPROTO, "nth=%d: %s returned %s without an injection",
				       nth, op->name, thp_errno_name(job->trial->ret));
		ret = judge(op, &m, job->trial->ret, before.layout, false, why);
		if (!ret && job->trial->ret) {
			split_again(op, &m);
			ret = split_run(op, &m);
			if (ret)
				thp_why(why, ret, "retry of %s returned %s", op->name,
					thp_errno_name(ret));
			else
				ret = check_complete(op, &m, why);
		}
		if (ret)
			return thp_why_from(why, -EPROTO, why, "nth=%d", nth);
		if (!(op->flags & OP_NO_ZAP))
			thp_map_zap(&m);
		thp_map_destroy(&m);
		thp_obs_events(&e1);
		job->trial->failed_splits = e1.split_pmd_failed - e0.split_pmd_failed;
		if (op->starved == ADVICE && thp_now_ms() > end)
			break;
		if (fired)
			continue;
		/* A slab that needed a page may have drawn the shot at the table. */
		if (job->trial->failed_splits || !needs_table(op, job->kind) || ++again == SWEEPS)
			break;
		nth = 0;
	}
	if (nth > NTH_MAX && op->starved != ADVICE)
		return thp_why(why, -EPROTO, "still failing at nth=%d", NTH_MAX);
	return 0;
}

TEST_F_TIMEOUT(split, fail_nth, 120)
{
	struct trial *t = &self->trial;
	struct job job = {
		.op = variant->op, .kind = variant->kind, .injector = TARGETED, .trial = t,
	};
	struct thp_why why = { 0 };

	THP_NEEDS(THP_NEED_FAIL_NTH);
	THP_REQUIRE_OK(thp_inject_setup(false, 0, &why), &why);
	THP_REQUIRE_OK(thp_child_run(sweep, &job, THP_STEP_MS, &why), &why);
	report("fail-nth", variant->op, variant->kind, t, t->fired);
	if (!needs_table(variant->op, variant->kind))
		return;
	THP_CHECK(t->fired > 0, "%s of %s: the injector never fired", variant->op->name,
		  thp_kind_name(variant->kind));
	if (counts_failures())
		THP_CHECK(t->failed_splits > 0,
			  "%s of %s: no shot in %ld hit the split", variant->op->name,
			  thp_kind_name(variant->kind), t->fired);
}
