#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# lab/docs.sh
#
# HTML of our pages, among their neighbours, by the 7.3 tree's own Sphinx, and
# the path of each on stdout. What Sphinx complains about in our files goes to
# stderr, and is a failure; of others, whose references lead to parts that are
# not built here, it is not shown.

# shellcheck source=lab/lib/env.sh
. "$(dirname "$0")/lib/env.sh"

need gcc make flex bison perl python3 python3-sphinx python3-yaml graphviz
tree=$("$LAB/vm/tree.sh" 7.3)
out=$CACHE/build/docs
locked docs
mkdir -p "$out"

# Sphinx warns only of what it reads again.
rm -rf "$out/Documentation"
say "making the documentation"
make -C "$tree" O="$out" -s SPHINXDIRS="mm admin-guide/mm" htmldocs \
	>"$out/log" 2>&1 || {
	tail -n 20 "$out/log" >&2
	die "Sphinx fails; see $out/log"
}
(cd "$REPO" && find Documentation include mm drivers lib samples \
	-name '*mirror*' -type f) | sed 's/\.rst$//' >"$out/ours"
grep -Ff "$out/ours" "$out/log" | grep -E 'WARNING|ERROR' |
	sed "s#$tree/##g" >"$out/warnings"
if [ -s "$out/warnings" ]; then
	cat "$out/warnings" >&2
	exit 1
fi
(cd "$REPO" && find Documentation -name '*.rst') | sort |
	while read -r page; do
		page=${page#Documentation/}
		html=$out/Documentation/output/${page%.rst}.html
		[ -f "$html" ] || die "there is no $html"
		echo "$html"
	done
