// SPDX-License-Identifier: GPL-2.0
/*
 * split: Every row of the table of operations, without failure: counts and contents.
 */

FIXTURE(split) {
	int unused;	/* the harness wants data */
};

#include "split_variants.h"

FIXTURE_SETUP(split)
{
	(void)self;
	THP_NEEDS(variant->op->needs | thp_kind_needs(variant->kind));
	thp_warm_up();
}

FIXTURE_TEARDOWN_PARENT(split)
{
	thp_teardown(_metadata);
}

/*
 * Tables that one operation that leaves the range @after adds to the process, by the
 * contract; *@or: also allowed.
 */
static long op_tables(const struct split_op *op, enum thp_kind kind, enum thp_state after,
		      long *or)
{
	long want = 0;

	if (split_owed(op, kind, after)) {
		want = thp_tables_split(kind);
		*or = want;
	} else if (op->flags & OP_LEAVES_NONE) {
		want = kind == THP_SMALL ? 0 : -thp_tables_mapped(kind);
		/* CONFIG_PT_RECLAIM frees a table that a zap has emptied. */
		*or = kind == THP_SMALL ? -1 : want;
	} else {
		*or = want;
	}
	return want;
}

/* The state that it has to leave, which @after is compared with. */
static enum thp_state state_after(const struct split_op *op, enum thp_kind kind,
				  enum thp_state after)
{
	if (split_owed(op, kind, after))
		return kind == THP_SHMEM ? THP_STATE_NONE : THP_STATE_PTE;
	if (split_expected(op, kind))
		return THP_STATE_PMD_SWAP;
	return op->flags & OP_LEAVES_NONE ? THP_STATE_NONE : thp_kind_state(kind);
}

struct counted {
	long long base, fault, before, after, zapped;	/* VmPTE, bytes */
	struct thp_events ev[2];
	struct thp_smaps sm[2];
	int ret[THP_SET_MAX];
	enum thp_state state[THP_SET_MAX];
};

/* Runs the measured sequence; judges nothing. */
static int measure_split(const struct _fixture_variant_split *v, struct counted *c,
			 struct thp_why *why)
{
	const struct split_op *op = v->op;
	static struct thp_set set;
	struct thp_map *maps = set.map;
	unsigned int i;
	int ret;

	thp_set_destroy(&set);
	ret = thp_set_create(&set, v->kind, why);
	c->base = thp_obs_vmpte(0);
	if (!ret)
		ret = thp_set_fault(&set, why);
	c->fault = thp_obs_vmpte(0);
	for (i = 0; i < thp_env.unit && !ret; i++)
		ret = split_prepare(op, &maps[i], why);
	for (i = 0; i < thp_env.unit && !ret; i++)
		if (split_expected(op, v->kind))
			ret = thp_map_expect(&maps[i], thp_kind_state(v->kind), why);
	if (ret)
		return ret;
	ret = thp_obs_smaps(0, maps[0].area, maps[0].area_len, &c->sm[0]);
	c->before = thp_obs_vmpte(0);
	thp_obs_events(&c->ev[0]);
	for (i = 0; i < thp_env.unit; i++)
		c->ret[i] = split_run(op, &maps[i]);
	thp_obs_events(&c->ev[1]);
	c->after = thp_obs_vmpte(0);
	if (!ret)
		ret = thp_obs_smaps(0, maps[0].area, maps[0].area_len, &c->sm[1]);
	for (i = 0; i < thp_env.unit && !ret; i++)
		ret = thp_obs_state(maps[i].thp, thp_env.pmd, &c->state[i]);
	if (ret)
		return thp_why(why, ret, "smaps or pagemap: %s", thp_errno_name(ret));
	for (i = 0; i < thp_env.unit && !(op->flags & OP_NO_ZAP); i++)
		thp_map_zap(&maps[i]);
	c->zapped = thp_obs_vmpte(0);
	return 0;
}

/* PMDs that the operations had to split. */
static long long splits_owed(const struct _fixture_variant_split *v, const struct counted *c)
{
	long long n = 0;
	unsigned int i;

	for (i = 0; i < thp_env.unit; i++)
		n += split_owed(v->op, v->kind, c->state[i]);
	return n;
}

/*
 * Compares the events with the contract. They are system-wide: excess may be due to others.
 * Advice skips a folio that another task has locked or holds a reference to, silently, or
 * fails because of that. 0; -EAGAIN or -EPROTO with a cause.
 */
static int judge_counted_events(const struct _fixture_variant_split *v, const struct counted *c,
				struct thp_why *why)
{
	const char *op = v->op->name, *kind = thp_kind_name(v->kind);
	long long n = thp_env.unit, want = splits_owed(v, c), got;
	bool folio = v->op->flags & OP_FOLIO;

	if (v->op->flags & OP_SWAPS && split_expected(v->op, v->kind)) {
		struct thp_swapped swapped = { .thps = n, .entries = n - want };

		TRY(thp_swapped_events(&swapped, c->ev[1].swpout_pmd - c->ev[0].swpout_pmd,
				       c->ev[1].swpout_fallback - c->ev[0].swpout_fallback, op,
				       why));
	}
	got = c->ev[1].split_pmd - c->ev[0].split_pmd;
	if (got != want)
		return thp_why(why, got > want || v->op->starved == ADVICE ? -EAGAIN : -EPROTO,
			       "%s of %lld %s: thp_split_pmd %+lld, expected %+lld", op, n, kind,
			       got, want);
	/* A caller that tries again must not hide that the first try has failed. */
	got = c->ev[1].split_page_failed - c->ev[0].split_page_failed;
	if (folio && got)
		return thp_why(why, -EAGAIN,
			       "%s of %lld %s: thp_split_page_failed %+lld, expected +0", op, n,
			       kind, got);
	/* The huge zero folio itself is never split, and a THP in swap has none. */
	got = c->ev[1].split_page - c->ev[0].split_page;
	if (want && folio && v->kind == THP_ANON && got < want)
		return thp_why(why, -EPROTO, "%s of %lld %s: thp_split_page %+lld, expected %+lld",
			       op, n, kind, got, want);
	if (c->ev[1].split_pmd_failed != c->ev[0].split_pmd_failed)
		return thp_why(why, -EPROTO, "%s: thp_split_pmd_failed moved without a failure",
			       op);
	return 0;
}

/* Compares VmPTE with the contract: after the fault, the operation, and the end. */
static int judge_counted_tables(const struct _fixture_variant_split *v, const struct counted *c,
				struct thp_why *why)
{
	const char *op = v->op->name, *kind = thp_kind_name(v->kind);
	const char *mode = thp_mode_name(thp_env.contract);
	long n = thp_env.unit, want, or, got, more, more_or;
	unsigned int i;

	want = n * thp_tables_mapped(v->kind);
	if (!thp_env_tables(c->fault - c->base, &got) || got != want)
		return thp_why(why, -EPROTO,
			       "fault of %ld %s: %+ld tables (%+lld B), expected %+ld on %s kernel",
			       n, kind, got, c->fault - c->base, want, mode);
	for (i = 0, want = 0, or = 0; i < thp_env.unit; i++, want += more, or += more_or)
		more = op_tables(v->op, v->kind, c->state[i], &more_or);
	if (!thp_env_tables(c->after - c->before, &got) || (got != want && got != or))
		return thp_why(why, -EPROTO,
			       "%s of %ld %s: %+ld tables (%+lld B), expected %+ld on %s kernel",
			       op, n, kind, got, c->after - c->before, want, mode);
	/* Only the anchors are left, and what prepare() mapped elsewhere. */
	if (!(v->op->flags & OP_NO_ZAP) && c->zapped - c->base != c->before - c->fault)
		return thp_why(why, -EPROTO,
			       "after munmap of the range VmPTE is %+lld B off, expected 0",
			       c->zapped - c->base - (c->before - c->fault));
	return 0;
}

/* kB of swap that the area has after the operation. */
static uint64_t swap_left(const struct split_op *op)
{
	size_t gone = op->effect != KEEPS_DATA || op->flags & OP_POPULATES ? split_count(op) : 0;

	return (thp_env.nr - gone) * thp_env.page / 1024;
}

/* A THP in swap: smaps counts each slot until it is given up; reclaim may add both anchors. */
static int judge_swap(const struct _fixture_variant_split *v, const struct counted *c,
		      struct thp_why *why)
{
	uint64_t want[2] = { thp_env.pmd / 1024, swap_left(v->op) };
	unsigned int i;

	for (i = 0; i < 2; i++)
		if (c->sm[i].swap_kb < want[i] ||
		    c->sm[i].swap_kb > want[i] + 2 * thp_env.page / 1024)
			return thp_why(why, -EPROTO, "Swap is %llu kB %s %s, expected %llu",
				       (unsigned long long)c->sm[i].swap_kb,
				       i ? "after" : "before", v->op->name,
				       (unsigned long long)want[i]);
	return 0;
}

/* Results, page map and VMAs. */
static int judge_counted_maps(const struct _fixture_variant_split *v, const struct counted *c,
			      struct thp_why *why)
{
	uint64_t pmd_kb = thp_env.pmd / 1024, huge_kb[2] = { pmd_kb, 0 };
	const char *op = v->op->name;
	enum thp_state want;
	unsigned int i;

	for (i = 0; i < thp_env.unit; i++) {
		if (c->ret[i])
			return thp_why(why, -EPROTO, "%s returned %s, expected success", op,
				       thp_errno_name(c->ret[i]));
		want = state_after(v->op, v->kind, c->state[i]);
		if (c->state[i] != want && c->state[i] != THP_STATE_UNKNOWN)
			return thp_why(why, -EPROTO, "%s left the range %s, expected %s", op,
				       thp_state_name(c->state[i]), thp_state_name(want));
	}
	if (c->state[0] == THP_STATE_PMD)
		huge_kb[1] = pmd_kb;
	for (i = 0; i < 2 && v->kind == THP_ANON; i++)
		if (c->sm[i].anon_huge_kb != huge_kb[i])
			return thp_why(why, -EPROTO,
				       "AnonHugePages is %llu kB %s %s, expected %llu",
				       (unsigned long long)c->sm[i].anon_huge_kb,
				       i ? "after" : "before", op,
				       (unsigned long long)huge_kb[i]);
	if (v->kind == THP_SWAPPED)
		TRY(judge_swap(v, c, why));
	if (v->op->flags & OP_MERGES && c->sm[0].vmas != c->sm[1].vmas)
		return thp_why(why, -EPROTO,
			       "%s: %u VMAs became %u, expected the boundary to move", op,
			       c->sm[0].vmas, c->sm[1].vmas);
	return 0;
}

/* One operation on a unit of THPs, counted and judged. */
static int count_split(const void *arg, struct thp_why *why)
{
	const struct _fixture_variant_split *v = arg;
	static struct counted c;

	TRY(measure_split(v, &c, why));
	/* Events first: the try is disturbed if they are. */
	TRY(judge_counted_events(v, &c, why));
	TRY(judge_counted_maps(v, &c, why));
	return judge_counted_tables(v, &c, why);
}

THP_TESTS_OF(split);

/* The exact oracles: page tables, events and structure. */
TEST_F(split, counts)
{
	(void)self;
	THP_SCENARIO(count_split, variant);
}

/* Runs the operation once on a new mapping and checks its effect, but no tables. */
static int run_and_verify(struct thp_map *m, const struct split_op *op, enum thp_kind kind,
			  struct thp_why *why)
{
	int ret;

	TRY(thp_map_new(m, kind, why));
	TRY(split_prepare(op, m, why));
	ret = split_run(op, m);
	if (ret)
		return thp_why(why, -EIO, "%s returned %s, expected success", op->name,
			       thp_errno_name(ret));
	TRY(split_verify(op, m, why));
	TRY(split_check_data(op, m, true, why));
	if (thp_peek(m->thp - thp_env.page) != 1)
		return thp_why(why, -EILSEQ, "the page below the range changed");
	/* mremap_shrink leaves no neighbour above. */
	if (!(op->effect == UNMAPS && op->flags & OP_ABOVE_TOO) &&
	    thp_peek(m->thp + thp_env.pmd) != 1)
		return thp_why(why, -EILSEQ, "the page above the range changed");
	return 0;
}

/*
 * Advice may skip a folio with an extra reference, which looks like advice without effect:
 * that is a disturbance, because advice that never has an effect fails every try.
 */
static int verify_split(const void *arg, struct thp_why *why)
{
	const struct _fixture_variant_split *v = arg;
	static struct thp_map m;
	int ret;

	thp_map_destroy(&m);
	ret = run_and_verify(&m, v->op, v->kind, why);
	return ret == -EPROTO && v->op->starved == ADVICE ? -EAGAIN : ret;
}

/* Every byte of the range, the neighbours, and the effect of the operation. */
TEST_F(split, contents)
{
	(void)self;
	THP_SCENARIO(verify_split, variant);
	/* The exit of the process must cope with the resulting state as well. */
}
