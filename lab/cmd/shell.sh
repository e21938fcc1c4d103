# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh
# shellcheck disable=SC2034,SC2153,SC2154 # shared with lib/, see lib/options.sh
# lab shell: a guest to work in.

cmd_shell() {
	parse_options "$@"
	[ "$shift_by" -eq $# ] || lab_die "shell takes no options of the suite"
	# shellcheck disable=SC2086 # a list of words
	set -- $names
	[ $# -eq 1 ] || lab_die "shell takes one kernel"
	[ -z "$O_REMOTE$O_SERIES" ] || lab_die "shell takes no --$1"
	check_host
	load_kernel "$1"
	memory_allows "$K_MEMORY" 0 ||
		lab_die "$(lab_meminfo MemAvailable) MB of memory available," \
			"a guest of $K_MEMORY MB needs $((K_MEMORY + 384)) MB"
	run=$(mktemp -d "$LAB_CACHE/shell-XXXXXX") || exit 2
	trap 'rm -rf "$run"' EXIT
	trap 'exit 130' INT TERM HUP
	prepare_guest "$run" || exit
	lab_initramfs "$run/initramfs" shell || exit 2
	lab_qemu_disk "$run/initramfs" || exit 2
	lab_say "booting $K_ORIGIN; leave with 'reboot -f' or Ctrl-A X"
	lab_qemu_run shell_qemu "$run/initramfs" \
		"stdio,id=console,mux=on,signal=off" "null,id=channel"
}

shell_qemu() {
	"$@" -mon chardev=console,mode=readline
}
