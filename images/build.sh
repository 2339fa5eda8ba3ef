#!/bin/bash
# Makes a root file system, or a folder of programs, under images/cache.
#   images/build.sh debian-ia32     small Debian 12, i386: for `hpc-vmm launch --image`
#   images/build.sh debian-amd64    the same, amd64
#   images/build.sh ia32-static     static i386 programs from Debian packages, without a root file system
#   images/build.sh all
# Does nothing for what is there already.  Needs root and mmdebstrap (or debootstrap).
set -euo pipefail
cd "$(dirname "$0")"
cache=$PWD/cache
suite=bookworm

# Everything in one place that appears at the end only, so that a broken attempt is not taken for an image.
publish() {
  rm -rf "$cache/$1"
  mv "$cache/$1.part" "$cache/$1"
  echo "images/cache/$1 is ready ($(du -sh "$cache/$1" | cut -f1))"
}

# The machine's own source of packages, whatever its form.
sources() {
  local uri
  uri=$(sed -n 's/^URIs: *//p' /etc/apt/sources.list.d/*.sources 2>/dev/null | head -1)
  [ -n "$uri" ] || uri=$(sed -n 's/^deb \(\[[^]]*\] \)\?\([^ ]*\) .*/\2/p' /etc/apt/sources.list 2>/dev/null | head -1)
  echo "${uri:?no package source found in /etc/apt}"
}

debian() {
  local name=$1 arch=$2 packages=perl,gzip,ca-certificates
  local root=$cache/$name.part
  rm -rf "$root"
  if command -v mmdebstrap > /dev/null; then
    mmdebstrap --quiet --variant=minbase --architectures="$arch" --include="$packages" \
      --aptopt='APT::Sandbox::User "root"' "$suite" "$root" "deb $(sources) $suite main"
  elif command -v debootstrap > /dev/null; then
    debootstrap --variant=minbase --arch="$arch" --include="$packages" "$suite" "$root" "$(sources)"
  else
    echo "images/build.sh: neither mmdebstrap nor debootstrap is there: apt-get install mmdebstrap" >&2
    exit 1
  fi
  rm -rf "$root"/var/cache/apt/archives/*.deb "$root"/var/lib/apt/lists/*
  publish "$name"
}

# Packages of another architecture conflict with the installed ones, so they are unpacked, not installed.
ia32_static() {
  local root=$cache/ia32-static.part packages=(busybox-static)
  rm -rf "$root"
  mkdir -p "$root/debs"
  if ! dpkg --print-foreign-architectures | grep -qx i386; then
    dpkg --add-architecture i386
    # One list that cannot be had (a mirror being updated) is no reason to stop: the download below will tell.
    apt-get update -qq || true
  fi
  for package in "${packages[@]}"; do
    (cd "$root/debs" && apt-get -o APT::Sandbox::User=root download -qq "$package:i386")
  done
  for deb in "$root"/debs/*.deb; do dpkg-deb -x "$deb" "$root"; done
  rm -r "$root/debs"
  publish ia32-static
}

build() {
  if [ -d "$cache/$1" ]; then
    echo "images/cache/$1 is there"
    return
  fi
  mkdir -p "$cache"
  case $1 in
    debian-ia32) debian debian-ia32 i386 ;;
    debian-amd64) debian debian-amd64 amd64 ;;
    ia32-static) ia32_static ;;
    *) echo "images/build.sh: no recipe \"$1\"; there are debian-ia32, debian-amd64, ia32-static, all" >&2; exit 2 ;;
  esac
}

case ${1:-} in
  all) for name in ia32-static debian-ia32 debian-amd64; do build "$name"; done ;;
  '') sed -n '2,7s/^# \?//p' "$0"; exit 2 ;;
  *) for name in "$@"; do build "$name"; done ;;
esac
