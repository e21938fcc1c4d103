// SPDX-License-Identifier: GPL-2.0
/*
 * many: Many processes, one after the other and side by side.
 */

FIXTURE(many) {
	int unused;
};

FIXTURE_SETUP(many)
{
	thp_warm_up();
}

FIXTURE_TEARDOWN_PARENT(many)
{
	thp_teardown(_metadata);
}

#define DEPTH	4

/*
 * Each generation checks what it inherited and forks the next one; on the way
 * back each writes a page that its ancestors still share, deepest first.
 */
static int generation(struct thp_chan *chan, void *arg)
{
	int depth = *(const int *)arg, next = depth + 1, ret;
	struct thp_why *why = &chan->why;
	struct thp_meter m;

	thp_warm_up();
	TRY(parent_sees(THP_STATE_PMD, why));
	if (depth < DEPTH)
		TRY(thp_child_run(generation, &next, THP_STEP_MS, why));
	TRY(parent_sees(THP_STATE_PMD, why));
	TRY(thp_meter_start(&m, 0, why));
	thp_group_write(depth, SEED_CHILD + depth);
	ret = thp_meter_stop(&m, thp_group_split(), thp_group.n, "descendant writes", why);
	/* An exit code cannot ask for another try; other tests check for too many splits. */
	if (ret == -EAGAIN) {
		thp_why_clear(why);
		ret = 0;
	}
	if (!ret)
		ret = thp_group_finish(why);
	return ret;
}

static int nested(const void *arg, struct thp_why *why)
{
	struct thp_meter m;
	int first = 1;

	(void)arg;
	TRY(thp_group_new(THP_ANON, 0, why));
	TRY(thp_peers_prepare(1, why));
	TRY(thp_meter_start(&m, 0, why));
	if (thp_child_start(&thp_peers[0].child, generation, &first))
		return thp_why(why, -errno, "fork: %s", strerror(errno));
	TRY(thp_child_join(&thp_peers[0].child, THP_STEP_MS, why));
	TRY(parent_sees(THP_STATE_PMD, why));
	TRY(sole_owner_writes("write after all descendants", why));
	return thp_group_finish(why);
}

THP_COVERS(many, nested, "fork-anon cow-write cow-reuse");
TEST_F(many, nested)
{
	THP_SCENARIO(nested, NULL);
}

/* Children that start and exit leave nothing behind in the parent. */
static int sequence(const void *arg, struct thp_why *why)
{
	const enum thp_kind *kind = arg;
	unsigned int i, count = 50 * thp_env.scale;
	struct thp_meter m;
	int ret, status;
	pid_t pid;

	ret = thp_group_new(*kind, 0, why);
	if (!ret)
		ret = thp_meter_start(&m, 0, why);
	for (i = 0; i < count && !ret; i++) {
		pid = fork();
		if (pid < 0)
			return thp_why(why, -errno, "fork %u: %s", i, strerror(errno));
		if (!pid) {
			struct thp_why child = { 0 };

			_exit(thp_map_check(&thp_group.map[0], i % thp_env.nr, 1, &child) ? 1 : 0);
		}
		if (waitpid(pid, &status, 0) != pid)
			return thp_why(why, -errno, "waitpid: %s", strerror(errno));
		if (!WIFEXITED(status) || WEXITSTATUS(status))
			ret = thp_why(why, -EPROTO, "child %u: wait status %#x, expected 0", i,
				      status);
	}
	if (!ret)
		ret = thp_meter_stop(&m, 0, 0, "parent of many", why);
	if (!ret)
		ret = parent_sees(thp_kind_state(*kind), why);
	return ret ? ret : thp_group_finish(why);
}

THP_COVERS(many, sequence, "fork-anon zap-pmd");
TEST_F(many, sequence)
{
	const enum thp_kind kind = THP_ANON;

	THP_SCENARIO(sequence, &kind);
}

THP_COVERS(many, sequence_zero, "fork-zero zap-pmd");
TEST_F(many, sequence_zero)
{
	const enum thp_kind kind = THP_ZERO;

	THP_NEEDS(THP_NEED_ZERO);
	THP_SCENARIO(sequence, &kind);
}

#define BULK_THPS	16
#define BULK_PEERS	THP_PEERS_MAX

/* The step of an idle child. */
enum { IDLE = 1 };

/* Only exists: many children that poll for orders would keep a slow machine busy. */
static int idle(struct thp_chan *chan, void *arg)
{
	(void)arg;
	thp_warm_up();
	thp_chan_post_parent(chan, IDLE);
	while (pause())
		continue;
	return 0;
}

/* The PageTables of /proc/meminfo that BULK_PEERS children add. */
static int bulk_round(long long *kb, struct thp_why *why)
{
	long long before, after;
	unsigned int i;
	int ret = 0;

	TRY(thp_peers_prepare(BULK_PEERS, why));
	thp_obs_settle();
	before = thp_obs_pagetables_kb();
	for (i = 0; i < BULK_PEERS && !ret; i++) {
		ret = thp_child_start(&thp_peers[i].child, idle, NULL);
		if (!ret)
			ret = thp_child_await(&thp_peers[i].child, IDLE, THP_STEP_MS);
		if (ret)
			return thp_why(why, ret, "child %u: %s", i, thp_errno_name(ret));
	}
	after = thp_obs_pagetables_kb();
	if (before < 0 || after < 0)
		return thp_why(why, -EIO, "PageTables cannot be read");
	for (i = 0; i < BULK_PEERS; i++)
		thp_child_kill(&thp_peers[i].child);
	*kb = after - before;
	return ret;
}

/*
 * The number that users look at: compares children with the THPs and children without, so
 * that their other tables cancel out. The tolerance is a quarter of the value expected of
 * an eager kernel, because PageTables includes all other processes.
 */
static int bulk(const void *arg, struct thp_why *why)
{
	long long want, slack, with, without;

	(void)arg;
	TRY(thp_group_new(THP_ANON, BULK_THPS, why));
	want = thp_group_mapped() * BULK_PEERS * (long long)thp_env.table / 1024;
	slack = BULK_THPS * BULK_PEERS * (long long)thp_env.table / 1024 / 4;
	TRY(bulk_round(&with, why));
	if (madvise(thp_group.base, thp_group.n * thp_env.pmd, MADV_DONTFORK))
		return thp_why(why, -errno, "MADV_DONTFORK: %s", strerror(errno));
	TRY(bulk_round(&without, why));
	if (with - without < want - slack || with - without > want + slack)
		return thp_why(why, -EAGAIN,
			       "PageTables of %d children with %d THPs: %+lld kB, expected %lld +- %lld",
			       BULK_PEERS, BULK_THPS, with - without, want, slack);
	return thp_group_finish(why);
}

THP_COVERS(many, page_tables, "fork-anon");
TEST_F_TIMEOUT(many, page_tables, 60)
{
	if (thp_env.table < thp_env.page)
		THP_SKIP("needs PTE tables of a whole page");
	if (BULK_THPS * thp_env.pmd > 128 << 20)
		THP_SKIP("needs a PMD size of at most 8 MiB");
	THP_NEEDS(THP_NEED_STATS);
	THP_SCENARIO(bulk, NULL);
}
