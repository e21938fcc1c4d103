# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh
# docs/evidence.md: the output of the campaigns. Each part is a file that begins
# with the day and the kernel.

LAB_EVIDENCE=$LAB_SUITE_SRC/docs/evidence.md

# lab_evidence_part FOLDER NAME COMMAND...: writes its output to FOLDER/NAME. Fails if
# the command does.
lab_evidence_part() {
	part=$1/$2
	shift 2
	lab_say "evidence: $*"
	"$LAB_DIR/lab" "$@" ${LAB_OFFLINE:+--offline} \
		${LAB_ACCEL:+--accel "$LAB_ACCEL"} >"$part.out"
	code=$?
	[ -s "$part.out" ] || lab_die "$1 has printed nothing"
	lab_evidence_stamp "$part.out" >"$part"
	[ "$code" -eq 0 ] || lab_say "$1 ended with status $code"
	return "$code"
}

# The part of file $1.
lab_evidence_stamp() (
	lab_kernel_load lazy-x86_64
	lab_build_load
	printf '%s, %s, %s processors.\n\n' "$(date +%Y-%m-%d)" \
		"$(basename "$(cat "$B_LAST")")" "$(nproc)"
	cat "$1"
)

# One run of each of the two kernels, and the refusals in it.
lab_evidence_runs() {
	rm -rf "$1/runs.d"
	lab_evidence_part "$1" runs run --jobs "$O_JOBS" --timeout 2400 \
		--output "$1/runs.d" lazy-x86_64 eager-x86_64
	code=$?
	for name in lazy eager; do
		lab_evidence_refusals "$1/runs.d/$name-x86_64/refusals" \
			>"$1/$name.out"
		lab_evidence_stamp "$1/$name.out" >"$1/refusals-$name"
	done
	return "$code"
}

# A table of file refusals of a run: all triggers, what each injector did to them.
lab_evidence_refusals() (
	awk -F '\t' -f "$LAB_AWK/evidence-refusals.awk" "$1"
)

# The costs of eager and lazy kernels of two architectures, in a document of their own.
lab_evidence_cost() {
	rm -rf "$1/cost.d"
	# shellcheck disable=SC2086 # a list of words
	lab_evidence_part "$1" cost cost --jobs "$O_JOBS" --output "$1/cost.d" $LAB_COST_KERNELS
	code=$?
	# shellcheck disable=SC2086 # a list of words
	lab_cost_write "$1/cost.d" $LAB_COST_KERNELS || code=1
	lab_say "written: $LAB_COST_DOC"
	return "$code"
}

# How many of the baseline's mutants had outcome $2 in the table $1 of the suite.
lab_evidence_both() (
	for name in $(lab_baseline_sample); do
		grep -c "^| $name |.*| $2 |" "$1"
	done | awk '{ n += $1 } END { print n + 0 }'
)

# Part $2: from folder $1, or else as the document has it.
lab_evidence_show() {
	echo "<!-- $2 -->"
	if [ -s "$1/$2" ]; then
		cat "$1/$2"
	elif grep -qxF "<!-- $2 -->" "$LAB_EVIDENCE" 2>/dev/null; then
		sed -n "/^<!-- $2 -->\$/,/^<!-- end -->\$/p" "$LAB_EVIDENCE" |
			sed -e 1d -e '$d'
	else
		echo "Not measured yet."
	fi
	echo "<!-- end -->"
}

# The document, from the parts in folder $1 and, for the others, from its
# present text.
lab_evidence_write() (
	cat <<-EOF
	# Evidence

	What the suite catches and what it executes, measured with \`lab/lab evidence\`, which
	has written this, on Debian's linux-source with the series of
	[lab/kernel/](../lab/kernel/), in QEMU. Written by hand are only the reasons in
	\`lab/kernel/mutants/list\`, \`lab/kernel/reverts/list\` and \`lab/kernel/unreached\`.

	* [Mutants](#mutants)
	* [Without one patch](#without-one-patch)
	* [Refusals](#refusals)
	* [Coverage](#coverage)
	* [Baseline](#baseline)

	## Mutants

	The lazy kernel with one deliberate bug at a time ([how they were
	chosen](../lab/kernel/mutants/README.md)); the suite ends at its first failure.
	*killed*: a test failed, or the kernel complained or died and the suite said so. *lab*:
	only the lab saw it.

	$(lab_evidence_show "$1" mutants)

	## Without one patch

	The lazy kernel with one patch of its series taken back. *compiler*: it refuses to
	ignore the result.

	$(lab_evidence_show "$1" reverts)

	## Refusals

	What a trigger came to when page tables (targeted), one allocation after the other
	(fail-nth), or all memory of its control group (memcg) were refused, and how many
	allocations that were. In italics: what needs no PTE table, or gets one. Under memcg, 0
	is advice that was heeded after all: reclaim found room. First the lazy kernel:

	$(lab_evidence_show "$1" refusals-lazy)

	The eager kernel; what is not in italics needs tables for something else than the split
	of a PMD:

	$(lab_evidence_show "$1" refusals-eager)

	## Coverage

	Lines with code that a patch of the series has added or changed, by gcov.

	$(lab_evidence_show "$1" coverage)

	## Baseline

	The kernel's own mm selftests that touch THP (\`lab/baseline/programs\`), on
	$(lab_baseline_sample | wc -l) mutants (\`lab/baseline/sample\`), in the same guest. In the
	campaign above the suite killed $(lab_evidence_both "$1/mutants" killed 2>/dev/null) of these.

	$(lab_evidence_show "$1" baseline)
	EOF
)
