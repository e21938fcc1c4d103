# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh
# shellcheck disable=SC2154 # set by parse_runs()
# lab report: recorded runs as one page of HTML that needs nothing else.

# A name for the column of each run in file $1 (lines "FOLDER"): that of its folder, with
# the folder around it where two runs would have the same.
report_labels() (
	awk -F / '
		{ base[NR] = $NF; around[NR] = $(NF - 1); count[$NF]++ }
		END {
			for (i = 1; i <= NR; i++) {
				name = count[base[i]] > 1 ? around[i] "/" base[i] : base[i]
				print name (seen[name]++ ? " (" seen[name] ")" : "")
			}
		}' "$1"
)

# report_plot NAME LABEL WHAT: one SVG, $work/NAME.svg, from the points in $work/NAME.*
report_plot() (
	cd "$work" || exit
	{
		printf 'set terminal svg size 640,360 font "sans-serif,13" noenhanced name "%s"\n' "$1"
		printf 'set output "%s.raw"\n' "$1"
		printf 'set xlabel "processes"\nset ylabel "%s"\n' "$3"
		printf 'set grid\nset key outside top center\nset xrange [0:*]\n'
		printf 'set yrange [*<0:0<*]\nset offsets graph 0, graph 0.02, graph 0.05, graph 0.02\n'
		more='plot '
		for points in "$1".[0-9]*; do
			n=${points##*.}
			# A name is data: it has no place in a command.
			sed -n "${n}p" labels | sed 's/["\\]/?/g' | {
				read -r title
				printf '%s"%s" with linespoints lw 2 ps 0.8 dt %d pt %d lc rgb "%s" title "%s"' \
					"$more" "$points" $(((n - 1) % 5 + 1)) $(((n - 1) * 2 % 14 + 1)) \
					"$(report_colour "$n")" "$title"
			}
			more=', '
		done
		echo
	} >"$1.gp"
	gnuplot "$1.gp" >"$1.log" 2>&1 && [ -s "$1.raw" ] || exit
	awk -v name="$1" -v label="$2" -f "$LAB_AWK/report-svg.awk" "$1.raw" >"$1.svg"
)

# The colour of curve $1, for dark and for light pages
report_colour() (
	at=$((($1 - 1) % 6))
	set -- 2a7fd4 d9590f 2c9c4b b04fc0 b58a00 808080
	shift "$at"
	echo "#$1"
)

# The curves of all runs: lines "NAME TITLE" of $work/plots, and their drawings.
report_curves() (
	: >"$work/plots"
	awk -v dir="$work" -f "$LAB_AWK/report-points.awk" "$@" >"$work/plots"
	command -v gnuplot >/dev/null 2>&1 || exit 0
	while IFS='	' read -r plot title what; do
		report_plot "$plot" "$title" "$what" ||
			lab_say "gnuplot draws no $title: $(head -n 1 "$work/$plot.log")"
	done <"$work/plots"
)

cmd_report() {
	parse_runs --output "$@"
	shift "$shift_by"
	output=$value
	[ $# -gt 0 ] || lab_die "report takes runs: see $LAB_ME -h"
	work=$(mktemp -d) || exit "$LAB_ERROR"
	trap 'rm -rf "$work"' EXIT
	trap 'exit 130' INT TERM HUP
	for run; do
		dir=$(lab_run_find "$run") || exit
		(cd "$dir" && pwd) || exit
	done >"$work/runs" || exit
	report_labels "$work/runs" >"$work/labels"
	set -- kind=sites "$LAB_SUITE_SRC/docs/call-sites.md" kind=label "$work/labels"
	n=0
	while read -r dir; do
		n=$((n + 1))
		lab_outcomes "$dir/ktap" "$work/$n"
		grep -q '^finding ' "$dir/summary" ||
			lab_findings_list "$work/$n" ./run_tests.sh |
				sed 's/^#/finding/' >"$work/$n/findings"
		[ "$n" -gt 1 ] || set -- "$@" kind=covers "$work/1/covers"
		set -- "$@" "run=$n"
		for kind in passed failed skipped; do
			set -- "$@" "kind=$kind" "$work/$n/$kind"
		done
		set -- "$@" kind=summary "$dir/summary"
		[ ! -e "$work/$n/findings" ] || set -- "$@" "$work/$n/findings"
		set -- "$@" kind=ktap "$dir/ktap"
	done <"$work/runs"
	report_curves "$@"
	gnuplot=$(command -v gnuplot)
	awk -v work="$work" -v gnuplot="${gnuplot:+yes}" -v css="$LAB_DIR/report.css" \
		-v programs="$LAB_PROGRAMS" -f "$LAB_AWK/html.awk" -f "$LAB_AWK/report.awk" "$@" \
		kind=plot "$work/plots" >"$work/page" || lab_die "no report"
	if [ -n "$output" ]; then
		cat "$work/page" 2>/dev/null >"$output" || lab_die "$output: cannot be written"
	else
		cat "$work/page"
	fi
	exit
}
