// Calls through pointers as object-oriented C makes them: tables of methods,
// callbacks with a context, qsort and bsearch of the library, a switch that
// becomes a jump table and one that becomes a search.
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct shape;
struct methods {
  const char *name;
  double (*area)(const struct shape *);
  void (*scale)(struct shape *, double);
};
struct shape {
  const struct methods *methods;
  double a, b;
};

static double circle_area(const struct shape *s) { return 3.141592653589793 * s->a * s->a; }
static double box_area(const struct shape *s) { return s->a * s->b; }
static double triangle_area(const struct shape *s) { return s->a * s->b / 2; }
static void scale_one(struct shape *s, double by) { s->a *= by; }
static void scale_both(struct shape *s, double by) {
  s->a *= by;
  s->b *= by;
}

static const struct methods kinds[] = {{"circle", circle_area, scale_one},
                                       {"box", box_area, scale_both},
                                       {"triangle", triangle_area, scale_both}};

static int by_area(const void *x, const void *y) {
  const struct shape *a = x, *b = y;
  double left = a->methods->area(a), right = b->methods->area(b);
  return (left > right) - (left < right);
}

static int each(const struct shape *shapes, int n, int (*visit)(void *, const struct shape *),
                void *context) {
  for (int i = 0; i < n; i++)
    if (visit(context, &shapes[i])) return i;
  return -1;
}

static int add_up(void *context, const struct shape *s) {
  *(double *)context += s->methods->area(s);
  return 0;
}

static int larger_than(void *context, const struct shape *s) {
  return s->methods->area(s) > *(double *)context;
}

static int dense(int x) {
  switch (x) {
    case 0: return 11;
    case 1: return 7;
    case 2: case 3: return x * 5;
    case 4: x++; /* falls through */
    case 5: return x ^ 0x2a;
    case 7: return -x;
    case 9: return 100;
    default: return 1;
  }
}

static int sparse(int x) {
  switch (x) {
    case -1000: return 1;
    case 3: return 2;
    case 77: return 3;
    case 4096: return 4;
    case 1 << 30: return 5;
    default: return 0;
  }
}

int main(void) {
  struct shape shapes[9];
  for (int i = 0; i < 9; i++) {
    shapes[i] = (struct shape){&kinds[i % 3], 1 + i * 5 % 7, 2 + i * 3 % 5};
    shapes[i].methods->scale(&shapes[i], 1 + i * 0.5);
  }
  qsort(shapes, 9, sizeof *shapes, by_area);
  for (int i = 0; i < 9; i += 2)
    printf("%s %.3f\n", shapes[i].methods->name, shapes[i].methods->area(&shapes[i]));
  double sum = 0, limit = 40;
  each(shapes, 9, add_up, &sum);
  printf("sum %.6f, first above 40: %d\n", sum, each(shapes, 9, larger_than, &limit));
  struct shape *found = bsearch(&shapes[5], shapes, 9, sizeof *shapes, by_area);
  printf("found %d\n", (int)(found - shapes));
  int total = 0;
  for (int i = -2; i < 12; i++) total = total * 3 + dense(i);
  for (int i = 0; i < 5; i++) total = total * 7 + sparse((int[]){-1000, 3, 76, 4096, 1 << 30}[i]);
  printf("switches %d\n", total);
  return 0;
}
