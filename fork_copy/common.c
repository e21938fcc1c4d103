// SPDX-License-Identifier: GPL-2.0
/* common: Shared by the subjects: a buffer and a pipe, scenarios, writers. */

/* Contents that replace the first ones; any numbers that differ. */
#define SEED_PARENT	0x1000000
#define SEED_CHILD	0x2000000
#define SEED_DEVICE	0x3000000

/* One base page to read from and to write to, and a pipe that holds it. */
static char *buffer;

/* Touches it now: it must not take a table while tables are counted. */
static int buffer_new(struct thp_why *why)
{
	if (buffer)
		return 0;
	buffer = mmap(NULL, thp_env.page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
		      -1, 0);
	if (buffer == MAP_FAILED)
		return thp_why(why, -errno, "mmap: %s", strerror(errno));
	thp_touch(buffer);
	return 0;
}

static int pipe_fd[2] = { -1, -1 };
static int extra_fd = -1;

static void close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

static void ring_close(void);
static void crowd_disperse(void);

static void reset(void)
{
	/* Releases pins and references first: they belong to the memory that is unmapped next. */
	ring_close();
	crowd_disperse();
	close_fd(&extra_fd);
	close_fd(&pipe_fd[0]);
	close_fd(&pipe_fd[1]);
	thp_family_reset();
}

/* The pipe, and the buffer, which stays. */
static int open_pipe(struct thp_why *why)
{
	TRY(buffer_new(why));
	if (pipe2(pipe_fd, O_CLOEXEC))
		return thp_why(why, -errno, "pipe: %s", strerror(errno));
	/* One page of every THP has to fit. */
	(void)fcntl(pipe_fd[1], F_SETPIPE_SZ, THP_GROUP_MAX * thp_env.page);
	return 0;
}

static size_t middle(void)
{
	return thp_env.nr / 2;
}

/*
 * If fork() copied the memory, it would take no table either, and contents would not show
 * it. pagemap shows that the folios have a second mapping, for every kind but the zero
 * folio.
 */
static int expect_shared(bool want, const char *when, struct thp_why *why)
{
	uint64_t entry;
	unsigned int i;
	bool shared;
	int ret;

	for (i = 0; thp_group.kind != THP_ZERO && i < thp_group.n; i++) {
		ret = thp_obs_pagemap(thp_group.map[i].thp, &entry, 1);
		if (ret)
			return thp_why(why, ret, "pagemap: %s", thp_errno_name(ret));
		shared = !(entry & THP_PM_EXCLUSIVE);
		if (shared != want)
			return thp_why(why, -EPROTO, "THP %u %s: shared %d, expected %d", i, when,
				       shared, want);
	}
	return 0;
}

/* A group and @peers children that share it; @m counts the parent meanwhile. */
static int share(enum thp_kind kind, unsigned int peers, struct thp_meter *m,
		 struct thp_why *why)
{
	unsigned int i;
	int ret;

	ret = thp_group_new(kind, 0, why);
	if (!ret)
		ret = thp_peers_prepare(peers, why);
	if (!ret)
		ret = expect_shared(false, "before fork", why);
	if (!ret)
		ret = thp_meter_start(m, 0, why);
	for (i = 0; i < peers && !ret; i++)
		ret = thp_peer_start(&thp_peers[i], why);
	if (!ret)
		ret = thp_meter_stop(m, 0, 0, "parent at fork", why);
	return ret ? ret : expect_shared(true, "after fork", why);
}

/*
 * The expected cost of a write to a shared range. The kernel splits shared anonymous memory
 * and copies a page. It replaces the huge zero PMD by a THP, or splits it: if
 * thp_env_zero_write_splits() says so, or for want of memory.
 */
static int expect_write(const struct thp_meter *m, enum thp_state after, const char *who,
			struct thp_why *why)
{
	bool split = thp_group.kind != THP_ZERO || thp_env_zero_write_splits();

	if (!split && after != THP_STATE_PMD && m->ev[1].fault_fallback != m->ev[0].fault_fallback)
		return thp_skip(why, THP_FRAGMENTED);
	if (after != (split ? THP_STATE_PTE : THP_STATE_PMD))
		return thp_why(why, -EPROTO, "%s: range is %s after the write, expected %s", who,
			       thp_state_name(after), split ? "PTE-mapped" : "PMD-mapped");
	return thp_meter_expect(m, split ? thp_group_split() : 0, split ? thp_group.n : 0, who,
				why);
}

static int parent_write(size_t page, uint64_t seed, struct thp_why *why)
{
	struct thp_meter m;
	enum thp_state s;

	TRY(thp_meter_start(&m, 0, why));
	thp_group_write(page, seed);
	TRY(thp_meter_read(&m, why));
	TRY(thp_group_state(&s, why));
	return expect_write(&m, s, "parent writes", why);
}

static int child_write(struct thp_peer *p, size_t page, uint64_t seed, struct thp_why *why)
{
	struct thp_meter m;
	long long s = 0;

	TRY(thp_meter_start(&m, p->child.pid, why));
	TRY(thp_peer_order(p, THP_ORDER_WRITE, page, seed, NULL, why));
	TRY(thp_meter_read(&m, why));
	TRY(thp_peer_order(p, THP_ORDER_STATE, 0, 0, &s, why));
	return expect_write(&m, s, "child writes", why);
}

/* Contents of a child, and its state if @state is one. */
static int child_sees(struct thp_peer *p, enum thp_state state, struct thp_why *why)
{
	int ret = thp_peer_order(p, THP_ORDER_CHECK, 0, 0, NULL, why);

	if (!ret && state != THP_STATE_UNKNOWN)
		ret = thp_peer_expect(p, state, why);
	return ret;
}

static int parent_sees(enum thp_state state, struct thp_why *why)
{
	int ret = thp_group_check(why);

	return ret ? ret : thp_group_expect(state, why);
}

/* A write by the only owner: the PMD is made writable again, nothing is split. */
static int sole_owner_writes(const char *what, struct thp_why *why)
{
	enum thp_state s;
	struct thp_meter m;

	TRY(thp_meter_start(&m, 0, why));
	thp_group_write(middle(), SEED_PARENT);
	TRY(thp_meter_read(&m, why));
	TRY(thp_group_state(&s, why));
	/* Compaction may hold a reference for a moment: then a split is correct. */
	if (s == THP_STATE_PTE)
		return thp_why(why, -EAGAIN, "%s: range is PTE-mapped, expected reuse of the PMD",
			       what);
	return thp_meter_expect(&m, 0, 0, what, why);
}
