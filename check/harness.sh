#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# The kselftest harness: docs/harness-failure-reason.patch applies to the available
# ones, and the suite then uses its macro; the suite refuses one that is too old with
# a message.

. check/lib.sh

sel=tools/testing/selftests
patch=$PWD/docs/harness-failure-reason.patch
user=
[ "$(id -u)" -ne 0 ] ||
	user='setpriv --reuid=64999 --regid=64999 --clear-groups'
chmod a+rX "$SCRATCH"

# thp_mremap.o with the harness in directory $1 and the flags of the build
compile()
{
	# shellcheck disable=SC2046 # a command with its options
	$(sed "s|-isystem [^ ]*/selftests |-isystem $1 |" "$OUTPUT/obj/flags") \
		-Werror -MF "$work/d" -c thp_mremap.c -o "$work/thp_mremap.o"
}

# Applies the patch to those of its files that tree $1 has
apply()
{
	mkdir "$work/new" || return
	set -- "$1" --include=nothing
	# shellcheck disable=SC2013 # words are what it has
	for file in $(sed -n 's|^+++ b/||p' "$patch"); do
		[ -e "$1/$file" ] || continue
		(cd "$1" && cp --parents "$file" "$work/new") || return
		set -- "$@" --include="$file"
	done
	cp "$1/$sel/kselftest.h" "$work/new/$sel"
	shift
	# Inside a repository, git would ignore files that are not part of it.
	(cd "$work/new" && GIT_CEILING_DIRECTORIES="$work" git apply "$@" "$patch") &&
	grep -q '^#define FAIL' "$work/new/$sel/kselftest_harness.h"
}

# The output of a failure, with the macro of the patch and with that of the suite
same_result()
{
	compile "$work/new/$sel" || return
	# shellcheck disable=SC2046
	$(cat "$OUTPUT/obj/flags") "$work/thp_mremap.o" "$OUTPUT"/obj/lib/*/*.o \
		$(grep -o ' -l[a-z]*' "$OUTPUT/obj/flags") -o "$work/patched" || return
	cp "$OUTPUT/thp_mremap" "$work/ours" && chmod a+rx "$work/patched" "$work/ours"
	for prog in patched ours; do
		for mode in eager lazy; do
			$user "$work/$prog" -e $mode -r kernel.mode
		done 2>&1 </dev/null | grep -v '^# speed: ' > "$work/$prog.out"
	done
	grep -q '^not ok 1 kernel.mode #  .*expected' "$work/patched.out" &&
	diff "$work/ours.out" "$work/patched.out"
}

check_tree()
{
	version=$(basename "$1")
	[ ! -e "$1/Makefile" ] ||
		version=linux-$(sed -n 's/^VERSION = //p' "$1/Makefile").$(
			sed -n 's/^PATCHLEVEL = //p' "$1/Makefile")
	rm -rf "$work/new"
	try "$version: the patch applies" apply "$1"
	try "$version: a failure looks the same with it" same_result
}

# one_sentence DIR: the compiler's message about the harness in DIR
one_sentence()
{
	compile "$1" > "$work/said" 2>&1 && return 1
	cat "$work/said"
	grep -q 'error: .*needs the one of Linux 6.12 or newer' "$work/said" &&
	[ "$(grep -c 'error:' "$work/said")" -eq 2 ]
}

if [ "$user" ] && ! have setpriv; then
	skip "all" "needs setpriv"
	exit
fi
# shellcheck disable=SC2153 # KSRC is not ksrc
for ksrc in "$KSRC" $KTREES "$CACHE"/lab/build/lazy-x86_64/src; do
	readlink -f "$ksrc"
done | sort -u | while read -r ksrc; do
	[ ! -e "$ksrc/$sel/kselftest_harness.h" ] || check_tree "$ksrc"
done

# As it was in Linux 6.1
mkdir "$work/old"
cp "$KSRC/$sel/kselftest.h" "$work/old"
sed 's/FIXTURE_TEARDOWN_PARENT/FIXTURE_NO_TEARDOWN_PARENT/' \
	"$KSRC/$sel/kselftest_harness.h" > "$work/old/kselftest_harness.h"
try "a harness that is too old" one_sentence "$work/old"
