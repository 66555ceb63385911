#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# lab/series.sh [6.12|7.3]
#
# Write the upstream series for the source of one base (that of KSRC, else 7.3),
# and print the directory that its patches are in: "git am" takes them, and the
# cover letter is among them. What goes into which commit is a table,
# patches/series/commits.tsv. Author and date are those of our last commit, so
# the same commit gives the same series.

# shellcheck source=lab/lib/env.sh
. "$(dirname "$0")/lib/env.sh"

base=${1:-7.3}
[ $# -gt 0 ] || ! ksrc 6.12 >/dev/null || base=6.12
src=$("$LAB/vm/fetch.sh" "src-$base")
series=$REPO/patches/series
[ -d "$series/$base" ] || die "usage: lab/series.sh [6.12|7.3]"
need git patch perl unifdef
work=$CACHE/build/series/$base
locked "series-$base"
rm -rf "$work"
mkdir -p "$work/repo" "$work/hunks"

# Nobody's settings but these.
our_git() {
	git -C "$REPO" -c safe.directory='*' "$@"
}
GIT_CONFIG_GLOBAL=/dev/null
GIT_CONFIG_NOSYSTEM=1
GIT_AUTHOR_NAME=$(our_git log -1 --format=%an)
GIT_AUTHOR_EMAIL=$(our_git log -1 --format=%ae)
GIT_AUTHOR_DATE=$(our_git log -1 --format=%aI)
GIT_COMMITTER_NAME=$GIT_AUTHOR_NAME
GIT_COMMITTER_EMAIL=$GIT_AUTHOR_EMAIL
GIT_COMMITTER_DATE=$GIT_AUTHOR_DATE
export GIT_CONFIG_GLOBAL GIT_CONFIG_NOSYSTEM GIT_AUTHOR_NAME GIT_AUTHOR_EMAIL \
	GIT_AUTHOR_DATE GIT_COMMITTER_NAME GIT_COMMITTER_EMAIL \
	GIT_COMMITTER_DATE

# The patches, one file of the kernel each: "PATCH:FILE", and where its hunks are.
for patch in "$REPO/patches/$base"/* "$series/$base"/*.patch \
	"$series"/*.patch; do
	id=$(basename "$patch" .patch)
	patch=$("$REPO/packaging/fits" "$src" "$patch")
	case $id in
	[0-9]*) id=${id%%-*} ;;
	esac
	id=$id dir=$work/hunks author="$GIT_AUTHOR_NAME <$GIT_AUTHOR_EMAIL>" awk '
	/^--- a\// {
		out = ENVIRON["dir"] "/" ENVIRON["id"] "." ++n
		print ENVIRON["id"] ":" substr($1 " " $2, 7) " " out
	}
	out != "" {
		i = index($0, "@AUTHOR@")
		if (i)
			$0 = substr($0, 1, i - 1) ENVIRON["author"] \
				substr($0, i + 8)
		print >out
	}' "$patch"
done >"$work/parts"
our_git ls-files --cached --others --exclude-standard \
	Documentation drivers include lib mm samples scripts tools |
	while read -r file; do
		[ ! -f "$REPO/$file" ] || echo "$file $file"
	done >>"$work/parts"

# Each part's commit, before it.
grep -v '^#' "$series/commits.tsv" >"$work/table"
while read -r key part; do
	owner=
	while read -r commit pattern; do
		# A pattern on purpose.
		# shellcheck disable=SC2254
		case $key in
		$pattern)
			owner=$commit
			break
			;;
		esac
	done <"$work/table"
	[ -n "$owner" ] || die "no commit of patches/series/commits.tsv has $key"
	echo "$owner $key $part"
done <"$work/parts" >"$work/claimed"

# The version fences of our one source, resolved; and the allocations as those
# of this base are written.
case $base in
6.12) two_pass=0 young=int ;;
*) two_pass=1 young=bool ;;
esac
obj=
! grep -q 'define kzalloc_obj' "$src/include/linux/slab.h" || obj=yes
for_base() {
	case $1 in
	*.[ch]) ;;
	*) return ;;
	esac
	status=0
	unifdef -B -m -DMMU_RANGE_MIRROR_TWO_PASS="$two_pass" "$1" || status=$?
	[ "$status" -lt 2 ] || die "unifdef fails on $1"
	two_pass=$two_pass young=$young obj=$obj perl -0pi -e '
	s/^#include <linux\/mmu_range_mirror_compat\.h>\n//m;
	s/\bMMU_RANGE_MIRROR_TWO_PASS\s*\?\s*("\w*")\s*:\s*("\w*")/
		$ENV{two_pass} ? $1 : $2/gex;
	s/\bMMU_RANGE_MIRROR_TWO_PASS\b/$ENV{two_pass}/g;
	s/\bMMU_RANGE_MIRROR_YOUNG\b/$ENV{young}/g;
	s/\b(kv?[mz]alloc)\(sizeof\(([^()]+)\), /$1_obj($2, /g if $ENV{obj};
	' "$1"
}

# ours FILE: as it is here, or without what a later commit of it brings.
ours() {
	mkdir -p "$(dirname "$1")"
	cp -p "$REPO/$1" "$1"
	while read -r later; do
		[ -z "$later" ] || patch -R -p1 -s -F0 --no-backup-if-mismatch \
			-i "$later" >&2 || die "$1 is not what $later is for"
	done <<-END
		$(awk -v commits="$work/commits" -v commit="$commit" -v file="$1" '
		BEGIN {
			while ((getline line <commits) > 0)
				nr[line] = ++n
		}
		nr[$1] > nr[commit] && $2 ~ /:/ &&
			substr($2, index($2, ":") + 1) == file { print $3 }
		' "$work/claimed")
	END
	for_base "$1"
}

# A repository of what the series changes, and of nothing else.
cd "$work/repo" || exit
git init -q -b series
while read -r _ key part; do
	file=${key#*:}
	[ -f "$src/$file" ] || continue
	[ "$key" != "$part" ] || die "$base has a $file of its own"
	mkdir -p "$(dirname "$file")"
	cp -p "$src/$file" "$file"
done <"$work/claimed"
git add -A -f
git commit -q -m "Linux $base"
git tag base
awk '$1 != "-" && !seen[$1]++ { print $1 }' "$work/table" >"$work/commits"
while read -r commit; do
	awk -v commit="$commit" '$1 == commit' "$work/claimed" >"$work/parts"
	while read -r _ key part; do
		file=${key#*:}
		if [ -f "$REPO/$file" ]; then
			ours "$file"
		else
			patch -p1 -s -F0 --no-backup-if-mismatch -i "$part" >&2 ||
				die "$key does not apply to $base in $commit"
		fi
	done <"$work/parts"
	git add -A -f
	git commit -q -F "$series/$commit.txt"
done <"$work/commits"

git config branch.series.description "$(cat "$series/cover.txt")"
git format-patch -q --cover-letter --cover-from-description=subject \
	--zero-commit --no-signature -o "$work/patches" base
say "$(git rev-list --count base..series) patches for $base, and their cover letter"
echo "$work/patches"
