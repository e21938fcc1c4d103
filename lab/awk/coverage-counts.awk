# SPDX-License-Identifier: GPL-2.0
#
# "file line count" of every line that has code, from the output of gcov -t.

$2 + 0 == 0 && $3 == "Source" {
	file = $4
	next
}
{
	gsub(/ /, "", $1)
	if ($1 == "-" || $1 == "")
		next
	count = $1 ~ /^[#=]/ ? 0 : $1 + 0
	print file, $2 + 0, count
}
