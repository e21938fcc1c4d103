// SPDX-License-Identifier: GPL-2.0
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "thp_access.h"
#include "thp_env.h"
#include "thp_inject.h"
#include "thp_run.h"
#include "thp_settings.h"
#include "thp_uapi.h"

/* Start value of `times`, more than any test uses up; what it has lost are the failures. */
#define TIMES 1000000000L

/*
 * A burner has more than a group may still give back when its limit is set: base pages that
 * one per-CPU stock and the rounding of a limit hide, and the memory of a process of the group
 * that has been reaped while somebody reads its /proc files: 12 MiB with a sanitizer.
 */
#define BURN_PAGES	2048
#define BURN_BYTES	(64UL << 20)

static struct {
	unsigned long start, end;
} range;

/* Tables, for take_tables(): until one is refused. */
#define ALL SIZE_MAX

static bool has_fragments(void)
{
	return thp_env.table < thp_env.page;
}

/*
 * The functions that allocate PTE tables of user mappings: x86 and generic; powerpc; s390.
 * The generic one is inline (asm-generic/pgalloc.h): the compiler may emit a copy for each
 * file that calls it, and failing one of these would spare the tables of all others.
 */
static struct {
	const char *name;
	unsigned long start;
	bool copies;
} allocators[] = {
	{ .name = "pte_alloc_one" },
	{ .name = "pte_alloc_one_noprof" },
	{ .name = "pte_fragment_alloc" },
	{ .name = "page_table_alloc" },
	{ .name = "page_table_alloc_noprof" },
};

static void find_start(unsigned long addr, const char *name)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(allocators); i++) {
		if (strcmp(name, allocators[i].name))
			continue;
		if (allocators[i].start)
			allocators[i].copies = true;
		allocators[i].start = addr;
	}
}

/* Sets the start of the range to the function that there is once, 0 if there is none. */
static void choose_start(void)
{
	size_t i;

	range.start = 0;
	for (i = 0; i < ARRAY_SIZE(allocators) && !range.start; i++)
		if (!allocators[i].copies)
			range.start = allocators[i].start;
}

static void find_end(unsigned long addr)
{
	if (addr > range.start && (!range.end || addr < range.end))
		range.end = addr;
}

/*
 * One pass over the text symbols of /proc/kallsyms, which is not sorted: for the
 * start of the function, or for the symbol after it. 0 or -errno.
 */
static int scan_symbols(bool end)
{
	static char buf[65536];
	size_t len = 0;
	char *line, *nl;
	ssize_t n;
	int fd;

	fd = open("/proc/kallsyms", O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	while ((n = read(fd, buf + len, sizeof(buf) - 1 - len)) > 0) {
		len += n;
		buf[len] = '\0';
		line = buf;
		while ((nl = strchr(line, '\n'))) {
			char *type;
			unsigned long addr = strtoul(line, &type, 16);

			*nl = '\0';
			/* "address type name[\tmodule]" */
			if ((type[1] | 0x20) == 't' && !strchr(type + 3, '\t')) {
				if (end)
					find_end(addr);
				else
					find_start(addr, type + 3);
			}
			line = nl + 1;
		}
		len -= line - buf;
		memmove(buf, line, len);
	}
	close(fd);
	return n < 0 ? -EIO : 0;
}

int thp_inject_init(void)
{
	size_t i;
	int ret;

	range.start = 0;
	range.end = 0;
	for (i = 0; i < ARRAY_SIZE(allocators); i++) {
		allocators[i].start = 0;
		allocators[i].copies = false;
	}
	ret = scan_symbols(false);
	if (ret)
		return ret;
	choose_start();
	if (!range.start)
		return -ENOENT;
	return scan_symbols(true);
}

bool thp_inject_can_target(void)
{
	return range.start && range.end;
}

struct knob {
	const char *name, *value;
	bool optional;		/* not all kernels have it */
};

static int set_knobs(const char *injector, const struct knob *knobs, size_t n,
		     struct thp_why *why)
{
	char path[256];
	size_t i;
	int ret;

	for (i = 0; i < n; i++) {
		snprintf(path, sizeof(path), "%s/%s/%s", thp_env.debugfs, injector, knobs[i].name);
		ret = thp_settings_set(path, knobs[i].value);
		if (ret && (ret != -ENOENT || !knobs[i].optional))
			return thp_why_default(why, ret);
	}
	return 0;
}

/*
 * fail-nth fires in whichever injector is called next, not only in fail_page_alloc:
 * should_fail_ex() checks the stack-trace filter and nothing else. No stack matches an
 * empty range, so this silences the other injectors.
 */
static int silence_others(struct thp_why *why)
{
	static const struct knob knobs[] = {
		{ "require-start", "1", true }, { "require-end", "1", true },
	};
	static const char * const others[] = {
		"fail_usercopy", "fail_futex", "fail_make_request", "fail_io_timeout",
		"fail_skb_realloc", "fail_sunrpc",
	};
	size_t i;

	for (i = 0; i < ARRAY_SIZE(others); i++)
		TRY(set_knobs(others[i], knobs, ARRAY_SIZE(knobs), why));
	return 0;
}

/*
 * failslab looks at two knobs of its own before it asks should_fail_ex(). With
 * ignore-gfp-wait on, its default, failslab refuses no allocation that may wait.
 */
static int set_up_slabs(bool fail, struct thp_why *why)
{
	const struct knob knobs[] = {
		/* Without failslab there is none that could refuse. */
		{ "ignore-gfp-wait", fail ? "N" : "Y", !fail },
		{ "cache-filter", "N", true },
		{ "verbose", "0", true },
		{ "stacktrace-depth", "0", true },
		{ "require-start", "0", true },
		{ "require-end", "0xffffffffffffffff", true },
		{ "reject-start", "0", true },
		{ "reject-end", "0", true },
	};

	return set_knobs("failslab", knobs, ARRAY_SIZE(knobs), why);
}

int thp_inject_slabs(struct thp_why *why)
{
	int ret = set_up_slabs(true, why);

	if (ret != -ENOENT)
		return ret;
	thp_why_clear(why);
	return thp_skip(why, "needs CONFIG_FAILSLAB");
}

/* fail_page_alloc, for all callers or, @targeted, for the allocator of PTE tables. */
static int set_up_pages(bool targeted, int min_order, struct thp_why *why)
{
	char start[32], end[32], order[16], times[16];
	const char *hex = "%#lx";
	const struct knob knobs[] = {
		{ "task-filter", "Y", false },
		{ "probability", "100", false },
		{ "interval", "1", false },
		{ "space", "0", false },
		{ "verbose", "0", false },
		{ "ignore-gfp-wait", "N", false },
		/*
		 * User pages are GFP_HIGHUSER: only a test of THP allocations wants them to
		 * fail.
		 */
		{ "ignore-gfp-highmem", min_order ? "N" : "Y", false },
		{ "min-order", order, false },
		/* Without the filter every allocation of the task would fail. */
		{ "stacktrace-depth", targeted ? "32" : "0", !targeted },
		{ "require-start", start, !targeted },
		{ "require-end", end, !targeted },
		{ "reject-start", "0", true },
		{ "reject-end", "0", true },
		{ "times", times, false },
	};

	snprintf(order, sizeof(order), "%d", min_order);
	snprintf(times, sizeof(times), "%ld", TIMES);
	snprintf(start, sizeof(start), hex, targeted ? range.start : 0UL);
	snprintf(end, sizeof(end), hex, targeted ? range.end : ~0UL);
	return set_knobs("fail_page_alloc", knobs, ARRAY_SIZE(knobs), why);
}

int thp_inject_tables(struct thp_why *why)
{
	if (!thp_inject_can_target())
		return thp_why(why, -ENOENT, "no allocator of PTE tables in kallsyms, or several");
	return set_up_pages(true, 0, why);
}

int thp_inject_any(int min_order, struct thp_why *why)
{
	TRY(set_up_pages(false, min_order, why));
	TRY(set_up_slabs(false, why));
	return silence_others(why);
}

int thp_inject_task(pid_t pid, bool fail)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/make-it-fail", pid);
	return thp_write_file(path, fail ? "1" : "0");
}

int thp_inject_own(bool fail)
{
	thp_run_starve(fail);
	return thp_inject_task(getpid(), fail);
}

long thp_inject_fired(void)
{
	char path[256], text[32];
	ssize_t n;

	snprintf(path, sizeof(path), "%s/fail_page_alloc/times", thp_env.debugfs);
	n = thp_read_file(path, text, sizeof(text));
	return n < 0 ? n : TIMES - atol(text);
}

/* Maps the zero page at @p, which takes a table and nothing else: 1 if it is refused, or -errno. */
static int table_refused(char *p, int nth_fd)
{
	(void)nth_fd;
	if (!madvise(p, thp_env.page, MADV_POPULATE_READ))
		return 0;
	return errno == ENOMEM || errno == EFAULT ? 1 : -errno;
}

static int table_refused_nth(char *p, int nth_fd)
{
	int ret = thp_inject_nth_arm(nth_fd, 1);

	if (ret)
		return ret;
	ret = table_refused(p, nth_fd);
	(void)thp_inject_nth_disarm(nth_fd);
	return ret;
}

/*
 * Allocates up to @max tables, until one is refused, and frees them; where a table is a
 * part of a page, that part is not allocated again. The number of tables; -ENOSPC if
 * there is no room for @max and none is refused; or -errno.
 */
static long take_tables(size_t max, int (*refused)(char *p, int nth_fd), int nth_fd)
{
	/* More than a page has fragments. */
	size_t room = 2 * thp_env.page / thp_env.table, pmd = thp_env.pmd, len = room * pmd;
	size_t n = max < room - 2 ? max : room - 2, i;
	int ret = 0;
	char *p;

	p = mmap(NULL, len, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (p == MAP_FAILED)
		return -errno;
	madvise(p, len, MADV_NOHUGEPAGE);
	/*
	 * The tables of the upper levels come with the first and the last page, which need not
	 * get theirs: in between only PTE tables are allocated.
	 */
	madvise(p, thp_env.page, MADV_POPULATE_READ);
	madvise(p + len - pmd, thp_env.page, MADV_POPULATE_READ);
	for (i = 0; i < n && !ret; i++)
		ret = refused(p + (i + 1) * pmd, nth_fd);
	munmap(p, len);
	if (ret < 0)
		return ret;
	return max > n && !ret ? -ENOSPC : (long)i - ret;
}

/* The same in a task that is failing already: its failures are not those of a test. */
static long take_failing(size_t max)
{
	char path[256], times[32];
	long got;
	int ret;

	snprintf(path, sizeof(path), "%s/fail_page_alloc/times", thp_env.debugfs);
	ret = thp_read_file(path, times, sizeof(times));
	if (ret < 0)
		return ret;
	got = take_tables(max, table_refused, -1);
	ret = thp_write_file(path, times);
	return ret ? ret : got;
}

int thp_inject_drain(struct thp_why *why)
{
	long got = has_fragments() ? take_failing(ALL) : 0;

	return got < 0 ? thp_why(why, got, "PTE tables cannot be used up: %s",
				 thp_errno_name(got)) : 0;
}

int thp_inject_nth_drain(int fd)
{
	long got;

	if (!has_fragments())
		return 0;
	got = take_tables(ALL, table_refused_nth, fd);
	return got < 0 ? got : 0;
}

int thp_inject_self(struct thp_why *why)
{
	int ret = thp_inject_own(true);

	if (ret)
		return thp_why(why, ret, "make-it-fail: %s", thp_errno_name(ret));
	ret = thp_inject_drain(why);
	if (ret)
		(void)thp_inject_own(false);
	return ret;
}

/*
 * "space" is a budget in pages; failures begin when it is used up: an allocation that would
 * bring it to 0 fails. The set-up has saved the old value.
 */
static int set_space(unsigned int pages)
{
	char path[256];

	snprintf(path, sizeof(path), "%s/fail_page_alloc/space", thp_env.debugfs);
	return thp_write_fmt(path, "%u", pages + 1);
}

int thp_inject_grant(unsigned int tables)
{
	long n, got;
	int ret;

	if (!has_fragments())
		return set_space(tables);
	ret = set_space(0);
	if (!ret)
		ret = thp_inject_drain(NULL);
	if (ret || !tables)
		return ret;
	/* Counts the tables that fit in one page; then takes all of the next page but @tables. */
	ret = set_space(1);
	if (ret)
		return ret;
	n = take_failing(ALL);
	if (n < 0)
		return n;
	n -= tables;
	if (n < 0)
		return -ENOSPC;
	ret = set_space(1);
	if (ret)
		return ret;
	got = take_failing(n);
	if (got < 0)
		return got;
	return got == n ? 0 : -ENOSPC;
}

int thp_inject_nth_open(void)
{
	int fd = open("/proc/thread-self/fail-nth", O_RDWR | O_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

int thp_inject_nth_arm(int fd, int nth)
{
	char text[16];
	int n = snprintf(text, sizeof(text), "%d", nth);

	return pwrite(fd, text, n, 0) == n ? 0 : -errno;
}

int thp_inject_nth_disarm(int fd)
{
	char text[16] = "";
	int i, left;

	/* fail-nth can hit the very calls that disarm it, once. */
	for (i = 0; i < 3; i++)
		if (pread(fd, text, sizeof(text) - 1, 0) > 0)
			break;
	left = atoi(text);
	for (i = 0; i < 3; i++)
		if (pwrite(fd, "0", 1, 0) == 1)
			return !left;
	return -errno;
}

int thp_burner_create(struct thp_burner *b)
{
	size_t i, len;

	b->pages = BURN_BYTES / thp_env.page;
	if (b->pages < BURN_PAGES)
		b->pages = BURN_PAGES;
	b->used = 0;
	len = b->pages * thp_env.page;
	b->base = mmap(NULL, len, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (b->base == MAP_FAILED)
		return -errno;
	madvise(b->base, len, MADV_NOHUGEPAGE);
	/* Faulting the burner in must not need page tables later. */
	for (i = 0; i < len; i += thp_env.pmd)
		thp_touch(b->base + i);
	thp_touch(b->base + len - 1);
	return 0;
}

int thp_burner_burn(struct thp_burner *b)
{
	for (; b->used < b->pages; b->used++) {
		if (madvise(b->base + b->used * thp_env.page, thp_env.page, MADV_POPULATE_WRITE))
			return errno == ENOMEM ? 0 : -errno;
	}
	return -ENOSPC;
}

int thp_pin_cpu(void)
{
	int cpu = sched_getcpu();
	cpu_set_t set;

	if (cpu < 0)
		return -errno;
	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	return sched_setaffinity(0, sizeof(set), &set) ? -errno : 0;
}

void thp_inject_report(const char *injector, bool needed, long refused, const char *outcome, ...)
{
	char text[128];
	va_list ap;

	va_start(ap, outcome);
	vsnprintf(text, sizeof(text), outcome, ap);
	va_end(ap);
	printf("# refusal: %s | %s | %ld | %s\n", injector, needed ? "needs a table" : "needs none",
	       refused, text);
	/* The caller may be a child that exits without flushing, or be about to fork. */
	fflush(stdout);
}
