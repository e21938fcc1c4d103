#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# No pass without a verdict: each way in which a program can end early, under
# each runner. The program alone ends with a failure and says why in TAP, or
# SKIPs; run_tests.sh, run_kselftest.sh and the run_tests of lib.mk show the
# same.

. check/lib.sh

sel=tools/testing/selftests
target=thp_lazy_pte
ways=$work/ways
bin=$work/thp_mremap
: > "$work/list"
mkdir "$ways" "$work/runner"
cp "$OUTPUT/thp_mremap" "$bin"
chmod -R a+rX "$SCRATCH"
unset OUTPUT THP_LAZY_EXPECT

# way NAME RESULT PATTERN BODY: a script that starts the program so that it ends that
# way; RESULT is "red", "skip", "dead" (no last word either), "ok", or "none": the
# options run no tests, so that only the kselftest runner needs a SKIP.
way()
{
	printf '%s|%s|%s\n' "$1" "$2" "$3" >> "$work/list"
	printf '#!/bin/sh\n%s\n' "$4" > "$ways/$1"
	chmod 755 "$ways/$1"
}

# An ordinary user changes no settings and takes no lock.
user=
[ "$(id -u)" -ne 0 ] ||
	user='setpriv --reuid=64999 --regid=64999 --clear-groups'
run="exec $user $bin"
one='-r kernel.mode'

add_usage()
{
	way option red "unknown option '-x'" "$run \"\$@\" -x"
	way long_option red "unknown option '--nothing'" "$run \"\$@\" --nothing"
	way argument red "unexpected argument 'nothing'" "$run \"\$@\" nothing"
	way mode red "'maybe': must be eager" "$run \"\$@\" -e maybe"
	way mode_environment red "THP_LAZY_EXPECT is 'maybe': must be eager" \
		"export THP_LAZY_EXPECT=maybe; $run"
	way mode_empty red "THP_LAZY_EXPECT is '': must be eager" \
		"export THP_LAZY_EXPECT=; $run"
	way scale red '-s takes a number' "$run \"\$@\" -s 0"
	way no_argument red '-r needs an argument' "$run \"\$@\" -r"
	for opt in r f v t; do
		way unknown_$opt red "-$opt 'nothing' selects no test" \
			"$run \"\$@\" $one -$opt nothing"
	done
	way no_test red 'no test is selected' "$run -F kernel -f kernel"
	for opt in h i l L R; do
		way only_$opt none '' "$run -$opt"
	done
}

add_environment()
{
	way no_memory red 'no address space' "ulimit -v 60000; $run"
	way no_loader dead . "ulimit -v 3000; $run"
	way stdout_closed dead 'stdout is closed' "$run \"\$@\" $one >&-"
	way stdout_full dead 'cannot write to stdout' "$run \"\$@\" $one >/dev/full"
	way wrong_kernel red "not ok 1 kernel.mode .*expected $1" "$run -e $1 $one"
	way wrong_kernel_environment red "not ok 1 kernel.mode .*expected $1" \
		"export THP_LAZY_EXPECT=$1; $run $one"
	if [ "$user" ] && have prlimit; then
		for n in 0 1 2 3; do
			way processes_$n red . \
				"exec $user prlimit --nproc=$n $bin \"\$@\" $one"
		done
	else
		skip "no process to be had" "needs root and prlimit"
	fi
}

# In a mount namespace of its own: /run is empty, and there is nothing to sweep.
add_state()
{
	private="exec unshare -m sh -c 'mount -t tmpfs none /run || exit 77"
	private="$private; mount -t tmpfs none /sys/fs/cgroup"
	private="$private; state=/run/thp_lazy_pte.state; export THP_LAZY_LOCK_WAIT=0;"
	run_it="exec $bin \"\$@\" $one"
	if [ -z "$user" ] || ! unshare -m mount -t tmpfs none /run 2>/dev/null; then
		skip "lock and state file" "needs root and a mount namespace"
		return
	fi
	way locked skip 'SKIP another run of this suite is active$' \
		"$private exec 9>\$state; flock 9; $run_it' sh \"\$@\""
	way locked_names_holder skip '^# /run/thp_lazy_pte.state is locked by process [0-9]+ \(thp_mremap\)$' \
		"$private exec 9>\$state; flock 9; $run_it' sh \"\$@\""
	way locked_wrong_kernel skip 'SKIP another run of this suite is active$' \
		"$private exec 9>\$state; flock 9; exec $bin \"\$@\" -e $1 $one' sh \"\$@\""
	note=/run/thp_lazy_pte.broken
	way broken_kernel skip 'SKIP the kernel is broken: see the first failure$' \
		"$private cat /proc/sys/kernel/random/boot_id >$note; echo oops >>$note; $run_it' sh \"\$@\""
	way broken_before_boot ok 'ok 1 kernel.mode$' \
		"$private echo another-boot >$note; echo oops >>$note; $run_it' sh \"\$@\""
	way lock_wait red 'THP_LAZY_LOCK_WAIT is' \
		"$private THP_LAZY_LOCK_WAIT=soon; $run_it' sh \"\$@\""
	way state_corrupt red 'is no path, tab and value' \
		"$private echo nonsense >\$state; $run_it' sh \"\$@\""
	way state_binary red 'is no path, tab and value' \
		"$private head -c 99999 /dev/zero >\$state; $run_it' sh \"\$@\""
	way state_unwritable_setting red 'cannot restore /proc/version' \
		"$private printf \"/proc/version\\tx\\n\" >\$state; $run_it' sh \"\$@\""
	way state_pipe red 'thp_lazy_pte.state: Illegal seek' \
		"$private mkfifo \$state; $run_it' sh \"\$@\""
	way state_read_only red 'thp_lazy_pte.state: Read-only file system' \
		"$private mount -o bind /dev /dev && mount -o remount,bind,ro /dev &&
		mount -o remount,ro /run; $run_it' sh \"\$@\""
}

# A process of the program dies, or leaves.
add_deaths()
{
	early=$work/early.so
	if ! ${CC:-cc} -Wall -Werror -D_GNU_SOURCE -shared -fPIC check/preload/early.c \
		-o "$early" -ldl > "$log" 2>&1; then
		fail "check/preload/early.c" "it does not build"
		return
	fi
	chmod a+rx "$early"
	if [ "$(THP_EARLY=loaded LD_PRELOAD=$early "$bin" -h 2>/dev/null)" != loaded ]; then
		skip "processes that die" "the programs cannot be preloaded"
		return
	fi
	early="export THP_EARLY LD_PRELOAD=$early; $run \"\$@\" $one"
	way probe_dies red 'probe: killed by signal 9' "THP_EARLY=probe; $early"
	way harness_dies red 'killed by SIGKILL' "THP_EARLY=harness; $early"
	way harness_leaves red 'ended before its tests, exit code 0' \
		"THP_EARLY=harness-exit-0; $early"
	way test_leaves red '1 tests ended without a verdict' \
		"THP_EARLY=test-exit-2; $early"
	way guardian_dies dead . "THP_EARLY=guardian; $early"
}

# judge NAME RUNNER RESULT STATUS PATTERN: the status is "red", "skip", "ok" or
# anything else; the output is in $log.
judge()
{
	if [ "$3" != "$4" ]; then
		fail "$1, $2" "it is $4, not $3"
	elif ! grep -Eq -e "$5" "$log"; then
		fail "$1, $2" "no line matches $5"
	else
		pass "$1, $2"
	fi
}

colour()
{
	case $1 in
	0)	echo ok;;
	4)	echo skip;;
	1 | 12[4-9] | 1[3-9]?)	echo red;;
	*)	echo "exit code $1";;
	esac
}

alone()
{
	"$ways/$1" > "$log" 2>&1 </dev/null
	got=$(colour $?)
	case $2 in
	none)
		if [ "$1" = only_l ]; then
			judge "$1" alone skip "$got" '^1\.\.0 # SKIP '
		else
			[ -s "$log" ] || echo '(no output)' > "$log"
			judge "$1" alone ok "$got" .
		fi
		return;;
	dead)	judge "$1" alone red "$got" "$3"
		return;;
	esac
	if ! grep -qx 'TAP version 13' "$log" ||
	   ! grep -Eq '^(Bail out! |not ok |1\.\.0 # SKIP |ok )' "$log"; then
		fail "$1, alone" "no TAP"
	else
		judge "$1" alone "$2" "$got" "$3"
	fi
}

# The runner of the suite: 2 is bad usage or environment.
suite()
{
	cp "$ways/$1" "$work/runner/thp_mremap"
	"$work/runner/run_tests.sh" -t thp_mremap > "$log" 2>&1 </dev/null
	status=$?
	[ $status -ne 2 ] || status=1
	if [ "$2" = dead ]; then
		judge "$1" run_tests.sh red "$(colour $status)" .
	else
		judge "$1" run_tests.sh "$2" "$(colour $status)" "$3"
	fi
}

# The result of way $1 in file $2, the output of a kselftest runner
said()
{
	sed -En "s/^(not ok|ok) [0-9]+ selftests: $target: $1( *#.*)?$/\1\2/p" "$2" |
		sed -e 's/^not ok.*/red/' -e 's/^ok *# SKIP.*/skip/'
}

kselftest()
{
	cp "$3" "$log"
	result=$2
	case $2 in
	none)	result=skip;;
	dead)	result=red;;
	esac
	judge "$1" "$4" "$result" "$(said "$1" "$3")" .
}

# A kernel tree with a directory whose programs are the ways
make_tree()
{
	mkdir -p "$work/tree/$sel/$target" "$work/tree/scripts" &&
	cp -r "$1/$sel/Makefile" "$1/$sel/lib.mk" "$1/$sel"/kselftest* \
		"$1/$sel/run_kselftest.sh" "$work/tree/$sel" &&
	cp "$1/scripts/subarch.include" "$work/tree/scripts" &&
	cp "$ways"/* settings "$work/tree/$sel/$target" &&
	{
		echo "TEST_PROGS := $(cd "$ways" && echo *)"
		echo "include ../lib.mk"
	} > "$work/tree/$sel/$target/Makefile" &&
	make -C "$work/tree/$sel" TARGETS=$target KSFT_INSTALL_PATH="$work/installed" install
}

# The newest available runner treats 2 as an expected failure.
find_runner()
{
	for dir in "$KSRC" $KTREES "$CACHE"/lab/build/*/src "$CACHE"/linux* "$CACHE"/*/linux*; do
		[ ! -e "$dir/$sel/kselftest/runner.sh" ] || echo "$dir"
	done > "$work/trees"
	while read -r dir; do
		if grep -q XFAIL "$dir/$sel/kselftest/runner.sh"; then
			echo "$dir"
			return
		fi
	done < "$work/trees"
	head -n 1 "$work/trees"
}

if [ "$user" ] && ! have setpriv; then
	skip "all" "needs setpriv"
	exit
fi
# shellcheck disable=SC2086 # a command with its options
other=$($user "$bin" -i | sed -n 's/^# mode: .* measured=eager .*/lazy/p')
way fine ok 'ok 1 kernel.mode$' "$run \"\$@\" $one"
add_usage
add_environment "${other:-eager}"
add_state "${other:-eager}"
add_deaths
cp run_tests.sh settings "$work/runner"
for prog in $programs; do
	ln -s "$ways/fine" "$work/runner/$prog"
done
rm "$work/runner/thp_mremap"

tree=$(find_runner)
if ! have rsync; then
	skip "the kselftest runner" "needs rsync"
elif [ -z "$tree" ] || ! make_tree "$tree" > "$log" 2>&1; then
	fail "the kselftest runner" "no tree to run it from"
	tree=
else
	"$work/installed/run_kselftest.sh" -c $target > "$work/ksft" 2>&1 </dev/null
	echo $? > "$work/ksft.status"
	make -C "$work/tree/$sel/$target" run_tests > "$work/make" 2>&1 </dev/null
	if grep -q XFAIL "$tree/$sel/kselftest/runner.sh"; then
		try "run_kselftest.sh fails" grep -qx 1 "$work/ksft.status"
	fi
fi

while IFS='|' read -r name result pattern; do
	alone "$name" "$result" "$pattern"
	[ "$result" = none ] || suite "$name" "$result" "$pattern"
	if [ -e "$work/ksft" ]; then
		kselftest "$name" "$result" "$work/ksft" run_kselftest.sh
		kselftest "$name" "$result" "$work/make" "make run_tests"
	fi
done < "$work/list"
