# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh
# shellcheck disable=SC2034,SC2153,SC2154 # shared with lib/, see lib/options.sh
# lab list: the table of kernels.

cmd_list() {
	printf '%-22s %-50s %s\n' NAME KERNEL STATE
	for name in $(lab_kernel_names); do
		lab_kernel_load "$name"
		printf '%-22s %-50s %s\n' "$name" "$K_ARCH: $K_ABOUT" \
			"$(lab_kernel_state "$name")"
	done
}
