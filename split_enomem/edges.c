// SPDX-License-Identifier: GPL-2.0
/*
 * edges: Ranges that begin in one THP and end in another, with some of the tables.
 */

static int edge_victim(struct thp_chan *chan, void *arg)
{
	struct job *job = arg;
	const struct edge_op *e = job->edge;
	struct trial *self = job->trial;
	static struct edge_before before;
	struct thp_why *why = &chan->why;
	static struct thp_map m;
	long reached;
	int ret;

	thp_warm_up();
	ret = thp_pin_cpu();
	if (ret)
		return thp_why(why, ret, "sched_setaffinity: %s", thp_errno_name(ret));
	ret = edges_new(&m, e, why);
	if (!ret && e->two_vmas &&
	    madvise(m.thp + (EDGE_THPS - 1) * thp_env.pmd, 2 * thp_env.pmd, MADV_DONTDUMP))
		ret = thp_why(why, -errno, "MADV_DONTDUMP: %s", strerror(errno));
	if (!ret && e->prepare)
		ret = e->prepare(&m, why);
	if (!ret)
		ret = check_bits(e, &m, 0, 0, why);
	if (ret)
		return thp_why(why, ret, "setup: %s", thp_errno_name(ret));
	before.huge = edges_huge(&m, &before.sm, why);

	thp_chan_post_parent(chan, 1);
	thp_chan_await_parent(chan, 2);
	ret = thp_inject_grant(job->granted);
	if (ret) {
		thp_chan_post_parent(chan, 3);
		return thp_why(why, ret, "PTE tables cannot be limited: %s", thp_errno_name(ret));
	}
	self->drained = thp_inject_drained();
	before.vmpte = thp_obs_vmpte(0);
	self->ret = edge_run(e, &m, edge_first(e));
	thp_chan_post_parent(chan, 3);
	thp_chan_await_parent(chan, 4);

	reached = self->ret ? edge_first(e) : edge_end(e);
	if (e->scan && !self->ret) {
		reached = check_regions(e, &m, edge_first(e), why);
		if (reached < 0)
			return reached;
	}
	self->partial = !self->ret && reached < (long)edge_end(e);
	if (self->ret || self->partial) {
		TRY(judge_refused(e, &m, &before, self->ret, job->granted, reached, why));
		ret = edge_run(e, &m, reached);
		if (ret)
			return thp_why(why, -EPROTO, "still returns %s with memory at hand",
				       thp_errno_name(ret));
		if (e->scan && check_regions(e, &m, reached, why) != (long)edge_end(e))
			return thp_why(why, -EPROTO, "no complete scan with memory at hand");
	}
	ret = judge_done(e, &m, &before, why);
	thp_map_destroy(&m);
	return ret;
}

FIXTURE(edges) {
	struct trial trial;
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

/* Base pages in between: the markers would take a table where a THP was zapped. */
THP_COVERS_VARIANT(edges, guard_install, refused, "zap-guard");
FIXTURE_VARIANT_ADD(edges, guard_install) {
	.op = { .row = "guard_install_mid", .tables = 2, .from = 1, .small_mid = true },
};

/* Where there is nothing to zap, a marker could be installed before the edge is met. */
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

/* The one table is for the first VMA: that the second needs none may not hide it. */
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
	const struct split_op *op = op_by_name(variant->op.row);

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

/* With no table, with one too few, and with just as many as there are edges. */
TEST_F_TIMEOUT(edges, refused, 120)
{
	const struct edge_op *e = &variant->op;
	bool lazy = thp_env.contract == THP_LAZY, enough;
	struct trial *t = &self->trial;
	struct job job = {
		.op = op_by_name(e->row), .edge = e, .fn = edge_victim, .injector = TARGETED,
		.trial = t,
	};
	struct thp_why why = { 0 };
	int ret;

	for (job.granted = 0; job.granted <= e->tables; job.granted++) {
		enough = !lazy || job.granted == e->tables;
		memset(t, 0, sizeof(*t));
		thp_why_clear(&why);
		THP_REQUIRE_OK(thp_inject_setup(true, 0, &why), &why);
		ret = watch(&job, &why);
		if (ret)
			thp_why_from(&why, ret, &why, "with %u of %u tables", job.granted,
				     e->tables);
		THP_REQUIRE_RESULT(ret, &why);
		thp_inject_report("targeted", !enough, t->fired, "with %u of %u tables %s%s",
				  job.granted, e->tables, outcome(t),
				  t->partial ? " (a part)" : "");
		if (enough) {
			THP_CHECK(!t->fired, "asked for %ld tables more, there are %u edges",
				  t->fired, e->tables);
			THP_CHECK(!t->ret && !t->partial, "%s with all tables, expected success",
				  t->partial ? "stopped" : thp_errno_name(t->ret));
			continue;
		}
		THP_CHECK(t->fired > 0, "with %u of %u tables: no further one was asked for",
			  job.granted, e->tables);
		THP_CHECK(t->ret || t->partial, "succeeded with %u of %u tables", job.granted,
			  e->tables);
		if (counts_failures())
			THP_CHECK(t->failed_splits == t->fired,
				  "with %u of %u tables: thp_split_pmd_failed %+ld, %ld refused",
				  job.granted, e->tables, t->failed_splits, t->fired);
	}
}
