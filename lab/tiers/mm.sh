#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# lab/tiers/mm.sh [CATEGORY...]
#
# The kernel's own tests of mm, and of rings (the category virtio), built and
# installed the way its tree does it, on the stock kernel and, where that has no
# memory of devices (hmm), on one of ours: as they are, and then with the address
# space of every process of theirs mirrored (lab/mm/mirrored.c), and vhost's rings
# as well. Nothing may differ. KTAP.

# shellcheck source=lab/lib/env.sh
. "$(dirname "$0")/../lib/env.sh"

# Each with how many of its programs have to pass, and where a program passes
# whatever it finds, how many results within it. What is left out is about the
# kernel's own memory (vmalloc) or needs more than there is.
WANTED="cow:1 gup_test:4 hmm:1:25 ksm:5 ksm_numa:2 madv_populate:1 mdwe:1"
WANTED="$WANTED memfd_secret:1 migration:1 mkdirty:1 mlock:2 mmap:2 mremap:2"
WANTED="$WANTED pagemap:1 process_mrelease:1 soft_dirty:1 thp:1 userfaultfd:5"
WANTED="$WANTED virtio:35"
# What each of virtio's tests transfers: a second or so, if this is emulated.
XFERS=${XFERS:-20000}

# What threads that are cancelled want, and ldd does not know of.
unwinder=libgcc_s.so.1

out=$LOGS
locked check-mm-machine
unset KSRC
need bash libcap-dev libnuma-dev rsync
"$LAB/vm/modules.sh" stock >/dev/null
tree=$("$LAB/vm/tree.sh" 6.12)
headers=$CACHE/build/headers-6.12
tests=$CACHE/build/selftests-mm
mkdir -p "$out" "$headers" "$tests"

say "building the kernel's own tests"
{
	make -C "$tree" O="$headers" headers &&
		make -j"$JOBS" -C "$tree/tools/testing/selftests" TARGETS=mm \
			O="$tests" INSTALL_PATH="$tests/installed" \
			KHDR_INCLUDES="-isystem $headers/usr/include" install &&
		make -C "$tree/tools/virtio" clean &&
		CFLAGS="-isystem $headers/usr/include -DNUM_XFERS=$XFERS" \
			make -C "$tree/tools/virtio" virtio_test vringh_test
} >"$out/build.log" 2>&1 || {
	build_errors "$out/build.log"
	die "the tests do not build; see $out/build.log"
}

files=
for file in "$tests"/installed/mm/*; do
	[ ! -x "$file" ] || [ -d "$file" ] ||
		files="$files -b $file:/kselftest/mm/$(basename "$file")"
done
for file in "$tree/tools/virtio/virtio_test" "$tree/tools/virtio/vringh_test" \
	"$LAB/mm/virtio.sh" "$LAB/mm/rings.awk"; do
	files="$files -b $file:/kselftest/virtio/$(basename "$file")"
done

# machine KERNEL "MODULE..." "CATEGORY..." [ARGUMENT...]: with these modules
# loaded, and ARGUMENTs of lab/vm/root.sh. Its results are added to the others.
machine() {
	kernel=$1
	modules=$2
	categories=$3
	shift 3
	machines=$((machines + 1))
	root=$out/$kernel/root
	rm -rf "$root"
	# Lists, and each of $files is an option and its value.
	# shellcheck disable=SC2046,SC2086
	"$LAB/vm/root.sh" -r "$root" -k "$kernel" $(printf ' -m %s' $modules) \
		-M zram -b bash:/bin/bash -b modprobe -b modinfo \
		-b "$(gcc -print-file-name=$unwinder):/usr/lib/$unwinder" \
		$files "$@"
	for library in mirrored flipped; do
		gcc -O2 -Wall -Wextra -shared -fPIC -pthread -I"$REPO" \
			-isystem "$headers/usr/include" \
			-o "$root/usr/lib/$library.so" "$LAB/mm/$library.c"
	done
	install -m 755 "$LAB/mm/machine.sh" "$root/test.sh"
	cat >"$root/etc/mm.conf" <<-END
	MODULES="$modules"
	CATEGORIES="$categories"
	SECONDS_EACH=${SECONDS_EACH:-300}
	END
	"$LAB/vm/boot.sh" -k "$kernel" -r "$root" -o "$out/$kernel" -m 3072 \
		-i ext4 -t "${SECONDS_ALL:-3000}" || status=$?
	cat "$out/$kernel/results" >>"$out/results" || true
}

# run CATEGORY...: each on a kernel that has what it needs.
run() {
	on_stock=
	on_hmm=
	for category in "$@"; do
		case $category in
		hmm) on_hmm=$category ;;
		*) on_stock="$on_stock $category" ;;
		esac
	done
	[ -z "$on_stock" ] ||
		machine stock "test_mmu_mirror_tlb gup_test vhost_test" \
			"$on_stock" -m loop -m xfs -b mkfs.xfs
	if [ -n "$on_hmm" ]; then
		"$LAB/vm/build.sh" hmm-6.12 >/dev/null
		machine hmm-6.12 "test_mmu_mirror_tlb test_hmm vhost_net" \
			"$on_hmm"
	fi
}

if [ $# = 0 ]; then
	# A list on purpose.
	# shellcheck disable=SC2046
	set -- $(echo "$WANTED" | sed 's/:[0-9:]*//g')
fi
: >"$out/results"
machines=0
status=0
run "$@"
"$LAB/mm/compare.awk" -f "$LAB/lib/demand.awk" -v wanted="$WANTED" -v run="$*" \
	-v machines="$machines" "$out/results" || [ "$status" != 0 ] || status=1
exit "$status"
