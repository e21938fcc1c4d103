/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The main() of every program: its options, and how it ends. Part of thp_harness.h.
 *
 * An exit code that is not a verdict must not look like one. To the kselftest runner exit
 * code 0 is a pass, and so is 2 (KSFT_XFAIL); so a program ends with 0 only after all tests
 * that it has planned, with 4 only where a SKIP says why, and with 1 and a line "Bail out!"
 * wherever it ends early.
 */
#ifndef THP_MAIN_H
#define THP_MAIN_H

#include <fcntl.h>

#include "bench.h"

enum thp_action {
	THP_RUN,
	THP_INFO,	/* -i */
	THP_COVERED,	/* -L */
	THP_REPAIR,	/* -R */
	THP_LIST,	/* -l */
	THP_HELP,	/* -h */
	THP_BENCH,	/* -b, -B */
};

struct thp_main {
	const char *prog;
	int argc;	/* what is left for the harness */
	char **argv;
	enum thp_action action;
	enum thp_mode mode;
	unsigned int scale;
	const char *bench;	/* the rows to measure, or NULL */
	enum bench_format format;
};

/* Prints why there is no verdict; returns the exit code. */
static inline __printf(1, 2) int thp_bail_out(const char *fmt, ...)
{
	va_list ap;

	if (!thp_guard_was_ready())
		ksft_print_header();
	printf("Bail out! ");
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	printf("\n");
	return KSFT_FAIL;
}

/* For options that run no test: 0, unless the kselftest runner would count that as a pass. */
static inline int thp_no_test(void)
{
	if (!getenv("kselftest_timeout"))
		return 0;
	printf("1..0 # SKIP no test was asked for\n");
	return KSFT_SKIP;
}

/*
 * The next open(), such as that of the state file, reuses a closed descriptor, and output
 * would then go to that file. False if nobody can see the verdict.
 */
static inline bool thp_open_stdio(void)
{
	bool seen = fcntl(STDOUT_FILENO, F_GETFD) >= 0;
	int fd;

	do {
		fd = open("/dev/null", O_RDWR);
	} while (fd >= 0 && fd <= STDERR_FILENO);
	if (fd >= 0)
		close(fd);
	return seen;
}

/* The exit code @code if all output has been written, else a failure. */
static inline int thp_written(int code)
{
	if (!fflush(stdout) && !ferror(stdout))
		return code;
	fprintf(stderr, "# cannot write to stdout\n");
	return code == KSFT_PASS || code == KSFT_SKIP ? KSFT_FAIL : code;
}

static pid_t thp_main_pid __maybe_unused;

/*
 * Called at the exit of the process that runs the harness, which exits with 0 also if every
 * test was skipped, or none was selected.
 */
static inline void thp_end_of_tests(void)
{
	unsigned int skipped = ksft_cnt.ksft_xskip;

	if (getpid() != thp_main_pid)
		return;
	if (!ksft_plan) {
		thp_bail_out("no test is selected");
	} else if (ksft_test_num() != ksft_plan) {
		thp_bail_out("planned %u tests, reported %u", ksft_plan, ksft_test_num());
	} else if (ksft_cnt.ksft_xfail || ksft_cnt.ksft_xpass) {
		/* A test process that ended with 2 or 3: no test is expected to fail. */
		thp_bail_out("%u tests ended without a verdict",
			     ksft_cnt.ksft_xfail + ksft_cnt.ksft_xpass);
	} else if (!thp_written(KSFT_PASS)) {
		thp_guard_finished();
		if (skipped == ksft_plan)
			_exit(KSFT_SKIP);
		return;
	}
	fflush(stdout);
	thp_guard_finished();
	_exit(KSFT_FAIL);
}

/* Measures instead of testing; exit code. */
static inline int thp_bench(struct thp_main *tm)
{
	int ret;

	thp_guard_ready();
	ret = bench_run(tm->prog, tm->bench, tm->format);
	ret = ret < 0 ? thp_bail_out("-b '%s': %s", tm->bench, ret == -ENOENT ?
				     "no such row" : thp_errno_name(ret)) :
	      ret ? thp_no_test() : KSFT_SKIP;
	thp_guard_finished();
	return ret;
}

/* Runs in the child of the guardian. */
static inline int thp_main_body(void *arg)
{
	struct thp_why why = { 0 };
	struct thp_main *tm = arg;
	int ret;

	ret = thp_env_init(tm->mode, tm->scale, &why);
	if (ret) {
		if (ret == -ENOTSUP) {
			ksft_print_header();
			if (why.skip && strcmp(why.skip, why.text))
				printf("# %s\n", why.text);
			printf("1..0 # SKIP %s\n", why.skip ?: why.text);
			ret = KSFT_SKIP;
		} else {
			/* -EIO is the kernel's fault, not the environment's. */
			ret = thp_bail_out("%s%s", ret == -EIO ? "" : "cannot start: ", why.text);
		}
		thp_guard_finished();
		return ret;
	}
	if (tm->action == THP_INFO) {
		thp_env_print();
		thp_guard_finished();
		return thp_no_test();
	}
	if (tm->action == THP_BENCH)
		return thp_bench(tm);
	thp_guard_ready();
	if (!thp_env_missing(THP_NEED_FAIL_PAGE) && thp_inject_init())
		thp_needs_lose(THP_NEED_FAIL_PAGE);
	thp_frames_put();
	(void)thp_child_init();
	thp_settings_mark_base = thp_settings_mark();
	setvbuf(stdout, NULL, _IOLBF, 0);
	thp_main_pid = getpid();
	atexit(thp_end_of_tests);
	ret = test_harness_run(tm->argc, tm->argv);
	/* thp_harness_main() returns only for options that it does not know. */
	thp_main_pid = 0;
	ksft_print_header();
	thp_bail_out("this harness refuses the options");
	thp_guard_finished();
	return KSFT_FAIL;
}

static inline int thp_usage(const char *prog)
{
	printf("usage: %s [-e eager|lazy|auto] [-s SCALE] [-i | -L | -R | -b ROWS | -B ROWS]\n"
	       "       [harness options]\n"
	       "  -e  the contract to hold the kernel to, instead of THP_LAZY_EXPECT in the\n"
	       "      environment (default auto)\n"
	       "  -s  multiplies the loops of stress tests and the rounds of measurements,\n"
	       "      1 to 1000 (default 1)\n"
	       "  -b  measure what operations cost, instead of testing: those whose names match\n"
	       "      one of the patterns, separated by commas ('*' for all)\n"
	       "  -B  the same, as one JSON object a line; with -L: only list their names\n"
	       "  -i  print what was found out about this machine\n"
	       "  -L  list tests with the call sites that they cover and their source files\n"
	       "  -R  restore settings that a killed run left behind\n"
	       "  -h, --help  this text\n"
	       "  -r FIXTURE.VARIANT.TEST, -f FIXTURE, -v VARIANT, -t TEST, -l: see -l\n"
	       "Exit code: 0 passed, 1 failed or ended early, 4 nothing could be tested.\n",
	       prog);
	return thp_no_test();
}

/* Whether option -@opt @name of the harness selects a test. */
static inline bool thp_selects(char opt, const char *name)
{
	struct __fixture_variant_metadata none = { .name = "" }, *v;
	struct __fixture_metadata *f;
	struct __test_metadata *t;
	char id[512];

	for (f = __fixture_list; f; f = f->next) {
		for (v = f->variant ?: &none; v; v = v->next) {
			for (t = f->tests; t; t = t->next) {
				snprintf(id, sizeof(id), "%s%s%s.%s", f->name,
					 v->name[0] ? "." : "", v->name, t->name);
				if (!strcmp(name, opt == 'f' ? f->name :
						  opt == 'v' ? v->name :
						  opt == 't' ? t->name : id))
					return true;
			}
		}
	}
	return false;
}

/* Handles an option of the harness: sets *@i to the last word that belongs to it. */
static inline int thp_harness_option(struct thp_main *tm, int argc, char **argv, int *i,
				     struct thp_why *why)
{
	char *arg = argv[*i], opt = arg[1];
	const char *name = arg + 2;

	tm->argv[tm->argc++] = arg;
	if (!strcmp(arg, "-d"))
		return 0;
	if (arg[0] != '-' || !opt || opt == '-' || !strchr("fFvVtTr", opt))
		return thp_why(why, -EINVAL, "%s '%s' (-h for help)",
			       arg[0] == '-' ? "unknown option" : "unexpected argument", arg);
	if (!*name) {
		if (++*i >= argc)
			return thp_why(why, -EINVAL, "%s needs an argument (-h for help)", arg);
		name = argv[*i];
		tm->argv[tm->argc++] = argv[*i];
	}
	/* An option that excludes missing names is harmless: it has the requested effect. */
	if (strchr("fvtr", opt) && !thp_selects(opt, name))
		return thp_why(why, -EINVAL, "-%c '%s' selects no test (-L lists them)", opt, name);
	return 0;
}

/* Parses the options: 0, or -EINVAL with @why. Removes those that the harness does not know. */
static inline int thp_options(struct thp_main *tm, int argc, char **argv, struct thp_why *why)
{
	const char *expect = getenv("THP_LAZY_EXPECT"), *from = "THP_LAZY_EXPECT";
	unsigned long n;
	char *end;
	int i, ret;

	tm->argc = 1;
	tm->argv = argv;
	for (i = 1; i < argc; i++) {
		if (!strcmp(argv[i], "-h") || !strcmp(argv[i], "--help")) {
			tm->action = THP_HELP;
			return 0;
		}
		if (!strcmp(argv[i], "-e")) {
			if (++i >= argc)
				return thp_why(why, -EINVAL, "-e takes eager, lazy or auto");
			expect = argv[i];
			from = "-e";
		} else if (!strcmp(argv[i], "-s")) {
			n = ++i < argc ? strtoul(argv[i], &end, 10) : 0;
			if (n < 1 || n > 1000 || *end)
				return thp_why(why, -EINVAL, "-s takes a number from 1 to 1000");
			tm->scale = n;
		} else if (!strcmp(argv[i], "-b") || !strcmp(argv[i], "-B")) {
			tm->format = argv[i][1] == 'b' ? BENCH_TABLE : BENCH_JSON;
			if (++i >= argc)
				return thp_why(why, -EINVAL, "-b and -B take names of rows");
			tm->bench = argv[i];
		} else if (!strcmp(argv[i], "-i")) {
			tm->action = THP_INFO;
		} else if (!strcmp(argv[i], "-L")) {
			tm->action = THP_COVERED;
		} else if (!strcmp(argv[i], "-R")) {
			tm->action = THP_REPAIR;
		} else if (!strcmp(argv[i], "-l")) {
			tm->action = THP_LIST;
		} else {
			ret = thp_harness_option(tm, argc, argv, &i, why);
			if (ret)
				return ret;
		}
	}
	tm->argv[tm->argc] = NULL;
	if (tm->bench && tm->action == THP_RUN)
		tm->action = THP_BENCH;
	if (expect && thp_mode_parse(expect, &tm->mode))
		return thp_why(why, -EINVAL, "%s is '%s': must be eager, lazy or auto",
			       from, expect);
	return 0;
}

/* Runs the tests under the guardian; exit code. */
static inline int thp_run(struct thp_main *tm)
{
	struct thp_why why = { 0 };
	int code;

	code = thp_guard_run(thp_main_body, tm, &why);
	if (code == -EBUSY) {
		ksft_print_header();
		printf("# %s\n1..0 # SKIP another run of this suite is active\n", why.text);
		return KSFT_SKIP;
	}
	if (code == -ENOTRECOVERABLE) {
		ksft_print_header();
		printf("# until the next boot: %s\n1..0 # SKIP " THP_RUN_BROKEN "\n", why.text);
		return KSFT_SKIP;
	}
	if (code < 0)
		return thp_bail_out("cannot start: %s", why.text);
	if (why.text[0])
		thp_bail_out("%s", why.text);
	return code;
}

static inline int thp_main(const char *prog, int argc, char **argv, void (*init)(void))
{
	struct thp_main tm = { .prog = prog, .mode = THP_AUTO, .scale = 1 };
	struct thp_why why = { 0 };
	int code;

	if (!thp_open_stdio()) {
		fprintf(stderr, "%s: stdout is closed\n", prog);
		return KSFT_FAIL;
	}
	if (init)
		init();
	if (thp_options(&tm, argc, argv, &why))
		return thp_written(thp_bail_out("%s: %s", prog, why.text));
	switch (tm.action) {
	case THP_HELP:
		code = thp_usage(prog);
		break;
	case THP_LIST:
		test_harness_list_tests();
		printf("1..0 # SKIP no test was asked for\n");
		code = KSFT_SKIP;
		break;
	case THP_COVERED:
		if (tm.bench)
			(void)bench_run(prog, tm.bench, BENCH_NAMES);
		else
			thp_list_covers();
		code = thp_no_test();
		break;
	case THP_REPAIR:
		code = thp_guard_repair() ? KSFT_FAIL : thp_no_test();
		break;
	default:
		code = thp_run(&tm);
	}
	return thp_written(code);
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

#endif /* THP_MAIN_H */
