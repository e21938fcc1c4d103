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

/* The interface of CONFIG_TEST_HMM. */
struct hmm_cmd {
	__u64 addr;
	__u64 ptr;
	__u64 npages;
	__u64 cpages;
	__u64 faults;
};

#define HMM_TO_DEVICE	_IOWR('H', 0x02, struct hmm_cmd)

/* Counts and unmaps before anything is read: reading would bring the memory back. */
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
	struct hmm_cmd cmd = { 0 };
	struct thp_meter m;
	uint64_t entry = 0;
	size_t len;
	char *copy;
	int ret;

	(void)arg;
	extra_fd = open("/dev/hmm_dmirror0", O_RDWR | O_CLOEXEC);
	if (extra_fd < 0)
		return thp_why(why, -errno, "/dev/hmm_dmirror0: %s", strerror(errno));
	ret = thp_group_new(THP_ANON, 0, why);
	if (!ret)
		ret = thp_peers_prepare(2, why);
	if (ret)
		return ret;
	len = thp_group.n * thp_env.pmd;
	copy = mmap(NULL, len, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	if (copy == MAP_FAILED)
		return thp_why(why, -errno, "mmap: %s", strerror(errno));
	cmd.addr = (uintptr_t)thp_group.base;
	cmd.ptr = (uintptr_t)copy;
	cmd.npages = len / thp_env.page;
	ret = thp_meter_start(&m, 0, why);
	if (!ret && ioctl(extra_fd, HMM_TO_DEVICE, &cmd))
		ret = thp_why(why, -errno, "migration to the device: %s", strerror(errno));
	if (!ret)
		ret = thp_meter_read(&m, why);
	if (!ret)
		ret = thp_obs_pagemap(thp_group.base, &entry);
	if (!ret && (!(entry & THP_PM_SWAPPED) || m.ev[1].split_pmd != m.ev[0].split_pmd))
		ret = thp_skip(why, "needs THPs in device memory (Linux 6.19)");
	if (!ret)
		ret = thp_meter_expect(&m, 0, 0, "migration to the device", why);
	if (!ret)
		ret = thp_meter_start(&m, 0, why);
	if (!ret && thp_child_start(&p[0].child, zap_at_once, NULL))
		ret = thp_why(why, -errno, "fork: %s", strerror(errno));
	if (!ret)
		ret = thp_meter_stop(&m, 0, 0, "fork of memory on the device", why);
	if (!ret)
		ret = thp_child_join(&p[0].child, THP_STEP_MS, why);
	/* This one reads all of it, which brings it back. */
	if (!ret)
		ret = thp_peer_start(&p[1], why);
	if (!ret)
		ret = child_sees(&p[1], THP_STATE_UNKNOWN, why);
	if (!ret)
		ret = thp_group_check(why);
	if (!ret)
		ret = thp_peer_order(&p[1], THP_ORDER_WRITE, middle(), SEED_CHILD, NULL, why);
	if (!ret)
		thp_group_write(0, SEED_PARENT);
	if (!ret)
		ret = child_sees(&p[1], THP_STATE_UNKNOWN, why);
	if (!ret)
		ret = thp_peer_end(&p[1], why);
	munmap(copy, len);
	return ret ? ret : thp_group_finish(why);
}

THP_COVERS(device, fork, "fork-device-private");
TEST_F(device, fork)
{
	THP_SCENARIO(fork_device, NULL);
}
