/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Address space to map tests into: aligned, and far enough apart that page tables of
 * the level above are not shared.
 */
#ifndef THP_RESERVE_H
#define THP_RESERVE_H

#include <stddef.h>

/*
 * A range of @len bytes without memory, aligned to @align bytes. What was mapped for it
 * is @area, @area_len bytes. NULL, with *@area NULL and errno set, if there is none.
 */
char *thp_reserve(size_t len, size_t align, char **area, size_t *area_len);

/*
 * At least what one PMD table maps, and a multiple of it; bytes. 0 if that is more than
 * this program can address.
 */
size_t thp_span(void);

/* The most spans that a test reserves at a time, for THP_NEED_ADDRESSES. */
#define THP_SPANS	6

#endif /* THP_RESERVE_H */
