// SPDX-License-Identifier: GPL-2.0
#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "thp_cgroup.h"
#include "thp_child.h"
#include "thp_env.h"
#include "thp_fatal.h"
#include "thp_settings.h"

#define DIRNAME		"thp_lazy_pte"
/* Bytes that a burner can use up in a moment, see thp_cg_limit_near(). */
#define LIMIT_SLACK	(1 << 20)

static int cg_write(const struct thp_cg *cg, const char *file, const char *text)
{
	char path[256];

	snprintf(path, sizeof(path), "%s/%s", cg->path, file);
	return thp_write_file(path, text);
}

static ssize_t cg_read(const struct thp_cg *cg, const char *file, char *buf, size_t len)
{
	char path[256];

	snprintf(path, sizeof(path), "%s/%s", cg->path, file);
	return thp_read_file(path, buf, len);
}

int thp_cg_prepare(void)
{
	char parent[160], ctl[192], on[256];
	int ret = 0;

	if (!thp_env_owns_root() || !thp_env.memcg)
		return 0;
	snprintf(parent, sizeof(parent), "%s/" DIRNAME, thp_env.memcg_root);
	if (mkdir(parent, 0700) && errno != EEXIST)
		return -errno;
	if (thp_env.memcg == 2) {
		snprintf(ctl, sizeof(ctl), "%s/cgroup.subtree_control", thp_env.memcg_root);
		if (thp_read_file(ctl, on, sizeof(on)) < 0 || !strstr(on, "memory"))
			ret = thp_settings_set_undo(ctl, "+memory", "-memory");
		if (ret)
			return ret;
		snprintf(ctl, sizeof(ctl), "%s/cgroup.subtree_control", parent);
		ret = thp_write_file(ctl, "+memory");
	}
	return ret;
}

/* The errors of what a container forbids or hides, or of a limit of an ancestor. */
static bool is_missing(int ret)
{
	return ret == -ENOENT || ret == -EROFS || ret == -EACCES || ret == -EPERM ||
	       ret == -EAGAIN || ret == -ENODEV;
}

int thp_cg_swap(const struct thp_cg *cg, bool allowed)
{
	if (thp_env.memcg == 2)
		return cg_write(cg, "memory.swap.max", allowed ? "max" : "0");
	return cg_write(cg, "memory.swappiness", allowed ? "60" : "0");
}

static int make_group(struct thp_cg *cg, const char *name)
{
	int ret = 0;

	snprintf(cg->path, sizeof(cg->path), "%s/" DIRNAME "/%s", thp_env.memcg_root, name);
	if (mkdir(cg->path, 0700) && errno != EEXIST) {
		ret = thp_note(-errno, "control group %s cannot be made", cg->path);
		cg->path[0] = '\0';
		return ret;
	}
	(void)thp_cg_swap(cg, false);
	if (thp_env.memcg == 1)
		ret = cg_write(cg, "memory.oom_control", "1");
	return ret ? ret : thp_cg_limit(cg, THP_CG_MAX);
}

int thp_cg_create(struct thp_cg *cg, const char *name, struct thp_why *why)
{
	const char *fatal = thp_fatal(THP_ACT_FILL);
	int ret;

	cg->path[0] = '\0';
	/* Asks again here: the setting may have changed since the program began. */
	if (fatal)
		return thp_skip(why, fatal);
	ret = make_group(cg, name);
	if (is_missing(ret))
		return thp_skip(why, THP_CG_FORBIDDEN, "%s (%s)", name, thp_errno_name(ret));
	return ret ? thp_why_default(why, ret) : 0;
}

/* A child joins the group: 0 if the kernel lets it. */
static int probe_join(const struct thp_cg *cg)
{
	pid_t pid = fork();
	int status;

	if (!pid)
		_exit(thp_cg_join(cg, getpid()) ? 1 : 0);
	if (pid < 0)
		return -errno;
	return waitpid(pid, &status, 0) == pid && !status ? 0 : -EPERM;
}

int thp_cg_probe(void)
{
	struct thp_cg cg;
	int ret = make_group(&cg, "probe");

	if (!ret)
		ret = probe_join(&cg);
	(void)thp_cg_destroy(&cg);
	return !ret || ret == -EROFS ? ret : -EPERM;
}

int thp_cg_join(const struct thp_cg *cg, pid_t pid)
{
	char text[32];

	snprintf(text, sizeof(text), "%d", pid);
	return cg_write(cg, "cgroup.procs", text);
}

int thp_cg_limit(const struct thp_cg *cg, uint64_t bytes)
{
	const char *file = thp_env.memcg == 2 ? "memory.max" : "memory.limit_in_bytes";
	char text[32];
	long long usage;
	int ret, i;

	if (bytes == THP_CG_MAX)
		return cg_write(cg, file, thp_env.memcg == 2 ? "max" : "-1");
	snprintf(text, sizeof(text), "%llu", (unsigned long long)bytes);
	ret = cg_write(cg, file, text);
	/* Usage changes meanwhile: try several times. */
	for (i = 0; ret == -EBUSY && i < 100; i++) {
		usage = thp_cg_usage(cg);
		if (usage < 0)
			return usage;
		snprintf(text, sizeof(text), "%lld", usage);
		ret = cg_write(cg, file, text);
	}
	return ret;
}

long long thp_cg_limit_near(const struct thp_cg *cg)
{
	long long limit = thp_cg_usage(cg);
	int ret;

	if (limit < 0)
		return limit;
	limit = (limit + LIMIT_SLACK) & -(long long)thp_env.page;
	ret = thp_cg_limit(cg, limit);
	return ret ? ret : limit;
}

int thp_cg_spare_self(struct thp_why *why)
{
	int ret = thp_write_file("/proc/self/oom_score_adj", "-1000");

	if (!ret || thp_env.memcg != 2)
		return 0;
	return thp_why(why, ret, "oom_score_adj: %s", thp_errno_name(ret));
}

long long thp_cg_usage(const struct thp_cg *cg)
{
	char text[64];
	ssize_t n;

	n = cg_read(cg, thp_env.memcg == 2 ? "memory.current" : "memory.usage_in_bytes",
		    text, sizeof(text));
	return n < 0 ? n : atoll(text);
}

long long thp_cg_stat(const struct thp_cg *cg, const char *field)
{
	static char text[16384];
	uint64_t val;
	ssize_t n;

	n = cg_read(cg, "memory.stat", text, sizeof(text));
	if (n < 0)
		return n;
	return thp_field_u64(text, field, &val) ? -ENOENT : (long long)val;
}

long long thp_cg_dying(void)
{
	char path[192], text[4096];
	uint64_t n;

	snprintf(path, sizeof(path), "%s/" DIRNAME "/cgroup.stat", thp_env.memcg_root);
	if (thp_env.memcg != 2 || thp_read_file(path, text, sizeof(text)) < 0)
		return -ENOENT;
	return thp_field_u64(text, "nr_dying_descendants", &n) ? -ENOENT : (long long)n;
}

int thp_cg_reclaim(const struct thp_cg *cg, uint64_t bytes)
{
	char text[32];

	/*
	 * Reclaim uses the statistics of the group, which may be seconds late and, with large
	 * pages, wrong by megabytes. Reading them flushes them first.
	 */
	(void)thp_cg_stat(cg, "anon");
	snprintf(text, sizeof(text), "%llu", (unsigned long long)bytes);
	return cg_write(cg, "memory.reclaim", text);
}

int thp_cg_destroy(struct thp_cg *cg)
{
	static char procs[8192];
	struct thp_deadline d;
	char *p, *end;

	if (!cg->path[0])
		return 0;
	thp_deadline_start(&d, 0, THP_KILL_MS);
	do {
		/* A starved process can die only once it is fed. */
		(void)thp_cg_limit(cg, THP_CG_MAX);
		if (cg_read(cg, "cgroup.procs", procs, sizeof(procs)) > 0) {
			for (p = procs; *p; p = end) {
				long pid = strtol(p, &end, 10);

				if (end == p)
					break;
				if (pid > 0)
					kill(pid, SIGKILL);
			}
		}
		if (!rmdir(cg->path) || errno == ENOENT) {
			cg->path[0] = '\0';
			return 0;
		}
		thp_sleep_ms(10);
	} while (!thp_deadline_over(&d));
	return thp_note(-EBUSY, "control group %s cannot be removed", cg->path);
}

static void sweep_root(const char *root)
{
	char parent[160];
	struct dirent *de;
	DIR *dir;

	snprintf(parent, sizeof(parent), "%s/" DIRNAME, root);
	dir = opendir(parent);
	if (!dir)
		return;
	while ((de = readdir(dir))) {
		struct thp_cg cg;

		if (de->d_type != DT_DIR || de->d_name[0] == '.')
			continue;
		snprintf(cg.path, sizeof(cg.path), "%s/%.24s", parent, de->d_name);
		(void)thp_cg_destroy(&cg);
	}
	closedir(dir);
	rmdir(parent);
}

void thp_cg_sweep(void)
{
	if (thp_env.memcg)
		sweep_root(thp_env.memcg_root);
}
