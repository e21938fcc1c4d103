#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# If the running kernel does not meet the expectation, the suite fails and says
# so; otherwise it passes.

. check/lib.sh

measured=$("$OUTPUT/thp_lazy_split" -i | sed -n 's/.* measured=\([a-z]*\).*/\1/p')
case $measured in
eager)	other=lazy;;
lazy)	other=eager;;
*)	skip "wrong expectation" "the kernel's mode could not be measured"
	exit;;
esac

c_like='->|&[a-z_]|[!=]=|[A-Za-z_]\([^)]*, [^)]*\)'
for prog in $programs; do
	timeout -k 10 300 "$OUTPUT/$prog" -e $other > "$log" 2>&1
	status=$?
	if [ $status -ne 1 ]; then
		fail "$prog -e $other" "exit=$status, not 1"
	elif ! grep -E '^not ok .*#' "$log" | grep "$other" | grep -q "$measured"; then
		fail "$prog -e $other" "the cause does not name both modes"
	else
		pass "$prog -e $other"
	fi
	# A cause is for people: no operators, no call with its arguments.
	grep '^not ok' "$log" > "$work/causes"
	! grep -E -- "$c_like" "$work/causes" > "$log"
	status=$?
	lines=5
	if [ $status -eq 0 ]; then
		pass "$prog -e $other: causes are words"
	else
		fail "$prog -e $other: causes are words" "these are C"
	fi
done
try "thp_mremap -e $measured" "$OUTPUT/thp_mremap" -e "$measured"
