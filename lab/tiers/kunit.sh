#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# lab/tiers/kunit.sh [KUNIT.PY ARGUMENT...]
#
# Build the overlay tree of BASE (7.3) for UML with two CPUs and every checker that it
# has, run our KUnit suites, and print its KTAP. Arguments go to "kunit.py exec",
# a suite or test pattern for one.

# shellcheck source=lab/lib/env.sh
. "$(dirname "$0")/../lib/env.sh"
# shellcheck source=lab/lib/ktap.sh
. "$LAB/lib/ktap.sh"

out=$LOGS
mkdir -p "$out"
locked run-kunit
status=0
# SRCU as it is on a machine of many CPUs, where a barrier of its does not wait
# for what another CPU has only begun to free.
"$LAB/vm/uml.sh" kunit --kernel_args=srcutree.convert_to_big=1 "$@" >"$out/console" || status=$?
[ "$status" != 2 ] || exit 1

# The KTAP is what lies between the version line and the last top-level result.
awk '
/KTAP version/ { ktap = 1 }
ktap && /^ *(KTAP version|1\.\.|(not )?ok |# )/ { print }' "$out/console"

# kunit.py ends a UML that hangs, and says that all is well.
ended() {
	[ "$status" = 0 ] && grep -q '^reboot: System halted' "$out/console"
}

begin kunit 2
result_of "UML ended by itself" ended
[ "$status" = 0 ] || tail -n 20 "$out/kunit.err" >&2
"$LAB/lib/splat.awk" "$out/console" >"$out/splats" || true
result_of "the kernel did not complain" [ ! -s "$out/splats" ]
head -n 40 "$out/splats" >&2
[ -z "$failed" ]
