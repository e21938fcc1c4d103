// SPDX-License-Identifier: GPL-2.0
/*
 * limit: Splits in a control group that is full.
 */

/*
 * A folio split may not take more than the limit of the memory group allows: neither
 * those of many folios by a table each, nor that of one that many processes map.
 */
#define LIMIT_THPS	16
#define LIMIT_MAPPERS	12
#define CHARGED_MS	2500

FIXTURE(limit) {
	struct thp_cg cg;
	struct thp_child child;
};

/* What the child does; copied by fork(). */
struct limit_job {
	int thps;
	int mappers;		/* other processes that map them, too */
};

FIXTURE_SETUP(limit)
{
	THP_NEEDS(THP_NEED_MEMCG | THP_NEED_POPULATE);
}

FIXTURE_TEARDOWN_PARENT(limit)
{
	struct thp_why why = { 0 };

	THP_CHECK_OK(thp_cg_destroy(&self->cg), &why);
	thp_teardown(_metadata);
}

static int split_at_limit(struct thp_chan *chan, void *arg)
{
	static struct thp_child mappers[LIMIT_MAPPERS];
	static struct thp_map maps[LIMIT_THPS];
	static struct thp_burner burner;
	struct limit_job *job = arg;
	struct thp_why *why = &chan->why;
	enum thp_state state;
	int i, ret;

	/* Nobody may be killed here: see victim(). */
	ret = thp_write_file("/proc/self/oom_score_adj", "-1000");
	if (ret && thp_env.memcg == 2)
		return thp_why(why, ret, "oom_score_adj: %s", thp_errno_name(ret));
	thp_warm_up();
	thp_chan_post_parent(chan, 1);
	thp_chan_await_parent(chan, 2);
	for (i = 0; i < job->thps; i++)
		TRY(thp_map_new(&maps[i], THP_ANON, why));
	for (i = 0; i < job->mappers; i++) {
		ret = thp_child_start(&mappers[i], hold, NULL);
		if (!ret)
			ret = thp_child_await(&mappers[i], 1, THP_STEP_MS);
		if (ret)
			return thp_why(why, ret, "fork: %s", thp_errno_name(ret));
	}
	ret = thp_burner_create(&burner);
	if (ret)
		return thp_why(why, ret, "burner: %s", thp_errno_name(ret));
	ret = thp_pin_cpu();
	if (ret)
		return thp_why(why, ret, "sched_setaffinity: %s", thp_errno_name(ret));
	chan->val[LIMIT_THPS + 1] = (uintptr_t)thp_page(&maps[0], 1);
	thp_chan_post_parent(chan, 3);
	thp_chan_await_parent(chan, 4);
	/* The failure itself makes other CPUs give back their stocks, a little later. */
	for (i = 0, ret = 0; i < 5 && !ret; i++) {
		ret = thp_burner_burn(&burner);
		thp_sleep_ms(20);
	}
	thp_chan_post_parent(chan, 5);
	thp_chan_await_parent(chan, 6);
	/* Advice about a folio that others map as well is not heeded. */
	for (i = 0; i < job->thps && !job->mappers && !ret; i++)
		chan->val[i] = madvise(thp_page(&maps[i], 1), thp_env.page, MADV_COLD) ?
			       -errno : 0;
	thp_chan_post_parent(chan, 7);
	thp_chan_await_parent(chan, 8);
	for (i = 0; i < job->mappers; i++)
		thp_child_kill(&mappers[i]);
	if (ret)
		return thp_why(why, ret, "the limit did not bite: %s", thp_errno_name(ret));
	for (i = 0; i < job->thps; i++) {
		ret = thp_obs_state(maps[i].thp, thp_env.pmd, &state);
		if (!ret)
			ret = thp_map_check(&maps[i], 0, thp_env.nr, why);
		if (ret)
			return ret;
		chan->val[LIMIT_THPS] += state == THP_STATE_PTE;
	}
	return 0;
}

/* The first folio of @c, by debugfs: whoever asks for it has memory. */
static void split_from_outside(const struct thp_child *c)
{
	long long addr = c->chan->val[LIMIT_THPS + 1];

	(void)thp_split_folios(c->pid, addr, thp_env.page);
}

static void check_limit(struct __test_metadata *_metadata, struct thp_cg *cg, struct thp_child *c,
			struct limit_job *job)
{
	long long usage, limit, over, slack, left;
	struct thp_why why = { 0 };
	struct thp_events e0, e1;
	siginfo_t info;
	int i;

	if (!thp_env_room(2 * LIMIT_THPS * thp_env.pmd))
		THP_SKIP("needs more free memory");
	THP_REQUIRE_OK(thp_cg_create(cg, "limit", &why), &why);
	THP_REQUIRE_OK(thp_child_start(c, split_at_limit, job), &why);
	THP_REQUIRE_OK(thp_child_await(c, 1, THP_STEP_MS), &why);
	THP_REQUIRE_OK(thp_cg_join(cg, c->pid), &why);
	thp_chan_post_child(c->chan, 2);
	THP_REQUIRE_OK(thp_child_await(c, 3, THP_STEP_MS), &why);
	/* Within reach of the burner, and a limit that the group has kept so far. */
	limit = (thp_cg_usage(cg) + (1 << 20)) & -(long long)thp_env.page;
	THP_REQUIRE_OK(thp_cg_limit(cg, limit), &why);
	thp_chan_post_child(c->chan, 4);
	THP_REQUIRE_OK(thp_child_await(c, 5, THP_STEP_MS), &why);
	/* Room for one table, where many are wanted. */
	if (job->mappers) {
		limit += thp_env.page;
		THP_REQUIRE_OK(thp_cg_limit(cg, limit), &why);
	}
	/* Now somebody may be killed: nobody has to. */
	if (thp_env.memcg == 2) {
		char path[64];

		snprintf(path, sizeof(path), "/proc/%d/oom_score_adj", c->pid);
		THP_REQUIRE(!thp_write_file(path, "0"), "%s cannot be set", path);
	}
	thp_obs_events(&e0);
	thp_chan_post_child(c->chan, 6);
	THP_CHECK_OK(thp_child_await(c, 7, THP_STEP_MS), &why);
	if (job->mappers)
		split_from_outside(c);
	thp_obs_events(&e1);
	usage = thp_cg_usage(cg);
	THP_CHECK_OK(thp_cg_limit(cg, THP_CG_MAX), &why);
	thp_chan_post_child(c->chan, 8);
	if (!waitid(P_PID, c->pid, &info, WEXITED | WNOWAIT)) {
		over = usage - limit;
		left = job->thps - c->chan->val[LIMIT_THPS];
		/* The kernel may exceed it by a page here and there, not by one per split. */
		slack = LIMIT_THPS / 4 * (long long)thp_env.table;
		if (slack < 2 * (long long)thp_env.page)
			slack = 2 * (long long)thp_env.page;
		printf("# limit: %lld of %d folios split, usage is %+lld B from the limit\n",
		       c->chan->val[LIMIT_THPS], job->thps, over);
		THP_CHECK(over <= slack,
			  "%lld folio splits took the group %lld B over its limit",
			  c->chan->val[LIMIT_THPS], over);
		for (i = 0; i < job->thps; i++)
			THP_CHECK(!c->chan->val[i], "MADV_COLD is advice: expected 0, got %s",
				  thp_errno_name(c->chan->val[i]));
		/* Whoever looks for the cause finds it there. */
		if (thp_env.contract == THP_LAZY && left &&
		    thp_obs_vmstat("thp_split_pmd_failed") != THP_EVENT_NONE)
			THP_CHECK(e1.split_pmd_failed > e0.split_pmd_failed,
				  "%lld folios could not be split, thp_split_pmd_failed +0", left);
	}
	THP_CHECK_OK(thp_child_join(c, THP_STEP_MS, &why), &why);
}

THP_COVERS(limit, folio_split, "folio-split-advice folio-split");
TEST_F_TIMEOUT(limit, folio_split, 90)
{
	struct limit_job job = { .thps = LIMIT_THPS };

	check_limit(_metadata, &self->cg, &self->child, &job);
}

THP_COVERS(limit, shared_folio_split, "folio-split-debugfs folio-split multi-mm-split");
TEST_F_TIMEOUT(limit, shared_folio_split, 90)
{
	struct limit_job job = { .thps = 1, .mappers = LIMIT_MAPPERS };

	THP_NEEDS(THP_NEED_DEBUGFS);
	check_limit(_metadata, &self->cg, &self->child, &job);
}

/* The table of a split is charged to the group of the process, like any other. */
static int split_charged(struct thp_chan *chan, void *arg)
{
	static struct thp_map maps[LIMIT_THPS];
	struct thp_why *why = &chan->why;
	int i, ret;

	(void)arg;
	thp_warm_up();
	thp_chan_post_parent(chan, 1);
	thp_chan_await_parent(chan, 2);
	for (i = 0; i < LIMIT_THPS; i++)
		TRY(thp_map_new(&maps[i], THP_ANON, why));
	thp_chan_post_parent(chan, 3);
	thp_chan_await_parent(chan, 4);
	for (i = 0; i < LIMIT_THPS; i++) {
		ret = madvise(thp_page(&maps[i], 1), thp_env.page, MADV_DONTNEED) ? -errno :
		      thp_map_expect(&maps[i], THP_STATE_PTE, why);
		if (ret)
			return thp_why(why, ret, "MADV_DONTNEED: %s", thp_errno_name(ret));
	}
	thp_chan_post_parent(chan, 5);
	thp_chan_await_parent(chan, 6);
	return 0;
}

/* What the group has of page tables; the kernel brings that up to date every 2 s. */
static long long charged_tables(struct thp_cg *cg)
{
	thp_sleep_ms(CHARGED_MS);
	return thp_cg_stat(cg, "pagetables");
}

THP_COVERS(limit, split_charged, "zap-dontneed");
TEST_F_TIMEOUT(limit, split_charged, 90)
{
	long long before, after, want;
	struct thp_child *c = &self->child;
	struct thp_why why = { 0 };

	if (thp_env.memcg != 2)
		THP_SKIP("needs version 2 of the memory controller");
	if (thp_env.table < thp_env.page)
		THP_SKIP("needs PTE tables of a whole page");
	if (!thp_env_room(2 * LIMIT_THPS * thp_env.pmd))
		THP_SKIP("needs more free memory");
	THP_REQUIRE_OK(thp_cg_create(&self->cg, "charged", &why), &why);
	if (thp_cg_stat(&self->cg, "pagetables") < 0)
		THP_SKIP("needs pagetables in memory.stat");
	THP_REQUIRE_OK(thp_child_start(c, split_charged, NULL), &why);
	THP_REQUIRE_OK(thp_child_await(c, 1, THP_STEP_MS), &why);
	THP_REQUIRE_OK(thp_cg_join(&self->cg, c->pid), &why);
	thp_chan_post_child(c->chan, 2);
	THP_REQUIRE_OK(thp_child_await(c, 3, THP_STEP_MS), &why);
	before = charged_tables(&self->cg);
	thp_chan_post_child(c->chan, 4);
	THP_REQUIRE_OK(thp_child_await(c, 5, THP_STEP_MS), &why);
	after = charged_tables(&self->cg);
	thp_chan_post_child(c->chan, 6);
	THP_CHECK_OK(thp_child_join(c, THP_STEP_MS, &why), &why);
	want = thp_tables_split(THP_ANON) * LIMIT_THPS * (long long)thp_env.table;
	THP_CHECK(after - before == want,
		  "%d splits: %+lld B of page tables charged, expected %+lld", LIMIT_THPS,
		  after - before, want);
}
