// SPDX-License-Identifier: GPL-2.0
/*
 * nodes: Nodes, sets of THPs on them, and the calls that migrate.
 */

/* Bits of a node mask: the maximum of the kernel configuration. */
#define MAX_NODES 1024
#define MASK_LONGS (MAX_NODES / (8 * sizeof(long)))

/*
 * Growth of PageTables that no process explains: counters of other CPUs, processes that
 * start or exit between two readings.
 */
#define SLACK_KB 512

/* main() sets these before any test: two nodes, or -1. */
static long nodes[2] = { -1, -1 };

/* ---------------------------------------------------------------- nodes */

#ifdef HAVE_LIBNUMA
static long sys_move_pages(pid_t pid, unsigned long n, void **pages, const int *to, int *status,
			   int flags)
{
	return move_pages(pid, n, pages, to, status, flags) < 0 ? -errno : 0;
}

static long sys_mbind(void *addr, size_t len, int mode, const unsigned long *mask, int flags)
{
	return mbind(addr, len, mode, mask, MAX_NODES, flags) ? -errno : 0;
}

static long sys_migrate_pages(const unsigned long *from, const unsigned long *to)
{
	long ret = migrate_pages(0, MAX_NODES, from, to);

	return ret < 0 ? -errno : ret;
}

static int sys_mems_allowed(unsigned long *mask)
{
	return get_mempolicy(NULL, mask, MAX_NODES, NULL, MPOL_F_MEMS_ALLOWED) ? -errno : 0;
}

static int sys_policy_local(void)
{
	return set_mempolicy(MPOL_LOCAL, NULL, 0) ? -errno : 0;
}
#else
#define MPOL_BIND	2
#define MPOL_MF_MOVE	2
#define MPOL_MF_MOVE_ALL 4

static long sys_move_pages(pid_t pid, unsigned long n, void **pages, const int *to, int *status,
			   int flags)
{
	(void)pid;
	(void)n;
	(void)pages;
	(void)to;
	(void)status;
	(void)flags;
	return -EOPNOTSUPP;
}

static long sys_mbind(void *addr, size_t len, int mode, const unsigned long *mask, int flags)
{
	(void)addr;
	(void)len;
	(void)mode;
	(void)mask;
	(void)flags;
	return -EOPNOTSUPP;
}

static long sys_migrate_pages(const unsigned long *from, const unsigned long *to)
{
	(void)from;
	(void)to;
	return -EOPNOTSUPP;
}

static int sys_mems_allowed(unsigned long *mask)
{
	(void)mask;
	return -EOPNOTSUPP;
}

static int sys_policy_local(void)
{
	return 0;
}
#endif

static void mask_of(long node, unsigned long *mask)
{
	memset(mask, 0, MASK_LONGS * sizeof(long));
	if (node >= 0 && node < MAX_NODES)
		mask[node / (8 * sizeof(long))] = 1UL << node % (8 * sizeof(long));
}

/* The first two nodes that have memory and that the process may use. */
static void find_nodes(void)
{
	unsigned long allowed[MASK_LONGS] = { 0 };
	char text[256], *p = text;
	int found = 0;

	if (sys_mems_allowed(allowed) ||
	    thp_read_file("/sys/devices/system/node/has_memory", text, sizeof(text)) < 0)
		return;
	while (*p >= '0' && *p <= '9') {
		long n = strtol(p, &p, 10), last = n;

		if (*p == '-')
			last = strtol(p + 1, &p, 10);
		for (; n <= last && n < MAX_NODES && found < 2; n++)
			if (allowed[n / (8 * sizeof(long))] >> n % (8 * sizeof(long)) & 1)
				nodes[found++] = n;
		if (*p == ',')
			p++;
	}
	if (found < 2)
		nodes[0] = -1;
}

/* The constant reason why tests between nodes cannot run, or NULL. */
static const char *numa_missing(uint64_t needs)
{
#ifndef HAVE_LIBNUMA
	(void)needs;
	return "needs libnuma";
#else
	const char *missing = thp_env_missing(THP_NEED_NODES | THP_NEED_MOVE_PAGES | needs);

	if (missing)
		return missing;
	return nodes[0] < 0 ? "needs 2 NUMA nodes that the process may use" : NULL;
#endif
}

/* Node of the page at @addr, or -errno. */
static int node_of(void *addr)
{
	int status = -EIO;
	long ret = sys_move_pages(0, 1, &addr, NULL, &status, 0);

	return ret ? (int)ret : status;
}

static long other_node(long node)
{
	return node == nodes[0] ? nodes[1] : nodes[0];
}

/* ---------------------------------------------------------------- THPs that are counted */

/* Every base page of every THP is on @node. */
static int set_on_node(const struct thp_set *s, long node, struct thp_why *why)
{
	unsigned int i;
	size_t p;
	int got;

	for (i = 0; i < s->n; i++) {
		for (p = 0; p < thp_env.nr; p++) {
			got = node_of(thp_page(&s->map[i], p));
			if (got != node)
				return thp_why(why, -EPROTO,
					       "page %zu of THP %u: expected node %ld, got %d", p,
					       i, node, got);
		}
	}
	return 0;
}

/* Migration to a node without a free THP would split the THP, correctly. */
static int node_gives_thps(long node, unsigned int n, struct thp_why *why)
{
	unsigned long mask[MASK_LONGS];
	struct thp_map m[THP_SET_MAX];
	unsigned int i, made;
	int ret = 0;

	mask_of(node, mask);
	for (made = 0; made < n && !ret; made++) {
		ret = thp_map_create(&m[made], THP_ANON, why);
		if (ret)
			break;
		ret = sys_mbind(m[made].area, m[made].area_len, MPOL_BIND, mask, 0);
		if (ret)
			thp_why(why, ret, "mbind: %s", thp_errno_name(ret));
		else
			ret = thp_map_fault(&m[made], why);
	}
	for (i = 0; i < made; i++)
		thp_map_destroy(&m[i]);
	return ret;
}

/* ---------------------------------------------------------------- migration calls */

struct mover {
	const char *name;
	/* Moves the THP to a node; 0 or -errno. Nothing is printed or allocated. */
	int (*move)(struct thp_map *m, long node);
	int zero;		/* the result for huge zero PMDs */
};

static int move_one(struct thp_map *m, long node)
{
	void *page = thp_page(m, thp_env.nr / 2 + 1);
	int to = node, status = -EIO;

	TRY(sys_move_pages(0, 1, &page, &to, &status, MPOL_MF_MOVE));
	return status < 0 ? status : 0;
}

static int move_all(struct thp_map *m, long node)
{
	static int to[64], status[64];
	static void *pages[64];
	int first = 0;
	size_t i, k;

	/*
	 * The first page moves the whole THP. The next ones may be refused with -EBUSY while
	 * the THP waits in the same batch, and count as moved afterwards.
	 */
	for (i = 0; i < thp_env.nr; i += 64) {
		size_t n = thp_env.nr - i < 64 ? thp_env.nr - i : 64;

		for (k = 0; k < n; k++) {
			pages[k] = thp_page(m, i + k);
			to[k] = node;
			status[k] = -EIO;
		}
		TRY(sys_move_pages(0, n, pages, to, status, MPOL_MF_MOVE));
		if (!i)
			first = status[0];
	}
	return first < 0 ? first : 0;
}

static int move_mbind(struct thp_map *m, long node)
{
	unsigned long mask[MASK_LONGS];

	mask_of(node, mask);
	return sys_mbind(m->thp, thp_env.pmd, MPOL_BIND, mask, MPOL_MF_MOVE);
}

static int move_migrate(struct thp_map *m, long node)
{
	unsigned long from[MASK_LONGS], to[MASK_LONGS];
	long ret;

	(void)m;
	mask_of(other_node(node), from);
	mask_of(node, to);
	/* A positive number counts pages left behind, such as shared ones of libraries. */
	ret = sys_migrate_pages(from, to);
	return ret < 0 ? ret : 0;
}

static const struct mover mover_one = {
	.name = "move_pages of one page", .move = move_one, .zero = -EFAULT,
};

static const struct mover mover_all = {
	.name = "move_pages of all pages", .move = move_all, .zero = -EFAULT,
};

static const struct mover mover_mbind = {
	.name = "mbind", .move = move_mbind, .zero = 0,
};

static const struct mover mover_migrate = {
	.name = "migrate_pages", .move = move_migrate, .zero = 0,
};

static int set_move(struct thp_set *s, const struct mover *mover, long node, struct thp_why *why)
{
	unsigned int i;
	int ret;

	for (i = 0; i < s->n; i++) {
		ret = mover->move(&s->map[i], node);
		if (ret)
			return thp_why(why, ret, "%s of THP %u to node %ld: %s", mover->name, i,
				       node, thp_errno_name(ret));
	}
	return 0;
}
