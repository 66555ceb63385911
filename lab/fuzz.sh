#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# lab/fuzz.sh
#
# Hostile user space against vhost's mirrored rings, for MINUTES (30), on the
# stock kernel: each program is run with windows and without, and has to see the
# same (tools/testing/selftests/vhost/ring_fuzz.c). SEED is where to begin, else
# chance says. Prints KTAP; how far it is, on stderr.

# shellcheck source=lab/env.sh
. "$(dirname "$0")/env.sh"

MINUTES=${MINUTES:-30}
TIER=fuzz
export MINUTES TIER

out=$CACHE/build/check-fuzz
mkdir -p "$out"
rm -f "$out/results"
tail --pid=$$ -n +1 -F "$out/results" 2>/dev/null |
	sed -un 's/^# fuzz: /lab: /p' >&2 &

"$LAB/selftest.sh" stock 1 vhost/ring_fuzz -d . -m "$MINUTES" ${SEED:+-s "$SEED"}
