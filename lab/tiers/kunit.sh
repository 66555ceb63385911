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

echo "KTAP version 1"
echo "1..2"
if [ "$status" = 0 ]; then
	echo "ok 1 kunit: UML ended by itself"
else
	echo "not ok 1 kunit: kunit.py's status was $status"
	tail -n 20 "$out/kunit.err" >&2
fi
if "$LAB/lib/splat.awk" "$out/console" >"$out/splats"; then
	echo "ok 2 kunit: no complaint of the kernel"
else
	echo "not ok 2 kunit: the kernel complained"
	head -n 40 "$out/splats" >&2
	exit 1
fi
exit "$status"
