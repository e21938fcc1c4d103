/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Memory control groups, version 1 or 2, to starve one process on purpose. All groups live
 * below <controller>/thp_lazy_pte, so that a later run can find and remove what a killed
 * run left.
 */
#ifndef THP_CGROUP_H
#define THP_CGROUP_H

#include <stdint.h>
#include <sys/types.h>

#include "thp_file.h"

#define THP_CG_MAX UINT64_MAX

#define THP_CG_FORBIDDEN "needs a memory control group, which cannot be had here"

struct thp_cg {
	char path[192];		/* empty: no group */
};

/*
 * Makes the parent group and gives it the controller; once per program, before
 * the tests, as this changes a setting of the root group. 0 or -errno.
 */
int thp_cg_prepare(void);

/*
 * Whether groups can be created, limited and joined here: creates one with a process in it.
 * 0; -EROFS or -EPERM in a container that does not own its groups, or whose root group is
 * not the real root, where version 2 gives the children no controller.
 */
int thp_cg_probe(void);

/*
 * Creates a group without a limit, whose tasks are not OOM-killed. 0; -ENOTSUP if groups
 * cannot be created any more, or if a full group would end the machine (thp_fatal());
 * -errno.
 */
int thp_cg_create(struct thp_cg *cg, const char *name, struct thp_why *why);

/* Moves @pid into the group; 0 or -errno. */
int thp_cg_join(const struct thp_cg *cg, pid_t pid);

/*
 * Sets the limit in bytes, THP_CG_MAX for none; 0 or -errno. Version 2 takes a limit below
 * the usage (every charge then fails), version 1 refuses it with -EBUSY and is lowered as
 * far as possible instead.
 */
int thp_cg_limit(const struct thp_cg *cg, uint64_t bytes);

/* Lets the group swap, which no group may at first, or not. 0 or -errno. */
int thp_cg_swap(const struct thp_cg *cg, bool allowed);

/*
 * Limits the group to its current usage plus 1 MiB, within reach of a burner
 * (thp_inject.h). The limit in bytes, or -errno.
 */
long long thp_cg_limit_near(const struct thp_cg *cg);

/*
 * The calling process is not killed when its group is full: an allocation fails instead.
 * Version 1 has a switch for that, see thp_cg_create(), and needs nothing more. 0, or
 * -errno with a cause.
 */
int thp_cg_spare_self(struct thp_why *why);

/* Charged memory in bytes, or -errno. */
long long thp_cg_usage(const struct thp_cg *cg);

/* A field of memory.stat ("pagetables", "kernel", ...) in its own unit, or -errno. */
long long thp_cg_stat(const struct thp_cg *cg, const char *field);

/*
 * Removed groups of this suite that something still refers to, e.g. a charged page
 * (nr_dying_descendants of cgroup.stat). -ENOENT with version 1.
 */
long long thp_cg_dying(void);

/* Asks version 2 to reclaim @bytes (memory.reclaim, Linux 5.19); 0 or -errno. */
int thp_cg_reclaim(const struct thp_cg *cg, uint64_t bytes);

/* Kills the processes in the group and removes it; 0, or -EBUSY after 5 s. */
int thp_cg_destroy(struct thp_cg *cg);

/* Removes every group of this suite, and their parent. */
void thp_cg_sweep(void);

#endif /* THP_CGROUP_H */
