# SPDX-License-Identifier: GPL-2.0
#
# The cases of a campaign (see lib/campaign.sh) from the list of mutants: first each
# kernel without any. -v names: the mutants wanted, "pmdswap" for all of PMD swap entries,
# or blank for all others.

(names ~ /^ *$/ ? $2 !~ /^pmdswap-/ : index(names, " " $1 " ") ||
 ($2 ~ /^pmdswap-/ && index(names, " pmdswap "))) {
	kernel = "mutants-" $2
	if (!seen[kernel]++)
		first = first "none-" $2 "\t" kernel \
			"\tthp_lazy_split\t-\t-\n"
	all = all $1 "\t" kernel "\t" $8 "\t-\tthp_lazy_mutant=" \
		$1 "\n"
}
END { printf "%s%s", first, all }
