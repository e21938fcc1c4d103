# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh
# shellcheck disable=SC2034,SC2153,SC2154 # shared with lib/, see lib/options.sh
# lab clean: the cache of the lab.

cmd_clean() {
	[ -d "$LAB_CACHE" ] || exit 0
	size=$(du -sm "$LAB_CACHE" | cut -f 1)
	rm -rf "$LAB_CACHE" || exit 2
	lab_say "removed $LAB_CACHE ($size MB)"
}
