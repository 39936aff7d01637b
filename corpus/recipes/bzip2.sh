#!/bin/sh
# Builds bzip2.wasm (bzip2 1.0.8, its own BSD-like licence) from Debian's source:
#   bzip2.sh [OUTPUT [WORK-DIRECTORY]]
# Needs clang-14 lld-14 wasi-libc libclang-rt-14-dev-wasm32 and dpkg-dev.
#
# WASI has no owners and no modes: setting them is defined away, and succeeds.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
output=$(realpath "${1:-bzip2.wasm}")
work=${2:-$(mktemp -d)}
source=$("$here/fetch.sh" bzip2 "$work")
cd "$source"
clang-14 --target=wasm32-wasi -O2 -g -fdebug-compilation-dir=. -w \
    -D_WASI_EMULATED_SIGNAL -D_WASI_EMULATED_PROCESS_CLOCKS -D_FILE_OFFSET_BITS=64 \
    -Dfchmod\(a,b\)=0 -Dfchown\(a,b,c\)=0 -Dchmod\(a,b\)=0 -Dchown\(a,b,c\)=0 \
    -o "$output" bzip2.c bzlib.c blocksort.c compress.c crctable.c decompress.c huffman.c randtable.c \
    -lwasi-emulated-signal -lwasi-emulated-process-clocks
ls -l "$output"
