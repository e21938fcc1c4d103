// SPDX-License-Identifier: GPL-2.0
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "thp_asan.h"
#include "thp_clock.h"
#include "thp_env.h"
#include "thp_file.h"
#include "thp_self.h"

/* More than the zeroed data of any program or library here, bytes. */
#define OWN_BSS	(4UL << 20)

THP_UNSANITIZED void thp_own_pages(void)
{
	static char text[65536];
	char *line, *save = NULL;
	unsigned long last = 0;

	if (thp_read_file("/proc/self/maps", text, sizeof(text)) < 0)
		return;
	for (line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		bool named = strchr(line, '/') || strstr(line, "[heap]") || strstr(line, "[stack]");
		unsigned long start, end, p, tls = (unsigned long)&errno;
		char prot[8];

		/* Shared memory has the name of a file, and is not data of the program. */
		if (sscanf(line, "%lx-%lx %7s", &start, &end, prot) != 3 || prot[3] != 'p')
			continue;
		/*
		 * An unnamed mapping may belong to a test, even if it has merged with another
		 * one: takes only those next to data, or those of this thread.
		 */
		if (!named && start == last) {
			end = end - start > OWN_BSS ? start + OWN_BSS : end;
		} else if (!named && tls >= start && tls < end) {
			start = tls & ~(thp_env.page - 1);
			end = start + thp_env.page;
		} else if (!named) {
			continue;
		}
		last = end;
		if (strcmp(prot, "rw-p"))
			continue;
		/* A word: for a byte, riscv64 gcc before 13 needs libatomic. */
		for (p = start; p < end; p += thp_env.page)
			__atomic_fetch_or((unsigned long *)p, 0, __ATOMIC_RELAXED);
	}
}

/* More than any mapping of a program or library here, bytes. */
#define WARM_MAX	(1UL << 30)

THP_UNSANITIZED void thp_warm_up(void)
{
	static char text[65536];
	char *line, *save = NULL;

	if (thp_read_file("/proc/self/maps", text, sizeof(text)) < 0)
		return;
	for (line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		unsigned long start, end, p;
		char prot[8];

		if (sscanf(line, "%lx-%lx %7s", &start, &end, prot) != 3)
			continue;
		/* Other users may not read all of the kernel's pages. */
		if (prot[0] != 'r' || (strstr(line, "[v") && !strstr(line, "[vdso]")))
			continue;
		/* The shadow memory of a sanitizer. */
		if (end - start > WARM_MAX)
			continue;
		/*
		 * A 32-bit stack may end so high that the address of the next PMD range wraps
		 * around to 0.
		 */
		for (p = start; p >= start && p < end; p = (p | (thp_env.pmd - 1)) + 1)
			(void)__atomic_load_n((const char *)p, __ATOMIC_RELAXED);
	}
	thp_warm_shadow();
	/* The data of the vDSO may lie in a PMD range of its own. */
	thp_now_ms();
}
