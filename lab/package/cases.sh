#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# lab/package/cases.sh
#
# What the package's scripts do with a vhost that does not fit, without DKMS and
# without installing anything: seconds. lab/tiers/package.sh does the rest. KTAP.

# shellcheck source=lab/lib/env.sh
. "$(dirname "$0")/../lib/env.sh"
# shellcheck source=lab/lib/ktap.sh
. "$LAB/lib/ktap.sh"

need make patch xz-utils kmod bash
unset KSRC
"$LAB/vm/fetch.sh" stock >/dev/null
src=$("$LAB/vm/fetch.sh" src-6.12)
deb=$("$LAB/package.sh" deb | grep dkms)
out=$CACHE/build/package-cases
rm -rf "$out"
mkdir -p "$out/bin" "$out/source/linux-source-6.12/drivers"
dpkg -x "$deb" "$out/root"
package=$(echo "$out"/root/usr/src/mmu-range-mirror-*)
release=$(stock_release)
headers=$CACHE/stock/usr/src/linux-headers-$release
kernel=$(sed -n 's/.*Debian \([^"]*\)"$/\1/p' \
	"$headers/include/generated/package.h")
z=$(sed -n 's/^SUBLEVEL = //p' "$src/Makefile")
cp "$src/Makefile" "$out/source/linux-source-6.12/"
cp -r "$src/drivers/vhost" "$out/source/linux-source-6.12/drivers/"

# as_of SUBLEVEL NAME: the source, as one of that version.
as_of() {
	sed -i "s/^SUBLEVEL = .*/SUBLEVEL = $1/" \
		"$out/source/linux-source-6.12/Makefile"
	tar -C "$out/source" -cJf "$out/$2.tar.xz" linux-source-6.12
}

# of VERSION: headers of that kernel, as far as packaging/prepare looks.
of() {
	mkdir -p "$out/$1/include/generated" "$out/$1/include/config"
	echo "#define LINUX_PACKAGE_ID \" Debian $1\"" \
		>"$out/$1/include/generated/package.h"
	echo CONFIG_VHOST=m >"$out/$1/include/config/auto.conf"
	echo "$out/$1"
}

# prepare SOURCE [HEADERS]: what it says is in $out/said.
prepare() {
	(cd "$package" && MRM_SOURCE=$out/$1.tar.xz packaging/prepare \
		"$release" "${2:-$headers}") >"$out/said" 2>&1
}

# refuses WORDS SOURCE [HEADERS]: it says so, and so does make, even if somebody
# has built here before.
refuses() {
	words=$1
	shift
	if prepare "$@"; then
		echo "# it did not refuse"
		return 1
	fi
	sed 's/^/# /' "$out/said"
	grep -q "$words" "$out/said" || return 1
	if make -s -f "$package/module/Kbuild" >"$out/said" 2>&1; then
		echo "# make does not stop"
		return 1
	fi
	grep -q "$words" "$out/said"
	[ "$(find "$package/module" "$package/.module" -type f 2>/dev/null)" = \
		"$package/module/Kbuild" ]
}

fits() {
	prepare "$1" || { sed 's/^/# /' "$out/said"; return 1; }
	! grep -q error "$package/module/Kbuild" &&
		grep -q "^MODULE_VERSION(\"$kernel.mirror\")" \
			"$package/module/drivers/vhost/vhost.c"
}

# The modules that dkms.conf lists, by these CONFIG_ symbols or what is built.
lists() {
	bash -c 'dkms_tree=$1 kernelver=release arch=x kernel_source_dir=$2
		. "$3/dkms.conf"; echo "${BUILT_MODULE_NAME[@]}"' \
		bash "$1" "$2" "$package" | tr ' ' '\n' | sort | tr '\n' ' '
}

all() {
	{
		(cd "$REPO/mm" && ls -- *.c) | sed 's/[.]c$//'
		echo "vhost vhost_net vhost_scsi vhost_vsock vhost_ring_mirror" |
			tr ' ' '\n'
		echo "$1"
	} | sed '/^$/d' | sort | tr '\n' ' '
}

listed() {
	config=$out/config/include/config
	built=$out/dkms/mmu-range-mirror/$(basename "$package" |
		sed s/mmu-range-mirror-//)/release/x/module
	mkdir -p "$config" "$built"
	printf 'CONFIG_VHOST%s=m\n' '' _NET _SCSI _VSOCK >"$config/auto.conf"
	[ "$(lists /none "$out/config")" = "$(all '')" ] &&
		[ "$(lists /none /none)" = "$(all vhost_vdpa)" ] &&
		for module in $(all ''); do touch "$built/$module.ko.xz"; done &&
		[ "$(lists "$out/dkms" /none)" = "$(all '')" ]
}

# With a mokutil that says what it is told to.
signed_only() {
	cat >"$out/bin/mokutil" <<-'END'
	#!/bin/sh
	[ "$1" != --sb-state ] || echo "SecureBoot enabled"
	[ "$1" != --test-key ] || echo "$2 is not enrolled"
	END
	chmod +x "$out/bin/mokutil"
	if PATH=$out/bin:$PATH "$package/packaging/activate" "$release" \
		"$CACHE/stock/lib/modules/$release/kernel/drivers/vhost" \
		>"$out/said" 2>&1; then
		echo "# it activates them"
		return 1
	fi
	grep -q 'mokutil --import /var/lib/dkms/mok.pub' "$out/said"
}

# packaged VERSION [IMAGE]: the source as the file of a package of VERSION, and the
# kernel of one of IMAGE.
packaged() {
	cat >"$out/bin/dpkg-query" <<-END
	#!/bin/sh
	case "\$*" in
	-S*) echo "linux-source-6.12: \$2" ;;
	*linux-image-*) echo "${2:+installed $2}" ;;
	*) printf '%s' '$1' ;;
	esac
	END
	chmod +x "$out/bin/dpkg-query"
	PATH=$out/bin:$PATH
	export PATH
}

vsock=$out/source/linux-source-6.12/drivers/vhost/vsock.c
states=$package/patches/6.12/0019-vhost-read-headers-of-vsock-through-a-cache

# as_before NAME PATCH...: the source, with what each of these changes in place of the
# three lines there that read a header.
as_before() {
	name=$1
	shift
	cp "$vsock" "$out/vsock.c"
	awk 'FILENAME != ARGV[ARGC - 1] {
		if (/^@@/)
			hunk = FILENAME
		if (hunk == FILENAME && /^[ -]/)
			before = before substr($0, 2) "\n"
		next
	}
	{ line[++n] = $0 }
	/copy_from_iter[(]/ { at = n }
	END {
		for (i = 1; i <= n; i++) {
			if (i == at)
				printf "%s", before
			if (i < at - 1 || i > at + 1)
				print line[i]
		}
	}' "$@" "$out/vsock.c" >"$vsock"
	as_of "$z" "$name"
	cp "$out/vsock.c" "$vsock"
}

# Each state of the source gets the patch that is for it, and that alone.
each_state() {
	for state in "$states"/*.patch; do
		as_before state "$state"
		fits state || return 1
		sed -n 's/^+\t/\t/p' "$state" >"$out/wanted"
		[ -s "$out/wanted" ] && [ "$(grep -cFxf "$out/wanted" \
			"$package/module/drivers/vhost/vsock.c")" = \
			"$(wc -l <"$out/wanted")" ] || return 1
	done
	[ "$(find "$states" -name '*.patch' | wc -l)" -gt 1 ]
}

# As before 6.12.102, which forgets nothing when a ring's addresses change.
forgets_itself() {
	vhost=$out/source/linux-source-6.12/drivers/vhost/vhost.c
	cp "$vhost" "$out/vhost.c"
	sed -i '/^static long vhost_vring_set_num_addr/,/^}/s/^\t__vhost_vq_meta_reset(vq);$//' \
		"$vhost"
	cmp -s "$vhost" "$out/vhost.c" && return 1
	as_of "$z" forgetful
	cp "$out/vhost.c" "$vhost"
	fits forgetful &&
		sed -n '/^static long vhost_vring_set_addr/,/^}/p' \
			"$package/module/drivers/vhost/vhost.c" |
		grep -q 'vhost_ring_mirror_reset(vq);'
}

another_revision() {
	(packaged 6.12.1-1 && refuses "linux-source-6.12 is 6.12.1-1" right)
}

same_revision() {
	(packaged "$kernel" "$kernel" && fits right)
}

# The headers were kept back.
newer_image() {
	(packaged "$kernel" "$kernel.1" && refuses "the kernel is $kernel.1" right)
}

# A directory for temporary files that is not there.
no_room_for_a_log() {
	TMPDIR=$out/none "$package/packaging/sync" >"$out/said" 2>&1 &&
		[ "$(grep -c . "$out/said")" = 1 ] &&
		grep -q '^mmu-range-mirror: .*mktemp' "$out/said"
}

# archived FILE [PATH]: as DKMS 3.2 moves it away, and says from where.
archived() {
	echo "archived $1" >"$archive/$1"
	[ $# = 1 ] || echo "$2" >"$archive/$1.origin"
}

# has FILE WORDS
has() {
	[ "$(cat "$1")" = "$2" ] || { echo "# $1: $(cat "$1")"; return 1; }
}

put_back() {
	tree=$out/dkms-3.2
	archive=$tree/original_module/release/x
	lib=$out/lib/release
	rm -rf "$tree" "$lib"
	mkdir -p "$archive" "$lib/kernel" "$lib/updates/dkms"
	archived vhost.ko.xz "$lib/kernel/vhost.ko.xz"
	archived vhost_net.ko.xz "$lib/kernel/vhost_net.ko.xz"
	echo newer >"$lib/kernel/vhost_net.ko.xz"
	archived vhost_scsi.ko "$out/lib/gone/kernel/vhost_scsi.ko"
	archived vhost_vsock.ko
	archived vhost_vdpa.ko "$lib/updates/vhost_vdpa.ko"
	"$package/packaging/put-back" "$archive" || return
	has "$lib/kernel/vhost.ko.xz" "archived vhost.ko.xz" &&
		has "$lib/kernel/vhost_net.ko.xz" newer &&
		has "$archive/vhost_vdpa.ko" "archived vhost_vdpa.ko" &&
		[ "$(find "$tree" -type f | wc -l)" = 2 ] || return
	# One that stays for want of a place.
	rmdir "$lib/updates/dkms"
	"$package/packaging/put-back" "$archive" all &&
		has "$lib/updates/vhost_vdpa.ko" "archived vhost_vdpa.ko" &&
		[ -z "$(ls "$tree")" ]
}

# make install, with an apt-get that says what it is told to do. A cache may have a
# space in its path.
installs() {
	spaced="$out/a cache"
	mkdir -p "$spaced" "$out/apt"
	cat >"$out/apt/apt-get" <<-'END'
	#!/bin/sh
	printf '%s\n' "$@"
	END
	cat >"$out/apt/sudo" <<-'END'
	#!/bin/sh
	exec "$@"
	END
	chmod +x "$out/apt/apt-get" "$out/apt/sudo"
	PATH=$out/apt:$PATH MRM_CACHE=$spaced "$LAB/package.sh" install \
		>"$out/said" 2>&1
	status=$?
	sed 's/^/# /' "$out/said"
	[ "$status" = 0 ] && grep -qx -e --reinstall "$out/said" &&
		[ "$(grep -c "^$spaced/build/deb/[a-z0-9._-]*[.]deb\$" \
			"$out/said")" = 4 ]
}

begin package-cases
as_of "$z" right
as_of $((z - 1)) older
as_of $((z + 1)) newer
result_of "the kernel's own vhost is prepared" fits right
refusal="has the vhost of Linux"
result_of "an older one is refused" refuses "$refusal" older
result_of "a newer one is refused" refuses "$refusal" newer
result_of "another revision of the same version is refused" \
	another_revision
result_of "the same revision is not" same_revision
result_of "a kernel that is newer than its headers is refused" newer_image
result_of "a kernel without patches is refused" \
	refuses "not checked on Linux 6.1.192" right "$(of 6.1.192-3)"
result_of "a release candidate is refused" \
	refuses "no headers of a stable kernel" right "$(of 7.3~rc7-1~exp1)"
result_of "a kernel without headers is refused" \
	refuses "no headers of a stable kernel" right "$out/none"
result_of "a kernel without source is refused" \
	refuses "install linux-source-6.12 $kernel" none
result_of "and it is prepared after all of these" fits right
result_of "each state of a source that was changed is prepared" each_state
result_of "a vhost that keeps its old addresses forgets the windows" \
	forgets_itself
as_before none /dev/null
result_of "a state that no patch is for is refused" \
	refuses "does not apply to vhost" none
as_before both "$states"/*.patch
result_of "one that two patches are for is refused" \
	refuses "does not apply to vhost" both

sed -i '/^\tvhost_workers_free(dev);/a\	/* A line more. */' \
	"$out/source/linux-source-6.12/drivers/vhost/vhost.c"
as_of "$z" changed
result_of "a vhost that one hunk does not fit is refused" \
	refuses "does not apply to vhost" changed
sed -i 's/^+\tvhost_ring_mirror_cleanup(dev);/+\t;/' \
	"$package"/patches/6.12/*.patch
result_of "a vhost that does not call what it has to is refused" \
	refuses "does not call vhost_ring_mirror_cleanup" right

result_of "dkms.conf lists what is built, or else what there is to build" listed
result_of "nothing is activated that the kernel would not load" signed_only
result_of "where no file can be written, sync says so, and does not fail" \
	no_room_for_a_log
result_of "stock modules are put back where nothing newer is" put_back
result_of "make install installs both packages, even of a version that is there" \
	installs
finish
[ -z "$failed" ]
