// SPDX-License-Identifier: GPL-2.0
/*
 * bulk: Many THPs in one call.
 */

/*
 * Regions so big that mremap() moves whole PMD tables, or PUD entries, with a few THPs and
 * small pages at both ends:
 *
 *	| anchor | source | anchor ... anchor | destination | anchor |
 */
THP_TESTS_OF(bulk);

FIXTURE(bulk) {
	int unused;
};

struct bulk_case {
	enum thp_kind kind;
	int flags;		/* of mremap() besides MAYMOVE | FIXED */
};

FIXTURE_VARIANT(bulk) {
	struct bulk_case c;
};

FIXTURE_VARIANT_ADD(bulk, anon) {
	.c = { .kind = THP_ANON },
};

FIXTURE_VARIANT_ADD(bulk, zero) {
	.c = { .kind = THP_ZERO },
};

FIXTURE_VARIANT_ADD(bulk, keep_anon) {
	.c = { .kind = THP_ANON, .flags = MREMAP_DONTUNMAP },
};

FIXTURE_SETUP(bulk)
{
	(void)self;
	(void)variant;
	thp_warm_up();
}

FIXTURE_TEARDOWN_PARENT(bulk)
{
	(void)self;
	(void)variant;
	thp_teardown(_metadata);
}

struct bulk {
	char *area;
	size_t area_len, span;
	char *src, *dst;
	unsigned int each;	/* THPs at each end, and small pages beside them */
	enum thp_kind kind;
	uint64_t seed;
};

/* THP @i of the region at @base: the first half of them at its start. */
static char *bulk_thp(const struct bulk *b, char *base, unsigned int i)
{
	if (i < b->each)
		return base + i * thp_env.pmd;
	return base + b->span - (i - b->each + 1) * thp_env.pmd;
}

static char *bulk_small(const struct bulk *b, char *base, unsigned int i)
{
	if (i < b->each)
		return base + (b->each + i) * thp_env.pmd;
	return base + b->span - (i + 1) * thp_env.pmd;
}

static int bulk_map(struct bulk *b, struct thp_why *why)
{
	char *anchor[4], *base;
	int i;

	b->span = thp_span();
	b->each = 2 * thp_env.unit;
	b->seed = getpid();
	base = thp_reserve((THP_SPANS - 1) * b->span, b->span, &b->area, &b->area_len);
	if (!base)
		return thp_why(why, -errno, "no address space of %zu B", THP_SPANS * b->span);
	b->src = base + b->span;
	b->dst = base + 3 * b->span;
	anchor[0] = b->src - thp_env.page;
	anchor[1] = b->src + b->span;
	anchor[2] = b->dst - thp_env.page;
	anchor[3] = b->dst + b->span;
	for (i = 0; i < 4; i++) {
		if (mprotect(anchor[i], thp_env.page, PROT_READ | PROT_WRITE))
			return thp_why(why, -errno, "mprotect: %s", strerror(errno));
		thp_touch(anchor[i]);
	}
	/* A VMA that cannot merge with an anchor: copying it must not extend one. */
	if (mmap(b->src, b->span, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0) == MAP_FAILED)
		return thp_why(why, -errno, "mmap: %s", strerror(errno));
	madvise(b->src, b->span, MADV_NOHUGEPAGE);
	for (i = 0; i < 2 * (int)b->each; i++)
		thp_fill(bulk_small(b, b->src, i), b->seed, i + 1);
	return 0;
}

/* Checks the THPs and the small pages of the region at @base. */
static int bulk_check(const struct bulk *b, char *base, struct thp_why *why)
{
	enum thp_state want = thp_kind_state(b->kind), got;
	unsigned int i;
	size_t page;
	char *p;
	int ret;

	for (i = 0; i < 2 * b->each; i++) {
		p = bulk_thp(b, base, i);
		ret = thp_obs_state(p, thp_env.pmd, &got);
		if (ret)
			return thp_why(why, ret, "page map: %s", thp_errno_name(ret));
		if (got != want && got != THP_STATE_UNKNOWN)
			return thp_why(why, -EPROTO, "THP %u is %s, expected %s", i,
				       thp_state_name(got), thp_state_name(want));
		for (page = 0; page < thp_env.nr; page++) {
			if (b->kind == THP_ZERO)
				ret = thp_check_zero(p + page * thp_env.page, 1, why);
			else
				ret = thp_check(p + page * thp_env.page, b->seed,
						(i + 1) * thp_env.nr + page, 1, why);
			if (ret)
				return ret;
		}
		TRY(thp_check(bulk_small(b, base, i), b->seed, i + 1, 1, why));
	}
	return 0;
}

static int bulk_fault(const struct bulk *b, struct thp_why *why)
{
	enum thp_state want = thp_kind_state(b->kind), got;
	unsigned int i, try;
	size_t page;
	char *p;

	for (i = 0; i < 2 * b->each; i++) {
		p = bulk_thp(b, b->src, i);
		madvise(p, thp_env.pmd, MADV_HUGEPAGE);
		for (try = 0; try < 4; try++) {
			if (b->kind == THP_ZERO)
				thp_peek(p);
			for (page = 0; page < thp_env.nr && b->kind != THP_ZERO; page++)
				thp_fill(p + page * thp_env.page, b->seed,
					 (i + 1) * thp_env.nr + page);
			if (!thp_obs_state(p, thp_env.pmd, &got) &&
			    (got == want || got == THP_STATE_UNKNOWN))
				break;
			madvise(p, thp_env.pmd, MADV_DONTNEED);
			(void)thp_write_file("/proc/sys/vm/compact_memory", "1");
		}
		if (try == 4)
			return thp_skip(why, THP_FRAGMENTED, "no THP in 4 tries");
	}
	/* Makes it one VMA: mremap() moves only one at a time. */
	madvise(b->src, b->span, MADV_NOHUGEPAGE);
	return 0;
}

static int bulk_once(struct bulk *b, int flags, struct thp_why *why)
{
	long long vmpte[3], per;
	struct thp_events before, after;
	struct thp_smaps sm;
	char *p;
	int ret;

	TRY(bulk_map(b, why));
	vmpte[0] = thp_obs_vmpte(0);
	TRY(bulk_fault(b, why));
	vmpte[1] = thp_obs_vmpte(0);
	thp_obs_events(&before);
	p = mremap(b->src, b->span, b->span, MREMAP_MAYMOVE | MREMAP_FIXED | flags, b->dst);
	thp_obs_events(&after);
	vmpte[2] = thp_obs_vmpte(0);
	if (p != b->dst)
		return thp_why(why, -EPROTO, "mremap: %s", strerror(errno));

	per = thp_tables_mapped(b->kind) * 2 * b->each * (long long)thp_env.table;
	if (vmpte[1] - vmpte[0] != per)
		return thp_why(why, -EPROTO, "%u THPs cost %lld B of tables, expected %lld",
			       2 * b->each, vmpte[1] - vmpte[0], per);
	/* A source that stays mapped keeps its upper tables, unless they were moved. */
	if (vmpte[2] != vmpte[1] && !(flags && vmpte[2] > vmpte[1]))
		return thp_why(why, -EPROTO, "the move changed VmPTE by %lld B, expected 0",
			       vmpte[2] - vmpte[1]);
	ret = bulk_check(b, b->dst, why);
	if (!ret)
		ret = thp_obs_smaps(0, b->src, b->span, &sm);
	if (ret)
		return thp_why(why, ret, "smaps: %s", thp_errno_name(ret));
	if (sm.rss_kb || sm.anon_huge_kb || !sm.vmas != !flags)
		return thp_why(why, -EPROTO, "the source still has %u VMAs, %llu kB", sm.vmas,
			       (unsigned long long)sm.rss_kb);
	if (after.split_pmd != before.split_pmd)
		return thp_why(why, -EAGAIN, "thp_split_pmd rose by %llu, expected 0",
			       (unsigned long long)(after.split_pmd - before.split_pmd));
	return 0;
}

/* Nothing is split and no table is lost: deposits move with the table they belong to. */
static int bulk_keeps_pmds(const void *arg, struct thp_why *why)
{
	const struct bulk_case *c = arg;
	struct bulk b = { .kind = c->kind };
	int ret = bulk_once(&b, c->flags, why);

	if (b.area)
		munmap(b.area, b.area_len);
	return ret;
}

THP_COVERS(bulk, moves, "move-pmd-page");
TEST_F(bulk, moves)
{
	(void)self;
	THP_NEEDS(thp_kind_needs(variant->c.kind) | THP_NEED_ADDRESSES);
	THP_SCENARIO(bulk_keeps_pmds, &variant->c);
}
