#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# The way from a failed test to the C that ran does not grow unseen: the number of functions
# and macros that one test reaches by name (check/closure.py) stays within a limit.

. check/lib.sh

# What one more costs a reader is worth a line in the log of this file.
limit=150
test='thp_split_enomem split targeted run_munmap'
name='from split.munmap_mid_anon.targeted to the C that ran'

if ! have python3; then
	skip "$name" "needs python3"
	exit
fi

# figure DIR: sets $count to that of the code in DIR; false without one
figure()
{
	# shellcheck disable=SC2086 # a list
	(cd "$1" && "$closure" $test) > "$log" 2>&1 || return
	count=$(sed -n '1s/^\([0-9]*\) functions and macros.*/\1/p' "$log")
	[ -n "$count" ]
}

closure=$PWD/check/closure.py
lines=60
if ! figure .; then
	fail "$name" "no figure"
	exit
fi
sed -n '1,2s/^/# /p' "$log"
if [ "$count" -gt "$limit" ]; then
	fail "$name" "$count functions and macros, limit $limit"
else
	pass "$name"
	[ "$count" -eq "$limit" ] || echo "# limit=$limit in check/closure.sh can be $count"
fi

# One call more is seen; a comment, a string and a member of that name are not.
mkdir "$work/copy"
cp -R lib split_enomem thp_split_enomem.c "$work/copy"
was=$count

# with TEXT: sets $count to that of a copy whose scenario has TEXT as well
with()
{
	{
		sed "s/^	const struct starve_job \*job = arg;/&\n	$1/" split_enomem/split.c
		printf '\nstatic int one_more(void)\n{\n\treturn 0;\n}\n'
	} > "$work/copy/split_enomem/split.c"
	figure "$work/copy"
}

with '(void)r->one_more; \/* one_more() *\/ puts("one_more()");'
same=$count
with '(void)one_more();'
if [ "$same" -ne "$was" ]; then
	fail "the figure counts calls only" "$same instead of $was"
elif [ "$count" -ne $((was + 1)) ]; then
	fail "the figure counts one call more" "$count instead of $((was + 1))"
else
	pass "the figure counts calls, and one call more"
fi
