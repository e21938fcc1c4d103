#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# If nothing can be tested, the reason is true; if THPs can be allocated in
# spite of a switch, the tests run.

. check/lib.sh

prog=$OUTPUT/thp_mremap

# skips NAME REASON COMMAND...: the command SKIPs everything, for this reason
skips()
{
	name=$1
	reason=$2
	shift 2
	"$@" > "$log" 2>&1
	status=$?
	if [ $status -ne 4 ]; then
		fail "$name" "exit=$status, not 4"
	elif ! grep -qxF "1..0 # SKIP $reason" "$log"; then
		fail "$name" "no SKIP for: $reason"
	else
		pass "$name"
	fi
}

# Makes mktemp(1) appear to be missing
mkdir "$work/bin"
printf '#!/bin/sh\nexit 127\n' > "$work/bin/mktemp"
chmod +x "$work/bin/mktemp"
try "no mktemp" env PATH="$work/bin:$PATH" ./run_tests.sh -t thp_mremap:kernel.mode

if [ "$(id -u)" -ne 0 ]; then
	skip "no procfs, switches" "needs root"
	exit
fi
skips "no procfs" "needs procfs, mounted on /proc" \
	unshare -m sh -c "umount -l /proc && exec $prog"
skips "no sysfs" "needs sysfs, mounted on /sys" \
	unshare -m sh -c "umount -R -l /sys && exec $prog"

thp=/sys/kernel/mm/transparent_hugepage
# As on s390x without EDAT: the kernel has the option, and nothing shows THPs.
skips "no huge pages" "needs a CPU that maps huge pages (no $thp/)" \
	unshare -m sh -c "mount -t tmpfs none $thp && exec $prog"
size=$thp/hugepages-$(($(cat $thp/hpage_pmd_size) / 1024))kB
if [ ! -e "$size" ]; then
	skip "switches" "needs a switch for each size (Linux 6.8)"
	exit
fi

chosen()
{
	sed 's/.*\[\(.*\)\].*/\1/' "$1"
}

old_all=$(chosen $thp/enabled)
old_size=$(chosen "$size/enabled")
trap 'echo "$old_all" > $thp/enabled; echo "$old_size" > "$size/enabled"' EXIT

# with ALL SIZE COMMAND...: runs it under these settings
with()
{
	echo "$1" > $thp/enabled
	echo "$2" > "$size/enabled"
	shift 2
	"$@"
}

skips "enabled=never" "needs THP enabled=madvise or always, it is never" \
	with never inherit "$prog"
skips "enabled=always, the PMD size never" \
	"needs THP enabled=inherit, madvise or always for the PMD size, it is never" \
	with always never "$prog"
for value in madvise always; do
	try "enabled=never, the PMD size $value" \
		with never $value "$prog" -r move.whole_anon_near.moves
done
