# SPDX-License-Identifier: GPL-2.0
#
# The cases of the mutants on x86-64, with the kernel without a mutant -v n times.

$2 != "mutants-x86_64" { next }
$1 == "none-x86_64" {
	for (i = 1; i <= n; i++) {
		$1 = "none-" i
		print
	}
	next
}
{ print }
