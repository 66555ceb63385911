#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# lab/vm/uml.sh NAME [KUNIT.PY ARGUMENT...]
#
# Build the overlay tree of BASE (7.3) for UML as lab/vm/kconfig/NAME.config says, and run
# its KUnit suites natively on two CPUs, with the console on stdout as it comes.
# Arguments go to "kunit.py exec". Exits with 2 if it does not build, else as
# kunit.py does, whose own words are in LOGS/kunit.err. With KTREE that tree is
# built in place of the overlay, as far as it has our symbols.

# shellcheck source=lab/lib/env.sh
. "$(dirname "$0")/../lib/env.sh"

SECONDS_MAX=300

name=${1:?usage: lab/vm/uml.sh NAME [kunit.py argument...]}
shift
need_build
tree=$("$LAB/vm/tree.sh" "${BASE:-7.3}")
out=$(kernel "$name${BASE:+-$BASE}")
locked "build-$(basename "$out")"
mkdir -p "$out" "$LOGS"
config=$LAB/vm/kconfig/$name.config
if [ -n "${KTREE:-}" ]; then
	known_to "$tree" "$config" "$LAB/vm/kconfig/upstream.config" >"$out/fragment"
	config=$out/fragment
fi

say "building UML for $name (seven minutes, if it is the first time)"
"$tree/tools/testing/kunit/kunit.py" build --arch=um --build_dir="$out" \
	--kunitconfig="$config" --jobs="$JOBS" \
	--make_options CC="ccache gcc" >"$out/build.log" 2>&1 || {
	build_errors "$out/build.log"
	say "UML does not build; see $(logged "$out/build.log" "$name-build.log")"
	exit 2
}

say "running it"
PYTHONUNBUFFERED=1 "$tree/tools/testing/kunit/kunit.py" exec --arch=um \
	--build_dir="$out" --timeout="$((SECONDS_MAX * $(slowness)))" --raw_output=all \
	--kernel_args=seccomp=on --kernel_args=ncpus=2 "$@" 2>"$LOGS/kunit.err"
