// SPDX-License-Identifier: GPL-2.0
/* writer: The kernel writes on behalf of a process. */

/* Writes that the kernel does for the owner of the memory or for somebody else. */
struct writer {
	/* Gives page @page of THP @i, mapped by @pid, the contents of @buffer. */
	int (*write)(pid_t pid, unsigned int i, size_t page, struct thp_why *why);
	bool to_child;		/* into the memory of the child, not our own */
	bool prefault;		/* only prefaults the memory: contents stay */
};

/* Sandboxes and kernel.yama.ptrace_scope forbid it. */
#define TRACE_MISSING "needs permission to trace a child"

/* Kernel-mode fault of copy_to_user(). */
static int write_by_read(pid_t pid, unsigned int i, size_t page, struct thp_why *why)
{
	ssize_t n;

	(void)pid;
	if (write(pipe_fd[1], buffer, thp_env.page) != (ssize_t)thp_env.page)
		return thp_why(why, -EIO, "pipe: short write");
	n = read(pipe_fd[0], thp_page(&thp_group.map[i], page), thp_env.page);
	if (n == (ssize_t)thp_env.page)
		return 0;
	return thp_why(why, -EIO, "read(2) into a shared THP: %zd (%s), expected %zu", n,
		       n < 0 ? thp_errno_name(errno) : "short", thp_env.page);
}

static int write_by_populate(pid_t pid, unsigned int i, size_t page, struct thp_why *why)
{
	(void)pid;
	if (!madvise(thp_page(&thp_group.map[i], page), thp_env.page, MADV_POPULATE_WRITE))
		return 0;
	return thp_why(why, -errno, "MADV_POPULATE_WRITE: %s", strerror(errno));
}

static int write_by_proc_mem(pid_t pid, unsigned int i, size_t page, struct thp_why *why)
{
	char path[64];
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/mem", pid);
	fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return thp_why(why, -errno, "%s: %s", path, strerror(errno));
	n = pwrite(fd, buffer, thp_env.page, (uintptr_t)thp_page(&thp_group.map[i], page));
	close(fd);
	if (n == (ssize_t)thp_env.page)
		return 0;
	return thp_why(why, -EIO, "write to %s: %zd, expected %zu", path, n, thp_env.page);
}

static int write_by_vm_writev(pid_t pid, unsigned int i, size_t page, struct thp_why *why)
{
	struct iovec local = { buffer, thp_env.page };
	struct iovec remote = { thp_page(&thp_group.map[i], page), thp_env.page };
	ssize_t n = process_vm_writev(pid, &local, 1, &remote, 1, 0);

	if (n == (ssize_t)thp_env.page)
		return 0;
	if (n < 0 && errno == EPERM)
		return thp_skip(why, TRACE_MISSING);
	return thp_why(why, n < 0 ? -errno : -EIO, "process_vm_writev: %zd (%s), expected %zu", n,
		       n < 0 ? thp_errno_name(errno) : "short", thp_env.page);
}

static int write_by_ptrace(pid_t pid, unsigned int i, size_t page, struct thp_why *why)
{
	char *addr = thp_page(&thp_group.map[i], page);
	int status, ret = 0;
	size_t off;
	long word;

	if (ptrace(PTRACE_SEIZE, pid, NULL, NULL) || ptrace(PTRACE_INTERRUPT, pid, NULL, NULL) ||
	    waitpid(pid, &status, __WALL) != pid || !WIFSTOPPED(status))
		return errno == EPERM ? thp_skip(why, TRACE_MISSING) :
			 thp_why(why, -errno, "ptrace: %s", strerror(errno));
	for (off = 0; off < thp_env.page && !ret; off += sizeof(word)) {
		memcpy(&word, buffer + off, sizeof(word));
		if (ptrace(PTRACE_POKEDATA, pid, addr + off, word))
			ret = thp_why(why, -errno, "PTRACE_POKEDATA: %s", strerror(errno));
	}
	if (ptrace(PTRACE_DETACH, pid, NULL, NULL) && !ret)
		ret = thp_why(why, -errno, "PTRACE_DETACH: %s", strerror(errno));
	return ret;
}

FIXTURE(writer) {
	int unused;
};

struct writer_case {
	enum thp_kind kind;
	struct writer writer;
};

FIXTURE_VARIANT(writer) {
	struct writer_case c;
	uint64_t needs;
};

FIXTURE_VARIANT_ADD(writer, read_anon) {
	.c = { .kind = THP_ANON, .writer = { .write = write_by_read } },
};

FIXTURE_VARIANT_ADD(writer, read_zero) {
	.c = { .kind = THP_ZERO, .writer = { .write = write_by_read } }, .needs = THP_NEED_ZERO,
};

FIXTURE_VARIANT_ADD(writer, populate_anon) {
	.c = { .kind = THP_ANON, .writer = { .write = write_by_populate, .prefault = true } },
	.needs = THP_NEED_POPULATE,
};

FIXTURE_VARIANT_ADD(writer, populate_zero) {
	.c = { .kind = THP_ZERO, .writer = { .write = write_by_populate, .prefault = true } },
	.needs = THP_NEED_POPULATE | THP_NEED_ZERO,
};

FIXTURE_VARIANT_ADD(writer, proc_mem_anon) {
	.c = { .kind = THP_ANON, .writer = { .write = write_by_proc_mem } },
};

FIXTURE_VARIANT_ADD(writer, vm_writev_anon) {
	.c = { .kind = THP_ANON, .writer = { .write = write_by_vm_writev, .to_child = true } },
};

FIXTURE_VARIANT_ADD(writer, vm_writev_zero) {
	.c = { .kind = THP_ZERO, .writer = { .write = write_by_vm_writev, .to_child = true } },
	.needs = THP_NEED_ZERO,
};

FIXTURE_VARIANT_ADD(writer, ptrace_anon) {
	.c = { .kind = THP_ANON, .writer = { .write = write_by_ptrace, .to_child = true } },
};

FIXTURE_SETUP(writer)
{
	THP_NEEDS(variant->needs);
	thp_warm_up();
}

FIXTURE_TEARDOWN_PARENT(writer)
{
	thp_teardown(_metadata);
}

static int foreign_write(const void *arg, struct thp_why *why)
{
	const struct writer_case *c = arg;
	pid_t target = 0;	/* self */
	struct thp_peer *p = thp_peers;
	enum thp_state mine = THP_STATE_UNKNOWN;
	size_t page = middle();
	struct thp_meter m;
	long long s = 0;
	unsigned int i;
	int ret;

	TRY(open_pipe(why));
	TRY(share(c->kind, 1, &m, why));
	if (c->writer.to_child)
		target = p->child.pid;
	ret = thp_meter_start(&m, target, why);
	for (i = 0; i < thp_group.n && !ret; i++) {
		thp_group_fill(buffer, i, page, SEED_DEVICE);
		ret = c->writer.write(target ? target : getpid(), i, page, why);
	}
	if (!ret)
		ret = thp_meter_read(&m, why);
	if (!ret && c->writer.to_child) {
		ret = thp_peer_order(p, THP_ORDER_NOTE, page, SEED_DEVICE, NULL, why);
		if (!ret)
			ret = thp_peer_order(p, THP_ORDER_STATE, 0, 0, &s, why);
		mine = s;
	} else if (!ret) {
		if (!c->writer.prefault)
			thp_group_note(page, SEED_DEVICE);
		ret = thp_group_state(&mine, why);
	}
	if (!ret)
		ret = expect_write(&m, mine, "kernel writes", why);
	if (!ret)
		ret = thp_group_check(why);
	if (!ret)
		ret = child_sees(p, THP_STATE_UNKNOWN, why);
	/* The other process is unaffected. */
	if (!ret && c->writer.to_child)
		ret = thp_group_expect(thp_kind_state(c->kind), why);
	else if (!ret)
		ret = thp_peer_expect(p, thp_kind_state(c->kind), why);
	if (!ret)
		ret = thp_peer_end(p, why);
	return ret ? ret : thp_group_finish(why);
}

THP_COVERS_VARIANT(writer, read_anon, isolated, "cow-kernel-write");
THP_COVERS_VARIANT(writer, read_zero, isolated, "zero-write cow-kernel-write");
THP_COVERS_VARIANT(writer, populate_anon, isolated, "cow-gup");
THP_COVERS_VARIANT(writer, populate_zero, isolated, "zero-write cow-gup");
THP_COVERS_VARIANT(writer, proc_mem_anon, isolated, "cow-gup");
THP_COVERS_VARIANT(writer, vm_writev_anon, isolated, "cow-gup");
THP_COVERS_VARIANT(writer, vm_writev_zero, isolated, "zero-write cow-gup");
THP_COVERS_VARIANT(writer, ptrace_anon, isolated, "cow-gup");
TEST_F(writer, isolated)
{
	THP_SCENARIO(foreign_write, &variant->c);
}
