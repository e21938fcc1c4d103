#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# convert.sh FORMAT [FILE]: what run_tests.sh printed, in FILE or on stdin, in another
# format, on stdout. Exit code: 0 or, with one line on stderr, 2.

here=$(cd "$(dirname "$0")" && pwd) || exit 2

# shellcheck source=report/python.sh
. "$here/python.sh"

usage()
{
	cat <<END
usage: ${0##*/} tap|ktap|json|junit [FILE]
  tap    as it is: TAP whose tests are indented by "# ", as kselftest does
  ktap   KTAP that nests by indentation, as kunit.py parse reads it
  json   JSON as of kunit.py parse --json, with the reasons (needs python3)
  junit  JUnit XML (needs python3 and python3-junit.xml)
FILE, or stdin, is what run_tests.sh printed.
END
}

bad()
{
	echo "${0##*/}: $*" >&2
	exit 2
}

# Says what is missing before anything has run.
if [ "$1" = --can ]; then
	case $2 in
	tap | ktap)	;;
	json)	python_with json || bad "json needs python3";;
	junit)	python_with junit_xml ||
			bad "junit needs python3 and its module junit_xml (python3-junit.xml)";;
	*)	bad "unknown format '$2': tap, ktap, json or junit";;
	esac
	exit 0
fi

case $1 in
-h | --help)
	usage
	exit 0;;
esac
[ $# -eq 1 ] || [ $# -eq 2 ] || bad "one format, and one file at most (-h for help)"
"$0" --can "$1" || exit
[ $# -eq 1 ] || [ -r "$2" ] || bad "cannot read $2"
[ $# -eq 1 ] || exec < "$2"

cases()
{
	awk -f "$here/nest.awk" | awk -f "$here/cases.awk"
}

case $1 in
tap)	cat;;
ktap)	awk -f "$here/nest.awk";;
json)	python_with json && cases | "$python" "$here/write.py" json;;
junit)	python_with junit_xml && cases | "$python" "$here/write.py" junit;;
esac || bad "cannot write $1"
