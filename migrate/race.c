// SPDX-License-Identifier: GPL-2.0
/* race: Bounded races of splits with all other operations. */

/* Steps of the first actor, and a time that most races reach first. */
#define RACE_LOOPS 2000
#define RACE_MS 400

struct race_set {
	struct thp_actor actors[THP_RACE_ACTORS];
	uint64_t needs;
	bool words;		/* an actor zaps: the pattern is lost */
	bool swaps;		/* an actor swaps the THP out: judge_swapped() */
	bool limited;		/* ... into half the swap that it needs, so its folio is split */
	bool off;		/* an actor turns a swap area off, which is the suite's own */
	int ms;
	long min_hits;
};

/* /proc/self/pagemap of a race's process. */
static int pagemap_fd = -1;

/* The results of the child, for the log. */
struct race_report {
	long loops[THP_RACE_ACTORS];
	long hits[THP_RACE_ACTORS];
};

struct race_arg {
	const struct race_set *set;
	struct race_report *report;	/* shared */
	const struct thp_cg *cg;	/* of its process; NULL: that of the test */
};

/* Unmaps everything: the tables of the range match its state. */
static int settle(struct thp_race *r, long long base, struct thp_why *why)
{
	long long before, after;
	enum thp_state state;
	long got, lo, hi;
	bool pmd;
	int ret;

	ret = thp_obs_state(r->map.thp, thp_env.pmd, &state);
	if (ret)
		return thp_why(why, ret, "page map: %s", thp_errno_name(ret));
	before = thp_obs_vmpte(0);
	ret = thp_map_zap(&r->map);
	after = thp_obs_vmpte(0);
	if (ret)
		return thp_why(why, ret, "munmap: %s", thp_errno_name(ret));
	/* An empty range may have kept its table; a single table may be below 1 kB. */
	pmd = state == THP_STATE_PMD || state == THP_STATE_PMD_SWAP;
	lo = pmd ? thp_tables_mapped(THP_ANON) : state == THP_STATE_PTE ? 1 : 0;
	hi = pmd ? thp_tables_mapped(THP_ANON) : 1;
	if (thp_env.unit == 1 && state != THP_STATE_UNKNOWN &&
	    (!thp_env_tables(before - after, &got) || got < lo || got > hi))
		return thp_why(why, -EPROTO,
			       "munmap of a %s range frees %lld B of tables, expected %ld to %ld tables",
			       thp_state_name(state), before - after, lo, hi);
	thp_map_destroy(&r->map);
	if (r->map.aux)
		r->map.aux = NULL;
	after = thp_obs_vmpte(0);
	if (after != base)
		return thp_why(why, -EPROTO, "VmPTE with all unmapped: expected %lld B, got %lld B",
			       base, after);
	return 0;
}

/*
 * Runs each actor alone, once: a race between operations without effect proves nothing. In
 * a race an operation may fail for passing reasons; alone it has to succeed.
 */
static int prove_actor(struct thp_race *r, struct thp_actor *a, struct thp_why *why)
{
	int (*step)(struct thp_race *r, struct thp_actor *a, struct thp_why *why) = a->step;
	int try, ret;

	a->race = r;
	/* Only its collapse: the rest of act_recollapse() waits for its partner. */
	if (step == act_recollapse)
		step = act_collapse;
	if (step == act_split || step == act_split_words) {
		ret = step(r, a, why);
		return ret ? ret : thp_map_expect(&r->map, THP_STATE_PTE, why);
	}
	if (step == act_pageout) {
		for (try = 0; try < 20; try++) {
			ret = step(r, a, why);
			if (ret || thp_obs_pages(r->map.thp, thp_env.pmd, THP_PM_SWAPPED) > 0)
				return ret;
		}
		return thp_why(why, -EPROTO, "MADV_PAGEOUT alone: nothing swapped in %d tries",
			       try);
	}
	if (step != act_collapse && step != act_move)
		return 0;
	ret = step == act_collapse ? protect_cycle(r, a, why) : 0;
	if (!ret && step == act_collapse)
		ret = thp_map_expect(&r->map, THP_STATE_PTE, why);
	for (try = 0; !ret && !a->hits && try < 20; try++, a->loops++) {
		ret = step(r, a, why);
		if (!ret && !a->hits)
			thp_sleep_ms(10);
	}
	if (!ret && !a->hits)
		ret = thp_why(why, -EPROTO, "%s alone: 0 of %d tries worked", a->name, try);
	return ret || step != act_collapse ? ret : thp_map_expect(&r->map, THP_STATE_PMD, why);
}

/*
 * Runs all actors, on copies; maps the range anew for the race. MADV_DONTNEED is not
 * enough: without CONFIG_PT_RECLAIM it leaves an empty PTE table, and the next fault maps
 * no THP.
 */
static int prove_actors(struct thp_race *r, const struct thp_actor *actors, int n,
			struct thp_why *why)
{
	struct thp_actor copy;
	int ret = 0, i;

	for (i = 0; i < n && !ret; i++) {
		copy = actors[i];
		copy.slot = i;
		ret = prove_actor(r, &copy, why);
	}
	if (ret)
		return ret;
	thp_map_destroy(&r->map);
	return thp_map_new(&r->map, THP_ANON, why);
}

static int race_body(struct thp_chan *chan, void *arg)
{
	struct thp_actor actors[THP_RACE_ACTORS];
	struct thp_why *why = &chan->why;
	static struct thp_race race;
	struct race_arg *ra = arg;
	long long base;
	int ret, i, n;

	memcpy(actors, ra->set->actors, sizeof(actors));
	for (n = 0; n < THP_RACE_ACTORS && actors[n].step; n++)
		;
	race.nodes[0] = nodes[0];
	race.nodes[1] = nodes[1];
	race.max_loops = RACE_LOOPS * (int)thp_env.scale;
	race.max_ms = ra->set->ms * (int)thp_env.scale;
	race.min_hits = ra->set->min_hits;
	ret = thp_race_warm_up(&race);
	if (ret)
		return thp_why(why, ret, "threads: %s", thp_errno_name(ret));
	/*
	 * pagemap shows the memory of the process that opens it, so do not inherit the
	 * descriptor.
	 */
	pagemap_fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	if (ra->cg && thp_cg_join(ra->cg, getpid()))
		return thp_why(why, -EIO, "control group cannot be joined");
	base = thp_obs_vmpte(0);
	TRY(thp_map_new(&race.map, THP_ANON, why));
	TRY(prove_actors(&race, actors, n, why));
	if (ra->set->words)
		madvise(race.map.thp, thp_env.pmd, MADV_DONTNEED);
	ret = thp_race_run(&race, actors, n, why);
	for (i = 0; i < n; i++) {
		ra->report->loops[i] = actors[i].loops;
		ra->report->hits[i] = actors[i].hits;
	}
	if (!ret && !ra->set->words)
		ret = thp_map_check(&race.map, 0, thp_env.nr, why);
	return ret ? ret : settle(&race, base, why);
}

/*
 * Whether swap-out did in the race what it is there for: it makes PMD swap entries if the
 * kernel knows them, and splits the folio, and the PMD with it, if there is no room for one.
 */
static int judge_swapped(const struct race_set *set, const struct thp_events *before,
			 struct thp_why *why)
{
	long long entries, fallbacks;
	struct thp_events after;

	thp_obs_events(&after);
	entries = thp_difference(before->swpout_pmd, after.swpout_pmd);
	fallbacks = thp_difference(before->swpout_fallback, after.swpout_fallback);
	printf("# swapped out: %lld PMD swap entries, %lld folios split\n", entries, fallbacks);
	if (set->limited && fallbacks <= 0)
		return thp_skip(why, "needs a kernel that splits a THP for which swap has no room");
	if (!set->limited && thp_swap_owes_entries() && entries <= 0)
		return thp_why(why, -EPROTO,
			       "no PMD swap entry was made, but the kernel has thp_swpout_pmd and swap is free");
	return 0;
}

/* Runs a race in a child; *@report has the results of its actors. */
static int run_race(const struct race_set *set, const struct thp_cg *cg,
		    struct race_report *report, struct thp_why *why)
{
	int limit = THP_RACE_ACTORS * (THP_MEET_MS + 5 * set->ms * (int)thp_env.scale), ret, i;
	struct race_arg arg = { .set = set, .cg = cg };
	struct thp_events before;
	struct thp_map map;
	long long residue;

	arg.report = mmap(NULL, sizeof(*arg.report), PROT_READ | PROT_WRITE,
			  MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (arg.report == MAP_FAILED)
		return thp_why(why, -errno, "mmap: %s", strerror(errno));
	/* Checks first that THPs can be allocated. */
	TRY(thp_map_new(&map, THP_ANON, why));
	thp_map_destroy(&map);
	TRY(thp_race_residue(&residue));
	thp_obs_events(&before);
	ret = thp_child_run(race_body, &arg, limit, why);
	if (!ret)
		ret = thp_race_no_residue(residue, SLACK_KB, why);
	for (i = 0; i < THP_RACE_ACTORS && set->actors[i].step; i++)
		printf("# %s: %ld steps, %ld hits\n", set->actors[i].name,
		       arg.report->loops[i], arg.report->hits[i]);
	if (!ret && set->swaps)
		ret = judge_swapped(set, &before, why);
	*report = *arg.report;
	munmap(arg.report, sizeof(*arg.report));
	return ret;
}

/* The needs of a race: its nodes, if any, are the two that were found. */
static const char *race_missing(const struct race_set *set)
{
	return set->needs & THP_NEED_NODES ? numa_missing(set->needs) :
					     thp_env_missing(set->needs);
}

FIXTURE(race) {
	struct race_report report;
	struct thp_cg cg;
	struct thp_why why;
};

FIXTURE_VARIANT(race) {
	struct race_set set;
};

#define SPLIT	{ .name = "split", .step = act_split }
#define SPLIT_W	{ .name = "split", .step = act_split_words }
#define TOUCH	{ .name = "touch", .step = act_touch }
#define TOUCH_W	{ .name = "touch", .step = act_words }
#define ZAP	{ .name = "zap", .step = act_zap }
#define COLLAPSE { .name = "collapse", .step = act_collapse }
#define PREY	{ .name = "prey", .step = act_prey }
#define RECOLLAPSE { .name = "recollapse", .step = act_recollapse }
#define FORK	{ .name = "fork", .step = act_fork }
#define FORK_W	{ .name = "fork", .step = act_fork_words }
#define PAGEOUT	{ .name = "pageout", .step = act_pageout }
#define PIN	{ .name = "pin", .step = act_pin }
#define MOVE	{ .name = "move", .step = act_move }
#define RECLAIM	{ .name = "reclaim", .step = act_reclaim }
#define SWAPOFF	{ .name = "swapoff", .step = act_swapoff }

FIXTURE_VARIANT_ADD(race, split_collapse) {
	.set = {
		.actors = { SPLIT, COLLAPSE, TOUCH }, .needs = THP_NEED_COLLAPSE,
		.ms = RACE_MS,
	},
};

FIXTURE_VARIANT_ADD(race, split_fork) {
	.set = {
		.actors = { SPLIT, COLLAPSE, FORK }, .needs = THP_NEED_COLLAPSE, .ms = RACE_MS,
	},
};

FIXTURE_VARIANT_ADD(race, split_fork_fault) {
	.set = {
		.actors = { SPLIT, COLLAPSE, FORK, TOUCH }, .needs = THP_NEED_COLLAPSE,
		.ms = RACE_MS,
	},
};

FIXTURE_VARIANT_ADD(race, collapse_fork) {
	.set = {
		.actors = { COLLAPSE, FORK, TOUCH }, .needs = THP_NEED_COLLAPSE, .ms = RACE_MS,
	},
};

FIXTURE_VARIANT_ADD(race, pin_collapse) {
	.set = {
		.actors = { RECOLLAPSE, PIN }, .needs = THP_NEED_COLLAPSE, .ms = 6 * RACE_MS,
		.min_hits = 100,
	},
};

FIXTURE_VARIANT_ADD(race, zap_fault) {
	.set = {
		.actors = { ZAP, TOUCH_W, TOUCH_W }, .words = true, .ms = RACE_MS,
	},
};

FIXTURE_VARIANT_ADD(race, zap_split) {
	.set = {
		.actors = { ZAP, SPLIT_W, TOUCH_W }, .words = true, .ms = RACE_MS,
	},
};

FIXTURE_VARIANT_ADD(race, zap_collapse) {
	.set = {
		.actors = { ZAP, COLLAPSE, TOUCH_W }, .needs = THP_NEED_COLLAPSE,
		.words = true, .ms = RACE_MS,
	},
};

FIXTURE_VARIANT_ADD(race, zap_fork) {
	.set = {
		.actors = { ZAP, FORK_W, TOUCH_W }, .words = true, .ms = RACE_MS,
	},
};

/*
 * MADV_PAGEOUT splits the PMD in try_to_unmap_one(); on a kernel with PMD swap entries it
 * makes one, and the others split that, copy it, and fault it in.
 */
FIXTURE_VARIANT_ADD(race, pageout_split) {
	.set = {
		.actors = { PAGEOUT, SPLIT, COLLAPSE, TOUCH },
		.needs = THP_NEED_SWAP | THP_NEED_COLLAPSE, .swaps = true, .ms = RACE_MS,
	},
};

FIXTURE_VARIANT_ADD(race, pageout_fork) {
	.set = {
		.actors = { PAGEOUT, FORK, COLLAPSE },
		.needs = THP_NEED_SWAP | THP_NEED_COLLAPSE, .swaps = true, .ms = RACE_MS,
	},
};

/* The same with so little swap that the folio is split, on any kernel. */
FIXTURE_VARIANT_ADD(race, pageout_limited) {
	.set = {
		.actors = { PAGEOUT, SPLIT, COLLAPSE, TOUCH },
		.needs = THP_NEED_SWAP | THP_NEED_COLLAPSE | THP_NEED_MEMCG, .swaps = true,
		.limited = true, .ms = RACE_MS,
	},
};

/* PMD swap entries are copied, faulted in, and split; all of them at the same time. */
FIXTURE_VARIANT_ADD(race, entry_fork) {
	.set = {
		.actors = { PAGEOUT, FORK, SPLIT, TOUCH },
		.needs = THP_NEED_SWAP | THP_NEED_PMD_SWAP, .swaps = true, .ms = RACE_MS,
	},
};

/* swapoff finds entries that others split, fault in, copy, and give up. */
FIXTURE_VARIANT_ADD(race, entry_swapoff) {
	.set = {
		.actors = { PAGEOUT, SWAPOFF, FORK, TOUCH },
		.needs = THP_NEED_SWAP | THP_NEED_PMD_SWAP | THP_NEED_SWAPDEV, .swaps = true,
		.off = true, .ms = 2 * RACE_MS,
	},
};

FIXTURE_VARIANT_ADD(race, entry_swapoff_split) {
	.set = {
		.actors = { PAGEOUT, SWAPOFF, SPLIT, COLLAPSE },
		.needs = THP_NEED_SWAP | THP_NEED_PMD_SWAP | THP_NEED_SWAPDEV | THP_NEED_COLLAPSE,
		.swaps = true, .off = true, .ms = 2 * RACE_MS,
	},
};

FIXTURE_VARIANT_ADD(race, entry_zap) {
	.set = {
		.actors = { PAGEOUT, ZAP, SPLIT_W, TOUCH_W },
		.needs = THP_NEED_SWAP | THP_NEED_PMD_SWAP, .words = true, .swaps = true,
		.ms = RACE_MS,
	},
};

FIXTURE_VARIANT_ADD(race, move_split) {
	.set = {
		.actors = { MOVE, ZAP, SPLIT_W, TOUCH_W }, .needs = THP_NEED_NODES,
		.words = true, .ms = RACE_MS,
	},
};

FIXTURE_VARIANT_ADD(race, move_collapse) {
	.set = {
		.actors = { MOVE, SPLIT, COLLAPSE },
		.needs = THP_NEED_NODES | THP_NEED_COLLAPSE, .ms = RACE_MS,
	},
};

FIXTURE_VARIANT_ADD(race, move_fork) {
	.set = {
		.actors = { MOVE, FORK, COLLAPSE },
		.needs = THP_NEED_NODES | THP_NEED_COLLAPSE, .ms = RACE_MS,
	},
};

FIXTURE_VARIANT_ADD(race, move_zap) {
	.set = {
		.actors = { MOVE, ZAP, TOUCH_W }, .needs = THP_NEED_NODES, .words = true,
		.ms = RACE_MS,
	},
};

FIXTURE_SETUP(race)
{
	(void)sys_policy_local();
	thp_warm_up();
}

FIXTURE_TEARDOWN_PARENT(race)
{
	THP_CHECK(!thp_cg_destroy(&self->cg), "control group cannot be removed");
	thp_teardown(_metadata);
}

/* A control group that may swap half a THP: version 1 has no such limit. */
static int race_limit(struct thp_cg *cg, struct thp_why *why)
{
	char path[256];

	if (thp_env.memcg != 2)
		return thp_skip(why, "needs the memory controller of cgroup v2");
	TRY(thp_cg_create(cg, "race", why));
	snprintf(path, sizeof(path), "%s/memory.swap.max", cg->path);
	return thp_write_fmt(path, "%zu", thp_env.pmd / 2);
}

THP_COVERS(race, bounded, "race-split race-fault race-fork race-zap race-collapse");
TEST_F(race, bounded)
{
	THP_SKIP_IF(race_missing(&variant->set));
	if (variant->set.limited)
		THP_REQUIRE_OK(race_limit(&self->cg, &self->why), &self->why);
	if (variant->set.off)
		THP_REQUIRE_OK(thp_swapdev_on(&race_swapdev, &self->why), &self->why);
	THP_REQUIRE_OK(run_race(&variant->set, variant->set.limited ? &self->cg : NULL,
				&self->report, &self->why), &self->why);
}
