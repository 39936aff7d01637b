// What the C compiler makes of SIMD: loops that it vectorises, and intrinsics.
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#define N 64

typedef int32_t i32x4 __attribute__((vector_size(16)));
typedef float f32x4 __attribute__((vector_size(16)));
typedef uint8_t u8x16 __attribute__((vector_size(16)));

static uint8_t bytes[N * 4];
static int16_t words[N];
static float floats[N];
static double doubles[N];

static uint32_t hash(const void *data, size_t n) {
  const uint8_t *p = data;
  uint32_t h = 2166136261u;
  while (n--) h = (h ^ *p++) * 16777619u;
  return h;
}

// Sums that the vectoriser turns into widening arithmetic.
static uint32_t sum(const uint8_t *p, int n) {
  uint32_t s = 0;
  for (int i = 0; i < n; i++) s += p[i];
  return s;
}

static int32_t dot(const int16_t *a, const int16_t *b, int n) {
  int32_t s = 0;
  for (int i = 0; i < n; i++) s += a[i] * b[i];
  return s;
}

static void blend(uint8_t *out, const uint8_t *a, const uint8_t *b, int n) {
  for (int i = 0; i < n; i++) out[i] = (uint8_t)((a[i] * 3 + b[i] + 2) >> 2);
}

static void clamp(int16_t *p, int n, int16_t low, int16_t high) {
  for (int i = 0; i < n; i++) p[i] = p[i] < low ? low : p[i] > high ? high : p[i];
}

static void axpy(float *y, const float *x, float a, int n) {
  for (int i = 0; i < n; i++) y[i] = a * x[i] + y[i];
}

static void widen(double *out, const float *in, int n) {
  for (int i = 0; i < n; i++) out[i] = (double)in[i] * 0.5 - 1.0;
}

static void reverse(uint8_t *p, int n) {
  for (int i = 0; i < n / 2; i++) {
    uint8_t t = p[i];
    p[i] = p[n - 1 - i];
    p[n - 1 - i] = t;
  }
}

// By hand: a 4x4 matrix times itself, with vectors passed and returned.
static f32x4 row(f32x4 v, const f32x4 *m) {
  f32x4 r = {0, 0, 0, 0};
  for (int i = 0; i < 4; i++) {
    f32x4 s = {v[i], v[i], v[i], v[i]};
    r += s * m[i];
  }
  return r;
}

static i32x4 mix(i32x4 a, i32x4 b) {
  i32x4 less = a < b;
  return (a & less) | (b & ~less);
}

int main(void) {
  for (int i = 0; i < N * 4; i++) bytes[i] = (uint8_t)(i * i + 7 * i);
  for (int i = 0; i < N; i++) {
    words[i] = (int16_t)(i * 1021 - 20000);
    floats[i] = (float)i * 0.75f;
  }
  printf("sum %u\n", sum(bytes, N * 4));
  printf("dot %d\n", dot(words, words + N / 2, N / 2));
  blend(bytes, bytes + N, bytes + 2 * N, N);
  printf("blend %08x\n", hash(bytes, sizeof bytes));
  clamp(words, N, -1000, 12345);
  printf("clamp %08x\n", hash(words, sizeof words));
  axpy(floats, floats + N / 2, 1.25f, N / 2);
  printf("axpy %08x\n", hash(floats, sizeof floats));
  widen(doubles, floats, N);
  printf("widen %08x\n", hash(doubles, sizeof doubles));
  reverse(bytes, N * 4);
  printf("reverse %08x\n", hash(bytes, sizeof bytes));

  f32x4 m[4] = {{1, 2, 0, 0}, {0, 1, 3, 0}, {0, 0, 1, 4}, {5, 0, 0, 1}};
  for (int k = 0; k < 3; k++) {
    f32x4 n[4];
    for (int i = 0; i < 4; i++) n[i] = row(m[i], m);
    memcpy(m, n, sizeof m);
  }
  printf("matrix %g %g %g %g\n", m[0][0], m[1][1], m[2][2], m[3][3]);

  i32x4 a = {1, -2, 3, -4}, b = {-1, 2, -3, 4};
  for (int k = 0; k < 5; k++) {
    a = mix(a * 3 + 1, b - a);
    b = (b ^ a) + (a >> 1);
  }
  printf("mix %d %d %d %d\n", a[0], a[1], a[2], a[3]);
  return 0;
}
