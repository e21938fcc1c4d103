#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# run_tests.sh -b and -B: three rows, measured on this machine. Not the times, which are
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
counts = ["thps", "procs", "rounds"]

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
    assert r["rounds"] >= 5, "less than 5 rounds"
    columns(r, "ns")
    assert r["noisy"] is (r["ns_spread"] > 0.2), "noisy does not fit the spread"
    if r["instructions"] is not None:
        columns(r, "instructions")
    want = {"eager": 1, "lazy": 0}[r["mode"]]
    if r["row"].startswith("fault_"):
        assert r["tables"] == want and r["splits"] == 0, "tables of a fault"
        assert (r["bytes"] > 0) == (want > 0), "bytes of a fault"
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
	> "$work/json" 2> "$log"
status=$?
if [ $status -ne 0 ]; then
	fail "three rows are measured" "exit=$status"
else
	pass "three rows are measured"
fi
judge 7 < "$work/json" | none "each is a JSON object, with the right tables" "these are not"

# One line of each kind, for the table of kernels below
grep -E '"row":"fault_anon".*"thps":1,|"row":"munmap_mid_anon"' "$work/json" > "$work/rows"

# The judge itself: each of these changes is one that it has to see.
while IFS='|' read -r what change; do
	sed "$change" "$work/json" | judge 7 > "$log"
	if [ -s "$log" ]; then
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
too few rounds|1s/"rounds":15/"rounds":3/
no reason|1s/"rounds":15/"rounds":0/
the tables of the other contract|1s/"mode":"lazy"/"mode":"x"/; 1s/"mode":"eager"/"mode":"lazy"/; 1s/"mode":"x"/"mode":"eager"/
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

# The table of several kernels, of lab/lab cost
sed 's/"ns":[0-9.]*/"ns":200.0/; s/"bytes":[0-9.]*/"bytes":4096.0/' "$work/rows" > "$work/eager"
sed 's/"ns":[0-9.]*/"ns":150.0/; s/"bytes":[0-9.]*/"bytes":0.0/' "$work/rows" |
	sed '/munmap/s/"rounds":.*/"rounds":0,"skipped":"needs more"}/' > "$work/lazy"
{
	echo '@ a'
	cat "$work/eager"
	echo '@ b'
	cat "$work/lazy"
} > "$work/both"
cat > "$work/wanted" <<'END'
instructions per THP THPs procs a B b B ratio
fault_anon 1 1 200 +4096 150 +0 0.75
munmap_mid_anon 4 1 200 +4096 - - -
not measured on b: munmap_mid_anon: needs more
END
for awk in awk mawk gawk 'busybox awk'; do
	have "${awk%% *}" || continue
	# shellcheck disable=SC2086 # a command with its options
	$awk -v form=table -f lab/awk/cost-table.awk "$work/both" | sed 's/  */ /g; s/~//g' > "$work/table"
	diff "$work/wanted" "$work/table" | none "kernels side by side, by $awk" "< is right"
	# shellcheck disable=SC2086
	$awk -v form=ratios -f lab/awk/cost-table.awk "$work/both" > "$work/ratios"
	printf '"fault_anon 1 1"\t0.75\n"munmap_mid_anon 4 1"\tNaN\n' |
		diff - "$work/ratios" | none "... and their ratios" "< is right"
done

# A signal ends it like a run of the tests.
OUTPUT=$OUTPUT ./run_tests.sh -b > "$log" 2>&1 &
pid=$!
sleep 2
kill -TERM $pid
wait $pid
status=$?
try "a signal ends it" test $status -eq 143
