// SPDX-License-Identifier: GPL-2.0
/*
 * Shows every oracle a wrong state, which it has to report, and a correct one, which it
 * must let pass. An oracle that cannot fail decides nothing.
 */
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "bench_print.h"
#include "split_ops.h"
#include "thp_cgroup.h"
#include "thp_contract.h"
#include "thp_family.h"
#include "thp_harness.h"
#include "thp_inject.h"
#include "thp_uapi.h"

FIXTURE(oracle) {
	struct thp_map map;
	struct thp_cg cg;
};

FIXTURE_SETUP(oracle)
{
	thp_warm_up();
}

FIXTURE_TEARDOWN_PARENT(oracle)
{
	struct thp_why why = { 0 };

	THP_CHECK_OK(thp_cg_destroy(&self->cg), &why);
	thp_teardown(_metadata);
}

/* Tests that need no mapping. */
FIXTURE(lib) {
	int unused;	/* the harness wants data */
};

FIXTURE_SETUP(lib)
{
	self->unused = 0;
}

FIXTURE_TEARDOWN_PARENT(lib)
{
	thp_teardown(_metadata);
}

#define EXPECT_CAUSE(call, part) do {					\
	struct thp_why __w = { 0 };					\
	int __r = (call);						\
	THP_CHECK(__r && strstr(__w.text, part),			\
		  "wrong state got %s \"%s\", expected a cause with \"%s\"", \
		  thp_errno_name(__r), __w.text, part);			\
} while (0)

/* The cause that EXPECT_CAUSE() looks at, for the call in it. */
#define WHY (&__w)

#include "selftest/oracles.c"
#include "selftest/injectors.c"
#include "selftest/causes.c"
#include "selftest/needs.c"
#include "selftest/fatal.c"
#include "selftest/kernel_log.c"
#include "selftest/children.c"
#include "selftest/guard.c"
#include "selftest/rows.c"
#include "selftest/bench.c"

THP_MAIN_INIT("selftest", split_register_variants);
