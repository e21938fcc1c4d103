#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# Builds without a warning with every compiler, library and link mode that is
# supported, as far as this machine has them.

. check/lib.sh

# Not ours to mend: libnuma.a has a function for host names, which nobody calls.
libnuma_a="warning: Using 'getaddrinfo' in statically linked applications"

# check_build NAME VARIABLE=VALUE...; a linker's warning is no error by itself
check_build()
{
	name=$1
	shift
	if ! make -j"$cores" OUTPUT="$work/$name" KSRC="$KSRC" \
	     USERCFLAGS=-Werror "$@" > "$log" 2>&1; then
		fail "$name" "does not build"
	elif grep -v "$libnuma_a" "$log" | grep -q 'warning'; then
		fail "$name" "builds with a warning"
	else
		pass "$name"
	fi
}

# built_as NAME PATTERN: what the ELF header and the libraries of a program are
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

cross=powerpc64le-linux-gnu-
if have ${cross}gcc; then
	check_build powerpc64le CROSS_COMPILE=$cross
	built_as powerpc64le 'Machine:.*PowerPC64'
	check_build powerpc64le-static CROSS_COMPILE=$cross USERLDFLAGS=-static
else
	skip powerpc64le "needs gcc-powerpc64le-linux-gnu"
fi

# Only what changed is built again, but that is.
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
