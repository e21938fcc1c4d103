// SPDX-License-Identifier: GPL-2.0
/*
 * Migration of PMD mappings, and races.
 *
 * A THP that migrates whole leaves a migration entry in the PMD for as long as it is
 * copied, and no page table is needed on the way. It is split when its target cannot be a
 * THP, or when somebody splits the entry meanwhile. In the races splits meet faults, forks,
 * zaps, collapse, swap-out and migration: at the end all contents are intact and no table
 * is lost.
 */
#ifdef HAVE_LIBNUMA
#include <numaif.h>
#endif
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>

#include "split_effect.h"
#include "thp_cgroup.h"
#include "thp_contract.h"
#include "thp_family.h"
#include "thp_harness.h"
#include "thp_hmm.h"
#include "thp_inject.h"
#include "thp_meter.h"
#include "thp_move.h"
#include "thp_race.h"
#include "thp_set.h"
#include "thp_swap.h"
#include "thp_swapdev.h"
#include "thp_uapi.h"
#include "thp_uffd.h"

#include "migrate/nodes.c"
#include "migrate/move.c"
#include "migrate/migrate.c"
#include "migrate/hint.c"
#include "migrate/device.c"
#include "migrate/offline.c"
#include "migrate/race_actors.c"
#include "migrate/race.c"
#include "migrate/vma.c"
#include "migrate/locks.c"
#include "migrate/entry.c"
#include "migrate/reclaim.c"
#include "migrate/stale_probe.c"
#include "migrate/stale_ops.c"
#include "migrate/stale.c"
#include "migrate/state_cell.c"
#include "migrate/state_run.c"
#include "migrate/state_ops.c"
#include "migrate/state_set.c"
#include "migrate/state_look.c"
#include "migrate/state.c"
#include "migrate/slots.c"
#include "migrate/moved.c"
#include "migrate/swapin.c"
#include "migrate/zswap.c"

static void init(void)
{
	find_nodes();
	state_register_variants();
}

THP_MAIN_INIT("thp_migrate", init);
