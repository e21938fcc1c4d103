// SPDX-License-Identifier: GPL-2.0
/* The oracles of tests: contents, page tables, VMAs, events. A wrong state is noticed. */

TEST_F(oracle, contents)
{
	struct thp_map *m = &self->map;
	struct thp_why why = { 0 };
	char *last;

	THP_REQUIRE_OK(thp_map_new(m, THP_ANON, &why), &why);
	last = m->thp + thp_env.pmd - 1;
	THP_CHECK_OK(thp_map_check(m, 0, thp_env.nr, &why), &why);
	m->thp[0] ^= 1;
	EXPECT_CAUSE(thp_map_check(m, 0, thp_env.nr, WHY), "page 0 offset 0");
	m->thp[0] ^= 1;
	*last ^= 0x80;
	EXPECT_CAUSE(thp_map_check(m, 0, thp_env.nr, WHY), "expected");
	*last ^= 0x80;
	THP_CHECK_OK(thp_map_check(m, 0, thp_env.nr, &why), &why);
	/* Two pages swapped: the pattern identifies its page. */
	thp_fill(thp_page(m, 3), m->seed, 4);
	EXPECT_CAUSE(thp_map_check(m, 0, thp_env.nr, WHY), "page 3 offset 0");
	EXPECT_CAUSE(thp_check_zero(m->thp, 1, WHY), "expected zeroes");
	memset(m->thp, 0, thp_env.page);
	THP_CHECK_OK(thp_check_zero(m->thp, 1, &why), &why);
	m->thp[thp_env.page - 1] = 1;
	EXPECT_CAUSE(thp_check_zero(m->thp, 1, WHY), "expected zeroes");
}

TEST_F(oracle, state)
{
	struct thp_map *m = &self->map;
	struct thp_why why = { 0 };
	struct thp_smaps sm;

	THP_REQUIRE_OK(thp_map_create(m, THP_ANON, &why), &why);
	THP_CHECK_OK(thp_map_expect(m, THP_STATE_NONE, &why), &why);
	THP_REQUIRE_OK(thp_map_fault(m, &why), &why);
	THP_CHECK_OK(thp_map_expect(m, THP_STATE_PMD, &why), &why);
	EXPECT_CAUSE(thp_map_expect(m, THP_STATE_PTE, WHY), "PMD-mapped, expected PTE-mapped");
	EXPECT_CAUSE(thp_map_expect(m, THP_STATE_NONE, WHY), "expected unmapped");
	THP_REQUIRE(!madvise(thp_page(m, 1), thp_env.page, MADV_DONTNEED), "MADV_DONTNEED");
	THP_CHECK_OK(thp_map_expect(m, THP_STATE_PTE, &why), &why);
	EXPECT_CAUSE(thp_map_expect(m, THP_STATE_PMD, WHY), "PTE-mapped, expected PMD-mapped");
	THP_CHECK(thp_obs_pages(m->thp, thp_env.pmd, THP_PM_POPULATED) == (long)thp_env.nr - 1,
		  "%ld pages populated", thp_obs_pages(m->thp, thp_env.pmd, THP_PM_POPULATED));
	THP_CHECK_OK(thp_obs_smaps(0, m->area, m->area_len, &sm), &why);
	THP_CHECK(!sm.anon_huge_kb, "AnonHugePages %llu kB after a split",
		  (unsigned long long)sm.anon_huge_kb);
}

/* What a swap-out may cost follows what happened, and the events have to agree. */
TEST_F(oracle, swapped)
{
	struct thp_swapped s = { 0 };
	struct thp_why why = { 0 };

	(void)self;
	thp_swapped_add(&s, THP_STATE_PTE);
	THP_CHECK(thp_swapped_splits(&s) == 1, "a THP in PTEs: %ld splits", thp_swapped_splits(&s));
	THP_CHECK(thp_swapped_tables(&s) == thp_tables_split(THP_ANON), "a THP in PTEs: %ld tables",
		  thp_swapped_tables(&s));
	THP_CHECK_OK(thp_swapped_events(&s, 0, 0, "no entry", &why), &why);
	THP_CHECK_OK(thp_swapped_events(&s, 1, 1, "one of others", &why), &why);
	EXPECT_CAUSE(thp_swapped_events(&s, 1, 0, "x", WHY), "0 of 1 are THPs in swap");
	thp_swapped_add(&s, THP_STATE_PMD_SWAP);
	THP_CHECK(thp_swapped_splits(&s) == 1, "an entry: %ld splits, expected 1 of the other",
		  thp_swapped_splits(&s));
	THP_CHECK_OK(thp_swapped_events(&s, 1, 0, "an entry", &why), &why);
	EXPECT_CAUSE(thp_swapped_events(&s, 0, 0, "x", WHY), "expected 1 in thp_swpout_pmd");
	EXPECT_CAUSE(thp_swapped_events(&s, 2, 0, "x", WHY), "1 of 2 are THPs in swap");
}

/* THPs in different states: that is a state of its own, which nobody expects. */
TEST_F(oracle, mixed)
{
	struct thp_why why = { 0 };
	bool root = thp_env.root;
	enum thp_state state;

	(void)self;
	THP_REQUIRE_OK(thp_group_new(THP_ANON, 2 * thp_env.unit, &why), &why);
	THP_CHECK_OK(thp_group_state(&state, &why), &why);
	THP_CHECK(state == THP_STATE_PMD, "whole: %s", thp_state_name(state));
	THP_CHECK_OK(thp_split_at(thp_page(&thp_group.map[1], 1), &why), &why);
	THP_CHECK_OK(thp_group_state(&state, &why), &why);
	THP_CHECK(state == THP_STATE_MIXED, "one of two split: %s", thp_state_name(state));
	THP_REQUIRE_OK(thp_peers_prepare(1, &why), &why);
	THP_REQUIRE_OK(thp_peer_start(&thp_peers[0], &why), &why);
	/* To an ordinary user thp_obs_state() may say UNKNOWN of the huge zero folio alone. */
	thp_env.root = false;
	EXPECT_CAUSE(thp_peer_expect(&thp_peers[0], THP_STATE_PMD_ZERO, WHY), "range is mixed");
	thp_env.root = root;
	THP_CHECK_OK(thp_peer_end(&thp_peers[0], &why), &why);
	thp_family_reset();
}

static int expect_state(const char *p, enum thp_state want, const char *what, struct thp_why *why)
{
	enum thp_state got;
	int ret = thp_obs_state(p, thp_env.pmd, &got);

	if (!ret && got != want)
		ret = thp_why(why, -EPROTO, "%s: %s, expected %s", what, thp_state_name(got),
			      thp_state_name(want));
	return ret;
}

/* Zeroes beside data in one VMA: only kpageflags, that is only root, tells them apart. */
static int look_blindly(struct thp_chan *chan, void *arg)
{
	enum thp_state mixed = THP_STATE_PMD, mixed_zero = THP_STATE_PMD_ZERO;
	bool unprivileged = *(bool *)arg;
	struct thp_why *why = &chan->why;
	size_t pmd = thp_env.pmd;
	struct thp_map zero;
	char *p;
	int ret;

	if (unprivileged && (setuid(65534) || prctl(PR_SET_DUMPABLE, 1)))
		return thp_why(why, -errno, "setuid: %s", strerror(errno));
	if (geteuid()) {
		mixed = THP_STATE_UNKNOWN;
		mixed_zero = THP_STATE_UNKNOWN;
	}
	ret = thp_map_new(&zero, THP_ZERO, why);
	thp_obs_scan_mask &= ~(uint64_t)PAGE_IS_PFNZERO;
	if (!ret)
		ret = expect_state(zero.thp, THP_STATE_PMD, "unaware of its blindness", why);
	if (!ret)
		ret = thp_obs_probe_scan(zero.thp, pmd);
	if (!ret && !thp_obs_scan_blind)
		ret = thp_why(why, -EPROTO, "blindness was not noticed");
	if (!ret)
		ret = expect_state(zero.thp, THP_STATE_PMD_ZERO, "zero alone", why);
	if (ret)
		return ret;
	/* Or both became one VMA. */
	thp_map_destroy(&zero);
	p = mmap(NULL, 4 * pmd, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (p == MAP_FAILED)
		return thp_why(why, -errno, "mmap: %s", strerror(errno));
	madvise(p, 4 * pmd, MADV_HUGEPAGE);
	p = (char *)(((uintptr_t)p + pmd - 1) & ~(pmd - 1));
	thp_touch(p);
	ret = expect_state(p, THP_STATE_PMD, "data alone", why);
	thp_peek(p + pmd);
	if (!ret)
		ret = expect_state(p, mixed, "data beside zero", why);
	return ret ? ret : expect_state(p + pmd, mixed_zero, "zero beside data", why);
}

/* Like PAGEMAP_SCAN of Linux 6.7 to 6.15: PAGE_IS_PFNZERO is never reported. */
TEST_F(oracle, scan_blind)
{
	struct thp_why why = { 0 };
	bool unprivileged = false;

	THP_NEEDS(THP_NEED_ZERO | THP_NEED_SCAN);
	THP_REQUIRE_OK(thp_child_run(look_blindly, &unprivileged, 5000, &why), &why);
	unprivileged = thp_env.root;
	THP_REQUIRE_OK(thp_child_run(look_blindly, &unprivileged, 5000, &why), &why);
}

TEST_F(oracle, tables)
{
	struct thp_why why = { 0 };
	long long a, b;
	long got;
	unsigned int i;
	char *p;

	/* As many more tables as make whole kB have to be noticed. */
	THP_REQUIRE_OK(thp_map_create(&self->map, THP_SMALL, &why), &why);
	p = mmap(NULL, (2 + thp_env.unit) * thp_env.pmd, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	THP_REQUIRE(p != MAP_FAILED, "mmap");
	madvise(p, (2 + thp_env.unit) * thp_env.pmd, MADV_NOHUGEPAGE);
	thp_touch(p);
	a = thp_obs_vmpte(0);
	for (i = 1; i <= thp_env.unit; i++)
		thp_touch(p + i * thp_env.pmd);
	b = thp_obs_vmpte(0);
	THP_CHECK(thp_env_tables(b - a, &got) && got == (long)thp_env.unit,
		  "%+ld tables, expected %+d", got, (int)thp_env.unit);
	THP_CHECK(!thp_env_tables(thp_env.table - 1, &got), "a fraction of a table passed");
	THP_CHECK(thp_obs_vmpte(1 << 22) < 0, "VmPTE of a process that does not exist");
}

TEST_F(oracle, events)
{
	struct thp_map *m = &self->map;
	struct thp_events e0, e1;
	struct thp_why why = { 0 };

	THP_REQUIRE_OK(thp_map_new(m, THP_ANON, &why), &why);
	thp_obs_events(&e0);
	THP_CHECK(!mprotect(thp_page(m, 1), thp_env.page, PROT_READ), "mprotect");
	thp_obs_events(&e1);
	THP_CHECK(e1.split_pmd > e0.split_pmd, "a split is not in thp_split_pmd");
	THP_CHECK(thp_obs_vmstat("no_such_event") == THP_EVENT_NONE, "an unknown event passed");
}

TEST_F(oracle, layout)
{
	struct thp_map *m = &self->map;
	static struct thp_smaps a, b;
	struct thp_why why = { 0 };

	THP_REQUIRE_OK(thp_map_new(m, THP_ANON, &why), &why);
	THP_CHECK_OK(thp_obs_smaps(0, m->area, m->area_len, &a), &why);
	THP_CHECK(!madvise(thp_page(m, 1), thp_env.page, MADV_DONTDUMP), "MADV_DONTDUMP");
	THP_CHECK_OK(thp_obs_smaps(0, m->area, m->area_len, &b), &why);
	THP_CHECK(b.vmas == a.vmas + 2, "%u VMAs became %u, expected two more", a.vmas, b.vmas);
	THP_CHECK(strcmp(a.layout, b.layout), "a flag of one page is not in the layout");
}
