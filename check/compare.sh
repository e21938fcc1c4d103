#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# lab compare tells what is worse from what is only different, keeps quiet about what
# differs from run to run, and holds two runs to an expectation. The runs are made up.

. check/lib.sh

lab=lab/lab

# make_run FOLDER BYTES: a run of two programs; the KTAP lines of the first are on stdin.
make_run()
{
	mkdir -p "$1"
	{
		echo "TAP version 13"
		sed 's/^/# /'
		echo "ok 1 thp_lazy_split"
		printf '# ok 1 kernel.mode\nok 2 thp_split_enomem\n'
	} > "$1/ktap"
	cat > "$1/summary" <<-EOF
	status 0
	time 10
	release 7.3
	mode eager
	program thp_lazy_split 1/0/0
	bytes $2
	EOF
	printf '%s\t%s\t%s\t%s\t%s\n' split.munmap_mid_anon.targeted targeted \
		"${3:-needs none}" "${4:-0}" "${5:-0}, thp_split_pmd_failed +${4:-0}" \
		> "$1/refusals"
}

# compares NAME STATUS "LINES" ARGUMENT...: the exit code, and these lines in the output
compares()
{
	name=$1 code=$2 wanted=$3
	shift 3
	"$lab" compare "$@" > "$log" 2>&1 </dev/null
	status=$?
	if [ $status -ne "$code" ]; then
		fail "$name" "exit=$status, not $code"
		return
	fi
	printf '%s\n' "$wanted" | while read -r line; do
		grep -qF -e "$line" "$log" || echo "$line"
	done > "$work/lacks"
	if [ -s "$work/lacks" ]; then
		fail "$name" "no line with: $(head -n 1 "$work/lacks")"
	else
		pass "$name"
	fi
}

make_run "$work/a" 4096 <<EOF
ok 1 kernel.mode
ok 2 split.a_mid_anon.counts
not ok 3 split.b_mid_anon.counts # b.c:1: lost
ok 4 split.c_mid_anon.counts # SKIP needs swap
EOF
make_run "$work/worse" 4096 <<EOF
ok 1 kernel.mode
not ok 2 split.a_mid_anon.counts # a.c:7: +1 tables
not ok 3 split.b_mid_anon.counts # b.c:2: lost otherwise
ok 4 split.c_mid_anon.counts # SKIP needs swap
EOF
make_run "$work/gone" 4096 <<EOF
ok 1 kernel.mode
not ok 3 split.b_mid_anon.counts # b.c:1: lost
EOF
make_run "$work/other" 0 "needs a table" 1 ENOMEM <<EOF
ok 1 kernel.mode
ok 2 split.a_mid_anon.counts # SKIP needs NUMA
ok 3 split.b_mid_anon.counts
ok 4 split.c_mid_anon.counts
ok 5 split.d_mid_anon.counts
EOF
make_run "$work/table" 0 "needs a table" 7 ENOMEM < /dev/null
make_run "$work/noise" 0 "needs a table" 12 ENOMEM < /dev/null
make_run "$work/eagain" 0 "needs a table" 7 EAGAIN < /dev/null
make_run "$work/two/eager-x86_64" 4096 < /dev/null
make_run "$work/two/lazy-x86_64" 0 "needs a table" 1 ENOMEM < /dev/null

compares "nothing" 0 "No difference" "$work/a" "$work/a"
compares "a test fails" 1 "thp_lazy_split:split.a_mid_anon.counts: a.c:7: +1 tables  [worse]
Differences: 1, for the worse: 1" "$work/a" "$work/worse"
compares "... and fails no more" 0 "Ceased to fail:
Differences: 1, for the worse: 0" "$work/worse" "$work/a"
compares "a test is gone" 1 "thp_lazy_split:split.a_mid_anon.counts: it ran  [worse]
thp_lazy_split:split.c_mid_anon.counts: it skipped
Differences: 2, for the worse: 1" "$work/a" "$work/gone"
compares "... and is there again" 0 "New:" "$work/gone" "$work/a"
compares "other differences" 0 "Ceased to fail:
Began to skip:
thp_lazy_split:split.a_mid_anon.counts: needs NUMA
Ceased to skip:
thp_lazy_split:split.c_mid_anon.counts: needs swap
New:
B/THP: 4096 -> 0
needs none, not refused: 0, thp_split_pmd_failed +0 -> needs a table, refused: ENOMEM, thp_split_pmd_failed +N
Differences: 6, for the worse: 0" "$work/a" "$work/other"
compares "how often" 0 "No difference" "$work/table" "$work/noise"
compares "another outcome" 0 \
	"refused: ENOMEM, thp_split_pmd_failed +N -> needs a table, refused: EAGAIN" \
	"$work/table" "$work/eagain"

compares "an expectation" 0 "Differences: 2, expected: 2, expected and missing: 0" \
	--expect eager-lazy "$work/two/eager-x86_64" "$work/two/lazy-x86_64"
compares "... the other MMU" 0 "Differences: 2, expected: 2," \
	--expect hash-radix "$work/two/eager-x86_64" "$work/two/lazy-x86_64"
compares "... and something else" 1 "thp_lazy_split:split.a_mid_anon.counts: needs NUMA" \
	--expect eager-lazy "$work/a" "$work/other"
compares "... and not all of it" 1 "Expected, but not so: cost B/THP" \
	--expect eager-lazy "$work/table" "$work/eagain"
echo 'may cost B/THP: .*' > "$work/file"
compares "a file" 1 "Differences: 2, expected: 1," \
	--expect "$work/file" "$work/two/eager-x86_64" "$work/two/lazy-x86_64"
echo 'may cost B/THP: 4096 -> 1' > "$work/file"
compares "a file with another difference" 1 "Differences: 2, expected: 0," \
	--expect "$work/file" "$work/two/eager-x86_64" "$work/two/lazy-x86_64"
echo 'may be worse' > "$work/file"
compares "a file that says nothing" 2 "file:1: neither must nor may KIND PATTERN" \
	--expect "$work/file" "$work/a" "$work/a"

XDG_CACHE_HOME=$work/cache
export XDG_CACHE_HOME
runs=$XDG_CACHE_HOME/thp_lazy_pte/lab/runs
mkdir -p "$runs/20260101-000000-1" "$runs/20260102-000000-1" "$runs/20260103-000000-1/v7"
cp -R "$work/a" "$runs/20260101-000000-1/v7"
cp -R "$work/worse" "$runs/20260102-000000-1/v7"
compares "the newest run of a kernel" 0 "a: $runs/20260102-000000-1/v7: " v7 "$work/a"
compares "the only run of a folder" 1 "b: $runs/20260102-000000-1/v7: " \
	"$work/a" "$runs/20260102-000000-1"
compares "one of two" 2 "$work/two has 2 runs: name one" "$work/two" "$work/a"
compares "no such kernel" 2 "v8: no run that is recorded" v8 "$work/a"
compares "no such folder" 2 "x/y: no such folder" x/y "$work/a"
compares "one run" 2 "compare takes two runs" "$work/a"
compares "an unknown option" 2 "unknown option --fast" --fast "$work/a" "$work/a"
compares "no such expectation" 2 "lazy-eager: no such file" --expect lazy-eager "$work/a" "$work/a"

for awk in mawk gawk 'busybox awk'; do
	have "${awk%% *}" || continue
	mkdir -p "$work/bin"
	stand_in "$work/bin/awk" "$awk"
	path=$PATH
	PATH=$work/bin:$PATH
	compares "by $awk" 0 "Differences: 2, expected: 2," \
		--expect eager-lazy "$work/two/eager-x86_64" "$work/two/lazy-x86_64"
	compares "... a test fails" 1 "Differences: 1, for the worse: 1" "$work/a" "$work/worse"
	PATH=$path
done
