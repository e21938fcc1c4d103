# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh
# shellcheck disable=SC2034,SC2154 # the O_ and LAB_ variables are shared with other files
# The command line of lab: options and names, and their effect on a kernel.

# Parses the command line into O_* and $names. With O_RAW, a command, the names
# are not those of kernels, and of the options with a value it takes O_TAKES only.
parse_options() {
	O_KERNEL='' O_ARCH='' O_CONFIG='' O_MODULES='' O_MMU='' O_CGROUP=''
	O_APPEND='' O_MEMORY='' O_SWAP='' O_CPUS='' O_EXPECT='' O_JOBS=2 O_REPEAT='' O_LOOP=0
	O_OUTPUT='' O_REMOTE='' O_TREE='' O_SERIES='' O_BASE='' O_EACH='' O_KNOWN=''
	LAB_FORMATS='' O_VERBOSE=''
	LAB_TIMEOUT=1200 LAB_BOOT_TIMEOUT=180 LAB_SUITE='' LAB_OFFLINE='' LAB_ACCEL=''
	names='' shift_by=0
	while [ $# -gt 0 ]; do
		case $1 in
		--)
			shift_by=$((shift_by + 1))
			break ;;
		--offline)
			LAB_OFFLINE=1 ;;
		--each)
			[ -z "$O_RAW" ] || lab_die "$O_RAW takes no $1: see $LAB_ME -h"
			O_EACH=1 ;;
		--known)
			[ "$command" = cost ] || lab_die "only cost takes $1: see $LAB_ME -h"
			O_KNOWN=1 ;;
		-v|--verbose)
			O_VERBOSE=1 ;;
		-h|--help)
			usage
			exit 0 ;;
		--kernel|--arch|--config|--modules|--mmu|--cgroup|--append|\
		--memory|--swap|--cpus|--expect|--accel|--timeout|--boot-timeout|--jobs|--repeat|\
		--loop|--suite|--output|--format|--remote|--tree|--series|--base)
			[ $# -ge 2 ] || lab_die "$1 needs a value"
			case " ${O_TAKES:-$1} " in
			*" $1 "*) ;;
			*)	lab_die "$O_RAW takes no $1: see $LAB_ME -h" ;;
			esac
			parse_value "$1" "$2"
			shift_by=$((shift_by + 1))
			shift ;;
		-*)
			lab_die "unknown option $1: see $LAB_ME -h" ;;
		*)
			if [ -n "$O_RAW" ]; then
				expanded=$1
			else
				expanded=$(lab_kernel_expand "$1") || exit
			fi
			names="$names $expanded" ;;
		esac
		shift_by=$((shift_by + 1))
		shift
	done
	[ -z "$O_RAW" ] || return 0
	if [ -z "$O_EXPECT" ] && [ -n "${THP_LAZY_EXPECT+set}" ]; then
		parse_value THP_LAZY_EXPECT "$THP_LAZY_EXPECT"
	fi
	if [ -n "$O_REMOTE$O_TREE$O_SERIES$O_BASE$O_EACH" ]; then
		parse_where
	elif [ -n "$O_KERNEL" ]; then
		[ -z "$names" ] || lab_die "--kernel and names at once"
		check_image
		names=own
	elif [ -z "$names$O_KNOWN" ]; then
		lab_die "no kernel: a name of '$LAB_ME list' or --kernel IMAGE"
	elif [ -n "$O_ARCH$O_CONFIG$O_MODULES$O_MMU" ]; then
		lab_die "--arch, --config, --modules and --mmu go with --kernel"
	fi
}

# Parses "[$1 VALUE]... RUN...", as compare and report take it, with the arguments that
# follow $1, into $value and $shift_by.
parse_runs() {
	option=$1 value='' shift_by=0
	shift
	while [ $# -gt 0 ]; do
		case $1 in
		-h|--help)
			usage
			exit 0 ;;
		"$option")
			[ $# -ge 2 ] || lab_die "$1 needs a value"
			value=$2 ;;
		-*)	lab_die "unknown option $1: see $LAB_ME -h" ;;
		*)	break ;;
		esac
		shift 2
		shift_by=$((shift_by + 2))
	done
}

parse_value() {
	case $1 in
	--remote|--tree|--series|--base)
		[ -n "$2" ] || lab_die "$1 needs a value" ;;
	esac
	case $1 in
	--remote)	O_REMOTE=$2 ;;
	--tree)		O_TREE=$2 ;;
	--series)	O_SERIES=$2 ;;
	--base)		O_BASE=$2 ;;
	--kernel)	O_KERNEL=$2 ;;
	--config)	O_CONFIG=$2 ;;
	--modules)	O_MODULES=$2 ;;
	--append)	O_APPEND=$2 ;;
	--output)	O_OUTPUT=$2 ;;
	--suite)	LAB_SUITE=$2 ;;
	--format)
		cause=$("$LAB_SUITE_SRC/report/convert.sh" --can "$2" 2>&1) ||
			lab_die "--format $2: ${cause#*: }"
		LAB_FORMATS="$LAB_FORMATS $2" ;;
	--memory)	lab_need_number "$@"; O_MEMORY=$2 ;;
	--swap)		lab_need_number "$@"; O_SWAP=$2 ;;
	--cpus)		lab_need_number "$@"; O_CPUS=$2 ;;
	--timeout)	lab_need_number "$@"; LAB_TIMEOUT=$2 ;;
	--boot-timeout)	lab_need_number "$@"; LAB_BOOT_TIMEOUT=$2 ;;
	--jobs)		lab_need_number "$@"; O_JOBS=$2 ;;
	--repeat)	lab_need_number "$@"; O_REPEAT=$2 ;;
	--loop)		lab_need_number "$@"; O_LOOP=$2 ;;
	*)
		case $1=$2 in
		--arch=*)
			O_ARCH=$(lab_arch_find "$2")
			[ "$O_ARCH" ] || lab_die "$1 cannot be '$2': see $LAB_ME -h" ;;
		--mmu=radix|--mmu=hash)		O_MMU=$2 ;;
		--cgroup=v1|--cgroup=v2)	O_CGROUP=$2 ;;
		--accel=kvm|--accel=tcg)	LAB_ACCEL=$2 ;;
		--expect=eager|--expect=lazy|--expect=auto) O_EXPECT=$2 ;;
		THP_LAZY_EXPECT=eager|THP_LAZY_EXPECT=lazy|THP_LAZY_EXPECT=auto) O_EXPECT=$2 ;;
		*)	lab_die "$1 cannot be '$2': see $LAB_ME -h" ;;
		esac ;;
	esac
}

# Neither an image nor a name: a machine, a tree or a series, which becomes $names.
parse_where() {
	first=''
	for one in ${O_KERNEL:+--kernel} ${O_REMOTE:+--remote} ${O_TREE:+--tree} \
		${O_SERIES:+--series} ${names:+names}; do
		[ -z "$first" ] || lab_die "$first and $one at once"
		first=$one
	done
	[ -n "$O_SERIES" ] || [ -z "$O_BASE$O_EACH" ] ||
		lab_die "--base and --each go with --series"
	names=${first#--}
	if [ -n "$O_REMOTE" ]; then
		[ -z "$O_ARCH$O_CONFIG$O_MODULES$O_MMU$O_CGROUP$O_APPEND$O_MEMORY$O_SWAP$O_CPUS$LAB_ACCEL" ] ||
			lab_die "--remote: of the options that say what to boot none helps"
	fi
}

# A kernel of the user's own: refuse early what cannot boot.
check_image() {
	if [ ! -f "$O_KERNEL" ] || [ ! -r "$O_KERNEL" ]; then
		lab_die "$O_KERNEL: no such file"
	fi
	found=$(lab_image_arch "$O_KERNEL")
	[ "$(lab_arch_find "$found")" ] ||
		lab_die "$O_KERNEL: none of $(lab_image_kinds): $found"
	[ "${O_ARCH:-$found}" = "$found" ] ||
		lab_die "$O_KERNEL is for $found, not for $O_ARCH"
	O_ARCH=$found
	[ -z "$O_CONFIG" ] || [ -r "$O_CONFIG" ] ||
		lab_die "$O_CONFIG: no such file"
	[ -z "$O_MODULES" ] || [ -d "$O_MODULES" ] ||
		lab_die "$O_MODULES: no such directory"
	if [ -z "$O_CONFIG" ]; then
		top=$(dirname "$O_KERNEL")
		for file in "$top/.config" "$top/../../../.config"; do
			[ ! -r "$file" ] || O_CONFIG=$file
		done
	fi
}

# The kernel of one name, with what the options change.
load_kernel() {
	if [ "$1" = remote ]; then
		lab_remote_load
		return
	elif [ "$1" = own ] || [ "$1" = tree ]; then
		K_NAME=$1 K_ABOUT=$O_KERNEL$O_TREE K_ARCH=$O_ARCH K_SOURCE=$1
		K_CGROUP=v2 K_MEMORY=2048 K_APPEND=''
		K_EXPECT=auto K_IMAGE=$O_KERNEL K_CONFIG=$O_CONFIG
		K_MODULES='' K_ORIGIN=$K_ABOUT B_GCOV=''
		K_MMU=$(lab_arch_mmu "$K_ARCH" "$O_MMU") || exit
	else
		lab_kernel_load "$1"
	fi
	K_CGROUP=${O_CGROUP:-$K_CGROUP}
	K_MEMORY=${O_MEMORY:-$K_MEMORY}
	K_CPUS=${O_CPUS:-2}
	[ "$K_CPUS" -gt 1 ] || lab_die "--cpus: at least one per node, 2"
	K_EXPECT=${O_EXPECT:-$K_EXPECT}
	K_APPEND=$K_APPEND${O_APPEND:+${K_APPEND:+ }$O_APPEND}
	# Whole memory blocks on both nodes.
	K_MEMORY=$((K_MEMORY / 512 * 512))
	[ "$K_MEMORY" -gt 0 ] || lab_die "--memory: at least 512"
}

# Checks the needs of every run on the host, before anything is started.
check_host() {
	if [ -n "$O_REMOTE" ]; then
		lab_remote_check
		return
	fi
	[ -z "$O_TREE" ] || lab_tree_need
	lab_apt_need_tools
	lab_need_tool cpio cpio
	lab_need_tool setpriv util-linux
	lab_need_tool flock util-linux
	for arch in $(for name in $names; do
			load_kernel "$name"
			echo "$K_ARCH"
		done | sort -u); do
		lab_need_tool "$(lab_arch_word 1 qemu "$arch")" \
			"$(lab_arch_word 2 qemu "$arch")"
		[ -n "$LAB_SUITE" ] || {
			lab_need_tool make make
			lab_need_tool "$(lab_cross_prefix "$arch")gcc" \
				"$(lab_compiler_package "$arch")"
		}
	done
	[ -z "$LAB_SUITE" ] || [ -x "$LAB_SUITE/run_tests.sh" ] ||
		lab_die "$LAB_SUITE: no installed suite (no run_tests.sh)"
	mkdir -p "$LAB_CACHE" || lab_die "$LAB_CACHE: cannot be made"
	lab_need_space "$LAB_CACHE" 300 || exit
}

# Whether another guest of this size fits beside the running ones.
memory_allows() {
	[ "$(lab_meminfo MemAvailable)" -ge $(($1 + 384 + $2)) ]
}

# Everything between a name and a bootable guest.
prepare_guest() {
	lab_kernel_prepare || return
	if [ -n "$O_MODULES" ]; then
		K_MODULES=$1/modules
		# shellcheck disable=SC2086 # a list of words
		lab_kernel_modules "$O_MODULES" "$K_MODULES" $LAB_MODULES ||
			return
	fi
	lab_guest_prepare "$K_ARCH" "$1"
}
