# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh
# shellcheck disable=SC2154 # set by parse_runs()
# lab compare: how two recorded runs differ.

compare_expect() (
	for file in "$LAB_DIR/expect/$1" "$1"; do
		[ -f "$file" ] && [ -r "$file" ] && echo "$file" && exit
	done
	lab_die "$1: no such file, and none of $LAB_DIR/expect"
)

cmd_compare() {
	parse_runs --expect "$@"
	shift "$shift_by"
	expect=$value
	[ -z "$expect" ] || expect=$(compare_expect "$expect") || exit
	[ $# -eq 2 ] || lab_die "compare takes two runs: see $LAB_ME -h"
	one=$(lab_run_find "$1") || exit
	two=$(lab_run_find "$2") || exit
	work=$(mktemp -d) || exit "$LAB_ERROR"
	trap 'rm -rf "$work"' EXIT
	trap 'exit 130' INT TERM HUP
	lab_outcomes "$one/ktap" "$work/a"
	lab_outcomes "$two/ktap" "$work/b"
	set --
	for run in a b; do
		dir=$one
		[ $run = a ] || dir=$two
		set -- "$@" "run=$run"
		for kind in failed passed skipped; do
			set -- "$@" "kind=$kind" "$work/$run/$kind"
		done
		for kind in summary ktap refusals; do
			[ ! -r "$dir/$kind" ] || set -- "$@" "kind=$kind" "$dir/$kind"
		done
	done
	[ -z "$expect" ] || set -- kind=expect "$expect" "$@"
	awk -v a="$one" -v b="$two" -f "$LAB_AWK/compare.awk" "$@" >"$work/said"
	status=$?
	lab_shown <"$work/said"
	exit "$status"
}
