# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh
# shellcheck disable=SC2034,SC2153,SC2154 # shared with lib/, see lib/options.sh
# lab mutants, lab baseline, lab reverts: see lib/campaign.sh.

# The input of a campaign and its kernels: the functions campaign_WHAT set $kernels,
# $key and the C_* that differ, for the cases that the arguments name.

campaign_mutants() {
	lab_mutants_check "$@" || exit
	campaign_on
	kernel=$(lab_mutants_kernel "$@") || exit
	campaign_kernel "$kernel"
}

# Sets C_ON from --arch and --mmu: what stands behind "mutants-" in the name of a kernel.
campaign_on() {
	mmu=$(lab_arch_mmu "$O_ARCH" "$O_MMU") || exit
	C_ON=$O_ARCH${mmu:+-$mmu}
	[ -z "$C_ON" ] || lab_kernel_names | grep -qxF "mutants-$C_ON" ||
		lab_die "no mutants-$C_ON in the table: see $LAB_ME list"
}

campaign_reverts() {
	lab_rows_check "$LAB_REVERTS" patch "$@" || exit
	campaign_kernel lazy-x86_64
}

# Its programs have limits of their own, and migration needs 3 CPUs.
campaign_baseline() {
	lab_rows_check "$LAB_MUTANTS" mutant "$@" || exit
	campaign_kernel mutants-x86_64
	LAB_FAIL_GRACE=
	C_CASE=lab_baseline_case C_CPUS=${O_CPUS:-3}
	C_TIMEOUT=$(lab_baseline_timeout)
	key=$(lab_baseline_key "$kernels")
	C_INSTALL=lab_baseline_install
}

campaign_kernel() {
	kernels=$1
	names=$1
	check_host
	lab_build_need_source "$kernels" || exit
	key=$(lab_campaign_key "$kernels")
}

# cmd_campaign WHAT ARGUMENT...: WHAT is mutants, baseline or reverts.
cmd_campaign() {
	what=$1
	shift
	O_RAW=$what O_TAKES='--jobs --repeat --timeout --output --accel'
	[ "$what" != baseline ] || O_TAKES="$O_TAKES --cpus"
	[ "$what" != mutants ] || O_TAKES="$O_TAKES --arch --mmu"
	parse_options "$@"
	O_REPEAT=${O_REPEAT:-1}
	[ "$shift_by" -eq $# ] || lab_die "$what takes no options of the suite"
	wanted=$names
	export LAB_OFFLINE LAB_ACCEL
	# Some bugs leave a guest that cannot be shut down.
	LAB_FAIL_GRACE=90
	C_TIMEOUT=$LAB_TIMEOUT C_OPTIONS=-x C_CASE=lab_case C_INSTALL='' C_ON=''
	# shellcheck disable=SC2086 # a list of names
	"campaign_$what" $wanted
	export LAB_FAIL_GRACE
	begin=$(date +%s) round=1
	top=${O_OUTPUT:-$LAB_CACHE/$what/$key}
	while [ "$round" -le "$O_REPEAT" ]; do
		campaign_round "$top/$round"
		round=$((round + 1))
	done
	campaign_report
}

campaign_round() {
	mkdir -p "$1" || lab_die "$1: cannot be made"
	"lab_${what}_cases" "$1" "$wanted" || exit
	[ -z "$C_INSTALL" ] ||
		"$C_INSTALL" "$kernels" "$1/suite-x86_64" || exit
	# shellcheck disable=SC2046 # a list of words
	lab_campaign_prepare "$1" $(cut -f 2 "$1/cases") || exit
	lab_campaign "$1"
}

# The table of the first round, a line for each if there are more, and the end.
campaign_report() {
	round=1 status=0
	while [ "$round" -le "$O_REPEAT" ]; do
		"lab_${what}_table" "$top/$round" >"$top/$round/table"
		[ "$round" -gt 1 ] || lab_shown <"$top/$round/table"
		! grep -qF "**" "$top/$round/table" || status=1
		lab_campaign_sane "$top/$round" || status=1
		[ "$O_REPEAT" -eq 1 ] || lab_campaign_line "$top" "$round" | lab_shown
		lab_campaign_agrees "$top/1" "$top/$round" || status=1
		round=$((round + 1))
	done
	lab_say "campaign of $(($(date +%s) - begin)) s in $top"
	exit "$status"
}
