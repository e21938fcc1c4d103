// SPDX-License-Identifier: GPL-2.0
/*
 * How long the huge zero folio lives. Each mm that maps it has one reference, taken with
 * the first mapping, by a fault or by fork (mm_get_huge_zero_folio()); after the last mm is
 * freed, its shrinker frees it (shrink_huge_zero_folio_scan()). A child whose parent has
 * exited keeps it alive:
 *
 *	grandparent:	      fork			drop_caches, looks
 *	parent:		       read fault, fork, exit
 *	child:			      wait ..................... looks, exit
 *
 * A kernel that frees it too early gives the memory to others while the child still maps
 * it. The next mm that maps a huge zero folio then gets a new one, which
 * thp_zero_page_alloc counts.
 */

FIXTURE(zero_life) {
	struct thp_child parent;
};

FIXTURE_SETUP(zero_life)
{
	(void)self;
	THP_NEEDS(THP_NEED_ZERO | THP_NEED_ROOT);
	thp_warm_up();
}

FIXTURE_TEARDOWN_PARENT(zero_life)
{
	(void)self;
	thp_teardown(_metadata);
}

/* Shared by grandparent, parent and child: all three map it. */
struct zero_life {
	int child;		/* ZERO_HOLDS, ZERO_LOOKED */
	int go;			/* the child may look */
	int ret;
	struct thp_why why;
};

enum { ZERO_HOLDS = 1, ZERO_LOOKED };

static void zero_child(struct zero_life *z, struct thp_map *m)
{
	struct thp_deadline d;

	thp_deadline_start(&d, 0, THP_LONG_MS);
	__atomic_store_n(&z->child, ZERO_HOLDS, __ATOMIC_SEQ_CST);
	while (!__atomic_load_n(&z->go, __ATOMIC_SEQ_CST) && !thp_deadline_over(&d))
		thp_sleep_ms(1);
	z->ret = thp_map_expect(m, THP_STATE_PMD_ZERO, &z->why) ? :
		 thp_check_zero(m->thp, thp_env.nr, &z->why);
	__atomic_store_n(&z->child, ZERO_LOOKED, __ATOMIC_SEQ_CST);
	_exit(0);
}

static int zero_parent(struct thp_chan *chan, void *arg)
{
	static struct thp_map m;
	int ret = thp_map_new(&m, THP_ZERO, &chan->why);
	pid_t pid;

	if (ret)
		return ret;
	pid = fork();
	if (pid < 0)
		return thp_why(&chan->why, -errno, "fork: %s", strerror(errno));
	if (!pid)
		zero_child(arg, &m);
	return 0;
}

static int zero_await(struct zero_life *z, int step, struct thp_why *why)
{
	struct thp_deadline d;

	thp_deadline_start(&d, 0, THP_STEP_MS);
	while (__atomic_load_n(&z->child, __ATOMIC_SEQ_CST) < step) {
		if (thp_deadline_over(&d))
			return thp_why(why, -ETIMEDOUT, "the child is not at step %d", step);
		thp_sleep_ms(1);
	}
	return 0;
}

/* Faults one in. Whether it had to be allocated: 0, 1, -errno. */
static int zero_fault(struct thp_map *m, struct thp_why *why)
{
	struct thp_events e0, e1;
	int ret;

	thp_obs_events(&e0);
	ret = thp_map_new(m, THP_ZERO, why);
	thp_obs_events(&e1);
	if (ret)
		return ret;
	return e1.zero_page_alloc != e0.zero_page_alloc;
}

THP_COVERS(zero_life, outlives_parent, "fork-zero zap-exit");
TEST_F(zero_life, outlives_parent)
{
	struct thp_why why = { 0 };
	struct thp_map m;
	struct zero_life *z;
	int ret;

	z = mmap(NULL, sizeof(*z), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	THP_REQUIRE(z != MAP_FAILED, "mmap: %s", strerror(errno));
	THP_REQUIRE_OK(thp_child_run(zero_parent, z, THP_STEP_MS, &why), &why);
	THP_REQUIRE_OK(zero_await(z, ZERO_HOLDS, &why), &why);
	/*
	 * The parent has exited, its child has not. The second pass frees what the first has
	 * left.
	 */
	THP_REQUIRE_OK(thp_write_file("/proc/sys/vm/drop_caches", "2"), &why);
	THP_REQUIRE_OK(thp_write_file("/proc/sys/vm/drop_caches", "2"), &why);
	ret = zero_fault(&m, &why);
	if (ret < 0)
		THP_REQUIRE_RESULT(ret, &why);
	THP_CHECK(!ret, "a huge zero folio was freed while a process still maps it");
	__atomic_store_n(&z->go, 1, __ATOMIC_SEQ_CST);
	THP_REQUIRE_OK(zero_await(z, ZERO_LOOKED, &why), &why);
	THP_CHECK(!z->ret, "in the child: %s", z->why.text);
	thp_map_destroy(&m);
}
