/* SPDX-License-Identifier: GPL-2.0 */
/* Processes, as /proc/PID/stat shows them. */
#ifndef THP_PROC_H
#define THP_PROC_H

#include <stdbool.h>
#include <sys/types.h>

struct thp_proc {
	pid_t pid;
	pid_t parent;
	pid_t group;
	char state;		/* "R", "S", "D", "Z", ... */
	char comm[17];		/* its name; those of kernel threads end here */
};

/* Reads @pid; false if it is not there, or cannot be seen. */
bool thp_proc_read(pid_t pid, struct thp_proc *p);

/* Whether a process that was read is neither a zombie nor dead. */
bool thp_proc_lives(const struct thp_proc *p);

/* The first process for which @is, also given @arg, is true, in @p; false if there is none. */
bool thp_proc_find(bool (*is)(const struct thp_proc *p, const void *arg), const void *arg,
		   struct thp_proc *p);

/*
 * The PID of the kernel thread with this name, 15 characters of it at most; 0 if there is
 * none, or if it cannot be seen, as in a container.
 */
pid_t thp_proc_kthread(const char *name);

#endif /* THP_PROC_H */
