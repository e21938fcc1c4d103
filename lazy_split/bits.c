// SPDX-License-Identifier: GPL-2.0
/*
 * bits: Bits of the PMD that its PTEs inherit at a split: that a page was written to, used,
 * may be written to. Contents do not show a lost bit, at least not at once.
 */

FIXTURE(bits) {
	int unused;	/* the harness wants data */
};

FIXTURE_SETUP(bits)
{
	(void)self;
	thp_warm_up();
}

FIXTURE_TEARDOWN_PARENT(bits)
{
	thp_teardown(_metadata);
}

/* Splits by a VMA boundary that is added and removed, or together with the folio. */
static int split_by(struct thp_map *m, bool folio, struct thp_why *why)
{
	char *page = thp_page(m, 1);
	int ret = 0;

	if (!folio)
		ret = thp_split_at(page, why);
	else if (madvise(page, thp_env.page, MADV_COLD))
		ret = thp_why(why, -errno, "MADV_COLD: %s", strerror(errno));
	return ret ? ret : thp_map_expect(m, THP_STATE_PTE, why);
}

/*
 * MADV_FREE clears the dirty bit, a write sets it again, and then reclaim must not discard
 * the page. The first range is written to, the second is the control: if reclaim does not
 * discard that one, the test proves nothing.
 */
static int keep_dirty(const void *arg, struct thp_why *why)
{
	const bool *folio = arg;
	struct thp_map m[2];
	size_t i, lost = 0;

	for (i = 0; i < 2; i++) {
		TRY(thp_map_new(&m[i], THP_ANON, why));
		TRY(mark_free(&m[i], why));
	}
	for (i = 0; i < thp_env.nr; i++)
		thp_fill(thp_page(&m[0], i), m[0].seed, i);
	TRY(thp_map_expect(&m[0], THP_STATE_PMD, why));
	for (i = 0; i < 2; i++) {
		TRY(split_by(&m[i], *folio, why));
		if (madvise(m[i].thp, thp_env.pmd, MADV_PAGEOUT))
			return thp_why(why, -errno, "MADV_PAGEOUT: %s", strerror(errno));
	}
	TRY(thp_map_check(&m[0], 0, thp_env.nr, why));
	for (i = 0; i < thp_env.nr; i++)
		lost += !!thp_map_check(&m[1], i, 1, NULL);
	printf("# dirty: reclaim took %zu of %zu pages that were not written to\n", lost,
	       thp_env.nr);
	return lost ? 0 : thp_skip(why, "needs reclaim that takes what MADV_FREE offers");
}

THP_COVERS(bits, dirty, "split-mprotect reclaim-lazyfree");
TEST_F(bits, dirty)
{
	const bool folio = false;

	(void)self;
	THP_SCENARIO(keep_dirty, &folio);
}

THP_COVERS(bits, dirty_folio, "folio-split-advice reclaim-lazyfree");
TEST_F(bits, dirty_folio)
{
	const bool folio = true;

	(void)self;
	THP_SCENARIO(keep_dirty, &folio);
}

/*
 * Reclaim and idle page tracking look at the young bits: a THP in use stays in use. Other
 * users of idle page tracking clear the bits, too: then the test is disturbed.
 */
static int keep_young(const void *arg, struct thp_why *why)
{
	unsigned long long want = (thp_env.pmd - 2 * thp_env.page) / 1024;
	struct thp_smaps sm[2];
	struct thp_map m;

	(void)arg;
	/*
	 * The fault has made it young. Do not use clear_refs and another access instead: a CPU
	 * that has the entry in its TLB need not set the bit again.
	 */
	TRY(thp_map_new(&m, THP_ANON, why));
	TRY(thp_obs_smaps(0, m.area, m.area_len, &sm[0]));
	TRY(split_by(&m, false, why));
	TRY(thp_obs_smaps(0, m.area, m.area_len, &sm[1]));
	thp_map_destroy(&m);
	if (sm[0].referenced_kb < want)
		return thp_why(why, -EAGAIN,
			       "Referenced is %llu kB after a fault, expected at least %llu",
			       (unsigned long long)sm[0].referenced_kb, want);
	if (sm[1].referenced_kb < want)
		return thp_why(why, -EAGAIN,
			       "Referenced was %llu kB before the split and is %llu kB after it",
			       (unsigned long long)sm[0].referenced_kb,
			       (unsigned long long)sm[1].referenced_kb);
	return 0;
}

THP_COVERS(bits, young, "split-mprotect walk-readers");
TEST_F(bits, young)
{
	(void)self;
	THP_SCENARIO(keep_young, NULL);
}

/* A split costs one table, and not one fault per page in addition. */
static int keep_writable(const void *arg, struct thp_why *why)
{
	/* The page that was read-only for a while may fault once. */
	long faults, max = thp_env.nr / 16 + 1;
	struct thp_map m;
	size_t i;

	(void)arg;
	TRY(thp_map_new(&m, THP_ANON, why));
	TRY(split_by(&m, false, why));
	faults = thp_obs_minor_faults();
	for (i = 0; i < thp_env.nr; i++)
		thp_touch(thp_page(&m, i));
	faults = thp_obs_minor_faults() - faults;
	thp_map_destroy(&m);
	/* NUMA balancing may cause faults at any time. */
	if (faults > max)
		return thp_why(why, -EAGAIN,
			       "writing to %zu pages after a split took %ld faults, expected <= %ld",
			       thp_env.nr, faults, max);
	return 0;
}

THP_COVERS(bits, write, "split-mprotect");
TEST_F(bits, write)
{
	(void)self;
	THP_SCENARIO(keep_writable, NULL);
}
