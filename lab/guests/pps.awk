#!/usr/bin/awk -f
# SPDX-License-Identifier: GPL-2.0
#
# pps.awk -f counters.awk -v kernel=VERSION -v accel=tcg|kvm RESULTS
#
# What lab/guests/pps.sh wrote, as rows of make bench: packets per second with
# mirrored rings, with user access, and the one over the other, round by round.
# A round in which the rings were not reached as they should is an error. What
# emulation takes for them has no target.

{ sub(/\r$/, "") }
$1 == "error" { wrong(substr($0, 7)) }
$1 == "end" { ended = 1 }
$1 == "pps" && NF != 8 { wrong("no round: " $0) }
$1 == "pps" && NF == 8 {
	what = $2 " " $3
	if (!(what in rounds)) {
		rounds[what] = 0
		list[++nr] = what
	}
	if (!$5 || !$6 || !($7 + $8))
		wrong("nothing moved: " $0)
	else if ($4 ? $7 < 0.99 * ($7 + $8) : $7 > 0)
		wrong("not what the mode is to do: " $0)
	else
		rate[what, $4, ++had[what, $4]] = $5 * 1000 / $6
	rounds[what] = had[what, 1]
}

function wrong(how) {
	print "pps: " how >"/dev/stderr"
	failed = 1
}

# The quartile of sorted[1..n], 2 being the median.
function quartile(which, n,    at, low) {
	at = 1 + (n - 1) * which / 4
	low = int(at)
	return sorted[low] + (low < n ? (at - low) * (sorted[low + 1] - sorted[low]) : 0)
}

function insert(value, n,    i) {
	for (i = n; i > 1 && sorted[i - 1] > value; i--)
		sorted[i] = sorted[i - 1]
	sorted[i] = value
}

function row(name, series, unit, n) {
	printf "row\tname=%s\tseries=%s\tunit=%s\t", name, series, unit
	printf "median=%.4g\tlo=%.4g\thi=%.4g\t", quartile(2, n), \
		quartile(1, n), quartile(3, n)
	printf "spread=quartiles\tnote=%s\n", \
		accel == "kvm" ? "KVM" : "emulation (TCG), not hardware"
}

function speed(what, mode, series,    i) {
	for (i = 1; i <= rounds[what]; i++)
		insert(rate[what, mode, i], i)
	row(kernel ", " what, series, "packets/s", rounds[what])
}

function ratio(what,    i) {
	for (i = 1; i <= rounds[what]; i++)
		insert(rate[what, 1, i] / rate[what, 0, i], i)
	row(kernel ", " what ": mirrored over user access", "", "ratio",
	    rounds[what])
}

END {
	if (!ended)
		wrong("the run did not come to its end")
	for (k = 1; k <= nr; k++) {
		if (!had[list[k], 1] || had[list[k], 1] != had[list[k], 0]) {
			wrong("rounds of " list[k] " are missing")
			continue
		}
		speed(list[k], 1, "mirrored")
		speed(list[k], 0, "user access")
		ratio(list[k])
	}
	if (!nr)
		wrong("no rounds")
	exit failed
}
