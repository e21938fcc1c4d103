#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# This directory works as tools/testing/selftests/thp_lazy_pte of every
# available kernel source: that of KSRC, those in the cache, and those named in
# KTREES.

. check/lib.sh

sel=tools/testing/selftests
target=thp_lazy_pte

# The part of kernel source $1 that selftests are built by, with this directory
# in it, as $tree
make_tree()
{
	rm -rf "$tree"
	mkdir -p "$tree/$sel/$target" "$tree/scripts"
	cp -r "$1/$sel/Makefile" "$1/$sel/lib.mk" "$1/$sel"/kselftest* \
		"$1/$sel/run_kselftest.sh" "$tree/$sel"
	cp "$1/scripts/subarch.include" "$tree/scripts"
	copy_tree_to "$tree/$sel/$target"
}

make_target()
{
	make -j"$cores" -C "$tree/$sel" TARGETS=$target FORCE_TARGETS=1 "$@"
}

files_of()
{
	(cd "$1" && find . -type f | sort)
}

# All programs are in directory $1
has_programs()
{
	for prog in $programs; do
		[ -x "$1/$prog" ] || { echo "no $prog in $1"; return 1; }
	done
}

build_in()
{
	make_target USERCFLAGS=-Werror all && has_programs "$tree/$sel/$target"
}

# The libraries that kselftest_deps.sh lists are optional: it reports no missing one.
deps()
{
	(cd "$tree/$sel" && ./kselftest_deps.sh gcc $target) > "$work/deps" 2>&1
	cat "$work/deps"
	grep -q ' Fail: 0$' "$work/deps"
}

install()
{
	make_target KSFT_INSTALL_PATH="$work/installed" install &&
	has_programs "$work/installed/$target" &&
	for file in run_tests.sh settings config findings.awk docs/call-sites.md; do
		cmp $file "$work/installed/$target/${file##*/}" || return
	done &&
	cmp report/convert.sh "$work/installed/$target/report/convert.sh" &&
	[ "$(wc -l < "$work/installed/kselftest-list.txt")" = \
		"$(echo "$programs" | wc -w)" ]
}

# Runs one program, the others are in the list
run_installed()
{
	"$work/installed/run_kselftest.sh" -c $target --dry-run &&
	"$work/installed/run_kselftest.sh" -t $target:thp_mremap |
		tee "$work/ran" &&
	grep -q "^ok 1 selftests: $target: thp_mremap" "$work/ran"
}

gen_tar()
{
	make_target KSFT_INSTALL_PATH="$work/installed" gen_tar &&
	tar -tf "$work/installed"/kselftest-packages/kselftest.tar.gz > "$work/ls" &&
	for file in $programs run_tests.sh report/convert.sh settings config findings.awk call-sites.md; do
		grep -q "/$target/$file\$" "$work/ls" ||
			{ echo "no $file in the archive"; return 1; }
	done
}

# With the entry of docs/maintainers.patch, mm hears of changes to this directory.
maintainers()
{
	cp "$1/MAINTAINERS" "$tree" &&
	patch -s -d "$tree" -p1 < docs/maintainers.patch &&
	(cd "$tree" && perl "$1/scripts/get_maintainer.pl" --no-git --no-tree \
		--no-git-fallback -f "$sel/$target/Makefile") > "$work/lists" &&
	cat "$work/lists" &&
	grep -q 'linux-mm@kvack.org' "$work/lists"
}

clean()
{
	make_target clean && files_of "$tree" | diff "$work/files" -
}

# Out of the tree: $1 as make names it, $2 as seen from here
build_out()
{
	make_target O="$1" USERCFLAGS=-Werror all &&
	has_programs "$2/kselftest/$target" &&
	make_target O="$1" KSFT_INSTALL_PATH="$work/installed-o" install &&
	has_programs "$work/installed-o/$target" &&
	make_target O="$1" clean
}

source_untouched()
{
	files_of "$tree" | grep -v "^./rel/" | diff "$work/files" -
}

check_tree()
{
	version=$(basename "$1")
	[ ! -e "$1/Makefile" ] ||
		version=linux-$(sed -n 's/^VERSION = //p' "$1/Makefile").$(
			sed -n 's/^PATCHLEVEL = //p' "$1/Makefile")
	tree=$work/tree
	try "$version: has what it takes" make_tree "$1"
	files_of "$tree" > "$work/files"
	try "$version: all" build_in
	try "$version: kselftest_deps.sh" deps
	try "$version: install" install
	try "$version: run_kselftest.sh" run_installed
	try "$version: gen_tar" gen_tar
	try "$version: clean" clean
	rm -rf "$work"/installed
	try "$version: O=absolute" build_out "$work/out" "$work/out"
	try "$version: O=relative" build_out rel "$tree/rel"
	try "$version: O= leaves the source alone" source_untouched
	if [ ! -e "$1/MAINTAINERS" ] || [ ! -e "$1/scripts/get_maintainer.pl" ]; then
		skip "$version: MAINTAINERS" "needs MAINTAINERS and scripts/get_maintainer.pl"
	elif ! have patch; then
		skip "$version: MAINTAINERS" "needs patch"
	else
		try "$version: MAINTAINERS" maintainers "$1"
	fi
	rm -rf "$tree" "$work/out" "$work"/installed-o
}

if ! have rsync; then
	skip "all" "needs rsync"
	exit
fi

# shellcheck disable=SC2153 # KSRC is not ksrc
for ksrc in "$KSRC" "$CACHE"/linux* "$CACHE"/*/linux* $KTREES; do
	readlink -f "$ksrc"
done | sort -u | while read -r ksrc; do
	[ ! -e "$ksrc/$sel/lib.mk" ] || check_tree "$ksrc"
done
