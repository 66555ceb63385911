#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# lab/mm/mm.sh [CATEGORY...]
#
# The kernel's own tests of mm, and of rings (the category virtio), built and
# installed the way its tree does it, on the stock kernel: as they are, and then
# with the address space of every process of theirs mirrored (lab/mm/mirrored.c),
# and vhost's rings as well. Nothing may differ. KTAP.

# shellcheck source=lab/env.sh
. "$(dirname "$0")/../env.sh"

# Each with how many of its programs have to pass. What is left out needs a
# kernel of its own (hmm, vmalloc) or more memory than there is.
WANTED="cow:1 gup_test:4 ksm:5 ksm_numa:2 madv_populate:1 mdwe:1 memfd_secret:1"
WANTED="$WANTED migration:1 mkdirty:1 mlock:2 mmap:2 mremap:2 pagemap:1"
WANTED="$WANTED process_mrelease:1 soft_dirty:1 thp:1 userfaultfd:1"
WANTED="$WANTED virtio:35"
# What each of virtio's tests transfers: a second or so, if this is emulated.
XFERS=${XFERS:-4000}

out=$CACHE/build/check-mm
root=$out/root
locked check-mm-machine
unset KSRC
need bash libcap-dev libnuma-dev rsync
"$LAB/modules.sh" stock >/dev/null
tree=$("$LAB/tree.sh" 6.12)
headers=$CACHE/build/headers-6.12
tests=$CACHE/build/selftests-mm
mkdir -p "$out" "$headers" "$tests"

say "building the kernel's own tests"
{
	make -C "$tree" O="$headers" headers &&
		make -j"$JOBS" -C "$tree/tools/testing/selftests" TARGETS=mm \
			O="$tests" INSTALL_PATH="$out/install" \
			KHDR_INCLUDES="-isystem $headers/usr/include" install &&
		make -C "$tree/tools/virtio" clean &&
		CFLAGS="-isystem $headers/usr/include -DNUM_XFERS=$XFERS" \
			make -C "$tree/tools/virtio" virtio_test vringh_test
} >"$out/build.log" 2>&1 || {
	grep -E 'error:|undefined|No rule|Error' "$out/build.log" >&2
	die "the tests do not build; see $out/build.log"
}

rm -rf "$root"
files=
for file in "$out"/install/mm/*; do
	[ ! -x "$file" ] || [ -d "$file" ] ||
		files="$files -b $file:/kselftest/mm/$(basename "$file")"
done
for file in "$tree/tools/virtio/virtio_test" "$tree/tools/virtio/vringh_test" \
	"$LAB/mm/virtio.sh" "$LAB/mm/rings.awk"; do
	files="$files -b $file:/kselftest/virtio/$(basename "$file")"
done
# Each is an option and its value.
# shellcheck disable=SC2086
"$LAB/root.sh" -r "$root" -k stock -m test_mmu_mirror_tlb -m gup_test \
	-m vhost_test -m loop -m xfs -M zram -b bash:/bin/bash -b modprobe \
	-b mkfs.xfs $files
for library in mirrored flipped; do
	gcc -O2 -Wall -Wextra -shared -fPIC -pthread -I"$REPO" \
		-isystem "$headers/usr/include" \
		-o "$root/usr/lib/$library.so" "$LAB/mm/$library.c"
done
install -m 755 "$LAB/mm/machine.sh" "$root/test.sh"
categories=$*
[ -n "$categories" ] || categories=$(echo "$WANTED" | sed 's/:[0-9]*//g')
cat >"$root/etc/mm.conf" <<END
CATEGORIES="$categories"
SECONDS_EACH=300
END
status=0
"$LAB/boot.sh" -k stock -r "$root" -o "$out" -m 3072 -i ext4 \
	-t "${SECONDS_ALL:-3000}" || status=$?
"$LAB/mm/compare.awk" -v wanted="$WANTED" -v run="$categories" \
	"$out/results" || [ "$status" != 0 ] || status=1
exit "$status"
