// SPDX-License-Identifier: GPL-2.0
/*
 * Prints the rows of the table of operations as docs/contract.md has them.
 */
#include <stdio.h>

#include "split_ops.h"

static const char * const places[] = {
	[AT_HEAD] = "first", [AT_MID] = "middle", [AT_TAIL] = "last",
	[AT_UPPER] = "upper half", [AT_WHOLE] = "all",
};

static const char * const classes[] = {
	[FAILS] = "FAILS", [ADVICE] = "ADVICE", [WAITS] = "WAITS", [NEVER] = "NEVER",
};

static void print_kinds(unsigned int kinds)
{
	const char *before = " ";
	unsigned int kind;

	for (kind = 1; kind && kind <= kinds; kind <<= 1) {
		if (!(kinds & kind))
			continue;
		printf("%s%s", before, thp_kind_name(kind));
		before = ", ";
	}
	printf(" |");
}

/* What the caller gets while no table can be allocated. */
static void print_results(const struct split_op *op)
{
	const char *before = op->starved == ADVICE ? ", " : " ";
	size_t i;

	if (op->starved != FAILS)
		printf(op->starved == WAITS ? " nothing, until there is memory" : " 0");
	else if (!op->errnos[0])
		printf(" `-ENOMEM`");
	for (i = 0; i < ARRAY_SIZE(op->errnos) && op->errnos[i]; i++) {
		printf("%s`-%s`", before, thp_errno_name(op->errnos[i]));
		before = ", ";
	}
	printf(" |\n");
}

int main(void)
{
	const struct split_op *op;
	size_t i;

	printf("| row | pages | splits a PMD of | must not split | class | returns |\n");
	printf("|---|---|---|---|---|---|\n");
	for (i = 0; (op = split_op_at(i)); i++) {
		printf("| `%s` | %s |", op->name, places[op->where]);
		print_kinds(op->kinds);
		print_kinds(op->keeps);
		printf(" %s |", classes[op->starved]);
		print_results(op);
	}
	return 0;
}
