/* SPDX-License-Identifier: GPL-2.0 */
#ifndef THP_ACCESS_H
#define THP_ACCESS_H

/* One access that the compiler cannot drop. */
static inline void thp_touch(char *p)
{
	__atomic_store_n(p, 1, __ATOMIC_RELAXED);
}

static inline char thp_peek(const char *p)
{
	return __atomic_load_n(p, __ATOMIC_RELAXED);
}

#endif /* THP_ACCESS_H */
