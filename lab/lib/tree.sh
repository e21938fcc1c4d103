# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh
# shellcheck disable=SC2034 # the O_ variables are used by the other files
# A kernel from the user's own tree, built out of it: all that make writes is in the
# cache, in a folder for each tree and architecture, so that the next build of the
# same tree is a short one.

# lab_tree_check DIR: ends the lab with the reason if DIR cannot be built out of tree
# for O_ARCH.
lab_tree_check() {
	case $1 in
	*[[:space:]:]*) lab_die "$1: no spaces or colons in this name, please" ;;
	esac
	for file in Makefile scripts/kconfig/merge_config.sh; do
		[ -e "$1/$file" ] || lab_die "$1 is no kernel tree: it has no $file"
	done
	# As the kernel's makefile has it, which would say so less clearly.
	for file in .config include/config \
		"arch/$(lab_arch karch "$O_ARCH")/include/generated"; do
		[ ! -e "$1/$file" ] || lab_die "$1 was built in place, it has $file:" \
			"run make mrproper there, the lab builds elsewhere"
	done
}

# The same for the tree of --tree, whose name becomes absolute; sets O_ARCH.
lab_tree_need() {
	tree=$(cd "$O_TREE" 2>/dev/null && pwd -P) ||
		lab_die "$O_TREE: no such directory"
	O_TREE=$tree
	O_ARCH=${O_ARCH:-$(lab_host_arch)}
	[ -n "$(lab_arch target "$O_ARCH")" ] ||
		lab_die "no --arch, and the lab does not know $O_ARCH"
	[ -z "$O_CONFIG" ] || [ -r "$O_CONFIG" ] ||
		lab_die "$O_CONFIG: no such file"
	lab_tree_check "$O_TREE"
	K_ARCH=$O_ARCH
	lab_build_load
	lab_build_need_tools
}

# That of the copy with a series is the folder of the copy: see series.sh.
lab_tree_dir() (
	case $O_TREE in
	"$LAB_CACHE"/series/*/src)
		printf '%s\n' "${O_TREE%/src}"
		exit ;;
	esac
	printf '%s/trees/%s-%s\n' "$LAB_CACHE" "$K_ARCH" \
		"$(printf '%s' "$O_TREE" | lab_build_sha)"
)

# The fragments for the tree: those of the reference kernels, and where there are
# none the options of the tests, on top of defconfig.
lab_tree_fragment() (
	fragment=$LAB_DIR/kernel/config-$K_ARCH
	[ -e "$fragment" ] || fragment=$LAB_SUITE_SRC/config
	printf '%s\n' "$fragment"
)

# The configuration into object directory $1: our options on top of --config, or of
# as little as possible.
lab_tree_config() (
	obj=$1
	fragment=$(lab_tree_fragment)
	base=allnoconfig
	[ "$fragment" != "$LAB_SUITE_SRC/config" ] || base=defconfig
	if [ -n "$O_CONFIG" ]; then
		cp "$O_CONFIG" "$obj/.config" || exit "$LAB_ERROR"
		base=
	fi
	if ! lab_build_make "$O_TREE" "$obj" "${base:-kernelversion}" ||
	   ! "$O_TREE/scripts/kconfig/merge_config.sh" -m -O "$obj" \
		"$obj/.config" "$fragment" >>"$obj/build.log" 2>&1 ||
	   ! lab_build_make "$O_TREE" "$obj" olddefconfig; then
		lab_say "no configuration: $(lab_build_cause "$obj/build.log")"
		exit "$LAB_ERROR"
	fi
	lost=$(lab_config_lost "$obj/.config" "$fragment" |
		sed -e 's/^CONFIG_//' -e 's/=y$//' | paste -s -d ' ')
	[ -z "$lost" ] || lab_say "options that this tree does not take: $lost"
)

# The image of the tree, built as far as it is not. Prints its directory.
lab_tree_kernel() (
	dir=$(lab_tree_dir)
	log=$dir/obj/build.log
	# Newer trees run Python scripts, which would leave their bytecode there.
	export PYTHONDONTWRITEBYTECODE=1
	[ -e "$dir/vmlinuz" ] || lab_need_space "$LAB_CACHE" "$LAB_BUILD_SPACE" ||
		exit
	mkdir -p "$dir/obj" "$dir/modules" || exit "$LAB_ERROR"
	echo "$O_TREE" >"$dir/tree"
	begin=$(date +%s)
	lab_say "building $O_TREE, log in $log"
	: >"$log"
	lab_tree_config "$dir/obj" || exit
	lab_build_make "$O_TREE" "$dir/obj" "$B_TARGET" || {
		lab_say "the kernel does not build: $(lab_build_cause "$log")"
		exit "$LAB_ERROR"
	}
	# A guest that just boots the old image keeps it.
	lab_build_take "$dir/obj" "$dir/vmlinuz.new" &&
	mv "$dir/vmlinuz.new" "$dir/vmlinuz" &&
	cp "$dir/obj/.config" "$dir/config" &&
	echo "$O_TREE, $(cat "$dir/obj/include/config/kernel.release")" \
		>"$dir/origin" || exit "$LAB_ERROR"
	lab_say "built in $(($(date +%s) - begin)) s"
	printf '%s\n' "$dir"
)
