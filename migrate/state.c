// SPDX-License-Identifier: GPL-2.0
/*
 * State travels with the memory: one test for each cell of the table in state_ops.c.
 * A test runs the operation twice: on a THP all of whose pages have the bit, which finds
 * pages that lose it, and on one whose pages do not have it, which finds pages that gain
 * it. Part of thp_migrate.c.
 */
#include "state_ops.c"

#define SOFT_DIRTY_MISSING "needs CONFIG_MEM_SOFT_DIRTY"

/* The harness runs each test in a process of its own, so one object is enough. */
static struct state state;

/* ---------------------------------------------------------------- setting the bits */

/*
 * mremap() and fork() do not return before their event is read
 * (userfaultfd_event_wait_completion()). The descriptor that a fork event carries stays
 * open: closing it would unregister the child's memory.
 */
static void *state_read_events(void *arg)
{
	struct state *s = arg;
	struct uffd_msg msg;

	for (;;)
		if (read(s->m.uffd, &msg, sizeof(msg)) != sizeof(msg))
			thp_sleep_ms(1);
	return NULL;
}

static int state_set_uffd(struct state *s, struct thp_why *why)
{
	bool rwp = s->bit == BIT_UFFD_RWP, events = s->op->flags & ST_EVENTS;
	uint64_t features = rwp ? UFFD_FEATURE_RWP | UFFD_FEATURE_RWP_ASYNC :
				  UFFD_FEATURE_WP_ASYNC;
	pthread_t thread;
	int ret;

	if (events)
		features |= UFFD_FEATURE_EVENT_REMAP | UFFD_FEATURE_EVENT_FORK;
	if (s->op->flags & ST_TARGET)
		features |= UFFD_FEATURE_MOVE;
	s->m.uffd = thp_uffd_watch(s->m.thp, thp_env.pmd, features, rwp ?
				   UFFDIO_REGISTER_MODE_RWP : UFFDIO_REGISTER_MODE_WP, why);
	if (s->m.uffd < 0)
		return s->m.uffd;
	s->watched = true;
	ret = events ? -pthread_create(&thread, NULL, state_read_events, s) : 0;
	if (ret)
		return state_errno(why, ret, "pthread_create");
	return s->on ? state_uffd_protect(s, s->m.thp, thp_env.pmd, 1, why) : 0;
}

/* A write that leaves the contents as they are. */
static void state_rewrite(char *page)
{
	__atomic_fetch_or((unsigned long *)page, 0, __ATOMIC_RELAXED);
}

static void state_fill(struct state *s)
{
	size_t i;

	for (i = 0; i < thp_env.nr; i++) {
		if (state_page_zero(s, i))
			memset(thp_page(&s->m, i), 0, thp_env.page);
		else
			thp_fill(thp_page(&s->m, i), s->m.seed, i);
	}
}

/* The second owner of the memory: checks its view at step 1. */
static int state_share(struct thp_chan *chan, void *arg)
{
	struct state *s = arg;

	thp_chan_post_parent(chan, 1);
	thp_chan_await_parent(chan, 1);
	return thp_map_check(&s->m, 0, thp_env.nr, &chan->why);
}

static int state_clear_refs(const char *what, struct thp_why *why)
{
	int ret = thp_write_file("/proc/self/clear_refs", what);

	return ret ? state_errno(why, ret, "clear_refs") : 0;
}

/* Gives the bit to all pages, or takes it from all of them. */
static int state_set(struct state *s, struct thp_why *why)
{
	size_t i;
	int ret = 0;

	switch (s->bit) {
	case BIT_YOUNG:
		/* The fault sets it. After clear_refs a TLB entry could hide the access. */
		return s->on ? 0 : state_clear_refs("1", why);
	case BIT_DIRTY:
		ret = state_advise(s->m.thp, thp_env.pmd, MADV_FREE, "MADV_FREE", why);
		if (!ret && s->on)
			state_fill(s);
		return ret;
	case BIT_WRITE:
		s->prot = s->on ? PROT_READ | PROT_WRITE : PROT_READ;
		return mprotect(s->m.thp, thp_env.pmd, s->prot) ?
			state_errno(why, -errno, "mprotect") : 0;
	case BIT_EXCLUSIVE:
		if (s->on || s->op->flags & ST_CHILD)
			return 0;
		ret = thp_child_start(&s->other, state_share, s);
		if (!ret)
			ret = thp_child_await(&s->other, 1, THP_STEP_MS);
		return ret ? state_errno(why, ret, "a child that shares the memory") : 0;
	case BIT_SOFT_DIRTY:
		ret = state_clear_refs("4", why);
		for (i = 0; i < thp_env.nr && !ret && s->on; i++)
			state_rewrite(thp_page(&s->m, i));
		return ret;
	default:
		return state_set_uffd(s, why);
	}
}

/* How the THP is mapped before the operation, and after one that was refused. */
static enum thp_state state_before(const struct state *s)
{
	return s->op->flags & ST_SPLIT ? THP_STATE_PTE : THP_STATE_PMD;
}

static int state_set_up(struct state *s, struct thp_why *why)
{
	size_t i;
	int ret;

	s->prot = PROT_READ | PROT_WRITE;
	s->after = s->op->after;
	/* Map everything before clear_refs: a new VMA is VM_SOFTDIRTY. */
	ret = thp_map_new(&s->m, THP_ANON, why);
	if (!ret)
		ret = thp_map_create(&s->dst, THP_NONE, why);
	if (!ret && s->op->needs & THP_NEED_HMM_HUGE)
		ret = thp_hmm_open(why);
	if (ret)
		return ret;
	if (s->contents != PATTERN)
		state_fill(s);
	for (i = 0; i < thp_env.nr; i++)
		s->at[i] = thp_page(&s->m, i);
	TRY(s->op->flags & ST_SPLIT ? state_split(s, why) : 0);
	if (s->bit != BIT_UFFD_WP && s->bit != BIT_UFFD_RWP && s->op->flags & ST_TARGET)
		s->m.uffd = thp_uffd_open(UFFD_FEATURE_MOVE);
	ret = state_set(s, why);
	if (!ret && s->op->flags & ST_TARGET)
		ret = thp_uffd_register(s->m.uffd, s->dst.thp, thp_env.pmd,
					UFFDIO_REGISTER_MODE_MISSING);
	return ret ? ret : thp_map_expect(&s->m, state_before(s), why);
}

static void state_tear_down(struct state *s)
{
	thp_child_kill(&s->other);
	thp_map_destroy(&s->m);
	thp_map_destroy(&s->dst);
}

/* ---------------------------------------------------------------- looking at the bits */

/* The bit of one page; GONE: the operation has unmapped the page. */
enum { OFF, ON, GONE };

/* How many pages from page @i on are mapped side by side; at least 1. */
static size_t state_row(const struct state *s, size_t i)
{
	size_t n = 1;

	while (i + n < thp_env.nr && s->at[i] && s->at[i + n] == s->at[i] + n * thp_env.page)
		n++;
	return n;
}

static int state_look_pagemap(struct state *s, uint64_t bit, char *got, struct thp_why *why)
{
	static uint64_t entries[THP_MOVE_MAX_NR];
	size_t i, k, n;
	int ret;

	for (i = 0; i < thp_env.nr; i += n) {
		n = state_row(s, i);
		if (!s->at[i])
			continue;
		ret = thp_obs_pagemap_range(s->at[i], entries, n);
		if (ret)
			return state_errno(why, ret, "pagemap");
		for (k = 0; k < n; k++)
			got[i + k] = entries[k] & bit ? ON : OFF;
	}
	return 0;
}

/*
 * smaps has the sum for a VMA, which includes the two anchor pages of the range and may
 * include or miss the page that the operation names.
 */
#define YOUNG_SLACK 3

/*
 * smaps calls a page referenced by its folio, too (folio_test_referenced()), and with
 * the multi-generational LRU the accesses of the parent are noted there: then "on" in a
 * child says nothing of its PMD.
 */
static bool state_young_by_folio(const struct state *s)
{
	uint64_t lru_gen;

	return s->op->flags & ST_CHILD &&
	       !thp_read_u64("/sys/kernel/mm/lru_gen/enabled", &lru_gen) && lru_gen;
}

static int state_look_young(struct state *s, char *got, struct thp_why *why)
{
	struct thp_smaps sm;
	size_t i, young;
	int ret = thp_obs_smaps(0, s->at[0], thp_env.pmd, &sm);

	if (ret)
		return state_errno(why, ret, "smaps");
	young = sm.referenced_kb * 1024 / thp_env.page;
	if (young <= YOUNG_SLACK)
		young = 0;
	else if (young + YOUNG_SLACK >= thp_env.nr)
		young = thp_env.nr;
	for (i = 0; i < thp_env.nr; i++)
		if (s->at[i])
			got[i] = i >= young ? OFF : state_young_by_folio(s) ? GONE : ON;
	return 0;
}

/* Reclaim discards clean pages after MADV_FREE and has to keep dirty ones. */
static int state_look_dirty(struct state *s, char *got, struct thp_why *why)
{
	size_t i, n;
	int try;

	for (try = 0; try < 3; try++) {
		for (i = 0; i < thp_env.nr; i += n) {
			n = state_row(s, i);
			TRY(s->at[i] ? state_advise(s->at[i], n * thp_env.page, MADV_PAGEOUT,
						    "MADV_PAGEOUT", why) : 0);
		}
	}
	for (i = 0; i < thp_env.nr; i++) {
		if (!s->at[i])
			continue;
		got[i] = thp_check(s->at[i], s->m.seed, i, 1, NULL) ? OFF : ON;
		if (got[i] == OFF && thp_check_zero(s->at[i], 1, NULL))
			return thp_check(s->at[i], s->m.seed, i, 1, why);
	}
	return 0;
}

static sigjmp_buf state_refused;

static void state_on_fault(int sig)
{
	(void)sig;
	siglongjmp(state_refused, 1);
}

/* The bit is on if a write is possible (off side) and takes no fault (on side). */
static int state_look_write(struct state *s, char *got, struct thp_why *why)
{
	struct sigaction act = { .sa_handler = state_on_fault, .sa_flags = SA_NODEFER }, old;
	static size_t i;	/* must outlive siglongjmp() */
	long faults;

	if (sigaction(SIGSEGV, &act, &old))
		return state_errno(why, -errno, "sigaction");
	for (i = 0; i < thp_env.nr; i++) {
		if (!s->at[i])
			continue;
		if (sigsetjmp(state_refused, 0)) {
			got[i] = OFF;
			continue;
		}
		faults = thp_obs_minor_faults();
		state_rewrite(s->at[i]);
		got[i] = !s->on || thp_obs_minor_faults() == faults ? ON : OFF;
	}
	return sigaction(SIGSEGV, &old, NULL) ? state_errno(why, -errno, "sigaction") : 0;
}

/* Changes the first word of each page; the second call restores it. */
static void state_flip(struct state *s)
{
	size_t i;

	for (i = 0; i < thp_env.nr; i++)
		if (s->at[i])
			__atomic_fetch_xor((unsigned long *)s->at[i], 1, __ATOMIC_RELAXED);
}

/* On: bit 56. Off: writes of this process must not reach the other owner. */
static int state_look_exclusive(struct state *s, char *got, struct thp_why *why)
{
	int ret;
	size_t i;

	if (s->on)
		return state_look_pagemap(s, THP_PM_EXCLUSIVE, got, why);
	for (i = 0; i < thp_env.nr; i++)
		if (s->at[i])
			got[i] = OFF;
	state_flip(s);
	/* ST_CHILD: the parent is the other owner, state_run() checks its view. */
	if (s->op->flags & ST_CHILD)
		return 0;
	thp_chan_post_child(s->other.chan, 1);
	ret = thp_child_join(&s->other, THP_STEP_MS, why);
	state_flip(s);
	return ret;
}

static int state_look(struct state *s, char *got, struct thp_why *why)
{
	memset(got, GONE, thp_env.nr);
	switch (s->bit) {
	case BIT_YOUNG: return state_look_young(s, got, why);
	case BIT_DIRTY: return state_look_dirty(s, got, why);
	case BIT_WRITE: return state_look_write(s, got, why);
	case BIT_EXCLUSIVE: return state_look_exclusive(s, got, why);
	case BIT_SOFT_DIRTY: return state_look_pagemap(s, THP_PM_SOFT_DIRTY, got, why);
	default: return state_look_pagemap(s, THP_PM_UFFD_WP, got, why);
	}
}

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
		thp_chan_await_parent(chan, 1);
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
		thp_chan_post_child(child.chan, 1);
	}
	ret = thp_child_join(&child, THP_STEP_MS, why);
	if (!ret && s->bit == BIT_EXCLUSIVE)
		ret = thp_map_check(&s->m, 0, thp_env.nr, why);
	return ret;
}

/* ---------------------------------------------------------------- the tests */

static int state_try(const struct state_op *op, enum state_bit bit, enum state_contents contents,
		     bool on, struct thp_why *why)
{
	struct state *s = &state;
	int ret;

	memset(s, 0, sizeof(*s));
	s->op = op;
	s->bit = bit;
	s->contents = contents;
	s->on = on;
	ret = state_set_up(s, why);
	if (!ret)
		ret = state_run(s, why);
	state_tear_down(s);
	return ret;
}

/*
 * Reclaim skips a folio that is locked or has an extra reference, and NUMA balancing
 * causes faults: cells that depend on either (BIT_YOUNG to BIT_WRITE, and -EAGAIN) get
 * three tries.
 */
static int state_cell(const struct state_op *op, enum state_bit bit, enum state_contents contents,
		      bool on, struct thp_why *why)
{
	int ret, try = 0;

	do {
		ret = state_try(op, bit, contents, on, why);
	} while ((ret == -EAGAIN || (ret == -EPROTO && bit <= BIT_WRITE)) && ++try < 3);
	return ret;
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
	if (bit == BIT_SOFT_DIRTY && (thp_obs_pagemap(&local, &entry) ||
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
	int ret = state_known(op, bit) ? 0 : state_cell(op, bit, contents, true, why);

	if (ret || (bit == BIT_WRITE && op->flags & ST_RW) ||
	    (bit == BIT_EXCLUSIVE && op->flags & ST_ALONE))
		return ret;
	return state_cell(op, bit, contents, false, why);
}

#define STATE_TEST(column, bit, contents)					\
TEST_F(state, column)								\
{										\
	const char *missing = state_missing(variant->op, bit);			\
										\
	if (missing)								\
		THP_SKIP(missing);						\
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
