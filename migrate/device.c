// SPDX-License-Identifier: GPL-2.0
/*
 * device: Migration to a device and back.
 */

/*
 * A device that requests memory where there is none yet gets a THP of its own, mapped by a
 * PMD like any other. The table of lib/ops/op_*.c covers the migration of mapped memory to
 * a device and back.
 */
FIXTURE(device) {
	struct thp_set set;
	struct thp_meter meter;
	struct thp_why why;
};

FIXTURE_VARIANT(device) {
	enum thp_kind kind;
};

FIXTURE_VARIANT_ADD(device, none) { .kind = THP_NONE };
FIXTURE_VARIANT_ADD(device, zero) { .kind = THP_ZERO };

FIXTURE_SETUP(device)
{
	THP_NEEDS(THP_NEED_HMM_HUGE | thp_kind_needs(variant->kind));
	thp_warm_up();
	THP_REQUIRE_OK(thp_hmm_open(&self->why), &self->why);
}

FIXTURE_TEARDOWN_PARENT(device)
{
	thp_teardown(_metadata);
}

/* Requests every range for the device; 0 if each call returned @want. */
static int set_to_device(struct thp_set *s, int want, struct thp_why *why)
{
	unsigned int i;
	int ret;

	for (i = 0; i < s->n; i++) {
		ret = thp_hmm_to_device(s->map[i].thp, thp_env.pmd);
		if (ret != want)
			return thp_why(why, -EPROTO, "%s to the device: expected %s, got %s",
				       thp_kind_name(s->map[i].kind), thp_errno_name(want),
				       thp_errno_name(ret));
	}
	return 0;
}

/* Every range is one PMD and every page of it on the device. */
static int set_on_device(const struct thp_set *s, struct thp_why *why)
{
	unsigned int i;
	size_t p;

	for (i = 0; i < s->n; i++) {
		TRY(thp_map_expect(&s->map[i], THP_STATE_PMD, why));
		for (p = 0; p < thp_env.nr; p++)
			if (!thp_hmm_holds(thp_page(&s->map[i], p)))
				return thp_why(why, -EPROTO, "page %zu is not on the device", p);
	}
	return thp_check_zero(thp_hmm_buffer(), thp_env.nr, why);
}

/* Nothing that the device requested is present. */
static int set_as_before(const struct thp_set *s, struct thp_why *why)
{
	unsigned int i;
	int ret = 0;

	for (i = 0; i < s->n && !ret; i++)
		ret = thp_map_expect(&s->map[i], thp_kind_state(s->map[i].kind), why);
	return ret;
}

/* The huge zero PMD has a deposit already, on a kernel that deposits. */
static long at_populate(enum thp_kind kind)
{
	return kind == THP_NONE ? thp_tables_mapped(THP_ANON) : 0;
}

THP_COVERS(device, populate, "fault-device-private");
TEST_F(device, populate)
{
	char *page;

	THP_REQUIRE_OK(thp_set_new(&self->set, variant->kind, &self->why), &self->why);
	THP_REQUIRE_OK(thp_meter_start(&self->meter, 0, &self->why), &self->why);
	THP_REQUIRE_OK(set_to_device(&self->set, 0, &self->why), &self->why);
	THP_CHECK_OK(thp_meter_stop(&self->meter, self->set.n * at_populate(variant->kind), 0,
				    "migration to the device", &self->why), &self->why);
	THP_CHECK_OK(set_on_device(&self->set, &self->why), &self->why);
	/* Zaps memory on the device that the process has not accessed. */
	THP_CHECK_OK(thp_set_zap(&self->set, thp_tables_mapped(THP_ANON), &self->why), &self->why);
	thp_set_destroy(&self->set);

	/* Another set, which comes back as THPs that can be written. */
	THP_REQUIRE_OK(thp_set_new(&self->set, variant->kind, &self->why), &self->why);
	THP_REQUIRE_OK(set_to_device(&self->set, 0, &self->why), &self->why);
	page = thp_page(&self->set.map[0], thp_env.nr / 2);
	THP_REQUIRE_OK(thp_meter_start(&self->meter, 0, &self->why), &self->why);
	thp_touch(page);
	THP_CHECK_OK(thp_meter_stop(&self->meter, 0, 0, "write to device memory", &self->why),
		     &self->why);
	THP_CHECK(!thp_hmm_holds(page), "written to, but still on the device");
	THP_CHECK_OK(thp_map_expect(&self->set.map[0], THP_STATE_PMD, &self->why), &self->why);
	THP_CHECK(thp_peek(page) == 1, "the byte that was written is lost");
	*page = 0;
	THP_CHECK_OK(thp_check_zero(self->set.map[0].thp, thp_env.nr, &self->why), &self->why);
	THP_CHECK_OK(thp_set_zap(&self->set, thp_tables_mapped(THP_ANON), &self->why), &self->why);
	thp_set_destroy(&self->set);
}

/* userfaultfd handles the missing pages: the kernel gives back what it prepared for the PMD. */
THP_COVERS(device, populate_missing, "fault-device-private fault-uffd-missing");
TEST_F(device, populate_missing)
{
	unsigned int i;
	int uffd;

	THP_NEEDS(THP_NEED_UFFD);
	uffd = thp_uffd_open(0);
	THP_REQUIRE(uffd >= 0, "userfaultfd: %s", thp_errno_name(uffd));
	THP_REQUIRE_OK(thp_set_new(&self->set, variant->kind, &self->why), &self->why);
	for (i = 0; i < self->set.n; i++)
		THP_REQUIRE_OK(thp_uffd_register(uffd, self->set.map[i].thp, thp_env.pmd,
						 UFFDIO_REGISTER_MODE_MISSING), &self->why);
	THP_REQUIRE_OK(thp_meter_start(&self->meter, 0, &self->why), &self->why);
	THP_CHECK_OK(set_to_device(&self->set, -ENOENT, &self->why), &self->why);
	THP_CHECK_OK(thp_meter_stop(&self->meter, 0, 0, "migration to the device", &self->why),
		     &self->why);
	THP_CHECK_OK(set_as_before(&self->set, &self->why), &self->why);
	close(uffd);
	THP_CHECK_OK(set_to_device(&self->set, 0, &self->why), &self->why);
	THP_CHECK_OK(set_on_device(&self->set, &self->why), &self->why);
	THP_CHECK_OK(thp_set_zap(&self->set, thp_tables_mapped(THP_ANON), &self->why), &self->why);
	thp_set_destroy(&self->set);
}

/* An eager kernel cannot deposit and leaves the range empty, a lazy one needs no table. */
THP_COVERS(device, populate_starved, "fault-device-private");
TEST_F(device, populate_starved)
{
	bool lazy = thp_env.contract == THP_LAZY;
	int ret;

	THP_NEEDS(THP_NEED_FAIL_PAGE);
	THP_REQUIRE_OK(thp_set_new(&self->set, variant->kind, &self->why), &self->why);
	THP_REQUIRE_OK(thp_inject_tables(&self->why), &self->why);
	THP_REQUIRE_OK(thp_meter_start(&self->meter, 0, &self->why), &self->why);
	thp_inject_own(true);
	ret = set_to_device(&self->set, lazy ? 0 : -ENOENT, &self->why);
	thp_inject_own(false);
	THP_CHECK_RESULT(ret, &self->why);
	THP_CHECK(lazy ? !thp_inject_fired() : thp_inject_fired() >= (long)self->set.n,
		  "%ld tables refused, expected %s", thp_inject_fired(),
		  lazy ? "that none is asked for" : "one for each THP");
	THP_CHECK_OK(thp_meter_stop(&self->meter, 0, 0,
				    "migration without tables", &self->why), &self->why);
	if (!lazy) {
		THP_CHECK_OK(set_as_before(&self->set, &self->why), &self->why);
		THP_CHECK_OK(set_to_device(&self->set, 0, &self->why), &self->why);
	}
	THP_CHECK_OK(set_on_device(&self->set, &self->why), &self->why);
	THP_CHECK_OK(thp_set_zap(&self->set, thp_tables_mapped(THP_ANON), &self->why), &self->why);
	thp_set_destroy(&self->set);
}

/* Pages that userfaultfd protects on the device stay protected after a split of the PMD. */
THP_COVERS(device, protected_split, "protect-uffd-wp");
TEST_F(device, protected_split)
{
	size_t mid = thp_env.nr / 2, p;
	unsigned int i;
	uint64_t entry;
	int uffd;

	THP_NEEDS(THP_NEED_UFFD_WP);
	uffd = thp_uffd_open(UFFD_FEATURE_PAGEFAULT_FLAG_WP);
	THP_REQUIRE(uffd >= 0, "userfaultfd: %s", thp_errno_name(uffd));
	THP_REQUIRE_OK(thp_set_new(&self->set, variant->kind, &self->why), &self->why);
	THP_REQUIRE_OK(set_to_device(&self->set, 0, &self->why), &self->why);
	for (i = 0; i < self->set.n; i++) {
		char *thp = self->set.map[i].thp;

		THP_REQUIRE_OK(thp_uffd_register(uffd, thp, thp_env.pmd, UFFDIO_REGISTER_MODE_WP),
			       &self->why);
		THP_REQUIRE_OK(thp_uffd_wp(uffd, thp, thp_env.pmd, 1), &self->why);
	}
	THP_CHECK_OK(set_on_device(&self->set, &self->why), &self->why);
	THP_REQUIRE_OK(thp_meter_start(&self->meter, 0, &self->why), &self->why);
	for (i = 0; i < self->set.n; i++)
		THP_REQUIRE_OK(thp_uffd_wp(uffd, thp_page(&self->set.map[i], mid), thp_env.page, 0),
			       &self->why);
	THP_CHECK_OK(thp_set_stop_split(&self->set, &self->meter, "unprotecting one page",
					&self->why), &self->why);
	for (i = 0; i < self->set.n; i++) {
		for (p = 0; p < thp_env.nr; p++) {
			char *page = thp_page(&self->set.map[i], p);

			THP_REQUIRE(thp_hmm_holds(page), "page %zu is not on the device", p);
			THP_REQUIRE(!thp_obs_pagemap(page, &entry, 1), "pagemap: %s",
				    strerror(errno));
			THP_REQUIRE(!!(entry & THP_PM_UFFD_WP) == (p != mid),
				    "page %zu is %suffd-wp", p, p == mid ? "" : "not ");
		}
	}
	close(uffd);
	THP_CHECK_OK(thp_set_zap(&self->set, 1, &self->why), &self->why);
	thp_set_destroy(&self->set);
}
