#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# lab/vm/modules.sh stock | ours-SERIES | timed | plain | running | warn-7.3 [MAKE ARGUMENT...]
#
# Build our modules and the patched vhost out of tree, and print the directory
# that they are in:
#   stock    for the stock kernel, with the injection points, test devices
#            (the kernel's own for vhost and GUP as well) and samples: what the
#            tests load
#   ours-SERIES as stock, for the stock kernel of that line of lab/vm/kernels.tsv
#   timed    as stock, without the injection points, which take time
#   plain    for the stock kernel, without them: what a user would load
#   running  as plain, for the kernel that this machine runs (or KDIR); vhost
#            is patched only where a source of that version is at hand
#   warn-7.3 as stock, against the 7.3 tree that lab/vm/build.sh built: to see
#            warnings, not to be loaded
# A source file that did not change is not compiled again, but with FRESH=1.

# shellcheck source=lab/lib/env.sh
. "$(dirname "$0")/../lib/env.sh"

name=${1:?usage: lab/vm/modules.sh stock|ours-SERIES|timed|plain|running|warn-7.3 [make argument...]}
shift
need_build
unset_ksrc=
options=
goals=modules
case $name in
stock|timed|plain)
	"$LAB/vm/fetch.sh" stock >/dev/null
	release=$(stock_release)
	KDIR=$CACHE/stock/usr/src/linux-headers-$release
	base=6.12
	# vhost has to be the stock kernel's own.
	unset_ksrc=yes
	;;
ours-*)
	base=$(series_of "${name#ours-}")
	mkdir -p "$CACHE/build/$name"
	"$LAB/vm/headers.sh" "stock-${name#ours-}" >"$CACHE/build/$name/headers"
	{ read -r KDIR; read -r options; } <"$CACHE/build/$name/headers"
	release=$(release_of "stock-${name#ours-}")
	# Words on purpose.
	# shellcheck disable=SC2086
	set -- $options "$@"
	unset_ksrc=yes
	;;
running)
	release=$(uname -r)
	KDIR=${KDIR:-/lib/modules/$release/build}
	[ -d "$KDIR" ] || die "no headers of $release: no $KDIR"
	base=$(make -s -C "$KDIR" kernelversion | cut -d. -f1-2)
	[ -d "$REPO/patches/$base" ] || base=
	;;
warn-7.3)
	KDIR=$CACHE/build/kcsan-7.3
	release=$(cat "$KDIR/include/config/kernel.release")
	base=7.3
	# That kernel exports all of this already: compile, and do not link.
	goals="mm/ lib/ samples/mmu_range_mirror/ drivers/vhost/"
	;;
*)
	die "unknown module set $name"
	;;
esac
[ -z "$unset_ksrc" ] || unset KSRC

out=$CACHE/build/$name
locked "modules-$name"
[ -z "${FRESH:-}" ] || find "$out" -name '*.o' -delete 2>/dev/null || true
mkdir -p "$out/drivers/vhost" "$out/lib" "$out/mm" "$out/samples"
rsync -rc --delete --exclude .tmp_\* "$REPO/include/" "$out/include/"
rsync -rc "$REPO/mm/" "$out/mm/"
rsync -rc "$REPO/lib/" "$out/lib/"
rsync -rc "$REPO/samples/" "$out/samples/"
if [ -n "$base" ]; then
	tree=$("$LAB/vm/tree.sh" "$base")
	rsync -rc "$tree/drivers/vhost/" "$out/drivers/vhost/"
	rsync -rc "$tree"/mm/gup_test.[ch] "$out/mm/"
fi

# The kernel's configuration knows nothing of our symbols.
put() {
	cat >"$out/.new"
	cmp -s "$out/.new" "$1" || mv "$out/.new" "$1"
}

config() {
	echo "CONFIG_MMU_RANGE_MIRROR=m"
	echo "CONFIG_MMU_MIRROR_TLB=m"
	echo "CONFIG_MMU_MIRROR_WINDOW=m"
	echo "CONFIG_MMU_MIRROR_CACHE=m"
	echo "CONFIG_MMU_MIRROR_EXTENTS=m"
	echo "CONFIG_MMU_RANGE_MIRROR_DEBUGFS=y"
	[ -z "$base" ] || echo "CONFIG_VHOST_RING_MIRROR=y"
	case $name in
	plain|running) return ;;
	esac
	[ "$name" = timed ] || echo "CONFIG_MMU_RANGE_MIRROR_INJECT=y"
	echo "CONFIG_SAMPLE_MMU_RANGE_MIRROR=m"
	echo "CONFIG_TEST_MMU_MIRROR_TLB=m"
	echo "CONFIG_TEST_MMU_RANGE_MIRROR=m"
	# What it calls is not exported any more.
	[ "$base" != 6.12 ] || echo "CONFIG_GUP_TEST=m"
	echo "CONFIG_VHOST_TEST=m"
	! grep -q '^CONFIG_KUNIT=[ym]' "$KDIR/.config" 2>/dev/null ||
		echo "CONFIG_MMU_RANGE_MIRROR_KUNIT_TEST=m"
}

# Directories without a module are left out: kbuild wants each to exist.
put "$out/Kbuild" <<END
subdir-ccflags-y := -I$out/include
subdir-ccflags-y += $(config | sed 's/^/-D/; s/=m$/_MODULE=1/; s/=y$/=1/' |
	tr '\n' ' ')
obj-m := mm/ lib/ samples/mmu_range_mirror/ ${base:+drivers/vhost/}
END
put "$out/mm/Kbuild" <<'END'
obj-$(CONFIG_MMU_MIRROR_CACHE) := mmu_mirror_cache.o
obj-$(CONFIG_MMU_MIRROR_EXTENTS) += mmu_mirror_extents.o
obj-$(CONFIG_MMU_MIRROR_TLB) += mmu_mirror_tlb.o
obj-$(CONFIG_MMU_MIRROR_WINDOW) += mmu_mirror_window.o
obj-$(CONFIG_MMU_RANGE_MIRROR) += mmu_range_mirror.o
obj-$(CONFIG_MMU_RANGE_MIRROR_KUNIT_TEST) += tests/mmu_mirror_cache_kunit.o
obj-$(CONFIG_MMU_RANGE_MIRROR_KUNIT_TEST) += tests/mmu_range_mirror_kunit.o
obj-$(CONFIG_MMU_RANGE_MIRROR_KUNIT_TEST) += tests/mmu_mirror_tlb_kunit.o
obj-$(CONFIG_GUP_TEST) += gup_test.o
gup_test-y := gup_test_module.o
END
# The kernel's own is for its tests, and would be built in.
put "$out/mm/gup_test_module.c" <<'END'
#include <linux/module.h>
#include "gup_test.c"
MODULE_LICENSE("GPL");
END
put "$out/lib/Kbuild" <<'END'
obj-$(CONFIG_TEST_MMU_MIRROR_TLB) := test_mmu_mirror_tlb.o
obj-$(CONFIG_TEST_MMU_RANGE_MIRROR) += test_mmu_range_mirror.o
END
# It is nobody's choice in the kernel, and has no line of its own in its Makefile.
[ -z "$base" ] || put "$out/drivers/vhost/Kbuild" <<'END'
include $(src)/Makefile
obj-$(CONFIG_VHOST_TEST) += vhost_test.o
vhost_test-y := test.o
END

compiler=$(sed -n 's/^CC = .*\(gcc-[0-9]*\)$/\1/p' \
	"$KDIR/.kernelvariables" 2>/dev/null) || compiler=
[ -z "$compiler" ] || [ -n "$options" ] || need "$compiler"

say "building the $name modules for $release"
# BTF of the modules would need pahole, and nothing here reads it.
# shellcheck disable=SC2046,SC2086
make -C "$KDIR" M="$out" -j"$JOBS" DEBIAN_KERNEL_USE_CCACHE=y \
	CONFIG_DEBUG_INFO_BTF_MODULES= $(config) "$@" $goals \
	>"$out/build.log" 2>&1 || {
	build_errors "$out/build.log"
	die "the modules do not build; see $(logged "$out/build.log" "$name-build.log")"
}
echo "$out"
