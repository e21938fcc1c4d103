// SPDX-License-Identifier: GPL-2.0
/*
 * Needless splits: if the kernel refuses a call in any case, it must do so before it splits
 * a huge PMD. A needless split costs a page table and TLB misses, and it is permanent.
 *
 * docs/contract.md says which refused calls do split first, in all kernels so far.
 */
/* More VMAs than this take too long to create. */
#define NEEDLESS_MAPS	262144

struct needless_case {
	uint64_t needs;
	bool whole;		/* the call is on all of the THP, else on the page in the middle */
	int errnos[2];		/* one of these; none: success, advice that is ignored */
	int (*prepare)(struct thp_map *m, struct thp_why *why);
	int (*run)(struct thp_map *m, char *addr, size_t len);
};

#define NEEDLESS_RET(call) ((call) ? -errno : 0)

/* Takes a lasting reference to the first page: the folio cannot be split. */
static int needless_hold(struct thp_map *m, struct thp_why *why)
{
	struct iovec iov = { .iov_base = m->thp, .iov_len = thp_env.page };

	if (pipe2(m->pipe, O_CLOEXEC))
		return thp_why(why, -errno, "pipe: %s", strerror(errno));
	return vmsplice(m->pipe[1], &iov, 1, 0) == (ssize_t)thp_env.page ? 0 :
		thp_why(why, -errno, "vmsplice: %s", strerror(errno));
}

static struct thp_child needless_sharer;

enum needless_step { NEEDLESS_SHARED = 1, NEEDLESS_END };

static int needless_share_child(struct thp_chan *chan, void *arg)
{
	(void)arg;
	thp_chan_post_parent(chan, NEEDLESS_SHARED);
	thp_chan_await_parent(chan, NEEDLESS_END);
	return 0;
}

/* A child maps it as well: advice must leave the pages alone (folio_maybe_mapped_shared()). */
static int needless_share(struct thp_map *m, struct thp_why *why)
{
	int ret;

	(void)m;
	thp_child_kill(&needless_sharer);
	ret = thp_child_start(&needless_sharer, needless_share_child, NULL);
	if (!ret)
		ret = thp_child_await(&needless_sharer, NEEDLESS_SHARED, THP_STEP_MS);
	return ret ? thp_why(why, ret, "a child to share with: %s", thp_errno_name(ret)) : 0;
}

static int needless_cold(struct thp_map *m, char *addr, size_t len)
{
	(void)m;
	return NEEDLESS_RET(madvise(addr, len, MADV_COLD));
}

static int needless_pageout(struct thp_map *m, char *addr, size_t len)
{
	(void)m;
	return NEEDLESS_RET(madvise(addr, len, MADV_PAGEOUT));
}

static int needless_free(struct thp_map *m, char *addr, size_t len)
{
	(void)m;
	return NEEDLESS_RET(madvise(addr, len, MADV_FREE));
}

static int needless_debugfs(struct thp_map *m, char *addr, size_t len)
{
	(void)m;
	return thp_split_folios(getpid(), (unsigned long)addr, len);
}

/* Seals the range: it must not be unmapped or moved, or lose its contents. */
static int needless_seal(struct thp_map *m, struct thp_why *why)
{
	/* The map cannot be destroyed: a seal is permanent, and so is this range. */
	if (syscall(__NR_mseal, m->thp, thp_env.pmd, 0))
		return thp_why(why, -errno, "mseal: %s", strerror(errno));
	return 0;
}

static int needless_munmap(struct thp_map *m, char *addr, size_t len)
{
	(void)m;
	return NEEDLESS_RET(munmap(addr, len));
}

static int needless_map_fixed(struct thp_map *m, char *addr, size_t len)
{
	(void)m;
	return mmap(addr, len, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) ==
		MAP_FAILED ? -errno : 0;
}

static int needless_protect(struct thp_map *m, char *addr, size_t len)
{
	(void)m;
	return NEEDLESS_RET(mprotect(addr, len, PROT_READ));
}

static int needless_protect_exec(struct thp_map *m, char *addr, size_t len)
{
	(void)m;
	return NEEDLESS_RET(mprotect(addr, len, PROT_READ | PROT_EXEC));
}

static int needless_protect_bad(struct thp_map *m, char *addr, size_t len)
{
	(void)m;
	return NEEDLESS_RET(mprotect(addr, len, PROT_READ | PROT_GROWSUP | PROT_GROWSDOWN));
}

static int needless_move(struct thp_map *m, char *addr, size_t len)
{
	/* The target is the range below, in the area: nothing else is unmapped. */
	return mremap(addr, len, len, MREMAP_MAYMOVE | MREMAP_FIXED, m->area) == MAP_FAILED ?
		-errno : 0;
}

/* From now on no memory of this process can be made executable. */
static int needless_no_exec(struct thp_map *m, struct thp_why *why)
{
	(void)m;
	if (prctl(PR_SET_MDWE, PR_MDWE_REFUSE_EXEC_GAIN, 0, 0, 0))
		return errno == EINVAL ? thp_skip(why, "needs PR_SET_MDWE (Linux 6.3)") :
			thp_why(why, -errno, "PR_SET_MDWE: %s", strerror(errno));
	return 0;
}

static int needless_lock(struct thp_map *m, struct thp_why *why)
{
	return mlock2(m->thp, thp_env.pmd, MLOCK_ONFAULT) ?
		thp_why(why, -errno, "mlock2: %s", strerror(errno)) : 0;
}

static int needless_dontneed(struct thp_map *m, char *addr, size_t len)
{
	(void)m;
	return NEEDLESS_RET(madvise(addr, len, MADV_DONTNEED));
}

static int needless_guard(struct thp_map *m, char *addr, size_t len)
{
	(void)m;
	return NEEDLESS_RET(madvise(addr, len, MADV_GUARD_INSTALL));
}

static int needless_advice_bad(struct thp_map *m, char *addr, size_t len)
{
	(void)m;
	return NEEDLESS_RET(madvise(addr, len, 9999));
}

/* Creates as many VMAs as the limit allows: pages of alternating protection. */
static int needless_maps(struct thp_map *m, struct thp_why *why)
{
	size_t page = thp_env.page, len, i;
	uint64_t max;
	char *p;

	(void)m;
	if (thp_read_u64("/proc/sys/vm/max_map_count", &max))
		return thp_skip(why, "needs /proc/sys/vm/max_map_count");
	if (max > NEEDLESS_MAPS)
		return thp_skip(why, "needs vm.max_map_count of 262144 at most");
	len = (max + 2) * page;
	p = mmap(NULL, len, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (p == MAP_FAILED)
		return thp_why(why, -errno, "mmap: %s", strerror(errno));
	for (i = 1; i < max; i += 2)
		if (mprotect(p + i * page, page, PROT_READ))
			break;
	/* A cut at the end of a VMA adds one VMA, a cut in the middle two. */
	while (mmap(NULL, page, i++ & 1 ? PROT_READ : PROT_NONE,
		    MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0) != MAP_FAILED)
		;
	return errno == ENOMEM ? 0 : thp_why(why, -errno, "mmap: %s", strerror(errno));
}

static int needless_dontdump(struct thp_map *m, char *addr, size_t len)
{
	(void)m;
	return NEEDLESS_RET(madvise(addr, len, MADV_DONTDUMP));
}

static int needless_mlock(struct thp_map *m, char *addr, size_t len)
{
	(void)m;
	return NEEDLESS_RET(mlock2(addr, len, MLOCK_ONFAULT));
}

static int needless_name(struct thp_map *m, char *addr, size_t len)
{
	(void)m;
	return NEEDLESS_RET(prctl(PR_SET_VMA, PR_SET_VMA_ANON_NAME, addr, len, "thp_lazy_pte"));
}

/* Each try uses new memory: a sealed range stays. */
static int needless_once(const void *arg, struct thp_why *why)
{
	const struct needless_case *c = arg;
	struct thp_meter meter;
	struct thp_map m;
	char *addr;
	int ret;

	TRY(thp_map_new(&m, THP_ANON, why));
	if (c->prepare)
		TRY(c->prepare(&m, why));
	addr = c->whole ? m.thp : thp_page(&m, thp_env.nr / 2);
	TRY(thp_meter_start(&meter, 0, why));
	ret = c->run(&m, addr, c->whole ? thp_env.pmd : thp_env.page);
	TRY(thp_meter_read(&meter, why));
	if (-ret != c->errnos[0] && (!c->errnos[1] || -ret != c->errnos[1]))
		return thp_why(why, -EPROTO, "the call returned %s, expected %s",
			       thp_errno_name(ret), thp_errno_name(c->errnos[0]));
	TRY(thp_map_expect(&m, THP_STATE_PMD, why));
	TRY(thp_map_check(&m, 0, thp_env.nr, why));
	if (thp_meter_bytes(&meter))
		return thp_why(why, -EPROTO, "the call was refused and left %+lld B of tables",
			       thp_meter_bytes(&meter));
	return thp_meter_splits(&meter, 0, "the call was refused", why);
}

/* Runs in a child: the preparation of a case cannot be undone. */
static int needless_child(struct thp_chan *chan, void *arg)
{
	int ret;

	thp_warm_up();
	ret = thp_retry(needless_once, arg, NULL, &chan->why);
	thp_child_kill(&needless_sharer);
	return ret;
}

static int refused_unsplit(const void *arg, struct thp_why *why)
{
	return thp_child_run(needless_child, (void *)arg, THP_LONG_MS, why);
}

FIXTURE(needless) {
	int unused;	/* the harness wants data */
};

FIXTURE_VARIANT(needless) {
	struct needless_case c;
};

THP_COVERS_VARIANT(needless, cold_held, not_split, "needless-split folio-split-advice");
FIXTURE_VARIANT_ADD(needless, cold_held) {
	.c = { .prepare = needless_hold, .run = needless_cold },
};

THP_COVERS_VARIANT(needless, pageout_held, not_split, "needless-split folio-split-advice");
FIXTURE_VARIANT_ADD(needless, pageout_held) {
	.c = { .prepare = needless_hold, .run = needless_pageout },
};

THP_COVERS_VARIANT(needless, free_held, not_split, "needless-split folio-split-advice");
FIXTURE_VARIANT_ADD(needless, free_held) {
	.c = { .prepare = needless_hold, .run = needless_free },
};

THP_COVERS_VARIANT(needless, cold_shared, not_split, "needless-split folio-split-advice");
FIXTURE_VARIANT_ADD(needless, cold_shared) {
	.c = { .prepare = needless_share, .run = needless_cold },
};

THP_COVERS_VARIANT(needless, pageout_shared, not_split, "needless-split folio-split-advice");
FIXTURE_VARIANT_ADD(needless, pageout_shared) {
	.c = { .prepare = needless_share, .run = needless_pageout },
};

THP_COVERS_VARIANT(needless, free_shared, not_split, "needless-split folio-split-advice");
FIXTURE_VARIANT_ADD(needless, free_shared) {
	.c = { .prepare = needless_share, .run = needless_free },
};

THP_COVERS_VARIANT(needless, debugfs_held, not_split, "needless-split folio-split-debugfs");
FIXTURE_VARIANT_ADD(needless, debugfs_held) {
	.c = {
		.needs = THP_NEED_DEBUGFS, .whole = true, .prepare = needless_hold,
		.run = needless_debugfs,
	},
};

THP_COVERS_VARIANT(needless, munmap_sealed, not_split, "needless-split split-munmap");
FIXTURE_VARIANT_ADD(needless, munmap_sealed) {
	.c = {
		.needs = THP_NEED_MSEAL, .prepare = needless_seal, .run = needless_munmap,
		.errnos = { EPERM },
	},
};

THP_COVERS_VARIANT(needless, map_fixed_sealed, not_split, "needless-split split-map-fixed");
FIXTURE_VARIANT_ADD(needless, map_fixed_sealed) {
	.c = {
		.needs = THP_NEED_MSEAL, .prepare = needless_seal, .run = needless_map_fixed,
		.errnos = { EPERM },
	},
};

THP_COVERS_VARIANT(needless, mprotect_sealed, not_split, "needless-split split-mprotect");
FIXTURE_VARIANT_ADD(needless, mprotect_sealed) {
	.c = {
		.needs = THP_NEED_MSEAL, .prepare = needless_seal, .run = needless_protect,
		.errnos = { EPERM },
	},
};

THP_COVERS_VARIANT(needless, mremap_sealed, not_split, "needless-split move-partial");
FIXTURE_VARIANT_ADD(needless, mremap_sealed) {
	.c = {
		.needs = THP_NEED_MSEAL, .prepare = needless_seal, .run = needless_move,
		.errnos = { EPERM },
	},
};

THP_COVERS_VARIANT(needless, mprotect_no_exec, not_split, "needless-split split-mprotect");
FIXTURE_VARIANT_ADD(needless, mprotect_no_exec) {
	.c = {
		.prepare = needless_no_exec, .run = needless_protect_exec, .errnos = { EACCES },
	},
};

THP_COVERS_VARIANT(needless, mprotect_bad, not_split, "needless-split split-mprotect");
FIXTURE_VARIANT_ADD(needless, mprotect_bad) {
	.c = { .run = needless_protect_bad, .errnos = { EINVAL } },
};

THP_COVERS_VARIANT(needless, madvise_bad, not_split, "needless-split split-madvise-flags");
FIXTURE_VARIANT_ADD(needless, madvise_bad) {
	.c = { .run = needless_advice_bad, .errnos = { EINVAL } },
};

THP_COVERS_VARIANT(needless, dontneed_locked, not_split, "needless-split zap-dontneed");
FIXTURE_VARIANT_ADD(needless, dontneed_locked) {
	.c = {
		.needs = THP_NEED_LIMIT, .prepare = needless_lock, .run = needless_dontneed,
		.errnos = { EINVAL },
	},
};

THP_COVERS_VARIANT(needless, guard_install_locked, not_split, "needless-split zap-guard");
FIXTURE_VARIANT_ADD(needless, guard_install_locked) {
	.c = {
		.needs = THP_NEED_GUARD | THP_NEED_LIMIT, .prepare = needless_lock,
		.run = needless_guard, .errnos = { EINVAL },
	},
};

THP_COVERS_VARIANT(needless, munmap_maps, not_split, "needless-split split-munmap");
FIXTURE_VARIANT_ADD(needless, munmap_maps) {
	.c = { .prepare = needless_maps, .run = needless_munmap, .errnos = { ENOMEM } },
};

THP_COVERS_VARIANT(needless, mprotect_maps, not_split, "needless-split split-mprotect");
FIXTURE_VARIANT_ADD(needless, mprotect_maps) {
	.c = { .prepare = needless_maps, .run = needless_protect, .errnos = { ENOMEM } },
};

THP_COVERS_VARIANT(needless, mremap_maps, not_split, "needless-split move-partial");
FIXTURE_VARIANT_ADD(needless, mremap_maps) {
	.c = { .prepare = needless_maps, .run = needless_move, .errnos = { ENOMEM } },
};

/* madvise() and prctl() turn this ENOMEM into EAGAIN. */
THP_COVERS_VARIANT(needless, dontdump_maps, not_split, "needless-split split-madvise-flags");
FIXTURE_VARIANT_ADD(needless, dontdump_maps) {
	.c = { .prepare = needless_maps, .run = needless_dontdump, .errnos = { EAGAIN, ENOMEM } },
};

THP_COVERS_VARIANT(needless, anon_name_maps, not_split, "needless-split split-anon-name");
FIXTURE_VARIANT_ADD(needless, anon_name_maps) {
	.c = {
		.needs = THP_NEED_ANON_NAME, .prepare = needless_maps, .run = needless_name,
		.errnos = { EAGAIN, ENOMEM },
	},
};

THP_COVERS_VARIANT(needless, mlock_maps, not_split, "needless-split split-mlock");
FIXTURE_VARIANT_ADD(needless, mlock_maps) {
	.c = {
		.needs = THP_NEED_LIMIT, .prepare = needless_maps, .run = needless_mlock,
		.errnos = { ENOMEM, EAGAIN },
	},
};

FIXTURE_SETUP(needless)
{
	(void)self;
	THP_NEEDS(variant->c.needs);
}

FIXTURE_TEARDOWN_PARENT(needless)
{
	(void)self;
	(void)variant;
	thp_teardown(_metadata);
}

TEST_F_TIMEOUT(needless, not_split, 90)
{
	(void)self;
	THP_SCENARIO(refused_unsplit, &variant->c);
}
