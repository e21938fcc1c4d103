// SPDX-License-Identifier: GPL-2.0
/* Maps the windows of a move, and makes the system call. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "thp_contract.h"
#include "thp_env.h"
#include "thp_inject.h"
#include "thp_move_model.h"
#include "thp_uapi.h"
#include "thp_uffd.h"

static size_t pages_of(struct thp_spot spot)
{
	return (long)thp_env.nr / 2 * spot.halves + spot.pages;
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

static int map_site(struct thp_move *mv, int side, struct thp_why *why)
{
	size_t len = thp_move_site_len(mv), lo, hi;
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

	/* Maps a page beside the target; or maps one and unmaps it, which leaves its table. */
	for (w = 0; w < 2; w++) {
		if (!thp_model_clip(mv->d, mv->d + mv->n, w, &lo, &hi))
			continue;
		if (!mv->c.emptied)
			lo = lo == w * thp_env.nr ? hi : w * thp_env.nr;
		mv->now.win[THP_DST][w].table = true;
		for (slot = 0; slot < mv->slots; slot++) {
			page = thp_move_addr(mv, THP_DST, slot, lo);
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
	char *p = thp_move_addr(mv, side, slot, w * thp_env.nr);
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
			mv->now.id[side][i] = kind == THP_ZERO ? THP_ID_ZERO :
					      (int32_t)(2 * side * thp_env.nr + i + 1);
		}
	}
	/* Makes it one VMA again, which khugepaged does not scan. */
	if (madvise(mv->site[side], thp_move_site_len(mv), MADV_NOHUGEPAGE))
		return thp_why(why, -errno, "MADV_NOHUGEPAGE: %s", strerror(errno));
	return 0;
}

/* Splits the PMDs without changing the layout of VMAs. */
static int presplit(struct thp_move *mv, struct thp_why *why)
{
	unsigned int slot, w;
	int ret = 0;

	for (w = 0; w < (mv->c.two ? 2 : 1); w++) {
		for (slot = 0; slot < mv->slots && !ret; slot++)
			ret = thp_split_at(thp_move_addr(mv, THP_SRC, slot, w * thp_env.nr + 1),
					   why);
		if (ret)
			return ret;
		thp_model_split(&mv->now, THP_SRC, w);
	}
	return thp_move_check_tables(mv, thp_model_all_tables(&mv->now), 0,
				     "after the split beforehand", why);
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
	/* MLOCK_ONFAULT, because mlock() would write to the huge zero PMD. */
	for (slot = 0; slot < mv->slots && mv->c.locked; slot++)
		if (mlock2(thp_move_addr(mv, THP_SRC, slot, 0), thp_env.pmd, MLOCK_ONFAULT))
			return thp_why(why, -errno, "mlock2: %s", strerror(errno));
	for (slot = 0; slot < mv->slots && mv->c.how == THP_MOVE_GROW; slot++)
		if (munmap(thp_move_addr(mv, THP_SRC, slot, thp_env.nr), thp_env.pmd))
			return thp_why(why, -errno, "munmap: %s", strerror(errno));
	if (mv->c.how == THP_MOVE_UFFD) {
		mv->uffd = thp_uffd_watch(mv->site[THP_DST], thp_move_site_len(mv),
					  UFFD_FEATURE_MOVE, UFFDIO_REGISTER_MODE_MISSING, why);
		if (mv->uffd < 0)
			return mv->uffd;
	}
	ret = thp_obs_smaps(0, mv->site[THP_SRC], thp_move_site_len(mv), &mv->smaps);
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

	site = thp_move_site_len(mv);
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
	mv->tables0 = thp_model_all_tables(&mv->now);
	mv->vmpte0 = thp_obs_vmpte(0);
	if (mv->vmpte0 < 0)
		return thp_why(why, mv->vmpte0, "VmPTE: %s", thp_errno_name(mv->vmpte0));
	ret = fault_side(mv, THP_SRC, c->kind, c->two ? 2 : 1, why);
	if (!ret)
		ret = fault_side(mv, THP_DST, c->dst_kind, c->ndst, why);
	if (!ret)
		ret = thp_move_check_tables(mv, thp_model_all_tables(&mv->now), 0,
					    "after mapping the THPs", why);
	return ret ? ret : prepare_extras(mv, why);
}

/* One system call, starved if the test wants it. */
static int move_slot(struct thp_move *mv, unsigned int slot)
{
	char *win = thp_move_addr(mv, THP_SRC, slot, 0);
	char *src = thp_move_addr(mv, THP_SRC, slot, mv->s), *p = NULL;
	char *dst = thp_move_addr(mv, THP_DST, slot, mv->d), *want = dst;
	size_t len = mv->n * thp_env.page;
	int flags = MREMAP_MAYMOVE | MREMAP_FIXED, ret = 0;

	if (mv->c.how == THP_MOVE_DONTUNMAP)
		flags |= MREMAP_DONTUNMAP;
	if (mv->starve) {
		ret = thp_inject_own(true);
		if (!ret)
			ret = thp_inject_drain(NULL);
	}
	if (mv->nth_fd >= 0) {
		ret = thp_inject_nth_drain(mv->nth_fd);
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
		(void)thp_inject_own(false);
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
