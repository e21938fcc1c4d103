// SPDX-License-Identifier: GPL-2.0
/* The lines of the kernel log that are complaints, and who is to blame for them. */

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
		/* Lines that are not complaints about the kernel. */
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
	/* Made-up complaints must not get into the guardian's list. */
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
	/* Modules set the taints F and O. */
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

/* A log that holds @lines and nothing else; "%d" stands for @pid. */
static int made_up_log(struct thp_kmsg *log, const char * const *lines, pid_t pid)
{
	char rec[512];
	int fds[2], n;

	/* Like /dev/kmsg: one record for each read(). */
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

/* Finds who is to blame for @lines about process @pid: the running test, or the printed text. */
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

/* The task that calls check_mm() need not be the owner of the mm. */
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
	/* The program repeats the first one at its end. */
	THP_CHECK(strstr(thp_run_unowned_first(), "of first.test"), "first: %s",
		  thp_run_unowned_first());
}

/* Three lines of one report count as one, and the kernel cannot be trusted any more. */
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
