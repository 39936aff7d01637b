// Quicksort in place, over integers made by a linear congruence; the result is
// checked and hashed. Built at -O0 and at -O2: the same work in very different
// code.
#include <stdint.h>
#include <stdio.h>

enum { COUNT = 400 };

static int32_t numbers[COUNT];

static void swap(int32_t *a, int32_t *b) {
  int32_t t = *a;
  *a = *b;
  *b = t;
}

static void sort(int32_t *low, int32_t *high) {
  while (low < high) {
    int32_t pivot = low[(high - low) / 2];
    int32_t *i = low - 1, *j = high + 1;
    for (;;) {
      do i++; while (*i < pivot);
      do j--; while (*j > pivot);
      if (i >= j) break;
      swap(i, j);
    }
    // The smaller part by recursion, so that depth stays logarithmic.
    if (j - low < high - j - 1) {
      sort(low, j);
      low = j + 1;
    } else {
      sort(j + 1, high);
      high = j;
    }
  }
}

int main(void) {
  uint32_t x = 2463534242u;
  for (int i = 0; i < COUNT; i++) {
    x = x * 1664525u + 1013904223u;
    numbers[i] = (int32_t)(x >> 7) - (1 << 24);
  }
  sort(numbers, numbers + COUNT - 1);
  uint32_t hash = 2166136261u;
  for (int i = 0; i < COUNT; i++) {
    if (i > 0 && numbers[i - 1] > numbers[i]) {
      puts("not sorted");
      return 1;
    }
    hash = (hash ^ (uint32_t)numbers[i]) * 16777619u;
  }
  printf("%d .. %d, %08x\n", (int)numbers[0], (int)numbers[COUNT - 1], (unsigned)hash);
  return 0;
}
