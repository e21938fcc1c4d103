/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What operations on THPs cost and save: time, instructions, and bytes of page tables.
 *
 * The table of measurements is made of the rows of row_*.c (bench_row.h), and of the table of
 * operations (lib/ops), each row of which is measured, too. Every measurement runs in a
 * process of its own, for one round that does not count and then several that do. Nothing is
 * judged, but a round in which the operation did not take place does not count.
 */
#ifndef BENCH_H
#define BENCH_H

enum bench_format {
	BENCH_TABLE,	/* for people */
	BENCH_JSON,	/* one object a line */
	BENCH_NAMES,	/* the names of rows only: measures nothing */
};

/*
 * Measures the rows of @program whose names match one of @patterns, separated by commas
 * (fnmatch(3)), and prints a line for each. The number of rows with figures, or of names;
 * -ENOENT if none matches.
 */
int bench_run(const char *program, const char *patterns, enum bench_format format);

#endif /* BENCH_H */
