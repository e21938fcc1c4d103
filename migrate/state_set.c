// SPDX-License-Identifier: GPL-2.0
/*
 * Gives the bits of the table in state_ops.c to the pages of a THP, or takes them.
 */

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

/* The second owner of the memory: checks its view when it is told to. */
static int state_share(struct thp_chan *chan, void *arg)
{
	struct state *s = arg;

	thp_chan_post_parent(chan, STATE_SHARES);
	thp_chan_await_parent(chan, STATE_LOOK);
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
			ret = thp_child_await(&s->other, STATE_SHARES, THP_STEP_MS);
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

	s->prot = PROT_READ | PROT_WRITE;
	s->after = s->op->after;
	/* Map everything before clear_refs: a new VMA is VM_SOFTDIRTY. */
	TRY(thp_map_new(&s->m, THP_ANON, why));
	TRY(thp_map_create(&s->dst, THP_NONE, why));
	if (s->op->needs & THP_NEED_HMM_HUGE)
		TRY(thp_hmm_open(why));
	if (s->contents != PATTERN)
		state_fill(s);
	for (i = 0; i < thp_env.nr; i++)
		s->at[i] = thp_page(&s->m, i);
	TRY(s->op->flags & ST_SPLIT ? state_split(s, why) : 0);
	if (s->bit != BIT_UFFD_WP && s->bit != BIT_UFFD_RWP && s->op->flags & ST_TARGET)
		s->m.uffd = thp_uffd_open(UFFD_FEATURE_MOVE);
	TRY(state_set(s, why));
	if (s->op->flags & ST_TARGET)
		TRY(thp_uffd_register(s->m.uffd, s->dst.thp, thp_env.pmd,
				      UFFDIO_REGISTER_MODE_MISSING));
	return thp_map_expect(&s->m, state_before(s), why);
}

static void state_tear_down(struct state *s)
{
	thp_child_kill(&s->other);
	thp_map_destroy(&s->m);
	thp_map_destroy(&s->dst);
}
