/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A set of THPs: the smallest number of mappings of one kind whose PTE tables make whole
 * kB, the unit of VmPTE. That is one THP where a table is a page, and up to 16 with
 * powerpc's radix MMU and 64 kB pages.
 */
#ifndef THP_SET_H
#define THP_SET_H

#include "thp_map.h"
#include "thp_meter.h"
#include "thp_swap.h"

/* thp_env.unit is at most this: 1024 B / 64 B per table. */
#define THP_SET_MAX 16

struct thp_set {
	struct thp_map map[THP_SET_MAX];
	unsigned int n;		/* thp_env.unit */
};

/* Maps thp_env.unit ranges, see thp_map_create(). 0 or -errno with a cause. */
int thp_set_create(struct thp_set *s, enum thp_kind kind, struct thp_why *why);

/* Faults them in, see thp_map_fault(). 0 or -errno with a cause. */
int thp_set_fault(struct thp_set *s, struct thp_why *why);

/* create + fault. */
int thp_set_new(struct thp_set *s, enum thp_kind kind, struct thp_why *why);

/* Checks that every mapping is in @state and holds the contents of thp_map_fault(). */
int thp_set_intact(const struct thp_set *s, enum thp_state state, struct thp_why *why);

/* thp_split_at() of the second page of each mapping. */
int thp_set_split(struct thp_set *s, struct thp_why *why);

/*
 * Unmaps the ranges, not their neighbours: that has to free @each tables per range and must
 * not split a PMD. 0, or -errno with a cause.
 */
int thp_set_zap(struct thp_set *s, long each, struct thp_why *why);

/*
 * thp_meter_stop() after an operation that has split the PMD of every range once, in one
 * process: expects the tables of thp_tables_split().
 */
int thp_set_stop_split(const struct thp_set *s, struct thp_meter *m, const char *what,
		       struct thp_why *why);

/*
 * The same after MADV_PAGEOUT of every range, by what happened to each: @swapped is filled
 * in, see thp_swapped_expect().
 */
int thp_set_stop_swapped(const struct thp_set *s, struct thp_meter *m, const char *what,
			 struct thp_swapped *swapped, struct thp_why *why);

/* Unmaps everything; safe to call twice. */
void thp_set_destroy(struct thp_set *s);

#endif /* THP_SET_H */
