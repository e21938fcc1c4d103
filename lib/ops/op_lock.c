// SPDX-License-Identifier: GPL-2.0
/* Locked memory, and the counter of it. */
#include <linux/mman.h>

#include "split_row.h"

/* A sanitizer makes mlock(3) and munlock(3) do nothing: @nr is the system call. */
static int run_lock(struct thp_map *m, char *addr, size_t len, long nr)
{
	(void)m;
	return RET(syscall(nr, addr, len));
}

/* VmLck, which counts for RLIMIT_MEMLOCK. Bytes, or -errno. */
static long locked_bytes(void)
{
	long long kb = thp_read_field("/proc/self/status", "VmLck");

	return kb < 0 ? kb : kb << 10;
}

/* VmLck has moved by @pages since prepare(). */
static int check_lock(struct thp_map *m, long pages, struct thp_why *why)
{
	long now = locked_bytes(), want = m->priv + pages * (long)thp_env.page;

	return now == want ? 0 :
		thp_why(why, -EPROTO, "VmLck: %ld B, expected %ld B", now, want);
}

static int prepare_lock(struct thp_map *m, struct thp_why *why)
{
	m->priv = locked_bytes();
	return m->priv < 0 ?
		thp_why(why, m->priv, "VmLck: %s", thp_errno_name(m->priv)) : 0;
}

/* MLOCK_ONFAULT: the untouched neighbours must stay as they are. */
int split_mlocked(struct thp_map *m, struct thp_why *why)
{
	if (mlock2(m->thp, thp_env.pmd, MLOCK_ONFAULT))
		return thp_why(why, -errno, "mlock2: %s", strerror(errno));
	return prepare_lock(m, why);
}

static int verify_locked(struct thp_map *m, struct thp_why *why)
{
	return check_lock(m, 1, why);
}

static int verify_unlocked(struct thp_map *m, struct thp_why *why)
{
	return check_lock(m, -1, why);
}

static int verify_lock_kept(struct thp_map *m, struct thp_why *why)
{
	return check_lock(m, 0, why);
}

static const struct split_op lock_ops[] = {
	{
		MID("mlock"), .covers = "split-mlock", .run_with = run_lock, .arg = __NR_mlock,
		.errnos = { ENOMEM, EAGAIN }, .needs = THP_NEED_LIMIT,
		.kinds = ANON_ZERO_SWAP, .keeps = THP_SMALL,
		.flags = OP_POPULATES,
		.prepare = prepare_lock, .verify = verify_locked, .untouched = verify_lock_kept,
		.says = { &split_vma_locked, 0, 1, 0 }, .meets = { &split_lru_refused, 0, 1, 0 },
	}, {
		MID("munlock"), .covers = "split-mlock",
		.run_with = run_lock, .arg = __NR_munlock,
		.prepare = split_mlocked, .errnos = { ENOMEM, EAGAIN }, .needs = THP_NEED_LIMIT,
		.kinds = ANON_ZERO_SWAP,
		.verify = verify_unlocked, .untouched = verify_lock_kept,
		.says = { &split_vma_locked, 1, 0, 0 }, .meets = { &split_lru_refused, 1, 0, 0 },
	},
};

SPLIT_OPS(lock_ops);

static int run_mlock_onfault(struct thp_map *m, char *addr, size_t len)
{
	(void)m;
	return RET(mlock2(addr, len, MLOCK_ONFAULT));
}

static const struct split_op lock_whole_ops[] = {
	{
		WHOLE("mlock"), .covers = "mlock-pmd", .run = run_mlock_onfault,
		.starved = FAILS, .errnos = { ENOMEM, EAGAIN }, .needs = THP_NEED_LIMIT,
		.keeps = ANON_ZERO_SWAP,
		.says = { &split_vma_locked, 0, 1, 0 },
	},
};

SPLIT_OPS(lock_whole_ops);
