#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# "lab run --tree" and "--series" with a kernel tree of a few lines, whose image is the
# KTAP that an emulator of a few lines prints: what they build, from what, in which
# order, and what they say if something is wrong.

. check/lib.sh

lab=lab/lab

for tool in git rsync cpio setpriv flock flex bison bc perl patch; do
	have $tool || { skip "lab run --tree" "needs $tool"; exit; }
done
if ! echo '#include <gelf.h>' | gcc -E -x c - >/dev/null 2>&1; then
	skip "lab run --tree" "needs gelf.h"
	exit
fi

# An emulator that says what its "kernel" says, but "judge" as it is, and "at first" only once
mkdir "$work/bin" "$work/suite" "$work/lab"
cat > "$work/bin/qemu-system-x86_64" <<'END'
#!/bin/sh
while [ $# -gt 0 ]; do
	case $1 in
	-kernel) kernel=$2;;
	*id=channel*path=*) channel=${1#*path=};;
	esac
	shift
done
echo "@lab up 9.9.9 x86_64" >> "$channel"
code=0
! grep -q '^# not ok' "$kernel" || code=1
tail -n +2 "$kernel" | sed "s/^judge/@lab exit $code/" |
	if [ -e "$ONCE" ]; then
		sed 's/^at first: .*: /# /'
	else
		sed -e 's/^at first: \(.*\): .*/# \1/'
	fi >> "$channel"
! grep -q '^at first' "$kernel" || : > "$ONCE"
END
for arch in ppc64 aarch64; do
	cp "$work/bin/qemu-system-x86_64" "$work/bin/qemu-system-$arch"
done
printf '#!/bin/sh\n' > "$work/suite/run_tests.sh"
chmod 755 "$work/bin"/* "$work/suite/run_tests.sh"
PATH=$work/bin:$PATH
ONCE=$work/once
export PATH ONCE

# As much of a kernel as the lab asks for. "make" writes down what it compiles.
new_tree()
{
	rm -rf "$1"
	mkdir -p "$1/scripts/kconfig" "$1/mm" "$1/lib"
	cat > "$1/Makefile" <<-'END'
	.RECIPEPREFIX := >
	VERSION = 9
	image := $(O)/arch/x86/boot/bzImage
	all: $(image)
	bzImage: $(image)
	kernelversion:
	> @echo 9.9.9
	allnoconfig defconfig:
	> @: > $(O)/.config
	# What the tree does not know, it drops.
	olddefconfig:
	> @grep -v -e '_DEBUG_VM=' -e '_NUMA=' $(O)/.config > $(O)/.new; mv $(O)/.new $(O)/.config
	> @mkdir -p $(O)/include/config && echo 9.9.9 > $(O)/include/config/kernel.release
	$(O)/%.o: %
	> @mkdir -p $(@D) && echo "compiling $<" && ! grep -H error: $<
	> @cp $< $@
	$(image): $(O)/mm/memory.o $(O)/mm/rmap.o $(O)/lib/util.o
	> @mkdir -p $(@D)
	> @{ head -c 514 /dev/zero; echo HdrS; cat $^; } > $@
	END
	cat > "$1/scripts/kconfig/merge_config.sh" <<-'END'
	#!/bin/sh
	# -m -O DIR BASE FRAGMENT
	cat "$5" >> "$3/.config"
	END
	chmod 755 "$1/scripts/kconfig/merge_config.sh"
	cat > "$1/mm/memory" <<-'END'
	TAP version 13
	1..1
	# # mode: expected=auto measured=eager
	# 1..2
	END
	printf '# ok 1 a.one\n# ok 2 a.two\n' > "$1/mm/rmap"
	printf 'ok 1 thp_lazy_split\n@lab exit 0\n@lab down\n' > "$1/lib/util"
}

# run STATUS ARGUMENT...: sets $status, $out; the runs are in $work/run
run()
{
	want=$1
	shift
	rm -rf "$work/run"
	XDG_CACHE_HOME=$cache timeout 300 $lab run --accel tcg --suite "$work/suite" \
		--output "$work/run" "$@" > "$log" 2>&1 </dev/null
	status=$?
	[ $status -eq "$want" ]
}

# says NAME STATUS PATTERN ARGUMENT...
says()
{
	name=$1 pattern=$3
	want=$2
	shift 3
	if ! run "$want" "$@"; then
		fail "$name" "exit=$status, not $want"
	elif ! grep -Eq "$pattern" "$log"; then
		fail "$name" "no line like $pattern"
	else
		pass "$name"
	fi
}

# refuses NAME PATTERN ARGUMENT...: exit code 2 and one line that says why
refuses()
{
	name=$1 pattern=$2
	shift 2
	run 2 "$@"
	refused "$name" "$status" "$pattern"
}

# built: what the last build of a tree compiled
built()
{
	sed -n 's/^compiling //p' "$cache"/thp_lazy_pte/lab/trees/*/obj/build.log |
		sort | paste -s -d ' '
}

# A cache of its own, with the packages of the real one
cache=$work/cache
real=${CACHE:-$HOME/.cache/thp_lazy_pte}
mkdir -p "$cache/thp_lazy_pte/lab" "$real/lab/sysroot" "$real/lab/apt"
ln -s "$real/lab/sysroot" "$real/lab/apt" "$cache/thp_lazy_pte/lab/"

tree=$work/tree
new_tree "$tree"
state()
{
	find "$1" -type f -exec ls -l --time-style=full-iso {} + | sort
}

state "$tree" > "$work/before"
says "a tree" 0 'does not take:.* DEBUG_VM' --tree "$tree"
[ "$(built)" = "lib/util mm/memory mm/rmap" ]
try "it is built" test $? = 0
says "the same tree again" 0 '^tree .*9\.9\.9.* pass' --tree "$tree"
[ -z "$(built)" ]
try "nothing is built again" test $? = 0
state "$tree" | diff "$work/before" - | none "the tree is left as it was" "these differ"
sed -i 's/^#* ok 2.*/# not ok 2 a.two # wrong/; $a# tail' "$tree/mm/rmap"
sed -i 's/.*exit 0/not ok 1 thp_lazy_split\n@lab exit 1/; /^ok/d' "$tree/lib/util"
says "a tree whose test fails" 1 'not ok 2 a.two # wrong' --tree "$tree"
[ "$(built)" = "lib/util mm/rmap" ]
try "only what changed is built again" test $? = 0
echo 'error: no such thing' >> "$tree/mm/rmap"
says "a build that breaks" 2 'does not build: mm/rmap:error: no such thing: see .*build.log' \
	--tree "$tree"

# blames NAME ERROR: of a build log on stdin, the lab quotes the line that is ERROR
blames()
{
	cat > "$work/build.log"
	sh -c '. lab/lib/build.sh; lab_build_cause "$1"' - "$work/build.log" > "$log" 2>&1
	if [ "$(cat "$log")" = "$2: see $work/build.log" ]; then
		pass "the cause of $1"
	else
		fail "the cause of $1" "not: $2"
	fi
}

gcc="mm/memory.c:7:2: error: 'p' undeclared (first use in this function)"
warning="mm/rmap.c:9:4: warning: operation on 'i' may be undefined [-Wsequence-point]"
stop='make[3]: *** [scripts/Makefile.build:287: mm/memory.o] Error 1'
blames "a build with warnings" "$gcc" <<END
  CC      mm/error.o
$warning
mm/rmap.c:10:4: warning: 'error: ' is no format [-Wformat=]
WARNING: modpost: "thp_probe" [lib/test_hmm.ko] undefined!
$gcc
$stop
END
blames "a file that cannot be linked" "mm/memory.c:7: undefined reference to \`thp_split'" <<END
ld: warning: mm/rmap.o: missing .note.GNU-stack section: undefined behaviour
ld: mm/memory.o: in function \`zap_pmd_range':
mm/memory.c:7: undefined reference to \`thp_split'
$stop
END
blames "a module that cannot be linked" 'ERROR: modpost: "thp_split" [lib/test_hmm.ko] undefined!' <<END
WARNING: modpost: missing MODULE_DESCRIPTION() in lib/test_hmm.o
ERROR: modpost: "thp_split" [lib/test_hmm.ko] undefined!
$stop
END
blames "a file that is missing" "$stop" <<END
*** Default configuration is based on 'x86_64_defconfig'
$warning
$stop
make[2]: *** Waiting for unfinished jobs....
END
blames "a compiler that is too old" '*** C compiler is too old.' <<END
***
*** C compiler is too old.
***   Your GCC version:    4.9.0
***
scripts/Kconfig.include:45: Sorry, this C compiler is not supported.
END
blames "a Kconfig that is wrong" 'mm/Kconfig:12: syntax error' <<END
  HOSTLD  scripts/kconfig/conf
mm/Kconfig:12: syntax error
mm/Kconfig:11: unknown statement "confg"
$stop
END
blames "a make that is killed" 'Killed' <<END
$warning
Killed
END

new_tree "$tree"
refuses "no directory" 'no such directory' --tree "$work/none"
refuses "no kernel tree" 'is no kernel tree: it has no Makefile' --tree "$work/suite"
mkdir -p "$tree/include/config"
refuses "a tree that was built in place" 'built in place, it has include/config: run make mrproper' \
	--tree "$tree"
rmdir "$tree/include/config" "$tree/include"
refuses "a tree and a kernel" '\-\-tree and names at once' --tree "$tree" v7-x86_64
refuses "a base without a series" 'go with --series' --base "$tree"

# Six patches: 1 and 2 harmless, 3 harmless with a new file, 4 breaks a.two, 5 and 6
# harmless. "git format-patch" makes them, with a cover letter.
repo=$work/repo
new_tree "$repo"
g()
{
	GIT_CONFIG_NOSYSTEM=1 HOME=$work git -C "$repo" -c user.name=A -c user.email=a@b.c \
		-c init.defaultBranch=main -c core.autocrlf=false "$@"
}

commit()
{
	g add -A
	g commit -q -m "$1"
}

{
	g init -q
	commit base
	echo '# one' >> "$repo/lib/util"
	commit 'mm: Say one'
	echo '# two' >> "$repo/lib/util"
	commit 'mm: Say two'
	mkdir "$repo/new"
	echo three > "$repo/new/file"
	commit 'mm: A file, with a subject so long that the mail has it in two lines, and an ä'
	sed -i 's/^# ok 2.*/# not ok 2 a.two # wrong/' "$repo/mm/rmap"
	sed -i 's/^@lab exit 0/@lab exit 1/' "$repo/lib/util"
	commit 'mm: Break it'
	g mv lib/util lib/utils
	sed -i 's,lib/util\.o,lib/utils.o,' "$repo/Makefile"
	commit 'lib: Rename'
	chmod +x "$repo/mm/memory"
	echo '# six' >> "$repo/mm/memory"
	commit 'mm: Say six'
	g format-patch -q --cover-letter -o "$work/patches" HEAD~6
	g format-patch -q --stdout HEAD~6 > "$work/mbox"
} > "$log" 2>&1
new_tree "$work/base"

says "a series that fails at the end" 1 'not ok 2 a.two # wrong' \
	--series "$work/patches" --base "$work/base"
src=$(echo "$cache"/thp_lazy_pte/lab/series/x86_64-*/src)
g checkout -q HEAD
diff -r -x .git -x .lab-files "$repo" "$src" |
	none "it is what git am makes of it" "these differ"
says "a cover letter" 1 '^lab: 1 without a patch in' --series "$work/patches" \
	--base "$work/base"
says "a mailbox" 1 'not ok 2 a.two # wrong' --series "$work/mbox" --base "$work/base"
grep -q "run --series $work/mbox --base $work/base .*-- -t thp_lazy_split:a.two" "$log"
try "the command that repeats it" test $? = 0
diff -r -x .git -x .lab-files "$repo" "$src" |
	none "it is what git am makes of a mailbox" "these differ"

# states PATTERN...: those that the last run tried
states()
{
	find "$work/run" -maxdepth 1 -name '*-of-*' -printf '%f\n' | sort | paste -s -d ' '
}

says "the patch that breaks a test" 1 '^lab: patch 4 of 6, .*Break it.*: a.two # wrong' \
	--series "$work/patches" --base "$work/base" --each
[ "$(states)" = "0-of-6 3-of-6 4-of-6 6-of-6 6-of-6-2" ]
try "by bisection" test $? = 0
says "the same of a mailbox" 1 '^lab: patch 4 of 6, mm: Break it.*: a.two # wrong' \
	--series "$work/mbox" --base "$work/base" --each

# A file "series": order, comments, and what is not in it. The first three pass.
cat > "$work/patches/series" <<END
# the good ones
$(cd "$work/patches" && echo 0001-*)
$(cd "$work/patches" && echo 0002-*) -p1  # with an option

$(cd "$work/patches" && echo 0003-*)
END
says "a file series" 0 '^tree .* pass' --series "$work/patches" --base "$work/base"
if grep -q 'Break\|six' "$src/mm/rmap" "$src/mm/memory" || [ -e "$src/lib/utils" ]; then
	fail "earlier patches are gone" "they are not"
else
	pass "earlier patches are gone"
fi
says "each patch of a good series" 0 '^lab: no patch begins to fail a test' \
	--series "$work/patches" --base "$work/base" --each
[ "$(states)" = "1-of-3 2-of-3 3-of-3" ]
try "all of them" test $? = 0

# A series that is broken in between, and good at its end
g checkout -q HEAD~5
echo 'error: half way' >> "$repo/mm/rmap"
commit 'mm: Half of it'
sed -i '/^error/d' "$repo/mm/rmap"
commit 'mm: The other half'
g format-patch -q -o "$work/half" HEAD~3
says "a patch that does not build" 1 \
	'^lab: patch 2 of 3, .*Half of it.*: the kernel does not build: mm/rmap:error: half way' \
	--series "$work/half" --base "$work/base" --each

# The base fails already
sed -i 's/^# ok 1.*/# not ok 1 a.one # old/' "$work/base/mm/rmap"
rm "$work/patches/series"
(cd "$work/patches" && echo 0001-*) > "$work/patches/series"
says "a base that changes, and fails" 1 '^lab: the base fails without the series: a.one # old' \
	--series "$work/patches" --base "$work/base" --each

new_tree "$work/base"
sed -i 's/^ok 1/OK 1/' "$work/base/lib/util"
refuses "a patch that does not apply" \
	'^lab: 0001-.*Say one.* does not apply to .*/base: patch failed: lib/util:1$' \
	--series "$work/patches" --base "$work/base"
echo none.patch > "$work/patches/series"
refuses "a patch that is not there" 'none.patch: no such file, but series names it' \
	--series "$work/patches" --base "$work/base"
echo hello > "$work/text"
refuses "no patch at all" 'no patch in it' --series "$work/text" --base "$work/base"
refuses "no series" 'no such file or folder' --series "$work/none" --base "$work/base"
refuses "no base" 'no such directory' --series "$work/mbox" --base "$work/none"

# Three mistakes: patch 1 is wrong in what only a lazy kernel does, which patch 5 makes it;
# patch 3 breaks a test, and patch 2 does not build. A test of the end fails but once.
new_tree "$work/base"
cd "$work/base" || exit
cat > mm/memory <<END
TAP version 13
1..2
# mode: expected=auto measured=eager
END
cat > mm/rmap <<END
# 1..2
# ok 1 needless.guard_install_locked.not_split
# ok 2 split.mlock_mid_anon.counts
ok 1 thp_lazy_split
# 1..2
# ok 1 split.dontneed_mid_anon.targeted
# ok 2 split.dontneed_half_anon.targeted
END
printf 'ok 2 thp_split_enomem\njudge\n@lab down\n' > lib/util
cat > mm/madvise.c <<END
static long madvise_dontneed_single_vma(void)
{
	return 0;
}
END
rm -rf "$repo"
cp -R . "$repo"
cd "$OLDPWD" || exit
{
	g init -q
	commit base
	sed -i 's/return 0/return -1/' "$repo/mm/madvise.c"
	commit 'mm/madvise: Report it'
	echo 'error: half way' >> "$repo/mm/rmap"
	commit 'mm: Half of it'
	sed -i -e '/^error/d' -e 's/^# ok 1 needless.*/# not ok 1 needless.guard_install_locked.not_split #  it is split/' \
		"$repo/mm/rmap"
	commit 'mm: The other half'
	echo '# four' >> "$repo/lib/util"
	commit 'mm: Say four'
	sed -i 's/^# ok \(.* split.dontneed_.*\)/# not ok \1 #  starve_judge.c:77: no effect/' "$repo/mm/rmap"
	sed -i 's/measured=eager/measured=lazy/' "$repo/mm/memory"
	commit 'mm: Be lazy'
	sed -i 's/^# \(ok 2 split.mlock.*\)/at first: not ok 2 split.mlock_mid_anon.counts # odd: \1/' \
		"$repo/mm/rmap"
	commit 'mm: Say six'
	g format-patch -q -o "$work/late" HEAD~6
} > "$log" 2>&1
says "a patch beside one that does not build" 1 \
	'^lab: patch 3 of 6, mm: The other half: needless.* # it is split; .* from 2 on, which cannot' \
	--series "$work/late" --base "$work/base" --each
cp "$log" "$work/each"
[ "$(states)" = "0-of-6 1-of-6 2-of-6 3-of-6 4-of-6 5-of-6 6-of-6 6-of-6-2" ]
try "... as few states as it takes" test $? = 0
try "... and the patch that makes the kernel lazy" grep -q \
	'^lab: patch 5 of 6, mm: Be lazy: split.dontneed.* and 1 more; .* are those of patch 1$' "$work/each"
try "... with who is to blame" grep -q \
	'^   1\. patch 1, mm/madvise: Report it: madvise_dontneed_single_vma()$' "$work/each"
try "... and the findings of each" test \
	"$(grep -c '^ *1\. 1 test, needless-split, \|^ *1\. 2 tests, zap-dontneed, ' "$work/each")" -eq 2
try "... and what fails now and then" grep -q \
	'^lab: 1 of the tests that failed pass.* again: thp_lazy_split:split.mlock_mid_anon.counts$' "$work/each"
sed -i 's/^# ok 1 needless.*/# not ok 1 kernel.mode #  expected lazy (by request), measured eager: it is/' \
	"$work/base/mm/rmap"
rm -f "$work/late"/000[23456]-*
says "a series that does not do what it says" 1 \
	'^lab: no patch makes this kernel what it has to be: .*expected lazy .*, measured eager' \
	--series "$work/late" --base "$work/base" --each --expect lazy
[ "$(states)" = "1-of-1" ]
try "... asks no patch" test $? = 0
