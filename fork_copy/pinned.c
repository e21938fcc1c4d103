// SPDX-License-Identifier: GPL-2.0
/*
 * pinned: Pages that are pinned for I/O, by fixed buffers of io_uring.
 */

/* io_uring fixed buffers: long-term pins that any user can take. */
#ifdef HAVE_LIBURING
static struct io_uring ring;
static bool ring_open_now;

static void ring_close(void)
{
	if (ring_open_now)
		io_uring_queue_exit(&ring);
	ring_open_now = false;
}

static int ring_open(void)
{
	int ret = io_uring_queue_init(4, &ring, 0);

	ring_open_now = !ret;
	return ret;
}

/* Transfers the page at @addr from or to @fd, through the pinned pages of buffer @i. */
static int ring_transfer(bool to_memory, int fd, char *addr, unsigned int i, struct thp_why *why)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&ring);
	struct io_uring_cqe *cqe;
	int ret;

	if (!sqe)
		return thp_why(why, -EIO, "io_uring: no submission entry");
	if (to_memory)
		io_uring_prep_read_fixed(sqe, fd, addr, thp_env.page, 0, i);
	else
		io_uring_prep_write_fixed(sqe, fd, addr, thp_env.page, 0, i);
	ret = io_uring_submit_and_wait(&ring, 1);
	if (ret == 1)
		ret = io_uring_wait_cqe(&ring, &cqe);
	if (ret < 0)
		return thp_why(why, ret, "io_uring: %s", thp_errno_name(ret));
	ret = cqe->res;
	io_uring_cqe_seen(&ring, cqe);
	if (ret == (int)thp_env.page)
		return 0;
	return thp_why(why, -EIO, "io_uring %s: %d, expected %zu bytes",
		       to_memory ? "read" : "write", ret, thp_env.page);
}

/*
 * Whether buffer 0, at @addr, is registered: otherwise a transfer through its pages fails
 * with EFAULT. VmPin does not show it: io_uring of Linux 7.3 accounts for nothing if
 * RLIMIT_MEMLOCK does not apply (io_buffer_account_pin()).
 */
static int ring_proof(char *addr, struct thp_why *why)
{
	int fd = open("/dev/null", O_WRONLY | O_CLOEXEC), ret;

	if (fd < 0)
		return thp_why(why, -errno, "/dev/null: %s", strerror(errno));
	ret = ring_transfer(false, fd, addr, 0, why);
	close(fd);
	return ret;
}

/* Pins pages [first, first + count) of every THP as buffers 0 to n - 1. */
static int ring_pin(size_t first, size_t count, struct thp_why *why)
{
	struct iovec iov[THP_GROUP_MAX];
	unsigned int i;
	int ret;

	for (i = 0; i < thp_group.n; i++) {
		iov[i].iov_base = thp_page(&thp_group.map[i], first);
		iov[i].iov_len = count * thp_env.page;
	}
	ret = io_uring_register_buffers(&ring, iov, thp_group.n);
	if (ret)
		return thp_why(why, ret, "io_uring_register_buffers: %s", thp_errno_name(ret));
	return ring_proof(iov[0].iov_base, why);
}

static int ring_unpin(struct thp_why *why)
{
	int ret = io_uring_unregister_buffers(&ring);

	return ret ? thp_why(why, ret, "io_uring_unregister_buffers: %s", thp_errno_name(ret)) : 0;
}

/* Transfers one page between the pipe and buffer @i, through its pinned pages. */
static int ring_copy(bool to_memory, unsigned int i, size_t page, struct thp_why *why)
{
	return ring_transfer(to_memory, pipe_fd[to_memory ? 0 : 1],
			     thp_page(&thp_group.map[i], page), i, why);
}
#else
static void ring_close(void)
{
}

static int ring_open(void)
{
	return -ENODEV;
}

static int ring_pin(size_t first, size_t count, struct thp_why *why)
{
	(void)first;
	(void)count;
	return thp_why(why, -ENODEV, "built without liburing");
}

static int ring_unpin(struct thp_why *why)
{
	return ring_pin(0, 0, why);
}

static int ring_copy(bool to_memory, unsigned int i, size_t page, struct thp_why *why)
{
	(void)to_memory;
	return ring_pin(i, page, why);
}
#endif

/* io_uring can be used: a sandbox may forbid it (EPERM, ENOSYS), despite the sysctl. */
static int ring_works(struct thp_why *why)
{
	int ret = ring_open();

	if (ret == -ENOSYS || ret == -EPERM)
		return thp_skip(why, "needs liburing and io_uring");
	if (ret)
		return thp_why(why, ret, "io_uring_queue_init: %s", thp_errno_name(ret));
	ring_close();
	return 0;
}

/*
 * The pinned page still belongs to the parent: the device reads what the parent wrote last,
 * and the parent reads what the device wrote.
 */
static int ring_coherent(size_t page, struct thp_why *why)
{
	unsigned int i;

	thp_group_write(page, SEED_PARENT);
	for (i = 0; i < thp_group.n; i++) {
		TRY(ring_copy(false, i, page, why));
		if (read(pipe_fd[0], buffer, thp_env.page) != (ssize_t)thp_env.page)
			return thp_why(why, -EIO, "pipe: short read");
		if (memcmp(buffer, thp_page(&thp_group.map[i], page), thp_env.page))
			return thp_why(why, -EILSEQ,
				       "pinned page %zu of THP %u is not the one that is mapped",
				       page, i);
		thp_group_fill(buffer, i, page, SEED_DEVICE);
		if (write(pipe_fd[1], buffer, thp_env.page) != (ssize_t)thp_env.page)
			return thp_why(why, -EIO, "pipe: short write");
		TRY(ring_copy(true, i, page, why));
	}
	thp_group_note(page, SEED_DEVICE);
	return thp_group_check(why);
}

FIXTURE(pinned) {
	int unused;
};

enum pin_at { PIN_FIRST, PIN_MIDDLE, PIN_LAST, PIN_WHOLE };

FIXTURE_VARIANT(pinned) {
	enum pin_at at;
	uint64_t needs;
};

FIXTURE_VARIANT_ADD(pinned, first) { .at = PIN_FIRST };
FIXTURE_VARIANT_ADD(pinned, middle) { .at = PIN_MIDDLE };
FIXTURE_VARIANT_ADD(pinned, last) { .at = PIN_LAST };
FIXTURE_VARIANT_ADD(pinned, whole) { .at = PIN_WHOLE, .needs = THP_NEED_LIMIT };

FIXTURE_SETUP(pinned)
{
	struct thp_why why = { 0 };

	THP_NEEDS(variant->needs);
	THP_NEEDS(THP_NEED_URING);
	THP_REQUIRE_OK(ring_works(&why), &why);
	thp_warm_up();
}

FIXTURE_TEARDOWN_PARENT(pinned)
{
	thp_teardown(_metadata);
}

/* A page among the pinned ones to check. */
static size_t pin_page(enum pin_at at)
{
	switch (at) {
	case PIN_FIRST: return 0;
	case PIN_LAST: return thp_env.nr - 1;
	default: return middle();
	}
}

static int pin_group(enum pin_at at, struct thp_why *why)
{
	struct thp_meter m;

	TRY(open_pipe(why));
	if (ring_open())
		return thp_why(why, -EIO, "io_uring_queue_init failed");
	TRY(thp_group_new(THP_ANON, 0, why));
	TRY(thp_peers_prepare(1, why));
	TRY(thp_meter_start(&m, 0, why));
	if (at == PIN_WHOLE)
		TRY(ring_pin(0, thp_env.nr, why));
	else
		TRY(ring_pin(pin_page(at), 1, why));
	return thp_meter_stop(&m, 0, 0, "pinning", why);
}

/*
 * A pinned page cannot be shared, so fork() splits the parent's PMD and copies
 * that page to the child: both have a table then, whatever the kernel.
 */
static int fork_pinned(const void *arg, struct thp_why *why)
{
	const enum pin_at *at = arg;
	size_t page = pin_page(*at);
	struct thp_peer *p = thp_peers;
	struct thp_meter m;

	TRY(pin_group(*at, why));
	TRY(thp_meter_start(&m, 0, why));
	TRY(thp_peer_start(p, why));
	TRY(thp_meter_stop(&m, thp_group_split(), thp_group.n, "fork of pinned THPs", why));
	TRY(parent_sees(THP_STATE_PTE, why));
	TRY(child_sees(p, THP_STATE_PTE, why));
	TRY(ring_coherent(page, why));
	TRY(child_sees(p, THP_STATE_UNKNOWN, why));
	/* The child's copy is its own, too. */
	TRY(thp_peer_order(p, THP_ORDER_WRITE, page, SEED_CHILD, NULL, why));
	TRY(child_sees(p, THP_STATE_UNKNOWN, why));
	TRY(ring_coherent(page, why));
	TRY(ring_unpin(why));
	TRY(thp_peer_zap(p, thp_group.n, why));
	TRY(thp_peer_end(p, why));
	return thp_group_finish(why);
}

THP_COVERS(pinned, fork, "fork-pinned");
TEST_F(pinned, fork)
{
	THP_SCENARIO(fork_pinned, &variant->at);
}

/* Users of pins avoid all that by MADV_DONTFORK: no split, no copy. */
static int dontfork_pinned(const void *arg, struct thp_why *why)
{
	const enum pin_at *at = arg;
	struct thp_meter m;

	TRY(pin_group(*at, why));
	if (madvise(thp_group.base, thp_group.n * thp_env.pmd, MADV_DONTFORK))
		return thp_why(why, -errno, "MADV_DONTFORK: %s", strerror(errno));
	TRY(thp_meter_start(&m, 0, why));
	TRY(thp_peer_start(&thp_peers[0], why));
	TRY(ring_coherent(pin_page(*at), why));
	TRY(thp_meter_stop(&m, 0, 0, "fork without the pinned THPs", why));
	TRY(thp_group_expect(THP_STATE_PMD, why));
	TRY(thp_peer_end(&thp_peers[0], why));
	TRY(ring_unpin(why));
	return thp_group_finish(why);
}

THP_COVERS(pinned, dontfork, "fork-dontfork");
TEST_F(pinned, dontfork)
{
	THP_SCENARIO(dontfork_pinned, &variant->at);
}

/* Once the pin is gone, fork() shares the PMD again. */
static int fork_unpinned(const void *arg, struct thp_why *why)
{
	const enum pin_at *at = arg;
	struct thp_peer *p = thp_peers;
	struct thp_meter m;

	TRY(pin_group(*at, why));
	TRY(ring_unpin(why));
	TRY(thp_meter_start(&m, 0, why));
	TRY(thp_peer_start(p, why));
	TRY(thp_meter_read(&m, why));
	/* The kernel may drop the pins of a freed buffer a moment later. */
	if (m.ev[1].split_pmd != m.ev[0].split_pmd)
		return thp_why(why, -EAGAIN, "fork after unpinning splits");
	TRY(thp_meter_expect(&m, 0, 0, "fork after unpinning", why));
	TRY(child_sees(p, THP_STATE_PMD, why));
	TRY(thp_peer_zap(p, thp_group_mapped(), why));
	TRY(thp_peer_end(p, why));
	return thp_group_finish(why);
}

THP_COVERS(pinned, released, "fork-anon");
TEST_F(pinned, released)
{
	THP_SCENARIO(fork_unpinned, &variant->at);
}
