// SPDX-License-Identifier: GPL-2.0
/*
 * KUnit tests of mm/mmu_mirror_cache.c: what is found, what makes way for what,
 * and what is waited for. What windows do is tested beside them.
 */
#include <kunit/static_stub.h>
#include <linux/ktime.h>
#include <linux/mmu_mirror_cache.h>
#include <linux/mmu_range_mirror_inject.h>
#include <linux/pagemap.h>

#include "mmu_mirror_kunit.h"

#define CHUNK		MMU_MIRROR_CACHE_CHUNK
/* One set of four windows for reading, and one for writing. */
#define CHUNKS		8
/* Bytes that are copied in every way that there is. */
#define PIECE		40
/* More than are dropped together on any kernel. */
#define MANY_CHUNKS	32
/* How long a reader stays inside to see whether it is waited for. */
#define HOLD_NS		(100 * NSEC_PER_MSEC)
/* Since a set was aged: long enough for its windows to be old ... */
#define AGE		(HZ / 2)
/* ... and for what was refused to be forgotten. */
#define AGES		(3 * HZ)

struct cache_test {
	unsigned long addr;
	struct mmu_mirror_cache *cache;
};

/* The first byte of a chunk of the test's memory, in which is its number. */
static unsigned long chunk_at(struct cache_test *t, int chunk)
{
	return t->addr + chunk * CHUNK;
}

static void touch(struct kunit *test, unsigned long addr, int value)
{
	KUNIT_ASSERT_EQ(test, 0, put_user(value, (int __user *)addr));
}

/* Chunks of memory with something in the first page of each, and a cache. */
static void setup(struct kunit *test, struct cache_test *t, int chunks)
{
	int i;

	t->addr = round_up(map_pages(test, (chunks + 1) * CHUNK), CHUNK);
	for (i = 0; i < chunks; i++)
		touch(test, chunk_at(t, i), i + 1);
	t->cache = mmu_mirror_cache_open(current->mm, CHUNKS);
	KUNIT_ASSERT_FALSE(test, IS_ERR(t->cache));
	KUNIT_ASSERT_EQ(test, 1, t->cache->mask);
}

/* Have the mm's queue do what it has to, and what that queues. */
static void settle(void)
{
	mmu_mirror_queue_barrier();
	mmu_mirror_queue_barrier();
}

static void teardown(struct kunit *test, struct cache_test *t)
{
	mmu_mirror_cache_close(t->cache);
	settle();
}

/* What is at @addr, or 0 if the cache has no pointer. */
static int look(struct cache_test *t, unsigned long addr, bool write)
{
	int value = 0, *p;

	mmu_mirror_enter_cpu(t->cache->cpu);
	p = mmu_mirror_cache_ptr(t->cache, addr, sizeof(*p), write);
	if (p)
		value = READ_ONCE(*p);
	mmu_mirror_exit_cpu(t->cache->cpu);
	return value;
}

/* The same, after misses have been dealt with. */
static int look_again(struct cache_test *t, unsigned long addr, bool write)
{
	int tries = 200, value;

	while (!(value = look(t, addr, write)) && --tries) {
		settle();
		schedule_timeout_uninterruptible(1);
	}
	return value;
}

static struct mmu_mirror_cache_stats stats_of(struct cache_test *t)
{
	struct mmu_mirror_cache_stats stats;

	mmu_mirror_cache_get_stats(t->cache, &stats);
	return stats;
}

static struct folio *folio_at(struct kunit *test, unsigned long addr)
{
	struct page *page;

	KUNIT_ASSERT_EQ(test, 1, get_user_pages_fast(addr, 1, 0, &page));
	put_page(page);
	return page_folio(page);
}

static void cache_open_refuses(struct kunit *test)
{
	KUNIT_EXPECT_EQ(test, -EINVAL,
			PTR_ERR_OR_ZERO(mmu_mirror_cache_open(current->mm, 0)));
	KUNIT_EXPECT_EQ(test, -EINVAL,
			PTR_ERR_OR_ZERO(mmu_mirror_cache_open(current->mm, 32769)));
	mmu_mirror_cache_close(NULL);
}

static struct mmu_mirror_queue *no_queue(struct mm_struct *mm)
{
	return NULL;
}

static struct mmu_mirror_domain *no_domain(void)
{
	return NULL;
}

/* Who has no memory for all of it keeps nothing, and may try again. */
static void cache_open_without_memory(struct kunit *test)
{
	struct mm_struct *mm = new_mm();
	struct mmu_mirror_cache *cache;

	KUNIT_ASSERT_NOT_NULL(test, mm);
	kunit_activate_static_stub(test, mmu_mirror_queue_get, no_queue);
	KUNIT_EXPECT_EQ(test, -ENOMEM,
			PTR_ERR_OR_ZERO(mmu_mirror_cache_open(mm, CHUNKS)));
	kunit_deactivate_static_stub(test, mmu_mirror_queue_get);
	kunit_activate_static_stub(test, mmu_mirror_domain_alloc, no_domain);
	KUNIT_EXPECT_EQ(test, -ENOMEM,
			PTR_ERR_OR_ZERO(mmu_mirror_cache_open(mm, CHUNKS)));
	kunit_deactivate_static_stub(test, mmu_mirror_domain_alloc);
	settle();
	/* A queue would hold it, too. */
	KUNIT_EXPECT_EQ(test, 1, atomic_read(&mm->mm_count));
	cache = mmu_mirror_cache_open(mm, CHUNKS);
	KUNIT_EXPECT_FALSE(test, IS_ERR(cache));
	if (!IS_ERR(cache))
		mmu_mirror_cache_close(cache);
	settle();
	KUNIT_EXPECT_EQ(test, 1, atomic_read(&mm->mm_count));
	mmput(mm);
}

static void cache_finds(struct kunit *test)
{
	struct cache_test t;
	int i;

	setup(test, &t, 3);
	KUNIT_EXPECT_EQ(test, 0, look(&t, chunk_at(&t, 0), false));
	for (i = 0; i < 3; i++)
		KUNIT_EXPECT_EQ(test, i + 1, look_again(&t, chunk_at(&t, i), false));
	/* A page that nobody has touched; and one byte too far. */
	KUNIT_EXPECT_EQ(test, 0, look(&t, chunk_at(&t, 1) + PAGE_SIZE, false));
	KUNIT_EXPECT_EQ(test, 0, look(&t, chunk_at(&t, 1) + PAGE_SIZE - 3, false));
	KUNIT_EXPECT_EQ(test, 3, stats_of(&t).chunks);
	KUNIT_EXPECT_EQ(test, 3, stats_of(&t).mapped);
	KUNIT_EXPECT_EQ(test, 3, stats_of(&t).opened);
	KUNIT_EXPECT_EQ(test, 0, stats_of(&t).evicted);
	teardown(test, &t);
}

/* Chunks whose numbers differ only in what no tag has. */
static void cache_tells_chunks_apart(struct kunit *test)
{
	struct mmu_mirror_window *window;
	struct cache_test t;

	setup(test, &t, 2);
	KUNIT_ASSERT_EQ(test, 1, look_again(&t, chunk_at(&t, 0), false));
	t.cache->set[0].tag[0] = chunk_at(&t, 1) / CHUNK;
	KUNIT_EXPECT_EQ(test, 0, look(&t, chunk_at(&t, 1), false));
	window = t.cache->set[0].window[0];
	KUNIT_EXPECT_EQ(test, chunk_at(&t, 0), window->uaddr);
	teardown(test, &t);
}

/* Only what is looked up for writing is dirtied, or need be writable. */
static void cache_writes(struct kunit *test)
{
	struct folio *folio;
	struct cache_test t;
	int value = 7, got;

	setup(test, &t, 1);
	folio = folio_at(test, t.addr);
	folio_clear_dirty(folio);
	KUNIT_EXPECT_EQ(test, 1, look_again(&t, t.addr, false));
	KUNIT_EXPECT_FALSE(test, folio_test_dirty(folio));
	KUNIT_EXPECT_EQ(test, 1, look_again(&t, t.addr, true));
	KUNIT_EXPECT_TRUE(test, folio_test_dirty(folio));
	KUNIT_EXPECT_EQ(test, sizeof(value),
			mmu_mirror_cache_write(t.cache, t.addr, &value, sizeof(value)));
	KUNIT_EXPECT_EQ(test, 0, get_user(got, (int __user *)t.addr));
	KUNIT_EXPECT_EQ(test, 7, got);
	KUNIT_EXPECT_EQ(test, 7, look(&t, t.addr, false));
	teardown(test, &t);
}

/* The zero page is there for reading, and for nobody to write. */
static void cache_respects_protection(struct kunit *test)
{
	unsigned long addr;
	struct cache_test t;
	int value = 9, got;

	setup(test, &t, 1);
	addr = t.addr + PAGE_SIZE;
	KUNIT_ASSERT_EQ(test, 0, get_user(got, (int __user *)addr));
	KUNIT_ASSERT_EQ(test, 1, look_again(&t, t.addr, true));
	settle();
	KUNIT_EXPECT_EQ(test, 0,
			mmu_mirror_cache_write(t.cache, addr, &value, sizeof(value)));
	KUNIT_EXPECT_EQ(test, 0, get_user(got, (int __user *)addr));
	KUNIT_EXPECT_EQ(test, 0, got);
	teardown(test, &t);
}

static void cache_copies_across(struct kunit *test)
{
	unsigned long edge;
	struct cache_test t;
	char buf[64] = {};
	size_t got = 0;
	int tries;

	setup(test, &t, 2);
	edge = chunk_at(&t, 1);
	touch(test, edge - sizeof(int), 0x01010101);
	touch(test, edge, 0x02020202);
	for (tries = 0; got != 8 && tries < 200; tries++) {
		got = mmu_mirror_cache_read(t.cache, buf, edge - 4, 8);
		KUNIT_EXPECT_TRUE(test, got == 0 || got == 4 || got == 8);
		settle();
		schedule_timeout_uninterruptible(1);
	}
	KUNIT_EXPECT_EQ(test, 8, got);
	KUNIT_EXPECT_MEMEQ(test, buf, "\1\1\1\1\2\2\2\2", 8);
	/* As far as there is anything. */
	KUNIT_EXPECT_EQ(test, 60,
			mmu_mirror_cache_read(t.cache, buf, edge + PAGE_SIZE - 60, 64));
	teardown(test, &t);
}

/* What is copied is all of it, and nothing else, in any length and at any address. */
static void cache_copies_each_byte(struct kunit *test)
{
	u8 want[PIECE + 16], got[PIECE + 16];
	struct cache_test t;
	size_t n, at;

	setup(test, &t, 1);
	for (at = 0; at < sizeof(want); at++)
		want[at] = 17 * at + 1;
	KUNIT_ASSERT_EQ(test, 0, copy_to_user((void __user *)t.addr, want,
					      sizeof(want)));
	KUNIT_ASSERT_EQ(test, 0,
			copy_to_user((void __user *)(t.addr + PAGE_SIZE - PIECE),
				     want, PIECE));
	KUNIT_ASSERT_NE(test, 0, look_again(&t, t.addr, false));
	for (n = 1; n <= PIECE; n++) {
		for (at = 0; at < 16; at++) {
			memset(got, 0xee, sizeof(got));
			KUNIT_ASSERT_EQ(test, n, mmu_mirror_cache_read(t.cache, got,
								       t.addr + at, n));
			KUNIT_ASSERT_MEMEQ(test, got, want + at, n);
			KUNIT_ASSERT_EQ(test, 0xee, got[n]);
		}
		/* The page's last bytes. */
		KUNIT_ASSERT_EQ(test, n, mmu_mirror_cache_read(t.cache, got,
							       t.addr + PAGE_SIZE - n, n));
		KUNIT_ASSERT_MEMEQ(test, got, want + PIECE - n, n);
	}
	teardown(test, &t);
}

/* As if a chunk had been refused, and nobody had used the others since. */
static void come_again(struct cache_test *t, int chunk)
{
	struct mmu_mirror_cache_set *set = &t->cache->set[0];

	set->ghost = chunk_at(t, chunk) / CHUNK;
	set->aged = (u32)jiffies - AGE;
	memset(set->young, 0, sizeof(set->young));
}

static void cache_is_bounded(struct kunit *test)
{
	struct cache_test t;
	int i;

	setup(test, &t, 12);
	for (i = 0; i < 16; i++) {
		/* One that is not there. */
		int chunk = i < CHUNKS / 2 ? i : CHUNKS / 2 + i % 8;

		come_again(&t, chunk);
		t.cache->rest = jiffies;
		KUNIT_EXPECT_EQ(test, 0, look(&t, chunk_at(&t, chunk), false));
		settle();
		KUNIT_EXPECT_LE(test, stats_of(&t).chunks, CHUNKS / 2);
	}
	KUNIT_EXPECT_EQ(test, CHUNKS / 2, stats_of(&t).chunks);
	KUNIT_EXPECT_EQ(test, 16 - CHUNKS / 2, stats_of(&t).evicted);
	teardown(test, &t);
}

/* Fill the set for reading with the first chunks. */
static void fill_set(struct kunit *test, struct cache_test *t)
{
	int i;

	for (i = 0; i < MMU_MIRROR_CACHE_WAYS; i++)
		KUNIT_ASSERT_EQ(test, i + 1, look_again(t, chunk_at(t, i), false));
}

/* A reader misses a chunk, so long after the set was aged, and the first are used. */
static void miss(struct kunit *test, struct cache_test *t, int chunk, int used,
		 unsigned long since)
{
	int i;

	for (i = 0; i < used; i++)
		KUNIT_EXPECT_EQ(test, i + 1, look(t, chunk_at(t, i), false));
	t->cache->set[0].aged = (u32)jiffies - since;
	t->cache->rest = jiffies;
	KUNIT_EXPECT_EQ(test, 0, look(t, chunk_at(t, chunk), false));
	settle();
}

/* What is used once does not displace what is used always. */
static void cache_keeps_what_is_used(struct kunit *test)
{
	struct cache_test t;
	int i;

	setup(test, &t, 12);
	fill_set(test, &t);
	for (i = 0; i < 24; i++)
		miss(test, &t, 4 + i / 3, MMU_MIRROR_CACHE_WAYS,
		     i % 3 ? AGE : AGES);
	KUNIT_EXPECT_EQ(test, 0, stats_of(&t).evicted);
	fill_set(test, &t);
	KUNIT_EXPECT_EQ(test, MMU_MIRROR_CACHE_WAYS, stats_of(&t).opened);
	teardown(test, &t);
}

/* What nobody uses makes way for what comes again, but not for what came once. */
static void cache_takes_what_comes_again(struct kunit *test)
{
	struct cache_test t;

	setup(test, &t, 7);
	fill_set(test, &t);
	miss(test, &t, 4, 3, AGES);
	KUNIT_EXPECT_EQ(test, 0, stats_of(&t).evicted);
	/* Not this one's turn. */
	miss(test, &t, 5, 3, AGE);
	KUNIT_EXPECT_EQ(test, 0, stats_of(&t).evicted);
	/* Too early. */
	miss(test, &t, 4, 3, 0);
	KUNIT_EXPECT_EQ(test, 0, stats_of(&t).evicted);
	miss(test, &t, 4, 3, AGE);
	KUNIT_EXPECT_EQ(test, 1, stats_of(&t).evicted);
	KUNIT_EXPECT_EQ(test, 5, look_again(&t, chunk_at(&t, 4), false));
	KUNIT_EXPECT_EQ(test, 3, look(&t, chunk_at(&t, 2), false));
	KUNIT_EXPECT_EQ(test, 0, look(&t, chunk_at(&t, 3), false));
	teardown(test, &t);
}

/* However much is missed, windows are opened at a rate. */
static void cache_rests(struct kunit *test)
{
	unsigned long before = jiffies;
	struct cache_test t;
	int tries;

	setup(test, &t, 12);
	look(&t, chunk_at(&t, 0), false);
	settle();
	KUNIT_EXPECT_EQ(test, 1, stats_of(&t).opened);
	KUNIT_EXPECT_TRUE(test, time_after(t.cache->rest, before));
	fill_set(test, &t);
	before = jiffies;
	miss(test, &t, 4, 0, AGES);
	KUNIT_EXPECT_TRUE(test, time_after(t.cache->rest, before));
	for (tries = 0; tries < MANY; tries++) {
		t.cache->rest = jiffies + 1;
		look(&t, chunk_at(&t, 5), false);
		if (time_before(jiffies, t.cache->rest))
			break;
		/* This thread was held up: it may have been time. */
		settle();
	}
	KUNIT_EXPECT_LT(test, tries, MANY);
	KUNIT_EXPECT_FALSE(test, work_busy(&t.cache->open));
	teardown(test, &t);
}

/* What is no memory of the process, or is in a chunk that it ends in, holds up nothing. */
static void cache_shuns_the_end(struct kunit *test)
{
	struct cache_test t;
	unsigned long end;

	setup(test, &t, 1);
	end = current->mm->task_size;
	look(&t, end - (end % CHUNK ? sizeof(int) : 0), false);
	look(&t, -CHUNK, true);
	settle();
	KUNIT_EXPECT_FALSE(test, time_after(t.cache->rest, jiffies));
	KUNIT_EXPECT_EQ(test, 1, look_again(&t, t.addr, false));
	teardown(test, &t);
}

/* However many windows lack pages, the queue has time for more than fills. */
static void cache_fills_at_a_rate(struct kunit *test)
{
	struct mmu_mirror_window *window;
	struct cache_test t;
	int tries;

	setup(test, &t, 1);
	KUNIT_ASSERT_EQ(test, 1, look_again(&t, t.addr, false));
	settle();
	window = t.cache->set[0].window[0];
	invalidate(t.addr, t.addr + PAGE_SIZE);
	for (tries = 0; tries < MANY; tries++) {
		window->rest.until = jiffies;
		t.cache->filled = jiffies;
		look(&t, t.addr, false);
		if (!(jiffies - t.cache->filled))
			break;
		settle();
		invalidate(t.addr, t.addr + PAGE_SIZE);
	}
	KUNIT_EXPECT_LT(test, tries, MANY);
	KUNIT_EXPECT_FALSE(test, work_busy(&window->fill));
	KUNIT_EXPECT_EQ(test, 1, look_again(&t, t.addr, false));
	teardown(test, &t);
}

static void cache_invalidate_drops(struct kunit *test)
{
	struct mmu_mirror_cache_stats stats;
	struct mmu_mirror_window *window;
	struct cache_test t;

	setup(test, &t, 2);
	KUNIT_ASSERT_EQ(test, 1, look_again(&t, chunk_at(&t, 0), false));
	KUNIT_ASSERT_EQ(test, 2, look_again(&t, chunk_at(&t, 1), false));
	settle();
	window = t.cache->set[0].window[0];
	/* A fill would find that there is nothing. */
	window->rest.until = jiffies + HZ;
	/* All of it: else the area would be split first, which drops it, too. */
	vm_munmap(t.addr, CHUNK);
	KUNIT_EXPECT_EQ(test, 0, look(&t, chunk_at(&t, 0), false));
	KUNIT_EXPECT_EQ(test, MMU_MIRROR_INVALIDATED,
			mmu_mirror_cache_absence(t.cache, chunk_at(&t, 0), false));
	KUNIT_EXPECT_EQ(test, 2, look(&t, chunk_at(&t, 1), false));
	KUNIT_EXPECT_EQ(test, t.addr,
			vm_mmap(NULL, t.addr, PAGE_SIZE, PROT_READ | PROT_WRITE,
				MAP_ANONYMOUS | MAP_PRIVATE | MAP_FIXED, 0));
	touch(test, t.addr, 5);
	window->rest.until = jiffies;
	KUNIT_EXPECT_EQ(test, 5, look_again(&t, t.addr, false));
	stats = stats_of(&t);
	KUNIT_EXPECT_EQ(test, 1, stats.drops[MMU_NOTIFY_UNMAP]);
	KUNIT_EXPECT_EQ(test, 2, stats.opened);
	teardown(test, &t);
}

/* Chunks that are hit together, in any number, and closed. */
static void cache_waits_seldom(struct kunit *test)
{
	struct mmu_mirror_domain *domain;
	struct mmu_mirror_queue *queue;
	struct cache_test t;
	long waits;
	int i;

	setup(test, &t, MANY_CHUNKS);
	queue = mmu_mirror_queue_get(current->mm);
	KUNIT_ASSERT_NOT_NULL(test, queue);
	domain = mmu_mirror_queue_domain(queue);
	KUNIT_ASSERT_NOT_NULL(test, domain);
	mmu_mirror_cache_close(t.cache);
	t.cache = mmu_mirror_cache_open(current->mm, 4 * MANY_CHUNKS);
	KUNIT_ASSERT_FALSE(test, IS_ERR(t.cache));
	for (i = 0; i < MANY_CHUNKS; i++)
		KUNIT_ASSERT_EQ(test, i + 1,
				look_again(&t, chunk_at(&t, i), false));
	KUNIT_ASSERT_EQ(test, MANY_CHUNKS, stats_of(&t).mapped);
	waits = atomic_long_read(&domain->nr_waits);
	invalidate(t.addr, t.addr + MANY_CHUNKS * CHUNK);
	waits = atomic_long_read(&domain->nr_waits) - waits;
	/* Where windows wait in turn, eight are dropped at once. */
	KUNIT_EXPECT_EQ(test, MMU_RANGE_MIRROR_TWO_PASS ? 1 : MANY_CHUNKS / 8,
			waits);

	for (i = 0; i < MANY_CHUNKS; i++)
		KUNIT_ASSERT_EQ(test, i + 1,
				look_again(&t, chunk_at(&t, i), false));
	waits = atomic_long_read(&domain->nr_waits);
	mmu_mirror_cache_close(t.cache);
	KUNIT_EXPECT_EQ(test, 1, atomic_long_read(&domain->nr_waits) - waits);
	mmu_mirror_queue_put(queue);
	settle();
}

static void cache_forgets(struct kunit *test)
{
	struct cache_test t;

	setup(test, &t, 1);
	KUNIT_EXPECT_EQ(test, MMU_MIRROR_UNFILLED,
			mmu_mirror_cache_absence(t.cache, t.addr, false));
	KUNIT_ASSERT_EQ(test, 1, look_again(&t, t.addr, false));
	mmu_mirror_cache_forget(t.cache, t.addr + 4, false);
	KUNIT_EXPECT_EQ(test, 0, look(&t, t.addr, false));
	KUNIT_EXPECT_EQ(test, MMU_MIRROR_FORGOTTEN,
			mmu_mirror_cache_absence(t.cache, t.addr, false));
	/* One that has no window. */
	mmu_mirror_cache_forget(t.cache, t.addr + CHUNK, false);
	teardown(test, &t);
}

/* A reader that is inside, and looks whether a close has ended meanwhile. */
struct inside {
	struct cache_test *t;
	struct completion found;
	bool saw_end;
};

static atomic_t closed;

static void count_closed(enum mmu_range_mirror_point point,
			 struct mmu_range_mirror *mirror)
{
	if (point == MMU_RANGE_MIRROR_CLOSED)
		atomic_inc(&closed);
}

static void run_inside(struct actor *actor)
{
	struct inside *inside = actor->arg;
	struct cache_test *t = inside->t;
	u64 end = ktime_get_ns() + HOLD_NS;

	mmu_mirror_enter_cpu(t->cache->cpu);
	actor->ret = !mmu_mirror_cache_ptr(t->cache, chunk_at(t, 3), 4, false);
	complete_all(&inside->found);
	while (ktime_get_ns() < end) {
		if (atomic_read(&closed))
			inside->saw_end = true;
	}
	mmu_mirror_exit_cpu(t->cache->cpu);
}

/* A window that makes way is closed after its readers are out. */
static void cache_evicts_after_readers(struct kunit *test)
{
	struct cache_test t;
	struct inside inside = { .t = &t };
	struct actor eye = { .run = run_inside, .arg = &inside };

	if (!cpu_online(1))
		kunit_skip(test, "needs a second CPU for the reader");
	KUNIT_ASSERT_EQ(test, 0, set_cpus_allowed_ptr(current, cpumask_of(0)));
	setup(test, &t, 7);
	fill_set(test, &t);
	miss(test, &t, 4, 3, AGES);
	KUNIT_ASSERT_EQ(test, 0, stats_of(&t).evicted);
	/* It will have been looked up, but that was before it is old. */
	init_completion(&inside.found);
	atomic_set(&closed, 0);
	mmu_range_mirror_set_injection(count_closed);
	actor_start(test, &eye, 1);
	KUNIT_ASSERT_NE(test, 0,
			wait_for_completion_timeout(&inside.found, 20 * HZ));
	t.cache->set[0].young[3] = 0;
	miss(test, &t, 4, 3, AGE);
	actor_join(test, &eye);
	settle();
	KUNIT_EXPECT_EQ(test, 0, eye.ret);
	KUNIT_EXPECT_EQ(test, 1, stats_of(&t).evicted);
	KUNIT_EXPECT_EQ(test, 1, atomic_read(&closed));
	KUNIT_EXPECT_FALSE(test, inside.saw_end);
	mmu_range_mirror_set_injection(NULL);
	teardown(test, &t);
}

static void run_close(struct actor *actor)
{
	mmu_mirror_cache_close(actor->arg);
}

/* A close does not wait for a window that is being opened; nobody gets that. */
static void cache_close_while_opening(struct kunit *test)
{
	struct cache_test t;
	struct actor closer = { .run = run_close };
	struct mmu_mirror_domain *domain;

	setup(test, &t, 1);
	closer.arg = t.cache;
	domain = t.cache->domain;
	/* It is freed before this test looks at it for the last time. */
	refcount_inc(&domain->users);
	mmap_write_lock(current->mm);
	look(&t, t.addr, false);
	schedule_timeout_uninterruptible(HZ / 20);
	KUNIT_EXPECT_TRUE(test, work_busy(&t.cache->open));
	actor_start(test, &closer, -1);
	KUNIT_EXPECT_NE(test, 0,
			wait_for_completion_timeout(&closer.done, 20 * HZ));
	KUNIT_EXPECT_EQ(test, 0, atomic_read(&domain->nr_windows));
	mmap_write_unlock(current->mm);
	actor_join(test, &closer);
	settle();
	KUNIT_EXPECT_EQ(test, 0, atomic_read(&domain->nr_windows));
	KUNIT_EXPECT_EQ(test, 1, refcount_read(&domain->users));
	mmu_mirror_domain_destroy(domain);
}

/* A late reader finds a closed cache empty, and asks it for nothing. */
static void cache_late_reader(struct kunit *test)
{
	struct cache_test t;

	setup(test, &t, 2);
	KUNIT_ASSERT_EQ(test, 1, look_again(&t, t.addr, false));
	t.cache->rest = jiffies;
	rcu_read_lock();
	mmu_mirror_cache_close(t.cache);
	KUNIT_EXPECT_EQ(test, 0, look(&t, chunk_at(&t, 0), false));
	KUNIT_EXPECT_EQ(test, 0, look(&t, chunk_at(&t, 1), false));
	KUNIT_EXPECT_FALSE(test, work_busy(&t.cache->open));
	rcu_read_unlock();
	settle();
}

struct owner {
	struct mmu_mirror_cache *cache;
	unsigned long addr;
};

static void run_owner(struct actor *actor)
{
	struct owner *owner = actor->arg;
	struct mm_struct *mm = new_mm();
	struct cache_test t;

	actor->ret = -ENOMEM;
	if (!mm)
		return;
	kthread_use_mm(mm);
	owner->addr = vm_mmap(NULL, 0, CHUNK, PROT_READ | PROT_WRITE,
			      MAP_ANONYMOUS | MAP_PRIVATE, 0);
	owner->cache = mmu_mirror_cache_open(mm, CHUNKS);
	if (!IS_ERR(owner->cache) &&
	    !put_user(1, (int __user *)owner->addr)) {
		t.cache = owner->cache;
		actor->ret = look_again(&t, owner->addr, false) != 1;
	}
	kthread_unuse_mm(mm);
	mmput(mm);
}

/* The process may go before the cache does. */
static void cache_outlives_its_owner(struct kunit *test)
{
	struct owner owner;
	struct actor actor = { .run = run_owner, .arg = &owner };
	struct cache_test t;
	int tries = MANY;

	actor_start(test, &actor, -1);
	actor_join(test, &actor);
	KUNIT_ASSERT_EQ(test, 0, actor.ret);
	t.cache = owner.cache;
	/* The last reference on the mm is put asynchronously. */
	while (look(&t, owner.addr, false) && tries--)
		schedule_timeout_uninterruptible(1);
	settle();
	KUNIT_EXPECT_EQ(test, 0, look(&t, owner.addr, false));
	t.cache->rest = jiffies;
	KUNIT_EXPECT_EQ(test, 0, look(&t, owner.addr + 16 * CHUNK, false));
	settle();
	KUNIT_EXPECT_EQ(test, 1, stats_of(&t).opened);
	KUNIT_EXPECT_EQ(test, 0, stats_of(&t).mapped);
	teardown(test, &t);
}

static void cache_test_exit(struct kunit *test)
{
	mmu_range_mirror_set_injection(NULL);
}

static struct kunit_case cache_cases[] = {
	KUNIT_CASE(cache_open_refuses),
	KUNIT_CASE(cache_open_without_memory),
	KUNIT_CASE(cache_finds),
	KUNIT_CASE(cache_tells_chunks_apart),
	KUNIT_CASE(cache_writes),
	KUNIT_CASE(cache_respects_protection),
	KUNIT_CASE(cache_copies_across),
	KUNIT_CASE(cache_copies_each_byte),
	KUNIT_CASE(cache_is_bounded),
	KUNIT_CASE(cache_keeps_what_is_used),
	KUNIT_CASE(cache_takes_what_comes_again),
	KUNIT_CASE(cache_rests),
	KUNIT_CASE(cache_shuns_the_end),
	KUNIT_CASE(cache_fills_at_a_rate),
	KUNIT_CASE(cache_invalidate_drops),
	KUNIT_CASE(cache_waits_seldom),
	KUNIT_CASE(cache_forgets),
	KUNIT_CASE(cache_evicts_after_readers),
	KUNIT_CASE(cache_close_while_opening),
	KUNIT_CASE(cache_late_reader),
	KUNIT_CASE(cache_outlives_its_owner),
	{}
};

static struct kunit_suite cache_suite = {
	.name = "mmu_mirror_cache",
	.exit = cache_test_exit,
	.test_cases = cache_cases,
};

kunit_test_suite(cache_suite);

MODULE_DESCRIPTION("KUnit tests of caches of pointers to user memory");
MODULE_LICENSE("GPL");
