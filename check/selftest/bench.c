// SPDX-License-Identifier: GPL-2.0
/* What measurements say of their samples. */

/* @n samples have these statistics; the spread in thousandths. */
static const char *wrong_stats(double *v, size_t n, double median, double min, double max,
			       long spread, bool noisy)
{
	static char text[200];
	struct bench_stats s = bench_stats(v, n);

	if (s.median == median && s.min == min && s.max == max &&
	    (long)(s.spread * 1000 + 0.5) == spread && s.noisy == noisy)
		return NULL;
	snprintf(text, sizeof(text),
		 "median %g min %g max %g spread %g noisy %d, expected %g %g %g %ld/1000 %d",
		 s.median, s.min, s.max, s.spread, s.noisy, median, min, max, spread, noisy);
	return text;
}

#define CHECK_STATS(median, min, max, spread, noisy, ...) do {		\
	double __v[] = { __VA_ARGS__ };					\
	const char *__wrong = wrong_stats(__v, ARRAY_SIZE(__v), median, min, max, spread, \
					  noisy);			\
									\
	THP_CHECK(!__wrong, "%s", __wrong);				\
} while (0)

TEST_F(lib, bench_stats)
{
	CHECK_STATS(7, 7, 7, 0, false, 7);
	CHECK_STATS(0, 0, 0, 0, false, 0, 0, 0);
	/* In any order; an even number has no sample in the middle. */
	CHECK_STATS(2, 1, 3, 500, true, 3, 1, 2);
	CHECK_STATS(102.5, 101, 104, 15, false, 104, 101, 103, 102);
	/* Quartiles 100 and 119: not noisy yet. */
	CHECK_STATS(100, 90, 130, 190, false, 90, 100, 100, 119, 130);
	CHECK_STATS(100, 90, 130, 210, true, 90, 100, 100, 121, 130);
	/* One sample of many that an interrupt made ten times as long changes nothing. */
	CHECK_STATS(100, 100, 1000, 0, false, 100, 100, 1000, 100, 100);
	/* Differences may be negative, or nothing. */
	CHECK_STATS(-100, -110, -90, 100, false, -90, -100, -110);
	CHECK_STATS(0, -50, 50, 9990, true, -50, 0, 50);
}

TEST_F(lib, bench_quote)
{
	char text[32];

	bench_quote(text, sizeof(text), "a \"b\" \\\n");
	THP_CHECK(!strcmp(text, "\"a \\\"b\\\" \\\\\\u000a\""), "quotes: %s", text);
	bench_quote(text, sizeof(text), "\t");
	THP_CHECK(!strcmp(text, "\"\\u0009\""), "a tabulator: %s", text);
	bench_quote(text, 16, "0123456789abcdefghijklmnopq");
	THP_CHECK(!strcmp(text, "\"01234567\""), "cut at another place: %s", text);
}
