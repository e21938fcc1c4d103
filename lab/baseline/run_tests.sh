#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# Runs the kernel's own mm selftests that lie beside it in the lab's guest, one
# after the other, each to its end. Takes the options that the lab hands to the
# suite: -t PROGRAM selects, the others change nothing.
#
# What a program's kernel log says is for the lab to find: a marker goes before
# each. After a report that leaves the kernel no longer fit to judge others by,
# it ends, and the lab boots again for the rest.

cd "$(dirname "$0")" || exit 2
out=${TMPDIR:-/tmp}/baseline.out
thp=/sys/kernel/mm/transparent_hugepage
khugepaged=$thp/khugepaged
wanted=' ' bad=''
while getopts e:t:r:s:xvlh opt; do
	case $opt in
	t)	wanted="$wanted$OPTARG " ;;
	'?')	exit 2 ;;
	*)	;;
	esac
done

selected() {
	[ "$wanted" = ' ' ] || case $wanted in
	*" $1 "*)	;;
	*)		return 1 ;;
	esac
}

# Ended by an oops, a bad page or a lockup, or lock checking has ended.
unfit() {
	taint=$(cat /proc/sys/kernel/tainted)
	[ $((taint & (1 << 5 | 1 << 7 | 1 << 14))) -ne 0 ] ||
		grep -q 'debug_locks: *0' /proc/lockdep_stats 2>/dev/null
}

uptime_s() {
	cut -d . -f 1 /proc/uptime
}

# run LIMIT PROGRAM ARGUMENT...: sets code, or "hung" if it had to be killed when
# the machine was up for LIMIT seconds, or "stuck" if it could not be.
run() {
	limit=$1 prog=$2
	shift 2
	setsid "./$prog" "$@" >>"$out" 2>&1 </dev/null &
	pid=$!
	code=''
	while kill -0 $pid 2>/dev/null; do
		if [ "$(uptime_s)" -ge "$limit" ]; then
			code=hung
			# All of its children, forked or of its session.
			kill -KILL -$pid 2>/dev/null || kill -KILL $pid
			sleep 5
			! kill -0 $pid 2>/dev/null || code=stuck
			break
		fi
		sleep 1
	done
	[ -n "$code" ] || {
		wait $pid
		code=$?
	}
	kill -KILL -$pid 2>/dev/null
}

# run_all SECONDS PROGRAM ARGUMENTS: all its runs, until one does worse than fail.
run_all() {
	: >"$out"
	limit_all=$(($(uptime_s) + $1)) name=$2 rest=$3
	while :; do
		# shellcheck disable=SC2086 # a list of words
		run "$limit_all" "$name" ${rest%%;*}
		case $code in
		0|1|4)	;;
		*)	break ;;
		esac
		[ "$code" -ne 1 ] || bad=1
		case $rest in
		*';'*)	rest=${rest#*;} ;;
		*)	break ;;
		esac
	done
	[ -z "$bad" ] || [ "$code" != 0 ] || code=1
	bad=''
	# What its last process leaves behind when its memory is torn down. The
	# last to let go of it may be khugepaged, which sleeps otherwise.
	sleep 1
	echo 0 >$khugepaged/scan_sleep_millisecs
	sleep 1
	echo 3600000 >$khugepaged/scan_sleep_millisecs
}

echo "TAP version 13"
echo "1..$(sed -e '/^#/d' -e '/^$/d' programs | while read -r prog _; do
	! selected "$prog" || echo "$prog"
done | wc -l)"

# As most distributions have it: more of what the programs map is huge.
echo always >$thp/enabled
# Splits are undone by a khugepaged that comes round before a slow machine has
# looked at them. The program that tests it has settings of its own.
echo 3600000 >$khugepaged/scan_sleep_millisecs

number=0 status=0
while read -r prog seconds args; do
	case $prog in
	''|'#'*)	continue ;;
	esac
	selected "$prog" || continue
	number=$((number + 1))
	echo "# begin $prog"
	# The console shows warnings and worse.
	echo "<4>baseline: begin $prog" >/dev/kmsg
	echo 1 >/sys/kernel/debug/clear_warn_once 2>/dev/null
	begin=$(uptime_s)
	run_all "$seconds" "$prog" "$args"
	# Some tests wait 3 s and no longer, and the machine may be slow or
	# busy: what failed has to fail again.
	case $code in
	0|4|hung|stuck)	;;
	*)
		sed -n "s/^not ok /# once: $prog: /p" "$out"
		run_all "$seconds" "$prog" "$args" ;;
	esac
	took=$(($(uptime_s) - begin))
	fails=$(grep -c '^not ok' "$out")
	skips=$(grep -c '^ok .*# SKIP' "$out")
	passes=$(($(grep -c '^ok' "$out") - skips))
	sed -n "s/^not ok /# failed: $prog: /p" "$out"
	case $code in
	0|4)	;;
	*)	tail -n 3 "$out" | sed "s/^/# last: $prog: /" ;;
	esac
	echo "# result $prog exit=$code seconds=$took" \
		"pass=$passes fail=$fails skip=$skips"
	case $code in
	0)	echo "ok $number $prog" ;;
	4)	echo "ok $number $prog # SKIP exit=4" ;;
	*)	echo "not ok $number $prog # exit=$code"
		status=1 ;;
	esac
	if [ "$code" = stuck ] || unfit; then
		echo "Bail out! the kernel is no longer fit for others"
		exit 1
	fi
done <programs
exit $status
