#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# Test IDs are permanent: CI systems keep the history of a test under its ID.
# The file check/ids lists every ID ever given, one "PROGRAM:TEST" a line,
# sorted; a test in it must not disappear, and a new test has to be added to it.

. check/lib.sh

# compare NAME CAUSE: passes if the list of IDs on stdin is empty
compare()
{
	cat > "$log"
	if [ -s "$log" ]; then
		lines=20
		fail "$1" "$(wc -l < "$log") $2"
	else
		pass "$1"
	fi
}

export LC_ALL=C
grep -v '^#' check/ids > "$work/listed"
OUTPUT=$OUTPUT ./run_tests.sh -l > "$work/all" 2> "$log"
status=$?
if [ $status -ne 0 ]; then
	fail "list of tests" "run_tests.sh -l: exit=$status"
	exit
fi
cut -f1 "$work/all" | sort > "$work/now"
try "check/ids is sorted" sort -c "$work/listed"
sort -o "$work/listed" "$work/listed"
comm -23 "$work/listed" "$work/now" |
	compare "no test has disappeared" "IDs of check/ids are no test any more"
comm -13 "$work/listed" "$work/now" |
	compare "every test is in check/ids" "tests are missing there: add them"
