#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# Prints the state that a run of the tests must restore: settings, mounts,
# control groups, swap areas, loop devices, files and processes.

settings()
{
	find /sys/kernel/mm/transparent_hugepage /sys/kernel/debug/fail* \
		/sys/kernel/debug/hwpoison /sys/module/zswap/parameters -type f 2>/dev/null |
		grep -Ev '/(stats/.*|full_scans|pages_collapsed)$'
	ls -d /proc/sys/vm/* /proc/sys/kernel/panic_on_* /proc/sys/kernel/printk \
		/proc/sys/kernel/core_pattern /proc/sys/kernel/sched_*
}

settings | sort | while read -r file; do
	value=$(cat "$file" 2>/dev/null) && echo "$file: $value"
done
sed 's/^/mount: /' /proc/mounts
find /sys/fs/cgroup /sys/kernel/debug -name 'thp*' -type d 2>/dev/null |
	sed 's/^/directory: /'
awk 'NR > 1 { print "swap: " $1 }' /proc/swaps
for zram in /sys/block/zram*; do
	[ ! -e "$zram" ] || echo "zram: $zram"
done
for loop in /sys/block/loop*/loop/backing_file; do
	[ ! -e "$loop" ] || echo "loop device: $(cat "$loop")"
done
find /tmp /var/tmp /dev/shm /run -maxdepth 1 -name 'thp_lazy_pte*' -size +0 \
	2>/dev/null | sed 's/^/file: /'
# The kernel cuts names to 15 characters.
. check/programs.sh
names=" $(echo "$programs" | tr ' ' '\n' | cut -c 1-15 | tr '\n' ' ')"
for comm in /proc/[0-9]*/comm; do
	read -r name < "$comm" || continue
	# A zombie that waits for a slow process 1.
	! grep -q '^State:[[:space:]]*Z' "${comm%comm}status" || continue
	case $names in
	*" $name "*)
		echo "process: $name";;
	esac
done 2>/dev/null
:
