// Prints, and then aborts: `abort` ends in an `unreachable`, after output that
// must not be lost, several calls deep.
#include <stdio.h>
#include <stdlib.h>

static int check(int value) {
  if (value > 3) {
    printf("%d is too much\n", value);
    fflush(stdout);
    abort();
  }
  return value + 1;
}

static int climb(int value) {
  return value > 50 ? value : climb(check(value)) + 1;
}

int main(void) {
  puts("climbing");
  return climb(0);
}
