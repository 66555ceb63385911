// SPDX-License-Identifier: GPL-2.0
/*
 * What mirrors cost the processes that have them, and those that do not.
 *
 *	cost munmap		ticks of the CPU for a munmap, without mirrors
 *	cost parallel ROUNDS	COW and MADV_DONTNEED by two threads, in processes
 *				with different mirrors, interleaved
 *
 * The first is meant for a virtual machine whose clock counts instructions. A
 * line of the output is a subject, what was measured, the median, and the
 * quartiles.
 */
#include <err.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <x86intrin.h>

#include <lib/test_mmu_mirror_tlb_uapi.h>
#include <lib/test_mmu_range_mirror_uapi.h>

#include "cost.h"

#define NR_PAGES	64
#define NR_MUNMAPS	1001
#define NR_THREADS	2
#define APART		(16UL << 20)
#define SLICE_NS	20000000ULL

static size_t page_size;

static void cost_munmap(void)
{
	static double ticks[NR_MUNMAPS];
	size_t size = NR_PAGES * page_size;
	/* Where the kernel would put it may straddle two page tables, or not. */
	void *at = (void *)(1UL << 40);

	for (int i = 0; i < NR_MUNMAPS; i++) {
		char *p = map(at, size);
		unsigned long long began;

		memset(p, 1, size);
		began = __rdtsc();
		munmap(p, size);
		ticks[i] = __rdtsc() - began;
	}
	report("no mirror", "munmap", ticks, NR_MUNMAPS);
}

/* The processes to compare. */
enum mirrors {
	NO_MIRROR, A_MIRROR, A_WINDOW, A_CACHE, A_TLB, ELSEWHERE,
	CACHE_ELSEWHERE, NR_MIRRORS
};

static const char *const mirrors_names[NR_MIRRORS] = {
	[NO_MIRROR] = "no mirror",
	[A_MIRROR] = "one mirror",
	[A_WINDOW] = "one window",
	[A_CACHE] = "a cache",
	[A_TLB] = "one TLB mirror",
	[ELSEWHERE] = "one mirror of other memory",
	[CACHE_ELSEWHERE] = "a cache of other memory",
};

static unsigned int mirror_kind(enum mirrors mirrors)
{
	switch (mirrors) {
	case A_WINDOW:
		return TEST_MIRROR_WINDOW;
	case A_CACHE:
	case CACHE_ELSEWHERE:
		return TEST_MIRROR_CACHE;
	default:
		return TEST_MIRROR_SPIN;
	}
}

static void open_mirror(enum mirrors mirrors, void *p)
{
	size_t size = NR_PAGES * page_size * NR_THREADS;
	struct test_mirror_open mirror = {
		.start = (uintptr_t)p,
		.length = size,
		.kind = mirror_kind(mirrors),
	};
	struct test_tlb_open tlb = {
		.start = (uintptr_t)p,
		.length = size,
		.full_pages = 512,
		.full_ranges = 16,
	};

	int fd;

	/* Far enough from this that no window of a cache has both. */
	if (mirrors == ELSEWHERE || mirrors == CACHE_ELSEWHERE)
		mirror.start = (uintptr_t)map(NULL, 2 * APART) + APART;
	if (mirrors == A_TLB) {
		open_device("/dev/test_mmu_mirror_tlb", TEST_TLB_IOC_OPEN, &tlb);
	} else if (mirrors != NO_MIRROR) {
		fd = open_device("/dev/test_mmu_range_mirror",
				 TEST_MIRROR_IOC_OPEN, &mirror);
		if (mirror.kind == TEST_MIRROR_CACHE &&
		    ioctl(fd, TEST_MIRROR_IOC_FILL, NULL))
			err(1, "a cache's windows");
	}
}

struct worker {
	pthread_t thread;
	char *p;
	int cow;
	double per_second;
};

static void touch(char *p)
{
	for (int i = 0; i < NR_PAGES; i++)
		p[i * page_size] = 1;
}

/* A child that holds the pages until it is killed: writing them copies. */
static pid_t share(void)
{
	pid_t child = fork();

	if (child)
		return child;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (;;)
		pause();
}

static void *work(void *arg)
{
	struct worker *worker = arg;
	uint64_t began = now(), end = began + SLICE_NS;
	long done = 0;

	do {
		if (!worker->cow)
			madvise(worker->p, NR_PAGES * page_size, MADV_DONTNEED);
		touch(worker->p);
		done += NR_PAGES;
	} while (!worker->cow && now() < end);
	worker->per_second = done * 1e9 / (now() - began);
	return NULL;
}

/* Pages a second of one process, the sum over its threads. */
static double measure(char *p, int cow)
{
	struct worker workers[NR_THREADS];
	pid_t child = cow ? share() : 0;
	double sum = 0;

	for (int i = 0; i < NR_THREADS; i++) {
		workers[i].p = p + i * NR_PAGES * page_size;
		workers[i].cow = cow;
		pthread_create(&workers[i].thread, NULL, work, &workers[i]);
	}
	for (int i = 0; i < NR_THREADS; i++) {
		pthread_join(workers[i].thread, NULL);
		sum += workers[i].per_second;
	}
	if (child) {
		kill(child, SIGKILL);
		waitpid(child, NULL, 0);
	}
	return sum;
}

/* An mm that had a mirror once keeps what that costs: a process each. */
static void run_process(const void *what, double *values)
{
	char *p = map(NULL, NR_PAGES * page_size * NR_THREADS);

	open_mirror(*(const enum mirrors *)what, p);
	touch(p);
	touch(p + NR_PAGES * page_size);
	values[0] = measure(p, 0);
	values[1] = measure(p, 1);
}

static void cost_parallel(int rounds)
{
	static double values[NR_MIRRORS][2][NR_ROUNDS_MAX];
	double pair[2];

	for (int round = 0; round < rounds; round++) {
		for (enum mirrors i = 0; i < NR_MIRRORS; i++) {
			in_child(mirrors_names[i], run_process, &i, pair);
			values[i][0][round] = pair[0];
			values[i][1][round] = pair[1];
		}
	}
	for (int i = 0; i < NR_MIRRORS; i++) {
		report(mirrors_names[i], "MADV_DONTNEED", values[i][0], rounds);
		report(mirrors_names[i], "COW", values[i][1], rounds);
	}
}

int main(int argc, char **argv)
{
	page_size = sysconf(_SC_PAGESIZE);
	if (argc == 2 && !strcmp(argv[1], "munmap")) {
		cost_munmap();
	} else if (argc == 3 && !strcmp(argv[1], "parallel") &&
		   atoi(argv[2]) > 0 && atoi(argv[2]) <= NR_ROUNDS_MAX) {
		cost_parallel(atoi(argv[2]));
	} else {
		fprintf(stderr, "usage: cost munmap | cost parallel ROUNDS\n");
		return 2;
	}
	return 0;
}
