// SPDX-License-Identifier: GPL-2.0
/* offline: Memory failure, soft and hard. */

FIXTURE(offline) {
	struct thp_map map;
	struct thp_meter meter;
	struct thp_why why;
	char unpoison[192];
	uint64_t pfn;
};

FIXTURE_SETUP(offline)
{
	(void)sys_policy_local();
	thp_warm_up();
}

FIXTURE_TEARDOWN_PARENT(offline)
{
	thp_teardown(_metadata);
}

#define PFN_MASK ((1ULL << 55) - 1)

static long long corrupted_kb(void)
{
	return thp_read_field("/proc/meminfo", "HardwareCorrupted");
}

/*
 * A page that was taken offline stays offline until the next boot, unless the kernel offers
 * a way to unpoison it. Without that the tests run only if THP_SOFT_OFFLINE=1 permits the
 * loss: of one page per run.
 */
static const char *offline_missing(char *unpoison, size_t len)
{
	const char *missing = thp_env_missing(THP_NEED_ROOT | THP_NEED_MEMFAIL);
	const char *force = getenv("THP_SOFT_OFFLINE");

	if (missing)
		return missing;
	/* page_owner warns when such a page is given back, because it is freed twice. */
	snprintf(unpoison, len, "%s/page_owner", thp_env.debugfs);
	if (thp_env.debugfs[0] && thp_file_exists(unpoison))
		return "needs a kernel without page_owner=on, which mistakes unpoisoned pages";
	snprintf(unpoison, len, "%s/hwpoison/unpoison-pfn", thp_env.debugfs);
	if (thp_env.debugfs[0] && !access(unpoison, W_OK))
		return NULL;
	unpoison[0] = '\0';
	if (force && !strcmp(force, "1"))
		return NULL;
	return "needs CONFIG_HWPOISON_INJECT to give the page back (or THP_SOFT_OFFLINE=1)";
}

/* The page is free by now, but may stay in the per-CPU lists for a while. */
static int unpoison(const char *path, uint64_t pfn)
{
	int try, ret = 0;

	if (!path[0])
		return 0;
	for (try = 0; try < 50; try++) {
		ret = thp_write_fmt(path, "%llu", (unsigned long long)pfn);
		if (!ret)
			return 0;
		thp_sleep_ms(20);
	}
	return ret;
}

/* The page migrates; that needs a folio of its own size, so the THP is split. */
THP_COVERS(offline, soft, "soft-offline");
TEST_F(offline, soft)
{
	const char *missing = offline_missing(self->unpoison, sizeof(self->unpoison));
	size_t bad = thp_env.nr / 2 + 1;
	struct thp_map *m = &self->map;
	struct thp_map more[THP_SET_MAX];
	long long before, after;
	long n = thp_env.unit, k;
	uint64_t entry;
	int try, ret;

	THP_SKIP_IF(missing);
	ret = thp_settings_set("/proc/sys/vm/enable_soft_offline", "1");
	if (ret != -ENOENT)
		THP_REQUIRE_RESULT(ret, &self->why);
	THP_REQUIRE_OK(thp_map_new(m, THP_ANON, &self->why), &self->why);
	THP_REQUIRE_OK(thp_obs_pagemap(thp_page(m, bad), &entry, 1), &self->why);
	self->pfn = entry & PFN_MASK;
	THP_REQUIRE(self->pfn, "pagemap shows no frame number");
	/*
	 * Only one page may be lost: if one table is less than 1 kB, the other THPs that make
	 * up the kB are split without losing a page.
	 */
	for (k = 1; k < n && k < THP_SET_MAX; k++)
		THP_REQUIRE_OK(thp_map_new(&more[k], THP_ANON, &self->why), &self->why);
	before = corrupted_kb();
	THP_REQUIRE_OK(thp_meter_start(&self->meter, 0, &self->why), &self->why);
	for (k = 1; k < n && k < THP_SET_MAX; k++)
		THP_REQUIRE(!mprotect(thp_page(&more[k], 1), thp_env.page, PROT_READ),
			    "mprotect: %s", strerror(errno));
	/* Another CPU may hold the folio for a moment: EBUSY, and nothing has changed. */
	for (try = 0; try < 10; try++) {
		ret = madvise(thp_page(m, bad), thp_env.page, MADV_SOFT_OFFLINE) ? -errno : 0;
		if (ret != -EBUSY && ret != -EAGAIN)
			break;
		THP_CHECK_OK(thp_map_check(m, 0, thp_env.nr, &self->why), &self->why);
		thp_sleep_ms(20);
	}
	THP_CHECK_OK(thp_meter_stop(&self->meter, n * thp_tables_split(THP_ANON), n,
				    "soft offline", &self->why), &self->why);
	THP_CHECK(!ret, "MADV_SOFT_OFFLINE: expected 0, got %s", thp_errno_name(ret));
	THP_CHECK_OK(thp_map_expect(m, THP_STATE_PTE, &self->why), &self->why);
	THP_CHECK_OK(thp_map_check(m, 0, thp_env.nr, &self->why), &self->why);
	THP_CHECK_OK(thp_obs_pagemap(thp_page(m, bad), &entry, 1), &self->why);
	THP_CHECK((entry & THP_PM_PRESENT) && (entry & PFN_MASK) != self->pfn,
		  "page did not move: pagemap %#llx, frame was %#llx", (unsigned long long)entry,
		  (unsigned long long)self->pfn);
	after = corrupted_kb();
	THP_CHECK(before < 0 || after - before == (long long)thp_env.page / 1024,
		  "HardwareCorrupted: expected +%zu kB, got %+lld kB", thp_env.page / 1024,
		  after - before);
	for (k = 1; k < n && k < THP_SET_MAX; k++)
		thp_map_destroy(&more[k]);
	thp_map_destroy(m);
	ret = ret ? 0 : unpoison(self->unpoison, self->pfn);
	THP_CHECK(!ret, "unpoison-pfn: %s, one page is lost until reboot", thp_errno_name(ret));
}

/* The THP cannot be split: the page stays online, and nothing changes. */
THP_COVERS(offline, soft_starved, "soft-offline");
TEST_F(offline, soft_starved)
{
	const char *missing = offline_missing(self->unpoison, sizeof(self->unpoison));
	bool lazy = thp_env.contract == THP_LAZY;
	size_t bad = thp_env.nr / 2 + 1;
	struct thp_map *m = &self->map;
	long long before, after;
	uint64_t entry;
	int try, ret;

	THP_SKIP_IF(missing);
	/* Without a way to unpoison the page one page per run is enough. */
	if (!self->unpoison[0])
		THP_SKIP("needs CONFIG_HWPOISON_INJECT to give the page back");
	THP_NEEDS(THP_NEED_FAIL_PAGE);
	ret = thp_settings_set("/proc/sys/vm/enable_soft_offline", "1");
	if (ret != -ENOENT)
		THP_REQUIRE_RESULT(ret, &self->why);
	THP_REQUIRE_OK(thp_map_new(m, THP_ANON, &self->why), &self->why);
	THP_REQUIRE_OK(thp_obs_pagemap(thp_page(m, bad), &entry, 1), &self->why);
	self->pfn = entry & PFN_MASK;
	THP_REQUIRE(self->pfn, "pagemap shows no frame number");
	THP_REQUIRE_OK(thp_inject_tables(&self->why), &self->why);
	before = corrupted_kb();
	/* Another CPU may hold the folio for a moment; that is no refusal. */
	for (try = 0; try < 10; try++) {
		thp_inject_own(true);
		THP_CHECK(!thp_inject_drain(NULL), "PTE tables cannot be used up");
		ret = madvise(thp_page(m, bad), thp_env.page, MADV_SOFT_OFFLINE) ? -errno : 0;
		thp_inject_own(false);
		if (!ret || thp_inject_fired())
			break;
		thp_sleep_ms(20);
	}
	after = corrupted_kb();
	thp_inject_report("targeted", lazy, thp_inject_fired(), "%s", thp_errno_name(ret));
	if (lazy) {
		THP_CHECK(thp_inject_fired() > 0, "soft offline asked for no table");
		THP_CHECK(ret == -EBUSY, "MADV_SOFT_OFFLINE: expected EBUSY, got %s",
			  thp_errno_name(ret));
		THP_CHECK(before == after, "HardwareCorrupted: expected +0 kB, got %+lld kB",
			  after - before);
		THP_CHECK_OK(thp_map_expect(m, THP_STATE_PMD, &self->why), &self->why);
		THP_CHECK_OK(thp_map_check(m, 0, thp_env.nr, &self->why), &self->why);
		for (try = 0; try < 10 && ret; try++) {
			ret = madvise(thp_page(m, bad), thp_env.page, MADV_SOFT_OFFLINE) ?
			      -errno : 0;
			if (ret)
				thp_sleep_ms(20);
		}
	} else {
		THP_CHECK(!thp_inject_fired(), "soft offline asked for %ld tables, expected none",
			  thp_inject_fired());
	}
	THP_CHECK(!ret, "MADV_SOFT_OFFLINE: expected 0, got %s", thp_errno_name(ret));
	THP_CHECK_OK(thp_map_expect(m, THP_STATE_PTE, &self->why), &self->why);
	THP_CHECK_OK(thp_map_check(m, 0, thp_env.nr, &self->why), &self->why);
	thp_map_destroy(m);
	ret = ret ? 0 : unpoison(self->unpoison, self->pfn);
	THP_CHECK(!ret, "unpoison-pfn: %s, one page is lost until reboot", thp_errno_name(ret));
}

static sigjmp_buf bus_return;
static bool bus_jumps;

/* madvise() itself may send the signal, and still returns. */
static void on_bus(int sig)
{
	if (bus_jumps)
		siglongjmp(bus_return, sig);
}

/* The result of the child: the frame of the page, or 0. */
enum { BAD_PFN };

/* Runs in a child: the signal of memory_failure() must not kill the test. */
static int poisoned(struct thp_chan *chan, void *arg)
{
	size_t bad = thp_env.nr / 2 + 1, k;
	struct thp_why *why = &chan->why;
	struct thp_set *s = arg;
	struct thp_map *m;
	struct thp_meter before;
	uint64_t entry;
	int ret;

	thp_warm_up();
	TRY(thp_set_new(s, THP_ANON, why));
	m = &s->map[0];
	ret = thp_obs_pagemap(thp_page(m, bad), &entry, 1);
	if (ret || !(entry & PFN_MASK))
		return thp_why(why, -EIO, "pagemap shows no frame number");
	ret = thp_meter_start(&before, 0, why);
	for (k = 1; k < s->n && !ret; k++)
		ret = mprotect(thp_page(&s->map[k], 1), thp_env.page, PROT_READ) ? -errno : 0;
	if (ret)
		return thp_why(why, ret, "mprotect: %s", thp_errno_name(ret));
	signal(SIGBUS, on_bus);
	chan->val[BAD_PFN] = entry & PFN_MASK;
	if (madvise(thp_page(m, bad), thp_env.page, MADV_HWPOISON))
		return thp_why(why, -errno, "MADV_HWPOISON: expected 0, got %s",
			       thp_errno_name(errno));
	TRY(thp_set_stop_split(s, &before, "memory failure", why));
	TRY(thp_map_expect(m, THP_STATE_PTE, why));
	TRY(thp_map_check(m, 0, bad, why));
	TRY(thp_map_check(m, bad + 1, thp_env.nr - bad - 1, why));
	bus_jumps = true;
	if (!sigsetjmp(bus_return, 1)) {
		thp_peek(thp_page(m, bad));
		return thp_why(why, -EPROTO, "a page beyond rescue can be read");
	}
	return 0;
}

/* The same with a page that cannot be rescued: the rest of the THP survives. */
THP_COVERS(offline, hard, "hwpoison");
TEST_F(offline, hard)
{
	const char *missing = offline_missing(self->unpoison, sizeof(self->unpoison));
	struct thp_child child = { 0 };
	static struct thp_set set;
	siginfo_t info;
	int ret;

	THP_SKIP_IF(missing);
	THP_NEEDS(THP_NEED_POISON);
	/* Without a way to unpoison the page one page per run is enough. */
	if (!self->unpoison[0])
		THP_SKIP("needs CONFIG_HWPOISON_INJECT to give the page back");
	THP_REQUIRE_OK(thp_map_new(&self->map, THP_ANON, &self->why), &self->why);
	thp_map_destroy(&self->map);
	THP_REQUIRE_OK(thp_child_start(&child, poisoned, &set), &self->why);
	/* The channel is gone after the join. */
	THP_REQUIRE(!waitid(P_PID, child.pid, &info, WEXITED | WNOWAIT), "waitid: %s",
		    strerror(errno));
	self->pfn = child.chan->val[BAD_PFN];
	THP_CHECK_OK(thp_child_join(&child, THP_STEP_MS, &self->why), &self->why);
	ret = self->pfn ? unpoison(self->unpoison, self->pfn) : 0;
	THP_CHECK(!ret, "unpoison-pfn: %s, one page is lost until reboot", thp_errno_name(ret));
}

/* The child: maps the folio of a THP in swap, which its parent has as well, and loses a page. */
static int poisons_shared(struct thp_chan *chan, void *arg)
{
	size_t bad = thp_env.nr / 2 + 1;
	struct thp_why *why = &chan->why;
	struct thp_map *m = arg;
	uint64_t entry;

	thp_peek(thp_page(m, bad));
	if (thp_map_expect(m, THP_STATE_PMD, why))
		return -EAGAIN;
	if (thp_obs_pagemap(thp_page(m, bad), &entry, 1) || !(entry & PFN_MASK))
		return thp_why(why, -EIO, "pagemap shows no frame number");
	chan->val[BAD_PFN] = entry & PFN_MASK;
	if (madvise(thp_page(m, bad), thp_env.page, MADV_HWPOISON))
		return thp_why(why, -errno, "MADV_HWPOISON: expected 0, got %s",
			       thp_errno_name(errno));
	thp_chan_post_parent(chan, 1);
	thp_chan_await_parent(chan, 1);
	return thp_map_check(m, 0, thp_env.nr, why);
}

/* Swap still has the page: it is read from there, the others from what is cached of them. */
static int poisoned_shared(struct thp_map *m, uint64_t *pfn, struct thp_why *why)
{
	struct thp_child child = { 0 };
	int ret;

	TRY(thp_map_new(m, THP_SWAPPED, why));
	TRY(thp_swap_drop(m->thp, why));
	TRY(thp_child_start(&child, poisons_shared, m));
	ret = thp_child_await(&child, 1, THP_STEP_MS);
	*pfn = child.chan->val[BAD_PFN];
	if (!ret)
		ret = thp_map_expect(m, THP_STATE_PMD_SWAP, why);
	if (!ret)
		ret = thp_map_check(m, 0, thp_env.nr, why);
	if (!ret)
		ret = thp_map_expect(m, THP_STATE_PTE, why);
	if (!ret || ret == -ECHILD) {
		thp_chan_post_child(child.chan, 1);
		return thp_child_join(&child, THP_STEP_MS, why);
	}
	thp_child_kill(&child);
	return ret;
}

static int poisoned_in_swap(const void *arg, struct thp_why *why)
{
	const char *path = arg;
	uint64_t pfn = 0;
	struct thp_map m;
	int ret = poisoned_shared(&m, &pfn, why);

	if (!pfn)
		return ret;
	thp_map_destroy(&m);
	if (unpoison(path, pfn))
		return thp_why(why, -EPROTO, "unpoison-pfn: one page is lost until reboot");
	return ret;
}

/* A page of a THP that is in the swap cache for somebody's PMD swap entry is lost. */
THP_COVERS(offline, swapped, "hwpoison swapin-split");
TEST_F(offline, swapped)
{
	const char *missing = offline_missing(self->unpoison, sizeof(self->unpoison));

	THP_NEEDS(THP_NEED_SWAP | THP_NEED_PMD_SWAP | THP_NEED_POISON);
	THP_SKIP_IF(missing);
	/* Without a way to unpoison the page one page per run is enough. */
	if (!self->unpoison[0])
		THP_SKIP("needs CONFIG_HWPOISON_INJECT to give the page back");
	if (thp_swap_by_zswap())
		THP_SKIP("needs a kernel on which zswap was not enabled since boot");
	THP_SCENARIO(poisoned_in_swap, self->unpoison);
}
