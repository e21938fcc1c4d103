# SPDX-License-Identifier: GPL-2.0
#
# The table of the mm selftests: which program noticed which mutant. Input: the files
# programs, runs, known, told and results of the campaign's folder.

FILENAME ~ /programs$/ {
	prog[++np] = $1
	args[$1] = $3
	next
}
FILENAME ~ /runs$/ {
	if ($1 ~ /^none-/)
		without[$2] = without[$2] (without[$2] ? ", " : "") \
			$4 "/" $5 "/" $6 " in " $3 " s"
	next
}
FILENAME ~ /known$/ {
	known = known "- " $0 "\n"
	next
}
FILENAME ~ /told$/ {
	if (index(cell[$1, $2], $3) == 0)
		cell[$1, $2] = cell[$1, $2] $3
	if (!($1 in told))
		order[++nt] = $1
	if (++said[$1, $2] <= 2)
		told[$1] = told[$1] "; " $2 ": " $4
	next
}
FNR == 1 {
	printf "| mutant |"
	for (i = 1; i <= np; i++)
		printf " %s |", prog[i]
	print " all together | s |"
	printf "|---|"
	for (i = 1; i <= np; i++)
		printf "---|"
	print "---|---|"
}
/^none-/ {
	secs = secs (secs ? ", " : "") $3
	next
}
{
	printf "| %s |", $1
	for (i = 1; i <= np; i++) {
		c = cell[$1, prog[i]]
		printf " %s |", $2 == "error" ? "?" : c ? c : "-"
		if (c)
			kills[prog[i]]++
	}
	print " " $2 " | " $3 " |"
	n++
	total += $3
	count[$2]++
}
END {
	print "\nKilled: T a subtest failed, twice, that passes" \
		" without a mutant, E exit status, H hung, D the" \
		" guest died, K the kernel complained. -: survived.\n"
	printf "%d of %d mutants killed by the mm selftests" \
		" together", count["killed"], n
	if (count["error"])
		printf ", %d without a verdict", count["error"]
	print ".\n"
	print "| program | arguments | killed |" \
		" without a mutant: subtests passed/failed/skipped |"
	print "|---|---|---|---|"
	for (i = 1; i <= np; i++)
		printf "| %s | %s | %d of %d | %s |\n", prog[i],
			args[prog[i]], kills[prog[i]], n,
			without[prog[i]]
	printf "\n%d s per mutant on average, %s s without one," \
		" in guests of %d CPUs, THP enabled=always.\n", n ? total / n : 0,
		secs, cpus
	if (known)
		printf "\n%s\n%s", "Fails without a mutant, and so" \
			" kills none:", known
	if (nt)
		print "\nWhat told, at most two per program:"
	for (i = 1; i <= nt; i++)
		print "- " order[i] ": " substr(told[order[i]], 3)
}
