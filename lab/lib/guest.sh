# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh
# The programs of the guest: the suite, busybox, and the initramfs with them.

# busybox and the libraries of the guest's architecture, static, in the release
# that the host's C library comes from. Where that release lacks the architecture:
# of a newer one, with the kernel's headers that they need; make does without a
# library that the host's C library is too old for. Prints the directory.
lab_sysroot_fetch() (
	deb=$(lab_arch debian "$1")
	suite=$(lab_apt_host_suite)
	packages='busybox-static liburing-dev libnuma-dev'
	newer=$LAB_CACHE/sysroot/$deb-$(lab_arch since "$1")
	dir=$LAB_CACHE/sysroot/$deb-$suite
	[ -e "$dir/complete" ] || [ ! -e "$newer/complete" ] || dir=$newer
	if [ ! -e "$dir/complete" ]; then
		lab_need_space "$LAB_CACHE" 100 || exit
		lab_apt_update "$deb" "$suite"
		if [ "$(lab_arch since "$1")" ] && [ -z "$(lab_apt "$deb" "$suite" \
				apt-cache pkgnames busybox-static)" ]; then
			suite=$(lab_arch since "$1")
			dir=$newer
			packages="$packages linux-libc-dev"
			lab_apt_update "$deb" "$suite"
		fi
		rm -rf "$dir"
		mkdir -p "$dir/debs"
		lab_say "fetching busybox, liburing and libnuma ($deb)" \
			"from $suite"
		# shellcheck disable=SC2086 # a list of words
		lab_apt_download "$deb" "$suite" "$dir/debs" $packages ||
			exit "$LAB_ERROR"
		for file in "$dir"/debs/*.deb; do
			dpkg-deb -x "$file" "$dir" || exit "$LAB_ERROR"
		done
		rm -rf "$dir/debs"
		: >"$dir/complete"
	fi
	printf '%s\n' "$dir"
)

# Build the suite for an architecture, and install it into a directory.
lab_suite_build() (
	arch=$1 sysroot=$2 install=$3
	# Objects of one source directory cannot be used for another.
	out=$LAB_CACHE/suite/$arch-$(printf '%s' "$LAB_SUITE_SRC" | cksum |
		cut -d ' ' -f 1)
	mkdir -p "$out"
	lab_say "building the suite for $arch: see $out/build.log"
	if ! make -C "$LAB_SUITE_SRC" ARCH="$(lab_arch karch "$arch")" \
		CROSS_COMPILE="$(lab_cross_prefix "$arch")" \
		USERCFLAGS="-isystem $sysroot/usr/include" \
		USERLDFLAGS="-static -L$sysroot/usr/lib/$(lab_arch triplet "$arch")" \
		OUTPUT="$out" INSTALL_PATH="$install" \
		install >"$out/build.log" 2>&1; then
		tail -n 15 "$out/build.log" >&2
		lab_say "the suite does not build for $arch: see $out/build.log"
		exit "$LAB_ERROR"
	fi
)

# Everything but the kernel, for the run in folder $2: sets G_SYSROOT, G_SUITE.
lab_guest_prepare() {
	G_SYSROOT=$(lab_locked "sysroot-$1" lab_sysroot_fetch "$1") || return
	G_SUITE=$LAB_SUITE
	[ -z "$G_SUITE" ] || return 0
	G_SUITE=$2/suite
	lab_locked "suite-$1" lab_suite_build "$1" "$G_SYSROOT" "$G_SUITE"
}

# lab_initramfs FILE MODE OPTION...: the archive for the loaded kernel. It is
# not compressed, so that any kernel with initramfs support can read it.
lab_initramfs() (
	file=$1 mode=$2
	shift 2
	tree=$file.tree
	rm -rf "$tree"
	mkdir -p "$tree/bin" "$tree/suite" "$tree/lab/modules"
	busybox=$(find "$G_SYSROOT/bin" "$G_SYSROOT/usr/bin" -name busybox \
		2>/dev/null | head -n 1)
	cp "$busybox" "$tree/bin/busybox" &&
	ln -s busybox "$tree/bin/sh" &&
	cp "$LAB_DIR/init" "$tree/init" &&
	chmod 0755 "$tree/init" &&
	cp -R "$G_SUITE/." "$tree/suite/" || exit
	# It becomes /boot/config-RELEASE in the guest.
	[ ! -r "$K_CONFIG" ] || cp "$K_CONFIG" "$tree/lab/config"
	if [ -n "$K_MODULES" ]; then
		cp -R "$K_MODULES/." "$tree/lab/modules/"
	fi
	[ -e "$tree/lab/modules/order" ] || : >"$tree/lab/modules/order"
	cat >"$tree/lab/env" <<-EOF
		LAB_MODE=$mode
		LAB_CHANNEL=$(lab_arch channel "$K_ARCH")
		LAB_CGROUP=$K_CGROUP
		LAB_SWAP=${O_SWAP:+disk}
		LAB_LOOP=$((O_LOOP * 60))
	EOF
	: >"$tree/lab/options"
	[ $# -eq 0 ] || printf '%s\n' "$@" >"$tree/lab/options"
	# The same bytes in every run: the kernel reads them, which takes its time.
	(cd "$tree" && find . -exec touch -h -d @0 {} + && find . | sort |
		cpio -o -H newc -R 0:0 --quiet --reproducible) >"$file" || exit
	rm -rf "$tree"
	[ -n "$LAB_SUITE" ] || rm -rf "$G_SUITE"
)
