// SPDX-License-Identifier: GPL-2.0
#include <errno.h>
#include <stdio.h>
#include <sys/mman.h>

#include "thp_contract.h"
#include "thp_swap.h"

void thp_swapped_add(struct thp_swapped *s, enum thp_state state)
{
	s->thps++;
	s->entries += state == THP_STATE_PMD_SWAP;
}

int thp_swapped_look(struct thp_swapped *s, const char *thp, struct thp_why *why)
{
	enum thp_state state;
	int ret = thp_obs_state(thp, thp_env.pmd, &state);

	if (ret)
		return thp_why(why, ret, "page map: %s", thp_errno_name(ret));
	thp_swapped_add(s, state);
	return 0;
}

long thp_swapped_tables(const struct thp_swapped *s)
{
	return thp_tables_split(THP_ANON) * thp_swapped_splits(s);
}

long thp_swapped_splits(const struct thp_swapped *s)
{
	return s->thps - s->entries;
}

int thp_swapped_events(const struct thp_swapped *s, long long entries, long long fallbacks,
		       const char *what, struct thp_why *why)
{
	if (entries < s->entries)
		return thp_why(why, -EPROTO,
			       "%s: %u THPs in swap, expected %u in thp_swpout_pmd, which is %+lld",
			       what, s->entries, s->entries, entries);
	if (entries >= s->thps && !fallbacks && s->entries < s->thps)
		return thp_why(why, -EAGAIN,
			       "%s: thp_swpout_pmd %+lld, thp_swpout_fallback +0, %u of %u are THPs in swap",
			       what, entries, s->entries, s->thps);
	return 0;
}

int thp_swapped_expect(const struct thp_meter *m, const struct thp_swapped *here,
		       const struct thp_swapped *all, const char *what, struct thp_why *why)
{
	int ret = thp_swapped_events(all, thp_meter_event(m, swpout_pmd),
				     thp_meter_event(m, swpout_fallback), what, why);

	return ret ? ret : thp_meter_expect(m, thp_swapped_tables(here), thp_swapped_splits(all),
					    what, why);
}

static bool zswap_enabled(void)
{
	char text[8];

	return thp_read_file("/sys/module/zswap/parameters/enabled", text, sizeof(text)) > 0 &&
	       text[0] == 'Y';
}

bool thp_swap_by_zswap(void)
{
	char path[192];

	snprintf(path, sizeof(path), "%s/zswap", thp_env.debugfs);
	return zswap_enabled() || (thp_env.debugfs[0] && thp_file_exists(path));
}

long thp_swap_cached(const char *thp)
{
	static unsigned char vec[256];
	size_t first, n, i;
	long in = 0;

	for (first = 0; first < thp_env.nr; first += n) {
		n = thp_env.nr - first < sizeof(vec) ? thp_env.nr - first : sizeof(vec);
		if (mincore((char *)thp + first * thp_env.page, n * thp_env.page, vec))
			return thp_note(-errno, "mincore");
		for (i = 0; i < n; i++)
			in += vec[i] & 1;
	}
	return in;
}

/* The guests of the lab have two. */
#define DROP_NODES 2

int thp_swap_drop(const char *thp, struct thp_why *why)
{
	char path[64];
	int try, node;
	long left;

	for (try = 0; (left = thp_swap_cached(thp)) > 0 && try < 20; try++) {
		for (node = 0; node < DROP_NODES; node++) {
			snprintf(path, sizeof(path), "/sys/devices/system/node/node%d/reclaim",
				 node);
			(void)thp_write_file(path, "2M swappiness=max");
		}
	}
	if (left < 0)
		return thp_why(why, left, "mincore: %s", thp_errno_name(left));
	if (left)
		return thp_why(why, -EAGAIN, "%ld pages are still in the swap cache", left);
	return 0;
}

long long thp_swap_lost(long long free_kb, long long allowed_kb, int ms)
{
	long long lost = free_kb - thp_read_field("/proc/meminfo", "SwapFree");

	for (; lost > allowed_kb && ms > 0; ms -= 10) {
		thp_sleep_ms(10);
		lost = free_kb - thp_read_field("/proc/meminfo", "SwapFree");
	}
	return lost;
}

enum thp_state thp_swap_state_in(void)
{
	return thp_swap_by_zswap() ? THP_STATE_PTE : THP_STATE_PMD;
}

bool thp_swap_owes_entries(void)
{
	long long total = thp_read_field("/proc/meminfo", "SwapTotal");
	long long free = thp_read_field("/proc/meminfo", "SwapFree");

	return !thp_env_missing(THP_NEED_PMD_SWAP) && !zswap_enabled() && free > 0 &&
	       free >= total / 4 * 3;
}
