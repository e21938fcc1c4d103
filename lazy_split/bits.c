// SPDX-License-Identifier: GPL-2.0
/*
 * bits: Bits of the PMD that its PTEs inherit at a split.
 */

/*
 * What the PMD entry knew goes on in the PTEs: that a page was written to, that it
 * was used, that it may be written to. Contents do not show it, not at once.
 */

FIXTURE(bits) {
	struct thp_map maps[2];
};

FIXTURE_SETUP(bits)
{
	thp_warm_up();
}

FIXTURE_TEARDOWN_PARENT(bits)
{
	thp_teardown(_metadata);
}

/* By a VMA boundary that comes and goes, or together with the folio. */
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
 * MADV_FREE takes the dirty bit off, a write sets it again, and then reclaim may not
 * throw the page away. @m is the range that is written to, @control is not: if
 * reclaim does not take that one, it proves nothing.
 */
static void keep_dirty(struct __test_metadata *_metadata, struct thp_map *maps, bool folio)
{
	struct thp_map *m = &maps[0], *control = &maps[1];
	struct thp_why why = { 0 };
	size_t i, lost = 0;

	for (i = 0; i < 2; i++) {
		THP_REQUIRE_OK(thp_map_new(&maps[i], THP_ANON, &why), &why);
		THP_REQUIRE_OK(mark_free(&maps[i], &why), &why);
	}
	for (i = 0; i < thp_env.nr; i++)
		thp_fill(thp_page(m, i), m->seed, i);
	THP_REQUIRE_OK(thp_map_expect(m, THP_STATE_PMD, &why), &why);
	for (i = 0; i < 2; i++) {
		THP_REQUIRE_OK(split_by(&maps[i], folio, &why), &why);
		THP_REQUIRE(!madvise(maps[i].thp, thp_env.pmd, MADV_PAGEOUT), "MADV_PAGEOUT: %s",
			    strerror(errno));
	}
	THP_CHECK_OK(thp_map_check(m, 0, thp_env.nr, &why), &why);
	for (i = 0; i < thp_env.nr; i++)
		lost += !!thp_map_check(control, i, 1, NULL);
	printf("# dirty: reclaim took %zu of %zu pages that were not written to\n", lost,
	       thp_env.nr);
	if (!lost)
		THP_SKIP("needs reclaim that takes what MADV_FREE offers");
}

THP_COVERS(bits, dirty, "split-mprotect reclaim-lazyfree");
TEST_F(bits, dirty)
{
	keep_dirty(_metadata, self->maps, false);
}

THP_COVERS(bits, dirty_folio, "folio-split-advice reclaim-lazyfree");
TEST_F(bits, dirty_folio)
{
	keep_dirty(_metadata, self->maps, true);
}

/* Reclaim and idle page tracking go by the young bits: a THP in use stays in use. */
THP_COVERS(bits, young, "split-mprotect walk-readers");
TEST_F(bits, young)
{
	struct thp_map *m = &self->maps[0];
	struct thp_smaps sm[2] = { 0 };
	struct thp_why why = { 0 };
	uint64_t want;
	int try;

	/*
	 * The fault has made it young. Not by clear_refs and another access: a CPU that
	 * has the entry in its TLB need not set the bit again.
	 */
	want = (thp_env.pmd - 2 * thp_env.page) / 1024;
	for (try = 0; try < 3; try++) {
		THP_REQUIRE_OK(thp_map_new(m, THP_ANON, &why), &why);
		THP_REQUIRE_OK(thp_obs_smaps(0, m->area, m->area_len, &sm[0]), &why);
		THP_REQUIRE_OK(split_by(m, false, &why), &why);
		THP_REQUIRE_OK(thp_obs_smaps(0, m->area, m->area_len, &sm[1]), &why);
		thp_map_destroy(m);
		/* Whoever looks for idle pages takes the bits away, too. */
		if (sm[0].referenced_kb >= want && sm[1].referenced_kb >= want)
			break;
	}
	THP_CHECK(sm[0].referenced_kb >= want,
		  "Referenced is %llu kB after a fault, expected at least %llu",
		  (unsigned long long)sm[0].referenced_kb, (unsigned long long)want);
	THP_CHECK(sm[1].referenced_kb >= want,
		  "Referenced was %llu kB before the split and is %llu kB after it",
		  (unsigned long long)sm[0].referenced_kb,
		  (unsigned long long)sm[1].referenced_kb);
}

/* A split costs one table, not one fault per page as well. */
THP_COVERS(bits, write, "split-mprotect");
TEST_F(bits, write)
{
	struct thp_map *m = &self->maps[0];
	struct thp_why why = { 0 };
	long faults = 0, max;
	size_t i;
	int try;

	/* The page that was read-only for a while may take one. */
	max = thp_env.nr / 16 + 1;
	for (try = 0; try < 3; try++) {
		THP_REQUIRE_OK(thp_map_new(m, THP_ANON, &why), &why);
		THP_REQUIRE_OK(split_by(m, false, &why), &why);
		faults = thp_obs_minor_faults();
		for (i = 0; i < thp_env.nr; i++)
			thp_touch(thp_page(m, i));
		faults = thp_obs_minor_faults() - faults;
		thp_map_destroy(m);
		/* NUMA balancing takes its faults when it wants to. */
		if (faults <= max)
			break;
	}
	THP_CHECK(faults <= max,
		  "writing to %zu pages after a split took %ld faults, expected <= %ld",
		  thp_env.nr, faults, max);
}
