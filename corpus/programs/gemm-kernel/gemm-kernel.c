// Matrix multiplication C = alpha A B + beta C, without library and without
// imports: what speed is measured on. `kernel(n)` with n up to 128 fills the
// matrices, multiplies once and returns the sum of C.
enum { MAX = 128 };

static double a[MAX * MAX], b[MAX * MAX], c[MAX * MAX];

__attribute__((export_name("kernel"))) double kernel(int n) {
  if (n < 0) n = 0;
  if (n > MAX) n = MAX;
  for (int i = 0; i < n; i++)
    for (int j = 0; j < n; j++) {
      a[i * MAX + j] = (double)((i * (j + 1)) % n) / n;
      b[i * MAX + j] = (double)((i * (j + 2)) % n) / n;
      c[i * MAX + j] = (double)((i * j + 1) % n) / n;
    }
  for (int i = 0; i < n; i++) {
    for (int j = 0; j < n; j++) c[i * MAX + j] *= 1.25;
    for (int k = 0; k < n; k++) {
      double scaled = 1.5 * a[i * MAX + k];
      for (int j = 0; j < n; j++) c[i * MAX + j] += scaled * b[k * MAX + j];
    }
  }
  double sum = 0;
  for (int i = 0; i < n; i++)
    for (int j = 0; j < n; j++) sum += c[i * MAX + j];
  return sum;
}
