#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# A sample of the mutants: the suite fails on each, and passes on the kernel
# without one. There are eight kinds of bugs; MUTANTS names others.

. check/lib.sh

sample=${MUTANTS:-split_needless_alloc split_alloc_locked split_lost_exclusive
	fork_pinned_ignored mremap_skip split_current_mm guard_restart
	collapse_no_dec}

for tool in qemu-system-x86_64 cpio flex bison; do
	have $tool || { skip "mutants" "needs $tool"; exit; }
done

try "list and patches name the same mutants" lab/kernel/mutants/verify
try "list and patches of PMD swap entries name the same mutants" \
	lab/kernel/mutants/verify lab/kernel/pmdswap/mutants

# shellcheck disable=SC2086 # a list
lab/lab mutants --output "$work/campaign" $sample > "$work/out" 2> "$log" </dev/null
status=$?
cat "$work/out"
if [ $status -eq 4 ]; then
	skip "mutants" "$(tail -n 1 "$log")"
	exit
fi
for result in "$work"/campaign/1/*.result; do
	[ -e "$result" ] || { fail "campaign" "exit=$status"; break; }
	IFS="$(printf '\t')" read -r name outcome seconds by prog < "$result"
	case $name:$outcome in
	none*:survived)	pass "without a mutant ($seconds s)";;
	none*)		fail "without a mutant" "$by";;
	*:killed)	pass "$name killed by $prog ($seconds s)";;
	*)		fail "$name" "$outcome: $by";;
	esac
done
