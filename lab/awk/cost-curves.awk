# SPDX-License-Identifier: GPL-2.0
#
# After cost-read.awk: page tables as a table of Markdown, a column for each kernel. -v form:
#	tables	MiB against GiB mapped
#	forks	KiB of all children against their number

function print_kind(kind,	i, k, id, line, some, size) {
	for (i = 1; i <= rows; i++) {
		id = order[i]
		if (part(id, "name") != (form == "tables" ? "tables_" kind : "tables_forks_" kind))
			continue
		line = some = ""
		for (k = 1; k <= n; k++) {
			if (!((k, id) in cost)) {
				line = line " - |"
				continue
			}
			some = 1
			size = part(id, "thps") * thp[k] / 1073741824
			line = line sprintf(" %.6g |", bytes[k, id] * part(id, "thps") / \
				(form == "tables" ? 1048576 : 1024))
		}
		if (some)
			printf "| %s, %g |%s\n", kind == "anon" ? "anonymous" : "huge zero",
				form == "tables" ? size : part(id, "procs") - 1, line
	}
}
END {
	printf form == "tables" ? "| mapped, GiB |" : "| THPs, children |"
	for (k = 1; k <= n; k++)
		printf " %s |", kernel[k]
	printf "\n|---|"
	for (k = 1; k <= n; k++)
		printf "---:|"
	print ""
	print_kind("anon")
	print_kind("zero")
}
