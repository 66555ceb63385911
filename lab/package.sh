#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# lab/package.sh deb | install
#
# deb: build the DKMS package, and print its path. install: and install it, which
# builds the modules for every kernel that they are for: packaging/README.md.

# shellcheck source=lab/env.sh
. "$(dirname "$0")/env.sh"

what=${1:?usage: lab/package.sh deb|install}
need rsync dpkg-dev debhelper
out=$CACHE/build/deb
locked deb
rm -rf "$out"
mkdir -p "$out/source"
rsync -a "$REPO/include" "$REPO/mm" "$REPO/drivers" "$REPO/patches" \
	"$REPO/packaging" "$out/source/"
mv "$out/source/packaging/debian" "$out/source/debian"
(cd "$out/source" && dpkg-buildpackage -b -us -uc) >"$out/build.log" 2>&1 || {
	tail -n 20 "$out/build.log" >&2
	die "the package does not build; see $out/build.log"
}
deb=$(ls "$out"/*.deb)
case $what in
deb) ;;
install) as_root apt-get -y --no-install-recommends install "$deb" >&2 ;;
*) die "usage: lab/package.sh deb|install" ;;
esac
echo "$deb"
