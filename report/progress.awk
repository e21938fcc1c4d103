# SPDX-License-Identifier: GPL-2.0
#
# The line of progress of run_tests.sh. Reads what each program took the last time
# ("program tests seconds"), then the plan of this run ("program tests"); -v number, prog,
# planned: the running program, running: its test, elapsed: seconds, columns: of the
# terminal, of which the last stays free; outcomes, failures: names of files.

function clock(s) { return sprintf("%d:%02d", s / 60, s % 60) }
function count(file,    line, n)
{
	while ((getline line < file) > 0)
		n++
	close(file)
	return n + 0
}

NF == 3 { tests[$1] = $2; seconds[$1] = $3; next }
NF == 2 { order[++programs] = $1; chosen[$1] = $2 }
END {
	done = count(outcomes)
	failed = count(failures)
	rest = 0
	known = number > 0
	for (i = number; i <= programs && i > 0; i++) {
		p = order[i]
		if (tests[p] + 0 == 0) {
			known = 0
			break
		}
		n = chosen[p] == "all" ? tests[p] : chosen[p]
		if (i == number)
			n = (planned ~ /^[0-9]+$/ ? planned : n) - done
		rest += n * seconds[p] / tests[p]
	}
	if (!number)
		line = "starting"
	else
		line = sprintf("%s (%d of %d): %s of %s tests", prog, number, programs, done,
			planned ~ /^[0-9]+$/ ? planned : "?")
	line = line sprintf(", %d failed, %s", failed, clock(elapsed))
	# What took longer than the last time says nothing about the rest.
	if (known && rest >= 1)
		line = line sprintf(", about %s to go", clock(rest))
	if (running != "" && length(line ", " running) < columns)
		line = line ", " running
	printf "%-" (columns - 1) "s\n", substr(line, 1, columns - 1)
}
