# SPDX-License-Identifier: GPL-2.0
#
# After cost-read.awk: the rows that cost more than on the first kernel of the architecture,
# by more than -v relative, a fraction, and -v absolute, instructions; with the reasons in
# file -v reasons, lines of "patterns | reason", of which the first that fits is it. The
# pattern "splits" is a row that splits a PMD into a table, as often on either kernel. Rows
# that are too noisy on one of the two are counted, and no more is said of them.

function read_reasons(	line, at) {
	while ((getline line < reasons) > 0) {
		at = index(line, " | ")
		if (line ~ /^#/ || !at)
			continue
		pattern[++known_reasons] = substr(line, 1, at - 1)
		reason[known_reasons] = substr(line, at + 3)
	}
}
function reason_of(base, k, id,	i) {
	for (i = 1; i <= known_reasons; i++)
		if (pattern[i] == "splits" ? splits_into_table(k, id) && splits[k, id] == splits[base, id] \
		    : matches(part(id, "name"), pattern[i]))
			return i
	return 0
}
function print_reason(k, r,	i) {
	if (!(r in listed))
		return
	print ""
	print "* " (r ? reason[r] : "**Not explained:**") " " count[r] " rows, by " \
		fewest[r] " to " most[r] " instructions:"
	print "  " listed[r] "."
}
function print_kernel(k,	base, i, id, more, r, rest, total) {
	base = first(k)
	split("", listed)
	split("", count)
	for (i = 1; i <= rows; i++) {
		id = order[i]
		if (part(id, "name") ~ /^tables_/ || !((k, id) in cost) || !((base, id) in cost))
			continue
		if (noisy[base, id] noisy[k, id] != "") {
			vague++
			continue
		}
		more = dearer_by(base, k, id)
		total++
		cheaper += more < -absolute && more < -relative * cost[base, id]
		if (more <= absolute || more <= relative * cost[base, id])
			continue
		r = reason_of(base, k, id)
		listed[r] = listed[r] (count[r]++ ? ", " : "") "`" part(id, "label") "` " \
			ratio(base, k, id, "-")
		if (count[r] == 1 || more < fewest[r])
			fewest[r] = int(more)
		if (more > most[r] || count[r] == 1)
			most[r] = int(more)
	}
	rest = total - cheaper
	for (r = 0; r <= known_reasons; r++)
		rest -= count[r]
	print ""
	print "Of " total " rows " cheaper + 0 " cost less on " kernel[k] " than on " kernel[base] \
		", " rest " the same, and these more (" vague + 0 " others are too noisy to tell):"
	for (r = 1; r <= known_reasons; r++)
		print_reason(k, r)
	print_reason(k, 0)
	cheaper = vague = 0
}
END {
	read_reasons()
	for (k = 1; k <= n; k++)
		if (is_compared(k))
			print_kernel(k)
}
