// All ways to place n queens, by backtracking over bit masks; and the first
// way, by an array of columns.
#include <stdio.h>
#include <stdlib.h>

static unsigned ways(unsigned all, unsigned columns, unsigned left, unsigned right) {
  if (columns == all) return 1;
  unsigned count = 0;
  for (unsigned free = all & ~(columns | left | right); free; free &= free - 1) {
    unsigned bit = free & -free;
    count += ways(all, columns | bit, (left | bit) << 1, (right | bit) >> 1);
  }
  return count;
}

static int place(int *queens, int row, int n) {
  if (row == n) return 1;
  for (int column = 0; column < n; column++) {
    int safe = 1;
    for (int r = 0; r < row && safe; r++)
      safe = queens[r] != column && abs(queens[r] - column) != row - r;
    if (!safe) continue;
    queens[row] = column;
    if (place(queens, row + 1, n)) return 1;
  }
  return 0;
}

int main(void) {
  for (int n = 1; n <= 7; n++) printf("%d: %u\n", n, ways((1u << n) - 1, 0, 0, 0));
  int queens[8];
  if (!place(queens, 0, 8)) return 1;
  for (int row = 0; row < 8; row++) {
    char line[9] = "........";
    line[queens[row]] = 'Q';
    puts(line);
  }
  return 0;
}
