// SPDX-License-Identifier: GPL-2.0
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "thp_contract.h"
#include "thp_env.h"
#include "thp_inject.h"
#include "thp_move.h"
#include "thp_uapi.h"
#include "thp_uffd.h"

/* Ranges of one slot: pad, two windows, pad. */
#define SLOT 4

/*
 * Contents of a page: nothing to be read there, zeroes, or the pattern with
 * this index. Source pages have the indices from 1, those of the destination
 * follow.
 */
#define ID_NONE		0
#define ID_ZERO		(-1)

static size_t pages_of(struct thp_spot spot)
{
	return (long)thp_env.nr / 2 * spot.halves + spot.pages;
}

static char *page_addr(const struct thp_move *mv, int side, unsigned int slot, size_t page)
{
	return mv->site[side] + (slot * SLOT + 1) * thp_env.pmd + page * thp_env.page;
}

static size_t site_len(const struct thp_move *mv)
{
	return mv->slots * SLOT * thp_env.pmd;
}

uint64_t thp_move_needs(const struct thp_move_case *c)
{
	uint64_t needs = thp_kind_needs(c->kind) | THP_NEED_ADDRESSES;

	if (c->ndst)
		needs |= thp_kind_needs(c->dst_kind);
	if (c->how == THP_MOVE_UFFD)
		needs |= THP_NEED_UFFD_MOVE;
	if (c->locked)
		needs |= THP_NEED_LIMIT;
	return needs;
}

static long model_tables(const struct thp_move_model *m, int side)
{
	long n = 0;
	int w;

	for (w = 0; w < 2; w++)
		n += m->win[side][w].huge ? thp_tables_mapped(m->win[side][w].kind) :
					    m->win[side][w].table;
	return n;
}

/* The part of pages [from, to) that lies in window @w; false if there is none. */
static bool clip(size_t from, size_t to, int w, size_t *lo, size_t *hi)
{
	*lo = w * thp_env.nr;
	*hi = *lo + thp_env.nr;
	if (*lo < from)
		*lo = from;
	if (*hi > to)
		*hi = to;
	return *lo < *hi;
}

static void model_split(struct thp_move_model *m, int side, int w)
{
	size_t i;

	m->splits++;
	m->win[side][w].huge = false;
	if (m->win[side][w].kind != THP_SHMEM) {
		m->win[side][w].table = true;
		m->allocs += !thp_tables_mapped(m->win[side][w].kind);
		return;
	}
	/* A PMD of a file is dropped, its pages are faulted in again. */
	for (i = w * thp_env.nr; i < (w + 1) * thp_env.nr; i++)
		m->present[side][i] = false;
}

static void model_unmap(struct thp_move_model *m, int side, size_t from, size_t to)
{
	size_t lo, hi, i;
	int w;

	for (w = 0; w < 2; w++) {
		if (!clip(from, to, w, &lo, &hi))
			continue;
		if (hi - lo == thp_env.nr) {
			m->win[side][w].huge = false;
			m->win[side][w].table = false;
		} else if (m->win[side][w].huge) {
			model_split(m, side, w);
		}
		for (i = lo; i < hi; i++) {
			m->id[side][i] = ID_NONE;
			m->present[side][i] = false;
		}
	}
}

/* Moves the part of the pages that lies in source window @w. */
static void model_move(const struct thp_move *mv, struct thp_move_model *m, int w, size_t pages)
{
	size_t nr = thp_env.nr, lo, hi, to, i;
	bool uffd = mv->c.how == THP_MOVE_UFFD, aligned;
	int v;

	if (!clip(mv->s, mv->s + pages, w, &lo, &hi))
		return;
	to = mv->d + lo - mv->s;
	v = to / nr;
	aligned = hi - lo == nr && to % nr == 0;
	if (m->win[THP_SRC][w].huge && aligned && !(uffd && m->win[THP_DST][v].table)) {
		m->win[THP_SRC][w].huge = false;
		m->win[THP_DST][v].huge = true;
		m->win[THP_DST][v].kind = m->win[THP_SRC][w].kind;
	} else {
		if (m->win[THP_SRC][w].huge)
			model_split(m, THP_SRC, w);
		if (m->win[THP_SRC][w].table && aligned && !uffd && thp_env_moves_tables()) {
			/* The table itself changes its place. */
			m->win[THP_SRC][w].table = false;
			m->win[THP_DST][v].table = true;
		} else if (m->win[THP_SRC][w].table) {
			for (v = to / nr; v <= (int)((to + hi - lo - 1) / nr); v++) {
				m->allocs += !m->win[THP_DST][v].table;
				m->win[THP_DST][v].table = true;
			}
		}
	}
	for (i = lo; i < hi; i++, to++) {
		m->id[THP_DST][to] = m->id[THP_SRC][i];
		m->present[THP_DST][to] = m->present[THP_SRC][i];
		m->present[THP_SRC][i] = false;
		if (mv->c.how == THP_MOVE_MREMAP)
			m->id[THP_SRC][i] = ID_NONE;
		else if (mv->c.kind != THP_SHMEM)
			m->id[THP_SRC][i] = ID_ZERO;
	}
}

void thp_move_predict(struct thp_move *mv, size_t pages)
{
	struct thp_move_model *m = &mv->next;
	size_t i;
	int w;

	*m = mv->now;
	m->splits = 0;
	m->allocs = 0;
	if (mv->c.how == THP_MOVE_SHRINK) {
		model_unmap(m, THP_SRC, mv->s, mv->s + pages);
		return;
	}
	if (mv->c.how == THP_MOVE_GROW) {
		for (i = thp_env.nr; i < 2 * thp_env.nr; i++)
			m->id[THP_SRC][i] = ID_ZERO;
		return;
	}
	/* MREMAP_FIXED unmaps its target first. */
	if (mv->c.how != THP_MOVE_UFFD)
		model_unmap(m, THP_DST, mv->d, mv->d + pages);
	for (w = 0; w < 2 && pages; w++)
		model_move(mv, m, w, pages);
	if (mv->c.how == THP_MOVE_MREMAP)
		model_unmap(m, THP_SRC, mv->s, mv->s + pages);
}

static int map_site(struct thp_move *mv, int side, struct thp_why *why)
{
	size_t len = site_len(mv), lo, hi;
	char *p = mv->site[side], *page;
	unsigned int slot;
	int w;

	if (mmap(p, len, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0) == MAP_FAILED)
		return thp_why(why, -errno, "mmap: %s", strerror(errno));
	madvise(p, len, MADV_NOHUGEPAGE);
	thp_touch(p);
	thp_touch(p + len - thp_env.page);
	if (side == THP_SRC || !(mv->c.table || mv->c.emptied))
		return 0;

	/* A page beside the target, or one that goes again and leaves its table. */
	for (w = 0; w < 2; w++) {
		if (!clip(mv->d, mv->d + mv->n, w, &lo, &hi))
			continue;
		if (!mv->c.emptied)
			lo = lo == w * thp_env.nr ? hi : w * thp_env.nr;
		mv->now.win[THP_DST][w].table = true;
		for (slot = 0; slot < mv->slots; slot++) {
			page = page_addr(mv, THP_DST, slot, lo);
			thp_fill(page, mv->seed + slot, 2 * thp_env.nr + lo + 1);
			if (mv->c.emptied && madvise(page, thp_env.page, MADV_DONTNEED))
				return thp_why(why, -errno, "MADV_DONTNEED: %s", strerror(errno));
		}
		if (!mv->c.emptied) {
			mv->now.present[THP_DST][lo] = true;
			mv->now.id[THP_DST][lo] = 2 * thp_env.nr + lo + 1;
		}
	}
	return 0;
}

static int fault_window(struct thp_move *mv, int side, int w, unsigned int slot,
			enum thp_kind kind, struct thp_why *why)
{
	enum thp_state state, want = thp_kind_state(kind);
	char *p = page_addr(mv, side, slot, w * thp_env.nr);
	size_t base = (2 * side + w) * thp_env.nr + 1, i;
	int try, ret;

	if (kind == THP_SHMEM &&
	    mmap(p, thp_env.pmd, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, mv->memfd,
		 (2 * slot + w) * thp_env.pmd) == MAP_FAILED)
		return thp_why(why, -errno, "mmap of memfd: %s", strerror(errno));
	if (madvise(p, thp_env.pmd, MADV_HUGEPAGE))
		return thp_why(why, -errno, "MADV_HUGEPAGE: %s", strerror(errno));
	for (try = 0; try < 4; try++) {
		if (kind == THP_ZERO)
			thp_peek(p);
		for (i = 0; i < thp_env.nr && kind != THP_ZERO; i++)
			thp_fill(p + i * thp_env.page, mv->seed + slot, base + i);
		ret = thp_obs_state(p, thp_env.pmd, &state);
		if (ret)
			return thp_why(why, ret, "page map: %s", thp_errno_name(ret));
		if (state == want || state == THP_STATE_UNKNOWN)
			return 0;
		madvise(p, thp_env.pmd, MADV_DONTNEED);
		(void)thp_write_file("/proc/sys/vm/compact_memory", "1");
	}
	return thp_skip(why, THP_FRAGMENTED, "no THP in 4 tries");
}

static int fault_side(struct thp_move *mv, int side, enum thp_kind kind, unsigned int wins,
		      struct thp_why *why)
{
	unsigned int w, slot;
	size_t i;
	int ret;

	for (w = 0; w < wins; w++) {
		for (slot = 0; slot < mv->slots; slot++) {
			ret = fault_window(mv, side, w, slot, kind, why);
			if (ret)
				return ret;
		}
		mv->now.win[side][w].huge = true;
		mv->now.win[side][w].kind = kind;
		for (i = w * thp_env.nr; i < (w + 1) * thp_env.nr; i++) {
			mv->now.present[side][i] = true;
			mv->now.id[side][i] = kind == THP_ZERO ? ID_ZERO :
					      (int32_t)(2 * side * thp_env.nr + i + 1);
		}
	}
	/* One VMA again, and nothing that khugepaged would look at. */
	if (madvise(mv->site[side], site_len(mv), MADV_NOHUGEPAGE))
		return thp_why(why, -errno, "MADV_NOHUGEPAGE: %s", strerror(errno));
	return 0;
}

static int check_tables(struct thp_move *mv, long want, long slack, const char *when,
			struct thp_why *why)
{
	long long per = (long long)thp_env.table * mv->slots, got;

	got = thp_obs_vmpte(0);
	if (got < 0)
		return thp_why(why, got, "VmPTE: %s", thp_errno_name(got));
	got -= mv->vmpte0;
	want -= mv->tables0;
	/* What does not make whole kB may show as one more or one less. */
	if (per % 1024 ? got > want * per - 1024 && got < (want + slack) * per + 1024 :
			 got >= want * per && got <= (want + slack) * per)
		return 0;
	return thp_why(why, -EPROTO,
		       "%s: VmPTE changed by %lld B, expected %ld%s tables of %zu B for each of %u",
		       when, got, want, slack ? " (or a few more)" : "", thp_env.table, mv->slots);
}

/* Splits the PMDs without leaving a trace in the layout. */
static int presplit(struct thp_move *mv, struct thp_why *why)
{
	unsigned int slot, w;
	int ret = 0;

	for (w = 0; w < (mv->c.two ? 2 : 1); w++) {
		for (slot = 0; slot < mv->slots && !ret; slot++)
			ret = thp_split_at(page_addr(mv, THP_SRC, slot, w * thp_env.nr + 1), why);
		if (ret)
			return ret;
		model_split(&mv->now, THP_SRC, w);
	}
	return check_tables(mv, model_tables(&mv->now, THP_SRC) + model_tables(&mv->now, THP_DST),
			    0, "after the split beforehand", why);
}

static int prepare_extras(struct thp_move *mv, struct thp_why *why)
{
	unsigned int slot;
	int ret;

	if (mv->c.presplit) {
		ret = presplit(mv, why);
		if (ret)
			return ret;
	}
	/* MLOCK_ONFAULT: mlock() would write to the huge zero PMD. */
	for (slot = 0; slot < mv->slots && mv->c.locked; slot++)
		if (mlock2(page_addr(mv, THP_SRC, slot, 0), thp_env.pmd, MLOCK_ONFAULT))
			return thp_why(why, -errno, "mlock2: %s", strerror(errno));
	for (slot = 0; slot < mv->slots && mv->c.how == THP_MOVE_GROW; slot++)
		if (munmap(page_addr(mv, THP_SRC, slot, thp_env.nr), thp_env.pmd))
			return thp_why(why, -errno, "munmap: %s", strerror(errno));
	if (mv->c.how == THP_MOVE_UFFD) {
		mv->uffd = thp_uffd_watch(mv->site[THP_DST], site_len(mv), UFFD_FEATURE_MOVE,
					  UFFDIO_REGISTER_MODE_MISSING, why);
		if (mv->uffd < 0)
			return mv->uffd;
	}
	ret = thp_obs_smaps(0, mv->site[THP_SRC], site_len(mv), &mv->smaps);
	if (ret)
		return thp_why(why, ret, "smaps: %s", thp_errno_name(ret));
	if (mv->c.locked && !strstr(mv->smaps.layout, " lo "))
		return thp_why(why, -EPROTO, "VmFlags lo of the source: 0 before, expected 1");
	return 0;
}

int thp_move_prepare(struct thp_move *mv, const struct thp_move_case *c, unsigned int slots,
		     struct thp_why *why)
{
	static uint64_t seeds;
	size_t span = thp_span(), site;
	char *base;
	int ret;

	memset(mv, 0, sizeof(*mv));
	mv->c = *c;
	mv->slots = slots;
	mv->memfd = -1;
	mv->uffd = -1;
	mv->nth_fd = -1;
	mv->seed = getpid() * 1000ULL + slots * ++seeds;
	if (thp_env.nr > THP_MOVE_MAX_NR)
		return thp_why(why, -EINVAL, "%zu pages in a PMD are too many", thp_env.nr);
	mv->s = pages_of(c->src);
	mv->n = pages_of(c->len);
	mv->d = pages_of(c->dst);

	site = site_len(mv);
	base = thp_reserve(2 * span, span, &mv->arena, &mv->arena_len);
	if (!base)
		return thp_why(why, -errno, "no address space of %zu B", 3 * span);
	mv->site[THP_SRC] = base + site;
	mv->site[THP_DST] = base + (c->far ? span : 0) + 3 * site;
	if (c->kind == THP_SHMEM) {
		mv->memfd = memfd_create("thp_lazy_pte", MFD_CLOEXEC);
		if (mv->memfd < 0 || ftruncate(mv->memfd, 2 * slots * thp_env.pmd))
			return thp_why(why, -errno, "memfd: %s", strerror(errno));
	}
	ret = map_site(mv, THP_SRC, why);
	if (!ret)
		ret = map_site(mv, THP_DST, why);
	if (ret)
		return ret;
	mv->tables0 = model_tables(&mv->now, THP_SRC) + model_tables(&mv->now, THP_DST);
	mv->vmpte0 = thp_obs_vmpte(0);
	if (mv->vmpte0 < 0)
		return thp_why(why, mv->vmpte0, "VmPTE: %s", thp_errno_name(mv->vmpte0));
	ret = fault_side(mv, THP_SRC, c->kind, c->two ? 2 : 1, why);
	if (!ret)
		ret = fault_side(mv, THP_DST, c->dst_kind, c->ndst, why);
	if (!ret)
		ret = check_tables(mv, model_tables(&mv->now, THP_SRC) +
				       model_tables(&mv->now, THP_DST),
				   0, "after mapping the THPs", why);
	return ret ? ret : prepare_extras(mv, why);
}

/* One system call, starved if the test wants it. */
static int move_slot(struct thp_move *mv, unsigned int slot)
{
	char *win = page_addr(mv, THP_SRC, slot, 0);
	char *src = page_addr(mv, THP_SRC, slot, mv->s), *p = NULL;
	char *dst = page_addr(mv, THP_DST, slot, mv->d), *want = dst;
	size_t len = mv->n * thp_env.page;
	int flags = MREMAP_MAYMOVE | MREMAP_FIXED, ret = 0;

	if (mv->c.how == THP_MOVE_DONTUNMAP)
		flags |= MREMAP_DONTUNMAP;
	if (mv->starve) {
		ret = thp_inject_task(getpid(), true);
		if (!ret)
			ret = thp_inject_drain(-1);
	}
	if (mv->nth_fd >= 0) {
		ret = thp_inject_drain(mv->nth_fd);
		if (!ret)
			ret = thp_inject_nth_arm(mv->nth_fd, mv->nth);
	}
	if (ret)
		return -EPROTO;
	switch (mv->c.how) {
	case THP_MOVE_MREMAP:
	case THP_MOVE_DONTUNMAP:
		p = mremap(src, len, len, flags, dst);
		break;
	case THP_MOVE_SHRINK:
		p = mremap(win, (src - win) + len, src - win, 0);
		want = win;
		break;
	case THP_MOVE_GROW:
		p = mremap(src, len, len + thp_env.pmd, 0);
		want = src;
		break;
	case THP_MOVE_UFFD:
		ret = thp_uffd_move(mv->uffd, dst, src, len, &mv->moved);
		if (!ret && mv->moved != (long long)len)
			ret = -EPROTO;
		break;
	}
	if (mv->c.how != THP_MOVE_UFFD)
		ret = p == MAP_FAILED ? -errno : p == want ? 0 : -EPROTO;
	if (mv->starve)
		(void)thp_inject_task(getpid(), false);
	if (mv->nth_fd >= 0)
		mv->fired = thp_inject_nth_disarm(mv->nth_fd);
	return ret;
}

int thp_move_run(struct thp_move *mv)
{
	struct thp_events before, after;
	unsigned int slot;
	long fired = 0;
	int ret, err;

	if (mv->starve)
		fired = thp_inject_fired();
	mv->moved = 0;
	err = thp_obs_events(&before);
	for (slot = 0, ret = 0; slot < mv->slots && !ret; slot++)
		ret = move_slot(mv, slot);
	if (!err)
		err = thp_obs_events(&after);
	if (err)
		return err;
	mv->splits = after.split_pmd - before.split_pmd;
	mv->failed = after.split_pmd_failed - before.split_pmd_failed;
	if (mv->starve)
		mv->fired = thp_inject_fired() - fired;
	return ret;
}

int thp_move_check_splits(struct thp_move *mv, unsigned int want, struct thp_why *why)
{
	want *= mv->slots;
	if (mv->splits == want)
		return 0;
	return thp_why(why, mv->splits > want ? -EAGAIN : -EPROTO,
		       "thp_split_pmd rose by %llu, expected %u",
		       (unsigned long long)mv->splits, want);
}

static const char *side_name(int side)
{
	return side == THP_SRC ? "source" : "destination";
}

static int check_window(struct thp_move *mv, const struct thp_move_model *m, int side, int w,
			unsigned int slot, struct thp_why *why)
{
	enum thp_state want = THP_STATE_NONE, got;
	size_t first = w * thp_env.nr, end = first + thp_env.nr, i;
	char *p = page_addr(mv, side, slot, first);
	int ret;

	for (i = first; i < end; i++)
		if (m->present[side][i])
			want = THP_STATE_PTE;
	if (m->win[side][w].huge)
		want = m->win[side][w].kind == THP_ZERO ? THP_STATE_PMD_ZERO : THP_STATE_PMD;
	ret = thp_obs_state(p, thp_env.pmd, &got);
	if (ret)
		return thp_why(why, ret, "page map: %s", thp_errno_name(ret));
	if (got != want && got != THP_STATE_UNKNOWN)
		return thp_why(why, -EPROTO, "%s window %d is %s, expected %s", side_name(side), w,
			       thp_state_name(got), thp_state_name(want));
	return 0;
}

/* Pages [i, end) that are alike: all there or all absent. */
static size_t run_length(const struct thp_move_model *m, int side, size_t i)
{
	size_t n = 1;

	while (i + n < 2 * thp_env.nr && m->present[side][i + n] == m->present[side][i])
		n++;
	return n;
}

static int check_page(struct thp_move *mv, const struct thp_move_model *m, int side,
		      unsigned int slot, size_t i, struct thp_why *why)
{
	struct thp_why what = { 0 };
	char *p = page_addr(mv, side, slot, i);
	int32_t id = m->id[side][i];
	int ret = 0;

	if (id == ID_ZERO)
		ret = thp_check_zero(p, 1, &what);
	else if (id != ID_NONE)
		ret = thp_check(p, mv->seed + slot, id, 1, &what);
	return ret ? thp_why(why, ret, "%s page %zu: %s", side_name(side), i, what.text) : 0;
}

static int check_side(struct thp_move *mv, const struct thp_move_model *m, int side,
		      unsigned int slot, struct thp_why *why)
{
	size_t i, n, end = 2 * thp_env.nr;
	long got, want;
	int w, ret;

	for (w = 0; w < 2; w++) {
		ret = check_window(mv, m, side, w, slot, why);
		if (ret)
			return ret;
	}
	for (i = 0; i < end; i += n) {
		n = run_length(m, side, i);
		want = m->present[side][i] ? n : 0;
		got = thp_obs_populated(page_addr(mv, side, slot, i), n * thp_env.page);
		if (got != want)
			return thp_why(why, -EPROTO,
				       "%s pages %zu to %zu: %ld are mapped, expected %ld",
				       side_name(side), i, i + n - 1, got, want);
	}
	for (i = 0; i < end; i++) {
		if (!m->present[side][i])
			continue;
		ret = check_page(mv, m, side, slot, i, why);
		if (ret)
			return ret;
	}
	return 0;
}

int thp_move_check(struct thp_move *mv, const struct thp_move_model *m, long slack,
		   struct thp_why *why)
{
	unsigned int slot;
	int side, ret;

	ret = check_tables(mv, model_tables(m, THP_SRC) + model_tables(m, THP_DST), slack,
			   "after the move", why);
	for (slot = 0; slot < mv->slots && !ret; slot++)
		for (side = THP_SRC; side <= THP_DST && !ret; side++)
			ret = check_side(mv, m, side, slot, why);
	return ret;
}

/* Whether the part of the source that was moved is still in the address space. */
static int check_source(struct thp_move *mv, struct thp_why *why)
{
	bool gone = mv->c.how == THP_MOVE_MREMAP || mv->c.how == THP_MOVE_SHRINK;
	struct thp_smaps sm;
	unsigned int slot;
	int ret;

	for (slot = 0; slot < mv->slots; slot++) {
		ret = thp_obs_smaps(0, page_addr(mv, THP_SRC, slot, mv->s),
				    mv->n * thp_env.page, &sm);
		if (ret)
			return thp_why(why, ret, "smaps: %s", thp_errno_name(ret));
		if (gone != !sm.vmas)
			return thp_why(why, -EPROTO, "success, but the source is %s",
				       gone ? "still mapped" : "no longer mapped");
	}
	return 0;
}

/*
 * The lock goes along with the pages. What MREMAP_DONTUNMAP leaves behind loses it,
 * see dontunmap_complete() in mm/mremap.c.
 */
static int check_lock(struct thp_move *mv, int side, size_t page, bool want, struct thp_why *why)
{
	static struct thp_smaps sm;
	unsigned int slot;
	bool got;
	int ret;

	for (slot = 0; slot < mv->slots; slot++) {
		ret = thp_obs_smaps(0, page_addr(mv, side, slot, page), thp_env.page, &sm);
		if (ret)
			return thp_why(why, ret, "smaps: %s", thp_errno_name(ret));
		got = strstr(sm.layout, " lo ");
		if (got != want)
			return thp_why(why, -EPROTO, "VmFlags lo of the %s: %d, expected %d",
				       side == THP_SRC ? "source" : "destination", got, want);
	}
	return 0;
}

int thp_move_check_done(struct thp_move *mv, struct thp_why *why)
{
	int ret;

	ret = check_source(mv, why);
	if (!ret && mv->c.locked)
		ret = check_lock(mv, THP_DST, mv->d, true, why);
	if (!ret && mv->c.locked)
		ret = check_lock(mv, THP_SRC, mv->s, false, why);
	if (!ret)
		ret = thp_move_check(mv, &mv->next, 0, why);
	mv->now = mv->next;
	return ret;
}

/*
 * The next stretch of address space whose VMAs are alike in all but their
 * number: a failure may leave a VMA split, not changed. False at the end.
 */
static bool next_stretch(const char **pos, unsigned long long *start, unsigned long long *end,
			 char *what, size_t len)
{
	unsigned long long lo, hi;
	char prot[8], now[256];
	bool any = false;
	const char *nl;
	int skip;

	/* "start-end prot offset dev inode name VmFlags" */
	while (sscanf(*pos, "%llx-%llx %7s %*s %*s %*s%n", &lo, &hi, prot, &skip) == 3) {
		nl = strchr(*pos, '\n');
		if (!nl || nl < *pos + skip)
			break;
		snprintf(now, sizeof(now), "%s%.*s", prot, (int)(nl - *pos - skip), *pos + skip);
		if (any && (lo != *end || strcmp(now, what)))
			break;
		if (!any)
			*start = lo;
		any = true;
		*end = hi;
		snprintf(what, len, "%s", now);
		*pos = nl + 1;
	}
	return any;
}

static int check_layout(struct thp_move *mv, struct thp_why *why)
{
	unsigned long long lo[2] = { 0 }, hi[2] = { 0 };
	char flags[2][256] = { "", "" };
	const char *pos[2];
	struct thp_smaps sm;
	bool more[2];
	int ret;

	ret = thp_obs_smaps(0, mv->site[THP_SRC], site_len(mv), &sm);
	if (ret)
		return thp_why(why, ret, "smaps: %s", thp_errno_name(ret));
	pos[0] = mv->smaps.layout;
	pos[1] = sm.layout;
	do {
		more[0] = next_stretch(&pos[0], &lo[0], &hi[0], flags[0], sizeof(flags[0]));
		more[1] = next_stretch(&pos[1], &lo[1], &hi[1], flags[1], sizeof(flags[1]));
		if (more[0] != more[1] || lo[0] != lo[1] || hi[0] != hi[1] ||
		    strcmp(flags[0], flags[1]))
			return thp_why(why, -EPROTO,
				       "failed, but VMA %llx-%llx %s of the source became %llx-%llx %s",
				       lo[0], hi[0], flags[0], lo[1], hi[1], flags[1]);
	} while (more[0]);
	return 0;
}

/* Takes over what the kernel may have split before it failed. */
static int adopt_splits(struct thp_move *mv, int side, struct thp_why *why)
{
	enum thp_state state;
	int w, ret;

	for (w = 0; w < 2; w++) {
		if (!mv->next.win[side][w].huge)
			continue;
		ret = thp_obs_state(page_addr(mv, side, 0, w * thp_env.nr), thp_env.pmd, &state);
		if (ret)
			return thp_why(why, ret, "page map: %s", thp_errno_name(ret));
		if (state == THP_STATE_PTE || (state == THP_STATE_NONE &&
					       mv->next.win[side][w].kind == THP_SHMEM))
			model_split(&mv->next, side, w);
	}
	return 0;
}

int thp_move_check_refused(struct thp_move *mv, bool may_split, long slack, struct thp_why *why)
{
	long there, expected = 0;
	size_t i, prefix = 0;
	int ret;

	if (mv->c.how == THP_MOVE_UFFD && mv->moved > 0)
		prefix = mv->moved / thp_env.page;
	if (prefix >= mv->n)
		return thp_why(why, -EPROTO, "failed, but all of it is reported as moved");
	if (mv->c.how == THP_MOVE_UFFD)
		thp_move_predict(mv, prefix);
	else
		mv->next = mv->now;

	/* MREMAP_FIXED unmaps the target before anything else can fail. */
	for (i = mv->d; i < mv->d + mv->n; i++)
		expected += mv->now.present[THP_DST][i];
	if (mv->c.how != THP_MOVE_UFFD && expected) {
		there = thp_obs_populated(page_addr(mv, THP_DST, 0, mv->d), mv->n * thp_env.page);
		if (!there)
			model_unmap(&mv->next, THP_DST, mv->d, mv->d + mv->n);
	}
	if (may_split) {
		ret = adopt_splits(mv, THP_SRC, why);
		if (!ret)
			ret = adopt_splits(mv, THP_DST, why);
		if (ret)
			return ret;
	}
	ret = thp_move_check(mv, &mv->next, slack, why);
	if (!ret)
		ret = check_layout(mv, why);
	mv->now = mv->next;
	return ret;
}

static int unmap_side(struct thp_move *mv, int side, struct thp_why *why)
{
	unsigned int slot;
	size_t i;
	int ret;

	/* What is not mapped but can be read: zeroes, or pages of the memfd. */
	for (slot = 0; slot < mv->slots; slot++) {
		for (i = 0; i < 2 * thp_env.nr; i++) {
			if (mv->now.present[side][i])
				continue;
			ret = check_page(mv, &mv->now, side, slot, i, why);
			if (ret)
				return ret;
		}
		if (munmap(page_addr(mv, side, slot, 0), 2 * thp_env.pmd))
			return thp_why(why, -errno, "munmap: %s", strerror(errno));
	}
	return 0;
}

int thp_move_finish(struct thp_move *mv, struct thp_why *why)
{
	int ret;

	ret = unmap_side(mv, THP_DST, why);
	if (!ret)
		ret = check_tables(mv, model_tables(&mv->now, THP_SRC), 0,
				   "after unmapping the destination", why);
	if (!ret)
		ret = unmap_side(mv, THP_SRC, why);
	if (!ret)
		ret = check_tables(mv, 0, 0, "after unmapping the source", why);
	return ret;
}

void thp_move_destroy(struct thp_move *mv)
{
	if (mv->uffd >= 0)
		close(mv->uffd);
	if (mv->memfd >= 0)
		close(mv->memfd);
	if (mv->nth_fd >= 0)
		close(mv->nth_fd);
	mv->nth_fd = -1;
	mv->uffd = -1;
	mv->memfd = -1;
	if (mv->arena)
		munmap(mv->arena, mv->arena_len);
	mv->arena = NULL;
}
