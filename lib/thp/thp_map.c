// SPDX-License-Identifier: GPL-2.0
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "thp_map.h"
#include "thp_obs.h"
#include "thp_settings.h"
#include "thp_uapi.h"

#define FAULT_TRIES 4

/* Distinct per seed and page; the low bits leave room for the word index. */
static uint64_t pattern(uint64_t seed, size_t index)
{
	uint64_t x = seed * 0x9e3779b97f4a7c15ULL + (index + 1) * 0xbf58476d1ce4e5b9ULL;

	x ^= x >> 29;
	return (x << 16) | 1ULL << 63;
}

void thp_fill(void *page, uint64_t seed, size_t index)
{
	uint64_t base = pattern(seed, index), *w = page;
	size_t i;

	for (i = 0; i < thp_env.page / 8; i++)
		w[i] = base + i;
}

int thp_check(const void *addr, uint64_t seed, size_t index, size_t n, struct thp_why *why)
{
	size_t words = thp_env.page / 8, p, i;
	const uint64_t *w = addr;

	for (p = 0; p < n; p++, w += words) {
		uint64_t base = pattern(seed, index + p);

		for (i = 0; i < words; i++)
			if (w[i] != base + i)
				return thp_why(why, -EILSEQ,
					       "page %zu offset %zu: expected %#llx, found %#llx",
					       index + p, i * 8, (unsigned long long)(base + i),
					       (unsigned long long)w[i]);
	}
	return 0;
}

int thp_check_zero(const void *addr, size_t n, struct thp_why *why)
{
	size_t words = thp_env.page / 8, i;
	const uint64_t *w = addr;

	for (i = 0; i < n * words; i++)
		if (w[i])
			return thp_why(why, -EILSEQ,
				       "page %zu of %zu offset %zu: expected zeroes, found %#llx",
				       i / words, n, i % words * 8, (unsigned long long)w[i]);
	return 0;
}

int thp_map_check(const struct thp_map *m, size_t index, size_t n, struct thp_why *why)
{
	if (m->kind == THP_ZERO || m->kind == THP_NONE)
		return thp_check_zero(thp_page(m, index), n, why);
	return thp_check(thp_page(m, index), m->seed, index, n, why);
}

int thp_map_expect(const struct thp_map *m, enum thp_state want, struct thp_why *why)
{
	enum thp_state got;
	int ret;

	ret = thp_obs_state(m->thp, thp_env.pmd, &got);
	if (ret)
		return thp_why(why, ret, "page map: %s", thp_errno_name(ret));
	if (got == want || got == THP_STATE_UNKNOWN)
		return 0;
	return thp_why(why, -EPROTO, "range is %s, expected %s", thp_state_name(got),
		       thp_state_name(want));
}

void thp_map_init(struct thp_map *m, enum thp_kind kind)
{
	static uint64_t seeds;

	memset(m, 0, sizeof(*m));
	m->kind = kind;
	m->fd = -1;
	m->uffd = -1;
	m->pipe[0] = -1;
	m->pipe[1] = -1;
	m->seed = getpid() * 1000ULL + ++seeds;
}

int thp_map_area(size_t n, char **area, size_t *area_len, char **thps, struct thp_why *why)
{
	size_t pmd = thp_env.pmd, len = (n + 3) * pmd;
	char *p;

	p = mmap(NULL, len, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (p == MAP_FAILED)
		return thp_why(why, -errno, "mmap: %s", strerror(errno));
	*area = p;
	*area_len = len;
	*thps = (char *)(((uintptr_t)p + 2 * pmd - 1) & ~(pmd - 1));

	/*
	 * The anchors are base pages even with enabled=always. They stay MADV_NOHUGEPAGE:
	 * khugepaged would make a THP of them, and a lazy kernel then frees their table.
	 */
	madvise(p, len, MADV_NOHUGEPAGE);
	thp_touch(*thps - thp_env.page);
	thp_touch(*thps + n * pmd);
	return 0;
}

int thp_map_create(struct thp_map *m, enum thp_kind kind, struct thp_why *why)
{
	const struct thp_kind_row *row = thp_kind_row(kind);

	thp_map_init(m, kind);
	TRY(thp_map_area(1, &m->area, &m->area_len, &m->thp, why));
	if (row->map)
		TRY(row->map(m, why));
	if (kind != THP_SMALL && madvise(m->area, m->area_len, MADV_HUGEPAGE))
		return thp_why(why, -errno, "MADV_HUGEPAGE: %s", strerror(errno));
	return 0;
}

int thp_map_fault(struct thp_map *m, struct thp_why *why)
{
	const struct thp_kind_row *row = thp_kind_row(m->kind);
	enum thp_state got;
	int try, ret;
	size_t i;

	for (try = 0; try < FAULT_TRIES; try++) {
		if (m->kind == THP_ZERO)
			thp_peek(m->thp);
		else if (m->kind != THP_NONE)
			for (i = 0; i < thp_env.nr; i++)
				thp_fill(thp_page(m, i), m->seed, i);
		if (row->move)
			TRY(row->move(m, why));
		ret = thp_obs_state(m->thp, thp_env.pmd, &got);
		if (ret)
			return thp_why(why, ret, "page map: %s", thp_errno_name(ret));
		if (got == row->state || got == THP_STATE_UNKNOWN)
			return 0;
		/* Memory is fragmented: compact if permitted, and start again. */
		madvise(m->thp, thp_env.pmd, MADV_DONTNEED);
		(void)thp_write_file("/proc/sys/vm/compact_memory", "1");
	}
	if (m->kind == THP_SWAPPED)
		return thp_skip(why, "needs swap that is less fragmented", "%s in %d tries",
				thp_state_name(got), FAULT_TRIES);
	return thp_skip(why, THP_FRAGMENTED, "no THP in %d tries", FAULT_TRIES);
}

void thp_map_return(struct thp_map *m)
{
	const struct thp_kind_row *row = thp_kind_row(m->kind);

	if (row->move)
		(void)row->move(m, NULL);
}

int thp_map_new(struct thp_map *m, enum thp_kind kind, struct thp_why *why)
{
	int ret = thp_map_create(m, kind, why);

	return ret ? ret : thp_map_fault(m, why);
}

int thp_map_collapse(struct thp_map *m)
{
	int try, ret = 0;

	for (try = 0; try < 10; try++) {
		ret = madvise(m->thp, thp_env.pmd, MADV_COLLAPSE) ? -errno : 0;
		if (ret != -EAGAIN && ret != -ENOMEM && ret != -EBUSY)
			break;
		thp_sleep_ms(10);
	}
	return ret ? thp_note(ret, "MADV_COLLAPSE") : 0;
}

int thp_split_at(char *page, struct thp_why *why)
{
	if (mprotect(page, thp_env.page, PROT_READ) ||
	    mprotect(page, thp_env.page, PROT_READ | PROT_WRITE))
		return thp_why(why, -errno, "mprotect of one page: %s", strerror(errno));
	return 0;
}

int thp_split_folios(pid_t pid, unsigned long addr, size_t len)
{
	char path[192];

	snprintf(path, sizeof(path), "%s/split_huge_pages", thp_env.debugfs);
	return thp_write_fmt(path, "%d,0x%lx,0x%lx", pid, addr, addr + len);
}

int thp_map_zap(struct thp_map *m)
{
	return munmap(m->thp, thp_env.pmd) ? thp_note(-errno, "munmap of the range") : 0;
}

void thp_map_destroy(struct thp_map *m)
{
	if (!m->area)
		return;
	thp_child_kill(&m->child);
	if (m->uffd >= 0)
		close(m->uffd);
	if (m->pipe[0] >= 0)
		close(m->pipe[0]);
	if (m->pipe[1] >= 0)
		close(m->pipe[1]);
	if (m->aux)
		thp_map_destroy(m->aux);
	if (m->fd >= 0)
		close(m->fd);
	munmap(m->area, m->area_len);
	m->area = NULL;
}

int thp_map_underused(struct thp_map *m, struct thp_why *why)
{
	struct thp_events ev;
	int ret;

	thp_obs_events(&ev);
	if (ev.underused == THP_EVENT_NONE)
		return thp_skip(why, "needs the underused THP shrinker (Linux 6.12)");
	ret = thp_settings_set(THP_SYSFS "khugepaged/max_ptes_none", "0");
	if (ret)
		return thp_why_default(why, ret);
	ret = thp_map_create(m, THP_ANON, why);
	if (ret)
		return ret;
	thp_fill(m->thp, m->seed, 0);
	return thp_map_expect(m, THP_STATE_PMD, NULL) ?
		thp_skip(why, THP_FRAGMENTED) : 0;
}
