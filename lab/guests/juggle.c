// SPDX-License-Identifier: GPL-2.0-only
/*
 * juggle SECONDS
 *
 * Windows of the test device, each in a domain of its own, with two threads
 * that read through all of them and one that takes their pages away in every
 * way that a system call has. Each page holds how often it was replaced: what
 * a reader gets may be newer than what was published when it began, or nothing
 * yet, but never older. The result is one line of NAME=VALUE.
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
#include <sys/wait.h>
#include <unistd.h>

#include "mmu_mirror_device.h"
#include "mmu_mirror_util.h"

#define NR_WINDOWS	4
#define NR_PAGES	16
#define NR_READERS	2

struct page {
	unsigned long *word;
	atomic_ulong published;
};

static struct juggled {
	int fd;
	char *mem;
	struct page page[NR_PAGES];
} juggled[NR_WINDOWS];

static atomic_bool over;
static atomic_ulong nr_reads, nr_misses, nr_stale;

static void *reader(void *arg)
{
	unsigned int seed = (uintptr_t)arg;
	unsigned long value;

	while (!atomic_load(&over)) {
		struct juggled *j = &juggled[rand_r(&seed) % NR_WINDOWS];
		struct page *p = &j->page[rand_r(&seed) % NR_PAGES];
		unsigned long published = atomic_load(&p->published);

		if (mirror_read(j->fd, p->word, &value)) {
			atomic_fetch_add(&nr_misses, 1);
			/* A fill is on its way. */
			usleep(1000);
			continue;
		}
		atomic_fetch_add(&nr_reads, 1);
		if (value && value < published)
			atomic_fetch_add(&nr_stale, 1);
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
}

static void begin(struct juggled *j)
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
	j->fd = device_open();
	if (j->fd < 0)
		fail(DEVICE);
	errno = -mirror_open(j->fd, j->mem, NR_PAGES * page_size,
			     TEST_MIRROR_WINDOW, TEST_MIRROR_WRITE);
	if (errno)
		fail("open a window");
	mirror_fill(j->fd);
}

int main(int argc, char **argv)
{
	unsigned long n, live = 0, worst = 0;
	pthread_t threads[NR_READERS];
	unsigned int seed = 1;
	unsigned long end;

	if (argc != 2 || atoi(argv[1]) <= 0) {
		fprintf(stderr, "usage: %s SECONDS\n", argv[0]);
		return 2;
	}
	page_size = sysconf(_SC_PAGESIZE);
	for (int i = 0; i < NR_WINDOWS; i++)
		begin(&juggled[i]);
	for (uintptr_t i = 0; i < NR_READERS; i++) {
		if (pthread_create(&threads[i], NULL, reader, (void *)(i + 1)))
			fail("pthread_create");
	}
	end = now_ns() + atoi(argv[1]) * NSEC_PER_SEC;
	for (n = 0; now_ns() < end; n++) {
		struct juggled *j = &juggled[rand_r(&seed) % NR_WINDOWS];

		flip(&j->page[rand_r(&seed) % NR_PAGES], n);
		/* The readers are to see something in between. */
		sched_yield();
	}
	atomic_store(&over, true);
	for (int i = 0; i < NR_READERS; i++)
		pthread_join(threads[i], NULL);
	for (int i = 0; i < NR_WINDOWS; i++) {
		struct test_mirror_stats stats = mirror_stats(juggled[i].fd);

		for (int e = 0; e < TEST_MIRROR_NR_EVENTS; e++)
			live += stats.drops[e];
		if (stats.worst_wait_ns > worst)
			worst = stats.worst_wait_ns;
	}
	printf("flips=%lu reads=%lu misses=%lu live=%lu worst_wait_ns=%lu stale=%lu\n",
	       n, nr_reads, nr_misses, live, worst, nr_stale);
	return 0;
}
