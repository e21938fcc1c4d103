#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# Builds without a warning with every compiler, library and link mode that is
# supported, as far as this machine has them. The programs start; those with a
# sanitizer and those of 32 bits run the suite.

. check/lib.sh

# A warning that this project cannot fix: libnuma.a has a function for host
# names, which nothing calls.
libnuma_a="warning: Using 'getaddrinfo' in statically linked applications"

# check_build NAME VARIABLE=VALUE...; a linker's warning is no error by itself
check_build()
{
	name=$1
	shift
	if ! make -j"$cores" OUTPUT="$work/$name" KSRC="$KSRC" \
	     USERCFLAGS=-Werror "$@" > "$log" 2>&1; then
		fail "$name" "does not build"
		return 1
	elif grep -v "$libnuma_a" "$log" | grep -q 'warning'; then
		fail "$name" "builds with a warning"
	else
		pass "$name"
	fi
}

# built_as NAME PATTERN: checks the ELF header and the libraries of a program
built_as()
{
	readelf -hdW "$work/$1/thp_lazy_split" > "$log" 2>&1
	if grep -Eq "$2" "$log"; then
		[ "$3" != not ] && return
	else
		[ "$3" = not ] && return
	fi
	fail "$1 took effect" "readelf does${3:+ }$3 show $2"
}

# starts NAME COMMAND...: each program, run by the command, lists the call sites that
# the native one lists
starts()
{
	name=$1
	shift
	for prog in $programs; do
		"$work/gcc/$prog" -L > "$work/native" 2>&1
		if ! "$@" "$work/$name/$prog" -L > "$log" 2>&1 ||
		   ! cmp -s "$work/native" "$log"; then
			fail "$name starts" "$prog -L lists something else"
			return
		fi
	done
	pass "$name starts"
}

# passes NAME: the whole suite, on the running kernel
passes()
{
	OUTPUT="$work/$1" ./run_tests.sh > "$log" 2>&1
	status=$?
	grep -A30 -E '^# (Findings|Failed):' "$log" > "$work/failed"
	case $status in
	0)	pass "$1 runs";;
	4)	skip "$1 runs" "nothing can be tested on this machine";;
	*)	cp "$work/failed" "$log"
		fail "$1 runs" "exit=$status";;
	esac
}

# check_cross NAME COMPILER ARCH MACHINE: Debian's names, readelf's name
check_cross()
{
	cross=$2-linux-gnu-
	if ! have "${cross}gcc"; then
		skip "$1" "needs gcc-$2-linux-gnu"
		return 1
	elif ! echo '#include <stdio.h>' | "${cross}gcc" -E - >/dev/null 2>&1; then
		skip "$1" "needs libc6-dev-$3-cross"
		return 1
	fi
	check_build "$1" CROSS_COMPILE="$cross" && built_as "$1" "Machine: *$4"
}

# emulated NAME COMPILER CPU: as check_cross(), qemu's name
emulated()
{
	qemu=qemu-$3
	have "$qemu" || qemu=qemu-$3-static
	if have "$qemu"; then
		starts "$1" env QEMU_LD_PREFIX="/usr/$2-linux-gnu" "$qemu"
	else
		skip "$1 starts" "needs qemu-user"
	fi
}

check_build gcc CC=gcc
check_build static CC=gcc USERLDFLAGS=-static
built_as static 'Shared library' not
check_build no-libraries CC=gcc HAVE_LIBURING= HAVE_LIBNUMA=
built_as no-libraries 'lib(uring|numa)' not

if have clang; then
	check_build clang CC=clang
	check_build LLVM LLVM=1
else
	skip clang "needs clang"
	skip LLVM "needs clang"
fi

# musl has no headers of the kernel: those of the host come after musl's own.
if have musl-gcc; then
	multiarch=$(gcc -print-multiarch)
	check_build musl CC=musl-gcc HAVE_LIBURING= HAVE_LIBNUMA= USERCFLAGS="-Werror \
		-idirafter /usr/include -idirafter /usr/include/$multiarch" &&
		built_as musl 'libc\.so\]' && starts musl env
else
	skip musl "needs musl-tools"
fi

# Of 64 bits and of 32, little-endian and big-endian
check_cross arm64 aarch64 arm64 AArch64 && emulated arm64 aarch64 aarch64
check_cross riscv64 riscv64 riscv64 RISC-V && emulated riscv64 riscv64 riscv64
check_cross s390x s390x s390x 'IBM S/390' && emulated s390x s390x s390x
if check_cross powerpc64le powerpc64le ppc64el PowerPC64; then
	emulated powerpc64le powerpc64le ppc64le
	check_build powerpc64le-static CROSS_COMPILE=powerpc64le-linux-gnu- \
		USERLDFLAGS=-static
fi

# The kernel of this machine may be able to run a 32-bit program.
if check_cross i686 i686 i386 'Intel 80386' &&
   check_build i686-static CROSS_COMPILE=i686-linux-gnu- USERLDFLAGS=-static; then
	if "$work/i686-static/thp_mremap" -L >/dev/null 2>&1; then
		starts i686-static env
		passes i686-static
	else
		skip "i686-static runs" "needs a kernel of x86 with 32-bit programs"
	fi
fi

sanitizers=-fsanitize=address,undefined
if check_build sanitizers CC=gcc USERLDFLAGS="$sanitizers" USERCFLAGS="-Werror \
	$sanitizers -fno-sanitize-recover=all -fno-omit-frame-pointer"; then
	built_as sanitizers 'libasan'
	built_as sanitizers 'libubsan'
	passes sanitizers
fi

# make builds the changed files again, and no others.
again()
{
	make -j"$cores" OUTPUT="$work/gcc" KSRC="$KSRC" CC=gcc \
		USERCFLAGS=-Werror "$@" > "$log" 2>&1
	grep -c '^ ' "$log"
}

if [ "$(again)" = 0 ]; then
	pass "nothing to do the second time"
else
	fail "nothing to do the second time" "something was built"
fi
touch "$work/new"
if [ "$(again HAVE_LIBNUMA= HAVE_LIBURING=)" -gt 0 ]; then
	pass "other flags build anew"
else
	fail "other flags build anew" "nothing was built"
fi
