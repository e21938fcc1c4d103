/* SPDX-License-Identifier: GPL-2.0 */
/* userfaultfd(2), only as far as PMD splits need it. */
#ifndef THP_UFFD_H
#define THP_UFFD_H

#include <stddef.h>
#include <stdint.h>

#include "thp_file.h"

/* The feature bits that the kernel offers; 0 or -errno. */
int thp_uffd_features(uint64_t *features);

/* A new descriptor with @features enabled, non-blocking, user mode; or -errno. */
int thp_uffd_open(uint64_t features);

/* UFFDIO_REGISTER with @mode (UFFDIO_REGISTER_MODE_...); 0 or -errno. */
int thp_uffd_register(int uffd, void *addr, size_t len, uint64_t mode);
int thp_uffd_unregister(int uffd, void *addr, size_t len);

/* Both at once: a descriptor with @features and the range registered, or -errno and a cause. */
int thp_uffd_watch(void *addr, size_t len, uint64_t features, uint64_t mode, struct thp_why *why);

/* UFFDIO_WRITEPROTECT: @protect sets or clears the protection; 0 or -errno. */
int thp_uffd_wp(int uffd, void *addr, size_t len, int protect);

/* UFFDIO_RWPROTECT, the same for reads and writes; 0 or -errno. */
int thp_uffd_rwp(int uffd, void *addr, size_t len, int protect);

/*
 * UFFDIO_MOVE. 0 or -errno; @moved (may be NULL) is what the kernel reports as
 * moved, in bytes, or a negative errno.
 */
int thp_uffd_move(int uffd, void *dst, void *src, size_t len, long long *moved);

struct pm_scan_arg;

/*
 * PAGEMAP_SCAN of a range that is registered in asynchronous mode: reports the pages that
 * were written to, and protects them again. @pagemap is a descriptor of
 * /proc/self/pagemap; @arg->vec and .vec_len may name room for regions, the rest of @arg is
 * set here. Regions (0 without room), or -errno; @arg->walk_end is where it ended.
 */
int thp_uffd_scan(int pagemap, const void *addr, size_t len, struct pm_scan_arg *arg);

/* UFFDIO_COPY into a missing page; 0 or -errno. */
int thp_uffd_copy(int uffd, void *dst, const void *src, size_t len);

#endif /* THP_UFFD_H */
