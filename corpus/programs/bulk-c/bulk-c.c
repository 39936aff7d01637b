// What compilers make bulk memory instructions of: structures assigned whole,
// memset, memcpy, memmove; lengths known and unknown.
#include <stdint.h>
#include <stdio.h>
#include <string.h>

struct page {
  uint32_t id;
  uint8_t bytes[500];
  double factor;
};

static struct page pages[6];

static uint32_t hash(const void *data, size_t n) {
  const uint8_t *bytes = data;
  uint32_t h = 2166136261u;
  while (n--) h = (h ^ *bytes++) * 16777619u;
  return h;
}

static struct page make(uint32_t id) {
  struct page page;
  memset(&page, (int)id, sizeof page);
  page.id = id;
  page.factor = id * 1.5;
  return page;
}

int main(int argc, char **argv) {
  (void)argv;
  for (uint32_t i = 0; i < 6; i++) pages[i] = make(i + 1);
  struct page saved = pages[2];
  pages[2] = pages[5];
  pages[5] = saved;
  memmove(pages[1].bytes + 10, pages[1].bytes, 400);
  memset(pages[3].bytes, 0, (size_t)argc * 100);
  memcpy(pages[4].bytes, "a string that is copied", 24);
  memmove(pages[4].bytes + 5, pages[4].bytes, 24 * (size_t)argc);
  memmove(pages[4].bytes, pages[4].bytes + 3, 24 * (size_t)argc);
  memcpy(pages[0].bytes, pages[4].bytes, (size_t)argc - 1);
  for (int i = 0; i < 6; i++)
    printf("%u %.1f %08x\n", (unsigned)pages[i].id, pages[i].factor,
           (unsigned)hash(pages[i].bytes, sizeof pages[i].bytes));
  return 0;
}
