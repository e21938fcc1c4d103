#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# After SIGKILL of the runner and of a program in the middle of its tests, the
# next run puts the settings back.

. check/lib.sh

if [ "$(id -u)" -ne 0 ]; then
	skip "after SIGKILL" "needs root"
	exit
fi

inst=$work/inst
install_to "$inst"
unset OUTPUT
# A runner that is killed cannot remove its files.
export TMPDIR="$work"

# The run has to change a setting: this machine may already have the values of the
# suite, for example after a run that was killed with another /run mounted.
setting=/sys/kernel/mm/transparent_hugepage/khugepaged/scan_sleep_millisecs
if ! own=$(cat $setting 2>/dev/null) || ! echo 12345 2>/dev/null > $setting; then
	skip "after SIGKILL" "needs settings of khugepaged that can be changed"
	exit
fi
trap 'echo "$own" > $setting' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP
sh check/snapshot.sh > "$work/before"

changes()
{
	sh check/snapshot.sh | diff "$work/before" -
}

settings_changed()
{
	changes | grep -q '^> /sys'
}

# Of the processes of this copy of a program, the one whose parent is none of them
supervisor()
{
	for exe in /proc/[0-9]*/exe; do
		case $(readlink "$exe") in
		"$inst"/*) ;;
		*)	continue;;
		esac
		pid=${exe#/proc/}
		pid=${pid%/exe}
		parent=$(sed -n 's/^PPid:[[:space:]]*//p' "/proc/$pid/status")
		case $(readlink "/proc/$parent/exe") in
		"$inst"/*) ;;
		*)	echo "$pid";;
		esac
	done 2>/dev/null
}

# Starts a run and kills it as soon as it has changed a setting
kill_run()
{
	"$inst/run_tests.sh" -s 50 > "$work/run" 2>&1 </dev/null &
	runner=$!
	tries=0
	until settings_changed && grep -q '^# ok 2 ' "$work/run"; do
		tries=$((tries + 1))
		if [ $tries -gt 100 ] || ! kill -0 $runner 2>/dev/null; then
			fail "$1" "no run that has settings changed to kill"
			kill $runner
			return 1
		fi
		sleep 0.1
	done
	# shellcheck disable=SC2046 # pids
	kill -KILL $runner $(supervisor)
	wait $runner 2>/dev/null
	if settings_changed; then
		pass "$1: it leaves changed settings"
	else
		fail "$1" "the killed run left no changed setting"
	fi
}

restored()
{
	changes > "$log"
	try "$1: all is as before" test ! -s "$log"
}

if kill_run "SIGKILL, then -R"; then
	try "SIGKILL, then -R" "$inst/thp_lazy_split" -R
	restored "SIGKILL, then -R"
fi
if kill_run "SIGKILL, then a run"; then
	try "SIGKILL, then a run" "$inst/run_tests.sh" -t thp_mremap
	restored "SIGKILL, then a run"
fi
