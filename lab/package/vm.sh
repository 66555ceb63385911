#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# /test.sh of the machine of lab/tiers/package.sh: a Debian whose DKMS has built
# the package's modules and not installed them, on the kernel that they are for.
# Stock modules of vhost are loaded, the package is installed, used, and removed,
# each time while modules are loaded. KTAP.

PATH=/usr/sbin:/usr/bin:/sbin:/bin
export PATH
count=0
failed=0
package=mmu-range-mirror-dkms
scripts=/var/lib/dpkg/info/$package
updates=/lib/modules/$(uname -r)/updates

result_of() {
	text=$1
	shift
	count=$((count + 1))
	echo "lab: $text" >/dev/kmsg
	if "$@" >/tmp/said 2>&1; then
		echo "ok $count vm: $text"
	else
		echo "not ok $count vm: $text"
		sed 's/^/# /' /tmp/said
		dmesg | grep -E 'vhost|symbol' | tail -n 5 | sed 's/^/# /'
		failed=1
	fi
}

# Not all of the stock ones have a version.
is_stock() {
	[ -d "/sys/module/$1" ] && ! grep -qs '[.]mirror$' "/sys/module/$1/version"
}

is_ours() {
	grep '[.]mirror$' "/sys/module/$1/version"
}

load() {
	modprobe "$1" && "is_$2" "$1"
}

load_rest() {
	for module in vhost_vsock vhost_scsi vhost_vdpa vhost_net; do
		load "$module" "$1" || return
	done
}

unload() {
	modprobe -r vhost_net vhost_vsock vhost_scsi vhost_vdpa &&
		[ ! -d /sys/module/vhost ]
}

says_what_is_loaded() {
	"$@" >/tmp/installed 2>&1
	status=$?
	cat /tmp/installed
	[ "$status" = 0 ] && grep 'modprobe -r .*vhost_net' /tmp/installed
}

in_updates() {
	ls -l "$updates/dkms"
	[ "$(ls "$updates"/dkms/vhost_net.ko* 2>/dev/null)" ]
}

nothing_in_updates() {
	! find "$updates" -name '*.ko*' 2>/dev/null | grep .
}

# As of any bool.
switched_on_by_name() {
	modprobe vhost ring_mirror mem_mirror &&
		grep -q Y /sys/module/vhost/parameters/ring_mirror &&
		modprobe -r vhost
}

# Its data goes through windows: no module of the stock kernel has any.
packet() {
	modprobe tun
	/selftests/ring_mirror -t moves_data_through_windows
}

scsi() {
	modprobe target_core_mod
	/selftests/scsi -t moves_data_through_windows || return
	# It would keep vhost_scsi in use.
	rmdir /sys/kernel/config/target/vhost
}

map_memory() {
	modprobe vduse && /selftests/use vdpa "$1" && vdpa dev del "$1"
}

vsock() {
	/selftests/use vsock
}

# DKMS is of bash.
[ -e /dev/fd ] || ln -s /proc/self/fd /dev/fd

another_driver() {
	for module in mirror_shadow mirror_window; do
		modinfo -F depends "/opt/third/$module.ko" | tr , ' ' |
			xargs modprobe -a || return
		insmod "/opt/third/$module.ko" && rmmod "$module" || return
	done
}

echo "TAP version 13"
result_of "stock vhost_net is loaded" load vhost_net stock
result_of "the package is installed, and says what is loaded" \
	says_what_is_loaded "$scripts.postinst" configure
result_of "its modules are in updates" in_updates
result_of "beside what is loaded, stock modules are loaded" load_rest stock
result_of "all of them are unloaded" unload
result_of "vhost takes a parameter without a value" switched_on_by_name
result_of "then the package's are loaded" load_rest ours
result_of "packets through vhost-net" packet
result_of "commands through vhost-scsi" scsi
result_of "memory mapped through vhost-vdpa" map_memory first
result_of "a packet through vhost-vsock" vsock

result_of "mirrorstat shows them" mirrorstat --once
result_of "vhost-ring-mirror-report is there" vhost-ring-mirror-report --help
result_of "another driver" another_driver

modprobe -r vhost_vsock vhost_scsi
result_of "the package is removed, and says what is loaded" \
	says_what_is_loaded dpkg -r "$package"
result_of "nothing is left in updates" nothing_in_updates
result_of "beside what is loaded, the package's modules are loaded" load_rest ours
result_of "all of them are unloaded again" unload
result_of "then the stock modules are loaded" load_rest stock
result_of "memory mapped through the stock vhost-vdpa" map_memory second
echo "1..$count"
[ "$failed" = 0 ]
