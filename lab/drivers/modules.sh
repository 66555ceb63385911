#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# lab/drivers/modules.sh stock|stock-7.3 own|ours
#
# Build lib/test_hmm.c of a stock kernel's own source for that kernel, as it is or
# converted to mirrors, and print where the modules are, in the order in which they
# are loaded. On 6.12 Debian's kernels have no memory of devices, and the driver is
# told so: it has none then, and what migrates to it fails.

# shellcheck source=lab/env.sh
. "$(dirname "$0")/../env.sh"

usage="usage: lab/drivers/modules.sh stock|stock-7.3 own|ours"
kernel=${1:?$usage}
whose=${2:?$usage}
unset KSRC
need_build
"$LAB/fetch.sh" "$kernel" >/dev/null
case $kernel in
stock) base=6.12 ;;
*) base=${kernel#stock-} ;;
esac
source=$("$LAB/fetch.sh" "src-$base")
headers=$CACHE/$kernel/usr/src/linux-headers-$(release_of "$kernel")
out=$CACHE/build/drivers-$kernel-$whose
locked "drivers-$kernel-$whose"
mkdir -p "$out"

# own_tools: of that source, made here, in place of those that do not run here.
own_tools() {
	tools=$CACHE/build/drivers-tools-$base
	mkdir -p "$tools"
	if [ ! -x "$tools/tools/objtool/objtool" ]; then
		say "building the tools of $base"
		make -C "$source" O="$tools" -j"$JOBS" CC="ccache gcc" defconfig \
			prepare >"$tools.log" 2>&1 ||
			die "they do not build; see $tools.log"
	fi
	kdir=$out/headers
	rm -rf "$kdir"
	mkdir -p "$kdir"
	cp -a "$headers/." "$kdir/"
	for dir in scripts tools; do
		rm -f "$kdir/$dir"
		cp -a "$headers/$dir/." "$kdir/$dir"
	done
	cp "$tools/scripts/mod/modpost" "$kdir/scripts/mod/modpost"
	cp "$tools/tools/objtool/objtool" "$kdir/tools/objtool/objtool"
	abi=$(release_of "$kernel" | sed s/-cloud-amd64//)
	sed -i -e "s#^KBUILD_OUTPUT=.*#KBUILD_OUTPUT=$kdir#" \
		-e "s#^include .*#include ${headers%/*}/linux-headers-$abi-common/Makefile#" \
		"$kdir/Makefile"
	# What only the newer compiler can do, and no module has to.
	options="CC=gcc CONFIG_CC_HAS_MIN_FUNCTION_ALIGNMENT="
}

options=
kdir=$headers
if ! "$headers/tools/objtool/objtool" --help >/dev/null 2>&1 &&
	ldd "$headers"/tools/objtool/objtool* 2>&1 | grep -q 'not found'; then
	own_tools
fi
modules=test_hmm
case $whose in
own) ;;
ours)
	source=$("$LAB/tree.sh" "$base")
	modules="mmu_mirror_tlb mmu_range_mirror test_hmm"
	rsync -rc --delete "$REPO/include/" "$out/include/"
	cp "$REPO/mm/mmu_mirror_tlb.c" "$REPO/mm/mmu_range_mirror.c" "$out/"
	;;
*) die "$usage" ;;
esac
cp "$source/lib/test_hmm.c" "$source/lib/test_hmm_uapi.h" "$out/"
# Words.
# shellcheck disable=SC2086
{
	echo "ccflags-y := -I$out/include"
	printf 'obj-m += %s.o\n' $modules
} >"$out/Kbuild"
if ! grep -q '^CONFIG_DEVICE_PRIVATE=y' "$kdir/.config"; then
	sed -i -e 's/return dmirror_allocate_chunk(mdevice, NULL);/return 0;/' \
		-e 's/make_device_exclusive_range(mm, addr, next, pages, NULL)/-EOPNOTSUPP/' \
		"$out/test_hmm.c"
fi
say "building $modules for $kernel"
# A list on purpose.
# shellcheck disable=SC2086
make -C "$kdir" M="$out" CONFIG_DEBUG_INFO_BTF_MODULES= $options modules \
	>"$out/build.log" 2>&1 || {
	grep -E 'error:|undefined|No rule' "$out/build.log" >&2 ||
		tail -n 20 "$out/build.log" >&2
	die "test_hmm does not build; see $out/build.log"
}
# shellcheck disable=SC2086
printf "$out/%s.ko\n" $modules
