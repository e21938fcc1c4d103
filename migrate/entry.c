// SPDX-License-Identifier: GPL-2.0
/* entry: Operations that meet a migration entry. */

/*
 * Spins until the PMD is a migration entry: pagemap shows it as swapped. If none appears
 * the step continues, and does not count as a hit.
 */
static void await_entry(struct thp_race *r, struct thp_actor *a)
{
	off_t at = (uintptr_t)r->map.thp / thp_env.page * 8;
	long long end = thp_now_ms() + 30;
	uint64_t entry;

	while (pread(pagemap_fd, &entry, 8, at) == 8 && thp_now_ms() < end) {
		if (entry & THP_PM_SWAPPED) {
			a->hits++;
			return;
		}
	}
}

static int refill(struct thp_race *r)
{
	size_t i;

	for (i = 0; i < thp_env.nr; i++)
		thp_fill(thp_page(&r->map, i), r->map.seed, i);
	return 0;
}

/* Maps a new THP in place of the split one. */
static int renew_filled(struct thp_race *r, struct thp_why *why)
{
	int ret = renew(r, why);

	return ret ? ret : refill(r);
}

static int check_all(struct thp_race *r, struct thp_why *why)
{
	return thp_map_check(&r->map, 0, thp_env.nr, why);
}

static int meet_touch(struct thp_race *r, struct thp_actor *a, struct thp_why *why)
{
	await_entry(r, a);
	thp_fill(thp_page(&r->map, 0), r->map.seed, 0);
	return check_all(r, why);
}

/* The child inherits the entry, with a table if the kernel deposits one per PMD. */
static int look_entry(struct thp_race *r, struct thp_actor *a)
{
	struct thp_why *why = &r->chan->why;
	long long before, after;
	long got;

	before = thp_obs_vmpte(0);
	if (a->loops % 2 && check_all(r, why))
		return -EILSEQ;
	munmap(r->map.thp, thp_env.pmd);
	after = thp_obs_vmpte(0);
	if (thp_env.unit == 1 &&
	    (!thp_env_tables(before - after, &got) || got != thp_tables_mapped(THP_ANON)))
		return thp_why(why, -EPROTO, "munmap frees %lld B of tables, expected %ld tables",
			       before - after, thp_tables_mapped(THP_ANON));
	return 0;
}

static int meet_fork(struct thp_race *r, struct thp_actor *a, struct thp_why *why)
{
	await_entry(r, a);
	TRY(fork_and_look(r, a, look_entry, why));
	return check_all(r, why);
}

/* Checks whether a page can be written to, also after the entry was removed. */
static int expect_writable(struct thp_race *r, size_t index, int want, struct thp_why *why)
{
	int got = split_access(thp_page(&r->map, index), true);

	return got == want ? 0 :
		thp_why(why, -EPROTO, "page %zu: writable %d, expected %d", index, got, want);
}

static int meet_mprotect(struct thp_race *r, struct thp_actor *a, struct thp_why *why)
{
	await_entry(r, a);
	if (mprotect(r->map.thp, thp_env.pmd, PROT_READ))
		return thp_why(why, -errno, "mprotect: %s", strerror(errno));
	if (check_all(r, why))
		return -EILSEQ;
	if (expect_writable(r, 0, 0, why) || expect_writable(r, thp_env.nr - 1, 0, why))
		return -EPROTO;
	if (mprotect(r->map.thp, thp_env.pmd, PROT_READ | PROT_WRITE))
		return thp_why(why, -errno, "mprotect: %s", strerror(errno));
	thp_fill(thp_page(&r->map, 0), r->map.seed, 0);
	return 0;
}

/* Checks the uffd-wp bit of all pages, whether the PMD is an entry at the moment or not. */
static int expect_wp(struct thp_race *r, bool want, struct thp_why *why)
{
	static uint64_t entries[THP_MOVE_MAX_NR];
	size_t i;
	int ret = thp_obs_pagemap(r->map.thp, entries, thp_env.nr);

	if (ret)
		return thp_why(why, ret, "pagemap: %s", thp_errno_name(ret));
	for (i = 0; i < thp_env.nr; i++) {
		if (!!(entries[i] & THP_PM_UFFD_WP) != want)
			return thp_why(why, -EPROTO,
				       "protection of a THP that migrates: page %zu: uffd-wp %d, expected %d",
				       i, !want, want);
	}
	return 0;
}

/* A change of the protection has to change the entry, because the new PMD copies its bits. */
static int meet_uffd_wp(struct thp_race *r, struct thp_actor *a, struct thp_why *why)
{
	struct thp_map *m = &r->map;
	int protect, ret = 0;

	if (m->uffd < 0)
		m->uffd = thp_uffd_watch(m->thp, thp_env.pmd, 0, UFFDIO_REGISTER_MODE_WP, why);
	if (m->uffd < 0)
		return m->uffd;
	for (protect = 1; protect >= 0 && !ret; protect--) {
		await_entry(r, a);
		ret = thp_uffd_wp(m->uffd, m->thp, thp_env.pmd, protect);
		if (ret)
			return thp_why(why, ret, "UFFDIO_WRITEPROTECT: %s", thp_errno_name(ret));
		ret = expect_wp(r, protect, why);
	}
	return ret ? ret : check_all(r, why);
}

/* Splits the entry itself: the PMD entry becomes entries of base pages. */
static int meet_split(struct thp_race *r, struct thp_actor *a, struct thp_why *why)
{
	size_t mid = thp_env.nr / 2;
	char *p = thp_page(&r->map, mid);

	await_entry(r, a);
	if (mprotect(p, thp_env.page, PROT_READ))
		return thp_why(why, -errno, "mprotect: %s", strerror(errno));
	TRY(check_all(r, why));
	TRY(expect_writable(r, mid, 0, why));
	TRY(expect_writable(r, mid + 1, 1, why));
	if (mprotect(p, thp_env.page, PROT_READ | PROT_WRITE))
		return thp_why(why, -errno, "mprotect: %s", strerror(errno));
	return renew_filled(r, why);
}

static int meet_zap_page(struct thp_race *r, struct thp_actor *a, struct thp_why *why)
{
	size_t k = thp_env.nr / 2;

	await_entry(r, a);
	if (madvise(thp_page(&r->map, k), thp_env.page, MADV_DONTNEED))
		return thp_why(why, -errno, "MADV_DONTNEED: %s", strerror(errno));
	TRY(thp_map_check(&r->map, 0, k, why));
	TRY(thp_check_zero(thp_page(&r->map, k), 1, why));
	TRY(thp_map_check(&r->map, k + 1, thp_env.nr - k - 1, why));
	return renew_filled(r, why);
}

static int meet_zap(struct thp_race *r, struct thp_actor *a, struct thp_why *why)
{
	int ret;

	await_entry(r, a);
	if (madvise(r->map.thp, thp_env.pmd, MADV_DONTNEED))
		return thp_why(why, -errno, "MADV_DONTNEED: %s", strerror(errno));
	ret = thp_check_zero(thp_page(&r->map, a->loops % thp_env.nr), 1, why);
	/*
	 * The range mapped the huge zero folio. If a write would split its PMD, which is not
	 * counted here, unmaps it before the range is filled.
	 */
	if (!ret && thp_env_zero_write_splits() &&
	    madvise(r->map.thp, thp_env.pmd, MADV_DONTNEED))
		return thp_why(why, -errno, "MADV_DONTNEED: %s", strerror(errno));
	return ret ? ret : refill(r);
}

static int meet_munmap(struct thp_race *r, struct thp_actor *a, struct thp_why *why)
{
	void *p;

	await_entry(r, a);
	if (munmap(r->map.thp, thp_env.pmd))
		return thp_why(why, -errno, "munmap: %s", strerror(errno));
	p = mmap(r->map.thp, thp_env.pmd, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
	if (p == MAP_FAILED || madvise(p, thp_env.pmd, MADV_HUGEPAGE))
		return thp_why(why, -errno, "mmap: %s", strerror(errno));
	return refill(r);
}

/* Moves all of the range there and back: to a range that the race owns and leaves empty. */
static int meet_mremap(struct thp_race *r, struct thp_actor *a, struct thp_why *why)
{
	char *to = r->map.thp - thp_env.pmd, *p;
	int ret;

	await_entry(r, a);
	p = mremap(r->map.thp, thp_env.pmd, thp_env.pmd, MREMAP_MAYMOVE | MREMAP_FIXED, to);
	if (p != to)
		return thp_why(why, -errno, "mremap: %s", strerror(errno));
	ret = thp_check(to, r->map.seed, 0, thp_env.nr, why);
	p = mremap(to, thp_env.pmd, thp_env.pmd, MREMAP_MAYMOVE | MREMAP_FIXED, r->map.thp);
	if (p != r->map.thp)
		return thp_why(why, -errno, "mremap back: %s", strerror(errno));
	return ret ? ret : check_all(r, why);
}

static int meet_collapse(struct thp_race *r, struct thp_actor *a, struct thp_why *why)
{
	long hits;
	int ret;

	await_entry(r, a);
	hits = a->hits;
	ret = act_collapse(r, a, why);
	/* Here a hit is an entry that was met, not a collapse that succeeded. */
	a->hits = hits;
	return ret ? ret : check_all(r, why);
}

/* Advice that splits the folio: it waits for the entry, or does nothing. */
static int meet_cold(struct thp_race *r, struct thp_actor *a, struct thp_why *why)
{
	await_entry(r, a);
	TRY(cold(r, a, why));
	TRY(check_all(r, why));
	return renew_filled(r, why);
}

FIXTURE(entry) {
	struct race_report report;
	struct thp_why why;
	struct thp_events before, after;
};

FIXTURE_VARIANT(entry) {
	struct race_set set;
	bool whole;		/* no step of it may split the PMD */
};

/* A race of meet_@fn() with migration; @more: needs besides nodes. */
#define ENTRY(fn, more) {						\
	.actors = { { .name = #fn, .step = meet_##fn }, MOVE },		\
	.needs = THP_NEED_NODES | (more), .ms = RACE_MS, .min_hits = 5,	\
}

FIXTURE_VARIANT_ADD(entry, touch) {
	.set = ENTRY(touch, 0), .whole = true,
};

FIXTURE_VARIANT_ADD(entry, fork) {
	.set = ENTRY(fork, 0), .whole = true,
};

FIXTURE_VARIANT_ADD(entry, mprotect) {
	.set = ENTRY(mprotect, 0), .whole = true,
};

FIXTURE_VARIANT_ADD(entry, uffd_wp) {
	.set = ENTRY(uffd_wp, THP_NEED_UFFD_WP), .whole = true,
};

FIXTURE_VARIANT_ADD(entry, mprotect_page) {
	.set = ENTRY(split, 0),
};

FIXTURE_VARIANT_ADD(entry, zap_page) {
	.set = ENTRY(zap_page, 0),
};

FIXTURE_VARIANT_ADD(entry, zap) {
	.set = ENTRY(zap, 0), .whole = true,
};

FIXTURE_VARIANT_ADD(entry, munmap) {
	.set = ENTRY(munmap, 0), .whole = true,
};

FIXTURE_VARIANT_ADD(entry, mremap) {
	.set = ENTRY(mremap, 0), .whole = true,
};

FIXTURE_VARIANT_ADD(entry, collapse) {
	.set = ENTRY(collapse, THP_NEED_COLLAPSE),
};

FIXTURE_VARIANT_ADD(entry, cold) {
	.set = ENTRY(cold, 0),
};

FIXTURE_SETUP(entry)
{
	(void)sys_policy_local();
	thp_warm_up();
}

FIXTURE_TEARDOWN_PARENT(entry)
{
	thp_teardown(_metadata);
}

THP_COVERS(entry, met, "migrate-entry migrate-entry-restore");
TEST_F(entry, met)
{
	long splits, planned;

	THP_SKIP_IF(race_missing(&variant->set));
	THP_REQUIRE_OK(thp_obs_events(&self->before), &self->why);
	THP_REQUIRE_OK(run_race(&variant->set, NULL, &self->report, &self->why), &self->why);
	THP_REQUIRE_OK(thp_obs_events(&self->after), &self->why);
	splits = self->after.split_pmd - self->before.split_pmd;
	/* If the target could not be a THP, migration itself has split. */
	planned = self->after.migrate_split - self->before.migrate_split;
	if (variant->whole)
		THP_CHECK(splits == planned, "thp_split_pmd: expected +%ld, got +%ld", planned,
			  splits);
	if (!self->report.hits[0])
		THP_SKIP("needs migration that is slow enough to be met");
}
