// SPDX-License-Identifier: GPL-2.0
/*
 * Stale translations: an operation that changes a huge PMD has to flush it from the TLB of
 * every CPU that runs the process. Otherwise the old address still reaches the old page,
 * which has moved, is free, or belongs to another process. CVE-2018-18281 was a
 * move_huge_pmd() and a move_ptes() that flushed too late.
 *
 *	caller, one CPU			toucher, another CPU
 *	maps and fills			touches one word, again and again: its TLB has it
 *	the operation			goes on, and may fault
 *	...				probe: reads, then writes
 *	probe: reads, then writes
 *
 * A CPU has to see the page that the page tables map. process_vm_readv() reads through
 * them, without the TLB. A probe starts after the operation has returned, so it never fails
 * on a correct kernel. A wrong kernel passes if the TLB has evicted the entry by then, so
 * each test runs several rounds.
 */
#define STALE_ROUNDS	3
/* Limit until the toucher runs on its CPU: a busy host may take long to schedule it. */
#define STALE_WARM	1000

#define STALE_NO_ROOM	"needs address space for two PMD tables (vm.overcommit_memory, RLIMIT_AS)"

/* The value that the toucher stores, and those of the probes. */
#define STALE_OLD	0x01d01d01d01d01d0ULL
#define STALE_TOUCHER	0x700c7e4700c7e470ULL
#define STALE_CALLER	0xca11e4ca11e4ca11ULL

enum stale_after {
	STALE_GONE,	/* reads and writes fault */
	STALE_ZERO,	/* a new page of zeroes is mapped */
	STALE_SAME,	/* reads as before, and can be written */
	STALE_READ_ONLY,
};

struct stale;

struct stale_case {
	enum thp_kind kind;
	uint64_t needs;
	enum stale_after after;
	bool page;		/* the operation is on one page, the middle one */
	bool reads;		/* the toucher only reads: its writes would reach a new page */
	bool rests;		/* ... and pauses during the operation */
	bool zeroes;		/* the word and its page are zero */
	bool may_zero;		/* the word may read as zero until it is written */
	int (*prepare)(struct stale *s, struct thp_why *why);
	int (*run)(struct stale *s, char *addr, size_t len);
	/*
	 * Checks after the toucher has read, and after it has written; 0 or -errno with a
	 * cause.
	 */
	int (*verify_read)(struct stale *s, struct thp_why *why);
	int (*verify)(struct stale *s, struct thp_why *why);
};

enum stale_order { STALE_REST, STALE_TOUCH, STALE_READ, STALE_WRITE, STALE_QUIT };

/* One CPU's view of the word. */
struct stale_probe {
	int read, write;	/* 0 or the signal */
	uint64_t value;		/* the value that it has read */
};

struct stale {
	const struct stale_case *c;
	struct thp_map map, to;
	uint64_t *word;
	uint64_t old;		/* the expected value until a probe writes to it */
	uint64_t *moved;	/* where the page of the word is now, or NULL */
	int cpu;		/* of the toucher */

	/* Orders between the two threads. */
	int want, is;
	unsigned long touched;
	struct stale_probe seen;
};

static __thread sigjmp_buf stale_env;
static __thread int stale_armed;

static void stale_fault(int sig)
{
	if (__atomic_load_n(&stale_armed, __ATOMIC_RELAXED))
		siglongjmp(stale_env, sig);
	signal(sig, SIG_DFL);
}

/* Reads or writes a word; 0, or the signal that this raised. */
static int stale_access(uint64_t *word, bool write, uint64_t *value)
{
	/* Does not save the mask, which would take a system call: the handler has SA_NODEFER. */
	int sig = sigsetjmp(stale_env, 0);

	if (!sig) {
		__atomic_store_n(&stale_armed, 1, __ATOMIC_RELAXED);
		__atomic_signal_fence(__ATOMIC_SEQ_CST);
		if (write)
			__atomic_store_n(word, *value, __ATOMIC_RELAXED);
		else
			*value = __atomic_load_n(word, __ATOMIC_RELAXED);
	}
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
	__atomic_store_n(&stale_armed, 0, __ATOMIC_RELAXED);
	return sig;
}

static void stale_read(uint64_t *word, struct stale_probe *p)
{
	p->value = 0;
	p->read = stale_access(word, false, &p->value);
}

static void stale_write(uint64_t *word, uint64_t mark, struct stale_probe *p)
{
	p->write = stale_access(word, true, &mark);
}

/* Makes no system call between two orders: that could flush its TLB. */
static void *stale_toucher(void *arg)
{
	struct stale *s = arg;
	uint64_t value;
	cpu_set_t set;
	int want;

	CPU_ZERO(&set);
	CPU_SET(s->cpu, &set);
	(void)sched_setaffinity(0, sizeof(set), &set);
	while ((want = __atomic_load_n(&s->want, __ATOMIC_ACQUIRE)) != STALE_QUIT) {
		value = s->old;
		if (want == STALE_TOUCH) {
			(void)stale_access(s->word, !s->c->reads, &value);
			__atomic_fetch_add(&s->touched, 1, __ATOMIC_RELAXED);
		} else if (want != s->is && want == STALE_READ) {
			stale_read(s->word, &s->seen);
		} else if (want != s->is && want == STALE_WRITE) {
			stale_write(s->word, STALE_TOUCHER, &s->seen);
		}
		__atomic_store_n(&s->is, want, __ATOMIC_RELEASE);
	}
	return NULL;
}

static void stale_order(struct stale *s, enum stale_order order)
{
	unsigned long from = __atomic_load_n(&s->touched, __ATOMIC_RELAXED);

	__atomic_store_n(&s->want, order, __ATOMIC_RELEASE);
	while (order != STALE_QUIT && __atomic_load_n(&s->is, __ATOMIC_ACQUIRE) != (int)order)
		;
	while (order == STALE_TOUCH &&
	       __atomic_load_n(&s->touched, __ATOMIC_RELAXED) - from < STALE_WARM)
		;
}

/* Binds the caller to its current CPU; returns another CPU that the process may use, or -1. */
static int stale_other_cpu(void)
{
	cpu_set_t set;
	int cpu;

	if (sched_getaffinity(0, sizeof(set), &set) || thp_pin_cpu())
		return -1;
	for (cpu = 0; cpu < CPU_SETSIZE; cpu++)
		if (cpu != sched_getcpu() && CPU_ISSET(cpu, &set))
			return cpu;
	return -1;
}

/* The value of a word according to the page tables: 0 or -errno. */
static int stale_truth(uint64_t *word, uint64_t *value)
{
	struct iovec to = { .iov_base = value, .iov_len = sizeof(*value) };
	struct iovec from = { .iov_base = word, .iov_len = sizeof(*word) };

	return process_vm_readv(getpid(), &to, 1, &from, 1, 0) == sizeof(*value) ? 0 : -errno;
}

static int stale_judge(struct stale *s, const char *who, const struct stale_probe *p,
		       uint64_t mark, struct thp_why *why)
{
	bool reads = s->c->after != STALE_GONE;
	bool writes = reads && s->c->after != STALE_READ_ONLY;
	uint64_t want = s->c->after == STALE_ZERO ? 0 : s->old, truth = 0;
	int ret;

	if (reads == !!p->read)
		return thp_why(why, -EPROTO, "%s can%s read the old address after the operation",
			       who, reads ? "not" : " still");
	if (reads && p->value != want && !(s->c->may_zero && !p->value))
		return thp_why(why, -EPROTO, "%s reads %#llx at the old address, expected %#llx",
			       who, (unsigned long long)p->value, (unsigned long long)want);
	if (writes == !!p->write)
		return thp_why(why, -EPROTO,
			       "%s can%s write to the old address after the operation", who,
			       writes ? "not" : " still");
	ret = s->moved ? stale_truth(s->moved, &truth) : 0;
	if (ret)
		return thp_why(why, ret, "the page that moved cannot be read: %s",
			       thp_errno_name(ret));
	if (s->moved && truth != s->old)
		return thp_why(why, -EPROTO,
			       "a write of %s to the old address is in the page that moved", who);
	if (!writes)
		return 0;
	ret = stale_truth(s->word, &truth);
	if (ret || truth != mark)
		return thp_why(why, -EPROTO,
			       "%s wrote %#llx, the page that is mapped has %#llx (%s)", who,
			       (unsigned long long)mark, (unsigned long long)truth,
			       thp_errno_name(ret));
	return 0;
}

static int stale_round(struct stale *s, struct thp_why *why)
{
	const struct stale_case *c = s->c;
	char *addr = c->page ? thp_page(&s->map, thp_env.nr / 2) : s->map.thp;
	struct stale_probe seen;
	int ret;

	s->word = (uint64_t *)(thp_page(&s->map, thp_env.nr / 2) + 64);
	s->old = c->reads || c->zeroes ? *s->word : STALE_OLD;
	if (!c->reads)
		*s->word = s->old;
	stale_order(s, STALE_TOUCH);
	(void)thp_peek((char *)s->word);
	if (c->rests)
		stale_order(s, STALE_REST);
	ret = c->run(s, addr, c->page ? thp_env.page : thp_env.pmd);
	stale_order(s, STALE_READ);
	if (ret && (c->needs & THP_NEED_COLLAPSE))
		return thp_skip(why, THP_FRAGMENTED, "(MADV_COLLAPSE: %s)", thp_errno_name(ret));
	if (ret)
		return thp_why(why, ret, "the operation returned %s", thp_errno_name(ret));
	if (c->verify_read)
		ret = c->verify_read(s, why);
	stale_order(s, STALE_WRITE);
	if (!ret && c->verify)
		ret = c->verify(s, why);
	if (!ret)
		ret = stale_judge(s, "another CPU", &s->seen, STALE_TOUCHER, why);
	if (ret)
		return ret;
	/* The other CPU has written to the page that is mapped now. */
	if (c->after == STALE_ZERO || c->after == STALE_SAME) {
		ret = stale_truth(s->word, &seen.value);
		if (!ret && *s->word != seen.value)
			ret = -EPROTO;
		return ret ? thp_why(why, ret, "the caller does not read what is there") : 0;
	}
	stale_read(s->word, &seen);
	stale_write(s->word, STALE_CALLER, &seen);
	return stale_judge(s, "the caller", &seen, STALE_CALLER, why);
}

static int stale_prepare(struct stale *s, struct thp_why *why)
{
	int ret = 0;

	s->moved = NULL;
	thp_map_init(&s->map, s->c->kind);
	thp_map_init(&s->to, THP_NONE);
	if (s->c->kind)
		ret = thp_map_new(&s->map, s->c->kind, why);
	if (!ret && s->c->prepare)
		ret = s->c->prepare(s, why);
	return ret;
}

static void stale_clean(struct stale *s)
{
	thp_map_destroy(&s->map);
	thp_map_destroy(&s->to);
}

/* The scenario of a struct stale whose case and CPU are set. */
static int stale_rounds(const void *arg, struct thp_why *why)
{
	struct sigaction act = { .sa_handler = stale_fault, .sa_flags = SA_NODEFER };
	struct stale s = *(const struct stale *)arg;
	pthread_t thread;
	int round, ret;

	if (sigaction(SIGSEGV, &act, NULL) || sigaction(SIGBUS, &act, NULL))
		return thp_why(why, -errno, "sigaction: %s", strerror(errno));
	ret = pthread_create(&thread, NULL, stale_toucher, &s);
	if (ret)
		return thp_why(why, -ret, "pthread_create: %s", strerror(ret));
	for (round = 0; round < STALE_ROUNDS && !ret; round++) {
		ret = stale_prepare(&s, why);
		if (!ret)
			ret = stale_round(&s, why);
		stale_order(&s, STALE_REST);
		stale_clean(&s);
	}
	stale_order(&s, STALE_QUIT);
	pthread_join(thread, NULL);
	return ret;
}
