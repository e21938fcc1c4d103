// SPDX-License-Identifier: GPL-2.0
/*
 * Every row of the table of operations, in the state that its .prepare makes: each round has
 * BENCH_OPS THPs, and runs the operation on one after the other.
 */
#include "bench_row.h"

static int setup_ops(struct bench *b, struct thp_why *why)
{
	unsigned int i;

	for (i = 0; i < b->n; i++) {
		TRY(thp_map_new(&b->map[i], b->kind, why));
		TRY(split_prepare(b->op, &b->map[i], why));
	}
	return 0;
}

static int run_ops(struct bench *b)
{
	unsigned int i;

	for (i = 0; i < b->n; i++)
		TRY(split_run(b->op, &b->map[i]));
	return 0;
}

static void teardown_ops(struct bench *b)
{
	unsigned int i;

	for (i = 0; i < b->n; i++)
		thp_map_destroy(&b->map[i]);
}

/* Without kinds: those of the operation. */
static const struct bench_row ops_rows[] = {
	{
		.name = "ops", .program = "thp_lazy_split",
		.thps = { BENCH_OPS },
		.setup = setup_ops, .run = run_ops, .teardown = teardown_ops,
	},
};

BENCH_ROWS(ops_rows);
