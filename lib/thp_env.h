/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Facts about the machine, found once before any test: sizes, privileges,
 * features, and which contract (eager or lazy) the kernel is held to.
 */
#ifndef THP_ENV_H
#define THP_ENV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "thp_file.h"

#define THP_SYSFS "/sys/kernel/mm/transparent_hugepage/"

enum thp_mode {
	THP_EAGER,	/* a table is deposited when a PMD is mapped */
	THP_LAZY,	/* a table is allocated when a PMD is split */
	THP_AUTO,	/* only as a request */
};

const char *thp_mode_name(enum thp_mode mode);

/* 0, or -EINVAL if @text names no mode. */
int thp_mode_parse(const char *text, enum thp_mode *mode);

/* What a test needs beyond an anonymous THP; the reasons are constant strings. */
enum thp_need {
	THP_NEED_ROOT		= 1 << 0,
	THP_NEED_ZERO		= 1 << 1,	/* huge zero PMDs */
	THP_NEED_SHMEM		= 1 << 2,	/* PMD-mapped shmem */
	THP_NEED_UFFD		= 1 << 3,	/* userfaultfd(2) */
	THP_NEED_UFFD_WP	= 1 << 4,	/* write protection of anon memory */
	THP_NEED_UFFD_ASYNC	= 1 << 5,	/* UFFD_FEATURE_WP_ASYNC, 6.7 */
	THP_NEED_UFFD_MOVE	= 1 << 6,	/* UFFDIO_MOVE, 6.8 */
	THP_NEED_SCAN		= 1 << 7,	/* PAGEMAP_SCAN, 6.7 */
	THP_NEED_COLLAPSE	= 1 << 8,	/* MADV_COLLAPSE, 6.1 */
	THP_NEED_GUARD		= 1 << 9,	/* MADV_GUARD_INSTALL, 6.13 */
	THP_NEED_SWAP		= 1 << 10,	/* an active swap device with room */
	THP_NEED_NODES		= 1 << 11,	/* two NUMA nodes with memory */
	THP_NEED_NUMA		= 1 << 12,	/* CONFIG_NUMA: mbind(2) */
	THP_NEED_KSM		= 1 << 13,	/* /sys/kernel/mm/ksm, writable */
	THP_NEED_DEBUGFS	= 1 << 14,	/* split_huge_pages in debugfs */
	THP_NEED_MEMCG		= 1 << 15,	/* a memory controller, writable */
	THP_NEED_FAIL_PAGE	= 1 << 16,	/* fail_page_alloc + stacktrace filter */
	THP_NEED_FAIL_NTH	= 1 << 17,	/* /proc/self/fail-nth */
	THP_NEED_MSEAL		= 1 << 18,	/* mseal(2), 6.10 */
	THP_NEED_ANON_NAME	= 1 << 19,	/* PR_SET_VMA_ANON_NAME */
	THP_NEED_MEMFAIL	= 1 << 20,	/* MADV_SOFT_OFFLINE */
	THP_NEED_URING		= 1 << 21,	/* io_uring fixed buffers */
	THP_NEED_POPULATE	= 1 << 22,	/* MADV_POPULATE_WRITE, 5.14 */
	THP_NEED_DONTNEED_LOCKED = 1 << 23,	/* 5.18 */
	THP_NEED_GUP_TEST	= 1 << 24,	/* CONFIG_GUP_TEST */
	THP_NEED_MOVE_PAGES	= 1 << 25,	/* CONFIG_MIGRATION */
	THP_NEED_LIMIT		= 1 << 26,	/* RLIMIT_MEMLOCK of at least 3 PMDs */
	THP_NEED_HOME_NODE	= 1 << 27,	/* set_mempolicy_home_node(2), 5.17 */
	THP_NEED_HMM		= 1 << 28,	/* CONFIG_TEST_HMM, 5.19 */
	THP_NEED_HMM_HUGE	= 1 << 29,	/* the same with THPs, 6.19 */
	THP_NEED_UFFD_RWP	= 1 << 30,	/* UFFDIO_RWPROTECT, 7.3 */
	THP_NEED_STATS		= 1U << 31,	/* exact PageTables: vm.stat_refresh */
};

struct thp_env {
	size_t page;		/* base page, bytes */
	size_t pmd;		/* PMD size, bytes */
	size_t nr;		/* base pages per PMD */
	size_t table;		/* what one PTE table adds to VmPTE, bytes */
	unsigned int unit;	/* THPs whose tables together make whole kB */
	enum thp_mode requested;
	enum thp_mode measured;	/* tables at the first THP fault: 0 or 1 */
	enum thp_mode contract;	/* what the tests hold the kernel to */
	const char *decided_by;
	unsigned int have;	/* enum thp_need, what this machine offers */
	int memcg;		/* 1, 2: version of the memory controller; 0: none */
	char memcg_root[128];	/* mount point of that controller */
	char debugfs[128];	/* mount point of debugfs, "" if none */
	char mmu[16];		/* "Radix", "Hash" on powerpc, else "" */
	bool root;
	unsigned int release;	/* of the kernel: THP_RELEASE(major, minor) */
	unsigned int scale;	/* multiplies loops of the stress tests, >= 1 */
};

/* struct thp_env.release of a version, for what no interface tells. */
#define THP_RELEASE(major, minor) ((major) << 16 | (minor))

/* One per process, set up by thp_env_init() and inherited by every fork. */
extern struct thp_env thp_env;

/*
 * Fills thp_env. 0; -ENOTSUP: no test can run here, @why says what is missing
 * (the program should SKIP); any other -errno is a failure of the probe.
 * Changes no setting; call it after thp_settings_prepare().
 */
int thp_env_init(enum thp_mode request, unsigned int scale, struct thp_why *why);

/* Finds debugfs and the memory controller; part of thp_env_init(). */
void thp_env_find_mounts(void);

/* The constant reason why @needs are not met, or NULL if they are. */
const char *thp_env_missing(unsigned int needs);

/*
 * A write to a huge zero PMD splits it. Linux 6.13 replaces it by a THP, in
 * do_huge_zero_wp_pmd(), as every lazy kernel has to.
 */
bool thp_env_zero_write_splits(void);

/*
 * mremap(2) moves a whole PTE table by changing its PMD entry; elsewhere it
 * moves the PTEs and needs a table for them. arch_supports_page_table_move(),
 * which is HAVE_MOVE_PMD, and on powerpc the radix MMU.
 */
bool thp_env_moves_tables(void);

/* True if @bytes can be used without endangering the machine. */
bool thp_env_room(size_t bytes);

/* PTE tables in a VmPTE difference; false if it is not a whole number of them. */
bool thp_env_tables(long long bytes, long *tables);

/* Prints the facts as "# key: value" lines on stdout. */
void thp_env_print(void);

#endif /* THP_ENV_H */
