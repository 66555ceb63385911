#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# lab/drivers/modules.sh stock|stock-SERIES own|ours
#
# Build lib/test_hmm.c of a stock kernel's own source for that kernel, as it is or
# converted to mirrors, and print where the modules are, in the order in which they
# are loaded. On 6.12 Debian's kernels have no memory of devices, and the driver is
# told so: it has none then, and what migrates to it fails.

# shellcheck source=lab/lib/env.sh
. "$(dirname "$0")/../lib/env.sh"

usage="usage: lab/drivers/modules.sh stock|stock-SERIES own|ours"
kernel=${1:?$usage}
whose=${2:?$usage}
unset KSRC
case $kernel in
stock) base=6.12 ;;
*) base=${kernel#stock-} ;;
esac
source=$("$LAB/vm/fetch.sh" "src-$base")
out=$CACHE/build/drivers-$kernel-$whose
locked "drivers-$kernel-$whose"
mkdir -p "$out"

"$LAB/vm/headers.sh" "$kernel" >"$out/headers"
{ read -r kdir; read -r options; } <"$out/headers"
modules=test_hmm
case $whose in
own) ;;
ours)
	source=$("$LAB/vm/tree.sh" "$base")
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
	build_errors "$out/build.log"
	die "test_hmm does not build; see $out/build.log"
}
# shellcheck disable=SC2086
printf "$out/%s.ko\n" $modules
