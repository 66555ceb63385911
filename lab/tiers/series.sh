#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# lab/tiers/series.sh [BASE...]
#
# The upstream series for each base (7.3 and 6.12, or that of KSRC), as who gets
# it would use it: "git am" on the source, then checkpatch --strict, a build, and
# on 7.3 KUnit, for each commit. The core fix is taken out once, to see its test
# fail, and so is that of powerpc, on a machine of that kind. KTAP; what a build or
# a test says is in LOGS (lab/lib/env.sh).

# shellcheck source=lab/lib/env.sh
. "$(dirname "$0")/../lib/env.sh"
# shellcheck source=lab/lib/ktap.sh
. "$LAB/lib/ktap.sh"

if [ $# -eq 0 ]; then
	if [ -z "${KSRC:-}" ]; then
		set -- 7.3 6.12
	elif ksrc 7.3 >/dev/null; then
		set -- 7.3
	else
		set -- 6.12
	fi
fi
need git perl python3
logs=$LOGS
mkdir -p "$logs"
GIT_CONFIG_GLOBAL=/dev/null
GIT_CONFIG_NOSYSTEM=1
GIT_COMMITTER_NAME=lab
GIT_COMMITTER_EMAIL=lab@localhost
export GIT_CONFIG_GLOBAL GIT_CONFIG_NOSYSTEM GIT_COMMITTER_NAME \
	GIT_COMMITTER_EMAIL
# What is for upstream is judged by the newer checkpatch.
checkpatch=$("$LAB/vm/fetch.sh" src-7.3)/scripts/checkpatch.pl

# Not heeded: no person signs, the source package has no history to find commits
# in, and new files get their maintainers in the commit of the documentation.
NOT_HEEDED=MISSING_SIGN_OFF,UNKNOWN_COMMIT_ID,FILE_PATH_CHANGES

# Programs have no READ_ONCE(), 6.12 has no kmalloc_obj(), and the kernel's trace
# headers have a style of their own.
complaints() {
	allow=$NOT_HEEDED
	[ "$base" != 6.12 ] || allow=$allow,ALLOC_WITH_SIZEOF,ALLOC_WITH_MULTIPLY
	(cd "$tree" && perl "$checkpatch" --no-tree --strict --terse --showfile \
		--no-summary --show-types --ignore "$allow" "$1" 2>&1) |
		grep -Ev 'tools/.*:VOLATILE:' |
		grep -Ev '^include/trace/.*:(PARENTHESIS_ALIGNMENT|OPEN_ENDED_LINE):' ||
		true
}

# The source in a repository of the files that the series changes: the others
# are there, and git need not know of them.
prepare() {
	src=$("$LAB/vm/fetch.sh" "src-$base")
	# What an earlier run changed goes back by git: with a new mtime.
	if [ -d "$tree/.git" ]; then
		git -C "$tree" am --abort >/dev/null 2>&1 || true
		git -C "$tree" checkout -q -f base
		rm -rf "$tree/.git"
	else
		linked_copy "$src" "$tree"
	fi
	git init -q -b series "$tree"
	sed -n 's#^diff --git a/\([^ ]*\) .*#\1#p' "$patches"/*.patch |
		sort -u | while read -r file; do
			[ ! -f "$src/$file" ] || echo "$file"
		done | git -C "$tree" add -f --pathspec-from-file=-
	GIT_AUTHOR_NAME=lab GIT_AUTHOR_EMAIL=lab@localhost \
		git -C "$tree" commit -q -m "$base"
	git -C "$tree" tag base
}

# kunit LOG: its sum in $sum, and 1 if anything failed.
kunit() {
	status=0
	KTREE=$tree "$LAB/tiers/kunit.sh" >"$1" 2>"$1.err" || status=1
	sum=$("$LAB/lib/summary" "$1") || status=1
	sum=$(echo "$sum" | tail -n 1)
	return "$status"
}

# A suite runs, as soon as there is one.
suites_ran() {
	for suite in mmu_notifier mmu_range_mirror mmu_mirror_tlb; do
		[ ! -f "$tree/mm/tests/${suite}_kunit.c" ] ||
			grep -Eq "^ *ok [0-9]+ (- )?$suite( |\$)" "$1" || return 1
	done
}

kunit_result() {
	kunit "$logs/$base-$n-kunit" && suites_ran "$logs/$base-$n-kunit" ||
		status=1
	result "$status" "KUnit at $n/$total: $sum"
}

# Without the fix every test of it has to fail, and none to end the run.
control() {
	log=$logs/$base-control
	git -C "$tree" checkout -q base -- mm/mmu_notifier.c
	kunit "$log" || true
	status=0
	grep -Eq '^ +not ok [0-9]+ (- )?refused' "$log" || status=1
	! grep -Eq '^ +ok [0-9]+ (- )?refused' "$log" || status=1
	grep -q '^ok .* kunit: UML ended by itself' "$log" || status=1
	result "$status" "the core fix's tests fail without it: $sum"
	git -C "$tree" checkout -q HEAD -- mm/mmu_notifier.c
}

# radix LOG: what KUnit says on powerpc with radix page tables is in LOG/results.
radix() {
	rm -rf "$1"
	mkdir -p "$1"
	KTREE=$tree "$LAB/vm/build.sh" "arch-powerpc-$base" >"$1/build" 2>&1 ||
		return 1
	"$LAB/vm/root.sh" -a powerpc -r "$1/root" >>"$1/build" 2>&1
	printf '#!/bin/sh\ncat /sys/kernel/debug/kunit/mmu_*/results\n' \
		>"$1/root/test.sh"
	chmod +x "$1/root/test.sh"
	KTREE=$tree "$LAB/vm/boot.sh" -k "arch-powerpc-$base" -r "$1/root" \
		-o "$1" -t 120 -m 1024 >"$1/boot" 2>&1
}

# The fix of its flushes, and what its test says without it.
powerpc() {
	log=$logs/$base-powerpc
	told='ok [0-9]+ (- )?walker_is_told_of_a_page$'
	status=0
	radix "$log" && grep -Eq "^ +$told" "$log/results" &&
		! grep -q '^not ok' "$log/results" || status=1
	result "$status" "powerpc with radix page tables: KUnit"
	git -C "$tree" checkout -q base -- arch/powerpc/mm
	radix "$log-control" || true
	status=0
	grep -Eq "^ +not $told" "$log-control/results" || status=1
	result "$status" "the fix of powerpc's flushes is noticed where it is not"
	git -C "$tree" checkout -q HEAD -- arch/powerpc/mm
}

# What the cover letter offers and no commit has.
proposed() {
	log=$logs/$base-proposed
	status=0
	{ patch -d "$tree" -p1 -s -F0 --no-backup-if-mismatch \
		-i "$REPO/patches/series/$base/core-wait.patch" &&
		KTREE=$tree "$LAB/vm/build.sh" "objects-$base"; } >"$log" 2>&1 ||
		status=1
	[ "$status" = 0 ] || tail -n 20 "$log" >&2
	git -C "$tree" checkout -q -f series
	return $status
}

maintained() {
	git -C "$tree" diff --name-only --diff-filter=A base series |
		while read -r file; do
			(cd "$tree" && perl scripts/get_maintainer.pl --no-git \
				--no-git-fallback --sections --no-email \
				--no-l --no-rolestats -f "$file") |
				grep -Eq '^(MMU RANGE MIRROR|VIRTIO HOST|MEMORY MANAGEMENT)' ||
				echo "$file has no maintainer"
		done
}

check_base() {
	patches=$("$LAB/series.sh" "$base")
	tree=$CACHE/tree/series-$base
	locked "series-tree-$base"
	prepare
	total=$(find "$patches" -name '*.patch' ! -name '0000-*' | wc -l)
	status=0
	find "$patches" -name '*.patch' ! -name '0000-*' | sort |
		xargs git -C "$tree" am -q >"$logs/$base-am" 2>&1 || status=1
	[ "$(git -C "$tree" rev-list --count base..series)" = "$total" ] || status=1
	result "$status" "git am applies $total patches"
	[ "$status" = 0 ] || return 0

	for n in $(seq "$total"); do
		patch=$(echo "$patches/$(printf %04d "$n")"-*.patch)
		say "$base: $n of $total, $(basename "$patch" .patch)"
		complaints "$patch" >"$logs/$base-$n-checkpatch"
		status=0
		[ ! -s "$logs/$base-$n-checkpatch" ] || status=1
		head -n 20 "$logs/$base-$n-checkpatch" >&2
		result "$status" "checkpatch --strict of $n/$total"

		git -C "$tree" checkout -q "series~$((total - n))"
		status=0
		KTREE=$tree "$LAB/vm/build.sh" "objects-$base" >"$logs/$base-$n-build" \
			2>&1 || status=1
		[ "$status" = 0 ] || tail -n 20 "$logs/$base-$n-build" >&2
		result "$status" "mm, lib, samples and drivers/vhost build at $n/$total"
		# Older UML has no SMP, which the lab's configuration is for.
		[ "$base" = 7.3 ] || continue
		kunit_result
		[ "$n" != 1 ] || control
	done
	[ "$base" != 7.3 ] || powerpc
	result_of "core-wait, which is only offered, applies and builds" proposed

	maintained >"$logs/$base-maintained"
	cat "$logs/$base-maintained" >&2
	status=0
	[ ! -s "$logs/$base-maintained" ] || status=1
	result "$status" "every new file has a maintainer"
}

begin series
for base in "$@"; do
	about "series: $base"
	check_base
done
finish
[ -z "$failed" ]
