/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Mappings under test: one PMD-sized, PMD-aligned range inside a VMA that goes
 * on for one PMD size on both sides.
 *
 *	area       below            thp              above
 *	|          |  anchor page   |################|  anchor page   |
 *	           thp - pmd        thp              thp + pmd        thp + 2 * pmd
 *
 * The neighbours have two purposes. If the VMA ended at the THP, it would be split at its
 * boundary without splitting the PMD. And the anchor pages keep the PMD and PUD tables, so
 * that VmPTE changes by PTE tables only.
 */
#ifndef THP_MAP_H
#define THP_MAP_H

#include <stddef.h>
#include <stdint.h>

#include "thp_access.h"
#include "thp_child.h"
#include "thp_env.h"
#include "thp_file.h"
#include "thp_obs.h"
#include "thp_self.h"

enum thp_kind {
	THP_ANON	= 1 << 0,	/* anonymous THP, filled with a pattern */
	THP_ZERO	= 1 << 1,	/* PMD of the huge zero folio */
	THP_SHMEM	= 1 << 2,	/* PMD-mapped shmem: never a deposit (but on hash) */
	THP_SMALL	= 1 << 3,	/* anonymous base pages, MADV_NOHUGEPAGE */
	THP_NONE	= 1 << 4,	/* anonymous, untouched */
	THP_DEVICE	= 1 << 5,	/* anonymous THP in device memory: a PMD, not present */
	THP_SWAPPED	= 1 << 6,	/* anonymous THP in swap: one PMD swap entry */
};

struct thp_map {
	enum thp_kind kind;
	char *area;		/* what was mapped, bytes at area_len */
	size_t area_len;
	char *thp;
	uint64_t seed;		/* of the contents */
	int fd;			/* THP_SHMEM: the memfd, else -1 */
	struct thp_map *aux;	/* second range of operations that need one */
	struct thp_child child;	/* second process of operations that need one */
	int uffd;		/* or -1 */
	int pipe[2];		/* or -1 */
	long priv;		/* free for an operation */
};

/* What is particular to a kind, in thp_kind.c. Steps: 0, or -errno with a cause. */
struct thp_kind_row {
	enum thp_kind kind;
	const char *name;
	uint64_t needs;		/* enum thp_need */
	enum thp_state state;	/* that thp_map_fault() leaves */
	/* Gets what the range needs beyond anonymous memory. */
	int (*map)(struct thp_map *m, struct thp_why *why);
	/* Moves the THP to where the kind has it, unless it is there or is no THP. */
	int (*move)(struct thp_map *m, struct thp_why *why);
	/* Whether it is no longer there, if its state does not tell. */
	bool (*has_left)(const struct thp_map *m);
};

const struct thp_kind_row *thp_kind_row(enum thp_kind kind);
const char *thp_kind_name(enum thp_kind kind);
uint64_t thp_kind_needs(enum thp_kind kind);
enum thp_state thp_kind_state(enum thp_kind kind);

/* Initialises the object with a seed of its own; maps nothing. */
void thp_map_init(struct thp_map *m, enum thp_kind kind);

/* Maps the range and faults its anchors in, but not the THP. 0 or -errno. */
int thp_map_create(struct thp_map *m, enum thp_kind kind, struct thp_why *why);

/*
 * Address space of @n adjacent THPs in the middle of a VMA that is MADV_NOHUGEPAGE, with an
 * anchor on each side: a base page that keeps the tables above the PTE tables. *@thps is the
 * first THP, *@area the whole, of *@area_len bytes. 0, or -errno with a cause and nothing set.
 */
int thp_map_area(size_t n, char **area, size_t *area_len, char **thps, struct thp_why *why);

/*
 * Faults the range in as its kind says and fills it. 0; -ENOTSUP if the kernel
 * gave no PMD mapping, or no PMD swap entry, in several tries (fragmentation: a reason to
 * SKIP).
 */
int thp_map_fault(struct thp_map *m, struct thp_why *why);

/*
 * THP_DEVICE, THP_SWAPPED: reading the memory brings it back. Moves it to the device, or
 * to swap, again if it is still one THP; the caller checks that.
 */
void thp_map_return(struct thp_map *m);

/* create + fault. */
int thp_map_new(struct thp_map *m, enum thp_kind kind, struct thp_why *why);

/*
 * Maps an anonymous THP of which page 0 is filled and the rest is zero: with
 * khugepaged/max_ptes_none at 0, which this sets, the shrinker that a write of 2 to
 * vm.drop_caches runs finds it underused and splits it. 0; -ENOTSUP (a reason to
 * SKIP: no such shrinker before 6.12, or fragmentation) or another -errno.
 */
int thp_map_underused(struct thp_map *m, struct thp_why *why);

/*
 * MADV_COLLAPSE of the range; tries several times, because a busy page or fragmentation can
 * make it fail. 0 or -errno.
 */
int thp_map_collapse(struct thp_map *m);

/*
 * Splits the PMD that maps @page, and changes nothing else: makes the page read-only and
 * writable again, so that the VMA is split (vma_adjust_trans_huge()) and merged. 0 or
 * -errno with a cause.
 */
int thp_split_at(char *page, struct thp_why *why);

/*
 * Splits the folios that process @pid maps in @len bytes at @addr, and with them the PMDs
 * in every process, by debugfs (split_huge_pages_pid()). 0 or -errno; it skips folios that
 * cannot be split.
 */
int thp_split_folios(pid_t pid, unsigned long addr, size_t len);

/* munmap() of exactly the THP range: its tables must be gone. 0 or -errno. */
int thp_map_zap(struct thp_map *m);

/* Unmaps everything and ends the helpers; safe to call twice. */
void thp_map_destroy(struct thp_map *m);

/* Address of base page @index of the THP. */
static inline char *thp_page(const struct thp_map *m, size_t index)
{
	return m->thp + index * thp_env.page;
}

/* Fills a base page with the pattern of (seed, index); every 64-bit word differs. */
void thp_fill(void *page, uint64_t seed, size_t index);

/*
 * Compares @n base pages at @addr with the pattern of pages [index, index + n).
 * 0, or -EILSEQ with page, offset, expected and found value in @why.
 */
int thp_check(const void *addr, uint64_t seed, size_t index, size_t n, struct thp_why *why);

/* The same against zeroes. */
int thp_check_zero(const void *addr, size_t n, struct thp_why *why);

/* Contents of the whole range as thp_map_fault() left them. */
int thp_map_check(const struct thp_map *m, size_t index, size_t n, struct thp_why *why);

/* Fails with -EPROTO unless the range is mapped as @want (UNKNOWN passes). */
int thp_map_expect(const struct thp_map *m, enum thp_state want, struct thp_why *why);

#endif /* THP_MAP_H */
