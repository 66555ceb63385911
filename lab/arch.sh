# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh
#
# Sourced: what it takes to compile for another architecture. The lab itself runs
# on x86-64.

# Two have 32 bits and high memory (arm, i386), two have caches that alias
# (parisc, sparc64; arm's may), four are told of TLB flushes (arm64, i386, riscv,
# powerpc), three are big-endian (parisc, s390, sparc64).
ARCHS="arm arm64 i386 parisc powerpc riscv s390 sparc64"

# arch NAME: one of these, or nothing for the lab's own. Sets KARCH, which is what
# the kernel's make calls it, and CROSS, the prefix of its compiler.
arch() {
	KARCH=$1
	case $1 in
	'') CROSS= ;;
	arm) CROSS=arm-linux-gnueabihf- ;;
	arm64) CROSS=aarch64-linux-gnu- ;;
	i386) CROSS=i686-linux-gnu- ;;
	parisc) CROSS=hppa-linux-gnu- ;;
	powerpc) CROSS=powerpc64le-linux-gnu- ;;
	riscv) CROSS=riscv64-linux-gnu- ;;
	s390) CROSS=s390x-linux-gnu- ;;
	sparc64) CROSS=sparc64-linux-gnu- ;;
	*) die "no architecture $1" ;;
	esac
}

# arch_of KERNEL: of objects-NAME-BASE the NAME, else nothing.
arch_of() {
	case $1 in
	objects-*-*)
		of=${1#objects-}
		echo "${of%-*}"
		;;
	esac
}
