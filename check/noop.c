// SPDX-License-Identifier: GPL-2.0
/*
 * noop CALL -- PROGRAM [ARGUMENT...]
 *	Runs a program of the suite for which one system call returns 0 and does nothing.
 *	A test whose subject is this call has to notice.
 * noop -u -- PROGRAM [ARGUMENT...]
 *	Runs it with all calls unchanged, and prints "TEST CALL" for each that a test made
 *	that passed.
 * noop -l
 *	Lists the calls.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "thp_file.h"
#include "thp_uapi.h"

#define ANY	(-1)

static const struct call {
	const char *name;
	int nr;
	int arg;		/* only if this argument, or ANY, ... */
	unsigned int val;	/* ... has this value, in its lower half */
} calls[] = {
	{ "munmap", __NR_munmap, ANY, 0 },
	{ "mprotect", __NR_mprotect, ANY, 0 },
	{ "mremap", __NR_mremap, ANY, 0 },
	{ "mlock", __NR_mlock, ANY, 0 },
	{ "mlock2", __NR_mlock2, ANY, 0 },
	{ "munlock", __NR_munlock, ANY, 0 },
	{ "mbind", __NR_mbind, ANY, 0 },
	{ "move_pages", __NR_move_pages, ANY, 0 },
	{ "migrate_pages", __NR_migrate_pages, ANY, 0 },
	{ "mseal", __NR_mseal, ANY, 0 },
	{ "set_mempolicy_home_node", __NR_set_mempolicy_home_node, ANY, 0 },
	{ "process_mrelease", __NR_process_mrelease, ANY, 0 },
	{ "vmsplice", __NR_vmsplice, ANY, 0 },
	{ "io_uring_register", __NR_io_uring_register, ANY, 0 },
	{ "process_vm_writev", __NR_process_vm_writev, ANY, 0 },
	{ "MADV_DONTNEED", __NR_madvise, 2, MADV_DONTNEED },
	{ "MADV_FREE", __NR_madvise, 2, MADV_FREE },
	{ "MADV_COLD", __NR_madvise, 2, MADV_COLD },
	{ "MADV_PAGEOUT", __NR_madvise, 2, MADV_PAGEOUT },
	{ "MADV_COLLAPSE", __NR_madvise, 2, MADV_COLLAPSE },
	{ "MADV_DONTFORK", __NR_madvise, 2, MADV_DONTFORK },
	{ "MADV_WIPEONFORK", __NR_madvise, 2, MADV_WIPEONFORK },
	{ "MADV_MERGEABLE", __NR_madvise, 2, MADV_MERGEABLE },
	{ "MADV_UNMERGEABLE", __NR_madvise, 2, MADV_UNMERGEABLE },
	{ "MADV_POPULATE_READ", __NR_madvise, 2, MADV_POPULATE_READ },
	{ "MADV_POPULATE_WRITE", __NR_madvise, 2, MADV_POPULATE_WRITE },
	{ "MADV_DONTNEED_LOCKED", __NR_madvise, 2, MADV_DONTNEED_LOCKED },
	{ "MADV_SOFT_OFFLINE", __NR_madvise, 2, MADV_SOFT_OFFLINE },
	{ "MADV_HWPOISON", __NR_madvise, 2, MADV_HWPOISON },
	{ "MADV_GUARD_INSTALL", __NR_madvise, 2, MADV_GUARD_INSTALL },
	{ "MADV_GUARD_REMOVE", __NR_madvise, 2, MADV_GUARD_REMOVE },
	{ "UFFDIO_REGISTER", __NR_ioctl, 1, UFFDIO_REGISTER },
	{ "UFFDIO_UNREGISTER", __NR_ioctl, 1, UFFDIO_UNREGISTER },
	{ "UFFDIO_WRITEPROTECT", __NR_ioctl, 1, UFFDIO_WRITEPROTECT },
	{ "UFFDIO_RWPROTECT", __NR_ioctl, 1, UFFDIO_RWPROTECT },
	{ "UFFDIO_MOVE", __NR_ioctl, 1, UFFDIO_MOVE },
	{ "UFFDIO_COPY", __NR_ioctl, 1, UFFDIO_COPY },
	{ "GUP_PIN", __NR_ioctl, 1, THP_GUP_PIN },
	{ "HMM_TO_DEVICE", __NR_ioctl, 1, THP_HMM_TO_DEVICE },
	{ "HMM_TO_SYSTEM", __NR_ioctl, 1, THP_HMM_TO_SYSTEM },
	{ "HMM_EXCLUSIVE", __NR_ioctl, 1, THP_HMM_EXCLUSIVE },
};

#define CALLS	ARRAY_SIZE(calls)
#define PER_CALL 5

/* The lower half of an argument as a filter loads it. */
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
#define LOW(n)	(offsetof(struct seccomp_data, args) + 8 * (n) + 4)
#else
#define LOW(n)	(offsetof(struct seccomp_data, args) + 8 * (n))
#endif

static struct sock_filter filter[PER_CALL * CALLS + 1];
static unsigned int len;

static void add(const struct call *c, unsigned int action)
{
	struct sock_filter code[PER_CALL] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, c->nr, 0, 3),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, LOW(c->arg == ANY ? 0 : c->arg)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, c->val, 0, c->arg == ANY ? 0 : 1),
		BPF_STMT(BPF_RET | BPF_K, action),
	};

	memcpy(filter + len, code, sizeof(code));
	len += PER_CALL;
}

/* Installs the filter for this process and its children; 0, a descriptor, or -1. */
static int install(unsigned int flags)
{
	struct sock_fprog prog = { .filter = filter };

	filter[len++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
	prog.len = len;
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
		return -1;
	return syscall(__NR_seccomp, SECCOMP_SET_MODE_FILTER, flags, &prog);
}

static int send_fd(int sock, int fd)
{
	char byte = 0, control[CMSG_SPACE(sizeof(int))] = { 0 };
	struct iovec iov = { .iov_base = &byte, .iov_len = 1 };
	struct msghdr msg = {
		.msg_iov = &iov, .msg_iovlen = 1,
		.msg_control = control, .msg_controllen = sizeof(control),
	};
	struct cmsghdr *c = CMSG_FIRSTHDR(&msg);

	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(c), &fd, sizeof(fd));
	return sendmsg(sock, &msg, 0) == 1 ? 0 : -1;
}

static int receive_fd(int sock)
{
	char byte, control[CMSG_SPACE(sizeof(int))];
	struct iovec iov = { .iov_base = &byte, .iov_len = 1 };
	struct msghdr msg = {
		.msg_iov = &iov, .msg_iovlen = 1,
		.msg_control = control, .msg_controllen = sizeof(control),
	};
	struct cmsghdr *c;
	int fd;

	if (recvmsg(sock, &msg, MSG_CMSG_CLOEXEC) != 1)
		return -1;
	c = CMSG_FIRSTHDR(&msg);
	if (!c)
		return -1;
	memcpy(&fd, CMSG_DATA(c), sizeof(fd));
	return fd;
}

/* The running test, according to the output of the harness, and the calls it has made. */
static char test[256];
static bool made[CALLS];

static void end_test(bool passed)
{
	size_t c;

	for (c = 0; c < CALLS; c++)
		if (made[c] && passed)
			printf("%s %s\n", test, calls[c].name);
	memset(made, 0, sizeof(made));
	test[0] = '\0';
}

static void read_line(const char *line)
{
	char name[256];

	if (sscanf(line, "# RUN %255s", name) == 1) {
		end_test(false);
		strcpy(test, name);
	} else if (!strncmp(line, "ok ", 3) || !strncmp(line, "not ok ", 7)) {
		end_test(line[0] == 'o' && !strstr(line, "# SKIP"));
	}
}

/* Reads the output of the program so far; 0 at its end. */
static int read_output(int fd)
{
	static char buf[4096];
	static size_t used;
	ssize_t n = read(fd, buf + used, sizeof(buf) - 1 - used);
	char *line = buf, *nl;

	if (n <= 0)
		return 0;
	used += n;
	buf[used] = '\0';
	for (; (nl = strchr(line, '\n')); line = nl + 1) {
		*nl = '\0';
		read_line(line);
	}
	used -= line - buf;
	memmove(buf, line, used + 1);
	if (used == sizeof(buf) - 1)
		used = 0;
	return 1;
}

/* Lets one call go on, and notes it. */
static void note_call(int fd)
{
	struct seccomp_notif req = { 0 };
	struct seccomp_notif_resp resp = { 0 };
	size_t c;

	if (ioctl(fd, SECCOMP_IOCTL_NOTIF_RECV, &req))
		return;
	for (c = 0; c < CALLS; c++)
		if (calls[c].nr == req.data.nr &&
		    (calls[c].arg == ANY ||
		     (unsigned int)req.data.args[calls[c].arg] == calls[c].val))
			made[c] = true;
	resp.id = req.id;
	resp.flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE;
	(void)ioctl(fd, SECCOMP_IOCTL_NOTIF_SEND, &resp);
}

static int list_users(char **argv)
{
	struct pollfd fds[2] = { { .events = POLLIN }, { .events = POLLIN } };
	int sock[2], out[2], fd, status;
	pid_t pid;
	size_t c;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sock) || pipe2(out, O_CLOEXEC)) {
		perror("noop");
		return 2;
	}
	pid = fork();
	if (!pid) {
		for (c = 0; c < CALLS; c++)
			add(&calls[c], SECCOMP_RET_USER_NOTIF);
		fd = install(SECCOMP_FILTER_FLAG_NEW_LISTENER);
		if (fd < 0 || send_fd(sock[1], fd) || dup2(out[1], 1) != 1) {
			perror("noop: seccomp");
			_exit(2);
		}
		close(fd);
		execv(argv[0], argv);
		_exit(2);
	}
	close(sock[1]);
	close(out[1]);
	fds[0].fd = out[0];
	fds[1].fd = receive_fd(sock[0]);
	while (poll(fds, 2, -1) > 0) {
		/* Output from before the call belongs to the previous test. */
		if (fds[0].revents && !read_output(out[0]))
			break;
		if (!fds[0].revents && fds[1].revents & POLLIN)
			note_call(fds[1].fd);
		else if (fds[1].revents & ~POLLIN)
			fds[1].fd = -1;
	}
	return waitpid(pid, &status, 0) == pid && WIFEXITED(status) ? 0 : 1;
}

int main(int argc, char **argv)
{
	size_t c;

	if (argc == 2 && !strcmp(argv[1], "-l")) {
		for (c = 0; c < CALLS; c++)
			puts(calls[c].name);
		return 0;
	}
	if (argc < 4 || strcmp(argv[2], "--")) {
		fprintf(stderr, "usage: noop -u|CALL -- PROGRAM [ARGUMENT...], noop -l\n");
		return 2;
	}
	if (!strcmp(argv[1], "-u"))
		return list_users(argv + 3);
	for (c = 0; c < CALLS && strcmp(argv[1], calls[c].name); c++)
		;
	if (c == CALLS) {
		fprintf(stderr, "noop: no call '%s'\n", argv[1]);
		return 2;
	}
	add(&calls[c], SECCOMP_RET_ERRNO);
	if (install(0)) {
		perror("noop: seccomp");
		return 2;
	}
	execv(argv[3], argv + 3);
	perror(argv[3]);
	return 2;
}
