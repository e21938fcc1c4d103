# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh
# Campaigns: the suite on many variants of one kernel, each of which has a bug.
#
# A campaign's folder has for every case a folder with a run of the lab (see
# report.sh) and the file NAME.result, a line of fields separated by tabs:
#	name, outcome, seconds, what told (test and cause), program
# Outcomes: killed (a test failed), lab (no test failed, but the lab saw the
# kernel complain or die), compiler (only the compiler warned of an unused result),
# survived (everything passed), error (no verdict). A case with a result is not run
# again, so a campaign can be taken up again.

LAB_MUTANTS=$LAB_DIR/kernel/mutants/list
LAB_MUTANTS_PMDSWAP=$LAB_DIR/kernel/pmdswap/mutants/list
LAB_TAB=$(printf '\t')

LAB_REVERTS=$LAB_DIR/kernel/reverts/list

# The rows of list $1, their fields separated by tabs.
lab_rows() (
	sed -e '/^#/d' -e '/^[[:space:]]*$/d' \
		-e 's/[[:space:]]*|[[:space:]]*/'"$LAB_TAB"'/g' "$1"
)

# lab_rows_check LIST WHAT NAME...: whether each has a row.
lab_rows_check() (
	list=$1 what=$2
	shift 2
	for name; do
		lab_rows "$list" | cut -f 1 | grep -qxF "$name" ||
			lab_die "no $what '$name' in $list"
	done
)

# Fields: name, arch, kind, patch, place, bug, harm, program, note
lab_mutants() (
	lab_rows "$LAB_MUTANTS"
	lab_rows "$LAB_MUTANTS_PMDSWAP"
)

# Whether each NAME is a mutant, or "pmdswap" for all of that list.
lab_mutants_check() (
	for name; do
		[ "$name" = pmdswap ] || lab_mutants | cut -f 1 | grep -qxF "$name" ||
			lab_die "no mutant '$name' in $LAB_MUTANTS"
	done
)

# The kernel that names the campaign of these mutants: $C_ON says on which they all run.
lab_mutants_kernel() (
	kernel=mutants-${C_ON:-x86_64}
	for name; do
		if [ "$name" = pmdswap ] || lab_rows "$LAB_MUTANTS_PMDSWAP" |
			cut -f 1 | grep -qxF "$name"; then
			[ -z "$C_ON" ] || lab_die "$name: only x86_64 has those of PMD swap entries"
			kernel=mutants-pmdswap-x86_64
		fi
	done
	echo "$kernel"
)

# Fields: number, kernel, program, note
lab_reverts_list() (
	lab_rows "$LAB_REVERTS"
)

# The programs, the one that is expected to notice first.
lab_first_program() (
	printf -- '-t %s ' "$1"
	for prog in $LAB_PROGRAMS; do
		[ "$prog" = "$1" ] || printf -- '-t %s ' "$prog"
	done
)

# lab_case FOLDER NAME KERNEL PROGRAM[:TESTS] REVERT APPEND: one run to one result. The
# test that noticed in an earlier campaign, or TESTS, run first, alone; if they do not
# notice, the whole suite runs.
lab_case() {
	dir=$1 name=$2 kernel=$3 program=$4 revert=$5 append=$6
	begin=$(date +%s)
	hint=$LAB_CACHE/hints/$name
	lab_kernel_load "$kernel"
	outcome='' tests=''
	case $program in
	*:*)	tests=$program program=${program%%:*} ;;
	esac
	[ ! -s "$hint" ] || tests=$(cat "$hint")
	if [ -n "$tests" ]; then
		lab_say "$name: ${revert:+building without patch $revert, then }$tests"
		lab_case_run -t "$tests"
		outcome=$(cut -f 2 "$dir/$name.new")
	fi
	if [ "$outcome" != killed ]; then
		lab_say "$name: ${outcome:+$outcome; }the whole suite, $program first"
		# shellcheck disable=SC2046 # a list of words
		lab_case_run $(lab_first_program "$program")
		mkdir -p "$LAB_CACHE/hints"
		awk -F '\t' '$2 == "killed" && $5 != "-" {
			sub(/ .*/, "", $4)
			print $5 ":" $4
		}' "$dir/$name.new" >"$hint"
	fi
	mv "$dir/$name.new" "$dir/$name.result"
}

# The run of lab_case(), with its variables, of the tests in "$@"; its result is in
# NAME.new.
lab_case_run() {
	rm -rf "${dir:?}/$name"
	mkdir -p "$dir/$name"
	# shellcheck disable=SC2086 # a list of words
	LAB_REVERT=$revert "$LAB_DIR/lab" run --output "$dir/$name" \
		--suite "$dir/suite-$K_ARCH" --timeout "$C_TIMEOUT" \
		${LAB_OFFLINE:+--offline} ${append:+--append "$append"} "$kernel" \
		-- $C_OPTIONS "$@" </dev/null >"$dir/$name/output" 2>&1 &
	echo $! >"$dir/$name.running"
	wait $!
	lab_case_result "$dir/$name" "$name" $(($(date +%s) - begin)) \
		>"$dir/$name.new"
	rm -f "$dir/$name"/*/initramfs
}

# The outcome of a run, from its folder.
lab_case_result() (
	folder=$1 name=$2 seconds=$3
	summary=$(echo "$folder"/*/summary)
	ktap=${summary%/summary}/ktap
	failed='' trouble='' status=2
	if [ -r "$summary" ]; then
		status=$(sed -n 's/^status //p' "$summary")
		trouble=$(sed -n -e 's/^trouble //p' -e 's/^log //p' \
			"$summary" | head -n 1)
		failed=$(sed -n -e 's/^# not ok [0-9]* \(- \)\{0,1\}//p' \
			-e 's/^not ok [0-9]* \(- \)\{0,1\}//p' "$ktap" \
			2>/dev/null | head -n 1)
	fi
	program=$(sed -n 's/^not ok [0-9]* \(- \)\{0,1\}\([a-z_]*\).*/\2/p' \
		"$ktap" 2>/dev/null | head -n 1)
	[ -n "$trouble" ] || trouble=$(tail -n 1 "$folder/output")
	case $status in
	0)	outcome=survived by=- ;;
	1)	if [ -n "$failed" ]; then
			outcome=killed by=$failed
		else
			outcome=lab by=$trouble
		fi ;;
	*)	outcome=error by=$trouble ;;
	esac
	unused=$(grep -m 1 -o 'ignoring return value of .*' "$folder/output")
	case $outcome:$unused in
	survived:?*|error:?*) outcome=compiler by=$unused ;;
	esac
	printf '%s\t%s\t%s\t%s\t%s\n' "$name" "$outcome" "$seconds" \
		"$(printf '%s' "$by" | tr -s '\t|#' ' ' | tr -s ' ')" \
		"${program:--}"
)

# Everything that the cases of a campaign share, before the first: the suite,
# and, for those that need no build of their own, the kernel.
lab_campaign_prepare() (
	dir=$1
	shift
	for kernel in $(printf '%s\n' "$@" | sort -u); do
		# shellcheck disable=SC2034 # for lab_say
		LAB_WHO=$kernel
		lab_kernel_load "$kernel"
		lab_kernel_prepare || exit
		[ -e "$dir/suite-$K_ARCH/run_tests.sh" ] ||
			lab_guest_prepare "$K_ARCH" "$dir" || exit
		[ ! -e "$dir/suite" ] ||
			mv "$dir/suite" "$dir/suite-$K_ARCH" || exit
	done
)

# The input of a verdict, as one word: the kernels of $@ and the suite.
lab_campaign_key() (
	{
		for kernel; do
			lab_kernel_load "$kernel"
			lab_build_load
			lab_build_dir
		done
		cd "$LAB_SUITE_SRC" && cat ./*.c ./*/*.[ch] lib/*/* run_tests.sh lab/init
	} | lab_build_sha
)

# lab_campaign FOLDER: runs the cases in FOLDER/cases that have no result, lines
# of name, kernel, program, revert, append, separated by tabs; empty fields are
# "-".
lab_campaign() {
	dir=$1 number=0
	total=$(wc -l <"$dir/cases")
	# Left by a campaign that was ended.
	rm -f "$dir"/*.running
	trap 'lab_campaign_stop "$dir"; exit 130' INT TERM HUP
	# Does not read from a pipe, because the loop waits for its own
	# children.
	while IFS=$LAB_TAB read -r name kernel program revert append; do
		number=$((number + 1))
		[ ! -e "$dir/$name.result" ] || continue
		while [ "$(lab_campaign_running "$dir")" -ge "$O_JOBS" ]; do
			sleep 1
		done
		: >"$dir/$name.running"
		(
			trap - INT TERM HUP
			[ "$revert" != - ] || revert=''
			[ "$append" != - ] || append=''
			"$C_CASE" "$dir" "$name" "$kernel" "$program" "$revert" \
				"$append"
			rm -f "$dir/$name.running"
			lab_say "$number/$total $(cut -f 1-4 "$dir/$name.result" |
				tr '\t' ' ')"
		) &
		# Spreads the starts over the first second.
		sleep 1
	done <"$dir/cases"
	wait
	trap - INT TERM HUP
}

# Ends the current runs and their guests.
lab_campaign_stop() (
	cat "$1"/*.running 2>/dev/null | while read -r pid; do
		kill -TERM "$pid" 2>/dev/null
		while kill -0 "$pid" 2>/dev/null; do
			sleep 1
		done
	done
)

lab_campaign_running() (
	find "$1" -maxdepth 1 -name '*.running' | wc -l
)

# The results in FOLDER, in the order of its cases.
lab_campaign_results() (
	while IFS=$LAB_TAB read -r name _; do
		cat "$1/$name.result"
	done <"$1/cases"
)

# Whether every case has a verdict, and the kernel without a bug passed.
lab_campaign_sane() (
	lab_campaign_results "$1" | awk -F '\t' -f "$LAB_AWK/campaign-sane.awk" >&2
)

# Campaign $2 of those in $1, in a line.
lab_campaign_line() (
	lab_campaign_results "$1/$2" |
		awk -F '\t' -v round="$2" -f "$LAB_AWK/campaign-line.awk"
)

# Whether two campaigns have the same outcomes.
lab_campaign_agrees() (
	lab_campaign_results "$1" | cut -f 1,2 >"$2/outcomes.first"
	lab_campaign_results "$2" | cut -f 1,2 >"$2/outcomes"
	cmp -s "$2/outcomes.first" "$2/outcomes" && exit 0
	lab_say "the campaigns differ:"
	diff "$2/outcomes.first" "$2/outcomes" | grep '^[<>]' >&2
	exit 1
)

# --- mutants ---

# The table of all mutants with the outcomes of folder $1, and the score.
lab_mutants_table() (
	lab_campaign_results "$1" >"$1/results"
	lab_mutants >"$1/mutants"
	awk -F '\t' -v on="$C_ON" -f "$LAB_AWK/mutants-table.awk" "$1/results" "$1/mutants"
)

# The cases of the mutants named, or of all but those of PMD swap entries: first the
# kernel without any.
lab_mutants_cases() (
	lab_mutants >"$1/mutants"
	awk -F '\t' -v names=" $2 " -v on="$C_ON" -f "$LAB_AWK/mutants-cases.awk" \
		"$1/mutants" >"$1/cases"
)

# --- reverts ---

# The cases: each caller patch of the series taken back.
lab_reverts_cases() (
	lab_reverts_list |
	while IFS=$LAB_TAB read -r number kernel program _; do
		case " $2 " in
		'  '|*" $number "*)
			printf '%s\t%s\t%s\t%s\t-\n' "$number" "$kernel" \
				"$program" "$number" ;;
		esac
	done >"$1/cases"
)

lab_reverts_table() (
	echo "| patch | taken back | outcome | by | s |"
	echo "|---|---|---|---|---|"
	lab_campaign_results "$1" |
	while IFS=$LAB_TAB read -r name outcome seconds by program; do
		subject=$(head -n 1 "$LAB_DIR/kernel/$name"-*.patch)
		[ "$program" = - ] || by="$program: $by"
		if [ "$outcome" = survived ]; then
			by=$(lab_reverts_list | awk -F '\t' -v name="$name" \
				'$1 == name && $4 != "-" { print $4 }')
			by=${by:-**not explained**}
		fi
		echo "| $name | $subject | $outcome | $by | $seconds |"
	done
)
