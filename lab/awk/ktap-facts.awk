# SPDX-License-Identifier: GPL-2.0
#
# Facts of a KTAP as lines of a run's summary (lib/report.sh): mode, bytes, THP size,
# one line per program, counts, and the reasons of SKIPs.

function cell() { return p + 0 "/" f + 0 "/" s + 0 }
/^# mode:/ {
	for (i = 3; i <= NF; i++) {
		split($i, kv, "=")
		if (kv[1] == "measured" && kv[2] != "" &&
		    kv[2] !~ /^(none|unknown|-)$/)
			mode = kv[2]
		if (kv[1] == "expected")
			expected = kv[2]
	}
	next
}
/^# bytes per PTE table:/ { bytes = $6; next }
/^# PMD size:/ { print "thp", $4 / 1048576 "M"; next }
/^# (not )?ok [0-9]/ {
	line = substr($0, 3)
	if (line ~ /^not ok/) {
		f++; nf++
		print "failed", line
	} else if (line ~ /# SKIP/) {
		s++; ns++
		sub(/.*# SKIP */, "", line)
		skips[line]++
	} else {
		p++; np++
	}
	next
}
/^(not )?ok [0-9]/ {
	bad = $1 == "not"
	name = bad ? $4 : $3
	if (name == "-")
		name = bad ? $5 : $4
	if (bad && !f) {
		nf++
		print "failed", $0
	}
	if (/# SKIP/ && !p && !f && !s) {
		line = $0
		sub(/.*# SKIP */, "", line)
		skips[line]++
		ns++
	}
	print "program", name, cell() (bad && !f ? "!" : "")
	p = f = s = 0
}
END {
	if (p + f + s)
		print "program", "(unfinished)", cell() "!"
	if (mode == "")
		mode = expected
	if (mode != "")
		print "mode", mode
	if (mode == "lazy")
		bytes = 0
	if (bytes != "")
		print "bytes", bytes
	print "pass", np + 0
	print "fail", nf + 0
	print "skip", ns + 0
	for (r in skips)
		print "skipped", skips[r], r
}
