# SPDX-License-Identifier: GPL-2.0
#
# The results in KTAP that nests by indentation (nest.awk), for write.py; lines of fields
# separated by tabs:
#	fact KEY VALUE				of the kernel and the machine
#	case PROGRAM TEST STATUS REASON LOG	PASS, FAIL, SKIP, or ERROR for a planned
#						test without a result; LOG has \n for newlines
# TEST is empty for a program that passed or skipped without tests, or that failed although
# none of its tests did.

BEGIN { OFS = "\t" }

function result(    name, status, reason)
{
	status = $1 == "ok" ? "PASS" : "FAIL"
	name = $1 == "ok" ? $3 : $4
	reason = ""
	if (match($0, / # */)) {
		reason = substr($0, RSTART + RLENGTH)
		if (status == "PASS" && sub(/^SKIP */, "", reason))
			status = "SKIP"
		# No test of the suite is expected to fail.
		else if (status == "PASS" && reason ~ /^X(FAIL|PASS)/)
			status = "FAIL"
	}
	gsub(/\t/, " ", reason)
	return name OFS status OFS reason
}

function lost(program, missing, reason)
{
	for (; missing > 0; missing--)
		print "case", program, "(no result)", "ERROR", reason, ""
}

/^1\.\./ { programs = substr($0, 4) + 0; next }
/^# (kernel|arch|page size|PMD size|memcg|user|bytes per PTE table|PMD swap entries|mode|speed|MMU): / {
	key = substr($0, 3)
	sub(/: .*/, "", key)
	value = $0
	sub(/^[^:]*: /, "", value)
	print "fact", key, value
	next
}
/^    # Subtest: / { n = 0; planned = -1; log_ = ""; next }
/^    1\.\./ { planned = substr($0, 8) + 0; next }
/^    (not )?ok [0-9]+ / {
	sub(/^    /, "")
	tests[++n] = result()
	logs[n] = log_
	log_ = ""
	next
}
/^    # / {
	# What the harness repeats in every test says nothing.
	if ($0 !~ /^    # ( *RUN | *OK | *FAIL | *SKIP |cause: )/) {
		text = substr($0, 7)
		gsub(/\\/, "\\\\", text)
		gsub(/\t/, " ", text)
		log_ = log_ (log_ == "" ? "" : "\\n") text
	}
	next
}
/^(not )?ok [0-9]+ / {
	seen++
	split(result(), field, OFS)
	failed = 0
	for (i = 1; i <= n; i++) {
		failed += tests[i] ~ /^[^\t]*\tFAIL/
		print "case", field[1], tests[i], logs[i]
	}
	missing = planned > n ? planned - n : 0
	lost(field[1], missing, field[3])
	if (!n && !missing || field[2] == "FAIL" && !failed && !missing)
		print "case", field[1], "", field[2], field[3], log_
	n = 0
	planned = -1
	log_ = ""
}
END { lost("", programs - seen, "the output ends before") }
