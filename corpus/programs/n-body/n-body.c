// Five bodies and their gravity, integrated by leapfrog: dozens of doubles
// alive in one loop, square roots, divisions; energy is nearly conserved.
#include <math.h>
#include <stdio.h>

enum { BODIES = 5, STEPS = 60 };

struct body {
  double x[3], v[3], mass;
};

static struct body bodies[BODIES] = {
    {{0, 0, 0}, {0, 0, 0}, 1000},
    {{10, 0, 1}, {0, 9.5, 0.5}, 1},
    {{-20, 5, 0}, {-1.5, -6.5, 0}, 2.5},
    {{3, -35, 2}, {5.2, 0.25, -0.125}, 0.5},
    {{-8, 45, -4}, {-4.5, -0.75, 0}, 4},
};

static void advance(double dt) {
  for (int i = 0; i < BODIES; i++)
    for (int j = i + 1; j < BODIES; j++) {
      struct body *a = &bodies[i], *b = &bodies[j];
      double d[3], square = 0;
      for (int k = 0; k < 3; k++) {
        d[k] = a->x[k] - b->x[k];
        square += d[k] * d[k];
      }
      double pull = dt / (square * sqrt(square));
      for (int k = 0; k < 3; k++) {
        a->v[k] -= d[k] * b->mass * pull;
        b->v[k] += d[k] * a->mass * pull;
      }
    }
  for (int i = 0; i < BODIES; i++)
    for (int k = 0; k < 3; k++) bodies[i].x[k] += dt * bodies[i].v[k];
}

static double energy(void) {
  double e = 0;
  for (int i = 0; i < BODIES; i++) {
    const struct body *a = &bodies[i];
    e += 0.5 * a->mass * (a->v[0] * a->v[0] + a->v[1] * a->v[1] + a->v[2] * a->v[2]);
    for (int j = i + 1; j < BODIES; j++) {
      const struct body *b = &bodies[j];
      double dx = a->x[0] - b->x[0], dy = a->x[1] - b->x[1], dz = a->x[2] - b->x[2];
      e -= a->mass * b->mass / sqrt(dx * dx + dy * dy + dz * dz);
    }
  }
  return e;
}

int main(void) {
  printf("%.9f\n", energy());
  for (int i = 0; i < STEPS; i++) advance(0.001);
  printf("%.9f\n", energy());
  printf("%.12f %.12f %.12f\n", bodies[1].x[0], bodies[1].x[1], bodies[1].x[2]);
  return 0;
}
