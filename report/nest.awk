# SPDX-License-Identifier: GPL-2.0
#
# Turns the output of run_tests.sh, which nests by "# " as kselftest does, into KTAP that
# nests by indentation. The cause of a failure also stands in a line of its own above it,
# because parsers keep such lines and drop what follows the result. A "Bail out!" of one
# program, which would end the whole for a TAP parser, becomes a comment: run_tests.sh
# goes on with the next program.

function begin()
{
	inside = 1
	n = 0
	planned = ""
}

function put(text) { body[++n] = "    " text }

function nested(line)
{
	if (line ~ /^1\.\.[0-9]+/) {
		planned = line
		sub(/ .*/, "", planned)
		return
	}
	if (line ~ /^K?TAP version /)
		return
	if (line ~ /^not ok [0-9]+ .*#/) {
		cause = line
		sub(/^[^#]*# */, "", cause)
		put("# cause: " cause)
	}
	if (line ~ /^(not )?ok [0-9]+ /)
		put(line)
	else if (line != "")
		put(line ~ /^#/ ? line : "# " line)
}

# The program has ended: its name is known only now.
function finish(name,    i)
{
	if (inside && n && planned != "1..0") {
		print "    KTAP version 1"
		print "    # Subtest: " name
		if (planned != "")
			print "    " planned
		for (i = 1; i <= n; i++)
			print body[i]
	}
	inside = 0
}

{ sub(/\r$/, "") }
/^TAP version / { print "KTAP version 1"; next }
/^1\.\.[0-9]/ { programs = substr($1, 4) + 0; print; next }
/^# TAP version / || (!inside && !report && /^# (1\.\.[0-9]|(not )?ok [0-9])/) { begin() }
inside && /^#/ { nested(substr($0, 3)); next }
/^(not )?ok [0-9]+ / {
	number = $1 == "not" ? $3 : $2
	finish($1 == "not" ? $4 : $3)
	if (/^not ok .*#/) {
		cause = $0
		sub(/^[^#]*# */, "", cause)
		print "# cause: " cause
	}
	print
	report = number == programs
	next
}
{ print }
END {
	if (inside) {
		finish("(unfinished)")
		print "# cause: the output ends here"
		print "not ok " number + 1 " (unfinished) # the output ends here"
	}
}
