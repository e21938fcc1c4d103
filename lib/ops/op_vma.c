// SPDX-License-Identifier: GPL-2.0
/*
 * Attributes of a VMA: advice, name, policy. A part with other attributes becomes a VMA of
 * its own.
 */
#include <linux/mempolicy.h>

#include "split_row.h"

static const struct split_op advice_ops[] = {
	{
		MID("madv_nohugepage"), .covers = "split-madvise-flags",
		.run_with = split_madvise, .arg = MADV_NOHUGEPAGE, .errnos = { EAGAIN },
		.kinds = ANON_ZERO_SWAP,
		.says = { &split_vma_unadvised, 0, 1, 0 },
	}, {
		MID("madv_dontdump"), .covers = "split-madvise-flags",
		.run_with = split_madvise, .arg = MADV_DONTDUMP, .errnos = { EAGAIN },
		.kinds = PRIVATE_PMD, .keeps = PLAIN,
		.says = { &split_vma_dontdump, 0, 1, 0 },
	}, {
		MID("madv_dontfork"), .covers = "split-madvise-flags",
		.run_with = split_madvise, .arg = MADV_DONTFORK, .errnos = { EAGAIN },
		.kinds = ANON_ZERO_SWAP,
		.says = { &split_vma_dontfork, 0, 1, 0 },
		.meets = { &split_left_by_fork, 0, 1, 0 },
	}, {
		MID("madv_wipeonfork"), .covers = "split-madvise-flags",
		.run_with = split_madvise, .arg = MADV_WIPEONFORK, .errnos = { EAGAIN },
		.kinds = ANON_ZERO_SWAP,
		.says = { &split_vma_wipeonfork, 0, 1, 0 },
		.meets = { &split_wiped_by_fork, 0, 1, THP_ANON | THP_SWAPPED },
	}, {
		MID("madv_sequential"), .covers = "split-madvise-flags",
		.run_with = split_madvise, .arg = MADV_SEQUENTIAL, .errnos = { EAGAIN },
		.kinds = ANON_ZERO_SWAP,
		.says = { &split_vma_sequential, 0, 1, 0 },
	}, {
		MID("madv_mergeable"), .covers = "split-madvise-flags",
		.run_with = split_madvise, .arg = MADV_MERGEABLE, .errnos = { EAGAIN, ENOMEM },
		.needs = THP_NEED_KSM,
		.kinds = ANON_ZERO_SWAP,
		.says = { &split_vma_mergeable, 0, 1, 0 },
	},
};

SPLIT_OPS(advice_ops);

static int run_anon_name(struct thp_map *m, char *addr, size_t len)
{
	(void)m;
	return RET(prctl(PR_SET_VMA, PR_SET_VMA_ANON_NAME, addr, len, SPLIT_NAME));
}

static const struct split_op name_ops[] = {
	{
		MID("anon_name"), .covers = "split-anon-name", .run = run_anon_name,
		.errnos = { EAGAIN, ENOMEM }, .needs = THP_NEED_ANON_NAME,
		.kinds = ANON_ZERO_SWAP,
		.says = { &split_vma_named, 0, 1, 0 },
	},
};

SPLIT_OPS(name_ops);

static int run_mbind(struct thp_map *m, char *addr, size_t len)
{
	unsigned long nodes = 1;

	(void)m;
	return RET(syscall(__NR_mbind, addr, len, MPOL_PREFERRED, &nodes, 8 * sizeof(nodes), 0));
}

static const struct split_op mbind_ops[] = {
	{
		MID("mbind"), .covers = "split-mbind", .run = run_mbind,
		.needs = THP_NEED_NUMA, .kinds = ANON_ZERO_SWAP,
		.says = { &split_policy, MPOL_DEFAULT, MPOL_PREFERRED, 0 },
	},
};

SPLIT_OPS(mbind_ops);

/* A home node belongs to a policy of several nodes. */
static int prepare_bound(struct thp_map *m, struct thp_why *why)
{
	unsigned long nodes = 1;

	return syscall(__NR_mbind, m->area, m->area_len, MPOL_BIND, &nodes, 8 * sizeof(nodes), 0) ?
		thp_why(why, -errno, "mbind: %s", strerror(errno)) : 0;
}

static int run_home_node(struct thp_map *m, char *addr, size_t len)
{
	(void)m;
	return RET(syscall(__NR_set_mempolicy_home_node, addr, len, 0, 0));
}

static const struct split_op home_node_ops[] = {
	{
		MID("home_node"), .covers = "split-mbind", .run = run_home_node,
		.prepare = prepare_bound, .needs = THP_NEED_HOME_NODE,
		.kinds = ANON_ZERO_SWAP,
		/*
		 * No system call reports the home node: a policy of its own makes a VMA of its
		 * own.
		 */
		.says = { &split_alone, 0, 1, 0 },
	},
};

SPLIT_OPS(home_node_ops);
