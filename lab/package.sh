#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# lab/package.sh deb | install
#
# deb: build the DKMS package and mirrorstat's, and print their paths. install: and install it, which
# builds the modules for every kernel that they are for: packaging/README.md.

# shellcheck source=lab/lib/env.sh
. "$(dirname "$0")/lib/env.sh"

what=${1:?usage: lab/package.sh deb|install}
need rsync dpkg-dev debhelper gcc libc6-dev
out=$CACHE/build/deb
locked deb
rm -rf "$out"
mkdir -p "$out/source/tools"
rsync -a "$REPO/Documentation" "$REPO/include" "$REPO/mm" "$REPO/drivers" \
	"$REPO/packaging" "$REPO/patches" "$REPO/samples" "$out/source/"
rsync -a "$REPO/tools/mm" "$out/source/tools/"
mv "$out/source/packaging/debian" "$out/source/debian"
DEB_BUILD_OPTIONS=noautodbgsym
export DEB_BUILD_OPTIONS
(cd "$out/source" && dpkg-buildpackage -b -us -uc) >"$out/build.log" 2>&1 || {
	tail -n 20 "$out/build.log" >&2
	die "the package does not build; see $out/build.log"
}
case $what in
deb) ;;
install)
	# All of them are called 0.1: apt would keep an older one.
	as_root apt-get -y --no-install-recommends --reinstall install \
		"$out"/*.deb >&2
	;;
*) die "usage: lab/package.sh deb|install" ;;
esac
ls "$out"/*.deb
