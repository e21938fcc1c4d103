// SPDX-License-Identifier: GPL-2.0
/*
 * The life of THPs: fault, zap, unmapping, exit, collapse.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench_row.h"
#include "thp_uapi.h"

static int setup_fault(struct bench *b, struct thp_why *why)
{
	return bench_range_new(&b->from, b->n, why);
}

static int run_fault(struct bench *b)
{
	unsigned int i;

	for (i = 0; i < b->n; i++)
		bench_range_access(&b->from, i, b->kind);
	return 0;
}

static int done_fault(struct bench *b, struct thp_why *why)
{
	return bench_range_expect(&b->from, thp_kind_state(b->kind), why);
}

static int run_zap(struct bench *b)
{
	return madvise(b->from.thps, bench_range_len(&b->from), MADV_DONTNEED) ? -errno : 0;
}

static int run_unmap(struct bench *b)
{
	return munmap(b->from.thps, bench_range_len(&b->from)) ? -errno : 0;
}

/* A child with THPs of its own, which exits as soon as the other end of the pipe is closed. */
static int live(struct thp_chan *chan, void *arg)
{
	struct bench *b = arg;
	char byte;

	if (!b->empty)
		TRY(bench_range_fault(&b->from, b->kind, &chan->why));
	close(b->pipe[1]);
	thp_chan_post_parent(chan, 1);
	(void)!read(b->pipe[0], &byte, 1);
	return 0;
}

static int setup_exit(struct bench *b, struct thp_why *why)
{
	TRY(bench_range_new(&b->from, b->n, why));
	if (pipe2(b->pipe, O_CLOEXEC))
		return thp_why(why, -errno, "pipe: %s", thp_errno_name(errno));
	return bench_child(b, 0, live, why);
}

static int run_exit(struct bench *b)
{
	int status;

	close(b->pipe[1]);
	b->pipe[1] = 0;
	if (waitpid(b->child[0].pid, &status, 0) < 0)
		return -errno;
	b->child[0].pid = 0;
	return status ? -EIO : 0;
}

static int setup_collapse(struct bench *b, struct thp_why *why)
{
	unsigned int i;

	TRY(bench_faulted(b, why));
	for (i = 0; i < b->n; i++)
		TRY(thp_split_at(b->from.thps + i * thp_env.pmd, why));
	return bench_range_expect(&b->from, THP_STATE_PTE, why);
}

static int run_collapse(struct bench *b)
{
	return madvise(b->from.thps, bench_range_len(&b->from), MADV_COLLAPSE) ? -errno : 0;
}

#define SIZES { 1, 8, 64 }
#define BOTH (THP_ANON | THP_ZERO)

static const struct bench_row life_rows[] = {
	{
		.name = "fault", .program = "thp_lazy_split", .kinds = BOTH, .thps = SIZES,
		.setup = setup_fault, .run = run_fault, .done = done_fault,
		.teardown = bench_clear,
	}, {
		.name = "zap", .program = "thp_lazy_split", .kinds = BOTH, .thps = SIZES,
		.setup = bench_faulted, .run = run_zap, .teardown = bench_clear,
	}, {
		.name = "unmap", .program = "thp_lazy_split", .kinds = BOTH, .thps = SIZES,
		.setup = bench_faulted, .run = run_unmap, .teardown = bench_clear,
	}, {
		.name = "exit", .program = "thp_lazy_split", .kinds = BOTH, .thps = SIZES,
		.paired = true, .setup = setup_exit, .run = run_exit,
		.vmpte = bench_child_vmpte, .teardown = bench_clear,
	}, {
		.name = "collapse", .program = "thp_lazy_split", .kinds = THP_ANON,
		.thps = SIZES, .needs = THP_NEED_COLLAPSE,
		.setup = setup_collapse, .run = run_collapse, .done = done_fault,
		.teardown = bench_clear,
	},
};

BENCH_ROWS(life_rows);
