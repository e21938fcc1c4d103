# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh
# shellcheck disable=SC2034,SC2153,SC2154 # shared with lib/, see lib/options.sh
# lab evidence: all that docs/evidence.md shows, and docs/cost.md.

# Measures all parts of docs/evidence.md, or the named ones, and writes them; the
# other parts stay.
cmd_evidence() {
	O_RAW=evidence O_TAKES='--jobs --repeat --output --accel'
	parse_options "$@"
	[ "$shift_by" -eq $# ] || lab_die "evidence takes no options of the suite"
	O_REPEAT=${O_REPEAT:-3}
	top=${O_OUTPUT:-$LAB_CACHE/evidence}
	mkdir -p "$top" || lab_die "$top: cannot be made"
	status=0
	for name in ${names:-runs mutants reverts coverage baseline}; do
		case $name in
		runs)	lab_evidence_runs "$top" || status=1 ;;
		mutants) lab_evidence_part "$top" mutants mutants \
				--jobs "$O_JOBS" --repeat "$O_REPEAT" || status=1 ;;
		reverts) lab_evidence_part "$top" reverts reverts \
				--jobs "$O_JOBS" || status=1 ;;
		coverage) lab_evidence_part "$top" coverage coverage ||
				status=1 ;;
		baseline)
			# shellcheck disable=SC2046 # a list of names
			lab_evidence_part "$top" baseline baseline \
				--jobs "$O_JOBS" $(lab_baseline_sample) ||
				status=1 ;;
		cost)	lab_evidence_cost "$top" || status=1
			continue ;;
		*)	lab_die "evidence has no part '$name'" ;;
		esac
	done
	[ "${names# }" != cost ] || exit "$status"
	lab_evidence_write "$top" >"$LAB_EVIDENCE.new" &&
	mv "$LAB_EVIDENCE.new" "$LAB_EVIDENCE" || exit 2
	lab_say "written: $LAB_EVIDENCE"
	exit "$status"
}
