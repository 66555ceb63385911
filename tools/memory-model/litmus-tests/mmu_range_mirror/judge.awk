#!/usr/bin/awk -f
# SPDX-License-Identifier: GPL-2.0
#
# judge.awk failed errors results TEST.litmus...
#
# Compares what herd7 said (results, errors) with the "Result:" of each test,
# and prints KTAP. In "failed" are the tests that could not be made.

function report(good, name, why) {
	n++
	if (!good)
		bad = 1
	print (good ? "ok " : "not ok ") n " " name (why ? " # " why : "")
}

BEGIN {
	print "KTAP version 1"
}

FILENAME == "failed" {
	split($0, part, "\t")
	broken[part[1]] = part[2]
	next
}

FILENAME == "errors" {
	if (match($0, /"[^"]*\.litmus"/))
		error[substr($0, RSTART + 1, RLENGTH - 9)] = $0
	next
}

FILENAME == "results" {
	if ($1 == "Test")
		race = ""
	else if (/^Flag data-race$/)
		race = " DATARACE"
	else if ($1 == "Observation") {
		said[$2] = $3 race
		count[$2] = $4 + $5
	}
	next
}

FNR == 1 {
	test = $2
	order[++total] = test
}

/^ \* Result: / && !(test in wanted) {
	sub(/^ \* Result: /, "")
	wanted[test] = $0
}

END {
	for (name in broken)
		order[++total] = name
	print "1.." total
	for (i = 1; i <= total; i++) {
		name = order[i]
		if (name in broken)
			report(0, name, broken[name])
		else if (!(name in said))
			report(0, name, error[name] ? error[name] : "no result")
		else if (!count[name])
			report(0, name, "no execution")
		else if (said[name] != wanted[name])
			report(0, name, said[name] ", expected " wanted[name])
		else
			report(1, name, "")
	}
	exit bad
}
