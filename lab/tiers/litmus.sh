#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# lab/tiers/litmus.sh [TREE]
#
# The section guard, and flushes of device TLBs that are put off, against the
# Linux-kernel memory model: makes the litmus tests out of the source in TREE
# (this repository), runs herd7 on them and compares each with the result that
# it names. KTAP on stdout; exits with 1 if any differs, or if a test could not
# be made or has no execution at all.

# shellcheck source=lab/lib/env.sh
. "$(dirname "$0")/../lib/env.sh"

TREE=$(cd "${1:-$REPO}" && pwd)
TESTS=$REPO/tools/memory-model/litmus-tests/mmu_range_mirror
OUT=$LOGS/tests
rm -rf "$OUT"
mkdir -p "$OUT"

need python3
HERD=$("$LAB/vm/fetch.sh" herd)
MODEL=$("$LAB/vm/fetch.sh" src-7.3)/tools/memory-model

PYTHONDONTWRITEBYTECODE=1 python3 "$TESTS/generate.py" "$TREE" "$OUT" \
	>"$OUT/failed"
cp "$TESTS"/*.litmus "$OUT"
cd "$OUT" || exit

# Its own C library: herd7 is newer than the machine. The two options change
# how executions are enumerated, not which: both are much faster.
lib=$HERD/usr/lib/x86_64-linux-gnu
"$lib/ld-linux-x86-64.so.2" --library-path "$lib" "$HERD/usr/bin/herd7" \
	-set-libdir "$HERD/usr/share/herdtools7/herd" -I "$MODEL" \
	-conf "$MODEL/linux-kernel.cfg" -optace true -variant OldSolver \
	./*.litmus >"$OUT/results" 2>"$OUT/errors" || :

awk -f "$TESTS/judge.awk" failed errors results ./*.litmus
