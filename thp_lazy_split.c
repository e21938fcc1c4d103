// SPDX-License-Identifier: GPL-2.0
/*
 * Mapping and splitting of PMDs when nothing goes wrong: how many page tables
 * exist at fault, after the operation and after the range is gone; whether the
 * PMD was split when and only when it had to be; and that every byte survived.
 *
 * The fixture "split" runs the table of lib/ops/op_*.c; the others cover operations that
 * create PMD mappings (fault, collapse) and splits by the kernel (reclaim, KSM).
 */
#include <fcntl.h>
#include <pthread.h>
#include <sys/ptrace.h>
#include <sys/uio.h>

#include "thp_cgroup.h"
#include "thp_contract.h"
#include "thp_harness.h"
#include "thp_inject.h"
#include "thp_meter.h"
#include "thp_set.h"
#include "thp_swap.h"
#include "thp_uapi.h"
#include "thp_uffd.h"

#include "lazy_split/split.c"
#include "lazy_split/pmd.c"
#include "lazy_split/pmd_exit.c"
#include "lazy_split/pmd_bulk.c"
#include "lazy_split/pmd_fallback.c"
#include "lazy_split/subpage.c"
#include "lazy_split/collapse.c"
#include "lazy_split/mthp.c"
#include "lazy_split/reclaim.c"
#include "lazy_split/bits.c"
#include "lazy_split/needless.c"
#include "lazy_split/khugepaged.c"
#include "lazy_split/named.c"

THP_MAIN_INIT("thp_lazy_split", split_register_variants);
