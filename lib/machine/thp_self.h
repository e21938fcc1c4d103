/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The memory of the test process itself: its page tables must not appear in the middle
 * of a measurement.
 */
#ifndef THP_SELF_H
#define THP_SELF_H

/*
 * Touches one byte of every PMD range of every readable mapping of the process:
 * code, libraries and the vDSO are not mapped by fork(), and their tables would
 * otherwise appear in the middle of a measurement.
 */
void thp_warm_up(void);

/*
 * Writes to every page of the program's data, heap and stack without changing them: after
 * fork() the first write to a page copies it, and a starved process would wait there.
 */
void thp_own_pages(void);

#endif /* THP_SELF_H */
