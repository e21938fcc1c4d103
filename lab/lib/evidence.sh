# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh
# docs/evidence.md: what the campaigns measured, as they printed it.

# lab_evidence_part FOLDER NAME COMMAND...: what it prints goes into FOLDER/NAME. Fails
# if the command does.
lab_evidence_part() {
	part=$1/$2
	shift 2
	lab_say "evidence: $*"
	"$LAB_DIR/lab" "$@" ${LAB_OFFLINE:+--offline} \
		${LAB_ACCEL:+--accel "$LAB_ACCEL"} >"$part.new"
	code=$?
	[ -s "$part.new" ] || lab_die "$1 has printed nothing"
	mv "$part.new" "$part"
	[ "$code" -eq 0 ] || lab_say "$1 ended with status $code"
	return "$code"
}

# The table of the refusals that the runs named in "$@" have left: all triggers, what
# each injector did to them.
lab_evidence_refusals() (
	awk -F '\t' '
		{
			test = $1
			sub(/\.[^.]*$/, "", test)
			if (!(test in seen)) {
				seen[test] = 1
				order[++n] = test
			}
			if (!($2 in known)) {
				known[$2] = 1
				column[++nc] = $2
			}
			what = $5 " (" $4 ")"
			if ($3 == "needs none")
				what = "*" what "*"
			cell[test, $2] = cell[test, $2] (cell[test, $2] == "" ? \
				"" : "; ") what
		}
		END {
			printf "| trigger |"
			for (c = 1; c <= nc; c++)
				printf " %s |", column[c]
			printf "\n|---|"
			for (c = 1; c <= nc; c++)
				printf "---|"
			print ""
			for (i = 1; i <= n; i++) {
				printf "| %s |", order[i]
				for (c = 1; c <= nc; c++)
					printf " %s |", cell[order[i], column[c]]
				print ""
			}
		}' "$@"
)

# How many of the baseline's mutants had outcome $2 in the table $1 of the suite.
lab_evidence_both() (
	for name in $(lab_baseline_sample); do
		grep -c "^| $name |.*| $2 |" "$1"
	done | awk '{ n += $1 } END { print n + 0 }'
)

# The document, from the parts in folder $1.
lab_evidence_write() (
	lab_kernel_load mutants-x86_64
	lab_build_load
	source=$(basename "$(cat "$B_LAST")")
	cat <<-EOF
	# Evidence

	What the suite catches and what it executes, measured with \`lab/lab evidence\` on
	$(date +%Y-%m-%d): $source with the series of
	[lab/kernel/](../lab/kernel/), $(nproc) processors, QEMU. Nothing here is written by
	hand but the reasons, which are in \`lab/kernel/mutants/list\`, \`lab/kernel/reverts/list\`
	and \`lab/kernel/unreached\`.

	* [Mutants](#mutants)
	* [Without one patch](#without-one-patch)
	* [Refusals](#refusals)
	* [Coverage](#coverage)
	* [Baseline: the kernel's own mm selftests](#baseline-the-kernels-own-mm-selftests)

	## Mutants

	The kernel with one deliberate bug at a time ([what guided the
	choice](../lab/kernel/mutants/README.md)); the suite ends at its first failure. *killed*: a
	test failed, or the kernel complained or died and a test or the runner reported it. *lab*:
	only the lab saw it.

	$(cat "$1/mutants")

	## Without one patch

	The lazy kernel with one patch of its series taken back.

	$(cat "$1/reverts")

	## Refusals

	On the lazy kernel (x86-64, all tests): what a trigger came to when page tables
	(targeted), one allocation after the other (fail-nth), or all memory of its control
	group (memcg) was refused, and how many allocations that were. In italics: what needs
	no PTE table, or gets one.

	$(cat "$1/refusals")

	The same on the eager kernel: what is not in italics needs tables for something else
	than the split of a PMD.

	$(cat "$1/refusals-eager")

	## Coverage

	Lines with code that a patch has added or changed, by gcov.

	$(cat "$1/coverage")

	## Baseline: the kernel's own mm selftests

	On every eighth mutant, $(lab_baseline_sample | wc -l) in all, with the kernel and the
	guest of the campaign above, in which the suite killed
	$(lab_evidence_both "$1/mutants" killed) of these.

	$(cat "$1/baseline")
	EOF
)
