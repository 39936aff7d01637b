#!/usr/bin/env bash
# Follows the README word by word in a fresh clone, as somebody would who has
# never seen it: runs the commands of "Two commands" (the second, the whole test
# suite, only with FULL=1), and holds what the first prints against the example below it.
#
#   tests/first-time.sh            uses CARGO_TARGET_DIR, if set, to build in
set -euo pipefail
repository=$(cd "$(dirname "$0")/.." && pwd)
clone=$(mktemp -d)
trap 'rm -rf "$clone"' EXIT
git clone --quiet "$repository" "$clone/wdiff"
cd "$clone/wdiff"

# The first block of shell commands.
mapfile -t commands < <(sed -n '/^## Two commands/,/^## /p' README.md | sed -n '/^```sh$/,/^```$/p' | sed '1d;$d')
[ ${#commands[@]} -eq 2 ] || { echo "the README has ${#commands[@]} commands, not two" >&2; exit 1; }
echo "\$ ${commands[0]}"
# Standard output and the report, in the order of the README.
bash -c "${commands[0]}" >"$clone/out" 2>"$clone/err" || { cat "$clone/err" >&2; exit 1; }
{ cat "$clone/out"; sed -n '/^match: /,$p' "$clone/err"; } >"$clone/printed"

# The example, up to what depends on the machine.
sed -n '/^## What it prints/,/^## /p' README.md | sed -n '/^```$/,/^```$/p' | sed '1d;/^```$/,$d' >"$clone/expected"
steady() { sed -e '/^  time /d' -e '/^  cpu features/,/^  wdiff /d' "$1"; }
if ! diff -u <(steady "$clone/expected") <(steady "$clone/printed"); then
  echo "the README shows something else than the command prints" >&2
  exit 1
fi
if [ "${FULL:-0}" = 1 ]; then
  echo "\$ ${commands[1]%%#*}"
  bash -c "${commands[1]}"
fi
# Every file that the README links to is there.
grep -o '](\([^)#:]*\)[)#]' README.md | sed 's/^](//; s/[)#]$//' | sort -u | while read -r file; do
  [ -e "$file" ] || { echo "the README links to $file, which is not there" >&2; exit 1; }
done
echo "the README is true"
