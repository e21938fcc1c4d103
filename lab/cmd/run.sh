# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh
# shellcheck disable=SC2034,SC2153,SC2154 # shared with lib/, see lib/options.sh
# lab run: jobs side by side, their KTAP one after the other.

stop_jobs() {
	trap '' INT TERM HUP
	pids=''
	for dir in $runs; do
		# After the end of a run another process may have its PID.
		[ -e "$dir/pid" ] || continue
		[ ! -e "$dir/done" ] || continue
		pid=$(cat "$dir/pid")
		kill -TERM "-$pid" 2>/dev/null && pids="$pids $pid"
	done
	# The shell prints nothing about children that this signal ends.
	for pid in $stream_pids; do
		kill -PIPE "$pid" 2>/dev/null
	done
	for pid in $pids; do
		wait "$pid" 2>/dev/null
	done
}

interrupted() {
	stop_jobs
	lab_say "interrupted: the guests are gone, what they said is in" \
		"$(printf '%s' "$runs" | head -n 1 | xargs dirname)"
	exit 130
}

# A session of its own makes the job and all it started one process group that
# can be ended as one; make and apt would outlive a lone kill.
start_job() {
	: >"$1/channel.log"
	if [ -n "$LAB_WATCHED" ]; then
		setsid "$LAB_DIR/lab" _job "$@" </dev/null 2>/dev/null &
	else
		setsid "$LAB_DIR/lab" _job "$@" </dev/null &
	fi
	echo $! >"$1/pid"
}

# Whether one more run may start now: then it is $dir.
pick_run() {
	busy=0 claimed=0
	i=0
	for dir in $runs; do
		i=$((i + 1))
		[ "$i" -ge "$next" ] && break
		[ -e "$dir/done" ] && continue
		if ! kill -0 "$(cat "$dir/pid")" 2>/dev/null &&
		   [ ! -e "$dir/done" ]; then
			# It ended without a message: killed from outside.
			lab_verdict_none "$dir" "$LAB_FAIL" "the run was killed"
			echo "@lab end" >>"$dir/channel.log"
			: >"$dir/done"
			continue
		fi
		busy=$((busy + 1))
		claimed=$((claimed + $(cat "$dir/memory")))
	done
	[ "$next" -le "$count" ] && [ "$busy" -lt "$O_JOBS" ] || return 1
	# shellcheck disable=SC2086 # a list of words
	dir=$(printf '%s\n' $runs | sed -n "${next}p")
	if ! memory_allows "$(cat "$dir/memory")" "$claimed"; then
		[ "$busy" -eq 0 ] || return 1
		lab_die "$(lab_meminfo MemAvailable) MB of memory available," \
			"a guest of $(cat "$dir/memory") MB needs" \
			"$(($(cat "$dir/memory") + 384)) MB"
	fi
	next=$((next + 1))
}

cmd_run() {
	parse_options "$@"
	O_REPEAT=${O_REPEAT:-1}
	shift "$shift_by"
	[ -z "$O_SERIES" ] || lab_series_prepare
	check_host
	# One run at a time on one machine.
	[ -z "$O_REMOTE" ] || O_JOBS=1
	run_folder
	LAB_PID=$$ LAB_CALLED=$LAB_ME LAB_TIMEOUT=$((LAB_TIMEOUT + O_LOOP * 60))
	export LAB_CALLED LAB_FORMATS LAB_PID LAB_TIMEOUT LAB_BOOT_TIMEOUT LAB_SUITE LAB_OFFLINE LAB_ACCEL \
		O_KERNEL O_ARCH O_CONFIG O_MODULES O_MMU O_CGROUP O_APPEND \
		O_MEMORY O_SWAP O_CPUS O_EXPECT O_LOOP O_REMOTE O_TREE O_SERIES O_BASE
	[ -z "$O_EACH" ] || cmd_each "$@"
	runs='' count=0 round=1
	while [ "$round" -le "$O_REPEAT" ]; do
		for name in $names; do
			run_add "$name"
		done
		round=$((round + 1))
	done
	run_all "$@"
	# shellcheck disable=SC2086 # a list of words
	run_report $runs
}

# All of $runs, with the options of the suite.
run_all() {
	stream_pids='' next=1
	lab_progress_wanted
	trap interrupted INT TERM HUP
	trap stop_jobs EXIT
	for shown in $runs; do
		run_show "$shown" "$@"
	done
	trap - EXIT INT TERM HUP
}

# Sets $top, the directory for the folders of the runs.
run_folder() {
	if [ -n "$O_OUTPUT" ]; then
		mkdir -p "$O_OUTPUT" || lab_die "$O_OUTPUT: cannot be made"
		top=$(cd "$O_OUTPUT" && pwd)
	else
		top=$LAB_CACHE/runs/$(date +%Y%m%d-%H%M%S)-$$
	fi
	case $top in
	*[[:space:]]*) lab_die "$top: no spaces in this name, please" ;;
	esac
}

# run_add KERNEL [NAME]: one more run of it; its folder is added to $runs.
run_add() {
	dir=$top/${2:-$1}
	copy=1
	while [ -e "$dir" ]; do
		copy=$((copy + 1))
		dir=$top/${2:-$1}-$copy
	done
	mkdir -p "$dir" || lab_die "$dir: cannot be made"
	load_kernel "$1"
	echo "$1" >"$dir/name"
	echo "$K_MEMORY" >"$dir/memory"
	runs="$runs$dir
"
	count=$((count + 1))
}

# run_show FOLDER OPTION...: prints the KTAP of that run until its end, and meanwhile
# starts as many runs as fit, with the options of the suite.
run_show() {
	streaming='' folder=$1
	shift
	while :; do
		while pick_run; do
			start_job "$dir" "$(cat "$dir/name")" "$@"
		done
		if [ -n "$LAB_WATCHED" ]; then
			# shellcheck disable=SC2086 # a list of words
			lab_progress $runs
		elif [ -z "$streaming" ] && [ -e "$folder/channel.log" ]; then
			stream "$folder"
			streaming=1
		fi
		[ ! -e "$folder/done" ] || break
		sleep 1 &
		wait $! 2>/dev/null
	done
	[ -z "$LAB_WATCHED" ] || {
		# shellcheck disable=SC2086 # a list of words
		lab_progress $runs
		return 0
	}
	wait "$filter" 2>/dev/null
	kill -PIPE "$tail" 2>/dev/null
	stream_pids=''
}

# The table of all runs, and the end.
run_report() {
	echo
	lab_table "$@" | tee "$top/table" | lab_shown
	lab_say "folders of the runs: $top"
	status=$(lab_total_status "$@")
	for dir; do
		(cd "$dir" && rm -f "done" pid memory stream trouble channel.log)
	done
	exit "$status"
}

# KTAP from the run's channel to stdout while it grows.
stream() {
	mkfifo "$1/stream"
	tail -n +1 -s 0.5 -f --pid=$$ "$1/channel.log" >"$1/stream" 2>/dev/null &
	tail=$!
	sed -u -n -e '/^@lab end/q' -e '/^@lab /!p' <"$1/stream" &
	filter=$!
	stream_pids="$tail $filter"
}
