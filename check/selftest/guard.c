// SPDX-License-Identifier: GPL-2.0
/* The guardian ends tests that do not end, and restores settings. */

/* Makes system calls in a loop, like a loop in the kernel: only memory ends it. */
static int loops_hungry(struct thp_chan *chan, void *arg)
{
	(void)chan;
	(void)arg;
	thp_run_starve(true);
	while (thp_run_accused()[0] == '\0')
		(void)!write(-1, "", 1);
	thp_run_starve(false);
	return 0;
}

static int hungry_test(void *arg)
{
	struct thp_why why = { 0 };
	int ret;

	(void)arg;
	thp_guard_ready();
	if (!thp_run_begin("hungry.test", 30))
		return 3;
	ret = thp_child_run(loops_hungry, NULL, 5 * THP_RETURN_MS, &why);
	thp_guard_finished();
	return !ret && strstr(thp_run_accused(), "livelock") &&
	       thp_run_has_looped("hungry.test") ? 0 : 3;
}

/* Runs an endless test in the first of its processes, as the harness does. */
static int endless_test(void *arg)
{
	const char *breaks = arg;
	const char *cause = breaks ? "the kernel is broken" : "not done after";
	pid_t child;
	int status;

	thp_guard_ready();
	if (!thp_run_begin("endless.test", breaks ? 30 : 1))
		return 3;
	setpgid(0, 0);
	child = fork();
	if (!child) {
		for (;;)
			pause();
	}
	if (breaks)
		thp_run_break(breaks);
	if (waitpid(child, &status, 0) != child || !WIFSIGNALED(status))
		return 3;
	/* The clean-up of the test runs, and knows the cause. */
	thp_guard_finished();
	return strstr(thp_run_accused(), cause) ? 0 : 3;
}

/* The parent of vfork() sleeps like a task that waits for a lock. */
static int sleeping_test(void *arg)
{
	pid_t child;
	int status;

	(void)arg;
	thp_guard_ready();
	if (!thp_run_begin("sleeping.test", 60))
		return 3;
	child = fork();
	if (!child) {
		/* prctl(): the child dies with its parent. */
		if (!vfork()) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			for (;;)
				pause();
		}
		_exit(0);
	}
	waitpid(child, &status, 0);
	thp_guard_finished();
	return strstr(thp_run_accused(), "asleep in the kernel") ? 0 : 3;
}

struct guarded {
	int (*body)(void *arg);
	char *arg;
	int code;
};

static int guards(struct thp_chan *chan, void *arg)
{
	struct guarded *guarded = arg;
	struct thp_why why = { 0 };
	int ret;

	/* Without root it takes no lock: this runs beside the guardian of this program. */
	if (setuid(65534))
		return thp_why(&chan->why, -errno, "setuid: %s", strerror(errno));
	thp_settings_close();
	ret = thp_guard_run(guarded->body, guarded->arg, &why);
	if (ret != guarded->code)
		return thp_why(&chan->why, -EPROTO, "the guardian says %d", ret);
	return 0;
}

/*
 * The guardian ends a test that exceeds its limit, one whose kernel has crashed, one that
 * waits for a lock for ever, and one that loops while it starves itself.
 */
TEST_F_TIMEOUT(lib, guardian, 90)
{
	struct guarded late = { endless_test, NULL, 0 }, broken = { endless_test, "made up", 1 };
	struct guarded hungry = { hungry_test, NULL, 0 }, sleeping = { sleeping_test, NULL, 0 };
	struct thp_why why = { 0 };

	THP_NEEDS(THP_NEED_ROOT);
	/* The guardian measures the speed of the machine anew, and may take longer by that. */
	THP_CHECK_OK(thp_child_run(guards, &late, THP_LONG_MS, &why), &why);
	THP_CHECK_OK(thp_child_run(guards, &broken, THP_LONG_MS, &why), &why);
	THP_CHECK_OK(thp_child_run(guards, &hungry, THP_LONG_MS, &why), &why);
	THP_CHECK_OK(thp_child_run(guards, &sleeping, THP_LONG_MS, &why), &why);
}

TEST_F(lib, settings)
{
	static const char path[] = THP_SYSFS "khugepaged/alloc_sleep_millisecs";
	struct thp_why why = { 0 };
	uint64_t was, now;
	long mark;

	THP_NEEDS(THP_NEED_ROOT);
	THP_REQUIRE_OK(thp_read_u64(path, &was), &why);
	mark = thp_settings_mark();
	THP_REQUIRE_OK(thp_settings_set(path, "12345"), &why);
	THP_REQUIRE_OK(thp_settings_set(path, "23456"), &why);
	thp_read_u64(path, &now);
	THP_CHECK(now == 23456, "set to 23456, is %llu", (unsigned long long)now);
	THP_CHECK_OK(thp_settings_restore(mark, &why), &why);
	thp_read_u64(path, &now);
	THP_CHECK(now == was, "was %llu, restored to %llu", (unsigned long long)was,
		  (unsigned long long)now);
	THP_CHECK(thp_settings_set("/sys/no/such/file", "1") == -ENOENT, "an unknown file passed");
	/* A module that is not loaded counts as unloaded; any other path is that of a file. */
	mark = thp_settings_mark();
	THP_CHECK_OK(thp_settings_note(THP_SETTINGS_MODULE "no_such", THP_SETTINGS_UNLOAD), &why);
	THP_CHECK_OK(thp_settings_restore(mark, &why), &why);
	THP_CHECK_OK(thp_settings_note(THP_SETTINGS_MODULE "no_such", "1"), &why);
	THP_CHECK(thp_settings_restore(mark, &why) == -ENOENT, "a file of a module was unloaded");
}
