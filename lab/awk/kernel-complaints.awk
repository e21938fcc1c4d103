# SPDX-License-Identifier: GPL-2.0
#
# Lines of a kernel log that fail a run, without their time stamp, 20 at most. The first
# file is lib/base/thp_complaints.h, which lists them; the second is the log.

NR == FNR {
	if (/^COMPLAINT\(/) {
		sub(/^[^"]*"/, "")
		sub(/"[^"]*$/, "")
		text[++patterns] = $0
	}
	next
}

!sub(/^\[ *[0-9]+\.[0-9]+\](\[ *[TC][0-9]+\])? /, "") { next }

{
	for (i = 1; i <= patterns; i++) {
		at = index($0, substr(text[i], 1, 1) == "^" ? substr(text[i], 2) : text[i])
		if (at && (at == 1 || substr(text[i], 1, 1) != "^")) {
			if (n++ < 20)
				print
			next
		}
	}
}
