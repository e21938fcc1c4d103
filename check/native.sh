#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# The whole suite passes on the running kernel. Counts its tests, too.

. check/lib.sh

OUTPUT=$OUTPUT ./run_tests.sh > "$log" 2>&1
status=$?
sed -n '/^# Skipped, and why:/,$p' "$log"
# shellcheck disable=SC2046 # three numbers
set -- $(sed -n 's/^# Tests: pass:\(.*\) fail:\(.*\) skip:\(.*\)/\1 \2 \3/p' "$log")
if [ $# -eq 3 ]; then
	echo "# also: $1 $2 $3"
fi
case $status in
0)	pass "run_tests.sh";;
4)	skip "run_tests.sh" "nothing can be tested on this machine";;
*)	lines=40
	fail "run_tests.sh" "exit=$status";;
esac
