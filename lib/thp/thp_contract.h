/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The contract in numbers: how many PTE tables an operation on one PMD adds to a
 * process. This is the table of docs/contract.md, "Without failures"; tests take the
 * numbers that they expect from here and from nowhere else.
 *
 * A table is one PTE page table as VmPTE counts it, thp_env.table bytes. Numbers are
 * per PMD and per process, for the contract that the kernel is held to
 * (thp_env.contract); none of these functions looks at the kernel.
 */
#ifndef THP_CONTRACT_H
#define THP_CONTRACT_H

#include "thp_map.h"

/*
 * Tables of one mapping of @kind right after its fault. Eager kernels deposit one with
 * a PMD of anonymous memory, also of the huge zero folio, of a device and of swap
 * (pgtable_trans_huge_deposit()); for file memory powerpc's hash MMU alone does
 * (arch_needs_pgtable_deposit()).
 */
long thp_tables_mapped(enum thp_kind kind);

/*
 * Tables that the split of one PMD of @kind adds to each process that maps it. An eager
 * kernel withdraws the deposit, a lazy one allocates a table. A PMD of file memory is
 * dropped, and its deposit with it.
 */
long thp_tables_split(enum thp_kind kind);

/*
 * Tables that a collapse to an anonymous THP adds: an eager kernel keeps the table of
 * the range as the deposit, a lazy one frees it.
 */
long thp_tables_collapse(void);

/* Whether the split of a PMD of @kind has to allocate its table, and so can be refused. */
bool thp_split_allocates(enum thp_kind kind);

#endif /* THP_CONTRACT_H */
