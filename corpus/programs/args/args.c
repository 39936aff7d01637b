// Prints its arguments, its environment, and ends with the number of
// arguments as exit code.
#include <stdio.h>
#include <stdlib.h>

extern char **environ;

int main(int argc, char **argv) {
  for (int i = 0; i < argc; i++) printf("argv[%d] = [%s]\n", i, argv[i]);
  for (char **e = environ; *e; e++) printf("env %s\n", *e);
  const char *value = getenv("COLOUR");
  printf("COLOUR is %s\n", value ? value : "not set");
  printf("NOTHING is %s\n", getenv("NOTHING") ? "set" : "not set");
  fprintf(stderr, "%d arguments\n", argc);
  return argc;
}
