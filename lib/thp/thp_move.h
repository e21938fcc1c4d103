/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Moves of THPs, and a model of what they leave behind.
 *
 * A source and a destination site, each a VMA of its own with one slot (or as
 * many as make their page tables visible in kB):
 *
 *	| pad, one page mapped | window 0 | window 1 | pad |
 *
 * Offsets of a move count from the start of window 0, on both sides. The pads keep the
 * upper tables, so that VmPTE changes by PTE tables only. The far destination has a PMD
 * table of its own, the near one shares the source's.
 *
 * The model knows for each window whether it is one PMD, a PTE table or empty, and for each
 * of its pages the contents. It predicts splits and tables from the contract; the checks
 * compare the kernel with that.
 */
#ifndef THP_MOVE_H
#define THP_MOVE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "thp_file.h"
#include "thp_map.h"
#include "thp_obs.h"
#include "thp_reserve.h"

/* Base pages per PMD on arm64 with 64K pages. */
#define THP_MOVE_MAX_NR 8192

enum thp_move_how {
	THP_MOVE_MREMAP,	/* MREMAP_MAYMOVE | MREMAP_FIXED */
	THP_MOVE_DONTUNMAP,	/* and MREMAP_DONTUNMAP */
	THP_MOVE_UFFD,		/* UFFDIO_MOVE */
	THP_MOVE_SHRINK,	/* mremap() that unmaps [src, src + len) */
	THP_MOVE_GROW,		/* mremap() of [src, src + len) to one PMD size more */
};

/* A number of pages: halves of a PMD plus pages. */
struct thp_spot {
	int halves;
	int pages;
};

struct thp_move_case {
	enum thp_move_how how;
	enum thp_kind kind;		/* of the source */
	bool two;			/* THPs in both windows of the source, not in one */
	struct thp_spot src, len, dst;
	enum thp_kind dst_kind;		/* of the destination, if ndst */
	unsigned int ndst;		/* windows of the destination that hold a THP */
	bool far;			/* destination below another PMD table */
	bool table;			/* destination has PTE tables: a page is mapped beside it */
	bool emptied;			/* destination has PTE tables that map nothing */
	bool presplit;			/* source PMDs are split beforehand */
	bool locked;			/* source is locked in memory */
};

/* enum thp_need of a case. */
uint64_t thp_move_needs(const struct thp_move_case *c);

enum { THP_SRC, THP_DST };

struct thp_move_model {
	struct {
		bool huge;		/* one PMD entry */
		bool table;		/* a live PTE table */
		enum thp_kind kind;
	} win[2][2];
	int32_t id[2][2 * THP_MOVE_MAX_NR];	/* contents, see thp_move_model.h */
	bool present[2][2 * THP_MOVE_MAX_NR];
	unsigned int splits;		/* PMDs split so far */
	unsigned int allocs;		/* PTE tables allocated so far */
};

struct thp_move {
	struct thp_move_case c;
	size_t s, n, d;			/* pages: source, length, destination */
	unsigned int slots;
	char *arena;
	size_t arena_len;
	char *site[2];
	int memfd, uffd;
	uint64_t seed;
	struct thp_move_model now;	/* the expected state of the mappings */
	struct thp_move_model next;
	long tables0;			/* tables of the windows when vmpte0 was read */
	long long vmpte0;
	struct thp_smaps smaps;		/* of the source site before the move */

	/* How thp_move_run() is to starve the next move, and the result of that. */
	bool starve;			/* by thp_inject_task() */
	int nth_fd, nth;		/* by fail-nth, if nth_fd >= 0 */
	long fired;

	/* Results of thp_move_run(). */
	long long moved;		/* UFFDIO_MOVE: bytes, or -errno */
	uint64_t splits;		/* thp_split_pmd events, system-wide */
	uint64_t failed;		/* thp_split_pmd_failed events */
};

/*
 * Maps and fills both sites and checks how many tables that takes. @slots as in struct
 * thp_move. 0; -ENOTSUP: no THP could be allocated; -errno.
 */
int thp_move_prepare(struct thp_move *mv, const struct thp_move_case *c, unsigned int slots,
		     struct thp_why *why);

/* Moves: only the system calls between two readings. 0 or their -errno. */
int thp_move_run(struct thp_move *mv);

/* mv->next := mv->now after the move of @pages pages (mv->n for all). */
void thp_move_predict(struct thp_move *mv, size_t pages);

/*
 * Compares everything with @m: tables (which may be up to @slack more), mapping
 * of each window, presence and contents of each page. 0 or -errno.
 */
int thp_move_check(struct thp_move *mv, const struct thp_move_model *m, long slack,
		   struct thp_why *why);

/* After success: thp_move_check() of mv->next, source gone; mv->now := mv->next. */
int thp_move_check_done(struct thp_move *mv, struct thp_why *why);

/*
 * After a failure: the source is unchanged, the destination untouched or unmapped, as
 * MREMAP_FIXED does first; UFFDIO_MOVE may have moved a prefix. @may_split: PMDs may have
 * been split before the failure. @slack as above.
 */
int thp_move_check_refused(struct thp_move *mv, bool may_split, long slack, struct thp_why *why);

/*
 * Compares the splits counted by thp_move_run() with @want per slot: 0; -EPROTO if there
 * are fewer; -EAGAIN if there are more, which others may have caused.
 */
int thp_move_check_splits(struct thp_move *mv, unsigned int want, struct thp_why *why);

/* Unmaps one side after the other and checks that their tables are freed. */
int thp_move_finish(struct thp_move *mv, struct thp_why *why);

/* Unmaps everything; safe to call twice. */
void thp_move_destroy(struct thp_move *mv);

#endif /* THP_MOVE_H */
