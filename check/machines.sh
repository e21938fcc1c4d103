#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# Other people's machines: under each condition of check/machines.list no test or
# program fails, and tests that cannot run have the expected reason.

. check/lib.sh

# The tests of each program that need a setting, a privilege, a limit or two
# CPUs
settings='thp_lazy_split:kernel.* thp_lazy_split:khugepaged.*
	thp_lazy_split:split.m*_mid_anon.counts thp_lazy_split:split.uffd*_mid_anon.*
	thp_split_enomem:split.munmap_mid_*.* thp_fork_copy:kernel.* thp_fork_copy:race.fork_writes*
	thp_mremap:move.whole_anon* thp_migrate:offline.* thp_migrate:race.pin_* thp_migrate:hint.*'
memcg='thp_lazy_split:kernel.* thp_split_enomem:split.munmap_mid_*.memcg'

# under CONDITION TESTS PATTERN COMMAND
under()
{
	if ! sh -c "$4 \"\$@\"" sh true > "$log" 2>&1; then
		skip "$1" "this machine cannot be made to look like that"
		return
	fi
	case $2 in
	@settings)	tests=$settings;;
	@memcg)		tests=$memcg;;
	*)		tests=$2;;
	esac
	command=$4
	name=$1
	pattern=$3
	set -f
	set --
	for test in $tests; do
		set -- "$@" -t "$test"
	done
	set +f
	sh -c "$command \"\$@\"" sh "$inst/run_tests.sh" "$@" > "$log" 2>&1 </dev/null
	status=$?
	sed -n '/^# Skipped, and why:/,/^# [A-Z][a-z]*: /p' "$log" > "$work/skips"
	sed -n '/^# F[a-z]*:/,$p' "$log" > "$work/failed"
	if [ $status -ne 0 ] && [ $status -ne 4 ]; then
		[ ! -s "$work/failed" ] || cp "$work/failed" "$log"
		fail "$name" "exit=$status"
	elif [ "$pattern" ] && ! grep -Eq -e "$pattern" "$work/skips"; then
		cp "$work/skips" "$log"
		fail "$name" "no SKIP says: $pattern"
	else
		pass "$name"
	fi
}

inst=$work/inst
install_to "$inst"
chmod -R a+rX "$SCRATCH"
unset OUTPUT THP_LAZY_EXPECT
while IFS='|' read -r name tests pattern command; do
	case $name in
	'' | '#'*)	continue;;
	esac
	under "$name" "$tests" "$pattern" "$command"
done < check/machines.list
