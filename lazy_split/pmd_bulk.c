// SPDX-License-Identifier: GPL-2.0
/*
 * pmd_bulk: Many PMDs: PageTables of /proc/meminfo, and the tables of 100 GiB.
 *
 * The tests use PageTables because people look at it. The counter is system-wide and other
 * processes map memory, too: so the tests use many THPs, the median of 5 rounds or more if
 * these disagree, and a tolerance of 3/8 of the tables, less than half of the difference
 * between eager and lazy.
 */
#define BULK_BYTES	(192UL << 20)
#define BULK_MIN	5
#define BULK_MAX	31
#define BULK_MS		40000
#define BULK_TIMEOUT	90

struct bulk_case {
	bool zero;		/* huge zero PMDs, else THPs */
	size_t n;		/* PMDs */
	long long all;		/* kB of one table for each */
	long long slack;	/* kB */
};

/* Growth of PageTables of /proc/meminfo, kB. */
struct bulk_round {
	long long mapped, split;
};

static void bulk_fault(char *p, size_t n, bool zero)
{
	size_t i;

	for (i = 0; i < n; i++) {
		if (zero)
			thp_peek(p + i * thp_env.pmd);
		else
			thp_touch(p + i * thp_env.pmd);
	}
}

static int bulk_split(char *p, size_t n, struct thp_why *why)
{
	enum thp_state state;
	size_t i;
	int ret;

	for (i = 0; i < n; i++)
		if (madvise(p + i * thp_env.pmd + thp_env.page, thp_env.page, MADV_DONTNEED))
			return thp_why(why, -errno, "MADV_DONTNEED: %s", strerror(errno));
	/* The tables of an eager kernel do not show whether it has split a PMD. */
	ret = thp_obs_state(p, thp_env.pmd, &state);
	if (ret)
		return thp_why(why, ret, "page map: %s", thp_errno_name(ret));
	if (state != THP_STATE_PTE && state != THP_STATE_UNKNOWN)
		return thp_why(why, -EPROTO,
			       "range is %s after MADV_DONTNEED of a page, expected PTE-mapped",
			       thp_state_name(state));
	return 0;
}

static int bulk_measure(const struct bulk_case *b, struct bulk_round *r, struct thp_why *why)
{
	size_t len = (b->n + 1) * thp_env.pmd;
	long long before;
	char *area, *p;

	area = mmap(NULL, len, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (area == MAP_FAILED)
		return thp_why(why, -errno, "mmap: %s", strerror(errno));
	p = (char *)(((uintptr_t)area + thp_env.pmd - 1) & ~(thp_env.pmd - 1));
	madvise(p, b->n * thp_env.pmd, MADV_HUGEPAGE);
	before = thp_obs_pagetables_kb();
	bulk_fault(p, b->n, b->zero);
	r->mapped = thp_obs_pagetables_kb() - before;
	TRY(bulk_split(p, b->n, why));
	r->split = thp_obs_pagetables_kb() - before;
	munmap(area, len);
	thp_obs_settle();
	return 0;
}

/* Runs rounds until their medians match the contract, or up to a maximum. */
static int bulk_rounds(const void *arg, struct thp_why *why)
{
	const struct bulk_case *b = arg;
	long long want = thp_tables_mapped(THP_ANON) * b->all, begin = thp_now_ms();
	long long mapped[BULK_MAX], split[BULK_MAX];
	struct bulk_round r = { 0 };
	int n;

	for (n = 0; n < BULK_MAX && (n < BULK_MIN || thp_now_ms() - begin <= BULK_MS);) {
		TRY(bulk_measure(b, &r, why));
		mapped[n] = r.mapped;
		split[n++] = r.split;
		if (n < BULK_MIN)
			continue;
		r.mapped = thp_median(mapped, n);
		r.split = thp_median(split, n);
		if (llabs(r.mapped - want) <= b->slack && llabs(r.split - b->all) <= b->slack)
			return 0;
	}
	return thp_why(why, -EPROTO,
		       "%zu %s PMDs: PageTables %+lld kB, split %+lld kB (medians of %d), expected %+lld and %+lld +-%lld",
		       b->n, b->zero ? "huge zero" : "anon", r.mapped, r.split, n, want, b->all,
		       b->slack);
}

/* Fills @b in: 0, or -ENOTSUP with the reason of a SKIP. */
static int bulk_size(struct bulk_case *b, bool zero, struct thp_why *why)
{
	b->zero = zero;
	b->n = (zero ? 8 * BULK_BYTES : BULK_BYTES) / thp_env.pmd;
	b->all = (long long)(b->n * thp_env.table / 1024);
	b->slack = b->all * 3 / 8;
	if (b->slack < 4 * (long long)thp_env.page / 1024)
		return thp_skip(why, "needs PMDs whose tables fill pages of PageTables");
	if (!zero && !thp_env_room((b->n + 1) * thp_env.pmd))
		return thp_skip(why, "needs free memory for 192 MiB of THPs");
	return 0;
}

THP_COVERS(pmd, bulk_anon, "fault-anon zap-dontneed");
TEST_F_TIMEOUT(pmd, bulk_anon, BULK_TIMEOUT)
{
	struct thp_why why = { 0 };
	struct bulk_case b;

	(void)self;
	THP_REQUIRE_OK(bulk_size(&b, false, &why), &why);
	THP_NEEDS(THP_NEED_STATS);
	THP_SCENARIO(bulk_rounds, &b);
}

THP_COVERS(pmd, bulk_zero, "fault-zero zap-dontneed");
TEST_F_TIMEOUT(pmd, bulk_zero, BULK_TIMEOUT)
{
	struct thp_why why = { 0 };
	struct bulk_case b;

	(void)self;
	THP_NEEDS(THP_NEED_ZERO);
	THP_REQUIRE_OK(bulk_size(&b, true, &why), &why);
	THP_NEEDS(THP_NEED_STATS);
	THP_SCENARIO(bulk_rounds, &b);
}

/*
 * The benefit of the change in figures to quote: the exact tables of 100 GiB of huge zero
 * PMDs, and of 64 MiB of anon THP (1 GiB at scale 16). Zapping a range keeps the tables of
 * the levels above, so they are in neither term.
 */
#define FOOTPRINT_ZERO	(100ULL << 30)
#define FOOTPRINT_ANON	(64ULL << 20)
#define FOOTPRINT_MAX	16

struct footprint_case {
	bool zero;		/* huge zero PMDs, else THPs */
};

static int measure_footprint(const void *arg, struct thp_why *why)
{
	bool zero = ((const struct footprint_case *)arg)->zero;
	unsigned long long bytes = zero ? FOOTPRINT_ZERO : FOOTPRINT_ANON *
		(thp_env.scale < FOOTPRINT_MAX ? thp_env.scale : FOOTPRINT_MAX);
	size_t n = bytes / thp_env.pmd, fallback = 0;
	const char *kind = zero ? "huge zero" : "anon";
	long long full, left, want;
	struct thp_smaps sm;
	char *area, *p;

	if (!thp_env_room((zero ? 0 : bytes) + n * thp_env.table))
		return thp_skip(why,
				"needs free memory for the THPs or the page tables of the footprint");
	area = bytes > SIZE_MAX - thp_env.pmd ? MAP_FAILED :
	       mmap(NULL, bytes + thp_env.pmd, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (area == MAP_FAILED)
		return thp_skip(why,
				"needs 100 GiB of address space (vm.overcommit_memory, RLIMIT_AS)");
	p = (char *)(((uintptr_t)area + thp_env.pmd - 1) & ~(thp_env.pmd - 1));
	madvise(p, bytes, MADV_HUGEPAGE);
	bulk_fault(p, n, zero);
	if (!zero) {
		/*
		 * A range without a THP, because memory is fragmented, has a table in any case.
		 */
		TRY(thp_obs_smaps(0, p, bytes, &sm));
		fallback = n - sm.anon_huge_kb * 1024 / thp_env.pmd;
	}
	want = (thp_env.contract == THP_EAGER ? n : fallback) * thp_env.table;
	full = thp_obs_vmpte(0);
	if (madvise(p, bytes, MADV_DONTNEED))
		return thp_why(why, -errno, "MADV_DONTNEED: %s", strerror(errno));
	left = thp_obs_vmpte(0);
	munmap(area, bytes + thp_env.pmd);
	printf("# footprint: %llu MiB of %s PMDs: %lld kB of PTE tables, %zu without a THP\n",
	       bytes >> 20, kind, (full - left) / 1024, fallback);
	if (full - left != want)
		return thp_why(why, -EPROTO,
			       "%zu %s PMDs: %lld B of PTE tables, expected %lld B on %s kernel",
			       n, kind, full - left, want, thp_mode_name(thp_env.contract));
	return 0;
}

THP_COVERS(pmd, footprint_anon, "fault-anon zap-dontneed");
TEST_F(pmd, footprint_anon)
{
	const struct footprint_case c = { .zero = false };

	(void)self;
	THP_SCENARIO(measure_footprint, &c);
}

THP_COVERS(pmd, footprint_zero, "fault-zero zap-dontneed");
TEST_F(pmd, footprint_zero)
{
	const struct footprint_case c = { .zero = true };

	(void)self;
	THP_NEEDS(THP_NEED_ZERO);
	THP_SCENARIO(measure_footprint, &c);
}
