#!/usr/bin/awk -f
# SPDX-License-Identifier: GPL-2.0
#
# compare.awk -f ../lib/demand.awk -v wanted="CATEGORY:PROGRAMS[:RESULTS]..." -v run="CATEGORY..."
#	-v machines=NUMBER RESULTS
#
# What lab/mm/machine.sh wrote in so many machines, as KTAP: each program of the
# kernel's tests, and each result within it, has to be the same with mirrors as
# without, and in each category so many programs, and results, have to pass.

function remember(mode, what, verdict) {
	if (!((what) in seen)) {
		seen[what] = 1
		order[++n] = what
	}
	result[mode, what] = result[mode, what] verdict " "
}

{ sub(/\r$/, "") }
$1 == "end" { ended++ }
$1 != "PLAIN" && $1 != "MIRRORED" {
	if ($2 == "PROCESS") {
		if ($3 == "mirrored")
			mirrored += $1
		else
			not_mirrored[++nr_not] = $0
	}
	next
}
{
	mode = $1
	category = $2
	line = substr($0, length(mode) + length(category) + 3)
}
# Its last word: without, it was stopped.
line ~ /^# SUMMARY: / { finished[mode, category] = 1 }
line ~ /^# running / {
	program = line
	sub(/^# running (bash )?(\.\/)?/, "", program)
}
# The program's own results, of which a number is no part.
line ~ /^# (# )?(not )?ok [0-9]+/ {
	verdict = line ~ /^# (# )?not ok/ ? "FAIL" : \
		  line ~ /# SKIP/ ? "SKIP" : "PASS"
	sub(/^# (# )?(not )?ok [0-9]+ */, "", line)
	sub(/ *# SKIP.*/, "", line)
	# Addresses, how long it took, and what pagemap_ioctl counts.
	gsub(/0x[0-9a-f]+|[0-9.]+ ?(ms|ns|us|s|MB\/s)/, "", line)
	sub(/Extra pages [0-9]+ \([0-9.]+%\), extra thread faults [0-9]+/,
	    "", line)
	remember(mode, category ": " program ": " line, verdict)
	inner[mode]++
	if (mode == "PLAIN" && verdict == "PASS")
		passed_within[category]++
	next
}
line ~ /^(not )?ok [0-9]+/ {
	verdict = line ~ /^not ok/ ? "FAIL" : line ~ /# SKIP/ ? "SKIP" : "PASS"
	sub(/^(not )?ok [0-9]+ */, "", line)
	sub(/ *# (SKIP|exit=).*/, "", line)
	remember(mode, category ": " line, verdict)
	whole[category ": " line] = 1
	if (mode == "PLAIN" && verdict == "PASS")
		passed[category]++
}

END {
	subject = "mm"
	print "KTAP version 1"
	for (i = 1; i <= n; i++) {
		what = order[i]
		without = result["PLAIN", what]
		with = result["MIRRORED", what]
		if (what in whole)
			demand(without == with, what ": " \
			       (without == with ? without : "without mirrors " \
				without ", with " with))
		else if (without != with)
			demand(0, what ": without mirrors " without ", with " with)
	}
	printf "# %d results within programs without mirrors, %d with\n",
		inner["PLAIN"], inner["MIRRORED"]
	m = split(wanted, list)
	for (i = 1; i <= m; i++) {
		delete pair
		split(list[i], pair, ":")
		if (!index(" " run " ", " " pair[1] " "))
			continue
		demand(finished["PLAIN", pair[1]] &&
		       finished["MIRRORED", pair[1]],
		       pair[1] ": came to its end, with mirrors and without")
		demand(passed[pair[1]] + 0 >= pair[2],
		       sprintf("%s: %d programs pass, wanted %d", pair[1],
			       passed[pair[1]], pair[2]))
		if (pair[3])
			demand(passed_within[pair[1]] + 0 >= pair[3],
			       sprintf("%s: %d results pass, wanted %d",
				       pair[1], passed_within[pair[1]],
				       pair[3]))
	}
	printf "# %d processes were mirrored\n", mirrored
	for (i = 1; i <= nr_not; i++)
		print "# not mirrored: " not_mirrored[i]
	demand(mirrored > 0, "processes were mirrored")
	demand(ended == machines, "the run came to its end")
	exit end_demands()
}
