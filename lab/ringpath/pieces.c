// SPDX-License-Identifier: GPL-2.0
/*
 * What a small piece of guest memory costs vhost, natively: vhost_mem_from_iter()
 * and vhost_mem_to_iter() where the process's cache has it, beside copy_from_iter() and
 * copy_to_iter(), each as the kernel's own build compiles it.
 *
 * A fence keeps an access from running into the next, as all that vhost does for a
 * packet would; what the fence takes is subtracted. Hardened usercopy checks the other
 * side of a user access, a buffer as vhost-net has them. STAC and CLAC are left out, of
 * which a user access makes a pair.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <x86intrin.h>

#include "bench.h"

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE	25
#endif

#define PAGE		4096UL
#define LARGE_PAGE	0x200000UL
#define NR_PAGES	(RINGPATH_PIECES / PAGE)
#define LINE		64
/* Accesses of a slice, and how many of them are timed at once. */
#define SLICE		2048
#define BLOCK		16
#define NR_BLOCKS	(SLICE / BLOCK)

#define NR_SIZES	(PIECES_CHECKED / 2)

static const int sizes[NR_SIZES] = {
	4, 12, 44, 64, 128, 256, 512, 1024, 1500, 4096
};

enum { UACCESS, MAPPED, NR_WAYS };

struct way {
	const struct ringpath *path;
	void *queue;
};

/*
 * Where the pieces are. Cold ones are all over as much memory as a process's cache can
 * have, each in another page than the last, so that the first two levels of the CPU's
 * caches have forgotten it, and the pointer to it. The kernel has all memory in huge
 * pages; the process may have it in small ones.
 */
static const struct place {
	const char *name;
	bool cold;
	bool small;
} places[] = {
	{ "hot", false, false },
	{ "cold", true, false },
	{ "cold, small pages", true, true },
};

#define NR_PLACES	((int)(sizeof(places) / sizeof(*places)))

/* The memory, as the kernel has it, and in small pages. */
static char *huge, *small;
/* Or else the kernel has no such huge pages here. */
static bool collapsed;
static unsigned int pages[NR_PAGES];
static unsigned char *buf;

/* A place for so much, where a large page may begin. */
static char *reserve(void)
{
	char *p = mmap(NULL, RINGPATH_PIECES + LARGE_PAGE, PROT_NONE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (p == MAP_FAILED)
		abort();
	return p + (-(unsigned long)p & (LARGE_PAGE - 1));
}

static char *map(int fd)
{
	char *p = mmap(reserve(), RINGPATH_PIECES, PROT_READ | PROT_WRITE,
		       MAP_SHARED | MAP_FIXED, fd, 0);

	if (p == MAP_FAILED)
		abort();
	return p;
}

static void touch(char *p)
{
	for (unsigned long i = 0; i < RINGPATH_PIECES; i += PAGE)
		__atomic_store_n(p + i, 0, __ATOMIC_RELAXED);
}

static void make_memory(void)
{
	int fd;

	if (huge)
		return;
	fd = memfd_create("pieces", 0);
	if (fd < 0 || ftruncate(fd, RINGPATH_PIECES))
		abort();
	buf = aligned_alloc(PAGE, PAGE);
	if (!buf)
		abort();
	huge = map(fd);
	touch(huge);
	collapsed = !madvise(huge, RINGPATH_PIECES, MADV_COLLAPSE);
	small = map(fd);
	madvise(small, RINGPATH_PIECES, MADV_NOHUGEPAGE);
	touch(small);
	close(fd);
	for (unsigned int i = 0; i < NR_PAGES; i++) {
		unsigned int other = rand() % (i + 1);

		pages[i] = pages[other];
		pages[other] = i;
	}
}

/* The next address for @size bytes: in the next page, anywhere in it. */
static unsigned long next(const struct place *place, int size)
{
	static unsigned int cursor, offset;
	unsigned long p = (unsigned long)(place->small ? small : huge);

	if (!place->cold)
		return p;
	offset = (offset + 5 * LINE) % (PAGE - size + 1) / LINE * LINE;
	return p + pages[cursor++ % NR_PAGES] * PAGE + offset;
}

/* Nanoseconds of an access: the mean of the middle half of a slice's blocks. */
static double slice(const struct way *way, const struct place *place, int size,
		    bool write)
{
	static double times[NR_BLOCKS];
	unsigned long at[BLOCK], done = 0;
	double sum = 0;

	for (int b = 0; b < NR_BLOCKS; b++) {
		unsigned long long began;

		for (int i = 0; i < BLOCK; i++)
			at[i] = next(place, size);
		began = clock_now();
		for (int i = 0; i < BLOCK; i++) {
			if (way)
				done += way->path->piece(way->queue, buf, at[i],
							 size, write);
			_mm_lfence();
		}
		times[b] = (clock_now() - began) * tsc_ns / BLOCK;
	}
	if (way && done != (unsigned long)size * SLICE)
		abort();
	qsort(times, NR_BLOCKS, sizeof(*times), by_value);
	for (int b = NR_BLOCKS / 4; b < NR_BLOCKS * 3 / 4; b++)
		sum += times[b];
	return sum / (NR_BLOCKS / 2);
}

static double median(const double *values, int n)
{
	static double sorted[MAX_ROUNDS];

	memcpy(sorted, values, n * sizeof(*sorted));
	qsort(sorted, n, sizeof(*sorted), by_value);
	return sorted[n / 2];
}

static void report(const char *what, const struct place *place, int size,
		   double ns[NR_WAYS][MAX_ROUNDS], bool mapped, int rounds)
{
	static double ratio[MAX_ROUNDS], less[MAX_ROUNDS];
	const char *series = place->name;
	char name[120], note[100];

	for (int i = 0; i < rounds; i++) {
		ratio[i] = ns[MAPPED][i] / ns[UACCESS][i];
		less[i] = ns[MAPPED][i] - ns[UACCESS][i];
	}
	snprintf(note, sizeof(note), "%.1f to %.1f ns; %s",
		 median(ns[MAPPED], rounds), median(ns[UACCESS], rounds),
		 mapped ? "1 pair less, which is free" : "beyond vhost's limit");
	snprintf(name, sizeof(name), "%s mapped to uaccess", what);
	print_row(name, series, size, "ratio", ratio, rounds, false, note);
	snprintf(name, sizeof(name), "%s mapped less uaccess", what);
	print_row(name, series, size, "ns by bytes, STAC and CLAC free", less,
		  rounds, true, "a pair that costs as much makes up for it");
	if (size != PAGE)
		return;
	snprintf(name, sizeof(name), "%s all of a page mapped", what);
	print_row(name, series, size, "ns", ns[MAPPED], rounds, false,
		  "as long as an invalidation may have to wait for a copy");
}

/* Sizes take turns as well: one is compared to the other. */
static void measure(const struct way *ways, const struct place *place, bool write,
		    int rounds)
{
	static double ns[NR_SIZES][NR_WAYS][MAX_ROUNDS];
	char what[50];

	/* The first round is for the caches. */
	for (int turn = 0; turn < (rounds + 1) * NR_SIZES; turn++) {
		int size = turn % NR_SIZES, round = turn / NR_SIZES;

		for (int i = 0; i < NR_WAYS; i++) {
			int way = (i + round) % NR_WAYS;
			double fence = slice(NULL, place, sizes[size], write);
			double t = slice(&ways[way], place, sizes[size], write);

			if (round)
				ns[size][way][round - 1] = t - fence;
		}
	}
	snprintf(what, sizeof(what), "%s: %s", ways[UACCESS].path->kernel,
		 write ? "write" : "read");
	for (int i = 0; i < NR_SIZES; i++)
		report(what, place, sizes[i], ns[i],
		       sizes[i] <= ways[MAPPED].path->payload_max, rounds);
}

static void choose(const struct place *place, const struct way *way)
{
	way->path->map(way->queue, (unsigned long)(place->small ? small : huge),
		       (unsigned long)huge);
}

void pieces_measure(const struct ringpath *uaccess, void *uaccess_queue,
		    const struct ringpath *windows, void *windows_queue,
		    int rounds)
{
	const struct way ways[] = {
		[UACCESS] = { uaccess, uaccess_queue },
		[MAPPED] = { windows, windows_queue },
	};

	make_memory();
	harden(uaccess, buf);
	for (int i = 0; i < NR_PLACES; i++) {
		const struct place *place = &places[i];

		if (place->cold && !place->small && !collapsed)
			continue;
		choose(place, &ways[MAPPED]);
		for (int write = 0; write < 2; write++)
			measure(ways, place, write, rounds);
	}
}

/* Each size there and back, by addresses that only the cache leads from to @huge. */
int pieces_check(const struct ringpath *path, void *queue)
{
	const struct place *place = &places[NR_PLACES - 1];
	const struct way way = { path, queue };
	bool right = true;
	long pairs;

	make_memory();
	choose(place, &way);
	count_stacs(true);
	for (int i = 0; i < NR_SIZES; i++) {
		unsigned long at = next(place, sizes[i]), size = sizes[i];

		for (unsigned long j = 0; j < size; j++)
			buf[j] = rand();
		right &= path->piece(queue, buf, at, size, 1) == size &&
			 !memcmp(buf, huge + (at - (unsigned long)small), size);
		memset(buf, 0, size);
		right &= path->piece(queue, buf, at, size, 0) == size &&
			 !memcmp(buf, (void *)at, size);
	}
	pairs = count_stacs(false);
	return right ? pairs : -1;
}
