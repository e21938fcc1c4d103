// SPDX-License-Identifier: GPL-2.0
/*
 * Stale translations: an operation that changes a huge PMD has to flush it from the
 * TLB of every CPU that runs the process. Otherwise the old address still reaches the
 * old page, which has gone elsewhere, is free, or belongs to somebody else.
 * CVE-2018-18281 was a move_huge_pmd() and a move_ptes() that flushed too late.
 *
 *	caller, one CPU			toucher, another CPU
 *	maps and fills			touches one word, again and again: its TLB has it
 *	the operation			goes on, and may fault
 *	...				probe: reads, then writes
 *	probe: reads, then writes
 *
 * What a CPU sees has to be what the page tables say. These are asked by
 * process_vm_readv(), which does not use the TLB. The operation has returned before
 * a probe begins, so a right kernel leaves no doubt. A wrong one gets away if the TLB
 * has lost the entry by then, which is why it is tried several times.
 */
#define STALE_ROUNDS	3
/* Until the toucher has its CPU: a busy host may take long to give it one. */
#define STALE_WARM	1000

#define STALE_NO_ROOM	"needs address space for two PMD tables (vm.overcommit_memory, RLIMIT_AS)"

/* What the toucher stores, and what the probes do. */
#define STALE_OLD	0x01d01d01d01d01d0ULL
#define STALE_TOUCHER	0x700c7e4700c7e470ULL
#define STALE_CALLER	0xca11e4ca11e4ca11ULL

enum stale_after {
	STALE_GONE,	/* reads and writes fault */
	STALE_ZERO,	/* there is another page, of zeroes */
	STALE_SAME,	/* reads as before, and can be written */
	STALE_READ_ONLY,
};

struct stale;

struct stale_case {
	enum thp_kind kind;
	uint64_t needs;
	enum stale_after after;
	bool page;		/* the operation is on one page, in the middle */
	bool reads;		/* the toucher only reads: a new page would get what it writes */
	bool rests;		/* ... and keeps still during the operation */
	bool zeroes;		/* the word and its page are zero */
	bool may_zero;		/* it may read as zero until it is written */
	int (*prepare)(struct stale *s, struct thp_why *why);
	int (*run)(struct stale *s, char *addr, size_t len);
	/* After the toucher has read, and after it has written; 0 or -errno with a cause. */
	int (*verify_read)(struct stale *s, struct thp_why *why);
	int (*verify)(struct stale *s, struct thp_why *why);
};

enum stale_order { STALE_REST, STALE_TOUCH, STALE_READ, STALE_WRITE, STALE_QUIT };

/* One CPU's view of the word. */
struct stale_probe {
	int read, write;	/* 0 or the signal */
	uint64_t value;		/* that it has read */
};

struct stale {
	const struct stale_case *c;
	struct thp_map map, to;
	uint64_t *word;
	uint64_t old;		/* what it has to be until a probe writes to it */
	uint64_t *moved;	/* where the page of the word is now, or NULL */
	int cpu;		/* of the toucher */

	/* Between the two threads. */
	int want, is;
	unsigned long touched;
	struct stale_probe seen;
};

static __thread sigjmp_buf stale_env;
static __thread int stale_armed;

static void stale_fault(int sig)
{
	if (__atomic_load_n(&stale_armed, __ATOMIC_RELAXED))
		siglongjmp(stale_env, sig);
	signal(sig, SIG_DFL);
}

/* Reads or writes a word; 0, or the signal that this raised. */
static int stale_access(uint64_t *word, bool write, uint64_t *value)
{
	/* The mask is not saved, as that is a system call: the handler has SA_NODEFER. */
	int sig = sigsetjmp(stale_env, 0);

	if (!sig) {
		__atomic_store_n(&stale_armed, 1, __ATOMIC_RELAXED);
		__atomic_signal_fence(__ATOMIC_SEQ_CST);
		if (write)
			__atomic_store_n(word, *value, __ATOMIC_RELAXED);
		else
			*value = __atomic_load_n(word, __ATOMIC_RELAXED);
	}
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
	__atomic_store_n(&stale_armed, 0, __ATOMIC_RELAXED);
	return sig;
}

static void stale_read(uint64_t *word, struct stale_probe *p)
{
	p->value = 0;
	p->read = stale_access(word, false, &p->value);
}

static void stale_write(uint64_t *word, uint64_t mark, struct stale_probe *p)
{
	p->write = stale_access(word, true, &mark);
}

/* Makes no system call between two orders: they could clean its TLB. */
static void *stale_toucher(void *arg)
{
	struct stale *s = arg;
	uint64_t value;
	cpu_set_t set;
	int want;

	CPU_ZERO(&set);
	CPU_SET(s->cpu, &set);
	(void)sched_setaffinity(0, sizeof(set), &set);
	while ((want = __atomic_load_n(&s->want, __ATOMIC_ACQUIRE)) != STALE_QUIT) {
		value = s->old;
		if (want == STALE_TOUCH) {
			(void)stale_access(s->word, !s->c->reads, &value);
			__atomic_fetch_add(&s->touched, 1, __ATOMIC_RELAXED);
		} else if (want != s->is && want == STALE_READ) {
			stale_read(s->word, &s->seen);
		} else if (want != s->is && want == STALE_WRITE) {
			stale_write(s->word, STALE_TOUCHER, &s->seen);
		}
		__atomic_store_n(&s->is, want, __ATOMIC_RELEASE);
	}
	return NULL;
}

static void stale_order(struct stale *s, enum stale_order order)
{
	unsigned long from = __atomic_load_n(&s->touched, __ATOMIC_RELAXED);

	__atomic_store_n(&s->want, order, __ATOMIC_RELEASE);
	while (order != STALE_QUIT && __atomic_load_n(&s->is, __ATOMIC_ACQUIRE) != (int)order)
		;
	while (order == STALE_TOUCH &&
	       __atomic_load_n(&s->touched, __ATOMIC_RELAXED) - from < STALE_WARM)
		;
}

/* Binds the caller to its CPU; another one that the process may use, or -1. */
static int stale_other_cpu(void)
{
	cpu_set_t set;
	int cpu;

	if (sched_getaffinity(0, sizeof(set), &set) || thp_pin_cpu())
		return -1;
	for (cpu = 0; cpu < CPU_SETSIZE; cpu++)
		if (cpu != sched_getcpu() && CPU_ISSET(cpu, &set))
			return cpu;
	return -1;
}

/* What the page tables say of a word: 0 or -errno. */
static int stale_truth(uint64_t *word, uint64_t *value)
{
	struct iovec to = { .iov_base = value, .iov_len = sizeof(*value) };
	struct iovec from = { .iov_base = word, .iov_len = sizeof(*word) };

	return process_vm_readv(getpid(), &to, 1, &from, 1, 0) == sizeof(*value) ? 0 : -errno;
}

static int stale_judge(struct stale *s, const char *who, const struct stale_probe *p,
		       uint64_t mark, struct thp_why *why)
{
	bool reads = s->c->after != STALE_GONE;
	bool writes = reads && s->c->after != STALE_READ_ONLY;
	uint64_t want = s->c->after == STALE_ZERO ? 0 : s->old, truth = 0;
	int ret;

	if (reads == !!p->read)
		return thp_why(why, -EPROTO, "%s can%s read the old address after the operation",
			       who, reads ? "not" : " still");
	if (reads && p->value != want && !(s->c->may_zero && !p->value))
		return thp_why(why, -EPROTO, "%s reads %#llx at the old address, expected %#llx",
			       who, (unsigned long long)p->value, (unsigned long long)want);
	if (writes == !!p->write)
		return thp_why(why, -EPROTO,
			       "%s can%s write to the old address after the operation", who,
			       writes ? "not" : " still");
	ret = s->moved ? stale_truth(s->moved, &truth) : 0;
	if (ret)
		return thp_why(why, ret, "the page that moved cannot be read: %s",
			       thp_errno_name(ret));
	if (s->moved && truth != s->old)
		return thp_why(why, -EPROTO,
			       "a write of %s to the old address is in the page that moved", who);
	if (!writes)
		return 0;
	ret = stale_truth(s->word, &truth);
	if (ret || truth != mark)
		return thp_why(why, -EPROTO,
			       "%s wrote %#llx, the page that is mapped has %#llx (%s)", who,
			       (unsigned long long)mark, (unsigned long long)truth,
			       thp_errno_name(ret));
	return 0;
}

static int stale_round(struct stale *s, struct thp_why *why)
{
	const struct stale_case *c = s->c;
	char *addr = c->page ? thp_page(&s->map, thp_env.nr / 2) : s->map.thp;
	struct stale_probe seen;
	int ret;

	s->word = (uint64_t *)(thp_page(&s->map, thp_env.nr / 2) + 64);
	s->old = c->reads || c->zeroes ? *s->word : STALE_OLD;
	if (!c->reads)
		*s->word = s->old;
	stale_order(s, STALE_TOUCH);
	(void)thp_peek((char *)s->word);
	if (c->rests)
		stale_order(s, STALE_REST);
	ret = c->run(s, addr, c->page ? thp_env.page : thp_env.pmd);
	stale_order(s, STALE_READ);
	if (ret && (c->needs & THP_NEED_COLLAPSE))
		return thp_skip(why, THP_FRAGMENTED, "(MADV_COLLAPSE: %s)", thp_errno_name(ret));
	if (ret)
		return thp_why(why, ret, "the operation returned %s", thp_errno_name(ret));
	if (c->verify_read)
		ret = c->verify_read(s, why);
	stale_order(s, STALE_WRITE);
	if (!ret && c->verify)
		ret = c->verify(s, why);
	if (!ret)
		ret = stale_judge(s, "another CPU", &s->seen, STALE_TOUCHER, why);
	if (ret)
		return ret;
	/* The other CPU has written to the page that is there now. */
	if (c->after == STALE_ZERO || c->after == STALE_SAME) {
		ret = stale_truth(s->word, &seen.value);
		if (!ret && *s->word != seen.value)
			ret = -EPROTO;
		return ret ? thp_why(why, ret, "the caller does not read what is there") : 0;
	}
	stale_read(s->word, &seen);
	stale_write(s->word, STALE_CALLER, &seen);
	return stale_judge(s, "the caller", &seen, STALE_CALLER, why);
}

static int stale_prepare(struct stale *s, struct thp_why *why)
{
	int ret = 0;

	s->moved = NULL;
	thp_map_init(&s->map, s->c->kind);
	thp_map_init(&s->to, THP_NONE);
	if (s->c->kind)
		ret = thp_map_new(&s->map, s->c->kind, why);
	if (!ret && s->c->prepare)
		ret = s->c->prepare(s, why);
	return ret;
}

static void stale_clean(struct stale *s)
{
	thp_map_destroy(&s->map);
	thp_map_destroy(&s->to);
}

static int stale_rounds(struct stale *s, struct thp_why *why)
{
	struct sigaction act = { .sa_handler = stale_fault, .sa_flags = SA_NODEFER };
	pthread_t thread;
	int round, ret;

	if (sigaction(SIGSEGV, &act, NULL) || sigaction(SIGBUS, &act, NULL))
		return thp_why(why, -errno, "sigaction: %s", strerror(errno));
	ret = pthread_create(&thread, NULL, stale_toucher, s);
	if (ret)
		return thp_why(why, -ret, "pthread_create: %s", strerror(ret));
	for (round = 0; round < STALE_ROUNDS && !ret; round++) {
		ret = stale_prepare(s, why);
		if (!ret)
			ret = stale_round(s, why);
		stale_order(s, STALE_REST);
		stale_clean(s);
	}
	stale_order(s, STALE_QUIT);
	pthread_join(thread, NULL);
	return ret;
}

/* ------------------------------------------------------------ the operations */

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

/* Where the word is, if its page is now as far from @to as it was from @from. */
static void stale_follow(struct stale *s, const char *from, char *to)
{
	s->moved = (uint64_t *)(to + ((char *)s->word - from));
}

static int stale_target(struct stale *s, struct thp_why *why)
{
	return thp_map_create(&s->to, THP_NONE, why);
}

static int stale_move(struct stale *s, char *addr, size_t len)
{
	char *to = s->to.thp + (addr - s->map.thp);

	if (mremap(addr, len, len, MREMAP_MAYMOVE | MREMAP_FIXED, to) == MAP_FAILED)
		return -errno;
	stale_follow(s, addr, to);
	return 0;
}

static int stale_move_keep(struct stale *s, char *addr, size_t len)
{
	char *to = s->to.thp + (addr - s->map.thp);

	if (mremap(addr, len, len, MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP, to) ==
	    MAP_FAILED)
		return -errno;
	stale_follow(s, addr, to);
	return 0;
}

/*
 * A split before, as one on the way flushes the PMD, and the toucher then waits in a
 * fault until the operation is over: what it has in its TLB is a PTE. All of it moves as
 * one table, by its PMD entry: move_normal_pmd(), a part by move_ptes().
 */
static int stale_target_split(struct stale *s, struct thp_why *why)
{
	char *page = thp_page(&s->map, 1);
	int ret = stale_target(s, why);

	if (ret)
		return ret;
	if (mprotect(page, thp_env.page, PROT_READ) ||
	    mprotect(page, thp_env.page, PROT_READ | PROT_WRITE))
		return thp_why(why, -errno, "mprotect: %s", strerror(errno));
	return thp_map_expect(&s->map, THP_STATE_PTE, why);
}

/* All that a table of the next level maps, of which one THP is populated. */
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
	char *from = addr - span / 2, *to = from + span;

	(void)len;
	if (mremap(from, span, span, MREMAP_MAYMOVE | MREMAP_FIXED, to) == MAP_FAILED)
		return -errno;
	stale_follow(s, from, to);
	return 0;
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

/* The same for UFFDIO_MOVE, which would split the folio as well. */
static int stale_uffd_target_split(struct stale *s, struct thp_why *why)
{
	int ret = stale_uffd_target(s, why);

	if (!ret && madvise(thp_page(&s->map, 1), thp_env.page, MADV_COLD))
		ret = thp_why(why, -errno, "MADV_COLD: %s", strerror(errno));
	return ret ? ret : thp_map_expect(&s->map, THP_STATE_PTE, why);
}

/* A page that somebody has a reference to for a moment is busy. */
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

/* A write is answered by a signal, no thread has to wait for a monitor. */
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
	struct pm_scan_arg arg = {
		.size = sizeof(arg),
		.flags = PM_SCAN_WP_MATCHING | PM_SCAN_CHECK_WPASYNC,
		.start = (uintptr_t)addr,
		.end = (uintptr_t)addr + len,
		.category_mask = PAGE_IS_WRITTEN,
		.return_mask = PAGE_IS_WRITTEN,
	};

	return ioctl(s->map.pipe[0], PAGEMAP_SCAN, &arg) < 0 ? -errno : 0;
}

/* What the toucher has written since is found by the next scan. */
static int stale_scan_verify(struct stale *s, struct thp_why *why)
{
	uint64_t entry;
	int ret = thp_obs_pagemap(s->word, &entry);

	if (ret)
		return thp_why(why, ret, "pagemap: %s", thp_errno_name(ret));
	return entry & THP_PM_UFFD_WP ?
		thp_why(why, -EPROTO, "a write since the scan of another CPU went unnoticed") : 0;
}

/* The split gives pages of zeroes back and maps the shared zero page instead. */
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

/* What was written after MADV_FREE stays, also when memory is reclaimed. */
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

static int stale_to_device(struct stale *s, char *addr, size_t len)
{
	(void)s;
	return thp_hmm_to_device(addr, len);
}

/* An access that goes by the page tables brings the memory back. */
static int stale_device_verify(struct stale *s, struct thp_why *why)
{
	return thp_hmm_holds(s->word) ?
		thp_why(why, -EPROTO, "another CPU has read memory that is on the device") : 0;
}

/* The child has what there was at fork(). */
static int stale_child(struct thp_chan *chan, void *arg)
{
	struct stale *s = arg;
	uint64_t value;

	thp_chan_post_parent(chan, 1);
	thp_chan_await_parent(chan, 2);
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
	thp_chan_post_child(s->map.child.chan, 2);
	return thp_child_join(&s->map.child, THP_STEP_MS, why);
}

/* The huge zero folio is replaced by a THP, or by PTEs. */
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

FIXTURE(stale) {
	struct stale s;
};

FIXTURE_VARIANT(stale) {
	struct stale_case c;
};

THP_COVERS_VARIANT(stale, munmap, never_reached, "stale-translation zap-pmd");
FIXTURE_VARIANT_ADD(stale, munmap) {
	.c = { .kind = THP_ANON, .run = stale_unmap, .after = STALE_GONE },
};

THP_COVERS_VARIANT(stale, munmap_page, never_reached, "stale-translation split-munmap");
FIXTURE_VARIANT_ADD(stale, munmap_page) {
	.c = { .kind = THP_ANON, .page = true, .run = stale_unmap, .after = STALE_GONE },
};

THP_COVERS_VARIANT(stale, dontneed, never_reached, "stale-translation zap-pmd");
FIXTURE_VARIANT_ADD(stale, dontneed) {
	.c = { .kind = THP_ANON, .run = stale_dontneed, .after = STALE_ZERO, .reads = true },
};

THP_COVERS_VARIANT(stale, dontneed_page, never_reached, "stale-translation zap-dontneed");
FIXTURE_VARIANT_ADD(stale, dontneed_page) {
	.c = {
		.kind = THP_ANON, .page = true, .run = stale_dontneed, .after = STALE_ZERO,
		.reads = true,
	},
};

THP_COVERS_VARIANT(stale, mremap, never_reached, "stale-translation move-pmd");
FIXTURE_VARIANT_ADD(stale, mremap) {
	.c = {
		.kind = THP_ANON, .prepare = stale_target, .run = stale_move,
		.after = STALE_GONE,
	},
};

THP_COVERS_VARIANT(stale, mremap_keep, never_reached,
		   "stale-translation move-pmd mremap-dontunmap");
FIXTURE_VARIANT_ADD(stale, mremap_keep) {
	.c = {
		.kind = THP_ANON, .prepare = stale_target, .run = stale_move_keep,
		.after = STALE_ZERO, .reads = true,
	},
};

THP_COVERS_VARIANT(stale, mremap_page, never_reached, "stale-translation move-partial");
FIXTURE_VARIANT_ADD(stale, mremap_page) {
	.c = {
		.kind = THP_ANON, .page = true, .prepare = stale_target, .run = stale_move,
		.after = STALE_GONE,
	},
};

THP_COVERS_VARIANT(stale, mremap_table, never_reached, "stale-translation move-pte-table");
FIXTURE_VARIANT_ADD(stale, mremap_table) {
	.c = {
		.kind = THP_ANON, .prepare = stale_target_split, .run = stale_move,
		.after = STALE_GONE,
	},
};

THP_COVERS_VARIANT(stale, mremap_ptes, never_reached, "stale-translation move-partial");
FIXTURE_VARIANT_ADD(stale, mremap_ptes) {
	.c = {
		.kind = THP_ANON, .page = true, .prepare = stale_target_split,
		.run = stale_move, .after = STALE_GONE,
	},
};

THP_COVERS_VARIANT(stale, mremap_upper, never_reached, "stale-translation move-pmd-page");
FIXTURE_VARIANT_ADD(stale, mremap_upper) {
	.c = { .prepare = stale_upper, .run = stale_move_upper, .after = STALE_GONE },
};

THP_COVERS_VARIANT(stale, uffd_move, never_reached, "stale-translation uffd-move-pmd");
FIXTURE_VARIANT_ADD(stale, uffd_move) {
	.c = {
		.kind = THP_ANON, .needs = THP_NEED_UFFD_MOVE, .prepare = stale_uffd_target,
		.run = stale_uffd_move, .after = STALE_ZERO, .reads = true,
	},
};

THP_COVERS_VARIANT(stale, uffd_move_page, never_reached, "stale-translation uffd-move-split");
FIXTURE_VARIANT_ADD(stale, uffd_move_page) {
	.c = {
		.kind = THP_ANON, .page = true, .needs = THP_NEED_UFFD_MOVE,
		.prepare = stale_uffd_target, .run = stale_uffd_move,
		.after = STALE_ZERO, .reads = true,
	},
};

THP_COVERS_VARIANT(stale, uffd_move_ptes, never_reached, "stale-translation uffd-move-split");
FIXTURE_VARIANT_ADD(stale, uffd_move_ptes) {
	.c = {
		.kind = THP_ANON, .page = true, .needs = THP_NEED_UFFD_MOVE,
		.prepare = stale_uffd_target_split, .run = stale_uffd_move,
		.after = STALE_ZERO, .reads = true,
	},
};

THP_COVERS_VARIANT(stale, mprotect_read, never_reached, "stale-translation protect-pmd");
FIXTURE_VARIANT_ADD(stale, mprotect_read) {
	.c = { .kind = THP_ANON, .run = stale_protect_read, .after = STALE_READ_ONLY },
};

THP_COVERS_VARIANT(stale, mprotect_none, never_reached, "stale-translation protect-pmd");
FIXTURE_VARIANT_ADD(stale, mprotect_none) {
	.c = { .kind = THP_ANON, .run = stale_protect_none, .after = STALE_GONE },
};

THP_COVERS_VARIANT(stale, mprotect_page, never_reached, "stale-translation split-mprotect");
FIXTURE_VARIANT_ADD(stale, mprotect_page) {
	.c = {
		.kind = THP_ANON, .page = true, .run = stale_protect_read,
		.after = STALE_READ_ONLY,
	},
};

THP_COVERS_VARIANT(stale, uffd_wp, never_reached, "stale-translation protect-pmd");
FIXTURE_VARIANT_ADD(stale, uffd_wp) {
	.c = {
		.kind = THP_ANON, .needs = THP_NEED_UFFD_WP, .prepare = stale_uffd_wp_prepare,
		.run = stale_uffd_wp, .after = STALE_READ_ONLY,
	},
};

THP_COVERS_VARIANT(stale, pagemap_scan, never_reached, "stale-translation walk-pagemap-scan");
FIXTURE_VARIANT_ADD(stale, pagemap_scan) {
	.c = {
		.kind = THP_ANON, .needs = THP_NEED_UFFD_ASYNC | THP_NEED_SCAN, .rests = true,
		.prepare = stale_scan_prepare, .run = stale_scan, .verify = stale_scan_verify,
		.after = STALE_SAME,
	},
};

THP_COVERS_VARIANT(stale, folio_split, never_reached,
		   "stale-translation folio-split folio-split-advice");
FIXTURE_VARIANT_ADD(stale, folio_split) {
	.c = { .kind = THP_ANON, .run = stale_cold, .after = STALE_SAME },
};

THP_COVERS_VARIANT(stale, folio_split_zeroes, never_reached,
		   "stale-translation folio-split folio-split-advice");
FIXTURE_VARIANT_ADD(stale, folio_split_zeroes) {
	.c = {
		.kind = THP_ANON, .zeroes = true, .prepare = stale_zeroes, .run = stale_cold,
		.after = STALE_SAME,
	},
};

THP_COVERS_VARIANT(stale, pageout, never_reached, "stale-translation reclaim-unmap");
FIXTURE_VARIANT_ADD(stale, pageout) {
	.c = {
		.kind = THP_ANON, .needs = THP_NEED_SWAP, .rests = true, .run = stale_pageout,
		.after = STALE_SAME,
	},
};

THP_COVERS_VARIANT(stale, free, never_reached, "stale-translation advice-pmd reclaim-lazyfree");
FIXTURE_VARIANT_ADD(stale, free) {
	.c = {
		.kind = THP_ANON, .rests = true, .may_zero = true,
		.run = stale_free, .verify = stale_free_verify, .after = STALE_SAME,
	},
};

THP_COVERS_VARIANT(stale, migrate, never_reached, "stale-translation migrate-pmd");
FIXTURE_VARIANT_ADD(stale, migrate) {
	.c = {
		.kind = THP_ANON, .needs = THP_NEED_NODES | THP_NEED_MOVE_PAGES,
		.run = stale_migrate, .after = STALE_SAME,
	},
};

THP_COVERS_VARIANT(stale, to_device, never_reached, "stale-translation migrate-device-pmd");
FIXTURE_VARIANT_ADD(stale, to_device) {
	.c = {
		.kind = THP_ANON, .needs = THP_NEED_HMM_HUGE, .rests = true,
		.prepare = stale_hmm_prepare, .run = stale_to_device,
		.verify_read = stale_device_verify, .after = STALE_SAME,
	},
};

THP_COVERS_VARIANT(stale, zero_to_device, never_reached, "stale-translation fault-device-private");
FIXTURE_VARIANT_ADD(stale, zero_to_device) {
	.c = {
		.kind = THP_ZERO, .needs = THP_NEED_HMM_HUGE | THP_NEED_ZERO, .rests = true,
		.reads = true, .prepare = stale_hmm_prepare, .run = stale_to_device,
		.verify_read = stale_device_verify, .after = STALE_SAME,
	},
};

THP_COVERS_VARIANT(stale, fork, never_reached, "stale-translation fork-anon cow-write");
FIXTURE_VARIANT_ADD(stale, fork) {
	.c = {
		.kind = THP_ANON, .run = stale_fork, .verify = stale_fork_verify,
		.after = STALE_SAME,
	},
};

THP_COVERS_VARIANT(stale, zero_write, never_reached, "stale-translation zero-write");
FIXTURE_VARIANT_ADD(stale, zero_write) {
	.c = {
		.kind = THP_ZERO, .needs = THP_NEED_ZERO, .reads = true, .run = stale_zero_write,
		.after = STALE_SAME,
	},
};

THP_COVERS_VARIANT(stale, collapse, never_reached, "stale-translation collapse");
FIXTURE_VARIANT_ADD(stale, collapse) {
	.c = {
		.kind = THP_SMALL, .needs = THP_NEED_COLLAPSE, .prepare = stale_small,
		.run = stale_collapse, .after = STALE_SAME,
	},
};

FIXTURE_SETUP(stale)
{
	THP_NEEDS(variant->c.needs | (variant->c.kind ? thp_kind_needs(variant->c.kind) : 0));
	self->s.c = &variant->c;
	self->s.cpu = stale_other_cpu();
	if (self->s.cpu < 0)
		THP_SKIP("needs two CPUs");
}

FIXTURE_TEARDOWN_PARENT(stale)
{
	(void)self;
	(void)variant;
	thp_teardown(_metadata);
}

TEST_F_TIMEOUT(stale, never_reached, 90)
{
	struct thp_why why = { 0 };

	THP_REQUIRE_OK(stale_rounds(&self->s, &why), &why);
}
