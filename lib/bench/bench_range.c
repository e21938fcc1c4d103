// SPDX-License-Identifier: GPL-2.0
#include <errno.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>

#include "bench_range.h"

#define FAULT_TRIES 4

int bench_range_map(struct bench_range *r, unsigned int n, size_t bytes, struct thp_why *why)
{
	int ret;

	if (n > SIZE_MAX / 4 / thp_env.pmd)
		return thp_skip(why, "needs a 64-bit address space");
	if (!thp_env_room(bytes))
		return thp_skip(why, "needs more free memory", "%zu MiB", bytes >> 20);
	r->n = n;
	ret = thp_map_area(n, &r->area, &r->area_len, &r->thps, why);
	if (ret == -ENOMEM)
		return thp_skip(why, "needs more address space, or overcommit", "%zu MiB",
				n * thp_env.pmd >> 20);
	TRY(ret);
	if (madvise(r->area, r->area_len, MADV_HUGEPAGE))
		return thp_why(why, -errno, "MADV_HUGEPAGE: %s", strerror(errno));
	return 0;
}

int bench_range_new(struct bench_range *r, unsigned int n, struct thp_why *why)
{
	/* As much again for copies, and for what the kernel still has to free. */
	return bench_range_map(r, n, 2 * n * thp_env.pmd, why);
}

void bench_range_free(struct bench_range *r)
{
	if (r->area)
		munmap(r->area, r->area_len);
	r->area = NULL;
}

void bench_range_access(const struct bench_range *r, unsigned int i, enum thp_kind kind)
{
	char *p = r->thps + i * thp_env.pmd;

	if (kind == THP_ZERO)
		thp_peek(p);
	else
		thp_touch(p);
}

/* Faults one THP in, after compaction if need be. */
static int fault_one(const struct bench_range *r, unsigned int i, enum thp_kind kind,
		     struct thp_why *why)
{
	char *p = r->thps + i * thp_env.pmd;
	enum thp_state state;
	int try, ret;

	for (try = 0; try < FAULT_TRIES; try++) {
		bench_range_access(r, i, kind);
		ret = thp_obs_state(p, thp_env.pmd, &state);
		if (ret)
			return thp_why(why, ret, "page map: %s", thp_errno_name(ret));
		if (state == thp_kind_state(kind) || state == THP_STATE_UNKNOWN)
			return 0;
		madvise(p, thp_env.pmd, MADV_DONTNEED);
		(void)thp_write_file("/proc/sys/vm/compact_memory", "1");
	}
	return thp_skip(why, THP_FRAGMENTED, "no THP in %d tries", FAULT_TRIES);
}

int bench_range_fault(const struct bench_range *r, enum thp_kind kind, struct thp_why *why)
{
	unsigned int i;
	int ret = 0;

	for (i = 0; i < r->n && !ret; i++)
		ret = fault_one(r, i, kind, why);
	return ret;
}

int bench_range_state(const struct bench_range *r, enum thp_state *state, struct thp_why *why)
{
	enum thp_state one;
	unsigned int i;
	int ret;

	for (i = 0; i < r->n; i++) {
		ret = thp_obs_state(r->thps + i * thp_env.pmd, thp_env.pmd, &one);
		if (ret)
			return thp_why(why, ret, "page map: %s", thp_errno_name(ret));
		if (!i)
			*state = one;
		else if (one != *state)
			*state = THP_STATE_MIXED;
	}
	return 0;
}

int bench_range_expect(const struct bench_range *r, enum thp_state want, struct thp_why *why)
{
	enum thp_state got;

	TRY(bench_range_state(r, &got, why));
	if (got == want || got == THP_STATE_UNKNOWN)
		return 0;
	return thp_why(why, -EAGAIN, "%u THPs are %s, expected %s", r->n, thp_state_name(got),
		       thp_state_name(want));
}

#define SAMPLE 32

int bench_range_sample(const struct bench_range *r, enum thp_state want, struct thp_why *why)
{
	enum thp_state got;
	unsigned int i, at;
	int ret;

	for (i = 0; i < SAMPLE; i++) {
		at = (uint64_t)(r->n - 1) * i / (SAMPLE - 1);
		ret = thp_obs_state(r->thps + at * thp_env.pmd, thp_env.pmd, &got);
		if (ret)
			return thp_why(why, ret, "page map: %s", thp_errno_name(ret));
		if (got != want && got != THP_STATE_UNKNOWN)
			return thp_why(why, -EAGAIN, "THP %u of %u is %s, expected %s", at, r->n,
				       thp_state_name(got), thp_state_name(want));
	}
	return 0;
}
