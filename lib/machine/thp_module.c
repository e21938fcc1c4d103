// SPDX-License-Identifier: GPL-2.0
#include <fcntl.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "thp_env.h"
#include "thp_fatal.h"
#include "thp_module.h"
#include "thp_settings.h"

static const struct {
	const char *name;
	const char *proof;	/* exists if it is built in */
} modules[] = {
	{ "test_hmm", "/dev/hmm_dmirror0" },
	{ "hwpoison_inject", NULL },
};

/* Runs modprobe without output: a missing module, or no modprobe, is not an error. */
static bool load(const char *name)
{
	pid_t pid = fork();
	int status, fd;

	if (!pid) {
		fd = open("/dev/null", O_RDWR);
		if (fd >= 0) {
			dup2(fd, STDIN_FILENO);
			dup2(fd, STDOUT_FILENO);
			dup2(fd, STDERR_FILENO);
		}
		execlp("modprobe", "modprobe", "-q", name, NULL);
		execl("/sbin/modprobe", "modprobe", "-q", name, NULL);
		_exit(127);
	}
	return pid > 0 && waitpid(pid, &status, 0) == pid && !status;
}

void thp_module_load(void)
{
	char path[64];
	size_t i;
	long mark;

	if (!thp_env_owns_root() || !thp_file_exists("/proc/modules") || thp_fatal(THP_ACT_LOAD))
		return;
	for (i = 0; i < ARRAY_SIZE(modules); i++) {
		snprintf(path, sizeof(path), THP_SETTINGS_MODULE "%s", modules[i].name);
		if (thp_file_exists(path) ||
		    (modules[i].proof && thp_file_exists(modules[i].proof)))
			continue;
		/* Notes it before loading: a SIGKILL may come at any time. */
		mark = thp_settings_mark();
		if (thp_settings_note(path, THP_SETTINGS_UNLOAD))
			return;
		/* modprobe also succeeds for a driver that is built in. */
		if (!load(modules[i].name) || !thp_file_exists(path))
			(void)thp_settings_restore(mark, NULL);
		else
			printf("# loaded the kernel module %s, until the end of this run\n",
			       modules[i].name);
	}
	fflush(stdout);
}
