// SPDX-License-Identifier: GPL-2.0
/*
 * KUnit tests of mm/mmu_range_mirror.c: what needs no device and no user
 * program. Races are brought about at the helper's injection points, and
 * invalidations are made by calling the core's own start and end.
 */
#include <kunit/static_stub.h>
#include <linux/anon_inodes.h>
#include <linux/delay.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/memcontrol.h>
#include <linux/mmu_mirror_window.h>
#include <linux/mmu_range_mirror_inject.h>
#include <linux/pagemap.h>
#include <linux/sort.h>
#include <linux/swap.h>
#include <linux/trace_events.h>

#include "mmu_mirror_kunit.h"

/*
 * How long a reader stays inside to see whether an invalidation waits. The host
 * of a virtual machine may be busy: give the invalidation time to go wrong.
 */
#define HOLD_NS		(100 * NSEC_PER_MSEC)
/* How long the sections are that a reader nests meanwhile. */
#define NESTED_NS	10000

/* Where the helper is stopped, or made to call a function. */
static struct {
	enum mmu_range_mirror_point point;
	struct gate gate;
	/* Instead of the gate: called each time, and counted. */
	void (*call)(void *arg);
	void *arg;
	int calls;
	int uncounted;
} inject;

static void inject_at(enum mmu_range_mirror_point point,
		      struct mmu_range_mirror *mirror)
{
	if (point != inject.point)
		return;
	if (inject.call) {
		inject.calls++;
		inject.call(inject.arg);
	} else {
		gate_pass(&inject.gate);
	}
}

static void inject_gate(enum mmu_range_mirror_point point)
{
	inject.point = point;
	inject.call = NULL;
	gate_arm(&inject.gate);
	mmu_range_mirror_set_injection(inject_at);
}

static void inject_call(enum mmu_range_mirror_point point,
			void (*call)(void *arg), void *arg)
{
	inject.point = point;
	inject.call = call;
	inject.arg = arg;
	inject.calls = 0;
	mmu_range_mirror_set_injection(inject_at);
}

/* A driver with a table of pages. */
struct shadow {
	struct mmu_range_mirror mirror;
	struct page *page[NPAGES];
	struct mutex mutex;	/* for mirrors that use one */
	unsigned long writable;	/* of the pages, those that have such entries */
	int fail_at;
	int fail_with;
	int asked;	/* times that a page was to be installed */
	int invalidated;
	int waited;
	struct completion waiting;
	struct completion may_end;
	bool hold_wait;
};

/* The order in which operations ran, for a few mirrors: 'I' or 'W' each. */
static char op_log[16];

static void log_op(char op)
{
	size_t len = strlen(op_log);

	if (len < sizeof(op_log) - 1)
		op_log[len] = op;
}

static void shadow_invalidate(struct mmu_range_mirror *mirror,
			      const struct mmu_notifier_range *range,
			      struct mmu_mirror_gather *gather)
{
	struct shadow *shadow = container_of(mirror, struct shadow, mirror);
	unsigned long addr;

	mmu_range_mirror_assert_held(mirror);
	for (addr = max(range->start, mirror->start);
	     addr < min(range->end, mirror->end); addr += PAGE_SIZE)
		shadow->page[(addr - mirror->start) >> PAGE_SHIFT] = NULL;
	shadow->invalidated++;
	log_op('I');
}

static void shadow_wait(struct mmu_range_mirror *mirror,
			const struct mmu_notifier_range *range)
{
	struct shadow *shadow = container_of(mirror, struct shadow, mirror);

	if (xchg(&shadow->hold_wait, false)) {
		complete_all(&shadow->waiting);
		wait_for_completion(&shadow->may_end);
	}
	shadow->waited++;
	log_op('W');
}

static const struct mmu_range_mirror_ops shadow_ops = {
	.invalidate = shadow_invalidate,
	.wait = shadow_wait,
};

static const struct mmu_range_mirror_ops shadow_sleeping_ops = {
	.invalidate = shadow_invalidate,
	.wait = shadow_wait,
	.sleeps = true,
};

static const struct mmu_range_mirror_ops shadow_sleeping_drop_ops = {
	.invalidate = shadow_invalidate,
	.sleeps = true,
};

static int shadow_install(struct mmu_range_mirror *mirror, unsigned long addr,
			  struct page *page, void *ctx)
{
	struct shadow *shadow = container_of(mirror, struct shadow, mirror);
	int index = (addr - mirror->start) >> PAGE_SHIFT;

	mmu_range_mirror_assert_held(mirror);
	shadow->asked++;
	if (index == shadow->fail_at)
		return shadow->fail_with;
	shadow->page[index] = page;
	return 0;
}

static int shadow_populate(struct shadow *shadow, int first, int npages)
{
	return mmu_range_mirror_populate(&shadow->mirror,
					 shadow->mirror.start + first * PAGE_SIZE,
					 npages, FOLL_WRITE, shadow_install,
					 NULL);
}

/* What is mapped at @addr now; the reference is dropped again. */
static struct page *mapped_page(struct kunit *test, unsigned long addr)
{
	struct page *page;

	KUNIT_ASSERT_EQ(test, 1, get_user_pages_fast(addr, 1, 0, &page));
	put_page(page);
	return page;
}

/* The references on what is mapped at @addr, but for those of LRU batches. */
static int mapped_refs(struct kunit *test, unsigned long addr)
{
	struct page *page = mapped_page(test, addr);

	lru_add_drain_all();
	return page_count(page);
}

/* Give [@addr, @addr + @length) new, zero-filled memory. */
static void remap_memory(struct kunit *test, unsigned long addr,
			 unsigned long length)
{
	KUNIT_EXPECT_EQ(test, addr,
			vm_mmap(NULL, addr, length, PROT_READ | PROT_WRITE,
				MAP_ANONYMOUS | MAP_PRIVATE | MAP_FIXED, 0));
}

static struct shadow *shadow_make(struct kunit *test, unsigned long addr,
				  const struct mmu_range_mirror_ops *ops,
				  bool own_mutex)
{
	struct shadow *shadow = kunit_kzalloc(test, sizeof(*shadow), GFP_KERNEL);
	struct mmu_mirror_lock lock = {};

	KUNIT_ASSERT_NOT_NULL(test, shadow);
	mutex_init(&shadow->mutex);
	lock.mutex = &shadow->mutex;
	shadow->fail_at = -1;
	init_completion(&shadow->waiting);
	init_completion(&shadow->may_end);
	KUNIT_ASSERT_EQ(test, 0,
			mmu_range_mirror_insert(&shadow->mirror, current->mm,
						addr, LENGTH, ops,
						own_mutex ? &lock : NULL));
	memset(op_log, 0, sizeof(op_log));
	return shadow;
}

/* An actor's: invalidate [start, start + length) of the actor's mm. */
struct extent {
	unsigned long start;
	unsigned long length;
	atomic_t started;
	atomic_t returned;
	struct completion *end;
};

static void run_invalidate(struct actor *actor)
{
	struct extent *extent = actor->arg;
	struct mmu_notifier_range range;

	atomic_inc(&extent->started);
	range_begin(&range, extent->start, extent->start + extent->length);
	atomic_inc(&extent->returned);
	if (extent->end)
		wait_for_completion(extent->end);
	mmu_notifier_invalidate_range_end(&range);
}

/* Mirrors: arguments. */

#ifdef CONFIG_PROVE_LOCKING
/* Does lockdep know that reclaim may take the lock? */
static bool taken_in_reclaim(struct lockdep_map *map)
{
	struct lock_class *class = map->class_cache[0];
	struct lock_list *before;

	if (!class)
		return false;
	list_for_each_entry(before, &class->locks_before, entry) {
		if (!strcmp(before->class->name, "fs_reclaim"))
			return true;
	}
	return false;
}

/* What allocates under the lock is told so before reclaim runs into it. */
static void insert_primes_lockdep(struct kunit *test)
{
	unsigned long addr = map_memory(test);
	struct shadow *spin = shadow_make(test, addr, &shadow_ops, false);
	struct shadow *mutex = shadow_make(test, addr, &shadow_ops, true);

	KUNIT_EXPECT_TRUE(test, taken_in_reclaim(&spin->mirror.own_lock.dep_map));
	KUNIT_EXPECT_TRUE(test, taken_in_reclaim(&mutex->mutex.dep_map));
	mmu_range_mirror_remove(&mutex->mirror);
	mmu_range_mirror_remove(&spin->mirror);
}
#else
static void insert_primes_lockdep(struct kunit *test)
{
	kunit_skip(test, "needs lockdep");
}
#endif

static void insert_refuses(struct kunit *test)
{
	unsigned long addr = map_memory(test);
	unsigned long top = current->mm->task_size;
	struct mmu_range_mirror_ops no_ops = {};
	struct mmu_mirror_lock no_lock = {};
	struct mmu_range_mirror mirror;
	static const struct {
		unsigned long start, length;
		bool from_top;
		int ret;
	} bad[] = {
		{ 0, 0, false, -EINVAL },
		{ 1, PAGE_SIZE, false, -EINVAL },
		{ 0, PAGE_SIZE + 1, false, -EINVAL },
		{ 0, PAGE_SIZE / 2, false, -EINVAL },
		{ PAGE_SIZE, -PAGE_SIZE, false, -EOVERFLOW },
		{ -PAGE_SIZE, PAGE_SIZE, false, -EOVERFLOW },
		{ -2 * PAGE_SIZE, PAGE_SIZE, false, -EINVAL },
		{ 0, PAGE_SIZE, true, -EINVAL },
		{ -PAGE_SIZE, 2 * PAGE_SIZE, true, -EINVAL },
	};
	int i;

	for (i = 0; i < ARRAY_SIZE(bad); i++)
		KUNIT_EXPECT_EQ_MSG(test, bad[i].ret,
				    mmu_range_mirror_insert(&mirror, current->mm,
							    bad[i].start +
							    (bad[i].from_top ? top : 0),
							    bad[i].length, &shadow_ops, NULL),
				    "case %d", i);
	KUNIT_ASSERT_EQ(test, 0,
			mmu_range_mirror_insert(&mirror, current->mm,
						top - PAGE_SIZE, PAGE_SIZE,
						&shadow_ops, NULL));
	mmu_range_mirror_remove(&mirror);
	KUNIT_EXPECT_EQ(test, -EINVAL,
			mmu_range_mirror_insert(&mirror, current->mm, addr,
						LENGTH, &no_ops, NULL));
	KUNIT_EXPECT_EQ(test, -EINVAL,
			mmu_range_mirror_insert(&mirror, current->mm, addr,
						LENGTH, &shadow_ops, &no_lock));
}

static void run_populate(struct actor *actor)
{
	actor->ret = shadow_populate(actor->arg, 0, NPAGES);
}

static void run_populate_killed(struct actor *actor)
{
	allow_signal(SIGKILL);
	send_sig(SIGKILL, current, 1);
	run_populate(actor);
	flush_signals(current);
}

static void populate_refuses(struct kunit *test)
{
	unsigned long addr = map_memory(test);
	struct shadow *shadow = shadow_make(test, addr, &shadow_ops, false);
	struct mmu_range_mirror *mirror = &shadow->mirror;
	struct actor stranger = { .run = run_populate, .arg = shadow };
	struct actor killed = {
		.run = run_populate_killed, .arg = shadow, .mm = current->mm,
	};
	static const struct {
		unsigned long offset, npages;
		unsigned int flags;
	} bad[] = {
		{ 0, 0, FOLL_WRITE },
		{ 1, 1, FOLL_WRITE },
		{ 0, NPAGES + 1, FOLL_WRITE },
		{ PAGE_SIZE, NPAGES, FOLL_WRITE },
		{ LENGTH, 1, FOLL_WRITE },
		{ -PAGE_SIZE, 1, FOLL_WRITE },
		{ 0, ULONG_MAX, FOLL_WRITE },
		{ 0, 1, FOLL_WRITE | FOLL_FORCE },
	};
	int i;

	for (i = 0; i < ARRAY_SIZE(bad); i++)
		KUNIT_EXPECT_EQ_MSG(test, -EINVAL,
				    mmu_range_mirror_populate(mirror, addr + bad[i].offset,
							      bad[i].npages, bad[i].flags,
							      shadow_install, NULL),
				    "case %d", i);
	actor_start(test, &stranger, -1);
	actor_join(test, &stranger);
	KUNIT_EXPECT_EQ(test, -EINVAL, stranger.ret);
	actor_start(test, &killed, -1);
	actor_join(test, &killed);
	KUNIT_EXPECT_EQ(test, -EINTR, killed.ret);

	vm_munmap(addr, LENGTH);
	KUNIT_EXPECT_EQ(test, -EFAULT, shadow_populate(shadow, 0, NPAGES));
	KUNIT_EXPECT_EQ(test, 0, mirror->nr_dirtied);
	mmu_range_mirror_remove(mirror);
}

/* Mirrors: one thread. */

static void populate_installs(struct kunit *test)
{
	unsigned long addr = map_memory(test);
	struct shadow *shadow = shadow_make(test, addr, &shadow_ops, false);
	int refs = mapped_refs(test, addr);
	int i;

	KUNIT_EXPECT_EQ(test, 0, shadow_populate(shadow, 0, NPAGES));
	for (i = 0; i < NPAGES; i++) {
		struct page *page = mapped_page(test, addr + i * PAGE_SIZE);

		KUNIT_EXPECT_PTR_EQ(test, page, shadow->page[i]);
		KUNIT_EXPECT_TRUE(test, PageDirty(page));
	}
	KUNIT_EXPECT_EQ(test, NPAGES, shadow->mirror.nr_dirtied);
	/* No pin: the page must stay free to migrate. */
	KUNIT_EXPECT_EQ(test, refs, mapped_refs(test, addr));
	mmu_range_mirror_remove(&shadow->mirror);
}

/* As GUP has it: also memory that nobody has touched yet. */
static void populate_writes_what_nobody_reads(struct kunit *test)
{
	unsigned long addr = map_memory(test);
	struct shadow *shadow = shadow_make(test, addr, &shadow_ops, false);

	KUNIT_ASSERT_EQ(test, addr,
			vm_mmap(NULL, addr, LENGTH, PROT_WRITE,
				MAP_ANONYMOUS | MAP_PRIVATE | MAP_FIXED, 0));
	KUNIT_EXPECT_EQ(test, 0, shadow_populate(shadow, 0, NPAGES));
	KUNIT_EXPECT_EQ(test, NPAGES, shadow->mirror.nr_dirtied);
	mmu_range_mirror_remove(&shadow->mirror);
}

static void populate_reading_dirties_nothing(struct kunit *test)
{
	unsigned long addr = map_memory(test);
	struct shadow *shadow = shadow_make(test, addr, &shadow_ops, false);

	KUNIT_EXPECT_EQ(test, 0,
			mmu_range_mirror_populate(&shadow->mirror, addr, NPAGES,
						  0, shadow_install, NULL));
	KUNIT_EXPECT_NOT_NULL(test, shadow->page[NPAGES - 1]);
	KUNIT_EXPECT_EQ(test, 0, shadow->mirror.nr_dirtied);
	mmu_range_mirror_remove(&shadow->mirror);
}

static void populate_stops_at_failed_install(struct kunit *test)
{
	/* Among them are those that say that a page cannot be had. */
	static const int errnos[] = { -ENOSPC, -EFAULT, -EPERM, -EAGAIN };
	unsigned long addr = map_memory(test);
	int refs = mapped_refs(test, addr + 3 * PAGE_SIZE);
	struct shadow *shadow;
	int i;

	for (i = 0; i < ARRAY_SIZE(errnos); i++) {
		shadow = shadow_make(test, addr, &shadow_ops, false);
		shadow->fail_at = 3;
		shadow->fail_with = errnos[i];
		KUNIT_EXPECT_EQ(test, errnos[i],
				shadow_populate(shadow, 0, NPAGES));
		KUNIT_EXPECT_EQ(test, 4, shadow->asked);
		KUNIT_EXPECT_EQ(test, 3, shadow->mirror.nr_dirtied);
		KUNIT_EXPECT_NOT_NULL(test, shadow->page[2]);
		KUNIT_EXPECT_NULL(test, shadow->page[4]);
		mmu_range_mirror_remove(&shadow->mirror);
	}
	KUNIT_EXPECT_EQ(test, refs, mapped_refs(test, addr + 3 * PAGE_SIZE));
}

static void invalidate_drops_what_it_hits(struct kunit *test)
{
	unsigned long addr = map_memory(test);
	struct shadow *shadow = shadow_make(test, addr, &shadow_ops, false);
	int i;

	KUNIT_ASSERT_EQ(test, 0, shadow_populate(shadow, 0, NPAGES));
	invalidate(addr - PAGE_SIZE, addr);
	invalidate(addr + LENGTH, addr + LENGTH + PAGE_SIZE);
	KUNIT_EXPECT_EQ(test, 0, shadow->invalidated);

	invalidate(addr + 2 * PAGE_SIZE, addr + 4 * PAGE_SIZE);
	KUNIT_EXPECT_EQ(test, 1, shadow->invalidated);
	KUNIT_EXPECT_EQ(test, 1, shadow->waited);
	for (i = 0; i < NPAGES; i++)
		KUNIT_EXPECT_EQ(test, i == 2 || i == 3, !shadow->page[i]);

	invalidate(0, current->mm->task_size);
	for (i = 0; i < NPAGES; i++)
		KUNIT_EXPECT_NULL(test, shadow->page[i]);
	mmu_range_mirror_remove(&shadow->mirror);
	invalidate(addr, addr + LENGTH);
	KUNIT_EXPECT_EQ(test, 2, shadow->invalidated);
}

static void invalidate_never_dirties(struct kunit *test)
{
	unsigned long addr = map_memory(test);
	struct shadow *shadow = shadow_make(test, addr, &shadow_ops, false);
	struct mmu_mirror_domain *domain = mmu_mirror_domain_alloc();
	struct mmu_mirror_window *window;
	struct page *page;

	KUNIT_ASSERT_NOT_NULL(test, domain);
	window = mmu_mirror_window_open(domain, current->mm, addr, LENGTH, true);
	KUNIT_ASSERT_FALSE(test, IS_ERR(window));
	mmu_mirror_window_prefetch(window);
	flush_work(&window->fill);
	KUNIT_ASSERT_EQ(test, 0, shadow_populate(shadow, 0, NPAGES));
	KUNIT_EXPECT_EQ(test, NPAGES, window->mirror.nr_dirtied);

	page = shadow->page[0];
	folio_clear_dirty(page_folio(page));
	invalidate(addr, addr + LENGTH);
	KUNIT_EXPECT_NULL(test, window->kaddr[0]);
	KUNIT_EXPECT_FALSE(test, PageDirty(page));
	KUNIT_EXPECT_EQ(test, NPAGES, window->mirror.nr_dirtied);
	KUNIT_EXPECT_EQ(test, NPAGES, shadow->mirror.nr_dirtied);
	mmu_mirror_window_close(window);
	KUNIT_EXPECT_FALSE(test, PageDirty(page));
	mmu_mirror_domain_destroy(domain);
	mmu_range_mirror_remove(&shadow->mirror);
}

/* Hold a mirror's lock until the gate opens. */
static void run_hold_lock(struct actor *actor)
{
	mmu_range_mirror_lock(actor->arg);
	complete_all(&inject.gate.reached);
	wait_for_completion(&inject.gate.open);
	mmu_range_mirror_unlock(actor->arg);
}

static void nonblockable(struct kunit *test)
{
	struct actor holder = { .run = run_hold_lock };
	unsigned long addr = map_memory(test), end = addr + LENGTH;
	struct shadow *spins = shadow_make(test, addr, &shadow_ops, false);
	struct shadow *other;

	KUNIT_EXPECT_EQ(test, 0, invalidate_nonblock(addr, end));
	KUNIT_EXPECT_EQ(test, 1, spins->invalidated);
	mmu_range_mirror_remove(&spins->mirror);

	/* A wait that sleeps refuses, but only what hits it. */
	other = shadow_make(test, addr, &shadow_sleeping_ops, false);
	KUNIT_EXPECT_EQ(test, -EAGAIN, invalidate_nonblock(addr, end));
	KUNIT_EXPECT_EQ(test, 0, invalidate_nonblock(end, end + PAGE_SIZE));
	KUNIT_EXPECT_EQ(test, 0, other->invalidated);
	invalidate(addr, end);
	KUNIT_EXPECT_EQ(test, 1, other->waited);
	mmu_range_mirror_remove(&other->mirror);

	/* And so does a driver that sleeps while it drops. */
	other = shadow_make(test, addr, &shadow_sleeping_drop_ops, true);
	KUNIT_EXPECT_EQ(test, -EAGAIN, invalidate_nonblock(addr, end));
	KUNIT_EXPECT_EQ(test, 0, other->invalidated);
	mmu_range_mirror_remove(&other->mirror);

	/* A mutex is only tried. */
	other = shadow_make(test, addr, &shadow_ops, true);
	KUNIT_EXPECT_EQ(test, 0, invalidate_nonblock(addr, end));
	gate_init(&inject.gate);
	holder.arg = &other->mirror;
	actor_start(test, &holder, -1);
	gate_await(test, &inject.gate);
	KUNIT_EXPECT_EQ(test, -EAGAIN, invalidate_nonblock(addr, end));
	KUNIT_EXPECT_EQ(test, 0, invalidate_nonblock(end, end + PAGE_SIZE));
	gate_open(&inject.gate);
	actor_join(test, &holder);
	KUNIT_EXPECT_EQ(test, 1, other->invalidated);
	mmu_range_mirror_remove(&other->mirror);
}

/* Mirrors: races. */

static void populate_collides(struct kunit *test,
			      enum mmu_range_mirror_point point)
{
	unsigned long addr = map_memory(test);
	struct shadow *shadow = shadow_make(test, addr, &shadow_ops, false);
	struct actor actor = {
		.run = run_populate, .mm = current->mm, .arg = shadow,
	};

	inject_gate(point);
	actor_start(test, &actor, -1);
	gate_await(test, &inject.gate);
	remap_memory(test, addr, LENGTH);
	gate_open(&inject.gate);
	actor_join(test, &actor);
	KUNIT_EXPECT_EQ(test, 0, actor.ret);
	KUNIT_EXPECT_PTR_EQ(test, mapped_page(test, addr), shadow->page[0]);
	KUNIT_EXPECT_EQ(test, NPAGES, shadow->mirror.nr_dirtied);
	mmu_range_mirror_remove(&shadow->mirror);
}

static void populate_collides_before_gup(struct kunit *test)
{
	populate_collides(test, MMU_RANGE_MIRROR_BEGUN);
}

static void populate_collides_after_gup(struct kunit *test)
{
	populate_collides(test, MMU_RANGE_MIRROR_LOOKED_UP);
}

/* An invalidation elsewhere in the mm is no collision. */
static void populate_ignores_unrelated(struct kunit *test)
{
	unsigned long addr = map_memory(test);
	struct shadow *shadow = shadow_make(test, addr, &shadow_ops, false);
	struct actor actor = {
		.run = run_populate, .mm = current->mm, .arg = shadow,
	};
	struct mmu_notifier_range range;

	inject_gate(MMU_RANGE_MIRROR_LOOKED_UP);
	actor_start(test, &actor, -1);
	gate_await(test, &inject.gate);
	range_begin(&range, addr + LENGTH, addr + LENGTH + PAGE_SIZE);
	gate_open(&inject.gate);
	actor_join(test, &actor);
	KUNIT_EXPECT_EQ(test, 0, actor.ret);
	KUNIT_EXPECT_NOT_NULL(test, shadow->page[0]);
	mmu_notifier_invalidate_range_end(&range);
	mmu_range_mirror_remove(&shadow->mirror);
}

/*
 * The invalidation has arrived but not moved the sequence: what is installed
 * meanwhile must be gone when its start has returned.
 */
static void populate_before_the_mark(struct kunit *test)
{
	unsigned long addr = map_memory(test);
	struct shadow *shadow = shadow_make(test, addr, &shadow_ops, false);
	struct extent extent = { .start = addr, .length = LENGTH };
	struct actor actor = {
		.run = run_invalidate, .mm = current->mm, .arg = &extent,
	};

	inject_gate(MMU_RANGE_MIRROR_NOTIFIED);
	actor_start(test, &actor, -1);
	gate_await(test, &inject.gate);
	KUNIT_EXPECT_EQ(test, 0, shadow_populate(shadow, 0, NPAGES));
	KUNIT_EXPECT_NOT_NULL(test, shadow->page[0]);
	gate_open(&inject.gate);
	actor_join(test, &actor);
	KUNIT_EXPECT_NULL(test, shadow->page[0]);
	mmu_range_mirror_remove(&shadow->mirror);
}

/* Between start and end, begin waits, and installs nothing old. */
static void populate_waits_for_end(struct kunit *test)
{
	unsigned long addr = map_memory(test);
	struct shadow *shadow = shadow_make(test, addr, &shadow_ops, false);
	struct actor actor = {
		.run = run_populate, .mm = current->mm, .arg = shadow,
	};
	struct mmu_notifier_range range;

	range_begin(&range, addr, addr + LENGTH);
	inject_gate(MMU_RANGE_MIRROR_BEGUN);
	actor_start(test, &actor, -1);
	KUNIT_EXPECT_EQ(test, 0,
			wait_for_completion_timeout(&inject.gate.reached, HZ / 20));
	mmu_notifier_invalidate_range_end(&range);
	gate_await(test, &inject.gate);
	gate_open(&inject.gate);
	actor_join(test, &actor);
	KUNIT_EXPECT_EQ(test, 0, actor.ret);
	KUNIT_EXPECT_NOT_NULL(test, shadow->page[0]);
	mmu_range_mirror_remove(&shadow->mirror);
}

/* A kernel thread that waits for what may last. */
struct waiter {
	struct mmu_range_mirror *mirror;
	struct task_struct *task;
};

static void run_wait(struct actor *actor)
{
	struct waiter *waiter = actor->arg;

	WRITE_ONCE(waiter->task, current);
	mmu_range_mirror_begin(waiter->mirror);
}

/* To khungtaskd, one that does not run in between is stuck. */
static void waiting_thread_looks_again(struct kunit *test)
{
	unsigned long addr = map_memory(test);
	struct shadow *shadow = shadow_make(test, addr, &shadow_ops, false);
	struct waiter waiter = { .mirror = &shadow->mirror };
	struct actor actor = { .run = run_wait, .arg = &waiter };
	struct mmu_notifier_range range;
	unsigned long switches;

	range_begin(&range, addr, addr + LENGTH);
	actor_start(test, &actor, -1);
	KUNIT_EXPECT_TRUE(test, actor_busy(&actor));
	switches = READ_ONCE(waiter.task->nvcsw);
	schedule_timeout_uninterruptible(3 * HZ);
	KUNIT_EXPECT_GE(test, READ_ONCE(waiter.task->nvcsw), switches + 2);
	KUNIT_EXPECT_TRUE(test, actor_busy(&actor));
	mmu_notifier_invalidate_range_end(&range);
	actor_join(test, &actor);
	mmu_range_mirror_remove(&shadow->mirror);
}

static void call_invalidate(void *arg)
{
	struct extent *extent = arg;

	if (inject.calls < MANY)
		invalidate(extent->start, extent->start + extent->length);
}

static void populate_gives_up(struct kunit *test)
{
	unsigned long addr = map_memory(test);
	struct shadow *shadow = shadow_make(test, addr, &shadow_ops, false);
	struct extent extent = { .start = addr, .length = LENGTH };
	int refs = mapped_refs(test, addr);

	inject_call(MMU_RANGE_MIRROR_LOOKED_UP, call_invalidate, &extent);
	KUNIT_EXPECT_EQ(test, -EAGAIN, shadow_populate(shadow, 0, NPAGES));
	KUNIT_EXPECT_LT(test, inject.calls, MANY);
	mmu_range_mirror_set_injection(NULL);
	KUNIT_EXPECT_EQ(test, 0, shadow->mirror.nr_dirtied);
	KUNIT_EXPECT_EQ(test, refs, mapped_refs(test, addr));
	mmu_range_mirror_remove(&shadow->mirror);
}

/* Lookups. */

static bool shadow_writable(struct mmu_range_mirror *mirror, unsigned long addr)
{
	struct shadow *shadow = container_of(mirror, struct shadow, mirror);

	mmu_range_mirror_assert_held(mirror);
	return test_bit((addr - mirror->start) >> PAGE_SHIFT, &shadow->writable);
}

static const struct mmu_range_mirror_ops shadow_asked_ops = {
	.invalidate = shadow_invalidate,
	.writable = shadow_writable,
};

/* A lookup of two spans in a mirror: the last two pages, and the first three. */
#define SPAN_PAGES	5
struct two_spans {
	struct mmu_range_mirror *mirror;
	unsigned long pfns[SPAN_PAGES];
	struct mmu_mirror_span spans[2];
	struct mmu_mirror_lookup what;
	/* What was found, by one who took the lock over and released it. */
	struct page *page[SPAN_PAGES];
	unsigned long nr_writable;
};

static void two_spans_init(struct two_spans *two, struct shadow *shadow,
			   unsigned int flags)
{
	unsigned long start = shadow->mirror.start;

	*two = (struct two_spans) {
		.mirror = &shadow->mirror,
		.spans = {
			{ start + (NPAGES - 2) * PAGE_SIZE, 2, two->pfns },
			{ start, 3, two->pfns + 2 },
		},
		.what = {
			.spans = two->spans, .nr_spans = 2, .flags = flags,
		},
	};
}

static int two_spans_look_up(struct two_spans *two)
{
	int i, ret;

	/* What an earlier lookup may have left there. */
	memset(two->pfns, 0, sizeof(two->pfns));
	two->pfns[SPAN_PAGES - 1] = HMM_PFN_VALID | HMM_PFN_WRITE;
	two->nr_writable = 0;
	ret = mmu_range_mirror_lookup(two->mirror, &two->what);
	if (ret)
		return ret;
	mmu_range_mirror_assert_held(two->mirror);
	for (i = 0; i < SPAN_PAGES; i++) {
		unsigned long pfn = two->pfns[i];

		two->page[i] = pfn & HMM_PFN_VALID ? hmm_pfn_to_page(pfn) : NULL;
		two->nr_writable += !!(pfn & HMM_PFN_WRITE);
	}
	mmu_range_mirror_unlock(two->mirror);
	return 0;
}

static void run_lookup(struct actor *actor)
{
	actor->ret = two_spans_look_up(actor->arg);
}

static void run_lookup_killed(struct actor *actor)
{
	allow_signal(SIGKILL);
	send_sig(SIGKILL, current, 1);
	run_lookup(actor);
	flush_signals(current);
}

/* Nobody holds it, or this would wait for ever. */
static void expect_unlocked(struct mmu_range_mirror *mirror)
{
	mmu_range_mirror_lock(mirror);
	mmu_range_mirror_unlock(mirror);
}

static void lookup_refuses(struct kunit *test)
{
	unsigned long addr = map_memory(test);
	struct shadow *shadow = shadow_make(test, addr, &shadow_ops, false);
	struct two_spans two;
	struct actor killed = { .run = run_lookup_killed, .arg = &two };
	static const struct {
		long offset;
		unsigned long npages;
	} bad_spans[] = {
		{ 0, 0 }, { 1, 1 }, { 0, NPAGES + 1 }, { LENGTH, 1 },
		{ -PAGE_SIZE, 1 }, { 0, ULONG_MAX },
	};
	static const unsigned int bad_flags[] = {
		BIT(5), MMU_MIRROR_LOOK | MMU_MIRROR_FAULT,
		MMU_MIRROR_LOOK | MMU_MIRROR_WRITABLE, MMU_MIRROR_FAULT_WRITE,
		MMU_MIRROR_FAULT | MMU_MIRROR_FAULT_WRITE,
		MMU_MIRROR_FAULT | MMU_MIRROR_OR_READ,
	};
	int i;

	for (i = 0; i < ARRAY_SIZE(bad_spans); i++) {
		two_spans_init(&two, shadow, MMU_MIRROR_FOR_READING);
		two.spans[1].start = addr + bad_spans[i].offset;
		two.spans[1].npages = bad_spans[i].npages;
		KUNIT_EXPECT_EQ_MSG(test, -EINVAL, two_spans_look_up(&two),
				    "span %d", i);
	}
	for (i = 0; i < ARRAY_SIZE(bad_flags); i++) {
		two_spans_init(&two, shadow, bad_flags[i]);
		KUNIT_EXPECT_EQ_MSG(test, -EINVAL, two_spans_look_up(&two),
				    "flags %d", i);
	}
	two_spans_init(&two, shadow, MMU_MIRROR_FOR_READING);
	two.what.nr_spans = 0;
	KUNIT_EXPECT_EQ(test, -EINVAL, two_spans_look_up(&two));

	two_spans_init(&two, shadow, MMU_MIRROR_FOR_READING);
	actor_start(test, &killed, -1);
	actor_join(test, &killed);
	KUNIT_EXPECT_EQ(test, -EINTR, killed.ret);
	expect_unlocked(&shadow->mirror);
	mmu_range_mirror_remove(&shadow->mirror);
}

/* By one who has another mm, or none. */
static void lookup_finds(struct kunit *test)
{
	unsigned long addr = map_memory(test);
	struct shadow *shadow = shadow_make(test, addr, &shadow_ops, false);
	int users = atomic_read(&current->mm->mm_users);
	struct two_spans two;
	struct actor stranger = { .run = run_lookup, .arg = &two };

	two_spans_init(&two, shadow, MMU_MIRROR_FOR_WRITING);
	actor_start(test, &stranger, -1);
	actor_join(test, &stranger);
	KUNIT_EXPECT_EQ(test, 0, stranger.ret);
	KUNIT_EXPECT_EQ(test, SPAN_PAGES, two.what.done);
	KUNIT_EXPECT_EQ(test, SPAN_PAGES, two.nr_writable);
	KUNIT_EXPECT_EQ(test, SPAN_PAGES, shadow->mirror.nr_dirtied);
	KUNIT_EXPECT_PTR_EQ(test, two.page[1],
			    mapped_page(test, addr + LENGTH - PAGE_SIZE));
	KUNIT_EXPECT_PTR_EQ(test, two.page[2], mapped_page(test, addr));
	KUNIT_EXPECT_TRUE(test, PageDirty(two.page[2]));
	KUNIT_EXPECT_EQ(test, users, atomic_read(&current->mm->mm_users));
	mmu_range_mirror_remove(&shadow->mirror);
}

static void call_note_charged(void *arg)
{
#ifdef CONFIG_MEMCG
	*(struct mem_cgroup **)arg = current->active_memcg;
#endif
}

/* A kernel thread faults in for the owner, who pays for it. */
static void lookup_charges_the_owner(struct kunit *test)
{
	unsigned long addr = map_memory(test);
	struct shadow *shadow = shadow_make(test, addr, &shadow_ops, false);
	struct mem_cgroup *charged = NULL;
	struct two_spans two;

	if (mem_cgroup_disabled()) {
		mmu_range_mirror_remove(&shadow->mirror);
		kunit_skip(test, "there are no memory cgroups");
	}
	KUNIT_EXPECT_TRUE(test, current->flags & PF_KTHREAD);
	two_spans_init(&two, shadow, MMU_MIRROR_FOR_READING);
	inject_call(MMU_RANGE_MIRROR_BEGUN, call_note_charged, &charged);
	KUNIT_EXPECT_EQ(test, 0, two_spans_look_up(&two));
	KUNIT_EXPECT_NOT_NULL(test, charged);
	/* And from then on for nobody. */
	call_note_charged(&charged);
	KUNIT_EXPECT_NULL(test, charged);
	mmu_range_mirror_remove(&shadow->mirror);
}

static void lookup_faults_in(struct kunit *test)
{
	unsigned long addr = map_memory(test);
	struct shadow *shadow = shadow_make(test, addr, &shadow_ops, false);
	struct two_spans two;

	/* New memory, of which nothing is there. */
	remap_memory(test, addr, LENGTH);
	two_spans_init(&two, shadow, 0);
	if (IS_ENABLED(CONFIG_HMM_MIRROR)) {
		KUNIT_EXPECT_EQ(test, 0, two_spans_look_up(&two));
		KUNIT_EXPECT_NULL(test, two.page[0]);
		KUNIT_EXPECT_EQ(test, 0, two.pfns[0]);
	} else {
		KUNIT_EXPECT_EQ(test, -EOPNOTSUPP, two_spans_look_up(&two));
	}
	/* The page of zeroes. */
	two.what.flags = MMU_MIRROR_FOR_READING;
	KUNIT_EXPECT_EQ(test, 0, two_spans_look_up(&two));
	KUNIT_EXPECT_EQ(test, 0, two.nr_writable);
	KUNIT_EXPECT_PTR_EQ(test, two.page[0], two.page[1]);
	KUNIT_EXPECT_EQ(test, 0, shadow->mirror.nr_dirtied);
	two.what.flags = MMU_MIRROR_FOR_WRITING;
	KUNIT_EXPECT_EQ(test, 0, two_spans_look_up(&two));
	KUNIT_EXPECT_EQ(test, SPAN_PAGES, two.nr_writable);
	KUNIT_EXPECT_PTR_NE(test, two.page[0], two.page[1]);
	KUNIT_EXPECT_EQ(test, SPAN_PAGES, shadow->mirror.nr_dirtied);
	mmu_range_mirror_remove(&shadow->mirror);
}

/* What is reported as writable is dirty; what need not be is not reported. */
static void lookup_dirties_what_it_says(struct kunit *test)
{
	unsigned long addr = map_memory(test);
	struct shadow *shadow = shadow_make(test, addr, &shadow_asked_ops,
					    false);
	struct two_spans two;

	two_spans_init(&two, shadow, MMU_MIRROR_FOR_READING);
	KUNIT_EXPECT_EQ(test, 0, two_spans_look_up(&two));
	KUNIT_EXPECT_EQ(test, 0, two.nr_writable);
	KUNIT_EXPECT_EQ(test, 0, shadow->mirror.nr_dirtied);
	/* Two have such entries already. */
	shadow->writable = BIT(0) | BIT(NPAGES - 1);
	two.what.flags = MMU_MIRROR_FOR_WRITING;
	KUNIT_EXPECT_EQ(test, 0, two_spans_look_up(&two));
	KUNIT_EXPECT_EQ(test, SPAN_PAGES, two.nr_writable);
	KUNIT_EXPECT_EQ(test, SPAN_PAGES - 2, shadow->mirror.nr_dirtied);
	if (!IS_ENABLED(CONFIG_HMM_MIRROR))
		goto remove;
	/* Read, but written to as well, where it can be. */
	shadow->writable = 0;
	two.what.flags = MMU_MIRROR_FAULT | MMU_MIRROR_WRITABLE;
	KUNIT_EXPECT_EQ(test, 0, two_spans_look_up(&two));
	KUNIT_EXPECT_EQ(test, SPAN_PAGES, two.nr_writable);
	KUNIT_EXPECT_EQ(test, 2 * SPAN_PAGES - 2, shadow->mirror.nr_dirtied);
	/* Who makes no entries can know it without. */
	two.what.flags = MMU_MIRROR_LOOK;
	KUNIT_EXPECT_EQ(test, 0, two_spans_look_up(&two));
	KUNIT_EXPECT_EQ(test, SPAN_PAGES, two.nr_writable);
	KUNIT_EXPECT_EQ(test, 2 * SPAN_PAGES - 2, shadow->mirror.nr_dirtied);
remove:
	mmu_range_mirror_remove(&shadow->mirror);
}

static void lookup_respects_protection(struct kunit *test)
{
	unsigned long addr = map_memory(test);
	struct shadow *shadow = shadow_make(test, addr, &shadow_ops, false);
	struct two_spans two;

	KUNIT_ASSERT_EQ(test, addr,
			vm_mmap(NULL, addr, 2 * PAGE_SIZE, PROT_READ,
				MAP_ANONYMOUS | MAP_PRIVATE | MAP_FIXED, 0));
	two_spans_init(&two, shadow, MMU_MIRROR_FOR_WRITING);
	KUNIT_EXPECT_EQ(test, -EPERM, two_spans_look_up(&two));
	KUNIT_EXPECT_EQ(test, 2, two.what.done);
	KUNIT_EXPECT_EQ(test, 0, shadow->mirror.nr_dirtied);
	expect_unlocked(&shadow->mirror);
	if (IS_ENABLED(CONFIG_HMM_MIRROR)) {
		two.what.flags |= MMU_MIRROR_OR_READ;
		KUNIT_EXPECT_EQ(test, 0, two_spans_look_up(&two));
		KUNIT_EXPECT_NOT_NULL(test, two.page[2]);
		KUNIT_EXPECT_FALSE(test, two.pfns[2] & HMM_PFN_WRITE);
		KUNIT_EXPECT_EQ(test, 3, two.nr_writable);
		KUNIT_EXPECT_EQ(test, 3, shadow->mirror.nr_dirtied);
	}
	/* Nothing is mapped, and nothing there before it yet. */
	vm_munmap(addr + PAGE_SIZE, PAGE_SIZE);
	remap_memory(test, addr, PAGE_SIZE);
	remap_memory(test, addr + LENGTH - 2 * PAGE_SIZE, 2 * PAGE_SIZE);
	two.what.flags = MMU_MIRROR_FOR_READING;
	KUNIT_EXPECT_EQ(test, -EFAULT, two_spans_look_up(&two));
	KUNIT_EXPECT_EQ(test, 3, two.what.done);
	expect_unlocked(&shadow->mirror);
	mmu_range_mirror_remove(&shadow->mirror);
}

static void lookup_collides(struct kunit *test, enum mmu_range_mirror_point point)
{
	unsigned long addr = map_memory(test);
	struct shadow *shadow = shadow_make(test, addr, &shadow_ops, true);
	struct two_spans two;
	struct actor actor = { .run = run_lookup, .arg = &two };

	two_spans_init(&two, shadow, MMU_MIRROR_FOR_WRITING);
	inject_gate(point);
	actor_start(test, &actor, -1);
	gate_await(test, &inject.gate);
	/* In the second span only: they are of one sequence. */
	remap_memory(test, addr, PAGE_SIZE);
	gate_open(&inject.gate);
	actor_join(test, &actor);
	KUNIT_EXPECT_EQ(test, 0, actor.ret);
	KUNIT_EXPECT_PTR_EQ(test, mapped_page(test, addr), two.page[2]);
	KUNIT_EXPECT_EQ(test, SPAN_PAGES, shadow->mirror.nr_dirtied);
	mmu_range_mirror_remove(&shadow->mirror);
}

static void lookup_collides_before_it_reads(struct kunit *test)
{
	lookup_collides(test, MMU_RANGE_MIRROR_BEGUN);
}

static void lookup_collides_after_it_read(struct kunit *test)
{
	lookup_collides(test, MMU_RANGE_MIRROR_LOOKED_UP);
}

static void lookup_gives_up(struct kunit *test)
{
	unsigned long addr = map_memory(test);
	struct shadow *shadow = shadow_make(test, addr, &shadow_ops, false);
	struct extent extent = { .start = addr, .length = LENGTH };
	struct two_spans two;

	two_spans_init(&two, shadow, MMU_MIRROR_FOR_WRITING);
	inject_call(MMU_RANGE_MIRROR_LOOKED_UP, call_invalidate, &extent);
	KUNIT_EXPECT_EQ(test, -EAGAIN, two_spans_look_up(&two));
	KUNIT_EXPECT_LT(test, inject.calls, MANY);
	mmu_range_mirror_set_injection(NULL);
	/* All were found, and none for good. */
	KUNIT_EXPECT_EQ(test, 0, two.what.done);
	KUNIT_EXPECT_EQ(test, 0, shadow->mirror.nr_dirtied);
	expect_unlocked(&shadow->mirror);
	mmu_range_mirror_remove(&shadow->mirror);
}

/* Use entries, until the gate opens. */
static void run_hold_read(struct actor *actor)
{
	down_read(actor->arg);
	complete_all(&inject.gate.reached);
	wait_for_completion(&inject.gate.open);
	up_read(actor->arg);
}

/* A read-write semaphore: who reads entries keeps the invalidation out. */
static void lookup_under_rwsem(struct kunit *test)
{
	unsigned long addr = map_memory(test);
	struct shadow *shadow = kunit_kzalloc(test, sizeof(*shadow), GFP_KERNEL);
	struct extent extent = { .start = addr, .length = LENGTH };
	struct actor actor = {
		.run = run_invalidate, .mm = current->mm, .arg = &extent,
	};
	struct rw_semaphore rwsem;
	struct actor reader = { .run = run_hold_read, .arg = &rwsem };
	struct mmu_mirror_lock lock = { .rwsem = &rwsem };
	struct mmu_mirror_lock two_locks = {
		.rwsem = &rwsem, .mutex = &shadow->mutex,
	};
	struct two_spans two;

	KUNIT_ASSERT_NOT_NULL(test, shadow);
	init_rwsem(&rwsem);
	KUNIT_EXPECT_EQ(test, -EINVAL,
			mmu_range_mirror_insert(&shadow->mirror, current->mm,
						addr, LENGTH, &shadow_ops,
						&two_locks));
	KUNIT_ASSERT_EQ(test, 0,
			mmu_range_mirror_insert(&shadow->mirror, current->mm,
						addr, LENGTH, &shadow_ops,
						&lock));
	two_spans_init(&two, shadow, MMU_MIRROR_FOR_WRITING);
	KUNIT_EXPECT_EQ(test, 0, two_spans_look_up(&two));
	KUNIT_EXPECT_EQ(test, 0, invalidate_nonblock(addr, addr + LENGTH));
	KUNIT_EXPECT_EQ(test, 1, shadow->invalidated);

	gate_init(&inject.gate);
	actor_start(test, &reader, -1);
	gate_await(test, &inject.gate);
	KUNIT_EXPECT_EQ(test, -EAGAIN, invalidate_nonblock(addr, addr + LENGTH));
	actor_start(test, &actor, -1);
	KUNIT_EXPECT_TRUE(test, actor_busy(&actor));
	KUNIT_EXPECT_EQ(test, 1, shadow->invalidated);
	gate_open(&inject.gate);
	actor_join(test, &actor);
	actor_join(test, &reader);
	KUNIT_EXPECT_EQ(test, 2, shadow->invalidated);
	mmu_range_mirror_remove(&shadow->mirror);
}

/* Memory whose faults wait, as those of userfaultfd do, for an answer. */
static struct {
	struct completion asked;
	struct page *answer;
	struct task_struct *asks;
} slow;

static vm_fault_t slow_fault(struct vm_fault *vmf)
{
	struct page *page = READ_ONCE(slow.answer);

	if (page) {
		get_page(page);
		vmf->page = page;
		return 0;
	}
	slow.asks = current;
	complete_all(&slow.asked);
	/* One who wakes it only now comes too early. */
	mdelay(100);
	release_fault_lock(vmf);
	set_current_state(TASK_KILLABLE);
	if (!READ_ONCE(slow.answer))
		schedule();
	__set_current_state(TASK_RUNNING);
	return VM_FAULT_RETRY;
}

static const struct vm_operations_struct slow_vm_ops = {
	.fault = slow_fault,
};

static int slow_mmap(struct file *file, struct vm_area_struct *vma)
{
	vma->vm_ops = &slow_vm_ops;
	return 0;
}

static const struct file_operations slow_fops = {
	.mmap = slow_mmap,
};

/* Replace the memory of the test's by a file's. */
static void map_file(struct kunit *test, unsigned long addr,
		     const struct file_operations *fops)
{
	struct file *file = anon_inode_getfile("[test]", fops, NULL, O_RDWR);

	KUNIT_ASSERT_FALSE(test, IS_ERR(file));
	KUNIT_EXPECT_EQ(test, addr,
			vm_mmap(file, addr, LENGTH, PROT_READ | PROT_WRITE,
				MAP_SHARED | MAP_FIXED, 0));
	fput(file);
}

static void slow_map(struct kunit *test, unsigned long addr)
{
	slow.answer = NULL;
	init_completion(&slow.asked);
	map_file(test, addr, &slow_fops);
}

static void slow_await(struct kunit *test)
{
	KUNIT_ASSERT_NE(test, 0,
			wait_for_completion_timeout(&slow.asked, 20 * HZ));
}

/*
 * Memory of one page, whose faults always find that another task's was faster, and was
 * for reading.
 */
static struct page *outrun_page;

static vm_fault_t outrun_fault(struct vm_fault *vmf)
{
	return vm_insert_page(vmf->vma, vmf->address & PAGE_MASK, outrun_page) ?
		VM_FAULT_SIGBUS : VM_FAULT_NOPAGE;
}

static vm_fault_t outrun_mkwrite(struct vm_fault *vmf)
{
	lock_page(vmf->page);
	return VM_FAULT_LOCKED;
}

static const struct vm_operations_struct outrun_vm_ops = {
	.fault = outrun_fault,
	.page_mkwrite = outrun_mkwrite,
};

static int outrun_mmap(struct file *file, struct vm_area_struct *vma)
{
	vm_flags_set(vma, VM_MIXEDMAP);
	vma->vm_ops = &outrun_vm_ops;
	return 0;
}

static const struct file_operations outrun_fops = {
	.mmap = outrun_mmap,
};

/* A fault that changed nothing does not mean that memory cannot be written to. */
static void lookup_is_outrun(struct kunit *test)
{
	unsigned long addr = map_memory(test);
	struct shadow *shadow = shadow_make(test, addr, &shadow_ops, false);
	struct two_spans two;

	outrun_page = alloc_page(GFP_KERNEL | __GFP_ZERO);
	KUNIT_ASSERT_NOT_NULL(test, outrun_page);
	map_file(test, addr, &outrun_fops);
	two_spans_init(&two, shadow, MMU_MIRROR_FOR_WRITING);
	KUNIT_EXPECT_EQ(test, 0, two_spans_look_up(&two));
	KUNIT_EXPECT_EQ(test, SPAN_PAGES, two.nr_writable);
	KUNIT_EXPECT_PTR_EQ(test, outrun_page, two.page[0]);
	mmu_range_mirror_remove(&shadow->mirror);
	vm_munmap(addr, LENGTH);
	put_page(outrun_page);
}

static void lookup_waits_for_the_answer(struct kunit *test)
{
	unsigned long addr = map_memory(test);
	struct shadow *shadow = shadow_make(test, addr, &shadow_ops, false);
	struct page *page = alloc_page(GFP_KERNEL | __GFP_ZERO);
	struct two_spans two;
	struct actor actor = { .run = run_lookup, .arg = &two };

	KUNIT_ASSERT_NOT_NULL(test, page);
	slow_map(test, addr);
	two_spans_init(&two, shadow, MMU_MIRROR_FOR_READING);
	actor_start(test, &actor, -1);
	slow_await(test);
	KUNIT_EXPECT_TRUE(test, actor_busy(&actor));
	/* An invalidation does not wait for it. */
	invalidate(addr, addr + LENGTH);
	WRITE_ONCE(slow.answer, page);
	wake_up_process(slow.asks);
	actor_join(test, &actor);
	KUNIT_EXPECT_EQ(test, 0, actor.ret);
	KUNIT_EXPECT_PTR_EQ(test, page, two.page[0]);
	mmu_range_mirror_remove(&shadow->mirror);
	vm_munmap(addr, LENGTH);
	put_page(page);
}

/* What nobody will answer is given up, and what comes later does not begin. */
static void cancelled(struct kunit *test, struct shadow *shadow,
		      struct actor *actor)
{
	slow_map(test, shadow->mirror.start);
	actor_start(test, actor, -1);
	slow_await(test);
	mmu_range_mirror_cancel(&shadow->mirror);
	actor_join(test, actor);
	KUNIT_EXPECT_EQ(test, -ECANCELED, actor->ret);
	expect_unlocked(&shadow->mirror);
	KUNIT_EXPECT_EQ(test, -ECANCELED, shadow_populate(shadow, 0, 1));
	mmu_range_mirror_remove(&shadow->mirror);
}

static void lookup_is_cancelled(struct kunit *test)
{
	unsigned long addr = map_memory(test);
	struct shadow *shadow = shadow_make(test, addr, &shadow_ops, false);
	struct two_spans two;
	struct actor actor = { .run = run_lookup, .arg = &two };

	two_spans_init(&two, shadow, MMU_MIRROR_FOR_WRITING);
	cancelled(test, shadow, &actor);
}

/* As many as MIRROR_RETRIES of mm/mmu_range_mirror.c. */
#define LAST_TRY	16

/* Collides each time, and is given up from outside in the last try. */
static void call_cancel_last(void *arg)
{
	struct mmu_range_mirror *mirror = arg;

	invalidate(mirror->start, mirror->end);
	if (inject.calls == LAST_TRY)
		WRITE_ONCE(mirror->cancelled, true);
}

static void lookup_is_cancelled_last(struct kunit *test)
{
	unsigned long addr = map_memory(test);
	struct shadow *shadow = shadow_make(test, addr, &shadow_ops, false);
	struct two_spans two;

	two_spans_init(&two, shadow, MMU_MIRROR_FOR_WRITING);
	inject_call(MMU_RANGE_MIRROR_LOOKED_UP, call_cancel_last,
		    &shadow->mirror);
	KUNIT_EXPECT_EQ(test, -ECANCELED, two_spans_look_up(&two));
	KUNIT_EXPECT_EQ(test, LAST_TRY, inject.calls);
	mmu_range_mirror_set_injection(NULL);
	mmu_range_mirror_remove(&shadow->mirror);
}

static void populate_is_cancelled(struct kunit *test)
{
	unsigned long addr = map_memory(test);
	struct shadow *shadow = shadow_make(test, addr, &shadow_ops, true);
	struct actor actor = {
		.run = run_populate, .mm = current->mm, .arg = shadow,
	};

	cancelled(test, shadow, &actor);
}

/* Loudly, which only newer kernels let a test ask for. */
static void removed_mirror_refuses(struct kunit *test)
{
#ifdef kunit_warning_suppress
	unsigned long addr = map_memory(test);
	struct shadow *shadow = shadow_make(test, addr, &shadow_ops, false);
	struct mmu_range_mirror *mirror = &shadow->mirror;
	struct page *page = mapped_page(test, addr);
	unsigned long dirtied, seq;
	struct two_spans two;

	two_spans_init(&two, shadow, MMU_MIRROR_FOR_READING);
	seq = mmu_range_mirror_begin(mirror);
	mmu_range_mirror_remove(mirror);
	mmu_range_mirror_lock(mirror);
	KUNIT_EXPECT_TRUE(test, mmu_range_mirror_retry(mirror, seq));
	mmu_range_mirror_unlock(mirror);
	dirtied = mirror->nr_dirtied;
	kunit_warning_suppress(test) {
		KUNIT_EXPECT_EQ(test, -ESRCH, shadow_populate(shadow, 0, 1));
		KUNIT_EXPECT_EQ(test, -ESRCH, two_spans_look_up(&two));
		seq = mmu_range_mirror_begin(mirror);
		mmu_range_mirror_lock(mirror);
		KUNIT_EXPECT_TRUE(test, mmu_range_mirror_retry(mirror, seq));
		mmu_range_mirror_mark_dirty(mirror, page_folio(page));
		mmu_range_mirror_unlock(mirror);
		mmu_range_mirror_remove(mirror);
		KUNIT_EXPECT_SUPPRESSED_WARNING_COUNT(test, 5);
	}
	KUNIT_EXPECT_EQ(test, dirtied, mirror->nr_dirtied);
#else
	kunit_skip(test, "the warning would be one");
#endif
}

static void run_remove(struct actor *actor)
{
	mmu_range_mirror_remove(actor->arg);
}

static void run_begin(struct actor *actor)
{
	actor->ret = mmu_range_mirror_begin(actor->arg);
}

/* Removal and insertion between start and end leave the counts balanced. */
static void remove_within_invalidation(struct kunit *test)
{
	unsigned long addr = map_memory(test);
	struct shadow *shadow = shadow_make(test, addr, &shadow_ops, false);
	struct actor remover = { .run = run_remove, .arg = &shadow->mirror };
	struct mmu_notifier_range range;
	struct shadow *late;
	struct actor beginner = { .run = run_begin };

	range_begin(&range, addr, addr + LENGTH);
	actor_start(test, &remover, -1);
	late = shadow_make(test, addr, &shadow_ops, false);
	mmu_notifier_invalidate_range_end(&range);
	actor_join(test, &remover);

	beginner.arg = &late->mirror;
	actor_start(test, &beginner, -1);
	actor_join(test, &beginner);
	invalidate(addr, addr + LENGTH);
	KUNIT_EXPECT_EQ(test, 1, late->invalidated);
	KUNIT_EXPECT_EQ(test, 1, shadow->invalidated);
	mmu_range_mirror_remove(&late->mirror);
}

/* A second invalidation while the first still waits has its own finish. */
static void wait_is_reentrant(struct kunit *test)
{
	unsigned long addr = map_memory(test);
	struct shadow *shadow = shadow_make(test, addr, &shadow_ops, false);
	struct extent extent = { .start = addr, .length = LENGTH };
	struct actor actor = {
		.run = run_invalidate, .mm = current->mm, .arg = &extent,
	};

	shadow->hold_wait = true;
	actor_start(test, &actor, -1);
	KUNIT_ASSERT_NE(test, 0,
			wait_for_completion_timeout(&shadow->waiting, 20 * HZ));
	invalidate(addr, addr + LENGTH);
	KUNIT_EXPECT_EQ(test, 1, shadow->waited);
	KUNIT_EXPECT_EQ(test, 0, atomic_read(&extent.returned));
	complete_all(&shadow->may_end);
	actor_join(test, &actor);
	KUNIT_EXPECT_EQ(test, 2, shadow->waited);
#if MMU_RANGE_MIRROR_TWO_PASS
	/* The embedded finish is free again. */
	KUNIT_EXPECT_EQ(test, 0, shadow->mirror.finish_busy);
#endif
	invalidate(addr, addr + LENGTH);
	KUNIT_EXPECT_EQ(test, 3, shadow->waited);
	mmu_range_mirror_remove(&shadow->mirror);
}

#if MMU_RANGE_MIRROR_TWO_PASS
static int finishes_refused;

static void *no_finish(size_t size)
{
	finishes_refused++;
	return NULL;
}

/* Without memory for a finish, an invalidation waits in its first pass. */
static void waits_without_a_finish(struct kunit *test)
{
	unsigned long addr = map_memory(test);
	struct shadow *shadow = shadow_make(test, addr, &shadow_ops, false);
	struct extent extent = { .start = addr, .length = LENGTH };
	struct actor actor = {
		.run = run_invalidate, .mm = current->mm, .arg = &extent,
	};

	kunit_activate_static_stub(test, mmu_range_mirror_finish_alloc,
				   no_finish);
	finishes_refused = 0;
	/* It has the embedded one. */
	shadow->hold_wait = true;
	actor_start(test, &actor, -1);
	KUNIT_ASSERT_NE(test, 0,
			wait_for_completion_timeout(&shadow->waiting, 20 * HZ));
	invalidate(addr, addr + LENGTH);
	KUNIT_EXPECT_EQ(test, 1, finishes_refused);
	KUNIT_EXPECT_EQ(test, 2, shadow->invalidated);
	KUNIT_EXPECT_EQ(test, 1, shadow->waited);
	KUNIT_EXPECT_EQ(test, 0, invalidate_nonblock(addr, addr + LENGTH));
	KUNIT_EXPECT_EQ(test, 2, finishes_refused);
	KUNIT_EXPECT_EQ(test, 2, shadow->waited);
	/* They have left it to whom it is. */
	KUNIT_EXPECT_EQ(test, 1, shadow->mirror.finish_busy);
	KUNIT_EXPECT_EQ(test, 0, atomic_read(&extent.returned));
	complete_all(&shadow->may_end);
	actor_join(test, &actor);
	KUNIT_EXPECT_EQ(test, 3, shadow->waited);
	KUNIT_EXPECT_EQ(test, 0, shadow->mirror.finish_busy);
	invalidate(addr, addr + LENGTH);
	KUNIT_EXPECT_EQ(test, 2, finishes_refused);
	KUNIT_EXPECT_EQ(test, 4, shadow->waited);
	mmu_range_mirror_remove(&shadow->mirror);
}
#else
static void waits_without_a_finish(struct kunit *test)
{
	kunit_skip(test, "needs a second pass");
}
#endif

static void waits_come_after_all_drops(struct kunit *test)
{
	unsigned long addr = map_memory(test);
	struct shadow *one = shadow_make(test, addr, &shadow_ops, false);
	struct shadow *two = shadow_make(test, addr, &shadow_ops, false);

	invalidate(addr, addr + LENGTH);
	KUNIT_EXPECT_STREQ(test, MMU_RANGE_MIRROR_TWO_PASS ? "IIWW" : "IWIW",
			   op_log);
	mmu_range_mirror_remove(&one->mirror);
	mmu_range_mirror_remove(&two->mirror);
}

/* Windows. */

struct window_test {
	unsigned long addr;
	struct mmu_mirror_domain *domain;
	struct mmu_mirror_window *window;
};

static struct mmu_mirror_window *window_make(struct kunit *test,
					     struct mmu_mirror_domain *domain,
					     unsigned long addr,
					     unsigned long size)
{
	struct mmu_mirror_window *window;

	window = mmu_mirror_window_open(domain, current->mm, addr, size, true);
	KUNIT_ASSERT_FALSE(test, IS_ERR(window));
	mmu_mirror_window_prefetch(window);
	flush_work(&window->fill);
	return window;
}

static void window_setup(struct kunit *test, struct window_test *t)
{
	t->addr = map_memory(test);
	t->domain = mmu_mirror_domain_alloc();
	KUNIT_ASSERT_NOT_NULL(test, t->domain);
	t->window = window_make(test, t->domain, t->addr, LENGTH);
}

static void window_teardown(struct window_test *t)
{
	mmu_mirror_window_close(t->window);
	mmu_mirror_domain_destroy(t->domain);
}

static void window_open_refuses(struct kunit *test)
{
	unsigned long addr = map_memory(test);
	unsigned long top = current->mm->task_size;
	struct mmu_mirror_domain *domain = mmu_mirror_domain_alloc();
	struct mm_struct *mm = current->mm;
	struct mmu_mirror_window *window;

	KUNIT_ASSERT_NOT_NULL(test, domain);
	KUNIT_EXPECT_EQ(test, -EINVAL,
			PTR_ERR(mmu_mirror_window_open(domain, mm, addr, 0, true)));
	KUNIT_EXPECT_EQ(test, -EOVERFLOW,
			PTR_ERR(mmu_mirror_window_open(domain, mm, addr, -1UL, true)));
	KUNIT_EXPECT_EQ(test, -EINVAL,
			PTR_ERR(mmu_mirror_window_open(domain, mm, top - 1, 2, true)));
	KUNIT_EXPECT_EQ(test, -E2BIG,
			PTR_ERR(mmu_mirror_window_open(domain, mm, PAGE_SIZE, SZ_1G + 1, true)));
	KUNIT_EXPECT_EQ(test, 0, atomic_read(&domain->nr_windows));
	window = mmu_mirror_window_open(domain, mm, PAGE_SIZE, SZ_1G, true);
	KUNIT_EXPECT_FALSE(test, IS_ERR(window));
	if (!IS_ERR(window))
		mmu_mirror_window_close(window);
	mmu_mirror_domain_destroy(domain);
	mmu_mirror_domain_destroy(NULL);
}

static bool cannot_window(void)
{
	return false;
}

/* Where a page's two addresses are cached apart, mirrors are all there is. */
static void aliasing_caches_refuse_windows(struct kunit *test)
{
	unsigned long addr = map_memory(test);
	struct mmu_mirror_domain *domain = mmu_mirror_domain_alloc();
	struct mmu_mirror_window *window;
	struct shadow *shadow;

	KUNIT_ASSERT_NOT_NULL(test, domain);
	kunit_activate_static_stub(test, mmu_mirror_can_window, cannot_window);
	window = mmu_mirror_window_open(domain, current->mm, addr, LENGTH, true);
	KUNIT_EXPECT_EQ(test, -EOPNOTSUPP, PTR_ERR_OR_ZERO(window));
	if (!IS_ERR(window))
		mmu_mirror_window_close(window);
	KUNIT_EXPECT_EQ(test, 0, atomic_read(&domain->nr_windows));

	shadow = shadow_make(test, addr, &shadow_ops, false);
	KUNIT_EXPECT_EQ(test, 0, shadow_populate(shadow, 0, NPAGES));
	mmu_range_mirror_remove(&shadow->mirror);
	mmu_mirror_domain_destroy(domain);
}

static void window_reads_and_writes(struct kunit *test)
{
	struct window_test t;
	int i, value, *p;

	window_setup(test, &t);
	mmu_mirror_enter(t.domain);
	for (i = 0; i < NPAGES; i++) {
		p = mmu_mirror_window_ptr(t.window, i * PAGE_SIZE, sizeof(*p));
		if (!p)
			break;
		KUNIT_EXPECT_EQ(test, i + 1, READ_ONCE(*p));
		WRITE_ONCE(*p, 100 + i);
	}
	KUNIT_EXPECT_EQ(test, NPAGES, i);
	KUNIT_EXPECT_NULL(test, mmu_mirror_window_ptr(t.window, PAGE_SIZE - 2, 4));
	KUNIT_EXPECT_NULL(test, mmu_mirror_window_ptr(t.window, LENGTH - 2, 4));
	KUNIT_EXPECT_NULL(test, mmu_mirror_window_ptr(t.window, LENGTH, 1));
	KUNIT_EXPECT_NULL(test, mmu_mirror_window_ptr(t.window, -4UL, 8));
	KUNIT_EXPECT_NULL(test, mmu_mirror_window_ptr(t.window, 0, -1UL));
	mmu_mirror_exit(t.domain);
	for (i = 0; i < NPAGES; i++) {
		KUNIT_EXPECT_EQ(test, 0, get_user(value, (int __user *)(t.addr + i * PAGE_SIZE)));
		KUNIT_EXPECT_EQ(test, 100 + i, value);
	}
	KUNIT_EXPECT_EQ(test, NPAGES, t.window->installed);
	KUNIT_EXPECT_EQ(test, NPAGES, t.window->mirror.nr_dirtied);
	window_teardown(&t);
}

/* A window need not begin on a page. */
static void window_at_an_offset(struct kunit *test)
{
	unsigned long addr = map_memory(test);
	struct mmu_mirror_domain *domain = mmu_mirror_domain_alloc();
	struct mmu_mirror_window *window;
	int *p;

	KUNIT_ASSERT_NOT_NULL(test, domain);
	window = window_make(test, domain, addr + PAGE_SIZE - 8, PAGE_SIZE);
	KUNIT_EXPECT_EQ(test, 2, window->npages);
	mmu_mirror_enter(domain);
	p = mmu_mirror_window_ptr(window, 8, sizeof(*p));
	KUNIT_EXPECT_NOT_NULL(test, p);
	if (p)
		KUNIT_EXPECT_EQ(test, 3 - 1, READ_ONCE(*p));
	KUNIT_EXPECT_NULL(test, mmu_mirror_window_ptr(window, 4, 8));
	KUNIT_EXPECT_NULL(test, mmu_mirror_window_ptr(window, PAGE_SIZE - 4, 8));
	mmu_mirror_exit(domain);
	mmu_mirror_window_close(window);
	mmu_mirror_domain_destroy(domain);
}

/* The fill faults nothing in, and goes on behind a hole. */
static void window_fill_skips_holes(struct kunit *test)
{
	unsigned long addr = map_memory(test);
	struct mmu_mirror_domain *domain = mmu_mirror_domain_alloc();
	struct mmu_mirror_window *window;
	int i;

	KUNIT_ASSERT_NOT_NULL(test, domain);
	remap_memory(test, addr + PAGE_SIZE, 2 * PAGE_SIZE);
	vm_munmap(addr + 5 * PAGE_SIZE, PAGE_SIZE);
	window = window_make(test, domain, addr, LENGTH);
	for (i = 0; i < NPAGES; i++)
		KUNIT_EXPECT_EQ_MSG(test, i != 1 && i != 2 && i != 5,
				    !!window->kaddr[i], "page %d", i);
	mmu_mirror_window_close(window);
	mmu_mirror_domain_destroy(domain);
}

/* Populating faults in what the fill would leave absent. */
static void window_populate_faults_in(struct kunit *test)
{
	unsigned long addr = map_memory(test);
	struct mmu_mirror_domain *domain = mmu_mirror_domain_alloc();
	struct mmu_mirror_window *window;
	int i;

	KUNIT_ASSERT_NOT_NULL(test, domain);
	remap_memory(test, addr + PAGE_SIZE, 2 * PAGE_SIZE);
	window = window_make(test, domain, addr, LENGTH);
	KUNIT_EXPECT_NULL(test, window->kaddr[1]);
	KUNIT_EXPECT_EQ(test, NPAGES - 2, window->installed);
	KUNIT_EXPECT_EQ(test, 0, mmu_mirror_window_populate(window));
	for (i = 0; i < NPAGES; i++)
		KUNIT_EXPECT_PTR_EQ_MSG(test, window->kaddr[i],
					page_address(mapped_page(test, addr + i * PAGE_SIZE)),
					"page %d", i);
	/* Those that were there are neither installed nor dirtied again. */
	KUNIT_EXPECT_EQ(test, 0, mmu_mirror_window_populate(window));
	KUNIT_EXPECT_EQ(test, NPAGES, window->installed);
	KUNIT_EXPECT_EQ(test, NPAGES, window->mirror.nr_dirtied);
	KUNIT_EXPECT_TRUE(test, PageDirty(mapped_page(test, addr + PAGE_SIZE)));

	invalidate(addr, addr + PAGE_SIZE);
	KUNIT_EXPECT_NULL(test, window->kaddr[0]);
	vm_munmap(addr + 5 * PAGE_SIZE, PAGE_SIZE);
	KUNIT_EXPECT_EQ(test, -EFAULT, mmu_mirror_window_populate(window));
	KUNIT_EXPECT_NOT_NULL(test, window->kaddr[0]);
	mmu_mirror_window_close(window);
	mmu_mirror_domain_destroy(domain);
}

static void fill_first(void *arg)
{
	struct mmu_mirror_window *window = arg;

	/* It comes by here as well. */
	if (current_work() == &window->fill)
		return;
	window->rest.until = jiffies;
	mmu_mirror_window_prefetch(window);
	flush_work(&window->fill);
}

/* A fill between the lookup and the lock: its pages are not dirtied again. */
static void window_populate_comes_second(struct kunit *test)
{
	struct window_test t;

	window_setup(test, &t);
	invalidate(t.addr, t.addr + LENGTH);
	KUNIT_EXPECT_EQ(test, NPAGES, t.window->installed);
	inject_call(MMU_RANGE_MIRROR_LOOKED_UP, fill_first, t.window);
	KUNIT_EXPECT_EQ(test, 0, mmu_mirror_window_populate(t.window));
	KUNIT_EXPECT_EQ(test, 2, inject.calls);
	KUNIT_EXPECT_EQ(test, 2 * NPAGES, t.window->installed);
	KUNIT_EXPECT_EQ(test, 2 * NPAGES, t.window->mirror.nr_dirtied);
	window_teardown(&t);
}

/* Populating for writing fails on pages that the process may not write. */
static void window_populate_respects_protection(struct kunit *test)
{
	unsigned long addr = map_memory(test);
	struct mmu_mirror_domain *domain = mmu_mirror_domain_alloc();
	struct mmu_mirror_window *window;

	KUNIT_ASSERT_NOT_NULL(test, domain);
	KUNIT_ASSERT_EQ(test, addr,
			vm_mmap(NULL, addr, PAGE_SIZE, PROT_READ,
				MAP_ANONYMOUS | MAP_PRIVATE | MAP_FIXED, 0));
	window = mmu_mirror_window_open(domain, current->mm, addr, PAGE_SIZE, true);
	KUNIT_ASSERT_FALSE(test, IS_ERR(window));
	KUNIT_EXPECT_EQ(test, -EFAULT, mmu_mirror_window_populate(window));
	KUNIT_EXPECT_NULL(test, window->kaddr[0]);
	mmu_mirror_window_close(window);
	mmu_mirror_domain_destroy(domain);
}

/* Of the two ways to read, only one has an absent page filled in. */
static void window_peek_asks_for_no_fill(struct kunit *test)
{
	struct window_test t;
	int *p;

	window_setup(test, &t);
	mmu_mirror_enter(t.domain);
	p = mmu_mirror_window_peek(t.window, PAGE_SIZE, sizeof(*p));
	KUNIT_EXPECT_NOT_NULL(test, p);
	if (p)
		KUNIT_EXPECT_EQ(test, 2, READ_ONCE(*p));
	KUNIT_EXPECT_NULL(test, mmu_mirror_window_peek(t.window, PAGE_SIZE - 2, 4));
	KUNIT_EXPECT_NULL(test, mmu_mirror_window_peek(t.window, LENGTH, 1));
	mmu_mirror_exit(t.domain);

	invalidate(t.addr, t.addr + PAGE_SIZE);
	mmu_mirror_enter(t.domain);
	KUNIT_EXPECT_NULL(test, mmu_mirror_window_peek(t.window, 0, 4));
	mmu_mirror_exit(t.domain);
	flush_work(&t.window->fill);
	KUNIT_EXPECT_EQ(test, 1, t.window->fills);
	/* The window has rested from its first fill. */
	msleep(50);
	mmu_mirror_enter(t.domain);
	KUNIT_EXPECT_NULL(test, mmu_mirror_window_ptr(t.window, 0, 4));
	mmu_mirror_exit(t.domain);
	flush_work(&t.window->fill);
	KUNIT_EXPECT_EQ(test, 2, t.window->fills);
	window_teardown(&t);
}

/* A reader or a writer by copying, of whatever task. */
struct copy {
	struct mmu_mirror_window *window;
	unsigned long offset;
	size_t size;
	u8 buf[3 * PAGE_SIZE];
};

static void run_read(struct actor *actor)
{
	struct copy *copy = actor->arg;

	actor->ret = mmu_mirror_window_read(copy->window, copy->offset,
					    copy->buf, copy->size);
}

/* With memory of its own at the same address. */
static void run_read_elsewhere(struct actor *actor)
{
	struct copy *copy = actor->arg;
	unsigned long addr = copy->window->mirror.start;

	actor->ret = -ENOMEM;
	if (vm_mmap(NULL, addr, LENGTH, PROT_READ | PROT_WRITE,
		    MAP_ANONYMOUS | MAP_PRIVATE | MAP_FIXED, 0) == addr)
		run_read(actor);
}

static void run_write(struct actor *actor)
{
	struct copy *copy = actor->arg;

	actor->ret = mmu_mirror_window_write(copy->window, copy->offset,
					     copy->buf, copy->size);
}

/* Three pages, from the last bytes of page 1 on. */
#define COPY_OFFSET	(2 * PAGE_SIZE - 8)

static struct copy *copy_make(struct kunit *test,
			      struct mmu_mirror_window *window)
{
	struct copy *copy = kunit_kzalloc(test, sizeof(*copy), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, copy);
	copy->window = window;
	copy->offset = COPY_OFFSET;
	copy->size = sizeof(copy->buf);
	return copy;
}

static void copy_fill(struct copy *copy, u8 with)
{
	unsigned long i;

	for (i = 0; i < sizeof(copy->buf); i++)
		copy->buf[i] = with + i / 7;
}

/* How many of what copy_fill() made are in @buf, from its begin. */
static unsigned long copy_matches(const u8 *buf, u8 with)
{
	unsigned long i;

	for (i = 0; i < sizeof_field(struct copy, buf); i++) {
		if (buf[i] != (u8)(with + i / 7))
			break;
	}
	return i;
}

/* What the process itself finds where the copy goes. */
static unsigned long user_matches(struct kunit *test, struct window_test *t,
				  u8 with)
{
	u8 *buf = kunit_kzalloc(test, sizeof_field(struct copy, buf), GFP_KERNEL);
	unsigned long left;

	KUNIT_ASSERT_NOT_NULL(test, buf);
	left = copy_from_user(buf, (void __user *)(t->addr + COPY_OFFSET),
			      sizeof_field(struct copy, buf));
	KUNIT_EXPECT_EQ(test, 0, left);
	return copy_matches(buf, with);
}

/* Of pages that are mapped, across their borders, by any task. */
static void window_copies_across_pages(struct kunit *test)
{
	struct actor other = { .run = run_read, .mm = new_mm() };
	struct mmu_mirror_window *window;
	struct window_test t;
	struct copy *copy;

	KUNIT_ASSERT_NOT_NULL(test, other.mm);
	window_setup(test, &t);
	copy = copy_make(test, t.window);
	copy_fill(copy, 1);
	KUNIT_EXPECT_EQ(test, copy->size,
			mmu_mirror_window_write(t.window, copy->offset, copy->buf,
						copy->size));
	KUNIT_EXPECT_EQ(test, copy->size, user_matches(test, &t, 1));

	memset(copy->buf, 0, copy->size);
	other.arg = copy;
	actor_start(test, &other, -1);
	actor_join(test, &other);
	KUNIT_EXPECT_EQ(test, copy->size, other.ret);
	KUNIT_EXPECT_EQ(test, copy->size, copy_matches(copy->buf, 1));

	/* Not beyond the window, though there is more in the page. */
	window = window_make(test, t.domain, t.addr, PAGE_SIZE + 100);
	KUNIT_EXPECT_EQ(test, 8,
			mmu_mirror_window_read(window, PAGE_SIZE + 92,
					       copy->buf, 16));
	mmu_mirror_window_close(window);
	KUNIT_EXPECT_EQ(test, 0,
			mmu_mirror_window_read(t.window, LENGTH, copy->buf, 1));
	KUNIT_EXPECT_EQ(test, 0,
			mmu_mirror_window_write(t.window, -8UL, copy->buf, 16));
	window_teardown(&t);
	mmput(other.mm);
}

/* Where the window has nothing: by the process, and by a worker without an mm. */
static void window_copies_fall_back(struct kunit *test)
{
	struct actor worker = { .run = run_write };
	struct window_test t;
	struct copy *copy;

	window_setup(test, &t);
	copy = copy_make(test, t.window);
	remap_memory(test, t.addr + 3 * PAGE_SIZE, PAGE_SIZE);
	KUNIT_EXPECT_NULL(test, t.window->kaddr[3]);
	copy_fill(copy, 2);
	KUNIT_EXPECT_EQ(test, copy->size,
			mmu_mirror_window_write(t.window, copy->offset, copy->buf,
						copy->size));
	KUNIT_EXPECT_EQ(test, copy->size, user_matches(test, &t, 2));

	invalidate(t.addr, t.addr + LENGTH);
	memset(copy->buf, 0, copy->size);
	KUNIT_EXPECT_EQ(test, copy->size,
			mmu_mirror_window_read(t.window, copy->offset, copy->buf,
					       copy->size));
	KUNIT_EXPECT_EQ(test, copy->size, copy_matches(copy->buf, 2));

	remap_memory(test, t.addr, LENGTH);
	copy_fill(copy, 3);
	worker.arg = copy;
	actor_start(test, &worker, -1);
	actor_join(test, &worker);
	KUNIT_EXPECT_EQ(test, copy->size, worker.ret);
	KUNIT_EXPECT_EQ(test, copy->size, user_matches(test, &t, 3));
	window_teardown(&t);
}

/* How many bytes, where the next one cannot be had. */
static void window_copies_as_far_as_it_goes(struct kunit *test)
{
	struct actor other = { .run = run_read_elsewhere, .mm = new_mm() };
	struct mmu_mirror_window *window;
	struct window_test t;
	struct copy *copy;

	KUNIT_ASSERT_NOT_NULL(test, other.mm);
	window_setup(test, &t);
	copy = copy_make(test, t.window);
	vm_munmap(t.addr + 3 * PAGE_SIZE, PAGE_SIZE);
	KUNIT_EXPECT_EQ(test, 8 + PAGE_SIZE,
			mmu_mirror_window_read(t.window, copy->offset, copy->buf,
					       copy->size));
	KUNIT_EXPECT_EQ(test, 8 + PAGE_SIZE,
			mmu_mirror_window_write(t.window, copy->offset,
						copy->buf, copy->size));

	/* Another process's own memory, at that address, is not it. */
	flush_work(&t.window->fill);
	invalidate(t.addr, t.addr + LENGTH);
	other.arg = copy;
	actor_start(test, &other, -1);
	actor_join(test, &other);
	KUNIT_EXPECT_EQ(test, 0, other.ret);

	window = mmu_mirror_window_open(t.domain, current->mm, t.addr, LENGTH,
					false);
	KUNIT_ASSERT_FALSE(test, IS_ERR(window));
	KUNIT_EXPECT_EQ(test, 0,
			mmu_mirror_window_write(window, 0, copy->buf, 8));
	KUNIT_EXPECT_EQ(test, -EPERM,
			mmu_mirror_window_store(window, 0, sizeof(u32), 1));
	KUNIT_EXPECT_EQ(test, 8,
			mmu_mirror_window_read(window, 0, copy->buf, 8));
	mmu_mirror_window_close(window);
	window_teardown(&t);
	mmput(other.mm);
}

static void check_numbers(struct kunit *test, struct window_test *t)
{
	static const unsigned int sizes[] = { sizeof(u16), sizeof(u32), sizeof(long) };
	int i;

	for (i = 0; i < ARRAY_SIZE(sizes); i++) {
		unsigned long offset = PAGE_SIZE + 16 * i;
		unsigned long value = 0, number = 0x1234 + i;
		unsigned int size = sizes[i];
		u16 quarter = number;
		u32 half = number;
		u8 want[8], found[8];

		memset(want, 0xff, sizeof(want));
		KUNIT_EXPECT_EQ(test, 0,
				copy_to_user((void __user *)(t->addr + offset),
					     want, sizeof(want)));
		KUNIT_EXPECT_EQ(test, 0,
				mmu_mirror_window_store(t->window, offset, size,
							number));
		KUNIT_EXPECT_EQ(test, 0,
				copy_from_user(found, (void __user *)(t->addr + offset),
					       sizeof(found)));
		/* That, and nothing beside it. */
		memcpy(want, size == sizeof(quarter) ? (void *)&quarter :
			     size == sizeof(half) ? (void *)&half : &number, size);
		KUNIT_EXPECT_MEMEQ(test, want, found, sizeof(want));
		KUNIT_EXPECT_EQ(test, 0,
				mmu_mirror_window_load(t->window, offset, size,
						       &value));
		KUNIT_EXPECT_EQ_MSG(test, number, value, "size %u", size);
	}
}

/* An index of a ring, through the pointer and by uaccess. */
static void window_loads_and_stores(struct kunit *test)
{
	struct window_test t;
	unsigned long value;

	window_setup(test, &t);
	check_numbers(test, &t);
	invalidate(t.addr, t.addr + LENGTH);
	check_numbers(test, &t);

	KUNIT_EXPECT_EQ(test, -EINVAL,
			mmu_mirror_window_load(t.window, 2, 4, &value));
	KUNIT_EXPECT_EQ(test, -EINVAL,
			mmu_mirror_window_load(t.window, 0, 1, &value));
	KUNIT_EXPECT_EQ(test, -EINVAL,
			mmu_mirror_window_load(t.window, LENGTH, 4, &value));
	KUNIT_EXPECT_EQ(test, -EINVAL,
			mmu_mirror_window_store(t.window, 1, 2, 0));
	vm_munmap(t.addr, PAGE_SIZE);
	KUNIT_EXPECT_EQ(test, -EFAULT,
			mmu_mirror_window_load(t.window, 0, 4, &value));
	KUNIT_EXPECT_EQ(test, -EFAULT,
			mmu_mirror_window_store(t.window, 0, 4, 0));
	window_teardown(&t);
}

/* No window for writing maps a page that the process may not write. */
static void window_respects_protection(struct kunit *test)
{
	unsigned long addr = map_memory(test);
	struct mmu_mirror_domain *domain = mmu_mirror_domain_alloc();
	struct mmu_mirror_window *window;
	int value;

	KUNIT_ASSERT_NOT_NULL(test, domain);
	KUNIT_ASSERT_EQ(test, addr,
			vm_mmap(NULL, addr, PAGE_SIZE, PROT_READ,
				MAP_ANONYMOUS | MAP_PRIVATE | MAP_FIXED, 0));
	KUNIT_ASSERT_EQ(test, 0, get_user(value, (int __user *)addr));
	KUNIT_EXPECT_EQ(test, 0, value);
	window = window_make(test, domain, addr, LENGTH);
	KUNIT_EXPECT_NULL(test, window->kaddr[0]);
	KUNIT_EXPECT_NOT_NULL(test, window->kaddr[1]);
	mmu_mirror_window_close(window);

	window = mmu_mirror_window_open(domain, current->mm, addr, LENGTH, false);
	KUNIT_ASSERT_FALSE(test, IS_ERR(window));
	mmu_mirror_window_prefetch(window);
	flush_work(&window->fill);
	/* Page 0 is the zero page, which fast GUP may refuse. */
	KUNIT_EXPECT_NOT_NULL(test, window->kaddr[1]);
	KUNIT_EXPECT_EQ(test, 0, window->mirror.nr_dirtied);
	mmu_mirror_window_close(window);
	mmu_mirror_domain_destroy(domain);
}

static void window_invalidate_drops(struct kunit *test)
{
	struct window_test t;
	int i;

	window_setup(test, &t);
	invalidate(t.addr + 3 * PAGE_SIZE, t.addr + 5 * PAGE_SIZE);
	for (i = 0; i < NPAGES; i++)
		KUNIT_EXPECT_EQ_MSG(test, i == 3 || i == 4,
				    !t.window->kaddr[i], "page %d", i);
	invalidate(0, t.addr + PAGE_SIZE);
	KUNIT_EXPECT_NULL(test, t.window->kaddr[0]);
	invalidate(t.addr + LENGTH - PAGE_SIZE, current->mm->task_size);
	KUNIT_EXPECT_NULL(test, t.window->kaddr[NPAGES - 1]);
	KUNIT_EXPECT_EQ(test, 4, t.window->dropped_pages);
	KUNIT_EXPECT_EQ(test, 3, t.window->drops[MMU_NOTIFY_CLEAR]);
	/* Nothing left to drop: not counted, and no second wait. */
	KUNIT_EXPECT_EQ(test, 3, atomic_long_read(&t.domain->nr_waits));
	invalidate(t.addr, t.addr + PAGE_SIZE);
	KUNIT_EXPECT_EQ(test, 3, t.window->drops[MMU_NOTIFY_CLEAR]);
	KUNIT_EXPECT_EQ(test, 3, atomic_long_read(&t.domain->nr_waits));
	window_teardown(&t);
}

/* The second place for a pointer is empty before readers are waited for. */
static void window_shadow_is_dropped(struct kunit *test)
{
	unsigned long addr = map_memory(test);
	struct mmu_mirror_domain *domain = mmu_mirror_domain_alloc();
	struct extent extent = { .start = addr, .length = PAGE_SIZE };
	struct actor hand = { .run = run_invalidate, .arg = &extent };
	struct mmu_mirror_window *window, *wide;
	void *at = NULL, *other = NULL;

	KUNIT_ASSERT_NOT_NULL(test, domain);
	window = window_make(test, domain, addr + 8, 64);
	mmu_mirror_window_shadow(window, &at);
	KUNIT_EXPECT_PTR_EQ(test, at, window->kaddr[0] + 8);
	mmu_mirror_window_shadow(window, &other);
	KUNIT_EXPECT_NULL(test, at);
	KUNIT_EXPECT_PTR_EQ(test, other, window->kaddr[0] + 8);

	hand.mm = current->mm;
	inject_gate(MMU_RANGE_MIRROR_SNAPSHOT);
	actor_start(test, &hand, -1);
	gate_await(test, &inject.gate);
	KUNIT_EXPECT_NULL(test, READ_ONCE(other));
	gate_open(&inject.gate);
	actor_join(test, &hand);

	window->rest.until = jiffies;
	mmu_mirror_window_prefetch(window);
	flush_work(&window->fill);
	KUNIT_ASSERT_NOT_NULL(test, window->kaddr[0]);
	KUNIT_EXPECT_PTR_EQ(test, other, window->kaddr[0] + 8);

	/* Of more than one page there is none. */
	wide = window_make(test, domain, addr, LENGTH);
	mmu_mirror_window_shadow(wide, &at);
	KUNIT_EXPECT_NULL(test, at);
	mmu_mirror_window_close(wide);
	mmu_mirror_window_close(window);
	KUNIT_EXPECT_NULL(test, other);
	mmu_mirror_domain_destroy(domain);
}

static void window_nonblockable(struct kunit *test)
{
	struct window_test t;

	window_setup(test, &t);
	KUNIT_EXPECT_EQ(test, 0, invalidate_nonblock(t.addr, t.addr + LENGTH));
	KUNIT_EXPECT_NULL(test, t.window->kaddr[0]);
	window_teardown(&t);
}

static void window_fill_collides(struct kunit *test,
				 enum mmu_range_mirror_point point)
{
	struct window_test t;

	window_setup(test, &t);
	invalidate(t.addr, t.addr + LENGTH);
	t.window->rest.until = jiffies;
	inject_gate(point);
	mmu_mirror_window_prefetch(t.window);
	gate_await(test, &inject.gate);
	remap_memory(test, t.addr, LENGTH);
	KUNIT_EXPECT_EQ(test, 0, put_user(7, (int __user *)t.addr));
	gate_open(&inject.gate);
	flush_work(&t.window->fill);
	KUNIT_EXPECT_EQ(test, 1, t.window->collisions);
	KUNIT_EXPECT_PTR_EQ(test, page_address(mapped_page(test, t.addr)),
			    t.window->kaddr[0]);
	/* One page is there, the others are holes now. */
	KUNIT_EXPECT_EQ(test, NPAGES + 1, t.window->mirror.nr_dirtied);
	window_teardown(&t);
}

static void window_fill_collides_before_gup(struct kunit *test)
{
	window_fill_collides(test, MMU_RANGE_MIRROR_BEGUN);
}

static void window_fill_collides_after_gup(struct kunit *test)
{
	window_fill_collides(test, MMU_RANGE_MIRROR_LOOKED_UP);
}

/* The reason that a reader of @page gets, while nobody fills. */
static enum mmu_mirror_absence why_absent(struct kunit *test,
					  struct mmu_mirror_window *window,
					  int page)
{
	void *p;

	flush_work(&window->fill);
	window->rest.until = jiffies + HZ / 2;
	mmu_mirror_enter(window->domain);
	p = mmu_mirror_window_ptr(window, page * PAGE_SIZE, 1);
	mmu_mirror_exit(window->domain);
	KUNIT_EXPECT_NULL(test, p);
	return mmu_mirror_window_absence(window);
}

static void window_knows_why(struct kunit *test)
{
	unsigned long addr = map_memory(test);
	struct mmu_mirror_domain *domain = mmu_mirror_domain_alloc();
	struct mmu_mirror_window *window;

	KUNIT_ASSERT_NOT_NULL(test, domain);
	vm_munmap(addr + PAGE_SIZE, PAGE_SIZE);
	window = mmu_mirror_window_open(domain, current->mm, addr, LENGTH,
					true);
	KUNIT_ASSERT_FALSE(test, IS_ERR(window));
	KUNIT_EXPECT_EQ(test, MMU_MIRROR_UNFILLED, why_absent(test, window, 0));
	KUNIT_EXPECT_EQ(test, 0, mmu_mirror_window_mapped(window));

	window->rest.until = jiffies;
	mmu_mirror_window_prefetch(window);
	KUNIT_EXPECT_EQ(test, MMU_MIRROR_UNMAPPED, why_absent(test, window, 1));
	KUNIT_EXPECT_EQ(test, NPAGES - 1, mmu_mirror_window_mapped(window));

	invalidate(addr, addr + PAGE_SIZE);
	KUNIT_EXPECT_EQ(test, MMU_MIRROR_INVALIDATED,
			why_absent(test, window, 0));
	KUNIT_EXPECT_EQ(test, NPAGES - 2, mmu_mirror_window_mapped(window));

	window->rest.until = jiffies;
	mmu_mirror_window_prefetch(window);
	KUNIT_EXPECT_EQ(test, MMU_MIRROR_UNMAPPED, why_absent(test, window, 1));
	KUNIT_EXPECT_EQ(test, NPAGES - 1, mmu_mirror_window_mapped(window));

	/* What was not there may come, and be taken away. */
	remap_memory(test, addr + PAGE_SIZE, PAGE_SIZE);
	KUNIT_ASSERT_EQ(test, 0, put_user(1, (int __user *)(addr + PAGE_SIZE)));
	window->rest.until = jiffies;
	window->empty.until = jiffies;
	mmu_mirror_window_prefetch(window);
	flush_work(&window->fill);
	invalidate(addr + PAGE_SIZE, addr + 2 * PAGE_SIZE);
	KUNIT_EXPECT_EQ(test, MMU_MIRROR_INVALIDATED,
			why_absent(test, window, 1));
	mmu_mirror_window_close(window);
	mmu_mirror_domain_destroy(domain);
}

/* A page whose load failed leaves, and stays away for a while. */
static void window_forgets(struct kunit *test)
{
	unsigned long addr = map_memory(test), began;
	struct mmu_mirror_domain *domain = mmu_mirror_domain_alloc();
	struct mmu_mirror_window *window;

	KUNIT_ASSERT_NOT_NULL(test, domain);
	window = window_make(test, domain, addr + 100, LENGTH - 100);
	KUNIT_ASSERT_NOT_NULL(test, window->kaddr[1]);

	/* The window's first byte is not its page's. */
	began = jiffies;
	mmu_mirror_window_forget(window, PAGE_SIZE - 50);
	KUNIT_EXPECT_TRUE(test, time_after_eq(window->rest.until, began + HZ));
	KUNIT_EXPECT_NOT_NULL(test, window->kaddr[0]);
	KUNIT_EXPECT_NULL(test, window->kaddr[1]);
	KUNIT_EXPECT_EQ(test, NPAGES - 1, mmu_mirror_window_mapped(window));
	KUNIT_EXPECT_EQ(test, MMU_MIRROR_FORGOTTEN,
			mmu_mirror_window_absence(window));

	KUNIT_EXPECT_EQ(test, MMU_MIRROR_FORGOTTEN,
			why_absent(test, window, 1));

	/* Somebody may still be reading it, and is waited for. */
	invalidate(addr + PAGE_SIZE, addr + 2 * PAGE_SIZE);
	KUNIT_EXPECT_EQ(test, 1, atomic_long_read(&domain->nr_waits));

	window->rest.until = jiffies;
	mmu_mirror_window_prefetch(window);
	flush_work(&window->fill);
	KUNIT_EXPECT_NOT_NULL(test, window->kaddr[1]);

	/* What takes it for good is told, not what came before. */
	mmu_mirror_window_forget(window, PAGE_SIZE - 50);
	vm_munmap(addr + PAGE_SIZE, PAGE_SIZE);
	window->rest.until = jiffies;
	mmu_mirror_window_prefetch(window);
	flush_work(&window->fill);
	KUNIT_EXPECT_EQ(test, MMU_MIRROR_UNMAPPED,
			mmu_mirror_window_absence(window));
	mmu_mirror_window_close(window);
	mmu_mirror_domain_destroy(domain);
}

static void call_forget(void *arg)
{
	struct mmu_mirror_window *window = arg;

	mmu_mirror_window_forget(window, PAGE_SIZE);
}

/* A fill that had begun, or was asked for, does not end the rest of a bad page. */
static void window_forgets_while_filling(struct kunit *test)
{
	unsigned long addr = map_memory(test), began, until;
	struct mmu_mirror_domain *domain = mmu_mirror_domain_alloc();
	struct mmu_mirror_window *window;

	KUNIT_ASSERT_NOT_NULL(test, domain);
	window = window_make(test, domain, addr, LENGTH);
	invalidate(addr, addr + LENGTH);
	began = jiffies;
	window->rest.until = jiffies;
	inject_call(MMU_RANGE_MIRROR_LOOKED_UP, call_forget, window);
	mmu_mirror_window_prefetch(window);
	flush_work(&window->fill);
	mmu_range_mirror_set_injection(NULL);
	KUNIT_EXPECT_EQ(test, 1, inject.calls);
	KUNIT_EXPECT_TRUE(test, time_after_eq(window->rest.until, began + HZ));
	KUNIT_EXPECT_NULL(test, window->kaddr[1]);
	KUNIT_EXPECT_NOT_NULL(test, window->kaddr[0]);

	/* One that waits for its turn meanwhile. */
	mmu_mirror_window_forget(window, PAGE_SIZE);
	KUNIT_ASSERT_NULL(test, window->kaddr[1]);
	until = window->rest.until;
	mmu_mirror_queue_work(window->queue, &window->fill);
	flush_work(&window->fill);
	KUNIT_EXPECT_NULL(test, window->kaddr[1]);
	KUNIT_EXPECT_EQ(test, until, window->rest.until);
	mmu_mirror_window_close(window);
	mmu_mirror_domain_destroy(domain);
}

static void window_fill_gives_up(struct kunit *test)
{
	struct window_test t;
	struct extent extent;

	window_setup(test, &t);
	extent.start = t.addr;
	extent.length = LENGTH;
	invalidate(t.addr, t.addr + LENGTH);
	t.window->rest.until = jiffies;
	t.window->rest.backoff = HZ;
	inject_call(MMU_RANGE_MIRROR_LOOKED_UP, call_invalidate, &extent);
	/* It invalidates the current mm: the fill's, for the work. */
	mmu_mirror_window_prefetch(t.window);
	flush_work(&t.window->fill);
	KUNIT_EXPECT_LT(test, inject.calls, MANY);
	KUNIT_EXPECT_EQ(test, inject.calls, t.window->collisions);
	KUNIT_EXPECT_NULL(test, t.window->kaddr[0]);
	/* A storm: it rests as such, not as a window of nothing. */
	KUNIT_EXPECT_EQ(test, max(1UL, HZ / 50UL), t.window->rest.backoff);
	KUNIT_EXPECT_EQ(test, 0, t.window->empty.backoff);
	/* It was there, as the fill found. */
	KUNIT_EXPECT_EQ(test, MMU_MIRROR_INVALIDATED,
			mmu_mirror_window_absence(t.window));
	mmu_range_mirror_set_injection(NULL);
	window_teardown(&t);
}

/* An owner with a window, who exits. */
struct owner {
	struct mmu_mirror_domain *domain;
	struct mmu_mirror_window *window;
	bool leaves_to_fill;
};

static void run_owner(struct actor *actor)
{
	struct owner *owner = actor->arg;
	struct mm_struct *mm = new_mm();
	unsigned long addr;

	actor->ret = -ENOMEM;
	if (!mm)
		return;
	kthread_use_mm(mm);
	addr = vm_mmap(NULL, 0, LENGTH, PROT_READ | PROT_WRITE,
		       MAP_ANONYMOUS | MAP_PRIVATE, 0);
	if (!IS_ERR_VALUE(addr) && !put_user(1, (int __user *)addr)) {
		owner->window = mmu_mirror_window_open(owner->domain, mm, addr,
						       LENGTH, true);
		actor->ret = PTR_ERR_OR_ZERO(owner->window);
	}
	if (!actor->ret) {
		mmu_mirror_window_prefetch(owner->window);
		if (owner->leaves_to_fill)
			wait_for_completion(&inject.gate.reached);
		else
			flush_work(&owner->window->fill);
		if (!owner->leaves_to_fill && !owner->window->kaddr[0])
			actor->ret = -ENOENT;
	}
	kthread_unuse_mm(mm);
	mmput(mm);
}

/* Wait until the notifiers of closed windows have gone. */
static void await_reaped(struct kunit *test, struct mmu_mirror_domain *domain)
{
	int tries = MANY;

	while (refcount_read(&domain->users) > 1 && tries--)
		schedule_timeout_uninterruptible(1);
	KUNIT_EXPECT_EQ(test, 1, refcount_read(&domain->users));
}

static void miss(struct kunit *test, struct mmu_mirror_window *window,
		 unsigned long page)
{
	mmu_mirror_enter(window->domain);
	KUNIT_EXPECT_NULL(test, mmu_mirror_window_ptr(window, page * PAGE_SIZE,
						      1));
	mmu_mirror_exit(window->domain);
	flush_work(&window->fill);
}

static bool far_mapped(struct mmu_mirror_window *window, unsigned long page)
{
	return mmu_mirror_window_far(window, page);
}

/* A window is filled near the page that was missed, as far as there is anything. */
static void window_fills_where_it_is_used(struct kunit *test)
{
	/* With nothing in the block of pages from 128 on. */
	const unsigned long touched[] = {
		0, 63, 100, 200, 600, 24575, 24576, 24639,
	};
	/* The miss that finds each: at 0, at 200, at 600 and at the end. Last, none. */
	const int found_by[] = { 0, 0, 0, 1, 2, 3, 3, 3 };
	const unsigned long missed[] = { 0, 200, 600, 24639, 5000 };
	unsigned long size = 24640 * PAGE_SIZE;
	struct mmu_mirror_domain *domain = mmu_mirror_domain_alloc();
	struct mmu_mirror_window *window;
	unsigned long addr, i, turn;

	addr = map_pages(test, size);
	KUNIT_ASSERT_NOT_NULL(test, domain);
	for (i = 0; i < ARRAY_SIZE(touched); i++)
		KUNIT_ASSERT_EQ(test, 0,
				put_user(1, (int __user *)(addr + touched[i] *
							   PAGE_SIZE)));
	window = mmu_mirror_window_open(domain, current->mm, addr, size, true);
	KUNIT_ASSERT_FALSE(test, IS_ERR(window));
	for (turn = 0; turn < ARRAY_SIZE(missed); turn++) {
		window->rest.until = jiffies;
		window->empty.until = jiffies;
		miss(test, window, missed[turn]);
		for (i = 0; i < ARRAY_SIZE(touched); i++)
			KUNIT_EXPECT_EQ_MSG(test, found_by[i] <= turn,
					    far_mapped(window, touched[i]),
					    "page %lu", touched[i]);
	}
	/* There are pointers where there is a page. */
	for (i = 0; i < DIV_ROUND_UP(24640, MMU_MIRROR_CHUNK); i++)
		KUNIT_EXPECT_EQ_MSG(test, i <= 1 || i >= 47,
				    !!window->chunk[i], "chunk %lu", i);
	KUNIT_EXPECT_EQ(test, ARRAY_SIZE(touched),
			mmu_mirror_window_mapped(window));
	window->missed = 128;
	KUNIT_EXPECT_EQ(test, MMU_MIRROR_UNMAPPED,
			mmu_mirror_window_absence(window));
	window->missed = 340;
	KUNIT_EXPECT_EQ(test, MMU_MIRROR_UNFILLED,
			mmu_mirror_window_absence(window));

	/* Dropped across chunks, but for the ends. */
	invalidate(addr + 63 * PAGE_SIZE, addr + 24639 * PAGE_SIZE);
	for (i = 0; i < ARRAY_SIZE(touched); i++)
		KUNIT_EXPECT_EQ_MSG(test, touched[i] == 0 || touched[i] == 24639,
				    far_mapped(window, touched[i]), "page %lu",
				    touched[i]);
	KUNIT_EXPECT_EQ(test, 2, mmu_mirror_window_mapped(window));
	mmu_mirror_window_close(window);

	window = mmu_mirror_window_open(domain, current->mm, addr,
					600 * PAGE_SIZE, true);
	KUNIT_ASSERT_FALSE(test, IS_ERR(window));
	KUNIT_EXPECT_EQ(test, 0, mmu_mirror_window_populate(window));
	KUNIT_EXPECT_EQ(test, 600, mmu_mirror_window_mapped(window));
	KUNIT_EXPECT_TRUE(test, far_mapped(window, 599));
	invalidate(addr, addr + size);
	KUNIT_EXPECT_FALSE(test, far_mapped(window, 599));
	KUNIT_EXPECT_EQ(test, 0, mmu_mirror_window_mapped(window));
	mmu_mirror_window_close(window);
	mmu_mirror_domain_destroy(domain);
}

static void look_for_uncounted(void *arg)
{
	struct mmu_mirror_domain *domain = arg;
	long dropped = atomic_long_read(&domain->dropped);

	/* Another invalidation, here, would return at once. */
	if (dropped - atomic_long_read(&domain->drained) <= 0)
		inject.uncounted++;
}

/* When a large window lets go of its lock, what it dropped has been counted. */
static void large_window_counts_its_drops(struct kunit *test)
{
	unsigned long size = 3 * MMU_MIRROR_CHUNK * PAGE_SIZE;
	struct mmu_mirror_domain *domain = mmu_mirror_domain_alloc();
	struct mmu_mirror_window *window;
	unsigned long addr;

	addr = map_pages(test, size);
	KUNIT_ASSERT_NOT_NULL(test, domain);
	window = mmu_mirror_window_open(domain, current->mm, addr, size, true);
	KUNIT_ASSERT_FALSE(test, IS_ERR(window));
	KUNIT_EXPECT_EQ(test, 0, mmu_mirror_window_populate(window));
	inject.uncounted = 0;
	inject_call(MMU_RANGE_MIRROR_PAUSED, look_for_uncounted, domain);
	invalidate(addr, addr + size);
	mmu_range_mirror_set_injection(NULL);
	KUNIT_EXPECT_EQ(test, 3, inject.calls);
	KUNIT_EXPECT_EQ(test, 0, inject.uncounted);
	mmu_mirror_window_close(window);
	mmu_mirror_domain_destroy(domain);
}

static void fill_again(struct window_test *t)
{
	schedule_work(&t->window->fill);
	flush_work(&t->window->fill);
}

/* Fills for what is not there, which follow each other at once, rest longer. */
static void window_backs_off(struct kunit *test)
{
	struct window_test t;
	unsigned long fills;

	window_setup(test, &t);
	vm_munmap(t.addr, LENGTH);
	fill_again(&t);
	t.window->empty.backoff = HZ / 2;
	t.window->empty.until = jiffies;
	fill_again(&t);
	KUNIT_EXPECT_EQ(test, HZ, t.window->empty.backoff);
	fills = t.window->fills;
	mmu_mirror_window_prefetch(t.window);
	flush_work(&t.window->fill);
	KUNIT_EXPECT_EQ(test, fills, t.window->fills);
	/* A rest of long ago, in either half of the jiffies, is over. */
	t.window->rest.until = jiffies - 10 * HZ;
	t.window->empty.until = jiffies - 10 * HZ;
	mmu_mirror_window_prefetch(t.window);
	flush_work(&t.window->fill);
	KUNIT_EXPECT_EQ(test, fills + 1, t.window->fills);
	t.window->rest.until = jiffies + 10 * HZ;
	t.window->empty.until = jiffies + 10 * HZ;
	mmu_mirror_window_prefetch(t.window);
	flush_work(&t.window->fill);
	KUNIT_EXPECT_EQ(test, fills + 2, t.window->fills);
	window_teardown(&t);
}

/* A miss during a fill has the next one begin before its time. */
static void window_rest_is_not_shortened(struct kunit *test)
{
	struct window_test t;

	window_setup(test, &t);
	vm_munmap(t.addr, LENGTH);
	fill_again(&t);
	t.window->empty.backoff = HZ / 2;
	t.window->empty.until = jiffies + HZ / 4;
	fill_again(&t);
	KUNIT_EXPECT_EQ(test, HZ, t.window->empty.backoff);

	t.window->rest.backoff = 1;
	t.window->rest.until = jiffies + HZ;
	remap_memory(test, t.addr, LENGTH);
	KUNIT_ASSERT_EQ(test, 0, put_user(7, (int __user *)t.addr));
	fill_again(&t);
	KUNIT_EXPECT_NOT_NULL(test, t.window->kaddr[0]);
	KUNIT_EXPECT_GT(test, t.window->rest.backoff, 0);
	window_teardown(&t);
}

/* Of a page that cannot be mapped the others know nothing. */
static void window_rests_by_page(struct kunit *test)
{
	struct window_test t;
	unsigned long fills;

	window_setup(test, &t);
	vm_munmap(t.addr + PAGE_SIZE, PAGE_SIZE);
	fill_again(&t);
	t.window->empty.backoff = HZ / 2;
	t.window->empty.until = jiffies;
	t.window->rest.until = jiffies;
	miss(test, t.window, 1);
	fills = t.window->fills;
	t.window->rest.until = jiffies;
	miss(test, t.window, 1);
	KUNIT_EXPECT_EQ(test, fills, t.window->fills);
	invalidate(t.addr, t.addr + PAGE_SIZE);
	miss(test, t.window, 0);
	KUNIT_EXPECT_EQ(test, fills + 1, t.window->fills);
	KUNIT_EXPECT_NOT_NULL(test, t.window->kaddr[0]);
	window_teardown(&t);
}

/* A page that was absent and came back was replaced, and does not rest longer. */
static void window_page_comes_back(struct kunit *test)
{
	struct window_test t;

	window_setup(test, &t);
	vm_munmap(t.addr, PAGE_SIZE);
	fill_again(&t);
	t.window->empty.backoff = HZ / 2;
	t.window->empty.until = jiffies;
	fill_again(&t);
	KUNIT_EXPECT_EQ(test, HZ, t.window->empty.backoff);
	KUNIT_ASSERT_EQ(test, t.addr,
			vm_mmap(NULL, t.addr, PAGE_SIZE, PROT_READ | PROT_WRITE,
				MAP_ANONYMOUS | MAP_PRIVATE | MAP_FIXED, 0));
	KUNIT_ASSERT_EQ(test, 0, put_user(1, (int __user *)t.addr));
	fill_again(&t);
	KUNIT_EXPECT_NOT_NULL(test, t.window->kaddr[0]);
	KUNIT_EXPECT_EQ(test, 0, t.window->empty.backoff);
	window_teardown(&t);
}

/* A window whose last page can never be mapped, and how often it is looked at. */
#define HOLED_PAGES	17
#define REFILLS		15

/* How long page 0 is gone after an invalidation, to one who reads both. */
static u64 refill_ns(struct kunit *test, struct mmu_mirror_window *window)
{
	unsigned long hole = (HOLED_PAGES - 1) * PAGE_SIZE;
	unsigned long addr = window->mirror.start;
	u64 ns, began = ktime_get_ns();
	bool mapped;

	invalidate(addr, addr + PAGE_SIZE);
	do {
		mmu_mirror_enter(window->domain);
		mapped = mmu_mirror_window_ptr(window, 0, 1);
		KUNIT_EXPECT_NULL(test, mmu_mirror_window_ptr(window, hole, 1));
		mmu_mirror_exit(window->domain);
		usleep_range(50, 100);
		ns = ktime_get_ns() - began;
	} while (!mapped && ns < 2 * NSEC_PER_SEC);
	return ns;
}

/* Misses of the hole alone, until it rests for long. */
static void hole_rests(struct kunit *test, struct mmu_mirror_window *window)
{
	int i;

	for (i = 0; i < 12; i++) {
		window->empty.until = jiffies;
		window->rest.until = jiffies;
		miss(test, window, HOLED_PAGES - 1);
	}
	KUNIT_EXPECT_EQ(test, HZ, window->empty.backoff);
}

static int cmp_u64(const void *a, const void *b)
{
	u64 left = *(const u64 *)a, right = *(const u64 *)b;

	return (left > right) - (left < right);
}

/* It rests by itself, for up to a second; its neighbours for up to 20 ms. */
static void window_fills_beside_a_hole(struct kunit *test)
{
	struct mmu_mirror_domain *domain = mmu_mirror_domain_alloc();
	struct mmu_mirror_window *window;
	u64 ns[REFILLS];
	unsigned long addr;
	int i;

	KUNIT_ASSERT_NOT_NULL(test, domain);
	addr = map_pages(test, HOLED_PAGES * PAGE_SIZE);
	for (i = 0; i < HOLED_PAGES; i++)
		KUNIT_ASSERT_EQ(test, 0, put_user(1, (int __user *)(addr + i * PAGE_SIZE)));
	vm_munmap(addr + (HOLED_PAGES - 1) * PAGE_SIZE, PAGE_SIZE);
	window = window_make(test, domain, addr, HOLED_PAGES * PAGE_SIZE);
	hole_rests(test, window);
	for (i = 0; i < REFILLS; i++)
		ns[i] = refill_ns(test, window);
	sort(ns, REFILLS, sizeof(ns[0]), cmp_u64, NULL);
	KUNIT_EXPECT_LT_MSG(test, ns[REFILLS / 2], 100 * NSEC_PER_MSEC,
			    "half of the refills took more than %llu us",
			    div_u64(ns[REFILLS / 2], NSEC_PER_USEC));
	mmu_mirror_window_close(window);
	mmu_mirror_domain_destroy(domain);
}

/* Nor is a page held up that has only just gone, and comes back, whoever notices. */
static void window_fills_what_was_just_gone(struct kunit *test)
{
	struct mmu_mirror_domain *domain = mmu_mirror_domain_alloc();
	struct mmu_mirror_window *window;
	unsigned long addr, missed;

	KUNIT_ASSERT_NOT_NULL(test, domain);
	addr = map_pages(test, HOLED_PAGES * PAGE_SIZE);
	KUNIT_ASSERT_EQ(test, 0, put_user(1, (int __user *)addr));
	KUNIT_ASSERT_EQ(test, 0, put_user(1, (int __user *)(addr + PAGE_SIZE)));
	vm_munmap(addr + (HOLED_PAGES - 1) * PAGE_SIZE, PAGE_SIZE);
	window = window_make(test, domain, addr, HOLED_PAGES * PAGE_SIZE);
	for (missed = 0; missed < 2; missed++) {
		hole_rests(test, window);
		remap_memory(test, addr, PAGE_SIZE);
		invalidate(addr + PAGE_SIZE, addr + 2 * PAGE_SIZE);
		window->rest.until = jiffies;
		miss(test, window, missed);
		KUNIT_ASSERT_EQ(test, 0, put_user(1, (int __user *)addr));
		KUNIT_EXPECT_LT(test, refill_ns(test, window),
				100 * NSEC_PER_MSEC);
	}
	mmu_mirror_window_close(window);
	mmu_mirror_domain_destroy(domain);
}

/* By the clock that fills are measured with; mdelay() may know another. */
static void call_spin(void *ms)
{
	u64 end = ktime_get_ns() + (unsigned long)ms * NSEC_PER_MSEC;

	while (ktime_get_ns() < end)
		cpu_relax();
}

/* Fills are nobody's CPU time: a burst of 20 ms, then a tenth of it. */
static void window_fills_have_a_budget(struct kunit *test)
{
	struct window_test t;
	u64 began, ns;
	int i;

	window_setup(test, &t);
	inject_call(MMU_RANGE_MIRROR_BEGUN, call_spin, (void *)5);
	began = ktime_get_ns();
	for (i = 0; i < 12; i++) {
		invalidate(t.addr, t.addr + LENGTH);
		schedule_work(&t.window->fill);
		flush_work(&t.window->fill);
	}
	ns = ktime_get_ns() - began;
	KUNIT_EXPECT_GE(test, inject.calls, 12);
	/* 60 ms of work, the last not rested for, 20 free. */
	KUNIT_EXPECT_GT(test, ns, 300 * NSEC_PER_MSEC);
	mmu_range_mirror_set_injection(NULL);
	window_teardown(&t);
}

/* Nor are openings, which workers do for whoever moves his rings. */
static void window_openings_have_a_budget(struct kunit *test)
{
	struct mmu_mirror_domain *domain = mmu_mirror_domain_alloc();
	struct mmu_mirror_window *window;
	struct window_test t;
	u64 began;
	int i;

	KUNIT_ASSERT_NOT_NULL(test, domain);
	window_setup(test, &t);
	inject_call(MMU_RANGE_MIRROR_SUBSCRIBED, call_spin, (void *)1);
	for (i = 0; i < 200; i++) {
		window = mmu_mirror_window_open(domain, current->mm, t.addr,
						PAGE_SIZE, true);
		KUNIT_ASSERT_FALSE(test, IS_ERR(window));
		mmu_mirror_window_close(window);
	}
	mmu_range_mirror_set_injection(NULL);
	await_reaped(test, domain);
	began = ktime_get_ns();
	fill_again(&t);
	KUNIT_EXPECT_GT(test, ktime_get_ns() - began, 200 * NSEC_PER_MSEC);
	window_teardown(&t);
	mmu_mirror_domain_destroy(domain);
}

/* More windows of one mm than any queue has workers wait; another mm's does not. */
#define STUCK_WINDOWS	1100

static void window_fills_of_others_go_on(struct kunit *test)
{
	struct mmu_mirror_window **stuck;
	struct owner owner = { .domain = mmu_mirror_domain_alloc() };
	struct actor actor = { .run = run_owner, .arg = &owner };
	struct mmu_notifier_range range;
	unsigned long addr = map_memory(test);
	int i;

	KUNIT_ASSERT_NOT_NULL(test, owner.domain);
	stuck = kunit_kcalloc(test, STUCK_WINDOWS, sizeof(*stuck), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, stuck);
	for (i = 0; i < STUCK_WINDOWS; i++) {
		stuck[i] = mmu_mirror_window_open(owner.domain, current->mm,
						  addr, PAGE_SIZE, true);
		KUNIT_ASSERT_FALSE(test, IS_ERR(stuck[i]));
	}
	range_begin(&range, addr, addr + PAGE_SIZE);
	for (i = 0; i < STUCK_WINDOWS; i++)
		mmu_mirror_window_prefetch(stuck[i]);
	actor_start(test, &actor, -1);
	KUNIT_EXPECT_NE(test, 0,
			wait_for_completion_timeout(&actor.done, 2 * HZ));
	/* Nor is its, or our, close held up. */
	if (!actor.ret)
		mmu_mirror_window_close(owner.window);
	for (i = 0; i < STUCK_WINDOWS; i++)
		mmu_mirror_window_close(stuck[i]);
	mmu_notifier_invalidate_range_end(&range);
	actor_join(test, &actor);
	KUNIT_EXPECT_EQ(test, 0, actor.ret);
	await_reaped(test, owner.domain);
	mmu_mirror_domain_destroy(owner.domain);
}

/* An event that this kernel has and the helper does not know. */
static void window_counts_unknown_events(struct kunit *test)
{
	struct mmu_notifier_range range;
	struct window_test t;

	window_setup(test, &t);
	mmu_notifier_range_init(&range, MMU_MIRROR_NR_EVENTS + 1, 0,
				current->mm, t.addr, t.addr + LENGTH);
	mmu_notifier_invalidate_range_start(&range);
	mmu_notifier_invalidate_range_end(&range);
	KUNIT_EXPECT_NULL(test, t.window->kaddr[0]);
	KUNIT_EXPECT_EQ(test, 1, t.window->drops[MMU_MIRROR_NR_EVENTS - 1]);
	window_teardown(&t);
}

/* The section guard. */

static void sections_count_the_outermost(struct kunit *test)
{
	struct mmu_mirror_domain *domain = mmu_mirror_domain_alloc();
	struct mmu_mirror_cpu *cpu;
	unsigned long count;

	KUNIT_ASSERT_NOT_NULL(test, domain);
	mmu_mirror_enter(domain);
	cpu = this_cpu_ptr(domain->cpu);
	count = READ_ONCE(cpu->count);
	KUNIT_EXPECT_EQ(test, 1, mmu_mirror_depth(count));
	mmu_mirror_enter(domain);
	KUNIT_EXPECT_EQ(test, count + 1, READ_ONCE(cpu->count));
	mmu_mirror_exit(domain);
	KUNIT_EXPECT_EQ(test, count, READ_ONCE(cpu->count));
	preempt_disable();
	mmu_mirror_exit(domain);
	KUNIT_EXPECT_EQ(test, count - 1 + MMU_MIRROR_COMPLETED,
			READ_ONCE(cpu->count));
	preempt_enable();
	mmu_mirror_domain_destroy(domain);
}

/*
 * A reader that stays inside a section, on a CPU of its own, and looks whether
 * an invalidation returns meanwhile. It begins to look when its pointer has
 * been dropped and the invalidation has started.
 */
struct reader {
	struct mmu_mirror_domain *domain;
	struct mmu_mirror_window *window;
	/* Without a window: an entry of a driver's own. */
	void **entry;
	struct extent *extent;
	u64 hold_ns;
	bool nested;
	struct completion inside;
	bool saw_return;
};

static bool reader_may_look(struct reader *reader)
{
	void **entry = reader->window ? &reader->window->kaddr[0] : reader->entry;

	return !READ_ONCE(*entry) &&
	       atomic_read(&reader->extent->started);
}

static void run_reader(struct actor *actor)
{
	struct reader *reader = actor->arg;
	u64 end;

	mmu_mirror_enter(reader->domain);
	if (reader->window)
		actor->ret = !mmu_mirror_window_ptr(reader->window, 0, sizeof(int));
	else
		actor->ret = !READ_ONCE(*reader->entry);
	complete_all(&reader->inside);
	end = ktime_get_ns() + 5ULL * NSEC_PER_SEC;
	while (!reader_may_look(reader) && ktime_get_ns() < end)
		cpu_relax();
	end = ktime_get_ns() + reader->hold_ns;
	while (ktime_get_ns() < end) {
		if (reader->nested) {
			mmu_mirror_enter(reader->domain);
			/* As long inside as outside, so that both are seen. */
			ndelay(NESTED_NS);
			mmu_mirror_exit(reader->domain);
			ndelay(NESTED_NS);
		}
		if (atomic_read(&reader->extent->returned))
			reader->saw_return = true;
	}
	mmu_mirror_exit(reader->domain);
}

static void reader_enter(struct kunit *test, struct actor *actor,
			 struct reader *reader)
{
	init_completion(&reader->inside);
	actor->run = run_reader;
	actor->arg = reader;
	actor->mm = NULL;
	actor_start(test, actor, 1);
	KUNIT_ASSERT_NE(test, 0,
			wait_for_completion_timeout(&reader->inside, 20 * HZ));
	KUNIT_ASSERT_EQ(test, 0, actor->ret);
}

/* CPU 1 is the reader's alone: it spins there with preemption off. */
static void needs_two_cpus(struct kunit *test)
{
	if (!cpu_online(1))
		kunit_skip(test, "needs a second CPU for the reader");
	KUNIT_ASSERT_EQ(test, 0, set_cpus_allowed_ptr(current, cpumask_of(0)));
}

/* Put CPU 1 on the domain's mask, so that the next section has no fence. */
static void run_publish(struct actor *actor)
{
	mmu_mirror_enter(actor->arg);
	mmu_mirror_exit(actor->arg);
}

static void check_reader_waited_for(struct kunit *test, bool published,
				    bool nested, u64 hold_ns)
{
	struct window_test t;
	struct extent extent = {};
	struct actor first = { .run = run_publish };
	struct actor hand = { .run = run_invalidate, .arg = &extent };
	struct actor eye;
	struct reader reader = {
		.nested = nested, .extent = &extent, .hold_ns = hold_ns,
	};

	needs_two_cpus(test);
	window_setup(test, &t);
	extent.start = t.addr;
	extent.length = PAGE_SIZE;
	hand.mm = current->mm;
	reader.domain = t.domain;
	reader.window = t.window;
	first.arg = t.domain;
	if (published) {
		actor_start(test, &first, 1);
		actor_join(test, &first);
		KUNIT_ASSERT_EQ(test, 1, per_cpu_ptr(t.domain->cpu, 1)->published);
	}
	reader_enter(test, &eye, &reader);
	actor_start(test, &hand, 0);
	actor_join(test, &eye);
	actor_join(test, &hand);
	KUNIT_EXPECT_FALSE(test, reader.saw_return);
	KUNIT_EXPECT_GE(test, atomic_long_read(&t.domain->worst_wait_ns),
			(long)min_t(u64, hold_ns, LONG_MAX) / 2);
	window_teardown(&t);
}

static void invalidate_waits_for_new_reader(struct kunit *test)
{
	check_reader_waited_for(test, false, false, HOLD_NS);
}

static void invalidate_waits_for_known_reader(struct kunit *test)
{
	check_reader_waited_for(test, true, false, HOLD_NS);
}

static void invalidate_waits_for_outer_section(struct kunit *test)
{
	check_reader_waited_for(test, true, true, HOLD_NS);
}

/* A driver with one entry, which its readers use in sections. */
struct own {
	struct mmu_range_mirror mirror;
	struct mmu_mirror_domain *domain;
	void *entry;
};

static void own_invalidate(struct mmu_range_mirror *mirror,
			   const struct mmu_notifier_range *range,
			   struct mmu_mirror_gather *gather)
{
	struct own *own = container_of(mirror, struct own, mirror);

	if (!own->entry)
		return;
	WRITE_ONCE(own->entry, NULL);
	mmu_mirror_domain_dropped(own->domain);
}

static void own_wait(struct mmu_range_mirror *mirror,
		     const struct mmu_notifier_range *range)
{
	mmu_mirror_domain_drain(container_of(mirror, struct own, mirror)->domain);
}

static const struct mmu_range_mirror_ops own_ops = {
	.invalidate = own_invalidate,
	.wait = own_wait,
};

/* A domain without windows. */
static void own_entries_are_waited_for(struct kunit *test)
{
	unsigned long addr = map_memory(test);
	struct own own = { .domain = mmu_mirror_domain_alloc(), .entry = &own };
	struct extent extent = { .start = addr, .length = PAGE_SIZE };
	struct actor hand = {
		.run = run_invalidate, .arg = &extent, .mm = current->mm,
	};
	struct reader reader = {
		.domain = own.domain, .entry = &own.entry, .extent = &extent,
		.hold_ns = HOLD_NS,
	};
	struct actor eye;

	needs_two_cpus(test);
	KUNIT_ASSERT_NOT_NULL(test, own.domain);
	KUNIT_ASSERT_EQ(test, 0,
			mmu_range_mirror_insert(&own.mirror, current->mm, addr,
						LENGTH, &own_ops, NULL));
	reader_enter(test, &eye, &reader);
	actor_start(test, &hand, 0);
	actor_join(test, &eye);
	actor_join(test, &hand);
	KUNIT_EXPECT_FALSE(test, reader.saw_return);
	KUNIT_EXPECT_NULL(test, own.entry);
	/* Nothing more was dropped: nobody is interrupted. */
	invalidate(addr, addr + PAGE_SIZE);
	KUNIT_EXPECT_EQ(test, 1, atomic_long_read(&own.domain->nr_waits));
	mmu_range_mirror_remove(&own.mirror);
	mmu_mirror_domain_destroy(own.domain);
}

/* A wait of more nanoseconds than a long of 32 bits has. */
static void long_wait_is_reported(struct kunit *test)
{
	if (BITS_PER_LONG > 32)
		kunit_skip(test, "a long has room for it");
	check_reader_waited_for(test, true, false, 2500ULL * NSEC_PER_MSEC);
}

/* On 32-bit machines this takes a day or two of invalidations. */
static void drain_waits_when_the_count_wraps(struct kunit *test)
{
	struct window_test t;
	long waits;

	window_setup(test, &t);
	atomic_long_set(&t.domain->dropped, LONG_MAX);
	atomic_long_set(&t.domain->drained, LONG_MAX);
	waits = atomic_long_read(&t.domain->nr_waits);
	invalidate(t.addr, t.addr + PAGE_SIZE);
	KUNIT_EXPECT_EQ(test, waits + 1, atomic_long_read(&t.domain->nr_waits));
	KUNIT_EXPECT_EQ(test, LONG_MIN, atomic_long_read(&t.domain->drained));
	window_teardown(&t);
}

/* The CPU that is outside leaves the mask, and costs no more interrupts. */
static void drain_clears_the_mask(struct kunit *test)
{
	struct window_test t;
	struct actor first = { .run = run_publish };

	needs_two_cpus(test);
	window_setup(test, &t);
	first.arg = t.domain;
	actor_start(test, &first, 1);
	actor_join(test, &first);
	KUNIT_EXPECT_TRUE(test, cpumask_test_cpu(1, t.domain->mask));
	invalidate(t.addr, t.addr + PAGE_SIZE);
	KUNIT_EXPECT_FALSE(test, cpumask_test_cpu(1, t.domain->mask));
	KUNIT_EXPECT_EQ(test, 0, per_cpu_ptr(t.domain->cpu, 1)->published);
	KUNIT_EXPECT_EQ(test, 1, atomic_long_read(&t.domain->nr_interrupts));
	invalidate(t.addr + PAGE_SIZE, t.addr + 2 * PAGE_SIZE);
	KUNIT_EXPECT_EQ(test, 1, atomic_long_read(&t.domain->nr_interrupts));
	window_teardown(&t);
}

/* Whatever an invalidation hits of a domain, it waits for its readers once. */
static void windows_of_a_domain_wait_once(struct kunit *test)
{
	struct mmu_mirror_window *more[NPAGES];
	struct window_test t;
	int i;

	window_setup(test, &t);
	for (i = 0; i < NPAGES; i++)
		more[i] = window_make(test, t.domain, t.addr + i * PAGE_SIZE + 8,
				      64);
	invalidate(t.addr, t.addr + LENGTH);
	KUNIT_EXPECT_EQ(test, 1, atomic_long_read(&t.domain->nr_waits));
	KUNIT_EXPECT_EQ(test, 0, mmu_mirror_window_mapped(t.window));
	for (i = 0; i < NPAGES; i++) {
		KUNIT_EXPECT_EQ(test, 0, mmu_mirror_window_mapped(more[i]));
		KUNIT_EXPECT_EQ(test, 1, more[i]->drops[MMU_NOTIFY_CLEAR]);
	}
	/* What is not hit stays. */
	for (i = 0; i < NPAGES; i++) {
		mmu_mirror_window_close(more[i]);
		more[i] = window_make(test, t.domain, t.addr + i * PAGE_SIZE + 8,
				      64);
	}
	invalidate(t.addr + PAGE_SIZE, t.addr + 2 * PAGE_SIZE);
	for (i = 0; i < NPAGES; i++) {
		KUNIT_EXPECT_EQ(test, i != 1, mmu_mirror_window_mapped(more[i]));
		mmu_mirror_window_close(more[i]);
	}
	window_teardown(&t);
}

/* One for each mm, made when it is asked for, and gone with the queue. */
static void queue_has_a_domain(struct kunit *test)
{
	unsigned long addr = map_memory(test);
	struct mmu_mirror_queue *queue = mmu_mirror_queue_get(current->mm);
	struct mm_struct *mm = new_mm();
	struct mmu_mirror_domain *domain;
	struct mmu_mirror_window *window;
	struct mmu_mirror_queue *other;

	KUNIT_ASSERT_NOT_NULL(test, mm);
	other = mmu_mirror_queue_get(mm);
	KUNIT_ASSERT_NOT_NULL(test, queue);
	KUNIT_ASSERT_NOT_NULL(test, other);
	domain = mmu_mirror_queue_domain(queue);
	KUNIT_ASSERT_NOT_NULL(test, domain);
	KUNIT_EXPECT_PTR_EQ(test, domain, mmu_mirror_queue_domain(queue));
	KUNIT_EXPECT_PTR_NE(test, domain, mmu_mirror_queue_domain(other));
	window = window_make(test, domain, addr, LENGTH);
	mmu_mirror_queue_put(queue);
	mmu_mirror_queue_put(other);
	/* A window holds the queue, and so the domain. */
	KUNIT_EXPECT_EQ(test, 2, refcount_read(&domain->users));
	mmu_mirror_window_close(window);
	mmput(mm);
}

/* The second finds nothing to drop, but the reader is still inside. */
static void check_overlap(struct kunit *test, bool first_waits)
{
	struct window_test t;
	struct extent one = {}, two = {};
	struct actor first = { .run = run_invalidate, .arg = &one };
	struct actor second = { .run = run_invalidate, .arg = &two };
	struct actor eye;
	struct reader reader = { .extent = &two, .hold_ns = HOLD_NS };

	needs_two_cpus(test);
	window_setup(test, &t);
	one.start = t.addr;
	one.length = PAGE_SIZE;
	two = one;
	first.mm = current->mm;
	second.mm = current->mm;
	reader.domain = t.domain;
	reader.window = t.window;
	inject_gate(MMU_RANGE_MIRROR_DROPPED);
	reader_enter(test, &eye, &reader);
	actor_start(test, &first, 0);
	gate_await(test, &inject.gate);
	if (first_waits) {
		gate_open(&inject.gate);
		KUNIT_EXPECT_EQ(test, 0,
				wait_for_completion_timeout(&first.done, HZ / 20));
	}
	actor_start(test, &second, 0);
	actor_join(test, &eye);
	KUNIT_EXPECT_FALSE(test, reader.saw_return);
	gate_open(&inject.gate);
	actor_join(test, &first);
	actor_join(test, &second);
	window_teardown(&t);
}

static void second_waits_before_the_first(struct kunit *test)
{
	check_overlap(test, false);
}

static void second_waits_beside_the_first(struct kunit *test)
{
	if (IS_ENABLED(CONFIG_UML) || !IS_ENABLED(CONFIG_PREEMPTION))
		kunit_skip(test, "needs the first to be preempted where it spins");
	check_overlap(test, true);
}

/* A reader that never pauses delays an invalidation by a section at most. */
struct spinner {
	struct mmu_mirror_domain *domain;
	struct mmu_mirror_window *window;
	bool stop;
	unsigned long sections;
};

static void run_spinner(struct actor *actor)
{
	struct spinner *spinner = actor->arg;

	while (!READ_ONCE(spinner->stop)) {
		mmu_mirror_enter(spinner->domain);
		mmu_mirror_window_ptr(spinner->window, 0, sizeof(int));
		mmu_mirror_exit(spinner->domain);
		spinner->sections++;
		if (!(spinner->sections & 0xff))
			cond_resched();
	}
}

static void busy_reader_starves_nobody(struct kunit *test)
{
	struct window_test t;
	struct spinner spinner = {};
	struct actor actor = { .run = run_spinner, .arg = &spinner };
	struct mmu_notifier_range range;
	int i;

	needs_two_cpus(test);
	window_setup(test, &t);
	spinner.domain = t.domain;
	spinner.window = t.window;
	actor_start(test, &actor, 1);
	for (i = 0; i < MANY / 10; i++) {
		t.window->rest.until = jiffies;
		mmu_mirror_window_prefetch(t.window);
		flush_work(&t.window->fill);
		/* The reader's misses have it filled again after the end. */
		range_begin(&range, t.addr, t.addr + LENGTH);
		KUNIT_EXPECT_NULL(test, READ_ONCE(t.window->kaddr[0]));
		mmu_notifier_invalidate_range_end(&range);
	}
	WRITE_ONCE(spinner.stop, true);
	actor_join(test, &actor);
	KUNIT_EXPECT_GT(test, spinner.sections, 0);
	KUNIT_EXPECT_GT(test, t.window->drops[MMU_NOTIFY_CLEAR], 0);
	window_teardown(&t);
}

/* An RCU reader that waits for the invalidation: no grace period in it. */
struct rcu_reader {
	struct completion inside;
	atomic_t *returned;
	bool saw_return;
};

static void run_rcu_reader(struct actor *actor)
{
	struct rcu_reader *reader = actor->arg;
	u64 end;

	rcu_read_lock();
	complete_all(&reader->inside);
	end = ktime_get_ns() + 2ULL * NSEC_PER_SEC;
	while (!reader->saw_return && ktime_get_ns() < end)
		reader->saw_return = atomic_read(reader->returned);
	rcu_read_unlock();
}

static void invalidate_needs_no_grace_period(struct kunit *test)
{
	struct window_test t;
	struct extent extent = {};
	struct rcu_reader reader = { .returned = &extent.returned };
	struct actor eye = { .run = run_rcu_reader, .arg = &reader };
	struct actor hand = { .run = run_invalidate, .arg = &extent };

	needs_two_cpus(test);
	window_setup(test, &t);
	extent.start = t.addr;
	extent.length = LENGTH;
	hand.mm = current->mm;
	init_completion(&reader.inside);
	actor_start(test, &eye, 1);
	KUNIT_ASSERT_NE(test, 0,
			wait_for_completion_timeout(&reader.inside, 20 * HZ));
	actor_start(test, &hand, 0);
	actor_join(test, &eye);
	actor_join(test, &hand);
	KUNIT_EXPECT_TRUE(test, reader.saw_return);
	window_teardown(&t);
}

/* Lifetimes. */

static void run_close(struct actor *actor)
{
	mmu_mirror_window_close(actor->arg);
}

/* While close waits for a reader, an invalidation has to wait as well. */
static void close_keeps_the_notifier_until_drained(struct kunit *test)
{
	struct window_test t;
	struct extent extent = {};
	struct actor closer = { .run = run_close };
	struct actor hand = { .run = run_invalidate, .arg = &extent };
	struct actor eye;
	struct reader reader = { .extent = &extent, .hold_ns = HOLD_NS };

	needs_two_cpus(test);
	window_setup(test, &t);
	extent.start = t.addr;
	extent.length = PAGE_SIZE;
	hand.mm = current->mm;
	reader.domain = t.domain;
	reader.window = t.window;
	closer.arg = t.window;
	inject_gate(MMU_RANGE_MIRROR_SNAPSHOT);
	reader_enter(test, &eye, &reader);
	actor_start(test, &closer, 0);
	gate_await(test, &inject.gate);
	actor_start(test, &hand, 0);
	actor_join(test, &eye);
	KUNIT_EXPECT_FALSE(test, reader.saw_return);
	gate_open(&inject.gate);
	actor_join(test, &hand);
	actor_join(test, &closer);
	KUNIT_EXPECT_EQ(test, 0, atomic_read(&t.domain->nr_windows));
	mmu_mirror_domain_destroy(t.domain);
}

/* Nothing is installed after a close; a fill that waits does not hold it up. */
static void closed_window_is_not_filled(struct kunit *test)
{
	struct window_test t;
	struct folio *folio;

	window_setup(test, &t);
	invalidate(t.addr, t.addr + LENGTH);
	t.window->rest.until = jiffies;
	inject_gate(MMU_RANGE_MIRROR_LOOKED_UP);
	mmu_mirror_window_prefetch(t.window);
	gate_await(test, &inject.gate);
	mmu_mirror_window_close(t.window);
	folio = page_folio(mapped_page(test, t.addr));
	folio_clear_dirty(folio);
	gate_open(&inject.gate);
	await_reaped(test, t.domain);
	KUNIT_EXPECT_FALSE(test, folio_test_dirty(folio));
	mmu_mirror_domain_destroy(t.domain);
}

/* A reader that still has the pointer must not start a new fill. */
static void closed_window_does_not_fill(struct kunit *test)
{
	struct window_test t;
	struct actor closer = { .run = run_close };

	window_setup(test, &t);
	closer.arg = t.window;
	inject_gate(MMU_RANGE_MIRROR_CLOSED);
	actor_start(test, &closer, -1);
	gate_await(test, &inject.gate);
	t.window->rest.until = jiffies;
	mmu_mirror_enter(t.domain);
	KUNIT_EXPECT_NULL(test, mmu_mirror_window_ptr(t.window, 0, 1));
	mmu_mirror_exit(t.domain);
	KUNIT_EXPECT_FALSE(test, work_busy(&t.window->fill));
	KUNIT_EXPECT_NULL(test, t.window->kaddr[0]);
	gate_open(&inject.gate);
	actor_join(test, &closer);
	mmu_mirror_domain_destroy(t.domain);
}

static void call_nothing(void *arg)
{
}

static void close_within_invalidation(struct kunit *test)
{
	struct window_test t;
	struct actor closer = { .run = run_close };
	struct mmu_notifier_range range;

	window_setup(test, &t);
	closer.arg = t.window;
	range_begin(&range, t.addr, t.addr + LENGTH);
	actor_start(test, &closer, -1);
	/* It does not wait for the invalidation; the removal does. */
	KUNIT_EXPECT_NE(test, 0,
			wait_for_completion_timeout(&closer.done, 2 * HZ));
	KUNIT_EXPECT_EQ(test, 2, refcount_read(&t.domain->users));
	mmu_notifier_invalidate_range_end(&range);
	actor_join(test, &closer);
	await_reaped(test, t.domain);
	/* Nobody is told of an invalidation any more. */
	inject_call(MMU_RANGE_MIRROR_NOTIFIED, call_nothing, NULL);
	invalidate(t.addr, t.addr + LENGTH);
	KUNIT_EXPECT_EQ(test, 0, inject.calls);
	mmu_range_mirror_set_injection(NULL);
	/* A later window of the same range works. */
	t.window = window_make(test, t.domain, t.addr, LENGTH);
	KUNIT_EXPECT_NOT_NULL(test, t.window->kaddr[0]);
	window_teardown(&t);
}

static void window_outlives_its_owner(struct kunit *test)
{
	struct owner owner = { .domain = mmu_mirror_domain_alloc() };
	struct actor actor = { .run = run_owner, .arg = &owner };
	int tries = MANY;

	KUNIT_ASSERT_NOT_NULL(test, owner.domain);
	actor_start(test, &actor, -1);
	actor_join(test, &actor);
	KUNIT_ASSERT_EQ(test, 0, actor.ret);
	/* The fill's reference on the mm is put asynchronously. */
	while (READ_ONCE(owner.window->kaddr[0]) && tries--)
		schedule_timeout_uninterruptible(1);
	KUNIT_EXPECT_NULL(test, owner.window->kaddr[0]);
	KUNIT_EXPECT_EQ(test, 1, owner.window->drops[MMU_NOTIFY_RELEASE]);
	owner.window->rest.until = jiffies;
	mmu_mirror_window_prefetch(owner.window);
	flush_work(&owner.window->fill);
	KUNIT_EXPECT_NULL(test, owner.window->kaddr[0]);
	mmu_mirror_window_close(owner.window);
	mmu_mirror_domain_destroy(owner.domain);
	mmu_mirror_window_close(NULL);
}

/* The address space dies while a fill has the last reference on it. */
static struct work_struct *died_in;

static void inject_dying(enum mmu_range_mirror_point point,
			 struct mmu_range_mirror *mirror)
{
	if (point == MMU_RANGE_MIRROR_LOOKED_UP)
		gate_pass(&inject.gate);
	else if (point == MMU_RANGE_MIRROR_NOTIFIED)
		WRITE_ONCE(died_in, current_work());
}

/* Closing the window waits for the fill: it must not be the one to tear down. */
static void fill_does_not_tear_down(struct kunit *test)
{
	struct owner owner = {
		.domain = mmu_mirror_domain_alloc(), .leaves_to_fill = true,
	};
	struct actor actor = { .run = run_owner, .arg = &owner };
	int tries = MANY;

	KUNIT_ASSERT_NOT_NULL(test, owner.domain);
	died_in = NULL;
	gate_arm(&inject.gate);
	mmu_range_mirror_set_injection(inject_dying);
	actor_start(test, &actor, -1);
	actor_join(test, &actor);
	KUNIT_ASSERT_EQ(test, 0, actor.ret);
	gate_open(&inject.gate);
	flush_work(&owner.window->fill);
	while (!READ_ONCE(died_in) && tries--)
		schedule_timeout_uninterruptible(1);
	KUNIT_EXPECT_NOT_NULL(test, died_in);
	KUNIT_EXPECT_PTR_NE(test, died_in, &owner.window->fill);
	mmu_range_mirror_set_injection(NULL);
	mmu_mirror_window_close(owner.window);
	mmu_mirror_domain_destroy(owner.domain);
}

/* A reader that is still inside, of a window that was empty. */
struct late_reader {
	struct window_test *t;
	struct completion inside;
	bool gone;
	void *seen;
};

static void run_late_reader(struct actor *actor)
{
	struct late_reader *late = actor->arg;
	u64 end = ktime_get_ns() + 5ULL * NSEC_PER_SEC;

	mmu_mirror_enter(late->t->domain);
	complete_all(&late->inside);
	while (!READ_ONCE(late->gone) && ktime_get_ns() < end)
		cpu_relax();
	late->seen = mmu_mirror_window_ptr(late->t->window, 0, sizeof(int));
	mmu_mirror_exit(late->t->domain);
}

/*
 * Closing does not wait for it, since nothing was dropped: both the window and
 * the domain have to stay until it is out. KASAN sees whether they do.
 */
static void late_reader_finds_memory(struct kunit *test)
{
	struct window_test t;
	struct late_reader late = { .t = &t };
	struct actor eye = { .run = run_late_reader, .arg = &late };

	needs_two_cpus(test);
	window_setup(test, &t);
	invalidate(t.addr, t.addr + LENGTH);
	init_completion(&late.inside);
	actor_start(test, &eye, 1);
	KUNIT_ASSERT_NE(test, 0,
			wait_for_completion_timeout(&late.inside, 20 * HZ));
	mmu_mirror_window_close(t.window);
	await_reaped(test, t.domain);
	mmu_mirror_domain_destroy(t.domain);
	WRITE_ONCE(late.gone, true);
	actor_join(test, &eye);
	KUNIT_EXPECT_NULL(test, late.seen);
}

#ifdef CONFIG_EVENT_TRACING
static void run_nothing(struct actor *actor)
{
}

static void run_insert(struct actor *actor)
{
	struct shadow *shadow = actor->arg;
	struct mm_struct *mm = new_mm();
	unsigned long addr;

	actor->ret = -ENOMEM;
	if (!mm)
		return;
	kthread_use_mm(mm);
	addr = vm_mmap(NULL, 0, LENGTH, PROT_READ | PROT_WRITE,
		       MAP_ANONYMOUS | MAP_PRIVATE, 0);
	if (!IS_ERR_VALUE(addr))
		actor->ret = mmu_range_mirror_insert(&shadow->mirror, mm, addr,
						     LENGTH, &shadow_ops, NULL);
	kthread_unuse_mm(mm);
	mmput(mm);
}

/* The notifier is the last to hold the mm, and the event says whose it was. */
static void remove_is_traced_after_the_owner(struct kunit *test)
{
	struct shadow *shadow = kunit_kzalloc(test, sizeof(*shadow), GFP_KERNEL);
	struct actor actor = { .run = run_insert, .arg = shadow };
	struct actor other = { .run = run_nothing };
	int cpu, tries = MANY;

	KUNIT_ASSERT_NOT_NULL(test, shadow);
	map_memory(test);
	actor_start(test, &actor, -1);
	actor_join(test, &actor);
	KUNIT_ASSERT_EQ(test, 0, actor.ret);
	/* No CPU has it as its lazy address space any more. */
	other.mm = current->mm;
	while (atomic_read(&shadow->mirror.notifier.mm->mm_count) > 1 && tries--) {
		for_each_online_cpu(cpu) {
			actor_start(test, &other, cpu);
			actor_join(test, &other);
		}
		schedule_timeout_uninterruptible(1);
	}
	KUNIT_EXPECT_EQ(test, 1,
			atomic_read(&shadow->mirror.notifier.mm->mm_count));
	KUNIT_ASSERT_EQ(test, 0, trace_set_clr_event("mmu_range_mirror",
						     "mmu_mirror_remove", 1));
	mmu_range_mirror_remove(&shadow->mirror);
	trace_set_clr_event("mmu_range_mirror", "mmu_mirror_remove", 0);
}
#endif

static void mirror_test_exit(struct kunit *test)
{
	/* A failed assertion may have left a thread at the gate. */
	gate_open(&inject.gate);
	mmu_range_mirror_set_injection(NULL);
}

static int mirror_test_init(struct kunit *test)
{
	gate_init(&inject.gate);
	return 0;
}

static struct kunit_case mirror_cases[] = {
	KUNIT_CASE(insert_refuses),
	KUNIT_CASE(insert_primes_lockdep),
	KUNIT_CASE(populate_refuses),
	KUNIT_CASE(populate_installs),
	KUNIT_CASE(populate_writes_what_nobody_reads),
	KUNIT_CASE(populate_reading_dirties_nothing),
	KUNIT_CASE(populate_stops_at_failed_install),
	KUNIT_CASE(invalidate_drops_what_it_hits),
	KUNIT_CASE(invalidate_never_dirties),
	KUNIT_CASE(nonblockable),
	KUNIT_CASE(populate_collides_before_gup),
	KUNIT_CASE(populate_collides_after_gup),
	KUNIT_CASE(populate_ignores_unrelated),
	KUNIT_CASE(populate_before_the_mark),
	KUNIT_CASE(populate_waits_for_end),
	KUNIT_CASE_SLOW(waiting_thread_looks_again),
	KUNIT_CASE(populate_gives_up),
	KUNIT_CASE(lookup_refuses),
	KUNIT_CASE(lookup_finds),
	KUNIT_CASE(lookup_charges_the_owner),
	KUNIT_CASE(lookup_faults_in),
	KUNIT_CASE(lookup_dirties_what_it_says),
	KUNIT_CASE(lookup_respects_protection),
	KUNIT_CASE(lookup_collides_before_it_reads),
	KUNIT_CASE(lookup_collides_after_it_read),
	KUNIT_CASE(lookup_gives_up),
	KUNIT_CASE(lookup_under_rwsem),
	KUNIT_CASE(lookup_is_outrun),
	KUNIT_CASE(lookup_waits_for_the_answer),
	KUNIT_CASE(lookup_is_cancelled),
	KUNIT_CASE(lookup_is_cancelled_last),
	KUNIT_CASE(populate_is_cancelled),
	KUNIT_CASE(removed_mirror_refuses),
	KUNIT_CASE(remove_within_invalidation),
	KUNIT_CASE(wait_is_reentrant),
	KUNIT_CASE(waits_without_a_finish),
	KUNIT_CASE(waits_come_after_all_drops),
	KUNIT_CASE(window_open_refuses),
	KUNIT_CASE(aliasing_caches_refuse_windows),
	KUNIT_CASE(window_reads_and_writes),
	KUNIT_CASE(window_at_an_offset),
	KUNIT_CASE(window_fill_skips_holes),
	KUNIT_CASE(window_populate_faults_in),
	KUNIT_CASE(window_populate_comes_second),
	KUNIT_CASE(window_populate_respects_protection),
	KUNIT_CASE(window_peek_asks_for_no_fill),
	KUNIT_CASE(window_copies_across_pages),
	KUNIT_CASE(window_copies_fall_back),
	KUNIT_CASE(window_copies_as_far_as_it_goes),
	KUNIT_CASE(window_loads_and_stores),
	KUNIT_CASE(window_respects_protection),
	KUNIT_CASE(window_invalidate_drops),
	KUNIT_CASE(window_shadow_is_dropped),
	KUNIT_CASE(window_nonblockable),
	KUNIT_CASE(window_fill_collides_before_gup),
	KUNIT_CASE(window_fill_collides_after_gup),
	KUNIT_CASE(window_knows_why),
	KUNIT_CASE(window_forgets),
	KUNIT_CASE(window_forgets_while_filling),
	KUNIT_CASE(window_fill_gives_up),
	KUNIT_CASE(window_backs_off),
	KUNIT_CASE(window_rest_is_not_shortened),
	KUNIT_CASE(window_rests_by_page),
	KUNIT_CASE(window_page_comes_back),
	KUNIT_CASE(window_fills_beside_a_hole),
	KUNIT_CASE(window_fills_what_was_just_gone),
	KUNIT_CASE(window_fills_have_a_budget),
	KUNIT_CASE(window_openings_have_a_budget),
	KUNIT_CASE(window_fills_of_others_go_on),
	KUNIT_CASE(window_counts_unknown_events),
	KUNIT_CASE(window_fills_where_it_is_used),
	KUNIT_CASE(large_window_counts_its_drops),
	KUNIT_CASE(sections_count_the_outermost),
	KUNIT_CASE(invalidate_waits_for_new_reader),
	KUNIT_CASE(invalidate_waits_for_known_reader),
	KUNIT_CASE(invalidate_waits_for_outer_section),
	KUNIT_CASE(own_entries_are_waited_for),
	KUNIT_CASE_SLOW(long_wait_is_reported),
	KUNIT_CASE(drain_waits_when_the_count_wraps),
	KUNIT_CASE(drain_clears_the_mask),
	KUNIT_CASE(windows_of_a_domain_wait_once),
	KUNIT_CASE(queue_has_a_domain),
	KUNIT_CASE(second_waits_before_the_first),
	KUNIT_CASE(second_waits_beside_the_first),
	KUNIT_CASE(busy_reader_starves_nobody),
	KUNIT_CASE(invalidate_needs_no_grace_period),
	KUNIT_CASE(close_keeps_the_notifier_until_drained),
	KUNIT_CASE(closed_window_is_not_filled),
	KUNIT_CASE(closed_window_does_not_fill),
	KUNIT_CASE(close_within_invalidation),
	KUNIT_CASE(window_outlives_its_owner),
	KUNIT_CASE(fill_does_not_tear_down),
	KUNIT_CASE(late_reader_finds_memory),
#ifdef CONFIG_EVENT_TRACING
	KUNIT_CASE(remove_is_traced_after_the_owner),
#endif
	{}
};

static struct kunit_suite mirror_suite = {
	.name = "mmu_range_mirror",
	.init = mirror_test_init,
	.exit = mirror_test_exit,
	.test_cases = mirror_cases,
};

kunit_test_suite(mirror_suite);

MODULE_DESCRIPTION("KUnit tests of mmu_range_mirror");
MODULE_LICENSE("GPL");
