#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# run_tests.sh gives the right verdict on programs that pass, fail, skip, lie,
# crash, hang and talk nonsense, in every shell at hand. The programs are
# scripts: thp_mremap does what is being checked, the others pass.

. check/lib.sh

fake=$work/programs
fake_programs "$fake" <<'END'
#!/bin/sh
prog=${0##*/}
case "$*" in
*-L*)	[ -z "${THP_LAZY_EXPECT+set}" ] || exit 1
	printf 'split.anon.counts\tzap\nsplit.anon.keeps\tzap fork\n'
	exit;;
*-i*)	echo "# kernel: fake"
	[ "$FACTS" ] || exit 0
	eval "$FACTS";;
esac
printf '%s\n' "$prog $*" >> "$CALLS"
if [ "$prog" = thp_mremap ] && [ "$BEHAVIOUR" ]; then
	eval "$BEHAVIOUR"
fi
printf 'TAP version 13\n1..1\nok 1 fine\n'
END
cp run_tests.sh "$fake"
echo "timeout=63" > "$fake/settings"
CALLS=$work/calls
export CALLS

# run SHELL OPTION...: the runner on the fakes
run()
{
	: > "$CALLS"
	# shellcheck disable=SC2086 # "busybox sh" is two words
	(unset OUTPUT; $shell "$fake/run_tests.sh" "$@") > "$log" 2>"$work/err"
	status=$?
}

# verdict NAME STATUS PATTERN BEHAVIOUR
verdict()
{
	BEHAVIOUR=$4
	export BEHAVIOUR
	run
	BEHAVIOUR=
	if [ $status -ne "$2" ]; then
		fail "$shell: $1" "exit=$status, not $2"
	elif ! grep -Eq "$3" "$log"; then
		fail "$shell: $1" "no line matches $3"
	elif [ -s "$work/err" ]; then
		cp "$work/err" "$log"
		fail "$shell: $1" "it writes to stderr"
	else
		pass "$shell: $1"
	fi
}

# Bad usage: exit code 2, one line, and no program was started
refuses()
{
	run "$@"
	cat "$work/err" >> "$log"
	if [ $status -ne 2 ]; then
		fail "$shell: refuses $*" "exit=$status, not 2"
	elif [ "$(wc -l < "$log")" -ne 1 ] || [ ! -s "$work/err" ]; then
		fail "$shell: refuses $*" "not one line on stderr"
	elif [ -s "$CALLS" ]; then
		fail "$shell: refuses $*" "it ran something"
	else
		pass "$shell: refuses $*"
	fi
}

# called NAME "LINES" OPTION...: which programs run with which options
called()
{
	name=$1
	expected=$2
	shift 2
	run "$@"
	printf '%s\n' "$expected" | diff - "$CALLS" > "$log"
	if [ $status -eq 0 ] && [ ! -s "$log" ]; then
		pass "$shell: $name"
	else
		fail "$shell: $name" "exit=$status"
	fi
}

# shellcheck disable=SC2089 # it is for eval
tap='echo "TAP version 13"; echo 1..2; echo "ok 1 a"'

# Tests that fail, and programs that do not report it
check_failures()
{
	verdict "all pass" 0 '^# Tests: pass:5 fail:0 skip:0$' ''
	verdict "one test fails" 1 '^not ok 4 thp_mremap # exit=1$' \
		"$tap; echo 'not ok 2 b # 3 tables, not 4'; exit 1"
	verdict "the cause is listed" 1 \
		'^#   thp_mremap:b # 3 tables, not 4$' \
		"$tap; echo 'not ok 2 b # 3 tables, not 4'; exit 1"
	verdict "a test that died has a cause" 1 \
		'^#   thp_mremap:b # Test terminated by timeout$' \
		"$tap; echo '# b: Test terminated by timeout'; echo 'not ok 2 b'; exit 1"
	verdict "a failure without a cause" 1 '^# not ok 2 b # no cause given$' \
		"$tap; echo 'not ok 2 b'; exit 1"
	verdict "the kernel complains after the last test" 1 \
		'^#   thp_mremap: after the tests: kernel log: BUG: fake$' \
		"$tap; echo 'ok 2 b'; echo '# after the tests: kernel log: BUG: fake'
		echo 'Bail out! after the tests: kernel log: BUG: fake'; exit 1"
	try "$shell: ... once" test "$(grep -c '^#   .*BUG: fake' "$log")" -eq 1
	verdict "a failure and exit code 0" 1 \
		'^not ok 4 thp_mremap # exit=0 although tests failed$' \
		"$tap; echo 'not ok 2 b'; exit 0"
	verdict "exit code 1 and no failure" 1 \
		'^#   thp_mremap: exit=1$' "$tap; echo 'ok 2 b'; exit 1"
}

# What is wrong in place of what failed, where findings.awk is beside the runner
check_findings()
{
	cp findings.awk docs/call-sites.md "$fake"
	verdict "findings instead of the failures" 1 \
		'^#   1\. 1 test: 3 tables, not 4$' \
		"$tap; echo 'not ok 2 b # 3 tables, not 4'; exit 1"
	cp "$log" "$work/out"
	try "$shell: ... with a command" \
		test "$(grep -c '^#  *[^ ]*/run_tests.sh -t thp_mremap:b$' "$log")" -eq 1
	cp "$work/out" "$log"
	try "$shell: ... and no other list" test "$(grep -c '^# Failed:' "$log")" -eq 0
	BEHAVIOUR="$tap; echo 'not ok 2 b # a cause'; exit 1"
	# shellcheck disable=SC2090
	export BEHAVIOUR
	run -e lazy -s 3
	BEHAVIOUR=
	try "$shell: ... with its options" \
		test "$(grep -c '/run_tests.sh -e lazy -s 3 -t thp_mremap:b$' "$log")" -eq 1
	echo 'BEGIN { exit 1 }' > "$fake/findings.awk"
	verdict "an awk that fails" 1 '^#   thp_mremap:b # 3 tables, not 4$' \
		"$tap; echo 'not ok 2 b # 3 tables, not 4'; exit 1"
	rm "$fake/findings.awk" "$fake/call-sites.md"
}

# The facts that the first program prints before any test
check_facts()
{
	# shellcheck disable=SC2089,SC2090 # it is for eval
	FACTS='echo "Bail out! after the tests: kernel log: BUG: fake"; exit 1'
	# shellcheck disable=SC2090
	export FACTS
	verdict "the kernel complains before the first test" 1 \
		'^#   thp_lazy_split: before the tests: kernel log: BUG: fake$' ''
	FACTS='echo "Bail out! the test program was killed by SIGKILL"; exit 1'
	verdict "the kernel crashes before the first test" 1 \
		'^#   thp_lazy_split: before the tests: .* was killed by SIGKILL$' ''
	FACTS='echo "Bail out! cannot start: no memory"; exit 1'
	refuses -t thp_mremap
	FACTS='echo "what is this"; exit 3'
	refuses -t thp_mremap
	FACTS='echo "# held by pid 7"; echo "1..0 # SKIP one at a time"; exit 4'
	verdict "nothing can be tested" 4 '^ok 4 thp_mremap # SKIP one at a time$' 'exit 1'
	try "$shell: ... and nothing is started" test ! -s "$CALLS"
	FACTS=
}

# Programs that skip, crash, hang, or talk nonsense
check_programs()
{
	verdict "a test is missing" 1 \
		'^not ok 4 thp_mremap # planned 2 tests, reported 1$' \
		"$tap; exit 0"
	verdict "no test at all" 1 '^not ok 4 thp_mremap # ran no test$' \
		"echo 1..0; exit 0"
	verdict "no output" 1 '^not ok 4 thp_mremap # planned none tests, reported 0$' 'exit 0'
	verdict "one program skips" 0 \
		'^ok 4 thp_mremap # SKIP needs 2 NUMA nodes$' \
		'echo "TAP version 13"; echo "1..0 # SKIP needs 2 NUMA nodes"; exit 4'
	verdict "skips are counted by reason" 0 '^#   2 x needs swap$' \
		'echo 1..2; echo "ok 1 a # SKIP needs swap"
		echo "ok 2 b # SKIP needs swap"; exit 0'
	verdict "gives up" 1 '^#   thp_mremap: no memory$' \
		'echo "TAP version 13"; echo "Bail out! no memory"; exit 1'
	verdict "gives up, and exit code 0" 1 \
		'^not ok 4 thp_mremap # planned 2 tests, reported 1$' \
		"$tap; echo 'Bail out! no memory'; exit 0"
	verdict "exit code 2" 1 '^not ok 4 thp_mremap # exit=2$' "$tap; echo 'ok 2 b'; exit 2"
	verdict "a test with exit code 2" 1 '^#   thp_mremap:b # XFAIL unknown$' \
		"$tap; echo 'ok 2 b # XFAIL unknown'; exit 0"
	verdict "killed by a signal" 1 \
		'^not ok 4 thp_mremap # killed by SIGSEGV$' \
		"$tap; kill -SEGV \$\$; sleep 1"
	# settings allow 63 s, and the runner stays 60 s below
	verdict "hangs" 1 '^not ok 4 thp_mremap # TIMEOUT 3 seconds$' \
		"$tap; exec sleep 30"
	verdict "leaves a process" 1 \
		'^not ok 4 thp_mremap # left a process running$' \
		'echo 1..1; echo "ok 1 a"; sleep 20 & exit 0'
	verdict "odd output" 0 '^# a  b\\n\\c $' \
		"$tap; echo 'ok 2 b'; printf '%s\n' 'a  b\\n\\c '; exit 0"
	verdict "no newline at the end" 0 '^# ok 2 b$' \
		"$tap; printf 'ok 2 b'; exit 0"
}

# Unknown options, and invalid values
check_refusals()
{
	refuses -y
	refuses --nothing
	refuses --help=all
	refuses -t
	refuses -t thp_nothing
	refuses -t thp_mremap:nothing
	refuses -t thp_mremap:
	refuses -t :
	refuses -t 'thp_mremap thp_migrate'
	refuses -e
	refuses -e maybe
	refuses -e ''
	refuses -s 0
	refuses -s -1
	refuses -s 1001
	refuses -s 99999999999999999999
	refuses -s many
	refuses thp_mremap
	refuses -s 2 more
}

# THP_LAZY_EXPECT and -e
check_expectation()
{
	THP_LAZY_EXPECT=maybe
	export THP_LAZY_EXPECT
	refuses -t thp_mremap
	called "-e instead of the environment" "thp_mremap -e eager -s 1 -r split.anon.keeps" \
		-e eager -t thp_mremap:split.anon.keeps
	THP_LAZY_EXPECT=
	refuses -t thp_mremap
	THP_LAZY_EXPECT=lazy
	called "the environment instead of -e" "thp_mremap -e lazy -s 1" -t thp_mremap
	unset THP_LAZY_EXPECT
}

# Which programs are called, with which options
check_calls()
{
	called "a program" "thp_mremap -e auto -s 1" -t thp_mremap
	called "tests of two programs, each once" \
"thp_lazy_split -e lazy -s 7 -r split.anon.counts -r split.anon.keeps
thp_fork_copy -e lazy -s 7 -r split.anon.keeps" \
		-e lazy -s 7 -t 'thp_lazy_split:split.*' \
		-t thp_fork_copy:split.anon.keeps -t thp_lazy_split:split.anon.keeps
	called "programs in the order asked for" \
"thp_mremap -e auto -s 1
thp_lazy_split -e auto -s 1" -t thp_mremap -t thp_lazy_split
	called "a program and a test of it" "thp_mremap -e auto -s 1" \
		-t thp_mremap:split.anon.keeps -t thp_mremap
}

# -x, and the clean-up before the runner ends
check_stop()
{
	# shellcheck disable=SC2016,SC2089,SC2090 # it is for eval
	BEHAVIOUR='trap "echo restored >>\$CALLS; exit 143" TERM
		echo 1..3; echo "ok 1 a"; echo "not ok 2 b # a cause"
		sleep 5 & wait; echo "ok 3 c"; exit 1'
	# shellcheck disable=SC2090
	export BEHAVIOUR
	run -x
	BEHAVIOUR=
	if [ $status -eq 1 ] && grep -qx restored "$CALLS" &&
	   ! grep -q thp_migrate "$CALLS" &&
	   grep -qx 'not ok 4 thp_mremap # stopped at its first failure' "$log" &&
	   grep -qx 'ok 5 thp_migrate # SKIP after a failure' "$log" &&
	   grep -qx '#   thp_mremap:b # a cause' "$log"; then
		pass "$shell: -x stops at the first failure"
	else
		fail "$shell: -x stops at the first failure" "exit=$status"
	fi
	called "-x does nothing else" "thp_mremap -e auto -s 1" -x -t thp_mremap
}

# measures STATUS BEHAVIOUR OPTION...: -b or -B ends with that exit code
measures()
{
	expected=$1
	BEHAVIOUR=$2
	export BEHAVIOUR
	shift 2
	run "$@" -t thp_mremap
	cp "$log" "$work/out"
	try "$shell: $1 and '$BEHAVIOUR': exit code $expected" test $status -eq "$expected"
	BEHAVIOUR=
}

# -b and -B
check_measures()
{
	called "-b measures the rows asked for" \
"thp_mremap -b m*,n* -e auto -s 2
thp_migrate -b * -e auto -s 2" -b -s 2 -t 'thp_mremap:m*' -t thp_migrate -t 'thp_mremap:n*'
	called "-B, too" "thp_mremap -B * -e lazy -s 1" -B -e lazy -t thp_mremap
	refuses -b -t thp_nothing
	measures 0 'echo "# a comment"; echo "{}"; exit 0' -B
	try "$shell: ... nothing but JSON" test "$(cat "$work/out")" = '{}'
	try "$shell: ... the rest elsewhere" test "$(cat "$work/err")" = '# a comment'
	measures 4 'echo nothing; exit 4' -b
	measures 1 'echo "Bail out! it crashed"; exit 1' -b
	try "$shell: ... and it says so" grep -qx '# thp_mremap: exit=1' "$work/err"
	measures 1 'kill -KILL $$' -B
}

# Options that only print
check_listing()
{
	run -l
	if [ $status -eq 0 ] && [ "$(wc -l < "$log")" -eq 10 ] &&
	   grep -q '^thp_migrate:split.anon.keeps	zap fork$' "$log"; then
		pass "$shell: -l"
	else
		fail "$shell: -l" "exit=$status"
	fi
	for help in -h --help; do
		run $help
		if [ $status -eq 0 ] && grep -q '^usage: ' "$log"; then
			pass "$shell: $help"
		else
			fail "$shell: $help" "exit=$status"
		fi
	done
	# shellcheck disable=SC2086
	(unset OUTPUT; $shell "$fake/run_tests.sh") > /dev/null 2> "$log" >&-
	status=$?
	try "$shell: nobody reads" test $status -eq 2
}

# Missing files, and output that nobody reads
check_surroundings()
{
	mv "$fake/thp_migrate" "$work"
	refuses
	mv "$work/thp_migrate" "$fake"

	# shellcheck disable=SC2016,SC2089,SC2090 # it is for eval
	BEHAVIOUR='i=0; echo 1..9999
		while [ $i -lt 9999 ]; do i=$((i + 1)); echo "ok $i x"; done
		echo finished >> "$CALLS"; exit 0'
	# shellcheck disable=SC2090
	export BEHAVIOUR
	: > "$CALLS"
	# shellcheck disable=SC2086
	(unset OUTPUT; $shell "$fake/run_tests.sh" -t thp_mremap) 2>&1 |
		head -n 5 > "$log"
	BEHAVIOUR=
	try "$shell: a closed pipe does not stop a program" grep -q finished "$CALLS"
}

check_shell()
{
	check_failures
	check_findings
	check_facts
	check_programs
	check_refusals
	check_expectation
	check_calls
	check_stop
	check_measures
	check_listing
	check_surroundings
}

for shell in dash 'busybox sh' bash; do
	if have "${shell%% *}"; then
		check_shell
	else
		skip "$shell" "needs ${shell%% *}"
	fi
done

if have busybox; then
	# Nothing but busybox, as on a minimal target
	mkdir "$work/bin"
	busybox --install -s "$work/bin"
	shell='sh'
	path=$PATH
	PATH=$work/bin
	verdict "all pass, nothing but busybox" 0 '^# Tests: pass:5 ' ''
	verdict "hangs, nothing but busybox" 1 \
		'^not ok 4 thp_mremap # TIMEOUT 3 seconds$' 'exec sleep 30'
	PATH=$path
fi
