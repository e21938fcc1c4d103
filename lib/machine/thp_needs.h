/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What tests need beyond an anonymous THP, and what this machine has of it. The
 * rows, with the reasons of their SKIPs, are in thp_needs.def.
 */
#ifndef THP_NEEDS_H
#define THP_NEEDS_H

#include <assert.h>
#include <stdbool.h>
#include <stdint.h>

enum {
#define NEED(id, ...) THP_NEED_NR_##id
#include "thp_needs.def"
#undef NEED
	THP_NEED_COUNT
};

/* Bits of a set of needs, a uint64_t: "THP_NEED_ZERO | THP_NEED_UFFD". */
enum thp_need {
#define NEED(id, ...) THP_NEED_##id = 1ULL << THP_NEED_NR_##id
#include "thp_needs.def"
#undef NEED
};

static_assert(THP_NEED_COUNT <= 64, "a set of needs has 64 bits");

/* What takes a THP to find out, in a process of its own: see thp_env.c. */
struct thp_facts {
	bool zero;	/* huge zero PMDs */
	bool scan_blind;	/* PAGEMAP_SCAN does not tell them: thp_obs_probe_scan() */
	bool shmem;	/* PMD-mapped shmem */
	bool hmm;	/* the test driver of device memory */
	bool hmm_huge;	/* ... which takes THPs */
};

/* Of whatever has to be written and lies on a file system that is mounted read-only. */
#define THP_READ_ONLY "needs a /proc, /sys and debugfs that are not read-only"

/* Asks the probe of each row; part of thp_env_init(). */
void thp_needs_find(const struct thp_facts *found);

/* The constant reason why @needs are not met, or NULL if they are. */
const char *thp_env_missing(uint64_t needs);

/* For what turns out later not to work: @needs are not met from here on. */
void thp_needs_lose(uint64_t needs);

#endif /* THP_NEEDS_H */
