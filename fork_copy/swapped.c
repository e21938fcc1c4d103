// SPDX-License-Identifier: GPL-2.0
/*
 * swapped: fork() of a THP in swap that fails half way, in the page tables or in the counts
 * of the swap slots: the parent has lost nothing, and no slot keeps a count.
 */
FIXTURE(swapped) {
	int unused;
};

FIXTURE_SETUP(swapped)
{
	(void)self;
	THP_NEEDS(THP_NEED_SWAP | THP_NEED_PMD_SWAP | THP_NEED_FAIL_NTH);
	thp_warm_up();
}

FIXTURE_TEARDOWN_PARENT(swapped)
{
	thp_teardown(_metadata);
}

/*
 * With the parent as many users as the four bits hold that a slot has for its count
 * (SWP_TB_COUNT_MAX - 1): the next fork() has to allocate a table of larger counts.
 */
#define SWAPPED_SHARERS	13

static struct thp_child swapped_child[SWAPPED_SHARERS];

static int swapped_wait(struct thp_chan *chan, void *arg)
{
	(void)arg;
	thp_chan_await_parent(chan, 1);
	return thp_group_check(&chan->why);
}

static void swapped_kill(int n)
{
	while (n--)
		thp_child_kill(&swapped_child[n]);
}

/* fork() while allocation @nth of it fails; 1 if that happened, 0 if there are fewer. */
static int swapped_shot(int nth_fd, int nth, struct thp_why *why)
{
	struct thp_meter m;
	int err, fired;
	bool ok;

	TRY(thp_meter_start(&m, 0, why));
	if (thp_inject_nth_arm(nth_fd, nth))
		return thp_why(why, -EIO, "fail-nth cannot be armed");
	err = fork_and_reap(why, &ok);
	fired = thp_inject_nth_disarm(nth_fd);
	TRY(thp_meter_read(&m, why));
	if (fired < 0)
		return thp_why(why, fired, "fail-nth cannot be disarmed");
	if (err && (err != ENOMEM || !fired))
		return thp_why(why, -EPROTO, "fork, allocation %d failing: %s, expected ENOMEM",
			       nth, thp_errno_name(err));
	if (!err && !ok)
		return -EPROTO;
	/* Events of children that read are theirs; the parent has gained nothing. */
	TRY(thp_meter_tables(&m, 0, "fork that may fail", why));
	TRY(thp_group_expect(THP_STATE_PMD_SWAP, why));
	return fired;
}

static int swapped_sweep(int sharers, int nth_fd, struct thp_why *why)
{
	int nth, fired = 1, failures = 0, i;

	TRY(thp_group_new(THP_SWAPPED, 0, why));
	for (i = 0; i < sharers; i++)
		TRY(thp_child_start(&swapped_child[i], swapped_wait, NULL));
	for (nth = 1; nth < SWEEP_MAX && fired > 0; nth++) {
		fired = swapped_shot(nth_fd, nth, why);
		failures += fired > 0;
	}
	if (fired < 0)
		return fired;
	thp_inject_report("fail-nth", false, failures, "%d sharers", sharers);
	if (fired || !failures)
		return thp_why(why, -EPROTO, "fork makes more than %d allocations, or none",
			       SWEEP_MAX);
	/* The counts are right: everybody reads, and the slots come back. */
	for (i = 0; i < sharers; i++) {
		thp_chan_post_child(swapped_child[i].chan, 1);
		TRY(thp_child_join(&swapped_child[i], THP_STEP_MS, why));
	}
	return thp_group_finish(why);
}

static int swapped_fails(const void *arg, struct thp_why *why)
{
	long long before = thp_read_field("/proc/meminfo", "SwapFree"), lost;
	const int *sharers = arg;
	int nth_fd, ret;

	nth_fd = thp_inject_nth_open();
	if (nth_fd < 0)
		return thp_why(why, nth_fd, "fail-nth: %s", thp_errno_name(nth_fd));
	ret = thp_inject_any(0, why);
	/* The table of large counts is a slab object; without failslab the others fail. */
	if (!ret)
		ret = thp_inject_slabs(why);
	if (ret == -ENOTSUP) {
		thp_why_clear(why);
		ret = 0;
	}
	if (!ret)
		ret = swapped_sweep(*sharers, nth_fd, why);
	close(nth_fd);
	swapped_kill(*sharers);
	if (ret)
		return ret;
	/* A single slot matters: others may swap as well, but not in each try. */
	lost = thp_swap_lost(before, 0, 500);
	return lost <= 0 ? 0 : thp_why(why, -EAGAIN, "forks that failed: SwapFree %+lld kB", -lost);
}

THP_COVERS(swapped, fork_fails, "fork-anon swap-entry-fork");
TEST_F_TIMEOUT(swapped, fork_fails, 120)
{
	const int sharers = 0;

	(void)self;
	THP_SCENARIO(swapped_fails, &sharers);
}

THP_COVERS(swapped, fork_of_many_fails, "fork-anon swap-entry-fork");
TEST_F_TIMEOUT(swapped, fork_of_many_fails, 120)
{
	const int sharers = SWAPPED_SHARERS;

	(void)self;
	THP_SCENARIO(swapped_fails, &sharers);
}
