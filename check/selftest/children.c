// SPDX-License-Identifier: GPL-2.0
/* Processes that fail, crash, hang or loop, and the limits that tell these apart. */

static int returns_error(struct thp_chan *chan, void *arg)
{
	(void)arg;
	return thp_why(&chan->why, -EIO, "the child's own cause");
}

static int crashes(struct thp_chan *chan, void *arg)
{
	(void)chan;
	(void)arg;
	raise(SIGSEGV);
	return 0;
}

static int hangs(struct thp_chan *chan, void *arg)
{
	(void)chan;
	(void)arg;
	for (;;)
		pause();
	return 0;
}

TEST_F(lib, child)
{
	struct thp_child c = { 0 };
	struct thp_why why = { 0 };

	EXPECT_CAUSE(thp_child_run(returns_error, NULL, THP_STEP_MS, WHY), "own cause");
	EXPECT_CAUSE(thp_child_run(crashes, NULL, THP_STEP_MS, WHY), "SIGSEGV");
	EXPECT_CAUSE(thp_child_run(hangs, NULL, 50, WHY), "did not finish within");
	THP_REQUIRE_OK(thp_child_start(&c, hangs, NULL), &why);
	THP_CHECK(thp_child_await(&c, 1, 50) == -ETIMEDOUT, "a silent child was not noticed");
	kill(c.pid, SIGKILL);
	THP_CHECK(thp_child_await(&c, 1, THP_STEP_MS) == -ECHILD, "a dead child was not noticed");
	thp_child_kill(&c);
}

/* A mapping that the kernel places next gets a PTE table for itself: only then it counts. */
static int fill_table(struct thp_why *why)
{
	size_t i;
	char *p;

	for (i = 0; i < 4 * thp_env.nr; i++) {
		p = mmap(NULL, thp_env.page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (p == MAP_FAILED)
			return thp_why(why, -errno, "mmap: %s", strerror(errno));
		if (!((uintptr_t)p & (thp_env.pmd - 1)))
			return 0;
	}
	return thp_why(why, -EPROTO, "no boundary of a PTE table in %zu mappings", i);
}

/* A channel of a child is no table more, and its end no table less. */
static int count_channel(const void *arg, struct thp_why *why)
{
	struct thp_child c = { 0 };
	struct thp_meter meter;

	(void)arg;
	TRY(fill_table(why));
	TRY(thp_meter_start(&meter, 0, why));
	TRY(thp_child_prepare(&c));
	TRY(thp_meter_read(&meter, why));
	TRY(thp_meter_tables(&meter, 0, "thp_child_prepare", why));
	TRY(thp_child_start(&c, returns_error, NULL));
	(void)thp_child_join(&c, THP_STEP_MS, &(struct thp_why){ 0 });
	TRY(thp_meter_read(&meter, why));
	return thp_meter_tables(&meter, 0, "thp_child_join", why);
}

TEST_F(lib, channel)
{
	(void)self;
	THP_SCENARIO(count_channel, NULL);
}

static int burns(struct thp_chan *chan, void *arg)
{
	(void)arg;
	thp_chan_post_parent(chan, 1);
	for (;;)
		;
	return 0;
}

/* A child that makes progress is not late, however long all of it takes. */
static int beats(struct thp_chan *chan, void *arg)
{
	int i;

	(void)arg;
	for (i = 0; i < 40; i++) {
		thp_chan_beat(chan);
		thp_spin_us(10000);
	}
	return 0;
}

/* A limit is one of CPU time, and of a multiple by the clock. */
TEST_F(lib, limits)
{
	struct thp_child c = { 0 };
	struct thp_why why = { 0 };
	struct thp_deadline d;

	THP_CHECK(thp_slow() >= 1 && thp_slow() <= THP_SLOW_MAX && thp_limit(100) >= 100,
		  "limits x %.1f, 100 ms become %d", thp_slow(), thp_limit(100));
	THP_REQUIRE_OK(thp_child_start(&c, burns, NULL), &why);
	THP_REQUIRE_OK(thp_child_await(&c, 1, THP_STEP_MS), &why);
	THP_CHECK(thp_child_await(&c, 2, 100) == -ETIMEDOUT, "an endless loop is not over");
	d = c.limit;
	THP_CHECK(thp_deadline_burnt(&d) && (d.cpu >= 100 || d.wall >= THP_WALL * 100LL),
		  "a loop of %lld ms, %lld ms on a CPU", d.wall, d.cpu);
	/* The same loop when its neighbours get nine tenths of the CPU. */
	d.wall = d.cpu * 10;
	d.delay = 0;
	THP_CHECK(d.cpu <= 100 * thp_cpu_slow() || thp_deadline_burnt(&d),
		  "a loop of %lld ms sleeps after %lld ms on a CPU", d.wall, d.cpu);
	d.cpu = 0;
	d.delay = d.wall * 9 / 10;
	THP_CHECK(thp_deadline_burnt(&d),
		  "a loop of %lld ms sleeps after a wait of %lld ms for a CPU", d.wall, d.delay);
	/* A stopped process gets no CPU, like one on a busy machine. */
	kill(c.pid, SIGSTOP);
	THP_CHECK(thp_child_await(&c, 2, 50) == -ETIMEDOUT, "a process that sleeps goes on");
	d = c.limit;
	THP_CHECK(!thp_deadline_burnt(&d) && d.wall >= THP_WALL * 50LL,
		  "accused after %lld ms, %lld ms on a CPU", d.wall, d.cpu);
	thp_child_kill(&c);
	THP_CHECK_OK(thp_child_run(beats, NULL, 100, &why), &why);
}

/* A machine that stood still is not held against the kernel, but not for ever. */
TEST_F(lib, stalls)
{
	struct thp_deadline d;

	thp_deadline_start(&d, 0, 1000);
	thp_sleep_ms(400);
	THP_CHECK(!thp_deadline_over(&d) && d.wall < 400, "400 ms in one piece count as %lld",
		  d.wall);
	d.stalls = THP_STALLS;
	thp_sleep_ms(400);
	THP_CHECK(!thp_deadline_over(&d) && d.wall >= 600,
		  "400 ms more count as %lld, after %d stalls", d.wall, THP_STALLS);
}

/* After a process that survives SIGKILL no other test runs. */
TEST_F(lib, undying)
{
	struct thp_why why = { 0 };

	THP_REQUIRE_OK(thp_run_init(false), &why);
	THP_CHECK(thp_run_begin("some.test", 30), "a test does not begin");
	thp_run_end();
	/* The parent of this process, which exists all the time. */
	thp_run_suspect(getppid());
	THP_CHECK(!thp_run_begin("next.test", 30), "a test begins beside a process that stays");
	THP_CHECK(thp_run_broken(), "and that says nothing about the kernel");
}

/* An operation that has looped is remembered, and no other operation is affected. */
TEST_F(lib, loops)
{
	struct thp_why why = { 0 };

	THP_REQUIRE_OK(thp_run_init(false), &why);
	THP_CHECK(!thp_run_has_looped("munmap_mid"), "known before it happened");
	thp_run_note_loop("munmap_mid");
	THP_CHECK(thp_run_has_looped("munmap_mid"), "forgotten");
	THP_CHECK(!thp_run_has_looped("munmap_head"), "held against another operation");
}
