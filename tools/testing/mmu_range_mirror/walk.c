// SPDX-License-Identifier: GPL-2.0
/*
 * The invalidating side on more CPUs than a word has bits.
 *
 * Each test leaves with a message if it fails.
 */
#include <pthread.h>
#include <stdio.h>
#include <unistd.h>

#include "machine.h"

/* How long something must not happen. */
#define MOMENT_US	20000

/* The ends of words, and something in the middle of each. */
static const unsigned int cpus[] = { 0, 5, 63, 64, 65, 100, 127, 128, 191, 192, 199 };

#define NR_TESTED	ARRAY_SIZE(cpus)

#define expect(what, cpu) do {						\
	if (!(what)) {							\
		fprintf(stderr, "%s:%d: CPU %u: not %s\n", __FILE__,	\
			__LINE__, cpu, #what);				\
		exit(1);						\
	}								\
} while (0)

/* Those that have read are interrupted and taken off the mask, and nobody else. */
static void test_interrupts(struct mmu_mirror_domain *domain)
{
	unsigned int i, cpu, nr = 0;

	for (i = 0; i < NR_TESTED; i++) {
		enter_on(domain, cpus[i]);
		exit_on(domain, cpus[i]);
		expect(cpumask_test_cpu(cpus[i], domain->mask), cpus[i]);
	}
	this_cpu = 1;
	domain_interrupt_readers(domain);
	for (i = 0; i < NR_TESTED; i++) {
		expect(interrupted[cpus[i]] == 1, cpus[i]);
		expect(!state(domain, cpus[i])->published, cpus[i]);
	}
	for (cpu = 0; cpu < MACHINE; cpu++) {
		nr += interrupted[cpu];
		expect(!cpumask_test_cpu(cpu, domain->mask), cpu);
	}
	expect(nr == NR_TESTED, nr);
}

struct waiter {
	struct mmu_mirror_domain *domain;
	bool returned;
};

static void *wait_for_readers(void *arg)
{
	struct waiter *waiter = arg;

	this_cpu = 1;
	domain_interrupt_readers(waiter->domain);
	domain_wait_readers(waiter->domain);
	WRITE_ONCE(waiter->returned, true);
	return NULL;
}

/* The one that is inside is waited for. */
static void test_waits(struct mmu_mirror_domain *domain, unsigned int cpu)
{
	struct waiter waiter = { .domain = domain };
	pthread_t thread;

	enter_on(domain, cpu);
	if (pthread_create(&thread, NULL, wait_for_readers, &waiter))
		exit(2);
	usleep(MOMENT_US);
	expect(!READ_ONCE(waiter.returned), cpu);
	expect(cpumask_test_cpu(cpu, domain->mask), cpu);
	exit_on(domain, cpu);
	pthread_join(thread, NULL);
}

/*
 * A CPU that has read goes away, and misses an invalidation, which does not wait for
 * it. When it comes back, the domain takes it for one that reads already, without a
 * fence of its own: it must be on the mask still.
 */
static void test_offline(struct mmu_mirror_domain *domain, unsigned int cpu)
{
	unsigned int before = interrupted[cpu];

	enter_on(domain, cpu);
	exit_on(domain, cpu);
	cpumask_clear_cpu(cpu, &online);
	this_cpu = 1;
	domain_interrupt_readers(domain);
	domain_wait_readers(domain);
	expect(interrupted[cpu] == before, cpu);
	cpumask_set_cpu(cpu, &online);
	expect(state(domain, cpu)->published, cpu);
	test_waits(domain, cpu);
	expect(interrupted[cpu] == before + 1, cpu);
}

int main(void)
{
	struct mmu_mirror_domain *domain = new_domain();
	unsigned int i;

	test_interrupts(domain);
	for (i = 0; i < NR_TESTED; i++)
		test_waits(domain, cpus[i]);
	for (i = 0; i < NR_TESTED; i++)
		test_offline(domain, cpus[i]);
	return 0;
}
