// SPDX-License-Identifier: GPL-2.0
/*
 * moved: UFFDIO_MOVE of a THP in swap, one PMD swap entry, and of the folio that the swap
 * cache has for it.
 */
FIXTURE(moved) {
	struct thp_why why;
};

FIXTURE_SETUP(moved)
{
	thp_warm_up();
}

FIXTURE_TEARDOWN_PARENT(moved)
{
	thp_teardown(_metadata);
}

/* UFFDIO_MOVE of the whole THP to @to, again while it asks for that. */
static int moved_move(struct thp_map *to, const struct thp_map *from)
{
	int ret, try = 0;

	do {
		ret = thp_uffd_move(to->uffd, to->thp, from->thp, thp_env.pmd, NULL);
	} while (ret == -EAGAIN && ++try < 100);
	return ret;
}

/* A THP in swap, and an empty range that a userfaultfd watches. */
static int moved_maps(struct thp_map *from, struct thp_map *to, struct thp_why *why)
{
	TRY(thp_map_new(from, THP_SWAPPED, why));
	TRY(thp_map_create(to, THP_NONE, why));
	to->uffd = thp_uffd_watch(to->thp, thp_env.pmd, 0, UFFDIO_REGISTER_MODE_MISSING, why);
	return to->uffd < 0 ? to->uffd : 0;
}

/* Moves a THP in swap, with its contents. */
static int moved_away(struct thp_map *to, const struct thp_map *from, struct thp_why *why)
{
	int ret = moved_move(to, from);

	if (ret)
		return thp_why(why, -EPROTO, "UFFDIO_MOVE of a THP in swap: %s",
			       thp_errno_name(ret));
	TRY(thp_map_expect(from, THP_STATE_NONE, why));
	return thp_check(to->thp, from->seed, 0, thp_env.nr, why);
}

/* What was moved from @from, and is in memory, can be swapped out again, and in. */
static int moved_out_again(struct thp_map *to, const struct thp_map *from, struct thp_why *why)
{
	to->kind = THP_SWAPPED;
	thp_map_return(to);
	if (!thp_swap_by_zswap() && thp_map_expect(to, THP_STATE_PMD_SWAP, why))
		return -EAGAIN;
	return thp_check(to->thp, from->seed, 0, thp_env.nr, why);
}

/*
 * A folio in the swap cache moves along. One that has been mapped has to learn where it
 * belongs now; MADV_WILLNEED reads one that has not. After the move it can be swapped out
 * again.
 */
static int moved_with_folio(const void *arg, struct thp_why *why)
{
	struct thp_map m, to;

	(void)arg;
	TRY(moved_maps(&m, &to, why));
	TRY(thp_map_check(&m, 0, thp_env.nr, why));
	thp_map_return(&m);
	if (madvise(m.thp, thp_env.pmd, MADV_WILLNEED))
		return thp_why(why, -errno, "MADV_WILLNEED: %s", strerror(errno));
	TRY(thp_map_expect(&m, thp_swap_by_zswap() ? THP_STATE_PTE : THP_STATE_PMD_SWAP, why));
	TRY(moved_away(&to, &m, why));
	if (thp_map_expect(&to, thp_swap_state_in(), why))
		return -EAGAIN;
	TRY(moved_out_again(&to, &m, why));
	thp_map_destroy(&m);
	thp_map_destroy(&to);
	return 0;
}

THP_COVERS(moved, cached, "swap-entry-move");
TEST_F(moved, cached)
{
	(void)self;
	THP_NEEDS(THP_NEED_SWAP | THP_NEED_PMD_SWAP | THP_NEED_UFFD_MOVE);
	THP_SCENARIO(moved_with_folio, NULL);
}

/* What a child has as well is not moved (-EBUSY), neither all of it nor a page. */
static int moved_of_two(const void *arg, struct thp_why *why)
{
	struct thp_child child = { 0 };
	struct thp_map m, to;
	size_t page = thp_env.page;
	int ret;

	(void)arg;
	TRY(moved_maps(&m, &to, why));
	TRY(thp_child_start(&child, slots_pause, &m));
	TRY(thp_child_await(&child, 1, THP_STEP_MS));
	ret = moved_move(&to, &m);
	if (ret != -EBUSY)
		return thp_why(why, -EPROTO, "UFFDIO_MOVE of a shared THP: %s, expected EBUSY",
			       thp_errno_name(ret));
	TRY(thp_map_expect(&m, THP_STATE_PMD_SWAP, why));
	ret = thp_uffd_move(to.uffd, to.thp + page, m.thp + page, page, NULL);
	if (ret != -EBUSY)
		return thp_why(why, -EPROTO, "UFFDIO_MOVE of a page of it: %s, expected EBUSY",
			       thp_errno_name(ret));
	TRY(thp_map_check(&m, 0, thp_env.nr, why));
	thp_chan_post_child(child.chan, 1);
	TRY(thp_child_join(&child, THP_STEP_MS, why));
	thp_map_destroy(&m);
	thp_map_destroy(&to);
	return 0;
}

THP_COVERS(moved, shared, "swap-entry-move");
TEST_F(moved, shared)
{
	(void)self;
	THP_NEEDS(THP_NEED_SWAP | THP_NEED_PMD_SWAP | THP_NEED_UFFD_MOVE);
	THP_SCENARIO(moved_of_two, NULL);
}

/* Steps of the thread that looks for the THP in the swap cache, see moved_keep(). */
static struct {
	char *thp;
	unsigned char *vec;
	bool stop;
} moved_look;

static void *moved_looks(void *arg)
{
	(void)arg;
	while (!__atomic_load_n(&moved_look.stop, __ATOMIC_SEQ_CST))
		(void)mincore(moved_look.thp, thp_env.pmd, moved_look.vec);
	return NULL;
}

/* Tries that may fail to keep the folio, each of a few ms. */
#define MOVED_TRIES	200

/*
 * Swaps a mapped THP out so that its folio stays in the swap cache, and knows its place:
 * reclaim cannot remove it from there while mincore() of another thread refers to it, as it
 * does for each slot in turn. Else the THP is read, and it is tried again.
 */
static int moved_keep(struct thp_map *m, struct thp_why *why)
{
	pthread_t thread;
	int try, ret;
	long in = 0;

	for (try = 0; try < MOVED_TRIES; try++) {
		TRY(thp_map_check(m, 0, thp_env.nr, why));
		moved_look.stop = false;
		ret = pthread_create(&thread, NULL, moved_looks, NULL);
		if (ret)
			return thp_why(why, -ret, "pthread_create: %s", strerror(ret));
		thp_map_return(m);
		__atomic_store_n(&moved_look.stop, true, __ATOMIC_SEQ_CST);
		pthread_join(thread, NULL);
		in = thp_swap_cached(m->thp);
		if (in < 0)
			return thp_why(why, in, "mincore: %s", thp_errno_name(in));
		if (in == (long)thp_env.nr && !thp_map_expect(m, THP_STATE_PMD_SWAP, why))
			break;
	}
	printf("# moved.kept: %ld pages in the swap cache after %d tries\n", in, try + 1);
	fflush(stdout);
	return try < MOVED_TRIES ? 0 :
	       thp_why(why, -EAGAIN, "%d times the swap cache did not keep the THP", try);
}

/*
 * A folio that has been mapped, and is still cached, belongs to the new place after the
 * move: it is mapped there, and reclaim finds it there.
 */
static int moved_in_cache(const void *arg, struct thp_why *why)
{
	struct thp_map m, to;

	(void)arg;
	TRY(moved_maps(&m, &to, why));
	moved_look.thp = m.thp;
	moved_look.vec = mmap(NULL, thp_env.nr, PROT_READ | PROT_WRITE,
			      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (moved_look.vec == MAP_FAILED)
		return thp_why(why, -errno, "mmap: %s", strerror(errno));
	TRY(moved_keep(&m, why));
	TRY(moved_away(&to, &m, why));
	TRY(thp_map_expect(&to, THP_STATE_PMD, why));
	TRY(moved_out_again(&to, &m, why));
	munmap(moved_look.vec, thp_env.nr);
	thp_map_destroy(&m);
	thp_map_destroy(&to);
	return 0;
}

THP_COVERS(moved, kept, "swap-entry-move");
TEST_F(moved, kept)
{
	(void)self;
	THP_NEEDS(THP_NEED_SWAP | THP_NEED_PMD_SWAP | THP_NEED_UFFD_MOVE);
	if (thp_swap_by_zswap())
		THP_SKIP("needs a kernel on which zswap was not enabled since boot");
	THP_SCENARIO(moved_in_cache, NULL);
}

/* The bit of a userfaultfd that watches the old place for writes does not go along. */
static int moved_from_watched(const void *arg, struct thp_why *why)
{
	struct thp_map m, to;
	long n;
	int ret;

	(void)arg;
	TRY(moved_maps(&m, &to, why));
	TRY(thp_map_check(&m, 0, thp_env.nr, why));
	m.uffd = thp_uffd_watch(m.thp, thp_env.pmd, 0, UFFDIO_REGISTER_MODE_WP, why);
	if (m.uffd < 0)
		return m.uffd;
	ret = thp_uffd_wp(m.uffd, m.thp, thp_env.pmd, 1);
	if (ret)
		return thp_why(why, ret, "UFFDIO_WRITEPROTECT: %s", thp_errno_name(ret));
	thp_map_return(&m);
	if (thp_map_expect(&m, THP_STATE_PMD_SWAP, why))
		return -EAGAIN;
	n = thp_obs_pages(m.thp, thp_env.pmd, THP_PM_UFFD_WP);
	if (n != (long)thp_env.nr)
		return thp_why(why, -EPROTO,
			       "%ld pages of the THP in swap are protected, expected %zu", n,
			       thp_env.nr);
	ret = moved_move(&to, &m);
	if (ret)
		return thp_why(why, -EPROTO, "UFFDIO_MOVE of a protected THP in swap: %s",
			       thp_errno_name(ret));
	if (thp_map_expect(&to, THP_STATE_PMD_SWAP, why))
		return -EAGAIN;
	n = thp_obs_pages(to.thp, thp_env.pmd, THP_PM_UFFD_WP);
	if (n)
		return thp_why(why, -EPROTO,
			       "%ld pages are still protected where nobody watches for writes", n);
	TRY(thp_check(to.thp, m.seed, 0, thp_env.nr, why));
	thp_map_destroy(&m);
	thp_map_destroy(&to);
	return 0;
}

THP_COVERS(moved, unwatched, "swap-entry-move");
TEST_F(moved, unwatched)
{
	(void)self;
	THP_NEEDS(THP_NEED_SWAP | THP_NEED_PMD_SWAP | THP_NEED_UFFD_MOVE | THP_NEED_UFFD_WP);
	THP_SCENARIO(moved_from_watched, NULL);
}
