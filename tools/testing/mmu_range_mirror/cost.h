/* SPDX-License-Identifier: GPL-2.0 */
/* What cost.c and cost_guest.c share. */
#ifndef MMU_RANGE_MIRROR_COST_H
#define MMU_RANGE_MIRROR_COST_H

#include <err.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define NR_ROUNDS_MAX	1000

static inline int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static inline void report(const char *subject, const char *what, double *values, int n)
{
	qsort(values, n, sizeof(*values), by_value);
	printf("%s\t%s\t%.1f\t%.1f\t%.1f\n", subject, what, values[n / 2],
	       values[n / 4], values[n * 3 / 4]);
}

static inline void *map(void *at, size_t size)
{
	void *p = mmap(at, size, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		err(1, "mmap");
	return p;
}

static inline int open_device(const char *path, unsigned long command, void *arg)
{
	int fd = open(path, O_RDWR);

	if (fd < 0 || ioctl(fd, command, arg))
		err(1, "%s", path);
	return fd;
}

/*
 * Have @measure put two figures into @values in a process of its own, which is gone by
 * the time this returns.
 */
static inline void in_child(const char *name,
			    void (*measure)(const void *what, double *values),
			    const void *what, double *values)
{
	const ssize_t size = 2 * sizeof(*values);
	int pipes[2];
	pid_t pid;

	if (pipe(pipes))
		err(1, "pipe");
	pid = fork();
	if (!pid) {
		double result[2];

		measure(what, result);
		_exit(write(pipes[1], result, size) != size);
	}
	close(pipes[1]);
	if (read(pipes[0], values, size) != size)
		errx(1, "%s: no result", name);
	close(pipes[0]);
	waitpid(pid, NULL, 0);
}

static inline uint64_t now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000000000ULL + ts.tv_nsec;
}

#endif
