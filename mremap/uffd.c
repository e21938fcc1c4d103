// SPDX-License-Identifier: GPL-2.0
/* uffd: UFFDIO_MOVE of shared memory, onto a THP, and refused half way. */

/* The steps of a child that shares the source, and of the test. */
enum { SHARES = 1 };
enum { LOOK = 1 };

static int sharer(struct thp_chan *chan, void *arg)
{
	struct thp_map *m = arg;

	thp_chan_post_parent(chan, SHARES);
	thp_chan_await_parent(chan, LOOK);
	return thp_map_check(m, 0, thp_env.nr, &chan->why);
}

/* The source, and a second range of @kind for UFFDIO_MOVE to move it to. */
static int uffd_maps(enum thp_kind kind, struct thp_why *why)
{
	TRY(thp_map_new(&source, THP_ANON, why));
	TRY(thp_map_new(&target, kind, why));
	source.uffd = thp_uffd_watch(target.thp, thp_env.pmd, UFFD_FEATURE_MOVE,
				     UFFDIO_REGISTER_MODE_MISSING, why);
	return source.uffd < 0 ? source.uffd : 0;
}

static int uffd_refused(size_t len, int err, const char *what, struct thp_why *why)
{
	struct thp_meter meter;
	int ret;

	TRY(thp_meter_start(&meter, 0, why));
	ret = thp_uffd_move(source.uffd, target.thp, source.thp, len, NULL);
	if (ret != err)
		return thp_why(why, -EPROTO, "%s: %s, expected %s", what, thp_errno_name(ret),
			       thp_errno_name(err));
	return check_untouched(&source, &meter, what, why);
}

/* Memory that another process shares cannot be moved, and is not split either. */
static int uffd_move_shared(const void *arg, struct thp_why *why)
{
	struct thp_child *child = &source.child;

	(void)arg;
	TRY(uffd_maps(THP_NONE, why));
	TRY(thp_child_start(child, sharer, &source));
	if (thp_child_await(child, SHARES, THP_STEP_MS))
		return thp_child_join(child, 0, why) ?: -EPROTO;
	TRY(uffd_refused(thp_env.pmd, -EBUSY, "whole shared THP", why));
	TRY(uffd_refused(thp_env.page, -EBUSY, "page of a shared THP", why));
	if (thp_obs_pages(target.thp, thp_env.pmd, THP_PM_POPULATED))
		return thp_why(why, -EPROTO, "refused, but the destination has pages");
	thp_chan_post_child(child->chan, LOOK);
	return thp_child_join(child, THP_STEP_MS, why);
}

THP_COVERS(mremap, uffd_move_shared, "uffd-move-refused");
TEST_F(mremap, uffd_move_shared)
{
	(void)self;
	THP_NEEDS(THP_NEED_UFFD_MOVE);
	THP_SCENARIO(uffd_move_shared, NULL);
}

/* UFFDIO_MOVE does not move onto another THP either. */
static int uffd_move_onto_thp(const void *arg, struct thp_why *why)
{
	(void)arg;
	TRY(uffd_maps(THP_ANON, why));
	TRY(uffd_refused(thp_env.pmd, -EEXIST, "move onto a THP", why));
	TRY(uffd_refused(thp_env.page, -EEXIST, "page onto a THP", why));
	TRY(thp_map_expect(&target, THP_STATE_PMD, why));
	return thp_map_check(&target, 0, thp_env.nr, why);
}

THP_COVERS(mremap, uffd_move_onto_thp, "uffd-move-refused");
TEST_F(mremap, uffd_move_onto_thp)
{
	(void)self;
	THP_NEEDS(THP_NEED_UFFD_MOVE);
	THP_SCENARIO(uffd_move_onto_thp, NULL);
}

/*
 * The first of two THPs moves as it is, the second has to be split: without a table the
 * kernel reports the bytes that it has moved, and the next call returns the reason.
 */
static int uffd_move_second_starved(const void *arg, struct thp_why *why)
{
	struct thp_map *m = &source;
	size_t pmd = thp_env.pmd, nr = thp_env.nr, i;
	enum thp_state state = THP_STATE_NONE;
	long long moved;
	int ret, ret2;
	char *to;

	(void)arg;
	thp_map_init(m, THP_ANON);
	m->thp = thp_reserve(4 * pmd, pmd, &m->area, &m->area_len);
	if (!m->thp)
		return thp_why(why, -errno, "mmap: %s", strerror(errno));
	to = m->thp + 2 * pmd;
	if (mprotect(m->thp, 4 * pmd, PROT_READ | PROT_WRITE) ||
	    madvise(m->thp, 4 * pmd, MADV_HUGEPAGE))
		return thp_why(why, -errno, "madvise: %s", strerror(errno));
	m->uffd = thp_uffd_watch(to, 2 * pmd, UFFD_FEATURE_MOVE, UFFDIO_REGISTER_MODE_MISSING,
				 why);
	if (m->uffd < 0)
		return m->uffd;
	for (i = 0; i < 2 * nr; i++)
		thp_fill(thp_page(m, i), m->seed, i);
	for (i = 0; i < 2; i++)
		if (thp_obs_state(m->thp + i * pmd, pmd, &state) || state != THP_STATE_PMD)
			return thp_skip(why, THP_FRAGMENTED);

	(void)thp_inject_own(true);
	ret = thp_inject_drain(NULL);
	if (ret) {
		(void)thp_inject_own(false);
		return thp_why(why, ret, "PTE tables cannot be used up: %s", thp_errno_name(ret));
	}
	ret = thp_uffd_move(m->uffd, to, m->thp, pmd + pmd / 2, &moved);
	ret2 = thp_uffd_move(m->uffd, to + pmd, m->thp + pmd, pmd / 2, NULL);
	(void)thp_inject_own(false);
	if (moved == -EAGAIN)
		return thp_why(why, -EAGAIN, "the first THP is in use");
	if (moved < 0)
		moved = 0;
	if (ret != -EAGAIN || moved != (long long)pmd)
		return thp_why(why, -EPROTO,
			       "UFFDIO_MOVE without a table: %s with %lld B moved, expected EAGAIN and %zu B",
			       thp_errno_name(ret), moved, pmd);
	if (ret2 != -ENOMEM)
		return thp_why(why, -EPROTO, "the rest: %s, expected ENOMEM",
			       thp_errno_name(ret2));
	if (thp_obs_pages(m->thp, pmd, THP_PM_POPULATED))
		return thp_why(why, -EPROTO, "the first THP was moved and is still there");
	TRY(thp_check(to, m->seed, 0, nr, why));
	return thp_map_check(m, nr, nr, why);
}

THP_COVERS(mremap, uffd_move_second_starved, "uffd-move-split uffd-move-pmd");
TEST_F(mremap, uffd_move_second_starved)
{
	struct thp_why why = { 0 };

	(void)self;
	THP_NEEDS(THP_NEED_UFFD_MOVE | THP_NEED_FAIL_PAGE);
	THP_REQUIRE_OK(thp_inject_tables(&why), &why);
	THP_SCENARIO(uffd_move_second_starved, NULL);
}
