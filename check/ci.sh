#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# docs/ci.md: each job description is what its reader takes. And export.sh: what it writes
# is a directory of a kernel tree that builds, and patches that checkpatch likes.

. check/lib.sh

doc=docs/ci.md

# blocks LANGUAGE: the blocks of that language, as $work/LANGUAGE.1 and so on
blocks()
{
	awk -v language="$1" -v base="$work/$1" '
		$0 == "```" { on = 0 }
		on { print > (base "." n) }
		$0 == "```" language { on = 1; n++ }' $doc
}
blocks yaml
blocks python

# The anchors are in the files of which these are parts.
cat > "$work/anchors" <<'END'
anchors:
  - &kselftest-job { template: generic.jinja2, kind: job }
  - &kselftest-params { test_method: kselftest }
  - &kbuild-gcc-14-x86-node-event { name: x }
  - &kbuild-gcc-14-arm64-node-event { name: x }
  - &lava-collabora-runtime { type: lava }
  - &collabora-x86-platforms [ x ]
  - &collabora-arm64-platforms [ x ]
END

if python_with yaml; then
	for file in "$work"/yaml.*; do
		name=$(sed -n 's/^# file: //p' "$file")
		cat "$work/anchors" "$file" > "$work/$name"
		try "$name is YAML" "$python" -c 'import sys, yaml
yaml.safe_load(open(sys.argv[1]))' "$work/$name"
	done
	try "KernelCI: a job with what the pipeline asks for, and scheduled" "$python" -c '
import sys, yaml
jobs = yaml.safe_load(open(sys.argv[1]))["jobs"]
for name, job in jobs.items():
    for key in ("template", "kind", "kcidb_test_suite", "params"):
        assert key in job, f"{name}: no {key}"
for entry in yaml.safe_load(open(sys.argv[2]))["scheduler"]:
    assert entry["job"] in jobs, entry["job"]
    assert entry["event"] and entry["runtime"] and entry["platforms"]
' "$work/jobs.yaml" "$work/scheduler.yaml"
else
	skip "YAML" "needs python3-yaml"
fi

if python_with lava_common.schemas; then
	try "LAVA: its schema takes the job" "$python" -c 'import sys, yaml
from lava_common.schemas import validate
validate(yaml.safe_load(open(sys.argv[1])), strict=True)' "$work"/yaml.3
else
	skip "LAVA: its schema takes the job" "needs lava-common"
fi
# What the job does with the output, with output that was recorded
sed -n '/- >-$/,$p' "$work/yaml.3" | sed 1d |
	sed 's|/tmp/thp_lazy_pte.tap|check/results/mixed.ktap|; s/lava-test-case/echo/' > "$work/step"
try "LAVA: its results" sh "$work/step"
try "LAVA: ... all of them" test "$(grep -c -- '--result pass$' "$log")" -eq 37

if have python3; then
	printf 'class KSelfTest:\n    pass\n\n\n' | cat - "$work/python.1" > "$work/lkft.py"
	cat >> "$work/lkft.py" <<'END'

test = KSelftestThpLazyPte
assert test.name == "kselftest-" + test.cmdfile and 0 < test.timeout < 120
END
	try "LKFT: a class" python3 "$work/lkft.py"
else
	skip "LKFT: a class" "needs python3"
fi

tree=$work/tree
export KSRC
try "export" ./export.sh export "$tree"
find check lab deps.sh README.md -maxdepth 0 | while read -r path; do
	[ ! -e "$tree/tools/testing/selftests/thp_lazy_pte/$path" ] || echo "$path"
done | none "export leaves out what tests this repository" "these are there"
script=$KSRC/scripts/checkpatch.pl
[ -e "$script" ] || script=$CACHE/linux/scripts/checkpatch.pl
if have perl && [ -e "$script" ]; then
	for patch in "$tree"/*.patch; do
		try "${patch##*/}" perl "$script" --strict --no-tree "$patch"
	done
else
	skip "patches" "needs perl and scripts/checkpatch.pl"
fi
try "the patch for TARGETS applies" sh -c "cp -rL '$KSRC'/tools/testing/selftests/Makefile \
	$tree/tools/testing/selftests && cd $tree && cat 0001-*.patch | patch -p1 &&
	grep -B1 -A1 thp_lazy_pte tools/testing/selftests/Makefile"

for goal in export gen_tar; do
	make $goal DIR= KSRC=/nonexistent > "$log" 2>&1
	status=$?
	try "make $goal without what it needs" test $status -ne 0
done

if have rsync; then
	try "gen_tar" make KSRC="$KSRC" KSFT_INSTALL_PATH="$work/installed" gen_tar
	# shellcheck disable=SC2086 # a list
	try "gen_tar: an archive with the runner and all programs" sh -c "
		tar -tf $work/installed/kselftest-packages/kselftest.tar.gz > $work/ls &&
		for file in run_kselftest.sh kselftest-list.txt kselftest/runner.sh \
			thp_lazy_pte/run_tests.sh $(printf 'thp_lazy_pte/%s ' $programs); do
			grep -qx ./\$file $work/ls || { echo no \$file; exit 1; }
		done"
	try "gen_tar: kselftest-list.txt" test "$(wc -l < "$work/installed/kselftest-list.txt")" = \
		"$(echo "$programs" | wc -w)"
	try "run_kselftest.sh" "$work/installed/run_kselftest.sh" -c thp_lazy_pte --dry-run
else
	skip "gen_tar" "needs rsync"
fi

# A run that is late skips the rest; one that did nothing else is no success.
CHECK_UNTIL=1 check/run.sh docs rooms > "$work/late" 2>&1
status=$?
try "a run that is late" test "$status $(grep -c '^skip ' "$work/late")" = '1 2'
