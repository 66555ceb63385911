#!/usr/bin/awk -f
# SPDX-License-Identifier: GPL-2.0
#
# invalidator.awk KTAP-OF-LITMUS CONSOLE
#
# The lines of mm/tests/mmu_range_mirror_bench.c as rows of make bench, with the
# memory model's verdict beside each scheme. Times arrive in ns, leave in us.


function low(name, series,    block, n, v) {
	n = blocks[name, series]
	v = at[name, series, 1]
	for (block = 2; block <= n; block++)
		if (at[name, series, block] < v)
			v = at[name, series, block]
	return v
}

function high(name, series,    block, n, v) {
	n = blocks[name, series]
	for (block = 1; block <= n; block++)
		if (at[name, series, block] > v)
			v = at[name, series, block]
	return v
}

# What the model says: of the guard, in all tests that are derived from it.
function verdict(name,    test) {
	if (name == "guard")
		return bad["guard"] || !good["guard"] ? "LKMM: fails" : \
			"LKMM: Never, in " good["guard"] " tests"
	if (name ~ /_idle$|hazard/)
		return name ~ /hazard/ ? "emulation" : "nobody reads"
	test = name ~ /srcu/ ? "peer-srcu" : name ~ /rcu/ ? "peer-rcu" : "peer-lock"
	return "LKMM: " (good[test] ? "Never" : "fails")
}

function row(name, series, unit, median, lo, hi, note) {
	printf "row\tname=%s\tseries=%s\tunit=%s\t", name, series, unit
	printf "median=%.3f\tlo=%.3f\thi=%.3f\t", median, lo, hi
	printf "spread=lowest and highest of %d blocks of rounds\t", \
		blocks["guard", "p50"]
	# A logarithmic axis has no place for nothing.
	printf "drawn=%s\tnote=%s\n", name ~ /idle|busy/ ? "no" : "", note
}

# A quotient of two figures, its spread over the blocks.
function ratio(name, a, sa, b, sb,    n, block, q, lo, hi) {
	n = blocks[a, sa]
	for (block = 1; block <= n; block++) {
		q = at[a, sa, block] / at[b, sb, block]
		if (block == 1 || q < lo)
			lo = q
		if (q > hi)
			hi = q
	}
	row(name, "", "ratio", all[a, sa] / all[b, sb], lo, hi, "")
}

FILENAME ~ /litmus$/ {
	test = $NF
	if ($1 == "ok")
		test = $3
	else if ($1 == "not")
		test = $4
	else
		next
	# Device TLBs are not compared here, and controls are not the guard's.
	if (test ~ /^(control|history|deferred)/)
		next
	kind = test ~ /^peer-/ ? test : "guard"
	if ($1 == "ok")
		good[kind]++
	else
		bad[kind]++
	next
}

match($0, /mmu_range_mirror_bench: (block|all) /) {
	split(substr($0, RSTART), field, " ")
	name = field[3]
	if (!(name in known)) {
		known[name] = 1
		order[++names] = name
	}
	for (i = 4; i in field; i++) {
		split(field[i], pair, "=")
		if (pair[1] == "n")
			count[name] = pair[2]
		else if (field[2] == "all")
			all[name, pair[1]] = pair[2] / 1000
		else
			at[name, pair[1], ++blocks[name, pair[1]]] = pair[2] / 1000
	}
}

match($0, /mmu_range_mirror_bench: interrupting /) {
	split(substr($0, RSTART), field, " ")
	for (i = 3; i in field; i++) {
		split(field[i], pair, "=")
		interrupting[pair[1]] = pair[2]
	}
}

END {
	split("p50 p99 max", series, " ")
	for (i = 1; i <= names; i++) {
		name = order[i]
		for (j = 1; j <= 3; j++)
			row(name, series[j], "us", all[name, series[j]], \
			    low(name, series[j]), high(name, series[j]), \
			    j == 1 ? verdict(name) : j == 2 ? "of " count[name] : "")
	}
	if (!names)
		exit
	row("guard: interrupts, reader busy", "", "number", interrupting["busy"], \
	    interrupting["busy"], interrupting["busy"], \
	    "in " interrupting["of"] " waits; hazard pointers: none")
	row("guard: interrupts, reader idle", "", "number", interrupting["idle"], \
	    interrupting["idle"], interrupting["idle"], \
	    "hazard pointers: none")
	ratio("synchronize_rcu / guard, p50", "synchronize_rcu", "p50", \
	      "guard", "p50")
	ratio("guard, p99 / p50", "guard", "p99", "guard", "p50")
	for (j = 1; j <= 3; j++)
		ratio("guard / expedited, " series[j], "guard", series[j], \
		      "synchronize_rcu_expedited", series[j])
}
