// SPDX-License-Identifier: GPL-2.0
/*
 * starved: fork() while page tables cannot be had.
 */

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

FIXTURE_VARIANT_ADD(starved, anon) { .c = { .kind = THP_ANON } };
FIXTURE_VARIANT_ADD(starved, zero) { .c = { .kind = THP_ZERO } };
FIXTURE_VARIANT_ADD(starved, pinned) { .c = { .kind = THP_ANON, .pinned = true } };

FIXTURE_SETUP(starved)
{
	struct thp_why why = { 0 };

	THP_NEEDS(thp_kind_needs(variant->c.kind));
	if (variant->c.pinned) {
		THP_NEEDS(THP_NEED_URING);
		THP_REQUIRE_OK(ring_works(&why), &why);
	}
	thp_warm_up();
}

FIXTURE_TEARDOWN_PARENT(starved)
{
	thp_teardown(_metadata);
}

#define LOW_MISSING "needs unused addresses below the program"

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
		return thp_skip(why, LOW_MISSING, "first mapping is at %#lx", first);
	got = mmap(at, thp_env.pmd, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1, 0);
	if (got != at)
		return thp_skip(why, LOW_MISSING, "mmap at %p: %s", at, strerror(errno));
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

	TRY(open_pipe(why));
	if (c->pinned && ring_open())
		return thp_why(why, -EIO, "io_uring_queue_init failed");
	TRY(group_low(c->kind, why));
	if (c->pinned)
		TRY(ring_pin(middle(), 1, why));
	TRY(thp_peers_prepare(1, why));
	TRY(thp_inject_tables(why));
	TRY(thp_meter_start(&m, 0, why));
	if (thp_inject_own(true))
		return thp_why(why, -EIO, "make-it-fail cannot be set");
	if (c->pinned && thp_inject_drain(NULL))
		return thp_why(why, -EIO, "PTE tables cannot be used up");
	err = fork_and_reap(why, &ok);
	if (thp_inject_own(false))
		return thp_why(why, -EIO, "make-it-fail cannot be cleared");
	TRY(thp_meter_read(&m, why));
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
	/* Checked above, so not left to thp_meter_expect(). */
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
	/* The device wrote after the fork. */
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
	THP_NEEDS(THP_NEED_FAIL_PAGE);
	if (thp_env.unit != 1)
		THP_SKIP("needs PTE tables of at least 1 kB");
	THP_SCENARIO(fork_without_tables, &variant->c);
}

/* fork() needs about fifty allocations here; far more means a bug of the sweep. */
#define SWEEP_MAX	500

static int sweep_group(const struct starved_case *c, struct thp_why *why)
{
	reset();
	TRY(open_pipe(why));
	if (c->pinned && ring_open())
		return thp_why(why, -EIO, "io_uring_queue_init failed");
	TRY(thp_group_new(c->kind, 0, why));
	if (c->pinned)
		TRY(ring_pin(middle(), 1, why));
	return 0;
}

struct sweep {
	const struct starved_case *c;
	int nth_fd;
	enum thp_state state;		/* of the range, in the parent */
	bool fired;			/* an allocation failed in the last fork() */
	int failures;			/* of fork() */
	uint64_t failed_splits;
	struct thp_meter m;
};

/* With memory fork() succeeds, and the child gets everything. */
static int sweep_again(struct sweep *w, struct thp_why *why)
{
	bool ok;
	int err = fork_and_reap(why, &ok);

	if (err)
		return thp_why(why, -EPROTO, "fork after the failure: %s", thp_errno_name(err));
	return ok ? thp_group_state(&w->state, why) : -EPROTO;
}

/* Judges the effect on the parent of a fork() that returned @err. */
static int sweep_judge(struct sweep *w, int nth, int err, struct thp_why *why)
{
	enum thp_state fresh = thp_kind_state(w->c->kind);
	bool split;

	if (err && (err != ENOMEM || !w->fired))
		return thp_why(why, -EPROTO,
			       "fork, allocation %d failing: %s, expected ENOMEM", nth,
			       thp_errno_name(err));
	w->failures += !!err;
	w->failed_splits += w->m.ev[1].split_pmd_failed - w->m.ev[0].split_pmd_failed;
	/* fork_sweep() checks them after the last shot. */
	w->m.ev[1].split_pmd_failed = w->m.ev[0].split_pmd_failed;
	split = w->c->pinned && w->state == THP_STATE_PTE;
	if (!split && w->state != fresh)
		return thp_why(why, -EPROTO,
			       "fork, allocation %d failing: range is %s, expected %s", nth,
			       thp_state_name(w->state), thp_state_name(fresh));
	TRY(thp_meter_expect(&w->m, split ? thp_group_split() : 0, split ? thp_group.n : 0,
			     "fork that may fail", why));
	return w->c->pinned ? ring_coherent(middle(), why) : thp_group_check(why);
}

/* fork() while allocation @nth of it fails. */
static int sweep_shot(struct sweep *w, int nth, struct thp_why *why)
{
	int err, fired;
	bool ok;

	/* A fork() that failed late has split the pinned THP: start with a new one. */
	if (w->state != thp_kind_state(w->c->kind))
		TRY(sweep_group(w->c, why));
	TRY(thp_meter_start(&w->m, 0, why));
	if (w->c->pinned && thp_inject_nth_drain(w->nth_fd))
		return thp_why(why, -EIO, "PTE tables cannot be used up");
	if (thp_inject_nth_arm(w->nth_fd, nth))
		return thp_why(why, -EIO, "fail-nth cannot be armed");
	err = fork_and_reap(why, &ok);
	fired = thp_inject_nth_disarm(w->nth_fd);
	TRY(thp_meter_read(&w->m, why));
	if (fired < 0)
		return thp_why(why, fired, "fail-nth cannot be disarmed");
	w->fired = fired;
	TRY(thp_group_state(&w->state, why));
	if (!err && !ok)
		return -EPROTO;
	TRY(sweep_judge(w, nth, err, why));
	return err ? sweep_again(w, why) : 0;
}

/* Fails one allocation after the other: each fork() is all or nothing. */
static int fork_sweep(const void *arg, struct thp_why *why)
{
	struct sweep w = { .c = arg, .state = THP_STATE_NONE, .fired = true };
	bool splits = w.c->pinned && thp_env.contract == THP_LAZY;
	int ret, nth, again = 0;

	w.nth_fd = thp_inject_nth_open();
	if (w.nth_fd < 0)
		return thp_why(why, w.nth_fd, "fail-nth: %s", thp_errno_name(w.nth_fd));
	ret = thp_inject_any(0, why);
	for (nth = 1; nth < SWEEP_MAX && w.fired && !ret; nth++) {
		ret = sweep_shot(&w, nth, why);
		/*
		 * A slab allocation that needed a page may have been the one refused instead of
		 * the table.
		 */
		if (!w.fired && splits && !w.failed_splits && again++ < 3) {
			nth = 0;
			w.fired = true;
		}
	}
	close(w.nth_fd);
	if (ret)
		return ret;
	thp_inject_report("fail-nth", splits, w.failures, "thp_split_pmd_failed %+lld",
			  (long long)w.failed_splits);
	if (w.fired)
		return thp_why(why, -EPROTO, "fork makes more than %d allocations", SWEEP_MAX);
	if (!w.failures)
		return thp_why(why, -EPROTO, "no allocation was made to fail");
	if (splits && !w.failed_splits && w.m.ev[0].split_pmd_failed != THP_EVENT_NONE)
		return thp_why(why, -EPROTO,
			       "%d forks failed, thp_split_pmd_failed +0, expected +1",
			       w.failures);
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
