// SPDX-License-Identifier: GPL-2.0
/*
 * Preloaded into a program, it ends one of its processes early: $THP_EARLY selects which. A
 * process that prints a TAP header and forks is that of the harness, and its child is a
 * test; the parent of the harness is the guardian. Only the probe calls memfd_create()
 * before that.
 */
#include <dlfcn.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* This file defines several functions of the C library. */
int memfd_create(const char *name, unsigned int flags);

static int header;

static int is(const char *what)
{
	const char *early = getenv("THP_EARLY");

	return early && !strcmp(early, what);
}

static void *real(const char *name)
{
	void *f = dlsym(RTLD_NEXT, name);

	if (!f)
		abort();
	return f;
}

/* Shows that the library is loaded: a static program does not load it. */
static void __attribute__((constructor)) loaded(void)
{
	if (is("loaded")) {
		printf("loaded\n");
		exit(0);
	}
}

int memfd_create(const char *name, unsigned int flags)
{
	__typeof__(memfd_create) *f = real("memfd_create");

	if (is("probe"))
		raise(SIGKILL);
	return f(name, flags);
}

int setvbuf(FILE *stream, char *buf, int mode, size_t size)
{
	__typeof__(setvbuf) *f = real("setvbuf");

	header = 1;
	return f(stream, buf, mode, size);
}

pid_t fork(void)
{
	__typeof__(fork) *f = real("fork");

	if (header && is("harness"))
		raise(SIGKILL);
	if (header && is("harness-exit-0"))
		_exit(0);
	if (header && is("guardian")) {
		kill(getppid(), SIGKILL);
		pause();
	}
	return f();
}

pid_t setpgrp(void)
{
	if (is("test-exit-2"))
		_exit(2);
	return setpgid(0, 0);
}
