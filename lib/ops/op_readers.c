// SPDX-License-Identifier: GPL-2.0
/* Operations that only read a PMD mapping must not split it. */
#include <fcntl.h>
#include <sys/uio.h>

#include "split_row.h"

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
	long n = thp_obs_pages(addr, len, THP_PM_POPULATED);

	(void)m;
	return n < 0 ? n : 0;
}

static const struct split_op reader_ops[] = {
	{
		/*
		 * open() is part of the readers here: procfs says ENOENT where it gets
		 * no inode (proc_pident_instantiate(), proc_pid_instantiate()).
		 */
		NAMED("read_smaps", AT_WHOLE), .covers = "walk-readers", .run = run_smaps,
		.starved = FAILS, .errnos = { ENOMEM, ENOENT }, .keeps = ALL_PMD,
	}, {
		NAMED("read_numa_maps", AT_WHOLE), .covers = "walk-readers", .run = run_numa_maps,
		.starved = FAILS, .errnos = { ENOMEM, ENOENT }, .needs = THP_NEED_NUMA,
		.keeps = ANON_ZERO_SWAP,
	}, {
		NAMED("read_pagemap", AT_WHOLE), .covers = "walk-readers", .run = run_pagemap,
		.starved = FAILS, .errnos = { ENOMEM, ENOENT }, .keeps = ALL_PMD,
	},
};

SPLIT_OPS(reader_ops);

static int run_clear_refs(struct thp_map *m, char *addr, size_t len)
{
	int ret = thp_write_file("/proc/self/clear_refs", "1");

	(void)m;
	(void)addr;
	(void)len;
	return ret ? ret : thp_write_file("/proc/self/clear_refs", "4");
}

/* clear_refs has done its work: no page is referenced any more. */
static int verify_cleared(struct thp_map *m, struct thp_why *why)
{
	long kb = split_referenced_kb(m);

	return kb ? thp_why(why, -EPROTO, "Referenced: %ld kB, expected 0 kB", kb) : 0;
}

static const struct split_op clear_refs_ops[] = {
	{
		NAMED("clear_refs", AT_WHOLE), .covers = "walk-readers", .run = run_clear_refs,
		.starved = FAILS, .errnos = { ENOMEM, ENOENT }, .keeps = ANON_ZERO_SWAP,
		.verify = verify_cleared,
	},
};

SPLIT_OPS(clear_refs_ops);

static unsigned char mincore_vec[65536];

static int run_mincore(struct thp_map *m, char *addr, size_t len)
{
	(void)m;
	return len / thp_env.page > sizeof(mincore_vec) ? -E2BIG :
	       RET(mincore(addr, len, mincore_vec));
}

/*
 * Each page is in memory; mincore() treats a page on a device like one in swap. One of the
 * swap cache counts as one in memory.
 */
static int verify_mincore(struct thp_map *m, struct thp_why *why)
{
	size_t i;

	for (i = 0; !(m->kind & (THP_DEVICE | THP_SWAPPED)) && i < thp_env.nr; i++) {
		if (!(mincore_vec[i] & 1))
			return thp_why(why, -EPROTO, "page %zu: mincore says 0, expected 1", i);
		mincore_vec[i] = 0;
	}
	return 0;
}

static const struct split_op mincore_ops[] = {
	{
		NAMED("mincore", AT_WHOLE), .covers = "walk-readers", .run = run_mincore,
		.starved = FAILS, .keeps = ALL_PMD,
		.verify = verify_mincore,
	},
};

SPLIT_OPS(mincore_ops);

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

static const struct split_op gup_read_ops[] = {
	{
		NAMED("gup_read", AT_WHOLE), .covers = "gup-pmd", .run = run_vm_readv,
		.starved = FAILS, .keeps = ALL_HUGE | THP_DEVICE,
		.verify = verify_gup_read,
	},
};

SPLIT_OPS(gup_read_ops);
