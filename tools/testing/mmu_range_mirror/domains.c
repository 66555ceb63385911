// SPDX-License-Identifier: GPL-2.0
/*
 * How many CPUs an invalidation interrupts that hits the rings of many queues at once,
 * by what has a domain of its own. It counts, and measures no time: the wait is the
 * helper's own, and between any two waits each busy worker has read again, which is the
 * worst that can happen.
 *
 * A device has two queues and one worker, which has read the second queue's ring. The
 * first NR_BUSY workers are busy, each on a CPU of its own; the others ran there before.
 */
#include <stdio.h>
#include <string.h>

#include "machine.h"

#define MAX_DEVICES	64
#define NR_BUSY		8
#define NR_PARTS	3	/* windows of a queue */
#define MAX_WINDOWS	(MAX_DEVICES * 2 * NR_PARTS)

enum kind { QUEUE, DEVICE, PROCESS, NR_KINDS };

static const char * const kinds[] = { "queue", "device", "process" };

static struct mmu_mirror_domain *of_window[MAX_WINDOWS];
static bool mapped[MAX_WINDOWS];
static unsigned int nr_windows;

static void work(unsigned int device)
{
	struct mmu_mirror_domain *domain = of_window[device * 2 * NR_PARTS + NR_PARTS];

	enter_on(domain, device % NR_BUSY);
	exit_on(domain, device % NR_BUSY);
}

/* The CPU that invalidates is nobody else's. */
static void wait_of(unsigned int window)
{
	unsigned int i;

	this_cpu = NR_BUSY;
	mmu_mirror_domain_drain(of_window[window]);
	for (i = 0; i < NR_BUSY; i++)
		work(i);
}

static void set_up(enum kind kind, unsigned int devices)
{
	struct mmu_mirror_domain *domain = NULL;
	unsigned int i;

	nr_windows = devices * 2 * NR_PARTS;
	for (i = 0; i < nr_windows; i++) {
		if (!i || (kind == QUEUE && i % NR_PARTS == 0) ||
		    (kind == DEVICE && i % (2 * NR_PARTS) == 0))
			domain = new_domain();
		of_window[i] = domain;
		mapped[i] = true;
	}
	for (i = 0; i < devices; i++)
		work(i);
	memset(interrupted, 0, sizeof(interrupted));
	nr_waits = 0;
}

static void drop(unsigned int window)
{
	if (mapped[window])
		mmu_mirror_domain_dropped(of_window[window]);
	mapped[window] = false;
}

/* Each window waits before the next is told. */
static void one_pass(void)
{
	unsigned int i;

	for (i = 0; i < nr_windows; i++) {
		drop(i);
		wait_of(i);
	}
}

/* All windows have dropped what they had before the first waits. */
static void two_passes(void)
{
	unsigned int i;

	for (i = 0; i < nr_windows; i++)
		drop(i);
	for (i = 0; i < nr_windows; i++)
		wait_of(i);
}

/* The first that waits drops what the others of its domain have. */
static void together(void)
{
	unsigned int i, j;

	for (i = 0; i < nr_windows; i++) {
		bool first = mapped[i];

		for (j = i; first && j < nr_windows; j++)
			if (of_window[j] == of_window[i])
				drop(j);
		wait_of(i);
	}
}

/* One part of one busy queue. */
static void one_page(void)
{
	drop(NR_PARTS);
	wait_of(NR_PARTS);
}

static const struct {
	const char *name;
	void (*invalidate)(void);
} ways[] = {
	{ "one pass", one_pass },
	{ "one pass, dropped together", together },
	{ "two passes", two_passes },
	{ "one page only", one_page },
};

static unsigned long nr_interrupts(void)
{
	unsigned long sum = 0;
	unsigned int i;

	for (i = 0; i < MACHINE; i++)
		sum += interrupted[i];
	return sum;
}

int main(void)
{
	unsigned int devices, kind, way;

	printf("%-28s %-8s %7s %10s %6s\n", "invalidation", "domains", "devices",
	       "interrupts", "waits");
	for (way = 0; way < ARRAY_SIZE(ways); way++)
		for (kind = 0; kind < NR_KINDS; kind++)
			for (devices = NR_BUSY; devices <= MAX_DEVICES;
			     devices *= 8) {
				set_up(kind, devices);
				ways[way].invalidate();
				printf("%-28s %-8s %7u %10lu %6lu\n",
				       ways[way].name, kinds[kind], devices,
				       nr_interrupts(), nr_waits);
			}
	return 0;
}
