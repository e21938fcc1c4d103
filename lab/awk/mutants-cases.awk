# SPDX-License-Identifier: GPL-2.0
#
# The cases of a campaign (see lib/campaign.sh) from the list of mutants: first each
# kernel without any. -v names: the mutants wanted, "pmdswap" for all of PMD swap entries,
# or blank for all others. -v on: the architecture that all of them run on, blank for each
# mutant's own; where there are no names, those of another one are left out, but x86_64's
# are everybody's.

function wanted()
{
	if (names !~ /^ *$/)
		return index(names, " " $1 " ") ||
		       ($2 ~ /^pmdswap-/ && index(names, " pmdswap "))
	return on ? $2 == on || $2 == "x86_64" : $2 !~ /^pmdswap-/
}

wanted() {
	arch = on ? on : $2
	kernel = "mutants-" arch
	if (!seen[kernel]++)
		first = first "none-" arch "\t" kernel \
			"\tthp_lazy_split\t-\t-\n"
	all = all $1 "\t" kernel "\t" $8 "\t-\tthp_lazy_mutant=" \
		$1 "\n"
}
END { printf "%s%s", first, all }
