# SPDX-License-Identifier: GPL-2.0
#
# Reads the costs of several kernels, the JSON of run_tests.sh -B, one object a line, after a
# line "@ KERNEL" for each. For the programs that follow it on awk's command line:
#	n, kernel[k]		kernels, from 1 on
#	arch[k], thp[k]		of its first line; thp: bytes of a THP
#	rows, order[i], part(id, "name" | "thps" | "procs" | "label")
#				what was measured on any of them
#	cost[k, id]		instructions, per THP like all of these: the median
#	least[k, id]		and what no interrupt has added to
#	scatter[k, id]		the distance of the quartiles
#	bytes[k, id], splits[k, id], rounds[k, id]
#	noisy[k, id]		"~" or ""
#	why[k, id]		the reason, where there are no figures

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
function part(id, what,	p) {
	split(id, p, SUBSEP)
	if (what == "name")
		return p[1]
	if (what == "label")
		return p[1] " " p[2] (p[3] > 1 ? " x" p[3] : "")
	return (what == "thps" ? p[2] : p[3]) + 0
}
# Whether a row splits a PMD into a table: of files, the split only unmaps it.
function splits_into_table(k, id) {
	return splits[k, id] > 0 && part(id, "name") !~ /_shmem$/
}
# Whether a text is one of several patterns, with blanks between them.
function matches(text, patterns,	p, i, count, re) {
	count = split(patterns, p, " ")
	for (i = 1; i <= count; i++) {
		re = p[i]
		gsub(/\*/, ".*", re)
		if (text ~ "^" re "$")
			return 1
	}
	return 0
}
# Of kernel k, as a multiple of what it is on kernel base.
function ratio(base, k, id, none) {
	if (!((base, id) in cost) || !((k, id) in cost) || cost[base, id] <= 0 || cost[k, id] <= 0)
		return none
	return sprintf("%.2f", cost[k, id] / cost[base, id])
}
# How many instructions more row id costs on kernel k than on kernel base: by the median and
# by the least of its rounds, of which the one alone moves with the interrupts of the guest's
# timer. 0 if these two disagree, or if the rounds on either kernel scatter by more. Only
# where the row was measured on both.
function dearer_by(base, k, id,	more, least_of, size) {
	more = cost[k, id] - cost[base, id]
	least_of = least[k, id] - least[base, id]
	if (more * least_of <= 0)
		return 0
	if (more > 0 ? least_of < more : least_of > more)
		more = least_of
	size = more < 0 ? -more : more
	return size > scatter[base, id] && size > scatter[k, id] ? more : 0
}
# The first kernel of the architecture of kernel k.
function first(k,	i) {
	for (i = 1; arch[i] != arch[k]; i++)
		;
	return i
}
# Whether kernel k is compared with another one.
function is_compared(k) {
	return (k in arch) && first(k) != k
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
	if (!(n in arch)) {
		arch[n] = field("arch")
		thp[n] = field("thp_bytes") + 0
	}
	if (field("rounds") + 0) {
		cost[n, id] = field("ns") + 0
		least[n, id] = field("ns_min") + 0
		scatter[n, id] = field("ns_spread") * cost[n, id]
		bytes[n, id] = field("bytes") + 0
		splits[n, id] = field("splits") + 0
		rounds[n, id] = field("rounds") + 0
		noisy[n, id] = field("noisy") == "true" ? "~" : ""
	} else {
		why[n, id] = field("skipped") field("failed")
		if (why[n, id] == "")
			why[n, id] = "no reason"
	}
}
