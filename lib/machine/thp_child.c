// SPDX-License-Identifier: GPL-2.0
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "thp_child.h"
#include "thp_env.h"
#include "thp_reserve.h"
#include "thp_run.h"

/*
 * The range of one PTE table. Its first page is written once and stays, and with it the
 * table, in every process: a channel that comes or goes changes no count of page tables.
 */
#define SLOTS	16

static struct {
	char *base;		/* NULL: there is none */
	size_t slot;		/* bytes of a channel */
	unsigned int used;	/* slots of this process and of those that it was forked from */
} room;

int thp_child_init(void)
{
	size_t page = thp_env.page, len;
	char *area, *base;

	base = thp_reserve(thp_env.pmd, thp_env.pmd, &area, &len);
	if (!base)
		return -errno;
	if (mprotect(base, page, PROT_READ | PROT_WRITE) ||
	    madvise(base, page, MADV_NOHUGEPAGE)) {
		munmap(area, len);
		return -errno;
	}
	*base = 1;
	room.slot = (sizeof(struct thp_chan) + page - 1) / page * page;
	if (page + SLOTS * room.slot <= thp_env.pmd)
		room.base = base + page;
	return 0;
}

int thp_child_prepare(struct thp_child *c)
{
	unsigned int i = room.base ? __builtin_ffs(~room.used & ((1U << SLOTS) - 1)) : 0;
	char *slot = i ? room.base + (i - 1) * room.slot : NULL;
	struct thp_chan *chan;

	chan = mmap(slot, sizeof(*chan), PROT_READ | PROT_WRITE,
		    MAP_SHARED | MAP_ANONYMOUS | (slot ? MAP_FIXED : 0), -1, 0);
	if (chan == MAP_FAILED)
		return thp_note(-errno, "no memory to share with a child");
	if (slot)
		room.used |= 1U << (i - 1);
	memset(chan, 0, sizeof(*chan));
	c->chan = chan;
	return 0;
}

static void release(struct thp_child *c)
{
	char *p = (char *)c->chan;

	c->pid = 0;
	c->chan = NULL;
	if (!p)
		return;
	if (!room.base || p < room.base || p >= room.base + SLOTS * room.slot)
		munmap(p, sizeof(*c->chan));
	/* A slot that cannot be given back stays in use. */
	else if (mmap(p, room.slot, PROT_NONE,
		      MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0) == p)
		room.used &= ~(1U << (p - room.base) / room.slot);
}

int thp_child_start(struct thp_child *c, int (*fn)(struct thp_chan *chan, void *arg), void *arg)
{
	bool prepared = c->chan;
	pid_t parent = getpid();
	struct thp_chan *chan;
	pid_t pid;
	int ret;

	if (!prepared) {
		ret = thp_child_prepare(c);
		if (ret)
			return ret;
	}
	chan = c->chan;
	c->status = 0;
	fflush(stdout);
	fflush(stderr);
	/* Only the parent writes *c, which may be in shared memory. */
	pid = fork();
	if (pid < 0) {
		int err = errno;

		if (!prepared)
			release(c);
		c->pid = 0;
		return thp_note(-err, "fork of a child");
	}
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getppid() != parent)
			_exit(1);
		/*
		 * fork() does not copy the page tables of shared memory: fault the page in now.
		 * thp_why_clear() also writes to the note, so that the child has a copy of that
		 * page: a starved child would wait for ever in that fault.
		 */
		chan->to_parent = 0;
		thp_why_clear(&chan->why);
		ret = fn(chan, arg);
		/* The notes are gone when the child exits. */
		if (ret)
			thp_why_default(&chan->why, ret);
		_exit(ret ? 1 : 0);
	}
	c->pid = pid;
	return 0;
}

void thp_chan_post_child(struct thp_chan *chan, int step)
{
	__atomic_store_n(&chan->to_child, step, __ATOMIC_SEQ_CST);
}

void thp_chan_post_parent(struct thp_chan *chan, int step)
{
	__atomic_store_n(&chan->to_parent, step, __ATOMIC_SEQ_CST);
}

void thp_chan_await_parent(struct thp_chan *chan, int step)
{
	/* PR_SET_PDEATHSIG ends this loop if the parent is gone. */
	while (__atomic_load_n(&chan->to_child, __ATOMIC_SEQ_CST) < step)
		thp_sleep_ms(1);
}

void thp_chan_beat(struct thp_chan *chan)
{
	__atomic_add_fetch(&chan->beats, 1, __ATOMIC_SEQ_CST);
}

/* thp_deadline_over() for a child; each beat of the child starts the limit anew. */
static bool is_over(const struct thp_child *c, struct thp_deadline *d, int *beats)
{
	int now = c->chan ? __atomic_load_n(&c->chan->beats, __ATOMIC_SEQ_CST) : 0;

	if (now != *beats) {
		*beats = now;
		thp_deadline_start(d, d->pid, d->ms);
	}
	return thp_deadline_over(d);
}

int thp_child_watch(struct thp_child *c, int step, int ms)
{
	long long end = thp_now_ms() + ms;
	siginfo_t info = { .si_pid = 0 };
	bool ended;

	for (;;) {
		/* First, because it may announce the step and then end. */
		ended = !c->pid || (!waitid(P_PID, c->pid, &info, WEXITED | WNOHANG | WNOWAIT) &&
				    info.si_pid);
		if (__atomic_load_n(&c->chan->to_parent, __ATOMIC_SEQ_CST) >= step)
			return 0;
		if (ended)
			return thp_note(-ECHILD, "the child ended before its step %d", step);
		if (thp_now_ms() > end)
			return -ETIMEDOUT;
		thp_sleep_ms(1);
	}
}

int thp_child_await(struct thp_child *c, int step, int limit_ms)
{
	int beats = 0, ret;

	thp_deadline_start(&c->limit, c->pid, limit_ms);
	do {
		ret = thp_child_watch(c, step, 0);
	} while (ret == -ETIMEDOUT && !is_over(c, &c->limit, &beats));
	return ret != -ETIMEDOUT ? ret :
	       thp_note(ret, "no answer from the child within %d ms, at step %d", limit_ms, step);
}

int thp_child_join(struct thp_child *c, int limit_ms, struct thp_why *why)
{
	bool killed = false;
	struct thp_deadline d;
	long long spent = 0;
	int beats = 0, ret = 0;
	pid_t got;

	if (!c->pid)
		return thp_why(why, -ECHILD, "no child process");
	thp_deadline_start(&d, c->pid, limit_ms);
	while (!(got = waitpid(c->pid, &c->status, WNOHANG))) {
		if ((limit_ms || killed) && !is_over(c, &d, &beats)) {
			thp_sleep_ms(1);
			continue;
		}
		if (killed) {
			thp_run_suspect(c->pid);
			ret = thp_why(why, -EPROTO, "child %d does not die from SIGKILL", c->pid);
			release(c);
			return ret;
		}
		killed = true;
		spent = d.wall + 1;
		kill(c->pid, SIGKILL);
		/* The kernel does the work of dying: the CPU time of the process says nothing. */
		thp_deadline_start(&d, 0, THP_KILL_MS);
	}
	if (got < 0 && errno == ECHILD)
		/* make_task_dead() lets nobody wait for a task that crashes as it exits. */
		ret = thp_why(why, -errno, "child %d crashed inside the kernel", c->pid);
	else if (got < 0)
		ret = thp_why(why, -errno, "waitpid: %s", strerror(errno));
	else if (spent)
		ret = thp_why(why, -EPROTO, "child did not finish within %lld ms", spent);
	else if (WIFSIGNALED(c->status))
		ret = thp_why(why, -EPROTO, "child killed by %s",
			      thp_signal_name(WTERMSIG(c->status)));
	else if (WEXITSTATUS(c->status) && !c->chan->why.text[0])
		ret = thp_why(why, -EPROTO, "child failed without a cause");
	else if (WEXITSTATUS(c->status))
		ret = thp_why_pass(why, c->chan->why.skip ? -ENOTSUP : -EPROTO, &c->chan->why);
	release(c);
	return ret;
}

void thp_child_kill(struct thp_child *c)
{
	if (c->pid)
		(void)thp_child_join(c, 0, NULL);
	else
		release(c);
}

int thp_child_run(int (*fn)(struct thp_chan *chan, void *arg), void *arg, int limit_ms,
		  struct thp_why *why)
{
	struct thp_child c = { 0 };
	int ret;

	ret = thp_child_start(&c, fn, arg);
	if (ret)
		return thp_why(why, ret, "fork: %s", thp_errno_name(ret));
	return thp_child_join(&c, limit_ms, why);
}
