/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A range of adjacent THPs, in the middle of a VMA:
 *
 *	area       thps                thps + n * pmd
 *	|   anchor |####|####| ... |####| anchor   |
 *
 * The anchors, a base page on each side, keep the tables above the PTE tables, so that
 * VmPTE changes by PTE tables only.
 */
#ifndef BENCH_RANGE_H
#define BENCH_RANGE_H

#include "thp_map.h"

struct bench_range {
	char *area;
	size_t area_len;	/* bytes */
	char *thps;
	unsigned int n;
};

/* Maps it; no THP is there yet. 0, -ENOTSUP without the memory for @n THPs, or -errno. */
int bench_range_new(struct bench_range *r, unsigned int n, struct thp_why *why);

/* The same for THPs that take @bytes of memory in all, tables included. */
int bench_range_map(struct bench_range *r, unsigned int n, size_t bytes, struct thp_why *why);
void bench_range_free(struct bench_range *r);

/* The first access to THP @i: a read for THP_ZERO, else a write. */
void bench_range_access(const struct bench_range *r, unsigned int i, enum thp_kind kind);

/* Faults all THPs in. 0; -ENOTSUP if memory is too fragmented; -errno. */
int bench_range_fault(const struct bench_range *r, enum thp_kind kind, struct thp_why *why);

/* The state of all THPs at @thps: THP_STATE_MIXED if they differ. 0 or -errno with a cause. */
int bench_range_state(const struct bench_range *r, enum thp_state *state, struct thp_why *why);

/* 0 if all of them are @want, or if nobody can tell; -EAGAIN with a cause if not. */
int bench_range_expect(const struct bench_range *r, enum thp_state want, struct thp_why *why);

/* The same of a sample: the first, the last, and some between them. */
int bench_range_sample(const struct bench_range *r, enum thp_state want, struct thp_why *why);

/* The bytes of the THPs. */
static inline size_t bench_range_len(const struct bench_range *r)
{
	return r->n * thp_env.pmd;
}

#endif /* BENCH_RANGE_H */
