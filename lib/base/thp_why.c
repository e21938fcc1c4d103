// SPDX-License-Identifier: GPL-2.0
#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "thp_why.h"

const char *thp_basename(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

int thp_why_at(struct thp_why *why, const char *file, int line, int ret, const char *reason,
	       const char *fmt, ...)
{
	int n = 0;
	va_list ap;

	if (why && !why->text[0]) {
		why->skip = reason;
		why->file = thp_basename(file);
		why->line = line;
		if (reason)
			n = snprintf(why->text, sizeof(why->text), "%s%s", reason,
				     fmt[1] ? ":" : "");
		/*
		 * @fmt has a detail if it is more than the blank that thp_skip() puts before
		 * it.
		 */
		if ((!reason || fmt[1]) && (size_t)n < sizeof(why->text)) {
			va_start(ap, fmt);
			vsnprintf(why->text + n, sizeof(why->text) - n, fmt, ap);
			va_end(ap);
		}
	}
	/* A short transfer does not set errno, so @ret may be 0; a cause is never success. */
	return ret ? ret : -EIO;
}

int thp_why_pass(struct thp_why *why, int ret, const struct thp_why *inner)
{
	if (why && !why->text[0])
		*why = *inner;
	return ret;
}

int thp_why_from(struct thp_why *why, int ret, const struct thp_why *inner, const char *fmt, ...)
{
	struct thp_why from = *inner;
	va_list ap;
	int n;

	if (!why || (why != inner && why->text[0]))
		return ret;
	*why = from;
	va_start(ap, fmt);
	n = vsnprintf(why->text, sizeof(why->text), fmt, ap);
	va_end(ap);
	if (n >= 0 && (size_t)n < sizeof(why->text))
		snprintf(why->text + n, sizeof(why->text) - n, ": %.*s",
			 (int)sizeof(why->text) - n, from.text);
	return ret;
}

/* The cause of the last function that failed and has no @why. */
static struct {
	struct thp_why why;
	int ret;
} note;

struct thp_why *thp_note_anew(int ret)
{
	memset(&note.why, 0, sizeof(note.why));
	note.ret = ret;
	return &note.why;
}

int thp_why_default(struct thp_why *why, int ret)
{
	if (note.why.text[0] && note.ret == ret)
		return thp_why_pass(why, ret, &note.why);
	return thp_why(why, ret, "failed without a cause: %s", thp_errno_name(ret));
}

void thp_why_clear(struct thp_why *why)
{
	memset(why, 0, sizeof(*why));
	/*
	 * Writes all of it, and keeps the compiler from dropping the write: thp_child_start()
	 * relies on it.
	 */
	memset(&note, 0, sizeof(note));
	__asm__ volatile("" : : "r"(&note) : "memory");
}

void thp_why_line(char *buf, size_t len, const struct thp_why *why, int ret, const char *call,
		  const char *file, int line)
{
	size_t name = strcspn(call, "(");
	bool named;

	if (!why->text[0] && note.why.text[0] && note.ret == ret)
		why = &note.why;
	/* lib/ returns -EPROTO and -EILSEQ when the contract or the contents are broken. */
	named = !ret || ret == -EPROTO || ret == -EILSEQ ||
		strstr(why->text, thp_errno_name(ret)) || strstr(why->text, strerror(-ret));
	/* @call is a variable, not a call: its name tells nothing. */
	if (!why->text[0] && !call[name])
		snprintf(buf, len, "%s:%d: failed: %s (%s)", thp_basename(file), line,
			 strerror(ret < 0 ? -ret : ret), thp_errno_name(ret));
	else if (!why->text[0])
		snprintf(buf, len, "%s:%d: %.*s: %s (%s)", thp_basename(file), line, (int)name,
			 call, strerror(ret < 0 ? -ret : ret), thp_errno_name(ret));
	else if (named)
		snprintf(buf, len, "%s:%d: %s", why->file, why->line, why->text);
	else
		snprintf(buf, len, "%s:%d: %s (%s)", why->file, why->line, why->text,
			 thp_errno_name(ret));
}

const char *thp_errno_name(int err)
{
	switch (err < 0 ? -err : err) {
	case 0: return "0";
	case EPERM: return "EPERM";
	case ENOENT: return "ENOENT";
	case EINTR: return "EINTR";
	case EIO: return "EIO";
	case EAGAIN: return "EAGAIN";
	case ENOMEM: return "ENOMEM";
	case EACCES: return "EACCES";
	case EFAULT: return "EFAULT";
	case EBUSY: return "EBUSY";
	case EEXIST: return "EEXIST";
	case ENODEV: return "ENODEV";
	case EINVAL: return "EINVAL";
	case ENOSPC: return "ENOSPC";
	case ERANGE: return "ERANGE";
	case ENOSYS: return "ENOSYS";
	case ETIMEDOUT: return "ETIMEDOUT";
	case EOPNOTSUPP: return "EOPNOTSUPP";
	case EPROTO: return "EPROTO";
	case EILSEQ: return "EILSEQ";
	case EHWPOISON: return "EHWPOISON";
	case E2BIG: return "E2BIG";
	case EBADF: return "EBADF";
	case ECANCELED: return "ECANCELED";
	case ECHILD: return "ECHILD";
	case EDEADLK: return "EDEADLK";
	case EFBIG: return "EFBIG";
	case EINPROGRESS: return "EINPROGRESS";
	case EISDIR: return "EISDIR";
	case ELOOP: return "ELOOP";
	case EMFILE: return "EMFILE";
	case ENAMETOOLONG: return "ENAMETOOLONG";
	case ENFILE: return "ENFILE";
	case ENOEXEC: return "ENOEXEC";
	case ENOLCK: return "ENOLCK";
	case ENOTDIR: return "ENOTDIR";
	case ENOTEMPTY: return "ENOTEMPTY";
	case ENOTTY: return "ENOTTY";
	case ENXIO: return "ENXIO";
	case EOVERFLOW: return "EOVERFLOW";
	case EPIPE: return "EPIPE";
	case EROFS: return "EROFS";
	case ESPIPE: return "ESPIPE";
	case ESRCH: return "ESRCH";
	case ETIME: return "ETIME";
	case ETXTBSY: return "ETXTBSY";
	case EUSERS: return "EUSERS";
	case EXDEV: return "EXDEV";
	default: return strerror(err < 0 ? -err : err);
	}
}

const char *thp_signal_name(int sig)
{
	switch (sig) {
	case SIGHUP: return "SIGHUP";
	case SIGINT: return "SIGINT";
	case SIGQUIT: return "SIGQUIT";
	case SIGILL: return "SIGILL";
	case SIGTRAP: return "SIGTRAP";
	case SIGABRT: return "SIGABRT";
	case SIGBUS: return "SIGBUS";
	case SIGFPE: return "SIGFPE";
	case SIGKILL: return "SIGKILL";
	case SIGUSR1: return "SIGUSR1";
	case SIGSEGV: return "SIGSEGV";
	case SIGUSR2: return "SIGUSR2";
	case SIGPIPE: return "SIGPIPE";
	case SIGALRM: return "SIGALRM";
	case SIGTERM: return "SIGTERM";
	case SIGCHLD: return "SIGCHLD";
	case SIGCONT: return "SIGCONT";
	case SIGSTOP: return "SIGSTOP";
	case SIGTSTP: return "SIGTSTP";
	case SIGTTIN: return "SIGTTIN";
	case SIGTTOU: return "SIGTTOU";
	case SIGURG: return "SIGURG";
	case SIGXCPU: return "SIGXCPU";
	case SIGXFSZ: return "SIGXFSZ";
	case SIGVTALRM: return "SIGVTALRM";
	case SIGPROF: return "SIGPROF";
	case SIGWINCH: return "SIGWINCH";
	case SIGIO: return "SIGIO";
	case SIGPWR: return "SIGPWR";
	case SIGSYS: return "SIGSYS";
	default: return "an unnamed signal";
	}
}
