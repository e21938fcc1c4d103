// SPDX-License-Identifier: GPL-2.0
/*
 * Every oracle is shown a wrong state here and has to report it; and a right one,
 * which it must let pass. An oracle that cannot fail decides nothing.
 */
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "split_ops.h"
#include "thp_cgroup.h"
#include "thp_harness.h"
#include "thp_inject.h"
#include "thp_uapi.h"

FIXTURE(oracle) {
	struct thp_map map;
	struct thp_cg cg;
};

FIXTURE_SETUP(oracle)
{
	thp_warm_up();
}

FIXTURE_TEARDOWN_PARENT(oracle)
{
	struct thp_why why = { 0 };

	THP_CHECK_OK(thp_cg_destroy(&self->cg), &why);
	thp_teardown(_metadata);
}

/* What needs no mapping. */
FIXTURE(lib) {
	int unused;	/* the harness wants data */
};

FIXTURE_SETUP(lib)
{
	self->unused = 0;
}

FIXTURE_TEARDOWN_PARENT(lib)
{
	thp_teardown(_metadata);
}

#define EXPECT_CAUSE(call, part) do {					\
	struct thp_why __w = { 0 };					\
	int __r = (call);						\
	THP_CHECK(__r && strstr(__w.text, part),			\
		  "wrong state got %s \"%s\", expected a cause with \"%s\"", \
		  thp_errno_name(__r), __w.text, part);			\
} while (0)

#define WHY (&__w)

TEST_F(oracle, contents)
{
	struct thp_map *m = &self->map;
	struct thp_why why = { 0 };
	char *last;

	THP_REQUIRE_OK(thp_map_new(m, THP_ANON, &why), &why);
	last = m->thp + thp_env.pmd - 1;
	THP_CHECK_OK(thp_map_check(m, 0, thp_env.nr, &why), &why);
	m->thp[0] ^= 1;
	EXPECT_CAUSE(thp_map_check(m, 0, thp_env.nr, WHY), "page 0 offset 0");
	m->thp[0] ^= 1;
	*last ^= 0x80;
	EXPECT_CAUSE(thp_map_check(m, 0, thp_env.nr, WHY), "expected");
	*last ^= 0x80;
	THP_CHECK_OK(thp_map_check(m, 0, thp_env.nr, &why), &why);
	/* Two pages swapped: the pattern names its page. */
	thp_fill(thp_page(m, 3), m->seed, 4);
	EXPECT_CAUSE(thp_map_check(m, 0, thp_env.nr, WHY), "page 3 offset 0");
	EXPECT_CAUSE(thp_check_zero(m->thp, 1, WHY), "expected zeroes");
	memset(m->thp, 0, thp_env.page);
	THP_CHECK_OK(thp_check_zero(m->thp, 1, &why), &why);
	m->thp[thp_env.page - 1] = 1;
	EXPECT_CAUSE(thp_check_zero(m->thp, 1, WHY), "expected zeroes");
}

TEST_F(oracle, state)
{
	struct thp_map *m = &self->map;
	struct thp_why why = { 0 };
	struct thp_smaps sm;

	THP_REQUIRE_OK(thp_map_create(m, THP_ANON, &why), &why);
	THP_CHECK_OK(thp_map_expect(m, THP_STATE_NONE, &why), &why);
	THP_REQUIRE_OK(thp_map_fault(m, &why), &why);
	THP_CHECK_OK(thp_map_expect(m, THP_STATE_PMD, &why), &why);
	EXPECT_CAUSE(thp_map_expect(m, THP_STATE_PTE, WHY), "PMD-mapped, expected PTE-mapped");
	EXPECT_CAUSE(thp_map_expect(m, THP_STATE_NONE, WHY), "expected unmapped");
	THP_REQUIRE(!madvise(thp_page(m, 1), thp_env.page, MADV_DONTNEED), "MADV_DONTNEED");
	THP_CHECK_OK(thp_map_expect(m, THP_STATE_PTE, &why), &why);
	EXPECT_CAUSE(thp_map_expect(m, THP_STATE_PMD, WHY), "PTE-mapped, expected PMD-mapped");
	THP_CHECK(thp_obs_populated(m->thp, thp_env.pmd) == (long)thp_env.nr - 1,
		  "%ld pages populated", thp_obs_populated(m->thp, thp_env.pmd));
	THP_CHECK_OK(thp_obs_smaps(0, m->area, m->area_len, &sm), &why);
	THP_CHECK(!sm.anon_huge_kb, "AnonHugePages %llu kB after a split",
		  (unsigned long long)sm.anon_huge_kb);
}

static int expect_state(const char *p, enum thp_state want, const char *what, struct thp_why *why)
{
	enum thp_state got;
	int ret = thp_obs_state(p, thp_env.pmd, &got);

	if (!ret && got != want)
		ret = thp_why(why, -EPROTO, "%s: %s, expected %s", what, thp_state_name(got),
			      thp_state_name(want));
	return ret;
}

/* Zero beside data in one VMA, which only kpageflags tell apart, that is root. */
static int look_blindly(struct thp_chan *chan, void *arg)
{
	enum thp_state mixed = THP_STATE_PMD, mixed_zero = THP_STATE_PMD_ZERO;
	bool unprivileged = *(bool *)arg;
	struct thp_why *why = &chan->why;
	size_t pmd = thp_env.pmd;
	struct thp_map zero;
	char *p;
	int ret;

	if (unprivileged && (setuid(65534) || prctl(PR_SET_DUMPABLE, 1)))
		return thp_why(why, -errno, "setuid: %s", strerror(errno));
	if (geteuid()) {
		mixed = THP_STATE_UNKNOWN;
		mixed_zero = THP_STATE_UNKNOWN;
	}
	ret = thp_map_new(&zero, THP_ZERO, why);
	thp_obs_scan_mask &= ~(uint64_t)PAGE_IS_PFNZERO;
	if (!ret)
		ret = expect_state(zero.thp, THP_STATE_PMD, "unaware of its blindness", why);
	if (!ret)
		ret = thp_obs_probe_scan(zero.thp, pmd);
	if (!ret && !thp_obs_scan_blind)
		ret = thp_why(why, -EPROTO, "blindness was not noticed");
	if (!ret)
		ret = expect_state(zero.thp, THP_STATE_PMD_ZERO, "zero alone", why);
	if (ret)
		return ret;
	/* Or both became one VMA. */
	thp_map_destroy(&zero);
	p = mmap(NULL, 4 * pmd, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (p == MAP_FAILED)
		return thp_why(why, -errno, "mmap: %s", strerror(errno));
	madvise(p, 4 * pmd, MADV_HUGEPAGE);
	p = (char *)(((uintptr_t)p + pmd - 1) & ~(pmd - 1));
	thp_touch(p);
	ret = expect_state(p, THP_STATE_PMD, "data alone", why);
	thp_peek(p + pmd);
	if (!ret)
		ret = expect_state(p, mixed, "data beside zero", why);
	return ret ? ret : expect_state(p + pmd, mixed_zero, "zero beside data", why);
}

/* PAGEMAP_SCAN of Linux 6.7 to 6.15: as if PAGE_IS_PFNZERO were never reported. */
TEST_F(oracle, scan_blind)
{
	struct thp_why why = { 0 };
	bool unprivileged = false;

	THP_NEEDS(THP_NEED_ZERO | THP_NEED_SCAN);
	THP_REQUIRE_OK(thp_child_run(look_blindly, &unprivileged, 5000, &why), &why);
	unprivileged = thp_env.root;
	THP_REQUIRE_OK(thp_child_run(look_blindly, &unprivileged, 5000, &why), &why);
}

TEST_F(oracle, tables)
{
	struct thp_why why = { 0 };
	long long a, b;
	long got;
	unsigned int i;
	char *p;

	/* As many more tables as make whole kB, and it is seen. */
	THP_REQUIRE_OK(thp_map_create(&self->map, THP_SMALL, &why), &why);
	p = mmap(NULL, (2 + thp_env.unit) * thp_env.pmd, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	THP_REQUIRE(p != MAP_FAILED, "mmap");
	madvise(p, (2 + thp_env.unit) * thp_env.pmd, MADV_NOHUGEPAGE);
	thp_touch(p);
	a = thp_obs_vmpte(0);
	for (i = 1; i <= thp_env.unit; i++)
		thp_touch(p + i * thp_env.pmd);
	b = thp_obs_vmpte(0);
	THP_CHECK(thp_env_tables(b - a, &got) && got == (long)thp_env.unit,
		  "%+ld tables, expected %+d", got, (int)thp_env.unit);
	THP_CHECK(!thp_env_tables(thp_env.table - 1, &got), "a fraction of a table passed");
	THP_CHECK(thp_obs_vmpte(1 << 22) < 0, "VmPTE of a process that does not exist");
}

TEST_F(oracle, events)
{
	struct thp_map *m = &self->map;
	struct thp_events e0, e1;
	struct thp_why why = { 0 };

	THP_REQUIRE_OK(thp_map_new(m, THP_ANON, &why), &why);
	thp_obs_events(&e0);
	THP_CHECK(!mprotect(thp_page(m, 1), thp_env.page, PROT_READ), "mprotect");
	thp_obs_events(&e1);
	THP_CHECK(e1.split_pmd > e0.split_pmd, "a split is not in thp_split_pmd");
	THP_CHECK(thp_obs_vmstat("no_such_event") == THP_EVENT_NONE, "an unknown event passed");
}

TEST_F(oracle, layout)
{
	struct thp_map *m = &self->map;
	static struct thp_smaps a, b;
	struct thp_why why = { 0 };

	THP_REQUIRE_OK(thp_map_new(m, THP_ANON, &why), &why);
	THP_CHECK_OK(thp_obs_smaps(0, m->area, m->area_len, &a), &why);
	THP_CHECK(!madvise(thp_page(m, 1), thp_env.page, MADV_DONTDUMP), "MADV_DONTDUMP");
	THP_CHECK_OK(thp_obs_smaps(0, m->area, m->area_len, &b), &why);
	THP_CHECK(b.vmas == a.vmas + 2, "%u VMAs became %u, expected two more", a.vmas, b.vmas);
	THP_CHECK(strcmp(a.layout, b.layout), "a flag of one page is not in the layout");
}

/* What people read when a test fails: who found it, what, and once only. */
TEST_F(lib, why)
{
	struct thp_why why = { 0 }, inner = { 0 };
	char line[200], want[200];
	int at;

	THP_CHECK(thp_why(&why, -EIO, "%d things", 3) == -EIO, "the error was lost");
	at = __LINE__ - 1;
	(void)thp_why(&why, -EPERM, "a consequence");
	thp_why_line(line, sizeof(line), &why, -EIO, "call(&why)", "dir/file.c", 1);
	snprintf(want, sizeof(want), "selftest.c:%d: 3 things (EIO)", at);
	THP_CHECK(!strcmp(line, want), "got \"%s\", expected \"%s\"", line, want);
	THP_CHECK(thp_why_from(&inner, -EPROTO, &why, "child %d", 2) == -EPROTO, "another error");
	thp_why_line(line, sizeof(line), &inner, -EPROTO, "call(&why)", "dir/file.c", 1);
	snprintf(want, sizeof(want), "selftest.c:%d: child 2: 3 things", at);
	THP_CHECK(!strcmp(line, want), "got \"%s\", expected \"%s\"", line, want);
	thp_why_clear(&why);
	thp_why_line(line, sizeof(line), &why, -ETIMEDOUT, "call(&why)", "dir/file.c", 1);
	THP_CHECK(!strcmp(line, "file.c:1: call: Connection timed out (ETIMEDOUT)"),
		  "without a cause: \"%s\"", line);
	thp_why_line(line, sizeof(line), &why, -ETIMEDOUT, "ret", "dir/file.c", 1);
	THP_CHECK(!strcmp(line, "file.c:1: failed: Connection timed out (ETIMEDOUT)"),
		  "of a variable: \"%s\"", line);
	THP_CHECK(thp_read_file("/no/such", line, sizeof(line)) == -ENOENT, "it is there");
	thp_why_line(line, sizeof(line), &why, -ENOENT, "call(&why)", "dir/file.c", 1);
	THP_CHECK(strstr(line, "/no/such cannot be opened (ENOENT)"), "no note: \"%s\"", line);
	thp_why_line(line, sizeof(line), &why, -EIO, "call(&why)", "dir/file.c", 1);
	THP_CHECK(!strstr(line, "/no/such"), "a note of another error: \"%s\"", line);
	thp_why_clear(&why);
	thp_why_line(line, sizeof(line), &why, -ENOENT, "call(&why)", "dir/file.c", 1);
	THP_CHECK(!strstr(line, "/no/such"), "a note from before: \"%s\"", line);
}

/* A reason is a constant whatever the detail, and comes out of a child as it is. */
static int skips(struct thp_chan *chan, void *arg)
{
	return thp_skip(&chan->why, "needs a reason", "detail %d", *(int *)arg);
}

TEST_F(lib, skip)
{
	struct thp_why why = { 0 };
	int number = 7, ret;

	ret = thp_child_run(skips, &number, 5000, &why);
	THP_CHECK(ret == -ENOTSUP && why.skip && !strcmp(why.skip, "needs a reason"),
		  "a child's SKIP became %s \"%s\"", thp_errno_name(ret), why.text);
	THP_CHECK(!strcmp(why.text, "needs a reason: detail 7"), "detail: \"%s\"", why.text);
	thp_why_clear(&why);
	THP_CHECK(thp_skip(&why, "needs a reason") == -ENOTSUP &&
		  !strcmp(why.text, "needs a reason"), "no detail: \"%s\"", why.text);
}

/* From here on these calls fail with @err, as a container's filter lets them. */
static int filter_calls(int err)
{
	static const int calls[] = {
		__NR_move_pages, __NR_mbind, __NR_userfaultfd, __NR_set_mempolicy_home_node,
		__NR_mseal, __NR_io_uring_setup, __NR_process_mrelease,
	};
	struct sock_filter f[2 * ARRAY_SIZE(calls) + 2];
	struct sock_fprog prog = { .len = ARRAY_SIZE(f), .filter = f };
	struct sock_filter *p = f;
	size_t i;

	*p++ = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
					    offsetof(struct seccomp_data, nr));
	for (i = 0; i < ARRAY_SIZE(calls); i++) {
		*p++ = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, calls[i], 0, 1);
		*p++ = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | err);
	}
	*p++ = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_SECCOMP, 2, &prog))
		return -errno;
	return 0;
}

/* No reason may claim that a kernel lacks what a filter forbids, nor the reverse. */
static int reasons_under_filter(struct thp_chan *chan, void *arg)
{
	static const uint64_t needs[] = {
		THP_NEED_UFFD, THP_NEED_UFFD_WP, THP_NEED_UFFD_ASYNC, THP_NEED_UFFD_MOVE,
		THP_NEED_UFFD_RWP, THP_NEED_MOVE_PAGES, THP_NEED_NUMA, THP_NEED_HOME_NODE,
		THP_NEED_MSEAL, THP_NEED_URING, THP_NEED_MRELEASE,
	};
	const struct thp_facts facts = { 0 };
	int err = *(int *)arg, ret = filter_calls(err);
	size_t i;

	if (ret)
		return thp_why(&chan->why, ret, "seccomp: %s", thp_errno_name(ret));
	thp_needs_find(&facts);
	for (i = 0; i < ARRAY_SIZE(needs); i++) {
		const char *reason = thp_env_missing(needs[i]);
		bool forbidden = reason && strstr(reason, "forbidden"), want = err == EPERM;

		if (!reason || forbidden != want)
			return thp_why(&chan->why, -EPROTO, "need %zu, %s: the reason is \"%s\"", i,
				       thp_errno_name(err), reason ? reason : "none");
	}
	return 0;
}

TEST_F(lib, reasons)
{
	struct thp_why why = { 0 };
	int eperm = EPERM, enosys = ENOSYS;

	THP_CHECK_OK(thp_child_run(reasons_under_filter, &eperm, 5000, &why), &why);
	THP_CHECK_OK(thp_child_run(reasons_under_filter, &enosys, 5000, &why), &why);
}

static int allow_thps(struct thp_chan *chan, void *arg)
{
	(void)arg;
	if (prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0))
		return thp_why(&chan->why, -errno, "PR_SET_THP_DISABLE: %s", strerror(errno));
	thp_env_allow_thps();
	if (!thp_env.was_disabled || prctl(PR_GET_THP_DISABLE, 0, 0, 0, 0))
		return thp_why(&chan->why, -EPROTO, "THPs are still disabled");
	return 0;
}

TEST_F(lib, thp_disable)
{
	struct thp_why why = { 0 };

	THP_CHECK_OK(thp_child_run(allow_thps, NULL, 5000, &why), &why);
}

TEST_F(lib, kernel_log_patterns)
{
	static const char * const bad[] = {
		"WARNING: CPU: 0 PID: 1 at mm/huge_memory.c:1 f+0x0/0x1",
		"BUG: non-zero pgtables_bytes on freeing mm: 4096",
		"BUG: Bad rss-counter state mm:0 type:MM_ANONPAGES val:512",
		"Oops: 0000 [#1] SMP",
		"INFO: task t:1 blocked for more than 120 seconds.",
		"WARNING: possible circular locking dependency detected",
		"BUG: sleeping function called from invalid context at mm/page_alloc.c:1",
		"watchdog: BUG: soft lockup - CPU#0 stuck for 22s!",
		"rcu: INFO: rcu_preempt self-detected stall on CPU",
		"mm/pgtable-generic.c:1: bad pmd 0000(0)",
		"WARNING: mm/huge_memory.c:1 at f+0x0/0x1, CPU#1: t/1",
		"WARNING: suspicious RCU usage",
		"kernel BUG at mm/page_table_check.c:118!",
		"Oops: general protection fault, probably for non-canonical address 0x0: 0000 [#1]",
		"Internal error: Oops: 0000000096000004 [#1]  SMP",
		"Unable to handle kernel NULL pointer dereference at virtual address 0",
		"BUG: Bad page state in process t  pfn:1",
		"BUG: KASAN: slab-use-after-free in f+0x0/0x1",
		"BUG kmalloc-64 (Not tainted): Right Redzone overwritten",
		"watchdog: CPU3: Watchdog detected hard LOCKUP on cpu 3",
		"rcu: rcu_preempt kthread starved for 1 jiffies!",
		"list_del corruption. prev->next should be 0, but was 1",
		"refcount_t: underflow; use-after-free.",
	};
	static const char * const good[] = {
		"Memory cgroup out of memory: Killed process 1",
		"t: page allocation failure: order:0",
		"FAULT_INJECTION: forcing a failure.",
		"Huh VM_FAULT_OOM leaked out to the #PF handler. Retrying PF",
		"drop_caches: 2",
		/* A call trace of an injected failure, and the registers. */
		" ? page_table_check_set+0x180/0x260",
		" page_table_check_zero+0x1/0x2",
		" bad_page+0x1/0x2",
		" __warn+0x1/0x2",
		" oops_begin+0x1/0x2",
		" ? refcount_warn_saturate+0x1/0x2",
		"Call Trace:",
		"RIP: 0010:page_table_check_set+0x180/0x260",
		"Code: 0f 0b <0f> 0b",
		"[c000000000000001] [c000000000000002] page_table_check_set+0x180/0x260",
		/* Not of the kernel. */
		"traps: t[1] general protection fault ip:1 sp:1 error:0 in t[1,1]",
		"watchdog: Delayed init of the lockup detector failed: 0",
		"Command line: page_table_check=on oops=panic hung_task_panic=1",
		"t: Oops, says a process",
	};
	size_t i;

	for (i = 0; i < ARRAY_SIZE(bad); i++)
		THP_CHECK(thp_kmsg_is_bad(bad[i]), "not reported: %s", bad[i]);
	for (i = 0; i < ARRAY_SIZE(good); i++)
		THP_CHECK(!thp_kmsg_is_bad(good[i]), "reported: %s", good[i]);
}

TEST_F(lib, kernel_log)
{
	struct thp_why why = { 0 };
	struct thp_kmsg log;

	THP_NEEDS(THP_NEED_ROOT);
	/* What is made up is not for the guardian's list. */
	THP_REQUIRE_OK(thp_run_init(false), &why);
	THP_REQUIRE_OK(thp_kmsg_open(&log), &why);
	log.selftest = true;
	THP_REQUIRE_OK(thp_write_file("/dev/kmsg", THP_KMSG_SELFTEST "fine\n"), &why);
	THP_CHECK_OK(thp_kmsg_check(&log, &why), &why);
	THP_REQUIRE_OK(thp_write_file("/dev/kmsg", THP_KMSG_SELFTEST "WARNING: made up\n"), &why);
	THP_CHECK(thp_kmsg_check(&log, &why) == -EPROTO && strstr(why.text, "made up"),
		  "a WARNING in the log was not reported");
}

TEST_F(lib, taint)
{
	THP_CHECK(thp_kmsg_taint_is_bad(0, 1 << 9), "a warning's taint passed");
	THP_CHECK(thp_kmsg_taint_is_bad(1 << 12, 1 << 12 | 1 << 7), "an oops' taint passed");
	THP_CHECK(thp_kmsg_taint_is_bad(0, 1 << 5), "a bad page's taint passed");
	THP_CHECK(!thp_kmsg_taint_is_bad(1 << 9, 1 << 9), "an old taint was reported");
	/* F and O come with modules. */
	THP_CHECK(!thp_kmsg_taint_is_bad(0, 1 << 12 | 1 << 1), "a module's taint was reported");
}

TEST_F(lib, kernel_log_names)
{
	static const struct {
		const char *line, *comm;
		pid_t pid;
	} lines[] = {
		{ "CPU: 1 UID: 0 PID: 23 Comm: thp_x Not tainted 7.3.4 #1 PREEMPT", "thp_x", 23 },
		{ "CPU: 1 PID: 23 Comm: kworker/1:0 Tainted: G W 6.1.0", "kworker/1:0", 23 },
		{ "BUG: Bad rss-counter state mm:0 type:MM_ANONPAGES val:1 Comm:thp_x Pid:23",
		  "thp_x", 23 },
		{ "WARNING: mm/x.c:1 at f+0x0/0x1, CPU#1: kworker/1:0/23", "kworker/1:0", 23 },
		{ "Read of size 8 at addr ffff8881 by task thp_x/23", "thp_x", 23 },
		{ "INFO: task thp_x:23 blocked for more than 120 seconds.", "thp_x", 23 },
		{ "INFO: task thp_x:23 is blocked on a mutex likely owned by task b:24.", "thp_x",
		  23 },
		{ "watchdog: BUG: soft lockup - CPU#0 stuck for 22s! [thp_x:23]", "thp_x", 23 },
	};
	char comm[32];
	pid_t pid;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(lines); i++) {
		pid = 0;
		THP_CHECK(thp_kmsg_names_task(lines[i].line, &pid, comm, sizeof(comm)) &&
			  pid == lines[i].pid && !strcmp(comm, lines[i].comm),
			  "PID %d, name %s read from: %s", pid, comm, lines[i].line);
	}
	THP_CHECK(!thp_kmsg_names_task("BUG: non-zero pgtables_bytes on freeing mm: 4096", &pid,
				       comm, sizeof(comm)), "a task in a line without one");
}

/* A log that holds @lines, and no more; "%d" stands for @pid. */
static int made_up_log(struct thp_kmsg *log, const char * const *lines, pid_t pid)
{
	char rec[512];
	int fds[2], n;

	/* As /dev/kmsg: one record for each read(). */
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, fds))
		return -errno;
	for (; *lines; lines++) {
		n = snprintf(rec, sizeof(rec), *lines, pid);
		if (write(fds[1], rec, n) != n)
			return -EIO;
	}
	close(fds[1]);
	log->fd = fds[0];
	log->selftest = false;
	return 0;
}

static int begins_test(struct thp_chan *chan, void *arg)
{
	thp_run_begin(arg, 30);
	thp_chan_post_parent(chan, 1);
	thp_chan_await_parent(chan, 1);
	thp_run_end();
	return 0;
}

/* Who is blamed for @lines about process @pid: the running test, or what is printed. */
static int blame(const char * const *lines, pid_t pid, const char *expected, struct thp_why *why)
{
	int was = thp_run_unowned_count(), ret;
	struct thp_why cause = { 0 };
	struct thp_kmsg log;

	ret = made_up_log(&log, lines, pid);
	if (ret)
		return thp_why(why, ret, "socketpair: %s", thp_errno_name(ret));
	ret = thp_kmsg_check(&log, &cause);
	close(log.fd);
	if (!expected && ret == -EPROTO && thp_run_unowned_count() == was)
		return 0;
	if (expected && !ret && thp_run_unowned_count() == was + 1 &&
	    (was || strstr(thp_run_unowned_first(), expected)))
		return 0;
	return thp_why(why, -EPROTO, "%s about %d: %s, %d others, expected %s", lines[0], pid,
		       thp_errno_name(ret), thp_run_unowned_count() - was,
		       expected ? expected : "the test to be blamed");
}

static const char * const new_warning[] = {
	"4,1,1,-;------------[ cut here ]------------",
	"4,1,1,-;WARNING: mm/x.c:1 at f+0x0/0x1, CPU#1: selftest/%d", NULL,
};

static const char * const old_warning[] = {
	"4,1,1,-;WARNING: CPU: 1 PID: %d at mm/x.c:1 f+0x0/0x1",
	"4,1,1,-;Modules linked in:",
	"4,1,1,-;CPU: 1 PID: %d Comm: selftest Not tainted 6.1.0", NULL,
};

static const char * const caller_only[] = {
	"4,1,1,-,caller=T%d;BUG: made up", NULL,
};

/* check_mm() is not always called by the process that the memory was of. */
static const char * const nameless[] = {
	"4,1,1,-;BUG: non-zero pgtables_bytes on freeing mm: 4096",
	"4,1,1,-;CPU: 1 PID: 2 Comm: kthreadd Not tainted, and nothing to do with it", NULL,
};

/* The running test is to blame for its own processes, and for no others. */
TEST_F(lib, kernel_log_blame)
{
	struct thp_child first = { 0 }, second = { 0 };
	struct thp_why why = { 0 };
	struct stat st;
	pid_t was;

	if (stat("/proc/self/ns/pid", &st) || st.st_ino != 0xEFFFFFFCUL)
		THP_SKIP("needs the initial PID namespace");
	THP_REQUIRE_OK(thp_run_init(false), &why);
	THP_REQUIRE_OK(thp_child_start(&first, begins_test, "first.test"), &why);
	was = first.pid;
	THP_REQUIRE_OK(thp_child_await(&first, 1, THP_STEP_MS), &why);
	THP_CHECK_OK(blame(new_warning, was, NULL, &why), &why);
	thp_chan_post_child(first.chan, 1);
	THP_CHECK_OK(thp_child_join(&first, THP_STEP_MS, &why), &why);
	THP_REQUIRE_OK(thp_child_start(&second, begins_test, "second.test"), &why);
	THP_REQUIRE_OK(thp_child_await(&second, 1, THP_STEP_MS), &why);
	THP_CHECK_OK(blame(new_warning, was, "of first.test, during or after second.test", &why),
		     &why);
	THP_CHECK_OK(blame(old_warning, second.pid, NULL, &why), &why);
	THP_CHECK_OK(blame(caller_only, second.pid, NULL, &why), &why);
	THP_CHECK_OK(blame(nameless, 0, NULL, &why), &why);
	THP_CHECK_OK(blame(caller_only, was, "of first.test", &why), &why);
	THP_CHECK_OK(blame(old_warning, 2, "by the kernel itself", &why), &why);
	THP_CHECK_OK(blame(caller_only, 0, "by the kernel itself", &why), &why);
	THP_CHECK_OK(blame(old_warning, 1, "not of this suite", &why), &why);
	THP_CHECK(!thp_run_broken(), "a WARNING was taken for the end of the kernel");
	thp_chan_post_child(second.chan, 1);
	THP_CHECK_OK(thp_child_join(&second, THP_STEP_MS, &why), &why);
	THP_CHECK_OK(blame(nameless, 0, "after second.test", &why), &why);
	/* The first one is told again in the end. */
	THP_CHECK(strstr(thp_run_unowned_first(), "of first.test"), "first: %s",
		  thp_run_unowned_first());
}

/* Three lines of one report: it is one, and the kernel is no good any more. */
TEST_F(lib, kernel_log_oops)
{
	static const char * const oops[] = {
		"1,1,1,-;BUG: kernel NULL pointer dereference, address: 0000000000000000",
		"6,1,1,-;PGD 0 P4D 0",
		"4,1,1,-;Oops: Oops: 0000 [#1] SMP PTI",
		"4,1,1,-;CPU: 1 UID: 0 PID: %d Comm: selftest Not tainted 7.3.4", NULL,
	};
	struct thp_child child = { 0 };
	struct thp_why why = { 0 };

	THP_REQUIRE_OK(thp_run_init(false), &why);
	THP_REQUIRE_OK(thp_child_start(&child, begins_test, "some.test"), &why);
	THP_REQUIRE_OK(thp_child_await(&child, 1, THP_STEP_MS), &why);
	THP_CHECK(!thp_run_broken(), "broken before anything happened");
	THP_CHECK_OK(blame(oops, child.pid, NULL, &why), &why);
	THP_CHECK(thp_run_broken(), "an oops, and the next tests would run");
	thp_chan_post_child(child.chan, 1);
	THP_CHECK_OK(thp_child_join(&child, THP_STEP_MS, &why), &why);
	THP_CHECK(!thp_run_begin("next.test", 30), "a test begins on a broken kernel");
}

/* A process that stays although it was killed: nothing else is tried then. */
TEST_F(lib, undying)
{
	struct thp_why why = { 0 };

	THP_REQUIRE_OK(thp_run_init(false), &why);
	THP_CHECK(thp_run_begin("some.test", 30), "a test does not begin");
	thp_run_end();
	/* The parent of this process, which is there all the time. */
	thp_run_suspect(getppid());
	THP_CHECK(!thp_run_begin("next.test", 30), "a test begins beside a process that stays");
	THP_CHECK(thp_run_broken(), "and that says nothing about the kernel");
}

static int returns_error(struct thp_chan *chan, void *arg)
{
	(void)arg;
	return thp_why(&chan->why, -EIO, "the child's own cause");
}

static int crashes(struct thp_chan *chan, void *arg)
{
	(void)chan;
	(void)arg;
	raise(SIGSEGV);
	return 0;
}

static int hangs(struct thp_chan *chan, void *arg)
{
	(void)chan;
	(void)arg;
	for (;;)
		pause();
	return 0;
}

TEST_F(lib, child)
{
	struct thp_child c = { 0 };
	struct thp_why why = { 0 };

	EXPECT_CAUSE(thp_child_run(returns_error, NULL, THP_STEP_MS, WHY), "own cause");
	EXPECT_CAUSE(thp_child_run(crashes, NULL, THP_STEP_MS, WHY), "SIGSEGV");
	EXPECT_CAUSE(thp_child_run(hangs, NULL, 50, WHY), "did not finish within");
	THP_REQUIRE_OK(thp_child_start(&c, hangs, NULL), &why);
	THP_CHECK(thp_child_await(&c, 1, 50) == -ETIMEDOUT, "a silent child was not noticed");
	kill(c.pid, SIGKILL);
	THP_CHECK(thp_child_await(&c, 1, THP_STEP_MS) == -ECHILD, "a dead child was not noticed");
	thp_child_kill(&c);
}

static int burns(struct thp_chan *chan, void *arg)
{
	(void)arg;
	thp_chan_post_parent(chan, 1);
	for (;;)
		;
	return 0;
}

/* Who gets on is not late, however long it all takes. */
static int beats(struct thp_chan *chan, void *arg)
{
	int i;

	(void)arg;
	for (i = 0; i < 40; i++) {
		thp_chan_beat(chan);
		thp_spin_us(10000);
	}
	return 0;
}

/* A limit is one of CPU time, and of much more time by the clock. */
TEST_F(lib, limits)
{
	struct thp_child c = { 0 };
	struct thp_why why = { 0 };
	struct thp_deadline d;

	THP_CHECK(thp_slow() >= 1 && thp_slow() <= THP_SLOW_MAX && thp_limit(100) >= 100,
		  "limits x %.1f, 100 ms become %d", thp_slow(), thp_limit(100));
	THP_REQUIRE_OK(thp_child_start(&c, burns, NULL), &why);
	THP_REQUIRE_OK(thp_child_await(&c, 1, THP_STEP_MS), &why);
	thp_deadline_start(&d, c.pid, 100);
	THP_CHECK(thp_child_await_until(&c, 2, &d) == -ETIMEDOUT, "an endless loop is not over");
	THP_CHECK(thp_deadline_burnt(&d) && (d.cpu >= 100 || d.wall >= THP_WALL * 100LL),
		  "a loop of %lld ms, %lld ms on a CPU", d.wall, d.cpu);
	/* Stopped, it gets no CPU, as on a machine that is busy. */
	kill(c.pid, SIGSTOP);
	thp_deadline_start(&d, c.pid, 50);
	THP_CHECK(thp_child_await_until(&c, 2, &d) == -ETIMEDOUT, "a process that sleeps goes on");
	THP_CHECK(!thp_deadline_burnt(&d) && d.wall >= THP_WALL * 50LL,
		  "accused after %lld ms, %lld ms on a CPU", d.wall, d.cpu);
	thp_child_kill(&c);
	THP_CHECK_OK(thp_child_run(beats, NULL, 100, &why), &why);
}

/* One operation that loops is remembered, the others are not held responsible. */
TEST_F(lib, loops)
{
	struct thp_why why = { 0 };

	THP_REQUIRE_OK(thp_run_init(false), &why);
	THP_CHECK(!thp_run_has_looped("munmap_mid"), "known before it happened");
	thp_run_note_loop("munmap_mid");
	THP_CHECK(thp_run_has_looped("munmap_mid"), "forgotten");
	THP_CHECK(!thp_run_has_looped("munmap_head"), "held against another operation");
}

/* A system call after the other, as a loop in the kernel: only food ends it. */
static int loops_hungry(struct thp_chan *chan, void *arg)
{
	(void)chan;
	(void)arg;
	thp_run_starve(true);
	while (thp_run_accused()[0] == '\0')
		(void)!write(-1, "", 1);
	thp_run_starve(false);
	return 0;
}

static int hungry_test(void *arg)
{
	struct thp_why why = { 0 };
	int ret;

	(void)arg;
	thp_guard_ready();
	if (!thp_run_begin("hungry.test", 30))
		return 3;
	ret = thp_child_run(loops_hungry, NULL, 5 * THP_RETURN_MS, &why);
	thp_guard_finished();
	return !ret && strstr(thp_run_accused(), "livelock") &&
	       thp_run_has_looped("hungry.test") ? 0 : 3;
}

/* Runs a test that never ends, in the first of its processes: as the harness does. */
static int endless_test(void *arg)
{
	const char *breaks = arg;
	const char *cause = breaks ? "the kernel is broken" : "not done after";
	pid_t child;
	int status;

	thp_guard_ready();
	if (!thp_run_begin("endless.test", breaks ? 30 : 1))
		return 3;
	setpgid(0, 0);
	child = fork();
	if (!child) {
		for (;;)
			pause();
	}
	if (breaks)
		thp_run_break(breaks);
	if (waitpid(child, &status, 0) != child || !WIFSIGNALED(status))
		return 3;
	/* Its clean-up gets here, and knows why. */
	thp_guard_finished();
	return strstr(thp_run_accused(), cause) ? 0 : 3;
}

/* The parent of a vfork() sleeps as one that waits for a lock does. */
static int sleeping_test(void *arg)
{
	pid_t child;
	int status;

	(void)arg;
	thp_guard_ready();
	if (!thp_run_begin("sleeping.test", 60))
		return 3;
	child = fork();
	if (!child) {
		/* prctl(): the end of its parent is the end of it. */
		if (!vfork()) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			for (;;)
				pause();
		}
		_exit(0);
	}
	waitpid(child, &status, 0);
	thp_guard_finished();
	return strstr(thp_run_accused(), "asleep in the kernel") ? 0 : 3;
}

struct guarded {
	int (*body)(void *arg);
	char *arg;
	int code;
};

static int guards(struct thp_chan *chan, void *arg)
{
	struct guarded *guarded = arg;
	struct thp_why why = { 0 };
	int ret;

	/* Who is not root needs no lock: this runs beside the guardian of this program. */
	if (setuid(65534))
		return thp_why(&chan->why, -errno, "setuid: %s", strerror(errno));
	thp_settings_close();
	ret = thp_guard_run(guarded->body, guarded->arg, &why);
	if (ret != guarded->code)
		return thp_why(&chan->why, -EPROTO, "the guardian says %d", ret);
	return 0;
}

/*
 * The guardian ends a test that is over its limit, one whose kernel has crashed, one that
 * waits for a lock for ever, and what loops while it starves itself.
 */
TEST_F_TIMEOUT(lib, guardian, 90)
{
	struct guarded late = { endless_test, NULL, 0 }, broken = { endless_test, "made up", 1 };
	struct guarded hungry = { hungry_test, NULL, 0 }, sleeping = { sleeping_test, NULL, 0 };
	struct thp_why why = { 0 };

	THP_NEEDS(THP_NEED_ROOT);
	THP_CHECK_OK(thp_child_run(guards, &late, THP_STEP_MS, &why), &why);
	THP_CHECK_OK(thp_child_run(guards, &broken, THP_STEP_MS, &why), &why);
	THP_CHECK_OK(thp_child_run(guards, &hungry, THP_STEP_MS, &why), &why);
	THP_CHECK_OK(thp_child_run(guards, &sleeping, THP_STEP_MS, &why), &why);
}

TEST_F(lib, settings)
{
	static const char path[] = THP_SYSFS "khugepaged/alloc_sleep_millisecs";
	struct thp_why why = { 0 };
	uint64_t was, now;
	long mark;

	THP_NEEDS(THP_NEED_ROOT);
	THP_REQUIRE_OK(thp_read_u64(path, &was), &why);
	mark = thp_settings_mark();
	THP_REQUIRE_OK(thp_settings_set(path, "12345"), &why);
	THP_REQUIRE_OK(thp_settings_set(path, "23456"), &why);
	thp_read_u64(path, &now);
	THP_CHECK(now == 23456, "set to 23456, is %llu", (unsigned long long)now);
	THP_CHECK_OK(thp_settings_restore(mark, &why), &why);
	thp_read_u64(path, &now);
	THP_CHECK(now == was, "was %llu, restored to %llu", (unsigned long long)was,
		  (unsigned long long)now);
	THP_CHECK(thp_settings_set("/sys/no/such/file", "1") == -ENOENT, "an unknown file passed");
	/* A module that is gone already was unloaded; anything else is a file. */
	mark = thp_settings_mark();
	THP_CHECK_OK(thp_settings_note(THP_SETTINGS_MODULE "no_such", THP_SETTINGS_UNLOAD), &why);
	THP_CHECK_OK(thp_settings_restore(mark, &why), &why);
	THP_CHECK_OK(thp_settings_note(THP_SETTINGS_MODULE "no_such", "1"), &why);
	THP_CHECK(thp_settings_restore(mark, &why) == -ENOENT, "a file of a module was unloaded");
}

/* A name that ends in a place names the place of the row. */
static bool named_after_place(const struct split_op *op)
{
	static const char * const places[] = {
		[AT_HEAD] = "_head", [AT_MID] = "_mid", [AT_TAIL] = "_tail",
		[AT_UPPER] = "_half", [AT_WHOLE] = "_whole",
	};
	const char *end = strrchr(op->name, '_');
	size_t i;

	for (i = 0; end && i < ARRAY_SIZE(places); i++)
		if (!strcmp(end, places[i]))
			return op->where == i;
	return true;
}

/* Rows of the table are complete enough to be judged. */
TEST_F(lib, split_rows)
{
	bool proven;
	size_t i, j;

	for (i = 0; split_op_at(i); i++) {
		const struct split_op *op = split_op_at(i);

		THP_CHECK(op->name && !op->run != !op->run_with && op->covers && op->covers[0],
			  "row %zu lacks a name, a function or what it covers", i);
		THP_CHECK(named_after_place(op), "%s is at another place than its name", op->name);
		THP_CHECK(op->kinds | op->keeps, "%s is legal on no mapping", op->name);
		THP_CHECK(!(op->kinds & op->keeps), "%s both splits and keeps a kind", op->name);
		/* What success does is proven, or the row says why not. */
		proven = op->says.trait || op->meets.trait || op->verify ||
			 op->effect == ZEROES || op->effect == WRITES;
		if (op->kinds)
			THP_CHECK(proven == !op->unproven, "%s: %s", op->name, proven ?
				  "a proof, and a reason for having none" :
				  "no proof of its effect, and no reason for that");
		for (j = 0; j < i; j++)
			THP_CHECK(strcmp(op->name, split_op_at(j)->name), "%s stands twice", op->name);
	}
}

/*
 * Every row of the table as kernels with a bug would run it, each of which has to be
 * noticed; and as it is, which has to pass. Judged is what thp_lazy_split judges: that
 * the PMD was split, split_verify(), and the contents.
 */
FIXTURE(split) {
	struct thp_map map;
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

enum bug {
	NOTHING,	/* returns success, and does nothing */
	SPLITS_ONLY,	/* ... and only splits the PMD */
	BELOW_TOO,	/* does it to the page before the first, too */
	ABOVE_TOO,	/* ... to the page after the last */
};

#define TOO_MANY	(1 << BELOW_TOO | 1 << ABOVE_TOO)

/* What the table cannot notice, and why. Each line has to be true, see wants_notice(). */
static const struct blind {
	const char *op;
	unsigned int kinds;	/* enum thp_kind; 0: all that it splits */
	unsigned int bugs;
	const char *reason;
	uint64_t unless;	/* enum thp_need: where that is given, they are noticed */
} blind[] = {
	{ "guard_remove_mid", 0, 1 << SPLITS_ONLY | TOO_MANY,
	  "no page is a guard, on either side", 0 },
	{ "dontneed_mid", THP_SHMEM, 1 << SPLITS_ONLY | TOO_MANY,
	  "the split of a shared mapping drops every page", 0 },
	{ "mremap_shrink", 0, 1 << ABOVE_TOO, "the range ends at its upper end", 0 },
	{ "mprotect_merge_below", 0, 1 << BELOW_TOO, "that page is read-only before", 0 },
	{ "mprotect_merge_above", 0, 1 << ABOVE_TOO, "that page is read-only before", 0 },
	{ "pageout_mid", 0, TOO_MANY, "nothing leaves memory without swap", THP_NEED_SWAP },
	{ "to_device_split", 0, TOO_MANY, "takes one THP", 0 },
	{ "to_system_split", 0, TOO_MANY, "takes one THP", 0 },
	{ "debugfs_split", 0, TOO_MANY, "beside the range is no THP to take apart", 0 },
};

static bool is_blind(const struct split_op *op, enum thp_kind kind, enum bug bug)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(blind); i++)
		if (!strcmp(blind[i].op, op->name) && blind[i].bugs & 1 << bug &&
		    (!blind[i].kinds || blind[i].kinds & kind) &&
		    (!blind[i].unless || thp_env_missing(blind[i].unless)))
			return true;
	return false;
}

/* The VMA is split at a page, and merged again. */
static int split_only(struct thp_map *m)
{
	char *page = thp_page(m, thp_env.nr / 2);

	return mprotect(page, thp_env.page, PROT_READ) ||
	       mprotect(page, thp_env.page, PROT_READ | PROT_WRITE) ? -errno : 0;
}

/* The operation on one page more. */
static int run_too_many(const struct split_op *op, struct thp_map *m, enum bug bug)
{
	size_t len = split_count(op) * thp_env.page;
	char *at = thp_page(m, split_first(op));
	char *more = bug == BELOW_TOO ? at - thp_env.page : at + len;
	int ret;

	if (op->effect != WRITES)
		return split_run_at(op, m, bug == BELOW_TOO ? more : at,
				    len + thp_env.page);
	/* Writes go to one page at a time, and may take what they write from a pipe. */
	ret = split_run_at(op, m, at, len);
	if (!ret && m->pipe[1] >= 0 && write(m->pipe[1], "\x5a", 1) != 1)
		ret = -errno;
	return ret ? ret : split_run_at(op, m, more, len);
}

/* 0: nothing was noticed. *@ran: the operation, or its caricature, returned 0. */
static int run_and_judge(const struct split_op *op, struct thp_map *m,
			 int (*run)(const struct split_op *op, struct thp_map *m, enum bug bug),
			 enum bug bug, bool *ran, struct thp_why *why)
{
	enum thp_state state;
	int ret = run(op, m, bug);

	*ran = !ret;
	if (ret)
		return thp_why(why, ret, "%s returned %s", op->name, thp_errno_name(ret));
	ret = thp_obs_state(m->thp, thp_env.pmd, &state);
	if (ret)
		return thp_why(why, ret, "page map: %s", thp_errno_name(ret));
	if (split_expected(op, m->kind) && state == thp_kind_state(m->kind))
		return thp_why(why, -EPROTO, "the range is still %s", thp_state_name(state));
	ret = split_verify(op, m, why);
	return ret ? ret : split_check_data(op, m, true, why);
}

static int run_bug(const struct split_op *op, struct thp_map *m, enum bug bug)
{
	return bug == NOTHING ? 0 : bug == SPLITS_ONLY ? split_only(m) : run_too_many(op, m, bug);
}

static int run_right(const struct split_op *op, struct thp_map *m, enum bug bug)
{
	(void)bug;
	return split_run(op, m);
}

static void wants_notice(struct __test_metadata *_metadata, struct thp_map *m,
			 const struct split_op *op, enum thp_kind kind, enum bug bug)
{
	bool blind = is_blind(op, kind, bug), ran;
	struct thp_why why = { 0 };
	int ret;

	if (!split_expected(op, kind))
		THP_SKIP("no PMD is split by this, there is nothing to prove");
	if ((op->flags & OP_FOLIO || op->starved == ADVICE) && !thp_env.root)
		THP_SKIP("needs root: folios are told by their frame numbers");
	THP_REQUIRE_OK(thp_map_new(m, kind, &why), &why);
	THP_REQUIRE_OK(split_prepare(op, m, &why), &why);
	ret = run_and_judge(op, m, run_bug, bug, &ran, &why);
	if (blind)
		THP_CHECK(!ret || !ran, "noticed (%s), although the list says that it cannot be",
			  why.text);
	else
		THP_CHECK(ret && ran, "%s: %s", ran ? "was not noticed" : "could not be tried",
			  why.text);
	if (ret)
		TH_LOG("%s", why.text);
}

TEST_F(split, as_it_is)
{
	const struct split_op *op = variant->op;
	struct thp_map *m = &self->map;
	struct thp_why why = { 0 };
	bool ran;

	THP_REQUIRE_OK(thp_map_new(m, variant->kind, &why), &why);
	THP_REQUIRE_OK(split_prepare(op, m, &why), &why);
	THP_CHECK_OK(split_untouched(op, m, &why), &why);
	THP_CHECK_OK(run_and_judge(op, m, run_right, NOTHING, &ran, &why), &why);
}

TEST_F(split, does_nothing)
{
	wants_notice(_metadata, &self->map, variant->op, variant->kind, NOTHING);
}

TEST_F(split, splits_only)
{
	wants_notice(_metadata, &self->map, variant->op, variant->kind, SPLITS_ONLY);
}

TEST_F(split, page_below_too)
{
	wants_notice(_metadata, &self->map, variant->op, variant->kind, BELOW_TOO);
}

TEST_F(split, page_above_too)
{
	wants_notice(_metadata, &self->map, variant->op, variant->kind, ABOVE_TOO);
}

/* Contents that are damaged outside of the named pages, and inside where they are kept. */
TEST_F(oracle, split_damage)
{
	struct thp_map *m = &self->map;
	struct thp_why why = { 0 };
	size_t i;

	THP_REQUIRE_OK(thp_map_new(m, THP_ANON, &why), &why);
	for (i = 0; split_op_at(i); i++) {
		const struct split_op *op = split_op_at(i);
		char *inside = thp_page(m, split_first(op)), *outside = m->thp;
		struct thp_why w = { 0 };

		if (op->where == AT_WHOLE)
			continue;
		if (inside == outside)
			outside += thp_env.pmd - 1;
		*outside ^= 1;
		THP_CHECK(split_check_data(op, m, true, &w), "%s: damage elsewhere passed",
			  op->name);
		*outside ^= 1;
		*inside ^= 1;
		THP_CHECK(op->effect != KEEPS_DATA || split_check_data(op, m, true, &w),
			  "%s: damage inside passed", op->name);
		*inside ^= 1;
		THP_CHECK_OK(split_check_data(op, m, false, &why), &why);
	}
}

/* A refused operation that has done its work all the same. */
TEST_F(split, refused_and_done)
{
	const struct split_op *op = variant->op;
	struct thp_map *m = &self->map;
	struct thp_why why = { 0 };

	if (!op->says.trait || (op->says.kinds && !(op->says.kinds & variant->kind)) ||
	    op->says.before == op->says.after)
		THP_SKIP("the kernel says nothing of this by page");
	THP_REQUIRE_OK(thp_map_new(m, variant->kind, &why), &why);
	THP_REQUIRE_OK(split_prepare(op, m, &why), &why);
	THP_REQUIRE(!split_run(op, m), "%s: %s", op->name, strerror(errno));
	THP_CHECK(split_untouched(op, m, &why), "the effect of a refused %s was not noticed",
		  op->name);
}

TEST_F(oracle, memcg_limit)
{
	struct thp_why why = { 0 };
	long long usage;

	THP_NEEDS(THP_NEED_MEMCG);
	THP_REQUIRE_OK(thp_cg_create(&self->cg, "selftest", &why), &why);
	usage = thp_cg_usage(&self->cg);
	THP_CHECK(usage >= 0, "usage: %lld", usage);
	THP_CHECK_OK(thp_cg_limit(&self->cg, 0), &why);
	THP_CHECK_OK(thp_cg_limit(&self->cg, THP_CG_MAX), &why);
	THP_CHECK(thp_cg_stat(&self->cg, "no_such_field") == -ENOENT, "an unknown field passed");
}

/* An injector that is set up and hits nothing has not fired. */
TEST_F(oracle, injector_silent)
{
	struct thp_why why = { 0 };

	THP_NEEDS(THP_NEED_FAIL_PAGE);
	THP_REQUIRE_OK(thp_inject_setup(true, 0, &why), &why);
	THP_CHECK(!thp_inject_fired(), "%ld failures before anything failed", thp_inject_fired());
	THP_REQUIRE_OK(thp_inject_task(getpid(), true), &why);
	getppid();
	THP_REQUIRE_OK(thp_inject_task(getpid(), false), &why);
	THP_CHECK(!thp_inject_fired(), "%ld failures of getppid()", thp_inject_fired());
}

/* ... and hits what it aims at: mlock() of a range that has no table yet. */
TEST_F(oracle, injector_hits)
{
	struct thp_map *m = &self->map;
	struct thp_why why = { 0 };
	int ret;

	THP_NEEDS(THP_NEED_FAIL_PAGE | THP_NEED_POPULATE);
	THP_REQUIRE_OK(thp_map_create(m, THP_SMALL, &why), &why);
	THP_REQUIRE_OK(thp_inject_setup(true, 0, &why), &why);
	THP_REQUIRE_OK(thp_inject_task(getpid(), true), &why);
	ret = madvise(m->thp, thp_env.page, MADV_POPULATE_WRITE) ? -errno : 0;
	THP_REQUIRE_OK(thp_inject_task(getpid(), false), &why);
	THP_CHECK(ret == -ENOMEM, "MADV_POPULATE_WRITE without a table: %s, expected ENOMEM",
		  thp_errno_name(ret));
	THP_CHECK(thp_inject_fired() == 1, "%ld failures, expected 1", thp_inject_fired());
}

THP_MAIN_INIT("selftest", split_register_variants);
