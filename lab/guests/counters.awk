# SPDX-License-Identifier: GPL-2.0
#
# Given with -f to report.awk, soak.awk and matrix.awk: what a line of vhost's
# counters says, which machine.sh took from debugfs.

# value(NAME): of NAME=VALUE, or 0.
function value(name,    i) {
	for (i = 1; i <= NF; i++) {
		if (index($i, name "=") == 1)
			return substr($i, length(name) + 2)
	}
	return 0
}

# drops_in(COUNT [, NAME]): how many live pages were lost, and to which event in
# COUNT; NAME=... has them, or else drops=... . All events that there are go to the
# list of nr_events.
function drops_in(count, name,    i, n, event, pair, sum) {
	n = split(value(name ? name : "drops"), event, ",")
	for (i = 1; i <= n; i++) {
		split(event[i], pair, ":")
		count[pair[1]] = pair[2]
		sum += pair[2]
		if (!(pair[1] in known)) {
			known[pair[1]] = 1
			events[++nr_events] = pair[1]
		}
	}
	return sum + 0
}
