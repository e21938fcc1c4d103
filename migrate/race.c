// SPDX-License-Identifier: GPL-2.0
/*
 * race: Bounded races of splits with everything else.
 */

struct race_set {
	struct thp_actor actors[THP_RACE_ACTORS];
	uint64_t needs;
	bool words;		/* somebody zaps: the pattern is not kept */
	int ms;
	long min_hits;
};

/* /proc/self/pagemap of a race's process. */
static int pagemap_fd = -1;

/* What the child leaves behind for the log. */
struct race_report {
	long loops[THP_RACE_ACTORS];
	long hits[THP_RACE_ACTORS];
};

struct race_arg {
	const struct race_set *set;
	struct race_report *report;
};

/* Gives everything back: the tables of the range are what its state says. */
static int settle(struct thp_race *r, long long base, struct thp_why *why)
{
	long long before, after;
	enum thp_state state;
	long got, lo, hi;
	int ret;

	ret = thp_obs_state(r->map.thp, thp_env.pmd, &state);
	if (ret)
		return thp_why(why, ret, "page map: %s", thp_errno_name(ret));
	before = thp_obs_vmpte(0);
	ret = thp_map_zap(&r->map);
	after = thp_obs_vmpte(0);
	if (ret)
		return thp_why(why, ret, "munmap: %s", thp_errno_name(ret));
	/* An empty range may have kept its table; a single one may be below 1 kB. */
	lo = state == THP_STATE_PMD ? thp_tables_mapped(THP_ANON) : state == THP_STATE_PTE ? 1 : 0;
	hi = state == THP_STATE_PMD ? thp_tables_mapped(THP_ANON) : 1;
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

static long swapped_pages(struct thp_race *r)
{
	uint64_t entry;
	long found = 0;
	size_t i;

	for (i = 0; i < thp_env.nr; i++)
		found += !thp_obs_pagemap(thp_page(&r->map, i), &entry) && entry & THP_PM_SWAPPED;
	return found;
}

/*
 * Each actor alone, once: a race between operations that have no effect is none. What
 * they do while others are about may fail for passing reasons; alone it has to work.
 */
static int prove_actor(struct thp_race *r, struct thp_actor *a, struct thp_why *why)
{
	int (*step)(struct thp_race *r, struct thp_actor *a, struct thp_why *why) = a->step;
	int try, ret;

	a->race = r;
	/* The collapse in it; the rest of it waits for its partner. */
	if (step == act_recollapse)
		step = act_collapse;
	if (step == act_split || step == act_split_words) {
		ret = step(r, a, why);
		return ret ? ret : thp_map_expect(&r->map, THP_STATE_PTE, why);
	}
	if (step == act_pageout) {
		for (try = 0; try < 20; try++) {
			ret = step(r, a, why);
			if (ret || swapped_pages(r) > 0)
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
 * All of them, on copies; the range is mapped anew for the race. MADV_DONTNEED would not
 * do: without CONFIG_PT_RECLAIM it leaves an empty PTE table, and no THP can be had.
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
	/* Bound to the memory of whoever opens it: not inherited. */
	pagemap_fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	base = thp_obs_vmpte(0);
	ret = thp_map_new(&race.map, THP_ANON, why);
	if (!ret)
		ret = prove_actors(&race, actors, n, why);
	if (ret)
		return ret;
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

#define RUN_RACE(race_set) do {						\
	struct race_arg __arg = { .set = race_set };			\
	const char *__missing;						\
	long long __residue;						\
	int __i;							\
									\
	__missing = (__arg.set->needs & THP_NEED_NODES) ?		\
		    numa_missing(__arg.set->needs) : thp_env_missing(__arg.set->needs); \
	if (__missing)							\
		THP_SKIP(__missing);					\
	__arg.report = mmap(NULL, sizeof(*__arg.report), PROT_READ | PROT_WRITE, \
			    MAP_SHARED | MAP_ANONYMOUS, -1, 0);		\
	THP_REQUIRE(__arg.report != MAP_FAILED, "mmap: %s", strerror(errno)); \
	THP_REQUIRE_OK(thp_map_new(&self->map, THP_ANON, &self->why), &self->why); \
	thp_map_destroy(&self->map);					\
	THP_REQUIRE_OK(thp_race_residue(&__residue), &self->why);	\
	THP_CHECK_OK(thp_child_run(race_body, &__arg,			\
				   THP_RACE_ACTORS * (THP_MEET_MS +	\
						      5 * __arg.set->ms * (int)thp_env.scale), \
				   &self->why), &self->why);		\
	THP_CHECK_OK(thp_race_no_residue(__residue, SLACK_KB, &self->why), &self->why); \
	for (__i = 0; __i < THP_RACE_ACTORS && __arg.set->actors[__i].step; __i++) { \
		self->hits[__i] = __arg.report->hits[__i];		\
		self->loops[__i] = __arg.report->loops[__i];		\
		printf("# %s: %ld steps, %ld hits\n", __arg.set->actors[__i].name, \
		       self->loops[__i], self->hits[__i]);		\
	}								\
} while (0)

FIXTURE(race) {
	struct thp_map map;
	struct thp_why why;
	long hits[THP_RACE_ACTORS];
	long loops[THP_RACE_ACTORS];
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

FIXTURE_VARIANT_ADD(race, split_collapse) {
	.set = { { SPLIT, COLLAPSE, TOUCH }, THP_NEED_COLLAPSE, false, RACE_MS, 0 },
};

FIXTURE_VARIANT_ADD(race, split_fork) {
	.set = { { SPLIT, COLLAPSE, FORK }, THP_NEED_COLLAPSE, false, RACE_MS, 0 },
};

FIXTURE_VARIANT_ADD(race, split_fork_fault) {
	.set = { { SPLIT, COLLAPSE, FORK, TOUCH }, THP_NEED_COLLAPSE, false, RACE_MS, 0 },
};

FIXTURE_VARIANT_ADD(race, collapse_fork) {
	.set = { { COLLAPSE, FORK, TOUCH }, THP_NEED_COLLAPSE, false, RACE_MS, 0 },
};

FIXTURE_VARIANT_ADD(race, pin_collapse) {
	.set = { { RECOLLAPSE, PIN }, THP_NEED_COLLAPSE, false, 6 * RACE_MS, 100 },
};

FIXTURE_VARIANT_ADD(race, zap_fault) {
	.set = { { ZAP, TOUCH_W, TOUCH_W }, 0, true, RACE_MS, 0 },
};

FIXTURE_VARIANT_ADD(race, zap_split) {
	.set = { { ZAP, SPLIT_W, TOUCH_W }, 0, true, RACE_MS, 0 },
};

FIXTURE_VARIANT_ADD(race, zap_collapse) {
	.set = { { ZAP, COLLAPSE, TOUCH_W }, THP_NEED_COLLAPSE, true, RACE_MS, 0 },
};

FIXTURE_VARIANT_ADD(race, zap_fork) {
	.set = { { ZAP, FORK_W, TOUCH_W }, 0, true, RACE_MS, 0 },
};

FIXTURE_VARIANT_ADD(race, pageout_split) {
	.set = { { PAGEOUT, SPLIT, COLLAPSE, TOUCH }, THP_NEED_SWAP | THP_NEED_COLLAPSE, false,
		 RACE_MS, 0 },
};

FIXTURE_VARIANT_ADD(race, pageout_fork) {
	.set = { { PAGEOUT, FORK, COLLAPSE }, THP_NEED_SWAP | THP_NEED_COLLAPSE, false,
		 RACE_MS, 0 },
};

FIXTURE_VARIANT_ADD(race, move_split) {
	.set = { { MOVE, ZAP, SPLIT_W, TOUCH_W }, THP_NEED_NODES, true, RACE_MS, 0 },
};

FIXTURE_VARIANT_ADD(race, move_collapse) {
	.set = { { MOVE, SPLIT, COLLAPSE }, THP_NEED_NODES | THP_NEED_COLLAPSE, false, RACE_MS, 0 },
};

FIXTURE_VARIANT_ADD(race, move_fork) {
	.set = { { MOVE, FORK, COLLAPSE }, THP_NEED_NODES | THP_NEED_COLLAPSE, false, RACE_MS, 0 },
};

FIXTURE_VARIANT_ADD(race, move_zap) {
	.set = { { MOVE, ZAP, TOUCH_W }, THP_NEED_NODES, true, RACE_MS, 0 },
};

FIXTURE_SETUP(race)
{
	(void)sys_policy_local();
	thp_warm_up();
}

FIXTURE_TEARDOWN_PARENT(race)
{
	thp_teardown(_metadata);
}

THP_COVERS(race, bounded, "race-split race-fault race-fork race-zap race-collapse");
TEST_F(race, bounded)
{
	RUN_RACE(&variant->set);
}
