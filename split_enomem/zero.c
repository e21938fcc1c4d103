// SPDX-License-Identifier: GPL-2.0
/*
 * zero: A write to a huge zero PMD while there is no memory.
 */

/*
 * The huge zero PMD is written to, and there is neither a THP to take its place nor a
 * table to split it: the fault waits until there is one of them.
 */
static int write_zero(struct thp_chan *chan, void *arg)
{
	static struct thp_map m;
	struct thp_why *why = &chan->why;

	(void)arg;
	thp_warm_up();
	TRY(thp_map_new(&m, THP_ZERO, why));
	thp_chan_post_parent(chan, 1);
	thp_chan_await_parent(chan, 2);
	thp_touch(m.thp);
	thp_chan_post_parent(chan, 3);
	thp_chan_await_parent(chan, 4);
	if (thp_peek(m.thp) != 1)
		return thp_why(why, -EPROTO, "the written byte is lost");
	*m.thp = 0;
	return thp_check_zero(m.thp, thp_env.nr, why);
}

FIXTURE(zero) {
	struct thp_child child;
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

THP_COVERS(zero, write_waits, "zero-write-fallback");
TEST_F_TIMEOUT(zero, write_waits, 90)
{
	struct thp_child *c = &self->child;
	struct thp_why why = { 0 };
	struct thp_events e0, e1;
	char knob[192];
	int ret;

	THP_REQUIRE_OK(thp_inject_setup(false, 0, &why), &why);
	/* The THP, too. */
	snprintf(knob, sizeof(knob), "%s/fail_page_alloc/ignore-gfp-highmem", thp_env.debugfs);
	THP_REQUIRE_OK(thp_settings_set(knob, "N"), &why);
	THP_REQUIRE_OK(thp_child_start(c, write_zero, NULL), &why);
	THP_REQUIRE_OK(thp_child_await(c, 1, THP_STEP_MS), &why);
	THP_REQUIRE_OK(thp_inject_task(c->pid, true), &why);
	thp_obs_events(&e0);
	thp_chan_post_child(c->chan, 2);
	ret = thp_child_watch(c, 3, WAIT_MS);
	thp_obs_events(&e1);
	(void)thp_inject_task(c->pid, false);
	THP_CHECK(ret != 0, "the write came through without memory");
	if (ret == -ETIMEDOUT)
		THP_CHECK_OK(thp_child_await(c, 3, THP_RETURN_MS), &why);
	thp_chan_post_child(c->chan, 4);
	THP_CHECK_OK(thp_child_join(c, THP_STEP_MS, &why), &why);
	/* A table that is a part of a page may be left from before: it waits for the page then. */
	if (thp_env.contract == THP_LAZY && thp_env.table >= thp_env.page &&
	    thp_obs_vmstat("thp_split_pmd_failed") != THP_EVENT_NONE)
		THP_CHECK(e1.split_pmd_failed > e0.split_pmd_failed,
			  "thp_split_pmd_failed +0, expected more");
}
