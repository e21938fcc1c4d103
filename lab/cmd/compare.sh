# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh
# lab compare: how two recorded runs differ.

# The folder of run $1: itself, the only run in it, or the newest run of that kernel.
compare_find() (
	newest=''
	if [ -d "$1" ]; then
		set -- "$1" "$1" "$1"/*
	else
		case $1 in
		*/*)	lab_die "$1: no such folder" ;;
		esac
		# The names of the folders begin with the time.
		set -- "$1" "$LAB_CACHE/runs"/*/"$1"
	fi
	given=$1 count=0
	shift
	for dir; do
		if [ ! -r "$dir/summary" ] || [ ! -r "$dir/ktap" ]; then
			continue
		fi
		[ "$dir" != "$given" ] || { echo "$dir"; exit; }
		newest=$dir count=$((count + 1))
	done
	[ -n "$newest" ] || lab_die "$given: no run that is recorded"
	[ ! -d "$given" ] || [ "$count" -eq 1 ] ||
		lab_die "$given has $count runs: name one"
	echo "$newest"
)

compare_expect() (
	for file in "$LAB_DIR/expect/$1" "$1"; do
		[ -f "$file" ] && [ -r "$file" ] && echo "$file" && exit
	done
	lab_die "$1: no such file, and none of $LAB_DIR/expect"
)

cmd_compare() {
	expect=''
	while [ $# -gt 0 ]; do
		case $1 in
		-h|--help)
			usage
			exit 0 ;;
		--expect)
			[ $# -ge 2 ] || lab_die "$1 needs a value"
			expect=$(compare_expect "$2") || exit
			shift ;;
		-*)	lab_die "unknown option $1: see $LAB_ME -h" ;;
		*)	break ;;
		esac
		shift
	done
	[ $# -eq 2 ] || lab_die "compare takes two runs: see $LAB_ME -h"
	one=$(compare_find "$1") || exit
	two=$(compare_find "$2") || exit
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
	awk -v a="$one" -v b="$two" -f "$LAB_AWK/compare.awk" "$@"
	exit
}
