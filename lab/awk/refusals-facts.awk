# SPDX-License-Identifier: GPL-2.0
#
# The lines of refusals.awk in numbers: injector, triggers that need a table and those of
# them that were refused, triggers that need none and those refused. Exceptions by name.

{
	refused = $4 > 0
	if ($3 == "needs a table") {
		need[$2]++
		need_hit[$2] += refused
		if (!refused)
			odd[++n] = $2 " " $1 ": " $5
	} else {
		none[$2]++
		none_hit[$2] += refused
		if (refused && $2 == "targeted")
			odd[++n] = $2 " " $1 ": " $5
	}
	seen[$2]
}
END {
	for (i in seen)
		print "refusal", i, need[i] + 0, need_hit[i] + 0,
			none[i] + 0, none_hit[i] + 0
	for (i = 1; i <= n; i++)
		print "oddity", odd[i]
}
