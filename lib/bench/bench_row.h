/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A row of the table of measurements: one operation, on THPs of several kinds and in several
 * numbers. The rows are in row_*.c, and nowhere else.
 */
#ifndef BENCH_ROW_H
#define BENCH_ROW_H

#include "bench_range.h"
#include "split_ops.h"

/*
 * A measurement has BENCH_ROUNDS rounds, or as many as BENCH_MS allows, but BENCH_LEAST; if
 * these would take longer than BENCH_LONG_MS, to judge by a smaller number of THPs, it is not
 * made. All of it times thp_env.scale.
 */
#define BENCH_ROUNDS	15
#define BENCH_LEAST	5
#define BENCH_MS	50
#define BENCH_LONG_MS	8000
#define BENCH_SIZES	8
#define BENCH_PAIRS	5	/* so many; of 64 THPs, 2 */
#define BENCH_PROCS	32
#define BENCH_OPS	4	/* THPs of one round with the table of operations */

/* The object of one round. */
struct bench {
	const struct bench_row *row;
	const struct split_op *op;	/* the row of the table of operations, or NULL */
	enum thp_kind kind;
	unsigned int n;			/* THPs */
	unsigned int procs;		/* processes that map them, with this one */
	bool empty;			/* a round without THPs: see .paired */
	struct bench_range from, to;	/* .to: of rows that move */
	struct thp_map map[BENCH_OPS];	/* of the table of operations */
	struct thp_child child[BENCH_PROCS];
	int pipe[2];
	int node;			/* that pages migrate to */
};

/* A measurement, repeated for each of its kinds, numbers of THPs and of processes. */
struct bench_row {
	const char *name;
	const char *program;		/* that measures it */
	unsigned int kinds;		/* enum thp_kind */
	uint64_t needs;			/* enum thp_need */
	unsigned int thps[BENCH_SIZES];	/* up to the first 0 */
	unsigned int mib[BENCH_SIZES];	/* or how much memory, rounded up to one THP */
	unsigned int procs[BENCH_SIZES];	/* the same; none: 1 */
	/* It is about bytes, the same in every round: there is one, and no other before it. */
	bool once;
	/*
	 * The cost of the call itself, or of a process, is not that of the THPs: every
	 * round is run without them as well, and that result is subtracted. Each of the
	 * two is the least of several, as a difference adds up what disturbs either.
	 */
	bool paired;
	/* Before the operation, not measured. 0; -ENOTSUP, see thp_skip(); -errno. */
	int (*setup)(struct bench *b, struct thp_why *why);
	/* The operation and nothing else: 0 or -errno. */
	int (*run)(struct bench *b);
	/* Whether it took place: 0; -EAGAIN with a cause if not, then the round is void. */
	int (*done)(struct bench *b, struct thp_why *why);
	/* VmPTE of the processes that it is about; default: of this one. Bytes, or -errno. */
	long long (*vmpte)(struct bench *b);
	/* Undoes all of it, however far it got. */
	void (*teardown)(struct bench *b);
};

/* The table, and the next in the list of tables. */
struct bench_table {
	const struct bench_row *rows;
	size_t count;
	const char *file;
	struct bench_table *next;
};

void bench_add(struct bench_table *table);

/* Makes the rows of @table part of the measurements, before main(). */
#define BENCH_ROWS(table)						\
__attribute__((constructor)) static void add_##table(void)		\
{									\
	static struct bench_table self = {				\
		table, ARRAY_SIZE(table), __FILE__, NULL		\
	};								\
									\
	bench_add(&self);						\
}									\
struct bench_table

/* Steps that rows share. */

/* .setup: b->from with all THPs faulted in, unless b->empty. */
int bench_faulted(struct bench *b, struct thp_why *why);

/* .teardown: ends all children, closes the pipe, unmaps both ranges. */
void bench_clear(struct bench *b);

/* Starts b->child[@i] with @fn and waits for its first step. 0 or -errno with a cause. */
int bench_child(struct bench *b, unsigned int i,
		int (*fn)(struct thp_chan *chan, void *bench), struct thp_why *why);

/* .vmpte: of the first child, 0 before and after its life. */
long long bench_child_vmpte(struct bench *b);

#endif /* BENCH_ROW_H */
