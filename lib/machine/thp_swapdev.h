/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A swap area of the suite's own, for tests that call swapoff(): a second zram device, with
 * a higher priority than any other area, so that all that is swapped out goes there.
 */
#ifndef THP_SWAPDEV_H
#define THP_SWAPDEV_H

struct thp_why;

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
