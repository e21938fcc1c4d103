// SPDX-License-Identifier: GPL-2.0
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "thp_uapi.h"
#include "thp_uffd.h"

static int new_fd(void)
{
	int fd;

	fd = syscall(__NR_userfaultfd, O_CLOEXEC | O_NONBLOCK | UFFD_USER_MODE_ONLY);
	/* Before Linux 5.11 the flag is unknown and privilege alone decides. */
	if (fd < 0 && errno == EINVAL)
		fd = syscall(__NR_userfaultfd, O_CLOEXEC | O_NONBLOCK);
	return fd < 0 ? -errno : fd;
}

static int handshake(int fd, uint64_t want, uint64_t *offered)
{
	struct uffdio_api api = { .api = UFFD_API, .features = want };

	if (ioctl(fd, UFFDIO_API, &api))
		return -errno;
	if (offered)
		*offered = api.features;
	return 0;
}

int thp_uffd_features(uint64_t *features)
{
	int fd = new_fd(), ret;

	if (fd < 0)
		return fd;
	ret = handshake(fd, 0, features);
	close(fd);
	return ret;
}

int thp_uffd_open(uint64_t features)
{
	int fd = new_fd(), ret;

	if (fd < 0)
		return fd;
	ret = handshake(fd, features, NULL);
	if (ret) {
		close(fd);
		return ret;
	}
	return fd;
}

int thp_uffd_register(int uffd, void *addr, size_t len, uint64_t mode)
{
	struct uffdio_register reg = {
		.range = { .start = (uintptr_t)addr, .len = len },
		.mode = mode,
	};

	return ioctl(uffd, UFFDIO_REGISTER, &reg) ? -errno : 0;
}

int thp_uffd_watch(void *addr, size_t len, uint64_t features, uint64_t mode, struct thp_why *why)
{
	int fd = thp_uffd_open(features), ret;

	if (fd < 0)
		return thp_why(why, fd, "userfaultfd: %s", thp_errno_name(fd));
	ret = thp_uffd_register(fd, addr, len, mode);
	if (!ret)
		return fd;
	close(fd);
	return thp_why(why, ret, "UFFDIO_REGISTER: %s", thp_errno_name(ret));
}

int thp_uffd_unregister(int uffd, void *addr, size_t len)
{
	struct uffdio_range range = { .start = (uintptr_t)addr, .len = len };

	return ioctl(uffd, UFFDIO_UNREGISTER, &range) ? -errno : 0;
}

int thp_uffd_wp(int uffd, void *addr, size_t len, int protect)
{
	struct uffdio_writeprotect wp = {
		.range = { .start = (uintptr_t)addr, .len = len },
		.mode = protect ? UFFDIO_WRITEPROTECT_MODE_WP : 0,
	};

	return ioctl(uffd, UFFDIO_WRITEPROTECT, &wp) ? -errno : 0;
}

int thp_uffd_rwp(int uffd, void *addr, size_t len, int protect)
{
	struct uffdio_rwprotect rwp = {
		.range = { .start = (uintptr_t)addr, .len = len },
		.mode = protect ? UFFDIO_RWPROTECT_MODE_RWP : 0,
	};

	return ioctl(uffd, UFFDIO_RWPROTECT, &rwp) ? -errno : 0;
}

int thp_uffd_move(int uffd, void *dst, void *src, size_t len, long long *moved)
{
	struct uffdio_move mv = {
		.dst = (uintptr_t)dst,
		.src = (uintptr_t)src,
		.len = len,
	};
	int ret = ioctl(uffd, UFFDIO_MOVE, &mv) ? -errno : 0;

	if (moved)
		*moved = mv.move;
	return ret;
}

int thp_uffd_scan(int pagemap, const void *addr, size_t len, struct pm_scan_arg *arg)
{
	int regions;

	arg->size = sizeof(*arg);
	arg->flags = PM_SCAN_WP_MATCHING | PM_SCAN_CHECK_WPASYNC;
	arg->start = (uintptr_t)addr;
	arg->end = (uintptr_t)addr + len;
	arg->category_mask = PAGE_IS_WRITTEN;
	arg->return_mask = PAGE_IS_WRITTEN;
	regions = ioctl(pagemap, PAGEMAP_SCAN, arg);
	return regions < 0 ? -errno : regions;
}

int thp_uffd_copy(int uffd, void *dst, const void *src, size_t len)
{
	struct uffdio_copy cp = {
		.dst = (uintptr_t)dst,
		.src = (uintptr_t)src,
		.len = len,
	};

	return ioctl(uffd, UFFDIO_COPY, &cp) ? -errno : 0;
}
