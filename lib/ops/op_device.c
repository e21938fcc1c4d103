// SPDX-License-Identifier: GPL-2.0
/*
 * Device memory, by the test driver of the kernel (CONFIG_TEST_HMM).
 */
#include "split_row.h"
#include "thp_hmm.h"

static int prepare_hmm(struct thp_map *m, struct thp_why *why)
{
	(void)m;
	return thp_hmm_open(why);
}

static int run_exclusive(struct thp_map *m, char *addr, size_t len)
{
	(void)m;
	return thp_hmm_exclusive(addr, len);
}

static int verify_exclusive(struct thp_map *m, struct thp_why *why)
{
	char *page = thp_page(m, thp_env.nr / 2);
	int ret = thp_hmm_check_exclusive(page, thp_env.page);

	/* Reclaim and compaction can end the exclusive access at any time, too. */
	if (ret != -EPERM)
		return thp_why(why, -EAGAIN, "the device has no exclusive access: %s",
			       thp_errno_name(ret));
	ret = thp_check(thp_hmm_buffer(), m->seed, thp_env.nr / 2, 1, why);
	if (ret)
		return ret;
	if (thp_hmm_check_exclusive(page - thp_env.page, thp_env.page) ||
	    thp_hmm_check_exclusive(page + thp_env.page, thp_env.page))
		return thp_why(why, -EPROTO, "a page beside page %zu is exclusive, too",
			       thp_env.nr / 2);
	/* An access of the process ends it. */
	thp_peek(page);
	ret = thp_hmm_check_exclusive(page, thp_env.page);
	return ret ? thp_why(why, -EPROTO, "the page is still exclusive after a read: %s",
			     thp_errno_name(ret)) : 0;
}

static const struct split_op exclusive_ops[] = {
	{
		MID("exclusive"), .covers = "gup-split-exclusive",
		.run = run_exclusive, .prepare = prepare_hmm, .verify = verify_exclusive,
		.needs = THP_NEED_HMM,
		.kinds = THP_ANON, .keeps = THP_SMALL,
	},
};

SPLIT_OPS(exclusive_ops);

/* The pages are on the device, with their contents. */
static int verify_on_device(struct thp_map *m, size_t index, size_t n, struct thp_why *why)
{
	size_t i;

	for (i = index; i < index + n; i++)
		if (!thp_hmm_holds(thp_page(m, i)))
			return thp_why(why, -EPROTO, "page %zu is not on the device", i);
	return m->kind == THP_ZERO ? thp_check_zero(thp_hmm_buffer(), n, why) :
	       thp_check(thp_hmm_buffer(), m->seed, index, n, why);
}

/*
 * The device takes base pages only. The driver does not report a refused table as an error:
 * it continues without the pages that were not migrated.
 */
static int run_to_device_split(struct thp_map *m, char *addr, size_t len)
{
	int ret = thp_hmm_no_huge();
	bool again = m->priv++;

	if (ret)
		return ret;
	ret = thp_hmm_to_device(addr, len);
	/* Without a THP the driver leaves one page out: the second run migrates that one, too. */
	if (ret == -ENOENT && again)
		ret = thp_hmm_to_device(addr, len);
	return ret;
}

static int verify_device_whole(struct thp_map *m, struct thp_why *why)
{
	return verify_on_device(m, 0, thp_env.nr, why);
}

static const struct split_op to_device_split_ops[] = {
	{
		NAMED("to_device_split", AT_WHOLE), .covers = "migrate-device-split",
		.run = run_to_device_split, .prepare = prepare_hmm,
		.verify = verify_device_whole,
		.needs = THP_NEED_HMM_HUGE, .errnos = { ENOENT, ENOMEM },
		.kinds = THP_ANON,
	},
};

SPLIT_OPS(to_device_split_ops);

/* The pages beside the named one are on the device (@want), or are not. */
static int check_beside(struct thp_map *m, bool want, struct thp_why *why)
{
	size_t mid = thp_env.nr / 2, i;

	for (i = mid - 1; i <= mid + 1; i += 2)
		if (thp_hmm_holds(thp_page(m, i)) != want)
			return thp_why(why, -EPROTO, "page %zu: on the device %d, expected %d", i,
				       !want, want);
	return 0;
}

static int run_to_device(struct thp_map *m, char *addr, size_t len)
{
	(void)m;
	return thp_hmm_to_device(addr, len);
}

static int verify_device_mid(struct thp_map *m, struct thp_why *why)
{
	int ret = verify_on_device(m, thp_env.nr / 2, 1, why);

	return ret ? ret : check_beside(m, false, why);
}

static const struct split_op to_device_ops[] = {
	{
		MID("to_device"), .covers = "migrate-device-part",
		.run = run_to_device, .prepare = prepare_hmm, .verify = verify_device_mid,
		.needs = THP_NEED_HMM, .errnos = { ENOENT, ENOMEM }, .flags = OP_FOLIO,
		.kinds = ANON_ZERO,
	},
};

SPLIT_OPS(to_device_ops);

static int run_to_system_split(struct thp_map *m, char *addr, size_t len)
{
	int ret = thp_hmm_no_huge();

	(void)m;
	return ret ? ret : thp_hmm_to_system(addr, len);
}

static int verify_system_whole(struct thp_map *m, struct thp_why *why)
{
	size_t i;

	for (i = 0; i < thp_env.nr; i++)
		if (thp_hmm_holds(thp_page(m, i)))
			return thp_why(why, -EPROTO, "page %zu: on the device 1, expected 0", i);
	return 0;
}

static const struct split_op to_system_split_ops[] = {
	{
		NAMED("to_system_split", AT_WHOLE), .covers = "migrate-device-split",
		.run = run_to_system_split, .verify = verify_system_whole,
		.errnos = { ENOENT, ENOMEM },
		.kinds = THP_DEVICE,
	},
};

SPLIT_OPS(to_system_split_ops);

static int run_to_system(struct thp_map *m, char *addr, size_t len)
{
	(void)m;
	return thp_hmm_to_system(addr, len);
}

static int verify_system_mid(struct thp_map *m, struct thp_why *why)
{
	size_t mid = thp_env.nr / 2;

	if (thp_hmm_holds(thp_page(m, mid)))
		return thp_why(why, -EPROTO, "page %zu: on the device 1, expected 0", mid);
	return check_beside(m, true, why);
}

static const struct split_op to_system_ops[] = {
	{
		MID("to_system"), .covers = "migrate-device-part",
		.run = run_to_system, .verify = verify_system_mid, .flags = OP_FOLIO,
		.errnos = { ENOENT, ENOMEM },
		.kinds = THP_DEVICE,
	},
};

SPLIT_OPS(to_system_ops);

static int run_to_device_and_back(struct thp_map *m, char *addr, size_t len)
{
	int ret;

	(void)m;
	ret = thp_hmm_to_device(addr, len);
	return ret ? ret : thp_hmm_to_system(addr, len);
}

static const struct split_op round_trip_ops[] = {
	{
		NAMED("to_device_and_back", AT_WHOLE), .covers = "migrate-device-pmd",
		.run = run_to_device_and_back, .prepare = prepare_hmm,
		.needs = THP_NEED_HMM_HUGE, .errnos = { ENOENT, ENOMEM },
		.keeps = THP_ANON,
	},
};

SPLIT_OPS(round_trip_ops);
