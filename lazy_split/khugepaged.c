// SPDX-License-Identifier: GPL-2.0
/*
 * khugepaged makes THPs by the same collapse_huge_page() as MADV_COLLAPSE, with decisions
 * of its own on the way (cc->is_khugepaged): the tables are counted after it alone.
 */

FIXTURE(khugepaged) {
	struct thp_set set;
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

/* Base pages as for MADV_COLLAPSE; the anchors beside them are not to become THPs. */
static int offer_to_khugepaged(struct thp_map *m, const struct collapse_from *from,
			       struct thp_why *why)
{
	int ret = fill_small(m, from, why);

	char *above;

	if (ret)
		return ret;
	above = m->thp + thp_env.pmd;
	if (madvise(m->area, m->thp - m->area, MADV_NOHUGEPAGE) ||
	    madvise(above, m->area + m->area_len - above, MADV_NOHUGEPAGE))
		return thp_why(why, -errno, "MADV_NOHUGEPAGE: %s", strerror(errno));
	return 0;
}

/* How many of them are THPs by now. */
static unsigned int count_thps(const struct thp_map *maps)
{
	enum thp_state state;
	unsigned int i, n = 0;

	for (i = 0; i < thp_env.unit; i++)
		n += !thp_obs_state(maps[i].thp, thp_env.pmd, &state) && state == THP_STATE_PMD;
	return n;
}

THP_COVERS(khugepaged, counts, "collapse");
TEST_F_TIMEOUT(khugepaged, counts, 60)
{
	struct thp_map *maps = self->set.map;
	struct thp_events e0, e1;
	struct thp_why why = { 0 };
	unsigned int i, done = 0;
	struct thp_deadline d;
	long long a, b, c;

	for (i = 0; i < thp_env.unit; i++)
		THP_REQUIRE_OK(offer_to_khugepaged(&maps[i], &variant->from, &why), &why);
	a = thp_obs_vmpte(0);
	thp_obs_events(&e0);
	THP_REQUIRE_OK(wake_khugepaged(&why), &why);
	/* It scans at once when it is told to, but has other processes to look at. */
	thp_deadline_start(&d, 0, THP_DAEMON_MS);
	for (; !thp_deadline_over(&d); thp_sleep_ms(10)) {
		done = count_thps(maps);
		if (done == thp_env.unit)
			break;
	}
	thp_obs_events(&e1);
	b = thp_obs_vmpte(0);
	if (done < thp_env.unit) {
		TH_LOG("%u of %u ranges are THPs after %lld ms", done, thp_env.unit, d.wall);
		THP_SKIP("needs a khugepaged with less to scan");
	}
	THP_CHECK_OK(expect_tables("khugepaged", b - a, thp_tables_collapse(), &why), &why);
	THP_CHECK(e1.split_pmd == e0.split_pmd, "khugepaged: thp_split_pmd %+lld, expected +0",
		  (long long)(e1.split_pmd - e0.split_pmd));
	for (i = 0; i < thp_env.unit; i++) {
		THP_CHECK_OK(check_collapsed(&maps[i], variant->from.holes, &why), &why);
		THP_CHECK_OK(thp_map_zap(&maps[i]), &why);
	}
	c = thp_obs_vmpte(0);
	THP_CHECK_OK(expect_tables("khugepaged and munmap", c - a, -1, &why), &why);
}
