/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Builds with -fsanitize=address. AddressSanitizer keeps one byte of shadow memory for
 * eight bytes of everything, in the same process whose page tables are being counted.
 */
#ifndef THP_ASAN_H
#define THP_ASAN_H

/* For functions that read memory outside of the objects of this program, such as the shadow. */
#define THP_UNSANITIZED __attribute__((no_sanitize("address")))

#if defined(__SANITIZE_ADDRESS__)
#define THP_ASAN
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define THP_ASAN
#endif
#endif

/*
 * Populates the page tables of the shadow for the next mappings, so that none appears in
 * the middle of a measurement; part of thp_warm_up().
 */
#ifdef THP_ASAN
void thp_warm_shadow(void);
#else
static inline void thp_warm_shadow(void) {}
#endif

#endif /* THP_ASAN_H */
