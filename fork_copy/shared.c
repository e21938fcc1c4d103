// SPDX-License-Identifier: GPL-2.0
/*
 * shared: Operations on the folio that reach every process that maps it.
 */

/* Operations on the folio that reach every process that maps it. */
FIXTURE(shared) {
	struct thp_cg cg;
};

FIXTURE_SETUP(shared)
{
	thp_warm_up();
}

FIXTURE_TEARDOWN_PARENT(shared)
{
	THP_CHECK(!thp_cg_destroy(&self->cg), "control group cannot be removed");
	thp_teardown(_metadata);
}

#define SHARERS	3

/* Starts to count the parent and its SHARERS children. */
static int meters_start(struct thp_meter *m, struct thp_why *why)
{
	int ret, i;

	ret = thp_meter_start(&m[SHARERS], 0, why);
	for (i = 0; i < SHARERS && !ret; i++)
		ret = thp_meter_start(&m[i], thp_peers[i].child.pid, why);
	return ret;
}

static int meters_read(struct thp_meter *m, struct thp_why *why)
{
	int ret, i;

	ret = thp_meter_read(&m[SHARERS], why);
	for (i = 0; i < SHARERS && !ret; i++)
		ret = thp_meter_read(&m[i], why);
	return ret;
}

/*
 * After reclaim: the same for each THP that is not a PMD swap entry; each process may have
 * been treated differently.
 */
static int meters_expect_swapped(const struct thp_meter *m, const char *what,
				 struct thp_why *why)
{
	struct thp_swapped here[SHARERS + 1], all = { 0 };
	long long entries;
	int i;

	TRY(thp_group_swapped(&here[SHARERS], why));
	for (i = 0; i <= SHARERS; i++) {
		if (i < SHARERS) {
			TRY(thp_peer_order(&thp_peers[i], THP_ORDER_SWAPPED, 0, 0, &entries, why));
			here[i].thps = thp_group.n;
			here[i].entries = entries;
		}
		all.thps += here[i].thps;
		all.entries += here[i].entries;
	}
	for (i = 0; i <= SHARERS; i++)
		TRY(thp_swapped_expect(&m[i], &here[i], &all, what, why));
	return 0;
}

/* One PMD split and, if lazy, one table per THP in each process. */
static int meters_expect_split(const struct thp_meter *m, const char *what, struct thp_why *why)
{
	int ret, i;

	ret = thp_meter_expect(&m[SHARERS], thp_group_split(), (SHARERS + 1) * thp_group.n, what,
			       why);
	for (i = 0; i < SHARERS && !ret; i++)
		ret = thp_meter_expect(&m[i], thp_group_split(), (SHARERS + 1) * thp_group.n,
				       what, why);
	return ret;
}

/* All read the old data; then each one writes and reads its own data. */
static int still_isolated(struct thp_why *why)
{
	int ret, i;

	ret = thp_group_check(why);
	for (i = 0; i < SHARERS && !ret; i++)
		ret = child_sees(&thp_peers[i], THP_STATE_UNKNOWN, why);
	if (ret)
		return ret;
	thp_group_write(middle(), SEED_PARENT);
	for (i = 0; i < SHARERS && !ret; i++)
		ret = thp_peer_order(&thp_peers[i], THP_ORDER_WRITE, middle(), SEED_CHILD + i * 256,
				     NULL, why);
	if (!ret)
		ret = thp_group_check(why);
	for (i = 0; i < SHARERS && !ret; i++)
		ret = child_sees(&thp_peers[i], THP_STATE_UNKNOWN, why);
	for (i = 0; i < SHARERS && !ret; i++)
		ret = thp_peer_zap(&thp_peers[i], thp_group.n, why);
	for (i = 0; i < SHARERS && !ret; i++)
		ret = thp_peer_end(&thp_peers[i], why);
	return ret ? ret : thp_group_finish(why);
}

static int split_folio(pid_t pid, unsigned int i)
{
	return thp_split_folios(pid, (unsigned long)thp_group.map[i].thp, thp_env.pmd);
}

static int split_everywhere(const void *arg, struct thp_why *why)
{
	struct thp_meter m[SHARERS + 1];
	unsigned int i;
	int ret;

	(void)arg;
	ret = share(THP_ANON, SHARERS, &m[0], why);
	if (!ret)
		ret = meters_start(m, why);
	for (i = 0; i < thp_group.n && !ret; i++) {
		/* Names a child: whichever process is named, the split affects all of them. */
		ret = split_folio(thp_peers[i % SHARERS].child.pid, i);
		if (ret)
			return thp_why(why, ret, "split_huge_pages: %s", thp_errno_name(ret));
	}
	if (!ret)
		ret = meters_read(m, why);
	if (ret)
		return ret;
	/* Somebody may hold a reference for a moment; the debugfs file does not report that. */
	if (m[SHARERS].ev[1].split_page - m[SHARERS].ev[0].split_page < thp_group.n)
		return thp_why(why, -EAGAIN, "split_huge_pages: thp_split_page +%llu, expected +%u",
			       (unsigned long long)(m[SHARERS].ev[1].split_page -
						    m[SHARERS].ev[0].split_page), thp_group.n);
	/*
	 * The operation runs for every page: a later try must not hide that the first has
	 * failed.
	 */
	if (m[SHARERS].ev[1].split_page_failed != m[SHARERS].ev[0].split_page_failed)
		return thp_why(why, -EAGAIN,
			       "split_huge_pages: thp_split_page_failed %+lld, expected +0",
			       (long long)(m[SHARERS].ev[1].split_page_failed -
					   m[SHARERS].ev[0].split_page_failed));
	ret = meters_expect_split(m, "folio split", why);
	for (i = 0; i < SHARERS && !ret; i++)
		ret = thp_peer_expect(&thp_peers[i], THP_STATE_PTE, why);
	if (!ret)
		ret = thp_group_expect(THP_STATE_PTE, why);
	return ret ? ret : still_isolated(why);
}

THP_COVERS(shared, folio_split, "multi-mm-split folio-split-debugfs");
TEST_F(shared, folio_split)
{
	THP_NEEDS(THP_NEED_DEBUGFS);
	THP_SCENARIO(split_everywhere, NULL);
}

/* The kernel ignores advice on memory that other processes map, too: it splits nothing. */
static int ignored_advice(const void *arg, struct thp_why *why)
{
	static const struct {
		int advice;
		const char *name;
		bool whole;
	} advices[] = {
		{ .advice = MADV_COLD, .name = "MADV_COLD of a page" },
		{ .advice = MADV_FREE, .name = "MADV_FREE of a page" },
		{ .advice = MADV_PAGEOUT, .name = "MADV_PAGEOUT of a page" },
		{ .advice = MADV_PAGEOUT, .name = "MADV_PAGEOUT of the whole", .whole = true },
	};
	size_t a;
	unsigned int i;
	struct thp_meter m;
	int ret;

	(void)arg;
	ret = share(THP_ANON, 1, &m, why);
	for (a = 0; a < ARRAY_SIZE(advices) && !ret; a++) {
		ret = thp_meter_start(&m, 0, why);
		for (i = 0; i < thp_group.n && !ret; i++) {
			char *at = thp_page(&thp_group.map[i], advices[a].whole ? 0 : 1);
			size_t len = advices[a].whole ? thp_env.pmd : thp_env.page;

			if (madvise(at, len, advices[a].advice))
				return thp_why(why, -errno, "%s: %s", advices[a].name,
					       strerror(errno));
		}
		if (!ret)
			ret = thp_meter_stop(&m, 0, 0, advices[a].name, why);
	}
	if (!ret)
		ret = parent_sees(THP_STATE_PMD, why);
	if (!ret)
		ret = child_sees(&thp_peers[0], THP_STATE_PMD, why);
	if (!ret)
		ret = thp_peer_end(&thp_peers[0], why);
	return ret ? ret : thp_group_finish(why);
}

THP_COVERS(shared, ignored_advice, "folio-split-advice reclaim-unmap");
TEST_F(shared, ignored_advice)
{
	THP_SCENARIO(ignored_advice, NULL);
}

/* Pages of the group that are in swap, or -errno. */
static long swapped(void)
{
	unsigned int i;
	long n = 0, got;

	for (i = 0; i < thp_group.n; i++) {
		got = thp_obs_pages(thp_group.map[i].thp, thp_env.pmd, THP_PM_SWAPPED);
		if (got < 0)
			return got;
		n += got;
	}
	return n;
}

/* The same of another process in kB, with the two anchor pages. */
static long long swapped_kb(pid_t pid)
{
	struct thp_smaps sm;

	TRY(thp_obs_smaps(pid, thp_group.base, thp_group.n * thp_env.pmd, &sm));
	return (long long)sm.swap_kb;
}

/* Rounds of reclaim after which all of it has to be in swap. */
#define RECLAIM_ROUNDS	20

/* One round of it; its result says nothing: it also fails if it gets less than asked. */
static void reclaim_group(const struct thp_cg *cg)
{
	char path[256];

	if (thp_env.memcg == 2) {
		(void)thp_cg_reclaim(cg, 2 * thp_group.n * thp_env.pmd);
		return;
	}
	snprintf(path, sizeof(path), "%s/memory.force_empty", cg->path);
	(void)thp_write_file(path, "0");
}

static int reclaim_everywhere(const void *arg, struct thp_why *why)
{
	const struct thp_cg *cg = arg;
	struct thp_meter m[SHARERS + 1];
	long want, got = 0;
	long long kb;
	int ret, i, round;

	TRY(share(THP_ANON, SHARERS, &m[0], why));
	TRY(meters_start(m, why));
	want = thp_group.n * thp_env.nr;
	for (round = 0; round < RECLAIM_ROUNDS && got != want; round++) {
		reclaim_group(cg);
		got = swapped();
	}
	if (got != want)
		return thp_why(why, -EPROTO,
			       "%ld pages in swap after %d rounds of reclaim, expected %ld",
			       got, RECLAIM_ROUNDS, want);
	ret = meters_read(m, why);
	for (i = 0; i < SHARERS && !ret; i++) {
		kb = swapped_kb(thp_peers[i].child.pid);
		if (kb < want * (long long)thp_env.page / 1024)
			ret = thp_why(why, -EPROTO, "child %d: %lld kB in swap, expected %lld", i,
				      kb, want * (long long)thp_env.page / 1024);
	}
	if (!ret)
		ret = meters_expect_swapped(m, "reclaim", why);
	return ret ? ret : still_isolated(why);
}

THP_COVERS(shared, reclaim, "reclaim-unmap multi-mm-split");
TEST_F_TIMEOUT(shared, reclaim, 90)
{
	struct thp_why why = { 0 };

	THP_NEEDS(THP_NEED_MEMCG | THP_NEED_SWAP);
	THP_REQUIRE_OK(thp_cg_create(&self->cg, "reclaim", &why), &why);
	THP_REQUIRE(!thp_cg_swap(&self->cg, true), "swap of the control group cannot be allowed");
	THP_REQUIRE(!thp_cg_join(&self->cg, getpid()), "control group cannot be joined");
	THP_SCENARIO(reclaim_everywhere, &self->cg);
}

/* After the exit of the child the advice works; then fork() copies swap entries. */
static int pageout_after_exit(const void *arg, struct thp_why *why)
{
	struct thp_peer *p = thp_peers;
	struct thp_swapped how, stays;
	struct thp_meter m;
	long want, got = 0;
	int round;

	(void)arg;
	TRY(share(THP_ANON, 1, &m, why));
	TRY(thp_peer_end(&p[0], why));
	TRY(thp_peers_prepare(1, why));
	TRY(thp_meter_start(&m, 0, why));
	want = thp_group.n * thp_env.nr;
	for (round = 0; round < RECLAIM_ROUNDS && got != want; round++) {
		if (madvise(thp_group.base, thp_group.n * thp_env.pmd, MADV_PAGEOUT))
			return thp_why(why, -errno, "MADV_PAGEOUT: %s", strerror(errno));
		got = swapped();
	}
	if (got != want)
		return thp_why(why, -EPROTO,
			       "%ld pages in swap after %d times MADV_PAGEOUT, expected %ld",
			       got, RECLAIM_ROUNDS, want);
	TRY(thp_meter_read(&m, why));
	TRY(thp_group_swapped(&how, why));
	TRY(thp_swapped_expect(&m, &how, &how, "MADV_PAGEOUT", why));
	TRY(thp_meter_start(&m, 0, why));
	TRY(thp_peer_start(p, why));
	TRY(thp_meter_read(&m, why));
	/* The child reads its memory first, by base pages if no huge page is to be had. */
	TRY(how.entries ? thp_meter_tables(&m, 0, "fork of swapped memory", why) :
			  thp_meter_expect(&m, 0, 0, "fork of swapped memory", why));
	TRY(thp_group_swapped(&stays, why));
	if (stays.entries != how.entries)
		return thp_why(why, -EPROTO, "after fork %u of %u PMD swap entries are left",
			       stays.entries, how.entries);
	TRY(child_sees(p, THP_STATE_UNKNOWN, why));
	TRY(thp_peer_order(p, THP_ORDER_WRITE, middle(), SEED_CHILD, NULL, why));
	TRY(thp_group_check(why));
	TRY(child_sees(p, THP_STATE_UNKNOWN, why));
	TRY(thp_peer_zap(p, thp_group.n, why));
	TRY(thp_peer_end(p, why));
	return thp_group_finish(why);
}

THP_COVERS(shared, pageout_after_exit, "reclaim-unmap");
TEST_F_TIMEOUT(shared, pageout_after_exit, 60)
{
	THP_NEEDS(THP_NEED_SWAP);
	THP_SCENARIO(pageout_after_exit, NULL);
}
