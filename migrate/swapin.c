// SPDX-License-Identifier: GPL-2.0
/*
 * swapin: Those who meet a THP in swap, one PMD swap entry, by what is in the swap cache.
 *
 * Nothing, or one folio for all slots: the entry becomes a PMD again, without a split and
 * without a table. Small folios, because another process has read a page, or because the
 * folio was split meanwhile: the entry is split, and each page comes from its own slot.
 * zswap stores base pages, so the entry is split as well. fork() and mincore() never do
 * either.
 */
enum swapin_cache {
	CACHE_NONE,	/* nothing is cached */
	CACHE_SHARED,	/* the same, and a child has the same entry */
	CACHE_SMALL,	/* a child has split its entry and read one page */
	CACHE_SPLIT,	/* a child has mapped the folio, which was split then */
	CACHE_ZSWAP,	/* zswap has the pages */
};

struct swapin_case;

struct swapin_op {
	/* Runs it on the group; what it says of the contents is checked by it. */
	int (*run)(const struct swapin_case *c, struct thp_why *why);
	uint64_t needs;
	bool stays;		/* leaves the entry alone */
	bool caches;		/* ... unless it has to split it */
	bool writes;		/* shared memory is copied then, also by a pin for reading */
	bool others;		/* other processes may split theirs meanwhile */
	bool off;		/* wants a swap area of its own */
	bool collapses;		/* what was split becomes a PMD again, or not */
};

struct swapin_case {
	const struct swapin_op *op;
	enum swapin_cache cache;
	struct thp_swapdev *dev;
};

/* A buffer for what is read of a THP by other means than a load; touched before. */
static char *swapin_buffer;

static int swapin_buffer_new(struct thp_why *why)
{
	size_t i;

	if (swapin_buffer)
		return 0;
	swapin_buffer = mmap(NULL, thp_env.pmd, PROT_READ | PROT_WRITE,
			     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (swapin_buffer == MAP_FAILED)
		return thp_why(why, -errno, "mmap: %s", strerror(errno));
	for (i = 0; i < thp_env.nr; i++)
		thp_touch(swapin_buffer + i * thp_env.page);
	return 0;
}

static size_t swapin_page(void)
{
	return thp_env.nr / 2;
}

#define SWAPIN_PARENT	0x1000000
#define SWAPIN_CHILD	0x2000000

static int swapin_read(const struct swapin_case *c, struct thp_why *why)
{
	(void)c;
	return thp_group_check(why);
}

static int swapin_write(const struct swapin_case *c, struct thp_why *why)
{
	(void)c;
	(void)why;
	thp_group_write(swapin_page(), SWAPIN_PARENT);
	return 0;
}

/* By get_user_pages() instead of a page fault. */
static int swapin_gup(const struct swapin_case *c, struct thp_why *why)
{
	struct iovec to = { swapin_buffer, thp_env.pmd }, from;
	unsigned int i;

	(void)c;
	for (i = 0; i < thp_group.n; i++) {
		const struct thp_map *m = &thp_group.map[i];

		from = (struct iovec){ m->thp, thp_env.pmd };
		if (process_vm_readv(getpid(), &to, 1, &from, 1, 0) != (ssize_t)thp_env.pmd)
			return thp_why(why, -EPROTO, "process_vm_readv of a THP in swap: %s",
				       strerror(errno));
		TRY(thp_check(swapin_buffer, m->seed, 0, thp_env.nr, why));
	}
	return 0;
}

static int swapin_advise(int advice, const char *name, struct thp_why *why)
{
	unsigned int i;

	for (i = 0; i < thp_group.n; i++)
		if (madvise(thp_group.map[i].thp, thp_env.pmd, advice))
			return thp_why(why, -errno, "%s: %s", name, strerror(errno));
	return 0;
}

static int swapin_willneed(const struct swapin_case *c, struct thp_why *why)
{
	(void)c;
	return swapin_advise(MADV_WILLNEED, "MADV_WILLNEED", why);
}

/* It may fail for passing reasons once there are base pages. */
static int swapin_collapse(const struct swapin_case *c, struct thp_why *why)
{
	unsigned int i;
	int ret;

	for (i = 0; i < thp_group.n; i++) {
		ret = thp_map_collapse(&thp_group.map[i]);
		if (ret && c->cache <= CACHE_SHARED)
			return thp_why(why, ret, "MADV_COLLAPSE of a THP in swap: %s",
				       thp_errno_name(ret));
	}
	return 0;
}

static int swapin_fork(const struct swapin_case *c, struct thp_why *why)
{
	struct thp_why child = { 0 };
	int status;
	pid_t pid;

	(void)c;
	fflush(stdout);
	pid = fork();
	if (!pid) {
		int ret = thp_group_check(&child);

		if (ret)
			fprintf(stderr, "# child: %s\n", child.text);
		_exit(!!ret);
	}
	if (pid < 0)
		return thp_why(why, -EPROTO, "fork of a THP in swap: %s", strerror(errno));
	if (waitpid(pid, &status, 0) != pid || !WIFEXITED(status) || WEXITSTATUS(status))
		return thp_why(why, -EPROTO, "child with a THP in swap: wait status %#x, not 0",
			       status);
	return 0;
}

/* Which pages mincore() has to find; it must not fault any of them in. */
static int swapin_mincore(const struct swapin_case *c, struct thp_why *why)
{
	unsigned char *vec = (unsigned char *)swapin_buffer;
	size_t want = c->cache == CACHE_SPLIT ? thp_env.nr : c->cache == CACHE_SMALL;
	long faults;
	unsigned int i;
	size_t p, in;

	for (i = 0; i < thp_group.n; i++) {
		/* fork() has made it copy-on-write. */
		memset(vec, 0, thp_env.nr);
		faults = thp_obs_minor_faults();
		if (mincore(thp_group.map[i].thp, thp_env.pmd, vec))
			return thp_why(why, -errno, "mincore: %s", strerror(errno));
		faults = thp_obs_minor_faults() - faults;
		for (in = 0, p = 0; p < thp_env.nr; p++)
			in += vec[p] & 1;
		if (c->cache == CACHE_SMALL && !(vec[swapin_page()] & 1))
			return thp_why(why, -EPROTO,
				       "mincore: page %zu, which the child has read, is not in core",
				       swapin_page());
		/* A page may be written out, read ahead, or reclaimed at any time. */
		if (in != want)
			return thp_why(why, -EAGAIN, "mincore: %zu pages in core, expected %zu",
				       in, want);
		if (faults)
			return thp_why(why, -EAGAIN, "mincore: %ld page faults", faults);
	}
	return 0;
}

static int swapin_off(const struct swapin_case *c, struct thp_why *why)
{
	int ret = thp_swapdev_off(c->dev);

	return ret ? thp_why(why, -EPROTO, "swapoff: %s", thp_errno_name(ret)) : 0;
}

/* Steps of the child and of the test. */
enum { SWAPIN_READY = 1, SWAPIN_WROTE };
enum { SWAPIN_LOOK = 1, SWAPIN_ENDS };

/* Shares the group: brings about what is cached, and looks when the test has run. */
static int swapin_sharer(struct thp_chan *chan, void *arg)
{
	const struct swapin_case *c = arg;
	unsigned int i;

	/* No thp_warm_up(): it would read the THPs. */
	for (i = 0; i < thp_group.n; i++) {
		char *page = thp_page(&thp_group.map[i], swapin_page());

		if (c->cache == CACHE_SMALL)
			TRY(thp_split_at(page, &chan->why));
		if (c->cache != CACHE_SHARED)
			(void)thp_peek(page);
		if (c->cache == CACHE_SPLIT)
			TRY(thp_map_expect(&thp_group.map[i], THP_STATE_PMD, &chan->why));
	}
	thp_chan_post_parent(chan, SWAPIN_READY);
	thp_chan_await_parent(chan, SWAPIN_LOOK);
	TRY(thp_group_check(&chan->why));
	thp_group_write(1, SWAPIN_CHILD);
	thp_group_write(swapin_page(), SWAPIN_CHILD + 1);
	thp_chan_post_parent(chan, SWAPIN_WROTE);
	thp_chan_await_parent(chan, SWAPIN_ENDS);
	return thp_group_check(&chan->why);
}

/* Splits the folios that the child has mapped, which the swap cache holds for this process. */
static int swapin_split_folios(const struct thp_child *child, struct thp_why *why)
{
	struct thp_events before, after;
	unsigned int i;
	int ret;

	thp_obs_events(&before);
	for (i = 0; i < thp_group.n; i++) {
		ret = thp_split_folios(child->pid, (unsigned long)thp_group.map[i].thp,
				       thp_env.pmd);
		if (ret)
			return thp_why(why, ret, "split_huge_pages: %s", thp_errno_name(ret));
	}
	thp_obs_events(&after);
	if (after.split_page - before.split_page < thp_group.n)
		return thp_why(why, -EAGAIN, "split_huge_pages: thp_split_page +%llu, expected +%u",
			       (unsigned long long)(after.split_page - before.split_page),
			       thp_group.n);
	return 0;
}

/* How the group has to be mapped afterwards; UNKNOWN: in any way. */
static enum thp_state swapin_want(const struct swapin_case *c)
{
	bool whole = c->cache <= CACHE_SHARED && !thp_swap_by_zswap();

	if (c->op->stays || (c->op->caches && whole))
		return THP_STATE_PMD_SWAP;
	if (c->op->writes && c->cache != CACHE_NONE && c->cache != CACHE_ZSWAP)
		return THP_STATE_UNKNOWN;
	if (c->op->collapses && !whole)
		return THP_STATE_UNKNOWN;
	return whole ? THP_STATE_PMD : THP_STATE_PTE;
}

/* Swap of smaps: all of an entry, nothing of what is mapped by a PMD. */
static int swapin_expect_swap(enum thp_state state, struct thp_why *why)
{
	long long want = thp_group.n * (long long)thp_env.pmd / 1024;
	struct thp_smaps sm;

	if (state != THP_STATE_PMD_SWAP && state != THP_STATE_PMD)
		return 0;
	if (state == THP_STATE_PMD)
		want = 0;
	TRY(thp_obs_smaps(0, thp_group.base, thp_group.n * thp_env.pmd, &sm));
	if ((long long)sm.swap_kb != want)
		return thp_why(why, -EPROTO, "smaps: Swap is %llu kB, expected %lld kB",
			       (unsigned long long)sm.swap_kb, want);
	return 0;
}

/* Runs the operation and judges what it did to the entries. */
static int swapin_judge(const struct swapin_case *c, struct thp_why *why)
{
	enum thp_state want = swapin_want(c);
	struct thp_meter m;
	int ret;

	TRY(thp_meter_start(&m, 0, why));
	TRY(c->op->run(c, why));
	TRY(thp_meter_read(&m, why));
	if (want == THP_STATE_UNKNOWN)
		return 0;
	ret = thp_group_expect(want, why);
	/* For want of a huge page, or of references, an entry may be split: not in each try. */
	if (ret)
		return ret == -EPROTO && want != THP_STATE_PTE ? -EAGAIN : ret;
	TRY(swapin_expect_swap(want, why));
	if (c->op->others)
		return thp_meter_tables(&m, want == THP_STATE_PTE ? thp_group_split() : 0,
					"operation on a THP in swap", why);
	return thp_meter_expect(&m, want == THP_STATE_PTE ? thp_group_split() : 0,
				want == THP_STATE_PTE ? thp_group.n : 0,
				"operation on a THP in swap", why);
}

static int swapin_run(const void *arg, struct thp_why *why)
{
	const struct swapin_case *c = arg;
	struct thp_child child = { 0 };
	bool shared = c->cache != CACHE_NONE && c->cache != CACHE_ZSWAP;
	unsigned int i;

	thp_family_reset();
	TRY(swapin_buffer_new(why));
	/* After the swapoff of the last try. */
	if (c->op->off)
		(void)thp_swapdev_again(c->dev);
	TRY(thp_group_new(THP_SWAPPED, 0, why));
	for (i = 0; i < thp_group.n; i++)
		TRY(thp_swap_drop(thp_group.map[i].thp, why));
	if (shared) {
		TRY(thp_child_start(&child, swapin_sharer, (void *)c));
		TRY(thp_child_await(&child, SWAPIN_READY, THP_STEP_MS));
	}
	if (c->cache == CACHE_SPLIT)
		TRY(swapin_split_folios(&child, why));
	TRY(swapin_judge(c, why));
	TRY(thp_group_check(why));
	if (!shared)
		return thp_group_finish(why);
	/* Neither sees what the other writes. */
	thp_group_write(2, SWAPIN_PARENT + 1);
	thp_chan_post_child(child.chan, SWAPIN_LOOK);
	if (!thp_child_await(&child, SWAPIN_WROTE, THP_STEP_MS)) {
		TRY(thp_group_check(why));
		thp_group_write(3, SWAPIN_PARENT + 2);
		thp_chan_post_child(child.chan, SWAPIN_ENDS);
	}
	TRY(thp_child_join(&child, THP_STEP_MS, why));
	return thp_group_finish(why);
}

FIXTURE(swapin) {
	struct thp_swapdev dev;
	struct thp_why why;
};

FIXTURE_VARIANT(swapin) {
	struct swapin_op op;
};

/* Of all of them; those of an operation are its own. */
#define SWAPIN_NEEDS	(THP_NEED_SWAP | THP_NEED_PMD_SWAP | THP_NEED_ROOT)

#define SWAPIN_READ	{ .run = swapin_read }
#define SWAPIN_WRITE	{ .run = swapin_write, .writes = true }
#define SWAPIN_GUP	{ .run = swapin_gup, .writes = true }
#define SWAPIN_WILLNEED	{ .run = swapin_willneed, .caches = true }
#define SWAPIN_COLLAPSE	{ .run = swapin_collapse, .collapses = true, .needs = THP_NEED_COLLAPSE }
#define SWAPIN_FORK	{ .run = swapin_fork, .stays = true, .others = true }
#define SWAPIN_MINCORE	{ .run = swapin_mincore, .stays = true }
#define SWAPIN_OFF	{ .run = swapin_off, .off = true, .needs = THP_NEED_SWAPDEV }

FIXTURE_VARIANT_ADD(swapin, read) { .op = SWAPIN_READ };
FIXTURE_VARIANT_ADD(swapin, write) { .op = SWAPIN_WRITE };
FIXTURE_VARIANT_ADD(swapin, gup) { .op = SWAPIN_GUP };
FIXTURE_VARIANT_ADD(swapin, willneed) { .op = SWAPIN_WILLNEED };
FIXTURE_VARIANT_ADD(swapin, collapse) { .op = SWAPIN_COLLAPSE };
FIXTURE_VARIANT_ADD(swapin, fork) { .op = SWAPIN_FORK };
FIXTURE_VARIANT_ADD(swapin, mincore) { .op = SWAPIN_MINCORE };
FIXTURE_VARIANT_ADD(swapin, swapoff) { .op = SWAPIN_OFF };

FIXTURE_SETUP(swapin)
{
	THP_NEEDS(SWAPIN_NEEDS | variant->op.needs);
	thp_warm_up();
	if (variant->op.off)
		THP_REQUIRE_OK(thp_swapdev_on(&self->dev, &self->why), &self->why);
}

FIXTURE_TEARDOWN_PARENT(swapin)
{
	thp_teardown(_metadata);
}

THP_COVERS(swapin, alone, "swapin-pmd swapoff-pmd");
TEST_F(swapin, alone)
{
	const struct swapin_case c = { &variant->op, CACHE_NONE, &self->dev };

	THP_SCENARIO(swapin_run, &c);
}

THP_COVERS(swapin, shared, "swapin-pmd swapoff-pmd swap-entry-fork");
TEST_F(swapin, shared)
{
	const struct swapin_case c = { &variant->op, CACHE_SHARED, &self->dev };

	THP_SCENARIO(swapin_run, &c);
}

THP_COVERS(swapin, small_cached, "swapin-split");
TEST_F(swapin, small_cached)
{
	const struct swapin_case c = { &variant->op, CACHE_SMALL, &self->dev };

	THP_SCENARIO(swapin_run, &c);
}

THP_COVERS(swapin, folio_split, "swapin-split");
TEST_F(swapin, folio_split)
{
	const struct swapin_case c = { &variant->op, CACHE_SPLIT, &self->dev };

	THP_NEEDS(THP_NEED_DEBUGFS);
	if (thp_swap_by_zswap())
		THP_SKIP("needs a kernel on which zswap was not enabled since boot");
	THP_SCENARIO(swapin_run, &c);
}
