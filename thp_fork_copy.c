// SPDX-License-Identifier: GPL-2.0
/*
 * fork() and copy-on-write of PMD mappings: what a child costs in page tables,
 * who sees whose writes, and what happens when a mapping cannot be shared, when
 * a folio is split or swapped out under many processes, and when fork() fails.
 *
 * An eager kernel deposits one table per THP in every child and splits for free;
 * a lazy one forks for free and allocates one table in every process that splits.
 */
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sys/ioctl.h>
#include <sys/ptrace.h>
#include <sys/uio.h>
#include <sys/wait.h>

#include "thp_harness.h"

#include "thp_cgroup.h"
#include "thp_family.h"
#include "thp_race.h"
#include "thp_uapi.h"

#ifdef HAVE_LIBURING
#include <liburing.h>
#endif

/* Contents that replace the first ones; any numbers that differ. */
#define SEED_PARENT	0x1000000
#define SEED_CHILD	0x2000000
#define SEED_DEVICE	0x3000000

/* Tries at a scenario that was disturbed from outside (-EAGAIN). */
#define TRIES		5

/* One base page to read from and to write to, and a pipe that holds it. */
static char *buffer;
static int pipe_fd[2] = { -1, -1 };
static int extra_fd = -1;

static void close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

static void ring_close(void);

static void reset(void)
{
	/* Pins and references first: they belong to the memory that goes next. */
	ring_close();
	close_fd(&extra_fd);
	close_fd(&pipe_fd[0]);
	close_fd(&pipe_fd[1]);
	thp_family_reset();
}

static int open_pipe(struct thp_why *why)
{
	if (pipe2(pipe_fd, O_CLOEXEC))
		return thp_why(why, -errno, "pipe: %s", strerror(errno));
	/* One page of every THP has to fit. */
	(void)fcntl(pipe_fd[1], F_SETPIPE_SZ, THP_GROUP_MAX * thp_env.page);
	return 0;
}

static int attempt(int (*scenario)(const void *arg, struct thp_why *why), const void *arg,
		   struct thp_why *why)
{
	int ret = -EAGAIN, i;

	if (!buffer) {
		buffer = mmap(NULL, thp_env.page, PROT_READ | PROT_WRITE,
			      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (buffer == MAP_FAILED)
			return thp_why(why, -errno, "mmap: %s", strerror(errno));
		thp_touch(buffer);
	}
	for (i = 0; i < TRIES && ret == -EAGAIN; i++) {
		thp_why_clear(why);
		ret = scenario(arg, why);
		reset();
	}
	/* What disturbs every time is no disturbance. */
	return ret == -EAGAIN ? -EPROTO : ret;
}

/* Runs a scenario as the body of a test. */
#define THP_SCENARIO(fn, arg) do {					\
	struct thp_why __why = { 0 };					\
	int __ret = attempt(fn, arg, &__why);				\
									\
	THP_REQUIRE_RESULT(__ret, &__why);					\
} while (0)

static size_t middle(void)
{
	return thp_env.nr / 2;
}

/*
 * A fork that copies would cost no table either, and nobody would see it by contents:
 * the folios have a second mapping. pagemap says so of every kind but the zero folio.
 */
static int expect_shared(bool want, const char *when, struct thp_why *why)
{
	uint64_t entry;
	unsigned int i;
	bool shared;
	int ret;

	for (i = 0; thp_group.kind != THP_ZERO && i < thp_group.n; i++) {
		ret = thp_obs_pagemap(thp_group.map[i].thp, &entry);
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
 * What a write to a shared range may cost. Shared anonymous memory is split and
 * a page is copied. The huge zero PMD is replaced by a THP, or split by kernels
 * of which thp_env_zero_write_splits() knows, or for want of memory.
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
	int ret;

	ret = thp_meter_start(&m, 0, why);
	if (ret)
		return ret;
	thp_group_write(page, seed);
	ret = thp_meter_read(&m, why);
	if (!ret)
		ret = thp_group_state(&s, why);
	return ret ? ret : expect_write(&m, s, "parent writes", why);
}

static int child_write(struct thp_peer *p, size_t page, uint64_t seed, struct thp_why *why)
{
	struct thp_meter m;
	long long s = 0;
	int ret;

	ret = thp_meter_start(&m, p->child.pid, why);
	if (!ret)
		ret = thp_peer_order(p, THP_ORDER_WRITE, page, seed, NULL, why);
	if (!ret)
		ret = thp_meter_read(&m, why);
	if (!ret)
		ret = thp_peer_order(p, THP_ORDER_STATE, 0, 0, &s, why);
	return ret ? ret : expect_write(&m, s, "child writes", why);
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
	int ret;

	ret = thp_meter_start(&m, 0, why);
	if (ret)
		return ret;
	thp_group_write(middle(), SEED_PARENT);
	ret = thp_meter_read(&m, why);
	if (!ret)
		ret = thp_group_state(&s, why);
	if (ret)
		return ret;
	/* Compaction may hold a reference for a moment: then splitting is right. */
	if (s == THP_STATE_PTE)
		return thp_why(why, -EAGAIN, "%s: range is PTE-mapped, expected reuse of the PMD",
			       what);
	return thp_meter_expect(&m, 0, 0, what, why);
}

FIXTURE(share) {
	int unused;
};

FIXTURE_VARIANT(share) {
	enum thp_kind kind;
};

FIXTURE_VARIANT_ADD(share, anon) { .kind = THP_ANON };
FIXTURE_VARIANT_ADD(share, zero) { .kind = THP_ZERO };

FIXTURE_SETUP(share)
{
	THP_NEEDS(thp_kind_needs(variant->kind));
	thp_warm_up();
}

FIXTURE_TEARDOWN_PARENT(share)
{
	thp_teardown(_metadata);
}

static int fork_counts(const void *arg, struct thp_why *why)
{
	const enum thp_kind *kind = arg;
	struct thp_peer *p = thp_peers;
	struct thp_meter m;
	int ret;

	ret = share(*kind, 1, &m, why);
	if (!ret)
		ret = child_sees(p, thp_kind_state(*kind), why);
	if (!ret)
		ret = thp_meter_start(&m, 0, why);
	if (!ret)
		ret = thp_peer_zap(p, thp_group_mapped(), why);
	if (!ret)
		ret = thp_meter_stop(&m, 0, 0, "parent while the child unmaps", why);
	if (!ret)
		ret = expect_shared(false, "after the child's munmap", why);
	if (!ret)
		ret = parent_sees(thp_kind_state(*kind), why);
	if (!ret)
		ret = thp_peer_end(p, why);
	return ret ? ret : thp_group_finish(why);
}

THP_COVERS_VARIANT(share, anon, counts, "fork-anon zap-pmd");
THP_COVERS_VARIANT(share, zero, counts, "fork-zero zap-pmd");
TEST_F(share, counts)
{
	THP_SCENARIO(fork_counts, &variant->kind);
}

/* The same tables, found as the difference to a child that has no THPs. */
static int fork_difference(const void *arg, struct thp_why *why)
{
	const enum thp_kind *kind = arg;
	size_t len = thp_env.unit * thp_env.pmd;
	long long with, without;
	struct thp_meter m;
	long got;
	int ret;

	ret = thp_group_new(*kind, 0, why);
	if (!ret)
		ret = thp_peers_prepare(2, why);
	if (!ret)
		ret = thp_peer_start(&thp_peers[0], why);
	if (ret)
		return ret;
	if (madvise(thp_group.base, len, MADV_DONTFORK))
		return thp_why(why, -errno, "MADV_DONTFORK: %s", strerror(errno));
	ret = thp_meter_start(&m, 0, why);
	if (!ret)
		ret = thp_peer_start(&thp_peers[1], why);
	if (!ret)
		ret = thp_meter_stop(&m, 0, 0, "parent at fork", why);
	if (ret)
		return ret;
	with = thp_obs_vmpte(thp_peers[0].child.pid);
	without = thp_obs_vmpte(thp_peers[1].child.pid);
	if (!thp_env_tables(with - without, &got) || got != thp_group_mapped())
		return thp_why(why, -EPROTO,
			       "child with %u THPs has VmPTE %lld, without %lld: expected %+ld tables",
			       thp_group.n, with, without, thp_group_mapped());
	ret = thp_peer_end(&thp_peers[0], why);
	if (!ret)
		ret = thp_peer_end(&thp_peers[1], why);
	if (!ret)
		ret = parent_sees(thp_kind_state(*kind), why);
	return ret ? ret : thp_group_finish(why);
}

THP_COVERS_VARIANT(share, anon, difference, "fork-anon fork-dontfork");
THP_COVERS_VARIANT(share, zero, difference, "fork-zero fork-dontfork");
TEST_F(share, difference)
{
	THP_SCENARIO(fork_difference, &variant->kind);
}

static int parent_writes(const void *arg, struct thp_why *why)
{
	const enum thp_kind *kind = arg;
	struct thp_peer *p = thp_peers;
	struct thp_meter m;
	int ret;

	ret = share(*kind, 1, &m, why);
	if (!ret)
		ret = thp_meter_start(&m, p->child.pid, why);
	if (!ret)
		ret = parent_write(middle(), SEED_PARENT, why);
	/* The counter is the parent's; of the child it is the tables that matter. */
	if (!ret)
		ret = thp_meter_read(&m, why);
	if (!ret && m.vmpte[0] != m.vmpte[1])
		ret = thp_why(why, -EPROTO,
			      "child at the parent's write: VmPTE %+lld B, expected +0",
			      m.vmpte[1] - m.vmpte[0]);
	if (!ret)
		ret = child_sees(p, thp_kind_state(*kind), why);
	if (!ret)
		ret = thp_group_check(why);
	/* What only one of the two still maps whole is not shared any more. */
	if (!ret)
		ret = thp_peer_zap(p, thp_group_mapped(), why);
	if (!ret)
		ret = thp_peer_end(p, why);
	return ret ? ret : thp_group_finish(why);
}

THP_COVERS_VARIANT(share, anon, parent_writes, "cow-write");
THP_COVERS_VARIANT(share, zero, parent_writes, "zero-write");
TEST_F(share, parent_writes)
{
	THP_SCENARIO(parent_writes, &variant->kind);
}

static int child_writes(const void *arg, struct thp_why *why)
{
	const enum thp_kind *kind = arg;
	struct thp_peer *p = thp_peers;
	struct thp_meter m;
	int ret;

	ret = share(*kind, 1, &m, why);
	if (!ret)
		ret = child_write(p, 0, SEED_CHILD, why);
	if (!ret)
		ret = child_sees(p, THP_STATE_UNKNOWN, why);
	if (!ret)
		ret = parent_sees(thp_kind_state(*kind), why);
	if (!ret)
		ret = thp_peer_end(p, why);
	return ret ? ret : thp_group_finish(why);
}

THP_COVERS_VARIANT(share, anon, child_writes, "cow-write");
THP_COVERS_VARIANT(share, zero, child_writes, "zero-write");
TEST_F(share, child_writes)
{
	THP_SCENARIO(child_writes, &variant->kind);
}

static int both_write(const void *arg, struct thp_why *why)
{
	const enum thp_kind *kind = arg;
	struct thp_peer *p = thp_peers;
	struct thp_meter m;
	int ret;

	ret = share(*kind, 2, &m, why);
	if (!ret)
		ret = child_write(&p[0], thp_env.nr - 1, SEED_CHILD, why);
	if (!ret)
		ret = parent_write(thp_env.nr - 1, SEED_PARENT, why);
	if (!ret)
		ret = child_write(&p[1], 1, SEED_CHILD + 1, why);
	if (!ret)
		ret = child_sees(&p[0], THP_STATE_UNKNOWN, why);
	if (!ret)
		ret = child_sees(&p[1], THP_STATE_UNKNOWN, why);
	if (!ret)
		ret = thp_peer_end(&p[0], why);
	/* The pages of a child that is gone are nobody else's business. */
	if (!ret)
		ret = child_sees(&p[1], THP_STATE_UNKNOWN, why);
	if (!ret)
		ret = thp_peer_end(&p[1], why);
	return ret ? ret : thp_group_finish(why);
}

THP_COVERS_VARIANT(share, anon, both_write, "cow-write");
THP_COVERS_VARIANT(share, zero, both_write, "zero-write");
TEST_F(share, both_write)
{
	THP_SCENARIO(both_write, &variant->kind);
}

/* The parent drops its mapping: the child has all data, and owns it alone. */
static int parent_drops(const void *arg, struct thp_why *why)
{
	const enum thp_kind *kind = arg;
	size_t len = thp_env.unit * thp_env.pmd;
	struct thp_peer *p = thp_peers;
	struct thp_meter m;
	long long s = 0;
	unsigned int i;
	int ret;

	ret = share(*kind, 1, &m, why);
	if (!ret)
		ret = thp_meter_start(&m, 0, why);
	if (ret)
		return ret;
	if (madvise(thp_group.base, len, MADV_DONTNEED))
		return thp_why(why, -errno, "MADV_DONTNEED: %s", strerror(errno));
	ret = thp_meter_stop(&m, -thp_group_mapped(), 0, "MADV_DONTNEED of the whole", why);
	if (!ret)
		ret = thp_group_expect(THP_STATE_NONE, why);
	if (!ret)
		ret = child_sees(p, thp_kind_state(*kind), why);
	if (!ret)
		ret = thp_meter_start(&m, p->child.pid, why);
	if (!ret)
		ret = thp_peer_order(p, THP_ORDER_WRITE, middle(), SEED_CHILD, NULL, why);
	if (!ret)
		ret = thp_meter_read(&m, why);
	if (!ret)
		ret = thp_peer_order(p, THP_ORDER_STATE, 0, 0, &s, why);
	if (ret)
		return ret;
	if (s == THP_STATE_PTE && *kind == THP_ANON)
		return thp_why(why, -EAGAIN, "sole owner: range is PTE-mapped, expected reuse");
	if (s == THP_STATE_PTE)
		ret = expect_write(&m, s, "child writes", why);
	else
		ret = thp_meter_expect(&m, 0, 0, "child as sole owner writes", why);
	if (!ret)
		ret = child_sees(p, THP_STATE_UNKNOWN, why);
	for (i = 0; i < thp_group.n && !ret; i++)
		ret = thp_check_zero(thp_group.map[i].thp, thp_env.nr, why);
	return ret ? ret : thp_peer_end(p, why);
}

THP_COVERS_VARIANT(share, anon, parent_drops, "zap-pmd cow-reuse");
THP_COVERS_VARIANT(share, zero, parent_drops, "zap-pmd zero-write");
TEST_F(share, parent_drops)
{
	THP_SCENARIO(parent_drops, &variant->kind);
}

/* A hole in one process splits there, and only there. */
static int parent_punches(const void *arg, struct thp_why *why)
{
	const enum thp_kind *kind = arg;
	struct thp_peer *p = thp_peers;
	struct thp_meter m;
	unsigned int i;
	int ret;

	ret = share(*kind, 1, &m, why);
	if (!ret)
		ret = thp_meter_start(&m, 0, why);
	if (ret)
		return ret;
	for (i = 0; i < thp_group.n; i++)
		if (madvise(thp_page(&thp_group.map[i], 1), thp_env.page, MADV_DONTNEED))
			return thp_why(why, -errno, "MADV_DONTNEED: %s", strerror(errno));
	ret = thp_meter_stop(&m, thp_group_split(), thp_group.n, "MADV_DONTNEED of a page", why);
	for (i = 0; i < thp_group.n && !ret; i++)
		ret = thp_check_zero(thp_page(&thp_group.map[i], 1), 1, why);
	/* Write what is to be there, so that the common check covers the rest. */
	if (!ret)
		thp_group_write(1, SEED_PARENT);
	if (!ret)
		ret = parent_sees(THP_STATE_PTE, why);
	if (!ret)
		ret = child_sees(p, thp_kind_state(*kind), why);
	if (!ret)
		ret = thp_peer_zap(p, thp_group_mapped(), why);
	if (!ret)
		ret = thp_peer_end(p, why);
	return ret ? ret : thp_group_finish(why);
}

THP_COVERS_VARIANT(share, anon, parent_punches, "zap-dontneed fork-anon");
THP_COVERS_VARIANT(share, zero, parent_punches, "zap-dontneed fork-zero");
TEST_F(share, parent_punches)
{
	THP_SCENARIO(parent_punches, &variant->kind);
}

FIXTURE(reuse) {
	int unused;
};

FIXTURE_SETUP(reuse)
{
	thp_warm_up();
}

FIXTURE_TEARDOWN_PARENT(reuse)
{
	thp_teardown(_metadata);
}

static int after_exit(const void *arg, struct thp_why *why)
{
	struct thp_meter m;
	int ret;

	(void)arg;
	ret = share(THP_ANON, 1, &m, why);
	if (!ret)
		ret = child_sees(&thp_peers[0], THP_STATE_PMD, why);
	if (!ret)
		ret = thp_peer_end(&thp_peers[0], why);
	if (!ret)
		ret = sole_owner_writes("write after the child's exit", why);
	if (!ret)
		ret = parent_sees(THP_STATE_PMD, why);
	return ret ? ret : thp_group_finish(why);
}

THP_COVERS(reuse, after_exit, "cow-reuse");
TEST_F(reuse, after_exit)
{
	THP_SCENARIO(after_exit, NULL);
}

/* The child lives on, but has copied everything. */
static int after_copies(const void *arg, struct thp_why *why)
{
	struct thp_meter m;
	int ret;

	(void)arg;
	ret = share(THP_ANON, 1, &m, why);
	if (!ret)
		ret = thp_peer_order(&thp_peers[0], THP_ORDER_FILL, SEED_CHILD, 0, NULL, why);
	if (!ret)
		ret = sole_owner_writes("write after the child copied all", why);
	if (!ret)
		ret = parent_sees(THP_STATE_PMD, why);
	if (!ret)
		ret = child_sees(&thp_peers[0], THP_STATE_PTE, why);
	if (!ret)
		ret = thp_peer_end(&thp_peers[0], why);
	return ret ? ret : thp_group_finish(why);
}

THP_COVERS(reuse, after_copies, "cow-reuse cow-write");
TEST_F(reuse, after_copies)
{
	THP_SCENARIO(after_copies, NULL);
}

/* A page lent to a pipe counts as a user: the parent must not write to it. */
static int lent_page(const void *arg, struct thp_why *why)
{
	const bool *returned = arg;
	struct iovec iov;
	unsigned int i;
	struct thp_meter m;
	int ret;

	ret = open_pipe(why);
	if (!ret)
		ret = thp_group_new(THP_ANON, 0, why);
	if (!ret)
		ret = thp_peers_prepare(1, why);
	if (ret)
		return ret;
	iov.iov_len = thp_env.page;
	for (i = 0; i < thp_group.n; i++) {
		iov.iov_base = thp_page(&thp_group.map[i], middle());
		if (vmsplice(pipe_fd[1], &iov, 1, 0) != (ssize_t)thp_env.page)
			return thp_why(why, -errno, "vmsplice: %s", strerror(errno));
	}
	ret = thp_meter_start(&m, 0, why);
	if (!ret)
		ret = thp_peer_start(&thp_peers[0], why);
	/* A mere reference is no pin: the child shares all the same. */
	if (!ret)
		ret = thp_meter_stop(&m, 0, 0, "fork with a lent page", why);
	if (!ret)
		ret = child_sees(&thp_peers[0], THP_STATE_PMD, why);
	if (!ret)
		ret = thp_peer_end(&thp_peers[0], why);
	if (!ret && !*returned)
		ret = parent_write(middle(), SEED_PARENT, why);
	for (i = 0; i < thp_group.n && !ret; i++) {
		if (read(pipe_fd[0], buffer, thp_env.page) != (ssize_t)thp_env.page)
			return thp_why(why, -EIO, "pipe: short read");
		ret = thp_check(buffer, thp_group.map[i].seed, middle(), 1, why);
	}
	if (!ret && *returned)
		ret = sole_owner_writes("write after the page came back", why);
	return ret ? ret : thp_group_finish(why);
}

THP_COVERS(reuse, lent_page, "cow-extra-ref");
TEST_F(reuse, lent_page)
{
	const bool returned = false;

	THP_SCENARIO(lent_page, &returned);
}

THP_COVERS(reuse, returned_page, "cow-reuse");
TEST_F(reuse, returned_page)
{
	const bool returned = true;

	THP_SCENARIO(lent_page, &returned);
}

/* io_uring fixed buffers: long-term pins that any user can take. */
#ifdef HAVE_LIBURING
static struct io_uring ring;
static bool ring_open_now;

static void ring_close(void)
{
	if (ring_open_now)
		io_uring_queue_exit(&ring);
	ring_open_now = false;
}

static int ring_open(void)
{
	int ret = io_uring_queue_init(4, &ring, 0);

	ring_open_now = !ret;
	return ret;
}

/* VmPin: what io_uring accounts for as pinned, kB. */
static uint64_t pinned_kb(void)
{
	static char text[4096];
	uint64_t kb;

	if (thp_read_file("/proc/self/status", text, sizeof(text)) < 0 ||
	    thp_field_u64(text, "VmPin", &kb))
		return 0;
	return kb;
}

/* Pins pages [first, first + count) of every THP as buffers 0 to n - 1. */
static int ring_pin(size_t first, size_t count, struct thp_why *why)
{
	struct iovec iov[THP_GROUP_MAX];
	uint64_t before = pinned_kb();
	unsigned int i;
	int ret;

	for (i = 0; i < thp_group.n; i++) {
		iov[i].iov_base = thp_page(&thp_group.map[i], first);
		iov[i].iov_len = count * thp_env.page;
	}
	ret = io_uring_register_buffers(&ring, iov, thp_group.n);
	if (ret)
		return thp_why(why, ret, "io_uring_register_buffers: %s", thp_errno_name(ret));
	if (pinned_kb() < before + thp_group.n * count * thp_env.page / 1024)
		return thp_why(why, -EPROTO, "VmPin: %llu kB, expected %llu kB and %zu pages more",
			       (unsigned long long)pinned_kb(), (unsigned long long)before,
			       thp_group.n * count);
	return 0;
}

static int ring_unpin(struct thp_why *why)
{
	int ret = io_uring_unregister_buffers(&ring);

	return ret ? thp_why(why, ret, "io_uring_unregister_buffers: %s", thp_errno_name(ret)) : 0;
}

/* One transfer of one page between the pipe and buffer @i, by its pinned pages. */
static int ring_copy(bool to_memory, unsigned int i, size_t page, struct thp_why *why)
{
	char *addr = thp_page(&thp_group.map[i], page);
	struct io_uring_sqe *sqe = io_uring_get_sqe(&ring);
	struct io_uring_cqe *cqe;
	int ret;

	if (!sqe)
		return thp_why(why, -EIO, "io_uring: no submission entry");
	if (to_memory)
		io_uring_prep_read_fixed(sqe, pipe_fd[0], addr, thp_env.page, 0, i);
	else
		io_uring_prep_write_fixed(sqe, pipe_fd[1], addr, thp_env.page, 0, i);
	ret = io_uring_submit_and_wait(&ring, 1);
	if (ret == 1)
		ret = io_uring_wait_cqe(&ring, &cqe);
	if (ret < 0)
		return thp_why(why, ret, "io_uring: %s", thp_errno_name(ret));
	ret = cqe->res;
	io_uring_cqe_seen(&ring, cqe);
	if (ret == (int)thp_env.page)
		return 0;
	return thp_why(why, -EIO, "io_uring %s: %d, expected %zu bytes",
		       to_memory ? "read" : "write", ret, thp_env.page);
}
#else
static void ring_close(void)
{
}

static int ring_open(void)
{
	return -ENODEV;
}

static int ring_pin(size_t first, size_t count, struct thp_why *why)
{
	(void)first;
	(void)count;
	return thp_why(why, -ENODEV, "built without liburing");
}

static int ring_unpin(struct thp_why *why)
{
	return ring_pin(0, 0, why);
}

static int ring_copy(bool to_memory, unsigned int i, size_t page, struct thp_why *why)
{
	(void)to_memory;
	return ring_pin(i, page, why);
}
#endif

/* SKIP where a sandbox forbids io_uring (EPERM, ENOSYS), despite the sysctl. */
#define THP_NEEDS_RING() do {						\
	int __ring;							\
									\
	THP_NEEDS(THP_NEED_URING);					\
	__ring = ring_open();						\
	if (__ring == -ENOSYS || __ring == -EPERM)			\
		THP_SKIP("needs liburing and io_uring");		\
	THP_REQUIRE(!__ring, "io_uring_queue_init: %s", thp_errno_name(__ring)); \
	ring_close();							\
} while (0)

/*
 * The pinned page is still the parent's: the device reads what the parent wrote
 * last, and the parent reads what the device wrote.
 */
static int ring_coherent(size_t page, struct thp_why *why)
{
	unsigned int i;
	int ret;

	thp_group_write(page, SEED_PARENT);
	for (i = 0; i < thp_group.n; i++) {
		ret = ring_copy(false, i, page, why);
		if (ret)
			return ret;
		if (read(pipe_fd[0], buffer, thp_env.page) != (ssize_t)thp_env.page)
			return thp_why(why, -EIO, "pipe: short read");
		if (memcmp(buffer, thp_page(&thp_group.map[i], page), thp_env.page))
			return thp_why(why, -EILSEQ,
				       "pinned page %zu of THP %u is not the one that is mapped",
				       page, i);
		thp_group_fill(buffer, i, page, SEED_DEVICE);
		if (write(pipe_fd[1], buffer, thp_env.page) != (ssize_t)thp_env.page)
			return thp_why(why, -EIO, "pipe: short write");
		ret = ring_copy(true, i, page, why);
		if (ret)
			return ret;
	}
	thp_group_note(page, SEED_DEVICE);
	return thp_group_check(why);
}

FIXTURE(pinned) {
	int unused;
};

enum pin_at { PIN_FIRST, PIN_MIDDLE, PIN_LAST, PIN_WHOLE };

FIXTURE_VARIANT(pinned) {
	enum pin_at at;
	uint64_t needs;
};

FIXTURE_VARIANT_ADD(pinned, first) { .at = PIN_FIRST };
FIXTURE_VARIANT_ADD(pinned, middle) { .at = PIN_MIDDLE };
FIXTURE_VARIANT_ADD(pinned, last) { .at = PIN_LAST };
FIXTURE_VARIANT_ADD(pinned, whole) { .at = PIN_WHOLE, .needs = THP_NEED_LIMIT };

FIXTURE_SETUP(pinned)
{
	THP_NEEDS(variant->needs);
	THP_NEEDS_RING();
	thp_warm_up();
}

FIXTURE_TEARDOWN_PARENT(pinned)
{
	thp_teardown(_metadata);
}

/* A page to look at among the pinned ones. */
static size_t pin_page(enum pin_at at)
{
	switch (at) {
	case PIN_FIRST: return 0;
	case PIN_LAST: return thp_env.nr - 1;
	default: return middle();
	}
}

static int pin_group(enum pin_at at, struct thp_why *why)
{
	struct thp_meter m;
	int ret;

	ret = open_pipe(why);
	if (!ret && ring_open())
		ret = thp_why(why, -EIO, "io_uring_queue_init failed");
	if (!ret)
		ret = thp_group_new(THP_ANON, 0, why);
	if (!ret)
		ret = thp_peers_prepare(1, why);
	if (!ret)
		ret = thp_meter_start(&m, 0, why);
	if (!ret && at == PIN_WHOLE)
		ret = ring_pin(0, thp_env.nr, why);
	else if (!ret)
		ret = ring_pin(pin_page(at), 1, why);
	return ret ? ret : thp_meter_stop(&m, 0, 0, "pinning", why);
}

/*
 * A pinned page cannot be shared, so fork() splits the parent's PMD and copies
 * that page to the child: both have a table then, whatever the kernel.
 */
static int fork_pinned(const void *arg, struct thp_why *why)
{
	const enum pin_at *at = arg;
	size_t page = pin_page(*at);
	struct thp_peer *p = thp_peers;
	struct thp_meter m;
	int ret;

	ret = pin_group(*at, why);
	if (!ret)
		ret = thp_meter_start(&m, 0, why);
	if (!ret)
		ret = thp_peer_start(p, why);
	if (!ret)
		ret = thp_meter_stop(&m, thp_group_split(), thp_group.n, "fork of pinned THPs",
				     why);
	if (!ret)
		ret = parent_sees(THP_STATE_PTE, why);
	if (!ret)
		ret = child_sees(p, THP_STATE_PTE, why);
	if (!ret)
		ret = ring_coherent(page, why);
	if (!ret)
		ret = child_sees(p, THP_STATE_UNKNOWN, why);
	/* The child's copy is its own, too. */
	if (!ret)
		ret = thp_peer_order(p, THP_ORDER_WRITE, page, SEED_CHILD, NULL, why);
	if (!ret)
		ret = child_sees(p, THP_STATE_UNKNOWN, why);
	if (!ret)
		ret = ring_coherent(page, why);
	if (!ret)
		ret = ring_unpin(why);
	if (!ret)
		ret = thp_peer_zap(p, thp_group.n, why);
	if (!ret)
		ret = thp_peer_end(p, why);
	return ret ? ret : thp_group_finish(why);
}

THP_COVERS(pinned, fork, "fork-pinned");
TEST_F(pinned, fork)
{
	THP_SCENARIO(fork_pinned, &variant->at);
}

/* MADV_DONTFORK is how users of pins avoid all that: no split, no copy. */
static int dontfork_pinned(const void *arg, struct thp_why *why)
{
	const enum pin_at *at = arg;
	struct thp_meter m;
	int ret;

	ret = pin_group(*at, why);
	if (ret)
		return ret;
	if (madvise(thp_group.base, thp_group.n * thp_env.pmd, MADV_DONTFORK))
		return thp_why(why, -errno, "MADV_DONTFORK: %s", strerror(errno));
	ret = thp_meter_start(&m, 0, why);
	if (!ret)
		ret = thp_peer_start(&thp_peers[0], why);
	if (!ret)
		ret = ring_coherent(pin_page(*at), why);
	if (!ret)
		ret = thp_meter_stop(&m, 0, 0, "fork without the pinned THPs", why);
	if (!ret)
		ret = thp_group_expect(THP_STATE_PMD, why);
	if (!ret)
		ret = thp_peer_end(&thp_peers[0], why);
	if (!ret)
		ret = ring_unpin(why);
	return ret ? ret : thp_group_finish(why);
}

THP_COVERS(pinned, dontfork, "fork-dontfork");
TEST_F(pinned, dontfork)
{
	THP_SCENARIO(dontfork_pinned, &variant->at);
}

/* Once the pin is gone, fork() shares the PMD again. */
static int fork_unpinned(const void *arg, struct thp_why *why)
{
	const enum pin_at *at = arg;
	struct thp_peer *p = thp_peers;
	struct thp_meter m;
	int ret;

	ret = pin_group(*at, why);
	if (!ret)
		ret = ring_unpin(why);
	if (!ret)
		ret = thp_meter_start(&m, 0, why);
	if (!ret)
		ret = thp_peer_start(p, why);
	if (ret)
		return ret;
	ret = thp_meter_read(&m, why);
	if (ret)
		return ret;
	/* The kernel may drop the pins of a freed buffer a moment later. */
	if (m.ev[1].split_pmd != m.ev[0].split_pmd)
		return thp_why(why, -EAGAIN, "fork after unpinning splits");
	ret = thp_meter_expect(&m, 0, 0, "fork after unpinning", why);
	if (!ret)
		ret = child_sees(p, THP_STATE_PMD, why);
	if (!ret)
		ret = thp_peer_zap(p, thp_group_mapped(), why);
	if (!ret)
		ret = thp_peer_end(p, why);
	return ret ? ret : thp_group_finish(why);
}

THP_COVERS(pinned, released, "fork-anon");
TEST_F(pinned, released)
{
	THP_SCENARIO(fork_unpinned, &variant->at);
}

/* Writes that the kernel does for the owner of the memory or for somebody else. */
struct writer {
	/* Gives page @page of THP @i, mapped by @pid, the contents of @buffer. */
	int (*write)(pid_t pid, unsigned int i, size_t page, struct thp_why *why);
	bool to_child;		/* into the memory of the child, not our own */
	bool prefault;		/* only gets the memory ready: contents stay */
};

/* Kernel-mode fault of copy_to_user(). */
static int write_by_read(pid_t pid, unsigned int i, size_t page, struct thp_why *why)
{
	ssize_t n;

	(void)pid;
	if (write(pipe_fd[1], buffer, thp_env.page) != (ssize_t)thp_env.page)
		return thp_why(why, -EIO, "pipe: short write");
	n = read(pipe_fd[0], thp_page(&thp_group.map[i], page), thp_env.page);
	if (n == (ssize_t)thp_env.page)
		return 0;
	return thp_why(why, -EIO, "read(2) into a shared THP: %zd (%s), expected %zu", n,
		       n < 0 ? thp_errno_name(errno) : "short", thp_env.page);
}

static int write_by_populate(pid_t pid, unsigned int i, size_t page, struct thp_why *why)
{
	(void)pid;
	if (!madvise(thp_page(&thp_group.map[i], page), thp_env.page, MADV_POPULATE_WRITE))
		return 0;
	return thp_why(why, -errno, "MADV_POPULATE_WRITE: %s", strerror(errno));
}

static int write_by_proc_mem(pid_t pid, unsigned int i, size_t page, struct thp_why *why)
{
	char path[64];
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/mem", pid);
	fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return thp_why(why, -errno, "%s: %s", path, strerror(errno));
	n = pwrite(fd, buffer, thp_env.page, (uintptr_t)thp_page(&thp_group.map[i], page));
	close(fd);
	if (n == (ssize_t)thp_env.page)
		return 0;
	return thp_why(why, -EIO, "write to %s: %zd, expected %zu", path, n, thp_env.page);
}

static int write_by_vm_writev(pid_t pid, unsigned int i, size_t page, struct thp_why *why)
{
	struct iovec local = { buffer, thp_env.page };
	struct iovec remote = { thp_page(&thp_group.map[i], page), thp_env.page };
	ssize_t n = process_vm_writev(pid, &local, 1, &remote, 1, 0);

	if (n == (ssize_t)thp_env.page)
		return 0;
	return thp_why(why, n < 0 ? -errno : -EIO, "process_vm_writev: %zd (%s), expected %zu", n,
		       n < 0 ? thp_errno_name(errno) : "short", thp_env.page);
}

static int write_by_ptrace(pid_t pid, unsigned int i, size_t page, struct thp_why *why)
{
	char *addr = thp_page(&thp_group.map[i], page);
	int status, ret = 0;
	size_t off;
	long word;

	if (ptrace(PTRACE_SEIZE, pid, NULL, NULL) || ptrace(PTRACE_INTERRUPT, pid, NULL, NULL) ||
	    waitpid(pid, &status, __WALL) != pid || !WIFSTOPPED(status))
		return thp_why(why, -errno, "ptrace: %s", strerror(errno));
	for (off = 0; off < thp_env.page && !ret; off += sizeof(word)) {
		memcpy(&word, buffer + off, sizeof(word));
		if (ptrace(PTRACE_POKEDATA, pid, addr + off, word))
			ret = thp_why(why, -errno, "PTRACE_POKEDATA: %s", strerror(errno));
	}
	if (ptrace(PTRACE_DETACH, pid, NULL, NULL) && !ret)
		ret = thp_why(why, -errno, "PTRACE_DETACH: %s", strerror(errno));
	return ret;
}

FIXTURE(writer) {
	int unused;
};

struct writer_case {
	enum thp_kind kind;
	struct writer writer;
};

FIXTURE_VARIANT(writer) {
	struct writer_case c;
	uint64_t needs;
};

FIXTURE_VARIANT_ADD(writer, read_anon) {
	.c = { THP_ANON, { .write = write_by_read } },
};

FIXTURE_VARIANT_ADD(writer, read_zero) {
	.c = { THP_ZERO, { .write = write_by_read } }, .needs = THP_NEED_ZERO,
};

FIXTURE_VARIANT_ADD(writer, populate_anon) {
	.c = { THP_ANON, { .write = write_by_populate, .prefault = true } },
	.needs = THP_NEED_POPULATE,
};

FIXTURE_VARIANT_ADD(writer, populate_zero) {
	.c = { THP_ZERO, { .write = write_by_populate, .prefault = true } },
	.needs = THP_NEED_POPULATE | THP_NEED_ZERO,
};

FIXTURE_VARIANT_ADD(writer, proc_mem_anon) {
	.c = { THP_ANON, { .write = write_by_proc_mem } },
};

FIXTURE_VARIANT_ADD(writer, vm_writev_anon) {
	.c = { THP_ANON, { .write = write_by_vm_writev, .to_child = true } },
};

FIXTURE_VARIANT_ADD(writer, vm_writev_zero) {
	.c = { THP_ZERO, { .write = write_by_vm_writev, .to_child = true } },
	.needs = THP_NEED_ZERO,
};

FIXTURE_VARIANT_ADD(writer, ptrace_anon) {
	.c = { THP_ANON, { .write = write_by_ptrace, .to_child = true } },
};

FIXTURE_SETUP(writer)
{
	THP_NEEDS(variant->needs);
	thp_warm_up();
}

FIXTURE_TEARDOWN_PARENT(writer)
{
	thp_teardown(_metadata);
}

static int foreign_write(const void *arg, struct thp_why *why)
{
	const struct writer_case *c = arg;
	pid_t target = 0;	/* self */
	struct thp_peer *p = thp_peers;
	enum thp_state mine = THP_STATE_UNKNOWN;
	size_t page = middle();
	struct thp_meter m;
	long long s = 0;
	unsigned int i;
	int ret;

	ret = open_pipe(why);
	if (!ret)
		ret = share(c->kind, 1, &m, why);
	if (ret)
		return ret;
	if (c->writer.to_child)
		target = p->child.pid;
	ret = thp_meter_start(&m, target, why);
	for (i = 0; i < thp_group.n && !ret; i++) {
		thp_group_fill(buffer, i, page, SEED_DEVICE);
		ret = c->writer.write(target ? target : getpid(), i, page, why);
	}
	if (!ret)
		ret = thp_meter_read(&m, why);
	if (!ret && c->writer.to_child) {
		ret = thp_peer_order(p, THP_ORDER_NOTE, page, SEED_DEVICE, NULL, why);
		if (!ret)
			ret = thp_peer_order(p, THP_ORDER_STATE, 0, 0, &s, why);
		mine = s;
	} else if (!ret) {
		if (!c->writer.prefault)
			thp_group_note(page, SEED_DEVICE);
		ret = thp_group_state(&mine, why);
	}
	if (!ret)
		ret = expect_write(&m, mine, "kernel writes", why);
	if (!ret)
		ret = thp_group_check(why);
	if (!ret)
		ret = child_sees(p, THP_STATE_UNKNOWN, why);
	/* The other one did not notice. */
	if (!ret && c->writer.to_child)
		ret = thp_group_expect(thp_kind_state(c->kind), why);
	else if (!ret)
		ret = thp_peer_expect(p, thp_kind_state(c->kind), why);
	if (!ret)
		ret = thp_peer_end(p, why);
	return ret ? ret : thp_group_finish(why);
}

THP_COVERS_VARIANT(writer, read_anon, isolated, "cow-kernel-write");
THP_COVERS_VARIANT(writer, read_zero, isolated, "zero-write cow-kernel-write");
THP_COVERS_VARIANT(writer, populate_anon, isolated, "cow-gup");
THP_COVERS_VARIANT(writer, populate_zero, isolated, "zero-write cow-gup");
THP_COVERS_VARIANT(writer, proc_mem_anon, isolated, "cow-gup");
THP_COVERS_VARIANT(writer, vm_writev_anon, isolated, "cow-gup");
THP_COVERS_VARIANT(writer, vm_writev_zero, isolated, "zero-write cow-gup");
THP_COVERS_VARIANT(writer, ptrace_anon, isolated, "cow-gup");
TEST_F(writer, isolated)
{
	struct thp_why why = { 0 };
	int ret;

	ret = attempt(foreign_write, &variant->c, &why);
	/* Sandboxes and kernel.yama.ptrace_scope forbid it. */
	if (ret == -EPERM && variant->c.writer.to_child)
		THP_SKIP("needs permission to trace a child");
	THP_REQUIRE_RESULT(ret, &why);
}

FIXTURE(longterm) {
	int unused;
};

FIXTURE_SETUP(longterm)
{
	thp_warm_up();
}

FIXTURE_TEARDOWN_PARENT(longterm)
{
	thp_teardown(_metadata);
}

/* Other memory in place of that in a range: MADV_DONTNEED may leave an empty table. */
static int anew(char *at, size_t len, struct thp_why *why)
{
	if (mmap(at, len, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0) == MAP_FAILED ||
	    madvise(at, len, MADV_HUGEPAGE))
		return thp_why(why, -errno, "mmap: %s", strerror(errno));
	return 0;
}

#define PINNED_FORKS	200

/* Only to be seen in all of the system: a table that was meant for the child. */
static int fork_pinned_often(const void *arg, struct thp_why *why)
{
	const enum pin_at *at = arg;
	unsigned int i, k;
	int ret, status;
	pid_t pid;

	ret = pin_group(*at, why);
	for (i = 0; i < PINNED_FORKS && !ret; i++) {
		pid = fork();
		if (!pid)
			_exit(0);
		if (pid < 0 || waitpid(pid, &status, 0) != pid)
			return thp_why(why, -errno, "fork: %s", strerror(errno));
		ret = ring_unpin(why);
		if (!ret)
			ret = anew(thp_group.base, thp_group.n * thp_env.pmd, why);
		if (ret)
			break;
		for (k = 0; k < thp_group.n; k++)
			thp_touch(thp_group.map[k].thp);
		ret = ring_pin(pin_page(*at), 1, why);
	}
	if (!ret)
		ret = ring_unpin(why);
	thp_group_free();
	return ret;
}

THP_COVERS(longterm, fork_no_leak, "fork-pinned leak-page-tables");
TEST_F_TIMEOUT(longterm, fork_no_leak, 120)
{
	/* A page is there as long as one of its tables is. */
	long long slack = PINNED_FORKS / 4 * (long long)thp_env.page / 1024, before;
	const enum pin_at at = PIN_MIDDLE;
	struct thp_why why = { 0 };

	THP_NEEDS_RING();
	THP_NEEDS(THP_NEED_STATS);
	THP_REQUIRE_OK(thp_race_residue(&before), &why);
	THP_SCENARIO(fork_pinned_often, &at);
	THP_CHECK_OK(thp_race_no_residue(before, slack, &why), &why);
}

/* A pin of shared memory has to take a copy first: it must see later writes. */
static int ring_after_fork(const void *arg, struct thp_why *why)
{
	struct thp_peer *p = thp_peers;
	struct thp_meter m;
	int ret;

	(void)arg;
	ret = open_pipe(why);
	if (!ret && ring_open())
		ret = thp_why(why, -EIO, "io_uring_queue_init failed");
	if (!ret)
		ret = share(THP_ANON, 1, &m, why);
	if (!ret)
		ret = thp_meter_start(&m, 0, why);
	if (!ret)
		ret = ring_pin(middle(), 1, why);
	if (!ret)
		ret = thp_meter_stop(&m, thp_group_split(), thp_group.n, "pinning shared THPs",
				     why);
	if (!ret)
		ret = parent_sees(THP_STATE_PTE, why);
	if (!ret)
		ret = ring_coherent(middle(), why);
	if (!ret)
		ret = child_sees(p, THP_STATE_PMD, why);
	if (!ret)
		ret = thp_peer_end(p, why);
	if (!ret)
		ret = ring_unpin(why);
	return ret ? ret : thp_group_finish(why);
}

THP_COVERS(longterm, write_pin, "cow-gup");
TEST_F(longterm, write_pin)
{
	THP_NEEDS_RING();
	THP_SCENARIO(ring_after_fork, NULL);
}

/* A read-only pin of a shared page unshares it, as if it were written. */
static int unshare_page(const void *arg, struct thp_why *why)
{
	const __u32 *flags = arg;
	struct thp_peer *p = thp_peers;
	char path[192], *copy;
	struct thp_gup_pin pin;
	struct thp_meter m;
	size_t len, off;
	__u64 dst;
	int ret;

	snprintf(path, sizeof(path), "%s/gup_test", thp_env.debugfs);
	extra_fd = open(path, O_RDWR | O_CLOEXEC);
	if (extra_fd < 0)
		return thp_why(why, -errno, "%s: %s", path, strerror(errno));
	/* From the middle of the first THP to that of the last: a page of each. */
	len = ((thp_env.unit - 1) * thp_env.nr + 1) * thp_env.page;
	copy = mmap(NULL, len, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	if (copy == MAP_FAILED)
		return thp_why(why, -errno, "mmap: %s", strerror(errno));
	ret = share(THP_ANON, 1, &m, why);
	if (!ret)
		ret = thp_meter_start(&m, 0, why);
	if (ret)
		goto out;
	pin.addr = (uintptr_t)thp_page(&thp_group.map[0], middle());
	pin.size = len;
	pin.flags = *flags;
	if (ioctl(extra_fd, THP_GUP_PIN, &pin)) {
		ret = thp_why(why, -errno, "read-only long-term pin: %s", strerror(errno));
		goto out;
	}
	ret = thp_meter_stop(&m, thp_group_split(), thp_group.n, "read-only long-term pin", why);
	if (!ret)
		ret = parent_sees(THP_STATE_PTE, why);
	if (!ret)
		ret = child_sees(p, THP_STATE_PMD, why);
	if (ret)
		goto out;
	/* The pin sees what is written later, the child does not. */
	thp_group_write(middle(), SEED_PARENT);
	dst = (uintptr_t)copy;
	if (ioctl(extra_fd, THP_GUP_READ, &dst)) {
		ret = thp_why(why, -errno, "reading the pinned page: %s", strerror(errno));
		goto out;
	}
	for (off = 0; off < len && !ret; off += thp_env.page)
		if (memcmp(copy + off, (char *)(uintptr_t)pin.addr + off, thp_env.page))
			ret = thp_why(why, -EILSEQ, "pinned page %zu is not the one that is mapped",
				      off / thp_env.page);
	if (!ret)
		ret = child_sees(p, THP_STATE_PMD, why);
	if (!ret)
		ret = thp_peer_zap(p, thp_group_mapped(), why);
	if (!ret)
		ret = thp_peer_end(p, why);
	if (ioctl(extra_fd, THP_GUP_UNPIN) && !ret)
		ret = thp_why(why, -errno, "unpinning: %s", strerror(errno));
	if (!ret)
		ret = thp_group_finish(why);
out:
	munmap(copy, len);
	return ret;
}

THP_COVERS(longterm, read_pin, "cow-unshare");
TEST_F(longterm, read_pin)
{
	const __u32 flags = 0;

	THP_NEEDS(THP_NEED_GUP_TEST);
	THP_SCENARIO(unshare_page, &flags);
}

THP_COVERS(longterm, read_pin_fast, "cow-unshare");
TEST_F(longterm, read_pin_fast)
{
	const __u32 flags = THP_GUP_FAST;

	THP_NEEDS(THP_NEED_GUP_TEST);
	THP_SCENARIO(unshare_page, &flags);
}

FIXTURE(advice) {
	int unused;
};

FIXTURE_SETUP(advice)
{
	thp_warm_up();
}

FIXTURE_TEARDOWN_PARENT(advice)
{
	thp_teardown(_metadata);
}

/* The child starts with nothing, the parent keeps its data and its PMDs. */
static int wipe_on_fork(const void *arg, struct thp_why *why)
{
	struct thp_peer *p = thp_peers;
	struct thp_meter m;
	int ret;

	(void)arg;
	ret = thp_group_new(THP_ANON, 0, why);
	if (!ret)
		ret = thp_peers_prepare(1, why);
	if (ret)
		return ret;
	if (madvise(thp_group.base, thp_group.n * thp_env.pmd, MADV_WIPEONFORK))
		return thp_why(why, -errno, "MADV_WIPEONFORK: %s", strerror(errno));
	ret = thp_meter_start(&m, 0, why);
	if (!ret)
		ret = thp_peer_start(p, why);
	if (!ret)
		ret = thp_meter_stop(&m, 0, 0, "fork with MADV_WIPEONFORK", why);
	if (!ret)
		ret = thp_peer_order(p, THP_ORDER_ZERO, 0, 0, NULL, why);
	if (!ret)
		ret = thp_peer_order(p, THP_ORDER_FILL, SEED_CHILD, 0, NULL, why);
	if (!ret)
		ret = child_sees(p, THP_STATE_UNKNOWN, why);
	/* Nothing is shared: the parent's write costs nothing. */
	if (!ret)
		ret = sole_owner_writes("write of what is not shared", why);
	if (!ret)
		ret = thp_peer_end(p, why);
	return ret ? ret : thp_group_finish(why);
}

THP_COVERS(advice, wipeonfork, "fork-wipeonfork");
TEST_F(advice, wipeonfork)
{
	THP_SCENARIO(wipe_on_fork, NULL);
}

/* Half of a THP is not inherited: the advice splits, and the child gets a table. */
static int dontfork_half(const void *arg, struct thp_why *why)
{
	size_t half = thp_env.pmd / 2, page = thp_env.nr / 4;
	struct thp_peer *p = thp_peers;
	struct thp_meter m;
	long long freed;
	unsigned int i;
	int ret;

	(void)arg;
	ret = thp_group_new(THP_ANON, 0, why);
	if (!ret)
		ret = thp_peers_prepare(1, why);
	if (!ret)
		ret = thp_meter_start(&m, 0, why);
	if (ret)
		return ret;
	for (i = 0; i < thp_group.n; i++)
		if (madvise(thp_group.map[i].thp + half, half, MADV_DONTFORK))
			return thp_why(why, -errno, "MADV_DONTFORK: %s", strerror(errno));
	ret = thp_meter_stop(&m, thp_group_split(), thp_group.n, "MADV_DONTFORK of one half", why);
	if (!ret)
		ret = thp_meter_start(&m, 0, why);
	if (!ret)
		ret = thp_peer_start(p, why);
	if (!ret)
		ret = thp_meter_stop(&m, 0, 0, "fork of split THPs", why);
	if (!ret)
		ret = parent_sees(THP_STATE_PTE, why);
	if (ret)
		return ret;
	thp_group_write(page, SEED_PARENT);
	/* One THP of the unit is enough to see that there is a table in the child. */
	ret = thp_peer_order(p, THP_ORDER_ZAP, 0, thp_group.n * thp_env.pmd, &freed, why);
	if (!ret && freed != (long long)(thp_group.n * thp_env.table))
		ret = thp_why(why, -EPROTO, "child frees %lld B of tables, expected %zu", freed,
			      thp_group.n * thp_env.table);
	if (!ret)
		ret = thp_peer_end(p, why);
	return ret ? ret : thp_group_finish(why);
}

THP_COVERS(advice, dontfork_half, "fork-dontfork split-madvise-flags");
TEST_F(advice, dontfork_half)
{
	THP_SCENARIO(dontfork_half, NULL);
}

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
	ret = parent_sees(THP_STATE_PMD, why);
	if (!ret && depth < DEPTH)
		ret = thp_child_run(generation, &next, THP_STEP_MS, why);
	if (!ret)
		ret = parent_sees(THP_STATE_PMD, why);
	if (!ret)
		ret = thp_meter_start(&m, 0, why);
	if (ret)
		return ret;
	thp_group_write(depth, SEED_CHILD + depth);
	ret = thp_meter_stop(&m, thp_group_split(), thp_group.n, "descendant writes", why);
	/* An exit code cannot ask for another try; other tests look at excess splits. */
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
	int first = 1, ret;

	(void)arg;
	ret = thp_group_new(THP_ANON, 0, why);
	if (!ret)
		ret = thp_peers_prepare(1, why);
	if (!ret)
		ret = thp_meter_start(&m, 0, why);
	if (!ret && thp_child_start(&thp_peers[0].child, generation, &first))
		ret = thp_why(why, -errno, "fork: %s", strerror(errno));
	if (!ret)
		ret = thp_child_join(&thp_peers[0].child, THP_STEP_MS, why);
	if (!ret)
		ret = parent_sees(THP_STATE_PMD, why);
	if (!ret)
		ret = sole_owner_writes("write after all descendants", why);
	return ret ? ret : thp_group_finish(why);
}

THP_COVERS(many, nested, "fork-anon cow-write cow-reuse");
TEST_F(many, nested)
{
	THP_SCENARIO(nested, NULL);
}

/* Children that come and go leave nothing behind in the parent. */
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

/* Only exists: many that poll for orders would keep a slow machine busy. */
static int idle(struct thp_chan *chan, void *arg)
{
	(void)arg;
	thp_warm_up();
	thp_chan_post_parent(chan, 1);
	while (pause())
		continue;
	return 0;
}

/* PageTables of /proc/meminfo that BULK_PEERS children add. */
static int bulk_round(long long *kb, struct thp_why *why)
{
	long long before, after;
	unsigned int i;
	int ret;

	ret = thp_peers_prepare(BULK_PEERS, why);
	if (ret)
		return ret;
	thp_obs_settle();
	before = thp_obs_pagetables_kb();
	for (i = 0; i < BULK_PEERS && !ret; i++) {
		ret = thp_child_start(&thp_peers[i].child, idle, NULL);
		if (!ret)
			ret = thp_child_await(&thp_peers[i].child, 1, THP_STEP_MS);
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
 * What users look at: children with the THPs against children without, so that
 * their other tables cancel out. Tolerance: a quarter of what is expected of an
 * eager kernel, as all other processes are counted as well.
 */
static int bulk(const void *arg, struct thp_why *why)
{
	long long want, slack, with, without;
	int ret;

	(void)arg;
	ret = thp_group_new(THP_ANON, BULK_THPS, why);
	if (ret)
		return ret;
	want = thp_group_mapped() * BULK_PEERS * (long long)thp_env.table / 1024;
	slack = BULK_THPS * BULK_PEERS * (long long)thp_env.table / 1024 / 4;
	ret = bulk_round(&with, why);
	if (ret)
		return ret;
	if (madvise(thp_group.base, thp_group.n * thp_env.pmd, MADV_DONTFORK))
		return thp_why(why, -errno, "MADV_DONTFORK: %s", strerror(errno));
	ret = bulk_round(&without, why);
	if (ret)
		return ret;
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

/* Operations on the folio that reach every process that maps it. */
FIXTURE(shared) {
	struct thp_cg cg;
};

FIXTURE_SETUP(shared)
{
	thp_warm_up();
}

FIXTURE_TEARDOWN_PARENT(shared)
{
	THP_CHECK(!thp_cg_destroy(&self->cg), "control group cannot be removed");
	thp_teardown(_metadata);
}

#define SHARERS	3

/* Starts to count the parent and its SHARERS children. */
static int meters_start(struct thp_meter *m, struct thp_why *why)
{
	int ret, i;

	ret = thp_meter_start(&m[SHARERS], 0, why);
	for (i = 0; i < SHARERS && !ret; i++)
		ret = thp_meter_start(&m[i], thp_peers[i].child.pid, why);
	return ret;
}

static int meters_read(struct thp_meter *m, struct thp_why *why)
{
	int ret, i;

	ret = thp_meter_read(&m[SHARERS], why);
	for (i = 0; i < SHARERS && !ret; i++)
		ret = thp_meter_read(&m[i], why);
	return ret;
}

/* One PMD split and, if lazy, one table per THP in each process. */
static int meters_expect_split(const struct thp_meter *m, const char *what, struct thp_why *why)
{
	int ret, i;

	ret = thp_meter_expect(&m[SHARERS], thp_group_split(), (SHARERS + 1) * thp_group.n, what,
			       why);
	for (i = 0; i < SHARERS && !ret; i++)
		ret = thp_meter_expect(&m[i], thp_group_split(), (SHARERS + 1) * thp_group.n,
				       what, why);
	return ret;
}

/* All see the old data; then each writes and sees what it wrote itself. */
static int still_isolated(struct thp_why *why)
{
	int ret, i;

	ret = thp_group_check(why);
	for (i = 0; i < SHARERS && !ret; i++)
		ret = child_sees(&thp_peers[i], THP_STATE_UNKNOWN, why);
	if (ret)
		return ret;
	thp_group_write(middle(), SEED_PARENT);
	for (i = 0; i < SHARERS && !ret; i++)
		ret = thp_peer_order(&thp_peers[i], THP_ORDER_WRITE, middle(), SEED_CHILD + i * 256,
				     NULL, why);
	if (!ret)
		ret = thp_group_check(why);
	for (i = 0; i < SHARERS && !ret; i++)
		ret = child_sees(&thp_peers[i], THP_STATE_UNKNOWN, why);
	for (i = 0; i < SHARERS && !ret; i++)
		ret = thp_peer_zap(&thp_peers[i], thp_group.n, why);
	for (i = 0; i < SHARERS && !ret; i++)
		ret = thp_peer_end(&thp_peers[i], why);
	return ret ? ret : thp_group_finish(why);
}

static int split_folio(pid_t pid, unsigned int i)
{
	char path[192];

	snprintf(path, sizeof(path), "%s/split_huge_pages", thp_env.debugfs);
	return thp_write_fmt(path, "%d,0x%lx,0x%lx", pid, (unsigned long)thp_group.map[i].thp,
			     (unsigned long)thp_group.map[i].thp + thp_env.pmd);
}

static int split_everywhere(const void *arg, struct thp_why *why)
{
	struct thp_meter m[SHARERS + 1];
	unsigned int i;
	int ret;

	(void)arg;
	ret = share(THP_ANON, SHARERS, &m[0], why);
	if (!ret)
		ret = meters_start(m, why);
	for (i = 0; i < thp_group.n && !ret; i++) {
		/* By way of a child: whoever is named, all are affected. */
		ret = split_folio(thp_peers[i % SHARERS].child.pid, i);
		if (ret)
			return thp_why(why, ret, "split_huge_pages: %s", thp_errno_name(ret));
	}
	if (!ret)
		ret = meters_read(m, why);
	if (ret)
		return ret;
	/* Somebody may hold a reference for a moment; the file does not tell. */
	if (m[SHARERS].ev[1].split_page - m[SHARERS].ev[0].split_page < thp_group.n)
		return thp_why(why, -EAGAIN, "split_huge_pages: thp_split_page +%llu, expected +%u",
			       (unsigned long long)(m[SHARERS].ev[1].split_page -
						    m[SHARERS].ev[0].split_page), thp_group.n);
	/* It is asked for every page: a later try must not hide that the first has failed. */
	if (m[SHARERS].ev[1].split_page_failed != m[SHARERS].ev[0].split_page_failed)
		return thp_why(why, -EAGAIN,
			       "split_huge_pages: thp_split_page_failed %+lld, expected +0",
			       (long long)(m[SHARERS].ev[1].split_page_failed -
					   m[SHARERS].ev[0].split_page_failed));
	ret = meters_expect_split(m, "folio split", why);
	for (i = 0; i < SHARERS && !ret; i++)
		ret = thp_peer_expect(&thp_peers[i], THP_STATE_PTE, why);
	if (!ret)
		ret = thp_group_expect(THP_STATE_PTE, why);
	return ret ? ret : still_isolated(why);
}

THP_COVERS(shared, folio_split, "multi-mm-split folio-split-debugfs");
TEST_F(shared, folio_split)
{
	THP_NEEDS(THP_NEED_DEBUGFS);
	THP_SCENARIO(split_everywhere, NULL);
}

/* Advice about memory that others use, too, is ignored: nothing is split. */
static int ignored_advice(const void *arg, struct thp_why *why)
{
	static const struct {
		int advice;
		const char *name;
		bool whole;
	} advices[] = {
		{ MADV_COLD, "MADV_COLD of a page", false },
		{ MADV_FREE, "MADV_FREE of a page", false },
		{ MADV_PAGEOUT, "MADV_PAGEOUT of a page", false },
		{ MADV_PAGEOUT, "MADV_PAGEOUT of the whole", true },
	};
	size_t a;
	unsigned int i;
	struct thp_meter m;
	int ret;

	(void)arg;
	ret = share(THP_ANON, 1, &m, why);
	for (a = 0; a < ARRAY_SIZE(advices) && !ret; a++) {
		ret = thp_meter_start(&m, 0, why);
		for (i = 0; i < thp_group.n && !ret; i++) {
			char *at = thp_page(&thp_group.map[i], advices[a].whole ? 0 : 1);
			size_t len = advices[a].whole ? thp_env.pmd : thp_env.page;

			if (madvise(at, len, advices[a].advice))
				return thp_why(why, -errno, "%s: %s", advices[a].name,
					       strerror(errno));
		}
		if (!ret)
			ret = thp_meter_stop(&m, 0, 0, advices[a].name, why);
	}
	if (!ret)
		ret = parent_sees(THP_STATE_PMD, why);
	if (!ret)
		ret = child_sees(&thp_peers[0], THP_STATE_PMD, why);
	if (!ret)
		ret = thp_peer_end(&thp_peers[0], why);
	return ret ? ret : thp_group_finish(why);
}

THP_COVERS(shared, ignored_advice, "folio-split-advice reclaim-unmap");
TEST_F(shared, ignored_advice)
{
	THP_SCENARIO(ignored_advice, NULL);
}

/* Pages of the group that are in swap, or -errno. */
static long swapped(void)
{
	uint64_t entry;
	unsigned int i;
	long n = 0;
	size_t p;
	int ret;

	for (i = 0; i < thp_group.n; i++) {
		for (p = 0; p < thp_env.nr; p++) {
			ret = thp_obs_pagemap(thp_page(&thp_group.map[i], p), &entry);
			if (ret)
				return ret;
			n += !!(entry & THP_PM_SWAPPED);
		}
	}
	return n;
}

/* The same of another process in kB, with the two anchor pages. */
static long long swapped_kb(pid_t pid)
{
	struct thp_smaps sm;
	int ret;

	ret = thp_obs_smaps(pid, thp_group.base, thp_group.n * thp_env.pmd, &sm);
	return ret ? ret : (long long)sm.swap_kb;
}

/* Rounds of reclaim after which all has to be out. */
#define RECLAIM_ROUNDS	20

static int reclaim_everywhere(const void *arg, struct thp_why *why)
{
	const struct thp_cg *cg = arg;
	struct thp_meter m[SHARERS + 1];
	char path[256];
	long want, got = 0;
	long long kb;
	int ret, i, round;

	snprintf(path, sizeof(path), "%s/memory.force_empty", cg->path);
	ret = share(THP_ANON, SHARERS, &m[0], why);
	if (!ret)
		ret = meters_start(m, why);
	if (ret)
		return ret;
	want = thp_group.n * thp_env.nr;
	for (round = 0; round < RECLAIM_ROUNDS && got != want; round++) {
		/* Both report failure when they fall short of what was asked for. */
		if (thp_env.memcg == 2)
			(void)thp_cg_reclaim(cg, 2 * thp_group.n * thp_env.pmd);
		else
			(void)thp_write_file(path, "0");
		got = swapped();
	}
	if (got != want)
		return thp_why(why, -EPROTO,
			       "%ld pages in swap after %d rounds of reclaim, expected %ld",
			       got, RECLAIM_ROUNDS, want);
	ret = meters_read(m, why);
	for (i = 0; i < SHARERS && !ret; i++) {
		kb = swapped_kb(thp_peers[i].child.pid);
		if (kb < want * (long long)thp_env.page / 1024)
			ret = thp_why(why, -EPROTO, "child %d: %lld kB in swap, expected %lld", i,
				      kb, want * (long long)thp_env.page / 1024);
	}
	if (!ret)
		ret = meters_expect_split(m, "reclaim", why);
	return ret ? ret : still_isolated(why);
}

THP_COVERS(shared, reclaim, "reclaim-unmap multi-mm-split");
TEST_F_TIMEOUT(shared, reclaim, 90)
{
	const char *file = thp_env.memcg == 2 ? "memory.swap.max" : "memory.swappiness";
	const char *value = thp_env.memcg == 2 ? "max" : "60";
	struct thp_why why = { 0 };
	char path[256];

	THP_NEEDS(THP_NEED_MEMCG | THP_NEED_SWAP);
	THP_REQUIRE_OK(thp_cg_create(&self->cg, "reclaim", &why), &why);
	snprintf(path, sizeof(path), "%s/%s", self->cg.path, file);
	THP_REQUIRE(!thp_write_file(path, value), "%s cannot be set", file);
	THP_REQUIRE(!thp_cg_join(&self->cg, getpid()), "control group cannot be joined");
	THP_SCENARIO(reclaim_everywhere, &self->cg);
}

/* When the child is gone the advice works; then fork() meets swap entries. */
static int pageout_after_exit(const void *arg, struct thp_why *why)
{
	struct thp_peer *p = thp_peers;
	struct thp_meter m;
	long want, got = 0;
	int ret, round;

	(void)arg;
	ret = share(THP_ANON, 1, &m, why);
	if (!ret)
		ret = thp_peer_end(&p[0], why);
	if (!ret)
		ret = thp_peers_prepare(1, why);
	if (!ret)
		ret = thp_meter_start(&m, 0, why);
	if (ret)
		return ret;
	want = thp_group.n * thp_env.nr;
	for (round = 0; round < RECLAIM_ROUNDS && got != want; round++) {
		if (madvise(thp_group.base, thp_group.n * thp_env.pmd, MADV_PAGEOUT))
			return thp_why(why, -errno, "MADV_PAGEOUT: %s", strerror(errno));
		got = swapped();
	}
	if (got != want)
		return thp_why(why, -EPROTO,
			       "%ld pages in swap after %d times MADV_PAGEOUT, expected %ld",
			       got, RECLAIM_ROUNDS, want);
	ret = thp_meter_stop(&m, thp_group_split(), thp_group.n, "MADV_PAGEOUT", why);
	if (!ret)
		ret = thp_meter_start(&m, 0, why);
	if (!ret)
		ret = thp_peer_start(p, why);
	if (!ret)
		ret = thp_meter_stop(&m, 0, 0, "fork of swapped memory", why);
	if (!ret)
		ret = child_sees(p, THP_STATE_UNKNOWN, why);
	if (!ret)
		ret = thp_peer_order(p, THP_ORDER_WRITE, middle(), SEED_CHILD, NULL, why);
	if (!ret)
		ret = thp_group_check(why);
	if (!ret)
		ret = child_sees(p, THP_STATE_UNKNOWN, why);
	if (!ret)
		ret = thp_peer_zap(p, thp_group.n, why);
	if (!ret)
		ret = thp_peer_end(p, why);
	return ret ? ret : thp_group_finish(why);
}

THP_COVERS(shared, pageout_after_exit, "reclaim-unmap");
TEST_F_TIMEOUT(shared, pageout_after_exit, 60)
{
	THP_NEEDS(THP_NEED_SWAP);
	THP_SCENARIO(pageout_after_exit, NULL);
}

/* fork() that fails: the parent has lost nothing. */
FIXTURE(starved) {
	int unused;
};

struct starved_case {
	enum thp_kind kind;
	bool pinned;
};

FIXTURE_VARIANT(starved) {
	struct starved_case c;
};

FIXTURE_VARIANT_ADD(starved, anon) { .c = { THP_ANON, false } };
FIXTURE_VARIANT_ADD(starved, zero) { .c = { THP_ZERO, false } };
FIXTURE_VARIANT_ADD(starved, pinned) { .c = { THP_ANON, true } };

FIXTURE_SETUP(starved)
{
	THP_NEEDS(thp_kind_needs(variant->c.kind));
	if (variant->c.pinned)
		THP_NEEDS_RING();
	thp_warm_up();
}

FIXTURE_TEARDOWN_PARENT(starved)
{
	thp_teardown(_metadata);
}

/*
 * One THP at the lowest usable address, without the usual anchors: fork() copies
 * in address order, so that the first table it needs, if any, is for this THP.
 */
static int group_low(enum thp_kind kind, struct thp_why *why)
{
	unsigned long first = 0;
	char text[128], *at = (char *)thp_env.pmd, *got;

	if (thp_read_file("/proc/self/maps", text, sizeof(text)) > 0)
		first = strtoul(text, NULL, 16);
	if (first < 2 * thp_env.pmd)
		return thp_why(why, -ENOSPC, "first mapping is at %#lx", first);
	got = mmap(at, thp_env.pmd, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1, 0);
	if (got != at)
		return thp_why(why, -ENOSPC, "mmap at %p: %s", at, strerror(errno));
	return thp_group_adopt(kind, at, thp_env.pmd, why);
}

/* fork() of a starved parent; its errno, or 0 with the child reaped. */
static int fork_and_reap(struct thp_why *why, bool *ok)
{
	int status, err;
	pid_t pid;

	fflush(stdout);
	fflush(stderr);
	pid = fork();
	err = errno;
	*ok = false;
	if (!pid) {
		struct thp_why child = { 0 };

		_exit(thp_group_check(&child) ? 1 : 0);
	}
	if (pid < 0)
		return err;
	if (waitpid(pid, &status, 0) != pid)
		thp_why(why, -errno, "waitpid: %s", strerror(errno));
	else if (!WIFEXITED(status) || WEXITSTATUS(status))
		thp_why(why, -EPROTO, "child of the fork: wait status %#x, expected 0", status);
	else
		*ok = true;
	return 0;
}

static int fork_without_tables(const void *arg, struct thp_why *why)
{
	const struct starved_case *c = arg;
	struct thp_meter m;
	uint64_t failed;
	int ret, err;
	bool ok;

	ret = open_pipe(why);
	if (!ret && c->pinned && ring_open())
		ret = thp_why(why, -EIO, "io_uring_queue_init failed");
	if (!ret)
		ret = group_low(c->kind, why);
	if (!ret && c->pinned)
		ret = ring_pin(middle(), 1, why);
	if (!ret)
		ret = thp_peers_prepare(1, why);
	if (!ret)
		ret = thp_inject_setup(true, 0, why);
	if (!ret)
		ret = thp_meter_start(&m, 0, why);
	if (!ret && thp_inject_task(getpid(), true))
		ret = thp_why(why, -EIO, "make-it-fail cannot be set");
	if (!ret && c->pinned && thp_inject_drain(-1))
		ret = thp_why(why, -EIO, "PTE tables cannot be used up");
	if (ret)
		return ret;
	err = fork_and_reap(why, &ok);
	if (thp_inject_task(getpid(), false))
		return thp_why(why, -EIO, "make-it-fail cannot be cleared");
	ret = thp_meter_read(&m, why);
	if (ret)
		return ret;
	/* A child needs tables for its base pages, whatever it does with the THP. */
	thp_inject_report("targeted", true, thp_inject_fired(), "%s", thp_errno_name(err));
	if (err != ENOMEM)
		return thp_why(why, -EPROTO, "fork without page tables: %s, expected ENOMEM",
			       thp_errno_name(err));
	if (thp_inject_fired() < 1)
		return thp_why(why, -EPROTO, "no allocation was made to fail");
	failed = m.ev[1].split_pmd_failed - m.ev[0].split_pmd_failed;
	if (m.ev[0].split_pmd_failed != THP_EVENT_NONE && thp_env.contract == THP_LAZY &&
	    failed < c->pinned)
		return thp_why(why, -EPROTO, "thp_split_pmd_failed +%llu, expected +%d",
			       (unsigned long long)failed, c->pinned);
	/* It was looked at here. */
	m.ev[1].split_pmd_failed = m.ev[0].split_pmd_failed;
	ret = thp_meter_expect(&m, 0, 0, "fork without page tables", why);
	if (!ret)
		ret = parent_sees(thp_kind_state(c->kind), why);
	if (!ret && c->pinned)
		ret = ring_coherent(middle(), why);
	else if (!ret && c->kind == THP_ANON)
		ret = sole_owner_writes("write after the failed fork", why);
	if (!ret)
		ret = thp_group_expect(c->kind == THP_ZERO ? THP_STATE_PMD_ZERO : THP_STATE_PMD,
				       why);
	if (!ret)
		ret = thp_meter_start(&m, 0, why);
	if (!ret)
		ret = thp_peer_start(&thp_peers[0], why);
	if (!ret)
		ret = thp_meter_stop(&m, c->pinned ? thp_group_split() : 0,
				     c->pinned ? thp_group.n : 0, "fork with memory again", why);
	if (!ret && c->pinned)
		ret = ring_coherent(middle(), why);
	if (!ret)
		ret = thp_group_check(why);
	/* The write of the device came after the fork. */
	if (!ret && !c->pinned)
		ret = child_sees(&thp_peers[0], thp_kind_state(c->kind), why);
	if (!ret)
		ret = thp_peer_end(&thp_peers[0], why);
	return ret;
}

THP_COVERS_VARIANT(starved, anon, no_tables, "fork-anon");
THP_COVERS_VARIANT(starved, zero, no_tables, "fork-zero");
THP_COVERS_VARIANT(starved, pinned, no_tables, "fork-pinned");
TEST_F(starved, no_tables)
{
	struct thp_why why = { 0 };
	int ret;

	THP_NEEDS(THP_NEED_FAIL_PAGE);
	if (thp_env.unit != 1)
		THP_SKIP("needs PTE tables of at least 1 kB");
	ret = attempt(fork_without_tables, &variant->c, &why);
	if (ret == -ENOSPC)
		THP_SKIP("needs unused addresses below the program");
	THP_REQUIRE_RESULT(ret, &why);
}

/* fork() needs some fifty allocations here; far more would be a bug of the sweep. */
#define SWEEP_MAX	500

static int sweep_group(const struct starved_case *c, struct thp_why *why)
{
	int ret;

	reset();
	ret = open_pipe(why);
	if (!ret && c->pinned && ring_open())
		ret = thp_why(why, -EIO, "io_uring_queue_init failed");
	if (!ret)
		ret = thp_group_new(c->kind, 0, why);
	if (!ret && c->pinned)
		ret = ring_pin(middle(), 1, why);
	return ret;
}

/* Fails one allocation after the other: each time all or nothing. */
static int fork_sweep(const void *arg, struct thp_why *why)
{
	const struct starved_case *c = arg;
	enum thp_state fresh = thp_kind_state(c->kind), s = THP_STATE_NONE;
	bool splits = c->pinned && thp_env.contract == THP_LAZY;
	int ret, err, nth, nth_fd, fired = 1, failures = 0, again = 0;
	uint64_t failed_splits = 0;
	struct thp_meter m;
	bool ok, split;

	nth_fd = thp_inject_nth_open();
	if (nth_fd < 0)
		return thp_why(why, nth_fd, "fail-nth: %s", thp_errno_name(nth_fd));
	ret = thp_inject_setup(false, 0, why);
	for (nth = 1; nth < SWEEP_MAX && fired == 1 && !ret; nth++) {
		/* A fork that failed late has split what was pinned: start afresh. */
		if (s != fresh)
			ret = sweep_group(c, why);
		if (!ret)
			ret = thp_meter_start(&m, 0, why);
		if (!ret && c->pinned && thp_inject_drain(nth_fd))
			ret = thp_why(why, -EIO, "PTE tables cannot be used up");
		if (!ret && thp_inject_nth_arm(nth_fd, nth))
			ret = thp_why(why, -EIO, "fail-nth cannot be armed");
		if (ret)
			break;
		err = fork_and_reap(why, &ok);
		fired = thp_inject_nth_disarm(nth_fd);
		ret = thp_meter_read(&m, why);
		if (!ret && fired < 0)
			ret = thp_why(why, fired, "fail-nth cannot be disarmed");
		if (!ret)
			ret = thp_group_state(&s, why);
		if (ret)
			break;
		if (err && (err != ENOMEM || !fired)) {
			ret = thp_why(why, -EPROTO,
				      "fork, allocation %d failing: %s, expected ENOMEM",
				      nth, thp_errno_name(err));
			break;
		}
		if (!err && !ok) {
			ret = -EPROTO;
			break;
		}
		failures += !!err;
		failed_splits += m.ev[1].split_pmd_failed - m.ev[0].split_pmd_failed;
		m.ev[1].split_pmd_failed = m.ev[0].split_pmd_failed;
		split = c->pinned && s == THP_STATE_PTE;
		if (!split && s != fresh)
			ret = thp_why(why, -EPROTO,
				      "fork, allocation %d failing: range is %s, expected %s",
				      nth, thp_state_name(s), thp_state_name(fresh));
		if (!ret)
			ret = thp_meter_expect(&m, split ? thp_group_split() : 0,
					       split ? thp_group.n : 0, "fork that may fail", why);
		if (!ret && c->pinned)
			ret = ring_coherent(middle(), why);
		else if (!ret)
			ret = thp_group_check(why);
		/* With memory it works, and the child gets everything. */
		if (!ret && err) {
			err = fork_and_reap(why, &ok);
			if (err)
				ret = thp_why(why, -EPROTO, "fork after the failure: %s",
					      thp_errno_name(err));
			else if (!ok)
				ret = -EPROTO;
			if (!ret)
				ret = thp_group_state(&s, why);
		}
		/* A slab that needed a page may have drawn the shot at the table. */
		if (!fired && splits && !failed_splits && again++ < 3) {
			nth = 0;
			fired = 1;
		}
	}
	close(nth_fd);
	if (ret)
		return ret;
	thp_inject_report("fail-nth", splits, failures, "thp_split_pmd_failed %+lld",
			  (long long)failed_splits);
	if (fired)
		return thp_why(why, -EPROTO, "fork makes more than %d allocations", SWEEP_MAX);
	if (!failures)
		return thp_why(why, -EPROTO, "no allocation was made to fail");
	if (splits && !failed_splits && m.ev[0].split_pmd_failed != THP_EVENT_NONE)
		return thp_why(why, -EPROTO,
			       "%d forks failed, thp_split_pmd_failed +0, expected +1",
			       failures);
	return thp_group_finish(why);
}

THP_COVERS_VARIANT(starved, anon, sweep, "fork-anon");
THP_COVERS_VARIANT(starved, zero, sweep, "fork-zero");
THP_COVERS_VARIANT(starved, pinned, sweep, "fork-pinned");
TEST_F_TIMEOUT(starved, sweep, 120)
{
	THP_NEEDS(THP_NEED_FAIL_NTH);
	THP_SCENARIO(fork_sweep, &variant->c);
}

/* Bounded races: contents, tables, and silence in the kernel log. */
FIXTURE(race) {
	int unused;
};

FIXTURE_SETUP(race)
{
	thp_warm_up();
}

FIXTURE_TEARDOWN_PARENT(race)
{
	thp_teardown(_metadata);
}

#define RACE_MS		1500
#define RACE_ROUNDS	12
#define RACE_FORKS	4

static int stop_writing;

/* Writes to the upper half of every THP until told to stop. */
static void *write_upper_half(void *arg)
{
	size_t page = middle();
	unsigned int i;

	while (!__atomic_load_n(&stop_writing, __ATOMIC_RELAXED)) {
		for (i = 0; i < thp_group.n; i++)
			thp_touch(thp_page(&thp_group.map[i], page));
		if (++page == thp_env.nr)
			page = middle();
	}
	return arg;
}

/* Forks RACE_FORKS children, each of which checks the lower half. */
static int fork_and_check(struct thp_why *why)
{
	int i, status;
	pid_t pid;

	for (i = 0; i < RACE_FORKS; i++) {
		pid = fork();
		if (pid < 0)
			return thp_why(why, -errno, "fork: %s", strerror(errno));
		if (!pid) {
			struct thp_why child = { 0 };
			int ret = thp_map_check(&thp_group.map[0], 0, middle(), &child);

			/* A write, to have something to copy and something to split. */
			thp_touch(thp_page(&thp_group.map[0], thp_env.nr - 1));
			_exit(ret ? 1 : 0);
		}
		if (waitpid(pid, &status, 0) != pid)
			return thp_why(why, -errno, "waitpid: %s", strerror(errno));
		if (!WIFEXITED(status) || WEXITSTATUS(status))
			return thp_why(why, -EPROTO, "child in a race: wait status %#x, expected 0",
				       status);
	}
	return 0;
}

/* The upper half holds what the race left; give it back what it had. */
static int finish_race(struct thp_why *why)
{
	const struct thp_map *map;
	unsigned int i;
	size_t p;

	for (i = 0; i < thp_group.n; i++) {
		map = &thp_group.map[i];
		for (p = middle(); p < thp_env.nr; p++)
			thp_fill(thp_page(map, p), map->seed, p);
	}
	return thp_group_finish(why);
}

static int fork_races_writes(const void *arg, struct thp_why *why)
{
	long long end = thp_now_ms() + RACE_MS * thp_env.scale;
	pthread_t thread;
	unsigned int i;
	int ret = 0;

	(void)arg;
	for (i = 0; i < RACE_ROUNDS * thp_env.scale && thp_now_ms() < end && !ret; i++) {
		ret = thp_group_new(THP_ANON, 0, why);
		if (ret)
			return ret;
		stop_writing = 0;
		ret = pthread_create(&thread, NULL, write_upper_half, NULL);
		if (ret)
			return thp_why(why, -ret, "pthread_create: %s", strerror(ret));
		ret = fork_and_check(why);
		__atomic_store_n(&stop_writing, 1, __ATOMIC_RELAXED);
		pthread_join(thread, NULL);
		if (!ret)
			ret = finish_race(why);
		thp_group_free();
	}
	return ret;
}

THP_COVERS(race, fork_writes, "fork-anon cow-write");
TEST_F(race, fork_writes)
{
	THP_SCENARIO(fork_races_writes, NULL);
}

/*
 * A folio split by way of one process reaches all others by rmap, without the mmap
 * lock of any of them: that of the named one is held, so it must not be the one that
 * is to be met. What fork() and exit come to first, in address order, is ballast of
 * small pages. It gives the split time to begin meanwhile.
 */
#define RMAP_THPS	4
#define RMAP_MANY	16	/* of 2 MiB, or what is as much */
#define RMAP_ROUNDS	60
#define RMAP_BALLAST	2048	/* pages */

struct rmap_area {
	char *base;
	size_t ballast;		/* PMD ranges before those of the THPs */
	size_t thps;
	char *spare;		/* SPARE_RANGES of a sharer */
	size_t spares;		/* how many of them it takes tables for */
	long long took_us;	/* the last split */
	pid_t by;		/* whom to name */
	int ret;
	int done;
};

static char *rmap_range(const struct rmap_area *a, size_t i)
{
	return a->base + i * thp_env.pmd;
}

/* Two pages tell one range from another. */
static void rmap_fill(const struct rmap_area *a, size_t i)
{
	thp_fill(rmap_range(a, i), i, 0);
	thp_fill(rmap_range(a, i + 1) - thp_env.page, i, 1);
}

static int rmap_check(const struct rmap_area *a, struct thp_why *why)
{
	size_t i;
	int ret = 0;

	for (i = a->ballast; i < a->ballast + a->thps && !ret; i++) {
		ret = thp_check(rmap_range(a, i), i, 0, 1, why);
		if (!ret)
			ret = thp_check(rmap_range(a, i + 1) - thp_env.page, i, 1, 1, why);
	}
	return ret;
}

static int rmap_new(struct rmap_area *a, struct thp_why *why)
{
	size_t len;

	a->ballast = (RMAP_BALLAST + thp_env.nr - 1) / thp_env.nr;
	len = (a->ballast + a->thps + 1) * thp_env.pmd;
	a->base = mmap(NULL, len, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (a->base == MAP_FAILED || madvise(a->base, len, MADV_HUGEPAGE))
		return thp_why(why, -errno, "mmap: %s", strerror(errno));
	a->base += thp_env.pmd - (uintptr_t)a->base % thp_env.pmd;
	return 0;
}

/* New THPs behind ballast that grows and, full, begins anew or, with spares, stays. */
static int rmap_renew(const struct rmap_area *a, unsigned int round, struct thp_why *why)
{
	size_t i, n = a->spares ? a->ballast : round % (a->ballast + 1);
	int ret;

	if (!n) {
		ret = anew(a->base, a->ballast * thp_env.pmd, why);
		if (ret)
			return ret;
	} else {
		rmap_fill(a, n - 1);
		/* Splits it. */
		madvise(rmap_range(a, n - 1) + thp_env.pmd / 2, thp_env.page, MADV_DONTNEED);
	}
	ret = anew(rmap_range(a, a->ballast), a->thps * thp_env.pmd, why);
	if (ret)
		return ret;
	for (i = 0; i < a->thps; i++)
		rmap_fill(a, a->ballast + i);
	return 0;
}

static void *rmap_split(void *arg)
{
	struct rmap_area *a = arg;
	char path[192];

	snprintf(path, sizeof(path), "%s/split_huge_pages", thp_env.debugfs);
	a->ret = thp_write_fmt(path, "%d,0x%lx,0x%lx", a->by,
			       (unsigned long)rmap_range(a, a->ballast),
			       (unsigned long)rmap_range(a, a->ballast + a->thps));
	__atomic_store_n(&a->done, 1, __ATOMIC_SEQ_CST);
	return NULL;
}

#define SPARE_RANGES	1024
#define SPARE_ROUNDS	1000

/* All else that a sharer comes to: a table that is taken later would be uncounted. */
static int spare_begin(struct rmap_area *a, struct thp_chan *chan)
{
	size_t len = SPARE_RANGES * thp_env.pmd;

	chan->val[0] = 0;
	thp_warm_up();
	(void)thp_obs_pagetables_kb();
	a->spare = mmap(NULL, len, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (a->spare == MAP_FAILED)
		return thp_why(&chan->why, -errno, "mmap: %s", strerror(errno));
	madvise(a->spare, len, MADV_NOHUGEPAGE);
	return 0;
}

/* The zero page will do: a table, and no memory. */
static void spare_take(const struct rmap_area *a, size_t i)
{
	(void)thp_peek(a->spare + i * thp_env.pmd);
}

/* Tables that are whole pages are never cut from what was set aside. */
static bool spare_cut(void)
{
	return thp_env.table < thp_env.page;
}

/*
 * val[0]: whether the page that is used up with the last one was begun as counted. A
 * page that is freed at that moment hides it.
 */
static int spare_use_up(struct rmap_area *a, struct thp_chan *chan)
{
	size_t i, begin = a->spares - thp_env.page / thp_env.table;
	int ret = spare_begin(a, chan);
	long long before;

	if (ret)
		return ret;
	for (i = 0; i < begin; i++)
		spare_take(a, i);
	before = thp_obs_pagetables_kb();
	spare_take(a, i++);
	chan->val[0] = !spare_cut() || thp_obs_pagetables_kb() > before;
	for (; i < a->spares; i++)
		spare_take(a, i);
	return 0;
}

/* Shares the THPs until it is told to end. */
static int rmap_sharer(struct thp_chan *chan, void *arg)
{
	struct rmap_area *a = arg;
	int ret = a->spares ? spare_use_up(a, chan) : 0;

	if (ret)
		return ret;
	thp_chan_post_parent(chan, 1);
	while (__atomic_load_n(&chan->to_child, __ATOMIC_SEQ_CST) < 2)
		sched_yield();
	return 0;
}

/* Forks while the folios are split by way of the sharer. */
static int rmap_meets_fork(struct rmap_area *a, struct thp_child *sharer, struct thp_why *why)
{
	pthread_t thread;
	int ret, status;
	pid_t pid = 0;

	a->by = sharer->pid;
	a->done = 0;
	ret = pthread_create(&thread, NULL, rmap_split, a);
	if (ret)
		return thp_why(why, -ret, "pthread_create: %s", strerror(ret));
	do {
		pid = fork();
		if (!pid)
			_exit(0);
		if (pid > 0 && waitpid(pid, &status, 0) != pid)
			pid = -1;
	} while (pid > 0 && !__atomic_load_n(&a->done, __ATOMIC_SEQ_CST));
	if (pid < 0)
		ret = thp_why(why, -errno, "fork: %s", strerror(errno));
	pthread_join(thread, NULL);
	thp_chan_post_child(sharer->chan, 2);
	return ret;
}

#define EXIT_SWEEP	32

/*
 * Splits the folios while the sharer exits, each time at another moment of it. A split
 * comes to the sharer soon, so it begins later than the exit, by up to twice as long as
 * it takes.
 */
static int rmap_meets_exit(struct rmap_area *a, struct thp_child *sharer, struct thp_why *why)
{
	static unsigned int round;
	long long begin;

	(void)why;
	a->by = getpid();
	thp_chan_post_child(sharer->chan, 2);
	thp_spin_us(a->took_us * 2 * (round++ % EXIT_SWEEP) / EXIT_SWEEP);
	begin = thp_now_us();
	rmap_split(a);
	a->took_us = thp_now_us() - begin;
	return 0;
}

/*
 * In a process like a sharer: how many tables it takes until the page that they are
 * cut from is used up, to the last.
 */
static int spare_count(struct thp_chan *chan, void *arg)
{
	size_t per = thp_env.page / thp_env.table, jumps[16], n = 0, i, k;
	struct rmap_area *a = arg;
	int ret = spare_begin(a, chan);
	long long before, now;

	if (ret)
		return ret;
	before = thp_obs_pagetables_kb();
	for (i = 0; i < SPARE_RANGES && n < ARRAY_SIZE(jumps); i++) {
		spare_take(a, i);
		now = thp_obs_pagetables_kb();
		if (now > before) {
			/* Others have tables, too, and there are PMD tables. */
			for (k = 0; k < n; k++)
				if (jumps[k] + per == i)
					chan->val[0] = i;
			jumps[n++] = i;
			if (chan->val[0]) {
				thp_chan_post_parent(chan, 1);
				return 0;
			}
		}
		before = now;
	}
	return thp_why(&chan->why, -ENODATA, "PageTables does not grow with PTE tables");
}

static int spare_find(struct rmap_area *a, struct thp_why *why)
{
	struct thp_child child = { 0 };
	int ret;

	ret = thp_child_start(&child, spare_count, a);
	if (ret)
		return thp_why(why, ret, "fork: %s", thp_errno_name(ret));
	if (!thp_child_await(&child, 1, THP_STEP_MS))
		a->spares = child.chan->val[0];
	return thp_child_join(&child, THP_STEP_MS, why);
}

static int spare_new(struct rmap_area *a, struct thp_why *why)
{
	unsigned int i;
	int ret = 0;

	/* Always the same tables from here on. */
	for (i = 0; i <= a->ballast && !ret; i++)
		ret = rmap_renew(a, i, why);
	return ret ? ret : spare_find(a, why);
}

struct rmap_race {
	int (*meet)(struct rmap_area *a, struct thp_child *sharer, struct thp_why *why);
	int ms;			/* for all rounds, well below the test's time limit */
	bool many;		/* all can be met, not the first few only */
	bool spare;		/* sharers use up what tables are cut from */
};

static size_t rmap_thps(const struct rmap_race *race)
{
	size_t many = (RMAP_MANY << 21) / thp_env.pmd;

	/* Of several the first might be split before the exit, and leave something. */
	if (race->spare)
		return 1;
	return race->many && many > RMAP_THPS ? many : RMAP_THPS;
}

static int race_by_rmap(const void *arg, struct thp_why *why)
{
	const struct rmap_race *race = arg;
	long long end = thp_now_ms() + race->ms;
	struct thp_child sharer = { 0 };
	struct thp_events ev[2] = { 0 };
	unsigned int i, rounds, stray = 0;
	struct rmap_area a = { 0 };
	bool meets;
	int ret;

	a.thps = rmap_thps(race);
	rounds = race->spare && spare_cut() ? SPARE_ROUNDS : RMAP_ROUNDS;
	ret = rmap_new(&a, why);
	if (!ret && race->spare)
		ret = spare_new(&a, why);
	thp_obs_events(&ev[0]);
	for (i = 0; i < rounds * thp_env.scale && thp_now_ms() < end && !ret; i++) {
		ret = rmap_renew(&a, i, why);
		if (ret)
			break;
		ret = thp_child_start(&sharer, rmap_sharer, &a);
		if (!ret)
			ret = thp_child_await(&sharer, 1, THP_STEP_MS);
		if (ret) {
			ret = thp_why(why, ret, "fork: %s", thp_errno_name(ret));
			break;
		}
		/* With another count, this can do harm that ends the kernel unnoticed. */
		meets = !race->spare || sharer.chan->val[0];
		if (meets)
			ret = race->meet(&a, &sharer, why);
		else
			thp_chan_post_child(sharer.chan, 2);
		if (!ret)
			ret = thp_child_join(&sharer, THP_STEP_MS, why);
		if (!ret && a.ret && a.ret != -ESRCH && a.ret != -EINVAL)
			ret = thp_why(why, a.ret, "split_huge_pages: %s", thp_errno_name(a.ret));
		if (!ret)
			ret = rmap_check(&a, why);
		/* Not earlier: the channel of the sharer may take a table of its own. */
		if (!ret && !meets) {
			stray++;
			ret = spare_find(&a, why);
		}
	}
	thp_child_kill(&sharer);
	thp_obs_events(&ev[1]);
	printf("# by rmap: %u rounds, %u of them left out, %lld of %zu folios split\n", i, stray,
	       (long long)(ev[1].split_page - ev[0].split_page), i * a.thps);
	if (!ret && stray > i - i / 8)
		ret = thp_why(why, -ENODATA, "%u of %u sharers had other tables than counted",
			      stray, i);
	return ret;
}

/*
 * An exiting mm gets no table any more: what it has set aside for new ones is gone,
 * and if there was nothing, what it sets aside now is never given back. The latter is
 * what is looked for, before the other races: a kernel may die of the former.
 */
THP_COVERS(race, exit_no_leak, "multi-mm-split leak-page-tables");
TEST_F_TIMEOUT(race, exit_no_leak, 90)
{
	/* Fewer than are met, and what other processes may come to. */
	long long slack = 2 * (long long)thp_env.page / 1024 + 64, before;
	const struct rmap_race race = { .meet = rmap_meets_exit, .ms = 40000, .spare = true };
	struct thp_why why = { 0 };

	THP_NEEDS(THP_NEED_DEBUGFS | THP_NEED_STATS);
	THP_REQUIRE_OK(thp_race_residue(&before), &why);
	THP_SCENARIO(race_by_rmap, &race);
	THP_CHECK_OK(thp_race_no_residue(before, slack, &why), &why);
}

THP_COVERS(race, fork_split, "race-fork fork-anon multi-mm-split");
TEST_F_TIMEOUT(race, fork_split, 60)
{
	const struct rmap_race race = { .meet = rmap_meets_fork, .ms = 25000, .many = true };

	THP_NEEDS(THP_NEED_DEBUGFS);
	THP_SCENARIO(race_by_rmap, &race);
}

/* What is still mapped is unmapped anyhow. */
THP_COVERS(race, exit_split, "multi-mm-split");
TEST_F(race, exit_split)
{
	const struct rmap_race race = { .meet = rmap_meets_exit, .ms = 15000 };

	THP_NEEDS(THP_NEED_DEBUGFS);
	THP_SCENARIO(race_by_rmap, &race);
}

/* Memory that is on a device: a PMD entry that is not present. */
FIXTURE(device) {
	int unused;
};

FIXTURE_SETUP(device)
{
	if (access("/dev/hmm_dmirror0", R_OK | W_OK))
		THP_SKIP("needs root and CONFIG_TEST_HMM");
	thp_warm_up();
}

FIXTURE_TEARDOWN_PARENT(device)
{
	thp_teardown(_metadata);
}

/* The interface of CONFIG_TEST_HMM. */
struct hmm_cmd {
	__u64 addr;
	__u64 ptr;
	__u64 npages;
	__u64 cpages;
	__u64 faults;
};

#define HMM_TO_DEVICE	_IOWR('H', 0x02, struct hmm_cmd)

/* Counts and unmaps before anything is read: reading would bring the memory back. */
static int zap_at_once(struct thp_chan *chan, void *arg)
{
	long long before;
	long got;

	(void)arg;
	thp_obs_vmpte(0);
	before = thp_obs_vmpte(0);
	if (munmap(thp_group.base, thp_group.n * thp_env.pmd))
		return thp_why(&chan->why, -errno, "munmap: %s", strerror(errno));
	before -= thp_obs_vmpte(0);
	if (!thp_env_tables(before, &got) || got != thp_group_mapped())
		return thp_why(&chan->why, -EPROTO,
			       "child frees %lld B of tables with %u THPs on the device, expected %ld tables",
			       before, thp_group.n, thp_group_mapped());
	return 0;
}

static int fork_device(const void *arg, struct thp_why *why)
{
	struct thp_peer *p = thp_peers;
	struct hmm_cmd cmd = { 0 };
	struct thp_meter m;
	uint64_t entry = 0;
	size_t len;
	char *copy;
	int ret;

	(void)arg;
	extra_fd = open("/dev/hmm_dmirror0", O_RDWR | O_CLOEXEC);
	if (extra_fd < 0)
		return thp_why(why, -errno, "/dev/hmm_dmirror0: %s", strerror(errno));
	ret = thp_group_new(THP_ANON, 0, why);
	if (!ret)
		ret = thp_peers_prepare(2, why);
	if (ret)
		return ret;
	len = thp_group.n * thp_env.pmd;
	copy = mmap(NULL, len, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	if (copy == MAP_FAILED)
		return thp_why(why, -errno, "mmap: %s", strerror(errno));
	cmd.addr = (uintptr_t)thp_group.base;
	cmd.ptr = (uintptr_t)copy;
	cmd.npages = len / thp_env.page;
	ret = thp_meter_start(&m, 0, why);
	if (!ret && ioctl(extra_fd, HMM_TO_DEVICE, &cmd))
		ret = thp_why(why, -errno, "migration to the device: %s", strerror(errno));
	if (!ret)
		ret = thp_meter_read(&m, why);
	if (!ret)
		ret = thp_obs_pagemap(thp_group.base, &entry);
	if (!ret && (!(entry & THP_PM_SWAPPED) || m.ev[1].split_pmd != m.ev[0].split_pmd))
		ret = -ENODEV;
	if (!ret)
		ret = thp_meter_expect(&m, 0, 0, "migration to the device", why);
	if (!ret)
		ret = thp_meter_start(&m, 0, why);
	if (!ret && thp_child_start(&p[0].child, zap_at_once, NULL))
		ret = thp_why(why, -errno, "fork: %s", strerror(errno));
	if (!ret)
		ret = thp_meter_stop(&m, 0, 0, "fork of memory on the device", why);
	if (!ret)
		ret = thp_child_join(&p[0].child, THP_STEP_MS, why);
	/* This one reads all of it, which brings it back. */
	if (!ret)
		ret = thp_peer_start(&p[1], why);
	if (!ret)
		ret = child_sees(&p[1], THP_STATE_UNKNOWN, why);
	if (!ret)
		ret = thp_group_check(why);
	if (!ret)
		ret = thp_peer_order(&p[1], THP_ORDER_WRITE, middle(), SEED_CHILD, NULL, why);
	if (!ret)
		thp_group_write(0, SEED_PARENT);
	if (!ret)
		ret = child_sees(&p[1], THP_STATE_UNKNOWN, why);
	if (!ret)
		ret = thp_peer_end(&p[1], why);
	munmap(copy, len);
	return ret ? ret : thp_group_finish(why);
}

THP_COVERS(device, fork, "fork-device-private");
TEST_F(device, fork)
{
	struct thp_why why = { 0 };
	int ret;

	ret = attempt(fork_device, NULL, &why);
	if (ret == -ENODEV)
		THP_SKIP("needs THPs in device memory (Linux 6.19)");
	THP_REQUIRE_RESULT(ret, &why);
}

#include "fork_copy/zero_life.c"

THP_MAIN("thp_fork_copy");
