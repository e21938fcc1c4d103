# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh
# The costs of several kernels, from the JSON of run_tests.sh -B: side by side, and as a
# picture.

# The JSON of the run in folder $1, as a file of its own.
lab_cost_figures() (
	[ -r "$1/ktap" ] || exit 0
	grep '^{' "$1/ktap" >"$1/costs.json"
)

# lab_cost_sum FOLDER table|ratios NAME...: all kernels in one, see the awk program.
lab_cost_sum() (
	top=$1 form=$2
	shift 2
	for name; do
		echo "@ $name"
		[ ! -r "$top/$name/costs.json" ] || cat "$top/$name/costs.json"
	done | awk -v form="$form" -f "$LAB_AWK/cost-table.awk"
)

# lab_cost_picture FOLDER NAME...: the ratios of several kernels as FOLDER/costs.svg, a line
# for each row and a point for each kernel.
lab_cost_picture() (
	top=$1 first=$2
	[ $# -gt 2 ] || exit 0
	if ! command -v gnuplot >/dev/null 2>&1; then
		lab_say "no picture: gnuplot not found: install gnuplot-nox"
		exit 0
	fi
	shift
	lab_cost_sum "$top" ratios "$@" >"$top/ratios"
	[ -s "$top/ratios" ] || exit 0
	rows=$(wc -l <"$top/ratios")
	shift
	points='' column=2
	for name; do
		points="$points${points:+, }'$top/ratios' using $column:0:ytic(1)"
		points="$points with points pointtype 7 title '$name'"
		column=$((column + 1))
	done
	gnuplot <<-EOF || lab_say "no picture: gnuplot failed"
		set terminal svg size 800,$((rows * 16 + 120)) font 'sans-serif,11'
		set output '$top/costs.svg'
		set title 'instructions, as a multiple of $first' noenhanced
		set key top outside horizontal noenhanced
		set ytics noenhanced
		set xrange [0:*]
		set yrange [$rows:-1]
		set grid x y
		set arrow from 1, graph 0 to 1, graph 1 nohead linewidth 2
		plot $points
	EOF
)
