# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh
# shellcheck disable=SC2034,SC2154 # shared with options.sh and cmd/run.sh
# A series of patches, applied to a copy of a kernel tree in the cache, which is then
# built and run as the tree of "run --tree".
#
# Series on the same base share the copy and its objects: going from one state to
# another touches only the files that differ. Variables: S_DIR, the folder in the
# cache, which has the copy, "src", the objects beside it, as those of the reference
# kernels are beside theirs, so that ccache knows what these have in common, and the
# patches; S_BASE, the base; S_COUNT.

# What git takes from its environment must not matter.
lab_series_git() (
	unset GIT_DIR GIT_WORK_TREE GIT_INDEX_FILE
	GIT_CEILING_DIRECTORIES=$S_DIR GIT_CONFIG_NOSYSTEM=1 \
		exec git "$@"
)

# One mail, or one patch, of file $1 and name $2: added to the series, unless there is
# no patch in it.
lab_series_add() {
	n=$(printf '%04d' $((S_COUNT + 1)))
	out=$S_DIR/patches/$n
	subject=''
	if lab_series_git mailinfo "$out.text" "$out.patch" <"$1" \
			>"$out.info" 2>/dev/null; then
		subject=$(sed -n 's/^Subject: //p' "$out.info")
	fi
	# What is no mail has no header, and git drops what it takes for one.
	grep -q '^diff --git \|^--- ' "$out.patch" 2>/dev/null || cp "$1" "$out.patch"
	rm -f "$out.text" "$out.info"
	# A patch of quilt begins with its subject.
	[ -n "$subject" ] || subject=$(sed -n '1{/^diff \|^--- \|^Index: /!p;}' "$1")
	if ! grep -q '^diff --git \|^--- [^ ]*/' "$out.patch"; then
		rm -f "$out.patch"
		S_LEFT_OUT=$((S_LEFT_OUT + 1))
		return
	fi
	S_COUNT=$((S_COUNT + 1))
	printf '%s\n' "$2${subject:+ ($subject)}" >"$out.name"
	printf '%s\n' "${subject:-$2}" >"$out.subject"
}

# The names of the patches in folder $1, in their order.
lab_series_names() (
	cd "$1" || exit
	if [ -e series ]; then
		sed -e 's/[[:space:]]*#.*//' -e 's/^[[:space:]]*//' \
			-e 's/[[:space:]].*//' -e '/^$/d' series
	else
		find . -maxdepth 1 -type f \( -name '*.patch' -o -name '*.diff' \
			-o -name '*.eml' -o -name '*.mbox' \) | sed 's|^\./||' | sort
	fi
)

# Splits O_SERIES into patches: sets S_COUNT.
lab_series_split() {
	rm -rf "$S_DIR/patches" "$S_DIR/mails"
	mkdir -p "$S_DIR/patches" "$S_DIR/mails" || exit "$LAB_ERROR"
	S_COUNT=0 S_LEFT_OUT=0
	if [ -d "$O_SERIES" ]; then
		for name in $(lab_series_names "$O_SERIES"); do
			[ -r "$O_SERIES/$name" ] ||
				lab_die "$O_SERIES/$name: no such file, but series names it"
			lab_series_add "$O_SERIES/$name" "$name"
		done
	else
		case $O_SERIES in
		*.gz)	gzip -dc "$O_SERIES" >"$S_DIR/mbox" ;;
		*)	cp "$O_SERIES" "$S_DIR/mbox" ;;
		esac || lab_die "$O_SERIES cannot be read"
		lab_series_git mailsplit -b -d4 -o"$S_DIR/mails" "$S_DIR/mbox" \
			>/dev/null || lab_die "$O_SERIES: no mailbox"
		for mail in "$S_DIR/mails"/*; do
			[ ! -e "$mail" ] || lab_series_add "$mail" "patch $((S_COUNT + 1))"
		done
	fi
	rm -rf "$S_DIR/mails" "$S_DIR/mbox"
	[ "$S_COUNT" -gt 0 ] || lab_die "$O_SERIES: no patch in it"
	[ "$S_LEFT_OUT" -eq 0 ] ||
		lab_say "$S_LEFT_OUT without a patch in $O_SERIES, such as a cover letter"
}

# The files that the patches change, make, rename or remove.
lab_series_files() (
	awk '
		/^(---|\+\+\+) [ab]\// { print substr($2, 3) }
		/^diff --git a\// { print substr($3, 3); print substr($4, 3) }
		/^(rename|copy) (from|to) / { print $3 }' "$S_DIR/patches"/*.patch |
		sort -u
)

# The name of patch $1.
lab_series_name() (
	cat "$S_DIR/patches/$(printf '%04d' "$1").name"
)

lab_series_subject() (
	cat "$S_DIR/patches/$(printf '%04d' "$1").subject"
)

# The copy of the base with the first $1 patches.
lab_series_state() (
	scratch=$S_DIR/scratch
	rm -rf "$scratch"
	mkdir -p "$scratch" || exit "$LAB_ERROR"
	lab_series_files >"$scratch.files"
	while read -r file; do
		[ -e "$S_BASE/$file" ] || continue
		mkdir -p "$scratch/$(dirname "$file")" &&
		cp "$S_BASE/$file" "$scratch/$file" || exit "$LAB_ERROR"
	done <"$scratch.files"
	n=0
	while [ "$n" -lt "$1" ]; do
		n=$((n + 1))
		lab_series_git -C "$scratch" apply --whitespace=nowarn \
			"$S_DIR/patches/$(printf '%04d' "$n").patch" \
			2>"$scratch.log" || {
			lab_say "$(lab_series_name "$n") does not apply to $O_BASE:" \
				"$(sed -n 's/^error: //p' "$scratch.log" | head -n 1)"
			exit "$LAB_ERROR"
		}
	done
	# Files of earlier series stay in the list: rsync would give them their old
	# dates again, and make would not see that they have changed.
	cp "$S_DIR/src/.lab-files" "$S_DIR/touched" || exit "$LAB_ERROR"
	lab_source_sync "$S_BASE" "$S_DIR/src" "$scratch" || exit
	sort -u -o "$S_DIR/src/.lab-files" "$S_DIR/src/.lab-files" "$S_DIR/touched"
)

# Sets S_BASE, the directory of O_BASE, and S_LINK for a base that nobody edits.
lab_series_base() {
	O_BASE=${O_BASE:-linux-source} S_LINK=''
	if [ "$O_BASE" = linux-source ] && [ ! -d linux-source ]; then
		lab_apt_need_tools
		lab_build_need_source eager-x86_64 || exit
		lab_kernel_load eager-x86_64
		lab_build_load
		S_BASE=$(cat "$B_LAST")/tree S_LINK=1
	else
		S_BASE=$(cd "$O_BASE" 2>/dev/null && pwd -P) ||
			lab_die "$O_BASE: no such directory"
		lab_tree_check "$S_BASE"
	fi
}

# The copy of the base with the whole series: sets O_TREE and $names.
lab_series_prepare() {
	[ -r "$O_SERIES" ] || lab_die "$O_SERIES: no such file or folder"
	lab_need_tool git git
	lab_need_tool rsync rsync
	lab_need_tool flock util-linux
	O_ARCH=${O_ARCH:-$(lab_host_arch)}
	mkdir -p "$LAB_CACHE" || lab_die "$LAB_CACHE: cannot be made"
	lab_series_base
	S_DIR=$LAB_CACHE/series/$O_ARCH-$(printf '%s' "$S_BASE" | lab_build_sha)
	mkdir -p "$S_DIR/src" || lab_die "$S_DIR: cannot be made"
	# Held until the last job is over.
	exec 8>"$S_DIR/lock"
	flock -n 8 || lab_die "another run uses the copy of $O_BASE in $S_DIR"
	lab_series_split
	# The copy follows its base, but for what patches have changed in it: those
	# files get a new date when they change, or make would not see it.
	touch "$S_DIR/src/.lab-files"
	[ -e "$S_DIR/src/Makefile" ] || lab_need_space "$LAB_CACHE" "$LAB_SOURCE_SPACE" ||
		exit
	sed 's|^|/|' "$S_DIR/src/.lab-files" >"$S_DIR/exclude"
	rsync -a --delete --exclude=/.git --exclude=/.lab-files \
		--exclude-from="$S_DIR/exclude" ${S_LINK:+--link-dest="$S_BASE"} \
		"$S_BASE/" "$S_DIR/src/" >"$S_DIR/rsync.log" 2>&1 ||
		lab_die "$S_BASE cannot be copied: $(grep -m 1 '^rsync: ' "$S_DIR/rsync.log")"
	lab_series_state "$S_COUNT" || exit
	O_TREE=$S_DIR/src names=tree
}
