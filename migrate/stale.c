// SPDX-License-Identifier: GPL-2.0
/*
 * stale: No CPU reaches a page through a stale translation after an operation has changed
 * the page table; stale_probe.c describes the method.
 */

FIXTURE(stale) {
	struct stale s;
};

FIXTURE_VARIANT(stale) {
	struct stale_case c;
};

THP_COVERS_VARIANT(stale, munmap, never_reached, "stale-translation zap-pmd");
FIXTURE_VARIANT_ADD(stale, munmap) {
	.c = { .kind = THP_ANON, .run = stale_unmap, .after = STALE_GONE },
};

THP_COVERS_VARIANT(stale, munmap_page, never_reached, "stale-translation split-munmap");
FIXTURE_VARIANT_ADD(stale, munmap_page) {
	.c = { .kind = THP_ANON, .page = true, .run = stale_unmap, .after = STALE_GONE },
};

THP_COVERS_VARIANT(stale, dontneed, never_reached, "stale-translation zap-pmd");
FIXTURE_VARIANT_ADD(stale, dontneed) {
	.c = { .kind = THP_ANON, .run = stale_dontneed, .after = STALE_ZERO, .reads = true },
};

THP_COVERS_VARIANT(stale, dontneed_page, never_reached, "stale-translation zap-dontneed");
FIXTURE_VARIANT_ADD(stale, dontneed_page) {
	.c = {
		.kind = THP_ANON, .page = true, .run = stale_dontneed, .after = STALE_ZERO,
		.reads = true,
	},
};

THP_COVERS_VARIANT(stale, mremap, never_reached, "stale-translation move-pmd");
FIXTURE_VARIANT_ADD(stale, mremap) {
	.c = {
		.kind = THP_ANON, .prepare = stale_target, .run = stale_move,
		.after = STALE_GONE,
	},
};

THP_COVERS_VARIANT(stale, mremap_keep, never_reached,
		   "stale-translation move-pmd mremap-dontunmap");
FIXTURE_VARIANT_ADD(stale, mremap_keep) {
	.c = {
		.kind = THP_ANON, .prepare = stale_target, .run = stale_move_keep,
		.after = STALE_ZERO, .reads = true,
	},
};

THP_COVERS_VARIANT(stale, mremap_page, never_reached, "stale-translation move-partial");
FIXTURE_VARIANT_ADD(stale, mremap_page) {
	.c = {
		.kind = THP_ANON, .page = true, .prepare = stale_target, .run = stale_move,
		.after = STALE_GONE,
	},
};

THP_COVERS_VARIANT(stale, mremap_table, never_reached, "stale-translation move-pte-table");
FIXTURE_VARIANT_ADD(stale, mremap_table) {
	.c = {
		.kind = THP_ANON, .prepare = stale_target_split, .run = stale_move,
		.after = STALE_GONE,
	},
};

THP_COVERS_VARIANT(stale, mremap_ptes, never_reached, "stale-translation move-partial");
FIXTURE_VARIANT_ADD(stale, mremap_ptes) {
	.c = {
		.kind = THP_ANON, .page = true, .prepare = stale_target_split,
		.run = stale_move, .after = STALE_GONE,
	},
};

THP_COVERS_VARIANT(stale, mremap_upper, never_reached, "stale-translation move-pmd-page");
FIXTURE_VARIANT_ADD(stale, mremap_upper) {
	.c = { .prepare = stale_upper, .run = stale_move_upper, .after = STALE_GONE },
};

THP_COVERS_VARIANT(stale, uffd_move, never_reached, "stale-translation uffd-move-pmd");
FIXTURE_VARIANT_ADD(stale, uffd_move) {
	.c = {
		.kind = THP_ANON, .needs = THP_NEED_UFFD_MOVE, .prepare = stale_uffd_target,
		.run = stale_uffd_move, .after = STALE_ZERO, .reads = true,
	},
};

THP_COVERS_VARIANT(stale, uffd_move_page, never_reached, "stale-translation uffd-move-split");
FIXTURE_VARIANT_ADD(stale, uffd_move_page) {
	.c = {
		.kind = THP_ANON, .page = true, .needs = THP_NEED_UFFD_MOVE,
		.prepare = stale_uffd_target, .run = stale_uffd_move,
		.after = STALE_ZERO, .reads = true,
	},
};

THP_COVERS_VARIANT(stale, uffd_move_ptes, never_reached, "stale-translation uffd-move-split");
FIXTURE_VARIANT_ADD(stale, uffd_move_ptes) {
	.c = {
		.kind = THP_ANON, .page = true, .needs = THP_NEED_UFFD_MOVE,
		.prepare = stale_uffd_target_split, .run = stale_uffd_move,
		.after = STALE_ZERO, .reads = true,
	},
};

THP_COVERS_VARIANT(stale, mprotect_read, never_reached, "stale-translation protect-pmd");
FIXTURE_VARIANT_ADD(stale, mprotect_read) {
	.c = { .kind = THP_ANON, .run = stale_protect_read, .after = STALE_READ_ONLY },
};

THP_COVERS_VARIANT(stale, mprotect_none, never_reached, "stale-translation protect-pmd");
FIXTURE_VARIANT_ADD(stale, mprotect_none) {
	.c = { .kind = THP_ANON, .run = stale_protect_none, .after = STALE_GONE },
};

THP_COVERS_VARIANT(stale, mprotect_page, never_reached, "stale-translation split-mprotect");
FIXTURE_VARIANT_ADD(stale, mprotect_page) {
	.c = {
		.kind = THP_ANON, .page = true, .run = stale_protect_read,
		.after = STALE_READ_ONLY,
	},
};

THP_COVERS_VARIANT(stale, uffd_wp, never_reached, "stale-translation protect-pmd");
FIXTURE_VARIANT_ADD(stale, uffd_wp) {
	.c = {
		.kind = THP_ANON, .needs = THP_NEED_UFFD_WP, .prepare = stale_uffd_wp_prepare,
		.run = stale_uffd_wp, .after = STALE_READ_ONLY,
	},
};

THP_COVERS_VARIANT(stale, pagemap_scan, never_reached, "stale-translation walk-pagemap-scan");
FIXTURE_VARIANT_ADD(stale, pagemap_scan) {
	.c = {
		.kind = THP_ANON, .needs = THP_NEED_UFFD_ASYNC | THP_NEED_SCAN, .rests = true,
		.prepare = stale_scan_prepare, .run = stale_scan, .verify = stale_scan_verify,
		.after = STALE_SAME,
	},
};

THP_COVERS_VARIANT(stale, folio_split, never_reached,
		   "stale-translation folio-split folio-split-advice");
FIXTURE_VARIANT_ADD(stale, folio_split) {
	.c = { .kind = THP_ANON, .run = stale_cold, .after = STALE_SAME },
};

THP_COVERS_VARIANT(stale, folio_split_zeroes, never_reached,
		   "stale-translation folio-split folio-split-advice");
FIXTURE_VARIANT_ADD(stale, folio_split_zeroes) {
	.c = {
		.kind = THP_ANON, .zeroes = true, .prepare = stale_zeroes, .run = stale_cold,
		.after = STALE_SAME,
	},
};

THP_COVERS_VARIANT(stale, pageout, never_reached, "stale-translation reclaim-unmap");
FIXTURE_VARIANT_ADD(stale, pageout) {
	.c = {
		.kind = THP_ANON, .needs = THP_NEED_SWAP, .rests = true, .run = stale_pageout,
		.after = STALE_SAME,
	},
};

THP_COVERS_VARIANT(stale, free, never_reached, "stale-translation advice-pmd reclaim-lazyfree");
FIXTURE_VARIANT_ADD(stale, free) {
	.c = {
		.kind = THP_ANON, .rests = true, .may_zero = true,
		.run = stale_free, .verify = stale_free_verify, .after = STALE_SAME,
	},
};

THP_COVERS_VARIANT(stale, migrate, never_reached, "stale-translation migrate-pmd");
FIXTURE_VARIANT_ADD(stale, migrate) {
	.c = {
		.kind = THP_ANON, .needs = THP_NEED_NODES | THP_NEED_MOVE_PAGES,
		.run = stale_migrate, .after = STALE_SAME,
	},
};

THP_COVERS_VARIANT(stale, to_device, never_reached, "stale-translation migrate-device-pmd");
FIXTURE_VARIANT_ADD(stale, to_device) {
	.c = {
		.kind = THP_ANON, .needs = THP_NEED_HMM_HUGE, .rests = true,
		.prepare = stale_hmm_prepare, .run = stale_to_device,
		.verify_read = stale_device_verify, .after = STALE_SAME,
	},
};

THP_COVERS_VARIANT(stale, zero_to_device, never_reached, "stale-translation fault-device-private");
FIXTURE_VARIANT_ADD(stale, zero_to_device) {
	.c = {
		.kind = THP_ZERO, .needs = THP_NEED_HMM_HUGE | THP_NEED_ZERO, .rests = true,
		.reads = true, .prepare = stale_hmm_prepare, .run = stale_to_device,
		.verify_read = stale_device_verify, .after = STALE_SAME,
	},
};

THP_COVERS_VARIANT(stale, fork, never_reached, "stale-translation fork-anon cow-write");
FIXTURE_VARIANT_ADD(stale, fork) {
	.c = {
		.kind = THP_ANON, .run = stale_fork, .verify = stale_fork_verify,
		.after = STALE_SAME,
	},
};

THP_COVERS_VARIANT(stale, zero_write, never_reached, "stale-translation zero-write");
FIXTURE_VARIANT_ADD(stale, zero_write) {
	.c = {
		.kind = THP_ZERO, .needs = THP_NEED_ZERO, .reads = true, .run = stale_zero_write,
		.after = STALE_SAME,
	},
};

THP_COVERS_VARIANT(stale, collapse, never_reached, "stale-translation collapse");
FIXTURE_VARIANT_ADD(stale, collapse) {
	.c = {
		.kind = THP_SMALL, .needs = THP_NEED_COLLAPSE, .prepare = stale_small,
		.run = stale_collapse, .after = STALE_SAME,
	},
};

FIXTURE_SETUP(stale)
{
	THP_NEEDS(variant->c.needs | (variant->c.kind ? thp_kind_needs(variant->c.kind) : 0));
	self->s.c = &variant->c;
	self->s.cpu = stale_other_cpu();
	if (self->s.cpu < 0)
		THP_SKIP("needs two CPUs");
}

FIXTURE_TEARDOWN_PARENT(stale)
{
	(void)self;
	(void)variant;
	thp_teardown(_metadata);
}

TEST_F_TIMEOUT(stale, never_reached, 90)
{
	THP_SCENARIO(stale_rounds, &self->s);
}
