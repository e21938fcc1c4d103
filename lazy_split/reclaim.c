// SPDX-License-Identifier: GPL-2.0
/*
 * reclaim: Reclaim, the shrinker and KSM want the PMD split.
 */

/* Reclaim and KSM: somebody else wants the PMD split */

FIXTURE(reclaim) {
	struct thp_set set;
	struct thp_cg cg;
};

FIXTURE_SETUP(reclaim)
{
	thp_warm_up();
}

FIXTURE_TEARDOWN_PARENT(reclaim)
{
	struct thp_why why = { 0 };

	THP_CHECK_OK(thp_cg_destroy(&self->cg), &why);
	thp_teardown(_metadata);
}

/* Swap takes a THP out of one mapping: PTEs with swap entries need a table. */
THP_COVERS(reclaim, swap_out, "reclaim-unmap");
TEST_F(reclaim, swap_out)
{
	struct thp_map *m = &self->set.map[0];
	struct thp_why why = { 0 };
	struct thp_events e0, e1;
	long long a, b;
	unsigned int i;

	THP_NEEDS(THP_NEED_SWAP);
	THP_REQUIRE_OK(thp_set_create(&self->set, THP_ANON, &why), &why);
	THP_REQUIRE_OK(thp_set_fault(&self->set, &why), &why);
	a = thp_obs_vmpte(0);
	thp_obs_events(&e0);
	for (i = 0; i < thp_env.unit; i++)
		THP_REQUIRE(!madvise(self->set.map[i].thp, thp_env.pmd, MADV_PAGEOUT),
			    "MADV_PAGEOUT: %s", strerror(errno));
	thp_obs_events(&e1);
	b = thp_obs_vmpte(0);
	THP_CHECK(e1.swpout > e0.swpout, "MADV_PAGEOUT swapped nothing out");
	THP_CHECK(e1.split_pmd - e0.split_pmd == thp_env.unit,
		  "thp_split_pmd %+lld, expected +%u",
		  (long long)(e1.split_pmd - e0.split_pmd), thp_env.unit);
	THP_CHECK_OK(thp_map_expect(m, THP_STATE_PTE, &why), &why);
	THP_CHECK_OK(expect_tables("swap-out", b - a, thp_tables_split(THP_ANON), &why), &why);
	for (i = 0; i < thp_env.unit; i++)
		THP_CHECK_OK(thp_map_check(&self->set.map[i], 0, thp_env.nr, &why), &why);
}

/* MADV_FREE and then reclaim: the pages go, the table stays. */
/* MADV_FREE of the whole range, which was filled: all of it is clean then. */
static int mark_free(struct thp_map *m, struct thp_why *why)
{
	static struct thp_smaps sm;
	int ret;

	if (madvise(m->thp, thp_env.pmd, MADV_FREE))
		return thp_why(why, -errno, "MADV_FREE: %s", strerror(errno));
	ret = thp_obs_smaps(0, m->thp, thp_env.pmd, &sm);
	if (ret)
		return thp_why(why, ret, "smaps: %s", thp_errno_name(ret));
	if (sm.clean_kb != thp_env.pmd / 1024)
		return thp_why(why, -EPROTO, "Private_Clean after MADV_FREE: %llu kB, expected %zu",
			       (unsigned long long)sm.clean_kb, thp_env.pmd / 1024);
	return 0;
}

/*
 * A filled THP that is marked free, and reclaimed. Reclaim passes over a folio that
 * somebody else holds: then it is asked again. 0, or -errno with a cause.
 */
static int free_and_reclaim(struct thp_map *m, struct thp_why *why)
{
	enum thp_state state;
	int try, ret;

	ret = thp_map_new(m, THP_ANON, why);
	if (!ret)
		ret = mark_free(m, why);
	if (ret)
		return ret;
	for (try = 0; try < 10; try++) {
		if (madvise(m->thp, thp_env.pmd, MADV_PAGEOUT))
			return thp_why(why, -errno, "MADV_PAGEOUT: %s", strerror(errno));
		ret = thp_obs_state(m->thp, thp_env.pmd, &state);
		if (ret)
			return thp_why(why, ret, "page map: %s", thp_errno_name(ret));
		if (state != THP_STATE_PMD)
			return 0;
		thp_sleep_ms(10);
	}
	return thp_why(why, -EPROTO, "freed range after MADV_PAGEOUT: %s in %d tries, expected %s",
		       thp_state_name(state), try, thp_state_name(THP_STATE_NONE));
}

THP_COVERS(reclaim, lazyfree, "reclaim-lazyfree");
TEST_F(reclaim, lazyfree)
{
	struct thp_map *m = &self->set.map[0];
	struct thp_why why = { 0 };
	unsigned int i;

	THP_REQUIRE_OK(free_and_reclaim(m, &why), &why);
	/* Reclaim is free to leave some of the pages; what it took must read as zeroes. */
	for (i = 0; i < thp_env.nr; i++) {
		struct thp_why ignored = { 0 };

		if (thp_map_check(m, i, 1, &ignored))
			THP_CHECK_OK(thp_check_zero(thp_page(m, i), 1, &why), &why);
	}
	/* A write after it must stay. */
	thp_fill(m->thp, m->seed, 0);
	THP_CHECK_OK(thp_map_check(m, 0, 1, &why), &why);
}

/*
 * A THP that is mostly zeroes and mapped by two processes: the shrinker splits it
 * in both and gives the zero pages back (Linux 6.12).
 */
static int keep_pmd(struct thp_chan *chan, void *arg)
{
	struct thp_map *m = arg;
	enum thp_state state;
	long long a;

	thp_warm_up();
	a = thp_obs_vmpte(0);
	thp_chan_post_parent(chan, 1);
	thp_chan_await_parent(chan, 2);
	chan->val[0] = thp_obs_vmpte(0) - a;
	thp_chan_post_parent(chan, 3);
	if (thp_obs_state(m->thp, thp_env.pmd, &state))
		return thp_why(&chan->why, -EIO, "page map");
	if (state != THP_STATE_PTE)
		return thp_why(&chan->why, -EPROTO, "range is %s, expected PTE-mapped",
			       thp_state_name(state));
	if (thp_check(m->thp, m->seed, 0, 1, &chan->why))
		return -EILSEQ;
	return thp_check_zero(thp_page(m, 1), thp_env.nr - 1, &chan->why);
}

THP_COVERS(reclaim, underused, "folio-split-deferred multi-mm-split");
TEST_F(reclaim, underused)
{
	struct thp_map *m = &self->set.map[0];
	struct thp_child child = { 0 };
	struct thp_why why = { 0 };
	struct thp_events e0, e1;
	long long a, b;
	int try;

	THP_NEEDS(THP_NEED_ROOT);
	THP_REQUIRE_OK(thp_map_underused(m, &why), &why);
	THP_REQUIRE_OK(thp_child_start(&child, keep_pmd, m), &why);
	THP_REQUIRE_OK(thp_child_await(&child, 1, THP_STEP_MS), &why);
	a = thp_obs_vmpte(0);
	thp_obs_events(&e0);
	for (try = 0; try < 50; try++) {
		THP_CHECK_OK(thp_write_file("/proc/sys/vm/drop_caches", "2"), &why);
		thp_obs_events(&e1);
		if (e1.underused > e0.underused)
			break;
		thp_sleep_ms(20);
	}
	b = thp_obs_vmpte(0);
	/* At least: the shrinker takes the THPs of everybody else as well. */
	THP_CHECK(e1.underused > e0.underused, "thp_underused_split_page +0, expected +1");
	THP_CHECK(e1.split_pmd - e0.split_pmd >= 2, "thp_split_pmd %+lld, expected +2",
		  (long long)(e1.split_pmd - e0.split_pmd));
	THP_CHECK_OK(thp_map_expect(m, THP_STATE_PTE, &why), &why);
	thp_chan_post_child(child.chan, 2);
	if (thp_env.unit == 1) {
		long long want = thp_tables_split(THP_ANON) * (long long)thp_env.table;

		THP_CHECK(b - a == want, "VmPTE %+lld B here, expected %+lld", b - a, want);
		THP_CHECK_OK(thp_child_await(&child, 3, THP_STEP_MS), &why);
		THP_CHECK(child.chan->val[0] == want, "VmPTE %+lld B in the child, expected %+lld",
			  child.chan->val[0], want);
	}
	THP_CHECK_OK(thp_child_join(&child, THP_STEP_MS, &why), &why);
	THP_CHECK_OK(thp_map_check(m, 0, 1, &why), &why);
	THP_CHECK_OK(thp_check_zero(thp_page(m, 1), thp_env.nr - 1, &why), &why);
}

/*
 * KSM finds two equal pages in two THPs: it splits what holds them. It needs a scan
 * to see that a page does not change and another one to merge it; on a machine with
 * virtual machines one scan can take long.
 */
#define KSM_SCANS	4

THP_COVERS(reclaim, ksm, "folio-split-ksm");
TEST_F_TIMEOUT(reclaim, ksm, 90)
{
	struct thp_map *a = &self->set.map[0], *b = &self->set.map[1];
	static struct split_view view;
	enum thp_state sa = THP_STATE_PMD, sb = THP_STATE_PMD;
	static const char scans[] = "/sys/kernel/mm/ksm/full_scans";
	struct thp_why why = { 0 };
	uint64_t first, now;
	long long end;

	THP_NEEDS(THP_NEED_KSM);
	THP_REQUIRE_OK(thp_map_new(a, THP_ANON, &why), &why);
	THP_REQUIRE_OK(thp_map_new(b, THP_ANON, &why), &why);
	memcpy(thp_page(b, 7), thp_page(a, 3), thp_env.page);
	THP_REQUIRE_OK(thp_settings_set("/sys/kernel/mm/ksm/sleep_millisecs", "1"), &why);
	THP_REQUIRE_OK(thp_settings_set("/sys/kernel/mm/ksm/pages_to_scan", "4096"), &why);
	THP_REQUIRE(!madvise(a->thp, thp_env.pmd, MADV_MERGEABLE) &&
		    !madvise(b->thp, thp_env.pmd, MADV_MERGEABLE), "MADV_MERGEABLE: %s",
		    strerror(errno));
	view.m = a;
	/* Else KSM has nothing to scan, and the time is over before its fifth scan. */
	THP_REQUIRE(split_vma_mergeable.of(&view, &split_vma_mergeable, a->thp) == 1,
		    "VmFlags mg 0 after MADV_MERGEABLE, expected 1");
	THP_REQUIRE_OK(thp_read_u64(scans, &first), &why);
	THP_REQUIRE_OK(thp_settings_set("/sys/kernel/mm/ksm/run", "1"), &why);
	for (end = thp_now_ms() + thp_limit(THP_DAEMON_MS);; thp_sleep_ms(20)) {
		THP_REQUIRE_OK(thp_read_u64(scans, &now), &why);
		THP_REQUIRE_OK(thp_obs_state(a->thp, thp_env.pmd, &sa), &why);
		THP_REQUIRE_OK(thp_obs_state(b->thp, thp_env.pmd, &sb), &why);
		if (sa == THP_STATE_PTE && sb == THP_STATE_PTE)
			break;
		THP_REQUIRE(now - first <= KSM_SCANS,
			    "KSM left the THPs %s and %s in %d scans, expected both PTE-mapped",
			    thp_state_name(sa), thp_state_name(sb), KSM_SCANS);
		if (thp_now_ms() > end)
			THP_SKIP("needs a KSM with less to scan: 5 scans took over 20 s");
	}
	THP_CHECK_OK(thp_map_check(a, 0, thp_env.nr, &why), &why);
	THP_CHECK_OK(thp_map_check(b, 0, 7, &why), &why);
	THP_CHECK_OK(thp_check(thp_page(b, 7), a->seed, 3, 1, &why), &why);
	THP_CHECK_OK(thp_map_check(b, 8, thp_env.nr - 8, &why), &why);
}
