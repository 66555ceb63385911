# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh
#
# Sourced by lab/tiers/package.sh: a Debian of $suite in $root, and a machine with
# what is in it. Said to $log, and to $out/$suite.last what apt did last.

# The variables are apt's own.
# shellcheck disable=SC2016
site=$(apt-get indextargets --format '$(SITE)' 'Created-By: Packages' |
	grep -v security | head -n 1)
# shellcheck disable=SC2016
security=$(apt-get indextargets --format '$(SITE)' | grep security | head -n 1)

leave() {
	for dir in var/cache/apt/archives proc sys dev; do
		! mountpoint -q "$root/$dir" || as_root umount -l "$root/$dir"
	done
}

inside() {
	as_root env -i HOME=/root DEBIAN_FRONTEND=noninteractive \
		PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
		chroot "$root" "$@"
}

apt() {
	aptstatus=0
	inside apt-get -y "$@" >"$out/$suite.last" 2>&1 || aptstatus=$?
	cat "$out/$suite.last" >>"$log"
	return $aptstatus
}

# What is downloaded stays: the smallest Debian as a tar file, and packages.
base() {
	[ ! -f "$CACHE/roots/$suite.tar" ] || return 0
	mkdir -p "$CACHE/roots"
	say "bootstrapping $suite"
	as_root debootstrap --variant=minbase \
		--keyring=/usr/share/keyrings/debian-archive-keyring.gpg \
		"$suite" "$out/base" "$site" >"$log" 2>&1 ||
		die "no $suite; see $log"
	as_root tar -C "$out/base" -cf "$CACHE/roots/$suite.tar.new" .
	as_root rm -rf "$out/base"
	mv "$CACHE/roots/$suite.tar.new" "$CACHE/roots/$suite.tar"
}

make_root() {
	base
	as_root rm -rf --one-file-system "$root"
	mkdir -p "$root"
	as_root tar -C "$root" -xf "$CACHE/roots/$suite.tar"
	as_root mkdir -p "$CACHE/roots/deb-$suite/partial"
	as_root mount -t proc proc "$root/proc"
	as_root mount -t sysfs sysfs "$root/sys"
	as_root mount --bind /dev "$root/dev"
	as_root mount --bind "$CACHE/roots/deb-$suite" \
		"$root/var/cache/apt/archives"
	as_root rm -f "$root/etc/apt/apt.conf.d/docker-clean"
	as_root tee "$root/etc/apt/apt.conf.d/lab" >/dev/null <<-'END'
	APT::Install-Recommends "no";
	APT::Sandbox::User "root";
	Binary::apt-get::APT::Keep-Downloaded-Packages "true";
	DPkg::Options { "--force-unsafe-io"; };
	END
	printf 'path-exclude=%s\n' '/usr/share/doc/*' '/usr/share/man/*' \
		'/usr/share/locale/*' |
		as_root tee "$root/etc/dpkg/dpkg.cfg.d/lab" >/dev/null
	printf 'deb %s %s main\n' "$site" "$suite" "$site" "$suite-updates" \
		"$site" "$suite-backports" \
		"${security:-$site-security}" "$suite-security" |
		as_root tee "$root/etc/apt/sources.list" >/dev/null
	inside apt-get -qq update >"$log" 2>&1
	apt install kmod iproute2 openssl
}

# machine VERSION RELEASE: boots a copy of $root, which has that version of the
# package, on that kernel; the modules are built, not installed.
machine() {
	version=$1
	release=$2
	name=package-$suite-${release%%[+-]*}
	build=$CACHE/build/$name
	as_root rm -rf "$build"
	mkdir -p "$build/arch/x86/boot" "$build/include/config"
	echo "$release" >"$build/include/config/kernel.release"
	cp "$root/boot/vmlinuz-$release" "$build/arch/x86/boot/bzImage"
	inside dkms uninstall -m $NAME -v "$version" -k "$release" >>"$log" 2>&1
	as_root rsync -ax --exclude /boot --exclude /proc/\* --exclude /sys/\* \
		--exclude /dev/\* --exclude /tmp/\* --exclude /var/cache \
		--exclude /var/lib/apt/lists --exclude /usr/lib/gcc\* \
		--exclude "/usr/src/linux-headers-*-common*" \
		--exclude "/usr/src/linux-source-*.tar.xz" --exclude /usr/lib/llvm\* \
		"$root/" "$build/root"
	inside dkms install -m $NAME -v "$version" -k "$release" >>"$log" 2>&1
	as_root rm -f "$build/root/etc/modules"
	# What owns it is asked, and what it is of; it is not unpacked.
	for tarball in "$root"/usr/src/linux-source-*.tar.xz; do
		as_root touch "$build/root/usr/src/${tarball##*/}"
	done
	as_root mkdir -p "$build/root/selftests" "$build/root/boot" \
		"$build/root/dev" "$build/root/var/cache/apt/archives"
	for other in "$build"/root/lib/modules/*; do
		[ "${other##*/}" = "$release" ] || as_root rm -rf "$other"
	done
	programs "$build/selftests"
	as_root cp "$build"/selftests/* "$build/root/selftests/"
	as_root cp "$build/selftests/init" "$build/root/init"
	as_root cp "$LAB/package/vm.sh" "$build/root/test.sh"
	status=0
	"$LAB/vm/boot.sh" -k "$name" -r "$build/root" -o "$LOGS/$name" -i ext4 \
		-t 900 >>"$log" 2>&1 || status=$?
	sed -n 's/^\(not \)\{0,1\}ok/# &/p' "$LOGS/$name/results" || true
	return $status
}

# programs DIRECTORY: what the machine runs.
programs() {
	tree=$("$LAB/vm/tree.sh" 6.12)
	headers=$CACHE/build/headers-6.12
	mkdir -p "$1" "$headers"
	make -C "$tree" O="$headers" headers >>"$log" 2>&1
	for program in ring_mirror scsi; do
		make -C "$tree/tools/testing/selftests/vhost" \
			OUTPUT="$1" LDFLAGS=-static \
			KHDR_INCLUDES="-isystem $headers/usr/include" \
			"$1/$program" >>"$log" 2>&1
	done
	gcc -Wall -O2 -static -pthread -o "$1/use" "$LAB/package/use.c"
	gcc -static -Os -o "$1/init" "$LAB/vm/init.c"
}
