#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# lab/guests/gates.sh
#
# Tests of lab/guests/report.awk, soak.awk, matrix.awk and pps.awk: the results of a
# run in which all is well pass, and the same results with any one thing wrong do
# not, for that reason.

# shellcheck source=lab/lib/env.sh
. "$(dirname "$0")/../lib/env.sh"
# shellcheck source=lab/lib/ktap.sh
. "$LAB/lib/ktap.sh"

out=$LOGS/gates
mkdir -p "$out"
phases="undisturbed pageout migrate thp flip"
accel=tcg
table=

snapshot() {
	# Guest memory has no pages of its own, that an invalidation would take.
	for part in indirect header payload; do
		echo "$phase $mode $1 ring pid=0 closed part=$part" \
			"mirrored=$(($2 * mode)) fallback=$(($2 - $2 * mode))"
	done
	for part in desc avail used; do
		echo "$phase $mode $1 ring pid=0 closed part=$part" \
			"mirrored=$(($2 * mode)) fallback=$(($2 - $2 * mode))" \
			"drops=unmap:$(($2 * mode)),clear:0,protection_page:$(($2 * mode))" \
			"worst_wait_ns=$2"
	done
	echo "$phase $mode $1 ring pid=0 closed cache chunks=0" \
		"cache_drops=unmap:$(($2 * mode)),clear:0 worst_wait_ns=$2"
	for name in pswpout pswpin pgmigrate_success thp_collapse_alloc \
		thp_split_page; do
		echo "$phase $mode $1 vm $name $2"
	done
	echo "$phase $mode $1 splats 0"
}

all_well() {
	for phase in $phases; do
		for mode in 1 0; do
			snapshot before 7
			echo "$phase $mode live testpmd $((500 * mode))"
			echo "$phase $mode live guest $((500 * mode))"
			echo "$phase $mode bytes guest to 67108864"
			echo "$phase $mode bytes guest from 67108864"
			snapshot after 1007
		done
	done
	echo "guest # lab: exit status 0"
	echo end
	echo "# lab: exit status 0"
}

# gate WHAT EDIT [COMPLAINT]: the report, of results edited like that, is to
# have this complaint, or none.
gate() {
	sed "$2" "$out/well" >"$out/results"
	if "$LAB/guests/$judge" -f "$LAB/guests/counters.awk" \
		-f "$LAB/lib/demand.awk" -v expected="$phases" \
		-v wanted=64 -v minutes=1 -v accel="$accel" ${table:+"$table"} \
		"$out/results" >"$out/report" 2>&1; then
		got=
	else
		got=yes
	fi
	if [ -n "${3:-}" ]; then
		grep -qE "^(FAILED:|not ok|pps:) .*$3" "$out/report" || got=other
		want=yes
	else
		want=
	fi
	result_of "$1" [ "$got" = "$want" ]
	[ "$got" = "$want" ] ||
		grep -E '^(FAILED|not ok|pps:)' "$out/report" | sed 's/^/# /'
}

judge=report.awk
all_well >"$out/well"
begin run
gate "all is well" ""
rates=$(grep -cE '/s([^a-z]|$)' "$out/report") || true
result_of "no rate in the tables" [ "$rates" = 0 ]
gate "wrong data" "s/^thp 0 bytes guest to .*/thp 0 corrupt guest to 1 2/" \
	"checksum: thp 0"
gate "no data from the client" "/^pageout 1 bytes guest from/d" \
	"pageout, ring_mirror=1: data moved both ways"
gate "too little data in all" "s/ 67108864/ 1048576/" \
	"the guest got 10 MiB"
gate "a splat" "s/^migrate 1 after splats 0/migrate 1 after splats 30/" \
	"migrate, ring_mirror=1: the kernel did not complain"
gate "a splat with uaccess" "s/^flip 0 after splats 0/flip 0 after splats 3/" \
	"flip, ring_mirror=0: the kernel did not complain"
gate "2 % fell back" \
	"/^undisturbed 1 after ring/s/fallback=0/fallback=21/" \
	"undisturbed: 97.* % of the accesses mirrored"
gate "2 % of the tables fell back" \
	"/^undisturbed 1 after ring.*indirect/s/fallback=0/fallback=21/" \
	"undisturbed: 97.* % of the indirect descriptors"
gate "a third of the headers fell back" \
	"/^undisturbed 1 after ring.*header/s/fallback=0/fallback=500/" \
	"undisturbed: 92.* % of the small accesses"
gate "memory mirrored with ring_mirror=0" \
	"/^flip 0 after ring.*payload/s/mirrored=0/mirrored=1/" \
	"flip: payload was not mirrored with ring_mirror=0"
gate "a part never mirrored" \
	"/^thp 1 after ring.*used/s/mirrored=[0-9]*/mirrored=7/" \
	"thp: used was reached through windows"
gate "ring_mirror=0 without effect" \
	"/^pageout 0 after ring.*desc/s/mirrored=0/mirrored=1/" \
	"pageout: desc was not with ring_mirror=0"
gate "accesses not counted with ring_mirror=0" \
	"/^pageout 0 after ring.*desc/s/fallback=1007/fallback=7/" \
	"pageout: desc was not with ring_mirror=0"
gate "nothing swapped out" \
	"s/^pageout 1 after vm pswpout .*/pageout 1 after vm pswpout 7/" \
	"pageout, ring_mirror=1: pswpout moved"
gate "nothing migrated" \
	"s/^\(migrate 0 after vm pgmigrate_success\) .*/\1 7/" \
	"migrate, ring_mirror=0: pgmigrate_success moved"
gate "nothing collapsed" \
	"s/^\(thp 1 after vm thp_collapse_alloc\) .*/\1 7/" \
	"thp, ring_mirror=1: thp_collapse_alloc moved"
gate "nothing split" \
	"s/^\(thp 1 after vm thp_split_page\) .*/\1 7/" \
	"thp, ring_mirror=1: thp_split_page moved"
gate "99 invalidations of live pages" \
	"/^migrate 1 after ring/{s/unmap:[0-9]*/unmap:40/;s/page:[0-9]*/page:7/}" \
	"migrate: 99 invalidations found a live ring page"
gate "one client left in peace" \
	"s/^thp 1 live guest .*/thp 1 live guest 99/" \
	"thp: as many of guest alone"
gate "rings not unmapped" "/^flip 1 after ring/s/unmap:[0-9]*/unmap:7/" \
	"flip: unmapped"
gate "rings not forked" \
	"/^flip 1 after ring/s/protection_page:[0-9]*/protection_page:7/" \
	"flip: forked"
gate "a phase left out" "/^thp /d" "thp: took place"
gate "an error" "1s/^/error no guest\n/" "no guest"
gate "the guest panicked" "/^guest /d" "the guest ended well"
gate "no end" "/^end$/d" "came to its end"
gate "no results" d "came to its end"

soaked() {
	mode=1
	for phase in $phases; do
		snapshot before 7
		echo "$phase 1 disturber testpmd kind=$phase done=3"
		echo "$phase 1 disturber ringflip flips=3 to=100 from=100"
		snapshot after 2000007
	done
	for kind in windows caches; do
		echo "juggle 1 $kind flips=3 reads=3 writes=3 misses=0" \
			"live=3 stale=0"
	done
	echo "canary pages=8 stale=0"
	echo end
}

judge=soak.awk
phases="pageout owner_dies"
soaked >"$out/well"
gate "all is well in a soak" ""
gate "a soak without a phase" "/^owner_dies/d" "owner_dies: took place"
gate "too few accesses" "s/mirrored=2000007/mirrored=207/" "1200 accesses"
gate "too few live pages" "s/:2000007/:207/g" "2400 invalidations"
gate "too few accesses through caches" \
	"/=\(indirect\|header\|payload\) /s/mirrored=2000007/mirrored=207/" \
	"1200 accesses through vhost's caches"
gate "too few live pages of caches" "/ cache /s/:2000007/:107/" \
	"200 invalidations found a live page of a cache"
gate "a stale access of a window" "/windows/s/stale=0/stale=1/" \
	"through windows to a page that was gone"
gate "a stale access of a cache" "/caches/s/stale=0/stale=1/" \
	"through caches to a page that was gone"
gate "a stale write" "/^canary/s/stale=0/stale=1/" "write to a page that was gone"
gate "no canary" "/^canary/d" "write to a page that was gone"
gate "no windows of the device" "/windows/d" "windows of the test device were read"
gate "no caches of the device" "/caches/d" "caches of the test device were read"
gate "no writes through caches" "/caches/s/writes=3/writes=0/" \
	"caches of the test device were read and written"
gate "no packets" "/ringflip/d" "packets were verified"
gate "a splat in a soak" "s/^pageout 1 after splats 0/pageout 1 after splats 3/" \
	"did not complain"
gate "an error in a soak" "1s/^/error no client\n/" "no client"
gate "no end of a soak" "/^end$/d" "came to its end"

# Each measure as small as it may be.
gone_through() {
	mode=1
	for phase in $phases; do
		snapshot before 7
		echo "$phase 1 before ring pid=0 closed part=log mirrored=7"
		awk -F'\t' -v phase="$phase" '
			function bytes(to) {
				guest = $2
				sub(/_[^_]*$/, "", guest)
				print phase, 1, "bytes", guest, to, $3 * 1048576
			}
			/^#/ || $1 != phase { next }
			$2 ~ /^(desc|avail|used|log)$/ || $2 ~ /^vm_/ { next }
			$2 ~ /_to$/ { bytes("to"); next }
			$2 ~ /_from$/ { bytes("from"); next }
			{ print phase, 1, "measure", $2, $3 }' "$table"
		echo "$phase 1 after ring pid=0 closed part=log mirrored=200007"
		snapshot after 200007
	done
	echo "unloaded 1 before splats 0"
	echo "guest # lab: exit status 0"
	echo "unloaded 1 measure modules_gone 1"
	echo "unloaded 1 after splats 0"
	echo end
}

judge=matrix.awk
table=$LAB/guests/matrix.tsv
phases="pair pressed paused vsock iperf3 migrated killed"
gone_through >"$out/well"
gate "all is well in the matrix" ""
grep ' measure ' "$out/well" >"$out/measures"
while read -r phase mode _ name minimum; do
	gate "matrix: too little $name in $phase" \
		"s/^\($phase $mode measure $name\) .*/\1 $((minimum - 1))/" \
		"$phase: $name: $((minimum - 1)), wanted $minimum"
done <"$out/measures"
grep ' bytes ' "$out/well" >"$out/bytes"
while read -r phase mode _ name way _; do
	gate "matrix: no data ${way} $name in $phase" \
		"/^$phase $mode bytes $name $way/d" "$phase: ${name}_$way: 0"
done <"$out/bytes"
# What there was before is 7.
grep -E '	(desc|avail|used|log|vm_.*)	' "$table" >"$out/counters"
while read -r phase name minimum _; do
	edit="s/\\(vm ${name#vm_}\\) .*/\\1 $((minimum + 6))/"
	[ "${name#vm_}" != "$name" ] ||
		edit="{/part=$name /s/mirrored=[0-9]*/mirrored=$((minimum + 6))/;}"
	gate "matrix: too little $name in $phase" "/^$phase 1 after /$edit" \
		"$phase: $name: $((minimum - 1)), wanted $minimum"
done <"$out/counters"
gate "matrix: wrong data" \
	"s/^paused 1 bytes first to .*/paused 1 corrupt first to 3 2/" \
	"checksum: paused 1"
gate "matrix: a splat" "s/^killed 1 after splats 0/killed 1 after splats 1/" \
	"killed: the kernel did not complain"
gate "matrix: a splat at the end" \
	"s/^unloaded 1 after splats 0/unloaded 1 after splats 1/" \
	"unloaded: the kernel did not complain"
gate "matrix: a case left out" "/^vsock /d" "vsock: took place"
gate "matrix: an error" "1s/^/error no guest\n/" "no guest"
gate "matrix: no guest was left" "/^guest /d" "left ended well"
gate "matrix: a guest failed" "s/^guest .*/&1/" "left ended well"
gate "matrix: no end" "/^end$/d" "came to its end"

counted() {
	for round in 1 2 3; do
		echo "pps testpmd sends 1 ${round}200 1000 1000 0"
		echo "pps testpmd sends 0 ${round}000 1000 0 1000"
	done
	echo end
}

# row WHAT PATTERN: among what the last gate printed.
row() {
	result_of "$1" grep -q "$2" "$out/report"
}

judge=pps.awk
table=
counted >"$out/well"
gate "all is well in pps" ""
row "pps: the median of the rounds" \
	'series=mirrored	.*median=2200	lo=1700	hi=2700	'
row "pps: the ratio round by round" 'unit=ratio	median=1.1	'
row "pps: emulation says so" 'unit=ratio	.*emulation'
accel=kvm
gate "all is well in pps under KVM" ""
row "pps: hardware says so, and has a target" 'unit=ratio	.*note=KVM$'
accel=tcg
gate "pps: 2 % fell back" "1s/1000 0$/980 20/" "not what the mode"
gate "pps: mirrored with ring_mirror=0" "2s/0 1000$/1 999/" "not what the mode"
gate "pps: no packets" "1s/1200/0/" "nothing moved"
gate "pps: no accesses" "1s/1000 0$/0 0/" "nothing moved"
gate "pps: a round is missing" 2d "sends are missing"
gate "pps: half a line" "3s/ 0$//" "no round"
gate "pps: an error" "1s/^/error no testpmd\n/" "no testpmd"
gate "pps: no end" "/^end$/d" "did not come to its end"
gate "pps: no rounds" "/^pps/d" "no rounds"
finish
[ -z "$failed" ]
