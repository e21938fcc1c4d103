// SPDX-License-Identifier: GPL-2.0
/*
 * collapse: MADV_COLLAPSE: what becomes of the PTE table of the range.
 */

/* Collapse: the PTE table of the range becomes the deposit, or it is freed */

FIXTURE(collapse) {
	struct thp_set set;
};

struct collapse_from {
	bool split_before;	/* a THP that was split, not base pages from the start */
	bool holes;		/* every other page missing */
	bool shared;		/* mapped by a child as well */
};

FIXTURE_VARIANT(collapse) {
	struct collapse_from from;
};

FIXTURE_VARIANT_ADD(collapse, full) {
	.from = { .holes = false },
};

FIXTURE_VARIANT_ADD(collapse, holes) {
	.from = { .holes = true },
};

FIXTURE_VARIANT_ADD(collapse, after_split) {
	.from = { .split_before = true },
};

FIXTURE_VARIANT_ADD(collapse, shared) {
	.from = { .shared = true },
};

FIXTURE_SETUP(collapse)
{
	THP_NEEDS(THP_NEED_COLLAPSE);
	thp_warm_up();
}

FIXTURE_TEARDOWN_PARENT(collapse)
{
	thp_teardown(_metadata);
}

static int stay(struct thp_chan *chan, void *arg)
{
	struct thp_map *maps = arg;

	thp_chan_post_parent(chan, 1);
	thp_chan_await_parent(chan, 2);
	return thp_map_check(&maps[0], 0, thp_env.nr, &chan->why);
}

/* Base pages where the collapse starts, as the variant says. */
static int fill_small(struct thp_map *m, const struct collapse_from *v, struct thp_why *why)
{
	size_t i;

	if (v->split_before) {
		TRY(thp_map_new(m, THP_ANON, why));
		/* Protecting one page and undoing it splits the PMD and leaves one VMA. */
		TRY(thp_split_at(thp_page(m, 1), why));
		return thp_map_expect(m, THP_STATE_PTE, why);
	}
	TRY(thp_map_create(m, THP_SMALL, why));
	for (i = 0; i < thp_env.nr; i += 1 + v->holes)
		thp_fill(thp_page(m, i), m->seed, i);
	return madvise(m->area, m->area_len, MADV_HUGEPAGE) ?
		thp_why(why, -errno, "MADV_HUGEPAGE: %s", strerror(errno)) : 0;
}

static int check_collapsed(struct thp_map *m, bool holes, struct thp_why *why)
{
	size_t i;
	int ret = 0;

	for (i = 0; i < thp_env.nr && !ret; i++)
		ret = holes && i % 2 ? thp_check_zero(thp_page(m, i), 1, why) :
		      thp_check(thp_page(m, i), m->seed, i, 1, why);
	return ret;
}

THP_COVERS(collapse, counts, "collapse");
TEST_F(collapse, counts)
{
	struct thp_child child = { 0 };
	struct thp_why why = { 0 };
	struct thp_events e0, e1;
	long long a, b, c;
	unsigned int i;
	int ret;

	for (i = 0; i < thp_env.unit; i++)
		THP_REQUIRE_OK(fill_small(&self->set.map[i], &variant->from, &why), &why);
	if (variant->from.shared) {
		THP_REQUIRE_OK(thp_child_start(&child, stay, self->set.map), &why);
		THP_REQUIRE_OK(thp_child_await(&child, 1, THP_STEP_MS), &why);
		/*
		 * Older kernels (6.1 and 6.12 do, 6.18 does not) want one writable PTE
		 * (SCAN_PAGE_RO), and fork has left none: one page gets a copy, with the
		 * same contents.
		 */
		for (i = 0; i < thp_env.unit && thp_env.release < THP_RELEASE(6, 18); i++)
			thp_fill(thp_page(&self->set.map[i], 0), self->set.map[i].seed, 0);
	}
	a = thp_obs_vmpte(0);
	thp_obs_events(&e0);
	for (i = 0; i < thp_env.unit; i++) {
		ret = thp_map_collapse(&self->set.map[i]);
		if (ret == -ENOMEM)
			THP_SKIP(THP_FRAGMENTED);
		THP_REQUIRE(!ret, "MADV_COLLAPSE: %s", thp_errno_name(ret));
	}
	thp_obs_events(&e1);
	b = thp_obs_vmpte(0);
	THP_CHECK_OK(thp_map_expect(&self->set.map[0], THP_STATE_PMD, &why), &why);
	/* Eager keeps the table as the deposit, lazy has no use for it. */
	THP_CHECK_OK(expect_tables("collapse", b - a, thp_tables_collapse(), &why),
		     &why);
	THP_CHECK(e1.split_pmd == e0.split_pmd, "collapse split %lld PMDs",
		  (long long)(e1.split_pmd - e0.split_pmd));
	THP_CHECK_OK(check_collapsed(&self->set.map[0], variant->from.holes, &why), &why);
	if (variant->from.shared) {
		thp_chan_post_child(child.chan, 2);
		THP_CHECK_OK(thp_child_join(&child, THP_STEP_MS, &why), &why);
	}
	for (i = 0; i < thp_env.unit; i++)
		THP_CHECK_OK(thp_map_zap(&self->set.map[i]), &why);
	c = thp_obs_vmpte(0);
	THP_CHECK_OK(expect_tables("collapse and munmap", c - a, -1, &why), &why);
}

/* Split and collapse again and again: a table lost or freed twice shows. */
THP_COVERS(collapse, rounds, "collapse");
TEST_F(collapse, rounds)
{
	struct thp_map *m = &self->set.map[0];
	long long first = 0, now = 0;
	struct thp_why why = { 0 };
	unsigned int i;
	int ret;

	THP_REQUIRE_OK(fill_small(m, &variant->from, &why), &why);
	for (i = 0; i < 8 * thp_env.scale; i++) {
		ret = thp_map_collapse(m);
		if (ret == -ENOMEM)
			THP_SKIP(THP_FRAGMENTED);
		THP_REQUIRE(!ret, "round %u: MADV_COLLAPSE: %s", i, thp_errno_name(ret));
		THP_CHECK_OK(thp_map_expect(m, THP_STATE_PMD, &why), &why);
		now = thp_obs_vmpte(0);
		if (!i)
			first = now;
		THP_REQUIRE(now == first, "round %u: VmPTE %+lld B against the first", i,
			    now - first);
		THP_CHECK_OK(thp_split_at(thp_page(m, 1), &why), &why);
		THP_CHECK_OK(thp_map_expect(m, THP_STATE_PTE, &why), &why);
	}
	THP_CHECK_OK(check_collapsed(m, variant->from.holes, &why), &why);
}

/* A page that somebody holds cannot be collapsed: everything stays as it was. */
THP_COVERS(collapse, pinned, "collapse-fails");
TEST_F(collapse, pinned)
{
	struct thp_map *m = &self->set.map[0];
	struct thp_why why = { 0 };
	struct iovec iov;
	long long a, b;
	long got;
	int ret;

	THP_REQUIRE_OK(fill_small(m, &variant->from, &why), &why);
	THP_REQUIRE(!pipe2(m->pipe, O_CLOEXEC), "pipe: %s", strerror(errno));
	iov.iov_base = thp_page(m, 2);
	iov.iov_len = 1;
	THP_REQUIRE(vmsplice(m->pipe[1], &iov, 1, 0) == 1, "vmsplice: %s", strerror(errno));
	a = thp_obs_vmpte(0);
	ret = madvise(m->thp, thp_env.pmd, MADV_COLLAPSE) ? -errno : 0;
	b = thp_obs_vmpte(0);
	THP_CHECK(ret, "MADV_COLLAPSE of a pinned page succeeded");
	THP_CHECK(thp_env_tables(b - a, &got) && !got,
		  "failed collapse: %+ld tables (%+lld B), expected +0", got, b - a);
	THP_CHECK_OK(thp_map_expect(m, THP_STATE_PTE, &why), &why);
	THP_CHECK_OK(check_collapsed(m, variant->from.holes, &why), &why);
}
