#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# Checks this repository: runs the steps named as arguments, or all of them,
# and closes with a line "N passed, N failed, N skipped". "make check" calls it
# with OUTPUT, KSRC and CACHE set, after building the programs. CHECK_UNTIL, seconds
# since 1970, is the time from which on it begins no step: it skips them.

# shellcheck disable=SC2086 # lists

# Quick ones first; the ones that load the machine or wait come last.
all_steps='
	shellcheck
	checkpatch
	docs
	rooms
	closure
	ids
	runner
	findings
	formats
	terminal
	man
	compare
	report
	exits
	harness
	deps
	builds
	intree
	ci
	selftest
	bench
	reasons
	machines
	cli
	native
	noop
	broken
	modes
	restore
	remote
	trees
	lab
	mutants
'

case $1 in
-h | --help)
	echo "usage: make check [STEPS='STEP...']"
	echo Steps: $all_steps
	exit 0;;
esac

for step in "$@"; do
	printf '%s\n' $all_steps | grep -qxF -e "$step" && continue
	echo "check: no step '$step'; there are:" $all_steps >&2
	exit 2
done
[ $# -gt 0 ] || set -- $all_steps

if [ -z "$OUTPUT" ]; then
	echo "check: no OUTPUT: run this by make check" >&2
	exit 2
fi

SCRATCH=$(mktemp -d "${TMPDIR:-/tmp}/thp_check.XXXXXX") || exit 2
export OUTPUT KSRC CACHE SCRATCH
# Programs of other users need access.
chmod 755 "$SCRATCH"
trap 'rm -rf "$SCRATCH"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP
# The makes of the steps are not part of the make that called this.
unset MAKEFLAGS MFLAGS MAKELEVEL MAKEOVERRIDES GNUMAKEFLAGS

results=$SCRATCH/results
: > "$results"

tree_state()
{
	git status --porcelain 2>/dev/null
}

say()
{
	echo "$*" | tee -a "$results"
}

tree_state > "$SCRATCH/tree"
sh check/snapshot.sh > "$SCRATCH/settings"

for step in "$@"; do
	began=$(date +%s)
	if [ "$began" -ge "${CHECK_UNTIL:-$((began + 1))}" ]; then
		say "skip $step: no time is left for it"
		continue
	fi
	# A pipe keeps only tee's status.
	{ "check/$step.sh"; echo $? > "$SCRATCH/status"; } 2>&1 |
		tee -a "$results"
	read -r status < "$SCRATCH/status"
	[ "$status" = 0 ] || say "not ok $step: the step itself: exit=$status"
	sh check/snapshot.sh > "$SCRATCH/settings.now"
	if ! cmp -s "$SCRATCH/settings" "$SCRATCH/settings.now"; then
		say "not ok $step: leaves the machine as it was: see below"
		diff "$SCRATCH/settings" "$SCRATCH/settings.now" | grep '^[<>]' |
			head -n 20 | sed 's/^/#   /'
		# Blame each step only for its own changes.
		cp "$SCRATCH/settings.now" "$SCRATCH/settings"
	else
		say "ok $step: leaves the machine as it was"
	fi
	echo "# $step took $(($(date +%s) - began)) s"
done

tree_state > "$SCRATCH/tree.now"
if cmp -s "$SCRATCH/tree" "$SCRATCH/tree.now"; then
	say "ok git sees nothing new after all this"
else
	say "not ok git sees nothing new after all this:" \
		"$(diff "$SCRATCH/tree" "$SCRATCH/tree.now" | tail -n 1)"
fi

awk '
	# That no step left anything is no result of its own.
	/^ok / && !/^ok git sees/	{ passed++ }
	/^not ok /	{ failed++; bad[failed] = $0 }
	/^skip /	{ skipped++ }
	/^# also: /	{ passed += $3; failed += $4; skipped += $5 }
	END {
		for (i = 1; i in bad; i++)
			print "# " bad[i]
		printf "%d passed, %d failed, %d skipped\n", passed, failed, skipped
		exit failed > 0 || passed == 0
	}' "$results"
