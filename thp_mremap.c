// SPDX-License-Identifier: GPL-2.0
/*
 * Moving PMD mappings: mremap() and UFFDIO_MOVE, whole and in part, aligned and not, below
 * the same PMD table and below another one; mremap() that shrinks and grows; and all of it
 * when a page table cannot be allocated.
 *
 * A whole, aligned move takes the PMD along and needs no table. Everything else splits the
 * PMD first. A move that fails leaves the source unchanged, and one that succeeds removes
 * it completely.
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

#include "mremap/common.c"
#include "mremap/move.c"
#include "mremap/move_nth.c"
#include "mremap/bulk.c"
#include "mremap/mremap.c"
#include "mremap/brk.c"
#include "mremap/bits.c"
#include "mremap/uffd.c"

/* IDs of the table-driven tests, from what their case does. */
static const char *cover_ids(const char *fixture, const char *variant, const char *test)
{
	const struct __fixture_variant_metadata *v = NULL;
	const struct __fixture_metadata *f;
	const struct thp_move_case *c;
	static char ids[160];
	bool whole;

	if (strcmp(fixture, "move") && strcmp(fixture, "move_nth"))
		return NULL;
	for (f = __fixture_list; f; f = f->next)
		for (v = strcmp(f->name, fixture) ? NULL : f->variant; v; v = v->next)
			if (!strcmp(v->name, variant))
				goto found;
	return NULL;
found:
	c = strcmp(fixture, "move") ? &((const FIXTURE_VARIANT(move_nth) *)v->data)->c :
				      &((const FIXTURE_VARIANT(move) *)v->data)->c;
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
	if (!strcmp(test, "starved") || !strcmp(test, "sweep"))
		strcat(ids, " move-fail");
	return ids;
}

static void init(void)
{
	thp_cover_hook = cover_ids;
	thp_scenario_reset = put_away;
	/* Slow, and only needed where the kernel can inject failures. */
	if (thp_file_exists("/proc/self/make-it-fail") && !geteuid())
		(void)thp_inject_init();
}

#include "mremap/commit.c"

THP_MAIN_INIT("thp_mremap", init);
