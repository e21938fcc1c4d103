# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh
# shellcheck disable=SC2154 # tmp, here, prog and others are of run_tests.sh
#
# What run_tests.sh, which reads this file, shows on a terminal, and its other formats:
# report_start() before the first line of KTAP, report_program() before a program,
# report_done() after it, report_end() at the very end. The KTAP goes
#	to a file, and a line of progress to the terminal, if $people is set;
#	through copy_output() to stdout, which paints it ($colours) or keeps it ($outputs).
# Descriptor 3 is the terminal, or stdout; $columns are those of the terminal.

# "program tests seconds" of the last time that a whole program ran on a terminal
last_run=${XDG_CACHE_HOME:-${HOME:-/nonexistent}/.cache}/thp_lazy_pte/last-run

report_start()
{
	[ "$people$outputs$colours" ] || return 0
	exec 3>&1
	columns=$(stty size <&3 2>/dev/null | cut -d ' ' -f 2)
	[ "${columns:-0}" -gt 20 ] || columns=80
	whole=$tmp/whole
	if [ "$people" ]; then
		whole=$(mktemp "${TMPDIR:-/tmp}/thp_lazy_pte.ktap.XXXXXX") ||
			bad "cannot write ${TMPDIR:-/tmp}"
		chmod 644 "$whole"
		sed -n 's/^# //p' "$tmp/facts"
		show_plan > "$tmp/plans"
		echo "0 - $(date +%s)" > "$tmp/now"
		: > "$tmp/outcomes"
		: > "$tmp/running"
		exec > "$whole"
		show_progress "$(date +%s)" >&3 2>/dev/null &
	else
		mkfifo "$tmp/shown" || bad "cannot make a pipe in $tmp"
		copy_output < "$tmp/shown" >&3 &
		exec > "$tmp/shown"
	fi
	display=$!
}

# Lines "program tests", tests being "all" or the number of those chosen
show_plan()
{
	for prog in $programs; do
		n=$(printf '%s\n' "$selection" | sed -n "s/^$prog //p" | sort -u | wc -l)
		if [ "$n" -eq 0 ] || printf '%s\n' "$selection" | grep -qx "$prog"; then
			n=all
		fi
		echo "$prog" "$n"
	done
}

report_program()
{
	[ "$people" ] || return 0
	echo "$number $prog" > "$tmp/now"
	: > "$tmp/running"
}

report_done()
{
	if [ "$people" ] && grep -qx "$prog all" "$tmp/plans" && [ -z "$(judge)" ]; then
		echo "$prog $((pass + fail + skip)) $took" >> "$tmp/times"
	fi
}

# show_progress SINCE: once a second, until report_end() ends it
show_progress()
{
	trap 'exit 0' TERM
	trap '' INT HUP
	while kill -0 $$; do
		read -r number prog _ < "$tmp/now"
		read -r planned < "$tmp/plan" || planned=
		read -r running _ < "$tmp/running" || running=
		[ -r "$last_run" ] || : > "$tmp/last"
		line=$(awk -v number="$number" -v prog="$prog" -v planned="$planned" \
			-v running="$running" -v columns="$columns" \
			-v elapsed=$(($(date +%s) - $1)) -f "$here/report/progress.awk" \
			outcomes="$tmp/outcomes" failures="$tmp/failures" \
			"$([ -r "$last_run" ] && echo "$last_run" || echo "$tmp/last")" \
			"$tmp/plans")
		printf '\r%s' "$line"
		sleep 1
	done
}

# Reads KTAP; prints it, painted, and keeps it in $whole for other formats.
copy_output()
{
	trap '' INT TERM HUP
	[ -z "$outputs" ] || : > "$whole"
	while IFS= read -r line || [ "$line" ]; do
		[ -z "$outputs" ] || printf '%s\n' "$line" >> "$whole"
		hue=
		[ -z "$colours" ] || case $line in
		'ok '*'# SKIP'* | '# ok '*'# SKIP'*)	hue=$yellow;;
		'ok '* | '# ok '* | '# Verdict: passed'*)	hue=$green;;
		'not ok '* | '# not ok '* | '# Verdict: FAILED'* | 'Bail out!'*)	hue=$red;;
		esac
		printf '%s\n' "$hue$line${hue:+$plain}"
	done
}

# Keeps what this run took for the next one; nobody misses it.
keep_times()
{
	[ -s "$tmp/times" ] && [ "${HOME:-${XDG_CACHE_HOME-}}" ] || return 0
	mkdir -p "${last_run%/*}" || return 0
	[ ! -r "$last_run" ] || cp "$last_run" "$tmp/last"
	awk '!seen[$1]++' "$tmp/times" "$tmp/last" > "$tmp/last.new" &&
		cp "$tmp/last.new" "$last_run"
} 2>/dev/null

# Status: whether every file could be written.
report_end()
{
	[ "$display" ] || return 0
	if [ "$people" ]; then
		kill "$display" 2>/dev/null
		wait "$display" 2>/dev/null
		exec >&3
		printf "\\r%$((columns - 1))s\\r" ''
		awk -v columns="$columns" -v green="$green" -v red="$red" -v yellow="$yellow" \
			-v plain="$plain" -f "$here/report/fold.awk" -f "$here/report/end.awk" "$whole"
		echo "All of the output: $whole"
		: >> "$tmp/last"
		keep_times
	else
		exec >&3
		wait "$display" 2>/dev/null
	fi
	display=
	written=0
	for output in $outputs; do
		"$here/report/convert.sh" "${output%%:*}" "$whole" > "${output#*:}" || written=1
	done
	return $written
}

# Colours, where they are wanted
green='' red='' yellow='' plain='' display=''
if [ "$colours" ]; then
	green=$(printf '\033[32m')
	red=$(printf '\033[31m')
	yellow=$(printf '\033[33m')
	plain=$(printf '\033[0m')
fi
