/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Address space for the mappings of tests: aligned, and far enough apart that they do not
 * share tables of the level above.
 */
#ifndef THP_RESERVE_H
#define THP_RESERVE_H

#include <stddef.h>

/*
 * A range of @len bytes without memory, aligned to @align bytes. The whole mapping is
 * *@area, *@area_len bytes. NULL, with *@area NULL and errno set, if there is none.
 */
char *thp_reserve(size_t len, size_t align, char **area, size_t *area_len);

/*
 * The address range of one PMD table, or a multiple of it; bytes. 0 if this program cannot
 * address that much.
 */
size_t thp_span(void);

/* The most spans that a test reserves at the same time, for THP_NEED_ADDRESSES. */
#define THP_SPANS	6

#endif /* THP_RESERVE_H */
