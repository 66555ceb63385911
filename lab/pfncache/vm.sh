#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# /test.sh of lab/tiers/pfncache.sh: KVM's own selftests, and events on caches
# whose pages are disturbed. Results in lines of
#	selftest PROGRAM STATUS
#	phase NAME STATUS WHAT IT SAID
#	probe NAME CALLS
# and "end"; lab/tiers/pfncache.sh compares and judges.

set -u

# shellcheck source=/dev/null
. /etc/pfncache.conf
TRACING=/sys/kernel/tracing
# Or the scheduler's tracepoints are switched on with the first probe.
echo 0 >"$TRACING/options/record-cmd"
SECONDS_EACH=3

# Each function that exists, and is no inline, is counted from here on. One of a
# module that is not there yet would wait for it, and this one may be built in.
probe() {
	place=$2
	! grep -q "^$1 " /proc/modules || place=$1:$2
	echo "p:gpc/$2 $place" >>"$TRACING/kprobe_events" 2>/dev/null || return 0
	echo 1 >"$TRACING/events/gpc/$2/enable"
}

probes() {
	awk -v when="$1" '{ print "probe", when, $1, $2 }' \
		"$TRACING/kprobe_profile"
}

# only_cpu0 COMMAND...: while the other CPU is offline. An emulator may get wrong what
# is patched while that runs (lab/lib/stale.awk).
only_cpu0() {
	echo 0 >/sys/devices/system/cpu/cpu1/online
	"$@"
	echo 1 >/sys/devices/system/cpu/cpu1/online
}

disturbed() {
	events check "$SECONDS_EACH" >/tmp/said &
	client=$!
	waited_for '^range' /tmp/said
	disturb "$1" "$client" 10000 "$(sed -n 's/^range //p' /tmp/said)" \
		>/tmp/disturbed &
	disturber=$!
	wait "$client"
	status=$?
	kill -TERM "$disturber"
	wait "$disturber"
	echo "phase $1 $status $(sed -n 's/^counts //p' /tmp/said)" \
		"$(cat /tmp/disturbed)"
}

# A selftest of KVM's, with all that it has mapped swapped out again and again.
disturbed_selftest() {
	"/selftests/$1" >/tmp/log 2>&1 </dev/null &
	client=$!
	usleep 300000
	# A list on purpose.
	# shellcheck disable=SC2046
	disturb pageout "$client" 10000 $(awk '
		$2 ~ /^rw/ && $5 == 0 && $6 == "" {
			split($1, at, "-")
			printf "0x%s:%d\n", at[1], \
				("0x" at[2]) - ("0x" at[1])
		}' "/proc/$client/maps") >/tmp/disturbed &
	disturber=$!
	wait "$client"
	status=$?
	kill -TERM "$disturber"
	wait "$disturber"
	if [ "$status" != 0 ] && preempted && [ "$2" -gt 0 ]; then
		echo "# preempted: $1"
		disturbed_selftest "$1" "$(($2 - 1))"
		return
	fi
	[ "$status" = 0 ] || sed 's/^/# /' /tmp/log
	echo "phase selftest $status $(cat /tmp/disturbed)"
}

phase() {
	name=$1
	shift
	"$@" >/tmp/said
	echo "phase $name $? $(sed -n 's/^counts //p' /tmp/said)"
}

# waited_for PATTERN FILE
waited_for() {
	tries=$((50 * SLOW))
	until grep -q "$1" "$2"; do
		tries=$((tries - 1))
		[ "$tries" -gt 0 ] || return 1
		usleep 100000
	done
}

echo 256M >/sys/block/zram0/disksize
mkswap /dev/zram0 >/dev/null
swapon /dev/zram0

# What makes the kernel patch itself: probes, and KVM's first guests.
begin() {
	modprobe kvm_amd || exit 1
	probe kvm __kvm_gpc_get
	probe kvm kvm_gpc_put
	probe kvm gpc_get_locked
	probe mmu_mirror_window mmu_mirror_window_populate
	probe mmu_mirror_window window_invalidate
	probe mmu_mirror_window mmu_mirror_window_open
	probe mmu_mirror_window mmu_mirror_window_close
	events hold >/tmp/held &
	holder=$!
	waited_for held /tmp/held
}

end() {
	kill "$holder"
	wait "$holder"
	rmmod kvm_amd kvm && echo unloaded
}

only_cpu0 begin

# xen_shinfo_test sets a vCPU's time as a runnable to zero and wants it to be
# zero when the vCPU looks: where it was preempted meanwhile, once more.
preempted() {
	grep -q 'time\[RUNSTATE_runnable\] == 0' /tmp/log
}

selftest() {
	for try in 1 2 3 4 5; do
		timeout $((60 * SLOW)) "$@" >/tmp/log 2>&1 </dev/null && return
		status=$?
		preempted || return "$status"
		echo "# preempted, try $try: $1"
	done
	return "$status"
}

for program in $SELFTESTS; do
	echo "lab: $program" >/dev/kmsg
	# Words on purpose: the program, and its arguments.
	# shellcheck disable=SC2046
	selftest $(echo "/selftests/$program" | tr : ' ')
	status=$?
	echo "selftest $program $status"
	case $status in
	0|4) ;;
	*) sed 's/^/# /' /tmp/log ;;
	esac
done
probes selftests
disturbed_selftest x86_64/xen_shinfo_test 5
probes disturbed
for name in pageout migrate thp; do
	echo "lab: $name" >/dev/kmsg
	disturbed "$name"
done
probes events
phase memslots events memslots
probes memslots
phase pfnmap events pfnmap "$PFNMAP"
probes pfnmap
phase lazyfree events lazyfree
only_cpu0 end
echo end
