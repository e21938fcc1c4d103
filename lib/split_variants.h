/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Turns every (operation, kind) pair of the split table into a variant of the
 * fixture "split", so that a row is all it takes to add tests to the programs
 * that include this file. Include it after FIXTURE(split), and give
 * split_register_variants() to THP_MAIN_INIT().
 */
#ifndef SPLIT_VARIANTS_H
#define SPLIT_VARIANTS_H

#include "split_ops.h"
#include "thp_harness.h"

FIXTURE_VARIANT(split) {
	const struct split_op *op;
	enum thp_kind kind;
};

#define SPLIT_MAX_VARIANTS 768

static struct {
	char name[64];
	struct __fixture_variant_metadata meta;

	FIXTURE_VARIANT(split) variant;
} split_variants[SPLIT_MAX_VARIANTS];

static const char *split_cover(const char *fixture, const char *variant, const char *test)
{
	const struct split_op *op;
	size_t i;

	(void)test;
	if (strcmp(fixture, "split"))
		return NULL;
	for (i = 0; i < SPLIT_MAX_VARIANTS && split_variants[i].variant.op; i++) {
		if (strcmp(variant, split_variants[i].name))
			continue;
		op = split_variants[i].variant.op;
		return op->covers_on.kinds & split_variants[i].variant.kind ?
			op->covers_on.ids : op->covers;
	}
	return NULL;
}

static void split_register_variants(void)
{
	static const enum thp_kind kinds[] = {
		THP_ANON, THP_ZERO, THP_SHMEM, THP_SMALL, THP_NONE, THP_DEVICE, THP_SWAPPED,
	};
	size_t n = 0, i, o, k;

	for (o = 0; split_op_at(o); o++) {
		const struct split_op *op = split_op_at(o);

		for (k = 0; k < ARRAY_SIZE(kinds); k++) {
			if (!((op->kinds | op->keeps) & kinds[k]))
				continue;
			if (n == SPLIT_MAX_VARIANTS) {
				fprintf(stderr, "SPLIT_MAX_VARIANTS is too small\n");
				exit(1);
			}
			snprintf(split_variants[n].name, sizeof(split_variants[n].name), "%s_%s",
				 op->name, thp_kind_name(kinds[k]));
			split_variants[n].variant.op = op;
			split_variants[n].variant.kind = kinds[k];
			split_variants[n].meta.name = split_variants[n].name;
			split_variants[n].meta.data = &split_variants[n].variant;
			n++;
		}
	}
	/* The harness appends or prepends a variant, depending on the order of constructors. */
	for (i = 0; i < n; i++) {
		k = __constructor_order_forward ? i : n - 1 - i;
		__register_fixture_variant(&_split_fixture_object, &split_variants[k].meta);
	}
	thp_cover_hook = split_cover;
}

#endif /* SPLIT_VARIANTS_H */
