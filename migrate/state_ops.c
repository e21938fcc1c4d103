// SPDX-License-Identifier: GPL-2.0
/*
 * The bits of a page table entry and the operations that pass them on: one row for each
 * operation that splits, changes, moves, copies, migrates, swaps or collapses a PMD or
 * its PTEs, one column for each bit. A cell that a row does not mention is KEPT: no page
 * loses the bit, no page gains it. Any other cell names the kernel function that is the
 * reason.
 *
 * To add an operation: its run function in state_run.c, and its row.
 */

#define CELL(what, function)	{ .value = what, .by = function }
#define SINCE(what, function, release)				\
	{ .value = what, .by = function, .since = release }

/*
 * On some architectures pmd_mkdirty() and pte_mkdirty() set soft-dirty as well, so an
 * entry that is built anew for a dirty page is soft-dirty.
 */
#define BY_MKDIRTY	CELL(MAY_SET, "pte_mkdirty()")

/*
 * Elsewhere than on x86-64: a migration entry may have no room for the young bit; the
 * protection bits that pmd_modify() takes over may include it (powerpc); and a THP that
 * is split to be swapped out maps the zero page, which move_zeropage_pte() moves.
 */
#ifdef __x86_64__
#define BY_ENTRY	CELL(KEPT, NULL)
#define BY_MODIFY	CELL(KEPT, NULL)
#define BY_MOVE_SWAP	CELL(SET, "move_swap_pte()")
#else
#define BY_ENTRY	CELL(MAY_CLEAR, "migration_entry_supports_ad()")
#define BY_MODIFY	CELL(MAY_SET, "pmd_modify()")
#define BY_MOVE_SWAP	CELL(EITHER, "move_zeropage_pte()")
#endif

static const struct state_op state_ops[] = {
	/* Splits of the PMD */
	{
		.name = "split", .covers = "split-madvise-flags",
		.what = "a VMA boundary comes and goes: `MADV_DONTFORK`, `MADV_DOFORK` of a page",
		.by = "__split_huge_pmd_locked()",
		.run = state_split, .flags = ST_PART, .after = THP_STATE_PTE,
		.cells = {
			[BIT_SOFT_DIRTY] = BY_MKDIRTY,
		},
		.named = {
			[BIT_SOFT_DIRTY] = BY_MKDIRTY,
		},
	}, {
		.name = "protect_part", .covers = "split-mprotect",
		.what = "`mprotect()` of a page, no access and back",
		.by = "change_pte_range()",
		.run = state_protect_part, .flags = ST_PART, .after = THP_STATE_PTE,
		.cells = {
			[BIT_SOFT_DIRTY] = BY_MKDIRTY,
		},
		.named = {
			[BIT_WRITE] = CELL(MAY_CLEAR, "can_change_pte_writable()"),
			[BIT_SOFT_DIRTY] = BY_MKDIRTY,
		},
	}, {
		.name = "munmap_part", .covers = "split-munmap",
		.what = "`munmap()` of a page",
		.by = "__split_huge_pmd_locked()",
		.run = state_munmap_part, .flags = ST_PART, .after = THP_STATE_PTE,
		.cells = {
			[BIT_SOFT_DIRTY] = BY_MKDIRTY,
		},
	}, {
		.name = "dontneed_part", .covers = "zap-dontneed",
		.what = "`MADV_DONTNEED` of a page",
		.by = "__split_huge_pmd_locked()",
		.run = state_dontneed_part, .flags = ST_PART, .after = THP_STATE_PTE,
		.cells = {
			[BIT_SOFT_DIRTY] = BY_MKDIRTY,
		},
	}, {
		.name = "wp_part", .covers = "protect-uffd-wp", .needs = THP_NEED_UFFD_WP,
		.what = "`UFFDIO_WRITEPROTECT` of a page, and back",
		.by = "change_pte_range()",
		.run = state_wp_part, .flags = ST_PART, .after = THP_STATE_PTE,
		.cells = {
			[BIT_SOFT_DIRTY] = BY_MKDIRTY,
		},
		.named = {
			[BIT_WRITE] = CELL(MAY_CLEAR, "can_change_pte_writable()"),
			[BIT_SOFT_DIRTY] = BY_MKDIRTY,
			[BIT_UFFD_WP] = CELL(CLEARED, "change_pte_range()"),
			[BIT_UFFD_RWP] = CELL(CLEARED, "change_pte_range()"),
		},
	},

	/* Splits of the folio */
	{
		.name = "cold_part", .covers = "folio-split-advice",
		.what = "`MADV_COLD` of a page",
		.by = "remove_migration_pte()",
		.run = state_cold, .flags = ST_PART | ST_FOLIO, .after = THP_STATE_PTE,
		.cells = {
			[BIT_YOUNG] = BY_ENTRY,
		},
		.named = {
			[BIT_YOUNG] = CELL(MAY_CLEAR, "madvise_cold_or_pageout_pte_range()"),
		},
	}, {
		.name = "debugfs", .covers = "folio-split-debugfs", .needs = THP_NEED_DEBUGFS,
		.what = "`split_huge_pages` of debugfs",
		.by = "remove_migration_pte()",
		.run = state_debugfs, .flags = ST_FOLIO, .after = THP_STATE_PTE,
		.cells = {
			[BIT_YOUNG] = BY_ENTRY,
		},
	}, {
		.name = "deferred", .covers = "folio-split-deferred zap-dontneed",
		.what = "`MADV_DONTNEED` of a page, then the shrinker",
		.needs = THP_NEED_ROOT,
		.by = "remove_migration_pte()",
		.run = state_deferred, .flags = ST_PART | ST_FOLIO, .after = THP_STATE_PTE,
		.cells = {
			[BIT_YOUNG] = BY_ENTRY,
			[BIT_SOFT_DIRTY] = BY_MKDIRTY,
		},
	},

	/* Changes of a whole PMD, and back */
	{
		.name = "protect", .covers = "protect-pmd",
		.what = "`mprotect()` of the range, no access and back",
		.by = "change_huge_pmd()",
		.run = state_protect, .after = THP_STATE_PMD,
		.cells = {
			[BIT_YOUNG] = BY_MODIFY,
			[BIT_WRITE] = CELL(MAY_CLEAR, "can_change_pmd_writable()"),
		},
	}, {
		.name = "read_only", .covers = "protect-pmd",
		.what = "`mprotect()` of the range, read-only and back",
		.by = "change_huge_pmd()",
		.run = state_read_only, .after = THP_STATE_PMD,
		.cells = {
			[BIT_YOUNG] = BY_MODIFY,
			[BIT_WRITE] = CELL(MAY_CLEAR, "can_change_pmd_writable()"),
		},
	}, {
		.name = "wp", .covers = "protect-pmd", .needs = THP_NEED_UFFD_WP,
		.what = "`UFFDIO_WRITEPROTECT` of the range, and back",
		.by = "change_huge_pmd()",
		.run = state_wp, .after = THP_STATE_PMD,
		.cells = {
			[BIT_WRITE] = CELL(MAY_CLEAR, "can_change_pmd_writable()"),
			[BIT_UFFD_WP] = CELL(CLEARED, "change_huge_pmd()"),
			[BIT_UFFD_RWP] = CELL(CLEARED, "change_huge_pmd()"),
		},
	}, {
		.name = "unregister", .covers = "protect-pmd", .needs = THP_NEED_UFFD_WP,
		.what = "`UFFDIO_UNREGISTER` of the range",
		.by = "change_huge_pmd()",
		.run = state_unregister, .after = THP_STATE_PMD,
		.cells = {
			[BIT_WRITE] = CELL(MAY_CLEAR, "can_change_pmd_writable()"),
			[BIT_UFFD_WP] = CELL(CLEARED, "userfaultfd_clear_vma()"),
			[BIT_UFFD_RWP] = CELL(CLEARED, "userfaultfd_clear_vma()"),
		},
	},

	/* Moves */
	{
		.name = "move", .covers = "move-pmd",
		.what = "`mremap()` of the range, `UFFD_FEATURE_EVENT_REMAP`",
		.by = "move_huge_pmd()",
		.run = state_move, .flags = ST_EVENTS, .after = THP_STATE_PMD,
		.cells = {
			[BIT_SOFT_DIRTY] = CELL(SET, "move_soft_dirty_pmd()"),
		},
	}, {
		.name = "move_unwatched", .covers = "move-pmd",
		.what = "the same without that feature",
		.by = "move_huge_pmd()",
		.run = state_move, .after = THP_STATE_PMD,
		.cells = {
			[BIT_SOFT_DIRTY] = CELL(SET, "move_soft_dirty_pmd()"),
			[BIT_UFFD_WP] = SINCE(CLEARED, "clear_uffd_wp_pmd()", THP_RELEASE(6, 13)),
			[BIT_UFFD_RWP] = CELL(CLEARED, "clear_uffd_wp_pmd()"),
		},
	}, {
		.name = "move_dontunmap", .covers = "mremap-dontunmap",
		.what = "the same with `MREMAP_DONTUNMAP`",
		.by = "move_huge_pmd()",
		.run = state_move_dontunmap, .flags = ST_EVENTS, .after = THP_STATE_PMD,
		.cells = {
			[BIT_SOFT_DIRTY] = CELL(SET, "move_soft_dirty_pmd()"),
		},
	}, {
		.name = "move_misaligned", .covers = "move-partial",
		.what = "`mremap()` of the range to where no PMD can map it",
		.by = "move_ptes()",
		.run = state_move_misaligned, .flags = ST_EVENTS, .after = THP_STATE_PTE,
		.cells = {
			[BIT_SOFT_DIRTY] = CELL(SET, "move_soft_dirty_pte()"),
		},
	}, {
		.name = "move_ptes", .covers = "move-partial",
		.what = "the same of a PMD that is split",
		.by = "move_ptes()",
		.run = state_move_misaligned, .flags = ST_EVENTS | ST_SPLIT,
		.after = THP_STATE_PTE,
		.cells = {
			[BIT_SOFT_DIRTY] = CELL(SET, "move_soft_dirty_pte()"),
		},
	}, {
		.name = "move_part", .covers = "move-partial",
		.what = "`mremap()` of a page",
		.by = "move_ptes()",
		.run = state_move_part, .flags = ST_PART | ST_EVENTS, .after = THP_STATE_PTE,
		.cells = {
			[BIT_SOFT_DIRTY] = BY_MKDIRTY,
		},
		.named = {
			[BIT_SOFT_DIRTY] = CELL(SET, "move_soft_dirty_pte()"),
		},
	}, {
		.name = "uffd_move", .covers = "uffd-move-pmd", .needs = THP_NEED_UFFD_MOVE,
		.what = "`UFFDIO_MOVE` of the range",
		.by = "move_pages_huge_pmd()",
		.run = state_uffd_move, .flags = ST_RW | ST_TARGET, .after = THP_STATE_PMD,
		.cells = {
			[BIT_YOUNG] = CELL(MAY_SET, "folio_mk_pmd()"),
			[BIT_DIRTY] = CELL(SET, "move_pages_huge_pmd()"),
			[BIT_SOFT_DIRTY] = CELL(SET, "move_pages_huge_pmd()"),
			[BIT_UFFD_WP] = CELL(CLEARED, "move_pages_huge_pmd()"),
			[BIT_UFFD_RWP] = CELL(CLEARED, "move_pages_huge_pmd()"),
		},
	}, {
		.name = "uffd_move_part", .covers = "uffd-move-split",
		.what = "`UFFDIO_MOVE` of a page",
		.needs = THP_NEED_UFFD_MOVE,
		.by = "remove_migration_pte()",
		.run = state_uffd_move_part, .flags = ST_PART | ST_FOLIO | ST_RW | ST_TARGET,
		.after = THP_STATE_PTE,
		.cells = {
			[BIT_YOUNG] = BY_ENTRY,
			[BIT_SOFT_DIRTY] = BY_MKDIRTY,
		},
		.named = {
			[BIT_YOUNG] = CELL(MAY_SET, "folio_mk_pte()"),
			[BIT_DIRTY] = CELL(MAY_SET, "move_present_ptes()"),
			/* move_zeropage_pte() does not set it. */
			[BIT_SOFT_DIRTY] = CELL(EITHER, "move_present_ptes()"),
			[BIT_UFFD_WP] = CELL(CLEARED, "move_present_ptes()"),
			[BIT_UFFD_RWP] = CELL(CLEARED, "move_present_ptes()"),
		},
	},

	/* Fork */
	{
		.name = "fork", .covers = "fork-anon",
		.what = "`fork()`, the parent",
		.by = "copy_huge_pmd()",
		.run = state_fork, .flags = ST_EVENTS, .after = THP_STATE_PMD,
		.cells = {
			[BIT_WRITE] = CELL(CLEARED, "pmdp_set_wrprotect()"),
			[BIT_EXCLUSIVE] = CELL(CLEARED, "copy_huge_pmd()"),
		},
	}, {
		.name = "fork_child", .covers = "fork-anon",
		.what = "`fork()`, the child, `UFFD_FEATURE_EVENT_FORK`",
		.by = "copy_huge_pmd()",
		.run = state_nothing, .flags = ST_CHILD | ST_EVENTS, .after = THP_STATE_PMD,
		.cells = {
			[BIT_YOUNG] = CELL(CLEARED, "pmd_mkold()"),
			[BIT_WRITE] = CELL(CLEARED, "pmd_wrprotect()"),
			[BIT_EXCLUSIVE] = CELL(CLEARED, "copy_huge_pmd()"),
		},
	}, {
		.name = "fork_child_unwatched", .covers = "fork-anon",
		.what = "the same without that feature",
		.by = "copy_huge_pmd()",
		.run = state_nothing, .flags = ST_CHILD, .after = THP_STATE_PMD,
		.cells = {
			[BIT_YOUNG] = CELL(CLEARED, "pmd_mkold()"),
			[BIT_WRITE] = CELL(CLEARED, "pmd_wrprotect()"),
			[BIT_EXCLUSIVE] = CELL(CLEARED, "copy_huge_pmd()"),
			[BIT_UFFD_WP] = CELL(CLEARED, "copy_huge_pmd()"),
			[BIT_UFFD_RWP] = CELL(CLEARED, "copy_huge_pmd()"),
		},
	},

	/* Migration between nodes, and to a device */
	{
		.name = "migrate", .covers = "migrate-pmd migrate-entry-restore",
		.what = "`move_pages()` to another node",
		.by = "remove_migration_pmd()",
		.run = state_migrate, .flags = ST_NODES, .after = THP_STATE_PMD,
		.cells = {
			[BIT_YOUNG] = BY_ENTRY,
			[BIT_SOFT_DIRTY] = BY_MKDIRTY,
		},
	}, {
		.name = "migrate_back", .covers = "migrate-pmd migrate-entry-restore",
		.what = "there and back",
		.by = "remove_migration_pmd()",
		.run = state_migrate_back, .flags = ST_NODES, .after = THP_STATE_PMD,
		.cells = {
			[BIT_YOUNG] = BY_ENTRY,
			[BIT_SOFT_DIRTY] = BY_MKDIRTY,
		},
	}, {
		.name = "migrate_ptes", .covers = "migrate-pte-mapped",
		.what = "`move_pages()` of a PMD that is split",
		.by = "remove_migration_pte()",
		.run = state_migrate, .flags = ST_NODES | ST_SPLIT, .after = THP_STATE_PTE,
		.cells = {
			[BIT_YOUNG] = BY_ENTRY,
		},
	}, {
		.name = "device", .covers = "migrate-device-pmd", .needs = THP_NEED_HMM_HUGE,
		.what = "to a device and back",
		.by = "remove_migration_pmd()",
		.run = state_device, .flags = ST_ALONE, .after = THP_STATE_PMD,
		.cells = {
			[BIT_YOUNG] = CELL(EITHER, "set_pmd_migration_entry()"),
			[BIT_DIRTY] = CELL(MAY_SET, "set_pmd_migration_entry()"),
			[BIT_SOFT_DIRTY] = BY_MKDIRTY,
		},
	}, {
		.name = "device_protect", .covers = "migrate-device-pmd protect-pmd",
		.what = "`mprotect()` on the device, read-only and back",
		.needs = THP_NEED_HMM_HUGE,
		.by = "change_non_present_huge_pmd()",
		.run = state_device_protect, .flags = ST_ALONE, .after = THP_STATE_PMD,
		.cells = {
			[BIT_YOUNG] = CELL(EITHER, "set_pmd_migration_entry()"),
			[BIT_DIRTY] = CELL(MAY_SET, "set_pmd_migration_entry()"),
			[BIT_WRITE] = CELL(MAY_CLEAR, "change_non_present_huge_pmd()"),
			/* Forgets it, up to 7.3 at least. */
			[BIT_SOFT_DIRTY] = CELL(EITHER, "change_non_present_huge_pmd()"),
		},
	}, {
		.name = "device_split", .covers = "migrate-device-pmd split-madvise-flags",
		.what = "a VMA boundary comes and goes on the device",
		.needs = THP_NEED_HMM_HUGE,
		.by = "__split_huge_pmd_locked()",
		.run = state_device_split, .flags = ST_PART | ST_ALONE, .after = THP_STATE_PTE,
		.cells = {
			[BIT_YOUNG] = CELL(EITHER, "__split_huge_pmd_locked()"),
			[BIT_DIRTY] = CELL(MAY_SET, "__split_huge_pmd_locked()"),
			[BIT_SOFT_DIRTY] = BY_MKDIRTY,
		},
		.named = {
			[BIT_YOUNG] = CELL(EITHER, "__split_huge_pmd_locked()"),
			[BIT_DIRTY] = CELL(MAY_SET, "__split_huge_pmd_locked()"),
			[BIT_SOFT_DIRTY] = BY_MKDIRTY,
		},
	},

	/* Swap */
	{
		.name = "swap_out", .covers = "reclaim-unmap", .needs = THP_NEED_SWAP,
		.what = "`MADV_PAGEOUT`",
		.by = "try_to_unmap_one()",
		.run = state_swap, .after = THP_STATE_PTE,
		.cells = {
			[BIT_YOUNG] = CELL(EITHER, "try_to_unmap_one()"),
			[BIT_WRITE] = CELL(MAY_CLEAR, "try_to_unmap_one()"),
			[BIT_EXCLUSIVE] = CELL(MAY_CLEAR, "try_to_unmap_one()"),
			[BIT_SOFT_DIRTY] = BY_MKDIRTY,
		},
	}, {
		.name = "swap_in", .covers = "reclaim-unmap", .needs = THP_NEED_SWAP,
		.what = "`MADV_PAGEOUT`, then a read of each page",
		.by = "do_swap_page()",
		.run = state_swap_in, .after = THP_STATE_PTE,
		.cells = {
			[BIT_YOUNG] = CELL(MAY_SET, "do_swap_page()"),
			[BIT_WRITE] = SINCE(KEPT, "do_swap_page()", THP_RELEASE(7, 0)),
			[BIT_SOFT_DIRTY] = BY_MKDIRTY,
			[BIT_UFFD_RWP] = CELL(CLEARED, "do_uffd_rwp()"),
		},
	}, {
		.name = "swap_part", .covers = "reclaim-unmap folio-split-advice",
		.what = "`MADV_PAGEOUT` of a page, then a read of it",
		.needs = THP_NEED_SWAP,
		.by = "remove_migration_pte()",
		.run = state_swap_part, .flags = ST_PART | ST_FOLIO, .after = THP_STATE_PTE,
		.cells = {
			[BIT_YOUNG] = BY_ENTRY,
		},
		.named = {
			[BIT_YOUNG] = CELL(MAY_SET, "do_swap_page()"),
			[BIT_WRITE] = SINCE(KEPT, "do_swap_page()", THP_RELEASE(7, 0)),
			[BIT_UFFD_RWP] = CELL(CLEARED, "do_uffd_rwp()"),
		},
	}, {
		.name = "swap_split", .covers = "reclaim-unmap split-madvise-flags",
		.what = "`MADV_PAGEOUT`, then a VMA boundary comes and goes",
		.needs = THP_NEED_SWAP,
		.by = "__split_huge_pmd_locked()",
		.run = state_split_swapped, .flags = ST_PART, .after = THP_STATE_PTE,
		.cells = {
			[BIT_YOUNG] = CELL(EITHER, "try_to_unmap_one()"),
			[BIT_WRITE] = CELL(MAY_CLEAR, "try_to_unmap_one()"),
			[BIT_EXCLUSIVE] = CELL(MAY_CLEAR, "try_to_unmap_one()"),
			[BIT_SOFT_DIRTY] = BY_MKDIRTY,
		},
		.named = {
			[BIT_YOUNG] = CELL(EITHER, "try_to_unmap_one()"),
			[BIT_WRITE] = CELL(MAY_CLEAR, "try_to_unmap_one()"),
			[BIT_EXCLUSIVE] = CELL(MAY_CLEAR, "try_to_unmap_one()"),
			[BIT_SOFT_DIRTY] = BY_MKDIRTY,
		},
	}, {
		.name = "swap_protect", .covers = "reclaim-unmap protect-pmd",
		.what = "`MADV_PAGEOUT`, then `mprotect()`, read-only and back",
		.needs = THP_NEED_SWAP,
		.by = "change_softleaf_pte()",
		.run = state_protect_swapped, .after = THP_STATE_PTE,
		.cells = {
			[BIT_YOUNG] = CELL(EITHER, "try_to_unmap_one()"),
			[BIT_WRITE] = CELL(MAY_CLEAR, "try_to_unmap_one()"),
			[BIT_EXCLUSIVE] = CELL(MAY_CLEAR, "try_to_unmap_one()"),
			[BIT_SOFT_DIRTY] = BY_MKDIRTY,
		},
	}, {
		.name = "swap_fork_child", .covers = "swap-entry-fork",
		.what = "`MADV_PAGEOUT`, then `fork()`, the child, `UFFD_FEATURE_EVENT_FORK`",
		.needs = THP_NEED_SWAP | THP_NEED_PMD_SWAP,
		.by = "copy_huge_pmd()",
		.run = state_swap, .flags = ST_CHILD | ST_EVENTS, .after = THP_STATE_PTE,
		.cells = {
			[BIT_YOUNG] = CELL(EITHER, "try_to_unmap_one()"),
			[BIT_WRITE] = CELL(CLEARED, "copy_huge_pmd()"),
			[BIT_EXCLUSIVE] = CELL(CLEARED, "copy_huge_pmd()"),
			[BIT_SOFT_DIRTY] = BY_MKDIRTY,
		},
	}, {
		.name = "swap_fork_child_unwatched", .covers = "swap-entry-fork",
		.what = "the same without that feature",
		.needs = THP_NEED_SWAP | THP_NEED_PMD_SWAP,
		.by = "copy_huge_pmd()",
		.run = state_swap, .flags = ST_CHILD, .after = THP_STATE_PTE,
		.cells = {
			[BIT_YOUNG] = CELL(EITHER, "try_to_unmap_one()"),
			[BIT_WRITE] = CELL(CLEARED, "copy_huge_pmd()"),
			[BIT_EXCLUSIVE] = CELL(CLEARED, "copy_huge_pmd()"),
			[BIT_SOFT_DIRTY] = BY_MKDIRTY,
			[BIT_UFFD_WP] = CELL(CLEARED, "copy_huge_pmd()"),
			[BIT_UFFD_RWP] = CELL(CLEARED, "copy_huge_pmd()"),
		},
	}, {
		.name = "swap_off", .covers = "swapoff-pmd",
		.what = "`MADV_PAGEOUT`, then `swapoff()`",
		.needs = THP_NEED_SWAP | THP_NEED_PMD_SWAP | THP_NEED_SWAPDEV,
		.by = "unuse_pte()",
		.run = state_off_swapped, .after = THP_STATE_PTE,
		.cells = {
			[BIT_YOUNG] = CELL(EITHER, "unuse_pte()"),
			[BIT_WRITE] = CELL(MAY_CLEAR, "unuse_pte()"),
			[BIT_EXCLUSIVE] = CELL(MAY_CLEAR, "try_to_unmap_one()"),
			[BIT_SOFT_DIRTY] = BY_MKDIRTY,
		},
	}, {
		.name = "swap_move", .covers = "reclaim-unmap move-pmd",
		.what = "`MADV_PAGEOUT`, then `mremap()` to where no PMD can map it",
		.needs = THP_NEED_SWAP,
		.by = "move_ptes()",
		.run = state_move_swapped, .flags = ST_EVENTS, .after = THP_STATE_PTE,
		.cells = {
			[BIT_YOUNG] = CELL(EITHER, "try_to_unmap_one()"),
			[BIT_WRITE] = CELL(MAY_CLEAR, "try_to_unmap_one()"),
			[BIT_EXCLUSIVE] = CELL(MAY_CLEAR, "try_to_unmap_one()"),
			[BIT_SOFT_DIRTY] = CELL(SET, "move_soft_dirty_pte()"),
		},
	}, {
		.name = "uffd_move_swapped", .covers = "uffd-move-split",
		.what = "`MADV_PAGEOUT`, then `UFFDIO_MOVE`",
		.needs = THP_NEED_SWAP | THP_NEED_UFFD_MOVE,
		.by = "move_swap_pte()",
		.run = state_uffd_move_swapped, .flags = ST_RW | ST_TARGET,
		.after = THP_STATE_PTE,
		.cells = {
			[BIT_YOUNG] = CELL(EITHER, "try_to_unmap_one()"),
			[BIT_WRITE] = CELL(MAY_CLEAR, "try_to_unmap_one()"),
			[BIT_EXCLUSIVE] = CELL(MAY_CLEAR, "try_to_unmap_one()"),
			[BIT_SOFT_DIRTY] = BY_MOVE_SWAP,
			/* Inherited by the target, which no userfaultfd protects, up to 7.3 */
			[BIT_UFFD_WP] = SINCE(CLEARED, "move_swap_pte()", THP_RELEASE(7, 4)),
			[BIT_UFFD_RWP] = SINCE(CLEARED, "move_swap_pte()", THP_RELEASE(7, 4)),
		},
	},

	/* Collapse: a copy, and its PMD is a dirty one */
	{
		.name = "collapse", .covers = "collapse", .needs = THP_NEED_COLLAPSE,
		.what = "a split, then `MADV_COLLAPSE`",
		.by = "collapse_huge_page()",
		.run = state_collapse, .after = THP_STATE_PMD,
		.cells = {
			[BIT_YOUNG] = CELL(MAY_SET, "folio_mk_pmd()"),
			[BIT_DIRTY] = CELL(MAY_SET, "map_anon_folio_pmd_nopf()"),
			[BIT_SOFT_DIRTY] = CELL(SET, "map_anon_folio_pmd_nopf()"),
		},
	},

	/* Refused a page table: on a lazy kernel nothing has happened */
	{
		.name = "starved_protect", .covers = "split-mprotect",
		.what = "as `protect_part`, without a page table",
		.needs = THP_NEED_FAIL_PAGE,
		.by = "__split_vma()",
		.run = state_starved_protect, .flags = ST_PART, .after = THP_STATE_PTE,
		.cells = {
			[BIT_SOFT_DIRTY] = BY_MKDIRTY,
		},
		.named = {
			[BIT_WRITE] = CELL(MAY_CLEAR, "can_change_pte_writable()"),
			[BIT_SOFT_DIRTY] = BY_MKDIRTY,
		},
	}, {
		.name = "starved_munmap", .covers = "split-munmap", .needs = THP_NEED_FAIL_PAGE,
		.what = "as `munmap_part`, without a page table",
		.by = "__split_vma()",
		.run = state_starved_munmap, .flags = ST_PART, .after = THP_STATE_PTE,
		.cells = {
			[BIT_SOFT_DIRTY] = BY_MKDIRTY,
		},
	}, {
		.name = "starved_move_part", .covers = "move-partial",
		.what = "as `move_part`, without a page table",
		.needs = THP_NEED_FAIL_PAGE,
		.by = "__split_vma()",
		.run = state_starved_move, .flags = ST_PART | ST_EVENTS, .after = THP_STATE_PTE,
		.cells = {
			[BIT_SOFT_DIRTY] = BY_MKDIRTY,
		},
		.named = {
			[BIT_SOFT_DIRTY] = CELL(SET, "move_soft_dirty_pte()"),
		},
	}, {
		.name = "starved_cold", .covers = "folio-split-advice",
		.what = "as `cold_part`, without a page table",
		.needs = THP_NEED_FAIL_PAGE,
		.by = "remove_migration_pte()",
		.run = state_starved_cold, .flags = ST_PART | ST_FOLIO, .after = THP_STATE_PTE,
		.cells = {
			[BIT_YOUNG] = BY_ENTRY,
		},
		.named = {
			[BIT_YOUNG] = CELL(MAY_CLEAR, "madvise_cold_or_pageout_pte_range()"),
		},
	},
};
