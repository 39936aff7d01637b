#!/bin/sh
# Fetches a Debian 12 source package and unpacks it: fetch.sh PACKAGE DIRECTORY
# Asks the mirrors that the system's binary packages come from, with package
# lists of its own: the system's are left alone and root is not needed. Prints
# the directory of the unpacked source.
set -eu
package=$1
mkdir -p "$2"
work=$(cd "$2" && pwd)
cd "$work"
mkdir -p apt/lists/partial apt/cache/archives/partial apt/parts
for list in /etc/apt/sources.list /etc/apt/sources.list.d/*.list; do
    [ ! -f "$list" ] || sed -n 's/^deb /deb-src /p' "$list" > "apt/parts/$(basename "$list" .list).list"
done
for list in /etc/apt/sources.list.d/*.sources; do
    [ ! -f "$list" ] || sed 's/^Types:.*/Types: deb-src/' "$list" > "apt/parts/$(basename "$list")"
done
apt() {
    apt-get -qq -o Dir::Etc::SourceList=/dev/null -o Dir::Etc::SourceParts="$work/apt/parts" \
        -o Dir::State::Lists="$work/apt/lists" -o Dir::Cache="$work/apt/cache" \
        -o APT::Sandbox::User="$(id -un)" "$@" >&2
}
[ -n "$(find apt/lists -name '*Sources*' -mtime -7 2>/dev/null)" ] || apt update
ls -d "$package"-*/ >/dev/null 2>&1 || apt source --only-source "$package"
echo "$work/$(ls -d "$package"-*/ | head -n 1)"
