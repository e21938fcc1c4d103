// SPDX-License-Identifier: GPL-2.0
/*
 * locks: Locks that a split must not wait for.
 */

/*
 * Reclaim waits for rmap locks, which folio splits hold for write: a task that enters
 * reclaim with one of them held may wait for itself. Lock debugging reports that after the
 * two have met once. Without it the test would only swap out the memory of others.
 */
FIXTURE(locks) {
	struct race_report report;
	struct thp_why why;
};

FIXTURE_SETUP(locks)
{
	(void)sys_policy_local();
	thp_warm_up();
}

FIXTURE_TEARDOWN_PARENT(locks)
{
	thp_teardown(_metadata);
}

THP_COVERS(locks, reclaim_split, "race-split reclaim-unmap");
TEST_F(locks, reclaim_split)
{
	const struct race_set set = {
		.actors = { PREY, RECLAIM }, .needs = THP_NEED_SWAP | THP_NEED_COLLAPSE,
		.ms = 12 * RACE_MS, .min_hits = 20,
	};
	int i;

	for (i = 0; i < 2; i++)
		if (!i || nodes[i] >= 0)
			snprintf(node_reclaim[i], sizeof(node_reclaim[i]),
				 "/sys/devices/system/node/node%ld/reclaim",
				 nodes[i] < 0 ? 0 : nodes[i]);
	if (!thp_file_exists("/proc/lockdep_chains") || access(node_reclaim[0], W_OK))
		THP_SKIP("needs root, lock debugging and reclaim of a node (Linux 6.17)");
	/* Otherwise reclaim would stop at once if there is little page cache. */
	THP_REQUIRE_OK(thp_settings_set("/proc/sys/vm/min_slab_ratio", "0"), &self->why);
	/*
	 * Reclaims old memory first: otherwise the race would be over before its own memory is
	 * reclaimed.
	 */
	for (i = 0; i < 2 && node_reclaim[i][0]; i++)
		(void)thp_write_file(node_reclaim[i], "32M swappiness=max");
	THP_SKIP_IF(race_missing(&set));
	THP_REQUIRE_OK(run_race(&set, NULL, &self->report, &self->why), &self->why);
	if (!self->report.hits[0] || !self->report.hits[1])
		THP_SKIP("needs memory to swap out, and a huge page to split meanwhile");
}
