# SPDX-License-Identifier: GPL-2.0
#
# After cost-read.awk, of several runs of the same kernel: by how much the same figure differs
# between them. Fails if one does by more than -v most, a fraction, or is not in every run.
# -v name: the kernel.

function spread_of(id,	k, low, high) {
	for (k = 1; k <= n; k++) {
		if (!((k, id) in cost))
			return -1
		if (k == 1 || cost[k, id] < low)
			low = cost[k, id]
		if (k == 1 || cost[k, id] > high)
			high = cost[k, id]
	}
	return low > 0 ? high / low - 1 : high > low
}
END {
	for (i = 1; i <= rows; i++) {
		id = order[i]
		some = 0
		for (k = 1; k <= n; k++)
			some += (k, id) in cost
		if (!some)
			continue
		figures++
		spread = spread_of(id)
		if (spread < 0) {
			print name ": " part(id, "label") ": in " some " of " n " runs only"
			bad = 1
			continue
		}
		differ += spread > 0
		if (spread > worst) {
			worst = spread
			at = part(id, "label")
		}
		if (spread > most) {
			printf "%s: %s: differs by %.2f%%\n", name, part(id, "label"), spread * 100
			bad = 1
		}
	}
	if (!figures) {
		print name ": no figures"
		exit 1
	}
	printf "%s: %d runs, %d figures: %d differ, by %.2f%% at most%s\n", name, n, figures,
		differ, worst * 100, (at != "" ? " (" at ")" : "")
	exit bad
}
