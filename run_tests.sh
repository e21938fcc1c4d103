#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# Runs the programs one after another and gives one verdict, as KTAP with each
# program's own output nested under it. Needs a POSIX shell and only tools that
# busybox has; it runs in the directory of the programs, or OUTPUT names that
# directory.

all_programs='thp_lazy_split thp_split_enomem thp_fork_copy thp_mremap thp_migrate'

usage()
{
	cat <<END
usage: ${0##*/} [-hlvx] [-b | -B] [-t PROGRAM[:TEST]]... [-e eager|lazy|auto] [-s N]
       [-o FORMAT:FILE]...
  -t PROGRAM[:TEST]  run this only, programs in this order; TEST may be a
                     pattern ('*.fail_nth')
  -e MODE            what this kernel has to be (auto: what it says it is), instead
                     of THP_LAZY_EXPECT in the environment
  -s N               make the stress parts N times as long (1 to 1000)
  -x                 stop at the first failure
  -o FORMAT:FILE     write the results to FILE, too: tap (this output), ktap (nested by
                     indentation), json or junit
  -v                 on a terminal: all output, instead of a line of progress
  -l                 list every test: its ID, the call sites that it covers, its source file
  -b                 measure what operations cost, instead of testing: time, and bytes of
                     page tables, per THP; with -t rows ('munmap_*'), with -l their names
  -B                 the same, as one JSON object a line
  -h, --help         this text
Programs: $all_programs
OUTPUT=DIR in the environment says where they are if not beside this script. On a terminal
the KTAP goes to a file, whose name is told at the end; NO_COLOR=1 for no colours.
Exit code: 0 passed, 1 failed, 2 bad usage or environment, 4 all skipped.
END
}

# If the kselftest runner starts this, it treats 2 as an expected failure.
bad_code=2
[ -z "${kselftest_timeout+set}" ] || bad_code=1

bad()
{
	printf '%s: %s\n' "${0##*/}" "$*" >&2
	exit $bad_code
}

is_program()
{
	case " $all_programs " in
	*" $1 "*) return 0;;
	esac
	return 1
}

# The tests of program $1, as lines "TEST<tab>IDs"
list_tests()
{
	"$dir/$1" -L || bad "cannot list the tests of $1"
}

list_all()
{
	for prog in $all_programs; do
		tests=$(list_tests "$prog") || exit
		printf '%s\n' "$tests" | sed "s/^/$prog:/"
	done
}

# Those of the tests that match pattern $1, from a list on stdin
match_tests()
{
	while read -r id _; do
		# shellcheck disable=SC2254 # a pattern is welcome
		case $id in
		$1) echo "$id";;
		esac
	done
}

# A -t selection becomes a line "PROGRAM TEST" per test, or "PROGRAM" for all.
select_tests()
{
	prog=${1%%:*}
	is_program "$prog" || bad "unknown program '$prog' in -t $1"
	case $1 in
	*:*)	tests=$(list_tests "$prog") || exit
		tests=$(printf '%s\n' "$tests" | match_tests "${1#*:}")
		[ "$tests" ] || bad "unknown test '${1#*:}' in -t $1 (see -l)"
		tests=$(printf '%s\n' "$tests" | sed "s/^/$prog /");;
	*)	tests=$prog;;
	esac
	selection="$selection$tests
"
}

# With -b: a -t selection becomes a line "PROGRAM PATTERN" in $selection.
select_rows()
{
	prog=${1%%:*}
	is_program "$prog" || bad "unknown program '$prog' in -t $1"
	rows='*'
	[ "$prog" = "$1" ] || rows=${1#*:}
	names=$("$dir/$prog" -L -b "$rows") || bad "cannot list the rows of $prog"
	[ "$names" ] || bad "unknown row '$rows' in -t $1 (see -b -l)"
	selection="$selection$prog $rows
"
}

# All rows of all programs; some have none.
list_rows()
{
	for prog in $all_programs; do
		names=$("$dir/$prog" -L -b '*') || bad "cannot list the rows of $prog"
		[ -z "$names" ] || printf '%s\n' "$names" | sed "s/^/$prog:/"
	done
}

# Reads the output of a program that measures. With -B nothing but JSON goes to stdout.
pass_figures()
{
	if [ "$measures" = -B ]; then
		awk '/^[{]/ { print; fflush(); next } { print > "/dev/stderr" }'
	else
		cat
	fi
}

# Seconds that a program may take on a normal machine: less than the limit of the
# kselftest runner, so that this script ends the program; and more on a slow machine,
# according to $tmp/facts.
time_limit()
{
	limit=600
	if [ -r "$here/settings" ]; then
		limit=$(sed -n 's/^timeout=\([0-9][0-9]*\)$/\1/p' "$here/settings")
	fi
	slow=$(sed -n 's/^# speed: limits x \([1-9][0-9]*\).*/\1/p' "$tmp/facts")
	echo $(((${limit:-600} - 60) * scale * ${slow:-1}))
}

# Reads a program's output, prints it nested, and records the data of the
# report: the plan, the outcomes, a line per failure and per skip.
nest_output()
{
	ended=
	while IFS= read -r line || [ "$line" ]; do
		# The harness reports a test that died in an earlier line.
		case $line in
		'# '*': Test terminated '*)
			ended=${line#*: };;
		'not ok '*'#'*)	;;
		'not ok '*)
			line="$line # ${ended:-no cause given}"
			ended=;;
		esac
		printf '# %s\n' "$line"
		case $line in
		'#  RUN '*)
			[ -z "$people" ] || echo "${line##*RUN }" > "$tmp/running";;
		1..[0-9]*'# SKIP '*)
			echo "${line#*# SKIP }" > "$tmp/reason"
			echo 0 > "$tmp/plan";;
		1..[0-9]*)
			echo "${line#1..}" > "$tmp/plan";;
		'ok '*'# SKIP'*)
			echo skip >> "$tmp/outcomes"
			printf '%s\n' "${line#*# SKIP}" >> "$tmp/skips";;
		'ok '*'# XFAIL'* | 'ok '*'# XPASS'*)
			# A test that ended with such an exit code: no test is expected
			# to fail.
			echo fail >> "$tmp/outcomes"
			printf '%s:%s\n' "$prog" "${line#ok * }" >> "$tmp/failures";;
		'ok '*)
			echo pass >> "$tmp/outcomes"
			printf '%s:%s\n' "$prog" "${line#ok * }" >> "$tmp/passed";;
		'not ok '*)
			echo fail >> "$tmp/outcomes"
			line=${line#not ok }
			printf '%s:%s\n' "$prog" "${line#* }" >> "$tmp/failures"
			[ -z "$first_only" ] || stop_program;;
		'Bail out! after the tests: '*)
			;; # An earlier line has said so.
		'Bail out! '*)
			printf '%s: %s\n' "$prog" "${line#Bail out! }" >> "$tmp/failures";;
		'# after the tests: '*)
			printf '%s: %s\n' "$prog" "${line#\# }" >> "$tmp/failures";;
		esac
	done 2>/dev/null
}

read_output()
{
	trap '' INT TERM HUP PIPE
	if [ "$measures" ]; then
		pass_figures
	else
		nest_output
	fi
}

# Called by the reader. The program restores its settings before it exits.
stop_program()
{
	[ ! -e "$tmp/stopped" ] || return
	: > "$tmp/stopped"
	kill -TERM "$(cat "$tmp/child")"
}

count()
{
	grep -c "$1" "$tmp/outcomes"
}

# What is wrong, from the failures (findings.awk); fails if it cannot be told.
findings()
{
	[ -r "$here/findings.awk" ] || return
	table=/dev/null
	for file in "$here/call-sites.md" "$here/docs/call-sites.md"; do
		[ ! -r "$file" ] || table=$file
	done
	(list_all) > "$tmp/covers" 2>/dev/null
	command=$0
	[ "$dir" = "$here" ] || command="OUTPUT='$dir' $command"
	[ "$expect" = auto ] || command="$command -e $expect"
	[ "$scale" -eq 1 ] || command="$command -s $scale"
	awk -v command="$command" -f "$here/findings.awk" kind=facts "$tmp/facts" \
		kind=sites "$table" kind=covers "$tmp/covers" kind=passed "$tmp/passed" \
		kind=failed "$tmp/failures" > "$tmp/findings" && cat "$tmp/findings"
}

# Waits for the reader. It ends when the last process closes the pipe; a process
# that outlives its program must not make this wait for ever.
wait_reader()
{
	tries=0
	while kill -0 "$reader" 2>/dev/null; do
		tries=$((tries + 1))
		if [ $tries -gt 50 ]; then
			kill -KILL "$reader"
			outlived=y
			break
		fi
		sleep 0.1 2>/dev/null || sleep 1
	done
	wait "$reader" 2>/dev/null
}

# Program $prog with the options "$@"; sets $status, $took, $outlived, and the
# numbers of tests: $planned, $pass, $fail, $skip.
run_program()
{
	rm -f "$tmp/out" "$tmp/reason"
	: > "$tmp/outcomes"
	echo none > "$tmp/plan"
	: > "$tmp/child"
	mkfifo "$tmp/out" || bad "cannot make a pipe in $tmp"
	read_output < "$tmp/out" &
	reader=$!
	outlived=
	took=$(date +%s)
	# shellcheck disable=SC2086 # empty, or a command with its options
	$timeout "$dir/$prog" "$@" > "$tmp/out" 2>&1 </dev/null 3>&- &
	child=$!
	echo $child > "$tmp/child"
	# The shell would print its own message about a signal.
	wait $child 2>/dev/null
	status=$?
	child=
	took=$(($(date +%s) - took))
	wait_reader
	read -r planned < "$tmp/plan"
	pass=$(count pass)
	fail=$(count fail)
	skip=$(count skip)
}

# The programs measure, one after the other; sets $code.
measure()
{
	code=4
	for prog in $programs; do
		rows=$(printf '%s' "$selection" | sed -n "s/^$prog //p" | paste -s -d , -)
		run_program "$measures" "$rows" -e "$expect" -s "$scale"
		case $status in
		0)	[ $code -eq 1 ] || code=0;;
		4)	;;
		*)	echo "# $prog: exit=$status" >&2
			code=1;;
		esac
	done
	prog=
}

# Prints why the end of the program is wrong, or nothing. The exit code and the
# result lines have to agree: neither alone decides.
judge()
{
	if [ -e "$tmp/stopped" ]; then
		echo "stopped at its first failure"
		return
	fi
	if [ "$took" -ge "$limit" ] && [ "$status" -ge 124 ]; then
		echo "TIMEOUT $limit seconds"
		return
	fi
	reported=$((pass + fail + skip))
	if [ "$status" -gt 128 ]; then
		echo "killed by SIG$(kill -l $((status - 128)))"
	elif [ "$status" -ne 0 ] && [ "$status" -ne 4 ]; then
		echo "exit=$status"
	elif [ "$fail" -gt 0 ]; then
		echo "exit=$status although tests failed"
	elif [ "$planned" != "$reported" ]; then
		echo "planned $planned tests, reported $reported"
	elif [ "$status" -eq 0 ] && [ "$reported" -eq 0 ]; then
		echo "ran no test"
	elif [ "$outlived" ]; then
		echo "left a process running"
	fi
}

# shellcheck disable=SC2317 # called by a trap, as the next one
cleanup()
{
	[ -z "$tmp" ] || {
		report_end
		written=$?
		rm -rf "$tmp"
		[ "$written" -eq 0 ] || exit "$bad_code"
	}
}

# Without report/display.sh, or if it has nothing to do
report_start() { :; }
report_program() { :; }
report_done() { :; }
# shellcheck disable=SC2317
report_end() { :; }

# The programs restore the settings that they have changed before they exit.
# shellcheck disable=SC2317
aborted()
{
	trap '' INT TERM HUP
	if [ "$child" ]; then
		kill -TERM "$child" 2>/dev/null
		wait "$child" 2>/dev/null
		wait_reader
	fi
	echo "# aborted by SIG$1${prog:+ during $prog}"
	echo "Bail out! aborted"
	exit "$2"
}

(exec 3>&1) 2>/dev/null || bad "stdout is closed"
here=$(cd "$(dirname "$0")" && pwd) || exit $bad_code
dir=${OUTPUT:-$here}
expect=
scale=1
selections=
list=
first_only=
measures=
outputs=
verbose=

# check_mode WHERE MODE
check_mode()
{
	case $2 in
	eager | lazy | auto) ;;
	*) bad "$1 '$2': must be eager, lazy or auto";;
	esac
}

while getopts :bBhlvxt:e:s:o:-: opt; do
	case $opt in
	h)	usage
		exit 0;;
	-)	[ "$OPTARG" = help ] || bad "unknown option --$OPTARG (-h for help)"
		usage
		exit 0;;
	b | B)	measures=-$opt;;
	l)	list=y;;
	x)	first_only=y;;
	v)	verbose=y;;
	o)	case $OPTARG in
		*[[:space:]]*) bad "-o '$OPTARG': no spaces, please";;
		*:?*)	;;
		*)	bad "-o $OPTARG: must be FORMAT:FILE";;
		esac
		[ -x "$here/report/convert.sh" ] || bad "-o needs $here/report/"
		"$here/report/convert.sh" --can "${OPTARG%%:*}" || exit $bad_code
		(: >> "${OPTARG#*:}") 2>/dev/null || bad "-o $OPTARG: cannot write ${OPTARG#*:}"
		outputs="$outputs $OPTARG";;
	t)	case $OPTARG in
		*[[:space:]]*) bad "unknown program or test '$OPTARG'";;
		esac
		selections="$selections $OPTARG";;
	e)	check_mode -e "$OPTARG"
		expect=$OPTARG;;
	s)	case $OPTARG in
		'' | 0* | *[!0-9]* | ?????*) scale=0;;
		*) scale=$OPTARG;;
		esac
		if [ "$scale" -lt 1 ] || [ "$scale" -gt 1000 ]; then
			bad "-s $OPTARG: must be a number from 1 to 1000"
		fi;;
	:)	bad "-$OPTARG needs an argument (-h for help)";;
	*)	bad "unknown option -$OPTARG (-h for help)";;
	esac
done
shift $((OPTIND - 1))
[ $# -eq 0 ] || bad "unexpected argument '$1' (-h for help)"
[ -z "$outputs" ] || [ -z "$measures" ] || bad "-o is for tests, and $measures for none"
if [ -z "$expect" ]; then
	expect=${THP_LAZY_EXPECT-auto}
	check_mode THP_LAZY_EXPECT "$expect"
fi
# The programs get -e instead; and this script reads their output, not the
# kselftest runner.
unset THP_LAZY_EXPECT kselftest_timeout

for prog in $all_programs; do
	[ -x "$dir/$prog" ] || bad "no $prog in $dir: run make first"
done

if [ "$list" ]; then
	if [ "$measures" ]; then
		list_rows
	else
		list_all
	fi
	exit
fi

selection=
if [ "$measures" ] && [ -z "$selections" ]; then
	selections=$(list_rows | sed 's/:.*//' | uniq)
fi
set -f
for arg in $selections; do
	if [ "$measures" ]; then
		select_rows "$arg"
	else
		select_tests "$arg"
	fi
done
set +f
programs=$all_programs
[ -z "$selections" ] ||
	programs=$(printf '%s\n' "$selection" |
		awk 'NF && !seen[$1]++ { print $1 }')

# shellcheck disable=SC2086 # a list
set -- $programs
tmp=
child=
trap cleanup EXIT
trap 'aborted INT 130' INT
trap 'aborted TERM 143' TERM
trap 'aborted HUP 129' HUP
trap 'exit 141' PIPE
# Without mktemp: a directory that nobody else can have created.
tmp=$(mktemp -d "${TMPDIR:-/tmp}/thp_lazy_pte.XXXXXX" 2>/dev/null) || {
	tmp=${TMPDIR:-/tmp}/thp_lazy_pte.$$
	(umask 077; mkdir "$tmp") || {
		tmp=
		bad "cannot write ${TMPDIR:-/tmp}"
	}
}
: > "$tmp/failures"
: > "$tmp/skips"
: > "$tmp/passed"
# Not through a pipe, which a process that cannot be killed would keep open.
trouble=
nothing=
"$dir/$1" -e "$expect" -s "$scale" -i > "$tmp/facts" 2>&1 < /dev/null
status=$?
end=$(sed -n 's/^Bail out! //p' "$tmp/facts" | tail -n 1)
case $status:$end in
0:)	;;
4:)	nothing=$(sed -n 's/^1\.\.0 # SKIP //p' "$tmp/facts");;
*:'cannot start: '* | *:"$1: "*)
	bad "$1: ${end#"$1: "}";;
# The kernel complained about the probe, or crashed.
1:*)	trouble=$(tail -n 1 "$tmp/facts")
	trouble=${trouble#"Bail out! "}
	trouble="before the tests: ${trouble#"after the tests: "}";;
*)	bad "$1: exit=$status: $(tail -n 1 "$tmp/facts")";;
esac

limit=$(time_limit)
timeout="timeout -k 20 $limit"
$timeout true 2>/dev/null || timeout=

if [ "$measures" ]; then
	if [ "$trouble$nothing" ]; then
		echo "# nothing was measured: $trouble$nothing" >&2
		[ -z "$trouble" ] || exit 1
		exit 4
	fi
	[ "$measures" = -B ] || sed '/^#/!d' "$tmp/facts"
	measure
	exit $code
fi

people=
colours=
if [ -t 1 ] && [ "${TERM:-dumb}" != dumb ] && [ -r "$here/report/display.sh" ]; then
	[ "$verbose" ] || people=y
	[ "${NO_COLOR-}" ] || colours=y
fi
if [ "$people$colours$outputs" ]; then
	# shellcheck source=report/display.sh
	. "$here/report/display.sh"
fi
report_start

echo "TAP version 13"
echo "1..$#"
sed '/^#/!d' "$tmp/facts"

number=0
passed=0
failed=0
skipped=0
tests_passed=0
tests_failed=0
tests_skipped=0
began=$(date +%s)
for prog in $programs; do
	number=$((number + 1))
	if [ "$first_only" ] && [ $failed -gt 0 ]; then
		echo "ok $number $prog # SKIP after a failure"
		skipped=$((skipped + 1))
		continue
	fi
	# A need that stops the first program stops the others, too.
	if [ "$nothing" ]; then
		echo "ok $number $prog # SKIP $nothing"
		echo " $nothing" >> "$tmp/skips"
		skipped=$((skipped + 1))
		continue
	fi
	set -- -e "$expect" -s "$scale"
	tests=$(printf '%s\n' "$selection" | sed -n "s/^$prog //p" | sort -u)
	printf '%s\n' "$selection" | grep -qx "$prog" && tests=
	for test in $tests; do
		set -- "$@" -r "$test"
	done
	report_program
	run_program "$@"
	report_done
	wrong=$(judge)
	[ -z "$trouble" ] || wrong=$trouble
	trouble=
	if [ "$wrong" ]; then
		echo "not ok $number $prog # $wrong"
		failed=$((failed + 1))
		# A program that failed without a failed test still needs a cause.
		grep -q "^$prog:" "$tmp/failures" ||
			echo "$prog: $wrong" >> "$tmp/failures"
	elif [ "$status" -eq 4 ]; then
		reason='every test skipped'
		[ ! -s "$tmp/reason" ] || reason=$(cat "$tmp/reason")
		echo "ok $number $prog # SKIP $reason"
		echo " $reason" >> "$tmp/skips"
		skipped=$((skipped + 1))
	else
		echo "ok $number $prog"
		passed=$((passed + 1))
	fi
	tests_passed=$((tests_passed + pass))
	tests_failed=$((tests_failed + fail))
	tests_skipped=$((tests_skipped + skip))
done
prog=

if [ -s "$tmp/skips" ]; then
	echo "# Skipped, and why:"
	sort "$tmp/skips" | uniq -c | sort -rn |
		sed 's/^ *\([0-9]*\)  *\(.*\)/#   \1 x \2/'
fi
if [ -s "$tmp/failures" ] && ! findings; then
	echo "# Failed:"
	sed 's/^/#   /' "$tmp/failures"
fi
if [ $failed -gt 0 ]; then
	verdict=FAILED
	code=1
elif [ $passed -gt 0 ]; then
	verdict=passed
	code=0
else
	verdict='nothing could be tested'
	code=4
fi
echo "# Verdict: $verdict, in $(($(date +%s) - began)) s"
echo "# Tests: pass:$tests_passed fail:$tests_failed skip:$tests_skipped"
echo "# Totals: pass:$passed fail:$failed xfail:0 xpass:0 skip:$skipped error:0"
exit $code
