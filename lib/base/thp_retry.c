// SPDX-License-Identifier: GPL-2.0
#include <errno.h>
#include <stddef.h>

#include "thp_retry.h"
#include "thp_why.h"

int thp_retry(thp_scenario fn, const void *arg, void (*reset)(void), struct thp_why *why)
{
	int ret = -EAGAIN, try;

	for (try = 0; try < THP_TRIES && ret == -EAGAIN; try++) {
		thp_why_clear(why);
		ret = fn(arg, why);
		if (reset)
			reset();
	}
	return ret == -EAGAIN ? -EPROTO : ret;
}
