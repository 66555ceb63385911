#!/usr/bin/awk -f
# SPDX-License-Identifier: GPL-2.0
#
# lab/tiers/mutants.awk mutants.tsv TABLE
#
# The table of invariants in Documentation, from the lines "#: INVARIANT text" of
# the one and the outcomes of a run (invariant, mutant, killers) in the other.

BEGIN {
	FS = "\t"
	print ".. SPDX-License-Identifier: GPL-2.0\n"
	print "======================================"
	print "Invariants, and what shows them broken"
	print "======================================\n"
	print "Each invariant is broken by small changes of the source, one at a time, and the"
	print "test beside the change fails. The order of memory accesses is broken by the"
	print "suite in ``tools/memory-model`` itself.\n"
	print ".. list-table::"
	print "   :header-rows: 1"
	print "   :widths: 30 30 40\n"
	row("Invariant", "Broken by", "Found by")
}

function row(a, b, c) {
	print "   * -" (a == "" ? "" : " " a)
	print "     - " b
	print "     - " c
}

FNR == NR {
	if (sub(/^#: */, "", $1)) {
		order[++n] = $1
		text[$1] = $2
	}
	next
}

{
	count[$1]++
	mutant[$1, count[$1]] = $2
	killer[$1, count[$1]] = $3
}

END {
	for (i = 1; i <= n; i++) {
		what = order[i]
		for (j = 1; j <= count[what]; j++)
			row(j == 1 ? "**" what "** " text[what] : "", \
			    mutant[what, j], "``" killer[what, j] "``")
	}
}
