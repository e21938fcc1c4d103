// SPDX-License-Identifier: GPL-2.0
/* The table of operations: every row is complete, and its effect is checked. */

/* A name that ends in a place names the place of the row. */
static bool named_after_place(const struct split_op *op)
{
	static const char * const places[] = {
		[AT_HEAD] = "_head", [AT_MID] = "_mid", [AT_TAIL] = "_tail",
		[AT_UPPER] = "_half", [AT_WHOLE] = "_whole",
	};
	const char *end = strrchr(op->name, '_');
	size_t i;

	for (i = 0; end && i < ARRAY_SIZE(places); i++)
		if (!strcmp(end, places[i]))
			return op->where == i;
	return true;
}

/* Rows of the table are complete enough to be judged. */
TEST_F(lib, split_rows)
{
	bool proven;
	size_t i, j;

	for (i = 0; split_op_at(i); i++) {
		const struct split_op *op = split_op_at(i);

		THP_CHECK(op->name && op->covers && op->covers[0] &&
			  !op->run != !op->run_with,
			  "row %zu lacks a name, a function or what it covers", i);
		THP_CHECK(named_after_place(op), "%s is at another place than its name", op->name);
		THP_CHECK(op->kinds | op->keeps, "%s is legal on no mapping", op->name);
		THP_CHECK(!(op->kinds & op->keeps), "%s both splits and keeps a kind", op->name);
		/* The effect of success is proven, or the row says why not. */
		proven = op->says.trait || op->meets.trait || op->verify ||
			 op->effect == ZEROES || op->effect == WRITES;
		if (op->kinds)
			THP_CHECK(proven == !op->unproven, "%s: %s", op->name, proven ?
				  "a proof, and a reason for having none" :
				  "no proof of its effect, and no reason for that");
		for (j = 0; j < i; j++)
			THP_CHECK(strcmp(op->name, split_op_at(j)->name), "%s stands twice",
				  op->name);
	}
}

/*
 * Runs every row of the table as kernels with a bug would, which has to be noticed each
 * time; and unchanged, which has to pass. Judges like thp_lazy_split: the PMD was split,
 * split_verify(), and the contents.
 */
FIXTURE(split) {
	struct thp_map map;
};

#include "split_variants.h"

FIXTURE_SETUP(split)
{
	THP_NEEDS(variant->op->needs | thp_kind_needs(variant->kind));
	thp_warm_up();
}

FIXTURE_TEARDOWN_PARENT(split)
{
	thp_teardown(_metadata);
}

enum bug {
	NOTHING,	/* returns success, and does nothing */
	SPLITS_ONLY,	/* ... and only splits the PMD */
	BELOW_TOO,	/* also operates on the page before the first */
	ABOVE_TOO,	/* ... to the page after the last */
};

#define TOO_MANY	(1 << BELOW_TOO | 1 << ABOVE_TOO)

/* Errors that the table cannot notice, and why. Each line has to be true, see wants_notice(). */
static const struct blind {
	const char *op;
	unsigned int kinds;	/* enum thp_kind; 0: all that it splits */
	unsigned int bugs;
	const char *reason;
	uint64_t unless;	/* enum thp_need: where these are met, the errors are noticed */
} blind[] = {
	{ "guard_remove_mid", 0, 1 << SPLITS_ONLY | TOO_MANY,
	  "no page is a guard, on either side", 0 },
	{ "dontneed_mid", THP_SHMEM, 1 << SPLITS_ONLY | TOO_MANY,
	  "the split of a shared mapping drops every page", 0 },
	{ "mremap_shrink", 0, 1 << ABOVE_TOO, "the range ends at its upper end", 0 },
	{ "mprotect_merge_below", 0, 1 << BELOW_TOO, "that page is read-only before", 0 },
	{ "mprotect_merge_above", 0, 1 << ABOVE_TOO, "that page is read-only before", 0 },
	{ "pageout_mid", 0, TOO_MANY, "nothing leaves memory without swap", THP_NEED_SWAP },
	{ "to_device_split", 0, TOO_MANY, "takes one THP", 0 },
	{ "to_system_split", 0, TOO_MANY, "takes one THP", 0 },
	{ "debugfs_split", 0, 1 << ABOVE_TOO, "takes the first page of the range", 0 },
};

static bool is_blind(const struct split_op *op, enum thp_kind kind, enum bug bug)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(blind); i++)
		if (!strcmp(blind[i].op, op->name) && blind[i].bugs & 1 << bug &&
		    (!blind[i].kinds || blind[i].kinds & kind) &&
		    (!blind[i].unless || thp_env_missing(blind[i].unless)))
			return true;
	return false;
}

/* The VMA is split at a page, and merged again. */
static int split_only(struct thp_map *m)
{
	char *page = thp_page(m, thp_env.nr / 2);

	return mprotect(page, thp_env.page, PROT_READ) ||
	       mprotect(page, thp_env.page, PROT_READ | PROT_WRITE) ? -errno : 0;
}

/* The operation on one page more. */
static int run_too_many(const struct split_op *op, struct thp_map *m, enum bug bug)
{
	size_t len = split_count(op) * thp_env.page;
	char *at = thp_page(m, split_first(op));
	char *more = bug == BELOW_TOO ? at - thp_env.page : at + len;
	int ret;

	if (op->effect != WRITES)
		return split_run_at(op, m, bug == BELOW_TOO ? more : at,
				    len + thp_env.page);
	/* Writes operate on one page at a time, and may take their data from a pipe. */
	ret = split_run_at(op, m, at, len);
	if (!ret && m->pipe[1] >= 0 && write(m->pipe[1], "\x5a", 1) != 1)
		ret = -errno;
	return ret ? ret : split_run_at(op, m, more, len);
}

/* 0: no error was noticed. *@ran: the operation, or its wrong copy, returned 0. */
static int run_and_judge(const struct split_op *op, struct thp_map *m,
			 int (*run)(const struct split_op *op, struct thp_map *m, enum bug bug),
			 enum bug bug, bool *ran, struct thp_why *why)
{
	enum thp_state state;
	int ret = run(op, m, bug);

	*ran = !ret;
	if (ret)
		return thp_why(why, ret, "%s returned %s", op->name, thp_errno_name(ret));
	ret = thp_obs_state(m->thp, thp_env.pmd, &state);
	if (ret)
		return thp_why(why, ret, "page map: %s", thp_errno_name(ret));
	if (split_expected(op, m->kind) && state == thp_kind_state(m->kind))
		return thp_why(why, -EPROTO, "the range is still %s", thp_state_name(state));
	ret = split_verify(op, m, why);
	return ret ? ret : split_check_data(op, m, true, why);
}

static int run_bug(const struct split_op *op, struct thp_map *m, enum bug bug)
{
	return bug == NOTHING ? 0 : bug == SPLITS_ONLY ? split_only(m) : run_too_many(op, m, bug);
}

static int run_right(const struct split_op *op, struct thp_map *m, enum bug bug)
{
	(void)bug;
	return split_run(op, m);
}

static void wants_notice(struct __test_metadata *_metadata, struct thp_map *m,
			 const struct split_op *op, enum thp_kind kind, enum bug bug)
{
	bool blind = is_blind(op, kind, bug), ran;
	struct thp_why why = { 0 };
	int ret;

	if (!split_expected(op, kind))
		THP_SKIP("no PMD is split by this, there is nothing to prove");
	if ((op->flags & OP_FOLIO || op->starved == ADVICE) && !thp_env.root)
		THP_SKIP("needs root: folios are told by their frame numbers");
	THP_REQUIRE_OK(thp_map_new(m, kind, &why), &why);
	THP_REQUIRE_OK(split_prepare(op, m, &why), &why);
	ret = run_and_judge(op, m, run_bug, bug, &ran, &why);
	if (blind)
		THP_CHECK(!ret || !ran, "noticed (%s), although the list says that it cannot be",
			  why.text);
	else
		THP_CHECK(ret && ran, "%s: %s", ran ? "was not noticed" : "could not be tried",
			  why.text);
	if (ret)
		TH_LOG("%s", why.text);
}

TEST_F(split, as_it_is)
{
	const struct split_op *op = variant->op;
	struct thp_map *m = &self->map;
	struct thp_why why = { 0 };
	bool ran;

	THP_REQUIRE_OK(thp_map_new(m, variant->kind, &why), &why);
	THP_REQUIRE_OK(split_prepare(op, m, &why), &why);
	THP_CHECK_OK(split_untouched(op, m, &why), &why);
	THP_CHECK_OK(run_and_judge(op, m, run_right, NOTHING, &ran, &why), &why);
}

TEST_F(split, does_nothing)
{
	wants_notice(_metadata, &self->map, variant->op, variant->kind, NOTHING);
}

TEST_F(split, splits_only)
{
	wants_notice(_metadata, &self->map, variant->op, variant->kind, SPLITS_ONLY);
}

TEST_F(split, page_below_too)
{
	wants_notice(_metadata, &self->map, variant->op, variant->kind, BELOW_TOO);
}

TEST_F(split, page_above_too)
{
	wants_notice(_metadata, &self->map, variant->op, variant->kind, ABOVE_TOO);
}

/* Damaged contents outside of the named pages, and inside where the operation keeps them. */
TEST_F(oracle, split_damage)
{
	struct thp_map *m = &self->map;
	struct thp_why why = { 0 };
	size_t i;

	THP_REQUIRE_OK(thp_map_new(m, THP_ANON, &why), &why);
	for (i = 0; split_op_at(i); i++) {
		const struct split_op *op = split_op_at(i);
		char *inside = thp_page(m, split_first(op)), *outside = m->thp;
		struct thp_why w = { 0 };

		if (op->where == AT_WHOLE)
			continue;
		if (inside == outside)
			outside += thp_env.pmd - 1;
		*outside ^= 1;
		THP_CHECK(split_check_data(op, m, true, &w), "%s: damage elsewhere passed",
			  op->name);
		*outside ^= 1;
		*inside ^= 1;
		THP_CHECK(op->effect != KEEPS_DATA || split_check_data(op, m, true, &w),
			  "%s: damage inside passed", op->name);
		*inside ^= 1;
		THP_CHECK_OK(split_check_data(op, m, false, &why), &why);
	}
}

/* A refused operation that has its effect all the same. */
TEST_F(split, refused_and_done)
{
	const struct split_op *op = variant->op;
	struct thp_map *m = &self->map;
	struct thp_why why = { 0 };

	if (!op->says.trait || (op->says.kinds && !(op->says.kinds & variant->kind)) ||
	    op->says.before == op->says.after)
		THP_SKIP("the kernel says nothing of this by page");
	THP_REQUIRE_OK(thp_map_new(m, variant->kind, &why), &why);
	THP_REQUIRE_OK(split_prepare(op, m, &why), &why);
	THP_REQUIRE(!split_run(op, m), "%s: %s", op->name, strerror(errno));
	THP_CHECK(split_untouched(op, m, &why), "the effect of a refused %s was not noticed",
		  op->name);
}
