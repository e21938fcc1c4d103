// SPDX-License-Identifier: GPL-2.0
#include <errno.h>
#include <fcntl.h>
#include <linux/mempolicy.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "split_ops.h"
#include "thp_hmm.h"
#include "thp_uapi.h"
#include "thp_uffd.h"

#define RET(call)	((call) ? -errno : 0)

#define PROT_RW		(PROT_READ | PROT_WRITE)
#define MAP_ANON_FIXED	(MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED)

/* VMA boundaries: the kernel splits the VMA, and with it the PMD */

static int run_munmap(struct thp_map *m, char *addr, size_t len)
{
	(void)m;
	return RET(munmap(addr, len));
}

static int run_mmap_fixed(struct thp_map *m, char *addr, size_t len)
{
	(void)m;
	return mmap(addr, len, PROT_RW, MAP_ANON_FIXED, -1, 0) == MAP_FAILED ? -errno : 0;
}

/* Above the THP is the neighbour: cut it off, so that the THP is the VMA's end. */
static int prepare_shrink(struct thp_map *m, struct thp_why *why)
{
	size_t above = m->area + m->area_len - (m->thp + thp_env.pmd);

	if (munmap(m->thp + thp_env.pmd, above))
		return thp_why(why, -errno, "munmap above: %s", strerror(errno));
	/* The anchor went: another one, in a VMA of its own. */
	if (mmap(m->thp + thp_env.pmd + thp_env.page, above - thp_env.page, PROT_RW,
		 MAP_ANON_FIXED | MAP_NORESERVE, -1, 0) == MAP_FAILED)
		return thp_why(why, -errno, "mmap above: %s", strerror(errno));
	madvise(m->thp + thp_env.pmd + thp_env.page, above - thp_env.page, MADV_NOHUGEPAGE);
	thp_touch(m->thp + thp_env.pmd + thp_env.page);
	return 0;
}

static int run_mremap_shrink(struct thp_map *m, char *addr, size_t len)
{
	(void)len;
	return mremap(m->thp, thp_env.pmd, addr - m->thp, 0) == MAP_FAILED ? -errno : 0;
}

static int run_mprotect(struct thp_map *m, char *addr, size_t len)
{
	(void)m;
	return RET(mprotect(addr, len, PROT_READ));
}

/* A neighbour with the wanted flags already: the boundary moves, no VMA is added. */
static int prepare_ro_below(struct thp_map *m, struct thp_why *why)
{
	return mprotect(m->area, m->thp - m->area, PROT_READ) ?
		thp_why(why, -errno, "mprotect below: %s", strerror(errno)) : 0;
}

static int prepare_ro_above(struct thp_map *m, struct thp_why *why)
{
	return mprotect(m->thp + thp_env.pmd, thp_env.pmd, PROT_READ) ?
		thp_why(why, -errno, "mprotect above: %s", strerror(errno)) : 0;
}

static int run_madv_nohugepage(struct thp_map *m, char *addr, size_t len)
{
	(void)m;
	return RET(madvise(addr, len, MADV_NOHUGEPAGE));
}

static int run_madv_dontdump(struct thp_map *m, char *addr, size_t len)
{
	(void)m;
	return RET(madvise(addr, len, MADV_DONTDUMP));
}

static int run_madv_dontfork(struct thp_map *m, char *addr, size_t len)
{
	(void)m;
	return RET(madvise(addr, len, MADV_DONTFORK));
}

static int run_madv_wipeonfork(struct thp_map *m, char *addr, size_t len)
{
	(void)m;
	return RET(madvise(addr, len, MADV_WIPEONFORK));
}

static int run_madv_sequential(struct thp_map *m, char *addr, size_t len)
{
	(void)m;
	return RET(madvise(addr, len, MADV_SEQUENTIAL));
}

static int run_madv_mergeable(struct thp_map *m, char *addr, size_t len)
{
	(void)m;
	return RET(madvise(addr, len, MADV_MERGEABLE));
}

static int run_anon_name(struct thp_map *m, char *addr, size_t len)
{
	(void)m;
	return RET(prctl(PR_SET_VMA, PR_SET_VMA_ANON_NAME, addr, len, SPLIT_NAME));
}

static int run_mlock(struct thp_map *m, char *addr, size_t len)
{
	(void)m;
	/* A sanitizer makes mlock(3) and munlock(3) do nothing. */
	return RET(syscall(__NR_mlock, addr, len));
}

static int run_mlock_onfault(struct thp_map *m, char *addr, size_t len)
{
	(void)m;
	return RET(mlock2(addr, len, MLOCK_ONFAULT));
}

static int run_munlock(struct thp_map *m, char *addr, size_t len)
{
	(void)m;
	return RET(syscall(__NR_munlock, addr, len));
}

/* VmLck, which counts for RLIMIT_MEMLOCK. Bytes, or -errno. */
static long locked_bytes(void)
{
	long long kb = thp_read_field("/proc/self/status", "VmLck");

	return kb < 0 ? kb : kb << 10;
}

/* VmLck has moved by @pages since prepare(). */
static int check_lock(struct thp_map *m, long pages, struct thp_why *why)
{
	long now = locked_bytes(), want = m->priv + pages * (long)thp_env.page;

	return now == want ? 0 :
		thp_why(why, -EPROTO, "VmLck: %ld B, expected %ld B", now, want);
}

static int prepare_lock(struct thp_map *m, struct thp_why *why)
{
	m->priv = locked_bytes();
	return m->priv < 0 ?
		thp_why(why, m->priv, "VmLck: %s", thp_errno_name(m->priv)) : 0;
}

/* MLOCK_ONFAULT: the untouched neighbours must stay as they are. */
static int prepare_mlocked(struct thp_map *m, struct thp_why *why)
{
	if (mlock2(m->thp, thp_env.pmd, MLOCK_ONFAULT))
		return thp_why(why, -errno, "mlock2: %s", strerror(errno));
	return prepare_lock(m, why);
}

static int verify_locked(struct thp_map *m, struct thp_why *why)
{
	return check_lock(m, 1, why);
}

static int verify_unlocked(struct thp_map *m, struct thp_why *why)
{
	return check_lock(m, -1, why);
}

static int verify_lock_kept(struct thp_map *m, struct thp_why *why)
{
	return check_lock(m, 0, why);
}

static int run_mbind(struct thp_map *m, char *addr, size_t len)
{
	unsigned long nodes = 1;

	(void)m;
	return RET(syscall(__NR_mbind, addr, len, MPOL_PREFERRED, &nodes, 8 * sizeof(nodes), 0));
}

/* A home node belongs to a policy of several nodes. */
static int prepare_bound(struct thp_map *m, struct thp_why *why)
{
	unsigned long nodes = 1;

	return syscall(__NR_mbind, m->area, m->area_len, MPOL_BIND, &nodes, 8 * sizeof(nodes), 0) ?
		thp_why(why, -errno, "mbind: %s", strerror(errno)) : 0;
}

static int run_home_node(struct thp_map *m, char *addr, size_t len)
{
	(void)m;
	return RET(syscall(__NR_set_mempolicy_home_node, addr, len, 0, 0));
}

static int run_uffd_register(struct thp_map *m, char *addr, size_t len)
{
	return thp_uffd_register(m->uffd, addr, len, UFFDIO_REGISTER_MODE_MISSING);
}

static int run_mseal(struct thp_map *m, char *addr, size_t len)
{
	(void)m;
	return RET(syscall(__NR_mseal, addr, len, 0));
}

/* Table moves: the source is split before its entries can move */

static int prepare_aux(struct thp_map *m, struct thp_why *why)
{
	/* One for each of thp_env.unit mappings; a test process lives for one test. */
	static struct thp_map pool[16];
	static size_t used;
	struct thp_map *aux = &pool[used++ % (ARRAY_SIZE(pool))];
	int ret;

	ret = thp_map_create(aux, THP_NONE, why);
	if (ret)
		return ret;
	m->aux = aux;
	/* The destination's own table is not what is counted here. */
	if (madvise(aux->thp, thp_env.pmd, MADV_NOHUGEPAGE))
		return thp_why(why, -errno, "MADV_NOHUGEPAGE: %s", strerror(errno));
	thp_touch(aux->thp);
	return 0;
}

static int run_mremap_move(struct thp_map *m, char *addr, size_t len)
{
	char *to = m->aux->thp + (addr - m->thp);

	return mremap(addr, len, len, MREMAP_MAYMOVE | MREMAP_FIXED, to) == MAP_FAILED ? -errno : 0;
}

/* The page is at its new place, and nothing came along. */
static int verify_moved(struct thp_map *m, struct thp_why *why)
{
	size_t index = thp_env.nr / 2;
	char *to = thp_page(m->aux, index);
	long n;

	n = thp_obs_populated(to - thp_env.page, 3 * thp_env.page);
	if (n != 1 || thp_obs_populated(to, thp_env.page) != 1)
		return thp_why(why, -EPROTO,
			       "%ld pages at and beside page %zu of the destination, expected 1", n,
			       index);
	return m->kind == THP_ZERO || m->kind == THP_NONE ? thp_check_zero(to, 1, why) :
	       thp_check(to, m->seed, index, 1, why);
}

static int prepare_uffd_move(struct thp_map *m, struct thp_why *why)
{
	int ret = prepare_aux(m, why);

	if (ret)
		return ret;
	m->uffd = thp_uffd_open(UFFD_FEATURE_MOVE);
	if (m->uffd < 0)
		return thp_why(why, m->uffd, "userfaultfd: %s", thp_errno_name(m->uffd));
	ret = thp_uffd_register(m->uffd, m->aux->thp, thp_env.pmd, UFFDIO_REGISTER_MODE_MISSING);
	return ret ? thp_why(why, ret, "UFFDIO_REGISTER: %s", thp_errno_name(ret)) : 0;
}

static int run_uffd_move(struct thp_map *m, char *addr, size_t len)
{
	return thp_uffd_move(m->uffd, m->aux->thp + (addr - m->thp), addr, len, NULL);
}

/* Zaps of a part */

static int run_dontneed(struct thp_map *m, char *addr, size_t len)
{
	(void)m;
	return RET(madvise(addr, len, MADV_DONTNEED));
}

static int run_dontneed_locked(struct thp_map *m, char *addr, size_t len)
{
	(void)m;
	return RET(madvise(addr, len, MADV_DONTNEED_LOCKED));
}

static int run_guard_install(struct thp_map *m, char *addr, size_t len)
{
	(void)m;
	return RET(madvise(addr, len, MADV_GUARD_INSTALL));
}

/* pagemap shows guards since Linux 6.15. */
static int verify_guard(struct thp_map *m, struct thp_why *why)
{
	size_t i, mid = thp_env.nr / 2;
	uint64_t entry;
	bool want;
	int ret;

	for (i = 0; thp_env.release >= THP_RELEASE(6, 15) && i < thp_env.nr; i++) {
		ret = thp_obs_pagemap(thp_page(m, i), &entry);
		if (ret)
			return thp_why(why, ret, "pagemap: %s", thp_errno_name(ret));
		want = i == mid;
		if (!!(entry & THP_PM_GUARD) != want)
			return thp_why(why, -EPROTO, "page %zu: guard %d, expected %d", i, !want,
				       want);
	}
	return 0;
}

/* No page is a guard here: nothing to do, but for a PMD that is not present. */
static int run_guard_remove(struct thp_map *m, char *addr, size_t len)
{
	(void)m;
	return RET(madvise(addr, len, MADV_GUARD_REMOVE));
}

/* Write protection by userfaultfd */

static int uffd_wp_all(struct thp_map *m, uint64_t features, bool protect, struct thp_why *why)
{
	int ret;

	m->uffd = thp_uffd_watch(m->thp, thp_env.pmd, features, UFFDIO_REGISTER_MODE_WP, why);
	if (m->uffd < 0)
		return m->uffd;
	ret = protect ? thp_uffd_wp(m->uffd, m->thp, thp_env.pmd, 1) : 0;
	return ret ? thp_why(why, ret, "UFFDIO_WRITEPROTECT: %s", thp_errno_name(ret)) : 0;
}

/* Asynchronous: the checks look at the pages, and the kernel lets them. */
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

/* The kernel takes the protection off what is accessed. */
static int again_uffd_rwped(struct thp_map *m)
{
	return thp_uffd_rwp(m->uffd, m->thp, thp_env.pmd, 1);
}

static int prepare_uffd(struct thp_map *m, struct thp_why *why)
{
	m->uffd = thp_uffd_open(0);
	return m->uffd < 0 ?
		thp_why(why, m->uffd, "userfaultfd: %s", thp_errno_name(m->uffd)) : 0;
}

static int prepare_uffd_wp(struct thp_map *m, struct thp_why *why)
{
	return uffd_wp_all(m, 0, false, why);
}

static int prepare_uffd_wped(struct thp_map *m, struct thp_why *why)
{
	return uffd_wp_all(m, 0, true, why);
}

static int prepare_uffd_async(struct thp_map *m, struct thp_why *why)
{
	return uffd_wp_all(m, UFFD_FEATURE_WP_ASYNC | UFFD_FEATURE_WP_UNPOPULATED, true, why);
}

/* The byte that the kernel itself is to write. */
static int prepare_uffd_async_pipe(struct thp_map *m, struct thp_why *why)
{
	if (pipe2(m->pipe, O_CLOEXEC) || write(m->pipe[1], "\x5a", 1) != 1)
		return thp_why(why, -errno, "pipe: %s", strerror(errno));
	return prepare_uffd_async(m, why);
}

static int prepare_uffd_scan(struct thp_map *m, struct thp_why *why)
{
	int ret = uffd_wp_all(m, UFFD_FEATURE_WP_ASYNC | UFFD_FEATURE_WP_UNPOPULATED, false, why);

	if (ret)
		return ret;
	m->pipe[0] = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	return m->pipe[0] < 0 ? thp_why(why, -errno, "pagemap: %s", strerror(errno)) : 0;
}

static int run_uffd_wp(struct thp_map *m, char *addr, size_t len)
{
	return thp_uffd_wp(m->uffd, addr, len, 1);
}

static int run_uffd_unwp(struct thp_map *m, char *addr, size_t len)
{
	return thp_uffd_wp(m->uffd, addr, len, 0);
}

static int run_uffd_rwp(struct thp_map *m, char *addr, size_t len)
{
	return thp_uffd_rwp(m->uffd, addr, len, 1);
}

static int run_uffd_unrwp(struct thp_map *m, char *addr, size_t len)
{
	return thp_uffd_rwp(m->uffd, addr, len, 0);
}

static int run_uffd_unregister(struct thp_map *m, char *addr, size_t len)
{
	return thp_uffd_unregister(m->uffd, addr, len);
}

static int run_pagemap_scan(struct thp_map *m, char *addr, size_t len)
{
	struct pm_scan_arg arg = {
		.size = sizeof(arg),
		.flags = PM_SCAN_WP_MATCHING | PM_SCAN_CHECK_WPASYNC,
		.start = (uintptr_t)addr,
		.end = (uintptr_t)addr + len,
		.category_mask = PAGE_IS_WRITTEN,
		.return_mask = PAGE_IS_WRITTEN,
	};

	return ioctl(m->pipe[0], PAGEMAP_SCAN, &arg) < 0 ? -errno : 0;
}

/* Whoever reads one of the other pages is noticed, who takes its protection off. */
static int verify_rwp_fault(struct thp_map *m, struct thp_why *why)
{
	char *page = thp_page(m, 1);
	uint64_t entry;
	int ret;

	(void)thp_peek(page);
	ret = thp_obs_pagemap(page, &entry);
	if (ret)
		return thp_why(why, ret, "pagemap: %s", thp_errno_name(ret));
	return entry & THP_PM_UFFD_WP ?
		thp_why(why, -EPROTO, "page 1: uffd-wp 1 after a read, expected 0") : 0;
}

/* Writes to a PMD that is shared copy-on-write */

static int sleep_until_told(struct thp_chan *chan, void *arg)
{
	struct thp_map *m = arg;

	thp_chan_post_parent(chan, 1);
	thp_chan_await_parent(chan, 2);
	/* Whatever the parent did, this copy is as it was at fork(). */
	return thp_map_check(m, 0, thp_env.nr, &chan->why);
}

static int prepare_fork(struct thp_map *m, struct thp_why *why)
{
	int ret = thp_child_start(&m->child, sleep_until_told, m);

	if (!ret)
		ret = thp_child_await(&m->child, 1, THP_STEP_MS);
	return ret ? thp_why(why, ret, "fork: %s", thp_errno_name(ret)) : 0;
}

static int verify_fork(struct thp_map *m, struct thp_why *why)
{
	struct thp_why inner = { 0 };
	int ret;

	thp_chan_post_child(m->child.chan, 2);
	ret = thp_child_join(&m->child, THP_STEP_MS, &inner);
	return ret ? thp_why_from(why, ret, &inner, "in the child") : 0;
}

static int prepare_fork_pipe(struct thp_map *m, struct thp_why *why)
{
	if (pipe2(m->pipe, O_CLOEXEC) || write(m->pipe[1], "\x5a", 1) != 1)
		return thp_why(why, -errno, "pipe: %s", strerror(errno));
	return prepare_fork(m, why);
}

static int run_write(struct thp_map *m, char *addr, size_t len)
{
	(void)m;
	(void)len;
	__atomic_store_n(addr, SPLIT_BYTE, __ATOMIC_RELAXED);
	return 0;
}

/* Another reference to the folio, and no second mapping: it cannot be reused. */
static int prepare_vmsplice(struct thp_map *m, struct thp_why *why)
{
	struct iovec iov = { .iov_base = m->thp, .iov_len = 1 };
	int ret;

	if (pipe2(m->pipe, O_CLOEXEC))
		return thp_why(why, -errno, "pipe: %s", strerror(errno));
	if (vmsplice(m->pipe[1], &iov, 1, 0) != 1)
		return thp_why(why, -errno, "vmsplice: %s", strerror(errno));
	/* fork() takes the exclusive mark off; the child itself must go again. */
	ret = prepare_fork(m, why);
	return ret ? ret : verify_fork(m, why);
}

static int run_read_syscall(struct thp_map *m, char *addr, size_t len)
{
	(void)len;
	return read(m->pipe[0], addr, 1) == 1 ? 0 : -errno;
}

static int run_populate_write(struct thp_map *m, char *addr, size_t len)
{
	(void)m;
	if (madvise(addr, len, MADV_POPULATE_WRITE))
		return -errno;
	__atomic_store_n(addr, SPLIT_BYTE, __ATOMIC_RELAXED);
	return 0;
}

static int run_vm_writev(struct thp_map *m, char *addr, size_t len)
{
	char byte = SPLIT_BYTE;
	struct iovec from = { .iov_base = &byte, .iov_len = 1 };
	struct iovec to = { .iov_base = addr, .iov_len = 1 };

	(void)m;
	(void)len;
	return process_vm_writev(getpid(), &from, 1, &to, 1, 0) == 1 ? 0 : -errno;
}

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

/* One page is pinned, the right one: the driver copies out all that it holds. */
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

/* Device memory, by the test driver of the kernel */

static int prepare_hmm(struct thp_map *m, struct thp_why *why)
{
	(void)m;
	return thp_hmm_open(why);
}

static int run_to_device(struct thp_map *m, char *addr, size_t len)
{
	(void)m;
	return thp_hmm_to_device(addr, len);
}

/*
 * The device takes base pages only. A refused table is no error to the driver:
 * it goes on without the pages that were not migrated.
 */
static int run_to_device_split(struct thp_map *m, char *addr, size_t len)
{
	int ret = thp_hmm_no_huge();
	bool again = m->priv++;

	if (ret)
		return ret;
	ret = thp_hmm_to_device(addr, len);
	/* Without a THP the driver leaves one page out: a retry is for that one, too. */
	if (ret == -ENOENT && again)
		ret = thp_hmm_to_device(addr, len);
	return ret;
}

/* The pages are on the device, with what was in them. */
static int verify_on_device(struct thp_map *m, size_t index, size_t n, struct thp_why *why)
{
	size_t i;

	for (i = index; i < index + n; i++)
		if (!thp_hmm_holds(thp_page(m, i)))
			return thp_why(why, -EPROTO, "page %zu is not on the device", i);
	return m->kind == THP_ZERO ? thp_check_zero(thp_hmm_buffer(), n, why) :
	       thp_check(thp_hmm_buffer(), m->seed, index, n, why);
}

static int verify_device_whole(struct thp_map *m, struct thp_why *why)
{
	return verify_on_device(m, 0, thp_env.nr, why);
}

/* The pages beside the named one are on the device (@want), or are not. */
static int check_beside(struct thp_map *m, bool want, struct thp_why *why)
{
	size_t mid = thp_env.nr / 2, i;

	for (i = mid - 1; i <= mid + 1; i += 2)
		if (thp_hmm_holds(thp_page(m, i)) != want)
			return thp_why(why, -EPROTO, "page %zu: on the device %d, expected %d", i,
				       !want, want);
	return 0;
}

static int verify_device_mid(struct thp_map *m, struct thp_why *why)
{
	int ret = verify_on_device(m, thp_env.nr / 2, 1, why);

	return ret ? ret : check_beside(m, false, why);
}

static int run_to_system(struct thp_map *m, char *addr, size_t len)
{
	(void)m;
	return thp_hmm_to_system(addr, len);
}

static int run_to_system_split(struct thp_map *m, char *addr, size_t len)
{
	int ret = thp_hmm_no_huge();

	(void)m;
	return ret ? ret : thp_hmm_to_system(addr, len);
}

static int verify_system_whole(struct thp_map *m, struct thp_why *why)
{
	size_t i;

	for (i = 0; i < thp_env.nr; i++)
		if (thp_hmm_holds(thp_page(m, i)))
			return thp_why(why, -EPROTO, "page %zu: on the device 1, expected 0", i);
	return 0;
}

static int verify_system_mid(struct thp_map *m, struct thp_why *why)
{
	size_t mid = thp_env.nr / 2;

	if (thp_hmm_holds(thp_page(m, mid)))
		return thp_why(why, -EPROTO, "page %zu: on the device 1, expected 0", mid);
	return check_beside(m, true, why);
}

static int run_exclusive(struct thp_map *m, char *addr, size_t len)
{
	(void)m;
	return thp_hmm_exclusive(addr, len);
}

static int verify_exclusive(struct thp_map *m, struct thp_why *why)
{
	char *page = thp_page(m, thp_env.nr / 2);
	int ret = thp_hmm_check_exclusive(page, thp_env.page);

	/* Reclaim and compaction end it, too, as they please. */
	if (ret != -EPERM)
		return thp_why(why, -EAGAIN, "the device has no exclusive access: %s",
			       thp_errno_name(ret));
	ret = thp_check(thp_hmm_buffer(), m->seed, thp_env.nr / 2, 1, why);
	if (ret)
		return ret;
	if (thp_hmm_check_exclusive(page - thp_env.page, thp_env.page) ||
	    thp_hmm_check_exclusive(page + thp_env.page, thp_env.page))
		return thp_why(why, -EPROTO, "a page beside page %zu is exclusive, too",
			       thp_env.nr / 2);
	/* An access of the process ends it. */
	thp_peek(page);
	ret = thp_hmm_check_exclusive(page, thp_env.page);
	return ret ? thp_why(why, -EPROTO, "the page is still exclusive after a read: %s",
			     thp_errno_name(ret)) : 0;
}

/* Folio splits: advice that first takes the folio apart */

static int run_cold(struct thp_map *m, char *addr, size_t len)
{
	(void)m;
	return RET(madvise(addr, len, MADV_COLD));
}

/* Referenced of the whole area, kB, or -errno: young PTEs and referenced folios. */
static long referenced_kb(struct thp_map *m)
{
	static struct thp_smaps sm;
	int ret = thp_obs_smaps(0, m->area, m->area_len, &sm);

	return ret ? ret : (long)sm.referenced_kb;
}

static int prepare_cold(struct thp_map *m, struct thp_why *why)
{
	m->priv = referenced_kb(m);
	return m->priv < 0 ?
		thp_why(why, m->priv, "smaps: %s", thp_errno_name(m->priv)) : 0;
}

static int prepare_cold_wped(struct thp_map *m, struct thp_why *why)
{
	int ret = prepare_uffd_wped(m, why);

	return ret ? ret : prepare_cold(m, why);
}

static int check_cold(struct thp_map *m, size_t pages, struct thp_why *why)
{
	long now = referenced_kb(m), want = m->priv - (long)(pages * thp_env.page / 1024);

	return now == want ? 0 :
		thp_why(why, -EPROTO, "Referenced: %ld kB, expected %ld kB", now, want);
}

/* All pages of a folio that was split are small ones. Only root can tell. */
static int verify_folio_split(struct thp_map *m, struct thp_why *why)
{
	struct split_view v = { .m = m };
	size_t i;
	int got;

	if (!thp_env.root || m->kind != THP_ANON)
		return 0;
	for (i = 0; i < thp_env.nr; i++) {
		got = split_large.of(&v, &split_large, thp_page(m, i));
		if (got)
			return thp_why(why, got < 0 ? got : -EPROTO,
				       "page %zu: in a large folio %s, expected 0", i,
				       got < 0 ? thp_errno_name(got) : "1");
	}
	return 0;
}

static int verify_cold(struct thp_map *m, struct thp_why *why)
{
	/* Folio operations pass the huge zero folio by. */
	int ret = m->kind == THP_ANON ? check_cold(m, 1, why) : 0;

	return ret ? ret : verify_folio_split(m, why);
}

static int verify_cold_whole(struct thp_map *m, struct thp_why *why)
{
	return m->kind == THP_ANON ? check_cold(m, thp_env.nr, why) : 0;
}

/* Without swap the page stays where it is. */
static int verify_pageout(struct thp_map *m, struct thp_why *why)
{
	bool swaps = m->kind == THP_ANON && !thp_env_missing(THP_NEED_SWAP);
	size_t mid = thp_env.nr / 2, i;
	uint64_t entry;
	bool want;
	int ret;

	for (i = 0; swaps && i < thp_env.nr; i++) {
		ret = thp_obs_pagemap(thp_page(m, i), &entry);
		if (ret)
			return thp_why(why, ret, "pagemap: %s", thp_errno_name(ret));
		want = i == mid;
		if (!!(entry & THP_PM_SWAPPED) != want)
			return thp_why(why, -EPROTO, "page %zu: swapped %d, expected %d", i, !want,
				       want);
	}
	return verify_folio_split(m, why);
}

/* What may be freed is clean, and what was filled is dirty. */
static int check_clean(struct thp_map *m, size_t pages, struct thp_why *why)
{
	size_t want = pages * thp_env.page / 1024;
	static struct thp_smaps sm;
	int ret = thp_obs_smaps(0, m->thp, thp_env.pmd, &sm);

	if (ret)
		return thp_why(why, ret, "smaps: %s", thp_errno_name(ret));
	return sm.clean_kb == want ? 0 :
		thp_why(why, -EPROTO, "Private_Clean: %llu kB, expected %zu kB",
			(unsigned long long)sm.clean_kb, want);
}

static int verify_free(struct thp_map *m, struct thp_why *why)
{
	int ret = m->kind == THP_ANON ? check_clean(m, 1, why) : 0;

	return ret ? ret : verify_folio_split(m, why);
}

static int verify_free_whole(struct thp_map *m, struct thp_why *why)
{
	return m->kind == THP_ANON ? check_clean(m, thp_env.nr, why) : 0;
}

static int run_pageout(struct thp_map *m, char *addr, size_t len)
{
	(void)m;
	return RET(madvise(addr, len, MADV_PAGEOUT));
}

static int run_free(struct thp_map *m, char *addr, size_t len)
{
	(void)m;
	return RET(madvise(addr, len, MADV_FREE));
}

static int run_debugfs(struct thp_map *m, char *addr, size_t len)
{
	(void)m;
	return thp_split_folios(getpid(), (unsigned long)addr, len);
}

/* Controls: what looks at a PMD mapping or changes all of it must not split it */

static int run_uffd_wp_whole(struct thp_map *m, char *addr, size_t len)
{
	int ret = thp_uffd_wp(m->uffd, addr, len, 1);

	if (!ret)
		ret = thp_uffd_wp(m->uffd, addr, len, 0);
	return ret ? ret : thp_uffd_wp(m->uffd, addr, len, 1);
}

static int run_uffd_rwp_whole(struct thp_map *m, char *addr, size_t len)
{
	int ret = thp_uffd_rwp(m->uffd, addr, len, 1);

	if (!ret)
		ret = thp_uffd_rwp(m->uffd, addr, len, 0);
	return ret ? ret : thp_uffd_rwp(m->uffd, addr, len, 1);
}

/* The fault that a read of a protected THP takes; the protection goes with it. */
static int run_uffd_rwp_read(struct thp_map *m, char *addr, size_t len)
{
	(void)m;
	thp_peek(addr + len / 2);
	return 0;
}

static int verify_rwp_read(struct thp_map *m, struct thp_why *why)
{
	uint64_t entry;
	int ret = thp_obs_pagemap(thp_page(m, thp_env.nr / 2), &entry);

	if (ret)
		return thp_why(why, ret, "pagemap: %s", thp_errno_name(ret));
	return entry & THP_PM_UFFD_WP ?
		thp_why(why, -EPROTO, "page %zu: uffd-wp 1 after a read, expected 0",
			thp_env.nr / 2) : 0;
}

static int run_to_device_and_back(struct thp_map *m, char *addr, size_t len)
{
	int ret;

	(void)m;
	ret = thp_hmm_to_device(addr, len);
	return ret ? ret : thp_hmm_to_system(addr, len);
}

static int run_mprotect_whole(struct thp_map *m, char *addr, size_t len)
{
	(void)m;
	return RET(mprotect(addr, len, PROT_READ) || mprotect(addr, len, PROT_RW) ||
		   mprotect(addr, len, PROT_READ));
}

static unsigned char mincore_vec[65536];

static int run_mincore(struct thp_map *m, char *addr, size_t len)
{
	(void)m;
	return len / thp_env.page > sizeof(mincore_vec) ? -E2BIG :
	       RET(mincore(addr, len, mincore_vec));
}

/* Each page is in memory; what is on a device is where a swapped page would be. */
static int verify_mincore(struct thp_map *m, struct thp_why *why)
{
	size_t i;

	for (i = 0; m->kind != THP_DEVICE && i < thp_env.nr; i++) {
		if (!(mincore_vec[i] & 1))
			return thp_why(why, -EPROTO, "page %zu: mincore says 0, expected 1", i);
		mincore_vec[i] = 0;
	}
	return 0;
}

static int read_through(const char *path)
{
	static char text[65536];
	ssize_t n;
	int fd;

	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	do {
		n = read(fd, text, sizeof(text));
	} while (n > 0);
	n = n < 0 ? -errno : 0;
	close(fd);
	return n;
}

static int run_smaps(struct thp_map *m, char *addr, size_t len)
{
	(void)m;
	(void)addr;
	(void)len;
	return read_through("/proc/self/smaps");
}

static int run_numa_maps(struct thp_map *m, char *addr, size_t len)
{
	(void)m;
	(void)addr;
	(void)len;
	return read_through("/proc/self/numa_maps");
}

static int run_pagemap(struct thp_map *m, char *addr, size_t len)
{
	long n = thp_obs_populated(addr, len);

	(void)m;
	return n < 0 ? n : 0;
}

static int run_clear_refs(struct thp_map *m, char *addr, size_t len)
{
	int ret = thp_write_file("/proc/self/clear_refs", "1");

	(void)m;
	(void)addr;
	(void)len;
	return ret ? ret : thp_write_file("/proc/self/clear_refs", "4");
}

/* What clear_refs is for: no page is referenced any more. */
static int verify_cleared(struct thp_map *m, struct thp_why *why)
{
	long kb = referenced_kb(m);

	return kb ? thp_why(why, -EPROTO, "Referenced: %ld kB, expected 0 kB", kb) : 0;
}

static char gup_byte;

static int run_vm_readv(struct thp_map *m, char *addr, size_t len)
{
	struct iovec to = { .iov_base = &gup_byte, .iov_len = 1 };
	struct iovec from = { .iov_base = addr + len / 2, .iov_len = 1 };

	(void)m;
	return process_vm_readv(getpid(), &to, 1, &from, 1, 0) == 1 ? 0 : -errno;
}

static int verify_gup_read(struct thp_map *m, struct thp_why *why)
{
	char want = *thp_page(m, thp_env.nr / 2);
	int got = (unsigned char)gup_byte;

	gup_byte = ~want;
	return got == (unsigned char)want ? 0 :
		thp_why(why, -EPROTO, "page %zu: read %#x, expected %#x", thp_env.nr / 2, got,
			(unsigned char)want);
}

#define ANON_ZERO	(THP_ANON | THP_ZERO)
#define ANON_ZERO_DEVICE (ANON_ZERO | THP_DEVICE)
#define ALL_HUGE	(THP_ANON | THP_ZERO | THP_SHMEM)
#define PLAIN		(THP_SMALL | THP_NONE)
/* What a zap empties: a shared mapping drops the PMD, and all pages with it. */
#define ZAPPED		(ANON_ZERO_DEVICE | THP_SMALL)

#define GONE		{ &split_has_vma, 1, 0, 0 }
#define UNREADABLE	{ &split_readable, 1, 0, 0 }

/*
 * .keeps names the kinds that are controls: on base pages and untouched memory
 * (PLAIN) nothing can be split, and since there is no PMD to split nothing may
 * be allocated for it; folio operations pass the huge zero folio by.
 */
const struct split_op split_ops[] = {
	{
		.name = "munmap_head", .covers = "split-munmap", .run = run_munmap,
		.kinds = ANON_ZERO, .keeps = PLAIN, .where = AT_HEAD, .effect = UNMAPS,
		.says = GONE, .meets = UNREADABLE,
	}, {
		.name = "munmap_mid", .covers = "split-munmap file-split", .run = run_munmap,
		.kinds = ALL_HUGE | THP_DEVICE, .keeps = PLAIN, .where = AT_MID, .effect = UNMAPS,
		.says = GONE, .meets = UNREADABLE,
	}, {
		.name = "munmap_tail", .covers = "split-munmap", .run = run_munmap,
		.kinds = ANON_ZERO, .where = AT_TAIL, .effect = UNMAPS,
		.says = GONE, .meets = UNREADABLE,
	}, {
		.name = "munmap_half", .covers = "split-munmap", .run = run_munmap,
		.kinds = ANON_ZERO, .where = AT_UPPER, .effect = UNMAPS,
		.says = GONE, .meets = UNREADABLE,
	}, {
		.name = "mmap_fixed_mid", .covers = "split-map-fixed", .run = run_mmap_fixed,
		.kinds = ANON_ZERO, .keeps = PLAIN, .where = AT_MID, .effect = ZEROES,
		.says = { &split_vma_advised, 1, 0, ANON_ZERO },
	}, {
		.name = "mremap_shrink", .covers = "split-shrink", .run = run_mremap_shrink,
		.prepare = prepare_shrink,
		.kinds = ANON_ZERO, .where = AT_UPPER, .effect = UNMAPS,
		.says = GONE, .meets = UNREADABLE, .flags = OP_ABOVE_TOO,
	}, {
		.name = "mprotect_head", .covers = "split-mprotect", .run = run_mprotect,
		.kinds = ANON_ZERO, .where = AT_HEAD,
		.says = { &split_vma_write, 1, 0, 0 }, .meets = { &split_writable, 1, 0, 0 },
	}, {
		.name = "mprotect_mid", .covers = "split-mprotect file-split", .run = run_mprotect,
		.kinds = ALL_HUGE | THP_DEVICE, .keeps = PLAIN, .where = AT_MID,
		.says = { &split_vma_write, 1, 0, 0 }, .meets = { &split_writable, 1, 0, 0 },
	}, {
		.name = "mprotect_merge_below", .covers = "split-vma-merge", .run = run_mprotect,
		.prepare = prepare_ro_below,
		.kinds = ANON_ZERO, .where = AT_HEAD,
		.says = { &split_vma_write, 1, 0, 0 }, .meets = { &split_writable, 1, 0, 0 },
		.flags = OP_MERGES | OP_BELOW_TOO,
	}, {
		.name = "mprotect_merge_above", .covers = "split-vma-merge", .run = run_mprotect,
		.prepare = prepare_ro_above,
		.kinds = ANON_ZERO, .where = AT_TAIL,
		.says = { &split_vma_write, 1, 0, 0 }, .meets = { &split_writable, 1, 0, 0 },
		.flags = OP_MERGES | OP_ABOVE_TOO,
	}, {
		.name = "madv_nohugepage_mid", .covers = "split-madvise-flags",
		.run = run_madv_nohugepage, .errnos = { EAGAIN },
		.kinds = ANON_ZERO, .where = AT_MID,
		.says = { &split_vma_unadvised, 0, 1, 0 },
	}, {
		.name = "madv_dontdump_mid", .covers = "split-madvise-flags",
		.run = run_madv_dontdump, .errnos = { EAGAIN },
		.kinds = ANON_ZERO_DEVICE, .keeps = PLAIN, .where = AT_MID,
		.says = { &split_vma_dontdump, 0, 1, 0 },
	}, {
		.name = "madv_dontfork_mid", .covers = "split-madvise-flags",
		.run = run_madv_dontfork, .errnos = { EAGAIN },
		.kinds = ANON_ZERO, .where = AT_MID,
		.says = { &split_vma_dontfork, 0, 1, 0 },
		.meets = { &split_left_by_fork, 0, 1, 0 },
	}, {
		.name = "madv_wipeonfork_mid", .covers = "split-madvise-flags",
		.run = run_madv_wipeonfork, .errnos = { EAGAIN },
		.kinds = ANON_ZERO, .where = AT_MID,
		.says = { &split_vma_wipeonfork, 0, 1, 0 },
		.meets = { &split_wiped_by_fork, 0, 1, THP_ANON },
	}, {
		.name = "madv_sequential_mid", .covers = "split-madvise-flags",
		.run = run_madv_sequential, .errnos = { EAGAIN },
		.kinds = ANON_ZERO, .where = AT_MID,
		.says = { &split_vma_sequential, 0, 1, 0 },
	}, {
		.name = "madv_mergeable_mid", .covers = "split-madvise-flags",
		.run = run_madv_mergeable, .errnos = { EAGAIN, ENOMEM }, .needs = THP_NEED_KSM,
		.kinds = ANON_ZERO, .where = AT_MID,
		.says = { &split_vma_mergeable, 0, 1, 0 },
	}, {
		.name = "anon_name_mid", .covers = "split-anon-name", .run = run_anon_name,
		.errnos = { EAGAIN, ENOMEM }, .needs = THP_NEED_ANON_NAME,
		.kinds = ANON_ZERO, .where = AT_MID,
		.says = { &split_vma_named, 0, 1, 0 },
	}, {
		.name = "mlock_mid", .covers = "split-mlock", .run = run_mlock,
		.errnos = { ENOMEM, EAGAIN }, .needs = THP_NEED_LIMIT,
		.kinds = ANON_ZERO, .keeps = THP_SMALL, .where = AT_MID,
		.flags = OP_POPULATES,
		.prepare = prepare_lock, .verify = verify_locked, .untouched = verify_lock_kept,
		.says = { &split_vma_locked, 0, 1, 0 }, .meets = { &split_lru_refused, 0, 1, 0 },
	}, {
		.name = "munlock_mid", .covers = "split-mlock", .run = run_munlock,
		.prepare = prepare_mlocked, .errnos = { ENOMEM, EAGAIN }, .needs = THP_NEED_LIMIT,
		.kinds = ANON_ZERO, .where = AT_MID,
		.verify = verify_unlocked, .untouched = verify_lock_kept,
		.says = { &split_vma_locked, 1, 0, 0 }, .meets = { &split_lru_refused, 1, 0, 0 },
	}, {
		.name = "mbind_mid", .covers = "split-mbind", .run = run_mbind,
		.needs = THP_NEED_NUMA, .kinds = ANON_ZERO, .where = AT_MID,
		.says = { &split_policy, MPOL_DEFAULT, MPOL_PREFERRED, 0 },
	}, {
		.name = "home_node_mid", .covers = "split-mbind", .run = run_home_node,
		.prepare = prepare_bound, .needs = THP_NEED_HOME_NODE,
		.kinds = ANON_ZERO, .where = AT_MID,
		/* No call says which node is the home: a policy of its own is a VMA of its own. */
		.says = { &split_alone, 0, 1, 0 },
	}, {
		.name = "uffd_register_mid", .covers = "split-uffd-register",
		.run = run_uffd_register, .prepare = prepare_uffd, .needs = THP_NEED_UFFD,
		.kinds = ANON_ZERO, .where = AT_MID,
		.says = { &split_vma_uffd_missing, 0, 1, 0 },
		.meets = { &split_registered, 0, 1, 0 },
	}, {
		.name = "mseal_mid", .covers = "split-mseal", .run = run_mseal,
		.needs = THP_NEED_MSEAL, .flags = OP_NO_ZAP,
		.kinds = ANON_ZERO, .where = AT_MID,
		.says = { &split_alone, 0, 1, 0 }, .meets = { &split_sealed, 0, 1, 0 },
	}, {
		.name = "mremap_move_mid", .covers = "move-partial", .run = run_mremap_move,
		.prepare = prepare_aux, .verify = verify_moved,
		.kinds = ANON_ZERO_DEVICE, .where = AT_MID, .effect = UNMAPS,
		.says = GONE, .meets = UNREADABLE,
	}, {
		.name = "uffd_move_mid", .covers = "uffd-move-split folio-split",
		.run = run_uffd_move,
		.prepare = prepare_uffd_move, .verify = verify_moved,
		.needs = THP_NEED_UFFD_MOVE, .errnos = { ENOMEM, EBUSY, EAGAIN },
		.kinds = ANON_ZERO, .where = AT_MID, .effect = ZEROES,
		.says = { &split_populated, 1, 0, ZAPPED },
	}, {
		.name = "dontneed_head", .covers = "zap-dontneed", .run = run_dontneed,
		.flags = OP_ZAPS,
		.kinds = ANON_ZERO, .keeps = PLAIN, .where = AT_HEAD, .effect = ZEROES,
		.says = { &split_populated, 1, 0, ZAPPED },
	}, {
		.name = "dontneed_mid", .covers = "zap-dontneed file-split", .run = run_dontneed,
		.flags = OP_ZAPS,
		.kinds = ALL_HUGE | THP_DEVICE, .keeps = PLAIN, .where = AT_MID, .effect = ZEROES,
		.says = { &split_populated, 1, 0, ZAPPED },
	}, {
		.name = "dontneed_tail", .covers = "zap-dontneed", .run = run_dontneed,
		.kinds = ANON_ZERO, .where = AT_TAIL, .effect = ZEROES,
		.says = { &split_populated, 1, 0, ZAPPED },
	}, {
		.name = "dontneed_half", .covers = "zap-dontneed", .run = run_dontneed,
		.kinds = ANON_ZERO, .where = AT_UPPER, .effect = ZEROES,
		.says = { &split_populated, 1, 0, ZAPPED },
	}, {
		.name = "dontneed_locked_mid", .covers = "zap-dontneed",
		.run = run_dontneed_locked, .prepare = prepare_mlocked,
		.needs = THP_NEED_DONTNEED_LOCKED | THP_NEED_LIMIT,
		.kinds = ANON_ZERO, .where = AT_MID, .effect = ZEROES,
		.says = { &split_populated, 1, 0, ZAPPED },
	}, {
		.name = "guard_install_mid", .covers = "zap-guard", .run = run_guard_install,
		.needs = THP_NEED_GUARD,
		.kinds = ANON_ZERO_DEVICE, .where = AT_MID, .effect = UNMAPS,
		.verify = verify_guard, .meets = UNREADABLE,
	}, {
		/* The walk takes it apart before it knows that no page is a guard. */
		.name = "guard_remove_mid", .covers = "walk-device-private",
		.run = run_guard_remove, .needs = THP_NEED_GUARD,
		.kinds = THP_DEVICE, .keeps = ANON_ZERO | PLAIN, .where = AT_MID,
		.unproven = "no page is a guard: the split is all that it does",
	}, {
		.name = "uffd_wp_mid", .covers = "protect-uffd-wp", .run = run_uffd_wp,
		.prepare = prepare_uffd_wp,
		.needs = THP_NEED_UFFD_WP, .kinds = ANON_ZERO_DEVICE, .where = AT_MID,
		.says = { &split_uffd_wp, 0, 1, 0 }, .meets = { &split_writable, 1, 0, 0 },
	}, {
		.name = "uffd_unwp_mid", .covers = "protect-uffd-wp", .run = run_uffd_unwp,
		.prepare = prepare_uffd_wped,
		.needs = THP_NEED_UFFD_WP, .kinds = ANON_ZERO_DEVICE, .where = AT_MID,
		.says = { &split_uffd_wp, 1, 0, 0 }, .meets = { &split_writable, 0, 1, 0 },
	}, {
		.name = "uffd_unregister_mid", .covers = "protect-uffd-unregister",
		.run = run_uffd_unregister, .prepare = prepare_uffd_wped,
		.needs = THP_NEED_UFFD_WP, .kinds = ANON_ZERO, .where = AT_MID,
		.flags = OP_UNDOES_FIRST,
		.says = { &split_uffd_wp, 1, 0, 0 }, .meets = { &split_writable, 0, 1, 0 },
	}, {
		.name = "uffd_rwp_mid", .covers = "protect-uffd-rwp", .run = run_uffd_rwp,
		.prepare = prepare_uffd_rwp,
		.needs = THP_NEED_UFFD_RWP, .kinds = ANON_ZERO, .where = AT_MID,
		.says = { &split_uffd_wp, 0, 1, 0 },
	}, {
		.name = "uffd_unrwp_mid", .covers = "protect-uffd-rwp", .run = run_uffd_unrwp,
		.prepare = prepare_uffd_rwped,
		 .again = again_uffd_rwped,
		.needs = THP_NEED_UFFD_RWP, .kinds = ANON_ZERO, .where = AT_MID,
		.says = { &split_uffd_wp, 1, 0, 0 }, .verify = verify_rwp_fault,
	}, {
		.name = "uffd_rwp_unregister_mid",
		.covers = "protect-uffd-rwp protect-uffd-unregister",
		.run = run_uffd_unregister, .prepare = prepare_uffd_rwped,
		 .again = again_uffd_rwped,
		.needs = THP_NEED_UFFD_RWP, .kinds = ANON_ZERO, .where = AT_MID,
		.flags = OP_UNDOES_FIRST,
		.says = { &split_uffd_wp, 1, 0, 0 }, .verify = verify_rwp_fault,
	}, {
		.name = "pagemap_scan_wp_mid", .covers = "walk-pagemap-scan",
		.run = run_pagemap_scan, .prepare = prepare_uffd_scan,
		.needs = THP_NEED_UFFD_ASYNC | THP_NEED_SCAN,
		.kinds = ANON_ZERO, .where = AT_MID,
		.says = { &split_uffd_wp, 0, 1, 0 },
	}, {
		.name = "cow_write_mid", .covers = "cow-write", .run = run_write,
		.prepare = prepare_fork, .verify = verify_fork, .starved = WAITS,
		.kinds = THP_ANON, .where = AT_MID, .effect = WRITES,
	}, {
		.name = "cow_extra_ref_mid", .covers = "cow-extra-ref", .run = run_write,
		.prepare = prepare_vmsplice, .starved = WAITS,
		.kinds = THP_ANON, .where = AT_MID, .effect = WRITES,
	}, {
		.name = "cow_read_syscall_mid", .covers = "cow-kernel-write",
		.run = run_read_syscall, .prepare = prepare_fork_pipe, .verify = verify_fork,
		.errnos = { EFAULT, ENOMEM },
		.kinds = THP_ANON, .where = AT_MID, .effect = WRITES,
	}, {
		.name = "cow_populate_mid", .covers = "cow-gup", .run = run_populate_write,
		.prepare = prepare_fork, .verify = verify_fork,
		.needs = THP_NEED_POPULATE, .errnos = { ENOMEM, EFAULT },
		.kinds = THP_ANON, .where = AT_MID, .effect = WRITES,
	}, {
		.name = "cow_vm_writev_mid", .covers = "cow-gup", .run = run_vm_writev,
		.prepare = prepare_fork, .verify = verify_fork,
		.errnos = { EFAULT, ENOMEM },
		.kinds = THP_ANON, .where = AT_MID, .effect = WRITES,
	}, {
		.name = "cow_unshare_mid", .covers = "cow-unshare", .run = run_gup_pin,
		.prepare = prepare_gup, .verify = verify_gup,
		.needs = THP_NEED_GUP_TEST, .errnos = { ENOMEM, EFAULT },
		.kinds = THP_ANON, .where = AT_MID,
	}, {
		.name = "exclusive_mid", .covers = "gup-split-exclusive",
		.run = run_exclusive, .prepare = prepare_hmm, .verify = verify_exclusive,
		.needs = THP_NEED_HMM,
		.kinds = THP_ANON, .keeps = THP_SMALL, .where = AT_MID,
	}, {
		.name = "to_device_split", .covers = "migrate-device-split",
		.run = run_to_device_split, .prepare = prepare_hmm,
		.verify = verify_device_whole,
		.needs = THP_NEED_HMM_HUGE, .errnos = { ENOENT, ENOMEM },
		.kinds = THP_ANON, .where = AT_WHOLE,
	}, {
		.name = "to_device_mid", .covers = "migrate-device-part",
		.run = run_to_device, .prepare = prepare_hmm, .verify = verify_device_mid,
		.needs = THP_NEED_HMM, .errnos = { ENOENT, ENOMEM }, .flags = OP_FOLIO,
		.kinds = ANON_ZERO, .where = AT_MID,
	}, {
		.name = "to_system_split", .covers = "migrate-device-split",
		.run = run_to_system_split, .verify = verify_system_whole,
		.errnos = { ENOENT, ENOMEM },
		.kinds = THP_DEVICE, .where = AT_WHOLE,
	}, {
		.name = "to_system_mid", .covers = "migrate-device-part",
		.run = run_to_system, .verify = verify_system_mid, .flags = OP_FOLIO,
		.errnos = { ENOENT, ENOMEM },
		.kinds = THP_DEVICE, .where = AT_MID,
	}, {
		.name = "wp_async_write_mid", .covers = "wp-async-fault", .run = run_write,
		.prepare = prepare_uffd_async, .starved = WAITS,
		.needs = THP_NEED_UFFD_ASYNC,
		.kinds = THP_ANON, .where = AT_MID, .effect = WRITES,
		.says = { &split_uffd_wp, 1, 0, 0 },
	}, {
		/* In kernel mode the fault cannot wait: the caller is told. */
		.name = "wp_async_read_syscall_mid", .covers = "wp-async-fault cow-kernel-write",
		.run = run_read_syscall, .prepare = prepare_uffd_async_pipe,
		.errnos = { EFAULT, ENOMEM },
		 .needs = THP_NEED_UFFD_ASYNC,
		.kinds = THP_ANON, .where = AT_MID, .effect = WRITES,
		.says = { &split_uffd_wp, 1, 0, 0 },
	}, {
		.name = "cold_mid", .covers = "folio-split-advice", .run = run_cold,
		.starved = ADVICE, .flags = OP_FOLIO,
		.kinds = THP_ANON, .keeps = THP_ZERO | PLAIN, .where = AT_MID,
		.prepare = prepare_cold, .verify = verify_cold,
	}, {
		/* Through migration entries and back, the protection stays. */
		.name = "cold_uffd_wp_mid", .covers = "folio-split-advice protect-uffd-wp",
		.run = run_cold,
		.starved = ADVICE, .flags = OP_FOLIO, .needs = THP_NEED_UFFD_WP,
		.kinds = THP_ANON, .where = AT_MID,
		.prepare = prepare_cold_wped, .verify = verify_cold,
		.says = { &split_uffd_wp, 1, 1, 0 },
	}, {
		.name = "pageout_mid", .covers = "folio-split-advice", .run = run_pageout,
		.starved = ADVICE, .flags = OP_FOLIO,
		.kinds = THP_ANON, .keeps = THP_ZERO, .where = AT_MID,
		.verify = verify_pageout,
	}, {
		/* Swap entries are for base pages: the PMD is split on its way out. */
		.name = "pageout_whole", .covers = "reclaim-unmap", .run = run_pageout,
		.starved = ADVICE, .needs = THP_NEED_SWAP,
		.kinds = THP_ANON, .keeps = THP_ZERO, .where = AT_WHOLE,
		.says = { &split_swapped, 0, 1, THP_ANON },
	}, {
		.name = "free_mid", .covers = "folio-split-advice", .run = run_free,
		.starved = ADVICE, .flags = OP_FOLIO,
		.kinds = THP_ANON, .keeps = THP_ZERO | PLAIN, .where = AT_MID, .effect = MAY_ZERO,
		.verify = verify_free,
	}, {
		.name = "debugfs_split", .covers = "folio-split-debugfs", .run = run_debugfs,
		.starved = ADVICE, .errnos = { ENOMEM }, .needs = THP_NEED_DEBUGFS,
		.flags = OP_FOLIO,
		.kinds = THP_ANON, .keeps = THP_ZERO | PLAIN, .where = AT_WHOLE,
		.verify = verify_folio_split,
	}, {
		.name = "dontneed_whole", .covers = "zap-pmd", .run = run_dontneed,
		.starved = NEVER, .flags = OP_LEAVES_NONE | OP_ZAPS,
		.keeps = ANON_ZERO_DEVICE | PLAIN, .where = AT_WHOLE, .effect = ZEROES,
		.says = { &split_populated, 1, 0, ZAPPED },
	}, {
		.name = "mprotect_whole", .covers = "protect-pmd", .run = run_mprotect_whole,
		.starved = FAILS, .keeps = ALL_HUGE | THP_DEVICE, .where = AT_WHOLE,
		.says = { &split_vma_write, 1, 0, 0 }, .meets = { &split_writable, 1, 0, 0 },
	}, {
		.name = "uffd_wp_whole", .covers = "protect-pmd", .run = run_uffd_wp_whole,
		.starved = NEVER, .prepare = prepare_uffd_wp, .needs = THP_NEED_UFFD_WP,
		.keeps = ANON_ZERO, .where = AT_WHOLE,
		.says = { &split_uffd_wp, 0, 1, 0 },
	}, {
		.name = "uffd_rwp_whole", .covers = "protect-pmd", .run = run_uffd_rwp_whole,
		.starved = NEVER, .prepare = prepare_uffd_rwp, .needs = THP_NEED_UFFD_RWP,
		.keeps = ANON_ZERO, .where = AT_WHOLE,
		.says = { &split_uffd_wp, 0, 1, 0 },
	}, {
		.name = "uffd_rwp_read", .covers = "rwp-fault", .run = run_uffd_rwp_read,
		.starved = NEVER, .prepare = prepare_uffd_rwped, .needs = THP_NEED_UFFD_RWP,
		.keeps = ANON_ZERO, .where = AT_WHOLE,
		.verify = verify_rwp_read,
	}, {
		.name = "to_device_and_back", .covers = "migrate-device-pmd",
		.run = run_to_device_and_back, .prepare = prepare_hmm,
		.needs = THP_NEED_HMM_HUGE, .errnos = { ENOENT, ENOMEM },
		.keeps = THP_ANON, .where = AT_WHOLE,
	}, {
		.name = "free_whole", .covers = "advice-pmd", .run = run_free,
		.starved = NEVER, .keeps = ANON_ZERO, .where = AT_WHOLE, .effect = MAY_ZERO,
		.verify = verify_free_whole,
	}, {
		.name = "cold_whole", .covers = "advice-pmd", .run = run_cold,
		.starved = NEVER, .keeps = ANON_ZERO, .where = AT_WHOLE,
		.prepare = prepare_cold, .verify = verify_cold_whole,
	}, {
		.name = "mlock_whole", .covers = "mlock-pmd", .run = run_mlock_onfault,
		.starved = FAILS, .errnos = { ENOMEM, EAGAIN }, .needs = THP_NEED_LIMIT,
		.keeps = ANON_ZERO, .where = AT_WHOLE,
		.says = { &split_vma_locked, 0, 1, 0 },
	}, {
		/*
		 * open() is part of the readers here: procfs says ENOENT where it gets
		 * no inode (proc_pident_instantiate(), proc_pid_instantiate()).
		 */
		.name = "read_smaps", .covers = "walk-readers", .run = run_smaps,
		.starved = FAILS, .errnos = { ENOMEM, ENOENT }, .keeps = ALL_HUGE | THP_DEVICE,
		.where = AT_WHOLE,
	}, {
		.name = "read_numa_maps", .covers = "walk-readers", .run = run_numa_maps,
		.starved = FAILS, .errnos = { ENOMEM, ENOENT }, .needs = THP_NEED_NUMA,
		.keeps = ANON_ZERO, .where = AT_WHOLE,
	}, {
		.name = "read_pagemap", .covers = "walk-readers", .run = run_pagemap,
		.starved = FAILS, .errnos = { ENOMEM, ENOENT }, .keeps = ALL_HUGE | THP_DEVICE,
		.where = AT_WHOLE,
	}, {
		.name = "clear_refs", .covers = "walk-readers", .run = run_clear_refs,
		.starved = FAILS, .errnos = { ENOMEM, ENOENT }, .keeps = ANON_ZERO,
		.where = AT_WHOLE,
		.verify = verify_cleared,
	}, {
		.name = "mincore", .covers = "walk-readers", .run = run_mincore,
		.starved = FAILS, .keeps = ALL_HUGE | THP_DEVICE, .where = AT_WHOLE,
		.verify = verify_mincore,
	}, {
		.name = "gup_read", .covers = "gup-pmd", .run = run_vm_readv,
		.starved = FAILS, .keeps = ALL_HUGE | THP_DEVICE, .where = AT_WHOLE,
		.verify = verify_gup_read,
	},
};

const size_t split_ops_count = ARRAY_SIZE(split_ops);

size_t split_first(const struct split_op *op)
{
	switch (op->where) {
	case AT_MID:
	case AT_UPPER: return thp_env.nr / 2;
	case AT_TAIL: return thp_env.nr - 1;
	default: return 0;
	}
}

size_t split_count(const struct split_op *op)
{
	switch (op->where) {
	case AT_UPPER: return thp_env.nr / 2;
	case AT_WHOLE: return thp_env.nr;
	default: return 1;
	}
}

int split_prepare(const struct split_op *op, struct thp_map *m, struct thp_why *why)
{
	int ret = op->prepare ? op->prepare(m, why) : 0;

	/* What comes now may have to do without memory. */
	if (!ret && m->child.pid > 0)
		thp_own_pages();
	return ret;
}

void split_again(const struct split_op *op, struct thp_map *m)
{
	thp_map_return(m);
	if (op->again)
		(void)op->again(m);
}

int split_run(const struct split_op *op, struct thp_map *m)
{
	return op->run(m, thp_page(m, split_first(op)), split_count(op) * thp_env.page);
}

bool split_expected(const struct split_op *op, enum thp_kind kind)
{
	return op->kinds & kind;
}

bool split_errno_ok(const struct split_op *op, int err)
{
	size_t i;

	if (err < 0)
		err = -err;
	if (!op->errnos[0])
		return err == ENOMEM;
	for (i = 0; i < ARRAY_SIZE(op->errnos); i++)
		if (op->errnos[i] && op->errnos[i] == err)
			return true;
	return false;
}

/* The named pages after success. */
static int check_named(const struct split_op *op, const struct thp_map *m, size_t first, size_t n,
		       struct thp_why *why)
{
	struct thp_why ignored = { 0 };
	size_t i;
	int ret;

	switch (op->effect) {
	case UNMAPS:
		return 0;
	case ZEROES:
		/* A shared mapping finds its page in the page cache again. */
		if (m->kind == THP_SHMEM)
			return thp_map_check(m, first, n, why);
		return thp_check_zero(thp_page(m, first), n, why);
	case WRITES: {
		char *p = thp_page(m, first), was;

		/* Put the one byte back and compare the whole page. */
		if (*p != SPLIT_BYTE)
			return thp_why(why, -EILSEQ, "page %zu: written byte %#x reads %#x", first,
				       SPLIT_BYTE, (unsigned char)*p);
		if (m->kind == THP_ZERO) {
			was = 0;
		} else {
			uint64_t *tmp = (uint64_t *)p, word = tmp[1] - 1;

			was = *(char *)&word;
		}
		*p = was;
		ret = thp_map_check(m, first, n, why);
		*p = SPLIT_BYTE;
		return ret;
	}
	case MAY_ZERO:
		for (i = first; i < first + n; i++)
			if (thp_map_check(m, i, 1, &ignored) &&
			    thp_check_zero(thp_page(m, i), 1, why))
				return -EILSEQ;
		return 0;
	case KEEPS_DATA:
		break;
	}
	return thp_map_check(m, first, n, why);
}

int split_check_data(const struct split_op *op, const struct thp_map *m, bool done,
		     struct thp_why *why)
{
	size_t first = split_first(op), n = split_count(op);
	int ret;

	if (!done)
		return thp_map_check(m, 0, thp_env.nr, why);
	ret = thp_map_check(m, 0, first, why);
	if (!ret)
		ret = check_named(op, m, first, n, why);
	if (!ret)
		ret = thp_map_check(m, first + n, thp_env.nr - first - n, why);
	return ret;
}
