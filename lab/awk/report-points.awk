# SPDX-License-Identifier: GPL-2.0
#
# What runs recorded about many processes (lines "# # TEST: N processes: +N kB of tables,
# N kB freed" of a KTAP, kind=ktap, run=N), as points in the files NAME.N of -v dir, and a
# line "NAME<tab>TITLE<tab>LABEL" for each curve that has some.

kind == "ktap" && /^# # [a-z_.]+: [0-9]+ processes: [-+]?[0-9]+ kB of tables/ {
	test = $3
	sub(/:$/, "", test)
	point("tables", "page tables", $6)
	if (match($0, /[-+]?[0-9]+ kB freed/))
		point("freed", "memory freed", substr($0, RSTART, RLENGTH))
}

function point(what, title, value,	key, name) {
	sub(/ .*/, "", value)
	key = test SUBSEP what
	if (!(key in name_of)) {
		name = "plot_" test "_" what
		gsub(/[^a-z0-9_]/, "_", name)
		name_of[key] = name
		printf "%s\t%s: %s\t%s\n", name, test, title, title " (kB)"
	}
	print $4, value + 0 >(dir "/" name_of[key] "." run)
}
