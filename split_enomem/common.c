// SPDX-License-Identifier: GPL-2.0
/* common: Shared by several subjects of this program. */

/* Shots of fail-nth. Arbitrary, far above what any of these system calls allocates. */
#define NTH_MAX		200

/* A child that keeps its memory and does nothing. */
enum keep_step { KEEP_READY = 1, KEEP_END };

static int keep_child(struct thp_chan *chan, void *arg)
{
	(void)arg;
	thp_chan_post_parent(chan, KEEP_READY);
	thp_chan_await_parent(chan, KEEP_END);
	return 0;
}

/* Starts such a child and waits until it is ready; thp_child_kill() ends it. */
static int keep_start(struct thp_child *c, struct thp_why *why)
{
	int ret = thp_child_start(c, keep_child, NULL);

	if (!ret)
		ret = thp_child_await(c, KEEP_READY, THP_STEP_MS);
	return ret ? thp_why(why, ret, "fork: %s", thp_errno_name(ret)) : 0;
}

/* The first steps of a child that allocates in a control group; its own ones follow. */
enum group_step { GROUP_READY = 1, GROUP_JOINED };

/*
 * Starts a child and moves it into @cg when it is ready. Only then: pages that it shares
 * with the parent must not be charged to the group.
 */
static int group_start(struct thp_child *c, const struct thp_cg *cg,
		       int (*fn)(struct thp_chan *chan, void *arg), const void *arg)
{
	TRY(thp_child_start(c, fn, (void *)arg));
	TRY(thp_child_await(c, GROUP_READY, THP_STEP_MS));
	TRY(thp_cg_join(cg, c->pid));
	thp_chan_post_child(c->chan, GROUP_JOINED);
	return 0;
}

/* In that child: waits until it is in its group. */
static void group_await(struct thp_chan *chan)
{
	thp_chan_post_parent(chan, GROUP_READY);
	thp_chan_await_parent(chan, GROUP_JOINED);
}

/* Sets fail-nth up so that it also counts THPs, which are GFP_HIGHUSER. */
static int nth_with_thps(struct thp_why *why)
{
	char knob[192];

	TRY(thp_inject_any(0, why));
	snprintf(knob, sizeof(knob), "%s/fail_page_alloc/ignore-gfp-highmem", thp_env.debugfs);
	return thp_settings_set(knob, "N");
}

/*
 * Uses up the tables left in a page, see thp_inject_drain(): a task that splits for this
 * process has to allocate one then.
 */
static int drain_own_tables(struct thp_why *why)
{
	TRY(thp_inject_self(why));
	return thp_inject_own(false);
}

/*
 * Uses up the group of the calling process. The refusal makes other CPUs return their
 * stocks a little later, so this takes several passes.
 */
static int fill_group(struct thp_burner *burner, struct thp_why *why)
{
	int i, ret = 0;

	for (i = 0; i < 5 && !ret; i++) {
		ret = thp_burner_burn(burner);
		thp_sleep_ms(20);
	}
	return ret ? thp_why(why, ret, "the limit did not bite: %s", thp_errno_name(ret)) : 0;
}

/*
 * Bytes by which splits of @thps THPs may exceed the limit of a group: the kernel exceeds
 * it by single pages, not by one page per split.
 */
static long long limit_slack(int thps)
{
	long long tables = thps / 4 * (long long)thp_env.table;

	return tables > 2 * (long long)thp_env.page ? tables : 2 * (long long)thp_env.page;
}
