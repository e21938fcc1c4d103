// SPDX-License-Identifier: GPL-2.0
/*
 * The operations of lib/split_ops.c while page tables cannot be allocated: each
 * is all or nothing, reports what it could not do, never loops, never leaks, and
 * works once there is memory again. Memory without any THP must not notice.
 *
 * An operation runs in a child, the victim, which prepares everything, then can
 * allocate nothing until its parent, the watchdog, feeds it again. They talk
 * over shared memory. The watchdog is never starved itself, so that even an
 * unkillable livelock ends: more memory ends it.
 */
#include <fcntl.h>

#include "thp_cgroup.h"
#include "thp_harness.h"
#include "thp_hmm.h"
#include "thp_inject.h"
#include "thp_race.h"
#include "thp_uapi.h"

/* A starved operation that has not returned after this long never will. */
#define RETURN_MS	10000
/* A fault that waits for memory: long enough to see that it does not give up. */
#define WAIT_MS		300
#define FINISH_MS	20000

/* Arbitrary, far above what any of these system calls allocates. */
#define NTH_MAX		200
/* What swaps out allocates for every page: that sweep ends with the time. */
#define SWEEP_MS	50000

enum injector { TARGETED, MEMCG, NOTHING };

/* One starved operation; shared by the test, the victim and the clean-up. */
struct trial {
	struct thp_cg cg;
	struct thp_child victim;
	int ret;		/* of the operation */
	long fired;		/* injected failures */
	long drained;		/* those that only prepared it, see thp_inject_drain() */
	long failed_splits;	/* thp_split_pmd_failed */
	bool waited;		/* it came back only after being fed */
};

FIXTURE(split) {
	struct trial trial;
};

#include "split_variants.h"

FIXTURE_SETUP(split)
{
	THP_NEEDS(variant->op->needs | thp_kind_needs(variant->kind));
}

FIXTURE_TEARDOWN_PARENT(split)
{
	struct thp_why why = { "" };

	THP_CHECK_OK(thp_cg_destroy(&self->trial.cg), &why);
	thp_teardown(_metadata);
}

/* What the victim works on; copied by fork(). */
struct job {
	const struct split_op *op;
	enum thp_kind kind;
	enum injector injector;
	struct trial *trial;
	int return_ms;		/* 0: RETURN_MS */
};

/* Whether a lazy kernel needs a table for this. */
static bool needs_table(const struct split_op *op, enum thp_kind kind)
{
	return thp_env.contract == THP_LAZY && split_expected(op, kind) &&
	       (kind == THP_ANON || kind == THP_ZERO || kind == THP_DEVICE);
}

static bool is_plain(enum thp_kind kind)
{
	return kind == THP_SMALL || kind == THP_NONE;
}

/*
 * Joins neighbouring VMAs of equal flags: a system call that fails on its second
 * boundary may leave the first one split, which changes nothing. "gu" says that a
 * VMA may have guard regions: set in advance, never taken back.
 */
static void normalize(const char *layout, char *out, size_t len)
{
	unsigned long long start, end, last = 0;
	const char *line = layout, *flags, *nl;
	char prev[256] = "";

	out[0] = '\0';
	for (; *line; line = nl + 1) {
		size_t used = strlen(out), n;
		char rest[256], *gu;

		nl = strchr(line, '\n');
		if (!nl || sscanf(line, "%llx-%llx", &start, &end) != 2)
			break;
		flags = strchr(line, ' ');
		n = nl - flags < (long)sizeof(rest) - 1 ? nl - flags : (long)sizeof(rest) - 1;
		memcpy(rest, flags, n);
		rest[n] = '\0';
		gu = strstr(rest, " gu ");
		if (gu)
			memmove(gu, gu + 3, strlen(gu + 3) + 1);
		if (start != last || strcmp(rest, prev))
			snprintf(out + used, len - used, "%llx%s;", start, rest);
		strcpy(prev, rest);
		last = end;
	}
	snprintf(out + strlen(out), len - strlen(out), "%llx", last);
}

/*
 * Nothing has happened: contents, protection and flags of every page. Where more
 * than tables is refused (not @strict), what populates may have failed later.
 */
static int check_untouched(const struct split_op *op, struct thp_map *m, const char *before,
			   bool strict, struct thp_why *why)
{
	static char was[2048], now[2048];
	static struct thp_smaps sm;
	int ret;

	ret = thp_obs_smaps(0, m->area, m->area_len, &sm);
	if (ret)
		return thp_why(why, ret, "smaps: %s", thp_errno_name(ret));
	normalize(before, was, sizeof(was));
	normalize(sm.layout, now, sizeof(now));
	if (strcmp(was, now) && (strict || !(op->flags & OP_POPULATES)))
		return thp_why(why, -EPROTO, "%s failed, but changed the VMAs: %.150s -> %.150s",
			       op->name, was, now);
	return split_check_data(op, m, false, why);
}

/* The PMD is gone; to be asked before anybody looks at the contents. */
static int check_split(const struct split_op *op, const struct thp_map *m, struct thp_why *why)
{
	enum thp_state state;
	int ret;

	ret = thp_obs_state(m->thp, thp_env.pmd, &state);
	if (ret)
		return thp_why(why, ret, "page map: %s", thp_errno_name(ret));
	if (split_expected(op, m->kind) && state == thp_kind_state(m->kind))
		return thp_why(why, -EPROTO, "%s returned success, the range is still %s",
			       op->name, thp_state_name(state));
	return 0;
}

/* The operation has done all of its work. */
static int check_complete(const struct split_op *op, struct thp_map *m, struct thp_why *why)
{
	int ret = 0;

	if (op->verify && !is_plain(m->kind))
		ret = op->verify(m, why);
	return ret ? ret : split_check_data(op, m, true, why);
}

/* Judges one result by the contract of the operation, with memory at hand again. */
static int judge(const struct split_op *op, struct thp_map *m, int op_ret, const char *before,
		 bool strict, struct thp_why *why)
{
	enum thp_state state;
	int ret;

	ret = thp_obs_state(m->thp, thp_env.pmd, &state);
	if (ret)
		return thp_why(why, ret, "page map: %s", thp_errno_name(ret));
	/* Advice may have been ignored; the data may not suffer. */
	if (!op_ret && op->starved == ADVICE)
		return split_check_data(op, m, true, why);
	if (!op_ret) {
		ret = check_complete(op, m, why);
		if (ret)
			return ret;
		if (split_expected(op, m->kind) && state == thp_kind_state(m->kind))
			return thp_why(why, -EPROTO, "%s returned success, the range is still %s",
				       op->name, thp_state_name(state));
		return 0;
	}
	if (op->starved == NEVER)
		return thp_why(why, -EPROTO, "%s returned %s, but needs no memory", op->name,
			       thp_errno_name(op_ret));
	if (op->starved == ADVICE && (strict || !op->errnos[0]))
		return thp_why(why, -EPROTO, "%s returned %s, expected 0: it is advice", op->name,
			       thp_errno_name(op_ret));
	if (!split_errno_ok(op, op_ret))
		return thp_why(why, -EPROTO, "%s returned %s, which it is not documented to",
			       op->name, thp_errno_name(op_ret));
	if (strict && state != thp_kind_state(m->kind) && state != THP_STATE_UNKNOWN)
		return thp_why(why, -EPROTO, "%s returned %s, but left the range %s", op->name,
			       thp_errno_name(op_ret), thp_state_name(state));
	if (strict && m->kind == THP_DEVICE && !thp_hmm_holds(m->thp))
		return thp_why(why, -EPROTO, "%s returned %s, but took the range off the device",
			       op->name, thp_errno_name(op_ret));
	if (strict && op->untouched) {
		ret = op->untouched(m, why);
		if (ret)
			return ret;
	}
	return check_untouched(op, m, before, strict, why);
}

/* Everything that the operation will use once is used once before. */
static int rehearse(const struct split_op *op, enum thp_kind kind, struct thp_why *why)
{
	static struct thp_map m;
	int ret;

	ret = thp_map_new(&m, kind, why);
	if (!ret)
		ret = split_prepare(op, &m, why);
	if (!ret)
		(void)split_run(op, &m);
	thp_map_destroy(&m);
	return ret;
}

static int victim(struct thp_chan *chan, void *arg)
{
	static struct thp_smaps before;
	struct job *job = arg;
	struct trial *self = job->trial;
	const struct split_op *op = job->op;
	struct thp_why *why = &chan->why;
	static struct thp_burner burner;
	static struct thp_map m;
	long long tables;
	bool strict;
	int ret;

	if (job->injector == MEMCG) {
		/*
		 * Nobody may be killed here: an allocation has to fail instead.
		 * Version 1 has a switch for that, see thp_cg_create().
		 */
		ret = thp_write_file("/proc/self/oom_score_adj", "-1000");
		if (ret && thp_env.memcg == 2)
			return thp_why(why, ret, "oom_score_adj: %s", thp_errno_name(ret));
		ret = thp_burner_create(&burner);
		if (ret)
			return thp_why(why, ret, "burner: %s", thp_errno_name(ret));
	}
	thp_warm_up();
	ret = thp_pin_cpu();
	if (ret)
		return thp_why(why, ret, "sched_setaffinity: %s", thp_errno_name(ret));
	ret = rehearse(op, job->kind, why);
	if (!ret)
		ret = thp_map_new(&m, job->kind, why);
	if (!ret)
		ret = split_prepare(op, &m, why);
	if (!ret)
		ret = thp_obs_smaps(0, m.area, m.area_len, &before);
	if (ret)
		return thp_why(why, ret, "setup: %s", thp_errno_name(ret));
	tables = thp_obs_vmpte(0);

	thp_chan_post_parent(chan, 1);
	thp_chan_await_parent(chan, 2);
	if (job->injector == MEMCG) {
		ret = thp_burner_burn(&burner);
		if (ret) {
			thp_chan_post_parent(chan, 3);
			return thp_why(why, ret, "the limit did not bite: %s", thp_errno_name(ret));
		}
	}
	if (job->injector == TARGETED) {
		ret = thp_inject_drain(-1);
		if (ret) {
			thp_chan_post_parent(chan, 3);
			return thp_why(why, ret, "PTE tables cannot be used up: %s",
				       thp_errno_name(ret));
		}
		self->drained = thp_inject_drained();
		tables = thp_obs_vmpte(0);
	}
	self->ret = split_run(op, &m);
	thp_chan_post_parent(chan, 3);
	thp_chan_await_parent(chan, 4);

	tables = thp_obs_vmpte(0) - tables;
	/* Only the targeted injector fails nothing but tables. */
	strict = job->injector == TARGETED && needs_table(op, job->kind);
	ret = judge(op, &m, self->ret, before.layout, strict, why);
	if (ret)
		return ret;
	if (self->ret && strict && tables)
		return thp_why(why, -EPROTO, "%s failed and left %+lld B of tables", op->name,
			       tables);
	if (self->ret) {
		split_again(op, &m);
		ret = split_run(op, &m);
		if (ret)
			return thp_why(why, -EPROTO, "%s still returns %s with memory at hand",
				       op->name, thp_errno_name(ret));
		ret = strict ? check_split(op, &m, why) : 0;
		if (ret)
			return ret;
		ret = check_complete(op, &m, why);
		if (ret)
			return ret;
	}
	if (!(op->flags & OP_NO_ZAP))
		thp_map_zap(&m);
	thp_map_destroy(&m);
	return 0;
}

/* Switches the shortage on or off, from outside. */
static int starve(struct trial *self, enum injector injector, bool on)
{
	if (injector == NOTHING)
		return 0;
	if (injector == TARGETED)
		return thp_inject_task(self->victim.pid, on);
	return thp_cg_limit(&self->cg, on ? 0 : THP_CG_MAX);
}

/*
 * The watchdog's side of one starved operation. 0, or -EPROTO with a cause. The
 * results are in @self.
 */
static int watch(struct job *job, struct thp_why *why)
{
	struct trial *self = job->trial;
	const struct split_op *op = job->op;
	struct thp_child *c = &self->victim;
	struct thp_why inner = { "" };
	struct thp_events e0, e1;
	int limit = job->return_ms ? job->return_ms : RETURN_MS;
	bool stuck = false;
	int ret;

	ret = thp_child_start(c, victim, job);
	if (ret)
		return thp_why(why, ret, "fork: %s", thp_errno_name(ret));
	if (job->injector == MEMCG) {
		/* It is charged from the start, as it is what gets starved. */
		ret = thp_cg_join(&self->cg, c->pid);
		if (ret) {
			thp_child_kill(c);
			return thp_why(why, ret, "cgroup.procs: %s", thp_errno_name(ret));
		}
	}
	ret = thp_child_await(c, 1, FINISH_MS);
	if (ret) {
		if (ret == -ETIMEDOUT)
			thp_why(why, ret, "the victim was not ready within %d ms", FINISH_MS);
		thp_child_join(c, 0, why);
		return ret == -ETIMEDOUT ? -EPROTO : -ECHILD;
	}
	thp_obs_events(&e0);
	ret = starve(self, job->injector, true);
	if (ret) {
		thp_child_kill(c);
		return thp_why(why, ret, "cannot starve the victim: %s", thp_errno_name(ret));
	}
	thp_chan_post_child(c->chan, 2);
	ret = thp_child_await(c, 3, op->starved == WAITS ? WAIT_MS : limit);
	self->waited = ret == -ETIMEDOUT;
	stuck = self->waited && op->starved != WAITS;
	thp_obs_events(&e1);
	if (job->injector == TARGETED)
		self->fired = thp_inject_fired() - self->drained;
	self->failed_splits = e1.split_pmd_failed - e0.split_pmd_failed;
	(void)starve(self, job->injector, false);
	if (stuck)
		thp_why(why, -EPROTO, "%s did not return within %d ms while starved: livelock",
			op->name, limit);
	if (ret == -ETIMEDOUT)
		ret = thp_child_await(c, 3, limit);
	if (ret == -ETIMEDOUT)
		thp_why(why, -EPROTO, "%s did not return even with memory at hand", op->name);
	if (c->chan)
		thp_chan_post_child(c->chan, 4);
	ret = thp_child_join(c, FINISH_MS, &inner);
	if (ret)
		thp_why(why, ret, "%s", inner.text);
	return why->text[0] ? -EPROTO : 0;
}

static const char *outcome(const struct trial *self)
{
	return self->waited ? "waited" : thp_errno_name(self->ret);
}

/* Only PTE-table allocations fail, and all of them: the sharpest instrument. */
TEST_F_TIMEOUT(split, targeted, 90)
{
	struct trial *t = &self->trial;
	struct job job = {
		.op = variant->op, .kind = variant->kind, .injector = TARGETED, .trial = t,
	};
	const struct split_op *op = variant->op;
	bool needed = needs_table(op, variant->kind);
	struct thp_why why = { "" };

	THP_NEEDS(THP_NEED_FAIL_PAGE);
	THP_REQUIRE_OK(thp_inject_setup(true, 0, &why), &why);
	THP_REQUIRE_OK(watch(&job, &why), &why);
	printf("# refusal: %s %s: %s, %ld tables refused, thp_split_pmd_failed %+ld\n", op->name,
	       thp_kind_name(variant->kind), outcome(t), t->fired, t->failed_splits);
	if (!needed) {
		/* Eager kernels have the table; without a THP there is no need for one. */
		THP_CHECK(!t->fired, "%s of %s asked for %ld tables, expected none", op->name,
			  thp_kind_name(variant->kind), t->fired);
		THP_CHECK(!t->ret && !t->waited, "%s of %s: %s, expected success", op->name,
			  thp_kind_name(variant->kind), outcome(t));
		return;
	}
	THP_CHECK(t->fired > 0, "%s of %s: the injector did not fire, no table was asked for",
		  op->name, thp_kind_name(variant->kind));
	THP_CHECK(t->ret || t->waited || op->starved == ADVICE,
		  "%s of %s succeeded without a table", op->name, thp_kind_name(variant->kind));
	if (thp_obs_vmstat("thp_split_pmd_failed") != THP_EVENT_NONE)
		THP_CHECK(t->failed_splits > 0, "%s of %s: thp_split_pmd_failed +0, expected +1",
			  op->name, thp_kind_name(variant->kind));
}

/* The control group is full: also the victim's other allocations fail. */
TEST_F_TIMEOUT(split, memcg, 90)
{
	struct trial *t = &self->trial;
	struct job job = {
		.op = variant->op, .kind = variant->kind, .injector = MEMCG, .trial = t,
	};
	const struct split_op *op = variant->op;
	struct thp_why why = { "" };

	THP_NEEDS(THP_NEED_MEMCG | THP_NEED_POPULATE);
	THP_REQUIRE_OK(thp_cg_create(&t->cg, "victim", &why), &why);
	THP_REQUIRE_OK(watch(&job, &why), &why);
	printf("# refusal: %s %s: %s, memcg at its limit, thp_split_pmd_failed %+ld\n", op->name,
	       thp_kind_name(variant->kind), outcome(t), t->failed_splits);
	/* Zapping base pages takes nothing; that must not change. */
	if (is_plain(variant->kind) && (op->flags & OP_ZAPS))
		THP_CHECK(!t->ret, "%s of %s: %s, expected success", op->name,
			  thp_kind_name(variant->kind), thp_errno_name(t->ret));
	if (is_plain(variant->kind) && thp_obs_vmstat("thp_split_pmd_failed") != THP_EVENT_NONE)
		THP_CHECK(!t->failed_splits, "%s without a THP: thp_split_pmd_failed %+ld",
			  op->name, t->failed_splits);
}

/* One allocation fails, the first, the second, ... until none is left. */
static int sweep(struct thp_chan *chan, void *arg)
{
	static struct thp_smaps before;
	struct job *job = arg;
	const struct split_op *op = job->op;
	struct thp_why *why = &chan->why;
	struct thp_events e0, e1;
	static struct thp_map m;
	long long end = thp_now_ms() + SWEEP_MS;
	int fd, nth, ret, fired;

	thp_warm_up();
	fd = thp_inject_nth_open();
	if (fd < 0)
		return thp_why(why, fd, "fail-nth: %s", thp_errno_name(fd));
	ret = rehearse(op, job->kind, why);
	if (ret)
		return ret;
	thp_obs_events(&e0);
	for (nth = 1; nth <= NTH_MAX; nth++) {
		ret = thp_map_new(&m, job->kind, why);
		if (!ret)
			ret = split_prepare(op, &m, why);
		if (!ret)
			ret = thp_obs_smaps(0, m.area, m.area_len, &before);
		if (ret)
			return thp_why(why, ret, "setup: %s", thp_errno_name(ret));
		ret = thp_inject_drain(fd);
		if (!ret)
			ret = thp_inject_nth_arm(fd, nth);
		if (ret)
			return thp_why(why, ret, "fail-nth: %s", thp_errno_name(ret));
		job->trial->ret = split_run(op, &m);
		fired = thp_inject_nth_disarm(fd);
		if (fired < 0)
			return thp_why(why, fired, "fail-nth: %s", thp_errno_name(fired));
		job->trial->fired += fired;
		if (!fired && job->trial->ret)
			return thp_why(why, -EPROTO, "nth=%d: %s returned %s without an injection",
				       nth, op->name, thp_errno_name(job->trial->ret));
		ret = judge(op, &m, job->trial->ret, before.layout, false, why);
		if (!ret && job->trial->ret) {
			split_again(op, &m);
			ret = split_run(op, &m);
			if (ret)
				thp_why(why, ret, "retry of %s returned %s", op->name,
					thp_errno_name(ret));
			else
				ret = check_complete(op, &m, why);
		}
		if (ret) {
			struct thp_why inner = *why;

			why->text[0] = '\0';
			return thp_why(why, -EPROTO, "nth=%d: %.300s", nth, inner.text);
		}
		if (!(op->flags & OP_NO_ZAP))
			thp_map_zap(&m);
		thp_map_destroy(&m);
		if (!fired || (op->starved == ADVICE && thp_now_ms() > end))
			break;
	}
	thp_obs_events(&e1);
	job->trial->failed_splits = e1.split_pmd_failed - e0.split_pmd_failed;
	if (nth > NTH_MAX && op->starved != ADVICE)
		return thp_why(why, -EPROTO, "still failing at nth=%d", NTH_MAX);
	return 0;
}

TEST_F_TIMEOUT(split, fail_nth, 120)
{
	struct trial *t = &self->trial;
	struct job job = {
		.op = variant->op, .kind = variant->kind, .injector = TARGETED, .trial = t,
	};
	struct thp_why why = { "" };

	THP_NEEDS(THP_NEED_FAIL_NTH);
	THP_REQUIRE_OK(thp_inject_setup(false, 0, &why), &why);
	THP_REQUIRE_OK(thp_child_run(sweep, &job, 100000, &why), &why);
	if (!needs_table(variant->op, variant->kind))
		return;
	THP_CHECK(t->fired > 0, "%s of %s: the injector never fired", variant->op->name,
		  thp_kind_name(variant->kind));
	if (thp_obs_vmstat("thp_split_pmd_failed") != THP_EVENT_NONE)
		THP_CHECK(t->failed_splits > 0,
			  "%s of %s: no shot in %ld hit the split", variant->op->name,
			  thp_kind_name(variant->kind), t->fired);
}

/*
 * Splits that nobody asked for: what wants them does without, and the data is as
 * before. Who it is gets no tables, not the process whose memory it is.
 */
FIXTURE(unasked) {
	struct thp_map maps[2];
	pid_t pid;		/* who is starved */
};

FIXTURE_SETUP(unasked)
{
	self->pid = 0;
	thp_warm_up();
}

FIXTURE_TEARDOWN_PARENT(unasked)
{
	/* A kernel thread outlives the test. */
	if (self->pid)
		thp_inject_task(self->pid, false);
	thp_teardown(_metadata);
}

/* A kernel thread by its name, or 0. */
static pid_t kthread(const char *name)
{
	char path[64], comm[32];
	pid_t pid;

	/* They are started at boot, but after the modules' own. */
	for (pid = 2; pid < 4096; pid++) {
		snprintf(path, sizeof(path), "/proc/%d/comm", pid);
		if (thp_read_file(path, comm, sizeof(comm)) < 0)
			continue;
		comm[strcspn(comm, "\n")] = '\0';
		if (!strcmp(comm, name))
			return pid;
	}
	return 0;
}

/* Waits until both are mapped as @want; 0, -ETIMEDOUT, -errno. */
static int await_states(const struct thp_map *m, enum thp_state want, int ms)
{
	long long end = thp_now_ms() + ms;
	enum thp_state a, b;
	int ret;

	do {
		ret = thp_obs_state(m[0].thp, thp_env.pmd, &a);
		if (!ret)
			ret = thp_obs_state(m[1].thp, thp_env.pmd, &b);
		if (ret || (a == want && b == want))
			return ret;
		thp_sleep_ms(20);
	} while (thp_now_ms() < end);
	return -ETIMEDOUT;
}

/* Page 7 of the second THP equals page 3 of the first, the others are their own. */
static int check_twins(const struct thp_map *m, struct thp_why *why)
{
	int ret = thp_map_check(&m[0], 0, thp_env.nr, why);

	if (!ret)
		ret = thp_map_check(&m[1], 0, 7, why);
	if (!ret)
		ret = thp_check(thp_page(&m[1], 7), m[0].seed, 3, 1, why);
	return ret ? ret : thp_map_check(&m[1], 8, thp_env.nr - 8, why);
}

/* Nobody finds a table to use in what is left of a page: see thp_inject_drain(). */
static int drain_self(struct thp_why *why)
{
	int ret = thp_inject_task(getpid(), true);

	if (!ret)
		ret = thp_inject_drain(-1);
	if (!ret)
		ret = thp_inject_task(getpid(), false);
	return ret ? thp_why(why, ret, "PTE tables cannot be used up: %s", thp_errno_name(ret)) : 0;
}

#define KSM "/sys/kernel/mm/ksm/"

THP_COVERS(unasked, ksm, "folio-split-ksm");
TEST_F_TIMEOUT(unasked, ksm, 90)
{
	struct thp_map *m = self->maps;
	struct thp_why why = { "" };
	long long end;
	int ret;

	THP_NEEDS(THP_NEED_KSM | THP_NEED_FAIL_PAGE);
	self->pid = kthread("ksmd");
	THP_REQUIRE(self->pid, "no kernel thread ksmd");
	THP_REQUIRE_OK(thp_map_new(&m[0], THP_ANON, &why), &why);
	THP_REQUIRE_OK(thp_map_new(&m[1], THP_ANON, &why), &why);
	memcpy(thp_page(&m[1], 7), thp_page(&m[0], 3), thp_env.page);
	THP_REQUIRE_OK(thp_settings_set(KSM "sleep_millisecs", "1"), &why);
	THP_REQUIRE_OK(thp_settings_set(KSM "pages_to_scan", "4096"), &why);
	THP_REQUIRE(!madvise(m[0].thp, thp_env.pmd, MADV_MERGEABLE) &&
		    !madvise(m[1].thp, thp_env.pmd, MADV_MERGEABLE), "MADV_MERGEABLE: %s",
		    strerror(errno));
	THP_REQUIRE_OK(thp_inject_setup(true, 0, &why), &why);
	THP_REQUIRE_OK(drain_self(&why), &why);
	THP_REQUIRE_OK(thp_inject_task(self->pid, true), &why);
	THP_REQUIRE_OK(thp_settings_set(KSM "run", "1"), &why);
	if (thp_env.contract == THP_LAZY) {
		/* It tries again and again, and must not get through once. */
		for (end = thp_now_ms() + FINISH_MS; thp_now_ms() < end; thp_sleep_ms(20))
			if (thp_inject_fired() >= 3)
				break;
		printf("# refusal: ksmd: %ld tables refused\n", thp_inject_fired());
		THP_CHECK(thp_inject_fired() > 0, "KSM asked for no table in %d ms", FINISH_MS);
		THP_CHECK_OK(thp_map_expect(&m[0], THP_STATE_PMD, &why), &why);
		THP_CHECK_OK(thp_map_expect(&m[1], THP_STATE_PMD, &why), &why);
		THP_CHECK_OK(check_twins(m, &why), &why);
		THP_REQUIRE_OK(thp_inject_task(self->pid, false), &why);
	}
	ret = await_states(m, THP_STATE_PTE, FINISH_MS);
	THP_CHECK(!ret, "KSM did not split both THPs within %d ms: %s", FINISH_MS,
		  thp_errno_name(ret));
	if (thp_env.contract == THP_EAGER)
		THP_CHECK(!thp_inject_fired(), "KSM asked for %ld tables, expected none",
			  thp_inject_fired());
	THP_REQUIRE_OK(thp_inject_task(self->pid, false), &why);
	THP_CHECK_OK(check_twins(m, &why), &why);
}

/* The shrinker of THPs that are mostly zeroes gives up on one that it cannot split. */
THP_COVERS(unasked, underused, "folio-split-deferred");
TEST_F_TIMEOUT(unasked, underused, 90)
{
	bool lazy = thp_env.contract == THP_LAZY;
	struct thp_map *m = &self->maps[0];
	struct thp_why why = { "" };
	struct thp_events e0, e1;
	enum thp_state state;
	int try;

	THP_NEEDS(THP_NEED_ROOT | THP_NEED_FAIL_PAGE);
	thp_obs_events(&e0);
	if (e0.underused == THP_EVENT_NONE)
		THP_SKIP("needs the underused THP shrinker (Linux 6.12)");
	THP_REQUIRE_OK(thp_settings_set(THP_SYSFS "khugepaged/max_ptes_none", "0"), &why);
	THP_REQUIRE_OK(thp_map_create(m, THP_ANON, &why), &why);
	thp_fill(m->thp, m->seed, 0);
	if (thp_map_expect(m, THP_STATE_PMD, NULL))
		THP_SKIP("needs memory that is less fragmented");
	THP_REQUIRE_OK(thp_inject_setup(true, 0, &why), &why);
	THP_REQUIRE_OK(drain_self(&why), &why);
	self->pid = getpid();
	THP_REQUIRE_OK(thp_inject_task(self->pid, true), &why);
	for (try = 0; try < 50; try++) {
		THP_CHECK_OK(thp_write_file("/proc/sys/vm/drop_caches", "2"), &why);
		THP_REQUIRE_OK(thp_obs_state(m->thp, thp_env.pmd, &state), &why);
		if (thp_inject_fired() || state == THP_STATE_PTE)
			break;
		thp_sleep_ms(20);
	}
	THP_REQUIRE_OK(thp_inject_task(self->pid, false), &why);
	thp_obs_events(&e1);
	printf("# refusal: underused: %ld tables refused, range is %s\n", thp_inject_fired(),
	       thp_state_name(state));
	THP_CHECK(lazy ? thp_inject_fired() > 0 : !thp_inject_fired(),
		  "the shrinker asked for %ld tables, expected %s", thp_inject_fired(),
		  lazy ? "some" : "none");
	THP_CHECK(state == (lazy ? THP_STATE_PMD : THP_STATE_PTE), "range is %s, expected %s",
		  thp_state_name(state), lazy ? "PMD-mapped" : "PTE-mapped");
	if (!lazy)
		THP_CHECK(e1.underused > e0.underused, "thp_underused_split_page +0, expected +1");
	THP_CHECK_OK(thp_map_check(m, 0, 1, &why), &why);
	THP_CHECK_OK(thp_check_zero(thp_page(m, 1), thp_env.nr - 1, &why), &why);
	/* The shrinker has lost interest, but the THP can be split. */
	THP_CHECK(!madvise(thp_page(m, 3), thp_env.page, MADV_COLD), "MADV_COLD: %s",
		  strerror(errno));
	THP_CHECK_OK(thp_map_expect(m, THP_STATE_PTE, &why), &why);
	THP_CHECK_OK(thp_map_check(m, 0, 1, &why), &why);
}

/* DAMON finds that nobody uses a page, and calls it cold, from a thread of its own. */
#define DAMON "/sys/kernel/mm/damon/admin/kdamonds/"
#define DAMON_CTX DAMON "0/contexts/0/"

/* One region of one page, and a scheme that takes whatever it finds. */
static int damon_setup(const char *page, struct thp_why *why)
{
	unsigned long start = (unsigned long)page;
	char pid[16], from[24], to[24];
	const struct {
		const char *name, *value;
	} files[] = {
		{ DAMON "0/contexts/nr_contexts", "1" },
		{ DAMON_CTX "operations", "fvaddr" },
		{ DAMON_CTX "monitoring_attrs/intervals/aggr_us", "500000" },
		{ DAMON_CTX "targets/nr_targets", "1" },
		{ DAMON_CTX "targets/0/pid_target", pid },
		{ DAMON_CTX "targets/0/regions/nr_regions", "1" },
		{ DAMON_CTX "targets/0/regions/0/start", from },
		{ DAMON_CTX "targets/0/regions/0/end", to },
		{ DAMON_CTX "schemes/nr_schemes", "1" },
		{ DAMON_CTX "schemes/0/action", "cold" },
		{ DAMON_CTX "schemes/0/access_pattern/sz/max", "1000000000" },
		{ DAMON_CTX "schemes/0/access_pattern/nr_accesses/max", "1000000000" },
		{ DAMON_CTX "schemes/0/access_pattern/age/max", "1000000000" },
	};
	size_t i;
	int ret;

	snprintf(pid, sizeof(pid), "%d", getpid());
	snprintf(from, sizeof(from), "%lu", start);
	snprintf(to, sizeof(to), "%lu", start + thp_env.page);
	/* This one brings the others, and takes them away when it is restored. */
	ret = thp_settings_set(DAMON "nr_kdamonds", "1");
	if (ret)
		return thp_why(why, ret, "nr_kdamonds: %s", thp_errno_name(ret));
	for (i = 0; i < ARRAY_SIZE(files); i++) {
		ret = thp_write_file(files[i].name, files[i].value);
		if (ret)
			return thp_why(why, ret, "%s: %s", files[i].name, thp_errno_name(ret));
	}
	return 0;
}

THP_COVERS(unasked, damon, "folio-split-damon");
TEST_F_TIMEOUT(unasked, damon, 90)
{
	bool lazy = thp_env.contract == THP_LAZY;
	struct thp_map *m = &self->maps[0];
	enum thp_state state = THP_STATE_PMD;
	struct thp_why why = { "" };
	long long end, tables;
	uint64_t val = 0;
	long got;
	int ret;

	if (access(DAMON "nr_kdamonds", W_OK))
		THP_SKIP("needs root, CONFIG_DAMON_SYSFS and CONFIG_DAMON_VADDR");
	if (thp_read_u64(DAMON "nr_kdamonds", &val) || val)
		THP_SKIP("needs DAMON for itself");
	THP_NEEDS(THP_NEED_FAIL_PAGE);
	THP_REQUIRE_OK(thp_map_new(m, THP_ANON, &why), &why);
	THP_REQUIRE_OK(damon_setup(thp_page(m, thp_env.nr / 2), &why), &why);
	THP_REQUIRE_OK(thp_inject_setup(true, 0, &why), &why);
	THP_REQUIRE_OK(drain_self(&why), &why);
	tables = thp_obs_vmpte(0);
	ret = thp_settings_set(DAMON "0/state", "on");
	if (ret == -EBUSY)
		THP_SKIP("needs DAMON for itself");
	THP_REQUIRE(!ret, "kdamond state: %s", thp_errno_name(ret));
	/* Its first step is an aggregation interval away. */
	THP_REQUIRE_OK(thp_read_u64(DAMON "0/pid", &val), &why);
	self->pid = val;
	THP_REQUIRE_OK(thp_inject_task(self->pid, true), &why);
	for (end = thp_now_ms() + FINISH_MS; thp_now_ms() < end; thp_sleep_ms(20)) {
		THP_REQUIRE_OK(thp_obs_state(m->thp, thp_env.pmd, &state), &why);
		if (thp_inject_fired() >= 2 || state == THP_STATE_PTE)
			break;
	}
	printf("# refusal: damon: %ld tables refused, range is %s\n", thp_inject_fired(),
	       thp_state_name(state));
	THP_CHECK(lazy ? thp_inject_fired() > 0 : !thp_inject_fired(),
		  "DAMON asked for %ld tables, expected %s", thp_inject_fired(),
		  lazy ? "some" : "none");
	THP_CHECK(state == (lazy ? THP_STATE_PMD : THP_STATE_PTE), "range is %s, expected %s",
		  thp_state_name(state), lazy ? "PMD-mapped" : "PTE-mapped");
	THP_CHECK_OK(thp_map_check(m, 0, thp_env.nr, &why), &why);
	THP_REQUIRE_OK(thp_inject_task(self->pid, false), &why);
	for (end = thp_now_ms() + FINISH_MS; thp_now_ms() < end; thp_sleep_ms(20)) {
		THP_REQUIRE_OK(thp_obs_state(m->thp, thp_env.pmd, &state), &why);
		if (state == THP_STATE_PTE)
			break;
	}
	THP_CHECK(state == THP_STATE_PTE, "range is %s %d ms later, expected PTE-mapped",
		  thp_state_name(state), FINISH_MS);
	tables = thp_obs_vmpte(0) - tables;
	if (thp_env.unit == 1)
		THP_CHECK(thp_env_tables(tables, &got) && got == lazy,
			  "DAMON: %+lld B of tables, expected %+d tables", tables, lazy);
	THP_CHECK_OK(thp_map_check(m, 0, thp_env.nr, &why), &why);
}

/*
 * Leak loops. A table that was allocated and never populated is in no process'
 * VmPTE and in no report at exit: only the system's PageTables shows it, and only
 * after many rounds.
 */
#define LEAK_ROUNDS	1000

FIXTURE(leak) {
	struct thp_child child;
};

struct leak_of {
	const char *op;
	enum thp_kind kind;
	bool refused;		/* tables cannot be allocated */
};

FIXTURE_VARIANT(leak) {
	struct leak_of of;
};

FIXTURE_VARIANT_ADD(leak, munmap_split) {
	.of = { .op = "munmap_mid", .kind = THP_ANON },
};

FIXTURE_VARIANT_ADD(leak, munmap_refused) {
	.of = { .op = "munmap_mid", .kind = THP_ANON, .refused = true },
};

FIXTURE_VARIANT_ADD(leak, munmap_no_thp) {
	.of = { .op = "munmap_mid", .kind = THP_SMALL },
};

FIXTURE_VARIANT_ADD(leak, munmap_untouched) {
	.of = { .op = "munmap_mid", .kind = THP_NONE },
};

FIXTURE_VARIANT_ADD(leak, dontneed_split) {
	.of = { .op = "dontneed_mid", .kind = THP_ANON },
};

FIXTURE_VARIANT_ADD(leak, dontneed_refused) {
	.of = { .op = "dontneed_mid", .kind = THP_ANON, .refused = true },
};

FIXTURE_VARIANT_ADD(leak, dontneed_zero) {
	.of = { .op = "dontneed_mid", .kind = THP_ZERO },
};

FIXTURE_VARIANT_ADD(leak, cold_split) {
	.of = { .op = "cold_mid", .kind = THP_ANON },
};

FIXTURE_VARIANT_ADD(leak, cold_refused) {
	.of = { .op = "cold_mid", .kind = THP_ANON, .refused = true },
};

FIXTURE_VARIANT_ADD(leak, mremap_refused) {
	.of = { .op = "mremap_move_mid", .kind = THP_ANON, .refused = true },
};

static const struct split_op *op_by_name(const char *name)
{
	size_t i;

	for (i = 0; i < split_ops_count; i++)
		if (!strcmp(split_ops[i].name, name))
			return &split_ops[i];
	return NULL;
}

FIXTURE_SETUP(leak)
{
	const struct leak_of *of = &variant->of;

	THP_NEEDS(thp_kind_needs(of->kind) | (of->refused ? THP_NEED_FAIL_PAGE : 0));
	THP_REQUIRE(op_by_name(of->op), "no operation %s", of->op);
}

FIXTURE_TEARDOWN_PARENT(leak)
{
	thp_teardown(_metadata);
}

/* Rounds of mapping, operation and unmapping, in a process of its own. */
static int leak_rounds(struct thp_chan *chan, void *arg)
{
	const struct leak_of *v = arg;
	const struct split_op *op = op_by_name(v->op);
	static struct thp_map m;
	unsigned int i;
	int ret;

	thp_warm_up();
	thp_chan_post_parent(chan, 1);
	thp_chan_await_parent(chan, 2);
	for (i = 0; i < LEAK_ROUNDS * thp_env.scale; i++) {
		/* One byte is enough: contents are checked elsewhere. */
		ret = thp_map_create(&m, v->kind, &chan->why);
		if (!ret)
			ret = split_prepare(op, &m, &chan->why);
		if (ret)
			return ret;
		if (v->kind == THP_ZERO)
			thp_peek(m.thp);
		else if (v->kind != THP_NONE)
			thp_touch(m.thp);
		if (v->refused)
			thp_inject_task(getpid(), true);
		ret = split_run(op, &m);
		if (v->refused)
			thp_inject_task(getpid(), false);
		chan->val[0] += !!ret;
		thp_map_destroy(&m);
	}
	return 0;
}

static int by_value(const void *a, const void *b)
{
	long long x = *(const long long *)a, y = *(const long long *)b;

	return (x > y) - (x < y);
}

/*
 * Tables that belong to no process: those of others come and go, what is leaked
 * stays. The median of several looks, as a process may start or end during one.
 */
static int ownerless_tables(long long *kb)
{
	long long look[5];
	size_t i;
	int ret;

	for (i = 0; i < ARRAY_SIZE(look); i++) {
		thp_obs_settle();
		ret = thp_race_residue(&look[i]);
		if (ret)
			return ret;
	}
	qsort(look, ARRAY_SIZE(look), sizeof(look[0]), by_value);
	*kb = look[ARRAY_SIZE(look) / 2];
	return 0;
}

THP_COVERS(leak, page_tables, "leak-page-tables");
TEST_F_TIMEOUT(leak, page_tables, 300)
{
	long long before = 0, after = 0, all, slack;
	const struct leak_of *of = &variant->of;
	struct thp_child *c = &self->child;
	struct thp_why why = { "" };
	long long failed;
	int try;

	all = (long long)(LEAK_ROUNDS * thp_env.scale * thp_env.table / 1024);
	/* One leaked table a round, or one in four. */
	slack = all / 4;
	if (slack < 4 * (long long)thp_env.page / 1024)
		THP_SKIP("needs PTE tables that fill pages of PageTables");
	if (of->refused)
		THP_REQUIRE_OK(thp_inject_setup(true, 0, &why), &why);
	THP_REQUIRE_OK(thp_child_start(c, leak_rounds, (void *)of), &why);
	THP_REQUIRE_OK(thp_child_await(c, 1, FINISH_MS), &why);
	THP_CHECK_OK(ownerless_tables(&before), &why);
	thp_chan_post_child(c->chan, 2);
	while (thp_child_await(c, 3, 1000) == -ETIMEDOUT)
		;
	failed = c->chan->val[0];
	THP_CHECK_OK(thp_child_join(c, 1000, &why), &why);
	/* Leaks are for ever. */
	for (try = 0; try < 3; try++) {
		THP_CHECK_OK(ownerless_tables(&after), &why);
		if (after - before < slack)
			break;
	}
	printf("# leak: %s of %s%s: PageTables of no process %+lld kB in %u rounds, %lld refused\n",
	       of->op, thp_kind_name(of->kind), of->refused ? ", refused" : "", after - before,
	       LEAK_ROUNDS * thp_env.scale, failed);
	THP_CHECK(after - before < slack,
		  "%s of %s: PageTables of no process grew by %lld kB in %u rounds, expected < %lld",
		  of->op,
		  thp_kind_name(of->kind), after - before, LEAK_ROUNDS * thp_env.scale, slack);
	if (of->refused && thp_env.contract == THP_LAZY)
		THP_CHECK(thp_inject_fired() >= LEAK_ROUNDS,
			  "only %ld tables were refused in %u rounds", thp_inject_fired(),
			  LEAK_ROUNDS);
}

/*
 * The judge is judged: operations that break the contract, without any injector,
 * so that it is seen on every kernel that a broken kernel would be reported.
 */
static int lie_success(struct thp_map *m, char *addr, size_t len)
{
	(void)m;
	(void)addr;
	(void)len;
	return 0;
}

static int lie_enomem(struct thp_map *m, char *addr, size_t len)
{
	(void)m;
	madvise(addr, len, MADV_DONTNEED);
	return -ENOMEM;
}

static int wrong_errno(struct thp_map *m, char *addr, size_t len)
{
	(void)m;
	(void)addr;
	(void)len;
	return -EINVAL;
}

static int half_effect(struct thp_map *m, char *addr, size_t len)
{
	(void)m;
	return madvise(addr, len / 2, MADV_DONTNEED) ? -errno : 0;
}

static int changes_vma(struct thp_map *m, char *addr, size_t len)
{
	(void)m;
	mprotect(addr, len, PROT_READ);
	return -ENOMEM;
}

static int loops(struct thp_map *m, char *addr, size_t len)
{
	(void)m;
	(void)addr;
	(void)len;
	/* Once is enough: rehearse() must come through. */
	if (m->priv++)
		for (;;)
			pause();
	return 0;
}

static int prepare_loop(struct thp_map *m, struct thp_why *why)
{
	static int round;

	(void)why;
	m->priv = round++;
	return 0;
}

static int crashes(struct thp_map *m, char *addr, size_t len)
{
	(void)addr;
	(void)len;
	if (m->priv++)
		raise(SIGSEGV);
	return 0;
}

FIXTURE(judge) {
	struct trial trial;
};

FIXTURE_VARIANT(judge) {
	struct split_op op;
	const char *expect;	/* part of the cause */
};

FIXTURE_VARIANT_ADD(judge, success_without_effect) {
	.op = {
		.name = "lie", .run = lie_success, .kinds = THP_ANON, .where = AT_MID,
		.effect = ZEROES,
	},
	.expect = "expected zeroes",
};

FIXTURE_VARIANT_ADD(judge, success_without_split) {
	.op = { .name = "lie", .run = lie_success, .kinds = THP_ANON, .where = AT_MID },
	.expect = "still PMD-mapped",
};

FIXTURE_VARIANT_ADD(judge, failure_with_effect) {
	.op = {
		.name = "lie", .run = lie_enomem, .kinds = THP_ANON, .where = AT_MID,
		.effect = ZEROES,
	},
	.expect = "expected 0x",
};

FIXTURE_VARIANT_ADD(judge, failure_with_vma_change) {
	.op = { .name = "lie", .run = changes_vma, .kinds = THP_ANON, .where = AT_MID },
	.expect = "changed the VMAs",
};

FIXTURE_VARIANT_ADD(judge, partial_effect) {
	.op = {
		.name = "lie", .run = half_effect, .kinds = THP_ANON, .where = AT_UPPER,
		.effect = ZEROES,
	},
	.expect = "expected zeroes",
};

FIXTURE_VARIANT_ADD(judge, undocumented_errno) {
	.op = { .name = "lie", .run = wrong_errno, .kinds = THP_ANON, .where = AT_MID },
	.expect = "not documented",
};

FIXTURE_VARIANT_ADD(judge, advice_with_error) {
	.op = {
		.name = "lie", .run = wrong_errno, .kinds = THP_ANON, .where = AT_MID,
		.starved = ADVICE,
	},
	.expect = "it is advice",
};

FIXTURE_VARIANT_ADD(judge, error_without_need) {
	.op = {
		.name = "lie", .run = wrong_errno, .keeps = THP_ANON, .where = AT_WHOLE,
		.starved = NEVER,
	},
	.expect = "needs no memory",
};

FIXTURE_VARIANT_ADD(judge, livelock) {
	.op = {
		.name = "lie", .run = loops, .prepare = prepare_loop, .kinds = THP_ANON,
		.where = AT_MID,
	},
	.expect = "livelock",
};

FIXTURE_VARIANT_ADD(judge, crash) {
	.op = {
		.name = "lie", .run = crashes, .prepare = prepare_loop, .kinds = THP_ANON,
		.where = AT_MID,
	},
	.expect = "killed by SIGSEGV",
};

FIXTURE_SETUP(judge)
{
}

FIXTURE_TEARDOWN_PARENT(judge)
{
	thp_teardown(_metadata);
}

THP_COVERS(judge, reports, "suite-judge");
TEST_F_TIMEOUT(judge, reports, 60)
{
	struct job job = {
		.op = &variant->op, .kind = THP_ANON, .injector = NOTHING, .trial = &self->trial,
		/* Only an endless loop has to be quick to be given up. */
		.return_ms = variant->op.run == loops ? 300 : 0,
	};
	struct thp_why why = { "" };
	int ret;

	ret = watch(&job, &why);
	THP_CHECK(ret && strstr(why.text, variant->expect),
		  "a broken operation got \"%s\", expected a cause with \"%s\"", why.text,
		  variant->expect);
}

THP_MAIN_INIT("thp_split_enomem", split_register_variants);
