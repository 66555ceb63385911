#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# lab/drivers/rdma.sh
#
# On-demand paging of RDMA, on Debian's generic kernel, as it is and converted to
# mirrors: rdma-core's own tests of it, traffic that is disturbed (rdma.py) and
# perftest's, over rxe. What the device writes after MADV_FREE is lost with the
# kernel's own. What is not aligned goes to the wrong place with the kernel's own,
# which has nothing to do with mirrors and is mended by a patch of its own. The
# kernel's own gives up after a second of invalidations, and its connection breaks.
# Everything else has to be the same with both, and with ours nothing may fail. KTAP.

# shellcheck source=lab/lib/env.sh
. "$(dirname "$0")/../lib/env.sh"
# shellcheck source=lab/lib/ktap.sh
. "$LAB/lib/ktap.sh"

DRV=$LAB/drivers
KERNEL=stock-generic-7.3
PATCH=$REPO/patches/7.3/0018-RDMA-umem_odp-mirrors.patch
# Those that a busy machine may break with the kernel's own.
UNSTEADY="pageout migration huge fork everything ib_write_bw ib_read_bw"
# The kernel's own has to pass as many: what is left of 20 without those.
WANTED=13
out=$LOGS
mkdir -p "$out"
unset KSRC

# boot own|ours: what happened is in $out/rdma-WHOSE/results, and how in
# $out/rdma-WHOSE.status.
boot() {
	into=$out/rdma-$1
	root=$into/root
	rm -rf "${into:?}"
	"$LAB/vm/root.sh" -r "$root" -k "$KERNEL" -m zram -m dummy -m ib_uverbs \
		-m rdma_rxe
	if [ "$1" = ours ]; then
		updates=$root/lib/modules/$(release_of "$KERNEL")/updates
		mkdir -p "$updates"
		# A list on purpose.
		# shellcheck disable=SC2086
		cp $modules "$updates"
		depmod -b "$root" "$(release_of "$KERNEL")"
	fi
	tar -C "$rdma" -c etc usr |
		tar -C "$root" -x --keep-directory-symlink
	find "$root/usr/lib/rdma-tests" -name 'test_*' ! -name test_odp.py -delete
	cp "$DRV/rdma.py" "$DRV/rdma-disturb.py" "$DRV/rdma-vm.awk" "$root"
	install -m 755 "$DRV/rdma-vm.sh" "$root/test.sh"
	status=0
	"$LAB/vm/boot.sh" -k "$KERNEL" -r "$root" -o "$into" -t 600 -m 3072 \
		>&2 || status=$?
	echo "$status" >"$into.status"
}

# mirrored own|ours: are there mirrors while there is traffic?
mirrored() {
	case $1 in
	own) ! grep -q '^# module mmu_range_mirror\|^# [0-9]* mirrors' "$2" ;;
	ours) grep -q '^# 3 mirrors' "$2" ;;
	esac
}

nothing_fails() {
	! grep -q '^not ok' "$1" && grep -q '^# end' "$1"
}

"$LAB/vm/fetch.sh" "$KERNEL" >/dev/null
rdma=$("$LAB/vm/fetch.sh" rdma)
modules=$("$DRV/rdma-modules.sh" "$KERNEL")
begin drivers
about "RDMA, $KERNEL"
result_of "core, rxe and mlx5 compile without a warning" \
	[ -f "$CACHE/build/rdma-$KERNEL/drivers/infiniband/hw/mlx5/mlx5_ib.ko" ]
for whose in own ours; do
	boot "$whose"
	results=$out/rdma-$whose/results
	about "RDMA, $KERNEL, $whose"
	sed 's/^/# /' "$results"
	result_of "ends, and the kernel does not complain" \
		[ "$(cat "$out/rdma-$whose.status")" = 0 ]
	result_of "is what it is said to be" mirrored "$whose" "$results"
done
about "RDMA, $KERNEL"
"$DRV/compare.awk" -v wanted="$WANTED" -v unsteady="$UNSTEADY" -v mended=offset \
	"$out/rdma-own/results" "$out/rdma-ours/results" >"$out/rdma.verdicts"
while read -r status text; do
	result "$status" "$text"
done <"$out/rdma.verdicts"
result_of "nothing fails with mirrors" nothing_fails "$out/rdma-ours/results"
result_of "the conversion adds fewer lines than it deletes" conversion "$PATCH"
finish
[ -z "$failed" ]
