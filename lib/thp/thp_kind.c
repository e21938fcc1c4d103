// SPDX-License-Identifier: GPL-2.0
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "thp_hmm.h"
#include "thp_map.h"
#include "thp_uapi.h"

static int map_memfd(struct thp_map *m, struct thp_why *why)
{
	size_t pmd = thp_env.pmd;
	char *shm;

	m->fd = memfd_create("thp_lazy_pte", MFD_CLOEXEC);
	if (m->fd < 0 || ftruncate(m->fd, 3 * pmd))
		return thp_why(why, -errno, "memfd: %s", strerror(errno));
	shm = mmap(m->thp, pmd, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, m->fd, pmd);
	if (shm == MAP_FAILED)
		return thp_why(why, -errno, "mmap of memfd: %s", strerror(errno));
	return 0;
}

static int open_device(struct thp_map *m, struct thp_why *why)
{
	(void)m;
	return thp_hmm_open(why) ? -ENODEV : 0;
}

static int move_to_device(struct thp_map *m, struct thp_why *why)
{
	enum thp_state state;
	int ret = thp_obs_state(m->thp, thp_env.pmd, &state);

	if (!ret && (state != THP_STATE_PMD || thp_hmm_holds(m->thp)))
		return 0;
	if (!ret)
		ret = thp_hmm_to_device(m->thp, thp_env.pmd);
	if (!ret && !thp_hmm_holds(m->thp))
		ret = -EIO;
	return ret ? thp_why(why, ret, "migration to the device: %s", thp_errno_name(ret)) : 0;
}

static bool has_left_device(const struct thp_map *m)
{
	return !thp_hmm_holds(m->thp);
}

/* Reclaim skips a folio to which another task has a reference: tries until it is an entry. */
static int move_to_swap(struct thp_map *m, struct thp_why *why)
{
	enum thp_state state;
	int try;

	(void)why;
	for (try = 0; try < 10; try++) {
		if (try)
			thp_sleep_ms(5);
		if (madvise(m->thp, thp_env.pmd, MADV_PAGEOUT) ||
		    thp_obs_state(m->thp, thp_env.pmd, &state) || state != THP_STATE_PMD)
			break;
	}
	return 0;
}

static const struct thp_kind_row kinds[] = {
	{ THP_ANON, "anon", .state = THP_STATE_PMD },
	{ THP_ZERO, "zero", .state = THP_STATE_PMD_ZERO, .needs = THP_NEED_ZERO },
	{
		THP_SHMEM, "shmem", .state = THP_STATE_PMD, .needs = THP_NEED_SHMEM,
		.map = map_memfd,
	},
	{ THP_SMALL, "small", .state = THP_STATE_PTE },
	{ THP_NONE, "none", .state = THP_STATE_NONE },
	{
		THP_DEVICE, "device", .state = THP_STATE_PMD, .needs = THP_NEED_HMM_HUGE,
		.map = open_device, .move = move_to_device, .has_left = has_left_device,
	}, {
		THP_SWAPPED, "swap", .state = THP_STATE_PMD_SWAP,
		.needs = THP_NEED_SWAP | THP_NEED_PMD_SWAP, .move = move_to_swap,
	},
	{ 0, "?", .state = THP_STATE_UNKNOWN },
};

const struct thp_kind_row *thp_kind_row(enum thp_kind kind)
{
	const struct thp_kind_row *row = kinds;

	while (row->kind && row->kind != kind)
		row++;
	return row;
}

const char *thp_kind_name(enum thp_kind kind)
{
	return thp_kind_row(kind)->name;
}

uint64_t thp_kind_needs(enum thp_kind kind)
{
	return thp_kind_row(kind)->needs;
}

enum thp_state thp_kind_state(enum thp_kind kind)
{
	return thp_kind_row(kind)->state;
}
