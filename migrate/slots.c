// SPDX-License-Identifier: GPL-2.0
/*
 * slots: The swap slots of a THP in swap: which page has which, and that each is given back
 * when its last user is gone.
 */
FIXTURE(slots) {
	struct thp_why why;
};

FIXTURE_SETUP(slots)
{
	thp_warm_up();
}

FIXTURE_TEARDOWN_PARENT(slots)
{
	thp_teardown(_metadata);
}

/* Type and offset of a swap entry: bits 0 to 4 and 5 to 54 of pagemap. */
#define SLOT_BITS	((1ULL << 55) - 1)
#define SLOT_OFFSET(e)	(((e) & SLOT_BITS) >> 5)

/* Page i of a THP in swap has slot first + i, and first is a multiple of their number. */
static int slots_expect(char *thp, uint64_t first, const char *when, struct thp_why *why)
{
	uint64_t entry;
	size_t i;

	for (i = 0; i < thp_env.nr; i++) {
		TRY(thp_obs_pagemap(thp + i * thp_env.page, &entry, 1));
		if (!(entry & THP_PM_SWAPPED))
			return thp_why(why, -EPROTO, "%s: page %zu is not in swap", when, i);
		if ((entry & SLOT_BITS) != first + (i << 5))
			return thp_why(why, -EPROTO,
				       "%s: page %zu has slot %llu, expected %llu", when, i,
				       (unsigned long long)SLOT_OFFSET(entry),
				       (unsigned long long)SLOT_OFFSET(first) + i);
	}
	return 0;
}

/* The entry, moved, then split: the slots stay, and so do the contents. */
static int slots_in_order(const void *arg, struct thp_why *why)
{
	size_t pmd = thp_env.pmd;
	struct thp_map m, to;
	uint64_t first;

	(void)arg;
	TRY(thp_map_new(&m, THP_SWAPPED, why));
	TRY(thp_map_create(&to, THP_NONE, why));
	TRY(thp_obs_pagemap(m.thp, &first, 1));
	first &= SLOT_BITS;
	if (SLOT_OFFSET(first) % thp_env.nr)
		return thp_why(why, -EPROTO, "page 0 has slot %llu, expected a multiple of %zu",
			       (unsigned long long)SLOT_OFFSET(first), thp_env.nr);
	TRY(slots_expect(m.thp, first, "entry", why));
	if (mremap(m.thp, pmd, pmd, MREMAP_MAYMOVE | MREMAP_FIXED, to.thp) != to.thp)
		return thp_why(why, -errno, "mremap: %s", strerror(errno));
	TRY(slots_expect(to.thp, first, "moved entry", why));
	TRY(thp_split_at(thp_page(&to, 1), why));
	TRY(thp_map_expect(&to, THP_STATE_PTE, why));
	TRY(slots_expect(to.thp, first, "split entry", why));
	TRY(thp_check(to.thp, m.seed, 0, thp_env.nr, why));
	thp_map_destroy(&m);
	thp_map_destroy(&to);
	return 0;
}

THP_COVERS(slots, order, "swap-entry-split");
TEST_F(slots, order)
{
	(void)self;
	THP_NEEDS(THP_NEED_SWAP | THP_NEED_PMD_SWAP | THP_NEED_ROOT);
	THP_SCENARIO(slots_in_order, NULL);
}

/*
 * A THP that was swapped in by a read is still in the swap cache, and clean. What is written
 * to it then has to be written out the next time.
 */
static int slots_written_again(const void *arg, struct thp_why *why)
{
	struct thp_map m;
	int round;

	(void)arg;
	TRY(thp_map_new(&m, THP_SWAPPED, why));
	for (round = 0; round < 3; round++) {
		TRY(thp_map_check(&m, 0, thp_env.nr, why));
		thp_fill(thp_page(&m, 3), m.seed + round, 3);
		thp_fill(thp_page(&m, thp_env.nr - 1), m.seed + round, thp_env.nr - 1);
		thp_map_return(&m);
		TRY(thp_check(thp_page(&m, 3), m.seed + round, 3, 1, why));
		TRY(thp_check(thp_page(&m, thp_env.nr - 1), m.seed + round, thp_env.nr - 1, 1,
			      why));
		TRY(thp_map_check(&m, 0, 3, why));
		thp_fill(thp_page(&m, 3), m.seed, 3);
		thp_fill(thp_page(&m, thp_env.nr - 1), m.seed, thp_env.nr - 1);
		thp_map_return(&m);
	}
	thp_map_destroy(&m);
	return 0;
}

THP_COVERS(slots, rewritten, "reclaim-unmap swapin-pmd");
TEST_F(slots, rewritten)
{
	(void)self;
	THP_NEEDS(THP_NEED_SWAP | THP_NEED_PMD_SWAP);
	THP_SCENARIO(slots_written_again, NULL);
}

/* clear_refs clears the bit of an entry, too, and leaves the rest of it alone. */
static int slots_cleared(const void *arg, struct thp_why *why)
{
	struct thp_map m;
	long n;

	(void)arg;
	TRY(thp_map_new(&m, THP_SWAPPED, why));
	n = thp_obs_pages(m.thp, thp_env.pmd, THP_PM_SOFT_DIRTY);
	if (n != (long)thp_env.nr)
		return thp_why(why, -EPROTO, "%ld pages of a new THP in swap are soft-dirty", n);
	TRY(thp_write_file("/proc/self/clear_refs", "4"));
	n = thp_obs_pages(m.thp, thp_env.pmd, THP_PM_SOFT_DIRTY);
	if (n)
		return thp_why(why, -EPROTO, "%ld pages are soft-dirty after clear_refs", n);
	TRY(thp_map_expect(&m, THP_STATE_PMD_SWAP, why));
	TRY(thp_map_check(&m, 0, thp_env.nr, why));
	thp_map_destroy(&m);
	return 0;
}

THP_COVERS(slots, clear_refs, "swap-entry-split");
TEST_F(slots, clear_refs)
{
	uint64_t entry;

	(void)self;
	THP_NEEDS(THP_NEED_SWAP | THP_NEED_PMD_SWAP);
	if (thp_obs_pagemap(&entry, &entry, 1) || !(entry & THP_PM_SOFT_DIRTY))
		THP_SKIP(SOFT_DIRTY_MISSING);
	THP_SCENARIO(slots_cleared, NULL);
}

/* ---------------------------------------------------------------- given back */

/* Gives up a THP in swap in one of many ways; @m is unmapped afterwards. */
typedef int (*slots_giver)(struct thp_map *m, struct thp_why *why);

static int slots_munmap(struct thp_map *m, struct thp_why *why)
{
	int ret = thp_map_zap(m);

	return ret ? thp_why(why, ret, "munmap: %s", thp_errno_name(ret)) : 0;
}

static int slots_zap(struct thp_map *m, size_t first, size_t n, int advice, struct thp_why *why)
{
	if (madvise(thp_page(m, first), n * thp_env.page, advice))
		return thp_why(why, -errno, "madvise %d: %s", advice, strerror(errno));
	return thp_check_zero(thp_page(m, first), n, why);
}

static int slots_dontneed(struct thp_map *m, struct thp_why *why)
{
	return slots_zap(m, 0, thp_env.nr, MADV_DONTNEED, why);
}

static int slots_free(struct thp_map *m, struct thp_why *why)
{
	return slots_zap(m, 0, thp_env.nr, MADV_FREE, why);
}

/* Half of it, which splits the entry; the other half keeps its contents until munmap(). */
static int slots_half(struct thp_map *m, int advice, struct thp_why *why)
{
	TRY(slots_zap(m, 0, thp_env.nr / 2, advice, why));
	return thp_map_check(m, thp_env.nr / 2, thp_env.nr / 2, why);
}

static int slots_dontneed_half(struct thp_map *m, struct thp_why *why)
{
	return slots_half(m, MADV_DONTNEED, why);
}

static int slots_free_half(struct thp_map *m, struct thp_why *why)
{
	return slots_half(m, MADV_FREE, why);
}

static int slots_split(struct thp_map *m, struct thp_why *why)
{
	return thp_split_at(thp_page(m, 1), why);
}

static int slots_write(struct thp_map *m, struct thp_why *why)
{
	size_t i;

	(void)why;
	for (i = 0; i < thp_env.nr; i++)
		thp_fill(thp_page(m, i), m->seed, i);
	return 0;
}

static int slots_child(struct thp_chan *chan, void *arg)
{
	(void)chan;
	(void)arg;
	return 0;
}

/* A child that exits with the entry, and one that is gone when the parent gives it up. */
static int slots_exit(struct thp_map *m, struct thp_why *why)
{
	TRY(thp_child_run(slots_child, NULL, THP_STEP_MS, why));
	TRY(thp_map_check(m, 0, 1, why));
	return thp_child_run(slots_child, NULL, THP_STEP_MS, why);
}

/* More processes than the count of a slot has room for without a table of large counts. */
#define SLOTS_CHILDREN	40

static int slots_pause(struct thp_chan *chan, void *arg)
{
	struct thp_map *m = arg;

	thp_chan_post_parent(chan, 1);
	thp_chan_await_parent(chan, 1);
	return thp_map_check(m, 0, 2, &chan->why);
}

static int slots_many(struct thp_map *m, struct thp_why *why)
{
	static struct thp_child child[SLOTS_CHILDREN];
	int i, ret = 0;

	for (i = 0; i < SLOTS_CHILDREN && !ret; i++) {
		ret = thp_child_start(&child[i], slots_pause, m);
		if (ret)
			ret = thp_why(why, ret, "fork %d of a THP in swap: %s", i,
				      thp_errno_name(ret));
	}
	while (i--) {
		if (!ret && child[i].pid) {
			thp_chan_post_child(child[i].chan, 1);
			ret = thp_child_join(&child[i], THP_STEP_MS, why);
		} else {
			thp_child_kill(&child[i]);
		}
	}
	return ret;
}

struct returned_how {
	slots_giver give;
	int rounds;
};

FIXTURE(returned) {
	struct thp_why why;
};

FIXTURE_VARIANT(returned) {
	struct returned_how how;
};

FIXTURE_VARIANT_ADD(returned, munmap) { .how = { slots_munmap, 8 } };
FIXTURE_VARIANT_ADD(returned, dontneed) { .how = { slots_dontneed, 8 } };
FIXTURE_VARIANT_ADD(returned, dontneed_half) { .how = { slots_dontneed_half, 8 } };
FIXTURE_VARIANT_ADD(returned, free) { .how = { slots_free, 8 } };
FIXTURE_VARIANT_ADD(returned, free_half) { .how = { slots_free_half, 8 } };
FIXTURE_VARIANT_ADD(returned, split) { .how = { slots_split, 8 } };
FIXTURE_VARIANT_ADD(returned, write) { .how = { slots_write, 8 } };
FIXTURE_VARIANT_ADD(returned, exit) { .how = { slots_exit, 8 } };
FIXTURE_VARIANT_ADD(returned, many) { .how = { slots_many, 4 } };

FIXTURE_SETUP(returned)
{
	thp_warm_up();
}

FIXTURE_TEARDOWN_PARENT(returned)
{
	thp_teardown(_metadata);
}

/*
 * THPs are swapped out and given up, one after the other: at the end swap is as free as at
 * first. A count that is not released costs a THP in each round; others may swap, too.
 */
static int slots_returned(const void *arg, struct thp_why *why)
{
	long long before = thp_read_field("/proc/meminfo", "SwapFree"), allowed, lost;
	const struct returned_how *how = arg;
	struct thp_map m;
	int i;

	for (i = 0; i < how->rounds; i++) {
		TRY(thp_map_new(&m, THP_SWAPPED, why));
		TRY(how->give(&m, why));
		thp_map_destroy(&m);
	}
	allowed = how->rounds * (long long)thp_env.pmd / 1024 / 4 - 1;
	lost = thp_swap_lost(before, allowed, 200);
	if (lost > allowed)
		return thp_why(why, -EAGAIN, "%d THPs in swap were given up, SwapFree %+lld kB",
			       how->rounds, -lost);
	return 0;
}

THP_COVERS(returned, slots, "swap-entry-zap");
TEST_F(returned, slots)
{
	(void)self;
	THP_NEEDS(THP_NEED_SWAP | THP_NEED_PMD_SWAP);
	THP_SCENARIO(slots_returned, &variant->how);
}

/* ---------------------------------------------------------------- UFFDIO_MOVE */

FIXTURE(moved) {
	struct thp_why why;
};

FIXTURE_SETUP(moved)
{
	thp_warm_up();
}

FIXTURE_TEARDOWN_PARENT(moved)
{
	thp_teardown(_metadata);
}

/* UFFDIO_MOVE of the whole THP to @to, again while it asks for that. */
static int moved_move(struct thp_map *to, const struct thp_map *from)
{
	int ret, try = 0;

	do {
		ret = thp_uffd_move(to->uffd, to->thp, from->thp, thp_env.pmd, NULL);
	} while (ret == -EAGAIN && ++try < 100);
	return ret;
}

/* A THP in swap, and an empty range that a userfaultfd watches. */
static int moved_maps(struct thp_map *from, struct thp_map *to, struct thp_why *why)
{
	TRY(thp_map_new(from, THP_SWAPPED, why));
	TRY(thp_map_create(to, THP_NONE, why));
	to->uffd = thp_uffd_watch(to->thp, thp_env.pmd, 0, UFFDIO_REGISTER_MODE_MISSING, why);
	return to->uffd < 0 ? to->uffd : 0;
}

/*
 * A folio in the swap cache moves along. One that has been mapped has to learn where it
 * belongs now; MADV_WILLNEED reads one that has not. After the move it can be swapped out
 * again.
 */
static int moved_with_folio(const void *arg, struct thp_why *why)
{
	struct thp_map m, to;
	int ret;

	(void)arg;
	TRY(moved_maps(&m, &to, why));
	TRY(thp_map_check(&m, 0, thp_env.nr, why));
	thp_map_return(&m);
	if (madvise(m.thp, thp_env.pmd, MADV_WILLNEED))
		return thp_why(why, -errno, "MADV_WILLNEED: %s", strerror(errno));
	TRY(thp_map_expect(&m, thp_swap_by_zswap() ? THP_STATE_PTE : THP_STATE_PMD_SWAP, why));
	ret = moved_move(&to, &m);
	if (ret)
		return thp_why(why, -EPROTO, "UFFDIO_MOVE of a THP in swap: %s",
			       thp_errno_name(ret));
	TRY(thp_map_expect(&m, THP_STATE_NONE, why));
	TRY(thp_check(to.thp, m.seed, 0, thp_env.nr, why));
	if (thp_map_expect(&to, thp_swap_state_in(), why))
		return -EAGAIN;
	to.kind = THP_SWAPPED;
	thp_map_return(&to);
	if (!thp_swap_by_zswap() && thp_map_expect(&to, THP_STATE_PMD_SWAP, why))
		return -EAGAIN;
	TRY(thp_check(to.thp, m.seed, 0, thp_env.nr, why));
	thp_map_destroy(&m);
	thp_map_destroy(&to);
	return 0;
}

THP_COVERS(moved, cached, "swap-entry-move");
TEST_F(moved, cached)
{
	(void)self;
	THP_NEEDS(THP_NEED_SWAP | THP_NEED_PMD_SWAP | THP_NEED_UFFD_MOVE);
	THP_SCENARIO(moved_with_folio, NULL);
}

/* What a child has as well is not moved (-EBUSY), neither all of it nor a page. */
static int moved_of_two(const void *arg, struct thp_why *why)
{
	struct thp_child child = { 0 };
	struct thp_map m, to;
	size_t page = thp_env.page;
	int ret;

	(void)arg;
	TRY(moved_maps(&m, &to, why));
	TRY(thp_child_start(&child, slots_pause, &m));
	TRY(thp_child_await(&child, 1, THP_STEP_MS));
	ret = moved_move(&to, &m);
	if (ret != -EBUSY)
		return thp_why(why, -EPROTO, "UFFDIO_MOVE of a shared THP: %s, expected EBUSY",
			       thp_errno_name(ret));
	TRY(thp_map_expect(&m, THP_STATE_PMD_SWAP, why));
	ret = thp_uffd_move(to.uffd, to.thp + page, m.thp + page, page, NULL);
	if (ret != -EBUSY)
		return thp_why(why, -EPROTO, "UFFDIO_MOVE of a page of it: %s, expected EBUSY",
			       thp_errno_name(ret));
	TRY(thp_map_check(&m, 0, thp_env.nr, why));
	thp_chan_post_child(child.chan, 1);
	TRY(thp_child_join(&child, THP_STEP_MS, why));
	thp_map_destroy(&m);
	thp_map_destroy(&to);
	return 0;
}

THP_COVERS(moved, shared, "swap-entry-move");
TEST_F(moved, shared)
{
	(void)self;
	THP_NEEDS(THP_NEED_SWAP | THP_NEED_PMD_SWAP | THP_NEED_UFFD_MOVE);
	THP_SCENARIO(moved_of_two, NULL);
}
