# SPDX-License-Identifier: GPL-2.0
#
# The results of starving, from a KTAP: lines of test, injector, whether it needs a
# table, refused allocations, outcome, separated by tabs. Of a test that tried again,
# only the last result counts.

function flush(	i) {
	for (i = 1; i <= n; i++)
		print line[i]
	n = 0
}
/^# #  RUN / {
	flush()
	test = $4
	next
}
sub(/^# # refusal: /, "") {
	gsub(/ \| /, "\t")
	key = $0
	sub(/ tables .*/, " tables", key)
	if (key !~ / of .* tables$/)
		n = 0
	line[++n] = test "\t" $0
}
END { flush() }
