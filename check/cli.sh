#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# The programs and the runner in the situations of their users: bad options, a
# target with nothing but busybox, an ordinary user, THP switched off, Ctrl-C.

. check/lib.sh

thp=/sys/kernel/mm/transparent_hugepage/enabled
inst=$work/inst
try "install" install_to "$inst"
chmod -R a+rX "$work"
unset OUTPUT

# ends NAME STATUS COMMAND...: with that exit code; the output stays in $log
ends()
{
	name=$1
	wanted=$2
	shift 2
	"$@" > "$log" 2>&1 </dev/null
	status=$?
	if [ $status -eq "$wanted" ]; then
		pass "$name"
	else
		fail "$name" "exit=$status, not $wanted"
		return 1
	fi
}

says()
{
	if grep -Eq "$2" "$log"; then
		pass "$1"
	else
		fail "$1" "no line matches $2"
	fi
}

for prog in $programs; do
	bin=$inst/$prog
	ends "$prog -h" 0 "$bin" -h
	ends "$prog --help" 0 "$bin" --help
	says "$prog --help is help" '^usage: '
	ends "$prog -R" 0 "$bin" -R
	ends "$prog -L" 0 "$bin" -L
	ends "$prog -i" 0 "$bin" -i
	says "$prog -i says the mode" \
		'^# mode: expected=auto contract=(eager|lazy) measured=[a-z]+ decided-by=[a-z]'
	says "$prog -i says bytes per table" '^# bytes per PTE table: [0-9]+'
	grep -v '^# ' "$log" > "$work/other"
	try "$prog -i has only facts" test ! -s "$work/other"
done

if have busybox; then
	mkdir "$work/bin"
	busybox --install -s "$work/bin"
	ends "nothing but busybox" 0 env -i PATH="$work/bin" \
		"$work/bin/sh" "$inst/run_tests.sh" -t thp_mremap
	ends "nothing but busybox: -l" 0 env -i PATH="$work/bin" \
		"$work/bin/sh" "$inst/run_tests.sh" -l
else
	skip "nothing but busybox" "needs busybox"
fi

if env --ignore-signal=CHLD true 2>/dev/null; then
	ends "SIGCHLD ignored from the start" 0 timeout -k 10 60 \
		env --ignore-signal=CHLD "$inst/thp_lazy_split" -r kernel.mode
else
	skip "SIGCHLD ignored from the start" "needs env --ignore-signal"
fi

try "OUTPUT= names the programs" env OUTPUT="$inst" ./run_tests.sh -l

if [ "$(id -u)" -ne 0 ]; then
	skip "ordinary user" "needs root, to become one"
	skip "THP switched off" "needs root"
elif ! have setpriv; then
	skip "ordinary user" "needs setpriv"
else
	ends "ordinary user" 0 setpriv --reuid=65534 --regid=65534 \
		--clear-groups --no-new-privs "$inst/run_tests.sh"
	says "ordinary user: some tests pass" '^# Tests: pass:[1-9][0-9]* fail:0 '
	says "ordinary user: the rest says why" '^#   [0-9]+ x .*(root|privilege)'
	says "ordinary user: no verdict on counters that lag" '^#   [0-9]+ x .*exact PageTables'
fi

if [ -w $thp ]; then
	old=$(sed 's/.*\[\(.*\)\].*/\1/' $thp)
	trap 'echo $old > $thp' EXIT
	trap 'exit 1' INT TERM HUP
	echo never > $thp
	"$inst/run_tests.sh" > "$log" 2>&1
	status=$?
	if [ $status -ne 0 ] && [ $status -ne 4 ]; then
		fail "THP switched off" "exit=$status"
	else
		says "THP switched off" '# SKIP .*(THP|transparent_hugepage)'
	fi
	try "THP stays off" grep -q '\[never\]' $thp
	echo "$old" > $thp
fi

# Like a terminal: signals the whole process group
sh check/snapshot.sh > "$work/before"
for prog in $programs; do
	timeout -s INT --preserve-status -k 30 0.3 "$inst/$prog" -s 50 \
		> "$log" 2>&1 </dev/null
	case $? in
	130)	pass "Ctrl-C in $prog";;
	0 | 4)	skip "Ctrl-C in $prog" "it was too quick";;
	*)	fail "Ctrl-C in $prog" "exit code is not 130";;
	esac
	sh check/snapshot.sh | diff "$work/before" - > "$log"
	try "Ctrl-C in $prog restores" test ! -s "$log"
done
for wait in 0.5 2 4; do
	ends "Ctrl-C after $wait s" 130 timeout -s INT --preserve-status -k 60 \
		$wait "$inst/run_tests.sh" -s 50
	says "Ctrl-C after $wait s is told" '^# aborted by SIGINT'
	sh check/snapshot.sh | diff "$work/before" - > "$log"
	try "Ctrl-C after $wait s restores" test ! -s "$log"
done
