#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# lab/bench.sh [PART...]
#
# The comparison: runs the parts one after another (all of them, if none is
# named), then prints their tables and draws their plots. A part is an executable
# lab/bench/PART that gets ready what it needs, takes its measurements, and
# prints lines of fields on stdout, with tabs between them; anything else that it
# prints there is ignored:
#
#   progress DONE TOTAL		now and then: an estimate is shown
#   row name=what unit=ns median=2.2 lo=2.1 hi=2.5 note=peer
#
# lo and hi are the spread; say what of in the first row's "spread". Optional:
# "note", shown beside the row; "series", for several figures of one name (p50, p99);
# "x", a number, for a plot of curves in place of bars. Rows of unit "ratio", and
# those with "drawn=no", are not drawn. What is compared has to be measured in turn,
# round after round, within one part. What the medians should be is in
# lab/bench/targets.tsv.
#
# build/bench/PART.json in the cache gets the rows, with "met" added, and
# PART.svg the plot. A target that is missed is said, and is no failure; a part
# that dies is.

# shellcheck source=lab/lib/env.sh
. "$(dirname "$0")/lib/env.sh"

PARTS="reader packets ringpath pieces invalidator scale parallel vhost pps pfncache core-mm"
[ $# -eq 0 ] || PARTS=$*

need python3 gnuplot-nox
out=$CACHE/build/bench
locked bench
mkdir -p "$out"
failed=
n=0
for part in $PARTS; do
	n=$((n + 1))
	[ -x "$LAB/bench/$part" ] || die "no part $part in lab/bench"
	say "part $n of $(echo "$PARTS" | wc -w): $part"
	rm -f "$out/$part.json" "$out/$part.svg" "$out/$part.died"
	{
		"$LAB/bench/$part" || : >"$out/$part.died"
	} | "$LAB/bench/render.py" collect "$part" "$out/$part.json" ||
		: >"$out/$part.died"
	[ ! -f "$out/$part.died" ] || failed="$failed $part"
done
# $PARTS is a list on purpose.
# shellcheck disable=SC2086
"$LAB/bench/render.py" report "$out" $PARTS
[ -z "$failed" ] || die "died:$failed"
