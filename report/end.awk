# SPDX-License-Identifier: GPL-2.0
#
# What a person has to know of the output of run_tests.sh: the result of each program, and
# what follows the last. -v green, red, yellow, plain: colours, or nothing; columns: of the
# terminal. Long lines are broken between words, but for commands, which are there to be
# copied.

function paint(hue, text) { print hue text (hue == "" ? "" : plain) }

function fold(hue, text,	indent, i) {
	match(text, /^ *([0-9]+(\.| x) )?/)
	indent = sprintf("%" RLENGTH "s", "")
	while (length(text) > columns && text !~ / -t [^ ]*$/) {
		for (i = columns + 1; i > length(indent) && substr(text, i, 1) != " "; i--)
			;
		if (i <= length(indent))
			break
		paint(hue, substr(text, 1, i - 1))
		text = indent substr(text, i + 1)
	}
	paint(hue, text)
}

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
