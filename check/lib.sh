# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh
#
# Functions for every step of "make check". A step prints a result line per
# check, "ok NAME", "not ok NAME: cause" or "skip NAME: reason", and a line
# "# also: P F S" for P, F and S results that it does not list.

if [ -z "$OUTPUT" ] || [ -z "$SCRATCH" ]; then
	echo "run this by: make check STEPS=$(basename "$0" .sh)" >&2
	exit 2
fi

step=$(basename "$0" .sh)
work=$SCRATCH/$step
log=$work/log
# shellcheck disable=SC2034 # for the steps
cores=$(nproc)
. check/programs.sh
. report/python.sh
rm -rf "$work"
mkdir -p "$work" || exit

have()
{
	command -v "$1" >/dev/null 2>&1
}

pass()
{
	echo "ok $step: $1"
}

skip()
{
	echo "skip $step: $1: $2"
}

# Prints the cause, and then the end of the log
fail()
{
	echo "not ok $step: $1: $2"
	[ ! -s "$log" ] || tail -n "${lines:-15}" "$log" | sed 's/^/#   /'
}

# try NAME COMMAND...: passes if the command succeeds
try()
{
	name=$1
	shift
	if "$@" > "$log" 2>&1; then
		pass "$name"
	else
		fail "$name" "exit=$?"
	fi
}

# none NAME CAUSE: passes if the list on stdin is empty
none()
{
	cat > "$log"
	if [ -s "$log" ]; then
		fail "$1" "$2"
	else
		pass "$1"
	fi
}

# refused NAME STATUS PATTERN: a command that wrote $log and ended with STATUS has refused:
# exit code 2 and one line that says why
refused()
{
	if [ "$2" -ne 2 ]; then
		fail "$1" "exit=$2, not 2"
	elif [ "$(wc -l < "$log")" -ne 1 ] || ! grep -Eq -e "$3" "$log"; then
		fail "$1" "not one line like $3"
	else
		pass "$1"
	fi
}

# fake_programs DIR: scripts in place of all programs, stdin is their text
fake_programs()
{
	cat > "$work/fake"
	mkdir "$1"
	for prog in $programs; do
		cp "$work/fake" "$1/$prog"
		chmod +x "$1/$prog"
	done
}

# stand_in FILE COMMAND: an executable that runs COMMAND, such as "busybox awk"
stand_in()
{
	rm -f "$1"
	set -- "$1" "$2" "$(command -v "${2%% *}")"
	printf '#!/bin/sh\nexec %s "$@"\n' "$3${2#"${2%% *}"}" > "$1"
	chmod +x "$1"
}

# Copies the programs and the runner to $1, as in an installed tree
install_to()
{
	mkdir -p "$1"
	for prog in $programs; do
		cp "$OUTPUT/$prog" "$1" || return
	done
	cp -R run_tests.sh report settings findings.awk docs/call-sites.md "$1"
}

# Copies the files that git would add from this directory to $1: no build
# products
copy_tree_to()
{
	mkdir -p "$1"
	if git rev-parse --git-dir >/dev/null 2>&1; then
		git ls-files -z --cached --others --exclude-standard
	else
		find . -type f -print0
	fi | xargs -0 cp --parents -t "$1"
}
