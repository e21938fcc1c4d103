/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The meter: what happened to the page tables of one process, and to the events of the
 * system, between two points.
 */
#ifndef THP_METER_H
#define THP_METER_H

#include <sys/types.h>

#include "thp_obs.h"

/* [0] is the start, [1] the last reading. */
struct thp_meter {
	pid_t pid;
	long long vmpte[2];		/* bytes */
	struct thp_events ev[2];
};

/* Starts to count for @pid (0: self). 0, or -errno with a cause. */
int thp_meter_start(struct thp_meter *m, pid_t pid, struct thp_why *why);

/* Reads again; the events first, so that nothing comes between operation and reading. */
int thp_meter_read(struct thp_meter *m, struct thp_why *why);

/* Difference of an event between start and reading: thp_meter_event(&m, split_pmd). */
#define thp_meter_event(m, name) thp_difference((m)->ev[0].name, (m)->ev[1].name)

static inline long long thp_difference(uint64_t from, uint64_t to)
{
	return to - from;
}

/* The same of VmPTE, bytes. */
static inline long long thp_meter_bytes(const struct thp_meter *m)
{
	return m->vmpte[1] - m->vmpte[0];
}

/*
 * Tables that the process has got, and PMD splits anywhere, between start and reading,
 * against @tables and @splits. 0; -EPROTO with a cause; -EAGAIN with a cause if there
 * were more splits than expected, or one that failed: thp_split_pmd and
 * thp_split_pmd_failed count for the whole system, so this may be the work of others.
 */
int thp_meter_expect(const struct thp_meter *m, long tables, long splits, const char *what,
		     struct thp_why *why);

/* The splits alone: as above. */
int thp_meter_splits(const struct thp_meter *m, long splits, const char *what,
		     struct thp_why *why);

/* The tables alone: 0, or -EPROTO with a cause. */
int thp_meter_tables(const struct thp_meter *m, long tables, const char *what,
		     struct thp_why *why);

/* read + expect. */
int thp_meter_stop(struct thp_meter *m, long tables, long splits, const char *what,
		   struct thp_why *why);

/* A difference of VmPTE in bytes against a number of tables: 0, or -EPROTO with a cause. */
int thp_expect_tables(const char *what, long long bytes, long tables, struct thp_why *why);

/* The median of @n readings, the upper one if @n is even; sorts them. */
long long thp_median(long long *v, size_t n);

#endif /* THP_METER_H */
