// SPDX-License-Identifier: GPL-2.0
/*
 * Folio splits: advice on a part, which first splits the folio, and on all of it, which
 * must not.
 */
#include "split_row.h"

static int prepare_cold(struct thp_map *m, struct thp_why *why)
{
	m->priv = split_referenced_kb(m);
	return m->priv < 0 ?
		thp_why(why, m->priv, "smaps: %s", thp_errno_name(m->priv)) : 0;
}

static int prepare_cold_wped(struct thp_map *m, struct thp_why *why)
{
	int ret = split_uffd_wped(m, why);

	return ret ? ret : prepare_cold(m, why);
}

static int check_cold(struct thp_map *m, size_t pages, struct thp_why *why)
{
	long now = split_referenced_kb(m), want = m->priv - (long)(pages * thp_env.page / 1024);

	return now == want ? 0 :
		thp_why(why, -EPROTO, "Referenced: %ld kB, expected %ld kB", now, want);
}

/* All pages of a split folio are small. Only root can see that. */
static int verify_folio_split(struct thp_map *m, struct thp_why *why)
{
	struct split_view v = { .m = m };
	size_t i;
	int got;

	if (!thp_env.root || m->kind != THP_ANON)
		return 0;
	for (i = 0; i < thp_env.nr; i++) {
		got = split_large.of(&v, &split_large, thp_page(m, i));
		if (got)
			return thp_why(why, got < 0 ? got : -EPROTO,
				       "page %zu: in a large folio %s, expected 0", i,
				       got < 0 ? thp_errno_name(got) : "1");
	}
	return 0;
}

static int verify_cold(struct thp_map *m, struct thp_why *why)
{
	/* Folio operations ignore the huge zero folio. */
	int ret = m->kind == THP_ANON ? check_cold(m, 1, why) : 0;

	return ret ? ret : verify_folio_split(m, why);
}

static int verify_cold_whole(struct thp_map *m, struct thp_why *why)
{
	return m->kind == THP_ANON ? check_cold(m, thp_env.nr, why) : 0;
}

static const struct split_op cold_ops[] = {
	{
		MID("cold"), .covers = "folio-split-advice",
		.run_with = split_madvise, .arg = MADV_COLD,
		.starved = ADVICE, .flags = OP_FOLIO,
		.kinds = THP_ANON, .keeps = THP_ZERO | PLAIN,
		.prepare = prepare_cold, .verify = verify_cold,
	}, {
		/* Through migration entries and back, the protection stays. */
		MID("cold_uffd_wp"), .covers = "folio-split-advice protect-uffd-wp",
		.run_with = split_madvise, .arg = MADV_COLD,
		.starved = ADVICE, .flags = OP_FOLIO, .needs = THP_NEED_UFFD_WP,
		.kinds = THP_ANON,
		.prepare = prepare_cold_wped, .verify = verify_cold,
		.says = { &split_uffd_wp, 1, 1, 0 },
	}, {
		WHOLE("cold"), .covers = "advice-pmd",
		.run_with = split_madvise, .arg = MADV_COLD,
		.starved = NEVER, .keeps = ANON_ZERO_SWAP,
		.prepare = prepare_cold, .verify = verify_cold_whole,
	},
};

SPLIT_OPS(cold_ops);

/* Without swap the page stays where it is. */
static int verify_pageout(struct thp_map *m, struct thp_why *why)
{
	bool swaps = m->kind == THP_ANON && !thp_env_missing(THP_NEED_SWAP);
	size_t mid = thp_env.nr / 2, i;
	uint64_t entry;
	bool want;
	int ret;

	for (i = 0; swaps && i < thp_env.nr; i++) {
		ret = thp_obs_pagemap(thp_page(m, i), &entry, 1);
		if (ret)
			return thp_why(why, ret, "pagemap: %s", thp_errno_name(ret));
		want = i == mid;
		if (!!(entry & THP_PM_SWAPPED) != want)
			return thp_why(why, -EPROTO, "page %zu: swapped %d, expected %d", i, !want,
				       want);
	}
	return verify_folio_split(m, why);
}

static const struct split_op pageout_ops[] = {
	{
		MID("pageout"), .covers = "folio-split-advice",
		.run_with = split_madvise, .arg = MADV_PAGEOUT,
		.starved = ADVICE, .flags = OP_FOLIO,
		.kinds = THP_ANON, .keeps = THP_ZERO,
		.verify = verify_pageout,
	}, {
		/* The PMD is split on its way out, unless it becomes a PMD swap entry. */
		WHOLE("pageout"), .covers = "reclaim-unmap",
		.run_with = split_madvise, .arg = MADV_PAGEOUT,
		.starved = ADVICE, .needs = THP_NEED_SWAP, .flags = OP_SWAPS,
		.kinds = THP_ANON, .keeps = THP_ZERO | THP_SWAPPED,
		.says = { &split_swapped, 0, 1, THP_ANON },
	},
};

SPLIT_OPS(pageout_ops);

/* Pages that may be freed are clean, and filled pages are dirty. */
static int check_clean(struct thp_map *m, size_t pages, struct thp_why *why)
{
	size_t want = pages * thp_env.page / 1024;
	static struct thp_smaps sm;
	int ret = thp_obs_smaps(0, m->thp, thp_env.pmd, &sm);

	if (ret)
		return thp_why(why, ret, "smaps: %s", thp_errno_name(ret));
	return sm.clean_kb == want ? 0 :
		thp_why(why, -EPROTO, "Private_Clean: %llu kB, expected %zu kB",
			(unsigned long long)sm.clean_kb, want);
}

static int verify_free(struct thp_map *m, struct thp_why *why)
{
	int ret = m->kind == THP_ANON ? check_clean(m, 1, why) : 0;

	return ret ? ret : verify_folio_split(m, why);
}

static int verify_free_whole(struct thp_map *m, struct thp_why *why)
{
	return m->kind == THP_ANON ? check_clean(m, thp_env.nr, why) : 0;
}

static const struct split_op free_ops[] = {
	{
		MID("free"), .covers = "folio-split-advice",
		.run_with = split_madvise, .arg = MADV_FREE,
		.starved = ADVICE, .flags = OP_FOLIO,
		.kinds = THP_ANON | THP_SWAPPED, .keeps = THP_ZERO | PLAIN, .effect = MAY_ZERO,
		.verify = verify_free, .says = { &split_swapped, 1, 0, THP_SWAPPED },
	}, {
		WHOLE("free"), .covers = "advice-pmd",
		.run_with = split_madvise, .arg = MADV_FREE,
		.starved = NEVER, .keeps = ANON_ZERO, .effect = MAY_ZERO,
		.verify = verify_free_whole,
	},
};

SPLIT_OPS(free_ops);

/*
 * One page is enough to split its folio. The kernel tries again for each page of the range,
 * and in a full control group it writes an OOM report for each refusal.
 */
static int run_debugfs(struct thp_map *m, char *addr, size_t len)
{
	(void)m;
	(void)len;
	return thp_split_folios(getpid(), (unsigned long)addr, thp_env.page);
}

static const struct split_op debugfs_ops[] = {
	{
		NAMED("debugfs_split", AT_WHOLE), .covers = "folio-split-debugfs",
		.run = run_debugfs,
		.starved = ADVICE, .errnos = { ENOMEM }, .needs = THP_NEED_DEBUGFS,
		.flags = OP_FOLIO,
		.kinds = THP_ANON, .keeps = THP_ZERO | PLAIN,
		.verify = verify_folio_split,
	},
};

SPLIT_OPS(debugfs_ops);
