#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# lab/vm/tree.sh SERIES
#
# Make or refresh the overlay tree of one base, and print its path: the source,
# our files laid over it, and patches/<base> applied, with no fuzz.
# A file whose content does not change keeps its mtime, so that the next build
# is as short as the change. KTREE is a tree that is ready already.

# shellcheck source=lab/lib/env.sh
. "$(dirname "$0")/../lib/env.sh"

base=${1:?usage: lab/vm/tree.sh SERIES}
if [ -n "${KTREE:-}" ]; then
	echo "$KTREE"
	exit
fi
src=$("$LAB/vm/fetch.sh" "src-$base")
tree=$CACHE/tree/$base
if ksrc "$base" >/dev/null; then
	tree=$tree-$(printf %s "$src" | cksum | cut -d' ' -f1)
fi
locked "tree-$(basename "$tree")"
need patch

# Whatever is put into the tree is renamed into it, which leaves the source
# alone.
if [ ! -d "$tree" ]; then
	say "making the tree of $base"
	linked_copy "$src" "$tree"
fi

# Everything that is to differ from the source, first in a directory by itself.
TMP=$CACHE/.tree.$$
trap 'rm -rf "$TMP"' EXIT
trap 'exit 1' HUP INT TERM
mkdir -p "$TMP"
# A checkout may lack a directory that is empty.
# shellcheck disable=SC2015
(cd "$REPO" && find ./Documentation ./drivers ./include ./lib ./mm ./samples \
	./scripts ./tools -type f 2>/dev/null || true) |
	grep -Ev '\.(o|ko|mod|cmd|orig|rej)$|/\.' >"$TMP/ours"
mkdir "$TMP/new"
tar -C "$REPO" -c -T "$TMP/ours" | tar -C "$TMP/new" -x
find -L "$REPO/patches/$base" -name '*.patch' -exec cat {} + |
	sed -n 's#^+++ b/\([^	]*\).*#\1#p' | sort -u >"$TMP/patched"
while read -r file; do
	mkdir -p "$TMP/new/$(dirname "$file")"
	[ ! -f "$src/$file" ] || cp "$src/$file" "$TMP/new/$file"
done <"$TMP/patched"
for patch in "$REPO/patches/$base"/*; do
	{
		fitting=$("$REPO/packaging/fits" "$TMP/new" "$patch") &&
			patch -d "$TMP/new" -p1 -s -F0 --no-backup-if-mismatch \
				-i "$fitting" >&2
	} || die "${patch#"$REPO"/} does not apply to $base"
done
(cd "$TMP/new" && find . -type f) | sed 's#^\./##' | sort >"$TMP/overlay"

# What an earlier overlay had and this one has not goes back to the source's.
touch "$tree.overlay"
comm -23 "$tree.overlay" "$TMP/overlay" >"$TMP/gone"
while read -r file; do
	rm -f "$tree/$file"
	[ ! -f "$src/$file" ] || cp "$src/$file" "$tree/$file"
done <"$TMP/gone"
while read -r file; do
	cmp -s "$TMP/new/$file" "$tree/$file" && continue
	mkdir -p "$tree/$(dirname "$file")"
	cp "$TMP/new/$file" "$tree/$file.lab-tmp"
	chmod --reference="$TMP/new/$file" "$tree/$file.lab-tmp"
	mv "$tree/$file.lab-tmp" "$tree/$file"
done <"$TMP/overlay"
mv "$TMP/overlay" "$tree.overlay"

echo "$tree"
