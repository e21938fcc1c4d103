/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Processes that share THPs: a group of adjacent THPs, the view that each
 * process must have of it, and children that obey orders.
 *
 *	base - pmd    base                            base + n * pmd
 *	|    anchor   |####|####| ... |####|####|     anchor    |
 *
 * There is one group per process; fork() copies it like the memory it describes: a child's
 * copy of the view changes with the child's writes only. The functions return 0 or -errno
 * with a cause. -EAGAIN means that something outside of the test has disturbed it, so that
 * the caller may try again.
 */
#ifndef THP_FAMILY_H
#define THP_FAMILY_H

#include "thp_child.h"
#include "thp_env.h"
#include "thp_file.h"
#include "thp_map.h"
#include "thp_meter.h"
#include "thp_obs.h"
#include "thp_swap.h"

#define THP_GROUP_MAX	16
#define THP_PEERS_MAX	32
#define THP_VIEW_MAX	16

struct thp_group {
	enum thp_kind kind;
	unsigned int n;			/* THPs, a multiple of thp_env.unit */
	char *area;			/* what was mapped, area_len bytes */
	size_t area_len;
	char *base;			/* the first THP */
	struct thp_map map[THP_GROUP_MAX];
};

extern struct thp_group thp_group;

/* Maps and faults @n THPs of @kind (0: thp_env.unit); -ENOTSUP as thp_map_fault(). */
int thp_group_new(enum thp_kind kind, unsigned int n, struct thp_why *why);

/* The same in memory that the caller has mapped: @len bytes, without anchors. */
int thp_group_adopt(enum thp_kind kind, char *at, size_t len, struct thp_why *why);

void thp_group_free(void);

/* Tables that the group needs while PMD-mapped, and that splitting all of it adds. */
long thp_group_mapped(void);
long thp_group_split(void);

/* Gives page @page of every THP new contents, by a write fault. */
void thp_group_write(size_t page, uint64_t seed);

/* Notes contents that another process wrote for this one. */
void thp_group_note(size_t page, uint64_t seed);

/* The contents that thp_group_note() stands for, of one page in THP @i. */
void thp_group_fill(void *page, unsigned int i, size_t index, uint64_t seed);

/* Every base page of every THP against the view; -EILSEQ with a cause. */
int thp_group_check(struct thp_why *why);

/* The state that all THPs share; THP_STATE_MIXED if they differ. */
int thp_group_state(enum thp_state *state, struct thp_why *why);

/* After the group was swapped out: how. */
int thp_group_swapped(struct thp_swapped *s, struct thp_why *why);
int thp_group_expect(enum thp_state want, struct thp_why *why);

/*
 * Checks the contents, then unmaps the whole group: munmap() must free the tables of the
 * state that the group was in.
 */
int thp_group_finish(struct thp_why *why);

enum thp_order {
	THP_ORDER_CHECK,	/* thp_group_check() */
	THP_ORDER_STATE,	/* thp_group_state(), the state is the result */
	THP_ORDER_SWAPPED,	/* thp_group_swapped(), the entries are the result */
	THP_ORDER_WRITE,	/* thp_group_write(a, b) */
	THP_ORDER_NOTE,		/* thp_group_note(a, b) */
	THP_ORDER_FILL,		/* thp_group_note() and a write of every page, seed a */
	THP_ORDER_ZERO,		/* the whole group reads as zeroes */
	THP_ORDER_ZAP,		/* munmap() of bytes [a, a + b), result: VmPTE freed */
	THP_ORDER_END,
};

struct thp_peer {
	struct thp_child child;
	int step;
};

extern struct thp_peer thp_peers[THP_PEERS_MAX];

/* Maps the channels of the first @n peers; do it before the first meter. */
int thp_peers_prepare(unsigned int n, struct thp_why *why);

/* Forks; the child is ready for orders and allocates no table of its own. */
int thp_peer_start(struct thp_peer *p, struct thp_why *why);

int thp_peer_order(struct thp_peer *p, enum thp_order order, long long a, long long b,
		   long long *result, struct thp_why *why);

/* THP_ORDER_STATE, compared. */
int thp_peer_expect(struct thp_peer *p, enum thp_state want, struct thp_why *why);

/* THP_ORDER_ZAP of the whole group, compared with @tables. */
int thp_peer_zap(struct thp_peer *p, long tables, struct thp_why *why);

/* Ends the child and checks that it exits with 0. */
int thp_peer_end(struct thp_peer *p, struct thp_why *why);

/* Kills all peers and unmaps the group. */
void thp_family_reset(void);

#endif /* THP_FAMILY_H */
