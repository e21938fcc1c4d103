# SPDX-License-Identifier: GPL-2.0
#
# Whether every case has a verdict, and the kernel without a bug passed.

$2 == "error" { print "lab: no verdict: " $1 ": " $4; bad = 1 }
/^none/ && $2 != "survived" {
	print "lab: fails without a mutant: " $1 ": " $4
	bad = 1
}
END { exit bad }
