#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# Runs in the lab's virtual machine, as /test.sh of lab/vm/selftest.sh: the programs
# of /etc/programs, once with their KTAP, or /etc/times times with a line a round.

times=$(cat /etc/times)
failed=0

# Whatever fails the run is named in its results.
failure() {
	echo "# lab: failed: $*"
	failed=1
}

# What KUnit has found at boot, if it is in this kernel.
kunit() {
	for results in /sys/kernel/debug/kunit/mmu_*/results; do
		[ -f "$results" ] || continue
		cat "$results"
		! grep -q '^not ok' "$results" || failure "$results"
	done
}

# run PROGRAM ARGUMENT...: what it says about a failure goes to stderr, and belongs to
# its KTAP. One that shows nothing is a mistake: lab/vm/programs.tsv says where it can.
run() {
	program=$1
	shift
	rm -f /tmp/says
	mkfifo /tmp/says
	tee /tmp/said </tmp/says &
	said=$!
	status=0
	"/selftests/$program" "$@" >/tmp/says 2>&1 </dev/null || status=$?
	# Somebody that it has left behind may keep it open.
	for _ in $(seq 100); do
		kill -0 $said 2>/dev/null || break
		usleep 100000
	done
	kill $said 2>/dev/null || true
	wait $said || true
	[ "$status" = 0 ] || failure "$program ended with status $status"
	grep '^ok ' /tmp/said | grep -qv '# SKIP' ||
		failure "$program has passed no test"
}

programs() {
	while read -r program arguments; do
		cd "/selftests/${program%/*}" || {
			failure "no ${program%/*}"
			continue
		}
		echo "lab: $program" >/dev/kmsg
		echo "# lab: program $program"
		# $arguments is words on purpose.
		# shellcheck disable=SC2086
		run "$program" $arguments
	done </etc/programs
	return $failed
}

# A test that cannot load its module skips, and here that would be a mistake.
while read -r module; do
	modprobe "$module" || failure "modprobe $module"
done </etc/devices
while read -r module; do
	{ modprobe "$module" && rmmod "$module"; } || failure "sample $module"
done </etc/samples
if [ "$times" = 1 ]; then
	kunit
	programs
	exit $failed
fi

printf 'TAP version 13\n1..%s\n' "$times"
round=1
while [ "$round" -le "$times" ]; do
	if programs >/tmp/round; then
		echo "ok $round round"
	else
		echo "not ok $round round"
		sed 's/^/# /' /tmp/round
		exit 1
	fi
	round=$((round + 1))
done
exit $failed
