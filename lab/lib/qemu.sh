# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh
# The virtual machine: its command line, and a guard that watches it.

# Seconds from "@lab exit" to the end of the virtual machine.
LAB_GRACE=20

# The same after the first failed test, where one failure is enough; empty: no
# limit.
LAB_FAIL_GRACE=${LAB_FAIL_GRACE:-}

# Every second processor from $1 on, in QEMU's words.
lab_qemu_cpus() (
	cpu=$1
	while [ "$cpu" -lt "$K_CPUS" ]; do
		printf ',cpus=%s' "$cpu"
		cpu=$((cpu + 2))
	done
)

# The kernel's command line. A panic restarts, which ends the machine; stalls
# are given the time that emulation needs.
lab_qemu_append() (
	# shellcheck disable=SC2046 # a list of words
	set -- $(lab_arch console "$K_ARCH")
	set -- "$@" rdinit=/init panic=-1 loglevel=7 printk.time=1 \
		log_buf_len=4M \
		rcupdate.rcu_cpu_stall_timeout=120 \
		workqueue.watchdog_thresh=120
	[ "$K_MMU" != hash ] || set -- "$@" disable_radix
	[ "$K_CGROUP" != v1 ] || set -- "$@" swapaccount=1
	# The clock that reads the counter, and the same addresses in all kernels.
	[ -z "$LAB_ICOUNT" ] || set -- "$@" tsc=reliable nokaslr norandmaps
	printf '%s\n' "$*${K_APPEND:+ $K_APPEND}"
)

# kvm or tcg. A nested KVM may exist and still fail to create a virtual CPU: so
# this creates one and never starts it.
lab_qemu_accel() (
	machine=$(lab_arch kvm "$K_ARCH")
	# shellcheck disable=SC2086 # a list of words
	if [ -n "$LAB_ACCEL" ]; then
		echo "$LAB_ACCEL"
	elif [ -w /dev/kvm ] && [ "$machine" ] && [ "$K_ARCH" = "$(lab_host_arch)" ] &&
	     echo quit | timeout -k 1 10 "$(lab_arch_word 1 qemu "$K_ARCH")" \
			$machine -accel kvm -S -nodefaults -display none \
			-monitor stdio >/dev/null 2>&1; then
		echo kvm
	else
		echo tcg
	fi
) 2>/dev/null

# With LAB_ICOUNT the virtual clock of the guest is the number of its instructions, one
# nanosecond each; it has one processor, and nothing in it comes from the host: neither the
# time nor random numbers. So it does the same in every run.
LAB_ICOUNT=${LAB_ICOUNT:-}
LAB_ICOUNT_ARGS='-icount shift=0,sleep=off -seed 1 -rtc base=2026-01-01,clock=vm'

# Two nodes of memory: each second processor belongs to the second one, which has none if
# there is only one processor.
lab_qemu_nodes() (
	cpus=cpus=0$(lab_qemu_cpus 2)
	for node in 0 1; do
		printf '%s ' -object "memory-backend-ram,id=m$node,size=$((K_MEMORY / 2))M" \
			-numa "node,nodeid=$node,memdev=m$node${cpus:+,$cpus}"
		cpus=
		[ "$K_CPUS" -lt 2 ] || cpus=cpus=1$(lab_qemu_cpus 3)
	done
)

# A disk in file $1, which lab_qemu_disk() makes. Nothing on it outlives the guest, so the
# host need not write it to its own disk.
lab_qemu_swap() (
	printf 'if=virtio,format=raw,cache=unsafe,file=%s\n' \
		"$(printf '%s' "$1" | sed 's/,/,,/g')"
)

# The disk that the guest with initramfs $1 swaps to: --swap MiB, sparse, zeroes at first.
lab_qemu_disk() {
	[ -z "$O_SWAP" ] || truncate -s "${O_SWAP}M" "$1.swap"
}

# lab_qemu_run FUNCTION INITRAMFS CONSOLE CHANNEL: hands QEMU's arguments to
# FUNCTION. CONSOLE and CHANNEL are character devices in QEMU's words.
lab_qemu_run() {
	call=$1 initramfs=$2 console=$3 channel=$4
	accel=$(lab_arch accel "$K_ARCH")
	accel=${accel:-tcg}
	machine=$(lab_arch "mmu-$K_MMU" "$K_ARCH")
	machine=${machine:-$(lab_arch machine "$K_ARCH")}
	kvm=$(lab_arch kvm "$K_ARCH")
	[ -z "$kvm" ] || [ "$(lab_qemu_accel)" != kvm ] || accel=kvm machine=$kvm
	serial=$(lab_arch serial "$K_ARCH")
	nodes='' icount=''
	if [ -n "$LAB_ICOUNT" ]; then
		icount=$LAB_ICOUNT_ARGS K_CPUS=1
		[ "$accel" != kvm ] || accel=tcg machine=$(lab_arch machine "$K_ARCH")
		counted=$(lab_arch icount "$K_ARCH")
		machine=${counted:-$machine}
	fi
	[ "$(lab_arch nodes "$K_ARCH")" = 1 ] || nodes=$(lab_qemu_nodes)
	# shellcheck disable=SC2086 # lists of words
	"$call" "$(lab_arch_word 1 qemu "$K_ARCH")" $machine -accel $accel \
		-smp "$K_CPUS,sockets=$K_CPUS,cores=1,threads=1" \
		-m "${K_MEMORY}M" $nodes \
		$icount -nodefaults -no-reboot -display none \
		-chardev "$console" -serial chardev:console \
		-chardev "$channel" ${serial:--serial chardev:channel} \
		${O_SWAP:+-drive} ${O_SWAP:+"$(lab_qemu_swap "$initramfs.swap")"} \
		-kernel "$K_IMAGE" -initrd "$initramfs" \
		-append "$(lab_qemu_append)"
}

# The command as a person can paste it.
lab_qemu_print() (
	for word in "$@"; do
		case $word in
		''|*[!A-Za-z0-9_./:=,+-]*) printf "'%s' " "$word" ;;
		*) printf '%s ' "$word" ;;
		esac
	done
	echo
)

# QEMU ends when its parent ends for any reason, and by itself at the timeout.
lab_qemu_exec() {
	exec setpriv --pdeathsig TERM -- \
		timeout -k 5 "$((LAB_TIMEOUT + 30))" "$@"
}

# A file that QEMU holds open: commas are doubled in its option syntax.
lab_qemu_file() (
	printf 'file,id=%s,append=on,path=%s\n' "$1" \
		"$(printf '%s' "$2" | sed 's/,/,,/g')"
)

# The name of the last test in the channel of folder $1.
lab_last_test() (
	printf 'last test: %s' "$(awk -f "$LAB_AWK/last-test.awk" "$1/channel.log")"
)

# Run the loaded kernel in folder $1, which has initramfs. Leaves console.log,
# channel.log, and one line in the file trouble if it did not end correctly.
lab_qemu_guard() {
	dir=$1
	: >"$dir/console.log"
	lab_qemu_disk "$dir/initramfs" || {
		echo "no disk of $O_SWAP MiB in $dir" >"$dir/trouble"
		return
	}
	lab_qemu_run lab_qemu_print "$dir/initramfs" \
		"$(lab_qemu_file console "$dir/console.log")" \
		"$(lab_qemu_file channel "$dir/channel.log")" >"$dir/command"
	trap '[ -z "$qemu" ] || kill "$qemu" 2>/dev/null; rm -f "$dir/initramfs.swap"' EXIT
	trap 'exit 130' INT TERM HUP
	lab_qemu_run lab_qemu_exec "$dir/initramfs" \
		"$(lab_qemu_file console "$dir/console.log")" \
		"$(lab_qemu_file channel "$dir/channel.log")" \
		</dev/null >"$dir/qemu.log" 2>&1 &
	qemu=$!
	start=$(date +%s) up='' exited='' failed=''
	while kill -0 "$qemu" 2>/dev/null; do
		# The lab itself may have been killed.
		kill -0 "$LAB_PID" 2>/dev/null || exit 1
		age=$(($(date +%s) - start))
		if [ -n "$exited" ]; then
			[ $((age - exited)) -lt "$LAB_GRACE" ] || break
		elif grep -q '^@lab exit' "$dir/channel.log"; then
			exited=$age
		elif [ -n "$failed" ] &&
		     [ $((age - failed)) -ge "$LAB_FAIL_GRACE" ]; then
			echo "still there $LAB_FAIL_GRACE s after its first" \
				"failure" >"$dir/trouble"
			break
		elif [ "$age" -ge "$LAB_TIMEOUT" ]; then
			echo "timeout after $LAB_TIMEOUT s; $(lab_last_test "$dir")" >"$dir/trouble"
			break
		elif [ -z "$up" ]; then
			if grep -q '^@lab up' "$dir/channel.log"; then
				up=$age
			elif [ "$age" -ge "$LAB_BOOT_TIMEOUT" ]; then
				lab_boot_trouble "$dir" >"$dir/trouble"
				break
			fi
		fi
		[ -z "$LAB_FAIL_GRACE" ] || [ -n "$failed" ] ||
			! grep -q '^# not ok' "$dir/channel.log" || failed=$age
		# Runs in the background, so that a signal need not wait for it.
		sleep 1 &
		wait $! 2>/dev/null
	done
	kill "$qemu" 2>/dev/null
	wait "$qemu" 2>/dev/null
	qemu=
	rm -f "$dir/initramfs.swap"
	[ -s "$dir/trouble" ] || grep -q '^@lab exit' "$dir/channel.log" ||
		lab_end_trouble "$dir" >"$dir/trouble"
}

# The reason why the channel was silent until the timeout.
lab_boot_trouble() (
	printf 'no sign of the guest in %s s: ' "$LAB_BOOT_TIMEOUT"
	lab_console_trouble "$1"
)

# The reason from the console why a kernel did not reach user space.
lab_console_trouble() (
	last=$(lab_console_tail "$1")
	case $last in
	'')
		echo "nothing on the console: is it an $K_ARCH kernel with" \
			"$(lab_arch needs "$K_ARCH")?" ;;
	*bootconsole*disabled*)
		echo "the console fell silent, does it have" \
			"$(lab_arch needs "$K_ARCH")? $last" ;;
	*)
		echo "last line of the console: $last" ;;
	esac
)

lab_console_tail() (
	tr -d '\r' <"$1/console.log" |
		sed -e '/^[[:space:]]*$/d' -e '/ reboot: /d' | tail -n 1
)

# An int3 of code that was patched meanwhile: the kernel waits until no CPU can
# run it any more, but an emulated one may have translated it before.
lab_stale_int3() (
	sed -n '/Oops: int3/,/ Code: /p' "$1" |
		grep -q 'Code: .* \(c[^c]\|[^c][0-9a-f]\) <' || exit 0
	echo "; the CPU ran an int3 that is not in memory:" \
		"a defect of the emulator, run it again"
)

# The reason why the machine ended before the suite.
lab_end_trouble() (
	log=$1/console.log
	if [ ! -s "$log" ] && [ -s "$1/qemu.log" ]; then
		echo "QEMU: $(tail -n 1 "$1/qemu.log")"
	elif grep -q 'Unable to mount root fs\|No working init found' "$log"; then
		echo "the kernel did not start /init: does it have" \
			"CONFIG_BLK_DEV_INITRD?"
	elif grep -q 'lab: no channel' "$log"; then
		echo "the guest has no second serial port: the kernel needs" \
			"two ($(lab_arch channel "$K_ARCH"))"
	elif grep -q 'Kernel panic' "$log"; then
		echo "$(grep -o 'Kernel panic.*' "$log" | head -n 1 |
			tr -d '\r'); $(lab_last_test "$1")$(lab_stale_int3 "$log")"
	elif ! grep -q '^@lab up' "$1/channel.log"; then
		echo "ended before user space: $(lab_console_trouble "$1")"
	else
		echo "ended before the suite did; $(lab_last_test "$1")"
	fi
)
