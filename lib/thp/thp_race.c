// SPDX-License-Identifier: GPL-2.0
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "thp_env.h"
#include "thp_obs.h"
#include "thp_race.h"

#define STACK (256 * 1024)

/* In .bss, where thp_warm_up() can reach it: new stacks would be new tables. */
static char stacks[THP_RACE_ACTORS][STACK];

static pthread_barrier_t start;

static void fail(struct thp_race *race, int ret, const struct thp_actor *a,
		 const struct thp_why *why)
{
	int none = 0;

	if (__atomic_compare_exchange_n(&race->failed, &none, ret, false,
					__ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
		thp_why_from(&race->why, ret, why, "%s, step %ld", a->name, a->loops);
	__atomic_store_n(&race->ended, 1, __ATOMIC_SEQ_CST);
}

/* Only the first actor decides. */
static bool over(const struct thp_race *race, const struct thp_actor *a, long long begin)
{
	long long spent = thp_now_ms() - begin, limit = race->max_ms;

	if (a->slot)
		return false;
	if (a->loops >= race->max_loops)
		return true;
	if (a->hits < race->min_hits)
		limit *= 5;
	/* A race in which the actors never met proves nothing. */
	if (!a->hits && race->min_hits && limit < thp_limit(THP_MEET_MS))
		limit = thp_limit(THP_MEET_MS);
	return spent >= limit;
}

static void *actor_main(void *arg)
{
	struct thp_actor *a = arg;
	struct thp_race *race = a->race;
	struct thp_why why = { 0 };
	long long begin;
	int ret;

	pthread_barrier_wait(&start);
	begin = thp_now_ms();
	while (!__atomic_load_n(&race->ended, __ATOMIC_SEQ_CST)) {
		ret = a->step(race, a, &why);
		if (ret) {
			thp_why_default(&why, ret);
			fail(race, ret, a, &why);
			return NULL;
		}
		a->loops++;
		if (over(race, a, begin))
			break;
		/* There may be fewer CPUs than actors, and children to run. */
		sched_yield();
	}
	__atomic_store_n(&race->ended, 1, __ATOMIC_SEQ_CST);
	return NULL;
}

int thp_race_run(struct thp_race *race, struct thp_actor *actors, int n, struct thp_why *why)
{
	pthread_t tid[THP_RACE_ACTORS];
	pthread_attr_t attr;
	int i, ret;

	if (n > THP_RACE_ACTORS)
		return thp_why(why, -EINVAL, "%d actors, at most %d", n, THP_RACE_ACTORS);
	race->ended = 0;
	race->failed = 0;
	thp_why_clear(&race->why);
	pthread_barrier_init(&start, NULL, n + 1);
	for (i = 0; i < n; i++) {
		actors[i].race = race;
		actors[i].slot = i;
		actors[i].loops = 0;
		actors[i].hits = 0;
		pthread_attr_init(&attr);
		pthread_attr_setstack(&attr, stacks[i], STACK);
		ret = pthread_create(&tid[i], &attr, actor_main, &actors[i]);
		pthread_attr_destroy(&attr);
		/*
		 * The caller is a process of its own: threads at the barrier end when it exits.
		 */
		if (ret)
			return thp_why(why, -ret, "pthread_create: %s", strerror(ret));
	}
	pthread_barrier_wait(&start);
	for (i = 0; i < n; i++)
		pthread_join(tid[i], NULL);
	pthread_barrier_destroy(&start);
	if (race->failed)
		return thp_why_pass(why, race->failed, &race->why);
	return 0;
}

static int nothing(struct thp_race *race, struct thp_actor *self, struct thp_why *why)
{
	(void)race;
	(void)self;
	(void)why;
	return 0;
}

int thp_race_warm_up(struct thp_race *race)
{
	struct thp_actor idle[THP_RACE_ACTORS];
	int i, loops = race->max_loops;
	struct thp_why why = { 0 };
	int ret;

	race->chan = mmap(NULL, sizeof(*race->chan), PROT_READ | PROT_WRITE,
			  MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (race->chan == MAP_FAILED)
		return -errno;
	memset(race->chan, 0, sizeof(*race->chan));
	memset(idle, 0, sizeof(idle));
	for (i = 0; i < THP_RACE_ACTORS; i++)
		idle[i].step = nothing;
	race->max_loops = 1;
	ret = thp_race_run(race, idle, THP_RACE_ACTORS, &why);
	race->max_loops = loops;
	thp_warm_up();
	return ret;
}

int thp_race_residue(long long *kb)
{
	long long sum = 0, total;
	struct dirent *ent;
	DIR *dir;

	dir = opendir("/proc");
	if (!dir)
		return -errno;
	while ((ent = readdir(dir))) {
		long pid = strtol(ent->d_name, NULL, 10);
		long long bytes;

		if (pid <= 0)
			continue;
		/* Kernel threads have no such line, and other processes may have exited. */
		bytes = thp_obs_vmpte(pid);
		if (bytes > 0)
			sum += bytes >> 10;
	}
	closedir(dir);
	total = thp_obs_pagetables_kb();
	if (total < 0)
		return total;
	*kb = total - sum;
	return 0;
}

int thp_race_no_residue(long long before, long long slack, struct thp_why *why)
{
	long long now, least = LLONG_MAX;
	struct thp_deadline d;
	const char *missing = thp_env_missing(THP_NEED_STATS);
	int ret;

	if (missing) {
		printf("# PageTables not compared: %s\n", missing);
		return 0;
	}
	/* Processes that exit or map between two readings disturb single samples. */
	thp_deadline_start(&d, 0, THP_SETTLE_MS);
	for (;;) {
		ret = thp_race_residue(&now);
		if (ret)
			return thp_why(why, ret, "PageTables: %s", thp_errno_name(ret));
		if (now < least)
			least = now;
		if (least <= before + slack)
			return 0;
		if (thp_deadline_over(&d))
			break;
		thp_sleep_ms(100);
	}
	return thp_why(why, -EPROTO,
		       "PageTables of no process went from %lld kB to %lld kB, tolerance %lld kB",
		       before, least, slack);
}
