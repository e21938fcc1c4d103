#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# run_tests.sh -b and -B: some rows, measured on this machine. Not the times, which are
# those of the machine, but their form, and the tables, which the contract knows.

. check/lib.sh

if ! have python3; then
	skip "measurements" "needs python3"
	exit
fi

# The lines of file $1 are objects as README.md says; prints what is wrong.
cat > "$work/judge.py" <<'END'
import json, math, sys

text = ["kernel", "arch", "mode", "program", "row", "kind"]
counts = ["thp_bytes", "table_bytes", "thps", "procs", "rounds"]

def refuse(constant):
    raise ValueError(constant + " is no JSON")

def columns(r, name):
    least, median, most = r[name + "_min"], r[name], r[name + "_max"]
    assert least <= median <= most, name + ": the median is not between least and most"
    assert 0 <= r[name + "_spread"] <= 9.99, name + "_spread"

def judge(r):
    for key in text:
        assert isinstance(r[key], str) and r[key], key
    for key in counts:
        assert type(r[key]) is int and r[key] >= 0, key
    if not r["rounds"]:
        assert ("skipped" in r) != ("failed" in r), "no figures, and no reason"
        return
    curve = r["row"].startswith("tables_")
    assert r["rounds"] == 1 if curve else r["rounds"] >= 5, "rounds"
    columns(r, "ns")
    assert r["noisy"] is (r["ns_spread"] > 0.2), "noisy does not fit the spread"
    if r["instructions"] is not None:
        columns(r, "instructions")
    want = {"eager": 1, "lazy": 0}[r["mode"]]
    if r["row"].startswith("fault_"):
        assert r["tables"] == want and r["splits"] == 0, "tables of a fault"
        assert (r["bytes"] > 0) == (want > 0), "bytes of a fault"
    if curve:
        tables = want * max(r["procs"] - 1, 1)
        assert tables <= r["tables"] < tables + 0.01, "tables of a curve"
    if r["row"] == "munmap_mid_anon":
        assert r["tables"] == 1 - want and r["splits"] == 1, "tables of a split"

lines = sys.stdin.read().splitlines()
if len(lines) != int(sys.argv[1]):
    print(len(lines), "lines, expected", sys.argv[1])
for line in lines:
    try:
        judge(json.loads(line, parse_constant=refuse))
    except (AssertionError, KeyError, TypeError, ValueError) as cause:
        print(repr(cause), line)
END

# judge COUNT: the JSON on stdin
judge()
{
	python3 "$work/judge.py" "$1"
}

OUTPUT=$OUTPUT ./run_tests.sh -B -t 'thp_lazy_split:fault_*,munmap_mid_anon' \
	-t 'thp_fork_copy:tables_forks_zero' > "$work/json" 2> "$log"
status=$?
if [ $status -ne 0 ]; then
	fail "four rows are measured" "exit=$status"
else
	pass "four rows are measured"
fi
judge 12 < "$work/json" | none "each is a JSON object, with the right tables" "these are not"

# One line of each kind, for the table of kernels below
grep -E '"row":"fault_anon".*"thps":1,|"row":"munmap_mid_anon"' "$work/json" > "$work/rows"

# The judge itself: each of these changes is one that it has to see.
while IFS='|' read -r what change; do
	sed "$change" "$work/json" > "$work/changed"
	judge 12 < "$work/changed" > "$log"
	if cmp -s "$work/json" "$work/changed" && [ "${change#/tables/}" != "$change" ] &&
	   grep -q '"row":"tables_forks_zero".*"skipped":"needs huge zero PMDs' "$work/json"; then
		skip "judge: $what" "needs huge zero PMDs"
	elif [ -s "$log" ]; then
		pass "judge: $what"
	else
		fail "judge: $what" "it let that pass"
	fi
done <<'END'
a line that is missing|1d
another line|1s/^/# a comment\n/
no JSON|1s/,/;/
a number that JSON has not|1s/"ns":[0-9.]*/"ns":nan/
a field that is missing|1s/"kernel"/"kernal"/
a count that is none|1s/"thps":1/"thps":1.5/
a median that is none|1s/"ns":[0-9.]*/"ns":0.0/
a spread that is none|1s/"ns_spread":[0-9.]*/"ns_spread":12.5/
noise that is not said|1s/"ns_spread":[0-9.]*,"noisy":[a-z]*/"ns_spread":0.3,"noisy":false/
too few rounds|1s/"rounds":[0-9]*/"rounds":3/
no reason|1s/"rounds":[0-9]*/"rounds":0/
the tables of the other contract|1s/"mode":"lazy"/"mode":"x"/; 1s/"mode":"eager"/"mode":"lazy"/; 1s/"mode":"x"/"mode":"eager"/
the tables of fewer children|/tables/s/"tables":[0-9]*/"tables":9/
more than one round of a curve|/tables/s/"rounds":1,/"rounds":2,/
a split that did not take place|/munmap/s/"splits":[0-9.]*/"splits":0/
END

OUTPUT=$OUTPUT ./run_tests.sh -b -t 'thp_lazy_split:fault_anon' > "$log" 2>&1
status=$?
number='[+-]?[0-9]+(\.[0-9]+)?'
line="^  fault_anon +(1|8|64) +1 +$number [ ~] *[0-9]+% +($number|-) +$number +$number +$number$"
if [ $status -ne 0 ]; then
	fail "a table" "exit=$status"
elif [ "$(grep -cE "$line" "$log")" -ne 3 ]; then
	fail "a table" "expected three lines of fault_anon"
else
	pass "a table"
fi

OUTPUT=$OUTPUT ./run_tests.sh -b -t thp_lazy_split:no_such_row > "$log" 2>&1
status=$?
try "a row that does not exist is refused" test $status -eq 2

# An operation that cannot be tested cannot be measured either, for the same reason.
user=
if [ "$(id -u)" = 0 ]; then
	user='setpriv --reuid=64999 --regid=64999 --clear-groups'
fi
if [ "$user" ] && ! have setpriv; then
	skip "what cannot run has a reason" "needs setpriv"
else
	install_to "$work/suite"
	# shellcheck disable=SC2086 # empty, or a command with its options
	(unset OUTPUT; $user "$work/suite/run_tests.sh" -B -t thp_lazy_split:debugfs_split_anon) \
		> "$work/json" 2> "$log"
	status=$?
	try "nothing is measured without root" test $status -eq 4
	grep -q '"skipped":"needs root and split_huge_pages' "$work/json"
	try "... and that is the reason" test $? -eq 0
	judge 1 < "$work/json" | none "... as JSON" "it is not"
fi

# Several kernels side by side, by lab/lab cost. Its input, changed by $2 (for sed), as the
# figures of kernel $1:
figures()
{
	echo "@ $1"
	sed -e 's/"ns":[0-9.]*/"ns":2000.0/; s/"ns_min":[0-9.]*/"ns_min":1900.0/; s/"noisy":true/"noisy":false/' \
		-e 's/"ns_spread":[0-9.]*/"ns_spread":0.0010/' \
		-e 's/"bytes":[-0-9.]*/"bytes":4096.0/; s/"arch":"[^"]*"/"arch":"one"/' \
		-e 's/"thp_bytes":[0-9]*/"thp_bytes":2097152/' "$work/rows" | sed "$2"
}

# by_awk PROGRAM OPTION...: what lab/awk/cost-PROGRAM.awk makes of the figures on stdin
by_awk()
{
	program=$1
	shift
	# shellcheck disable=SC2086 # a command with its options
	$awk "$@" -f lab/awk/cost-read.awk -f "lab/awk/cost-$program.awk"
}

# gives NAME PROGRAM OPTION...: on the figures in $work/both it gives what is in $work/wanted
gives()
{
	name=$1
	shift
	by_awk "$@" < "$work/both" | sed 's/  */ /g' | diff "$work/wanted" - |
		none "$name, by $awk" "< is right"
}

# judges NAME STATUS PROGRAM OPTION...: it ends with STATUS
judges()
{
	name=$1
	want=$2
	shift 2
	by_awk "$@" < "$work/both" > "$log"
	status=$?
	try "$name, by $awk" test $status -eq "$want"
}

for awk in awk mawk gawk 'busybox awk'; do
	have "${awk%% *}" || continue
	{
		figures a ''
		figures b 's/"ns":[0-9.]*/"ns":1500.0/; s/"bytes":[0-9.]*/"bytes":0.0/
			/munmap/s/"rounds":.*/"rounds":0,"skipped":"needs more"}/'
		figures c 's/"arch":"one"/"arch":"two"/; s/"noisy":false/"noisy":true/'
	} > "$work/both"
	cat > "$work/wanted" <<-'END'
		instructions per THP, one THPs procs a B b B ratio
		fault_anon 1 1 2000 +4096 1500 +0 0.75
		munmap_mid_anon 4 1 2000 +4096 - - -

		instructions per THP, two THPs procs c B
		fault_anon 1 1 ~2000 +4096
		munmap_mid_anon 4 1 ~2000 +4096
		not measured on b: needs more: munmap_mid_anon
	END
	gives "kernels side by side" table
	printf '"row"\t"b"\n"fault_anon 1"\t0.75\n' > "$work/wanted"
	gives "... their ratios" plot -v form=ratios
	printf '"fault_anon 1"\t2000\t1500\t2000\n' > "$work/wanted"
	gives "... bars" plot -v form=bars
	{
		figures a 's/fault_anon/tables_anon/; s/"thps":1,/"thps":512,/; s/munmap_mid/fault/'
		figures b 's/fault_anon/tables_forks_zero/; s/"procs":1,/"procs":3,/'
	} > "$work/both"
	printf '"a, anon"\n1\t2\n\n\n' > "$work/wanted"
	gives "... page tables of a size" plot -v form=tables
	printf '"b, zero"\n2\t4\n\n\n' > "$work/wanted"
	gives "... page tables of children" plot -v form=forks

	{ figures a ''; figures a ''; figures a 's/"ns":2000/"ns":2019/'; } > "$work/both"
	judges "runs that agree" 0 spread -v most=0.01
	{ figures a ''; figures a ''; figures a '/fault/s/"ns":2000/"ns":2021/'; } > "$work/both"
	judges "a run that differs" 1 spread -v most=0.01
	{ figures a ''; figures a '/fault/d'; } > "$work/both"
	judges "a run without a figure" 1 spread -v most=0.01
	{ echo '@ a'; echo '@ a'; } > "$work/both"
	judges "runs without figures" 1 spread -v most=0.01

	more='s/"ns":2000/"ns":2050/; s/"ns_min":1900/"ns_min":1950/'
	known='known -v name=mutant -v relative=0.02 -v absolute=30'
	{ figures none ''; figures mutant "/fault/{$more}"; } > "$work/both"
	# shellcheck disable=SC2086 # a program and its options
	{
		judges "a mutant of faults" 0 $known -v wanted='fork_* fault_*'
		judges "... is none of forks" 1 $known -v wanted='fork_*'
		judges "... is none of splits" 1 $known -v wanted=splits
		judges "... is no other's as well" 1 $known -v wanted='*'
		judges "... in instructions" 1 $known -v wanted='fault_*' -v absolute=60
	}
	{ figures none ''; figures mutant "/munmap/{$more}"; } > "$work/both"
	# shellcheck disable=SC2086
	{
		judges "a mutant of splits" 0 $known -v wanted=splits
		judges "... is none of faults" 1 $known -v wanted='fault_*'
	}
	{ figures none ''; figures mutant "$more"; } > "$work/both"
	# shellcheck disable=SC2086
	{
		judges "another row is dearer, too" 1 $known -v wanted='fault_*'
		judges "... by a small fraction" 0 $known -v wanted='fault_*' -v relative=0.03
	}
	{ figures none ''; figures none-2 "$more"; figures mutant "$more"; } > "$work/both"
	# shellcheck disable=SC2086
	judges "... than on one of two kernels without the mutant" 1 $known -v wanted='fault_*'
	{ figures none ''; figures none-2 "/munmap/{$more}"; figures mutant "$more"; } > "$work/both"
	# shellcheck disable=SC2086
	judges "a row that another command line makes dearer" 0 $known -v wanted='fault_*'
	few='s/"ns_spread":[0-9.]*/"ns_spread":0.03/'
	other='h; s/fault_anon/zap_anon/p; g'
	both='fault_* munmap_*'
	{
		figures none "/fault/{$other}"
		figures mutant "/fault/{$other; $more}; /munmap/$few"
	} > "$work/both"
	# shellcheck disable=SC2086
	judges "a row that scatters more than the work" 0 $known -v wanted="$both"
	{
		figures none "/fault/{$other}"
		figures mutant "/fault/{$other; $more}; /munmap/s/0.0010/0.0200/"
	} > "$work/both"
	# shellcheck disable=SC2086
	judges "... that scatters less" 1 $known -v wanted="$both"
	{ figures none ''; figures mutant "$few"; } > "$work/both"
	# shellcheck disable=SC2086
	judges "... and no row tells" 1 $known -v wanted='*'
	{ figures none ''; figures mutant ''; } > "$work/both"
	# shellcheck disable=SC2086
	judges "a mutant that costs nothing" 1 $known -v wanted='fault_*'
	{ figures none ''; figures mutant '/fault/s/"ns":2000/"ns":2050/'; } > "$work/both"
	# shellcheck disable=SC2086
	judges "a mutant that only interrupts tell of" 1 $known -v wanted='fault_*'
	{ figures none ''; figures mutant "/fault/{$more; s/\"noisy\":false/\"noisy\":true/}"; } > "$work/both"
	# shellcheck disable=SC2086
	judges "a mutant whose rows are too noisy" 1 $known -v wanted='fault_*'
	{ figures none ''; figures mutant "/munmap/d; $more"; } > "$work/both"
	# shellcheck disable=SC2086
	judges "a mutant without a figure" 1 $known -v wanted='fault_*'

	echo 'fault_* | **Faults.**' > "$work/reasons"
	# explains NAME CHANGE SAME NOISY LINE...: what b, changed so, costs more than a
	explains()
	{
		{ figures a ''; figures b "$2"; } > "$work/both"
		name=$1
		printf '\nOf %d rows 0 cost less on b than on a, %d the same, %s (%d %s):\n' \
			$((2 - $4)) "$3" 'and these more' "$4" 'others are too noisy to tell' \
			> "$work/wanted"
		shift 4
		[ $# -eq 0 ] || printf '\n%s\n %s\n' "$@" >> "$work/wanted"
		gives "$name" dearer -v reasons="$work/reasons" -v relative=0.02 -v absolute=0
	}
	explains "what costs more, and why" "/fault/{$more}" 1 0 \
		"* **Faults.** 1 rows, by 50 to 50 instructions:" "\`fault_anon 1\` 1.02."
	explains "... and nobody knows why" "/munmap/{$more}" 1 0 \
		"* **Not explained:** 1 rows, by 50 to 50 instructions:" "\`munmap_mid_anon 4\` 1.02."
	explains "... and only interrupts tell so" '/fault/s/"ns":2000/"ns":2050/' 2 0
	explains "... by less than it scatters" \
		"/fault/{$more; s/\"ns_spread\":[0-9.]*/\"ns_spread\":0.03/}" 2 0
	explains "... and is too noisy" "/fault/{$more; s/\"noisy\":false/\"noisy\":true/}" 1 1
done

# A signal ends it like a run of the tests.
OUTPUT=$OUTPUT ./run_tests.sh -b > "$log" 2>&1 &
pid=$!
sleep 2
kill -TERM $pid
wait $pid
status=$?
try "a signal ends it" test $status -eq 143
