// SPDX-License-Identifier: GPL-2.0
/*
 * mirror: The MMU notifiers of a device that mirrors the process.
 */

/*
 * A device that mirrors the process is notified when page tables start to change and when
 * the change ends, even if it has failed: otherwise the device waits for ever, and so does
 * the process that closes it.
 */
FIXTURE(mirror) {
	struct starve_result result;
};

FIXTURE_VARIANT(mirror) {
	const char *row;	/* the operation */
};

THP_COVERS_VARIANT(mirror, munmap, released, "split-munmap");
FIXTURE_VARIANT_ADD(mirror, munmap) { .row = "munmap_mid" };
THP_COVERS_VARIANT(mirror, dontneed, released, "zap-dontneed");
FIXTURE_VARIANT_ADD(mirror, dontneed) { .row = "dontneed_mid" };
THP_COVERS_VARIANT(mirror, uffd_wp, released, "protect-uffd-wp");
FIXTURE_VARIANT_ADD(mirror, uffd_wp) { .row = "uffd_wp_mid" };
THP_COVERS_VARIANT(mirror, uffd_move, released, "uffd-move-split");
FIXTURE_VARIANT_ADD(mirror, uffd_move) { .row = "uffd_move_mid" };
THP_COVERS_VARIANT(mirror, mremap, released, "move-partial");
FIXTURE_VARIANT_ADD(mirror, mremap) { .row = "mremap_move_mid" };
THP_COVERS_VARIANT(mirror, pagemap_scan, released, "walk-pagemap-scan");
FIXTURE_VARIANT_ADD(mirror, pagemap_scan) { .row = "pagemap_scan_wp_mid" };
THP_COVERS_VARIANT(mirror, cow_write, released, "cow-write");
FIXTURE_VARIANT_ADD(mirror, cow_write) { .row = "cow_write_mid" };
THP_COVERS_VARIANT(mirror, cold, released, "folio-split-advice folio-split");
FIXTURE_VARIANT_ADD(mirror, cold) { .row = "cold_mid" };
THP_COVERS_VARIANT(mirror, pageout, released, "reclaim-unmap");
FIXTURE_VARIANT_ADD(mirror, pageout) { .row = "pageout_whole" };

FIXTURE_SETUP(mirror)
{
	const struct split_op *op = split_op_by_name(variant->row);

	THP_REQUIRE(op, "no operation %s", variant->row);
	THP_NEEDS(op->needs | THP_NEED_HMM | THP_NEED_FAIL_PAGE);
}

FIXTURE_TEARDOWN_PARENT(mirror)
{
	thp_teardown(_metadata);
}

/* A process that waits for ever cannot be killed: starve_run() reports that. */
static int notifiers_released(const void *arg, struct thp_why *why)
{
	const struct starve_job *job = arg;
	struct starve_result *r = job->result;

	memset(r, 0, sizeof(*r));
	TRY(thp_inject_tables(why));
	TRY(starve_run(job, why));
	starve_report("targeted", job, r->fired);
	if (r->needed ? r->fired <= 0 : r->fired)
		return thp_why(why, -EPROTO, "%s: %ld tables refused", job->op->name, r->fired);
	return 0;
}

TEST_F_TIMEOUT(mirror, released, 120)
{
	const struct starve_job job = {
		.op = split_op_by_name(variant->row), .kind = THP_ANON, .by = &starve_tables,
		.prepare = thp_hmm_open, .result = &self->result,
	};

	THP_SCENARIO(notifiers_released, &job);
}
