// SPDX-License-Identifier: GPL-2.0
/*
 * Which pages have a bit after an operation: by what the kernel says, by accesses, by
 * reclaim.
 */

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
		ret = thp_obs_pagemap(s->at[i], entries, n);
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
	thp_chan_post_child(s->other.chan, STATE_LOOK);
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
