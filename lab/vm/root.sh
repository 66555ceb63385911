#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# lab/vm/root.sh [-a ARCH] -r ROOTDIR [-k KERNEL] [-m MODULE]... [-M MODULE]...
#             [-b FILE[:PATH]]...
#
# Make ROOTDIR a root that lab/vm/boot.sh can pack: the C init, busybox (both for
# ARCH, one of lab/vm/arch.sh, if it is given), and
#   -k KERNEL   whose modules are meant: stock (with the test build of ours),
#               timed (the same without injection points), plain (with the
#               ordinary build), ours-SERIES (as stock),
#               stock-SERIES (as it comes), or the name of a kernel that
#               lab/vm/build.sh built. Before -m and -M
#   -m MODULE   a module, with what it depends on; nothing if it is built in
#   -M MODULE   the same, and init loads it
#   -b FILE     a program with its libraries, or any other file, at its own
#               path or at PATH
# May be run again on the same directory to add to it. The caller adds /test.sh.

# shellcheck source=lab/lib/env.sh
. "$(dirname "$0")/../lib/env.sh"
# shellcheck source=lab/vm/arch.sh
. "$LAB/vm/arch.sh"

ROOT=
MODROOT=
RELEASE=

base_root() {
	need busybox-static gcc libc6-dev kmod xz-utils
	busybox=$(command -v busybox)
	[ -z "$DEBARCH" ] || busybox=$("$LAB/vm/fetch.sh" "busybox-$DEBARCH")
	mkdir -p "$ROOT/usr/bin" "$ROOT/usr/lib" "$ROOT/usr/lib64" \
		"$ROOT/etc" "$ROOT/root" "$ROOT/proc" "$ROOT/sys" \
		"$ROOT/dev" "$ROOT/tmp" "$ROOT/run" "$ROOT/var" "$ROOT/mnt"
	ln -sfn usr/bin "$ROOT/bin"
	ln -sfn usr/bin "$ROOT/sbin"
	ln -sfn bin "$ROOT/usr/sbin"
	ln -sfn usr/lib "$ROOT/lib"
	ln -sfn usr/lib64 "$ROOT/lib64"
	ln -sfn ../run "$ROOT/var/run"
	cp "$busybox" "$ROOT/usr/bin/busybox"
	# As many as ours has: the other may not run here.
	for applet in $(busybox --list); do
		[ -e "$ROOT/usr/bin/$applet" ] ||
			ln -s busybox "$ROOT/usr/bin/$applet"
	done
	"${CROSS}gcc" -static -Os -Wall -Wextra -o "$ROOT/init" "$LAB/vm/init.c"
	[ -f "$ROOT/etc/passwd" ] || {
		echo root:x:0:0:root:/root:/bin/sh >"$ROOT/etc/passwd"
		echo root:x:0: >"$ROOT/etc/group"
	}
}

# merge_modules BUILD STOCK: all modules of a stock kernel with a build of ours over
# them.
merge_modules() {
	MODROOT=$CACHE/build/$1/root
	RELEASE=$(release_of "$2")
	locked "modules-$1"
	dir=$MODROOT/lib/modules/$RELEASE
	if [ ! -d "$dir" ]; then
		rm -rf "$MODROOT.tmp"
		mkdir -p "$MODROOT.tmp/lib/modules"
		cp -a "$CACHE/$2/lib/modules/$RELEASE" \
			"$MODROOT.tmp/lib/modules"
		mv "$MODROOT.tmp" "$MODROOT"
	fi
	mkdir -p "$dir/updates"
	(cd "$CACHE/build/$1" && find . -path ./root -prune -o \
		-name '*.ko' -print) >"$MODROOT/list"
	rsync -c --no-relative --files-from="$MODROOT/list" \
		"$CACHE/build/$1/" "$dir/updates/"
	depmod -b "$MODROOT" "$RELEASE"
}

kernel() {
	case $1 in
	stock|timed|plain) merge_modules "$1" stock ;;
	ours-*) merge_modules "$1" "stock-${1#ours-}" ;;
	stock-*)
		MODROOT=$CACHE/$1
		RELEASE=$(release_of "$1")
		;;
	*)
		MODROOT=$CACHE/build/$1/root
		RELEASE=$(cat "$CACHE/build/$1/include/config/kernel.release")
		;;
	esac
	[ -d "$MODROOT/lib/modules/$RELEASE" ] || return 0
	mkdir -p "$ROOT/lib/modules/$RELEASE"
	for index in builtin builtin.modinfo order; do
		index=lib/modules/$RELEASE/modules.$index
		[ ! -f "$MODROOT/$index" ] || cp "$MODROOT/$index" "$ROOT/$index"
	done
}

add_module() {
	[ -d "$MODROOT/lib/modules/$RELEASE" ] || return 0
	modprobe -C /dev/null -d "$MODROOT" -S "$RELEASE" --show-depends "$1" \
		>"$ROOT/.depends" || die "no module $1 for $RELEASE"
	while read -r what path _; do
		[ "$what" = insmod ] || continue
		file=$ROOT${path#"$MODROOT"}
		file=${file%.xz}
		mkdir -p "$(dirname "$file")"
		case $path in
		*.xz) xz -dc "$path" >"$file" ;;
		*) cp "$path" "$file" ;;
		esac
	done <"$ROOT/.depends"
	rm "$ROOT/.depends"
}

add_file() {
	file=${1%%:*}
	path=${1#*:}
	[ -f "$file" ] || file=$(command -v "$file") || die "no $1 to pack"
	[ "$path" != "$1" ] || path=$file
	mkdir -p "$ROOT/$(dirname "$path")"
	rm -f "$ROOT/$path"
	cp -L "$file" "$ROOT/$path"
	# What ldd refuses is static, or no program at all.
	for lib in $(ldd "$file" 2>/dev/null | grep -o '/[^ ]*' || true); do
		[ -e "$ROOT/$lib" ] && continue
		mkdir -p "$ROOT/$(dirname "$lib")"
		cp -L "$lib" "$ROOT/$lib"
	done
}

arch ''
while getopts a:r:k:m:M:b: option; do
	case $option in
	a)
		arch "$OPTARG"
		# A list on purpose.
		# shellcheck disable=SC2086
		need $CROSS_PACKAGES
		;;
	r)
		mkdir -p "$OPTARG"
		ROOT=$(cd "$OPTARG" && pwd)
		base_root
		;;
	k) kernel "$OPTARG" ;;
	m) add_module "${OPTARG%% *}" ;;
	M)
		add_module "${OPTARG%% *}"
		echo "$OPTARG" >>"$ROOT/etc/modules"
		;;
	b) add_file "$OPTARG" ;;
	*) die "see the head of $0" ;;
	esac
done
[ -n "$ROOT" ] || die "lab/vm/root.sh: no -r ROOTDIR"
[ ! -d "$ROOT/lib/modules/$RELEASE" ] || [ -z "$RELEASE" ] ||
	depmod -b "$ROOT" "$RELEASE"
