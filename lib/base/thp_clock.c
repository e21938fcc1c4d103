// SPDX-License-Identifier: GPL-2.0
#include <time.h>

#include "thp_clock.h"

long long thp_now_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000000LL + ts.tv_nsec / 1000;
}

long long thp_now_ms(void)
{
	return thp_now_us() / 1000;
}

void thp_sleep_ms(int ms)
{
	struct timespec ts = { .tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000L };

	nanosleep(&ts, NULL);
}

void thp_spin_us(long long us)
{
	long long begin = thp_now_us();

	while (thp_now_us() - begin < us)
		;
}
