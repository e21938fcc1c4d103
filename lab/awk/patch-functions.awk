# SPDX-License-Identifier: GPL-2.0
#
# The functions that a patch changes, one a line: those whose definition stands above a
# changed line of a hunk, or in its header.

function named(text) {
	return match(text, /[A-Za-z_][A-Za-z0-9_]*\(/) ? \
		substr(text, RSTART, RLENGTH - 1) : ""
}
/^diff / { hunk = 0; next }
/^@@ / {
	hunk = 1
	sub(/^@@[^@]*@@ */, "")
	here = named($0)
	next
}
!hunk { next }
# A definition begins in the first column, and is no declaration.
/^[ +-][A-Za-z_]/ && !/;[ \t]*$/ && named($0) { here = named($0) }
/^[-+]/ && here && !(here in seen) {
	seen[here]
	print here
}
# What follows the end of a function is no part of it.
/^[ +]}/ { here = "" }
