// SPDX-License-Identifier: GPL-2.0
/*
 * Bytes of page tables against the size of what is mapped, and against the number of
 * processes: the curves that a lazy kernel flattens. Beyond 1 GiB the tables of PMDs show,
 * too, on either kernel.
 */
#include <errno.h>
#include <unistd.h>

#include "bench_row.h"

/* What an eager kernel takes, as the test must not find out by running out of memory. */
static int setup_tables(struct bench *b, struct thp_why *why)
{
	size_t each = thp_env.table + (b->kind == THP_ANON ? thp_env.pmd : 0);

	return bench_range_map(&b->from, b->n, b->n * each, why);
}

static int run_tables(struct bench *b)
{
	unsigned int i;

	for (i = 0; i < b->n; i++)
		bench_range_access(&b->from, i, b->kind);
	return 0;
}

static int done_tables(struct bench *b, struct thp_why *why)
{
	return bench_range_sample(&b->from, thp_kind_state(b->kind), why);
}

/* Until its tables have been counted; from then on it faults no more in. */
static int stay(struct thp_chan *chan, void *arg)
{
	(void)arg;
	thp_chan_post_parent(chan, 1);
	for (;;)
		pause();
	return 0;
}

static int run_forks(struct bench *b)
{
	struct thp_why why = { 0 };
	unsigned int i;

	for (i = 0; i + 1 < b->procs; i++)
		TRY(bench_child(b, i, stay, &why));
	return 0;
}

/* VmPTE of all children, bytes. */
static long long vmpte_forks(struct bench *b)
{
	long long sum = 0, one;
	unsigned int i;

	for (i = 0; i + 1 < b->procs && b->child[i].pid; i++) {
		one = thp_obs_vmpte(b->child[i].pid);
		if (one < 0)
			return one;
		sum += one;
	}
	return sum;
}

static const struct bench_row tables_rows[] = {
	{
		.name = "tables", .program = "thp_lazy_split", .kinds = THP_ANON, .once = true,
		.mib = { 64, 256, 1024, 2560 },
		.setup = setup_tables, .run = run_tables, .done = done_tables,
		.teardown = bench_clear,
	}, {
		.name = "tables", .program = "thp_lazy_split", .kinds = THP_ZERO, .once = true,
		.mib = { 64, 512, 4096, 32768, 131072, 1048576 },
		.setup = setup_tables, .run = run_tables, .done = done_tables,
		.teardown = bench_clear,
	}, {
		.name = "tables_forks", .program = "thp_fork_copy", .kinds = THP_ANON | THP_ZERO,
		.once = true, .paired = true, .thps = { 64 }, .procs = { 2, 4, 8, 16, 32 },
		.setup = bench_faulted, .run = run_forks, .vmpte = vmpte_forks,
		.teardown = bench_clear,
	},
};

BENCH_ROWS(tables_rows);
