# SPDX-License-Identifier: GPL-2.0
#
# The costs of several kernels side by side, from the JSON of run_tests.sh -B, one object a
# line, after a line "@ KERNEL" for each kernel. With -v form=table: instructions and bytes of
# page tables per THP, and the ratio of the instructions to those of the first kernel; then
# what was not measured, and why. With form=ratios: the ratios alone, tabulators between
# them, NaN where there is none.

# The value of a field of this line; its strings have no quotes in them.
function field(key,	at, text) {
	at = index($0, "\"" key "\":")
	if (!at)
		return ""
	text = substr($0, at + length(key) + 3)
	if (substr(text, 1, 1) == "\"") {
		text = substr(text, 2)
		return substr(text, 1, index(text, "\"") - 1)
	}
	sub(/[,}].*/, "", text)
	return text
}
function ratio(k, id, none) {
	if (!((1, id) in cost) || !((k, id) in cost) || cost[1, id] <= 0 || cost[k, id] <= 0)
		return none
	return sprintf("%.2f", cost[k, id] / cost[1, id])
}
function print_head(	k) {
	printf "%-32s %5s %5s", "instructions per THP", "THPs", "procs"
	for (k = 1; k <= n; k++)
		printf "  %18s %6s%s", kernel[k], "B", (k > 1 ? "  ratio" : "")
	print ""
}
function print_row(id,	k, part) {
	split(id, part, SUBSEP)
	printf "%-32s %5d %5d", part[1], part[2], part[3]
	for (k = 1; k <= n; k++) {
		if ((k, id) in cost)
			printf "  %18s %+6d", noisy[k, id] sprintf("%.0f", cost[k, id]), bytes[k, id]
		else
			printf "  %18s %6s", "-", "-"
		if (k > 1)
			printf " %6s", ratio(k, id, "-")
	}
	print ""
}
function print_ratios(id,	k, part) {
	split(id, part, SUBSEP)
	printf "\"%s %d %d\"", part[1], part[2], part[3]
	for (k = 2; k <= n; k++)
		printf "\t%s", ratio(k, id, "NaN")
	print ""
}
# Each row and reason once for a kernel, whatever the numbers of THPs.
function print_reasons(id,	k, part, line) {
	split(id, part, SUBSEP)
	for (k = 1; k <= n; k++) {
		if (!((k, id) in why))
			continue
		line = "not measured on " kernel[k] ": " part[1] ": " why[k, id]
		if (!(line in said))
			print line
		said[line] = 1
	}
}
/^@ / {
	n++
	kernel[n] = $2
	next
}
{
	id = field("row") SUBSEP field("thps") SUBSEP field("procs")
	if (!(id in known))
		order[++rows] = id
	known[id] = 1
	if (field("rounds") + 0) {
		cost[n, id] = field("ns") + 0
		bytes[n, id] = field("bytes") + 0
		noisy[n, id] = field("noisy") == "true" ? "~" : ""
		figures[id] = 1
	} else {
		why[n, id] = field("skipped") field("failed")
	}
}
END {
	if (form == "table")
		print_head()
	for (i = 1; i <= rows; i++) {
		if (!(order[i] in figures))
			continue
		if (form == "table")
			print_row(order[i])
		else
			print_ratios(order[i])
	}
	for (i = 1; i <= rows && form == "table"; i++)
		print_reasons(order[i])
}
