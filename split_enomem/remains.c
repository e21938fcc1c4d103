// SPDX-License-Identifier: GPL-2.0
/*
 * remains: What a refused operation leaves charged.
 */

/*
 * What a process leaves behind. It is refused memory in a control group of its own,
 * and ends: then nothing of it may be charged to the group any more, no memory of
 * its mm, no page that was set aside, no table, no slab object.
 */
#define REMAINS_ROUNDS	64
#define REMAINS_SLABS	1000

FIXTURE(remains) {
	struct thp_cg cg;
	struct thp_child child;
	struct thp_child other;
};

struct remains_of {
	const char *op;
	enum injector injector;	/* TARGETED, or NOTHING: by fail-nth, each of them */
	bool shared;		/* mapped by a child as well */
	bool slabs;		/* many rounds at the shot that refuses the split first */
	bool failslab;		/* what has to be refused is a slab object */
};

FIXTURE_VARIANT(remains) {
	struct remains_of of;
};

FIXTURE_VARIANT_ADD(remains, cold_starved) {
	.of = { .op = "cold_mid", .injector = TARGETED },
};

FIXTURE_VARIANT_ADD(remains, munmap_nth) {
	.of = { .op = "munmap_mid", .injector = NOTHING, .failslab = true },
};

FIXTURE_VARIANT_ADD(remains, folio_split_nth) {
	.of = { .op = "debugfs_split", .injector = NOTHING, .slabs = true },
};

FIXTURE_VARIANT_ADD(remains, folio_split_shared_nth) {
	.of = { .op = "debugfs_split", .injector = NOTHING, .shared = true },
};

FIXTURE_SETUP(remains)
{
	const struct remains_of *of = &variant->of;
	const struct split_op *op = op_by_name(of->op);

	THP_REQUIRE(op, "no operation %s", of->op);
	THP_NEEDS(op->needs | THP_NEED_MEMCG |
		  (of->injector == TARGETED ? THP_NEED_FAIL_PAGE : THP_NEED_FAIL_NTH));
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
	int fd;			/* fail-nth */
};

static int hold(struct thp_chan *chan, void *arg)
{
	(void)arg;
	thp_chan_post_parent(chan, 1);
	thp_chan_await_parent(chan, 2);
	return 0;
}

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
	/* One byte is enough: contents are checked elsewhere. */
	thp_touch(job->m.thp);
	if (!job->of->shared)
		return 0;
	ret = thp_child_start(&job->other, hold, NULL);
	if (!ret)
		ret = thp_child_await(&job->other, 1, THP_STEP_MS);
	return ret ? thp_why(why, ret, "fork: %s", thp_errno_name(ret)) : 0;
}

/* One round with the @nth allocation refused. 1 if one was, 0 if not, -errno. */
static int remains_round(struct remains_job *job, int nth, struct thp_why *why)
{
	const struct split_op *op = op_by_name(job->of->op);
	/* One page, also for who would otherwise try again at the next one. */
	char *page = thp_page(&job->m, thp_env.nr / 2);
	int ret;

	if (job->of->injector == TARGETED) {
		thp_inject_task(getpid(), true);
		ret = thp_inject_drain(-1);
		if (ret)
			return thp_why(why, ret, "PTE tables cannot be used up: %s",
				       thp_errno_name(ret));
		(void)split_run_at(op, &job->m, page, thp_env.page);
		return thp_inject_task(getpid(), false) ? : 1;
	}
	/* What is set aside is a page by itself. */
	ret = job->of->slabs ? 0 : thp_inject_drain(job->fd);
	if (!ret)
		ret = thp_inject_nth_arm(job->fd, nth);
	if (ret)
		return thp_why(why, ret, "fail-nth: %s", thp_errno_name(ret));
	(void)split_run_at(op, &job->m, page, thp_env.page);
	return thp_inject_nth_disarm(job->fd);
}

/* The same shot again and again; a new THP unless the old one is still whole. */
static int remains_rounds(struct remains_job *job, int nth, int rounds, struct thp_why *why)
{
	bool reuse = job->of->shared || job->of->injector == TARGETED;
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
		/* It was split in spite of it: a fork for each round would take long. */
		if (state != THP_STATE_PMD) {
			remains_unmap(job);
			rounds = 0;
		}
	}
	return fired;
}

static int remains(struct thp_chan *chan, void *arg)
{
	static struct remains_job job;
	struct thp_why *why = &chan->why;
	struct thp_events e0, e1;
	int nth, ret, refuses = 0;

	job.of = arg;
	job.chan = chan;
	thp_warm_up();
	TRY(rehearse(op_by_name(job.of->op), THP_ANON, why));
	job.fd = thp_inject_nth_open();
	if (job.fd < 0 && job.of->injector != TARGETED)
		return thp_why(why, job.fd, "fail-nth: %s", thp_errno_name(job.fd));
	thp_chan_post_parent(chan, 1);
	thp_chan_await_parent(chan, 2);
	for (nth = 1; nth <= NTH_MAX; nth++) {
		thp_obs_events(&e0);
		ret = remains_rounds(&job, nth, job.of->slabs ? 1 : REMAINS_ROUNDS, why);
		thp_obs_events(&e1);
		if (ret < 0)
			return ret;
		chan->val[0] += ret;
		chan->val[1] += e1.split_pmd_failed - e0.split_pmd_failed;
		if (!refuses && e1.split_pmd_failed != e0.split_pmd_failed)
			refuses = nth;
		if (!ret || job.of->injector == TARGETED)
			break;
	}
	/* An eager kernel refuses none: any shot will do. */
	if (job.of->slabs) {
		ret = remains_rounds(&job, refuses ? : 1, REMAINS_SLABS, why);
		if (ret < 0)
			return ret;
		chan->val[0] += ret;
	}
	/* What is still mapped is for the exit of this process to free. */
	thp_child_kill(&job.other);
	return nth <= NTH_MAX ? 0 : thp_why(why, -EPROTO, "still failing at nth=%d", NTH_MAX);
}

THP_COVERS(remains, charged, "leak-page-tables folio-split");
TEST_F_TIMEOUT(remains, charged, 180)
{
	const struct remains_of *of = &variant->of;
	struct thp_child *c = &self->child;
	long long anon, kernel, max, end;
	struct thp_why why = { 0 };
	long refused;
	int ret;

	THP_REQUIRE_OK(thp_inject_setup(of->injector == TARGETED, 0, &why), &why);
	/* Tasks that have not armed fail-nth are unaffected. */
	ret = of->failslab ? thp_inject_slabs(&why) : 0;
	if (ret == -ENOENT)
		THP_SKIP("needs CONFIG_FAILSLAB");
	THP_REQUIRE_RESULT(ret, &why);
	THP_REQUIRE_OK(thp_cg_create(&self->cg, "remains", &why), &why);
	THP_REQUIRE_OK(thp_child_start(c, remains, (void *)of), &why);
	THP_REQUIRE_OK(thp_child_await(c, 1, THP_STEP_MS), &why);
	/* Join only now: pages shared with the parent must not be charged to the group. */
	THP_REQUIRE_OK(thp_cg_join(&self->cg, c->pid), &why);
	thp_chan_post_child(c->chan, 2);
	ret = thp_child_await(c, 3, THP_STEP_MS);
	THP_REQUIRE(ret != -ETIMEDOUT, "%s does not return: livelock, or it waits for ever",
		    of->op);
	/* A folio split of an eager kernel may need no page at all. */
	if (thp_env.contract == THP_LAZY)
		THP_CHECK(c->chan->val[0] > 0, "nothing was refused");
	if (thp_env.contract == THP_LAZY &&
	    thp_obs_vmstat("thp_split_pmd_failed") != THP_EVENT_NONE)
		THP_CHECK(c->chan->val[1] > 0, "no shot hit the split");
	refused = c->chan->val[0];
	THP_CHECK_OK(thp_child_join(c, THP_STEP_MS, &why), &why);
	/* A page per round, or a tenth of a page: less than a third of either. */
	max = of->slabs ? 32 << 10 : REMAINS_ROUNDS * (long long)thp_env.page / 3;
	for (end = thp_now_ms() + thp_limit(THP_SETTLE_MS);; thp_sleep_ms(50)) {
		thp_obs_settle();
		anon = thp_cg_stat(&self->cg, "anon");
		kernel = thp_cg_stat(&self->cg, of->slabs ? "slab_unreclaimable" : "kernel");
		if ((anon <= (long long)thp_env.pmd / 2 && kernel <= max) || thp_now_ms() > end)
			break;
	}
	printf("# remains: %s: %ld refused, anon %lld B, %s %lld B\n", of->op, refused, anon,
	       of->slabs ? "slab" : "kernel", kernel);
	THP_REQUIRE(anon >= 0 && kernel >= 0, "memory.stat: %s",
		    thp_errno_name(anon < 0 ? anon : kernel));
	THP_CHECK(anon <= (long long)thp_env.pmd / 2,
		  "%s: %lld B of the memory of a process that has ended are still charged",
		  of->op, anon);
	THP_CHECK(kernel <= max,
		  "%s: %lld B of kernel memory are left after %ld refusals, expected <= %lld",
		  of->op, kernel, refused, max);
}
