# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh
# Coverage: which lines that the series adds or changes the suite has executed.

LAB_UNREACHED=$LAB_DIR/kernel/unreached

# "file line count" of every line that has code, from the counters in folder
# $1/gcda, with the notes in $2. A line of a header has as many as files that
# include it.
lab_coverage_counts() (
	work=$1/gcov
	rm -rf "$work"
	cp -R "$2/notes" "$work" || exit
	while read -r n name; do
		# The path is that of the object directory.
		path=${name##*/obj/}
		cp "$1/gcda/$n.gcda" "$work/$path" 2>/dev/null || continue
		gcov -t "$work/$path" 2>/dev/null
	done <"$1/gcda/names" | awk -F : '
		$2 + 0 == 0 && $3 == "Source" {
			file = $4
			next
		}
		{
			gsub(/ /, "", $1)
			if ($1 == "-" || $1 == "")
				next
			count = $1 ~ /^[#=]/ ? 0 : $1 + 0
			print file, $2 + 0, count
		}'
)

# "file line patch" of every line of the patched files that a patch has brought.
lab_coverage_blame() (
	repo=$1/blame pristine=$2
	rm -rf "$repo"
	mkdir -p "$repo"
	# shellcheck disable=SC2046 # a list of files
	lab_patch_files $(lab_build_patches) >"$1/files"
	while read -r file; do
		[ -e "$pristine/$file" ] || continue
		mkdir -p "$repo/$(dirname "$file")"
		cp "$pristine/$file" "$repo/$file"
	done <"$1/files"
	cd "$repo" || exit
	git init -q . && git add -A &&
	lab_coverage_commit base || exit
	for patch in $(lab_build_patches); do
		lab_patch "$repo" "$patch" && git add -A &&
		lab_coverage_commit "$(basename "$patch" | cut -d - -f 1)" || exit
	done
	while read -r file; do
		[ -e "$file" ] || continue
		git blame --line-porcelain "$file" | awk -v file="$file" '
			/^[0-9a-f]+ [0-9]+ [0-9]+/ { line = $3 }
			/^summary / && $2 != "base" { print file, line, $2 }'
	done <"$1/files"
)

lab_coverage_commit() {
	git -c user.name=lab -c user.email=lab@localhost -c commit.gpgsign=false \
		commit -q --no-verify -m "$1"
}

# The tables, from the counters of run $1, the kernel in $2 and the source $3.
lab_coverage_report() (
	lab_coverage_counts "$1" "$2/gcov" >"$1/counts"
	lab_coverage_blame "$1" "$3/tree" >"$1/lines"
	awk -v source="$2/gcov/source" -v unreached="$LAB_UNREACHED" '
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
		}' "$1/counts" "$1/lines"
)
