#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# The lab reports bad usage and failures, and the whole suite passes in virtual
# machines: on a stock kernel, on both MMUs of powerpc, and on the lazy kernel
# that is built from lab/kernel/. LAB_KERNELS names others.

. check/lib.sh

kernels=${LAB_KERNELS:-v7-x86_64 v7-ppc64le-radix-64k v7-ppc64le-hash-64k
	lazy-x86_64}
lab=lab/lab

for tool in qemu-system-x86_64 qemu-system-ppc64 cpio flex bison \
	powerpc64le-linux-gnu-gcc; do
	have $tool || { skip "virtual machines" "needs $tool"; exit; }
done

# refuses NAME PATTERN ARGUMENT...: exit code 2 and one line that says why
refuses()
{
	name=$1 pattern=$2
	shift 2
	timeout 60 "$lab" "$@" > "$work/out" 2> "$log" </dev/null
	refused "$name" $? "$pattern"
}

refuses "unknown command" 'unknown command walk' walk
refuses "unknown option" '\-\-fast' run --fast
refuses "unknown kernel" "no kernel 'v1'" run v1
refuses "no kernel" 'no kernel' run
refuses "no such image" 'no such file' run --kernel "$work/none"
echo "not a kernel" > "$work/text"
refuses "no image at all" 'none of bzImage or vmlinux of x86_64, ' run --kernel "$work/text"
refuses "image for another architecture" 'is for x86_64' \
	run --kernel /proc/self/exe --arch ppc64le
refuses "number" 'needs a positive number' run --jobs many v7-x86_64
refuses "format" "unknown format .yaml.: tap" run --format yaml v7-x86_64
refuses "time of a loop" 'needs a positive number' run --loop 0 v7-x86_64
THP_LAZY_EXPECT=maybe
export THP_LAZY_EXPECT
refuses "expectation of the environment" "THP_LAZY_EXPECT cannot be 'maybe'" run v7-x86_64
refuses "expectation of a campaign" "no mutant 'none-such'" mutants none-such
unset THP_LAZY_EXPECT
refuses "unknown mutant" "no mutant 'none-such'" mutants none-such
refuses "an option of run" "mutants takes no --loop" mutants --loop 5
refuses "mutants without a kernel" 'no mutants-riscv64 in the table' mutants --arch riscv64
refuses "mutants of an MMU that is not there" '\-\-mmu goes with' mutants --arch arm64 --mmu hash
refuses "costs in another emulator" 'cost takes no --accel' cost --accel kvm v7-x86_64
refuses "known costs of another kernel" '--known is about mutants-x86_64' \
	cost --known v7-x86_64
refuses "known costs of tests" 'only cost takes --known' run --known v7-x86_64
refuses "swap of no size" 'swap needs a positive number' run --swap none v7-x86_64
refuses "swap of a real machine" 'that say what to boot none helps' \
	run --swap 64 --remote nobody@localhost
refuses "swap of a campaign" "mutants takes no --swap" mutants --swap 64
refuses "more memory than there is" 'MB of memory available' \
	run --memory 99999744 v7-x86_64

# Lines of a console: complaints, which are marked, and others
cat > "$work/console" <<END
[    0.000000] Command line: page_table_check=on panic_on_oops=1
[    2.000001][  T118] WARNING: mm/x.c:1 at f+0x0/0x1, CPU#0: t/1
[    2.000002][  T118]  ? page_table_check_set+0x180/0x260
[    2.100000] watchdog: BUG: soft lockup - CPU#0 stuck for 22s! [t:1]
[    2.200000] mm/pgtable-generic.c:1: bad pmd 0000(0)
[    2.300000] t: page allocation failure: order:0
[    2.400000] Oops: Oops: 0000 [#1] SMP
END
sed -n '2p;4,5p;7p' "$work/console" | sed 's/^\[[^]]*\]\(\[[^]]*\]\)\{0,1\} //' > "$work/complaints"
for awk in awk mawk gawk 'busybox awk'; do
	have "${awk%% *}" || continue
	# shellcheck disable=SC2086 # a command with its options
	$awk -f lab/awk/kernel-complaints.awk lib/base/thp_complaints.h "$work/console" > "$work/found"
	try "complaints of a console, by $awk" cmp "$work/complaints" "$work/found"
done

# A file that looks like a kernel image, but does nothing
{
	head -c 514 /dev/zero
	printf HdrS
	head -c 60000 /dev/zero
} > "$work/broken"
timeout 120 $lab run --kernel "$work/broken" --boot-timeout 20 --swap 64 \
	--output "$work/broken.run" > "$log" 2>&1 </dev/null
status=$?
if [ $status -ne 1 ]; then
	fail "a broken image" "exit=$status, not 1"
elif ! grep -Eq 'no sign of the guest|ended before user space|QEMU: ' "$log"; then
	fail "a broken image" "no line tells of it"
else
	pass "a broken image"
fi
# It would have had its swap on a disk, and the file of that disk is gone.
disk='-drive if=virtio,[^ ]*,file=[^ ]*/initramfs[.]swap '
cat "$work"/broken.run/*/command > "$log"
if ! grep -q -- "$disk" "$log"; then
	fail "--swap is a disk of the guest" "no such disk in the command line"
elif [ -n "$(find "$work/broken.run" -name '*.swap')" ]; then
	fail "--swap is a disk of the guest" "its file is left behind"
else
	pass "--swap is a disk of the guest"
fi

# The lab names a patch that does not apply, before it builds anything
mkdir "$work/tree"
cp -R lab "$work/tree/lab"
sed -i '0,/^-[^-]/s/^-\([^-]\)/-broken \1/' "$work/tree/lab/kernel/0001-"*.patch
"$work/tree/lab/lab" build lazy-x86_64 > "$log" 2>&1
status=$?
if grep -q 'no package for this source\|no package could be downloaded' "$log"; then
	skip "a patch that does not apply" "no source package to be had"
elif [ $status -ne 2 ] || ! grep -q '0001-.* does not apply' "$log"; then
	fail "a patch that does not apply" "exit=$status"
else
	pass "a patch that does not apply"
fi

# shellcheck disable=SC2086 # a list
"$lab" run --output "$work/runs" $kernels > "$work/out" 2> "$work/err" </dev/null
status=$?
sed -n '/^kernel  *release/,$p' "$work/out"
for name in $kernels; do
	summary=$work/runs/$name/summary
	if [ ! -e "$summary" ]; then
		cp "$work/err" "$log"
		fail "$name" "no result, exit=$status"
		continue
	fi
	echo "# also: $(sed -n 's/^pass //p' "$summary")" \
		"$(sed -n 's/^fail //p' "$summary")" \
		"$(sed -n 's/^skip //p' "$summary")"
	grep -E '^(failed|log|trouble) ' "$summary" > "$log"
	reason=$(head -n 1 "$log")
	case $(sed -n 's/^status //p' "$summary") in
	0)	pass "$name";;
	4)	skip "$name" "${reason#trouble }";;
	*)	fail "$name" "${reason:-exit=$status}";;
	esac
done

# Every option is set: a test that still skips lacks one, unless the hardware is
# missing.
case " $kernels " in
*lazy-x86_64*)
	grep '^skipped ' "$work/runs/lazy-x86_64/summary" 2>/dev/null |
		grep -v '^skipped [0-9]* needs subpage_prot (powerpc, hash MMU' |
		grep -v '^skipped [0-9]* needs PMD swap entries ' |
		grep -v '^skipped [0-9]* needs a machine of at most 1 GiB' > "$log"
	if [ -s "$log" ]; then
		fail "lazy-x86_64 skips only what it cannot do" "$(head -n 1 "$log")"
	else
		pass "lazy-x86_64 skips only what it cannot do"
	fi
	# The self-tests, in place of the suite: no row of the table may skip for want
	# of an option. They are static, without optional libraries.
	static=$work/static
	mkdir -p "$static/suite"
	if make HAVE_LIBURING= HAVE_LIBNUMA= USERLDFLAGS=-static KSRC="$KSRC" \
		OUTPUT="$static" "$static/obj/check/selftest" > "$log" 2>&1; then
		cp settings "$static/obj/check/selftest" "$static/suite"
		sed "s/^all_programs=.*/all_programs='selftest'/" run_tests.sh \
			> "$static/suite/run_tests.sh"
		chmod 755 "$static/suite/run_tests.sh"
		try "selftest on lazy-x86_64" "$lab" run --output "$work/self" \
			--suite "$static/suite" lazy-x86_64
	else
		fail "selftest on lazy-x86_64" "it does not build"
	fi
	# With the other contract expected it fails, and says why.
	"$lab" run --output "$work/wrong" --expect eager lazy-x86_64 -- \
		-t thp_lazy_split:kernel.mode > "$log" 2>&1 </dev/null
	status=$?
	if [ $status -eq 1 ] && grep -q 'expected eager .*, measured lazy: ' "$log"; then
		pass "lazy-x86_64 is not eager"
	else
		fail "lazy-x86_64 is not eager" "exit=$status"
	fi
	# Three rows of what it costs: a table is allocated by the split, none before.
	"$lab" cost --output "$work/cost" lazy-x86_64 -- \
		-t 'thp_lazy_split:fault_zero,munmap_mid_anon,collapse_anon' \
		> "$log" 2>&1 </dev/null
	status=$?
	cost=$(awk '{ sub(/~/, "") }
		/^(fault_zero|munmap_mid_anon|collapse_anon) / && $4 + 0 > 0 {
			print $1, $2, $5 }' "$log" | sort)
	if [ $status -eq 0 ] && [ "$cost" = "collapse_anon 1 -4096
collapse_anon 64 -4096
collapse_anon 8 -4096
fault_zero 1 +0
fault_zero 64 +0
fault_zero 8 +0
munmap_mid_anon 4 +4096" ]; then
		pass "what three operations cost on lazy-x86_64"
	else
		fail "what three operations cost on lazy-x86_64" "exit=$status"
	fi;;
esac
