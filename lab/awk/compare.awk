# SPDX-License-Identifier: GPL-2.0
#
# How run b differs from run a. Inputs, told apart by the assignments before each file:
# run=a or run=b, and kind=failed, passed, skipped (outcomes.awk), summary, refusals, ktap;
# kind=expect is a file of lab/expect/. -v a, -v b: the names of the runs.
#
# A difference has a kind, a subject and a text:
#
#	fails TEST	it passed, or skipped, or was not there; the text is the cause
#	passes TEST	it failed
#	skips TEST	it ran; the text is the reason
#	runs TEST	it skipped; the text is the former reason
#	gone TEST, new TEST
#	cost WHAT	bytes of page tables
#	refusal TEST INJECTOR
#
# Exit: 1 if it got worse; with an expectation, if it is not met.

BEGIN { most = most ? most : 20 }

function differs(kind, subject, text, bad,	i, line, key) {
	line = subject ": " text
	total++
	for (i = 1; i <= nx; i++)
		if (xkind[i] == kind && line ~ ("^(" xline[i] ")$")) {
			met[i]++
			expected++
			return
		}
	worse += bad
	unexpected++
	# Causes that differ in their numbers only are one line.
	key = text
	if (kind == "fails" || kind == "passes")
		gsub(/[0-9]+/, "N", key)
	if (!((kind, key) in count)) {
		order[kind, ++texts[kind]] = key
		first[kind, key] = subject
		shown[kind, key] = text
	}
	count[kind, key]++
	if (bad)
		worst[kind, key] = 1
}

function say(kind, title,	i, n, t, more) {
	if (!texts[kind])
		return
	print title ":"
	for (i = 1; i <= texts[kind] && i <= most; i++) {
		t = order[kind, i]
		n = count[kind, t]
		more = n > 1 ? " (and " n - 1 " more)" : ""
		print "  " first[kind, t] more ": " shown[kind, t] (worst[kind, t] ? "  [worse]" : "")
	}
	for (n = 0; i <= texts[kind]; i++)
		n += count[kind, order[kind, i]]
	if (n)
		print "  and " n " others"
}

# What a refusal led to. How often differs from run to run; and what the other injectors
# refuse where no table is needed, or a full group at all, is not the same each time.
function result(injector, need, refused, outcome) {
	if (injector == "memcg" || (injector == "fail-nth" && need == "needs none"))
		return need
	gsub(/\+[1-9][0-9]*/, "+N", outcome)
	return need ", " (refused > 0 ? "refused" : "not refused") ": " outcome
}

kind == "passed" || kind == "failed" || kind == "skipped" {
	text = $0
	id = $1
	sub(/^[^ ]+ */, "", text)
	sub(/^# */, "", text)
	sub(/^SKIP */, "", text)
	if (!(id in known)) {
		known[id]
		ids[++nid] = id
	}
	state[run, id] = kind
	says[run, id] = text
}
kind == "summary" && $1 == "program" { cell[run, $2] = $3; if (!seen[$2]++) prog[++np] = $2 }
kind == "summary" && $1 ~ /^(release|mode|thp|time|pass|fail|skip)$/ { fact[run, $1] = $2 }
kind == "summary" && $1 == "bytes" { cost("B/THP", $2) }
kind == "ktap" && /^# # footprint: / {
	what = $0
	sub(/^# # footprint: /, "", what)
	bytes = what
	sub(/:.*/, "", what)
	sub(/^[^:]*: /, "", bytes)
	sub(/,.*/, "", bytes)
	cost(what, bytes)
}
kind == "refusals" {
	split($0, col, "\t")
	key = col[1] " " col[2]
	r = result(col[2], col[3], col[4], col[5])
	if (!(key in rknown)) {
		rknown[key]
		rkeys[++nr] = key
	}
	if (index("; " refusal[run, key] ";", "; " r ";") == 0)
		refusal[run, key] = refusal[run, key] (refusal[run, key] ? "; " : "") r
}
kind == "expect" && !/^#/ && NF {
	if (($1 != "must" && $1 != "may") || NF < 3 || \
	    $2 !~ /^(fails|passes|skips|runs|gone|new|cost|refusal)$/) {
		print FILENAME ":" FNR ": neither must nor may KIND PATTERN" >"/dev/stderr"
		usage = 1
		exit 2
	}
	xmust[++nx] = $1 == "must"
	xkind[nx] = $2
	xline[nx] = $0
	sub(/^[a-z]+[ \t]+[a-z]+[ \t]+/, "", xline[nx])
}

function cost(what, value) {
	if (!(what in cknown)) {
		cknown[what]
		ckeys[++nc] = what
	}
	bytes_of[run, what] = value
}

function about(r) {
	return fact[r, "release"] ", THP " fact[r, "thp"] ", " fact[r, "mode"] ", " \
		fact[r, "pass"] + 0 "/" fact[r, "fail"] + 0 "/" fact[r, "skip"] + 0 ", " \
		fact[r, "time"] + 0 " s"
}

function tests(	i, id, old, now) {
	for (i = 1; i <= nid; i++) {
		id = ids[i]
		old = state["a", id]
		now = state["b", id]
		if (old == now)
			continue
		if (now == "")
			differs("gone", id, old == "skipped" ? "it skipped" : "it ran",
				old != "skipped")
		else if (now == "failed")
			differs("fails", id, says["b", id], old == "passed")
		else if (old == "")
			differs("new", id, "it " (now == "skipped" ? "skips" : "passes"), 0)
		else if (now == "skipped")
			differs("skips", id, says["b", id], 0)
		else if (old == "skipped")
			differs("runs", id, says["a", id], 0)
		else
			differs("passes", id, says["a", id], 0)
	}
}

END {
	if (usage)
		exit 2
	print "a: " a ": " about("a")
	print "b: " b ": " about("b")
	tests()
	for (i = 1; i <= nc; i++)
		if (bytes_of["a", ckeys[i]] != bytes_of["b", ckeys[i]])
			differs("cost", ckeys[i], (("a", ckeys[i]) in bytes_of ? \
				bytes_of["a", ckeys[i]] : "not measured") " -> " \
				(("b", ckeys[i]) in bytes_of ? \
				bytes_of["b", ckeys[i]] : "not measured"), 0)
	for (i = 1; i <= nr; i++)
		if (("a", rkeys[i]) in refusal && ("b", rkeys[i]) in refusal && \
		    refusal["a", rkeys[i]] != refusal["b", rkeys[i]])
			differs("refusal", rkeys[i], refusal["a", rkeys[i]] " -> " \
				refusal["b", rkeys[i]], 0)
	say("fails", "Began to fail")
	say("gone", "Gone")
	say("passes", "Ceased to fail")
	say("skips", "Began to skip")
	say("runs", "Ceased to skip")
	say("new", "New")
	say("cost", "Page tables")
	say("refusal", "Refusals")
	for (i = 1; i <= np; i++)
		if (cell["a", prog[i]] != cell["b", prog[i]])
			print "Counts: " prog[i] ": " cell["a", prog[i]] " -> " cell["b", prog[i]]
	for (i = 1; i <= nx; i++)
		if (xmust[i] && !met[i]) {
			print "Expected, but not so: " xkind[i] " " xline[i]
			missing++
		}
	if (!total && !missing)
		print "No difference"
	else if (nx)
		printf "Differences: %d, expected: %d, expected and missing: %d\n",
			total, expected, missing
	else
		printf "Differences: %d, for the worse: %d\n", total, worse
	exit nx ? (unexpected || missing) : worse > 0
}
