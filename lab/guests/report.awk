#!/usr/bin/awk -f
# SPDX-License-Identifier: GPL-2.0
#
# report.awk -f counters.awk -f ../lib/demand.awk -v expected="PHASE..."
#            -v wanted=MIB -v accel=tcg|kvm [-v plain=1] RESULTS
#
# What lab/guests/machine.sh wrote, as one table for each phase with mirrored
# rings and uaccess side by side, and the verdict: the demands as KTAP, or, with
# plain=1, those that were not met. The exit status is 1 if there was one. There is no rate in the
# tables: the two columns are of different minutes, and of as much work as it took
# to disturb the rings often enough. lab/bench.sh pps compares rates.

BEGIN {
	title["undisturbed"] = "Undisturbed"
	title["pageout"] = "PAGEOUT to zram swap"
	title["thp"] = "THP collapse and split"
	title["migrate"] = "Migration between two NUMA nodes"
	title["flip"] = "Rings unmapped and mapped, moved, forked"
	# The kernel's counters that prove the disturbance.
	proof["pageout"] = "pswpout pswpin"
	proof["thp"] = "thp_collapse_alloc thp_split_page"
	proof["migrate"] = "pgmigrate_success"
	RINGS = "desc avail used"
	nr_parts = split(RINGS, parts)
	# Small pieces of guest memory, which the cache maps as they are used.
	nr_kinds = split("indirect header payload", kinds)
	ALL_SMALL = RINGS " indirect header payload"
	MIN_LIVE = 100
	MIN_SHARE = 99
	# Of all of these, and of the indirect descriptors alone.
	MIN_SMALL = 95
	MIN_INDIRECT = 99
}

# The counters of a ring part: what there was before counts against it.
function ring(sign,    key, part, event, count) {
	part = value("part")
	key = $1 SUBSEP $2 SUBSEP part
	mirrored[key] += sign * value("mirrored")
	fallback[key] += sign * value("fallback")
	live[$1, $2] += sign * drops_in(count)
	for (event in count)
		drops[$1, $2, event] += sign * count[event]
	if (sign > 0 && value("worst_wait_ns") + 0 > worst[$1, $2])
		worst[$1, $2] = value("worst_wait_ns") + 0
}

{ sub(/\r$/, "") }
$1 == "error" { errors[++nr_errors] = substr($0, 7) }
$1 == "end" { ended = 1 }
$1 == "guest" { guest_status = $NF }
$3 == "before" || $3 == "after" {
	sign = $3 == "after" ? 1 : -1
	if (sign > 0 && $2 == 0)
		over[$1] = 1
	if ($4 == "ring")
		ring(sign)
	else if ($4 == "vm")
		vm[$1, $2, $5] += sign * $6
	else if ($4 == "splats")
		splats[$1, $2] += sign * $5
}
$3 == "bytes" {
	bytes[$1, $2, $5] += $6
	total[$4, $5] += $6
}
$3 == "corrupt" { errors[++nr_errors] = "checksum: " $0 }
$3 == "live" {
	by_client[$1, $2, $4] = $5
	clients[$4] = 1
}

function print_row(name, left, right) {
	printf "%s  %-38s %18s %18s\n", plain ? "" : "#", name, left, right
}

function accesses(phase, mode, part) {
	return sprintf("%.0f / %.0f", mirrored[phase, mode, part],
		       fallback[phase, mode, part])
}

function both_ways(phase, mode) {
	return sprintf("%.1f / %.1f", bytes[phase, mode, "to"] / 1048576,
		       bytes[phase, mode, "from"] / 1048576)
}

function table(phase,    i, n, list, event, client) {
	printf "%s\n", plain ? "" : "#"
	printf "%s%-40s %18s %18s\n", plain ? "" : "# ", title[phase],
		"ring_mirror=1", "ring_mirror=0"
	for (i = 1; i <= nr_parts; i++)
		print_row(parts[i] ": mirrored / fallen back",
			  accesses(phase, 1, parts[i]),
			  accesses(phase, 0, parts[i]))
	for (i = 1; i <= nr_kinds; i++)
		print_row(kinds[i] ": mirrored / fallen back",
			  accesses(phase, 1, kinds[i]),
			  accesses(phase, 0, kinds[i]))
	print_row("% of all of these mirrored",
		  sprintf("%.2f", share(phase, ALL_SMALL)), "-")
	print_row("invalidations of live pages", live[phase, 1] + 0,
		  live[phase, 0] + 0)
	for (client in clients) {
		if ((phase, 1, client) in by_client)
			print_row("    found by " client,
				  by_client[phase, 1, client],
				  by_client[phase, 0, client])
	}
	for (i = 1; i <= nr_events; i++) {
		event = events[i]
		if (drops[phase, 1, event] + drops[phase, 0, event])
			print_row("    " event, drops[phase, 1, event],
				  drops[phase, 0, event])
	}
	print_row("worst wait so far, us",
		  sprintf("%.0f", worst[phase, 1] / 1000), "-")
	n = split(proof[phase], list)
	for (i = 1; i <= n; i++)
		print_row("kernel: " list[i], vm[phase, 1, list[i]],
			  vm[phase, 0, list[i]])
	print_row("verified MiB, to / from the client", both_ways(phase, 1),
		  both_ways(phase, 0))
	print_row("splats", splats[phase, 1] + 0, splats[phase, 0] + 0)
}

function percent(m, f) {
	return m + f ? 100 * m / (m + f) : 0
}

# Of the accesses of these parts, and kinds, how many went through windows.
function share(phase, names,    i, n, list, m, f) {
	n = split(names, list)
	for (i = 1; i <= n; i++) {
		m += mirrored[phase, 1, list[i]]
		f += fallback[phase, 1, list[i]]
	}
	return percent(m, f)
}

function demand_memory(phase,    i, tables) {
	for (i = 1; i <= nr_kinds; i++)
		demand(mirrored[phase, 0, kinds[i]] == 0,
		       phase ": " kinds[i] " was not mirrored with ring_mirror=0")
	if (phase != "undisturbed")
		return
	tables = share(phase, "indirect")
	demand(tables >= MIN_INDIRECT,
	       sprintf("%s: %.2f %% of the indirect descriptors mirrored, wanted %d %%",
		       phase, tables, MIN_INDIRECT))
	demand(share(phase, ALL_SMALL) >= MIN_SMALL,
	       sprintf("%s: %.2f %% of the small accesses mirrored, wanted %d %%",
		       phase, share(phase, ALL_SMALL), MIN_SMALL))
}

function demand_phase(phase,    i, n, list, mode, client) {
	demand(over[phase], phase ": took place")
	if (!over[phase])
		return
	for (mode = 1; mode >= 0; mode--) {
		demand(bytes[phase, mode, "to"] > 0 &&
		       bytes[phase, mode, "from"] > 0,
		       phase ", ring_mirror=" mode ": data moved both ways")
		demand(splats[phase, mode] + 0 == 0,
		       phase ", ring_mirror=" mode ": the kernel did not complain")
		n = split(proof[phase], list)
		for (i = 1; i <= n; i++)
			demand(vm[phase, mode, list[i]] > 0,
			       phase ", ring_mirror=" mode ": " list[i] " moved")
	}
	for (i = 1; i <= nr_parts; i++) {
		demand(mirrored[phase, 1, parts[i]] > 0,
		       phase ": " parts[i] " was reached through windows")
		demand(mirrored[phase, 0, parts[i]] == 0 &&
		       fallback[phase, 0, parts[i]] > 0,
		       phase ": " parts[i] " was not with ring_mirror=0")
	}
	demand_memory(phase)
	if (phase == "undisturbed")
		demand(share(phase, RINGS) >= MIN_SHARE,
		       sprintf("%s: %.2f %% of the accesses mirrored, wanted %d %%",
			       phase, share(phase, RINGS), MIN_SHARE))
	else
		demand(live[phase, 1] >= MIN_LIVE,
		       sprintf("%s: %d invalidations found a live ring page, wanted %d",
			       phase, live[phase, 1], MIN_LIVE))
	for (client in clients) {
		if (phase != "undisturbed" && (phase, 1, client) in by_client)
			demand(by_client[phase, 1, client] >= MIN_LIVE,
			       phase ": as many of " client " alone")
	}
	if (phase == "flip") {
		demand(drops[phase, 1, "unmap"] > 0, phase ": unmapped")
		demand(drops[phase, 1, "protection_page"] > 0, phase ": forked")
	}
}

END {
	n = split(expected, phases)
	if (!plain)
		print "KTAP version 1"
	for (i = 1; i <= n; i++) {
		if (over[phases[i]])
			table(phases[i])
	}
	if (plain)
		print ""
	for (i = 1; i <= n; i++)
		demand_phase(phases[i])
	demand(total["guest", "to"] >= wanted * 1048576 &&
	       total["guest", "from"] >= wanted * 1048576,
	       sprintf("the guest got %d MiB and sent %d MiB, wanted %d each",
		       total["guest", "to"] / 1048576,
		       total["guest", "from"] / 1048576, wanted))
	for (i = 1; i <= nr_errors; i++)
		demand(0, errors[i])
	demand(guest_status == "0", "the guest ended well")
	demand(ended, "the run came to its end")
	exit end_demands()
}
