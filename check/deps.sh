#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# deps.sh installs missing packages and removes none. The apt-get here only
# pretends.

. check/lib.sh

# A machine that has the commands named here, and on which a cross compiler
# cannot be installed because of a conflict
bin=$work/bin
state=$work/state
mkdir "$bin" "$state"

lend()
{
	for tool; do
		path=$(command -v "$tool") || continue
		ln -sf "$path" "$bin/$tool"
	done
}

cat > "$bin/apt-get" <<'END'
#!/bin/sh
[ "$1" = install ] || exit 0
echo "$*" >> "$STATE/calls"
for word; do
	case $word in
	"$BLOCKED")
		echo "The following packages will be REMOVED:"
		echo "  gcc-multilib gcc-12-multilib"
		echo "The following NEW packages will be installed:"
		echo "  $word"
		case " $* " in
		*" --no-remove "*)
			echo "E: Packages need to be removed but remove is disabled." >&2
			exit 100;;
		esac
		echo "$word" >> "$STATE/removed";;
	esac
done
for word; do
	echo "$word" >> "$STATE/installed"
done
END
printf '#!/bin/sh\necho 0\n' > "$bin/id"
chmod +x "$bin/apt-get" "$bin/id"
# deps.sh uses gcc only to look for headers: this one finds them all.
printf '#!/bin/sh\nexec cat >/dev/null\n' > "$bin/gcc"
chmod +x "$bin/gcc"
lend sh cat sed grep tr head mktemp mkdir rm make xz dirname readlink

# deps BLOCKED GOAL...: deps.sh on that machine
deps()
{
	blocked=$1
	shift
	rm -f "$state"/*
	env -i PATH="$bin" STATE="$state" BLOCKED="$blocked" \
		./deps.sh -k "$KSRC" "$work/cache" "$@" > "$log" 2>&1
}

says()
{
	if grep -Eq "$2" "$log"; then
		pass "$1"
	else
		fail "$1" "no line like $2"
	fi
}

installed()
{
	grep -qx "$1" "$state/installed" 2>/dev/null
}

try "nothing in the way" deps none check
try "nothing in the way: a compiler" installed gcc-s390x-linux-gnu

if deps gcc-powerpc64le-linux-gnu check lab; then
	pass "an optional package is in the way"
else
	fail "an optional package is in the way" "exit=$?, not 0"
fi
says "... and named, with what it would remove" \
	'gcc-powerpc64le-linux-gnu: it would remove gcc-multilib gcc-12-multilib'
try "... the others are installed" installed gcc-s390x-linux-gnu
try "... nothing is removed" test ! -e "$state/removed"
grep -v -e ' --no-remove ' "$state/calls" > "$log"
try "... by any call" test ! -s "$log"

rm "$bin/make"
deps make check
status=$?
if [ $status -eq 2 ] && [ "$(grep -c 'cannot install make: it would remove' "$log")" -eq 1 ]; then
	pass "a package that has to be there is in the way"
else
	fail "a package that has to be there is in the way" "exit=$status, not 2 and one line"
fi
try "... nothing is removed, either" test ! -e "$state/removed"
