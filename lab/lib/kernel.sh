# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh
# shellcheck disable=SC2034 # the K_ variables are used by the other files
#
# The table of kernels, and how a row of it becomes an image in the cache:
# a directory with vmlinuz, config, modules/ (in the order of loading), release
# and origin.

# The number of packages to try, newest first, if downloads fail.
LAB_CANDIDATES=3

# Modules for the guest, where they are modules: swap with the compressors it
# may want, and the driver that unpoisons a soft-offlined page.
LAB_MODULES='zram lzo-rle lz4 hwpoison-inject'

lab_kernel_names() (
	awk '$1 == "kernel" { print $2 }' "$LAB_DIR/kernels"
)

# The names of kernels for a word of the command line.
lab_kernel_expand() (
	found=$(awk -v word="$1" '
		$1 == "kernel" { name = $2; if (name == word) print name }
		$1 == "group" && $2 == word { print name }' "$LAB_DIR/kernels")
	[ -n "$found" ] || {
		lab_say "no kernel '$1' in the table: see $LAB_ME list"
		exit "$LAB_ERROR"
	}
	printf '%s\n' "$found"
)

# A row of the table as variables, read in one go: K_NAME, K_ARCH, ..., and for
# kernels that are built B_TREE, B_SERIES, B_CONFIGS, B_GCOV. The image comes later.
lab_kernel_load() {
	K_NAME=$1
	K_ABOUT='' K_ARCH='' K_SOURCE='' K_SUITES='' K_NEWER='' K_MATCH='' K_MMU='' K_CGROUP=v2
	K_MEMORY=2048 K_APPEND='' K_EXPECT=auto
	K_IMAGE='' K_CONFIG='' K_MODULES='' K_ORIGIN=''
	B_TREE='' B_SERIES='' B_CONFIGS='' B_GCOV=''
	while read -r field value; do
		case $field in
		about)	K_ABOUT=$value ;;
		arch)	K_ARCH=$value ;;
		source)	K_SOURCE=$value ;;
		suites)	K_SUITES=$value ;;
		newer)	K_NEWER=$value ;;
		match)	K_MATCH=$value ;;
		mmu)	K_MMU=$value ;;
		cgroup)	K_CGROUP=$value ;;
		memory)	K_MEMORY=$value ;;
		append)	K_APPEND=$value ;;
		expect)	K_EXPECT=$value ;;
		tree)	B_TREE=$value ;;
		series)	B_SERIES=$value ;;
		config)	B_CONFIGS=$value ;;
		gcov)	B_GCOV=$value ;;
		esac
	done <<-EOF
		$(awk -v name="$1" '
			$1 == "kernel" { on = $2 == name; next }
			on && NF > 1' "$LAB_DIR/kernels")
	EOF
}

# Where the resolved kernel of a row is remembered: rows with the same packages
# share it.
lab_kernel_key() (
	printf '%s %s %s\n' "$K_ARCH" "$K_SUITES${K_NEWER:+ > $K_NEWER}" "$K_MATCH" | cksum | tr ' ' '-'
)

# "release image|binary suite" of every match in the suites named.
lab_kernel_matches() (
	deb=$(lab_arch debian "$K_ARCH")
	for suite; do
		lab_apt_update "$deb" "$suite"
		lab_apt "$deb" "$suite" apt-cache search --names-only \
			"^linux-(image|binary)-$K_MATCH\$" 2>/dev/null |
			sed -n "s/^linux-\([a-z]*\)-\([^ ]*\) .*/\2 \1 $suite/p"
	done
)

# "suite package" of every match in the suites, newest first. Where one version
# has both names, linux-binary- holds the image.
lab_kernel_candidates() (
	# shellcheck disable=SC2086 # lists of words
	{
		lab_kernel_matches $K_NEWER | sed 's/ [^ ]* [^ ]*$/ 0-known/'
		lab_kernel_matches $K_SUITES
	} | sort -k1,1Vr -k2,2 | awk '
		$2 == "0-known" { exit }
		!seen[$1]++ { print $3, "linux-" $2 "-" $1 }'
)

# Modules that the guest loads, with those they need, decompressed and named in
# the order of loading. The packages have no list of dependencies, but the
# modules have.
lab_kernel_modules() (
	tree=$1 out=$2
	shift 2
	mkdir -p "$out"
	todo=$* order=''
	while :; do
		# shellcheck disable=SC2086 # a list of words
		set -- $todo
		[ $# -gt 0 ] || break
		mod=$1
		shift
		todo=$*
		file=$(find "$tree" -name "$mod.ko*" -o \
			-name "$(printf '%s' "$mod" | tr _ -).ko*" | head -n 1)
		[ -n "$file" ] || continue
		case $file in
		*.xz) xz -dc "$file" >"$out/$mod.ko" ;;
		*.zst) zstd -qdc "$file" >"$out/$mod.ko" ;;
		*.gz) gzip -dc "$file" >"$out/$mod.ko" ;;
		*) cp "$file" "$out/$mod.ko" ;;
		esac || exit
		order="$mod $(printf '%s' " $order " | sed "s/ $mod / /")"
		todo="$todo $(tr '\0' '\n' <"$out/$mod.ko" |
			sed -n 's/^depends=//p' | tr ', ' '  ')"
	done
	printf '%s\n' "$order" | tr -s ' ' '\n' | sed '/^$/d' >"$out/order"
)

# Whether a directory of the cache is whole, and of this lab.
lab_kernel_complete() {
	[ -e "$1/origin" ] && [ "$(cat "$1/wanted")" = "$LAB_MODULES" ]
}

# Puts one candidate into the cache. Prints the directory.
lab_kernel_fetch_one() (
	suite=$1 package=$2
	deb=$(lab_arch debian "$K_ARCH")
	dir=$LAB_CACHE/kernels/$deb-$package
	if lab_kernel_complete "$dir"; then
		printf '%s\n' "$dir"
		exit 0
	fi
	lab_need_space "$LAB_CACHE" 600 || exit
	tmp=$LAB_CACHE/tmp-$package
	rm -rf "$tmp" "$dir"
	mkdir -p "$tmp/tree" "$dir"
	trap 'rm -rf "$tmp"' EXIT
	trap 'exit 130' INT TERM HUP
	release=${package#linux-binary-}
	release=${release#linux-image-}
	packages=$package
	[ "$release" = "${package#linux-binary-}" ] &&
		packages="$package linux-base-$release linux-modules-$release"
	lab_say "fetching $package ($deb) from $suite"
	# shellcheck disable=SC2086 # a list of words
	lab_apt_download "$deb" "$suite" "$tmp" $packages || exit
	for file in "$tmp"/*.deb; do
		lab_deb_extract "$file" "$tmp/tree" '*/vmlinu[xz]*' \
			'*/config*' '*/drivers/block/zram/*' '*/mm/zsmalloc*' \
			'*/lib/lz*' '*/lib/zlib_*' '*/lib/842/*' '*/crypto/*' \
			'*/mm/hwpoison*'
	done
	image=$(find "$tmp/tree" -name 'vmlinu[xz]*' -type f | head -n 1)
	config=$(find "$tmp/tree" \( -name config -o -name 'config-*' \) \
		-type f | head -n 1)
	[ -n "$image" ] || {
		lab_say "$package has no kernel image"
		exit 1
	}
	cp "$image" "$dir/vmlinuz" || exit
	[ -z "$config" ] || cp "$config" "$dir/config"
	# shellcheck disable=SC2086 # a list of words
	lab_kernel_modules "$tmp/tree" "$dir/modules" $LAB_MODULES || exit
	echo "$LAB_MODULES" >"$dir/wanted"
	echo "$release" >"$dir/release"
	version=$(lab_apt "$deb" "$suite" apt-cache show "$package" |
		sed -n 's/^Version: //p' | head -n 1)
	# Written last: a directory with it is complete.
	echo "$package $version ($deb, $suite)" >"$dir/origin"
	printf '%s\n' "$dir"
)

# lab_newest LAST WHAT CANDIDATES FETCH COMPLETE: the first of what the function
# CANDIDATES lists that FETCH can get, or that of the last time if the registry
# cannot be asked. File LAST remembers it, COMPLETE tells whether it is still
# whole. Prints its directory. Status LAB_SKIP: there is none.
lab_newest() (
	last=$1 what=$2 candidates=$3 fetch=$4 complete=$5
	if [ -n "$(find "$last" -mmin "-$LAB_LISTS_AGE" 2>/dev/null)" ] &&
	   "$complete" "$(cat "$last")"; then
		cat "$last"
		exit 0
	fi
	mkdir -p "$(dirname "$last")"
	"$candidates" | head -n "$LAB_CANDIDATES" >"$last.new"
	while read -r candidate; do
		# shellcheck disable=SC2086 # a list of words
		dir=$("$fetch" $candidate)
		case $? in
		0)	echo "$dir" >"$last"
			printf '%s\n' "$dir"
			exit 0 ;;
		"$LAB_ERROR")
			exit "$LAB_ERROR" ;;
		esac
	done <"$last.new"
	# If no package is newer any more, the remembered one does not count.
	[ -z "$K_NEWER" ] || [ -s "$last.new" ] || rm -f "$last"
	if [ -e "$last" ] && "$complete" "$(cat "$last")"; then
		lab_say "registry not usable, taking the $what of the last time"
		cat "$last"
		exit 0
	fi
	if [ -s "$last.new" ]; then
		lab_say "no package could be downloaded"
	else
		lab_say "no package for this $what, like $K_MATCH, in $K_SUITES" \
			"${K_NEWER:+that is newer than those of $K_NEWER}"
	fi
	exit "$LAB_SKIP"
)

# The newest kernel of the row.
lab_kernel_fetch() (
	lab_newest "$LAB_CACHE/kernels/last-$(lab_kernel_key)" kernel \
		lab_kernel_candidates lab_kernel_fetch_one lab_kernel_complete
)

# Make the image of the loaded row ready: sets K_IMAGE, K_CONFIG, K_MODULES and
# K_ORIGIN.
lab_kernel_prepare() {
	[ -z "$K_IMAGE" ] || return 0
	case $K_SOURCE in
	package)
		K_DIR=$(lab_locked "fetch-$(lab_kernel_key)" lab_kernel_fetch) ||
			return ;;
	build)
		lab_build_load
		# An existing image need not wait for a build of its tree.
		K_DIR=$(lab_build_dir)
		if [ -z "$K_DIR" ] || ! lab_kernel_complete "$K_DIR"; then
			K_DIR=$(lab_locked "build-$B_TREE" lab_build_kernel) ||
				return
		fi ;;
	tree)
		lab_build_load
		K_DIR=$(lab_locked "tree-$(basename "$(lab_tree_dir)")" \
			lab_tree_kernel) || return ;;
	*)
		lab_say "unknown source '$K_SOURCE' in the table"
		return "$LAB_ERROR" ;;
	esac
	K_IMAGE=$K_DIR/vmlinuz
	K_CONFIG=$K_DIR/config
	K_MODULES=$K_DIR/modules
	K_ORIGIN=$(cat "$K_DIR/origin")
}

# Whether a row can be run without fetching or building first.
lab_kernel_state() (
	lab_kernel_load "$1"
	if [ "$K_SOURCE" = build ]; then
		lab_build_load
		dir=$(lab_build_dir)
		if [ -n "$dir" ] && lab_kernel_complete "$dir"; then
			echo "ready: $(cat "$dir/release")"
		else
			echo "to build"
		fi
		exit
	fi
	last=$LAB_CACHE/kernels/last-$(lab_kernel_key)
	if [ -e "$last" ] && lab_kernel_complete "$(cat "$last")"; then
		echo "ready: $(cat "$(cat "$last")/release")"
	else
		echo "to fetch"
	fi
)
