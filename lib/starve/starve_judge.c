// SPDX-License-Identifier: GPL-2.0
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "starve.h"
#include "thp_swap.h"

/* Tries of an operation whose effect reclaim undoes before it can be checked. */
#define UNDONE_TRIES	5

/*
 * Joins neighbouring VMAs of equal flags: a system call that fails on its second boundary
 * may leave the first one split, which changes nothing. "gu" says that a VMA may have guard
 * regions: the kernel sets it in advance and never clears it.
 */
static void join_vmas(const char *layout, char *out, size_t len)
{
	unsigned long long start, end, last = 0;
	const char *line = layout, *flags, *nl;
	char prev[256] = "";

	out[0] = '\0';
	for (; *line; line = nl + 1) {
		size_t used = strlen(out), n;
		char rest[256], *gu;

		nl = strchr(line, '\n');
		if (!nl || sscanf(line, "%llx-%llx", &start, &end) != 2)
			break;
		flags = strchr(line, ' ');
		n = nl - flags < (long)sizeof(rest) - 1 ? nl - flags : (long)sizeof(rest) - 1;
		memcpy(rest, flags, n);
		rest[n] = '\0';
		gu = strstr(rest, " gu ");
		if (gu)
			memmove(gu, gu + 3, strlen(gu + 3) + 1);
		if (start != last || strcmp(rest, prev))
			snprintf(out + used, len - used, "%llx%s;", start, rest);
		strcpy(prev, rest);
		last = end;
	}
	snprintf(out + strlen(out), len - strlen(out), "%llx", last);
}

int starve_same_vmas(const struct split_op *op, const char *before, const char *after,
		     struct thp_why *why)
{
	static char was[2048], now[2048];

	join_vmas(before, was, sizeof(was));
	join_vmas(after, now, sizeof(now));
	if (strcmp(was, now))
		return thp_why(why, -EPROTO, "%s failed, but changed the VMAs: %.150s -> %.150s",
			       op->name, was, now);
	return 0;
}

/* Success: the PMD, mapped as @state, is split or gone, and the work is complete. */
static int judge_success(const struct split_op *op, struct thp_map *m, enum thp_state state,
			 struct thp_why *why)
{
	int ret, try;

	ret = split_verify(op, m, why);
	/*
	 * Reclaim has undone the effect: runs it again, until the effect lasts long enough to
	 * check.
	 */
	for (try = 0; ret == -EAGAIN && try < UNDONE_TRIES; try++) {
		thp_why_clear(why);
		(void)split_run(op, m);
		ret = split_verify(op, m, why);
	}
	if (!ret)
		ret = split_check_data(op, m, true, why);
	if (ret)
		return ret;
	if (split_expected(op, m->kind) && state == thp_kind_state(m->kind))
		return thp_why(why, -EPROTO, "%s returned success, the range is still %s",
			       op->name, thp_state_name(state));
	return 0;
}

/* Whether @op may fail like this at all. */
static int judge_errno(const struct split_op *op, int err, bool strict, struct thp_why *why)
{
	if (op->starved == NEVER)
		return thp_why(why, -EPROTO, "%s returned %s, but needs no memory", op->name,
			       thp_errno_name(err));
	if (op->starved == ADVICE && (strict || !op->errnos[0]))
		return thp_why(why, -EPROTO, "%s returned %s, expected 0: it is advice", op->name,
			       thp_errno_name(err));
	if (!split_errno_ok(op, err))
		return thp_why(why, -EPROTO, "%s returned %s, which it is not documented to",
			       op->name, thp_errno_name(err));
	return 0;
}

/*
 * Failure: contents, protection and flags of every page are as before. Where more than
 * tables is refused (not @strict), an operation that populates may have failed later.
 */
static int judge_untouched(const struct split_op *op, struct thp_map *m, const char *vmas,
			   bool strict, struct thp_why *why)
{
	static struct thp_smaps sm;
	int ret;

	if (strict || !(op->flags & (OP_POPULATES | OP_UNDOES_FIRST)))
		TRY(split_untouched(op, m, why));
	ret = thp_obs_smaps(0, m->area, m->area_len, &sm);
	if (ret)
		return thp_why(why, ret, "smaps: %s", thp_errno_name(ret));
	if (strict || !(op->flags & OP_POPULATES))
		TRY(starve_same_vmas(op, vmas, sm.layout, why));
	return split_check_data(op, m, false, why);
}

int starve_judge(const struct split_op *op, struct thp_map *m, int op_ret, enum thp_state state,
		 const char *vmas, bool strict, struct thp_why *why)
{
	const struct thp_kind_row *kind = thp_kind_row(m->kind);

	/* Advice may be ignored, but must not change the data. */
	if (!op_ret && op->starved == ADVICE)
		return split_check_data(op, m, true, why);
	if (!op_ret)
		return judge_success(op, m, state, why);
	TRY(judge_errno(op, op_ret, strict, why));
	if (strict && state != kind->state && state != THP_STATE_UNKNOWN)
		return thp_why(why, -EPROTO, "%s returned %s, but left the range %s", op->name,
			       thp_errno_name(op_ret), thp_state_name(state));
	if (strict && kind->has_left && kind->has_left(m))
		return thp_why(why, -EPROTO, "%s returned %s, but took the range off the %s",
			       op->name, thp_errno_name(op_ret), kind->name);
	return judge_untouched(op, m, vmas, strict, why);
}

int starve_retry(const struct split_op *op, struct thp_map *m, bool strict, struct thp_why *why)
{
	enum thp_state state = THP_STATE_UNKNOWN;
	int ret;

	split_again(op, m);
	ret = split_run(op, m);
	if (ret)
		return thp_why(why, -EPROTO, "%s still returns %s with memory at hand",
			       op->name, thp_errno_name(ret));
	ret = strict ? thp_obs_state(m->thp, thp_env.pmd, &state) : 0;
	if (ret)
		return thp_why(why, ret, "page map: %s", thp_errno_name(ret));
	return judge_success(op, m, state, why);
}

int starve_events(const struct starve_result *r, const struct split_op *op, enum thp_kind kind,
		  long refused, bool tables, struct thp_why *why)
{
	long splits = split_owed(op, kind, r->state) && r->state != thp_kind_state(kind);

	if (op->flags & OP_SWAPS && split_expected(op, kind) &&
	    r->state != thp_kind_state(kind)) {
		const struct thp_swapped swapped = {
			.thps = 1, .entries = r->state == THP_STATE_PMD_SWAP,
		};

		TRY(thp_swapped_events(&swapped, r->entries, r->fallbacks, op->name, why));
	}
	if (r->failed_splits > refused || (tables && r->failed_splits < refused))
		return thp_why(why, r->failed_splits > refused ? -EAGAIN : -EPROTO,
			       "%s of %s: thp_split_pmd_failed %+ld, %ld %s refused", op->name,
			       thp_kind_name(kind), r->failed_splits, refused,
			       tables ? "tables were" : "allocations were");
	if (r->state != THP_STATE_UNKNOWN && r->splits != splits)
		return thp_why(why, r->splits > splits ? -EAGAIN : -EPROTO,
			       "%s of %s: thp_split_pmd %+ld, expected %+ld: the range is %s",
			       op->name, thp_kind_name(kind), r->splits, splits,
			       thp_state_name(r->state));
	return 0;
}
