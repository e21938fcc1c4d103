/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The meter: changes of one process's page tables, and of the system's events, between two
 * points.
 */
#ifndef THP_METER_H
#define THP_METER_H

#include <sys/types.h>

#include "thp_obs.h"
#include "thp_why.h"

/* [0] is the start, [1] the last reading. */
struct thp_meter {
	pid_t pid;
	long long vmpte[2];		/* bytes */
	struct thp_events ev[2];
};

/*
 * Every cause below names the file and line of the caller, because a test may read a meter
 * several times. So each function is a macro, which passes its place to the function of the
 * same name with _at.
 */

/* Starts to count for @pid (0: self). 0, or -errno with a cause. */
#define thp_meter_start(m, pid, why) thp_meter_start_at(m, pid, why, __FILE__, __LINE__)

/* Reads again; the events first, so that they are read right after the operation. */
#define thp_meter_read(m, why) thp_meter_read_at(m, why, __FILE__, __LINE__)

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
 * Compares the tables that the process has gained and the PMD splits of the whole system,
 * between start and reading, with @tables and @splits. 0; -EPROTO with a cause; -EAGAIN
 * with a cause if there were more splits than expected, or one that failed: thp_split_pmd
 * and thp_split_pmd_failed count for the whole system, so others may have caused them.
 */
#define thp_meter_expect(m, tables, splits, what, why) \
	thp_meter_expect_at(m, tables, splits, what, why, __FILE__, __LINE__)

/* The splits alone: as above. */
#define thp_meter_splits(m, splits, what, why) \
	thp_meter_splits_at(m, splits, what, why, __FILE__, __LINE__)

/* The tables alone: 0, or -EPROTO with a cause. */
#define thp_meter_tables(m, tables, what, why) \
	thp_meter_tables_at(m, tables, what, why, __FILE__, __LINE__)

/* read + expect. */
#define thp_meter_stop(m, tables, splits, what, why) \
	thp_meter_stop_at(m, tables, splits, what, why, __FILE__, __LINE__)

/* Compares a difference of VmPTE in bytes with a number of tables: 0, or -EPROTO with a cause. */
#define thp_expect_tables(what, bytes, tables, why) \
	thp_expect_tables_at(what, bytes, tables, why, __FILE__, __LINE__)

int thp_meter_start_at(struct thp_meter *m, pid_t pid, struct thp_why *why, const char *file,
		       int line);
int thp_meter_read_at(struct thp_meter *m, struct thp_why *why, const char *file, int line);
int thp_meter_expect_at(const struct thp_meter *m, long tables, long splits, const char *what,
			struct thp_why *why, const char *file, int line);
int thp_meter_splits_at(const struct thp_meter *m, long splits, const char *what,
			struct thp_why *why, const char *file, int line);
int thp_meter_tables_at(const struct thp_meter *m, long tables, const char *what,
			struct thp_why *why, const char *file, int line);
int thp_meter_stop_at(struct thp_meter *m, long tables, long splits, const char *what,
		      struct thp_why *why, const char *file, int line);
int thp_expect_tables_at(const char *what, long long bytes, long tables, struct thp_why *why,
			 const char *file, int line);

/* The median of @n readings, the upper one if @n is even; sorts them. */
long long thp_median(long long *v, size_t n);

#endif /* THP_METER_H */
