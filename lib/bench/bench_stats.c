// SPDX-License-Identifier: GPL-2.0
#include <stdlib.h>

#include "bench_stats.h"

static int by_value(const void *a, const void *b)
{
	const double *x = a, *y = b;

	return *x < *y ? -1 : *x > *y;
}

/* The value below which @quarters fourths of the sorted samples lie. */
static double quartile(const double *v, size_t n, unsigned int quarters)
{
	size_t at = (n - 1) * quarters / 4, rest = (n - 1) * quarters % 4;

	return rest ? v[at] + (v[at + 1] - v[at]) * rest / 4 : v[at];
}

/* @width as a fraction of @of, whatever its sign. */
static double fraction(double width, double of)
{
	if (of < 0)
		of = -of;
	if (width > of * BENCH_SPREAD_MAX)
		return BENCH_SPREAD_MAX;
	return of > 0 ? width / of : 0;
}

struct bench_stats bench_stats(double *v, size_t n)
{
	struct bench_stats s;

	qsort(v, n, sizeof(v[0]), by_value);
	s.median = quartile(v, n, 2);
	s.min = v[0];
	s.max = v[n - 1];
	s.spread = fraction(quartile(v, n, 3) - quartile(v, n, 1), s.median);
	s.noisy = s.spread > BENCH_NOISY;
	return s;
}
