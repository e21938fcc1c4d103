// SPDX-License-Identifier: GPL-2.0
/*
 * The operations of the table in state_ops.c: each is run on a THP whose pages have a
 * bit, or do not, and says where the pages are afterwards.
 */

/* ---------------------------------------------------------------- splits */

/* Splits the PMD by a VMA boundary and removes the boundary; changes no page. */
static int state_split(struct state *s, struct thp_why *why)
{
	char *page = thp_page(&s->m, state_named());
	int ret = state_advise(page, thp_env.page, MADV_DONTFORK, "MADV_DONTFORK", why);

	return ret ? ret : state_advise(page, thp_env.page, MADV_DOFORK, "MADV_DOFORK", why);
}

/* PROT_NONE and back. */
static int state_no_access(struct state *s, char *addr, size_t len, struct thp_why *why)
{
	if (mprotect(addr, len, PROT_NONE) || mprotect(addr, len, s->prot))
		return state_errno(why, -errno, "mprotect");
	return 0;
}

static int state_protect_part(struct state *s, struct thp_why *why)
{
	return state_no_access(s, thp_page(&s->m, state_named()), thp_env.page, why);
}

static int state_protect(struct state *s, struct thp_why *why)
{
	return state_no_access(s, s->m.thp, thp_env.pmd, why);
}

static int state_read_only(struct state *s, struct thp_why *why)
{
	if (mprotect(s->m.thp, thp_env.pmd, PROT_READ) || mprotect(s->m.thp, thp_env.pmd, s->prot))
		return state_errno(why, -errno, "mprotect");
	return 0;
}

static int state_munmap_part(struct state *s, struct thp_why *why)
{
	s->at[state_named()] = NULL;
	if (munmap(thp_page(&s->m, state_named()), thp_env.page))
		return state_errno(why, -errno, "munmap");
	return 0;
}

static int state_dontneed_part(struct state *s, struct thp_why *why)
{
	s->at[state_named()] = NULL;
	return state_advise(thp_page(&s->m, state_named()), thp_env.page, MADV_DONTNEED,
			    "MADV_DONTNEED", why);
}

/* MADV_COLD skips a shared folio. */
static int state_cold(struct state *s, struct thp_why *why)
{
	s->refused = state_shared(s);
	return state_advise(thp_page(&s->m, state_named()), thp_env.page, MADV_COLD, "MADV_COLD",
			    why);
}

static int state_debugfs(struct state *s, struct thp_why *why)
{
	int ret = thp_split_folios(getpid(), (unsigned long)s->m.thp, thp_env.pmd);

	return ret ? state_errno(why, ret, "split_huge_pages") : 0;
}

/* Unmaps a page; the shrinker then splits the partially mapped folio. */
static int state_deferred(struct state *s, struct thp_why *why)
{
	struct thp_events before, now;
	int ret, try;

	ret = state_dontneed_part(s, why);
	thp_obs_events(&before);
	for (try = 0; try < 10 && !ret && !state_shared(s); try++) {
		ret = thp_write_file("/proc/sys/vm/drop_caches", "2");
		thp_obs_events(&now);
		if (now.split_page > before.split_page)
			return 0;
	}
	return ret ? state_errno(why, ret, "drop_caches") : 0;
}

/* ---------------------------------------------------------------- userfaultfd */

/* Registers the range for write protection, unless its column has done so. */
static int state_watch(struct state *s, struct thp_why *why)
{
	int ret;

	if (s->watched)
		return 0;
	if (s->m.uffd < 0)
		s->m.uffd = thp_uffd_open(0);
	if (s->m.uffd < 0)
		return state_errno(why, s->m.uffd, "userfaultfd");
	ret = thp_uffd_register(s->m.uffd, s->m.thp, thp_env.pmd, UFFDIO_REGISTER_MODE_WP);
	s->watched = !ret;
	return ret ? state_errno(why, ret, "UFFDIO_REGISTER") : 0;
}

static int state_uffd_protect(struct state *s, char *addr, size_t len, int protect,
			      struct thp_why *why)
{
	int ret = s->bit == BIT_UFFD_RWP ? thp_uffd_rwp(s->m.uffd, addr, len, protect) :
					   thp_uffd_wp(s->m.uffd, addr, len, protect);

	return ret ? state_errno(why, ret, s->bit == BIT_UFFD_RWP ? "UFFDIO_RWPROTECT" :
				 "UFFDIO_WRITEPROTECT") : 0;
}

static int state_wp_and_back(struct state *s, char *addr, size_t len, struct thp_why *why)
{
	int ret = state_watch(s, why);

	if (!ret)
		ret = state_uffd_protect(s, addr, len, 1, why);
	return ret ? ret : state_uffd_protect(s, addr, len, 0, why);
}

static int state_wp_part(struct state *s, struct thp_why *why)
{
	return state_wp_and_back(s, thp_page(&s->m, state_named()), thp_env.page, why);
}

static int state_wp(struct state *s, struct thp_why *why)
{
	return state_wp_and_back(s, s->m.thp, thp_env.pmd, why);
}

static int state_unregister(struct state *s, struct thp_why *why)
{
	int ret = state_watch(s, why);

	if (!ret)
		ret = thp_uffd_unregister(s->m.uffd, s->m.thp, thp_env.pmd);
	return ret ? state_errno(why, ret, "UFFDIO_UNREGISTER") : 0;
}

/* ---------------------------------------------------------------- moves */

static int state_mremap(struct state *s, size_t first, size_t n, char *to, int flags,
			struct thp_why *why)
{
	char *from = thp_page(&s->m, first);
	size_t i, len = n * thp_env.page;

	if (mremap(from, len, len, MREMAP_MAYMOVE | MREMAP_FIXED | flags, to) != to)
		return state_errno(why, -errno, "mremap");
	for (i = 0; i < n; i++)
		s->at[first + i] = to + i * thp_env.page;
	return 0;
}

static int state_move(struct state *s, struct thp_why *why)
{
	return state_mremap(s, 0, thp_env.nr, s->dst.thp, 0, why);
}

static int state_move_dontunmap(struct state *s, struct thp_why *why)
{
	return state_mremap(s, 0, thp_env.nr, s->dst.thp, MREMAP_DONTUNMAP, why);
}

static int state_move_misaligned(struct state *s, struct thp_why *why)
{
	return state_mremap(s, 0, thp_env.nr, thp_page(&s->dst, 1), 0, why);
}

static int state_move_part(struct state *s, struct thp_why *why)
{
	return state_mremap(s, state_named(), 1, thp_page(&s->dst, state_named()), 0, why);
}

/* UFFDIO_MOVE refuses shared memory (PageAnonExclusive()). */
static int state_uffd_move_pages(struct state *s, size_t first, size_t n, struct thp_why *why)
{
	char *to = thp_page(&s->dst, first);
	int ret, try = 0;
	size_t i;

	do {
		ret = thp_uffd_move(s->m.uffd, to, thp_page(&s->m, first), n * thp_env.page, NULL);
	} while (ret == -EAGAIN && ++try < 100);
	if (ret == -EBUSY && state_shared(s)) {
		s->refused = true;
		return 0;
	}
	if (ret)
		return state_errno(why, ret, "UFFDIO_MOVE");
	for (i = 0; i < n; i++)
		s->at[first + i] = to + i * thp_env.page;
	return 0;
}

static int state_uffd_move(struct state *s, struct thp_why *why)
{
	return state_uffd_move_pages(s, 0, thp_env.nr, why);
}

static int state_uffd_move_part(struct state *s, struct thp_why *why)
{
	return state_uffd_move_pages(s, state_named(), 1, why);
}

/* ---------------------------------------------------------------- fork */

static int state_live(struct thp_chan *chan, void *arg)
{
	(void)arg;
	thp_chan_post_parent(chan, STATE_SHARES);
	thp_chan_await_parent(chan, STATE_LOOK);
	return 0;
}

/* The child lives until the test ends, but MADV_PAGEOUT (BIT_DIRTY) skips shared folios. */
static int state_fork(struct state *s, struct thp_why *why)
{
	struct thp_child child = { 0 };
	int ret = thp_child_start(&child, state_live, NULL);

	if (ret)
		return state_errno(why, ret, "fork");
	if (s->bit == BIT_DIRTY) {
		thp_chan_post_child(child.chan, STATE_LOOK);
		return thp_child_join(&child, THP_STEP_MS, why);
	}
	if (!s->other.pid)
		s->other = child;
	return thp_child_await(&child, STATE_SHARES, THP_STEP_MS);
}

/* ST_CHILD: state_run() forks. */
static int state_nothing(struct state *s, struct thp_why *why)
{
	(void)s;
	(void)why;
	return 0;
}

/* ---------------------------------------------------------------- migration */

static int state_migrate_to(struct state *s, long node, struct thp_why *why)
{
	void *page = thp_page(&s->m, state_named());
	int to = node, status = -EIO, ret;

	/* Migration takes the whole folio of a page. */
	ret = sys_move_pages(0, 1, &page, &to, &status, MPOL_MF_MOVE);
	if (ret)
		return state_errno(why, ret, "move_pages");
	s->refused = state_shared(s) && status < 0;
	if (status != node && !s->refused)
		return thp_why(why, -EAGAIN, "move_pages to node %ld: status %d", node, status);
	return 0;
}

static int state_migrate(struct state *s, struct thp_why *why)
{
	return state_migrate_to(s, other_node(node_of(s->m.thp)), why);
}

static int state_migrate_back(struct state *s, struct thp_why *why)
{
	int ret = state_migrate(s, why);

	return ret ? ret : state_migrate(s, why);
}

static int state_to_device(struct state *s, struct thp_why *why)
{
	int ret = thp_hmm_to_device(s->m.thp, thp_env.pmd);

	if (!ret && !thp_hmm_holds(s->m.thp))
		ret = -EIO;
	return ret ? state_errno(why, ret, "migration to the device") : 0;
}

static int state_from_device(struct state *s, struct thp_why *why)
{
	int ret = thp_hmm_to_system(s->m.thp, thp_env.pmd);

	if (!ret && thp_hmm_holds(s->m.thp))
		ret = -EIO;
	return ret ? state_errno(why, ret, "migration from the device") : 0;
}

static int state_device(struct state *s, struct thp_why *why)
{
	int ret = state_to_device(s, why);

	return ret ? ret : state_from_device(s, why);
}

static int state_device_protect(struct state *s, struct thp_why *why)
{
	int ret = state_to_device(s, why);

	if (!ret)
		ret = state_read_only(s, why);
	return ret ? ret : state_from_device(s, why);
}

static int state_device_split(struct state *s, struct thp_why *why)
{
	int ret = state_to_device(s, why);

	if (!ret)
		ret = state_split(s, why);
	return ret ? ret : state_from_device(s, why);
}

/* ---------------------------------------------------------------- swap, collapse */

/*
 * MADV_PAGEOUT, until no page is present. BIT_DIRTY off: reclaim discards the pages. If
 * reclaim splits the folio, pages of zeroes become the zero page, which stays.
 */
static int state_swap_out(struct state *s, size_t first, size_t n, struct thp_why *why)
{
	size_t i, left = 0;
	uint64_t entry;
	int ret, try;

	s->refused = state_shared(s);
	if (s->bit == BIT_DIRTY && !s->on)
		s->after = n == 1 ? s->after : THP_STATE_NONE;
	for (try = 0; try < 5; try++) {
		ret = state_advise(thp_page(&s->m, first), n * thp_env.page, MADV_PAGEOUT,
				   "MADV_PAGEOUT", why);
		for (left = 0, i = first; i < first + n && !ret; i++)
			left += !state_page_zero(s, i) &&
				!thp_obs_pagemap(thp_page(&s->m, i), &entry, 1) &&
				(entry & THP_PM_PRESENT);
		if (ret || s->refused || !left)
			return ret;
	}
	return thp_why(why, -EAGAIN, "MADV_PAGEOUT left %zu of %zu pages", left, n);
}

/* A THP may be in swap as one PMD swap entry, thp_swap.h: then that is what is left. */
static int state_swap(struct state *s, struct thp_why *why)
{
	enum thp_state state;

	TRY(state_swap_out(s, 0, thp_env.nr, why));
	TRY(thp_obs_state(s->m.thp, thp_env.pmd, &state));
	if (s->after == THP_STATE_PTE && state == THP_STATE_PMD_SWAP)
		s->after = state;
	return 0;
}

/* Swapped in, an entry is a PMD again, unless zswap has its pages. */
static int state_swap_in(struct state *s, struct thp_why *why)
{
	int ret = state_swap(s, why);
	size_t i;

	for (i = 0; i < thp_env.nr && !ret && s->bit != BIT_DIRTY; i++)
		(void)thp_peek(thp_page(&s->m, i));
	if (s->after == THP_STATE_PMD_SWAP && s->bit != BIT_DIRTY)
		s->after = thp_swap_state_in();
	return ret;
}

static int state_swap_part(struct state *s, struct thp_why *why)
{
	int ret = state_swap_out(s, state_named(), 1, why);

	if (!ret && s->bit != BIT_DIRTY)
		(void)thp_peek(thp_page(&s->m, state_named()));
	return ret;
}

/* On a kernel with PMD swap entries these split, change and move an entry. */
static int state_split_swapped(struct state *s, struct thp_why *why)
{
	TRY(state_swap(s, why));
	if (s->after == THP_STATE_PMD_SWAP)
		s->after = THP_STATE_PTE;
	return state_split(s, why);
}

static int state_protect_swapped(struct state *s, struct thp_why *why)
{
	TRY(state_swap(s, why));
	return state_read_only(s, why);
}

/*
 * A PMD swap entry moves as one. So may a table of swap entries, by move_normal_pmd(), which
 * leaves their bits alone: its entries are moved one by one, to where that is not possible.
 */
static int state_move_swapped(struct state *s, struct thp_why *why)
{
	TRY(state_swap(s, why));
	if (s->after == THP_STATE_PMD_SWAP)
		return state_move(s, why);
	return state_move_misaligned(s, why);
}

static int state_uffd_move_swapped(struct state *s, struct thp_why *why)
{
	int ret = state_swap(s, why);

	/* Discarded pages cannot be moved. */
	return ret || s->after == THP_STATE_NONE ? ret : state_uffd_move(s, why);
}

/* swapoff reads all of it back, and maps what was one entry by a PMD. */
static int state_off_swapped(struct state *s, struct thp_why *why)
{
	static struct thp_swapdev dev;
	int ret;

	if (!dev.path[0])
		TRY(thp_swapdev_on(&dev, why));
	else
		(void)thp_swapdev_again(&dev);
	TRY(state_swap(s, why));
	ret = thp_swapdev_off(&dev);
	if (ret)
		return state_errno(why, ret, "swapoff");
	if (s->after == THP_STATE_PMD_SWAP)
		s->after = thp_swap_state_in();
	return 0;
}

/* Collapse refuses protected pages (SCAN_PTE_UFFD). */
static int state_collapse(struct state *s, struct thp_why *why)
{
	bool uffd = s->on && (s->bit == BIT_UFFD_WP || s->bit == BIT_UFFD_RWP);
	int ret = state_split(s, why);

	if (ret)
		return ret;
	ret = thp_map_collapse(&s->m);
	if (uffd && ret == -EINVAL) {
		s->after = THP_STATE_PTE;
		return 0;
	}
	return ret ? state_errno(why, ret, "MADV_COLLAPSE") : 0;
}

/* ---------------------------------------------------------------- without page tables */

/* Runs an operation that needs a page table while none can be allocated. */
static int state_starve(struct state *s, int (*run)(struct state *s, struct thp_why *why),
			struct thp_why *why)
{
	enum thp_state state;
	int ret;

	TRY(thp_inject_tables(why));
	TRY(thp_inject_own(true));
	ret = run(s, why);
	(void)thp_inject_own(false);
	if (thp_obs_state(s->m.thp, thp_env.pmd, &state) || state != THP_STATE_PMD)
		return ret;
	/* The PMD is whole: refused, if it was for want of a table, with an error or without. */
	if (thp_env.contract == THP_LAZY && thp_inject_fired() > 0) {
		size_t i;

		for (i = 0; i < thp_env.nr; i++)
			s->at[i] = thp_page(&s->m, i);
		s->refused = true;
		/* Not the cause of what is found later. */
		thp_why_clear(why);
		ret = 0;
	}
	return ret;
}

static int state_starved_protect(struct state *s, struct thp_why *why)
{
	return state_starve(s, state_protect_part, why);
}

static int state_starved_munmap(struct state *s, struct thp_why *why)
{
	return state_starve(s, state_munmap_part, why);
}

/* The target has a table beforehand, as an eager kernel has to ask for that one, too. */
static int state_starved_move(struct state *s, struct thp_why *why)
{
	int ret = state_advise(s->dst.thp, thp_env.pmd, MADV_NOHUGEPAGE, "MADV_NOHUGEPAGE", why);

	if (ret)
		return ret;
	thp_touch(s->dst.thp);
	return state_starve(s, state_move_part, why);
}

static int state_starved_cold(struct state *s, struct thp_why *why)
{
	return state_starve(s, state_cold, why);
}
