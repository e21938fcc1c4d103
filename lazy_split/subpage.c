// SPDX-License-Identifier: GPL-2.0
/*
 * subpage: subpage_prot(2) of powerpc: a split in the middle of a VMA.
 */

/*
 * powerpc's subpage_prot(2) gives each 4 KiB of a 64 KiB page a protection of its own.
 * The hash MMU does that, for base pages only, so all huge PMDs of the VMA are split.
 */
#define SUBPAGE_THPS 3

FIXTURE(subpage) {
	char *area, *p;
	size_t len;
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

THP_COVERS(subpage, counts, "walk-subpage-prot");
TEST_F(subpage, counts)
{
	enum thp_state whole = variant->kind == THP_ZERO ? THP_STATE_PMD_ZERO : THP_STATE_PMD;
	const uint32_t open = 0;
	struct thp_why why = { 0 };
	struct thp_events e0, e1;
	long long a, b, c;
	long got = -1;
	size_t i;
	int ret;

	THP_NEEDS(thp_kind_needs(variant->kind));
	/* Asks for nothing: there is no map to clear. */
	if (subpage_prot(NULL, 0, NULL))
		THP_SKIP("needs subpage_prot (powerpc, hash MMU, 64 KiB pages)");
	self->len = (SUBPAGE_THPS + 1) * thp_env.pmd;
	if (!thp_env_room(self->len))
		THP_SKIP("needs free memory for 4 THPs");
	self->area = mmap(NULL, self->len, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	THP_REQUIRE(self->area != MAP_FAILED, "mmap: %s", strerror(errno));
	self->p = (char *)(((uintptr_t)self->area + thp_env.pmd - 1) & ~(thp_env.pmd - 1));
	madvise(self->p, SUBPAGE_THPS * thp_env.pmd, MADV_HUGEPAGE);
	a = thp_obs_vmpte(0);
	for (i = 0; i < SUBPAGE_THPS * thp_env.nr; i++) {
		if (variant->kind == THP_ZERO)
			thp_peek(self->p + i * thp_env.page);
		else
			thp_fill(self->p + i * thp_env.page, 1, i);
	}
	ret = subpage_check(self->p, variant->kind, whole, &why);
	if (ret == -EPROTO) {
		TH_LOG("%s", why.text);
		THP_SKIP(THP_FRAGMENTED);
	}
	THP_REQUIRE_RESULT(ret, &why);
	b = thp_obs_vmpte(0);
	thp_obs_events(&e0);
	ret = subpage_prot(self->p + 5 * thp_env.page, thp_env.page, &open);
	thp_obs_events(&e1);
	c = thp_obs_vmpte(0);
	THP_CHECK(!ret, "subpage_prot: %s", thp_errno_name(ret));
	THP_CHECK(e1.split_pmd - e0.split_pmd == SUBPAGE_THPS,
		  "thp_split_pmd: expected +%d, got +%llu", SUBPAGE_THPS,
		  (unsigned long long)(e1.split_pmd - e0.split_pmd));
	/* The hash MMU always deposits: whatever the tables cost, the fault has paid. */
	THP_CHECK(thp_env_tables(b - a, &got) && got >= SUBPAGE_THPS,
		  "fault: %+lld B of page tables, expected at least %d tables of %zu B", b - a,
		  SUBPAGE_THPS, thp_env.table);
	THP_CHECK(b == c, "subpage_prot: %+lld B of page tables, expected none", c - b);
	THP_CHECK_OK(subpage_check(self->p, variant->kind, THP_STATE_PTE, &why), &why);
	munmap(self->area, self->len);
}
