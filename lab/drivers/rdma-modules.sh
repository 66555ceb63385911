#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# lab/drivers/rdma-modules.sh stock-SERIES
#
# Build the RDMA core, rxe and mlx5 of a stock kernel's source for that kernel,
# converted to mirrors, and print where the modules are that a machine loads. The
# others of its RDMA subsystem are the kernel's own: no interface between them has
# changed. A warning is an error.

# shellcheck source=lab/lib/env.sh
. "$(dirname "$0")/../lib/env.sh"

kernel=${1:?usage: lab/drivers/rdma-modules.sh stock-SERIES}
unset KSRC
out=$CACHE/build/rdma-$kernel
locked "rdma-$kernel"
mkdir -p "$out/mm"

"$LAB/vm/headers.sh" "$kernel" >"$out/headers"
{ read -r kdir; read -r options; } <"$out/headers"
tree=$("$LAB/vm/tree.sh" "$(series_of "${kernel#stock-}")")
rsync -rc --delete "$REPO/include/" "$out/include/"
rsync -rc "$tree/include/rdma/ib_umem_odp.h" "$out/include/rdma/"
rsync -c "$REPO/mm/mmu_mirror_tlb.c" "$REPO/mm/mmu_range_mirror.c" "$out/mm/"
for driver in core sw/rxe hw/mlx5; do
	mkdir -p "$out/drivers/infiniband/$driver"
	rsync -c "$tree/drivers/infiniband/$driver"/*.[ch] \
		"$tree/drivers/infiniband/$driver/Makefile" \
		"$out/drivers/infiniband/$driver/"
done
# The headers have the unconverted ib_umem_odp.h: ours come first.
cat >"$out/Kbuild" <<END
LINUXINCLUDE := -I$out/include \$(LINUXINCLUDE)
subdir-ccflags-y := -DCONFIG_MMU_RANGE_MIRROR_DEBUGFS=1
obj-m := mm/ drivers/infiniband/core/ drivers/infiniband/sw/rxe/
obj-m += drivers/infiniband/hw/mlx5/
END
echo "obj-m := mmu_mirror_tlb.o mmu_range_mirror.o" >"$out/mm/Kbuild"
# The Makefile has many, and one is ours.
cat >"$out/drivers/infiniband/core/Kbuild" <<'END'
include $(src)/Makefile
obj-m := ib_core.o
END
say "building the RDMA core, rxe and mlx5 for $kernel"
# Words.
# shellcheck disable=SC2086
make -C "$kdir" M="$out" -j"$JOBS" DEBIAN_KERNEL_USE_CCACHE=y \
	CONFIG_DEBUG_INFO_BTF_MODULES= W=e $options modules \
	>"$out/build.log" 2>&1 || {
	build_errors "$out/build.log"
	die "they do not build; see $(logged "$out/build.log" "rdma-$kernel.log")"
}
printf "$out/%s.ko\n" mm/mmu_mirror_tlb mm/mmu_range_mirror \
	drivers/infiniband/core/ib_core drivers/infiniband/sw/rxe/rdma_rxe
