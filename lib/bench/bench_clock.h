/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The clock and the counter of instructions of one measurement.
 *
 * Instructions are those of the process, in the kernel and outside of it, and of children
 * that it has forked since bench_clock_open(). Not every machine counts them: many virtual
 * ones do not, and kernel.perf_event_paranoid may forbid it.
 */
#ifndef BENCH_CLOCK_H
#define BENCH_CLOCK_H

#include <stdint.h>

struct bench_clock {
	int fd;			/* of the counter, or -1 */
	uint64_t ns;		/* from start to stop */
	uint64_t instructions;	/* the same, 0 without a counter */
};

/* 0, or -errno where instructions are not counted: time is measured all the same. */
int bench_clock_open(struct bench_clock *c);
void bench_clock_close(struct bench_clock *c);

void bench_clock_start(struct bench_clock *c);
void bench_clock_stop(struct bench_clock *c);

#endif /* BENCH_CLOCK_H */
