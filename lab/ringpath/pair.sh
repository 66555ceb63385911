#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# lab/ringpath/pair.sh [stock]
#
# Measure what a pair of STAC and CLAC costs on this machine, as root: what make
# bench's ringpath leaves out, and counts. Builds a module for the kernel that runs
# here, whose headers have to be installed, and loads it for a moment. With "stock",
# boots the stock kernel for that, which says nothing of hardware without KVM.

# shellcheck source=lab/lib/env.sh
. "$(dirname "$0")/../lib/env.sh"

need_build
out=$CACHE/build/pair
mkdir -p "$out"
rsync -rc "$LAB/ringpath/pair/" "$out/"
headers=/lib/modules/$(uname -r)/build
if [ "${1:-}" = stock ]; then
	"$LAB/vm/fetch.sh" stock >/dev/null
	headers=$CACHE/stock/usr/src/linux-headers-$(stock_release)
	need "$(sed -n 's/^CC = .*\(gcc-[0-9]*\)$/\1/p' \
		"$headers/.kernelvariables")"
fi
make -C "$headers" M="$out" CONFIG_DEBUG_INFO_BTF_MODULES= modules \
	>"$out/build.log" 2>&1 || die "the module does not build; see $out/build.log"
if [ "${1:-}" != stock ]; then
	as_root insmod "$out/pair.ko" 2>/dev/null || true
	as_root dmesg | grep 'pair: ' | tail -n 1
	exit
fi
"$LAB/vm/root.sh" -r "$out/root" -k plain
cp "$out/pair.ko" "$out/root/pair.ko"
printf '#!/bin/sh\ninsmod /pair.ko\ndmesg | grep "pair: "\n' >"$out/root/test.sh"
chmod 755 "$out/root/test.sh"
"$LAB/vm/boot.sh" -k plain -r "$out/root" -o "$out" -t 120 >&2
sed -n 's/.*pair: /pair: /p' "$out/results"
