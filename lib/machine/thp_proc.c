// SPDX-License-Identifier: GPL-2.0
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "thp_file.h"
#include "thp_proc.h"

bool thp_proc_read(pid_t pid, struct thp_proc *p)
{
	char path[64], text[512], *end, *name;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	if (thp_read_file(path, text, sizeof(text)) <= 0)
		return false;
	/* The name may contain blanks and parentheses. */
	name = strchr(text, '(');
	end = strrchr(text, ')');
	if (!name || !end ||
	    sscanf(end + 1, " %c %d %d", &p->state, &p->parent, &p->group) != 3)
		return false;
	p->pid = pid;
	snprintf(p->comm, sizeof(p->comm), "%.*s", (int)(end - name - 1), name + 1);
	return true;
}

bool thp_proc_lives(const struct thp_proc *p)
{
	return p->state != 'Z' && p->state != 'X';
}

bool thp_proc_find(bool (*is)(const struct thp_proc *p, const void *arg), const void *arg,
		   struct thp_proc *p)
{
	struct dirent *ent;
	bool found = false;
	DIR *dir;

	dir = opendir("/proc");
	while (dir && !found && (ent = readdir(dir))) {
		pid_t pid = strtol(ent->d_name, NULL, 10);

		found = pid > 0 && thp_proc_read(pid, p) && is(p, arg);
	}
	if (dir)
		closedir(dir);
	return found;
}

/* Kernel threads are children of process 2, kthreadd. */
static bool is_kthread(const struct thp_proc *p, const void *name)
{
	return p->parent == 2 && !strcmp(p->comm, name);
}

pid_t thp_proc_kthread(const char *name)
{
	struct thp_proc p;

	return thp_proc_find(is_kthread, name, &p) ? p.pid : 0;
}
