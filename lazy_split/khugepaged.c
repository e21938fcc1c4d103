// SPDX-License-Identifier: GPL-2.0
/*
 * khugepaged makes THPs by the same collapse_huge_page() as MADV_COLLAPSE, with decisions
 * of its own on the way (cc->is_khugepaged): the tables are counted after it alone.
 */

FIXTURE(khugepaged) {
	int unused;	/* the harness wants data */
};

FIXTURE_VARIANT(khugepaged) {
	struct collapse_from from;
};

FIXTURE_VARIANT_ADD(khugepaged, full) {
	.from = { .holes = false },
};

FIXTURE_VARIANT_ADD(khugepaged, holes) {
	.from = { .holes = true },
};

FIXTURE_VARIANT_ADD(khugepaged, after_split) {
	.from = { .split_before = true },
};

FIXTURE_SETUP(khugepaged)
{
	(void)self;
	(void)variant;
	THP_NEEDS(THP_NEED_ROOT);
	thp_warm_up();
}

FIXTURE_TEARDOWN_PARENT(khugepaged)
{
	(void)self;
	(void)variant;
	thp_teardown(_metadata);
	thp_guard_await_khugepaged();
}

/* In this order: restoring the second one wakes khugepaged. */
static int wake_khugepaged(struct thp_why *why)
{
	char none[16];
	int ret;

	snprintf(none, sizeof(none), "%zu", thp_env.nr - 1);
	ret = thp_settings_set(KHUGEPAGED "max_ptes_none", none);
	if (!ret)
		ret = thp_settings_set(KHUGEPAGED "alloc_sleep_millisecs", "20");
	if (!ret)
		ret = thp_settings_set(KHUGEPAGED "scan_sleep_millisecs", "20");
	if (!ret)
		ret = thp_settings_set(KHUGEPAGED "pages_to_scan", THP_GUARD_SCAN);
	return ret ? thp_why_default(why, ret) : 0;
}

/* Maps base pages as for MADV_COLLAPSE; the anchors beside them must not become THPs. */
static int offer_to_khugepaged(struct thp_map *m, const struct collapse_from *from,
			       struct thp_why *why)
{
	char *above;

	TRY(fill_small(m, from, why));
	above = m->thp + thp_env.pmd;
	if (madvise(m->area, m->thp - m->area, MADV_NOHUGEPAGE) ||
	    madvise(above, m->area + m->area_len - above, MADV_NOHUGEPAGE))
		return thp_why(why, -errno, "MADV_NOHUGEPAGE: %s", strerror(errno));
	return 0;
}

/* The number of ranges that are THPs by now. */
static unsigned int count_thps(const struct thp_set *set)
{
	enum thp_state state;
	unsigned int i, n = 0;

	for (i = 0; i < set->n; i++)
		n += !thp_obs_state(set->map[i].thp, thp_env.pmd, &state) && state == THP_STATE_PMD;
	return n;
}

/* khugepaged scans at once when woken, but scans other processes, too. */
static int await_thps(const struct thp_set *set, struct thp_why *why)
{
	struct thp_deadline d;
	unsigned int done = 0;

	thp_deadline_start(&d, 0, THP_DAEMON_MS);
	for (; !thp_deadline_over(&d); thp_sleep_ms(10)) {
		done = count_thps(set);
		if (done == set->n)
			return 0;
	}
	return thp_skip(why, "needs a khugepaged with less to scan",
			"%u of %u ranges are THPs after %lld ms", done, set->n, d.wall);
}

static int count_khugepaged(const void *arg, struct thp_why *why)
{
	const struct collapse_from *from = arg;
	struct thp_meter meter;
	static struct thp_set set;
	unsigned int i;

	set.n = thp_env.unit;
	for (i = 0; i < set.n; i++)
		TRY(offer_to_khugepaged(&set.map[i], from, why));
	TRY(thp_meter_start(&meter, 0, why));
	TRY(wake_khugepaged(why));
	TRY(await_thps(&set, why));
	TRY(thp_meter_stop(&meter, set.n * thp_tables_collapse(), 0, "khugepaged", why));
	for (i = 0; i < set.n; i++) {
		TRY(check_collapsed(&set.map[i], from->holes, why));
		TRY(thp_map_zap(&set.map[i]));
	}
	TRY(thp_meter_read(&meter, why));
	return thp_meter_tables(&meter, -(long)set.n, "khugepaged and munmap", why);
}

THP_COVERS(khugepaged, counts, "collapse");
TEST_F_TIMEOUT(khugepaged, counts, 60)
{
	(void)self;
	THP_SCENARIO(count_khugepaged, &variant->from);
}
