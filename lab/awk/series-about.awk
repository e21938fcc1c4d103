# SPDX-License-Identifier: GPL-2.0
#
# Findings, and the patches that change the functions of their call sites. Inputs, told
# apart by the assignment before each:
#
#	kind=sites	docs/call-sites.md
#	kind=covers	the tests and their call sites: run_tests.sh -l
#	kind=members	the number of a finding, a test: see findings.awk
#	kind=functions	the number of a patch, a function that it changes
#
# Prints lines of the number of a finding, functions with commas between them, the number of
# the patch that changes them.

function add(list, word) {
	return index("," list ",", "," word ",") ? list : list (list == "" ? "" : ",") word
}

# All functions in a text, with commas between them
function functions(text,	out) {
	while (match(text, /[A-Za-z0-9_]+\(\)/)) {
		out = add(out, substr(text, RSTART, RLENGTH - 2))
		text = substr(text, RSTART + RLENGTH)
	}
	return out
}

kind == "sites" && /^## / { all = "" }
kind == "sites" && /^All through/ { all = functions($0) }
kind == "sites" && /^\| [a-z]/ {
	split($0, col, "|")
	gsub(/[ `]/, "", col[2])
	f = functions(col[3])
	if (col[3] ~ /the same/ && last)
		f = f (f == "" ? "" : ",") last
	last = f
	functions_of[col[2]] = f (f != "" && all != "" ? "," : "") all
}
kind == "covers" {
	split($0, col, "\t")
	sites_of[col[1]] = col[2]
}
kind == "members" {
	split($0, col, "\t")
	number = col[1] + 0
	findings = number > findings ? number : findings
	n = split(sites_of[col[2]], part, " ")
	total[number]++
	for (i = 1; i <= n; i++)
		count[number, part[i]]++
	for (i = 1; i <= n; i++)
		sites[number] = add(sites[number], part[i])
}
kind == "functions" {
	patches[$2] = add(patches[$2], $1)
}
END {
	for (number = 1; number <= findings; number++) {
		# Call sites of all its tests, or of some
		common = ""
		n = split(sites[number], part, ",")
		for (i = 1; i <= n; i++)
			if (count[number, part[i]] == total[number])
				common = add(common, part[i])
		n = split(common == "" ? sites[number] : common, part, ",")
		split("", at)
		for (i = 1; i <= n; i++) {
			m = split(functions_of[part[i]], fn, ",")
			for (j = 1; j <= m; j++) {
				for (k = split(patches[fn[j]], p, ","); k; k--)
					at[p[k]] = add(at[p[k]], fn[j] "()")
			}
		}
		for (patch in at)
			print number, at[patch], patch
	}
}
