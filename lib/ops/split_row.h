/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Macros and functions for the files of operations, op_*.c. Each file has tables of rows,
 * right below the functions that the rows name, and SPLIT_OPS(table) after each: no other
 * file names a row.
 */
#ifndef SPLIT_ROW_H
#define SPLIT_ROW_H

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "split_ops.h"
#include "thp_uapi.h"

#define RET(call)	((call) ? -errno : 0)

#define PROT_RW		(PROT_READ | PROT_WRITE)
#define MAP_ANON_FIXED	(MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED)

/* The name and the place of a row; a row whose name ends in its place gets both from here. */
#define HEAD(call)	.name = call "_head", .where = AT_HEAD
#define MID(call)	.name = call "_mid", .where = AT_MID
#define TAIL(call)	.name = call "_tail", .where = AT_TAIL
#define HALF(call)	.name = call "_half", .where = AT_UPPER
#define WHOLE(call)	.name = call "_whole", .where = AT_WHOLE
#define NAMED(id, place) .name = id, .where = place

/*
 * .keeps names the kinds that are controls: on base pages and untouched memory
 * (PLAIN) nothing can be split, and since there is no PMD to split nothing may
 * be allocated for it; folio operations pass the huge zero folio by.
 */
#define ANON_ZERO	(THP_ANON | THP_ZERO)
#define ANON_ZERO_DEVICE (ANON_ZERO | THP_DEVICE)
#define ANON_ZERO_SWAP	(ANON_ZERO | THP_SWAPPED)
#define PRIVATE_PMD	(ANON_ZERO_DEVICE | THP_SWAPPED)
#define ALL_PMD		(ALL_HUGE | THP_DEVICE | THP_SWAPPED)
#define ALL_HUGE	(THP_ANON | THP_ZERO | THP_SHMEM)
#define PLAIN		(THP_SMALL | THP_NONE)
/* The kinds that a zap empties: a shared mapping drops the PMD with all pages. */
#define ZAPPED		(PRIVATE_PMD | THP_SMALL)

#define GONE		{ &split_has_vma, 1, 0, 0 }
#define UNREADABLE	{ &split_readable, 1, 0, 0 }
#define UNWRITABLE	{ &split_writable, 1, 0, 0 }

/* A table of rows and its file and line: rows run in the order of files and lines. */
struct split_table {
	const struct split_op *rows;
	size_t count;
	const char *file;
	int line;
	struct split_table *next;
};

void split_ops_add(struct split_table *table);

/* Makes the rows of @table part of the table of operations, before main(). */
#define SPLIT_OPS(table)						\
__attribute__((constructor)) static void add_##table(void)		\
{									\
	static struct split_table self = {				\
		table, ARRAY_SIZE(table), __FILE__, __LINE__, NULL	\
	};								\
									\
	split_ops_add(&self);						\
}									\
struct split_table

/* Steps that rows of several files share. */

/* .run_with = split_madvise, .arg = MADV_... */
int split_madvise(struct thp_map *m, char *addr, size_t len, long advice);

/* A store of SPLIT_BYTE by the process, and a read() of one byte from m->pipe. */
int split_store(struct thp_map *m, char *addr, size_t len);
int split_read_pipe(struct thp_map *m, char *addr, size_t len);

/* .prepare: a pipe with that byte in it. */
int split_fill_pipe(struct thp_map *m, struct thp_why *why);

/* .prepare: locked on fault, the neighbours as well as the THP stay as they are. */
int split_mlocked(struct thp_map *m, struct thp_why *why);

/* .prepare: registered with a userfaultfd in m->uffd, and write-protected. */
int split_uffd_wped(struct thp_map *m, struct thp_why *why);

/* Referenced of the whole area in kB, or -errno: young PTEs and referenced folios. */
long split_referenced_kb(struct thp_map *m);

#endif /* SPLIT_ROW_H */
