# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh
# shellcheck disable=SC2034,SC2153,SC2154 # shared with lib/, see lib/options.sh
# lab build: the images, without a guest.

cmd_build() {
	parse_options "$@"
	[ -z "$O_KERNEL$O_REMOTE$O_TREE$O_SERIES" ] ||
		lab_die "build takes names of '$LAB_ME list'"
	lab_apt_need_tools
	lab_need_tool flock util-linux
	mkdir -p "$LAB_CACHE" || lab_die "$LAB_CACHE: cannot be made"
	for name in $names; do
		LAB_WHO=$name
		lab_kernel_load "$name"
		lab_kernel_prepare || exit
		printf '%s %s\n' "$name" "$K_IMAGE"
	done
}
