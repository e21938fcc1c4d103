// SPDX-License-Identifier: GPL-2.0
/*
 * Mapping and splitting of PMDs when nothing goes wrong: how many page tables
 * exist at fault, after the operation and after the range is gone; whether the
 * PMD was split when and only when it had to be; and that every byte survived.
 *
 * The fixture "split" runs the table of lib/split_ops.c; the others cover what
 * creates PMD mappings (fault, collapse) and what splits from outside (reclaim,
 * KSM).
 */
#include <pthread.h>
#include <sys/uio.h>

#include "thp_cgroup.h"
#include "thp_harness.h"
#include "thp_inject.h"
#include "thp_uapi.h"
#include "thp_uffd.h"

/* thp_env.unit is at most this: 1024 B / 64 B per table. */
#define MAX_UNIT 16

FIXTURE(split) {
	struct thp_map maps[MAX_UNIT];
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

static bool is_hash(void)
{
	return !strcmp(thp_env.mmu, "Hash");
}

/* Tables of one mapping right after its fault, by the contract. */
static long fault_tables(enum thp_kind kind)
{
	switch (kind) {
	case THP_ANON:
	case THP_ZERO: return thp_env.contract == THP_EAGER;
	case THP_SHMEM: return is_hash();
	case THP_SMALL: return 1;
	case THP_NONE: break;
	}
	return 0;
}

/* What one operation adds to that, by the contract; *@or: also allowed. */
static long op_tables(const struct split_op *op, enum thp_kind kind, long *or)
{
	long want = 0;

	if (split_expected(op, kind)) {
		/* File mappings drop the PMD and, on hash, the deposit with it. */
		want = kind == THP_SHMEM ? -is_hash() : thp_env.contract == THP_LAZY;
		*or = want;
	} else if (op->flags & OP_LEAVES_NONE) {
		want = kind == THP_SMALL ? 0 : -fault_tables(kind);
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
	int ret[MAX_UNIT];
	enum thp_state state[MAX_UNIT];
};

/* The sequence that is measured; nothing is judged here. */
static int measure(struct thp_map *maps, const struct split_op *op, enum thp_kind kind,
		   struct counted *c, struct thp_why *why)
{
	unsigned int i;
	int ret = 0;

	for (i = 0; i < thp_env.unit && !ret; i++)
		ret = thp_map_create(&maps[i], kind, why);
	c->base = thp_obs_vmpte(0);
	for (i = 0; i < thp_env.unit && !ret; i++)
		ret = thp_map_fault(&maps[i], why);
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

/* Page tables, events and structure: the exact oracles. */
TEST_F(split, counts)
{
	const struct split_op *op = variant->op;
	long n = thp_env.unit, want, or, got, splits;
	enum thp_kind kind = variant->kind;
	struct thp_why why = { "" };
	struct counted c;
	unsigned int i;
	int try;

	splits = split_expected(op, kind) ? n : 0;
	for (try = 0; try < 3; try++) {
		THP_REQUIRE_OK(measure(self->maps, op, kind, &c, &why), &why);
		/* The events are system-wide: too many may be somebody else's. */
		if (c.ev[1].split_pmd - c.ev[0].split_pmd <= (uint64_t)splits)
			break;
		for (i = 0; i < thp_env.unit; i++)
			thp_map_destroy(&self->maps[i]);
	}

	want = n * fault_tables(kind);
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

/* Every byte of the range, the neighbours, and what the operation promises. */
TEST_F(split, contents)
{
	const struct split_op *op = variant->op;
	struct thp_map *m = &self->maps[0];
	struct thp_why why = { "" };
	int ret;

	THP_REQUIRE_OK(thp_map_new(m, variant->kind, &why), &why);
	THP_REQUIRE_OK(split_prepare(op, m, &why), &why);
	ret = split_run(op, m);
	THP_REQUIRE(!ret, "%s returned %s, expected success", op->name, thp_errno_name(ret));
	if (op->verify && variant->kind != THP_SMALL && variant->kind != THP_NONE)
		THP_CHECK_OK(op->verify(m, &why), &why);
	THP_CHECK_OK(split_check_data(op, m, true, &why), &why);
	THP_CHECK(thp_peek(m->thp - thp_env.page) == 1, "the page below the range changed");
	/* The destructor of the process must cope with the result as well. */
}

THP_MAIN_INIT("thp_lazy_split", split_register_variants);
