// SPDX-License-Identifier: GPL-2.0
/* common: Shared by the subjects: the move, its positions, its cases. */

/* fail-nth: more allocations than any of these operations makes. */
#define NTH_MAX 100

/* Too big for a stack; each test runs in a process of its own. */
static struct thp_move mv;

/* A THP that moves, and its target. */
static struct thp_map source, target;

/* After each try. */
static void put_away(void)
{
	/* An arena that was never mapped has no descriptors, not even invalid ones. */
	if (mv.arena)
		thp_move_destroy(&mv);
	thp_map_destroy(&source);
	thp_map_destroy(&target);
}

/*
 * The positions that the tables below use: halves of a PMD and base pages. They are in
 * parentheses because macros pass them on as one argument.
 */
#define SPOT(_halves, _pages) ((struct thp_spot){ _halves, _pages })
#define HEAD		SPOT(0, 0)
#define MIDDLE		SPOT(1, 0)
#define TAIL		SPOT(2, -1)
#define SECOND		SPOT(0, 1)
#define ONE_PAGE	SPOT(0, 1)
#define HALF		SPOT(1, 0)
#define WHOLE		SPOT(2, 0)
#define TWO		SPOT(4, 0)

#define MOVE(_kind, _src, _len, _dst, ...) {				\
	.c = {								\
		.kind = THP_##_kind, .src = _src, .len = _len,		\
		.dst = _dst, ##__VA_ARGS__				\
	}								\
}
