// SPDX-License-Identifier: GPL-2.0
/*
 * How long an invalidation waits for a reader that is busy on another CPU: with
 * the section guard, and with what could stand in its place. No test: it says
 * what it measured, and fails only if it could not.
 *
 * The schemes take turns, round after round. Each has its own way to read one
 * shared page, which the reader does all the time, and its own way to wait for
 * whoever may still be reading it.
 */
#define pr_fmt(fmt) "mmu_range_mirror_bench: " fmt

#include <kunit/test.h>
#include <linux/cpumask.h>
#include <linux/delay.h>
#include <linux/kthread.h>
#include <linux/ktime.h>
#include <linux/mmu_mirror_window.h>
#include <linux/mutex.h>
#include <linux/percpu.h>
#include <linux/rcupdate.h>
#include <linux/sched.h>
#include <linux/sort.h>
#include <linux/spinlock.h>
#include <linux/srcu.h>

/* rcu_unexpedite_gp() is exported, and declared here only. */
#include "../../kernel/rcu/rcu.h"

#define NR_BLOCKS	10
#define BLOCK_ROUNDS	10
#define NR_ROUNDS	(NR_BLOCKS * BLOCK_ROUNDS)
/* A page fault that has to be served from somewhere. */
#define FAULT_NS	NSEC_PER_MSEC
#define TIMEOUT_NS	(10 * (u64)NSEC_PER_SEC)

/* One way to read and to wait. */
struct scheme {
	const char *name;
	void (*read)(void);
	void (*wait)(void);
	int burst;		/* reads before the reader looks around */
	int per_round;		/* waits measured in a round */
	int nr;
	u64 *ns;
};

static unsigned long page = 1;
static unsigned long *pointer = &page;
static struct mmu_mirror_domain *domain;
static DEFINE_SPINLOCK(page_spinlock);	/* page, for the scheme of that name */
static DEFINE_MUTEX(page_mutex);	/* the same */
DEFINE_STATIC_SRCU(page_srcu);

/* What the reader is to do, and how often it has looked at that. */
static struct scheme *wanted;
static unsigned long looks;

static __always_inline void read_page(void)
{
	unsigned long *p = READ_ONCE(pointer);

	if (p)
		READ_ONCE(*p);
}

static void guard_read(void)
{
	mmu_mirror_enter(domain);
	read_page();
	mmu_mirror_exit(domain);
}

/* CPUs that the guard's waits found on the mask, and so interrupted. */
static unsigned long interrupts;

/* A window's invalidation after it cleared the pointers. */
static void guard_wait(void)
{
	interrupts += cpumask_weight(domain->mask);
	atomic_long_inc_return_release(&domain->dropped);
	mmu_mirror_domain_drain(domain);
}

static void rcu_read(void)
{
	rcu_read_lock();
	read_page();
	rcu_read_unlock();
}

static void srcu_read(void)
{
	int idx = srcu_read_lock(&page_srcu);

	read_page();
	srcu_read_unlock(&page_srcu, idx);
}

static void srcu_wait(void)
{
	synchronize_srcu(&page_srcu);
}

static void spinlock_read(void)
{
	spin_lock(&page_spinlock);
	read_page();
	spin_unlock(&page_spinlock);
}

static void spinlock_wait(void)
{
	spin_lock(&page_spinlock);
	spin_unlock(&page_spinlock);
}

/* vhost's own lock is held while a user page is brought in. */
static void mutex_read(void)
{
	u64 begun;

	mutex_lock(&page_mutex);
	begun = ktime_get_ns();
	while (ktime_get_ns() - begun < FAULT_NS)
		cpu_relax();
	read_page();
	mutex_unlock(&page_mutex);
}

static void mutex_wait(void)
{
	mutex_lock(&page_mutex);
	mutex_unlock(&page_mutex);
}

/*
 * Simple hazard pointers, emulated: the CPU's slot has what is read, and the waiter,
 * who has put another page there before, looks into all slots.
 */
static DEFINE_PER_CPU(unsigned long *, hazard);
static unsigned long hazard_pages[2];
static unsigned long *hazard_pointer = &hazard_pages[0];

static void hazard_read(void)
{
	unsigned long **slot, *p;

	preempt_disable();
	slot = this_cpu_ptr(&hazard);
	do {
		p = READ_ONCE(hazard_pointer);
		WRITE_ONCE(*slot, p);
		smp_mb(); /* pairs with the one of hazard_wait() */
	} while (p != READ_ONCE(hazard_pointer));
	READ_ONCE(*p);
	/* After the access; pairs with the acquire of hazard_wait(). */
	smp_store_release(slot, NULL);
	preempt_enable();
}

static void hazard_wait(void)
{
	unsigned long *old = READ_ONCE(hazard_pointer);
	int cpu;

	WRITE_ONCE(hazard_pointer, old == &hazard_pages[0] ? &hazard_pages[1] :
							     &hazard_pages[0]);
	smp_mb(); /* pairs with the one of hazard_read() */
	for_each_possible_cpu(cpu)
		/* Pairs with the release of hazard_read(). */
		while (smp_load_acquire(per_cpu_ptr(&hazard, cpu)) == old)
			cpu_relax();
}

static struct scheme schemes[] = {
	{ "guard", guard_read, guard_wait, 64, 40 },
	{ "spinlock", spinlock_read, spinlock_wait, 64, 40 },
	{ "hazard_pointer", hazard_read, hazard_wait, 64, 40 },
	{ "mutex", mutex_read, mutex_wait, 1, 1 },
	{ "synchronize_rcu_expedited", rcu_read, synchronize_rcu_expedited, 64, 1 },
	{ "synchronize_srcu", srcu_read, srcu_wait, 64, 1 },
	{ "synchronize_rcu", rcu_read, synchronize_rcu, 64, 1 },
};

static int reader_main(void *unused)
{
	while (!kthread_should_stop()) {
		struct scheme *scheme = READ_ONCE(wanted);
		int i;

		for (i = 0; i < scheme->burst; i++)
			scheme->read();
		/* As a driver's worker does between two batches. */
		cond_resched();
		WRITE_ONCE(looks, looks + 1);
	}
	return 0;
}

/* Until the reader has done nothing else but what is wanted for a while. */
static bool reader_is_busy(void)
{
	unsigned long first = READ_ONCE(looks);
	u64 begun = ktime_get_ns();

	while (READ_ONCE(looks) - first < 3) {
		if (ktime_get_ns() - begun > TIMEOUT_NS)
			return false;
		cpu_relax();
	}
	return true;
}

static bool measure_round(struct scheme *scheme)
{
	int i;

	WRITE_ONCE(wanted, scheme);
	for (i = 0; i < scheme->per_round; i++) {
		u64 begun;

		if (!reader_is_busy())
			return false;
		/* Not always at the same place of a burst. */
		udelay(i % 8);
		begun = ktime_get_ns();
		scheme->wait();
		scheme->ns[scheme->nr++] = ktime_get_ns() - begun;
	}
	return true;
}

static int compare_ns(const void *a, const void *b)
{
	u64 x = *(const u64 *)a, y = *(const u64 *)b;

	return (x > y) - (x < y);
}

/* The lab reads these lines; sorts. */
static void say(const struct scheme *scheme, const char *what, u64 *ns, int nr)
{
	sort(ns, nr, sizeof(*ns), compare_ns, NULL);
	pr_info("%s %s n=%d p50=%llu p99=%llu max=%llu\n", what, scheme->name,
		nr, ns[nr / 2], ns[nr * 99 / 100], ns[nr - 1]);
}

static bool measure(void)
{
	int block, round, i;

	for (block = 1; block <= NR_BLOCKS; block++) {
		for (round = 0; round < BLOCK_ROUNDS; round++) {
			for (i = 0; i < ARRAY_SIZE(schemes); i++) {
				if (!measure_round(&schemes[i]))
					return false;
			}
		}
		for (i = 0; i < ARRAY_SIZE(schemes); i++) {
			int nr = schemes[i].nr / block;

			say(&schemes[i], "block",
			    schemes[i].ns + schemes[i].nr - nr, nr);
		}
		pr_info("progress %d %d\n", block, NR_BLOCKS);
	}
	for (i = 0; i < ARRAY_SIZE(schemes); i++)
		say(&schemes[i], "all", schemes[i].ns, schemes[i].nr);
	return true;
}

/* The same waits, when nobody has read since the one before. */
static struct scheme idle_schemes[] = {
	{ .name = "guard_idle", .wait = guard_wait },
	{ .name = "hazard_pointer_idle", .wait = hazard_wait },
};

static void measure_idle(void)
{
	static u64 ns[NR_BLOCKS * 40];
	int block, i, j;

	for (i = 0; i < ARRAY_SIZE(idle_schemes); i++) {
		struct scheme *scheme = &idle_schemes[i];

		scheme->wait();
		for (block = 0; block < NR_BLOCKS; block++) {
			u64 *of_block = &ns[block * 40];

			for (j = 0; j < 40; j++) {
				u64 begun = ktime_get_ns();

				scheme->wait();
				of_block[j] = ktime_get_ns() - begun;
			}
			say(scheme, "block", of_block, 40);
		}
		say(scheme, "all", ns, ARRAY_SIZE(ns));
	}
}

static void invalidations(struct kunit *test)
{
	int here = cpumask_first(cpu_online_mask);
	int there = cpumask_next(here, cpu_online_mask);
	struct task_struct *reader;
	unsigned long busy;
	long waits;
	int i;

	interrupts = 0;
	if (there >= nr_cpu_ids)
		kunit_skip(test, "needs two CPUs");
	for (i = 0; i < ARRAY_SIZE(schemes); i++) {
		schemes[i].nr = 0;
		schemes[i].ns = kunit_kcalloc(test, NR_ROUNDS * schemes[i].per_round,
					      sizeof(*schemes[i].ns), GFP_KERNEL);
		KUNIT_ASSERT_NOT_NULL(test, schemes[i].ns);
	}
	domain = mmu_mirror_domain_alloc();
	KUNIT_ASSERT_NOT_NULL(test, domain);
	WRITE_ONCE(wanted, &schemes[0]);
	reader = kthread_create(reader_main, NULL, "mirror-reader");
	KUNIT_ASSERT_FALSE(test, IS_ERR(reader));
	kthread_bind(reader, there);
	set_cpus_allowed_ptr(current, cpumask_of(here));
	wake_up_process(reader);

	/* While the kernel boots, every grace period is an expedited one. */
	rcu_unexpedite_gp();
	KUNIT_EXPECT_FALSE(test, rcu_gp_is_expedited());
	KUNIT_EXPECT_TRUE(test, measure());
	rcu_expedite_gp();

	kthread_stop(reader);
	/* The guard has waited each time, and for somebody. */
	waits = atomic_long_read(&domain->nr_waits);
	KUNIT_EXPECT_EQ(test, schemes[0].nr, waits);
	/* The reader's last sections take one interrupt more, and then nobody's do. */
	busy = interrupts;
	guard_wait();
	interrupts = 0;
	measure_idle();
	KUNIT_EXPECT_EQ(test, 0UL, interrupts);
	pr_info("interrupting busy=%lu of=%d idle=%lu\n", busy, schemes[0].nr,
		interrupts);
	mmu_mirror_domain_destroy(domain);
}

static struct kunit_case bench_cases[] = {
	KUNIT_CASE_SLOW(invalidations),
	{}
};

static struct kunit_suite bench_suite = {
	.name = "mmu_range_mirror_bench",
	.test_cases = bench_cases,
};

kunit_test_suite(bench_suite);

MODULE_DESCRIPTION("Benchmark of mmu_range_mirror's invalidations");
MODULE_LICENSE("GPL");
