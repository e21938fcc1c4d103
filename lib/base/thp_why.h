/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Why something failed, or cannot be tested: one line, filled by the function that
 * found it, which also returns -errno.
 *
 * A failure has a cause: expected, got and where, in words, and the file and line of the
 * finder. A SKIP has a reason: a constant string that names what is missing, because
 * reasons are part of test IDs in CI; the text may add details behind it.
 */
#ifndef THP_WHY_H
#define THP_WHY_H

#include <errno.h>
#include <stddef.h>

#define THP_WHY_LEN 400

/* An empty one is "= { 0 }". It may be in memory shared with a forked child. */
struct thp_why {
	char text[THP_WHY_LEN];
	const char *skip;	/* the reason, or NULL */
	const char *file;	/* of the finder, without its directory */
	int line;
};

/*
 * Records a cause, printf-style, if there is none yet: later causes are often only
 * consequences of the first. Returns @ret, for "return thp_why(...)". A NULL @why records
 * nothing.
 */
#define thp_why(why, ret, ...) thp_why_at(why, __FILE__, __LINE__, ret, NULL, __VA_ARGS__)

/* Both for callers that pass on the place of theirs. @reason: of a SKIP, or NULL. */
int thp_why_at(struct thp_why *why, const char *file, int line, int ret, const char *reason,
	       const char *fmt, ...)
	__attribute__((format(printf, 6, 7)));

/*
 * Records that this cannot be tested here because of @reason, a constant, and returns
 * -ENOTSUP. Further arguments are a detail, printf-style.
 */
#define thp_skip(why, reason, ...) \
	thp_why_at(why, __FILE__, __LINE__, -ENOTSUP, reason, " " __VA_ARGS__)

/* No THP could be allocated although memory is free, after compaction and several tries. */
#define THP_FRAGMENTED "needs memory that is less fragmented"

/* Passes on the cause in @inner, with its place and reason; returns @ret. */
int thp_why_pass(struct thp_why *why, int ret, const struct thp_why *inner);

/* The same behind a prefix, printf-style, and ": "; @inner may be @why itself. */
int thp_why_from(struct thp_why *why, int ret, const struct thp_why *inner, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));

/*
 * For functions that return -errno and take no @why: keeps the cause as a note. If a
 * failure with the same error has no cause, the last note becomes its cause. Returns @ret.
 * Do not call it in a starved task: it writes to the data of the process, which can fault.
 */
#define thp_note(ret, ...) thp_why(thp_note_anew(ret), ret, __VA_ARGS__)

/* An empty note for @ret, as the @why of thp_note() or of thp_skip(). */
struct thp_why *thp_note_anew(int ret);

/* Makes the last note the cause of @ret; if there is none, the meaning of @ret. */
int thp_why_default(struct thp_why *why, int ret);

/* A step of a function that returns 0 or -errno itself: ends it if @call fails. */
#define TRY(call) do {							\
	int __try = (call);						\
									\
	if (__try)							\
		return __try;						\
} while (0)

/* Forgets the cause and the last note, before the next step. */
void thp_why_clear(struct thp_why *why);

/*
 * The line for people: "file:line: cause (ERRNO)". Without a cause or a note it is the name
 * of the function called in @call, at @file and @line, and the meaning of @ret.
 */
void thp_why_line(char *buf, size_t len, const struct thp_why *why, int ret, const char *call,
		  const char *file, int line);

/* The part of a path behind its last slash. */
const char *thp_basename(const char *path);

/* Symbolic name of a positive or negative errno, "0" for success. */
const char *thp_errno_name(int err);

/* "SIGSEGV"; sigabbrev_np() would do, but needs glibc 2.32. */
const char *thp_signal_name(int sig);

#endif /* THP_WHY_H */
