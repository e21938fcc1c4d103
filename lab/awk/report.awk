# SPDX-License-Identifier: GPL-2.0
#
# The page of lab report, with html.awk. Inputs, told apart by the assignments before each:
#
#	kind=sites	docs/call-sites.md
#	kind=label	names of the runs, one a line
#	kind=covers	the tests and their call sites: run_tests.sh -l
#	kind=passed, failed, skipped (outcomes.awk), summary, ktap of run=1, 2, ...
#	kind=plot	curves (report-points.awk); their drawings are in -v work
#
# -v programs: the columns; -v css: a file; -v gnuplot: not empty if there is one.

kind == "sites" && /^## / {
	group = substr($0, 4)
	columns = 0
}
kind == "sites" && /^\|/ {
	gsub(/\\\|/, "\001")
	n = split($0, col, "|")
	for (i = 2; i < n; i++) {
		gsub(/^ +| +$/, "", col[i])
		gsub(/\001/, "|", col[i])
	}
	if (col[2] == "ID") {
		columns = 1
	} else if (columns && col[2] ~ /^[a-z]/) {
		site[++nsites] = col[2]
		kernel_of[nsites] = col[3]
		group_of[nsites] = group
	}
}
kind == "label" { label[++nruns] = html($0) }
kind == "covers" {
	split($0, field, "\t")
	covered++
	tests[++ntests] = field[1]
	sites_of[field[1]] = field[2]
}
kind == "passed" || kind == "failed" || kind == "skipped" {
	id = $1
	text = $0
	sub(/^[^ ]+ */, "", text)
	sub(/^# */, "", text)
	state[run, id] = kind
	if (kind == "failed") {
		failure[run, ++failures[run]] = id
		cause[run, failures[run]] = text
	}
	n = split(sites_of[id], part, " ")
	for (i = 1; i <= n; i++) {
		count[run, part[i], kind]++
		if (kind == "failed")
			failing[run, part[i]] = failing[run, part[i]] " " failures[run]
	}
}
kind == "summary" {
	key = $1
	rest = $0
	sub(/^[^ ]+ ?/, "", rest)
}
kind == "summary" && key == "program" {
	cell[run, $2] = $3
	if ($3 ~ /!/)
		cut[run] = 1
}
kind == "summary" && key ~ /^(status|time|release|mode|thp|bytes|pass|fail|skip)$/ {
	fact[run, key] = $2
}
kind == "summary" && key == "skipped" {
	n = $2
	sub(/^[^ ]+ /, "", rest)
	if (!(rest in reasons)) {
		reasons[rest]
		reason[++nreasons] = rest
	}
	skips[run, rest] += n
}
kind == "summary" && key == "finding" { finding[run, ++findings[run]] = rest }
kind == "summary" && key ~ /^(trouble|log|note|oddity)$/ {
	said[run, key] = said[run, key] html(rest) "\n"
	if (key == "trouble")
		cut[run] = 1
}
kind == "ktap" && /^# # footprint: / {
	sub(/^# # footprint: /, "")
	what = value = $0
	sub(/:.*/, "", what)
	sub(/^[^:]*: /, "", value)
	if (!(what in footprints)) {
		footprints[what]
		footprint[++nfootprints] = what
	}
	tables_of[run, what] = value
}
kind == "plot" {
	split($0, field, "\t")
	plot[++nplots] = field[1]
	title[nplots] = field[2]
}

function verdict(s) {
	return s == 0 ? "pass" : s == 1 ? "FAIL" : s == 4 ? "skip" : "ERROR"
}
function class(v) { return v == "pass" || v == "skip" ? v : "fail" }
function or_dash(text) { return text == "" ? "-" : html(text) }

function columns_of_runs(first,	r, line) {
	line = "<thead><tr>" head("col", first)
	for (r = 1; r <= nruns; r++)
		line = line head("col", label[r])
	print line "</tr></thead>"
}

# The row key: of[r, key] for each run r, or else what none says
function row_of_runs(key, of, none,	r, line) {
	line = "<tr>" head("row", html(key))
	for (r = 1; r <= nruns; r++)
		line = line data(html((r, key) in of ? of[r, key] : none))
	print line "</tr>"
}

function kernels(	i, r, n, prog, short, line, v) {
	section("kernels", "Kernels")
	table("Tests passed/failed/skipped; ! a program that failed as a whole; B/THP: bytes of " \
		"page table that a mapped THP costs")
	line = "<thead><tr>" head("col", "Kernel") head("col", "Release") head("col", "THP") \
		head("col", "Mode") head("col", "B/THP")
	n = split(programs " (unfinished)", prog, " ")
	for (i = 1; i <= n; i++) {
		short = prog[i]
		sub(/^thp_/, "", short)
		for (r = 1; r <= nruns; r++)
			if (i < n || (r, prog[i]) in cell)
				break
		if (r <= nruns)
			line = line head("col", html(short))
		else
			n--
	}
	print line head("col", "Time") head("col", "Verdict") "</tr></thead>\n<tbody>"
	for (r = 1; r <= nruns; r++) {
		line = "<tr>" head("row", label[r]) data(or_dash(fact[r, "release"])) \
			data(or_dash(fact[r, "thp"])) data(or_dash(fact[r, "mode"])) \
			data(or_dash(fact[r, "bytes"]))
		for (i = 1; i <= n; i++)
			line = line data(or_dash(cell[r, prog[i]]))
		v = verdict(fact[r, "status"] == "" ? 2 : fact[r, "status"])
		print line data(fact[r, "time"] + 0 " s") data(v, class(v)) "</tr>"
	}
	print "</tbody>"
	table_end()
}

function troubles(	r, i, k, key, name, line) {
	section("findings", "Findings")
	split("trouble log note oddity", key, " ")
	split("Trouble|Kernel log|Guest|Needs a table and was not refused, or needs none and was", \
		name, "|")
	for (r = 1; r <= nruns; r++) {
		print "<h3>" label[r] "</h3>"
		if (findings[r]) {
			print "<pre>"
			for (i = 1; i <= findings[r]; i++) {
				line = finding[r, i]
				sub(/^ +/, i > 1 ? "  " : "", line)
				print html(line)
			}
			print "</pre>"
		} else {
			print "<p>None.</p>"
		}
		for (k = 1; k <= 4; k++)
			if ((r, key[k]) in said)
				print "<p>" name[k] ":</p>\n<pre>" said[r, key[k]] "</pre>"
	}
}

# The cell of a call site: what became of its tests. Tests without an outcome count only
# where the run was cut short: else they were not asked for.
function outcome(r, s, total,	p, f, k, none, text, c) {
	p = count[r, s, "passed"] + 0
	f = count[r, s, "failed"] + 0
	k = count[r, s, "skipped"] + 0
	if (!total && covered)
		return data("no test", "none")
	none = total - p - f - k
	if (p + f + k == 0)
		return data("not run", "none")
	c = f ? "fail" : p ? "pass" : "skip"
	text = (f ? "FAIL" : c) " " p "/" f "/" k
	if (f)
		text = link("f" r "-" s, text)
	if (none > 0 && cut[r])
		text = text ", " none " not run"
	return data(text, c)
}

function matrix(	i, j, r, n, part, total, line) {
	section("call-sites", "Call sites")
	if (!covered)
		print "<p>The suite is not built here (<code>make</code>): which tests cover " \
			"a call site is not known.</p>"
	for (i = 1; i <= ntests; i++) {
		n = split(sites_of[tests[i]], part, " ")
		for (j = 1; j <= n; j++)
			total[part[j]]++
	}
	table("Tests of each call site, passed/failed/skipped. A test may count at several.")
	line = "<thead><tr>" head("col", "Call site") head("col", "Kernel functions") \
		head("col", "Tests")
	for (r = 1; r <= nruns; r++)
		line = line head("col", label[r])
	print line "</tr></thead>"
	for (i = 1; i <= nsites; i++) {
		if (group_of[i] != group_of[i - 1])
			print (i > 1 ? "</tbody>\n" : "") "<tbody><tr><th scope=\"rowgroup\" " \
				"class=\"group\" colspan=\"" nruns + 3 "\">" \
				html(group_of[i]) "</th></tr>"
		line = "<tr id=\"site-" html(site[i]) "\">" head("row", html(site[i])) \
			data(markdown(kernel_of[i])) data(total[site[i]] + 0)
		for (r = 1; r <= nruns; r++)
			line = line outcome(r, site[i], total[site[i]])
		print line "</tr>"
	}
	print "</tbody>"
	table_end()
}

function skipped(	i) {
	section("skips", "Skipped, and why")
	if (!nreasons) {
		print "<p>Nothing.</p>"
		return
	}
	table("Skipped tests of each reason")
	columns_of_runs("Reason")
	print "<tbody>"
	for (i = 1; i <= nreasons; i++) {
		row_of_runs(reason[i], skips, 0)
	}
	print "</tbody>"
	table_end()
}

# The points of a curve as a table, for those who cannot see it
function points(i,	r, file, line, at, x, nx, order, value, j, k, t) {
	for (r = 1; r <= nruns; r++) {
		file = work "/" plot[i] "." r
		while ((getline line <file) > 0) {
			split(line, at, " ")
			if (!(at[1] in x)) {
				x[at[1]]
				order[++nx] = at[1] + 0
			}
			value[r, at[1] + 0] = at[2]
		}
		close(file)
	}
	for (j = 2; j <= nx; j++)
		for (k = j; k > 1 && order[k] < order[k - 1]; k--) {
			t = order[k]
			order[k] = order[k - 1]
			order[k - 1] = t
		}
	table(html(title[i]) ", in kB")
	columns_of_runs("Processes")
	print "<tbody>"
	for (j = 1; j <= nx; j++) {
		row_of_runs(order[j], value, "-")
	}
	print "</tbody>"
	table_end()
}

function curves(	i) {
	section("curves", "THPs that many processes map")
	if (!nplots) {
		print "<p>No run measured them.</p>"
		return
	}
	if (!gnuplot)
		print "<p>Without curves: gnuplot is not installed.</p>"
	for (i = 1; i <= nplots; i++) {
		print "<h3>" html(title[i]) "</h3>"
		include(work "/" plot[i] ".svg")
		points(i)
	}
}

function footprint_table(	i) {
	if (!nfootprints)
		return
	section("footprints", "Page tables of mapped THPs")
	table("What the mapped memory costs in PTE tables")
	columns_of_runs("Mapped")
	print "<tbody>"
	for (i = 1; i <= nfootprints; i++) {
		row_of_runs(footprint[i], tables_of, "-")
	}
	print "</tbody>"
	table_end()
}

function failed_tests(	r, i, j, n, part, line) {
	section("failures", "Failed tests")
	for (r = 1; r <= nruns; r++) {
		print "<h3>" label[r] "</h3>"
		if (!failures[r]) {
			print "<p>None.</p>"
			continue
		}
		for (i = 1; i <= nsites; i++) {
			n = split(failing[r, site[i]], part, " ")
			line = ""
			for (j = 1; j <= n; j++)
				line = line (j > 1 ? ",\n" : "") \
					link("t" r "-" part[j], html(failure[r, part[j]]))
			if (n)
				print "<p id=\"f" r "-" html(site[i]) "\">" \
					link("site-" html(site[i]), html(site[i])) ": " line "</p>"
		}
		table("Causes")
		print "<thead><tr>" head("col", "Test") head("col", "Cause") "</tr></thead>\n<tbody>"
		for (i = 1; i <= failures[r]; i++)
			print "<tr id=\"t" r "-" i "\">" head("row", html(failure[r, i])) \
				data(html(cause[r, i])) "</tr>"
		print "</tbody>"
		table_end()
	}
}

END {
	print "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">"
	print "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">"
	print "<title>thp_lazy_pte: runs of " nruns " kernel" (nruns > 1 ? "s" : "") "</title>"
	print "<style>"
	include(css)
	print "</style>\n</head>\n<body>\n<main>"
	print "<h1>thp_lazy_pte: runs of " nruns " kernel" (nruns > 1 ? "s" : "") "</h1>"
	kernels()
	troubles()
	matrix()
	skipped()
	curves()
	footprint_table()
	failed_tests()
	print "</main>\n</body>\n</html>"
}
