#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# docs/call-sites.md and the tests agree: every ID that a test says it covers
# has a row there, and every row is covered by a test or says "none: reason".

. check/lib.sh

doc=docs/call-sites.md

if [ ! -e $doc ]; then
	fail "table of call sites" "no $doc"
	exit
fi

# Lines "ID<tab>covered by", from the tables whose first column is "ID" and
# that have a column "Covered by"
rows()
{
	sed 's/\\|/\&#124;/g' "$doc" | awk -F'|' '
		function cell(i) {
			gsub(/^[ \t`]+|[ \t`]+$/, "", $i)
			return $i
		}
		!/^[ \t]*\|/ { column = 0; next }
		tolower(cell(2)) == "id" {
			for (i = 3; i < NF; i++)
				if (tolower(cell(i)) ~ /^covered by/)
					column = i
			next
		}
		column && cell(2) !~ /^:?-+:?$/ { print cell(2) "\t" cell(column) }'
}

for prog in $programs; do
	try "$prog -L" "$OUTPUT/$prog" -L
	sed "s/^/$prog:/" "$log" >> "$work/tests"
done

rows > "$work/rows"
cut -f1 "$work/rows" | sort > "$work/ids"
cut -s -f2 "$work/tests" | tr ' ' '\n' | sed '/^$/d' | sort -u > "$work/covered"

lines=100
[ -s "$work/ids" ] && [ -s "$work/covered" ]
try "the table has rows, the tests have IDs" test $? = 0
uniq -d "$work/ids" | none "no ID twice" "these are in the table twice"
cut -f1 "$work/tests" | sort | uniq -d |
	none "no test twice" "these tests have the same name"
grep -vP '^\S+\t\S' "$work/tests" |
	none "every test names what it covers" "these do not"
comm -13 "$work/ids" "$work/covered" |
	none "every ID of a test is in the table" "these are not"
awk -F'\t' '$2 !~ /^none: [^ ]/ { print $1 }' "$work/rows" | sort |
	comm -23 - "$work/covered" |
	none "every row is covered or says none: reason" "these are not"
awk -F'\t' '$2 ~ /^none:/ { print $1 }' "$work/rows" | sort |
	comm -12 - "$work/covered" |
	none "no row says none although a test covers it" "these do"

# With -ENOTSUP thp_why() makes a SKIP without a constant reason.
grep -rnE --include='*.[ch]' 'thp_why\(.*-ENOTSUP' . |
	none "every SKIP of a helper has its reason" "these should call thp_skip()"

# Makes the numbers and tables of the documents anew
mkdir "$work/documents"
try "documents can be made" check/documents.sh "$work/documents"
for file in README.md docs/contract.md docs/call-sites.md; do
	diff "$file" "$work/documents/${file##*/}" |
		none "$file agrees with the programs" "make documents mends it; < is there, > is true"
done

# With config no test may skip for want of an option.
grep -rohE --exclude-dir=check --include='*.[ch]' --include='*.def' '"(needs [^"]*|CONFIG_[^"]*)"' . |
	grep -o '\<\(CONFIG\|FAULT\)_[A-Z0-9_]*' | sed 's/^FAULT/CONFIG_&/' |
	sort -u > "$work/options"
while read -r option; do
	grep -q "^$option=[ym]" config || echo "$option"
done < "$work/options" | none "config has every option that a test asks for" "it lacks these"

# Tests name the options in the first part of config; comments give the reasons of the
# others.
awk '/^#/ { part++ } /^CONFIG_/ && part < 2 { sub(/=.*/, ""); print }' config | sort |
	comm -23 - "$work/options" |
	none "every option of config is named by a test or has a reason" "these are not"
