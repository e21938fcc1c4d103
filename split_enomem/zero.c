// SPDX-License-Identifier: GPL-2.0
/*
 * zero: A write to the huge zero PMD while neither a THP to replace it nor a table to split
 * it can be allocated: the fault waits until one of them can.
 */

/* Long enough to see that the fault does not give up. */
#define ZERO_WAIT_MS	300

enum zero_step { ZERO_READY = 1, ZERO_STARVED, ZERO_WRITTEN, ZERO_FED };

static int write_zero(struct thp_chan *chan, void *arg)
{
	static struct thp_map m;
	struct thp_why *why = &chan->why;

	(void)arg;
	thp_warm_up();
	TRY(thp_map_new(&m, THP_ZERO, why));
	thp_chan_post_parent(chan, ZERO_READY);
	thp_chan_await_parent(chan, ZERO_STARVED);
	thp_touch(m.thp);
	thp_chan_post_parent(chan, ZERO_WRITTEN);
	thp_chan_await_parent(chan, ZERO_FED);
	if (thp_peek(m.thp) != 1)
		return thp_why(why, -EPROTO, "the written byte is lost");
	*m.thp = 0;
	return thp_check_zero(m.thp, thp_env.nr, why);
}

FIXTURE(zero) {
	int unused;	/* the harness wants data */
};

FIXTURE_SETUP(zero)
{
	(void)self;
	THP_NEEDS(THP_NEED_ZERO | THP_NEED_FAIL_NTH);
}

FIXTURE_TEARDOWN_PARENT(zero)
{
	(void)self;
	thp_teardown(_metadata);
}

static int write_starved(const void *arg, struct thp_why *why)
{
	struct thp_child c = { 0 };
	struct thp_events e[2];
	int ret;

	(void)arg;
	TRY(nth_with_thps(why));
	TRY(thp_child_start(&c, write_zero, NULL));
	ret = thp_child_await(&c, ZERO_READY, THP_STEP_MS);
	if (ret == -ECHILD)
		return thp_child_join(&c, 0, why);
	if (ret)
		return ret;
	TRY(thp_inject_task(c.pid, true));
	thp_obs_events(&e[0]);
	thp_chan_post_child(c.chan, ZERO_STARVED);
	ret = thp_child_watch(&c, ZERO_WRITTEN, ZERO_WAIT_MS);
	thp_obs_events(&e[1]);
	(void)thp_inject_task(c.pid, false);
	if (!ret)
		return thp_why(why, -EPROTO, "the write came through without memory");
	if (ret == -ETIMEDOUT)
		TRY(thp_child_await(&c, ZERO_WRITTEN, THP_RETURN_MS));
	thp_chan_post_child(c.chan, ZERO_FED);
	TRY(thp_child_join(&c, THP_STEP_MS, why));
	/* A table that is a part of a page may be left: then the fault waits for a base page. */
	if (thp_env.contract == THP_LAZY && thp_env.table >= thp_env.page &&
	    thp_env.counts_failures && e[1].split_pmd_failed <= e[0].split_pmd_failed)
		return thp_why(why, -EPROTO, "thp_split_pmd_failed +0, expected more");
	return 0;
}

THP_COVERS(zero, write_waits, "zero-write-fallback");
TEST_F_TIMEOUT(zero, write_waits, 90)
{
	(void)self;
	THP_SCENARIO(write_starved, NULL);
}
