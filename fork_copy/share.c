// SPDX-License-Identifier: GPL-2.0
/*
 * share: What fork() shares, and who writes.
 */

FIXTURE(share) {
	int unused;
};

FIXTURE_VARIANT(share) {
	enum thp_kind kind;
};

FIXTURE_VARIANT_ADD(share, anon) { .kind = THP_ANON };
FIXTURE_VARIANT_ADD(share, zero) { .kind = THP_ZERO };

FIXTURE_SETUP(share)
{
	THP_NEEDS(thp_kind_needs(variant->kind));
	thp_warm_up();
}

FIXTURE_TEARDOWN_PARENT(share)
{
	thp_teardown(_metadata);
}

static int fork_counts(const void *arg, struct thp_why *why)
{
	const enum thp_kind *kind = arg;
	struct thp_peer *p = thp_peers;
	struct thp_meter m;

	TRY(share(*kind, 1, &m, why));
	TRY(child_sees(p, thp_kind_state(*kind), why));
	TRY(thp_meter_start(&m, 0, why));
	TRY(thp_peer_zap(p, thp_group_mapped(), why));
	TRY(thp_meter_stop(&m, 0, 0, "parent while the child unmaps", why));
	TRY(expect_shared(false, "after the child's munmap", why));
	TRY(parent_sees(thp_kind_state(*kind), why));
	TRY(thp_peer_end(p, why));
	return thp_group_finish(why);
}

THP_COVERS_VARIANT(share, anon, counts, "fork-anon zap-pmd");
THP_COVERS_VARIANT(share, zero, counts, "fork-zero zap-pmd");
TEST_F(share, counts)
{
	THP_SCENARIO(fork_counts, &variant->kind);
}

/* Measures the same tables as the difference to a child without THPs. */
static int fork_difference(const void *arg, struct thp_why *why)
{
	const enum thp_kind *kind = arg;
	size_t len = thp_env.unit * thp_env.pmd;
	long long with, without;
	struct thp_meter m;
	long got;

	TRY(thp_group_new(*kind, 0, why));
	TRY(thp_peers_prepare(2, why));
	TRY(thp_peer_start(&thp_peers[0], why));
	if (madvise(thp_group.base, len, MADV_DONTFORK))
		return thp_why(why, -errno, "MADV_DONTFORK: %s", strerror(errno));
	TRY(thp_meter_start(&m, 0, why));
	TRY(thp_peer_start(&thp_peers[1], why));
	TRY(thp_meter_stop(&m, 0, 0, "parent at fork", why));
	with = thp_obs_vmpte(thp_peers[0].child.pid);
	without = thp_obs_vmpte(thp_peers[1].child.pid);
	if (!thp_env_tables(with - without, &got) || got != thp_group_mapped())
		return thp_why(why, -EPROTO,
			       "child with %u THPs has VmPTE %lld, without %lld: expected %+ld tables",
			       thp_group.n, with, without, thp_group_mapped());
	TRY(thp_peer_end(&thp_peers[0], why));
	TRY(thp_peer_end(&thp_peers[1], why));
	TRY(parent_sees(thp_kind_state(*kind), why));
	return thp_group_finish(why);
}

THP_COVERS_VARIANT(share, anon, difference, "fork-anon fork-dontfork");
THP_COVERS_VARIANT(share, zero, difference, "fork-zero fork-dontfork");
TEST_F(share, difference)
{
	THP_SCENARIO(fork_difference, &variant->kind);
}

static int parent_writes(const void *arg, struct thp_why *why)
{
	const enum thp_kind *kind = arg;
	struct thp_peer *p = thp_peers;
	struct thp_meter m;

	TRY(share(*kind, 1, &m, why));
	TRY(thp_meter_start(&m, p->child.pid, why));
	TRY(parent_write(middle(), SEED_PARENT, why));
	/* The meter counts the parent; in the child the tables matter. */
	TRY(thp_meter_read(&m, why));
	if (m.vmpte[0] != m.vmpte[1])
		return thp_why(why, -EPROTO,
			       "child at the parent's write: VmPTE %+lld B, expected +0",
			       m.vmpte[1] - m.vmpte[0]);
	TRY(child_sees(p, thp_kind_state(*kind), why));
	TRY(thp_group_check(why));
	/* A PMD that only one of the two still has is not shared any more. */
	TRY(thp_peer_zap(p, thp_group_mapped(), why));
	TRY(thp_peer_end(p, why));
	return thp_group_finish(why);
}

THP_COVERS_VARIANT(share, anon, parent_writes, "cow-write");
THP_COVERS_VARIANT(share, zero, parent_writes, "zero-write");
TEST_F(share, parent_writes)
{
	THP_SCENARIO(parent_writes, &variant->kind);
}

static int child_writes(const void *arg, struct thp_why *why)
{
	const enum thp_kind *kind = arg;
	struct thp_peer *p = thp_peers;
	struct thp_meter m;

	TRY(share(*kind, 1, &m, why));
	TRY(child_write(p, 0, SEED_CHILD, why));
	TRY(child_sees(p, THP_STATE_UNKNOWN, why));
	TRY(parent_sees(thp_kind_state(*kind), why));
	TRY(thp_peer_end(p, why));
	return thp_group_finish(why);
}

THP_COVERS_VARIANT(share, anon, child_writes, "cow-write");
THP_COVERS_VARIANT(share, zero, child_writes, "zero-write");
TEST_F(share, child_writes)
{
	THP_SCENARIO(child_writes, &variant->kind);
}

static int both_write(const void *arg, struct thp_why *why)
{
	const enum thp_kind *kind = arg;
	struct thp_peer *p = thp_peers;
	struct thp_meter m;

	TRY(share(*kind, 2, &m, why));
	TRY(child_write(&p[0], thp_env.nr - 1, SEED_CHILD, why));
	TRY(parent_write(thp_env.nr - 1, SEED_PARENT, why));
	TRY(child_write(&p[1], 1, SEED_CHILD + 1, why));
	TRY(child_sees(&p[0], THP_STATE_UNKNOWN, why));
	TRY(child_sees(&p[1], THP_STATE_UNKNOWN, why));
	TRY(thp_peer_end(&p[0], why));
	/* The pages of an exited child do not affect the others. */
	TRY(child_sees(&p[1], THP_STATE_UNKNOWN, why));
	TRY(thp_peer_end(&p[1], why));
	return thp_group_finish(why);
}

THP_COVERS_VARIANT(share, anon, both_write, "cow-write");
THP_COVERS_VARIANT(share, zero, both_write, "zero-write");
TEST_F(share, both_write)
{
	THP_SCENARIO(both_write, &variant->kind);
}

/* The parent unmaps the range: the child has all data, and owns it alone. */
static int parent_drops(const void *arg, struct thp_why *why)
{
	const enum thp_kind *kind = arg;
	size_t len = thp_env.unit * thp_env.pmd;
	struct thp_peer *p = thp_peers;
	struct thp_meter m;
	long long s = 0;
	unsigned int i;
	int ret;

	TRY(share(*kind, 1, &m, why));
	TRY(thp_meter_start(&m, 0, why));
	if (madvise(thp_group.base, len, MADV_DONTNEED))
		return thp_why(why, -errno, "MADV_DONTNEED: %s", strerror(errno));
	TRY(thp_meter_stop(&m, -thp_group_mapped(), 0, "MADV_DONTNEED of the whole", why));
	TRY(thp_group_expect(THP_STATE_NONE, why));
	TRY(child_sees(p, thp_kind_state(*kind), why));
	TRY(thp_meter_start(&m, p->child.pid, why));
	TRY(thp_peer_order(p, THP_ORDER_WRITE, middle(), SEED_CHILD, NULL, why));
	TRY(thp_meter_read(&m, why));
	TRY(thp_peer_order(p, THP_ORDER_STATE, 0, 0, &s, why));
	if (s == THP_STATE_PTE && *kind == THP_ANON)
		return thp_why(why, -EAGAIN, "sole owner: range is PTE-mapped, expected reuse");
	if (s == THP_STATE_PTE)
		ret = expect_write(&m, s, "child writes", why);
	else
		ret = thp_meter_expect(&m, 0, 0, "child as sole owner writes", why);
	if (!ret)
		ret = child_sees(p, THP_STATE_UNKNOWN, why);
	for (i = 0; i < thp_group.n && !ret; i++)
		ret = thp_check_zero(thp_group.map[i].thp, thp_env.nr, why);
	return ret ? ret : thp_peer_end(p, why);
}

THP_COVERS_VARIANT(share, anon, parent_drops, "zap-pmd cow-reuse");
THP_COVERS_VARIANT(share, zero, parent_drops, "zap-pmd zero-write");
TEST_F(share, parent_drops)
{
	THP_SCENARIO(parent_drops, &variant->kind);
}

/* A hole in one process splits there, and only there. */
static int parent_punches(const void *arg, struct thp_why *why)
{
	const enum thp_kind *kind = arg;
	struct thp_peer *p = thp_peers;
	struct thp_meter m;
	unsigned int i;
	int ret;

	TRY(share(*kind, 1, &m, why));
	TRY(thp_meter_start(&m, 0, why));
	for (i = 0; i < thp_group.n; i++)
		if (madvise(thp_page(&thp_group.map[i], 1), thp_env.page, MADV_DONTNEED))
			return thp_why(why, -errno, "MADV_DONTNEED: %s", strerror(errno));
	ret = thp_meter_stop(&m, thp_group_split(), thp_group.n, "MADV_DONTNEED of a page", why);
	for (i = 0; i < thp_group.n && !ret; i++)
		ret = thp_check_zero(thp_page(&thp_group.map[i], 1), 1, why);
	/* Writes the expected contents, so that the common check covers the rest. */
	if (!ret)
		thp_group_write(1, SEED_PARENT);
	if (!ret)
		ret = parent_sees(THP_STATE_PTE, why);
	if (!ret)
		ret = child_sees(p, thp_kind_state(*kind), why);
	if (!ret)
		ret = thp_peer_zap(p, thp_group_mapped(), why);
	if (!ret)
		ret = thp_peer_end(p, why);
	return ret ? ret : thp_group_finish(why);
}

THP_COVERS_VARIANT(share, anon, parent_punches, "zap-dontneed fork-anon");
THP_COVERS_VARIANT(share, zero, parent_punches, "zap-dontneed fork-zero");
TEST_F(share, parent_punches)
{
	THP_SCENARIO(parent_punches, &variant->kind);
}
