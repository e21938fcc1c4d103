#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# documents.sh DIR: writes README.md, docs/contract.md and docs/call-sites.md into DIR
# with all parts generated from the code, and check/ids with new IDs. "make documents"
# installs them; check/docs.sh fails if the documents differ. Needs OUTPUT, where the
# programs are.

set -e
dir=$1
[ -d "$dir" ] && [ "$OUTPUT" ]
. check/programs.sh

# block NAME FILE: copies stdin, with the text between the marks of NAME replaced by
# FILE
block()
{
	awk -v name="$1" -v file="$2" '
		$0 == "<!-- end of " name " -->" { inside = 0 }
		!inside { print }
		$0 == "<!-- made by make documents: " name " -->" {
			while ((getline line < file) > 0)
				print line
			inside = 1
		}'
}

for prog in $programs; do
	"$OUTPUT/$prog" -L | sed "s/^/$prog	/"
done > "$dir/tests"

# Old IDs stay in the list: check/ids.sh reports those that have disappeared.
{
	grep '^#' check/ids
	{ grep -v '^#' check/ids; awk -F'\t' '{ print $1 ":" $2 }' "$dir/tests"; } |
		LC_ALL=C sort -u
} > "$dir/ids"

# Numbers of tests: a column of the table of programs, and the plan in the sample. Of
# mutants: those of the series, and the others.
awk -F'\t' -v list=lab/kernel/mutants/list '
	FNR == NR { tests[$1]++; total++; next }
	FNR == 1 {
		while ((getline line < list) > 0)
			if (line !~ /^(#|$)/ && split(line, field, / \| /) > 4)
				mutants[field[4] != "0"]++
	}
	/^\| `thp_[a-z_]*` \| [0-9]* \|/ {
		split($0, cell, / \| /)
		name = cell[1]
		gsub(/[| `]/, "", name)
		sub(/ \| [0-9]* \|/, " | " tests[name] " |")
	}
	/^\| all \| [0-9]* \|/ { sub(/[0-9]+/, total) }
	/^\t# 1\.\.[0-9]+$/ { sub(/[0-9]+$/, tests["thp_lazy_split"]) }
	/mutants\/list\)\): [0-9]+ in the code/ { sub(/\): [0-9]+/, "): " mutants[1]) }
	/, and [0-9]+ that any kernel/ { sub(/, and [0-9]+/, ", and " mutants[0] + 0) }
	{ print }' "$dir/tests" README.md > "$dir/README.md"

"$OUTPUT/obj/check/rows" > "$dir/rows"
awk -f check/state-table.awk migrate/state_ops.c > "$dir/state"
block rows "$dir/rows" < docs/contract.md | block state "$dir/state" > "$dir/contract.md"

# Covered by: the programs whose tests name the ID, in their order
awk -F'\t' -v programs="$programs" '
	BEGIN { count = split(programs, order, " ") }
	FNR == NR {
		n = split($3, ids, " ")
		for (i = 1; i <= n; i++)
			covers[ids[i], $1] = 1
		next
	}
	FNR == 1 { FS = "|" }
	!/^\|/ { column = 0 }
	/^\| ID \|.*\| Covered by \|$/ { column = 1 }
	column && /^\| [a-z0-9-]+ \|/ {
		id = $0
		gsub(/^\| | \|.*/, "", id)
		text = ""
		for (i = 1; i <= count; i++)
			if ((id, order[i]) in covers)
				text = text (text ? ", " : "") order[i]
		if (text)
			sub(/\| [^|]* \|$/, "| " text " |")
	}
	{ print }' "$dir/tests" docs/call-sites.md > "$dir/call-sites.md"
