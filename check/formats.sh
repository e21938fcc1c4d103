#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# The formats of run_tests.sh -o: programs of others that read them count what we count.
# check/results/ has recorded output, with failures, skips, and a kernel that crashed;
# more is made here: a guest that ended in the middle, programs that skip or lie.

. check/lib.sh

convert=report/convert.sh
# Node of another source does not look where Debian's modules are.
NODE_PATH=${NODE_PATH:+$NODE_PATH:}/usr/share/nodejs
export NODE_PATH

mkdir "$work/in"
cp check/results/*.ktap "$work/in"
head -n 40 check/results/crash.ktap > "$work/in/ends-early.ktap"
cat > "$work/in/programs.ktap" <<'END'
TAP version 13
1..4
# kernel: fake
# TAP version 13
# 1..2
# ok 1 a
# ok 2 b # SKIP needs swap
ok 1 thp_lazy_split
# TAP version 13
# 1..0 # SKIP needs 2 NUMA nodes
ok 2 thp_split_enomem # SKIP needs 2 NUMA nodes
# TAP version 13
# 1..2
# ok 1 a & <b> "c"
# not ok 2 d # 1 < 2 & "3"
not ok 3 thp_fork_copy # exit=1
not ok 4 thp_mremap # killed by SIGSEGV
# Skipped, and why:
#   1 x needs swap
# Tests: pass:2 fail:1 skip:1
END
cat > "$work/in/lies.ktap" <<'END'
TAP version 13
1..1
# kernel: fake
# TAP version 13
# 1..1
# ok 1 a
not ok 1 thp_fork_copy # left a process running
# Tests: pass:1 fail:0 skip:0
END

# ours FIELD: the number of that name in our JSON
ours()
{
	"$python" -c 'import json, sys; print(json.load(open(sys.argv[1]))["misc"][sys.argv[2]])' \
		"$work/json" "$1"
}

# Tests only, as flat TAP on stdin has them, and as "pass fail skip"
tests_of()
{
	awk '/^not ok /	{ fail++; next }
		/^ok .*# SKIP/	{ skip++; next }
		/^ok /		{ pass++ }
		END		{ print pass + 0, fail + 0, skip + 0 }'
}

# agree NAME "OURS" "THEIRS"
agree()
{
	if [ "$2" = "$3" ]; then
		pass "$1"
	else
		fail "$1" "it counts $3, we count $2"
	fi
}

# find_kunit INPUT: kunit.py before Linux 7 does not count a program that fails although its
# tests pass, and has no counts in its JSON.
find_kunit()
{
	for kunit in "$KSRC" "$CACHE/linux" "$CACHE"/lab/source/*/tree; do
		kunit=$kunit/tools/testing/kunit/kunit.py
		[ -e "$kunit" ] || continue
		[ "$1" != lies ] || grep -q '"misc"' "${kunit%.py}_json.py" || continue
		return 0
	done
	return 1
}

# From a directory of its own: kunit.py changes into a kernel tree. Its last line but one is
# "Testing complete. Ran N tests: passed: N, failed: N, ...", without those that are 0; not
# every version has the counts in its JSON.
check_kunit()
{
	(cd "$work" && python3 -B "$kunit" parse "$work/ktap") > "$log" 2>&1
	theirs=$(sed -n 's/.*Testing complete\. Ran [0-9]* tests: //p' "$log" | tr -d ',:' | awk '{
		for (i = 1; i < NF; i += 2)
			n[$i] = $(i + 1)
		print n["passed"] + 0, n["failed"] + 0, n["crashed"] + 0, n["skipped"] + 0
	}')
	agree "$1: kunit.py parse" \
		"$(ours passed) $(ours failed) $(ours crashed) $(ours skipped)" "$theirs"
}

# tap-parser names the tests of a program "PROGRAM > TEST".
check_tap_parser()
{
	tap-parser -f -t < "$work/ktap" > "$log" 2>&1
	agree "$1: tap-parser" "$tests" "$(grep ' > ' "$log" | tests_of)"
}

# tap.parser knows no subtests: it gets the programs' lines alone.
check_tappy()
{
	sed -n 's/^    //p' "$work/ktap" > "$work/flat"
	agree "$1: tap.parser" "$tests" "$("$tappy" -c 'import sys
from tap.parser import Parser
results = [x for x in Parser().parse_file(sys.argv[1]) if x.category == "test"]
skip = sum(bool(x.skip) for x in results)
good = sum(x.ok and not x.skip for x in results)
print(good, len(results) - good - skip, skip)' "$work/flat")"
}

# In JUnit XML each failure and each SKIP has its reason, as the runner prints it.
check_junit()
{
	"$junit" - "$work/junit" > "$work/reasons" 2>"$log" <<'END'
import sys
import xml.etree.ElementTree as tree

root = tree.parse(sys.argv[1]).getroot()
cases = list(root.iter("testcase"))
print(len(cases), *(len(list(root.iter(x))) for x in ("failure", "error", "skipped")))
for case in cases:
    for kind in ("failure", "skipped"):
        for found in case.findall(kind):
            print(case.get("name"), found.get("message"))
END
	agree "$1: JUnit XML" \
		"$(ours tests) $(ours failed) $(ours crashed) $(ours skipped)" \
		"$(head -n 1 "$work/reasons")"
	sed -n -e 's/^# not ok [0-9]* \([^ ]*\) #  *\(.*\)/\1 \2/p' \
		-e 's/^# ok [0-9]* \([^ ]*\) # SKIP \(.*\)/\1 \2/p' "$2" | sort > "$work/printed"
	sort "$work/reasons" | comm -23 "$work/printed" - |
		none "$1: JUnit XML has the reasons" "it lacks these"
}

for file in "$work"/in/*.ktap; do
	input=$(basename "$file" .ktap)
	try "$input: tap" sh -c "$convert tap $file | cmp - $file"
	if ! $convert ktap "$file" > "$work/ktap" 2> "$log"; then
		fail "$input: ktap" "$(cat "$log")"
		continue
	fi
	tests=$(sed -n 's/^# Tests: pass:\([0-9]*\) fail:\([0-9]*\) skip:\([0-9]*\)/\1 \2 \3/p' "$file")
	tests=${tests:-$(sed -n 's/^# //p' "$file" | tests_of)}
	if python_with json && $convert json "$file" > "$work/json" 2> "$log"; then
		agree "$input: json has no other tests" "$tests" \
			"$("$python" -c 'import json, sys
cases = [x for g in json.load(open(sys.argv[1]))["sub_groups"] for x in g["test_cases"]]
print(*(sum(x["status"] == s and not x["name"].startswith("thp_") for x in cases)
        for s in ("PASS", "FAIL", "SKIP")))' "$work/json")"
	else
		skip "$input: json" "needs python3"
		continue
	fi
	if find_kunit "$input"; then
		check_kunit "$input"
	else
		skip "$input: kunit.py parse" "needs tools/testing/kunit, for lies of Linux 7"
	fi
	if have tap-parser; then
		check_tap_parser "$input"
	else
		skip "$input: tap-parser" "needs node-tap-parser"
	fi
	if python_with tap.parser; then
		tappy=$python
		check_tappy "$input"
	else
		skip "$input: tap.parser" "needs python3-tap"
	fi
	if python_with junit_xml; then
		junit=$python
		python_with json
		try "$input: junit" sh -c "$convert junit $file > $work/junit"
		check_junit "$input" "$file"
	else
		skip "$input: JUnit XML" "needs python3-junit.xml"
	fi
done

# What the runner writes: the programs are scripts.
fake=$work/programs
fake_programs "$fake" <<'END'
#!/bin/sh
[ "$1" != -L ] || { echo "a	zap"; exit; }
case "$*" in
*-i*)	echo "# kernel: fake"; exit;;
esac
printf 'TAP version 13\n1..2\nok 1 a\nnot ok 2 b # 3 tables, not 4\n'
exit 1
END
cp -R run_tests.sh report settings "$fake"

for shell in dash 'busybox sh' bash; do
	have "${shell%% *}" || { skip "$shell" "needs ${shell%% *}"; continue; }
	rm -f "$work"/run.*
	# shellcheck disable=SC2086 # "busybox sh" is two words
	(unset OUTPUT; $shell "$fake/run_tests.sh" -o "tap:$work/run.tap" \
		-o "ktap:$work/run.ktap" -o "json:$work/run.json") > "$work/out" 2> "$log"
	status=$?
	try "$shell: exit code of a run that failed" test $status -eq 1
	try "$shell: -o tap" cmp "$work/out" "$work/run.tap"
	try "$shell: -o ktap" grep -qx '    not ok 2 b # 3 tables, not 4' "$work/run.ktap"
	if python_with json; then
		cp "$work/run.json" "$work/json" 2>/dev/null
		agree "$shell: -o json" "5 5" "$(ours passed) $(ours failed)"
	fi
	# shellcheck disable=SC2086
	(unset OUTPUT; $shell "$fake/run_tests.sh") > "$work/plain" 2>&1
	sed -i 's/, in [0-9]* s$//' "$work/out" "$work/plain"
	try "$shell: stdout is the same without -o" cmp "$work/out" "$work/plain"
	for option in ktap json: yaml:x ktap:/nonexistent/x 'ktap:a b' "ktap:$work/b -b"; do
		measure=${option#* }
		[ "$measure" = -b ] || measure=
		# shellcheck disable=SC2086
		(unset OUTPUT; $shell "$fake/run_tests.sh" -o "${option% -b}" $measure) \
			> "$log" 2>&1
		status=$?
		if [ $status -eq 2 ] && [ "$(wc -l < "$log")" -eq 1 ]; then
			pass "$shell: refuses -o $option"
		else
			fail "$shell: refuses -o $option" "exit=$status, not 2 and one line"
		fi
	done
done
