// Floating point as C programs use it: library functions, conversions,
// operations that make NaN and infinity, sums that lose digits, rounding.
// NaN is shown without its sign, which neither C nor Wasm prescribes.
#include <float.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

static void show(const char *what, double value) {
  uint64_t bits;
  if (isnan(value)) {
    printf("%s nan\n", what);
    return;
  }
  memcpy(&bits, &value, sizeof bits);
  printf("%s %08x%08x\n", what, (unsigned)(bits >> 32), (unsigned)bits);
}

static void show32(const char *what, float value) {
  uint32_t bits;
  if (isnan(value)) {
    printf("%s nan\n", what);
    return;
  }
  memcpy(&bits, &value, sizeof bits);
  printf("%s %08x\n", what, (unsigned)bits);
}

// Newton's method: a loop that ends by comparing floats.
static double root(double x) {
  double r = x > 1 ? x : 1, last;
  do {
    last = r;
    r = 0.5 * (r + x / r);
  } while (r < last);
  return last;
}

static float horner(const float *c, int n, float x) {
  float r = 0;
  for (int i = 0; i < n; i++) r = r * x + c[i];
  return r;
}

int main(void) {
  volatile double zero = 0, one = 1, big = DBL_MAX, small = DBL_MIN;
  volatile float fzero = 0, fbig = FLT_MAX;
  show("sqrt(2)", sqrt(one + one));
  show("sqrt(-1)", sqrt(-one));
  show("newton", root(2 * one));
  show("0/0", zero / zero);
  show("1/0", one / zero);
  show("-1/0", -one / zero);
  show("inf-inf", one / zero - one / zero);
  show("0*inf", zero * (one / zero));
  show("max+max", big + big);
  show("min/2", small / 2);
  show("min/2^60", small / 1152921504606846976.0);
  show("-0", -zero);
  show("fabs(-0)", fabs(-zero));
  show("copysign", copysign(3 * one, -zero));
  show("floor", floor(-2.5 * one));
  show("ceil", ceil(-2.5 * one));
  show("trunc", trunc(-2.5 * one));
  show("rint", rint(2.5 * one));
  show("nearbyint", nearbyint(-3.5 * one));
  show("round", round(2.5 * one));
  show("fmod", fmod(1e300 * one, 7.25));
  show("fmin(nan)", fmin(zero / zero, one));
  show32("float 1/3", (float)one / 3);
  show32("float max*2", fbig * 2);
  show32("float 0/0", fzero / fzero);
  show32("double to float", (float)(one / 3));
  show32("too large for float", (float)big);
  show32("2^24+1", (float)16777217);
  show("u64 to double", (double)(uint64_t)(0xffffffffffffffffull * (uint64_t)one));
  show("i64 to double", (double)(int64_t)(-9007199254740993ll * (int64_t)one));
  show32("u64 to float", (float)(uint64_t)(0x8000008000000001ull * (uint64_t)one));
  printf("%d %u %lld %llu\n", (int)(-2147483648.9 * one), (unsigned)(4294967295.9 * one),
         (long long)(-9.2e18 * one), (unsigned long long)(1.8e19 * one));
  float c[] = {0.5f, -1.25f, 3.f, 1e-3f, -7.f};
  show32("horner", horner(c, 5, 1.1f * (float)one));
  double sum = 0, lost = 0;
  for (int i = 1; i <= 300; i++) {
    double term = 1.0 / ((double)i * i) - lost, next = sum + term;
    lost = (next - sum) - term;
    sum = next;
  }
  show("kahan", sum);
  float fsum = 0;
  for (int i = 300; i > 0; i--) fsum += 1.0f / (float)i;
  show32("harmonic", fsum);
  int order = 0;
  double values[] = {zero / zero, -one / zero, -zero, zero, one, one / zero};
  for (int i = 0; i < 6; i++)
    for (int j = 0; j < 6; j++)
      order = order * 3 % 1000003 + (values[i] < values[j]) + 2 * (values[i] == values[j]) +
              (values[i] >= values[j] ? 4 : 0) + (values[i] != values[j] ? 8 : 0);
  printf("order %d\n", order);
  return 0;
}
