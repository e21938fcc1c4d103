/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Swap areas: those that there are, and one of the suite's own for tests that call
 * swapoff(): a second zram device, with a higher priority than any other area, so that all
 * that is swapped out goes there.
 */
#ifndef THP_SWAPDEV_H
#define THP_SWAPDEV_H

#include <stdbool.h>

struct thp_why;

struct thp_swap_area {
	unsigned long long free_kb;
	bool in_memory;		/* zram or a RAM disk */
};

/* As many as there can be (MAX_SWAPFILES), or more. */
#define THP_SWAP_AREAS	32

/* The swap areas of /proc/swaps: their number, or -errno. */
int thp_swap_areas(struct thp_swap_area areas[THP_SWAP_AREAS]);

struct thp_swapdev {
	int id;			/* of /dev/zramN */
	char path[64];		/* of the device; empty: there is none */
};

/*
 * Adds a zram device of 64 MiB and swaps to it; THP_NEED_SWAPDEV says whether one can be
 * had. thp_settings_restore() takes both back, also after a SIGKILL. 0, or -errno with a
 * cause.
 */
int thp_swapdev_on(struct thp_swapdev *s, struct thp_why *why);

/* swapoff(): reads all of it back, in every process. 0 or -errno: it is used as before. */
int thp_swapdev_off(const struct thp_swapdev *s);

/* Swaps to it again after thp_swapdev_off(); 0 or -errno. */
int thp_swapdev_again(const struct thp_swapdev *s);

#endif /* THP_SWAPDEV_H */
