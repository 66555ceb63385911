#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# lab/tiers/mutants.sh [first | table | NAME...]
#
# Apply each small wrong change of lab/tiers/mutants.tsv, or those named, or the first
# of each invariant that takes no virtual machine, to a copy of the repository,
# run the test that must notice it, and print KTAP: a mutant that it does not
# notice is a failure, and its logs are kept. With all mutants, the table of invariants in Documentation
# has to be that of this run, too: "table" prints it as a run makes it in which each
# mutant is noticed. With ALL=1 every test of the suite is run, to see who else notices.

# shellcheck source=lab/lib/env.sh
. "$(dirname "$0")/../lib/env.sh"

TABLE=Documentation/mm/mmu_range_mirror_invariants.rst

if [ "${1:-}" = table ]; then
	awk -F '\t' '!/^#/ { print $2 "\t" $1 "\t" $3 }' "$LAB/tiers/mutants.tsv" |
		"$LAB/tiers/mutants.awk" "$LAB/tiers/mutants.tsv" -
	exit
fi
work=$CACHE/build/mutants
copy=$work/repo
mkdir -p "$work" "$LOGS"
: >"$LOGS/table"

# A cache of its own but for what is downloaded: the other tiers' trees and
# kernels must never see a mutant.
own=$work/cache
mkdir -p "$own"
for shared in accel apt ccache deb src stock; do
	mkdir -p "$CACHE/$shared"
	ln -sfn "$CACHE/$shared" "$own/$shared"
done

refresh() {
	rm -rf "$copy"
	mkdir -p "$copy"
	(cd "$REPO" && git -c safe.directory='*' ls-files -z |
		rsync -a0 --files-from=- ./ "$copy/")
	# lab/tiers/static.sh asks git for the sources.
	git init -q "$copy"
}

# The tests that failed, in one line; or that something else went wrong. KUnit's
# are indented, kselftest's have dots.
killers() {
	failed=$(sed -nE -e 's/^ +not ok [0-9]+ (- )?([^# ]*).*/\2/p' \
		-e 's/^not ok [0-9]+ ([a-z_]+\.[^# ]*).*/\1/p' \
		-e 's/^not ok [0-9]+ static: (.*)/\1/p' \
		-e 's/^not ok .*: the kernel (complained|did not complain)$/the kernel complained/p' \
		"$LOGS/$name/out" | tr '\n' ',' | sed 's/,$//; s/,/, /g')
	if [ -n "$failed" ]; then
		echo "$failed"
	elif [ "$1" != 0 ] && grep -q 'has passed no test' "$LOGS/$name/out"; then
		echo "nothing: the test was skipped"
	elif [ "$1" != 0 ] && grep -qE '# (Subtest:|lab: program)' "$LOGS/$name/out"; then
		echo "the end of the run"
	elif [ "$1" != 0 ]; then
		echo "nothing: no test was begun"
	fi
}

# run NAME TESTS: into $LOGS/NAME. KUnit's tests are SUITE.CASE; those that take
# a virtual machine are what lab/vm/selftest.sh takes, PROGRAM ARGUMENT...; "static: CHECK"
# is one of lab/tiers/static.sh.
run() {
	# $2 is words on purpose.
	# shellcheck disable=SC2086
	case ${ALL:+all}$2 in
	*static:\ *) set -- "$1" tiers/static.sh "${2#static: }" ;;
	all*/*) set -- "$1" vm/selftest.sh stock 1 "${2%% *}" ;;
	all*) set -- "$1" tiers/kunit.sh '*' ;;
	*/*) set -- "$1" vm/selftest.sh stock 1 $2 ;;
	*) set -- "$1" tiers/kunit.sh "$2" ;;
	esac
	into=$LOGS/$1
	tool=$copy/lab/$2
	shift 2
	rm -rf "$into"
	mkdir -p "$into"
	MRM_CACHE=$own MRM_LOGS=$into "$tool" "$@" >"$into/out" 2>"$into/err" \
		</dev/null
}

need rsync git
refresh
grep -v '^#' "$LAB/tiers/mutants.tsv" >"$work/all"
case ${1:-} in
'') cp "$work/all" "$work/list" ;;
first) awk -F '\t' '$3 !~ "/" && !seen[$2]++' "$work/all" >"$work/list" ;;
*)
	printf '%s\n' "$@" >"$work/names"
	grep -wFf "$work/names" "$work/all" >"$work/list"
	;;
esac

echo "KTAP version 1"
{
	echo '*'
	cut -f 3 "$work/list" |
		sed -n 's#^\([a-z_]*/[^ ]*\).*#\1#p; /^static: /p' | sort -u
} >"$work/sound"
echo "1..$(($(cat "$work/list" "$work/sound" | wc -l) + ($# == 0)))"
# With no mutant applied, the tests must pass: else every mutant would "die".
n=0
name=none
while read -r tests; do
	n=$((n + 1))
	status=0
	run none "$tests" || status=$?
	by=$(killers "$status")
	echo "${by:+not }ok $n mutants: ${by:-nothing} fails without one"
	[ -z "$by" ] || exit 1
done <"$work/sound"

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
	run "$name" "$tests" || status=$?
	mv "$copy/$file.orig" "$copy/$file"
	touch "$copy/$file"
	by=$(killers "$status")
	if grep -qE 'do(es)? not (build|apply)' "$LOGS/$name/err"; then
		echo "not ok $n mutants: $name does not build, or its patch not apply"
	elif [ "$by" != "${by#nothing: }" ]; then
		echo "not ok $n mutants: $name is killed by $by; see $LOGS/$name/err"
	elif [ -n "$by" ]; then
		echo "ok $n mutants: $invariant $name, killed by $by"
		printf '%s\t%s\t%s\n' "$invariant" "$name" "$tests" >>"$LOGS/table"
		rm -rf "${LOGS:?}/$name"
	else
		echo "not ok $n mutants: $invariant $name survives $tests"
	fi
done <"$work/list"

[ $# -eq 0 ] || exit 0
"$LAB/tiers/mutants.awk" "$LAB/tiers/mutants.tsv" "$LOGS/table" >"$LOGS/invariants.rst"
if cmp -s "$LOGS/invariants.rst" "$REPO/$TABLE"; then
	echo "ok $((n + 1)) mutants: $TABLE is of this run"
else
	echo "not ok $((n + 1)) mutants: $TABLE is not of this run"
	say "copy $LOGS/invariants.rst over it"
fi
