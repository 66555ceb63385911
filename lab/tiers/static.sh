#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# lab/tiers/static.sh [CHECK...]
#
# What can be said about the sources without running them, one KTAP line for
# each check, or for those named, several at a time. What a failed check complains
# about goes to stderr, and is kept in LOGS (lab/lib/env.sh).

# shellcheck source=lab/lib/env.sh
. "$(dirname "$0")/../lib/env.sh"

out=$LOGS
mkdir -p "$out"
cd "$REPO" || exit
tab=$(printf '\t')

# As git sees the sources, whoever owns the checkout.
tracked() {
	git -c safe.directory='*' ls-files --cached --others \
		--exclude-standard "$@"
}

# A script without a suffix says what it is on its first line.
scripts() {
	tracked | while read -r file; do
		[ -f "$file" ] && head -n 1 "$file" | grep -q '^#!/bin/sh' &&
			echo "$file"
	done || true
}

ours() {
	tracked '*.[ch]'
}

# The overlay tree has them under the same names, next to their neighbours.
kernel_files() {
	ours | grep -v ^lab/
}

# Markdown, JSON, patches, messages of commits, litmus tests and a package's files have
# no place for one.
spdx() {
	tracked | grep -Ev '^COPYING$|\.(json|md|patch|litmus|in)$|(^|/)\.gitignore$' |
		grep -v '^patches/series/.*\.txt$' |
		grep -Ev '^packaging/debian/(changelog|control|copyright|source/format|.*\.(docs|install|manpages))$' |
		while read -r file; do
			head -n 2 "$file" | grep -q 'SPDX-License-Identifier: ' ||
				echo "$file: no SPDX line"
		done
}

# The brackets keep the patterns from finding themselves.
host_names() {
	tracked | xargs grep -nE '(^|[^A-Za-z0-9_.}])/([w]ork|[h]ome)/' || true
	tracked | xargs grep -nEi \
		'(deb|security|snapshot|ftp)[.]debian[.]org|pypi[.]|npmjs[.]' ||
		true
}

# Whole names of lab's files in scripts and documents; what ends in a variable is none.
named_files() {
	tracked | grep -vE '^(patches|lab/bench/figures)/' |
		xargs grep -ohE '([$]LAB|lab)/[a-z-]+/[a-z][a-z0-9_./-]*[.](sh|awk|tsv|py|c|gdb)\b' |
		sed 's/^[$]LAB/lab/' | sort -u | while read -r file; do
			[ -e "$file" ] || echo "there is no $file"
		done
}

unfinished() {
	tracked | grep -v '^COPYING$' |
		xargs grep -nE '\<(TO[D]O|FIX[M]E|XX[X])\>' || true
}

shell() {
	scripts | xargs -P "$JOBS" -n 8 shellcheck -x -P "$LAB" || true
}

# Not heeded: MAINTAINERS is not touched, no person signs, one source is for
# two versions of the kernel, and 6.12 has no kzalloc_obj(). A comparison with
# KERNEL_VERSION() is mistaken for one with a constant on the left.
NOT_HEEDED=FILE_PATH_CHANGES,MISSING_SIGN_OFF,LINUX_VERSION_CODE
NOT_HEEDED=$NOT_HEEDED,ALLOC_WITH_SIZEOF,ALLOC_WITH_MULTIPLY

# How all of the kernel's trace headers are written.
TRACE_STYLE='^include/trace/.*:(PARENTHESIS_ALIGNMENT|OPEN_ENDED_LINE):'

# checkpatch [OPTION...]: of what is named on stdin.
checkpatch() {
	tree=$(tree)
	(cd "$tree" && xargs -P "$JOBS" -n 3 perl scripts/checkpatch.pl --strict \
		--terse --no-summary --show-types --ignore "$NOT_HEEDED" "$@" \
		2>/dev/null) | grep -v '_compat.h:.*CONSTANT_COMPARISON' |
		grep -Ev "$TRACE_STYLE" || true
}

# Programs have no READ_ONCE(). With a tree it would ask for the maintainers of each
# file, which takes as long as all the rest.
checkpatch_files() {
	kernel_files | grep -v ^tools/ | checkpatch --no-tree --file
	NOT_HEEDED=$NOT_HEEDED,VOLATILE,ENOSYS
	{
		kernel_files | grep ^tools/
		ours | grep ^lab/ | sed "s#^#$REPO/#"
	} | checkpatch --no-tree --file
}

checkpatch_patches() {
	find "$REPO/patches" -path '*/patches/*/*.patch' \
		! -path '*/series/*/*' | checkpatch
}

kernel_doc() {
	tree=$(tree)
	(cd "$tree" && kernel_files_in_tree |
		xargs scripts/kernel-doc -none -Werror) 2>&1 || true
}

kernel_files_in_tree() {
	(cd "$REPO" && kernel_files) | grep -E '^(include|mm|drivers|lib|samples)/'
}

applies() {
	rm -f "$out/tree-$1"
	"$LAB/vm/tree.sh" "$1" >"$out/.tree-$1" 2>"$out/.log" || cat "$out/.log"
	mv "$out/.tree-$1" "$out/tree-$1"
}

# The tree of 7.3, as that has left it. What is said while it is made is no finding.
tree() {
	cat "$out/tree-7.3" 2>/dev/null ||
		"$LAB/vm/tree.sh" 7.3 2>"$out/tree-log" ||
		{ cat "$out/tree-log" >&2; false; }
}

# Whatever is new has to be given to a commit of it. check-series judges the rest
# of each commit.
series() {
	log=$("$LAB/series.sh" "$1" 2>&1) || {
		echo "$log"
		return
	}
	find "$(echo "$log" | tail -n 1)" -name '0*' ! -name '0000-*' |
		checkpatch --no-tree --types COMMIT_LOG_LONG_LINE
}

# Built again, since what is not compiled does not warn: without the injection
# points, which the other tiers build in.
build_modules() {
	"$LAB/vm/fetch.sh" stock >/dev/null
	FRESH=1 "$LAB/vm/modules.sh" plain W=1 C=1 >/dev/null || echo "no build"
	grep -E '(warning|error):' "$CACHE/build/plain/build.log" |
		sed "s#$CACHE/build/plain/##" || true
}

# The headers change, and only make bench would notice what its shims lack.
user_space() {
	rm -rf "$out/user-space"
	mkdir "$out/user-space"
	tree=$(tree)
	make -s --no-print-directory OUTPUT="$out/user-space" \
		-C "$tree/tools/testing/mmu_range_mirror" 2>&1
	for program in "reader 10" "packets lines 8 2" walk domains loads; do
		# Words on purpose.
		# shellcheck disable=SC2086
		"$out/user-space"/$program >"$out/user-space/said" ||
			echo "$program: status $?"
	done
}

# The vhost.c that the kernel's own build makes of it: it runs, and moves packets.
ring_path() {
	program=$("$LAB/ringpath/build.sh" 6.12 2>"$out/ring-path.log") || {
		cat "$out/ring-path.log"
		return
	}
	# It aborts where a packet is lost.
	"$program" check >"$out/ring-path" ||
		{ echo "status $?"; cat "$out/ring-path"; }
}

# Everything that the compiler and sparse say of a file that is ours, or that
# a patch of ours touches.
warnings() {
	build_modules >"$out/module-log" 2>&1
	{
		kernel_files
		find patches/6.12 -name '*.patch' -exec cat {} + |
			sed -n 's#^+++ b/\([^	]*\).*#\1#p'
	} | sort -u | grep '\.[ch]$' >"$out/ours"
	grep -Ff "$out/ours" "$out/module-log" || true
	grep '^no build' "$out/module-log" || true
}

# recovering FILE SECTION...: see lab/lib/loads.awk.
recovering() {
	file=$1
	shift
	# Words.
	# shellcheck disable=SC2046
	objdump -rs $(printf -- '-j %s ' "$@") "$file" 2>/dev/null |
		"$LAB/lib/loads.awk" | sort
}

# Those that the compiler made are in the object; the module has the entries of all
# of them, and no other. These two have some.
loads() {
	built=$("$LAB/vm/modules.sh" stock 2>"$out/loads-build") || {
		cat "$out/loads-build"
		return
	}
	for module in "$built"/drivers/vhost/*.ko "$built"/mm/*.ko; do
		object=${module%.ko}.o
		recovering "$object" __ex_table .discard.mmu_mirror_load \
			>"$out/loads-object"
		recovering "$module" __ex_table | sed 's/no load$/both/' |
			diff "$out/loads-object" - |
			sed "s#^#${module##*/}: #"
		case ${module##*/},$(wc -l <"$out/loads-object") in
		vhost.ko,0|mmu_mirror_window.ko,0) echo "${module##*/} has none" ;;
		esac
		grep -v ' both$' "$out/loads-object" || true
	done
}

# A driver may be built with other symbols of ours than the helper was.
layout() {
	awk '/^(struct|union) .*[{]$/ { inside = $0 }
	/^}/ { inside = "" }
	/^#[ \t]*(el)?if/ && /CONFIG_/ && inside {
		print FILENAME ":" FNR ": " inside " " $0
	}' include/linux/mmu_*.h
}

docs() {
	"$LAB/docs.sh" >"$out/docs" 2>&1 || cat "$out/docs"
}

COCCI=scripts/coccinelle/api/mmu_range_mirror.cocci

# report FILE... | --dir DIRECTORY: what it finds, as FILE:LINE:...
report() {
	spatch -D report --very-quiet --no-includes --include-headers \
		--cocci-file "$REPO/$COCCI" "$@" 2>/dev/null | grep WARNING
}

# The kernel's own, on our files. Some want a newer spatch, and say nothing.
coccicheck() {
	kernel_files | grep -E '^(drivers|lib|mm|samples)/.*[.]c$' |
		grep -v ^mm/tests/ >"$out/sources"
	tree=$(tree)
	(cd "$tree" && grep -rl '^virtual report' scripts/coccinelle |
		grep -v "^$COCCI" | xargs -P "$JOBS" -I {} sh -c "
			options=\$(sed -n 's#^// *Options:##p' {})
			spatch -D report --very-quiet --cocci-file {} \$options \\
				-I include \$(tr '\n' ' ' <'$out/sources') ||
				:" \
		2>/dev/null)
}

coccinelle_cases() {
	report lab/tiers/coccinelle-cases.c | cut -d: -f2 | sort -nu >"$out/reported"
	grep -n '/[*] reported [*]/' lab/tiers/coccinelle-cases.c | cut -d: -f1 |
		diff - "$out/reported"
}

coccinelle_findings() {
	src=$("$LAB/vm/fetch.sh" src-7.3)
	(cd "$src" && for dir in arch drivers fs kernel lib mm net virt; do
		report --dir "$dir" || true
	done) | cut -d: -f1 | sort -u >"$out/findings"
	awk -F'`' '/^   [*] - `/ { print $3 }' \
		Documentation/mm/mmu_range_mirror_findings.rst | sort |
		diff - "$out/findings"
}

# What a run of check-mutants would make, if every mutant dies.
invariants() {
	lab/tiers/mutants.sh table | diff - Documentation/mm/mmu_range_mirror_invariants.rst
}

mutants_apply() {
	grep -v '^#' lab/tiers/mutants.tsv |
		while IFS="$tab" read -r name _ _ file script; do
			! sed "$script" "$file" | cmp -s - "$file" ||
				echo "$name does not apply to $file"
		done
}

figures() {
	lab/bench/prose.py lab/bench/prose.tsv
}

# What to check, and the function that does: first what takes no tree of a kernel,
# then the rest, the longest of it first.
all() {
	cat <<-'END'
	an SPDX line in every file: spdx
	no name of a host, no path of one: host_names
	nothing left unfinished: unfinished
	the lab's files that are named are there: named_files
	no public structure depends on the configuration: layout
	the table of invariants has the mutants of lab/tiers/mutants.tsv: invariants
	each of these mutants applies: mutants_apply
	figures in documents are those that the bench wrote: figures
	shellcheck: shell
	coccinelle finds what it should, and nothing else: coccinelle_cases
	patches apply to 7.3 without fuzz: applies 7.3
	patches apply to 6.12 without fuzz: applies 6.12
	checkpatch --strict on our files: checkpatch_files
	the table of findings has the files that coccinelle finds in 7.3: coccinelle_findings
	Sphinx makes the documentation without a warning: docs
	no warning from W=1 and sparse: warnings
	a memory error is recovered from in each load through a window: loads
	coccicheck: coccicheck
	the upstream series can be made for 6.12: series 6.12
	the upstream series can be made for 7.3: series 7.3
	checkpatch --strict on the patches: checkpatch_patches
	kernel-doc: kernel_doc
	the guard builds and runs in user space: user_space
	vhost's ring path of 6.12 moves packets in user space: ring_path
	END
}

# check N LINE: one line of these.
check() {
	what=${2%: *}
	say "static: $what"
	# Words on purpose.
	# shellcheck disable=SC2086
	${2##*: } >"$out/$1.log" 2>&1 || echo "status $?" >>"$out/$1.log"
	if [ -s "$out/$1.log" ]; then
		echo "not ok $1 static: $what"
		head -n 40 "$out/$1.log" >&2
		return 1
	fi
	echo "ok $1 static: $what"
}

if [ "${1:-}" = --check ]; then
	check "${2%%:*}" "${2#*:}"
	exit
fi

# Python's library is what the scripts of coccinelle run in, and its package does
# not depend on it.
need git perl python3 shellcheck sparse gcc make libc6-dev liburcu-dev libck-dev \
	coccinelle libpython3-dev
[ -n "$(tracked Makefile)" ] || die "git does not list the sources"
rm -f "$out"/tree-*
all >"$out/list"
if [ $# -gt 0 ]; then
	printf '%s: \n' "$@" >"$out/named"
	all | grep -Ff "$out/named" >"$out/list" || die "no such check"
fi
echo "TAP version 13"
echo "1..$(wc -l <"$out/list")"
awk '{ print NR ":" $0 }' "$out/list" |
	xargs -d '\n' -n 1 -P "$JOBS" "$LAB/tiers/static.sh" --check
