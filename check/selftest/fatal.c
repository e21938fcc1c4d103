// SPDX-License-Identifier: GPL-2.0
/*
 * fatal: settings and boot options that would end the machine are noticed. Each test makes
 * them up in a mount namespace of its own.
 */
#include <sched.h>
#include <sys/mount.h>

#include "thp_fatal.h"

#define VM_SYSCTL "/proc/sys/vm/"

/* A setting or boot option: the values that end a machine (@sets), and one that does not. */
struct fatal {
	enum thp_act act;
	const char *path, *sets, *harmless;
	unsigned int release;	/* of the kernel that reads it; 0: any */
	const char *reason;	/* part of it; NULL: not even @sets is fatal */
};

static const struct fatal fatal[] = {
	{ THP_ACT_FILL, VM_SYSCTL "panic_on_oom", "2", "1", 0, "vm.panic_on_oom=0 or 1" },
	{ THP_ACT_REFUSE, VM_SYSCTL "panic_on_oom", "1", "0", THP_RELEASE(5, 15),
	  "vm.panic_on_oom=0 (" },
	{ THP_ACT_REFUSE, VM_SYSCTL "panic_on_oom", "2", "0", THP_RELEASE(5, 16), NULL },
	{ THP_ACT_POISON, VM_SYSCTL "memory_failure_recovery", "0", "1", 0,
	  "vm.memory_failure_recovery=1" },
	{ THP_ACT_POISON, VM_SYSCTL "panic_on_unrecoverable_memory_failure", "1", "0", 0,
	  "vm.panic_on_unrecoverable_memory_failure=0" },
	/* TAINT_TEST; and then the taint of a warning, which a module does not set. */
	{ THP_ACT_LOAD, "/proc/cmdline", "quiet panic_on_taint=0x40000,nousertaint", "quiet", 0,
	  "no panic_on_taint=" },
	{ THP_ACT_LOAD, "/proc/cmdline", "panic_on_taint=200 panic_on_taint=1000",
	  "panic_on_taint=200", 0, "no panic_on_taint=" },
	{ THP_ACT_LOAD, "/proc/cmdline", "panic_on_taint=1000",
	  "panic_on_taint=1000 panic_on_taint=200", 0, "no panic_on_taint=" },
	{ THP_ACT_LOAD, "/proc/cmdline", "not_panic_on_taint=1000", "quiet", 0, NULL },
};

/* Gives the file of @f the text @value, for this process alone. */
static int pretend(const struct fatal *f, const char *value)
{
	const char *own = strncmp(f->path, VM_SYSCTL, strlen(VM_SYSCTL)) ? VM_SYSCTL "made_up" :
									    f->path;
	int fd, ret;

	if (mount("thp_lazy_pte", VM_SYSCTL, "tmpfs", 0, NULL))
		return -errno;
	fd = open(own, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0)
		return -errno;
	ret = write(fd, value, strlen(value)) == (ssize_t)strlen(value) ? 0 : -EIO;
	close(fd);
	if (!ret && own != f->path && mount(own, f->path, NULL, MS_BIND, NULL))
		ret = -errno;
	return ret;
}

static int expect_fatal(const struct fatal *f, const char *value, const char *want,
			struct thp_why *why)
{
	int ret = pretend(f, value);
	const char *got;

	if (ret)
		return thp_why(why, ret, "%s cannot be made up: %s", f->path, thp_errno_name(ret));
	got = thp_fatal(f->act);
	if (want ? got && strstr(got, want) : !got)
		return 0;
	return thp_why(why, -EPROTO, "%s of \"%s\": \"%s\", expected \"%s\"", f->path, value,
		       got ? got : "not fatal", want ? want : "not fatal");
}

static int look_at_fatal(struct thp_chan *chan, void *arg)
{
	struct thp_why *why = &chan->why;
	const struct fatal *f = arg;

	if (unshare(CLONE_NEWNS) || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL))
		return thp_why(why, -errno, "unshare: %s", strerror(errno));
	if (f->release)
		thp_env.release = f->release;
	TRY(expect_fatal(f, f->harmless, NULL, why));
	return expect_fatal(f, f->sets, f->reason, why);
}

/* The fatal settings are made up: the machine keeps its own. */
TEST_F(lib, fatal_settings)
{
	struct thp_why why = { 0 };
	size_t i;

	THP_NEEDS(THP_NEED_ROOT);
	for (i = 0; i < ARRAY_SIZE(fatal); i++)
		THP_CHECK_OK(thp_child_run(look_at_fatal, (void *)&fatal[i], THP_STEP_MS, &why),
			     &why);
}
