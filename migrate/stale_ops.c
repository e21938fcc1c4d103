// SPDX-License-Identifier: GPL-2.0
/*
 * The operations after which stale_probe.c looks for stale translations, the expected
 * result, and the checks afterwards.
 */

static int stale_unmap(struct stale *s, char *addr, size_t len)
{
	(void)s;
	return munmap(addr, len) ? -errno : 0;
}

static int stale_dontneed(struct stale *s, char *addr, size_t len)
{
	(void)s;
	return madvise(addr, len, MADV_DONTNEED) ? -errno : 0;
}

static int stale_protect_read(struct stale *s, char *addr, size_t len)
{
	(void)s;
	return mprotect(addr, len, PROT_READ) ? -errno : 0;
}

static int stale_protect_none(struct stale *s, char *addr, size_t len)
{
	(void)s;
	return mprotect(addr, len, PROT_NONE) ? -errno : 0;
}

/* The address of the word, if its page is now as far from @to as it was from @from. */
static void stale_follow(struct stale *s, const char *from, char *to)
{
	s->moved = (uint64_t *)(to + ((char *)s->word - from));
}

static int stale_target(struct stale *s, struct thp_why *why)
{
	return thp_map_create(&s->to, THP_NONE, why);
}

static int stale_mremap(struct stale *s, char *from, size_t len, char *to, int flags)
{
	if (mremap(from, len, len, MREMAP_MAYMOVE | MREMAP_FIXED | flags, to) == MAP_FAILED)
		return -errno;
	stale_follow(s, from, to);
	return 0;
}

static int stale_move(struct stale *s, char *addr, size_t len)
{
	return stale_mremap(s, addr, len, s->to.thp + (addr - s->map.thp), 0);
}

static int stale_move_keep(struct stale *s, char *addr, size_t len)
{
	return stale_mremap(s, addr, len, s->to.thp + (addr - s->map.thp), MREMAP_DONTUNMAP);
}

/*
 * Splits the PMD before, because a split in the operation flushes the PMD, and then the
 * toucher waits in a fault until the operation is over: here its TLB has a PTE. A whole
 * range moves as one table, by its PMD entry: move_normal_pmd(); a part by move_ptes().
 */
static int stale_target_split(struct stale *s, struct thp_why *why)
{
	TRY(stale_target(s, why));
	TRY(thp_split_at(thp_page(&s->map, 1), why));
	return thp_map_expect(&s->map, THP_STATE_PTE, why);
}

/* The range of a whole table of the next level, with one populated THP. */
static int stale_upper(struct stale *s, struct thp_why *why)
{
	size_t span = thp_span();
	char *from;

	from = thp_reserve(2 * span, span, &s->map.area, &s->map.area_len);
	if (!from || mmap(from, span, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0) ==
	    MAP_FAILED)
		return thp_skip(why, STALE_NO_ROOM, "%zu B, %s", 2 * span, strerror(errno));
	s->map.kind = THP_ANON;
	s->map.thp = from + span / 2;
	if (madvise(from, span, MADV_HUGEPAGE))
		return thp_why(why, -errno, "MADV_HUGEPAGE: %s", strerror(errno));
	return thp_map_fault(&s->map, why);
}

static int stale_move_upper(struct stale *s, char *addr, size_t len)
{
	size_t span = thp_span();
	char *from = addr - span / 2;

	(void)len;
	return stale_mremap(s, from, span, from + span, 0);
}

static int stale_uffd_target(struct stale *s, struct thp_why *why)
{
	int ret = stale_target(s, why);

	if (ret)
		return ret;
	s->to.uffd = thp_uffd_watch(s->to.thp, thp_env.pmd, UFFD_FEATURE_MOVE,
				    UFFDIO_REGISTER_MODE_MISSING, why);
	return s->to.uffd < 0 ? s->to.uffd : 0;
}

/* The same for UFFDIO_MOVE, which would also split the folio. */
static int stale_uffd_target_split(struct stale *s, struct thp_why *why)
{
	int ret = stale_uffd_target(s, why);

	if (!ret && madvise(thp_page(&s->map, 1), thp_env.page, MADV_COLD))
		ret = thp_why(why, -errno, "MADV_COLD: %s", strerror(errno));
	return ret ? ret : thp_map_expect(&s->map, THP_STATE_PTE, why);
}

/* A page with another reference, even a short one, is busy. */
static int stale_uffd_move(struct stale *s, char *addr, size_t len)
{
	char *to = s->to.thp + (addr - s->map.thp);
	int ret = -EBUSY, try;

	for (try = 0; try < 100 && (ret == -EBUSY || ret == -EAGAIN); try++) {
		ret = thp_uffd_move(s->to.uffd, to, addr, len, NULL);
		if (ret == -EEXIST && try)
			ret = 0;
	}
	if (!ret)
		stale_follow(s, addr, to);
	return ret;
}

/* A write raises a signal, so no thread has to wait for a monitor. */
static int stale_uffd_wp_prepare(struct stale *s, struct thp_why *why)
{
	s->map.uffd = thp_uffd_watch(s->map.thp, thp_env.pmd,
				     UFFD_FEATURE_PAGEFAULT_FLAG_WP | UFFD_FEATURE_SIGBUS,
				     UFFDIO_REGISTER_MODE_WP, why);
	return s->map.uffd < 0 ? s->map.uffd : 0;
}

static int stale_uffd_wp(struct stale *s, char *addr, size_t len)
{
	return thp_uffd_wp(s->map.uffd, addr, len, 1);
}

static int stale_scan_prepare(struct stale *s, struct thp_why *why)
{
	s->map.uffd = thp_uffd_watch(s->map.thp, thp_env.pmd,
				     UFFD_FEATURE_WP_ASYNC | UFFD_FEATURE_WP_UNPOPULATED,
				     UFFDIO_REGISTER_MODE_WP, why);
	if (s->map.uffd < 0)
		return s->map.uffd;
	s->map.pipe[0] = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	return s->map.pipe[0] < 0 ? thp_why(why, -errno, "pagemap: %s", strerror(errno)) : 0;
}

static int stale_scan(struct stale *s, char *addr, size_t len)
{
	struct pm_scan_arg arg = { 0 };
	int ret = thp_uffd_scan(s->map.pipe[0], addr, len, &arg);

	return ret < 0 ? ret : 0;
}

/* The next scan finds the toucher's later writes. */
static int stale_scan_verify(struct stale *s, struct thp_why *why)
{
	uint64_t entry;
	int ret = thp_obs_pagemap(s->word, &entry, 1);

	if (ret)
		return thp_why(why, ret, "pagemap: %s", thp_errno_name(ret));
	return entry & THP_PM_UFFD_WP ?
		thp_why(why, -EPROTO, "a write since the scan of another CPU went unnoticed") : 0;
}

/* The split frees pages of zeroes and maps the shared zero page instead. */
static int stale_zeroes(struct stale *s, struct thp_why *why)
{
	(void)why;
	memset(thp_page(&s->map, 1), 0, thp_env.pmd - thp_env.page);
	return 0;
}

static int stale_cold(struct stale *s, char *addr, size_t len)
{
	(void)addr;
	(void)len;
	return madvise(thp_page(&s->map, 1), thp_env.page, MADV_COLD) ? -errno : 0;
}

static int stale_pageout(struct stale *s, char *addr, size_t len)
{
	(void)s;
	return madvise(addr, len, MADV_PAGEOUT) ? -errno : 0;
}

static int stale_free(struct stale *s, char *addr, size_t len)
{
	(void)s;
	return madvise(addr, len, MADV_FREE) ? -errno : 0;
}

/* Data written after MADV_FREE stays, also after reclaim. */
static int stale_free_verify(struct stale *s, struct thp_why *why)
{
	return madvise(s->map.thp, thp_env.pmd, MADV_PAGEOUT) ?
		thp_why(why, -errno, "MADV_PAGEOUT: %s", strerror(errno)) : 0;
}

static int stale_migrate(struct stale *s, char *addr, size_t len)
{
	(void)addr;
	(void)len;
	return move_all(&s->map, other_node(node_of(s->map.thp)));
}

static int stale_hmm_prepare(struct stale *s, struct thp_why *why)
{
	(void)s;
	return thp_hmm_open(why);
}

/* A driver that finds no free huge page takes base pages, and leaves one of them out. */
static int stale_to_device(struct stale *s, char *addr, size_t len)
{
	int ret = thp_hmm_to_device(addr, len);

	(void)s;
	return ret == -ENOENT ? -EAGAIN : ret;
}

/* An access by page tables (process_vm_readv()) migrates the memory back. */
static int stale_device_verify(struct stale *s, struct thp_why *why)
{
	return thp_hmm_holds(s->word) ?
		thp_why(why, -EPROTO, "another CPU has read memory that is on the device") : 0;
}

/* Steps of the child. */
enum { STALE_FORKED = 1 };
enum { STALE_LOOK = 1 };

/* The child has the contents at the time of fork(). */
static int stale_child(struct thp_chan *chan, void *arg)
{
	struct stale *s = arg;
	uint64_t value;

	thp_chan_post_parent(chan, STALE_FORKED);
	thp_chan_await_parent(chan, STALE_LOOK);
	value = *s->word;
	return value == s->old ? 0 :
	       thp_why(&chan->why, -EPROTO, "the child reads %#llx, expected %#llx",
		       (unsigned long long)value, (unsigned long long)s->old);
}

static int stale_fork(struct stale *s, char *addr, size_t len)
{
	(void)addr;
	(void)len;
	return thp_child_start(&s->map.child, stale_child, s);
}

static int stale_fork_verify(struct stale *s, struct thp_why *why)
{
	thp_chan_post_child(s->map.child.chan, STALE_LOOK);
	return thp_child_join(&s->map.child, THP_STEP_MS, why);
}

/* The kernel replaces the huge zero folio by a THP, or by PTEs. */
static int stale_zero_write(struct stale *s, char *addr, size_t len)
{
	(void)addr;
	(void)len;
	s->old = STALE_CALLER;
	__atomic_store_n(s->word, s->old, __ATOMIC_RELAXED);
	return 0;
}

static int stale_small(struct stale *s, struct thp_why *why)
{
	return madvise(s->map.thp, thp_env.pmd, MADV_HUGEPAGE) ?
		thp_why(why, -errno, "MADV_HUGEPAGE: %s", strerror(errno)) : 0;
}

static int stale_collapse(struct stale *s, char *addr, size_t len)
{
	(void)addr;
	(void)len;
	return thp_map_collapse(&s->map);
}
