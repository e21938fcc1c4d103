# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh
# shellcheck disable=SC2034,SC2154 # shared with cmd/run.sh
# A line per run on a terminal, instead of the KTAP of one after the other.

# Whether a person watches: sets LAB_WATCHED. The jobs then speak to their logs only.
lab_progress_wanted() {
	LAB_WATCHED=''
	[ -n "$O_VERBOSE" ] || [ ! -t 1 ] || [ "${TERM:-dumb}" = dumb ] || LAB_WATCHED=1
	drawn=0
}

# The runs in the folders of "$@", over what was drawn before.
lab_progress() {
	columns=$(stty size 2>/dev/null </dev/tty | cut -d ' ' -f 2)
	[ "${columns:-0}" -gt 20 ] || columns=80
	[ "$drawn" -eq 0 ] || printf '\033[%dA' "$drawn"
	drawn=0
	for shown; do
		printf '%s\033[K\n' "$(lab_progress_line "$shown" | cut -c "1-$((columns - 1))")"
		drawn=$((drawn + 1))
	done
}

lab_progress_line() (
	step=waiting
	if [ -s "$1/summary" ] && [ -e "$1/done" ]; then
		step=$(lab_progress_end "$1")
	elif [ -s "$1/channel.log" ]; then
		step=$(awk -v programs="$LAB_PROGRAMS" -f "$LAB_AWK/progress.awk" "$1/channel.log")
	elif [ -s "$1/lab.log" ]; then
		step=$(tail -n 1 "$1/lab.log" | sed 's/^lab: [^:]*: //')
	elif [ -e "$1/pid" ]; then
		step='looking for the kernel'
	fi
	since=''
	if [ -e "$1/pid" ] && [ ! -e "$1/done" ]; then
		since=$(($(date +%s) - $(stat -c %Y "$1/pid")))
		since=$(printf '%d:%02d ' $((since / 60)) $((since % 60)))
	fi
	printf '%-22s %s%s\n' "${1##*/}" "$since" "$step"
)

lab_progress_end() (
	sed -n -e 's/^pass /passed /p' -e 's/^fail /failed /p' -e 's/^skip /skipped /p' \
		-e '/^trouble /p' "$1/summary" | awk '
		$1 == "trouble" { trouble = ", " $0; next }
		{ counts = counts (counts ? ", " : "") $2 " " $1 }
		END { print "done: " (counts ? counts : "no test ran") trouble }'
)
