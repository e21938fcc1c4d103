# SPDX-License-Identifier: GPL-2.0
#
# After cost-read.awk, of the mutants kernel without a mutant, and then of one that does
# needless work: whether the measurement says so of the rows that this work is in, and of no
# other. Rows that are too noisy to tell do not count, nor do those that are about bytes of
# page tables. -v name: the mutant. -v wanted: patterns of these rows, with blanks between
# them, or "splits" for those that split a PMD into a table, as those of files do not.
# -v relative, absolute: a row that got dearer by less than either is as it was.

function is_wanted(id) {
	if (wanted == "splits")
		return splits_into_table(1, id)
	return matches(part(id, "name"), wanted)
}
function complain(text) {
	print name ": " text
	bad = 1
}
END {
	for (i = 1; i <= rows; i++) {
		id = order[i]
		if ((!((1, id) in cost) && !((2, id) in cost)) || part(id, "name") ~ /^tables_/)
			continue
		label = part(id, "label")
		if (!((1, id) in cost) || !((2, id) in cost)) {
			complain(label ": measured with" ((1, id) in cost ? "out" : "") \
				" the mutant only")
			continue
		}
		if (noisy[1, id] noisy[2, id] != "") {
			vague++
			continue
		}
		more = dearer_by(1, 2, id)
		dearer = more > absolute && more > relative * cost[1, id]
		figure = sprintf("%s: %.0f, without the mutant %.0f", label, cost[2, id],
			cost[1, id])
		if (is_wanted(id)) {
			asked++
			told += dearer
			if (!dearer)
				complain(figure ": no dearer")
			if (asked == 1 || more < by_least)
				by_least = more
			if (asked == 1 || more > by_most)
				by_most = more
		} else {
			others++
			if (dearer)
				complain(figure ": dearer, and it should not be")
			else if (cost[1, id] > 0 && more / cost[1, id] > drift)
				drift = more / cost[1, id]
		}
	}
	if (!asked)
		complain("no row of " wanted " was measured")
	if (!others)
		complain("no other row was measured")
	printf "%s: %d of %d rows of %s are dearer, by %d to %d instructions; " \
		"the %d others by %.1f%% at most; %d are too noisy to tell\n",
		name, told, asked, wanted, by_least, by_most, others, drift * 100, vague
	exit bad
}
