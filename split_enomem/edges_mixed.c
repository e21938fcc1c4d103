// SPDX-License-Identifier: GPL-2.0
/*
 * More ranges for the fixture edges: those that begin in a huge zero PMD and end in a
 * THP, the other way round, and those whose edges lie in one PMD.
 *
 * The two kinds are split by different functions, __split_huge_zero_page_pmd() and
 * __split_huge_pmd_locked(), but the tables for both have to be allocated before either of
 * them is called. A PMD with two edges is split once: with a single table the operation has
 * to succeed.
 */

THP_COVERS_VARIANT(edges, dontneed_from_zero, refused, "zap-dontneed");
FIXTURE_VARIANT_ADD(edges, dontneed_from_zero) {
	.op = {
		.row = "dontneed_mid", .tables = 2, .from = 1, .zaps = true,
		.zero = { [0] = true },
	},
};

THP_COVERS_VARIANT(edges, dontneed_to_zero, refused, "zap-dontneed");
FIXTURE_VARIANT_ADD(edges, dontneed_to_zero) {
	.op = {
		.row = "dontneed_mid", .tables = 2, .from = 1, .zaps = true,
		.zero = { [2] = true },
	},
};

THP_COVERS_VARIANT(edges, dontneed_inside, refused, "zap-dontneed");
FIXTURE_VARIANT_ADD(edges, dontneed_inside) {
	.op = {
		.row = "dontneed_mid", .tables = 1, .inside = true,
	},
};

THP_COVERS_VARIANT(edges, guard_install_from_zero, refused, "zap-guard");
FIXTURE_VARIANT_ADD(edges, guard_install_from_zero) {
	.op = {
		.row = "guard_install_mid", .tables = 2, .from = 1, .small_mid = true,
		.zero = { [0] = true },
	},
};

THP_COVERS_VARIANT(edges, guard_install_to_zero, refused, "zap-guard");
FIXTURE_VARIANT_ADD(edges, guard_install_to_zero) {
	.op = {
		.row = "guard_install_mid", .tables = 2, .from = 1, .small_mid = true,
		.zero = { [2] = true },
	},
};

THP_COVERS_VARIANT(edges, guard_install_inside, refused, "zap-guard");
FIXTURE_VARIANT_ADD(edges, guard_install_inside) {
	.op = {
		.row = "guard_install_mid", .tables = 1, .inside = true,
	},
};

THP_COVERS_VARIANT(edges, uffd_wp_from_zero, refused, "protect-uffd-wp");
FIXTURE_VARIANT_ADD(edges, uffd_wp_from_zero) {
	.op = {
		.row = "uffd_wp_mid", .prepare = edges_uffd_wp, .tables = 2, .from = 1,
		.wp = true, .zero = { [0] = true },
	},
};

THP_COVERS_VARIANT(edges, uffd_wp_to_zero, refused, "protect-uffd-wp");
FIXTURE_VARIANT_ADD(edges, uffd_wp_to_zero) {
	.op = {
		.row = "uffd_wp_mid", .prepare = edges_uffd_wp, .tables = 2, .from = 1,
		.wp = true, .zero = { [2] = true },
	},
};

THP_COVERS_VARIANT(edges, uffd_wp_inside, refused, "protect-uffd-wp");
FIXTURE_VARIANT_ADD(edges, uffd_wp_inside) {
	.op = {
		.row = "uffd_wp_mid", .prepare = edges_uffd_wp, .tables = 1, .inside = true,
		.wp = true,
	},
};

THP_COVERS_VARIANT(edges, uffd_rwp_from_zero, refused, "protect-uffd-rwp");
FIXTURE_VARIANT_ADD(edges, uffd_rwp_from_zero) {
	.op = {
		.row = "uffd_rwp_mid", .prepare = edges_uffd_rwp, .tables = 2, .from = 1,
		.wp = true, .zero = { [0] = true },
	},
};

THP_COVERS_VARIANT(edges, uffd_rwp_to_zero, refused, "protect-uffd-rwp");
FIXTURE_VARIANT_ADD(edges, uffd_rwp_to_zero) {
	.op = {
		.row = "uffd_rwp_mid", .prepare = edges_uffd_rwp, .tables = 2, .from = 1,
		.wp = true, .zero = { [2] = true },
	},
};

THP_COVERS_VARIANT(edges, uffd_rwp_inside, refused, "protect-uffd-rwp");
FIXTURE_VARIANT_ADD(edges, uffd_rwp_inside) {
	.op = {
		.row = "uffd_rwp_mid", .prepare = edges_uffd_rwp, .tables = 1,
		.inside = true, .wp = true,
	},
};

THP_COVERS_VARIANT(edges, uffd_unregister_from_zero, refused, "protect-uffd-unregister");
FIXTURE_VARIANT_ADD(edges, uffd_unregister_from_zero) {
	.op = {
		.row = "uffd_unregister_mid", .prepare = edges_uffd_wped, .tables = 2,
		.from = 1, .wp = true, .wp_before = true, .zero = { [0] = true },
	},
};

THP_COVERS_VARIANT(edges, uffd_unregister_to_zero, refused, "protect-uffd-unregister");
FIXTURE_VARIANT_ADD(edges, uffd_unregister_to_zero) {
	.op = {
		.row = "uffd_unregister_mid", .prepare = edges_uffd_wped, .tables = 2,
		.from = 1, .wp = true, .wp_before = true, .zero = { [2] = true },
	},
};

THP_COVERS_VARIANT(edges, uffd_unregister_inside, refused, "protect-uffd-unregister");
FIXTURE_VARIANT_ADD(edges, uffd_unregister_inside) {
	.op = {
		.row = "uffd_unregister_mid", .prepare = edges_uffd_wped, .tables = 1,
		.inside = true, .wp = true, .wp_before = true,
	},
};

THP_COVERS_VARIANT(edges, munmap_from_zero, refused, "split-munmap");
FIXTURE_VARIANT_ADD(edges, munmap_from_zero) {
	.op = {
		.row = "munmap_mid", .tables = 2, .from = 1, .zaps = true, .cuts = true,
		.zero = { [0] = true },
	},
};

THP_COVERS_VARIANT(edges, munmap_to_zero, refused, "split-munmap");
FIXTURE_VARIANT_ADD(edges, munmap_to_zero) {
	.op = {
		.row = "munmap_mid", .tables = 2, .from = 1, .zaps = true, .cuts = true,
		.zero = { [2] = true },
	},
};

THP_COVERS_VARIANT(edges, munmap_inside, refused, "split-munmap");
FIXTURE_VARIANT_ADD(edges, munmap_inside) {
	.op = {
		.row = "munmap_mid", .tables = 1, .inside = true, .cuts = true,
	},
};

THP_COVERS_VARIANT(edges, mprotect_from_zero, refused, "split-mprotect");
FIXTURE_VARIANT_ADD(edges, mprotect_from_zero) {
	.op = {
		.row = "mprotect_mid", .tables = 2, .from = 1, .cuts = true,
		.verify = edges_verify_mprotect, .zero = { [0] = true },
	},
};

THP_COVERS_VARIANT(edges, mprotect_to_zero, refused, "split-mprotect");
FIXTURE_VARIANT_ADD(edges, mprotect_to_zero) {
	.op = {
		.row = "mprotect_mid", .tables = 2, .from = 1, .cuts = true,
		.verify = edges_verify_mprotect, .zero = { [2] = true },
	},
};

THP_COVERS_VARIANT(edges, mprotect_inside, refused, "split-mprotect");
FIXTURE_VARIANT_ADD(edges, mprotect_inside) {
	.op = {
		.row = "mprotect_mid", .tables = 1, .inside = true, .cuts = true,
		.verify = edges_verify_mprotect,
	},
};

THP_COVERS_VARIANT(edges, mlock_inside, refused, "split-mlock");
FIXTURE_VARIANT_ADD(edges, mlock_inside) {
	.op = {
		.row = "mlock_mid", .tables = 1, .inside = true, .cuts = true,
		.verify = edges_verify_mlock,
	},
};

THP_COVERS_VARIANT(edges, pagemap_scan_inside, refused, "walk-pagemap-scan");
FIXTURE_VARIANT_ADD(edges, pagemap_scan_inside) {
	.op = {
		.row = "pagemap_scan_wp_mid", .prepare = edges_uffd_async, .tables = 1,
		.inside = true, .wp = true, .cuts = true, .scan = true,
	},
};
