// SPDX-License-Identifier: GPL-2.0
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "thp_env.h"
#include "thp_hmm.h"
#include "thp_map.h"
#include "thp_obs.h"
#include "thp_uapi.h"
#include "thp_uffd.h"

struct thp_env thp_env;

/* Small ranges whose tables are counted to learn the size of one. */
#define CALIBRATE 32

const char *thp_mode_name(enum thp_mode mode)
{
	static const char * const names[] = { "eager", "lazy", "auto" };

	return names[mode];
}

int thp_mode_parse(const char *text, enum thp_mode *mode)
{
	int i;

	for (i = THP_EAGER; i <= THP_AUTO; i++) {
		if (!strcmp(text, thp_mode_name(i))) {
			*mode = i;
			return 0;
		}
	}
	return -EINVAL;
}

/* What the probing child reports; lives in shared memory. */
struct probe {
	long long table;	/* bytes */
	long long per_thp;	/* VmPTE at a THP fault, bytes per THP */
	int zero;		/* huge zero PMDs */
	int shmem;
	bool hmm;		/* the test driver of device memory */
	bool hmm_huge;		/* ... which takes THPs */
	int err;
	const char *what;
};

static char *align_up(char *p, size_t align)
{
	return (char *)(((uintptr_t)p + align - 1) & ~(align - 1));
}

/*
 * @n PMD-sized ranges, PMD-aligned, with a mapped base page in the range below
 * and in the one above: one of the two shares each range's PMD table, as @n is
 * small against the number of PMDs in a table.
 */
static char *probe_area(size_t n, bool huge)
{
	size_t pmd = thp_env.pmd;
	char *p, *first;
	size_t i;

	p = mmap(NULL, (n + 3) * pmd, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (p == MAP_FAILED)
		return NULL;
	madvise(p, (n + 3) * pmd, MADV_NOHUGEPAGE);
	first = align_up(p, pmd);
	/* Intermediate tables must exist before the counting starts. */
	thp_touch(first);
	thp_touch(first + (n + 1) * pmd);
	for (i = 0; i < n && huge; i++)
		madvise(first + (i + 1) * pmd, pmd, MADV_HUGEPAGE);
	return first + pmd;
}

static void probe_tables(struct probe *pr)
{
	long long before, after;
	char *p;
	size_t i;

	p = probe_area(CALIBRATE, false);
	if (!p) {
		pr->err = -ENOMEM;
		pr->what = "mmap";
		return;
	}
	thp_obs_vmpte(0);
	before = thp_obs_vmpte(0);
	for (i = 0; i < CALIBRATE; i++)
		thp_touch(p + i * thp_env.pmd);
	after = thp_obs_vmpte(0);
	pr->table = (after - before) / CALIBRATE;
	munmap(p, CALIBRATE * thp_env.pmd);
}

static void probe_thp(struct probe *pr)
{
	unsigned int unit = pr->table >= 1024 ? 1 : 1024 / pr->table;
	enum thp_state state = THP_STATE_NONE;
	long long before, after;
	unsigned int i;
	int try;
	char *p;

	for (try = 0; try < 3; try++) {
		p = probe_area(unit, true);
		if (!p) {
			pr->err = -ENOMEM;
			pr->what = "mmap";
			return;
		}
		before = thp_obs_vmpte(0);
		for (i = 0; i < unit; i++)
			thp_touch(p + i * thp_env.pmd);
		after = thp_obs_vmpte(0);
		for (i = 0; i < unit; i++) {
			pr->err = thp_obs_state(p + i * thp_env.pmd, thp_env.pmd, &state);
			if (pr->err || state != THP_STATE_PMD)
				break;
		}
		munmap(p, unit * thp_env.pmd);
		if (pr->err) {
			pr->what = "page map";
			return;
		}
		if (state == THP_STATE_PMD) {
			pr->per_thp = (after - before) / unit;
			return;
		}
		/* Fragmentation, perhaps. */
		(void)thp_write_file("/proc/sys/vm/compact_memory", "1");
	}
	pr->err = -ENOTSUP;
	pr->what = "no anonymous THP could be faulted in (memory fragmented or too small?)";
}

static void probe_kinds(struct probe *pr)
{
	enum thp_state state;
	char *p, *map;
	int fd;

	p = probe_area(1, true);
	if (p) {
		thp_peek(p);
		if (!thp_obs_state(p, thp_env.pmd, &state))
			pr->zero = state == THP_STATE_PMD_ZERO;
		munmap(p, thp_env.pmd);
	}
	fd = memfd_create("thp_lazy_pte", MFD_CLOEXEC);
	if (fd < 0 || ftruncate(fd, thp_env.pmd))
		return;
	map = mmap(NULL, 2 * thp_env.pmd, PROT_NONE,
		   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (map == MAP_FAILED)
		return;
	p = align_up(map, thp_env.pmd);
	p = mmap(p, thp_env.pmd, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0);
	if (p == MAP_FAILED)
		return;
	madvise(p, thp_env.pmd, MADV_HUGEPAGE);
	thp_touch(p);
	if (!thp_obs_state(p, thp_env.pmd, &state))
		pr->shmem = state == THP_STATE_PMD;
}

/* Kernels differ in what a probe leaves behind, so it runs in a child. */
static int run_probe(struct probe *out, struct thp_why *why)
{
	struct probe *pr;
	int status;
	pid_t pid;

	pr = mmap(NULL, sizeof(*pr), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (pr == MAP_FAILED)
		return thp_why(why, -errno, "probe: mmap: %s", strerror(errno));
	fflush(stdout);
	pid = fork();
	if (pid < 0)
		return thp_why(why, -errno, "probe: fork: %s", strerror(errno));
	if (!pid) {
		probe_tables(pr);
		if (!pr->err && pr->table > 0)
			probe_thp(pr);
		if (!pr->err) {
			probe_kinds(pr);
			thp_hmm_probe(&pr->hmm, &pr->hmm_huge);
		}
		_exit(0);
	}
	if (waitpid(pid, &status, 0) != pid)
		return thp_why(why, -errno, "probe: waitpid: %s", strerror(errno));
	*out = *pr;
	munmap(pr, sizeof(*pr));
	if (!WIFEXITED(status))
		return thp_why(why, -EIO, "probe: killed by signal %d", WTERMSIG(status));
	if (out->err)
		return thp_why(why, out->err, "%s", out->what);
	if (out->table <= 0)
		return thp_why(why, -EIO, "probe: VmPTE %+lld B for a page in each of %d ranges",
			       out->table, CALIBRATE);
	return 0;
}

void thp_env_find_mounts(void)
{
	char text[16384], *line, *save = NULL;

	if (thp_read_file("/proc/mounts", text, sizeof(text)) < 0)
		return;
	for (line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		char dir[128], type[32], opts[256], probe[192];

		if (sscanf(line, "%*s %127s %31s %255s", dir, type, opts) != 3)
			continue;
		if (!strcmp(type, "debugfs") && !thp_env.debugfs[0])
			strcpy(thp_env.debugfs, dir);
		if (!strcmp(type, "cgroup")) {
			char *o = strstr(opts, "memory");

			if (o && (o[6] == ',' || !o[6]) && (o == opts || o[-1] == ',')) {
				thp_env.memcg = 1;
				strcpy(thp_env.memcg_root, dir);
			}
		}
		if (!strcmp(type, "cgroup2") && thp_env.memcg != 1) {
			char ctl[512];

			snprintf(probe, sizeof(probe), "%s/cgroup.controllers", dir);
			if (thp_read_file(probe, ctl, sizeof(ctl)) > 0 && strstr(ctl, "memory")) {
				thp_env.memcg = 2;
				strcpy(thp_env.memcg_root, dir);
			}
		}
	}
}

static unsigned int nodes_with_memory(void)
{
	char text[64], *p = text;
	unsigned int n = 0;

	if (thp_read_file("/sys/devices/system/node/has_memory", text, sizeof(text)) < 0)
		return 0;
	/* A list like "0-1,3". */
	while (*p >= '0' && *p <= '9') {
		unsigned long lo = strtoul(p, &p, 10), hi = lo;

		if (*p == '-')
			hi = strtoul(p + 1, &p, 10);
		n += hi - lo + 1;
		if (*p == ',')
			p++;
	}
	return n;
}

static bool have_swap(void)
{
	char text[4096], *p;
	unsigned long long size, used;

	if (thp_read_file("/proc/swaps", text, sizeof(text)) < 0)
		return false;
	for (p = strchr(text, '\n'); p && p[1]; p = strchr(p + 1, '\n')) {
		if (sscanf(p + 1, "%*s %*s %llu %llu", &size, &used) == 2 &&
		    (size - used) << 10 >= 64ULL << 20)
			return true;
	}
	return false;
}

/* Whether madvise(@advice) is known: asked on a range where it changes nothing. */
static bool have_advice(int advice)
{
	char *p = mmap(NULL, thp_env.page, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	bool known;

	if (p == MAP_FAILED)
		return false;
	/* An empty range is valid for every advice that the kernel knows. */
	known = !madvise(p, 0, advice);
	munmap(p, thp_env.page);
	return known;
}

static bool have_anon_name(void)
{
	char *p = mmap(NULL, thp_env.page, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	bool ok;

	if (p == MAP_FAILED)
		return false;
	ok = !prctl(PR_SET_VMA, PR_SET_VMA_ANON_NAME, p, thp_env.page, "thp_lazy_pte");
	munmap(p, thp_env.page);
	return ok;
}

static bool have_scan(void)
{
	struct pm_scan_arg arg = { .size = sizeof(arg) };
	int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	bool ok;

	if (fd < 0)
		return false;
	/* An empty range: no work, and ENOTTY only where the call is unknown. */
	ok = !ioctl(fd, PAGEMAP_SCAN, &arg) || errno != ENOTTY;
	close(fd);
	return ok;
}

/* By opening it: kernel lockdown forbids what the mode bits allow. */
static bool writable(const char *dir, const char *name)
{
	char path[256];
	int fd;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	close(fd);
	return true;
}

/* CAP_SYS_RESOURCE: without it oom_score_adj cannot be lowered. */
static bool may_refuse_oom_kill(void)
{
	char text[4096], *p;

	if (thp_read_file("/proc/self/status", text, sizeof(text)) < 0)
		return false;
	p = strstr(text, "CapEff:");
	return p && strtoull(p + 7, NULL, 16) >> 24 & 1;
}

static void find_features(const struct probe *pr)
{
	unsigned int have = 0;
	uint64_t uffd;
	struct rlimit rl;

	if (thp_env.root)
		have |= THP_NEED_ROOT;
	if (pr->zero)
		have |= THP_NEED_ZERO;
	if (pr->shmem)
		have |= THP_NEED_SHMEM;
	if (pr->hmm)
		have |= THP_NEED_HMM;
	if (pr->hmm_huge)
		have |= THP_NEED_HMM_HUGE;
	if (!thp_uffd_features(&uffd)) {
		have |= THP_NEED_UFFD;
		if (uffd & UFFD_FEATURE_PAGEFAULT_FLAG_WP)
			have |= THP_NEED_UFFD_WP;
		if (uffd & UFFD_FEATURE_WP_ASYNC)
			have |= THP_NEED_UFFD_ASYNC;
		if (uffd & UFFD_FEATURE_MOVE)
			have |= THP_NEED_UFFD_MOVE;
		if (uffd & UFFD_FEATURE_RWP && uffd & UFFD_FEATURE_RWP_ASYNC)
			have |= THP_NEED_UFFD_RWP;
	}
	if (have_scan())
		have |= THP_NEED_SCAN;
	if (have_advice(MADV_COLLAPSE))
		have |= THP_NEED_COLLAPSE;
	if (have_advice(MADV_GUARD_INSTALL))
		have |= THP_NEED_GUARD;
	if (have_advice(MADV_POPULATE_WRITE))
		have |= THP_NEED_POPULATE;
	if (have_advice(MADV_DONTNEED_LOCKED))
		have |= THP_NEED_DONTNEED_LOCKED;
	if (have_swap())
		have |= THP_NEED_SWAP;
	if (nodes_with_memory() >= 2)
		have |= THP_NEED_NODES;
	if (thp_file_exists("/proc/self/numa_maps"))
		have |= THP_NEED_NUMA;
	if (!access("/sys/kernel/mm/ksm/run", W_OK))
		have |= THP_NEED_KSM;
	if (thp_env.debugfs[0] && writable(thp_env.debugfs, "split_huge_pages"))
		have |= THP_NEED_DEBUGFS;
	if (thp_env.debugfs[0] && writable(thp_env.debugfs, "gup_test"))
		have |= THP_NEED_GUP_TEST;
	if (thp_env.memcg && !access(thp_env.memcg_root, W_OK) && thp_env.root &&
	    (thp_env.memcg == 1 || may_refuse_oom_kill()))
		have |= THP_NEED_MEMCG;
	if (thp_env.debugfs[0] && writable(thp_env.debugfs, "fail_page_alloc/require-start"))
		have |= THP_NEED_FAIL_PAGE;
	if (thp_env.debugfs[0] && writable(thp_env.debugfs, "fail_page_alloc/min-order") &&
	    !access("/proc/self/fail-nth", W_OK))
		have |= THP_NEED_FAIL_NTH;
	if (syscall(__NR_mseal, 0, 0, 0) == 0 || errno != ENOSYS)
		have |= THP_NEED_MSEAL;
	/* An empty range: nothing to do, once the call is known. */
	if (!syscall(__NR_set_mempolicy_home_node, 0, 0, 0, 0))
		have |= THP_NEED_HOME_NODE;
	if (have_anon_name())
		have |= THP_NEED_ANON_NAME;
	if (thp_env.root && thp_file_exists("/proc/sys/vm/memory_failure_recovery"))
		have |= THP_NEED_MEMFAIL;
	if (!thp_obs_fold())
		have |= THP_NEED_STATS;
	if (!syscall(__NR_move_pages, 0, 0, NULL, NULL, NULL, 0))
		have |= THP_NEED_MOVE_PAGES;
	if (thp_env.root || (!getrlimit(RLIMIT_MEMLOCK, &rl) && rl.rlim_cur >= 3 * thp_env.pmd))
		have |= THP_NEED_LIMIT;
#ifdef HAVE_LIBURING
	{
		uint64_t off = 0;

		if (thp_read_u64("/proc/sys/kernel/io_uring_disabled", &off) || !off ||
		    (off == 1 && thp_env.root))
			have |= THP_NEED_URING;
	}
#endif
	thp_env.have = have;
}

static const struct {
	unsigned int need;
	const char *reason;
} reasons[] = {
	{ THP_NEED_ROOT, "needs root" },
	{ THP_NEED_ZERO, "needs huge zero PMDs (use_zero_page, a kernel that maps them)" },
	{ THP_NEED_SHMEM, "needs PMD-mapped shmem (CONFIG_SHMEM, shmem_enabled)" },
	{ THP_NEED_UFFD, "needs userfaultfd (CONFIG_USERFAULTFD)" },
	{ THP_NEED_UFFD_WP, "needs userfaultfd write protection" },
	{ THP_NEED_UFFD_ASYNC, "needs UFFD_FEATURE_WP_ASYNC (Linux 6.7)" },
	{ THP_NEED_UFFD_MOVE, "needs UFFDIO_MOVE (Linux 6.8)" },
	{ THP_NEED_SCAN, "needs PAGEMAP_SCAN (Linux 6.7)" },
	{ THP_NEED_COLLAPSE, "needs MADV_COLLAPSE (Linux 6.1)" },
	{ THP_NEED_GUARD, "needs MADV_GUARD_INSTALL (Linux 6.13)" },
	{ THP_NEED_SWAP, "needs 64 MiB of free swap" },
	{ THP_NEED_NODES, "needs 2 NUMA nodes with memory" },
	{ THP_NEED_NUMA, "needs CONFIG_NUMA" },
	{ THP_NEED_KSM, "needs CONFIG_KSM and root" },
	{ THP_NEED_DEBUGFS, "needs root and split_huge_pages in debugfs (no lockdown)" },
	{ THP_NEED_MEMCG, "needs root, CAP_SYS_RESOURCE and a memory cgroup controller" },
	{ THP_NEED_FAIL_PAGE,
	  "needs root, CONFIG_FAIL_PAGE_ALLOC, FAULT_INJECTION_STACKTRACE_FILTER and kallsyms" },
	{ THP_NEED_FAIL_NTH, "needs root, CONFIG_FAIL_PAGE_ALLOC and /proc/self/fail-nth" },
	{ THP_NEED_MSEAL, "needs mseal (Linux 6.10, 64-bit)" },
	{ THP_NEED_ANON_NAME, "needs CONFIG_ANON_VMA_NAME" },
	{ THP_NEED_MEMFAIL, "needs root and CONFIG_MEMORY_FAILURE" },
	{ THP_NEED_URING, "needs liburing and io_uring" },
	{ THP_NEED_POPULATE, "needs MADV_POPULATE_WRITE (Linux 5.14)" },
	{ THP_NEED_DONTNEED_LOCKED, "needs MADV_DONTNEED_LOCKED (Linux 5.18)" },
	{ THP_NEED_GUP_TEST, "needs root and CONFIG_GUP_TEST" },
	{ THP_NEED_MOVE_PAGES, "needs CONFIG_MIGRATION" },
	{ THP_NEED_HOME_NODE, "needs set_mempolicy_home_node (Linux 5.17, CONFIG_NUMA)" },
	{ THP_NEED_HMM, "needs root and CONFIG_TEST_HMM (Linux 5.19)" },
	{ THP_NEED_HMM_HUGE, "needs root, CONFIG_TEST_HMM and THPs in device memory (Linux 6.19)" },
	{ THP_NEED_UFFD_RWP, "needs UFFDIO_RWPROTECT (Linux 7.3)" },
	{ THP_NEED_LIMIT, "needs RLIMIT_MEMLOCK of 3 PMDs" },
	{ THP_NEED_STATS, "needs root, for exact PageTables (vm.stat_refresh)" },
};

const char *thp_env_missing(unsigned int needs)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(reasons); i++)
		if (needs & ~thp_env.have & reasons[i].need)
			return reasons[i].reason;
	return NULL;
}

bool thp_env_zero_write_splits(void)
{
	return thp_env.contract == THP_EAGER && thp_env.release < THP_RELEASE(6, 13);
}

bool thp_env_moves_tables(void)
{
	static const char * const machines[] = { "x86", "i686", "aarch64", "riscv", "ppc64" };
	struct utsname u;
	size_t i;

	uname(&u);
	for (i = 0; i < ARRAY_SIZE(machines); i++)
		if (!strncmp(u.machine, machines[i], strlen(machines[i])))
			return strcmp(thp_env.mmu, "Hash");
	return false;
}

bool thp_env_room(size_t bytes)
{
	long long kb = thp_obs_memavailable_kb();

	/* A quarter stays free for everybody else. */
	return kb > 0 && bytes / 1024 < (size_t)kb / 4 * 3;
}

bool thp_env_tables(long long bytes, long *tables)
{
	*tables = bytes / (long long)thp_env.table;
	return !(bytes % (long long)thp_env.table);
}

static void find_mmu(void)
{
	char text[16384], *p;

	if (thp_read_file("/proc/cpuinfo", text, sizeof(text)) < 0)
		return;
	/* powerpc prints "MMU\t\t: Radix" or "Hash" at the end. */
	p = strstr(text, "\nMMU\t");
	if (p)
		sscanf(p, "\nMMU%*[ \t]: %15s", thp_env.mmu);
}

/* What cannot be read counts as the newest: nothing is excused then. */
static void find_release(void)
{
	unsigned int major, minor;
	struct utsname u;

	thp_env.release = UINT_MAX;
	if (!uname(&u) && sscanf(u.release, "%u.%u", &major, &minor) == 2)
		thp_env.release = THP_RELEASE(major, minor);
}

int thp_env_init(enum thp_mode request, unsigned int scale, struct thp_why *why)
{
	char choice[32];
	struct probe pr = { 0 };
	uint64_t pmd;
	int ret;

	thp_env.page = sysconf(_SC_PAGESIZE);
	thp_env.root = !geteuid();
	thp_env.scale = scale ? scale : 1;
	thp_env.requested = request;
	find_release();
	find_mmu();
	thp_env_find_mounts();

	if (thp_read_u64(THP_SYSFS "hpage_pmd_size", &pmd))
		return thp_why(why, -ENOTSUP, "needs CONFIG_TRANSPARENT_HUGEPAGE");
	thp_env.pmd = pmd;
	thp_env.nr = pmd / thp_env.page;
	if (!thp_read_choice(THP_SYSFS "enabled", choice, sizeof(choice)) &&
	    !strcmp(choice, "never"))
		return thp_why(why, -ENOTSUP, "needs THP enabled=madvise or always, it is never");
	if (!thp_env_room(16 * thp_env.pmd))
		return thp_why(why, -ENOTSUP, "needs free memory for 16 THPs");

	ret = run_probe(&pr, why);
	if (ret)
		return ret;
	thp_env.table = pr.table;
	thp_env.unit = pr.table >= 1024 ? 1 : 1024 / pr.table;
	thp_env.measured = pr.per_thp ? THP_EAGER : THP_LAZY;

	if (request != THP_AUTO) {
		thp_env.contract = request;
		thp_env.decided_by = "request";
	} else if (!strcmp(thp_env.mmu, "Hash")) {
		thp_env.contract = THP_EAGER;
		thp_env.decided_by = "powerpc-hash";
	} else if (thp_obs_vmstat("thp_split_pmd_failed") != THP_EVENT_NONE) {
		thp_env.contract = THP_LAZY;
		thp_env.decided_by = "thp_split_pmd_failed";
	} else {
		thp_env.contract = thp_env.measured;
		thp_env.decided_by = "probe";
	}
	find_features(&pr);
	return 0;
}

void thp_env_print(void)
{
	struct utsname u;

	uname(&u);
	printf("# kernel: %s\n", u.release);
	printf("# arch: %s\n", u.machine);
	printf("# page size: %zu B\n", thp_env.page);
	printf("# PMD size: %zu B\n", thp_env.pmd);
	if (thp_env.mmu[0])
		printf("# MMU: %s\n", thp_env.mmu);
	printf("# memcg: %s\n", thp_env.memcg == 1 ? "v1" : thp_env.memcg == 2 ? "v2" : "none");
	printf("# user: %s\n", thp_env.root ? "root" : "unprivileged");
	printf("# bytes per PTE table: %zu\n", thp_env.table);
	printf("# mode: expected=%s contract=%s measured=%s decided-by=%s\n",
	       thp_mode_name(thp_env.requested), thp_mode_name(thp_env.contract),
	       thp_mode_name(thp_env.measured), thp_env.decided_by);
}
