// SPDX-License-Identifier: GPL-2.0
/*
 * mthp: khugepaged also makes folios that are smaller than a PMD: it removes the PTE table
 * and installs the same one again, on lazy and eager kernels alike.
 */
#define PART_PAGES	16
#define PART_MS		15000
#define KHUGEPAGED	THP_SYSFS "khugepaged/"

FIXTURE(mthp) {
	int unused;	/* the harness wants data */
};

FIXTURE_SETUP(mthp)
{
	(void)self;
	thp_warm_up();
}

FIXTURE_TEARDOWN_PARENT(mthp)
{
	thp_teardown(_metadata);
	thp_guard_await_khugepaged();
}

/* Counts the naturally aligned groups of PART_PAGES whose frames are aligned and consecutive. */
static size_t count_parts(const struct thp_map *m)
{
	uint64_t entry, first = 0, mask = (1ULL << 55) - 1;
	size_t i, row = 0, parts = 0;

	for (i = 0; i < thp_env.nr; i++) {
		if (thp_obs_pagemap(thp_page(m, i), &entry, 1) || !(entry & THP_PM_PRESENT))
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

/* A file of the smaller folios in sysfs. */
static void part_path(char *path, size_t len, const char *file)
{
	snprintf(path, len, THP_SYSFS "hugepages-%zukB/%s", PART_PAGES * thp_env.page / 1024,
		 file);
}

/* Maps base pages; one is missing in each range, which must not become a THP. */
static int make_parts(struct thp_set *set, struct thp_why *why)
{
	unsigned int i, p;

	TRY(thp_settings_set(KHUGEPAGED "max_ptes_none", "0"));
	TRY(thp_set_create(set, THP_SMALL, why));
	for (i = 0; i < set->n; i++)
		for (p = 1; p < thp_env.nr; p++)
			thp_fill(thp_page(&set->map[i], p), set->map[i].seed, p);
	return 0;
}

/* Lets khugepaged make smaller folios of them. */
static int offer_parts(const struct thp_set *set, struct thp_why *why)
{
	char enabled[128];
	unsigned int i;

	part_path(enabled, sizeof(enabled), "enabled");
	TRY(thp_settings_set(enabled, "madvise"));
	for (i = 0; i < set->n; i++)
		if (madvise(set->map[i].area, set->map[i].area_len, MADV_HUGEPAGE))
			return thp_why(why, -errno, "MADV_HUGEPAGE: %s", strerror(errno));
	/* In this order: restoring the second one wakes khugepaged. */
	TRY(thp_settings_set(KHUGEPAGED "scan_sleep_millisecs", "20"));
	return thp_settings_set(KHUGEPAGED "pages_to_scan", THP_GUARD_SCAN);
}

/* Until all parts of all ranges are there, or the time is over. 0, or -ENOTSUP if none is. */
static int await_parts(const struct thp_set *set, const char *allocs, struct thp_why *why)
{
	uint64_t before, done, want = set->n * (thp_env.nr / PART_PAGES - 1);
	long long end = thp_now_ms() + PART_MS;
	size_t parts = 0;
	unsigned int i;

	TRY(thp_read_u64(allocs, &before));
	TRY(offer_parts(set, why));
	for (; thp_now_ms() < end && parts < want; thp_sleep_ms(20)) {
		TRY(thp_read_u64(allocs, &done));
		for (parts = 0, i = 0; done - before >= want && i < set->n; i++)
			parts += count_parts(&set->map[i]);
	}
	TRY(thp_read_u64(allocs, &done));
	printf("# mthp: %llu folios allocated, %zu of %llu in place\n",
	       (unsigned long long)(done - before), parts, (unsigned long long)want);
	return done == before ? thp_skip(why, "needs a khugepaged with less to scan") : 0;
}

static int parts_keep_table(const void *arg, struct thp_why *why)
{
	const char *allocs = arg;
	struct thp_meter meter;
	struct thp_set set;
	unsigned int i;

	TRY(make_parts(&set, why));
	TRY(thp_meter_start(&meter, 0, why));
	TRY(await_parts(&set, allocs, why));
	TRY(thp_meter_read(&meter, why));
	TRY(thp_meter_tables(&meter, 0, "collapse to smaller folios", why));
	TRY(thp_map_expect(&set.map[0], THP_STATE_PTE, why));
	for (i = 0; i < set.n; i++) {
		TRY(thp_map_check(&set.map[i], 1, thp_env.nr - 1, why));
		TRY(thp_map_zap(&set.map[i]));
	}
	TRY(thp_meter_read(&meter, why));
	return thp_meter_tables(&meter, -(long)set.n, "that and munmap", why);
}

THP_COVERS(mthp, table_stays, "collapse-part");
TEST_F_TIMEOUT(mthp, table_stays, 60)
{
	char allocs[128];
	uint64_t count;

	(void)self;
	THP_NEEDS(THP_NEED_ROOT);
	part_path(allocs, sizeof(allocs), "stats/collapse_alloc");
	if (thp_read_u64(allocs, &count) || thp_env.nr <= PART_PAGES)
		THP_SKIP("needs a khugepaged that makes folios smaller than a PMD (Linux 7.3)");
	THP_SCENARIO(parts_keep_table, allocs);
}
