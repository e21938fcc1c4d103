#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# --help works everywhere and does nothing else; the manual pages can be made and have
# every option; the completion for bash knows the options, names and tests.

. check/lib.sh

# helps NAME COMMAND...: --help is a usage, with exit code 0
helps()
{
	name=$1
	shift
	timeout 30 "$@" > "$log" 2>&1 </dev/null
	status=$?
	if [ $status -eq 0 ] && grep -qi '^usage: ' "$log"; then
		pass "$name --help"
	else
		fail "$name --help" "exit=$status, or no usage"
	fi
}

helps run_tests.sh ./run_tests.sh --help
helps deps.sh ./deps.sh --help
helps export.sh ./export.sh --help
helps convert.sh report/convert.sh --help
helps check/run.sh check/run.sh --help
helps lab lab/lab --help
# With a cache of its own: it must not be touched, least of all by "clean".
mkdir -p "$work/cache/thp_lazy_pte/lab"
: > "$work/cache/thp_lazy_pte/lab/precious"
for file in lab/cmd/*.sh; do
	# shellcheck disable=SC2013 # these are words
	for command in $(grep -m 1 '^# lab [a-z]' "$file" | grep -o 'lab [a-z]*[:,]' | cut -c 5- |
		tr -d ':,'); do
		for help in -h --help; do
			helps "lab $command $help, as" env XDG_CACHE_HOME="$work/cache" \
				lab/lab "$command" $help
		done
	done
done
env XDG_CACHE_HOME="$work/cache" lab/lab clean everything > "$log" 2>&1
try "lab clean takes no argument" test $? -eq 2
try "... and cleans nothing then" test -e "$work/cache/thp_lazy_pte/lab/precious"

if have help2man; then
	try "make man" make man OUTPUT="$work/out" KSRC="$KSRC"
	for page in run_tests.sh lab; do
		page=$work/out/obj/man/$page.1
		command=run_tests.sh
		[ "${page##*/}" != lab.1 ] || command=lab/lab
		"./$command" --help | grep -oE '^ +--?[a-z][a-z-]*' | tr -d ' ' | while read -r option; do
			sed 's/\\//g' "$page" 2>/dev/null | grep -qF -e "$option" || echo "$option"
		done | none "${page##*/} has every option" "it lacks these"
		if have mandoc; then
			mandoc -T lint -W warning "$page" 2>&1 | grep -v 'cannot parse date' |
				none "${page##*/}: mandoc" "it warns"
		else
			skip "${page##*/}: mandoc" "needs mandoc"
		fi
	done
else
	skip "manual pages" "needs help2man"
fi

if ! have bash; then
	skip "completion" "needs bash"
	exit
fi

# completes NAME EXPECTED WORD...: that word is among those that complete the last one
completes()
{
	name=$1
	expected=$2
	shift 2
	OUTPUT=$OUTPUT bash "$work/complete" "$@" > "$work/completed" 2>&1
	try "completion: $name" grep -qxF -e "$expected" "$work/completed"
}

cat > "$work/complete" <<'END'
. ./completion.bash
call=$1
shift
COMP_WORDBREAKS=$' \t\n:'
COMP_WORDS=("$@")
COMP_CWORD=$(($# - 1))
$call
printf '%s\n' "${COMPREPLY[@]}"
END

run=_thp_lazy_pte_run_tests
lab=_thp_lazy_pte_lab
completes "an option of run_tests.sh" -o $run ./run_tests.sh -
completes "--help" --help $run ./run_tests.sh --
completes "a program" thp_mremap $run ./run_tests.sh -t thp_m
completes "a test" kernel.mode $run ./run_tests.sh -t thp_lazy_split : kern
completes "a mode" lazy $run ./run_tests.sh -e l
completes "a format" junit: $run ./run_tests.sh -o j
completes "a command of the lab" mutants $lab lab/lab mu
completes "a kernel" v7-x86_64 $lab lab/lab run v7-x
completes "an option of the lab" --timeout $lab lab/lab run --t
completes "an architecture" ppc64le $lab lab/lab run --arch p
completes "a mutant" vma_shrink_ignored $lab lab/lab mutants vma_s
