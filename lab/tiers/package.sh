#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# lab/tiers/package.sh [SUITE...]
#
# In a root of each Debian (bookworm and trixie), with kernels that the package is
# for and one that it is not for: installs the DKMS package, upgrades kernels,
# sources and the package, has it refuse what does not fit, interrupts DKMS, and
# removes it. Then boots what it built on that root, uses it, and removes it while
# it is loaded (lab/package/vm.sh). Roots and packages that were downloaded stay in
# the cache. KTAP.

# shellcheck source=lab/lib/env.sh
. "$(dirname "$0")/../lib/env.sh"
# shellcheck source=lab/lib/ktap.sh
. "$LAB/lib/ktap.sh"
# shellcheck source=lab/package/root.sh
. "$LAB/package/root.sh"

[ $# -gt 0 ] || set -- bookworm trixie
need debootstrap gcc libc6-dev kmod rsync
NAME=mmu-range-mirror
out=$CACHE/build/package-check
mkdir -p "$LOGS"
SOURCE=linux-source-6.12
VHOST="vhost vhost_net vhost_scsi vhost_vsock vhost_vdpa"

# have KERNEL...: each as headers and an image.
have() {
	for kernel in "$@"; do
		printf 'linux-headers-%s linux-image-%s-unsigned ' \
			"$kernel" "$kernel"
	done
}

# The releases of a series that the suite offers for the cloud, ascending.
releases() {
	inside apt-cache search --names-only "^linux-headers-$1[.].*-cloud-amd64\$" |
		sed 's/^linux-headers-\([^ ]*\) .*/\1/' | sort -V
}

# version_of RELEASE: of the packages of that kernel.
version_of() {
	inside apt-cache policy "linux-headers-$1" |
		sed -n 's/^  Candidate: //p'
}

path_of() {
	inside modinfo -k "$1" -n "$2" 2>>"$log"
}

# ours RELEASE: what it loads is what DKMS built.
ours() {
	for module in $VHOST mmu_range_mirror; do
		path_of "$1" "$module" | grep -q /updates/ || return 1
	done
}

# stocks RELEASE: it has its own vhost, complete, and nothing of ours.
stocks() {
	! find "$root/lib/modules/$1/updates" -name '*.ko*' 2>/dev/null |
		grep . || return 1
	for module in $VHOST; do
		path_of "$1" "$module" | grep -q /kernel/ || return 1
	done
}

# as_packaged RELEASE: the files of its own vhost are those of its package.
as_packaged() {
	grep /drivers/vhost/ \
		"$root/var/lib/dpkg/info/linux-image-$1-unsigned.md5sums" |
		(cd "$root" && md5sum -c --quiet) >>"$log" 2>&1
}

# untouched RELEASE: a kernel that may lack some of these.
untouched() {
	[ ! -e "$root/lib/modules/$1/updates" ] &&
		path_of "$1" vhost_net | grep -q /kernel/
}

# said WORDS: the last command that apt or dpkg ran did.
said() {
	sed 's/^/# /' "$out/$suite.last" | grep 'mmu-range-mirror: ' || true
	grep -q "$1" "$out/$suite.last"
}

# apt_says WORDS APT-ARGUMENT...: it succeeds, and so do all scripts.
apt_says() {
	words=$1
	shift
	apt "$@" && said "$words"
}

installed() {
	# The variable is dpkg's.
	# shellcheck disable=SC2016
	[ "$(inside dpkg-query -W -f '${db:Status-Status}' "$1")" = installed ]
}

# hook RELEASE: what runs when a kernel's headers are installed.
hook() {
	inside run-parts --exit-on-error --arg="$1" \
		/etc/kernel/header_postinst.d >>"$log" 2>&1
}

autoinstall() {
	inside dkms autoinstall -k "$1" >>"$log" 2>&1
}

# as_source TREE: TREE is what a kernel's vhost is built from, until true_source.
as_source() {
	tarball=$root/usr/src/$SOURCE.tar.xz
	[ -f "$out/true.tar.xz" ] || as_root mv "$tarball" "$out/true.tar.xz"
	as_root tar -C "$1" -cJf "$tarball" "$SOURCE"
}

true_source() {
	as_root mv "$out/true.tar.xz" "$root/usr/src/$SOURCE.tar.xz"
}

# Whoever else installs what there is cannot have it either.
not_by_hand() {
	! inside dkms install -m $NAME -v 0.1 -k "$new" >>"$log" 2>&1 &&
		stocks "$new"
}

# A comment is in the way of one hunk.
a_hunk_fails() {
	rm -rf "$out/changed"
	mkdir "$out/changed"
	tar -C "$out/changed" -xJf "$root/usr/src/$SOURCE.tar.xz" \
		"$SOURCE/Makefile" "$SOURCE/drivers/vhost"
	sed -i '/^\tvhost_workers_free(dev);/a\	/* A line more. */' \
		"$out/changed/$SOURCE/drivers/vhost/vhost.c"
	inside dkms unbuild -m $NAME -v 0.1 -k "$new" >>"$log" 2>&1
	as_source "$out/changed"
	look_again && said "does not apply to vhost" && stocks "$new" || return 1
	not_by_hand
}

look_again() {
	inside "/usr/src/$NAME/packaging/sync" >"$out/$suite.last" 2>&1
}

builds_again() {
	true_source
	look_again && ours "$new"
}

# A kernel that has no vhost_vdpa.
without_vdpa() {
	config=$root/usr/src/linux-headers-$new/include/config/auto.conf
	as_root sed -i '/^CONFIG_VHOST_VDPA=/d' "$config"
	inside dkms unbuild -m $NAME -v 0.1 -k "$new" >>"$log" 2>&1
	look_again
	path_of "$new" vhost_net | grep -q /updates/ &&
		path_of "$new" vhost_vdpa | grep -q /kernel/ &&
		inside dkms unbuild -m $NAME -v 0.1 -k "$new" >>"$log" 2>&1 &&
		stocks "$new"
	status=$?
	echo CONFIG_VHOST_VDPA=m | as_root tee -a "$config" >/dev/null
	return $status
}

# mokutil SAYS: what "mokutil --test-key FILE" says of FILE.
mokutil() {
	as_root tee "$root/usr/local/bin/mokutil" >/dev/null <<-END
	#!/bin/sh
	[ "\$1" != --sb-state ] || echo "SecureBoot enabled"
	[ "\$1" != --test-key ] || echo "\$2 is $1"
	END
	as_root chmod +x "$root/usr/local/bin/mokutil"
}

key_is_unknown() {
	inside dkms unbuild -m $NAME -v 0.1 -k "$new" >>"$log" 2>&1
	mokutil "not enrolled"
	look_again && said "mokutil --import" && stocks "$new" || return 1
	not_by_hand
}

key_is_known() {
	mokutil "already enrolled"
	look_again
	as_root rm "$root/usr/local/bin/mokutil"
	ours "$new" && [ -n "$(inside modinfo -k "$new" -F signer vhost)" ]
}

# third_driver RELEASE: somebody's driver, with what the package's README.md says.
third_driver() {
	third=$root/opt/third
	apt install "/tmp/mirrorstat_0.1_$(dpkg --print-architecture).deb" &&
		as_root rm -rf "$third" && as_root mkdir -p "$third" || return
	as_root cp "$REPO"/samples/mmu_range_mirror/*.[ch] "$third"
	printf '%s\n' 'obj-m := mirror_shadow.o mirror_window.o' \
		'ccflags-y := -I/usr/src/mmu-range-mirror/include' |
		as_root tee "$third/Kbuild" >/dev/null
	inside make -C "/lib/modules/$1/build" M=/opt/third \
		KBUILD_EXTRA_SYMBOLS="/var/lib/dkms/$NAME/kernel-$1-$(uname -m)/module/Module.symvers" \
		modules >>"$log" 2>&1
}

# next_revision RELEASE: dpkg replaces that kernel by its next revision, which no
# source is there for.
next_revision() {
	header=$root/usr/src/linux-headers-$1/include/generated/package.h
	as_root cp "$header" "$out/package.h"
	as_root sed -i 's/ Debian [^ "]*/&.1/' "$header"
	dpkg-deb --fsys-tarfile \
		"$CACHE/roots/deb-$suite/linux-image-$1-unsigned_"*.deb |
		as_root tar -C "$root" -xf - --wildcards '*/drivers/vhost/*'
	as_root touch -d @0 "$root/lib/modules/$1/kernel/drivers/vhost"/*
	look_again && stocks "$1" &&
		! find "$root/lib/modules/$1/kernel/drivers/vhost" -type f \
			-newermt @0 | grep .
	status=$?
	as_root cp "$out/package.h" "$header"
	look_again && ours "$1" && return $status
}

# disk_full RELEASE: not all modules of ours find room.
disk_full() {
	updates=$root/lib/modules/$1/updates/dkms
	inside dkms uninstall -m $NAME -v 0.1 -k "$1" >>"$log" 2>&1
	as_root mkdir -p "$updates"
	as_root mount -t tmpfs -o size=64k tmpfs "$updates"
	look_again && said "are not installed" && stocks "$1" && as_packaged "$1"
	status=$?
	as_root umount "$updates"
	return $status
}

disk_has_room() {
	look_again && ours "$1" && as_packaged "$1"
}

# damaged RELEASE: DKMS calls a module installed of which nothing is there.
damaged() {
	as_root truncate -s 0 \
		"$root/lib/modules/$1/updates/dkms"/vhost_scsi.ko*
	look_again && ours "$1" &&
		[ "$(inside modinfo -k "$1" -F srcversion vhost_scsi)" ]
}

# interrupt VERSION RELEASE: DKMS is killed when it has installed a part of the
# third module.
interrupt() {
	inside dkms uninstall -m $NAME -v "$1" -k "$2" >>"$log" 2>&1
	as_root tee "$root/usr/local/bin/cp" >/dev/null <<-'END'
	#!/bin/sh
	for to; do :; done
	case $to in
	*/updates/dkms/vhost_scsi.ko*)
		echo a part >"$to"
		kill -9 $PPID
		;;
	*) exec /bin/cp "$@" ;;
	esac
	END
	as_root chmod +x "$root/usr/local/bin/cp"
	inside dkms install -m $NAME -v "$1" -k "$2" >>"$log" 2>&1
	as_root rm "$root/usr/local/bin/cp"
	grep -q 'a part' "$root/lib/modules/$2/updates/dkms"/vhost_scsi.ko*
}

# killed_late RELEASE: DKMS is killed when it only has to run POST_INSTALL.
killed_late() {
	archive=$root/var/lib/dkms/$NAME/original_module/$1/$(uname -m)
	stock=$(ls "$root/lib/modules/$1/kernel/drivers/vhost"/vhost_net.ko*)
	as_root mkdir -p "$archive"
	as_root mv "$stock" "$archive"
	echo "${stock#"$root"}" |
		as_root tee "$archive/${stock##*/}.origin" >/dev/null
	look_again && ours "$1" && as_packaged "$1"
}

# not_ours RELEASE: another package's DKMS has built a vhost for a kernel that we build
# nothing for.
not_ours() {
	theirs=$root/var/lib/dkms/theirs/1/$1/$(uname -m)
	updates=$root/lib/modules/$1/updates/dkms
	as_root mkdir -p "$theirs/module" "$updates"
	for at in "$theirs/module" "$updates"; do
		echo theirs | as_root tee "$at/vhost_net.ko.xz" >/dev/null
	done
	look_again && grep -qx theirs "$updates/vhost_net.ko.xz"
	status=$?
	as_root rm -rf "$root/var/lib/dkms/theirs" "$updates"
	look_again && return $status
}

interrupted() {
	interrupt "$@" && look_again && said "taken back" && ours "$2" &&
		as_packaged "$2"
}

# The older kernel's source has gone.
upgraded() {
	apt install /tmp/${NAME}-dkms_0.2_all.deb && ours "$new" && stocks "$old" &&
		inside dkms status | tee -a "$log" |
		grep -q '/0[.]2.*installed' && ! inside dkms status | grep -q '/0[.]1'
}

# The kernel that was left alone gets its source, too.
newer_series() {
	apt_says "building for Linux $foreign" install \
		"linux-source-7.3=$(version_of "$foreign")" && ours "$foreign"
}

purged() {
	interrupt 0.2 "$new" && apt purge $NAME-dkms &&
		stocks "$old" && as_packaged "$old" &&
		stocks "$new" && as_packaged "$new" &&
		[ ! -e "$root/var/lib/dkms/$NAME" ] &&
		! ls "$root"/usr/src/$NAME* 2>/dev/null
}

headers_go() {
	apt purge "linux-headers-${new%%-*}-common" "linux-headers-${old%%-*}-common"
}

check_suite() {
	new=$(releases 6.12 | tail -n 1)
	# The one before, of another version.
	old=$(releases 6.12 | sed "/^${new%%+*}+/d" | tail -n 1)
	case $suite in
	bookworm)
		foreign=$(releases 6.1 | tail -n 1)
		foreign_image=linux-image-$foreign-unsigned
		;;
	*)
		foreign=$(releases 7.3 | tail -n 1)
		foreign_image="linux-image-$foreign linux-base/$suite-backports"
		;;
	esac
	say "$suite: for $old and $new, beside $foreign"
	# Lists on purpose.
	# shellcheck disable=SC2046,SC2086
	apt install dkms $(have "$old") "linux-headers-$foreign" $foreign_image \
		"$SOURCE=$(version_of "$old")"
	inside apt-mark hold "$SOURCE" >>"$log"
	result_of "another kernel's hook succeeds without the package" hook "$foreign"
	result_of "is installed, and says which kernel it leaves alone" \
		apt_says "Linux $foreign keeps" install /tmp/${NAME}-dkms_0.1_all.deb
	result_of "has its modules in a kernel with its own source" ours "$old"
	result_of "leaves the other alone" untouched "$foreign"
	result_of "whose hook succeeds" hook "$foreign"
	result_of "and dkms autoinstall" autoinstall "$foreign"
	result_of "leaves the stock modules in their files" as_packaged "$old"
	result_of "leaves those of a kernel's next revision alone" \
		next_revision "$old"
	result_of "installs nothing where not all of it has room" disk_full "$old"
	result_of "installs all when there is room" disk_has_room "$old"
	result_of "replaces a module that is damaged" damaged "$old"
	result_of "puts stock modules back when DKMS could not" killed_late "$old"
	result_of "leaves another package's modules alone" not_ours "$foreign"
	result_of "starts again when DKMS was interrupted" interrupted 0.1 "$old"

	# shellcheck disable=SC2046
	result_of "refuses older source for a kernel that comes later" \
		apt_says "$SOURCE is $(version_of "$old")" install $(have "$new")
	result_of "which is installed" installed "linux-image-$new-unsigned"
	result_of "and has its stock modules" stocks "$new"
	result_of "builds when the source is upgraded" \
		apt_says "building for Linux $new" \
		--allow-change-held-packages install "$SOURCE=$(version_of "$new")"
	result_of "for that kernel" ours "$new"
	result_of "and leaves what the source is too new for as it was built" \
		ours "$old"

	result_of "builds nothing that one hunk does not fit" a_hunk_fails
	result_of "builds again when it fits" builds_again
	result_of "does without a module that a kernel lacks" without_vdpa
	result_of "does not replace what would load by what would not" key_is_unknown
	result_of "is installed when its key is known" key_is_known
	result_of "is upgraded" upgraded
	result_of "has what another driver is built with" third_driver "$new"
	result_of "is used, and removed while it is loaded" machine 0.2 "$new"
	case $foreign in
	7.3.*)
		result_of "builds for 7.3 when its source comes" newer_series
		result_of "has what another driver is built with there" \
			third_driver "$foreign"
		result_of "is used there, and removed while it is loaded" \
			machine 0.2 "$foreign"
		;;
	esac
	headers_go
	result_of "is removed after DKMS was interrupted, and the headers have gone" \
		purged
}

locked package
"$LAB/package.sh" deb >/dev/null
# As a run that was killed has left it.
for suite in "$@"; do
	root=$out/$suite
	leave
done
as_root rm -rf --one-file-system "${out:?}"
mkdir -p "$out"
DEB_BUILD_OPTIONS=noautodbgsym
export DEB_BUILD_OPTIONS
for version in 0.1 0.2; do
	cp -r "$CACHE/build/deb/source" "$out/$version"
	sed -i "s/(0[.]1)/($version)/" "$out/$version/debian/changelog"
	(cd "$out/$version" && dpkg-buildpackage -b -us -uc) >"$out/build.log" 2>&1
done

begin package
for suite in "$@"; do
	about "$suite"
	root=$out/$suite
	log=$LOGS/$suite.log
	say "the package in a new $suite"
	trap leave EXIT
	trap 'exit 1' HUP INT TERM
	make_root
	as_root cp "$out"/*.deb "$root/tmp/"
	check_suite
	leave
	as_root rm -rf --one-file-system "$root"
	[ -z "$failed" ] || say "see $log"
done
finish
[ -z "$failed" ]
