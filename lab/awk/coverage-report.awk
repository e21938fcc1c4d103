# SPDX-License-Identifier: GPL-2.0
#
# The tables of coverage: which lines of each patch were executed, and why not. Input:
# the counts (file line count), then the lines (file line patch). -v source: directory of
# the sources, -v unreached: the list of reasons. Fails if a line lacks a reason.

function trim(s) {
	gsub(/^[ \t]+|[ \t]+$/, "", s)
	return s
}
function text(file, line,	i, s) {
	if (!(file in loaded)) {
		loaded[file] = 1
		i = 0
		while ((getline s < (source "/" file)) > 0)
			line_of[file, ++i] = trim(s)
	}
	return line_of[file, line]
}
BEGIN {
	while ((getline s < unreached) > 0) {
		if (s ~ /^#/ || split(s, f, / [|] /) < 4)
			continue
		why[f[1], trim(f[2]), trim(f[3])] = f[4]
	}
}
FNR == NR {
	# The path ends in that of a patched file.
	n = split($1, part, "/")
	tail = part[n]
	for (i = n - 1; i > 0; i--) {
		known[tail] = 1
		counts[tail, $2] += $3
		has[tail, $2] = 1
		tail = part[i] "/" tail
	}
	counts[tail, $2] += $3
	has[tail, $2] = 1
	next
}
{
	if (!patch[$3]++)
		order[++np] = $3
	if (!(($1, $2) in has))
		next
	all[$3]++
	# The same text more than once gets a number.
	s = text($1, $2)
	n = ++nth[$3, $1, s]
	name[$1, $2] = s (n > 1 ? " (" n ")" : "")
	if (counts[$1, $2])
		hit[$3]++
	else
		miss[$3, ++nmiss[$3]] = $1 "\t" $2
}
END {
	print "| patch | lines with code | executed |"
	print "|---|---|---|"
	for (i = 1; i <= np; i++)
		for (j = i + 1; j <= np; j++)
			if (order[j] < order[i]) {
				t = order[i]
				order[i] = order[j]
				order[j] = t
			}
	for (i = 1; i <= np; i++) {
		p = order[i]
		printf "| %s | %d | %d |\n", p, all[p], hit[p]
		total += all[p]
		done += hit[p]
	}
	printf "| all | %d | %d |\n\n", total, done
	print "Not executed:\n"
	print "| patch | line | why |"
	print "|---|---|---|"
	for (i = 1; i <= np; i++) {
		p = order[i]
		for (m = 1; m <= nmiss[p]; m++) {
			split(miss[p, m], f, "\t")
			s = name[f[1], f[2]]
			r = why[p, f[1], s]
			gsub(/[|]/, "\\|", s)
			if (r == "") {
				r = "**not explained**"
				open++
			}
			printf "| %s | %s:%d `%s` | %s |\n", p, f[1],
				f[2], s, r
		}
	}
	printf "\n%d of %d lines executed", done, total
	printf ", %d of the others explained, %d not.\n",
		total - done - open, open
	exit open > 0
}
