#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# lab/ringpath/build.sh BASE...
#
# Build the program that times vhost's ring path, of the stock kernel of each base,
# and print its path. The kernel's own build compiles drivers/vhost/vhost.c of the
# source, and of the patched tree, with the stock kernel's configuration. What that
# wants of the kernel and ringpath.c does not provide ends the program when called.

# shellcheck source=lab/lib/env.sh
. "$(dirname "$0")/../lib/env.sh"

[ $# -gt 0 ] || die "usage: lab/ringpath/build.sh BASE..."
VARIANTS="uaccess begin masked windows plain"
REST="cache iotlb iter lib mc usercopy window"
need_build
out=$CACHE/build/ringpath
locked ringpath
mkdir -p "$out"
# It has to be of the stock kernel.
unset KSRC

compile() {
	base=$1
	stock=stock-$base
	[ "$base" != 6.12 ] || stock=stock
	"$LAB/vm/fetch.sh" "$stock" >/dev/null
	release=$(release_of "$stock")
	headers=$CACHE/$stock/usr/src/linux-headers-$release
	objects=
	mkdir -p "$out/$base"
	rsync -rc "$LAB"/ringpath/*.[chS] "$LAB/ringpath/Kbuild" "$out/$base/"
	for object in $VARIANTS $REST; do
		objects="$objects $object.o"
	done
	for variant in $VARIANTS; do
		[ -f "$out/$base/$variant.c" ] ||
			echo '#include "kernel.c"' >"$out/$base/$variant.c"
	done
	compiler=$(sed -n 's/^CC = .*\(gcc-[0-9]*\)$/\1/p' \
		"$headers/.kernelvariables")
	# What only the newer compiler can do, and nothing here has to.
	options="CC=gcc CONFIG_CC_HAS_MIN_FUNCTION_ALIGNMENT="
	if have_candidate "$compiler"; then
		need "$compiler"
		options=
	fi
	say "building the ring path of $release"
	# The headers may expect themselves under /usr/src. Lists on purpose.
	# shellcheck disable=SC2086
	make -C "$headers" KBUILD_OUTPUT="$headers" M="$out/$base" \
		-f "${headers%/*}/linux-headers-${release%-cloud-amd64}-common/Makefile" \
		-j"$JOBS" $options PATH_KERNEL="$base" \
		PATH_SOURCE="$("$LAB/vm/fetch.sh" "src-$base")" \
		PATH_TREE="$("$LAB/vm/tree.sh" "$base")" $objects \
		>"$out/build-$base.log" 2>&1 || {
		build_errors "$out/build-$base.log"
		die "the ring path of $base does not build; see $(logged \
			"$out/build-$base.log" "ringpath-$base.log")"
	}
}

# Each variant is a whole vhost.c: nothing of it is seen but its table.
join() {
	base=$1
	id=$(echo "$base" | tr . _)
	parts=
	for rest in $REST; do
		parts="$parts $out/$base/$rest.o"
	done
	for variant in $VARIANTS; do
		objcopy --keep-global-symbol="ringpath_${id}_$variant" \
			"$out/$base/$variant.o" "$out/$base/.$variant.local"
		parts="$parts $out/$base/.$variant.local"
	done
	# A list on purpose.
	# shellcheck disable=SC2086
	ld -z noexecstack -r -o "$out/$base/.all" $parts
	objcopy --wildcard --keep-global-symbol='ringpath_*_*' \
		--rename-section .altinstructions=altinstructions \
		--redefine-sym const_pcpu_hot=pcpu_hot \
		"$out/$base/.all" "$out/ringpath-$base.o"
}

# What is left undefined: all but what the C library has.
stubs() {
	nm "$@" | awk '$1 == "U" { print $2 }' | sort -u >"$out/wanted"
	nm "$out/main.o" | awk 'NF == 3 { print $3 }' | sort -u >"$out/given"
	comm -23 "$out/wanted" "$out/given" |
		grep -Ev '^(mem(cpy|set|move|cmp)|str.*|s[a-z]*printf|sscanf)$' |
		awk '{ printf "\t.globl %s\n%s:\n\tud2\n", $1, $1 }
		END { print "\t.section .note.GNU-stack,\"\",@progbits" }'
}

joined=
for base in "$@"; do
	compile "$base"
	join "$base" 2>"$out/ld.log" || { cat "$out/ld.log" >&2; exit 1; }
	joined="$joined $out/ringpath-$base.o"
done
for file in ringpath pieces; do
	gcc -D_GNU_SOURCE -O2 -g -Wall -Wextra -fno-strict-aliasing -fno-pie \
		-pthread -c -o "$out/.$file.o" "$LAB/ringpath/$file.c"
done
ld -r -o "$out/main.o" "$out/.ringpath.o" "$out/.pieces.o"
# Lists on purpose.
# shellcheck disable=SC2086
stubs $joined >"$out/stubs.S"
gcc -c -o "$out/stubs.o" "$out/stubs.S"
# shellcheck disable=SC2086
gcc -no-pie -pthread -z noexecstack -o "$out/ringpath" "$out/main.o" $joined \
	"$out/stubs.o"
echo "$out/ringpath"
