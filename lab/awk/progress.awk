# SPDX-License-Identifier: GPL-2.0
#
# A line that says how far a guest is, from its channel; -v programs: all, in order.

BEGIN { split(programs, order) }
/^@lab up/ { up = 1 }
/^@lab exit/ { ended = 1 }
/^1\.\.[0-9]/ { total = substr($1, 4) + 0 }
/^# 1\.\.[0-9]/ { plan = substr($2, 4) + 0; done = 0 }
/^# ok [0-9]/ { done++ }
/^# not ok [0-9]/ { done++; failed++ }
/^# # *RUN / { test = $4 }
/^(not )?ok [0-9]/ { over++; bad += $1 == "not"; plan = done = 0; test = "" }
END {
	if (!up)
		print "booting"
	else if (ended)
		print "ending, " failed + 0 " failed"
	else if (!total)
		print "up"
	else {
		line = "program " (over < total ? over + 1 : total) " of " total
		# Named by their order only if all of them run.
		if (total in order && !(total + 1 in order) && over < total)
			line = order[over + 1]
		if (plan)
			line = line ": " done " of " plan " tests"
		print line ", " failed + 0 " failed" (test == "" ? "" : ", " test)
	}
}
