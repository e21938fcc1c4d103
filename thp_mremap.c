// SPDX-License-Identifier: GPL-2.0
/*
 * Moving PMD mappings: mremap() and UFFDIO_MOVE, whole and in part, aligned and
 * not, below the same PMD table and below another one; mremap() that shrinks and
 * grows; and all of it when a page table cannot be had.
 *
 * A whole, aligned move takes the PMD along and needs no table. Everything else
 * splits the PMD first. A move that fails leaves the source as it was, and one
 * that succeeds leaves nothing of it.
 */
#include <sys/resource.h>
#include <sys/wait.h>

#include "thp_contract.h"
#include "thp_harness.h"
#include "thp_inject.h"
#include "thp_meter.h"
#include "thp_move.h"
#include "thp_reserve.h"
#include "thp_uapi.h"
#include "thp_uffd.h"

/* Splits by others disturb an exact count; so often it is tried again. */
#define TRIES 4

/* fail-nth: more allocations than any of these operations makes. */
#define NTH_MAX 100

/* Too big for a stack; each test runs in a process of its own. */
static struct thp_move mv;

/*
 * The positions that the tables below use: halves of a PMD and base pages. In
 * parentheses, as they are passed on as one argument.
 */
#define SPOT(_halves, _pages) ((struct thp_spot){ _halves, _pages })
#define HEAD		SPOT(0, 0)
#define MIDDLE		SPOT(1, 0)
#define TAIL		SPOT(2, -1)
#define SECOND		SPOT(0, 1)
#define ONE_PAGE	SPOT(0, 1)
#define HALF		SPOT(1, 0)
#define WHOLE		SPOT(2, 0)
#define TWO		SPOT(4, 0)

#define MOVE(_kind, _src, _len, _dst, ...) {				\
	.c = {								\
		.kind = THP_##_kind, .src = _src, .len = _len,		\
		.dst = _dst, ##__VA_ARGS__				\
	}								\
}

FIXTURE(move) {
	int unused;
};

FIXTURE_VARIANT(move) {
	struct thp_move_case c;
};

/* Names: _near is a move below the same PMD table, _far one below another. */
#define KEEP .how = THP_MOVE_DONTUNMAP
#define UFFD .how = THP_MOVE_UFFD

/* The four alignment cases; what is mutually aligned but misaligned splits, too. */
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

/* Where the destination has a PTE table, only the split needs one. */
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

/* MREMAP_FIXED onto other THPs, of which a part can remain. */
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
 * UFFDIO_MOVE moves no page that somebody else has a reference to, if only for a
 * moment: such a failure is only believed when it stays.
 */
static bool is_busy(int ret)
{
	return mv.c.how == THP_MOVE_UFFD && (ret == -EBUSY || (ret == -EAGAIN && !mv.fired));
}

/* The whole move, checked in every respect but the number of split events. */
static int move_once(const struct thp_move_case *c, struct thp_why *why)
{
	int ret, splits;

	ret = thp_move_prepare(&mv, c, thp_env.unit, why);
	if (ret)
		return ret;
	thp_move_predict(&mv, mv.n);
	ret = thp_move_run(&mv);
	if (ret)
		return thp_why(why, is_busy(ret) ? -EAGAIN : -EPROTO, "the move failed with %s",
			       thp_errno_name(ret));
	splits = thp_move_check_splits(&mv, mv.next.splits, why);
	if (splits && splits != -EAGAIN)
		return splits;
	ret = thp_move_check_done(&mv, why);
	if (!ret)
		ret = thp_move_finish(&mv, why);
	return ret ? ret : splits;
}

/* -EAGAIN: what others did may be the reason, as with a count of events too high. */
static int retry_noise(int (*once)(const struct thp_move_case *c, struct thp_why *why),
		       const struct thp_move_case *c, struct thp_why *why)
{
	int try, ret = -EAGAIN;

	for (try = 0; try < TRIES && ret == -EAGAIN; try++) {
		thp_why_clear(why);
		ret = once(c, why);
		thp_move_destroy(&mv);
	}
	return ret;
}

/* Everything where it belongs: splits, tables on both sides, pages, contents. */
TEST_F(move, moves)
{
	struct thp_why why = { 0 };
	int ret;

	(void)self;
	THP_NEEDS(thp_move_needs(&variant->c));
	ret = retry_noise(move_once, &variant->c, &why);
	THP_REQUIRE_RESULT(ret, &why);
}

/* Again, with memory: now it has to work. */
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
	ret = thp_move_check_done(&mv, why);
	return ret ? ret : thp_move_finish(&mv, why);
}

/* UFFDIO_MOVE that moved a part cannot be repeated: the rest can. */
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
	ret = thp_move_check_refused(&mv, may_split, slack, why);
	if (ret)
		return ret;
	return finish_uffd(moved, why);
}

/* No PTE table can be allocated, from beginning to end. */
static int starve_once(const struct thp_move_case *c, struct thp_why *why)
{
	bool lazy = thp_env.contract == THP_LAZY;
	unsigned int allocs;
	int ret;

	/* First, as it may take tables of its own. */
	ret = thp_inject_setup(true, 0, why);
	if (!ret)
		ret = thp_move_prepare(&mv, c, 1, why);
	if (ret)
		return ret;
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
		ret = thp_move_check_done(&mv, why);
		return ret ? ret : thp_move_finish(&mv, why);
	}
	if (!allocs)
		return thp_why(why, is_busy(ret) ? -EAGAIN : -EPROTO,
			       "starved: %s, but it needs no table", thp_errno_name(ret));
	/* A move whose only refusals were for the destination has none of a split. */
	if (mv.failed > (uint64_t)mv.fired)
		return thp_why(why, -EAGAIN, "%ld tables were refused, thp_split_pmd_failed +%llu",
			       mv.fired, (unsigned long long)mv.failed);
	if (lazy && mv.splits)
		return thp_why(why, -EAGAIN, "it was refused: thp_split_pmd +%llu, expected +0",
			       (unsigned long long)mv.splits);
	/* A deposit lets the split succeed before the destination's table fails. */
	return check_failure(ret, !lazy, 0, why);
}

/* Without a table it fails as a whole, and works again when there is memory. */
TEST_F(move, starved)
{
	struct thp_why why = { 0 };
	int ret;

	(void)self;
	THP_NEEDS(thp_move_needs(&variant->c) | THP_NEED_FAIL_PAGE);
	if (!thp_inject_can_target())
		THP_SKIP("needs kallsyms with the allocator of PTE tables");
	ret = retry_noise(starve_once, &variant->c, &why);
	THP_REQUIRE_RESULT(ret, &why);
}

/* 1: the n-th allocation failed; 0: there are fewer than n; -errno. */
static int nth_once(const struct thp_move_case *c, int nth, struct thp_why *why)
{
	unsigned int allocs;
	int ret, fired;

	ret = thp_move_prepare(&mv, c, 1, why);
	if (ret)
		return ret;
	mv.nth_fd = thp_inject_nth_open();
	if (mv.nth_fd < 0)
		return thp_why(why, mv.nth_fd, "fail-nth: %s", thp_errno_name(mv.nth_fd));
	mv.nth = nth;
	thp_move_predict(&mv, mv.n);
	allocs = mv.next.allocs;
	ret = thp_move_run(&mv);
	fired = mv.fired;
	if (fired < 0)
		return thp_why(why, fired, "fail-nth: %s", thp_errno_name(fired));
	if (!ret) {
		ret = thp_move_check_done(&mv, why);
		if (!ret)
			ret = thp_move_finish(&mv, why);
	} else if (!fired) {
		ret = thp_why(why, is_busy(ret) ? -EAGAIN : -EPROTO,
			      "failed with %s without an injection", thp_errno_name(ret));
	} else {
		/* Tables of the destination may stay, empty, until it is unmapped. */
		ret = check_failure(ret, true, allocs, why);
	}
	return ret ? ret : fired;
}

FIXTURE(move_nth) {
	int unused;
};

FIXTURE_VARIANT(move_nth) {
	struct thp_move_case c;
};

FIXTURE_SETUP(move_nth)
{
	(void)self;
	(void)variant;
	thp_warm_up();
}

FIXTURE_TEARDOWN_PARENT(move_nth)
{
	(void)self;
	(void)variant;
	thp_teardown(_metadata);
}

FIXTURE_VARIANT_ADD(move_nth, whole_far) MOVE(ANON, HEAD, WHOLE, HEAD, .far = true);
FIXTURE_VARIANT_ADD(move_nth, whole_to_misaligned) MOVE(ANON, HEAD, WHOLE, SECOND);
FIXTURE_VARIANT_ADD(move_nth, misaligned)
	MOVE(ANON, SECOND, WHOLE, MIDDLE, .two = true, .far = true);
FIXTURE_VARIANT_ADD(move_nth, page) MOVE(ANON, MIDDLE, ONE_PAGE, HEAD);
FIXTURE_VARIANT_ADD(move_nth, page_zero) MOVE(ZERO, MIDDLE, ONE_PAGE, HEAD);
FIXTURE_VARIANT_ADD(move_nth, page_to_table) MOVE(ANON, MIDDLE, ONE_PAGE, HEAD, .table = true);
FIXTURE_VARIANT_ADD(move_nth, page_over_page) MOVE(ANON, MIDDLE, ONE_PAGE, SECOND, OVER(ANON, 1));
FIXTURE_VARIANT_ADD(move_nth, keep_whole_to_misaligned) MOVE(ANON, HEAD, WHOLE, SECOND, KEEP);
FIXTURE_VARIANT_ADD(move_nth, locked_keep_page)
	MOVE(ANON, MIDDLE, ONE_PAGE, HEAD, KEEP, .locked = true);
FIXTURE_VARIANT_ADD(move_nth, uffd_whole_to_misaligned) MOVE(ANON, HEAD, WHOLE, SECOND, UFFD);
FIXTURE_VARIANT_ADD(move_nth, uffd_page_zero) MOVE(ZERO, MIDDLE, ONE_PAGE, SECOND, UFFD);
FIXTURE_VARIANT_ADD(move_nth, shrink_half) MOVE(ANON, MIDDLE, HALF, HEAD, SHRINK);

/* Each allocation of the operation fails once; at least one of them matters. */
THP_COVERS(move_nth, sweep, "move-partial uffd-move-split split-shrink move-fail");
TEST_F(move_nth, sweep)
{
	struct thp_why why = { 0 };
	int nth, try, hit = 1, shots = 0;

	(void)self;
	THP_NEEDS(thp_move_needs(&variant->c) | THP_NEED_FAIL_NTH);
	THP_REQUIRE_OK(thp_inject_setup(false, 0, &why), &why);
	for (nth = 1; nth <= NTH_MAX && hit == 1; nth++) {
		hit = -EAGAIN;
		for (try = 0; try < TRIES && hit == -EAGAIN; try++) {
			thp_why_clear(&why);
			hit = nth_once(&variant->c, nth, &why);
			thp_move_destroy(&mv);
		}
		if (hit < 0)
			thp_why_from(&why, hit, &why, "with allocation %d refused", nth);
		THP_REQUIRE_RESULT(hit < 0 ? hit : 0, &why);
		shots += hit;
	}
	thp_inject_report("fail-nth", mv.next.allocs, shots, "one by one");
	THP_REQUIRE(!hit, "more than %d allocations", NTH_MAX);
	/* mv.next is still the prediction of the last, undisturbed move. */
	THP_CHECK(shots || !mv.next.allocs,
		  "needs %u tables and no allocation was hit", mv.next.allocs);
}

/*
 * Regions that are big enough for whole PMD tables, or PUD entries, to change
 * their place, with a few THPs and small pages at both ends:
 *
 *	| anchor | source | anchor ... anchor | destination | anchor |
 */
FIXTURE(bulk) {
	int unused;
};

FIXTURE_VARIANT(bulk) {
	enum thp_kind kind;
	int flags;
};

FIXTURE_VARIANT_ADD(bulk, anon) {
	.kind = THP_ANON,
};

FIXTURE_VARIANT_ADD(bulk, zero) {
	.kind = THP_ZERO,
};

FIXTURE_VARIANT_ADD(bulk, keep_anon) {
	.kind = THP_ANON, .flags = MREMAP_DONTUNMAP,
};

FIXTURE_SETUP(bulk)
{
	(void)self;
	(void)variant;
	thp_warm_up();
}

FIXTURE_TEARDOWN_PARENT(bulk)
{
	(void)self;
	(void)variant;
	thp_teardown(_metadata);
}

struct bulk {
	char *area;
	size_t area_len, span;
	char *src, *dst;
	unsigned int each;	/* THPs at each end, and small pages beside them */
	enum thp_kind kind;
	uint64_t seed;
};

/* THP @i of the region at @base: the first half of them at its start. */
static char *bulk_thp(const struct bulk *b, char *base, unsigned int i)
{
	if (i < b->each)
		return base + i * thp_env.pmd;
	return base + b->span - (i - b->each + 1) * thp_env.pmd;
}

static char *bulk_small(const struct bulk *b, char *base, unsigned int i)
{
	if (i < b->each)
		return base + (b->each + i) * thp_env.pmd;
	return base + b->span - (i + 1) * thp_env.pmd;
}

static int bulk_map(struct bulk *b, struct thp_why *why)
{
	char *anchor[4], *base;
	int i;

	b->span = thp_span();
	b->each = 2 * thp_env.unit;
	b->seed = getpid();
	base = thp_reserve((THP_SPANS - 1) * b->span, b->span, &b->area, &b->area_len);
	if (!base)
		return thp_why(why, -errno, "no address space of %zu B", THP_SPANS * b->span);
	b->src = base + b->span;
	b->dst = base + 3 * b->span;
	anchor[0] = b->src - thp_env.page;
	anchor[1] = b->src + b->span;
	anchor[2] = b->dst - thp_env.page;
	anchor[3] = b->dst + b->span;
	for (i = 0; i < 4; i++) {
		if (mprotect(anchor[i], thp_env.page, PROT_READ | PROT_WRITE))
			return thp_why(why, -errno, "mprotect: %s", strerror(errno));
		thp_touch(anchor[i]);
	}
	/* A VMA that can merge with no anchor: copying it must not extend one. */
	if (mmap(b->src, b->span, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0) == MAP_FAILED)
		return thp_why(why, -errno, "mmap: %s", strerror(errno));
	madvise(b->src, b->span, MADV_NOHUGEPAGE);
	for (i = 0; i < 2 * (int)b->each; i++)
		thp_fill(bulk_small(b, b->src, i), b->seed, i + 1);
	return 0;
}

/* Looks at the THPs and the small pages of the region at @base. */
static int bulk_check(const struct bulk *b, char *base, struct thp_why *why)
{
	enum thp_state want = thp_kind_state(b->kind), got;
	unsigned int i;
	size_t page;
	char *p;
	int ret;

	for (i = 0; i < 2 * b->each; i++) {
		p = bulk_thp(b, base, i);
		ret = thp_obs_state(p, thp_env.pmd, &got);
		if (ret)
			return thp_why(why, ret, "page map: %s", thp_errno_name(ret));
		if (got != want && got != THP_STATE_UNKNOWN)
			return thp_why(why, -EPROTO, "THP %u is %s, expected %s", i,
				       thp_state_name(got), thp_state_name(want));
		for (page = 0; page < thp_env.nr; page++) {
			if (b->kind == THP_ZERO)
				ret = thp_check_zero(p + page * thp_env.page, 1, why);
			else
				ret = thp_check(p + page * thp_env.page, b->seed,
						(i + 1) * thp_env.nr + page, 1, why);
			if (ret)
				return ret;
		}
		ret = thp_check(bulk_small(b, base, i), b->seed, i + 1, 1, why);
		if (ret)
			return ret;
	}
	return 0;
}

static int bulk_fault(const struct bulk *b, struct thp_why *why)
{
	enum thp_state want = thp_kind_state(b->kind), got;
	unsigned int i, try;
	size_t page;
	char *p;

	for (i = 0; i < 2 * b->each; i++) {
		p = bulk_thp(b, b->src, i);
		madvise(p, thp_env.pmd, MADV_HUGEPAGE);
		for (try = 0; try < 4; try++) {
			if (b->kind == THP_ZERO)
				thp_peek(p);
			for (page = 0; page < thp_env.nr && b->kind != THP_ZERO; page++)
				thp_fill(p + page * thp_env.page, b->seed,
					 (i + 1) * thp_env.nr + page);
			if (!thp_obs_state(p, thp_env.pmd, &got) &&
			    (got == want || got == THP_STATE_UNKNOWN))
				break;
			madvise(p, thp_env.pmd, MADV_DONTNEED);
			(void)thp_write_file("/proc/sys/vm/compact_memory", "1");
		}
		if (try == 4)
			return thp_skip(why, THP_FRAGMENTED, "no THP in 4 tries");
	}
	/* One VMA: mremap() moves no more than that at once. */
	madvise(b->src, b->span, MADV_NOHUGEPAGE);
	return 0;
}

static int bulk_once(struct bulk *b, int flags, struct thp_why *why)
{
	long long vmpte[3], per;
	struct thp_events before, after;
	struct thp_smaps sm;
	char *p;
	int ret;

	ret = bulk_map(b, why);
	if (ret)
		return ret;
	vmpte[0] = thp_obs_vmpte(0);
	ret = bulk_fault(b, why);
	if (ret)
		return ret;
	vmpte[1] = thp_obs_vmpte(0);
	thp_obs_events(&before);
	p = mremap(b->src, b->span, b->span, MREMAP_MAYMOVE | MREMAP_FIXED | flags, b->dst);
	thp_obs_events(&after);
	vmpte[2] = thp_obs_vmpte(0);
	if (p != b->dst)
		return thp_why(why, -EPROTO, "mremap: %s", strerror(errno));

	per = thp_tables_mapped(b->kind) * 2 * b->each * (long long)thp_env.table;
	if (vmpte[1] - vmpte[0] != per)
		return thp_why(why, -EPROTO, "%u THPs cost %lld B of tables, expected %lld",
			       2 * b->each, vmpte[1] - vmpte[0], per);
	/* Tables of the upper levels stay with a source that stays, unless moved. */
	if (vmpte[2] != vmpte[1] && !(flags && vmpte[2] > vmpte[1]))
		return thp_why(why, -EPROTO, "the move changed VmPTE by %lld B, expected 0",
			       vmpte[2] - vmpte[1]);
	ret = bulk_check(b, b->dst, why);
	if (!ret)
		ret = thp_obs_smaps(0, b->src, b->span, &sm);
	if (ret)
		return thp_why(why, ret, "smaps: %s", thp_errno_name(ret));
	if (sm.rss_kb || sm.anon_huge_kb || !sm.vmas != !flags)
		return thp_why(why, -EPROTO, "the source still has %u VMAs, %llu kB", sm.vmas,
			       (unsigned long long)sm.rss_kb);
	if (after.split_pmd != before.split_pmd)
		return thp_why(why, -EAGAIN, "thp_split_pmd rose by %llu, expected 0",
			       (unsigned long long)(after.split_pmd - before.split_pmd));
	return 0;
}

/* Nothing is split, no table is lost: deposits travel with the table they are in. */
THP_COVERS(bulk, moves, "move-pmd-page");
TEST_F(bulk, moves)
{
	struct bulk b = { .kind = variant->kind };
	struct thp_why why = { 0 };
	int try, ret = -EAGAIN;

	(void)self;
	THP_NEEDS(thp_kind_needs(variant->kind) | THP_NEED_ADDRESSES);
	for (try = 0; try < TRIES && ret == -EAGAIN; try++) {
		thp_why_clear(&why);
		ret = bulk_once(&b, variant->flags, &why);
		if (b.area)
			munmap(b.area, b.area_len);
	}
	THP_REQUIRE_RESULT(ret, &why);
}

FIXTURE(mremap) {
	struct thp_map map;
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

/* The THP is what it was: one PMD, its contents, its tables, no split. */
static int check_untouched(const struct thp_map *m, struct thp_meter *meter, const char *what,
			   struct thp_why *why)
{
	int disturbed, ret;

	ret = thp_meter_read(meter, why);
	if (ret)
		return ret;
	disturbed = thp_meter_splits(meter, 0, what, why);
	if (disturbed == -EPROTO)
		return disturbed;
	if (thp_meter_bytes(meter))
		return thp_why(why, -EPROTO, "%s: VmPTE %+lld B, expected +0", what,
			       thp_meter_bytes(meter));
	ret = thp_map_expect(m, thp_kind_state(m->kind), why);
	if (!ret)
		ret = thp_map_check(m, 0, thp_env.nr, why);
	return ret ? ret : disturbed;
}

static int retry_map(int (*once)(struct thp_map *m, struct thp_why *why), struct thp_map *m,
		     struct thp_why *why)
{
	int try, ret = -EAGAIN;

	for (try = 0; try < TRIES && ret == -EAGAIN; try++) {
		thp_why_clear(why);
		ret = thp_map_new(m, THP_ANON, why);
		if (!ret)
			ret = once(m, why);
		thp_map_destroy(m);
	}
	return ret;
}

/*
 * Moves that the kernel has to refuse before it touches the THP. The target at
 * @to is an empty range of ours: on older kernels (seen on 6.1 and 6.12)
 * MREMAP_FIXED unmaps it first, and judges the rest of the arguments after that.
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
	int ret;

	for (i = 0; i < ARRAY_SIZE(calls); i++) {
		ret = thp_meter_start(&meter, 0, why);
		if (ret)
			return ret;
		p = mremap(m->thp, calls[i].old_len, calls[i].new_len, calls[i].flags, calls[i].to);
		if (p != MAP_FAILED)
			return thp_why(why, -EPROTO, "%s: succeeded", calls[i].what);
		if (errno != calls[i].err)
			return thp_why(why, -EPROTO, "%s: %s, expected %s", calls[i].what,
				       thp_errno_name(errno), thp_errno_name(calls[i].err));
		ret = check_untouched(m, &meter, calls[i].what, why);
		if (ret)
			return ret;
	}
	return 0;
}

static int refused_once(struct thp_map *m, struct thp_why *why)
{
	char *area, *to;
	size_t len;
	int ret;

	to = thp_reserve(thp_env.pmd, thp_env.pmd, &area, &len);
	if (!to)
		return thp_why(why, -errno, "mmap: %s", strerror(errno));
	ret = refuse_all(m, to, why);
	munmap(area, len);
	return ret;
}

THP_COVERS(mremap, refused, "move-refused");
TEST_F(mremap, refused)
{
	struct thp_why why = { 0 };
	int ret;

	ret = retry_map(refused_once, &self->map, &why);
	THP_REQUIRE_RESULT(ret, &why);
}

/* A same-size mremap() without MREMAP_FIXED moves nothing, so it splits nothing. */
static int same_size_once(struct thp_map *m, struct thp_why *why)
{
	char *p = thp_page(m, 1);
	struct thp_meter meter;
	int ret;

	ret = thp_meter_start(&meter, 0, why);
	if (ret)
		return ret;
	if (mremap(p, thp_env.page, thp_env.page, MREMAP_MAYMOVE) != p)
		return thp_why(why, -EPROTO, "it moved, or failed: %s", strerror(errno));
	return check_untouched(m, &meter, "same size", why);
}

THP_COVERS(mremap, same_size_stays, "move-refused");
TEST_F(mremap, same_size_stays)
{
	struct thp_why why = { 0 };
	int ret;

	ret = retry_map(same_size_once, &self->map, &why);
	THP_REQUIRE_RESULT(ret, &why);
}

/*
 * The kernel chooses where a range that cannot grow in place goes: the PMD stays
 * one where that is aligned.
 */
static int grow_away_once(struct thp_map *m, struct thp_why *why)
{
	size_t pmd = thp_env.pmd;
	struct thp_map to = *m;
	struct thp_meter meter;
	struct thp_smaps sm;
	int splits, ret;
	bool aligned;

	ret = thp_meter_start(&meter, 0, why);
	if (ret)
		return ret;
	to.thp = mremap(m->thp, pmd, 2 * pmd, MREMAP_MAYMOVE);
	if (to.thp == MAP_FAILED)
		return thp_why(why, -EPROTO, "mremap: %s", strerror(errno));
	aligned = !((uintptr_t)to.thp % pmd);
	ret = thp_meter_read(&meter, why);
	splits = ret ? ret : thp_meter_splits(&meter, !aligned, "growth elsewhere", why);
	if (splits && splits != -EAGAIN)
		return splits;
	ret = thp_obs_smaps(0, m->thp, pmd, &sm);
	if (!ret && (to.thp == m->thp || sm.vmas))
		ret = thp_why(why, -EPROTO, "the source is still mapped");
	if (!ret && aligned)
		ret = thp_map_expect(&to, THP_STATE_PMD, why);
	if (!ret)
		ret = thp_map_check(&to, 0, thp_env.nr, why);
	if (!ret && thp_obs_populated(to.thp + pmd, pmd))
		ret = thp_why(why, -EPROTO, "pages in the part that is new");
	munmap(to.thp, 2 * pmd);
	return ret ? ret : splits;
}

THP_COVERS(mremap, grow_elsewhere, "mremap-grow move-pmd");
TEST_F(mremap, grow_elsewhere)
{
	struct thp_why why = { 0 };
	int ret;

	ret = retry_map(grow_away_once, &self->map, &why);
	THP_REQUIRE_RESULT(ret, &why);
}

/* Sets up one THP in the heap; it has neighbours like that of a struct thp_map. */
static int heap_thp(struct thp_map *m, enum thp_kind kind, char **old_end, struct thp_why *why)
{
	size_t pmd = thp_env.pmd;
	char *top;

	*old_end = sbrk(0);
	top = (char *)(((uintptr_t)*old_end + pmd - 1) & ~(pmd - 1));
	if (brk(top + 3 * pmd))
		return thp_why(why, -ENOSPC, "brk: %s", strerror(errno));
	memset(m, 0, sizeof(*m));
	m->kind = kind;
	m->fd = -1;
	m->seed = getpid();
	m->thp = top + pmd;
	madvise(top, 3 * pmd, MADV_NOHUGEPAGE);
	thp_touch(m->thp - thp_env.page);
	thp_touch(m->thp + pmd);
	if (madvise(m->thp, pmd, MADV_HUGEPAGE))
		return thp_why(why, -errno, "MADV_HUGEPAGE: %s", strerror(errno));
	return 0;
}

static int brk_once(enum thp_kind kind, struct thp_why *why)
{
	long dep = thp_tables_mapped(kind), tables;
	struct thp_meter meter;
	struct thp_map m;
	char *end, *half;
	long long vmpte;
	int ret, splits;

	ret = heap_thp(&m, kind, &end, why);
	if (ret)
		return ret;
	vmpte = thp_obs_vmpte(0);
	ret = thp_map_fault(&m, why);
	if (ret)
		goto out;
	madvise(m.thp - thp_env.pmd, 3 * thp_env.pmd, MADV_NOHUGEPAGE);
	half = thp_page(&m, thp_env.nr / 2);
	ret = thp_meter_start(&meter, 0, why);
	if (ret)
		goto out;
	if (thp_env.unit == 1 &&
	    (!thp_env_tables(meter.vmpte[0] - vmpte, &tables) || tables != dep)) {
		ret = thp_why(why, -EPROTO, "the THP costs %lld B of tables, expected %ld tables",
			      meter.vmpte[0] - vmpte, dep);
		goto out;
	}
	if (brk(half)) {
		ret = thp_why(why, -EPROTO, "brk: %s", strerror(errno));
		goto out;
	}
	ret = thp_meter_read(&meter, why);
	splits = ret ? ret : thp_meter_splits(&meter, 1, "brk", why);
	if (splits && splits != -EAGAIN) {
		ret = splits;
		goto out;
	}
	/* The table of the page above the THP goes; that of the THP is there now. */
	vmpte = thp_meter_bytes(&meter);
	if (thp_env.unit == 1 && (!thp_env_tables(vmpte, &tables) || tables != -dep)) {
		ret = thp_why(why, -EPROTO, "brk changed VmPTE by %lld B, expected %ld tables",
			      vmpte, -dep);
		goto out;
	}
	ret = thp_map_check(&m, 0, thp_env.nr / 2, why);
	if (!ret)
		ret = thp_map_expect(&m, THP_STATE_PTE, why);
	if (!ret && thp_obs_populated(half, thp_env.pmd / 2))
		ret = thp_why(why, -EPROTO, "pages beyond the end of heap");
	/* The heap grows again: what was cut off reads as zeroes. */
	if (!ret && brk(m.thp + thp_env.pmd))
		ret = thp_why(why, -EPROTO, "brk: %s", strerror(errno));
	if (!ret)
		ret = thp_check_zero(half, thp_env.nr / 2, why);
	if (!ret)
		ret = splits;
out:
	if (brk(end))
		ret = thp_why(why, -EPROTO, "brk: %s", strerror(errno));
	return ret;
}

static int retry_brk(enum thp_kind kind, struct thp_why *why)
{
	int try, ret = -EAGAIN;

	for (try = 0; try < TRIES && ret == -EAGAIN; try++) {
		thp_why_clear(why);
		ret = brk_once(kind, why);
	}
	return ret;
}

/* The end of the heap moves into a THP. */
THP_COVERS(mremap, brk_shrink_anon, "brk-shrink");
TEST_F(mremap, brk_shrink_anon)
{
	struct thp_why why = { 0 };
	int ret;

	(void)self;
	ret = retry_brk(THP_ANON, &why);
	if (ret == -ENOSPC)
		THP_SKIP("needs a heap that can grow by four PMDs");
	THP_REQUIRE_RESULT(ret, &why);
}

THP_COVERS(mremap, brk_shrink_zero, "brk-shrink");
TEST_F(mremap, brk_shrink_zero)
{
	struct thp_why why = { 0 };
	int ret;

	(void)self;
	THP_NEEDS(THP_NEED_ZERO);
	ret = retry_brk(THP_ZERO, &why);
	if (ret == -ENOSPC)
		THP_SKIP("needs a heap that can grow by four PMDs");
	THP_REQUIRE_RESULT(ret, &why);
}

/* Without a table the end of the heap stays where it is. */
THP_COVERS(mremap, brk_shrink_starved, "brk-shrink move-fail");
TEST_F(mremap, brk_shrink_starved)
{
	bool lazy = thp_env.contract == THP_LAZY;
	struct thp_why why = { 0 };
	char *end, *top, *half;
	struct thp_map m;
	long fired;
	int err;

	(void)self;
	THP_NEEDS(THP_NEED_FAIL_PAGE);
	if (!thp_inject_can_target())
		THP_SKIP("needs kallsyms with the allocator of PTE tables");
	THP_REQUIRE_OK(heap_thp(&m, THP_ANON, &end, &why), &why);
	THP_REQUIRE_OK(thp_map_fault(&m, &why), &why);
	madvise(m.thp - thp_env.pmd, 3 * thp_env.pmd, MADV_NOHUGEPAGE);
	THP_REQUIRE_OK(thp_inject_setup(true, 0, &why), &why);
	top = sbrk(0);
	half = thp_page(&m, thp_env.nr / 2);
	(void)thp_inject_task(getpid(), true);
	THP_REQUIRE(!thp_inject_drain(-1), "PTE tables cannot be used up");
	/*
	 * The system call returns the old end if it fails, which the C library
	 * takes for success when the heap was to shrink.
	 */
	err = brk(half) ? errno : 0;
	if (!err && sbrk(0) != half)
		err = ENOMEM;
	(void)thp_inject_task(getpid(), false);
	fired = thp_inject_fired();
	thp_inject_report("targeted", lazy, fired, "%s", thp_errno_name(err));
	if (lazy) {
		THP_CHECK(fired > 0, "the injector did not fire");
		THP_CHECK(err == ENOMEM, "brk: %s, expected ENOMEM", thp_errno_name(err));
		THP_CHECK(sbrk(0) == top, "the end of the heap moved by %td",
			  (char *)sbrk(0) - top);
		THP_CHECK_OK(thp_map_expect(&m, THP_STATE_PMD, &why), &why);
		THP_CHECK_OK(thp_map_check(&m, 0, thp_env.nr, &why), &why);
		THP_CHECK(!brk(half), "with memory: %s", strerror(errno));
	} else {
		THP_CHECK(!err && !fired, "brk: %s after %ld failures, expected success without",
			  thp_errno_name(err), fired);
	}
	THP_CHECK_OK(thp_map_check(&m, 0, thp_env.nr / 2, &why), &why);
	THP_CHECK(!brk(end), "brk: %s", strerror(errno));
}

/* The strings of a program with many arguments: about 4 MB, in pieces of 128 kB. */
#define ARG_LEN		(128 * 1024 - 1)
#define ARGS		32

static char arg[ARG_LEN + 1];

/*
 * execve() moves the stack that it has built: 4 MB of base pages that never are
 * a THP, as the VMA is marked temporary. Nothing to split, and no failure.
 */
static int exec_once(struct thp_why *why)
{
	static char * const env[] = { NULL };
	char *argv[ARGS + 3] = { "thp_mremap", "-h" };
	struct thp_meter meter;
	struct rlimit rl;
	int status, i, ret;
	pid_t pid;

	memset(arg, 'x', ARG_LEN);
	for (i = 0; i < ARGS; i++)
		argv[2 + i] = arg;
	ret = thp_meter_start(&meter, 0, why);
	if (ret)
		return ret;
	pid = fork();
	if (pid < 0)
		return thp_why(why, -errno, "fork: %s", strerror(errno));
	if (!pid) {
		/* Arguments may take a quarter of the stack. */
		if (!getrlimit(RLIMIT_STACK, &rl)) {
			rl.rlim_cur = rl.rlim_max < 64UL << 20 ? rl.rlim_max : 64UL << 20;
			setrlimit(RLIMIT_STACK, &rl);
		}
		if (!freopen("/dev/null", "w", stdout))
			_exit(126);
		execve("/proc/self/exe", argv, env);
		_exit(errno == E2BIG ? 125 : 127);
	}
	if (waitpid(pid, &status, 0) != pid)
		return thp_why(why, -errno, "waitpid: %s", strerror(errno));
	if (WIFEXITED(status) && WEXITSTATUS(status) == 125)
		return -E2BIG;
	if (status)
		return thp_why(why, -EPROTO, "execve ended with status %#x, expected 0", status);
	ret = thp_meter_read(&meter, why);
	return ret ? ret : thp_meter_splits(&meter, 0, "execve", why);
}

THP_COVERS(mremap, exec_stack_control, "exec-stack");
TEST_F(mremap, exec_stack_control)
{
	struct thp_why why = { 0 };
	int try, ret = -EAGAIN;

	(void)self;
	for (try = 0; try < TRIES && ret == -EAGAIN; try++) {
		thp_why_clear(&why);
		ret = exec_once(&why);
	}
	if (ret == -E2BIG)
		THP_SKIP("needs RLIMIT_STACK for 4 MB of arguments");
	THP_REQUIRE_RESULT(ret, &why);
}

/* Moves page @from of the THP away; where it is now, or MAP_FAILED. */
static char *move_page(struct thp_map *m, size_t from)
{
	return mremap(thp_page(m, from), thp_env.page, thp_env.page,
		      MREMAP_MAYMOVE | MREMAP_FIXED, m->thp + thp_env.pmd + 8 * thp_env.page);
}

static int pagemap_bits(const char *addr, size_t n, uint64_t bit)
{
	uint64_t entry;
	int set = 0;
	size_t i;

	for (i = 0; i < n; i++)
		if (!thp_obs_pagemap(addr + i * thp_env.page, &entry))
			set += !!(entry & bit);
	return set;
}

/*
 * A change is never forgotten: one write makes all of a PMD dirty, a split passes
 * that on, and what moved counts as changed anyway.
 */
THP_COVERS(mremap, soft_dirty, "move-partial move-pmd");
TEST_F(mremap, soft_dirty)
{
	struct thp_why why = { 0 };
	struct thp_map *m = &self->map;
	size_t nr = thp_env.nr;
	char *to;
	int got;

	THP_REQUIRE_OK(thp_map_new(m, THP_ANON, &why), &why);
	got = pagemap_bits(m->thp, 1, THP_PM_SOFT_DIRTY);
	if (!got || thp_write_file("/proc/self/clear_refs", "4"))
		THP_SKIP("needs CONFIG_MEM_SOFT_DIRTY");
	got = pagemap_bits(m->thp, nr, THP_PM_SOFT_DIRTY);
	THP_CHECK(!got, "%d pages are dirty after clearing, expected 0", got);
	to = move_page(m, nr - 1);
	THP_REQUIRE(to != MAP_FAILED, "mremap: %s", strerror(errno));
	THP_CHECK(pagemap_bits(to, 1, THP_PM_SOFT_DIRTY) == 1, "the page that moved is clean");

	thp_map_destroy(m);
	THP_REQUIRE_OK(thp_map_new(m, THP_ANON, &why), &why);
	THP_CHECK(!thp_write_file("/proc/self/clear_refs", "4"),
		  "/proc/self/clear_refs does not take 4, which clears soft-dirty");
	thp_touch(m->thp);
	to = move_page(m, nr - 1);
	THP_REQUIRE(to != MAP_FAILED, "mremap: %s", strerror(errno));
	got = pagemap_bits(m->thp, nr - 1, THP_PM_SOFT_DIRTY);
	THP_CHECK(got == (int)nr - 1, "%d pages that stayed are dirty, expected %zu", got, nr - 1);
	got = pagemap_bits(to, 1, THP_PM_SOFT_DIRTY);
	THP_CHECK(got == 1, "the page that moved is clean");
	thp_map_destroy(m);
}

/* Write protection stays with the pages that stay. */
THP_COVERS(mremap, uffd_wp, "move-partial");
TEST_F(mremap, uffd_wp)
{
	struct thp_map *m = &self->map;
	struct thp_why why = { 0 };
	size_t nr = thp_env.nr;
	char *to;
	int got;

	THP_NEEDS(THP_NEED_UFFD_WP);
	THP_REQUIRE_OK(thp_map_new(m, THP_ANON, &why), &why);
	m->uffd = thp_uffd_open(UFFD_FEATURE_PAGEFAULT_FLAG_WP);
	THP_REQUIRE(m->uffd >= 0, "userfaultfd: %s", thp_errno_name(m->uffd));
	THP_REQUIRE_OK(thp_uffd_register(m->uffd, m->thp, thp_env.pmd, UFFDIO_REGISTER_MODE_WP),
		       &why);
	THP_REQUIRE_OK(thp_uffd_wp(m->uffd, m->thp, thp_env.pmd, 1), &why);
	got = pagemap_bits(m->thp, nr, THP_PM_UFFD_WP);
	THP_REQUIRE(got == (int)nr, "%d pages are write-protected, expected %zu", got, nr);
	to = move_page(m, nr - 1);
	THP_REQUIRE(to != MAP_FAILED, "mremap: %s", strerror(errno));
	got = pagemap_bits(m->thp, nr - 1, THP_PM_UFFD_WP);
	THP_CHECK(got == (int)nr - 1, "%d pages that stayed are write-protected, expected %zu",
		  got, nr - 1);
	THP_CHECK_OK(thp_map_check(m, 0, nr - 1, &why), &why);
	THP_CHECK_OK(thp_check(to, m->seed, nr - 1, 1, &why), &why);
	thp_map_destroy(m);
}

static int hold(struct thp_chan *chan, void *arg)
{
	struct thp_map *m = arg;

	thp_chan_post_parent(chan, 1);
	thp_chan_await_parent(chan, 1);
	return thp_map_check(m, 0, thp_env.nr, &chan->why);
}

/* A second range, for UFFDIO_MOVE to move to. */
static int uffd_target(struct thp_map *m, struct thp_map *to, enum thp_kind kind,
		       struct thp_why *why)
{
	int ret = thp_map_new(to, kind, why);

	if (ret)
		return ret;
	m->uffd = thp_uffd_watch(to->thp, thp_env.pmd, UFFD_FEATURE_MOVE,
				 UFFDIO_REGISTER_MODE_MISSING, why);
	return m->uffd < 0 ? m->uffd : 0;
}

static int move_refused(struct thp_map *m, struct thp_map *to, size_t len, int err,
			const char *what, struct thp_why *why)
{
	struct thp_meter meter;
	int ret;

	ret = thp_meter_start(&meter, 0, why);
	if (ret)
		return ret;
	ret = thp_uffd_move(m->uffd, to->thp, m->thp, len, NULL);
	if (ret != err)
		return thp_why(why, -EPROTO, "%s: %s, expected %s", what, thp_errno_name(ret),
			       thp_errno_name(err));
	return check_untouched(m, &meter, what, why);
}

/* What another process shares cannot be moved, and is not split either. */
static int uffd_shared_once(struct thp_map *m, struct thp_why *why)
{
	struct thp_map to = { .area = NULL };
	int ret;

	ret = uffd_target(m, &to, THP_NONE, why);
	if (!ret)
		ret = thp_child_start(&m->child, hold, m);
	if (!ret && thp_child_await(&m->child, 1, THP_STEP_MS))
		ret = thp_child_join(&m->child, 0, why) ?: -EPROTO;
	if (!ret)
		ret = move_refused(m, &to, thp_env.pmd, -EBUSY, "whole shared THP", why);
	if (!ret)
		ret = move_refused(m, &to, thp_env.page, -EBUSY, "page of a shared THP", why);
	if (!ret && thp_obs_populated(to.thp, thp_env.pmd))
		ret = thp_why(why, -EPROTO, "refused, but the destination has pages");
	if (m->child.pid) {
		thp_chan_post_child(m->child.chan, 1);
		if (ret)
			thp_child_kill(&m->child);
		else
			ret = thp_child_join(&m->child, THP_STEP_MS, why);
	}
	thp_map_destroy(&to);
	return ret;
}

THP_COVERS(mremap, uffd_move_shared, "uffd-move-refused");
TEST_F(mremap, uffd_move_shared)
{
	struct thp_why why = { 0 };
	int ret;

	THP_NEEDS(THP_NEED_UFFD_MOVE);
	ret = retry_map(uffd_shared_once, &self->map, &why);
	THP_REQUIRE_RESULT(ret, &why);
}

/* Neither is anything moved onto another THP. */
static int uffd_onto_once(struct thp_map *m, struct thp_why *why)
{
	struct thp_map to = { .area = NULL };
	int ret;

	ret = uffd_target(m, &to, THP_ANON, why);
	if (!ret)
		ret = move_refused(m, &to, thp_env.pmd, -EEXIST, "move onto a THP", why);
	if (!ret)
		ret = move_refused(m, &to, thp_env.page, -EEXIST, "page onto a THP", why);
	if (!ret)
		ret = thp_map_expect(&to, THP_STATE_PMD, why);
	if (!ret)
		ret = thp_map_check(&to, 0, thp_env.nr, why);
	thp_map_destroy(&to);
	return ret;
}

THP_COVERS(mremap, uffd_move_onto_thp, "uffd-move-refused");
TEST_F(mremap, uffd_move_onto_thp)
{
	struct thp_why why = { 0 };
	int ret;

	THP_NEEDS(THP_NEED_UFFD_MOVE);
	ret = retry_map(uffd_onto_once, &self->map, &why);
	THP_REQUIRE_RESULT(ret, &why);
}

/*
 * Of two THPs the first moves as it is, the second would have to be split: without a
 * table the kernel reports what it has moved, and the next call says why it stopped.
 */
static int uffd_second_once(struct thp_map *m, struct thp_why *why)
{
	size_t pmd = thp_env.pmd, nr = thp_env.nr, i;
	enum thp_state state = THP_STATE_NONE;
	long long moved;
	int ret, ret2;
	char *to;

	thp_map_init(m, THP_ANON);
	m->thp = thp_reserve(4 * pmd, pmd, &m->area, &m->area_len);
	if (!m->thp)
		return thp_why(why, -errno, "mmap: %s", strerror(errno));
	to = m->thp + 2 * pmd;
	if (mprotect(m->thp, 4 * pmd, PROT_READ | PROT_WRITE) ||
	    madvise(m->thp, 4 * pmd, MADV_HUGEPAGE))
		return thp_why(why, -errno, "madvise: %s", strerror(errno));
	m->uffd = thp_uffd_watch(to, 2 * pmd, UFFD_FEATURE_MOVE, UFFDIO_REGISTER_MODE_MISSING,
				 why);
	if (m->uffd < 0)
		return m->uffd;
	for (i = 0; i < 2 * nr; i++)
		thp_fill(thp_page(m, i), m->seed, i);
	for (i = 0; i < 2; i++)
		if (thp_obs_state(m->thp + i * pmd, pmd, &state) || state != THP_STATE_PMD)
			return thp_skip(why, THP_FRAGMENTED);

	(void)thp_inject_task(getpid(), true);
	ret = thp_inject_drain(-1);
	if (ret) {
		(void)thp_inject_task(getpid(), false);
		return thp_why(why, ret, "PTE tables cannot be used up: %s", thp_errno_name(ret));
	}
	ret = thp_uffd_move(m->uffd, to, m->thp, pmd + pmd / 2, &moved);
	ret2 = thp_uffd_move(m->uffd, to + pmd, m->thp + pmd, pmd / 2, NULL);
	(void)thp_inject_task(getpid(), false);
	if (moved == -EAGAIN)
		return thp_why(why, -EAGAIN, "the first THP is in use");
	if (moved < 0)
		moved = 0;
	if (ret != -EAGAIN || moved != (long long)pmd)
		return thp_why(why, -EPROTO,
			       "UFFDIO_MOVE without a table: %s with %lld B moved, expected EAGAIN and %zu B",
			       thp_errno_name(ret), moved, pmd);
	if (ret2 != -ENOMEM)
		return thp_why(why, -EPROTO, "the rest: %s, expected ENOMEM",
			       thp_errno_name(ret2));
	if (thp_obs_populated(m->thp, pmd))
		return thp_why(why, -EPROTO, "the first THP was moved and is still there");
	ret = thp_check(to, m->seed, 0, nr, why);
	return ret ? ret : thp_map_check(m, nr, nr, why);
}

THP_COVERS(mremap, uffd_move_second_starved, "uffd-move-split uffd-move-pmd");
TEST_F(mremap, uffd_move_second_starved)
{
	struct thp_why why = { 0 };
	int try, ret = -EAGAIN;

	THP_NEEDS(THP_NEED_UFFD_MOVE | THP_NEED_FAIL_PAGE);
	THP_REQUIRE_OK(thp_inject_setup(true, 0, &why), &why);
	for (try = 0; try < TRIES && ret == -EAGAIN; try++) {
		thp_why_clear(&why);
		ret = uffd_second_once(&self->map, &why);
		thp_map_destroy(&self->map);
	}
	THP_REQUIRE_RESULT(ret, &why);
}

/* IDs of the table-driven tests, from what their case does. */
static const char *cover_ids(const char *fixture, const char *variant, const char *test)
{
	const struct __fixture_variant_metadata *v = NULL;
	const struct __fixture_metadata *f;
	const struct thp_move_case *c;
	static char ids[160];
	bool whole;

	if (strcmp(fixture, "move"))
		return NULL;
	for (f = __fixture_list; f; f = f->next)
		for (v = strcmp(f->name, fixture) ? NULL : f->variant; v; v = v->next)
			if (!strcmp(v->name, variant))
				goto found;
	return NULL;
found:
	c = &((const FIXTURE_VARIANT(move) *)v->data)->c;
	whole = !c->src.halves && !c->src.pages && !c->dst.pages && !(c->dst.halves & 1) &&
		c->len.halves >= 2;
	ids[0] = '\0';
	if (c->how == THP_MOVE_SHRINK)
		strcat(ids, "split-shrink");
	else if (c->how == THP_MOVE_GROW)
		strcat(ids, "mremap-grow");
	else if (c->how == THP_MOVE_UFFD)
		strcat(ids, whole && !c->emptied ? "uffd-move-pmd" : "uffd-move-split");
	else if (c->presplit)
		strcat(ids, "move-pte-table");
	else
		strcat(ids, whole ? "move-pmd" : "move-partial");
	if (whole && c->far && c->how != THP_MOVE_SHRINK)
		strcat(ids, " move-pmd-other-table");
	if (c->how == THP_MOVE_DONTUNMAP)
		strcat(ids, c->locked ? " mremap-dontunmap-locked" : " mremap-dontunmap");
	if (c->ndst)
		strcat(ids, " mremap-overlay");
	if (c->kind == THP_ZERO)
		strcat(ids, " move-zero");
	if (c->kind == THP_SHMEM)
		strcat(ids, " move-shmem");
	if (!strcmp(test, "starved"))
		strcat(ids, " move-fail");
	return ids;
}

static void init(void)
{
	thp_cover_hook = cover_ids;
	/* Slow, and of use only where the kernel can inject failures. */
	if (thp_file_exists("/proc/self/make-it-fail") && !geteuid())
		(void)thp_inject_init();
}

#include "mremap/commit.c"

THP_MAIN_INIT("thp_mremap", init);
