// SPDX-License-Identifier: GPL-2.0
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/swap.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "thp_env.h"
#include "thp_settings.h"
#include "thp_swapdev.h"

#define ZRAM_CONTROL "/sys/class/zram-control/"

#define BYTES	(64UL << 20)

/* Above the priorities that the kernel chooses, which are negative, and those of people. */
#define PRIORITY (SWAP_FLAG_PREFER | SWAP_FLAG_PRIO_MASK)

/* The header of a swap area, in its first page (union swap_header). */
struct swap_header {
	char boot[1024];
	uint32_t version;
	uint32_t last_page;
	uint32_t nr_badpages;
	char uuid[16];
	char label[16];
};

int thp_swap_areas(struct thp_swap_area areas[THP_SWAP_AREAS])
{
	unsigned long long size, used;
	char text[4096], *p;
	ssize_t len;
	int n = 0;

	len = thp_read_file("/proc/swaps", text, sizeof(text));
	if (len < 0)
		return len;
	for (p = strchr(text, '\n'); p && p[1] && n < THP_SWAP_AREAS; p = strchr(p + 1, '\n')) {
		if (sscanf(p + 1, "%*s %*s %llu %llu", &size, &used) != 2)
			continue;
		areas[n].free_kb = size - used;
		areas[n++].in_memory = !strncmp(p + 1, "/dev/zram", 9) ||
				       !strncmp(p + 1, "/dev/ram", 8);
	}
	return n;
}

static int write_header(const char *path)
{
	static const char magic[] = "SWAPSPACE2";
	struct swap_header *h = calloc(1, thp_env.page);
	int fd, ret = 0;

	if (!h)
		return -ENOMEM;
	h->version = 1;
	h->last_page = BYTES / thp_env.page - 1;
	memcpy((char *)h + thp_env.page - strlen(magic), magic, strlen(magic));
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		ret = -errno;
	else if (write(fd, h, thp_env.page) != (ssize_t)thp_env.page)
		ret = -EIO;
	if (fd >= 0 && close(fd) && !ret)
		ret = -errno;
	free(h);
	return ret;
}

/* Makes the node of the device where nothing else does. */
static int make_node(const struct thp_swapdev *s)
{
	unsigned int major, minor;
	char path[64], text[32];
	ssize_t n;

	if (thp_file_exists(s->path))
		return 0;
	snprintf(path, sizeof(path), "/sys/block/zram%d/dev", s->id);
	n = thp_read_file(path, text, sizeof(text));
	if (n < 0)
		return n;
	if (sscanf(text, "%u:%u", &major, &minor) != 2)
		return -EINVAL;
	return mknod(s->path, S_IFBLK | 0600, makedev(major, minor)) ? -errno : 0;
}

/* The new device, with its size; restoring removes it. */
static int add_device(struct thp_swapdev *s, struct thp_why *why)
{
	char id[16], path[64];
	ssize_t n = thp_read_file(ZRAM_CONTROL "hot_add", id, sizeof(id));
	int ret;

	if (n < 0)
		return thp_why(why, n, ZRAM_CONTROL "hot_add: %s", thp_errno_name(n));
	id[strcspn(id, "\n")] = '\0';
	s->id = atoi(id);
	ret = thp_settings_note(ZRAM_CONTROL "hot_remove", id);
	snprintf(path, sizeof(path), "/sys/block/zram%d/disksize", s->id);
	if (!ret)
		ret = thp_write_fmt(path, "%lu", BYTES);
	snprintf(s->path, sizeof(s->path), "/dev/zram%d", s->id);
	if (!ret)
		ret = make_node(s);
	return ret ? thp_why(why, ret, "zram%d: %s", s->id, thp_errno_name(ret)) : 0;
}

int thp_swapdev_again(const struct thp_swapdev *s)
{
	return swapon(s->path, PRIORITY) ? -errno : 0;
}

int thp_swapdev_on(struct thp_swapdev *s, struct thp_why *why)
{
	int ret;

	memset(s, 0, sizeof(*s));
	TRY(add_device(s, why));
	ret = write_header(s->path);
	/* Undone first: a device that is swapped to cannot be removed. */
	if (!ret)
		ret = thp_settings_note(s->path, THP_SETTINGS_SWAPOFF);
	if (!ret)
		ret = thp_swapdev_again(s);
	return ret ? thp_why(why, ret, "swapon of %s: %s", s->path, thp_errno_name(ret)) : 0;
}

int thp_swapdev_off(const struct thp_swapdev *s)
{
	return swapoff(s->path) ? -errno : 0;
}
