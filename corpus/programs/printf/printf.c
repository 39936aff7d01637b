// Variable arguments, ours and the library's: formatting of floats (long
// multiplication inside), widths, signs, bases, strings, characters.
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

// Arguments by letters: i(nt), l(ong long), d(ouble), s(tring).
static double total(const char *types, ...) {
  va_list args;
  double sum = 0;
  va_start(args, types);
  for (; *types; types++) switch (*types) {
      case 'i': sum += va_arg(args, int); break;
      case 'l': sum += (double)va_arg(args, long long); break;
      case 'd': sum += va_arg(args, double); break;
      case 's': sum += (double)strlen(va_arg(args, const char *)); break;
    }
  va_end(args);
  return sum;
}

int main(void) {
  printf("%d|%5d|%-5d|%05d|%+d|% d\n", 42, 42, 42, 42, 42, 42);
  printf("%u|%x|%X|%#x|%o|%c|%%\n", 4000000000u, 48879u, 48879u, 255u, 8u, 'q');
  printf("%lld|%llu|%llx\n", -9223372036854775807ll - 1, 18446744073709551615ull, 1ull << 63);
  printf("%s|%10s|%-10s|%.3s|%*s\n", "abc", "abc", "abc", "abcdef", 6, "xy");
  printf("%f|%.0f|%.1f|%10.3f|%-10.2f|%+.2e\n", 3.14159265358979, 2.5, 0.05, 1e3 / 7, -1.005, 12345.678);
  printf("%g|%g|%g|%g|%.17g\n", 1e-5, 100000.0, 1e6, 0.0001, 0.1);
  printf("%e|%.3e|%.17g|%a\n", 1e-300, 9.9996e10, 1.7976931348623157e308, 1.5);
  printf("%f %f %g\n", 1.0 / 3, -2.0 / 3, 1.0 / 0.0);
  printf("%.25f\n", 1e-9);
  printf("%.2f\n", total("idlsid", 1, 2.5, 3000000000ll, "four", -5, 0.25));
  char line[64];
  int n = snprintf(line, sizeof line, "%s=%.4f;", "pi", 3.14159265358979);
  n += snprintf(line + n, sizeof line - n, "%03d;%s", 7, "end");
  printf("%d %s\n", n, line);
  double back;
  int whole;
  char word[16];
  int got = sscanf("17 -2.5e-3 word", "%d %lf %15s", &whole, &back, word);
  printf("%d %d %g %s\n", got, whole, back, word);
  return 0;
}
