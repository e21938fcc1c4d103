#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# Every C file passes the kernel's checkpatch.pl --strict, except for the types
# listed here, each with its reason.

. check/lib.sh

ignored=$(sed 's/[[:space:]].*//' <<'END' | paste -sd, -
BIT_MACRO			user space has no BIT()
COMPLEX_MACRO			an enumerator cannot stand in parentheses
ENOSYS				user space does get it, and says so
MACRO_ARG_REUSE			a test's macros get names, not expressions
MACRO_WITH_FLOW_CONTROL		ending the test is what ASSERT_EQ() does, too
PREFER_DEFINED_ATTRIBUTE_MACRO	user space has no __printf()
PREFER_KERNEL_TYPES		user space has no u64
STRCPY				user space has no strscpy()
END
)

script=$KSRC/scripts/checkpatch.pl
[ -e "$script" ] || script=$CACHE/linux/scripts/checkpatch.pl
if ! have perl; then
	skip "all C files" "needs perl"
	exit
elif [ ! -e "$script" ]; then
	skip "all C files" "needs scripts/checkpatch.pl in KSRC"
	exit
fi

find . -name .git -prune -o -path ./lab -prune -o -name '*.[ch]' -print |
sort | while read -r file; do
	lines=40
	try "${file#./}" perl "$script" --strict --no-tree --quiet --terse \
		--show-types --max-line-length=100 --ignore "$ignored" \
		-f "$file"
done
