// Lists, trees and the allocator: insert sorted, reverse, merge-sort a list,
// free in another order than allocated, reallocate.
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct node {
  struct node *next;
  int32_t key;
  char label[12];
  double weight;
};

struct tree {
  struct tree *left, *right;
  int32_t key;
  int16_t count;
};

static struct node *push(struct node *list, int32_t key) {
  struct node *node = malloc(sizeof *node);
  if (!node) exit(9);
  node->next = list;
  node->key = key;
  snprintf(node->label, sizeof node->label, "n%d", (int)key);
  node->weight = key * 0.25;
  return node;
}

static struct node *reverse(struct node *list) {
  struct node *done = NULL;
  while (list) {
    struct node *next = list->next;
    list->next = done;
    done = list;
    list = next;
  }
  return done;
}

static struct node *merge(struct node *a, struct node *b) {
  struct node head, *tail = &head;
  while (a && b) {
    struct node **least = a->key <= b->key ? &a : &b;
    tail = tail->next = *least;
    *least = (*least)->next;
  }
  tail->next = a ? a : b;
  return head.next;
}

static struct node *sort(struct node *list) {
  if (!list || !list->next) return list;
  struct node *slow = list, *fast = list->next;
  while (fast && fast->next) {
    slow = slow->next;
    fast = fast->next->next;
  }
  struct node *half = slow->next;
  slow->next = NULL;
  return merge(sort(list), sort(half));
}

static struct tree *insert(struct tree *tree, int32_t key) {
  if (!tree) {
    tree = calloc(1, sizeof *tree);
    if (!tree) exit(9);
    tree->key = key;
  }
  if (key < tree->key) tree->left = insert(tree->left, key);
  if (key > tree->key) tree->right = insert(tree->right, key);
  if (key == tree->key) tree->count++;
  return tree;
}

static int depth(const struct tree *tree) {
  if (!tree) return 0;
  int left = depth(tree->left), right = depth(tree->right);
  return 1 + (left > right ? left : right);
}

static uint32_t fold(const struct tree *tree, uint32_t hash) {
  if (!tree) return hash * 31;
  hash = fold(tree->left, hash);
  hash = (hash ^ (uint32_t)tree->key) * 16777619u + (uint32_t)tree->count;
  return fold(tree->right, hash);
}

static void cut(struct tree *tree) {
  if (!tree) return;
  cut(tree->left);
  struct tree *right = tree->right;
  free(tree);
  cut(right);
}

int main(void) {
  struct node *list = NULL;
  struct tree *tree = NULL;
  uint32_t x = 12345;
  for (int i = 0; i < 50; i++) {
    x = x * 1103515245u + 12345u;
    int32_t key = (int32_t)(x >> 16) % 100;
    list = push(list, key);
    tree = insert(tree, key);
  }
  printf("first %s, depth %d, hash %08x\n", list->label, depth(tree), (unsigned)fold(tree, 1));
  list = reverse(list);
  printf("reversed first %s\n", list->label);
  list = sort(list);
  double weight = 0;
  int count = 0, ordered = 1;
  for (struct node *n = list; n; n = n->next, count++) {
    weight += n->weight;
    if (n->next && n->key > n->next->key) ordered = 0;
  }
  printf("%d nodes, ordered %d, weight %.2f, least %s\n", count, ordered, weight, list->label);
  // Every other node first, then the rest: the allocator has to join pieces.
  for (struct node *n = list; n && n->next; n = n->next) {
    struct node *gone = n->next;
    n->next = gone->next;
    free(gone);
  }
  while (list) {
    struct node *next = list->next;
    free(list);
    list = next;
  }
  cut(tree);
  char *text = NULL;
  size_t length = 0;
  for (int i = 0; i < 40; i++) {
    text = realloc(text, length + 8);
    if (!text) return 9;
    memset(text + length, 'a' + i % 26, 8);
    length += 8;
  }
  uint32_t hash = 0;
  for (size_t i = 0; i < length; i++) hash = hash * 31 + (unsigned char)text[i];
  printf("text %u, %08x\n", (unsigned)length, (unsigned)hash);
  free(text);
  // Large enough for the memory to grow.
  char *large = malloc(300000);
  if (!large) return 9;
  large[0] = 1;
  large[299999] = 2;
  printf("large %d\n", large[0] + large[299999]);
  free(large);
  return 0;
}
