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
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "kselftest_harness.h"

#include "thp_child.h"
#include "thp_env.h"
#include "thp_file.h"
#include "thp_guard.h"
#include "thp_inject.h"
#include "thp_kmsg.h"
#include "thp_map.h"
#include "thp_obs.h"
#include "thp_settings.h"

#ifndef __maybe_unused
#define __maybe_unused __attribute__((unused))
#endif

/*
 * Fails the test and puts the cause on its "not ok" line, behind the file and line of
 * the check. The first cause stays; all of them are logged. The harness prints the
 * reason of a failure as it does for a SKIP, but offers no macro for it.
 */
#define __THP_FAIL(at, fmt, ...) do {					\
	struct __test_results *__res = _metadata->results;		\
	if (_metadata->exit_code != KSFT_FAIL)				\
		snprintf(__res->reason, sizeof(__res->reason),		\
			 "%s" fmt, at, ##__VA_ARGS__);			\
	TH_LOG(fmt, ##__VA_ARGS__);					\
	_metadata->exit_code = KSFT_FAIL;				\
} while (0)

#define THP_FAIL(fmt, ...) do {						\
	char __at[64];							\
	snprintf(__at, sizeof(__at), "%s:%d: ", thp_basename(__FILE__), __LINE__); \
	__THP_FAIL(__at, fmt, ##__VA_ARGS__);				\
} while (0)

/* The same with the cause of @ret in @why, behind the file and line of its finder. */
#define __THP_FAIL_WHY(why, ret, call) do {				\
	char __line[THP_WHY_LEN + 100];					\
	thp_why_line(__line, sizeof(__line), why, ret, call, __FILE__, __LINE__); \
	__THP_FAIL("", "%s", __line);					\
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
	if (__result == -ENOTSUP && __cause->skip)			\
		THP_SKIP_WHY(__cause);					\
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

/* SKIP and return; the harness lets a SKIP overwrite a failure, so never after one. */
#define THP_SKIP(reason) do {						\
	if (_metadata->exit_code != KSFT_FAIL)				\
		SKIP(return, "%s", reason);				\
	return;								\
} while (0)

/* Reasons become part of test IDs in CI: the variable part goes to the log. */
#define THP_SKIP_WHY(why) do {						\
	TH_LOG("%s", (why)->text);					\
	THP_SKIP((why)->skip);						\
} while (0)

/* SKIP unless the machine offers all of @needs (enum thp_need). */
#define THP_NEEDS(needs) do {						\
	const char *__missing = thp_env_missing(needs);			\
	if (__missing)							\
		THP_SKIP(__missing);					\
} while (0)

/*
 * Names the rows of docs/call-sites.md that a test covers, for -L. The IDs of a
 * table-driven test are those of its operation instead.
 */
struct thp_cover {
	const char *fixture;
	const char *variant;	/* NULL: every variant */
	const char *test;
	const char *ids;
	struct thp_cover *next;
};

static struct thp_cover *thp_covers __maybe_unused;

#define __THP_COVERS(sym, f, v, t, i)					\
	static struct thp_cover sym = {					\
		.fixture = f, .variant = v, .test = t, .ids = i,	\
	};								\
	static void __attribute__((constructor)) sym##_register(void)	\
	{								\
		sym.next = thp_covers;					\
		thp_covers = &sym;					\
	}								\
	struct thp_cover

/* THP_COVERS(fixture, test, "id id"); "global" is the fixture of TEST(). */
#define THP_COVERS(f, t, i) __THP_COVERS(_cover_##f##_##t, #f, NULL, #t, i)
#define THP_COVERS_VARIANT(f, v, t, i) \
	__THP_COVERS(_cover_##f##_##v##_##t, #f, #v, #t, i)

/*
 * The kernel log as seen by the tests. One descriptor for all of them: what is
 * logged while a process of the last test still ends is seen by the next check.
 */
static struct thp_kmsg thp_log __maybe_unused = { .fd = -1 };

/* Settings of the whole program lie below this mark, those of a test above. */
static long thp_settings_mark_base __maybe_unused;

/*
 * Every fixture's teardown: fails the test if the kernel complained, restores
 * settings. Use FIXTURE_TEARDOWN_PARENT: the test process is gone by then, and
 * with it went the page tables whose accounting the kernel checks at its exit.
 */
static inline void thp_teardown(struct __test_metadata *_metadata)
{
	struct thp_why why = { 0 };

	switch (thp_kmsg_check(&thp_log, &why)) {
	case 0:
		break;
	case -EPIPE:
		TH_LOG("%s", why.text);
		break;
	default:
		/* The kernel found this; no line of the suite tells more. */
		__THP_FAIL("", "%s", why.text);
	}
	thp_why_clear(&why);
	THP_CHECK_OK(thp_settings_restore(thp_settings_mark_base, &why), &why);
}

/*
 * The one-line answer to "is this kernel what it should be": every program begins
 * with it, so that a wrong expectation is not only seen in counts.
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

static inline void thp_list_covers(void)
{
	struct __fixture_variant_metadata none = { .name = "" }, *v;
	struct __fixture_metadata *f;
	struct __test_metadata *t;
	struct thp_cover *c;
	const char *ids;

	for (f = __fixture_list; f; f = f->next) {
		for (v = f->variant ?: &none; v; v = v->next) {
			for (t = f->tests; t; t = t->next) {
				ids = thp_cover_hook ? thp_cover_hook(f->name, v->name, t->name) :
						       NULL;
				for (c = thp_covers; c && !ids; c = c->next)
					if (!strcmp(c->fixture, f->name) &&
					    !strcmp(c->test, t->name) &&
					    (!c->variant || !strcmp(c->variant, v->name)))
						ids = c->ids;
				printf("%s%s%s.%s\t%s\n", f->name, v->name[0] ? "." : "",
				       v->name, t->name, ids ? ids : "");
			}
		}
	}
}

static pid_t thp_main_pid __maybe_unused;

/* The harness exits with 0 when every test was skipped, or none was selected. */
static inline void thp_fix_exit_code(void)
{
	unsigned int ran = ksft_cnt.ksft_pass + ksft_cnt.ksft_fail + ksft_cnt.ksft_xfail +
			   ksft_cnt.ksft_xpass + ksft_cnt.ksft_error;

	if (getpid() != thp_main_pid)
		return;
	fflush(stdout);
	if (!ran && ksft_cnt.ksft_xskip)
		_exit(KSFT_SKIP);
	if (!ran && !ksft_plan) {
		fprintf(stderr, "no test matches\n");
		_exit(2);
	}
}

struct thp_main {
	int argc;
	char **argv;
	enum thp_mode mode;
	unsigned int scale;
	bool info;
};

static inline int thp_main_body(void *arg)
{
	struct thp_why why = { 0 };
	struct thp_main *tm = arg;
	int ret;

	ret = thp_env_init(tm->mode, tm->scale, &why);
	if (ret == -ENOTSUP) {
		printf("TAP version 13\n1..0 # SKIP %s\n", why.text);
		return KSFT_SKIP;
	}
	if (ret) {
		fprintf(stderr, "%s\n", why.text);
		return 2;
	}
	thp_guard_ready();
	if (tm->info) {
		thp_env_print();
		return 0;
	}
	if (!thp_env_missing(THP_NEED_FAIL_PAGE) && thp_inject_init())
		thp_needs_lose(THP_NEED_FAIL_PAGE);
	(void)thp_kmsg_open(&thp_log);
	thp_settings_mark_base = thp_settings_mark();
	setvbuf(stdout, NULL, _IOLBF, 0);
	thp_main_pid = getpid();
	atexit(thp_fix_exit_code);
	return test_harness_run(tm->argc, tm->argv);
}

static inline int thp_usage(const char *prog, int code)
{
	fprintf(code ? stderr : stdout,
		"usage: %s [-e eager|lazy|auto] [-s SCALE] [-i | -L | -R] [harness options]\n"
		"  -e  the contract to hold the kernel to (default auto)\n"
		"  -s  multiplies the loops of stress tests, 1 to 1000 (default 1)\n"
		"  -i  print what was found out about this machine\n"
		"  -L  list tests with the call sites that they cover\n"
		"  -R  restore settings that a killed run left behind\n"
		"  -r FIXTURE.VARIANT.TEST, -f FIXTURE, -v VARIANT, -t TEST, -l: see -l\n",
		prog);
	return code;
}

static inline int thp_main(const char *prog, int argc, char **argv, void (*init)(void))
{
	struct thp_main tm = { .mode = THP_AUTO, .scale = 1 };
	bool covers = false, repair = false;
	char *end;
	int i, out = 1;

	if (init)
		init();
	/* What the harness does not know is taken out of its sight. */
	tm.argv = argv;
	for (i = 1; i < argc; i++) {
		if (!strcmp(argv[i], "-e")) {
			if (++i >= argc || thp_mode_parse(argv[i], &tm.mode)) {
				fprintf(stderr, "%s: -e takes eager, lazy or auto\n", prog);
				return 2;
			}
		} else if (!strcmp(argv[i], "-s")) {
			unsigned long n = ++i < argc ? strtoul(argv[i], &end, 10) : 0;

			if (n < 1 || n > 1000 || *end) {
				fprintf(stderr, "%s: -s takes a number from 1 to 1000\n", prog);
				return 2;
			}
			tm.scale = n;
		} else if (!strcmp(argv[i], "-i")) {
			tm.info = true;
		} else if (!strcmp(argv[i], "-L")) {
			covers = true;
		} else if (!strcmp(argv[i], "-R")) {
			repair = true;
		} else if (!strcmp(argv[i], "-h")) {
			return thp_usage(prog, 0);
		} else if (argv[i][0] == '-' && argv[i][1] &&
			   strchr("fFvVtTr", argv[i][1]) && (argv[i][2] || i + 1 < argc)) {
			argv[out++] = argv[i];
			if (!argv[i][2])
				argv[out++] = argv[++i];
		} else if (!strcmp(argv[i], "-l") || !strcmp(argv[i], "-d")) {
			argv[out++] = argv[i];
		} else {
			return thp_usage(prog, 2);
		}
	}
	tm.argc = out;
	argv[out] = NULL;
	if (repair)
		return thp_guard_repair();
	if (covers) {
		thp_list_covers();
		return 0;
	}
	return thp_guard_run(thp_main_body, &tm);
}

#define THP_MAIN(prog)							\
	int main(int argc, char **argv)					\
	{								\
		return thp_main(prog, argc, argv, NULL);		\
	}								\
	struct thp_cover

#define THP_MAIN_INIT(prog, init)					\
	int main(int argc, char **argv)					\
	{								\
		return thp_main(prog, argc, argv, init);		\
	}								\
	struct thp_cover

#endif /* THP_HARNESS_H */
