// SPDX-License-Identifier: GPL-2.0
/* The texts that people read when a test fails or skips. */

/* The text of a failure: the finder and the cause, once only. */
TEST_F(lib, why)
{
	struct thp_why why = { 0 }, inner = { 0 };
	char line[200], want[200];
	int at;

	THP_CHECK(thp_why(&why, -EIO, "%d things", 3) == -EIO, "the error was lost");
	at = __LINE__ - 1;
	(void)thp_why(&why, -EPERM, "a consequence");
	thp_why_line(line, sizeof(line), &why, -EIO, "call(&why)", "dir/file.c", 1);
	snprintf(want, sizeof(want), "causes.c:%d: 3 things (EIO)", at);
	THP_CHECK(!strcmp(line, want), "got \"%s\", expected \"%s\"", line, want);
	THP_CHECK(thp_why_from(&inner, -EPROTO, &why, "child %d", 2) == -EPROTO, "another error");
	thp_why_line(line, sizeof(line), &inner, -EPROTO, "call(&why)", "dir/file.c", 1);
	snprintf(want, sizeof(want), "causes.c:%d: child 2: 3 things", at);
	THP_CHECK(!strcmp(line, want), "got \"%s\", expected \"%s\"", line, want);
	thp_why_clear(&why);
	thp_why_line(line, sizeof(line), &why, -ETIMEDOUT, "call(&why)", "dir/file.c", 1);
	THP_CHECK(!strcmp(line, "file.c:1: call: Connection timed out (ETIMEDOUT)"),
		  "without a cause: \"%s\"", line);
	thp_why_line(line, sizeof(line), &why, -ETIMEDOUT, "ret", "dir/file.c", 1);
	THP_CHECK(!strcmp(line, "file.c:1: failed: Connection timed out (ETIMEDOUT)"),
		  "of a variable: \"%s\"", line);
	THP_CHECK(thp_read_file("/no/such", line, sizeof(line)) == -ENOENT, "it is there");
	thp_why_line(line, sizeof(line), &why, -ENOENT, "call(&why)", "dir/file.c", 1);
	THP_CHECK(strstr(line, "/no/such cannot be opened (ENOENT)"), "no note: \"%s\"", line);
	thp_why_line(line, sizeof(line), &why, -EIO, "call(&why)", "dir/file.c", 1);
	THP_CHECK(!strstr(line, "/no/such"), "a note of another error: \"%s\"", line);
	thp_why_clear(&why);
	thp_why_line(line, sizeof(line), &why, -ENOENT, "call(&why)", "dir/file.c", 1);
	THP_CHECK(!strstr(line, "/no/such"), "a note from before: \"%s\"", line);
}

/* A reason stays the same constant whatever the detail, and passes out of a child unchanged. */
static int skips(struct thp_chan *chan, void *arg)
{
	return thp_skip(&chan->why, "needs a reason", "detail %d", *(int *)arg);
}

TEST_F(lib, skip)
{
	struct thp_why why = { 0 };
	int number = 7, ret;

	ret = thp_child_run(skips, &number, 5000, &why);
	THP_CHECK(ret == -ENOTSUP && why.skip && !strcmp(why.skip, "needs a reason"),
		  "a child's SKIP became %s \"%s\"", thp_errno_name(ret), why.text);
	THP_CHECK(!strcmp(why.text, "needs a reason: detail 7"), "detail: \"%s\"", why.text);
	thp_why_clear(&why);
	THP_CHECK(thp_skip(&why, "needs a reason") == -ENOTSUP &&
		  !strcmp(why.text, "needs a reason"), "no detail: \"%s\"", why.text);
}
