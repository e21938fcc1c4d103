/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Operations that the suite does on purpose, and the settings and boot options with which
 * they would end the machine: with these the kernel panics where it would otherwise refuse,
 * kill or continue. The table is in thp_fatal.c.
 */
#ifndef THP_FATAL_H
#define THP_FATAL_H

/* Bits of struct thp_fatal_row and of a row in thp_needs.def. */
enum thp_act {
	THP_ACT_FILL = 1,	/* a memory control group, until a charge is refused */
	THP_ACT_REFUSE = 2,	/* fail allocations of a page fault */
	THP_ACT_POISON = 4,	/* memory_failure() of a page */
	THP_ACT_LOAD = 8,	/* test modules, which may taint the kernel */
};

/*
 * The constant reason why @acts would end this machine, or NULL. Reads the settings each
 * time: they may have changed since the program began. A setting that cannot be read does
 * not exist, or is hidden by a container, whose root cannot do any of these operations.
 */
const char *thp_fatal(unsigned int acts);

#endif /* THP_FATAL_H */
