// SPDX-License-Identifier: GPL-2.0
/*
 * Zaps of a part, and of all, which must not split the PMD.
 */
#include "split_row.h"

static const struct split_op dontneed_ops[] = {
	{
		HEAD("dontneed"), .covers = "zap-dontneed",
		.run_with = split_madvise, .arg = MADV_DONTNEED,
		.flags = OP_ZAPS,
		.kinds = ANON_ZERO_SWAP, .keeps = PLAIN, .effect = ZEROES,
		.says = { &split_populated, 1, 0, ZAPPED },
	}, {
		MID("dontneed"), .covers = "zap-dontneed",
		.covers_on = { THP_SHMEM, "zap-dontneed file-split" },
		.run_with = split_madvise, .arg = MADV_DONTNEED,
		.flags = OP_ZAPS,
		.kinds = ALL_PMD, .keeps = PLAIN, .effect = ZEROES,
		.says = { &split_populated, 1, 0, ZAPPED },
	}, {
		TAIL("dontneed"), .covers = "zap-dontneed",
		.run_with = split_madvise, .arg = MADV_DONTNEED,
		.kinds = ANON_ZERO_SWAP, .effect = ZEROES,
		.says = { &split_populated, 1, 0, ZAPPED },
	}, {
		HALF("dontneed"), .covers = "zap-dontneed",
		.run_with = split_madvise, .arg = MADV_DONTNEED,
		.kinds = ANON_ZERO_SWAP, .effect = ZEROES,
		.says = { &split_populated, 1, 0, ZAPPED },
	}, {
		MID("dontneed_locked"), .covers = "zap-dontneed",
		.run_with = split_madvise, .arg = MADV_DONTNEED_LOCKED, .prepare = split_mlocked,
		.needs = THP_NEED_DONTNEED_LOCKED | THP_NEED_LIMIT,
		.kinds = ANON_ZERO_SWAP, .effect = ZEROES,
		.says = { &split_populated, 1, 0, ZAPPED },
	}, {
		WHOLE("dontneed"), .covers = "zap-pmd",
		.run_with = split_madvise, .arg = MADV_DONTNEED,
		.starved = NEVER, .flags = OP_LEAVES_NONE | OP_ZAPS,
		.keeps = PRIVATE_PMD | PLAIN, .effect = ZEROES,
		.says = { &split_populated, 1, 0, ZAPPED },
	},
};

SPLIT_OPS(dontneed_ops);

/* pagemap shows guards since Linux 6.15. */
static int verify_guard(struct thp_map *m, struct thp_why *why)
{
	size_t i, mid = thp_env.nr / 2;
	uint64_t entry;
	bool want;
	int ret;

	for (i = 0; thp_env.release >= THP_RELEASE(6, 15) && i < thp_env.nr; i++) {
		ret = thp_obs_pagemap(thp_page(m, i), &entry, 1);
		if (ret)
			return thp_why(why, ret, "pagemap: %s", thp_errno_name(ret));
		want = i == mid;
		if (!!(entry & THP_PM_GUARD) != want)
			return thp_why(why, -EPROTO, "page %zu: guard %d, expected %d", i, !want,
				       want);
	}
	return 0;
}

static const struct split_op guard_ops[] = {
	{
		MID("guard_install"), .covers = "zap-guard",
		.run_with = split_madvise, .arg = MADV_GUARD_INSTALL,
		.needs = THP_NEED_GUARD,
		.kinds = PRIVATE_PMD, .effect = UNMAPS,
		.verify = verify_guard, .meets = UNREADABLE,
	}, {
		/* The walk splits the PMD before it knows that no page is a guard. */
		MID("guard_remove"), .covers = "walk-device-private",
		.run_with = split_madvise, .arg = MADV_GUARD_REMOVE, .needs = THP_NEED_GUARD,
		.kinds = THP_DEVICE, .keeps = ANON_ZERO | PLAIN,
		.unproven = "no page is a guard: the split is all that it does",
	},
};

SPLIT_OPS(guard_ops);
