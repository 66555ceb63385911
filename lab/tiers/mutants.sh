#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# lab/tiers/mutants.sh [first | table | NAME...]
#
# Apply each small wrong change of lab/tiers/mutants.tsv, or those named, or the first
# of each invariant that takes no virtual machine, to a copy of the repository,
# run the test that must notice it, and print KTAP: a mutant that it does not
# notice is a failure, and its logs are kept. Those that take a virtual machine run
# beside the others. With all mutants, the table of invariants in Documentation
# has to be that of this run, too: "table" prints it as a run makes it in which each
# mutant is noticed. With ALL=1 every test of the suite is run, to see who else notices.
#
# All mutants take hours. What a run has shown is kept in the cache, for these very
# files (but for documents), and one that comes after it goes on: RESTART=1 begins again.

# shellcheck source=lab/lib/env.sh
. "$(dirname "$0")/../lib/env.sh"

TABLE=Documentation/mm/mmu_range_mirror_invariants.rst

if [ "${1:-}" = table ]; then
	awk -F '\t' '!/^#/ { print $2 "\t" $1 "\t" $3 }' "$LAB/tiers/mutants.tsv" |
		"$LAB/tiers/mutants.awk" "$LAB/tiers/mutants.tsv" -
	exit
fi
work=$CACHE/build/mutants
mkdir -p "$work" "$LOGS"

# What a result is true of.
files_sum() {
	(cd "$REPO" && git -c safe.directory='*' ls-files -z -- . ':!Documentation' \
		':!*.md' ':!*.txt' ':!lab/bench' ':!lab/tiers/mutants.tsv' |
		xargs -0 sha256sum) | sha256sum | cut -c 1-16
}

# prepare LANE: a copy, and a cache of its own but for what is downloaded: the other
# tiers' trees and kernels must never see a mutant.
prepare() {
	copy=$work/$1/repo
	own=$work/$1/cache
	rm -rf "$copy"
	mkdir -p "$copy" "$own"
	(cd "$REPO" && git -c safe.directory='*' ls-files -z |
		rsync -a0 --files-from=- ./ "$copy/")
	# lab/tiers/static.sh asks git for the sources.
	git init -q "$copy"
	for shared in accel apt ccache deb src stock; do
		mkdir -p "$CACHE/$shared"
		ln -sfn "$CACHE/$shared" "$own/$shared"
	done
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

# mutant NAME INVARIANT TESTS FILE SCRIPT: "not ok" or "ok", and why.
mutant() {
	status=0
	# Not beside it: all that lies among patches is applied.
	original=$work/$lane/original
	cp "$copy/$4" "$original"
	sed -i "$5" "$copy/$4"
	if cmp -s "$copy/$4" "$original"; then
		echo "not ok $1 does not apply to $4"
		return
	fi
	say "mutant $1"
	run "$1" "$3" || status=$?
	cp "$original" "$copy/$4"
	name=$1
	by=$(killers "$status")
	if grep -qE 'do(es)? not (build|apply)' "$LOGS/$1/err"; then
		echo "not ok $1 does not build, or its patch not apply"
	elif [ "$by" != "${by#nothing: }" ]; then
		echo "not ok $1 is killed by $by; see $LOGS/$1/err"
	elif [ -n "$by" ]; then
		echo "ok $2 $1, killed by $by"
		rm -rf "${LOGS:?}/$1"
	else
		echo "not ok $2 $1 survives $3"
	fi
}

# With no mutant applied, a test must pass: else every mutant would "die".
sound() {
	status=0
	name=none-$lane
	run "$name" "$1" || status=$?
	by=$(killers "$status")
	echo "${by:+not }ok ${by:-nothing} fails without one"
}

# lane NAME: its part of the list, each result in a file of its own.
lane() {
	lane=$1
	prepare "$lane"
	while IFS=$tab read -r n name invariant tests file script; do
		kept=$seen/$name
		line="$name$tab$invariant$tab$tests$tab$file$tab$script"
		if [ "$name" = - ]; then
			result=$(sound "$tests")
		elif [ -n "$goes_on" ] && [ "$(sed -n 1p "$kept" 2>/dev/null)" = "$line" ]; then
			result="$(sed -n 2p "$kept"), in an earlier run"
		else
			rm -f "$kept"
			result=$(mutant "$name" "$invariant" "$tests" "$file" "$script")
			case ${ALL:-}$result in
			ok*) printf '%s\n%s\n' "$line" "$result" >"$kept" ;;
			esac
		fi
		echo "$result" >"$work/results/.$n"
		mv "$work/results/.$n" "$work/results/$n"
		case $name$result in
		-not*) exit 1 ;;
		esac
	done <"$work/$lane/list"
}

need rsync git
tab=$(printf '\t')
if [ "${1:-}" = --lane ]; then
	goes_on=$3
	seen=$4
	echo $$ >"$work/$2/pid"
	lane "$2"
	exit
fi
locked mutants
: >"$LOGS/table"
grep -v '^#' "$LAB/tiers/mutants.tsv" >"$work/all"
goes_on=
case ${1:-} in
'')
	cp "$work/all" "$work/list"
	[ -n "${RESTART:-}${ALL:-}" ] || goes_on=yes
	;;
first) awk -F '\t' '$3 !~ "/" && !seen[$2]++' "$work/all" >"$work/list" ;;
*)
	printf '%s\n' "$@" >"$work/names"
	grep -wFf "$work/names" "$work/all" >"$work/list"
	;;
esac
seen=$work/seen/$(files_sum)
rm -rf "$work/results"
mkdir -p "$seen" "$work/results" "$work/machines" "$work/others"
{
	printf -- '-\t-\t*\n'
	cut -f 3 "$work/list" |
		sed -n 's#^\([a-z_]*/[^ ]*\).*#-\t-\t\1#p; s/^static: /-\t-\t&/p' | sort -u
	cat "$work/list"
} | awk '{ print NR "\t" $0 }' >"$work/numbered"
awk -F '\t' -v machines="$work/machines/list" -v others="$work/others/list" '
BEGIN { printf "" >machines; printf "" >others }
{ print >($4 ~ "/" && $4 !~ /^static: / ? machines : others) }' "$work/numbered"

echo "KTAP version 1"
echo "1..$(($(wc -l <"$work/numbered") + ($# == 0)))"
# As groups, to be ended with all that they have started.
stop() {
	for lane in machines others; do
		kill -- "-$(cat "$work/$lane/pid" 2>/dev/null)" 2>/dev/null || true
	done
}
trap stop EXIT
trap 'exit 1' HUP INT TERM
for lane in machines others; do
	rm -f "$work/$lane/pid" "$work/$lane/over"
	{
		[ ! -s "$work/$lane/list" ] ||
			setsid -w "$0" --lane "$lane" "$goes_on" "$seen" || true
		: >"$work/$lane/over"
	} &
done

running() {
	[ ! -f "$work/machines/over" ] || [ ! -f "$work/others/over" ]
}

while IFS=$tab read -r n name invariant tests _; do
	while [ ! -f "$work/results/$n" ] && running; do
		sleep 1
	done
	result=$(cat "$work/results/$n" 2>/dev/null) ||
		result="not ok $name was not run"
	case $result in
	ok*)
		echo "ok $n mutants:${result#ok}"
		[ "$name" = - ] || printf '%s\t%s\t%s\n' "$invariant" "$name" "$tests" \
			>>"$LOGS/table"
		;;
	*) echo "not ok $n mutants:${result#not ok}" ;;
	esac
done <"$work/numbered"

[ $# -eq 0 ] || exit 0
"$LAB/tiers/mutants.awk" "$LAB/tiers/mutants.tsv" "$LOGS/table" >"$LOGS/invariants.rst"
if cmp -s "$LOGS/invariants.rst" "$REPO/$TABLE"; then
	echo "ok $((n + 1)) mutants: $TABLE is of this run"
else
	echo "not ok $((n + 1)) mutants: $TABLE is not of this run"
	say "copy $LOGS/invariants.rst over it"
fi
