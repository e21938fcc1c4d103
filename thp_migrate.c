// SPDX-License-Identifier: GPL-2.0
/*
 * Migration of PMD mappings, and races.
 *
 * A THP that migrates whole leaves a migration entry in the PMD for as long as
 * it is copied, and no page table is needed on the way. It is split when its
 * target cannot be a THP, or when somebody splits the entry meanwhile. The races
 * let splits meet faults, forks, zaps, collapse, swap-out and migration: at the
 * end all contents, and every table, must be accounted for.
 */
#ifdef HAVE_LIBNUMA
#include <numaif.h>
#endif
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>

#include "split_effect.h"
#include "thp_cgroup.h"
#include "thp_contract.h"
#include "thp_family.h"
#include "thp_harness.h"
#include "thp_hmm.h"
#include "thp_inject.h"
#include "thp_meter.h"
#include "thp_move.h"
#include "thp_race.h"
#include "thp_set.h"
#include "thp_uapi.h"
#include "thp_uffd.h"

/* Bits of a node mask: as many as the kernel can be configured for. */
#define MAX_NODES 1024
#define MASK_LONGS (MAX_NODES / (8 * sizeof(long)))

/*
 * What PageTables may grow without a process to show for it: counters of other
 * CPUs, processes that start or end between two readings.
 */
#define SLACK_KB 512

/* Set by main(), before any test: two nodes, or -1. */
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

#define NUMA_NEEDS(needs) do {						\
	const char *__reason = numa_missing(needs);			\
	if (__reason)							\
		THP_SKIP(__reason);					\
} while (0)

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

/* A node without a free THP would split what migrates to it, rightly. */
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
	int zero;		/* what it says about huge zero PMDs */
};

static int move_one(struct thp_map *m, long node)
{
	void *page = thp_page(m, thp_env.nr / 2 + 1);
	int to = node, status = -EIO;
	long ret;

	ret = sys_move_pages(0, 1, &page, &to, &status, MPOL_MF_MOVE);
	if (ret)
		return ret;
	return status < 0 ? status : 0;
}

static int move_all(struct thp_map *m, long node)
{
	static int to[64], status[64];
	static void *pages[64];
	int first = 0;
	size_t i, k;
	long ret;

	/*
	 * The first page takes the THP along. The next ones may be refused with
	 * -EBUSY while it waits in the same batch, and count as moved afterwards.
	 */
	for (i = 0; i < thp_env.nr; i += 64) {
		size_t n = thp_env.nr - i < 64 ? thp_env.nr - i : 64;

		for (k = 0; k < n; k++) {
			pages[k] = thp_page(m, i + k);
			to[k] = node;
			status[k] = -EIO;
		}
		ret = sys_move_pages(0, n, pages, to, status, MPOL_MF_MOVE);
		if (ret)
			return ret;
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
	/* A positive number is pages left behind, such as shared ones of libraries. */
	ret = sys_migrate_pages(from, to);
	return ret < 0 ? ret : 0;
}

static const struct mover mover_one = { "move_pages of one page", move_one, -EFAULT };
static const struct mover mover_all = { "move_pages of all pages", move_all, -EFAULT };
static const struct mover mover_mbind = { "mbind", move_mbind, 0 };
static const struct mover mover_migrate = { "migrate_pages", move_migrate, 0 };

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

FIXTURE(move) {
	struct thp_set set;
	struct thp_meter meter;
	struct thp_why why;
	long home, away;
};

FIXTURE_VARIANT(move) {
	const struct mover *mover;
};

FIXTURE_VARIANT_ADD(move, move_pages_one) {
	.mover = &mover_one,
};

FIXTURE_VARIANT_ADD(move, move_pages_all) {
	.mover = &mover_all,
};

FIXTURE_VARIANT_ADD(move, mbind) {
	.mover = &mover_mbind,
};

FIXTURE_VARIANT_ADD(move, migrate_pages) {
	.mover = &mover_migrate,
};

FIXTURE_SETUP(move)
{
	/* A policy without MPOL_F_MOF: NUMA balancing keeps its hands off. */
	(void)sys_policy_local();
	thp_warm_up();
}

FIXTURE_TEARDOWN_PARENT(move)
{
	thp_teardown(_metadata);
}

/* Maps THPs of a kind and finds a node to send them to. */
#define SET_UP(kind) do {						\
	THP_REQUIRE_OK(thp_set_new(&self->set, kind, &self->why), &self->why); \
	self->home = node_of(self->set.map[0].thp);			\
	if (self->home != nodes[0] && self->home != nodes[1])		\
		self->home = nodes[0];					\
	self->away = other_node(self->home);				\
	THP_REQUIRE_OK(node_gives_thps(self->away, self->set.n, &self->why), &self->why); \
	THP_REQUIRE_OK(node_gives_thps(self->home, self->set.n, &self->why), &self->why); \
	/* Without this, THPs of several nodes to begin with. */	\
	THP_REQUIRE_OK(set_move(&self->set, &mover_mbind, self->home, &self->why), \
		       &self->why);					\
} while (0)

THP_COVERS(move, whole, "migrate-pmd migrate-entry-restore zap-pmd");
TEST_F(move, whole)
{
	long to;
	int i;

	NUMA_NEEDS(0);
	SET_UP(THP_ANON);
	for (i = 0; i < 2; i++) {
		to = i ? self->home : self->away;
		THP_REQUIRE_OK(thp_meter_start(&self->meter, 0, &self->why), &self->why);
		THP_REQUIRE_OK(set_move(&self->set, variant->mover, to, &self->why), &self->why);
		THP_CHECK_OK(thp_meter_stop(&self->meter, 0, 0, "migration", &self->why),
			     &self->why);
		THP_CHECK_OK(set_on_node(&self->set, to, &self->why), &self->why);
		THP_CHECK_OK(thp_set_intact(&self->set, THP_STATE_PMD, &self->why), &self->why);
	}
	THP_CHECK_OK(thp_set_zap(&self->set, thp_tables_mapped(THP_ANON), &self->why), &self->why);
	thp_set_destroy(&self->set);
}

/* A large folio that is mapped by PTEs needs nothing more, and stays so. */
THP_COVERS(move, pte_mapped, "migrate-pte-mapped split-mprotect");
TEST_F(move, pte_mapped)
{
	long to;
	int i;

	NUMA_NEEDS(0);
	SET_UP(THP_ANON);
	THP_REQUIRE_OK(thp_meter_start(&self->meter, 0, &self->why), &self->why);
	THP_REQUIRE_OK(thp_set_split(&self->set, &self->why), &self->why);
	THP_CHECK_OK(thp_set_stop_split(&self->set, &self->meter, "split",
					&self->why), &self->why);
	for (i = 0; i < 2; i++) {
		to = i ? self->home : self->away;
		THP_REQUIRE_OK(thp_meter_start(&self->meter, 0, &self->why), &self->why);
		THP_REQUIRE_OK(set_move(&self->set, variant->mover, to, &self->why), &self->why);
		THP_CHECK_OK(thp_meter_stop(&self->meter, 0, 0, "migration", &self->why),
			     &self->why);
		THP_CHECK_OK(set_on_node(&self->set, to, &self->why), &self->why);
		THP_CHECK_OK(thp_set_intact(&self->set, THP_STATE_PTE, &self->why), &self->why);
	}
	THP_CHECK_OK(thp_set_zap(&self->set, 1, &self->why), &self->why);
	thp_set_destroy(&self->set);
}

/* With a page missing, the folio waits to be split, and migration does it. */
THP_COVERS(move, partially_mapped, "migrate-partially-mapped zap-dontneed");
TEST_F(move, partially_mapped)
{
	size_t hole = thp_env.nr / 4, i;
	struct thp_map *m;
	unsigned int k;

	NUMA_NEEDS(0);
	SET_UP(THP_ANON);
	THP_REQUIRE_OK(thp_meter_start(&self->meter, 0, &self->why), &self->why);
	for (k = 0; k < self->set.n; k++)
		THP_REQUIRE(!madvise(thp_page(&self->set.map[k], hole), thp_env.page,
				     MADV_DONTNEED), "MADV_DONTNEED: %s", strerror(errno));
	THP_CHECK_OK(thp_set_stop_split(&self->set, &self->meter, "MADV_DONTNEED of a page",
					&self->why), &self->why);
	THP_REQUIRE_OK(thp_meter_start(&self->meter, 0, &self->why), &self->why);
	THP_REQUIRE_OK(set_move(&self->set, variant->mover, self->away, &self->why), &self->why);
	THP_CHECK_OK(thp_meter_stop(&self->meter, 0, 0, "migration", &self->why), &self->why);
	for (k = 0; k < self->set.n; k++) {
		m = &self->set.map[k];
		/* One page is all that move_pages() promises once the folio is split. */
		i = thp_env.nr / 2 + 1;
		THP_CHECK(node_of(thp_page(m, i)) == self->away,
			  "page %zu: expected node %ld, got %d", i, self->away,
			  node_of(thp_page(m, i)));
		THP_CHECK_OK(thp_map_expect(m, THP_STATE_PTE, &self->why), &self->why);
		THP_CHECK_OK(thp_map_check(m, 0, hole, &self->why), &self->why);
		THP_CHECK_OK(thp_check_zero(thp_page(m, hole), 1, &self->why), &self->why);
		THP_CHECK_OK(thp_map_check(m, hole + 1, thp_env.nr - hole - 1, &self->why),
			     &self->why);
	}
	THP_CHECK_OK(thp_set_zap(&self->set, 1, &self->why), &self->why);
	thp_set_destroy(&self->set);
}

/* The huge zero folio belongs to no node: refused or ignored, never split. */
THP_COVERS(move, huge_zero, "migrate-zero zap-pmd");
TEST_F(move, huge_zero)
{
	unsigned int i;
	int ret;

	NUMA_NEEDS(THP_NEED_ZERO);
	THP_REQUIRE_OK(thp_set_new(&self->set, THP_ZERO, &self->why), &self->why);
	THP_REQUIRE_OK(thp_meter_start(&self->meter, 0, &self->why), &self->why);
	for (i = 0; i < self->set.n; i++) {
		ret = variant->mover->move(&self->set.map[i], nodes[i % 2]);
		THP_CHECK(ret == variant->mover->zero || ret == -ENOENT,
			  "%s of a huge zero PMD: expected %s, got %s", variant->mover->name,
			  thp_errno_name(variant->mover->zero), thp_errno_name(ret));
	}
	THP_CHECK_OK(thp_meter_stop(&self->meter, 0, 0, "migration of a huge zero PMD", &self->why),
		     &self->why);
	THP_CHECK_OK(thp_set_intact(&self->set, THP_STATE_PMD_ZERO, &self->why), &self->why);
	THP_CHECK_OK(thp_set_zap(&self->set, thp_tables_mapped(THP_ANON), &self->why), &self->why);
	thp_set_destroy(&self->set);
}

/* ---------------------------------------------------------------- migration, special cases */

FIXTURE(migrate) {
	struct thp_set set;
	struct thp_meter meter;
	struct thp_why why;
	struct thp_child child;
	long home, away;
	int pipe[2];
};

FIXTURE_SETUP(migrate)
{
	(void)sys_policy_local();
	thp_warm_up();
}

FIXTURE_TEARDOWN_PARENT(migrate)
{
	thp_teardown(_metadata);
}

/* mbind() of a base page splits the VMA and the PMD, and moves the page. */
THP_COVERS(migrate, mbind_page, "split-mbind migrate-pte-mapped");
TEST_F(migrate, mbind_page)
{
	unsigned long mask[MASK_LONGS];
	unsigned int i;
	char *p;

	NUMA_NEEDS(0);
	SET_UP(THP_ANON);
	mask_of(self->away, mask);
	THP_REQUIRE_OK(thp_meter_start(&self->meter, 0, &self->why), &self->why);
	for (i = 0; i < self->set.n; i++) {
		p = thp_page(&self->set.map[i], thp_env.nr / 2 + 1);
		THP_REQUIRE(!sys_mbind(p, thp_env.page, MPOL_BIND, mask, MPOL_MF_MOVE),
			    "mbind of one page: %s", strerror(errno));
	}
	THP_CHECK_OK(thp_set_stop_split(&self->set, &self->meter, "mbind of a page",
					&self->why), &self->why);
	for (i = 0; i < self->set.n; i++) {
		p = thp_page(&self->set.map[i], thp_env.nr / 2 + 1);
		THP_CHECK(node_of(p) == self->away, "expected node %ld, got %d", self->away,
			  node_of(p));
	}
	THP_CHECK_OK(thp_set_intact(&self->set, THP_STATE_PTE, &self->why), &self->why);
	THP_CHECK_OK(thp_set_zap(&self->set, 1, &self->why), &self->why);
	thp_set_destroy(&self->set);
}

/* Two processes map the THPs; each step of the child is one of the parent's. */
static int sharer(struct thp_chan *chan, void *arg)
{
	enum thp_state state;
	struct thp_set *s = arg;
	unsigned int i;
	int ret = 0;

	thp_warm_up();
	thp_chan_post_parent(chan, 1);
	thp_chan_await_parent(chan, 2);
	state = chan->val[0];
	ret = thp_set_intact(s, state, &chan->why);
	if (ret)
		return ret;
	chan->val[1] = thp_obs_vmpte(0);
	for (i = 0; i < s->n; i++)
		munmap(s->map[i].thp, thp_env.pmd);
	chan->val[2] = thp_obs_vmpte(0);
	thp_chan_post_parent(chan, 3);
	thp_chan_await_parent(chan, 4);
	return 0;
}

#define SHARE() do {							\
	THP_REQUIRE_OK(thp_child_start(&self->child, sharer, &self->set), &self->why); \
	THP_REQUIRE_OK(thp_child_await(&self->child, 1, THP_STEP_MS), &self->why); \
} while (0)

/*
 * Ends the sharing: the child finds the THPs in @state, its tables have moved since
 * @vmpte by what that has cost, and go with the THPs.
 */
static int unshare_set(struct thp_child *c, const struct thp_set *s, enum thp_state state,
		       long long vmpte, struct thp_why *why)
{
	bool split = state == THP_STATE_PTE;
	long moved = split ? thp_tables_split(THP_ANON) : 0;
	long each = split ? 1 : thp_tables_mapped(THP_ANON);
	long long bytes = thp_obs_vmpte(c->pid) - vmpte;
	long n = s->n, got;
	int ret = 0, end;

	if (!thp_env_tables(bytes, &got) || got != moved * n)
		ret = thp_why(why, -EPROTO, "VmPTE of the child: expected %+ld tables, got %+lld B",
			      moved * n, bytes);
	c->chan->val[0] = state;
	thp_chan_post_child(c->chan, 2);
	if (!thp_child_await(c, 3, THP_STEP_MS)) {
		bytes = c->chan->val[1] - c->chan->val[2];
		if (!thp_env_tables(bytes, &got) || got != each * n)
			ret = thp_why(why, -EPROTO,
				      "child frees %lld B of tables, expected %ld tables", bytes,
				      each * n);
		thp_chan_post_child(c->chan, 4);
	}
	end = thp_child_join(c, THP_STEP_MS, why);
	return ret ? ret : end;
}

static int move_everywhere(struct thp_map *m, long node, int *status)
{
	void *page = thp_page(m, 3);
	int to = node;

	*status = -EIO;
	return sys_move_pages(0, 1, &page, &to, status, MPOL_MF_MOVE_ALL);
}

/* The entry stands in both processes, and both get their PMD back. */
THP_COVERS(migrate, shared, "migrate-pmd migrate-entry-restore migrate-shared");
TEST_F(migrate, shared)
{
	long long vmpte;
	unsigned int i;
	int status, ret;

	NUMA_NEEDS(THP_NEED_ROOT);
	SET_UP(THP_ANON);
	SHARE();
	vmpte = thp_obs_vmpte(self->child.pid);
	THP_REQUIRE_OK(thp_meter_start(&self->meter, 0, &self->why), &self->why);
	for (i = 0; i < self->set.n; i++) {
		ret = move_everywhere(&self->set.map[i], self->away, &status);
		THP_CHECK(!ret && status == self->away, "move_pages: %s, node %d, expected %ld",
			  thp_errno_name(ret), status, self->away);
	}
	THP_CHECK_OK(thp_meter_stop(&self->meter, 0, 0, "move_pages of a shared THP", &self->why),
		     &self->why);
	THP_CHECK_OK(set_on_node(&self->set, self->away, &self->why), &self->why);
	THP_CHECK_OK(thp_set_intact(&self->set, THP_STATE_PMD, &self->why), &self->why);
	THP_CHECK_OK(unshare_set(&self->child, &self->set, THP_STATE_PMD, vmpte, &self->why),
		     &self->why);
	THP_CHECK_OK(thp_set_zap(&self->set, thp_tables_mapped(THP_ANON), &self->why), &self->why);
	thp_set_destroy(&self->set);
}

/* Without MPOL_MF_MOVE_ALL a shared THP is refused, and nothing happens to it. */
THP_COVERS(migrate, shared_refused, "migrate-shared");
TEST_F(migrate, shared_refused)
{
	long long vmpte;
	unsigned int i;
	int ret;

	NUMA_NEEDS(0);
	SET_UP(THP_ANON);
	SHARE();
	vmpte = thp_obs_vmpte(self->child.pid);
	THP_REQUIRE_OK(thp_meter_start(&self->meter, 0, &self->why), &self->why);
	for (i = 0; i < self->set.n; i++) {
		ret = move_one(&self->set.map[i], self->away);
		THP_CHECK(ret == -EACCES, "move_pages of a shared THP: expected EACCES, got %s",
			  thp_errno_name(ret));
	}
	THP_CHECK_OK(thp_meter_stop(&self->meter, 0, 0, "move_pages of a shared THP", &self->why),
		     &self->why);
	THP_CHECK_OK(set_on_node(&self->set, self->home, &self->why), &self->why);
	THP_CHECK_OK(thp_set_intact(&self->set, THP_STATE_PMD, &self->why), &self->why);
	THP_CHECK_OK(unshare_set(&self->child, &self->set, THP_STATE_PMD, vmpte, &self->why),
		     &self->why);
	thp_set_destroy(&self->set);
}

/* A reference from elsewhere stops the copy: the old folio takes its PMD back. */
THP_COVERS(migrate, busy, "migrate-fail migrate-entry-restore migrate-pmd");
TEST_F(migrate, busy)
{
	struct iovec iov;
	unsigned int i;
	ssize_t n;

	NUMA_NEEDS(0);
	SET_UP(THP_ANON);
	THP_REQUIRE(!pipe(self->pipe), "pipe: %s", strerror(errno));
	for (i = 0; i < self->set.n; i++) {
		iov.iov_base = thp_page(&self->set.map[i], 5);
		iov.iov_len = thp_env.page;
		n = vmsplice(self->pipe[1], &iov, 1, SPLICE_F_NONBLOCK);
		THP_REQUIRE(n == (ssize_t)thp_env.page, "vmsplice: %zd (%s)", n, strerror(errno));
	}
	THP_REQUIRE_OK(thp_meter_start(&self->meter, 0, &self->why), &self->why);
	for (i = 0; i < self->set.n; i++)
		(void)move_one(&self->set.map[i], self->away);
	THP_CHECK_OK(thp_meter_stop(&self->meter, 0, 0, "move_pages of a busy THP", &self->why),
		     &self->why);
	THP_CHECK_OK(set_on_node(&self->set, self->home, &self->why), &self->why);
	THP_CHECK_OK(thp_set_intact(&self->set, THP_STATE_PMD, &self->why), &self->why);
	close(self->pipe[0]);
	close(self->pipe[1]);

	/* Nothing of the failed try is left. */
	THP_REQUIRE_OK(thp_meter_start(&self->meter, 0, &self->why), &self->why);
	THP_REQUIRE_OK(set_move(&self->set, &mover_one, self->away, &self->why), &self->why);
	THP_CHECK_OK(thp_meter_stop(&self->meter, 0, 0, "migration", &self->why), &self->why);
	THP_CHECK_OK(set_on_node(&self->set, self->away, &self->why), &self->why);
	THP_CHECK_OK(thp_set_intact(&self->set, THP_STATE_PMD, &self->why), &self->why);
	THP_CHECK_OK(thp_set_zap(&self->set, thp_tables_mapped(THP_ANON), &self->why), &self->why);
	thp_set_destroy(&self->set);
}

/* Order of a THP. */
static int pmd_order(void)
{
	return __builtin_ctzl(thp_env.nr);
}

/* No THP at the target: the source is split, and its base pages migrate. */
THP_COVERS(migrate, split_fallback, "migrate-split");
TEST_F(migrate, split_fallback)
{
	long n = thp_env.unit;
	int ret;

	NUMA_NEEDS(THP_NEED_FAIL_PAGE);
	SET_UP(THP_ANON);
	THP_REQUIRE_OK(thp_inject_setup(false, pmd_order(), &self->why), &self->why);
	THP_REQUIRE_OK(thp_meter_start(&self->meter, 0, &self->why), &self->why);
	thp_inject_task(getpid(), true);
	ret = set_move(&self->set, &mover_one, self->away, &self->why);
	thp_inject_task(getpid(), false);
	THP_CHECK_RESULT(ret, &self->why);
	THP_CHECK_OK(thp_set_stop_split(&self->set, &self->meter,
					"migration without free THPs", &self->why), &self->why);
	/* migrate_pages() tries again, which would hide a folio split that has failed. */
	THP_CHECK(!thp_meter_event(&self->meter, split_page_failed),
		  "thp_split_page_failed: expected +0, got %+lld",
		  thp_meter_event(&self->meter, split_page_failed));
	THP_CHECK(thp_meter_event(&self->meter, migrate_split) == n,
		  "thp_migration_split: expected +%ld, got %+lld", n,
		  thp_meter_event(&self->meter, migrate_split));
	THP_CHECK(thp_inject_fired() >= n, "injected failures: expected at least %ld, got %ld", n,
		  thp_inject_fired());
	THP_CHECK_OK(set_on_node(&self->set, self->away, &self->why), &self->why);
	THP_CHECK_OK(thp_set_intact(&self->set, THP_STATE_PTE, &self->why), &self->why);
	THP_CHECK_OK(thp_set_zap(&self->set, 1, &self->why), &self->why);
	thp_set_destroy(&self->set);
}

/* The same for two processes: each of them is split, and pays for itself. */
THP_COVERS(migrate, split_fallback_shared, "migrate-split multi-mm-split migrate-shared");
TEST_F(migrate, split_fallback_shared)
{
	long n = thp_env.unit;
	int ret = 0, status;
	long long vmpte;
	unsigned int i;

	NUMA_NEEDS(THP_NEED_FAIL_PAGE);
	SET_UP(THP_ANON);
	SHARE();
	vmpte = thp_obs_vmpte(self->child.pid);
	THP_REQUIRE_OK(thp_inject_setup(false, pmd_order(), &self->why), &self->why);
	THP_REQUIRE_OK(thp_meter_start(&self->meter, 0, &self->why), &self->why);
	thp_inject_task(getpid(), true);
	for (i = 0; i < self->set.n && !ret; i++)
		ret = move_everywhere(&self->set.map[i], self->away, &status);
	thp_inject_task(getpid(), false);
	THP_CHECK_OK(thp_meter_stop(&self->meter, n * thp_tables_split(THP_ANON), 2 * n,
				    "migration without free THPs", &self->why), &self->why);
	THP_CHECK(!thp_meter_event(&self->meter, split_page_failed),
		  "thp_split_page_failed: expected +0, got %+lld",
		  thp_meter_event(&self->meter, split_page_failed));
	THP_CHECK(!ret && status == self->away, "move_pages: %s, node %d, expected %ld",
		  thp_errno_name(ret), status, self->away);
	THP_CHECK_OK(set_on_node(&self->set, self->away, &self->why), &self->why);
	THP_CHECK_OK(thp_set_intact(&self->set, THP_STATE_PTE, &self->why), &self->why);
	THP_CHECK_OK(unshare_set(&self->child, &self->set, THP_STATE_PTE, vmpte, &self->why),
		     &self->why);
	THP_CHECK_OK(thp_set_zap(&self->set, 1, &self->why), &self->why);
	thp_set_destroy(&self->set);
}

/*
 * No THP, no table, no base page: migration fails. On an eager kernel the split
 * that it tried stands; on a lazy one even that is refused, and all is as before.
 */
THP_COVERS(migrate, starved, "migrate-split migrate-fail");
TEST_F(migrate, starved)
{
	bool lazy = thp_env.contract == THP_LAZY;
	long n = thp_env.unit;
	unsigned int i;
	char path[192];
	int fd;

	NUMA_NEEDS(THP_NEED_FAIL_PAGE);
	SET_UP(THP_ANON);
	THP_REQUIRE_OK(thp_inject_setup(false, 0, &self->why), &self->why);
	/* User pages, too. */
	snprintf(path, sizeof(path), "%s/fail_page_alloc/ignore-gfp-highmem", thp_env.debugfs);
	THP_REQUIRE_OK(thp_settings_set(path, "N"), &self->why);
	/* Opening a file could need memory: the switch is open before. */
	fd = open("/proc/self/make-it-fail", O_WRONLY);
	THP_REQUIRE(fd >= 0, "make-it-fail: %s", strerror(errno));
	THP_REQUIRE_OK(thp_meter_start(&self->meter, 0, &self->why), &self->why);
	THP_REQUIRE(pwrite(fd, "1", 1, 0) == 1, "make-it-fail: %s", strerror(errno));
	for (i = 0; i < self->set.n; i++)
		(void)move_one(&self->set.map[i], self->away);
	THP_REQUIRE(pwrite(fd, "0", 1, 0) == 1, "make-it-fail: %s", strerror(errno));
	close(fd);
	thp_inject_report("all", lazy, thp_inject_fired(), "not moved");
	THP_REQUIRE_OK(thp_meter_read(&self->meter, &self->why), &self->why);
	THP_CHECK_OK(thp_meter_splits(&self->meter, lazy ? 0 : n, "starved migration", &self->why),
		     &self->why);
	THP_CHECK_OK(thp_meter_tables(&self->meter, 0, "starved migration", &self->why),
		     &self->why);
	THP_CHECK(thp_inject_fired() >= n, "injected failures: expected at least %ld, got %ld", n,
		  thp_inject_fired());
	THP_CHECK_OK(set_on_node(&self->set, self->home, &self->why), &self->why);
	THP_CHECK_OK(thp_set_intact(&self->set, lazy ? THP_STATE_PMD : THP_STATE_PTE, &self->why),
		     &self->why);

	/* With memory the same call succeeds. */
	THP_REQUIRE_OK(thp_meter_start(&self->meter, 0, &self->why), &self->why);
	THP_REQUIRE_OK(set_move(&self->set, &mover_all, self->away, &self->why), &self->why);
	THP_CHECK_OK(thp_meter_stop(&self->meter, 0, 0, "migration", &self->why), &self->why);
	THP_CHECK_OK(set_on_node(&self->set, self->away, &self->why), &self->why);
	THP_CHECK_OK(thp_set_intact(&self->set, lazy ? THP_STATE_PMD : THP_STATE_PTE, &self->why),
		     &self->why);
	THP_CHECK_OK(thp_set_zap(&self->set, lazy ? 0 : 1, &self->why), &self->why);
	thp_set_destroy(&self->set);
}

/* Compaction has no business with THPs. */
THP_COVERS(migrate, compaction, "compaction");
TEST_F(migrate, compaction)
{
	THP_NEEDS(THP_NEED_ROOT | THP_NEED_COMPACTION);
	THP_REQUIRE_OK(thp_set_new(&self->set, THP_ANON, &self->why), &self->why);
	THP_REQUIRE_OK(thp_meter_start(&self->meter, 0, &self->why), &self->why);
	THP_REQUIRE_OK(thp_write_file("/proc/sys/vm/compact_memory", "1"), &self->why);
	THP_CHECK_OK(thp_meter_stop(&self->meter, 0, 0, "compaction", &self->why), &self->why);
	THP_CHECK_OK(thp_set_intact(&self->set, THP_STATE_PMD, &self->why), &self->why);
	THP_CHECK_OK(thp_set_zap(&self->set, thp_tables_mapped(THP_ANON), &self->why), &self->why);
	thp_set_destroy(&self->set);
}

/* ---------------------------------------------------------------- NUMA hinting */

/*
 * NUMA balancing takes the access to a range of a process away, round by round, to
 * see who wants it (task_numa_work()). A round begins where the last one has ended,
 * and that is in the middle of a THP if the VMA ended there: what follows was not
 * accessible then, and the two have been merged and collapsed since. Rounds come by
 * after so much CPU time of the process, so that it has to spend some.
 */
#define BALANCING "/proc/sys/kernel/numa_balancing"

/* CPU time between two rounds, about, and between two looks, ms. */
#define HINT_PERIOD_MS 800
#define HINT_LOOK_MS 50

FIXTURE(hint) {
	struct thp_map m;
	struct thp_meter meter;
	struct thp_why why;
	pthread_t idle;
	int gate[2];
};

FIXTURE_SETUP(hint)
{
	thp_warm_up();
}

FIXTURE_TEARDOWN_PARENT(hint)
{
	thp_teardown(_metadata);
}

static int hint_set(const char *name, unsigned long value)
{
	char path[192], text[24];

	snprintf(path, sizeof(path), "%s/sched/numa_balancing/%s", thp_env.debugfs, name);
	snprintf(text, sizeof(text), "%lu", value);
	return thp_settings_set(path, text);
}

/* Balancing off, and rounds of 1 MB, or what is left of a VMA up to the next PMD. */
static int hint_settings(void)
{
	/* The kernel divides the period by what is resident, in rounds. */
	unsigned long ms = HINT_PERIOD_MS * ((thp_env.pmd >> 20) + 3);
	int ret = thp_settings_set(BALANCING, "0");

	if (!ret)
		ret = hint_set("scan_size_mb", 1);
	if (!ret)
		ret = hint_set("scan_period_min_ms", ms);
	return ret ? ret : hint_set("scan_period_max_ms", ms);
}

/*
 * Whether the access to a page has been taken away; it is given back. Balancing must
 * be off: the stack, too, could be without access else.
 */
static bool hinted(const char *page)
{
	long before;

	(void)thp_obs_minor_faults();
	before = thp_obs_minor_faults();
	(void)thp_peek(page);
	return thp_obs_minor_faults() != before;
}

static void burn_ms(long ms)
{
	struct timespec ts;
	long long end;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
	end = ts.tv_sec * 1000LL + ts.tv_nsec / 1000000 + ms;
	do {
		clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
	} while (ts.tv_sec * 1000LL + ts.tv_nsec / 1000000 < end);
}

/*
 * Makes a THP of base pages, and leaves the next round to begin in the middle of it,
 * with balancing off.
 */
static int hint_place(struct thp_map *m, struct thp_why *why)
{
	char *half = thp_page(m, thp_env.nr / 2);
	size_t rest = m->area + m->area_len - half;
	bool found = false;
	int i, ret = 0;

	if (mprotect(half, rest, PROT_NONE))
		return thp_why(why, -errno, "mprotect: %s", strerror(errno));
	for (i = 0; i < 20 * HINT_PERIOD_MS / HINT_LOOK_MS && !ret && !found; i++) {
		ret = thp_write_file(BALANCING, "1");
		burn_ms(HINT_LOOK_MS);
		if (!ret)
			ret = thp_write_file(BALANCING, "0");
		found = hinted(thp_page(m, i % (thp_env.nr / 2)));
	}
	if (ret)
		return thp_why(why, ret, BALANCING ": %s", thp_errno_name(ret));
	if (!found)
		return thp_why(why, -ETIME, "NUMA balancing has not come by");
	if (mprotect(half, rest, PROT_READ | PROT_WRITE))
		return thp_why(why, -errno, "mprotect: %s", strerror(errno));
	ret = thp_map_check(m, 0, thp_env.nr, why);
	if (ret)
		return ret;
	(void)hinted(m->thp + thp_env.pmd);
	if (madvise(m->area, m->area_len, MADV_HUGEPAGE))
		return thp_why(why, -errno, "MADV_HUGEPAGE: %s", strerror(errno));
	ret = thp_map_collapse(m);
	if (ret == -ENOMEM)
		return thp_skip(why, "needs more free huge pages for MADV_COLLAPSE");
	if (ret)
		return thp_why(why, ret, "MADV_COLLAPSE: %s", thp_errno_name(ret));
	return thp_map_expect(m, THP_STATE_PMD, why);
}

/* Lets one round happen: the THP is split, or with @starved a table is refused. */
static int hint_round(struct thp_meter *meter, bool starved, struct thp_why *why)
{
	struct thp_events ev;
	bool done = false;
	int i, ret;

	ret = thp_write_file(BALANCING, "1");
	for (i = 0; i < 20 * HINT_PERIOD_MS / HINT_LOOK_MS && !ret && !done; i++) {
		burn_ms(HINT_LOOK_MS);
		ret = thp_obs_events(&ev);
		done = ev.split_pmd != meter->ev[0].split_pmd ||
		       (starved && thp_inject_fired() > 0);
	}
	if (!ret)
		ret = thp_write_file(BALANCING, "0");
	if (ret)
		return thp_why(why, ret, BALANCING ": %s", thp_errno_name(ret));
	return done ? 0 : thp_why(why, -ETIME, "no scan has begun in the middle of the THP");
}

static void *hint_idle(void *gate)
{
	char c;

	return read(*(int *)gate, &c, 1) < 0 ? gate : NULL;
}

/*
 * Maps a THP in the middle of which the next round begins. A second thread: of a
 * process that has but one, pages on its own node are left alone.
 */
#define HINT_SET_UP(needs) do {						\
	int __ret;							\
	THP_NEEDS(THP_NEED_ROOT | THP_NEED_COLLAPSE | (needs));		\
	__ret = hint_settings();					\
	if (__ret == -ENOENT || __ret == -ENOTSUP)			\
		THP_SKIP("needs NUMA balancing and its settings in debugfs (no lockdown)"); \
	THP_REQUIRE(!__ret, "NUMA balancing cannot be set up: %s", thp_errno_name(__ret)); \
	THP_REQUIRE(!pipe(self->gate), "pipe: %s", strerror(errno));	\
	__ret = pthread_create(&self->idle, NULL, hint_idle, &self->gate[0]); \
	THP_REQUIRE(!__ret, "pthread_create: %s", strerror(__ret));	\
	THP_REQUIRE_OK(thp_map_new(&self->m, THP_SMALL, &self->why), &self->why); \
	THP_REQUIRE_OK(hint_place(&self->m, &self->why), &self->why);	\
} while (0)

static void hint_end(struct thp_map *m, pthread_t idle, int *gate)
{
	close(gate[1]);
	pthread_join(idle, NULL);
	close(gate[0]);
	thp_map_destroy(m);
}

/* Older kernels (6.1 does, 6.12 does not) leave large folios that are split alone. */
static bool hints_after_split(void)
{
	return thp_env.release >= THP_RELEASE(6, 12);
}

/* PMD splits, and tables where one THP makes whole kB of them. */
static int hint_expect(struct thp_meter *meter, long tables, long splits, struct thp_why *why)
{
	int ret = thp_meter_read(meter, why);

	if (!ret)
		ret = thp_meter_splits(meter, splits, "NUMA hinting", why);
	if (!ret && thp_env.unit == 1)
		ret = thp_meter_tables(meter, tables, "NUMA hinting", why);
	return ret;
}

THP_COVERS(hint, split, "protect-numa");
TEST_F(hint, split)
{
	uint64_t updates, half = thp_env.nr / 2;

	HINT_SET_UP(0);
	updates = thp_obs_vmstat("numa_pte_updates");
	THP_REQUIRE_OK(thp_meter_start(&self->meter, 0, &self->why), &self->why);
	THP_REQUIRE_OK(hint_round(&self->meter, false, &self->why), &self->why);
	THP_CHECK_OK(hint_expect(&self->meter, thp_tables_split(THP_ANON), 1, &self->why),
		     &self->why);
	updates = thp_obs_vmstat("numa_pte_updates") - updates;
	if (hints_after_split()) {
		THP_CHECK(updates >= half && updates < UINT32_MAX,
			  "numa_pte_updates: expected at least +%llu, got +%llu",
			  (unsigned long long)half, (unsigned long long)updates);
		THP_CHECK(hinted(thp_page(&self->m, half)), "the upper half has kept its access");
	}
	THP_CHECK(!hinted(thp_page(&self->m, 0)), "the lower half has lost its access");
	THP_CHECK_OK(thp_map_expect(&self->m, THP_STATE_PTE, &self->why), &self->why);
	THP_CHECK_OK(thp_map_check(&self->m, 0, thp_env.nr, &self->why), &self->why);
	hint_end(&self->m, self->idle, self->gate);
}

/*
 * A hint is worth nothing to who has no memory: what cannot be split keeps its
 * access, counts as nothing, and the round goes on behind it.
 */
THP_COVERS(hint, starved, "protect-numa");
TEST_F(hint, starved)
{
	bool lazy = thp_env.contract == THP_LAZY;
	uint64_t updates, failed;
	long fired;

	HINT_SET_UP(THP_NEED_FAIL_PAGE);
	THP_REQUIRE_OK(thp_inject_setup(true, 0, &self->why), &self->why);
	updates = thp_obs_vmstat("numa_pte_updates");
	thp_inject_task(getpid(), true);
	THP_REQUIRE(!thp_inject_drain(-1), "PTE tables cannot be used up");
	THP_REQUIRE_OK(thp_meter_start(&self->meter, 0, &self->why), &self->why);
	THP_REQUIRE_OK(hint_round(&self->meter, true, &self->why), &self->why);
	thp_inject_task(getpid(), false);
	fired = thp_inject_fired();
	thp_inject_report("targeted", lazy, fired, "not hinted");
	THP_CHECK(lazy ? fired > 0 : !fired, "%ld tables refused, expected %s", fired,
		  lazy ? "at least 1" : "none");
	THP_CHECK_OK(hint_expect(&self->meter, 0, lazy ? 0 : 1, &self->why), &self->why);
	failed = thp_meter_event(&self->meter, split_pmd_failed);
	if (self->meter.ev[1].split_pmd_failed != THP_EVENT_NONE)
		THP_CHECK(failed == (uint64_t)lazy, "thp_split_pmd_failed: expected +%d, got +%llu",
			  lazy, (unsigned long long)failed);
	updates = thp_obs_vmstat("numa_pte_updates") - updates;
	THP_CHECK(updates < UINT32_MAX, "numa_pte_updates: +%llu, as if an error were a number",
		  (unsigned long long)updates);
	if (lazy || hints_after_split())
		THP_CHECK(hinted(thp_page(&self->m, thp_env.nr / 2)) == !lazy,
			  "the upper half has %s its access", lazy ? "lost" : "kept");
	if (lazy)
		THP_CHECK(hinted(self->m.thp + thp_env.pmd),
			  "the round ended at the THP that could not be split");
	THP_CHECK_OK(thp_map_expect(&self->m, lazy ? THP_STATE_PMD : THP_STATE_PTE, &self->why),
		     &self->why);
	THP_CHECK_OK(thp_map_check(&self->m, 0, thp_env.nr, &self->why), &self->why);
	hint_end(&self->m, self->idle, self->gate);
}

/* ---------------------------------------------------------------- device memory */

/*
 * A device that asks for memory where there is none yet gets a THP of its own,
 * mapped by a PMD like any other. How mapped memory gets to a device and back is
 * in the table of lib/split_ops.c.
 */
FIXTURE(device) {
	struct thp_set set;
	struct thp_meter meter;
	struct thp_why why;
};

FIXTURE_VARIANT(device) {
	enum thp_kind kind;
};

FIXTURE_VARIANT_ADD(device, none) { .kind = THP_NONE };
FIXTURE_VARIANT_ADD(device, zero) { .kind = THP_ZERO };

FIXTURE_SETUP(device)
{
	THP_NEEDS(THP_NEED_HMM_HUGE | thp_kind_needs(variant->kind));
	thp_warm_up();
	THP_REQUIRE_OK(thp_hmm_open(&self->why), &self->why);
}

FIXTURE_TEARDOWN_PARENT(device)
{
	thp_teardown(_metadata);
}

/* Asks for every range; 0 if each call returned @want. */
static int set_to_device(struct thp_set *s, int want, struct thp_why *why)
{
	unsigned int i;
	int ret;

	for (i = 0; i < s->n; i++) {
		ret = thp_hmm_to_device(s->map[i].thp, thp_env.pmd);
		if (ret != want)
			return thp_why(why, -EPROTO, "%s to the device: expected %s, got %s",
				       thp_kind_name(s->map[i].kind), thp_errno_name(want),
				       thp_errno_name(ret));
	}
	return 0;
}

/* Every range is one PMD and every page of it on the device. */
static int set_on_device(const struct thp_set *s, struct thp_why *why)
{
	unsigned int i;
	size_t p;
	int ret;

	for (i = 0; i < s->n; i++) {
		ret = thp_map_expect(&s->map[i], THP_STATE_PMD, why);
		if (ret)
			return ret;
		for (p = 0; p < thp_env.nr; p++)
			if (!thp_hmm_holds(thp_page(&s->map[i], p)))
				return thp_why(why, -EPROTO, "page %zu is not on the device", p);
	}
	return thp_check_zero(thp_hmm_buffer(), thp_env.nr, why);
}

/* Nothing of what the device asked for is there. */
static int set_as_before(const struct thp_set *s, struct thp_why *why)
{
	unsigned int i;
	int ret = 0;

	for (i = 0; i < s->n && !ret; i++)
		ret = thp_map_expect(&s->map[i], thp_kind_state(s->map[i].kind), why);
	return ret;
}

/* The huge zero PMD has a deposit already, if this kernel deposits. */
static long at_populate(enum thp_kind kind)
{
	return kind == THP_NONE ? thp_tables_mapped(THP_ANON) : 0;
}

THP_COVERS(device, populate, "fault-device-private");
TEST_F(device, populate)
{
	char *page;

	THP_REQUIRE_OK(thp_set_new(&self->set, variant->kind, &self->why), &self->why);
	THP_REQUIRE_OK(thp_meter_start(&self->meter, 0, &self->why), &self->why);
	THP_REQUIRE_OK(set_to_device(&self->set, 0, &self->why), &self->why);
	THP_CHECK_OK(thp_meter_stop(&self->meter, self->set.n * at_populate(variant->kind), 0,
				    "migration to the device", &self->why), &self->why);
	THP_CHECK_OK(set_on_device(&self->set, &self->why), &self->why);
	/* Straight from the device: nobody has looked at it. */
	THP_CHECK_OK(thp_set_zap(&self->set, thp_tables_mapped(THP_ANON), &self->why), &self->why);
	thp_set_destroy(&self->set);

	/* And another one, which comes back as a THP that can be written. */
	THP_REQUIRE_OK(thp_set_new(&self->set, variant->kind, &self->why), &self->why);
	THP_REQUIRE_OK(set_to_device(&self->set, 0, &self->why), &self->why);
	page = thp_page(&self->set.map[0], thp_env.nr / 2);
	THP_REQUIRE_OK(thp_meter_start(&self->meter, 0, &self->why), &self->why);
	thp_touch(page);
	THP_CHECK_OK(thp_meter_stop(&self->meter, 0, 0, "write to device memory", &self->why),
		     &self->why);
	THP_CHECK(!thp_hmm_holds(page), "written to, but still on the device");
	THP_CHECK_OK(thp_map_expect(&self->set.map[0], THP_STATE_PMD, &self->why), &self->why);
	THP_CHECK(thp_peek(page) == 1, "the byte that was written is lost");
	*page = 0;
	THP_CHECK_OK(thp_check_zero(self->set.map[0].thp, thp_env.nr, &self->why), &self->why);
	THP_CHECK_OK(thp_set_zap(&self->set, thp_tables_mapped(THP_ANON), &self->why), &self->why);
	thp_set_destroy(&self->set);
}

/* userfaultfd wants to know first: what was prepared for the PMD is given back. */
THP_COVERS(device, populate_missing, "fault-device-private fault-uffd-missing");
TEST_F(device, populate_missing)
{
	unsigned int i;
	int uffd;

	THP_NEEDS(THP_NEED_UFFD);
	uffd = thp_uffd_open(0);
	THP_REQUIRE(uffd >= 0, "userfaultfd: %s", thp_errno_name(uffd));
	THP_REQUIRE_OK(thp_set_new(&self->set, variant->kind, &self->why), &self->why);
	for (i = 0; i < self->set.n; i++)
		THP_REQUIRE_OK(thp_uffd_register(uffd, self->set.map[i].thp, thp_env.pmd,
						 UFFDIO_REGISTER_MODE_MISSING), &self->why);
	THP_REQUIRE_OK(thp_meter_start(&self->meter, 0, &self->why), &self->why);
	THP_CHECK_OK(set_to_device(&self->set, -ENOENT, &self->why), &self->why);
	THP_CHECK_OK(thp_meter_stop(&self->meter, 0, 0, "migration to the device", &self->why),
		     &self->why);
	THP_CHECK_OK(set_as_before(&self->set, &self->why), &self->why);
	close(uffd);
	THP_CHECK_OK(set_to_device(&self->set, 0, &self->why), &self->why);
	THP_CHECK_OK(set_on_device(&self->set, &self->why), &self->why);
	THP_CHECK_OK(thp_set_zap(&self->set, thp_tables_mapped(THP_ANON), &self->why), &self->why);
	thp_set_destroy(&self->set);
}

/* An eager kernel cannot deposit and leaves the range alone, a lazy one need not. */
THP_COVERS(device, populate_starved, "fault-device-private");
TEST_F(device, populate_starved)
{
	bool lazy = thp_env.contract == THP_LAZY;
	int ret;

	THP_NEEDS(THP_NEED_FAIL_PAGE);
	THP_REQUIRE_OK(thp_set_new(&self->set, variant->kind, &self->why), &self->why);
	THP_REQUIRE_OK(thp_inject_setup(true, 0, &self->why), &self->why);
	THP_REQUIRE_OK(thp_meter_start(&self->meter, 0, &self->why), &self->why);
	thp_inject_task(getpid(), true);
	ret = set_to_device(&self->set, lazy ? 0 : -ENOENT, &self->why);
	thp_inject_task(getpid(), false);
	THP_CHECK_RESULT(ret, &self->why);
	THP_CHECK(lazy ? !thp_inject_fired() : thp_inject_fired() >= (long)self->set.n,
		  "%ld tables refused, expected %s", thp_inject_fired(),
		  lazy ? "that none is asked for" : "one for each THP");
	THP_CHECK_OK(thp_meter_stop(&self->meter, 0, 0,
				    "migration without tables", &self->why), &self->why);
	if (!lazy) {
		THP_CHECK_OK(set_as_before(&self->set, &self->why), &self->why);
		THP_CHECK_OK(set_to_device(&self->set, 0, &self->why), &self->why);
	}
	THP_CHECK_OK(set_on_device(&self->set, &self->why), &self->why);
	THP_CHECK_OK(thp_set_zap(&self->set, thp_tables_mapped(THP_ANON), &self->why), &self->why);
	thp_set_destroy(&self->set);
}

/* What userfaultfd protects on the device is protected after a split of the PMD, too. */
THP_COVERS(device, protected_split, "protect-uffd-wp");
TEST_F(device, protected_split)
{
	size_t mid = thp_env.nr / 2, p;
	unsigned int i;
	uint64_t entry;
	int uffd;

	THP_NEEDS(THP_NEED_UFFD_WP);
	uffd = thp_uffd_open(UFFD_FEATURE_PAGEFAULT_FLAG_WP);
	THP_REQUIRE(uffd >= 0, "userfaultfd: %s", thp_errno_name(uffd));
	THP_REQUIRE_OK(thp_set_new(&self->set, variant->kind, &self->why), &self->why);
	THP_REQUIRE_OK(set_to_device(&self->set, 0, &self->why), &self->why);
	for (i = 0; i < self->set.n; i++) {
		char *thp = self->set.map[i].thp;

		THP_REQUIRE_OK(thp_uffd_register(uffd, thp, thp_env.pmd, UFFDIO_REGISTER_MODE_WP),
			       &self->why);
		THP_REQUIRE_OK(thp_uffd_wp(uffd, thp, thp_env.pmd, 1), &self->why);
	}
	THP_CHECK_OK(set_on_device(&self->set, &self->why), &self->why);
	THP_REQUIRE_OK(thp_meter_start(&self->meter, 0, &self->why), &self->why);
	for (i = 0; i < self->set.n; i++)
		THP_REQUIRE_OK(thp_uffd_wp(uffd, thp_page(&self->set.map[i], mid), thp_env.page, 0),
			       &self->why);
	THP_CHECK_OK(thp_set_stop_split(&self->set, &self->meter, "unprotecting one page",
					&self->why), &self->why);
	for (i = 0; i < self->set.n; i++) {
		for (p = 0; p < thp_env.nr; p++) {
			char *page = thp_page(&self->set.map[i], p);

			THP_REQUIRE(thp_hmm_holds(page), "page %zu is not on the device", p);
			THP_REQUIRE(!thp_obs_pagemap(page, &entry), "pagemap: %s",
				    strerror(errno));
			THP_REQUIRE(!!(entry & THP_PM_UFFD_WP) == (p != mid),
				    "page %zu is %suffd-wp", p, p == mid ? "" : "not ");
		}
	}
	close(uffd);
	THP_CHECK_OK(thp_set_zap(&self->set, 1, &self->why), &self->why);
	thp_set_destroy(&self->set);
}

/* ---------------------------------------------------------------- pages that go bad */

FIXTURE(offline) {
	struct thp_map map;
	struct thp_meter meter;
	struct thp_why why;
	char unpoison[192];
	uint64_t pfn;
};

FIXTURE_SETUP(offline)
{
	(void)sys_policy_local();
	thp_warm_up();
}

FIXTURE_TEARDOWN_PARENT(offline)
{
	thp_teardown(_metadata);
}

#define PFN_MASK ((1ULL << 55) - 1)

static long long corrupted_kb(void)
{
	static char text[8192];
	uint64_t kb;

	if (thp_read_file("/proc/meminfo", text, sizeof(text)) < 0 ||
	    thp_field_u64(text, "HardwareCorrupted", &kb))
		return -ENOENT;
	return kb;
}

/*
 * A page that was taken offline stays away until the next boot, unless the kernel
 * can be told that nothing was wrong with it. Where it cannot, the tests do not
 * run unless THP_SOFT_OFFLINE=1 says that the page may go: one per run.
 */
static const char *offline_missing(char *unpoison, size_t len)
{
	const char *missing = thp_env_missing(THP_NEED_ROOT | THP_NEED_MEMFAIL);
	const char *force = getenv("THP_SOFT_OFFLINE");

	if (missing)
		return missing;
	/* page_owner warns when such a page is given back: it was freed twice. */
	snprintf(unpoison, len, "%s/page_owner", thp_env.debugfs);
	if (thp_env.debugfs[0] && thp_file_exists(unpoison))
		return "needs a kernel without page_owner=on, which mistakes unpoisoned pages";
	snprintf(unpoison, len, "%s/hwpoison/unpoison-pfn", thp_env.debugfs);
	if (thp_env.debugfs[0] && !access(unpoison, W_OK))
		return NULL;
	unpoison[0] = '\0';
	if (force && !strcmp(force, "1"))
		return NULL;
	return "needs CONFIG_HWPOISON_INJECT to give the page back (or THP_SOFT_OFFLINE=1)";
}

/* The page is free by now, but may take a while to leave the per-CPU lists. */
static int unpoison(const char *path, uint64_t pfn)
{
	int try, ret = 0;

	if (!path[0])
		return 0;
	for (try = 0; try < 50; try++) {
		ret = thp_write_fmt(path, "%llu", (unsigned long long)pfn);
		if (!ret)
			return 0;
		thp_sleep_ms(20);
	}
	return ret;
}

/* The page moves elsewhere; that takes a folio of its own size, so a split. */
THP_COVERS(offline, soft, "soft-offline");
TEST_F(offline, soft)
{
	const char *missing = offline_missing(self->unpoison, sizeof(self->unpoison));
	size_t bad = thp_env.nr / 2 + 1;
	struct thp_map *m = &self->map;
	struct thp_map more[THP_SET_MAX];
	long long before, after;
	long n = thp_env.unit, k;
	uint64_t entry;
	int try, ret;

	if (missing)
		THP_SKIP(missing);
	ret = thp_settings_set("/proc/sys/vm/enable_soft_offline", "1");
	if (ret != -ENOENT)
		THP_REQUIRE_RESULT(ret, &self->why);
	THP_REQUIRE_OK(thp_map_new(m, THP_ANON, &self->why), &self->why);
	THP_REQUIRE_OK(thp_obs_pagemap(thp_page(m, bad), &entry), &self->why);
	self->pfn = entry & PFN_MASK;
	THP_REQUIRE(self->pfn, "pagemap shows no frame number");
	/*
	 * Only one page may go: where one table is less than 1 kB, the others that
	 * make up the kB are split in a way that costs nothing.
	 */
	for (k = 1; k < n && k < THP_SET_MAX; k++)
		THP_REQUIRE_OK(thp_map_new(&more[k], THP_ANON, &self->why), &self->why);
	before = corrupted_kb();
	THP_REQUIRE_OK(thp_meter_start(&self->meter, 0, &self->why), &self->why);
	for (k = 1; k < n && k < THP_SET_MAX; k++)
		THP_REQUIRE(!mprotect(thp_page(&more[k], 1), thp_env.page, PROT_READ),
			    "mprotect: %s", strerror(errno));
	/* Another CPU may hold the folio for an instant: EBUSY, and nothing changed. */
	for (try = 0; try < 10; try++) {
		ret = madvise(thp_page(m, bad), thp_env.page, MADV_SOFT_OFFLINE) ? -errno : 0;
		if (ret != -EBUSY && ret != -EAGAIN)
			break;
		THP_CHECK_OK(thp_map_check(m, 0, thp_env.nr, &self->why), &self->why);
		thp_sleep_ms(20);
	}
	THP_CHECK_OK(thp_meter_stop(&self->meter, n * thp_tables_split(THP_ANON), n,
				    "soft offline", &self->why), &self->why);
	THP_CHECK(!ret, "MADV_SOFT_OFFLINE: expected 0, got %s", thp_errno_name(ret));
	THP_CHECK_OK(thp_map_expect(m, THP_STATE_PTE, &self->why), &self->why);
	THP_CHECK_OK(thp_map_check(m, 0, thp_env.nr, &self->why), &self->why);
	THP_CHECK_OK(thp_obs_pagemap(thp_page(m, bad), &entry), &self->why);
	THP_CHECK((entry & THP_PM_PRESENT) && (entry & PFN_MASK) != self->pfn,
		  "page did not move: pagemap %#llx, frame was %#llx", (unsigned long long)entry,
		  (unsigned long long)self->pfn);
	after = corrupted_kb();
	THP_CHECK(before < 0 || after - before == (long long)thp_env.page / 1024,
		  "HardwareCorrupted: expected +%zu kB, got %+lld kB", thp_env.page / 1024,
		  after - before);
	for (k = 1; k < n && k < THP_SET_MAX; k++)
		thp_map_destroy(&more[k]);
	thp_map_destroy(m);
	ret = ret ? 0 : unpoison(self->unpoison, self->pfn);
	THP_CHECK(!ret, "unpoison-pfn: %s, one page is lost until reboot", thp_errno_name(ret));
}

/* The THP cannot be split for it: the page stays, and so does all else. */
THP_COVERS(offline, soft_starved, "soft-offline");
TEST_F(offline, soft_starved)
{
	const char *missing = offline_missing(self->unpoison, sizeof(self->unpoison));
	bool lazy = thp_env.contract == THP_LAZY;
	size_t bad = thp_env.nr / 2 + 1;
	struct thp_map *m = &self->map;
	long long before, after;
	uint64_t entry;
	int try, ret;

	if (missing)
		THP_SKIP(missing);
	/* One page per run is enough where it does not come back. */
	if (!self->unpoison[0])
		THP_SKIP("needs CONFIG_HWPOISON_INJECT to give the page back");
	THP_NEEDS(THP_NEED_FAIL_PAGE);
	ret = thp_settings_set("/proc/sys/vm/enable_soft_offline", "1");
	if (ret != -ENOENT)
		THP_REQUIRE_RESULT(ret, &self->why);
	THP_REQUIRE_OK(thp_map_new(m, THP_ANON, &self->why), &self->why);
	THP_REQUIRE_OK(thp_obs_pagemap(thp_page(m, bad), &entry), &self->why);
	self->pfn = entry & PFN_MASK;
	THP_REQUIRE(self->pfn, "pagemap shows no frame number");
	THP_REQUIRE_OK(thp_inject_setup(true, 0, &self->why), &self->why);
	before = corrupted_kb();
	/* Another CPU may hold the folio for an instant; that is no refusal. */
	for (try = 0; try < 10; try++) {
		thp_inject_task(getpid(), true);
		THP_CHECK(!thp_inject_drain(-1), "PTE tables cannot be used up");
		ret = madvise(thp_page(m, bad), thp_env.page, MADV_SOFT_OFFLINE) ? -errno : 0;
		thp_inject_task(getpid(), false);
		if (!ret || thp_inject_fired())
			break;
		thp_sleep_ms(20);
	}
	after = corrupted_kb();
	thp_inject_report("targeted", lazy, thp_inject_fired(), "%s", thp_errno_name(ret));
	if (lazy) {
		THP_CHECK(thp_inject_fired() > 0, "soft offline asked for no table");
		THP_CHECK(ret == -EBUSY, "MADV_SOFT_OFFLINE: expected EBUSY, got %s",
			  thp_errno_name(ret));
		THP_CHECK(before == after, "HardwareCorrupted: expected +0 kB, got %+lld kB",
			  after - before);
		THP_CHECK_OK(thp_map_expect(m, THP_STATE_PMD, &self->why), &self->why);
		THP_CHECK_OK(thp_map_check(m, 0, thp_env.nr, &self->why), &self->why);
		for (try = 0; try < 10 && ret; try++) {
			ret = madvise(thp_page(m, bad), thp_env.page, MADV_SOFT_OFFLINE) ?
			      -errno : 0;
			if (ret)
				thp_sleep_ms(20);
		}
	} else {
		THP_CHECK(!thp_inject_fired(), "soft offline asked for %ld tables, expected none",
			  thp_inject_fired());
	}
	THP_CHECK(!ret, "MADV_SOFT_OFFLINE: expected 0, got %s", thp_errno_name(ret));
	THP_CHECK_OK(thp_map_expect(m, THP_STATE_PTE, &self->why), &self->why);
	THP_CHECK_OK(thp_map_check(m, 0, thp_env.nr, &self->why), &self->why);
	thp_map_destroy(m);
	ret = ret ? 0 : unpoison(self->unpoison, self->pfn);
	THP_CHECK(!ret, "unpoison-pfn: %s, one page is lost until reboot", thp_errno_name(ret));
}

static sigjmp_buf bus_return;
static bool bus_jumps;

/* madvise() itself may send the signal, and still returns. */
static void on_bus(int sig)
{
	if (bus_jumps)
		siglongjmp(bus_return, sig);
}

/* In a child: how memory_failure() kills must not reach the test. */
static int poisoned(struct thp_chan *chan, void *arg)
{
	size_t bad = thp_env.nr / 2 + 1, k;
	struct thp_why *why = &chan->why;
	struct thp_set *s = arg;
	struct thp_map *m;
	struct thp_meter before;
	uint64_t entry;
	int ret;

	thp_warm_up();
	ret = thp_set_new(s, THP_ANON, why);
	if (ret)
		return ret;
	m = &s->map[0];
	ret = thp_obs_pagemap(thp_page(m, bad), &entry);
	if (ret || !(entry & PFN_MASK))
		return thp_why(why, -EIO, "pagemap shows no frame number");
	ret = thp_meter_start(&before, 0, why);
	for (k = 1; k < s->n && !ret; k++)
		ret = mprotect(thp_page(&s->map[k], 1), thp_env.page, PROT_READ) ? -errno : 0;
	if (ret)
		return thp_why(why, ret, "mprotect: %s", thp_errno_name(ret));
	signal(SIGBUS, on_bus);
	chan->val[0] = entry & PFN_MASK;
	if (madvise(thp_page(m, bad), thp_env.page, MADV_HWPOISON))
		return thp_why(why, -errno, "MADV_HWPOISON: expected 0, got %s",
			       thp_errno_name(errno));
	ret = thp_set_stop_split(s, &before, "memory failure", why);
	if (!ret)
		ret = thp_map_expect(m, THP_STATE_PTE, why);
	if (!ret)
		ret = thp_map_check(m, 0, bad, why);
	if (!ret)
		ret = thp_map_check(m, bad + 1, thp_env.nr - bad - 1, why);
	if (ret)
		return ret;
	bus_jumps = true;
	if (!sigsetjmp(bus_return, 1)) {
		thp_peek(thp_page(m, bad));
		return thp_why(why, -EPROTO, "a page beyond rescue can be read");
	}
	return 0;
}

/* The same with a page that is beyond rescue: the rest of the THP survives. */
THP_COVERS(offline, hard, "hwpoison");
TEST_F(offline, hard)
{
	const char *missing = offline_missing(self->unpoison, sizeof(self->unpoison));
	struct thp_child child = { 0 };
	static struct thp_set set;
	siginfo_t info;
	int ret;

	if (missing)
		THP_SKIP(missing);
	THP_NEEDS(THP_NEED_POISON);
	/* One page per run is enough where it does not come back. */
	if (!self->unpoison[0])
		THP_SKIP("needs CONFIG_HWPOISON_INJECT to give the page back");
	THP_REQUIRE_OK(thp_map_new(&self->map, THP_ANON, &self->why), &self->why);
	thp_map_destroy(&self->map);
	THP_REQUIRE_OK(thp_child_start(&child, poisoned, &set), &self->why);
	/* Its channel goes with the join. */
	THP_REQUIRE(!waitid(P_PID, child.pid, &info, WEXITED | WNOWAIT), "waitid: %s",
		    strerror(errno));
	self->pfn = child.chan->val[0];
	THP_CHECK_OK(thp_child_join(&child, THP_STEP_MS, &self->why), &self->why);
	ret = self->pfn ? unpoison(self->unpoison, self->pfn) : 0;
	THP_CHECK(!ret, "unpoison-pfn: %s, one page is lost until reboot", thp_errno_name(ret));
}

/* ---------------------------------------------------------------- races: actors */

/*
 * Who may write what. Pages of a THP belong to the actor whose number they carry;
 * all others of a race keep the pattern that thp_map_fault() left. Races that zap
 * the whole THP use words instead: the first word of an actor's page is what it
 * wrote last or, after a zap, zero.
 */
#define OWN_PAGES 4

static size_t own_page(const struct thp_actor *a, size_t k)
{
	return (size_t)a->slot * OWN_PAGES + k;
}

static size_t stable_page(const struct thp_actor *a)
{
	size_t first = THP_RACE_ACTORS * OWN_PAGES + 1;

	return first + (size_t)a->loops * 7 % (thp_env.nr - first);
}

static int fill_own(struct thp_race *r, struct thp_actor *a)
{
	size_t k;

	for (k = 0; k < OWN_PAGES; k++)
		thp_fill(thp_page(&r->map, own_page(a, k)), r->map.seed, own_page(a, k));
	return 0;
}

static int check_own(struct thp_race *r, struct thp_actor *a, struct thp_why *why)
{
	return thp_map_check(&r->map, own_page(a, 0), OWN_PAGES, why);
}

static int check_stable(struct thp_race *r, struct thp_actor *a, struct thp_why *why)
{
	return thp_map_check(&r->map, stable_page(a), 1, why);
}

static int protect_cycle(struct thp_race *r, struct thp_actor *a, struct thp_why *why)
{
	return thp_split_at(thp_page(&r->map, own_page(a, 1)), why);
}

static int dump_cycle(struct thp_race *r, struct thp_actor *a, struct thp_why *why)
{
	char *p = thp_page(&r->map, own_page(a, 1));

	if (madvise(p, thp_env.page, MADV_DONTDUMP) || madvise(p, thp_env.page, MADV_DODUMP))
		return thp_why(why, -errno, "MADV_DONTDUMP: %s", strerror(errno));
	return 0;
}

static int zap_own(struct thp_race *r, struct thp_actor *a, struct thp_why *why)
{
	char *p = thp_page(&r->map, own_page(a, 2));

	if (madvise(p, thp_env.page, MADV_DONTNEED))
		return thp_why(why, -errno, "MADV_DONTNEED: %s", strerror(errno));
	return thp_check_zero(p, 1, why);
}

static int cold(struct thp_race *r, struct thp_actor *a, struct thp_why *why)
{
	char *p = thp_page(&r->map, own_page(a, 3));

	/* Unknown before Linux 5.4; elsewhere it is advice that always succeeds. */
	if (madvise(p, thp_env.page, MADV_COLD) && errno != EINVAL)
		return thp_why(why, -errno, "MADV_COLD: %s", strerror(errno));
	return 0;
}

/* Splits the PMD in one way after the other. */
static int act_split(struct thp_race *r, struct thp_actor *a, struct thp_why *why)
{
	int (* const ways[])(struct thp_race *r, struct thp_actor *a, struct thp_why *why) = {
		protect_cycle, dump_cycle, zap_own, cold,
	};
	int ret = ways[a->loops % 4](r, a, why);

	if (ret)
		return ret;
	fill_own(r, a);
	return check_own(r, a, why);
}

/* The same where somebody zaps everything: its words only. */
static int act_split_words(struct thp_race *r, struct thp_actor *a, struct thp_why *why)
{
	int (* const ways[])(struct thp_race *r, struct thp_actor *a, struct thp_why *why) = {
		protect_cycle, dump_cycle, zap_own, cold,
	};

	return ways[a->loops % 4](r, a, why);
}

static int act_touch(struct thp_race *r, struct thp_actor *a, struct thp_why *why)
{
	int ret = check_own(r, a, why);

	if (!ret)
		ret = check_stable(r, a, why);
	fill_own(r, a);
	return ret;
}

static int act_words(struct thp_race *r, struct thp_actor *a, struct thp_why *why)
{
	uint64_t *w = (uint64_t *)thp_page(&r->map, own_page(a, 0)), got;

	got = __atomic_load_n(w, __ATOMIC_RELAXED);
	if (got && got != (uint64_t)a->loops)
		return thp_why(why, -EILSEQ, "expected %ld or 0, found %#llx", a->loops,
			       (unsigned long long)got);
	if (!got)
		a->hits++;
	__atomic_store_n(w, a->loops + 1, __ATOMIC_RELAXED);
	return 0;
}

/* Takes all of the memory away: at once, or by mapping something else over it. */
static int act_zap(struct thp_race *r, struct thp_actor *a, struct thp_why *why)
{
	void *p = r->map.thp;
	uint64_t *w;

	if (a->loops % 2) {
		p = mmap(p, thp_env.pmd, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
		if (p == MAP_FAILED || madvise(p, thp_env.pmd, MADV_HUGEPAGE))
			return thp_why(why, -errno, "mmap: %s", strerror(errno));
	} else if (madvise(p, thp_env.pmd, MADV_DONTNEED)) {
		return thp_why(why, -errno, "MADV_DONTNEED: %s", strerror(errno));
	}
	/* A huge fault, if it comes first; only this actor writes this word. */
	w = (uint64_t *)thp_page(&r->map, own_page(a, 0));
	if (*w)
		return thp_why(why, -EILSEQ, "zapped memory reads %#llx", (unsigned long long)*w);
	*w = a->loops + 1;
	return 0;
}

/* May fail for any passing reason, but must not change contents. */
static int act_collapse(struct thp_race *r, struct thp_actor *a, struct thp_why *why)
{
	if (!madvise(r->map.thp, thp_env.pmd, MADV_COLLAPSE)) {
		a->hits++;
		return 0;
	}
	switch (errno) {
	case EAGAIN:
	case EBUSY:
	case ENOMEM:
	case EINVAL:
		return 0;
	}
	return thp_why(why, -errno, "MADV_COLLAPSE: %s", strerror(errno));
}

/* The handshake of two actors that are to be at it at the same time. */
enum { IDLE, GO, MEETING, DONE };

static int race_phase;

static void phase(int next)
{
	__atomic_store_n(&race_phase, next, __ATOMIC_SEQ_CST);
}

static int phase_now(void)
{
	return __atomic_load_n(&race_phase, __ATOMIC_SEQ_CST);
}

/* True, or false if the race is over. */
static bool await_phase(const struct thp_race *r, int wanted)
{
	while (phase_now() != wanted) {
		if (__atomic_load_n(&r->ended, __ATOMIC_SEQ_CST))
			return false;
		sched_yield();
	}
	return true;
}

/* The last collapse did. */
static bool collapse_worked;

/*
 * There is something to collapse every time, and somebody to meet: what has to be
 * swapped in first, after the look at the pages, gives him time.
 */
static int act_recollapse(struct thp_race *r, struct thp_actor *a, struct thp_why *why)
{
	void *swapped = r->map.thp + thp_env.pmd / 2;
	int ret = zap_own(r, a, why);
	long hits = a->hits;

	fill_own(r, a);
	if (!ret && madvise(swapped, thp_env.pmd / 8, MADV_PAGEOUT) && errno != EINVAL)
		ret = thp_why(why, -errno, "MADV_PAGEOUT: %s", strerror(errno));
	if (ret || !await_phase(r, IDLE))
		return ret;
	phase(GO);
	/* Else it may be over before the other has seen that it began. */
	if (!await_phase(r, MEETING))
		return 0;
	ret = act_collapse(r, a, why);
	collapse_worked = a->hits > hits;
	phase(DONE);
	return ret ? ret : check_own(r, a, why);
}

#define PREY_CYCLES 32

/*
 * Splits a folio and offers its pages to reclaim, which has to wait for the rmap
 * lock as long as VMA splits hold it: a lock that is free is only tried, and lock
 * debugging learns nothing from that.
 */
static int act_prey(struct thp_race *r, struct thp_actor *a, struct thp_why *why)
{
	int ret = act_collapse(r, a, why), i;

	if (!ret)
		ret = cold(r, a, why);
	if (!ret && madvise(r->map.thp, thp_env.pmd, MADV_COLD) && errno != EINVAL)
		ret = thp_why(why, -errno, "MADV_COLD: %s", strerror(errno));
	for (i = 0; !ret && i < PREY_CYCLES; i++)
		ret = protect_cycle(r, a, why);
	return ret;
}

/*
 * Takes a page while a collapse is under way. If that succeeded all the same, the next
 * time earlier, else later: around the moment at which it comes to take the page that
 * it has found free before.
 */
static int act_pin(struct thp_race *r, struct thp_actor *a, struct thp_why *why)
{
	struct iovec iov = { thp_page(&r->map, stable_page(a)), 1 };
	static int fds[2] = { -1, -1 };
	static long long us = -1;
	long long begin;
	char byte;

	if (fds[0] < 0 && pipe2(fds, O_CLOEXEC))
		return thp_why(why, -errno, "pipe: %s", strerror(errno));
	if (!await_phase(r, GO))
		return 0;
	phase(MEETING);
	begin = thp_now_us();
	if (us >= 0) {
		thp_spin_us(us);
		if (vmsplice(fds[1], &iov, 1, 0) != 1)
			return thp_why(why, -errno, "vmsplice: %s", strerror(errno));
		a->hits += phase_now() == MEETING;
	}
	if (!await_phase(r, DONE))
		return 0;
	if (us >= 0 && read(fds[0], &byte, 1) != 1)
		return thp_why(why, -errno, "read: %s", strerror(errno));
	if (us >= 0)
		us += collapse_worked ? -(us / 16) : us / 16 + 1;
	else if (collapse_worked)
		us = (thp_now_us() - begin) / 2;
	phase(IDLE);
	return 0;
}

static int act_pageout(struct thp_race *r, struct thp_actor *a, struct thp_why *why)
{
	(void)a;
	if (madvise(r->map.thp, thp_env.pmd, MADV_PAGEOUT) && errno != EINVAL)
		return thp_why(why, -errno, "MADV_PAGEOUT: %s", strerror(errno));
	return 0;
}

/* Files that reclaim from the nodes with memory; the second may be empty. */
static char node_reclaim[2][64];

/*
 * Reclaim as kswapd does it: less than it was asked for is -EAGAIN. Only what is
 * swapped out has taken rmap locks to wait for. Little at a time, as one call beside
 * busy threads may last as long as the race.
 */
static int act_reclaim(struct thp_race *r, struct thp_actor *a, struct thp_why *why)
{
	const char *file = node_reclaim[node_reclaim[1][0] ? a->loops % 2 : 0];
	uint64_t before = thp_obs_vmstat("pswpout");
	int ret = thp_write_file(file, "128K swappiness=max");

	(void)r;
	if (ret && ret != -EAGAIN && ret != -EBUSY)
		return thp_why(why, ret, "%s: %s", file, thp_errno_name(ret));
	a->hits += thp_obs_vmstat("pswpout") != before;
	return 0;
}

static int act_move(struct thp_race *r, struct thp_actor *a, struct thp_why *why)
{
	void *page = thp_page(&r->map, a->loops / 2 % thp_env.nr);
	int to = r->nodes[a->loops % 2], status = -EIO;
	long ret;

	/* Any page may be refused; the call itself works. */
	ret = sys_move_pages(0, 1, &page, &to, &status, MPOL_MF_MOVE);
	if (ret && ret != -ENOENT)
		return thp_why(why, ret, "move_pages: %s", thp_errno_name(ret));
	a->hits += status == to;
	return 0;
}

/* Forks: @look runs in the child, which must not use locks or stdio. */
static int fork_and_look(struct thp_race *r, struct thp_actor *a,
			 int (*look)(struct thp_race *r, struct thp_actor *a), struct thp_why *why)
{
	struct thp_chan *chan = r->chan;
	int status;
	pid_t pid;

	thp_why_clear(&chan->why);
	pid = fork();
	if (pid < 0)
		return thp_why(why, -errno, "fork: %s", strerror(errno));
	if (!pid)
		_exit(look(r, a) ? 1 : 0);
	if (waitpid(pid, &status, 0) != pid)
		return thp_why(why, -errno, "waitpid: %s", strerror(errno));
	if (WIFSIGNALED(status))
		return thp_why(why, -EPROTO, "child killed by signal %d", WTERMSIG(status));
	if (WEXITSTATUS(status))
		return thp_why_from(why, -EPROTO, &chan->why, "child");
	return 0;
}

/* One table, or none where a PMD needs none; more is a leak, less an underflow. */
static int child_zap(struct thp_race *r, long most)
{
	long long before, after;
	long got;

	before = thp_obs_vmpte(0);
	munmap(r->map.thp, thp_env.pmd);
	after = thp_obs_vmpte(0);
	if (thp_env.unit > 1)
		return 0;
	if (!thp_env_tables(before - after, &got) || got < 0 || got > most)
		return thp_why(&r->chan->why, -EPROTO,
			       "munmap frees %lld B of tables, expected 0 to %ld tables",
			       before - after, most);
	return 0;
}

static int look_stable(struct thp_race *r, struct thp_actor *a)
{
	size_t first = THP_RACE_ACTORS * OWN_PAGES + 1;
	int ret;

	ret = check_stable(r, a, &r->chan->why);
	if (!ret)
		ret = thp_map_check(&r->map, first, 4, &r->chan->why);
	if (!ret)
		thp_touch(thp_page(&r->map, own_page(a, 0)));
	return ret ? ret : child_zap(r, 1);
}

static int look_words(struct thp_race *r, struct thp_actor *a)
{
	thp_touch(thp_page(&r->map, own_page(a, 0)));
	return child_zap(r, 1);
}

static int act_fork(struct thp_race *r, struct thp_actor *a, struct thp_why *why)
{
	return fork_and_look(r, a, look_stable, why);
}

static int act_fork_words(struct thp_race *r, struct thp_actor *a, struct thp_why *why)
{
	return fork_and_look(r, a, look_words, why);
}

/* ---------------------------------------------------------------- races: the frame */

/* Steps of the first actor, and the time that ends most races before. */
#define RACE_LOOPS 2000
#define RACE_MS 400

struct race_set {
	struct thp_actor actors[THP_RACE_ACTORS];
	uint64_t needs;
	bool words;		/* somebody zaps: the pattern is not kept */
	int ms;
	long min_hits;
};

/* /proc/self/pagemap of a race's process. */
static int pagemap_fd = -1;

/* What the child leaves behind for the log. */
struct race_report {
	long loops[THP_RACE_ACTORS];
	long hits[THP_RACE_ACTORS];
};

struct race_arg {
	const struct race_set *set;
	struct race_report *report;
};

/* Gives everything back: the tables of the range are what its state says. */
static int settle(struct thp_race *r, long long base, struct thp_why *why)
{
	long long before, after;
	enum thp_state state;
	long got, lo, hi;
	int ret;

	ret = thp_obs_state(r->map.thp, thp_env.pmd, &state);
	if (ret)
		return thp_why(why, ret, "page map: %s", thp_errno_name(ret));
	before = thp_obs_vmpte(0);
	ret = thp_map_zap(&r->map);
	after = thp_obs_vmpte(0);
	if (ret)
		return thp_why(why, ret, "munmap: %s", thp_errno_name(ret));
	/* An empty range may have kept its table; a single one may be below 1 kB. */
	lo = state == THP_STATE_PMD ? thp_tables_mapped(THP_ANON) : state == THP_STATE_PTE ? 1 : 0;
	hi = state == THP_STATE_PMD ? thp_tables_mapped(THP_ANON) : 1;
	if (thp_env.unit == 1 && state != THP_STATE_UNKNOWN &&
	    (!thp_env_tables(before - after, &got) || got < lo || got > hi))
		return thp_why(why, -EPROTO,
			       "munmap of a %s range frees %lld B of tables, expected %ld to %ld tables",
			       thp_state_name(state), before - after, lo, hi);
	thp_map_destroy(&r->map);
	if (r->map.aux)
		r->map.aux = NULL;
	after = thp_obs_vmpte(0);
	if (after != base)
		return thp_why(why, -EPROTO, "VmPTE with all unmapped: expected %lld B, got %lld B",
			       base, after);
	return 0;
}

static long swapped_pages(struct thp_race *r)
{
	uint64_t entry;
	long found = 0;
	size_t i;

	for (i = 0; i < thp_env.nr; i++)
		found += !thp_obs_pagemap(thp_page(&r->map, i), &entry) && entry & THP_PM_SWAPPED;
	return found;
}

/*
 * Each actor alone, once: a race between operations that have no effect is none. What
 * they do while others are about may fail for passing reasons; alone it has to work.
 */
static int prove_actor(struct thp_race *r, struct thp_actor *a, struct thp_why *why)
{
	int (*step)(struct thp_race *r, struct thp_actor *a, struct thp_why *why) = a->step;
	int try, ret;

	a->race = r;
	/* The collapse in it; the rest of it waits for its partner. */
	if (step == act_recollapse)
		step = act_collapse;
	if (step == act_split || step == act_split_words) {
		ret = step(r, a, why);
		return ret ? ret : thp_map_expect(&r->map, THP_STATE_PTE, why);
	}
	if (step == act_pageout) {
		for (try = 0; try < 20; try++) {
			ret = step(r, a, why);
			if (ret || swapped_pages(r) > 0)
				return ret;
		}
		return thp_why(why, -EPROTO, "MADV_PAGEOUT alone: nothing swapped in %d tries",
			       try);
	}
	if (step != act_collapse && step != act_move)
		return 0;
	ret = step == act_collapse ? protect_cycle(r, a, why) : 0;
	if (!ret && step == act_collapse)
		ret = thp_map_expect(&r->map, THP_STATE_PTE, why);
	for (try = 0; !ret && !a->hits && try < 20; try++, a->loops++) {
		ret = step(r, a, why);
		if (!ret && !a->hits)
			thp_sleep_ms(10);
	}
	if (!ret && !a->hits)
		ret = thp_why(why, -EPROTO, "%s alone: 0 of %d tries worked", a->name, try);
	return ret || step != act_collapse ? ret : thp_map_expect(&r->map, THP_STATE_PMD, why);
}

/* All of them, on copies; the range is faulted in anew for the race. */
static int prove_actors(struct thp_race *r, const struct thp_actor *actors, int n,
			struct thp_why *why)
{
	struct thp_actor copy;
	int ret = 0, i;

	for (i = 0; i < n && !ret; i++) {
		copy = actors[i];
		copy.slot = i;
		ret = prove_actor(r, &copy, why);
	}
	if (!ret && madvise(r->map.thp, thp_env.pmd, MADV_DONTNEED))
		ret = thp_why(why, -errno, "MADV_DONTNEED: %s", strerror(errno));
	return ret ? ret : thp_map_fault(&r->map, why);
}

static int race_body(struct thp_chan *chan, void *arg)
{
	struct thp_actor actors[THP_RACE_ACTORS];
	struct thp_why *why = &chan->why;
	static struct thp_race race;
	struct race_arg *ra = arg;
	long long base;
	int ret, i, n;

	memcpy(actors, ra->set->actors, sizeof(actors));
	for (n = 0; n < THP_RACE_ACTORS && actors[n].step; n++)
		;
	race.nodes[0] = nodes[0];
	race.nodes[1] = nodes[1];
	race.max_loops = RACE_LOOPS * (int)thp_env.scale;
	race.max_ms = ra->set->ms * (int)thp_env.scale;
	race.min_hits = ra->set->min_hits;
	ret = thp_race_warm_up(&race);
	if (ret)
		return thp_why(why, ret, "threads: %s", thp_errno_name(ret));
	/* Bound to the memory of whoever opens it: not inherited. */
	pagemap_fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	base = thp_obs_vmpte(0);
	ret = thp_map_new(&race.map, THP_ANON, why);
	if (!ret)
		ret = prove_actors(&race, actors, n, why);
	if (ret)
		return ret;
	if (ra->set->words)
		madvise(race.map.thp, thp_env.pmd, MADV_DONTNEED);
	ret = thp_race_run(&race, actors, n, why);
	for (i = 0; i < n; i++) {
		ra->report->loops[i] = actors[i].loops;
		ra->report->hits[i] = actors[i].hits;
	}
	if (!ret && !ra->set->words)
		ret = thp_map_check(&race.map, 0, thp_env.nr, why);
	return ret ? ret : settle(&race, base, why);
}

#define RUN_RACE(race_set) do {						\
	struct race_arg __arg = { .set = race_set };			\
	const char *__missing;						\
	long long __residue;						\
	int __i;							\
									\
	__missing = (__arg.set->needs & THP_NEED_NODES) ?		\
		    numa_missing(__arg.set->needs) : thp_env_missing(__arg.set->needs); \
	if (__missing)							\
		THP_SKIP(__missing);					\
	__arg.report = mmap(NULL, sizeof(*__arg.report), PROT_READ | PROT_WRITE, \
			    MAP_SHARED | MAP_ANONYMOUS, -1, 0);		\
	THP_REQUIRE(__arg.report != MAP_FAILED, "mmap: %s", strerror(errno)); \
	THP_REQUIRE_OK(thp_map_new(&self->map, THP_ANON, &self->why), &self->why); \
	thp_map_destroy(&self->map);					\
	THP_REQUIRE_OK(thp_race_residue(&__residue), &self->why);	\
	THP_CHECK_OK(thp_child_run(race_body, &__arg,			\
				   THP_RACE_ACTORS * (THP_MEET_MS +	\
						      5 * __arg.set->ms * (int)thp_env.scale), \
				   &self->why), &self->why);		\
	THP_CHECK_OK(thp_race_no_residue(__residue, SLACK_KB, &self->why), &self->why); \
	for (__i = 0; __i < THP_RACE_ACTORS && __arg.set->actors[__i].step; __i++) { \
		self->hits[__i] = __arg.report->hits[__i];		\
		self->loops[__i] = __arg.report->loops[__i];		\
		printf("# %s: %ld steps, %ld hits\n", __arg.set->actors[__i].name, \
		       self->loops[__i], self->hits[__i]);		\
	}								\
} while (0)

FIXTURE(race) {
	struct thp_map map;
	struct thp_why why;
	long hits[THP_RACE_ACTORS];
	long loops[THP_RACE_ACTORS];
};

FIXTURE_VARIANT(race) {
	struct race_set set;
};

#define SPLIT	{ .name = "split", .step = act_split }
#define SPLIT_W	{ .name = "split", .step = act_split_words }
#define TOUCH	{ .name = "touch", .step = act_touch }
#define TOUCH_W	{ .name = "touch", .step = act_words }
#define ZAP	{ .name = "zap", .step = act_zap }
#define COLLAPSE { .name = "collapse", .step = act_collapse }
#define PREY	{ .name = "prey", .step = act_prey }
#define RECOLLAPSE { .name = "recollapse", .step = act_recollapse }
#define FORK	{ .name = "fork", .step = act_fork }
#define FORK_W	{ .name = "fork", .step = act_fork_words }
#define PAGEOUT	{ .name = "pageout", .step = act_pageout }
#define PIN	{ .name = "pin", .step = act_pin }
#define MOVE	{ .name = "move", .step = act_move }
#define RECLAIM	{ .name = "reclaim", .step = act_reclaim }

FIXTURE_VARIANT_ADD(race, split_collapse) {
	.set = { { SPLIT, COLLAPSE, TOUCH }, THP_NEED_COLLAPSE, false, RACE_MS, 0 },
};

FIXTURE_VARIANT_ADD(race, split_fork) {
	.set = { { SPLIT, COLLAPSE, FORK }, THP_NEED_COLLAPSE, false, RACE_MS, 0 },
};

FIXTURE_VARIANT_ADD(race, split_fork_fault) {
	.set = { { SPLIT, COLLAPSE, FORK, TOUCH }, THP_NEED_COLLAPSE, false, RACE_MS, 0 },
};

FIXTURE_VARIANT_ADD(race, collapse_fork) {
	.set = { { COLLAPSE, FORK, TOUCH }, THP_NEED_COLLAPSE, false, RACE_MS, 0 },
};

FIXTURE_VARIANT_ADD(race, pin_collapse) {
	.set = { { RECOLLAPSE, PIN }, THP_NEED_COLLAPSE, false, 6 * RACE_MS, 100 },
};

FIXTURE_VARIANT_ADD(race, zap_fault) {
	.set = { { ZAP, TOUCH_W, TOUCH_W }, 0, true, RACE_MS, 0 },
};

FIXTURE_VARIANT_ADD(race, zap_split) {
	.set = { { ZAP, SPLIT_W, TOUCH_W }, 0, true, RACE_MS, 0 },
};

FIXTURE_VARIANT_ADD(race, zap_collapse) {
	.set = { { ZAP, COLLAPSE, TOUCH_W }, THP_NEED_COLLAPSE, true, RACE_MS, 0 },
};

FIXTURE_VARIANT_ADD(race, zap_fork) {
	.set = { { ZAP, FORK_W, TOUCH_W }, 0, true, RACE_MS, 0 },
};

FIXTURE_VARIANT_ADD(race, pageout_split) {
	.set = { { PAGEOUT, SPLIT, COLLAPSE, TOUCH }, THP_NEED_SWAP | THP_NEED_COLLAPSE, false,
		 RACE_MS, 0 },
};

FIXTURE_VARIANT_ADD(race, pageout_fork) {
	.set = { { PAGEOUT, FORK, COLLAPSE }, THP_NEED_SWAP | THP_NEED_COLLAPSE, false,
		 RACE_MS, 0 },
};

FIXTURE_VARIANT_ADD(race, move_split) {
	.set = { { MOVE, ZAP, SPLIT_W, TOUCH_W }, THP_NEED_NODES, true, RACE_MS, 0 },
};

FIXTURE_VARIANT_ADD(race, move_collapse) {
	.set = { { MOVE, SPLIT, COLLAPSE }, THP_NEED_NODES | THP_NEED_COLLAPSE, false, RACE_MS, 0 },
};

FIXTURE_VARIANT_ADD(race, move_fork) {
	.set = { { MOVE, FORK, COLLAPSE }, THP_NEED_NODES | THP_NEED_COLLAPSE, false, RACE_MS, 0 },
};

FIXTURE_VARIANT_ADD(race, move_zap) {
	.set = { { MOVE, ZAP, TOUCH_W }, THP_NEED_NODES, true, RACE_MS, 0 },
};

FIXTURE_SETUP(race)
{
	(void)sys_policy_local();
	thp_warm_up();
}

FIXTURE_TEARDOWN_PARENT(race)
{
	thp_teardown(_metadata);
}

THP_COVERS(race, bounded, "race-split race-fault race-fork race-zap race-collapse");
TEST_F(race, bounded)
{
	RUN_RACE(&variant->set);
}

/* ---------------------------------------------------------------- the race for the VMA boundary */

/*
 * Splitting a VMA splits the PMD at its new boundary. A huge fault in between
 * would leave a PMD that belongs to two VMAs: the flag-only splits below never
 * look at page tables again, so it would stay.
 */

/* Exchanges the range for a new one, without any table. */
static int renew(struct thp_race *r, struct thp_why *why)
{
	void *p;

	p = mmap(r->map.thp, thp_env.pmd, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
	if (p == MAP_FAILED || madvise(p, thp_env.pmd, MADV_HUGEPAGE))
		return thp_why(why, -errno, "mmap: %s", strerror(errno));
	return 0;
}

static int act_vma_split(struct thp_race *r, struct thp_actor *a, struct thp_why *why)
{
	char *mid = r->map.thp + thp_env.pmd / 2;
	static struct thp_smaps sm;
	bool flag = a->loops % 3;
	int ret, i;

	ret = renew(r, why);
	if (ret)
		return ret;
	phase(GO);
	/* The fault takes a while, most of it in clearing the page: meet all of it. */
	while (phase_now() == GO && !r->ended)
		;
	for (i = a->loops % 64 * 50; i; i--)
		(void)phase_now();
	a->hits += phase_now() == MEETING;
	if (flag ? madvise(mid, thp_env.page, MADV_DONTDUMP) :
		   mprotect(mid, thp_env.page, PROT_READ))
		return thp_why(why, -errno, "VMA split: %s", strerror(errno));
	(void)await_phase(r, DONE);
	/* No VMA holds the whole range now. */
	ret = thp_obs_smaps(0, r->map.thp, thp_env.pmd, &sm);
	if (ret)
		return thp_why(why, ret, "smaps: %s", thp_errno_name(ret));
	if (sm.vmas != 3)
		return thp_why(why, -EPROTO, "VMAs after the split: expected 3, got %u", sm.vmas);
	if (sm.anon_huge_kb)
		return thp_why(why, -EPROTO,
			       "a PMD straddles VMA boundaries: AnonHugePages expected 0, got %llu kB",
			       (unsigned long long)sm.anon_huge_kb);
	if (flag ? madvise(mid, thp_env.page, MADV_DODUMP) :
		   mprotect(mid, thp_env.page, PROT_READ | PROT_WRITE))
		return thp_why(why, -errno, "VMA merge: %s", strerror(errno));
	if (thp_peek(r->map.thp) != 1 || thp_peek(mid))
		return thp_why(why, -EILSEQ, "expected 1 and 0, found %d and %d",
			       thp_peek(r->map.thp), thp_peek(mid));
	return 0;
}

static int act_refault(struct thp_race *r, struct thp_actor *a, struct thp_why *why)
{
	(void)why;
	if (!await_phase(r, GO))
		return 0;
	phase(MEETING);
	thp_touch(r->map.thp);
	phase(DONE);
	a->hits++;
	return 0;
}

static const struct race_set vma_race = {
	{
		{ .name = "vma_split", .step = act_vma_split },
		{ .name = "touch", .step = act_refault },
	},
	0, true, 3 * RACE_MS, 20,
};

FIXTURE(vma) {
	struct thp_map map;
	struct thp_why why;
	long hits[THP_RACE_ACTORS];
	long loops[THP_RACE_ACTORS];
};

FIXTURE_SETUP(vma)
{
	(void)sys_policy_local();
	thp_warm_up();
}

FIXTURE_TEARDOWN_PARENT(vma)
{
	thp_teardown(_metadata);
}

THP_COVERS(vma, split_fault, "race-vma-split split-mprotect");
TEST_F(vma, split_fault)
{
	RUN_RACE(&vma_race);
	/* Nothing is known about the kernel then, only that CPUs were too busy. */
	if (!self->hits[0])
		THP_SKIP("needs CPUs that are free for a fault to meet a VMA split");
}

/*
 * Reclaim waits for rmap locks, which folio splits hold for write: whoever enters it
 * with one of them held may wait for itself. Lock debugging tells after the two have
 * met once. Without it the memory of others would be swapped out to no purpose.
 */
FIXTURE(locks) {
	struct thp_map map;
	struct thp_why why;
	long hits[THP_RACE_ACTORS];
	long loops[THP_RACE_ACTORS];
};

FIXTURE_SETUP(locks)
{
	(void)sys_policy_local();
	thp_warm_up();
}

FIXTURE_TEARDOWN_PARENT(locks)
{
	thp_teardown(_metadata);
}

THP_COVERS(locks, reclaim_split, "race-split reclaim-unmap");
TEST_F(locks, reclaim_split)
{
	const struct race_set set = {
		{ PREY, RECLAIM }, THP_NEED_SWAP | THP_NEED_COLLAPSE, false, 12 * RACE_MS, 20
	};
	int i;

	for (i = 0; i < 2; i++)
		if (!i || nodes[i] >= 0)
			snprintf(node_reclaim[i], sizeof(node_reclaim[i]),
				 "/sys/devices/system/node/node%ld/reclaim",
				 nodes[i] < 0 ? 0 : nodes[i]);
	if (!thp_file_exists("/proc/lockdep_chains") || access(node_reclaim[0], W_OK))
		THP_SKIP("needs root, lock debugging and reclaim of a node (Linux 6.17)");
	/* Else little page cache would be reason enough to reclaim nothing. */
	THP_REQUIRE_OK(thp_settings_set("/proc/sys/vm/min_slab_ratio", "0"), &self->why);
	/* What is old goes first: else the race were over before its own memory's turn. */
	for (i = 0; i < 2 && node_reclaim[i][0]; i++)
		(void)thp_write_file(node_reclaim[i], "32M swappiness=max");
	RUN_RACE(&set);
	if (!self->hits[0] || !self->hits[1])
		THP_SKIP("needs memory to swap out, and a huge page to split meanwhile");
}

/* ---------------------------------------------------------------- migration entries */

/*
 * Spins until a migration entry stands in the PMD: pagemap calls it swapped. If
 * none comes the step goes on without, and is no hit.
 */
static void await_entry(struct thp_race *r, struct thp_actor *a)
{
	off_t at = (uintptr_t)r->map.thp / thp_env.page * 8;
	long long end = thp_now_ms() + 30;
	uint64_t entry;

	while (pread(pagemap_fd, &entry, 8, at) == 8 && thp_now_ms() < end) {
		if (entry & THP_PM_SWAPPED) {
			a->hits++;
			return;
		}
	}
}

static int refill(struct thp_race *r)
{
	size_t i;

	for (i = 0; i < thp_env.nr; i++)
		thp_fill(thp_page(&r->map, i), r->map.seed, i);
	return 0;
}

/* A new THP where the old one was split. */
static int renew_filled(struct thp_race *r, struct thp_why *why)
{
	int ret = renew(r, why);

	return ret ? ret : refill(r);
}

static int check_all(struct thp_race *r, struct thp_why *why)
{
	return thp_map_check(&r->map, 0, thp_env.nr, why);
}

static int meet_touch(struct thp_race *r, struct thp_actor *a, struct thp_why *why)
{
	await_entry(r, a);
	thp_fill(thp_page(&r->map, 0), r->map.seed, 0);
	return check_all(r, why);
}

/* The child inherits the entry, and a table where a PMD has one. */
static int look_entry(struct thp_race *r, struct thp_actor *a)
{
	struct thp_why *why = &r->chan->why;
	long long before, after;
	long got;

	before = thp_obs_vmpte(0);
	if (a->loops % 2 && check_all(r, why))
		return -EILSEQ;
	munmap(r->map.thp, thp_env.pmd);
	after = thp_obs_vmpte(0);
	if (thp_env.unit == 1 &&
	    (!thp_env_tables(before - after, &got) || got != thp_tables_mapped(THP_ANON)))
		return thp_why(why, -EPROTO, "munmap frees %lld B of tables, expected %ld tables",
			       before - after, thp_tables_mapped(THP_ANON));
	return 0;
}

static int meet_fork(struct thp_race *r, struct thp_actor *a, struct thp_why *why)
{
	int ret;

	await_entry(r, a);
	ret = fork_and_look(r, a, look_entry, why);
	return ret ? ret : check_all(r, why);
}

/* A page can be written to, or not: also what has come back from an entry. */
static int expect_writable(struct thp_race *r, size_t index, int want, struct thp_why *why)
{
	int got = split_access(thp_page(&r->map, index), true);

	return got == want ? 0 :
		thp_why(why, -EPROTO, "page %zu: writable %d, expected %d", index, got, want);
}

static int meet_mprotect(struct thp_race *r, struct thp_actor *a, struct thp_why *why)
{
	await_entry(r, a);
	if (mprotect(r->map.thp, thp_env.pmd, PROT_READ))
		return thp_why(why, -errno, "mprotect: %s", strerror(errno));
	if (check_all(r, why))
		return -EILSEQ;
	if (expect_writable(r, 0, 0, why) || expect_writable(r, thp_env.nr - 1, 0, why))
		return -EPROTO;
	if (mprotect(r->map.thp, thp_env.pmd, PROT_READ | PROT_WRITE))
		return thp_why(why, -errno, "mprotect: %s", strerror(errno));
	thp_fill(thp_page(&r->map, 0), r->map.seed, 0);
	return 0;
}

/* The uffd-wp bit of all pages, whether the PMD is an entry at the moment or not. */
static int expect_wp(struct thp_race *r, bool want, struct thp_why *why)
{
	static uint64_t entries[THP_MOVE_MAX_NR];
	size_t i;
	int ret = thp_obs_pagemap_range(r->map.thp, entries, thp_env.nr);

	if (ret)
		return thp_why(why, ret, "pagemap: %s", thp_errno_name(ret));
	for (i = 0; i < thp_env.nr; i++) {
		if (!!(entries[i] & THP_PM_UFFD_WP) != want)
			return thp_why(why, -EPROTO,
				       "protection of a THP that migrates: page %zu: uffd-wp %d, expected %d",
				       i, !want, want);
	}
	return 0;
}

/* A change of the protection has to change the entry: when that goes, it is too late. */
static int meet_uffd_wp(struct thp_race *r, struct thp_actor *a, struct thp_why *why)
{
	struct thp_map *m = &r->map;
	int protect, ret = 0;

	if (m->uffd < 0)
		m->uffd = thp_uffd_watch(m->thp, thp_env.pmd, 0, UFFDIO_REGISTER_MODE_WP, why);
	if (m->uffd < 0)
		return m->uffd;
	for (protect = 1; protect >= 0 && !ret; protect--) {
		await_entry(r, a);
		ret = thp_uffd_wp(m->uffd, m->thp, thp_env.pmd, protect);
		if (ret)
			return thp_why(why, ret, "UFFDIO_WRITEPROTECT: %s", thp_errno_name(ret));
		ret = expect_wp(r, protect, why);
	}
	return ret ? ret : check_all(r, why);
}

/* Splits the entry itself: one PMD of it becomes entries of base pages. */
static int meet_split(struct thp_race *r, struct thp_actor *a, struct thp_why *why)
{
	size_t mid = thp_env.nr / 2;
	char *p = thp_page(&r->map, mid);
	int ret;

	await_entry(r, a);
	if (mprotect(p, thp_env.page, PROT_READ))
		return thp_why(why, -errno, "mprotect: %s", strerror(errno));
	ret = check_all(r, why);
	if (!ret)
		ret = expect_writable(r, mid, 0, why);
	if (!ret)
		ret = expect_writable(r, mid + 1, 1, why);
	if (ret)
		return ret;
	if (mprotect(p, thp_env.page, PROT_READ | PROT_WRITE))
		return thp_why(why, -errno, "mprotect: %s", strerror(errno));
	return renew_filled(r, why);
}

static int meet_zap_page(struct thp_race *r, struct thp_actor *a, struct thp_why *why)
{
	size_t k = thp_env.nr / 2;
	int ret;

	await_entry(r, a);
	if (madvise(thp_page(&r->map, k), thp_env.page, MADV_DONTNEED))
		return thp_why(why, -errno, "MADV_DONTNEED: %s", strerror(errno));
	ret = thp_map_check(&r->map, 0, k, why);
	if (!ret)
		ret = thp_check_zero(thp_page(&r->map, k), 1, why);
	if (!ret)
		ret = thp_map_check(&r->map, k + 1, thp_env.nr - k - 1, why);
	return ret ? ret : renew_filled(r, why);
}

static int meet_zap(struct thp_race *r, struct thp_actor *a, struct thp_why *why)
{
	int ret;

	await_entry(r, a);
	if (madvise(r->map.thp, thp_env.pmd, MADV_DONTNEED))
		return thp_why(why, -errno, "MADV_DONTNEED: %s", strerror(errno));
	ret = thp_check_zero(thp_page(&r->map, a->loops % thp_env.nr), 1, why);
	/*
	 * That mapped the huge zero folio. Where writing to it would split the PMD,
	 * which is not what is counted here, it goes before the range is filled.
	 */
	if (!ret && thp_env_zero_write_splits() &&
	    madvise(r->map.thp, thp_env.pmd, MADV_DONTNEED))
		return thp_why(why, -errno, "MADV_DONTNEED: %s", strerror(errno));
	return ret ? ret : refill(r);
}

static int meet_munmap(struct thp_race *r, struct thp_actor *a, struct thp_why *why)
{
	void *p;

	await_entry(r, a);
	if (munmap(r->map.thp, thp_env.pmd))
		return thp_why(why, -errno, "munmap: %s", strerror(errno));
	p = mmap(r->map.thp, thp_env.pmd, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
	if (p == MAP_FAILED || madvise(p, thp_env.pmd, MADV_HUGEPAGE))
		return thp_why(why, -errno, "mmap: %s", strerror(errno));
	return refill(r);
}

/* There and back, as a whole: to a range that the race owns and leaves empty. */
static int meet_mremap(struct thp_race *r, struct thp_actor *a, struct thp_why *why)
{
	char *to = r->map.thp - thp_env.pmd, *p;
	int ret;

	await_entry(r, a);
	p = mremap(r->map.thp, thp_env.pmd, thp_env.pmd, MREMAP_MAYMOVE | MREMAP_FIXED, to);
	if (p != to)
		return thp_why(why, -errno, "mremap: %s", strerror(errno));
	ret = thp_check(to, r->map.seed, 0, thp_env.nr, why);
	p = mremap(to, thp_env.pmd, thp_env.pmd, MREMAP_MAYMOVE | MREMAP_FIXED, r->map.thp);
	if (p != r->map.thp)
		return thp_why(why, -errno, "mremap back: %s", strerror(errno));
	return ret ? ret : check_all(r, why);
}

static int meet_collapse(struct thp_race *r, struct thp_actor *a, struct thp_why *why)
{
	long hits;
	int ret;

	await_entry(r, a);
	hits = a->hits;
	ret = act_collapse(r, a, why);
	/* Its successes are not what is counted here. */
	a->hits = hits;
	return ret ? ret : check_all(r, why);
}

/* Advice that splits the folio: it waits for the entry, or goes away empty-handed. */
static int meet_cold(struct thp_race *r, struct thp_actor *a, struct thp_why *why)
{
	int ret;

	await_entry(r, a);
	ret = cold(r, a, why);
	if (!ret)
		ret = check_all(r, why);
	return ret ? ret : renew_filled(r, why);
}

FIXTURE(entry) {
	struct thp_map map;
	struct thp_why why;
	long hits[THP_RACE_ACTORS];
	long loops[THP_RACE_ACTORS];
	struct thp_events before, after;
};

FIXTURE_VARIANT(entry) {
	struct race_set set;
	bool whole;		/* no step of it may split */
};

#define ENTRY(fn, more) {						\
	{ { .name = #fn, .step = meet_##fn }, MOVE }, THP_NEED_NODES | (more), false, RACE_MS, 5, \
}

FIXTURE_VARIANT_ADD(entry, touch) {
	.set = ENTRY(touch, 0), .whole = true,
};

FIXTURE_VARIANT_ADD(entry, fork) {
	.set = ENTRY(fork, 0), .whole = true,
};

FIXTURE_VARIANT_ADD(entry, mprotect) {
	.set = ENTRY(mprotect, 0), .whole = true,
};

FIXTURE_VARIANT_ADD(entry, uffd_wp) {
	.set = ENTRY(uffd_wp, THP_NEED_UFFD_WP), .whole = true,
};

FIXTURE_VARIANT_ADD(entry, mprotect_page) {
	.set = ENTRY(split, 0),
};

FIXTURE_VARIANT_ADD(entry, zap_page) {
	.set = ENTRY(zap_page, 0),
};

FIXTURE_VARIANT_ADD(entry, zap) {
	.set = ENTRY(zap, 0), .whole = true,
};

FIXTURE_VARIANT_ADD(entry, munmap) {
	.set = ENTRY(munmap, 0), .whole = true,
};

FIXTURE_VARIANT_ADD(entry, mremap) {
	.set = ENTRY(mremap, 0), .whole = true,
};

FIXTURE_VARIANT_ADD(entry, collapse) {
	.set = ENTRY(collapse, THP_NEED_COLLAPSE),
};

FIXTURE_VARIANT_ADD(entry, cold) {
	.set = ENTRY(cold, 0),
};

FIXTURE_SETUP(entry)
{
	(void)sys_policy_local();
	thp_warm_up();
}

FIXTURE_TEARDOWN_PARENT(entry)
{
	thp_teardown(_metadata);
}

THP_COVERS(entry, met, "migrate-entry migrate-entry-restore");
TEST_F(entry, met)
{
	long splits, planned;

	THP_REQUIRE_OK(thp_obs_events(&self->before), &self->why);
	RUN_RACE(&variant->set);
	THP_REQUIRE_OK(thp_obs_events(&self->after), &self->why);
	splits = self->after.split_pmd - self->before.split_pmd;
	/* Where the target could not be a THP, migration itself has split. */
	planned = self->after.migrate_split - self->before.migrate_split;
	if (variant->whole)
		THP_CHECK(splits == planned, "thp_split_pmd: expected +%ld, got +%ld", planned,
			  splits);
	if (!self->hits[0])
		THP_SKIP("needs migration that is slow enough to be met");
}

/* ---------------------------------------------------------------- reclaim inside a split */

/* Enough for the shrinker to look at the list in earnest. */
#define QUEUE_THPS 64
#define QUEUE_BYTES (160UL << 20)

struct queue {
	char *base;		/* @n THPs in one VMA, the last one is split */
	size_t n;
	struct thp_burner burner;
};

/*
 * Splitting a folio takes the lock of its anon_vma. If a page table is allocated
 * under it, and the memory group is full, reclaim wants to split the partially
 * mapped THPs of the same VMA, under the same lock.
 */
static int split_when_full(struct thp_chan *chan, void *arg)
{
	struct thp_why *why = &chan->why;
	struct queue *q = arg;
	size_t pmd = thp_env.pmd, i;
	struct thp_events before, after;
	char *area, *p;
	int ret;

	/* Version 2 would kill where version 1 is told not to. */
	(void)thp_write_file("/proc/self/oom_score_adj", "-1000");
	thp_warm_up();
	thp_chan_post_parent(chan, 1);
	thp_chan_await_parent(chan, 1);
	area = mmap(NULL, (q->n + 2) * pmd, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (area == MAP_FAILED || madvise(area, (q->n + 2) * pmd, MADV_HUGEPAGE))
		return thp_why(why, -errno, "mmap: %s", strerror(errno));
	q->base = (char *)(((uintptr_t)area + pmd) & ~(pmd - 1));
	for (i = 0; i < q->n; i++)
		thp_touch(q->base + i * pmd);
	p = q->base + (q->n - 1) * pmd;
	for (i = 0; i < thp_env.nr; i++)
		thp_fill(p + i * thp_env.page, q->n, i);
	/* Tables first, so that unmapping single pages below needs no memory. */
	for (i = 0; i < q->n - 1; i++)
		if (thp_split_at(q->base + i * pmd + thp_env.page, why))
			return -EIO;
	ret = thp_burner_create(&q->burner);
	if (ret)
		return thp_why(why, ret, "burner: %s", thp_errno_name(ret));
	thp_pin_cpu();
	thp_obs_events(&before);
	thp_chan_post_parent(chan, 2);
	thp_chan_await_parent(chan, 2);
	ret = thp_burner_burn(&q->burner);
	if (ret)
		return thp_why(why, ret, "the group could not be filled: %s", thp_errno_name(ret));
	for (i = 0; i < q->n - 1; i++)
		if (madvise(q->base + i * pmd + 2 * thp_env.page, thp_env.page, MADV_DONTNEED))
			return thp_why(why, -errno, "MADV_DONTNEED: %s", strerror(errno));
	ret = madvise(p + thp_env.page, thp_env.page, MADV_COLD) ? errno : 0;
	chan->val[0] = ret;
	thp_chan_post_parent(chan, 3);
	thp_chan_await_parent(chan, 3);
	thp_obs_events(&after);
	chan->val[1] = after.deferred - before.deferred;
	return thp_check(p, q->n, 0, thp_env.nr, why);
}

FIXTURE(reclaim) {
	struct thp_child child;
	struct queue queue;
	struct thp_cg cg;
	struct thp_why why;
};

FIXTURE_SETUP(reclaim)
{
	thp_warm_up();
}

FIXTURE_TEARDOWN_PARENT(reclaim)
{
	thp_cg_destroy(&self->cg);
	thp_teardown(_metadata);
}

THP_COVERS(reclaim, split_when_full,
	   "folio-split-deferred folio-split-reclaim folio-split-anon-vma-lock");
TEST_F_TIMEOUT(reclaim, split_when_full, 90)
{
	struct thp_child *c = &self->child;
	siginfo_t info;
	long queued;
	int ret;

	THP_NEEDS(THP_NEED_MEMCG | THP_NEED_POPULATE);
	self->queue.n = QUEUE_BYTES / thp_env.pmd;
	if (self->queue.n > QUEUE_THPS)
		self->queue.n = QUEUE_THPS;
	if (self->queue.n < 8)
		THP_SKIP("needs PMDs of at most 20 MiB");
	if (!thp_env_room(2 * self->queue.n * thp_env.pmd))
		THP_SKIP("needs 256 MiB of free memory");
	THP_REQUIRE_OK(thp_cg_create(&self->cg, "migrate", &self->why), &self->why);
	THP_REQUIRE_OK(thp_child_start(c, split_when_full, &self->queue), &self->why);
	ret = thp_child_await(c, 1, THP_STEP_MS);
	if (!ret)
		ret = thp_cg_join(&self->cg, c->pid);
	if (!ret) {
		thp_chan_post_child(c->chan, 1);
		ret = thp_child_await(c, 2, THP_STEP_MS);
	}
	if (!ret) {
		thp_cg_limit(&self->cg, thp_cg_usage(&self->cg) + (1 << 20));
		thp_chan_post_child(c->chan, 2);
		/* Nothing in it takes a second; a deadlock takes for ever. */
		ret = thp_child_await(c, 3, THP_STEP_MS);
		THP_CHECK(ret != -ETIMEDOUT,
			  "MADV_COLD in a full group does not return: deadlock or livelock");
		thp_cg_limit(&self->cg, THP_CG_MAX);
	}
	if (!ret) {
		THP_CHECK(!c->chan->val[0], "MADV_COLD is advice: expected 0, got %s",
			  thp_errno_name(c->chan->val[0]));
		thp_chan_post_child(c->chan, 3);
		if (!waitid(P_PID, c->pid, &info, WEXITED | WNOWAIT)) {
			queued = c->chan->val[1];
			THP_CHECK(queued >= (long)self->queue.n - 1,
				  "partially mapped THPs: expected at least %zu, got %ld",
				  self->queue.n - 1, queued);
		}
	}
	THP_CHECK_OK(thp_child_join(c, THP_STEP_MS, &self->why), &self->why);
}

#include "migrate/stale.c"
#include "migrate/state.c"

static void init(void)
{
	find_nodes();
	state_register_variants();
}

THP_MAIN_INIT("thp_migrate", init);
