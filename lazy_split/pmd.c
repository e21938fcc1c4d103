// SPDX-License-Identifier: GPL-2.0
/*
 * pmd: What maps a PMD, keeps it mapped as one, and takes it away again.
 */

/* What maps a PMD, keeps it mapped as one, and takes it away again */

FIXTURE(pmd) {
	struct thp_set set;
};

FIXTURE_SETUP(pmd)
{
	thp_warm_up();
}

FIXTURE_TEARDOWN_PARENT(pmd)
{
	thp_teardown(_metadata);
}

/* A difference of VmPTE against a number of tables per mapping; for THP_CHECK_OK. */
static int expect_tables(const char *what, long long bytes, long each, struct thp_why *why)
{
	return thp_expect_tables(what, bytes, each * (long)thp_env.unit, why);
}

static void fault_and_zap(struct __test_metadata *_metadata, struct thp_set *set,
			  enum thp_kind kind)
{
	struct thp_why why = { 0 };
	long long a, b, c;
	unsigned int i;

	THP_NEEDS(thp_kind_needs(kind));
	THP_REQUIRE_OK(thp_set_create(set, kind, &why), &why);
	a = thp_obs_vmpte(0);
	THP_REQUIRE_OK(thp_set_fault(set, &why), &why);
	b = thp_obs_vmpte(0);
	for (i = 0; i < set->n; i++)
		THP_CHECK_OK(thp_map_zap(&set->map[i]), &why);
	c = thp_obs_vmpte(0);
	THP_CHECK_OK(expect_tables("fault", b - a, thp_tables_mapped(kind), &why), &why);
	THP_CHECK_OK(expect_tables("munmap", c - a, 0, &why), &why);
}

THP_COVERS(pmd, fault_anon, "fault-anon zap-pmd");
TEST_F(pmd, fault_anon)
{
	fault_and_zap(_metadata, &self->set, THP_ANON);
}

THP_COVERS(pmd, fault_zero, "fault-zero zap-pmd");
TEST_F(pmd, fault_zero)
{
	fault_and_zap(_metadata, &self->set, THP_ZERO);
}

/*
 * The huge zero PMD gives way to a THP: one PMD for another, no table moves. An
 * eager kernel before 6.13 splits it instead, and that takes the deposit.
 */
THP_COVERS(pmd, zero_write, "zero-write zap-pmd");
TEST_F(pmd, zero_write)
{
	struct thp_why why = { 0 };
	struct thp_events e0, e1;
	bool splits = thp_env_zero_write_splits();
	long long a, b, c;
	unsigned int i;

	THP_NEEDS(THP_NEED_ZERO);
	THP_REQUIRE_OK(thp_set_create(&self->set, THP_ZERO, &why), &why);
	a = thp_obs_vmpte(0);
	THP_REQUIRE_OK(thp_set_fault(&self->set, &why), &why);
	b = thp_obs_vmpte(0);
	thp_obs_events(&e0);
	for (i = 0; i < thp_env.unit; i++)
		thp_touch(self->set.map[i].thp);
	thp_obs_events(&e1);
	c = thp_obs_vmpte(0);
	if (e1.fault_fallback != e0.fault_fallback)
		THP_SKIP(THP_FRAGMENTED);
	if (splits)
		THP_CHECK(e1.split_pmd - e0.split_pmd == thp_env.unit,
			  "write to the huge zero PMD: thp_split_pmd %+lld, expected +%u before 6.13",
			  (long long)(e1.split_pmd - e0.split_pmd), thp_env.unit);
	else
		THP_CHECK(e1.split_pmd == e0.split_pmd, "write to the huge zero PMD split it");
	THP_CHECK_OK(thp_map_expect(&self->set.map[0],
				    splits ? THP_STATE_PTE : THP_STATE_PMD, &why),
		     &why);
	THP_CHECK_OK(expect_tables("write to the huge zero PMD", c - b, 0, &why), &why);
	*self->set.map[0].thp = 0;
	THP_CHECK_OK(thp_check_zero(self->set.map[0].thp, thp_env.nr, &why), &why);
	for (i = 0; i < thp_env.unit; i++)
		THP_CHECK_OK(thp_map_zap(&self->set.map[i]), &why);
	THP_CHECK_OK(expect_tables("munmap", thp_obs_vmpte(0) - a, 0, &why), &why);
}

/*
 * Several threads fault the same THP: all but one find the PMD taken and must
 * give back what they had prepared, in the right way.
 */
#define RACERS 4

struct race {
	char *addr;
	size_t len;
	int *go;
	bool write;
};

static void *race_fault(void *arg)
{
	struct race *r = arg;

	while (!__atomic_load_n(r->go, __ATOMIC_ACQUIRE))
		;
	if (r->write)
		thp_touch(r->addr + r->len / 2);
	else
		thp_peek(r->addr + r->len / 2);
	return NULL;
}

static int race_once(struct thp_map *m, bool write, struct thp_why *why)
{
	struct race r = { .addr = m->thp, .len = thp_env.pmd, .write = write };
	pthread_t threads[RACERS];
	int go = 0, i, n, ret = 0;

	r.go = &go;
	for (n = 0; n < RACERS && !ret; n++)
		ret = pthread_create(&threads[n], NULL, race_fault, &r);
	if (ret)
		n--;
	__atomic_store_n(&go, 1, __ATOMIC_RELEASE);
	for (i = 0; i < n; i++)
		pthread_join(threads[i], NULL);
	return ret ? thp_why(why, -ret, "pthread_create: %s", strerror(ret)) : 0;
}

THP_COVERS(pmd, fault_race, "fault-anon fault-zero");
TEST_F(pmd, fault_race)
{
	struct thp_map *m = &self->set.map[0];
	struct thp_why why = { 0 };
	long long a, b = 0;
	unsigned int i;
	long got;

	THP_REQUIRE_OK(thp_map_create(m, THP_ANON, &why), &why);
	/* Thread stacks and the heap take their tables before the first count. */
	THP_REQUIRE_OK(race_once(m, true, &why), &why);
	madvise(m->thp, thp_env.pmd, MADV_DONTNEED);
	a = thp_obs_vmpte(0);
	for (i = 0; i < 32 * thp_env.scale; i++) {
		THP_REQUIRE_OK(race_once(m, i & 1, &why), &why);
		if (madvise(m->thp, thp_env.pmd, MADV_DONTNEED))
			THP_FAIL("MADV_DONTNEED: %s", strerror(errno));
	}
	b = thp_obs_vmpte(0);
	THP_CHECK(thp_env_tables(b - a, &got) && !got,
		  "%u raced faults and zaps left %+lld B of tables, expected +0", i, b - a);
}

/* userfaultfd takes the fault: whatever was prepared for the PMD is given back. */
static void *fault_write(void *arg)
{
	thp_touch(arg);
	return NULL;
}

static void *fault_read(void *arg)
{
	thp_peek(arg);
	return NULL;
}

static int wait_readable(int fd)
{
	struct uffd_msg msg;
	struct thp_deadline d;

	thp_deadline_start(&d, 0, THP_STEP_MS);
	while (read(fd, &msg, sizeof(msg)) != sizeof(msg)) {
		if (thp_deadline_over(&d))
			return -ETIMEDOUT;
		thp_sleep_ms(1);
	}
	return 0;
}

static void fault_missing(struct __test_metadata *_metadata, struct thp_map *m,
			  void *(*fault)(void *addr))
{
	static uint64_t page[(1 << 16) / 8];
	struct thp_why why = { 0 };
	pthread_t thread;
	int ret;

	THP_NEEDS(THP_NEED_UFFD);
	THP_REQUIRE(thp_env.page <= sizeof(page), "page size %zu is too large", thp_env.page);
	THP_REQUIRE_OK(thp_map_create(m, THP_ANON, &why), &why);
	m->uffd = thp_uffd_open(0);
	THP_REQUIRE(m->uffd >= 0, "userfaultfd: %s", thp_errno_name(m->uffd));
	THP_REQUIRE_OK(thp_uffd_register(m->uffd, m->thp, thp_env.pmd,
					 UFFDIO_REGISTER_MODE_MISSING), &why);
	ret = pthread_create(&thread, NULL, fault, m->thp);
	THP_REQUIRE(!ret, "pthread_create: %s", strerror(ret));
	THP_CHECK(!wait_readable(m->uffd), "the fault was not reported to userfaultfd");
	thp_fill(page, m->seed, 0);
	THP_CHECK_OK(thp_uffd_copy(m->uffd, m->thp, page, thp_env.page), &why);
	pthread_join(thread, NULL);
	THP_CHECK_OK(thp_map_expect(m, THP_STATE_PTE, &why), &why);
	THP_CHECK(thp_obs_populated(m->thp, thp_env.pmd) == 1,
		  "%ld pages populated by UFFDIO_COPY of 1",
		  thp_obs_populated(m->thp, thp_env.pmd));
}

THP_COVERS(pmd, fault_uffd_missing, "fault-uffd-missing");
TEST_F(pmd, fault_uffd_missing)
{
	fault_missing(_metadata, &self->set.map[0], fault_write);
}

/* The read fault, which would have mapped the huge zero folio. */
THP_COVERS(pmd, fault_uffd_missing_read, "fault-uffd-missing");
TEST_F(pmd, fault_uffd_missing_read)
{
	fault_missing(_metadata, &self->set.map[0], fault_read);
}
