// SPDX-License-Identifier: GPL-2.0
/*
 * The bits of a page table entry, what an operation may do to them, and what a row of
 * the table in state_ops.c consists of.
 */

enum state_bit {
	BIT_YOUNG,	/* used since clear_refs: Referenced of smaps */
	BIT_DIRTY,	/* written to since MADV_FREE: reclaim keeps the page */
	BIT_WRITE,	/* a write takes no fault; off: the VMA is read-only */
	BIT_EXCLUSIVE,	/* bit 56 of pagemap; off: a child shares the memory */
	BIT_SOFT_DIRTY,	/* bit 55 of pagemap */
	BIT_UFFD_WP,	/* bit 57 of pagemap, and a write is noticed */
	BIT_UFFD_RWP,	/* bit 57 of pagemap, and a read is noticed */
	BITS,
};

static const char * const state_bit_names[BITS] = {
	"young", "dirty", "writable", "exclusive", "soft-dirty", "uffd-wp", "uffd-rwp",
};

/* What an operation does to the bit of a page. */
enum state_value {
	KEPT,		/* neither lost nor gained */
	SET,		/* on afterwards */
	CLEARED,	/* off afterwards */
	MAY_SET,	/* never lost */
	MAY_CLEAR,	/* never gained */
	EITHER,
};

static const char * const state_value_names[] = {
	"kept", "set", "cleared", "kept or set", "kept or cleared", "either",
};

struct state_cell {
	enum state_value value;
	const char *by;		/* the kernel function that makes it so */
	unsigned int since;	/* THP_RELEASE() from which it does; not tried before that */
};

/* What the base pages of the THP hold. */
enum state_contents {
	PATTERN,
	HOLES,		/* every fourth page is zero: a folio split maps the zero page there */
	ZEROES,
};

/* .flags */
#define ST_PART		(1 << 0)	/* names one page, state_named(), not all of them */
#define ST_FOLIO	(1 << 1)	/* splits the folio, too, unless it is shared */
#define ST_CHILD	(1 << 2)	/* the bits that count are those of a forked child */
#define ST_RW		(1 << 3)	/* is legal on writable memory only */
#define ST_TARGET	(1 << 4)	/* wants the target watched by the userfaultfd */
#define ST_EVENTS	(1 << 5)	/* a userfaultfd is told of remap and fork */
#define ST_NODES	(1 << 6)	/* wants two NUMA nodes */
#define ST_SPLIT	(1 << 7)	/* of a PMD that is split already */
/*
 * Not on shared memory: remove_migration_pmd() applies pmd_write() to a device entry,
 * which is not present, and warns (Linux 7.3).
 */
#define ST_ALONE	(1 << 8)

/*
 * A process that shares the memory, or that the operation forks: what it says, and what
 * it is told.
 */
enum { STATE_SHARES = 1 };
enum { STATE_LOOK = 1 };

struct state_op;

struct state {
	struct thp_map m;	/* the THP */
	struct thp_map dst;	/* an untouched range, where it may go */
	struct thp_child other;	/* a process that shares the memory, or of the operation */
	const struct state_op *op;
	enum state_bit bit;
	enum state_contents contents;
	bool on;		/* all pages have the bit before the operation; or none */
	bool watched;		/* m.uffd is registered with the THP */
	bool refused;		/* the operation declined; all bits stay as they are */
	int prot;		/* of the THP's VMA */
	enum thp_state after;	/* how the THP has to be mapped, at the place of its page 0 */
	char *at[THP_MOVE_MAX_NR];	/* where each page is; NULL: given up */
};

struct state_op {
	const char *name;
	const char *covers;		/* rows of docs/call-sites.md */
	const char *what;		/* the operation, for docs/contract.md */
	const char *by;			/* the kernel function that passes the bits on */
	uint64_t needs;			/* enum thp_need */
	unsigned int flags;
	enum thp_state after;
	int (*run)(struct state *s, struct thp_why *why);
	struct state_cell cells[BITS];	/* of all pages, or of those that are not named */
	struct state_cell named[BITS];	/* ST_PART: of the page that is */
};

static bool state_page_zero(const struct state *s, size_t i)
{
	return s->contents == ZEROES || (s->contents == HOLES && i % 4 == 3);
}

static size_t state_named(void)
{
	return thp_env.nr / 2;
}

static bool state_shared(const struct state *s)
{
	return s->bit == BIT_EXCLUSIVE && !s->on;
}

static int state_errno(struct thp_why *why, int err, const char *call)
{
	return thp_why(why, err, "%s: %s", call, thp_errno_name(err));
}

static int state_advise(char *addr, size_t len, int advice, const char *name, struct thp_why *why)
{
	return madvise(addr, len, advice) ? state_errno(why, -errno, name) : 0;
}
