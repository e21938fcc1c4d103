// SPDX-License-Identifier: GPL-2.0
#include <errno.h>
#include <linux/perf_event.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "bench_clock.h"

int bench_clock_open(struct bench_clock *c)
{
	struct perf_event_attr attr = {
		.type = PERF_TYPE_HARDWARE,
		.size = sizeof(attr),
		.config = PERF_COUNT_HW_INSTRUCTIONS,
		.inherit = 1,
		.exclude_hv = 1,
	};

	c->fd = syscall(__NR_perf_event_open, &attr, 0, -1, -1, PERF_FLAG_FD_CLOEXEC);
	return c->fd < 0 ? -errno : 0;
}

void bench_clock_close(struct bench_clock *c)
{
	if (c->fd >= 0)
		close(c->fd);
	c->fd = -1;
}

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000000000ULL + ts.tv_nsec;
}

static uint64_t instructions(const struct bench_clock *c)
{
	uint64_t n = 0;

	if (c->fd < 0 || read(c->fd, &n, sizeof(n)) != sizeof(n))
		return 0;
	return n;
}

/* The clock is the inner one: reading the counter is a system call. */
void bench_clock_start(struct bench_clock *c)
{
	c->instructions = instructions(c);
	c->ns = now_ns();
}

void bench_clock_stop(struct bench_clock *c)
{
	c->ns = now_ns() - c->ns;
	c->instructions = instructions(c) - c->instructions;
}
