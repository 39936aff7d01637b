// An interpreter in an interpreter: a stack machine with a dispatch loop, one
// switch of twenty cases, that runs a prime sieve and a Collatz search.
#include <stdint.h>
#include <stdio.h>

enum op {
  PUSH, LOAD, STORE, ADD, SUB, MUL, DIV, MOD, LESS, EQUAL, JUMP, JUMP_ZERO, CALL, RETURN, DUP, DROP,
  PEEK, POKE, PRINT, HALT
};

static int32_t memory[256];

static int run(const int32_t *code) {
  int32_t stack[64], *top = stack, returns[16], calls = 0, pc = 0;
  int steps = 0;
  for (;; steps++) {
    int32_t b;
    switch (code[pc++]) {
      case PUSH: *++top = code[pc++]; break;
      case LOAD: *++top = memory[code[pc++]]; break;
      case STORE: memory[code[pc++]] = *top--; break;
      case ADD: b = *top--; *top += b; break;
      case SUB: b = *top--; *top -= b; break;
      case MUL: b = *top--; *top *= b; break;
      case DIV: b = *top--; *top /= b; break;
      case MOD: b = *top--; *top %= b; break;
      case LESS: b = *top--; *top = *top < b; break;
      case EQUAL: b = *top--; *top = *top == b; break;
      case JUMP: pc = code[pc]; break;
      case JUMP_ZERO: b = code[pc++]; if (!*top--) pc = b; break;
      case CALL: returns[calls++] = pc + 1; pc = code[pc]; break;
      case RETURN: pc = returns[--calls]; break;
      case DUP: top[1] = *top; top++; break;
      case DROP: top--; break;
      case PEEK: *top = memory[*top]; break;
      case POKE: b = *top--; memory[b] = *top--; break;
      case PRINT: printf("%d ", (int)*top--); break;
      case HALT: printf("\n"); return steps;
      default: return -1;
    }
  }
}

// Memory 0 is i, 1 is j; 100 + k marks k as composite.
static const int32_t sieve[] = {
    PUSH, 2, STORE, 0,
    /* 4 */ LOAD, 0, PUSH, 60, LESS, JUMP_ZERO, 55,
    PUSH, 100, LOAD, 0, ADD, PEEK, JUMP_ZERO, 21, JUMP, 46,
    /* 21 */ LOAD, 0, PRINT, LOAD, 0, DUP, ADD, STORE, 1,
    /* 30 */ LOAD, 1, PUSH, 60, LESS, JUMP_ZERO, 46,
    PUSH, 1, PUSH, 100, CALL, 56, JUMP, 30, HALT,
    /* 46 */ LOAD, 0, PUSH, 1, ADD, STORE, 0, JUMP, 4,
    /* 55 */ HALT,
    /* 56: marks 100 + j, and goes on to the next j */ LOAD, 1, ADD, POKE, LOAD, 1, LOAD, 0, ADD,
    STORE, 1, RETURN};

// Memory 2 is n, 3 its steps.
static const int32_t collatz[] = {
    PUSH, 27, STORE, 2, PUSH, 0, STORE, 3,
    /* 8 */ LOAD, 2, PUSH, 1, EQUAL, JUMP_ZERO, 19, LOAD, 3, PRINT, HALT,
    /* 19 */ LOAD, 3, PUSH, 1, ADD, STORE, 3,
    LOAD, 2, PUSH, 2, MOD, JUMP_ZERO, 43,
    LOAD, 2, PUSH, 3, MUL, PUSH, 1, ADD, JUMP, 48,
    /* 43 */ LOAD, 2, PUSH, 2, DIV,
    /* 48 */ STORE, 2, JUMP, 8};

int main(void) {
  printf("%d steps\n", run(sieve));
  printf("%d steps\n", run(collatz));
  return 0;
}
