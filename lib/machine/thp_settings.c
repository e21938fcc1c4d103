// SPDX-License-Identifier: GPL-2.0
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/swap.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "thp_cgroup.h"
#include "thp_env.h"
#include "thp_settings.h"

#define LOCK_WAIT_SEC 30
#define LOCK_WAIT_MAX 3600

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

/* Seconds to wait for another run; -EINVAL if $THP_LAZY_LOCK_WAIT is none. */
static int lock_wait(struct thp_why *why)
{
	const char *text = getenv("THP_LAZY_LOCK_WAIT");
	unsigned long sec;
	char *end;

	if (!text)
		return LOCK_WAIT_SEC;
	sec = strtoul(text, &end, 10);
	if (*text < '0' || *text > '9' || *end || sec > LOCK_WAIT_MAX)
		return thp_why(why, -EINVAL,
			       "THP_LAZY_LOCK_WAIT is '%s': must be seconds, 0 to %d",
			       text, LOCK_WAIT_MAX);
	return sec;
}

/*
 * Whether process @pid holds the lock of the state file @st: every waiting process has the
 * file open as well, but only the holder's fdinfo has a "lock:" line.
 */
static bool holds_lock(const char *pid, const struct stat *st)
{
	char path[64], text[1024];
	struct dirent *ent;
	bool holds = false;
	struct stat other;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%.16s/fd", pid);
	dir = opendir(path);
	if (!dir)
		return false;
	while (!holds && (ent = readdir(dir))) {
		snprintf(path, sizeof(path), "/proc/%.16s/fd/%.16s", pid, ent->d_name);
		if (stat(path, &other) || other.st_ino != st->st_ino ||
		    other.st_dev != st->st_dev)
			continue;
		snprintf(path, sizeof(path), "/proc/%.16s/fdinfo/%.16s", pid, ent->d_name);
		holds = thp_read_file(path, text, sizeof(text)) > 0 && strstr(text, "\nlock:");
	}
	closedir(dir);
	return holds;
}

/*
 * Names the process that holds the lock: the one found first. Children inherit the lock and
 * may outlive the guardian, whose PID comes before theirs.
 */
static int name_holder(struct thp_why *why)
{
	char path[64], comm[64] = "";
	struct dirent *ent = NULL;
	struct stat st;
	DIR *dir;
	int ret;

	dir = fstat(state_fd, &st) ? NULL : opendir("/proc");
	while (dir && (ent = readdir(dir))) {
		if (ent->d_name[0] < '1' || ent->d_name[0] > '9' ||
		    !holds_lock(ent->d_name, &st))
			continue;
		snprintf(path, sizeof(path), "/proc/%.16s/comm", ent->d_name);
		if (thp_read_file(path, comm, sizeof(comm)) > 0)
			comm[strcspn(comm, "\n")] = '\0';
		break;
	}
	if (ent)
		ret = thp_why(why, -EBUSY, "%s is locked by process %s (%s)", state_path,
			      ent->d_name, comm);
	else
		ret = thp_why(why, -EBUSY,
			      "%s is locked by a process that cannot be seen from here",
			      state_path);
	if (dir)
		closedir(dir);
	return ret;
}

static int take_lock(struct thp_why *why)
{
	const struct timespec tick = { .tv_nsec = 100000000 };
	int sec = lock_wait(why), i;

	if (sec < 0)
		return sec;
	for (i = 0; flock(state_fd, LOCK_EX | LOCK_NB); i++) {
		if (errno != EWOULDBLOCK && errno != EINTR)
			return thp_why(why, -errno, "%s: flock: %s", state_path,
				       strerror(errno));
		if (i >= sec * 10)
			return name_holder(why);
		nanosleep(&tick, NULL);
	}
	return 0;
}

int thp_settings_open(struct thp_why *why)
{
	int i, ret;

	if (!thp_env_owns_root())
		return 0;
	for (i = 0; i < (int)ARRAY_SIZE(state_paths) && state_fd < 0; i++) {
		state_path = state_paths[i];
		state_fd = open(state_path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	}
	if (state_fd < 0)
		return thp_why(why, -errno, "%s: %s", state_path, strerror(errno));
	ret = take_lock(why);
	if (ret) {
		close(state_fd);
		state_fd = -1;
		return ret;
	}
	/* Removes groups first: a starved process could hold what is to be restored. */
	thp_cg_sweep();
	ret = thp_settings_restore(0, why);
	/* A value that cannot be restored must not block every later run. */
	return ret == -ENOENT ? 0 : ret;
}

int thp_settings_note(const char *path, const char *undo)
{
	char line[512];
	off_t end;
	int n;

	if (state_fd < 0)
		return thp_note(-EPERM, "%s is for root to change", path);
	n = snprintf(line, sizeof(line), "%s\t%s\n", path, undo);
	if (n < 0 || (size_t)n >= sizeof(line))
		return -ENAMETOOLONG;
	end = lseek(state_fd, 0, SEEK_END);
	if (end < 0)
		return -EIO;
	if (write(state_fd, line, n) != n) {
		/* Half a line would corrupt the next one. */
		(void)ftruncate(state_fd, end);
		return -EIO;
	}
	return 0;
}

/* The errors of files that a container, a read-only mount or a missing capability protects. */
static int forbidden(const char *path, int ret)
{
	if (ret == -EROFS || ret == -EACCES || ret == -EPERM)
		return thp_skip(thp_note_anew(-ENOTSUP), THP_SETTINGS_FORBIDDEN, "%s (%s)", path,
				thp_errno_name(ret));
	return ret;
}

int thp_settings_set_undo(const char *path, const char *value, const char *undo)
{
	off_t end = state_fd < 0 ? -1 : lseek(state_fd, 0, SEEK_END);
	int ret = thp_settings_note(path, undo);

	if (ret)
		return forbidden(path, ret);
	ret = thp_write_file(path, value);
	/* The file was not changed, so drop its line; the lock keeps others from appending. */
	if (ret && end >= 0 && ftruncate(state_fd, end))
		return -EIO;
	return forbidden(path, ret);
}

int thp_settings_set(const char *path, const char *value)
{
	char old[256];
	int ret;

	ret = thp_read_choice(path, old, sizeof(old));
	if (ret)
		return forbidden(path, ret);
	return strcmp(old, value) ? thp_settings_set_undo(path, value, old) : 0;
}

void thp_settings_close(void)
{
	if (state_fd >= 0)
		close(state_fd);
	state_fd = -1;
}

long thp_settings_mark(void)
{
	return state_fd < 0 ? 0 : lseek(state_fd, 0, SEEK_END);
}

/* The last user of the device may not have closed it yet. */
static int unload(const char *module)
{
	const struct timespec tick = { .tv_nsec = 10000000 };
	int i;

	for (i = 0; syscall(__NR_delete_module, module, O_NONBLOCK); i++) {
		if (errno == ENOENT || errno == ENOSYS)
			return 0;
		if ((errno != EWOULDBLOCK && errno != EBUSY) || i == 200)
			return -errno;
		nanosleep(&tick, NULL);
	}
	return 0;
}

/* Undoes one line of the state file, "path<TAB>old value"; 0 or -errno. */
static int restore_line(char *line, struct thp_why *why)
{
	char *tab = strchr(line, '\t');
	int ret;

	if (line[0] != '/' || !tab)
		return thp_why(why, -EBADMSG, "%s: '%.40s' is no path, tab and value",
			       state_path, line);
	*tab = '\0';
	if (!strncmp(line, THP_SETTINGS_MODULE, strlen(THP_SETTINGS_MODULE)) &&
	    !strcmp(tab + 1, THP_SETTINGS_UNLOAD))
		ret = unload(line + strlen(THP_SETTINGS_MODULE));
	else if (!strcmp(tab + 1, THP_SETTINGS_SWAPOFF))
		/* EINVAL: a test has done so. */
		ret = swapoff(line) && errno != EINVAL && errno != ENOENT ? -errno : 0;
	else
		ret = thp_write_file(line, tab + 1);
	if (ret)
		return thp_why(why, ret, "cannot restore %s to '%s': %s", line, tab + 1,
			       thp_errno_name(ret));
	return 0;
}

int thp_settings_restore(long mark, struct thp_why *why)
{
	static char text[65536];
	int first = 0, ret;
	char *line;
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
		ret = restore_line(line, first ? NULL : why);
		if (!first)
			first = ret;
	}
	if (ftruncate(state_fd, mark))
		return thp_why(why, -errno, "%s: %s", state_path, strerror(errno));
	return first;
}
