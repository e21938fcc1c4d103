// SPDX-License-Identifier: GPL-2.0
/*
 * split: Every row of the table of operations, without failure: counts and contents.
 */

FIXTURE(split) {
	struct thp_set set;
};

#include "split_variants.h"

FIXTURE_SETUP(split)
{
	THP_NEEDS(variant->op->needs | thp_kind_needs(variant->kind));
	thp_warm_up();
}

FIXTURE_TEARDOWN_PARENT(split)
{
	thp_teardown(_metadata);
}

/* Tables that one operation adds to the process, by the contract; *@or: also allowed. */
static long op_tables(const struct split_op *op, enum thp_kind kind, long *or)
{
	long want = 0;

	if (split_expected(op, kind)) {
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

static enum thp_state state_after(const struct split_op *op, enum thp_kind kind)
{
	if (split_expected(op, kind))
		return kind == THP_SHMEM ? THP_STATE_NONE : THP_STATE_PTE;
	return op->flags & OP_LEAVES_NONE ? THP_STATE_NONE : thp_kind_state(kind);
}

struct counted {
	long long base, fault, before, after, zapped;	/* VmPTE, bytes */
	struct thp_events ev[2];
	struct thp_smaps sm[2];
	int ret[THP_SET_MAX];
	enum thp_state state[THP_SET_MAX];
};

/* The sequence that is measured; nothing is judged here. */
static int measure(struct thp_set *set, const struct split_op *op, enum thp_kind kind,
		   struct counted *c, struct thp_why *why)
{
	struct thp_map *maps = set->map;
	unsigned int i;
	int ret;

	ret = thp_set_create(set, kind, why);
	c->base = thp_obs_vmpte(0);
	if (!ret)
		ret = thp_set_fault(set, why);
	c->fault = thp_obs_vmpte(0);
	for (i = 0; i < thp_env.unit && !ret; i++)
		ret = split_prepare(op, &maps[i], why);
	for (i = 0; i < thp_env.unit && !ret; i++)
		if (split_expected(op, kind))
			ret = thp_map_expect(&maps[i], thp_kind_state(kind), why);
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

/* Tries to split a folio that have failed meanwhile; others count into this, too. */
static long long failed_tries(const struct counted *c)
{
	return c->ev[1].split_page_failed - c->ev[0].split_page_failed;
}

/*
 * Whether the measurement tells of something else. The events are system-wide: too many
 * may be somebody else's. Advice passes over a folio that somebody else has locked or
 * holds, and says nothing, or fails for that reference.
 */
static bool disturbed(const struct split_op *op, const struct counted *c, long splits)
{
	long long got = c->ev[1].split_pmd - c->ev[0].split_pmd;

	return got > splits || (got < splits && op->starved == ADVICE) ||
	       ((op->flags & OP_FOLIO) && failed_tries(c));
}

THP_TESTS_OF(split);

/* Page tables, events and structure: the exact oracles. */
TEST_F(split, counts)
{
	const struct split_op *op = variant->op;
	long n = thp_env.unit, want, or, got, splits;
	enum thp_kind kind = variant->kind;
	struct thp_why why = { 0 };
	struct counted c;
	unsigned int i;
	int try;

	splits = split_expected(op, kind) ? n : 0;
	for (try = 0; try < 3; try++) {
		THP_REQUIRE_OK(measure(&self->set, op, kind, &c, &why), &why);
		if (!disturbed(op, &c, splits))
			break;
		thp_set_destroy(&self->set);
	}

	want = n * thp_tables_mapped(kind);
	THP_CHECK(thp_env_tables(c.fault - c.base, &got) && got == want,
		  "fault of %ld %s: %+ld tables (%+lld B), expected %+ld on %s kernel", n,
		  thp_kind_name(kind), got, c.fault - c.base, want,
		  thp_mode_name(thp_env.contract));
	for (i = 0; i < thp_env.unit; i++)
		THP_CHECK(!c.ret[i], "%s returned %s, expected success", op->name,
			  thp_errno_name(c.ret[i]));
	THP_CHECK(c.ev[1].split_pmd - c.ev[0].split_pmd == (uint64_t)splits,
		  "%s of %ld %s: thp_split_pmd %+lld, expected %+ld", op->name, n,
		  thp_kind_name(kind), (long long)(c.ev[1].split_pmd - c.ev[0].split_pmd), splits);
	/* The huge zero folio itself is never split. */
	if (splits && (op->flags & OP_FOLIO) && kind != THP_ZERO)
		THP_CHECK(c.ev[1].split_page - c.ev[0].split_page >= (uint64_t)splits,
			  "%s of %ld %s: thp_split_page %+lld, expected %+ld", op->name, n,
			  thp_kind_name(kind),
			  (long long)(c.ev[1].split_page - c.ev[0].split_page), splits);
	/* A caller that asks again must not hide that the first try has failed. */
	if (op->flags & OP_FOLIO)
		THP_CHECK(!failed_tries(&c),
			  "%s of %ld %s: thp_split_page_failed %+lld, expected +0", op->name,
			  n, thp_kind_name(kind), failed_tries(&c));
	THP_CHECK(c.ev[1].split_pmd_failed == c.ev[0].split_pmd_failed,
		  "%s: thp_split_pmd_failed moved without a failure", op->name);
	want = n * op_tables(op, kind, &or);
	or *= n;
	THP_CHECK(thp_env_tables(c.after - c.before, &got) && (got == want || got == or),
		  "%s of %ld %s: %+ld tables (%+lld B), expected %+ld on %s kernel", op->name, n,
		  thp_kind_name(kind), got, c.after - c.before, want,
		  thp_mode_name(thp_env.contract));
	for (i = 0; i < thp_env.unit; i++)
		THP_CHECK(c.state[i] == state_after(op, kind) ||
			  c.state[i] == THP_STATE_UNKNOWN,
			  "%s left the range %s, expected %s", op->name,
			  thp_state_name(c.state[i]), thp_state_name(state_after(op, kind)));
	if (kind == THP_ANON) {
		uint64_t huge = c.state[0] == THP_STATE_PMD ? thp_env.pmd / 1024 : 0;

		THP_CHECK(c.sm[0].anon_huge_kb == thp_env.pmd / 1024,
			  "AnonHugePages is %llu kB before %s, expected %zu",
			  (unsigned long long)c.sm[0].anon_huge_kb, op->name, thp_env.pmd / 1024);
		THP_CHECK(c.sm[1].anon_huge_kb == huge,
			  "AnonHugePages is %llu kB after %s, expected %llu",
			  (unsigned long long)c.sm[1].anon_huge_kb, op->name,
			  (unsigned long long)huge);
	}
	if (op->flags & OP_MERGES)
		THP_CHECK(c.sm[0].vmas == c.sm[1].vmas,
			  "%s: %u VMAs became %u, expected the boundary to move", op->name,
			  c.sm[0].vmas, c.sm[1].vmas);
	if (op->flags & OP_NO_ZAP)
		return;
	/* Back to the anchors, and to what prepare() mapped elsewhere. */
	THP_CHECK(c.zapped - c.base == c.before - c.fault,
		  "after munmap of the range VmPTE is %+lld B off, expected 0",
		  c.zapped - c.base - (c.before - c.fault));
}

/* One operation on a mapping of its own, and all that it promises but tables. */
static int run_and_verify(struct thp_map *m, const struct split_op *op, enum thp_kind kind,
			  struct thp_why *why)
{
	int ret = thp_map_new(m, kind, why);

	if (!ret)
		ret = split_prepare(op, m, why);
	if (ret)
		return ret;
	ret = split_run(op, m);
	if (ret)
		return thp_why(why, -EIO, "%s returned %s, expected success", op->name,
			       thp_errno_name(ret));
	ret = split_verify(op, m, why);
	if (!ret)
		ret = split_check_data(op, m, true, why);
	if (!ret && thp_peek(m->thp - thp_env.page) != 1)
		ret = thp_why(why, -EILSEQ, "the page below the range changed");
	/* mremap_shrink has none above. */
	if (!ret && !(op->effect == UNMAPS && op->flags & OP_ABOVE_TOO) &&
	    thp_peek(m->thp + thp_env.pmd) != 1)
		ret = thp_why(why, -EILSEQ, "the page above the range changed");
	return ret;
}

/*
 * Advice may pass over a folio that somebody else holds, and aging looks the same. What
 * does nothing does so each time.
 */
static int retry_and_verify(struct thp_map *m, const struct split_op *op, enum thp_kind kind,
			    struct thp_why *why)
{
	int try, ret = 0;

	for (try = 0; try < 3; try++) {
		*why = (struct thp_why){ 0 };
		ret = run_and_verify(m, op, kind, why);
		if (ret != -EAGAIN && (ret != -EPROTO || op->starved != ADVICE))
			break;
		thp_map_destroy(m);
	}
	return ret;
}

/* Every byte of the range, the neighbours, and what the operation promises. */
TEST_F(split, contents)
{
	struct thp_why why = { 0 };

	THP_REQUIRE_OK(retry_and_verify(&self->set.map[0], variant->op, variant->kind, &why), &why);
	/* The destructor of the process must cope with the result as well. */
}
