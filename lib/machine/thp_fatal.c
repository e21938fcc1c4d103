// SPDX-License-Identifier: GPL-2.0
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "thp_env.h"
#include "thp_fatal.h"
#include "thp_file.h"

/* Taint flags that a test module may bring: TAINT_OOT_MODULE, _UNSIGNED_MODULE, _TEST. */
#define MODULE_TAINTS	(1ULL << 12 | 1ULL << 13 | 1ULL << 18)

/*
 * One row per setting and act. A correct kernel reaches each of these in operations that
 * tests do on purpose. The table leaves out settings that only a wrong kernel triggers:
 * panic_on_oops, panic_on_warn and warn_limit (a test fails if the kernel warns),
 * hung_task_panic (a task that waits in a full group or for a user fault is killable, and
 * khungtaskd skips it), softlockup_panic, hardlockup_panic, panic_on_rcu_stall,
 * kasan.fault. Their user wants the machine to end in that case. The one warning of a
 * correct kernel, page_owner's about an unpoisoned page, has a SKIP of its own in
 * migrate/offline.c.
 */
static const struct row {
	unsigned int acts;	/* enum thp_act */
	const char *path;	/* of a number that is fatal ... */
	uint64_t from, to;	/* ... in this range */
	const char *option;	/* or: a boot option "option=hex mask" ... */
	uint64_t mask;		/* ... with one of these bits */
	unsigned int until;	/* fatal before this THP_RELEASE(), 0: in all of them */
	const char *reason;	/* of the SKIP, a constant */
} rows[] = {
	{
		/* mem_cgroup_out_of_memory(), out_of_memory(), check_panic_on_oom() */
		.acts = THP_ACT_FILL, .path = "/proc/sys/vm/panic_on_oom",
		.from = 2, .to = UINT64_MAX,
		.reason = "needs vm.panic_on_oom=0 or 1 (else a full group ends the machine)",
	},
	{
		/* pagefault_out_of_memory() called out_of_memory(), before Linux 5.16 */
		.acts = THP_ACT_REFUSE, .path = "/proc/sys/vm/panic_on_oom",
		.from = 1, .to = UINT64_MAX, .until = THP_RELEASE(5, 16),
		.reason = "needs vm.panic_on_oom=0 (else a refused fault ends the machine)",
	},
	{
		/* memory_failure() */
		.acts = THP_ACT_POISON, .path = "/proc/sys/vm/memory_failure_recovery",
		.from = 0, .to = 0,
		.reason = "needs vm.memory_failure_recovery=1 (else a bad page ends the machine)",
	},
	{
		/* action_result(), for a page that counts as a kernel page */
		.acts = THP_ACT_POISON,
		.path = "/proc/sys/vm/panic_on_unrecoverable_memory_failure",
		.from = 1, .to = UINT64_MAX,
		.reason = "needs vm.panic_on_unrecoverable_memory_failure=0 (a bad page)",
	},
	{
		/* load_module(), add_taint() */
		.acts = THP_ACT_LOAD, .option = "panic_on_taint=", .mask = MODULE_TAINTS,
		.reason = "needs no panic_on_taint= of what a test module may bring",
	},
};

static bool is_set(const struct row *r)
{
	uint64_t val;

	return r->path && !thp_read_u64(r->path, &val) && val >= r->from && val <= r->to;
}

/* The last occurrence counts, as in the kernel. */
static bool is_booted(const struct row *r)
{
	char text[4096], *p = text;
	uint64_t mask = 0;

	if (!r->option || thp_read_file("/proc/cmdline", text, sizeof(text)) < 0)
		return false;
	while ((p = strstr(p, r->option))) {
		if (p == text || p[-1] == ' ' || p[-1] == '"')
			mask = strtoull(p + strlen(r->option), NULL, 16);
		p += strlen(r->option);
	}
	return mask & r->mask;
}

const char *thp_fatal(unsigned int acts)
{
	const struct row *r;

	for (r = rows; acts && r < rows + ARRAY_SIZE(rows); r++) {
		if (!(r->acts & acts) || (r->until && thp_env.release >= r->until))
			continue;
		if (is_set(r) || is_booted(r))
			return r->reason;
	}
	return NULL;
}
