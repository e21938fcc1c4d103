// SPDX-License-Identifier: GPL-2.0
/*
 * subpage: subpage_prot(2) of powerpc: a split in the middle of a VMA.
 *
 * powerpc's subpage_prot(2) gives each 4 KiB of a 64 KiB page a protection of its own. Only
 * the hash MMU does that, and for base pages only, so the call splits all huge PMDs of the
 * VMA.
 */
#define SUBPAGE_THPS 3

FIXTURE(subpage) {
	int unused;	/* the harness wants data */
};

FIXTURE_VARIANT(subpage) {
	enum thp_kind kind;
};

FIXTURE_VARIANT_ADD(subpage, anon) {
	.kind = THP_ANON,
};

FIXTURE_VARIANT_ADD(subpage, zero) {
	.kind = THP_ZERO,
};

FIXTURE_SETUP(subpage)
{
	(void)self;
	(void)variant;
	thp_warm_up();
}

FIXTURE_TEARDOWN_PARENT(subpage)
{
	thp_teardown(_metadata);
}

static int subpage_prot(void *addr, size_t len, const uint32_t *map)
{
#ifdef __NR_subpage_prot
	return syscall(__NR_subpage_prot, addr, len, map) ? -errno : 0;
#else
	(void)addr;
	(void)len;
	(void)map;
	return -ENOSYS;
#endif
}

/* Contents and mapping of all THPs of the area. 0 or -errno with a cause. */
static int subpage_check(char *p, enum thp_kind kind, enum thp_state want, struct thp_why *why)
{
	size_t i, pages = SUBPAGE_THPS * thp_env.nr;
	enum thp_state got;
	int ret;

	for (i = 0; i < SUBPAGE_THPS; i++) {
		ret = thp_obs_state(p + i * thp_env.pmd, thp_env.pmd, &got);
		if (ret)
			return thp_why(why, ret, "pagemap: %s", thp_errno_name(ret));
		if (got != want && got != THP_STATE_UNKNOWN)
			return thp_why(why, -EPROTO, "THP %zu of %d: expected %s, got %s", i + 1,
				       SUBPAGE_THPS, thp_state_name(want), thp_state_name(got));
	}
	return kind == THP_ZERO ? thp_check_zero(p, pages, why) : thp_check(p, 1, 0, pages, why);
}

static int split_subpage(const void *arg, struct thp_why *why)
{
	size_t len = (SUBPAGE_THPS + 1) * thp_env.pmd, i;
	const enum thp_kind kind = *(const enum thp_kind *)arg;
	struct thp_meter fault, split;
	const uint32_t open = 0;
	char *area, *p;
	long got = -1;
	int ret;

	area = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
		    -1, 0);
	if (area == MAP_FAILED)
		return thp_why(why, -errno, "mmap: %s", strerror(errno));
	p = (char *)(((uintptr_t)area + thp_env.pmd - 1) & ~(thp_env.pmd - 1));
	madvise(p, SUBPAGE_THPS * thp_env.pmd, MADV_HUGEPAGE);
	TRY(thp_meter_start(&fault, 0, why));
	for (i = 0; i < SUBPAGE_THPS * thp_env.nr; i++) {
		if (kind == THP_ZERO)
			thp_peek(p + i * thp_env.page);
		else
			thp_fill(p + i * thp_env.page, 1, i);
	}
	ret = subpage_check(p, kind, thp_kind_state(kind), why);
	if (ret == -EPROTO) {
		printf("# subpage: %s\n", why->text);
		thp_why_clear(why);
		return thp_skip(why, THP_FRAGMENTED);
	}
	TRY(ret);
	TRY(thp_meter_read(&fault, why));
	TRY(thp_meter_start(&split, 0, why));
	ret = subpage_prot(p + 5 * thp_env.page, thp_env.page, &open);
	TRY(thp_meter_read(&split, why));
	if (ret)
		return thp_why(why, ret, "subpage_prot: %s", thp_errno_name(ret));
	/*
	 * The hash MMU always deposits: the fault has paid for the tables, however many they
	 * are.
	 */
	if (!thp_env_tables(thp_meter_bytes(&fault), &got) || got < SUBPAGE_THPS)
		return thp_why(why, -EPROTO,
			       "fault: %+lld B of page tables, expected at least %d tables of %zu B",
			       thp_meter_bytes(&fault), SUBPAGE_THPS, thp_env.table);
	if (thp_meter_bytes(&split))
		return thp_why(why, -EPROTO, "subpage_prot: %+lld B of page tables, expected none",
			       thp_meter_bytes(&split));
	TRY(thp_meter_splits(&split, SUBPAGE_THPS, "subpage_prot", why));
	TRY(subpage_check(p, kind, THP_STATE_PTE, why));
	munmap(area, len);
	return 0;
}

THP_COVERS(subpage, counts, "walk-subpage-prot");
TEST_F(subpage, counts)
{
	THP_NEEDS(thp_kind_needs(variant->kind));
	/* Changes nothing: there is no map to clear. */
	if (subpage_prot(NULL, 0, NULL))
		THP_SKIP("needs subpage_prot (powerpc, hash MMU, 64 KiB pages)");
	if (!thp_env_room((SUBPAGE_THPS + 1) * thp_env.pmd))
		THP_SKIP("needs free memory for 4 THPs");
	THP_SCENARIO(split_subpage, &variant->kind);
}
