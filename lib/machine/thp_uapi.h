/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Kernel interfaces newer than the C library and kernel headers that a test
 * machine may build with. Whether the running kernel has them is asked at run
 * time; these are the numbers of the stable ABI.
 */
#ifndef THP_UAPI_H
#define THP_UAPI_H

#include <linux/fs.h>
#include <linux/types.h>
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#ifndef MADV_COLD
#define MADV_COLD		20
#endif
#ifndef MADV_PAGEOUT
#define MADV_PAGEOUT		21
#endif
#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ	22
#endif
#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE	23
#endif
#ifndef MADV_DONTNEED_LOCKED
#define MADV_DONTNEED_LOCKED	24
#endif
#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE		25
#endif
#ifndef MADV_SOFT_OFFLINE
#define MADV_SOFT_OFFLINE	101
#endif
#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL	102
#endif
#ifndef MADV_GUARD_REMOVE
#define MADV_GUARD_REMOVE	103
#endif
#ifndef MREMAP_DONTUNMAP
#define MREMAP_DONTUNMAP	4
#endif
#ifndef PR_SET_VMA
#define PR_SET_VMA		0x53564d41
#endif
#ifndef PR_SET_VMA_ANON_NAME
#define PR_SET_VMA_ANON_NAME	0
#endif
#ifndef PR_SET_MDWE
#define PR_SET_MDWE		65
#define PR_MDWE_REFUSE_EXEC_GAIN 1
#endif

#ifndef __NR_mseal
#define __NR_mseal		462
#endif
#ifndef __NR_set_mempolicy_home_node
#define __NR_set_mempolicy_home_node	450
#endif
#ifndef __NR_process_mrelease
#define __NR_process_mrelease	448
#endif

#ifndef PAGEMAP_SCAN
#define PAGE_IS_WPALLOWED	(1 << 0)
#define PAGE_IS_WRITTEN		(1 << 1)
#define PAGE_IS_FILE		(1 << 2)
#define PAGE_IS_PRESENT		(1 << 3)
#define PAGE_IS_SWAPPED		(1 << 4)
#define PAGE_IS_PFNZERO		(1 << 5)
#define PAGE_IS_HUGE		(1 << 6)
#define PAGE_IS_SOFT_DIRTY	(1 << 7)

#define PM_SCAN_WP_MATCHING	(1 << 0)
#define PM_SCAN_CHECK_WPASYNC	(1 << 1)

struct page_region {
	__u64 start;
	__u64 end;
	__u64 categories;
};

struct pm_scan_arg {
	__u64 size;
	__u64 flags;
	__u64 start;
	__u64 end;
	__u64 walk_end;
	__u64 vec;
	__u64 vec_len;
	__u64 max_pages;
	__u64 category_inverted;
	__u64 category_mask;
	__u64 category_anyof_mask;
	__u64 return_mask;
};

#define PAGEMAP_SCAN		_IOWR('f', 16, struct pm_scan_arg)
#endif

#ifndef UFFD_USER_MODE_ONLY
#define UFFD_USER_MODE_ONLY	1
#endif
#ifndef UFFD_FEATURE_WP_UNPOPULATED
#define UFFD_FEATURE_WP_UNPOPULATED	(1 << 13)
#endif
#ifndef UFFD_FEATURE_WP_ASYNC
#define UFFD_FEATURE_WP_ASYNC		(1 << 15)
#endif
#ifndef UFFD_FEATURE_MOVE
#define UFFD_FEATURE_MOVE		(1 << 16)
#endif
#ifndef UFFDIO_MOVE
struct uffdio_move {
	__u64 dst;
	__u64 src;
	__u64 len;
	__u64 mode;
	__s64 move;
};

#define UFFDIO_MOVE		_IOWR(UFFDIO, 0x05, struct uffdio_move)
#endif

#ifndef UFFD_FEATURE_RWP
#define UFFD_FEATURE_RWP		(1 << 17)
#define UFFD_FEATURE_RWP_ASYNC		(1 << 18)
#define UFFDIO_REGISTER_MODE_RWP	((__u64)1 << 3)
#define UFFDIO_RWPROTECT_MODE_RWP	((__u64)1 << 0)

struct uffdio_rwprotect {
	struct uffdio_range range;
	__u64 mode;
};

#define UFFDIO_RWPROTECT	_IOWR(UFFDIO, 0x09, struct uffdio_rwprotect)
#endif

/* The test driver of device memory (CONFIG_TEST_HMM) has no installed header. */
struct thp_hmm_cmd {
	__u64 addr;		/* of the range */
	__u64 ptr;		/* where its contents are copied to */
	__u64 npages;		/* of the range */
	__u64 cpages;		/* result: pages done */
	__u64 faults;		/* result */
};

#define THP_HMM_TO_DEVICE	_IOWR('H', 0x02, struct thp_hmm_cmd)
#define THP_HMM_TO_SYSTEM	_IOWR('H', 0x03, struct thp_hmm_cmd)
#define THP_HMM_EXCLUSIVE	_IOWR('H', 0x05, struct thp_hmm_cmd)
#define THP_HMM_CHECK_EXCLUSIVE	_IOWR('H', 0x06, struct thp_hmm_cmd)
#define THP_HMM_FLAGS		_IOWR('H', 0x08, struct thp_hmm_cmd)
#define THP_HMM_FLAG_NO_HUGE	(1 << 0)

/* The test driver of GUP (CONFIG_GUP_TEST): long-term pins. */
struct thp_gup_pin {
	__u64 addr;
	__u64 size;
	__u32 flags;
};

#define THP_GUP_PIN		_IOW('g', 7, struct thp_gup_pin)
#define THP_GUP_UNPIN		_IO('g', 8)
#define THP_GUP_READ		_IOW('g', 9, __u64)
#define THP_GUP_FAST		(1 << 1)

#endif /* THP_UAPI_H */
