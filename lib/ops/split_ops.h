/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The only table of operations on a PMD mapping: those that split it and those that must
 * not.
 *
 * thp_lazy_split runs every row without failure, thp_split_enomem runs the same rows while
 * page tables cannot be allocated. The rows are in op_*.c, each below the function that it
 * runs, and nowhere else: both programs, -L, the documents and their checks use these
 * (docs/adding.md).
 */
#ifndef SPLIT_OPS_H
#define SPLIT_OPS_H

#include "split_effect.h"
#include "thp_map.h"

/* Which base pages of the THP an operation names. */
enum split_where {
	AT_HEAD,	/* the first */
	AT_MID,		/* the one in the middle */
	AT_TAIL,	/* the last */
	AT_UPPER,	/* the upper half */
	AT_WHOLE,	/* all of them */
};

/* The effect of success on the contents of the named pages. */
enum split_effect {
	KEEPS_DATA,
	ZEROES,		/* they read as zeroes afterwards */
	UNMAPS,		/* they can no longer be accessed */
	WRITES,		/* the first byte of the first page becomes SPLIT_BYTE */
	MAY_ZERO,	/* they read as before or as zeroes (MADV_FREE) */
};

/* The required behaviour if no PTE table can be allocated. */
enum split_starved {
	FAILS,		/* it returns one of .errnos and nothing has changed, or succeeds */
	ADVICE,		/*
			 * it returns 0; the data is intact, split or not. With .errnos:
			 * unless something else than the table could not be allocated
			 */
	WAITS,		/* a fault: it is retried until memory is available, then complete */
	NEVER,		/* it needs no table: it succeeds */
};

#define SPLIT_BYTE	0x5a

/* .flags */
#define OP_LEAVES_NONE	(1 << 0)	/* nothing of the range stays mapped */
#define OP_NO_ZAP	(1 << 1)	/* the range cannot be unmapped afterwards */
#define OP_MERGES	(1 << 2)	/* the number of VMAs must not change */
#define OP_FOLIO	(1 << 3)	/* splits the folio, too (thp_split_page) */
#define OP_ZAPS		(1 << 4)	/* needs no memory at all if it splits no PMD */
#define OP_POPULATES	(1 << 5)	/* changes the VMAs, then faults in, and may fail then */
#define OP_BELOW_TOO	(1 << 6)	/* the page below the THP has the trait before and after */
#define OP_ABOVE_TOO	(1 << 7)	/* ... the page above it */
#define OP_UNDOES_FIRST	(1 << 8)	/* takes its effect back before it splits the VMA */
#define OP_SWAPS	(1 << 9)	/* swaps the THP out: splits it, or makes an entry of it */

/*
 * Success has an effect on the contents (.effect), and others that the contents do not
 * show: split_verify() judges .says, .meets and .verify on all pages of the THP, so that an
 * effect on one page too many is noticed.
 */
struct split_op {
	const char *name;
	const char *covers;		/* rows of docs/call-sites.md */
	/* On these kinds another function splits: the rows in place of those. */
	struct {
		unsigned int kinds;	/* enum thp_kind */
		const char *ids;
	} covers_on;
	unsigned int kinds;		/* enum thp_kind on which it splits the PMD */
	unsigned int keeps;		/* ... on which it is legal and must not split */
	uint64_t needs;		/* enum thp_need */
	enum split_where where;
	enum split_effect effect;
	enum split_starved starved;
	int errnos[3];			/* allowed failures; FAILS without any: ENOMEM */
	unsigned int flags;
	/* Brings the mapping into the state that the operation needs. */
	int (*prepare)(struct thp_map *m, struct thp_why *why);
	/*
	 * The operation and nothing else: no allocation, no I/O. 0 or -errno. Rows that share a
	 * function use .run_with, which gets .arg. split_run_at() calls the one that is set.
	 */
	int (*run)(struct thp_map *m, char *addr, size_t len);
	int (*run_with)(struct thp_map *m, char *addr, size_t len, long arg);
	long arg;
	/* Proof that success had its effect; a row that splits needs one of these ... */
	struct split_proof says;	/* the state that the kernel reports of each page */
	struct split_proof meets;	/* the result of an access to a page */
	/* Checks that need more than a value per page; 0 or -errno with a cause. */
	int (*verify)(struct thp_map *m, struct thp_why *why);
	/* After a failure for want of a table: checks that .says does not cover. */
	int (*untouched)(struct thp_map *m, struct thp_why *why);
	const char *unproven;		/* ... or the reason why there is none */
	/* Checking the contents undoes what prepare() did: does it again. */
	int (*again)(struct thp_map *m);
};

/* Row @i of the table, in the order of files and lines; NULL after the last one. */
const struct split_op *split_op_at(size_t i);

/* The row of that name, or NULL. */
const struct split_op *split_op_by_name(const char *name);

/* Whether @op is a row of the table, and not one that a test defines itself. */
bool split_is_row(const struct split_op *op);

/* First page and number of pages that @op names. */
size_t split_first(const struct split_op *op);
size_t split_count(const struct split_op *op);

/* prepare() of the row, or nothing. 0 or -errno with a cause. */
int split_prepare(const struct split_op *op, struct thp_map *m, struct thp_why *why);

/* Before a retry, after the contents have been checked. */
void split_again(const struct split_op *op, struct thp_map *m);

/* Runs the operation on the pages that it names, or on others; 0 or -errno. */
int split_run(const struct split_op *op, struct thp_map *m);
int split_run_at(const struct split_op *op, struct thp_map *m, char *addr, size_t len);

/* Whether @op has to split a PMD of this kind (false: it must keep it). */
bool split_expected(const struct split_op *op, enum thp_kind kind);

/*
 * The same once it is known how the operation left the mapping: a THP that is in swap as
 * one PMD swap entry (OP_SWAPS, thp_swap.h) need not have been split.
 */
bool split_owed(const struct split_op *op, enum thp_kind kind, enum thp_state after);

/*
 * All contents of the range, as they must be after success (@done) or as they
 * were before (!@done). 0 or -EILSEQ with a cause.
 */
int split_check_data(const struct split_op *op, const struct thp_map *m, bool done,
		     struct thp_why *why);

/* Whether an errno is among those that @op may fail with. */
bool split_errno_ok(const struct split_op *op, int err);

#endif /* SPLIT_OPS_H */
