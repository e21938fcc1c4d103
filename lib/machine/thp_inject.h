/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Making page-table allocations fail, three ways.
 *
 * targeted:	fail_page_alloc with a stack-trace filter on the arch function that
 *		allocates PTE tables: nothing else fails, and it fails every time.
 * fail-nth:	the n-th allocation of one task fails, once; n is swept.
 * memcg:	the task's control group is full (lib/machine/thp_cgroup.h).
 *
 * All settings are changed through lib/machine/thp_settings.h and so restored.
 */
#ifndef THP_INJECT_H
#define THP_INJECT_H

#include <sys/types.h>

#include "thp_file.h"

/*
 * Looks up the address range of the arch's PTE-table allocation in kallsyms.
 * Slow (it reads all symbols): call it once per program, before the tests.
 * 0; -ENOENT if no known function is there, or each is there more than once: where the
 * architecture leaves pte_alloc_one() to asm-generic/pgalloc.h, it is inline.
 */
int thp_inject_init(void);

/* Whether thp_inject_init() found the range. */
bool thp_inject_can_target(void);

/*
 * Sets fail_page_alloc up: no PTE table can be allocated in tasks that thp_inject_task()
 * marks. No task is marked yet. 0 or -errno with a cause.
 */
int thp_inject_tables(struct thp_why *why);

/*
 * The same for every page allocation of order >= @min_order, of tasks that are marked or
 * arm fail-nth. Overrides the settings of failslab: fail-nth counts pages, and only those
 * slab objects that may not wait, as by default.
 */
int thp_inject_any(int min_order, struct thp_why *why);

/*
 * After thp_inject_any(): fail-nth counts slab objects as well. 0; -ENOTSUP, a SKIP, without
 * CONFIG_FAILSLAB; -errno with a cause.
 */
int thp_inject_slabs(struct thp_why *why);

/*
 * Marks a task, which the caller watches: from now on its allocations fail (or no longer). 0
 * or -errno.
 */
int thp_inject_task(pid_t pid, bool fail);

/* The same of the calling task, which the guardian watches: see thp_run_starve(). */
int thp_inject_own(bool fail);

/* Failures since thp_inject_tables() or thp_inject_any(), or -errno. */
long thp_inject_fired(void);

/*
 * fail-nth of the calling thread: open once, arm right before the operation,
 * disarm right after. disarm: 1 if it fired, 0 if not, -errno.
 */
int thp_inject_nth_open(void);
int thp_inject_nth_arm(int fd, int nth);
int thp_inject_nth_disarm(int fd);

/*
 * powerpc carves several PTE tables out of a page, and keeps what is left for the next
 * tables of the same mm (pte_fragment_alloc()), so a request for a table need not allocate
 * a page. This uses these fragments up, so that the next table of the calling process takes a
 * page. It does nothing where a table is a page. The task is failing already (targeted,
 * thp_inject_task()), and no other one is meanwhile: thp_inject_fired() does not count the
 * failures of this call. 0, -ENOSPC if nothing was refused, -errno; with a cause.
 */
int thp_inject_drain(struct thp_why *why);

/* The same by fail-nth, in a task that is not failing: after thp_inject_any(). No cause. */
int thp_inject_nth_drain(int fd);

/*
 * After thp_inject_tables(): from now on the calling task gets no PTE table, until
 * thp_inject_own(false). 0; -errno with a cause: it is not failing.
 */
int thp_inject_self(struct thp_why *why);

/*
 * In a task that is failing already (targeted): the next @tables PTE tables of the calling
 * process are granted, no more. 0, or as thp_inject_drain().
 */
int thp_inject_grant(unsigned int tables);

/*
 * In a task whose memory group is at its limit: uses up the rest, including the per-CPU
 * stock, until the next page cannot be charged. The burner is mapped before, without the
 * limit. 0, -ENOSPC if the burner was too small, -errno.
 */
struct thp_burner {
	char *base;
	size_t pages;
	size_t used;
};

int thp_burner_create(struct thp_burner *b);
int thp_burner_burn(struct thp_burner *b);

/*
 * Prints the outcome of starving in the output of a test, for the table of refusals: "#
 * refusal: INJECTOR | NEED | REFUSED | OUTCOME". @injector: targeted, memcg, fail-nth or
 * all; @needed: whether a PTE table has to be allocated; @refused: refused allocations, of
 * tables or (fail-nth, all) of anything, or for a memcg whether it refused any; @outcome: a
 * few words.
 */
void thp_inject_report(const char *injector, bool needed, long refused,
		       const char *outcome, ...) __attribute__((format(printf, 4, 5)));

/* Binds the calling task to the CPU it is on: the stocks are per CPU. */
int thp_pin_cpu(void);

#endif /* THP_INJECT_H */
