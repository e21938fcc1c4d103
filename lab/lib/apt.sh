# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh
# Packages of other suites and architectures, through a state of apt's own that
# leaves the system's lists, cache and sources alone. apt checks the signatures.

LAB_KEYRING=${THP_LAB_KEYRING:-/usr/share/keyrings/debian-archive-keyring.gpg}

# Maximum age of package lists, in minutes.
LAB_LISTS_AGE=720

# Minutes before a failed update of lists is tried again.
LAB_LISTS_RETRY=10

lab_apt_need_tools() {
	lab_need_tool apt-get apt
	lab_need_tool dpkg-deb dpkg
	lab_need_tool xz xz-utils
	[ -r "$LAB_KEYRING" ] ||
		lab_die "$LAB_KEYRING not found: install debian-archive-keyring"
}

# The mirror that the system itself uses: the first source that serves a
# distribution named /debian, in either format of apt's source lists.
lab_apt_mirror() (
	if [ -n "$THP_LAB_MIRROR" ]; then
		printf '%s\n' "$THP_LAB_MIRROR"
		exit 0
	fi
	mirror=$(cat /etc/apt/sources.list /etc/apt/sources.list.d/*.sources \
		/etc/apt/sources.list.d/*.list 2>/dev/null |
		awk '$1 == "URIs:" || $1 == "deb" {
			for (i = 2; i <= NF; i++)
				if ($i ~ /^[a-z+]+:.*\/debian\/?$/) {
					print $i
					exit
				}
		}')
	[ -n "$mirror" ] || {
		lab_say "no Debian mirror in apt's sources: set THP_LAB_MIRROR"
		exit "$LAB_ERROR"
	}
	printf '%s\n' "$mirror"
)

# The suite that the host's own packages come from.
lab_apt_host_suite() (
	ID='' VERSION_CODENAME=''
	# shellcheck source=/dev/null
	[ ! -r /etc/os-release ] || . /etc/os-release
	if [ "$ID" = debian ] && [ -n "$VERSION_CODENAME" ]; then
		echo "$VERSION_CODENAME"
	else
		echo stable
	fi
)

# lab_apt DEB_ARCH SUITE TOOL ARGUMENT...
lab_apt() (
	state=$LAB_CACHE/apt/$1-$2
	arch=$1 tool=$3
	shift 3
	exec "$tool" \
		-o Dir::State="$state" \
		-o Dir::State::status="$state/status" \
		-o Dir::Cache="$state/cache" \
		-o Dir::Etc::sourcelist="$state/sources.list" \
		-o Dir::Etc::sourceparts="$state/none" \
		-o Dir::Etc::preferences="$state/none/none" \
		-o Dir::Etc::preferencesparts="$state/none" \
		-o APT::Architecture="$arch" \
		-o APT::Architectures="$arch" \
		-o APT::Sandbox::User="$(id -un)" \
		-o Acquire::Languages=none \
		-o Acquire::Retries=2 \
		-o Acquire::http::Timeout=30 \
		"$@"
)

# Fresh lists for one architecture and suite. apt refuses an index that does not
# match its signature: then this uses older lists, if there are any.
lab_apt_update() (
	state=$LAB_CACHE/apt/$1-$2
	mirror=$(lab_apt_mirror) || exit
	mkdir -p "$state/lists/partial" "$state/cache/archives/partial" \
		"$state/none"
	: >>"$state/status"
	printf 'deb [signed-by=%s] %s %s main\n' \
		"$LAB_KEYRING" "$mirror" "$2" >"$state/sources.list.new"
	cmp -s "$state/sources.list.new" "$state/sources.list" ||
		rm -f "$state/fresh"
	mv "$state/sources.list.new" "$state/sources.list"
	[ -z "$(find "$state/fresh" -mmin "-$LAB_LISTS_AGE" 2>/dev/null)" ] ||
		exit 0
	[ -z "$LAB_OFFLINE" ] || exit 0
	[ -z "$(find "$state/failed" -mmin "-$LAB_LISTS_RETRY" 2>/dev/null)" ] ||
		exit 1
	lab_say "reading the package lists of $2 ($1)"
	if lab_apt "$1" "$2" apt-get -q \
		-o APT::Update::Error-Mode=any update >"$state/log" 2>&1; then
		: >"$state/fresh"
		exit 0
	fi
	cause=$(grep '^[EW]:' "$state/log" | head -n 1)
	: >"$state/failed"
	lab_say "suite $2 ($1): package lists not updated: ${cause#?: }"
	exit 1
)

# Download packages of one suite into a directory. Versions are the suite's.
lab_apt_download() (
	arch=$1 suite=$2 dir=$3
	shift 3
	[ -z "$LAB_OFFLINE" ] || {
		lab_say "not in the cache: $*"
		exit 1
	}
	cd "$dir" || exit
	lab_apt "$arch" "$suite" apt-get -q download "$@" >apt.log 2>&1 || {
		cause=$(grep '^E:' apt.log | head -n 1)
		lab_say "suite $suite: download failed: ${cause#E: }"
		exit 1
	}
)

# The content of files in a package, by pattern, below a directory.
lab_deb_extract() (
	deb=$1 dir=$2
	shift 2
	dpkg-deb --fsys-tarfile "$deb" |
		tar -x -C "$dir" --wildcards "$@" 2>/dev/null
)
