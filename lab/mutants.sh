#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# lab/mutants.sh [NAME...]
#
# Apply each small wrong change of lab/mutants.tsv, or those named, to a copy of
# the repository, run the test that must notice it, and print KTAP: a mutant
# that it does not notice is a failure. With all mutants, the table of
# invariants in Documentation has to be that of this run, too. With ALL=1 every
# test of the suite is run, to see who else notices.

# shellcheck source=lab/env.sh
. "$(dirname "$0")/env.sh"

TABLE=Documentation/mm/mmu_range_mirror_invariants.rst
work=$CACHE/build/mutants
copy=$work/repo
mkdir -p "$work"
: >"$work/table"

# A cache of its own but for what is downloaded: the other tiers' trees and
# kernels must never see a mutant.
own=$work/cache
mkdir -p "$own"
for shared in accel apt ccache deb herd src stock; do
	mkdir -p "$CACHE/$shared"
	ln -sfn "$CACHE/$shared" "$own/$shared"
done

refresh() {
	mkdir -p "$copy"
	(cd "$REPO" && git -c safe.directory='*' ls-files -z |
		rsync -a0 --files-from=- ./ "$copy/")
}

# The tests that failed, in one line; or that something else went wrong.
killers() {
	failed=$(sed -nE 's/^ +not ok [0-9]+ (- )?([^# ]*).*/\2/p' \
		"$work/$name.out" | tr '\n' ',' | sed 's/,$//; s/,/, /g')
	if [ -n "$failed" ]; then
		echo "$failed"
	elif [ "$1" != 0 ]; then
		echo "the end of the run"
	fi
}

# kunit NAME TESTS: into $work/NAME.*
kunit() {
	[ -z "${ALL:-}" ] || set -- "$1" '*'
	MRM_CACHE=$own "$copy/lab/kunit.sh" "$2" >"$work/$1.out" \
		2>"$work/$1.err" </dev/null
}

need rsync git
refresh
grep -v '^#' "$LAB/mutants.tsv" >"$work/list"
if [ $# -gt 0 ]; then
	printf '%s\n' "$@" >"$work/names"
	grep -wFf "$work/names" "$work/list" >"$work/some"
	mv "$work/some" "$work/list"
fi

echo "KTAP version 1"
echo "1..$(($(wc -l <"$work/list") + 1 + ($# == 0)))"
# With no mutant applied, the tests must pass: else every mutant would "die".
n=1
name=none
status=0
kunit none '*' || status=$?
by=$(killers "$status")
echo "${by:+not }ok 1 mutants: ${by:-nothing} fails without one"

tab=$(printf '\t')
while IFS=$tab read -r name invariant tests file script; do
	n=$((n + 1))
	status=0
	cp "$copy/$file" "$copy/$file.orig"
	sed -i "$script" "$copy/$file"
	if cmp -s "$copy/$file" "$copy/$file.orig"; then
		echo "not ok $n mutants: $name does not apply to $file"
		continue
	fi
	say "mutant $name"
	kunit "$name" "$tests" || status=$?
	mv "$copy/$file.orig" "$copy/$file"
	touch "$copy/$file"
	by=$(killers "$status")
	if grep -q 'does not build' "$work/$name.err"; then
		echo "not ok $n mutants: $name does not build"
	elif [ -n "$by" ]; then
		echo "ok $n mutants: $invariant $name, killed by $by"
		printf '%s\t%s\t%s\n' "$invariant" "$name" "$tests" >>"$work/table"
	else
		echo "not ok $n mutants: $invariant $name survives $tests"
	fi
done <"$work/list"

[ $# -eq 0 ] || exit 0
"$LAB/mutants.awk" "$LAB/mutants.tsv" "$work/table" >"$work/invariants.rst"
if cmp -s "$work/invariants.rst" "$REPO/$TABLE"; then
	echo "ok $((n + 1)) mutants: $TABLE is of this run"
else
	echo "not ok $((n + 1)) mutants: $TABLE is not of this run"
	say "copy $work/invariants.rst over it"
fi
