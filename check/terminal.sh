#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# What the runner and the lab show on a terminal, which script(1) makes, and that they
# show it nowhere else. The programs of the runner are scripts.

. check/lib.sh

if ! have script; then
	skip "on a terminal" "needs script (bsdutils)"
	exit
fi

fake=$work/programs
mkdir "$work/tmp"
fake_programs "$fake" <<'END'
#!/bin/sh
[ "$1" != -L ] || { echo "a	zap"; exit; }
case "$*" in
*-i*)	echo "# kernel: fake"; exit;;
esac
printf 'TAP version 13\n1..3\nok 1 a\nok 2 b # SKIP needs swap\n'
echo '#  RUN           c ...'
[ "${0##*/}" != thp_mremap ] || sleep "${NAP:-2}"
[ "${0##*/}" != thp_mremap ] || { echo "not ok 3 c # a cause"; exit 1; }
echo "ok 3 c"
END
cp -R run_tests.sh report settings "$fake"
unset OUTPUT NO_COLOR CI
TMPDIR=$work/tmp
XDG_CACHE_HOME=$work/cache
TERM=xterm
export TMPDIR XDG_CACHE_HOME TERM
escape=$(printf '\033')

# seen COMMAND: what it shows on a terminal, in $work/shown; its exit code in $status
seen()
{
	script -qec "$1" /dev/null < /dev/null > "$work/typed" 2>&1
	status=$?
	tr "\r" "\n" < "$work/typed" > "$work/shown"
}

says()
{
	cp "$work/shown" "$log"
	if grep -Eq "$2" "$log"; then
		pass "$1"
	else
		fail "$1" "no line matches $2"
	fi
}

says_not()
{
	cp "$work/shown" "$log"
	if grep -Eq "$2" "$log"; then
		fail "$1" "a line matches $2"
	else
		pass "$1"
	fi
}

for shell in dash 'busybox sh' bash; do
	have "${shell%% *}" || { skip "$shell" "needs ${shell%% *}"; continue; }
	rm -rf "$work/cache"
	seen "$shell $fake/run_tests.sh"
	try "$shell: exit code" test $status -eq 1
	says "$shell: progress" '^thp_mremap \(4 of 5\): 2 of 3 tests, 0 failed, 0:0[0-9], c +$'
	says_not "$shell: no estimate without a run before" 'to go'
	says_not "$shell: no KTAP" '^(# )?# ok '
	says "$shell: the verdict" 'Verdict: FAILED, in [0-9]+ s'
	says "$shell: the failure" 'c.*a cause'
	says "$shell: colours" "$escape.31mnot ok 4 thp_mremap # exit=1$escape"
	whole=$(sed -n 's/^All of the output: //p' "$work/shown")
	if [ -r "$whole" ]; then
		cp "$whole" "$work/whole"
		NAP=0 $shell "$fake/run_tests.sh" > "$work/plain" 2>&1
		sed -i 's/, in [0-9]* s$//' "$work/whole" "$work/plain"
		try "$shell: the file has what a pipe gets" cmp "$work/whole" "$work/plain"
	else
		fail "$shell: the file has what a pipe gets" "no file is named"
	fi
	try "$shell: times are kept" grep -q '^thp_lazy_split 3 [0-9]*$' \
		"$work/cache/thp_lazy_pte/last-run"

	seen "NO_COLOR=1 $shell $fake/run_tests.sh -t thp_lazy_split"
	says_not "$shell: NO_COLOR" "$escape"
	printf 'thp_mremap 3 6\nthp_migrate 3 60\n' > "$work/cache/thp_lazy_pte/last-run"
	seen "$shell $fake/run_tests.sh -t thp_mremap -t thp_migrate"
	says "$shell: an estimate from the last run" ', about 1:02 to go'
	printf 'thp_mremap 3 0\n' > "$work/cache/thp_lazy_pte/last-run"
	seen "$shell $fake/run_tests.sh -t thp_mremap"
	says_not "$shell: no estimate that is over" 'to go'

	seen "NAP=0 $shell $fake/run_tests.sh -v -t thp_mremap"
	says "$shell: -v" "^$escape.31m# not ok 3 c # a cause$escape"
	seen "NAP=0 NO_COLOR=1 $shell $fake/run_tests.sh -v -t thp_mremap"
	grep -v 'Verdict: ' "$work/shown" | tr -s '\n' > "$work/verbose"
	NAP=0 $shell "$fake/run_tests.sh" -t thp_mremap | grep -v 'Verdict: ' > "$work/plain"
	try "$shell: -v and NO_COLOR are as a pipe" cmp "$work/verbose" "$work/plain"
	seen "NAP=0 TERM=dumb $shell $fake/run_tests.sh -t thp_mremap"
	says "$shell: TERM=dumb" '^# not ok 3 c # a cause'

	seen "NAP=9 timeout -s INT 2 $shell $fake/run_tests.sh -t thp_mremap"
	says "$shell: Ctrl-C" 'aborted by SIGINT during thp_mremap'
	says "$shell: Ctrl-C names the file" '^All of the output: '
done
# Lines longer than the terminal is wide
cat > "$work/long" <<'END'
not ok 1 thp_mremap # exit=1
# Skipped, and why:
#   12 x needs one thing, and another, and a third
# Findings: 1, from 1 failure
#   1. 1 test, move-pmd, move_huge_pmd(): a cause of many words
#      ./run_tests.sh -e lazy -t thp_mremap:move.a_long_name
END
cat > "$work/broken" <<'END'
not ok 1 thp_mremap # exit=1
Skipped, and why:
  12 x needs one thing, and another, and
       a third
Findings: 1, from 1 failure
  1. 1 test, move-pmd, move_huge_pmd():
     a cause of many words
     ./run_tests.sh -e lazy -t thp_mremap:move.a_long_name
END
awk -v columns=40 -f report/fold.awk -f report/end.awk "$work/long" > "$work/shown"
try "long lines are broken between words, but for commands" cmp "$work/shown" "$work/broken"

try "nothing is left in TMPDIR but output" test -z "$(find "$work/tmp" -name 'thp_lazy_pte.*' \
	! -name 'thp_lazy_pte.ktap.*')"

# The lines of the lab's guests: their folders are made here.
runs=$work/runs
for run in one two three four; do
	mkdir -p "$runs/$run"
	echo 1 > "$runs/$run/pid"
	: > "$runs/$run/channel.log"
	: > "$runs/$run/lab.log"
done
echo 'lab: one: building the suite for x86_64' > "$runs/one/lab.log"
echo '@lab up 7.3.4 x86_64' | cat - check/results/crash.ktap > "$runs/two/channel.log"
sed -i '/split.pageout_whole_anon.memcg/,$d' "$runs/two/channel.log"
: > "$runs/three/done"
printf 'status 1\npass 5\nfail 1\nskip 2\ntrouble timeout\n' > "$runs/three/summary"
cat > "$work/draw" <<END
LAB_PROGRAMS='$programs' LAB_AWK=lab/awk O_VERBOSE=
. lab/lib/progress.sh
lab_progress_wanted
[ "\$LAB_WATCHED" ] || echo nobody watches
lab_progress $runs/one $runs/two $runs/three $runs/four
lab_progress $runs/one
END
seen "sh $work/draw"
says_not "lab: somebody watches" 'nobody'
says "lab: a step" '^one +0:[0-9]+ building the suite for x86_64'
says "lab: a guest" '^two +0:[0-9]+ program 1 of 1: 7 of 15 tests, 1 failed, split\.page'
says "lab: a result" '^three +done: 5 passed, 1 failed, 2 skipped, trouble timeout'
says "lab: drawn over the lines before" "^$escape.4A"
sh "$work/draw" > "$work/shown" 2>&1
says "lab: nobody watches a pipe" 'nobody'

# The tables of the lab, and what it says, on a terminal of 44 columns
cat > "$work/told" <<'END'
kernel       release  mode   lazy_split  time   verdict
lazy-x86_64  7.3.4    lazy   402/2/3     512 s  FAIL
v7-x86_64    7.3.4    eager  402/0/3     99 s   pass
stock        6.1      -      -           -      ERROR
(tests passed/failed/skipped)
Findings:
  lazy-x86_64: 1, from 2 failures
    1. 2 tests, move-pmd, move_huge_pmd(): a cause of many words
       lab/lab run lazy-x86_64 -- -t thp_mremap:move.a_long_name
| mutant | place | outcome | by | s |
|---|---|---|---|---|
| stale_protect | `change_huge_pmd` | killed | thp_migrate: stale.a.never_reached | 74 |
| stale_zap | `zap_huge_pmd` | survived | - | 5 |

1 of 2 mutants killed by a test, 1 survived: 50.0 %.
END
cat > "$work/expected" <<'END'
kernel      lazy-x86_64  v7-x86_64  stock
release     7.3.4        7.3.4      6.1
mode        lazy         eager      -
lazy_split  402/2/3      402/0/3    -
time        512 s        99 s       -
verdict     FAIL         pass       ERROR
(tests passed/failed/skipped)
Findings:
  lazy-x86_64: 1, from 2 failures
    1. 2 tests, move-pmd, move_huge_pmd(): a
       cause of many words
       lab/lab run lazy-x86_64 -- -t thp_mremap:move.a_long_name
stale_protect: killed, 74 s:
  thp_migrate: stale.a.never_reached
stale_zap: survived, 5 s

1 of 2 mutants killed by a test, 1 survived:
50.0 %.
lab: one: the whole suite, thp_migrate first
lab: one: the whole suite, thp_fork_copy
first
END
cat > "$work/show" <<END
stty cols \$1
LAB_SUITE_SRC=. LAB_AWK=lab/awk LAB_WHO=one
. lab/lib/util.sh
lab_shown < $work/told
lab_say the whole suite, thp_migrate first
lab_say the whole suite, thp_fork_copy first
END
seen "sh $work/show 44"
grep . "$work/shown" > "$work/got"
grep . "$work/expected" | diff - "$work/got" | none "lab: a narrow terminal" "these differ"
seen "sh $work/show 33"
says "lab: ... a narrower one has the runs it has room for" '^kernel      lazy-x86_64$'
says "lab: ... and then the others" '^kernel      v7-x86_64  stock$'
seen "sh $work/show 120"
says "lab: a wide one" '^lazy-x86_64  7.3.4    lazy   402/2/3     512 s  FAIL'
sh "$work/show" 44 2> /dev/null > "$work/got"
try "lab: a pipe gets all as it is" cmp "$work/told" "$work/got"

# 2 s, had the machine nothing else to do; and it is not asked of a registry.
began=$(date +%s)
try "lab/lab list" lab/lab list
took=$(($(date +%s) - began))
try "lab/lab list takes $took s, 8 at most" test $took -le 8
