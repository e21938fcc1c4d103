// SPDX-License-Identifier: GPL-2.0
/* reclaim: Reclaim, the shrinker and KSM split the PMD. */

FIXTURE(reclaim) {
	int unused;	/* the harness wants data */
};

FIXTURE_SETUP(reclaim)
{
	(void)self;
	thp_warm_up();
}

FIXTURE_TEARDOWN_PARENT(reclaim)
{
	thp_teardown(_metadata);
}

/*
 * Reads every THP back. If all were PMD swap entries, each is mapped by a PMD again, and no
 * table was needed: a kernel without a huge page may split the entry, but not in every try.
 */
static int swap_in(struct thp_set *set, const struct thp_swapped *swapped, struct thp_why *why)
{
	struct thp_meter meter;
	unsigned int i;
	int ret = 0;

	TRY(thp_meter_start(&meter, 0, why));
	for (i = 0; i < set->n; i++)
		TRY(thp_map_check(&set->map[i], 0, thp_env.nr, why));
	TRY(thp_meter_read(&meter, why));
	if (swapped->entries < swapped->thps || thp_swap_by_zswap())
		return 0;
	for (i = 0; i < set->n && !ret; i++)
		ret = thp_map_expect(&set->map[i], THP_STATE_PMD, why);
	if (ret)
		return ret == -EPROTO ? -EAGAIN : ret;
	return thp_meter_expect(&meter, 0, 0, "swap-in", why);
}

/* MADV_WILLNEED reads into the swap cache: what is mapped stays as it is. */
static int read_ahead(struct thp_set *set, const struct thp_swapped *swapped, struct thp_why *why)
{
	struct thp_swapped now;
	struct thp_meter meter;
	unsigned int i;

	TRY(thp_meter_start(&meter, 0, why));
	for (i = 0; i < set->n; i++)
		if (madvise(set->map[i].thp, thp_env.pmd, MADV_WILLNEED))
			return thp_why(why, -errno, "MADV_WILLNEED: %s", strerror(errno));
	TRY(thp_meter_read(&meter, why));
	now = (struct thp_swapped){ 0 };
	for (i = 0; i < set->n; i++)
		TRY(thp_swapped_look(&now, set->map[i].thp, why));
	/* zswap stores base pages: the kernel may split an entry to read them. */
	if (thp_swap_by_zswap())
		return 0;
	if (now.entries != swapped->entries)
		return thp_why(why, -EAGAIN,
			       "MADV_WILLNEED: %u PMD swap entries became %u", swapped->entries,
			       now.entries);
	return thp_meter_expect(&meter, 0, 0, "MADV_WILLNEED", why);
}

/*
 * Swap-out unmaps a THP: PTEs with swap entries need a table, a PMD swap entry does not. A
 * kernel that knows PMD swap entries makes one in one of the tries, unless it is excused.
 */
static int swap_out(const void *arg, struct thp_why *why)
{
	struct thp_swapped swapped;
	struct thp_meter meter;
	struct thp_set set;
	unsigned int i;

	(void)arg;
	TRY(thp_set_new(&set, THP_ANON, why));
	TRY(thp_meter_start(&meter, 0, why));
	for (i = 0; i < set.n; i++)
		if (madvise(set.map[i].thp, thp_env.pmd, MADV_PAGEOUT))
			return thp_why(why, -errno, "MADV_PAGEOUT: %s", strerror(errno));
	TRY(thp_meter_read(&meter, why));
	if (thp_meter_event(&meter, swpout) <= 0)
		return thp_why(why, -EPROTO, "MADV_PAGEOUT swapped nothing out");
	TRY(thp_set_stop_swapped(&set, &meter, "swap-out", &swapped, why));
	if (!swapped.entries) {
		if (thp_swap_owes_entries())
			return thp_why(why, -EAGAIN,
				       "swap-out made no PMD swap entry, but the kernel has thp_swpout_pmd and swap is free");
		TRY(thp_map_expect(&set.map[0], THP_STATE_PTE, why));
	}
	TRY(read_ahead(&set, &swapped, why));
	return swap_in(&set, &swapped, why);
}

THP_COVERS(reclaim, swap_out, "reclaim-unmap");
TEST_F(reclaim, swap_out)
{
	(void)self;
	THP_NEEDS(THP_NEED_SWAP);
	THP_SCENARIO(swap_out, NULL);
}

/* MADV_FREE of the whole filled range: all of it is clean then. */
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
 * Reclaims a filled THP after MADV_FREE. Reclaim skips a folio with an extra reference:
 * then it is tried again. 0, or -errno with a cause.
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

/* MADV_FREE and then reclaim: the pages are freed, the table stays. */
static int lose_freed(const void *arg, struct thp_why *why)
{
	struct thp_map m;
	unsigned int i;

	(void)arg;
	TRY(free_and_reclaim(&m, why));
	/* Reclaim may leave some of the pages; a page that it took must read as zeroes. */
	for (i = 0; i < thp_env.nr; i++)
		if (thp_map_check(&m, i, 1, NULL))
			TRY(thp_check_zero(thp_page(&m, i), 1, why));
	/* Contents written afterwards must stay. */
	thp_fill(m.thp, m.seed, 0);
	return thp_map_check(&m, 0, 1, why);
}

THP_COVERS(reclaim, lazyfree, "reclaim-lazyfree");
TEST_F(reclaim, lazyfree)
{
	(void)self;
	THP_SCENARIO(lose_freed, NULL);
}

enum underused_step { UNDERUSED_READY = 1, UNDERUSED_SHRUNK, UNDERUSED_COUNTED };

struct underused_told {
	long long bytes;	/* of tables that the child has gained */
};

/* Another process that maps the THP. */
static int underused_child(struct thp_chan *chan, void *arg)
{
	struct underused_told *told = thp_chan_data(chan, struct underused_told);
	struct thp_map *m = arg;
	enum thp_state state;
	long long before;

	thp_warm_up();
	before = thp_obs_vmpte(0);
	thp_chan_post_parent(chan, UNDERUSED_READY);
	thp_chan_await_parent(chan, UNDERUSED_SHRUNK);
	told->bytes = thp_obs_vmpte(0) - before;
	thp_chan_post_parent(chan, UNDERUSED_COUNTED);
	if (thp_obs_state(m->thp, thp_env.pmd, &state))
		return thp_why(&chan->why, -EIO, "page map");
	if (state != THP_STATE_PTE)
		return thp_why(&chan->why, -EPROTO, "range is %s, expected PTE-mapped",
			       thp_state_name(state));
	TRY(thp_check(m->thp, m->seed, 0, 1, &chan->why));
	return thp_check_zero(thp_page(m, 1), thp_env.nr - 1, &chan->why);
}

/* Runs the shrinkers until one has split an underused THP. */
static int shrink_underused(struct thp_meter *meter, struct thp_why *why)
{
	int try;

	for (try = 0; try < 50; try++) {
		TRY(thp_write_file("/proc/sys/vm/drop_caches", "2"));
		TRY(thp_meter_read(meter, why));
		if (thp_meter_event(meter, underused) > 0)
			return 0;
		thp_sleep_ms(20);
	}
	return thp_why(why, -EPROTO, "thp_underused_split_page +0, expected +1");
}

/* Both have gained a table, if VmPTE shows a single one. */
static int expect_both_tables(const struct thp_meter *meter, struct thp_child *c,
			      struct thp_why *why)
{
	long long want = thp_tables_split(THP_ANON) * (long long)thp_env.table, bytes;

	if (thp_meter_bytes(meter) != want)
		return thp_why(why, -EPROTO, "VmPTE %+lld B here, expected %+lld",
			       thp_meter_bytes(meter), want);
	TRY(thp_child_await(c, UNDERUSED_COUNTED, THP_STEP_MS));
	bytes = thp_chan_data(c->chan, struct underused_told)->bytes;
	if (bytes != want)
		return thp_why(why, -EPROTO, "VmPTE %+lld B in the child, expected %+lld", bytes,
			       want);
	return 0;
}

/*
 * A THP that is mostly zeroes and mapped by two processes: the shrinker splits it
 * in both and gives the zero pages back (Linux 6.12).
 */
static int split_underused(const void *arg, struct thp_why *why)
{
	struct thp_child c = { 0 };
	struct thp_meter meter;
	struct thp_map m;

	(void)arg;
	TRY(thp_map_underused(&m, why));
	TRY(thp_child_start(&c, underused_child, &m));
	TRY(thp_child_await(&c, UNDERUSED_READY, THP_STEP_MS));
	TRY(thp_meter_start(&meter, 0, why));
	TRY(shrink_underused(&meter, why));
	/* At least: the shrinker splits the THPs of other processes, too. */
	if (thp_meter_event(&meter, split_pmd) < 2)
		return thp_why(why, -EPROTO, "thp_split_pmd %+lld, expected +2",
			       thp_meter_event(&meter, split_pmd));
	TRY(thp_map_expect(&m, THP_STATE_PTE, why));
	thp_chan_post_child(c.chan, UNDERUSED_SHRUNK);
	if (thp_env.unit == 1)
		TRY(expect_both_tables(&meter, &c, why));
	TRY(thp_child_join(&c, THP_STEP_MS, why));
	TRY(thp_map_check(&m, 0, 1, why));
	return thp_check_zero(thp_page(&m, 1), thp_env.nr - 1, why);
}

THP_COVERS(reclaim, underused, "folio-split-deferred multi-mm-split");
TEST_F(reclaim, underused)
{
	(void)self;
	THP_NEEDS(THP_NEED_ROOT);
	THP_SCENARIO(split_underused, NULL);
}

/*
 * KSM finds two equal pages in two THPs and splits both. It needs one scan to see that a
 * page does not change and another one to merge it; on a machine with virtual machines one
 * scan can take long.
 */
#define KSM_SCANS	4
#define KSM		"/sys/kernel/mm/ksm/"

/* Two THPs with one page in common, which KSM may merge. */
static int make_twins(struct thp_map *m, struct thp_why *why)
{
	static struct split_view view;

	TRY(thp_map_new(&m[0], THP_ANON, why));
	TRY(thp_map_new(&m[1], THP_ANON, why));
	memcpy(thp_page(&m[1], 7), thp_page(&m[0], 3), thp_env.page);
	if (madvise(m[0].thp, thp_env.pmd, MADV_MERGEABLE) ||
	    madvise(m[1].thp, thp_env.pmd, MADV_MERGEABLE))
		return thp_why(why, -errno, "MADV_MERGEABLE: %s", strerror(errno));
	/* Otherwise KSM has nothing to scan, and the time limit ends before its fifth scan. */
	view.m = &m[0];
	if (split_vma_mergeable.of(&view, &split_vma_mergeable, m[0].thp) != 1)
		return thp_why(why, -EPROTO, "VmFlags mg 0 after MADV_MERGEABLE, expected 1");
	return 0;
}

/* Starts KSM and waits until it has split both. */
static int await_ksm(const struct thp_map *m, struct thp_why *why)
{
	long long end = thp_now_ms() + thp_limit(THP_DAEMON_MS);
	enum thp_state a, b;
	uint64_t first, now;

	TRY(thp_read_u64(KSM "full_scans", &first));
	TRY(thp_settings_set(KSM "run", "1"));
	for (;; thp_sleep_ms(20)) {
		TRY(thp_read_u64(KSM "full_scans", &now));
		TRY(thp_obs_state(m[0].thp, thp_env.pmd, &a));
		TRY(thp_obs_state(m[1].thp, thp_env.pmd, &b));
		if (a == THP_STATE_PTE && b == THP_STATE_PTE)
			return 0;
		if (now - first > KSM_SCANS)
			return thp_why(why, -EPROTO,
				       "KSM left the THPs %s and %s in %d scans, expected both PTE-mapped",
				       thp_state_name(a), thp_state_name(b), KSM_SCANS);
		if (thp_now_ms() > end)
			return thp_skip(why,
					"needs a KSM with less to scan: 5 scans took over 20 s");
	}
}

static int split_for_ksm(const void *arg, struct thp_why *why)
{
	struct thp_map m[2];

	(void)arg;
	TRY(thp_settings_set(KSM "sleep_millisecs", "1"));
	TRY(thp_settings_set(KSM "pages_to_scan", "4096"));
	TRY(make_twins(m, why));
	TRY(await_ksm(m, why));
	TRY(thp_map_check(&m[0], 0, thp_env.nr, why));
	TRY(thp_map_check(&m[1], 0, 7, why));
	TRY(thp_check(thp_page(&m[1], 7), m[0].seed, 3, 1, why));
	return thp_map_check(&m[1], 8, thp_env.nr - 8, why);
}

THP_COVERS(reclaim, ksm, "folio-split-ksm");
TEST_F_TIMEOUT(reclaim, ksm, 90)
{
	(void)self;
	THP_NEEDS(THP_NEED_KSM);
	THP_SCENARIO(split_for_ksm, NULL);
}
