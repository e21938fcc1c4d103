# SPDX-License-Identifier: GPL-2.0
#
# One campaign (-v round) in a line, from its results.

{ n[$2]++; secs += $3 }
END {
	printf "\nCampaign %d: %d killed, %d survived, %d other;" \
		" %d min of guests.\n", round, n["killed"],
		n["survived"], NR - n["killed"] - n["survived"],
		secs / 60
}
