/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Checks the effect of an operation of the split table on the base pages that it names, and
 * on no other page: by the state that the kernel reports of each page, and by accesses.
 *
 * A trait is a small number that each base page has. It is read after the operation, when
 * memory is available again: none of this is part of a measurement.
 */
#ifndef SPLIT_EFFECT_H
#define SPLIT_EFFECT_H

#include "thp_map.h"
#include "thp_obs.h"

struct split_op;

/* The mapping whose pages are checked, and its VMAs once a trait has read them. */
struct split_view {
	struct thp_map *m;
	bool loaded;
	struct thp_smaps sm;
};

struct split_trait {
	const char *what;	/* its name in a cause */
	/* The value for the base page at @page, or -errno. */
	int (*of)(struct split_view *v, const struct split_trait *t, char *page);
	const char *word;	/* of VMA traits: what the VMA's line has or lacks */
};

/*
 * The named pages go from @before to @after, all other pages of the THP and its
 * neighbours stay at @before.
 */
struct split_proof {
	const struct split_trait *trait;	/* NULL: none */
	int before, after;
	unsigned int kinds;			/* enum thp_kind; 0: all */
};

/* Traits that the kernel states: reading them changes nothing. */
extern const struct split_trait split_has_vma;		/* some VMA, by smaps */
extern const struct split_trait split_vma_write;	/* VM_WRITE */
extern const struct split_trait split_vma_advised;	/* MADV_HUGEPAGE */
extern const struct split_trait split_vma_unadvised;	/* MADV_NOHUGEPAGE */
extern const struct split_trait split_vma_dontdump;
extern const struct split_trait split_vma_dontfork;
extern const struct split_trait split_vma_wipeonfork;
extern const struct split_trait split_vma_sequential;
extern const struct split_trait split_vma_mergeable;
extern const struct split_trait split_vma_locked;	/* VM_LOCKED */
extern const struct split_trait split_vma_uffd_missing;
extern const struct split_trait split_vma_named;	/* [anon:SPLIT_NAME] */
extern const struct split_trait split_alone;		/* the middle page is a VMA */
extern const struct split_trait split_policy;		/* MPOL_..., by get_mempolicy() */
extern const struct split_trait split_populated;	/* present or swapped, by pagemap */
extern const struct split_trait split_swapped;
extern const struct split_trait split_uffd_wp;		/* the bit, by pagemap */
extern const struct split_trait split_guard;		/* the bit, by pagemap */
extern const struct split_trait split_large;		/* of a large folio: needs root */

/* Traits found by an access, with system calls that fail where an access would raise a signal. */
extern const struct split_trait split_readable;
extern const struct split_trait split_writable;		/* writes the present contents again */
extern const struct split_trait split_lru_refused;	/* MADV_COLD says EINVAL: locked */
extern const struct split_trait split_sealed;		/* mprotect() says EPERM */
extern const struct split_trait split_registered;	/* UFFDIO_COPY finds a page there */
extern const struct split_trait split_left_by_fork;	/* a child has no such page */
extern const struct split_trait split_wiped_by_fork;	/* a child reads zeroes */

/*
 * Whether the kernel can read from the page at @page, or write to it: 1; 0 if an access of
 * the process would raise a signal; or -errno. The contents stay.
 */
int split_access(char *page, bool write_to);

#define SPLIT_NAME	"thp_lazy_pte"

/*
 * After success: every proof of @op, and its verify(). 0; -EPROTO or another -errno with a
 * cause; -EAGAIN if the kernel may have undone the effect on its own, so that the caller
 * may try again. May fault pages in, read them and write their contents again: call
 * thp_obs_state() before it. It does not call thp_map_check().
 */
int split_verify(const struct split_op *op, struct thp_map *m, struct thp_why *why);

/* After a failure: no page has the trait that the operation sets. Changes nothing. */
int split_untouched(const struct split_op *op, struct thp_map *m, struct thp_why *why);

#endif /* SPLIT_EFFECT_H */
