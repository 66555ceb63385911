#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# lab/check.sh TIER...
#
# Run tiers, each a script in lab/tiers, whatever becomes of each, and end with the
# sum. Of several, one that boots machines runs beside one that does not. A tier
# prints KTAP, which is kept as build/check-<tier>/ktap in the cache, next to its
# other logs (LOGS, see lab/lib/env.sh); a tier that dies is a failed test in it. The
# logs of the last run that failed are kept in build/failed-<tier>. LEFT_OUT names
# goals of make that these tiers do not cover.

# shellcheck source=lab/lib/env.sh
. "$(dirname "$0")/lib/env.sh"

boots() {
	case $1 in
	static|litmus|kunit|mutants*) return 1 ;;
	esac
}

# ahead TIER...: build what these boot, with what others leave of the CPUs. A tier
# waits for a build that is under way.
ahead() {
	for name in "$@"; do
		case $name in
		build) nice -n 19 "$LAB/vm/build.sh" kcsan-7.3 ;;
		debug) nice -n 19 "$LAB/vm/build.sh" debug-6.12 ;;
		esac || return
	done
}

# keep TIER: its logs, without the roots and disks of machines.
keep() {
	kept=$CACHE/build/failed-$1
	rm -rf "$kept"
	cp -al "$CACHE/build/check-$1" "$kept"
	find "$kept" \( -name root -o -name boot -o -name disk \
		-o -name initramfs \) -prune -exec rm -rf {} +
}

# show_kept TIER: where to look.
show_kept() {
	echo "# logs of check-$1, kept in $CACHE/build/failed-$1:"
	find "$CACHE/build/failed-$1" -type f -size +0 | sort | head -n 20 |
		sed 's/^/#   /'
}

# tier NAME: KTAP on stdout, and in its directory.
tier() {
	dir=$CACHE/build/check-$1
	locked "check-$1"
	rm -rf "$dir"
	mkdir -p "$dir"
	say "check-$1"
	begun=$(date +%s)
	{
		status=0
		(
			MRM_LOGS=$dir
			export MRM_LOGS
			"$LAB/tiers/$1.sh"
		) || status=$?
		echo "$status" >"$dir/status"
	} | tee "$dir/ktap"
	took=$(($(date +%s) - begun))
	status=$(cat "$dir/status" 2>/dev/null || echo none)
	# What failed has said so, or it is said here.
	if [ "$status" != 0 ] && "$LAB/lib/summary" "$dir/ktap" >/dev/null; then
		printf 'TAP version 13\n1..1\nnot ok 1 %s\n' \
			"check-$1 ended with status $status" |
			tee -a "$dir/ktap"
	fi
	echo "# check-$1 took $took s"
	"$LAB/lib/summary" "$dir/ktap" >/dev/null || keep "$1"
}

# lane DIR TIER...: what a tier prints is in DIR/check-TIER/ktap when it is over.
lane() {
	parts=$1
	shift
	echo $$ >"$parts/pid.$1"
	for name in "$@"; do
		mkdir "$parts/check-$name"
		tier "$name" >"$parts/check-$name/.ktap"
		mv "$parts/check-$name/.ktap" "$parts/check-$name/ktap"
	done
	# A list on purpose.
	# shellcheck disable=SC2086
	ahead ${AHEAD:-} >/dev/null 2>&1 || true
}

# Whatever the lanes have started: a trap.
# shellcheck disable=SC2317
stop() {
	for pid in "$TMP"/pid.*; do
		kill -- "-$(cat "$pid")" 2>/dev/null || true
	done
	rm -rf "$TMP"
}

# start TIER...: as a lane, which can be stopped as a whole.
start() {
	[ $# -gt 0 ] || return 0
	lanes=$((lanes + 1))
	{
		setsid -w "$0" --lane "$TMP" "$@" || true
		: >"$TMP/over.$1"
	} &
}

over() {
	[ "$(find "$TMP" -name 'over.*' | wc -l)" = "$lanes" ]
}

two_lanes() {
	TMP=$(mktemp -d)
	trap stop EXIT
	trap 'exit 1' HUP INT TERM
	machines=
	others=
	for name in "$@"; do
		if boots "$name"; then
			machines="$machines $name"
		else
			others="$others $name"
		fi
	done
	lanes=0
	[ -z "$machines" ] || [ -z "$others" ] || export BESIDE=yes
	# Lists on purpose.
	# shellcheck disable=SC2086
	start $machines
	AHEAD=$machines
	export AHEAD
	# shellcheck disable=SC2086
	start $others
	for name in "$@"; do
		ktap=$TMP/check-$name/ktap
		while [ ! -f "$ktap" ] && ! over; do
			sleep 1
		done
		mkdir -p "$TMP/check-$name"
		[ -f "$ktap" ] || printf 'TAP version 13\n1..1\nnot ok 1 %s\n' \
			"check-$name was not run to its end" >"$ktap"
		cat "$ktap"
	done
}

case ${1:-} in
'')
	die "usage: lab/check.sh TIER..."
	;;
--lane)
	shift
	lane "$@"
	exit
	;;
esac
for name in "$@"; do
	[ -x "$LAB/tiers/$name.sh" ] || die "no tier $name"
done
# What was printed, and not what others have left or leave in the cache.
if [ $# = 1 ]; then
	TMP=$(mktemp -d)
	trap 'rm -rf "$TMP"' EXIT
	trap 'exit 1' HUP INT TERM
	mkdir "$TMP/check-$1"
	tier "$1" | tee "$TMP/check-$1/ktap"
else
	two_lanes "$@"
fi

files=
for name in "$@"; do
	files="$files $TMP/check-$name/ktap"
done
status=0
# A list on purpose.
# shellcheck disable=SC2086
sum=$("$LAB/lib/summary" $files) || status=1
echo "$sum" | sed '$d'
for name in "$@"; do
	"$LAB/lib/summary" "$TMP/check-$name/ktap" >/dev/null ||
		show_kept "$name"
done
for goal in ${LEFT_OUT:-}; do
	echo "# not run: make $goal"
done
echo "$sum" | tail -n 1
exit "$status"
