// SPDX-License-Identifier: GPL-2.0
/*
 * bits: Bits that move with a page.
 */

/* Moves page @from of the THP; returns its new address, or MAP_FAILED. */
static char *move_page(struct thp_map *m, size_t from)
{
	return mremap(thp_page(m, from), thp_env.page, thp_env.page,
		      MREMAP_MAYMOVE | MREMAP_FIXED, m->thp + thp_env.pmd + 8 * thp_env.page);
}

/*
 * A change is never forgotten: one write makes a whole PMD soft-dirty, a split passes that
 * on, and a moved page counts as changed anyway.
 */
THP_COVERS(mremap, soft_dirty, "move-partial move-pmd");
TEST_F(mremap, soft_dirty)
{
	struct thp_why why = { 0 };
	struct thp_map *m = &source;
	size_t nr = thp_env.nr;
	char *to;
	int got;

	(void)self;
	THP_REQUIRE_OK(thp_map_new(m, THP_ANON, &why), &why);
	got = thp_obs_pages(m->thp, thp_env.page, THP_PM_SOFT_DIRTY);
	if (!got || thp_write_file("/proc/self/clear_refs", "4"))
		THP_SKIP("needs CONFIG_MEM_SOFT_DIRTY");
	got = thp_obs_pages(m->thp, nr * thp_env.page, THP_PM_SOFT_DIRTY);
	THP_CHECK(!got, "%d pages are dirty after clearing, expected 0", got);
	to = move_page(m, nr - 1);
	THP_REQUIRE(to != MAP_FAILED, "mremap: %s", strerror(errno));
	THP_CHECK(thp_obs_pages(to, thp_env.page, THP_PM_SOFT_DIRTY) == 1,
		  "the page that moved is clean");

	thp_map_destroy(m);
	THP_REQUIRE_OK(thp_map_new(m, THP_ANON, &why), &why);
	THP_CHECK(!thp_write_file("/proc/self/clear_refs", "4"),
		  "/proc/self/clear_refs does not take 4, which clears soft-dirty");
	thp_touch(m->thp);
	to = move_page(m, nr - 1);
	THP_REQUIRE(to != MAP_FAILED, "mremap: %s", strerror(errno));
	got = thp_obs_pages(m->thp, (nr - 1) * thp_env.page, THP_PM_SOFT_DIRTY);
	THP_CHECK(got == (int)nr - 1, "%d pages that stayed are dirty, expected %zu", got, nr - 1);
	got = thp_obs_pages(to, thp_env.page, THP_PM_SOFT_DIRTY);
	THP_CHECK(got == 1, "the page that moved is clean");
	thp_map_destroy(m);
}

/* Pages that stay keep their write protection. */
THP_COVERS(mremap, uffd_wp, "move-partial");
TEST_F(mremap, uffd_wp)
{
	struct thp_map *m = &source;
	struct thp_why why = { 0 };
	size_t nr = thp_env.nr;
	char *to;
	int got;

	(void)self;
	THP_NEEDS(THP_NEED_UFFD_WP);
	THP_REQUIRE_OK(thp_map_new(m, THP_ANON, &why), &why);
	m->uffd = thp_uffd_open(UFFD_FEATURE_PAGEFAULT_FLAG_WP);
	THP_REQUIRE(m->uffd >= 0, "userfaultfd: %s", thp_errno_name(m->uffd));
	THP_REQUIRE_OK(thp_uffd_register(m->uffd, m->thp, thp_env.pmd, UFFDIO_REGISTER_MODE_WP),
		       &why);
	THP_REQUIRE_OK(thp_uffd_wp(m->uffd, m->thp, thp_env.pmd, 1), &why);
	got = thp_obs_pages(m->thp, thp_env.pmd, THP_PM_UFFD_WP);
	THP_REQUIRE(got == (int)nr, "%d pages are write-protected, expected %zu", got, nr);
	to = move_page(m, nr - 1);
	THP_REQUIRE(to != MAP_FAILED, "mremap: %s", strerror(errno));
	got = thp_obs_pages(m->thp, (nr - 1) * thp_env.page, THP_PM_UFFD_WP);
	THP_CHECK(got == (int)nr - 1, "%d pages that stayed are write-protected, expected %zu",
		  got, nr - 1);
	THP_CHECK_OK(thp_map_check(m, 0, nr - 1, &why), &why);
	THP_CHECK_OK(thp_check(to, m->seed, nr - 1, 1, &why), &why);
	thp_map_destroy(m);
}
