#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# No test passes if the system call that it tests did nothing: each call of "noop -l"
# returns 0 without effect in every test that makes it. check/noop.list has the tests
# that may pass all the same, and why. The table of operations has a stricter test of
# its own, in check/selftest/rows.c.

. check/lib.sh

noop=$OUTPUT/obj/check/noop
list=check/noop.list

# unlisted PROGRAM CALL: those tests of the input that the list does not name
unlisted()
{
	while read -r id; do
		sed -n 's/^\([^#[:space:]]*\)[[:space:]].*/\1/p' "$work/$1.$2" |
		while read -r pattern; do
			# shellcheck disable=SC2254 # a pattern
			case $id in
			$pattern)	echo listed;;
			esac
		done | grep -q listed || echo "$id"
	done
}

for prog in $programs; do
	users=$work/$prog
	timeout -k 10 300 "$noop" -u -- "$OUTPUT/$prog" -F split > "$users" 2> "$log"
	calls=$(cut -d ' ' -f 2 "$users" | sort -u)
	for call in $calls; do
		sed -n -e "s/^$prog $call //p" -e "s/^$prog \* //p" $list > "$users.$call"
		# Every test unmaps in the end, and does not check that.
		! grep -q '^\*[[:space:]]' "$users.$call" || continue
		ids=$(sed -n "s/ $call\$//p" "$users")
		set --
		for id in $ids; do
			set -- "$@" -r "$id"
		done
		timeout -k 10 300 "$noop" "$call" -- "$OUTPUT/$prog" "$@" > "$log" 2>&1
		grep '^ok ' "$log" | cut -d ' ' -f 3 |
			unlisted "$prog" "$call" > "$work/green"
		cp "$work/green" "$log"
		if [ -s "$work/green" ]; then
			fail "$prog: $call" "not noticed by $(head -n 1 "$work/green")"
		else
			pass "$prog: $call without effect, $(($# / 2)) tests"
		fi
	done
done
