// SPDX-License-Identifier: GPL-2.0
/*
 * Protection: of a part, which splits the VMA, and of all, which must not split the PMD.
 */
#include "split_row.h"

static int run_mprotect(struct thp_map *m, char *addr, size_t len)
{
	(void)m;
	return RET(mprotect(addr, len, PROT_READ));
}

static const struct split_op mprotect_ops[] = {
	{
		HEAD("mprotect"), .covers = "split-mprotect", .run = run_mprotect,
		.kinds = ANON_ZERO_SWAP,
		.says = { &split_vma_write, 1, 0, 0 }, .meets = UNWRITABLE,
	}, {
		MID("mprotect"), .covers = "split-mprotect", .run = run_mprotect,
		.covers_on = { THP_SHMEM, "split-mprotect file-split" },
		.kinds = ALL_PMD, .keeps = PLAIN,
		.says = { &split_vma_write, 1, 0, 0 }, .meets = UNWRITABLE,
	},
};

SPLIT_OPS(mprotect_ops);

/* A neighbour with the wanted flags already: the boundary moves, no VMA is added. */
static int prepare_ro_below(struct thp_map *m, struct thp_why *why)
{
	return mprotect(m->area, m->thp - m->area, PROT_READ) ?
		thp_why(why, -errno, "mprotect below: %s", strerror(errno)) : 0;
}

static int prepare_ro_above(struct thp_map *m, struct thp_why *why)
{
	return mprotect(m->thp + thp_env.pmd, thp_env.pmd, PROT_READ) ?
		thp_why(why, -errno, "mprotect above: %s", strerror(errno)) : 0;
}

static const struct split_op merge_ops[] = {
	{
		NAMED("mprotect_merge_below", AT_HEAD), .covers = "split-vma-merge",
		.run = run_mprotect,
		.prepare = prepare_ro_below,
		.kinds = ANON_ZERO_SWAP,
		.says = { &split_vma_write, 1, 0, 0 }, .meets = UNWRITABLE,
		.flags = OP_MERGES | OP_BELOW_TOO,
	}, {
		NAMED("mprotect_merge_above", AT_TAIL), .covers = "split-vma-merge",
		.run = run_mprotect,
		.prepare = prepare_ro_above,
		.kinds = ANON_ZERO_SWAP,
		.says = { &split_vma_write, 1, 0, 0 }, .meets = UNWRITABLE,
		.flags = OP_MERGES | OP_ABOVE_TOO,
	},
};

SPLIT_OPS(merge_ops);

static int run_mprotect_whole(struct thp_map *m, char *addr, size_t len)
{
	(void)m;
	return RET(mprotect(addr, len, PROT_READ) || mprotect(addr, len, PROT_RW) ||
		   mprotect(addr, len, PROT_READ));
}

static const struct split_op mprotect_whole_ops[] = {
	{
		WHOLE("mprotect"), .covers = "protect-pmd", .run = run_mprotect_whole,
		.starved = FAILS, .keeps = ALL_PMD,
		.says = { &split_vma_write, 1, 0, 0 }, .meets = UNWRITABLE,
	},
};

SPLIT_OPS(mprotect_whole_ops);

static int run_mseal(struct thp_map *m, char *addr, size_t len)
{
	(void)m;
	return RET(syscall(__NR_mseal, addr, len, 0));
}

static const struct split_op mseal_ops[] = {
	{
		MID("mseal"), .covers = "split-mseal", .run = run_mseal,
		.needs = THP_NEED_MSEAL, .flags = OP_NO_ZAP,
		.kinds = ANON_ZERO_SWAP,
		.says = { &split_alone, 0, 1, 0 }, .meets = { &split_sealed, 0, 1, 0 },
	},
};

SPLIT_OPS(mseal_ops);
