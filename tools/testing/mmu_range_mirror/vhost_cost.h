/* SPDX-License-Identifier: GPL-2.0 */
/* Between vhost_cost.c and vhost_pieces.c. */
#ifndef MMU_RANGE_MIRROR_VHOST_COST_H
#define MMU_RANGE_MIRROR_VHOST_COST_H

#define MAX_ROUNDS 1000

/* Of vhost_cost.c. */
void check(int ret);
/* The device's thread, and how many nanoseconds it has run. */
const char *worker(void);
double ran(const char *path);
/* A line of the output, but for the columns that few have. Sorts @values. */
void report(const char *what, const char *how, double *values, int n);

/* Of vhost_pieces.c. */
void pieces(int nr_rounds);

#endif
