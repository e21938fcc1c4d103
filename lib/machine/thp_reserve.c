// SPDX-License-Identifier: GPL-2.0
#include <stdint.h>
#include <sys/mman.h>

#include "thp_env.h"
#include "thp_reserve.h"

char *thp_reserve(size_t len, size_t align, char **area, size_t *area_len)
{
	char *p;

	*area_len = len + align;
	p = mmap(NULL, *area_len, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (p == MAP_FAILED) {
		*area = NULL;
		return NULL;
	}
	*area = p;
	return (char *)(((uintptr_t)p + align - 1) & ~(align - 1));
}

size_t thp_span(void)
{
	size_t entries = thp_env.page / 8, span;

	/* s390 has 2048 entries in a table of four pages. */
	if (__builtin_mul_overflow(thp_env.pmd, entries > 2048 ? entries : 2048, &span))
		return 0;
	return span;
}
