// SPDX-License-Identifier: GPL-2.0
/* mremap: Calls that mremap() refuses, and calls that move nothing. */

FIXTURE(mremap) {
	int unused;	/* the harness wants data */
};

FIXTURE_SETUP(mremap)
{
	(void)self;
	thp_warm_up();
}

FIXTURE_TEARDOWN_PARENT(mremap)
{
	(void)self;
	thp_teardown(_metadata);
}

/* The THP is unchanged: one PMD, its contents, its tables, no split. */
static int check_untouched(const struct thp_map *m, struct thp_meter *meter, const char *what,
			   struct thp_why *why)
{
	int disturbed;

	TRY(thp_meter_read(meter, why));
	disturbed = thp_meter_splits(meter, 0, what, why);
	if (disturbed == -EPROTO)
		return disturbed;
	if (thp_meter_bytes(meter))
		return thp_why(why, -EPROTO, "%s: VmPTE %+lld B, expected +0", what,
			       thp_meter_bytes(meter));
	TRY(thp_map_expect(m, thp_kind_state(m->kind), why));
	TRY(thp_map_check(m, 0, thp_env.nr, why));
	return disturbed;
}

/*
 * Moves that the kernel has to refuse before it touches the THP. The target at @to is an
 * empty range of the test: older kernels (seen on 6.1 and 6.12) unmap it for MREMAP_FIXED
 * before they check the other arguments.
 */
static int refuse_all(struct thp_map *m, char *to, struct thp_why *why)
{
	const int fixed = MREMAP_MAYMOVE | MREMAP_FIXED;
	size_t pmd = thp_env.pmd, page = thp_env.page;
	const struct {
		const char *what;
		size_t old_len, new_len;
		int flags;
		char *to;
		int err;
	} calls[] = {
		{ "destination inside a page", pmd, pmd, fixed, to + 1, EINVAL },
		{ "destination over the source", pmd, pmd, fixed, m->thp + pmd / 2, EINVAL },
		{ "destination one page on", pmd, pmd, fixed, m->thp + page, EINVAL },
		{ "FIXED without MAYMOVE", pmd, pmd, MREMAP_FIXED, to, EINVAL },
		{ "copy of private memory", 0, pmd, fixed, to, EINVAL },
		{ "DONTUNMAP with two lengths", pmd / 2, pmd, fixed | MREMAP_DONTUNMAP, to,
		  EINVAL },
		{ "growth where there is no room", pmd, 2 * pmd, 0, NULL, ENOMEM },
	};
	struct thp_meter meter;
	size_t i;
	char *p;

	for (i = 0; i < ARRAY_SIZE(calls); i++) {
		TRY(thp_meter_start(&meter, 0, why));
		p = mremap(m->thp, calls[i].old_len, calls[i].new_len, calls[i].flags, calls[i].to);
		if (p != MAP_FAILED)
			return thp_why(why, -EPROTO, "%s: succeeded", calls[i].what);
		if (errno != calls[i].err)
			return thp_why(why, -EPROTO, "%s: %s, expected %s", calls[i].what,
				       thp_errno_name(errno), thp_errno_name(calls[i].err));
		TRY(check_untouched(m, &meter, calls[i].what, why));
	}
	return 0;
}

static int refused(const void *arg, struct thp_why *why)
{
	char *area, *to;
	size_t len;
	int ret;

	(void)arg;
	TRY(thp_map_new(&source, THP_ANON, why));
	to = thp_reserve(thp_env.pmd, thp_env.pmd, &area, &len);
	if (!to)
		return thp_why(why, -errno, "mmap: %s", strerror(errno));
	ret = refuse_all(&source, to, why);
	munmap(area, len);
	return ret;
}

THP_COVERS(mremap, refused, "move-refused");
TEST_F(mremap, refused)
{
	(void)self;
	THP_SCENARIO(refused, NULL);
}

/* A same-size mremap() without MREMAP_FIXED moves nothing, so it splits nothing. */
static int same_size_stays(const void *arg, struct thp_why *why)
{
	struct thp_meter meter;
	char *p;

	(void)arg;
	TRY(thp_map_new(&source, THP_ANON, why));
	p = thp_page(&source, 1);
	TRY(thp_meter_start(&meter, 0, why));
	if (mremap(p, thp_env.page, thp_env.page, MREMAP_MAYMOVE) != p)
		return thp_why(why, -EPROTO, "it moved, or failed: %s", strerror(errno));
	return check_untouched(&source, &meter, "same size", why);
}

THP_COVERS(mremap, same_size_stays, "move-refused");
TEST_F(mremap, same_size_stays)
{
	(void)self;
	THP_SCENARIO(same_size_stays, NULL);
}

/*
 * The kernel chooses the new address of a range that cannot grow in place: the PMD stays
 * one if that address is aligned.
 */
static int grow_elsewhere(const void *arg, struct thp_why *why)
{
	size_t pmd = thp_env.pmd;
	struct thp_map to;
	struct thp_meter meter;
	struct thp_smaps sm;
	int splits, ret;
	bool aligned;

	(void)arg;
	TRY(thp_map_new(&source, THP_ANON, why));
	to = source;
	TRY(thp_meter_start(&meter, 0, why));
	to.thp = mremap(source.thp, pmd, 2 * pmd, MREMAP_MAYMOVE);
	if (to.thp == MAP_FAILED)
		return thp_why(why, -EPROTO, "mremap: %s", strerror(errno));
	aligned = !((uintptr_t)to.thp % pmd);
	ret = thp_meter_read(&meter, why);
	splits = ret ? ret : thp_meter_splits(&meter, !aligned, "growth elsewhere", why);
	if (splits && splits != -EAGAIN)
		return splits;
	ret = thp_obs_smaps(0, source.thp, pmd, &sm);
	if (!ret && (to.thp == source.thp || sm.vmas))
		ret = thp_why(why, -EPROTO, "the source is still mapped");
	if (!ret && aligned)
		ret = thp_map_expect(&to, THP_STATE_PMD, why);
	if (!ret)
		ret = thp_map_check(&to, 0, thp_env.nr, why);
	if (!ret && thp_obs_pages(to.thp + pmd, pmd, THP_PM_POPULATED))
		ret = thp_why(why, -EPROTO, "pages in the part that is new");
	munmap(to.thp, 2 * pmd);
	return ret ? ret : splits;
}

THP_COVERS(mremap, grow_elsewhere, "mremap-grow move-pmd");
TEST_F(mremap, grow_elsewhere)
{
	(void)self;
	THP_SCENARIO(grow_elsewhere, NULL);
}
