# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh
# shellcheck disable=SC2034 # the K_ and O_ variables are used by the other files
# A real machine in place of a guest: lab/remote runs there, over one ssh
# connection, and speaks the protocol of a guest.

# The command with its options. It never asks anything, as a job has no terminal.
LAB_SSH="${THP_LAB_SSH:-ssh} -T -o BatchMode=yes -o ConnectTimeout=20
	-o ServerAliveInterval=15 -o ServerAliveCountMax=4"

# What ssh said last, as its complaint comes after all banners.
lab_ssh_cause() (
	cause=$(tr -d '\r' <"$1" | sed '/^[[:space:]]*$/d' | tail -n 1)
	printf '%s\n' "${cause:-the connection was closed}"
)

# Asks machine O_REMOTE what it is: sets O_ARCH, or ends the lab with the reason
# why the suite cannot run there.
lab_remote_check() {
	case $O_REMOTE in
	-*|*[[:space:]]*) lab_die "--remote cannot be '$O_REMOTE': needs [USER@]HOST" ;;
	esac
	lab_need_tool "${LAB_SSH%% *}" openssh-client
	lab_need_tool tar tar
	lab_need_tool setpriv util-linux
	lab_need_tool flock util-linux
	mkdir -p "$LAB_CACHE" || lab_die "$LAB_CACHE: cannot be made"
	err=$(mktemp "$LAB_CACHE/ssh-XXXXXX") || exit "$LAB_ERROR"
	# shellcheck disable=SC2016,SC2086 # for the shell there; a list of words
	answer=$($LAB_SSH "$O_REMOTE" exec sh -c \
		\''echo "@lab is $(uname -s) $(uname -m) $(id -u)"'\' \
		2>"$err" </dev/null)
	cause=$(lab_ssh_cause "$err")
	rm -f "$err"
	# shellcheck disable=SC2046 # a list of words
	set -- $(printf '%s\n' "$answer" | sed -n 's/^@lab is //p')
	[ $# -eq 3 ] || lab_die "$O_REMOTE cannot be reached: $cause"
	[ "$1" = Linux ] || lab_die "$O_REMOTE runs $1, not Linux"
	O_ARCH=$(lab_arch_find "$2")
	[ -n "$O_ARCH" ] ||
		lab_die "$O_REMOTE is a $2, an architecture that the lab does not" \
			"know, as it does $(lab_arch_names | paste -s -d ' ')"
	[ "$3" = 0 ] ||
		lab_die "$O_REMOTE: the suite needs root there, this is user $3:" \
			"try --remote root@${O_REMOTE#*@}"
	[ -n "$LAB_SUITE" ] || {
		lab_need_tool make make
		lab_need_tool "$(lab_cross_prefix "$O_ARCH")gcc" \
			"$(lab_compiler_package "$O_ARCH")"
	}
	[ -z "$LAB_SUITE" ] || [ -x "$LAB_SUITE/run_tests.sh" ] ||
		lab_die "$LAB_SUITE: no installed suite (no run_tests.sh)"
}

# The row of that machine: it takes no memory of this one.
lab_remote_load() {
	K_NAME=remote K_ABOUT=$O_REMOTE K_ARCH=$O_ARCH K_SOURCE=remote
	K_MMU='' K_CGROUP='' K_MEMORY=0 K_CPUS=0 K_APPEND=''
	K_EXPECT=${O_EXPECT:-auto} K_IMAGE='' K_CONFIG='' K_MODULES=''
	K_ORIGIN=$O_REMOTE
}

# lab_remote_archive FILE OPTION...: what goes over, the script that starts it last.
lab_remote_archive() (
	file=$1
	shift
	tree=$file.tree
	rm -rf "$tree"
	mkdir -p "$tree" &&
	cp -R "$G_SUITE" "$tree/suite" &&
	printf '%s\n' "$@" >"$tree/options" &&
	install -m 755 "$LAB_DIR/remote" "$tree/remote" &&
	tar -C "$tree" --format=ustar --owner=0 --group=0 -cf "$file" \
		suite options remote || exit
	rm -rf "$tree"
	[ -n "$LAB_SUITE" ] || rm -rf "$G_SUITE"
)

# For the shell there: unpacks $1 bytes of stdin in a folder of their own, and starts
# them. A part of them starts nothing. Without single quotes.
# shellcheck disable=SC2016
lab_remote_boot() (
	printf '%s' 'd=$(mktemp -d /tmp/thp_lazy_lab.XXXXXX) || exit 2; ' \
		"if head -c $1 | tar -xf - -C \"\$d\"; " \
		"then exec sh \"\$d/remote\" \"\$d\" $((O_LOOP * 60)); " \
		'else rm -rf "$d"; exit 2; fi'
)

# ssh ends when its parent ends for any reason, and by itself at the timeout.
lab_remote_exec() {
	# shellcheck disable=SC2086 # a list of words
	exec setpriv --pdeathsig TERM -- timeout -k 5 "$((LAB_TIMEOUT + 30))" \
		$LAB_SSH "$O_REMOTE" exec sh -c "'$(lab_remote_boot "$1")'"
}

# Runs the archive in folder $1 on the machine. Leaves what lab_qemu_guard() does.
lab_remote_guard() {
	dir=$1
	: >"$dir/console.log"
	# shellcheck disable=SC2086 # a list of words
	echo $LAB_SSH "$O_REMOTE" exec sh -c \
		"\"'$(lab_remote_boot "$(wc -c <"$dir/archive")")'\"" \
		"<archive" >"$dir/command"
	trap '[ -z "$ssh" ] || kill "$ssh" 2>/dev/null' EXIT
	trap 'exit 130' INT TERM HUP
	# The archive, and then silence: see lab/remote.
	tail -c +1 -s 1 -f --pid=$$ "$dir/archive" 2>/dev/null |
		lab_remote_exec "$(wc -c <"$dir/archive")" \
			>>"$dir/channel.log" 2>"$dir/ssh.log" &
	ssh=$!
	start=$(date +%s)
	while kill -0 "$ssh" 2>/dev/null; do
		# The lab itself may have been killed.
		kill -0 "$LAB_PID" 2>/dev/null || exit 1
		if [ $(($(date +%s) - start)) -ge "$LAB_TIMEOUT" ]; then
			echo "timeout after $LAB_TIMEOUT s; $(lab_last_test "$dir")" >"$dir/trouble"
			break
		fi
		sleep 1 &
		wait $! 2>/dev/null
	done
	kill "$ssh" 2>/dev/null
	wait "$ssh" 2>/dev/null
	ssh=
	sed -n 's/^@lab console //p' "$dir/channel.log" >"$dir/console.log"
	if [ ! -s "$dir/trouble" ] && ! grep -q '^@lab exit' "$dir/channel.log"; then
		echo "$O_REMOTE is gone: $(lab_ssh_cause "$dir/ssh.log");" \
			"$(lab_last_test "$dir")" >"$dir/trouble"
	fi
	rm -f "$dir/archive"
}

# The job of a remote machine, in place of the last part of cmd_job().
lab_remote_job() {
	run=$1
	shift
	G_SUITE=$LAB_SUITE
	[ -n "$G_SUITE" ] || lab_guest_prepare "$K_ARCH" "$run" || no_guest $?
	lab_remote_archive "$run/archive" -e "$K_EXPECT" "$@" || {
		lab_say "the archive could not be made"
		no_guest "$LAB_ERROR"
	}
	job_run "starting on $O_REMOTE" lab_remote_guard
}
