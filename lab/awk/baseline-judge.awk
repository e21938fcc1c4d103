# SPDX-License-Identifier: GPL-2.0
#
# Sorts items (lib/baseline.sh) into known, complaints that a kernel without a mutant
# causes as well, and told, the rest. -v dir: where these files go.

BEGIN {
	printf "" >(dir "/known")
	printf "" >(dir "/told")
}
{
	# Addresses, numbers of processes and of lines differ.
	what = $4
	if ($3 == "K")
		gsub(/0x[0-9a-f]+|[0-9a-f]+[0-9][0-9a-f]*|[0-9]+/, "N",
			what)
	id = $2 SUBSEP $3 SUBSEP what
}
/^none-/ {
	if (!(id in known))
		print $2 ": " $4 >(dir "/known")
	known[id] = 1
	if ($3 ~ /[HDK]/)
		print >(dir "/told")
	next
}
!(id in known) { print >(dir "/told") }
