// SPDX-License-Identifier: GPL-2.0
/*
 * edges_ops: Ranges that begin in one THP and end in another: operations and oracles.
 */

/*
 * Ranges with two edges: they begin in the middle of one THP and end in the middle of
 * another, so they need two tables, and the second can be refused after the first was
 * allocated. Only here "nothing has changed" is more than "nothing was begun".
 *
 *	area    below   THP 0   THP 1   THP 2   above
 *	|       |      #|#######|#######|#######|#     |
 *	                    ^ range           ^
 *	                        boundary of the next level
 *
 * The range crosses into another table of the level above (a PUD): each level of a page
 * table walk returns its result to the next higher one.
 */
#define EDGE_THPS	3

struct edge_op {
	const char *row;	/* of the split table: the call, its errors, its needs */
	int (*prepare)(struct thp_map *m, struct thp_why *why);
	/* Checks the effect after success. */
	int (*verify)(const struct edge_op *e, struct thp_map *m, struct thp_why *why);
	unsigned int tables;	/* number of needed tables: the edges that are inside a THP */
	unsigned int from;	/* where the range begins, in halves of a THP */
	bool inside;		/* the range is the middle of THP 1: both edges in one PMD */
	bool zero[EDGE_THPS];	/* huge zero PMDs instead of THPs, for these */
	bool small_mid;		/* base pages instead of THP 1 */
	bool holes;		/* ... whose upper half is not present */
	bool zaps;		/* success unmaps THP 1 */
	bool cuts;		/* the first edge may stay split after a failure */
	bool two_vmas;		/* the second VMA starts with THP 2 */
	bool to_end;		/* the range ends with THP 2, not in it */
	bool wp;		/* it changes the userfaultfd bit: ... */
	bool wp_before;		/* ... from this to the opposite */
	bool scan;		/* PAGEMAP_SCAN: may stop on its way, and reports where */
};

static size_t edge_first(const struct edge_op *e)
{
	return e->inside ? thp_env.nr + thp_env.nr / 4 : e->from * thp_env.nr / 2;
}

static size_t edge_end(const struct edge_op *e)
{
	if (e->inside)
		return 2 * thp_env.nr - thp_env.nr / 4;
	return EDGE_THPS * thp_env.nr - (e->to_end ? 0 : thp_env.nr / 2);
}

/* Reserves addresses, with the boundary below THP 2 if there is room for that. */
static char *edges_reserve(size_t len)
{
	size_t pmd = thp_env.pmd, align = thp_span(), below = EDGE_THPS * pmd;
	char *p = MAP_FAILED, *area;

	if (align)
		p = mmap(NULL, align + len, PROT_NONE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (p == MAP_FAILED) {
		align = pmd;
		p = mmap(NULL, align + len, PROT_NONE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	}
	if (p == MAP_FAILED)
		return p;
	area = (char *)(((uintptr_t)p + below + align - 1) & ~(align - 1)) - below;
	munmap(p, area - p);
	munmap(area + len, p + align - area);
	return area;
}

/* As thp_map_create(), for a row of THPs; @m->thp is the first one. */
static int edges_create(struct thp_map *m, enum thp_kind kind, struct thp_why *why)
{
	size_t pmd = thp_env.pmd;

	thp_map_init(m, kind);
	m->area_len = (EDGE_THPS + 2) * pmd;
	m->area = edges_reserve(m->area_len);
	if (m->area == MAP_FAILED) {
		m->area = NULL;
		return thp_why(why, -errno, "mmap: %s", strerror(errno));
	}
	m->thp = m->area + pmd;
	if (mprotect(m->area, m->area_len, PROT_READ | PROT_WRITE))
		return thp_why(why, -errno, "mprotect: %s", strerror(errno));
	madvise(m->area, m->area_len, MADV_NOHUGEPAGE);
	thp_touch(m->thp - thp_env.page);
	thp_touch(m->thp + EDGE_THPS * pmd);
	if (madvise(m->area, m->area_len, MADV_HUGEPAGE))
		return thp_why(why, -errno, "MADV_HUGEPAGE: %s", strerror(errno));
	return 0;
}

/* The number of huge PMDs in the area: THPs by AnonHugePages, huge zero PMDs one by one. */
static int edges_huge(const struct thp_map *m, struct thp_smaps *sm, struct thp_why *why)
{
	int ret = thp_obs_smaps(0, m->area, m->area_len, sm), zero = 0;
	enum thp_state state;
	size_t i;

	for (i = 0; i < EDGE_THPS && !ret; i++) {
		ret = thp_obs_state(m->thp + i * thp_env.pmd, thp_env.pmd, &state);
		zero += !ret && state == THP_STATE_PMD_ZERO;
	}
	return ret ? thp_why(why, ret, "smaps or page map: %s", thp_errno_name(ret)) :
	       (int)(sm->anon_huge_kb * 1024 / thp_env.pmd) + zero;
}

/* Fills the THPs, and reads the ranges that become huge zero PMDs. */
static void edges_fault(struct thp_map *m, const struct edge_op *e)
{
	size_t i;

	for (i = 0; i < EDGE_THPS * thp_env.nr; i++) {
		if (!e->zero[i / thp_env.nr])
			thp_fill(thp_page(m, i), m->seed, i);
		else if (i % thp_env.nr == 0)
			(void)thp_peek(thp_page(m, i));
	}
}

static int edges_new(struct thp_map *m, const struct edge_op *e, struct thp_why *why)
{
	int want = EDGE_THPS - e->small_mid, try, ret;
	static struct thp_smaps sm;

	ret = edges_create(m, THP_ANON, why);
	for (try = 0; try < 4 && !ret; try++) {
		if (e->small_mid)
			ret = madvise(m->thp + thp_env.pmd, thp_env.pmd, MADV_NOHUGEPAGE);
		if (!ret)
			edges_fault(m, e);
		if (e->small_mid && !ret)
			ret = madvise(m->thp + thp_env.pmd, thp_env.pmd, MADV_HUGEPAGE);
		if (e->holes && !ret)
			ret = madvise(m->thp + thp_env.pmd + thp_env.pmd / 2, thp_env.pmd / 2,
				      MADV_DONTNEED);
		if (ret)
			return thp_why(why, -errno, "madvise: %s", strerror(errno));
		if (edges_huge(m, &sm, why) == want)
			return 0;
		madvise(m->thp, EDGE_THPS * thp_env.pmd, MADV_DONTNEED);
		(void)thp_write_file("/proc/sys/vm/compact_memory", "1");
	}
	return ret ? ret : thp_skip(why, THP_FRAGMENTED);
}

static int edges_locked(struct thp_map *m, struct thp_why *why)
{
	return mlock2(m->thp, EDGE_THPS * thp_env.pmd, MLOCK_ONFAULT) ?
		thp_why(why, -errno, "mlock2: %s", strerror(errno)) : 0;
}

static int edges_uffd(struct thp_map *m, uint64_t features, uint64_t mode, struct thp_why *why)
{
	m->uffd = thp_uffd_watch(m->thp, EDGE_THPS * thp_env.pmd, features, mode, why);
	return m->uffd < 0 ? m->uffd : 0;
}

static int edges_uffd_wp(struct thp_map *m, struct thp_why *why)
{
	return edges_uffd(m, 0, UFFDIO_REGISTER_MODE_WP, why);
}

static int edges_uffd_wped(struct thp_map *m, struct thp_why *why)
{
	int ret = edges_uffd_wp(m, why);

	if (!ret)
		ret = thp_uffd_wp(m->uffd, m->thp, EDGE_THPS * thp_env.pmd, 1);
	return ret ? thp_why(why, ret, "UFFDIO_WRITEPROTECT: %s", thp_errno_name(ret)) : 0;
}

static int edges_uffd_rwp(struct thp_map *m, struct thp_why *why)
{
	return edges_uffd(m, UFFD_FEATURE_RWP | UFFD_FEATURE_RWP_ASYNC, UFFDIO_REGISTER_MODE_RWP,
			  why);
}

static int edges_uffd_async(struct thp_map *m, struct thp_why *why)
{
	return edges_uffd(m, UFFD_FEATURE_WP_ASYNC | UFFD_FEATURE_WP_UNPOPULATED,
			  UFFDIO_REGISTER_MODE_WP, why);
}

static int edges_verify_mprotect(const struct edge_op *e, struct thp_map *m, struct thp_why *why)
{
	size_t first = edge_first(e), end = edge_end(e), i;
	size_t pages[] = { first, (first + end) / 2, end - 1 };

	for (i = 0; i < ARRAY_SIZE(pages); i++) {
		char byte = SPLIT_BYTE;
		struct iovec from = { .iov_base = &byte, .iov_len = 1 };
		struct iovec to = { .iov_base = thp_page(m, pages[i]), .iov_len = 1 };

		if (process_vm_writev(getpid(), &from, 1, &to, 1, 0) == 1)
			return thp_why(why, -EPROTO, "page %zu can still be written", pages[i]);
	}
	return 0;
}

static int edges_verify_mlock(const struct edge_op *e, struct thp_map *m, struct thp_why *why)
{
	unsigned long long want = (edge_end(e) - edge_first(e)) * thp_env.page / 1024;
	static struct thp_smaps sm;
	int ret = thp_obs_smaps(0, m->area, m->area_len, &sm);

	if (ret || sm.locked_kb != want)
		return thp_why(why, -EPROTO, "Locked: %llu kB, expected %llu",
			       (unsigned long long)sm.locked_kb, want);
	return 0;
}

/* One PAGEMAP_SCAN. */
struct scan {
	struct pm_scan_arg arg;
	struct page_region vec[8];
	int n;			/* regions or -errno */
};

static struct scan scan, scan_rest;

static int do_scan(struct scan *s, const char *from, const char *to)
{
	int fd;

	memset(&s->arg, 0, sizeof(s->arg));
	s->arg.vec = (uintptr_t)s->vec;
	s->arg.vec_len = ARRAY_SIZE(s->vec);
	fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	s->n = thp_uffd_scan(fd, from, to - from, &s->arg);
	close(fd);
	return s->n < 0 ? s->n : 0;
}

/* 0 or -errno; the range begins at page @from. */
static int edge_run(const struct edge_op *e, struct thp_map *m, size_t from)
{
	char *start = thp_page(m, from), *end = thp_page(m, edge_end(e));
	int ret;

	if (!e->scan)
		return split_run_at(split_op_by_name(e->row), m, start, end - start);
	scan_rest.n = 0;
	ret = do_scan(&scan, start, end);
	/* The rest takes another call, which returns the error. */
	if (!ret && scan.arg.walk_end < (uintptr_t)end)
		(void)do_scan(&scan_rest, (char *)(uintptr_t)scan.arg.walk_end, end);
	return ret;
}

static long page_of(const struct thp_map *m, uint64_t addr)
{
	return ((long)addr - (long)m->thp) / (long)thp_env.page;
}

/*
 * All pages had been written to: the regions have to contain each page that the scan has
 * reached, and no other. Returns the first page that the scan has not reached, or -errno.
 */
static long check_regions(const struct edge_op *e, const struct thp_map *m, size_t from,
			  struct thp_why *why)
{
	uint64_t pos = (uintptr_t)thp_page(m, from);
	int i;

	for (i = 0; i < scan.n; i++) {
		if (scan.vec[i].start != pos || scan.vec[i].end <= pos)
			return thp_why(why, -EPROTO,
				       "region %d: pages %ld to %ld, expected them from %ld", i,
				       page_of(m, scan.vec[i].start), page_of(m, scan.vec[i].end),
				       page_of(m, pos));
		pos = scan.vec[i].end;
	}
	if (scan.arg.walk_end != pos)
		return thp_why(why, -EPROTO, "walk_end is page %ld, the pages reported end at %ld",
			       page_of(m, scan.arg.walk_end), page_of(m, pos));
	if (pos != (uintptr_t)thp_page(m, edge_end(e)) && scan_rest.n != -ENOMEM)
		return thp_why(why, -EPROTO, "the scan that goes on returned %s, expected ENOMEM",
			       scan_rest.n < 0 ? thp_errno_name(scan_rest.n) : "regions");
	return page_of(m, pos);
}

/* Pages [@lo, @hi) have the userfaultfd bit in its new state, all others in the old one. */
static int check_bits(const struct edge_op *e, const struct thp_map *m, size_t lo, size_t hi,
		      struct thp_why *why)
{
	size_t all = EDGE_THPS * thp_env.nr, i;
	uint64_t entry;
	int fd, ret = 0;

	if (!e->wp)
		return 0;
	fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return thp_why(why, -errno, "pagemap: %s", strerror(errno));
	for (i = 0; i < all && !ret; i++) {
		bool want = (i >= lo && i < hi) != e->wp_before, is;

		if (pread(fd, &entry, 8, (uintptr_t)thp_page(m, i) / thp_env.page * 8) != 8) {
			ret = thp_why(why, -EIO, "pagemap: %s", strerror(errno));
			break;
		}
		is = entry & THP_PM_UFFD_WP;
		if (is != want)
			ret = thp_why(why, -EPROTO,
				      "page %zu is %suffd-wp, expected a change of %zu to %zu only",
				      i, is ? "" : "not ", lo, hi);
	}
	close(fd);
	return ret;
}

/* Checks without signals whether all of these pages can be read, or none of them. */
static int check_access(const struct thp_map *m, size_t lo, size_t hi, bool want,
			struct thp_why *why)
{
	size_t i;
	char byte;

	for (i = lo; i < hi; i++) {
		struct iovec to = { .iov_base = &byte, .iov_len = 1 };
		struct iovec from = { .iov_base = thp_page(m, i), .iov_len = 1 };

		if ((process_vm_readv(getpid(), &to, 1, &from, 1, 0) == 1) != want)
			return thp_why(why, -EPROTO, "page %zu can%s be read", i,
				       want ? "not" : " still");
	}
	return 0;
}

/* Checks the written contents; holes read as zeroes. */
static int check_plain(const struct edge_op *e, const struct thp_map *m, size_t lo, size_t hi,
		       struct thp_why *why)
{
	size_t i;
	int ret = 0;

	for (i = lo; i < hi && !ret; i++) {
		if ((e->holes && i >= thp_env.nr + thp_env.nr / 2 && i < 2 * thp_env.nr) ||
		    e->zero[i / thp_env.nr])
			ret = thp_check_zero(thp_page(m, i), 1, why);
		else
			ret = thp_map_check(m, i, 1, why);
	}
	return ret;
}

/* Checks contents and protection after the operation (@done), or as before it. */
static int check_edge_data(const struct edge_op *e, struct thp_map *m, bool done,
			   struct thp_why *why)
{
	size_t first = edge_first(e), end = edge_end(e), all = EDGE_THPS * thp_env.nr;
	const struct split_op *op = split_op_by_name(e->row);
	int ret;

	if (!done) {
		ret = check_access(m, 0, all, true, why);
		return ret ? ret : check_plain(e, m, 0, all, why);
	}
	ret = check_plain(e, m, 0, first, why);
	if (!ret)
		ret = check_plain(e, m, end, all, why);
	if (ret)
		return ret;
	if (op->effect == ZEROES)
		ret = thp_check_zero(thp_page(m, first), end - first, why);
	else if (op->effect == UNMAPS)
		ret = check_access(m, first, end, false, why);
	else
		ret = check_plain(e, m, first, end, why);
	if (!ret && e->verify)
		ret = e->verify(e, m, why);
	return ret;
}

/* The state that the victim has recorded before the operation. */
struct edge_before {
	struct thp_smaps sm;
	long long vmpte;
	int huge;		/* THPs */
};

/* The tables of @n splits, minus those that an eager kernel frees with a zapped THP. */
static int check_edge_tables(const struct edge_op *e, const struct edge_before *b, int n,
			     bool done, struct thp_why *why)
{
	long long got = thp_obs_vmpte(0) - b->vmpte, want;

	want = n * thp_tables_split(THP_ANON);
	if (done && e->zaps)
		want -= thp_tables_mapped(THP_ANON);
	want *= (long long)thp_env.table;
	/* VmPTE is rounded down to kB. */
	if (got - want > -1024 && got - want < 1024)
		return 0;
	return thp_why(why, -EPROTO, "%+lld B of tables, expected %+lld", got, want);
}

/* The operation is complete. */
static int judge_done(const struct edge_op *e, struct thp_map *m, const struct edge_before *b,
		      struct thp_why *why)
{
	static struct thp_smaps sm;
	int huge = edges_huge(m, &sm, why), want, ret;

	want = b->huge - (int)e->tables - e->zaps;
	if (huge != want)
		return thp_why(why, -EPROTO, "%d THPs are left after success, expected %d", huge,
			       want);
	ret = check_edge_tables(e, b, e->tables, true, why);
	if (!ret)
		ret = check_bits(e, m, edge_first(e), edge_end(e), why);
	return ret ? ret : check_edge_data(e, m, true, why);
}

/* It failed (or stopped, as a scan may): the rest of the range is unchanged. */
static int judge_refused(const struct edge_op *e, struct thp_map *m, const struct edge_before *b,
			 int op_ret, unsigned int granted, size_t reached, struct thp_why *why)
{
	const struct split_op *op = split_op_by_name(e->row);
	static struct thp_smaps sm;
	int huge, cut, ret;

	if (op_ret && !split_errno_ok(op, op_ret))
		return thp_why(why, -EPROTO, "returned %s, which it is not documented to",
			       thp_errno_name(op_ret));
	huge = edges_huge(m, &sm, why);
	cut = b->huge - huge;
	if (cut < 0 || cut > (e->cuts ? (int)granted : 0))
		return thp_why(why, -EPROTO, "returned %s, but left %d of %d THPs",
			       thp_errno_name(op_ret), huge, b->huge);
	ret = check_edge_tables(e, b, cut, false, why);
	if (!ret)
		ret = starve_same_vmas(op, b->sm.layout, sm.layout, why);
	if (!ret && e->two_vmas && cut) {
		/*
		 * Judges each VMA separately: the first may be done, but then all of its part
		 * is.
		 */
		struct thp_why ignored = { 0 };

		if (!check_bits(e, m, edge_first(e), (EDGE_THPS - 1) * thp_env.nr, &ignored))
			reached = (EDGE_THPS - 1) * thp_env.nr;
	}
	if (!ret)
		ret = check_bits(e, m, edge_first(e), reached, why);
	return ret ? ret : check_edge_data(e, m, false, why);
}
