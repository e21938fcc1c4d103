# SPDX-License-Identifier: GPL-2.0
#
# After cost-read.awk: kernels side by side, those of each architecture in a table of their
# own: instructions and bytes of page tables per THP, and the ratio of the instructions to
# those of the first kernel. Then what was not measured, and why.

function print_head(a,	k) {
	printf "%-32s %6s %5s", "instructions per THP, " a, "THPs", "procs"
	for (k = 1; k <= n; k++)
		if (arch[k] == a)
			printf "  %20s %7s%s", kernel[k], "B", (k > first(k) ? "  ratio" : "")
	print ""
}
function print_row(a, id,	k, some) {
	for (k = 1; k <= n; k++)
		some = some || (arch[k] == a && (k, id) in cost)
	if (!some)
		return
	printf "%-32s %6d %5d", part(id, "name"), part(id, "thps"), part(id, "procs")
	for (k = 1; k <= n; k++) {
		if (arch[k] != a)
			continue
		if ((k, id) in cost)
			printf "  %20s %+7d", noisy[k, id] sprintf("%.0f", cost[k, id]), bytes[k, id]
		else
			printf "  %20s %7s", "-", "-"
		if (k > first(k))
			printf " %6s", ratio(first(k), k, id, "-")
	}
	print ""
}
function print_table(a,	i) {
	if (tables++)
		print ""
	print_head(a)
	for (i = 1; i <= rows; i++)
		print_row(a, order[i])
}
# Each reason with the first rows that it is the reason of, whatever the numbers of THPs.
function print_reasons(k,	i, id, text, list, count, seen, reasons, at, name) {
	for (i = 1; i <= rows; i++) {
		id = order[i]
		if (!((k, id) in why))
			continue
		text = why[k, id]
		if (!(text in count))
			at[++reasons] = text
		name = part(id, "name")
		if (!((text, name) in seen) && ++count[text] <= 3)
			list[text] = list[text] " " name
		seen[text, name] = 1
	}
	for (i = 1; i <= reasons; i++) {
		text = at[i]
		print "not measured on " kernel[k] ": " text ":" list[text] \
			(count[text] > 3 ? " and " count[text] - 3 " more" : "")
	}
}
END {
	for (k = 1; k <= n; k++)
		if ((k in arch) && first(k) == k)
			print_table(arch[k])
	for (k = 1; k <= n; k++) {
		if (!(k in arch))
			print "no figures of " kernel[k]
		print_reasons(k)
	}
}
