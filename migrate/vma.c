// SPDX-License-Identifier: GPL-2.0
/*
 * vma: A fault while the VMA is split.
 */

/*
 * Splitting a VMA splits the PMD at its new boundary. A huge fault in between would leave a
 * PMD that belongs to two VMAs: the splits below only change VMA flags and never touch the
 * page tables again, so it would stay.
 */

/* Exchanges the range for a new one, without any table. */
static int renew(struct thp_race *r, struct thp_why *why)
{
	void *p;

	p = mmap(r->map.thp, thp_env.pmd, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
	if (p == MAP_FAILED || madvise(p, thp_env.pmd, MADV_HUGEPAGE))
		return thp_why(why, -errno, "mmap: %s", strerror(errno));
	return 0;
}

static int act_vma_split(struct thp_race *r, struct thp_actor *a, struct thp_why *why)
{
	char *mid = r->map.thp + thp_env.pmd / 2;
	static struct thp_smaps sm;
	bool flag = a->loops % 3;
	int ret, i;

	TRY(renew(r, why));
	phase(GO);
	/* Clearing the page takes most of the fault: splits at a different moment each time. */
	while (phase_now() == GO && !r->ended)
		;
	for (i = a->loops % 64 * 50; i; i--)
		(void)phase_now();
	a->hits += phase_now() == MEETING;
	if (flag ? madvise(mid, thp_env.page, MADV_DONTDUMP) :
		   mprotect(mid, thp_env.page, PROT_READ))
		return thp_why(why, -errno, "VMA split: %s", strerror(errno));
	(void)await_phase(r, DONE);
	/* No VMA holds the whole range now. */
	ret = thp_obs_smaps(0, r->map.thp, thp_env.pmd, &sm);
	if (ret)
		return thp_why(why, ret, "smaps: %s", thp_errno_name(ret));
	if (sm.vmas != 3)
		return thp_why(why, -EPROTO, "VMAs after the split: expected 3, got %u", sm.vmas);
	if (sm.anon_huge_kb)
		return thp_why(why, -EPROTO,
			       "a PMD straddles VMA boundaries: AnonHugePages expected 0, got %llu kB",
			       (unsigned long long)sm.anon_huge_kb);
	if (flag ? madvise(mid, thp_env.page, MADV_DODUMP) :
		   mprotect(mid, thp_env.page, PROT_READ | PROT_WRITE))
		return thp_why(why, -errno, "VMA merge: %s", strerror(errno));
	if (thp_peek(r->map.thp) != 1 || thp_peek(mid))
		return thp_why(why, -EILSEQ, "expected 1 and 0, found %d and %d",
			       thp_peek(r->map.thp), thp_peek(mid));
	return 0;
}

static int act_refault(struct thp_race *r, struct thp_actor *a, struct thp_why *why)
{
	(void)why;
	if (!await_phase(r, GO))
		return 0;
	phase(MEETING);
	thp_touch(r->map.thp);
	phase(DONE);
	a->hits++;
	return 0;
}

static const struct race_set vma_race = {
	.actors = {
		{ .name = "vma_split", .step = act_vma_split },
		{ .name = "touch", .step = act_refault },
	},
	.words = true, .ms = 3 * RACE_MS, .min_hits = 20,
};

FIXTURE(vma) {
	struct race_report report;
	struct thp_why why;
};

FIXTURE_SETUP(vma)
{
	(void)sys_policy_local();
	thp_warm_up();
}

FIXTURE_TEARDOWN_PARENT(vma)
{
	thp_teardown(_metadata);
}

THP_COVERS(vma, split_fault, "race-vma-split split-mprotect");
TEST_F(vma, split_fault)
{
	THP_SKIP_IF(race_missing(&vma_race));
	THP_REQUIRE_OK(run_race(&vma_race, NULL, &self->report, &self->why), &self->why);
	/* Then the CPUs were too busy to meet, and the test proves nothing about the kernel. */
	if (!self->report.hits[0])
		THP_SKIP("needs CPUs that are free for a fault to meet a VMA split");
}
