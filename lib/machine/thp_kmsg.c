// SPDX-License-Identifier: GPL-2.0
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "thp_kmsg.h"
#include "thp_limits.h"
#include "thp_run.h"

#define TAINTED "/proc/sys/kernel/tainted"

/* Taints that a test can cause: B(5) bad page, D(7) oops, W(9) warning, L(14) lockup. */
#define TAINT_DIE (1ULL << 7)
#define TAINT_BAD (1ULL << 5 | TAINT_DIE | 1ULL << 9 | 1ULL << 14)

#define COMM 32

/* A report lasts at most this many milliseconds, and names its task within so many lines. */
#define REPORT_MS 100
#define REPORT_LINES 80

/* CPUs that thp_kmsg_flush_mms() visits: more would take longer than the tests. */
#define CPUS_MAX 16

enum weight { NONE, LINE, REPORT, HUNG, BROKEN };

static const struct {
	enum weight weight;
	const char *text;
} complaints[] = {
#define COMPLAINT(w, t) { w, t },
#include "thp_complaints.h"
#undef COMPLAINT
};

struct thp_kmsg thp_log = { .fd = -1 };

/* thp_kmsg_flush_mms() reads ahead of thp_log. */
static struct thp_kmsg ahead = { .fd = -1 };

static enum weight weigh(const char *line)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(complaints); i++) {
		const char *text = complaints[i].text;

		if (text[0] == '^' ? !strncmp(line, text + 1, strlen(text + 1)) :
				     !!strstr(line, text))
			return complaints[i].weight;
	}
	return NONE;
}

bool thp_kmsg_is_bad(const char *line)
{
	return weigh(line) != NONE;
}

bool thp_kmsg_taint_is_bad(uint64_t before, uint64_t now)
{
	return now & ~before & TAINT_BAD;
}

/* "NAME<sep>PID" that ends at @end and starts after @begin; a name may contain blanks. */
static bool parse_name(const char *begin, const char *end, char sep, pid_t *pid, char *comm,
		       size_t len)
{
	const char *p = end;

	while (p > begin && isdigit((unsigned char)p[-1]))
		p--;
	if (p == end || p - 1 <= begin || p[-1] != sep)
		return false;
	*pid = atoi(p);
	snprintf(comm, len, "%.*s", (int)(p - 1 - begin), begin);
	return true;
}

bool thp_kmsg_names_task(const char *line, pid_t *pid, char *comm, size_t len)
{
	const char *p, *end = line + strlen(line);

	/* dump_stack_print_info(): "CPU: 0 UID: 0 PID: 1 Comm: init Not tainted" */
	p = strstr(line, "PID: ");
	if (p) {
		*pid = atoi(p + 5);
		p = strstr(p, "Comm: ");
		snprintf(comm, len, "%.*s", p ? (int)strcspn(p + 6, " ") : 0, p ? p + 6 : "");
		return true;
	}
	/* check_mm() since Linux 6.17: "... Comm:init Pid:1" */
	p = strstr(line, " Comm:");
	if (p && strstr(p, " Pid:")) {
		*pid = atoi(strstr(p, " Pid:") + 5);
		snprintf(comm, len, "%.*s", (int)(strstr(p, " Pid:") - p - 6), p + 6);
		return true;
	}
	/* __warn() since Linux 6.16: "WARNING: mm/x.c:1 at f+0x0/0x0, CPU#0: init/1" */
	p = strstr(line, ", CPU#");
	if (p && strstr(p, ": "))
		return parse_name(strstr(p, ": ") + 2, end, '/', pid, comm, len);
	/* khungtaskd: "INFO: task init:1 blocked for more than 120 seconds." */
	if (!strncmp(line, "INFO: task ", 11)) {
		p = strstr(line, " blocked ");
		if (p && p - 3 > line && !strncmp(p - 3, " is", 3))
			p -= 3;
		return p && parse_name(line + 11, p, ':', pid, comm, len);
	}
	/* KASAN: "Read of size 8 at addr 0 by task init/1" */
	p = strstr(line, " by task ");
	if (p)
		return parse_name(p + 9, end, '/', pid, comm, len);
	/* The watchdog: "... stuck for 22s! [init:1]" */
	p = strstr(line, "s! [");
	if (p && end[-1] == ']')
		return parse_name(p + 4, end - 1, ':', pid, comm, len);
	return false;
}

int thp_kmsg_open(struct thp_kmsg *log)
{
	uint64_t taint;

	log->selftest = false;
	if (log == &thp_log) {
		*thp_run_taint() = thp_read_u64(TAINTED, &taint) ? 0 : taint;
		(void)thp_kmsg_open(&ahead);
	}
	log->fd = open("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	if (log->fd < 0)
		return -errno;
	if (lseek(log->fd, 0, SEEK_END) < 0) {
		close(log->fd);
		log->fd = -1;
		return -ESPIPE;
	}
	return 0;
}

/* One record of the log: "prio,seq,usec,flags,caller=T1;text\n key=value\n". */
struct record {
	char buf[4096];
	const char *text;
	pid_t caller;		/* the task that logged it; -1: not said, 0: an interrupt */
};

/* The next record within @ms. False if there is none; *@lost if some were overwritten. */
static bool next_record(struct thp_kmsg *log, int ms, struct record *rec, bool *lost)
{
	struct pollfd pfd = { .fd = log->fd, .events = POLLIN };
	char *text, *end, *p;
	ssize_t n;

	while (log->fd >= 0) {
		n = read(log->fd, rec->buf, sizeof(rec->buf) - 1);
		if (n < 0 && errno == EPIPE) {
			*lost = true;
			continue;
		}
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN && ms && poll(&pfd, 1, ms) > 0) {
			ms = 0;
			continue;
		}
		if (n <= 0)
			return false;
		rec->buf[n] = '\0';
		text = strchr(rec->buf, ';');
		if (!text)
			continue;
		*text++ = '\0';
		end = strchr(text, '\n');
		if (end)
			*end = '\0';
		if (!strncmp(text, THP_KMSG_SELFTEST, strlen(THP_KMSG_SELFTEST))) {
			if (!log->selftest)
				continue;
			text += strlen(THP_KMSG_SELFTEST);
		}
		p = strstr(rec->buf, ",caller=");
		rec->caller = !p ? -1 : p[8] == 'T' ? atoi(p + 9) : 0;
		rec->text = text;
		return true;
	}
	return false;
}

/* The report that the kernel is logging. */
struct report {
	enum weight weight;
	char line[300];
	bool named;
	pid_t pid;
	char comm[COMM];
	pid_t caller;
	int lines;		/* since the first */
};

/* Decides who is to blame: -EPROTO with a cause in @why if it is the running test. */
static int blame(const struct report *r, struct thp_why *why)
{
	enum thp_owner owner = THP_OWNER_TEST;
	char test[THP_RUN_NAME];

	/*
	 * A single line may be logged by a task that it is not about: any task may drop the
	 * last reference to an address space.
	 */
	if (r->named)
		owner = thp_run_owner(r->pid, r->comm, test);
	else if (r->caller >= 0)
		owner = thp_run_owner(r->caller, "", test);
	if (r->weight == LINE && owner != THP_OWNER_EARLIER)
		owner = THP_OWNER_TEST;
	if (r->weight == HUNG && r->named && owner <= THP_OWNER_EARLIER)
		thp_run_break(r->line);
	/* Without a running test, whoever reads this log is to blame. */
	if (!thp_run_name()[0])
		return thp_why(why, -EPROTO, "kernel log: %s", r->line);
	if (owner == THP_OWNER_EARLIER)
		thp_run_unowned("of %s, during or after %s: kernel log: %s", test, thp_run_name(),
				r->line);
	else if (thp_run_between())
		thp_run_unowned("after %s: kernel log: %s", thp_run_name(), r->line);
	else if (owner == THP_OWNER_KERNEL)
		thp_run_unowned("during %s, by the kernel itself: kernel log: %s", thp_run_name(),
				r->line);
	else if (owner == THP_OWNER_OTHER)
		thp_run_unowned("during %s, not of this suite (%s, PID %d): kernel log: %s",
				thp_run_name(), r->comm[0] ? r->comm : "a process",
				r->named ? r->pid : r->caller, r->line);
	else
		return thp_why(why, -EPROTO, "kernel log: %s", r->line);
	return 0;
}

/* Ends report @r, if there is one. */
static void finish(struct report *r, int *ret, struct thp_why *why)
{
	if (r->weight == NONE)
		return;
	if (blame(r, why))
		*ret = -EPROTO;
	r->weight = NONE;
}

/* Takes in one line of the log. Lines of one report have one caller, if the log has callers. */
static void take(struct report *r, const struct record *rec, int *ret, struct thp_why *why)
{
	enum weight weight = weigh(rec->text);

	if (weight == BROKEN)
		thp_run_break(rec->text);
	if (weight != NONE && (r->weight == NONE || r->named || r->caller != rec->caller ||
			       r->weight == LINE || weight == LINE)) {
		finish(r, ret, why);
		memset(r, 0, sizeof(*r));
		r->weight = weight;
		snprintf(r->line, sizeof(r->line), "%s", rec->text);
		r->caller = rec->caller;
	} else if (r->weight == NONE || r->named || r->caller != rec->caller) {
		return;
	}
	r->lines++;
	/* A single-line complaint is named by its own line only. */
	if (r->weight == LINE && r->lines > 1)
		return;
	r->named = thp_kmsg_names_task(rec->text, &r->pid, r->comm, sizeof(r->comm));
}

static bool is_incomplete(const struct report *r)
{
	return r->weight > LINE && !r->named && r->lines < REPORT_LINES;
}

/* Taint bits since the last time that somebody was blamed for any, 0 if none. */
static uint64_t new_taint(uint64_t *before)
{
	uint64_t now;

	*before = *thp_run_taint();
	if (thp_read_u64(TAINTED, &now) || now == *before)
		return 0;
	*thp_run_taint() = now;
	return thp_kmsg_taint_is_bad(*before, now) ? now : 0;
}

int thp_kmsg_check(struct thp_kmsg *log, struct thp_why *why)
{
	struct report r = { .weight = NONE };
	struct record rec;
	bool lost = false, seen = false;
	uint64_t before, now;
	int ret = 0;

	while (next_record(log, is_incomplete(&r) ? REPORT_MS : 0, &rec, &lost)) {
		take(&r, &rec, &ret, why);
		seen |= r.weight != NONE;
	}
	finish(&r, &ret, why);
	now = new_taint(&before);
	if (now & ~before & TAINT_DIE)
		thp_run_break("the kernel has oopsed (taint D)");
	/* The line is logged first, the taint may come later. */
	if (seen)
		*thp_run_taint() |= TAINT_BAD;
	else if (now)
		ret = thp_why(why, -EPROTO, "kernel taint went from 0x%llx to 0x%llx",
			      (unsigned long long)before, (unsigned long long)now);
	if (lost && !ret)
		ret = thp_why(why, -EPIPE, "the kernel log overflowed, lines were lost");
	return ret;
}

bool thp_kmsg_find_broken(struct thp_kmsg *log, char *line, size_t len)
{
	char comm[COMM], test[THP_RUN_NAME];
	struct record rec;
	bool lost = false;
	pid_t pid;

	while (next_record(log, 0, &rec, &lost)) {
		switch (weigh(rec.text)) {
		case HUNG:
			if (!thp_kmsg_names_task(rec.text, &pid, comm, sizeof(comm)) ||
			    thp_run_owner(pid, comm, test) > THP_OWNER_EARLIER)
				continue;
			break;
		case BROKEN:
			break;
		default:
			continue;
		}
		snprintf(line, len, "%s", rec.text);
		return true;
	}
	return false;
}

void thp_kmsg_flush_mms(void)
{
	char line[THP_WHY_LEN];
	cpu_set_t all, one;
	int cpu;

	/* A task that has crashed with a lock held may keep its CPU: nobody leaves that again. */
	if (thp_kmsg_find_broken(&ahead, line, sizeof(line)))
		thp_run_break(line);
	if (thp_run_broken())
		return;
	if (sched_getaffinity(0, sizeof(all), &all) || CPU_COUNT(&all) > CPUS_MAX)
		return;
	for (cpu = 0; cpu < CPU_SETSIZE; cpu++) {
		if (!CPU_ISSET(cpu, &all))
			continue;
		CPU_ZERO(&one);
		CPU_SET(cpu, &one);
		(void)sched_setaffinity(0, sizeof(one), &one);
	}
	(void)sched_setaffinity(0, sizeof(all), &all);
}
