/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Small files of procfs, sysfs, debugfs and cgroupfs.
 *
 * No stdio and no malloc: a growing heap would add page tables to the very
 * process whose page tables are being counted.
 */
#ifndef THP_FILE_H
#define THP_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "thp_why.h"

#ifndef ARRAY_SIZE
#define ARRAY_SIZE(arr) (sizeof(arr) / sizeof((arr)[0]))
#endif

/* Reads up to @len - 1 bytes and terminates them; bytes read or -errno. */
ssize_t thp_read_file(const char *path, char *buf, size_t len);

/* Writes @text with one write(2), as control files want it; 0 or -errno. */
int thp_write_file(const char *path, const char *text);

/* printf-style thp_write_file(); 0 or -errno. */
int thp_write_fmt(const char *path, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

/* Reads one number, decimal or 0x...; 0 or -errno (-EINVAL: not a number). */
int thp_read_u64(const char *path, uint64_t *val);

/* Finds the line "@key<blank or colon>NUMBER" in @text; 0 or -ENOENT. */
int thp_field_u64(const char *text, const char *key, uint64_t *val);

/* That line of a small file such as /proc/self/status, in its unit (kB); or -errno. */
long long thp_read_field(const char *path, const char *key);

/*
 * A setting: the selected word of a sysfs choice like "always [madvise] never", or the first
 * line of any other file. 0 or -errno.
 */
int thp_read_choice(const char *path, char *buf, size_t len);

bool thp_file_exists(const char *path);

#endif /* THP_FILE_H */
