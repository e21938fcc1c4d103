// SPDX-License-Identifier: GPL-2.0
/*
 * device: fork() of memory that is on a device.
 */

/* Memory that is on a device: a PMD entry that is not present. */
FIXTURE(device) {
	int unused;
};

FIXTURE_SETUP(device)
{
	if (access("/dev/hmm_dmirror0", R_OK | W_OK))
		THP_SKIP("needs root and CONFIG_TEST_HMM");
	thp_warm_up();
}

FIXTURE_TEARDOWN_PARENT(device)
{
	thp_teardown(_metadata);
}

/* Migrates the group to the device, and SKIPs if a THP is split on its way. */
static int group_to_device(struct thp_why *why)
{
	struct thp_meter m;
	uint64_t entry = 0;
	unsigned int i;
	int ret = 0;

	TRY(thp_meter_start(&m, 0, why));
	for (i = 0; i < thp_group.n && !ret; i++)
		ret = thp_hmm_to_device(thp_group.map[i].thp, thp_env.pmd);
	if (ret)
		return thp_why(why, ret, "migration to the device: %s", thp_errno_name(ret));
	TRY(thp_meter_read(&m, why));
	ret = thp_obs_pagemap(thp_group.base, &entry, 1);
	if (ret)
		return thp_why(why, ret, "pagemap: %s", thp_errno_name(ret));
	if (!(entry & THP_PM_SWAPPED) || m.ev[1].split_pmd != m.ev[0].split_pmd)
		return thp_skip(why, "needs THPs in device memory (Linux 6.19)");
	return thp_meter_expect(&m, 0, 0, "migration to the device", why);
}

/* Counts and unmaps before any read, because a read would migrate the memory back. */
static int zap_at_once(struct thp_chan *chan, void *arg)
{
	long long before;
	long got;

	(void)arg;
	thp_obs_vmpte(0);
	before = thp_obs_vmpte(0);
	if (munmap(thp_group.base, thp_group.n * thp_env.pmd))
		return thp_why(&chan->why, -errno, "munmap: %s", strerror(errno));
	before -= thp_obs_vmpte(0);
	if (!thp_env_tables(before, &got) || got != thp_group_mapped())
		return thp_why(&chan->why, -EPROTO,
			       "child frees %lld B of tables with %u THPs on the device, expected %ld tables",
			       before, thp_group.n, thp_group_mapped());
	return 0;
}

static int fork_device(const void *arg, struct thp_why *why)
{
	struct thp_peer *p = thp_peers;
	struct thp_meter m;

	(void)arg;
	TRY(thp_hmm_open(why));
	TRY(thp_group_new(THP_ANON, 0, why));
	TRY(thp_peers_prepare(2, why));
	TRY(group_to_device(why));
	TRY(thp_meter_start(&m, 0, why));
	if (thp_child_start(&p[0].child, zap_at_once, NULL))
		return thp_why(why, -errno, "fork: %s", strerror(errno));
	TRY(thp_meter_stop(&m, 0, 0, "fork of memory on the device", why));
	TRY(thp_child_join(&p[0].child, THP_STEP_MS, why));
	/* This child reads all of it, which migrates it back. */
	TRY(thp_peer_start(&p[1], why));
	TRY(child_sees(&p[1], THP_STATE_UNKNOWN, why));
	TRY(thp_group_check(why));
	TRY(thp_peer_order(&p[1], THP_ORDER_WRITE, middle(), SEED_CHILD, NULL, why));
	thp_group_write(0, SEED_PARENT);
	TRY(child_sees(&p[1], THP_STATE_UNKNOWN, why));
	TRY(thp_peer_end(&p[1], why));
	return thp_group_finish(why);
}

THP_COVERS(device, fork, "fork-device-private");
TEST_F(device, fork)
{
	THP_SCENARIO(fork_device, NULL);
}
