# SPDX-License-Identifier: GPL-2.0
#
# The outcome of every case, from the file told (told=1) and the results (told=0), into
# NAME.result in -v dir.

told {
	if (!($1 in by))
		by[$1] = $2 ": " $4
	next
}
$2 != "error" {
	$2 = $1 in by ? "killed" : "survived"
	$4 = $1 in by ? by[$1] : "-"
}
{
	file = dir "/" $1 ".result"
	print >file
	close(file)
}
