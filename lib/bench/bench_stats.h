/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What a few samples of one operation say. Times have a lower bound and a long tail, from
 * interrupts and other tasks, so the median and quartiles describe them, not the mean.
 */
#ifndef BENCH_STATS_H
#define BENCH_STATS_H

#include <stdbool.h>
#include <stddef.h>

/* Samples that spread more than this tell nothing about a difference of a tenth. */
#define BENCH_NOISY	0.2

/* More than this is shown as this. */
#define BENCH_SPREAD_MAX 9.99

struct bench_stats {
	double median;	/* the mean of the two in the middle if their number is even */
	double min, max;
	/*
	 * The distance of the quartiles divided by the median, 0 to BENCH_SPREAD_MAX: half of
	 * the samples lie within it. A quartile between two samples is interpolated.
	 */
	double spread;
	bool noisy;	/* the spread exceeds BENCH_NOISY */
};

/* Of @n samples, at least one; sorts them. */
struct bench_stats bench_stats(double *v, size_t n);

#endif /* BENCH_STATS_H */
