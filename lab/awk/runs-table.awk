# SPDX-License-Identifier: GPL-2.0
#
# The table of runs from their summaries, each after a line "run NAME KERNEL"; then the
# failures, the lines of the kernel log, and the SKIPs. -v programs: the columns.

function put(col, text) {
	cell[n, col] = text
	if (length(text) > width[col])
		width[col] = length(text)
}
# A kernel that ran no test counts as one failure.
function finish() {
	if (bad && !failures)
		fail++
	if (gone && !skips_here)
		skip++
	if (!found)
		failed = failed failed_here
	failed_here = ""
	bad = gone = failures = skips_here = found = 0
}
function verdict(s) {
	if (s == 0)
		return "pass"
	return s == 1 ? "FAIL" : s == 4 ? "skip" : "ERROR"
}
BEGIN {
	n = 0
	np = split(programs, prog)
	put(1, "kernel"); put(2, "release"); put(3, "THP")
	put(4, "mode"); put(5, "B/THP")
	for (i = 1; i <= np; i++) {
		column[prog[i]] = i + 5
		short = prog[i]
		sub(/^thp_/, "", short)
		put(i + 5, short)
	}
	last = np + 7
	put(last - 1, "time"); put(last, "verdict")
}
$1 == "run" {
	finish()
	n++
	name = $2
	kernel = $3
	put(1, name)
	for (i = 2; i < last; i++)
		put(i, "-")
	next
}
{ key = $1; rest = $0; sub(/^[^ ]+ /, "", rest) }
key == "status" {
	put(last, verdict($2))
	bad = $2 != 0 && $2 != 4
	gone = $2 == 4
}
key == "time" && $2 { put(last - 1, $2 " s") }
key == "release" { put(2, $2) }
key == "thp" { put(3, $2) }
key == "mode" { put(4, $2) }
key == "bytes" { put(5, $2) }
key == "program" && ($2 in column) { put(column[$2], $3) }
key == "pass" { pass += $2 }
key == "fail" { fail += $2; failures = $2 }
key == "skip" { skip += $2; skips_here = $2 }
key == "failed" { failed_here = failed_here "  " name ": " rest "\n" }
# In place of the failures, where the run has them
key == "finding" {
	sub(/^Findings: /, name ": ", rest)
	finding = finding "  " rest "\n"
	found = 1
}
key == "log" { log_ = log_ "  " name ": " rest "\n" }
key == "trouble" { trouble = trouble "  " name ": " rest "\n" }
key == "refusal" && ($3 || $5) {
	refusal = refusal "  " name ": " $2 ": " $4 " of " $3 \
		" that need a table, " $6 " of " $5 \
		" that need none\n"
}
key == "oddity" { oddity = oddity "  " name ": " rest "\n" }
key == "note" { note = note "  " name ": " rest "\n" }
key == "skipped" {
	sub(/^[^ ]+ /, "", rest)
	id = rest
	if (!(id in reason)) {
		order[++nr] = id
		reason[id] = ""
	}
	if (!((id, kernel) in skips))
		reason[id] = reason[id] SUBSEP kernel
	skips[id, kernel] += $2
}
END {
	finish()
	for (r = 0; r <= n; r++) {
		line = ""
		for (c = 1; c <= last; c++)
			line = line sprintf("%-" width[c] "s  ",
				cell[r, c])
		sub(/ +$/, "", line)
		print line
	}
	print "(tests passed/failed/skipped; ! a program that" \
		" failed as a whole; B/THP: bytes of page table" \
		" that a mapped THP costs)"
	if (trouble)
		printf "Trouble:\n%s", trouble
	if (finding)
		printf "Findings:\n%s", finding
	if (failed)
		printf "Failed:\n%s", failed
	if (log_)
		printf "Kernel log:\n%s", log_
	if (note)
		printf "Guests:\n%s", note
	if (nr)
		print "Skipped, by reason:"
	for (r = 1; r <= nr; r++) {
		id = order[r]
		line = ""
		nk = split(reason[id], kernels, SUBSEP)
		for (k = 2; k <= nk; k++)
			line = line (k > 2 ? ", " : "") \
				kernels[k] " " skips[id, kernels[k]]
		print "  " id ": " line
	}
	if (refusal)
		printf "Triggers that an injector refused" \
			" (one by one in the file refusals of" \
			" the run):\n%s", refusal
	if (oddity)
		printf "Needs a table and was not refused, or" \
			" needs none and was:\n%s", oddity
	printf "%d passed, %d failed, %d skipped\n",
		pass, fail, skip
}
