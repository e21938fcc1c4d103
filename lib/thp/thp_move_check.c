// SPDX-License-Identifier: GPL-2.0
/* Compares the result of a move with the model, after success and failure. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "thp_env.h"
#include "thp_move_model.h"

int thp_move_check_tables(struct thp_move *mv, long want, long slack, const char *when,
			  struct thp_why *why)
{
	long long per = (long long)thp_env.table * mv->slots, got;

	got = thp_obs_vmpte(0);
	if (got < 0)
		return thp_why(why, got, "VmPTE: %s", thp_errno_name(got));
	got -= mv->vmpte0;
	want -= mv->tables0;
	/* Tables that do not make whole kB may show as one kB more or less. */
	if (per % 1024 ? got > want * per - 1024 && got < (want + slack) * per + 1024 :
			 got >= want * per && got <= (want + slack) * per)
		return 0;
	return thp_why(why, -EPROTO,
		       "%s: VmPTE changed by %lld B, expected %ld%s tables of %zu B for each of %u",
		       when, got, want, slack ? " (or a few more)" : "", thp_env.table, mv->slots);
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
	char *p = thp_move_addr(mv, side, slot, first);
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
	char *p = thp_move_addr(mv, side, slot, i);
	int32_t id = m->id[side][i];
	int ret = 0;

	if (id == THP_ID_ZERO)
		ret = thp_check_zero(p, 1, &what);
	else if (id != THP_ID_NONE)
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
		got = thp_obs_pages(thp_move_addr(mv, side, slot, i), n * thp_env.page,
				    THP_PM_POPULATED);
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

	ret = thp_move_check_tables(mv, thp_model_all_tables(m), slack, "after the move", why);
	for (slot = 0; slot < mv->slots && !ret; slot++)
		for (side = THP_SRC; side <= THP_DST && !ret; side++)
			ret = check_side(mv, m, side, slot, why);
	return ret;
}

/* Checks whether the moved part of the source is still in the address space. */
static int check_source(struct thp_move *mv, struct thp_why *why)
{
	bool gone = mv->c.how == THP_MOVE_MREMAP || mv->c.how == THP_MOVE_SHRINK;
	struct thp_smaps sm;
	unsigned int slot;
	int ret;

	for (slot = 0; slot < mv->slots; slot++) {
		ret = thp_obs_smaps(0, thp_move_addr(mv, THP_SRC, slot, mv->s),
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
 * The lock moves with the pages. The VMA that MREMAP_DONTUNMAP leaves behind loses it, see
 * dontunmap_complete() in mm/mremap.c.
 */
static int check_lock(struct thp_move *mv, int side, size_t page, bool want, struct thp_why *why)
{
	static struct thp_smaps sm;
	unsigned int slot;
	bool got;
	int ret;

	for (slot = 0; slot < mv->slots; slot++) {
		ret = thp_obs_smaps(0, thp_move_addr(mv, side, slot, page), thp_env.page, &sm);
		if (ret)
			return thp_why(why, ret, "smaps: %s", thp_errno_name(ret));
		got = strstr(sm.layout, " lo ");
		if (got != want)
			return thp_why(why, -EPROTO, "VmFlags lo of the %s: %d, expected %d",
				       side_name(side), got, want);
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
 * The next stretch of address space whose VMAs have equal attributes: a failure may leave a
 * VMA split, but not changed. False at the end.
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

	ret = thp_obs_smaps(0, mv->site[THP_SRC], thp_move_site_len(mv), &sm);
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

/* Adopts the splits that the kernel may have made before it failed. */
static int adopt_splits(struct thp_move *mv, int side, struct thp_why *why)
{
	enum thp_state state;
	int w, ret;

	for (w = 0; w < 2; w++) {
		if (!mv->next.win[side][w].huge)
			continue;
		ret = thp_obs_state(thp_move_addr(mv, side, 0, w * thp_env.nr), thp_env.pmd,
				    &state);
		if (ret)
			return thp_why(why, ret, "page map: %s", thp_errno_name(ret));
		if (state == THP_STATE_PTE || (state == THP_STATE_NONE &&
					       mv->next.win[side][w].kind == THP_SHMEM))
			thp_model_split(&mv->next, side, w);
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
		there = thp_obs_pages(thp_move_addr(mv, THP_DST, 0, mv->d),
				      mv->n * thp_env.page, THP_PM_POPULATED);
		if (!there)
			thp_model_unmap(&mv->next, THP_DST, mv->d, mv->d + mv->n);
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

	/* Pages that are not present but readable: zeroes, or pages of the memfd. */
	for (slot = 0; slot < mv->slots; slot++) {
		for (i = 0; i < 2 * thp_env.nr; i++) {
			if (mv->now.present[side][i])
				continue;
			ret = check_page(mv, &mv->now, side, slot, i, why);
			if (ret)
				return ret;
		}
		if (munmap(thp_move_addr(mv, side, slot, 0), 2 * thp_env.pmd))
			return thp_why(why, -errno, "munmap: %s", strerror(errno));
	}
	return 0;
}

int thp_move_finish(struct thp_move *mv, struct thp_why *why)
{
	TRY(unmap_side(mv, THP_DST, why));
	TRY(thp_move_check_tables(mv, thp_model_tables(&mv->now, THP_SRC), 0,
				  "after unmapping the destination", why));
	TRY(unmap_side(mv, THP_SRC, why));
	return thp_move_check_tables(mv, 0, 0, "after unmapping the source", why);
}
