#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# "lab run --remote" against an sshd on the loopback of this machine, with keys,
# accounts and a port of its own, in a mount namespace: the machine's ssh settings
# are neither read nor changed. Nothing of a run stays in /tmp, not even after an
# interruption, and each obstacle is one line.

. check/lib.sh

lab=lab/lab

if [ "$(id -u)" != 0 ]; then
	skip "lab run --remote" "needs root"
	exit
fi
for tool in ssh ssh-keygen unshare setpriv tar cpio; do
	have $tool || { skip "lab run --remote" "needs $tool"; exit; }
done

# The daemon of the machine, or that of Debian's package, which is not installed:
# that would start it. Sets $sshd.
find_sshd()
{
	sshd=$(PATH=$PATH:/usr/sbin:/usr/local/sbin command -v sshd) && return
	sshd=$work/deb/usr/sbin/sshd
	mkdir -p "$work/deb" || return
	(
		cd "$work/deb" || exit
		for package in openssh-server libwrap0 libwtmpdb0; do
			apt-get -qq -o APT::Sandbox::User=root download $package
		done
		for deb in *.deb; do
			dpkg-deb -x "$deb" . || exit
		done
	) > "$log" 2>&1
	LD_LIBRARY_PATH=$(find "$work/deb" -name '*.so*' -printf '%h\n' | sort -u |
		paste -s -d :)
	export LD_LIBRARY_PATH
	! ldd "$sshd" 2>&1 | grep 'not found' >> "$log"
}

if ! find_sshd; then
	skip "lab run --remote" "needs openssh-server"
	exit
fi

# Accounts: those of the machine may be locked, or lack that of the daemon.
keys=$work/keys
mkdir "$keys"
chmod 755 "$SCRATCH" "$work" "$keys"
ssh-keygen -q -t ed25519 -N '' -f "$keys/host"
ssh-keygen -q -t ed25519 -N '' -f "$keys/user"
cat > "$keys/passwd" <<END
root:*:0:0:root:/root:/bin/sh
sshd:*:998:65534::/run/sshd:/bin/false
nobody:*:65534:65534::/nonexistent:/bin/sh
END
sed 's/:.*/:*:20000:0:99999:7:::/' "$keys/passwd" > "$keys/shadow"
chmod 644 "$keys/user.pub"

# start_sshd PORT: sets $daemon
start_sshd()
{
	cat > "$keys/sshd_config" <<-END
	Port $1
	ListenAddress 127.0.0.1
	HostKey $keys/host
	AuthorizedKeysFile $keys/user.pub
	PidFile none
	StrictModes no
	UsePAM no
	PasswordAuthentication no
	KbdInteractiveAuthentication no
	PermitRootLogin yes
	PrintMotd no
	END
	# shellcheck disable=SC2016 # for the other shell
	unshare -m --propagation private sh -c '
		mount --bind "$1/passwd" /etc/passwd &&
		mount --bind "$1/shadow" /etc/shadow &&
		mount -t tmpfs -o mode=755 none /run && mkdir /run/sshd &&
		[ -z "$3" ] || mount --bind "$3" /usr/bin/uname
		exec setpriv --pdeathsig KILL "$2" -D -e -f "$1/sshd_config"' \
		sh "$keys" "$sshd" "$uname" > "$work/sshd.log" 2>&1 &
	daemon=$!
	sleep 1
	kill -0 $daemon 2>/dev/null
}

stop_sshd()
{
	kill "$daemon" 2>/dev/null
	wait "$daemon" 2>/dev/null
}

uname=
trap stop_sshd EXIT
port=$((20000 + $$ % 10000))
tries=0
until start_sshd $port; do
	tries=$((tries + 1))
	port=$((port + 1))
	if [ $tries -ge 5 ]; then
		cp "$work/sshd.log" "$log"
		fail "sshd on loopback" "it does not start"
		exit
	fi
done

cat > "$keys/config" <<END
Host closed
	Port 1
Host *
	HostName 127.0.0.1
	Port $port
	IdentityFile $keys/user
	IdentitiesOnly yes
	UserKnownHostsFile $keys/known
	StrictHostKeyChecking accept-new
END
THP_LAB_SSH="ssh -F $keys/config"
export THP_LAB_SSH

folders()
{
	find /tmp -maxdepth 1 -name 'thp_lazy_lab.??????' | sort
}

# no_folders NAME: none is left that was not there before; the end of a connection
# reaches the other side later.
no_folders()
{
	tries=0
	while folders | comm -13 "$work/before" - | grep . > "$log"; do
		tries=$((tries + 1))
		if [ $tries -gt 20 ]; then
			fail "$1" "these are left"
			return
		fi
		sleep 1
	done
	pass "$1"
}

# refuses NAME PATTERN ARGUMENT...: exit code 2 and one line that says why
refuses()
{
	name=$1 pattern=$2
	shift 2
	timeout 60 $lab run "$@" > "$work/out" 2> "$log" </dev/null
	refused "$name" $? "$pattern"
}

# A suite that has one test, and can be told how to end
mkdir "$work/suite"
cat > "$work/suite/run_tests.sh" <<'END'
#!/bin/sh
# As the real one: ends in order on SIGTERM
trap 'echo "Bail out! aborted"; : > "$0.$3"; exit 143' TERM
printf 'TAP version 13\n1..1\n# # mode: expected=auto measured=eager\n# 1..1\n'
case $4 in
passes)	printf '# ok 1 a.test\nok 1 thp_lazy_split\n';;
fails)	printf '# not ok 1 a.test # because\nnot ok 1 thp_lazy_split # exit=1\n'
	exit 1;;
dies)	echo "no such thing" >&2
	exit 2;;
logs)	printf '# ok 1 a.test\nok 1 thp_lazy_split\n'
	echo 'x: mm/pgtable-generic.c:1: bad pmd 0000(0)' > /dev/kmsg;;
hangs)	printf '# # RUN a.test\n'
	n=0
	while [ $n -lt 1200 ]; do
		sleep 0.1
		n=$((n + 1))
	done;;
esac
exit 0
END
chmod 755 "$work/suite/run_tests.sh"

# ends NAME STATUS PATTERN ARGUMENT...: of the fake suite; the pattern is in the
# summary
ends()
{
	name=$1 want=$2 pattern=$3
	shift 3
	rm -rf "$work/run"
	timeout 120 $lab run --output "$work/run" --suite "$work/suite" \
		--remote root@there "$@" > "$log" 2>&1 </dev/null
	status=$?
	if [ $status -ne "$want" ]; then
		fail "$name" "exit=$status, not $want"
	elif ! grep -Eq "$pattern" "$work/run/remote/summary"; then
		cp "$work/run/remote/summary" "$log"
		fail "$name" "the summary has no line like $pattern"
	else
		pass "$name"
	fi
}

folders > "$work/before"
ends "a suite that passes" 0 '^pass 1$' -- x passes
ends "a suite that fails" 1 '^failed not ok 1 a.test # because' -- x fails
ends "a suite that does not start" 2 'ended with status 2: no such thing' -- x dies
ends "a timeout" 1 'timeout after 5 s; last test: a.test' --timeout 5 -- x hangs
if [ -w /dev/kmsg ] && dmesg > "$log" 2>&1; then
	ends "a complaint of the kernel there" 1 '^log .*bad pmd' -- x logs
else
	skip "a complaint of the kernel there" "needs the kernel log"
fi
no_folders "nothing stays behind"

# start_hanging: sets $runner; returns when the suite there runs
start_hanging()
{
	rm -rf "$work/run"
	: > "$work/out"
	setsid $lab run --output "$work/run" --suite "$work/suite" \
		--remote root@there -- x hangs > "$work/out" 2>&1 </dev/null &
	runner=$!
	tries=0
	until grep -q 'RUN a.test' "$work/out"; do
		tries=$((tries + 1))
		[ $tries -lt 120 ] || return
		sleep 0.5
	done
	folders | comm -13 "$work/before" - > "$log"
	[ -s "$log" ]
}

for signal in INT TERM KILL; do
	if ! start_hanging; then
		cp "$work/out" "$log"
		fail "interrupted by SIG$signal" "the run did not start"
		continue
	fi
	kill -$signal $runner
	wait $runner 2>/dev/null
	no_folders "nothing stays behind after SIG$signal"
done

# The real suite
timeout 500 $lab run --output "$work/real" --remote root@there -- \
	-t 'thp_lazy_split:kernel.*' -t 'thp_lazy_split:split.munmap_head_*' \
	> "$log" 2>&1 </dev/null
status=$?
summary=$work/real/remote/summary
if [ $status -ne 0 ]; then
	fail "a few tests of this machine" "exit=$status"
elif ! grep -q "^release $(uname -r)\$" "$summary" || ! grep -q '^mode ' "$summary" ||
     [ "$(sed -n 's/^pass //p' "$summary")" -lt 3 ]; then
	cp "$summary" "$log"
	fail "a few tests of this machine" "not what the summary says"
else
	pass "a few tests of this machine"
fi
no_folders "nothing stays behind after them"

refuses "no machine" '\-\-remote needs a value' --remote ''
refuses "an option for ssh" 'cannot be .-oProxy' --remote -oProxyCommand=false
refuses "a machine and a kernel" '\-\-remote and names at once' --remote there v7-x86_64
refuses "a machine and what to boot" 'none helps' --remote there --append quiet
refuses "a closed port" 'closed cannot be reached: .*Connection refused' --remote closed
refuses "no access" 'cannot be reached: .*Permission denied' --remote stranger@there
refuses "no root" 'needs root there, this is user 65534: try --remote root@there' \
	--remote nobody@there
THP_LAB_SSH=none-such refuses "no ssh" 'none-such not found: install openssh-client' --remote there
cat > "$work/uname" <<'END'
#!/bin/sh
case $1 in
-m)	echo pdp11;;
*)	echo Linux;;
esac
END
chmod 755 "$work/uname"
stop_sshd
uname=$work/uname
start_sshd $port
refuses "unknown architecture" 'is a pdp11, an architecture that the lab does not know' \
	--remote root@there
