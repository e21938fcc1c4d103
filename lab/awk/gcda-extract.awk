# SPDX-License-Identifier: GPL-2.0
#
# The counters of a kernel with gcov, into N.base64 and names in -v dir.

$1 == "f" {
	if (out)
		close(out)
	n++
	out = dir "/" n ".base64"
	print n, $2 >(dir "/names")
	next
}
{ print $2 >out }
