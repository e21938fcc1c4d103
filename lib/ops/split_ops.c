// SPDX-License-Identifier: GPL-2.0
#include <errno.h>
#include <string.h>

#include "split_row.h"

static struct split_table *tables;

/*
 * Constructors run in an order that the linker decides; sorts, so that tests have a fixed
 * order.
 */
void split_ops_add(struct split_table *table)
{
	struct split_table **at = &tables;
	int order;

	for (; *at; at = &(*at)->next) {
		order = strcmp(table->file, (*at)->file);
		if (order < 0 || (!order && table->line < (*at)->line))
			break;
	}
	table->next = *at;
	*at = table;
}

const struct split_op *split_op_at(size_t i)
{
	const struct split_table *t;

	for (t = tables; t; t = t->next) {
		if (i < t->count)
			return &t->rows[i];
		i -= t->count;
	}
	return NULL;
}

const struct split_op *split_op_by_name(const char *name)
{
	const struct split_op *op;
	size_t i;

	for (i = 0; (op = split_op_at(i)); i++)
		if (!strcmp(op->name, name))
			return op;
	return NULL;
}

bool split_is_row(const struct split_op *op)
{
	return split_op_by_name(op->name) == op;
}

size_t split_first(const struct split_op *op)
{
	switch (op->where) {
	case AT_MID:
	case AT_UPPER: return thp_env.nr / 2;
	case AT_TAIL: return thp_env.nr - 1;
	default: return 0;
	}
}

size_t split_count(const struct split_op *op)
{
	switch (op->where) {
	case AT_UPPER: return thp_env.nr / 2;
	case AT_WHOLE: return thp_env.nr;
	default: return 1;
	}
}

int split_prepare(const struct split_op *op, struct thp_map *m, struct thp_why *why)
{
	return op->prepare ? op->prepare(m, why) : 0;
}

void split_again(const struct split_op *op, struct thp_map *m)
{
	thp_map_return(m);
	if (op->again)
		(void)op->again(m);
}

int split_run(const struct split_op *op, struct thp_map *m)
{
	return split_run_at(op, m, thp_page(m, split_first(op)), split_count(op) * thp_env.page);
}

int split_run_at(const struct split_op *op, struct thp_map *m, char *addr, size_t len)
{
	return op->run ? op->run(m, addr, len) : op->run_with(m, addr, len, op->arg);
}

bool split_expected(const struct split_op *op, enum thp_kind kind)
{
	return op->kinds & kind;
}

bool split_owed(const struct split_op *op, enum thp_kind kind, enum thp_state after)
{
	return split_expected(op, kind) &&
	       !(op->flags & OP_SWAPS && after == THP_STATE_PMD_SWAP);
}

bool split_errno_ok(const struct split_op *op, int err)
{
	size_t i;

	if (err < 0)
		err = -err;
	if (!op->errnos[0])
		return err == ENOMEM;
	for (i = 0; i < ARRAY_SIZE(op->errnos); i++)
		if (op->errnos[i] && op->errnos[i] == err)
			return true;
	return false;
}

/* Checks the named pages after success. */
static int check_named(const struct split_op *op, const struct thp_map *m, size_t first, size_t n,
		       struct thp_why *why)
{
	struct thp_why ignored = { 0 };
	size_t i;
	int ret;

	switch (op->effect) {
	case UNMAPS:
		return 0;
	case ZEROES:
		/* A shared mapping finds its pages in the page cache again. */
		if (m->kind == THP_SHMEM)
			return thp_map_check(m, first, n, why);
		return thp_check_zero(thp_page(m, first), n, why);
	case WRITES: {
		char *p = thp_page(m, first), was;

		/* Put the one byte back and compare the whole page. */
		if (*p != SPLIT_BYTE)
			return thp_why(why, -EILSEQ, "page %zu: written byte %#x reads %#x", first,
				       SPLIT_BYTE, (unsigned char)*p);
		if (m->kind == THP_ZERO) {
			was = 0;
		} else {
			uint64_t *tmp = (uint64_t *)p, word = tmp[1] - 1;

			was = *(char *)&word;
		}
		*p = was;
		ret = thp_map_check(m, first, n, why);
		*p = SPLIT_BYTE;
		return ret;
	}
	case MAY_ZERO:
		for (i = first; i < first + n; i++)
			if (thp_map_check(m, i, 1, &ignored) &&
			    thp_check_zero(thp_page(m, i), 1, why))
				return -EILSEQ;
		return 0;
	case KEEPS_DATA:
		break;
	}
	return thp_map_check(m, first, n, why);
}

int split_check_data(const struct split_op *op, const struct thp_map *m, bool done,
		     struct thp_why *why)
{
	size_t first = split_first(op), n = split_count(op);
	int ret;

	if (!done)
		return thp_map_check(m, 0, thp_env.nr, why);
	ret = thp_map_check(m, 0, first, why);
	if (!ret)
		ret = check_named(op, m, first, n, why);
	if (!ret)
		ret = thp_map_check(m, first + n, thp_env.nr - first - n, why);
	return ret;
}
