/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Swap-out of whole THPs. A kernel with PMD swap entries replaces the PMD of a THP by one
 * entry, which stands for consecutive swap slots: no split, and no table. Where it cannot,
 * as without so many free slots in a row, and on any other kernel, the PMD is split, as
 * swap entries are for base pages then.
 *
 * So what a swap-out may cost is not a matter of the kernel but of what happened. The
 * functions below look at that, for each THP and each process: THP_STATE_PMD_SWAP of
 * thp_obs_state() is an entry. thp_swpout_pmd of /proc/vmstat, which counts one for each
 * entry and that only such kernels have, and thp_swpout_fallback, one for each THP whose
 * folio was split first, have to agree.
 */
#ifndef THP_SWAP_H
#define THP_SWAP_H

#include "thp_meter.h"

/* THPs that were swapped out, and how many of them are PMD swap entries. */
struct thp_swapped {
	unsigned int thps;
	unsigned int entries;
};

/* Adds a THP that was swapped out and is @state now. */
void thp_swapped_add(struct thp_swapped *s, enum thp_state state);

/* The same for the THP of the calling process at @thp; 0 or -errno with a cause. */
int thp_swapped_look(struct thp_swapped *s, const char *thp, struct thp_why *why);

/* Tables that the swap-out adds to the process that maps these THPs, and PMD splits. */
long thp_swapped_tables(const struct thp_swapped *s);
long thp_swapped_splits(const struct thp_swapped *s);

/*
 * Compares @entries, a difference of thp_swpout_pmd, and @fallbacks, one of
 * thp_swpout_fallback, with @s, the THPs of all processes. 0; -EPROTO with a cause if there
 * are entries that were not counted; -EAGAIN with a cause if enough were counted for all of
 * @s, and nothing fell back, but not all of @s are entries: others may have made them.
 */
int thp_swapped_events(const struct thp_swapped *s, long long entries, long long fallbacks,
		       const char *what, struct thp_why *why);

/*
 * thp_meter_expect() for a process that has @here of the swapped THPs; @all: of all
 * processes, as events are system-wide.
 */
int thp_swapped_expect(const struct thp_meter *m, const struct thp_swapped *here,
		       const struct thp_swapped *all, const char *what, struct thp_why *why);

/*
 * Whether zswap may take part, which stores base pages only: then a kernel that swaps a
 * THP in splits its entry. That goes on after zswap was disabled, as it may still have
 * pages (zswap_never_enabled()): its folder in debugfs tells that it was enabled since boot.
 */
bool thp_swap_by_zswap(void);

/* Pages of a THP in swap that mincore() finds in the swap cache, or -errno. */
long thp_swap_cached(const char *thp);

/*
 * Gets a THP in swap out of the swap cache: reclaim leaves it there if its I/O is not over
 * when it looks, or if somebody has a reference, and takes it the next time. This asks every
 * node for a little reclaim, for which only root may (Linux 6.17). 0; -EAGAIN with a cause if
 * pages of it are still cached.
 */
int thp_swap_drop(const char *thp, struct thp_why *why);

/*
 * kB of swap that are used now and were free when SwapFree of /proc/meminfo was @free_kb;
 * slots come back with a delay, so it waits up to @ms milliseconds for @allowed_kb or less.
 */
long long thp_swap_lost(long long free_kb, long long allowed_kb, int ms);

/* How an entry is mapped after all of it was read: by a PMD, or PTEs if zswap may take part. */
enum thp_state thp_swap_state_in(void);

/*
 * Whether a kernel that knows entries has no excuse for making none: no zswap, and at
 * least three quarters of the swap areas are free. THP_NEED_PMD_SWAP says whether it knows them.
 */
bool thp_swap_owes_entries(void);

#endif /* THP_SWAP_H */
