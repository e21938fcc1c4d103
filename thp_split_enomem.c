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
#include <poll.h>
#include <pthread.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>

#include "thp_cgroup.h"
#include "thp_contract.h"
#include "thp_harness.h"
#include "thp_hmm.h"
#include "thp_inject.h"
#include "thp_move.h"
#include "thp_race.h"
#include "thp_uapi.h"
#include "thp_uffd.h"

/* A fault that waits for memory: long enough to see that it does not give up. */
#define WAIT_MS		300

/* Arbitrary, far above what any of these system calls allocates. */
#define NTH_MAX		200
/* What swaps out allocates for every page: that sweep ends with the time. */
#define SWEEP_MS	50000
/* Sweeps that may miss the table, see sweep(). */
#define SWEEPS		4
/* Events count what everybody does: when they are too many, it is done again. */
#define EVENT_TRIES	3

enum injector { TARGETED, MEMCG, NOTHING };

/* One starved operation; shared by the test, the victim and the clean-up. */
struct trial {
	struct thp_cg cg;
	struct thp_child victim;
	int ret;		/* of the operation */
	long fired;		/* injected failures */
	long drained;		/* those that only prepared it, see thp_inject_drain() */
	long failed_splits;	/* thp_split_pmd_failed */
	long splits;		/* thp_split_pmd */
	bool still;		/* mapped as before, right after the operation */
	int hungry;		/* the victim has used up what was left, and begins */
	enum thp_state state;	/* the same in full */
	bool waited;		/* it came back only after being fed */
	bool partial;		/* success, and the rest is for another call */
	bool reclaims;		/* empty tables are freed: fixture between only */
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
	struct thp_why why = { 0 };

	THP_CHECK_OK(thp_cg_destroy(&self->trial.cg), &why);
	thp_teardown(_metadata);
}

/* What the victim works on; copied by fork(). */
struct job {
	const struct split_op *op;
	const struct edge_op *edge;	/* fixture edges only */
	const struct between_op *between;	/* fixture between only */
	unsigned int granted;		/* the same: tables that can still be had */
	int (*fn)(struct thp_chan *chan, void *arg);	/* NULL: victim() */
	enum thp_kind kind;
	enum injector injector;
	struct trial *trial;
	int return_ms;		/* 0: THP_RETURN_MS */
	bool mirrored;		/* by a device */
};

/* Whether a lazy kernel needs a table for this. */
static bool needs_table(const struct split_op *op, enum thp_kind kind)
{
	return split_expected(op, kind) && thp_split_allocates(kind);
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

/* Two answers of thp_obs_smaps() tell of the same VMAs. */
static int check_vmas(const struct split_op *op, const struct thp_smaps *sm, const char *before,
		      struct thp_why *why)
{
	static char was[2048], now[2048];

	normalize(before, was, sizeof(was));
	normalize(sm->layout, now, sizeof(now));
	if (strcmp(was, now))
		return thp_why(why, -EPROTO, "%s failed, but changed the VMAs: %.150s -> %.150s",
			       op->name, was, now);
	return 0;
}

/*
 * Nothing has happened: contents, protection and flags of every page. Where more
 * than tables is refused (not @strict), what populates may have failed later.
 */
static int check_untouched(const struct split_op *op, struct thp_map *m, const char *before,
			   bool strict, struct thp_why *why)
{
	static struct thp_smaps sm;
	int ret;

	ret = thp_obs_smaps(0, m->area, m->area_len, &sm);
	if (ret)
		return thp_why(why, ret, "smaps: %s", thp_errno_name(ret));
	if (strict || !(op->flags & OP_POPULATES))
		ret = check_vmas(op, &sm, before, why);
	return ret ? ret : split_check_data(op, m, false, why);
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
	int ret = split_verify(op, m, why), try;

	/* Undone by reclaim: asked for again, until it stays for the time of a look. */
	for (try = 0; ret == -EAGAIN && try < 5; try++) {
		*why = (struct thp_why){ 0 };
		(void)split_run(op, m);
		ret = split_verify(op, m, why);
	}
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
	if (strict || !(op->flags & (OP_POPULATES | OP_UNDOES_FIRST))) {
		ret = split_untouched(op, m, why);
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
	enum thp_state state;
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
	ret = job->mirrored ? thp_hmm_open(why) : 0;
	if (!ret)
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
		__atomic_store_n(&self->hungry, 1, __ATOMIC_SEQ_CST);
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
	ret = thp_obs_state(m.thp, thp_env.pmd, &state);
	if (ret)
		return thp_why(why, ret, "page map: %s", thp_errno_name(ret));
	self->still = split_expected(op, m.kind) && state == thp_kind_state(m.kind);
	self->state = state;
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
 * Until the victim has used up what its group has left: the kernel writes an OOM report
 * when that is over, which can take long, and is no part of the operation.
 */
static void await_hunger(struct trial *self)
{
	struct thp_child *c = &self->victim;
	struct thp_deadline d;

	thp_deadline_start(&d, c->pid, THP_STEP_MS);
	while (!__atomic_load_n(&self->hungry, __ATOMIC_SEQ_CST) &&
	       thp_child_watch(c, 3, 1) == -ETIMEDOUT && !thp_deadline_over(&d))
		;
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
	struct thp_why inner = { 0 };
	struct thp_events e0, e1;
	int limit = job->return_ms ? job->return_ms : THP_RETURN_MS;
	struct thp_deadline d;
	int ret;

	ret = thp_child_start(c, job->fn ? job->fn : victim, job);
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
	thp_deadline_start(&d, c->pid, THP_STEP_MS);
	ret = thp_child_await_until(c, 1, &d);
	if (ret) {
		if (ret == -ETIMEDOUT)
			thp_why(why, ret, "the victim was not ready within %lld ms", d.wall);
		thp_child_join(c, 0, why);
		return ret == -ETIMEDOUT ? -EPROTO : -ECHILD;
	}
	thp_obs_events(&e0);
	ret = starve(self, job->injector, true);
	if (ret) {
		thp_child_kill(c);
		return thp_why(why, ret, "cannot starve the victim: %s", thp_errno_name(ret));
	}
	/* A full control group makes the kernel write an OOM report for each attempt. */
	if (job->injector == MEMCG)
		limit *= 2;
	/* What has looped before is not given as long again: ten IDs, one bug. */
	if (thp_run_has_looped(op->name))
		limit = THP_AGAIN_MS;
	thp_chan_post_child(c->chan, 2);
	if (job->injector == MEMCG)
		await_hunger(self);
	thp_deadline_start(&d, c->pid, limit);
	if (op->starved == WAITS)
		ret = thp_child_watch(c, 3, WAIT_MS);
	else
		ret = thp_child_await_until(c, 3, &d);
	self->waited = ret == -ETIMEDOUT;
	(void)starve(self, job->injector, false);
	if (self->waited && op->starved != WAITS) {
		thp_run_note_loop(op->name);
		thp_why(why, -EPROTO,
			"%s did not return within %lld ms while starved: %s, CPU %lld ms",
			op->name, d.wall, thp_deadline_burnt(&d) ? "livelock" : "it sleeps",
			d.cpu);
	}
	if (ret == -ETIMEDOUT) {
		ret = thp_child_await(c, 3, limit);
		if (ret == -ETIMEDOUT)
			thp_run_note_loop(op->name);
	}
	if (ret == -ETIMEDOUT)
		thp_why(why, -EPROTO, "%s did not return even with memory at hand", op->name);
	/* What waited has been refused up to now. */
	thp_obs_events(&e1);
	if (job->injector == TARGETED)
		self->fired = thp_inject_fired() - self->drained;
	self->failed_splits = e1.split_pmd_failed - e0.split_pmd_failed;
	self->splits = e1.split_pmd - e0.split_pmd;
	if (c->chan)
		thp_chan_post_child(c->chan, 4);
	ret = thp_child_join(c, ret == -ETIMEDOUT ? 0 : THP_STEP_MS, &inner);
	if (ret)
		thp_why_pass(why, ret, &inner);
	if (why->skip)
		return -ENOTSUP;
	return why->text[0] ? -EPROTO : 0;
}

/*
 * A table that is refused counts once in thp_split_pmd_failed, a PMD that is split counts
 * once in thp_split_pmd, and neither counts in the other. @refused is how many tables
 * were refused, at most if it may have been something else (!@tables).
 * 0; -EAGAIN: too many, which others can have done; -EPROTO: too few.
 */
static int judge_events(const struct trial *t, const struct split_op *op, enum thp_kind kind,
			long refused, bool tables, struct thp_why *why)
{
	long splits = split_expected(op, kind) && t->state != thp_kind_state(kind);

	if (t->failed_splits > refused || (tables && t->failed_splits < refused))
		return thp_why(why, t->failed_splits > refused ? -EAGAIN : -EPROTO,
			       "%s of %s: thp_split_pmd_failed %+ld, %ld %s refused", op->name,
			       thp_kind_name(kind), t->failed_splits, refused,
			       tables ? "tables were" : "allocations were");
	if (t->state != THP_STATE_UNKNOWN && t->splits != splits)
		return thp_why(why, t->splits > splits ? -EAGAIN : -EPROTO,
			       "%s of %s: thp_split_pmd %+ld, expected %+ld: the range is %s",
			       op->name, thp_kind_name(kind), t->splits, splits,
			       thp_state_name(t->state));
	return 0;
}

static bool counts_failures(void)
{
	return thp_obs_vmstat("thp_split_pmd_failed") != THP_EVENT_NONE;
}

static const char *outcome(const struct trial *self)
{
	return self->waited ? "waited" : thp_errno_name(self->ret);
}

static void report(const char *injector, const struct split_op *op, enum thp_kind kind,
		   const struct trial *t, long refused)
{
	thp_inject_report(injector, needs_table(op, kind), refused,
			  "%s, thp_split_pmd_failed %+ld", outcome(t), t->failed_splits);
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
	int try, events = -EAGAIN;
	struct thp_why why = { 0 };

	THP_NEEDS(THP_NEED_FAIL_PAGE);
	for (try = 0; try < EVENT_TRIES && events == -EAGAIN; try++) {
		memset(t, 0, sizeof(*t));
		thp_why_clear(&why);
		THP_REQUIRE_OK(thp_inject_setup(true, 0, &why), &why);
		THP_REQUIRE_OK(watch(&job, &why), &why);
		events = judge_events(t, op, variant->kind, counts_failures() ? t->fired : 0, true,
				      &why);
	}
	THP_CHECK_RESULT(events, &why);
	report("targeted", op, variant->kind, t, t->fired);
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
}

/* The control group is full: also the victim's other allocations fail. */
TEST_F_TIMEOUT(split, memcg, 90)
{
	struct trial *t = &self->trial;
	struct job job = {
		.op = variant->op, .kind = variant->kind, .injector = MEMCG, .trial = t,
	};
	const struct split_op *op = variant->op;
	struct thp_why why = { 0 };

	THP_NEEDS(THP_NEED_MEMCG | THP_NEED_POPULATE);
	THP_REQUIRE_OK(thp_cg_create(&t->cg, "victim", &why), &why);
	THP_REQUIRE_OK(watch(&job, &why), &why);
	report("memcg", op, variant->kind, t,
	       t->ret || t->waited || t->still || t->failed_splits > 0);
	/* Zapping base pages takes nothing; that must not change. */
	if (is_plain(variant->kind) && (op->flags & OP_ZAPS))
		THP_CHECK(!t->ret, "%s of %s: %s, expected success", op->name,
			  thp_kind_name(variant->kind), thp_errno_name(t->ret));
	if (is_plain(variant->kind) && counts_failures())
		THP_CHECK(!t->failed_splits, "%s without a THP: thp_split_pmd_failed %+ld",
			  op->name, t->failed_splits);
}

/* judge_events() of one shot, which @fired or did not. */
static int shot_events(struct job *job, const struct thp_map *m, const struct thp_events *before,
		       const struct thp_events *after, int fired, struct thp_why *why)
{
	struct trial t = {
		.splits = after->split_pmd - before->split_pmd,
		.failed_splits = after->split_pmd_failed - before->split_pmd_failed,
	};
	int ret = thp_obs_state(m->thp, thp_env.pmd, &t.state);

	return ret ? thp_why(why, ret, "page map: %s", thp_errno_name(ret)) :
	       judge_events(&t, job->op, m->kind, fired, false, why);
}

/* One allocation fails, the first, the second, ... until none is left. */
static int sweep(struct thp_chan *chan, void *arg)
{
	static struct thp_smaps before;
	struct job *job = arg;
	const struct split_op *op = job->op;
	struct thp_why *why = &chan->why;
	struct thp_events e0, e1, s0, s1;
	static struct thp_map m;
	long long end = thp_now_ms() + SWEEP_MS;
	int fd, nth, ret, fired, again = 0, noise = 0;

	thp_warm_up();
	fd = thp_inject_nth_open();
	if (fd < 0)
		return thp_why(why, fd, "fail-nth: %s", thp_errno_name(fd));
	ret = rehearse(op, job->kind, why);
	if (ret)
		return ret;
	thp_obs_events(&e0);
	for (nth = 1; nth <= NTH_MAX; nth++) {
		thp_chan_beat(chan);
		ret = thp_map_new(&m, job->kind, why);
		if (!ret)
			ret = split_prepare(op, &m, why);
		if (!ret)
			ret = thp_obs_smaps(0, m.area, m.area_len, &before);
		if (ret)
			return thp_why(why, ret, "setup: %s", thp_errno_name(ret));
		ret = thp_inject_drain(fd);
		thp_obs_events(&s0);
		if (!ret)
			ret = thp_inject_nth_arm(fd, nth);
		if (ret)
			return thp_why(why, ret, "fail-nth: %s", thp_errno_name(ret));
		job->trial->ret = split_run(op, &m);
		fired = thp_inject_nth_disarm(fd);
		thp_obs_events(&s1);
		if (fired < 0)
			return thp_why(why, fired, "fail-nth: %s", thp_errno_name(fired));
		job->trial->fired += fired;
		ret = shot_events(job, &m, &s0, &s1, fired, why);
		if (ret == -EAGAIN && ++noise < EVENT_TRIES) {
			thp_why_clear(why);
			thp_map_destroy(&m);
			nth--;
			continue;
		}
		if (ret)
			return ret;
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
		if (ret)
			return thp_why_from(why, -EPROTO, why, "nth=%d", nth);
		if (!(op->flags & OP_NO_ZAP))
			thp_map_zap(&m);
		thp_map_destroy(&m);
		thp_obs_events(&e1);
		job->trial->failed_splits = e1.split_pmd_failed - e0.split_pmd_failed;
		if (op->starved == ADVICE && thp_now_ms() > end)
			break;
		if (fired)
			continue;
		/* A slab that needed a page may have drawn the shot at the table. */
		if (job->trial->failed_splits || !needs_table(op, job->kind) || ++again == SWEEPS)
			break;
		nth = 0;
	}
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
	struct thp_why why = { 0 };

	THP_NEEDS(THP_NEED_FAIL_NTH);
	THP_REQUIRE_OK(thp_inject_setup(false, 0, &why), &why);
	THP_REQUIRE_OK(thp_child_run(sweep, &job, THP_STEP_MS, &why), &why);
	report("fail-nth", variant->op, variant->kind, t, t->fired);
	if (!needs_table(variant->op, variant->kind))
		return;
	THP_CHECK(t->fired > 0, "%s of %s: the injector never fired", variant->op->name,
		  thp_kind_name(variant->kind));
	if (counts_failures())
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
	int limit = thp_limit(THP_DAEMON_MS), ret;
	struct thp_map *m = self->maps;
	struct thp_why why = { 0 };
	long long end;

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
		for (end = thp_now_ms() + limit; thp_now_ms() < end; thp_sleep_ms(20))
			if (thp_inject_fired() >= 3)
				break;
		thp_inject_report("targeted", true, thp_inject_fired(), "tries again");
		THP_CHECK(thp_inject_fired() > 0, "KSM asked for no table in %d ms", limit);
		THP_CHECK_OK(thp_map_expect(&m[0], THP_STATE_PMD, &why), &why);
		THP_CHECK_OK(thp_map_expect(&m[1], THP_STATE_PMD, &why), &why);
		THP_CHECK_OK(check_twins(m, &why), &why);
		THP_REQUIRE_OK(thp_inject_task(self->pid, false), &why);
	}
	ret = await_states(m, THP_STATE_PTE, limit);
	THP_CHECK(!ret, "KSM did not split both THPs within %d ms: %s", limit,
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
	struct thp_why why = { 0 };
	struct thp_events e0, e1;
	enum thp_state state;
	int try;

	THP_NEEDS(THP_NEED_ROOT | THP_NEED_FAIL_PAGE);
	THP_REQUIRE_OK(thp_map_underused(m, &why), &why);
	thp_obs_events(&e0);
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
	thp_inject_report("targeted", lazy, thp_inject_fired(), "range is %s",
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
		return thp_why_default(why, ret);
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
	int limit = thp_limit(THP_DAEMON_MS);
	enum thp_state state = THP_STATE_PMD;
	struct thp_why why = { 0 };
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
	THP_REQUIRE_RESULT(ret, &why);
	/* Its first step is an aggregation interval away. */
	THP_REQUIRE_OK(thp_read_u64(DAMON "0/pid", &val), &why);
	self->pid = val;
	THP_REQUIRE_OK(thp_inject_task(self->pid, true), &why);
	for (end = thp_now_ms() + limit; thp_now_ms() < end; thp_sleep_ms(20)) {
		THP_REQUIRE_OK(thp_obs_state(m->thp, thp_env.pmd, &state), &why);
		if (thp_inject_fired() >= 2 || state == THP_STATE_PTE)
			break;
	}
	thp_inject_report("targeted", lazy, thp_inject_fired(), "range is %s",
			  thp_state_name(state));
	THP_CHECK(lazy ? thp_inject_fired() > 0 : !thp_inject_fired(),
		  "DAMON asked for %ld tables, expected %s", thp_inject_fired(),
		  lazy ? "some" : "none");
	THP_CHECK(state == (lazy ? THP_STATE_PMD : THP_STATE_PTE), "range is %s, expected %s",
		  thp_state_name(state), lazy ? "PMD-mapped" : "PTE-mapped");
	THP_CHECK_OK(thp_map_check(m, 0, thp_env.nr, &why), &why);
	THP_REQUIRE_OK(thp_inject_task(self->pid, false), &why);
	for (end = thp_now_ms() + limit; thp_now_ms() < end; thp_sleep_ms(20)) {
		THP_REQUIRE_OK(thp_obs_state(m->thp, thp_env.pmd, &state), &why);
		if (state == THP_STATE_PTE)
			break;
	}
	THP_CHECK(state == THP_STATE_PTE, "range is %s %d ms later, expected PTE-mapped",
		  thp_state_name(state), limit);
	tables = thp_obs_vmpte(0) - tables;
	if (thp_env.unit == 1)
		THP_CHECK(thp_env_tables(tables, &got) && got == lazy,
			  "DAMON: %+lld B of tables, expected %+d tables", tables, lazy);
	THP_CHECK_OK(thp_map_check(m, 0, thp_env.nr, &why), &why);
}

static const struct split_op *op_by_name(const char *name)
{
	size_t i;

	for (i = 0; i < split_ops_count; i++)
		if (!strcmp(split_ops[i].name, name))
			return &split_ops[i];
	return NULL;
}

/*
 * Ranges with two edges: they begin in the middle of one THP and end in the middle of
 * another, so two tables are needed, and the second can be refused when the first has
 * been had. The only place where "nothing has changed" is more than "nothing was begun".
 *
 *	area    below   THP 0   THP 1   THP 2   above
 *	|       |      #|#######|#######|#######|#     |
 *	                    ^ range           ^
 *	                        boundary of the next level
 *
 * The range crosses into another table of the level above (a PUD): the levels of a page
 * table walk hand their results on to each other.
 */
#define EDGE_THPS	3

struct edge_op {
	const char *row;	/* of the split table: the call, its errors, what it needs */
	int (*prepare)(struct thp_map *m, struct thp_why *why);
	/* After success. */
	int (*verify)(const struct edge_op *e, struct thp_map *m, struct thp_why *why);
	unsigned int tables;	/* that it needs: the edges that lie in a THP */
	unsigned int from;	/* where the range begins, in halves of a THP */
	bool inside;		/* the range is the middle of THP 1: both edges in one PMD */
	bool zero[EDGE_THPS];	/* huge zero PMDs instead of THPs */
	bool small_mid;		/* THP 1 is base pages instead */
	bool holes;		/* ... and of these the upper half is not there */
	bool zaps;		/* THP 1 is unmapped by success */
	bool cuts;		/* the first edge may stay split after a failure */
	bool two_vmas;		/* the second begins with THP 2 */
	bool to_end;		/* the range ends with THP 2, not in it */
	bool wp;		/* what it changes is the userfaultfd bit: ... */
	bool wp_before;		/* ... from this to the opposite */
	bool scan;		/* PAGEMAP_SCAN: may stop on its way, and says where */
};

static size_t edge_first(const struct edge_op *e)
{
	return e->inside ? thp_env.nr + thp_env.nr / 4 : e->from * thp_env.nr / 2;
}

static size_t edge_end(const struct edge_op *e)
{
	if (e->inside)
		return 2 * thp_env.nr - thp_env.nr / 4;
	return EDGE_THPS * thp_env.nr - (e->to_end ? 0 : thp_env.nr / 2);
}

/* Address space only, with the boundary below THP 2 where there is room for that. */
static char *edges_reserve(size_t len)
{
	size_t pmd = thp_env.pmd, align = thp_span(), below = EDGE_THPS * pmd;
	char *p = MAP_FAILED, *area;

	if (align)
		p = mmap(NULL, align + len, PROT_NONE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (p == MAP_FAILED) {
		align = pmd;
		p = mmap(NULL, align + len, PROT_NONE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	}
	if (p == MAP_FAILED)
		return p;
	area = (char *)(((uintptr_t)p + below + align - 1) & ~(align - 1)) - below;
	munmap(p, area - p);
	munmap(area + len, p + align - area);
	return area;
}

/* As thp_map_create(), for a row of THPs; @m->thp is the first. */
static int edges_create(struct thp_map *m, enum thp_kind kind, struct thp_why *why)
{
	size_t pmd = thp_env.pmd;

	thp_map_init(m, kind);
	m->area_len = (EDGE_THPS + 2) * pmd;
	m->area = edges_reserve(m->area_len);
	if (m->area == MAP_FAILED) {
		m->area = NULL;
		return thp_why(why, -errno, "mmap: %s", strerror(errno));
	}
	m->thp = m->area + pmd;
	if (mprotect(m->area, m->area_len, PROT_READ | PROT_WRITE))
		return thp_why(why, -errno, "mprotect: %s", strerror(errno));
	madvise(m->area, m->area_len, MADV_NOHUGEPAGE);
	thp_touch(m->thp - thp_env.page);
	thp_touch(m->thp + EDGE_THPS * pmd);
	if (madvise(m->area, m->area_len, MADV_HUGEPAGE))
		return thp_why(why, -errno, "MADV_HUGEPAGE: %s", strerror(errno));
	return 0;
}

/* How many huge PMDs the area has: THPs by AnonHugePages, the others one by one. */
static int edges_huge(const struct thp_map *m, struct thp_smaps *sm, struct thp_why *why)
{
	int ret = thp_obs_smaps(0, m->area, m->area_len, sm), zero = 0;
	enum thp_state state;
	size_t i;

	for (i = 0; i < EDGE_THPS && !ret; i++) {
		ret = thp_obs_state(m->thp + i * thp_env.pmd, thp_env.pmd, &state);
		zero += !ret && state == THP_STATE_PMD_ZERO;
	}
	return ret ? thp_why(why, ret, "smaps or page map: %s", thp_errno_name(ret)) :
	       (int)(sm->anon_huge_kb * 1024 / thp_env.pmd) + zero;
}

/* Fills the THPs, and reads what is to be huge zero PMDs. */
static void edges_fault(struct thp_map *m, const struct edge_op *e)
{
	size_t i;

	for (i = 0; i < EDGE_THPS * thp_env.nr; i++) {
		if (!e->zero[i / thp_env.nr])
			thp_fill(thp_page(m, i), m->seed, i);
		else if (i % thp_env.nr == 0)
			(void)thp_peek(thp_page(m, i));
	}
}

static int edges_new(struct thp_map *m, const struct edge_op *e, struct thp_why *why)
{
	int want = EDGE_THPS - e->small_mid, try, ret;
	static struct thp_smaps sm;

	ret = edges_create(m, THP_ANON, why);
	for (try = 0; try < 4 && !ret; try++) {
		if (e->small_mid)
			ret = madvise(m->thp + thp_env.pmd, thp_env.pmd, MADV_NOHUGEPAGE);
		if (!ret)
			edges_fault(m, e);
		if (e->small_mid && !ret)
			ret = madvise(m->thp + thp_env.pmd, thp_env.pmd, MADV_HUGEPAGE);
		if (e->holes && !ret)
			ret = madvise(m->thp + thp_env.pmd + thp_env.pmd / 2, thp_env.pmd / 2,
				      MADV_DONTNEED);
		if (ret)
			return thp_why(why, -errno, "madvise: %s", strerror(errno));
		if (edges_huge(m, &sm, why) == want)
			return 0;
		madvise(m->thp, EDGE_THPS * thp_env.pmd, MADV_DONTNEED);
		(void)thp_write_file("/proc/sys/vm/compact_memory", "1");
	}
	return ret ? ret : thp_skip(why, THP_FRAGMENTED);
}

static int edges_locked(struct thp_map *m, struct thp_why *why)
{
	return mlock2(m->thp, EDGE_THPS * thp_env.pmd, MLOCK_ONFAULT) ?
		thp_why(why, -errno, "mlock2: %s", strerror(errno)) : 0;
}

static int edges_uffd(struct thp_map *m, uint64_t features, uint64_t mode, struct thp_why *why)
{
	m->uffd = thp_uffd_watch(m->thp, EDGE_THPS * thp_env.pmd, features, mode, why);
	return m->uffd < 0 ? m->uffd : 0;
}

static int edges_uffd_wp(struct thp_map *m, struct thp_why *why)
{
	return edges_uffd(m, 0, UFFDIO_REGISTER_MODE_WP, why);
}

static int edges_uffd_wped(struct thp_map *m, struct thp_why *why)
{
	int ret = edges_uffd_wp(m, why);

	if (!ret)
		ret = thp_uffd_wp(m->uffd, m->thp, EDGE_THPS * thp_env.pmd, 1);
	return ret ? thp_why(why, ret, "UFFDIO_WRITEPROTECT: %s", thp_errno_name(ret)) : 0;
}

static int edges_uffd_rwp(struct thp_map *m, struct thp_why *why)
{
	return edges_uffd(m, UFFD_FEATURE_RWP | UFFD_FEATURE_RWP_ASYNC, UFFDIO_REGISTER_MODE_RWP,
			  why);
}

static int edges_uffd_async(struct thp_map *m, struct thp_why *why)
{
	return edges_uffd(m, UFFD_FEATURE_WP_ASYNC | UFFD_FEATURE_WP_UNPOPULATED,
			  UFFDIO_REGISTER_MODE_WP, why);
}

static int edges_verify_mprotect(const struct edge_op *e, struct thp_map *m, struct thp_why *why)
{
	size_t first = edge_first(e), end = edge_end(e), i;
	size_t pages[] = { first, (first + end) / 2, end - 1 };

	for (i = 0; i < ARRAY_SIZE(pages); i++) {
		char byte = SPLIT_BYTE;
		struct iovec from = { .iov_base = &byte, .iov_len = 1 };
		struct iovec to = { .iov_base = thp_page(m, pages[i]), .iov_len = 1 };

		if (process_vm_writev(getpid(), &from, 1, &to, 1, 0) == 1)
			return thp_why(why, -EPROTO, "page %zu can still be written", pages[i]);
	}
	return 0;
}

static int edges_verify_mlock(const struct edge_op *e, struct thp_map *m, struct thp_why *why)
{
	unsigned long long want = (edge_end(e) - edge_first(e)) * thp_env.page / 1024;
	static struct thp_smaps sm;
	int ret = thp_obs_smaps(0, m->area, m->area_len, &sm);

	if (ret || sm.locked_kb != want)
		return thp_why(why, -EPROTO, "Locked: %llu kB, expected %llu",
			       (unsigned long long)sm.locked_kb, want);
	return 0;
}

/* One PAGEMAP_SCAN. */
struct scan {
	struct pm_scan_arg arg;
	struct page_region vec[8];
	int n;			/* regions or -errno */
};

static struct scan scan, scan_rest;

static int do_scan(struct scan *s, const char *from, const char *to)
{
	int fd;

	memset(&s->arg, 0, sizeof(s->arg));
	s->arg.size = sizeof(s->arg);
	s->arg.flags = PM_SCAN_WP_MATCHING | PM_SCAN_CHECK_WPASYNC;
	s->arg.start = (uintptr_t)from;
	s->arg.end = (uintptr_t)to;
	s->arg.vec = (uintptr_t)s->vec;
	s->arg.vec_len = ARRAY_SIZE(s->vec);
	s->arg.category_mask = PAGE_IS_WRITTEN;
	s->arg.return_mask = PAGE_IS_WRITTEN;
	fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	s->n = ioctl(fd, PAGEMAP_SCAN, &s->arg);
	if (s->n < 0)
		s->n = -errno;
	close(fd);
	return s->n < 0 ? s->n : 0;
}

/* 0 or -errno; the range begins at page @from. */
static int edge_run(const struct edge_op *e, struct thp_map *m, size_t from)
{
	char *start = thp_page(m, from), *end = thp_page(m, edge_end(e));
	int ret;

	if (!e->scan)
		return op_by_name(e->row)->run(m, start, end - start);
	scan_rest.n = 0;
	ret = do_scan(&scan, start, end);
	/* What is left is another call: it is for that one to say why. */
	if (!ret && scan.arg.walk_end < (uintptr_t)end)
		(void)do_scan(&scan_rest, (char *)(uintptr_t)scan.arg.walk_end, end);
	return ret;
}

static long page_of(const struct thp_map *m, uint64_t addr)
{
	return ((long)addr - (long)m->thp) / (long)thp_env.page;
}

/*
 * All pages had been written to: the regions have to name each of those that the scan
 * has got to, and no other. Returns up to which page that is, or -errno.
 */
static long check_regions(const struct edge_op *e, const struct thp_map *m, size_t from,
			  struct thp_why *why)
{
	uint64_t pos = (uintptr_t)thp_page(m, from);
	int i;

	for (i = 0; i < scan.n; i++) {
		if (scan.vec[i].start != pos || scan.vec[i].end <= pos)
			return thp_why(why, -EPROTO,
				       "region %d: pages %ld to %ld, expected them from %ld", i,
				       page_of(m, scan.vec[i].start), page_of(m, scan.vec[i].end),
				       page_of(m, pos));
		pos = scan.vec[i].end;
	}
	if (scan.arg.walk_end != pos)
		return thp_why(why, -EPROTO, "walk_end is page %ld, the pages reported end at %ld",
			       page_of(m, scan.arg.walk_end), page_of(m, pos));
	if (pos != (uintptr_t)thp_page(m, edge_end(e)) && scan_rest.n != -ENOMEM)
		return thp_why(why, -EPROTO, "the scan that goes on returned %s, expected ENOMEM",
			       scan_rest.n < 0 ? thp_errno_name(scan_rest.n) : "regions");
	return page_of(m, pos);
}

/* Pages [@lo, @hi) have the userfaultfd bit that they had not before, the others do not. */
static int check_bits(const struct edge_op *e, const struct thp_map *m, size_t lo, size_t hi,
		      struct thp_why *why)
{
	size_t all = EDGE_THPS * thp_env.nr, i;
	uint64_t entry;
	int fd, ret = 0;

	if (!e->wp)
		return 0;
	fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return thp_why(why, -errno, "pagemap: %s", strerror(errno));
	for (i = 0; i < all && !ret; i++) {
		bool want = (i >= lo && i < hi) != e->wp_before, is;

		if (pread(fd, &entry, 8, (uintptr_t)thp_page(m, i) / thp_env.page * 8) != 8) {
			ret = thp_why(why, -EIO, "pagemap: %s", strerror(errno));
			break;
		}
		is = entry & THP_PM_UFFD_WP;
		if (is != want)
			ret = thp_why(why, -EPROTO,
				      "page %zu is %suffd-wp, expected a change of %zu to %zu only",
				      i, is ? "" : "not ", lo, hi);
	}
	close(fd);
	return ret;
}

/* Without a signal: whether these pages can be read, or none of them. */
static int check_access(const struct thp_map *m, size_t lo, size_t hi, bool want,
			struct thp_why *why)
{
	size_t i;
	char byte;

	for (i = lo; i < hi; i++) {
		struct iovec to = { .iov_base = &byte, .iov_len = 1 };
		struct iovec from = { .iov_base = thp_page(m, i), .iov_len = 1 };

		if ((process_vm_readv(getpid(), &to, 1, &from, 1, 0) == 1) != want)
			return thp_why(why, -EPROTO, "page %zu can%s be read", i,
				       want ? "not" : " still");
	}
	return 0;
}

/* What was written; the holes are zeroes. */
static int check_plain(const struct edge_op *e, const struct thp_map *m, size_t lo, size_t hi,
		       struct thp_why *why)
{
	size_t i;
	int ret = 0;

	for (i = lo; i < hi && !ret; i++) {
		if ((e->holes && i >= thp_env.nr + thp_env.nr / 2 && i < 2 * thp_env.nr) ||
		    e->zero[i / thp_env.nr])
			ret = thp_check_zero(thp_page(m, i), 1, why);
		else
			ret = thp_map_check(m, i, 1, why);
	}
	return ret;
}

/* Contents and protection after the operation (@done), or after nothing. */
static int check_edge_data(const struct edge_op *e, struct thp_map *m, bool done,
			   struct thp_why *why)
{
	size_t first = edge_first(e), end = edge_end(e), all = EDGE_THPS * thp_env.nr;
	const struct split_op *op = op_by_name(e->row);
	int ret;

	if (!done) {
		ret = check_access(m, 0, all, true, why);
		return ret ? ret : check_plain(e, m, 0, all, why);
	}
	ret = check_plain(e, m, 0, first, why);
	if (!ret)
		ret = check_plain(e, m, end, all, why);
	if (ret)
		return ret;
	if (op->effect == ZEROES)
		ret = thp_check_zero(thp_page(m, first), end - first, why);
	else if (op->effect == UNMAPS)
		ret = check_access(m, first, end, false, why);
	else
		ret = check_plain(e, m, first, end, why);
	if (!ret && e->verify)
		ret = e->verify(e, m, why);
	return ret;
}

/* What the victim knows of the time before. */
struct edge_before {
	struct thp_smaps sm;
	long long vmpte;
	int huge;		/* THPs */
};

/* The tables of @n splits, less those that an eager kernel gets back with a THP. */
static int check_edge_tables(const struct edge_op *e, const struct edge_before *b, int n,
			     bool done, struct thp_why *why)
{
	long long got = thp_obs_vmpte(0) - b->vmpte, want;

	want = n * thp_tables_split(THP_ANON);
	if (done && e->zaps)
		want -= thp_tables_mapped(THP_ANON);
	want *= (long long)thp_env.table;
	/* VmPTE is rounded down to kB. */
	if (got - want > -1024 && got - want < 1024)
		return 0;
	return thp_why(why, -EPROTO, "%+lld B of tables, expected %+lld", got, want);
}

/* All of it is done. */
static int judge_done(const struct edge_op *e, struct thp_map *m, const struct edge_before *b,
		      struct thp_why *why)
{
	static struct thp_smaps sm;
	int huge = edges_huge(m, &sm, why), want, ret;

	want = b->huge - (int)e->tables - e->zaps;
	if (huge != want)
		return thp_why(why, -EPROTO, "%d THPs are left after success, expected %d", huge,
			       want);
	ret = check_edge_tables(e, b, e->tables, true, why);
	if (!ret)
		ret = check_bits(e, m, edge_first(e), edge_end(e), why);
	return ret ? ret : check_edge_data(e, m, true, why);
}

/* It failed (or has stopped, as a scan may): nothing of what is left to do has happened. */
static int judge_refused(const struct edge_op *e, struct thp_map *m, const struct edge_before *b,
			 int op_ret, unsigned int granted, size_t reached, struct thp_why *why)
{
	const struct split_op *op = op_by_name(e->row);
	static struct thp_smaps sm;
	int huge, cut, ret;

	if (op_ret && !split_errno_ok(op, op_ret))
		return thp_why(why, -EPROTO, "returned %s, which it is not documented to",
			       thp_errno_name(op_ret));
	huge = edges_huge(m, &sm, why);
	cut = b->huge - huge;
	if (cut < 0 || cut > (e->cuts ? (int)granted : 0))
		return thp_why(why, -EPROTO, "returned %s, but left %d of %d THPs",
			       thp_errno_name(op_ret), huge, b->huge);
	ret = check_edge_tables(e, b, cut, false, why);
	if (!ret)
		ret = check_vmas(op, &sm, b->sm.layout, why);
	if (!ret && e->two_vmas && cut) {
		/* Each VMA by itself: the first may be done, then all of its part is. */
		struct thp_why ignored = { 0 };

		if (!check_bits(e, m, edge_first(e), (EDGE_THPS - 1) * thp_env.nr, &ignored))
			reached = (EDGE_THPS - 1) * thp_env.nr;
	}
	if (!ret)
		ret = check_bits(e, m, edge_first(e), reached, why);
	return ret ? ret : check_edge_data(e, m, false, why);
}

static int edge_victim(struct thp_chan *chan, void *arg)
{
	struct job *job = arg;
	const struct edge_op *e = job->edge;
	struct trial *self = job->trial;
	static struct edge_before before;
	struct thp_why *why = &chan->why;
	static struct thp_map m;
	long reached;
	int ret;

	thp_warm_up();
	ret = thp_pin_cpu();
	if (ret)
		return thp_why(why, ret, "sched_setaffinity: %s", thp_errno_name(ret));
	ret = edges_new(&m, e, why);
	if (!ret && e->two_vmas &&
	    madvise(m.thp + (EDGE_THPS - 1) * thp_env.pmd, 2 * thp_env.pmd, MADV_DONTDUMP))
		ret = thp_why(why, -errno, "MADV_DONTDUMP: %s", strerror(errno));
	if (!ret && e->prepare)
		ret = e->prepare(&m, why);
	if (!ret)
		ret = check_bits(e, &m, 0, 0, why);
	if (ret)
		return thp_why(why, ret, "setup: %s", thp_errno_name(ret));
	before.huge = edges_huge(&m, &before.sm, why);

	thp_chan_post_parent(chan, 1);
	thp_chan_await_parent(chan, 2);
	ret = thp_inject_grant(job->granted);
	if (ret) {
		thp_chan_post_parent(chan, 3);
		return thp_why(why, ret, "PTE tables cannot be limited: %s", thp_errno_name(ret));
	}
	self->drained = thp_inject_drained();
	before.vmpte = thp_obs_vmpte(0);
	self->ret = edge_run(e, &m, edge_first(e));
	thp_chan_post_parent(chan, 3);
	thp_chan_await_parent(chan, 4);

	reached = self->ret ? edge_first(e) : edge_end(e);
	if (e->scan && !self->ret) {
		reached = check_regions(e, &m, edge_first(e), why);
		if (reached < 0)
			return reached;
	}
	self->partial = !self->ret && reached < (long)edge_end(e);
	if (self->ret || self->partial) {
		ret = judge_refused(e, &m, &before, self->ret, job->granted, reached, why);
		if (ret)
			return ret;
		ret = edge_run(e, &m, reached);
		if (ret)
			return thp_why(why, -EPROTO, "still returns %s with memory at hand",
				       thp_errno_name(ret));
		if (e->scan && check_regions(e, &m, reached, why) != (long)edge_end(e))
			return thp_why(why, -EPROTO, "no complete scan with memory at hand");
	}
	ret = judge_done(e, &m, &before, why);
	thp_map_destroy(&m);
	return ret;
}

FIXTURE(edges) {
	struct trial trial;
};

FIXTURE_VARIANT(edges) {
	struct edge_op op;
};

THP_COVERS_VARIANT(edges, dontneed, refused, "zap-dontneed");
FIXTURE_VARIANT_ADD(edges, dontneed) {
	.op = { .row = "dontneed_mid", .tables = 2, .from = 1, .zaps = true },
};

THP_COVERS_VARIANT(edges, dontneed_locked, refused, "zap-dontneed");
FIXTURE_VARIANT_ADD(edges, dontneed_locked) {
	.op = {
		.row = "dontneed_locked_mid", .prepare = edges_locked,
		.tables = 2, .from = 1, .zaps = true,
	},
};

/* Base pages in between: the markers would take a table where a THP was zapped. */
THP_COVERS_VARIANT(edges, guard_install, refused, "zap-guard");
FIXTURE_VARIANT_ADD(edges, guard_install) {
	.op = { .row = "guard_install_mid", .tables = 2, .from = 1, .small_mid = true },
};

/* Where there is nothing to zap, a marker could be installed before the edge is met. */
THP_COVERS_VARIANT(edges, guard_install_holes, refused, "zap-guard");
FIXTURE_VARIANT_ADD(edges, guard_install_holes) {
	.op = {
		.row = "guard_install_mid", .tables = 1, .from = 3, .small_mid = true,
		.holes = true,
	},
};

THP_COVERS_VARIANT(edges, uffd_wp, refused, "protect-uffd-wp");
FIXTURE_VARIANT_ADD(edges, uffd_wp) {
	.op = {
		.row = "uffd_wp_mid", .prepare = edges_uffd_wp, .tables = 2, .from = 1, .wp = true,
	},
};

THP_COVERS_VARIANT(edges, uffd_wp_two_vmas, refused, "protect-uffd-wp");
FIXTURE_VARIANT_ADD(edges, uffd_wp_two_vmas) {
	.op = {
		.row = "uffd_wp_mid", .prepare = edges_uffd_wp, .tables = 2, .from = 1, .wp = true,
		.two_vmas = true, .cuts = true,
	},
};

/* The one table is for the first VMA: that the second needs none may not hide it. */
THP_COVERS_VARIANT(edges, uffd_wp_first_vma, refused, "protect-uffd-wp");
FIXTURE_VARIANT_ADD(edges, uffd_wp_first_vma) {
	.op = {
		.row = "uffd_wp_mid", .prepare = edges_uffd_wp, .tables = 1, .from = 1, .wp = true,
		.two_vmas = true, .to_end = true,
	},
};

THP_COVERS_VARIANT(edges, uffd_unwp, refused, "protect-uffd-wp");
FIXTURE_VARIANT_ADD(edges, uffd_unwp) {
	.op = {
		.row = "uffd_unwp_mid", .prepare = edges_uffd_wped, .tables = 2, .from = 1,
		.wp = true, .wp_before = true,
	},
};

THP_COVERS_VARIANT(edges, uffd_rwp, refused, "protect-uffd-rwp");
FIXTURE_VARIANT_ADD(edges, uffd_rwp) {
	.op = {
		.row = "uffd_rwp_mid", .prepare = edges_uffd_rwp, .tables = 2, .from = 1,
		.wp = true,
	},
};

THP_COVERS_VARIANT(edges, uffd_rwp_two_vmas, refused, "protect-uffd-rwp");
FIXTURE_VARIANT_ADD(edges, uffd_rwp_two_vmas) {
	.op = {
		.row = "uffd_rwp_mid", .prepare = edges_uffd_rwp, .tables = 2, .from = 1,
		.wp = true, .two_vmas = true, .cuts = true,
	},
};

THP_COVERS_VARIANT(edges, uffd_rwp_first_vma, refused, "protect-uffd-rwp");
FIXTURE_VARIANT_ADD(edges, uffd_rwp_first_vma) {
	.op = {
		.row = "uffd_rwp_mid", .prepare = edges_uffd_rwp, .tables = 1, .from = 1,
		.wp = true, .two_vmas = true, .to_end = true,
	},
};

THP_COVERS_VARIANT(edges, uffd_unregister, refused, "protect-uffd-unregister");
FIXTURE_VARIANT_ADD(edges, uffd_unregister) {
	.op = {
		.row = "uffd_unregister_mid", .prepare = edges_uffd_wped, .tables = 2, .from = 1,
		.wp = true, .wp_before = true,
	},
};

THP_COVERS_VARIANT(edges, pagemap_scan, refused, "walk-pagemap-scan");
FIXTURE_VARIANT_ADD(edges, pagemap_scan) {
	.op = {
		.row = "pagemap_scan_wp_mid", .prepare = edges_uffd_async, .tables = 2, .from = 1,
		.wp = true, .cuts = true, .scan = true,
	},
};

THP_COVERS_VARIANT(edges, munmap, refused, "split-munmap");
FIXTURE_VARIANT_ADD(edges, munmap) {
	.op = { .row = "munmap_mid", .tables = 2, .from = 1, .zaps = true, .cuts = true },
};

THP_COVERS_VARIANT(edges, mprotect, refused, "split-mprotect");
FIXTURE_VARIANT_ADD(edges, mprotect) {
	.op = {
		.row = "mprotect_mid", .verify = edges_verify_mprotect, .tables = 2, .from = 1,
		.cuts = true,
	},
};

THP_COVERS_VARIANT(edges, mlock, refused, "split-mlock");
FIXTURE_VARIANT_ADD(edges, mlock) {
	.op = {
		.row = "mlock_mid", .verify = edges_verify_mlock, .tables = 2, .from = 1,
		.cuts = true,
	},
};

FIXTURE_SETUP(edges)
{
	const struct split_op *op = op_by_name(variant->op.row);

	THP_REQUIRE(op, "no operation %s", variant->op.row);
	THP_NEEDS(op->needs | THP_NEED_FAIL_PAGE |
		  (variant->op.zero[0] || variant->op.zero[2] ? THP_NEED_ZERO : 0));
	if (!thp_env_room((EDGE_THPS + 1) * thp_env.pmd))
		THP_SKIP("needs more memory");
}

FIXTURE_TEARDOWN_PARENT(edges)
{
	thp_teardown(_metadata);
}

/* With no table, with one too few, and with just as many as there are edges. */
TEST_F_TIMEOUT(edges, refused, 120)
{
	const struct edge_op *e = &variant->op;
	bool lazy = thp_env.contract == THP_LAZY, enough;
	struct trial *t = &self->trial;
	struct job job = {
		.op = op_by_name(e->row), .edge = e, .fn = edge_victim, .injector = TARGETED,
		.trial = t,
	};
	struct thp_why why = { 0 };
	int ret;

	for (job.granted = 0; job.granted <= e->tables; job.granted++) {
		enough = !lazy || job.granted == e->tables;
		memset(t, 0, sizeof(*t));
		thp_why_clear(&why);
		THP_REQUIRE_OK(thp_inject_setup(true, 0, &why), &why);
		ret = watch(&job, &why);
		if (ret)
			thp_why_from(&why, ret, &why, "with %u of %u tables", job.granted,
				     e->tables);
		THP_REQUIRE_RESULT(ret, &why);
		thp_inject_report("targeted", !enough, t->fired, "with %u of %u tables %s%s",
				  job.granted, e->tables, outcome(t),
				  t->partial ? " (a part)" : "");
		if (enough) {
			THP_CHECK(!t->fired, "asked for %ld tables more, there are %u edges",
				  t->fired, e->tables);
			THP_CHECK(!t->ret && !t->partial, "%s with all tables, expected success",
				  t->partial ? "stopped" : thp_errno_name(t->ret));
			continue;
		}
		THP_CHECK(t->fired > 0, "with %u of %u tables: no further one was asked for",
			  job.granted, e->tables);
		THP_CHECK(t->ret || t->partial, "succeeded with %u of %u tables", job.granted,
			  e->tables);
		if (counts_failures())
			THP_CHECK(t->failed_splits == t->fired,
				  "with %u of %u tables: thp_split_pmd_failed %+ld, %ld refused",
				  job.granted, e->tables, t->failed_splits, t->fired);
	}
}

#include "split_enomem/edges_mixed.c"

/*
 * A huge PMD that appears across the edge of a range after the edges were split: while
 * the operation is busy with base pages, another thread zaps what is behind them and
 * faults it in anew. There is one table for the first split and none for the second,
 * which fails where nothing can be taken back; it may fail, but it has to say so.
 */
#define BETWEEN_PMDS	256
#define BETWEEN_TRIES	400
/* Refusals that are reported, or are not. */
#define BETWEEN_HITS	5
/* The same where most are those of markers. */
#define MARKER_HITS	25
#define BETWEEN_MS	20000
#define REFAULT_MS	1000	/* of one operation */

struct between_op {
	const char *row;	/* the operation */
	bool installs;		/* markers, for which it needs tables on any kernel */
	uint64_t features, mode;	/* of a userfaultfd, or 0 */
};

enum { REST, GO, QUIT };

/* The other thread, and what it works on. */
static struct {
	char *tail;
	int period_us;
	int want, is;
} refaulter = { .period_us = 1000 };

static int refaulter_wants(void)
{
	return __atomic_load_n(&refaulter.want, __ATOMIC_ACQUIRE);
}

/*
 * On the CPU of the operation and with a higher priority: it interrupts the operation,
 * also on machines, and virtual ones, where two CPUs seldom run at the same time. Not
 * for ever: who starts over as long as the PMD becomes huge again may do so.
 */
static void *refault(void *arg)
{
	struct sched_param fifo = { .sched_priority = 1 };
	long long end = 0;
	int want;

	(void)arg;
	/* Without the right to that it is the same, less often at the right time. */
	(void)pthread_setschedparam(pthread_self(), SCHED_FIFO, &fifo);
	while ((want = refaulter_wants()) != QUIT) {
		if (want != GO) {
			end = thp_now_ms() + REFAULT_MS;
		} else if (thp_now_ms() < end) {
			madvise(refaulter.tail, thp_env.pmd, MADV_DONTNEED);
			(void)thp_peek(refaulter.tail + thp_env.pmd - thp_env.page);
		}
		__atomic_store_n(&refaulter.is, want, __ATOMIC_RELEASE);
		usleep(refaulter.period_us);
	}
	return NULL;
}

/* Returns when it rests; the rest is not waited for. */
static void refaulter_set(int want)
{
	__atomic_store_n(&refaulter.want, want, __ATOMIC_RELEASE);
	while (want == REST && __atomic_load_n(&refaulter.is, __ATOMIC_ACQUIRE) != REST)
		usleep(100);
}

/* A base page, the zero page, for each of many PTE tables, and a huge zero PMD behind them. */
static int between_new(struct thp_map *m, const struct between_op *b, struct thp_why *why)
{
	size_t small = BETWEEN_PMDS * thp_env.pmd;
	enum thp_state state = THP_STATE_NONE;
	size_t i;
	int ret;

	thp_map_init(m, THP_ZERO);
	m->area_len = small + thp_env.pmd;
	m->area = edges_reserve(m->area_len);
	if (m->area == MAP_FAILED) {
		m->area = NULL;
		return thp_why(why, -errno, "mmap: %s", strerror(errno));
	}
	m->thp = m->area + small;
	if (mprotect(m->area, m->area_len, PROT_READ | PROT_WRITE) ||
	    madvise(m->area, m->area_len, MADV_NOHUGEPAGE))
		return thp_why(why, -errno, "madvise: %s", strerror(errno));
	for (i = 0; i < BETWEEN_PMDS; i++)
		(void)thp_peek(m->area + i * thp_env.pmd);
	if (madvise(m->area, m->area_len, MADV_HUGEPAGE))
		return thp_why(why, -errno, "MADV_HUGEPAGE: %s", strerror(errno));
	if (b->mode) {
		m->uffd = thp_uffd_watch(m->area, m->area_len, b->features, b->mode, why);
		if (m->uffd < 0)
			return m->uffd;
	}
	(void)thp_peek(m->thp);
	ret = thp_obs_state(m->thp, thp_env.pmd, &state);
	if (!ret && state != THP_STATE_PMD_ZERO)
		ret = -EPROTO;
	return ret ? thp_why(why, ret, "the tail is %s", thp_state_name(state)) : 0;
}

/* Whether zapping a split PMD makes room for a huge one: CONFIG_PT_RECLAIM. */
static bool between_reclaims(struct thp_map *m)
{
	enum thp_state state;

	if (madvise(m->thp, thp_env.page, MADV_DONTNEED) ||
	    madvise(m->thp, thp_env.pmd, MADV_DONTNEED))
		return false;
	(void)thp_peek(m->thp);
	return !thp_obs_state(m->thp, thp_env.pmd, &state) && state == THP_STATE_PMD_ZERO;
}

/*
 * One operation against the other thread. -errno; 0 if it was refused no table; 1 if it
 * was and says so; 2 if it does not. Once in a while that is no lie, as the other thread
 * may have zapped what the table was for.
 */
static int between_once(struct job *job, struct thp_map *m, struct thp_why *why)
{
	struct trial *self = job->trial;
	const struct split_op *op = job->op;
	struct thp_deadline d;
	long fired;
	int ret;

	ret = thp_inject_task(getpid(), true);
	if (!ret)
		ret = thp_inject_grant(1);
	fired = thp_inject_fired();
	if (ret || fired < 0)
		return thp_why(why, -EIO, "PTE tables cannot be limited");
	refaulter_set(GO);
	thp_deadline_start(&d, getpid(), THP_RETURN_MS);
	self->ret = op->run(m, m->area, m->area_len - thp_env.pmd / 2);
	refaulter_set(REST);
	(void)thp_inject_task(getpid(), false);
	fired = thp_inject_fired() - fired;
	if (thp_deadline_over(&d))
		return thp_why(why, -EPROTO, "%s took %lld ms, %lld ms of it on a CPU: livelock",
			       op->name, d.wall, d.cpu);
	if (fired && !self->ret)
		return 2;
	if (self->ret && (!fired || !split_errno_ok(op, self->ret)))
		return thp_why(why, -EPROTO, "%s returned %s, with %ld tables refused", op->name,
			       thp_errno_name(self->ret), fired);
	return fired > 0;
}

static int between_victim(struct thp_chan *chan, void *arg)
{
	struct job *job = arg;
	struct trial *self = job->trial;
	struct thp_why *why = &chan->why;
	long long end = thp_now_ms() + BETWEEN_MS;
	static struct thp_map m;
	int want = job->between->installs ? MARKER_HITS : BETWEEN_HITS;
	int ret, try, hits[3] = { 0 };
	pthread_t thread;

	thp_warm_up();
	ret = between_new(&m, job->between, why);
	if (ret)
		return ret;
	self->reclaims = between_reclaims(&m);
	thp_map_destroy(&m);
	ret = thp_pin_cpu();
	if (ret)
		return thp_why(why, ret, "sched_setaffinity: %s", thp_errno_name(ret));
	if (pthread_create(&thread, NULL, refault, NULL))
		return thp_why(why, -EAGAIN, "no thread");
	thp_chan_post_parent(chan, 1);
	thp_chan_await_parent(chan, 2);
	for (try = 0; try < BETWEEN_TRIES && hits[1] < want && hits[2] < want &&
	     thp_now_ms() < end && self->reclaims; try++) {
		thp_chan_beat(chan);
		/* What prepares it gets its tables. */
		ret = thp_inject_task(getpid(), false);
		if (!ret)
			ret = between_new(&m, job->between, why);
		if (ret)
			break;
		refaulter.tail = m.thp;
		refaulter.period_us = 100 + try % 5 * 200;
		ret = between_once(job, &m, why);
		thp_map_destroy(&m);
		if (ret < 0)
			break;
		hits[ret]++;
	}
	refaulter_set(QUIT);
	self->drained = thp_inject_drained();
	thp_chan_post_parent(chan, 3);
	thp_chan_await_parent(chan, 4);
	pthread_join(thread, NULL);
	if (ret < 0)
		return thp_why(why, ret, "try %d: %s", try, thp_errno_name(ret));
	if (hits[2] > hits[1])
		return thp_why(why, -EPROTO, "%s was refused a table %d times and said so %d times",
			       job->op->name, hits[1] + hits[2], hits[1]);
	return 0;
}

FIXTURE(between) {
	struct trial trial;
};

FIXTURE_VARIANT(between) {
	struct between_op op;
};

THP_COVERS_VARIANT(between, dontneed, reported, "zap-dontneed");
FIXTURE_VARIANT_ADD(between, dontneed) { .op = { .row = "dontneed_mid" } };

THP_COVERS_VARIANT(between, guard_install, reported, "zap-guard");
FIXTURE_VARIANT_ADD(between, guard_install) {
	.op = { .row = "guard_install_mid", .installs = true },
};

THP_COVERS_VARIANT(between, uffd_wp, reported, "protect-uffd-wp");
FIXTURE_VARIANT_ADD(between, uffd_wp) {
	.op = { .row = "uffd_wp_mid", .mode = UFFDIO_REGISTER_MODE_WP },
};

THP_COVERS_VARIANT(between, uffd_rwp, reported, "protect-uffd-rwp");
FIXTURE_VARIANT_ADD(between, uffd_rwp) {
	.op = {
		.row = "uffd_rwp_mid", .mode = UFFDIO_REGISTER_MODE_RWP,
		.features = UFFD_FEATURE_RWP | UFFD_FEATURE_RWP_ASYNC,
	},
};

FIXTURE_SETUP(between)
{
	const struct split_op *op = op_by_name(variant->op.row);

	THP_REQUIRE(op, "no operation %s", variant->op.row);
	THP_NEEDS(op->needs | THP_NEED_FAIL_PAGE | THP_NEED_ZERO);
}

FIXTURE_TEARDOWN_PARENT(between)
{
	thp_teardown(_metadata);
}

TEST_F_TIMEOUT(between, reported, 120)
{
	bool lazy = thp_env.contract == THP_LAZY;
	struct trial *t = &self->trial;
	struct job job = {
		.op = op_by_name(variant->op.row), .between = &variant->op, .trial = t,
		.fn = between_victim, .injector = TARGETED, .return_ms = THP_RETURN_MS + REFAULT_MS,
	};
	struct thp_why why = { 0 };

	THP_REQUIRE_OK(thp_inject_setup(true, 0, &why), &why);
	THP_REQUIRE_OK(watch(&job, &why), &why);
	if (!t->reclaims)
		THP_SKIP("needs a kernel that frees empty PTE tables (PT_RECLAIM)");
	thp_inject_report("targeted", lazy || variant->op.installs, t->fired,
			  "another PMD became huge, then %s", outcome(t));
	if (!lazy) {
		THP_CHECK(!t->fired || variant->op.installs, "asked for %ld tables, expected none",
			  t->fired);
		return;
	}
	if (!t->fired)
		THP_SKIP("no PMD became huge at the right time");
}

/*
 * A device that mirrors the process is told when page tables begin to change and when
 * that is over, also if it has failed: else the device waits for ever, and so does the
 * process when it closes it.
 */
FIXTURE(mirror) {
	struct trial trial;
};

FIXTURE_VARIANT(mirror) {
	const char *row;	/* the operation */
};

THP_COVERS_VARIANT(mirror, munmap, released, "split-munmap");
FIXTURE_VARIANT_ADD(mirror, munmap) { .row = "munmap_mid" };
THP_COVERS_VARIANT(mirror, dontneed, released, "zap-dontneed");
FIXTURE_VARIANT_ADD(mirror, dontneed) { .row = "dontneed_mid" };
THP_COVERS_VARIANT(mirror, uffd_wp, released, "protect-uffd-wp");
FIXTURE_VARIANT_ADD(mirror, uffd_wp) { .row = "uffd_wp_mid" };
THP_COVERS_VARIANT(mirror, uffd_move, released, "uffd-move-split");
FIXTURE_VARIANT_ADD(mirror, uffd_move) { .row = "uffd_move_mid" };
THP_COVERS_VARIANT(mirror, mremap, released, "move-partial");
FIXTURE_VARIANT_ADD(mirror, mremap) { .row = "mremap_move_mid" };
THP_COVERS_VARIANT(mirror, pagemap_scan, released, "walk-pagemap-scan");
FIXTURE_VARIANT_ADD(mirror, pagemap_scan) { .row = "pagemap_scan_wp_mid" };
THP_COVERS_VARIANT(mirror, cow_write, released, "cow-write");
FIXTURE_VARIANT_ADD(mirror, cow_write) { .row = "cow_write_mid" };
THP_COVERS_VARIANT(mirror, cold, released, "folio-split-advice folio-split");
FIXTURE_VARIANT_ADD(mirror, cold) { .row = "cold_mid" };
THP_COVERS_VARIANT(mirror, pageout, released, "reclaim-unmap");
FIXTURE_VARIANT_ADD(mirror, pageout) { .row = "pageout_whole" };

FIXTURE_SETUP(mirror)
{
	const struct split_op *op = op_by_name(variant->row);

	THP_REQUIRE(op, "no operation %s", variant->row);
	THP_NEEDS(op->needs | THP_NEED_HMM | THP_NEED_FAIL_PAGE);
}

FIXTURE_TEARDOWN_PARENT(mirror)
{
	thp_teardown(_metadata);
}

TEST_F_TIMEOUT(mirror, released, 120)
{
	struct trial *t = &self->trial;
	struct job job = {
		.op = op_by_name(variant->row), .kind = THP_ANON, .injector = TARGETED,
		.trial = t, .mirrored = true,
	};
	bool needed = needs_table(job.op, THP_ANON);
	struct thp_why why = { 0 };

	THP_REQUIRE_OK(thp_inject_setup(true, 0, &why), &why);
	/* A process that waits for ever cannot be killed: that is what this reports. */
	THP_REQUIRE_OK(watch(&job, &why), &why);
	report("targeted", job.op, THP_ANON, t, t->fired);
	THP_CHECK(needed == (t->fired > 0), "%s: %ld tables refused", job.op->name, t->fired);
}

/*
 * Leak loops. A table that was allocated and never populated is in no process'
 * VmPTE and in no report at exit: only the system's PageTables shows it, and only
 * after many rounds.
 */
#define LEAK_ROUNDS	250
#define LEAK_ROUNDS_MAX	1000
#define LEAK_DEVICE	100
#define LEAK_PAGES	4	/* that others may have come to use meanwhile */

FIXTURE(leak) {
	struct thp_child child;
};

struct leak_of {
	const char *op;
	enum thp_kind kind;
	bool refused;		/* tables cannot be allocated */
	bool edges;		/* with two edges, of which the first gets its table */
	const char *rival;	/* another thread does this to the first page meanwhile */
	bool collapse;		/* ... and MADV_COLLAPSE */
	bool slow;		/* as few rounds as can be */
	bool device;		/* still fewer: all contents are copied there and back */
	bool never;		/* the operation is refused for another reason */
};

/* A leak shows in pages of PageTables, of which a table may be a small part. */
static unsigned int leak_count(const struct leak_of *of)
{
	size_t count = 4 * LEAK_PAGES * thp_env.page / thp_env.table;

	if (of->device)
		return LEAK_DEVICE * thp_env.scale;
	if (of->slow || count < LEAK_ROUNDS)
		count = LEAK_ROUNDS;
	if (of->rival && !of->slow)
		count *= 2;
	if (count > LEAK_ROUNDS_MAX)
		count = LEAK_ROUNDS_MAX;
	return count * thp_env.scale;
}

static int run_fault(struct thp_map *m, char *addr, size_t len)
{
	(void)m;
	(void)len;
	thp_touch(addr);
	return 0;
}

/* Not a split: both threads find the PMD empty. */
static const struct split_op fault_op = {
	.name = "fault", .run = run_fault, .kinds = THP_ANON, .where = AT_MID,
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

FIXTURE_VARIANT_ADD(leak, dontneed_edges) {
	.of = { .op = "dontneed_mid", .kind = THP_ZERO, .refused = true, .edges = true },
};

/* Who comes second has a table that is not needed any more. */
FIXTURE_VARIANT_ADD(leak, dontneed_raced) {
	.of = { .op = "dontneed_mid", .kind = THP_ZERO, .rival = "dontneed_mid" },
};

FIXTURE_VARIANT_ADD(leak, pagemap_scan_raced) {
	.of = {
		.op = "pagemap_scan_wp_mid", .kind = THP_ZERO,
		.rival = "pagemap_scan_wp_mid",
	},
};

FIXTURE_VARIANT_ADD(leak, cold_raced) {
	.of = { .op = "cold_mid", .kind = THP_ANON, .rival = "dontneed_mid" },
};

FIXTURE_VARIANT_ADD(leak, collapse) {
	.of = { .op = "dontneed_mid", .kind = THP_ANON, .collapse = true, .slow = true },
};

FIXTURE_VARIANT_ADD(leak, fault_raced) {
	.of = { .op = "fault", .kind = THP_ANON, .rival = "fault", .slow = true },
};

#include "split_enomem/leak_device.c"

static const struct split_op *leak_op(const char *name)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(leak_device_ops); i++)
		if (!strcmp(name, leak_device_ops[i].name))
			return &leak_device_ops[i];
	return strcmp(name, fault_op.name) ? op_by_name(name) : &fault_op;
}

FIXTURE_SETUP(leak)
{
	const struct leak_of *of = &variant->of;
	const struct split_op *op = leak_op(of->op);

	THP_REQUIRE(op, "no operation %s", of->op);
	THP_NEEDS(THP_NEED_STATS | op->needs | thp_kind_needs(of->kind) |
		  (of->refused ? THP_NEED_FAIL_PAGE : 0) |
		  (of->collapse ? THP_NEED_COLLAPSE : 0));
}

FIXTURE_TEARDOWN_PARENT(leak)
{
	thp_teardown(_metadata);
}

/*
 * The thread that is the rival. Both wait in user space: a thread that has to be
 * woken comes too late.
 */
static struct rival {
	pthread_t thread;
	const struct split_op *op;
	struct thp_map *m;
	unsigned int round, done;
	bool end;
} rival;

/* There may be one CPU only. */
static void await_round(const unsigned int *counter, unsigned int round)
{
	unsigned int spins = 0;

	while (__atomic_load_n(counter, __ATOMIC_ACQUIRE) != round)
		if (++spins > 100000)
			sched_yield();
}

static void *rival_main(void *arg)
{
	struct rival *r = arg;
	unsigned int round;

	for (round = 1;; round++) {
		await_round(&r->round, round);
		if (r->end)
			return NULL;
		/* Only the loss of a table would be an error. */
		r->op->run(r->m, thp_page(r->m, 0), thp_env.page);
		__atomic_store_n(&r->done, round, __ATOMIC_RELEASE);
	}
}

/* As split_run(), against the rival, who begins at the same time. */
static int run_raced(const struct split_op *op, struct thp_map *m)
{
	int ret;

	rival.m = m;
	__atomic_store_n(&rival.round, rival.round + 1, __ATOMIC_RELEASE);
	ret = split_run(op, m);
	await_round(&rival.done, rival.round);
	return ret;
}

/* Whether an operation that said so has done anything: else nothing could leak. */
static bool leak_effect(const struct split_op *op, struct thp_map *m)
{
	struct thp_why ignored = { 0 };
	enum thp_state state;

	/* Not of the table, or a control. */
	if (op < split_ops || op >= split_ops + split_ops_count)
		return true;
	if (is_plain(m->kind))
		return !split_verify(op, m, &ignored);
	if (!split_expected(op, m->kind))
		return true;
	return !thp_obs_state(m->thp, thp_env.pmd, &state) && state != thp_kind_state(m->kind);
}

/* Rounds of mapping, operation and unmapping, in a process of its own. */
static int leak_rounds(struct thp_chan *chan, void *arg)
{
	const struct leak_of *v = arg;
	const struct split_op *op = leak_op(v->op);
	static struct thp_map m;
	unsigned int i, thp;
	int ret;

	if (v->rival) {
		rival.op = leak_op(v->rival);
		ret = pthread_create(&rival.thread, NULL, rival_main, &rival);
		if (ret)
			return thp_why(&chan->why, -ret, "pthread_create: %s", strerror(ret));
	}
	thp_warm_up();
	thp_chan_post_parent(chan, 1);
	thp_chan_await_parent(chan, 2);
	for (i = 0; i < leak_count(v); i++) {
		thp_chan_beat(chan);
		/* One byte is enough: contents are checked elsewhere. */
		ret = v->edges ? edges_create(&m, v->kind, &chan->why) :
		      thp_map_create(&m, v->kind, &chan->why);
		if (!ret)
			ret = split_prepare(op, &m, &chan->why);
		if (ret)
			return ret;
		for (thp = 0; thp < (v->edges ? EDGE_THPS : 1); thp++) {
			if (v->kind == THP_ZERO)
				thp_peek(m.thp + thp * thp_env.pmd);
			else if (v->kind != THP_NONE && op != &fault_op)
				thp_touch(m.thp + thp * thp_env.pmd);
		}
		if (v->refused)
			thp_inject_task(getpid(), true);
		if (v->edges) {
			ret = thp_inject_grant(1);
			if (ret)
				return thp_why(&chan->why, ret, "PTE tables cannot be limited: %s",
					       thp_errno_name(ret));
			ret = op->run(&m, thp_page(&m, thp_env.nr / 2),
				      (EDGE_THPS - 1) * thp_env.pmd);
		} else {
			ret = v->rival ? run_raced(op, &m) : split_run(op, &m);
		}
		if (v->refused)
			thp_inject_task(getpid(), false);
		chan->val[0] += !!ret;
		chan->val[2] += v->edges ? 1 : !ret && leak_effect(op, &m);
		if (v->collapse && !madvise(m.thp, thp_env.pmd, MADV_COLLAPSE)) {
			chan->val[1]++;
			ret = thp_map_expect(&m, THP_STATE_PMD, &chan->why);
			if (ret)
				return ret;
		}
		thp_map_destroy(&m);
	}
	if (v->rival) {
		rival.end = true;
		__atomic_store_n(&rival.round, rival.round + 1, __ATOMIC_RELEASE);
		pthread_join(rival.thread, NULL);
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

struct leak_found {
	long long kb;		/* by which PageTables of no process grew */
	long long refused, collapsed;
	long long effects;	/* operations that did something */
};

static int leak_batch(struct thp_child *c, const struct leak_of *of, long long slack,
		      struct leak_found *found, struct thp_why *why)
{
	long long before, after;
	int ret, try;

	ret = thp_child_start(c, leak_rounds, (void *)of);
	if (!ret)
		ret = thp_child_await(c, 1, THP_STEP_MS);
	if (!ret)
		ret = ownerless_tables(&before);
	if (ret)
		return thp_why(why, ret, "before the rounds: %s", thp_errno_name(ret));
	thp_chan_post_child(c->chan, 2);
	/* A round takes a few milliseconds. */
	ret = thp_child_await(c, 3, THP_STEP_MS);
	if (ret == -ETIMEDOUT) {
		(void)thp_inject_task(c->pid, false);
		return thp_why(why, -EPROTO, "%s does not return: livelock, or it waits for ever",
			       of->op);
	}
	found->refused = c->chan->val[0];
	found->collapsed = c->chan->val[1];
	found->effects = c->chan->val[2];
	ret = thp_child_join(c, THP_STEP_MS, why);
	if (ret)
		return ret;
	/* Leaks are for ever. */
	for (try = 0; try < 3; try++) {
		ret = ownerless_tables(&after);
		if (ret)
			return thp_why(why, ret, "PageTables: %s", thp_errno_name(ret));
		found->kb = after - before;
		if (found->kb < slack)
			break;
	}
	printf("# leak: %s of %s%s: PageTables of no process %+lld kB in %u rounds, %lld refused\n",
	       of->op, thp_kind_name(of->kind), of->rival ? ", raced" :
	       of->collapse ? ", collapsed" :
	       of->edges ? ", second edge refused" : of->refused ? ", refused" : "", found->kb,
	       leak_count(of), found->refused);
	return 0;
}

THP_COVERS(leak, page_tables, "leak-page-tables");
TEST_F_TIMEOUT(leak, page_tables, 300)
{
	long long pages = LEAK_PAGES * (long long)thp_env.page / 1024, all, slack;
	const struct leak_of *of = &variant->of;
	struct leak_found found = { 0 };
	struct thp_why why = { 0 };
	int batch;

	all = (long long)(leak_count(of) * thp_env.table / 1024);
	/* One leaked table a round, or one in four; a race need not be met that often. */
	slack = of->rival ? all / 64 : all / 4;
	/* A page is there as long as one of its tables is. */
	if (of->rival && slack < pages)
		slack = pages;
	if (slack < pages || slack > all)
		THP_SKIP("needs PTE tables that fill pages of PageTables");
	if (of->refused)
		THP_REQUIRE_OK(thp_inject_setup(true, 0, &why), &why);
	/* What others do goes up and down, a leak goes on. */
	for (batch = 0; batch < 3; batch++) {
		THP_CHECK_OK(leak_batch(&self->child, of, slack, &found, &why), &why);
		if (found.kb < slack)
			break;
	}
	THP_CHECK(found.kb < slack,
		  "%s of %s: PageTables of no process grew by %lld kB in %u rounds, expected < %lld",
		  of->op, thp_kind_name(of->kind), found.kb, leak_count(of), slack);
	if (!of->refused && !of->rival)
		THP_CHECK(found.refused == (of->never ? leak_count(of) : 0),
			  "%s of %s: refused %lld times in %u rounds, expected %u", of->op,
			  thp_kind_name(of->kind), found.refused, leak_count(of),
			  of->never ? leak_count(of) : 0);
	if (!of->refused && !of->never)
		THP_CHECK(found.effects >= leak_count(of) / 2,
			  "%s of %s had an effect in %lld of %u rounds, expected most of them",
			  of->op, thp_kind_name(of->kind), found.effects, leak_count(of));
	if (of->collapse && found.collapsed < leak_count(of) / 2)
		THP_SKIP("needs more free huge pages for MADV_COLLAPSE");
	if (of->refused && thp_env.contract == THP_LAZY)
		THP_CHECK(thp_inject_fired() >= (long)leak_count(of),
			  "only %ld tables were refused in %u rounds", thp_inject_fired(),
			  leak_count(of));
}

/*
 * What a process leaves behind. It is refused memory in a control group of its own,
 * and ends: then nothing of it may be charged to the group any more, no memory of
 * its mm, no page that was set aside, no table, no slab object.
 */
#define REMAINS_ROUNDS	64
#define REMAINS_SLABS	1000

FIXTURE(remains) {
	struct thp_cg cg;
	struct thp_child child;
	struct thp_child other;
};

struct remains_of {
	const char *op;
	enum injector injector;	/* TARGETED, or NOTHING: by fail-nth, each of them */
	bool shared;		/* mapped by a child as well */
	bool slabs;		/* many rounds at the shot that refuses the split first */
	bool failslab;		/* what has to be refused is a slab object */
};

FIXTURE_VARIANT(remains) {
	struct remains_of of;
};

FIXTURE_VARIANT_ADD(remains, cold_starved) {
	.of = { .op = "cold_mid", .injector = TARGETED },
};

FIXTURE_VARIANT_ADD(remains, munmap_nth) {
	.of = { .op = "munmap_mid", .injector = NOTHING, .failslab = true },
};

FIXTURE_VARIANT_ADD(remains, folio_split_nth) {
	.of = { .op = "debugfs_split", .injector = NOTHING, .slabs = true },
};

FIXTURE_VARIANT_ADD(remains, folio_split_shared_nth) {
	.of = { .op = "debugfs_split", .injector = NOTHING, .shared = true },
};

FIXTURE_SETUP(remains)
{
	const struct remains_of *of = &variant->of;
	const struct split_op *op = op_by_name(of->op);

	THP_REQUIRE(op, "no operation %s", of->op);
	THP_NEEDS(op->needs | THP_NEED_MEMCG |
		  (of->injector == TARGETED ? THP_NEED_FAIL_PAGE : THP_NEED_FAIL_NTH));
	if (thp_env.memcg != 2)
		THP_SKIP("needs version 2 of the memory controller");
}

FIXTURE_TEARDOWN_PARENT(remains)
{
	struct thp_why why = { 0 };

	THP_CHECK_OK(thp_cg_destroy(&self->cg), &why);
	thp_teardown(_metadata);
}

struct remains_job {
	struct thp_chan *chan;
	const struct remains_of *of;
	struct thp_map m;
	struct thp_child other;
	int fd;			/* fail-nth */
};

static int hold(struct thp_chan *chan, void *arg)
{
	(void)arg;
	thp_chan_post_parent(chan, 1);
	thp_chan_await_parent(chan, 2);
	return 0;
}

static void remains_unmap(struct remains_job *job)
{
	thp_child_kill(&job->other);
	memset(&job->other, 0, sizeof(job->other));
	thp_map_destroy(&job->m);
}

static int remains_map(struct remains_job *job, struct thp_why *why)
{
	int ret = thp_map_create(&job->m, THP_ANON, why);

	if (ret)
		return ret;
	/* One byte is enough: contents are checked elsewhere. */
	thp_touch(job->m.thp);
	if (!job->of->shared)
		return 0;
	ret = thp_child_start(&job->other, hold, NULL);
	if (!ret)
		ret = thp_child_await(&job->other, 1, THP_STEP_MS);
	return ret ? thp_why(why, ret, "fork: %s", thp_errno_name(ret)) : 0;
}

/* One round with the @nth allocation refused. 1 if one was, 0 if not, -errno. */
static int remains_round(struct remains_job *job, int nth, struct thp_why *why)
{
	const struct split_op *op = op_by_name(job->of->op);
	/* One page, also for who would otherwise try again at the next one. */
	char *page = thp_page(&job->m, thp_env.nr / 2);
	int ret;

	if (job->of->injector == TARGETED) {
		thp_inject_task(getpid(), true);
		ret = thp_inject_drain(-1);
		if (ret)
			return thp_why(why, ret, "PTE tables cannot be used up: %s",
				       thp_errno_name(ret));
		(void)op->run(&job->m, page, thp_env.page);
		return thp_inject_task(getpid(), false) ? : 1;
	}
	/* What is set aside is a page by itself. */
	ret = job->of->slabs ? 0 : thp_inject_drain(job->fd);
	if (!ret)
		ret = thp_inject_nth_arm(job->fd, nth);
	if (ret)
		return thp_why(why, ret, "fail-nth: %s", thp_errno_name(ret));
	(void)op->run(&job->m, page, thp_env.page);
	return thp_inject_nth_disarm(job->fd);
}

/* The same shot again and again; a new THP unless the old one is still whole. */
static int remains_rounds(struct remains_job *job, int nth, int rounds, struct thp_why *why)
{
	bool reuse = job->of->shared || job->of->injector == TARGETED;
	enum thp_state state;
	int i, fired = 0, ret;

	for (i = 0; i < rounds; i++) {
		thp_chan_beat(job->chan);
		ret = job->m.area ? 0 : remains_map(job, why);
		if (!ret)
			ret = remains_round(job, nth, why);
		if (ret < 0)
			return ret;
		fired += ret;
		if (!ret)
			rounds = 0;
		if (!reuse) {
			remains_unmap(job);
			continue;
		}
		ret = thp_obs_state(job->m.thp, thp_env.pmd, &state);
		if (ret)
			return thp_why(why, ret, "page map: %s", thp_errno_name(ret));
		/* It was split in spite of it: a fork for each round would take long. */
		if (state != THP_STATE_PMD) {
			remains_unmap(job);
			rounds = 0;
		}
	}
	return fired;
}

static int remains(struct thp_chan *chan, void *arg)
{
	static struct remains_job job;
	struct thp_why *why = &chan->why;
	struct thp_events e0, e1;
	int nth, ret, refuses = 0;

	job.of = arg;
	job.chan = chan;
	thp_warm_up();
	ret = rehearse(op_by_name(job.of->op), THP_ANON, why);
	if (ret)
		return ret;
	job.fd = thp_inject_nth_open();
	if (job.fd < 0 && job.of->injector != TARGETED)
		return thp_why(why, job.fd, "fail-nth: %s", thp_errno_name(job.fd));
	thp_chan_post_parent(chan, 1);
	thp_chan_await_parent(chan, 2);
	for (nth = 1; nth <= NTH_MAX; nth++) {
		thp_obs_events(&e0);
		ret = remains_rounds(&job, nth, job.of->slabs ? 1 : REMAINS_ROUNDS, why);
		thp_obs_events(&e1);
		if (ret < 0)
			return ret;
		chan->val[0] += ret;
		chan->val[1] += e1.split_pmd_failed - e0.split_pmd_failed;
		if (!refuses && e1.split_pmd_failed != e0.split_pmd_failed)
			refuses = nth;
		if (!ret || job.of->injector == TARGETED)
			break;
	}
	/* An eager kernel refuses none: any shot will do. */
	if (job.of->slabs) {
		ret = remains_rounds(&job, refuses ? : 1, REMAINS_SLABS, why);
		if (ret < 0)
			return ret;
		chan->val[0] += ret;
	}
	/* What is still mapped is for the exit of this process to free. */
	thp_child_kill(&job.other);
	return nth <= NTH_MAX ? 0 : thp_why(why, -EPROTO, "still failing at nth=%d", NTH_MAX);
}

THP_COVERS(remains, charged, "leak-page-tables folio-split");
TEST_F_TIMEOUT(remains, charged, 180)
{
	const struct remains_of *of = &variant->of;
	struct thp_child *c = &self->child;
	long long anon, kernel, max, end;
	struct thp_why why = { 0 };
	long refused;
	int ret;

	THP_REQUIRE_OK(thp_inject_setup(of->injector == TARGETED, 0, &why), &why);
	/* Tasks that have not armed fail-nth are unaffected. */
	ret = of->failslab ? thp_inject_slabs(&why) : 0;
	if (ret == -ENOENT)
		THP_SKIP("needs CONFIG_FAILSLAB");
	THP_REQUIRE_RESULT(ret, &why);
	THP_REQUIRE_OK(thp_cg_create(&self->cg, "remains", &why), &why);
	THP_REQUIRE_OK(thp_child_start(c, remains, (void *)of), &why);
	THP_REQUIRE_OK(thp_child_await(c, 1, THP_STEP_MS), &why);
	/* What was shared with this process and is charged here stays outside. */
	THP_REQUIRE_OK(thp_cg_join(&self->cg, c->pid), &why);
	thp_chan_post_child(c->chan, 2);
	ret = thp_child_await(c, 3, THP_STEP_MS);
	THP_REQUIRE(ret != -ETIMEDOUT, "%s does not return: livelock, or it waits for ever",
		    of->op);
	/* A folio split of an eager kernel may need no page at all. */
	if (thp_env.contract == THP_LAZY)
		THP_CHECK(c->chan->val[0] > 0, "nothing was refused");
	if (thp_env.contract == THP_LAZY &&
	    thp_obs_vmstat("thp_split_pmd_failed") != THP_EVENT_NONE)
		THP_CHECK(c->chan->val[1] > 0, "no shot hit the split");
	refused = c->chan->val[0];
	THP_CHECK_OK(thp_child_join(c, THP_STEP_MS, &why), &why);
	/* A page per round, or a tenth of a page: less than a third of either. */
	max = of->slabs ? 32 << 10 : REMAINS_ROUNDS * (long long)thp_env.page / 3;
	for (end = thp_now_ms() + thp_limit(THP_SETTLE_MS);; thp_sleep_ms(50)) {
		thp_obs_settle();
		anon = thp_cg_stat(&self->cg, "anon");
		kernel = thp_cg_stat(&self->cg, of->slabs ? "slab_unreclaimable" : "kernel");
		if ((anon <= (long long)thp_env.pmd / 2 && kernel <= max) || thp_now_ms() > end)
			break;
	}
	printf("# remains: %s: %ld refused, anon %lld B, %s %lld B\n", of->op, refused, anon,
	       of->slabs ? "slab" : "kernel", kernel);
	THP_REQUIRE(anon >= 0 && kernel >= 0, "memory.stat: %s",
		    thp_errno_name(anon < 0 ? anon : kernel));
	THP_CHECK(anon <= (long long)thp_env.pmd / 2,
		  "%s: %lld B of the memory of a process that has ended are still charged",
		  of->op, anon);
	THP_CHECK(kernel <= max,
		  "%s: %lld B of kernel memory are left after %ld refusals, expected <= %lld",
		  of->op, kernel, refused, max);
}

/*
 * A folio split may not take more than the limit of the memory group allows: neither
 * those of many folios by a table each, nor that of one that many processes map.
 */
#define LIMIT_THPS	16
#define LIMIT_MAPPERS	12
#define CHARGED_MS	2500

FIXTURE(limit) {
	struct thp_cg cg;
	struct thp_child child;
};

/* What the child does; copied by fork(). */
struct limit_job {
	int thps;
	int mappers;		/* other processes that map them, too */
};

FIXTURE_SETUP(limit)
{
	THP_NEEDS(THP_NEED_MEMCG | THP_NEED_POPULATE);
}

FIXTURE_TEARDOWN_PARENT(limit)
{
	struct thp_why why = { 0 };

	THP_CHECK_OK(thp_cg_destroy(&self->cg), &why);
	thp_teardown(_metadata);
}

static int split_at_limit(struct thp_chan *chan, void *arg)
{
	static struct thp_child mappers[LIMIT_MAPPERS];
	static struct thp_map maps[LIMIT_THPS];
	static struct thp_burner burner;
	struct limit_job *job = arg;
	struct thp_why *why = &chan->why;
	enum thp_state state;
	int i, ret;

	/* Nobody may be killed here: see victim(). */
	ret = thp_write_file("/proc/self/oom_score_adj", "-1000");
	if (ret && thp_env.memcg == 2)
		return thp_why(why, ret, "oom_score_adj: %s", thp_errno_name(ret));
	thp_warm_up();
	thp_chan_post_parent(chan, 1);
	thp_chan_await_parent(chan, 2);
	for (i = 0; i < job->thps; i++) {
		ret = thp_map_new(&maps[i], THP_ANON, why);
		if (ret)
			return ret;
	}
	for (i = 0; i < job->mappers; i++) {
		ret = thp_child_start(&mappers[i], hold, NULL);
		if (!ret)
			ret = thp_child_await(&mappers[i], 1, THP_STEP_MS);
		if (ret)
			return thp_why(why, ret, "fork: %s", thp_errno_name(ret));
	}
	ret = thp_burner_create(&burner);
	if (ret)
		return thp_why(why, ret, "burner: %s", thp_errno_name(ret));
	ret = thp_pin_cpu();
	if (ret)
		return thp_why(why, ret, "sched_setaffinity: %s", thp_errno_name(ret));
	chan->val[LIMIT_THPS + 1] = (uintptr_t)thp_page(&maps[0], 1);
	thp_chan_post_parent(chan, 3);
	thp_chan_await_parent(chan, 4);
	/* The failure itself makes other CPUs give back their stocks, a little later. */
	for (i = 0, ret = 0; i < 5 && !ret; i++) {
		ret = thp_burner_burn(&burner);
		thp_sleep_ms(20);
	}
	thp_chan_post_parent(chan, 5);
	thp_chan_await_parent(chan, 6);
	/* Advice about a folio that others map as well is not heeded. */
	for (i = 0; i < job->thps && !job->mappers && !ret; i++)
		chan->val[i] = madvise(thp_page(&maps[i], 1), thp_env.page, MADV_COLD) ?
			       -errno : 0;
	thp_chan_post_parent(chan, 7);
	thp_chan_await_parent(chan, 8);
	for (i = 0; i < job->mappers; i++)
		thp_child_kill(&mappers[i]);
	if (ret)
		return thp_why(why, ret, "the limit did not bite: %s", thp_errno_name(ret));
	for (i = 0; i < job->thps; i++) {
		ret = thp_obs_state(maps[i].thp, thp_env.pmd, &state);
		if (!ret)
			ret = thp_map_check(&maps[i], 0, thp_env.nr, why);
		if (ret)
			return ret;
		chan->val[LIMIT_THPS] += state == THP_STATE_PTE;
	}
	return 0;
}

/* The first folio of @c, by debugfs: whoever asks for it has memory. */
static void split_from_outside(const struct thp_child *c)
{
	long long addr = c->chan->val[LIMIT_THPS + 1];
	char path[192];

	snprintf(path, sizeof(path), "%s/split_huge_pages", thp_env.debugfs);
	(void)thp_write_fmt(path, "%d,0x%llx,0x%llx", c->pid, addr, addr + thp_env.page);
}

static void check_limit(struct __test_metadata *_metadata, struct thp_cg *cg, struct thp_child *c,
			struct limit_job *job)
{
	long long usage, limit, over, slack, left;
	struct thp_why why = { 0 };
	struct thp_events e0, e1;
	siginfo_t info;
	int i;

	if (!thp_env_room(2 * LIMIT_THPS * thp_env.pmd))
		THP_SKIP("needs more free memory");
	THP_REQUIRE_OK(thp_cg_create(cg, "limit", &why), &why);
	THP_REQUIRE_OK(thp_child_start(c, split_at_limit, job), &why);
	THP_REQUIRE_OK(thp_child_await(c, 1, THP_STEP_MS), &why);
	THP_REQUIRE_OK(thp_cg_join(cg, c->pid), &why);
	thp_chan_post_child(c->chan, 2);
	THP_REQUIRE_OK(thp_child_await(c, 3, THP_STEP_MS), &why);
	/* Within reach of the burner, and a limit that the group has kept so far. */
	limit = (thp_cg_usage(cg) + (1 << 20)) & -(long long)thp_env.page;
	THP_REQUIRE_OK(thp_cg_limit(cg, limit), &why);
	thp_chan_post_child(c->chan, 4);
	THP_REQUIRE_OK(thp_child_await(c, 5, THP_STEP_MS), &why);
	/* Room for one table, where many are wanted. */
	if (job->mappers) {
		limit += thp_env.page;
		THP_REQUIRE_OK(thp_cg_limit(cg, limit), &why);
	}
	/* Now somebody may be killed: nobody has to. */
	if (thp_env.memcg == 2) {
		char path[64];

		snprintf(path, sizeof(path), "/proc/%d/oom_score_adj", c->pid);
		THP_REQUIRE(!thp_write_file(path, "0"), "%s cannot be set", path);
	}
	thp_obs_events(&e0);
	thp_chan_post_child(c->chan, 6);
	THP_CHECK_OK(thp_child_await(c, 7, THP_STEP_MS), &why);
	if (job->mappers)
		split_from_outside(c);
	thp_obs_events(&e1);
	usage = thp_cg_usage(cg);
	THP_CHECK_OK(thp_cg_limit(cg, THP_CG_MAX), &why);
	thp_chan_post_child(c->chan, 8);
	if (!waitid(P_PID, c->pid, &info, WEXITED | WNOWAIT)) {
		over = usage - limit;
		left = job->thps - c->chan->val[LIMIT_THPS];
		/* The kernel may exceed it by a page here and there, not by one per split. */
		slack = LIMIT_THPS / 4 * (long long)thp_env.table;
		if (slack < 2 * (long long)thp_env.page)
			slack = 2 * (long long)thp_env.page;
		printf("# limit: %lld of %d folios split, usage is %+lld B from the limit\n",
		       c->chan->val[LIMIT_THPS], job->thps, over);
		THP_CHECK(over <= slack,
			  "%lld folio splits took the group %lld B over its limit",
			  c->chan->val[LIMIT_THPS], over);
		for (i = 0; i < job->thps; i++)
			THP_CHECK(!c->chan->val[i], "MADV_COLD is advice: expected 0, got %s",
				  thp_errno_name(c->chan->val[i]));
		/* Whoever looks for the cause finds it there. */
		if (thp_env.contract == THP_LAZY && left &&
		    thp_obs_vmstat("thp_split_pmd_failed") != THP_EVENT_NONE)
			THP_CHECK(e1.split_pmd_failed > e0.split_pmd_failed,
				  "%lld folios could not be split, thp_split_pmd_failed +0", left);
	}
	THP_CHECK_OK(thp_child_join(c, THP_STEP_MS, &why), &why);
}

THP_COVERS(limit, folio_split, "folio-split-advice folio-split");
TEST_F_TIMEOUT(limit, folio_split, 90)
{
	struct limit_job job = { .thps = LIMIT_THPS };

	check_limit(_metadata, &self->cg, &self->child, &job);
}

THP_COVERS(limit, shared_folio_split, "folio-split-debugfs folio-split multi-mm-split");
TEST_F_TIMEOUT(limit, shared_folio_split, 90)
{
	struct limit_job job = { .thps = 1, .mappers = LIMIT_MAPPERS };

	THP_NEEDS(THP_NEED_DEBUGFS);
	check_limit(_metadata, &self->cg, &self->child, &job);
}

/* The table of a split is charged to the group of the process, like any other. */
static int split_charged(struct thp_chan *chan, void *arg)
{
	static struct thp_map maps[LIMIT_THPS];
	struct thp_why *why = &chan->why;
	int i, ret;

	(void)arg;
	thp_warm_up();
	thp_chan_post_parent(chan, 1);
	thp_chan_await_parent(chan, 2);
	for (i = 0; i < LIMIT_THPS; i++) {
		ret = thp_map_new(&maps[i], THP_ANON, why);
		if (ret)
			return ret;
	}
	thp_chan_post_parent(chan, 3);
	thp_chan_await_parent(chan, 4);
	for (i = 0; i < LIMIT_THPS; i++) {
		ret = madvise(thp_page(&maps[i], 1), thp_env.page, MADV_DONTNEED) ? -errno :
		      thp_map_expect(&maps[i], THP_STATE_PTE, why);
		if (ret)
			return thp_why(why, ret, "MADV_DONTNEED: %s", thp_errno_name(ret));
	}
	thp_chan_post_parent(chan, 5);
	thp_chan_await_parent(chan, 6);
	return 0;
}

/* What the group has of page tables; the kernel brings that up to date every 2 s. */
static long long charged_tables(struct thp_cg *cg)
{
	thp_sleep_ms(CHARGED_MS);
	return thp_cg_stat(cg, "pagetables");
}

THP_COVERS(limit, split_charged, "zap-dontneed");
TEST_F_TIMEOUT(limit, split_charged, 90)
{
	long long before, after, want;
	struct thp_child *c = &self->child;
	struct thp_why why = { 0 };

	if (thp_env.memcg != 2)
		THP_SKIP("needs version 2 of the memory controller");
	if (thp_env.table < thp_env.page)
		THP_SKIP("needs PTE tables of a whole page");
	if (!thp_env_room(2 * LIMIT_THPS * thp_env.pmd))
		THP_SKIP("needs more free memory");
	THP_REQUIRE_OK(thp_cg_create(&self->cg, "charged", &why), &why);
	if (thp_cg_stat(&self->cg, "pagetables") < 0)
		THP_SKIP("needs pagetables in memory.stat");
	THP_REQUIRE_OK(thp_child_start(c, split_charged, NULL), &why);
	THP_REQUIRE_OK(thp_child_await(c, 1, THP_STEP_MS), &why);
	THP_REQUIRE_OK(thp_cg_join(&self->cg, c->pid), &why);
	thp_chan_post_child(c->chan, 2);
	THP_REQUIRE_OK(thp_child_await(c, 3, THP_STEP_MS), &why);
	before = charged_tables(&self->cg);
	thp_chan_post_child(c->chan, 4);
	THP_REQUIRE_OK(thp_child_await(c, 5, THP_STEP_MS), &why);
	after = charged_tables(&self->cg);
	thp_chan_post_child(c->chan, 6);
	THP_CHECK_OK(thp_child_join(c, THP_STEP_MS, &why), &why);
	want = thp_tables_split(THP_ANON) * LIMIT_THPS * (long long)thp_env.table;
	THP_CHECK(after - before == want,
		  "%d splits: %+lld B of page tables charged, expected %+lld", LIMIT_THPS,
		  after - before, want);
}

/*
 * The huge zero PMD is written to, and there is neither a THP to take its place nor a
 * table to split it: the fault waits until there is one of them.
 */
static int write_zero(struct thp_chan *chan, void *arg)
{
	static struct thp_map m;
	struct thp_why *why = &chan->why;
	int ret;

	(void)arg;
	thp_warm_up();
	ret = thp_map_new(&m, THP_ZERO, why);
	if (ret)
		return ret;
	thp_chan_post_parent(chan, 1);
	thp_chan_await_parent(chan, 2);
	thp_touch(m.thp);
	thp_chan_post_parent(chan, 3);
	thp_chan_await_parent(chan, 4);
	if (thp_peek(m.thp) != 1)
		return thp_why(why, -EPROTO, "the written byte is lost");
	*m.thp = 0;
	return thp_check_zero(m.thp, thp_env.nr, why);
}

FIXTURE(zero) {
	struct thp_child child;
};

FIXTURE_SETUP(zero)
{
	(void)self;
	THP_NEEDS(THP_NEED_ZERO | THP_NEED_FAIL_NTH);
}

FIXTURE_TEARDOWN_PARENT(zero)
{
	(void)self;
	thp_teardown(_metadata);
}

THP_COVERS(zero, write_waits, "zero-write-fallback");
TEST_F_TIMEOUT(zero, write_waits, 90)
{
	struct thp_child *c = &self->child;
	struct thp_why why = { 0 };
	struct thp_events e0, e1;
	char knob[192];
	int ret;

	THP_REQUIRE_OK(thp_inject_setup(false, 0, &why), &why);
	/* The THP, too. */
	snprintf(knob, sizeof(knob), "%s/fail_page_alloc/ignore-gfp-highmem", thp_env.debugfs);
	THP_REQUIRE_OK(thp_settings_set(knob, "N"), &why);
	THP_REQUIRE_OK(thp_child_start(c, write_zero, NULL), &why);
	THP_REQUIRE_OK(thp_child_await(c, 1, THP_STEP_MS), &why);
	THP_REQUIRE_OK(thp_inject_task(c->pid, true), &why);
	thp_obs_events(&e0);
	thp_chan_post_child(c->chan, 2);
	ret = thp_child_watch(c, 3, WAIT_MS);
	thp_obs_events(&e1);
	(void)thp_inject_task(c->pid, false);
	THP_CHECK(ret != 0, "the write came through without memory");
	if (ret == -ETIMEDOUT)
		THP_CHECK_OK(thp_child_await(c, 3, THP_RETURN_MS), &why);
	thp_chan_post_child(c->chan, 4);
	THP_CHECK_OK(thp_child_join(c, THP_STEP_MS, &why), &why);
	/* A table that is a part of a page may be left from before: it waits for the page then. */
	if (thp_env.contract == THP_LAZY && thp_env.table >= thp_env.page &&
	    thp_obs_vmstat("thp_split_pmd_failed") != THP_EVENT_NONE)
		THP_CHECK(e1.split_pmd_failed > e0.split_pmd_failed,
			  "thp_split_pmd_failed +0, expected more");
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
	/*
	 * Once is enough: rehearse() must come through. An endless retry is busy, in the
	 * kernel; what sleeps is no livelock.
	 */
	if (m->priv++)
		for (;;)
			syscall(SYS_getppid);
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
	struct thp_why why = { 0 };
	int ret;

	ret = watch(&job, &why);
	THP_CHECK(ret && strstr(why.text, variant->expect),
		  "a broken operation got \"%s\", expected a cause with \"%s\"", why.text,
		  variant->expect);
}

#include "split_enomem/after.c"
#include "split_enomem/collapse.c"
#include "split_enomem/room.c"
#include "split_enomem/whose.c"

THP_MAIN_INIT("thp_split_enomem", split_register_variants);
