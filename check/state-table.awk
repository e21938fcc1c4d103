# SPDX-License-Identifier: GPL-2.0
# The table of docs/contract.md from the one of migrate/state_ops.c: a line for each
# operation, with the bits that are not kept.

function text(s)
{
	sub(/^[^"]*"/, "", s)
	sub(/".*/, "", s)
	return s
}

# "VALUE, "by", THP_RELEASE(a, b))", after the parenthesis of CELL
function value(s, name, by, since)
{
	name = s
	sub(/,.*/, "", name)
	by = text(s)
	since = ""
	if (match(s, /THP_RELEASE\([0-9]+, [0-9]+\)/)) {
		since = substr(s, RSTART + 12, RLENGTH - 13)
		sub(/, /, ".", since)
		since = " (Linux " since ")"
	}
	return names[name] " by `" by "`" since
}

# "[BIT_X] = CELL(...)," or "[BIT_X] = MACRO,"
function cell(line, bit, val)
{
	bit = line
	sub(/.*\[BIT_/, "", bit)
	sub(/\].*/, "", bit)
	bit = tolower(bit)
	gsub(/_/, "-", bit)
	if (bit == "write")
		bit = "writable"
	val = line
	sub(/.*\] = /, "", val)
	if (sub(/^(CELL|SINCE)\(/, "", val))
		return bit ": " value(val)
	sub(/,$/, "", val)
	return bit ": " macros[val]
}

function flush_row()
{
	if (name)
		print "| `" name "` | " what " | `" by "` | " all (named ? (all ? "; " : "") \
			"the page named: " named : "") " |"
	name = all = named = ""
}

BEGIN {
	names["KEPT"] = "kept"
	names["SET"] = "set"
	names["CLEARED"] = "cleared"
	names["MAY_SET"] = "may be set"
	names["MAY_CLEAR"] = "may be cleared"
	names["EITHER"] = "either"
	print "| operation | what it is | bits are carried by | but |"
	print "|---|---|---|---|"
}

/^#else/ { elsewhere = 1 }
/^#endif/ { elsewhere = 0 }
/^#define BY_/ {
	val = $0
	sub(/.*CELL\(/, "", val)
	val = value(val)
	if (!elsewhere)
		macros[$2] = val
	else if (macros[$2] ~ /^kept/)
		macros[$2] = val ", not on x86-64"
	else
		macros[$2] = macros[$2] ", but on x86-64 only"
}
/^static const struct state_op state_ops/ { inside = 1 }
!inside { next }
/\.name = / { flush_row(); name = text($0); part = 0 }
/\.what = / { what = text($0) }
/\.by = / { by = text($0) }
/\.cells = / { part = 0 }
/\.named = / { part = 1 }
/\[BIT_/ {
	if (part && index(all, cell($0)))
		next
	if (part)
		named = named (named ? ", " : "") cell($0)
	else
		all = all (all ? ", " : "") cell($0)
}
END { flush_row() }
