// SPDX-License-Identifier: GPL-2.0
/*
 * advice: MADV_WIPEONFORK and MADV_DONTFORK.
 */

FIXTURE(advice) {
	int unused;
};

FIXTURE_SETUP(advice)
{
	thp_warm_up();
}

FIXTURE_TEARDOWN_PARENT(advice)
{
	thp_teardown(_metadata);
}

/* The child starts with empty memory, the parent keeps its data and its PMDs. */
static int wipe_on_fork(const void *arg, struct thp_why *why)
{
	struct thp_peer *p = thp_peers;
	struct thp_meter m;

	(void)arg;
	TRY(thp_group_new(THP_ANON, 0, why));
	TRY(thp_peers_prepare(1, why));
	if (madvise(thp_group.base, thp_group.n * thp_env.pmd, MADV_WIPEONFORK))
		return thp_why(why, -errno, "MADV_WIPEONFORK: %s", strerror(errno));
	TRY(thp_meter_start(&m, 0, why));
	TRY(thp_peer_start(p, why));
	TRY(thp_meter_stop(&m, 0, 0, "fork with MADV_WIPEONFORK", why));
	TRY(thp_peer_order(p, THP_ORDER_ZERO, 0, 0, NULL, why));
	TRY(thp_peer_order(p, THP_ORDER_FILL, SEED_CHILD, 0, NULL, why));
	TRY(child_sees(p, THP_STATE_UNKNOWN, why));
	/* Nothing is shared: the parent's write takes no table. */
	TRY(sole_owner_writes("write of what is not shared", why));
	TRY(thp_peer_end(p, why));
	return thp_group_finish(why);
}

THP_COVERS(advice, wipeonfork, "fork-wipeonfork");
TEST_F(advice, wipeonfork)
{
	THP_SCENARIO(wipe_on_fork, NULL);
}

/* A child does not inherit half of a THP: the advice splits, and the child gets a table. */
static int dontfork_half(const void *arg, struct thp_why *why)
{
	size_t half = thp_env.pmd / 2, page = thp_env.nr / 4;
	struct thp_peer *p = thp_peers;
	struct thp_meter m;
	long long freed;
	unsigned int i;

	(void)arg;
	TRY(thp_group_new(THP_ANON, 0, why));
	TRY(thp_peers_prepare(1, why));
	TRY(thp_meter_start(&m, 0, why));
	for (i = 0; i < thp_group.n; i++)
		if (madvise(thp_group.map[i].thp + half, half, MADV_DONTFORK))
			return thp_why(why, -errno, "MADV_DONTFORK: %s", strerror(errno));
	TRY(thp_meter_stop(&m, thp_group_split(), thp_group.n, "MADV_DONTFORK of one half", why));
	TRY(thp_meter_start(&m, 0, why));
	TRY(thp_peer_start(p, why));
	TRY(thp_meter_stop(&m, 0, 0, "fork of split THPs", why));
	TRY(parent_sees(THP_STATE_PTE, why));
	thp_group_write(page, SEED_PARENT);
	/* One THP of the group is enough to show that the child has a table. */
	TRY(thp_peer_order(p, THP_ORDER_ZAP, 0, thp_group.n * thp_env.pmd, &freed, why));
	if (freed != (long long)(thp_group.n * thp_env.table))
		return thp_why(why, -EPROTO, "child frees %lld B of tables, expected %zu", freed,
			       thp_group.n * thp_env.table);
	TRY(thp_peer_end(p, why));
	return thp_group_finish(why);
}

THP_COVERS(advice, dontfork_half, "fork-dontfork split-madvise-flags");
TEST_F(advice, dontfork_half)
{
	THP_SCENARIO(dontfork_half, NULL);
}
