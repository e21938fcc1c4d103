# SPDX-License-Identifier: GPL-2.0
#
# The outcomes of all tests, in the files failed, passed and skipped in -v dir, as
# findings.awk reads them, from the list of tests (kind=covers) and a KTAP (kind=ktap).
# The program of the last tests has no line of its
# own if the guest died: it is the next one of -v programs that has such a test.

function flush_tests(prog,	i) {
	for (i = 1; i <= n; i++)
		print prog ":" text[i] >(dir "/" state[i])
	n = 0
}
function unfinished(	i, j, m, list, part) {
	m = split(programs, list, " ")
	for (i = done + 1; i <= m; i++)
		for (j = n; j; j--) {
			split(text[j], part, " ")
			if ((list[i] ":" part[1]) in known)
				return list[i]
		}
	return done < m ? list[done + 1] : list[m]
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
	m = split(programs, list, " ")
	for (i = 1; i <= m; i++)
		if (list[i] == prog)
			done = i
}
END {
	if (n)
		flush_tests(unfinished())
}
