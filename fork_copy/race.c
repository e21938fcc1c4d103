// SPDX-License-Identifier: GPL-2.0
/*
 * race: Bounded races: contents, tables, and silence in the kernel log.
 */

/* Bounded races: contents, tables, and silence in the kernel log. */
FIXTURE(race) {
	int unused;
};

FIXTURE_SETUP(race)
{
	thp_warm_up();
}

FIXTURE_TEARDOWN_PARENT(race)
{
	thp_teardown(_metadata);
}

#define RACE_MS		1500
#define RACE_ROUNDS	12
#define RACE_FORKS	4

static int stop_writing;

/* Writes to the upper half of every THP until told to stop. */
static void *write_upper_half(void *arg)
{
	size_t page = middle();
	unsigned int i;

	while (!__atomic_load_n(&stop_writing, __ATOMIC_RELAXED)) {
		for (i = 0; i < thp_group.n; i++)
			thp_touch(thp_page(&thp_group.map[i], page));
		if (++page == thp_env.nr)
			page = middle();
	}
	return arg;
}

/* Forks RACE_FORKS children, each of which checks the lower half. */
static int fork_and_check(struct thp_why *why)
{
	int i, status;
	pid_t pid;

	for (i = 0; i < RACE_FORKS; i++) {
		pid = fork();
		if (pid < 0)
			return thp_why(why, -errno, "fork: %s", strerror(errno));
		if (!pid) {
			struct thp_why child = { 0 };
			int ret = thp_map_check(&thp_group.map[0], 0, middle(), &child);

			/* A write, so that there is a page to copy and a PMD to split. */
			thp_touch(thp_page(&thp_group.map[0], thp_env.nr - 1));
			_exit(ret ? 1 : 0);
		}
		if (waitpid(pid, &status, 0) != pid)
			return thp_why(why, -errno, "waitpid: %s", strerror(errno));
		if (!WIFEXITED(status) || WEXITSTATUS(status))
			return thp_why(why, -EPROTO, "child in a race: wait status %#x, expected 0",
				       status);
	}
	return 0;
}

/* Restores the contents of the upper half, which the race has overwritten. */
static int finish_race(struct thp_why *why)
{
	const struct thp_map *map;
	unsigned int i;
	size_t p;

	for (i = 0; i < thp_group.n; i++) {
		map = &thp_group.map[i];
		for (p = middle(); p < thp_env.nr; p++)
			thp_fill(thp_page(map, p), map->seed, p);
	}
	return thp_group_finish(why);
}

static int fork_races_writes(const void *arg, struct thp_why *why)
{
	long long end = thp_now_ms() + RACE_MS * thp_env.scale;
	pthread_t thread;
	unsigned int i;
	int ret = 0;

	(void)arg;
	for (i = 0; i < RACE_ROUNDS * thp_env.scale && thp_now_ms() < end && !ret; i++) {
		TRY(thp_group_new(THP_ANON, 0, why));
		stop_writing = 0;
		ret = pthread_create(&thread, NULL, write_upper_half, NULL);
		if (ret)
			return thp_why(why, -ret, "pthread_create: %s", strerror(ret));
		ret = fork_and_check(why);
		__atomic_store_n(&stop_writing, 1, __ATOMIC_RELAXED);
		pthread_join(thread, NULL);
		if (!ret)
			ret = finish_race(why);
		thp_group_free();
	}
	return ret;
}

THP_COVERS(race, fork_writes, "fork-anon cow-write");
TEST_F(race, fork_writes)
{
	THP_SCENARIO(fork_races_writes, NULL);
}
