// SPDX-License-Identifier: GPL-2.0
/*
 * Swap: out, by MADV_PAGEOUT, and in, by a read of every base page.
 */
#include <errno.h>
#include <sys/mman.h>

#include "bench_row.h"
#include "thp_uapi.h"

/* Reclaim passes a folio by to which another task has a reference: some tries. */
#define OUT_TRIES 5

static int setup_out(struct bench *b, struct thp_why *why)
{
	long long free_kb = thp_read_field("/proc/meminfo", "SwapFree");
	size_t len = b->n * thp_env.pmd;

	if (free_kb < (long long)(len / 1024 * 3 / 2))
		return thp_skip(why, "needs more free swap", "%zu MiB", len * 3 / 2 >> 20);
	return bench_faulted(b, why);
}

static int run_out(struct bench *b)
{
	return madvise(b->from.thps, bench_range_len(&b->from), MADV_PAGEOUT) ? -errno : 0;
}

/* Whether every base page is in swap. */
static int done_out(struct bench *b, struct thp_why *why)
{
	size_t i, pages = b->n * thp_env.nr;
	uint64_t entry;
	int ret;

	for (i = 0; i < pages; i++) {
		ret = thp_obs_pagemap(b->from.thps + i * thp_env.page, &entry, 1);
		if (ret)
			return thp_why(why, ret, "pagemap: %s", thp_errno_name(ret));
		if (!(entry & THP_PM_SWAPPED))
			return thp_why(why, -EAGAIN, "page %zu of %zu is not in swap", i, pages);
	}
	return 0;
}

static int setup_in(struct bench *b, struct thp_why *why)
{
	int try, ret;

	TRY(setup_out(b, why));
	for (try = 0; try < OUT_TRIES; try++) {
		TRY(run_out(b));
		ret = done_out(b, try < OUT_TRIES - 1 ? NULL : why);
		if (ret != -EAGAIN)
			break;
		thp_sleep_ms(5);
	}
	return ret;
}

static int run_in(struct bench *b)
{
	size_t i;

	for (i = 0; i < b->n * thp_env.nr; i++)
		thp_peek(b->from.thps + i * thp_env.page);
	return 0;
}

#define SIZES { 1, 8, 64 }

static const struct bench_row swap_rows[] = {
	{
		.name = "swap_out", .program = "thp_lazy_split", .kinds = THP_ANON,
		.thps = SIZES, .needs = THP_NEED_SWAP,
		.setup = setup_out, .run = run_out, .done = done_out, .teardown = bench_clear,
	}, {
		.name = "swap_in", .program = "thp_lazy_split", .kinds = THP_ANON,
		.thps = SIZES, .needs = THP_NEED_SWAP,
		.setup = setup_in, .run = run_in, .teardown = bench_clear,
	},
};

BENCH_ROWS(swap_rows);
