#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# lab/kunit.sh [KUNIT.PY ARGUMENT...]
#
# Build the 7.3 overlay tree for UML with two CPUs and every checker that it
# has, run our KUnit suites, and print its KTAP. Arguments go to "kunit.py exec",
# a suite or test pattern for one.

# shellcheck source=lab/env.sh
. "$(dirname "$0")/env.sh"

SECONDS_MAX=300

need_build
tree=$("$LAB/tree.sh" 7.3)
out=$CACHE/build/kunit
locked build-kunit
mkdir -p "$out"

say "building UML (three minutes, if it is the first time)"
"$tree/tools/testing/kunit/kunit.py" build --arch=um --build_dir="$out" \
	--kunitconfig="$LAB/kconfig/kunit.config" --jobs="$JOBS" \
	--make_options CC="ccache gcc" >"$out/build.log" 2>&1 || {
	grep -E 'error:|undefined|ERROR|missing' "$out/build.log" >&2 ||
		tail -n 20 "$out/build.log" >&2
	die "UML does not build; see $out/build.log"
}

say "running KUnit under UML, natively"
status=0
"$tree/tools/testing/kunit/kunit.py" exec --arch=um --build_dir="$out" \
	--timeout="$SECONDS_MAX" --raw_output=all \
	--kernel_args=seccomp=on --kernel_args=ncpus=2 "$@" \
	>"$out/console" 2>"$out/kunit.err" || status=$?

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
if "$LAB/splat.awk" "$out/console" >"$out/splats"; then
	echo "ok 2 kunit: no complaint of the kernel"
else
	echo "not ok 2 kunit: the kernel complained"
	head -n 40 "$out/splats" >&2
	exit 1
fi
exit "$status"
