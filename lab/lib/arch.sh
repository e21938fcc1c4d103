# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh
# Architectures: access to the table lab/arches.

lab_arch_names() (
	awk '$1 == "arch" { print $2 }' "$LAB_DIR/arches"
)

# lab_arch FIELD ARCH: the value of a field, a line each where it stands several
# times; nothing where it is left out.
lab_arch() (
	awk -v field="$1" -v arch="$2" '
		$1 == "arch" { on = $2 == arch }
		on && NF > 1 && $1 == field {
			sub(/^[ \t]*[^ \t]+[ \t]+/, "")
			print
		}' "$LAB_DIR/arches"
)

# The MMU of a guest of architecture $1: $2, or the default; nothing if there is but one.
lab_arch_mmu() (
	mmus=$(lab_arch mmu "$1")
	[ -z "$2" ] || [ -n "$mmus" ] ||
		lab_die "--mmu goes with --arch ppc64le: ${1:-x86_64} has but one"
	printf '%s\n' "${2:-${mmus%% *}}"
)

# The first or the second word of a field.
lab_arch_word() (
	# shellcheck disable=SC2046 # a list of words
	set -- "$1" $(lab_arch "$2" "$3")
	shift "$1"
	printf '%s\n' "$1"
)

# The architecture for a name that people, `uname -m` or QEMU use.
lab_arch_find() (
	awk -v name="$1" '
		$1 == "arch" { arch = $2 }
		$1 == "arch" || $1 == "alias" {
			for (i = 2; i <= NF; i++)
				if ($i == name) {
					print arch
					exit
				}
		}' "$LAB_DIR/arches"
)

lab_host_arch() (
	arch=$(uname -m)
	found=$(lab_arch_find "$arch")
	printf '%s\n' "${found:-$arch}"
)

# The prefix of the compiler for an architecture: empty if it is the host's.
lab_cross_prefix() (
	[ "$1" = "$(lab_host_arch)" ] || printf '%s-\n' "$(lab_arch triplet "$1")"
)

# The package that has the compiler for an architecture.
lab_compiler_package() (
	if [ "$1" = "$(lab_host_arch)" ]; then
		echo gcc
	else
		echo "gcc-$(lab_arch triplet "$1" | tr _ -)" \
			"libc6-dev-$(lab_arch debian "$1")-cross"
	fi
)

# $2 bytes of a file from $3 on, in hexadecimal.
lab_bytes() (
	od -An -v -tx1 -j"$3" -N"$2" "$1" 2>/dev/null | tr -d ' \n'
)

# What file(1) would say about a kernel image, from its magic numbers: prints the
# architecture, or a description of any other file.
lab_image_arch() (
	for arch in $(lab_arch_names); do
		lab_arch magic "$arch" | while read -r offset pattern; do
			# shellcheck disable=SC2254 # a pattern
			case $(lab_bytes "$1" $((${#pattern} / 2)) "$offset") in
			$pattern) echo "$arch" ;;
			esac
		done | grep -m 1 . && exit
	done
	case $(lab_bytes "$1" 20 0) in
	7f454c460202*) echo "big-endian ELF" ;;
	7f454c46*) echo "ELF of another architecture" ;;
	1f8b*) echo "gzip file" ;;
	*) echo "unknown format" ;;
	esac
)

# "bzImage or vmlinux of x86_64, vmlinux of ppc64le, ...": the images there are.
lab_image_kinds() (
	sep=
	for arch in $(lab_arch_names); do
		printf '%s%s of %s' "$sep" "$(lab_arch image "$arch")" "$arch"
		sep=', '
	done
	echo
)
