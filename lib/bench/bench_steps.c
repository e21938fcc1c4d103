// SPDX-License-Identifier: GPL-2.0
#include <errno.h>
#include <unistd.h>

#include "bench_row.h"

int bench_faulted(struct bench *b, struct thp_why *why)
{
	TRY(bench_range_new(&b->from, b->n, why));
	return b->empty ? 0 : bench_range_fault(&b->from, b->kind, why);
}

void bench_clear(struct bench *b)
{
	unsigned int i;

	for (i = 0; i < BENCH_PROCS; i++)
		thp_child_kill(&b->child[i]);
	for (i = 0; i < 2; i++) {
		if (b->pipe[i])
			close(b->pipe[i]);
		b->pipe[i] = 0;
	}
	bench_range_free(&b->from);
	bench_range_free(&b->to);
}

int bench_child(struct bench *b, unsigned int i,
		int (*fn)(struct thp_chan *chan, void *bench), struct thp_why *why)
{
	struct thp_why inner = { 0 };
	int ret = thp_child_start(&b->child[i], fn, b);

	if (ret)
		return thp_why(why, ret, "fork: %s", thp_errno_name(ret));
	ret = thp_child_await(&b->child[i], 1, THP_STEP_MS);
	/* A child that gave up says why. */
	if (ret == -ECHILD)
		return thp_child_join(&b->child[i], THP_STEP_MS, &inner) == -ENOTSUP ?
		       thp_why_pass(why, -ENOTSUP, &inner) :
		       thp_why_from(why, ret, &inner, "child %u", i);
	return ret ? thp_why(why, ret, "child %u: %s", i, thp_errno_name(ret)) : 0;
}

long long bench_child_vmpte(struct bench *b)
{
	return b->child[0].pid ? thp_obs_vmpte(b->child[0].pid) : 0;
}
