// Files in the directory given as the argument: create, write, seek, read
// back, append, truncate, rename, list, stat, remove, and the errors of what is
// not there. Prints no path and no time.
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *directory;

static const char *in(const char *name) {
  static char paths[4][256];
  static int turn;
  char *path = paths[turn++ & 3];
  snprintf(path, sizeof paths[0], "%s/%s", directory, name);
  return path;
}

static int by_name(const void *a, const void *b) {
  return strcmp(*(char *const *)a, *(char *const *)b);
}

// The order of a directory is the host's affair: sort it.
static void list(const char *name) {
  char *names[32];
  int count = 0;
  DIR *dir = opendir(name);
  if (!dir) {
    printf("opendir: errno %s\n", errno == ENOENT ? "ENOENT" : "other");
    return;
  }
  for (struct dirent *entry; (entry = readdir(dir)) && count < 32;)
    if (strcmp(entry->d_name, ".") && strcmp(entry->d_name, ".."))
      names[count++] = strdup(entry->d_name);
  closedir(dir);
  qsort(names, count, sizeof *names, by_name);
  printf("%d entries:", count);
  for (int i = 0; i < count; i++) {
    printf(" %s", names[i]);
    free(names[i]);
  }
  printf("\n");
}

int main(int argc, char **argv) {
  if (argc != 2) return 2;
  directory = argv[1];
  list(directory);

  FILE *file = fopen(in("first.txt"), "w+");
  if (!file) return 3;
  for (int i = 0; i < 20; i++) fprintf(file, "line %02d\n", i);
  fseek(file, 8 * 13, SEEK_SET);
  char line[32];
  printf("at 104: %s", fgets(line, sizeof line, file));
  fseek(file, -8, SEEK_END);
  printf("last: %s", fgets(line, sizeof line, file));
  printf("tell: %ld\n", ftell(file));
  fseek(file, 8, SEEK_SET);
  fputs("LINE", file);
  rewind(file);
  fgets(line, sizeof line, file);
  printf("second: %s", fgets(line, sizeof line, file));
  fclose(file);

  file = fopen(in("first.txt"), "a");
  fputs("appended\n", file);
  fclose(file);

  struct stat info;
  printf("stat %d", stat(in("first.txt"), &info));
  printf(" size %d regular %d\n", (int)info.st_size, S_ISREG(info.st_mode) != 0);

  int fd = open(in("raw"), O_RDWR | O_CREAT | O_EXCL, 0644);
  printf("wrote %d\n", (int)write(fd, "0123456789abcdef", 16));
  printf("lseek %d\n", (int)lseek(fd, 10, SEEK_SET));
  char bytes[16];
  ssize_t got = read(fd, bytes, sizeof bytes);
  printf("read %d %.*s\n", (int)got, (int)got, bytes);
  printf("pread %d", (int)pread(fd, bytes, 4, 3));
  printf(" %.4s\n", bytes);
  printf("end %d\n", (int)read(fd, bytes, sizeof bytes));
  ftruncate(fd, 5);
  fstat(fd, &info);
  printf("truncated to %d\n", (int)info.st_size);
  close(fd);
  printf("again %d\n", open(in("raw"), O_WRONLY | O_CREAT | O_EXCL, 0644) < 0 && errno == EEXIST);

  printf("mkdir %d\n", mkdir(in("sub"), 0755));
  printf("rename %d\n", rename(in("raw"), in("sub/moved")));
  list(directory);
  list(in("sub"));
  list(in("nowhere"));
  printf("rmdir full %d\n", rmdir(in("sub")) < 0 && errno == ENOTEMPTY);
  printf("unlink %d\n", unlink(in("sub/moved")));
  printf("rmdir %d\n", rmdir(in("sub")));
  printf("unlink %d\n", unlink(in("first.txt")));
  printf("unlink again %d\n", unlink(in("first.txt")) < 0 && errno == ENOENT);
  printf("open gone %d\n", fopen(in("first.txt"), "r") == NULL);
  file = fopen(in("given.txt"), "r");
  printf("given: %s", file && fgets(line, sizeof line, file) ? line : "missing\n");
  if (file) fclose(file);
  list(directory);
  return 0;
}
