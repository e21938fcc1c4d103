// SPDX-License-Identifier: GPL-2.0
/*
 * mirror: The MMU notifiers of a device that mirrors the process.
 */

/*
 * A device that mirrors the process is told when page tables begin to change and when
 * that is over, also if it has failed: else the device waits for ever, and so does the
 * process when it closes it.
 */
FIXTURE(mirror) {
	struct trial trial;
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
	const struct split_op *op = op_by_name(variant->row);

	THP_REQUIRE(op, "no operation %s", variant->row);
	THP_NEEDS(op->needs | THP_NEED_HMM | THP_NEED_FAIL_PAGE);
}

FIXTURE_TEARDOWN_PARENT(mirror)
{
	thp_teardown(_metadata);
}

TEST_F_TIMEOUT(mirror, released, 120)
{
	struct trial *t = &self->trial;
	struct job job = {
		.op = op_by_name(variant->row), .kind = THP_ANON, .injector = TARGETED,
		.trial = t, .mirrored = true,
	};
	bool needed = needs_table(job.op, THP_ANON);
	struct thp_why why = { 0 };

	THP_REQUIRE_OK(thp_inject_setup(true, 0, &why), &why);
	/* A process that waits for ever cannot be killed: that is what this reports. */
	THP_REQUIRE_OK(watch(&job, &why), &why);
	report("targeted", job.op, THP_ANON, t, t->fired);
	THP_CHECK(needed == (t->fired > 0), "%s: %ld tables refused", job.op->name, t->fired);
}
