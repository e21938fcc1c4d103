# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh
# Messages, checks of the host, and small helpers.
#
# Functions with a body in ( ) have local variables; those in { } set variables
# for the caller, named in the comment above them.

# Exit statuses: those of run_tests.sh.
# shellcheck disable=SC2034 # used by the other files
readonly LAB_FAIL=1 LAB_ERROR=2 LAB_SKIP=4

# What is printed, as it fits the terminal if stdout is one
lab_shown() (
	exec 3>&1
	if [ ! -t 3 ] || [ "${TERM:-dumb}" = dumb ]; then
		exec cat
	fi
	columns=$(stty size <&3 2>/dev/null | cut -d ' ' -f 2)
	[ "${columns:-0}" -gt 20 ] || columns=80
	exec awk -v columns="$columns" -f "$LAB_SUITE_SRC/report/fold.awk" \
		-f "$LAB_AWK/shown.awk"
)

# To people, and to the log of the run if there is one.
lab_say() {
	printf 'lab: %s%s\n' "${LAB_WHO:+$LAB_WHO: }" "$*" |
		tee -a "${LAB_LOG:-/dev/null}" | lab_shown >&2
}

lab_die() {
	lab_say "$@"
	exit "$LAB_ERROR"
}

# Requires a command, and names the package that has it.
lab_need_tool() {
	command -v "$1" >/dev/null 2>&1 ||
		lab_die "$1 not found: install $2"
}

lab_need_number() {
	case $2 in
	''|*[!0-9]*|0) lab_die "$1 needs a positive number, not '$2'" ;;
	esac
}

# The value of one field of /proc/meminfo in MiB.
lab_meminfo() (
	awk -v k="$1:" '$1 == k { print int($2 / 1024) }' /proc/meminfo
)

lab_need_space() (
	free=$(df -Pm "$1" | awk 'NR == 2 { print $4 }')
	[ "$free" -ge "$2" ] || {
		lab_say "$1 has $free MB free, needs $2 MB"
		exit "$LAB_ERROR"
	}
)

# Run a command while holding a lock in the cache: two runs that need the same
# thing make it once.
lab_locked() (
	lock=$LAB_CACHE/lock-$1
	shift
	exec 9>"$lock"
	flock 9
	"$@" 9>&-
)
