// SPDX-License-Identifier: GPL-2.0
/*
 * swapped: A THP in swap, one PMD swap entry, that has to be split to be read, because
 * another process has read a page of it, while page tables cannot be allocated. An eager
 * kernel splits it with the deposit. On a lazy one the entry stays, and nothing is lost: it
 * is read when there is memory again.
 */
struct swapped_way {
	/* 0 or -errno of the operation. */
	int (*run)(struct thp_map *m);
	int refused;		/* what a lazy kernel returns without a table */
	bool waits;		/* instead, it does not return before there is one */
	uint64_t needs;
};

static struct thp_swapdev swapped_dev;

static int swapped_off(struct thp_map *m)
{
	(void)m;
	return thp_swapdev_off(&swapped_dev);
}

static int swapped_willneed(struct thp_map *m)
{
	return madvise(m->thp, thp_env.pmd, MADV_WILLNEED) ? -errno : 0;
}

/* A page fault of the kernel, in copy_from_user(). */
static int swapped_copy(struct thp_map *m)
{
	int ret = write(m->pipe[1], thp_page(m, 1), 8) == 8 ? 0 : -errno;

	return ret;
}

static int swapped_read(struct thp_map *m)
{
	(void)thp_peek(thp_page(m, 1));
	return 0;
}

FIXTURE(swapped) {
	struct thp_why why;
};

FIXTURE_VARIANT(swapped) {
	struct swapped_way way;
};

FIXTURE_VARIANT_ADD(swapped, swapoff) {
	.way = { .run = swapped_off, .refused = -ENOMEM, .needs = THP_NEED_SWAPDEV },
};

FIXTURE_VARIANT_ADD(swapped, willneed) { .way = { .run = swapped_willneed } };
FIXTURE_VARIANT_ADD(swapped, copy) { .way = { .run = swapped_copy, .refused = -EFAULT } };
FIXTURE_VARIANT_ADD(swapped, read) { .way = { .run = swapped_read, .waits = true } };

FIXTURE_SETUP(swapped)
{
	thp_warm_up();
}

FIXTURE_TEARDOWN_PARENT(swapped)
{
	thp_teardown(_metadata);
}

/* The other process: reads one page by a PTE, so that a small folio is cached. */
static int swapped_reader(struct thp_chan *chan, void *arg)
{
	struct thp_map *m = arg;

	TRY(thp_split_at(thp_page(m, 0), &chan->why));
	TRY(thp_map_check(m, 0, 1, &chan->why));
	thp_chan_post_parent(chan, 1);
	thp_chan_await_parent(chan, 1);
	return thp_map_check(m, 0, thp_env.nr, &chan->why);
}

struct swapped_job {
	const struct swapped_way *way;
	struct thp_map m;
};

/* The starved process. It is fed by its parent if it waits. */
enum { SWAPPED_READY = 1, SWAPPED_DONE, SWAPPED_LOOKED };
enum { SWAPPED_GO = 1, SWAPPED_FED };

static int swapped_victim(struct thp_chan *chan, void *arg)
{
	struct swapped_job *job = arg;
	struct thp_why *why = &chan->why;
	struct thp_map *m = &job->m;
	enum thp_state state;

	/* It reads all memory that can be read, and must not read this. */
	if (mprotect(m->thp, thp_env.pmd, PROT_NONE))
		return thp_why(why, -errno, "mprotect: %s", strerror(errno));
	thp_warm_up();
	if (mprotect(m->thp, thp_env.pmd, PROT_READ | PROT_WRITE))
		return thp_why(why, -errno, "mprotect: %s", strerror(errno));
	TRY(thp_map_expect(m, THP_STATE_PMD_SWAP, why));
	TRY(thp_inject_self(why));
	thp_chan_post_parent(chan, SWAPPED_READY);
	thp_chan_await_parent(chan, SWAPPED_GO);
	chan->val[0] = job->way->run(m);
	thp_chan_post_parent(chan, SWAPPED_DONE);
	thp_chan_await_parent(chan, SWAPPED_FED);
	TRY(thp_obs_state(m->thp, thp_env.pmd, &state));
	chan->val[1] = state;
	thp_chan_post_parent(chan, SWAPPED_LOOKED);
	/* With memory again. */
	if (chan->val[0]) {
		int ret = job->way->run(m);

		if (ret)
			return thp_why(why, -EPROTO, "with memory again: %s, expected 0",
				       thp_errno_name(ret));
	}
	TRY(thp_map_check(m, 0, thp_env.nr, why));
	return thp_map_expect(m, THP_STATE_PTE, why);
}

static int swapped_judge(const struct swapped_way *way, int ret, enum thp_state state,
			 bool waited, long fired, struct thp_why *why)
{
	bool lazy = thp_tables_split(THP_ANON);
	int want = lazy ? way->refused : 0;
	enum thp_state stays = lazy && !way->waits ? THP_STATE_PMD_SWAP : THP_STATE_PTE;

	thp_inject_report("targeted", lazy, fired, "%s", thp_errno_name(ret));
	if (!!fired != lazy)
		return thp_why(why, -EPROTO, "%ld tables were refused, expected %s", fired,
			       lazy ? "at least 1" : "0");
	if (ret != want)
		return thp_why(why, -EPROTO, "without a page table: %s, expected %s",
			       thp_errno_name(ret), thp_errno_name(want));
	if (waited != (lazy && way->waits))
		return thp_why(why, -EPROTO, "it %s for memory",
			       waited ? "waited" : "did not wait");
	if (state != stays)
		return thp_why(why, -EPROTO, "range is %s, expected %s", thp_state_name(state),
			       thp_state_name(stays));
	return 0;
}

/* Long enough for a fault to be repeated often, see pagefault_out_of_memory(). */
#define SWAPPED_WATCH_MS	100

static int swapped_run(const void *arg, struct thp_why *why)
{
	struct thp_child reader = { 0 }, victim = { 0 };
	struct swapped_job job = { .way = arg };
	bool waited;
	long fired;
	int ret;

	if (swapped_dev.path[0])
		(void)thp_swapdev_again(&swapped_dev);
	TRY(thp_map_new(&job.m, THP_SWAPPED, why));
	TRY(thp_swap_drop(job.m.thp, why));
	if (pipe2(job.m.pipe, O_CLOEXEC))
		return thp_why(why, -errno, "pipe: %s", strerror(errno));
	TRY(thp_child_start(&reader, swapped_reader, &job.m));
	TRY(thp_child_await(&reader, 1, THP_STEP_MS));
	TRY(thp_inject_tables(why));
	TRY(thp_child_start(&victim, swapped_victim, &job));
	TRY(thp_child_await(&victim, SWAPPED_READY, THP_STEP_MS));
	fired = thp_inject_fired();
	thp_chan_post_child(victim.chan, SWAPPED_GO);
	ret = thp_child_watch(&victim, SWAPPED_DONE, SWAPPED_WATCH_MS);
	waited = ret == -ETIMEDOUT && job.way->waits;
	if (ret == -ETIMEDOUT && !waited)
		ret = thp_child_await(&victim, SWAPPED_DONE, THP_RETURN_MS);
	fired = thp_inject_fired() - fired;
	if (thp_inject_task(victim.pid, false))
		return thp_why(why, -EIO, "make-it-fail cannot be cleared");
	if (!ret || ret == -ETIMEDOUT)
		ret = thp_child_await(&victim, SWAPPED_DONE, THP_STEP_MS);
	thp_chan_post_child(victim.chan, SWAPPED_FED);
	if (!ret)
		ret = thp_child_await(&victim, SWAPPED_LOOKED, THP_STEP_MS);
	if (!ret)
		ret = swapped_judge(job.way, victim.chan->val[0], victim.chan->val[1], waited,
				    fired, why);
	else if (ret == -ECHILD)
		ret = thp_child_join(&victim, THP_STEP_MS, why);
	else
		ret = thp_why(why, -EPROTO, "without a page table it does not return");
	if (ret == -EPROTO) {
		thp_child_kill(&victim);
		thp_child_kill(&reader);
		return ret;
	}
	TRY(thp_child_join(&victim, THP_STEP_MS, why));
	thp_chan_post_child(reader.chan, 1);
	TRY(thp_child_join(&reader, THP_STEP_MS, why));
	TRY(thp_map_check(&job.m, 0, thp_env.nr, why));
	thp_map_destroy(&job.m);
	return 0;
}

THP_COVERS(swapped, targeted, "swapin-split");
TEST_F(swapped, targeted)
{
	THP_NEEDS(THP_NEED_SWAP | THP_NEED_PMD_SWAP | THP_NEED_FAIL_PAGE | THP_NEED_ROOT |
		  variant->way.needs);
	if (thp_env.unit != 1)
		THP_SKIP("needs PTE tables of at least 1 kB");
	swapped_dev.path[0] = '\0';
	if (variant->way.needs & THP_NEED_SWAPDEV)
		THP_REQUIRE_OK(thp_swapdev_on(&swapped_dev, &self->why), &self->why);
	THP_SCENARIO(swapped_run, &variant->way);
}
