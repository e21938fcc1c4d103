# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh
# The Python for what is not shell, for convert.sh and the checks.

# python_with MODULE: sets $python to one that has it; the one that PATH has first may hide
# that of the distribution.
python_with()
{
	for python in python3 /usr/bin/python3; do
		"$python" -c "import $1" 2>/dev/null && return
	done
	return 1
}
