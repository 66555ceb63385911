#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# lab/static.sh
#
# What can be said about the sources without running them, one KTAP line for
# each check. What a failed check complains about goes to stderr, and is kept
# in the cache's build/check-static/.

# shellcheck source=lab/env.sh
. "$(dirname "$0")/env.sh"

# Python's library is what the scripts of coccinelle run in, and its package does
# not depend on it.
need git perl python3 shellcheck sparse gcc make libc6-dev liburcu-dev libck-dev \
	coccinelle libpython3-dev
out=$CACHE/build/check-static
mkdir -p "$out"
tree=$("$LAB/tree.sh" 7.3)
cd "$REPO" || exit

# As git sees the sources, whoever owns the checkout.
tracked() {
	git -c safe.directory='*' ls-files --cached --others \
		--exclude-standard "$@"
}

[ -n "$(tracked Makefile)" ] || die "git does not list the sources"

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

# Markdown, patches, messages of commits, litmus tests and a package's files have
# no place for one.
spdx() {
	tracked | grep -Ev '^COPYING$|\.(md|patch|litmus|in)$|(^|/)\.gitignore$' |
		grep -v '^patches/series/.*\.txt$' |
		grep -Ev '^packaging/debian/(changelog|control|copyright|source/format|.*\.(dkms|install))$' |
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

unfinished() {
	tracked | grep -v '^COPYING$' |
		xargs grep -nE '\<(TO[D]O|FIX[M]E|XX[X])\>' || true
}

shell() {
	scripts | xargs shellcheck -x -P "$LAB" || true
}

# Not heeded: MAINTAINERS is not touched, no person signs, one source is for
# two versions of the kernel, and 6.12 has no kzalloc_obj(). A comparison with
# KERNEL_VERSION() is mistaken for one with a constant on the left.
NOT_HEEDED=FILE_PATH_CHANGES,MISSING_SIGN_OFF,LINUX_VERSION_CODE
NOT_HEEDED=$NOT_HEEDED,ALLOC_WITH_SIZEOF,ALLOC_WITH_MULTIPLY

# How all of the kernel's trace headers are written.
TRACE_STYLE='^include/trace/.*:(PARENTHESIS_ALIGNMENT|OPEN_ENDED_LINE):'

checkpatch() {
	(cd "$tree" && perl scripts/checkpatch.pl --strict --terse \
		--no-summary --show-types --ignore "$NOT_HEEDED" "$@" \
		2>/dev/null) | grep -v '_compat.h:.*CONSTANT_COMPARISON' |
		grep -Ev "$TRACE_STYLE" || true
}

# Programs have no READ_ONCE().
checkpatch_programs() {
	NOT_HEEDED=$NOT_HEEDED,VOLATILE,ENOSYS
	kernel_files | grep ^tools/ | while read -r file; do
		checkpatch --file "$file"
	done
	find "$LAB" -name '*.[ch]' | while read -r file; do
		checkpatch --file "$file"
	done
}

checkpatch_files() {
	kernel_files | grep -v ^tools/ | while read -r file; do
		checkpatch --file "$file"
	done
	(checkpatch_programs)
}

checkpatch_patches() {
	for patch in "$REPO"/patches/*/*.patch; do
		checkpatch "$patch"
	done
}

kernel_doc() {
	(cd "$tree" && kernel_files_in_tree |
		xargs scripts/kernel-doc -none -Werror) 2>&1 || true
}

kernel_files_in_tree() {
	(cd "$REPO" && kernel_files) | grep -E '^(include|mm|drivers|lib|samples)/'
}

applies() {
	log=$("$LAB/tree.sh" "$1" 2>&1) || echo "$log"
}

# Whatever is new has to be given to a commit of it.
series() {
	log=$("$LAB/series.sh" "$1" 2>&1) || echo "$log"
}

# Built anew, since what is not compiled does not warn: without the injection
# points, which the other tiers build in.
module_warnings() {
	"$LAB/fetch.sh" stock >/dev/null
	find "$CACHE/build/plain" -name '*.o' -delete 2>/dev/null || true
	"$LAB/modules.sh" plain W=1 C=1 >/dev/null || echo "no build"
	grep -E '(warning|error):' "$CACHE/build/plain/build.log" |
		sed "s#$CACHE/build/plain/##" || true
}

# The headers change, and only make bench would notice what its shims lack.
user_space() {
	rm -rf "$out/user-space"
	mkdir "$out/user-space"
	make -s --no-print-directory OUTPUT="$out/user-space" \
		-C "$tree/tools/testing/mmu_range_mirror" 2>&1
}

# Everything that the compiler and sparse say of a file that is ours, or that
# a patch of ours touches.
warnings() {
	{
		kernel_files
		sed -n 's#^+++ b/\([^	]*\).*#\1#p' patches/6.12/*.patch
	} | sort -u | grep '\.[ch]$' >"$out/ours"
	grep -Ff "$out/ours" "$out/module-log" || true
	grep '^no build' "$out/module-log" || true
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
	(cd "$tree" && grep -rl '^virtual report' scripts/coccinelle |
		grep -v "^$COCCI" | xargs -P "$JOBS" -I {} sh -c "
			options=\$(sed -n 's#^// *Options:##p' {})
			spatch -D report --very-quiet --cocci-file {} \$options \\
				-I include \$(tr '\n' ' ' <'$out/sources') ||
				:" \
		2>/dev/null)
}

coccinelle_cases() {
	report lab/coccinelle-cases.c | cut -d: -f2 | sort -nu >"$out/reported"
	grep -n '/[*] reported [*]/' lab/coccinelle-cases.c | cut -d: -f1 |
		diff - "$out/reported"
}

coccinelle_findings() {
	src=$("$LAB/fetch.sh" src-7.3)
	(cd "$src" && for dir in arch drivers fs kernel lib mm net virt; do
		report --dir "$dir" || true
	done) | cut -d: -f1 | sort -u >"$out/findings"
	awk -F'`' '/^   [*] - `/ { print $3 }' \
		Documentation/mm/mmu_range_mirror_findings.rst | sort |
		diff - "$out/findings"
}

# What a run of check-mutants would make, if every mutant dies.
invariants() {
	awk -F'\t' '!/^#/ { print $2 "\t" $1 "\t" $3 }' lab/mutants.tsv |
		lab/mutants.awk lab/mutants.tsv - |
		diff - Documentation/mm/mmu_range_mirror_invariants.rst
}

count=0
check() {
	count=$((count + 1))
	what=$1
	shift
	say "static: $what"
	"$@" >"$out/$count.log" 2>&1 || echo "status $?" >>"$out/$count.log"
	if [ -s "$out/$count.log" ]; then
		echo "not ok $count static: $what"
		head -n 40 "$out/$count.log" >&2
		failed=yes
	else
		echo "ok $count static: $what"
	fi
}

failed=
echo "TAP version 13"
check "an SPDX line in every file" spdx
check "no name of a host, no path of one" host_names
check "nothing left unfinished" unfinished
check "shellcheck" shell
check "patches apply to 6.12 without fuzz" applies 6.12
check "patches apply to 7.3 without fuzz" applies 7.3
check "the upstream series can be made for 6.12" series 6.12
check "the upstream series can be made for 7.3" series 7.3
check "checkpatch --strict on our files" checkpatch_files
check "checkpatch --strict on the patches" checkpatch_patches
check "kernel-doc" kernel_doc
module_warnings >"$out/module-log" 2>&1
check "no warning from W=1 and sparse" warnings
check "no public structure depends on the configuration" layout
check "the guard builds in user space" user_space
check "coccinelle finds what it should, and nothing else" coccinelle_cases
check "coccicheck" coccicheck
check "the table of findings has the files that coccinelle finds in 7.3" \
	coccinelle_findings
check "Sphinx makes the documentation without a warning" docs
check "the table of invariants has the mutants of lab/mutants.tsv" invariants
echo "1..$count"
[ -z "$failed" ]
