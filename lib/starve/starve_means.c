// SPDX-License-Identifier: GPL-2.0
#include <errno.h>
#include <unistd.h>

#include "starve.h"
#include "thp_cgroup.h"
#include "thp_inject.h"
#include "thp_self.h"

/* The targeted injector, set up by the caller. */

static int starve_task(const struct starve_job *job, pid_t pid, bool on)
{
	(void)job;
	return thp_inject_task(pid, on);
}

const struct starve_means starve_tables = {
	.starve = starve_task, .exhaust = thp_inject_drain, .refused = thp_inject_fired,
};

/* A control group, made by the caller. */

static struct thp_burner burner;

static int enter_group(const struct starve_job *job, struct thp_why *why)
{
	/* From the start, because what it has charged elsewhere does not starve it. */
	int ret = thp_cg_join(job->cg, getpid());

	if (ret)
		return thp_why(why, ret, "cgroup.procs: %s", thp_errno_name(ret));
	TRY(thp_cg_spare_self(why));
	/* A page that fork() shares, such as one of the stack, is copied by the first write. */
	thp_own_pages();
	/* The stocks of a group are per CPU. */
	ret = thp_pin_cpu();
	if (ret)
		return thp_why(why, ret, "sched_setaffinity: %s", thp_errno_name(ret));
	ret = thp_burner_create(&burner);
	return ret ? thp_why(why, ret, "burner: %s", thp_errno_name(ret)) : 0;
}

static int starve_group(const struct starve_job *job, pid_t pid, bool on)
{
	(void)pid;
	/* Only to prepare it: a group that can swap is never full. */
	if (job->kind == THP_SWAPPED)
		TRY(thp_cg_swap(job->cg, !on));
	return thp_cg_limit(job->cg, on ? 0 : THP_CG_MAX);
}

static int use_up_group(struct thp_why *why)
{
	int ret = thp_burner_burn(&burner);

	return ret ? thp_why(why, ret, "the limit did not bite: %s", thp_errno_name(ret)) : 0;
}

const struct starve_means starve_memcg = {
	.prepare = enter_group, .starve = starve_group, .exhaust = use_up_group, .reports = true,
};

const struct starve_means starve_nothing;
