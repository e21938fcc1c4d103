// SPDX-License-Identifier: GPL-2.0
#include "thp_asan.h"

#ifdef THP_ASAN

#include <sanitizer/asan_interface.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "thp_env.h"

/* More address space than the tests map at a time, bytes. */
#define SHADOWED	(32UL << 30)

/*
 * AddressSanitizer calls this. The test that sees a crash reports it. Without a quarantine
 * the heap does not move, and neither do its page tables.
 */
const char *__asan_default_options(void)
{
	return "handle_segv=0:quarantine_size_mb=0:thread_local_quarantine_size_kb=0";
}

/*
 * The sanitizer's own mmap() and munmap() map the shadow of the range anew, so page tables
 * appear and disappear with it. These functions replace them: the ranges that tests map
 * have never held a heap, a stack or a variable, so their shadow is all zeroes anyway.
 */
void *mmap(void *addr, size_t len, int prot, int flags, int fd, off_t off)
{
	return (void *)syscall(__NR_mmap, addr, len, prot, flags, fd, off);
}

int munmap(void *addr, size_t len)
{
	return syscall(__NR_munmap, addr, len);
}

THP_UNSANITIZED void thp_warm_shadow(void)
{
	char *next = mmap(NULL, thp_env.page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	size_t scale, offset, end, p;

	if (next == MAP_FAILED)
		return;
	munmap(next, thp_env.page);
	__asan_get_shadow_mapping(&scale, &offset);
	/* The kernel allocates addresses downwards from here. */
	end = ((size_t)next >> scale) + offset;
	for (p = end - (SHADOWED >> scale); p < end; p += thp_env.pmd)
		(void)__atomic_load_n((const char *)p, __ATOMIC_RELAXED);
}

#endif /* THP_ASAN */
