// SPDX-License-Identifier: GPL-2.0
/*
 * Which splits a full memory group has to refuse. The table of a split is charged like any
 * other (GFP_PGTABLE_USER, try_charge_memcg()): if reclaim can make room, no split fails
 * with ENOMEM; if it cannot, no split exceeds the limit of the group, or takes a page from
 * the reserves of the kernel.
 *
 * The child fills the group with base pages until the next one cannot be charged, not even
 * from the per-CPU stock. For the tests in which reclaim makes room, MADV_FREE makes these
 * pages reclaimable without swap and without a file system.
 */

#define ROOM_THPS	16

FIXTURE(room) {
	struct thp_cg cg;
};

/*
 * The first two allocate a VMA before the table, which may be refused. The memory reclaimed
 * for the VMA leaves room for tables; the others allocate nothing else.
 */
FIXTURE_VARIANT(room) {
	const char *row;	/* of lib/ops/op_*.c */
};

FIXTURE_VARIANT_ADD(room, munmap) { .row = "munmap_mid" };
FIXTURE_VARIANT_ADD(room, mprotect) { .row = "mprotect_mid" };
FIXTURE_VARIANT_ADD(room, dontneed) { .row = "dontneed_mid" };
FIXTURE_VARIANT_ADD(room, uffd_wp) { .row = "uffd_wp_mid" };

FIXTURE_SETUP(room)
{
	const struct split_op *op = split_op_by_name(variant->row);

	(void)self;
	THP_REQUIRE(op, "no operation %s", variant->row);
	THP_NEEDS(op->needs | THP_NEED_MEMCG | THP_NEED_POPULATE);
}

FIXTURE_TEARDOWN_PARENT(room)
{
	struct thp_why why = { 0 };

	THP_CHECK_OK(thp_cg_destroy(&self->cg), &why);
	thp_teardown(_metadata);
}

enum room_step { ROOM_MAPPED = GROUP_JOINED + 1, ROOM_LIMITED, ROOM_DONE, ROOM_FED };

struct room_case {
	const struct split_op *op;
	bool reclaimable;	/* the memory that fills the group */
	struct thp_cg *cg;
};

/* The results of the child. */
struct room_told {
	int ret[ROOM_THPS];	/* of the operations */
};

/* The page in the middle is changed or not, the other pages are unchanged. */
static int room_contents(const struct thp_map *m, struct thp_why *why)
{
	size_t mid = thp_env.nr / 2;
	int ret = thp_map_check(m, 0, mid, why);

	return ret ? ret : thp_map_check(m, mid + 1, thp_env.nr - mid - 1, why);
}

/* Maps THPs, ready for the operation, and a burner; all charged to the group of the child. */
static int room_prepare(const struct split_op *op, struct thp_map *maps,
			struct thp_burner *burner, struct thp_why *why)
{
	int i, ret;

	for (i = 0; i < ROOM_THPS; i++) {
		TRY(thp_map_new(&maps[i], THP_ANON, why));
		TRY(split_prepare(op, &maps[i], why));
	}
	ret = thp_burner_create(burner);
	if (!ret)
		ret = thp_pin_cpu();
	return ret ? thp_why(why, ret, "burner: %s", thp_errno_name(ret)) : 0;
}

static int room_child(struct thp_chan *chan, void *arg)
{
	struct room_told *told = thp_chan_data(chan, struct room_told);
	static struct thp_map maps[ROOM_THPS];
	static struct thp_burner burner;
	struct thp_why *why = &chan->why;
	const struct room_case *r = arg;
	int i, full;

	TRY(thp_cg_spare_self(why));
	thp_warm_up();
	group_await(chan);
	TRY(room_prepare(r->op, maps, &burner, why));
	thp_chan_post_parent(chan, ROOM_MAPPED);
	thp_chan_await_parent(chan, ROOM_LIMITED);
	full = fill_group(&burner, why);
	if (!full && r->reclaimable &&
	    madvise(burner.base, burner.pages * thp_env.page, MADV_FREE))
		full = thp_why(why, -errno, "MADV_FREE: %s", strerror(errno));
	for (i = 0; i < ROOM_THPS && !full; i++)
		told->ret[i] = split_run(r->op, &maps[i]);
	thp_chan_post_parent(chan, ROOM_DONE);
	thp_chan_await_parent(chan, ROOM_FED);
	for (i = 0; i < ROOM_THPS && !full; i++) {
		TRY(thp_map_expect(&maps[i], told->ret[i] ? THP_STATE_PMD : THP_STATE_PTE, why));
		TRY(room_contents(&maps[i], why));
	}
	return full;
}

/* Runs the child; @over: by how many bytes it exceeded the limit of its group. */
static int room_run(const struct room_case *r, struct room_told *told, long long *over,
		    struct thp_why *why)
{
	struct thp_child c = { 0 };
	long long limit;
	int ret;

	TRY(thp_cg_create(r->cg, "room", why));
	TRY(group_start(&c, r->cg, room_child, r));
	ret = thp_child_await(&c, ROOM_MAPPED, THP_STEP_MS);
	if (ret)
		return thp_child_join(&c, 0, why) ? : -EPROTO;
	limit = thp_cg_limit_near(r->cg);
	if (limit < 0)
		return thp_why(why, limit, "the limit cannot be set: %s", thp_errno_name(limit));
	thp_chan_post_child(c.chan, ROOM_LIMITED);
	ret = thp_child_await(&c, ROOM_DONE, THP_STEP_MS);
	*over = thp_cg_usage(r->cg) - limit;
	(void)thp_cg_limit(r->cg, THP_CG_MAX);
	thp_chan_post_child(c.chan, ROOM_FED);
	*told = *thp_chan_data(c.chan, struct room_told);
	if (ret && ret != -ECHILD)
		return thp_why(why, ret, "the child at the limit: %s", thp_errno_name(ret));
	return thp_child_join(&c, THP_STEP_MS, why) ? : ret;
}

/* With reclaimable memory no split is refused. Without, the limit holds. */
static int splits_keep_limit(const void *arg, struct thp_why *why)
{
	const struct room_case *r = arg;
	struct room_told told;
	int i, refused = 0;
	long long over = 0;

	if (!thp_env_room(2 * ROOM_THPS * thp_env.pmd))
		return thp_skip(why, "needs more free memory");
	TRY(room_run(r, &told, &over, why));
	for (i = 0; i < ROOM_THPS; i++) {
		if (r->reclaimable && told.ret[i])
			return thp_why(why, -EPROTO,
				       "%s: %s in a group full of reclaimable pages, expected success",
				       r->op->name, thp_errno_name(told.ret[i]));
		if (told.ret[i] && told.ret[i] != -ENOMEM)
			return thp_why(why, -EPROTO,
				       "%s: %s in a full group, expected ENOMEM or success",
				       r->op->name, thp_errno_name(told.ret[i]));
		refused += !!told.ret[i];
	}
	printf("# room: %d of %d refused, usage is %+lld B from the limit\n", refused, ROOM_THPS,
	       over);
	if (over > limit_slack(ROOM_THPS))
		return thp_why(why, -EPROTO,
			       "%d splits, of which %d were refused, took the group %lld B over its limit",
			       ROOM_THPS, refused, over);
	return 0;
}

THP_COVERS_VARIANT(room, munmap, reclaimed, "split-munmap");
THP_COVERS_VARIANT(room, mprotect, reclaimed, "split-mprotect");
THP_COVERS_VARIANT(room, dontneed, reclaimed, "zap-dontneed");
THP_COVERS_VARIANT(room, uffd_wp, reclaimed, "protect-uffd-wp");
TEST_F_TIMEOUT(room, reclaimed, 90)
{
	const struct room_case r = {
		.op = split_op_by_name(variant->row), .reclaimable = true, .cg = &self->cg,
	};

	THP_SCENARIO(splits_keep_limit, &r);
}

/* There is nothing to reclaim. */
THP_COVERS_VARIANT(room, munmap, none, "split-munmap");
THP_COVERS_VARIANT(room, mprotect, none, "split-mprotect");
THP_COVERS_VARIANT(room, dontneed, none, "zap-dontneed");
THP_COVERS_VARIANT(room, uffd_wp, none, "protect-uffd-wp");
TEST_F_TIMEOUT(room, none, 90)
{
	const struct room_case r = { .op = split_op_by_name(variant->row), .cg = &self->cg };

	THP_SCENARIO(splits_keep_limit, &r);
}
