# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh
# shellcheck disable=SC2034 # shared with evidence.sh
# The costs of several kernels, from the JSON of run_tests.sh -B: side by side, as pictures,
# and against what is known of them.

LAB_COSTS=$LAB_DIR/kernel/mutants/cost

# Those of the documentation: one image with two MMUs is the other architecture.
LAB_COST_KERNELS='eager-x86_64 lazy-x86_64 lazy-ppc64le-hash lazy-ppc64le-radix'

# How much the figures of two runs of the same suite and kernel may differ.
LAB_COST_SPREAD=0.01

# A row is as it was if it is dearer by no more than the fraction; and, of a mutant, by no more
# than the instructions.
LAB_COST_RELATIVE=0.015 LAB_COST_ABSOLUTE=3000

# The JSON of the run in folder $1, as a file of its own.
lab_cost_figures() (
	[ -r "$1/ktap" ] || exit 0
	grep '^{' "$1/ktap" >"$1/costs.json"
)

# lab_cost_sum PROGRAM FOLDER... [-- -v NAME=VALUE...]: the figures in these folders, by
# lab/awk/cost-PROGRAM.awk.
lab_cost_sum() (
	program=$1
	shift
	folders=''
	while [ $# -gt 0 ] && [ "$1" != -- ]; do
		folders="$folders $1"
		shift
	done
	[ $# -eq 0 ] || shift
	for folder in $folders; do
		echo "@ ${folder##*/}"
		[ ! -r "$folder/costs.json" ] || cat "$folder/costs.json"
	done | awk "$@" -f "$LAB_AWK/cost-read.awk" -f "$LAB_AWK/cost-$program.awk"
)

# lab_cost_folders FOLDER NAME...: those of the names in it, as a list of words.
lab_cost_folders() (
	top=$1
	shift
	printf "$top/%s " "$@"
)

# The runs of kernel $2 in folder $1, all folders that "run --repeat" has made.
lab_cost_runs() (
	copy=1 dir=$1/$2
	while [ -e "$dir" ]; do
		echo "$dir"
		copy=$((copy + 1)) dir=$1/$2-$copy
	done
)

# Whether the runs of kernel $2 in folder $1 agree; says by how much they differ.
lab_cost_agrees() (
	# shellcheck disable=SC2046 # a list of words
	lab_cost_sum spread $(lab_cost_runs "$1" "$2") -- \
		-v name="$2" -v most="$LAB_COST_SPREAD"
)

# The start of a drawing, in file $1, of height $2 and title $3.
lab_cost_canvas() {
	cat <<-EOF
		set terminal svg size 800,$2 font 'sans-serif,11' background 'white'
		set output '$1'
		set title '$3' noenhanced
		set key top outside horizontal noenhanced
	EOF
}

# lab_cost_bars FOLDER KERNEL...: what operations cost on each kernel, as bars.
lab_cost_bars() (
	top=$1
	shift
	rows=$(wc -l <"$top/bars")
	lab_cost_canvas "$top/costs.svg" $((rows * 11 * ($# + 1) + 110)) 'instructions per THP'
	# One above the other, around the place of the row's name.
	at="\$0 + (i - 2 - ($# - 1) / 2.0) * 0.8 / $#"
	cat <<-EOF
		set ytics noenhanced
		set logscale x
		set xrange [100:*]
		set format x '10^{%T}'
		set yrange [$rows - 0.5:-0.5]
		set grid x
		set style fill solid 0.8
		plot for [i=2:$#+1] '$top/bars' \
			using i:($at):(100):i:($at - 0.4 / $#):($at + 0.4 / $#) \
			with boxxyerror title word('$*', i - 1), \
			'' using (100):0:ytic(1) with dots notitle
	EOF
)

# lab_cost_ratios FOLDER: of every row, a point for each kernel that is not the first of its
# architecture.
lab_cost_ratios() (
	rows=$(($(wc -l <"$1/ratios") - 1))
	columns=$(head -n 1 "$1/ratios" | awk '{ print NF }')
	lab_cost_canvas "$1/ratios.svg" $((rows * 16 + 120)) \
		"instructions, as a multiple of those of the first kernel of the architecture"
	cat <<-EOF
		set ytics noenhanced
		set xrange [0:*]
		set link x2
		set x2tics
		set yrange [$rows:-1]
		set grid x y
		set arrow from 1, graph 0 to 1, graph 1 nohead linewidth 2
		plot for [i=2:$columns] '$1/ratios' using i:0:ytic(1) \
			with points pointtype 7 title columnheader(i)
	EOF
)

# lab_cost_curves FOLDER DATA TITLE X Y SCALES: the blocks of file FOLDER/DATA; SCALES are
# those that are logarithmic.
lab_cost_curves() (
	blocks=$(grep -c '^"' "$1/$2")
	lab_cost_canvas "$1/$2.svg" 480 "$3"
	cat <<-EOF
		set xlabel '$4'
		set ylabel '$5'
		set logscale $6 2
		set grid
		plot for [i=0:$((blocks - 1))] '$1/$2' index i using 1:2 with linespoints \
			pointtype i + 4 title columnheader(1)
	EOF
)

# lab_cost_pictures FOLDER NAME...: costs.svg, tables.svg, forks.svg and, of several kernels,
# ratios.svg, each if there are figures for it.
lab_cost_pictures() (
	top=$1
	shift
	folders=$(lab_cost_folders "$top" "$@")
	if ! command -v gnuplot >/dev/null 2>&1; then
		lab_say "no pictures: gnuplot not found: install gnuplot-nox"
		exit 0
	fi
	for form in bars ratios tables forks; do
		# shellcheck disable=SC2086 # a list of words
		lab_cost_sum plot $folders -- -v form=$form >"$top/$form"
		[ -s "$top/$form" ] || continue
		case $form in
		bars)	lab_cost_bars "$top" "$@" ;;
		ratios)	lab_cost_ratios "$top" ;;
		tables)	lab_cost_curves "$top" tables 'page tables of what is mapped' \
				'GiB mapped by huge PMDs' 'MiB of page tables (0 is not shown)' xy ;;
		forks)	lab_cost_curves "$top" forks 'page tables of children, 64 THPs' \
				'children' 'KiB of page tables of all of them' x ;;
		esac >"$top/gnuplot"
		gnuplot "$top/gnuplot" || lab_say "no picture of $form: gnuplot failed"
	done
	rm -f "$top/gnuplot"
)

# --- docs/cost.md ---

LAB_COST_DOC=$LAB_SUITE_SRC/docs/cost.md
LAB_COST_REASONS=$LAB_DIR/kernel/dearer

# The pages from the runs in folder $1 of the kernels that follow: docs/cost.md, and the
# pictures beside it.
lab_cost_write() {
	for picture in costs ratios tables forks; do
		[ ! -s "$1/$picture.svg" ] ||
			cp "$1/$picture.svg" "${LAB_COST_DOC%.md}-$picture.svg" || return
	done
	lab_cost_document "$@" >"$LAB_COST_DOC.new" && mv "$LAB_COST_DOC.new" "$LAB_COST_DOC"
}

# A picture of the document, if it was made: of name $1, described by $2.
lab_cost_show() (
	name=${LAB_COST_DOC%.md}-$1.svg
	[ ! -s "$name" ] || printf '![%s](%s)\n' "$2" "${name##*/}"
)

lab_cost_document() (
	top=$1
	shift
	folders=$(lab_cost_folders "$top" "$@")
	# shellcheck disable=SC2086 # lists of words
	cat <<-EOF
	# What lazy tables cost and save

	Measured with \`lab/lab evidence cost\`, which has written this page and its pictures: it
	runs \`lab/lab cost $*\`, that is
	\`run_tests.sh -b\` in guests whose clock is the number of instructions. Written by hand
	are only the reasons in \`lab/kernel/dearer\`. The kernels have the debugging options of
	\`lab/kernel/config-*\`, so ratios say more than figures do; each is compared with the
	first of its architecture. $(lab_evidence_stamp /dev/null | head -n 1)

	* [Page tables](#page-tables)
	* [Operations](#operations)
	* [What costs more](#what-costs-more)
	* [All figures](#all-figures)

	## Page tables

	$(lab_cost_show tables "Page tables against what is mapped, the table below in a picture")

	MiB of page tables of a process that maps so much memory with huge PMDs, and KiB of page
	tables of all children together that inherit 64 THPs. Those of PMDs, 4 KiB for each GiB on
	x86-64, are there on either kernel.

	$(lab_cost_sum curves $folders -- -v form=tables)

	$(lab_cost_show forks "Page tables against children, the table below in a picture")

	$(lab_cost_sum curves $folders -- -v form=forks)

	## Operations

	Instructions per THP; the table is under [All figures](#all-figures).

	$(lab_cost_show costs "What operations cost on each kernel, as bars")

	As multiples of what the first kernel of the architecture takes:

	$(lab_cost_show ratios "Ratios of all rows, as points")

	## What costs more

	By more than $(awk "BEGIN { print 100 * $LAB_COST_RELATIVE }")%, and by more than the quartiles of the rounds are apart. The
	two kernels of powerpc are one, with the hash MMU, which keeps its deposits, and with
	radix: most of what is cheaper there is so because there is no hash table to keep up.
	Another build of the suite moves single rows, see README: what many rows say counts.
	$(lab_cost_sum dearer $folders -- -v reasons="$LAB_COST_REASONS" \
		-v relative="$LAB_COST_RELATIVE" -v absolute=0)

	## All figures

	*B* is what the page tables of the process gain per THP.

	\`\`\`
	$(lab_cost_sum table $folders)
	\`\`\`
	EOF
)

# --- known answers ---

# Fields: name, arch, place, cost, rows
lab_cost_mutants() (
	lab_rows "$LAB_COSTS"
)

# The cases, see lib/campaign.sh: the mutants, and before them the kernel without any, with
# several command lines: each moves what the kernel allocates at boot, and with it some rows.
LAB_COST_BASES='none none-2 none-3'

lab_cost_cases() (
	for name in $LAB_COST_BASES $(lab_cost_mutants | cut -f 1); do
		mutant=${name%-[0-9]} layout=''
		[ "$mutant" = "$name" ] || layout=" layout=${name##*-}"
		printf '%s\tmutants-x86_64\t-\t-\tthp_lazy_mutant=%s%s\n' \
			"$name" "$mutant" "$layout"
	done >"$1/cases"
)

# A case, as lab_case() is called: measures, with the options of the suite in C_ROWS.
lab_cost_case() {
	dir=$1 name=$2 kernel=$3 append=$6
	begin=$(date +%s)
	lab_kernel_load "$kernel"
	rm -rf "${dir:?}/$name"
	mkdir -p "$dir/$name"
	# shellcheck disable=SC2086 # a list of words
	LAB_ICOUNT=1 "$LAB_DIR/lab" run --output "$dir/$name" --suite "$dir/suite-$K_ARCH" \
		--boot-timeout 900 --timeout "$C_TIMEOUT" ${LAB_OFFLINE:+--offline} \
		--memory "$C_MEMORY" --append "$append" "$kernel" -- -B $C_ROWS \
		</dev/null >"$dir/$name/output" 2>&1 &
	echo $! >"$dir/$name.running"
	wait $!
	outcome=measured
	lab_cost_figures "$dir/$name/$kernel"
	mv "$dir/$name/$kernel/costs.json" "$dir/$name/costs.json" 2>/dev/null
	[ -s "$dir/$name/costs.json" ] || outcome=error
	rm -f "$dir/$name"/*/initramfs
	printf '%s\t%s\t%s\t%s\t-\n' "$name" "$outcome" $(($(date +%s) - begin)) \
		"$(sed -n 's/^status //p' "$dir/$name/$kernel/summary" 2>/dev/null)" \
		>"$dir/$name.result"
}

# Whether the figures in folder $1 say of each mutant what is known.
lab_cost_known() (
	bad=0
	lab_cost_mutants >"$1/mutants"
	# shellcheck disable=SC2086 # a list of words
	bases=$(lab_cost_folders "$1" $LAB_COST_BASES)
	while IFS=$LAB_TAB read -r name _ _ _ rows; do
		# shellcheck disable=SC2086 # a list of words
		lab_cost_sum known $bases "$1/$name" -- -v name="$name" -v wanted="$rows" \
			-v relative="$LAB_COST_RELATIVE" -v absolute="$LAB_COST_ABSOLUTE" ||
			bad=1
	done <"$1/mutants"
	exit $bad
)
