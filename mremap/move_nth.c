// SPDX-License-Identifier: GPL-2.0
/*
 * move_nth: Moves while one allocation after the other fails.
 */

/* A move, and which of its allocations fails. */
struct nth_shot {
	const struct thp_move_case *c;
	int nth;
	bool *hit;	/* result: false if the move makes fewer allocations */
};

static int move_shot_at(const struct nth_shot *shot, struct thp_why *why)
{
	unsigned int allocs;
	int ret, fired;

	TRY(thp_move_prepare(&mv, shot->c, 1, why));
	mv.nth_fd = thp_inject_nth_open();
	if (mv.nth_fd < 0)
		return thp_why(why, mv.nth_fd, "fail-nth: %s", thp_errno_name(mv.nth_fd));
	mv.nth = shot->nth;
	thp_move_predict(&mv, mv.n);
	allocs = mv.next.allocs;
	ret = thp_move_run(&mv);
	fired = mv.fired;
	if (fired < 0)
		return thp_why(why, fired, "fail-nth: %s", thp_errno_name(fired));
	*shot->hit = fired;
	if (!ret) {
		TRY(thp_move_check_done(&mv, why));
		return thp_move_finish(&mv, why);
	}
	if (!fired)
		return thp_why(why, is_busy(ret) ? -EAGAIN : -EPROTO,
			       "failed with %s without an injection", thp_errno_name(ret));
	/* Empty tables of the destination may stay until it is unmapped. */
	return check_failure(ret, true, allocs, why);
}

/*
 * The move fails as a whole and succeeds later, or it does not depend on the refused
 * allocation.
 */
static int move_shot(const void *arg, struct thp_why *why)
{
	const struct nth_shot *shot = arg;
	int ret = move_shot_at(shot, why);

	return ret ? thp_why_from(why, ret, why, "with allocation %d refused", shot->nth) : 0;
}

THP_TESTS_OF(move_nth);

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
TEST_F(move_nth, sweep)
{
	struct nth_shot shot = { .c = &variant->c };
	struct thp_why why = { 0 };
	bool hit = true;
	int shots = 0;

	(void)self;
	THP_NEEDS(thp_move_needs(&variant->c) | THP_NEED_FAIL_NTH);
	THP_REQUIRE_OK(thp_inject_any(0, &why), &why);
	shot.hit = &hit;
	for (shot.nth = 1; shot.nth <= NTH_MAX && hit; shot.nth++) {
		THP_SCENARIO(move_shot, &shot);
		shots += hit;
	}
	thp_inject_report("fail-nth", mv.next.allocs, shots, "one by one");
	THP_REQUIRE(!hit, "more than %d allocations", NTH_MAX);
	/* mv.next is still the prediction of the last, undisturbed move. */
	THP_CHECK(shots || !mv.next.allocs,
		  "needs %u tables and no allocation was hit", mv.next.allocs);
}
