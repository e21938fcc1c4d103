# SPDX-License-Identifier: GPL-2.0
#
# The table of file refusals of a run: all triggers, what each injector did to them.

{
	test = $1
	sub(/\.[^.]*$/, "", test)
	if (!(test in seen)) {
		seen[test] = 1
		order[++n] = test
	}
	if (!($2 in known)) {
		known[$2] = 1
		column[++nc] = $2
	}
	what = $5 " (" $4 ")"
	if ($3 == "needs none")
		what = "*" what "*"
	old = cell[test, $2]
	cell[test, $2] = old (old == "" ? "" : "; ") what
}
END {
	printf "| trigger |"
	for (c = 1; c <= nc; c++)
		printf " %s |", column[c]
	printf "\n|---|"
	for (c = 1; c <= nc; c++)
		printf "---|"
	print ""
	for (i = 1; i <= n; i++) {
		printf "| %s |", order[i]
		for (c = 1; c <= nc; c++)
			printf " %s |", cell[order[i], column[c]]
		print ""
	}
}
