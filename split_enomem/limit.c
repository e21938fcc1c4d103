// SPDX-License-Identifier: GPL-2.0
/*
 * limit: Splits in a control group that is full. Folio splits must not exceed the limit of
 * the group: neither those of many folios by a table each, nor that of one folio that many
 * processes map.
 */
#define LIMIT_THPS	16
#define LIMIT_MAPPERS	12
/* The kernel updates memory.stat every 2 s. */
#define CHARGED_MS	2500

FIXTURE(limit) {
	struct thp_cg cg;
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

struct limit_case {
	struct thp_cg *cg;
	int thps;
	int mappers;		/* other processes that map them, too */
};

enum limit_step {
	LIMIT_MAPPED = GROUP_JOINED + 1, LIMIT_SET, LIMIT_FULL, LIMIT_SPLIT,
	LIMIT_TRIED, LIMIT_FED
};

/* The results of the child. */
struct limit_told {
	uintptr_t page;			/* in the first THP */
	int advice[LIMIT_THPS];		/* 0 or -errno of MADV_COLD */
	int split;			/* THPs that are split in the end */
};

/*
 * Runs in the child, in its group: maps THPs, a burner, and starts other processes that map
 * the THPs.
 */
static int limit_prepare(const struct limit_case *l, struct thp_map *maps,
			 struct thp_child *mappers, struct thp_burner *burner,
			 struct thp_why *why)
{
	int i, ret;

	for (i = 0; i < l->thps; i++)
		TRY(thp_map_new(&maps[i], THP_ANON, why));
	for (i = 0; i < l->mappers; i++)
		TRY(keep_start(&mappers[i], why));
	ret = thp_burner_create(burner);
	if (ret)
		return thp_why(why, ret, "burner: %s", thp_errno_name(ret));
	ret = thp_pin_cpu();
	return ret ? thp_why(why, ret, "sched_setaffinity: %s", thp_errno_name(ret)) : 0;
}

/* The data is intact, however many THPs were split. */
static int limit_look(const struct limit_case *l, const struct thp_map *maps,
		      struct limit_told *told, struct thp_why *why)
{
	enum thp_state state;
	int i, ret;

	for (i = 0; i < l->thps; i++) {
		ret = thp_obs_state(maps[i].thp, thp_env.pmd, &state);
		if (ret)
			return thp_why(why, ret, "page map: %s", thp_errno_name(ret));
		TRY(thp_map_check(&maps[i], 0, thp_env.nr, why));
		told->split += state == THP_STATE_PTE;
	}
	return 0;
}

static int limit_child(struct thp_chan *chan, void *arg)
{
	struct limit_told *told = thp_chan_data(chan, struct limit_told);
	static struct thp_child mappers[LIMIT_MAPPERS];
	static struct thp_map maps[LIMIT_THPS];
	static struct thp_burner burner;
	const struct limit_case *l = arg;
	struct thp_why *why = &chan->why;
	int i, full;

	TRY(thp_cg_spare_self(why));
	thp_warm_up();
	group_await(chan);
	TRY(limit_prepare(l, maps, mappers, &burner, why));
	told->page = (uintptr_t)thp_page(&maps[0], 1);
	thp_chan_post_parent(chan, LIMIT_MAPPED);
	thp_chan_await_parent(chan, LIMIT_SET);
	full = fill_group(&burner, why);
	thp_chan_post_parent(chan, LIMIT_FULL);
	thp_chan_await_parent(chan, LIMIT_SPLIT);
	/* The kernel ignores advice on a folio that other processes map as well. */
	for (i = 0; i < l->thps && !l->mappers && !full; i++)
		told->advice[i] = madvise(thp_page(&maps[i], 1), thp_env.page, MADV_COLD) ?
				  -errno : 0;
	thp_chan_post_parent(chan, LIMIT_TRIED);
	thp_chan_await_parent(chan, LIMIT_FED);
	for (i = 0; i < l->mappers; i++)
		thp_child_kill(&mappers[i]);
	return full ? full : limit_look(l, maps, told, why);
}

/* Starts the child in its group and lets it fill the group. *@limit in bytes. */
static int limit_fill(const struct limit_case *l, struct thp_child *c, long long *limit,
		      struct thp_why *why)
{
	char path[64];

	TRY(thp_cg_create(l->cg, "limit", why));
	TRY(group_start(c, l->cg, limit_child, l));
	TRY(thp_child_await(c, LIMIT_MAPPED, THP_STEP_MS));
	*limit = thp_cg_limit_near(l->cg);
	if (*limit < 0)
		return *limit;
	thp_chan_post_child(c->chan, LIMIT_SET);
	TRY(thp_child_await(c, LIMIT_FULL, THP_STEP_MS));
	/* Room for one table, although many are needed. */
	if (l->mappers) {
		*limit += thp_env.page;
		TRY(thp_cg_limit(l->cg, *limit));
	}
	/* From here on a task may be killed, but none has to be. */
	if (thp_env.memcg != 2)
		return 0;
	snprintf(path, sizeof(path), "/proc/%d/oom_score_adj", c->pid);
	return thp_write_file(path, "0");
}

/* The splits have kept the limit, and the calls returned 0; @over: usage - limit. */
static int limit_judge(const struct limit_case *l, const struct limit_told *told,
		       long long over, uint64_t failed_splits, struct thp_why *why)
{
	int i, left = l->thps - told->split;

	printf("# limit: %d of %d folios split, usage is %+lld B from the limit\n", told->split,
	       l->thps, over);
	if (over > limit_slack(LIMIT_THPS))
		return thp_why(why, -EPROTO,
			       "%d folio splits took the group %lld B over its limit",
			       told->split, over);
	for (i = 0; i < l->thps; i++)
		if (told->advice[i])
			return thp_why(why, -EPROTO, "MADV_COLD is advice: expected 0, got %s",
				       thp_errno_name(told->advice[i]));
	/* People look for the cause in the event. */
	if (thp_env.contract == THP_LAZY && left && thp_env.counts_failures && !failed_splits)
		return thp_why(why, -EPROTO,
			       "%d folios could not be split, thp_split_pmd_failed +0", left);
	return 0;
}

static int split_at_limit(const void *arg, struct thp_why *why)
{
	const struct limit_case *l = arg;
	struct thp_child c = { 0 };
	long long limit, usage;
	struct limit_told told;
	struct thp_events e[2];
	siginfo_t info;
	int ret;

	if (!thp_env_room(2 * LIMIT_THPS * thp_env.pmd))
		return thp_skip(why, "needs more free memory");
	ret = limit_fill(l, &c, &limit, why);
	if (ret == -ECHILD)
		return thp_child_join(&c, 0, why) ? : ret;
	if (ret)
		return ret;
	thp_obs_events(&e[0]);
	thp_chan_post_child(c.chan, LIMIT_SPLIT);
	TRY(thp_child_await(&c, LIMIT_TRIED, THP_STEP_MS));
	/* With debugfs the task that splits has memory. */
	told = *thp_chan_data(c.chan, struct limit_told);
	if (l->mappers)
		(void)thp_split_folios(c.pid, told.page, thp_env.page);
	thp_obs_events(&e[1]);
	usage = thp_cg_usage(l->cg);
	TRY(thp_cg_limit(l->cg, THP_CG_MAX));
	thp_chan_post_child(c.chan, LIMIT_FED);
	/* The child has written all results when it has ended. */
	if (waitid(P_PID, c.pid, &info, WEXITED | WNOWAIT))
		return thp_why(why, -errno, "waitid: %s", strerror(errno));
	told = *thp_chan_data(c.chan, struct limit_told);
	TRY(thp_child_join(&c, THP_STEP_MS, why));
	return limit_judge(l, &told, usage - limit,
			   e[1].split_pmd_failed - e[0].split_pmd_failed, why);
}

THP_COVERS(limit, folio_split, "folio-split-advice folio-split");
TEST_F_TIMEOUT(limit, folio_split, 90)
{
	const struct limit_case l = { .cg = &self->cg, .thps = LIMIT_THPS };

	THP_SCENARIO(split_at_limit, &l);
}

THP_COVERS(limit, shared_folio_split, "folio-split-debugfs folio-split multi-mm-split");
TEST_F_TIMEOUT(limit, shared_folio_split, 90)
{
	const struct limit_case l = { .cg = &self->cg, .thps = 1, .mappers = LIMIT_MAPPERS };

	THP_NEEDS(THP_NEED_DEBUGFS);
	THP_SCENARIO(split_at_limit, &l);
}

enum charged_step {
	CHARGED_MAPPED = GROUP_JOINED + 1, CHARGED_GO, CHARGED_SPLIT, CHARGED_END
};

/* The table of a split is charged to the group of the process, like any other. */
static int charged_child(struct thp_chan *chan, void *arg)
{
	static struct thp_map maps[LIMIT_THPS];
	struct thp_why *why = &chan->why;
	int i;

	(void)arg;
	thp_warm_up();
	group_await(chan);
	for (i = 0; i < LIMIT_THPS; i++)
		TRY(thp_map_new(&maps[i], THP_ANON, why));
	thp_chan_post_parent(chan, CHARGED_MAPPED);
	thp_chan_await_parent(chan, CHARGED_GO);
	for (i = 0; i < LIMIT_THPS; i++) {
		if (madvise(thp_page(&maps[i], 1), thp_env.page, MADV_DONTNEED))
			return thp_why(why, -errno, "MADV_DONTNEED: %s", strerror(errno));
		TRY(thp_map_expect(&maps[i], THP_STATE_PTE, why));
	}
	thp_chan_post_parent(chan, CHARGED_SPLIT);
	thp_chan_await_parent(chan, CHARGED_END);
	return 0;
}

/* The page tables charged to the group, bytes. */
static long long charged_tables(const struct thp_cg *cg)
{
	thp_sleep_ms(CHARGED_MS);
	return thp_cg_stat(cg, "pagetables");
}

static int splits_charged(const void *arg, struct thp_why *why)
{
	const struct limit_case *l = arg;
	struct thp_child c = { 0 };
	long long before, after, want;

	TRY(thp_cg_create(l->cg, "charged", why));
	if (thp_cg_stat(l->cg, "pagetables") < 0)
		return thp_skip(why, "needs pagetables in memory.stat");
	TRY(group_start(&c, l->cg, charged_child, NULL));
	if (thp_child_await(&c, CHARGED_MAPPED, THP_STEP_MS))
		return thp_child_join(&c, 0, why) ? : -EPROTO;
	before = charged_tables(l->cg);
	thp_chan_post_child(c.chan, CHARGED_GO);
	if (thp_child_await(&c, CHARGED_SPLIT, THP_STEP_MS))
		return thp_child_join(&c, 0, why) ? : -EPROTO;
	after = charged_tables(l->cg);
	thp_chan_post_child(c.chan, CHARGED_END);
	TRY(thp_child_join(&c, THP_STEP_MS, why));
	want = thp_tables_split(THP_ANON) * LIMIT_THPS * (long long)thp_env.table;
	if (after - before != want)
		return thp_why(why, -EPROTO,
			       "%d splits: %+lld B of page tables charged, expected %+lld",
			       LIMIT_THPS, after - before, want);
	return 0;
}

THP_COVERS(limit, split_charged, "zap-dontneed");
TEST_F_TIMEOUT(limit, split_charged, 90)
{
	const struct limit_case l = { .cg = &self->cg };

	if (thp_env.memcg != 2)
		THP_SKIP("needs version 2 of the memory controller");
	if (thp_env.table < thp_env.page)
		THP_SKIP("needs PTE tables of a whole page");
	if (!thp_env_room(2 * LIMIT_THPS * thp_env.pmd))
		THP_SKIP("needs more free memory");
	THP_SCENARIO(splits_charged, &l);
}
