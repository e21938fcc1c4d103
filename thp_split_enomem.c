// SPDX-License-Identifier: GPL-2.0
/*
 * The operations of lib/ops/op_*.c while page tables cannot be allocated: each is all or
 * nothing, reports a failure, never loops, never leaks, and works once memory is available
 * again. Memory without THPs must not be affected.
 *
 * lib/starve runs such an operation in a child whose allocations fail, watched by its
 * parent.
 */
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>

#include "split_ops.h"
#include "starve.h"
#include "thp_cgroup.h"
#include "thp_contract.h"
#include "thp_harness.h"
#include "thp_hmm.h"
#include "thp_inject.h"
#include "thp_meter.h"
#include "thp_move.h"
#include "thp_proc.h"
#include "thp_race.h"
#include "thp_swap.h"
#include "thp_swapdev.h"
#include "thp_uapi.h"
#include "thp_uffd.h"

#include "split_enomem/common.c"
#include "split_enomem/split.c"
#include "split_enomem/unasked.c"
#include "split_enomem/edges_ops.c"
#include "split_enomem/edges.c"
#include "split_enomem/edges_mixed.c"
#include "split_enomem/between.c"
#include "split_enomem/mirror.c"
#include "split_enomem/leak.c"
#include "split_enomem/remains.c"
#include "split_enomem/limit.c"
#include "split_enomem/zero.c"
#include "split_enomem/judge.c"
#include "split_enomem/after.c"
#include "split_enomem/collapse.c"
#include "split_enomem/room.c"
#include "split_enomem/whose.c"
#include "split_enomem/swapped.c"

THP_MAIN_INIT("thp_split_enomem", split_register_variants);
