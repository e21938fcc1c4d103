/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The thin layer between lib/ and the kselftest harness, and the main() of every
 * program. The only header that knows both: lib/ never prints a verdict, never
 * exits and never includes the harness.
 *
 * A program defines its tests and, before its last line, THP_MAIN("name").
 */
#ifndef THP_HARNESS_H
#define THP_HARNESS_H

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "kselftest_harness.h"

/*
 * Most fixtures are torn down in the parent of the test. #include of a missing file stops
 * the compilation at once: otherwise a thousand errors would follow.
 */
#ifndef FIXTURE_TEARDOWN_PARENT
#error "this kselftest is too old: the suite needs the one of Linux 6.12 or newer (KSRC=)"
#include "the kselftest of Linux 6.12 or newer"
#endif

#include "thp_child.h"
#include "thp_env.h"
#include "thp_file.h"
#include "thp_guard.h"
#include "thp_inject.h"
#include "thp_kmsg.h"
#include "thp_limits.h"
#include "thp_map.h"
#include "thp_obs.h"
#include "thp_retry.h"
#include "thp_run.h"
#include "thp_settings.h"

#ifndef __maybe_unused
#define __maybe_unused __attribute__((unused))
#endif

/*
 * The counterpart of SKIP(), which puts the cause of a failure on the "not ok" line. A
 * harness without docs/harness-failure-reason.patch can print such a cause as well, but has
 * no macro to set it: this is the only place that sets its fields.
 */
#ifndef FAIL
#define FAIL(statement, fmt, ...) do {					\
	struct __test_results *__res = _metadata->results;		\
	if (_metadata->exit_code != KSFT_FAIL || !__res->reason[0])	\
		snprintf(__res->reason, sizeof(__res->reason),		\
			 fmt, ##__VA_ARGS__);				\
	TH_LOG(fmt, ##__VA_ARGS__);					\
	_metadata->exit_code = KSFT_FAIL;				\
	_metadata->trigger = 0;						\
	statement;							\
} while (0)
#endif

/*
 * Fails the test and puts the cause on its "not ok" line, behind the file and line of
 * the check. The first cause stays; all of them are logged.
 */
#define THP_FAIL(fmt, ...) \
	FAIL((void)0, "%s:%d: " fmt, thp_basename(__FILE__), __LINE__, ##__VA_ARGS__)

/* The same with the cause of @ret in @why, behind the file and line of its finder. */
#define __THP_FAIL_WHY(why, ret, call) do {				\
	char __line[THP_WHY_LEN + 100];					\
	thp_why_line(__line, sizeof(__line), why, ret, call, __FILE__, __LINE__); \
	FAIL((void)0, "%s", __line);					\
} while (0)

/* Fails, and goes on, unless @cond. The message says expected, got and where. */
#define THP_CHECK(cond, fmt, ...) do {					\
	if (!(cond))							\
		THP_FAIL(fmt, ##__VA_ARGS__);				\
} while (0)

/* The same, but ends the test: for what all later steps depend on. */
#define THP_REQUIRE(cond, fmt, ...) do {				\
	if (!(cond)) {							\
		THP_FAIL(fmt, ##__VA_ARGS__);				\
		return;							\
	}								\
} while (0)

/* For the result of a function, 0 or -errno with its cause in @why. */
#define THP_CHECK_RESULT(ret, why) do {					\
	struct thp_why *__cause = why;					\
	int __result = ret;						\
									\
	if (__result)							\
		__THP_FAIL_WHY(__cause, __result, #ret);		\
} while (0)

/* The same, but ends the test; SKIPs if that is what @why says. */
#define THP_REQUIRE_RESULT(ret, why) __THP_REQUIRE_RESULT(ret, why, #ret)

#define __THP_REQUIRE_RESULT(ret, why, call) do {			\
	struct thp_why *__cause = why;					\
	int __result = ret;						\
									\
	if (__result == -ENOTSUP && !__cause->text[0])			\
		(void)thp_why_default(__cause, __result);		\
	/* Reasons become part of test IDs in CI: the variable part is logged only. */ \
	if (__result == -ENOTSUP && __cause->skip) {			\
		TH_LOG("%s", __cause->text);				\
		THP_SKIP(__cause->skip);				\
	}								\
	if (__result) {							\
		__THP_FAIL_WHY(__cause, __result, call);		\
		return;							\
	}								\
} while (0)

/* Both with the call itself. */
#define THP_CHECK_OK(call, why) do {					\
	int __ret;							\
	thp_why_clear(why);						\
	__ret = (call);							\
	if (__ret)							\
		__THP_FAIL_WHY(why, __ret, #call);			\
} while (0)

#define THP_REQUIRE_OK(call, why) do {					\
	int __ret;							\
	thp_why_clear(why);						\
	__ret = (call);							\
	__THP_REQUIRE_RESULT(__ret, why, #call);			\
} while (0)

/*
 * A program whose scenarios share resources sets this to a function that releases them
 * after each try: the harness has no hook for that.
 */
static void (*thp_scenario_reset)(void) __maybe_unused;

/*
 * The body of a test: runs a scenario (thp_retry.h) again while it is disturbed. If it
 * fails, the test fails, or is skipped, with its cause, and ends.
 */
#define THP_SCENARIO(fn, arg) do {					\
	struct thp_why __why = { 0 };					\
	int __tried = thp_retry(fn, arg, thp_scenario_reset, &__why);	\
									\
	__THP_REQUIRE_RESULT(__tried, &__why, #fn);			\
} while (0)

/* SKIP and return; the harness lets a SKIP overwrite a failure, so never after one. */
#define THP_SKIP(reason) do {						\
	if (_metadata->exit_code != KSFT_FAIL)				\
		SKIP(return, "%s", reason);				\
	return;								\
} while (0)

/* SKIP if @reason, a constant string that names what is missing, is not NULL. */
#define THP_SKIP_IF(reason) do {					\
	const char *__missing = reason;					\
									\
	if (__missing)							\
		THP_SKIP(__missing);					\
} while (0)

/* SKIP unless the machine offers all of @needs (enum thp_need). */
#define THP_NEEDS(needs) THP_SKIP_IF(thp_env_missing(needs))

/*
 * Names the rows of docs/call-sites.md that a test covers, for -L. The IDs of a
 * table-driven test are those of its operation instead.
 */
struct thp_cover {
	const char *fixture;
	const char *variant;	/* NULL: every variant */
	const char *test;	/* NULL: every test of the fixture, .ids by other means */
	const char *ids;
	const char *file;	/* that has the test */
	struct thp_cover *next;
};

static struct thp_cover *thp_covers __maybe_unused;

#define __THP_COVERS(sym, f, v, t, i)					\
	static struct thp_cover sym = {					\
		.fixture = f, .variant = v, .test = t, .ids = i,	\
		.file = __FILE__,					\
	};								\
	static void __attribute__((constructor)) sym##_register(void)	\
	{								\
		sym.next = thp_covers;					\
		thp_covers = &sym;					\
	}								\
	struct thp_cover

/* This file contains the tests of fixture @f; a hook tells which rows they cover. */
#define THP_TESTS_OF(f) __THP_COVERS(_tests_of_##f, #f, NULL, NULL, NULL)

/* THP_COVERS(fixture, test, "id id"); "global" is the fixture of TEST(). */
#define THP_COVERS(f, t, i) __THP_COVERS(_cover_##f##_##t, #f, NULL, #t, i)
#define THP_COVERS_VARIANT(f, v, t, i) \
	__THP_COVERS(_cover_##f##_##v##_##t, #f, #v, #t, i)

/* Settings of the whole program lie below this mark, those of a test above. */
static long thp_settings_mark_base __maybe_unused;

/*
 * The teardown of every fixture: fails the test if it exceeded its time limit or if the
 * kernel complained, and restores settings. Use FIXTURE_TEARDOWN_PARENT: by then the test
 * process has exited, and the kernel has checked the accounting of its page tables.
 */
static inline void thp_teardown(struct __test_metadata *_metadata)
{
	struct thp_why why = { 0 };

	thp_kmsg_flush_mms();
	switch (thp_kmsg_check(&thp_log, &why)) {
	case 0:
		break;
	case -EPIPE:
		TH_LOG("%s", why.text);
		break;
	default:
		/* The kernel reported this; no line of the suite tells more. */
		FAIL((void)0, "%s", why.text);
	}
	if (thp_run_accused()[0])
		FAIL((void)0, "%s", thp_run_accused());
	thp_why_clear(&why);
	THP_CHECK_OK(thp_settings_restore(thp_settings_mark_base, &why), &why);
}

/*
 * Set-up and clean-up of every test, for which the harness has no hook: thp_frames_put()
 * replaces the function that the harness calls in the first process of a test.
 */
struct thp_frame {
	struct __test_metadata *test;
	void (*fn)(struct __test_metadata *metadata, struct __fixture_variant_metadata *variant);
	int seconds;
	struct thp_frame *next;
};

static struct thp_frame *thp_frames __maybe_unused;

static inline void thp_frame_run(struct __test_metadata *_metadata,
				 struct __fixture_variant_metadata *variant)
{
	struct thp_why why = { 0 };
	char name[THP_RUN_NAME];
	struct thp_frame *f;
	bool first = !thp_run_name()[0];

	for (f = thp_frames; f->test != _metadata; f = f->next)
		;
	snprintf(name, sizeof(name), "%s%s%s.%s", _metadata->fixture->name,
		 variant->name[0] ? "." : "", variant->name, _metadata->name);
	if (first)
		printf("# speed: limits x %.1f, CPU time x %.1f\n", thp_slow(), thp_cpu_slow());
	/* A complaint that came too late for the last test is not held against this one. */
	if (!first && thp_kmsg_check(&thp_log, &why) == -EPROTO)
		thp_run_unowned("after %s: %s", thp_run_name(), why.text);
	if (!thp_run_between())
		(void)thp_settings_restore(thp_settings_mark_base, NULL);
	if (!thp_run_begin(name, f->seconds * thp_env.scale))
		SKIP(return, "%s", THP_RUN_BROKEN);
	f->fn(_metadata, variant);
	thp_run_end();
}

/*
 * The guardian enforces the time limits of tests, and lets their clean-up run. Those of the
 * harness are a fallback.
 */
static inline void thp_frames_put(void)
{
	struct __fixture_metadata *f;
	struct __test_metadata *t;
	struct thp_frame *frame;

	for (f = __fixture_list; f; f = f->next) {
		for (t = f->tests; t; t = t->next) {
			frame = malloc(sizeof(*frame));
			if (!frame)
				return;
			*frame = (struct thp_frame) { t, t->fn, t->timeout, thp_frames };
			thp_frames = frame;
			t->fn = thp_frame_run;
			t->timeout = thp_limit(1000) / 1000 * THP_WALL * t->timeout + 60;
			if (thp_env.scale > 1)
				t->timeout = INT_MAX / 1000;
		}
	}
}

/*
 * A one-line check that this kernel is the expected one: every program runs it first, so
 * that a wrong expectation does not only show in counts.
 */
FIXTURE(kernel) {
	int unused;	/* the harness wants data */
};

FIXTURE_SETUP(kernel)
{
	self->unused = 0;
}

FIXTURE_TEARDOWN(kernel)
{
	self->unused = 0;
}

THP_COVERS(kernel, mode, "fault-anon");
TEST_F(kernel, mode)
{
	THP_CHECK(thp_env.measured == thp_env.contract,
		  "expected %s (by %s), measured %s: a THP fault %s a page table",
		  thp_mode_name(thp_env.contract), thp_env.decided_by,
		  thp_mode_name(thp_env.measured),
		  thp_env.measured == THP_EAGER ? "took" : "did not take");
}

/* A program may generate the IDs and the variants of table-driven tests. */
static const char *(*thp_cover_hook)(const char *fixture, const char *variant,
				     const char *test) __maybe_unused;

/* The registered cover of a test; NULL if there is none. */
static inline const struct thp_cover *thp_find_cover(const char *fixture, const char *variant,
						     const char *test)
{
	const struct thp_cover *c;

	for (c = thp_covers; c; c = c->next)
		if (!strcmp(c->fixture, fixture) && (!c->test || !strcmp(c->test, test)) &&
		    (!c->variant || !strcmp(c->variant, variant)))
			return c;
	return NULL;
}

static inline void thp_list_covers(void)
{
	struct __fixture_variant_metadata none = { .name = "" }, *v;
	struct __fixture_metadata *f;
	struct __test_metadata *t;
	const struct thp_cover *c;
	const char *ids;

	for (f = __fixture_list; f; f = f->next) {
		for (v = f->variant ?: &none; v; v = v->next) {
			for (t = f->tests; t; t = t->next) {
				c = thp_find_cover(f->name, v->name, t->name);
				ids = thp_cover_hook ? thp_cover_hook(f->name, v->name, t->name) :
						       NULL;
				if (!ids && c)
					ids = c->ids;
				printf("%s%s%s.%s\t%s\t%s\n", f->name, v->name[0] ? "." : "",
				       v->name, t->name, ids ?: "", c ? c->file : "");
			}
		}
	}
}

#include "thp_main.h"

#endif /* THP_HARNESS_H */
