#!/usr/bin/awk -f
# SPDX-License-Identifier: GPL-2.0
#
# matrix.awk -f counters.awk -f ../lib/demand.awk -v expected="CASE..."
#            -v accel=tcg|kvm MATRIX.TSV RESULTS
#
# What lab/guests/matrix.sh wrote, as a table of the cases, and what
# lab/guests/matrix.tsv demands of them as KTAP.

BEGIN {
	subject = "matrix"
	n = split(expected " unloaded", cases)
	for (i = 1; i <= n; i++)
		chosen[cases[i]] = 1
	print "KTAP version 1"
}

# A part's counters: what there was before counts against it.
function ring(sign,    count) {
	got[$1, value("part")] += sign * value("mirrored")
	mirrored[$1] += sign * value("mirrored")
	fallback[$1] += sign * value("fallback")
	live[$1] += sign * drops_in(count)
	if (value("worst_wait_ns") > worst[$1] + 0)
		worst[$1] = value("worst_wait_ns")
}

FNR == 1 { file++ }
file == 1 {
	if (/^#/ || !chosen[$1])
		next
	split($0, field, "\t")
	nr_rows++
	row_case[nr_rows] = field[1]
	row_measure[nr_rows] = field[2]
	row_minimum[nr_rows] = field[3]
	row_what[nr_rows] = field[4]
	rows_of[field[1]]++
	next
}

{ sub(/\r$/, "") }
$1 == "error" { errors[++nr_errors] = substr($0, 7) }
$1 == "end" { ended = 1 }
$1 == "guest" {
	guests++
	unwell += $NF != "0"
}
$3 == "before" || $3 == "after" {
	sign = $3 == "after" ? 1 : -1
	if ($4 == "ring")
		ring(sign)
	else if ($4 == "vm")
		got[$1, "vm_" $5] += sign * $6
	else if ($4 == "splats") {
		splats[$1] += sign * $5
		over[$1] += sign > 0
	}
}
$3 == "measure" { got[$1, $4] = $5 }
$3 == "bytes" { got[$1, $4 "_" $5] += $6 / 1048576 }
$3 == "corrupt" { errors[++nr_errors] = "checksum: " $0 }

END {
	printf "# under %s%s\n#\n", accel,
		accel == "tcg" ? ": rates of emulation, not of hardware" : ""
	printf "# %-10s %10s %10s %12s %16s\n", "case", "mirrored", "fallback",
		"live lost", "worst wait, ms"
	for (i = 1; i <= n; i++) {
		if (cases[i] in mirrored)
			printf "# %-10s %10d %10d %12d %16.1f\n", cases[i],
				mirrored[cases[i]], fallback[cases[i]],
				live[cases[i]], worst[cases[i]] / 1e6
	}
	print "#"
	for (i = 1; i <= n; i++) {
		demand(over[cases[i]] && rows_of[cases[i]],
		       cases[i] ": took place")
		demand(over[cases[i]] && splats[cases[i]] == 0,
		       cases[i] ": the kernel did not complain")
	}
	for (i = 1; i <= nr_rows; i++) {
		have = got[row_case[i], row_measure[i]] + 0
		demand(have >= row_minimum[i],
		       sprintf("%s: %s: %d, wanted %d (%s)", row_case[i],
			       row_measure[i], have, row_minimum[i],
			       row_what[i]))
	}
	for (i = 1; i <= nr_errors; i++)
		demand(0, errors[i])
	demand(guests && !unwell, "the guests that were left ended well")
	demand(ended, "the run came to its end")
	exit end_demands()
}
