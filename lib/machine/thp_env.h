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
#include "thp_needs.h"

#define THP_SYSFS "/sys/kernel/mm/transparent_hugepage/"

enum thp_mode {
	THP_EAGER,	/* a table is deposited when a PMD is mapped */
	THP_LAZY,	/* a table is allocated when a PMD is split */
	THP_AUTO,	/* a request only: the measured one */
};

const char *thp_mode_name(enum thp_mode mode);

/* 0, or -EINVAL if @text names no mode. */
int thp_mode_parse(const char *text, enum thp_mode *mode);

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
	int memcg;		/* 1, 2: version of the memory controller; 0: none */
	char memcg_root[128];	/* mount point of that controller */
	char debugfs[128];	/* mount point of debugfs, "" if none */
	char mmu[16];		/* "Radix", "Hash" on powerpc, else "" */
	bool root;		/* thp_env_owns_root() and CAP_SYS_ADMIN */
	bool was_disabled;	/* by PR_SET_THP_DISABLE, which children inherit */
	bool counts_failures;	/* it has thp_split_pmd_failed */
	unsigned int release;	/* of the kernel: THP_RELEASE(major, minor) */
	unsigned int scale;	/* multiplies loops of the stress tests, >= 1 */
};

/* struct thp_env.release of a version, for features that no interface reports. */
#define THP_RELEASE(major, minor) ((major) << 16 | (minor))

/* One per process, set up by thp_env_init() and inherited by every fork. */
extern struct thp_env thp_env;

/*
 * Fills thp_env. 0; -ENOTSUP: no test can run here, @why says what is missing
 * (the program should SKIP); any other -errno is a failure of the probe.
 * Changes no setting; call it after thp_settings_prepare().
 */
int thp_env_init(enum thp_mode request, unsigned int scale, struct thp_why *why);

/*
 * Takes PR_SET_THP_DISABLE off this process and its future children. They may have
 * inherited it from a service manager or a container; no other process is affected.
 */
void thp_env_allow_thps(void);

/*
 * Whether this process owns root's files: its user ID is 0, and not that of a user
 * namespace, which does not own them. A read-only mount can still forbid writing.
 */
bool thp_env_owns_root(void);

/* Whether @cap of linux/capability.h is effective; false if that cannot be read. */
bool thp_env_may(int cap);

/* Finds debugfs and the memory controller; part of thp_env_init(). */
void thp_env_find_mounts(void);

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
