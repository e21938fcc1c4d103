# SPDX-License-Identifier: GPL-2.0
#
# What the lab prints, for a terminal (report/fold.awk, which goes before): a table of runs
# that is too wide stands on its side, and of one of cases, which is Markdown, there is what
# was told of each.

# How wide the column of run r is
function wide(r,	c, most) {
	for (c = 1; c <= cells; c++)
		if (length(cell[r, c]) > most)
			most = length(cell[r, c])
	return most
}

# The runs one beside the other, as many as there is room for, then the next ones
function sideways(	r, c, i, from, room, text) {
	for (from = 2; from <= rows; from = r) {
		if (from > 2)
			print ""
		room = columns - wide(1)
		for (r = from; r <= rows && (r == from || room >= wide(r) + 2); r++)
			room -= wide(r) + 2
		for (c = 1; c <= cells; c++) {
			text = sprintf("%-" wide(1) "s", cell[1, c])
			for (i = from; i < r; i++)
				text = text sprintf("  %-" wide(i) "s", cell[i, c])
			sub(/ +$/, "", text)
			print text
		}
	}
}

/^kernel +release / {
	inside = 1
	rows = widest = 0
}
/^\(tests passed/ {
	if (widest > columns)
		sideways()
	for (i = 1; widest <= columns && i <= rows; i++)
		print row[i]
	inside = 0
}
inside {
	row[++rows] = $0
	if (length($0) > widest)
		widest = length($0)
	cells = split($0, part, /  +/)
	for (i = 1; i <= cells; i++)
		cell[rows, i] = part[i]
	next
}

/^\| .* \| outcome \| by \| s \|$/ {
	told = NF
	next
}
told && /^\|[-|]*$/ { next }
told && /^\|/ {
	n = split($0, part, / *\| */)
	fold("", part[2] ": " part[n - 3] ", " part[n - 1] " s" (part[n - 2] == "-" ? "" : ":"))
	if (part[n - 2] != "-")
		fold("", "  " part[n - 2])
	next
}

{
	told = 0
	fold("", $0)
}
