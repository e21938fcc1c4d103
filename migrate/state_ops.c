// SPDX-License-Identifier: GPL-2.0
/*
 * The bits of a page table entry and the operations that pass them on: one row for each
 * operation that splits, changes, moves, copies, migrates, swaps or collapses a PMD or
 * its PTEs, one column for each bit. A cell that a row does not mention is KEPT: no page
 * loses the bit, no page gains it. Any other cell names the kernel function that is the
 * reason.
 *
 * To add an operation: its run function, and its row. Part of thp_migrate.c.
 */

enum state_bit {
	BIT_YOUNG,	/* used since clear_refs: Referenced of smaps */
	BIT_DIRTY,	/* written to since MADV_FREE: reclaim keeps the page */
	BIT_WRITE,	/* a write takes no fault; off: the VMA is read-only */
	BIT_EXCLUSIVE,	/* bit 56 of pagemap; off: a child shares the memory */
	BIT_SOFT_DIRTY,	/* bit 55 of pagemap */
	BIT_UFFD_WP,	/* bit 57 of pagemap, and a write is noticed */
	BIT_UFFD_RWP,	/* bit 57 of pagemap, and a read is noticed */
	BITS,
};

static const char * const state_bit_names[BITS] = {
	"young", "dirty", "writable", "exclusive", "soft-dirty", "uffd-wp", "uffd-rwp",
};

/* What an operation does to the bit of a page. */
enum state_value {
	KEPT,		/* neither lost nor gained */
	SET,		/* on afterwards */
	CLEARED,	/* off afterwards */
	MAY_SET,	/* never lost */
	MAY_CLEAR,	/* never gained */
	EITHER,
};

static const char * const state_value_names[] = {
	"kept", "set", "cleared", "kept or set", "kept or cleared", "either",
};

struct state_cell {
	enum state_value value;
	const char *by;		/* the kernel function that makes it so */
	unsigned int since;	/* THP_RELEASE() from which it does; not tried before that */
};

/* What the base pages of the THP hold. */
enum state_contents {
	PATTERN,
	HOLES,		/* every fourth page is zero: a folio split maps the zero page there */
	ZEROES,
};

/* .flags */
#define ST_PART		(1 << 0)	/* names one page, state_named(), not all of them */
#define ST_FOLIO	(1 << 1)	/* splits the folio, too, unless it is shared */
#define ST_CHILD	(1 << 2)	/* the bits that count are those of a forked child */
#define ST_RW		(1 << 3)	/* is legal on writable memory only */
#define ST_TARGET	(1 << 4)	/* wants the target watched by the userfaultfd */
#define ST_EVENTS	(1 << 5)	/* a userfaultfd is told of remap and fork */
#define ST_NODES	(1 << 6)	/* wants two NUMA nodes */
#define ST_SPLIT	(1 << 7)	/* of a PMD that is split already */
/*
 * Not on shared memory: remove_migration_pmd() applies pmd_write() to a device entry,
 * which is not present, and warns (Linux 7.3).
 */
#define ST_ALONE	(1 << 8)

struct state_op;

struct state {
	struct thp_map m;	/* the THP */
	struct thp_map dst;	/* an untouched range, where it may go */
	struct thp_child other;	/* a process that shares the memory, or of the operation */
	const struct state_op *op;
	enum state_bit bit;
	enum state_contents contents;
	bool on;		/* all pages have the bit before the operation; or none */
	bool watched;		/* m.uffd is registered with the THP */
	bool refused;		/* the operation declined; all bits stay as they are */
	int prot;		/* of the THP's VMA */
	enum thp_state after;	/* how the THP has to be mapped, at the place of its page 0 */
	char *at[THP_MOVE_MAX_NR];	/* where each page is; NULL: given up */
};

struct state_op {
	const char *name;
	const char *covers;		/* rows of docs/call-sites.md */
	const char *what;		/* the operation, for docs/contract.md */
	const char *by;			/* the kernel function that passes the bits on */
	uint64_t needs;			/* enum thp_need */
	unsigned int flags;
	enum thp_state after;
	int (*run)(struct state *s, struct thp_why *why);
	struct state_cell cells[BITS];	/* of all pages, or of those that are not named */
	struct state_cell named[BITS];	/* ST_PART: of the page that is */
};

static bool state_page_zero(const struct state *s, size_t i)
{
	return s->contents == ZEROES || (s->contents == HOLES && i % 4 == 3);
}

static size_t state_named(void)
{
	return thp_env.nr / 2;
}

static bool state_shared(const struct state *s)
{
	return s->bit == BIT_EXCLUSIVE && !s->on;
}

static int state_errno(struct thp_why *why, int err, const char *call)
{
	return thp_why(why, err, "%s: %s", call, thp_errno_name(err));
}

static int state_advise(char *addr, size_t len, int advice, const char *name, struct thp_why *why)
{
	return madvise(addr, len, advice) ? state_errno(why, -errno, name) : 0;
}

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
	thp_chan_post_parent(chan, 1);
	thp_chan_await_parent(chan, 1);
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
		thp_chan_post_child(child.chan, 1);
		return thp_child_join(&child, THP_STEP_MS, why);
	}
	if (!s->other.pid)
		s->other = child;
	return thp_child_await(&child, 1, THP_STEP_MS);
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
				!thp_obs_pagemap(thp_page(&s->m, i), &entry) &&
				(entry & THP_PM_PRESENT);
		if (ret || s->refused || !left)
			return ret;
	}
	return thp_why(why, -EAGAIN, "MADV_PAGEOUT left %zu of %zu pages", left, n);
}

static int state_swap(struct state *s, struct thp_why *why)
{
	return state_swap_out(s, 0, thp_env.nr, why);
}

static int state_swap_in(struct state *s, struct thp_why *why)
{
	int ret = state_swap(s, why);
	size_t i;

	for (i = 0; i < thp_env.nr && !ret && s->bit != BIT_DIRTY; i++)
		(void)thp_peek(thp_page(&s->m, i));
	return ret;
}

static int state_swap_part(struct state *s, struct thp_why *why)
{
	int ret = state_swap_out(s, state_named(), 1, why);

	if (!ret && s->bit != BIT_DIRTY)
		(void)thp_peek(thp_page(&s->m, state_named()));
	return ret;
}

static int state_uffd_move_swapped(struct state *s, struct thp_why *why)
{
	int ret = state_swap(s, why);

	/* Discarded pages cannot be moved. */
	return ret || s->after == THP_STATE_NONE ? ret : state_uffd_move(s, why);
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

	ret = thp_inject_setup(true, 0, why);
	if (!ret)
		ret = thp_inject_task(getpid(), true);
	if (ret)
		return ret;
	ret = run(s, why);
	(void)thp_inject_task(getpid(), false);
	if (thp_obs_state(s->m.thp, thp_env.pmd, &state) || state != THP_STATE_PMD)
		return ret;
	/* The PMD is whole: refused, if it was for want of a table, with an error or without. */
	if (thp_env.contract == THP_LAZY && thp_inject_fired() > 0) {
		size_t i;

		for (i = 0; i < thp_env.nr; i++)
			s->at[i] = thp_page(&s->m, i);
		s->refused = true;
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

/* ---------------------------------------------------------------- the table */

#define CELL(what, function)	{ .value = what, .by = function }
#define SINCE(what, function, release)				\
	{ .value = what, .by = function, .since = release }

/*
 * On some architectures pmd_mkdirty() and pte_mkdirty() set soft-dirty as well, so an
 * entry that is built anew for a dirty page is soft-dirty.
 */
#define BY_MKDIRTY	CELL(MAY_SET, "pte_mkdirty()")

/*
 * Elsewhere than on x86-64: a migration entry may have no room for the young bit; the
 * protection bits that pmd_modify() takes over may include it (powerpc); and a THP that
 * is split to be swapped out maps the zero page, which move_zeropage_pte() moves.
 */
#ifdef __x86_64__
#define BY_ENTRY	CELL(KEPT, NULL)
#define BY_MODIFY	CELL(KEPT, NULL)
#define BY_MOVE_SWAP	CELL(SET, "move_swap_pte()")
#else
#define BY_ENTRY	CELL(MAY_CLEAR, "migration_entry_supports_ad()")
#define BY_MODIFY	CELL(MAY_SET, "pmd_modify()")
#define BY_MOVE_SWAP	CELL(EITHER, "move_zeropage_pte()")
#endif

static const struct state_op state_ops[] = {
	/* Splits of the PMD */
	{
		.name = "split", .covers = "split-madvise-flags",
		.what = "a VMA boundary comes and goes: `MADV_DONTFORK`, `MADV_DOFORK` of a page",
		.by = "__split_huge_pmd_locked()",
		.run = state_split, .flags = ST_PART, .after = THP_STATE_PTE,
		.cells = {
			[BIT_SOFT_DIRTY] = BY_MKDIRTY,
		},
		.named = {
			[BIT_SOFT_DIRTY] = BY_MKDIRTY,
		},
	}, {
		.name = "protect_part", .covers = "split-mprotect",
		.what = "`mprotect()` of a page, no access and back",
		.by = "change_pte_range()",
		.run = state_protect_part, .flags = ST_PART, .after = THP_STATE_PTE,
		.cells = {
			[BIT_SOFT_DIRTY] = BY_MKDIRTY,
		},
		.named = {
			[BIT_WRITE] = CELL(MAY_CLEAR, "can_change_pte_writable()"),
			[BIT_SOFT_DIRTY] = BY_MKDIRTY,
		},
	}, {
		.name = "munmap_part", .covers = "split-munmap",
		.what = "`munmap()` of a page",
		.by = "__split_huge_pmd_locked()",
		.run = state_munmap_part, .flags = ST_PART, .after = THP_STATE_PTE,
		.cells = {
			[BIT_SOFT_DIRTY] = BY_MKDIRTY,
		},
	}, {
		.name = "dontneed_part", .covers = "zap-dontneed",
		.what = "`MADV_DONTNEED` of a page",
		.by = "__split_huge_pmd_locked()",
		.run = state_dontneed_part, .flags = ST_PART, .after = THP_STATE_PTE,
		.cells = {
			[BIT_SOFT_DIRTY] = BY_MKDIRTY,
		},
	}, {
		.name = "wp_part", .covers = "protect-uffd-wp", .needs = THP_NEED_UFFD_WP,
		.what = "`UFFDIO_WRITEPROTECT` of a page, and back",
		.by = "change_pte_range()",
		.run = state_wp_part, .flags = ST_PART, .after = THP_STATE_PTE,
		.cells = {
			[BIT_SOFT_DIRTY] = BY_MKDIRTY,
		},
		.named = {
			[BIT_WRITE] = CELL(MAY_CLEAR, "can_change_pte_writable()"),
			[BIT_SOFT_DIRTY] = BY_MKDIRTY,
			[BIT_UFFD_WP] = CELL(CLEARED, "change_pte_range()"),
			[BIT_UFFD_RWP] = CELL(CLEARED, "change_pte_range()"),
		},
	},

	/* Splits of the folio */
	{
		.name = "cold_part", .covers = "folio-split-advice",
		.what = "`MADV_COLD` of a page",
		.by = "remove_migration_pte()",
		.run = state_cold, .flags = ST_PART | ST_FOLIO, .after = THP_STATE_PTE,
		.cells = {
			[BIT_YOUNG] = BY_ENTRY,
		},
		.named = {
			[BIT_YOUNG] = CELL(MAY_CLEAR, "madvise_cold_or_pageout_pte_range()"),
		},
	}, {
		.name = "debugfs", .covers = "folio-split-debugfs", .needs = THP_NEED_DEBUGFS,
		.what = "`split_huge_pages` of debugfs",
		.by = "remove_migration_pte()",
		.run = state_debugfs, .flags = ST_FOLIO, .after = THP_STATE_PTE,
		.cells = {
			[BIT_YOUNG] = BY_ENTRY,
		},
	}, {
		.name = "deferred", .covers = "folio-split-deferred zap-dontneed",
		.what = "`MADV_DONTNEED` of a page, then the shrinker",
		.needs = THP_NEED_ROOT,
		.by = "remove_migration_pte()",
		.run = state_deferred, .flags = ST_PART | ST_FOLIO, .after = THP_STATE_PTE,
		.cells = {
			[BIT_YOUNG] = BY_ENTRY,
			[BIT_SOFT_DIRTY] = BY_MKDIRTY,
		},
	},

	/* Changes of a whole PMD, and back */
	{
		.name = "protect", .covers = "protect-pmd",
		.what = "`mprotect()` of the range, no access and back",
		.by = "change_huge_pmd()",
		.run = state_protect, .after = THP_STATE_PMD,
		.cells = {
			[BIT_YOUNG] = BY_MODIFY,
			[BIT_WRITE] = CELL(MAY_CLEAR, "can_change_pmd_writable()"),
		},
	}, {
		.name = "read_only", .covers = "protect-pmd",
		.what = "`mprotect()` of the range, read-only and back",
		.by = "change_huge_pmd()",
		.run = state_read_only, .after = THP_STATE_PMD,
		.cells = {
			[BIT_YOUNG] = BY_MODIFY,
			[BIT_WRITE] = CELL(MAY_CLEAR, "can_change_pmd_writable()"),
		},
	}, {
		.name = "wp", .covers = "protect-pmd", .needs = THP_NEED_UFFD_WP,
		.what = "`UFFDIO_WRITEPROTECT` of the range, and back",
		.by = "change_huge_pmd()",
		.run = state_wp, .after = THP_STATE_PMD,
		.cells = {
			[BIT_WRITE] = CELL(MAY_CLEAR, "can_change_pmd_writable()"),
			[BIT_UFFD_WP] = CELL(CLEARED, "change_huge_pmd()"),
			[BIT_UFFD_RWP] = CELL(CLEARED, "change_huge_pmd()"),
		},
	}, {
		.name = "unregister", .covers = "protect-pmd", .needs = THP_NEED_UFFD_WP,
		.what = "`UFFDIO_UNREGISTER` of the range",
		.by = "change_huge_pmd()",
		.run = state_unregister, .after = THP_STATE_PMD,
		.cells = {
			[BIT_WRITE] = CELL(MAY_CLEAR, "can_change_pmd_writable()"),
			[BIT_UFFD_WP] = CELL(CLEARED, "userfaultfd_clear_vma()"),
			[BIT_UFFD_RWP] = CELL(CLEARED, "userfaultfd_clear_vma()"),
		},
	},

	/* Moves */
	{
		.name = "move", .covers = "move-pmd",
		.what = "`mremap()` of the range, `UFFD_FEATURE_EVENT_REMAP`",
		.by = "move_huge_pmd()",
		.run = state_move, .flags = ST_EVENTS, .after = THP_STATE_PMD,
		.cells = {
			[BIT_SOFT_DIRTY] = CELL(SET, "move_soft_dirty_pmd()"),
		},
	}, {
		.name = "move_unwatched", .covers = "move-pmd",
		.what = "the same without that feature",
		.by = "move_huge_pmd()",
		.run = state_move, .after = THP_STATE_PMD,
		.cells = {
			[BIT_SOFT_DIRTY] = CELL(SET, "move_soft_dirty_pmd()"),
			[BIT_UFFD_WP] = SINCE(CLEARED, "clear_uffd_wp_pmd()", THP_RELEASE(6, 13)),
			[BIT_UFFD_RWP] = CELL(CLEARED, "clear_uffd_wp_pmd()"),
		},
	}, {
		.name = "move_dontunmap", .covers = "mremap-dontunmap",
		.what = "the same with `MREMAP_DONTUNMAP`",
		.by = "move_huge_pmd()",
		.run = state_move_dontunmap, .flags = ST_EVENTS, .after = THP_STATE_PMD,
		.cells = {
			[BIT_SOFT_DIRTY] = CELL(SET, "move_soft_dirty_pmd()"),
		},
	}, {
		.name = "move_misaligned", .covers = "move-partial",
		.what = "`mremap()` of the range to where no PMD can map it",
		.by = "move_ptes()",
		.run = state_move_misaligned, .flags = ST_EVENTS, .after = THP_STATE_PTE,
		.cells = {
			[BIT_SOFT_DIRTY] = CELL(SET, "move_soft_dirty_pte()"),
		},
	}, {
		.name = "move_ptes", .covers = "move-partial",
		.what = "the same of a PMD that is split",
		.by = "move_ptes()",
		.run = state_move_misaligned, .flags = ST_EVENTS | ST_SPLIT,
		.after = THP_STATE_PTE,
		.cells = {
			[BIT_SOFT_DIRTY] = CELL(SET, "move_soft_dirty_pte()"),
		},
	}, {
		.name = "move_part", .covers = "move-partial",
		.what = "`mremap()` of a page",
		.by = "move_ptes()",
		.run = state_move_part, .flags = ST_PART | ST_EVENTS, .after = THP_STATE_PTE,
		.cells = {
			[BIT_SOFT_DIRTY] = BY_MKDIRTY,
		},
		.named = {
			[BIT_SOFT_DIRTY] = CELL(SET, "move_soft_dirty_pte()"),
		},
	}, {
		.name = "uffd_move", .covers = "uffd-move-pmd", .needs = THP_NEED_UFFD_MOVE,
		.what = "`UFFDIO_MOVE` of the range",
		.by = "move_pages_huge_pmd()",
		.run = state_uffd_move, .flags = ST_RW | ST_TARGET, .after = THP_STATE_PMD,
		.cells = {
			[BIT_YOUNG] = CELL(MAY_SET, "folio_mk_pmd()"),
			[BIT_DIRTY] = CELL(SET, "move_pages_huge_pmd()"),
			[BIT_SOFT_DIRTY] = CELL(SET, "move_pages_huge_pmd()"),
			[BIT_UFFD_WP] = CELL(CLEARED, "move_pages_huge_pmd()"),
			[BIT_UFFD_RWP] = CELL(CLEARED, "move_pages_huge_pmd()"),
		},
	}, {
		.name = "uffd_move_part", .covers = "uffd-move-split",
		.what = "`UFFDIO_MOVE` of a page",
		.needs = THP_NEED_UFFD_MOVE,
		.by = "remove_migration_pte()",
		.run = state_uffd_move_part, .flags = ST_PART | ST_FOLIO | ST_RW | ST_TARGET,
		.after = THP_STATE_PTE,
		.cells = {
			[BIT_YOUNG] = BY_ENTRY,
			[BIT_SOFT_DIRTY] = BY_MKDIRTY,
		},
		.named = {
			[BIT_YOUNG] = CELL(MAY_SET, "folio_mk_pte()"),
			[BIT_DIRTY] = CELL(MAY_SET, "move_present_ptes()"),
			/* move_zeropage_pte() does not set it. */
			[BIT_SOFT_DIRTY] = CELL(EITHER, "move_present_ptes()"),
			[BIT_UFFD_WP] = CELL(CLEARED, "move_present_ptes()"),
			[BIT_UFFD_RWP] = CELL(CLEARED, "move_present_ptes()"),
		},
	},

	/* Fork */
	{
		.name = "fork", .covers = "fork-anon",
		.what = "`fork()`, the parent",
		.by = "copy_huge_pmd()",
		.run = state_fork, .flags = ST_EVENTS, .after = THP_STATE_PMD,
		.cells = {
			[BIT_WRITE] = CELL(CLEARED, "pmdp_set_wrprotect()"),
			[BIT_EXCLUSIVE] = CELL(CLEARED, "copy_huge_pmd()"),
		},
	}, {
		.name = "fork_child", .covers = "fork-anon",
		.what = "`fork()`, the child, `UFFD_FEATURE_EVENT_FORK`",
		.by = "copy_huge_pmd()",
		.run = state_nothing, .flags = ST_CHILD | ST_EVENTS, .after = THP_STATE_PMD,
		.cells = {
			[BIT_YOUNG] = CELL(CLEARED, "pmd_mkold()"),
			[BIT_WRITE] = CELL(CLEARED, "pmd_wrprotect()"),
			[BIT_EXCLUSIVE] = CELL(CLEARED, "copy_huge_pmd()"),
		},
	}, {
		.name = "fork_child_unwatched", .covers = "fork-anon",
		.what = "the same without that feature",
		.by = "copy_huge_pmd()",
		.run = state_nothing, .flags = ST_CHILD, .after = THP_STATE_PMD,
		.cells = {
			[BIT_YOUNG] = CELL(CLEARED, "pmd_mkold()"),
			[BIT_WRITE] = CELL(CLEARED, "pmd_wrprotect()"),
			[BIT_EXCLUSIVE] = CELL(CLEARED, "copy_huge_pmd()"),
			[BIT_UFFD_WP] = CELL(CLEARED, "copy_huge_pmd()"),
			[BIT_UFFD_RWP] = CELL(CLEARED, "copy_huge_pmd()"),
		},
	},

	/* Migration between nodes, and to a device */
	{
		.name = "migrate", .covers = "migrate-pmd migrate-entry-restore",
		.what = "`move_pages()` to another node",
		.by = "remove_migration_pmd()",
		.run = state_migrate, .flags = ST_NODES, .after = THP_STATE_PMD,
		.cells = {
			[BIT_YOUNG] = BY_ENTRY,
			[BIT_SOFT_DIRTY] = BY_MKDIRTY,
		},
	}, {
		.name = "migrate_back", .covers = "migrate-pmd migrate-entry-restore",
		.what = "there and back",
		.by = "remove_migration_pmd()",
		.run = state_migrate_back, .flags = ST_NODES, .after = THP_STATE_PMD,
		.cells = {
			[BIT_YOUNG] = BY_ENTRY,
			[BIT_SOFT_DIRTY] = BY_MKDIRTY,
		},
	}, {
		.name = "migrate_ptes", .covers = "migrate-pte-mapped",
		.what = "`move_pages()` of a PMD that is split",
		.by = "remove_migration_pte()",
		.run = state_migrate, .flags = ST_NODES | ST_SPLIT, .after = THP_STATE_PTE,
		.cells = {
			[BIT_YOUNG] = BY_ENTRY,
		},
	}, {
		.name = "device", .covers = "migrate-device-pmd", .needs = THP_NEED_HMM_HUGE,
		.what = "to a device and back",
		.by = "remove_migration_pmd()",
		.run = state_device, .flags = ST_ALONE, .after = THP_STATE_PMD,
		.cells = {
			[BIT_YOUNG] = CELL(EITHER, "set_pmd_migration_entry()"),
			[BIT_DIRTY] = CELL(MAY_SET, "set_pmd_migration_entry()"),
			[BIT_SOFT_DIRTY] = BY_MKDIRTY,
		},
	}, {
		.name = "device_protect", .covers = "migrate-device-pmd protect-pmd",
		.what = "`mprotect()` on the device, read-only and back",
		.needs = THP_NEED_HMM_HUGE,
		.by = "change_non_present_huge_pmd()",
		.run = state_device_protect, .flags = ST_ALONE, .after = THP_STATE_PMD,
		.cells = {
			[BIT_YOUNG] = CELL(EITHER, "set_pmd_migration_entry()"),
			[BIT_DIRTY] = CELL(MAY_SET, "set_pmd_migration_entry()"),
			[BIT_WRITE] = CELL(MAY_CLEAR, "change_non_present_huge_pmd()"),
			/* Forgets it, up to 7.3 at least. */
			[BIT_SOFT_DIRTY] = CELL(EITHER, "change_non_present_huge_pmd()"),
		},
	}, {
		.name = "device_split", .covers = "migrate-device-pmd split-madvise-flags",
		.what = "a VMA boundary comes and goes on the device",
		.needs = THP_NEED_HMM_HUGE,
		.by = "__split_huge_pmd_locked()",
		.run = state_device_split, .flags = ST_PART | ST_ALONE, .after = THP_STATE_PTE,
		.cells = {
			[BIT_YOUNG] = CELL(EITHER, "__split_huge_pmd_locked()"),
			[BIT_DIRTY] = CELL(MAY_SET, "__split_huge_pmd_locked()"),
			[BIT_SOFT_DIRTY] = BY_MKDIRTY,
		},
		.named = {
			[BIT_YOUNG] = CELL(EITHER, "__split_huge_pmd_locked()"),
			[BIT_DIRTY] = CELL(MAY_SET, "__split_huge_pmd_locked()"),
			[BIT_SOFT_DIRTY] = BY_MKDIRTY,
		},
	},

	/* Swap */
	{
		.name = "swap_out", .covers = "reclaim-unmap", .needs = THP_NEED_SWAP,
		.what = "`MADV_PAGEOUT`",
		.by = "try_to_unmap_one()",
		.run = state_swap, .after = THP_STATE_PTE,
		.cells = {
			[BIT_YOUNG] = CELL(EITHER, "try_to_unmap_one()"),
			[BIT_WRITE] = CELL(MAY_CLEAR, "try_to_unmap_one()"),
			[BIT_EXCLUSIVE] = CELL(MAY_CLEAR, "try_to_unmap_one()"),
			[BIT_SOFT_DIRTY] = BY_MKDIRTY,
		},
	}, {
		.name = "swap_in", .covers = "reclaim-unmap", .needs = THP_NEED_SWAP,
		.what = "`MADV_PAGEOUT`, then a read of each page",
		.by = "do_swap_page()",
		.run = state_swap_in, .after = THP_STATE_PTE,
		.cells = {
			[BIT_YOUNG] = CELL(MAY_SET, "do_swap_page()"),
			[BIT_WRITE] = SINCE(KEPT, "do_swap_page()", THP_RELEASE(7, 0)),
			[BIT_SOFT_DIRTY] = BY_MKDIRTY,
			[BIT_UFFD_RWP] = CELL(CLEARED, "do_uffd_rwp()"),
		},
	}, {
		.name = "swap_part", .covers = "reclaim-unmap folio-split-advice",
		.what = "`MADV_PAGEOUT` of a page, then a read of it",
		.needs = THP_NEED_SWAP,
		.by = "remove_migration_pte()",
		.run = state_swap_part, .flags = ST_PART | ST_FOLIO, .after = THP_STATE_PTE,
		.cells = {
			[BIT_YOUNG] = BY_ENTRY,
		},
		.named = {
			[BIT_YOUNG] = CELL(MAY_SET, "do_swap_page()"),
			[BIT_WRITE] = SINCE(KEPT, "do_swap_page()", THP_RELEASE(7, 0)),
			[BIT_UFFD_RWP] = CELL(CLEARED, "do_uffd_rwp()"),
		},
	}, {
		.name = "uffd_move_swapped", .covers = "uffd-move-split",
		.what = "`MADV_PAGEOUT`, then `UFFDIO_MOVE`",
		.needs = THP_NEED_SWAP | THP_NEED_UFFD_MOVE,
		.by = "move_swap_pte()",
		.run = state_uffd_move_swapped, .flags = ST_RW | ST_TARGET,
		.after = THP_STATE_PTE,
		.cells = {
			[BIT_YOUNG] = CELL(EITHER, "try_to_unmap_one()"),
			[BIT_WRITE] = CELL(MAY_CLEAR, "try_to_unmap_one()"),
			[BIT_EXCLUSIVE] = CELL(MAY_CLEAR, "try_to_unmap_one()"),
			[BIT_SOFT_DIRTY] = BY_MOVE_SWAP,
			/* Inherited by the target, which no userfaultfd protects, up to 7.3 */
			[BIT_UFFD_WP] = SINCE(CLEARED, "move_swap_pte()", THP_RELEASE(7, 4)),
			[BIT_UFFD_RWP] = SINCE(CLEARED, "move_swap_pte()", THP_RELEASE(7, 4)),
		},
	},

	/* Collapse: a copy, and its PMD is a dirty one */
	{
		.name = "collapse", .covers = "collapse", .needs = THP_NEED_COLLAPSE,
		.what = "a split, then `MADV_COLLAPSE`",
		.by = "collapse_huge_page()",
		.run = state_collapse, .after = THP_STATE_PMD,
		.cells = {
			[BIT_YOUNG] = CELL(MAY_SET, "folio_mk_pmd()"),
			[BIT_DIRTY] = CELL(MAY_SET, "map_anon_folio_pmd_nopf()"),
			[BIT_SOFT_DIRTY] = CELL(SET, "map_anon_folio_pmd_nopf()"),
		},
	},

	/* Refused a page table: on a lazy kernel nothing has happened */
	{
		.name = "starved_protect", .covers = "split-mprotect",
		.what = "as `protect_part`, without a page table",
		.needs = THP_NEED_FAIL_PAGE,
		.by = "__split_vma()",
		.run = state_starved_protect, .flags = ST_PART, .after = THP_STATE_PTE,
		.cells = {
			[BIT_SOFT_DIRTY] = BY_MKDIRTY,
		},
		.named = {
			[BIT_WRITE] = CELL(MAY_CLEAR, "can_change_pte_writable()"),
			[BIT_SOFT_DIRTY] = BY_MKDIRTY,
		},
	}, {
		.name = "starved_munmap", .covers = "split-munmap", .needs = THP_NEED_FAIL_PAGE,
		.what = "as `munmap_part`, without a page table",
		.by = "__split_vma()",
		.run = state_starved_munmap, .flags = ST_PART, .after = THP_STATE_PTE,
		.cells = {
			[BIT_SOFT_DIRTY] = BY_MKDIRTY,
		},
	}, {
		.name = "starved_move_part", .covers = "move-partial",
		.what = "as `move_part`, without a page table",
		.needs = THP_NEED_FAIL_PAGE,
		.by = "__split_vma()",
		.run = state_starved_move, .flags = ST_PART | ST_EVENTS, .after = THP_STATE_PTE,
		.cells = {
			[BIT_SOFT_DIRTY] = BY_MKDIRTY,
		},
		.named = {
			[BIT_SOFT_DIRTY] = CELL(SET, "move_soft_dirty_pte()"),
		},
	}, {
		.name = "starved_cold", .covers = "folio-split-advice",
		.what = "as `cold_part`, without a page table",
		.needs = THP_NEED_FAIL_PAGE,
		.by = "remove_migration_pte()",
		.run = state_starved_cold, .flags = ST_PART | ST_FOLIO, .after = THP_STATE_PTE,
		.cells = {
			[BIT_YOUNG] = BY_ENTRY,
		},
		.named = {
			[BIT_YOUNG] = CELL(MAY_CLEAR, "madvise_cold_or_pageout_pte_range()"),
		},
	},
};
