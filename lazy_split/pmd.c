// SPDX-License-Identifier: GPL-2.0
/* pmd: Operations that map a PMD, keep it mapped, and unmap it. */

FIXTURE(pmd) {
	int unused;	/* the harness wants data */
};

FIXTURE_SETUP(pmd)
{
	(void)self;
	thp_warm_up();
}

FIXTURE_TEARDOWN_PARENT(pmd)
{
	thp_teardown(_metadata);
}

static int fault_and_zap(const void *arg, struct thp_why *why)
{
	const enum thp_kind *kind = arg;
	struct thp_meter fault;
	struct thp_set set;

	TRY(thp_set_create(&set, *kind, why));
	TRY(thp_meter_start(&fault, 0, why));
	TRY(thp_set_fault(&set, why));
	TRY(thp_meter_read(&fault, why));
	TRY(thp_meter_tables(&fault, set.n * thp_tables_mapped(*kind), "fault", why));
	return thp_set_zap(&set, thp_tables_mapped(*kind), why);
}

THP_COVERS(pmd, fault_anon, "fault-anon zap-pmd");
TEST_F(pmd, fault_anon)
{
	const enum thp_kind kind = THP_ANON;

	(void)self;
	THP_SCENARIO(fault_and_zap, &kind);
}

THP_COVERS(pmd, fault_zero, "fault-zero zap-pmd");
TEST_F(pmd, fault_zero)
{
	const enum thp_kind kind = THP_ZERO;

	(void)self;
	THP_NEEDS(THP_NEED_ZERO);
	THP_SCENARIO(fault_and_zap, &kind);
}

/*
 * do_huge_zero_wp_pmd() replaces the huge zero PMD by a THP: one PMD by another, no table
 * is allocated or freed. An eager kernel before 6.13 splits it instead, which uses the
 * deposit.
 */
static int write_to_zero(const void *arg, struct thp_why *why)
{
	static const char what[] = "write to the huge zero PMD";
	bool splits = thp_env_zero_write_splits();
	struct thp_meter meter;
	struct thp_set set;
	unsigned int i;

	(void)arg;
	TRY(thp_set_new(&set, THP_ZERO, why));
	TRY(thp_meter_start(&meter, 0, why));
	for (i = 0; i < set.n; i++)
		thp_touch(set.map[i].thp);
	TRY(thp_meter_read(&meter, why));
	if (thp_meter_event(&meter, fault_fallback))
		return thp_skip(why, THP_FRAGMENTED);
	TRY(thp_meter_expect(&meter, 0, splits ? set.n : 0, what, why));
	TRY(thp_map_expect(&set.map[0], splits ? THP_STATE_PTE : THP_STATE_PMD, why));
	*set.map[0].thp = 0;
	TRY(thp_check_zero(set.map[0].thp, thp_env.nr, why));
	/* The THPs free as many tables as the PMDs of zeroes took. */
	for (i = 0; i < set.n; i++)
		TRY(thp_map_zap(&set.map[i]));
	TRY(thp_meter_read(&meter, why));
	return thp_meter_tables(&meter, -(long)set.n * thp_tables_mapped(THP_ZERO), "munmap",
				why);
}

THP_COVERS(pmd, zero_write, "zero-write zap-pmd");
TEST_F(pmd, zero_write)
{
	(void)self;
	THP_NEEDS(THP_NEED_ZERO);
	THP_SCENARIO(write_to_zero, NULL);
}

/*
 * Several threads fault the same THP: all but one find the PMD taken and must give back
 * what they have prepared, correctly.
 */
#define RACERS 4
/* More than it takes to start the others, except on a machine that runs one thread at a time. */
#define RACER_SPINS 300000

struct race {
	char *addr;
	size_t len;
	int *go;
	bool write;
};

static void *race_fault(void *arg)
{
	struct race *r = arg;
	int spins = 0;

	while (!__atomic_load_n(r->go, __ATOMIC_ACQUIRE))
		if (++spins > RACER_SPINS)
			thp_sleep_ms(1);
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

static int race_faults(const void *arg, struct thp_why *why)
{
	unsigned int rounds = 32 * thp_env.scale, i;
	struct thp_meter meter;
	struct thp_map m;

	(void)arg;
	TRY(thp_map_create(&m, THP_ANON, why));
	/* Thread stacks and the heap take their tables before the first count. */
	TRY(race_once(&m, true, why));
	madvise(m.thp, thp_env.pmd, MADV_DONTNEED);
	TRY(thp_meter_start(&meter, 0, why));
	for (i = 0; i < rounds; i++) {
		TRY(race_once(&m, i & 1, why));
		if (madvise(m.thp, thp_env.pmd, MADV_DONTNEED))
			return thp_why(why, -errno, "MADV_DONTNEED: %s", strerror(errno));
	}
	TRY(thp_meter_read(&meter, why));
	return thp_meter_tables(&meter, 0, "raced faults and zaps", why);
}

THP_COVERS(pmd, fault_race, "fault-anon fault-zero");
TEST_F(pmd, fault_race)
{
	(void)self;
	THP_SCENARIO(race_faults, NULL);
}

/* userfaultfd handles the fault: the kernel gives back what it has prepared for the PMD. */
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

/* How the test causes the fault. */
struct missing_case {
	void *(*fault)(void *addr);
};

static int fault_missing(const void *arg, struct thp_why *why)
{
	static uint64_t page[(1 << 16) / 8];
	const struct missing_case *c = arg;
	pthread_t thread;
	struct thp_map m;
	long populated;
	int ret;

	if (thp_env.page > sizeof(page))
		return thp_why(why, -E2BIG, "page size %zu is too large", thp_env.page);
	TRY(thp_map_create(&m, THP_ANON, why));
	m.uffd = thp_uffd_open(0);
	if (m.uffd < 0)
		return thp_why(why, m.uffd, "userfaultfd: %s", thp_errno_name(m.uffd));
	TRY(thp_uffd_register(m.uffd, m.thp, thp_env.pmd, UFFDIO_REGISTER_MODE_MISSING));
	ret = pthread_create(&thread, NULL, c->fault, m.thp);
	if (ret)
		return thp_why(why, -ret, "pthread_create: %s", strerror(ret));
	if (wait_readable(m.uffd))
		return thp_why(why, -EPROTO, "the fault was not reported to userfaultfd");
	thp_fill(page, m.seed, 0);
	TRY(thp_uffd_copy(m.uffd, m.thp, page, thp_env.page));
	pthread_join(thread, NULL);
	TRY(thp_map_expect(&m, THP_STATE_PTE, why));
	populated = thp_obs_pages(m.thp, thp_env.pmd, THP_PM_POPULATED);
	if (populated != 1)
		return thp_why(why, -EPROTO, "%ld pages populated by UFFDIO_COPY of 1",
			       populated);
	return 0;
}

THP_COVERS(pmd, fault_uffd_missing, "fault-uffd-missing");
TEST_F(pmd, fault_uffd_missing)
{
	const struct missing_case c = { .fault = fault_write };

	(void)self;
	THP_NEEDS(THP_NEED_UFFD);
	THP_SCENARIO(fault_missing, &c);
}

/* The read fault that would have mapped the huge zero folio. */
THP_COVERS(pmd, fault_uffd_missing_read, "fault-uffd-missing");
TEST_F(pmd, fault_uffd_missing_read)
{
	const struct missing_case c = { .fault = fault_read };

	(void)self;
	THP_NEEDS(THP_NEED_UFFD);
	THP_SCENARIO(fault_missing, &c);
}
