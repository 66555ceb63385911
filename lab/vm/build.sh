#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# lab/vm/build.sh debug-6.12 | kcsan-7.3 | bare-BASE | unpatched-BASE |
#	objects-BASE | objects-ARCH-BASE | arch-ARCH-BASE [MAKE ARG...]
#
# Build a kernel with our files in its tree, and print its object directory:
# tinyconfig, then lab/vm/kconfig/x86.config and the fragment that the name begins
# with. Modules are installed under root/ in it. A symbol that a fragment sets
# and the configuration ends up without is an error. unpatched-BASE is bare-BASE
# from the source as it comes. objects-BASE is for a tree in KTREE: only mm/, lib/,
# samples/ and drivers/vhost/ are compiled, and a warning is an error.
# objects-ARCH-BASE is for another architecture (lab/vm/arch.sh): lab/vm/kconfig/arch.config
# and arch-ARCH.config, and only our files and vhost are compiled. arch-ARCH-BASE is
# a kernel of one that can be booted, with boot.config and boot-ARCH.config as well.

# shellcheck source=lab/lib/env.sh
. "$(dirname "$0")/../lib/env.sh"
# shellcheck source=lab/vm/arch.sh
. "$LAB/vm/arch.sh"

name=${1:?usage: lab/vm/build.sh NAME [make argument...]}
shift
base=${name##*-}
arch "$(arch_of "$name")"
machine=$LAB/vm/kconfig/x86.config
flavour=$LAB/vm/kconfig/${name%-*}.config
unpatched=
boot=
goals="${IMAGE##*/} modules"
case ${name%-*} in
unpatched)
	flavour=$LAB/vm/kconfig/bare.config
	unpatched=yes
	;;
objects)
	# Nobody's Makefile has vhost's test device.
	goals="mm/ lib/ samples/ drivers/vhost/ drivers/vhost/test.o"
	;;
objects-*|arch-*)
	machine=$LAB/vm/kconfig/arch.config
	flavour=$LAB/vm/kconfig/arch-$KARCH.config
	;;
esac
case $name in
arch-*)
	[ -n "$IMAGE" ] || die "$KARCH is only compiled for"
	boot=$LAB/vm/kconfig/boot
	;;
esac
[ -f "$flavour" ] || die "no $flavour"
need_build
# A list on purpose.
# shellcheck disable=SC2086
need $CROSS_PACKAGES
if [ -n "$unpatched" ]; then
	tree=$("$LAB/vm/fetch.sh" "src-$base")
else
	tree=$("$LAB/vm/tree.sh" "$base")
fi
out=$(kernel "$name")
locked "build-$(basename "$out")"
mkdir -p "$out"

run_make() {
	make -C "$tree" O="$out" -j"$JOBS" CC="ccache ${CROSS}gcc" \
		${KARCH:+ARCH="$KARCH" CROSS_COMPILE="$CROSS"} \
		KBUILD_BUILD_TIMESTAMP=@0 KBUILD_BUILD_USER=lab \
		KBUILD_BUILD_HOST=lab "$@" >>"$out/build.log" 2>&1 || {
		build_errors "$out/build.log"
		die "$name does not build; see $(logged "$out/build.log" "$name-build.log")"
	}
}

: >"$out/build.log"
if [ -n "$unpatched" ]; then
	known_to "$tree" "$machine" "$flavour"
elif [ -n "${KTREE:-}" ]; then
	known_to "$tree" "$machine" "$flavour" "$LAB/vm/kconfig/upstream.config" \
		${boot:+"$boot.config" "$boot-$KARCH.config"}
else
	cat "$machine" "$flavour" \
		${boot:+"$boot.config" "$boot-$KARCH.config"}
fi >"$out/fragment"
# Configured again only if the fragments or the tree's Kconfig files say so:
# otherwise nothing would be left for make to skip.
find "$tree/mm/Kconfig" "$tree/lib/Kconfig.debug" "$tree/drivers/vhost/Kconfig" \
	"$tree/samples/Kconfig" "$out/fragment" -exec cksum {} + >"$out/fragment.sum"
if ! cmp -s "$out/fragment.sum" "$out/configured"; then
	say "configuring $name"
	run_make tinyconfig
	(cd "$out" && "$tree/scripts/kconfig/merge_config.sh" -m -Q -O "$out" \
		.config "$out/fragment") >>"$out/build.log"
	run_make olddefconfig
	# The last word on each.
	awk -F= '/^CONFIG_/ { last[$1] = $0 }
	/^# CONFIG_.* is not set$/ { split($0, word, " "); delete last[word[2]] }
	END { for (symbol in last) print last[symbol] }' "$out/fragment" |
		while read -r symbol; do
			grep -qx "$symbol" "$out/.config" || echo "$symbol"
		done >"$out/unset"
	if [ -s "$out/unset" ]; then
		say "$base knows or allows none of:"
		cat "$out/unset" >&2
		exit 1
	fi
	cp "$out/fragment.sum" "$out/configured"
fi

# our_objects: what the configuration has of our files, and vhost.
our_objects() {
	echo mm/mmu_range_mirror.o mm/mmu_mirror_window.o mm/mmu_mirror_cache.o \
		mm/mmu_mirror_tlb.o mm/mmu_mirror_extents.o \
		mm/tests/mmu_mirror_cache_kunit.o \
		mm/tests/mmu_range_mirror_kunit.o \
		mm/tests/mmu_mirror_tlb_kunit.o \
		lib/test_mmu_range_mirror.o drivers/vhost/
	while read -r symbol goal; do
		! grep -q "^CONFIG_$symbol=" "$out/.config" || echo "$goal"
	done <<-END
	TEST_MMU_MIRROR_TLB lib/test_mmu_mirror_tlb.o
	SAMPLE_MMU_RANGE_MIRROR samples/mmu_range_mirror/
	END
}

case $name in
objects-*-*) goals=$(our_objects) ;;
esac
say "building $name (minutes, if it is the first time)"
# A list on purpose.
# shellcheck disable=SC2086
run_make "$@" $goals
case $name in
objects-*)
	echo "$out"
	exit
	;;
esac
our_symbols "$out" >"$out/symbols"
rm -rf "$out/root"
run_make INSTALL_MOD_PATH="$out/root" DEPMOD=depmod modules_install
echo "$out"
