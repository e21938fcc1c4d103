# SPDX-License-Identifier: GPL-2.0
#
# After cost-read.awk, of some runs of the mutants kernel without a mutant, and then of one
# that does needless work: whether the measurement says so of the rows that this work is in,
# and of no other. A row is dearer that costs more than in each of the runs without. Rows that
# are too noisy to tell do not count, nor do those that are about bytes of page tables. Too
# noisy is also a row of those it is in whose rounds scatter by more than the least that this
# work costs in another one.
# -v name: the mutant. -v wanted: patterns of these rows, with blanks between them, or
# "splits" for those that split a PMD into a table, as those of files do not. -v absolute: a
# row that got dearer by less is as it was; -v relative: and so is another row by less than
# this fraction.

function is_wanted(id) {
	if (wanted == "splits")
		return splits_into_table(1, id)
	return matches(part(id, "name"), wanted)
}
function complain(text) {
	print name ": " text
	bad = 1
}
# Whether all runs, or none, have row id.
function is_complete(id,	k, with) {
	for (k = 1; k <= n; k++)
		with += (k, id) in cost
	return with == n || !with
}
function is_noisy(id,	k) {
	for (k = 1; k <= n; k++)
		if (noisy[k, id] != "")
			return 1
	return 0
}
# The most that the rounds of row id scatter by.
function most_scatter(id,	k, most) {
	for (k = 1; k <= n; k++)
		if (scatter[k, id] > most)
			most = scatter[k, id]
	return most
}
# By how much row id is dearer than in each of the other runs.
function dearer_than_all(id,	k, more, by) {
	by = dearer_by(1, n, id)
	for (k = 2; k < n; k++) {
		more = dearer_by(k, n, id)
		if (more < by)
			by = more
	}
	return by
}
END {
	for (i = 1; i <= rows; i++) {
		id = order[i]
		if (part(id, "name") ~ /^tables_/)
			continue
		label = part(id, "label")
		if (!is_complete(id)) {
			complain(label ": not measured in all runs")
			continue
		}
		if (!((n, id) in cost))
			continue
		if (is_noisy(id)) {
			vague++
			continue
		}
		more = dearer_than_all(id)
		dearer = more > absolute
		figure = sprintf("%s: %.0f, without the mutant %.0f", label, cost[n, id],
			cost[n, id] - more)
		if (is_wanted(id) && !dearer) {
			untold[id] = figure
		} else if (is_wanted(id)) {
			told++
			if (told == 1 || more < by_least)
				by_least = more
			if (told == 1 || more > by_most)
				by_most = more
		} else {
			others++
			if (dearer && more > relative * (cost[n, id] - more))
				complain(figure ": dearer, and it should not be")
			else if (cost[n, id] > 0 && more / cost[n, id] > drift)
				drift = more / cost[n, id]
		}
	}
	asked = told
	for (id in untold) {
		if (told && most_scatter(id) > by_least) {
			vague++
			continue
		}
		asked++
		complain(untold[id] ": no dearer")
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
