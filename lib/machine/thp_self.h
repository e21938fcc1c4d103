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
 * Writes to every page of the program's data, heap and stack, and changes nothing:
 * after a fork each takes a page of its own at the first write, for which a process
 * that gets no memory would wait.
 */
void thp_own_pages(void);

#endif /* THP_SELF_H */
