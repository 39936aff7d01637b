#!/bin/sh
# Builds lua.wasm (Lua 5.4, MIT licence) from Debian's source:
#   lua.sh [OUTPUT [WORK-DIRECTORY]]
# Needs clang-14 lld-14 wasi-libc libclang-rt-14-dev-wasm32 and dpkg-dev.
#
# An error that Lua would catch (error, pcall) is a trap: see stubs/setjmp.h.
# NATIVE=1 builds a native lua beside it, to compare with.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
output=$(realpath "${1:-lua.wasm}")
work=${2:-$(mktemp -d)}
source=$("$here/fetch.sh" lua5.4 "$work")
cd "$source/src"
# Debian's package makes this header for each architecture.
echo '#define DEB_HOST_MULTIARCH "wasm32-wasi"' > lua5.4-deb-multiarch.h
# luac.c is another program.
files=$(LC_ALL=C ls ./*.c | grep -v '/luac\.c$')
clang-14 --target=wasm32-wasi -O2 -g -fdebug-compilation-dir=. -ffile-prefix-map="$here"=recipes -I"$here/stubs" -include missing.h \
    -D_WASI_EMULATED_SIGNAL -D_WASI_EMULATED_PROCESS_CLOCKS \
    -o "$output" $files -lwasi-emulated-signal -lwasi-emulated-process-clocks
if [ "${NATIVE:-}" = 1 ]; then
    gcc -O2 -o "$output.native" $files -lm
fi
ls -l "$output"
