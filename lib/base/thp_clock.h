/* SPDX-License-Identifier: GPL-2.0 */
#ifndef THP_CLOCK_H
#define THP_CLOCK_H

/* Microseconds and milliseconds of a monotonic clock. */
long long thp_now_us(void);
long long thp_now_ms(void);
void thp_sleep_ms(int ms);

/* Spins instead of sleeping: the event to meet may be over before a timer fires. */
void thp_spin_us(long long us);

#endif /* THP_CLOCK_H */
