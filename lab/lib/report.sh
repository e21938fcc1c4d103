# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh
# From what a guest left behind to a verdict, and the table of all verdicts.
#
# A run's folder gets the file summary, lines of "key value":
#	status, time, release, thp, mode, bytes, program NAME CELL,
#	pass/fail/skip COUNT, failed LINE, skipped COUNT REASON, log LINE, trouble LINE,
#	refusal INJECTOR COUNT..., oddity LINE

# Lines of the kernel log that fail a run, without their time stamp. Reports of
# injected failures and of the OOM killer are what some tests ask for.
lab_splats() (
	tr -d '\r' <"$1" | awk '
		!sub(/^\[ *[0-9]+\.[0-9]+\](\[ *[TC][0-9]+\])? /, "") { next }
		/^WARNING: / || /BUG: / || /^kernel BUG at / || /^Oops[: ]/ ||
		/^general protection fault/ || /^Unable to handle kernel/ ||
		/^Kernel panic/ || /^UBSAN: / || /non-zero pgtables_bytes/ ||
		/^INFO: task .* blocked for more than/ ||
		/^INFO: (possible|trying to register|suspicious)/ ||
		/rcu: INFO: .*(stall|detected)/ || /^rcu: .* kthread starved/ ||
		(/page_table_check/ && !/ommand line: /) || /^Bad page (state|map)/ {
			if (n++ < 20)
				print
		}'
)

# Facts of the KTAP: see above.
lab_ktap_facts() (
	awk '
		function cell() { return p + 0 "/" f + 0 "/" s + 0 }
		/^# mode:/ {
			for (i = 3; i <= NF; i++) {
				split($i, kv, "=")
				if (kv[1] == "measured" && kv[2] != "" &&
				    kv[2] !~ /^(none|unknown|-)$/)
					mode = kv[2]
				if (kv[1] == "expected")
					expected = kv[2]
			}
			next
		}
		/^# bytes per PTE table:/ { bytes = $6; next }
		/^# PMD size:/ { print "thp", $4 / 1048576 "M"; next }
		/^# (not )?ok [0-9]/ {
			line = substr($0, 3)
			if (line ~ /^not ok/) {
				f++; nf++
				print "failed", line
			} else if (line ~ /# SKIP/) {
				s++; ns++
				sub(/.*# SKIP */, "", line)
				skips[line]++
			} else {
				p++; np++
			}
			next
		}
		/^(not )?ok [0-9]/ {
			bad = $1 == "not"
			name = bad ? $4 : $3
			if (name == "-")
				name = bad ? $5 : $4
			if (bad && !f) {
				nf++
				print "failed", $0
			}
			if (/# SKIP/ && !p && !f && !s) {
				line = $0
				sub(/.*# SKIP */, "", line)
				skips[line]++
				ns++
			}
			print "program", name, cell() (bad && !f ? "!" : "")
			p = f = s = 0
		}
		END {
			if (p + f + s)
				print "program", "(unfinished)", cell() "!"
			if (mode == "")
				mode = expected
			if (mode != "")
				print "mode", mode
			if (mode == "lazy")
				bytes = 0
			if (bytes != "")
				print "bytes", bytes
			print "pass", np + 0
			print "fail", nf + 0
			print "skip", ns + 0
			for (r in skips)
				print "skipped", skips[r], r
		}' "$1"
)

# What starving came to, from a KTAP: lines of test, injector, whether it needs a
# table, refused allocations, outcome, separated by tabs. What a test said before it
# tried once more does not count.
lab_refusals() (
	awk '
		function flush(	i) {
			for (i = 1; i <= n; i++)
				print line[i]
			n = 0
		}
		/^# #  RUN / {
			flush()
			test = $4
			next
		}
		sub(/^# # refusal: /, "") {
			gsub(/ \| /, "\t")
			key = $0
			sub(/ tables .*/, " tables", key)
			if (key !~ / of .* tables$/)
				n = 0
			line[++n] = test "\t" $0
		}
		END { flush() }' "$1"
)

# Those in numbers: injector, triggers that need a table and those of them that were
# refused, triggers that need none and those refused. And the exceptions, by name.
lab_refusals_facts() (
	awk -F '\t' '
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
		}' "$1"
)

# The counters of a kernel with gcov, from channel $1 into directory $2.
lab_gcda_extract() (
	grep -q '^@lab gcda ' "$1" || exit 0
	mkdir -p "$2"
	sed -n -e 's/^@lab gcda /f /p' -e 's/^@lab data /d /p' "$1" |
	tr -d '\r' | awk -v dir="$2" '
		$1 == "f" {
			if (out)
				close(out)
			n++
			out = dir "/" n ".base64"
			print n, $2 >(dir "/names")
			next
		}
		{ print $2 >out }'
	while read -r n _; do
		base64 -d "$2/$n.base64" >"$2/$n.gcda" && rm "$2/$n.base64"
	done <"$2/names"
)

# lab_verdict FOLDER SECONDS: writes ktap, config, summary.
lab_verdict() (
	dir=$1
	sed '/^@lab /d' "$dir/channel.log" >"$dir/ktap"
	if [ -r "$K_CONFIG" ]; then
		cp "$K_CONFIG" "$dir/config"
	else
		sed -n 's/^@lab config //p' "$dir/channel.log" | base64 -d |
			gzip -dc >"$dir/config" 2>/dev/null
		[ -s "$dir/config" ] || rm -f "$dir/config"
	fi
	lab_gcda_extract "$dir/channel.log" "$dir/gcda"
	lab_refusals "$dir/ktap" >"$dir/refusals"
	code=$(sed -n 's/^@lab exit //p' "$dir/channel.log")
	failed=$(grep -m 1 -E '^(# )?not ok ' "$dir/ktap")
	lab_splats "$dir/console.log" >"$dir/splats"
	if [ -s "$dir/trouble" ] || [ -s "$dir/splats" ] || [ -n "$failed" ]; then
		status=$LAB_FAIL
	else
		status=${code:-$LAB_FAIL}
	fi
	{
		echo "status $status"
		echo "time $2"
		sed -n 's/^@lab up \([^ ]*\).*/release \1/p' "$dir/channel.log"
		lab_ktap_facts "$dir/ktap"
		lab_refusals_facts "$dir/refusals"
		sed 's/^/log /' "$dir/splats"
		sed -n 's/^@lab fact \(swap none.*\|module.*\|cgroup.*\|loop.*\)/note \1/p' \
			"$dir/channel.log"
		[ ! -s "$dir/trouble" ] || sed 's/^/trouble /' "$dir/trouble"
		case $code in
		''|4) ;;
		0)	[ -z "$failed" ] ||
				echo "trouble run_tests.sh passed although tests failed" ;;
		1)	[ -n "$failed" ] ||
				echo "trouble run_tests.sh failed and named no test" ;;
		*)	echo "trouble run_tests.sh ended with status $code:" \
				"$(sed -n 's/^@lab stderr //p' \
				"$dir/channel.log" | tail -n 1)" ;;
		esac
	} >"$dir/summary"
	rm -f "$dir/splats"
)

# A run that never got as far as a guest.
lab_verdict_none() (
	{
		echo "status $2"
		echo "time 0"
		echo "trouble $3"
	} >"$1/summary"
)

# The table of all runs, what was skipped, what failed. Arguments: folders.
lab_table() (
	programs='thp_lazy_split thp_split_enomem thp_fork_copy thp_mremap
		thp_migrate'
	for dir; do
		printf 'run %s %s\n' "${dir##*/}" "$(cat "$dir/name")"
		cat "$dir/summary"
	done | awk -v programs="$programs" '
		function put(col, text) {
			cell[n, col] = text
			if (length(text) > width[col])
				width[col] = length(text)
		}
		# A kernel that came to no test counts as one.
		function finish() {
			if (bad && !failures)
				fail++
			if (gone && !skips_here)
				skip++
			bad = gone = failures = skips_here = 0
		}
		function verdict(s) {
			if (s == 0)
				return "pass"
			return s == 1 ? "FAIL" : s == 4 ? "skip" : "ERROR"
		}
		BEGIN {
			n = 0
			np = split(programs, prog)
			put(1, "kernel"); put(2, "release"); put(3, "THP")
			put(4, "mode"); put(5, "B/THP")
			for (i = 1; i <= np; i++) {
				column[prog[i]] = i + 5
				short = prog[i]
				sub(/^thp_/, "", short)
				put(i + 5, short)
			}
			last = np + 7
			put(last - 1, "time"); put(last, "verdict")
		}
		$1 == "run" {
			finish()
			n++
			name = $2
			kernel = $3
			put(1, name)
			for (i = 2; i < last; i++)
				put(i, "-")
			next
		}
		{ key = $1; rest = $0; sub(/^[^ ]+ /, "", rest) }
		key == "status" {
			put(last, verdict($2))
			bad = $2 != 0 && $2 != 4
			gone = $2 == 4
		}
		key == "time" && $2 { put(last - 1, $2 " s") }
		key == "release" { put(2, $2) }
		key == "thp" { put(3, $2) }
		key == "mode" { put(4, $2) }
		key == "bytes" { put(5, $2) }
		key == "program" && ($2 in column) { put(column[$2], $3) }
		key == "pass" { pass += $2 }
		key == "fail" { fail += $2; failures = $2 }
		key == "skip" { skip += $2; skips_here = $2 }
		key == "failed" { failed = failed "  " name ": " rest "\n" }
		key == "log" { log_ = log_ "  " name ": " rest "\n" }
		key == "trouble" { trouble = trouble "  " name ": " rest "\n" }
		key == "refusal" && ($3 || $5) {
			refusal = refusal "  " name ": " $2 ": " $4 " of " $3 \
				" that need a table, " $6 " of " $5 \
				" that need none\n"
		}
		key == "oddity" { oddity = oddity "  " name ": " rest "\n" }
		key == "note" { note = note "  " name ": " rest "\n" }
		key == "skipped" {
			sub(/^[^ ]+ /, "", rest)
			id = rest
			if (!(id in reason)) {
				order[++nr] = id
				reason[id] = ""
			}
			if (!((id, kernel) in skips))
				reason[id] = reason[id] SUBSEP kernel
			skips[id, kernel] += $2
		}
		END {
			finish()
			for (r = 0; r <= n; r++) {
				line = ""
				for (c = 1; c <= last; c++)
					line = line sprintf("%-" width[c] "s  ",
						cell[r, c])
				sub(/ +$/, "", line)
				print line
			}
			print "(tests passed/failed/skipped; ! a program that" \
				" failed as a whole; B/THP: bytes of page table" \
				" that a mapped THP costs)"
			if (trouble)
				printf "Trouble:\n%s", trouble
			if (failed)
				printf "Failed:\n%s", failed
			if (log_)
				printf "Kernel log:\n%s", log_
			if (note)
				printf "Guests:\n%s", note
			if (nr)
				print "Skipped, by reason:"
			for (r = 1; r <= nr; r++) {
				id = order[r]
				line = ""
				nk = split(reason[id], kernels, SUBSEP)
				for (k = 2; k <= nk; k++)
					line = line (k > 2 ? ", " : "") \
						kernels[k] " " skips[id, kernels[k]]
				print "  " id ": " line
			}
			if (refusal)
				printf "Triggers that an injector refused" \
					" (one by one in the file refusals of" \
					" the run):\n%s", refusal
			if (oddity)
				printf "Needs a table and was not refused, or" \
					" needs none and was:\n%s", oddity
			printf "%d passed, %d failed, %d skipped\n",
				pass, fail, skip
		}'
)

# The status of the whole: a failure counts most.
lab_total_status() (
	for dir; do
		sed -n 's/^status //p' "$dir/summary"
	done | awk '
		$1 == 0 { pass++ }
		$1 == 1 { fail++ }
		$1 == 4 { skip++ }
		$1 != 0 && $1 != 1 && $1 != 4 { error++ }
		END { print fail ? 1 : error ? 2 : pass ? 0 : skip ? 4 : 2 }'
)
