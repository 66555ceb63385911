#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# lab/vm/fetch.sh src-SERIES | stock | stock-rt | stock-SERIES | herd | rdma |
#             busybox-ARCHITECTURE
#
# Fetch one thing from Debian's archive into the cache, unless it is there, and
# print its path. Nothing but tools is ever installed: packages are unpacked
# into a directory, which appears under its name only when it is complete.
# Where what is of a kernel's series comes from is in lab/vm/kernels.tsv.
# KSRC=/path/to/linux stands in for the source package of its version.

# shellcheck source=lab/lib/env.sh
. "$(dirname "$0")/../lib/env.sh"

TMP=$CACHE/.fetch.$$
# Set where packages are not for this machine's architecture.
FOREIGN=
tab=$(printf '\t')
trap 'rm -rf "$TMP" "$TMP.row"' EXIT
trap 'exit 1' HUP INT TERM

# The mirror that this machine takes its own Debian from.
mirror() {
	# shellcheck disable=SC1091
	. /etc/os-release
	# The format's variables are apt's.
	# shellcheck disable=SC2016
	apt-get indextargets --format '$(SITE) $(RELEASE)' |
		awk -v codename="${VERSION_CODENAME:-stable}" '
		$2 == codename || $2 == "stable" || $2 == "oldstable" {
			print $1
			exit
		}'
}

# apt on a private root, for suites that the machine does not have configured:
# nothing from them can ever be installed by accident.
private_apt() {
	apt-get -qq -o Dir::Etc::sourcelist="$APT/sources.list" \
		-o Dir::Etc::sourceparts=/dev/null \
		-o Dir::State::Lists="$APT/lists" \
		-o Dir::Cache::Archives="$APT/archives" \
		-o Dir::Cache::pkgcache= -o Dir::Cache::srcpkgcache= \
		-o APT::Sandbox::User= \
		${FOREIGN:+-o APT::Architecture="$FOREIGN"} \
		${FOREIGN:+-o APT::Architectures="$FOREIGN"} \
		${FOREIGN:+-o Dir::State::status=/dev/null} "$@"
}

# private_root SUITE [deb-src]: each fetcher has a root of its own: what it needs
# no more is not downloaded, and two may run at once.
private_root() {
	APT=$CACHE/apt/$1${2:+-$2}${FOREIGN:+-$FOREIGN}
	mkdir -p "$APT/lists/partial" "$APT/archives/partial"
	site=$(mirror)
	[ -n "$site" ] || die "no Debian mirror among apt's index targets"
	key=/usr/share/keyrings/debian-archive-keyring.gpg
	printf '%s\n' "${2:-deb} [signed-by=$key] $site $1 main" \
		>"$APT/sources.list"
	private_apt update >&2
}

# download APT-COMMAND PKG...: into the cache's deb/, newest version. Leaves
# the names of the files in $DEBS.
download() {
	apt=$1
	shift
	mkdir -p "$CACHE/deb" "$TMP/deb"
	say "downloading $*"
	(cd "$TMP/deb" && "$apt" download "$@" >&2) ||
		die "cannot download $*"
	DEBS=$(cd "$TMP/deb" && ls)
	mv "$TMP"/deb/* "$CACHE/deb"
}

system_apt() {
	apt-get -qq -o APT::Sandbox::User= "$@"
}

# publish NAME: what was made in $TMP/out becomes the cache's NAME, and its
# packages are not needed any more.
publish() {
	mkdir -p "$CACHE/$(dirname "$1")"
	rm -rf "${CACHE:?}/$1"
	mv "$TMP/out" "$CACHE/$1"
	for deb in $DEBS; do
		rm -f "$CACHE/deb/$deb"
	done
}

unpack_source() {
	need xz-utils
	say "unpacking $DEBS"
	mkdir -p "$TMP/out"
	dpkg-deb --fsys-tarfile "$CACHE/deb/$DEBS" |
		tar -xO --wildcards './usr/src/linux-source-*.tar.xz' |
		tar -xJ --strip-components=1 -C "$TMP/out"
}

# What Debian made its source of, as it came from upstream.
unpack_upstream() {
	need xz-utils dpkg-dev
	mkdir -p "$TMP/deb" "$TMP/out"
	say "downloading the source of Linux $1"
	(cd "$TMP/deb" && private_apt source --download-only --tar-only \
		"linux=$1" >&2) ||
		die "cannot download the source of Linux $1"
	tar -xJf "$TMP"/deb/linux_*.orig.tar.xz --strip-components=1 \
		-C "$TMP/out"
	rm -r "$TMP/deb"
	DEBS=
}

# pool PACKAGE SHA256: what no index of the archive has any more, but its pool. Its
# hash, which is in lab/vm/kernels.tsv, says that it is the one.
pool() {
	mkdir -p "$CACHE/deb"
	say "downloading ${1##*/}"
	/usr/lib/apt/apt-helper -qq download-file "$(mirror)/pool/$1" \
		"$CACHE/deb/${1##*/}" "SHA256:$2" >&2 ||
		die "cannot download ${1##*/}"
	DEBS=${1##*/}
}

fetch_src() {
	if ksrc "$1"; then
		return
	fi
	kernels "$1" >"$TMP.row"
	locked "src-$1"
	if [ ! -d "$CACHE/src/$1" ]; then
		IFS="$tab" read -r _ suite source _ hash <"$TMP.row"
		case $suite,$source${hash:+,hash} in
		*,hash)
			pool "main/l/linux/linux-source-$1_${source}_all.deb" \
				"$hash"
			unpack_source
			;;
		-,package)
			have_candidate "linux-source-$1" || update_lists
			download system_apt "linux-source-$1"
			unpack_source
			;;
		*,package)
			private_root "$suite"
			download private_apt "linux-source-$1"
			unpack_source
			;;
		*)
			private_root "$suite" deb-src
			unpack_upstream "$source"
			;;
		esac
		publish "src/$1"
	fi
	rm -f "$TMP.row"
	echo "$CACHE/src/$1"
}

newest_headers() {
	apt-cache search --names-only "^linux-headers-6\\.12\\..*-$1-amd64\$" |
		cut -d' ' -f1 | sort -V | tail -n 1
}

# fetch_stock NAME FLAVOUR COMMON: of 6.12; COMMON is what the headers that it shares
# with others of its kind are called.
fetch_stock() {
	locked "$1"
	if [ ! -d "$CACHE/$1" ]; then
		headers=$(newest_headers "$2")
		if [ -z "$headers" ]; then
			update_lists
			headers=$(newest_headers "$2")
		fi
		[ -n "$headers" ] || die "no 6.12 $2 kernel in apt's lists"
		release=${headers#linux-headers-}
		abi=${release%-"$2"-amd64}
		common=linux-headers-$abi-$3
		download system_apt "$headers" "$common" \
			"linux-kbuild-$abi" "linux-image-$release-unsigned"
		say "unpacking the stock kernel $release"
		mkdir -p "$TMP/out"
		for deb in $DEBS; do
			dpkg-deb -x "$CACHE/deb/$deb" "$TMP/out"
		done
		# The headers expect themselves under /usr/src.
		# shellcheck disable=SC2016
		echo 'include $(dir $(lastword $(MAKEFILE_LIST)))../'"$common/Makefile" \
			>"$TMP/out/usr/src/$headers/Makefile"
		# Debian 13 has the modules under /usr only.
		[ -d "$TMP/out/lib" ] || ln -s usr/lib "$TMP/out/lib"
		depmod -b "$TMP/out" "$release"
		publish "$1"
	fi
	echo "$CACHE/$1"
}

# A kernel of a series of another suite, cloud or generic, with its headers. The tools
# that come with them may want a newer C library than the machine has: see
# lab/vm/headers.sh.
fetch_stock_of() {
	kernels "$1" >"$TMP.row"
	IFS="$tab" read -r _ suite _ image _ <"$TMP.row"
	rm -f "$TMP.row"
	case $suite,$image in
	-,*|*,-) die "no stock kernel of $1 but what \"stock\" may be" ;;
	*,generic) flavour= ;;
	*) flavour=-$image ;;
	esac
	series=$(series_of "$1")
	locked "stock-$1"
	if [ ! -d "$CACHE/stock-$1" ]; then
		private_root "$suite"
		base=$(apt-cache -o Dir::Etc::sourcelist="$APT/sources.list" \
			-o Dir::Etc::sourceparts=/dev/null \
			-o Dir::State::Lists="$APT/lists" \
			-o Dir::Cache::pkgcache= -o Dir::Cache::srcpkgcache= \
			search --names-only \
			"^linux-binary-${series}[.][^-]*$flavour-amd64\$" |
			cut -d' ' -f1 | sort -V | tail -n 1)
		[ -n "$base" ] || die "no $image kernel of $series"
		release=${base#linux-binary-}
		abi=${release%"$flavour"-amd64}
		download private_apt "$base" "linux-base-$release" \
			"linux-modules-$release" \
			"linux-headers-$release" "linux-headers-$abi-common" \
			"linux-kbuild-$abi"
		say "unpacking the stock kernel $release"
		mkdir -p "$TMP/out/boot"
		for deb in $DEBS; do
			dpkg-deb -x "$CACHE/deb/$deb" "$TMP/out"
		done
		ln -s "../usr/lib/modules/$release/vmlinuz" \
			"$TMP/out/boot/vmlinuz-$release"
		[ -d "$TMP/out/lib" ] || ln -s usr/lib "$TMP/out/lib"
		depmod -b "$TMP/out" "$release"
		publish "stock-$1"
	fi
	echo "$CACHE/stock-$1"
}

# herd7 is in sid only: its binaries run with sid's own C library.
fetch_herd() {
	locked herd
	if [ ! -x "$CACHE/herd/usr/bin/herd7" ]; then
		private_root sid
		download private_apt herdtools7 libc6 libgmp10
		mkdir -p "$TMP/out"
		for deb in $DEBS; do
			dpkg-deb -x "$CACHE/deb/$deb" "$TMP/out"
		done
		publish herd
	fi
	echo "$CACHE/herd"
}

# What rdma-core and perftest test RDMA with, as files of a root: with the C library
# and the Python of trixie, the first Debian that packages the tests of pyverbs.
fetch_rdma() {
	locked rdma
	if [ ! -d "$CACHE/rdma" ]; then
		private_root trixie
		download private_apt rdma-core python3-pyverbs ibverbs-providers \
			perftest iproute2 \
			python3.13-minimal libpython3.13-minimal \
			libpython3.13-stdlib libpython3.13 \
			libibverbs1 librdmacm1t64 libibumad3 libnl-3-200 \
			libnl-route-3-200 libpci3 libkmod2 libudev1 libmnl0 \
			libbpf1 libelf1t64 libcap2 libselinux1 libpcre2-8-0 \
			libzstd1 liblzma5 zlib1g libexpat1 libffi8 libgcc-s1 \
			libc6
		say "unpacking rdma-core and perftest"
		mkdir -p "$TMP/out"
		for deb in $DEBS; do
			dpkg-deb -x "$CACHE/deb/$deb" "$TMP/out"
		done
		mv "$TMP/out/usr/share/doc/rdma-core/tests" \
			"$TMP/out/usr/lib/rdma-tests"
		gunzip "$TMP"/out/usr/lib/rdma-tests/*.gz
		# A root of the lab has one directory of programs.
		rm -rf "$TMP/out/usr/sbin" "$TMP/out/usr/share"
		publish rdma
	fi
	echo "$CACHE/rdma"
}

# Debian 12 has none for riscv64. Static: it needs nothing else.
fetch_busybox() {
	FOREIGN=$1
	locked "busybox-$1"
	if [ ! -d "$CACHE/busybox/$1" ]; then
		private_root trixie
		download private_apt busybox-static
		mkdir -p "$TMP/out"
		dpkg-deb -x "$CACHE/deb/$DEBS" "$TMP/out"
		publish "busybox/$1"
	fi
	echo "$CACHE/busybox/$1/usr/bin/busybox"
}

[ "$(uname -m)" = x86_64 ] || die "the lab runs on x86-64 only"
case ${1:-} in
src-*) fetch_src "${1#src-}" ;;
stock) need kmod xz-utils; fetch_stock stock cloud common ;;
stock-rt) need kmod xz-utils; fetch_stock stock-rt rt common-rt ;;
stock-*) need kmod xz-utils; fetch_stock_of "${1#stock-}" ;;
herd) fetch_herd ;;
rdma) fetch_rdma ;;
busybox-*) fetch_busybox "${1#busybox-}" ;;
*) die "usage: lab/vm/fetch.sh src-SERIES|stock|stock-rt|stock-SERIES|herd|rdma|busybox-ARCHITECTURE" ;;
esac
