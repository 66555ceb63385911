# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh
#
# Sourced: what it takes to build for another architecture, and to boot it. The
# lab itself runs on x86-64.

# Built and booted, and only built. parisc's and sparc64's caches may alias.
ARCHS_BOOTED="arm64 riscv i386"
ARCHS_BUILT="arm parisc powerpc s390 sparc64"

# arch NAME: NAME of these, or nothing for the lab's own. Sets
#   KARCH CROSS			what the kernel's make calls it; its compiler's prefix
#   CROSS_PACKAGES		Debian's packages of both
# and for what is booted
#   IMAGE			in the kernel's build directory
#   DEBARCH			what Debian calls its programs
#   QEMU QEMU_PACKAGE MACHINE	QEMU's command, its package, its arguments
#   CONSOLE RESULTS		the kernel's console; where the tests' results go
arch() {
	KARCH=$1
	IMAGE=
	case $1 in
	'')
		CROSS=
		CROSS_PACKAGES=
		IMAGE=arch/x86/boot/bzImage
		DEBARCH=
		QEMU=qemu-system-x86_64
		QEMU_PACKAGE=qemu-system-x86
		MACHINE=
		CONSOLE=ttyS0
		RESULTS=ttyS1
		;;
	arm64)
		cross aarch64-linux-gnu arm64
		IMAGE=arch/arm64/boot/Image
		QEMU=qemu-system-aarch64
		QEMU_PACKAGE=qemu-system-arm
		MACHINE="-M virt -cpu cortex-a57"
		CONSOLE=ttyAMA0
		RESULTS=hvc0
		;;
	riscv)
		cross riscv64-linux-gnu riscv64
		IMAGE=arch/riscv/boot/Image
		QEMU=qemu-system-riscv64
		QEMU_PACKAGE=qemu-system-misc
		MACHINE="-M virt -cpu rv64"
		CONSOLE=ttyS0
		RESULTS=hvc0
		;;
	i386)
		cross i686-linux-gnu i386
		IMAGE=arch/x86/boot/bzImage
		QEMU=qemu-system-i386
		QEMU_PACKAGE=qemu-system-x86
		# Of AMD's, "max" is one that does without SMP.
		MACHINE="-M pc -cpu max,vendor=GenuineIntel"
		CONSOLE=ttyS0
		RESULTS=ttyS1
		;;
	powerpc)
		cross powerpc64le-linux-gnu ppc64el
		IMAGE=vmlinux
		QEMU=qemu-system-ppc64
		QEMU_PACKAGE=qemu-system-ppc
		MACHINE="-M pseries -cpu POWER9"
		CONSOLE=hvc0
		RESULTS=hvc1
		;;
	arm) cross arm-linux-gnueabihf ;;
	parisc) cross hppa-linux-gnu ;;
	s390) cross s390x-linux-gnu ;;
	sparc64) cross sparc64-linux-gnu ;;
	*) die "no architecture $1" ;;
	esac
}

# cross TRIPLET [DEBARCH]: only what is booted needs a C library.
cross() {
	CROSS=$1-
	CROSS_PACKAGES="gcc-$1${2:+ libc6-dev-$2-cross}"
	DEBARCH=${2:-}
}

# arch_of KERNEL: of arch-NAME-BASE and objects-NAME-BASE, the NAME.
arch_of() {
	case $1 in
	arch-*-*|objects-*-*)
		of=${1#*-}
		echo "${of%-*}"
		;;
	esac
}
