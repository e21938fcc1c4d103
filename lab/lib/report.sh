# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh
# Makes a verdict from the output of a guest, and the table of all verdicts.
#
# A run's folder gets the file summary, lines of "key value":
#	status, time, release, thp, mode, bytes, program NAME CELL,
#	pass/fail/skip COUNT, failed LINE, skipped COUNT REASON, log LINE, trouble LINE,
#	refusal INJECTOR COUNT..., oddity LINE, finding LINE

# Lines of the kernel log that fail a run.
lab_splats() (
	tr -d '\r' <"$1" | awk -f "$LAB_AWK/kernel-complaints.awk" \
		"$LAB_DIR/../lib/base/thp_complaints.h" -
)

# Facts of the KTAP: see above.
lab_ktap_facts() (
	awk -f "$LAB_AWK/ktap-facts.awk" "$1"
)

# The results of starving, from a KTAP, and the same in numbers.
lab_refusals() (
	awk -f "$LAB_AWK/refusals.awk" "$1"
)

lab_refusals_facts() (
	awk -F '\t' -f "$LAB_AWK/refusals-facts.awk" "$1"
)

# The counters of a kernel with gcov, from channel $1 into directory $2.
lab_gcda_extract() (
	grep -q '^@lab gcda ' "$1" || exit 0
	mkdir -p "$2"
	sed -n -e 's/^@lab gcda /f /p' -e 's/^@lab data /d /p' "$1" |
	tr -d '\r' | awk -v dir="$2" -f "$LAB_AWK/gcda-extract.awk"
	while read -r n _; do
		base64 -d "$2/$n.base64" >"$2/$n.gcda" && rm "$2/$n.base64"
	done <"$2/names"
)

# lab_verdict FOLDER SECONDS: writes ktap, config, summary.
lab_verdict() (
	dir=$1
	sed '/^@lab /d' "$dir/channel.log" >"$dir/ktap"
	if [ -r "$K_CONFIG" ]; then
		cp "$K_CONFIG" "$dir/config"
	else
		sed -n 's/^@lab config //p' "$dir/channel.log" | base64 -d |
			gzip -dc >"$dir/config" 2>/dev/null
		[ -s "$dir/config" ] || rm -f "$dir/config"
	fi
	lab_gcda_extract "$dir/channel.log" "$dir/gcda"
	lab_refusals "$dir/ktap" >"$dir/refusals"
	lab_findings "$dir" >"$dir/findings"
	[ -s "$dir/findings" ] || rm "$dir/findings"
	code=$(sed -n 's/^@lab exit //p' "$dir/channel.log")
	failed=$(grep -m 1 -E '^(# )?not ok ' "$dir/ktap")
	lab_splats "$dir/console.log" >"$dir/splats"
	if [ -s "$dir/trouble" ] || [ -s "$dir/splats" ] || [ -n "$failed" ]; then
		status=$LAB_FAIL
	else
		status=${code:-$LAB_FAIL}
	fi
	{
		echo "status $status"
		echo "time $2"
		sed -n 's/^@lab up \([^ ]*\).*/release \1/p' "$dir/channel.log"
		lab_ktap_facts "$dir/ktap"
		lab_refusals_facts "$dir/refusals"
		[ ! -s "$dir/findings" ] || sed 's/^#/finding/' "$dir/findings"
		sed 's/^/log /' "$dir/splats"
		sed -n 's/^@lab fact \(swap none.*\|module.*\|cgroup.*\|loop.*\)/note \1/p' \
			"$dir/channel.log"
		[ ! -s "$dir/trouble" ] || sed 's/^/trouble /' "$dir/trouble"
		case $code in
		''|4) ;;
		0)	[ -z "$failed" ] ||
				echo "trouble run_tests.sh passed although tests failed" ;;
		1)	[ -n "$failed" ] ||
				echo "trouble run_tests.sh failed and named no test" ;;
		*)	echo "trouble run_tests.sh ended with status $code:" \
				"$(sed -n 's/^@lab stderr //p' \
				"$dir/channel.log" | tail -n 1)" ;;
		esac
	} >"$dir/summary"
	rm -f "$dir/splats"
)

# A run that never started a guest.
lab_verdict_none() (
	{
		echo "status $2"
		echo "time 0"
		echo "trouble $3"
	} >"$1/summary"
)

# The KTAP of folder $1 in the formats of --format, as results.ktap, .json, .xml, .tap.
lab_formats() (
	[ -e "$1/ktap" ] || exit 0
	for format in $LAB_FORMATS; do
		ending=$format
		[ "$format" != junit ] || ending=xml
		"$LAB_SUITE_SRC/report/convert.sh" "$format" "$1/ktap" >"$1/results.$ending" ||
			lab_say "no $1/results.$ending"
	done
)

# The table of all runs, what was skipped, what failed. Arguments: folders.
lab_table() (
	for dir; do
		printf 'run %s %s\n' "${dir##*/}" "$(cat "$dir/name")"
		cat "$dir/summary"
	done | awk -v programs="$LAB_PROGRAMS" -f "$LAB_AWK/runs-table.awk"
)

# The status of the whole: a failure counts most.
lab_total_status() (
	for dir; do
		sed -n 's/^status //p' "$dir/summary"
	done | awk '
		$1 == 0 { pass++ }
		$1 == 1 { fail++ }
		$1 == 4 { skip++ }
		$1 != 0 && $1 != 1 && $1 != 4 { error++ }
		END { print fail ? 1 : error ? 2 : pass ? 0 : skip ? 4 : 2 }'
)

# The folder of run $1: itself, the only run in it, or the newest run of that kernel.
lab_run_find() (
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
