// SPDX-License-Identifier: GPL-2.0
/*
 * starve: A starved operation: the victim that runs it, the watch that feeds it, the judge.
 */

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
		TRY(check_complete(op, m, why));
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
	if (strict || !(op->flags & (OP_POPULATES | OP_UNDOES_FIRST)))
		TRY(split_untouched(op, m, why));
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
	/* Shared memory is not mapped by fork(), and may want a PTE table of its own. */
	__atomic_store_n(&self->hungry, 0, __ATOMIC_SEQ_CST);
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
	TRY(judge(op, &m, self->ret, before.layout, strict, why));
	if (self->ret && strict && tables)
		return thp_why(why, -EPROTO, "%s failed and left %+lld B of tables", op->name,
			       tables);
	if (self->ret) {
		split_again(op, &m);
		ret = split_run(op, &m);
		if (ret)
			return thp_why(why, -EPROTO, "%s still returns %s with memory at hand",
				       op->name, thp_errno_name(ret));
		TRY(strict ? check_split(op, &m, why) : 0);
		TRY(check_complete(op, &m, why));
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
