# SPDX-License-Identifier: GPL-2.0
#
# The name of the last test in a channel.

/^# # *RUN / { test = $4; next }
/^# (not )?ok [0-9]/ {
	sub(/^# (not )?ok [0-9]+ (- )?/, "")
	test = "after " $1
	next
}
/^(not )?ok [0-9]/ {
	sub(/^(not )?ok [0-9]+ (- )?/, "")
	test = "after " $1
}
END { print test == "" ? "none" : test }
