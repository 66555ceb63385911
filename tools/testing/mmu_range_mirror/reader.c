// SPDX-License-Identifier: GPL-2.0
/*
 * What one guarded access costs: every guard in turn, for as many rounds as
 * asked for (200), on one CPU. Writes rows for lab/bench.sh.
 *
 * The time of an access includes the access itself; what a guard adds is the
 * difference to the unguarded one of the same round.
 */
#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <urcu/urcu-bp.h>
#include <urcu/urcu-mb.h>
#include <urcu/urcu-memb.h>
#include <urcu/urcu-qsbr.h>

#include "reader.h"

#define SLICE_NS	1000000
#define MAX_ROUNDS	100000

static const struct {
	const char *name;
	const char *note;
} guards[NR_GUARDS] = {
	[GUARD_NONE] = { "no guard", "the limit" },
	[GUARD_SECTION] = { "section guard", "ours" },
	[GUARD_SECTION_NONE] = {
		"section guard, PREEMPT_NONE",
		"ours; RCU readers are free there"
	},
	[GUARD_NESTING] = { "RCU nesting count, inlined", "emulation" },
	[GUARD_NESTING_CALL] = {
		"RCU nesting count", "emulation of PREEMPT_RCU"
	},
	[GUARD_FLAG_FENCE] = { "flag + full fence", "emulation" },
	[GUARD_LFENCE] = { "one lfence", "what uaccess has at least" },
	[GUARD_SRCU] = { "SRCU", "emulation" },
	[GUARD_SRCU_FAST] = {
		"SRCU-fast", "emulation; its waiter takes RCU's grace periods"
	},
	[GUARD_HAZPTR] = {
		"simple hazard pointers", "emulation of the series of 2025-26"
	},
	[GUARD_URCU_MEMB] = { "liburcu memb", "peer" },
	[GUARD_URCU_BP] = { "liburcu bp", "peer" },
	[GUARD_URCU_MB] = { "liburcu mb", "peer" },
	[GUARD_URCU_QSBR] = {
		"liburcu qsbr", "peer, without its quiescent states"
	},
	[GUARD_CK_EPOCH] = { "ck epoch", "peer" },
	[GUARD_CK_SPINLOCK] = { "ck spinlock", "peer" },
	[GUARD_CK_RWLOCK] = { "ck rwlock", "peer" },
	[GUARD_PTHREAD_SPINLOCK] = { "pthread spinlock", "peer" },
	[GUARD_PTHREAD_RWLOCK] = { "pthread rwlock", "peer" },
	[GUARD_PTHREAD_MUTEX] = { "pthread mutex", "peer" },
	[GUARD_CACHE] = {
		"section guard, in a cache", "ours, found by user address"
	},
	[GUARD_CACHE_FAR] = {
		"section guard, in a cache, far", "ours, in 64 chunks in turn"
	},
};

static int nr_rounds = 200;
static double *cost[NR_GUARDS];

/* Only mmu_mirror_window_ptr() calls it, and the page is always there. */
void *mmu_mirror_window_miss(void *window, unsigned long page)
{
	abort();
}

/* Likewise: every chunk is there, with its page. */
void *mmu_mirror_cache_miss(void *cache, unsigned long uaddr, bool write)
{
	abort();
}

void *mmu_mirror_cache_absent(void *cache, void *window, unsigned long page)
{
	abort();
}

static double now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1e9 + ts.tv_nsec;
}

static double time_accesses(enum guard guard, unsigned long n)
{
	double begun = now_ns();

	if (guard == GUARD_SECTION_NONE)
		guards_none(GUARD_SECTION, n);
	else
		guards_preempt(guard, n);
	return now_ns() - begun;
}

static void *measure(void *unused)
{
	unsigned long n[NR_GUARDS];
	int round, i;

	urcu_memb_register_thread();
	urcu_mb_register_thread();
	urcu_bp_register_thread();
	urcu_qsbr_register_thread();

	/* A slice of each must take about the same time. */
	for (i = 0; i < NR_GUARDS; i++) {
		n[i] = 1000;
		while (time_accesses(i, n[i]) < SLICE_NS)
			n[i] *= 2;
	}
	for (round = 0; round < nr_rounds; round++) {
		/* Nobody always follows the same one. */
		for (i = 0; i < NR_GUARDS; i++) {
			int guard = (i + round) % NR_GUARDS;

			cost[guard][round] =
				time_accesses(guard, n[guard]) / n[guard];
		}
		printf("progress\t%d\t%d\n", round + 1, nr_rounds);
		fflush(stdout);
	}
	return NULL;
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static void *zalloc(size_t size)
{
	void *p = calloc(nr_rounds, size);

	if (!p)
		abort();
	return p;
}

/* The median of all rounds, and where the middle four fifths of them lie. */
static void print_row(const char *name, const char *unit, const double *value,
		      const char *note)
{
	double *sorted = zalloc(sizeof(*sorted));

	memcpy(sorted, value, nr_rounds * sizeof(*sorted));
	qsort(sorted, nr_rounds, sizeof(*sorted), compare);
	printf("row\tname=%s\tunit=%s\t", name, unit);
	printf("spread=10th and 90th percentile of %d rounds\t", nr_rounds);
	printf("median=%.3f\tlo=%.3f\thi=%.3f\t",
	       sorted[nr_rounds / 2], sorted[nr_rounds / 10],
	       sorted[nr_rounds - 1 - nr_rounds / 10]);
	printf("note=%s\n", note);
	free(sorted);
}

/* What the section adds, in terms of what a peer adds, round by round. */
static void ratio(enum guard peer, const char *note)
{
	double *value = zalloc(sizeof(*value));
	char name[80];
	int round;

	for (round = 0; round < nr_rounds; round++) {
		double none = cost[GUARD_NONE][round];

		value[round] = (cost[GUARD_SECTION][round] - none) /
			       (cost[peer][round] - none);
	}
	snprintf(name, sizeof(name), "section / %s, added",
		 guards[peer].name);
	print_row(name, "ratio", value, note);
	free(value);
}

/* What an access costs in a cache, in terms of one in a window, with the section. */
static void cache_ratio(enum guard guard)
{
	double *value = zalloc(sizeof(*value));
	char name[80];
	int round;

	for (round = 0; round < nr_rounds; round++)
		value[round] = cost[guard][round] / cost[GUARD_SECTION][round];
	snprintf(name, sizeof(name), "%s / in a window", guards[guard].name);
	print_row(name, "ratio", value, "the whole access");
	free(value);
}

int main(int argc, char **argv)
{
	pthread_attr_t attr;
	pthread_t thread;
	cpu_set_t cpus;
	int cpu, i;

	if (argc > 1)
		nr_rounds = atoi(argv[1]);
	if (nr_rounds < 10 || nr_rounds > MAX_ROUNDS) {
		fprintf(stderr, "usage: %s [rounds, at least 10]\n", argv[0]);
		return 1;
	}
	for (i = 0; i < NR_GUARDS; i++)
		cost[i] = zalloc(sizeof(*cost[i]));

	/*
	 * The section's state is its CPU's, so the thread stays on one: the
	 * last that there is, where fewer interrupts go. And it is a second
	 * thread, since libc's locks are cheaper without one.
	 */
	if (sched_getaffinity(0, sizeof(cpus), &cpus))
		abort();
	for (cpu = CPU_SETSIZE - 1; !CPU_ISSET(cpu, &cpus); cpu--)
		;
	CPU_ZERO(&cpus);
	CPU_SET(cpu, &cpus);
	pthread_attr_init(&attr);
	pthread_attr_setaffinity_np(&attr, sizeof(cpus), &cpus);
	if (pthread_create(&thread, &attr, measure, NULL))
		abort();
	pthread_join(thread, NULL);

	for (i = 0; i < NR_GUARDS; i++)
		print_row(guards[i].name, "ns", cost[i], guards[i].note);
	/* The kernel calls these three, but for its preempt_disable() inside. */
	ratio(GUARD_NESTING_CALL, "called, as in the kernel");
	ratio(GUARD_PTHREAD_SPINLOCK, "called, as in the kernel");
	ratio(GUARD_PTHREAD_RWLOCK, "called, as in the kernel");
	ratio(GUARD_NESTING, "inlined");
	ratio(GUARD_CK_SPINLOCK, "inlined");
	ratio(GUARD_CK_RWLOCK, "inlined");
	cache_ratio(GUARD_CACHE);
	cache_ratio(GUARD_CACHE_FAR);
	return 0;
}
