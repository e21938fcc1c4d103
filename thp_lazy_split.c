// SPDX-License-Identifier: GPL-2.0
/*
 * Mapping and splitting of PMDs when nothing goes wrong: how many page tables
 * exist at fault, after the operation and after the range is gone; whether the
 * PMD was split when and only when it had to be; and that every byte survived.
 *
 * The fixture "split" runs the table of lib/split_ops.c; the others cover what
 * creates PMD mappings (fault, collapse) and what splits from outside (reclaim,
 * KSM).
 */
#include <fcntl.h>
#include <pthread.h>
#include <sys/ptrace.h>
#include <sys/uio.h>

#include "thp_cgroup.h"
#include "thp_contract.h"
#include "thp_harness.h"
#include "thp_inject.h"
#include "thp_meter.h"
#include "thp_set.h"
#include "thp_uapi.h"
#include "thp_uffd.h"

FIXTURE(split) {
	struct thp_set set;
};

#include "split_variants.h"

FIXTURE_SETUP(split)
{
	THP_NEEDS(variant->op->needs | thp_kind_needs(variant->kind));
	thp_warm_up();
}

FIXTURE_TEARDOWN_PARENT(split)
{
	thp_teardown(_metadata);
}

/* Tables that one operation adds to the process, by the contract; *@or: also allowed. */
static long op_tables(const struct split_op *op, enum thp_kind kind, long *or)
{
	long want = 0;

	if (split_expected(op, kind)) {
		want = thp_tables_split(kind);
		*or = want;
	} else if (op->flags & OP_LEAVES_NONE) {
		want = kind == THP_SMALL ? 0 : -thp_tables_mapped(kind);
		/* CONFIG_PT_RECLAIM frees a table that a zap has emptied. */
		*or = kind == THP_SMALL ? -1 : want;
	} else {
		*or = want;
	}
	return want;
}

static enum thp_state state_after(const struct split_op *op, enum thp_kind kind)
{
	if (split_expected(op, kind))
		return kind == THP_SHMEM ? THP_STATE_NONE : THP_STATE_PTE;
	return op->flags & OP_LEAVES_NONE ? THP_STATE_NONE : thp_kind_state(kind);
}

struct counted {
	long long base, fault, before, after, zapped;	/* VmPTE, bytes */
	struct thp_events ev[2];
	struct thp_smaps sm[2];
	int ret[THP_SET_MAX];
	enum thp_state state[THP_SET_MAX];
};

/* The sequence that is measured; nothing is judged here. */
static int measure(struct thp_set *set, const struct split_op *op, enum thp_kind kind,
		   struct counted *c, struct thp_why *why)
{
	struct thp_map *maps = set->map;
	unsigned int i;
	int ret;

	ret = thp_set_create(set, kind, why);
	c->base = thp_obs_vmpte(0);
	if (!ret)
		ret = thp_set_fault(set, why);
	c->fault = thp_obs_vmpte(0);
	for (i = 0; i < thp_env.unit && !ret; i++)
		ret = split_prepare(op, &maps[i], why);
	for (i = 0; i < thp_env.unit && !ret; i++)
		if (split_expected(op, kind))
			ret = thp_map_expect(&maps[i], thp_kind_state(kind), why);
	if (ret)
		return ret;
	ret = thp_obs_smaps(0, maps[0].area, maps[0].area_len, &c->sm[0]);
	c->before = thp_obs_vmpte(0);
	thp_obs_events(&c->ev[0]);
	for (i = 0; i < thp_env.unit; i++)
		c->ret[i] = split_run(op, &maps[i]);
	thp_obs_events(&c->ev[1]);
	c->after = thp_obs_vmpte(0);
	if (!ret)
		ret = thp_obs_smaps(0, maps[0].area, maps[0].area_len, &c->sm[1]);
	for (i = 0; i < thp_env.unit && !ret; i++)
		ret = thp_obs_state(maps[i].thp, thp_env.pmd, &c->state[i]);
	if (ret)
		return thp_why(why, ret, "smaps or pagemap: %s", thp_errno_name(ret));
	for (i = 0; i < thp_env.unit && !(op->flags & OP_NO_ZAP); i++)
		thp_map_zap(&maps[i]);
	c->zapped = thp_obs_vmpte(0);
	return 0;
}

/* Tries to split a folio that have failed meanwhile; others count into this, too. */
static long long failed_tries(const struct counted *c)
{
	return c->ev[1].split_page_failed - c->ev[0].split_page_failed;
}

/*
 * Whether the measurement tells of something else. The events are system-wide: too many
 * may be somebody else's. Advice passes over a folio that somebody else has locked or
 * holds, and says nothing, or fails for that reference.
 */
static bool disturbed(const struct split_op *op, const struct counted *c, long splits)
{
	long long got = c->ev[1].split_pmd - c->ev[0].split_pmd;

	return got > splits || (got < splits && op->starved == ADVICE) ||
	       ((op->flags & OP_FOLIO) && failed_tries(c));
}

/* Page tables, events and structure: the exact oracles. */
TEST_F(split, counts)
{
	const struct split_op *op = variant->op;
	long n = thp_env.unit, want, or, got, splits;
	enum thp_kind kind = variant->kind;
	struct thp_why why = { 0 };
	struct counted c;
	unsigned int i;
	int try;

	splits = split_expected(op, kind) ? n : 0;
	for (try = 0; try < 3; try++) {
		THP_REQUIRE_OK(measure(&self->set, op, kind, &c, &why), &why);
		if (!disturbed(op, &c, splits))
			break;
		thp_set_destroy(&self->set);
	}

	want = n * thp_tables_mapped(kind);
	THP_CHECK(thp_env_tables(c.fault - c.base, &got) && got == want,
		  "fault of %ld %s: %+ld tables (%+lld B), expected %+ld on %s kernel", n,
		  thp_kind_name(kind), got, c.fault - c.base, want,
		  thp_mode_name(thp_env.contract));
	for (i = 0; i < thp_env.unit; i++)
		THP_CHECK(!c.ret[i], "%s returned %s, expected success", op->name,
			  thp_errno_name(c.ret[i]));
	THP_CHECK(c.ev[1].split_pmd - c.ev[0].split_pmd == (uint64_t)splits,
		  "%s of %ld %s: thp_split_pmd %+lld, expected %+ld", op->name, n,
		  thp_kind_name(kind), (long long)(c.ev[1].split_pmd - c.ev[0].split_pmd), splits);
	/* The huge zero folio itself is never split. */
	if (splits && (op->flags & OP_FOLIO) && kind != THP_ZERO)
		THP_CHECK(c.ev[1].split_page - c.ev[0].split_page >= (uint64_t)splits,
			  "%s of %ld %s: thp_split_page %+lld, expected %+ld", op->name, n,
			  thp_kind_name(kind),
			  (long long)(c.ev[1].split_page - c.ev[0].split_page), splits);
	/* A caller that asks again must not hide that the first try has failed. */
	if (op->flags & OP_FOLIO)
		THP_CHECK(!failed_tries(&c),
			  "%s of %ld %s: thp_split_page_failed %+lld, expected +0", op->name,
			  n, thp_kind_name(kind), failed_tries(&c));
	THP_CHECK(c.ev[1].split_pmd_failed == c.ev[0].split_pmd_failed,
		  "%s: thp_split_pmd_failed moved without a failure", op->name);
	want = n * op_tables(op, kind, &or);
	or *= n;
	THP_CHECK(thp_env_tables(c.after - c.before, &got) && (got == want || got == or),
		  "%s of %ld %s: %+ld tables (%+lld B), expected %+ld on %s kernel", op->name, n,
		  thp_kind_name(kind), got, c.after - c.before, want,
		  thp_mode_name(thp_env.contract));
	for (i = 0; i < thp_env.unit; i++)
		THP_CHECK(c.state[i] == state_after(op, kind) ||
			  c.state[i] == THP_STATE_UNKNOWN,
			  "%s left the range %s, expected %s", op->name,
			  thp_state_name(c.state[i]), thp_state_name(state_after(op, kind)));
	if (kind == THP_ANON) {
		uint64_t huge = c.state[0] == THP_STATE_PMD ? thp_env.pmd / 1024 : 0;

		THP_CHECK(c.sm[0].anon_huge_kb == thp_env.pmd / 1024,
			  "AnonHugePages is %llu kB before %s, expected %zu",
			  (unsigned long long)c.sm[0].anon_huge_kb, op->name, thp_env.pmd / 1024);
		THP_CHECK(c.sm[1].anon_huge_kb == huge,
			  "AnonHugePages is %llu kB after %s, expected %llu",
			  (unsigned long long)c.sm[1].anon_huge_kb, op->name,
			  (unsigned long long)huge);
	}
	if (op->flags & OP_MERGES)
		THP_CHECK(c.sm[0].vmas == c.sm[1].vmas,
			  "%s: %u VMAs became %u, expected the boundary to move", op->name,
			  c.sm[0].vmas, c.sm[1].vmas);
	if (op->flags & OP_NO_ZAP)
		return;
	/* Back to the anchors, and to what prepare() mapped elsewhere. */
	THP_CHECK(c.zapped - c.base == c.before - c.fault,
		  "after munmap of the range VmPTE is %+lld B off, expected 0",
		  c.zapped - c.base - (c.before - c.fault));
}

/* One operation on a mapping of its own, and all that it promises but tables. */
static int run_and_verify(struct thp_map *m, const struct split_op *op, enum thp_kind kind,
			  struct thp_why *why)
{
	int ret = thp_map_new(m, kind, why);

	if (!ret)
		ret = split_prepare(op, m, why);
	if (ret)
		return ret;
	ret = split_run(op, m);
	if (ret)
		return thp_why(why, -EIO, "%s returned %s, expected success", op->name,
			       thp_errno_name(ret));
	ret = split_verify(op, m, why);
	if (!ret)
		ret = split_check_data(op, m, true, why);
	if (!ret && thp_peek(m->thp - thp_env.page) != 1)
		ret = thp_why(why, -EILSEQ, "the page below the range changed");
	/* mremap_shrink has none above. */
	if (!ret && !(op->effect == UNMAPS && op->flags & OP_ABOVE_TOO) &&
	    thp_peek(m->thp + thp_env.pmd) != 1)
		ret = thp_why(why, -EILSEQ, "the page above the range changed");
	return ret;
}

/*
 * Advice may pass over a folio that somebody else holds, and aging looks the same. What
 * does nothing does so each time.
 */
static int retry_and_verify(struct thp_map *m, const struct split_op *op, enum thp_kind kind,
			    struct thp_why *why)
{
	int try, ret = 0;

	for (try = 0; try < 3; try++) {
		*why = (struct thp_why){ 0 };
		ret = run_and_verify(m, op, kind, why);
		if (ret != -EAGAIN && (ret != -EPROTO || op->starved != ADVICE))
			break;
		thp_map_destroy(m);
	}
	return ret;
}

/* Every byte of the range, the neighbours, and what the operation promises. */
TEST_F(split, contents)
{
	struct thp_why why = { 0 };

	THP_REQUIRE_OK(retry_and_verify(&self->set.map[0], variant->op, variant->kind, &why), &why);
	/* The destructor of the process must cope with the result as well. */
}

/* What maps a PMD, keeps it mapped as one, and takes it away again */

FIXTURE(pmd) {
	struct thp_set set;
};

FIXTURE_SETUP(pmd)
{
	thp_warm_up();
}

FIXTURE_TEARDOWN_PARENT(pmd)
{
	thp_teardown(_metadata);
}

/* A difference of VmPTE against a number of tables per mapping; for THP_CHECK_OK. */
static int expect_tables(const char *what, long long bytes, long each, struct thp_why *why)
{
	return thp_expect_tables(what, bytes, each * (long)thp_env.unit, why);
}

static void fault_and_zap(struct __test_metadata *_metadata, struct thp_set *set,
			  enum thp_kind kind)
{
	struct thp_why why = { 0 };
	long long a, b, c;
	unsigned int i;

	THP_NEEDS(thp_kind_needs(kind));
	THP_REQUIRE_OK(thp_set_create(set, kind, &why), &why);
	a = thp_obs_vmpte(0);
	THP_REQUIRE_OK(thp_set_fault(set, &why), &why);
	b = thp_obs_vmpte(0);
	for (i = 0; i < set->n; i++)
		THP_CHECK_OK(thp_map_zap(&set->map[i]), &why);
	c = thp_obs_vmpte(0);
	THP_CHECK_OK(expect_tables("fault", b - a, thp_tables_mapped(kind), &why), &why);
	THP_CHECK_OK(expect_tables("munmap", c - a, 0, &why), &why);
}

THP_COVERS(pmd, fault_anon, "fault-anon zap-pmd");
TEST_F(pmd, fault_anon)
{
	fault_and_zap(_metadata, &self->set, THP_ANON);
}

THP_COVERS(pmd, fault_zero, "fault-zero zap-pmd");
TEST_F(pmd, fault_zero)
{
	fault_and_zap(_metadata, &self->set, THP_ZERO);
}

/*
 * The huge zero PMD gives way to a THP: one PMD for another, no table moves. An
 * eager kernel before 6.13 splits it instead, and that takes the deposit.
 */
THP_COVERS(pmd, zero_write, "zero-write zap-pmd");
TEST_F(pmd, zero_write)
{
	struct thp_why why = { 0 };
	struct thp_events e0, e1;
	bool splits = thp_env_zero_write_splits();
	long long a, b, c;
	unsigned int i;

	THP_NEEDS(THP_NEED_ZERO);
	THP_REQUIRE_OK(thp_set_create(&self->set, THP_ZERO, &why), &why);
	a = thp_obs_vmpte(0);
	THP_REQUIRE_OK(thp_set_fault(&self->set, &why), &why);
	b = thp_obs_vmpte(0);
	thp_obs_events(&e0);
	for (i = 0; i < thp_env.unit; i++)
		thp_touch(self->set.map[i].thp);
	thp_obs_events(&e1);
	c = thp_obs_vmpte(0);
	if (e1.fault_fallback != e0.fault_fallback)
		THP_SKIP(THP_FRAGMENTED);
	if (splits)
		THP_CHECK(e1.split_pmd - e0.split_pmd == thp_env.unit,
			  "write to the huge zero PMD: thp_split_pmd %+lld, expected +%u before 6.13",
			  (long long)(e1.split_pmd - e0.split_pmd), thp_env.unit);
	else
		THP_CHECK(e1.split_pmd == e0.split_pmd, "write to the huge zero PMD split it");
	THP_CHECK_OK(thp_map_expect(&self->set.map[0],
				    splits ? THP_STATE_PTE : THP_STATE_PMD, &why),
		     &why);
	THP_CHECK_OK(expect_tables("write to the huge zero PMD", c - b, 0, &why), &why);
	*self->set.map[0].thp = 0;
	THP_CHECK_OK(thp_check_zero(self->set.map[0].thp, thp_env.nr, &why), &why);
	for (i = 0; i < thp_env.unit; i++)
		THP_CHECK_OK(thp_map_zap(&self->set.map[i]), &why);
	THP_CHECK_OK(expect_tables("munmap", thp_obs_vmpte(0) - a, 0, &why), &why);
}

/*
 * Several threads fault the same THP: all but one find the PMD taken and must
 * give back what they had prepared, in the right way.
 */
#define RACERS 4

struct race {
	char *addr;
	size_t len;
	int *go;
	bool write;
};

static void *race_fault(void *arg)
{
	struct race *r = arg;

	while (!__atomic_load_n(r->go, __ATOMIC_ACQUIRE))
		;
	if (r->write)
		thp_touch(r->addr + r->len / 2);
	else
		thp_peek(r->addr + r->len / 2);
	return NULL;
}

static int race_once(struct thp_map *m, bool write, struct thp_why *why)
{
	struct race r = { .addr = m->thp, .len = thp_env.pmd, .write = write };
	pthread_t threads[RACERS];
	int go = 0, i, n, ret = 0;

	r.go = &go;
	for (n = 0; n < RACERS && !ret; n++)
		ret = pthread_create(&threads[n], NULL, race_fault, &r);
	if (ret)
		n--;
	__atomic_store_n(&go, 1, __ATOMIC_RELEASE);
	for (i = 0; i < n; i++)
		pthread_join(threads[i], NULL);
	return ret ? thp_why(why, -ret, "pthread_create: %s", strerror(ret)) : 0;
}

THP_COVERS(pmd, fault_race, "fault-anon fault-zero");
TEST_F(pmd, fault_race)
{
	struct thp_map *m = &self->set.map[0];
	struct thp_why why = { 0 };
	long long a, b = 0;
	unsigned int i;
	long got;

	THP_REQUIRE_OK(thp_map_create(m, THP_ANON, &why), &why);
	/* Thread stacks and the heap take their tables before the first count. */
	THP_REQUIRE_OK(race_once(m, true, &why), &why);
	madvise(m->thp, thp_env.pmd, MADV_DONTNEED);
	a = thp_obs_vmpte(0);
	for (i = 0; i < 32 * thp_env.scale; i++) {
		THP_REQUIRE_OK(race_once(m, i & 1, &why), &why);
		if (madvise(m->thp, thp_env.pmd, MADV_DONTNEED))
			THP_FAIL("MADV_DONTNEED: %s", strerror(errno));
	}
	b = thp_obs_vmpte(0);
	THP_CHECK(thp_env_tables(b - a, &got) && !got,
		  "%u raced faults and zaps left %+lld B of tables, expected +0", i, b - a);
}

/* userfaultfd takes the fault: whatever was prepared for the PMD is given back. */
static void *fault_write(void *arg)
{
	thp_touch(arg);
	return NULL;
}

static void *fault_read(void *arg)
{
	thp_peek(arg);
	return NULL;
}

static int wait_readable(int fd)
{
	struct uffd_msg msg;
	struct thp_deadline d;

	thp_deadline_start(&d, 0, THP_STEP_MS);
	while (read(fd, &msg, sizeof(msg)) != sizeof(msg)) {
		if (thp_deadline_over(&d))
			return -ETIMEDOUT;
		thp_sleep_ms(1);
	}
	return 0;
}

static void fault_missing(struct __test_metadata *_metadata, struct thp_map *m,
			  void *(*fault)(void *addr))
{
	static uint64_t page[(1 << 16) / 8];
	struct thp_why why = { 0 };
	pthread_t thread;
	int ret;

	THP_NEEDS(THP_NEED_UFFD);
	THP_REQUIRE(thp_env.page <= sizeof(page), "page size %zu is too large", thp_env.page);
	THP_REQUIRE_OK(thp_map_create(m, THP_ANON, &why), &why);
	m->uffd = thp_uffd_open(0);
	THP_REQUIRE(m->uffd >= 0, "userfaultfd: %s", thp_errno_name(m->uffd));
	THP_REQUIRE_OK(thp_uffd_register(m->uffd, m->thp, thp_env.pmd,
					 UFFDIO_REGISTER_MODE_MISSING), &why);
	ret = pthread_create(&thread, NULL, fault, m->thp);
	THP_REQUIRE(!ret, "pthread_create: %s", strerror(ret));
	THP_CHECK(!wait_readable(m->uffd), "the fault was not reported to userfaultfd");
	thp_fill(page, m->seed, 0);
	THP_CHECK_OK(thp_uffd_copy(m->uffd, m->thp, page, thp_env.page), &why);
	pthread_join(thread, NULL);
	THP_CHECK_OK(thp_map_expect(m, THP_STATE_PTE, &why), &why);
	THP_CHECK(thp_obs_populated(m->thp, thp_env.pmd) == 1,
		  "%ld pages populated by UFFDIO_COPY of 1",
		  thp_obs_populated(m->thp, thp_env.pmd));
}

THP_COVERS(pmd, fault_uffd_missing, "fault-uffd-missing");
TEST_F(pmd, fault_uffd_missing)
{
	fault_missing(_metadata, &self->set.map[0], fault_write);
}

/* The read fault, which would have mapped the huge zero folio. */
THP_COVERS(pmd, fault_uffd_missing_read, "fault-uffd-missing");
TEST_F(pmd, fault_uffd_missing_read)
{
	fault_missing(_metadata, &self->set.map[0], fault_read);
}

/* A process that ends with PMDs, split PMDs and huge zero PMDs: check_mm() looks. */
static int exit_mixed(struct thp_chan *chan, void *arg)
{
	struct thp_map *maps = arg;
	int ret;

	ret = thp_map_new(&maps[0], THP_ANON, &chan->why);
	if (!ret)
		ret = thp_map_new(&maps[1], THP_ANON, &chan->why);
	if (!ret && munmap(thp_page(&maps[1], 1), thp_env.page))
		ret = -errno;
	if (!ret && !thp_env_missing(THP_NEED_ZERO))
		ret = thp_map_new(&maps[2], THP_ZERO, &chan->why);
	return ret;
}

THP_COVERS(pmd, exit_mm, "zap-exit");
TEST_F(pmd, exit_mm)
{
	struct thp_why why = { 0 };
	unsigned int i;

	for (i = 0; i < 8 * thp_env.scale; i++)
		THP_REQUIRE_OK(thp_child_run(exit_mixed, self->set.map, THP_STEP_MS, &why), &why);
}

/* The same by execve(): the old address space goes away in the middle of a system call. */
static int exec_mixed(struct thp_chan *chan, void *arg)
{
	char name[] = "thp_exec", opt[] = "-h";
	int ret = exit_mixed(chan, arg), fd;
	char *argv[3], *envp[1] = { NULL };

	if (ret)
		return ret;
	argv[0] = name;
	argv[1] = opt;
	argv[2] = NULL;
	fd = open("/dev/null", O_WRONLY);
	dup2(fd, 1);
	execve("/proc/self/exe", argv, envp);
	return thp_why(&chan->why, -errno, "execve: %s", strerror(errno));
}

THP_COVERS(pmd, exec_mm, "zap-exit");
TEST_F(pmd, exec_mm)
{
	struct thp_why why = { 0 };

	THP_CHECK_OK(thp_child_run(exec_mixed, self->set.map, THP_STEP_MS, &why), &why);
}

/* A killed process whose memory is reaped before it is gone. */
static int wait_for_kill(struct thp_chan *chan, void *arg)
{
	int ret = exit_mixed(chan, arg);

	thp_chan_post_parent(chan, 1);
	thp_chan_await_parent(chan, 2);
	return ret;
}

/* Reaps the memory of a killed process; 0 or -errno, -ENOSYS before Linux 5.15. */
static int reap(pid_t pid)
{
	int pidfd = syscall(__NR_pidfd_open, pid, 0), ret = -ENOSYS, tries;

	/* EAGAIN: someone had the mmap lock. */
	for (tries = 0; pidfd >= 0 && tries < 100; tries++) {
		ret = syscall(__NR_process_mrelease, pidfd, 0) ? -errno : 0;
		if (ret != -EAGAIN)
			break;
		thp_sleep_ms(10);
	}
	if (pidfd >= 0)
		close(pidfd);
	return ret;
}

THP_COVERS(pmd, mrelease, "zap-reaper");
TEST_F(pmd, mrelease)
{
	struct thp_child child = { 0 };
	struct thp_why why = { 0 };
	int ret;

	THP_NEEDS(THP_NEED_MRELEASE);
	THP_REQUIRE_OK(thp_child_start(&child, wait_for_kill, self->set.map), &why);
	THP_CHECK_OK(thp_child_await(&child, 1, THP_STEP_MS), &why);
	kill(child.pid, SIGKILL);
	ret = reap(child.pid);
	thp_child_kill(&child);
	/* ESRCH: it was gone before we asked. */
	THP_CHECK(!ret || ret == -ESRCH, "process_mrelease: %s", thp_errno_name(ret));
}

/* Until @pid, traced and killed, stands at the end of its life, its mm still there. */
static int await_exit_stop(pid_t pid)
{
	struct thp_deadline d;
	siginfo_t info;

	thp_deadline_start(&d, 0, THP_KILL_MS);
	for (;;) {
		info.si_pid = 0;
		if (waitid(P_PID, pid, &info, WSTOPPED | WEXITED | WNOHANG | WNOWAIT))
			return -errno;
		if (info.si_pid)
			return info.si_code == CLD_TRAPPED &&
			       info.si_status >> 8 == PTRACE_EVENT_EXIT ? 0 : -ECHILD;
		if (thp_deadline_over(&d))
			return -ETIMEDOUT;
		thp_sleep_ms(1);
	}
}

/*
 * A fault in memory that has been reaped maps nothing and gives back what it had
 * prepared. The process itself does not fault any more: it was killed, and waits for
 * its tracer, who faults for it.
 */
THP_COVERS(pmd, mrelease_fault, "fault-reaped zap-reaper");
TEST_F(pmd, mrelease_fault)
{
	struct thp_map *m = &self->set.map[THP_SET_MAX - 1];
	long long before = 0, after = 0;
	struct thp_child child = { 0 };
	struct thp_why why = { 0 };
	ssize_t got = 0, put = 0;
	char path[64], byte = 1;
	int fd = -1, ret;

	THP_NEEDS(THP_NEED_MRELEASE);
	/* Not touched, by nobody. */
	THP_REQUIRE_OK(thp_map_create(m, THP_ANON, &why), &why);
	THP_REQUIRE_OK(thp_child_start(&child, wait_for_kill, self->set.map), &why);
	THP_CHECK_OK(thp_child_await(&child, 1, THP_STEP_MS), &why);
	if (ptrace(PTRACE_SEIZE, child.pid, NULL, PTRACE_O_TRACEEXIT)) {
		thp_child_kill(&child);
		THP_SKIP("needs ptrace (kernel.yama.ptrace_scope, seccomp)");
	}
	kill(child.pid, SIGKILL);
	ret = await_exit_stop(child.pid);
	if (!ret) {
		snprintf(path, sizeof(path), "/proc/%d/mem", child.pid);
		fd = open(path, O_RDWR | O_CLOEXEC);
		ret = fd < 0 ? -errno : reap(child.pid);
	}
	if (!ret) {
		before = thp_obs_vmpte(child.pid);
		got = pread(fd, &byte, 1, (uintptr_t)m->thp);
		put = pwrite(fd, &byte, 1, (uintptr_t)m->thp);
		after = thp_obs_vmpte(child.pid);
	}
	if (fd >= 0)
		close(fd);
	ptrace(PTRACE_DETACH, child.pid, NULL, NULL);
	thp_child_kill(&child);
	THP_REQUIRE(!ret, "killing and reaping: %s", thp_errno_name(ret));
	THP_CHECK(got < 0 && put < 0, "reaped memory was read (%zd) and written (%zd)", got, put);
	THP_CHECK(before > 0 && before == after, "VmPTE %lld B, after faults in vain %lld B",
		  before, after);
}

/*
 * PageTables of /proc/meminfo, because that is what people look at. The counter
 * is system-wide and others map memory, too: many THPs, the median of 5 rounds or
 * of more if they do not agree, and a tolerance of 3/8 of the tables, less than
 * half of what tells eager from lazy.
 */
#define BULK_BYTES	(192UL << 20)
#define BULK_MIN	5
#define BULK_MAX	31
#define BULK_MS		40000
#define BULK_TIMEOUT	90

static int bulk_split(char *p, size_t n)
{
	size_t i;

	for (i = 0; i < n; i++)
		if (madvise(p + i * thp_env.pmd + thp_env.page, thp_env.page, MADV_DONTNEED))
			return -errno;
	return 0;
}

static int compare_kb(const void *a, const void *b)
{
	const long long *x = a, *y = b;

	return *x < *y ? -1 : *x > *y;
}

static long long median(long long *v, int n)
{
	qsort(v, n, sizeof(v[0]), compare_kb);
	return v[n / 2];
}

static void bulk(struct __test_metadata *_metadata, bool zero)
{
	size_t n = (zero ? 8 * BULK_BYTES : BULK_BYTES) / thp_env.pmd, i, len;
	long long all, slack, mapped[BULK_MAX], split[BULK_MAX], t0 = 0, t1 = 0, want;
	long long begin = thp_now_ms();
	enum thp_state state;
	bool good = false;
	char *area, *p;
	int round;

	len = (n + 1) * thp_env.pmd;
	all = (long long)(n * thp_env.table / 1024);
	slack = all * 3 / 8;
	want = thp_tables_mapped(THP_ANON) * all;
	if (slack < 4 * (long long)thp_env.page / 1024)
		THP_SKIP("needs PMDs whose tables fill pages of PageTables");
	if (!zero && !thp_env_room(len))
		THP_SKIP("needs free memory for 192 MiB of THPs");
	THP_NEEDS(THP_NEED_STATS);
	for (round = 0; round < BULK_MAX && !good; round++) {
		if (round >= BULK_MIN && thp_now_ms() - begin > BULK_MS)
			break;
		area = mmap(NULL, len, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
		THP_REQUIRE(area != MAP_FAILED, "mmap: %s", strerror(errno));
		p = (char *)(((uintptr_t)area + thp_env.pmd - 1) & ~(thp_env.pmd - 1));
		madvise(p, n * thp_env.pmd, MADV_HUGEPAGE);
		t0 = thp_obs_pagetables_kb();
		for (i = 0; i < n; i++) {
			if (zero)
				thp_peek(p + i * thp_env.pmd);
			else
				thp_touch(p + i * thp_env.pmd);
		}
		t1 = thp_obs_pagetables_kb();
		THP_REQUIRE(!bulk_split(p, n), "MADV_DONTNEED: %s", strerror(errno));
		/* Of an eager kernel the tables do not tell. */
		THP_REQUIRE(!thp_obs_state(p, thp_env.pmd, &state), "page map of the range");
		THP_CHECK(state == THP_STATE_PTE || state == THP_STATE_UNKNOWN,
			  "range is %s after MADV_DONTNEED of a page, expected PTE-mapped",
			  thp_state_name(state));
		mapped[round] = t1 - t0;
		split[round] = thp_obs_pagetables_kb() - t0;
		munmap(area, len);
		thp_obs_settle();
		if (round + 1 < BULK_MIN)
			continue;
		t0 = median(mapped, round + 1);
		t1 = median(split, round + 1);
		good = t0 >= want - slack && t0 <= want + slack &&
		       t1 >= all - slack && t1 <= all + slack;
	}
	THP_CHECK(good,
		  "%zu %s PMDs: PageTables %+lld kB, split %+lld kB (medians of %d), expected %+lld and %+lld +-%lld",
		  n, zero ? "huge zero" : "anon", t0, t1, round, want, all, slack);
}

THP_COVERS(pmd, bulk_anon, "fault-anon zap-dontneed");
TEST_F_TIMEOUT(pmd, bulk_anon, BULK_TIMEOUT)
{
	bulk(_metadata, false);
}

THP_COVERS(pmd, bulk_zero, "fault-zero zap-dontneed");
TEST_F_TIMEOUT(pmd, bulk_zero, BULK_TIMEOUT)
{
	THP_NEEDS(THP_NEED_ZERO);
	bulk(_metadata, true);
}

/*
 * What the change is about, in figures to quote: the tables of 100 GiB of huge zero
 * PMDs, and of 64 MiB of anon THP (1 GiB at scale 16), exact. The tables of the
 * levels above stay when a range is zapped, so they are in neither term.
 */
#define FOOTPRINT_ZERO	(100ULL << 30)
#define FOOTPRINT_ANON	(64ULL << 20)
#define FOOTPRINT_MAX	16

static void measure_footprint(struct __test_metadata *_metadata, bool zero)
{
	unsigned long long bytes = zero ? FOOTPRINT_ZERO : FOOTPRINT_ANON *
		(thp_env.scale < FOOTPRINT_MAX ? thp_env.scale : FOOTPRINT_MAX);
	size_t n = bytes / thp_env.pmd, fallback = 0, i;
	long long full, left, want;
	struct thp_smaps sm;
	char *area, *p;

	if (!thp_env_room((zero ? 0 : bytes) + n * thp_env.table))
		THP_SKIP("needs free memory for the THPs or the page tables of the footprint");
	area = bytes > SIZE_MAX - thp_env.pmd ? MAP_FAILED :
	       mmap(NULL, bytes + thp_env.pmd, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (area == MAP_FAILED)
		THP_SKIP("needs 100 GiB of address space (vm.overcommit_memory, RLIMIT_AS)");
	p = (char *)(((uintptr_t)area + thp_env.pmd - 1) & ~(thp_env.pmd - 1));
	madvise(p, bytes, MADV_HUGEPAGE);
	for (i = 0; i < n; i++) {
		if (zero)
			thp_peek(p + i * thp_env.pmd);
		else
			thp_touch(p + i * thp_env.pmd);
	}
	if (!zero) {
		/* Where memory was too fragmented there is a table in any case. */
		THP_REQUIRE(!thp_obs_smaps(0, p, bytes, &sm), "/proc/self/smaps cannot be read");
		fallback = n - sm.anon_huge_kb * 1024 / thp_env.pmd;
	}
	want = (thp_env.contract == THP_EAGER ? n : fallback) * thp_env.table;
	full = thp_obs_vmpte(0);
	THP_REQUIRE(!madvise(p, bytes, MADV_DONTNEED), "MADV_DONTNEED: %s", strerror(errno));
	left = thp_obs_vmpte(0);
	munmap(area, bytes + thp_env.pmd);
	printf("# footprint: %llu MiB of %s PMDs: %lld kB of PTE tables, %zu without a THP\n",
	       bytes >> 20, zero ? "huge zero" : "anon", (full - left) / 1024, fallback);
	THP_CHECK(full - left == want,
		  "%zu %s PMDs: %lld B of PTE tables, expected %lld B on %s kernel", n,
		  zero ? "huge zero" : "anon", full - left, want,
		  thp_mode_name(thp_env.contract));
}

THP_COVERS(pmd, footprint_anon, "fault-anon zap-dontneed");
TEST_F(pmd, footprint_anon)
{
	measure_footprint(_metadata, false);
}

THP_COVERS(pmd, footprint_zero, "fault-zero zap-dontneed");
TEST_F(pmd, footprint_zero)
{
	THP_NEEDS(THP_NEED_ZERO);
	measure_footprint(_metadata, true);
}

/*
 * The huge zero PMD is written to and no THP can be had: the fault falls back to
 * splitting the PMD and one base page.
 */
THP_COVERS(pmd, zero_write_fallback, "zero-write-fallback");
TEST_F(pmd, zero_write_fallback)
{
	struct thp_map *m = &self->set.map[0];
	struct thp_why why = { 0 };
	struct thp_events e0, e1;
	unsigned int i;
	long long a, b;

	THP_NEEDS(THP_NEED_ZERO | THP_NEED_FAIL_NTH);
	THP_REQUIRE_OK(thp_set_create(&self->set, THP_ZERO, &why), &why);
	THP_REQUIRE_OK(thp_set_fault(&self->set, &why), &why);
	/* Every order above that of a page-table fragment page. */
	THP_REQUIRE_OK(thp_inject_setup(false, 2, &why), &why);
	a = thp_obs_vmpte(0);
	THP_REQUIRE_OK(thp_inject_task(getpid(), true), &why);
	thp_obs_events(&e0);
	for (i = 0; i < thp_env.unit; i++)
		thp_touch(self->set.map[i].thp);
	thp_obs_events(&e1);
	b = thp_obs_vmpte(0);
	THP_REQUIRE_OK(thp_inject_task(getpid(), false), &why);
	THP_CHECK(e1.fault_fallback > e0.fault_fallback,
		  "the injector did not fire: thp_fault_fallback +0");
	THP_CHECK(e1.split_pmd - e0.split_pmd == thp_env.unit,
		  "thp_split_pmd %+lld, expected +%u", (long long)(e1.split_pmd - e0.split_pmd),
		  thp_env.unit);
	THP_CHECK_OK(thp_map_expect(m, THP_STATE_PTE, &why), &why);
	THP_CHECK_OK(expect_tables("split of the huge zero PMD", b - a,
				   thp_tables_split(THP_ZERO), &why), &why);
	THP_CHECK(thp_peek(m->thp) == 1, "the written byte is lost");
	*m->thp = 0;
	THP_CHECK_OK(thp_check_zero(m->thp, thp_env.nr, &why), &why);
}

/*
 * There is no huge zero folio to map, and none can be had: a base page, with its table.
 * What an eager kernel had allocated for the deposit is freed.
 */
THP_COVERS(pmd, zero_fallback, "fault-zero");
TEST_F(pmd, zero_fallback)
{
	struct thp_map *m = &self->set.map[0];
	struct thp_why why = { 0 };
	struct thp_events e0, e1;
	enum thp_state state;
	unsigned int i;
	long long a, b;

	THP_NEEDS(THP_NEED_ZERO | THP_NEED_FAIL_NTH | THP_NEED_ROOT);
	THP_REQUIRE_OK(thp_set_create(&self->set, THP_ZERO, &why), &why);
	THP_REQUIRE_OK(thp_inject_setup(false, 2, &why), &why);
	/* It is freed when nobody has it mapped. */
	THP_REQUIRE_OK(thp_write_file("/proc/sys/vm/drop_caches", "2"), &why);
	a = thp_obs_vmpte(0);
	THP_REQUIRE_OK(thp_inject_task(getpid(), true), &why);
	thp_obs_events(&e0);
	for (i = 0; i < thp_env.unit; i++)
		(void)thp_peek(self->set.map[i].thp);
	thp_obs_events(&e1);
	b = thp_obs_vmpte(0);
	THP_REQUIRE_OK(thp_inject_task(getpid(), false), &why);
	THP_REQUIRE_OK(thp_obs_state(m->thp, thp_env.pmd, &state), &why);
	if (state == THP_STATE_PMD_ZERO && !thp_inject_fired())
		THP_SKIP("needs a huge zero folio that nobody else uses");
	THP_CHECK(e1.fault_fallback > e0.fault_fallback, "thp_fault_fallback +0, expected +%u",
		  thp_env.unit);
	THP_CHECK(e1.split_pmd == e0.split_pmd, "thp_split_pmd %+lld, expected +0",
		  (long long)(e1.split_pmd - e0.split_pmd));
	THP_CHECK(state == THP_STATE_PTE, "range is %s, expected PTE-mapped",
		  thp_state_name(state));
	THP_CHECK_OK(expect_tables("fallback to a base page", b - a, 1, &why), &why);
	THP_CHECK_OK(thp_check_zero(m->thp, thp_env.nr, &why), &why);
}

/*
 * powerpc's subpage_prot(2) gives each 4 KiB of a 64 KiB page a protection of its own.
 * The hash MMU does that, for base pages only, so all huge PMDs of the VMA are split.
 */
#define SUBPAGE_THPS 3

FIXTURE(subpage) {
	char *area, *p;
	size_t len;
};

FIXTURE_VARIANT(subpage) {
	enum thp_kind kind;
};

FIXTURE_VARIANT_ADD(subpage, anon) {
	.kind = THP_ANON,
};

FIXTURE_VARIANT_ADD(subpage, zero) {
	.kind = THP_ZERO,
};

FIXTURE_SETUP(subpage)
{
	thp_warm_up();
}

FIXTURE_TEARDOWN_PARENT(subpage)
{
	thp_teardown(_metadata);
}

static int subpage_prot(void *addr, size_t len, const uint32_t *map)
{
#ifdef __NR_subpage_prot
	return syscall(__NR_subpage_prot, addr, len, map) ? -errno : 0;
#else
	(void)addr;
	(void)len;
	(void)map;
	return -ENOSYS;
#endif
}

/* Contents and mapping of all THPs of the area. 0 or -errno with a cause. */
static int subpage_check(char *p, enum thp_kind kind, enum thp_state want, struct thp_why *why)
{
	size_t i, pages = SUBPAGE_THPS * thp_env.nr;
	enum thp_state got;
	int ret;

	for (i = 0; i < SUBPAGE_THPS; i++) {
		ret = thp_obs_state(p + i * thp_env.pmd, thp_env.pmd, &got);
		if (ret)
			return thp_why(why, ret, "pagemap: %s", thp_errno_name(ret));
		if (got != want && got != THP_STATE_UNKNOWN)
			return thp_why(why, -EPROTO, "THP %zu of %d: expected %s, got %s", i + 1,
				       SUBPAGE_THPS, thp_state_name(want), thp_state_name(got));
	}
	return kind == THP_ZERO ? thp_check_zero(p, pages, why) : thp_check(p, 1, 0, pages, why);
}

THP_COVERS(subpage, counts, "walk-subpage-prot");
TEST_F(subpage, counts)
{
	enum thp_state whole = variant->kind == THP_ZERO ? THP_STATE_PMD_ZERO : THP_STATE_PMD;
	const uint32_t open = 0;
	struct thp_why why = { 0 };
	struct thp_events e0, e1;
	long long a, b, c;
	long got = -1;
	size_t i;
	int ret;

	THP_NEEDS(thp_kind_needs(variant->kind));
	/* Asks for nothing: there is no map to clear. */
	if (subpage_prot(NULL, 0, NULL))
		THP_SKIP("needs subpage_prot (powerpc, hash MMU, 64 KiB pages)");
	self->len = (SUBPAGE_THPS + 1) * thp_env.pmd;
	if (!thp_env_room(self->len))
		THP_SKIP("needs free memory for 4 THPs");
	self->area = mmap(NULL, self->len, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	THP_REQUIRE(self->area != MAP_FAILED, "mmap: %s", strerror(errno));
	self->p = (char *)(((uintptr_t)self->area + thp_env.pmd - 1) & ~(thp_env.pmd - 1));
	madvise(self->p, SUBPAGE_THPS * thp_env.pmd, MADV_HUGEPAGE);
	a = thp_obs_vmpte(0);
	for (i = 0; i < SUBPAGE_THPS * thp_env.nr; i++) {
		if (variant->kind == THP_ZERO)
			thp_peek(self->p + i * thp_env.page);
		else
			thp_fill(self->p + i * thp_env.page, 1, i);
	}
	ret = subpage_check(self->p, variant->kind, whole, &why);
	if (ret == -EPROTO) {
		TH_LOG("%s", why.text);
		THP_SKIP(THP_FRAGMENTED);
	}
	THP_REQUIRE_RESULT(ret, &why);
	b = thp_obs_vmpte(0);
	thp_obs_events(&e0);
	ret = subpage_prot(self->p + 5 * thp_env.page, thp_env.page, &open);
	thp_obs_events(&e1);
	c = thp_obs_vmpte(0);
	THP_CHECK(!ret, "subpage_prot: %s", thp_errno_name(ret));
	THP_CHECK(e1.split_pmd - e0.split_pmd == SUBPAGE_THPS,
		  "thp_split_pmd: expected +%d, got +%llu", SUBPAGE_THPS,
		  (unsigned long long)(e1.split_pmd - e0.split_pmd));
	/* The hash MMU always deposits: whatever the tables cost, the fault has paid. */
	THP_CHECK(thp_env_tables(b - a, &got) && got >= SUBPAGE_THPS,
		  "fault: %+lld B of page tables, expected at least %d tables of %zu B", b - a,
		  SUBPAGE_THPS, thp_env.table);
	THP_CHECK(b == c, "subpage_prot: %+lld B of page tables, expected none", c - b);
	THP_CHECK_OK(subpage_check(self->p, variant->kind, THP_STATE_PTE, &why), &why);
	munmap(self->area, self->len);
}

/* Collapse: the PTE table of the range becomes the deposit, or it is freed */

FIXTURE(collapse) {
	struct thp_set set;
};

struct collapse_from {
	bool split_before;	/* a THP that was split, not base pages from the start */
	bool holes;		/* every other page missing */
	bool shared;		/* mapped by a child as well */
};

FIXTURE_VARIANT(collapse) {
	struct collapse_from from;
};

FIXTURE_VARIANT_ADD(collapse, full) {
	.from = { .holes = false },
};

FIXTURE_VARIANT_ADD(collapse, holes) {
	.from = { .holes = true },
};

FIXTURE_VARIANT_ADD(collapse, after_split) {
	.from = { .split_before = true },
};

FIXTURE_VARIANT_ADD(collapse, shared) {
	.from = { .shared = true },
};

FIXTURE_SETUP(collapse)
{
	THP_NEEDS(THP_NEED_COLLAPSE);
	thp_warm_up();
}

FIXTURE_TEARDOWN_PARENT(collapse)
{
	thp_teardown(_metadata);
}

static int stay(struct thp_chan *chan, void *arg)
{
	struct thp_map *maps = arg;

	thp_chan_post_parent(chan, 1);
	thp_chan_await_parent(chan, 2);
	return thp_map_check(&maps[0], 0, thp_env.nr, &chan->why);
}

/* Base pages where the collapse starts, as the variant says. */
static int fill_small(struct thp_map *m, const struct collapse_from *v, struct thp_why *why)
{
	size_t i;
	int ret;

	if (v->split_before) {
		ret = thp_map_new(m, THP_ANON, why);
		if (ret)
			return ret;
		/* Protecting one page and undoing it splits the PMD and leaves one VMA. */
		ret = thp_split_at(thp_page(m, 1), why);
		if (ret)
			return ret;
		return thp_map_expect(m, THP_STATE_PTE, why);
	}
	ret = thp_map_create(m, THP_SMALL, why);
	if (ret)
		return ret;
	for (i = 0; i < thp_env.nr; i += 1 + v->holes)
		thp_fill(thp_page(m, i), m->seed, i);
	return madvise(m->area, m->area_len, MADV_HUGEPAGE) ?
		thp_why(why, -errno, "MADV_HUGEPAGE: %s", strerror(errno)) : 0;
}

static int check_collapsed(struct thp_map *m, bool holes, struct thp_why *why)
{
	size_t i;
	int ret = 0;

	for (i = 0; i < thp_env.nr && !ret; i++)
		ret = holes && i % 2 ? thp_check_zero(thp_page(m, i), 1, why) :
		      thp_check(thp_page(m, i), m->seed, i, 1, why);
	return ret;
}

THP_COVERS(collapse, counts, "collapse");
TEST_F(collapse, counts)
{
	struct thp_child child = { 0 };
	struct thp_why why = { 0 };
	struct thp_events e0, e1;
	long long a, b, c;
	unsigned int i;
	int ret;

	for (i = 0; i < thp_env.unit; i++)
		THP_REQUIRE_OK(fill_small(&self->set.map[i], &variant->from, &why), &why);
	if (variant->from.shared) {
		THP_REQUIRE_OK(thp_child_start(&child, stay, self->set.map), &why);
		THP_REQUIRE_OK(thp_child_await(&child, 1, THP_STEP_MS), &why);
		/*
		 * Older kernels (6.1 and 6.12 do, 6.18 does not) want one writable PTE
		 * (SCAN_PAGE_RO), and fork has left none: one page gets a copy, with the
		 * same contents.
		 */
		for (i = 0; i < thp_env.unit && thp_env.release < THP_RELEASE(6, 18); i++)
			thp_fill(thp_page(&self->set.map[i], 0), self->set.map[i].seed, 0);
	}
	a = thp_obs_vmpte(0);
	thp_obs_events(&e0);
	for (i = 0; i < thp_env.unit; i++) {
		ret = thp_map_collapse(&self->set.map[i]);
		if (ret == -ENOMEM)
			THP_SKIP(THP_FRAGMENTED);
		THP_REQUIRE(!ret, "MADV_COLLAPSE: %s", thp_errno_name(ret));
	}
	thp_obs_events(&e1);
	b = thp_obs_vmpte(0);
	THP_CHECK_OK(thp_map_expect(&self->set.map[0], THP_STATE_PMD, &why), &why);
	/* Eager keeps the table as the deposit, lazy has no use for it. */
	THP_CHECK_OK(expect_tables("collapse", b - a, thp_tables_collapse(), &why),
		     &why);
	THP_CHECK(e1.split_pmd == e0.split_pmd, "collapse split %lld PMDs",
		  (long long)(e1.split_pmd - e0.split_pmd));
	THP_CHECK_OK(check_collapsed(&self->set.map[0], variant->from.holes, &why), &why);
	if (variant->from.shared) {
		thp_chan_post_child(child.chan, 2);
		THP_CHECK_OK(thp_child_join(&child, THP_STEP_MS, &why), &why);
	}
	for (i = 0; i < thp_env.unit; i++)
		THP_CHECK_OK(thp_map_zap(&self->set.map[i]), &why);
	c = thp_obs_vmpte(0);
	THP_CHECK_OK(expect_tables("collapse and munmap", c - a, -1, &why), &why);
}

/* Split and collapse again and again: a table lost or freed twice shows. */
THP_COVERS(collapse, rounds, "collapse");
TEST_F(collapse, rounds)
{
	struct thp_map *m = &self->set.map[0];
	long long first = 0, now = 0;
	struct thp_why why = { 0 };
	unsigned int i;
	int ret;

	THP_REQUIRE_OK(fill_small(m, &variant->from, &why), &why);
	for (i = 0; i < 8 * thp_env.scale; i++) {
		ret = thp_map_collapse(m);
		if (ret == -ENOMEM)
			THP_SKIP(THP_FRAGMENTED);
		THP_REQUIRE(!ret, "round %u: MADV_COLLAPSE: %s", i, thp_errno_name(ret));
		THP_CHECK_OK(thp_map_expect(m, THP_STATE_PMD, &why), &why);
		now = thp_obs_vmpte(0);
		if (!i)
			first = now;
		THP_REQUIRE(now == first, "round %u: VmPTE %+lld B against the first", i,
			    now - first);
		THP_CHECK_OK(thp_split_at(thp_page(m, 1), &why), &why);
		THP_CHECK_OK(thp_map_expect(m, THP_STATE_PTE, &why), &why);
	}
	THP_CHECK_OK(check_collapsed(m, variant->from.holes, &why), &why);
}

/* A page that somebody holds cannot be collapsed: everything stays as it was. */
THP_COVERS(collapse, pinned, "collapse-fails");
TEST_F(collapse, pinned)
{
	struct thp_map *m = &self->set.map[0];
	struct thp_why why = { 0 };
	struct iovec iov;
	long long a, b;
	long got;
	int ret;

	THP_REQUIRE_OK(fill_small(m, &variant->from, &why), &why);
	THP_REQUIRE(!pipe2(m->pipe, O_CLOEXEC), "pipe: %s", strerror(errno));
	iov.iov_base = thp_page(m, 2);
	iov.iov_len = 1;
	THP_REQUIRE(vmsplice(m->pipe[1], &iov, 1, 0) == 1, "vmsplice: %s", strerror(errno));
	a = thp_obs_vmpte(0);
	ret = madvise(m->thp, thp_env.pmd, MADV_COLLAPSE) ? -errno : 0;
	b = thp_obs_vmpte(0);
	THP_CHECK(ret, "MADV_COLLAPSE of a pinned page succeeded");
	THP_CHECK(thp_env_tables(b - a, &got) && !got,
		  "failed collapse: %+ld tables (%+lld B), expected +0", got, b - a);
	THP_CHECK_OK(thp_map_expect(m, THP_STATE_PTE, &why), &why);
	THP_CHECK_OK(check_collapsed(m, variant->from.holes, &why), &why);
}

/*
 * khugepaged makes folios that are smaller than a PMD, too: the same table is taken
 * away and put back, on a lazy kernel as on an eager one.
 */
#define PART_PAGES	16
#define PART_MS		15000
#define KHUGEPAGED	THP_SYSFS "khugepaged/"

FIXTURE(mthp) {
	struct thp_set set;
};

FIXTURE_SETUP(mthp)
{
	thp_warm_up();
}

FIXTURE_TEARDOWN_PARENT(mthp)
{
	thp_teardown(_metadata);
	thp_guard_await_khugepaged();
}

/* Naturally aligned groups of PART_PAGES whose frames are aligned and in a row. */
static size_t count_parts(const struct thp_map *m)
{
	uint64_t entry, first = 0, mask = (1ULL << 55) - 1;
	size_t i, row = 0, parts = 0;

	for (i = 0; i < thp_env.nr; i++) {
		if (thp_obs_pagemap(thp_page(m, i), &entry) || !(entry & THP_PM_PRESENT))
			entry = 0;
		entry &= mask;
		if (!(i % PART_PAGES)) {
			first = entry;
			row = 0;
		}
		row += entry && !(first % PART_PAGES) && entry == first + i % PART_PAGES;
		parts += row == PART_PAGES;
	}
	return parts;
}

THP_COVERS(mthp, table_stays, "collapse-part");
TEST_F_TIMEOUT(mthp, table_stays, 60)
{
	struct thp_map *maps = self->set.map;
	char path[128], enabled[128];
	struct thp_why why = { 0 };
	uint64_t done, before, want;
	long long a, b, end;
	size_t parts = 0;
	unsigned int i, p;

	THP_NEEDS(THP_NEED_ROOT);
	snprintf(path, sizeof(path), THP_SYSFS "hugepages-%zukB/stats/collapse_alloc",
		 PART_PAGES * thp_env.page / 1024);
	snprintf(enabled, sizeof(enabled), THP_SYSFS "hugepages-%zukB/enabled",
		 PART_PAGES * thp_env.page / 1024);
	if (thp_read_u64(path, &before) || thp_env.nr <= PART_PAGES)
		THP_SKIP("needs a khugepaged that makes folios smaller than a PMD (Linux 7.3)");
	/* A page is missing in each range: it is not to become a THP. */
	THP_REQUIRE_OK(thp_settings_set(KHUGEPAGED "max_ptes_none", "0"), &why);
	THP_REQUIRE_OK(thp_set_create(&self->set, THP_SMALL, &why), &why);
	for (i = 0; i < thp_env.unit; i++)
		for (p = 1; p < thp_env.nr; p++)
			thp_fill(thp_page(&maps[i], p), maps[i].seed, p);
	a = thp_obs_vmpte(0);
	THP_REQUIRE_OK(thp_settings_set(enabled, "madvise"), &why);
	for (i = 0; i < thp_env.unit; i++)
		THP_REQUIRE(!madvise(maps[i].area, maps[i].area_len, MADV_HUGEPAGE),
			    "MADV_HUGEPAGE: %s", strerror(errno));
	/* In this order: restoring the second one wakes khugepaged. */
	THP_REQUIRE_OK(thp_settings_set(KHUGEPAGED "scan_sleep_millisecs", "20"), &why);
	THP_REQUIRE_OK(thp_settings_set(KHUGEPAGED "pages_to_scan", "65536"), &why);
	want = thp_env.unit * (thp_env.nr / PART_PAGES - 1);
	for (end = thp_now_ms() + PART_MS; thp_now_ms() < end; thp_sleep_ms(20)) {
		THP_REQUIRE_OK(thp_read_u64(path, &done), &why);
		for (parts = 0, i = 0; done - before >= want && i < thp_env.unit; i++)
			parts += count_parts(&maps[i]);
		if (parts >= want)
			break;
	}
	b = thp_obs_vmpte(0);
	THP_REQUIRE_OK(thp_read_u64(path, &done), &why);
	printf("# mthp: %llu folios allocated, %zu of %llu in place\n",
	       (unsigned long long)(done - before), parts, (unsigned long long)want);
	if (done == before)
		THP_SKIP("needs a khugepaged with less to scan");
	THP_CHECK_OK(thp_map_expect(&maps[0], THP_STATE_PTE, &why), &why);
	THP_CHECK_OK(expect_tables("collapse to smaller folios", b - a, 0, &why), &why);
	for (i = 0; i < thp_env.unit; i++) {
		THP_CHECK_OK(thp_map_check(&maps[i], 1, thp_env.nr - 1, &why), &why);
		THP_CHECK_OK(thp_map_zap(&maps[i]), &why);
	}
	THP_CHECK_OK(expect_tables("that and munmap", thp_obs_vmpte(0) - a, -1, &why), &why);
}

/* Reclaim and KSM: somebody else wants the PMD split */

FIXTURE(reclaim) {
	struct thp_set set;
	struct thp_cg cg;
};

FIXTURE_SETUP(reclaim)
{
	thp_warm_up();
}

FIXTURE_TEARDOWN_PARENT(reclaim)
{
	struct thp_why why = { 0 };

	THP_CHECK_OK(thp_cg_destroy(&self->cg), &why);
	thp_teardown(_metadata);
}

/* Swap takes a THP out of one mapping: PTEs with swap entries need a table. */
THP_COVERS(reclaim, swap_out, "reclaim-unmap");
TEST_F(reclaim, swap_out)
{
	struct thp_map *m = &self->set.map[0];
	struct thp_why why = { 0 };
	struct thp_events e0, e1;
	long long a, b;
	unsigned int i;

	THP_NEEDS(THP_NEED_SWAP);
	THP_REQUIRE_OK(thp_set_create(&self->set, THP_ANON, &why), &why);
	THP_REQUIRE_OK(thp_set_fault(&self->set, &why), &why);
	a = thp_obs_vmpte(0);
	thp_obs_events(&e0);
	for (i = 0; i < thp_env.unit; i++)
		THP_REQUIRE(!madvise(self->set.map[i].thp, thp_env.pmd, MADV_PAGEOUT),
			    "MADV_PAGEOUT: %s", strerror(errno));
	thp_obs_events(&e1);
	b = thp_obs_vmpte(0);
	THP_CHECK(e1.swpout > e0.swpout, "MADV_PAGEOUT swapped nothing out");
	THP_CHECK(e1.split_pmd - e0.split_pmd == thp_env.unit,
		  "thp_split_pmd %+lld, expected +%u",
		  (long long)(e1.split_pmd - e0.split_pmd), thp_env.unit);
	THP_CHECK_OK(thp_map_expect(m, THP_STATE_PTE, &why), &why);
	THP_CHECK_OK(expect_tables("swap-out", b - a, thp_tables_split(THP_ANON), &why), &why);
	for (i = 0; i < thp_env.unit; i++)
		THP_CHECK_OK(thp_map_check(&self->set.map[i], 0, thp_env.nr, &why), &why);
}

/* MADV_FREE and then reclaim: the pages go, the table stays. */
/* MADV_FREE of the whole range, which was filled: all of it is clean then. */
static int mark_free(struct thp_map *m, struct thp_why *why)
{
	static struct thp_smaps sm;
	int ret;

	if (madvise(m->thp, thp_env.pmd, MADV_FREE))
		return thp_why(why, -errno, "MADV_FREE: %s", strerror(errno));
	ret = thp_obs_smaps(0, m->thp, thp_env.pmd, &sm);
	if (ret)
		return thp_why(why, ret, "smaps: %s", thp_errno_name(ret));
	if (sm.clean_kb != thp_env.pmd / 1024)
		return thp_why(why, -EPROTO, "Private_Clean after MADV_FREE: %llu kB, expected %zu",
			       (unsigned long long)sm.clean_kb, thp_env.pmd / 1024);
	return 0;
}

/*
 * A filled THP that is marked free, and reclaimed. Reclaim passes over a folio that
 * somebody else holds: then it is asked again. 0, or -errno with a cause.
 */
static int free_and_reclaim(struct thp_map *m, struct thp_why *why)
{
	enum thp_state state;
	int try, ret;

	ret = thp_map_new(m, THP_ANON, why);
	if (!ret)
		ret = mark_free(m, why);
	if (ret)
		return ret;
	for (try = 0; try < 10; try++) {
		if (madvise(m->thp, thp_env.pmd, MADV_PAGEOUT))
			return thp_why(why, -errno, "MADV_PAGEOUT: %s", strerror(errno));
		ret = thp_obs_state(m->thp, thp_env.pmd, &state);
		if (ret)
			return thp_why(why, ret, "page map: %s", thp_errno_name(ret));
		if (state != THP_STATE_PMD)
			return 0;
		thp_sleep_ms(10);
	}
	return thp_why(why, -EPROTO, "freed range after MADV_PAGEOUT: %s in %d tries, expected %s",
		       thp_state_name(state), try, thp_state_name(THP_STATE_NONE));
}

THP_COVERS(reclaim, lazyfree, "reclaim-lazyfree");
TEST_F(reclaim, lazyfree)
{
	struct thp_map *m = &self->set.map[0];
	struct thp_why why = { 0 };
	unsigned int i;

	THP_REQUIRE_OK(free_and_reclaim(m, &why), &why);
	/* Reclaim is free to leave some of the pages; what it took must read as zeroes. */
	for (i = 0; i < thp_env.nr; i++) {
		struct thp_why ignored = { 0 };

		if (thp_map_check(m, i, 1, &ignored))
			THP_CHECK_OK(thp_check_zero(thp_page(m, i), 1, &why), &why);
	}
	/* A write after it must stay. */
	thp_fill(m->thp, m->seed, 0);
	THP_CHECK_OK(thp_map_check(m, 0, 1, &why), &why);
}

/*
 * A THP that is mostly zeroes and mapped by two processes: the shrinker splits it
 * in both and gives the zero pages back (Linux 6.12).
 */
static int keep_pmd(struct thp_chan *chan, void *arg)
{
	struct thp_map *m = arg;
	enum thp_state state;
	long long a;

	thp_warm_up();
	a = thp_obs_vmpte(0);
	thp_chan_post_parent(chan, 1);
	thp_chan_await_parent(chan, 2);
	chan->val[0] = thp_obs_vmpte(0) - a;
	thp_chan_post_parent(chan, 3);
	if (thp_obs_state(m->thp, thp_env.pmd, &state))
		return thp_why(&chan->why, -EIO, "page map");
	if (state != THP_STATE_PTE)
		return thp_why(&chan->why, -EPROTO, "range is %s, expected PTE-mapped",
			       thp_state_name(state));
	if (thp_check(m->thp, m->seed, 0, 1, &chan->why))
		return -EILSEQ;
	return thp_check_zero(thp_page(m, 1), thp_env.nr - 1, &chan->why);
}

THP_COVERS(reclaim, underused, "folio-split-deferred multi-mm-split");
TEST_F(reclaim, underused)
{
	struct thp_map *m = &self->set.map[0];
	struct thp_child child = { 0 };
	struct thp_why why = { 0 };
	struct thp_events e0, e1;
	long long a, b;
	int try;

	THP_NEEDS(THP_NEED_ROOT);
	THP_REQUIRE_OK(thp_map_underused(m, &why), &why);
	THP_REQUIRE_OK(thp_child_start(&child, keep_pmd, m), &why);
	THP_REQUIRE_OK(thp_child_await(&child, 1, THP_STEP_MS), &why);
	a = thp_obs_vmpte(0);
	thp_obs_events(&e0);
	for (try = 0; try < 50; try++) {
		THP_CHECK_OK(thp_write_file("/proc/sys/vm/drop_caches", "2"), &why);
		thp_obs_events(&e1);
		if (e1.underused > e0.underused)
			break;
		thp_sleep_ms(20);
	}
	b = thp_obs_vmpte(0);
	/* At least: the shrinker takes the THPs of everybody else as well. */
	THP_CHECK(e1.underused > e0.underused, "thp_underused_split_page +0, expected +1");
	THP_CHECK(e1.split_pmd - e0.split_pmd >= 2, "thp_split_pmd %+lld, expected +2",
		  (long long)(e1.split_pmd - e0.split_pmd));
	THP_CHECK_OK(thp_map_expect(m, THP_STATE_PTE, &why), &why);
	thp_chan_post_child(child.chan, 2);
	if (thp_env.unit == 1) {
		long long want = thp_tables_split(THP_ANON) * (long long)thp_env.table;

		THP_CHECK(b - a == want, "VmPTE %+lld B here, expected %+lld", b - a, want);
		THP_CHECK_OK(thp_child_await(&child, 3, THP_STEP_MS), &why);
		THP_CHECK(child.chan->val[0] == want, "VmPTE %+lld B in the child, expected %+lld",
			  child.chan->val[0], want);
	}
	THP_CHECK_OK(thp_child_join(&child, THP_STEP_MS, &why), &why);
	THP_CHECK_OK(thp_map_check(m, 0, 1, &why), &why);
	THP_CHECK_OK(thp_check_zero(thp_page(m, 1), thp_env.nr - 1, &why), &why);
}

/*
 * KSM finds two equal pages in two THPs: it splits what holds them. It needs a scan
 * to see that a page does not change and another one to merge it; on a machine with
 * virtual machines one scan can take long.
 */
#define KSM_SCANS	4

THP_COVERS(reclaim, ksm, "folio-split-ksm");
TEST_F_TIMEOUT(reclaim, ksm, 90)
{
	struct thp_map *a = &self->set.map[0], *b = &self->set.map[1];
	static struct split_view view;
	enum thp_state sa = THP_STATE_PMD, sb = THP_STATE_PMD;
	static const char scans[] = "/sys/kernel/mm/ksm/full_scans";
	struct thp_why why = { 0 };
	uint64_t first, now;
	long long end;

	THP_NEEDS(THP_NEED_KSM);
	THP_REQUIRE_OK(thp_map_new(a, THP_ANON, &why), &why);
	THP_REQUIRE_OK(thp_map_new(b, THP_ANON, &why), &why);
	memcpy(thp_page(b, 7), thp_page(a, 3), thp_env.page);
	THP_REQUIRE_OK(thp_settings_set("/sys/kernel/mm/ksm/sleep_millisecs", "1"), &why);
	THP_REQUIRE_OK(thp_settings_set("/sys/kernel/mm/ksm/pages_to_scan", "4096"), &why);
	THP_REQUIRE(!madvise(a->thp, thp_env.pmd, MADV_MERGEABLE) &&
		    !madvise(b->thp, thp_env.pmd, MADV_MERGEABLE), "MADV_MERGEABLE: %s",
		    strerror(errno));
	view.m = a;
	/* Else KSM has nothing to scan, and the time is over before its fifth scan. */
	THP_REQUIRE(split_vma_mergeable.of(&view, &split_vma_mergeable, a->thp) == 1,
		    "VmFlags mg 0 after MADV_MERGEABLE, expected 1");
	THP_REQUIRE_OK(thp_read_u64(scans, &first), &why);
	THP_REQUIRE_OK(thp_settings_set("/sys/kernel/mm/ksm/run", "1"), &why);
	for (end = thp_now_ms() + thp_limit(THP_DAEMON_MS);; thp_sleep_ms(20)) {
		THP_REQUIRE_OK(thp_read_u64(scans, &now), &why);
		THP_REQUIRE_OK(thp_obs_state(a->thp, thp_env.pmd, &sa), &why);
		THP_REQUIRE_OK(thp_obs_state(b->thp, thp_env.pmd, &sb), &why);
		if (sa == THP_STATE_PTE && sb == THP_STATE_PTE)
			break;
		THP_REQUIRE(now - first <= KSM_SCANS,
			    "KSM left the THPs %s and %s in %d scans, expected both PTE-mapped",
			    thp_state_name(sa), thp_state_name(sb), KSM_SCANS);
		if (thp_now_ms() > end)
			THP_SKIP("needs a KSM with less to scan: 5 scans took over 20 s");
	}
	THP_CHECK_OK(thp_map_check(a, 0, thp_env.nr, &why), &why);
	THP_CHECK_OK(thp_map_check(b, 0, 7, &why), &why);
	THP_CHECK_OK(thp_check(thp_page(b, 7), a->seed, 3, 1, &why), &why);
	THP_CHECK_OK(thp_map_check(b, 8, thp_env.nr - 8, &why), &why);
}

/*
 * What the PMD entry knew goes on in the PTEs: that a page was written to, that it
 * was used, that it may be written to. Contents do not show it, not at once.
 */

FIXTURE(bits) {
	struct thp_map maps[2];
};

FIXTURE_SETUP(bits)
{
	thp_warm_up();
}

FIXTURE_TEARDOWN_PARENT(bits)
{
	thp_teardown(_metadata);
}

/* By a VMA boundary that comes and goes, or together with the folio. */
static int split_by(struct thp_map *m, bool folio, struct thp_why *why)
{
	char *page = thp_page(m, 1);
	int ret = 0;

	if (!folio)
		ret = thp_split_at(page, why);
	else if (madvise(page, thp_env.page, MADV_COLD))
		ret = thp_why(why, -errno, "MADV_COLD: %s", strerror(errno));
	return ret ? ret : thp_map_expect(m, THP_STATE_PTE, why);
}

/*
 * MADV_FREE takes the dirty bit off, a write sets it again, and then reclaim may not
 * throw the page away. @m is the range that is written to, @control is not: if
 * reclaim does not take that one, it proves nothing.
 */
static void keep_dirty(struct __test_metadata *_metadata, struct thp_map *maps, bool folio)
{
	struct thp_map *m = &maps[0], *control = &maps[1];
	struct thp_why why = { 0 };
	size_t i, lost = 0;

	for (i = 0; i < 2; i++) {
		THP_REQUIRE_OK(thp_map_new(&maps[i], THP_ANON, &why), &why);
		THP_REQUIRE_OK(mark_free(&maps[i], &why), &why);
	}
	for (i = 0; i < thp_env.nr; i++)
		thp_fill(thp_page(m, i), m->seed, i);
	THP_REQUIRE_OK(thp_map_expect(m, THP_STATE_PMD, &why), &why);
	for (i = 0; i < 2; i++) {
		THP_REQUIRE_OK(split_by(&maps[i], folio, &why), &why);
		THP_REQUIRE(!madvise(maps[i].thp, thp_env.pmd, MADV_PAGEOUT), "MADV_PAGEOUT: %s",
			    strerror(errno));
	}
	THP_CHECK_OK(thp_map_check(m, 0, thp_env.nr, &why), &why);
	for (i = 0; i < thp_env.nr; i++)
		lost += !!thp_map_check(control, i, 1, NULL);
	printf("# dirty: reclaim took %zu of %zu pages that were not written to\n", lost,
	       thp_env.nr);
	if (!lost)
		THP_SKIP("needs reclaim that takes what MADV_FREE offers");
}

THP_COVERS(bits, dirty, "split-mprotect reclaim-lazyfree");
TEST_F(bits, dirty)
{
	keep_dirty(_metadata, self->maps, false);
}

THP_COVERS(bits, dirty_folio, "folio-split-advice reclaim-lazyfree");
TEST_F(bits, dirty_folio)
{
	keep_dirty(_metadata, self->maps, true);
}

/* Reclaim and idle page tracking go by the young bits: a THP in use stays in use. */
THP_COVERS(bits, young, "split-mprotect walk-readers");
TEST_F(bits, young)
{
	struct thp_map *m = &self->maps[0];
	struct thp_smaps sm[2] = { 0 };
	struct thp_why why = { 0 };
	uint64_t want;
	int try;

	/*
	 * The fault has made it young. Not by clear_refs and another access: a CPU that
	 * has the entry in its TLB need not set the bit again.
	 */
	want = (thp_env.pmd - 2 * thp_env.page) / 1024;
	for (try = 0; try < 3; try++) {
		THP_REQUIRE_OK(thp_map_new(m, THP_ANON, &why), &why);
		THP_REQUIRE_OK(thp_obs_smaps(0, m->area, m->area_len, &sm[0]), &why);
		THP_REQUIRE_OK(split_by(m, false, &why), &why);
		THP_REQUIRE_OK(thp_obs_smaps(0, m->area, m->area_len, &sm[1]), &why);
		thp_map_destroy(m);
		/* Whoever looks for idle pages takes the bits away, too. */
		if (sm[0].referenced_kb >= want && sm[1].referenced_kb >= want)
			break;
	}
	THP_CHECK(sm[0].referenced_kb >= want,
		  "Referenced is %llu kB after a fault, expected at least %llu",
		  (unsigned long long)sm[0].referenced_kb, (unsigned long long)want);
	THP_CHECK(sm[1].referenced_kb >= want,
		  "Referenced was %llu kB before the split and is %llu kB after it",
		  (unsigned long long)sm[0].referenced_kb,
		  (unsigned long long)sm[1].referenced_kb);
}

/* A split costs one table, not one fault per page as well. */
THP_COVERS(bits, write, "split-mprotect");
TEST_F(bits, write)
{
	struct thp_map *m = &self->maps[0];
	struct thp_why why = { 0 };
	long faults = 0, max;
	size_t i;
	int try;

	/* The page that was read-only for a while may take one. */
	max = thp_env.nr / 16 + 1;
	for (try = 0; try < 3; try++) {
		THP_REQUIRE_OK(thp_map_new(m, THP_ANON, &why), &why);
		THP_REQUIRE_OK(split_by(m, false, &why), &why);
		faults = thp_obs_minor_faults();
		for (i = 0; i < thp_env.nr; i++)
			thp_touch(thp_page(m, i));
		faults = thp_obs_minor_faults() - faults;
		thp_map_destroy(m);
		/* NUMA balancing takes its faults when it wants to. */
		if (faults <= max)
			break;
	}
	THP_CHECK(faults <= max,
		  "writing to %zu pages after a split took %ld faults, expected <= %ld",
		  thp_env.nr, faults, max);
}

#include "lazy_split/needless.c"
#include "lazy_split/khugepaged.c"
#include "lazy_split/named.c"

THP_MAIN_INIT("thp_lazy_split", split_register_variants);
