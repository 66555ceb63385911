// SPDX-License-Identifier: GPL-2.0
/*
 * KUnit tests of external TLBs: the hook behind a mirror's invalidate_range,
 * gathering and deferring of flushes, the age of pages, and extents.
 *
 * The device is a log of what it is told. The hooks are called as core mm calls
 * them, so that they run under UML as well, which has no hook of its own.
 */
#include <kunit/static_stub.h>
#include <linux/bitmap.h>
#include <linux/delay.h>
#include <linux/mmu_mirror_extents.h>
#include <linux/mmu_mirror_tlb.h>
#include <linux/mmu_range_mirror.h>
#include <linux/mmu_range_mirror_compat.h>
#include <linux/mmu_range_mirror_inject.h>
#include <linux/prandom.h>

#include "mmu_mirror_kunit.h"

/* More than any test gathers, unless it is about that. */
#define FULL_PAGES	1000

/*
 * A device's TLB that writes down what happens, in the order it does:
 * R a range is flushed, A all of it is, S synced; and of its mirrors:
 * I invalidated, W waited for, H the hook, X released.
 */
struct fake_tlb {
	struct mmu_mirror_tlb tlb;
	spinlock_t lock;	/* the log, and the ranges */
	char log[64];
	char last_log[64];
	int nr;
	struct {
		unsigned long start;
		unsigned long end;
	} range[2 * MMU_MIRROR_GATHER_MAX];
	/* Stops flushes, after the log. */
	struct gate gate;
	/* A command, or the wait for it, might have been on another CPU. */
	bool strays;
};

static void note(struct fake_tlb *tlb, char what)
{
	size_t len;

	spin_lock(&tlb->lock);
	len = strlen(tlb->log);
	if (len < sizeof(tlb->log) - 1)
		tlb->log[len] = what;
	spin_unlock(&tlb->lock);
}

static void note_range(struct fake_tlb *tlb, char what, unsigned long start,
		       unsigned long end)
{
	note(tlb, what);
	spin_lock(&tlb->lock);
	if (tlb->nr < ARRAY_SIZE(tlb->range)) {
		tlb->range[tlb->nr].start = start;
		tlb->range[tlb->nr].end = end;
		tlb->nr++;
	}
	spin_unlock(&tlb->lock);
}

/* What was logged since the last call. The ranges stay until the next log. */
static const char *logged(struct fake_tlb *tlb)
{
	spin_lock(&tlb->lock);
	memcpy(tlb->last_log, tlb->log, sizeof(tlb->log));
	memset(tlb->log, 0, sizeof(tlb->log));
	tlb->nr = 0;
	spin_unlock(&tlb->lock);
	return tlb->last_log;
}

static struct fake_tlb *to_fake(struct mmu_mirror_tlb *tlb)
{
	return container_of(tlb, struct fake_tlb, tlb);
}

/* Since 7.1 machines with one CPU count it as well. */
static void note_cpu(struct fake_tlb *tlb)
{
#if defined(CONFIG_SMP) || MMU_RANGE_MIRROR_TWO_PASS
	tlb->strays |= !current->migration_disabled;
#endif
}

static void fake_flush_range(struct mmu_mirror_tlb *tlb, unsigned long start,
			     unsigned long end)
{
	note_cpu(to_fake(tlb));
	note_range(to_fake(tlb), 'R', start, end);
	gate_pass(&to_fake(tlb)->gate);
}

static void fake_flush_all(struct mmu_mirror_tlb *tlb)
{
	note_cpu(to_fake(tlb));
	note(to_fake(tlb), 'A');
	gate_pass(&to_fake(tlb)->gate);
}

static void fake_sync(struct mmu_mirror_tlb *tlb)
{
	note_cpu(to_fake(tlb));
	note(to_fake(tlb), 'S');
}

static const struct mmu_mirror_tlb_ops fake_tlb_ops = {
	.flush_range = fake_flush_range,
	.flush_all = fake_flush_all,
	.sync = fake_sync,
};

static void open_gate(void *gate)
{
	gate_open(gate);
}

static struct fake_tlb *tlb_make(struct kunit *test)
{
	struct fake_tlb *tlb = kunit_kzalloc(test, sizeof(*tlb), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, tlb);
	spin_lock_init(&tlb->lock);
	gate_init(&tlb->gate);
	tlb->tlb.ops = &fake_tlb_ops;
	tlb->tlb.full_pages = FULL_PAGES;
	tlb->tlb.full_ranges = MMU_MIRROR_GATHER_MAX;
	return tlb;
}

/* A mirror of that device. */
struct client {
	struct mmu_range_mirror mirror;
	struct fake_tlb *tlb;
	bool inserted;
	/* Stops the hook, after the log. */
	struct gate gate;
	/* Times that ops->release was called. */
	int released;
	/* Invalidations that the driver was to skip, as their owner. */
	int skipped;
	/* Pages that the device used. */
	unsigned long used;
	/* When the device has done what the last invalidation started. */
	ktime_t idle;
};

static struct client *to_client(struct mmu_range_mirror *mirror)
{
	return container_of(mirror, struct client, mirror);
}

static struct mmu_mirror_tlb *client_tlb(struct mmu_range_mirror *mirror)
{
	return &to_client(mirror)->tlb->tlb;
}

static void client_invalidate(struct mmu_range_mirror *mirror,
			      const struct mmu_notifier_range *range,
			      struct mmu_mirror_gather *gather)
{
	struct client *client = to_client(mirror);

	mmu_range_mirror_assert_held(mirror);
	client->skipped += range->owner == client;
	client->idle = ktime_add_ms(ktime_get(), 1);
	note(client->tlb, 'I');
}

/* As it drops entries, it says of which ranges. */
static void client_invalidate_gathers(struct mmu_range_mirror *mirror,
				      const struct mmu_notifier_range *range,
				      struct mmu_mirror_gather *gather)
{
	client_invalidate(mirror, range, gather);
	mmu_mirror_gather_add(gather, max(range->start, mirror->start),
			      min(range->end, mirror->end));
}

/* It has an entry that a device uses, or none. */
static void client_invalidate_drops(struct mmu_range_mirror *mirror,
				    const struct mmu_notifier_range *range,
				    struct mmu_mirror_gather *gather)
{
	struct client *client = to_client(mirror);

	if (client->used)
		client_invalidate_gathers(mirror, range, gather);
	else
		client_invalidate(mirror, range, gather);
	client->used = 0;
}

static void client_wait(struct mmu_range_mirror *mirror,
			const struct mmu_notifier_range *range)
{
	struct client *client = to_client(mirror);

	while (ktime_before(ktime_get(), client->idle))
		cpu_relax();
	note(client->tlb, 'W');
}

static void client_gather(struct mmu_range_mirror *mirror, unsigned long start,
			  unsigned long end, struct mmu_mirror_gather *gather)
{
	note(to_client(mirror)->tlb, 'H');
	mmu_mirror_gather_add(gather, start, end);
}

static void client_flush(struct mmu_range_mirror *mirror, unsigned long start,
			 unsigned long end, struct mmu_mirror_gather *gather)
{
	note_range(to_client(mirror)->tlb, gather ? '?' : 'H', start, end);
	gate_pass(&to_client(mirror)->gate);
}

static void client_release(struct mmu_range_mirror *mirror)
{
	to_client(mirror)->released++;
	note(to_client(mirror)->tlb, 'X');
}

static bool client_young(struct mmu_range_mirror *mirror, unsigned long start,
			 unsigned long end, bool clear)
{
	struct client *client = to_client(mirror);
	unsigned long first = (start - mirror->start) >> PAGE_SHIFT;
	unsigned long last = (end - mirror->start - 1) >> PAGE_SHIFT;
	unsigned long found = client->used & GENMASK(last, first);

	note_range(client->tlb, clear ? 'C' : 'T', start, end);
	if (clear)
		client->used &= ~found;
	return found;
}

/* The device walks tables of the driver's. */
static const struct mmu_range_mirror_ops shadow_ops = {
	.invalidate = client_invalidate,
	.tlb = client_tlb,
};

static const struct mmu_range_mirror_ops gathering_ops = {
	.invalidate = client_invalidate_gathers,
	.tlb = client_tlb,
};

static const struct mmu_range_mirror_ops dropping_ops = {
	.invalidate = client_invalidate_drops,
	.tlb = client_tlb,
};

/* It walks the CPU's, and has commands that can be gathered. */
static const struct mmu_range_mirror_ops walker_ops = {
	.invalidate = client_invalidate,
	.tlb = client_tlb,
	.invalidate_range = client_gather,
	.release = client_release,
};

/* It walks the CPU's. */
static const struct mmu_range_mirror_ops plain_ops = {
	.invalidate = client_invalidate,
	.invalidate_range = client_flush,
};

/* It has neither, and takes its time. */
static const struct mmu_range_mirror_ops slow_ops = {
	.invalidate = client_invalidate,
	.wait = client_wait,
};

static const struct mmu_range_mirror_ops young_ops = {
	.invalidate = client_invalidate,
	.young = client_young,
};

static const struct mmu_range_mirror_ops young_shadow_ops = {
	.invalidate = client_invalidate,
	.tlb = client_tlb,
	.young = client_young,
};

static const struct mmu_range_mirror_ops young_walker_ops = {
	.invalidate = client_invalidate,
	.tlb = client_tlb,
	.invalidate_range = client_gather,
	.young = client_young,
};

static void client_remove(void *ctx)
{
	struct client *client = ctx;

	if (client->inserted)
		mmu_range_mirror_remove(&client->mirror);
	client->inserted = false;
}

/* Without a mirror yet. */
static struct client *client_alloc(struct kunit *test, struct fake_tlb *tlb)
{
	struct client *client = kunit_kzalloc(test, sizeof(*client), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, client);
	client->tlb = tlb;
	gate_init(&client->gate);
	KUNIT_ASSERT_EQ(test, 0, kunit_add_action(test, client_remove, client));
	/* A failed assertion may have left a thread there, or here. */
	KUNIT_ASSERT_EQ(test, 0, kunit_add_action(test, open_gate, &tlb->gate));
	KUNIT_ASSERT_EQ(test, 0, kunit_add_action(test, open_gate, &client->gate));
	return client;
}

static int client_insert(struct client *client, unsigned long addr,
			 unsigned long npages,
			 const struct mmu_range_mirror_ops *ops)
{
	int ret = mmu_range_mirror_insert(&client->mirror, current->mm, addr,
					  npages * PAGE_SIZE, ops, NULL);

	client->inserted = !ret;
	return ret;
}

static struct client *client_make(struct kunit *test, struct fake_tlb *tlb,
				  unsigned long addr, unsigned long npages,
				  const struct mmu_range_mirror_ops *ops)
{
	struct client *client = client_alloc(test, tlb);

	KUNIT_ASSERT_EQ(test, 0, client_insert(client, addr, npages, ops));
	return client;
}

/* The driver drops an entry and puts off the flush. */
static void defer(struct client *client)
{
	mmu_range_mirror_lock(&client->mirror);
	mmu_range_mirror_defer_flush(&client->mirror);
	mmu_range_mirror_unlock(&client->mirror);
}

/* As core mm flushes TLBs: with a page table's lock held. */
static void hook(unsigned long start, unsigned long end)
{
	static DEFINE_SPINLOCK(page_table_lock);

	spin_lock(&page_table_lock);
	mmu_notifier_arch_invalidate_secondary_tlbs(current->mm, start, end);
	spin_unlock(&page_table_lock);
}

/* How many notifiers without a range the mm has; the core's list comes first. */
static int nr_notifiers(struct mm_struct *mm)
{
	struct hlist_head *list = (struct hlist_head *)mm->notifier_subscriptions;
	struct hlist_node *node;
	int nr = 0;

	if (list)
		hlist_for_each(node, list)
			nr++;
	return nr;
}

static bool can_hook(void)
{
	return true;
}

/* Threads. */

static void run_remove(struct actor *actor)
{
	client_remove(actor->arg);
}

/* Under a mutex, which the driver holds for a while. */
static void run_defer(struct actor *actor)
{
	struct client *client = actor->arg;

	mmu_range_mirror_lock(&client->mirror);
	mmu_range_mirror_defer_flush(&client->mirror);
	gate_pass(&client->gate);
	mmu_range_mirror_unlock(&client->mirror);
}

static void run_flush_deferred(struct actor *actor)
{
	struct client *client = actor->arg;

	mmu_range_mirror_flush_deferred(&client->mirror);
}

/* Invalidate what the client mirrors. */
static void run_invalidate(struct actor *actor)
{
	struct client *client = actor->arg;

	invalidate(client->mirror.start, client->mirror.end);
}

static void run_hook(struct actor *actor)
{
	struct client *client = actor->arg;

	mmu_notifier_arch_invalidate_secondary_tlbs(actor->mm,
						    client->mirror.start,
						    client->mirror.end);
}

/* The hook. */

static void hook_is_clipped(struct kunit *test)
{
	unsigned long addr = map_memory(test);
	struct fake_tlb *tlb = tlb_make(test);
	static const struct {
		int start, end;
		int hit_start, hit_end;
	} hits[] = {
		{ 1, 3, 1, 3 },
		{ 0, 1, 0, 1 },
		{ NPAGES - 1, NPAGES, NPAGES - 1, NPAGES },
		{ 0, NPAGES, 0, NPAGES },
		{ -2, 1, 0, 1 },
		{ NPAGES - 1, NPAGES + 4, NPAGES - 1, NPAGES },
		{ -1, NPAGES + 1, 0, NPAGES },
	};
	int i;

	client_make(test, tlb, addr, NPAGES, &plain_ops);
	for (i = 0; i < ARRAY_SIZE(hits); i++) {
		hook(addr + hits[i].start * PAGE_SIZE,
		     addr + hits[i].end * PAGE_SIZE);
		KUNIT_EXPECT_STREQ_MSG(test, logged(tlb), "H", "case %d", i);
		KUNIT_EXPECT_EQ_MSG(test, addr + hits[i].hit_start * PAGE_SIZE,
				    tlb->range[0].start, "case %d", i);
		KUNIT_EXPECT_EQ_MSG(test, addr + hits[i].hit_end * PAGE_SIZE,
				    tlb->range[0].end, "case %d", i);
	}
	hook(0, -1UL);
	KUNIT_EXPECT_STREQ(test, logged(tlb), "H");
	KUNIT_EXPECT_EQ(test, addr, tlb->range[0].start);
	KUNIT_EXPECT_EQ(test, addr + LENGTH, tlb->range[0].end);
}

static void hook_misses(struct kunit *test)
{
	unsigned long addr = map_memory(test);
	struct fake_tlb *tlb = tlb_make(test);

	client_make(test, tlb, addr, NPAGES, &plain_ops);
	hook(addr - PAGE_SIZE, addr);
	hook(addr + LENGTH, addr + LENGTH + PAGE_SIZE);
	hook(addr + PAGE_SIZE, addr + PAGE_SIZE);
	/* The kernel's addresses, of an mm that a device walks. */
	hook(-3 * PAGE_SIZE, -PAGE_SIZE);
	hook(-PAGE_SIZE, -1UL);
	hook((unsigned long)tlb & PAGE_MASK, ((unsigned long)tlb & PAGE_MASK) + PAGE_SIZE);
	KUNIT_EXPECT_STREQ(test, logged(tlb), "");
}

static void hook_finds_every_mirror(struct kunit *test)
{
	unsigned long addr = map_memory(test);
	struct fake_tlb *tlb[3];
	struct client *client[3];
	static const struct {
		int start, npages;
		int hit_start, hit_end;
	} of[] = { { 0, 4, 3, 4 }, { 2, 4, 3, 6 }, { 6, 2, 6, 7 } };
	int i;

	for (i = 0; i < ARRAY_SIZE(of); i++) {
		tlb[i] = tlb_make(test);
		client[i] = client_make(test, tlb[i],
					addr + of[i].start * PAGE_SIZE,
					of[i].npages, &plain_ops);
	}
	hook(addr + 3 * PAGE_SIZE, addr + 7 * PAGE_SIZE);
	for (i = 0; i < ARRAY_SIZE(of); i++) {
		KUNIT_EXPECT_STREQ_MSG(test, logged(tlb[i]), "H", "mirror %d", i);
		KUNIT_EXPECT_EQ(test, addr + of[i].hit_start * PAGE_SIZE,
				tlb[i]->range[0].start);
		KUNIT_EXPECT_EQ(test, addr + of[i].hit_end * PAGE_SIZE,
				tlb[i]->range[0].end);
	}

	client_remove(client[1]);
	KUNIT_EXPECT_STREQ(test, logged(tlb[1]), "H");
	hook(addr + 3 * PAGE_SIZE, addr + 7 * PAGE_SIZE);
	KUNIT_EXPECT_STREQ(test, logged(tlb[0]), "H");
	KUNIT_EXPECT_STREQ(test, logged(tlb[1]), "");
	KUNIT_EXPECT_STREQ(test, logged(tlb[2]), "H");
}

/* An mm pays for the hook if one of its mirrors asks, and once. */
static void hook_is_shared(struct kunit *test)
{
	unsigned long addr = map_memory(test);
	struct fake_tlb *tlb = tlb_make(test);
	struct client *one, *two;

	client_make(test, tlb, addr, NPAGES, &slow_ops);
	client_make(test, tlb, addr, NPAGES, &shadow_ops);
	KUNIT_EXPECT_EQ(test, 0, nr_notifiers(current->mm));
	one = client_make(test, tlb, addr, NPAGES, &plain_ops);
	KUNIT_EXPECT_EQ(test, 1, nr_notifiers(current->mm));
	two = client_make(test, tlb, addr, NPAGES, &walker_ops);
	KUNIT_EXPECT_EQ(test, 1, nr_notifiers(current->mm));
	client_remove(one);
	KUNIT_EXPECT_EQ(test, 1, nr_notifiers(current->mm));
	client_remove(two);
	KUNIT_EXPECT_EQ(test, 0, nr_notifiers(current->mm));

	/* And again, once the last is gone. */
	two = client_make(test, tlb, addr, NPAGES, &walker_ops);
	KUNIT_EXPECT_EQ(test, 1, nr_notifiers(current->mm));
	logged(tlb);
	hook(addr, addr + PAGE_SIZE);
	KUNIT_EXPECT_STREQ(test, logged(tlb), "HRS");
	client_remove(two);
	KUNIT_EXPECT_EQ(test, 0, nr_notifiers(current->mm));
}

/* Removal flushes all of the mirror while the hook still finds it ... */
static void remove_flushes_before_it_leaves(struct kunit *test)
{
	unsigned long addr = map_memory(test);
	struct fake_tlb *tlb = tlb_make(test);
	struct client *client = client_make(test, tlb, addr, NPAGES, &plain_ops);
	struct actor remover = { .run = run_remove, .arg = client };

	gate_arm(&client->gate);
	actor_start(test, &remover, -1);
	gate_await(test, &client->gate);
	KUNIT_EXPECT_EQ(test, addr, tlb->range[0].start);
	KUNIT_EXPECT_EQ(test, addr + LENGTH, tlb->range[0].end);
	KUNIT_EXPECT_STREQ(test, logged(tlb), "H");
	hook(addr, addr + PAGE_SIZE);
	KUNIT_EXPECT_STREQ(test, logged(tlb), "H");
	gate_open(&client->gate);
	actor_join(test, &remover);
	hook(addr, addr + PAGE_SIZE);
	KUNIT_EXPECT_STREQ(test, logged(tlb), "");
}

/* ... with the commands of its TLB ... */
static void remove_flushes_the_tlb(struct kunit *test)
{
	unsigned long addr = map_memory(test);
	struct fake_tlb *tlb = tlb_make(test);
	struct client *client = client_make(test, tlb, addr, NPAGES, &walker_ops);

	client_remove(client);
	KUNIT_EXPECT_STREQ(test, logged(tlb), "HRS");
	KUNIT_EXPECT_EQ(test, addr, tlb->range[0].start);
	KUNIT_EXPECT_EQ(test, addr + LENGTH, tlb->range[0].end);
	/* Release is the end of the mm, not of the mirror. */
	KUNIT_EXPECT_EQ(test, 0, client->released);
}

/* ... and waits for a hook that found it. */
static void remove_waits_for_the_hook(struct kunit *test)
{
	unsigned long addr = map_memory(test);
	struct fake_tlb *tlb = tlb_make(test);
	struct client *client = client_make(test, tlb, addr, NPAGES, &plain_ops);
	struct actor flusher = {
		.run = run_hook, .arg = client, .mm = current->mm,
	};
	struct actor remover = { .run = run_remove, .arg = client };

	gate_arm(&client->gate);
	actor_start(test, &flusher, -1);
	gate_await(test, &client->gate);
	actor_start(test, &remover, -1);
	KUNIT_EXPECT_TRUE(test, actor_busy(&remover));
	/* Its own flush is over: it is the other's that it waits for. */
	KUNIT_EXPECT_STREQ(test, logged(tlb), "HH");
	KUNIT_EXPECT_TRUE(test, actor_busy(&flusher));
	gate_open(&client->gate);
	actor_join(test, &flusher);
	actor_join(test, &remover);
	hook(addr, addr + LENGTH);
	KUNIT_EXPECT_STREQ(test, logged(tlb), "");
}

static void insert_refuses_ops(struct kunit *test)
{
	unsigned long addr = map_memory(test);
	struct client *client = client_alloc(test, tlb_make(test));
	static DEFINE_MUTEX(mutex);	/* a driver's */
	struct mmu_mirror_lock lock = { .mutex = &mutex };
	struct mmu_range_mirror_ops no_invalidate = walker_ops;
	struct mmu_range_mirror_ops no_hook = walker_ops;
	int ret;

	no_invalidate.invalidate = NULL;
	KUNIT_ASSERT_EQ(test, -EINVAL,
			client_insert(client, addr, NPAGES, &no_invalidate));
	no_hook.invalidate_range = NULL;
	KUNIT_ASSERT_EQ(test, -EINVAL,
			client_insert(client, addr, NPAGES, &no_hook));
	ret = mmu_range_mirror_insert(&client->mirror, current->mm, addr,
				      LENGTH, &walker_ops, &lock);
	client->inserted = !ret;
	KUNIT_EXPECT_EQ(test, -EINVAL, ret);
	KUNIT_EXPECT_EQ(test, 0, nr_notifiers(current->mm));
}

/* A machine that does not call the hook must not be trusted to. */
static void insert_wants_a_hook(struct kunit *test)
{
	unsigned long addr = map_memory(test);
	struct fake_tlb *tlb = tlb_make(test);
	struct client *client = client_alloc(test, tlb);

	kunit_deactivate_static_stub(test, mmu_range_mirror_can_hook);
	if (mmu_range_mirror_can_hook())
		kunit_skip(test, "this machine has the hook");
	KUNIT_ASSERT_EQ(test, -EOPNOTSUPP,
			client_insert(client, addr, NPAGES, &walker_ops));
	KUNIT_EXPECT_EQ(test, 0, nr_notifiers(current->mm));
	/* A mirror that does not ask for it is inserted. */
	KUNIT_EXPECT_EQ(test, 0,
			client_insert(client, addr, NPAGES, &young_shadow_ops));
}

/* An insertion by a thread that is killed. */
struct inserter {
	struct kunit *test;
	struct client *client;
	const struct mmu_range_mirror_ops *ops;
	unsigned long addr;
	bool killed_later;
};

static void kill_at_subscribed(enum mmu_range_mirror_point point,
			       struct mmu_range_mirror *mirror)
{
	if (point == MMU_RANGE_MIRROR_SUBSCRIBED)
		send_sig(SIGKILL, current, 1);
}

static void run_insert_killed(struct actor *actor)
{
	struct inserter *inserter = actor->arg;

	/* Have the stubs. */
	current->kunit_test = inserter->test;
	allow_signal(SIGKILL);
	if (!inserter->killed_later)
		send_sig(SIGKILL, current, 1);
	actor->ret = client_insert(inserter->client, inserter->addr, NPAGES,
				   inserter->ops);
	flush_signals(current);
	current->kunit_test = NULL;
}

static void insert_killed(struct kunit *test, struct inserter *inserter)
{
	struct actor actor = {
		.run = run_insert_killed, .arg = inserter, .mm = current->mm,
	};

	inserter->test = test;
	actor_start(test, &actor, -1);
	actor_join(test, &actor);
	KUNIT_EXPECT_EQ(test, -EINTR, actor.ret);
}

/* Wherever it fails, nothing is left. */
static void failed_insert_leaves_nothing(struct kunit *test)
{
	unsigned long addr = map_memory(test);
	struct fake_tlb *tlb = tlb_make(test);
	struct inserter inserter = {
		.client = client_alloc(test, tlb), .ops = &young_walker_ops,
		.addr = addr,
	};
	struct client *other;

	/* Waiting for the lock of the mm. */
	mmap_read_lock(current->mm);
	insert_killed(test, &inserter);
	mmap_read_unlock(current->mm);
	KUNIT_EXPECT_EQ(test, 0, nr_notifiers(current->mm));

	/* At the first notifier, ... */
	insert_killed(test, &inserter);
	KUNIT_EXPECT_EQ(test, 0, nr_notifiers(current->mm));

	/* ... the one for the range, with both of the others there, ... */
	inserter.killed_later = true;
	mmu_range_mirror_set_injection(kill_at_subscribed);
	insert_killed(test, &inserter);
	mmu_range_mirror_set_injection(NULL);
	inserter.killed_later = false;
	KUNIT_EXPECT_EQ(test, 0, nr_notifiers(current->mm));

	/* ... and the one for young, beside a mirror that has the hook. */
	other = client_make(test, tlb, addr, NPAGES, &walker_ops);
	insert_killed(test, &inserter);
	KUNIT_EXPECT_EQ(test, 1, nr_notifiers(current->mm));
	logged(tlb);
	hook(addr, addr + LENGTH);
	KUNIT_EXPECT_STREQ(test, logged(tlb), "HRS");
	client_remove(other);
	KUNIT_EXPECT_EQ(test, 0, nr_notifiers(current->mm));

	KUNIT_EXPECT_EQ(test, 0,
			client_insert(inserter.client, addr, NPAGES,
				      &young_walker_ops));
	KUNIT_EXPECT_EQ(test, 2, nr_notifiers(current->mm));
}

/* The address space goes under its mirrors. */

static int install_nothing(struct mmu_range_mirror *mirror, unsigned long addr,
			   struct page *page, void *ctx)
{
	return 0;
}

static void exit_releases(struct kunit *test)
{
	struct fake_tlb *tlb = tlb_make(test);
	struct mm_struct *mm = new_mm();
	struct client *client[2];
	int i, tries = MANY;
	unsigned long addr;

	KUNIT_ASSERT_NOT_NULL(test, mm);
	/* On one CPU, no idle thread keeps the mm when we leave it. */
	KUNIT_ASSERT_EQ(test, 0, set_cpus_allowed_ptr(current, cpumask_of(0)));
	mmgrab(mm);
	kthread_use_mm(mm);
	addr = vm_mmap(NULL, 0, LENGTH, PROT_READ | PROT_WRITE,
		       MAP_ANONYMOUS | MAP_PRIVATE, 0);
	KUNIT_ASSERT_FALSE(test, IS_ERR_VALUE(addr));
	KUNIT_ASSERT_EQ(test, 0, put_user(1, (int __user *)addr));
	for (i = 0; i < ARRAY_SIZE(client); i++)
		client[i] = client_make(test, tlb, addr, NPAGES, &walker_ops);
	KUNIT_EXPECT_EQ(test, 0,
			mmu_range_mirror_populate(&client[0]->mirror, addr, 1,
						  FOLL_WRITE, install_nothing,
						  NULL));
	logged(tlb);
	kthread_unuse_mm(mm);
	mmput(mm);

	/* The devices are stopped before they are flushed. */
	KUNIT_EXPECT_TRUE(test, strstarts(logged(tlb), "IIXXHHRS"));
	KUNIT_EXPECT_STREQ(test, strim(tlb->last_log + 8), "II");
	KUNIT_EXPECT_EQ(test, 0, nr_notifiers(mm));
	kthread_use_mm(mm);
	for (i = 0; i < ARRAY_SIZE(client); i++) {
		KUNIT_EXPECT_EQ(test, 1, client[i]->released);
		KUNIT_EXPECT_EQ(test, -ESRCH,
				mmu_range_mirror_populate(&client[i]->mirror,
							  addr, 1, FOLL_WRITE,
							  install_nothing,
							  NULL));
	}
	kthread_unuse_mm(mm);

	for (i = 0; i < ARRAY_SIZE(client); i++) {
		client_remove(client[i]);
		KUNIT_EXPECT_STREQ(test, logged(tlb), "HRS");
		KUNIT_EXPECT_EQ(test, 1, client[i]->released);
	}
	/* Another mm in place of this one: then only a leak keeps it. */
	map_memory(test);
	while (atomic_read(&mm->mm_count) > 1 && tries--)
		schedule_timeout_uninterruptible(1);
	KUNIT_EXPECT_EQ(test, 1, atomic_read(&mm->mm_count));
	mmdrop(mm);
}

/* Put off, the flush comes with the release. */
static void exit_flushes_what_was_deferred(struct kunit *test)
{
	struct fake_tlb *tlb = tlb_make(test);
	struct mm_struct *mm = new_mm();
	struct client *client;

	KUNIT_ASSERT_NOT_NULL(test, mm);
	kthread_use_mm(mm);
	client = client_make(test, tlb, PAGE_SIZE, NPAGES, &shadow_ops);
	defer(client);
	kthread_unuse_mm(mm);
	mmput(mm);
	KUNIT_EXPECT_TRUE(test, strstarts(logged(tlb), "IAS"));
	client_remove(client);
	KUNIT_EXPECT_STREQ(test, logged(tlb), "");
}

/* Gathering. */

static void gather_pages(struct mmu_mirror_gather *gather, unsigned long first,
			 unsigned long end)
{
	mmu_mirror_gather_add(gather, first * PAGE_SIZE, end * PAGE_SIZE);
}

/* Pages, as first and end. */
struct span {
	int first, end;
};

static void gather_merges(struct kunit *test)
{
	struct fake_tlb *tlb = tlb_make(test);
	struct mmu_mirror_gather gather;
	static const struct {
		struct span add[5];
		struct span expect[4];
		const char *log;
	} cases[] = {
		/* abutting on either side, and both */
		{ { { 1, 2 }, { 2, 3 } }, { { 1, 3 } }, "RS" },
		{ { { 2, 3 }, { 1, 2 } }, { { 1, 3 } }, "RS" },
		{ { { 1, 2 }, { 3, 4 }, { 2, 3 } }, { { 1, 4 } }, "RS" },
		/* bridging several */
		{ { { 1, 3 }, { 5, 7 }, { 9, 11 }, { 2, 10 } }, { { 1, 11 } }, "RS" },
		{ { { 1, 2 }, { 3, 4 }, { 5, 6 }, { 2, 5 } }, { { 1, 6 } }, "RS" },
		/* some of several */
		{ { { 8, 9 }, { 5, 6 }, { 1, 3 }, { 2, 6 } }, { { 1, 6 }, { 8, 9 } }, "RRS" },
		{ { { 1, 2 }, { 4, 5 }, { 7, 8 }, { 5, 7 } }, { { 1, 2 }, { 4, 8 } }, "RRS" },
		/* inside, around, the same */
		{ { { 1, 9 }, { 3, 4 } }, { { 1, 9 } }, "RS" },
		{ { { 3, 4 }, { 1, 9 } }, { { 1, 9 } }, "RS" },
		{ { { 3, 4 }, { 3, 4 } }, { { 3, 4 } }, "RS" },
		/* none, in any order */
		{ { { 5, 6 }, { 9, 10 }, { 1, 2 }, { 3, 4 } },
		  { { 1, 2 }, { 3, 4 }, { 5, 6 }, { 9, 10 } }, "RRRRS" },
	};
	int i, n;

	for (i = 0; i < ARRAY_SIZE(cases); i++) {
		mmu_mirror_gather_init(&gather, &tlb->tlb);
		for (n = 0; n < ARRAY_SIZE(cases[i].add); n++)
			if (cases[i].add[n].end)
				gather_pages(&gather, cases[i].add[n].first,
					     cases[i].add[n].end);
		mmu_mirror_gather_flush(&gather);
		KUNIT_EXPECT_STREQ_MSG(test, logged(tlb), cases[i].log,
				       "case %d", i);
		for (n = 0; n < strlen(cases[i].log) - 1; n++) {
			KUNIT_EXPECT_EQ_MSG(test, cases[i].expect[n].first * PAGE_SIZE,
					    tlb->range[n].start, "case %d", i);
			KUNIT_EXPECT_EQ_MSG(test, cases[i].expect[n].end * PAGE_SIZE,
					    tlb->range[n].end, "case %d", i);
		}
	}
}

static void gather_overflows(struct kunit *test)
{
	struct fake_tlb *tlb = tlb_make(test);
	struct mmu_mirror_gather gather;
	int i;

	mmu_mirror_gather_init(&gather, &tlb->tlb);
	mmu_mirror_gather_flush(&gather);
	KUNIT_EXPECT_STREQ(test, logged(tlb), "");

	for (i = 0; i < MMU_MIRROR_GATHER_MAX; i++)
		gather_pages(&gather, 2 * i + 1, 2 * i + 2);
	/* What merges needs no place. */
	gather_pages(&gather, 1, 2);
	KUNIT_EXPECT_EQ(test, MMU_MIRROR_GATHER_MAX, gather.nr);
	mmu_mirror_gather_flush(&gather);
	KUNIT_EXPECT_STREQ(test, logged(tlb), "RRRRRRRRRRRRRRRRS");

	for (i = 0; i < MMU_MIRROR_GATHER_MAX; i++)
		gather_pages(&gather, 2 * i + 1, 2 * i + 2);
	gather_pages(&gather, 2 * i + 1, 2 * i + 2);
	gather_pages(&gather, 1, 2);
	mmu_mirror_gather_flush(&gather);
	KUNIT_EXPECT_STREQ(test, logged(tlb), "AS");

	/* Empty, and good for more. */
	mmu_mirror_gather_flush(&gather);
	KUNIT_EXPECT_STREQ(test, logged(tlb), "");
	gather_pages(&gather, 1, 2);
	mmu_mirror_gather_flush(&gather);
	KUNIT_EXPECT_STREQ(test, logged(tlb), "RS");

	KUNIT_EXPECT_EQ(test, MMU_MIRROR_GATHER_MAX + 1 +
			MMU_MIRROR_GATHER_MAX + 2 + 1,
			atomic_long_read(&tlb->tlb.nr_ranges));
	KUNIT_EXPECT_EQ(test, MMU_MIRROR_GATHER_MAX + 1 + 1,
			atomic_long_read(&tlb->tlb.nr_commands));
	KUNIT_EXPECT_EQ(test, 1, atomic_long_read(&tlb->tlb.nr_full));
	KUNIT_EXPECT_EQ(test, 3, atomic_long_read(&tlb->tlb.nr_syncs));
	mmu_mirror_tlb_refilled(&tlb->tlb, 5);
	KUNIT_EXPECT_EQ(test, 5, atomic_long_read(&tlb->tlb.nr_refills));
}

static void gather_thresholds(struct kunit *test)
{
	struct fake_tlb *tlb = tlb_make(test);
	struct mmu_mirror_gather gather;

	tlb->tlb.full_pages = 8;
	tlb->tlb.full_ranges = 3;
	mmu_mirror_gather_init(&gather, &tlb->tlb);
	gather_pages(&gather, 1, 9);
	mmu_mirror_gather_flush(&gather);
	KUNIT_EXPECT_STREQ(test, logged(tlb), "RS");
	gather_pages(&gather, 1, 10);
	mmu_mirror_gather_flush(&gather);
	KUNIT_EXPECT_STREQ(test, logged(tlb), "AS");
	/* Pages count once, in all ranges together. */
	gather_pages(&gather, 1, 5);
	gather_pages(&gather, 3, 5);
	gather_pages(&gather, 11, 15);
	mmu_mirror_gather_flush(&gather);
	KUNIT_EXPECT_STREQ(test, logged(tlb), "RRS");
	gather_pages(&gather, 1, 5);
	gather_pages(&gather, 11, 16);
	mmu_mirror_gather_flush(&gather);
	KUNIT_EXPECT_STREQ(test, logged(tlb), "AS");

	gather_pages(&gather, 1, 2);
	gather_pages(&gather, 3, 4);
	gather_pages(&gather, 5, 6);
	mmu_mirror_gather_flush(&gather);
	KUNIT_EXPECT_STREQ(test, logged(tlb), "RRRS");
	gather_pages(&gather, 1, 2);
	gather_pages(&gather, 3, 4);
	gather_pages(&gather, 5, 6);
	gather_pages(&gather, 7, 8);
	mmu_mirror_gather_flush(&gather);
	KUNIT_EXPECT_STREQ(test, logged(tlb), "AS");
}

/* One gather for each TLB that the hook hits, in whatever order they came. */
static void hook_gathers_by_tlb(struct kunit *test)
{
	unsigned long addr = map_memory(test);
	struct fake_tlb *one = tlb_make(test), *two = tlb_make(test);
	struct fake_tlb *none = tlb_make(test);
	int i;

	for (i = 0; i < 3; i++) {
		client_make(test, one, addr + i * PAGE_SIZE, 1, &walker_ops);
		client_make(test, none, addr + i * PAGE_SIZE, 1, &plain_ops);
		client_make(test, two, addr + 2 * i * PAGE_SIZE, 1, &walker_ops);
	}
	hook(addr, addr + LENGTH);
	KUNIT_EXPECT_STREQ(test, logged(one), "HHHRS");
	KUNIT_EXPECT_EQ(test, addr, one->range[0].start);
	KUNIT_EXPECT_EQ(test, addr + 3 * PAGE_SIZE, one->range[0].end);
	KUNIT_EXPECT_STREQ(test, logged(two), "HHHRRRS");
	KUNIT_EXPECT_STREQ(test, logged(none), "HHH");
	KUNIT_EXPECT_EQ(test, 3, atomic_long_read(&one->tlb.nr_ranges));
	KUNIT_EXPECT_EQ(test, 1, atomic_long_read(&one->tlb.nr_commands));
	KUNIT_EXPECT_EQ(test, 1, atomic_long_read(&one->tlb.nr_syncs));
	KUNIT_EXPECT_EQ(test, 3, atomic_long_read(&two->tlb.nr_commands));
	KUNIT_EXPECT_EQ(test, 1, atomic_long_read(&two->tlb.nr_syncs));

	/* What is not hit is not told. */
	hook(addr + 4 * PAGE_SIZE, addr + LENGTH);
	KUNIT_EXPECT_STREQ(test, logged(one), "");
	KUNIT_EXPECT_STREQ(test, logged(two), "HRS");
}

/* Invalidations that gather. */

static void invalidate_gathers(struct kunit *test)
{
	unsigned long addr = map_memory(test);
	struct fake_tlb *tlb = tlb_make(test);
	struct client *client = client_make(test, tlb, addr, NPAGES, &gathering_ops);
	struct mmu_notifier_range range;

	/* When the start returns, not the end. */
	range_begin(&range, addr - PAGE_SIZE, addr + 2 * PAGE_SIZE);
	KUNIT_EXPECT_STREQ(test, logged(tlb), "IRS");
	KUNIT_EXPECT_EQ(test, addr, tlb->range[0].start);
	KUNIT_EXPECT_EQ(test, addr + 2 * PAGE_SIZE, tlb->range[0].end);
	mmu_notifier_invalidate_range_end(&range);
	KUNIT_EXPECT_EQ(test, 0, invalidate_nonblock(addr, addr + PAGE_SIZE));
	KUNIT_EXPECT_STREQ(test, logged(tlb), "IRS");

	/* One flush, together with what was put off. */
	defer(client);
	invalidate(addr, addr + PAGE_SIZE);
	KUNIT_EXPECT_STREQ(test, logged(tlb), "IAS");
	invalidate(addr, addr + PAGE_SIZE);
	KUNIT_EXPECT_STREQ(test, logged(tlb), "IRS");

	/* What is more than the driver named is everything. */
	tlb->tlb.full_pages = 1;
	invalidate(addr, addr + LENGTH);
	KUNIT_EXPECT_STREQ(test, logged(tlb), "IAS");
}

/* Where there are two passes, the devices flush after all drops. */
static void invalidate_gathers_then_flushes(struct kunit *test)
{
	unsigned long addr = map_memory(test);
	struct fake_tlb *tlb = tlb_make(test);

	client_make(test, tlb, addr, NPAGES, &gathering_ops);
	client_make(test, tlb, addr, NPAGES, &gathering_ops);
	invalidate(addr, addr + LENGTH);
	KUNIT_EXPECT_STREQ(test, logged(tlb),
			   MMU_RANGE_MIRROR_TWO_PASS ? "IIRSRS" : "IRSIRS");
}

/* The device is waited for without the mirror's lock. */
static void invalidate_flushes_unlocked(struct kunit *test)
{
	unsigned long addr = map_memory(test);
	struct fake_tlb *tlb = tlb_make(test);
	struct client *client = client_make(test, tlb, addr, NPAGES, &gathering_ops);
	struct actor actor = { .run = run_invalidate, .arg = client, .mm = current->mm };
	bool unlocked;

	tlb->tlb.full_pages = 0;
	gate_arm(&tlb->gate);
	actor_start(test, &actor, -1);
	gate_await(test, &tlb->gate);
	unlocked = spin_trylock(&client->mirror.own_lock);
	if (unlocked)
		spin_unlock(&client->mirror.own_lock);
	KUNIT_EXPECT_TRUE(test, unlocked);
	KUNIT_EXPECT_TRUE(test, actor_busy(&actor));
	gate_open(&tlb->gate);
	actor_join(test, &actor);
	KUNIT_EXPECT_STREQ(test, logged(tlb), "IAS");
}

/* The driver drops entries of page @page, and is about to flush them. */
static void drop_begin(struct client *client)
{
	mmu_range_mirror_lock(&client->mirror);
	mmu_range_mirror_flush_begin(&client->mirror);
	mmu_range_mirror_unlock(&client->mirror);
}

static void drop_end(struct client *client, int page)
{
	struct mmu_mirror_gather gather;

	mmu_mirror_gather_init(&gather, &client->tlb->tlb);
	gather_pages(&gather, page, page + 1);
	mmu_mirror_gather_flush(&gather);
	mmu_range_mirror_flush_end(&client->mirror);
}

static void own_flush_leaves_nothing(struct kunit *test)
{
	unsigned long addr = map_memory(test);
	struct fake_tlb *tlb = tlb_make(test);
	struct client *client = client_make(test, tlb, addr, NPAGES, &shadow_ops);
	int i;

	for (i = 0; i < 50; i++) {
		drop_begin(client);
		drop_end(client, i);
	}
	logged(tlb);
	invalidate(addr, addr + LENGTH);
	KUNIT_EXPECT_STREQ(test, logged(tlb), "I");
	KUNIT_EXPECT_EQ(test, 0, atomic_long_read(&tlb->tlb.nr_full));
}

/* Whoever comes before the driver's flush does not know what it is of. */
static void own_flush_is_awaited(struct kunit *test)
{
	unsigned long addr = map_memory(test);
	struct fake_tlb *tlb = tlb_make(test);
	struct client *client = client_make(test, tlb, addr, NPAGES, &shadow_ops);

	drop_begin(client);
	drop_begin(client);
	invalidate(addr, addr + PAGE_SIZE);
	KUNIT_EXPECT_STREQ(test, logged(tlb), "IAS");
	/* They may end in any order. */
	drop_end(client, 1);
	KUNIT_EXPECT_STREQ(test, logged(tlb), "RS");
	invalidate(addr, addr + PAGE_SIZE);
	KUNIT_EXPECT_STREQ(test, logged(tlb), "IAS");
	drop_end(client, 0);
	KUNIT_EXPECT_STREQ(test, logged(tlb), "RS");
	invalidate(addr, addr + PAGE_SIZE);
	KUNIT_EXPECT_STREQ(test, logged(tlb), "I");

	/* What was put off is still to be flushed by somebody else. */
	defer(client);
	drop_begin(client);
	drop_end(client, 2);
	KUNIT_EXPECT_STREQ(test, logged(tlb), "RS");
	invalidate(addr, addr + PAGE_SIZE);
	KUNIT_EXPECT_STREQ(test, logged(tlb), "IAS");
}

/* By the hook, in which nobody has the lock. */
static void own_flush_is_awaited_by_the_hook(struct kunit *test)
{
	unsigned long addr = map_memory(test);
	struct fake_tlb *tlb = tlb_make(test);
	struct client *client = client_make(test, tlb, addr, NPAGES, &walker_ops);

	drop_begin(client);
	hook(addr, addr + PAGE_SIZE);
	KUNIT_EXPECT_STREQ(test, logged(tlb), "HAS");
	drop_end(client, 0);
	KUNIT_EXPECT_STREQ(test, logged(tlb), "RS");
	hook(addr, addr + PAGE_SIZE);
	KUNIT_EXPECT_STREQ(test, logged(tlb), "HRS");
}

/* Whoever finds the entry gone, before who dropped it has flushed. */
static void other_flush_is_awaited(struct kunit *test)
{
	unsigned long addr = map_memory(test);
	struct fake_tlb *tlb = tlb_make(test);
	struct client *client = client_make(test, tlb, addr, NPAGES, &dropping_ops);
	struct actor first = {
		.run = run_invalidate, .arg = client, .mm = current->mm,
	};

	client->used = 1;
	gate_arm(&tlb->gate);
	actor_start(test, &first, -1);
	gate_await(test, &tlb->gate);
	KUNIT_EXPECT_STREQ(test, logged(tlb), "IR");
	invalidate(addr, addr + PAGE_SIZE);
	KUNIT_EXPECT_STREQ(test, logged(tlb), "IAS");
	mmu_range_mirror_flush_deferred(&client->mirror);
	KUNIT_EXPECT_STREQ(test, logged(tlb), "AS");
	gate_open(&tlb->gate);
	actor_join(test, &first);
	KUNIT_EXPECT_STREQ(test, logged(tlb), "S");
	invalidate(addr, addr + PAGE_SIZE);
	KUNIT_EXPECT_STREQ(test, logged(tlb), "I");
	/* By itself it needs no more than it dropped. */
	client->used = 1;
	invalidate(addr, addr + PAGE_SIZE);
	KUNIT_EXPECT_STREQ(test, logged(tlb), "IRS");
}

/* A device may have a queue for each CPU, which is what the wait is for. */
static void flush_stays_on_its_cpu(struct kunit *test)
{
	unsigned long addr = map_memory(test);
	struct fake_tlb *tlb = tlb_make(test);
	struct client *client = client_make(test, tlb, addr, NPAGES, &gathering_ops);

	invalidate(addr, addr + PAGE_SIZE);
	KUNIT_EXPECT_STREQ(test, logged(tlb), "IRS");
	defer(client);
	mmu_range_mirror_flush_deferred(&client->mirror);
	KUNIT_EXPECT_STREQ(test, logged(tlb), "AS");
	KUNIT_EXPECT_FALSE(test, tlb->strays);
}

/* Deferring. */

static void deferred_is_flushed_by_invalidation(struct kunit *test)
{
	unsigned long addr = map_memory(test);
	struct fake_tlb *tlb = tlb_make(test);
	struct client *client = client_make(test, tlb, addr, NPAGES, &shadow_ops);
	struct mmu_notifier_range range;

	/* Nothing was put off. */
	invalidate(addr, addr + LENGTH);
	KUNIT_EXPECT_STREQ(test, logged(tlb), "I");

	defer(client);
	KUNIT_EXPECT_STREQ(test, logged(tlb), "");
	invalidate(addr - PAGE_SIZE, addr);
	invalidate(addr + LENGTH, addr + LENGTH + PAGE_SIZE);
	KUNIT_EXPECT_STREQ(test, logged(tlb), "");

	/* It has to be done when the start returns, not the end. */
	range_begin(&range, addr, addr + PAGE_SIZE);
	KUNIT_EXPECT_STREQ(test, logged(tlb), "IAS");
	mmu_notifier_invalidate_range_end(&range);
	invalidate(addr, addr + LENGTH);
	KUNIT_EXPECT_STREQ(test, logged(tlb), "I");

	/* Every one that is put off, also by the OOM reaper's. */
	defer(client);
	defer(client);
	KUNIT_EXPECT_EQ(test, 0, invalidate_nonblock(addr, addr + PAGE_SIZE));
	KUNIT_EXPECT_STREQ(test, logged(tlb), "IAS");
}

/* The driver skips what it started itself. The helper does not. */
static void deferred_is_flushed_for_the_owner(struct kunit *test)
{
	unsigned long addr = map_memory(test);
	struct fake_tlb *tlb = tlb_make(test);
	struct client *client = client_make(test, tlb, addr, NPAGES, &shadow_ops);
	struct mmu_notifier_range range;

	defer(client);
	mmu_notifier_range_init_owner(&range, MMU_NOTIFY_MIGRATE, 0,
				      current->mm, addr, addr + PAGE_SIZE,
				      client);
	mmu_notifier_invalidate_range_start(&range);
	KUNIT_EXPECT_EQ(test, 1, client->skipped);
	KUNIT_EXPECT_STREQ(test, logged(tlb), "IAS");
	mmu_notifier_invalidate_range_end(&range);
}

/* A driver's mutex is taken, so the mirror refuses: the mark waits as well. */
static void deferred_outlives_a_refusal(struct kunit *test)
{
	unsigned long addr = map_memory(test);
	struct fake_tlb *tlb = tlb_make(test);
	struct client *client = client_alloc(test, tlb);
	static DEFINE_MUTEX(mutex);	/* a driver's */
	struct mmu_mirror_lock lock = { .mutex = &mutex };
	struct actor driver = { .run = run_defer, .arg = client };
	int ret;

	ret = mmu_range_mirror_insert(&client->mirror, current->mm, addr,
				      LENGTH, &shadow_ops, &lock);
	client->inserted = !ret;
	KUNIT_ASSERT_EQ(test, 0, ret);
	gate_arm(&client->gate);
	actor_start(test, &driver, -1);
	gate_await(test, &client->gate);
	KUNIT_EXPECT_EQ(test, -EAGAIN, invalidate_nonblock(addr, addr + PAGE_SIZE));
	gate_open(&client->gate);
	actor_join(test, &driver);
	KUNIT_EXPECT_STREQ(test, logged(tlb), "");
	KUNIT_EXPECT_EQ(test, 0, invalidate_nonblock(addr, addr + PAGE_SIZE));
	KUNIT_EXPECT_STREQ(test, logged(tlb), "IAS");
}

static void deferred_is_flushed_by_the_hook(struct kunit *test)
{
	unsigned long addr = map_memory(test);
	struct fake_tlb *tlb = tlb_make(test);
	struct client *client = client_make(test, tlb, addr, NPAGES, &walker_ops);

	hook(addr, addr + PAGE_SIZE);
	KUNIT_EXPECT_STREQ(test, logged(tlb), "HRS");
	defer(client);
	hook(addr - PAGE_SIZE, addr);
	KUNIT_EXPECT_STREQ(test, logged(tlb), "");
	hook(addr, addr + PAGE_SIZE);
	KUNIT_EXPECT_STREQ(test, logged(tlb), "HAS");
	hook(addr, addr + PAGE_SIZE);
	KUNIT_EXPECT_STREQ(test, logged(tlb), "HRS");
}

static void deferred_is_flushed_by_removal(struct kunit *test)
{
	unsigned long addr = map_memory(test);
	struct fake_tlb *tlb = tlb_make(test);
	struct client *client = client_make(test, tlb, addr, NPAGES, &shadow_ops);

	defer(client);
	client_remove(client);
	KUNIT_EXPECT_STREQ(test, logged(tlb), "AS");
	client = client_make(test, tlb, addr, NPAGES, &shadow_ops);
	client_remove(client);
	KUNIT_EXPECT_STREQ(test, logged(tlb), "");
	/* Together with what removal flushes anyway. */
	client = client_make(test, tlb, addr, NPAGES, &walker_ops);
	defer(client);
	client_remove(client);
	KUNIT_EXPECT_STREQ(test, logged(tlb), "HAS");
}

static void deferred_is_flushed_once(struct kunit *test)
{
	unsigned long addr = map_memory(test);
	struct fake_tlb *tlb = tlb_make(test);
	struct client *client = client_make(test, tlb, addr, NPAGES, &shadow_ops);
	struct client *slow = client_make(test, tlb, addr, NPAGES, &slow_ops);

	mmu_range_mirror_flush_deferred(&client->mirror);
	KUNIT_EXPECT_STREQ(test, logged(tlb), "");
	defer(client);
	mmu_range_mirror_flush_deferred(&client->mirror);
	KUNIT_EXPECT_STREQ(test, logged(tlb), "AS");
	mmu_range_mirror_flush_deferred(&client->mirror);
	mmu_range_mirror_flush_deferred(&slow->mirror);
	KUNIT_EXPECT_STREQ(test, logged(tlb), "");
	KUNIT_EXPECT_EQ(test, 1, atomic_long_read(&tlb->tlb.nr_full));
	KUNIT_EXPECT_EQ(test, 1, atomic_long_read(&tlb->tlb.nr_syncs));
}

/* Whose mark it was: a full flush is everybody's, but nobody else asks. */
static void deferred_is_shared_by_a_tlb(struct kunit *test)
{
	unsigned long addr = map_memory(test);
	struct fake_tlb *tlb = tlb_make(test);
	struct client *one = client_make(test, tlb, addr, 2, &shadow_ops);
	struct client *two = client_make(test, tlb, addr + 4 * PAGE_SIZE, 2,
					 &shadow_ops);
	struct client *late;

	defer(one);
	defer(two);
	invalidate(addr, addr + PAGE_SIZE);
	KUNIT_EXPECT_STREQ(test, logged(tlb), "IAS");
	invalidate(addr + 4 * PAGE_SIZE, addr + 5 * PAGE_SIZE);
	KUNIT_EXPECT_STREQ(test, logged(tlb), "I");

	defer(two);
	invalidate(addr, addr + PAGE_SIZE);
	KUNIT_EXPECT_STREQ(test, logged(tlb), "I");
	/* A mirror that comes later has deferred nothing. */
	late = client_make(test, tlb, addr, 2, &shadow_ops);
	invalidate(addr, addr + PAGE_SIZE);
	KUNIT_EXPECT_STREQ(test, logged(tlb), "II");
	client_remove(late);
	KUNIT_EXPECT_STREQ(test, logged(tlb), "");
	invalidate(addr + 4 * PAGE_SIZE, addr + 5 * PAGE_SIZE);
	KUNIT_EXPECT_STREQ(test, logged(tlb), "IAS");
}

/* A gather that became a full flush has flushed what was put off. */
static void promoted_flush_covers_marks(struct kunit *test)
{
	unsigned long addr = map_memory(test);
	struct fake_tlb *tlb = tlb_make(test);
	struct client *client = client_make(test, tlb, addr, NPAGES, &shadow_ops);
	struct mmu_mirror_gather gather;

	defer(client);
	mmu_mirror_gather_init(&gather, &tlb->tlb);
	gather_pages(&gather, 1, 2);
	mmu_mirror_gather_flush(&gather);
	KUNIT_EXPECT_STREQ(test, logged(tlb), "RS");
	gather_pages(&gather, 1, FULL_PAGES + 2);
	mmu_mirror_gather_flush(&gather);
	KUNIT_EXPECT_STREQ(test, logged(tlb), "AS");
	invalidate(addr, addr + LENGTH);
	KUNIT_EXPECT_STREQ(test, logged(tlb), "I");
}

/* A flush that is under way may miss entries that are dropped meanwhile. */
static void mark_during_flush_survives(struct kunit *test)
{
	unsigned long addr = map_memory(test);
	struct fake_tlb *tlb = tlb_make(test);
	struct client *client = client_make(test, tlb, addr, NPAGES, &shadow_ops);
	struct actor flusher = { .run = run_flush_deferred, .arg = client };

	defer(client);
	gate_arm(&tlb->gate);
	actor_start(test, &flusher, -1);
	gate_await(test, &tlb->gate);
	defer(client);
	gate_open(&tlb->gate);
	actor_join(test, &flusher);
	KUNIT_EXPECT_STREQ(test, logged(tlb), "AS");
	invalidate(addr, addr + LENGTH);
	KUNIT_EXPECT_STREQ(test, logged(tlb), "IAS");
	invalidate(addr, addr + LENGTH);
	KUNIT_EXPECT_STREQ(test, logged(tlb), "I");
}

/* A flush that has begun is not one that is complete. */
static void second_flush_does_not_trust_the_first(struct kunit *test)
{
	unsigned long addr = map_memory(test);
	struct fake_tlb *tlb = tlb_make(test);
	struct client *client = client_make(test, tlb, addr, NPAGES, &shadow_ops);
	struct actor first = {
		.run = run_invalidate, .arg = client, .mm = current->mm,
	};

	defer(client);
	gate_arm(&tlb->gate);
	actor_start(test, &first, -1);
	gate_await(test, &tlb->gate);
	KUNIT_EXPECT_STREQ(test, logged(tlb), "IA");
	invalidate(addr, addr + LENGTH);
	KUNIT_EXPECT_STREQ(test, logged(tlb), "IAS");
	gate_open(&tlb->gate);
	actor_join(test, &first);
	KUNIT_EXPECT_STREQ(test, logged(tlb), "S");
}

/* The first to begin is the last to end: what the second covered stays so. */
static void flushed_never_goes_back(struct kunit *test)
{
	unsigned long addr = map_memory(test);
	struct fake_tlb *tlb = tlb_make(test);
	struct client *client = client_make(test, tlb, addr, NPAGES, &shadow_ops);
	struct actor first = { .run = run_flush_deferred, .arg = client };
	long flushed;

	defer(client);
	gate_arm(&tlb->gate);
	actor_start(test, &first, -1);
	gate_await(test, &tlb->gate);
	defer(client);
	defer(client);
	mmu_range_mirror_flush_deferred(&client->mirror);
	KUNIT_EXPECT_STREQ(test, logged(tlb), "AAS");
	flushed = atomic_long_read(&tlb->tlb.flushed);
	KUNIT_EXPECT_EQ(test, atomic_long_read(&tlb->tlb.marks), flushed);
	gate_open(&tlb->gate);
	actor_join(test, &first);
	KUNIT_EXPECT_EQ(test, flushed, atomic_long_read(&tlb->tlb.flushed));
	logged(tlb);
	mmu_range_mirror_flush_deferred(&client->mirror);
	KUNIT_EXPECT_STREQ(test, logged(tlb), "");
}

static void marks_wrap(struct kunit *test)
{
	unsigned long addr = map_memory(test);
	struct fake_tlb *tlb = tlb_make(test);
	struct client *client;
	int i;

	atomic_long_set(&tlb->tlb.marks, LONG_MAX - 1);
	atomic_long_set(&tlb->tlb.flushed, LONG_MAX - 1);
	client = client_make(test, tlb, addr, NPAGES, &shadow_ops);
	for (i = 0; i < 4; i++) {
		invalidate(addr, addr + LENGTH);
		KUNIT_EXPECT_STREQ(test, logged(tlb), "I");
		defer(client);
		invalidate(addr, addr + LENGTH);
		KUNIT_EXPECT_STREQ(test, logged(tlb), "IAS");
	}
	KUNIT_EXPECT_LT(test, atomic_long_read(&tlb->tlb.flushed), 0);
	/* A mirror that comes then has deferred nothing. */
	client_remove(client);
	client = client_make(test, tlb, addr, NPAGES, &shadow_ops);
	invalidate(addr, addr + LENGTH);
	KUNIT_EXPECT_STREQ(test, logged(tlb), "I");
}

/* Reclaim that looks at the age of pages takes nothing away. */
static void ageing_flushes_nothing(struct kunit *test)
{
	unsigned long addr = map_memory(test);
	struct fake_tlb *tlb = tlb_make(test);
	struct client *client = client_make(test, tlb, addr, NPAGES,
					    &young_walker_ops);

	defer(client);
	mmu_notifier_clear_flush_young(current->mm, addr, addr + PAGE_SIZE);
	mmu_notifier_clear_young(current->mm, addr, addr + PAGE_SIZE);
	mmu_notifier_test_young(current->mm, addr);
	KUNIT_EXPECT_STREQ(test, logged(tlb), "CCT");
	mmu_range_mirror_flush_deferred(&client->mirror);
	KUNIT_EXPECT_STREQ(test, logged(tlb), "AS");
}

/* Two passes. */

static void slow_devices_overlap(struct kunit *test)
{
	unsigned long addr = map_memory(test);
	struct fake_tlb *tlb = tlb_make(test);
	ktime_t begun;
	s64 took;
	int i;

	for (i = 0; i < 6; i++)
		client_make(test, tlb, addr, NPAGES, &slow_ops);
	begun = ktime_get();
	invalidate(addr, addr + LENGTH);
	took = ktime_us_delta(ktime_get(), begun);
	KUNIT_EXPECT_STREQ(test, logged(tlb),
			   MMU_RANGE_MIRROR_TWO_PASS ? "IIIIIIWWWWWW" :
						       "IWIWIWIWIWIW");
	kunit_info(test, "%d flushes of 1000 us each took %lld us", i, took);
}

/* The second pass does deferred flushes as well. */
static void deferred_flushes_overlap(struct kunit *test)
{
	unsigned long addr = map_memory(test);
	struct fake_tlb *tlb = tlb_make(test);
	struct client *one = client_make(test, tlb, addr, NPAGES, &shadow_ops);
	struct client *two = client_make(test, tlb, addr, NPAGES, &shadow_ops);

	defer(one);
	defer(two);
	invalidate(addr, addr + LENGTH);
	KUNIT_EXPECT_STREQ(test, logged(tlb),
			   MMU_RANGE_MIRROR_TWO_PASS ? "IIAS" : "IASI");
}

#if MMU_RANGE_MIRROR_TWO_PASS
static void *no_finish(size_t size)
{
	return NULL;
}

/* Without memory to gather in, what is gathered is flushed in the first pass. */
static void flushes_without_a_finish(struct kunit *test)
{
	unsigned long addr = map_memory(test);
	struct fake_tlb *tlb = tlb_make(test);
	struct client *one, *two;

	kunit_activate_static_stub(test, mmu_range_mirror_finish_alloc,
				   no_finish);
	one = client_make(test, tlb, addr, NPAGES, &gathering_ops);
	two = client_make(test, tlb, addr, NPAGES, &gathering_ops);
	invalidate(addr + PAGE_SIZE, addr + LENGTH);
	KUNIT_EXPECT_STREQ(test, logged(tlb), "IRSIRS");
	KUNIT_EXPECT_EQ(test, addr + PAGE_SIZE, tlb->range[0].start);
	KUNIT_EXPECT_EQ(test, addr + LENGTH, tlb->range[0].end);
	KUNIT_EXPECT_EQ(test, 0, invalidate_nonblock(addr, addr + LENGTH));
	KUNIT_EXPECT_STREQ(test, logged(tlb), "IRSIRS");
	/* The first that owes a flush makes it, for both. */
	defer(one);
	defer(two);
	invalidate(addr, addr + LENGTH);
	KUNIT_EXPECT_STREQ(test, logged(tlb), "IASIRS");
}
#else
static void flushes_without_a_finish(struct kunit *test)
{
	kunit_skip(test, "needs a second pass");
}
#endif

/* The age of pages. */

static void young_is_tested_and_cleared(struct kunit *test)
{
	unsigned long addr = map_memory(test);
	struct fake_tlb *tlb = tlb_make(test);
	struct client *client = client_make(test, tlb, addr, NPAGES, &young_ops);
	struct mm_struct *mm = current->mm;

	KUNIT_EXPECT_FALSE(test, mmu_notifier_test_young(mm, addr));
	client->used = BIT(0) | BIT(3) | BIT(NPAGES - 1);
	KUNIT_EXPECT_TRUE(test, mmu_notifier_test_young(mm, addr));
	KUNIT_EXPECT_FALSE(test, mmu_notifier_test_young(mm, addr + PAGE_SIZE));
	/* Any address of the page, and one call for it. */
	logged(tlb);
	KUNIT_EXPECT_TRUE(test, mmu_notifier_test_young(mm, addr + 3 * PAGE_SIZE + 8));
	KUNIT_EXPECT_STREQ(test, logged(tlb), "T");
	KUNIT_EXPECT_EQ(test, addr + 3 * PAGE_SIZE, tlb->range[0].start);
	KUNIT_EXPECT_EQ(test, addr + 4 * PAGE_SIZE, tlb->range[0].end);
	/* To test is not to clear. */
	KUNIT_EXPECT_EQ(test, BIT(0) | BIT(3) | BIT(NPAGES - 1), client->used);

	KUNIT_EXPECT_TRUE(test, mmu_notifier_clear_young(mm, addr - PAGE_SIZE,
							 addr + 2 * PAGE_SIZE));
	KUNIT_EXPECT_STREQ(test, logged(tlb), "C");
	KUNIT_EXPECT_EQ(test, addr, tlb->range[0].start);
	KUNIT_EXPECT_EQ(test, addr + 2 * PAGE_SIZE, tlb->range[0].end);
	KUNIT_EXPECT_EQ(test, BIT(3) | BIT(NPAGES - 1), client->used);
	KUNIT_EXPECT_FALSE(test, mmu_notifier_clear_young(mm, addr,
							  addr + 2 * PAGE_SIZE));
	logged(tlb);

	KUNIT_EXPECT_TRUE(test, mmu_notifier_clear_flush_young(mm, addr + LENGTH - PAGE_SIZE,
							       addr + LENGTH + PAGE_SIZE));
	KUNIT_EXPECT_STREQ(test, logged(tlb), "C");
	KUNIT_EXPECT_EQ(test, addr + LENGTH - PAGE_SIZE, tlb->range[0].start);
	KUNIT_EXPECT_EQ(test, addr + LENGTH, tlb->range[0].end);
	KUNIT_EXPECT_EQ(test, BIT(3), client->used);

	KUNIT_EXPECT_FALSE(test, mmu_notifier_clear_young(mm, addr - PAGE_SIZE, addr));
	KUNIT_EXPECT_FALSE(test, mmu_notifier_clear_young(mm, addr + LENGTH,
							  addr + LENGTH + PAGE_SIZE));
	KUNIT_EXPECT_FALSE(test, mmu_notifier_test_young(mm, addr + LENGTH));
	KUNIT_EXPECT_STREQ(test, logged(tlb), "");
}

/* Young for one is young, and clearing clears it for all. */
static void young_asks_every_mirror(struct kunit *test)
{
	unsigned long addr = map_memory(test);
	struct fake_tlb *tlb = tlb_make(test);
	struct client *client[3];
	struct mm_struct *mm = current->mm;
	int i, used;

	for (i = 0; i < ARRAY_SIZE(client); i++)
		client[i] = client_make(test, tlb, addr, NPAGES, &young_ops);
	for (used = 0; used < BIT(ARRAY_SIZE(client)); used++) {
		for (i = 0; i < ARRAY_SIZE(client); i++)
			client[i]->used = used & BIT(i) ? BIT(1) : 0;
		KUNIT_EXPECT_EQ(test, !!used,
				mmu_notifier_test_young(mm, addr + PAGE_SIZE));
		KUNIT_EXPECT_EQ(test, !!used,
				mmu_notifier_clear_young(mm, addr, addr + LENGTH));
		for (i = 0; i < ARRAY_SIZE(client); i++)
			KUNIT_EXPECT_EQ(test, 0, client[i]->used);
	}
}

static void young_is_opt_in(struct kunit *test)
{
	unsigned long addr = map_memory(test);
	struct fake_tlb *tlb = tlb_make(test), *other = tlb_make(test);
	struct mm_struct *mm = current->mm;
	struct client *one, *two, *walker;

	/* Nobody is asked, and the mm pays nothing. */
	client_make(test, other, addr, NPAGES, &shadow_ops);
	KUNIT_EXPECT_EQ(test, 0, nr_notifiers(mm));
	walker = client_make(test, other, addr, NPAGES, &walker_ops);
	KUNIT_EXPECT_EQ(test, 1, nr_notifiers(mm));
	KUNIT_EXPECT_FALSE(test, mmu_notifier_test_young(mm, addr));

	/* The two sorts share nothing. */
	one = client_make(test, tlb, addr, NPAGES, &young_ops);
	KUNIT_EXPECT_EQ(test, 2, nr_notifiers(mm));
	two = client_make(test, tlb, addr, NPAGES, &young_shadow_ops);
	KUNIT_EXPECT_EQ(test, 2, nr_notifiers(mm));
	mmu_notifier_test_young(mm, addr);
	hook(addr, addr + PAGE_SIZE);
	KUNIT_EXPECT_STREQ(test, logged(tlb), "TT");
	KUNIT_EXPECT_STREQ(test, logged(other), "HRS");

	client_remove(walker);
	KUNIT_EXPECT_EQ(test, 1, nr_notifiers(mm));
	one->used = BIT(0);
	client_remove(one);
	KUNIT_EXPECT_FALSE(test, mmu_notifier_test_young(mm, addr));
	KUNIT_EXPECT_STREQ(test, logged(tlb), "T");
	client_remove(two);
	KUNIT_EXPECT_EQ(test, 0, nr_notifiers(mm));
}

/* Extents. */

#define MODEL_PAGES	192UL
#define MODEL_STEPS	5000
/* The same steps each time. */
#define MODEL_SEED	20090831

/* Which pages are mapped, in the simplest way, beside the extents. */
struct model {
	struct mmu_mirror_extents extents;
	DECLARE_BITMAP(mapped, MODEL_PAGES);
	/* Parts dropped, and pages of them that were not mapped. */
	int dropped;
	int bad;
};

static unsigned long model_drop_pages(struct model *model, unsigned long first,
				      unsigned long end)
{
	unsigned long page;

	model->dropped++;
	for (page = first; page < end; page++)
		if (page >= MODEL_PAGES || !test_and_clear_bit(page, model->mapped))
			model->bad++;
	return end - first;
}

static void model_drop(unsigned long start, unsigned long end, void *ctx)
{
	model_drop_pages(ctx, start >> PAGE_SHIFT, end >> PAGE_SHIFT);
}

static void model_map(struct kunit *test, struct model *model,
		      unsigned long first, unsigned long end)
{
	struct mmu_mirror_extent *spare = mmu_mirror_extent_alloc();

	KUNIT_ASSERT_NOT_NULL(test, spare);
	mmu_mirror_extents_map(&model->extents, first * PAGE_SIZE,
			       end * PAGE_SIZE, &spare);
	mmu_mirror_extent_free(spare);
	bitmap_set(model->mapped, first, end - first);
}

/* Return how many pages were. */
static unsigned long model_unmap(struct model *model, unsigned long first,
				 unsigned long end)
{
	return mmu_mirror_extents_unmap(&model->extents, first * PAGE_SIZE,
					end * PAGE_SIZE, model_drop, model) >>
	       PAGE_SHIFT;
}

static void model_end(void *ctx)
{
	struct model *model = ctx;

	mmu_mirror_extents_unmap(&model->extents, 0, -PAGE_SIZE, NULL, NULL);
}

static struct model *model_make(struct kunit *test)
{
	struct model *model = kunit_kzalloc(test, sizeof(*model), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, model);
	KUNIT_ASSERT_EQ(test, 0, kunit_add_action(test, model_end, model));
	return model;
}

/* The same runs of pages, in the same order, and no more of them. */
static bool model_agrees(struct model *model)
{
	struct interval_tree_node *node;
	unsigned long first, end, nr = 0;

	node = interval_tree_iter_first(&model->extents.root, 0, -1UL);
	for_each_set_bitrange(first, end, model->mapped, MODEL_PAGES) {
		if (!node || node->start != first * PAGE_SIZE ||
		    node->last != end * PAGE_SIZE - 1)
			return false;
		node = interval_tree_iter_next(node, 0, -1UL);
		nr++;
	}
	return !node && nr == model->extents.nr && !model->bad;
}

static void extents_map_merges(struct kunit *test)
{
	struct model *model = model_make(test);
	struct mmu_mirror_extent *spare;

	model_map(test, model, 10, 12);
	KUNIT_EXPECT_EQ(test, 1, model->extents.nr);
	model_map(test, model, 14, 16);
	model_map(test, model, 20, 22);
	KUNIT_EXPECT_EQ(test, 3, model->extents.nr);
	KUNIT_EXPECT_TRUE(test, model_agrees(model));
	/* Abutting above, below, on both sides. */
	model_map(test, model, 22, 23);
	model_map(test, model, 9, 10);
	KUNIT_EXPECT_EQ(test, 3, model->extents.nr);
	model_map(test, model, 12, 14);
	KUNIT_EXPECT_EQ(test, 2, model->extents.nr);
	KUNIT_EXPECT_TRUE(test, model_agrees(model));
	/* Overlapping, again, over several and the gaps. */
	model_map(test, model, 15, 18);
	model_map(test, model, 10, 11);
	KUNIT_EXPECT_EQ(test, 2, model->extents.nr);
	KUNIT_EXPECT_TRUE(test, model_agrees(model));
	model_map(test, model, 1, 30);
	KUNIT_EXPECT_EQ(test, 1, model->extents.nr);
	KUNIT_EXPECT_TRUE(test, model_agrees(model));
	KUNIT_EXPECT_EQ(test, 9, model->extents.nr_mapped);

	/* A spare is used for what is new, and only for that. */
	spare = mmu_mirror_extent_alloc();
	KUNIT_ASSERT_NOT_NULL(test, spare);
	mmu_mirror_extents_map(&model->extents, 30 * PAGE_SIZE, 31 * PAGE_SIZE,
			       &spare);
	KUNIT_ASSERT_NOT_NULL(test, spare);
	mmu_mirror_extents_map(&model->extents, 40 * PAGE_SIZE, 41 * PAGE_SIZE,
			       &spare);
	KUNIT_EXPECT_NULL(test, spare);
	KUNIT_EXPECT_EQ(test, 2, model->extents.nr);
	/* There is none any more: only what becomes part of another is mapped. */
	KUNIT_EXPECT_EQ(test, -ENOMEM,
			mmu_mirror_extents_map(&model->extents, 50 * PAGE_SIZE,
					       51 * PAGE_SIZE, &spare));
	KUNIT_EXPECT_EQ(test, 0,
			mmu_mirror_extents_map(&model->extents, 41 * PAGE_SIZE,
					       42 * PAGE_SIZE, &spare));
	KUNIT_EXPECT_EQ(test, 2, model->extents.nr);
	KUNIT_EXPECT_EQ(test, 12, model->extents.nr_mapped);
}

static void extents_unmap_cuts(struct kunit *test)
{
	struct model *model = model_make(test);

	model_map(test, model, 10, 20);
	model_map(test, model, 30, 40);
	model_map(test, model, 50, 60);
	/* Nothing there. */
	KUNIT_EXPECT_EQ(test, 0, model_unmap(model, 1, 10));
	KUNIT_EXPECT_EQ(test, 0, model_unmap(model, 20, 30));
	KUNIT_EXPECT_EQ(test, 0, model_unmap(model, 35, 35));
	KUNIT_EXPECT_EQ(test, 0, model->dropped);
	/* The edges. */
	KUNIT_EXPECT_EQ(test, 2, model_unmap(model, 8, 12));
	KUNIT_EXPECT_EQ(test, 3, model_unmap(model, 17, 22));
	KUNIT_EXPECT_EQ(test, 2, model->dropped);
	KUNIT_EXPECT_EQ(test, 3, model->extents.nr);
	KUNIT_EXPECT_TRUE(test, model_agrees(model));
	/* The middle: one more, of which both halves stay. */
	KUNIT_EXPECT_EQ(test, 2, model_unmap(model, 34, 36));
	KUNIT_EXPECT_EQ(test, 4, model->extents.nr);
	KUNIT_EXPECT_EQ(test, 1, model->extents.nr_split);
	KUNIT_EXPECT_EQ(test, 0, model->extents.nr_lost);
	KUNIT_EXPECT_TRUE(test, model_agrees(model));
	/* A part of one, all of one, a part of one: in order, by part. */
	model->dropped = 0;
	KUNIT_EXPECT_EQ(test, 2 + 4 + 4 + 1, model_unmap(model, 15, 51));
	KUNIT_EXPECT_EQ(test, 4, model->dropped);
	KUNIT_EXPECT_EQ(test, 2, model->extents.nr);
	KUNIT_EXPECT_TRUE(test, model_agrees(model));
	/* The whole, with nobody to be told. */
	KUNIT_EXPECT_EQ(test, 9 * PAGE_SIZE,
			mmu_mirror_extents_unmap(&model->extents,
						 51 * PAGE_SIZE, 60 * PAGE_SIZE,
						 NULL, NULL));
	bitmap_clear(model->mapped, 51, 9);
	KUNIT_EXPECT_EQ(test, 1, model->extents.nr);
	KUNIT_EXPECT_EQ(test, 3, model_unmap(model, 12, 15));
	KUNIT_EXPECT_EQ(test, 0, model->extents.nr);
	KUNIT_EXPECT_TRUE(test, model_agrees(model));
	KUNIT_EXPECT_EQ(test, 1, model->extents.nr_split);
}

static struct mmu_mirror_extent *no_extent(struct mm_struct *mm)
{
	return NULL;
}

/* Without memory for the upper half, it is given up, and the owner told so. */
static void extents_lose_the_upper_half(struct kunit *test)
{
	struct model *model = model_make(test);

	kunit_activate_static_stub(test, mmu_mirror_extent_alloc_nowait,
				   no_extent);
	model_map(test, model, 10, 20);
	model_map(test, model, 30, 40);
	KUNIT_EXPECT_EQ(test, 8, model_unmap(model, 12, 14));
	KUNIT_EXPECT_EQ(test, 1, model->dropped);
	KUNIT_EXPECT_EQ(test, 2, model->extents.nr);
	KUNIT_EXPECT_EQ(test, 1, model->extents.nr_split);
	KUNIT_EXPECT_EQ(test, 1, model->extents.nr_lost);
	KUNIT_EXPECT_TRUE(test, model_agrees(model));
	/* An edge takes no memory. */
	KUNIT_EXPECT_EQ(test, 1, model_unmap(model, 39, 50));
	KUNIT_EXPECT_EQ(test, 1, model_unmap(model, 20, 31));
	KUNIT_EXPECT_EQ(test, 1, model->extents.nr_lost);
	KUNIT_EXPECT_TRUE(test, model_agrees(model));
}

static struct mm_struct *charged_mm;

static void note_charge(struct mmu_mirror_charge *charge, struct mm_struct *mm)
{
	*charge = (struct mmu_mirror_charge) { };
	charged_mm = mm;
}

/* An invalidation's caller does not pay for an extent that it cuts. */
static void extents_charge_the_owner(struct kunit *test)
{
	struct model *model = model_make(test);

	map_memory(test);
	model->extents.mm = current->mm;
	charged_mm = NULL;
	kunit_activate_static_stub(test, mmu_mirror_charge_begin, note_charge);
	model_map(test, model, 10, 20);
	KUNIT_EXPECT_EQ(test, 1, model_unmap(model, 19, 20));
	KUNIT_EXPECT_NULL(test, charged_mm);
	KUNIT_EXPECT_EQ(test, 2, model_unmap(model, 12, 14));
	KUNIT_EXPECT_PTR_EQ(test, current->mm, charged_mm);
	KUNIT_EXPECT_TRUE(test, model_agrees(model));
}

static void extents_follow_the_model(struct kunit *test)
{
	struct model *model = model_make(test);
	struct rnd_state rnd;
	int step, wrong = 0;

	prandom_seed_state(&rnd, MODEL_SEED);
	for (step = 0; step < MODEL_STEPS && !wrong; step++) {
		unsigned long first = 1 + prandom_u32_state(&rnd) % (MODEL_PAGES - 1);
		unsigned long end = first + 1 + prandom_u32_state(&rnd) % 12;
		unsigned long was = bitmap_weight(model->mapped, MODEL_PAGES);

		end = min(end, MODEL_PAGES);
		if (prandom_u32_state(&rnd) & 1) {
			model_map(test, model, first, end);
		} else {
			unsigned long n = model_unmap(model, first, end);

			wrong += was - n != bitmap_weight(model->mapped, MODEL_PAGES);
			wrong += find_next_bit(model->mapped, end, first) < end;
		}
		wrong += !model_agrees(model);
		KUNIT_EXPECT_EQ_MSG(test, 0, wrong, "step %d", step);
	}
	/* It did what it was to do. */
	KUNIT_EXPECT_GT(test, model->extents.nr_split, MODEL_STEPS / 100);
	KUNIT_EXPECT_EQ(test, 0, model->extents.nr_lost);
}

static void extents_stay_few(struct kunit *test)
{
	struct model *model = model_make(test);
	struct mmu_mirror_extents *extents = &model->extents;
	struct mmu_mirror_extent *spare = NULL;
	unsigned long page;

	/* One after the other ... */
	for (page = 1; page <= 10000; page++) {
		if (!spare)
			spare = mmu_mirror_extent_alloc();
		KUNIT_ASSERT_NOT_NULL(test, spare);
		mmu_mirror_extents_map(extents, page * PAGE_SIZE,
				       (page + 1) * PAGE_SIZE, &spare);
	}
	KUNIT_EXPECT_EQ(test, 1, extents->nr);
	KUNIT_EXPECT_EQ(test, 10000, extents->nr_mapped);
	/* ... and every other first. */
	for (page = 20001; page <= 30000; page += 2) {
		if (!spare)
			spare = mmu_mirror_extent_alloc();
		KUNIT_ASSERT_NOT_NULL(test, spare);
		mmu_mirror_extents_map(extents, page * PAGE_SIZE,
				       (page + 1) * PAGE_SIZE, &spare);
	}
	KUNIT_EXPECT_EQ(test, 5001, extents->nr);
	/* These need none. */
	mmu_mirror_extent_free(spare);
	spare = NULL;
	for (page = 20002; page <= 30000; page += 2)
		mmu_mirror_extents_map(extents, page * PAGE_SIZE,
				       (page + 1) * PAGE_SIZE, &spare);
	KUNIT_EXPECT_EQ(test, 2, extents->nr);
	KUNIT_EXPECT_EQ(test, 20000, extents->nr_mapped);
	KUNIT_EXPECT_EQ(test, 20000 * PAGE_SIZE,
			mmu_mirror_extents_unmap(extents, PAGE_SIZE,
						 40000 * PAGE_SIZE, NULL, NULL));
	KUNIT_EXPECT_EQ(test, 0, extents->nr);
}

static void run_await_lists(struct actor *actor)
{
	mmu_range_mirror_await_lists();
}

/* The module's exit, while there is a list of mirrors that it has to free. */
static void exit_awaits_lists(struct kunit *test)
{
	struct actor exit = { .run = run_await_lists };
	struct fake_tlb *tlb = tlb_make(test);
	unsigned long addr = map_memory(test);
	struct client *client;

	mmu_range_mirror_await_lists();
	client = client_make(test, tlb, addr, NPAGES, &plain_ops);
	actor_start(test, &exit, -1);
	KUNIT_EXPECT_TRUE(test, actor_busy(&exit));
	client_remove(client);
	actor_join(test, &exit);
}

static void tlb_test_exit(struct kunit *test)
{
	mmu_range_mirror_set_injection(NULL);
}

static int tlb_test_init(struct kunit *test)
{
	kunit_activate_static_stub(test, mmu_range_mirror_can_hook, can_hook);
	return 0;
}

static struct kunit_case tlb_cases[] = {
	KUNIT_CASE(hook_is_clipped),
	KUNIT_CASE(hook_misses),
	KUNIT_CASE(hook_finds_every_mirror),
	KUNIT_CASE(hook_is_shared),
	KUNIT_CASE(remove_flushes_before_it_leaves),
	KUNIT_CASE(remove_flushes_the_tlb),
	KUNIT_CASE(remove_waits_for_the_hook),
	KUNIT_CASE(insert_refuses_ops),
	KUNIT_CASE(insert_wants_a_hook),
	KUNIT_CASE(failed_insert_leaves_nothing),
	KUNIT_CASE(exit_releases),
	KUNIT_CASE(exit_flushes_what_was_deferred),
	KUNIT_CASE(gather_merges),
	KUNIT_CASE(gather_overflows),
	KUNIT_CASE(gather_thresholds),
	KUNIT_CASE(hook_gathers_by_tlb),
	KUNIT_CASE(invalidate_gathers),
	KUNIT_CASE(invalidate_gathers_then_flushes),
	KUNIT_CASE(invalidate_flushes_unlocked),
	KUNIT_CASE(own_flush_leaves_nothing),
	KUNIT_CASE(own_flush_is_awaited),
	KUNIT_CASE(own_flush_is_awaited_by_the_hook),
	KUNIT_CASE(other_flush_is_awaited),
	KUNIT_CASE(flush_stays_on_its_cpu),
	KUNIT_CASE(deferred_is_flushed_by_invalidation),
	KUNIT_CASE(deferred_is_flushed_for_the_owner),
	KUNIT_CASE(deferred_outlives_a_refusal),
	KUNIT_CASE(deferred_is_flushed_by_the_hook),
	KUNIT_CASE(deferred_is_flushed_by_removal),
	KUNIT_CASE(deferred_is_flushed_once),
	KUNIT_CASE(deferred_is_shared_by_a_tlb),
	KUNIT_CASE(promoted_flush_covers_marks),
	KUNIT_CASE(mark_during_flush_survives),
	KUNIT_CASE(second_flush_does_not_trust_the_first),
	KUNIT_CASE(flushed_never_goes_back),
	KUNIT_CASE(marks_wrap),
	KUNIT_CASE(ageing_flushes_nothing),
	KUNIT_CASE(slow_devices_overlap),
	KUNIT_CASE(flushes_without_a_finish),
	KUNIT_CASE(deferred_flushes_overlap),
	KUNIT_CASE(young_is_tested_and_cleared),
	KUNIT_CASE(young_asks_every_mirror),
	KUNIT_CASE(young_is_opt_in),
	KUNIT_CASE(extents_map_merges),
	KUNIT_CASE(extents_unmap_cuts),
	KUNIT_CASE(extents_lose_the_upper_half),
	KUNIT_CASE(extents_charge_the_owner),
	KUNIT_CASE(extents_follow_the_model),
	KUNIT_CASE(extents_stay_few),
	KUNIT_CASE(exit_awaits_lists),
	{}
};

static struct kunit_suite tlb_suite = {
	.name = "mmu_mirror_tlb",
	.init = tlb_test_init,
	.exit = tlb_test_exit,
	.test_cases = tlb_cases,
};

kunit_test_suite(tlb_suite);

MODULE_DESCRIPTION("KUnit tests of the flushing of device TLBs");
MODULE_LICENSE("GPL");
