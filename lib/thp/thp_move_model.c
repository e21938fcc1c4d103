// SPDX-License-Identifier: GPL-2.0
/* The predicted effect of a move on windows, tables and pages. Nothing here asks the kernel. */
#include "thp_contract.h"
#include "thp_env.h"
#include "thp_move_model.h"

char *thp_move_addr(const struct thp_move *mv, int side, unsigned int slot, size_t page)
{
	return mv->site[side] + (slot * THP_MOVE_SLOT + 1) * thp_env.pmd + page * thp_env.page;
}

size_t thp_move_site_len(const struct thp_move *mv)
{
	return mv->slots * THP_MOVE_SLOT * thp_env.pmd;
}

long thp_model_tables(const struct thp_move_model *m, int side)
{
	long n = 0;
	int w;

	for (w = 0; w < 2; w++)
		n += m->win[side][w].huge ? thp_tables_mapped(m->win[side][w].kind) :
					    m->win[side][w].table;
	return n;
}

long thp_model_all_tables(const struct thp_move_model *m)
{
	return thp_model_tables(m, THP_SRC) + thp_model_tables(m, THP_DST);
}

bool thp_model_clip(size_t from, size_t to, int w, size_t *lo, size_t *hi)
{
	*lo = w * thp_env.nr;
	*hi = *lo + thp_env.nr;
	if (*lo < from)
		*lo = from;
	if (*hi > to)
		*hi = to;
	return *lo < *hi;
}

void thp_model_split(struct thp_move_model *m, int side, int w)
{
	size_t i;

	m->splits++;
	m->win[side][w].huge = false;
	if (m->win[side][w].kind != THP_SHMEM) {
		m->win[side][w].table = true;
		m->allocs += !thp_tables_mapped(m->win[side][w].kind);
		return;
	}
	/* The kernel drops a PMD of a file; its pages are faulted in again. */
	for (i = w * thp_env.nr; i < (w + 1) * thp_env.nr; i++)
		m->present[side][i] = false;
}

void thp_model_unmap(struct thp_move_model *m, int side, size_t from, size_t to)
{
	size_t lo, hi, i;
	int w;

	for (w = 0; w < 2; w++) {
		if (!thp_model_clip(from, to, w, &lo, &hi))
			continue;
		if (hi - lo == thp_env.nr) {
			m->win[side][w].huge = false;
			m->win[side][w].table = false;
		} else if (m->win[side][w].huge) {
			thp_model_split(m, side, w);
		}
		for (i = lo; i < hi; i++) {
			m->id[side][i] = THP_ID_NONE;
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

	if (!thp_model_clip(mv->s, mv->s + pages, w, &lo, &hi))
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
			thp_model_split(m, THP_SRC, w);
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
			m->id[THP_SRC][i] = THP_ID_NONE;
		else if (mv->c.kind != THP_SHMEM)
			m->id[THP_SRC][i] = THP_ID_ZERO;
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
		thp_model_unmap(m, THP_SRC, mv->s, mv->s + pages);
		return;
	}
	if (mv->c.how == THP_MOVE_GROW) {
		for (i = thp_env.nr; i < 2 * thp_env.nr; i++)
			m->id[THP_SRC][i] = THP_ID_ZERO;
		return;
	}
	/* MREMAP_FIXED unmaps its target first. */
	if (mv->c.how != THP_MOVE_UFFD)
		thp_model_unmap(m, THP_DST, mv->d, mv->d + pages);
	for (w = 0; w < 2 && pages; w++)
		model_move(mv, m, w, pages);
	if (mv->c.how == THP_MOVE_MREMAP)
		thp_model_unmap(m, THP_SRC, mv->s, mv->s + pages);
}
