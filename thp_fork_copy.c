// SPDX-License-Identifier: GPL-2.0
/*
 * fork() and copy-on-write of PMD mappings: how many page tables a child takes, which
 * process sees which writes, and the behaviour when a mapping cannot be shared, when a
 * folio that many processes map is split or swapped out, and when fork() fails.
 *
 * An eager kernel deposits one table per THP in every child and splits for free;
 * a lazy one forks for free and allocates one table in every process that splits.
 */
#include <fcntl.h>
#include <linux/futex.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/sysinfo.h>
#include <sys/uio.h>
#include <sys/wait.h>

#include "thp_harness.h"

#include "thp_cgroup.h"
#include "thp_contract.h"
#include "thp_family.h"
#include "thp_hmm.h"
#include "thp_race.h"
#include "thp_swapdev.h"
#include "thp_uapi.h"

#ifdef HAVE_LIBURING
#include <liburing.h>
#endif

#include "fork_copy/common.c"
#include "fork_copy/share.c"
#include "fork_copy/reuse.c"
#include "fork_copy/pinned.c"
#include "fork_copy/writer.c"
#include "fork_copy/longterm.c"
#include "fork_copy/advice.c"
#include "fork_copy/many.c"
#include "fork_copy/shared.c"
#include "fork_copy/starved.c"
#include "fork_copy/crowd_children.c"
#include "fork_copy/crowd.c"
#include "fork_copy/crowd_low.c"
#include "fork_copy/race.c"
#include "fork_copy/race_rmap.c"
#include "fork_copy/device.c"
#include "fork_copy/zero_life.c"
#include "fork_copy/swapped.c"

static void init(void)
{
	thp_scenario_reset = reset;
}

THP_MAIN_INIT("thp_fork_copy", init);
