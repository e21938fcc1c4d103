# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh
# Kernels built from Debian's linux-source package and the patches here.
#
# The package is unpacked once. Each tree of the table has a source directory of
# hard links to it, in which only files that the wanted patches change differ, and
# an object directory; changing from one set of patches to another touches only
# those files, so kbuild rebuilds what depends on them. The key of an image in the
# cache is its input: package, patches, configuration, compiler, additions to the
# makefiles.

# A version: changes whenever the recipe below makes another image from the same
# input.
LAB_BUILD_RECIPE=1

# MB for one tree: sources are shared with the unpacked package.
LAB_BUILD_SPACE=3000
LAB_SOURCE_SPACE=2500

lab_build_sha() (
	sha256sum | cut -c 1-12
)

# Sets those B_* that lab_kernel_load() does not.
lab_build_load() {
	B_LAST=$LAB_CACHE/source/last-$(printf '%s %s\n' "$K_SUITES" \
		"$K_MATCH" | cksum | tr ' ' '-')
	B_KARCH=$(lab_arch karch "$K_ARCH")
	B_TARGET=$(lab_arch_word 1 target "$K_ARCH")
	B_IMAGE=$(lab_arch_word 2 target "$K_ARCH")
	B_CROSS=$(lab_cross_prefix "$K_ARCH") B_MAKE=''
	[ -z "$B_GCOV" ] || B_MAKE=$(lab_build_gcov)
}

# The patches of the loaded row in their order, as paths.
lab_build_patches() (
	for series in $B_SERIES; do
		dir=$(dirname "$LAB_DIR/kernel/$series")
		sed -e '/^#/d' -e '/^[[:space:]]*$/d' -e "s|^|$dir/|" \
			"$LAB_DIR/kernel/$series"
	done
)

# The patch that is reverted at the end, if any, to see which test fails without
# it: LAB_REVERT is its number. If later patches depend on it, the revert may
# need a patch of its own.
lab_build_reverted() (
	[ -n "$LAB_REVERT" ] || exit 0
	for patch in "$LAB_DIR/kernel/reverts/$LAB_REVERT"*.patch \
		"$LAB_DIR/kernel/$LAB_REVERT"*.patch; do
		[ ! -e "$patch" ] || break
	done
	printf '%s\n' "$patch"
)

# A makefile that profiles the files of the patches; there are others of the same
# names, in arch/x86/boot for instance.
lab_build_gcov() (
	# shellcheck disable=SC2016,SC2046 # $(filter) is for make; a list of files
	lab_patch_files $(lab_build_patches) |
		sed -n 's|^\(.*\)/\([^/]*\)\.c$|GCOV_PROFILE_\2.o = $(filter \1,$(obj))|p'
)

# Copies the input with which gcov maps counters to lines to directory $3: the
# notes of the compiler in object directory $1, the sources in $2 as they were
# compiled.
lab_build_notes() (
	(cd "$1" && find . -name '*.gcno' | cpio -pdm --quiet "$3/notes") &&
	cd "$2" && sort -u .lab-files | while read -r file; do
		[ ! -e "$file" ] || echo "$file"
	done | cpio -pdm --quiet "$3/source"
)

lab_build_need_tools() {
	lab_need_tool "${B_CROSS}gcc" "$(lab_compiler_package "$K_ARCH")"
	lab_need_tool make make
	lab_need_tool patch patch
	lab_need_tool flex flex
	lab_need_tool bison bison
	lab_need_tool bc bc
	lab_need_tool perl perl
	[ "$K_ARCH" != x86_64 ] ||
		echo '#include <gelf.h>' | gcc -E -x c - >/dev/null 2>&1 ||
		lab_die "gelf.h not found: install libelf-dev"
}

# "version suite package" of every match, newest first.
lab_source_candidates() (
	deb=$(lab_arch debian "$(lab_host_arch)")
	for suite in $K_SUITES; do
		lab_apt_update "$deb" "$suite"
		for package in $(lab_apt "$deb" "$suite" apt-cache search \
			--names-only "^$K_MATCH\$" 2>/dev/null |
			cut -d ' ' -f 1); do
			lab_apt "$deb" "$suite" apt-cache show "$package" |
				sed -n "s/^Version: \(.*\)/\1 $suite $package/p"
		done
	done | sort -k1,1Vr | awk '!seen[$1 $3]++'
)

# The unpacked package into the cache. Prints the directory.
lab_source_fetch_one() (
	version=$1 suite=$2 package=$3
	dir=$LAB_CACHE/source/${package}_$version
	if ! lab_source_complete "$dir"; then
		lab_need_space "$LAB_CACHE" "$LAB_SOURCE_SPACE" || exit
		tmp=$LAB_CACHE/tmp-$package
		rm -rf "$tmp" "$dir"
		mkdir -p "$tmp" "$dir/tree"
		trap 'rm -rf "$tmp"' EXIT
		trap 'exit 130' INT TERM HUP
		lab_say "fetching $package $version from $suite"
		lab_apt_download "$(lab_arch debian "$(lab_host_arch)")" "$suite" \
			"$tmp" "$package" || exit
		lab_say "unpacking $package $version"
		dpkg-deb --fsys-tarfile "$tmp"/*.deb |
			tar -xO "./usr/src/$package.tar.xz" |
			tar -xJ -C "$dir/tree" --strip-components=1 || {
			lab_say "$package $version cannot be unpacked"
			exit "$LAB_ERROR"
		}
		: >"$dir/complete"
	fi
	printf '%s\n' "$dir"
)

lab_source_complete() {
	[ -e "$1/complete" ]
}

# The newest source of the row.
lab_source_fetch() (
	lab_newest "$B_LAST" source lab_source_candidates \
		lab_source_fetch_one lab_source_complete
)

# Puts the source of a row into the cache, so that keys can be computed.
lab_build_need_source() (
	lab_kernel_load "$1"
	lab_build_load
	lab_locked "source-$(basename "$B_LAST")" lab_source_fetch >/dev/null
)

# The key of the input of the loaded row's image from source $1, as one word.
lab_build_key() (
	{
		echo "$LAB_BUILD_RECIPE ${1##*/} $K_ARCH $B_MAKE"
		"${B_CROSS}gcc" --version 2>&1 | head -n 1
		for config in $B_CONFIGS; do
			cat "$LAB_DIR/kernel/$config"
		done
		# shellcheck disable=SC2046 # a list of files
		set -- $(lab_build_patches)
		[ $# -eq 0 ] || cat "$@"
		[ -z "$LAB_REVERT" ] || cat - "$(lab_build_reverted)" <<-EOF
			without
		EOF
	} | lab_build_sha
)

# The files that patches change, make or remove.
lab_patch_files() (
	[ $# -eq 0 ] || sed -n -e 's|^--- a/\([^[:space:]]*\).*|\1|p' \
		-e 's|^+++ b/\([^[:space:]]*\).*|\1|p' "$@" | sort -u
)

# lab_patch DIR PATCH [OPTION]
lab_patch() (
	dir=$1 patch=$2
	shift 2
	patch -d "$dir" -p1 -s -f --no-backup-if-mismatch "$@" \
		<"$patch" >"$dir.log" 2>&1 || {
		lab_say "${patch##*/} does not apply to this $K_MATCH:" \
			"$(grep -m 1 -E 'FAILED|^patch:|find file' "$dir.log")"
		exit "$LAB_ERROR"
	}
)

# lab_source_sync PRISTINE SRC SCRATCH: makes SRC what PRISTINE is, but for the files
# that the list SCRATCH.files names, which become those of SCRATCH. Touches nothing
# that is right already. Removes SCRATCH.
lab_source_sync() (
	pristine=$1 src=$2 scratch=$3
	# A run that is killed leaves a list that names too many files, never too
	# few.
	touch "$src/.lab-files"
	sort -u "$src/.lab-files" "$scratch.files" >"$scratch.all"
	cp "$scratch.all" "$src/.lab-files"
	while read -r file; do
		want=$scratch/$file
		grep -qxF "$file" "$scratch.files" || want=$pristine/$file
		if [ ! -e "$want" ]; then
			rm -f "$src/$file"
		elif ! cmp -s "$want" "$src/$file"; then
			# A new file with a new date, not through the link.
			rm -f "$src/$file"
			mkdir -p "$src/$(dirname "$file")"
			cp "$want" "$src/$file" || exit "$LAB_ERROR"
		fi
	done <"$scratch.all"
	cp "$scratch.files" "$src/.lab-files"
	rm -rf "$scratch" "$scratch.files" "$scratch.all" "$scratch.log"
)

# lab_source_patch PRISTINE SRC SCRATCH: make SRC the wanted state.
lab_source_patch() (
	pristine=$1 src=$2 scratch=$3
	# shellcheck disable=SC2046 # a list of files
	set -- $(lab_build_patches) $(lab_build_reverted)
	lab_patch_files "$@" >"$scratch.files"
	rm -rf "$scratch"
	mkdir -p "$scratch"
	while read -r file; do
		[ -e "$pristine/$file" ] || continue
		mkdir -p "$scratch/$(dirname "$file")"
		cp "$pristine/$file" "$scratch/$file" || exit "$LAB_ERROR"
	done <"$scratch.files"
	for patch in $(lab_build_patches); do
		lab_patch "$scratch" "$patch" || exit
	done
	patch=$(lab_build_reverted)
	case $patch in
	'') ;;
	"$LAB_DIR"/kernel/reverts/*) lab_patch "$scratch" "$patch" || exit ;;
	*) lab_patch "$scratch" "$patch" -R || exit ;;
	esac
	lab_source_sync "$pristine" "$src" "$scratch"
)

# lab_config_lost CONFIG FRAGMENT...: the lines of the fragments that are not in it.
lab_config_lost() (
	config=$1
	shift
	cat "$@" | sed -n -e 's/^\(CONFIG_[^=]*=.*\)/\1/p' |
		while read -r line; do
			grep -qxF "$line" "$config" || echo "$line"
		done
)

# Every line of the fragments has to be in the configuration.
lab_build_config() (
	src=$1 obj=$2
	set --
	for config in $B_CONFIGS; do
		set -- "$@" "$LAB_DIR/kernel/$config"
	done
	if ! lab_build_make "$src" "$obj" allnoconfig ||
	   ! "$src/scripts/kconfig/merge_config.sh" -m -O "$obj" \
		"$obj/.config" "$@" >>"$obj/build.log" 2>&1 ||
	   ! lab_build_make "$src" "$obj" olddefconfig; then
		lab_say "no configuration: $(lab_build_cause "$obj/build.log")"
		exit "$LAB_ERROR"
	fi
	lost=$(lab_config_lost "$obj/.config" "$@" | paste -s -d ' ')
	[ -z "$lost" ] || {
		lab_say "this source does not take $lost"
		exit "$LAB_ERROR"
	}
)

lab_build_make() (
	src=$1 obj=$2
	shift 2
	# Independent of a make that may have called the lab.
	unset MAKEFLAGS MFLAGS MAKELEVEL MAKEOVERRIDES GNUMAKEFLAGS \
		KBUILD_OUTPUT
	if [ -n "$B_MAKE" ]; then
		# Read before all others.
		printf '%s\n' "$B_MAKE" >"$obj/lab.mk"
		export MAKEFILES="$obj/lab.mk"
	fi
	cc=${B_CROSS}gcc
	# Patches change headers that nearly every file includes. With ccache a state
	# that was built before, in this tree or in one beside it, is mostly linked.
	# Notes of gcov hold paths, so not with them.
	if [ -z "$B_MAKE" ] && command -v ccache >/dev/null; then
		export CCACHE_DIR="$LAB_CACHE/ccache" CCACHE_MAXSIZE=4G
		export CCACHE_BASEDIR="$LAB_CACHE" CCACHE_NOHASHDIR=1
		cc="ccache $cc"
	fi
	exec make -C "$src" O="$obj" ARCH="$B_KARCH" CROSS_COMPILE="$B_CROSS" \
		CC="$cc" KBUILD_BUILD_USER=lab KBUILD_BUILD_HOST=lab \
		KBUILD_BUILD_TIMESTAMP=@0 -j "$(nproc)" "$@" \
		>>"$obj/build.log" 2>&1
)

# The first error in build log $1, and the name of the log. A warning may call something
# undefined, or an error; and what kconfig says of its default has the stars of an error.
lab_build_cause() (
	line=$(grep -v -i -e 'warning: ' -e '^\*\*\* Default configuration' "$1" | grep -m 1 -E \
		'[Ee]rror:|ERROR|undefined reference to|syntax error|\*\*\* *[^* ]')
	printf '%s: see %s\n' "${line:-$(tail -n 1 "$1")}" "$1"
)

# The image of the loaded row from source $1 into directory $2.
lab_build_image() (
	source=$1 dir=$2
	tree=$LAB_CACHE/build/$B_TREE
	lab_build_need_tools
	[ "$(cat "$tree/source" 2>/dev/null)" = "$source" ] || rm -rf "$tree"
	if [ ! -e "$tree/source" ]; then
		lab_need_space "$LAB_CACHE" "$LAB_BUILD_SPACE" || exit
		rm -rf "$tree"
		mkdir -p "$tree/obj"
		cp -al "$source/tree" "$tree/src" || exit "$LAB_ERROR"
		echo "$source" >"$tree/source"
	fi
	begin=$(date +%s)
	lab_say "building ${source##*/}" \
		"with $(lab_build_patches | wc -l) patches, minutes if none was built" \
		"before: see $tree/obj/build.log"
	: >"$tree/obj/build.log"
	lab_source_patch "$source/tree" "$tree/src" "$tree/scratch" || exit
	lab_build_config "$tree/src" "$tree/obj" || exit
	lab_build_make "$tree/src" "$tree/obj" "$B_TARGET" || {
		lab_say "the kernel does not build:" \
			"$(lab_build_cause "$tree/obj/build.log")"
		exit "$LAB_ERROR"
	}
	mkdir -p "$dir"
	grep 'warning: ' "$tree/obj/build.log" >"$dir/warnings"
	lab_build_take "$tree/obj" "$dir/vmlinuz" &&
	cp "$tree/obj/.config" "$dir/config" &&
	cp "$tree/obj/include/config/kernel.release" "$dir/release" &&
	mkdir -p "$dir/modules" &&
	echo "$LAB_MODULES" >"$dir/wanted" || exit "$LAB_ERROR"
	[ -z "$B_GCOV" ] ||
		lab_build_notes "$tree/obj" "$tree/src" "$dir/gcov" ||
		exit "$LAB_ERROR"
	echo "${source##*/}, ${B_SERIES:-no patches}, $(cat "$dir/release")" \
		>"$dir/origin"
	lab_say "built in $(($(date +%s) - begin)) s"
)

# The image that was built in object directory $1, as file $2
lab_build_take() (
	if [ "$B_TARGET" = vmlinux ]; then
		"${B_CROSS}strip" -o "$2" "$1/$B_IMAGE"
	else
		cp "$1/$B_IMAGE" "$2"
	fi
)

# The image of the loaded row, made if it is not there. Prints its directory.
lab_build_kernel() (
	source=$(lab_locked "source-$(basename "$B_LAST")" lab_source_fetch) ||
		exit
	dir=$LAB_CACHE/kernels/$B_TREE-$(lab_build_key "$source")
	if ! lab_kernel_complete "$dir"; then
		rm -rf "$dir"
		lab_build_image "$source" "$dir" || exit
	fi
	[ ! -s "$dir/warnings" ] ||
		lab_say "the compiler warned: $(head -n 1 "$dir/warnings")"
	printf '%s\n' "$dir"
)

# The directory of the image of the loaded row. Prints nothing if the source is
# not in the cache.
lab_build_dir() (
	[ -e "$B_LAST" ] || exit
	source=$(cat "$B_LAST")
	printf '%s\n' \
		"$LAB_CACHE/kernels/$B_TREE-$(lab_build_key "$source")"
)
