# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh
# shellcheck disable=SC2034,SC2153,SC2154 # shared with lib/, see lib/options.sh
# lab _job, which "lab run" starts: one kernel from the cache to a verdict.

# One kernel, in a session of its own (see start_job): arguments are the folder
# of the run, the name, and options for run_tests.sh.
cmd_job() {
	run=$1 LAB_WHO=$2 LAB_LOG=$1/lab.log qemu=''
	load_kernel "$2"
	shift 2
	trap 'exit 130' INT TERM HUP
	: >"$LAB_LOG"
	[ "$K_SOURCE" != remote ] || lab_remote_job "$run" "$@"
	prepare_guest "$run" || no_guest $?
	lab_initramfs "$run/initramfs" run -e "$K_EXPECT" "$@" || {
		lab_say "the initramfs could not be made"
		no_guest "$LAB_ERROR"
	}
	job_run "booting $K_ORIGIN" lab_qemu_guard
}

# job_run TEXT GUARD: says TEXT, and runs what GUARD guards to a verdict.
job_run() {
	echo "$K_ORIGIN" >"$run/origin"
	lab_say "$1"
	begin=$(date +%s)
	"$2" "$run"
	lab_verdict "$run" $(($(date +%s) - begin))
	[ ! -s "$run/trouble" ] || lab_say "$(cat "$run/trouble")"
	job_done
}

# The guest was never started: a SKIP if the kernel is not available.
no_guest() {
	cause=$(sed -e 's/^lab: [^:]*: //' -e '/^\(fetching\|reading\|unpacking\) /d' \
		-e '/^building /d' -e '/^options that /d' "$LAB_LOG" |
		tail -n 2 | paste -s -d ';' | sed 's/;/; /g')
	if [ "$1" = "$LAB_SKIP" ]; then
		printf 'TAP version 13\n1..0 # SKIP %s\n' "$cause" \
			>>"$run/channel.log"
	fi
	lab_verdict_none "$run" "$1" "${cause:-failed}"
	job_done
}

job_done() {
	lab_formats "$run"
	# A guest that was killed may have left half a line.
	[ -z "$(tail -c 1 "$run/channel.log")" ] || echo >>"$run/channel.log"
	echo "@lab end" >>"$run/channel.log"
	: >"$run/done"
	exit 0
}
