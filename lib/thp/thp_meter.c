// SPDX-License-Identifier: GPL-2.0
#include <errno.h>
#include <stdlib.h>

#include "thp_env.h"
#include "thp_meter.h"

int thp_meter_start_at(struct thp_meter *m, pid_t pid, struct thp_why *why, const char *file,
		       int line)
{
	int ret;

	m->pid = pid;
	m->vmpte[0] = thp_obs_vmpte(pid);
	if (m->vmpte[0] < 0)
		return thp_why_at(why, file, line, m->vmpte[0], NULL, "VmPTE: %s",
				  thp_errno_name(m->vmpte[0]));
	ret = thp_obs_events(&m->ev[0]);
	return ret ? thp_why_at(why, file, line, ret, NULL, "vmstat: %s", thp_errno_name(ret)) : 0;
}

int thp_meter_read_at(struct thp_meter *m, struct thp_why *why, const char *file, int line)
{
	int ret;

	ret = thp_obs_events(&m->ev[1]);
	if (ret)
		return thp_why_at(why, file, line, ret, NULL, "vmstat: %s", thp_errno_name(ret));
	m->vmpte[1] = thp_obs_vmpte(m->pid);
	if (m->vmpte[1] < 0)
		return thp_why_at(why, file, line, m->vmpte[1], NULL, "VmPTE: %s",
				  thp_errno_name(m->vmpte[1]));
	return 0;
}

int thp_expect_tables_at(const char *what, long long bytes, long tables, struct thp_why *why,
			 const char *file, int line)
{
	long got;

	if (thp_env_tables(bytes, &got) && got == tables)
		return 0;
	return thp_why_at(why, file, line, -EPROTO, NULL,
			  "%s: %+ld tables (%+lld B), expected %+ld on %s kernel", what, got,
			  bytes, tables, thp_mode_name(thp_env.contract));
}

int thp_meter_tables_at(const struct thp_meter *m, long tables, const char *what,
			struct thp_why *why, const char *file, int line)
{
	return thp_expect_tables_at(what, thp_meter_bytes(m), tables, why, file, line);
}

int thp_meter_splits_at(const struct thp_meter *m, long splits, const char *what,
			struct thp_why *why, const char *file, int line)
{
	long long got = thp_meter_event(m, split_pmd);

	if (got == splits)
		return 0;
	return thp_why_at(why, file, line, got > splits ? -EAGAIN : -EPROTO, NULL,
			  "%s: thp_split_pmd %+lld, expected %+ld", what, got, splits);
}

int thp_meter_expect_at(const struct thp_meter *m, long tables, long splits, const char *what,
			struct thp_why *why, const char *file, int line)
{
	int disturbed = thp_meter_splits_at(m, splits, what, why, file, line), ret;

	if (disturbed == -EPROTO)
		return disturbed;
	ret = thp_meter_tables_at(m, tables, what, why, file, line);
	if (ret || disturbed)
		return ret ? ret : disturbed;
	if (thp_meter_event(m, split_pmd_failed))
		return thp_why_at(why, file, line, -EAGAIN, NULL,
				  "%s: thp_split_pmd_failed %+lld, expected +0", what,
				  thp_meter_event(m, split_pmd_failed));
	return 0;
}

int thp_meter_stop_at(struct thp_meter *m, long tables, long splits, const char *what,
		      struct thp_why *why, const char *file, int line)
{
	int ret = thp_meter_read_at(m, why, file, line);

	return ret ? ret : thp_meter_expect_at(m, tables, splits, what, why, file, line);
}

static int by_value(const void *a, const void *b)
{
	const long long *x = a, *y = b;

	return *x < *y ? -1 : *x > *y;
}

long long thp_median(long long *v, size_t n)
{
	qsort(v, n, sizeof(v[0]), by_value);
	return v[n / 2];
}
