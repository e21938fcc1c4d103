// SPDX-License-Identifier: GPL-2.0
/*
 * Writes to a PMD that is shared copy-on-write, by the process and by the kernel.
 */
#include <fcntl.h>
#include <stdio.h>
#include <sys/uio.h>

#include "split_row.h"

static int sleep_until_told(struct thp_chan *chan, void *arg)
{
	struct thp_map *m = arg;

	thp_chan_post_parent(chan, 1);
	thp_chan_await_parent(chan, 2);
	/* The copy is as it was at fork(), whatever the parent has done since. */
	return thp_map_check(m, 0, thp_env.nr, &chan->why);
}

static int prepare_fork(struct thp_map *m, struct thp_why *why)
{
	int ret = thp_child_start(&m->child, sleep_until_told, m);

	if (!ret)
		ret = thp_child_await(&m->child, 1, THP_STEP_MS);
	if (ret)
		return thp_why(why, ret, "fork: %s", thp_errno_name(ret));
	/*
	 * fork() shares the pages of this process, and the caller may starve it next: copies
	 * them now.
	 */
	thp_own_pages();
	return 0;
}

static int verify_fork(struct thp_map *m, struct thp_why *why)
{
	struct thp_why inner = { 0 };
	int ret;

	thp_chan_post_child(m->child.chan, 2);
	ret = thp_child_join(&m->child, THP_STEP_MS, &inner);
	return ret ? thp_why_from(why, ret, &inner, "in the child") : 0;
}

static const struct split_op write_ops[] = {
	{
		MID("cow_write"), .covers = "cow-write", .run = split_store,
		.prepare = prepare_fork, .verify = verify_fork, .starved = WAITS,
		.kinds = THP_ANON, .effect = WRITES,
	},
};

SPLIT_OPS(write_ops);

/* Takes another reference to the folio, but no second mapping: the folio cannot be reused. */
static int prepare_vmsplice(struct thp_map *m, struct thp_why *why)
{
	struct iovec iov = { .iov_base = m->thp, .iov_len = 1 };
	int ret;

	if (pipe2(m->pipe, O_CLOEXEC))
		return thp_why(why, -errno, "pipe: %s", strerror(errno));
	if (vmsplice(m->pipe[1], &iov, 1, 0) != 1)
		return thp_why(why, -errno, "vmsplice: %s", strerror(errno));
	/* fork() clears the exclusive mark; the child has to exit again. */
	ret = prepare_fork(m, why);
	return ret ? ret : verify_fork(m, why);
}

static const struct split_op extra_ref_ops[] = {
	{
		MID("cow_extra_ref"), .covers = "cow-extra-ref", .run = split_store,
		.prepare = prepare_vmsplice, .starved = WAITS,
		.kinds = THP_ANON, .effect = WRITES,
	},
};

SPLIT_OPS(extra_ref_ops);

static int prepare_fork_pipe(struct thp_map *m, struct thp_why *why)
{
	int ret = split_fill_pipe(m, why);

	return ret ? ret : prepare_fork(m, why);
}

static const struct split_op read_syscall_ops[] = {
	{
		MID("cow_read_syscall"), .covers = "cow-kernel-write",
		.run = split_read_pipe, .prepare = prepare_fork_pipe, .verify = verify_fork,
		.errnos = { EFAULT, ENOMEM },
		.kinds = THP_ANON, .effect = WRITES,
	},
};

SPLIT_OPS(read_syscall_ops);

static int run_populate_write(struct thp_map *m, char *addr, size_t len)
{
	(void)m;
	if (madvise(addr, len, MADV_POPULATE_WRITE))
		return -errno;
	__atomic_store_n(addr, SPLIT_BYTE, __ATOMIC_RELAXED);
	return 0;
}

static const struct split_op populate_ops[] = {
	{
		MID("cow_populate"), .covers = "cow-gup", .run = run_populate_write,
		.prepare = prepare_fork, .verify = verify_fork,
		.needs = THP_NEED_POPULATE, .errnos = { ENOMEM, EFAULT },
		.kinds = THP_ANON, .effect = WRITES,
	},
};

SPLIT_OPS(populate_ops);

static int run_vm_writev(struct thp_map *m, char *addr, size_t len)
{
	char byte = SPLIT_BYTE;
	struct iovec from = { .iov_base = &byte, .iov_len = 1 };
	struct iovec to = { .iov_base = addr, .iov_len = 1 };

	(void)m;
	(void)len;
	return process_vm_writev(getpid(), &from, 1, &to, 1, 0) == 1 ? 0 : -errno;
}

static const struct split_op vm_writev_ops[] = {
	{
		MID("cow_vm_writev"), .covers = "cow-gup", .run = run_vm_writev,
		.prepare = prepare_fork, .verify = verify_fork,
		.errnos = { EFAULT, ENOMEM },
		.kinds = THP_ANON, .effect = WRITES,
	},
};

SPLIT_OPS(vm_writev_ops);

/* A read-only long-term pin wants a page of its own, as if it wrote to it. */
static int prepare_gup(struct thp_map *m, struct thp_why *why)
{
	char path[192];

	snprintf(path, sizeof(path), "%s/gup_test", thp_env.debugfs);
	m->pipe[0] = open(path, O_RDWR | O_CLOEXEC);
	if (m->pipe[0] < 0)
		return thp_why(why, -errno, "%s: %s", path, strerror(errno));
	return prepare_fork(m, why);
}

static int run_gup_pin(struct thp_map *m, char *addr, size_t len)
{
	struct thp_gup_pin pin = { .addr = (uintptr_t)addr, .size = len };

	return RET(ioctl(m->pipe[0], THP_GUP_PIN, &pin));
}

/* The pinned page is the right one: the driver copies its contents out. */
static int verify_gup(struct thp_map *m, struct thp_why *why)
{
	size_t mid = thp_env.nr / 2;
	static char *copy;
	uint64_t at;
	int ret;

	if (!copy)
		copy = mmap(NULL, 2 * thp_env.page, PROT_RW, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (copy == MAP_FAILED)
		return thp_why(why, -errno, "mmap for pinned pages: %s", strerror(errno));
	memset(copy, 0, 2 * thp_env.page);
	at = (uintptr_t)copy;
	if (ioctl(m->pipe[0], THP_GUP_READ, &at))
		return thp_why(why, -errno, "no page is pinned: %s", strerror(errno));
	ret = thp_check(copy, m->seed, mid, 1, why);
	if (!ret)
		ret = thp_check_zero(copy + thp_env.page, 1, why);
	if (ret)
		return ret;
	if (ioctl(m->pipe[0], THP_GUP_UNPIN))
		return thp_why(why, -errno, "unpinning: %s", strerror(errno));
	return verify_fork(m, why);
}

static const struct split_op unshare_ops[] = {
	{
		MID("cow_unshare"), .covers = "cow-unshare", .run = run_gup_pin,
		.prepare = prepare_gup, .verify = verify_gup,
		.needs = THP_NEED_GUP_TEST, .errnos = { ENOMEM, EFAULT },
		.kinds = THP_ANON,
	},
};

SPLIT_OPS(unshare_ops);
