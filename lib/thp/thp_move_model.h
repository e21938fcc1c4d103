/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Shared by the files of thp_move: the addresses of its pages, and the model of a move.
 * Tests include thp_move.h.
 */
#ifndef THP_MOVE_MODEL_H
#define THP_MOVE_MODEL_H

#include "thp_move.h"

/* Ranges of one slot: pad, two windows, pad. */
#define THP_MOVE_SLOT 4

/*
 * Contents of a page: unreadable, zeroes, or the pattern with this index. Source pages have
 * the indices from 1, followed by those of the destination.
 */
#define THP_ID_NONE		0
#define THP_ID_ZERO		(-1)

/* Where page @page of the windows of @slot is, on @side. */
char *thp_move_addr(const struct thp_move *mv, int side, unsigned int slot, size_t page);

/* Bytes of all slots of one side. */
size_t thp_move_site_len(const struct thp_move *mv);

/* The part [*@lo, *@hi) of pages [@from, @to) in window @w; false if there is none. */
bool thp_model_clip(size_t from, size_t to, int w, size_t *lo, size_t *hi);

/* Tables of one slot on @side, and on both. */
long thp_model_tables(const struct thp_move_model *m, int side);
long thp_model_all_tables(const struct thp_move_model *m);

/* Splits window @w, which takes a table if its kind allocates one. */
void thp_model_split(struct thp_move_model *m, int side, int w);

/* Removes pages [@from, @to), and a table that maps nothing else. */
void thp_model_unmap(struct thp_move_model *m, int side, size_t from, size_t to);

/*
 * VmPTE has grown by @want tables for each slot since the windows were mapped, or by up
 * to @slack more. 0, or -EPROTO with a cause that begins with @when.
 */
int thp_move_check_tables(struct thp_move *mv, long want, long slack, const char *when,
			  struct thp_why *why);

#endif /* THP_MOVE_MODEL_H */
