# SPDX-License-Identifier: GPL-2.0
#
# Failures by what is wrong: one entry per finding, with the call site, the cause, the
# number of tests, and the command that runs the test that shows it with the least effort.
# run_tests.sh and the lab use it. Inputs, told apart by the assignment before each:
#
#	kind=facts	the header of the output, or all of it
#	kind=sites	docs/call-sites.md
#	kind=covers	the tests and their call sites: run_tests.sh -l
#	kind=passed	PROGRAM:TEST of each test that passed
#	kind=failed	PROGRAM:TEST # CAUSE, or PROGRAM: CAUSE
#
# -v command: runs a test if " -t PROGRAM:TEST" is added; -v most: entries to print;
# -v into: a file for the number of its finding and the name of each failure.
#
# What makes two failures one finding, in this order:
#
#  1. a kernel that is not the expected one explains all but lost contents and crashes;
#  2. the same complaint of the kernel;
#  3. the same kernel function that a cause names;
#  4. the same cause nearly everywhere where such tests ran: in all of them, or at the
#     call sites of one section of call-sites.md. That is common code, not its callers,
#     and not what a single call site explains;
#  5. the same call site, whatever the causes; where everything happens at once, such as a
#     leak, the cause has to be the same, and the call site that such a test names besides
#     explains it better, unless most of these tests fail;
#  6. call sites that share a kernel function, if a cause is the same; but a loop is its
#     caller's.
#
# A translation that is stale (5) goes before (3) and (4) for what only an access shows.

# The cause without what differs between two tests of one thing: numbers, the names of
# operations and of kinds of mappings. Of numbers with a sign the sign stays.
function shape(cause, variant,	out, word, n, i, words) {
	gsub(/0x[0-9a-f]+/, "0", cause)
	gsub(/thp_[a-z_]+[:\/][0-9]+/, "TASK", cause)
	n = split(cause, words, /[^A-Za-z0-9_]+/)
	for (i = 1; i <= n; i++) {
		word = words[i]
		# The variant may name the operation without its place.
		sub(/_(head|mid|tail|half|upper|whole)$/, "", word)
		if (length(word) > 3 && index(variant, word) == 1)
			cause = replace(cause, words[i], "OP")
	}
	gsub(/[A-Za-z0-9_]+ of ([0-9]+ )?(anon|zero|shmem|small|none|device|entry)/, "OP", cause)
	gsub(/\+0/, "@", cause)
	gsub(/[0-9]+/, "N", cause)
	gsub(/@N/, "+N", cause)
	gsub(/@/, "+0", cause)
	return cause
}

# What is left of a shape without who found it, and in which round or state of the test
function core(s,	got) {
	sub(/^[a-z0-9_]+\.c:N: /, "", s)
	while (sub(/^(with |nth=|starved|the rest|after |allocation N )[^:]*: /, "", s))
		;
	sub(/ \(E[A-Z]+\)$/, "", s)
	# An event too many or too few is the same, whoever counts it around what.
	if (match(s, /thp_split_p[a-z_]*: expected [-+][0N]+, got [-+][0N]+$/)) {
		s = substr(s, RSTART)
		got = s
		sub(/.* got /, "", got)
		sub(/, got .*/, "", s)
		sub(/:/, " " got ",", s)
	} else if (match(s, /thp_split_p[a-z_]* [-+][0N]+, expected [-+][0N]+$/)) {
		s = substr(s, RSTART)
	}
	return s
}

function replace(text, old, new,	at) {
	at = index(text, old)
	return substr(text, 1, at - 1) new substr(text, at + length(old))
}

# Numbers of a cause, into array out; the text around them stays between the tokens.
function numbers(cause, out,	n, c, before, i, tok) {
	n = 0
	before = ""
	while (match(cause, /0x[0-9a-f]+|[0-9]+/)) {
		i = RSTART
		tok = substr(cause, RSTART, RLENGTH)
		c = i > 1 ? substr(cause, i - 1, 1) : before
		before = substr(tok, length(tok), 1)
		out[++n, "text"] = substr(cause, 1, i - 1)
		out[n, "name"] = c ~ /[A-Za-z_]/
		out[n] = tok
		cause = substr(cause, i + RLENGTH)
	}
	out["rest"] = cause
	return n
}

# The cause of failure i, with N for the numbers that differ among the failures of the
# same shape in the same finding.
function shown(i,	n, k, j, m, mine, other, out, vary) {
	split("", mine)
	n = numbers(cause_of[i], mine)
	for (j = 1; j <= nf; j++) {
		if (finding[j] != finding[i] || shape_of[j] != shape_of[i] || j == i)
			continue
		split("", other)
		m = numbers(cause_of[j], other)
		for (k = 1; k <= n && k <= m; k++)
			if (mine[k] != other[k] && !mine[k, "name"])
				vary[k] = 1
	}
	for (k = 1; k <= n; k++)
		out = out mine[k, "text"] (k in vary ? "N" : mine[k])
	return out mine["rest"]
}

# What kind of effect a cause is: common code that is wrong explains its own kind only. A
# leak, or a TLB flush that is missing, is hardly ever what else is wrong at a call site.
function effect(cause) {
	if (cause ~ /livelock|did not return/)
		return "loop"
	if (cause ~ /PageTables of no process|charged|kernel memory|still there/)
		return "leak"
	if (cause ~ /another CPU/)
		return "stale"
	if (cause ~ /tables|thp_split_p|VmPTE|PageTables/)
		return "count"
	return "other"
}

# Whether the kernel itself has spoken, or has taken the test with it
function complaint(cause) {
	return cause ~ /kernel log: |the kernel has crashed|crashed inside the kernel|kernel taint/
}

# Whether a cause is wrong on every kernel, whatever its contract
function damage(cause) {
	return cause ~ /offset [0-9]+: expected|another CPU|Test terminated|crashed/
}

# Tests that do the same thing at different call sites
function kin(id,	prog, test, n, part) {
	prog = test = id
	sub(/:.*/, "", prog)
	sub(/^[^:]*:/, "", test)
	n = split(test, part, ".")
	return prog ":" part[1] "." part[n]
}

function join(i, key) {
	finding[i] = key
	if (!(key in members))
		keys[++nkeys] = key
	members[key]++
}

# Test id ran: it counts for its kin, and for them at each of its call sites.
function ran(id,	n, i, part, k) {
	k = kin(id)
	if ((id, "ran") in seen)
		return
	seen[id, "ran"]
	ran_kin[k]++
	n = split(sites_of[id], part, " ")
	for (i = 1; i <= n; i++) {
		ran_at[part[i]]++
		if (!((k, part[i]) in ran_site)) {
			ran_site[k, part[i]]
			ran_sites[k] = ran_sites[k] " " part[i]
		}
	}
}

BEGIN { most = most ? most : 12 }

kind == "facts" && /^# mode: .* contract=.* measured=/ {
	contract = measured = $0
	sub(/^.* contract=/, "", contract)
	sub(/^.* measured=/, "", measured)
	sub(/ .*/, "", contract)
	sub(/ .*/, "", measured)
	wrong = contract != measured
}

kind == "sites" && /^## / {
	section = substr($0, 4)
	columns = 0
}
kind == "sites" && /^All through/ { functions_of[section] = functions($0) }
kind == "sites" && /^\|/ {
	split($0, col, "|")
	gsub(/[ `]/, "", col[2])
	if (col[2] == "ID") {
		columns = col[3] ~ /Kernel/
	} else if (columns && col[2] ~ /^[a-z]/) {
		section_of[col[2]] = section
		f = functions(col[3])
		if (col[3] ~ /the same/ && last_f)
			f = last_f
		functions_of[col[2]] = f
		last_f = f
	}
}

# The first two of the functions in a text
function functions(text,	out, n) {
	while (n < 2 && match(text, /[A-Za-z0-9_]+\(\)/)) {
		out = out (out ? ", " : "") substr(text, RSTART, RLENGTH)
		text = substr(text, RSTART + RLENGTH)
		n++
	}
	return out
}

kind == "covers" {
	split($0, col, "\t")
	sites_of[col[1]] = col[2]
}
kind == "passed" { ran($1) }

kind == "failed" {
	i = ++nf
	id = $1
	text = $0
	if (id ~ /:$/) {
		# A program, not a test
		id = substr(id, 1, length(id) - 1)
		sub(/^[^ ]+ */, "", text)
	} else {
		sub(/^[^#]*# */, "", text)
		tests++
		ran(id)
	}
	id_of[i] = id
	cause_of[i] = text
	test = variant = id
	sub(/^[^:]*:/, "", test)
	sub(/^[^.]*\./, "", variant)
	shape_of[i] = shape(text, variant)
	core_of[i] = core(shape_of[i])
	if (test == "kernel.mode" && text ~ /expected (lazy|eager) .*, measured/)
		wrong = 1
}

# Steps 1 to 3 need no other failure.
function alone(i,	s, text) {
	text = cause_of[i]
	s = shape_of[i]
	if (complaint(text)) {
		sub(/^.*kernel log: /, "", s)
		join(i, "1 " s)
		broke[program(id_of[i])] = "1 " s
	} else if (wrong && !damage(text) && (id_of[i] ~ /:/ || text ~ /^exit=/)) {
		join(i, "0")
	} else if (id_of[i] !~ /:/) {
		if (text !~ /the kernel is broken: see the first failure/ && !stopped(text))
			join(i, "2 " s)
	} else if (s ~ /expected .* by [a-z_0-9N]+\(\)/) {
		# One bit of the PMD is what both protections use.
		gsub(/uffd-rwp/, "uffd-wp", s)
		sub(/ on N of N pages.* on;/, ";", s)
		join(i, "2 " s)
	}
}

function program(id) {
	sub(/:.*/, "", id)
	return id
}

# What had to be killed, or could not even be
function stopped(cause) {
	return cause ~ /Test terminated|a process of this test cannot be killed/
}

# A program that ends because the kernel is broken goes to the complaint that broke it, and
# so does the test that the kernel crashed in.
function ended(	i, j, key) {
	for (j = 1; j <= nkeys && key == ""; j++)
		if (keys[j] ~ /^1 /)
			key = keys[j]
	for (i = 1; i <= nf; i++) {
		if (i in finding)
			continue
		if (stopped(cause_of[i]) && program(id_of[i]) in broke)
			join(i, broke[program(id_of[i])])
		else if (id_of[i] !~ /:/)
			join(i, key == "" ? "2 " shape_of[i] : key)
	}
}

# Step 4. For each cause: where it failed, and where its kin ran.
function common(	i, j, k, n, t, part, all, done) {
	for (i = 1; i <= nf; i++) {
		if (i in finding)
			continue
		t = core_of[i]
		k = kin(id_of[i])
		failed_kin[t, k]++
		causes[t]++
		if (!((t, k) in all)) {
			all[t, k]
			kins[t] = kins[t] " " k
		}
		n = split(sites_of[id_of[i]], part, " ")
		for (j = 1; j <= n; j++)
			failed_at[t, part[j]]++
	}
	for (i = 1; i <= nf; i++) {
		t = core_of[i]
		if (i in finding || t in done)
			continue
		done[t]
		if (!one_site(i))
			weigh(t)
	}
	for (i = 1; i <= nf; i++) {
		if (i in finding)
			continue
		t = core_of[i]
		if (t in everywhere) {
			join(i, "3 " t)
			continue
		}
		n = split(sites_of[id_of[i]], part, " ")
		for (j = 1; j <= n; j++)
			if ((t, section_of[part[j]]) in everywhere) {
				join(i, "3 " t)
				break
			}
	}
}

# Whether everything happens at once there: no function is behind this row
function at_once(site) {
	return functions_of[site] == "" || section_of[site] ~ /at once/
}

# Whether all failures with the cause of failure i have a call site in common
function one_site(i,	j, n, part) {
	n = split(sites_of[id_of[i]], part, " ")
	for (j = 1; j <= n; j++)
		if (!at_once(part[j]) && failed_at[core_of[i], part[j]] == causes[core_of[i]])
			return 1
	return 0
}

# Sets everywhere[t], or everywhere[t, SECTION], where at least three quarters of what ran
# failed with cause t.
function weigh(t,	n, i, j, m, part, site, s, runs, fails, run, fail, sections, list, any) {
	n = split(kins[t], part, " ")
	for (i = 1; i <= n; i++) {
		fails += failed_kin[t, part[i]]
		runs += ran_kin[part[i]]
		m = split(ran_sites[part[i]], site, " ")
		for (j = 1; j <= m; j++) {
			s = section_of[site[j]]
			if (s == "" || site[j] in list)
				continue
			list[site[j]]
			sections[s]
			run[s]++
			if ((t, site[j]) in failed_at)
				fail[s]++
		}
	}
	if (fails > 2 && fails * 4 >= runs * 3)
		everywhere[t]
	for (s in sections)
		if (fail[s] > 2 && fail[s] * 4 >= run[s] * 3) {
			everywhere[t, s]
			any = 1
		}
	# Fewer are enough once another section says that it is common code.
	for (s in sections)
		if (any && fail[s] && fail[s] * 4 >= run[s] * 3)
			everywhere[t, s]
}

# What is left at the call sites of common code, and is an effect of the same kind, a loop
# or a count: it goes to the finding with the most tests.
function absorb(	i, j, n, part, at, e, key) {
	for (i = 1; i <= nf; i++) {
		if (!(i in finding) || finding[i] !~ /^3 /)
			continue
		n = split(sites_of[id_of[i]], part, " ")
		for (j = 1; j <= n; j++) {
			e = effect(cause_of[i])
			key = at[part[j], e]
			if (key == "" || members[finding[i]] > members[key])
				at[part[j], e] = finding[i]
		}
	}
	for (i = 1; i <= nf; i++) {
		if (i in finding)
			continue
		n = split(sites_of[id_of[i]], part, " ")
		e = effect(cause_of[i])
		key = n && e != "other" ? at[part[1], e] : ""
		for (j = 2; j <= n; j++)
			if (at[part[j], e] == "")
				key = ""
		if (key != "")
			join(i, key)
	}
}

# The place of failure i at a call site, or nothing; with the cause where everything
# happens at once.
function place(i, site,	j, n, part) {
	if (!at_once(site)) {
		n = effect(cause_of[i])
		return site (n == "leak" || n == "stale" ? SUBSEP n : "")
	}
	n = split(sites_of[id_of[i]], part, " ")
	for (j = 1; j <= n; j++)
		if (!at_once(part[j]) && failed_at[core_of[i], site] * 2 < ran_at[site])
			return ""
	return site SUBSEP core_of[i]
}

# Step 5: the place with the most failures first, so that a test of several call sites
# goes where it has company. Of places with nearly as many it is the one where fewer tests
# passed: a row that many others lie below says less.
function by_site(	i, j, n, part, weight, top, rate, best, op, p) {
	for (i = 1; i <= nf; i++) {
		if (i in finding)
			continue
		if (sites_of[id_of[i]] == "") {
			# Without the list of tests: the operation
			op = id_of[i]
			sub(/\.[^.]*$/, "", op)
			sub(/^[^.]*\./, "", op)
			sub(/_(anon|zero|shmem|small|none|device|entry)(_near|_far)?$/, "", op)
			join(i, "4 " op)
		}
	}
	for (;;) {
		split("", weight)
		top = 0
		for (i = 1; i <= nf; i++) {
			if (i in finding)
				continue
			n = split(sites_of[id_of[i]], part, " ")
			for (j = 1; j <= n; j++) {
				p = place(i, part[j])
				if (p == "")
					continue
				if (++weight[p] > top)
					top = weight[p]
				rate[p] = weight[p] / ran_at[part[j]]
			}
		}
		best = ""
		for (p in weight)
			if (weight[p] * 10 >= top * 9 && (best == "" || rate[p] > rate[best] ||
			    rate[p] == rate[best] && p < best))
				best = p
		if (best == "")
			return
		for (i = 1; i <= nf; i++) {
			if (i in finding)
				continue
			n = split(sites_of[id_of[i]], part, " ")
			for (j = 1; j <= n; j++)
				if (place(i, part[j]) == best) {
					join(i, "4 " best)
					break
				}
		}
	}
}

# What only an access shows of failure i, or nothing: its own page is not as it should be,
# and no other
function touch(i,	s) {
	s = core_of[i]
	if (cause_of[i] !~ / on 1 of [0-9]+ pages / && s !~ /after an access/)
		return ""
	sub(/; expected .*/, "", s)
	return s
}

# A translation that is stale shows at its call site also as an access that goes through,
# and the same then wherever a test has been at that call site before.
function touched(	i, j, n, part, at, to) {
	for (i = 1; i <= nf; i++) {
		n = effect(cause_of[i]) == "stale" ? split(sites_of[id_of[i]], part, " ") : 0
		for (j = 1; j <= n; j++)
			if (!at_once(part[j]) && finding[i] ~ /^[34] /)
				at[part[j]] = finding[i]
	}
	for (i = 1; i <= nf; i++) {
		n = touch(i) == "" ? 0 : split(sites_of[id_of[i]], part, " ")
		for (j = 1; j <= n; j++)
			if (part[j] in at)
				to[touch(i)] = at[part[j]]
	}
	for (i = 1; i <= nf; i++)
		if (finding[i] ~ /^[24] / && touch(i) in to && finding[i] != to[touch(i)])
			move(i, to[touch(i)])
}

# The same cause at the same call site, of which one test names another one as well: it
# goes where most of them are.
function by_cause(	i, j, n, k, part, list, top, at) {
	for (i = 1; i <= nf; i++) {
		n = together(i) ? split(sites_of[id_of[i]], part, " ") : 0
		for (j = 1; j <= n; j++) {
			k = core_of[i] SUBSEP part[j]
			if (++list[k, finding[i]] > top[k]) {
				top[k] = list[k, finding[i]]
				at[k] = finding[i]
			}
		}
	}
	for (i = 1; i <= nf; i++) {
		n = together(i) ? split(sites_of[id_of[i]], part, " ") : 0
		for (j = 1; j <= n; j++) {
			k = core_of[i] SUBSEP part[j]
			if (!at_once(part[j]) && top[k] > list[k, finding[i]])
				move(i, at[k])
		}
	}
}

# Failures that go where the same cause is. Two callers that loop are two defects.
function together(i) {
	return finding[i] ~ /^[34] / && effect(cause_of[i]) != "loop"
}

# Step 6
function by_function(	i, j, k, n, part, old, first) {
	for (i = 1; i <= nf; i++) {
		old = finding[i]
		if (old !~ /^4 / || effect(cause_of[i]) == "loop")
			continue
		n = split(functions_of[substr(old, 3)], part, ", ")
		for (j = 1; j <= n; j++) {
			k = part[j] SUBSEP core_of[i]
			if (!(k in first))
				first[k] = old
			if (first[k] != old)
				merge(old, first[k], first)
			old = finding[i]
		}
	}
}

# Finding old becomes a part of finding new, also in the values of array first.
function merge(old, new, first,	i, k) {
	for (i = 1; i <= nf; i++)
		if (finding[i] == old)
			move(i, new)
	for (k in first)
		if (first[k] == old)
			first[k] = new
}

# Failure i leaves its finding, which disappears with the last, for another.
function move(i, key,	j, n) {
	if (!--members[finding[i]]) {
		for (j = 1; j <= nkeys; j++)
			if (keys[j] != finding[i])
				keys[++n] = keys[j]
		nkeys = n
		delete members[finding[i]]
	}
	join(i, key)
}

# Call sites of a finding: those of all its tests, or how many there are
function where(key,	i, j, n, m, part, count, order, total, out, s, same) {
	for (i = 1; i <= nf; i++) {
		if (finding[i] != key || id_of[i] !~ /:/)
			continue
		total++
		n = split(sites_of[id_of[i]], part, " ")
		for (j = 1; j <= n; j++)
			if (!count[part[j]]++)
				order[++m] = part[j]
	}
	for (j = 1; j <= m; j++)
		if (count[order[j]] == total) {
			s = functions_of[order[j]]
			return order[j] (s ? ", " s : "")
		}
	s = functions_of[order[1]]
	for (j = 1; j <= m && m < 4; j++) {
		out = out (j > 1 ? ", " : "") order[j]
		if (functions_of[order[j]] != s)
			s = ""
	}
	if (m < 4)
		return out (s ? ", " s : "")
	for (j = 1; j <= m; j++)
		if (count[order[j]] * 3 >= total * 2 && !at_once(order[j]))
			return m " call sites, most " order[j] ", " functions_of[order[j]]
	same = section_of[order[1]]
	for (j = 2; j <= m; j++)
		if (section_of[order[j]] != same)
			same = ""
	if (same == "")
		return m " call sites"
	s = functions_of[same]
	return m " call sites, " (s ? s : same)
}

# The test of a finding that shows it with the least effort: the first, as the suite goes
# from simple to complex, but none with many call sites, such as a race. Of common code it
# is one with the cause that is everywhere.
function shortest(key,	i, n, part, best, least) {
	for (i = 1; i <= nf; i++) {
		if (finding[i] != key || (key ~ /^3 / && core_of[i] != substr(key, 3)))
			continue
		n = split(sites_of[id_of[i]], part, " ")
		if (id_of[i] !~ /:/)
			n = 99
		else if (n < 3)
			n = 1
		if (!best || n < least) {
			best = i
			least = n
		}
	}
	return best
}

function say(number, key,	i, j, n, w, other, told, line, what) {
	i = shortest(key)
	w = where(key)
	for (j = 1; j <= nf; j++)
		if (finding[j] == key && core_of[j] != core_of[i] && !told[core_of[j]]++)
			other++
	if (key == "0")
		w = "wrong expectation, or fault-anon" \
			(functions_of["fault-anon"] ? ", " functions_of["fault-anon"] : "")
	n = members[key]
	what = " test"
	for (j = 1; j <= nf; j++)
		if (finding[j] == key && id_of[j] !~ /:/)
			what = " failure"
	line = n what (n > 1 ? "s" : "") (w ? ", " w : "") ": " shown(i)
	if (other)
		line = line " (and " other " other cause" (other > 1 ? "s" : "") ")"
	printf "#  %2d. %s\n#      %s -t %s\n", number, line, command, id_of[i]
}

END {
	if (!nf)
		exit
	for (i = 1; i <= nf; i++)
		alone(i)
	ended()
	common()
	absorb()
	by_site()
	touched()
	by_cause()
	by_function()
	# The expectation, the kernel's complaints, then the others by their weight
	for (i = 1; i <= nkeys; i++)
		for (j = i; j > 1 && before(keys[j], keys[j - 1]); j--) {
			k = keys[j]
			keys[j] = keys[j - 1]
			keys[j - 1] = k
		}
	printf "# Findings: %d, from %d failure%s; each with the shortest test that shows it:\n",
		nkeys, nf, (nf > 1 ? "s" : "")
	for (i = 1; i <= nkeys && (i <= most || nkeys == most + 1); i++)
		say(i, keys[i])
	for (j = 1; into && j <= nkeys; j++)
		for (k = 1; k <= nf; k++)
			if (finding[k] == keys[j])
				print j "\t" id_of[k] >into
	if (i <= nkeys) {
		n = 0
		for (j = i; j <= nkeys; j++)
			n += members[keys[j]]
		printf "#  and %d more, of %d failures: see the lines \"not ok\"\n",
			nkeys - i + 1, n
	}
}

function before(a, b,	x, y) {
	x = substr(a, 1, 1) + 0
	y = substr(b, 1, 1) + 0
	if (x > 1 && y > 1)
		return members[a] > members[b]
	return x != y ? x < y : members[a] > members[b]
}
