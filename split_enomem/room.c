// SPDX-License-Identifier: GPL-2.0
/*
 * What a full memory group has to refuse, and what not. The table of a split is
 * charged like any other (GFP_PGTABLE_USER, try_charge_memcg()): where reclaim can make
 * room, nobody gets ENOMEM; where it cannot, nobody gets beyond the limit, or into the
 * reserves of the kernel.
 *
 * The group is filled with base pages until the next one cannot be charged, from the
 * per-CPU stock neither. For the tests in which there is memory to be had, MADV_FREE
 * makes these pages reclaimable without swap and without a file system.
 */

#define ROOM_THPS	16

FIXTURE(room) {
	struct thp_cg cg;
	struct thp_child child;
};

/*
 * The first two allocate a VMA before the table, and may be refused that. What they
 * reclaim for it leaves room for tables; the others allocate nothing else.
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
	const struct split_op *op = op_by_name(variant->row);

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

/* Steps of child and parent. */
enum { ROOM_READY = 1, ROOM_JOINED, ROOM_MAPPED, ROOM_LIMITED, ROOM_DONE, ROOM_FED };

struct room {
	const struct split_op *op;
	bool reclaimable;
};

/* Uses the group up. The failure itself makes other CPUs give back their stocks. */
static int room_fill(struct thp_burner *burner, struct thp_why *why)
{
	int i, ret = 0;

	for (i = 0; i < 5 && !ret; i++) {
		ret = thp_burner_burn(burner);
		thp_sleep_ms(20);
	}
	return ret ? thp_why(why, ret, "the limit did not bite: %s", thp_errno_name(ret)) : 0;
}

/* The page in the middle is changed or not, the others are as they were. */
static int room_contents(const struct thp_map *m, struct thp_why *why)
{
	size_t mid = thp_env.nr / 2;
	int ret = thp_map_check(m, 0, mid, why);

	return ret ? ret : thp_map_check(m, mid + 1, thp_env.nr - mid - 1, why);
}

static int room_child(struct thp_chan *chan, void *arg)
{
	static struct thp_map maps[ROOM_THPS];
	static struct thp_burner burner;
	struct thp_why *why = &chan->why;
	const struct room *room = arg;
	int i, ret, filled;

	/* Nobody may be killed here: see victim(). */
	ret = thp_write_file("/proc/self/oom_score_adj", "-1000");
	if (ret && thp_env.memcg == 2)
		return thp_why(why, ret, "oom_score_adj: %s", thp_errno_name(ret));
	thp_warm_up();
	thp_chan_post_parent(chan, ROOM_READY);
	thp_chan_await_parent(chan, ROOM_JOINED);
	for (i = 0; i < ROOM_THPS; i++) {
		ret = thp_map_new(&maps[i], THP_ANON, why);
		if (!ret)
			ret = split_prepare(room->op, &maps[i], why);
		if (ret)
			return ret;
	}
	ret = thp_burner_create(&burner);
	if (!ret)
		ret = thp_pin_cpu();
	if (ret)
		return thp_why(why, ret, "burner: %s", thp_errno_name(ret));
	thp_chan_post_parent(chan, ROOM_MAPPED);
	thp_chan_await_parent(chan, ROOM_LIMITED);
	filled = room_fill(&burner, why);
	if (!filled && room->reclaimable &&
	    madvise(burner.base, burner.pages * thp_env.page, MADV_FREE))
		filled = thp_why(why, -errno, "MADV_FREE: %s", strerror(errno));
	for (i = 0; i < ROOM_THPS && !filled; i++)
		chan->val[i] = split_run(room->op, &maps[i]);
	thp_chan_post_parent(chan, ROOM_DONE);
	thp_chan_await_parent(chan, ROOM_FED);
	for (i = 0; i < ROOM_THPS && !filled; i++) {
		ret = thp_map_expect(&maps[i], chan->val[i] ? THP_STATE_PMD : THP_STATE_PTE, why);
		if (!ret)
			ret = room_contents(&maps[i], why);
		if (ret)
			return ret;
	}
	return filled;
}

/* Runs the child; @over: what it took the group beyond its limit, in bytes. */
static int room_run(struct thp_cg *cg, struct thp_child *c, const struct room *room,
		    long long *over, struct thp_why *why)
{
	long long limit;
	int ret;

	ret = thp_cg_create(cg, "room", why);
	if (!ret)
		ret = thp_child_start(c, room_child, (void *)room);
	if (!ret)
		ret = thp_child_await(c, ROOM_READY, THP_STEP_MS);
	if (!ret)
		ret = thp_cg_join(cg, c->pid);
	if (ret)
		return thp_why(why, ret, "a child in a group: %s", thp_errno_name(ret));
	thp_chan_post_child(c->chan, ROOM_JOINED);
	ret = thp_child_await(c, ROOM_MAPPED, THP_STEP_MS);
	if (ret)
		return thp_child_join(c, 0, why) ? : -EPROTO;
	/* Within reach of the burner, and a limit that the group has kept so far. */
	limit = (thp_cg_usage(cg) + (1 << 20)) & -(long long)thp_env.page;
	ret = thp_cg_limit(cg, limit);
	if (ret)
		return thp_why(why, ret, "the limit cannot be set: %s", thp_errno_name(ret));
	thp_chan_post_child(c->chan, ROOM_LIMITED);
	ret = thp_child_await(c, ROOM_DONE, THP_STEP_MS);
	*over = thp_cg_usage(cg) - limit;
	(void)thp_cg_limit(cg, THP_CG_MAX);
	thp_chan_post_child(c->chan, ROOM_FED);
	return ret ? thp_why(why, ret, "the child at the limit: %s", thp_errno_name(ret)) : 0;
}

/* The kernel may exceed a limit by a page here and there, not by one per split. */
static long long room_slack(void)
{
	long long tables = ROOM_THPS / 4 * (long long)thp_env.table;

	return tables > 2 * (long long)thp_env.page ? tables : 2 * (long long)thp_env.page;
}

/* Reclaim makes room: the split is not refused. */
THP_COVERS(room, reclaimed, "split-munmap split-mprotect zap-dontneed protect-uffd-wp");
TEST_F_TIMEOUT(room, reclaimed, 90)
{
	struct thp_child *c = &self->child;
	struct thp_why why = { 0 };
	struct room room = { op_by_name(variant->row), true };
	long long over;
	int i;

	if (!thp_env_room(2 * ROOM_THPS * thp_env.pmd))
		THP_SKIP("needs more free memory");
	THP_REQUIRE_OK(room_run(&self->cg, c, &room, &over, &why), &why);
	for (i = 0; i < ROOM_THPS; i++)
		THP_CHECK(!c->chan->val[i],
			  "%s: %s in a group full of reclaimable pages, expected success",
			  variant->row, thp_errno_name(c->chan->val[i]));
	THP_CHECK(over <= room_slack(), "%d splits took the group %lld B over its limit",
		  ROOM_THPS, over);
	THP_CHECK_OK(thp_child_join(c, THP_STEP_MS, &why), &why);
}

/* There is nothing to reclaim: the limit holds, whoever splits. */
THP_COVERS(room, none, "split-munmap split-mprotect zap-dontneed protect-uffd-wp");
TEST_F_TIMEOUT(room, none, 90)
{
	struct thp_child *c = &self->child;
	struct thp_why why = { 0 };
	struct room room = { op_by_name(variant->row), false };
	int i, refused = 0;
	long long over;

	if (!thp_env_room(2 * ROOM_THPS * thp_env.pmd))
		THP_SKIP("needs more free memory");
	THP_REQUIRE_OK(room_run(&self->cg, c, &room, &over, &why), &why);
	for (i = 0; i < ROOM_THPS; i++) {
		refused += !!c->chan->val[i];
		THP_CHECK(!c->chan->val[i] || c->chan->val[i] == -ENOMEM,
			  "%s: %s in a full group, expected ENOMEM or success", variant->row,
			  thp_errno_name(c->chan->val[i]));
	}
	printf("# room: %d of %d refused, usage is %+lld B from the limit\n", refused, ROOM_THPS,
	       over);
	THP_CHECK(over <= room_slack(),
		  "%d splits, of which %d were refused, took the group %lld B over its limit",
		  ROOM_THPS, refused, over);
	THP_CHECK_OK(thp_child_join(c, THP_STEP_MS, &why), &why);
}
