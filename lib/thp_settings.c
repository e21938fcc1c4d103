// SPDX-License-Identifier: GPL-2.0
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <time.h>
#include <unistd.h>

#include "thp_cgroup.h"
#include "thp_settings.h"

#define LOCK_WAIT_SEC 30

/*
 * One line per change: "path<TAB>old value". A tmpfs that only root can write,
 * because the next run obeys what it reads here; a minimal system has but /dev.
 */
static const char * const state_paths[] = {
	"/run/thp_lazy_pte.state",
	"/dev/thp_lazy_pte.state",
};

static const char *state_path;
static int state_fd = -1;

int thp_settings_open(struct thp_why *why)
{
	const struct timespec tick = { .tv_nsec = 100000000 };
	int i, ret;

	if (geteuid())
		return 0;
	for (i = 0; i < (int)ARRAY_SIZE(state_paths) && state_fd < 0; i++) {
		state_path = state_paths[i];
		state_fd = open(state_path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	}
	if (state_fd < 0)
		return thp_why(why, -errno, "%s: %s", state_path, strerror(errno));
	for (i = 0; flock(state_fd, LOCK_EX | LOCK_NB); i++) {
		if (i >= LOCK_WAIT_SEC * 10) {
			close(state_fd);
			state_fd = -1;
			return thp_why(why, -EBUSY, "another run of this suite is active");
		}
		nanosleep(&tick, NULL);
	}
	/* Groups first: a starved process could hold what is to be restored. */
	thp_cg_sweep();
	ret = thp_settings_restore(0, why);
	/* A value that cannot be put back must not block every later run. */
	return ret == -ENOENT ? 0 : ret;
}

static int read_setting(const char *path, char *old, size_t len)
{
	char *nl;
	ssize_t n;

	if (!thp_read_choice(path, old, len))
		return 0;
	n = thp_read_file(path, old, len);
	if (n < 0)
		return n;
	nl = strchr(old, '\n');
	if (nl)
		*nl = '\0';
	return 0;
}

int thp_settings_set_undo(const char *path, const char *value, const char *undo)
{
	char line[512];
	int n;

	if (state_fd < 0)
		return -EPERM;
	n = snprintf(line, sizeof(line), "%s\t%s\n", path, undo);
	if (n < 0 || (size_t)n >= sizeof(line))
		return -ENAMETOOLONG;
	if (lseek(state_fd, 0, SEEK_END) < 0 || write(state_fd, line, n) != n)
		return -EIO;
	return thp_write_file(path, value);
}

int thp_settings_set(const char *path, const char *value)
{
	char old[256];
	int ret;

	ret = read_setting(path, old, sizeof(old));
	if (ret)
		return ret;
	return strcmp(old, value) ? thp_settings_set_undo(path, value, old) : 0;
}

long thp_settings_mark(void)
{
	return state_fd < 0 ? 0 : lseek(state_fd, 0, SEEK_END);
}

int thp_settings_restore(long mark, struct thp_why *why)
{
	static char text[65536];
	int first = 0, ret;
	char *line, *tab;
	ssize_t n;

	if (state_fd < 0)
		return 0;
	n = pread(state_fd, text, sizeof(text) - 1, mark);
	if (n < 0)
		return thp_why(why, -errno, "%s: %s", state_path, strerror(errno));
	text[n] = '\0';
	while (n > 0) {
		if (text[n - 1] == '\n')
			text[--n] = '\0';
		line = memrchr(text, '\n', n);
		line = line ? line + 1 : text;
		n = line - text;
		tab = strchr(line, '\t');
		if (!tab)
			continue;
		*tab = '\0';
		ret = thp_write_file(line, tab + 1);
		if (ret && !first)
			first = thp_why(why, ret, "cannot restore %s to '%s': %s", line, tab + 1,
					thp_errno_name(ret));
	}
	if (ftruncate(state_fd, mark))
		return thp_why(why, -errno, "%s: %s", state_path, strerror(errno));
	return first;
}
