#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# findings.awk makes one entry of what is one defect, and two of what are two, by every
# awk at hand. The failures are made up, or those of real kernels with several defects
# (check/results/*.tsv, shortened: defect or "-" if it passed, test, call sites, cause); the
# call sites are those of docs/call-sites.md.
#
# In needless-and-stale.tsv needless_sealed is two: munmap() of a whole THP that splits it
# first, and, at other call sites, one that is refused and has split. No cause says that
# these are one.

. check/lib.sh

# Test $1 covers the call sites $2, and failed with cause $3 or passed.
failed()
{
	printf '%s\t%s\tx.c\n' "$1" "$2" >> "$work/covers"
	printf '%s #  %s\n' "$1" "$3" >> "$work/failed"
}

passed()
{
	printf '%s\t%s\tx.c\n' "$1" "$2" >> "$work/covers"
	printf '%s\n' "$1" >> "$work/passed"
}

begin()
{
	: > "$work/facts"
	: > "$work/covers"
	: > "$work/passed"
	: > "$work/failed"
}

# report OPTION...: findings of all that, as $log
report()
{
	# shellcheck disable=SC2086 # a command with its options
	$awk -v command='./run_tests.sh' "$@" -f findings.awk kind=facts "$work/facts" \
		kind=sites docs/call-sites.md \
		kind=covers "$work/covers" kind=passed "$work/passed" \
		kind=failed "$work/failed" > "$log" 2>&1
}

# finds NAME COUNT LINE...: so many findings, and each LINE is in the report
finds()
{
	name="$awk: $1" count=$2
	shift 2
	report || { fail "$name" "exit=$?"; return; }
	if [ "$(grep -c '^#  *[0-9]*\. ' "$log")" -ne "$count" ]; then
		fail "$name" "not $count findings"
		return
	fi
	for line; do
		grep -qF -- "$line" "$log" && continue
		fail "$name" "no line with: $line"
		return
	done
	pass "$name"
}

zap_ignored()
{
	for inj in targeted memcg fail_nth; do
		failed thp_split_enomem:split.dontneed_mid_anon.$inj zap-dontneed \
			'split_effect.c:302: page 256: populated 1, expected 0'
		failed thp_split_enomem:split.dontneed_half_zero.$inj zap-dontneed \
			'split_effect.c:302: page 300: populated 1, expected 0'
	done
	for op in dontneed dontneed_holes; do
		failed thp_split_enomem:edges.$op.refused zap-dontneed \
			'edges_ops.c:423: with 0 of 2 tables: 3 THPs are left after success'
	done
}

# A caller $1, with call site $2, that tries again for ever
retries()
{
	for inj in targeted memcg; do
		failed "thp_split_enomem:split.$1_mid_anon.$inj" "$2" \
			"starve.c:252: $1_mid did not return within 7${#1} ms while starved: livelock"
	done
}

# A split that is not counted
split_no_inc()
{
	for op in munmap:split-munmap mprotect:split-mprotect mlock:split-mlock \
		mseal:split-mseal dontneed:zap-dontneed guard_install:zap-guard \
		uffd_wp:protect-uffd-wp pagemap_scan:walk-pagemap-scan; do
		for kind in anon zero; do
			failed "thp_lazy_split:split.${op%:*}_mid_$kind.counts" "${op#*:}" \
				"split.c:176: ${op%:*}_mid of 1 $kind: +0 tables (+0 B), expected +1"
		done
	done
}

# The same kinds of tests elsewhere
others_pass()
{
	for site in split-map-fixed split-shrink split-anon-name split-mbind cow-write \
		uffd-move-split protect-uffd-rwp walk-device-private zap-dontneed \
		split-munmap zap-guard walk-pagemap-scan split-mprotect; do
		passed "thp_split_enomem:split.x_${site}_anon.targeted" "$site"
		passed "thp_split_enomem:split.x_${site}_anon.memcg" "$site"
	done
}

wrong_expectation()
{
	for prog in $programs; do
		failed "$prog:kernel.mode" fault-anon \
			"thp_harness.h:330: expected lazy (by request), measured eager: a THP fault took a page table"
	done
	i=0
	while [ $i -lt 90 ]; do
		i=$((i + 1))
		failed "thp_lazy_split:split.op${i}_mid_anon.counts" split-munmap \
			"split.c:143: fault of $i anon: +1 tables (+4096 B), expected +0"
		failed "thp_mremap:move.op${i}_anon.moves" move-pmd \
			"thp_move_check.c:25: after the move: VmPTE changed by 0 B, expected $i tables"
	done
}

check_rules()
{
	begin
	wrong_expectation
	finds "a wrong expectation is one finding" 1 \
		'# Findings: 1, from 185 failures' '1. 185 tests, wrong expectation' \
		'./run_tests.sh -t thp_lazy_split:kernel.mode'
	failed thp_migrate:race.a.bounded race-split 'kernel log: BUG: Bad rss-counter state'
	finds "... but does not hide a complaint of the kernel" 2 'BUG: Bad rss-counter state'
	failed thp_lazy_split:bits.dirty split-munmap \
		'thp_map.c:84: page 0 offset 8: expected 0x1, found 0'
	finds "... nor lost contents" 3 '3. 1 test, split-munmap, '

	begin
	for site in munmap mprotect mlock; do
		failed thp_lazy_split:split.${site}_mid_anon.counts split-$site \
			"split.c:143: fault of 1 anon: +1 tables (+4096 B), expected +0"
	done
	failed thp_mremap:move.whole_anon.moves move-pmd \
		"thp_move_check.c:25: after the move: VmPTE changed by 0 B, expected 1 tables"
	echo '# mode: expected=lazy contract=lazy measured=lazy decided-by=request' > "$work/facts"
	finds "the right expectation" 2 '2. 1 test, move-pmd, '
	echo '# mode: expected=lazy contract=lazy measured=eager decided-by=request' > "$work/facts"
	finds "a wrong expectation where kernel.mode did not run" 1 \
		'1. 4 tests, wrong expectation, or fault-anon, '

	begin
	zap_ignored
	others_pass
	finds "several causes at a call site" 1 \
		'1. 8 tests, zap-dontneed, zap_pmd_range(), madvise_dontneed_single_vma(): ' \
		': split_effect.c:302: page N: populated 1, expected 0 (and 1 other cause)' \
		'./run_tests.sh -t thp_split_enomem:split.dontneed_mid_anon.targeted'

	begin
	retries guard_install zap-guard
	retries pagemap_scan walk-pagemap-scan
	retries dontneed zap-dontneed
	others_pass
	finds "the same cause in some callers" 3 'zap-guard, ' 'walk-pagemap-scan, ' \
		'zap-dontneed, '

	begin
	split_no_inc
	finds "the same cause in all callers" 1 '1. 16 tests, 8 call sites: ' '+0 tables'
	# It comes first, but does not speak for the others.
	cp "$work/failed" "$work/later"
	: > "$work/failed"
	failed thp_lazy_split:bits.young zap-dontneed 'bits.c:9: VmPTE: 4096 B, expected 8192'
	cat "$work/later" >> "$work/failed"
	finds "... and another cause of this kind at one of them" 1 '1. 17 tests, ' \
		'split.munmap_mid_anon.counts'
	retries guard_install zap-guard
	others_pass
	finds "... and another effect at one of them" 2 '2. 2 tests, zap-guard, '

	begin
	for op in munmap:split-munmap mprotect:split-mprotect mlock:split-mlock mseal:split-mseal; do
		failed "thp_split_enomem:split.${op%:*}_mid_anon.targeted" "${op#*:}" \
			"starve_judge.c:77: ${op%:*}_mid returned success, the range is still PMD-mapped"
	done
	passed thp_split_enomem:split.x_mid_anon.targeted zap-dontneed
	passed thp_split_enomem:split.y_mid_anon.targeted cow-write
	finds "the same cause in all callers of one function" 1 \
		'4 call sites, vma_adjust_trans_huge(), split_huge_pmd_address(): '

	begin
	says='of 512 pages from page 0 on; expected kept by change_huge_pmd()'
	for bit in soft_dirty:soft-dirty uffd_wp:uffd-wp uffd_rwp:uffd-rwp; do
		failed "thp_migrate:state.protect.${bit%:*}" protect-pmd \
			"state.c:52: ${bit#*:} before: on, after: off on 512 $says"
		failed "thp_migrate:state.move.${bit%:*}" move-pmd \
			"state.c:52: ${bit#*:} before: on, after: off on 511 $says"
	done
	finds "a named function and a bit" 2 '1. 4 tests, ' '2. 2 tests, '

	begin
	failed thp_lazy_split:split.a_mid_anon.counts split-munmap \
		'kernel log: WARNING: mm/x.c:12 at f+0x1/0x2, CPU#1: thp_lazy_split/160'
	failed thp_migrate:state.b.young zap-guard \
		'kernel log: WARNING: mm/x.c:12 at f+0x1/0x2, CPU#0: thp_migrate/77'
	cat >> "$work/failed" <<-EOF
	thp_mremap: after the tests: kernel log: WARNING: mm/x.c:15 at f+0x1/0x2, CPU#1: thp_mremap/9
	thp_mremap: exit=1
	EOF
	finds "one complaint of the kernel" 2 '1. 3 failures' './run_tests.sh -t thp_mremap'

	begin
	for site in cow-write cow-extra-ref; do
		for kind in anon zero; do
			failed thp_split_enomem:split.${site}_mid_$kind.targeted $site \
				'thp_child.c:189: child killed by SIGBUS'
		done
	done
	others_pass
	finds "call sites in one function with the same cause" 1 \
		'1. 4 tests, cow-write, cow-extra-ref, do_huge_pmd_wp_page(): '
	failed thp_split_enomem:split.cow-extra-ref_half_anon.targeted cow-extra-ref \
		'starve_judge.c:77: cow returned success'
	finds "... and with others" 1 '1. 5 tests, ' 'SIGBUS (and 1 other cause)'

	begin
	zap_ignored
	others_pass
	failed thp_split_enomem:split.madv_dontdump_mid_device.targeted split-madvise-flags \
		'thp_child.c:183: child 2895 crashed inside the kernel'
	echo 'thp_split_enomem: after the tests: the kernel is broken: see the first failure' \
		>> "$work/failed"
	finds "a crash, and what ends with it" 2 \
		'1. 2 failures, split-madvise-flags, ' ': child 2895 crashed inside the kernel' \
		'-t thp_split_enomem:split.madv_dontdump_mid_device.targeted'

	begin
	zap_ignored
	others_pass
	failed thp_mremap:move.whole_anon_far.moves move-pmd \
		'Test terminated unexpectedly by signal 9'
	{
		echo 'thp_mremap: a process of this test cannot be killed'
		echo "thp_mremap: after the tests: after move.whole_anon_far.moves: kernel log: \
BUG: kernel NULL pointer dereference, address: 0000000000000008"
	} >> "$work/failed"
	finds "a crash, and the test that nothing can end" 2 '1. 3 failures, move-pmd, ' \
		'-t thp_mremap:move.whole_anon_far.moves'
	failed thp_migrate:race.exit.bounded folio-split 'Test terminated by timeout'
	finds "... is not what ended a test elsewhere" 3 '3. 1 test, folio-split, '

	begin
	zap_ignored
	retries guard_install zap-guard
	: > "$work/covers"
	finds "without the call sites" 4 '1. 6 tests: split_effect.c:302: page N: '
}

# Ten defects, more than a hundred failures, one screen
check_screen()
{
	begin
	zap_ignored
	retries guard_install zap-guard
	retries pagemap_scan walk-pagemap-scan
	retries uffd_move uffd-move-split
	split_no_inc
	others_pass
	i=0
	while [ $i -lt 60 ]; do
		i=$((i + 1))
		failed thp_migrate:state.s$i.young 'migrate-pmd protect-pmd' \
			"kernel log: BUG: sleeping function called from invalid context at x.h:3$i"
	done
	for op in 1 2 3; do
		failed thp_fork_copy:share.op$op.counts fork-anon \
			"share.c:5$op: fork: +1 tables (+4096 B), expected +0"
		failed thp_split_enomem:leak.op$op.page_tables leak-page-tables \
			"leak.c:515: op${op}_mid of anon: PageTables of no process grew by 99$op kB"
		failed thp_lazy_split:needless.op$op.not_split needless-split \
			'thp_map.c:119: range is PTE-mapped, expected PMD-mapped'
		failed thp_migrate:stale.op$op.never_reached stale-translation \
			'stale_probe.c:187: another CPU can still read the old address'
		failed thp_lazy_split:collapse.op$op.counts collapse \
			"collapse.c:140: collapse: +0 tables (+0 B), expected -1"
	done
	passed thp_migrate:stale.op4.never_reached stale-translation
	finds "ten defects" 11 "# Findings: 11, from $(wc -l < "$work/failed") failures"
	try "$awk: ... are more than a hundred failures" test "$(wc -l < "$work/failed")" -gt 100
	report
	try "$awk: ... and fit a screen" test "$(wc -l < "$log")" -le 30
	report -v most=3
	cp "$log" "$work/short"
	try "$awk: the rest is counted" grep -qx \
		'#  and 8 more, of [0-9]* failures: see the lines "not ok"' "$work/short"
}

# Runs of the lab in folder $work/run: a KTAP that ends with findings, and one that does
# not end, because the guest died.
check_lab()
{
	mkdir "$work/run"
	cat > "$work/run/ktap" <<-EOF
	TAP version 13
	1..2
	# 1..1
	# not ok 1 kernel.mode #  a cause
	not ok 1 thp_mremap # exit=1
	# Findings: 1, from 1 failure; each with the shortest test that shows it:
	#   1. 1 test, fault-anon: a cause
	#      /tmp/suite.x/run_tests.sh -e lazy -t thp_mremap:kernel.mode
	# Verdict: FAILED, in 1 s
	EOF
	cat > "$work/call" <<-EOF
	LAB_DIR=lab LAB_AWK=lab/awk LAB_SUITE_SRC=. LAB_ME=lab/lab K_NAME=v7-x86_64
	LAB_PROGRAMS='$programs' O_APPEND='a=1 b' O_MEMORY=4096 O_REMOTE=\$REMOTE O_ARCH=\$ARCH
	. lab/lib/qemu.sh
	. lab/lib/report.sh
	. lab/lib/findings.sh
	lab_findings "$work/run" > "$work/run/findings"
	echo "run v7-x86_64 v7-x86_64"
	lab_ktap_facts "$work/run/ktap"
	sed 's/^#/finding/' "$work/run/findings"
	EOF
	sh "$work/call" > "$work/facts"
	cp "$work/run/findings" "$log"
	command="#      lab/lab run --append 'a=1 b' --memory 4096 v7-x86_64 --"
	try "lab: the findings of a guest" test "$(grep -cxF -e \
		"$command -e lazy -t thp_mremap:kernel.mode" "$log")" -eq 1
	cp "$work/facts" "$work/facts.1"
	REMOTE=root@there ARCH=arm64 sh "$work/call" > "$work/facts"
	cp "$work/run/findings" "$log"
	try "lab: ... of a real machine" test "$(grep -c \
		"run --remote 'root@there' --append .* --memory 4096 -- -e lazy" "$log")" -eq 1
	awk -v programs="$programs" -f lab/awk/runs-table.awk "$work/facts.1" > "$work/table"
	cp "$work/table" "$log"
	try "lab: ... are in its table, in place of the failures" test \
		"$(grep -c '^Failed:\|^  v7-x86_64: 1, from 1 failure; \|^    1\. ' "$work/table")" -eq 2
	cat > "$work/run/ktap" <<-EOF
	# 1..1
	# ok 1 kernel.mode
	ok 1 thp_fork_copy
	# 1..3
	# ok 1 kernel.mode
	# not ok 2 move.whole_anon_near.moves #  thp_move_check.c:25: moved by 7 B
	# ok 3 move.whole_anon_far.moves # SKIP the kernel is broken
	EOF
	sh "$work/call" > "$work/facts"
	cp "$work/run/findings" "$log"
	try "lab: the findings of a guest that died" test "$(grep -cxF -e \
		"$command -t thp_mremap:move.whole_anon_near.moves" -e \
		'#   1. 1 test, move-pmd, move_huge_pmd(): thp_move_check.c:25: moved by 7 B' \
		"$log")" -eq 2
	cat > "$work/run/other" <<-EOF
	# 1..2
	# ok 1 kernel.mode
	# not ok 2 move.move_pages_one.huge_zero #  a cause
	EOF
	cp "$work/run/ktap" "$work/run/kept"
	mv "$work/run/other" "$work/run/ktap"
	sh "$work/call" > "$work/facts"
	cp "$work/run/findings" "$log"
	try "lab: ... in a program that -t has put first" grep -qxF -e \
		"$command -t thp_migrate:move.move_pages_one.huge_zero" "$work/run/findings"
	mv "$work/run/kept" "$work/run/ktap"
	sed -i '/^# not ok/d' "$work/run/ktap"
	sh "$work/call" > "$work/facts"
	try "lab: no failures, no findings" test ! -s "$work/run/findings"
}

# Kernels of which it is known which defect each failure comes from
check_defects()
{
	for file in check/results/*.tsv; do
		begin
		awk -F'\t' -v dir="$work" '{ print $2 "\t" $3 "\tx.c" >(dir "/covers") }
			$1 == "-"	{ print $2 >(dir "/passed") }
			$1 != "-"	{ print $2 " #  " $4 >(dir "/failed") }' "$file"
		report -v most=100 -v into="$work/into"
		cp "$log" "$work/findings"
		awk -F'\t' 'NR == FNR { finding[$2] = $1; next }
			$1 == "-" { next }
			!(($1, finding[$2]) in seen) {
				seen[$1, finding[$2]]
				defects[$1] = defects[$1] " " finding[$2]
				findings[finding[$2]] = findings[finding[$2]] " " $1
			}
			END {
				for (d in defects)
					if (split(defects[d], part, " ") > 1)
						print d " has entries" defects[d]
				for (f in findings)
					if (split(findings[f], part, " ") > 1)
						print "entry " f " has" findings[f]
			}' "$work/into" "$file" > "$work/wrong"
		n=$(cut -f1 "$file" | sort -u | grep -vcx -e -)
		none "$awk: ${file##*/}: one entry for each of $n defects" "not so" \
			< "$work/wrong"
	done
}

check_lab
for awk in awk mawk gawk 'busybox awk'; do
	have "${awk%% *}" || continue
	check_rules
	check_screen
	check_defects
done
