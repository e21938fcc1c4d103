// SPDX-License-Identifier: GPL-2.0
/*
 * userfaultfd: registration, and protection of a part and of all.
 */
#include <fcntl.h>

#include "split_row.h"
#include "thp_uffd.h"

static int prepare_uffd(struct thp_map *m, struct thp_why *why)
{
	m->uffd = thp_uffd_open(0);
	return m->uffd < 0 ?
		thp_why(why, m->uffd, "userfaultfd: %s", thp_errno_name(m->uffd)) : 0;
}

static int run_uffd_register(struct thp_map *m, char *addr, size_t len)
{
	return thp_uffd_register(m->uffd, addr, len, UFFDIO_REGISTER_MODE_MISSING);
}

static const struct split_op register_ops[] = {
	{
		MID("uffd_register"), .covers = "split-uffd-register",
		.run = run_uffd_register, .prepare = prepare_uffd, .needs = THP_NEED_UFFD,
		.kinds = ANON_ZERO_SWAP,
		.says = { &split_vma_uffd_missing, 0, 1, 0 },
		.meets = { &split_registered, 0, 1, 0 },
	},
};

SPLIT_OPS(register_ops);

static int uffd_wp_all(struct thp_map *m, uint64_t features, bool protect, struct thp_why *why)
{
	int ret;

	m->uffd = thp_uffd_watch(m->thp, thp_env.pmd, features, UFFDIO_REGISTER_MODE_WP, why);
	if (m->uffd < 0)
		return m->uffd;
	ret = protect ? thp_uffd_wp(m->uffd, m->thp, thp_env.pmd, 1) : 0;
	return ret ? thp_why(why, ret, "UFFDIO_WRITEPROTECT: %s", thp_errno_name(ret)) : 0;
}

static int prepare_uffd_wp(struct thp_map *m, struct thp_why *why)
{
	return uffd_wp_all(m, 0, false, why);
}

int split_uffd_wped(struct thp_map *m, struct thp_why *why)
{
	return uffd_wp_all(m, 0, true, why);
}

static int run_uffd_wp(struct thp_map *m, char *addr, size_t len, long protect)
{
	return thp_uffd_wp(m->uffd, addr, len, protect);
}

static int run_uffd_unregister(struct thp_map *m, char *addr, size_t len)
{
	return thp_uffd_unregister(m->uffd, addr, len);
}

static const struct split_op wp_ops[] = {
	{
		MID("uffd_wp"), .covers = "protect-uffd-wp", .run_with = run_uffd_wp, .arg = true,
		.prepare = prepare_uffd_wp,
		.needs = THP_NEED_UFFD_WP, .kinds = PRIVATE_PMD,
		.says = { &split_uffd_wp, 0, 1, 0 }, .meets = UNWRITABLE,
	}, {
		MID("uffd_unwp"), .covers = "protect-uffd-wp",
		.run_with = run_uffd_wp, .arg = false,
		.prepare = split_uffd_wped,
		.needs = THP_NEED_UFFD_WP, .kinds = PRIVATE_PMD,
		.says = { &split_uffd_wp, 1, 0, 0 }, .meets = { &split_writable, 0, 1, 0 },
	}, {
		MID("uffd_unregister"), .covers = "protect-uffd-unregister",
		.run = run_uffd_unregister, .prepare = split_uffd_wped,
		.needs = THP_NEED_UFFD_WP, .kinds = ANON_ZERO_SWAP,
		.flags = OP_UNDOES_FIRST,
		.says = { &split_uffd_wp, 1, 0, 0 }, .meets = { &split_writable, 0, 1, 0 },
	},
};

SPLIT_OPS(wp_ops);

static int run_uffd_wp_whole(struct thp_map *m, char *addr, size_t len)
{
	int ret = thp_uffd_wp(m->uffd, addr, len, 1);

	if (!ret)
		ret = thp_uffd_wp(m->uffd, addr, len, 0);
	return ret ? ret : thp_uffd_wp(m->uffd, addr, len, 1);
}

static const struct split_op wp_whole_ops[] = {
	{
		WHOLE("uffd_wp"), .covers = "protect-pmd", .run = run_uffd_wp_whole,
		.starved = NEVER, .prepare = prepare_uffd_wp, .needs = THP_NEED_UFFD_WP,
		.keeps = ANON_ZERO_SWAP,
		.says = { &split_uffd_wp, 0, 1, 0 },
	},
};

SPLIT_OPS(wp_whole_ops);

/* Asynchronous mode: the checks access the pages, and the kernel resolves the faults. */
static int uffd_rwp_all(struct thp_map *m, bool protect, struct thp_why *why)
{
	int ret;

	m->uffd = thp_uffd_watch(m->thp, thp_env.pmd, UFFD_FEATURE_RWP | UFFD_FEATURE_RWP_ASYNC,
				 UFFDIO_REGISTER_MODE_RWP, why);
	if (m->uffd < 0)
		return m->uffd;
	ret = protect ? thp_uffd_rwp(m->uffd, m->thp, thp_env.pmd, 1) : 0;
	return ret ? thp_why(why, ret, "UFFDIO_RWPROTECT: %s", thp_errno_name(ret)) : 0;
}

static int prepare_uffd_rwp(struct thp_map *m, struct thp_why *why)
{
	return uffd_rwp_all(m, false, why);
}

static int prepare_uffd_rwped(struct thp_map *m, struct thp_why *why)
{
	return uffd_rwp_all(m, true, why);
}

/* The kernel clears the protection of a page that is accessed. */
static int again_uffd_rwped(struct thp_map *m)
{
	return thp_uffd_rwp(m->uffd, m->thp, thp_env.pmd, 1);
}

static int run_uffd_rwp(struct thp_map *m, char *addr, size_t len, long protect)
{
	return thp_uffd_rwp(m->uffd, addr, len, protect);
}

/* A read of the page has cleared its protection. */
static int check_unprotected(struct thp_map *m, size_t page, struct thp_why *why)
{
	uint64_t entry;
	int ret = thp_obs_pagemap(thp_page(m, page), &entry, 1);

	if (ret)
		return thp_why(why, ret, "pagemap: %s", thp_errno_name(ret));
	return entry & THP_PM_UFFD_WP ?
		thp_why(why, -EPROTO, "page %zu: uffd-wp 1 after a read, expected 0", page) : 0;
}

/* A read of any other page would be noticed, because it clears the protection. */
static int verify_rwp_fault(struct thp_map *m, struct thp_why *why)
{
	(void)thp_peek(thp_page(m, 1));
	return check_unprotected(m, 1, why);
}

static const struct split_op rwp_ops[] = {
	{
		MID("uffd_rwp"), .covers = "protect-uffd-rwp",
		.run_with = run_uffd_rwp, .arg = true,
		.prepare = prepare_uffd_rwp,
		.needs = THP_NEED_UFFD_RWP, .kinds = ANON_ZERO_SWAP,
		.says = { &split_uffd_wp, 0, 1, 0 },
	}, {
		MID("uffd_unrwp"), .covers = "protect-uffd-rwp",
		.run_with = run_uffd_rwp, .arg = false,
		.prepare = prepare_uffd_rwped,
		.again = again_uffd_rwped,
		.needs = THP_NEED_UFFD_RWP, .kinds = ANON_ZERO_SWAP,
		.says = { &split_uffd_wp, 1, 0, 0 }, .verify = verify_rwp_fault,
	}, {
		MID("uffd_rwp_unregister"),
		.covers = "protect-uffd-rwp protect-uffd-unregister",
		.run = run_uffd_unregister, .prepare = prepare_uffd_rwped,
		.again = again_uffd_rwped,
		.needs = THP_NEED_UFFD_RWP, .kinds = ANON_ZERO_SWAP,
		.flags = OP_UNDOES_FIRST,
		.says = { &split_uffd_wp, 1, 0, 0 }, .verify = verify_rwp_fault,
	},
};

SPLIT_OPS(rwp_ops);

static int run_uffd_rwp_whole(struct thp_map *m, char *addr, size_t len)
{
	int ret = thp_uffd_rwp(m->uffd, addr, len, 1);

	if (!ret)
		ret = thp_uffd_rwp(m->uffd, addr, len, 0);
	return ret ? ret : thp_uffd_rwp(m->uffd, addr, len, 1);
}

static const struct split_op rwp_whole_ops[] = {
	{
		WHOLE("uffd_rwp"), .covers = "protect-pmd", .run = run_uffd_rwp_whole,
		.starved = NEVER, .prepare = prepare_uffd_rwp, .needs = THP_NEED_UFFD_RWP,
		.keeps = ANON_ZERO_SWAP,
		.says = { &split_uffd_wp, 0, 1, 0 },
	},
};

SPLIT_OPS(rwp_whole_ops);

/* A read of a protected THP takes this fault, which clears the protection. */
static int run_uffd_rwp_read(struct thp_map *m, char *addr, size_t len)
{
	(void)m;
	thp_peek(addr + len / 2);
	return 0;
}

static int verify_rwp_read(struct thp_map *m, struct thp_why *why)
{
	return check_unprotected(m, thp_env.nr / 2, why);
}

static const struct split_op rwp_read_ops[] = {
	{
		NAMED("uffd_rwp_read", AT_WHOLE), .covers = "rwp-fault", .run = run_uffd_rwp_read,
		.starved = NEVER, .prepare = prepare_uffd_rwped, .needs = THP_NEED_UFFD_RWP,
		.keeps = ANON_ZERO,
		.verify = verify_rwp_read,
	},
};

SPLIT_OPS(rwp_read_ops);

static int prepare_uffd_async(struct thp_map *m, struct thp_why *why)
{
	return uffd_wp_all(m, UFFD_FEATURE_WP_ASYNC | UFFD_FEATURE_WP_UNPOPULATED, true, why);
}

static const struct split_op async_ops[] = {
	{
		MID("wp_async_write"), .covers = "wp-async-fault", .run = split_store,
		.prepare = prepare_uffd_async, .starved = WAITS,
		.needs = THP_NEED_UFFD_ASYNC,
		.kinds = THP_ANON, .effect = WRITES,
		.says = { &split_uffd_wp, 1, 0, 0 },
	},
};

SPLIT_OPS(async_ops);

static int prepare_uffd_async_pipe(struct thp_map *m, struct thp_why *why)
{
	int ret = split_fill_pipe(m, why);

	return ret ? ret : prepare_uffd_async(m, why);
}

static const struct split_op async_pipe_ops[] = {
	{
		/* A fault in kernel mode cannot wait: the system call returns an error. */
		MID("wp_async_read_syscall"), .covers = "wp-async-fault cow-kernel-write",
		.run = split_read_pipe, .prepare = prepare_uffd_async_pipe,
		.errnos = { EFAULT, ENOMEM },
		.needs = THP_NEED_UFFD_ASYNC,
		.kinds = THP_ANON, .effect = WRITES,
		.says = { &split_uffd_wp, 1, 0, 0 },
	},
};

SPLIT_OPS(async_pipe_ops);

static int prepare_uffd_scan(struct thp_map *m, struct thp_why *why)
{
	int ret = uffd_wp_all(m, UFFD_FEATURE_WP_ASYNC | UFFD_FEATURE_WP_UNPOPULATED, false, why);

	if (ret)
		return ret;
	m->pipe[0] = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	return m->pipe[0] < 0 ? thp_why(why, -errno, "pagemap: %s", strerror(errno)) : 0;
}

static int run_pagemap_scan(struct thp_map *m, char *addr, size_t len)
{
	struct pm_scan_arg arg = { 0 };
	int ret = thp_uffd_scan(m->pipe[0], addr, len, &arg);

	return ret < 0 ? ret : 0;
}

static const struct split_op scan_ops[] = {
	{
		MID("pagemap_scan_wp"), .covers = "walk-pagemap-scan",
		.run = run_pagemap_scan, .prepare = prepare_uffd_scan,
		.needs = THP_NEED_UFFD_ASYNC | THP_NEED_SCAN,
		.kinds = ANON_ZERO_SWAP,
		.says = { &split_uffd_wp, 0, 1, 0 },
	},
};

SPLIT_OPS(scan_ops);
