// SPDX-License-Identifier: GPL-2.0
/* collapse: MADV_COLLAPSE: the PTE table of the range becomes the deposit, or is freed. */

FIXTURE(collapse) {
	int unused;	/* the harness wants data */
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
	(void)self;
	THP_NEEDS(THP_NEED_COLLAPSE);
	thp_warm_up();
}

FIXTURE_TEARDOWN_PARENT(collapse)
{
	thp_teardown(_metadata);
}

/* Maps base pages, in the state that the variant names. */
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

/* MADV_COLLAPSE has to succeed, if a THP can be allocated. */
static int collapse_map(struct thp_map *m, struct thp_why *why)
{
	int ret = thp_map_collapse(m);

	if (ret == -ENOMEM)
		return thp_skip(why, THP_FRAGMENTED);
	return ret ? thp_why(why, ret, "MADV_COLLAPSE: %s", thp_errno_name(ret)) : 0;
}

enum sharer_step { SHARER_READY = 1, SHARER_END };

/* A child that maps the same pages, and checks its data at the end. */
static int sharer_child(struct thp_chan *chan, void *arg)
{
	struct thp_set *set = arg;

	thp_chan_post_parent(chan, SHARER_READY);
	thp_chan_await_parent(chan, SHARER_END);
	return thp_map_check(&set->map[0], 0, thp_env.nr, &chan->why);
}

static int sharer_start(struct thp_child *c, struct thp_set *set, struct thp_why *why)
{
	unsigned int i;
	int ret;

	ret = thp_child_start(c, sharer_child, set);
	if (!ret)
		ret = thp_child_await(c, SHARER_READY, THP_STEP_MS);
	if (ret)
		return thp_why(why, ret, "fork: %s", thp_errno_name(ret));
	/*
	 * Older kernels (6.1 and 6.12, but not 6.18) need one writable PTE (SCAN_PAGE_RO), and
	 * fork() has left none: a write copies one page, with the same contents.
	 */
	for (i = 0; i < set->n && thp_env.release < THP_RELEASE(6, 18); i++)
		thp_fill(thp_page(&set->map[i], 0), set->map[i].seed, 0);
	return 0;
}

static int sharer_end(struct thp_child *c, struct thp_why *why)
{
	thp_chan_post_child(c->chan, SHARER_END);
	return thp_child_join(c, THP_STEP_MS, why);
}

/* Counts from the collapse to the end of the range: its table is freed at one or the other. */
static int count_collapse(const void *arg, struct thp_why *why)
{
	const struct collapse_from *from = arg;
	struct thp_child child = { 0 };
	struct thp_meter meter;
	static struct thp_set set;
	unsigned int i;

	set.n = thp_env.unit;
	for (i = 0; i < set.n; i++)
		TRY(fill_small(&set.map[i], from, why));
	if (from->shared)
		TRY(sharer_start(&child, &set, why));
	TRY(thp_meter_start(&meter, 0, why));
	for (i = 0; i < set.n; i++)
		TRY(collapse_map(&set.map[i], why));
	/* An eager kernel keeps the table as the deposit, a lazy one frees it. */
	TRY(thp_meter_stop(&meter, set.n * thp_tables_collapse(), 0, "collapse", why));
	TRY(thp_map_expect(&set.map[0], THP_STATE_PMD, why));
	TRY(check_collapsed(&set.map[0], from->holes, why));
	if (from->shared)
		TRY(sharer_end(&child, why));
	for (i = 0; i < set.n; i++)
		TRY(thp_map_zap(&set.map[i]));
	TRY(thp_meter_read(&meter, why));
	return thp_meter_tables(&meter, -(long)set.n, "collapse and munmap", why);
}

THP_COVERS(collapse, counts, "collapse");
TEST_F(collapse, counts)
{
	(void)self;
	THP_SCENARIO(count_collapse, &variant->from);
}

/* Splits and collapses repeatedly: shows a table that is lost or freed twice. */
static int collapse_often(const void *arg, struct thp_why *why)
{
	const struct collapse_from *from = arg;
	long long first = 0, now;
	struct thp_map m;
	unsigned int i;
	int ret;

	TRY(fill_small(&m, from, why));
	for (i = 0; i < 8 * thp_env.scale; i++) {
		ret = collapse_map(&m, why);
		if (ret)
			return why->skip ? ret : thp_why_from(why, ret, why, "round %u", i);
		TRY(thp_map_expect(&m, THP_STATE_PMD, why));
		now = thp_obs_vmpte(0);
		if (!i)
			first = now;
		if (now != first)
			return thp_why(why, -EPROTO, "round %u: VmPTE %+lld B against the first", i,
				       now - first);
		TRY(thp_split_at(thp_page(&m, 1), why));
		TRY(thp_map_expect(&m, THP_STATE_PTE, why));
	}
	TRY(check_collapsed(&m, from->holes, why));
	thp_map_destroy(&m);
	return 0;
}

THP_COVERS(collapse, rounds, "collapse");
TEST_F(collapse, rounds)
{
	(void)self;
	THP_SCENARIO(collapse_often, &variant->from);
}

/* A page with an extra reference cannot be collapsed: everything stays unchanged. */
static int collapse_held(const void *arg, struct thp_why *why)
{
	const struct collapse_from *from = arg;
	struct thp_meter meter;
	struct thp_map m;
	struct iovec iov;

	TRY(fill_small(&m, from, why));
	if (pipe2(m.pipe, O_CLOEXEC))
		return thp_why(why, -errno, "pipe: %s", strerror(errno));
	iov.iov_base = thp_page(&m, 2);
	iov.iov_len = 1;
	if (vmsplice(m.pipe[1], &iov, 1, 0) != 1)
		return thp_why(why, -errno, "vmsplice: %s", strerror(errno));
	TRY(thp_meter_start(&meter, 0, why));
	if (!madvise(m.thp, thp_env.pmd, MADV_COLLAPSE))
		return thp_why(why, -EPROTO, "MADV_COLLAPSE of a pinned page succeeded");
	TRY(thp_meter_read(&meter, why));
	TRY(thp_meter_tables(&meter, 0, "failed collapse", why));
	TRY(thp_map_expect(&m, THP_STATE_PTE, why));
	TRY(check_collapsed(&m, from->holes, why));
	thp_map_destroy(&m);
	return 0;
}

THP_COVERS(collapse, pinned, "collapse-fails");
TEST_F(collapse, pinned)
{
	(void)self;
	THP_SCENARIO(collapse_held, &variant->from);
}
