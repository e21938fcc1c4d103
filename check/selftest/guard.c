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

/* The machine stands still for a while: the process spins, and the guardian does not look. */
static int is_stalled(struct thp_chan *chan, void *arg)
{
	pid_t guardian = *(pid_t *)arg;
	long long begun;

	thp_run_starve(true);
	begun = thp_kernel_ms(getpid());
	kill(guardian, SIGSTOP);
	while (thp_kernel_ms(getpid()) - begun < 1.5 * THP_RETURN_MS * thp_cpu_slow())
		(void)!write(-1, "", 1);
	kill(guardian, SIGCONT);
	thp_sleep_ms(4 * 250);
	thp_run_starve(false);
	if (thp_run_accused()[0])
		return thp_why(&chan->why, -EPROTO, "accused: %s", thp_run_accused());
	return 0;
}

/* Is refused table after table, by a counter made up for it, and uses no CPU time. */
static int is_refused(struct thp_chan *chan, void *arg)
{
	char path[256];
	int i;

	(void)arg;
	snprintf(path, sizeof(path), "%s/fail_page_alloc/times", thp_env.debugfs);
	thp_run_starve(true);
	for (i = 0; i < 1000 && !thp_run_accused()[0]; i++) {
		TRY(thp_write_fmt(path, "%09d", 900000000 - i * (THP_REFUSED_MAX / 10)));
		thp_sleep_ms(10);
	}
	thp_run_starve(false);
	return thp_run_accused()[0] ? 0 : thp_why(&chan->why, -EPROTO, "nobody counts refusals");
}

/* A test whose child starves itself, and is found to loop or not. */
struct starving {
	const char *name;
	int (*child)(struct thp_chan *chan, void *arg);
	bool accused;
};

static int starving_test(void *arg)
{
	const struct starving *starving = arg;
	struct thp_why why = { 0 };
	pid_t guardian = getppid();
	bool found;
	int ret;

	thp_guard_ready();
	if (!thp_run_begin(starving->name, 60))
		return 3;
	ret = thp_child_run(starving->child, &guardian, THP_LONG_MS, &why);
	thp_guard_finished();
	found = strstr(thp_run_accused(), "livelock") && thp_run_has_looped(starving->name);
	return !ret && found == starving->accused ? 0 : 3;
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
	void *arg;
	int code;
	const char *debugfs;	/* a directory that the guardian takes for it */
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
	if (guarded->debugfs)
		snprintf(thp_env.debugfs, sizeof(thp_env.debugfs), "%s", guarded->debugfs);
	ret = thp_guard_run(guarded->body, guarded->arg, &why);
	if (ret != guarded->code)
		return thp_why(&chan->why, -EPROTO, "the guardian says %d", ret);
	return 0;
}

/* The guardian counts refusals: @dir gets a counter that anybody can set. */
static int guards_refused(const char *dir, struct thp_why *why)
{
	struct starving starving = { "refused.test", is_refused, true };
	struct guarded refused = { .body = starving_test, .arg = &starving, .debugfs = dir };
	char sub[64], path[96];
	int fd, ret;

	snprintf(sub, sizeof(sub), "%s/fail_page_alloc", dir);
	snprintf(path, sizeof(path), "%s/times", sub);
	if (chmod(dir, 0755) || mkdir(sub, 0755))
		return thp_why(why, -errno, "%s: %s", sub, strerror(errno));
	fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0666);
	if (fd < 0 || fchmod(fd, 0666) || close(fd))
		return thp_why(why, -errno, "%s: %s", path, strerror(errno));
	ret = thp_child_run(guards, &refused, THP_LONG_MS, why);
	unlink(path);
	rmdir(sub);
	return ret;
}

/*
 * The guardian ends a test that exceeds its limit, one whose kernel has crashed, one that
 * waits for a lock for ever, and one that loops while it starves itself: by its CPU time,
 * or by the number of its refusals. Not one that seems to, as the machine stood still.
 */
TEST_F_TIMEOUT(lib, guardian, 90)
{
	struct guarded broken = { .body = endless_test, .arg = "made up", .code = 1 };
	struct starving loop = { "hungry.test", loops_hungry, true };
	struct starving stall = { "stalled.test", is_stalled, false };
	struct guarded hungry = { .body = starving_test, .arg = &loop };
	struct guarded stalled = { .body = starving_test, .arg = &stall };
	struct guarded late = { .body = endless_test }, sleeping = { .body = sleeping_test };
	char dir[] = "/tmp/thp_guard.XXXXXX";
	struct thp_why why = { 0 };

	THP_NEEDS(THP_NEED_ROOT);
	/* The guardian measures the speed of the machine anew, and may take longer by that. */
	THP_CHECK_OK(thp_child_run(guards, &late, THP_LONG_MS, &why), &why);
	THP_CHECK_OK(thp_child_run(guards, &broken, THP_LONG_MS, &why), &why);
	THP_CHECK_OK(thp_child_run(guards, &hungry, THP_LONG_MS, &why), &why);
	THP_CHECK_OK(thp_child_run(guards, &sleeping, THP_LONG_MS, &why), &why);
	THP_CHECK_OK(thp_child_run(guards, &stalled, THP_LONG_MS, &why), &why);
	THP_REQUIRE(mkdtemp(dir), "%s: %s", dir, strerror(errno));
	THP_CHECK_OK(guards_refused(dir, &why), &why);
	rmdir(dir);
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
	/* So does a file that is not swapped to; others are not written. */
	thp_why_clear(&why);
	THP_CHECK_OK(thp_settings_note("/dev/null", THP_SETTINGS_SWAPOFF), &why);
	THP_CHECK_OK(thp_settings_note("/no/such/area", THP_SETTINGS_SWAPOFF), &why);
	THP_CHECK_OK(thp_settings_restore(mark, &why), &why);
	THP_CHECK_OK(thp_settings_note("/no/such/area", "swapon"), &why);
	THP_CHECK(thp_settings_restore(mark, &why) == -ENOENT, "an area was swapped to");
}
