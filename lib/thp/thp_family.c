// SPDX-License-Identifier: GPL-2.0
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "thp_contract.h"
#include "thp_family.h"

struct thp_group thp_group;
struct thp_peer thp_peers[THP_PEERS_MAX];

/* Pages whose contents differ from what thp_map_fault() left, newest last. */
static struct {
	unsigned int n;
	struct {
		size_t page;
		uint64_t seed;
	} w[THP_VIEW_MAX];
	uint64_t all;		/* seed of every other page, 0: as faulted */
} view;

/* In the channel: order and arguments down, return value and result up. */
enum { VAL_ORDER, VAL_A, VAL_B, VAL_RET, VAL_RESULT };

/* Faults the THPs in, each with different contents. */
static int adopt(struct thp_group *g, enum thp_kind kind, unsigned int n, struct thp_why *why)
{
	static uint64_t seeds;
	unsigned int i;
	int ret;

	memset(&view, 0, sizeof(view));
	g->kind = kind;
	g->n = n;
	for (i = 0; i < n; i++) {
		memset(&g->map[i], 0, sizeof(g->map[i]));
		g->map[i].kind = kind;
		g->map[i].thp = g->base + i * thp_env.pmd;
		g->map[i].seed = getpid() * 1000ULL + ++seeds;
		ret = thp_map_fault(&g->map[i], why);
		if (ret)
			return ret;
	}
	return 0;
}

int thp_group_new(enum thp_kind kind, unsigned int n, struct thp_why *why)
{
	size_t pmd = thp_env.pmd;
	struct thp_group *g = &thp_group;

	if (!n)
		n = thp_env.unit;
	if (n > THP_GROUP_MAX)
		return thp_why(why, -EINVAL, "group of %u THPs, at most %d", n, THP_GROUP_MAX);
	/* Children may end up with a copy of everything. */
	if (!thp_env_room(3 * n * pmd))
		return thp_skip(why, "needs free memory for the THPs of the test", "%u", 3 * n);
	TRY(thp_map_area(n, &g->area, &g->area_len, &g->base, why));
	if (madvise(g->base, n * pmd, MADV_HUGEPAGE))
		return thp_why(why, -errno, "MADV_HUGEPAGE: %s", strerror(errno));
	return adopt(g, kind, n, why);
}

int thp_group_adopt(enum thp_kind kind, char *at, size_t len, struct thp_why *why)
{
	struct thp_group *g = &thp_group;

	g->area = at;
	g->area_len = len;
	g->base = at;
	if (madvise(at, len, MADV_HUGEPAGE))
		return thp_why(why, -errno, "MADV_HUGEPAGE: %s", strerror(errno));
	return adopt(g, kind, len / thp_env.pmd, why);
}

void thp_group_free(void)
{
	if (thp_group.area)
		munmap(thp_group.area, thp_group.area_len);
	thp_group.area = NULL;
}

long thp_group_mapped(void)
{
	return thp_tables_mapped(THP_ANON) * thp_group.n;
}

long thp_group_split(void)
{
	return thp_tables_split(THP_ANON) * thp_group.n;
}

void thp_group_note(size_t page, uint64_t seed)
{
	unsigned int i;

	for (i = 0; i < view.n; i++)
		if (view.w[i].page == page)
			break;
	/* Tests write a few pages; more would be a mistake in a test. */
	if (i == THP_VIEW_MAX)
		return;
	if (i == view.n)
		view.n++;
	view.w[i].page = page;
	view.w[i].seed = seed;
}

void thp_group_fill(void *page, unsigned int i, size_t index, uint64_t seed)
{
	thp_fill(page, seed + i, index);
}

void thp_group_write(size_t page, uint64_t seed)
{
	unsigned int i;

	for (i = 0; i < thp_group.n; i++)
		thp_group_fill(thp_page(&thp_group.map[i], page), i, page, seed);
	thp_group_note(page, seed);
}

static void fill_all(uint64_t seed)
{
	unsigned int i;
	size_t p;

	for (i = 0; i < thp_group.n; i++)
		for (p = 0; p < thp_env.nr; p++)
			thp_group_fill(thp_page(&thp_group.map[i], p), i, p, seed);
	view.n = 0;
	view.all = seed;
}

int thp_group_check(struct thp_why *why)
{
	const struct thp_map *m;
	unsigned int i, k;
	uint64_t seed;
	int ret;
	size_t p;

	for (i = 0; i < thp_group.n; i++) {
		m = &thp_group.map[i];
		for (p = 0; p < thp_env.nr; p++) {
			seed = view.all;
			for (k = 0; k < view.n; k++)
				if (view.w[k].page == p)
					seed = view.w[k].seed;
			if (seed)
				ret = thp_check(thp_page(m, p), seed + i, p, 1, why);
			else
				ret = thp_map_check(m, p, 1, why);
			if (ret)
				return ret;
		}
	}
	return 0;
}

int thp_group_state(enum thp_state *state, struct thp_why *why)
{
	enum thp_state s;
	unsigned int i;
	int ret;

	for (i = 0; i < thp_group.n; i++) {
		ret = thp_obs_state(thp_group.map[i].thp, thp_env.pmd, &s);
		if (ret)
			return thp_why(why, ret, "page map: %s", thp_errno_name(ret));
		if (!i)
			*state = s;
		else if (s != *state)
			*state = THP_STATE_MIXED;
	}
	return 0;
}

int thp_group_swapped(struct thp_swapped *s, struct thp_why *why)
{
	unsigned int i;

	*s = (struct thp_swapped){ 0 };
	for (i = 0; i < thp_group.n; i++)
		TRY(thp_swapped_look(s, thp_group.map[i].thp, why));
	return 0;
}

int thp_group_expect(enum thp_state want, struct thp_why *why)
{
	unsigned int i;
	int ret;

	for (i = 0; i < thp_group.n; i++) {
		ret = thp_map_expect(&thp_group.map[i], want, why);
		if (ret)
			return ret;
	}
	return 0;
}

int thp_group_finish(struct thp_why *why)
{
	size_t len = thp_group.n * thp_env.pmd;
	long long before, freed, want = 0;
	enum thp_state s;
	unsigned int i;
	int ret;

	ret = thp_group_check(why);
	if (ret)
		return ret;
	for (i = 0; i < thp_group.n; i++) {
		ret = thp_obs_state(thp_group.map[i].thp, thp_env.pmd, &s);
		if (ret)
			return thp_why(why, ret, "page map: %s", thp_errno_name(ret));
		if (s == THP_STATE_PTE)
			want += thp_env.table;
		if (s == THP_STATE_PMD || s == THP_STATE_PMD_ZERO || s == THP_STATE_PMD_SWAP)
			want += thp_tables_mapped(thp_group.kind) * (long long)thp_env.table;
		if (s == THP_STATE_UNKNOWN || s == THP_STATE_NONE)
			want = -1;
		if (want < 0)
			break;
	}
	before = thp_obs_vmpte(0);
	if (munmap(thp_group.base, len))
		return thp_why(why, -errno, "munmap: %s", strerror(errno));
	freed = before - thp_obs_vmpte(0);
	/* VmPTE is rounded down to kB; the tables of a mixed group need not make whole kB. */
	if (want >= 0 && (freed <= want - 1024 || freed >= want + 1024))
		return thp_why(why, -EPROTO,
			       "munmap of %u THPs frees %lld B of tables, expected %lld",
			       thp_group.n, freed, want);
	return 0;
}

static int obey(struct thp_chan *chan, enum thp_order order, long long a, long long b)
{
	enum thp_state state = THP_STATE_UNKNOWN;
	struct thp_swapped swapped;
	long long before;
	unsigned int i;
	int ret = 0;

	switch (order) {
	case THP_ORDER_CHECK:
		return thp_group_check(&chan->why);
	case THP_ORDER_STATE:
		ret = thp_group_state(&state, &chan->why);
		chan->val[VAL_RESULT] = state;
		return ret;
	case THP_ORDER_SWAPPED:
		ret = thp_group_swapped(&swapped, &chan->why);
		chan->val[VAL_RESULT] = swapped.entries;
		return ret;
	case THP_ORDER_WRITE:
		thp_group_write(a, b);
		return 0;
	case THP_ORDER_NOTE:
		thp_group_note(a, b);
		return 0;
	case THP_ORDER_FILL:
		fill_all(a);
		return 0;
	case THP_ORDER_ZERO:
		for (i = 0; i < thp_group.n && !ret; i++)
			ret = thp_check_zero(thp_group.map[i].thp, thp_env.nr, &chan->why);
		return ret;
	case THP_ORDER_ZAP:
		before = thp_obs_vmpte(0);
		if (munmap(thp_group.base + a, b))
			return thp_why(&chan->why, -errno, "munmap: %s", strerror(errno));
		chan->val[VAL_RESULT] = before - thp_obs_vmpte(0);
		return 0;
	case THP_ORDER_END:
		return 0;
	}
	return thp_why(&chan->why, -EINVAL, "order %d", order);
}

static int serve(struct thp_chan *chan, void *arg)
{
	struct thp_events ev;
	int step;

	(void)arg;
	thp_warm_up();
	/*
	 * Makes all observations once before the first count, because they may map memory for
	 * good.
	 */
	thp_obs_events(&ev);
	thp_obs_vmpte(0);
	thp_chan_post_parent(chan, 1);
	for (step = 2;; step++) {
		thp_chan_await_parent(chan, step);
		chan->val[VAL_RET] = obey(chan, chan->val[VAL_ORDER], chan->val[VAL_A],
					  chan->val[VAL_B]);
		if (chan->val[VAL_ORDER] == THP_ORDER_END)
			return 0;
		thp_chan_post_parent(chan, step);
	}
}

int thp_peers_prepare(unsigned int n, struct thp_why *why)
{
	unsigned int i;
	int ret;

	for (i = 0; i < n; i++) {
		ret = thp_child_prepare(&thp_peers[i].child);
		if (ret)
			return thp_why(why, ret, "channel: %s", thp_errno_name(ret));
	}
	return 0;
}

/* Makes the cause that an ended child left the cause of this failure, if there is one. */
static int lost(struct thp_peer *p, int ret, struct thp_why *why)
{
	if (ret == -ETIMEDOUT) {
		thp_child_kill(&p->child);
		return thp_why(why, -EPROTO, "child %d did not answer within %d ms of CPU time",
			       (int)(p - thp_peers), thp_limit(THP_STEP_MS));
	}
	ret = thp_child_join(&p->child, THP_STEP_MS, why);
	return ret ? ret : thp_why(why, -EPROTO, "child %d ended early", (int)(p - thp_peers));
}

int thp_peer_start(struct thp_peer *p, struct thp_why *why)
{
	int ret;

	ret = thp_child_start(&p->child, serve, NULL);
	if (ret)
		return thp_why(why, ret, "fork: %s", thp_errno_name(ret));
	p->step = 1;
	ret = thp_child_await(&p->child, 1, THP_STEP_MS);
	return ret ? lost(p, ret, why) : 0;
}

int thp_peer_order(struct thp_peer *p, enum thp_order order, long long a, long long b,
		   long long *result, struct thp_why *why)
{
	struct thp_chan *chan = p->child.chan;
	int ret;

	chan->val[VAL_ORDER] = order;
	chan->val[VAL_A] = a;
	chan->val[VAL_B] = b;
	thp_chan_post_child(chan, ++p->step);
	ret = thp_child_await(&p->child, p->step, THP_STEP_MS);
	if (ret)
		return lost(p, ret, why);
	if (result)
		*result = chan->val[VAL_RESULT];
	ret = chan->val[VAL_RET];
	if (!ret)
		return 0;
	ret = thp_why_from(why, ret, &chan->why, "child %d", (int)(p - thp_peers));
	thp_why_clear(&chan->why);
	return ret;
}

int thp_peer_expect(struct thp_peer *p, enum thp_state want, struct thp_why *why)
{
	long long got;
	int ret;

	ret = thp_peer_order(p, THP_ORDER_STATE, 0, 0, &got, why);
	if (ret || got == want)
		return ret;
	/* thp_obs_state() returns UNKNOWN for the huge zero folio only, to unprivileged users. */
	if (got == THP_STATE_UNKNOWN && want == THP_STATE_PMD_ZERO && !thp_env.root)
		return 0;
	return thp_why(why, -EPROTO, "child %d: range is %s, expected %s", (int)(p - thp_peers),
		       thp_state_name(got), thp_state_name(want));
}

int thp_peer_zap(struct thp_peer *p, long tables, struct thp_why *why)
{
	long long freed;
	long got;
	int ret;

	ret = thp_peer_order(p, THP_ORDER_ZAP, 0, thp_group.n * thp_env.pmd, &freed, why);
	if (ret)
		return ret;
	if (!thp_env_tables(freed, &got) || got != tables)
		return thp_why(why, -EPROTO,
			       "child %d frees %lld B of tables with %u THPs, expected %ld tables",
			       (int)(p - thp_peers), freed, thp_group.n, tables);
	return 0;
}

int thp_peer_end(struct thp_peer *p, struct thp_why *why)
{
	p->child.chan->val[VAL_ORDER] = THP_ORDER_END;
	thp_chan_post_child(p->child.chan, ++p->step);
	return thp_child_join(&p->child, THP_STEP_MS, why);
}

void thp_family_reset(void)
{
	unsigned int i;

	for (i = 0; i < THP_PEERS_MAX; i++)
		thp_child_kill(&thp_peers[i].child);
	thp_group_free();
}
