// SPDX-License-Identifier: GPL-2.0
/*
 * fork() and copy-on-write of PMD mappings: what a child costs in page tables,
 * who sees whose writes, and what happens when a mapping cannot be shared.
 */
#include "thp_harness.h"

FIXTURE(fork_copy) {
	struct thp_map map;
};

FIXTURE_SETUP(fork_copy)
{
	thp_warm_up();
}

FIXTURE_TEARDOWN_PARENT(fork_copy)
{
	thp_teardown(_metadata);
}

static int child_tables(struct thp_chan *chan, void *arg)
{
	struct thp_map *m = arg;

	chan->val[0] = thp_obs_vmpte(0);
	munmap(m->thp, thp_env.pmd);
	chan->val[1] = thp_obs_vmpte(0);
	return 0;
}

/* An eager kernel deposits a table in the child, too: it goes with the THP. */
THP_COVERS(fork_copy, anon_child_tables, "fork-anon zap-pmd");
TEST_F(fork_copy, anon_child_tables)
{
	long want = thp_env.contract == THP_EAGER ? 1 : 0, got;
	struct thp_child child = { 0 };
	struct thp_why why = { "" };

	THP_REQUIRE_OK(thp_map_new(&self->map, THP_ANON, &why), &why);
	THP_REQUIRE_OK(thp_child_start(&child, child_tables, &self->map), &why);
	if (!thp_child_await(&child, 1, 0))
		THP_FAIL("unexpected step");
	while (child.pid && thp_child_await(&child, 1, 5000) == -ETIMEDOUT)
		thp_child_kill(&child);
	THP_CHECK(thp_env_tables(child.chan->val[0] - child.chan->val[1], &got) && got == want,
		  "child frees %lld B of tables with the THP, expected %ld tables",
		  child.chan->val[0] - child.chan->val[1], want);
	THP_CHECK_OK(thp_child_join(&child, 5000, &why), &why);
	thp_map_destroy(&self->map);
}

THP_MAIN("thp_fork_copy");
