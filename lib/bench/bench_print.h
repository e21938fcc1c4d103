/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The result of one measurement, and its line of output.
 */
#ifndef BENCH_PRINT_H
#define BENCH_PRINT_H

#include "bench_stats.h"
#include "thp_map.h"

#define BENCH_ID 80

/* One line of the result. */
struct bench_result {
	const char *program;
	char id[BENCH_ID];		/* as a test of the same operation: munmap_mid_anon */
	enum thp_kind kind;
	unsigned int thps, procs, rounds;
	struct bench_stats ns;		/* per THP */
	bool counted;			/* instructions were */
	struct bench_stats instructions;	/* per THP */
	double bytes;			/* of page tables, per THP: what .vmpte gained */
	double splits;			/* PMD splits of the system, per THP */
	struct thp_why why;		/* why there are no figures, else empty */
};

/* The line of a result, in a form for people or for programs. */
void bench_print_head(const char *program);
void bench_print_line(const struct bench_result *r);
void bench_print_json(const struct bench_result *r);

/* A string as JSON has it, in quotes: @len bytes at @buf, cut if that is too little. */
const char *bench_quote(char *buf, size_t len, const char *text);

#endif /* BENCH_PRINT_H */
