/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the KUnit suites of mmu_range_mirror share: threads, gates that stop
 * them, memory to mirror, and invalidations made by the core's own calls.
 */
#ifndef _MMU_MIRROR_KUNIT_H
#define _MMU_MIRROR_KUNIT_H

#include <kunit/test.h>
#include <linux/completion.h>
#include <linux/kthread.h>
#include <linux/mm.h>
#include <linux/mman.h>
#include <linux/mmu_notifier.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/uaccess.h>

#define NPAGES		8
#define LENGTH		(NPAGES * PAGE_SIZE)
/* More than the helper may ever retry. */
#define MANY		1000

/* A thread that runs one function, and whose end can be waited for. */
struct actor {
	void (*run)(struct actor *actor);
	struct mm_struct *mm;
	void *arg;
	struct completion done;
	long ret;
};

static inline int actor_main(void *data)
{
	struct actor *actor = data;

	if (actor->mm)
		kthread_use_mm(actor->mm);
	actor->run(actor);
	if (actor->mm)
		kthread_unuse_mm(actor->mm);
	complete_all(&actor->done);
	return 0;
}

static inline void actor_start(struct kunit *test, struct actor *actor, int cpu)
{
	struct task_struct *task;

	init_completion(&actor->done);
	task = kthread_create(actor_main, actor, "mirror-actor");
	KUNIT_ASSERT_FALSE(test, IS_ERR(task));
	if (cpu >= 0)
		kthread_bind(task, cpu);
	wake_up_process(task);
}

static inline void actor_join(struct kunit *test, struct actor *actor)
{
	KUNIT_ASSERT_NE(test, 0,
			wait_for_completion_timeout(&actor->done, 20 * HZ));
}

/* Still at it after a while, which is what it should be. */
static inline bool actor_busy(struct actor *actor)
{
	return !wait_for_completion_timeout(&actor->done, HZ / 20);
}

/* Once armed, stops the first thread that comes by until it is opened. */
struct gate {
	bool armed;
	struct completion reached;
	struct completion open;
};

static inline void gate_init(struct gate *gate)
{
	gate->armed = false;
	init_completion(&gate->reached);
	init_completion(&gate->open);
}

static inline void gate_arm(struct gate *gate)
{
	gate_init(gate);
	gate->armed = true;
}

static inline void gate_pass(struct gate *gate)
{
	if (xchg(&gate->armed, false)) {
		complete_all(&gate->reached);
		wait_for_completion(&gate->open);
	}
}

static inline void gate_await(struct kunit *test, struct gate *gate)
{
	KUNIT_ASSERT_NE(test, 0,
			wait_for_completion_timeout(&gate->reached, 20 * HZ));
}

static inline void gate_open(struct gate *gate)
{
	complete_all(&gate->open);
}

/* An address space of nobody's, where memory can be mapped. */
static inline struct mm_struct *new_mm(void)
{
	struct mm_struct *mm = mm_alloc();

	if (mm) {
#ifdef CONFIG_MEMCG
		/* A thread that uses it may end before it: as after an exit. */
		RCU_INIT_POINTER(mm->owner, NULL);
#endif
		mm->task_size = TASK_SIZE;
		arch_pick_mmap_layout(mm, &current->signal->rlim[RLIMIT_STACK]);
	}
	return mm;
}

/* Memory of the test's own, in small pages even where large ones are the rule. */
static inline unsigned long map_pages(struct kunit *test, unsigned long size)
{
	unsigned long addr;

	addr = kunit_vm_mmap(test, NULL, 0, size, PROT_READ | PROT_WRITE,
			     MAP_ANONYMOUS | MAP_PRIVATE, 0);
	KUNIT_ASSERT_FALSE(test, IS_ERR_OR_NULL((void *)addr));
	mmap_write_lock(current->mm);
	vm_flags_set(find_vma(current->mm, addr), VM_NOHUGEPAGE);
	mmap_write_unlock(current->mm);
	return addr;
}

/* LENGTH of it; the number in page i is i + 1. */
static inline unsigned long map_memory(struct kunit *test)
{
	unsigned long addr = map_pages(test, LENGTH);
	int i;

	for (i = 0; i < NPAGES; i++)
		KUNIT_ASSERT_EQ(test, 0, put_user(i + 1, (int __user *)(addr + i * PAGE_SIZE)));
	return addr;
}

/* One invalidation, in two halves. */
static inline void range_begin(struct mmu_notifier_range *range,
			       unsigned long start, unsigned long end)
{
	mmu_notifier_range_init(range, MMU_NOTIFY_CLEAR, 0, current->mm, start,
				end);
	mmu_notifier_invalidate_range_start(range);
}

static inline void invalidate(unsigned long start, unsigned long end)
{
	struct mmu_notifier_range range;

	range_begin(&range, start, end);
	mmu_notifier_invalidate_range_end(&range);
}

static inline int invalidate_nonblock(unsigned long start, unsigned long end)
{
	struct mmu_notifier_range range;
	int ret;

	mmu_notifier_range_init(&range, MMU_NOTIFY_CLEAR, 0, current->mm, start,
				end);
	ret = mmu_notifier_invalidate_range_start_nonblock(&range);
	if (!ret)
		mmu_notifier_invalidate_range_end(&range);
	return ret;
}

#endif /* _MMU_MIRROR_KUNIT_H */
