// SPDX-License-Identifier: GPL-2.0
/*
 * State travels with the memory: one test for each cell of the table in state_ops.c.
 * A test runs the operation twice: on a THP all of whose pages have the bit, which finds
 * pages that lose it, and on one whose pages do not have it, which finds pages that gain
 * it.
 */
#define SOFT_DIRTY_MISSING "needs CONFIG_MEM_SOFT_DIRTY"

/* The harness runs each test in a process of its own, so one object is enough. */
static struct state state;

/* ---------------------------------------------------------------- judging */

static const struct state_cell *state_cell_of(const struct state *s, size_t page)
{
	static const struct state_cell kept;

	if (s->refused)
		return &kept;
	return s->op->flags & ST_PART && page == state_named() ? &s->op->named[s->bit] :
								 &s->op->cells[s->bit];
}

static bool state_right(enum state_value value, bool before, bool now)
{
	switch (value) {
	case KEPT: return now == before;
	case SET: return now;
	case CLEARED: return !now;
	case MAY_SET: return now || !before;
	case MAY_CLEAR: return before || !now;
	default: return true;
	}
}

static int state_compare(const struct state *s, const char *got, struct thp_why *why)
{
	size_t i, bad = 0, first = 0;
	const struct state_cell *cell;

	for (i = thp_env.nr; i--;) {
		if (got[i] == GONE ||
		    state_right(state_cell_of(s, i)->value, s->on, got[i] == ON))
			continue;
		first = i;
		bad++;
	}
	if (!bad)
		return 0;
	cell = state_cell_of(s, first);
	return thp_why(why, -EPROTO,
		       "%s before: %s, after: %s on %zu of %zu pages from page %zu on; expected %s by %s%s",
		       state_bit_names[s->bit], s->on ? "on" : "off",
		       got[first] == ON ? "on" : "off", bad, thp_env.nr, first,
		       state_value_names[cell->value], cell->by ? cell->by : s->op->by,
		       s->refused ? ", which refused" : "");
}

static int state_check_contents(const struct state *s, struct thp_why *why)
{
	size_t i;
	int ret = 0;

	/* state_look_dirty() has compared them; state_flip() has changed them. */
	if (s->bit == BIT_DIRTY || (s->op->flags & ST_CHILD && s->bit == BIT_EXCLUSIVE && !s->on))
		return 0;
	for (i = 0; i < thp_env.nr && !ret; i++) {
		if (!s->at[i])
			continue;
		ret = state_page_zero(s, i) ? thp_check_zero(s->at[i], 1, why) :
					      thp_check(s->at[i], s->m.seed, i, 1, why);
	}
	return ret;
}

/*
 * The bit alone protects nothing: the entry has to trap as well. The descriptor is
 * asynchronous, so the kernel resolves the fault and clears the bit; a bit that is still
 * there after an access belongs to an entry that did not trap.
 */
static int state_check_noticed(struct state *s, char *got, struct thp_why *why)
{
	size_t i;
	int ret;

	for (i = 0; i < thp_env.nr; i++) {
		if (s->at[i] && s->bit == BIT_UFFD_WP)
			state_rewrite(s->at[i]);
		else if (s->at[i])
			(void)thp_peek(s->at[i]);
	}
	ret = state_look_pagemap(s, THP_PM_UFFD_WP, got, why);
	for (i = 0; i < thp_env.nr && !ret; i++)
		if (s->at[i] && got[i] == ON && state_cell_of(s, i)->value == KEPT)
			return thp_why(why, -EPROTO,
				       "page %zu: still %s after an access, expected that to be noticed",
				       i, state_bit_names[s->bit]);
	return ret;
}

static int state_judge(struct state *s, struct thp_why *why)
{
	static char got[THP_MOVE_MAX_NR];
	struct thp_map where = s->m;
	int ret;

	where.thp = s->at[0];
	/* A shared THP that is refused may have been split first. */
	ret = s->refused && state_shared(s) ? 0 :
	      thp_map_expect(&where, s->refused ? state_before(s) : s->after, why);
	if (!ret)
		ret = state_look(s, got, why);
	if (!ret)
		ret = state_compare(s, got, why);
	if (!ret)
		ret = state_check_contents(s, why);
	if (!ret && (s->bit == BIT_UFFD_WP || s->bit == BIT_UFFD_RWP))
		ret = state_check_noticed(s, got, why);
	return ret;
}

static int state_judge_child(struct thp_chan *chan, void *arg)
{
	/* MADV_PAGEOUT skips shared folios: wait until the parent has unmapped it. */
	if (state.bit == BIT_DIRTY)
		thp_chan_await_parent(chan, STATE_LOOK);
	return state_judge(arg, &chan->why);
}

/* Runs the operation and judges its result; ST_CHILD: the operation is this fork. */
static int state_run(struct state *s, struct thp_why *why)
{
	struct thp_events before, after;
	struct thp_child child = { 0 };
	int ret;

	thp_obs_events(&before);
	ret = s->op->run(s, why);
	thp_obs_events(&after);
	if (ret)
		return ret;
	if (s->op->flags & ST_FOLIO && !s->refused && !state_shared(s) &&
	    after.split_page == before.split_page)
		return thp_why(why, -EPROTO, "thp_split_page +0, expected the folio to be split");
	/* An access to a missing page of the target would wait for an answer. */
	if (s->m.uffd >= 0 && s->bit != BIT_UFFD_WP && s->bit != BIT_UFFD_RWP) {
		close(s->m.uffd);
		s->m.uffd = -1;
	}
	if (!(s->op->flags & ST_CHILD))
		return state_judge(s, why);
	ret = thp_child_start(&child, state_judge_child, s);
	if (ret)
		return state_errno(why, ret, "fork");
	if (s->bit == BIT_DIRTY) {
		(void)thp_map_zap(&s->m);
		thp_chan_post_child(child.chan, STATE_LOOK);
	}
	TRY(thp_child_join(&child, THP_STEP_MS, why));
	if (s->bit == BIT_EXCLUSIVE)
		TRY(thp_map_check(&s->m, 0, thp_env.nr, why));
	return 0;
}

/* ---------------------------------------------------------------- the tests */

/* One side of a cell. */
struct state_side {
	const struct state_op *op;
	enum state_bit bit;
	enum state_contents contents;
	bool on;
};

/*
 * Reclaim skips a folio that is locked or has an extra reference, and NUMA balancing
 * causes faults: cells that depend on either (BIT_YOUNG to BIT_WRITE) are tried again.
 */
static int state_side(const void *arg, struct thp_why *why)
{
	const struct state_side *side = arg;
	struct state *s = &state;
	int ret;

	memset(s, 0, sizeof(*s));
	s->op = side->op;
	s->bit = side->bit;
	s->contents = side->contents;
	s->on = side->on;
	ret = state_set_up(s, why);
	if (!ret)
		ret = state_run(s, why);
	state_tear_down(s);
	return ret == -EPROTO && s->bit <= BIT_WRITE ? -EAGAIN : ret;
}

/* Whether this kernel is older than the one that the cell holds for. */
static bool state_known(const struct state_op *op, enum state_bit bit)
{
	return op->cells[bit].since > thp_env.release || op->named[bit].since > thp_env.release;
}

/* The constant reason why a cell cannot be tried, or NULL. */
static const char *state_missing(const struct state_op *op, enum state_bit bit)
{
	uint64_t needs = op->needs;
	uint64_t entry;
	int local = 0;

	if (bit == BIT_UFFD_WP)
		needs |= THP_NEED_UFFD_WP | THP_NEED_UFFD_ASYNC;
	else if (bit == BIT_UFFD_RWP)
		needs |= THP_NEED_UFFD_RWP;
	if (op->flags & ST_EVENTS && (bit == BIT_UFFD_WP || bit == BIT_UFFD_RWP))
		needs |= THP_NEED_ROOT;
	/* A page that was written to is soft-dirty where the kernel tracks that. */
	thp_touch((char *)&local);
	if (bit == BIT_SOFT_DIRTY && (thp_obs_pagemap(&local, &entry, 1) ||
				      !(entry & THP_PM_SOFT_DIRTY)))
		return SOFT_DIRTY_MISSING;
	return op->flags & ST_NODES ? numa_missing(needs) : thp_env_missing(needs);
}

THP_TESTS_OF(state);

FIXTURE(state) {
	struct thp_why why;
};

FIXTURE_VARIANT(state) {
	const struct state_op *op;
};

FIXTURE_SETUP(state)
{
	(void)sys_policy_local();
	thp_warm_up();
}

FIXTURE_TEARDOWN_PARENT(state)
{
	thp_teardown(_metadata);
}

/* A cell from both sides: bit on, bit off. */
static int state_both(const struct state_op *op, enum state_bit bit, enum state_contents contents,
		      struct thp_why *why)
{
	struct state_side side = { .op = op, .bit = bit, .contents = contents, .on = true };

	if (!state_known(op, bit))
		TRY(thp_retry(state_side, &side, NULL, why));
	if ((bit == BIT_WRITE && op->flags & ST_RW) ||
	    (bit == BIT_EXCLUSIVE && op->flags & ST_ALONE))
		return 0;
	side.on = false;
	return thp_retry(state_side, &side, NULL, why);
}

#define STATE_TEST(column, bit, contents)					\
TEST_F(state, column)								\
{										\
	THP_SKIP_IF(state_missing(variant->op, bit));				\
	THP_REQUIRE_OK(state_both(variant->op, bit, contents, &self->why), &self->why); \
}

STATE_TEST(young, BIT_YOUNG, PATTERN)
STATE_TEST(dirty, BIT_DIRTY, PATTERN)
STATE_TEST(writable, BIT_WRITE, PATTERN)
STATE_TEST(exclusive, BIT_EXCLUSIVE, PATTERN)
STATE_TEST(soft_dirty, BIT_SOFT_DIRTY, HOLES)
STATE_TEST(soft_dirty_zeroes, BIT_SOFT_DIRTY, ZEROES)
STATE_TEST(uffd_wp, BIT_UFFD_WP, HOLES)
STATE_TEST(uffd_wp_zeroes, BIT_UFFD_WP, ZEROES)
STATE_TEST(uffd_rwp, BIT_UFFD_RWP, HOLES)
STATE_TEST(uffd_rwp_zeroes, BIT_UFFD_RWP, ZEROES)

/* Every row of the table is a variant, every column a test. */
static struct {
	struct __fixture_variant_metadata meta;

	FIXTURE_VARIANT(state) variant;
} state_variants[ARRAY_SIZE(state_ops)];

static const char *state_cover(const char *fixture, const char *variant, const char *test)
{
	size_t i;

	(void)test;
	for (i = 0; i < ARRAY_SIZE(state_ops) && !strcmp(fixture, "state"); i++)
		if (!strcmp(variant, state_ops[i].name))
			return state_ops[i].covers;
	return NULL;
}

static void state_register_variants(void)
{
	size_t i, k, n = ARRAY_SIZE(state_ops);

	for (i = 0; i < n; i++) {
		/* The harness appends or prepends, by the order in which constructors ran. */
		k = __constructor_order_forward ? i : n - 1 - i;
		state_variants[k].variant.op = &state_ops[k];
		state_variants[k].meta.name = state_ops[k].name;
		state_variants[k].meta.data = &state_variants[k].variant;
		__register_fixture_variant(&_state_fixture_object, &state_variants[k].meta);
	}
	thp_cover_hook = state_cover;
}
