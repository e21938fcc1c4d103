# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh
# What is wrong with a kernel, from the failures of its run (findings.awk).

# The command that runs the loaded kernel again, ready to paste.
lab_again() (
	set -- "${LAB_CALLED:-$LAB_ME}" run
	# Of a real machine the lab finds it out.
	[ -z "$O_REMOTE" ] || O_ARCH=''
	# The copy of its base is what it is only until the next series.
	[ -z "$O_SERIES" ] || O_TREE=''
	while read -r option value; do
		[ -z "$value" ] || set -- "$@" "--$option" "$value"
	done <<-EOF
		kernel $O_KERNEL
		remote $O_REMOTE
		tree $O_TREE
		series $O_SERIES
		base $O_BASE
		arch $O_ARCH
		config $O_CONFIG
		modules $O_MODULES
		mmu $O_MMU
		cgroup $O_CGROUP
		append $O_APPEND
		memory $O_MEMORY
		swap $O_SWAP
		cpus $O_CPUS
		accel $LAB_ACCEL
		suite $LAB_SUITE
	EOF
	[ -n "$O_KERNEL$O_REMOTE$O_TREE$O_SERIES" ] || set -- "$@" "$K_NAME"
	lab_qemu_print "$@" | sed 's/ *$//'
)

# The findings in the KTAP of the run in folder $1: run_tests.sh prints them last, in a
# guest that lived so long.
lab_findings_told() (
	sed -n '/^# Findings: /,/^# [A-Z]/p' "$1/ktap" | sed -n '/^# Findings: /p; /^#  /p'
)

# The outcomes of all tests of KTAP $1, as the files failed, passed and skipped in the new
# directory $2, and the files covers: the tests of the suite that is built here, if any, and
# facts: what the kernel was held to.
lab_outcomes() (
	mkdir -p "$2"
	OUTPUT=${OUTPUT:-$LAB_SUITE_SRC} "$LAB_SUITE_SRC/run_tests.sh" -l \
		>"$2/covers" 2>/dev/null </dev/null
	: >"$2/failed"
	: >"$2/passed"
	: >"$2/skipped"
	sed -n '/^# mode: /p' "$1" >"$2/facts"
	awk -v programs="$LAB_PROGRAMS" -v dir="$2" -f "$LAB_AWK/outcomes.awk" \
		kind=covers "$2/covers" kind=ktap "$1"
)

# The findings from the files of lab_outcomes in directory $1; $2 is the command that runs
# tests. The file members there gets the number of its finding for each failure.
lab_findings_list() (
	: >"$1/members"
	awk -v into="$1/members" -v command="$2" -f "$LAB_SUITE_SRC/findings.awk" \
		kind=facts "$1/facts" kind=sites "$LAB_SUITE_SRC/docs/call-sites.md" kind=covers "$1/covers" \
		kind=passed "$1/passed" kind=failed "$1/failed"
)

# The findings from the lines of a KTAP that has no end
lab_findings_made() (
	lists=$1/findings.lists
	lab_outcomes "$1/ktap" "$lists"
	lab_findings_list "$lists" run_tests.sh
	rm -r "$lists"
)

# The findings of the run in folder $1, with commands of the lab.
lab_findings() (
	grep -q -E '^(# )?not ok ' "$1/ktap" || exit 0
	again=$(lab_again | sed 's/[\\&|]/\\&/g')
	found=$(lab_findings_told "$1")
	[ -n "$found" ] || found=$(lab_findings_made "$1")
	[ -z "$found" ] || printf '%s\n' "$found" |
		sed "s|^#  *[^ ]*run_tests.sh\( .*\)|#      $again --\1|"
)
