// SPDX-License-Identifier: GPL-2.0
#include <errno.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "thp_access.h"
#include "thp_clock.h"
#include "thp_file.h"
#include "thp_limits.h"

/* Duration of the measured work on a normal machine, in microseconds, and its amount. */
#define NORMAL_US	40000
#define ROUNDS		12
#define WARM_UP		2
#define FAULT_BYTES	(2 << 20)
#define SWITCHES	60
#define SPINS		1000000

/*
 * take_time() stops after this many microseconds and extrapolates to ROUNDS; but it always
 * runs LEAST rounds, so that one of them can be left out.
 */
#define ENOUGH_US	200000
#define LEAST		3

/*
 * Between two looks of a waiting process lie a few milliseconds. Of a longer time this much
 * counts, THP_STALLS times: the waiting process did not run then, because the machine is a
 * virtual one that stood still, or is very busy.
 */
#define STALL_MS	250

/* How much slower than normal a machine may be before limits grow, by the clock and in CPU time. */
#define SPARE		8
#define CPU_SPARE	16

/* A time span: by the clock, and on a CPU. Microseconds. */
struct span {
	long long wall;
	long long cpu;
};

static struct {
	double slow;		/* now, at least 1: by the clock */
	double cpu_slow;	/* the same for CPU time, which neighbours do not use up */
	double machine, cpu_machine;	/* both at the start, before clamp() */
	struct span spin;	/* of compute() at the start */
	long long lost_ms;
} alone = { .slow = 1, .cpu_slow = 1, .machine = 1, .cpu_machine = 1 }, *shared = &alone;

/* Now, including the children that have been waited for. */
static struct span now(void)
{
	static const int whose[] = { RUSAGE_SELF, RUSAGE_CHILDREN };
	struct span s = { .wall = thp_now_us() };
	struct rusage ru;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(whose); i++)
		if (!getrusage(whose[i], &ru))
			s.cpu += (ru.ru_utime.tv_sec + ru.ru_stime.tv_sec) * 1000000LL +
				 ru.ru_utime.tv_usec + ru.ru_stime.tv_usec;
	return s;
}

/* Times fork() and the switches between two processes. */
static int ping_pong(void)
{
	int to[2], from[2], i, status, ret = 0;
	char c = 0;
	pid_t pid;

	if (pipe(to))
		return -errno;
	if (pipe(from)) {
		close(to[0]);
		close(to[1]);
		return -EMFILE;
	}
	pid = fork();
	if (!pid) {
		close(to[1]);
		while (read(to[0], &c, 1) == 1)
			if (write(from[1], &c, 1) != 1)
				break;
		_exit(0);
	}
	close(to[0]);
	close(from[1]);
	for (i = 0; i < SWITCHES && pid > 0 && !ret; i++)
		if (write(to[1], &c, 1) != 1 || read(from[0], &c, 1) != 1)
			ret = -EPIPE;
	close(to[1]);
	close(from[0]);
	if (pid > 0)
		waitpid(pid, &status, 0);
	return pid < 0 ? -EAGAIN : ret;
}

static void fault_pages(void)
{
	size_t i, page = sysconf(_SC_PAGESIZE);
	char *p;

	p = mmap(NULL, FAULT_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (p == MAP_FAILED)
		return;
	madvise(p, FAULT_BYTES, MADV_NOHUGEPAGE);
	for (i = 0; i < FAULT_BYTES; i += page)
		thp_touch(p + i);
	munmap(p, FAULT_BYTES);
}

static void pages_and_switches(void)
{
	fault_pages();
	(void)ping_pong();
}

/* User code that runs long enough to be preempted by other tasks. */
static void compute(void)
{
	uint64_t x = 1;
	int i;

	for (i = 0; i < SPINS; i++) {
		x = x * 6364136223846793005ULL + 1442695040888963407ULL;
		__asm__ volatile("" : "+r" (x));
	}
}

/*
 * What ROUNDS calls of @fn take. The first calls are left out: an emulator has to translate
 * the code. Of the clock times the longest is left out: one long wait, for a neighbour or
 * because the whole virtual machine stood still, does not predict the next hours. The
 * others count in full, because a machine that keeps losing the CPU is slow. Of the CPU
 * times the shortest counts, because whatever exceeds it is caused by neighbours.
 */
static struct span take_time(void (*fn)(void))
{
	long long begin = thp_now_us(), least = LLONG_MAX, longest = 0, spent;
	struct span last, next, s = { 0, 0 };
	int i;

	for (i = 0; i < WARM_UP && thp_now_us() - begin < ENOUGH_US; i++)
		fn();
	for (i = 0, spent = 0; i < ROUNDS && (i < LEAST || spent < ENOUGH_US); i++) {
		last = now();
		fn();
		next = now();
		spent += next.wall - last.wall;
		if (next.wall - last.wall > longest)
			longest = next.wall - last.wall;
		if (next.cpu - last.cpu < least)
			least = next.cpu - last.cpu;
	}
	s.wall = (spent - longest) * ROUNDS / (i - 1);
	s.cpu = least * ROUNDS;
	return s;
}

static double clamp(double slow)
{
	return slow < 1 ? 1 : slow > THP_SLOW_MAX ? THP_SLOW_MAX : slow;
}

void thp_limits_init(void)
{
	struct span work;
	void *page;

	page = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
		    -1, 0);
	if (page != MAP_FAILED)
		shared = page;
	*shared = alone;
	work = take_time(pages_and_switches);
	shared->spin = take_time(compute);
	shared->machine = (double)(work.wall + shared->spin.wall) / NORMAL_US / SPARE;
	shared->cpu_machine = (double)(work.cpu + shared->spin.cpu) / NORMAL_US / CPU_SPARE;
	shared->slow = clamp(shared->machine);
	shared->cpu_slow = clamp(shared->cpu_machine);
}

double thp_slow(void)
{
	return shared->slow;
}

double thp_cpu_slow(void)
{
	return shared->cpu_slow;
}

static long long scaled(long long ms, double slow)
{
	double limit = ms * slow;

	if (__atomic_load_n(&shared->lost_ms, __ATOMIC_SEQ_CST) > THP_LOST_MS * shared->slow)
		limit /= 4;
	return limit;
}

int thp_limit(int ms)
{
	long long limit = scaled(ms, shared->slow);

	return limit > INT_MAX ? INT_MAX : limit;
}

/*
 * The load may have grown since the start. Runs compute() only: pages_and_switches() forks,
 * and this process may have THPs mapped, which the fork would share.
 */
void thp_limits_renew(void)
{
	struct span s;
	double slow;

	if (!shared->spin.wall || !shared->spin.cpu)
		return;
	s = take_time(compute);
	slow = clamp(shared->machine * s.wall / shared->spin.wall);
	if (slow > shared->slow)
		shared->slow = slow;
	slow = clamp(shared->cpu_machine * s.cpu / shared->spin.cpu);
	if (slow > shared->cpu_slow)
		shared->cpu_slow = slow;
}

/* CPU time of a process in ms, -1 if the process is gone. */
static long long cpu_ms(pid_t pid)
{
	struct timespec ts;
	clockid_t clock;

	if (!pid || clock_getcpuclockid(pid, &clock) || clock_gettime(clock, &ts))
		return -1;
	return ts.tv_sec * 1000LL + ts.tv_nsec / 1000000;
}

/*
 * How long a process has waited for a CPU, in ms: "run delay-ns slices" of its first thread.
 * 0 without CONFIG_SCHED_INFO.
 */
static long long delay_ms(pid_t pid)
{
	unsigned long long delay;
	char path[64], text[96];

	snprintf(path, sizeof(path), "/proc/%d/schedstat", pid);
	if (!pid || thp_read_file(path, text, sizeof(text)) < 0 ||
	    sscanf(text, "%*u %llu", &delay) != 1)
		return 0;
	return delay / 1000000;
}

long long thp_kernel_ms(pid_t pid)
{
	/* Clock IDs of a process: CPUCLOCK_PROF is all of its time, CPUCLOCK_VIRT user code. */
	const clockid_t all = (clockid_t)(~(unsigned int)pid << 3), user = all | 1;
	struct timespec a, u;

	if (clock_gettime(all, &a) || clock_gettime(user, &u))
		return -1;
	return (a.tv_sec - u.tv_sec) * 1000LL + (a.tv_nsec - u.tv_nsec) / 1000000;
}

void thp_deadline_start(struct thp_deadline *d, pid_t pid, int ms)
{
	*d = (struct thp_deadline) {
		.pid = pid, .ms = ms,
		.last = thp_now_ms(), .cpu_last = cpu_ms(pid), .delay_begin = delay_ms(pid),
	};
}

/* The process has spent its limit of CPU time. */
static bool is_spent(const struct thp_deadline *d)
{
	return d->pid && d->cpu > scaled(d->ms, shared->cpu_slow);
}

/* Adds the time since the last look: is one of the limits used up? */
static bool is_over(struct thp_deadline *d)
{
	long long now = thp_now_ms(), cpu = cpu_ms(d->pid), wall = now - d->last, spent = 0;

	if (cpu >= 0 && d->cpu_last >= 0)
		spent = cpu - d->cpu_last;
	if (wall > STALL_MS && d->stalls < THP_STALLS) {
		d->stalls++;
		wall = STALL_MS;
		if (spent > STALL_MS)
			spent = STALL_MS;
	}
	d->wall += wall;
	d->cpu += spent;
	d->last = now;
	if (cpu >= 0)
		d->cpu_last = cpu;
	if (!d->pid)
		return d->wall > scaled(d->ms, shared->slow);
	return is_spent(d) || d->wall > scaled((long long)THP_WALL * d->ms, shared->slow);
}

bool thp_deadline_over(struct thp_deadline *d)
{
	if (!is_over(d))
		return false;
	thp_limits_renew();
	if (!is_over(d))
		return false;
	d->delay = delay_ms(d->pid) - d->delay_begin;
	__atomic_add_fetch(&shared->lost_ms, d->wall, __ATOMIC_SEQ_CST);
	return true;
}

bool thp_deadline_burnt(const struct thp_deadline *d)
{
	/* Or the clock was first, because the process shared the CPU with several others. */
	return is_spent(d) ||
	       (d->pid && (d->cpu * 2 * THP_WALL > d->wall || (d->cpu + d->delay) * 2 > d->wall));
}
