# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh
# shellcheck disable=SC2034 # for whoever reads this
#
# $programs: what run_tests.sh runs.

programs=$(sed -n "s/^all_programs='\(.*\)'\$/\1/p" run_tests.sh)
