# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh
# shellcheck disable=SC2034,SC2153,SC2154 # shared with lib/, see lib/options.sh
# lab cost: what operations cost on several kernels, in instructions.

# The measurements are a run of the suite with -B, in guests whose clock counts
# instructions.
cmd_cost() {
	parse_options "$@"
	[ -z "$LAB_ACCEL$O_CPUS" ] || lab_die "cost takes no --accel and no --cpus:" \
		"instructions are counted by TCG, on one processor"
	[ -z "$O_REMOTE$O_EACH" ] || lab_die "cost takes no --remote and no --each:" \
		"it compares kernels in guests"
	top=${O_OUTPUT:-$LAB_CACHE/cost/$(date +%Y%m%d-%H%M%S)-$$}
	mkdir -p "$top" || lab_die "$top: cannot be made"
	found=''
	for arg; do
		shift
		set -- "$@" "$arg"
		if [ -z "$found" ] && [ "$arg" = -- ]; then
			set -- "$@" -B
			found=1
		fi
	done
	[ -n "$found" ] || set -- "$@" -- -B
	LAB_ICOUNT=1 "$LAB_DIR/lab" run --boot-timeout 900 --timeout 5400 \
		--output "$top" "$@" >"$top/output"
	code=$?
	for name in $names; do
		lab_cost_figures "$top/$name"
	done
	# shellcheck disable=SC2086 # a list of words
	lab_cost_sum "$top" table $names | tee "$top/table"
	# shellcheck disable=SC2086
	lab_cost_picture "$top" $names
	lab_say "folders of the runs: $top"
	return "$code"
}
