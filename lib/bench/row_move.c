// SPDX-License-Identifier: GPL-2.0
/*
 * Whole THPs that change their address, or their node.
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "bench_row.h"

#define SIZES { 1, 8, 64 }
#define MOVE_MAX 64

static int setup_mremap(struct bench *b, struct thp_why *why)
{
	TRY(bench_faulted(b, why));
	return bench_range_new(&b->to, b->n, why);
}

static int run_mremap(struct bench *b)
{
	size_t len = bench_range_len(&b->from);

	return mremap(b->from.thps, len, len, MREMAP_MAYMOVE | MREMAP_FIXED, b->to.thps) ==
	       MAP_FAILED ? -errno : 0;
}

static int done_mremap(struct bench *b, struct thp_why *why)
{
	return bench_range_expect(&b->to, thp_kind_state(b->kind), why);
}

/* Moves the THPs to @node, or with -1 asks for their nodes; fills @status. 0 or -errno. */
static int move_to(const struct bench *b, int node, int *status)
{
	void *pages[MOVE_MAX];
	int nodes[MOVE_MAX];
	unsigned int i;

	for (i = 0; i < b->n; i++) {
		pages[i] = b->from.thps + i * thp_env.pmd;
		nodes[i] = node;
	}
	/* Without libnuma, which a static build may lack. */
	return syscall(__NR_move_pages, 0, (unsigned long)b->n, pages, node < 0 ? NULL : nodes,
		       status, 0) < 0 ? -errno : 0;
}

/*
 * A node with memory other than @here; -1 if there is none. The list looks like "0-1" or
 * "0,2".
 */
static int other_node(int here)
{
	char text[256], *p = text;
	long n, last;

	if (thp_read_file("/sys/devices/system/node/has_memory", text, sizeof(text)) < 0)
		return -1;
	while (*p >= '0' && *p <= '9') {
		n = strtol(p, &p, 10);
		last = *p == '-' ? strtol(p + 1, &p, 10) : n;
		for (; n <= last; n++)
			if (n != here)
				return n;
		if (*p == ',')
			p++;
	}
	return -1;
}

/* All THPs on one node, that of the first. */
static int setup_migrate(struct bench *b, struct thp_why *why)
{
	int status[MOVE_MAX], ret;

	TRY(bench_faulted(b, why));
	ret = move_to(b, -1, status);
	if (!ret && status[0] < 0)
		ret = status[0];
	if (!ret)
		ret = move_to(b, status[0], status);
	if (ret)
		return thp_why(why, ret, "move_pages: %s", thp_errno_name(ret));
	b->node = other_node(status[0]);
	return b->node < 0 ? thp_skip(why, "needs 2 NUMA nodes with memory") : 0;
}

static int run_migrate(struct bench *b)
{
	int status[MOVE_MAX];

	return move_to(b, b->node, status);
}

static int done_migrate(struct bench *b, struct thp_why *why)
{
	int status[MOVE_MAX], ret = move_to(b, -1, status);
	unsigned int i;

	if (ret)
		return thp_why(why, ret, "move_pages: %s", thp_errno_name(ret));
	for (i = 0; i < b->n; i++)
		if (status[i] != b->node)
			return thp_why(why, -EAGAIN, "THP %u: node %d, expected %d", i, status[i],
				       b->node);
	return bench_range_expect(&b->from, THP_STATE_PMD, why);
}

static const struct bench_row move_rows[] = {
	{
		.name = "mremap", .program = "thp_mremap", .kinds = THP_ANON | THP_ZERO,
		.thps = SIZES, .setup = setup_mremap, .run = run_mremap, .done = done_mremap,
		.teardown = bench_clear,
	}, {
		.name = "migrate", .program = "thp_migrate", .kinds = THP_ANON, .thps = SIZES,
		.needs = THP_NEED_NODES | THP_NEED_MOVE_PAGES,
		.setup = setup_migrate, .run = run_migrate, .done = done_migrate,
		.teardown = bench_clear,
	},
};

BENCH_ROWS(move_rows);
