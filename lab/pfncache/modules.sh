#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# lab/pfncache/modules.sh before|after [MAKE ARGUMENT...]
#
# Build kvm.ko and kvm-amd.ko for the stock kernel, out of its own source as it
# comes or with its gfn_to_pfn_cache on windows, and print the directory that
# they are in. The helper that the latter need is that of lab/vm/modules.sh plain.

# shellcheck source=lab/lib/env.sh
. "$(dirname "$0")/../lib/env.sh"

which=${1:?usage: lab/pfncache/modules.sh before|after [make argument...]}
shift
# They have to be the stock kernel's own.
unset KSRC
need_build
case $which in
before) source=$("$LAB/vm/fetch.sh" src-6.12) ;;
after) source=$("$LAB/vm/tree.sh" 6.12) ;;
*) die "no $which" ;;
esac
plain=$("$LAB/vm/modules.sh" plain)
release=$(stock_release)
kdir=$CACHE/stock/usr/src/linux-headers-$release
out=$CACHE/build/kvm-$which
locked "kvm-$which"
mkdir -p "$out/arch/x86/kvm" "$out/virt/kvm" "$out/include/trace" \
	"$out/include/linux"
rsync -rc "$source/arch/x86/kvm/" "$out/arch/x86/kvm/"
rsync -rc "$source/virt/kvm/" "$out/virt/kvm/"
rsync -c "$source"/include/linux/kvm_*.h "$REPO"/include/linux/mmu_*.h \
	"$out/include/linux/"
# What is the same every time is not compiled again.
# shellcheck disable=SC2016
sed -i 's#\$(srctree)/\(arch/x86\|virt\)/kvm#'"$out"'/\1/kvm#' \
	"$out/arch/x86/kvm/Makefile"
echo 'obj-m := arch/x86/kvm/' >"$out/Kbuild"

# Of the headers the patched ones come first; the tracepoints' are looked for
# next to include/trace.
say "building KVM's modules, $which"
make -C "$kdir" M="$out" -j"$JOBS" DEBIAN_KERNEL_USE_CCACHE=y \
	CONFIG_DEBUG_INFO_BTF_MODULES= CONFIG_KVM_INTEL= \
	CONFIG_MMU_RANGE_MIRROR=m CONFIG_MMU_MIRROR_WINDOW=m KBUILD_EXTRA_SYMBOLS="$plain/Module.symvers" \
	NOSTDINC_FLAGS="-nostdinc -I$out/include -I$out/include/trace" \
	"$@" modules >"$out/build.log" 2>&1 || {
	build_errors "$out/build.log"
	die "KVM does not build; see $out/build.log"
}
mkdir -p "$out/stripped"
for module in kvm kvm-amd; do
	strip -g -o "$out/stripped/$module.ko" "$out/arch/x86/kvm/$module.ko"
done
echo "$out/stripped"
