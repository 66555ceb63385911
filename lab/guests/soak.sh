#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# Sourced by lab/guests/machine.sh for `make check-soak`: instead of two modes side by
# side, mirrored rings only, for a long time and disturbed in more ways. Beside
# testpmd a client that flips its own rings and buffers comes and goes, windows and
# caches of the test device are juggled, and a canary takes the pages that are freed.
# What lab/guests/soak.awk reads goes to stdout.

CPU1=/sys/devices/system/cpu/cpu1/online
MODE=1

# within GROUP COMMAND...: 0 is whoever writes it.
within() {
	group=$CGROUPS/$1
	shift
	# shellcheck disable=SC2016
	sh -c 'echo 0 >"$0/cgroup.procs" && exec "$@"' "$group" "$@"
}

prepare_soak() {
	enter_clients
	mkdir "$CGROUPS/small"
	echo 48M >"$CGROUPS/small/memory.max"
	echo 0 >"$CGROUPS/small/memory.swap.max"
	echo 1 >"$CGROUPS/small/memory.oom.group"
	echo 10 >/sys/kernel/mm/ksm/sleep_millisecs
	echo 1 >/sys/kernel/mm/ksm/run
	modprobe test_mmu_range_mirror
}

cpus() {
	echo 0 >"$CPU1"
	usleep 200000
	echo 1 >"$CPU1"
	usleep 200000
}

freeze() {
	echo 1 >"$CGROUPS/clients/cgroup.freeze"
	usleep 100000
	echo 0 >"$CGROUPS/clients/cgroup.freeze"
	usleep 300000
}

# flipper [COMMAND...]: as an argument of that.
flipper() {
	rm -f /tmp/flipped
	"$@" ringflip "$((SECONDS_EACH * 1000))" 0 <&4 >/tmp/flipped &
	FLIPPER=$!
	poll 30 test -s /tmp/flipped || die "ringflip does not start"
	echo go >&4
}

# The flipper's owner dies amid its packets; the next one takes its place.
owner_dies() {
	flipper exec
	usleep 300000
	kill -KILL "$FLIPPER"
	wait "$FLIPPER" || true
}

# So does this one's, but not by a signal of ours: with somebody greedy in its
# group, both are killed, and the reaper takes their memory.
owner_starves() {
	flipper within small
	within small awk 'BEGIN { s = "x"; while (1) s = s s }' &
	greedy=$!
	wait "$greedy" 2>/dev/null || true
	wait "$FLIPPER" 2>/dev/null || true
}

soak_phase() {
	PHASE=$1
	say "round $ROUND, $PHASE: $(($(live) - FIRST)) live pages lost," \
		"$((DEADLINE - $(now_ms) / 1000)) s left"
	snapshot before
	case $PHASE in
	# There, the flippers are the disturbance.
	owner_dies|owner_starves) alone= ;;
	*)
		alone=1
		flipper exec
		;;
	esac
	disturb "$PHASE" testpmd
	sleep "$SECONDS_EACH"
	undisturb testpmd
	if [ -n "$alone" ]; then
		wait "$FLIPPER" || echo "error $PHASE: ringflip failed"
		sed -n "s/^flips/$PHASE $MODE disturber ringflip &/p" \
			/tmp/flipped
	fi
	snapshot after
}

soak() {
	leave_clients
	[ -p /tmp/flip.in ] || mkfifo /tmp/flip.in
	exec 4<>/tmp/flip.in
	echo 1 >"$PARAM"
	FIRST=$(live)
	DEADLINE=$(($(now_ms) / 1000 + MINUTES * 60))
	canary 8 >/tmp/canary &
	CANARY=$!
	ROUND=0
	kill -CONT "$TESTPMD"
	while [ "$(($(now_ms) / 1000))" -lt "$DEADLINE" ]; do
		ROUND=$((ROUND + 1))
		# shellcheck disable=SC2153
		for name in $PHASES; do
			soak_phase "$name"
		done
		PHASE=juggle
		snapshot before
		juggle "$SECONDS_EACH" | sed "s/^/$PHASE $MODE /"
		snapshot after
	done
	kill -TERM "$CANARY"
	wait "$CANARY" || echo "error the canary failed"
	sed 's/^/canary /' /tmp/canary
	echo "rounds $ROUND"
}
