// SPDX-License-Identifier: GPL-2.0
/* Operations that unmap a part of the range: the kernel splits the VMA, and with it the PMD. */
#include "split_row.h"

static int run_munmap(struct thp_map *m, char *addr, size_t len)
{
	(void)m;
	return RET(munmap(addr, len));
}

static const struct split_op munmap_ops[] = {
	{
		HEAD("munmap"), .covers = "split-munmap", .run = run_munmap,
		.kinds = ANON_ZERO_SWAP, .keeps = PLAIN, .effect = UNMAPS,
		.says = GONE, .meets = UNREADABLE,
	}, {
		MID("munmap"), .covers = "split-munmap", .run = run_munmap,
		.covers_on = { THP_SHMEM, "split-munmap file-split" },
		.kinds = ALL_PMD, .keeps = PLAIN, .effect = UNMAPS,
		.says = GONE, .meets = UNREADABLE,
	}, {
		TAIL("munmap"), .covers = "split-munmap", .run = run_munmap,
		.kinds = ANON_ZERO_SWAP, .effect = UNMAPS,
		.says = GONE, .meets = UNREADABLE,
	}, {
		HALF("munmap"), .covers = "split-munmap", .run = run_munmap,
		.kinds = ANON_ZERO_SWAP, .effect = UNMAPS,
		.says = GONE, .meets = UNREADABLE,
	},
};

SPLIT_OPS(munmap_ops);

static int run_mmap_fixed(struct thp_map *m, char *addr, size_t len)
{
	(void)m;
	return mmap(addr, len, PROT_RW, MAP_ANON_FIXED, -1, 0) == MAP_FAILED ? -errno : 0;
}

static const struct split_op mmap_fixed_ops[] = {
	{
		MID("mmap_fixed"), .covers = "split-map-fixed", .run = run_mmap_fixed,
		.kinds = ANON_ZERO_SWAP, .keeps = PLAIN, .effect = ZEROES,
		.says = { &split_vma_advised, 1, 0, ANON_ZERO_SWAP },
	},
};

SPLIT_OPS(mmap_fixed_ops);

/* The neighbour continues above the THP: unmap it, so that the VMA ends with the THP. */
static int prepare_shrink(struct thp_map *m, struct thp_why *why)
{
	size_t above = m->area + m->area_len - (m->thp + thp_env.pmd);

	if (munmap(m->thp + thp_env.pmd, above))
		return thp_why(why, -errno, "munmap above: %s", strerror(errno));
	/* The anchor above was unmapped: map another one, in a VMA of its own. */
	if (mmap(m->thp + thp_env.pmd + thp_env.page, above - thp_env.page, PROT_RW,
		 MAP_ANON_FIXED | MAP_NORESERVE, -1, 0) == MAP_FAILED)
		return thp_why(why, -errno, "mmap above: %s", strerror(errno));
	madvise(m->thp + thp_env.pmd + thp_env.page, above - thp_env.page, MADV_NOHUGEPAGE);
	thp_touch(m->thp + thp_env.pmd + thp_env.page);
	return 0;
}

static int run_mremap_shrink(struct thp_map *m, char *addr, size_t len)
{
	(void)len;
	return mremap(m->thp, thp_env.pmd, addr - m->thp, 0) == MAP_FAILED ? -errno : 0;
}

static const struct split_op shrink_ops[] = {
	{
		NAMED("mremap_shrink", AT_UPPER), .covers = "split-shrink",
		.run = run_mremap_shrink,
		.prepare = prepare_shrink,
		.kinds = ANON_ZERO_SWAP, .effect = UNMAPS,
		.says = GONE, .meets = UNREADABLE, .flags = OP_ABOVE_TOO,
	},
};

SPLIT_OPS(shrink_ops);
