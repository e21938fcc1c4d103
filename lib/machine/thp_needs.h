/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What tests need beyond an anonymous THP, and which of these needs this machine meets. The
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

/* Facts that take a THP to find out, in a child process: see thp_env.c. */
struct thp_facts {
	bool zero;	/* huge zero PMDs */
	bool scan_blind;	/* PAGEMAP_SCAN misses them: thp_obs_probe_scan() */
	bool shmem;	/* PMD-mapped shmem */
	bool hmm;	/* the test driver of device memory */
	bool hmm_huge;	/* ... which takes THPs */
};

/* For a file that has to be written and lies on a read-only mount. */
#define THP_READ_ONLY "needs a /proc, /sys and debugfs that are not read-only"

/* Asks the probe of each row; part of thp_env_init(). */
void thp_needs_find(const struct thp_facts *found);

/* The constant reason why @needs are not met, or NULL if they are. */
const char *thp_env_missing(uint64_t needs);

/* For needs that turn out later not to work: @needs are not met from here on. */
void thp_needs_lose(uint64_t needs);

#endif /* THP_NEEDS_H */
