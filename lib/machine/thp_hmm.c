// SPDX-License-Identifier: GPL-2.0
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "thp_access.h"
#include "thp_env.h"
#include "thp_hmm.h"
#include "thp_obs.h"
#include "thp_uapi.h"

#define HMM_DEVICE "/dev/hmm_dmirror0"

static struct {
	pid_t owner;	/* the device mirrors its memory */
	int fd;
	char *buffer;
} hmm;

int thp_hmm_open(struct thp_why *why)
{
	size_t off;

	if (hmm.owner == getpid())
		return 0;
	/*
	 * Inherited by fork(): the fd belongs to another process, the buffer is copied on
	 * write.
	 */
	if (hmm.owner) {
		close(hmm.fd);
		munmap(hmm.buffer, thp_env.pmd);
		hmm.owner = 0;
	}
	hmm.fd = open(HMM_DEVICE, O_RDWR | O_CLOEXEC);
	if (hmm.fd < 0)
		return thp_why(why, -errno, "%s: %s", HMM_DEVICE, strerror(errno));
	hmm.buffer = mmap(NULL, thp_env.pmd, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (hmm.buffer == MAP_FAILED) {
		int ret = -errno;

		close(hmm.fd);
		return thp_why(why, ret, "mmap: %s", thp_errno_name(ret));
	}
	/* The driver must not fault the buffer in while allocations fail. */
	madvise(hmm.buffer, thp_env.pmd, MADV_NOHUGEPAGE);
	for (off = 0; off < thp_env.pmd; off += thp_env.page)
		hmm.buffer[off] = 0;
	hmm.owner = getpid();
	return 0;
}

static int call(unsigned long request, void *addr, size_t pages, struct thp_hmm_cmd *cmd)
{
	memset(cmd, 0, sizeof(*cmd));
	if (hmm.owner != getpid())
		return -EBADF;
	cmd->addr = (uintptr_t)addr;
	cmd->ptr = (uintptr_t)hmm.buffer;
	cmd->npages = pages;
	return ioctl(hmm.fd, request, cmd) ? -errno : 0;
}

int thp_hmm_to_device(void *addr, size_t len)
{
	struct thp_hmm_cmd cmd;

	return call(THP_HMM_TO_DEVICE, addr, len / thp_env.page, &cmd);
}

int thp_hmm_to_system(void *addr, size_t len)
{
	struct thp_hmm_cmd cmd;
	int ret;

	ret = call(THP_HMM_TO_SYSTEM, addr, len / thp_env.page, &cmd);
	if (ret)
		return ret;
	/* A THP that returns as a whole counts as one page. */
	return cmd.cpages ? 0 : -ENOENT;
}

int thp_hmm_no_huge(void)
{
	struct thp_hmm_cmd cmd;

	/* The driver reads the flag from the field that holds the number of pages elsewhere. */
	return call(THP_HMM_FLAGS, NULL, THP_HMM_FLAG_NO_HUGE, &cmd);
}

int thp_hmm_exclusive(void *addr, size_t len)
{
	struct thp_hmm_cmd cmd;

	return call(THP_HMM_EXCLUSIVE, addr, len / thp_env.page, &cmd);
}

int thp_hmm_check_exclusive(void *addr, size_t len)
{
	struct thp_hmm_cmd cmd;

	return call(THP_HMM_CHECK_EXCLUSIVE, addr, len / thp_env.page, &cmd);
}

const void *thp_hmm_buffer(void)
{
	return hmm.buffer;
}

bool thp_hmm_holds(const void *addr)
{
	uint64_t entry;

	return !thp_obs_pagemap(addr, &entry, 1) && (entry & THP_PM_SWAPPED);
}

/* A base page, there and back, and exclusive; 0 if all of it is as expected. */
static int probe_basic(char *page)
{
	thp_touch(page);
	if (thp_hmm_to_device(page, thp_env.page) || !thp_hmm_holds(page))
		return -ENODEV;
	if (thp_peek(hmm.buffer) != 1 || thp_peek(page) != 1 || thp_hmm_holds(page))
		return -ENODEV;
	if (thp_hmm_exclusive(page, thp_env.page) ||
	    thp_hmm_check_exclusive(page, thp_env.page) != -EPERM)
		return -ENODEV;
	return thp_peek(page) == 1 ? 0 : -ENODEV;
}

void thp_hmm_probe(bool *basic, bool *huge)
{
	size_t pmd = thp_env.pmd;
	enum thp_state state;
	char *map, *thp;

	*basic = false;
	*huge = false;
	if (thp_hmm_open(NULL))
		return;
	map = mmap(NULL, 2 * pmd, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (map == MAP_FAILED)
		return;
	thp = (char *)(((uintptr_t)map + pmd - 1) & ~(pmd - 1));
	madvise(map, 2 * pmd, MADV_NOHUGEPAGE);
	*basic = !probe_basic(thp);
	madvise(map, 2 * pmd, MADV_DONTNEED);
	madvise(map, 2 * pmd, MADV_HUGEPAGE);
	thp_touch(thp);
	if (*basic && !thp_obs_state(thp, pmd, &state) && state == THP_STATE_PMD &&
	    !thp_hmm_to_device(thp, pmd) && thp_hmm_holds(thp) &&
	    !thp_obs_state(thp, pmd, &state))
		*huge = state == THP_STATE_PMD;
	munmap(map, 2 * pmd);
}
