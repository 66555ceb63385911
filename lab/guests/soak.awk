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
	WANTED_CACHED = 1e6 / 25 * minutes
	WANTED_CACHE_LIVE = 1e4 / 25 * minutes
}

# Of a line of counters: of a ring part, of a kind of guest memory, or of a cache.
function add_ring(sign,    event, count, of_cache) {
	if ($0 ~ / cache /)
		cache_lost += sign * drops_in(of_cache, "cache_drops")
	if (value("part") ~ /^(indirect|header|payload)$/)
		cached += sign * value("mirrored")
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
	stale = value("stale")
	canaried = 1
}
$3 == "windows" || $3 == "caches" {
	operations[$1] += value("flips")
	reads[$3] += value("reads")
	writes[$3] += value("writes")
	misses[$3] += value("misses")
	juggled[$3] += value("live")
	stale_in[$3] += value("stale")
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

function print_juggled(name) {
	printf "# %s of the test device: %d reads, %d writes, %d found nothing, %d live pages lost, %d stale accesses\n",
		name, reads[name], writes[name], misses[name], juggled[name],
		stale_in[name]
}

function demand_juggled(name) {
	demand(reads[name] > 0 && writes[name] > 0 && juggled[name] > 0,
	       name " of the test device were read and written, and lost pages")
	demand(name in stale_in && stale_in[name] == 0,
	       "no access through " name " to a page that was gone")
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
	printf "# of these, through caches: %d accesses; their live pages lost: %d\n",
		cached, cache_lost
	print_juggled("windows")
	print_juggled("caches")
	printf "# canary: %d pages looked at; stale words: %d; worst wait: %.1f ms\n",
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
	demand(cached >= WANTED_CACHED,
	       sprintf("%d accesses through vhost's caches, wanted %d",
		       cached, WANTED_CACHED))
	demand(cache_lost >= WANTED_CACHE_LIVE,
	       sprintf("%d invalidations found a live page of a cache, wanted %d",
		       cache_lost, WANTED_CACHE_LIVE))
	demand_juggled("windows")
	demand_juggled("caches")
	demand(verified > 0, "packets were verified")
	demand(canaried && canary_pages > 0 && stale == 0,
	       "no write to a page that was gone")
	demand(splats == 0, "the kernel did not complain")
	for (i = 1; i <= nr_errors; i++)
		demand(0, errors[i])
	demand(ended, "the run came to its end")
	exit end_demands()
}
