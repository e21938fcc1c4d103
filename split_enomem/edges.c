// SPDX-License-Identifier: GPL-2.0
/*
 * edges: Ranges that begin in one THP and end in another, with some of the tables.
 */

/* One run: @granted tables, and a result of the victim that starve_result has no field for. */
struct edge_run {
	const struct edge_op *edge;
	unsigned int granted;	/* number of tables that can be allocated */
	bool *partial;		/* success, but another call has to do the rest */
};

/* Maps a row of THPs as the edge case needs it. */
static int edge_prepare(const struct edge_op *e, struct thp_map *m, struct thp_why *why)
{
	int ret = thp_pin_cpu();

	if (ret)
		return thp_why(why, ret, "sched_setaffinity: %s", thp_errno_name(ret));
	ret = edges_new(m, e, why);
	if (!ret && e->two_vmas &&
	    madvise(m->thp + (EDGE_THPS - 1) * thp_env.pmd, 2 * thp_env.pmd, MADV_DONTDUMP))
		ret = thp_why(why, -errno, "MADV_DONTDUMP: %s", strerror(errno));
	if (!ret && e->prepare)
		ret = e->prepare(m, why);
	if (!ret)
		ret = check_bits(e, m, 0, 0, why);
	return ret ? thp_why(why, ret, "setup: %s", thp_errno_name(ret)) : 0;
}

/* With memory available: judges the result, and after a failure or a part runs the rest. */
static int edge_judge(const struct edge_run *run, struct thp_map *m,
		      const struct edge_before *before, int op_ret, struct thp_why *why)
{
	const struct edge_op *e = run->edge;
	long reached = op_ret ? edge_first(e) : edge_end(e);
	int ret;

	if (e->scan && !op_ret) {
		reached = check_regions(e, m, edge_first(e), why);
		if (reached < 0)
			return reached;
	}
	*run->partial = !op_ret && reached < (long)edge_end(e);
	if (op_ret || *run->partial) {
		TRY(judge_refused(e, m, before, op_ret, run->granted, reached, why));
		ret = edge_run(e, m, reached);
		if (ret)
			return thp_why(why, -EPROTO, "still returns %s with memory at hand",
				       thp_errno_name(ret));
		if (e->scan && check_regions(e, m, reached, why) != (long)edge_end(e))
			return thp_why(why, -EPROTO, "no complete scan with memory at hand");
	}
	return judge_done(e, m, before, why);
}

static int edge_victim(struct thp_chan *chan, void *arg)
{
	const struct starve_job *job = arg;
	const struct edge_run *run = job->arg;
	const struct edge_op *e = run->edge;
	static struct edge_before before;
	struct thp_why *why = &chan->why;
	static struct thp_map m;
	int ret;

	thp_warm_up();
	TRY(edge_prepare(e, &m, why));
	before.huge = edges_huge(&m, &before.sm, why);

	thp_chan_post_parent(chan, STARVE_READY);
	thp_chan_await_parent(chan, STARVE_GO);
	ret = thp_inject_grant(run->granted);
	if (ret) {
		thp_chan_post_parent(chan, STARVE_DONE);
		return thp_why(why, ret, "PTE tables cannot be limited: %s", thp_errno_name(ret));
	}
	thp_chan_post_parent(chan, STARVE_HUNGRY);
	before.vmpte = thp_obs_vmpte(0);
	job->result->ret = edge_run(e, &m, edge_first(e));
	thp_chan_post_parent(chan, STARVE_DONE);
	thp_chan_await_parent(chan, STARVE_FED);

	ret = edge_judge(run, &m, &before, job->result->ret, why);
	thp_map_destroy(&m);
	return ret;
}

FIXTURE(edges) {
	struct starve_result result;
	bool partial;
};

FIXTURE_VARIANT(edges) {
	struct edge_op op;
};

THP_COVERS_VARIANT(edges, dontneed, refused, "zap-dontneed");
FIXTURE_VARIANT_ADD(edges, dontneed) {
	.op = { .row = "dontneed_mid", .tables = 2, .from = 1, .zaps = true },
};

THP_COVERS_VARIANT(edges, dontneed_locked, refused, "zap-dontneed");
FIXTURE_VARIANT_ADD(edges, dontneed_locked) {
	.op = {
		.row = "dontneed_locked_mid", .prepare = edges_locked,
		.tables = 2, .from = 1, .zaps = true,
	},
};

/* Base pages in between: where a THP was zapped the markers would need a table. */
THP_COVERS_VARIANT(edges, guard_install, refused, "zap-guard");
FIXTURE_VARIANT_ADD(edges, guard_install) {
	.op = { .row = "guard_install_mid", .tables = 2, .from = 1, .small_mid = true },
};

/* Where there is nothing to zap, a marker could be installed before the edge is reached. */
THP_COVERS_VARIANT(edges, guard_install_holes, refused, "zap-guard");
FIXTURE_VARIANT_ADD(edges, guard_install_holes) {
	.op = {
		.row = "guard_install_mid", .tables = 1, .from = 3, .small_mid = true,
		.holes = true,
	},
};

THP_COVERS_VARIANT(edges, uffd_wp, refused, "protect-uffd-wp");
FIXTURE_VARIANT_ADD(edges, uffd_wp) {
	.op = {
		.row = "uffd_wp_mid", .prepare = edges_uffd_wp, .tables = 2, .from = 1, .wp = true,
	},
};

THP_COVERS_VARIANT(edges, uffd_wp_two_vmas, refused, "protect-uffd-wp");
FIXTURE_VARIANT_ADD(edges, uffd_wp_two_vmas) {
	.op = {
		.row = "uffd_wp_mid", .prepare = edges_uffd_wp, .tables = 2, .from = 1, .wp = true,
		.two_vmas = true, .cuts = true,
	},
};

/* The only table is for the first VMA: the success of the second must not hide a failure. */
THP_COVERS_VARIANT(edges, uffd_wp_first_vma, refused, "protect-uffd-wp");
FIXTURE_VARIANT_ADD(edges, uffd_wp_first_vma) {
	.op = {
		.row = "uffd_wp_mid", .prepare = edges_uffd_wp, .tables = 1, .from = 1, .wp = true,
		.two_vmas = true, .to_end = true,
	},
};

THP_COVERS_VARIANT(edges, uffd_unwp, refused, "protect-uffd-wp");
FIXTURE_VARIANT_ADD(edges, uffd_unwp) {
	.op = {
		.row = "uffd_unwp_mid", .prepare = edges_uffd_wped, .tables = 2, .from = 1,
		.wp = true, .wp_before = true,
	},
};

THP_COVERS_VARIANT(edges, uffd_rwp, refused, "protect-uffd-rwp");
FIXTURE_VARIANT_ADD(edges, uffd_rwp) {
	.op = {
		.row = "uffd_rwp_mid", .prepare = edges_uffd_rwp, .tables = 2, .from = 1,
		.wp = true,
	},
};

THP_COVERS_VARIANT(edges, uffd_rwp_two_vmas, refused, "protect-uffd-rwp");
FIXTURE_VARIANT_ADD(edges, uffd_rwp_two_vmas) {
	.op = {
		.row = "uffd_rwp_mid", .prepare = edges_uffd_rwp, .tables = 2, .from = 1,
		.wp = true, .two_vmas = true, .cuts = true,
	},
};

THP_COVERS_VARIANT(edges, uffd_rwp_first_vma, refused, "protect-uffd-rwp");
FIXTURE_VARIANT_ADD(edges, uffd_rwp_first_vma) {
	.op = {
		.row = "uffd_rwp_mid", .prepare = edges_uffd_rwp, .tables = 1, .from = 1,
		.wp = true, .two_vmas = true, .to_end = true,
	},
};

THP_COVERS_VARIANT(edges, uffd_unregister, refused, "protect-uffd-unregister");
FIXTURE_VARIANT_ADD(edges, uffd_unregister) {
	.op = {
		.row = "uffd_unregister_mid", .prepare = edges_uffd_wped, .tables = 2, .from = 1,
		.wp = true, .wp_before = true,
	},
};

THP_COVERS_VARIANT(edges, pagemap_scan, refused, "walk-pagemap-scan");
FIXTURE_VARIANT_ADD(edges, pagemap_scan) {
	.op = {
		.row = "pagemap_scan_wp_mid", .prepare = edges_uffd_async, .tables = 2, .from = 1,
		.wp = true, .cuts = true, .scan = true,
	},
};

THP_COVERS_VARIANT(edges, munmap, refused, "split-munmap");
FIXTURE_VARIANT_ADD(edges, munmap) {
	.op = { .row = "munmap_mid", .tables = 2, .from = 1, .zaps = true, .cuts = true },
};

THP_COVERS_VARIANT(edges, mprotect, refused, "split-mprotect");
FIXTURE_VARIANT_ADD(edges, mprotect) {
	.op = {
		.row = "mprotect_mid", .verify = edges_verify_mprotect, .tables = 2, .from = 1,
		.cuts = true,
	},
};

THP_COVERS_VARIANT(edges, mlock, refused, "split-mlock");
FIXTURE_VARIANT_ADD(edges, mlock) {
	.op = {
		.row = "mlock_mid", .verify = edges_verify_mlock, .tables = 2, .from = 1,
		.cuts = true,
	},
};

FIXTURE_SETUP(edges)
{
	const struct split_op *op = split_op_by_name(variant->op.row);

	THP_REQUIRE(op, "no operation %s", variant->op.row);
	THP_NEEDS(op->needs | THP_NEED_FAIL_PAGE |
		  (variant->op.zero[0] || variant->op.zero[2] ? THP_NEED_ZERO : 0));
	if (!thp_env_room((EDGE_THPS + 1) * thp_env.pmd))
		THP_SKIP("needs more memory");
}

FIXTURE_TEARDOWN_PARENT(edges)
{
	thp_teardown(_metadata);
}

/* Runs with @granted tables: missing tables have to be requested, and only then refused. */
static int edges_with(const struct starve_job *job, struct thp_why *why)
{
	const struct edge_run *run = job->arg;
	unsigned int granted = run->granted, tables = run->edge->tables;
	bool enough = thp_env.contract == THP_EAGER || granted == tables;
	struct starve_result *r = job->result;

	memset(r, 0, sizeof(*r));
	*run->partial = false;
	TRY(thp_inject_tables(why));
	TRY(starve_run(job, why));
	thp_inject_report("targeted", !enough, r->fired, "with %u of %u tables %s%s", granted,
			  tables, starve_outcome(r), *run->partial ? " (a part)" : "");
	if (enough && r->fired)
		return thp_why(why, -EPROTO, "asked for %ld tables more, there are %u edges",
			       r->fired, tables);
	if (enough && (r->ret || *run->partial))
		return thp_why(why, -EPROTO, "%s with all tables, expected success",
			       *run->partial ? "stopped" : thp_errno_name(r->ret));
	if (enough)
		return 0;
	if (r->fired <= 0)
		return thp_why(why, -EPROTO, "no further one was asked for");
	if (!r->ret && !*run->partial)
		return thp_why(why, -EPROTO, "succeeded");
	if (thp_env.counts_failures && r->failed_splits != r->fired)
		return thp_why(why, r->failed_splits > r->fired ? -EAGAIN : -EPROTO,
			       "thp_split_pmd_failed %+ld, %ld refused", r->failed_splits,
			       r->fired);
	return 0;
}

/* Runs without a table, with one too few, and with exactly one per edge. */
static int refuse_edges(const void *arg, struct thp_why *why)
{
	const struct starve_job *all = arg;
	struct edge_run run = *(const struct edge_run *)all->arg;
	struct starve_job job = *all;
	int ret;

	job.arg = &run;
	for (run.granted = 0; run.granted <= run.edge->tables; run.granted++) {
		ret = edges_with(&job, why);
		if (ret && !why->skip)
			return thp_why_from(why, ret, why, "with %u of %u tables", run.granted,
					    run.edge->tables);
		if (ret)
			return ret;
	}
	return 0;
}

TEST_F_TIMEOUT(edges, refused, 120)
{
	const struct edge_run run = { .edge = &variant->op, .partial = &self->partial };
	const struct starve_job job = {
		.op = split_op_by_name(variant->op.row), .by = &starve_tables,
		.victim = edge_victim,
		.arg = &run, .result = &self->result,
	};

	THP_SCENARIO(refuse_edges, &job);
}
