#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# lab/package-check.sh [SUITE...]
#
# In a new root of each Debian (bookworm and trixie): installs the DKMS package
# beside two kernels of the 6.12 series, upgrades a kernel and the package, has
# a kernel that it was not checked on refused, and removes it. KTAP.

# shellcheck source=lab/env.sh
. "$(dirname "$0")/env.sh"
# shellcheck source=lab/ktap.sh
. "$LAB/ktap.sh"

[ $# -gt 0 ] || set -- bookworm trixie
need debootstrap
# $(SITE) is apt's own.
# shellcheck disable=SC2016
site=$(apt-get indextargets --format '$(SITE)' 'Created-By: Packages' |
	grep -v security | head -n 1)
# shellcheck disable=SC2016
security=$(apt-get indextargets --format '$(SITE)' | grep security | head -n 1)
out=$LOGS/roots
keyring=/usr/share/keyrings/debian-archive-keyring.gpg

leave() {
	for dir in proc sys dev; do
		! mountpoint -q "$root/$dir" || as_root umount -l "$root/$dir"
	done
}

inside() {
	as_root env -i HOME=/root DEBIAN_FRONTEND=noninteractive \
		PATH=/usr/sbin:/usr/bin:/sbin:/bin chroot "$root" "$@"
}

install() {
	inside apt-get -y --no-install-recommends install "$@" >>"$log" 2>&1
}

make_root() {
	as_root rm -rf "$root"
	as_root debootstrap --variant=minbase --keyring="$keyring" "$suite" \
		"$root" "$site" >"$log" 2>&1
	as_root mount -t proc proc "$root/proc"
	as_root mount -t sysfs sysfs "$root/sys"
	as_root mount --bind /dev "$root/dev"
	printf 'deb %s %s main\n' "$site" "$suite" "$site" "$suite-updates" \
		"${security:-$site-security}" "$suite-security" |
		as_root tee "$root/etc/apt/sources.list" >/dev/null
	inside apt-get -qq update >>"$log" 2>&1
}

# The releases of 6.12 that the suite offers for the cloud, ascending.
releases() {
	inside apt-cache search --names-only '^linux-headers-6[.]12[.].*-cloud-amd64$' |
		sed 's/^linux-headers-\([^ ]*\) .*/\1/' | sort -V
}

# ours RELEASE: its vhost and our modules are those of DKMS.
ours() {
	for module in vhost vhost_net mmu_range_mirror; do
		inside modinfo -k "$1" -n "$module" 2>>"$log" |
			grep -q /updates/ || return 1
	done
}

stocks() {
	! inside modinfo -k "$1" -n mmu_range_mirror >>"$log" 2>&1 &&
		! inside modinfo -k "$1" -n vhost_net | grep -q /updates/
}

# build VERSION: the package, as that version.
build() {
	(cd "$out/$1" && dpkg-buildpackage -b -us -uc) >>"$log" 2>&1
	cp "$out"/mmu-range-mirror-dkms_"$1"_all.deb "$root/tmp/"
}

check_suite() {
	old=$(releases | tail -n 3 | head -n 1)
	middle=$(releases | tail -n 2 | head -n 1)
	new=$(releases | tail -n 1)
	install "linux-headers-$old" "linux-image-$old-unsigned" \
		"linux-headers-$middle" "linux-image-$middle-unsigned" || true
	install /tmp/mmu-range-mirror-dkms_0.1_all.deb || true
	result_of "installs beside a kernel" ours "$old"
	result_of "and a second one" ours "$middle"

	install "linux-headers-$new" "linux-image-$new-unsigned" || true
	result_of "builds for a kernel that comes later" ours "$new"

	result_of "refuses a kernel that it was not checked on" \
		refuses 6.1.0-1-amd64

	install /tmp/mmu-range-mirror-dkms_0.2_all.deb || true
	result_of "is upgraded" upgraded

	inside apt-get -y remove mmu-range-mirror-dkms >>"$log" 2>&1 || true
	result_of "leaves the stock modules when it is removed" stocks "$new"
}

refuses() {
	inside sh -c "cd /usr/src/mmu-range-mirror-0.1 && packaging/prepare $1" \
		2>&1 | tee -a "$log" | grep -q 'not checked on Linux'
}

upgraded() {
	ours "$new" && inside dkms status | tee -a "$log" |
		grep -q '/0[.]2.*installed' &&
		! inside dkms status | grep -q '/0[.]1'
}

locked package
"$LAB/package.sh" deb >/dev/null
rm -rf "${out:?}"
mkdir -p "$out"
for version in 0.1 0.2; do
	cp -r "$CACHE/build/deb/source" "$out/$version"
	sed -i "s/0[.]1/$version/g" "$out/$version"/debian/changelog \
		"$out/$version"/debian/*.install
done

begin package $((6 * $#))
for suite in "$@"; do
	about "$suite"
	root=$out/$suite
	log=$out/$suite.log
	say "the package in a new $suite"
	trap leave EXIT
	make_root
	build 0.1
	build 0.2
	check_suite
	leave
	as_root rm -rf --one-file-system "$root"
	[ -z "$failed" ] || say "see $log"
done
[ -z "$failed" ]
