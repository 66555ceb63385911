// SPDX-License-Identifier: GPL-2.0-only
/*
 * juggle SECONDS
 *
 * Windows of the test device, each in a domain of its own, and caches, with two
 * threads that read and write through all of them and one that takes their pages
 * away in every way that a system call has. Each page holds how often it was
 * replaced: what a thread reads may be newer than what was published when it began,
 * or nothing yet while the page is being replaced, but never older. What it writes
 * is in the process's memory then, unless the page is replaced meanwhile. The
 * result is a line of NAME=VALUE for the windows, and one for the caches.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "mmu_mirror_device.h"
#include "mmu_mirror_util.h"

#define NR_WINDOWS	4
/* One is for reading, the others are for both. */
#define NR_CACHES	3
#define NR_JUGGLED	(NR_WINDOWS + NR_CACHES)
#define NR_PAGES	16
#define NR_THREADS	2

/*
 * The page's first word is its age, the next ones are what each thread has written
 * through the device. While it is being replaced, its flips are odd.
 */
struct page {
	unsigned long *word;
	atomic_ulong published;
	atomic_ulong flips;
};

static struct juggled {
	int fd;
	bool writable;
	struct sum *sum;
	char *mem;
	struct page page[NR_PAGES];
} juggled[NR_JUGGLED];

static struct sum {
	const char *name;
	atomic_ulong flips;
	atomic_ulong reads;
	atomic_ulong writes;
	atomic_ulong misses;
	atomic_ulong stale;
} windows = { .name = "windows" }, caches = { .name = "caches" };

static atomic_bool over;

/* Has the page stayed the same since its flips were so many? */
static bool stayed(struct page *p, unsigned long flips)
{
	return flips % 2 == 0 && atomic_load(&p->flips) == flips;
}

static bool read_through(struct juggled *j, struct page *p)
{
	unsigned long flips = atomic_load(&p->flips);
	unsigned long published = atomic_load(&p->published);
	unsigned long value;

	if (mirror_read(j->fd, p->word, &value))
		return false;
	atomic_fetch_add(&j->sum->reads, 1);
	if (value < published && (value || stayed(p, flips)))
		atomic_fetch_add(&j->sum->stale, 1);
	return true;
}

/* By a system call, as there may be no page at the moment. */
static bool own_memory(unsigned long *word, unsigned long *value)
{
	struct iovec to = { .iov_base = value, .iov_len = sizeof(*value) };
	struct iovec from = { .iov_base = word, .iov_len = sizeof(*word) };

	return process_vm_readv(getpid(), &to, 1, &from, 1, 0) ==
	       sizeof(*word);
}

static bool write_through(struct juggled *j, struct page *p,
			  unsigned int thread, unsigned long next)
{
	unsigned long *word = &p->word[1 + thread];
	unsigned long flips = atomic_load(&p->flips);
	unsigned long value;

	if (mirror_write(j->fd, word, next))
		return false;
	atomic_fetch_add(&j->sum->writes, 1);
	if (own_memory(word, &value) && value != next && stayed(p, flips))
		atomic_fetch_add(&j->sum->stale, 1);
	return true;
}

static void *access_all(void *arg)
{
	unsigned int thread = (uintptr_t)arg;
	unsigned int seed = thread + 1;

	for (unsigned long n = 1; !atomic_load(&over); n++) {
		struct juggled *j = &juggled[rand_r(&seed) % NR_JUGGLED];
		struct page *p = &j->page[rand_r(&seed) % NR_PAGES];

		if (read_through(j, p) &&
		    (!j->writable || write_through(j, p, thread, n)))
			continue;
		atomic_fetch_add(&j->sum->misses, 1);
		/* A fill is on its way. */
		usleep(1000);
	}
	return NULL;
}

static void fail(const char *what)
{
	perror(what);
	exit(1);
}

static void *map_at(void *addr)
{
	void *mem = mmap(addr, page_size, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);

	if (mem == MAP_FAILED)
		fail("mmap");
	return mem;
}

static void with_child(unsigned long *word, unsigned long next)
{
	pid_t pid = fork();

	if (pid < 0)
		fail("fork");
	/* The parent's next write is a copy: the child has the old page. */
	if (!pid)
		_exit(0);
	*word = next;
	waitpid(pid, NULL, 0);
}

/* Replace, move or protect one page, one way after another. */
static void flip(struct page *p, unsigned long n)
{
	unsigned long *word = p->word, next = atomic_load(&p->published) + 1;
	void *away;

	atomic_fetch_add(&p->flips, 1);
	switch (n % 8) {
	case 0:
		madvise(word, page_size, MADV_DONTNEED);
		break;
	case 1:
		munmap(word, page_size);
		map_at(word);
		break;
	case 2:
		away = mmap(NULL, page_size, PROT_NONE,
			    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (away == MAP_FAILED ||
		    mremap(word, page_size, page_size,
			   MREMAP_MAYMOVE | MREMAP_FIXED, away) == MAP_FAILED)
			fail("mremap");
		map_at(word);
		munmap(away, page_size);
		break;
	case 3:
		mprotect(word, page_size, PROT_READ);
		mprotect(word, page_size, PROT_READ | PROT_WRITE);
		break;
	case 4:
		with_child(word, next);
		break;
	case 5:
		madvise(word, page_size, MADV_PAGEOUT);
		break;
	case 6:
		madvise(word, page_size, MADV_MERGEABLE);
		break;
	default:
		madvise(word, page_size, MADV_UNMERGEABLE);
		break;
	}
	/* Now: a page that is away has to come back before the store below. */
	__atomic_store_n(word, next, __ATOMIC_RELAXED);
	atomic_store(&p->published, next);
	atomic_fetch_add(&p->flips, 1);
}

static void begin(struct juggled *j, enum test_mirror_kind kind, bool writable)
{
	j->mem = mmap(NULL, NR_PAGES * page_size, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (j->mem == MAP_FAILED)
		fail("mmap");
	for (int i = 0; i < NR_PAGES; i++) {
		j->page[i].word = (unsigned long *)(j->mem + i * page_size);
		*j->page[i].word = 1;
		atomic_store(&j->page[i].published, 1);
	}
	j->sum = kind == TEST_MIRROR_CACHE ? &caches : &windows;
	j->writable = writable;
	j->fd = device_open();
	if (j->fd < 0)
		fail("open the device");
	errno = -mirror_open(j->fd, j->mem, NR_PAGES * page_size, kind,
			     writable ? TEST_MIRROR_WRITE : 0);
	if (errno)
		fail("open a window or a cache");
	mirror_fill(j->fd);
}

/* Of all windows, or of all caches. */
static void report(struct sum *sum)
{
	unsigned long live = 0, worst = 0;

	for (int i = 0; i < NR_JUGGLED; i++) {
		struct test_mirror_stats stats;

		if (juggled[i].sum != sum)
			continue;
		stats = mirror_stats(juggled[i].fd);
		for (int e = 0; e < TEST_MIRROR_NR_EVENTS; e++)
			live += stats.drops[e];
		if (stats.worst_wait_ns > worst)
			worst = stats.worst_wait_ns;
	}
	printf("%s flips=%lu reads=%lu writes=%lu misses=%lu", sum->name,
	       sum->flips, sum->reads, sum->writes, sum->misses);
	printf(" live=%lu worst_wait_ns=%lu stale=%lu\n", live, worst,
	       sum->stale);
}

int main(int argc, char **argv)
{
	pthread_t threads[NR_THREADS];
	unsigned int seed = 1;
	unsigned long end;

	if (argc != 2 || atoi(argv[1]) <= 0) {
		fprintf(stderr, "usage: %s SECONDS\n", argv[0]);
		return 2;
	}
	page_size = sysconf(_SC_PAGESIZE);
	for (int i = 0; i < NR_WINDOWS; i++)
		begin(&juggled[i], TEST_MIRROR_WINDOW, true);
	for (int i = NR_WINDOWS; i < NR_JUGGLED; i++)
		begin(&juggled[i], TEST_MIRROR_CACHE, i > NR_WINDOWS);
	for (uintptr_t i = 0; i < NR_THREADS; i++) {
		if (pthread_create(&threads[i], NULL, access_all, (void *)i))
			fail("pthread_create");
	}
	end = now_ns() + atoi(argv[1]) * NSEC_PER_SEC;
	for (unsigned long n = 0; now_ns() < end; n++) {
		struct juggled *j = &juggled[rand_r(&seed) % NR_JUGGLED];

		flip(&j->page[rand_r(&seed) % NR_PAGES], n);
		atomic_fetch_add(&j->sum->flips, 1);
		/* The threads are to see something in between. */
		sched_yield();
	}
	atomic_store(&over, true);
	for (int i = 0; i < NR_THREADS; i++)
		pthread_join(threads[i], NULL);
	report(&windows);
	report(&caches);
	return 0;
}
