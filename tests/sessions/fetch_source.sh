#!/bin/bash
# fetch_source.sh PACKAGE FOLDER: unpacks the upstream source of a Debian 12 source package in FOLDER/PACKAGE.  Does nothing
# when it is there.  Asks the machine's own Debian mirror, through lists of its own: the system's sources stay as they are.
set -euo pipefail
package=${1:?package}
folder=$(realpath -m "${2:?folder}")
[ -d "$folder/$package" ] && exit 0
mirror=$(cat /etc/apt/sources.list /etc/apt/sources.list.d/* 2> /dev/null | grep -o 'https\?://[^ ]*/debian/\?\( \|$\)' | sed -n 1p || true)
mirror=${mirror:-http://deb.debian.org/debian}
work=$folder/.fetch.$$
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/lists/partial"
echo "deb-src [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror bookworm main" > "$work/sources.list"
apt=(apt-get -q -o Dir::Etc::sourcelist="$work/sources.list" -o Dir::Etc::sourceparts=/dev/null
  -o Dir::State::lists="$work/lists" -o APT::Sandbox::User=root)
"${apt[@]}" update > "$work/log" 2>&1 || { cat "$work/log" >&2; exit 1; }
(cd "$work" && "${apt[@]}" source --download-only "$package") > "$work/log" 2>&1 || { cat "$work/log" >&2; exit 1; }
mkdir "$work/tree"
tar -xf "$work"/*.orig.tar.* -C "$work/tree" --strip-components=1
mv "$work/tree" "$folder/$package"
