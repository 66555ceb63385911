#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# lab/tiers/fuzz.sh
#
# Hostile user space against vhost's mirrored rings, for MINUTES (30) on the stock
# kernel and then a sixth of that on those with KASAN and with KCSAN: each program
# is run with windows and without, and has to see the same
# (tools/testing/selftests/vhost/ring_fuzz.c). SEED is where to begin, else chance
# says. Prints KTAP; how far it is, on stderr.

# shellcheck source=lab/lib/env.sh
. "$(dirname "$0")/../lib/env.sh"

minutes=${MINUTES:-30}
status=0

# fuzz KERNEL MINUTES
fuzz() {
	out=$LOGS/$1
	mkdir -p "$out"
	rm -f "$out/results"
	tail --pid=$$ -n +1 -F "$out/results" 2>/dev/null |
		sed -un 's/^# fuzz: /lab: /p' >&2 &
	MINUTES=$2 MRM_LOGS=$out "$LAB/vm/selftest.sh" "$1" 1 vhost/ring_fuzz \
		-d . -m "$2" ${SEED:+-s "$SEED"} || status=1
}

fuzz stock "$minutes"
for kernel in debug-6.12 kcsan-7.3; do
	fuzz "$kernel" $(((minutes + 5) / 6))
done
exit "$status"
