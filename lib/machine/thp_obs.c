// SPDX-License-Identifier: GPL-2.0
#include <errno.h>
#include <fcntl.h>
#include <linux/membarrier.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "thp_obs.h"
#include "thp_uapi.h"

#define PM_PFN_MASK	((1ULL << 55) - 1)
#define PM_TYPE_MASK	0x1fULL
/*
 * Types of entries that are no swap: the kernel takes at most 9 of 32, from the top, for
 * device memory, migration, poisoned pages and markers.
 */
#define PM_TYPE_SPECIAL	23
#define KPF_THP		22
#define KPF_ZERO_PAGE	24

/* Longest text read in one piece: /proc/vmstat is about 5 kB on a big kernel. */
static char text[32768];

static int proc_path(char *buf, size_t len, pid_t pid, const char *name)
{
	if (pid)
		return snprintf(buf, len, "/proc/%d/%s", pid, name);
	return snprintf(buf, len, "/proc/self/%s", name);
}

long long thp_obs_vmpte(pid_t pid)
{
	char path[64];
	uint64_t kb;
	ssize_t n;

	proc_path(path, sizeof(path), pid, "status");
	n = thp_read_file(path, text, sizeof(text));
	if (n < 0)
		return n;
	/* A process that is exiting has no mm and no such line. */
	if (thp_field_u64(text, "VmPTE", &kb))
		return -ESRCH;
	return kb << 10;
}

static uint64_t event(const char *name)
{
	uint64_t val;

	return thp_field_u64(text, name, &val) ? THP_EVENT_NONE : val;
}

int thp_obs_events(struct thp_events *ev)
{
	ssize_t n;

	n = thp_read_file("/proc/vmstat", text, sizeof(text));
	if (n < 0)
		return n;
	ev->split_pmd = event("thp_split_pmd");
	ev->split_pmd_failed = event("thp_split_pmd_failed");
	ev->split_page = event("thp_split_page");
	ev->split_page_failed = event("thp_split_page_failed");
	ev->fault_alloc = event("thp_fault_alloc");
	ev->fault_fallback = event("thp_fault_fallback");
	ev->zero_page_alloc = event("thp_zero_page_alloc");
	ev->swpout = event("pswpout");
	ev->swpout_pmd = event("thp_swpout_pmd");
	ev->swpout_fallback = event("thp_swpout_fallback");
	ev->migrated = event("thp_migration_success");
	ev->migrate_split = event("thp_migration_split");
	ev->deferred = event("thp_deferred_split_page");
	ev->underused = event("thp_underused_split_page");
	return 0;
}

uint64_t thp_obs_vmstat(const char *name)
{
	if (thp_read_file("/proc/vmstat", text, sizeof(text)) < 0)
		return THP_EVENT_NONE;
	return event(name);
}

long thp_obs_minor_faults(void)
{
	struct rusage ru;

	return getrusage(RUSAGE_SELF, &ru) ? -errno : ru.ru_minflt;
}

const char *thp_state_name(enum thp_state state)
{
	static const char * const names[] = {
		"unmapped", "PTE-mapped", "PMD-mapped", "huge-zero PMD", "unknown",
		"a THP in swap", "mixed",
	};

	return names[state];
}

int thp_obs_pagemap(const void *addr, uint64_t *entries, size_t pages)
{
	size_t page = sysconf(_SC_PAGESIZE);
	ssize_t n;
	int fd;

	fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	n = pread(fd, entries, pages * 8, (uintptr_t)addr / page * 8);
	if (n < 0)
		n = -errno;
	close(fd);
	if (n < 0)
		return n;
	return (size_t)n == pages * 8 ? 0 : -EIO;
}

long thp_obs_pages(const void *addr, size_t len, uint64_t bits)
{
	size_t page = sysconf(_SC_PAGESIZE);
	const char *p = addr;
	uint64_t ent[64];
	long found = 0;
	size_t i, n;
	int ret;

	while (len) {
		n = len / page < 64 ? len / page : 64;
		ret = thp_obs_pagemap(p, ent, n);
		if (ret)
			return ret;
		for (i = 0; i < n; i++)
			found += !!(ent[i] & bits);
		p += n * page;
		len -= n * page;
	}
	return found;
}

bool thp_obs_scan_blind;
uint64_t thp_obs_scan_mask = PAGE_IS_PRESENT | PAGE_IS_SWAPPED | PAGE_IS_HUGE | PAGE_IS_PFNZERO;

/* Bytes of a range that PAGEMAP_SCAN finds mapped by PMDs with these @bits, or -errno. */
static long long huge_by_scan(uint64_t start, uint64_t end, uint64_t bits)
{
	struct page_region vec[16];
	struct pm_scan_arg arg = {
		.size = sizeof(arg),
		.start = start,
		.end = end,
		.vec = (uintptr_t)vec,
		.vec_len = ARRAY_SIZE(vec),
		.category_mask = PAGE_IS_HUGE | bits,
		.return_mask = PAGE_IS_HUGE,
	};
	long long found = 0;
	int fd, n, i;

	fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	do {
		n = ioctl(fd, PAGEMAP_SCAN, &arg);
		for (i = 0; i < n; i++)
			found += vec[i].end - vec[i].start;
		arg.start = arg.walk_end;
	} while (n > 0 && arg.start < end);
	if (n < 0)
		found = -errno;
	close(fd);
	return found;
}

/* PAGEMAP_SCAN: 0 and the answer, or -errno where the kernel has no such call. */
static int state_by_scan(const void *addr, size_t len, enum thp_state *state)
{
	struct page_region vec[4];
	struct pm_scan_arg arg = {
		.size = sizeof(arg),
		.start = (uintptr_t)addr,
		.end = (uintptr_t)addr + len,
		.vec = (uintptr_t)vec,
		.vec_len = 4,
		.category_anyof_mask = PAGE_IS_PRESENT | PAGE_IS_SWAPPED,
		.return_mask = thp_obs_scan_mask,
	};
	int fd, n;

	fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	n = ioctl(fd, PAGEMAP_SCAN, &arg);
	if (n < 0)
		n = -errno;
	close(fd);
	if (n < 0)
		return n;
	if (!n)
		*state = THP_STATE_NONE;
	else if (n > 1 || !(vec[0].categories & PAGE_IS_HUGE))
		*state = THP_STATE_PTE;
	else if (vec[0].start != arg.start || vec[0].end != arg.end)
		*state = THP_STATE_UNKNOWN;
	else if (vec[0].categories & PAGE_IS_PFNZERO)
		*state = THP_STATE_PMD_ZERO;
	else if (vec[0].categories & PAGE_IS_SWAPPED)
		*state = THP_STATE_PMD_SWAP;
	else
		*state = THP_STATE_PMD;
	return 0;
}

int thp_obs_kpageflags(uint64_t entry, uint64_t *flags)
{
	uint64_t pfn = entry & PM_PFN_MASK;
	ssize_t n;
	int fd;

	if (!pfn)
		return -EPERM;
	fd = open("/proc/kpageflags", O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	n = pread(fd, flags, sizeof(*flags), pfn * sizeof(*flags));
	close(fd);
	return n == sizeof(*flags) ? 0 : -EIO;
}

/* Whether such an entry maps the huge zero folio; -errno as above. */
static int is_huge_zero(uint64_t entry, bool *zero)
{
	uint64_t flags = 0;
	int ret = thp_obs_kpageflags(entry, &flags);

	*zero = (flags >> KPF_ZERO_PAGE & 1) && (flags >> KPF_THP & 1);
	return ret;
}

/*
 * What a range is that is mapped by one PMD, where PAGEMAP_SCAN does not tell: THP_STATE_PMD
 * may be the huge zero folio, without PAGE_IS_PFNZERO; THP_STATE_PMD_SWAP is not present,
 * in swap or not. By its entry; and by smaps where only root may read what that takes. smaps
 * counts no zero folio, and nothing but swap as Swap; but for whole VMAs: one with PMDs of
 * both sorts is THP_STATE_UNKNOWN.
 */
static int look_closer(const void *addr, size_t len, enum thp_state *state)
{
	bool swap = *state == THP_STATE_PMD_SWAP, zero;
	uint64_t entry, counted_kb;
	struct thp_smaps sm;
	long long huge;
	int ret;

	ret = thp_obs_pagemap(addr, &entry, 1);
	if (ret)
		return ret;
	/* Only a present entry has a frame number; device memory is never zero. */
	if (!swap && !(entry & THP_PM_PRESENT))
		return 0;
	if (!swap && !is_huge_zero(entry, &zero)) {
		*state = zero ? THP_STATE_PMD_ZERO : THP_STATE_PMD;
		return 0;
	}
	/*
	 * An entry of swap is never 0, as the first slot of each area is its header: so what
	 * unprivileged users see tells nothing. A present one was migrated since the scan.
	 */
	if (swap && entry & PM_PFN_MASK) {
		if (entry & THP_PM_PRESENT || (entry & PM_TYPE_MASK) >= PM_TYPE_SPECIAL)
			*state = THP_STATE_PMD;
		return 0;
	}
	ret = thp_obs_smaps(0, addr, len, &sm);
	if (ret)
		return ret;
	huge = huge_by_scan(sm.start, sm.end, swap ? PAGE_IS_SWAPPED : PAGE_IS_PRESENT);
	if (huge < 0)
		return huge;
	counted_kb = swap ? sm.swap_kb : sm.anon_huge_kb + sm.shmem_huge_kb;
	if (!counted_kb)
		*state = swap ? THP_STATE_PMD : THP_STATE_PMD_ZERO;
	else if (counted_kb << 10 < (uint64_t)huge)
		*state = THP_STATE_UNKNOWN;
	return 0;
}

int thp_obs_probe_scan(const void *addr, size_t len)
{
	enum thp_state scan, other = THP_STATE_PMD;
	int ret;

	if (state_by_scan(addr, len, &scan) || scan != THP_STATE_PMD)
		return 0;
	ret = look_closer(addr, len, &other);
	thp_obs_scan_blind = !ret && other == THP_STATE_PMD_ZERO;
	return ret;
}

int thp_obs_state(const void *addr, size_t len, enum thp_state *state)
{
	struct thp_smaps sm;
	uint64_t first, last;
	bool zero = false;
	long n;
	int ret;

	if (!state_by_scan(addr, len, state)) {
		if (*state == THP_STATE_PMD_SWAP ||
		    (*state == THP_STATE_PMD && thp_obs_scan_blind))
			return look_closer(addr, len, state);
		return 0;
	}
	n = thp_obs_pages(addr, len, THP_PM_POPULATED);
	if (n < 0)
		return n;
	if (!n) {
		*state = THP_STATE_NONE;
		return 0;
	}
	*state = THP_STATE_PTE;
	ret = thp_obs_smaps(0, addr, len, &sm);
	if (ret)
		return ret;
	if (sm.anon_huge_kb || sm.shmem_huge_kb) {
		*state = THP_STATE_PMD;
		return 0;
	}
	/* smaps does not count the huge zero folio, which maps every page. */
	if (n != (long)(len / sysconf(_SC_PAGESIZE)))
		return 0;
	ret = thp_obs_pagemap(addr, &first, 1);
	if (!ret)
		ret = thp_obs_pagemap((const char *)addr + len - 1, &last, 1);
	if (ret)
		return ret;
	/* Only a present entry has a frame number; elsewhere the field holds a swap entry. */
	if (!(first & last & THP_PM_PRESENT))
		return 0;
	ret = is_huge_zero(first, &zero);
	if (ret == -EPERM || ret == -EACCES)
		*state = THP_STATE_UNKNOWN;
	else if (ret)
		return ret;
	/* A split huge zero PMD maps the small zero page, the same PFN throughout. */
	else if (zero && (last & PM_PFN_MASK) != (first & PM_PFN_MASK))
		*state = THP_STATE_PMD_ZERO;
	return 0;
}

/* Reads smaps line by line without stdio; the file can be longer than this buffer. */
struct line_reader {
	int fd;
	size_t pos, len;
	char buf[8192];
};

static char *next_line(struct line_reader *r)
{
	char *nl, *line;
	ssize_t n;

	for (;;) {
		line = r->buf + r->pos;
		nl = memchr(line, '\n', r->len - r->pos);
		if (nl) {
			*nl = '\0';
			r->pos = nl + 1 - r->buf;
			return line;
		}
		memmove(r->buf, line, r->len - r->pos);
		r->len -= r->pos;
		r->pos = 0;
		if (r->len == sizeof(r->buf))
			return NULL;
		n = read(r->fd, r->buf + r->len, sizeof(r->buf) - r->len);
		if (n <= 0)
			return NULL;
		r->len += n;
	}
}

static void layout_add(struct thp_smaps *sm, const char *fmt, const char *arg)
{
	size_t used = strlen(sm->layout);

	snprintf(sm->layout + used, sizeof(sm->layout) - used, fmt, arg);
}

int thp_obs_smaps(pid_t pid, const void *addr, size_t len, struct thp_smaps *sm)
{
	static const char * const keys[] = {
		"Rss", "AnonHugePages", "ShmemPmdMapped", "Swap", "Locked", "Referenced",
		"Private_Clean",
	};
	uint64_t lo = (uintptr_t)addr, hi = lo + len;
	static struct line_reader r;
	bool inside = false;
	uint64_t *sums[] = {
		&sm->rss_kb, &sm->anon_huge_kb, &sm->shmem_huge_kb, &sm->swap_kb, &sm->locked_kb,
		&sm->referenced_kb, &sm->clean_kb,
	};
	char path[64], *line;
	size_t i;

	memset(sm, 0, sizeof(*sm));
	proc_path(path, sizeof(path), pid, "smaps");
	r.pos = 0;
	r.len = 0;
	r.fd = open(path, O_RDONLY | O_CLOEXEC);
	if (r.fd < 0)
		return -errno;
	while ((line = next_line(&r))) {
		unsigned long long start, end, val;

		if (sscanf(line, "%llx-%llx ", &start, &end) == 2) {
			inside = start < hi && end > lo;
			if (!inside && start >= hi)
				break;
			if (inside) {
				if (!sm->vmas++)
					sm->start = start;
				sm->end = end;
				layout_add(sm, "%s", line);
			}
			continue;
		}
		if (!inside)
			continue;
		if (!strncmp(line, "VmFlags:", 8)) {
			layout_add(sm, " %s\n", line + 8);
			continue;
		}
		for (i = 0; i < ARRAY_SIZE(keys); i++) {
			size_t klen = strlen(keys[i]);

			if (strncmp(line, keys[i], klen) || line[klen] != ':')
				continue;
			if (sscanf(line + klen + 1, "%llu", &val) == 1)
				*sums[i] += val;
		}
	}
	close(r.fd);
	return 0;
}

void thp_obs_settle(void)
{
	const struct timespec tick = { .tv_nsec = 10000000 };
	int i;

	/*
	 * MEMBARRIER_CMD_GLOBAL waits for a grace period; the callbacks that free the tables
	 * run soon after it, and can queue others.
	 */
	for (i = 0; i < 2; i++) {
		if (syscall(__NR_membarrier, MEMBARRIER_CMD_GLOBAL, 0))
			nanosleep(&tick, NULL);
		nanosleep(&tick, NULL);
	}
}

int thp_obs_fold(void)
{
	return thp_write_file("/proc/sys/vm/stat_refresh", "1");
}

long long thp_obs_pagetables_kb(void)
{
	(void)thp_obs_fold();
	return thp_read_field("/proc/meminfo", "PageTables");
}

long long thp_obs_memavailable_kb(void)
{
	return thp_read_field("/proc/meminfo", "MemAvailable");
}
