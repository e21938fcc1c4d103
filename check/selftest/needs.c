// SPDX-License-Identifier: GPL-2.0
/*
 * The reasons of SKIPs are true where a filter forbids system calls.
 */

/* From here on these calls fail with @err, as with the filter of a container. */
static int filter_calls(int err)
{
	static const int calls[] = {
		__NR_move_pages, __NR_mbind, __NR_userfaultfd, __NR_set_mempolicy_home_node,
		__NR_mseal, __NR_io_uring_setup, __NR_process_mrelease,
	};
	struct sock_filter f[2 * ARRAY_SIZE(calls) + 2];
	struct sock_fprog prog = { .len = ARRAY_SIZE(f), .filter = f };
	struct sock_filter *p = f;
	size_t i;

	*p++ = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
					    offsetof(struct seccomp_data, nr));
	for (i = 0; i < ARRAY_SIZE(calls); i++) {
		*p++ = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, calls[i], 0, 1);
		*p++ = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | err);
	}
	*p++ = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_SECCOMP, 2, &prog))
		return -errno;
	return 0;
}

/* No reason may claim that the kernel lacks a call that a filter forbids, or the reverse. */
static int reasons_under_filter(struct thp_chan *chan, void *arg)
{
	static const uint64_t needs[] = {
		THP_NEED_UFFD, THP_NEED_UFFD_WP, THP_NEED_UFFD_ASYNC, THP_NEED_UFFD_MOVE,
		THP_NEED_UFFD_RWP, THP_NEED_MOVE_PAGES, THP_NEED_NUMA, THP_NEED_HOME_NODE,
		THP_NEED_MSEAL, THP_NEED_URING, THP_NEED_MRELEASE,
	};
	const struct thp_facts facts = { 0 };
	int err = *(int *)arg, ret = filter_calls(err);
	size_t i;

	if (ret == -EINVAL)
		return thp_skip(&chan->why, "needs CONFIG_SECCOMP_FILTER");
	if (ret)
		return thp_why(&chan->why, ret, "seccomp: %s", thp_errno_name(ret));
	thp_needs_find(&facts);
	for (i = 0; i < ARRAY_SIZE(needs); i++) {
		const char *reason = thp_env_missing(needs[i]);
		bool forbidden = reason && strstr(reason, "forbidden"), want = err == EPERM;

		if (!reason || forbidden != want)
			return thp_why(&chan->why, -EPROTO, "need %zu, %s: the reason is \"%s\"", i,
				       thp_errno_name(err), reason ? reason : "none");
	}
	return 0;
}

TEST_F(lib, reasons)
{
	struct thp_why why = { 0 };
	int eperm = EPERM, enosys = ENOSYS;

	THP_REQUIRE_OK(thp_child_run(reasons_under_filter, &eperm, 5000, &why), &why);
	THP_CHECK_OK(thp_child_run(reasons_under_filter, &enosys, 5000, &why), &why);
}

static int allow_thps(struct thp_chan *chan, void *arg)
{
	(void)arg;
	if (prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0))
		return thp_why(&chan->why, -errno, "PR_SET_THP_DISABLE: %s", strerror(errno));
	thp_env_allow_thps();
	if (!thp_env.was_disabled || prctl(PR_GET_THP_DISABLE, 0, 0, 0, 0))
		return thp_why(&chan->why, -EPROTO, "THPs are still disabled");
	return 0;
}

TEST_F(lib, thp_disable)
{
	struct thp_why why = { 0 };

	THP_CHECK_OK(thp_child_run(allow_thps, NULL, 5000, &why), &why);
}
