# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh
# shellcheck disable=SC2034,SC2153,SC2154 # shared with lib/, see lib/options.sh
# lab cost: what operations cost on several kernels, in instructions.

# Room for 1 TiB of huge zero PMDs and the tables that an eager kernel deposits with them.
COST_MEMORY=4096

# The measurements are a run of the suite with -B, in guests whose clock counts
# instructions.
cmd_cost() {
	parse_options "$@"
	[ -z "$LAB_ACCEL$O_CPUS" ] || lab_die "cost takes no --accel and no --cpus:" \
		"instructions are counted by TCG, on one processor"
	[ -z "$O_REMOTE$O_EACH" ] || lab_die "cost takes no --remote and no --each:" \
		"it compares kernels in guests"
	[ -z "$O_KNOWN" ] || [ -z "$names$O_KERNEL$O_TREE$O_SERIES" ] ||
		lab_die "--known is about mutants-x86_64, and no other kernel"
	top=${O_OUTPUT:-$LAB_CACHE/cost/$(date +%Y%m%d-%H%M%S)-$$}
	mkdir -p "$top" || lab_die "$top: cannot be made"
	if [ -n "$O_KNOWN" ]; then
		shift "$shift_by"
		cost_known "$@"
		exit
	fi
	cost_run "$@"
	code=$?
	agree=0
	for name in $names; do
		for dir in $(lab_cost_runs "$top" "$name"); do
			lab_cost_figures "$dir"
		done
		[ "${O_REPEAT:-1}" -eq 1 ] || lab_cost_agrees "$top" "$name" || agree=1
	done >"$top/spread"
	# shellcheck disable=SC2046,SC2086 # lists of words
	lab_cost_sum table $(lab_cost_folders "$top" $names) | tee "$top/table"
	cat "$top/spread"
	# shellcheck disable=SC2086
	lab_cost_pictures "$top" $names
	lab_say "folders of the runs, and pictures: $top"
	[ "$code" -ne 0 ] || code=$agree
	return "$code"
}

# lab run with these arguments, measuring.
cost_run() {
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
	lab_say "measuring, which takes minutes for each kernel: see $top/output"
	LAB_ICOUNT=1 "$LAB_DIR/lab" run --boot-timeout 900 --timeout 5400 \
		--memory "$COST_MEMORY" --output "$top" "$@" >"$top/output"
}

# The mutants that only cost more, each against the kernel without any: with the options of
# the suite in "$@", if not all rows.
cost_known() {
	C_CASE=lab_cost_case C_ROWS=$* C_TIMEOUT=5400 C_MEMORY=${O_MEMORY:-$COST_MEMORY}
	names=mutants-x86_64
	check_host
	lab_build_need_source "$names" || exit
	lab_cost_cases "$top"
	lab_campaign_prepare "$top" "$names" || exit
	lab_campaign "$top"
	lab_campaign_results "$top" | grep -q "${LAB_TAB}error$LAB_TAB" &&
		lab_die "not everything was measured, see $top"
	lab_cost_known "$top"
}
