// SPDX-License-Identifier: GPL-2.0
/*
 * What one of many ranges costs: mirrors beside plain interval notifiers and a
 * list of plain notifiers, in address spaces of their own, in turn. And what
 * extents and a gather save where there are many small mappings.
 *
 * Rows for lab/bench.sh go to the console.
 */
#include <kunit/test.h>
#include <linux/atomic.h>
#include <linux/delay.h>
#include <linux/ktime.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/mmu_mirror_extents.h>
#include <linux/mmu_mirror_tlb.h>
#include <linux/mmu_notifier.h>
#include <linux/mmu_mirror_window.h>
#include <linux/sched/mm.h>
#include <linux/sizes.h>
#include <linux/slab.h>
#include <linux/sort.h>
#include <linux/vmalloc.h>

#define MAX_RANGES	1000000U
#define MAX_ROUNDS	41
/* Range i is one page, with a hole of a page behind it. */
#define FIRST		SZ_1M
#define TREE_CALLS	4000U
#define LIST_CALLS	4000U

static const struct {
	unsigned int n;
	unsigned int rounds;
} sizes[] = { { 1, 41 }, { 100, 41 }, { 10000, 21 }, { 1000000, 5 } };

static unsigned long range_start(unsigned int i)
{
	return FIRST + i * 2UL * PAGE_SIZE;
}

/* All of 0 ... n - 1 in an order without locality. n is a power of ten. */
static unsigned int shuffled(unsigned int i, unsigned int n)
{
	return (u64)i * 7919 % n;
}

/* A row of the bench; the figures are given in thousandths. */
static void print_row(const char *name, const char *of, unsigned int x, const char *unit,
		      u64 median, u64 lo, u64 hi)
{
	char size[24] = "";

	if (x)
		snprintf(size, sizeof(size), "\tx=%u", x);
	pr_info("row\tname=%s%s%s%s\tunit=%s\tmedian=%llu.%03llu\tlo=%llu.%03llu\thi=%llu.%03llu\tspread=quartiles\n",
		name, of ? ", " : "", of ?: "", size, unit, median / 1000,
		median % 1000, lo / 1000, lo % 1000, hi / 1000, hi % 1000);
}

/* The subjects. */

union entry {
	struct mmu_range_mirror mirror;
	struct mmu_interval_notifier interval;
	struct mmu_notifier list;
};

static void mirror_invalidate(struct mmu_range_mirror *mirror,
			      const struct mmu_notifier_range *range,
			      struct mmu_mirror_gather *gather)
{
}

static const struct mmu_range_mirror_ops mirror_ops = {
	.invalidate = mirror_invalidate,
};

static int mirror_insert(union entry *entry, struct mm_struct *mm,
			 unsigned long start)
{
	return mmu_range_mirror_insert(&entry->mirror, mm, start, PAGE_SIZE,
				       &mirror_ops, NULL);
}

static void mirror_remove(union entry *entry)
{
	mmu_range_mirror_remove(&entry->mirror);
}

static DEFINE_SPINLOCK(interval_lock);	/* what a driver would have */

static bool interval_invalidate(struct mmu_interval_notifier *notifier,
				const struct mmu_notifier_range *range,
				unsigned long cur_seq)
{
	spin_lock(&interval_lock);
	mmu_interval_set_seq(notifier, cur_seq);
	spin_unlock(&interval_lock);
	return true;
}

static const struct mmu_interval_notifier_ops interval_ops = {
	.invalidate = interval_invalidate,
};

static int interval_insert(union entry *entry, struct mm_struct *mm,
			   unsigned long start)
{
	return mmu_interval_notifier_insert(&entry->interval, mm, start,
					    PAGE_SIZE, &interval_ops);
}

static void interval_remove(union entry *entry)
{
	mmu_interval_notifier_remove(&entry->interval);
}

/* Each looks at every range of the mm, as such drivers do. */
static int list_invalidate(struct mmu_notifier *notifier,
			   const struct mmu_notifier_range *range)
{
	return 0;
}

/* Until then, SRCU has a hold on the notifier. */
static atomic_t list_pending;

static void list_free(struct mmu_notifier *notifier)
{
	atomic_dec(&list_pending);
}

static void list_wait(void)
{
	mmu_notifier_synchronize();
	while (atomic_read(&list_pending))
		msleep(20);
}

static const struct mmu_notifier_ops list_ops = {
	.invalidate_range_start = list_invalidate,
	.free_notifier = list_free,
};

static int list_insert(union entry *entry, struct mm_struct *mm,
		       unsigned long start)
{
	entry->list.ops = &list_ops;
	return mmu_notifier_register(&entry->list, mm);
}

/* Unregistering waits for SRCU, one by one; this leaves that to others. */
static void list_remove(union entry *entry)
{
	atomic_inc(&list_pending);
	mmu_notifier_put(&entry->list);
}

enum what { INSERT, REMOVE, HIT, MISS, NR_WHAT };

static const char *const what_names[NR_WHAT] = {
	"insert", "remove", "invalidate, hit", "invalidate, miss",
};

struct subject {
	const char *name;
	int (*insert)(union entry *entry, struct mm_struct *mm,
		      unsigned long start);
	void (*remove)(union entry *entry);
	size_t size;
	bool linear;
	struct mm_struct *mm;
	void *entries;
	u64 ns[NR_WHAT][MAX_ROUNDS];	/* of one call, times 1000 */
};

/*
 * A driver's object is larger than its notifier: it has a lock and a range at
 * least. What memory it takes decides what a large tree costs to search.
 */
static struct subject subjects[] = {
	{
		.name = "interval notifier", .insert = interval_insert,
		.remove = interval_remove,
		.size = sizeof(struct mmu_interval_notifier),
	}, {
		.name = "interval notifier in a larger object",
		.insert = interval_insert, .remove = interval_remove,
		.size = sizeof(struct mmu_range_mirror),
	}, {
		.name = "mirror", .insert = mirror_insert,
		.remove = mirror_remove,
		.size = sizeof(struct mmu_range_mirror),
	}, {
		.name = "notifier list", .insert = list_insert,
		.remove = list_remove,
		.size = sizeof(struct mmu_notifier), .linear = true,
	},
};

#define NR_SUBJECTS	ARRAY_SIZE(subjects)
#define PLAIN		(&subjects[0])
#define LARGER		(&subjects[1])
#define OURS		(&subjects[2])

/* As far apart as kmalloc() would put them. */
static union entry *entry_of(struct subject *s, unsigned int i)
{
	return s->entries + i * kmalloc_size_roundup(s->size);
}

static struct mm_struct *new_mm(void)
{
	struct mm_struct *mm = mm_alloc();

	if (mm)
		mm->task_size = TASK_SIZE;
	return mm;
}

static void invalidate_page(struct mm_struct *mm, unsigned long addr)
{
	struct mmu_notifier_range range;

	mmu_notifier_range_init(&range, MMU_NOTIFY_CLEAR, 0, mm, addr,
				addr + PAGE_SIZE);
	mmu_notifier_invalidate_range_start(&range);
	mmu_notifier_invalidate_range_end(&range);
}

/* Enough calls for the clock; a list is long, and needs fewer. */
static u64 time_invalidate(struct subject *s, unsigned int n, unsigned int seed,
			   unsigned long offset)
{
	unsigned int calls = s->linear ? max(LIST_CALLS / n, 8U) : TREE_CALLS;
	u64 began = ktime_get_ns();
	unsigned int i;

	for (i = 0; i < calls; i++)
		invalidate_page(s->mm, range_start(shuffled(seed + i, n)) +
				       offset);
	return (ktime_get_ns() - began) * 1000 / calls;
}

static int insert_all(struct subject *s, unsigned int n, unsigned int round)
{
	u64 began = ktime_get_ns();
	unsigned int i;
	int ret;

	for (i = 0; i < n; i++) {
		ret = s->insert(entry_of(s, i), s->mm,
				range_start(shuffled(i, n)));
		if (ret)
			return ret;
	}
	s->ns[INSERT][round] = (ktime_get_ns() - began) * 1000 / n;
	return 0;
}

static void remove_all(struct subject *s, unsigned int n, unsigned int round)
{
	u64 began = ktime_get_ns();
	unsigned int i;

	for (i = 0; i < n; i++)
		s->remove(entry_of(s, i));
	s->ns[REMOVE][round] = (ktime_get_ns() - began) * 1000 / n;
}

static int by_value(const void *a, const void *b)
{
	u64 x = *(const u64 *)a, y = *(const u64 *)b;

	return x < y ? -1 : x > y;
}

static u64 quantile(u64 *values, unsigned int n, unsigned int percent)
{
	sort(values, n, sizeof(*values), by_value, NULL);
	return values[(n - 1) * percent / 100];
}

/* One round of one size: all subjects inserted, then each call in turn. */
static int scale_round(unsigned int n, unsigned int round)
{
	unsigned int seed = round * 131, i;
	int ret;

	for (i = 0; i < NR_SUBJECTS; i++) {
		ret = insert_all(&subjects[i], n, round);
		if (ret)
			return ret;
	}
	for (i = 0; i < 2 * NR_SUBJECTS; i++) {
		/* Each is first as often as the others. */
		struct subject *s = &subjects[(i + round) % NR_SUBJECTS];

		if (i < NR_SUBJECTS)
			s->ns[HIT][round] = time_invalidate(s, n, seed, 0);
		else
			s->ns[MISS][round] = time_invalidate(s, n, seed,
							     PAGE_SIZE);
	}
	for (i = 0; i < NR_SUBJECTS; i++)
		remove_all(&subjects[i], n, round);
	return 0;
}

static void report_misses(const char *name, const struct subject *to,
			  unsigned int n, unsigned int rounds)
{
	u64 ratio[MAX_ROUNDS];
	unsigned int r;

	for (r = 0; r < rounds; r++)
		ratio[r] = OURS->ns[MISS][r] * 1000 / to->ns[MISS][r];
	print_row(name, NULL, n, "ratio", quantile(ratio, rounds, 50),
		  quantile(ratio, rounds, 25), quantile(ratio, rounds, 75));
}

static void report_size(unsigned int n, unsigned int rounds)
{
	unsigned int what, i;

	/* Before the sorting: what the rounds say of each other. */
	report_misses("a miss, mirror to interval notifier", PLAIN, n, rounds);
	report_misses("a miss, mirror to one in a larger object", LARGER, n,
		      rounds);
	for (what = 0; what < NR_WHAT; what++)
		for (i = 0; i < NR_SUBJECTS; i++) {
			u64 *ns = subjects[i].ns[what];

			print_row(what_names[what], subjects[i].name,
				  n, "ns", quantile(ns, rounds, 50),
				  quantile(ns, rounds, 25),
				  quantile(ns, rounds, 75));
		}
}

static int scale_prepare(void)
{
	unsigned int i;

	for (i = 0; i < NR_SUBJECTS; i++) {
		subjects[i].entries = vcalloc(MAX_RANGES,
					      kmalloc_size_roundup(subjects[i].size));
		subjects[i].mm = new_mm();
		if (!subjects[i].entries || !subjects[i].mm)
			return -ENOMEM;
		print_row("memory of a range", subjects[i].name, 0, "bytes",
			  subjects[i].size * 1000, subjects[i].size * 1000,
			  subjects[i].size * 1000);
	}
	return 0;
}

static void scale_finish(void)
{
	unsigned int i;

	for (i = 0; i < NR_SUBJECTS; i++) {
		if (subjects[i].mm)
			mmput(subjects[i].mm);
		vfree(subjects[i].entries);
	}
}

static int scale_all(void)
{
	unsigned int size, round;
	int ret;

	ret = scale_prepare();
	for (size = 0; !ret && size < ARRAY_SIZE(sizes); size++) {
		for (round = 0; !ret && round < sizes[size].rounds; round++) {
			ret = scale_round(sizes[size].n, round);
			list_wait();
		}
		if (!ret)
			report_size(sizes[size].n, sizes[size].rounds);
	}
	scale_finish();
	return ret;
}

static void scale(struct kunit *test)
{
	KUNIT_EXPECT_EQ(test, scale_all(), 0);
}

/* Many small mappings: RUNS runs of abutting maps of one to four pages. */

#define RUNS		16
#define MAPS		4096
#define RUN_GAP		SZ_1M

static void nothing(struct mmu_mirror_tlb *tlb)
{
}

static void no_range(struct mmu_mirror_tlb *tlb, unsigned long start,
		     unsigned long end)
{
}

static const struct mmu_mirror_tlb_ops no_ops = {
	.flush_range = no_range,
	.flush_all = nothing,
	.sync = nothing,
};

struct small_maps {
	struct mmu_mirror_extents extents;
	struct mmu_mirror_tlb tlb;
	unsigned long nr_maps;
	unsigned long end;
};

static unsigned long map_length(unsigned int i)
{
	return (1 + i * 7919 % 4) * PAGE_SIZE;
}

static int map_small(struct small_maps *maps)
{
	unsigned long addr = FIRST;
	unsigned int run, i;

	for (run = 0; run < RUNS; run++, addr += RUN_GAP)
		for (i = 0; i < MAPS; i++) {
			unsigned long end = addr + map_length(i);
			struct mmu_mirror_extent *spare;

			spare = mmu_mirror_extent_alloc();
			if (!spare)
				return -ENOMEM;
			mmu_mirror_extents_map(&maps->extents, addr, end,
					       &spare);
			mmu_mirror_extent_free(spare);
			maps->nr_maps++;
			addr = end;
		}
	maps->end = addr;
	return 0;
}

/* The driver unmaps all of it again, map by map, a batch to a gather. */
static void flush_small(struct small_maps *maps)
{
	struct mmu_mirror_gather gather;
	unsigned long addr = FIRST;
	unsigned int run, i;

	mmu_mirror_gather_init(&gather, &maps->tlb);
	for (run = 0; run < RUNS; run++, addr += RUN_GAP)
		for (i = 0; i < MAPS; i++) {
			mmu_mirror_gather_add(&gather, addr,
					      addr + map_length(i));
			addr += map_length(i);
			/* As many as a driver would take before it waits. */
			if (i % 64 == 63)
				mmu_mirror_gather_flush(&gather);
		}
}

static void report_count(const char *name, u64 value, const char *unit)
{
	value *= 1000;
	print_row(name, NULL, 0, unit, value, value, value);
}

static void small_maps(struct kunit *test)
{
	struct small_maps maps = {
		.tlb = { .ops = &no_ops, .full_pages = 512, .full_ranges = 16 },
	};
	u64 commands;

	KUNIT_ASSERT_EQ(test, map_small(&maps), 0);
	report_count("maps, one tree entry for each", maps.nr_maps, "entries");
	report_count("tree entries as extents", maps.extents.nr, "entries");
	report_count("maps for each tree entry", maps.nr_maps / maps.extents.nr,
		     "ratio");
	flush_small(&maps);
	commands = atomic_long_read(&maps.tlb.nr_commands);
	report_count("flush commands, one for each map", maps.nr_maps,
		     "commands");
	report_count("flush commands, gathered", commands, "commands");
	report_count("of these, full flushes",
		     atomic_long_read(&maps.tlb.nr_full), "commands");
	report_count("maps for each command", maps.nr_maps / commands, "ratio");
	mmu_mirror_extents_unmap(&maps.extents, FIRST, maps.end, NULL, NULL);
}

static struct kunit_case scale_cases[] = {
	KUNIT_CASE_SLOW(scale),
	KUNIT_CASE(small_maps),
	{}
};

static struct kunit_suite scale_suite = {
	.name = "mmu_mirror_scale_bench",
	.test_cases = scale_cases,
};

kunit_test_suite(scale_suite);

MODULE_DESCRIPTION("Scale of the mirroring of user memory");
MODULE_LICENSE("GPL");
