// SPDX-License-Identifier: GPL-2.0
/*
 * Processes that share THPs: fork(), and what the kernel does to a folio in all processes
 * that map it.
 */
#include <errno.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "bench_row.h"
#include "thp_uapi.h"

/* Only the child's tables differ: it lives until they have been counted. */
static int run_fork(struct bench *b)
{
	pid_t pid = fork();

	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		for (;;)
			pause();
	}
	if (pid < 0)
		return -errno;
	b->child[0].pid = pid;
	return 0;
}

/* Polling children would disturb the measurement. */
static int sleep_for_ever(struct thp_chan *chan, void *arg)
{
	(void)arg;
	thp_chan_post_parent(chan, 1);
	for (;;)
		pause();
	return 0;
}

static int setup_shared(struct bench *b, struct thp_why *why)
{
	unsigned int i;

	TRY(bench_faulted(b, why));
	for (i = 0; i + 1 < b->procs; i++)
		TRY(bench_child(b, i, sleep_for_ever, why));
	return 0;
}

/* VmPTE of all processes that map the THPs, bytes. */
static long long vmpte_shared(struct bench *b)
{
	long long sum = thp_obs_vmpte(0), one;
	unsigned int i;

	for (i = 0; i + 1 < b->procs; i++) {
		one = thp_obs_vmpte(b->child[i].pid);
		if (one < 0)
			return one;
		sum += one;
	}
	return sum;
}

static int run_split(struct bench *b)
{
	return thp_split_folios(getpid(), (unsigned long)b->from.thps,
				bench_range_len(&b->from));
}

static int done_split(struct bench *b, struct thp_why *why)
{
	return bench_range_expect(&b->from, THP_STATE_PTE, why);
}

static const struct bench_row share_rows[] = {
	{
		.name = "fork", .program = "thp_fork_copy", .kinds = THP_ANON | THP_ZERO,
		.thps = { 1, 8, 64 }, .paired = true,
		.setup = bench_faulted, .run = run_fork, .vmpte = bench_child_vmpte,
		.teardown = bench_clear,
	}, {
		.name = "shared_split", .program = "thp_fork_copy", .kinds = THP_ANON,
		.needs = THP_NEED_DEBUGFS, .thps = { 2 }, .procs = { 1, 8, 32 },
		.setup = setup_shared, .run = run_split, .done = done_split,
		.vmpte = vmpte_shared, .teardown = bench_clear,
	},
};

BENCH_ROWS(share_rows);
