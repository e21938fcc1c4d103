// SPDX-License-Identifier: GPL-2.0
/*
 * remains: What a starved process leaves in a control group of its own: after its exit
 * nothing of it may be charged to the group, no memory of its mm, no page that was set
 * aside, no table, no slab object.
 */
#define REMAINS_ROUNDS	64
#define REMAINS_SLABS	1000

FIXTURE(remains) {
	struct thp_cg cg;
};

struct remains_of {
	const char *op;
	bool every_table;	/* every table is refused; else each allocation, by fail-nth */
	bool shared;		/* mapped by a child as well */
	bool slabs;		/* many rounds at the shot that refuses the first split */
	bool failslab;		/* a slab object has to be refused */
};

FIXTURE_VARIANT(remains) {
	struct remains_of of;
};

FIXTURE_VARIANT_ADD(remains, cold_starved) {
	.of = { .op = "cold_mid", .every_table = true },
};

FIXTURE_VARIANT_ADD(remains, munmap_nth) {
	.of = { .op = "munmap_mid", .failslab = true },
};

FIXTURE_VARIANT_ADD(remains, folio_split_nth) {
	.of = { .op = "debugfs_split", .slabs = true },
};

FIXTURE_VARIANT_ADD(remains, folio_split_shared_nth) {
	.of = { .op = "debugfs_split", .shared = true },
};

FIXTURE_SETUP(remains)
{
	const struct remains_of *of = &variant->of;
	const struct split_op *op = split_op_by_name(of->op);

	THP_REQUIRE(op, "no operation %s", of->op);
	THP_NEEDS(op->needs | THP_NEED_MEMCG |
		  (of->every_table ? THP_NEED_FAIL_PAGE : THP_NEED_FAIL_NTH));
	if (thp_env.memcg != 2)
		THP_SKIP("needs version 2 of the memory controller");
}

FIXTURE_TEARDOWN_PARENT(remains)
{
	struct thp_why why = { 0 };

	THP_CHECK_OK(thp_cg_destroy(&self->cg), &why);
	thp_teardown(_metadata);
}

struct remains_job {
	struct thp_chan *chan;
	const struct remains_of *of;
	struct thp_map m;
	struct thp_child other;
	int fd;			/* of fail-nth */
};

static void remains_unmap(struct remains_job *job)
{
	thp_child_kill(&job->other);
	memset(&job->other, 0, sizeof(job->other));
	thp_map_destroy(&job->m);
}

static int remains_map(struct remains_job *job, struct thp_why *why)
{
	int ret = thp_map_create(&job->m, THP_ANON, why);

	if (ret)
		return ret;
	/* One byte is enough: other tests check contents. */
	thp_touch(job->m.thp);
	if (!job->of->shared)
		return 0;
	return keep_start(&job->other, why);
}

/* One round with the @nth allocation refused. 1 if one was, 0 if not, -errno. */
static int remains_round(struct remains_job *job, int nth, struct thp_why *why)
{
	const struct split_op *op = split_op_by_name(job->of->op);
	/* One page: an operation on more would retry at the next page. */
	char *page = thp_page(&job->m, thp_env.nr / 2);
	int ret;

	if (job->of->every_table) {
		TRY(thp_inject_self(why));
		(void)split_run_at(op, &job->m, page, thp_env.page);
		return thp_inject_own(false) ? : 1;
	}
	/* Pages that are set aside are whole pages. */
	ret = job->of->slabs ? 0 : thp_inject_nth_drain(job->fd);
	if (!ret)
		ret = thp_inject_nth_arm(job->fd, nth);
	if (ret)
		return thp_why(why, ret, "fail-nth: %s", thp_errno_name(ret));
	(void)split_run_at(op, &job->m, page, thp_env.page);
	return thp_inject_nth_disarm(job->fd);
}

/* The same shot in each round; with a new THP unless the old one is still whole. */
static int remains_rounds(struct remains_job *job, int nth, int rounds, struct thp_why *why)
{
	bool reuse = job->of->shared || job->of->every_table;
	enum thp_state state;
	int i, fired = 0, ret;

	for (i = 0; i < rounds; i++) {
		thp_chan_beat(job->chan);
		ret = job->m.area ? 0 : remains_map(job, why);
		if (!ret)
			ret = remains_round(job, nth, why);
		if (ret < 0)
			return ret;
		fired += ret;
		if (!ret)
			rounds = 0;
		if (!reuse) {
			remains_unmap(job);
			continue;
		}
		ret = thp_obs_state(job->m.thp, thp_env.pmd, &state);
		if (ret)
			return thp_why(why, ret, "page map: %s", thp_errno_name(ret));
		/* The THP was split in spite of it: one fork per round would take long. */
		if (state != THP_STATE_PMD) {
			remains_unmap(job);
			rounds = 0;
		}
	}
	return fired;
}

enum remains_step { REMAINS_NEVER = GROUP_JOINED + 1 };

/* The results of the child. */
struct remains_told {
	long refused;		/* allocations */
	long failed_splits;	/* thp_split_pmd_failed */
};

/*
 * The first shot, the second, ... until none hits. *@splits: the first shot that refuses
 * the split, 0 if none does.
 */
static int remains_sweep(struct remains_job *job, struct remains_told *told, int *splits,
			 struct thp_why *why)
{
	int nth, ret, rounds = job->of->slabs ? 1 : REMAINS_ROUNDS;
	struct thp_events e[2];
	long failed;

	for (nth = 1; nth <= NTH_MAX; nth++) {
		thp_obs_events(&e[0]);
		ret = remains_rounds(job, nth, rounds, why);
		thp_obs_events(&e[1]);
		if (ret < 0)
			return ret;
		failed = e[1].split_pmd_failed - e[0].split_pmd_failed;
		told->refused += ret;
		told->failed_splits += failed;
		if (!*splits && failed)
			*splits = nth;
		if (!ret || job->of->every_table)
			return 0;
	}
	return thp_why(why, -EPROTO, "still failing at nth=%d", NTH_MAX);
}

static int remains_child(struct thp_chan *chan, void *arg)
{
	struct remains_told *told = thp_chan_data(chan, struct remains_told);
	static struct remains_job job;
	struct thp_why *why = &chan->why;
	int ret, splits = 0;

	job.of = arg;
	job.chan = chan;
	thp_warm_up();
	TRY(starve_rehearse(split_op_by_name(job.of->op), THP_ANON, why));
	job.fd = thp_inject_nth_open();
	if (job.fd < 0 && !job.of->every_table)
		return thp_why(why, job.fd, "fail-nth: %s", thp_errno_name(job.fd));
	group_await(chan);
	TRY(remains_sweep(&job, told, &splits, why));
	/* An eager kernel refuses no split: any shot will do. */
	if (job.of->slabs) {
		ret = remains_rounds(&job, splits ? : 1, REMAINS_SLABS, why);
		if (ret < 0)
			return ret;
		told->refused += ret;
	}
	/* The exit of this process frees what is still mapped. */
	thp_child_kill(&job.other);
	return 0;
}

/* Runs the child in its group until it exits; *@refused as reported by it. */
static int remains_run(struct thp_cg *cg, const struct remains_of *of, long *refused,
		       struct thp_why *why)
{
	struct thp_child c = { 0 };
	struct remains_told *told;
	int ret;

	TRY(thp_cg_create(cg, "remains", why));
	TRY(group_start(&c, cg, remains_child, of));
	ret = thp_child_await(&c, REMAINS_NEVER, THP_STEP_MS);
	if (ret == -ETIMEDOUT)
		return thp_why(why, -EPROTO,
			       "%s does not return: livelock, or it waits for ever", of->op);
	told = thp_chan_data(c.chan, struct remains_told);
	*refused = told->refused;
	/* A folio split of an eager kernel may need no page at all. */
	if (thp_env.contract == THP_LAZY && !told->refused)
		thp_why(why, -EPROTO, "nothing was refused");
	if (thp_env.contract == THP_LAZY && thp_env.counts_failures && !told->failed_splits)
		thp_why(why, -EPROTO, "no shot hit the split");
	TRY(thp_child_join(&c, THP_STEP_MS, why));
	return why->text[0] ? -EPROTO : 0;
}

/* Waits until the charge of the group settles at nearly nothing. */
static int remains_settle(const struct thp_cg *cg, const struct remains_of *of, long refused,
			  struct thp_why *why)
{
	/*
	 * A leak is a page per round, or a tenth of a page: accepts less than a third of
	 * either.
	 */
	long long max = of->slabs ? 32 << 10 : REMAINS_ROUNDS * (long long)thp_env.page / 3;
	long long anon, kernel, end;

	for (end = thp_now_ms() + thp_limit(THP_SETTLE_MS);; thp_sleep_ms(50)) {
		thp_obs_settle();
		anon = thp_cg_stat(cg, "anon");
		kernel = thp_cg_stat(cg, of->slabs ? "slab_unreclaimable" : "kernel");
		if ((anon <= (long long)thp_env.pmd / 2 && kernel <= max) || thp_now_ms() > end)
			break;
	}
	printf("# remains: %s: %ld refused, anon %lld B, %s %lld B\n", of->op, refused, anon,
	       of->slabs ? "slab" : "kernel", kernel);
	if (anon < 0 || kernel < 0)
		return thp_why(why, -EIO, "memory.stat: %s",
			       thp_errno_name(anon < 0 ? anon : kernel));
	if (anon > (long long)thp_env.pmd / 2)
		return thp_why(why, -EPROTO,
			       "%s: %lld B of the memory of a process that has ended are still charged",
			       of->op, anon);
	if (kernel > max)
		return thp_why(why, -EPROTO,
			       "%s: %lld B of kernel memory are left after %ld refusals, expected <= %lld",
			       of->op, kernel, refused, max);
	return 0;
}

struct remains_case {
	const struct remains_of *of;
	struct thp_cg *cg;
};

static int nothing_remains(const void *arg, struct thp_why *why)
{
	const struct remains_case *c = arg;
	long refused = 0;

	TRY(c->of->every_table ? thp_inject_tables(why) : thp_inject_any(0, why));
	/* Tasks that have not armed fail-nth are unaffected. */
	if (c->of->failslab)
		TRY(thp_inject_slabs(why));
	TRY(remains_run(c->cg, c->of, &refused, why));
	return remains_settle(c->cg, c->of, refused, why);
}

THP_COVERS_VARIANT(remains, cold_starved, charged,
		   "leak-page-tables folio-split-advice folio-split");
THP_COVERS_VARIANT(remains, munmap_nth, charged, "leak-page-tables split-munmap");
THP_COVERS_VARIANT(remains, folio_split_nth, charged, "leak-page-tables folio-split");
THP_COVERS_VARIANT(remains, folio_split_shared_nth, charged,
		   "leak-page-tables folio-split multi-mm-split");
TEST_F_TIMEOUT(remains, charged, 180)
{
	const struct remains_case c = { .of = &variant->of, .cg = &self->cg };

	THP_SCENARIO(nothing_remains, &c);
}
