# SPDX-License-Identifier: GPL-2.0
#
# The outcomes of all tests, in the files failed, passed and skipped in -v dir, as
# findings.awk reads them, from the list of tests (kind=covers) and a KTAP (kind=ktap).
# The program of the last tests has no line of its own if the guest died: it is one of -v
# programs that has not ended and has the last test, the next one if several have.

function flush_tests(prog,	i) {
	for (i = 1; i <= n; i++)
		print prog ":" text[i] >(dir "/" state[i])
	n = 0
}
function unfinished(	i, j, m, list, part, next_one) {
	m = split(programs, list, " ")
	for (j = n; j >= 0; j--) {
		split(text[j], part, " ")
		for (i = 0; i < m; i++) {
			next_one = list[(done + i) % m + 1]
			if (!(next_one in ended) && (!j || (next_one ":" part[1]) in known))
				return next_one
		}
	}
	return list[m]
}
kind == "covers" { known[$1] }
kind != "ktap" { next }
/^# (not )?ok [0-9]/ {
	state[++n] = $2 != "ok" ? "failed" : /# SKIP/ ? "skipped" : "passed"
	sub(/^# (not )?ok [0-9]+ (- )?/, "")
	text[n] = $0
}
/^(not )?ok [0-9]/ {
	prog = $0
	sub(/^(not )?ok [0-9]+ (- )?/, "", prog)
	cause = prog
	sub(/ .*/, "", prog)
	sub(/^[^#]*# */, "", cause)
	failures = 0
	for (i = 1; i <= n; i++)
		failures += state[i] == "failed"
	if (/^not/ && !failures)
		print prog ": " cause >(dir "/failed")
	flush_tests(prog)
	ended[prog]
	m = split(programs, list, " ")
	for (i = 1; i <= m; i++)
		if (list[i] == prog)
			done = i
}
END {
	if (n)
		flush_tests(unfinished())
}
