// SPDX-License-Identifier: GPL-2.0
/* move: Migration between nodes, of whole THPs and of split ones. */

FIXTURE(move) {
	struct thp_set set;
	struct thp_meter meter;
	struct thp_why why;
	long home, away;
};

FIXTURE_VARIANT(move) {
	const struct mover *mover;
};

FIXTURE_VARIANT_ADD(move, move_pages_one) {
	.mover = &mover_one,
};

FIXTURE_VARIANT_ADD(move, move_pages_all) {
	.mover = &mover_all,
};

FIXTURE_VARIANT_ADD(move, mbind) {
	.mover = &mover_mbind,
};

FIXTURE_VARIANT_ADD(move, migrate_pages) {
	.mover = &mover_migrate,
};

FIXTURE_SETUP(move)
{
	/* A policy without MPOL_F_MOF: NUMA balancing ignores the memory. */
	(void)sys_policy_local();
	thp_warm_up();
}

FIXTURE_TEARDOWN_PARENT(move)
{
	thp_teardown(_metadata);
}

/* Maps THPs on the node *@home, and finds another node to migrate them to. */
static int set_at_home(struct thp_set *set, long *home, long *away, struct thp_why *why)
{
	TRY(thp_set_new(set, THP_ANON, why));
	*home = node_of(set->map[0].thp);
	if (*home != nodes[0] && *home != nodes[1])
		*home = nodes[0];
	*away = other_node(*home);
	TRY(node_gives_thps(*away, set->n, why));
	TRY(node_gives_thps(*home, set->n, why));
	/* Without this move, the THPs of a set may start on several nodes. */
	return set_move(set, &mover_mbind, *home, why);
}

THP_COVERS(move, whole, "migrate-pmd migrate-entry-restore zap-pmd");
TEST_F(move, whole)
{
	long to;
	int i;

	THP_SKIP_IF(numa_missing(0));
	THP_REQUIRE_OK(set_at_home(&self->set, &self->home, &self->away, &self->why), &self->why);
	for (i = 0; i < 2; i++) {
		to = i ? self->home : self->away;
		THP_REQUIRE_OK(thp_meter_start(&self->meter, 0, &self->why), &self->why);
		THP_REQUIRE_OK(set_move(&self->set, variant->mover, to, &self->why), &self->why);
		THP_CHECK_OK(thp_meter_stop(&self->meter, 0, 0, "migration", &self->why),
			     &self->why);
		THP_CHECK_OK(set_on_node(&self->set, to, &self->why), &self->why);
		THP_CHECK_OK(thp_set_intact(&self->set, THP_STATE_PMD, &self->why), &self->why);
	}
	THP_CHECK_OK(thp_set_zap(&self->set, thp_tables_mapped(THP_ANON), &self->why), &self->why);
	thp_set_destroy(&self->set);
}

/* A large folio that is mapped by PTEs needs no more tables, and stays large. */
THP_COVERS(move, pte_mapped, "migrate-pte-mapped split-mprotect");
TEST_F(move, pte_mapped)
{
	long to;
	int i;

	THP_SKIP_IF(numa_missing(0));
	THP_REQUIRE_OK(set_at_home(&self->set, &self->home, &self->away, &self->why), &self->why);
	THP_REQUIRE_OK(thp_meter_start(&self->meter, 0, &self->why), &self->why);
	THP_REQUIRE_OK(thp_set_split(&self->set, &self->why), &self->why);
	THP_CHECK_OK(thp_set_stop_split(&self->set, &self->meter, "split",
					&self->why), &self->why);
	for (i = 0; i < 2; i++) {
		to = i ? self->home : self->away;
		THP_REQUIRE_OK(thp_meter_start(&self->meter, 0, &self->why), &self->why);
		THP_REQUIRE_OK(set_move(&self->set, variant->mover, to, &self->why), &self->why);
		THP_CHECK_OK(thp_meter_stop(&self->meter, 0, 0, "migration", &self->why),
			     &self->why);
		THP_CHECK_OK(set_on_node(&self->set, to, &self->why), &self->why);
		THP_CHECK_OK(thp_set_intact(&self->set, THP_STATE_PTE, &self->why), &self->why);
	}
	THP_CHECK_OK(thp_set_zap(&self->set, 1, &self->why), &self->why);
	thp_set_destroy(&self->set);
}

/* With a page unmapped, the folio waits to be split, and migration splits it. */
THP_COVERS(move, partially_mapped, "migrate-partially-mapped zap-dontneed");
TEST_F(move, partially_mapped)
{
	size_t hole = thp_env.nr / 4, i;
	struct thp_map *m;
	unsigned int k;

	THP_SKIP_IF(numa_missing(0));
	THP_REQUIRE_OK(set_at_home(&self->set, &self->home, &self->away, &self->why), &self->why);
	THP_REQUIRE_OK(thp_meter_start(&self->meter, 0, &self->why), &self->why);
	for (k = 0; k < self->set.n; k++)
		THP_REQUIRE(!madvise(thp_page(&self->set.map[k], hole), thp_env.page,
				     MADV_DONTNEED), "MADV_DONTNEED: %s", strerror(errno));
	THP_CHECK_OK(thp_set_stop_split(&self->set, &self->meter, "MADV_DONTNEED of a page",
					&self->why), &self->why);
	THP_REQUIRE_OK(thp_meter_start(&self->meter, 0, &self->why), &self->why);
	THP_REQUIRE_OK(set_move(&self->set, variant->mover, self->away, &self->why), &self->why);
	THP_CHECK_OK(thp_meter_stop(&self->meter, 0, 0, "migration", &self->why), &self->why);
	for (k = 0; k < self->set.n; k++) {
		m = &self->set.map[k];
		/* move_pages() promises only one page once the folio is split. */
		i = thp_env.nr / 2 + 1;
		THP_CHECK(node_of(thp_page(m, i)) == self->away,
			  "page %zu: expected node %ld, got %d", i, self->away,
			  node_of(thp_page(m, i)));
		THP_CHECK_OK(thp_map_expect(m, THP_STATE_PTE, &self->why), &self->why);
		THP_CHECK_OK(thp_map_check(m, 0, hole, &self->why), &self->why);
		THP_CHECK_OK(thp_check_zero(thp_page(m, hole), 1, &self->why), &self->why);
		THP_CHECK_OK(thp_map_check(m, hole + 1, thp_env.nr - hole - 1, &self->why),
			     &self->why);
	}
	THP_CHECK_OK(thp_set_zap(&self->set, 1, &self->why), &self->why);
	thp_set_destroy(&self->set);
}

/* The huge zero folio belongs to no node: migration refuses or ignores it and never splits it. */
THP_COVERS(move, huge_zero, "migrate-zero zap-pmd");
TEST_F(move, huge_zero)
{
	unsigned int i;
	int ret;

	THP_SKIP_IF(numa_missing(THP_NEED_ZERO));
	THP_REQUIRE_OK(thp_set_new(&self->set, THP_ZERO, &self->why), &self->why);
	THP_REQUIRE_OK(thp_meter_start(&self->meter, 0, &self->why), &self->why);
	for (i = 0; i < self->set.n; i++) {
		ret = variant->mover->move(&self->set.map[i], nodes[i % 2]);
		THP_CHECK(ret == variant->mover->zero || ret == -ENOENT,
			  "%s of a huge zero PMD: expected %s, got %s", variant->mover->name,
			  thp_errno_name(variant->mover->zero), thp_errno_name(ret));
	}
	THP_CHECK_OK(thp_meter_stop(&self->meter, 0, 0, "migration of a huge zero PMD", &self->why),
		     &self->why);
	THP_CHECK_OK(thp_set_intact(&self->set, THP_STATE_PMD_ZERO, &self->why), &self->why);
	THP_CHECK_OK(thp_set_zap(&self->set, thp_tables_mapped(THP_ANON), &self->why), &self->why);
	thp_set_destroy(&self->set);
}
