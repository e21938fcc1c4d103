// SPDX-License-Identifier: GPL-2.0
/*
 * zswap: THPs in swap whose pages zswap has. The last tests of the last program: once zswap
 * was enabled, a kernel may split every entry that it swaps in until the next boot, and the
 * tests expect it to (thp_swap_by_zswap()).
 */
FIXTURE(zswap) {
	struct thp_swapdev dev;
	struct thp_why why;
};

FIXTURE_VARIANT(zswap) {
	struct swapin_op op;
};

FIXTURE_VARIANT_ADD(zswap, read) { .op = SWAPIN_READ };
FIXTURE_VARIANT_ADD(zswap, write) { .op = SWAPIN_WRITE };
FIXTURE_VARIANT_ADD(zswap, gup) { .op = SWAPIN_GUP };
FIXTURE_VARIANT_ADD(zswap, willneed) { .op = SWAPIN_WILLNEED };
FIXTURE_VARIANT_ADD(zswap, collapse) { .op = SWAPIN_COLLAPSE };
FIXTURE_VARIANT_ADD(zswap, fork) { .op = SWAPIN_FORK };
FIXTURE_VARIANT_ADD(zswap, mincore) { .op = SWAPIN_MINCORE };
FIXTURE_VARIANT_ADD(zswap, swapoff) { .op = SWAPIN_OFF };

FIXTURE_SETUP(zswap)
{
	THP_NEEDS(THP_NEED_ZSWAP | THP_NEED_DEBUGFS);
	THP_NEEDS(SWAPIN_NEEDS | variant->op.needs);
	thp_warm_up();
	if (variant->op.off)
		THP_REQUIRE_OK(thp_swapdev_on(&self->dev, &self->why), &self->why);
}

FIXTURE_TEARDOWN_PARENT(zswap)
{
	thp_teardown(_metadata);
}

/* With zswap enabled; and that zswap has the pages, otherwise there is nothing to see. */
static int zswap_run(const void *arg, struct thp_why *why)
{
	long long before, stored;
	char path[192];

	snprintf(path, sizeof(path), "%s/zswap/stored_pages", thp_env.debugfs);
	TRY(thp_read_u64(path, (uint64_t *)&before));
	thp_family_reset();
	TRY(thp_group_new(THP_SWAPPED, 0, why));
	TRY(thp_read_u64(path, (uint64_t *)&stored));
	thp_family_reset();
	if (stored - before < (long long)thp_env.nr / 2)
		return thp_why(why, -EAGAIN, "zswap has %+lld pages after a THP was swapped out",
			       stored - before);
	return swapin_run(arg, why);
}

THP_COVERS(zswap, entry, "swapin-split");
TEST_F(zswap, entry)
{
	const struct swapin_case c = { &variant->op, CACHE_ZSWAP, &self->dev };

	THP_REQUIRE_OK(thp_settings_set("/sys/module/zswap/parameters/enabled", "Y"), &self->why);
	THP_SCENARIO(zswap_run, &c);
}
