#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# Installs the Debian packages needed to build (and, with "check", to check), and
# fills the cache with the few files of a kernel tree that a build outside of one
# needs. With "lab": also those that virtual machines need. Installs and fetches
# only missing ones, and removes nothing.
#
# usage: deps.sh [-k KSRC] CACHE [check] [lab]

# The members of a kernel source to keep; a cache made for another list is
# made anew.
sel='tools/testing/selftests'
wanted="$sel/Makefile $sel/lib.mk $sel/kselftest* $sel/run_kselftest.sh
scripts/subarch.include scripts/checkpatch.pl scripts/spelling.txt
scripts/const_structs.checkpatch tools/testing/kunit/*.py"

fail()
{
	printf 'deps: %s\n' "$*" >&2
	exit 2
}

have_command()
{
	command -v "$1" >/dev/null 2>&1
}

have_header()
{
	echo "#include <$1>" | "${2:-gcc}" -E -x c - >/dev/null 2>&1
}

have_module()
{
	/usr/bin/python3 -c "import $1" >/dev/null 2>&1
}

missing=
optional=
lack()
{
	missing="$missing $1"
}

# Any compiler will do; the packages have Debian's names.
look()
{
	missing=
	optional=
	have_command gcc || lack gcc
	have_command make || lack make
	[ "$ksrc" ] || have_command xz || lack xz-utils
	have_header stdio.h || lack libc6-dev
	# Without these two their tests skip.
	have_header liburing.h || optional="$optional liburing-dev"
	have_header numa.h || optional="$optional libnuma-dev"
	[ "$for_check" ] && look_check
	[ "$for_lab$for_check" ] && look_lab
	return 0
}

# want_cross COMPILER ARCH: as the compiler's name begins, and what Debian calls the
# architecture
want_cross()
{
	have_command "$1-linux-gnu-gcc" || optional="$optional gcc-$1-linux-gnu"
	have_header stdio.h "$1-linux-gnu-gcc" ||
		optional="$optional libc6-dev-$2-cross"
}

# One package has both in Debian 12; later releases have one for each.
want_emulator()
{
	have_command "qemu-system-$1" && return
	if apt-cache show "qemu-system-$2" 2>/dev/null | grep -q '^Version:'; then
		optional="$optional qemu-system-$2"
	else
		case $optional in
		*qemu-system-misc*) ;;
		*) optional="$optional qemu-system-misc" ;;
		esac
	fi
}

look_lab()
{
	have_command qemu-system-x86_64 || optional="$optional qemu-system-x86"
	have_command qemu-system-ppc64 || optional="$optional qemu-system-ppc"
	have_command gnuplot || optional="$optional gnuplot-nox"
	have_command qemu-system-aarch64 || optional="$optional qemu-system-arm"
	want_emulator riscv64 riscv
	for tool in cpio rsync flex bison bc patch perl git ccache; do
		have_command $tool || optional="$optional $tool"
	done
	have_header gelf.h || optional="$optional libelf-dev"
	[ -e /usr/share/keyrings/debian-archive-keyring.gpg ] ||
		optional="$optional debian-archive-keyring"
	want_cross powerpc64le ppc64el
	want_cross aarch64 arm64
	want_cross riscv64 riscv64
}

look_check()
{
	for tool in git perl rsync shellcheck clang dash python3; do
		have_command $tool || optional="$optional $tool"
	done
	# Of the distribution's Python, whichever comes first
	have_module junit_xml || optional="$optional python3-junit.xml"
	have_module tap.parser || optional="$optional python3-tap"
	have_module yaml || optional="$optional python3-yaml"
	have_module lava_common || optional="$optional lava-common"
	have_command help2man || optional="$optional help2man"
	have_command mandoc || optional="$optional mandoc"
	have_command tap-parser || optional="$optional node-tap-parser"
	have_command tidy || optional="$optional tidy"
	have_command setpriv || optional="$optional util-linux"
	have_command busybox || optional="$optional busybox"
	want_cross aarch64 arm64
	want_cross i686 i386
	want_cross riscv64 riscv64
	want_cross s390x s390x
	have_command musl-gcc || optional="$optional musl-tools"
	have_command qemu-s390x || have_command qemu-s390x-static ||
		optional="$optional qemu-user"
}

updated=
apt_update()
{
	[ -z "$updated" ] || return 0
	updated=y
	[ "$(id -u)" = 0 ] || return 0
	echo "deps: apt-get update"
	apt-get update -qq || echo "deps: apt-get update failed" >&2
}

# apt_install PACKAGE...: or one line in $cause
apt_install()
{
	LC_ALL=C DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-remove \
		--no-install-recommends "$@" >"$tmp/log" 2>&1 && return 0
	cause=$(sed -n '/^The following packages will be REMOVED:/,/^[^ ]/s/^  *//p' \
		"$tmp/log" | tr '\n' ' ')
	if [ "$cause" ]; then
		cause="it would remove ${cause% }"
	else
		cause=$(sed -n 's/^E: *//p' "$tmp/log" | head -n 1)
		cause=${cause:-apt-get failed}
	fi
	return 1
}

# Installs everything at once; if that fails, as much as possible.
apt_install_most()
{
	# shellcheck disable=SC2086 # lists of packages
	apt_install $missing $optional && return 0
	for package in $missing; do
		apt_install "$package" || fail "cannot install $package: $cause"
	done
	for package in $optional; do
		apt_install "$package" ||
			echo "deps: cannot install $package: $cause; going on without"
	done
}

install_packages()
{
	look
	[ "$missing$optional" ] || return 0
	if have_command apt-get && [ "$(id -u)" = 0 ]; then
		echo "deps: installing$missing$optional"
		apt_update
		apt_install_most
		look
		[ -z "$missing" ] || fail "installed, but still missing:$missing"
		[ -z "$optional" ] || echo "deps: done without:$optional"
		return 0
	fi
	why='not root'
	have_command apt-get || why='no apt-get here'
	[ -z "$optional" ] ||
		echo "deps: $why; can be done without:$optional"
	[ -z "$missing" ] ||
		fail "$why; install these (Debian's names):$missing"
}

# The newest versioned linux-source package on offer: "name version"
newest_source()
{
	name=$(apt-cache pkgnames linux-source- |
		grep -E '^linux-source-[0-9]+\.[0-9]+$' | sort -V | tail -n 1)
	[ "$name" ] || return 1
	version=$(apt-cache policy "$name" |
		sed -n 's/^  Candidate: \([^(].*\)/\1/p')
	[ "$version" ] && echo "$name $version"
}

# Sets $tarball to that of package $1, version $2: the installed one, or one
# downloaded.
get_source()
{
	tarball=/usr/src/$1.tar.xz
	[ "$(dpkg-query -W -f='${Version}' "$1" 2>/dev/null)" = "$2" ] &&
		[ -r "$tarball" ] && return 0
	tarball=$tmp/$1.tar.xz
	echo "deps: downloading $1 $2"
	(
		cd "$tmp" &&
		apt-get -qq -o APT::Sandbox::User=root download "$1=$2" &&
		dpkg-deb --fsys-tarfile ./*.deb |
			tar -xO "./usr/src/$1.tar.xz" > "$tarball"
	) >"$tmp/log" 2>&1
}

fill_cache()
{
	if [ -e "$cache/linux/$sel/lib.mk" ] &&
	   [ "$(cat "$cache/linux/.members" 2>/dev/null)" = "$wanted" ]; then
		echo "deps: kernel files: $(readlink "$cache/linux")"
		return 0
	fi
	have_command apt-get ||
		fail "no apt-get here to get Debian's linux-source: give KSRC=/path/to/linux"
	source=$(newest_source) || { apt_update; source=$(newest_source); } ||
		fail "apt offers no linux-source-X.Y (apt-get update?): give KSRC=/path/to/linux"
	# shellcheck disable=SC2086 # two words
	if ! get_source $source; then
		# The lists may be older than the archive.
		apt_update
		source=$(newest_source)
		# shellcheck disable=SC2086
		get_source $source ||
			{ cat "$tmp/log" >&2; fail "cannot download $source"; }
	fi
	name=${source% *}
	dir=${name}_${source#* }
	echo "deps: unpacking $dir"
	mkdir "$tmp/tree"
	set -f
	# shellcheck disable=SC2046,SC2086 # tar's own patterns
	tar -xJf "$tarball" -C "$tmp/tree" --strip-components=1 --wildcards \
		$(printf "$name/%s " $wanted) || fail "cannot unpack $dir"
	set +f
	printf '%s\n' "$wanted" > "$tmp/tree/.members"
	rm -rf "${cache:?}/$dir"
	mv "$tmp/tree" "$cache/$dir" || fail "cannot write $cache"
	ln -sfn "$dir" "$cache/linux" || fail "cannot write $cache"
}

case $1 in
-h | --help)
	sed -n '/^# Installs/,/^# usage:/s/^# \{0,1\}//p' "$0"
	exit 0;;
esac
ksrc=
if [ "$1" = -k ]; then
	ksrc=$2
	shift 2
fi
cache=${1:?usage: deps.sh [-k KSRC] CACHE [check] [lab]}
shift
for_check=
for_lab=
for goal in "$@"; do
	case $goal in
	check)	for_check=y;;
	lab)	for_lab=y;;
	esac
done

mkdir -p "$cache" || fail "cannot make $cache"
tmp=$(mktemp -d "$cache/deps.XXXXXX") || fail "cannot write $cache"
trap 'rm -rf "$tmp"' EXIT
trap 'exit 130' INT TERM HUP

install_packages
if [ -z "$ksrc" ]; then
	fill_cache
elif [ ! -e "$ksrc/$sel/lib.mk" ]; then
	fail "KSRC=$ksrc is no kernel tree: it has no $sel/lib.mk"
fi
