# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh
# The baseline: the kernel's own mm selftests, from the source that the kernel
# was built from, on the same mutants in the same guests. lab/baseline/programs
# says which and how.
#
# Besides what campaign.sh describes, a case leaves NAME.items, lines of fields
# separated by tabs, one per complaint of a program:
#	program, kind, what
# Kinds: T a subtest failed, E exit status, H hung, D the guest died, K the
# kernel log. It leaves NAME.runs, too:
#	program, seconds, subtests passed, failed, skipped

# A version: changes whenever the recipe below makes other programs from the
# same input.
LAB_BASELINE_RECIPE=1

# They need CONFIG_PROC_MEM_ALWAYS_FORCE; this option has the same effect
# without another build.
LAB_BASELINE_APPEND=proc_mem.force_override=always

# The number of runs of the kernel without a mutant: a test that fails in any of
# them kills no mutant.
LAB_BASELINE_NONES=${LAB_BASELINE_NONES:-3}

# The number of tries of a guest that reaches no program.
LAB_BASELINE_TRIES=3

# Three fields: program, seconds, arguments.
lab_baseline_programs() (
	sed -e '/^#/d' -e '/^[[:space:]]*$/d' "$LAB_DIR/baseline/programs"
)

lab_baseline_names() (
	lab_baseline_programs | cut -f 1
)

# What the evidence shows, as all of them take most of a day.
lab_baseline_sample() (
	sed -e '/^#/d' -e '/^[[:space:]]*$/d' "$LAB_DIR/baseline/sample"
)

# The time limit, in seconds, of a guest in which all of them hang.
lab_baseline_timeout() (
	lab_baseline_programs | awk '{ n += $2 } END { print n + 600 }'
)

# lab_baseline_build SOURCE SYSROOT: the programs of the loaded row, linked
# statically. Prints their directory.
lab_baseline_build() (
	source=$1 sysroot=$2
	triplet=$(lab_arch triplet "$K_ARCH")
	key=$({
		echo "$LAB_BASELINE_RECIPE ${source##*/} ${sysroot##*/}"
		"${B_CROSS}gcc" --version | head -n 1
		lab_baseline_names
	} | lab_build_sha)
	dir=$LAB_CACHE/mm-selftests/$K_ARCH-$key
	if [ ! -e "$dir/complete" ]; then
		rm -rf "$dir"
		mkdir -p "$dir/obj" "$dir/tree" "$dir/out" "$dir/bin"
		lab_need_space "$LAB_CACHE" 200 || exit
		lab_say "building the mm selftests of ${source##*/}:" \
			"see $dir/build.log"
		lab_build_make "$source/tree" "$dir/obj" headers || {
			lab_say "no kernel headers: see $dir/obj/build.log"
			exit "$LAB_ERROR"
		}
		# The programs write beside their sources.
		cd "$source/tree" &&
		{
			find tools/include tools/testing/selftests/mm \
				tools/testing/selftests/kselftest \
				tools/testing/selftests/lib.mk \
				tools/testing/selftests/x86/check_cc.sh \
				tools/testing/selftests/x86/trivial*.c
			find tools/testing/selftests mm/gup_test.h -name '*.h'
		} | sort -u | cpio -pdm --quiet "$dir/tree" || exit "$LAB_ERROR"
		# shellcheck disable=SC2046 # a list of files
		env -u MAKEFLAGS -u MFLAGS -u MAKELEVEL -u MAKEOVERRIDES \
			make -C "$dir/tree/tools/testing/selftests/mm" \
			ARCH="$K_ARCH" CROSS_COMPILE="$B_CROSS" \
			OUTPUT="$dir/out" \
			KHDR_INCLUDES="-isystem $dir/obj/usr/include" \
			USERCFLAGS="-isystem $sysroot/usr/include" \
			USERLDFLAGS="-static -L$sysroot/usr/lib/$triplet" \
			$(lab_baseline_names | sed "s|^|$dir/out/|") \
			>"$dir/build.log" 2>&1 || {
			tail -n 15 "$dir/build.log" >&2
			lab_say "the mm selftests do not build"
			exit "$LAB_ERROR"
		}
		for name in $(lab_baseline_names); do
			"${B_CROSS}strip" -o "$dir/bin/$name" \
				"$dir/out/$name" || exit "$LAB_ERROR"
		done
		rm -rf "$dir/obj" "$dir/tree" "$dir/out"
		: >"$dir/complete"
	fi
	printf '%s\n' "$dir/bin"
)

# Copies the contents of the guest's /suite, in place of the suite, to directory
# $2, for the kernel named $1.
lab_baseline_install() (
	lab_kernel_load "$1"
	lab_build_load
	sysroot=$(lab_locked "sysroot-$K_ARCH" lab_sysroot_fetch "$K_ARCH") ||
		exit
	bin=$(lab_locked "mm-selftests-$K_ARCH" lab_baseline_build \
		"$(cat "$B_LAST")" "$sysroot") || exit
	mkdir -p "$2" &&
	cp "$bin"/* "$LAB_DIR/baseline/programs" "$LAB_DIR/baseline/run_tests.sh" \
		"$2/"
)

# The input of a verdict, as lab_campaign_key.
lab_baseline_key() (
	lab_kernel_load "$1"
	lab_build_load
	{
		lab_build_dir
		echo "$LAB_BASELINE_RECIPE $LAB_BASELINE_APPEND"
		cat "$LAB_DIR/baseline/programs" "$LAB_DIR/baseline/run_tests.sh" \
			"$LAB_DIR/init"
	} | lab_build_sha
)

# The cases: those of the mutants on x86-64, and several times none.
lab_baseline_cases() (
	lab_mutants_cases "$1" "$2" || exit
	awk -F '\t' -v OFS='\t' -v n="$LAB_BASELINE_NONES" \
		-f "$LAB_AWK/baseline-cases.awk" "$1/cases" >"$1/cases.new"
	mv "$1/cases.new" "$1/cases"
	[ -s "$1/cases" ] || lab_die "no mutant of x86-64 among these"
)

# The console log of run $1 in pieces, one file per program that was begun.
lab_baseline_split() (
	tr -d '\r' <"$1/console.log" | awk -v dir="$1" '
		/ baseline: begin / {
			out = dir "/console." $NF
			next
		}
		out { print >out }'
)

# Prints the items of run $1, and writes its finished programs to file $2.
lab_baseline_items() (
	run=$1 finished=$2
	ktap=$run/ktap
	lab_baseline_split "$run"
	sed -n 's/^# result \([^ ]*\) .*/\1/p' "$ktap" >"$finished"
	last=$(sed -n 's/^# begin //p' "$ktap" | tail -n 1)
	if [ -n "$last" ] && ! grep -qxF "$last" "$finished"; then
		printf '%s\tD\t%s\n' "$last" \
			"$(sed -n 's/^trouble //p' "$run/summary" |
				sed 's/; last test:.*//' | head -n 1)"
		echo "$last" >>"$finished"
	fi
	sed -n 's/^# failed: \([^ ]*\): \(.*\)/\1\tT\t\2/p' "$ktap"
	sed -n 's/^# result \([^ ]*\) exit=\([^ ]*\) .*/\1 \2/p' "$ktap" |
	while read -r prog code; do
		case $code in
		0|4)	;;
		hung|stuck)
			printf '%s\tH\t%s\n' "$prog" "$code" ;;
		*)	printf '%s\tE\texit status %s\n' "$prog" "$code" ;;
		esac
	done
	while read -r prog; do
		[ ! -e "$run/console.$prog" ] ||
			lab_splats "$run/console.$prog" | head -n 1 |
			sed "s/^/$prog	K	/"
	done <"$finished"
)

# As lab_case: boots until every program has run, because one may have ended the
# guest before the others. Its options are those of a mutant.
lab_baseline_case() {
	dir=$1 name=$2 kernel=$3
	rm -rf "${dir:?}/$name"
	mkdir -p "$dir/$name"
	: >"$dir/$name/items"
	: >"$dir/$name/runs"
	begin=$(date +%s) boot=0 tries=0 outcome=ran
	lab_kernel_load "$kernel"
	todo=$(lab_baseline_names)
	while [ -n "$todo" ]; do
		boot=$((boot + 1))
		out=$dir/$name/$boot
		mkdir -p "$out"
		lab_say "$name: boot $boot, $(echo "$todo" | wc -w) programs to run"
		# shellcheck disable=SC2046,SC2086 # lists of words
		"$LAB_DIR/lab" run --output "$out" \
			--suite "$dir/suite-$K_ARCH" --cpus "$C_CPUS" \
			--timeout "$C_TIMEOUT" ${LAB_OFFLINE:+--offline} \
			${LAB_ACCEL:+--accel "$LAB_ACCEL"} \
			--append "$LAB_BASELINE_APPEND${6:+ $6}" "$kernel" -- \
			$(printf -- '-t %s ' $todo) \
			</dev/null >"$out/output" 2>&1
		run=$(echo "$out"/*/summary)
		run=${run%/summary}
		: >"$out/finished"
		if [ -e "$run/ktap" ]; then
			lab_baseline_items "$run" "$out/finished" \
				>>"$dir/$name/items"
			sed -n -e 's/^# result //p' "$run/ktap" |
				sed -e 's/ [a-z]*=/\t/g' | cut -f 1,3- \
				>>"$dir/$name/runs"
		fi
		rm -f "$out"/*/initramfs
		if [ -s "$out/finished" ]; then
			todo=$(printf '%s\n' "$todo" |
				grep -vxF -f "$out/finished")
		else
			tries=$((tries + 1))
			[ "$tries" -ge "$LAB_BASELINE_TRIES" ] || continue
			outcome=error
			break
		fi
	done
	cp "$dir/$name/items" "$dir/$name.items"
	cp "$dir/$name/runs" "$dir/$name.runs"
	what="$boot boots"
	[ "$outcome" = ran ] || what=$(tail -n 1 "$out/output" | tr '\t' ' ')
	printf '%s\t%s\t%s\t%s\t-\n' "$name" "$outcome" \
		$(($(date +%s) - begin)) "$what" >"$dir/$name.new"
	mv "$dir/$name.new" "$dir/$name.result"
}

# The files of folder $1 whose names end so, with the case before each line:
# those of none come first, as its cases do.
lab_baseline_all() (
	while IFS=$LAB_TAB read -r name _; do
		[ ! -e "$1/$name.$2" ] || sed "s/^/$name	/" "$1/$name.$2"
	done <"$1/cases"
)

# The outcome of every case of folder $1, once all have run. A complaint that
# also occurs in any run without a mutant proves nothing: it goes into the file
# known, all others into the file told. A complaint of the kernel without a
# mutant still counts as a complaint.
lab_baseline_judge() (
	lab_baseline_all "$1" items |
		awk -F '\t' -v dir="$1" -f "$LAB_AWK/baseline-judge.awk"
	lab_campaign_results "$1" | awk -F '\t' -v OFS='\t' -v dir="$1" \
		-f "$LAB_AWK/baseline-outcomes.awk" told=1 "$1/told" told=0 -
)

# The table of folder $1.
lab_baseline_table() (
	lab_baseline_judge "$1"
	lab_campaign_results "$1" >"$1/results"
	lab_baseline_programs >"$1/programs"
	lab_baseline_all "$1" runs >"$1/runs"
	awk -F '\t' -v cpus="$C_CPUS" -f "$LAB_AWK/baseline-table.awk" \
		"$1/programs" "$1/runs" "$1/known" "$1/told" \
		"$1/results"
)
