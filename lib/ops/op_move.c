// SPDX-License-Identifier: GPL-2.0
/*
 * Moves of a part: the source is split before its entries can move.
 */
#include "split_row.h"
#include "thp_uffd.h"

static int prepare_aux(struct thp_map *m, struct thp_why *why)
{
	/* One per mapping of the set (thp_env.unit); a test process lives for one test. */
	static struct thp_map pool[16];
	static size_t used;
	struct thp_map *aux = &pool[used++ % (ARRAY_SIZE(pool))];
	int ret;

	ret = thp_map_create(aux, THP_NONE, why);
	if (ret)
		return ret;
	m->aux = aux;
	/* The destination's own table is not what is counted here. */
	if (madvise(aux->thp, thp_env.pmd, MADV_NOHUGEPAGE))
		return thp_why(why, -errno, "MADV_NOHUGEPAGE: %s", strerror(errno));
	thp_touch(aux->thp);
	return 0;
}

static int run_mremap_move(struct thp_map *m, char *addr, size_t len)
{
	char *to = m->aux->thp + (addr - m->thp);

	return mremap(addr, len, len, MREMAP_MAYMOVE | MREMAP_FIXED, to) == MAP_FAILED ? -errno : 0;
}

/* The page is at its new place, and no other page has moved. */
static int verify_moved(struct thp_map *m, struct thp_why *why)
{
	size_t index = thp_env.nr / 2;
	char *to = thp_page(m->aux, index);
	long n;

	n = thp_obs_pages(to - thp_env.page, 3 * thp_env.page, THP_PM_POPULATED);
	if (n != 1 || thp_obs_pages(to, thp_env.page, THP_PM_POPULATED) != 1)
		return thp_why(why, -EPROTO,
			       "%ld pages at and beside page %zu of the destination, expected 1", n,
			       index);
	return m->kind == THP_ZERO || m->kind == THP_NONE ? thp_check_zero(to, 1, why) :
	       thp_check(to, m->seed, index, 1, why);
}

static const struct split_op mremap_ops[] = {
	{
		MID("mremap_move"), .covers = "move-partial", .run = run_mremap_move,
		.prepare = prepare_aux, .verify = verify_moved,
		.kinds = PRIVATE_PMD, .effect = UNMAPS,
		.says = GONE, .meets = UNREADABLE,
	},
};

SPLIT_OPS(mremap_ops);

static int prepare_uffd_move(struct thp_map *m, struct thp_why *why)
{
	int ret = prepare_aux(m, why);

	if (ret)
		return ret;
	m->uffd = thp_uffd_open(UFFD_FEATURE_MOVE);
	if (m->uffd < 0)
		return thp_why(why, m->uffd, "userfaultfd: %s", thp_errno_name(m->uffd));
	ret = thp_uffd_register(m->uffd, m->aux->thp, thp_env.pmd, UFFDIO_REGISTER_MODE_MISSING);
	return ret ? thp_why(why, ret, "UFFDIO_REGISTER: %s", thp_errno_name(ret)) : 0;
}

static int run_uffd_move(struct thp_map *m, char *addr, size_t len)
{
	return thp_uffd_move(m->uffd, m->aux->thp + (addr - m->thp), addr, len, NULL);
}

static const struct split_op uffd_move_ops[] = {
	{
		MID("uffd_move"), .covers = "uffd-move-split folio-split",
		.run = run_uffd_move,
		.prepare = prepare_uffd_move, .verify = verify_moved,
		.needs = THP_NEED_UFFD_MOVE, .errnos = { ENOMEM, EBUSY, EAGAIN },
		.kinds = ANON_ZERO_SWAP, .effect = ZEROES,
		.says = { &split_populated, 1, 0, ZAPPED },
	},
};

SPLIT_OPS(uffd_move_ops);
