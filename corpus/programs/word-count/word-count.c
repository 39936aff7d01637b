// Counts lines, words and bytes of standard input, and the commonest letters.
#include <ctype.h>
#include <stdio.h>

int main(void) {
  unsigned lines = 0, words = 0, bytes = 0, letters[26] = {0};
  int in_word = 0;
  for (int c; (c = getchar()) != EOF; bytes++) {
    if (c == '\n') lines++;
    if (isspace(c)) {
      in_word = 0;
    } else if (!in_word) {
      in_word = 1;
      words++;
    }
    if (isalpha(c)) letters[tolower(c) - 'a']++;
  }
  printf("%u %u %u\n", lines, words, bytes);
  for (int shown = 0; shown < 5; shown++) {
    int best = 0;
    for (int i = 1; i < 26; i++)
      if (letters[i] > letters[best]) best = i;
    if (!letters[best]) break;
    printf("%c %u\n", 'a' + best, letters[best]);
    letters[best] = 0;
  }
  return 0;
}
