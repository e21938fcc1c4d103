/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Oracles: what the kernel says about page tables, mappings and splits.
 * All of them read the calling process unless they say otherwise.
 */
#ifndef THP_OBS_H
#define THP_OBS_H

#include <stdint.h>
#include <sys/types.h>

#include "thp_file.h"

/*
 * VmPTE of @pid (0: self) in bytes, or -errno. The kernel keeps the sum of all page-table
 * levels but the top one exactly (mm->pgtables_bytes) and shows it in kB, so a change of
 * less than 1 kB may not show.
 */
long long thp_obs_vmpte(pid_t pid);

/* Event counters of /proc/vmstat; those the kernel lacks are UINT64_MAX. */
struct thp_events {
	uint64_t split_pmd;		/* thp_split_pmd */
	uint64_t split_pmd_failed;	/* thp_split_pmd_failed: lazy kernels */
	uint64_t split_page;		/* thp_split_page */
	uint64_t split_page_failed;	/* thp_split_page_failed */
	uint64_t fault_alloc;		/* thp_fault_alloc */
	uint64_t fault_fallback;	/* thp_fault_fallback */
	uint64_t zero_page_alloc;	/* thp_zero_page_alloc */
	uint64_t swpout;		/* pswpout, pages */
	uint64_t swpout_pmd;		/* thp_swpout_pmd: kernels with PMD swap entries */
	uint64_t swpout_fallback;	/* thp_swpout_fallback */
	uint64_t migrated;		/* thp_migration_success */
	uint64_t migrate_split;		/* thp_migration_split */
	uint64_t deferred;		/* thp_deferred_split_page */
	uint64_t underused;		/* thp_underused_split_page */
};

#define THP_EVENT_NONE UINT64_MAX

int thp_obs_events(struct thp_events *ev);

/* Any single counter of /proc/vmstat, THP_EVENT_NONE if absent. */
uint64_t thp_obs_vmstat(const char *name);

/* Page faults of the calling process that needed no I/O, or -errno. */
long thp_obs_minor_faults(void);

/* How [addr, addr + len) is mapped; @len is one PMD size for the PMD answers. */
enum thp_state {
	THP_STATE_NONE,		/* nothing present, nothing swapped */
	THP_STATE_PTE,		/* some base pages through a PTE table */
	THP_STATE_PMD,		/* one PMD entry, a folio with data */
	THP_STATE_PMD_ZERO,	/* one PMD entry, the huge zero folio */
	THP_STATE_UNKNOWN,	/* this kernel does not show it to this user */
	THP_STATE_PMD_SWAP,	/* one PMD entry for consecutive swap slots: a THP in swap */
	THP_STATE_MIXED,	/* of several ranges: not all the same */
};

/*
 * PAGEMAP_SCAN (Linux 6.7) tells exactly, but for the huge zero folio in Linux 6.7
 * to 6.15, which pagemap_thp_category() did not report: see
 * thp_obs_probe_scan(). Before that smaps tells PMD from PTE
 * mappings and /proc/kpageflags (root) finds the huge zero folio, for which
 * the result is THP_STATE_UNKNOWN without privilege. 0 or -errno.
 *
 * PAGEMAP_SCAN says PAGE_IS_SWAPPED of any PMD that is not present: a THP in swap, one
 * that is being migrated, one in device memory. The first is THP_STATE_PMD_SWAP, the
 * others are THP_STATE_PMD. For root pagemap tells them apart by the type of the entry,
 * bits 0 to 4, which swap areas number from 0 and the others from the top
 * (include/linux/swap.h). Others see no type; for them smaps does, whose Swap counts
 * swap alone: but for the whole VMA, so one with PMDs of both sorts is
 * THP_STATE_UNKNOWN. No kernel without PAGEMAP_SCAN has PMD swap entries.
 */
int thp_obs_state(const void *addr, size_t len, enum thp_state *state);

/*
 * Compares PAGEMAP_SCAN with kpageflags or smaps on a range that was only read, with huge
 * pages allowed. Sets thp_obs_scan_blind if PAGEMAP_SCAN does not tell the huge zero folio
 * from other folios: from then on thp_obs_state() reads kpageflags or smaps as well. 0 or
 * -errno.
 */
int thp_obs_probe_scan(const void *addr, size_t len);
extern bool thp_obs_scan_blind;

/* The PAGE_IS_... that PAGEMAP_SCAN reports: without PAGE_IS_PFNZERO it is blind like that. */
extern uint64_t thp_obs_scan_mask;

const char *thp_state_name(enum thp_state state);

/* Base pages of [addr, addr + len) whose pagemap entries have one of @bits, or -errno. */
long thp_obs_pages(const void *addr, size_t len, uint64_t bits);

/* Raw /proc/self/pagemap entries of @pages consecutive base pages; 0 or -errno. */
int thp_obs_pagemap(const void *addr, uint64_t *entries, size_t pages);

/*
 * The flags (KPF_..., /proc/kpageflags) of the frame that the entry of a present page
 * names; 0, -EPERM where the kernel hides frame numbers, as for all users but root, or
 * -errno.
 */
int thp_obs_kpageflags(uint64_t entry, uint64_t *flags);

#define THP_PM_SOFT_DIRTY	(1ULL << 55)
#define THP_PM_EXCLUSIVE	(1ULL << 56)
#define THP_PM_UFFD_WP		(1ULL << 57)
#define THP_PM_GUARD		(1ULL << 58)	/* Linux 6.15 */
#define THP_PM_SWAPPED		(1ULL << 62)
#define THP_PM_PRESENT		(1ULL << 63)
#define THP_PM_POPULATED	(THP_PM_PRESENT | THP_PM_SWAPPED)

/* Sums over the smaps entries of @pid (0: self) that overlap a range, in kB. */
struct thp_smaps {
	uint64_t rss_kb;
	uint64_t anon_huge_kb;		/* AnonHugePages */
	uint64_t shmem_huge_kb;		/* ShmemPmdMapped */
	uint64_t swap_kb;
	uint64_t referenced_kb;
	uint64_t locked_kb;
	uint64_t clean_kb;		/* Private_Clean */
	uint64_t start, end;		/* of the first and of the last VMA */
	unsigned int vmas;
	char layout[2048];		/* one "start-end prot VmFlags name" line each */
};

int thp_obs_smaps(pid_t pid, const void *addr, size_t len, struct thp_smaps *sm);

/*
 * Waits until page tables that were unmapped before are really freed: they pass
 * an RCU grace period first (tlb_remove_table), and count until then.
 */
void thp_obs_settle(void);

/*
 * PageTables of /proc/meminfo in kB, or -errno. Exact if THP_NEED_STATS is met: otherwise
 * each CPU holds back up to 125 pages (calculate_normal_threshold()) until vmstat_update()
 * folds them in, and never all of them while others map and unmap.
 */
long long thp_obs_pagetables_kb(void);

/* Folds the per-CPU counts in by vm.stat_refresh: 0, or -errno without the privilege. */
int thp_obs_fold(void);

/* MemAvailable of /proc/meminfo in kB, or -errno. */
long long thp_obs_memavailable_kb(void);

#endif /* THP_OBS_H */
