# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh
# Coverage: the lines of the series that the suite has executed.

LAB_UNREACHED=$LAB_DIR/kernel/unreached

# "file line count" of every line that has code, from the counters in folder
# $1/gcda, with the notes in $2. A line of a header has one count per file that
# includes it.
lab_coverage_counts() (
	work=$1/gcov
	rm -rf "$work"
	cp -R "$2/notes" "$work" || exit
	while read -r n name; do
		# The path is that of the object directory.
		path=${name##*/obj/}
		cp "$1/gcda/$n.gcda" "$work/$path" 2>/dev/null || continue
		gcov -t "$work/$path" 2>/dev/null
	done <"$1/gcda/names" | awk -F : -f "$LAB_AWK/coverage-counts.awk"
)

# "file line patch" of every line of the patched files that comes from a patch.
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
	awk -v source="$2/gcov/source" -v unreached="$LAB_UNREACHED" \
		-f "$LAB_AWK/coverage-report.awk" "$1/counts" "$1/lines"
)
