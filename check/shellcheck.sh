#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# Every shell script here passes shellcheck. A directive that turns a warning
# off stands where it is needed, with the reason.

. check/lib.sh

if ! have shellcheck; then
	skip "all scripts" "needs shellcheck"
	exit
fi

find . -name .git -prune -o -type f -print | sort | while read -r file; do
	first=$(head -c 80 "$file" | tr -d '\0' | head -n 1)
	case $file:$first in
	*.sh:* | *:'#!'*sh)
		lines=40
		try "${file#./}" shellcheck -x "$file";;
	esac
done
