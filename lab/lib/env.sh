# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh
#
# Sourced by every script of the lab: where things are, how to say what is
# going on, and how to get a Debian package. Nothing is fetched or built here.

set -eu

LAB=$(cd "$(dirname "$0")" && pwd)
case $LAB in
*/lab) ;;
*/lab/*) LAB=${LAB%/lab/*}/lab ;;
esac
REPO=${LAB%/lab}
CACHE=${MRM_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/mmu_range_mirror}
JOBS=${JOBS:-$(nproc)}
CCACHE_DIR=$CACHE/ccache
# The same tree in another place of the cache compiles to the same.
CCACHE_BASEDIR=$CACHE
# Where logs go: lab/check.sh says, or whoever else runs several scripts; those of
# one that is run by hand are in a directory of its name.
LOGS=${MRM_LOGS:-$CACHE/build/by-hand/$(basename "$0" .sh)}
MRM_LOGS=$LOGS
export LAB REPO CACHE JOBS CCACHE_DIR CCACHE_BASEDIR LOGS MRM_LOGS
mkdir -p "$CACHE"

# Progress goes to stderr: stdout is for results (KTAP) or a resulting path.
say() {
	printf '%s\n' "lab: $*" >&2
}

die() {
	say "$*"
	exit 1
}

# logged FILE AS: a copy of it in LOGS, which no later build overwrites, and its
# path.
logged() {
	mkdir -p "$LOGS"
	cp "$1" "$LOGS/$2"
	echo "$LOGS/$2"
}

# build_errors LOG: what went wrong in it, or its end.
build_errors() {
	grep -E 'error:|undefined|No rule|Error|ERROR|missing' "$1" >&2 ||
		tail -n 20 "$1" >&2
}

as_root() {
	if [ "$(id -u)" = 0 ]; then
		"$@"
	else
		sudo "$@"
	fi
}

# have_candidate PKG: do the package lists, if there are any, offer PKG?
have_candidate() {
	apt-cache policy "$1" 2>/dev/null |
		grep -q '^  Candidate: [^(]'
}

# Several tiers may want something of apt at the same time: they queue here rather
# than fail on its locks.
apt_alone() {
	as_root flock -o "$CACHE/.lock-apt" env DEBIAN_FRONTEND=noninteractive \
		apt-get -qq -o DPkg::Lock::Timeout=600 "$@"
}

update_lists() {
	say "apt-get update"
	apt_alone update >&2
}

# need PKG...: install what is missing, quietly.
need() {
	missing=
	for pkg in "$@"; do
		status=$(dpkg-query -W -f '${db:Status-Status}' "$pkg" \
			2>/dev/null) || status=
		[ "$status" = installed ] || missing="$missing $pkg"
	done
	[ -n "$missing" ] || return 0
	for pkg in $missing; do
		have_candidate "$pkg" || { update_lists; break; }
	done
	say "installing$missing"
	install_missing || { update_lists; install_missing; } ||
		die "cannot install$missing"
}

install_missing() {
	# $missing is a list on purpose.
	# shellcheck disable=SC2086
	apt_alone -y --no-install-recommends install $missing \
		>"$CACHE/apt-install.log" 2>&1 || {
		tail -n 5 "$CACHE/apt-install.log" >&2
		return 1
	}
}

# What every kernel or module build takes.
need_build() {
	need gcc make libc6-dev flex bison bc libelf-dev libssl-dev ccache \
		xz-utils cpio kmod patch perl python3 rsync
}

# slowness: how many times slower than a quiet machine of two cores this one is now,
# beside what else it does: 1 to 8. Limits are given for that machine, and whoever
# waits multiplies them. One measure of a third of a second, on two CPUs at once as
# most machines of the lab have two. BESIDE says that there will be something else.
slowness() {
	from=$(date +%s%N)
	for _ in 1 2; do
		awk 'BEGIN { for (i = 0; i < 4000000; i++) x += i % 7 }' &
	done
	wait
	awk -v ns=$(($(date +%s%N) - from)) -v least="${BESIDE:+2}" 'BEGIN {
		n = int(ns / 350e6 + 0.5)
		print (n < least + 0 ? least : (n < 1 ? 1 : (n > 8 ? 8 : n)))
	}'
}

# One at a time, for whatever produces $1 in the cache.
locked() {
	exec 9>"$CACHE/.lock-$1"
	flock -n 9 || {
		say "waiting for $CACHE/.lock-$1"
		flock 9
	}
}

# kernels [SERIES]: the lines of lab/vm/kernels.tsv, or that of SERIES, which there has
# to be.
kernels() {
	awk -F'\t' -v series="${1:-}" '
	!/^#/ && (series == "" || $1 == series) { print; found = 1 }
	END { exit !found }' "$LAB/vm/kernels.tsv" ||
		die "no kernel ${1:-} in lab/vm/kernels.tsv"
}

# series_of KERNEL: of lab/vm/kernels.tsv, whose source and patches it has.
series_of() {
	kernels "$1" | awk -F'\t' '{ print $3 ~ /^[0-9]+[.][0-9]+$/ ? $3 : $1 }'
}

# ksrc BASE: the user's own source, if it belongs to BASE. What has two-pass
# notifiers is treated as 7.3, everything older as 6.12.
ksrc() {
	[ -n "${KSRC:-}" ] || return 1
	[ -f "$KSRC/include/linux/mmu_notifier.h" ] ||
		die "KSRC=$KSRC is no kernel source"
	if grep -q invalidate_finish "$KSRC/include/linux/mmu_notifier.h"; then
		[ "$1" = 7.3 ]
	else
		[ "$1" = 6.12 ]
	fi || return 1
	(cd "$KSRC" && pwd)
}

# linked_copy SOURCE TREE: files are shared by hard links, and must be replaced,
# never written to. Without the source's own history.
linked_copy() {
	mkdir -p "$(dirname "$2")"
	rm -rf "$2.tmp"
	cp -al "$1" "$2.tmp" 2>/dev/null ||
		{ rm -rf "$2.tmp"; cp -a "$1" "$2.tmp"; }
	rm -rf "$2.tmp/.git"
	mv "$2.tmp" "$2"
}

# kernel NAME: where the kernel NAME is built. KTREE is a tree that has what it
# needs, a commit of the upstream series for one: it is built as it comes, apart
# from what is built of the lab's own trees.
kernel() {
	echo "$CACHE/build/${KTREE:+series-}$1"
}

# known_to TREE FILE...: fragments of a configuration, without those symbols of
# ours that TREE does not have, or not yet.
known_to() {
	of=$1
	shift
	sed -n 's/^config /CONFIG_/p' "$of/mm/Kconfig" \
		"$of/lib/Kconfig.debug" "$of/drivers/vhost/Kconfig" \
		"$of/samples/Kconfig" |
		awk -F= 'FNR == NR { known[$1]; next }
		!/^CONFIG_.*(MIRROR|MMU_NOTIFIER)/ || $1 in known' - "$@"
}

# our_symbols DIRECTORY: what a stack shows of code of ours, and of vhost's: the
# functions in the objects that were built of it there.
our_symbols() {
	{
		(cd "$REPO" && find drivers lib mm samples -name '*.c') |
			sed 's/c$/o/'
		(cd "$1" && find drivers/vhost -name '*.o' ! -name '*.mod.o')
	} | while read -r object; do
		[ ! -f "$1/$object" ] || "${CROSS:-}nm" "$1/$object"
	done | awk '$2 ~ /^[tT]$/ && $3 !~ /^__pfx_|_module$/ { print $3 }' |
		sort -u
}

# release_of stock|stock-SERIES: the unpacked kernel's release, after lab/vm/fetch.sh.
release_of() {
	basename "$CACHE/$1"/boot/vmlinuz-* | sed s/^vmlinuz-//
}

stock_release() {
	release_of stock
}
