#!/usr/bin/awk -f
# SPDX-License-Identifier: GPL-2.0
#
# soak.awk -f counters.awk -f ../lib/demand.awk -v expected="PHASE..." -v minutes=N -v accel=tcg|kvm RESULTS
#
# What lab/guests/soak.sh had written: a table of what was done in each phase, over
# all rounds, and the demands as KTAP. How much has to have been done is for a
# run of 25 minutes; a shorter one has to do its share. Accesses are counted
# between the phases, too: from the first counts to the last.

BEGIN {
	subject = "soak"
	WANTED_ACCESSES = 1e8 / 25 * minutes
	WANTED_LIVE = 1e5 / 25 * minutes
}

function add_ring(sign,    event, count) {
	mirrored[$1] += sign * value("mirrored")
	fallback[$1] += sign * value("fallback")
	live[$1] += sign * drops_in(count)
	for (event in count)
		drops[$1, event] += sign * count[event]
	if (value("worst_wait_ns") + 0 > worst)
		worst = value("worst_wait_ns") + 0
}

{ sub(/\r$/, "") }
$4 == "ring" && $3 == "before" && !last {
	first += value("mirrored")
	first_shared += value("shared")
}
$4 == "ring" && $3 == "after" {
	if (!in_last)
		last = last_shared = 0
	last += value("mirrored")
	last_shared += value("shared")
}
{ in_last = $4 == "ring" && $3 == "after" }
$1 == "error" { errors[++nr_errors] = substr($0, 7) }
$1 == "end" { ended = 1 }
$1 == "rounds" { rounds = $2 }
$1 == "canary" {
	canary_pages = value("pages")
	stale += value("stale")
	canaried = 1
}
$3 == "windows" {
	operations[$1] += value("flips")
	reads += value("reads")
	misses += value("misses")
	juggled += value("live")
	stale += value("stale")
	if (value("worst_wait_ns") + 0 > worst)
		worst = value("worst_wait_ns") + 0
}
$3 == "before" || $3 == "after" {
	sign = $3 == "after" ? 1 : -1
	if (sign > 0 && $4 == "splats")
		seen[$1]++
	if ($4 == "ring")
		add_ring(sign)
	else if ($4 == "splats")
		splats += sign * $5
}
$3 == "disturber" {
	if ($4 == "ringflip")
		packets[$1] += value("to") + value("from")
	operations[$1] += value("done") + value("flips")
}

END {
	n = split(expected, phases)
	print "KTAP version 1"
	printf "# %d minutes, %d rounds, under %s\n#\n", minutes, rounds, accel
	printf "# %-14s %6s %10s %12s %10s %10s  %s\n", "phase", "times",
		"operations", "mirrored", "fallback", "live lost", "by event"
	for (i = 1; i <= n; i++) {
		name = phases[i]
		by = ""
		for (e = 1; e <= nr_events; e++) {
			if (drops[name, events[e]])
				by = by " " events[e] ":" drops[name, events[e]]
		}
		printf "# %-14s %6d %10d %12d %10d %10d %s\n", name, seen[name],
			operations[name], mirrored[name], fallback[name],
			live[name], by
		verified += packets[name]
		lost += live[name]
	}
	accesses = last - first
	printf "#\n# on vhost: %d accesses in %d sections, %d live pages lost, %d bytes verified\n",
		accesses, accesses - (last_shared - first_shared), lost,
		verified
	printf "# on the test device: %d sections, %d found nothing, %d live pages lost\n",
		reads, misses, juggled
	printf "# canary: %d pages looked at; stale accesses: %d; worst wait: %.1f ms\n",
		canary_pages, stale, worst / 1e6
	for (i = 1; i <= n; i++)
		demand(seen[phases[i]] > 0 && operations[phases[i]] > 0,
		       phases[i] ": took place")
	demand(accesses >= WANTED_ACCESSES,
	       sprintf("%d accesses through vhost's windows, wanted %d",
		       accesses, WANTED_ACCESSES))
	demand(lost >= WANTED_LIVE,
	       sprintf("%d invalidations found a live ring page, wanted %d",
		       lost, WANTED_LIVE))
	demand(reads > 0 && juggled > 0,
	       "windows of the test device were read and lost pages")
	demand(verified > 0, "packets were verified")
	demand(canaried && canary_pages > 0 && stale == 0,
	       "no access to a page that was gone")
	demand(splats == 0, "the kernel did not complain")
	for (i = 1; i <= nr_errors; i++)
		demand(0, errors[i])
	demand(ended, "the run came to its end")
	exit end_demands()
}
