// SPDX-License-Identifier: GPL-2.0
/*
 * crowd: Reclaim of a THP that up to a thousand processes map. Reclaim works for free
 * memory, so it must not take more of it, as page tables, than it gives back: a table per
 * process (try_to_unmap_one(), or try_to_migrate_one() where the folio has to be split
 * first) is more than the THP beyond 512 of them, with 4 kB pages.
 */

/* The kernel updates memory.stat every 2 s. */
#define CROWD_STAT_MS	2500
/* Pages that a group keeps in stock on each CPU (MEMCG_CHARGE_BATCH). */
#define CROWD_BATCH	64
/* What the stocks hold, as a part of a THP. */
#define CROWD_STOCK	(thp_env.pmd / 8)

/* The groups of a crowd: that of the THPs, that of the processes, that of the reclaimer. */
struct crowd_groups {
	struct thp_cg thps, home, reclaimer;
};

/* What reclaim took and gave back, in bytes. */
struct crowd_bill {
	long long tables;	/* page tables that all processes have gained */
	long long freed;	/* memory that the group of the THPs has given back */
	long long free;		/* by which free memory has grown, others' included */
	long long out;		/* of the THPs in swap now, as this process sees them */
	long long us;
	uint64_t killed;	/* processes, by the OOM killer */
};

struct crowd_case {
	const char *name;
	struct crowd_groups *g;
	unsigned int sizes[8];	/* of the crowds, ascending; 0: no more */
	size_t spared;		/* bytes of the THPs for which the group has no swap */
};

static int crowd_read(const struct crowd_case *c, struct crowd_bill *b, struct thp_why *why)
{
	long pages = swapped();

	b->us = thp_now_us();
	b->tables = crowd_tables();
	if (b->tables < 0)
		return thp_why(why, b->tables, "VmPTE: %s", thp_errno_name(b->tables));
	if (pages < 0)
		return thp_why(why, pages, "pagemap: %s", thp_errno_name(pages));
	b->out = pages * (long long)thp_env.page;
	b->freed = thp_cg_usage(&c->g->thps);
	if (b->freed < 0)
		return thp_why(why, b->freed, "usage: %s", thp_errno_name(b->freed));
	b->free = thp_obs_vmstat("nr_free_pages") * thp_env.page;
	b->killed = thp_obs_vmstat("oom_kill");
	return 0;
}

/* What has changed since @before. */
static int crowd_settle(const struct crowd_case *c, const struct crowd_bill *before,
			struct crowd_bill *b, struct thp_why *why)
{
	long long all = thp_group.n * thp_env.pmd;

	TRY(crowd_read(c, b, why));
	b->tables -= before->tables;
	b->freed = before->freed - b->freed;
	/* The rest is from the stocks. */
	if (b->freed > all)
		b->freed = all;
	b->free -= before->free;
	b->us -= before->us;
	b->killed -= before->killed;
	if (b->killed)
		return thp_why(why, -EPROTO, "%llu processes killed, with memory at hand",
			       (unsigned long long)b->killed);
	return crowd_alive(why);
}

/* The bytes that reclaim can get. */
static long long crowd_want(const struct crowd_case *c)
{
	return thp_group.n * thp_env.pmd - c->spared;
}

/* Whether reclaim has to get the THPs: it needs no tables, or at most half a THP of pages. */
static bool crowd_owed(void)
{
	return (crowd.n + 1) * thp_env.page * thp_tables_split(THP_ANON) <= thp_env.pmd / 2;
}

/* Rounds without effect after which reclaim is taken to leave the THPs alone. */
#define CROWD_IDLE_ROUNDS	4

/*
 * Rounds of reclaim, until it has got all, or, where it need not, until nothing happens any
 * more. What they took and gave since @before: *@bill.
 */
static int crowd_rounds(const struct crowd_case *c, const struct crowd_bill *before,
			struct crowd_bill *bill, struct thp_why *why)
{
	long long want = crowd_want(c), tables = 0, out = 0;
	int round, idle = 0;

	for (round = 0; round < RECLAIM_ROUNDS; round++) {
		reclaim_group(&c->g->thps);
		TRY(crowd_settle(c, before, bill, why));
		if (bill->out >= want && bill->freed >= want - (long long)CROWD_STOCK)
			break;
		idle = bill->tables == tables && bill->out == out ? idle + 1 : 0;
		if (!crowd_owed() && idle == CROWD_IDLE_ROUNDS)
			break;
		tables = bill->tables;
		out = bill->out;
	}
	return 0;
}

static void crowd_print(const struct crowd_case *c, const struct crowd_bill *b)
{
	printf("# %s: %u processes: %+lld kB of tables, %lld kB freed, %+lld kB free, %lld ms\n",
	       c->name, crowd.n, b->tables / 1024, b->freed / 1024, b->free / 1024,
	       b->us / 1000);
	fflush(stdout);
}

/* Reclaim takes less than it gives. */
static int crowd_judge(const struct crowd_case *c, const struct crowd_bill *b,
		       struct thp_why *why)
{
	if (b->tables && b->tables >= b->freed)
		return thp_why(why, -EPROTO,
			       "%u processes: reclaim took %lld kB for page tables, and freed %lld kB",
			       crowd.n, b->tables / 1024, b->freed / 1024);
	if (crowd_owed() && b->out < crowd_want(c))
		return thp_why(why, -EPROTO,
			       "%u processes: %lld kB in swap after %d rounds of reclaim, expected %lld",
			       crowd.n, b->out / 1024, RECLAIM_ROUNDS, crowd_want(c) / 1024);
	return 0;
}

/* The THPs belong to a group of their own, with nothing else in it that can be reclaimed. */
static int crowd_new(const struct crowd_case *c, unsigned int n, struct thp_why *why)
{
	int ret = thp_cg_join(&c->g->thps, getpid());

	if (ret)
		return thp_why(why, ret, "cgroup.procs: %s", thp_errno_name(ret));
	TRY(thp_group_new(THP_ANON, 0, why));
	ret = thp_cg_join(&c->g->home, getpid());
	if (ret)
		return thp_why(why, ret, "cgroup.procs: %s", thp_errno_name(ret));
	return crowd_gather(n, why);
}

/* With crowds of several sizes: the curve. */
static int crowd_curve(const void *arg, struct thp_why *why)
{
	const struct crowd_case *c = arg;
	struct crowd_bill before, bill;
	size_t i;

	crowd.short_of = false;
	for (i = 0; i < ARRAY_SIZE(c->sizes) && c->sizes[i] && !crowd.short_of; i++) {
		TRY(crowd_new(c, c->sizes[i], why));
		TRY(crowd_read(c, &before, why));
		TRY(crowd_rounds(c, &before, &bill, why));
		crowd_print(c, &bill);
		TRY(crowd_judge(c, &bill, why));
		TRY(crowd_orders(CROWD_SAMPLES, why));
		crowd_disperse();
		TRY(thp_group_finish(why));
		thp_group_free();
	}
	return 0;
}

FIXTURE(crowd) {
	struct crowd_groups g;
};

FIXTURE_SETUP(crowd)
{
	THP_NEEDS(THP_NEED_MEMCG | THP_NEED_SWAP);
	thp_warm_up();
}

FIXTURE_TEARDOWN_PARENT(crowd)
{
	struct thp_why why = { 0 };

	THP_CHECK_OK(thp_cg_destroy(&self->g.home), &why);
	THP_CHECK_OK(thp_cg_destroy(&self->g.reclaimer), &why);
	THP_CHECK_OK(thp_cg_destroy(&self->g.thps), &why);
	thp_teardown(_metadata);
}

/* The groups; that of the THPs may swap @limit bytes (version 2; 0: no limit). */
static int crowd_groups(struct crowd_groups *g, size_t limit, struct thp_why *why)
{
	char path[256];
	int ret;

	TRY(thp_cg_create(&g->thps, "crowd", why));
	TRY(thp_cg_create(&g->home, "home", why));
	TRY(thp_cg_create(&g->reclaimer, "reclaimer", why));
	ret = thp_cg_swap(&g->thps, true);
	snprintf(path, sizeof(path), "%s/memory.swap.max", g->thps.path);
	if (!ret && limit)
		ret = thp_write_fmt(path, "%zu", limit);
	return ret ? thp_why(why, ret, "%s cannot swap: %s", g->thps.path, thp_errno_name(ret)) : 0;
}

THP_COVERS(crowd, net, "reclaim-unmap multi-mm-split");
TEST_F_TIMEOUT(crowd, net, 240)
{
	const struct crowd_case c = {
		.name = "crowd.net", .g = &self->g,
		.sizes = { 1, 8, CROWD_MIN, 255, 300, 512, 600, CROWD_MAX },
	};
	struct thp_why why = { 0 };

	THP_REQUIRE_OK(crowd_groups(&self->g, 0, &why), &why);
	THP_SCENARIO(crowd_curve, &c);
}

/*
 * Swap of the group is too small for the whole THP: it has to be split, and its base pages
 * find room, but a few.
 */
THP_COVERS(crowd, split, "folio-split-reclaim folio-split multi-mm-split");
TEST_F_TIMEOUT(crowd, split, 240)
{
	const struct crowd_case c = {
		.name = "crowd.split", .g = &self->g,
		.sizes = { CROWD_MIN, 600 }, .spared = thp_env.pmd / 16,
	};
	struct thp_why why = { 0 };

	if (thp_env.memcg != 2)
		THP_SKIP("needs version 2 of the memory controller");
	/* With radix and 64 kB pages a stock holds two THPs, and the usage says little. */
	if (thp_env.nr <= CROWD_BATCH)
		THP_SKIP("needs THPs of more than 64 pages");
	THP_REQUIRE_OK(crowd_groups(&self->g, thp_env.unit * thp_env.pmd - c.spared / 2, &why),
		       &why);
	THP_SCENARIO(crowd_curve, &c);
}

/* The k-th table of a crowd's is refused to the reclaimer, and all after it. */
struct crowd_kth {
	struct crowd_case c;
	unsigned int k;
};

/* Reclaim by this process, whose tables can be refused, until one was: *@fired. */
static int crowd_refused(const struct crowd_kth *r, const struct crowd_bill *before,
			 struct crowd_bill *bill, long *fired, struct thp_why *why)
{
	int round, ret;

	TRY(thp_inject_self(why));
	ret = thp_inject_grant(r->k - 1);
	for (round = 0; round < RECLAIM_ROUNDS && !ret; round++) {
		reclaim_group(&r->c.g->thps);
		*fired = thp_inject_fired();
		if (*fired || swapped() == (long)(thp_group.n * thp_env.nr))
			break;
	}
	(void)thp_inject_own(false);
	if (ret)
		return thp_why(why, ret, "%u tables cannot be granted: %s", r->k - 1,
			       thp_errno_name(ret));
	return crowd_settle(&r->c, before, bill, why);
}

/* Everyone reads the old data, writes, and sees its own writes only. */
static int crowd_isolated(struct thp_why *why)
{
	TRY(thp_group_check(why));
	TRY(crowd_orders(CROWD_ALL, why));
	TRY(crowd_orders(CROWD_WRITE, why));
	TRY(thp_group_check(why));
	return crowd_orders(CROWD_WRITTEN, why);
}

static int goes_on(const void *arg, struct thp_why *why)
{
	const struct crowd_kth *r = arg;
	struct crowd_bill before, bill;
	long long most;
	long fired = 0;

	TRY(crowd_new(&r->c, CROWD_MIN, why));
	/* First, as the range that it uses up tables in has tables of upper levels. */
	TRY(thp_inject_tables(why));
	TRY(crowd_read(&r->c, &before, why));
	TRY(crowd_refused(r, &before, &bill, &fired, why));
	printf("# %s: table %u of %u: %ld refusals, %+lld kB of tables, %lld kB in swap\n",
	       r->c.name, r->k, crowd.n + 1, fired, bill.tables / 1024, bill.out / 1024);
	fflush(stdout);
	if (!fired && crowd_owed() && bill.out < crowd_want(&r->c))
		return thp_why(why, -EPROTO,
			       "%lld kB in swap after %d rounds of reclaim, expected %lld: nothing refused",
			       bill.out / 1024, RECLAIM_ROUNDS, crowd_want(&r->c) / 1024);
	TRY(crowd_isolated(why));
	/* It goes on from there: no process needs a second table for a THP. */
	TRY(crowd_rounds(&r->c, &before, &bill, why));
	most = (crowd.n + 1) * thp_group_split() * (long long)thp_env.table;
	if (bill.tables > most)
		return thp_why(why, -EPROTO, "%+lld B of tables in the end, expected at most %+lld",
			       bill.tables, most);
	TRY(crowd_judge(&r->c, &bill, why));
	TRY(crowd_orders(CROWD_WRITTEN, why));
	crowd_disperse();
	return thp_group_finish(why);
}

THP_COVERS(crowd, kth, "reclaim-unmap multi-mm-split");
TEST_F_TIMEOUT(crowd, kth, 240)
{
	struct crowd_kth r = {
		.c = { .name = "crowd.kth", .g = &self->g },
	};
	const unsigned int k[] = { 1, CROWD_MIN / 2, CROWD_MIN - 1 };
	/* Where tables share a page each process has one of its own: only the first is certain. */
	const size_t n = thp_env.table < thp_env.page ? 1 : ARRAY_SIZE(k);
	struct thp_why why = { 0 };
	size_t i;

	THP_NEEDS(THP_NEED_FAIL_PAGE);
	THP_REQUIRE_OK(crowd_groups(&self->g, 0, &why), &why);
	for (i = 0; i < n; i++) {
		r.k = k[i];
		THP_SCENARIO(goes_on, &r);
	}
}

/*
 * Each table that reclaim takes is charged: to the reclaimer, to the process that it
 * belongs to, or to the group of the THP.
 */
static int somebody_pays(const void *arg, struct thp_why *why)
{
	const struct crowd_case *c = arg;
	const struct thp_cg *cg[] = { &c->g->reclaimer, &c->g->home, &c->g->thps };
	struct crowd_bill before, bill;
	long long tables[ARRAY_SIZE(cg)], sum = 0;
	size_t i;
	int ret;

	TRY(crowd_new(c, CROWD_MIN, why));
	ret = thp_cg_join(&c->g->reclaimer, getpid());
	if (ret)
		return thp_why(why, ret, "cgroup.procs: %s", thp_errno_name(ret));
	TRY(crowd_read(c, &before, why));
	thp_sleep_ms(CROWD_STAT_MS);
	for (i = 0; i < ARRAY_SIZE(cg); i++) {
		tables[i] = thp_cg_stat(cg[i], "pagetables");
		if (tables[i] < 0)
			return thp_skip(why, "needs pagetables in memory.stat");
	}
	TRY(crowd_rounds(c, &before, &bill, why));
	thp_sleep_ms(CROWD_STAT_MS);
	for (i = 0; i < ARRAY_SIZE(cg); i++) {
		tables[i] = thp_cg_stat(cg[i], "pagetables") - tables[i];
		sum += tables[i];
	}
	printf("# %s: %+lld kB of tables: reclaimer %+lld, processes %+lld, THP %+lld\n",
	       c->name, bill.tables / 1024, tables[0] / 1024, tables[1] / 1024,
	       tables[2] / 1024);
	fflush(stdout);
	if (sum != bill.tables)
		return thp_why(why, -EPROTO,
			       "%+lld kB of tables, %+lld kB of them paid for",
			       bill.tables / 1024, sum / 1024);
	crowd_disperse();
	return thp_group_finish(why);
}

THP_COVERS(crowd, charged, "reclaim-unmap multi-mm-split");
TEST_F_TIMEOUT(crowd, charged, 120)
{
	const struct crowd_case c = {
		.name = "crowd.charged", .g = &self->g,
	};
	struct thp_why why = { 0 };

	if (thp_env.memcg != 2)
		THP_SKIP("needs version 2 of the memory controller");
	if (thp_env.table < thp_env.page)
		THP_SKIP("needs PTE tables of a whole page");
	THP_REQUIRE_OK(crowd_groups(&self->g, 0, &why), &why);
	THP_SCENARIO(somebody_pays, &c);
}
