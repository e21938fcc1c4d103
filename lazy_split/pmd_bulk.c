// SPDX-License-Identifier: GPL-2.0
/*
 * pmd_bulk: Many PMDs: PageTables of /proc/meminfo, and what 100 GiB cost.
 */

/*
 * PageTables of /proc/meminfo, because that is what people look at. The counter
 * is system-wide and others map memory, too: many THPs, the median of 5 rounds or
 * of more if they do not agree, and a tolerance of 3/8 of the tables, less than
 * half of what tells eager from lazy.
 */
#define BULK_BYTES	(192UL << 20)
#define BULK_MIN	5
#define BULK_MAX	31
#define BULK_MS		40000
#define BULK_TIMEOUT	90

static int bulk_split(char *p, size_t n)
{
	size_t i;

	for (i = 0; i < n; i++)
		if (madvise(p + i * thp_env.pmd + thp_env.page, thp_env.page, MADV_DONTNEED))
			return -errno;
	return 0;
}

static void bulk(struct __test_metadata *_metadata, bool zero)
{
	size_t n = (zero ? 8 * BULK_BYTES : BULK_BYTES) / thp_env.pmd, i, len;
	long long all, slack, mapped[BULK_MAX], split[BULK_MAX], t0 = 0, t1 = 0, want;
	long long begin = thp_now_ms();
	enum thp_state state;
	bool good = false;
	char *area, *p;
	int round;

	len = (n + 1) * thp_env.pmd;
	all = (long long)(n * thp_env.table / 1024);
	slack = all * 3 / 8;
	want = thp_tables_mapped(THP_ANON) * all;
	if (slack < 4 * (long long)thp_env.page / 1024)
		THP_SKIP("needs PMDs whose tables fill pages of PageTables");
	if (!zero && !thp_env_room(len))
		THP_SKIP("needs free memory for 192 MiB of THPs");
	THP_NEEDS(THP_NEED_STATS);
	for (round = 0; round < BULK_MAX && !good; round++) {
		if (round >= BULK_MIN && thp_now_ms() - begin > BULK_MS)
			break;
		area = mmap(NULL, len, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
		THP_REQUIRE(area != MAP_FAILED, "mmap: %s", strerror(errno));
		p = (char *)(((uintptr_t)area + thp_env.pmd - 1) & ~(thp_env.pmd - 1));
		madvise(p, n * thp_env.pmd, MADV_HUGEPAGE);
		t0 = thp_obs_pagetables_kb();
		for (i = 0; i < n; i++) {
			if (zero)
				thp_peek(p + i * thp_env.pmd);
			else
				thp_touch(p + i * thp_env.pmd);
		}
		t1 = thp_obs_pagetables_kb();
		THP_REQUIRE(!bulk_split(p, n), "MADV_DONTNEED: %s", strerror(errno));
		/* Of an eager kernel the tables do not tell. */
		THP_REQUIRE(!thp_obs_state(p, thp_env.pmd, &state), "page map of the range");
		THP_CHECK(state == THP_STATE_PTE || state == THP_STATE_UNKNOWN,
			  "range is %s after MADV_DONTNEED of a page, expected PTE-mapped",
			  thp_state_name(state));
		mapped[round] = t1 - t0;
		split[round] = thp_obs_pagetables_kb() - t0;
		munmap(area, len);
		thp_obs_settle();
		if (round + 1 < BULK_MIN)
			continue;
		t0 = thp_median(mapped, round + 1);
		t1 = thp_median(split, round + 1);
		good = t0 >= want - slack && t0 <= want + slack &&
		       t1 >= all - slack && t1 <= all + slack;
	}
	THP_CHECK(good,
		  "%zu %s PMDs: PageTables %+lld kB, split %+lld kB (medians of %d), expected %+lld and %+lld +-%lld",
		  n, zero ? "huge zero" : "anon", t0, t1, round, want, all, slack);
}

THP_COVERS(pmd, bulk_anon, "fault-anon zap-dontneed");
TEST_F_TIMEOUT(pmd, bulk_anon, BULK_TIMEOUT)
{
	bulk(_metadata, false);
}

THP_COVERS(pmd, bulk_zero, "fault-zero zap-dontneed");
TEST_F_TIMEOUT(pmd, bulk_zero, BULK_TIMEOUT)
{
	THP_NEEDS(THP_NEED_ZERO);
	bulk(_metadata, true);
}

/*
 * What the change is about, in figures to quote: the tables of 100 GiB of huge zero
 * PMDs, and of 64 MiB of anon THP (1 GiB at scale 16), exact. The tables of the
 * levels above stay when a range is zapped, so they are in neither term.
 */
#define FOOTPRINT_ZERO	(100ULL << 30)
#define FOOTPRINT_ANON	(64ULL << 20)
#define FOOTPRINT_MAX	16

static void measure_footprint(struct __test_metadata *_metadata, bool zero)
{
	unsigned long long bytes = zero ? FOOTPRINT_ZERO : FOOTPRINT_ANON *
		(thp_env.scale < FOOTPRINT_MAX ? thp_env.scale : FOOTPRINT_MAX);
	size_t n = bytes / thp_env.pmd, fallback = 0, i;
	long long full, left, want;
	struct thp_smaps sm;
	char *area, *p;

	if (!thp_env_room((zero ? 0 : bytes) + n * thp_env.table))
		THP_SKIP("needs free memory for the THPs or the page tables of the footprint");
	area = bytes > SIZE_MAX - thp_env.pmd ? MAP_FAILED :
	       mmap(NULL, bytes + thp_env.pmd, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (area == MAP_FAILED)
		THP_SKIP("needs 100 GiB of address space (vm.overcommit_memory, RLIMIT_AS)");
	p = (char *)(((uintptr_t)area + thp_env.pmd - 1) & ~(thp_env.pmd - 1));
	madvise(p, bytes, MADV_HUGEPAGE);
	for (i = 0; i < n; i++) {
		if (zero)
			thp_peek(p + i * thp_env.pmd);
		else
			thp_touch(p + i * thp_env.pmd);
	}
	if (!zero) {
		/* Where memory was too fragmented there is a table in any case. */
		THP_REQUIRE(!thp_obs_smaps(0, p, bytes, &sm), "/proc/self/smaps cannot be read");
		fallback = n - sm.anon_huge_kb * 1024 / thp_env.pmd;
	}
	want = (thp_env.contract == THP_EAGER ? n : fallback) * thp_env.table;
	full = thp_obs_vmpte(0);
	THP_REQUIRE(!madvise(p, bytes, MADV_DONTNEED), "MADV_DONTNEED: %s", strerror(errno));
	left = thp_obs_vmpte(0);
	munmap(area, bytes + thp_env.pmd);
	printf("# footprint: %llu MiB of %s PMDs: %lld kB of PTE tables, %zu without a THP\n",
	       bytes >> 20, zero ? "huge zero" : "anon", (full - left) / 1024, fallback);
	THP_CHECK(full - left == want,
		  "%zu %s PMDs: %lld B of PTE tables, expected %lld B on %s kernel", n,
		  zero ? "huge zero" : "anon", full - left, want,
		  thp_mode_name(thp_env.contract));
}

THP_COVERS(pmd, footprint_anon, "fault-anon zap-dontneed");
TEST_F(pmd, footprint_anon)
{
	measure_footprint(_metadata, false);
}

THP_COVERS(pmd, footprint_zero, "fault-zero zap-dontneed");
TEST_F(pmd, footprint_zero)
{
	THP_NEEDS(THP_NEED_ZERO);
	measure_footprint(_metadata, true);
}
