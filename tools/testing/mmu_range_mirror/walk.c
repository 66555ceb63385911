// SPDX-License-Identifier: GPL-2.0
/*
 * The invalidating side on more CPUs than a word has bits, as mm/mmu_mirror_window.c
 * has it: a thread can be on any CPU of a large machine.
 *
 * Each test leaves with a message if it fails.
 */
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <linux/bitops.h>
#include <linux/kernel.h>
#include <linux/mmu_mirror_window.h>

/* CPUs of the machine. */
#define MACHINE		200
/* How long something must not happen. */
#define MOMENT_US	20000

__thread unsigned int this_cpu;

/* What the functions of the helper call. */

static const unsigned int nr_cpu_ids = MACHINE;
static struct cpumask drain_mask, online;
static unsigned int interrupted[MACHINE];

#define cpumask_bits(mask)		((mask)->bits)
#define this_cpu_cpumask_var_ptr(mask)	(&(mask))
#define WARN_ON_ONCE(condition)		((condition) ? abort() : (void)0)
#define cpu_relax()			sched_yield()
#define cpu_online_mask			(&online)
#define per_cpu_ptr(ptr, cpu) \
	((typeof(ptr))((char *)(ptr) + (cpu) * PERCPU_STRIDE))

/* Of one word. */
static unsigned int find_next_bit(const unsigned long *word, unsigned int size,
				  unsigned int bit)
{
	while (bit < size && !(*word >> bit & 1))
		bit++;
	return bit;
}

static unsigned int find_first_bit(const unsigned long *word, unsigned int size)
{
	return find_next_bit(word, size, 0);
}

static void cpumask_clear_cpu(unsigned int cpu, struct cpumask *mask)
{
	__atomic_fetch_and(&mask->bits[cpu / BITS_PER_LONG],
			   ~(1UL << cpu % BITS_PER_LONG), __ATOMIC_SEQ_CST);
}

#define __cpumask_clear_cpu	cpumask_clear_cpu

static bool cpumask_test_cpu(unsigned int cpu, const struct cpumask *mask)
{
	return mask->bits[cpu / BITS_PER_LONG] >> cpu % BITS_PER_LONG & 1;
}

/* It is only added up. */
static inline unsigned int cpumask_weight_and(const struct cpumask *a,
					      const struct cpumask *b)
{
	return 0;
}

/* Only a wrong change calls it. */
static inline bool cpumask_and(struct cpumask *to, const struct cpumask *a,
			       const struct cpumask *b)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(to->bits); i++)
		to->bits[i] = a->bits[i] & b->bits[i];
	return true;
}

static void on_each_cpu_mask(const struct cpumask *mask, void (*func)(void *),
			     void *info, bool wait)
{
	unsigned int before = this_cpu;

	for (this_cpu = 0; this_cpu < MACHINE; this_cpu++) {
		if (!cpumask_test_cpu(this_cpu, mask) ||
		    !cpumask_test_cpu(this_cpu, &online))
			continue;
		interrupted[this_cpu]++;
		func(info);
	}
	this_cpu = before;
}

#include "walk_guard.c"

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

static struct mmu_mirror_cpu *state(struct mmu_mirror_domain *domain,
				    unsigned int cpu)
{
	return per_cpu_ptr(domain->cpu, cpu);
}

static void enter_on(struct mmu_mirror_domain *domain, unsigned int cpu)
{
	this_cpu = cpu;
	mmu_mirror_enter(domain);
}

static void exit_on(struct mmu_mirror_domain *domain, unsigned int cpu)
{
	this_cpu = cpu;
	mmu_mirror_exit(domain);
}

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
	static struct mmu_mirror_domain domain;
	static struct cpumask mask;
	unsigned int i;

	domain.cpu = calloc(MACHINE, PERCPU_STRIDE);
	if (!domain.cpu)
		return 2;
	domain.mask = &mask;
	for (i = 0; i < MACHINE; i++) {
		state(&domain, i)->domain = &domain;
		cpumask_set_cpu(i, &online);
	}
	test_interrupts(&domain);
	for (i = 0; i < NR_TESTED; i++)
		test_waits(&domain, cpus[i]);
	for (i = 0; i < NR_TESTED; i++)
		test_offline(&domain, cpus[i]);
	return 0;
}
