// SPDX-License-Identifier: GPL-2.0
/*
 * mthp: khugepaged makes smaller folios: the PTE table stays.
 */

/*
 * khugepaged makes folios that are smaller than a PMD, too: the same table is taken
 * away and put back, on a lazy kernel as on an eager one.
 */
#define PART_PAGES	16
#define PART_MS		15000
#define KHUGEPAGED	THP_SYSFS "khugepaged/"

FIXTURE(mthp) {
	struct thp_set set;
};

FIXTURE_SETUP(mthp)
{
	thp_warm_up();
}

FIXTURE_TEARDOWN_PARENT(mthp)
{
	thp_teardown(_metadata);
	thp_guard_await_khugepaged();
}

/* Naturally aligned groups of PART_PAGES whose frames are aligned and in a row. */
static size_t count_parts(const struct thp_map *m)
{
	uint64_t entry, first = 0, mask = (1ULL << 55) - 1;
	size_t i, row = 0, parts = 0;

	for (i = 0; i < thp_env.nr; i++) {
		if (thp_obs_pagemap(thp_page(m, i), &entry) || !(entry & THP_PM_PRESENT))
			entry = 0;
		entry &= mask;
		if (!(i % PART_PAGES)) {
			first = entry;
			row = 0;
		}
		row += entry && !(first % PART_PAGES) && entry == first + i % PART_PAGES;
		parts += row == PART_PAGES;
	}
	return parts;
}

THP_COVERS(mthp, table_stays, "collapse-part");
TEST_F_TIMEOUT(mthp, table_stays, 60)
{
	struct thp_map *maps = self->set.map;
	char path[128], enabled[128];
	struct thp_why why = { 0 };
	uint64_t done, before, want;
	long long a, b, end;
	size_t parts = 0;
	unsigned int i, p;

	THP_NEEDS(THP_NEED_ROOT);
	snprintf(path, sizeof(path), THP_SYSFS "hugepages-%zukB/stats/collapse_alloc",
		 PART_PAGES * thp_env.page / 1024);
	snprintf(enabled, sizeof(enabled), THP_SYSFS "hugepages-%zukB/enabled",
		 PART_PAGES * thp_env.page / 1024);
	if (thp_read_u64(path, &before) || thp_env.nr <= PART_PAGES)
		THP_SKIP("needs a khugepaged that makes folios smaller than a PMD (Linux 7.3)");
	/* A page is missing in each range: it is not to become a THP. */
	THP_REQUIRE_OK(thp_settings_set(KHUGEPAGED "max_ptes_none", "0"), &why);
	THP_REQUIRE_OK(thp_set_create(&self->set, THP_SMALL, &why), &why);
	for (i = 0; i < thp_env.unit; i++)
		for (p = 1; p < thp_env.nr; p++)
			thp_fill(thp_page(&maps[i], p), maps[i].seed, p);
	a = thp_obs_vmpte(0);
	THP_REQUIRE_OK(thp_settings_set(enabled, "madvise"), &why);
	for (i = 0; i < thp_env.unit; i++)
		THP_REQUIRE(!madvise(maps[i].area, maps[i].area_len, MADV_HUGEPAGE),
			    "MADV_HUGEPAGE: %s", strerror(errno));
	/* In this order: restoring the second one wakes khugepaged. */
	THP_REQUIRE_OK(thp_settings_set(KHUGEPAGED "scan_sleep_millisecs", "20"), &why);
	THP_REQUIRE_OK(thp_settings_set(KHUGEPAGED "pages_to_scan", THP_GUARD_SCAN), &why);
	want = thp_env.unit * (thp_env.nr / PART_PAGES - 1);
	for (end = thp_now_ms() + PART_MS; thp_now_ms() < end; thp_sleep_ms(20)) {
		THP_REQUIRE_OK(thp_read_u64(path, &done), &why);
		for (parts = 0, i = 0; done - before >= want && i < thp_env.unit; i++)
			parts += count_parts(&maps[i]);
		if (parts >= want)
			break;
	}
	b = thp_obs_vmpte(0);
	THP_REQUIRE_OK(thp_read_u64(path, &done), &why);
	printf("# mthp: %llu folios allocated, %zu of %llu in place\n",
	       (unsigned long long)(done - before), parts, (unsigned long long)want);
	if (done == before)
		THP_SKIP("needs a khugepaged with less to scan");
	THP_CHECK_OK(thp_map_expect(&maps[0], THP_STATE_PTE, &why), &why);
	THP_CHECK_OK(expect_tables("collapse to smaller folios", b - a, 0, &why), &why);
	for (i = 0; i < thp_env.unit; i++) {
		THP_CHECK_OK(thp_map_check(&maps[i], 1, thp_env.nr - 1, &why), &why);
		THP_CHECK_OK(thp_map_zap(&maps[i]), &why);
	}
	THP_CHECK_OK(expect_tables("that and munmap", thp_obs_vmpte(0) - a, -1, &why), &why);
}
