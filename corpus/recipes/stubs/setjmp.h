// wasi-libc of Debian 12 has no setjmp. Lua needs it to come back from errors
// only: here the way there works, the way back is a trap.
#ifndef STUB_SETJMP_H
#define STUB_SETJMP_H
typedef int jmp_buf[1];
#define setjmp(buffer) ((void)(buffer), 0)
#define longjmp(buffer, value) ((void)(buffer), (void)(value), __builtin_trap())
#endif
