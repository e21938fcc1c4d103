# SPDX-License-Identifier: GPL-2.0
#
# Lines of the kernel log that fail a run, without their time stamp, 20 at most. Reports
# of injected failures and of the OOM killer are what some tests ask for.

!sub(/^\[ *[0-9]+\.[0-9]+\](\[ *[TC][0-9]+\])? /, "") { next }
/^WARNING: / || /BUG: / || /^kernel BUG at / || /^Oops[: ]/ ||
/^general protection fault/ || /^Unable to handle kernel/ ||
/^Kernel panic/ || /^UBSAN: / || /non-zero pgtables_bytes/ ||
/^INFO: task .* blocked for more than/ ||
/^INFO: (possible|trying to register|suspicious)/ ||
/rcu: INFO: .*(stall|detected)/ || /^rcu: .* kthread starved/ ||
(/page_table_check/ && !/ommand line: /) || /^Bad page (state|map)/ {
	if (n++ < 20)
		print
}
