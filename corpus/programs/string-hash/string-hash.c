// A hash table with open addressing over words of a text, and three hash
// functions: bytes, shifts, 32- and 64-bit multiplication.
#include <stdint.h>
#include <stdio.h>
#include <string.h>

static const char text[] =
    "it was a bright cold day in the engine room and the gauges were all at "
    "nine the keeper of the gauges a tall man read them one by one and wrote "
    "them down and the one that was wrong he read again and it was wrong again";

struct entry {
  char word[12];
  uint16_t count;
};

static struct entry table[64];

static uint32_t fnv(const char *s, size_t n) {
  uint32_t h = 2166136261u;
  while (n--) h = (h ^ (uint8_t)*s++) * 16777619u;
  return h;
}

static uint32_t one_at_a_time(const char *s, size_t n) {
  uint32_t h = 0;
  while (n--) {
    h += (uint8_t)*s++;
    h += h << 10;
    h ^= h >> 6;
  }
  h += h << 3;
  h ^= h >> 11;
  return h + (h << 15);
}

static uint64_t wide(const char *s, size_t n) {
  uint64_t h = 0x9e3779b97f4a7c15ull ^ n;
  for (; n >= 8; n -= 8, s += 8) {
    uint64_t k;
    memcpy(&k, s, 8);
    k *= 0xff51afd7ed558ccdull;
    h = (h ^ (k ^ k >> 33)) * 5 + 0x52dce729;
    h = h << 31 | h >> 33;
  }
  while (n--) h = (h ^ (uint8_t)*s++) * 0xc4ceb9fe1a85ec53ull;
  return h ^ h >> 29;
}

int main(void) {
  int words = 0, probes = 0;
  for (const char *at = text; *at;) {
    size_t n = strcspn(at, " ");
    uint32_t slot = fnv(at, n) % 64;
    while (table[slot].count &&
           (strlen(table[slot].word) != n || memcmp(table[slot].word, at, n))) {
      slot = (slot + 1) % 64;
      probes++;
    }
    memcpy(table[slot].word, at, n);
    table[slot].count++;
    words++;
    at += n;
    at += strspn(at, " ");
  }
  int distinct = 0, best = 0;
  for (int i = 0; i < 64; i++) {
    if (table[i].count) distinct++;
    if (table[i].count > table[best].count) best = i;
  }
  printf("%d words, %d distinct, %d probes, most often \"%s\" (%d)\n", words, distinct, probes,
         table[best].word, table[best].count);
  uint64_t h = wide(text, sizeof text - 1);
  printf("%08x %08x %08x%08x\n", (unsigned)fnv(text, sizeof text - 1),
         (unsigned)one_at_a_time(text, sizeof text - 1), (unsigned)(h >> 32), (unsigned)h);
  return 0;
}
