# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh
# shellcheck disable=SC2034,SC2154 # shared with series.sh and cmd/run.sh
# "run --series --each": with which patch does a test begin to fail?
#
# If the whole series passes, every patch is tried, with all tests. If it fails, the
# tests that failed run once more, then without the series: what is left is the patches'.
# Bisection finds the first patch with which one of these fails; then the first after it
# with which one of the others does, until each has its patch. Only these tests run, so
# that a state takes little more than its build; a state that does not build, or whose
# guest dies before they ran, tells nothing, and its neighbour is tried.
#
# A kernel becomes lazy with one patch of its series. What nobody can see before splits
# can fail begins to fail with that patch, whoever is to blame: the patches up to it that
# change the functions of the call site.
#
# S_EACH is a directory: NUMBER.dir names the folder of the run after so many patches,
# NUMBER.wrong has what was wrong with it, lines of a key, a tab, and text. Keys:
# PROGRAM:TEST or PROGRAM: as findings.awk has them; "log", a complaint of the kernel that
# no test has; "guest", it died; "build", there is no kernel.

# With more failures than these, some of each finding stand for the others.
LAB_EACH_TESTS=100

# What is wrong in the run of folder $1.
lab_each_wrong() (
	if [ ! -e "$1/ktap" ]; then
		sed -n 's/^trouble /build\t/p' "$1/summary" | head -n 1
		exit
	fi
	lab_outcomes "$1/ktap" "$S_EACH/outcomes"
	awk '{
		key = text = $0
		sub(/ .*/, "", key)
		sub(/^[^ ]+ +(# *)?/, "", text)
		print key "\t" text
	}' "$S_EACH/outcomes/failed"
	sed -n -e 's/^log /log\t/p' -e 's/^trouble /guest\t/p' "$1/summary"
)

# lab_each_try NUMBER OPTION...: runs the suite after so many patches, unless it has. Only
# the end is held to a contract.
lab_each_try() {
	number=$1
	[ ! -e "$S_EACH/$number.wrong" ] || return 0
	shift
	lab_series_state "$number" || exit
	# The command that repeats it has the tree in this state, but no option for it.
	runs='' count=0 O_EXPECT=auto O_SERIES=''
	[ "$number" -lt "$S_COUNT" ] || O_EXPECT=$S_EXPECT O_SERIES=$S_SERIES
	run_add tree "$number-of-$S_COUNT"
	tried=$dir
	run_all "$@"
	printf '%s\n' "$tried" >"$S_EACH/$number.dir"
	lab_each_wrong "$tried" >"$S_EACH/$number.wrong"
}

lab_each_passed() {
	grep -q '^status [04]$' "$(cat "$S_EACH/$1.dir")/summary"
}

# The keys of what is wrong with state $1
lab_each_keys() (
	cut -f 1 "$S_EACH/$1.wrong" | sort -u
)

# Takes the lines of stdin from the wanted failures.
lab_each_drop() {
	sort -u >"$S_EACH/drop"
	comm -23 "$S_EACH/wanted" "$S_EACH/drop" >"$S_EACH/left"
	mv "$S_EACH/left" "$S_EACH/wanted"
}

# The options of the suite in "$@" but for the choice of tests.
lab_each_options() (
	# shellcheck disable=SC2213 # the other options are for the run of all
	while getopts :bBhlvxt:e:s:o:-: opt; do
		case $opt in
		e|s)	printf ' -%s %s' "$opt" "$OPTARG" ;;
		*)	;;
		esac
	done
)

# The options that choose the wanted tests.
lab_each_choice() (
	sed -n -e 's/^\(thp_[^:]*:..*\)/\1/p' -e 's/^\(thp_[^:]*\):$/\1/p' "$S_EACH/wanted" |
		awk '{ printf " -t %s", $0 }'
)

# Sets S_STEP, the options of the suite for all further states, and the file wanted: the
# failures that are looked for.
lab_each_want() {
	end=$(cat "$S_EACH/$S_COUNT.dir")
	lab_each_keys "$S_COUNT" >"$S_EACH/wanted"
	S_STEP="$*"
	grep -q ':' "$S_EACH/wanted" || return 0
	lab_outcomes "$end/ktap" "$S_EACH/end"
	lab_findings_list "$S_EACH/end" run_tests.sh >/dev/null
	if [ "$(wc -l <"$S_EACH/wanted")" -gt "$LAB_EACH_TESTS" ]; then
		lab_say "$(wc -l <"$S_EACH/wanted") failures: some of each finding" \
			"stand for the others"
		awk -F '\t' -v most="$LAB_EACH_TESTS" '
			{ name[NR] = $2; number[NR] = $1; last = $1 }
			END {
				each = int(most / last) + 1
				for (i = 1; i <= NR; i++)
					if (seen[number[i]]++ < each)
						print name[i]
			}' "$S_EACH/end/members" | sed 's/^[^:]*$/&:/' | sort -u |
			comm -12 - "$S_EACH/wanted" >"$S_EACH/some"
		mv "$S_EACH/some" "$S_EACH/wanted"
	fi
	S_STEP="$(lab_each_options "$@")$(lab_each_choice)"
	# Once more: what fails now and then has no patch.
	mv "$S_EACH/$S_COUNT.wrong" "$S_EACH/end/wrong"
	# shellcheck disable=SC2086 # a list of words
	lab_each_try "$S_COUNT" $S_STEP
	lab_each_keys "$S_COUNT" | comm -23 "$S_EACH/wanted" - >"$S_EACH/flaky"
	[ ! -s "$S_EACH/flaky" ] || {
		lab_say "$(wc -l <"$S_EACH/flaky") of the tests that failed pass when run" \
			"again: $(lab_each_few "$S_EACH/flaky")"
		lab_each_drop <"$S_EACH/flaky"
	}
}

# A few of the lines of file $1.
lab_each_few() (
	head -n 3 "$1" | paste -s -d ' ' |
		sed "s/\$/$([ "$(wc -l <"$1")" -le 3 ] || echo ' ...')/"
)

# Whether state $1 has a failure that is wanted: 0. 1: it has none. 2: it does not tell.
lab_each_fails() (
	lab_each_keys "$1" | comm -12 - "$S_EACH/wanted" >"$S_EACH/here"
	[ ! -s "$S_EACH/here" ] || exit 0
	! grep -q "^\(build\|guest\)$LAB_TAB" "$S_EACH/$1.wrong" || exit 2
	exit 1
)

# The state between $good and $first nearest to their middle that is not in $untold.
lab_each_middle() (
	middle=$(((good + first) / 2)) off=0
	while [ $((middle + off)) -lt "$first" ] || [ $((middle - off)) -gt "$good" ]; do
		for number in $((middle + off)) $((middle - off)); do
			case " $untold $good $first " in
			*" $number "*) continue ;;
			esac
			if [ "$number" -gt "$good" ] && [ "$number" -lt "$first" ]; then
				echo "$number"
				exit
			fi
		done
		off=$((off + 1))
	done
)

# Sets $first, the patch after $good with which a wanted failure begins, and $good, the
# last without.
lab_each_bisect() {
	first=$S_COUNT
	while middle=$(lab_each_middle) && [ -n "$middle" ]; do
		# shellcheck disable=SC2086 # a list of words
		lab_each_try "$middle" $S_STEP
		lab_each_fails "$middle"
		case $? in
		0)	first=$middle ;;
		1)	good=$middle ;;
		*)	untold="$untold $middle" ;;
		esac
	done
}

# The end fails: which patches are it? Their numbers become $patches; NUMBER.begin has the
# failures, NUMBER.good the last state without.
lab_each_backward() {
	lab_each_want "$@"
	[ -s "$S_EACH/wanted" ] || return 0
	# shellcheck disable=SC2086 # a list of words
	lab_each_try 0 $S_STEP
	lab_each_keys 0 | comm -12 - "$S_EACH/wanted" >"$S_EACH/old"
	[ ! -s "$S_EACH/old" ] || {
		base_fails=1
		lab_say "the base fails without the series: $(lab_each_text 0 "$S_EACH/old")"
		lab_each_drop <"$S_EACH/old"
	}
	good=0 untold=''
	while [ -s "$S_EACH/wanted" ]; do
		lab_each_bisect
		lab_each_keys "$first" | comm -12 - "$S_EACH/wanted" >"$S_EACH/$first.begin"
		# It may have failed in the first run of the end only.
		[ -s "$S_EACH/$first.begin" ] || cp "$S_EACH/wanted" "$S_EACH/$first.begin"
		echo "$good" >"$S_EACH/$first.good"
		patches="$patches $first"
		lab_each_drop <"$S_EACH/$first.begin"
		good=$first
	done
}

# The end passes: is one of the others worse?
lab_each_forward() {
	number=1
	while [ "$number" -lt "$S_COUNT" ]; do
		lab_each_try "$number" "$@"
		lab_each_passed "$number" || break
		number=$((number + 1))
	done
	[ "$number" -lt "$S_COUNT" ] || return 0
	# A failure without the series is not that of a patch.
	first=$number
	lab_each_try 0 "$@"
	lab_each_keys 0 >"$S_EACH/old"
	lab_each_keys "$first" | comm -23 - "$S_EACH/old" >"$S_EACH/$first.begin"
	if [ -s "$S_EACH/$first.begin" ]; then
		echo $((first - 1)) >"$S_EACH/$first.good"
		patches=$first
	else
		base_fails=1
		lab_say "the base fails without the series: $(lab_each_text 0 "$S_EACH/old")"
	fi
}

# The first of the failures in file $2, as state $1 has it, and how many there are.
lab_each_text() (
	key=$({ grep ':' "$2" || cat "$2"; } | head -n 1)
	text=$(awk -F '\t' -v key="$key" '$1 == key { print $2; exit }' "$S_EACH/$1.wrong")
	more=$(($(wc -l <"$2") - 1))
	case $key in
	*:*)	text="${key#thp_*:} # $text" ;;
	esac
	[ "$more" -eq 0 ] || text="$text, and $more more"
	printf '%s\n' "$text"
)

# The outcomes of the state where the failures of patch $1 were seen, as a new directory,
# which it prints: of what failed only the tests that begin to fail with the patch.
lab_each_outcomes() (
	out=$S_EACH/$1.outcomes
	lab_outcomes "$(cat "$S_EACH/$1.dir")/ktap" "$out"
	awk -F ' ' 'FNR == NR { begins[$1]; next } $1 in begins' \
		"$S_EACH/$1.begin" "$out/failed" >"$out/begin"
	mv "$out/begin" "$out/failed"
	printf '%s\n' "$out"
)

lab_each_mode() (
	sed -n 's/^mode //p' "$(cat "$S_EACH/$1.dir")/summary" 2>/dev/null
)

# Patch $1 made the kernel lazy: its findings are in directory $2. Which patches are about
# their call sites?
lab_each_about() (
	set -- "$1" "$2" 1
	while [ "$3" -le "$1" ]; do
		set -- "$1" "$2" $(($3 + 1)) "$(printf '%s/patches/%04d.patch' "$S_DIR" "$3")"
		awk -f "$LAB_AWK/patch-functions.awk" "$4" | sed "s/^/$(($3 - 1)) /"
	done >"$2/functions"
	awk -f "$LAB_AWK/series-about.awk" kind=sites "$LAB_SUITE_SRC/docs/call-sites.md" \
		kind=covers "$2/covers" kind=members "$2/members" \
		kind=functions "$2/functions" | sort -k 1,1n -k 3,3n
)

# The findings of those whose outcomes are in directory $1, with commands of the lab
lab_each_shown() (
	# shellcheck disable=SC2030 # the state of the tree is not that of the series
	again=$(O_SERIES=$S_SERIES; lab_again | sed 's/[\\&|]/\\&/g')
	lab_findings_list "$1" run_tests.sh | sed -e 1d -e 's/^#//' \
		-e "s|^  *run_tests.sh\( .*\)|       $again --\1|"
)

# What begins with patch $1, as text of several lines; the last one says it all.
lab_each_say() (
	before=$(cat "$S_EACH/$1.good")
	wrong=$(lab_each_text "$1" "$S_EACH/$1.begin")
	echo "Patch $1 of $S_COUNT, $(lab_series_name "$1"):"
	if grep -q ':' "$S_EACH/$1.begin"; then
		out=$(lab_each_outcomes "$1")
		lab_each_shown "$out"
		if [ "$(lab_each_mode "$before"):$(lab_each_mode "$1")" = eager:lazy ]; then
			lab_each_about "$1" "$out" >"$out/about"
			lab_each_blame "$out/about"
			about=$(cut -d ' ' -f 3 "$out/about" | sort -nu | paste -s -d , |
				sed 's/,/, /g')
			wrong="$wrong; the kernel is lazy from here on, and the call sites are"
			wrong="$wrong those of patch ${about:-(none)}"
		fi
	else
		echo "  $wrong"
	fi
	[ $((before + 1)) -eq "$1" ] ||
		wrong="$wrong; or with one of the patches from $((before + 1)) on, which cannot be tested"
	echo "patch $1 of $S_COUNT, $(lab_series_subject "$1"): $wrong"
)

# The patches of the table of lab_each_about(), as text.
lab_each_blame() (
	echo "  The kernel is lazy from here on: before, this could not fail. The call sites" \
		"are changed by:"
	while read -r number functions patch; do
		echo "   $number. patch $patch, $(lab_series_subject "$patch"):" \
			"$(printf '%s' "$functions" | sed 's/,/, /g')"
	done <"$1"
)

# The table of the states that ran. What is wrong comes behind it, but for the totals.
lab_each_table() (
	for dir; do
		printf 'run %s tree\n' "${dir##*/}"
		grep -E '^(status|time|release|thp|mode|bytes|program|trouble) ' "$dir/summary"
	done | awk -v programs="$LAB_PROGRAMS" -f "$LAB_AWK/runs-table.awk" | sed '$d'
)

# The folders of all runs, in the order of the states.
lab_each_folders() (
	number=0
	while [ "$number" -le "$S_COUNT" ]; do
		for dir in "$top/$number-of-$S_COUNT" "$top/$number-of-$S_COUNT"-*; do
			[ ! -e "$dir/summary" ] || echo "$dir"
		done
		number=$((number + 1))
	done
)

cmd_each() {
	# shellcheck disable=SC2031 # they are set before
	S_EXPECT=$O_EXPECT S_SERIES=$O_SERIES S_EACH=$S_DIR/each
	[ "$O_REPEAT" -eq 1 ] || lab_die "--each takes no --repeat"
	rm -rf "$S_EACH"
	mkdir -p "$S_EACH" || exit "$LAB_ERROR"
	patches='' base_fails='' unexpected=''
	lab_each_try "$S_COUNT" "$@"
	if lab_each_passed "$S_COUNT"; then
		lab_each_forward "$@"
	else
		unexpected=$(sed -n 's/^[a-z_]*:kernel\.mode\t\(.*expected .*, measured .*\)/\1/p' \
			"$S_EACH/$S_COUNT.wrong" | head -n 1)
		[ -n "$unexpected" ] || lab_each_backward "$@"
	fi
	lab_each_report
}

# The table, what begins with which patch, and a line for each of these.
lab_each_report() {
	echo
	# shellcheck disable=SC2046 # a list of words
	lab_each_table $(lab_each_folders) | tee "$top/table" | lab_shown
	: >"$S_EACH/lines"
	for number in $patches; do
		lab_each_say "$number" >"$S_EACH/said"
		sed '$d' "$S_EACH/said"
		sed -n '$p' "$S_EACH/said" >>"$S_EACH/lines"
	done | tee -a "$top/table" | lab_shown
	lab_say "folders of the runs: $top"
	# shellcheck disable=SC2046 # a list of words
	status=$(lab_total_status $(lab_each_folders))
	[ -z "$patches" ] || status=$LAB_FAIL
	if [ -n "$unexpected" ]; then
		lab_say "no patch makes this kernel what it has to be: $unexpected"
	elif [ -z "$patches$base_fails" ]; then
		lab_say "no patch begins to fail a test"
	fi
	while read -r line; do
		lab_say "$line"
	done <"$S_EACH/lines"
	for dir in $(lab_each_folders); do
		(cd "$dir" && rm -f "done" pid memory stream trouble channel.log)
	done
	exit "$status"
}
