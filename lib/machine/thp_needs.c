// SPDX-License-Identifier: GPL-2.0
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/mempolicy.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "thp_cgroup.h"
#include "thp_env.h"
#include "thp_fatal.h"
#include "thp_needs.h"
#include "thp_obs.h"
#include "thp_reserve.h"
#include "thp_swapdev.h"
#include "thp_uapi.h"
#include "thp_uffd.h"

struct thp_need_row {
	const char *name;
	/* 0: it is there; -errno tells how it is missing */
	int (*probe)(const struct thp_need_row *row);
	const char *path;	/* these three are for the probe */
	const bool *fact;
	uint64_t arg;
	const char *reason;	/* of the SKIP, a constant */
	unsigned int since;	/* THP_RELEASE() that brought it */
	const char *older;	/* ... the reason before that */
	const char *absent;	/* ... and after, without it */
	const char *forbidden;	/* where it is there, or may be, and not permitted */
	const char *config;	/* options of the kernel that give it, blanks between */
	unsigned int acts;	/* enum thp_act, what a test does with it */
};

static struct thp_facts facts;

/* The reason of each need that is not met, else NULL. */
static const char *missing[THP_NEED_COUNT];

/* Forbidden by seccomp, or by missing privilege before UFFD_USER_MODE_ONLY (Linux 5.11). */
#define UFFD_FORBIDDEN "needs userfaultfd(2), which is forbidden here (EPERM)"

/* -EPERM means: this user is root and is forbidden all the same. */
static int is_root(const struct thp_need_row *row)
{
	(void)row;
	if (thp_env.root)
		return 0;
	return geteuid() ? -ENOENT : -EPERM;
}

static int is_known(const struct thp_need_row *row)
{
	return *row->fact ? 0 : -ENOENT;
}

static int has_uffd(const struct thp_need_row *row)
{
	uint64_t offered;
	int ret = thp_uffd_features(&offered);

	if (ret)
		return ret;
	return (offered & row->arg) == row->arg ? 0 : -EINVAL;
}

static int has_pagemap_scan(const struct thp_need_row *row)
{
	struct pm_scan_arg arg = { .size = sizeof(arg) };
	int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC), ret = 0;

	(void)row;
	if (fd < 0)
		return -errno;
	/* An empty range: no work, and ENOTTY only where the call is unknown. */
	if (ioctl(fd, PAGEMAP_SCAN, &arg) && errno == ENOTTY)
		ret = -ENOTTY;
	close(fd);
	return ret;
}

/* Whether madvise() knows the advice: asked for an empty range, which changes nothing. */
static int has_advice(const struct thp_need_row *row)
{
	char *p = mmap(NULL, thp_env.page, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int ret;

	if (p == MAP_FAILED)
		return -errno;
	/* An empty range is valid for every advice that the kernel knows. */
	ret = madvise(p, 0, row->arg) ? -errno : 0;
	munmap(p, thp_env.page);
	return ret;
}

static int has_swap(const struct thp_need_row *row)
{
	struct thp_swap_area areas[THP_SWAP_AREAS];
	int i, n = thp_swap_areas(areas);

	(void)row;
	if (n < 0)
		return -ENOENT;
	for (i = 0; i < n; i++)
		if (areas[i].free_kb << 10 >= 64ULL << 20)
			return 0;
	return -ENOSPC;
}

static int has_nodes(const struct thp_need_row *row)
{
	char text[64], *p = text;
	unsigned long n = 0;

	if (thp_read_file("/sys/devices/system/node/has_memory", text, sizeof(text)) < 0)
		return -ENOENT;
	/* A list like "0-1,3". */
	while (*p >= '0' && *p <= '9') {
		unsigned long lo = strtoul(p, &p, 10), hi = lo;

		if (*p == '-')
			hi = strtoul(p + 1, &p, 10);
		n += hi - lo + 1;
		if (*p == ',')
			p++;
	}
	return n >= row->arg ? 0 : -ENODEV;
}

static int has_file(const struct thp_need_row *row)
{
	return access(row->path, F_OK) ? -errno : 0;
}

static int has_mbind(const struct thp_need_row *row)
{
	/* An empty range: nothing to do, once the call is known. */
	if (syscall(__NR_mbind, 0, 0, MPOL_DEFAULT, NULL, 0, 0))
		return -errno;
	return has_file(row);
}

static int has_root_file(const struct thp_need_row *row)
{
	return thp_env.root ? has_file(row) : -EPERM;
}

static int may_write(const struct thp_need_row *row)
{
	return access(row->path, W_OK) ? -errno : 0;
}

/* Opens it, because kernel lockdown forbids what the mode bits allow. */
static int may_open(const char *dir, const char *name)
{
	char path[256];
	int fd;

	if (!dir[0])
		return -ENOENT;
	snprintf(path, sizeof(path), "%s/%s", dir, name);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	close(fd);
	return 0;
}

static int has_debugfs(const struct thp_need_row *row)
{
	return may_open(thp_env.debugfs, row->path);
}

static int has_fail_nth(const struct thp_need_row *row)
{
	int ret = may_open(thp_env.debugfs, "fail_page_alloc/min-order");

	(void)row;
	if (ret)
		return ret;
	return access("/proc/self/fail-nth", W_OK) ? -errno : 0;
}

/* CAP_SYS_RESOURCE: oom_score_adj cannot be lowered without it. */
static bool may_refuse_oom_kill(void)
{
	return thp_env_may(CAP_SYS_RESOURCE);
}

static int has_memcg(const struct thp_need_row *row)
{
	(void)row;
	if (!thp_env.memcg)
		return -ENOENT;
	if (!thp_env_owns_root() || (thp_env.memcg == 2 && !may_refuse_oom_kill()))
		return -ENOENT;
	return thp_cg_probe();
}

static int has_mseal(const struct thp_need_row *row)
{
	(void)row;
	/* An empty range: nothing to seal, once the call is known. */
	return syscall(__NR_mseal, 0, 0, 0) ? -errno : 0;
}

static int has_anon_name(const struct thp_need_row *row)
{
	char *p = mmap(NULL, thp_env.page, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int ret;

	(void)row;
	if (p == MAP_FAILED)
		return -errno;
	ret = prctl(PR_SET_VMA, PR_SET_VMA_ANON_NAME, p, thp_env.page, "thp_lazy_pte") ?
	      -errno : 0;
	munmap(p, thp_env.page);
	return ret;
}

static int has_io_uring(const struct thp_need_row *row)
{
	(void)row;
#ifdef HAVE_LIBURING
	/* The kernel checks permission before the arguments, which are missing here. */
	if (syscall(__NR_io_uring_setup, 0, NULL) < 0 && (errno == EFAULT || errno == EINVAL))
		return 0;
	return -errno;
#else
	return -ENOSYS;
#endif
}

static int has_move_pages(const struct thp_need_row *row)
{
	(void)row;
	return syscall(__NR_move_pages, 0, 0, NULL, NULL, NULL, 0) ? -errno : 0;
}

static int has_home_node(const struct thp_need_row *row)
{
	(void)row;
	/* An empty range: nothing to do, once the call is known. */
	return syscall(__NR_set_mempolicy_home_node, 0, 0, 0, 0) ? -errno : 0;
}

static int has_mrelease(const struct thp_need_row *row)
{
	int fd = syscall(__NR_pidfd_open, getpid(), 0);

	(void)row;
	if (fd < 0)
		return -errno;
	close(fd);
	/* The call has no flags, and checks them first. */
	return syscall(__NR_process_mrelease, -1, 1) && errno != EINVAL ? -errno : 0;
}

static int may_lock(const struct thp_need_row *row)
{
	struct rlimit rl;

	(void)row;
	if (thp_env_may(CAP_IPC_LOCK))
		return 0;
	if (!getrlimit(RLIMIT_MEMLOCK, &rl) && rl.rlim_cur >= 3 * thp_env.pmd)
		return 0;
	return -EPERM;
}

static int has_addresses(const struct thp_need_row *row)
{
	size_t span = thp_span(), len;
	void *p;

	(void)row;
	if (!span || __builtin_mul_overflow(span, (size_t)THP_SPANS, &len))
		return -ENOMEM;
	p = mmap(NULL, len, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (p == MAP_FAILED)
		return -errno;
	munmap(p, len);
	return 0;
}

static int has_exact_stats(const struct thp_need_row *row)
{
	(void)row;
	return thp_obs_fold();
}

static int counts_pmd_swap(const struct thp_need_row *row)
{
	(void)row;
	return thp_obs_vmstat("thp_swpout_pmd") == THP_EVENT_NONE ? -ENOSYS : 0;
}

static const struct thp_need_row rows[] = {
#define NEED(id, ...) { .name = #id, __VA_ARGS__ }
#include "thp_needs.def"
#undef NEED
};

static const char *reason(const struct thp_need_row *row, int err)
{
	const char *other = NULL;

	if (err == -EROFS)
		return THP_READ_ONLY;
	if (err == -EPERM || err == -EACCES)
		other = row->forbidden;
	else if (row->since)
		other = thp_env.release < row->since ? row->older : row->absent;
	return other ? other : row->reason;
}

void thp_needs_find(const struct thp_facts *found)
{
	size_t i;
	int ret;

	facts = *found;
	for (i = 0; i < ARRAY_SIZE(rows); i++) {
		ret = rows[i].probe(&rows[i]);
		missing[i] = ret ? reason(&rows[i], ret) : thp_fatal(rows[i].acts);
	}
}

const char *thp_env_missing(uint64_t needs)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(rows); i++)
		if (missing[i] && needs >> i & 1)
			return missing[i];
	return NULL;
}

void thp_needs_lose(uint64_t needs)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(rows); i++)
		if (needs >> i & 1)
			missing[i] = rows[i].reason;
}
