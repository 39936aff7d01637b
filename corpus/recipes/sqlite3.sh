#!/bin/sh
# Builds sqlite3.wasm (SQLite 3.40.1, public domain) from Debian's source, with
# a program that uses it:
#   sqlite3.sh [OUTPUT [WORK-DIRECTORY]]
# Needs clang-14 lld-14 wasi-libc libclang-rt-14-dev-wasm32, dpkg-dev, and, to
# make SQLite's one source file of its many, gcc, make and tcl.
#
# Files go through sqlite3/vfs.c: SQLite's own do not know WASI.
# NATIVE=1 builds the same with gcc beside it, to compare with.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
output=$(realpath "${1:-sqlite3.wasm}")
work=${2:-$(mktemp -d)}
source=$("$here/fetch.sh" sqlite3 "$work")
cd "$source"
if [ ! -e sqlite3.c ]; then
    { ./configure --disable-tcl --disable-readline --disable-load-extension && make sqlite3.c; } \
        > amalgamation.log 2>&1 || { tail amalgamation.log >&2; exit 1; }
fi
flags="-DSQLITE_OS_OTHER=1 -DSQLITE_THREADSAFE=0 -DSQLITE_OMIT_LOAD_EXTENSION -DSQLITE_OMIT_WAL
    -DSQLITE_TEMP_STORE=3 -DSQLITE_MAX_MMAP_SIZE=0 -w -I."
cp "$here"/sqlite3/vfs.c "$here"/sqlite3/workout.c .
clang-14 --target=wasm32-wasi -O2 -g -fdebug-compilation-dir=. $flags \
    -o "$output" sqlite3.c vfs.c workout.c
if [ "${NATIVE:-}" = 1 ]; then
    gcc -O2 $flags -o "$output.native" sqlite3.c vfs.c workout.c -lm
fi
ls -l "$output"
