// SPDX-License-Identifier: GPL-2.0
#include <fcntl.h>

#include "split_row.h"

int split_madvise(struct thp_map *m, char *addr, size_t len, long advice)
{
	(void)m;
	return RET(madvise(addr, len, advice));
}

int split_store(struct thp_map *m, char *addr, size_t len)
{
	(void)m;
	(void)len;
	__atomic_store_n(addr, SPLIT_BYTE, __ATOMIC_RELAXED);
	return 0;
}

int split_read_pipe(struct thp_map *m, char *addr, size_t len)
{
	(void)len;
	return read(m->pipe[0], addr, 1) == 1 ? 0 : -errno;
}

/* The byte that the kernel is to write. */
int split_fill_pipe(struct thp_map *m, struct thp_why *why)
{
	char byte = SPLIT_BYTE;

	return pipe2(m->pipe, O_CLOEXEC) || write(m->pipe[1], &byte, 1) != 1 ?
		thp_why(why, -errno, "pipe: %s", strerror(errno)) : 0;
}

long split_referenced_kb(struct thp_map *m)
{
	static struct thp_smaps sm;
	int ret = thp_obs_smaps(0, m->area, m->area_len, &sm);

	return ret ? ret : (long)sm.referenced_kb;
}
