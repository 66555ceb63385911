#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# lab/tiers/steady.sh [ROUNDS [TIER...]]
#
# The tiers that boot machines (or TIERs of lab/check.sh), ROUNDS (20) times in a
# row, beside four busy loops: what fails now and then fails here. KTAP, a result
# for each tier of each round; the logs of those that failed are kept.

# shellcheck source=lab/lib/env.sh
. "$(dirname "$0")/../lib/env.sh"
# shellcheck source=lab/lib/ktap.sh
. "$LAB/lib/ktap.sh"

BUSY=4

rounds=${1:-${N:-20}}
shift $(($# < 1 ? $# : 1))
[ $# -gt 0 ] || set -- lab stock mm-first build debug guest
out=$LOGS
mkdir -p "$out"
busy=
# A list on purpose.
# shellcheck disable=SC2086
trap 'kill $busy' EXIT
trap 'exit 1' HUP INT TERM
for _ in $(seq "$BUSY"); do
	(while :; do :; done) &
	busy="$busy $!"
done

begin steady $((rounds * $#))
for round in $(seq "$rounds"); do
	for tier in "$@"; do
		begun=$(date +%s)
		status=0
		log=$out/$round-$tier
		"$LAB/check.sh" "$tier" >"$log" 2>&1 || status=$?
		grep '^# booted again' "$log" || true
		result "$status" "round $round, $tier: $(($(date +%s) - begun)) s:$(
			tail -n 1 "$log")"
		[ "$status" != 0 ] || rm "$log"
	done
done
[ -z "$failed" ]
