# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh
# What is wrong with a kernel, from the failures of its run (findings.awk).

# The command that runs the loaded kernel again, ready to paste.
lab_again() (
	set -- "${LAB_CALLED:-$LAB_ME}" run
	while read -r option value; do
		[ -z "$value" ] || set -- "$@" "--$option" "$value"
	done <<-EOF
		kernel $O_KERNEL
		arch ${O_KERNEL:+$O_ARCH}
		config ${O_KERNEL:+$O_CONFIG}
		modules $O_MODULES
		mmu $O_MMU
		cgroup $O_CGROUP
		append $O_APPEND
		memory $O_MEMORY
		cpus $O_CPUS
		accel $LAB_ACCEL
		suite $LAB_SUITE
	EOF
	[ -n "$O_KERNEL" ] || set -- "$@" "$K_NAME"
	lab_qemu_print "$@" | sed 's/ *$//'
)

# The findings in the KTAP of the run in folder $1: run_tests.sh prints them last, in a
# guest that lived so long.
lab_findings_told() (
	sed -n '/^# Findings: /,/^# [A-Z]/p' "$1/ktap" | sed -n '/^# Findings: /p; /^#  /p'
)

# The same from the lines of a KTAP that has no end. The call sites are those of the
# suite that is built here, if there is one.
lab_findings_made() (
	lists=$1/findings.lists
	mkdir -p "$lists"
	OUTPUT=${OUTPUT:-$LAB_SUITE_SRC} "$LAB_SUITE_SRC/run_tests.sh" -l \
		>"$lists/covers" 2>/dev/null </dev/null
	: >"$lists/failed"
	: >"$lists/passed"
	awk -v programs="$LAB_PROGRAMS" -v dir="$lists" -f "$LAB_AWK/failures.awk" \
		kind=covers "$lists/covers" kind=ktap "$1/ktap"
	awk -v command=run_tests.sh -f "$LAB_SUITE_SRC/findings.awk" \
		kind=sites "$LAB_SUITE_SRC/docs/call-sites.md" kind=covers "$lists/covers" \
		kind=passed "$lists/passed" kind=failed "$lists/failed"
	rm -r "$lists"
)

# The findings of the run in folder $1, with commands of the lab.
lab_findings() (
	grep -q -E '^(# )?not ok ' "$1/ktap" || exit 0
	again=$(lab_again | sed 's/[\\&|]/\\&/g')
	found=$(lab_findings_told "$1")
	[ -n "$found" ] || found=$(lab_findings_made "$1")
	[ -z "$found" ] || printf '%s\n' "$found" |
		sed "s|^#  *[^.]*run_tests.sh\( .*\)|#      $again --\1|"
)
