#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# Sourced by lab/guests/machine.sh for `make check-matrix`: guests with vhost-net
# and vhost-vsock on one bridge, disturbed, paused, migrated to another QEMU and
# killed while checksummed data moves. All rings are mirrored. What it measures
# goes to stdout, beside what the kernel counts, in lines of
# "CASE 1 measure NAME VALUE"; what is demanded of it is in lab/guests/matrix.tsv.
#
# "first" has number 2 and is migrated to "third", which has its number then;
# "second" has number 3.

BRIDGE=br0
MODE=1
MOST=40		# rounds of a transfer in which enough live pages must be lost

measure() {
	echo "$PHASE $MODE measure $1 $2"
}

yes_no() {
	if "$@"; then
		echo 1
	else
		echo 0
	fi
}

# monitor GUEST COMMAND: what its QEMU answers.
monitor() {
	echo "$2" | socat - "UNIX-CONNECT:/tmp/$1.monitor" || true
}

# answers GUEST COMMAND PATTERN
answers() {
	monitor "$1" "$2" | grep -q "$3"
}

# launch GUEST NUMBER CID [ARGUMENT...]: GUEST.number is there while it is.
launch() {
	guest=$1
	number=$2
	cid=$3
	shift 3
	echo "$number" >"/tmp/$guest.number"
	nested "$guest" "vm-$guest" "$number" \
		-device "vhost-vsock-pci,guest-cid=$cid" \
		-monitor "unix:/tmp/$guest.monitor,server=on,wait=off" "$@"
	brctl addif "$BRIDGE" "vm-$guest"
}

# lost GUEST: the live pages that it has lost so far.
lost() {
	live_of "pid=$(cat "/tmp/$1.pid") "
}

# mark GUEST..., and then: has each lost enough since?
mark() {
	for guest in "$@"; do
		lost "$guest" >"/tmp/$guest.mark"
	done
}

lost_since() {
	echo $(($(lost "$1") - $(cat "/tmp/$1.mark")))
}

all_lost() {
	for guest in "$@"; do
		[ "$(lost_since "$guest")" -ge "$LIVE" ] || return 1
	done
}

# A guest that is gone would only be missed by everything that follows.
still_there() {
	for guest in "$@"; do
		kill -0 "$(cat "/tmp/$guest.pid")" 2>/dev/null ||
			lost_guest "$guest" "is gone"
	done
}

# disturbed KIND QUEUES TRANSFER GUEST...: repeat the transfer while these
# queues of the guests are disturbed, twice at least.
disturbed() {
	kind=$1
	queues=$2
	transfer=$3
	shift 3
	mark "$@"
	for guest in "$@"; do
		disturb "$kind" "$guest" "$queues"
	done
	rounds=0
	until [ "$rounds" -ge 2 ] &&
		{ all_lost "$@" || [ "$rounds" -ge "$MOST" ]; }; do
		"$transfer"
		rounds=$((rounds + 1))
		still_there "$@"
	done
	for guest in "$@"; do
		undisturb "$guest"
		measure "live_${guest}_$kind" "$(lost_since "$guest")"
	done
}

# What came from the guest (received) and went to it (sent), so far.
came_from() {
	cat "/sys/class/net/vm-$1/statistics/rx_bytes"
}

went_to() {
	cat "/sys/class/net/vm-$1/statistics/tx_bytes"
}

both_moved() {
	[ "$(came_from "$1")" -ge "$2" ] && [ "$(went_to "$1")" -ge "$3" ]
}

# moves GUEST: 8 MiB more in each direction, within five minutes?
moves() {
	poll 300 both_moved "$1" "$(($(came_from "$1") + (8 << 20)))" \
		"$(($(went_to "$1") + (8 << 20)))"
}

# Streams between a guest and the host, both ways, from stream_begin NUMBER to
# stream_end GUEST NUMBER: then all that was sent has to have arrived.
stream_begin() {
	wget -q -O /tmp/drained.to "http://10.9.0.$1/cgi-bin/drain?1" &
	STREAMS=$!
	wget -q -O /tmp/drained.from "http://10.9.0.1/cgi-bin/drain?$1" &
	STREAMS="$STREAMS $!"
}

blobs_arrived() {
	if [ -n "$3" ] && [ "$3" = "$4" ]; then
		echo "$PHASE $MODE bytes $1 $2 $(($3 * BLOB))"
	else
		echo "$PHASE $MODE corrupt $1 $2 $3 $4"
	fi
}

stream_end() {
	fetch "$2" cgi-bin/stop
	fetch 1 cgi-bin/stop
	for stream in $STREAMS; do
		wait "$stream" || say "a stream broke off"
	done
	blobs_arrived "$1" to "$(fetch 1 sent)" "$(cat /tmp/drained.to)"
	blobs_arrived "$1" from "$(fetch "$2" sent)" "$(cat /tmp/drained.from)"
}

# The same as exchange, over vsock: vsock_exchange GUEST NUMBER CID.
vsock_exchange() {
	timeout $((300 * SLOW)) socat -t $((300 * SLOW)) - "VSOCK-CONNECT:$3:5000" \
		</www/blob >/tmp/vsock.to &
	sending=$!
	timeout $((300 * SLOW)) socat -u "VSOCK-CONNECT:$3:5001" - | sha256sum \
		>/tmp/vsock.from
	wait "$sending" || say "the guest does not answer over vsock"
	sums_up "$1" to "$(cat /tmp/sum.1)" "$(cat /tmp/vsock.to)"
	sums_up "$1" from "$(cat "/tmp/sum.$2")" "$(cat /tmp/vsock.from)"
}

# vsock_hold CID: a connection that is open, which an echo proves, and stays so.
vsock_hold() {
	rm -f /tmp/held
	vsockhold 5002 "$1" >/tmp/held 2>&1 &
	HELD=$!
	poll 60 grep -qs '^held$' /tmp/held || say "no echo over vsock"
}

# was_reset FILE: did the connection that this tells of end by being reset,
# within a minute?
was_reset() {
	poll 60 grep -q 'reset:' "$1" || true
	say "a vsock connection: $(tail -n 1 "$1")"
	grep -q '^reset:' "$1"
}

between_guests() {
	exchange first 2 3
}

with_host() {
	exchange first 2 1
}

over_vsock() {
	vsock_exchange first 2 12
}

# Two guests exchange data.
case_pair() {
	for kind in pageout migrate; do
		disturbed "$kind" . between_guests first second
	done
}

# The guests' group has to give memory back. However slow the machine is, a third
# of the time is theirs, to fetch it again.
press() {
	begun=$(now_ms)
	reclaim
	usleep $((($(now_ms) - begun) * 500))
}

case_pressed() {
	disturbed press . with_host first
}

# Stopped and continued amid transfers.
case_paused() {
	stream_begin 2
	for kind in pageout migrate; do
		mark first
		disturb "$kind" first
		moves first || say "the streams do not move"
		monitor first stop >/dev/null
		measure "stopped_$kind" "$(yes_no \
			poll 20 answers first 'info status' paused)"
		before=$(came_from first)
		sleep 2
		measure "silent_$kind" "$(yes_no \
			test "$(came_from first)" = "$before")"
		monitor first cont >/dev/null
		measure "continued_$kind" "$(yes_no moves first)"
		poll 30 all_lost first || true
		undisturb first
		measure "live_first_$kind" "$(lost_since first)"
	done
	stream_end first 2
}

case_vsock() {
	for kind in pageout migrate; do
		disturbed "$kind" vhost-vsock over_vsock first
	done
}

# rate NAME ARGUMENT...: what iperf3 says the receiver got; packets of UDP only.
rate() {
	rate=$1
	shift
	timeout $((30 * SLOW)) iperf3 -c 10.9.0.2 -t 4 -f m "$@" >/tmp/iperf3 2>&1 || {
		say "iperf3 failed"
		cat /tmp/iperf3 >&2
	}
	awk -v rate="$PHASE $MODE measure $rate" '/receiver/ {
		split($11, packets, "/")
		if (packets[2])
			print rate "_packets_per_s", \
				int((packets[2] - packets[1]) / 4)
		else
			print rate "_mbit_per_s", $7
	}' /tmp/iperf3
}

# Figures, of which nothing is demanded but that data moved.
case_iperf3() {
	for how in mirrored uaccess; do
		yes_no test "$how" = mirrored >"$PARAM"
		rate "to_$how"
		rate "from_$how" -R
		rate "to_$how" -u -b 0 -l 64
		rate "from_$how" -u -b 0 -l 64 -R
	done
	echo 1 >"$PARAM"
}

# To another QEMU while streams and a vsock connection are open. For five
# seconds it is held back, for the dirty log to be in use.
case_migrated() {
	launch third 2 14 -incoming unix:/tmp/migration
	vsock_hold 12
	stream_begin 2
	mark first
	disturb pageout first
	measure moved_before "$(yes_no moves first)"
	monitor first 'migrate_set_parameter max-bandwidth 16M' >/dev/null
	monitor first 'migrate -d unix:/tmp/migration' >/dev/null
	sleep 5
	measure still_migrating "$(yes_no \
		answers first 'info migrate' 'status: active')"
	monitor first 'migrate_set_parameter max-bandwidth 1G' >/dev/null
	monitor first 'migrate_set_parameter downtime-limit 1000' >/dev/null
	measure completed "$(yes_no \
		poll 300 answers first 'info migrate' 'status: completed')"
	undisturb first
	measure live_first_pageout "$(lost_since first)"
	monitor first 'info migrate' | grep -E '^(total time|downtime):' |
		sed 's/^/run: migration: /' >&2
	monitor first quit >/dev/null
	wait "$(cat /tmp/first.pid)" || say "the first QEMU ended with an error"
	rm /tmp/first.number
	measure reset_of_host "$(yes_no was_reset /tmp/held)"
	wait "$HELD" || true
	mark third
	disturb pageout third
	measure moved_after "$(yes_no moves third)"
	poll 30 all_lost third || true
	undisturb third
	measure live_third_pageout "$(lost_since third)"
	stream_end third 2
	fetch 2 held >/tmp/held.guest || true
	measure reset_of_guest "$(yes_no was_reset /tmp/held.guest)"
	vsock_exchange third 2 14
}

# Killed amid transfers, over vsock as well.
case_killed() {
	victim=$(cat /tmp/second.pid)
	vsock_hold 13
	stream_begin 3
	moves second || say "the streams do not move"
	own=$(awk '/^RssAnon:/ { print $2 }' "/proc/$victim/status")
	before=$(awk '/^AnonPages:/ { print $2 }' /proc/meminfo)
	kill -KILL "$victim"
	wait "$victim" || true
	rm /tmp/second.number
	measure reset_of_host "$(yes_no was_reset /tmp/held)"
	measure mirrors_gone "$(yes_no poll 10 gone "$victim")"
	after=$(awk '/^AnonPages:/ { print $2 }' /proc/meminfo)
	measure freed_percent "$(((before - after) * 100 / own))"
	for stream in $STREAMS; do
		kill "$stream" 2>/dev/null || true
		wait "$stream" || true
	done
}

gone() {
	! grep -q "^pid=$1 " "$STATS"
}

# The modules go when nobody uses them.
unload() {
	PHASE=unloaded
	for left in /tmp/*.number; do
		power_off "$(basename "$left" .number)" "$(cat "$left")"
	done
	complaints before
	for module in vhost_net vhost_vsock vhost mmu_mirror_tlb \
		mmu_range_mirror; do
		modprobe -r "$module" 2>/dev/null || true
	done
	left=$(find /sys/module -maxdepth 1 -name 'vhost*' -o -name 'mmu_*')
	[ -z "$left" ] || say "modules stay:" "$left"
	measure modules_gone "$(yes_no test -z "$left")"
	complaints after
}

matrix() {
	load_kvm
	serve
	brctl addbr "$BRIDGE"
	ip addr add 10.9.0.1/24 dev "$BRIDGE"
	ip link set "$BRIDGE" up
	enter_clients
	# One after the other: while two boot at once, TCG loses one now and
	# then.
	launch first 2 12
	await first 2 300
	launch second 3 13
	await second 3 600
	leave_clients
	say "guests up after $(cut -d' ' -f1 /proc/uptime) s"
	echo 1 >"$PARAM"
	for scene in $CASES; do
		PHASE=$scene
		say "$PHASE"
		snapshot before
		"case_$scene"
		snapshot after
	done
	unload
}
