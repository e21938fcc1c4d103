# SPDX-License-Identifier: GPL-2.0
#
# What a person has to know of the output of run_tests.sh: the result of each program, and
# what follows the last. -v green, red, yellow, plain: colours, or nothing; fold.awk goes
# before.

/^# TAP version / { inside = 1; n = 0 }
/^(not )?ok [0-9]+ / {
	inside = n = 0
	begun = 1
	paint(/^not/ ? red : /# SKIP/ ? yellow : green, $0)
	next
}
/^# aborted by / || /^Bail out!/ { inside = 0; begun = 1 }
begun && !inside { rest[++n] = $0 }
END {
	for (i = 1; i <= n; i++) {
		line = rest[i]
		sub(/^# /, "", line)
		if (line ~ /^(Failed|Findings)/)
			bad = 1
		hue = ""
		if (line ~ /^Verdict:/) {
			bad = 0
			hue = line ~ /passed/ ? green : line ~ /FAILED/ ? red : yellow
		} else if (bad || line ~ /^(aborted|Bail out)/) {
			hue = red
		}
		fold(hue, line)
	}
}
