// SPDX-License-Identifier: GPL-2.0
#include <errno.h>
#include <fcntl.h>
#include <linux/mempolicy.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "split_effect.h"
#include "split_ops.h"
#include "thp_uapi.h"
#include "thp_uffd.h"

#define KPF_COMPOUND_HEAD	15
#define KPF_COMPOUND_TAIL	16

/* What the kernel says */

/* The line of smaps' view for the VMA around @page: 0, -ENOENT, -errno. */
static int find_vma_line(struct split_view *v, const char *page, char *line, size_t len,
			 unsigned long long *start, unsigned long long *end)
{
	unsigned long long at = (uintptr_t)page;
	const char *p, *nl;
	int ret;

	if (!v->loaded) {
		ret = thp_obs_smaps(0, v->m->area, v->m->area_len, &v->sm);
		if (ret)
			return ret;
		v->loaded = true;
	}
	for (p = v->sm.layout; (nl = strchr(p, '\n')); p = nl + 1) {
		if (sscanf(p, "%llx-%llx", start, end) != 2)
			return -EIO;
		if (at < *start || at >= *end)
			continue;
		snprintf(line, len, "%.*s", (int)(nl - p), p);
		return 0;
	}
	return -ENOENT;
}

static int has_vma(struct split_view *v, const struct split_trait *t, char *page)
{
	unsigned long long start, end;
	char line[512];
	int ret = find_vma_line(v, page, line, sizeof(line), &start, &end);

	(void)t;
	return ret == -ENOENT ? 0 : ret ? ret : 1;
}

static int vma_word(struct split_view *v, const struct split_trait *t, char *page)
{
	unsigned long long start, end;
	char line[512];
	int ret = find_vma_line(v, page, line, sizeof(line), &start, &end);

	if (ret)
		return ret;
	/* VmFlags begin and end with a blank; a name is in brackets. */
	return !!strstr(line, t->word);
}

/* The VMA is the page in the middle and no other. */
static int vma_alone(struct split_view *v, const struct split_trait *t, char *page)
{
	unsigned long long start, end;
	char line[512];
	int ret = find_vma_line(v, page, line, sizeof(line), &start, &end);

	(void)t;
	if (ret)
		return ret;
	return start == (uintptr_t)thp_page(v->m, thp_env.nr / 2) && end - start == thp_env.page;
}

static int policy_of(struct split_view *v, const struct split_trait *t, char *page)
{
	int mode;

	(void)v;
	(void)t;
	return syscall(__NR_get_mempolicy, &mode, NULL, 0, page, MPOL_F_ADDR) ? -errno : mode;
}

static int pagemap_bits(char *page, uint64_t bits)
{
	uint64_t entry;
	int ret = thp_obs_pagemap(page, &entry, 1);

	return ret ? ret : !!(entry & bits);
}

static int populated(struct split_view *v, const struct split_trait *t, char *page)
{
	(void)v;
	(void)t;
	return pagemap_bits(page, THP_PM_PRESENT | THP_PM_SWAPPED);
}

static int swapped(struct split_view *v, const struct split_trait *t, char *page)
{
	(void)v;
	(void)t;
	return pagemap_bits(page, THP_PM_SWAPPED);
}

static int uffd_wp(struct split_view *v, const struct split_trait *t, char *page)
{
	(void)v;
	(void)t;
	return pagemap_bits(page, THP_PM_UFFD_WP);
}

static int guard(struct split_view *v, const struct split_trait *t, char *page)
{
	(void)v;
	(void)t;
	return pagemap_bits(page, THP_PM_GUARD);
}

/* Only root sees frame numbers; a page that is not present belongs to no folio here. */
static int large(struct split_view *v, const struct split_trait *t, char *page)
{
	uint64_t entry, flags;
	int ret = thp_obs_pagemap(page, &entry, 1);

	(void)v;
	(void)t;
	if (ret || !(entry & THP_PM_PRESENT))
		return ret;
	ret = thp_obs_kpageflags(entry, &flags);
	if (ret)
		return ret;
	return (flags >> KPF_COMPOUND_HEAD & 1) || (flags >> KPF_COMPOUND_TAIL & 1);
}

#define VMA_TRAIT(name, text, w) \
	const struct split_trait name = { .what = text, .of = vma_word, .word = w }
#define TRAIT(name, text, fn) \
	const struct split_trait name = { .what = text, .of = fn }

TRAIT(split_has_vma, "VMAs", has_vma);
VMA_TRAIT(split_vma_write, "VmFlags wr", " wr ");
VMA_TRAIT(split_vma_advised, "VmFlags hg", " hg ");
VMA_TRAIT(split_vma_unadvised, "VmFlags nh", " nh ");
VMA_TRAIT(split_vma_dontdump, "VmFlags dd", " dd ");
VMA_TRAIT(split_vma_dontfork, "VmFlags dc", " dc ");
VMA_TRAIT(split_vma_wipeonfork, "VmFlags wf", " wf ");
VMA_TRAIT(split_vma_sequential, "VmFlags sr", " sr ");
VMA_TRAIT(split_vma_mergeable, "VmFlags mg", " mg ");
VMA_TRAIT(split_vma_locked, "VmFlags lo", " lo ");
VMA_TRAIT(split_vma_uffd_missing, "VmFlags um", " um ");
VMA_TRAIT(split_vma_named, "VMA name", "[anon:" SPLIT_NAME "]");
TRAIT(split_alone, "VMA of its own", vma_alone);
TRAIT(split_policy, "memory policy", policy_of);
TRAIT(split_populated, "populated", populated);
TRAIT(split_swapped, "swapped", swapped);
TRAIT(split_uffd_wp, "uffd-wp", uffd_wp);
TRAIT(split_guard, "guard", guard);
TRAIT(split_large, "in a large folio", large);

/* What an access meets */

int split_access(char *page, bool write_to)
{
	char byte;
	int p[2], ret;

	if (pipe2(p, O_CLOEXEC))
		return -errno;
	ret = write(p[1], page, 1) == 1 ? 1 : -errno;
	if (ret == 1 && write_to)
		ret = read(p[0], page, 1) == 1 ? 1 : -errno;
	else if (ret == 1)
		ret = read(p[0], &byte, 1) == 1 ? 1 : -errno;
	close(p[0]);
	close(p[1]);
	return ret == -EFAULT ? 0 : ret;
}

static int readable(struct split_view *v, const struct split_trait *t, char *page)
{
	(void)v;
	(void)t;
	return split_access(page, false);
}

static int writable(struct split_view *v, const struct split_trait *t, char *page)
{
	(void)v;
	(void)t;
	return split_access(page, true);
}

/* can_madv_lru_vma(): advice to reclaim is refused for VM_LOCKED. */
static int lru_refused(struct split_view *v, const struct split_trait *t, char *page)
{
	(void)v;
	(void)t;
	if (!madvise(page, thp_env.page, MADV_COLD))
		return 0;
	return errno == EINVAL ? 1 : -errno;
}

/* mprotect() to the protection that the page has: only a seal refuses that. */
static int sealed(struct split_view *v, const struct split_trait *t, char *page)
{
	(void)v;
	(void)t;
	if (!mprotect(page, thp_env.page, PROT_READ | PROT_WRITE))
		return 0;
	return errno == EPERM ? 1 : -errno;
}

/* ENOENT where the VMA is not registered, EEXIST where it is: no page is missing. */
static int registered(struct split_view *v, const struct split_trait *t, char *page)
{
	/* Any readable page that is no part of the range. */
	char *from = v->m->thp - thp_env.page;
	int ret = thp_uffd_copy(v->m->uffd, page, from, thp_env.page);

	(void)t;
	return ret == -EEXIST ? 1 : ret == -ENOENT ? 0 : ret ? ret : -EIO;
}

static int child_reads(struct thp_chan *chan, void *arg)
{
	char *page = arg;

	chan->val[0] = split_access(page, false);
	if (chan->val[0] == 1)
		chan->val[1] = !thp_check_zero(page, 1, NULL);
	thp_chan_post_parent(chan, 1);
	thp_chan_await_parent(chan, 2);
	return 0;
}

/* Forks a child and asks it about @page: readable, and reading as zeroes. 0 or -errno. */
static int ask_child(char *page, bool *there, bool *zero)
{
	struct thp_child c = { 0 };
	int ret = thp_child_start(&c, child_reads, page);

	if (!ret)
		ret = thp_child_await(&c, 1, THP_STEP_MS);
	if (!ret) {
		*there = c.chan->val[0] == 1;
		*zero = c.chan->val[1];
		thp_chan_post_child(c.chan, 2);
		ret = thp_child_join(&c, THP_STEP_MS, NULL);
	}
	thp_child_kill(&c);
	return ret;
}

static int left_by_fork(struct split_view *v, const struct split_trait *t, char *page)
{
	bool there, zero;
	int ret = ask_child(page, &there, &zero);

	(void)v;
	(void)t;
	return ret ? ret : !there;
}

static int wiped_by_fork(struct split_view *v, const struct split_trait *t, char *page)
{
	bool there, zero;
	int ret = ask_child(page, &there, &zero);

	(void)v;
	(void)t;
	return ret ? ret : there && zero;
}

TRAIT(split_readable, "readable", readable);
TRAIT(split_writable, "writable", writable);
TRAIT(split_lru_refused, "locked against MADV_COLD", lru_refused);
TRAIT(split_sealed, "sealed", sealed);
TRAIT(split_registered, "registered with userfaultfd", registered);
TRAIT(split_left_by_fork, "left out by fork", left_by_fork);
TRAIT(split_wiped_by_fork, "wiped by fork", wiped_by_fork);

/* Proofs */

/* Page @index of the THP; -1 and thp_env.nr are the pages next to it. */
static int prove_page(const struct split_proof *p, struct split_view *v, long index, int want,
		      struct thp_why *why)
{
	int got = p->trait->of(v, p->trait, v->m->thp + index * (long)thp_env.page);
	const char *where = index < 0 ? " (below the THP)" :
			    index >= (long)thp_env.nr ? " (above the THP)" : "";

	if (got == want)
		return 0;
	if (got < 0)
		return thp_why(why, got, "page %ld%s: %s: %s, expected %d", index, where,
			       p->trait->what, thp_errno_name(got), want);
	return thp_why(why, -EPROTO, "page %ld%s: %s %d, expected %d", index, where,
		       p->trait->what, got, want);
}

/*
 * @done: the named pages are as the operation promises, all others as before; without @done
 * all pages are as before. Pages next to the THP are checked if the named pages reach that
 * far. @edges: checks only the pages on both sides of a boundary.
 */
static int prove(const struct split_op *op, const struct split_proof *p, struct thp_map *m,
		 bool done, bool edges, struct thp_why *why)
{
	long first = split_first(op), last = first + split_count(op) - 1, nr = thp_env.nr, i;
	static struct split_view v;
	bool changed;
	int ret;

	if (!p->trait || (p->kinds && !(p->kinds & m->kind)))
		return 0;
	v.m = m;
	v.loaded = false;
	for (i = first ? 0 : -1; i <= (last == nr - 1 ? nr : nr - 1); i++) {
		if (edges && i != first - 1 && i != first && i != last && i != last + 1)
			continue;
		/* A page next to the THP may be in the same state before and after. */
		if (i < 0 || i >= nr)
			changed = op->flags & (i < 0 ? OP_BELOW_TOO : OP_ABOVE_TOO);
		else
			changed = done && i >= first && i <= last;
		ret = prove_page(p, &v, i, changed ? p->after : p->before, why);
		if (ret)
			return ret;
	}
	return 0;
}

int split_verify(const struct split_op *op, struct thp_map *m, struct thp_why *why)
{
	bool plain = m->kind == THP_SMALL || m->kind == THP_NONE;
	int ret;

	ret = prove(op, &op->says, m, true, false, why);
	if (!ret)
		ret = prove(op, &op->meets, m, true, true, why);
	if (!ret && op->verify && !plain)
		ret = op->verify(m, why);
	return ret;
}

int split_untouched(const struct split_op *op, struct thp_map *m, struct thp_why *why)
{
	int ret = prove(op, &op->says, m, false, false, why);

	return ret || !op->untouched ? ret : op->untouched(m, why);
}
