#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# lab/vm/headers.sh stock|stock-SERIES
#
# Print the directory that modules of that stock kernel are built in, and on a
# second line what make has to be told for it. Debian's headers of a newer suite
# bring tools that want a newer C library than this machine may have: then those of
# the kernel's source are built here, once, and put in their place.

# shellcheck source=lab/lib/env.sh
. "$(dirname "$0")/../lib/env.sh"

kernel=${1:?usage: lab/vm/headers.sh stock|stock-SERIES}
need_build
"$LAB/vm/fetch.sh" "$kernel" >/dev/null
release=$(release_of "$kernel")
headers=$CACHE/$kernel/usr/src/linux-headers-$release
if "$headers/tools/objtool/objtool" --help >/dev/null 2>&1 ||
	! ldd "$headers"/tools/objtool/objtool* 2>&1 | grep -q 'not found'; then
	echo "$headers"
	echo
	exit
fi

unset KSRC
source=$("$LAB/vm/fetch.sh" "src-$(series_of "${kernel#stock-}")")
abi=${release%-amd64}
out=$CACHE/build/headers-$kernel
locked "headers-$kernel"
mkdir -p "$out"
tools=$out/tools
if [ ! -x "$tools/tools/objtool/objtool" ]; then
	say "building the tools of ${kernel#stock-}"
	make -C "$source" O="$tools" -j"$JOBS" CC="ccache gcc" defconfig \
		prepare >"$out/tools.log" 2>&1 ||
		die "they do not build; see $(logged "$out/tools.log" "$kernel-tools.log")"
fi
kdir=$out/kdir
if [ ! -d "$kdir" ]; then
	rm -rf "$kdir.tmp"
	mkdir -p "$kdir.tmp"
	cp -a "$headers/." "$kdir.tmp/"
	for dir in scripts tools; do
		rm -f "$kdir.tmp/$dir"
		cp -a "$headers/$dir/." "$kdir.tmp/$dir"
	done
	cp "$tools/scripts/mod/modpost" "$kdir.tmp/scripts/mod/modpost"
	cp "$tools/tools/objtool/objtool" "$kdir.tmp/tools/objtool/objtool"
	sed -i -e "s#^KBUILD_OUTPUT=.*#KBUILD_OUTPUT=$kdir#" \
		-e "s#^include .*#include ${headers%/*}/linux-headers-${abi%-cloud}-common/Makefile#" \
		"$kdir.tmp/Makefile"
	mv "$kdir.tmp" "$kdir"
fi
echo "$kdir"
# What only the newer compiler can do, and no module has to.
echo "CC=gcc CONFIG_CC_HAS_MIN_FUNCTION_ALIGNMENT="
