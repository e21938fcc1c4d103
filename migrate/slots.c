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

THP_COVERS(slots, clear_refs, "swap-entry-bits");
TEST_F(slots, clear_refs)
{
	uint64_t entry;

	(void)self;
	THP_NEEDS(THP_NEED_SWAP | THP_NEED_PMD_SWAP);
	if (thp_obs_pagemap(&entry, &entry, 1) || !(entry & THP_PM_SOFT_DIRTY))
		THP_SKIP(SOFT_DIRTY_MISSING);
	THP_SCENARIO(slots_cleared, NULL);
}

/*
 * PAGEMAP_SCAN protects an entry against writes, and leaves it in swap: afterwards no page
 * of it counts as written, until one is.
 */
static int slots_scanned(const void *arg, struct thp_why *why)
{
	struct page_region region[2];
	struct pm_scan_arg scan = { .vec = (uintptr_t)region, .vec_len = ARRAY_SIZE(region) };
	struct thp_map m;
	int ret, step;

	(void)arg;
	TRY(thp_map_new(&m, THP_SWAPPED, why));
	m.uffd = thp_uffd_watch(m.thp, thp_env.pmd, UFFD_FEATURE_WP_ASYNC,
				UFFDIO_REGISTER_MODE_WP, why);
	if (m.uffd < 0)
		return m.uffd;
	m.pipe[0] = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	if (m.pipe[0] < 0)
		return thp_why(why, -errno, "pagemap: %s", strerror(errno));
	for (step = 0; step < 2; step++) {
		ret = thp_uffd_scan(m.pipe[0], m.thp, thp_env.pmd, &scan);
		if (ret < 0)
			return thp_why(why, ret, "PAGEMAP_SCAN: %s", thp_errno_name(ret));
		/* What was never protected counts as written. */
		if (ret != !step)
			return thp_why(why, -EPROTO,
				       "PAGEMAP_SCAN %d of a THP in swap: %d regions were written to, expected %d",
				       step + 1, ret, !step);
	}
	TRY(thp_map_expect(&m, THP_STATE_PMD_SWAP, why));
	TRY(thp_map_check(&m, 0, thp_env.nr, why));
	thp_fill(thp_page(&m, 1), m.seed, 1);
	ret = thp_uffd_scan(m.pipe[0], m.thp, thp_env.pmd, &scan);
	if (ret != 1 || region[0].start != (uintptr_t)thp_page(&m, 1) ||
	    region[0].end - region[0].start != thp_env.page)
		return thp_why(why, -EPROTO,
			       "PAGEMAP_SCAN after a write to page 1: %d regions, expected that page",
			       ret);
	TRY(thp_map_check(&m, 0, thp_env.nr, why));
	thp_map_destroy(&m);
	return 0;
}

THP_COVERS(slots, scan_wp, "swap-entry-bits");
TEST_F(slots, scan_wp)
{
	(void)self;
	THP_NEEDS(THP_NEED_SWAP | THP_NEED_PMD_SWAP | THP_NEED_UFFD_ASYNC | THP_NEED_SCAN);
	THP_SCENARIO(slots_scanned, NULL);
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
