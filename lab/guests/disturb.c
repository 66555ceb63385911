// SPDX-License-Identifier: GPL-2.0-only
/*
 * disturb pageout|migrate|thp PID PERIOD_US START:LENGTH...
 *
 * Move another process's pages about, again and again, until SIGTERM: swap
 * them out; migrate them to the other NUMA node and back; collapse the huge
 * page around them and split it. Then print what was done and what failed.
 *
 * A single call that fails is counted and no error: a page that the client
 * happens to have pinned for I/O does not move. Whether enough did move is for
 * the kernel's counters to say.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/mempolicy.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif

#define PAGE		4096ul
#define HUGE		(2ul << 20)
#define MAX_RANGES	64
#define MAX_PAGES	1024
#define SPLIT		"/sys/kernel/debug/split_huge_pages"

struct target {
	pid_t pid;
	int pidfd;
	struct iovec ranges[MAX_RANGES];
	int nr_ranges;
};

static unsigned long nr_done, nr_failed;
static int first_error;
static volatile sig_atomic_t over;

static void stop(int sig)
{
	(void)sig;
	over = 1;
}

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static void count(long ret)
{
	if (ret >= 0) {
		nr_done++;
		return;
	}
	nr_failed++;
	if (!first_error)
		first_error = errno;
}

static void advise(struct target *t, struct iovec *range, int advice)
{
	count(syscall(SYS_process_madvise, t->pidfd, range, 1, advice, 0));
}

static void pageout(struct target *t, unsigned long round)
{
	int i;

	(void)round;
	for (i = 0; i < t->nr_ranges; i++)
		advise(t, &t->ranges[i], MADV_PAGEOUT);
}

static void migrate(struct target *t, unsigned long round)
{
	static int nodes[MAX_PAGES], status[MAX_PAGES];
	static void *pages[MAX_PAGES];
	unsigned long nr = 0, off;
	int i;

	for (i = 0; i < t->nr_ranges; i++) {
		for (off = 0; off < t->ranges[i].iov_len; off += PAGE) {
			if (nr == MAX_PAGES)
				break;
			nodes[nr] = round & 1;
			pages[nr++] = (char *)t->ranges[i].iov_base + off;
		}
	}
	count(syscall(SYS_move_pages, t->pid, nr, pages, nodes, status,
		      MPOL_MF_MOVE));
}

static void split(struct target *t, struct iovec *huge)
{
	uintptr_t start = (uintptr_t)huge->iov_base;
	char line[80];
	int fd, len;

	len = snprintf(line, sizeof(line), "%d,%#lx,%#lx", t->pid, start,
		       start + huge->iov_len);
	fd = open(SPLIT, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		die(SPLIT);
	count(write(fd, line, len));
	close(fd);
}

static void thp(struct target *t, unsigned long round)
{
	int i, j;

	for (i = 0; i < t->nr_ranges; i++) {
		uintptr_t addr = (uintptr_t)t->ranges[i].iov_base & -HUGE;
		struct iovec huge = { (void *)addr, HUGE };

		/* Once for each huge page. */
		for (j = 0; j < i; j++) {
			if (((uintptr_t)t->ranges[j].iov_base & -HUGE) == addr)
				break;
		}
		if (j < i)
			continue;
		if (round & 1)
			split(t, &huge);
		else
			advise(t, &huge, MADV_COLLAPSE);
	}
}

static void parse(struct target *t, int n, char **args)
{
	char *end;

	if (n > MAX_RANGES)
		n = MAX_RANGES;
	for (; t->nr_ranges < n; t->nr_ranges++) {
		struct iovec *range = &t->ranges[t->nr_ranges];

		range->iov_base =
			(void *)strtoul(args[t->nr_ranges], &end, 0);
		if (*end == ':')
			range->iov_len = strtoul(end + 1, &end, 0);
		if (*end || !range->iov_len) {
			fprintf(stderr, "not a range: %s\n",
				args[t->nr_ranges]);
			exit(2);
		}
	}
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		void (*run)(struct target *t, unsigned long round);
	} kinds[] = {
		{ "pageout", pageout },
		{ "migrate", migrate },
		{ "thp", thp },
		{ NULL, NULL },
	};
	struct sigaction action = { .sa_handler = stop };
	struct target t = {};
	struct timespec period;
	unsigned long round;
	size_t kind;
	long us;

	for (kind = 0; argc > 4 && kinds[kind].name; kind++) {
		if (!strcmp(argv[1], kinds[kind].name))
			break;
	}
	if (argc <= 4 || !kinds[kind].name) {
		fprintf(stderr, "usage: %s pageout|migrate|thp PID PERIOD_US START:LENGTH...\n",
			argv[0]);
		return 2;
	}
	t.pid = atoi(argv[2]);
	us = atol(argv[3]);
	period.tv_sec = us / 1000000;
	period.tv_nsec = us % 1000000 * 1000;
	parse(&t, argc - 4, argv + 4);
	t.pidfd = syscall(SYS_pidfd_open, t.pid, 0);
	if (t.pidfd < 0)
		die("pidfd_open");
	sigaction(SIGTERM, &action, NULL);
	for (round = 0; !over; round++) {
		kinds[kind].run(&t, round);
		nanosleep(&period, NULL);
	}
	printf("kind=%s done=%lu failed=%lu first_error=%s\n", argv[1],
	       nr_done, nr_failed, first_error ? strerror(first_error) : "-");
	return 0;
}
