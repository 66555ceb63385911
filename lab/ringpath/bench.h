/* SPDX-License-Identifier: GPL-2.0 */
/* Between the files of the program: ringpath.c, and pieces.c. */
#ifndef _MMU_RANGE_MIRROR_BENCH_H
#define _MMU_RANGE_MIRROR_BENCH_H

#include <stdbool.h>

#include "ringpath.h"

#define MAX_ROUNDS	1000

/* Of ringpath.c. */
extern double tsc_ns;
unsigned long long clock_now(void);
int by_value(const void *a, const void *b);
/* A row of the bench, of @n values. */
void print_row(const char *name, const char *series, int x,
	       const char *unit, double *values, int n, bool drawn, const char *note);
/* Count STACs from now on, until it is called with false, which returns how many. */
long count_stacs(bool on);
void harden(const struct ringpath *path, void *buf);

/* Of pieces.c. Rows of the bench, of a kernel's two ways to guest memory ... */
void pieces_measure(const struct ringpath *uaccess, void *uaccess_queue,
		    const struct ringpath *windows, void *windows_queue,
		    int rounds);
/* ... and how many user accesses so many copies take; -1: they went wrong. */
int pieces_check(const struct ringpath *path, void *queue);

#define PIECES_CHECKED	20

#endif /* _MMU_RANGE_MIRROR_BENCH_H */
