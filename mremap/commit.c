// SPDX-License-Identifier: GPL-2.0
/*
 * The commit charge (Committed_AS) and the locked memory (VmLck) of moves that are refused.
 * mremap() unmaps the source after everything has been moved, and that takes slab objects:
 * VMAs for the parts that are split off, nodes of the VMA tree. The test refuses every
 * allocation of the call once, slab objects included:
 *
 *	| PROT_NONE |== source ==|THP|===== moved =====|THP|== source ==| PROT_NONE |
 *	            ^            ^                         ^            ^
 *	            base         base + EDGE PMDs          ...          base + COMMIT PMDs
 *
 * The move is either complete, or it has failed, and the source is unchanged and still
 * accounted. In both cases no charge is left over.
 *
 * The moved range is large, and empty except for its edges: a leak in each call is far more
 * than other processes charge meanwhile.
 */

/* PMDs of the mapping, and of the parts that stay on either side. */
#define COMMIT		66
#define COMMIT_EDGE	1
#define COMMIT_MOVED	(COMMIT - 2 * COMMIT_EDGE)

#define COMMIT_ROOM	"needs address space and commit charge for 66 PMDs"

FIXTURE(commit) {
	int unused;
};

struct commit_case {
	bool head, tail;	/* the moved range begins, ends with the mapping */
	bool locked;		/* mlock2(MLOCK_ONFAULT) */
	bool grow;		/* by one PMD */
	bool noreserve;		/* MAP_NORESERVE: not accounted */
	int flags;		/* of mremap() besides MAYMOVE | FIXED */
};

FIXTURE_VARIANT(commit) {
	struct commit_case c;
};

FIXTURE_VARIANT_ADD(commit, middle) { .c = { .head = false } };
FIXTURE_VARIANT_ADD(commit, head) { .c = { .head = true } };
FIXTURE_VARIANT_ADD(commit, tail) { .c = { .tail = true } };
FIXTURE_VARIANT_ADD(commit, whole) { .c = { .head = true, .tail = true } };
FIXTURE_VARIANT_ADD(commit, grow) { .c = { .grow = true } };
FIXTURE_VARIANT_ADD(commit, noreserve) { .c = { .noreserve = true } };
FIXTURE_VARIANT_ADD(commit, locked) { .c = { .locked = true } };
FIXTURE_VARIANT_ADD(commit, keep) { .c = { .flags = MREMAP_DONTUNMAP } };
FIXTURE_VARIANT_ADD(commit, keep_locked) {
	.c = { .flags = MREMAP_DONTUNMAP, .locked = true },
};

FIXTURE_SETUP(commit)
{
	(void)self;
	(void)variant;
	thp_warm_up();
}

FIXTURE_TEARDOWN_PARENT(commit)
{
	(void)self;
	(void)variant;
	thp_teardown(_metadata);
}

/* One round. */
struct commit {
	const struct commit_case *c;
	char *area;		/* all of it */
	size_t area_len;
	char *base;		/* the mapping */
	char *src, *dst;	/* what is moved, and to where */
	size_t len, new_len;
	uint64_t seed;
	bool accounted;		/* VM_ACCOUNT */
	long long locked;	/* kB */
};

static long long locked_kb(void)
{
	return thp_read_field("/proc/self/status", "VmLck");
}

/* Exact since Linux 5.9: vm_memory_committed() sums the shares of the CPUs. */
static long long committed_kb(void)
{
	return thp_read_field("/proc/meminfo", "Committed_AS");
}

/* Whether [start, start + len) is mapped, and whether all its VMAs have VM_ACCOUNT, or none. */
static int commit_vmas(const char *start, size_t len, bool mapped, bool accounted,
		       const char *what, struct thp_why *why)
{
	static struct thp_smaps sm;
	const char *line, *nl, *ac;
	int ret = thp_obs_smaps(0, start, len, &sm);

	if (ret)
		return thp_why(why, ret, "smaps: %s", thp_errno_name(ret));
	if (mapped != !!sm.vmas)
		return thp_why(why, -EPROTO, "%s is %smapped, expected %s", what,
			       mapped ? "not " : "still ", mapped ? "it is" : "it is not");
	for (line = sm.layout; mapped && (nl = strchr(line, '\n')); line = nl + 1) {
		ac = strstr(line, " ac");
		if (accounted != (ac && ac < nl))
			return thp_why(why, -EPROTO, "%s: VM_ACCOUNT %d, expected %d: %.*s", what,
				       !accounted, accounted, (int)(nl - line), line);
	}
	return 0;
}

static char *commit_edge(const struct commit *m, char *start, int i)
{
	return i ? start + m->len - thp_env.pmd : start;
}

static int commit_map(struct commit *m, struct thp_why *why)
{
	const struct commit_case *c = m->c;
	size_t pmd = thp_env.pmd, p;
	int i;

	m->seed = getpid();
	m->base = thp_reserve((2 * COMMIT + 4) * pmd, pmd, &m->area, &m->area_len);
	if (!m->base)
		return thp_skip(why, COMMIT_ROOM, "%zu B of address space", (2 * COMMIT + 4) * pmd);
	m->base += pmd;
	m->dst = m->base + (COMMIT + 1) * pmd;
	m->src = m->base + (c->head ? 0 : COMMIT_EDGE * pmd);
	m->len = (c->tail ? m->base + COMMIT * pmd :
		  m->base + (COMMIT - COMMIT_EDGE) * pmd) - m->src;
	m->new_len = m->len + (c->grow ? pmd : 0);
	if (mmap(m->base, COMMIT * pmd, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS |
		 MAP_FIXED | (c->noreserve ? MAP_NORESERVE : 0), -1, 0) == MAP_FAILED)
		return thp_skip(why, COMMIT_ROOM, "%zu B of commit charge", COMMIT * pmd);
	if (madvise(m->base, COMMIT * pmd, MADV_HUGEPAGE))
		return thp_why(why, -errno, "MADV_HUGEPAGE: %s", strerror(errno));
	/* With THPs if they can be allocated: the test does not depend on them. */
	for (i = 0; i < 2; i++)
		for (p = 0; p < thp_env.nr; p++)
			thp_fill(commit_edge(m, m->src, i) + p * thp_env.page, m->seed + i, p);
	if (c->locked && mlock2(m->base, COMMIT * pmd, MLOCK_ONFAULT))
		return thp_why(why, -errno, "mlock2: %s", strerror(errno));
	m->locked = locked_kb();
	if (m->locked < 0 || committed_kb() < 0)
		return thp_why(why, -EIO, "VmLck or Committed_AS cannot be read");
	/* vm.overcommit_memory=2 ignores MAP_NORESERVE. */
	m->accounted = !commit_vmas(m->base, COMMIT * pmd, true, true, "", NULL);
	if (!m->accounted && !c->noreserve)
		return thp_why(why, -EPROTO, "a private writable mapping is not accounted for");
	return 0;
}

/* Checks the contents of both edges, wherever they are now. */
static int commit_contents(const struct commit *m, char *start, struct thp_why *why)
{
	int ret = 0, i;

	for (i = 0; i < 2 && !ret; i++)
		ret = thp_check(commit_edge(m, start, i), m->seed + i, 0, thp_env.nr, why);
	return ret;
}

/* Judges the locked memory of the process, and the source and the target of the move. */
static int commit_judge(struct commit *m, int err, struct thp_why *why)
{
	bool keep = m->c->flags & MREMAP_DONTUNMAP, done = !err;
	long long locked = locked_kb() - m->locked;
	int ret;

	if (err && err != -ENOMEM)
		return thp_why(why, -EPROTO, "mremap: %s, expected success or ENOMEM",
			       thp_errno_name(err));
	ret = commit_vmas(m->src, m->len, !done || keep, m->accounted,
			  done ? "success, and the source" : "failed, and the source", why);
	if (!ret && done)
		ret = commit_vmas(m->dst, m->new_len, true, m->accounted, "the target", why);
	/* MREMAP_FIXED unmaps the target first: it is unmapped or still PROT_NONE. */
	if (!ret && !done && commit_vmas(m->dst, m->new_len, false, false, "", NULL))
		ret = commit_vmas(m->dst, m->new_len, true, false, "failed, and the target",
				  why);
	if (!ret)
		ret = commit_contents(m, done ? m->dst : m->src, why);
	if (ret)
		return ret;
	if (locked != (done && m->c->grow && m->c->locked ? (long long)thp_env.pmd / 1024 : 0))
		return thp_why(why, -EPROTO, "VmLck: %+lld kB, expected +0", locked);
	return 0;
}

/* The @nth allocation of a move refused. 1 if one was, 0 if not, -errno. */
static int commit_round(struct commit *m, int fd, int nth, struct thp_why *why)
{
	int ret, err, fired;
	char *to;

	ret = commit_map(m, why);
	if (!ret)
		ret = thp_inject_nth_arm(fd, nth);
	if (ret)
		return thp_why(why, ret, "fail-nth cannot be armed: %s", thp_errno_name(ret));
	to = mremap(m->src, m->len, m->new_len, MREMAP_MAYMOVE | MREMAP_FIXED | m->c->flags,
		    m->dst);
	err = to == MAP_FAILED ? -errno : 0;
	fired = thp_inject_nth_disarm(fd);
	if (fired < 0)
		return thp_why(why, fired, "fail-nth: %s", thp_errno_name(fired));
	if (err && !fired)
		return thp_why(why, -EPROTO, "mremap: %s without an injection",
			       thp_errno_name(err));
	TRY(commit_judge(m, err, why));
	return fired;
}

/* kB that rounds at this shot leave charged: the minimum of several measurements. */
static long long commit_lost(struct commit *m, int fd, int nth, int *hit, struct thp_why *why)
{
	long long before, lost, least = 0;
	int try;

	for (try = 0; try < THP_TRIES; try++) {
		before = committed_kb();
		*hit = commit_round(m, fd, nth, why);
		if (m->area)
			munmap(m->area, m->area_len);
		m->area = NULL;
		if (*hit < 0)
			return 0;
		lost = committed_kb() - before;
		if (!try || llabs(lost) < llabs(least))
			least = lost;
		/* Other processes charge and uncharge, too, but hardly that much each time. */
		if (llabs(least) < COMMIT_MOVED / 2 * (long long)thp_env.pmd / 1024)
			break;
	}
	return least;
}

/* Every allocation of the call is refused once, slab objects as well. */
THP_COVERS(commit, slabs, "move-fail");
TEST_F(commit, slabs)
{
	struct commit m = { .c = &variant->c };
	struct thp_why why = { 0 };
	int fd, nth, hit = 1, shots = 0;
	long long lost;

	(void)self;
	THP_NEEDS(THP_NEED_FAIL_NTH);
	THP_REQUIRE_OK(thp_inject_any(0, &why), &why);
	THP_REQUIRE_OK(thp_inject_slabs(&why), &why);
	fd = thp_inject_nth_open();
	THP_REQUIRE(fd >= 0, "fail-nth: %s", thp_errno_name(fd));
	for (nth = 1; nth <= NTH_MAX && hit == 1; nth++) {
		lost = commit_lost(&m, fd, nth, &hit, &why);
		if (hit < 0)
			THP_REQUIRE_RESULT(thp_why_from(&why, hit, &why,
							"allocation %d refused", nth), &why);
		THP_REQUIRE(llabs(lost) < COMMIT_MOVED / 2 * (long long)thp_env.pmd / 1024,
			    "allocation %d refused: Committed_AS %+lld kB for good", nth, lost);
		shots += hit;
	}
	close(fd);
	THP_CHECK(!hit, "more than %d allocations", NTH_MAX);
	THP_CHECK(shots > 0, "mremap() made no allocation that could be refused");
}
