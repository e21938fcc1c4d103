# SPDX-License-Identifier: GPL-2.0
# The table of docs/contract.md from the one of migrate/state_ops.c: a line for each
# operation, with the bits that are not simply kept.

function text(s)
{
	sub(/^[^"]*"/, "", s)
	sub(/".*/, "", s)
	return s
}

# "[BIT_X] = { VALUE, "by", THP_RELEASE(a, b) }," or one of the macros
function cell(line, bit, value, by, since)
{
	bit = line
	sub(/.*\[BIT_/, "", bit)
	sub(/\].*/, "", bit)
	bit = tolower(bit)
	gsub(/_/, "-", bit)
	if (bit == "write")
		bit = "writable"
	if (line ~ /BY_MKDIRTY/)
		return bit ": may be set by `pte_mkdirty()`"
	if (line ~ /BY_ENTRY/)
		return bit ": may be cleared where not `migration_entry_supports_ad()`"
	value = line
	sub(/.*{ /, "", value)
	sub(/[ ,}].*/, "", value)
	value = names[value]
	by = text(line)
	since = ""
	if (match(line, /THP_RELEASE\([0-9]+, [0-9]+\)/)) {
		since = substr(line, RSTART + 12, RLENGTH - 13)
		sub(/, /, ".", since)
		since = " (Linux " since ")"
	}
	return bit ": " value " by `" by "`" since
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
