#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# The self-tests in C, check/selftest.c and its parts: each gives an oracle a wrong
# state, which it has to report. check/lab.sh runs them on the lazy kernel, too.

. check/lib.sh

sources=$(grep -l '^THP_MAIN' check/*.c)
for source in $sources; do
	prog=$(basename "$source" .c)
	timeout -k 10 300 "$OUTPUT/obj/check/$prog" > "$log" 2>&1
	status=$?
	planned=$(sed -n 's/^1\.\.\([0-9]*\).*/\1/p' "$log" | head -n 1)
	ok=$(grep -c '^ok ' "$log")
	skipped=$(grep -c '^ok .*# SKIP' "$log")
	bad=$(grep -c '^not ok ' "$log")
	grep '^not ok ' "$log" | sed 's/^/#   /'
	echo "# also: $((ok - skipped)) $bad $skipped"
	if [ "$status" -ne 0 ] && [ "$status" -ne 4 ]; then
		lines=40
		fail "$prog" "exit=$status"
	elif [ "$planned" != $((ok + bad)) ]; then
		fail "$prog" "planned $planned tests, reported $((ok + bad))"
	else
		pass "$prog"
	fi
done
