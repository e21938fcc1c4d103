#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# What "make export", and "make install" and "make gen_tar" outside of a kernel tree, call.
# KSRC in the environment names a kernel tree, or the files of one that deps.sh fetches.
#
# usage: export.sh export DIR
#	writes tools/testing/selftests/thp_lazy_pte, and the patches that add it to TARGETS
#	and MAINTAINERS, into DIR: a kernel tree, or a directory for "git am"
#        export.sh install|gen_tar DIR [VARIABLE=VALUE]...
#	builds in a tree of its own, by the kernel's rules, and installs into DIR

target=thp_lazy_pte
sel=tools/testing/selftests

fail()
{
	printf 'export: %s\n' "$*" >&2
	exit 2
}

here=$(cd "$(dirname "$0")" && pwd) || exit 2
goal=$1
dir=$2
case $goal in
export | install | gen_tar)	;;
*)	sed -n '/^# usage:/,/^$/s/^# \{0,1\}//p' "$0"
	case $goal in
	-h | --help)	exit 0;;
	esac
	exit 2;;
esac
[ "$dir" ] || fail "no directory: make $goal $([ "$goal" = export ] && echo DIR=... ||
	echo KSFT_INSTALL_PATH=...)"
[ -e "$KSRC/$sel/Makefile" ] || fail "no kernel files in KSRC=$KSRC: run make deps"
mkdir -p "$dir" || fail "$dir: cannot be made"
dir=$(cd "$dir" && pwd) || exit 2
cd "$here" || exit 2
tmp=$(mktemp -d) || exit 2
trap 'rm -rf "$tmp"' EXIT
trap 'exit 130' INT TERM HUP

# The suite without what checks this repository and boots its kernels
copy_suite()
{
	mkdir -p "$1" || return
	{
		echo Makefile config settings .gitignore run_tests.sh findings.awk
		echo docs/call-sites.md docs/contract.md docs/map.md docs/glossary.md
		find report lib ./thp_*.c -type f
		for prog in thp_*.c; do
			prog=${prog%.c}
			find "${prog#thp_}" -type f
		done
	} | tr ' ' '\n' | sort -u | while read -r file; do
		cp --parents "$file" "$1" || exit
	done
}

# patch NUMBER SUBJECT: a mail with the text and the change on stdin, which begins at ---
patch()
{
	name=$(printf '%04d-%s.patch' "$1" "$(printf '%s' "$2" | tr -cs '[:alnum:]_\n' - )")
	who=$(git var GIT_AUTHOR_IDENT 2>/dev/null | sed 's/>.*/>/')
	who=${who:-Your Name <you@example.org>}
	awk -v who="$who" -v subject="$2" '
		BEGIN { print "From: " who "\nSubject: [PATCH] " subject "\n" }
		/^--- / && !diff { print "Signed-off-by: " who "\n---\n"; diff = 1 }
		{ print }
		END { print "-- " }' > "$dir/$name" && echo "$dir/$name"
}

targets_patch()
{
	mkdir -p "$tmp/a/$sel" "$tmp/b/$sel" &&
	cp "$KSRC/$sel/Makefile" "$tmp/a/$sel" &&
	awk -v target=$target '
		/^TARGETS \+= t/ && $3 > target && !done { print "TARGETS += " target; done = 1 }
		{ print }' "$tmp/a/$sel/Makefile" > "$tmp/b/$sel/Makefile" || return
	cat <<END
The new tests decide whether lazy allocation of PTE page tables for THP is
right. Build, install and run them with the other kselftests.

END
	(cd "$tmp" && diff -u a/$sel/Makefile b/$sel/Makefile) |
		sed '1,2s/\t.*//'
}

case $goal in
export)
	copy_suite "$dir/$sel/$target" || fail "$dir/$sel/$target: cannot be written"
	echo "$dir/$sel/$target"
	targets_patch | patch 1 "selftests: Build the tests in $target" || exit 2
	sed '1,2d' docs/maintainers.patch | patch 2 "$(head -n 1 docs/maintainers.patch)" ||
		exit 2;;
*)
	shift 2
	mkdir -p "$tmp/$sel" "$tmp/scripts"
	if ! cp -rL "$KSRC/$sel/Makefile" "$KSRC/$sel/lib.mk" "$KSRC/$sel"/kselftest* \
		"$KSRC/$sel/run_kselftest.sh" "$tmp/$sel" ||
	   ! cp "$KSRC/scripts/subarch.include" "$tmp/scripts" ||
	   ! copy_suite "$tmp/$sel/$target"; then
		fail "cannot copy to $tmp"
	fi
	# Not a part of the make that called this.
	unset MAKEFLAGS MFLAGS MAKELEVEL MAKEOVERRIDES GNUMAKEFLAGS OUTPUT KBUILD_OUTPUT O
	make -C "$tmp/$sel" TARGETS=$target FORCE_TARGETS=1 KSFT_INSTALL_PATH="$dir" "$@" \
		"$goal" || exit 2;;
esac
