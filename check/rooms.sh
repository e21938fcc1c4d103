#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# docs/map.md and the code agree: a room of lib/ uses itself and the rooms below it,
# only lib/thp_harness.h and the programs know the kselftest harness, nothing else
# exits, every file of lib/ is in the map, and every file of a program is included by it.

. check/lib.sh

lines=20
# From below to above
rooms='base machine thp ops starve bench'

# The rooms that room $1 may use
below()
{
	for room in $rooms; do
		echo "$room"
		[ "$room" != "$1" ] || break
	done
}

# The headers that file $1 includes
includes()
{
	sed -n 's/^#include "\(.*\)"$/\1/p' "$1"
}

for room in $rooms; do
	allowed=$(below "$room")
	for file in lib/"$room"/*; do
		for header in $(includes "$file"); do
			for place in $allowed above; do
				[ ! -e "lib/$place/$header" ] || break
			done
			[ "$place" != above ] || echo "$file: $header"
		done
	done
done | none "no room of lib/ calls a higher one" "these includes lead upwards"

grep -lE 'kselftest(_harness)?\.h|thp_harness\.h|split_variants\.h' lib/*/* |
	none "lib/ does not know the harness" "these include it"

# The guardian's child is the program itself.
grep -nE '(^|[^_[:alnum:]])(exit|ksft_[a-z_]+|TH_LOG|SKIP)\(' lib/*/*.c |
	grep -v '^lib/machine/thp_guard.c:[0-9]*:[[:space:]]*exit(body(arg));$' |
	none "lib/ neither exits nor gives a verdict" "these do"

grep -n 'thp_inject_task(getpid()' ./*.c ./*/*.c lib/*/*.c check/*/*.c |
	grep -v '^lib/machine/thp_inject.c:' |
	none "whoever starves itself tells the guardian" "these call no thp_inject_own()"

for file in lib/*/*; do
	name=${file##*/}
	# The map may name a unit without its ending.
	grep -qE "\`(${name%.*}|$name)\`" docs/map.md || echo "$file"
done | none "docs/map.md has every file of lib/" "it lacks these"

for prog in $programs; do
	for file in "${prog#thp_}"/*.c; do
		grep -qF -e "#include \"$file\"" -e "#include \"${file##*/}\"" \
			"$prog.c" "${prog#thp_}"/*.c || echo "$file"
	done
done | none "every subject is part of its program" "these are included by none"

OUTPUT=$OUTPUT ./run_tests.sh -l 2> "$log" |
while IFS="$(printf '\t')" read -r test _ file; do
	[ -e "$file" ] || echo "$test: $file"
done | none "run_tests.sh -l has the file of every test" "these have none"

# run_tests.sh has the list of programs; make and git cannot read it there.
{
	sed -n 's/^TEST_GEN_PROGS :*+*= //p' Makefile | tr ' ' '\n' | sort > "$work/made"
	sed -n 's,^/\(thp_.*\),\1,p' .gitignore | sort > "$work/ignored"
	echo "$programs" | tr ' ' '\n' | sort > "$work/listed"
	diff "$work/listed" "$work/made"
	diff "$work/listed" "$work/ignored"
} | none "Makefile and .gitignore have the programs of run_tests.sh" "they differ"
