// SPDX-License-Identifier: GPL-2.0
/*
 * More leak loops: migration to device memory and back. An eager kernel prepares a deposit
 * in migrate_vma_insert_huge_pmd_page() and has to free it wherever it is not needed; a
 * lazy one must not allocate it. A THP that the other side takes in base pages only is
 * split by migrate_vma_split_unmapped_folio(), a part of it by
 * migrate_vma_collect_huge_pmd().
 */
static int leak_hmm(struct thp_map *m, struct thp_why *why)
{
	(void)m;
	return thp_hmm_open(why);
}

/* If userfaultfd waits for the pages, the device gets none: the kernel gives everything back. */
static int leak_hmm_watched(struct thp_map *m, struct thp_why *why)
{
	int ret = thp_hmm_open(why);

	if (ret)
		return ret;
	m->uffd = thp_uffd_watch(m->thp, thp_env.pmd, 0, UFFDIO_REGISTER_MODE_MISSING, why);
	return m->uffd < 0 ? m->uffd : 0;
}

static int leak_to_device(struct thp_map *m, char *addr, size_t len)
{
	int ret = thp_hmm_to_device(addr, len);

	(void)m;
	return ret || thp_hmm_holds(addr) ? ret : -EIO;
}

/* The device takes base pages only, and the driver leaves one of them out. */
static int leak_to_device_split(struct thp_map *m, char *addr, size_t len)
{
	int ret = thp_hmm_no_huge();

	(void)m;
	if (!ret)
		ret = thp_hmm_to_device(addr, len);
	if (ret && ret != -ENOENT)
		return ret;
	return thp_hmm_holds(addr) || thp_hmm_holds(addr + len - thp_env.page) ? 0 : -ENOENT;
}

static int leak_there_and_back(struct thp_map *m, char *addr, size_t len)
{
	int ret = thp_hmm_to_device(addr, len);

	(void)m;
	return ret ? ret : thp_hmm_to_system(addr, len);
}

/* No THP can be allocated for it when it returns. */
static int leak_back_split(struct thp_map *m, char *addr, size_t len)
{
	int ret = thp_hmm_to_device(addr, len);

	(void)m;
	if (!ret)
		ret = thp_hmm_no_huge();
	return ret ? ret : thp_hmm_to_system(addr, len);
}

static const struct split_op leak_device_ops[] = {
	{
		.name = "device_insert", .needs = THP_NEED_HMM_HUGE, .where = AT_WHOLE,
		.prepare = leak_hmm, .run = leak_to_device,
	}, {
		.name = "device_insert_watched", .needs = THP_NEED_HMM_HUGE | THP_NEED_UFFD,
		.where = AT_WHOLE, .prepare = leak_hmm_watched, .run = leak_to_device,
	}, {
		.name = "device_split", .needs = THP_NEED_HMM_HUGE, .where = AT_WHOLE,
		.prepare = leak_hmm, .run = leak_to_device_split,
	}, {
		.name = "device_and_back", .needs = THP_NEED_HMM_HUGE, .where = AT_WHOLE,
		.prepare = leak_hmm, .run = leak_there_and_back,
	}, {
		.name = "device_back_split", .needs = THP_NEED_HMM_HUGE, .where = AT_WHOLE,
		.prepare = leak_hmm, .run = leak_back_split,
	},
};

FIXTURE_VARIANT_ADD(leak, device_insert) {
	.of = { .op = "device_insert", .kind = THP_NONE, .device = true },
};

FIXTURE_VARIANT_ADD(leak, device_insert_watched) {
	.of = { .op = "device_insert_watched", .kind = THP_NONE, .device = true, .never = true },
};

FIXTURE_VARIANT_ADD(leak, device_zero) {
	.of = { .op = "device_insert", .kind = THP_ZERO, .device = true },
};

FIXTURE_VARIANT_ADD(leak, device_and_back) {
	.of = { .op = "device_and_back", .kind = THP_ANON, .device = true },
};

FIXTURE_VARIANT_ADD(leak, device_split) {
	.of = { .op = "device_split", .kind = THP_ANON, .device = true },
};

FIXTURE_VARIANT_ADD(leak, device_split_refused) {
	.of = { .op = "device_split", .kind = THP_ANON, .device = true, .refused = true },
};

FIXTURE_VARIANT_ADD(leak, device_back_split) {
	.of = { .op = "device_back_split", .kind = THP_ANON, .device = true },
};

FIXTURE_VARIANT_ADD(leak, device_back_split_refused) {
	.of = { .op = "device_back_split", .kind = THP_ANON, .device = true, .refused = true },
};

FIXTURE_VARIANT_ADD(leak, device_part) {
	.of = { .op = "to_device_mid", .kind = THP_ANON, .device = true },
};

FIXTURE_VARIANT_ADD(leak, device_part_refused) {
	.of = { .op = "to_device_mid", .kind = THP_ANON, .device = true, .refused = true },
};

FIXTURE_VARIANT_ADD(leak, device_part_zero) {
	.of = { .op = "to_device_mid", .kind = THP_ZERO, .device = true },
};
