#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# lab/check.sh TIER...
#
# Run tiers one after another, whatever becomes of each, and end with the sum.
# A tier prints KTAP; what it prints is kept as build/check-<tier>/ktap in the
# cache, next to its other logs, and a tier that dies is a failed test in it.
# Those of the last run that failed are kept in build/failed-<tier>.

# shellcheck source=lab/env.sh
. "$(dirname "$0")/env.sh"

run() {
	case $1 in
	lab)
		"$LAB/harness.sh"
		"$LAB/run/gates.sh"
		;;
	litmus) "$LAB/litmus.sh" ;;
	static) "$LAB/static.sh" ;;
	kunit) "$LAB/kunit.sh" ;;
	stock) "$LAB/selftest.sh" stock ;;
	debug) "$LAB/selftest.sh" debug-6.12 ;;
	repeat) "$LAB/selftest.sh" debug-6.12 "${N:-200}" ;;
	build) "$LAB/both.sh" ;;
	guest) "$LAB/run/run.sh" smoke ;;
	matrix) "$LAB/run/run.sh" matrix ;;
	soak) "$LAB/run/run.sh" soak ;;
	mm) "$LAB/mm/mm.sh" ;;
	mm-first) "$LAB/mm/mm.sh" mdwe mkdirty mremap ;;
	mutants) "$LAB/mutants.sh" ;;
	mutants-first) "$LAB/mutants.sh" first ;;
	fuzz) "$LAB/fuzz.sh" ;;
	package) "$LAB/package-check.sh" ;;
	series) "$LAB/series-check.sh" ;;
	pfncache) "$LAB/pfncache/check.sh" ;;
	arch) "$LAB/arch-check.sh" ;;
	*) die "no tier $1" ;;
	esac
}

# ahead TIER...: build what these boot, with what others leave of the CPUs: the
# first tiers keep only one busy. A tier waits for a build that is under way.
ahead() {
	for tier in "$@"; do
		case $tier in
		build) nice -n 19 "$LAB/build.sh" kcsan-7.3 ;;
		debug) nice -n 19 "$LAB/build.sh" debug-6.12 ;;
		esac || return
	done
}

[ $# -gt 0 ] || die "usage: lab/check.sh TIER..."
[ $# = 1 ] || ahead "$@" >/dev/null 2>&1 &
list=
for tier in "$@"; do
	dir=$CACHE/build/check-$tier
	locked "check-$tier"
	if [ "$(cat "$dir/status" 2>/dev/null || echo 0)" != 0 ]; then
		rm -rf "$CACHE/build/failed-$tier"
		mv "$dir" "$CACHE/build/failed-$tier"
	fi
	rm -rf "$dir"
	mkdir -p "$dir"
	list="$list $dir/ktap"
	say "check-$tier"
	begun=$(date +%s)
	{
		status=0
		run "$tier" || status=$?
		echo "$status" >"$dir/status"
	} | tee "$dir/ktap"
	took=$(($(date +%s) - begun))
	status=$(cat "$dir/status" 2>/dev/null || echo none)
	# What failed has said so, or it is said here.
	if [ "$status" != 0 ] && "$LAB/summary" "$dir/ktap" >/dev/null; then
		printf 'TAP version 13\n1..1\nnot ok 1 %s\n' \
			"check-$tier ended with status $status" |
			tee -a "$dir/ktap"
	fi
	echo "# check-$tier took $took s"
done
# $list is a list on purpose.
# shellcheck disable=SC2086
exec "$LAB/summary" $list
