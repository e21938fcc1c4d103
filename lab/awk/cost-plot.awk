# SPDX-License-Identifier: GPL-2.0
#
# After cost-read.awk: data for gnuplot, with tabulators between columns and NaN where there
# is no figure. -v form says what for:
#	bars	what an operation on most THPs costs, without the table of operations; each
#		kernel has a column, in their order
#	ratios	every row, its costs as a multiple of those of the first kernel of the
#		architecture; the others have a column each, with their names in the first line
# and these as blocks, one for each kernel and kind, with a name:
#	tables	GiB mapped, MiB of page tables
#	forks	children, KiB of page tables of all of them
# A block's name is "KERNEL, KIND"; gnuplot takes the first line for it.

# Rows of the table of operations are on that many THPs, and no other row is.
function of_operations(id) {
	return part(id, "thps") == 4
}
function of_curves(id) {
	return part(id, "name") ~ /^tables_/
}
# Whether a row of this name has more THPs, or a kernel lacks the figure.
function is_most(id,	i, k, other) {
	for (i = 1; i <= rows; i++) {
		other = order[i]
		if (part(other, "name") == part(id, "name") &&
		    part(other, "procs") == part(id, "procs") &&
		    part(other, "thps") > part(id, "thps") && (1, other) in cost)
			return 0
	}
	return (1, id) in cost
}
function number(k, id) {
	return (k, id) in cost && cost[k, id] > 0 ? sprintf("%.0f", cost[k, id]) : "NaN"
}
function print_numbers(id,	k) {
	printf "\"%s\"", part(id, "label")
	for (k = 1; k <= n; k++)
		printf "\t%s", number(k, id)
	print ""
}
function print_names(	k, line) {
	for (k = 1; k <= n; k++)
		if (is_compared(k))
			line = line "\t\"" kernel[k] "\""
	if (line != "")
		print "\"row\"" line
}
function print_ratios(id,	k, value, line, figures) {
	for (k = 1; k <= n; k++) {
		if (!is_compared(k))
			continue
		value = ratio(first(k), k, id, "NaN")
		figures += value != "NaN"
		line = line "\t" value
	}
	if (figures)
		print "\"" part(id, "label") "\"" line
}
function print_block(k, kind,	i, id, head) {
	for (i = 1; i <= rows; i++) {
		id = order[i]
		if (!((k, id) in cost))
			continue
		if (form == "tables" && part(id, "name") == "tables_" kind) {
			if (!head++)
				print "\"" kernel[k] ", " kind "\""
			printf "%g\t%g\n", part(id, "thps") * thp[k] / 1073741824,
				bytes[k, id] * part(id, "thps") / 1048576
		} else if (form == "forks" && part(id, "name") == "tables_forks_" kind) {
			if (!head++)
				print "\"" kernel[k] ", " kind "\""
			printf "%d\t%g\n", part(id, "procs") - 1,
				bytes[k, id] * part(id, "thps") / 1024
		}
	}
	if (head)
		print "\n"
}
END {
	if (form == "tables" || form == "forks") {
		for (k = 1; k <= n; k++) {
			print_block(k, "anon")
			print_block(k, "zero")
		}
		exit
	}
	if (form == "ratios")
		print_names()
	for (i = 1; i <= rows; i++) {
		id = order[i]
		if (of_curves(id))
			continue
		if (form == "ratios")
			print_ratios(id)
		else if (!of_operations(id) && is_most(id))
			print_numbers(id)
	}
}
