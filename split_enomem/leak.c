// SPDX-License-Identifier: GPL-2.0
/* leak: Lost tables: loops that leak tables of no process. */

/*
 * Leak loops. No process' VmPTE and no report at exit includes a table that was allocated
 * and never populated: only the system's PageTables does, and it shows only after many
 * rounds.
 */
#define LEAK_ROUNDS	250
#define LEAK_ROUNDS_MAX	1000
#define LEAK_DEVICE	100
#define LEAK_PAGES	4	/* that other processes may have taken meanwhile */

FIXTURE(leak) {
	int unused;	/* the harness wants data */
};

struct leak_of {
	const char *op;
	enum thp_kind kind;
	bool refused;		/* tables cannot be allocated */
	bool edges;		/* with two edges, of which the first gets its table */
	bool nth;		/* the first allocation is refused, then the second, ... */
	const char *rival;	/* another thread runs this on the first page meanwhile */
	bool collapse;		/* ... and MADV_COLLAPSE */
	bool slow;		/* the smallest useful number of rounds */
	bool device;		/* even fewer: all contents are copied there and back */
	bool never;		/* the operation is refused for another reason than memory */
};

/* Whether only a few of the rounds could leak: those that lose a race, or one of the shots. */
static bool leak_seldom(const struct leak_of *of)
{
	return of->rival || of->nth;
}

/* PageTables shows a leak in whole pages, and a table may be a small part of one. */
static unsigned int leak_count(const struct leak_of *of)
{
	size_t count = 4 * LEAK_PAGES * thp_env.page / thp_env.table;

	if (of->device)
		return LEAK_DEVICE * thp_env.scale;
	if (of->slow || count < LEAK_ROUNDS)
		count = LEAK_ROUNDS;
	if (leak_seldom(of) && !of->slow)
		count *= 2;
	if (count > LEAK_ROUNDS_MAX)
		count = LEAK_ROUNDS_MAX;
	return count * thp_env.scale;
}

static int run_fault(struct thp_map *m, char *addr, size_t len)
{
	(void)m;
	(void)len;
	thp_touch(addr);
	return 0;
}

/* No split: both threads find the PMD empty. */
static const struct split_op fault_op = {
	.name = "fault", .run = run_fault, .kinds = THP_ANON, .where = AT_MID,
};

FIXTURE_VARIANT(leak) {
	struct leak_of of;
};

FIXTURE_VARIANT_ADD(leak, munmap_split) {
	.of = { .op = "munmap_mid", .kind = THP_ANON },
};

FIXTURE_VARIANT_ADD(leak, munmap_refused) {
	.of = { .op = "munmap_mid", .kind = THP_ANON, .refused = true },
};

/*
 * The table is there when a later allocation is refused, an anon_vma_chain for the new VMA:
 * __split_vma() gives the table back (vma_finish_trans_huge() in mm/huge_memory.c).
 */
FIXTURE_VARIANT_ADD(leak, munmap_nth) {
	.of = { .op = "munmap_mid", .kind = THP_ANON, .nth = true },
};

FIXTURE_VARIANT_ADD(leak, munmap_no_thp) {
	.of = { .op = "munmap_mid", .kind = THP_SMALL },
};

FIXTURE_VARIANT_ADD(leak, munmap_untouched) {
	.of = { .op = "munmap_mid", .kind = THP_NONE },
};

FIXTURE_VARIANT_ADD(leak, dontneed_split) {
	.of = { .op = "dontneed_mid", .kind = THP_ANON },
};

FIXTURE_VARIANT_ADD(leak, dontneed_refused) {
	.of = { .op = "dontneed_mid", .kind = THP_ANON, .refused = true },
};

FIXTURE_VARIANT_ADD(leak, dontneed_zero) {
	.of = { .op = "dontneed_mid", .kind = THP_ZERO },
};

FIXTURE_VARIANT_ADD(leak, cold_split) {
	.of = { .op = "cold_mid", .kind = THP_ANON },
};

FIXTURE_VARIANT_ADD(leak, cold_refused) {
	.of = { .op = "cold_mid", .kind = THP_ANON, .refused = true },
};

FIXTURE_VARIANT_ADD(leak, mremap_refused) {
	.of = { .op = "mremap_move_mid", .kind = THP_ANON, .refused = true },
};

FIXTURE_VARIANT_ADD(leak, dontneed_edges) {
	.of = { .op = "dontneed_mid", .kind = THP_ZERO, .refused = true, .edges = true },
};

/* The loser of the race holds a table that it no longer needs. */
FIXTURE_VARIANT_ADD(leak, dontneed_raced) {
	.of = { .op = "dontneed_mid", .kind = THP_ZERO, .rival = "dontneed_mid" },
};

FIXTURE_VARIANT_ADD(leak, pagemap_scan_raced) {
	.of = {
		.op = "pagemap_scan_wp_mid", .kind = THP_ZERO,
		.rival = "pagemap_scan_wp_mid",
	},
};

FIXTURE_VARIANT_ADD(leak, cold_raced) {
	.of = { .op = "cold_mid", .kind = THP_ANON, .rival = "dontneed_mid" },
};

FIXTURE_VARIANT_ADD(leak, collapse) {
	.of = { .op = "dontneed_mid", .kind = THP_ANON, .collapse = true, .slow = true },
};

FIXTURE_VARIANT_ADD(leak, fault_raced) {
	.of = { .op = "fault", .kind = THP_ANON, .rival = "fault", .slow = true },
};

#include "leak_device.c"

static const struct split_op *leak_op(const char *name)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(leak_device_ops); i++)
		if (!strcmp(name, leak_device_ops[i].name))
			return &leak_device_ops[i];
	return strcmp(name, fault_op.name) ? split_op_by_name(name) : &fault_op;
}

FIXTURE_SETUP(leak)
{
	const struct leak_of *of = &variant->of;
	const struct split_op *op = leak_op(of->op);

	(void)self;
	THP_REQUIRE(op, "no operation %s", of->op);
	THP_NEEDS(THP_NEED_STATS | op->needs | thp_kind_needs(of->kind) |
		  (of->refused ? THP_NEED_FAIL_PAGE : 0) | (of->nth ? THP_NEED_FAIL_NTH : 0) |
		  (of->collapse ? THP_NEED_COLLAPSE : 0));
}

FIXTURE_TEARDOWN_PARENT(leak)
{
	thp_teardown(_metadata);
}

/*
 * The thread that competes with the operation. Both wait in user space: a thread that has
 * to be woken starts too late.
 */
static struct rival {
	pthread_t thread;
	const struct split_op *op;
	struct thp_map *m;
	unsigned int round, done;
	bool end;
} rival;

/* There may be only one CPU. */
static void await_round(const unsigned int *counter, unsigned int round)
{
	unsigned int spins = 0;

	while (__atomic_load_n(counter, __ATOMIC_ACQUIRE) != round)
		if (++spins > 100000)
			sched_yield();
}

static void *rival_main(void *arg)
{
	struct rival *r = arg;
	unsigned int round;

	for (round = 1;; round++) {
		await_round(&r->round, round);
		if (r->end)
			return NULL;
		/* Only a lost table would be an error. */
		split_run_at(r->op, r->m, thp_page(r->m, 0), thp_env.page);
		__atomic_store_n(&r->done, round, __ATOMIC_RELEASE);
	}
}

/* As split_run(), while the rival starts at the same time. */
static int run_raced(const struct split_op *op, struct thp_map *m)
{
	int ret;

	rival.m = m;
	__atomic_store_n(&rival.round, rival.round + 1, __ATOMIC_RELEASE);
	ret = split_run(op, m);
	await_round(&rival.done, rival.round);
	return ret;
}

/* Whether a successful operation had an effect: without one nothing could leak. */
static bool leak_effect(const struct split_op *op, struct thp_map *m)
{
	struct thp_why ignored = { 0 };
	enum thp_state state;

	/* Not in the table, or a control. */
	if (!split_is_row(op))
		return true;
	if (is_plain(m->kind))
		return !split_verify(op, m, &ignored);
	if (!split_expected(op, m->kind))
		return true;
	return !thp_obs_state(m->thp, thp_env.pmd, &state) && state != thp_kind_state(m->kind);
}

/* The result of all rounds; the child reports all fields but the first. */
struct leak_found {
	long long kb;		/* growth of PageTables of no process */
	long long refused, collapsed;
	long long effects;	/* operations with an effect */
};

enum leak_step { LEAK_READY = 1, LEAK_GO, LEAK_NEVER };

/* A new mapping for one round. One byte is enough: other tests check contents. */
static int leak_map(struct thp_map *m, const struct leak_of *of, struct thp_why *why)
{
	const struct split_op *op = leak_op(of->op);
	unsigned int thp;

	TRY(of->edges ? edges_create(m, of->kind, why) : thp_map_create(m, of->kind, why));
	TRY(split_prepare(op, m, why));
	for (thp = 0; thp < (of->edges ? EDGE_THPS : 1); thp++) {
		if (of->kind == THP_ZERO)
			thp_peek(m->thp + thp * thp_env.pmd);
		else if (of->kind != THP_NONE && op != &fault_op)
			thp_touch(m->thp + thp * thp_env.pmd);
	}
	return 0;
}

/* One shot of fail-nth for each round; after one that refuses nothing again the first. */
static int leak_shot(struct thp_map *m, const struct split_op *op, int *op_ret,
		     struct thp_why *why)
{
	static int fd = -1, nth;
	int ret;

	if (fd < 0)
		fd = thp_inject_nth_open();
	ret = fd < 0 ? fd : thp_inject_nth_arm(fd, ++nth);
	if (ret)
		return thp_why(why, ret, "fail-nth: %s", thp_errno_name(ret));
	*op_ret = split_run(op, m);
	ret = thp_inject_nth_disarm(fd);
	if (ret < 0)
		return thp_why(why, ret, "fail-nth: %s", thp_errno_name(ret));
	if (ret && nth == NTH_MAX)
		return thp_why(why, -EPROTO, "still failing at nth=%d", nth);
	if (!ret)
		nth = 0;
	return 0;
}

/* Runs the operation of a round; *@op_ret is its result. 0, or -errno with a cause. */
static int leak_run(struct thp_map *m, const struct leak_of *of, int *op_ret,
		    struct thp_why *why)
{
	const struct split_op *op = leak_op(of->op);
	int ret;

	if (of->nth)
		return leak_shot(m, op, op_ret, why);
	if (of->refused)
		thp_inject_own(true);
	if (of->edges) {
		ret = thp_inject_grant(1);
		if (ret)
			return thp_why(why, ret, "PTE tables cannot be limited: %s",
				       thp_errno_name(ret));
		*op_ret = split_run_at(op, m, thp_page(m, thp_env.nr / 2),
				       (EDGE_THPS - 1) * thp_env.pmd);
	} else {
		*op_ret = of->rival ? run_raced(op, m) : split_run(op, m);
	}
	if (of->refused)
		thp_inject_own(false);
	return 0;
}

static int leak_round(const struct leak_of *of, struct leak_found *found, struct thp_why *why)
{
	static struct thp_map m;
	int op_ret = 0;

	TRY(leak_map(&m, of, why));
	TRY(leak_run(&m, of, &op_ret, why));
	found->refused += !!op_ret;
	found->effects += of->edges ? 1 : !op_ret && leak_effect(leak_op(of->op), &m);
	if (of->collapse && !madvise(m.thp, thp_env.pmd, MADV_COLLAPSE)) {
		found->collapsed++;
		TRY(thp_map_expect(&m, THP_STATE_PMD, why));
	}
	thp_map_destroy(&m);
	return 0;
}

/* Rounds of mapping, operation and unmapping, in a process of its own. */
static int leak_rounds(struct thp_chan *chan, void *arg)
{
	struct leak_found *found = thp_chan_data(chan, struct leak_found);
	const struct leak_of *of = arg;
	unsigned int i;
	int ret;

	if (of->rival) {
		rival.op = leak_op(of->rival);
		ret = pthread_create(&rival.thread, NULL, rival_main, &rival);
		if (ret)
			return thp_why(&chan->why, -ret, "pthread_create: %s", strerror(ret));
	}
	thp_warm_up();
	thp_chan_post_parent(chan, LEAK_READY);
	thp_chan_await_parent(chan, LEAK_GO);
	for (i = 0; i < leak_count(of); i++) {
		thp_chan_beat(chan);
		TRY(leak_round(of, found, &chan->why));
	}
	if (of->rival) {
		rival.end = true;
		__atomic_store_n(&rival.round, rival.round + 1, __ATOMIC_RELEASE);
		pthread_join(rival.thread, NULL);
	}
	return 0;
}

/* Between two readings: processes that start or exit during one are done by the next. */
#define LOOK_MS		5

/*
 * Tables that belong to no process: those of other processes change, leaked ones stay.
 * Returns the median of several readings, because a process may start or exit during one;
 * freed tables are really freed before the first.
 */
static int ownerless_tables(long long *kb)
{
	long long look[5];
	size_t i;

	thp_obs_settle();
	for (i = 0; i < ARRAY_SIZE(look); i++) {
		thp_sleep_ms(LOOK_MS);
		TRY(thp_race_residue(&look[i]));
	}
	*kb = thp_median(look, ARRAY_SIZE(look));
	return 0;
}

static void leak_say(const struct leak_of *of, const struct leak_found *found)
{
	const char *how = "";

	if (of->rival)
		how = ", raced";
	else if (of->collapse)
		how = ", collapsed";
	else if (of->edges)
		how = ", second edge refused";
	else if (of->refused)
		how = ", refused";
	else if (of->nth)
		how = ", each allocation refused";
	printf("# leak: %s of %s%s: PageTables of no process %+lld kB in %u rounds, %lld refused\n",
	       of->op, thp_kind_name(of->kind), how, found->kb, leak_count(of), found->refused);
}

/* Runs all rounds in a child: by how much PageTables of no process have grown. */
static int leak_batch(const struct leak_of *of, long long slack, struct leak_found *found,
		      struct thp_why *why)
{
	long long before, after;
	struct thp_child c = { 0 };
	int ret, try;

	ret = thp_child_start(&c, leak_rounds, (void *)of);
	if (!ret)
		ret = thp_child_await(&c, LEAK_READY, THP_STEP_MS);
	if (!ret)
		ret = ownerless_tables(&before);
	if (ret)
		return thp_why(why, ret, "before the rounds: %s", thp_errno_name(ret));
	thp_chan_post_child(c.chan, LEAK_GO);
	/* A round takes a few milliseconds. */
	ret = thp_child_await(&c, LEAK_NEVER, THP_STEP_MS);
	if (ret == -ETIMEDOUT) {
		(void)thp_inject_task(c.pid, false);
		return thp_why(why, -EPROTO, "%s does not return: livelock, or it waits for ever",
			       of->op);
	}
	*found = *thp_chan_data(c.chan, struct leak_found);
	TRY(thp_child_join(&c, THP_STEP_MS, why));
	/* A leak is permanent. */
	for (try = 0; try < 3; try++) {
		ret = ownerless_tables(&after);
		if (ret)
			return thp_why(why, ret, "PageTables: %s", thp_errno_name(ret));
		found->kb = after - before;
		if (found->kb < slack)
			break;
	}
	leak_say(of, found);
	return 0;
}

/* kB of PageTables that all rounds would leak, and the largest growth that is no leak. */
static int leak_slack(const struct leak_of *of, long long *slack, struct thp_why *why)
{
	long long pages = LEAK_PAGES * (long long)thp_env.page / 1024;
	long long all = (long long)(leak_count(of) * thp_env.table / 1024);

	/*
	 * One leaked table per round, or one in four rounds; a race need not be met that often,
	 * and a shot hits once in as many rounds as the operation makes allocations.
	 */
	*slack = leak_seldom(of) ? all / 64 : all / 4;
	/* A page stays allocated as long as one of the tables in it does. */
	if (leak_seldom(of) && *slack < pages)
		*slack = pages;
	if (*slack < pages || *slack > all)
		return thp_skip(why, "needs PTE tables that fill pages of PageTables");
	return 0;
}

/* Checks that the rounds had their effect. */
static int leak_tried(const struct leak_of *of, const struct leak_found *found,
		      struct thp_why *why)
{
	unsigned int count = leak_count(of), refused = of->never ? count : 0;
	const char *kind = thp_kind_name(of->kind);

	if (of->nth)
		return found->refused >= count / 4 ? 0 :
			thp_why(why, -EPROTO,
				"%s of %s: refused %lld times in %u rounds, expected most of them",
				of->op, kind, found->refused, count);
	if (!of->refused && !of->rival && found->refused != refused)
		return thp_why(why, -EPROTO,
			       "%s of %s: refused %lld times in %u rounds, expected %u", of->op,
			       kind, found->refused, count, refused);
	if (!of->refused && !of->never && found->effects < count / 2)
		return thp_why(why, -EPROTO,
			       "%s of %s had an effect in %lld of %u rounds, expected most of them",
			       of->op, kind, found->effects, count);
	if (of->collapse && found->collapsed < count / 2)
		return thp_skip(why, "needs more free huge pages for MADV_COLLAPSE");
	if (of->refused && thp_env.contract == THP_LAZY && thp_inject_fired() < (long)count)
		return thp_why(why, -EPROTO, "only %ld tables were refused in %u rounds",
			       thp_inject_fired(), count);
	return 0;
}

/* Tasks that have not armed fail-nth, or are not marked, are unaffected. */
static int leak_inject(const struct leak_of *of, struct thp_why *why)
{
	if (of->refused)
		return thp_inject_tables(why);
	if (!of->nth)
		return 0;
	TRY(thp_inject_any(0, why));
	return thp_inject_slabs(why);
}

static int leaks_no_tables(const void *arg, struct thp_why *why)
{
	const struct leak_of *of = arg;
	struct leak_found found = { 0 };
	long long slack;
	int batch;

	TRY(leak_slack(of, &slack, why));
	TRY(leak_inject(of, why));
	/* The tables of others go up and down, a leak only grows. */
	for (batch = 0; batch < 3; batch++) {
		TRY(leak_batch(of, slack, &found, why));
		if (found.kb < slack)
			break;
	}
	if (found.kb >= slack)
		return thp_why(why, -EPROTO,
			       "%s of %s: PageTables of no process grew by %lld kB in %u rounds, expected < %lld",
			       of->op, thp_kind_name(of->kind), found.kb, leak_count(of), slack);
	return leak_tried(of, &found, why);
}

/* Where the tables are lost is what the operation calls. */
#define LEAK_COVERS(v, ids) \
	THP_COVERS_VARIANT(leak, v, page_tables, "leak-page-tables " ids)

LEAK_COVERS(munmap_split, "split-munmap");
LEAK_COVERS(munmap_refused, "split-munmap");
LEAK_COVERS(munmap_nth, "split-munmap");
LEAK_COVERS(munmap_no_thp, "split-munmap");
LEAK_COVERS(munmap_untouched, "split-munmap");
LEAK_COVERS(dontneed_split, "zap-dontneed");
LEAK_COVERS(dontneed_refused, "zap-dontneed");
LEAK_COVERS(dontneed_zero, "zap-dontneed");
LEAK_COVERS(cold_split, "folio-split-advice folio-split");
LEAK_COVERS(cold_refused, "folio-split-advice folio-split");
LEAK_COVERS(mremap_refused, "move-partial");
LEAK_COVERS(dontneed_edges, "zap-dontneed");
LEAK_COVERS(dontneed_raced, "zap-dontneed");
LEAK_COVERS(pagemap_scan_raced, "walk-pagemap-scan");
LEAK_COVERS(cold_raced, "folio-split-advice folio-split");
LEAK_COVERS(collapse, "collapse");
LEAK_COVERS(fault_raced, "fault-anon");
LEAK_COVERS(device_insert, "fault-device-private");
LEAK_COVERS(device_insert_watched, "fault-device-private");
LEAK_COVERS(device_zero, "fault-device-private");
LEAK_COVERS(device_and_back, "migrate-device-pmd");
LEAK_COVERS(device_split, "migrate-device-split");
LEAK_COVERS(device_split_refused, "migrate-device-split");
LEAK_COVERS(device_back_split, "migrate-device-split");
LEAK_COVERS(device_back_split_refused, "migrate-device-split");
LEAK_COVERS(device_part, "migrate-device-part");
LEAK_COVERS(device_part_refused, "migrate-device-part");
LEAK_COVERS(device_part_zero, "migrate-device-part");
TEST_F_TIMEOUT(leak, page_tables, 300)
{
	(void)self;
	THP_SCENARIO(leaks_no_tables, &variant->of);
}
