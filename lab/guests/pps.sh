#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# Sourced by lab/guests/machine.sh for the part pps of `make bench`: clients of
# vhost-net send and receive small packets, with mirrored rings and with user
# access in turn. What they send is dropped by XDP on the tap, what they receive
# comes from pktgen. For each round a line on stdout:
#
#   pps CLIENT sends|receives MODE PACKETS MILLISECONDS MIRRORED FALLBACK
#
# the last two being ring accesses.

# counter TAP NAME...: their sum.
counter() {
	dir=/sys/class/net/$1/statistics
	shift
	sum=0
	for name in "$@"; do
		sum=$((sum + $(cat "$dir/$name")))
	done
	echo "$sum"
}

# What XDP drops counts as dropped, not as received.
from_client() {
	counter "$1" rx_packets rx_dropped
}

to_client() {
	counter "$1" tx_packets
}

accesses() {
	awk '{
		for (i = 1; i <= NF; i++) {
			split($i, pair, "=")
			sum[pair[1]] += pair[2]
		}
	} END { printf "%d %d\n", sum["mirrored"], sum["fallback"] }' "$STATS"
}

# As numbers: packets, milliseconds, accesses mirrored and not.
state() {
	echo "$("$COUNT" "$TAP") $(now_ms) $(accesses)"
}

# It takes a moment for windows to be there again.
one_round() {
	echo "$3" >"$PARAM"
	usleep 300000
	{
		state
		sleep 1
		state
	} | awk -v row="pps $1 $2 $3" '
		{ for (i = 1; i <= NF; i++) value[NR, i] = $i }
		END {
			for (i = 1; i <= 4; i++)
				row = row " " value[2, i] - value[1, i]
			print row
		}'
}

flows() {
	[ "$("$COUNT" "$TAP")" -gt "$1" ]
}

# rounds CLIENT sends|receives TAP: either mode goes first as often.
rounds() {
	TAP=$3
	COUNT=to_client
	[ "$2" = receives ] || COUNT=from_client
	poll 30 flows "$(($("$COUNT" "$TAP") + 1000))" ||
		die "$1 $2 nothing"
	for round in $(seq "$ROUNDS"); do
		modes="1 0"
		[ $((round % 2)) = 1 ] || modes="0 1"
		for mode in $modes; do
			one_round "$1" "$2" "$mode"
		done
		say "$1 $2: round $round of $ROUNDS"
	done
	echo 1 >"$PARAM"
}

drop_from() {
	rm -f /tmp/dropping
	xdpdrop "$1" >/tmp/dropping &
	DROPPER=$!
	poll 10 test -s /tmp/dropping || die "nothing is dropped by XDP"
}

stop_dropping() {
	kill "$DROPPER"
	wait "$DROPPER" || true
}

stop_flooding() {
	kill "$FLOODER"
	wait "$FLOODER" || true
}

testpmd_sends() {
	start_testpmd txonly
	drop_from pmd0
	kill -CONT "$TESTPMD"
	rounds testpmd sends pmd0
	stop_dropping
	stop_testpmd
}

testpmd_receives() {
	start_testpmd rxonly
	kill -CONT "$TESTPMD"
	flood pmd0 &
	FLOODER=$!
	rounds testpmd receives pmd0
	stop_flooding
	stop_testpmd
}

# First what leaves it its network.
guest_does_both() {
	start_guest
	flood vm0 10.9.0.2 52:54:00:00:09:02 &
	FLOODER=$!
	rounds guest receives vm0
	stop_flooding
	fetch 2 cgi-bin/flood
	drop_from vm0
	rounds guest sends vm0
	stop_dropping
	stop_guest
}

pps() {
	echo 1 >"$PARAM"
	testpmd_sends
	testpmd_receives
	guest_does_both
}
