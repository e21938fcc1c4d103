// SPDX-License-Identifier: GPL-2.0
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/capability.h>
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

#include "thp_access.h"
#include "thp_env.h"
#include "thp_hmm.h"
#include "thp_limits.h"
#include "thp_obs.h"
#include "thp_self.h"
#include "thp_uapi.h"
#include "thp_uffd.h"

struct thp_env thp_env;

/* The size of one table is computed from this many small ranges. */
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

#define NO_THP "no anonymous THP could be faulted in (memory fragmented or too small?)"
#define NEVER_OF_SIZE \
	"needs THP enabled=inherit, madvise or always for the PMD size, it is never"

/* What the probing child reports; lives in shared memory. */
struct probe {
	long long table;	/* bytes */
	long long per_thp;	/* VmPTE at a THP fault, bytes per THP */
	struct thp_facts facts;
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
	/* Intermediate tables must exist before the first count. */
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
		pr->what = "no address space for some THPs (ulimit -v?)";
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
			pr->what = "no address space for some THPs (ulimit -v?)";
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
		/* Perhaps memory is fragmented. */
		(void)thp_write_file("/proc/sys/vm/compact_memory", "1");
	}
	pr->err = -ENOTSUP;
}

static void probe_kinds(struct probe *pr)
{
	enum thp_state state;
	char *p, *map;
	int fd;

	p = probe_area(1, true);
	if (p) {
		thp_peek(p);
		(void)thp_obs_probe_scan(p, thp_env.pmd);
		pr->facts.scan_blind = thp_obs_scan_blind;
		if (!thp_obs_state(p, thp_env.pmd, &state))
			pr->facts.zero = state == THP_STATE_PMD_ZERO;
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
		pr->facts.shmem = state == THP_STATE_PMD;
}

/* Kernels differ in what is left after a probe, so it runs in a child. */
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
		thp_warm_up();
		probe_tables(pr);
		if (!pr->err && pr->table > 0)
			probe_thp(pr);
		if (!pr->err) {
			probe_kinds(pr);
			thp_hmm_probe(&pr->facts.hmm, &pr->facts.hmm_huge);
		}
		_exit(0);
	}
	if (waitpid(pid, &status, 0) != pid)
		return thp_why(why, -errno, "probe: waitpid: %s", strerror(errno));
	*out = *pr;
	munmap(pr, sizeof(*pr));
	if (!WIFEXITED(status))
		return thp_why(why, -EIO, "probe: killed by signal %d", WTERMSIG(status));
	if (out->err == -ENOTSUP)
		return thp_skip(why, NO_THP);
	if (out->err)
		return thp_why(why, out->err, "probe: %s: %s", out->what, thp_errno_name(out->err));
	if (out->table <= 0)
		return thp_why(why, -EIO, "probe: VmPTE %+lld B for a page in each of %d ranges",
			       out->table, CALIBRATE);
	return 0;
}

/* PROC_USER_INIT_INO, which is ABI. */
#define FIRST_USER_NS "user:[4026531837]"

bool thp_env_owns_root(void)
{
	char ns[64];
	ssize_t n;

	if (geteuid())
		return false;
	n = readlink("/proc/self/ns/user", ns, sizeof(ns) - 1);
	/* Without procfs, or without CONFIG_USER_NS, nothing else tells. */
	if (n < 0)
		return true;
	ns[n] = '\0';
	return !strcmp(ns, FIRST_USER_NS);
}

bool thp_env_may(int cap)
{
	char text[4096], *p;

	if (thp_read_file("/proc/self/status", text, sizeof(text)) < 0)
		return false;
	p = strstr(text, "CapEff:");
	return p && strtoull(p + 7, NULL, 16) >> cap & 1;
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

	/* Leaves a quarter to other processes. */
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

/* A release that cannot be parsed counts as the newest, for which nothing is excused. */
static void find_release(void)
{
	unsigned int major, minor;
	struct utsname u;

	thp_env.release = UINT_MAX;
	if (!uname(&u) && sscanf(u.release, "%u.%u", &major, &minor) == 2)
		thp_env.release = THP_RELEASE(major, minor);
}

void thp_env_allow_thps(void)
{
	if (prctl(PR_GET_THP_DISABLE, 0, 0, 0, 0) > 0)
		thp_env.was_disabled = !prctl(PR_SET_THP_DISABLE, 0, 0, 0, 0);
}

/*
 * 0 if anonymous THPs of PMD size are switched on, for MADV_HUGEPAGE at least. Since
 * Linux 6.8 each size has a switch of its own, which decides unless it says "inherit":
 * thp_vma_allowable_orders().
 */
static int find_switch(struct thp_why *why)
{
	char path[128], choice[32];

	if (prctl(PR_GET_THP_DISABLE, 0, 0, 0, 0) > 0)
		return thp_skip(why, "needs THPs, which PR_SET_THP_DISABLE forbids here");
	snprintf(path, sizeof(path), THP_SYSFS "hugepages-%zukB/enabled", thp_env.pmd >> 10);
	if (!thp_read_choice(path, choice, sizeof(choice)) && strcmp(choice, "inherit")) {
		if (!strcmp(choice, "never"))
			return thp_skip(why, NEVER_OF_SIZE, "%s", path);
		return 0;
	}
	if (!thp_read_choice(THP_SYSFS "enabled", choice, sizeof(choice)) &&
	    !strcmp(choice, "never"))
		return thp_skip(why, "needs THP enabled=madvise or always, it is never");
	return 0;
}

/* The files that the suite reads everything from, and a kernel with THPs. */
static int find_sizes(struct thp_why *why)
{
	uint64_t pmd;

	thp_env.page = sysconf(_SC_PAGESIZE);
	if (!thp_file_exists("/proc/self/status"))
		return thp_skip(why, "needs procfs, mounted on /proc");
	if (!thp_file_exists("/sys/kernel"))
		return thp_skip(why, "needs sysfs, mounted on /sys");
	if (thp_read_u64(THP_SYSFS "hpage_pmd_size", &pmd)) {
		/* The counters come with the option, the files only where the CPU can do it. */
		if (thp_obs_vmstat("thp_fault_alloc") != THP_EVENT_NONE)
			return thp_skip(why, "needs a CPU that maps huge pages (no " THP_SYSFS ")");
		return thp_skip(why, "needs CONFIG_TRANSPARENT_HUGEPAGE");
	}
	thp_env.pmd = pmd;
	thp_env.nr = pmd / thp_env.page;
	return 0;
}

int thp_env_init(enum thp_mode request, unsigned int scale, struct thp_why *why)
{
	struct probe pr = { 0 };
	int ret;

	thp_env.root = thp_env_owns_root() && thp_env_may(CAP_SYS_ADMIN);
	thp_env.scale = scale ? scale : 1;
	thp_env.requested = request;
	find_release();
	find_mmu();
	thp_env_find_mounts();

	ret = find_sizes(why);
	if (!ret)
		ret = find_switch(why);
	if (ret)
		return ret;
	if (!thp_env_room(16 * thp_env.pmd))
		return thp_skip(why, "needs free memory for 16 THPs");
	ret = run_probe(&pr, why);
	if (ret)
		return ret;
	thp_env.table = pr.table;
	thp_env.unit = pr.table >= 1024 ? 1 : 1024 / pr.table;
	thp_env.measured = pr.per_thp ? THP_EAGER : THP_LAZY;
	thp_env.counts_failures = thp_obs_vmstat("thp_split_pmd_failed") != THP_EVENT_NONE;

	if (request != THP_AUTO) {
		thp_env.contract = request;
		thp_env.decided_by = "request";
	} else if (!strcmp(thp_env.mmu, "Hash")) {
		thp_env.contract = THP_EAGER;
		thp_env.decided_by = "powerpc-hash";
	} else if (thp_env.counts_failures) {
		thp_env.contract = THP_LAZY;
		thp_env.decided_by = "thp_split_pmd_failed";
	} else {
		thp_env.contract = thp_env.measured;
		thp_env.decided_by = "probe";
	}
	thp_obs_scan_blind = pr.facts.scan_blind;
	thp_needs_find(&pr.facts);
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
	if (thp_env.was_disabled)
		printf("# PR_SET_THP_DISABLE: was set, taken off for the tests\n");
	printf("# user: %s\n", thp_env.root ? "root" : "unprivileged");
	printf("# bytes per PTE table: %zu\n", thp_env.table);
	printf("# PMD swap entries: %s\n", thp_env_missing(THP_NEED_PMD_SWAP) ? "no" : "yes");
	printf("# mode: expected=%s contract=%s measured=%s decided-by=%s\n",
	       thp_mode_name(thp_env.requested), thp_mode_name(thp_env.contract),
	       thp_mode_name(thp_env.measured), thp_env.decided_by);
	printf("# speed: limits x %.1f, CPU time x %.1f\n", thp_slow(), thp_cpu_slow());
}
