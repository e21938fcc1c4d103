// SPDX-License-Identifier: GPL-2.0
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "thp_kmsg.h"

#define TAINTED "/proc/sys/kernel/tainted"

/* Taints that a test can cause: B(5) bad page, D(7) oops, W(9) warning, L(14) lockup. */
#define TAINT_BAD (1ULL << 5 | 1ULL << 7 | 1ULL << 9 | 1ULL << 14)

/*
 * Each is the fixed part of a message; OOM dumps, "page allocation failure" and
 * "FAULT_INJECTION: forcing a failure" are what an injector is expected to log.
 */
static const char * const bad[] = {
	"WARNING: ",
	"BUG: ",
	"kernel BUG at",
	"Oops",
	"general protection fault",
	"Unable to handle kernel",
	"unable to handle kernel",
	"KASAN: ",
	"UBSAN: ",
	"KCSAN: ",
	"non-zero pgtables_bytes",
	"Bad rss-counter",
	"Bad page state",
	"Bad page map",
	"bad pmd ",
	"page_table_check",
	"blocked for more than",
	"possible circular locking",
	"possible recursive locking",
	"inconsistent lock state",
	"suspicious RCU usage",
	"held lock freed",
	"lock held when returning",
	"sleeping function called",
	"scheduling while atomic",
	"soft lockup",
	"hard LOCKUP",
	"detected stall",
	"self-detected stall",
	"list_del corruption",
	"list_add corruption",
	"refcount_t: ",
};

bool thp_kmsg_is_bad(const char *line)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(bad); i++)
		if (strstr(line, bad[i]))
			return true;
	return false;
}

bool thp_kmsg_taint_is_bad(uint64_t before, uint64_t now)
{
	return now & ~before & TAINT_BAD;
}

int thp_kmsg_open(struct thp_kmsg *log)
{
	log->selftest = false;
	if (thp_read_u64(TAINTED, &log->taint))
		log->taint = 0;
	log->fd = open("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	if (log->fd < 0)
		return -errno;
	if (lseek(log->fd, 0, SEEK_END) < 0) {
		close(log->fd);
		log->fd = -1;
		return -ESPIPE;
	}
	return 0;
}

int thp_kmsg_check(struct thp_kmsg *log, struct thp_why *why)
{
	char rec[4096], *text, *end;
	bool lost = false;
	uint64_t taint;
	int ret = 0;
	ssize_t n;

	while (log->fd >= 0) {
		n = read(log->fd, rec, sizeof(rec) - 1);
		if (n < 0) {
			if (errno == EINTR)
				continue;
			/* The ring overwrote records that nobody has looked at. */
			if (errno == EPIPE) {
				lost = true;
				continue;
			}
			break;
		}
		rec[n] = '\0';
		/* "prio,seq,usec,flags;text\n key=value\n" */
		text = strchr(rec, ';');
		if (!text)
			continue;
		end = strchr(text, '\n');
		if (end)
			*end = '\0';
		if (!log->selftest && strstr(text, THP_KMSG_SELFTEST))
			continue;
		if (thp_kmsg_is_bad(text + 1))
			ret = thp_why(why, -EPROTO, "kernel log: %.300s", text + 1);
	}
	if (!thp_read_u64(TAINTED, &taint)) {
		if (thp_kmsg_taint_is_bad(log->taint, taint))
			ret = thp_why(why, -EPROTO, "kernel taint went from 0x%llx to 0x%llx",
				      (unsigned long long)log->taint, (unsigned long long)taint);
		log->taint = taint;
	}
	if (lost && !ret)
		ret = thp_why(why, -EPIPE, "the kernel log overflowed, lines were lost");
	return ret;
}
