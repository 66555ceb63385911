// SPDX-License-Identifier: GPL-2.0
/*
 * What caches of pointers to guest memory cost when the guest gives memory back at full
 * rate.
 *
 *	cost_guest discards ROUNDS	MADV_DONTNEED of guest memory, as a balloon
 *					and free page reports have it, in processes
 *					with caches of all of it and without,
 *					interleaved
 *
 * A line of the output is a subject, what was measured, the median, and the
 * quartiles. A ratio is taken round by round.
 */
#define _GNU_SOURCE
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <lib/test_mmu_range_mirror_uapi.h>

#include "cost.h"

static size_t page_size;

/* The processes that discard guest memory. */
enum guests {
	NO_CACHE, OTHER_MEMORY, FILLED_CACHES, NR_ALONE,
	BESIDE_READER = NR_ALONE, READ_CACHES, NR_GUESTS
};

static const struct {
	const char *name;
	/* What it is compared with, if that is not itself. */
	enum guests to;
} guests[NR_GUESTS] = {
	[NO_CACHE] = { "no cache", NO_CACHE },
	[OTHER_MEMORY] = { "one mirror of other memory", NO_CACHE },
	[FILLED_CACHES] = { "caches of all of it, filled", NO_CACHE },
	[BESIDE_READER] = { "no cache, another process reads its own",
			    BESIDE_READER },
	[READ_CACHES] = { "caches of all of it, filled and read",
			  BESIDE_READER },
};

/* How guest memory is discarded. */
static const struct {
	const char *name;
	size_t piece;
	int advice;
} discards[] = {
	{ "a balloon's 4 KiB", 4UL << 10, MADV_NOHUGEPAGE },
	{ "free page reports' 2 MiB, small pages", 2UL << 20, MADV_NOHUGEPAGE },
	{ "free page reports' 2 MiB, a huge page", 2UL << 20, MADV_HUGEPAGE },
};

#define NR_DISCARDS	((int)(sizeof(discards) / sizeof(*discards)))
#define CHUNK		(2UL << 20)
/* Discarded in one round; behind it there is a chunk that is only read. */
#define GUEST_SIZE	(8 * CHUNK)
#define FILL_TRIES	100

static void pin_to_cpu(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	if (sched_setaffinity(0, sizeof(set), &set))
		err(1, "CPU %d", cpu);
}

static char *map_guest(int advice)
{
	size_t size = GUEST_SIZE + CHUNK;
	char *p = map(NULL, size + CHUNK);

	p = (char *)(((uintptr_t)p + CHUNK - 1) & ~(CHUNK - 1));
	if (madvise(p, size, advice))
		err(1, "madvise");
	memset(p, 1, size);
	return p;
}

static long mapped(int fd, char *p, size_t size)
{
	struct test_mirror_range range = {
		.start = (uintptr_t)p,
		.length = size,
	};

	return ioctl(fd, TEST_MIRROR_IOC_MAPPED, &range);
}

static int open_range(char *p, size_t size, unsigned int kind,
		      unsigned int flags)
{
	struct test_mirror_open open = {
		.start = (uintptr_t)p,
		.length = size,
		.kind = kind,
		.flags = flags,
	};

	return open_device("/dev/test_mmu_range_mirror", TEST_MIRROR_IOC_OPEN,
			   &open);
}

/* A cache of guest memory, with a pointer to each page of it. */
static int open_filled(char *p, unsigned int flags)
{
	size_t size = GUEST_SIZE + CHUNK;
	int fd = open_range(p, size, TEST_MIRROR_CACHE, flags);

	for (int i = 0; i < FILL_TRIES; i++) {
		if (ioctl(fd, TEST_MIRROR_IOC_FILL, NULL))
			err(1, "a cache's windows");
		if (mapped(fd, p, size) == (long)(size / page_size))
			return fd;
	}
	errx(1, "a cache has %ld pages of %zu", mapped(fd, p, size),
	     size / page_size);
}

/* Does the cache have a pointer to what is there? */
static bool read_through(int fd, char *p)
{
	uint64_t value;
	struct test_mirror_io io = {
		.addr = (uintptr_t)p,
		.data = (uintptr_t)&value,
		.size = sizeof(value),
	};

	if (ioctl(fd, TEST_MIRROR_IOC_READ, &io) == sizeof(value))
		return true;
	if (errno != ENOENT)
		err(1, "a read");
	return false;
}

struct reader {
	int fd;
	char *p;
};

/* Of what is not discarded, until somebody ends the process. */
static void *read_on(void *arg)
{
	struct reader *reader = arg;

	pin_to_cpu(1);
	for (size_t at = 0;; at = (at + page_size) % CHUNK)
		read_through(reader->fd, reader->p + GUEST_SIZE + at);
	return NULL;
}

/* Another process that reads its own memory through a cache. */
static pid_t read_elsewhere(int advice)
{
	struct reader reader;
	int pipes[2];
	pid_t child;
	char ready;

	if (pipe(pipes))
		err(1, "pipe");
	child = fork();
	if (child) {
		close(pipes[1]);
		if (read(pipes[0], &ready, 1) != 1)
			errx(1, "no reader");
		close(pipes[0]);
		return child;
	}
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	reader.p = map_guest(advice);
	reader.fd = open_filled(reader.p, 0);
	if (write(pipes[1], "", 1) != 1)
		err(1, "pipe");
	read_on(&reader);
	return 0;
}

/* Pages a second: of what is discarded, and of what the guest also uses again. */
enum rates { DISCARDED, USED_AGAIN, NR_RATES };

static void discard(char *p, size_t piece, double *rates)
{
	double ns = 1e9 * (GUEST_SIZE / page_size);
	uint64_t began = now();

	for (size_t at = 0; at < GUEST_SIZE; at += piece) {
		if (madvise(p + at, piece, MADV_DONTNEED))
			err(1, "madvise");
	}
	rates[DISCARDED] = ns / (now() - began);
	for (size_t at = 0; at < GUEST_SIZE; at += page_size)
		p[at] = 1;
	rates[USED_AGAIN] = ns / (now() - began);
}

/* vhost has windows of a chunk that it reads, and others of one that it writes. */
struct run {
	enum guests guest;
	int how;
};

static void discard_guest(const void *what, double *rates)
{
	const struct run *run = what;
	enum guests guest = run->guest;
	char *p = map_guest(discards[run->how].advice);
	bool cached = guest == FILLED_CACHES || guest == READ_CACHES;
	struct reader reader = { .p = p };
	pthread_t thread;
	pid_t child = 0;
	int writer = -1;

	pin_to_cpu(0);
	if (cached) {
		reader.fd = open_filled(p, 0);
		writer = open_filled(p, TEST_MIRROR_WRITE);
	}
	if (guest == OTHER_MEMORY)
		open_range(map(NULL, CHUNK), CHUNK, TEST_MIRROR_SPIN, 0);
	if (guest == BESIDE_READER)
		child = read_elsewhere(discards[run->how].advice);
	if (guest == READ_CACHES)
		pthread_create(&thread, NULL, read_on, &reader);
	discard(p, discards[run->how].piece, rates);
	if (child) {
		kill(child, SIGKILL);
		waitpid(child, NULL, 0);
	}
	if (cached && (mapped(reader.fd, p, GUEST_SIZE) ||
		       mapped(writer, p, GUEST_SIZE)))
		errx(1, "a cache has pages that were discarded");
}

static void report_ratio(const char *what, enum guests guest,
			 const double *values, const double *to, int n)
{
	double ratio[NR_ROUNDS_MAX];

	for (int i = 0; i < n; i++)
		ratio[i] = values[i] / to[i];
	qsort(ratio, n, sizeof(*ratio), by_value);
	printf("%s: %s, to %s\tratio\t%.3f\t%.3f\t%.3f\n",
	       what, guests[guest].name, guests[guests[guest].to].name,
	       ratio[n / 2], ratio[n / 4], ratio[n * 3 / 4]);
}

static void report_guests(const char *what, double values[][NR_ROUNDS_MAX],
			  int nr, int rounds)
{
	for (int i = 0; i < nr; i++) {
		enum guests to = guests[i].to;

		if (to != (enum guests)i)
			report_ratio(what, i, values[i], values[to], rounds);
	}
	for (int i = 0; i < nr; i++)
		report(guests[i].name, what, values[i], rounds);
}

/* Without a second CPU there are no readers beside. */
static void cost_discards(int rounds)
{
	int nr = sysconf(_SC_NPROCESSORS_ONLN) > 1 ? NR_GUESTS : NR_ALONE;
	static double discarded[NR_DISCARDS][NR_GUESTS][NR_ROUNDS_MAX];
	static double used_again[NR_DISCARDS][NR_GUESTS][NR_ROUNDS_MAX];

	for (int round = 0; round < rounds; round++) {
		for (int i = 0; i < NR_DISCARDS * nr; i++) {
			/* Each is first as often as the others. */
			struct run run = {
				.guest = (i + round) % nr,
				.how = i / nr,
			};
			double rates[NR_RATES];

			in_child(guests[run.guest].name, discard_guest, &run,
				 rates);
			discarded[run.how][run.guest][round] = rates[DISCARDED];
			used_again[run.how][run.guest][round] = rates[USED_AGAIN];
		}
	}
	for (int how = 0; how < NR_DISCARDS; how++) {
		char what[80];

		report_guests(discards[how].name, discarded[how], nr, rounds);
		snprintf(what, sizeof(what), "%s, used again",
			 discards[how].name);
		report_guests(what, used_again[how], nr, rounds);
	}
}

int main(int argc, char **argv)
{
	int rounds = argc == 3 ? atoi(argv[2]) : 0;

	page_size = sysconf(_SC_PAGESIZE);
	if (rounds <= 0 || rounds > NR_ROUNDS_MAX ||
	    strcmp(argv[1], "discards")) {
		fprintf(stderr, "usage: cost_guest discards ROUNDS\n");
		return 2;
	}
	cost_discards(rounds);
	return 0;
}
