# SPDX-License-Identifier: GPL-2.0
#
# The table of mutants with their outcomes, and the score. Input: results, then the list
# of mutants. -v on: the architecture that all of them ran on, blank for each mutant's own.

FNR == NR { outcome[$1] = $2; secs[$1] = $3; by[$1] = $4
	prog[$1] = $5; next }
FNR == 1 {
	print "| mutant | kind | patch | place | the bug | what a user would suffer | outcome | by | s |"
	print "|---|---|---|---|---|---|---|---|---|"
}
($1 in outcome) {
	printf "| %s | %s | %s | `%s` | %s | %s | %s | %s | %s |\n",
		$1 ((on ? on : $2) == "x86_64" ? "" : " (" (on ? on : $2) ")"), $3, $4,
		$5, $6, $7, outcome[$1],
		(prog[$1] == "-" ? "" : prog[$1] ": ") by[$1],
		secs[$1]
	n++
	why = $9
	if (sub(/.*equivalent: /, "", why))
		same++
	else
		why = "**not explained**"
	if (outcome[$1] != "killed")
		rest[++nrest] = "* `" $1 "`, " outcome[$1] ": " why
	else if (why !~ /^\*/)
		rest[++nrest] = "* `" $1 "`, killed, although **" why "**"
	count[outcome[$1]]++
	split($4, patches, /[ ,]+/)
	for (p in patches)
		if (outcome[$1] == "killed")
			caught[patches[p]] = 1
		else if (!(patches[p] in caught))
			caught[patches[p]] = 0
}
END {
	printf "\n%d of %d mutants killed by a test", count["killed"], n
	if (count["lab"])
		printf ", %d seen by the lab only", count["lab"]
	if (count["survived"])
		printf ", %d survived", count["survived"]
	if (count["error"])
		printf ", %d without a verdict", count["error"]
	printf ": %.1f %%; of the %d that can be told from the" \
		" lazy kernel, %.1f %%.\n",
		(n ? 100 * count["killed"] / n : 0), n - same,
		(n > same ? 100 * count["killed"] / (n - same) : 0)
	if (nrest)
		print "\nThe others:\n"
	for (i = 1; i <= nrest; i++)
		print rest[i]
	print ""
	for (name in outcome)
		if (name ~ /^none/)
			print "Without a mutant (" name "): " \
				outcome[name] ", " secs[name] " s."
	for (p in caught)
		if (!caught[p])
			print "No mutant of patch " p " killed."
}
