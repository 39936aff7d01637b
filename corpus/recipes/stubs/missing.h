// What Lua's os and io libraries call and WASI does not have: a shell, and
// temporary files. They fail as they may on any system.
#ifndef STUB_MISSING_H
#define STUB_MISSING_H
#include <stdio.h>
#include <stdlib.h>
#define system(command) ((void)(command), 0)
#define tmpfile() ((FILE *)0)
#define lua_tmpnam(buffer, error) ((void)(buffer), (error) = 1)
#define LUA_TMPNAMBUFSIZE 1
#endif
