#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# Tests that no other check has made to fail can fail: each line of check/broken.list
# breaks a copy of the suite in one place, and the test that it names has to fail.

. check/lib.sh

src=$work/src
out=$work/out

# The binary of program $1, by its place below $out
binary()
{
	case $1 in
	thp_*)	echo "$1";;
	*)	echo "obj/check/$1";;
	esac
}

build()
{
	make -j"$cores" -C "$src" KSRC="$KSRC" OUTPUT="$out" "$out/$(binary "$1")"
}

# fails_in PROGRAM TEST CAUSE: runs the test, which has to fail
fails_in()
{
	timeout -k 10 120 "$out/$(binary "$1")" -r "$2" > "$log" 2>&1 </dev/null
	status=$?
	if [ $status -eq 4 ]; then
		skip "$name: $2" "$(sed -n 's/.*# SKIP //p' "$log" | head -n 1)"
	elif [ $status -eq 1 ] && grep '^not ok ' "$log" | grep -Eq -e "$3"; then
		pass "$name: $2"
	else
		fail "$name: $2" "exit=$status, expected a failure because of: $3"
	fi
}

# broken PROGRAM FILE SED CAUSE TEST...
broken()
{
	prog=$1
	file=$2
	edit=$3
	cause=$4
	shift 4
	: > "$log"
	sed "$edit" "$file" > "$work/edited"
	if cmp -s "$work/edited" "$file"; then
		fail "$name" "nothing of $file is changed by: $edit"
		return
	fi
	cp "$work/edited" "$src/$file"
	if build "$prog" > "$log" 2>&1; then
		for test; do
			fails_in "$prog" "$test" "$cause"
		done
	else
		fail "$name" "does not build"
	fi
	cp "$file" "$src/$file"
}

copy_tree_to "$src"
number=0
while IFS='|' read -r id file edit cause; do
	case $id in
	'' | '#'*)	continue;;
	esac
	number=$((number + 1))
	name="line $number, $file"
	# shellcheck disable=SC2086 # a list of tests
	broken "${id%%:*}" "$file" "$edit" "$cause" ${id#*:}
done < check/broken.list
