// SPDX-License-Identifier: GPL-2.0
/*
 * migrate: Migration of a part, of shared and busy THPs, by mbind() and compaction.
 */

FIXTURE(migrate) {
	struct thp_set set;
	struct thp_meter meter;
	struct thp_why why;
	struct thp_child child;
	long home, away;
	int pipe[2];
};

FIXTURE_SETUP(migrate)
{
	(void)sys_policy_local();
	thp_warm_up();
}

FIXTURE_TEARDOWN_PARENT(migrate)
{
	thp_teardown(_metadata);
}

/* mbind() of a base page splits the VMA and the PMD, and moves the page. */
THP_COVERS(migrate, mbind_page, "split-mbind migrate-pte-mapped");
TEST_F(migrate, mbind_page)
{
	unsigned long mask[MASK_LONGS];
	unsigned int i;
	char *p;

	THP_SKIP_IF(numa_missing(0));
	THP_REQUIRE_OK(set_at_home(&self->set, &self->home, &self->away, &self->why), &self->why);
	mask_of(self->away, mask);
	THP_REQUIRE_OK(thp_meter_start(&self->meter, 0, &self->why), &self->why);
	for (i = 0; i < self->set.n; i++) {
		p = thp_page(&self->set.map[i], thp_env.nr / 2 + 1);
		THP_REQUIRE(!sys_mbind(p, thp_env.page, MPOL_BIND, mask, MPOL_MF_MOVE),
			    "mbind of one page: %s", strerror(errno));
	}
	THP_CHECK_OK(thp_set_stop_split(&self->set, &self->meter, "mbind of a page",
					&self->why), &self->why);
	for (i = 0; i < self->set.n; i++) {
		p = thp_page(&self->set.map[i], thp_env.nr / 2 + 1);
		THP_CHECK(node_of(p) == self->away, "expected node %ld, got %d", self->away,
			  node_of(p));
	}
	THP_CHECK_OK(thp_set_intact(&self->set, THP_STATE_PTE, &self->why), &self->why);
	THP_CHECK_OK(thp_set_zap(&self->set, 1, &self->why), &self->why);
	thp_set_destroy(&self->set);
}

/* Two processes map the THPs: the steps of the child, and of the test. */
enum { SHARER_READY = 1, SHARER_UNMAPPED };
enum { SHARER_UNMAP = 1, SHARER_END };

/* The values of their channel: the expected state, its VmPTE with the range and without. */
enum { SHARER_STATE, SHARER_BEFORE, SHARER_AFTER };

static int sharer(struct thp_chan *chan, void *arg)
{
	enum thp_state state;
	struct thp_set *s = arg;
	unsigned int i;

	thp_warm_up();
	thp_chan_post_parent(chan, SHARER_READY);
	thp_chan_await_parent(chan, SHARER_UNMAP);
	state = chan->val[SHARER_STATE];
	TRY(thp_set_intact(s, state, &chan->why));
	chan->val[SHARER_BEFORE] = thp_obs_vmpte(0);
	for (i = 0; i < s->n; i++)
		munmap(s->map[i].thp, thp_env.pmd);
	chan->val[SHARER_AFTER] = thp_obs_vmpte(0);
	thp_chan_post_parent(chan, SHARER_UNMAPPED);
	thp_chan_await_parent(chan, SHARER_END);
	return 0;
}

static int share_set(struct thp_child *c, struct thp_set *s, struct thp_why *why)
{
	int ret = thp_child_start(c, sharer, s);

	if (!ret)
		ret = thp_child_await(c, SHARER_READY, THP_STEP_MS);
	return ret ? thp_why(why, ret, "a child that shares the THPs: %s", thp_errno_name(ret)) : 0;
}

/*
 * Ends the sharing: the child finds the THPs in @state, its tables have changed since
 * @vmpte by the tables of that state, and are freed with the THPs.
 */
static int unshare_set(struct thp_child *c, const struct thp_set *s, enum thp_state state,
		       long long vmpte, struct thp_why *why)
{
	bool split = state == THP_STATE_PTE;
	long moved = split ? thp_tables_split(THP_ANON) : 0;
	long each = split ? 1 : thp_tables_mapped(THP_ANON);
	long long bytes = thp_obs_vmpte(c->pid) - vmpte;
	long n = s->n, got;
	int ret = 0, end;

	if (!thp_env_tables(bytes, &got) || got != moved * n)
		ret = thp_why(why, -EPROTO, "VmPTE of the child: expected %+ld tables, got %+lld B",
			      moved * n, bytes);
	c->chan->val[SHARER_STATE] = state;
	thp_chan_post_child(c->chan, SHARER_UNMAP);
	if (!thp_child_await(c, SHARER_UNMAPPED, THP_STEP_MS)) {
		bytes = c->chan->val[SHARER_BEFORE] - c->chan->val[SHARER_AFTER];
		if (!thp_env_tables(bytes, &got) || got != each * n)
			ret = thp_why(why, -EPROTO,
				      "child frees %lld B of tables, expected %ld tables", bytes,
				      each * n);
		thp_chan_post_child(c->chan, SHARER_END);
	}
	end = thp_child_join(c, THP_STEP_MS, why);
	return ret ? ret : end;
}

static int move_everywhere(struct thp_map *m, long node, int *status)
{
	void *page = thp_page(m, 3);
	int to = node;

	*status = -EIO;
	return sys_move_pages(0, 1, &page, &to, status, MPOL_MF_MOVE_ALL);
}

/* Both processes get the migration entry, and both get their PMD back. */
THP_COVERS(migrate, shared, "migrate-pmd migrate-entry-restore migrate-shared");
TEST_F(migrate, shared)
{
	long long vmpte;
	unsigned int i;
	int status, ret;

	THP_SKIP_IF(numa_missing(THP_NEED_ROOT));
	THP_REQUIRE_OK(set_at_home(&self->set, &self->home, &self->away, &self->why), &self->why);
	THP_REQUIRE_OK(share_set(&self->child, &self->set, &self->why), &self->why);
	vmpte = thp_obs_vmpte(self->child.pid);
	THP_REQUIRE_OK(thp_meter_start(&self->meter, 0, &self->why), &self->why);
	for (i = 0; i < self->set.n; i++) {
		ret = move_everywhere(&self->set.map[i], self->away, &status);
		THP_CHECK(!ret && status == self->away, "move_pages: %s, node %d, expected %ld",
			  thp_errno_name(ret), status, self->away);
	}
	THP_CHECK_OK(thp_meter_stop(&self->meter, 0, 0, "move_pages of a shared THP", &self->why),
		     &self->why);
	THP_CHECK_OK(set_on_node(&self->set, self->away, &self->why), &self->why);
	THP_CHECK_OK(thp_set_intact(&self->set, THP_STATE_PMD, &self->why), &self->why);
	THP_CHECK_OK(unshare_set(&self->child, &self->set, THP_STATE_PMD, vmpte, &self->why),
		     &self->why);
	THP_CHECK_OK(thp_set_zap(&self->set, thp_tables_mapped(THP_ANON), &self->why), &self->why);
	thp_set_destroy(&self->set);
}

/* Without MPOL_MF_MOVE_ALL the kernel refuses a shared THP and does not change it. */
THP_COVERS(migrate, shared_refused, "migrate-shared");
TEST_F(migrate, shared_refused)
{
	long long vmpte;
	unsigned int i;
	int ret;

	THP_SKIP_IF(numa_missing(0));
	THP_REQUIRE_OK(set_at_home(&self->set, &self->home, &self->away, &self->why), &self->why);
	THP_REQUIRE_OK(share_set(&self->child, &self->set, &self->why), &self->why);
	vmpte = thp_obs_vmpte(self->child.pid);
	THP_REQUIRE_OK(thp_meter_start(&self->meter, 0, &self->why), &self->why);
	for (i = 0; i < self->set.n; i++) {
		ret = move_one(&self->set.map[i], self->away);
		THP_CHECK(ret == -EACCES, "move_pages of a shared THP: expected EACCES, got %s",
			  thp_errno_name(ret));
	}
	THP_CHECK_OK(thp_meter_stop(&self->meter, 0, 0, "move_pages of a shared THP", &self->why),
		     &self->why);
	THP_CHECK_OK(set_on_node(&self->set, self->home, &self->why), &self->why);
	THP_CHECK_OK(thp_set_intact(&self->set, THP_STATE_PMD, &self->why), &self->why);
	THP_CHECK_OK(unshare_set(&self->child, &self->set, THP_STATE_PMD, vmpte, &self->why),
		     &self->why);
	thp_set_destroy(&self->set);
}

/*
 * Another reference stops the copy: remove_migration_ptes() maps the old folio again, by
 * its PMD.
 */
THP_COVERS(migrate, busy, "migrate-fail migrate-entry-restore migrate-pmd");
TEST_F(migrate, busy)
{
	struct iovec iov;
	unsigned int i;
	ssize_t n;

	THP_SKIP_IF(numa_missing(0));
	THP_REQUIRE_OK(set_at_home(&self->set, &self->home, &self->away, &self->why), &self->why);
	THP_REQUIRE(!pipe(self->pipe), "pipe: %s", strerror(errno));
	for (i = 0; i < self->set.n; i++) {
		iov.iov_base = thp_page(&self->set.map[i], 5);
		iov.iov_len = thp_env.page;
		n = vmsplice(self->pipe[1], &iov, 1, SPLICE_F_NONBLOCK);
		THP_REQUIRE(n == (ssize_t)thp_env.page, "vmsplice: %zd (%s)", n, strerror(errno));
	}
	THP_REQUIRE_OK(thp_meter_start(&self->meter, 0, &self->why), &self->why);
	for (i = 0; i < self->set.n; i++)
		(void)move_one(&self->set.map[i], self->away);
	THP_CHECK_OK(thp_meter_stop(&self->meter, 0, 0, "move_pages of a busy THP", &self->why),
		     &self->why);
	THP_CHECK_OK(set_on_node(&self->set, self->home, &self->why), &self->why);
	THP_CHECK_OK(thp_set_intact(&self->set, THP_STATE_PMD, &self->why), &self->why);
	close(self->pipe[0]);
	close(self->pipe[1]);

	/* The failed try has left nothing behind. */
	THP_REQUIRE_OK(thp_meter_start(&self->meter, 0, &self->why), &self->why);
	THP_REQUIRE_OK(set_move(&self->set, &mover_one, self->away, &self->why), &self->why);
	THP_CHECK_OK(thp_meter_stop(&self->meter, 0, 0, "migration", &self->why), &self->why);
	THP_CHECK_OK(set_on_node(&self->set, self->away, &self->why), &self->why);
	THP_CHECK_OK(thp_set_intact(&self->set, THP_STATE_PMD, &self->why), &self->why);
	THP_CHECK_OK(thp_set_zap(&self->set, thp_tables_mapped(THP_ANON), &self->why), &self->why);
	thp_set_destroy(&self->set);
}

/* The order of a THP. */
static int pmd_order(void)
{
	return __builtin_ctzl(thp_env.nr);
}

/* No THP at the target: migration splits the source and migrates its base pages. */
THP_COVERS(migrate, split_fallback, "migrate-split");
TEST_F(migrate, split_fallback)
{
	long n = thp_env.unit;
	int ret;

	THP_SKIP_IF(numa_missing(THP_NEED_FAIL_PAGE));
	THP_REQUIRE_OK(set_at_home(&self->set, &self->home, &self->away, &self->why), &self->why);
	THP_REQUIRE_OK(thp_inject_any(pmd_order(), &self->why), &self->why);
	THP_REQUIRE_OK(thp_meter_start(&self->meter, 0, &self->why), &self->why);
	thp_inject_own(true);
	ret = set_move(&self->set, &mover_one, self->away, &self->why);
	thp_inject_own(false);
	THP_CHECK_RESULT(ret, &self->why);
	THP_CHECK_OK(thp_set_stop_split(&self->set, &self->meter,
					"migration without free THPs", &self->why), &self->why);
	/* migrate_pages() tries again, which would hide a folio split that has failed. */
	THP_CHECK(!thp_meter_event(&self->meter, split_page_failed),
		  "thp_split_page_failed: expected +0, got %+lld",
		  thp_meter_event(&self->meter, split_page_failed));
	THP_CHECK(thp_meter_event(&self->meter, migrate_split) == n,
		  "thp_migration_split: expected +%ld, got %+lld", n,
		  thp_meter_event(&self->meter, migrate_split));
	THP_CHECK(thp_inject_fired() >= n, "injected failures: expected at least %ld, got %ld", n,
		  thp_inject_fired());
	THP_CHECK_OK(set_on_node(&self->set, self->away, &self->why), &self->why);
	THP_CHECK_OK(thp_set_intact(&self->set, THP_STATE_PTE, &self->why), &self->why);
	THP_CHECK_OK(thp_set_zap(&self->set, 1, &self->why), &self->why);
	thp_set_destroy(&self->set);
}

/* The same for two processes: migration splits both PMDs, each process gets its table. */
THP_COVERS(migrate, split_fallback_shared, "migrate-split multi-mm-split migrate-shared");
TEST_F(migrate, split_fallback_shared)
{
	long n = thp_env.unit;
	int ret = 0, status;
	long long vmpte;
	unsigned int i;

	THP_SKIP_IF(numa_missing(THP_NEED_FAIL_PAGE));
	THP_REQUIRE_OK(set_at_home(&self->set, &self->home, &self->away, &self->why), &self->why);
	THP_REQUIRE_OK(share_set(&self->child, &self->set, &self->why), &self->why);
	vmpte = thp_obs_vmpte(self->child.pid);
	THP_REQUIRE_OK(thp_inject_any(pmd_order(), &self->why), &self->why);
	THP_REQUIRE_OK(thp_meter_start(&self->meter, 0, &self->why), &self->why);
	thp_inject_own(true);
	for (i = 0; i < self->set.n && !ret; i++)
		ret = move_everywhere(&self->set.map[i], self->away, &status);
	thp_inject_own(false);
	THP_CHECK_OK(thp_meter_stop(&self->meter, n * thp_tables_split(THP_ANON), 2 * n,
				    "migration without free THPs", &self->why), &self->why);
	THP_CHECK(!thp_meter_event(&self->meter, split_page_failed),
		  "thp_split_page_failed: expected +0, got %+lld",
		  thp_meter_event(&self->meter, split_page_failed));
	THP_CHECK(!ret && status == self->away, "move_pages: %s, node %d, expected %ld",
		  thp_errno_name(ret), status, self->away);
	THP_CHECK_OK(set_on_node(&self->set, self->away, &self->why), &self->why);
	THP_CHECK_OK(thp_set_intact(&self->set, THP_STATE_PTE, &self->why), &self->why);
	THP_CHECK_OK(unshare_set(&self->child, &self->set, THP_STATE_PTE, vmpte, &self->why),
		     &self->why);
	THP_CHECK_OK(thp_set_zap(&self->set, 1, &self->why), &self->why);
	thp_set_destroy(&self->set);
}

/*
 * No THP, no table and no base page can be allocated: migration fails. On an eager kernel
 * the PMD stays split; on a lazy one even the split is refused, and nothing has changed.
 */
THP_COVERS(migrate, starved, "migrate-split migrate-fail");
TEST_F(migrate, starved)
{
	bool lazy = thp_env.contract == THP_LAZY;
	long n = thp_env.unit;
	unsigned int i;
	char path[192];
	int fd;

	THP_SKIP_IF(numa_missing(THP_NEED_FAIL_PAGE));
	THP_REQUIRE_OK(set_at_home(&self->set, &self->home, &self->away, &self->why), &self->why);
	THP_REQUIRE_OK(thp_inject_any(0, &self->why), &self->why);
	/* User pages fail, too. */
	snprintf(path, sizeof(path), "%s/fail_page_alloc/ignore-gfp-highmem", thp_env.debugfs);
	THP_REQUIRE_OK(thp_settings_set(path, "N"), &self->why);
	/* Opens the switch before, because opening a file could need memory. */
	fd = open("/proc/self/make-it-fail", O_WRONLY);
	THP_REQUIRE(fd >= 0, "make-it-fail: %s", strerror(errno));
	THP_REQUIRE_OK(thp_meter_start(&self->meter, 0, &self->why), &self->why);
	THP_REQUIRE(pwrite(fd, "1", 1, 0) == 1, "make-it-fail: %s", strerror(errno));
	for (i = 0; i < self->set.n; i++)
		(void)move_one(&self->set.map[i], self->away);
	THP_REQUIRE(pwrite(fd, "0", 1, 0) == 1, "make-it-fail: %s", strerror(errno));
	close(fd);
	thp_inject_report("all", lazy, thp_inject_fired(), "not moved");
	THP_REQUIRE_OK(thp_meter_read(&self->meter, &self->why), &self->why);
	THP_CHECK_OK(thp_meter_splits(&self->meter, lazy ? 0 : n, "starved migration", &self->why),
		     &self->why);
	THP_CHECK_OK(thp_meter_tables(&self->meter, 0, "starved migration", &self->why),
		     &self->why);
	THP_CHECK(thp_inject_fired() >= n, "injected failures: expected at least %ld, got %ld", n,
		  thp_inject_fired());
	THP_CHECK_OK(set_on_node(&self->set, self->home, &self->why), &self->why);
	THP_CHECK_OK(thp_set_intact(&self->set, lazy ? THP_STATE_PMD : THP_STATE_PTE, &self->why),
		     &self->why);

	/* With memory the same call succeeds. */
	THP_REQUIRE_OK(thp_meter_start(&self->meter, 0, &self->why), &self->why);
	THP_REQUIRE_OK(set_move(&self->set, &mover_all, self->away, &self->why), &self->why);
	THP_CHECK_OK(thp_meter_stop(&self->meter, 0, 0, "migration", &self->why), &self->why);
	THP_CHECK_OK(set_on_node(&self->set, self->away, &self->why), &self->why);
	THP_CHECK_OK(thp_set_intact(&self->set, lazy ? THP_STATE_PMD : THP_STATE_PTE, &self->why),
		     &self->why);
	THP_CHECK_OK(thp_set_zap(&self->set, lazy ? 0 : 1, &self->why), &self->why);
	thp_set_destroy(&self->set);
}

/* Compaction leaves THPs alone. */
THP_COVERS(migrate, compaction, "compaction");
TEST_F(migrate, compaction)
{
	THP_NEEDS(THP_NEED_ROOT | THP_NEED_COMPACTION);
	THP_REQUIRE_OK(thp_set_new(&self->set, THP_ANON, &self->why), &self->why);
	THP_REQUIRE_OK(thp_meter_start(&self->meter, 0, &self->why), &self->why);
	THP_REQUIRE_OK(thp_write_file("/proc/sys/vm/compact_memory", "1"), &self->why);
	THP_CHECK_OK(thp_meter_stop(&self->meter, 0, 0, "compaction", &self->why), &self->why);
	THP_CHECK_OK(thp_set_intact(&self->set, THP_STATE_PMD, &self->why), &self->why);
	THP_CHECK_OK(thp_set_zap(&self->set, thp_tables_mapped(THP_ANON), &self->why), &self->why);
	thp_set_destroy(&self->set);
}
