/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Device memory, by the kernel's test driver (CONFIG_TEST_HMM): the only way for user space
 * to get a lasting PMD entry of a THP that is not present, and page tables allocated on
 * behalf of a device.
 *
 * A device belongs to the process that opened it. It is opened at the first use,
 * with a buffer for what the driver copies out, and closed by the end of the
 * process: closing it takes all memory back from the device, everybody's.
 *
 * Reading or writing memory that is on the device brings it back, a THP as a
 * whole. All functions return 0 or -errno.
 */
#ifndef THP_HMM_H
#define THP_HMM_H

#include "thp_file.h"

/* Opens the device of this process and maps its buffer, unless that is done. */
int thp_hmm_open(struct thp_why *why);

/*
 * Migrates a range of at most one PMD size to the device. -ENOENT: some page of
 * it did not get there. The contents as the device has them are in the buffer.
 */
int thp_hmm_to_device(void *addr, size_t len);

/* ... and back. -ENOENT: no page returned. */
int thp_hmm_to_system(void *addr, size_t len);

/* The next migration, by either function, finds no huge page at its destination. */
int thp_hmm_no_huge(void);

/* make_device_exclusive() of each base page: the next access of the process ends it. */
int thp_hmm_exclusive(void *addr, size_t len);

/* -EPERM while a page of the range is exclusive, 0 otherwise. */
int thp_hmm_check_exclusive(void *addr, size_t len);

/* The data of the driver's last copy. */
const void *thp_hmm_buffer(void);

/*
 * Whether the base page at @addr is on the device. pagemap shows a page in swap alike, so
 * the caller has to know that the page is not swapped out.
 */
bool thp_hmm_holds(const void *addr);

/*
 * What the driver of this kernel offers: migration of base pages and exclusive
 * access with the numbers of the calls as they are since Linux 5.19; and THPs
 * that stay PMD-mapped on the device (6.19). Forks nothing; takes device memory,
 * so call it in a process that ends soon.
 */
void thp_hmm_probe(bool *basic, bool *huge);

#endif /* THP_HMM_H */
