// SPDX-License-Identifier: GPL-2.0
#include <errno.h>
#include <fnmatch.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "bench.h"
#include "bench_print.h"
#include "bench_row.h"
#include "bench_clock.h"
#include "thp_clock.h"
#include "thp_needs.h"
#include "thp_run.h"
#include "thp_settings.h"

/* Limits the lengths that -s can ask for. */
#define ROUNDS_MAX 1000

static struct bench_table *tables;

/* Sorted by file, as the linker decides in which order constructors run. */
void bench_add(struct bench_table *table)
{
	struct bench_table **at = &tables;

	while (*at && strcmp((*at)->file, table->file) < 0)
		at = &(*at)->next;
	table->next = *at;
	*at = table;
}

struct figures {
	double ns, instructions, bytes, splits;
};

/* One measurement, in memory that its process shares with the caller. */
struct job {
	struct bench bench;
	char id[BENCH_ID];
	unsigned int wanted, least;	/* rounds */
	unsigned int rounds;		/* that count */
	long long ms;			/* that these took, with what is not measured */
	bool counted;
	struct figures round[ROUNDS_MAX];
};

/* What the run is about, and what came of it. */
struct run {
	const char *program, *patterns;
	enum bench_format format;
	struct job *job;
	long mark;	/* of the settings, before the first */
	unsigned int found, measured, noisy;
	double ms_per_thp;	/* of a round of the row with less THPs; 0: not known */
};

static long long vmpte_of(struct bench *b)
{
	return b->row->vmpte ? b->row->vmpte(b) : thp_obs_vmpte(0);
}

/* Runs and measures the operation; 0, -EAGAIN or another -errno with a cause. */
static int measure(struct bench *b, struct bench_clock *clock, struct figures *f,
		   struct thp_why *why)
{
	struct thp_events ev[2];
	long long bytes[2];
	int ret;

	bytes[0] = vmpte_of(b);
	thp_obs_events(&ev[0]);
	bench_clock_start(clock);
	ret = b->row->run(b);
	bench_clock_stop(clock);
	thp_obs_events(&ev[1]);
	bytes[1] = vmpte_of(b);
	if (ret)
		return thp_why(why, ret, "the operation failed: %s", thp_errno_name(ret));
	if (bytes[0] < 0 || bytes[1] < 0)
		return thp_why(why, -EIO, "VmPTE cannot be read");
	if (b->row->done && !b->empty)
		TRY(b->row->done(b, why));
	f->ns = clock->ns;
	f->instructions = clock->instructions;
	f->bytes = bytes[1] - bytes[0];
	f->splits = ev[1].split_pmd - ev[0].split_pmd;
	return 0;
}

static int try_once(struct bench *b, bool empty, struct bench_clock *clock, struct figures *f,
		    struct thp_why *why)
{
	int ret;

	b->empty = empty;
	ret = b->row->setup(b, why);
	if (!ret)
		ret = measure(b, clock, f, why);
	b->row->teardown(b);
	return ret;
}

/* The least of several tries: what disturbs a process makes it longer, and never shorter. */
static int try_least(struct bench *b, bool empty, struct bench_clock *clock, struct figures *least,
		     struct thp_why *why)
{
	struct figures f;
	unsigned int i, tries = b->row->once ? 1 : b->n < 64 ? BENCH_PAIRS : 2;

	TRY(try_once(b, empty, clock, least, why));
	for (i = 1; i < tries; i++) {
		TRY(try_once(b, empty, clock, &f, why));
		if (f.ns < least->ns)
			least->ns = f.ns;
		if (f.instructions < least->instructions)
			least->instructions = f.instructions;
	}
	return 0;
}

/* One round; the figures are those of all its THPs. */
static int do_round(struct bench *b, struct bench_clock *clock, struct figures *f,
		    struct thp_why *why)
{
	struct figures alone;

	if (!b->row->paired)
		return try_once(b, false, clock, f, why);
	TRY(try_least(b, true, clock, &alone, why));
	TRY(try_least(b, false, clock, f, why));
	f->ns -= alone.ns;
	f->instructions -= alone.instructions;
	f->bytes -= alone.bytes;
	f->splits -= alone.splits;
	return 0;
}

/* Whether one more round is wanted. */
static bool goes_on(const struct job *job)
{
	return job->rounds < job->least ||
	       (job->rounds < job->wanted && job->ms < (long long)BENCH_MS * thp_env.scale);
}

static int make_rounds(struct job *job, struct bench_clock *clock, struct thp_chan *chan)
{
	bool once = job->bench.row->once;
	struct figures f;
	long long begin = 0;
	unsigned int try;
	int ret = 0;

	for (try = 0; try <= 2 * job->wanted && goes_on(job); try++) {
		memset(&chan->why, 0, sizeof(chan->why));
		ret = do_round(&job->bench, clock, &f, &chan->why);
		if (ret && ret != -EAGAIN)
			return ret;
		/* The first one finds caches cold and allocates what later ones reuse. */
		if (!ret && (try || once))
			job->round[job->rounds++] = f;
		if (!try)
			begin = thp_now_ms();
		job->ms = thp_now_ms() - begin;
		thp_chan_beat(chan);
	}
	return job->rounds >= job->least ? 0 : ret ? ret : -EAGAIN;
}

/* The process of one measurement: all rounds, until enough of them count. */
static int all_rounds(struct thp_chan *chan, void *arg)
{
	struct bench_clock clock;
	struct job *job = arg;
	int ret;

	setpgid(0, 0);
	if (!thp_run_begin(job->id, 60 * thp_env.scale))
		return thp_skip(&chan->why, THP_RUN_BROKEN);
	job->counted = !bench_clock_open(&clock);
	thp_warm_up();
	thp_own_pages();
	ret = make_rounds(job, &clock, chan);
	bench_clock_close(&clock);
	return ret;
}

/* The statistics of one column. */
static struct bench_stats column(const struct job *job, double (*of)(const struct figures *f))
{
	double v[ROUNDS_MAX];
	unsigned int i;

	for (i = 0; i < job->rounds; i++)
		v[i] = of(&job->round[i]) / job->bench.n;
	return bench_stats(v, job->rounds);
}

static double ns_of(const struct figures *f)
{
	return f->ns;
}

static double instructions_of(const struct figures *f)
{
	return f->instructions;
}

static double bytes_of(const struct figures *f)
{
	return f->bytes;
}

static double splits_of(const struct figures *f)
{
	return f->splits;
}

/* The constant reason why this cannot be measured here, or NULL. */
static const char *missing(const struct bench *b)
{
	uint64_t needs = b->row->needs | thp_kind_needs(b->kind);

	return thp_env_missing(b->op ? needs | b->op->needs : needs);
}

/* How long the least rounds, and the first, will take with the THPs of @b, if that is known. */
static long long expected_ms(const struct run *run, const struct bench *b)
{
	return run->ms_per_thp * b->n * (BENCH_LEAST + 1);
}

/* Settings that an operation has changed are restored: none is left for the next one. */
static void do_job(const struct run *run, struct job *job, struct bench_result *r)
{
	const char *reason = missing(&job->bench);
	int ret;

	if (reason) {
		(void)thp_skip(&r->why, reason);
		return;
	}
	if (expected_ms(run, &job->bench) > BENCH_LONG_MS) {
		(void)thp_skip(&r->why, "needs a faster machine", "%lld s for %u rounds",
			       expected_ms(run, &job->bench) / 1000, BENCH_LEAST + 1);
		return;
	}
	ret = thp_child_run(all_rounds, job, THP_LONG_MS, &r->why);
	thp_run_end();
	if (ret)
		(void)thp_why_default(&r->why, ret);
	ret = thp_settings_restore(run->mark, NULL) ?: ret;
	if (ret)
		return;
	r->rounds = job->rounds;
	r->ns = column(job, ns_of);
	r->counted = job->counted;
	r->instructions = column(job, instructions_of);
	r->bytes = column(job, bytes_of).median;
	r->splits = column(job, splits_of).median;
}

static bool is_selected(const char *id, const char *patterns)
{
	char list[512], *one, *rest = list;

	snprintf(list, sizeof(list), "%s", patterns);
	while ((one = strsep(&rest, ",")))
		if (!fnmatch(one, id, 0))
			return true;
	return false;
}

static unsigned int up_to(unsigned int n, unsigned int most)
{
	return n < most ? n : most;
}

static void one_case(struct run *run, const struct bench *b)
{
	struct bench_result r = {
		.program = run->program, .kind = b->kind, .thps = b->n, .procs = b->procs,
	};
	struct job *job = run->job;

	snprintf(r.id, sizeof(r.id), "%s_%s", b->op ? b->op->name : b->row->name,
		 thp_kind_name(b->kind));
	if (!is_selected(r.id, run->patterns))
		return;
	if (!run->found++ && run->format == BENCH_TABLE)
		bench_print_head(run->program);
	if (run->format == BENCH_NAMES) {
		printf("%s\n", r.id);
		return;
	}
	memset(job, 0, sizeof(*job));
	job->bench = *b;
	job->wanted = b->row->once ? 1 : up_to(BENCH_ROUNDS * thp_env.scale, ROUNDS_MAX);
	job->least = b->row->once ? 1 : up_to(BENCH_LEAST * thp_env.scale, ROUNDS_MAX);
	memcpy(job->id, r.id, sizeof(job->id));
	do_job(run, job, &r);
	if (job->rounds && !b->row->once)
		run->ms_per_thp = (double)job->ms / job->rounds / b->n;
	run->measured += r.rounds > 0;
	run->noisy += r.ns.noisy;
	(run->format == BENCH_JSON ? bench_print_json : bench_print_line)(&r);
	fflush(stdout);
}

/* The THPs of size @i of a row, 0 behind the last. */
static unsigned int size_at(const struct bench_row *row, size_t i)
{
	uint64_t thps;

	if (i >= BENCH_SIZES || !row->mib[i])
		return i < BENCH_SIZES ? row->thps[i] : 0;
	/* The list of names is made before the size is known. */
	thps = thp_env.pmd ? ((uint64_t)row->mib[i] << 20) / thp_env.pmd : 1;
	return thps ?: 1;
}

/* All sizes of a row, for one kind. */
static void all_sizes(struct run *run, struct bench *b)
{
	const struct bench_row *row = b->row;
	size_t t, p;

	run->ms_per_thp = 0;
	for (t = 0; (b->n = size_at(row, t)); t++) {
		for (p = 0; p < ARRAY_SIZE(row->procs) && (!p || row->procs[p]); p++) {
			b->procs = row->procs[p] ?: 1;
			one_case(run, b);
			/* The names are those of all sizes. */
			if (run->format == BENCH_NAMES)
				return;
		}
	}
}

/* All kinds of a row, in the order of their bits. */
static void all_kinds(struct run *run, const struct bench_row *row, const struct split_op *op,
		      unsigned int kinds)
{
	struct bench b = { .row = row, .op = op };
	unsigned int bit;

	for (bit = 1; bit <= kinds; bit <<= 1) {
		if (!(kinds & bit))
			continue;
		b.kind = bit;
		all_sizes(run, &b);
	}
}

static void one_row(struct run *run, const struct bench_row *row)
{
	const struct split_op *op;
	size_t i;

	if (strcmp(row->program, run->program))
		return;
	if (row->kinds) {
		all_kinds(run, row, NULL, row->kinds);
		return;
	}
	/* Base pages and untouched memory are controls of the tests: no THP is there. */
	for (i = 0; (op = split_op_at(i)); i++)
		all_kinds(run, row, op, (op->kinds | op->keeps) & ~(THP_SMALL | THP_NONE));
}

int bench_run(const char *program, const char *patterns, enum bench_format format)
{
	struct run run = {
		.program = program, .patterns = patterns, .format = format,
		.mark = thp_settings_mark(),
	};
	const struct bench_table *t;
	size_t i;

	run.job = mmap(NULL, sizeof(*run.job), PROT_READ | PROT_WRITE,
		       MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (run.job == MAP_FAILED)
		return thp_note(-errno, "no memory for the figures");
	for (t = tables; t; t = t->next)
		for (i = 0; i < t->count; i++)
			one_row(&run, &t->rows[i]);
	munmap(run.job, sizeof(*run.job));
	if (run.noisy && format == BENCH_TABLE)
		printf("# ~ %u of %u rows spread more than %.0f%%: %s\n", run.noisy, run.measured,
		       BENCH_NOISY * 100, 2 * run.noisy > run.measured ?
		       "this machine is too noisy to tell" : "these are too noisy to tell");
	if (!run.found)
		return -ENOENT;
	return format == BENCH_NAMES ? run.found : run.measured;
}
