// SPDX-License-Identifier: GPL-2.0
/*
 * longterm: Long-term pins across fork().
 */

FIXTURE(longterm) {
	int unused;
};

FIXTURE_SETUP(longterm)
{
	thp_warm_up();
}

FIXTURE_TEARDOWN_PARENT(longterm)
{
	thp_teardown(_metadata);
}

/* Replaces the memory of a range by a new mapping: MADV_DONTNEED may leave an empty table. */
static int anew(char *at, size_t len, struct thp_why *why)
{
	if (mmap(at, len, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0) == MAP_FAILED ||
	    madvise(at, len, MADV_HUGEPAGE))
		return thp_why(why, -errno, "mmap: %s", strerror(errno));
	return 0;
}

#define PINNED_FORKS	200

/* A leak of the table meant for the child shows in the system-wide counter only. */
static int fork_pinned_often(const void *arg, struct thp_why *why)
{
	const enum pin_at *at = arg;
	unsigned int i, k;
	int ret, status;
	pid_t pid;

	ret = pin_group(*at, why);
	for (i = 0; i < PINNED_FORKS && !ret; i++) {
		pid = fork();
		if (!pid)
			_exit(0);
		if (pid < 0 || waitpid(pid, &status, 0) != pid)
			return thp_why(why, -errno, "fork: %s", strerror(errno));
		ret = ring_unpin(why);
		if (!ret)
			ret = anew(thp_group.base, thp_group.n * thp_env.pmd, why);
		if (ret)
			break;
		for (k = 0; k < thp_group.n; k++)
			thp_touch(thp_group.map[k].thp);
		ret = ring_pin(pin_page(*at), 1, why);
	}
	if (!ret)
		ret = ring_unpin(why);
	thp_group_free();
	return ret;
}

THP_COVERS(longterm, fork_no_leak, "fork-pinned leak-page-tables");
TEST_F_TIMEOUT(longterm, fork_no_leak, 120)
{
	/* A page stays allocated as long as one of the tables in it does. */
	long long slack = PINNED_FORKS / 4 * (long long)thp_env.page / 1024, before;
	const enum pin_at at = PIN_MIDDLE;
	struct thp_why why = { 0 };

	THP_NEEDS(THP_NEED_URING);
	THP_REQUIRE_OK(ring_works(&why), &why);
	THP_NEEDS(THP_NEED_STATS);
	THP_REQUIRE_OK(thp_race_residue(&before), &why);
	THP_SCENARIO(fork_pinned_often, &at);
	THP_CHECK_OK(thp_race_no_residue(before, slack, &why), &why);
}

/* A pin of shared memory has to copy it first: the pin must see later writes. */
static int ring_after_fork(const void *arg, struct thp_why *why)
{
	struct thp_peer *p = thp_peers;
	struct thp_meter m;

	(void)arg;
	TRY(open_pipe(why));
	if (ring_open())
		return thp_why(why, -EIO, "io_uring_queue_init failed");
	TRY(share(THP_ANON, 1, &m, why));
	TRY(thp_meter_start(&m, 0, why));
	TRY(ring_pin(middle(), 1, why));
	TRY(thp_meter_stop(&m, thp_group_split(), thp_group.n, "pinning shared THPs", why));
	TRY(parent_sees(THP_STATE_PTE, why));
	TRY(ring_coherent(middle(), why));
	TRY(child_sees(p, THP_STATE_PMD, why));
	TRY(thp_peer_end(p, why));
	TRY(ring_unpin(why));
	return thp_group_finish(why);
}

THP_COVERS(longterm, write_pin, "cow-gup");
TEST_F(longterm, write_pin)
{
	struct thp_why why = { 0 };

	THP_NEEDS(THP_NEED_URING);
	THP_REQUIRE_OK(ring_works(&why), &why);
	THP_SCENARIO(ring_after_fork, NULL);
}

/* A read-only pin of a shared page unshares it, as if it were written. */
static int unshare_page(const void *arg, struct thp_why *why)
{
	const __u32 *flags = arg;
	struct thp_peer *p = thp_peers;
	char path[192], *copy;
	struct thp_gup_pin pin;
	struct thp_meter m;
	size_t len, off;
	__u64 dst;
	int ret;

	snprintf(path, sizeof(path), "%s/gup_test", thp_env.debugfs);
	extra_fd = open(path, O_RDWR | O_CLOEXEC);
	if (extra_fd < 0)
		return thp_why(why, -errno, "%s: %s", path, strerror(errno));
	/* From the middle of the first THP to that of the last: a page of each. */
	len = ((thp_env.unit - 1) * thp_env.nr + 1) * thp_env.page;
	copy = mmap(NULL, len, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	if (copy == MAP_FAILED)
		return thp_why(why, -errno, "mmap: %s", strerror(errno));
	ret = share(THP_ANON, 1, &m, why);
	if (!ret)
		ret = thp_meter_start(&m, 0, why);
	if (ret)
		goto out;
	pin.addr = (uintptr_t)thp_page(&thp_group.map[0], middle());
	pin.size = len;
	pin.flags = *flags;
	if (ioctl(extra_fd, THP_GUP_PIN, &pin)) {
		ret = thp_why(why, -errno, "read-only long-term pin: %s", strerror(errno));
		goto out;
	}
	ret = thp_meter_stop(&m, thp_group_split(), thp_group.n, "read-only long-term pin", why);
	if (!ret)
		ret = parent_sees(THP_STATE_PTE, why);
	if (!ret)
		ret = child_sees(p, THP_STATE_PMD, why);
	if (ret)
		goto out;
	/* The pin sees what is written later, the child does not. */
	thp_group_write(middle(), SEED_PARENT);
	dst = (uintptr_t)copy;
	if (ioctl(extra_fd, THP_GUP_READ, &dst)) {
		ret = thp_why(why, -errno, "reading the pinned page: %s", strerror(errno));
		goto out;
	}
	for (off = 0; off < len && !ret; off += thp_env.page)
		if (memcmp(copy + off, (char *)(uintptr_t)pin.addr + off, thp_env.page))
			ret = thp_why(why, -EILSEQ, "pinned page %zu is not the one that is mapped",
				      off / thp_env.page);
	if (!ret)
		ret = child_sees(p, THP_STATE_PMD, why);
	if (!ret)
		ret = thp_peer_zap(p, thp_group_mapped(), why);
	if (!ret)
		ret = thp_peer_end(p, why);
	if (ioctl(extra_fd, THP_GUP_UNPIN) && !ret)
		ret = thp_why(why, -errno, "unpinning: %s", strerror(errno));
	if (!ret)
		ret = thp_group_finish(why);
out:
	munmap(copy, len);
	return ret;
}

THP_COVERS(longterm, read_pin, "cow-unshare");
TEST_F(longterm, read_pin)
{
	const __u32 flags = 0;

	THP_NEEDS(THP_NEED_GUP_TEST);
	THP_SCENARIO(unshare_page, &flags);
}

THP_COVERS(longterm, read_pin_fast, "cow-unshare");
TEST_F(longterm, read_pin_fast)
{
	const __u32 flags = THP_GUP_FAST;

	THP_NEEDS(THP_NEED_GUP_TEST);
	THP_SCENARIO(unshare_page, &flags);
}
