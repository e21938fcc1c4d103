// SPDX-License-Identifier: GPL-2.0
/* split: Every row of the table of operations while page tables cannot be allocated. */

/* Swap-out allocates for every page: that sweep ends at this time limit. */
#define SWEEP_MS	50000
/* Sweeps that may miss the table, see sweep(). */
#define SWEEPS		4
/* Shots in a row whose events other processes may disturb. */
#define NOISE_MAX	3

THP_TESTS_OF(split);

FIXTURE(split) {
	struct starve_result result;
	struct thp_cg cg;
};

#include "split_variants.h"

FIXTURE_SETUP(split)
{
	THP_NEEDS(variant->op->needs | thp_kind_needs(variant->kind));
}

FIXTURE_TEARDOWN_PARENT(split)
{
	struct thp_why why = { 0 };

	THP_CHECK_OK(thp_cg_destroy(&self->cg), &why);
	thp_teardown(_metadata);
}

/* Every table is refused: an operation that needs one requests it and does not succeed. */
static int without_tables(const void *arg, struct thp_why *why)
{
	const struct starve_job *job = arg;
	const char *op = job->op->name, *kind = thp_kind_name(job->kind);
	struct starve_result *r = job->result;
	bool needed;

	memset(r, 0, sizeof(*r));
	TRY(thp_inject_tables(why));
	TRY(starve_run(job, why));
	needed = r->needed;
	TRY(starve_events(r, job->op, job->kind, thp_env.counts_failures ? r->fired : 0, true,
			  why));
	starve_report("targeted", job, r->fired);
	/* Eager kernels have the table; without a THP no table is needed. */
	if (!needed && r->fired)
		return thp_why(why, -EPROTO, "%s of %s asked for %ld tables, expected none", op,
			       kind, r->fired);
	if (!needed && (r->ret || r->waited))
		return thp_why(why, -EPROTO, "%s of %s: %s, expected success", op, kind,
			       starve_outcome(r));
	if (needed && r->fired <= 0)
		return thp_why(why, -EPROTO,
			       "%s of %s: the injector did not fire, no table was asked for", op,
			       kind);
	if (needed && !r->ret && !r->waited && job->op->starved != ADVICE)
		return thp_why(why, -EPROTO, "%s of %s succeeded without a table", op, kind);
	return 0;
}

/* Only PTE-table allocations fail, and all of them: the most exact injector. */
TEST_F_TIMEOUT(split, targeted, 90)
{
	const struct starve_job job = {
		.op = variant->op, .kind = variant->kind, .by = &starve_tables,
		.result = &self->result,
	};

	THP_NEEDS(THP_NEED_FAIL_PAGE);
	THP_SCENARIO(without_tables, &job);
}

/* A mapping of base pages, or one without pages. */
static bool is_plain(enum thp_kind kind)
{
	return kind == THP_SMALL || kind == THP_NONE;
}

/* Every charge is refused, including those of tables. */
static int in_full_group(const void *arg, struct thp_why *why)
{
	const struct starve_job *job = arg;
	struct starve_result *r = job->result;

	memset(r, 0, sizeof(*r));
	TRY(thp_cg_create(job->cg, "victim", why));
	if (job->kind == THP_SWAPPED)
		TRY(thp_cg_swap(job->cg, true));
	TRY(starve_run(job, why));
	starve_report("memcg", job,
		      r->ret || r->waited || r->still_huge || r->failed_splits > 0);
	/* Zapping base pages allocates nothing; that must not change. */
	if (is_plain(job->kind) && (job->op->flags & OP_ZAPS) && r->ret)
		return thp_why(why, -EPROTO, "%s of %s: %s, expected success", job->op->name,
			       thp_kind_name(job->kind), thp_errno_name(r->ret));
	if (is_plain(job->kind) && thp_env.counts_failures && r->failed_splits)
		return thp_why(why, -EPROTO, "%s without a THP: thp_split_pmd_failed %+ld",
			       job->op->name, r->failed_splits);
	return 0;
}

/* The control group is full: the victim's other allocations fail, too. */
TEST_F_TIMEOUT(split, memcg, 90)
{
	const struct starve_job job = {
		.op = variant->op, .kind = variant->kind, .by = &starve_memcg, .cg = &self->cg,
		.result = &self->result,
	};

	THP_NEEDS(THP_NEED_MEMCG | THP_NEED_POPULATE);
	THP_SCENARIO(in_full_group, &job);
}

/* starve_events() of one shot that hit (@fired) or did not and left the range as @state. */
static int shot_events(const struct starve_job *job, const struct thp_map *m,
		       const struct thp_events *e, int fired, enum thp_state state,
		       struct thp_why *why)
{
	const struct starve_result shot = {
		.state = state,
		.splits = e[1].split_pmd - e[0].split_pmd,
		.failed_splits = e[1].split_pmd_failed - e[0].split_pmd_failed,
		.entries = e[1].swpout_pmd - e[0].swpout_pmd,
		.fallbacks = e[1].swpout_fallback - e[0].swpout_fallback,
	};

	job->result->needed |= split_owed(job->op, m->kind, state) &&
			       thp_split_allocates(m->kind);
	return starve_events(&shot, job->op, m->kind, fired, false, why);
}

/*
 * Runs the operation on a new mapping with its @nth allocation refused. 1 if it was
 * refused, 0 if the operation makes fewer than @nth; -EAGAIN or another -errno with a
 * cause.
 */
static int shoot(const struct starve_job *job, int fd, int nth, struct thp_why *why)
{
	const struct split_op *op = job->op;
	static struct thp_smaps before;
	static struct thp_map m;
	struct thp_events e[2];
	enum thp_state state;
	int ret, op_ret, fired;

	thp_map_destroy(&m);
	ret = thp_map_new(&m, job->kind, why);
	if (!ret)
		ret = split_prepare(op, &m, why);
	if (!ret)
		ret = thp_obs_smaps(0, m.area, m.area_len, &before);
	if (ret)
		return thp_why(why, ret, "setup: %s", thp_errno_name(ret));
	ret = thp_inject_nth_drain(fd);
	thp_obs_events(&e[0]);
	if (!ret)
		ret = thp_inject_nth_arm(fd, nth);
	if (ret)
		return thp_why(why, ret, "fail-nth: %s", thp_errno_name(ret));
	op_ret = split_run(op, &m);
	job->result->ret = op_ret;
	fired = thp_inject_nth_disarm(fd);
	thp_obs_events(&e[1]);
	if (fired < 0)
		return thp_why(why, fired, "fail-nth: %s", thp_errno_name(fired));
	job->result->fired += fired;
	/* Before the contents are checked. */
	ret = thp_obs_state(m.thp, thp_env.pmd, &state);
	if (ret)
		return thp_why(why, ret, "page map: %s", thp_errno_name(ret));
	TRY(shot_events(job, &m, e, fired, state, why));
	if (!fired && op_ret)
		return thp_why(why, -EPROTO, "%s returned %s without an injection", op->name,
			       thp_errno_name(op_ret));
	TRY(starve_judge(op, &m, op_ret, state, before.layout, false, why));
	if (op_ret)
		TRY(starve_retry(op, &m, false, why));
	if (!(op->flags & OP_NO_ZAP))
		thp_map_zap(&m);
	thp_map_destroy(&m);
	return fired;
}

/* One allocation fails, the first, the second, ... until none is left. */
static int sweep(struct thp_chan *chan, void *arg)
{
	const struct starve_job *job = arg;
	struct starve_result *r = job->result;
	struct thp_why *why = &chan->why;
	long long end = thp_now_ms() + SWEEP_MS;
	int fd, nth, fired, sweeps = 0, noise = 0;
	struct thp_events e[2];

	thp_warm_up();
	fd = thp_inject_nth_open();
	if (fd < 0)
		return thp_why(why, fd, "fail-nth: %s", thp_errno_name(fd));
	TRY(starve_rehearse(job->op, job->kind, why));
	thp_obs_events(&e[0]);
	for (nth = 1; nth <= NTH_MAX; nth++) {
		thp_chan_beat(chan);
		fired = shoot(job, fd, nth, why);
		if (fired == -EAGAIN && ++noise < NOISE_MAX) {
			thp_why_clear(why);
			nth--;
			continue;
		}
		if (fired < 0)
			return why->skip ? fired : thp_why_from(why, fired, why, "nth=%d", nth);
		thp_obs_events(&e[1]);
		r->failed_splits = e[1].split_pmd_failed - e[0].split_pmd_failed;
		if (job->op->starved == ADVICE && thp_now_ms() > end)
			break;
		if (fired)
			continue;
		/*
		 * A slab allocation that needed a page may have been refused instead of the
		 * table.
		 */
		if (r->failed_splits || !r->needed || ++sweeps == SWEEPS)
			break;
		nth = 0;
	}
	if (nth > NTH_MAX && job->op->starved != ADVICE)
		return thp_why(why, -EPROTO, "still failing at nth=%d", NTH_MAX);
	return 0;
}

/* The sweep has refused allocations, including the table of each split. */
static int allocation_by_allocation(const void *arg, struct thp_why *why)
{
	const struct starve_job *job = arg;
	const char *op = job->op->name, *kind = thp_kind_name(job->kind);
	struct starve_result *r = job->result;

	memset(r, 0, sizeof(*r));
	TRY(thp_inject_any(0, why));
	TRY(thp_child_run(sweep, (void *)job, THP_STEP_MS, why));
	starve_report("fail-nth", job, r->fired);
	if (!r->needed)
		return 0;
	if (r->fired <= 0)
		return thp_why(why, -EPROTO, "%s of %s: the injector never fired", op, kind);
	if (thp_env.counts_failures && r->failed_splits <= 0)
		return thp_why(why, -EPROTO, "%s of %s: no shot in %ld hit the split", op, kind,
			       r->fired);
	return 0;
}

/* Any allocation of the operation fails, one at a time. */
TEST_F_TIMEOUT(split, fail_nth, 120)
{
	const struct starve_job job = {
		.op = variant->op, .kind = variant->kind, .result = &self->result,
	};

	THP_NEEDS(THP_NEED_FAIL_NTH);
	THP_SCENARIO(allocation_by_allocation, &job);
}
