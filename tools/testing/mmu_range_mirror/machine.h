/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The invalidating side of the section guard as mm/mmu_mirror_window.c has it, and a
 * machine for it, where a thread is on the CPU that it says.
 */
#ifndef _MMU_RANGE_MIRROR_MACHINE_H
#define _MMU_RANGE_MIRROR_MACHINE_H

#include <sched.h>
#include <stdlib.h>

#include <linux/bitops.h>
#include <linux/kernel.h>
#include <linux/mmu_mirror_window.h>

/* CPUs of the machine. */
#define MACHINE		200
__thread unsigned int this_cpu;

/* What the functions of the helper call. */

static const unsigned int nr_cpu_ids = MACHINE;
static struct cpumask drain_mask, online;
static unsigned int interrupted[MACHINE];
static unsigned long nr_waits;

#define ktime_get_ns()			0ULL
#define MMU_RANGE_MIRROR_SNAPSHOT	0
#define cpumask_bits(mask)		((mask)->bits)
#define this_cpu_cpumask_var_ptr(mask)	(&(mask))
#define WARN_ON_ONCE(condition)		((condition) ? abort() : (void)0)
#define cpu_relax()			sched_yield()
#define cpu_online_mask			(&online)
#define per_cpu_ptr(ptr, cpu) \
	((typeof(ptr))((char *)(ptr) + (cpu) * PERCPU_STRIDE))

static inline void mmu_range_mirror_inject(int point, void *mirror)
{
}

static inline void domain_account_wait(struct mmu_mirror_domain *domain,
				       unsigned long ns)
{
	nr_waits++;
}

static inline long atomic_long_read_acquire(atomic_long_t *v)
{
	return __atomic_load_n((long *)v, __ATOMIC_ACQUIRE);
}

static inline long atomic_long_inc_return_release(atomic_long_t *v)
{
	return __atomic_add_fetch((long *)v, 1, __ATOMIC_RELEASE);
}

static inline long atomic_long_cmpxchg_release(atomic_long_t *v, long old,
					       long new)
{
	__atomic_compare_exchange_n((long *)v, &old, new, false,
				    __ATOMIC_RELEASE, __ATOMIC_RELAXED);
	return old;
}

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

static struct mmu_mirror_cpu *state(struct mmu_mirror_domain *domain,
				    unsigned int cpu)
{
	return per_cpu_ptr(domain->cpu, cpu);
}

static struct mmu_mirror_domain *new_domain(void)
{
	struct mmu_mirror_domain *domain = calloc(1, sizeof(*domain));
	unsigned int i;

	if (!domain)
		exit(2);
	domain->cpu = calloc(MACHINE, PERCPU_STRIDE);
	domain->mask = calloc(1, sizeof(*domain->mask));
	if (!domain->cpu || !domain->mask)
		exit(2);
	for (i = 0; i < MACHINE; i++) {
		state(domain, i)->domain = domain;
		cpumask_set_cpu(i, &online);
	}
	return domain;
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

#endif /* _MMU_RANGE_MIRROR_MACHINE_H */
