// SPDX-License-Identifier: GPL-2.0
/* judge: The judge has to report wrong operations. */

/*
 * Tests of the judge: operations that break the contract, without any injector, which shows
 * on every kernel that a broken kernel would be reported.
 */
static int lie_success(struct thp_map *m, char *addr, size_t len)
{
	(void)m;
	(void)addr;
	(void)len;
	return 0;
}

static int lie_enomem(struct thp_map *m, char *addr, size_t len)
{
	(void)m;
	madvise(addr, len, MADV_DONTNEED);
	return -ENOMEM;
}

static int wrong_errno(struct thp_map *m, char *addr, size_t len)
{
	(void)m;
	(void)addr;
	(void)len;
	return -EINVAL;
}

static int half_effect(struct thp_map *m, char *addr, size_t len)
{
	(void)m;
	return madvise(addr, len / 2, MADV_DONTNEED) ? -errno : 0;
}

static int changes_vma(struct thp_map *m, char *addr, size_t len)
{
	(void)m;
	mprotect(addr, len, PROT_READ);
	return -ENOMEM;
}

static int loops(struct thp_map *m, char *addr, size_t len)
{
	(void)m;
	(void)addr;
	(void)len;
	/*
	 * Loops from the second call on: starve_rehearse() must succeed. An endless retry is
	 * busy in the kernel; a task that sleeps is no livelock.
	 */
	if (m->priv++)
		for (;;)
			syscall(SYS_getppid);
	return 0;
}

static int prepare_loop(struct thp_map *m, struct thp_why *why)
{
	static int round;

	(void)why;
	m->priv = round++;
	return 0;
}

static int crashes(struct thp_map *m, char *addr, size_t len)
{
	(void)addr;
	(void)len;
	if (m->priv++)
		raise(SIGSEGV);
	return 0;
}

FIXTURE(judge) {
	struct starve_result result;
};

FIXTURE_VARIANT(judge) {
	struct split_op op;
	const char *expect;	/* part of the cause */
};

FIXTURE_VARIANT_ADD(judge, success_without_effect) {
	.op = {
		.name = "lie", .run = lie_success, .kinds = THP_ANON, .where = AT_MID,
		.effect = ZEROES,
	},
	.expect = "expected zeroes",
};

FIXTURE_VARIANT_ADD(judge, success_without_split) {
	.op = { .name = "lie", .run = lie_success, .kinds = THP_ANON, .where = AT_MID },
	.expect = "still PMD-mapped",
};

FIXTURE_VARIANT_ADD(judge, failure_with_effect) {
	.op = {
		.name = "lie", .run = lie_enomem, .kinds = THP_ANON, .where = AT_MID,
		.effect = ZEROES,
	},
	.expect = "expected 0x",
};

FIXTURE_VARIANT_ADD(judge, failure_with_vma_change) {
	.op = { .name = "lie", .run = changes_vma, .kinds = THP_ANON, .where = AT_MID },
	.expect = "changed the VMAs",
};

FIXTURE_VARIANT_ADD(judge, partial_effect) {
	.op = {
		.name = "lie", .run = half_effect, .kinds = THP_ANON, .where = AT_UPPER,
		.effect = ZEROES,
	},
	.expect = "expected zeroes",
};

FIXTURE_VARIANT_ADD(judge, undocumented_errno) {
	.op = { .name = "lie", .run = wrong_errno, .kinds = THP_ANON, .where = AT_MID },
	.expect = "not documented",
};

FIXTURE_VARIANT_ADD(judge, advice_with_error) {
	.op = {
		.name = "lie", .run = wrong_errno, .kinds = THP_ANON, .where = AT_MID,
		.starved = ADVICE,
	},
	.expect = "it is advice",
};

FIXTURE_VARIANT_ADD(judge, error_without_need) {
	.op = {
		.name = "lie", .run = wrong_errno, .keeps = THP_ANON, .where = AT_WHOLE,
		.starved = NEVER,
	},
	.expect = "needs no memory",
};

FIXTURE_VARIANT_ADD(judge, livelock) {
	.op = {
		.name = "lie", .run = loops, .prepare = prepare_loop, .kinds = THP_ANON,
		.where = AT_MID,
	},
	.expect = "livelock",
};

FIXTURE_VARIANT_ADD(judge, crash) {
	.op = {
		.name = "lie", .run = crashes, .prepare = prepare_loop, .kinds = THP_ANON,
		.where = AT_MID,
	},
	.expect = "killed by SIGSEGV",
};

FIXTURE_SETUP(judge)
{
}

FIXTURE_TEARDOWN_PARENT(judge)
{
	thp_teardown(_metadata);
}

THP_COVERS(judge, reports, "suite-judge");
TEST_F_TIMEOUT(judge, reports, 60)
{
	const struct starve_job job = {
		.op = &variant->op, .kind = THP_ANON, .by = &starve_nothing,
		.result = &self->result,
		/* Only for an endless loop the limit has to be short. */
		.return_ms = variant->op.run == loops ? 300 : 0,
	};
	struct thp_why why = { 0 };
	int ret;

	ret = starve_run(&job, &why);
	THP_CHECK(ret && strstr(why.text, variant->expect),
		  "a broken operation got \"%s\", expected a cause with \"%s\"", why.text,
		  variant->expect);
}
