# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh
# shellcheck disable=SC2034,SC2153,SC2154 # shared with lib/, see lib/options.sh
# lab coverage: which lines of the series the suite executes.

cmd_coverage() {
	O_RAW=coverage O_TAKES='--jobs --repeat --timeout --output --accel'
	parse_options "$@"
	if [ "$shift_by" -ne $# ] || [ -n "$names" ]; then
		lab_die "coverage takes neither names nor options of the suite"
	fi
	lab_need_tool gcov gcc
	lab_need_tool git git
	kernel=coverage-x86_64
	top=${O_OUTPUT:-$LAB_CACHE/coverage/$(date +%Y%m%d-%H%M%S)-$$}
	mkdir -p "$top" || lab_die "$top: cannot be made"
	lab_say "the whole suite on $kernel: see $top/output"
	"$LAB_DIR/lab" run --output "$top" --timeout "$LAB_TIMEOUT" \
		${LAB_OFFLINE:+--offline} ${LAB_ACCEL:+--accel "$LAB_ACCEL"} \
		"$kernel" >"$top/output" ||
		lab_die "the suite did not pass: see $top/output"
	lab_kernel_load "$kernel"
	lab_build_load
	echo
	lab_coverage_report "$top/$kernel" "$(lab_build_dir)" "$(cat "$B_LAST")" |
		tee "$top/table"
	lab_say "folder of the run: $top/$kernel"
}
