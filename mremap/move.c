// SPDX-License-Identifier: GPL-2.0
/*
 * move: Moves of every alignment, length and place.
 */

THP_TESTS_OF(move);

FIXTURE(move) {
	int unused;
};

FIXTURE_VARIANT(move) {
	struct thp_move_case c;
};

/* Names: _near moves below the same PMD table, _far below another one. */
#define KEEP .how = THP_MOVE_DONTUNMAP
#define UFFD .how = THP_MOVE_UFFD

/* The four alignment cases; source and target that are equally misaligned split, too. */
FIXTURE_VARIANT_ADD(move, whole_anon_near) MOVE(ANON, HEAD, WHOLE, HEAD);
FIXTURE_VARIANT_ADD(move, whole_anon_far) MOVE(ANON, HEAD, WHOLE, HEAD, .far = true);
FIXTURE_VARIANT_ADD(move, whole_zero_near) MOVE(ZERO, HEAD, WHOLE, HEAD);
FIXTURE_VARIANT_ADD(move, whole_zero_far) MOVE(ZERO, HEAD, WHOLE, HEAD, .far = true);
FIXTURE_VARIANT_ADD(move, whole_to_misaligned_anon_near) MOVE(ANON, HEAD, WHOLE, SECOND);
FIXTURE_VARIANT_ADD(move, whole_to_misaligned_anon_far)
	MOVE(ANON, HEAD, WHOLE, SECOND, .far = true);
FIXTURE_VARIANT_ADD(move, whole_to_misaligned_zero_near) MOVE(ZERO, HEAD, WHOLE, SECOND);
FIXTURE_VARIANT_ADD(move, whole_to_misaligned_zero_far)
	MOVE(ZERO, HEAD, WHOLE, SECOND, .far = true);
FIXTURE_VARIANT_ADD(move, misaligned_to_aligned_anon_near)
	MOVE(ANON, SECOND, WHOLE, HEAD, .two = true);
FIXTURE_VARIANT_ADD(move, misaligned_to_aligned_anon_far)
	MOVE(ANON, SECOND, WHOLE, HEAD, .two = true, .far = true);
FIXTURE_VARIANT_ADD(move, misaligned_to_aligned_zero_near)
	MOVE(ZERO, SECOND, WHOLE, HEAD, .two = true);
FIXTURE_VARIANT_ADD(move, misaligned_to_aligned_zero_far)
	MOVE(ZERO, SECOND, WHOLE, HEAD, .two = true, .far = true);
FIXTURE_VARIANT_ADD(move, misaligned_to_misaligned_anon_near)
	MOVE(ANON, SECOND, WHOLE, SECOND, .two = true);
FIXTURE_VARIANT_ADD(move, misaligned_to_misaligned_anon_far)
	MOVE(ANON, SECOND, WHOLE, SECOND, .two = true, .far = true);
FIXTURE_VARIANT_ADD(move, misaligned_to_misaligned_zero_near)
	MOVE(ZERO, SECOND, WHOLE, SECOND, .two = true);
FIXTURE_VARIANT_ADD(move, misaligned_to_misaligned_zero_far)
	MOVE(ZERO, SECOND, WHOLE, SECOND, .two = true, .far = true);
FIXTURE_VARIANT_ADD(move, misaligned_to_other_anon_near)
	MOVE(ANON, SECOND, WHOLE, MIDDLE, .two = true);
FIXTURE_VARIANT_ADD(move, two_anon_near) MOVE(ANON, HEAD, TWO, HEAD, .two = true);
FIXTURE_VARIANT_ADD(move, two_anon_far) MOVE(ANON, HEAD, TWO, HEAD, .two = true, .far = true);

/* Parts. */
FIXTURE_VARIANT_ADD(move, head_page_anon_near) MOVE(ANON, HEAD, ONE_PAGE, HEAD);
FIXTURE_VARIANT_ADD(move, head_page_anon_far) MOVE(ANON, HEAD, ONE_PAGE, HEAD, .far = true);
FIXTURE_VARIANT_ADD(move, head_page_zero_near) MOVE(ZERO, HEAD, ONE_PAGE, HEAD);
FIXTURE_VARIANT_ADD(move, head_page_zero_far) MOVE(ZERO, HEAD, ONE_PAGE, HEAD, .far = true);
FIXTURE_VARIANT_ADD(move, middle_page_anon_near) MOVE(ANON, MIDDLE, ONE_PAGE, SECOND);
FIXTURE_VARIANT_ADD(move, middle_page_anon_far) MOVE(ANON, MIDDLE, ONE_PAGE, SECOND, .far = true);
FIXTURE_VARIANT_ADD(move, middle_page_zero_near) MOVE(ZERO, MIDDLE, ONE_PAGE, SECOND);
FIXTURE_VARIANT_ADD(move, middle_page_zero_far) MOVE(ZERO, MIDDLE, ONE_PAGE, SECOND, .far = true);
FIXTURE_VARIANT_ADD(move, tail_page_anon_near) MOVE(ANON, TAIL, ONE_PAGE, TAIL);
FIXTURE_VARIANT_ADD(move, tail_page_anon_far) MOVE(ANON, TAIL, ONE_PAGE, TAIL, .far = true);
FIXTURE_VARIANT_ADD(move, tail_page_zero_near) MOVE(ZERO, TAIL, ONE_PAGE, TAIL);
FIXTURE_VARIANT_ADD(move, tail_page_zero_far) MOVE(ZERO, TAIL, ONE_PAGE, TAIL, .far = true);
FIXTURE_VARIANT_ADD(move, first_half_anon_near) MOVE(ANON, HEAD, HALF, HEAD);
FIXTURE_VARIANT_ADD(move, first_half_anon_far) MOVE(ANON, HEAD, HALF, HEAD, .far = true);
FIXTURE_VARIANT_ADD(move, first_half_zero_near) MOVE(ZERO, HEAD, HALF, HEAD);
FIXTURE_VARIANT_ADD(move, first_half_zero_far) MOVE(ZERO, HEAD, HALF, HEAD, .far = true);
FIXTURE_VARIANT_ADD(move, second_half_anon_near) MOVE(ANON, MIDDLE, HALF, MIDDLE);
FIXTURE_VARIANT_ADD(move, second_half_anon_far) MOVE(ANON, MIDDLE, HALF, MIDDLE, .far = true);
FIXTURE_VARIANT_ADD(move, second_half_zero_near) MOVE(ZERO, MIDDLE, HALF, MIDDLE);
FIXTURE_VARIANT_ADD(move, second_half_zero_far) MOVE(ZERO, MIDDLE, HALF, MIDDLE, .far = true);
FIXTURE_VARIANT_ADD(move, half_to_misaligned_anon_near) MOVE(ANON, MIDDLE, HALF, SECOND);

/* If the destination has a PTE table, only the split needs one. */
FIXTURE_VARIANT_ADD(move, page_to_table_anon_near)
	MOVE(ANON, MIDDLE, ONE_PAGE, SECOND, .table = true);
FIXTURE_VARIANT_ADD(move, page_to_table_zero_near)
	MOVE(ZERO, MIDDLE, ONE_PAGE, SECOND, .table = true);
FIXTURE_VARIANT_ADD(move, page_to_table_anon_far)
	MOVE(ANON, TAIL, ONE_PAGE, TAIL, .table = true, .far = true);
FIXTURE_VARIANT_ADD(move, whole_to_table_anon_near) MOVE(ANON, HEAD, WHOLE, SECOND, .table = true);
FIXTURE_VARIANT_ADD(move, whole_over_table_anon_near)
	MOVE(ANON, HEAD, WHOLE, HEAD, .emptied = true);
FIXTURE_VARIANT_ADD(move, whole_over_table_zero_far)
	MOVE(ZERO, HEAD, WHOLE, HEAD, .emptied = true, .far = true);

/* The source stays mapped, without its pages. */
FIXTURE_VARIANT_ADD(move, keep_whole_anon_near) MOVE(ANON, HEAD, WHOLE, HEAD, KEEP);
FIXTURE_VARIANT_ADD(move, keep_whole_anon_far) MOVE(ANON, HEAD, WHOLE, HEAD, KEEP, .far = true);
FIXTURE_VARIANT_ADD(move, keep_whole_zero_near) MOVE(ZERO, HEAD, WHOLE, HEAD, KEEP);
FIXTURE_VARIANT_ADD(move, keep_whole_zero_far) MOVE(ZERO, HEAD, WHOLE, HEAD, KEEP, .far = true);
FIXTURE_VARIANT_ADD(move, keep_whole_to_misaligned_anon_near) MOVE(ANON, HEAD, WHOLE, SECOND, KEEP);
FIXTURE_VARIANT_ADD(move, keep_whole_to_misaligned_anon_far)
	MOVE(ANON, HEAD, WHOLE, SECOND, KEEP, .far = true);
FIXTURE_VARIANT_ADD(move, keep_whole_to_misaligned_zero_near) MOVE(ZERO, HEAD, WHOLE, SECOND, KEEP);
FIXTURE_VARIANT_ADD(move, keep_whole_to_misaligned_zero_far)
	MOVE(ZERO, HEAD, WHOLE, SECOND, KEEP, .far = true);
FIXTURE_VARIANT_ADD(move, keep_misaligned_anon_near)
	MOVE(ANON, SECOND, WHOLE, HEAD, .two = true, KEEP);
FIXTURE_VARIANT_ADD(move, keep_page_anon_near) MOVE(ANON, MIDDLE, ONE_PAGE, HEAD, KEEP);
FIXTURE_VARIANT_ADD(move, keep_page_anon_far) MOVE(ANON, TAIL, ONE_PAGE, HEAD, KEEP, .far = true);
FIXTURE_VARIANT_ADD(move, keep_page_zero_near) MOVE(ZERO, MIDDLE, ONE_PAGE, HEAD, KEEP);
FIXTURE_VARIANT_ADD(move, keep_half_anon_near) MOVE(ANON, HEAD, HALF, HEAD, KEEP);
FIXTURE_VARIANT_ADD(move, keep_page_to_table_anon_near)
	MOVE(ANON, HEAD, ONE_PAGE, SECOND, KEEP, .table = true);

/* Locked memory: its VMA is split before the move. */
FIXTURE_VARIANT_ADD(move, locked_whole_anon_near) MOVE(ANON, HEAD, WHOLE, HEAD, .locked = true);
FIXTURE_VARIANT_ADD(move, locked_page_anon_near) MOVE(ANON, MIDDLE, ONE_PAGE, HEAD, .locked = true);
FIXTURE_VARIANT_ADD(move, locked_keep_whole_anon_near)
	MOVE(ANON, HEAD, WHOLE, HEAD, KEEP, .locked = true);
FIXTURE_VARIANT_ADD(move, locked_keep_page_anon_near)
	MOVE(ANON, MIDDLE, ONE_PAGE, HEAD, KEEP, .locked = true);
FIXTURE_VARIANT_ADD(move, locked_keep_page_zero_near)
	MOVE(ZERO, MIDDLE, ONE_PAGE, HEAD, KEEP, .locked = true);
FIXTURE_VARIANT_ADD(move, locked_keep_half_anon_far)
	MOVE(ANON, MIDDLE, HALF, SECOND, KEEP, .locked = true, .far = true);

/* MREMAP_FIXED onto other THPs, a part of which may stay. */
#define OVER(_kind, _n) .dst_kind = THP_##_kind, .ndst = _n
FIXTURE_VARIANT_ADD(move, whole_over_anon_near) MOVE(ANON, HEAD, WHOLE, HEAD, OVER(ANON, 1));
FIXTURE_VARIANT_ADD(move, whole_over_anon_far)
	MOVE(ANON, HEAD, WHOLE, HEAD, OVER(ANON, 1), .far = true);
FIXTURE_VARIANT_ADD(move, whole_over_zero_near) MOVE(ANON, HEAD, WHOLE, HEAD, OVER(ZERO, 1));
FIXTURE_VARIANT_ADD(move, zero_over_anon_far)
	MOVE(ZERO, HEAD, WHOLE, HEAD, OVER(ANON, 1), .far = true);
FIXTURE_VARIANT_ADD(move, whole_over_two_anon_near) MOVE(ANON, HEAD, WHOLE, SECOND, OVER(ANON, 2));
FIXTURE_VARIANT_ADD(move, whole_over_two_zero_near) MOVE(ANON, HEAD, WHOLE, MIDDLE, OVER(ZERO, 2));
FIXTURE_VARIANT_ADD(move, page_over_page_anon_near)
	MOVE(ANON, MIDDLE, ONE_PAGE, SECOND, OVER(ANON, 1));
FIXTURE_VARIANT_ADD(move, page_over_page_anon_far)
	MOVE(ANON, HEAD, ONE_PAGE, TAIL, OVER(ANON, 1), .far = true);
FIXTURE_VARIANT_ADD(move, page_over_zero_near) MOVE(ANON, MIDDLE, ONE_PAGE, SECOND, OVER(ZERO, 1));
FIXTURE_VARIANT_ADD(move, zero_page_over_zero_near)
	MOVE(ZERO, MIDDLE, ONE_PAGE, SECOND, OVER(ZERO, 1));
FIXTURE_VARIANT_ADD(move, half_over_half_anon_near) MOVE(ANON, HEAD, HALF, MIDDLE, OVER(ANON, 1));
FIXTURE_VARIANT_ADD(move, keep_whole_over_anon_near)
	MOVE(ANON, HEAD, WHOLE, HEAD, KEEP, OVER(ANON, 1));
FIXTURE_VARIANT_ADD(move, keep_page_over_page_anon_near)
	MOVE(ANON, MIDDLE, ONE_PAGE, SECOND, KEEP, OVER(ANON, 1));

/* Controls: a PMD that is split already, and PMDs of a file, which have no deposit. */
FIXTURE_VARIANT_ADD(move, presplit_whole_anon_near) MOVE(ANON, HEAD, WHOLE, HEAD, .presplit = true);
FIXTURE_VARIANT_ADD(move, presplit_whole_anon_far)
	MOVE(ANON, HEAD, WHOLE, HEAD, .presplit = true, .far = true);
FIXTURE_VARIANT_ADD(move, presplit_page_zero_near)
	MOVE(ZERO, MIDDLE, ONE_PAGE, HEAD, .presplit = true);
FIXTURE_VARIANT_ADD(move, whole_shmem_near) MOVE(SHMEM, HEAD, WHOLE, HEAD);
FIXTURE_VARIANT_ADD(move, whole_shmem_far) MOVE(SHMEM, HEAD, WHOLE, HEAD, .far = true);
FIXTURE_VARIANT_ADD(move, whole_to_misaligned_shmem_near) MOVE(SHMEM, HEAD, WHOLE, SECOND);
FIXTURE_VARIANT_ADD(move, page_shmem_near) MOVE(SHMEM, MIDDLE, ONE_PAGE, HEAD);
FIXTURE_VARIANT_ADD(move, keep_whole_shmem_near) MOVE(SHMEM, HEAD, WHOLE, HEAD, KEEP);

/* UFFDIO_MOVE: the destination is mapped and must be empty. */
FIXTURE_VARIANT_ADD(move, uffd_whole_anon_near) MOVE(ANON, HEAD, WHOLE, HEAD, UFFD);
FIXTURE_VARIANT_ADD(move, uffd_whole_anon_far) MOVE(ANON, HEAD, WHOLE, HEAD, UFFD, .far = true);
FIXTURE_VARIANT_ADD(move, uffd_whole_zero_near) MOVE(ZERO, HEAD, WHOLE, HEAD, UFFD);
FIXTURE_VARIANT_ADD(move, uffd_whole_zero_far) MOVE(ZERO, HEAD, WHOLE, HEAD, UFFD, .far = true);
FIXTURE_VARIANT_ADD(move, uffd_whole_to_misaligned_anon_near) MOVE(ANON, HEAD, WHOLE, SECOND, UFFD);
FIXTURE_VARIANT_ADD(move, uffd_whole_to_misaligned_anon_far)
	MOVE(ANON, HEAD, WHOLE, SECOND, UFFD, .far = true);
FIXTURE_VARIANT_ADD(move, uffd_whole_to_misaligned_zero_near) MOVE(ZERO, HEAD, WHOLE, SECOND, UFFD);
FIXTURE_VARIANT_ADD(move, uffd_whole_to_misaligned_zero_far)
	MOVE(ZERO, HEAD, WHOLE, SECOND, UFFD, .far = true);
FIXTURE_VARIANT_ADD(move, uffd_whole_to_empty_table_anon_near)
	MOVE(ANON, HEAD, WHOLE, HEAD, UFFD, .emptied = true);
FIXTURE_VARIANT_ADD(move, uffd_whole_to_empty_table_anon_far)
	MOVE(ANON, HEAD, WHOLE, HEAD, UFFD, .emptied = true, .far = true);
FIXTURE_VARIANT_ADD(move, uffd_whole_to_empty_table_zero_near)
	MOVE(ZERO, HEAD, WHOLE, HEAD, UFFD, .emptied = true);
FIXTURE_VARIANT_ADD(move, uffd_whole_to_empty_table_zero_far)
	MOVE(ZERO, HEAD, WHOLE, HEAD, UFFD, .emptied = true, .far = true);
FIXTURE_VARIANT_ADD(move, uffd_two_anon_far)
	MOVE(ANON, HEAD, TWO, HEAD, .two = true, UFFD, .far = true);
FIXTURE_VARIANT_ADD(move, uffd_misaligned_anon_near)
	MOVE(ANON, SECOND, WHOLE, HEAD, .two = true, UFFD);
FIXTURE_VARIANT_ADD(move, uffd_head_page_anon_near) MOVE(ANON, HEAD, ONE_PAGE, HEAD, UFFD);
FIXTURE_VARIANT_ADD(move, uffd_head_page_anon_far)
	MOVE(ANON, HEAD, ONE_PAGE, HEAD, UFFD, .far = true);
FIXTURE_VARIANT_ADD(move, uffd_head_page_zero_near) MOVE(ZERO, HEAD, ONE_PAGE, HEAD, UFFD);
FIXTURE_VARIANT_ADD(move, uffd_head_page_zero_far)
	MOVE(ZERO, HEAD, ONE_PAGE, HEAD, UFFD, .far = true);
FIXTURE_VARIANT_ADD(move, uffd_middle_page_anon_near) MOVE(ANON, MIDDLE, ONE_PAGE, SECOND, UFFD);
FIXTURE_VARIANT_ADD(move, uffd_tail_page_zero_near) MOVE(ZERO, TAIL, ONE_PAGE, TAIL, UFFD);
FIXTURE_VARIANT_ADD(move, uffd_half_anon_near) MOVE(ANON, MIDDLE, HALF, HEAD, UFFD);
FIXTURE_VARIANT_ADD(move, uffd_page_to_table_anon_near)
	MOVE(ANON, MIDDLE, ONE_PAGE, SECOND, UFFD, .table = true);
FIXTURE_VARIANT_ADD(move, uffd_page_to_table_zero_near)
	MOVE(ZERO, MIDDLE, ONE_PAGE, SECOND, UFFD, .table = true);

/* mremap() that stays where it is. */
#define SHRINK .how = THP_MOVE_SHRINK
#define GROW .how = THP_MOVE_GROW
FIXTURE_VARIANT_ADD(move, shrink_half_anon) MOVE(ANON, MIDDLE, HALF, HEAD, SHRINK);
FIXTURE_VARIANT_ADD(move, shrink_half_zero) MOVE(ZERO, MIDDLE, HALF, HEAD, SHRINK);
FIXTURE_VARIANT_ADD(move, shrink_half_shmem) MOVE(SHMEM, MIDDLE, HALF, HEAD, SHRINK);
FIXTURE_VARIANT_ADD(move, shrink_by_page_anon) MOVE(ANON, TAIL, ONE_PAGE, HEAD, SHRINK);
FIXTURE_VARIANT_ADD(move, shrink_to_page_anon)
	MOVE(ANON, SECOND, SPOT(4, -1), HEAD, SHRINK, .two = true);
FIXTURE_VARIANT_ADD(move, shrink_by_thp_anon) MOVE(ANON, WHOLE, WHOLE, HEAD, SHRINK, .two = true);
FIXTURE_VARIANT_ADD(move, grow_anon) MOVE(ANON, HEAD, WHOLE, HEAD, GROW);
FIXTURE_VARIANT_ADD(move, grow_zero) MOVE(ZERO, HEAD, WHOLE, HEAD, GROW);
FIXTURE_VARIANT_ADD(move, grow_tail_anon) MOVE(ANON, TAIL, ONE_PAGE, HEAD, GROW);

FIXTURE_SETUP(move)
{
	(void)self;
	(void)variant;
	thp_warm_up();
}

FIXTURE_TEARDOWN_PARENT(move)
{
	(void)self;
	(void)variant;
	thp_teardown(_metadata);
}

/*
 * UFFDIO_MOVE does not move a page with an extra reference, even a short one: such a
 * failure counts only if it persists.
 */
static bool is_busy(int ret)
{
	return mv.c.how == THP_MOVE_UFFD && (ret == -EBUSY || (ret == -EAGAIN && !mv.fired));
}

/* Runs the whole move; reports too many splits, perhaps of others, only if all else is right. */
static int move_whole(const void *arg, struct thp_why *why)
{
	const struct thp_move_case *c = arg;
	int ret, splits;

	TRY(thp_move_prepare(&mv, c, thp_env.unit, why));
	thp_move_predict(&mv, mv.n);
	ret = thp_move_run(&mv);
	if (ret)
		return thp_why(why, is_busy(ret) ? -EAGAIN : -EPROTO, "the move failed with %s",
			       thp_errno_name(ret));
	splits = thp_move_check_splits(&mv, mv.next.splits, why);
	if (splits && splits != -EAGAIN)
		return splits;
	TRY(thp_move_check_done(&mv, why));
	TRY(thp_move_finish(&mv, why));
	return splits;
}

/* Everything is in its place: splits, tables on both sides, pages, contents. */
TEST_F(move, moves)
{
	(void)self;
	THP_NEEDS(thp_move_needs(&variant->c));
	THP_SCENARIO(move_whole, &variant->c);
}

/* Moves again, with memory: now it has to succeed. */
static int move_again(struct thp_why *why)
{
	int ret;

	mv.starve = false;
	mv.fired = 0;
	if (mv.nth_fd >= 0)
		close(mv.nth_fd);
	mv.nth_fd = -1;
	thp_move_predict(&mv, mv.n);
	ret = thp_move_run(&mv);
	if (ret)
		return thp_why(why, is_busy(ret) ? -EAGAIN : -EPROTO,
			       "after the failure, with memory: %s", thp_errno_name(ret));
	TRY(thp_move_check_done(&mv, why));
	return thp_move_finish(&mv, why);
}

/* UFFDIO_MOVE that has moved a part cannot be repeated: moves the rest. */
static int finish_uffd(size_t moved, struct thp_why *why)
{
	mv.s += moved / thp_env.page;
	mv.d += moved / thp_env.page;
	mv.n -= moved / thp_env.page;
	return move_again(why);
}

static int check_failure(int ret, bool may_split, long slack, struct thp_why *why)
{
	long long moved = mv.c.how == THP_MOVE_UFFD && mv.moved > 0 ? mv.moved : 0;

	if (ret != -ENOMEM && !(moved && mv.fired && ret == -EAGAIN))
		return thp_why(why, is_busy(ret) ? -EAGAIN : -EPROTO,
			       "starved: %s, expected ENOMEM", thp_errno_name(ret));
	TRY(thp_move_check_refused(&mv, may_split, slack, why));
	return finish_uffd(moved, why);
}

/* No PTE table can be allocated during the whole move. */
static int without_tables(const void *arg, struct thp_why *why)
{
	const struct thp_move_case *c = arg;
	bool lazy = thp_env.contract == THP_LAZY;
	unsigned int allocs;
	int ret;

	/* Comes first, because it may take tables itself. */
	TRY(thp_inject_tables(why));
	TRY(thp_move_prepare(&mv, c, 1, why));
	thp_move_predict(&mv, mv.n);
	allocs = mv.next.allocs;
	mv.starve = true;
	ret = thp_move_run(&mv);
	thp_inject_report("targeted", allocs, mv.fired, "%s", thp_errno_name(ret));
	if (!allocs && mv.fired)
		return thp_why(why, -EPROTO, "asked for %ld tables, needs none", mv.fired);
	if (allocs && !mv.fired)
		return thp_why(why, -EPROTO, "needs %u tables and the injector did not fire (%s)",
			       allocs, thp_errno_name(ret));
	if (!ret) {
		TRY(thp_move_check_done(&mv, why));
		return thp_move_finish(&mv, why);
	}
	if (!allocs)
		return thp_why(why, is_busy(ret) ? -EAGAIN : -EPROTO,
			       "starved: %s, but it needs no table", thp_errno_name(ret));
	/* If only tables of the destination were refused, no split has failed. */
	if (mv.failed > (uint64_t)mv.fired)
		return thp_why(why, -EAGAIN, "%ld tables were refused, thp_split_pmd_failed +%llu",
			       mv.fired, (unsigned long long)mv.failed);
	if (lazy && mv.splits)
		return thp_why(why, -EAGAIN, "it was refused: thp_split_pmd +%llu, expected +0",
			       (unsigned long long)mv.splits);
	/* With a deposit the split succeeds before the destination's table is refused. */
	return check_failure(ret, !lazy, 0, why);
}

/* Without a table the move fails as a whole, and succeeds once memory is available. */
TEST_F(move, starved)
{
	(void)self;
	THP_NEEDS(thp_move_needs(&variant->c) | THP_NEED_FAIL_PAGE);
	if (!thp_inject_can_target())
		THP_SKIP("needs kallsyms with the allocator of PTE tables");
	THP_SCENARIO(without_tables, &variant->c);
}
