// SPDX-License-Identifier: GPL-2.0
/* reclaim: Reclaim splits partially mapped THPs. */

/* Enough for the shrinker to scan the list. */
#define QUEUE_THPS 64
#define QUEUE_BYTES (160UL << 20)

struct queue {
	char *base;		/* @n THPs in one VMA; the test splits the last one */
	size_t n;
	struct thp_burner burner;
};

/* Steps of the child and of the test, and the values of the child. */
enum { QUEUE_READY = 1, QUEUE_MAPPED, QUEUE_SPLIT };
enum { QUEUE_MAP = 1, QUEUE_FULL, QUEUE_END };
enum { QUEUE_ERRNO, QUEUE_DEFERRED };

/*
 * A folio split takes the lock of its anon_vma. If a kernel allocates a page table under
 * that lock while the memory group is full, reclaim splits the partially mapped THPs of the
 * same VMA, which needs the same lock.
 */
static int split_when_full(struct thp_chan *chan, void *arg)
{
	struct thp_why *why = &chan->why;
	struct queue *q = arg;
	size_t pmd = thp_env.pmd, i;
	struct thp_events before, after;
	char *area, *p;
	int ret;

	/* Version 2 would kill the task; version 1 is told not to. */
	(void)thp_write_file("/proc/self/oom_score_adj", "-1000");
	thp_warm_up();
	thp_chan_post_parent(chan, QUEUE_READY);
	thp_chan_await_parent(chan, QUEUE_MAP);
	area = mmap(NULL, (q->n + 2) * pmd, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (area == MAP_FAILED || madvise(area, (q->n + 2) * pmd, MADV_HUGEPAGE))
		return thp_why(why, -errno, "mmap: %s", strerror(errno));
	q->base = (char *)(((uintptr_t)area + pmd) & ~(pmd - 1));
	for (i = 0; i < q->n; i++)
		thp_touch(q->base + i * pmd);
	p = q->base + (q->n - 1) * pmd;
	for (i = 0; i < thp_env.nr; i++)
		thp_fill(p + i * thp_env.page, q->n, i);
	/* Splits all PMDs first, so that unmapping single pages below needs no memory. */
	for (i = 0; i < q->n - 1; i++)
		if (thp_split_at(q->base + i * pmd + thp_env.page, why))
			return -EIO;
	ret = thp_burner_create(&q->burner);
	if (ret)
		return thp_why(why, ret, "burner: %s", thp_errno_name(ret));
	thp_pin_cpu();
	thp_obs_events(&before);
	thp_chan_post_parent(chan, QUEUE_MAPPED);
	thp_chan_await_parent(chan, QUEUE_FULL);
	ret = thp_burner_burn(&q->burner);
	if (ret)
		return thp_why(why, ret, "the group could not be filled: %s", thp_errno_name(ret));
	for (i = 0; i < q->n - 1; i++)
		if (madvise(q->base + i * pmd + 2 * thp_env.page, thp_env.page, MADV_DONTNEED))
			return thp_why(why, -errno, "MADV_DONTNEED: %s", strerror(errno));
	ret = madvise(p + thp_env.page, thp_env.page, MADV_COLD) ? errno : 0;
	chan->val[QUEUE_ERRNO] = ret;
	thp_chan_post_parent(chan, QUEUE_SPLIT);
	thp_chan_await_parent(chan, QUEUE_END);
	thp_obs_events(&after);
	chan->val[QUEUE_DEFERRED] = after.deferred - before.deferred;
	return thp_check(p, q->n, 0, thp_env.nr, why);
}

FIXTURE(reclaim) {
	struct thp_child child;
	struct queue queue;
	struct thp_cg cg;
	struct thp_why why;
};

FIXTURE_SETUP(reclaim)
{
	thp_warm_up();
}

FIXTURE_TEARDOWN_PARENT(reclaim)
{
	thp_cg_destroy(&self->cg);
	thp_teardown(_metadata);
}

THP_COVERS(reclaim, split_when_full,
	   "folio-split-deferred folio-split-reclaim folio-split-anon-vma-lock");
TEST_F_TIMEOUT(reclaim, split_when_full, 90)
{
	struct thp_child *c = &self->child;
	siginfo_t info;
	long queued;
	int ret;

	THP_NEEDS(THP_NEED_MEMCG | THP_NEED_POPULATE);
	self->queue.n = QUEUE_BYTES / thp_env.pmd;
	if (self->queue.n > QUEUE_THPS)
		self->queue.n = QUEUE_THPS;
	if (self->queue.n < 8)
		THP_SKIP("needs PMDs of at most 20 MiB");
	if (!thp_env_room(2 * self->queue.n * thp_env.pmd))
		THP_SKIP("needs 256 MiB of free memory");
	THP_REQUIRE_OK(thp_cg_create(&self->cg, "migrate", &self->why), &self->why);
	THP_REQUIRE_OK(thp_child_start(c, split_when_full, &self->queue), &self->why);
	ret = thp_child_await(c, QUEUE_READY, THP_STEP_MS);
	if (!ret)
		ret = thp_cg_join(&self->cg, c->pid);
	if (!ret) {
		thp_chan_post_child(c->chan, QUEUE_MAP);
		ret = thp_child_await(c, QUEUE_MAPPED, THP_STEP_MS);
	}
	if (!ret) {
		thp_cg_limit(&self->cg, thp_cg_usage(&self->cg) + (1 << 20));
		thp_chan_post_child(c->chan, QUEUE_FULL);
		/* No step takes a second; a deadlock never ends. */
		ret = thp_child_await(c, QUEUE_SPLIT, THP_STEP_MS);
		THP_CHECK(ret != -ETIMEDOUT,
			  "MADV_COLD in a full group does not return: deadlock or livelock");
		thp_cg_limit(&self->cg, THP_CG_MAX);
	}
	if (!ret) {
		THP_CHECK(!c->chan->val[QUEUE_ERRNO], "MADV_COLD is advice: expected 0, got %s",
			  thp_errno_name(c->chan->val[QUEUE_ERRNO]));
		thp_chan_post_child(c->chan, QUEUE_END);
		if (!waitid(P_PID, c->pid, &info, WEXITED | WNOWAIT)) {
			queued = c->chan->val[QUEUE_DEFERRED];
			THP_CHECK(queued >= (long)self->queue.n - 1,
				  "partially mapped THPs: expected at least %zu, got %ld",
				  self->queue.n - 1, queued);
		}
	}
	THP_CHECK_OK(thp_child_join(c, THP_STEP_MS, &self->why), &self->why);
}
