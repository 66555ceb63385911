// SPDX-License-Identifier: GPL-2.0-only
/*
 * canary MIB
 *
 * Take pages that others have just freed, fill them with what nobody else
 * writes, look after a while whether it is still there, and give them back;
 * until SIGTERM. A page of which somebody kept a pointer, and writes to, is
 * seen here. Then print how many pages were looked at and how many words were
 * not as they had been left.
 */
#define _GNU_SOURCE
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#define PAGE	4096ul
#define WORDS	(PAGE / sizeof(unsigned long))

static volatile sig_atomic_t over;

static void stop(int sig)
{
	(void)sig;
	over = 1;
}

static unsigned long canary(unsigned long round, size_t word)
{
	return 0xc0ffee0000000000ul ^ round << 20 ^ word;
}

int main(int argc, char **argv)
{
	struct sigaction action = { .sa_handler = stop };
	unsigned long pages = 0, stale = 0, round;
	size_t size, words, i;
	unsigned long *mem;

	if (argc != 2 || atoi(argv[1]) <= 0) {
		fprintf(stderr, "usage: %s MIB\n", argv[0]);
		return 2;
	}
	size = (size_t)atoi(argv[1]) << 20;
	words = size / sizeof(*mem);
	sigaction(SIGTERM, &action, NULL);
	for (round = 0; !over; round++) {
		mem = mmap(NULL, size, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (mem == MAP_FAILED) {
			perror("mmap");
			return 1;
		}
		/* Small pages, as rings have. */
		madvise(mem, size, MADV_NOHUGEPAGE);
		for (i = 0; i < words; i++)
			mem[i] = canary(round, i);
		usleep(20000);
		for (i = 0; i < words; i++)
			stale += mem[i] != canary(round, i);
		pages += size / PAGE;
		munmap(mem, size);
	}
	printf("pages=%lu stale=%lu\n", pages, stale);
	return 0;
}
