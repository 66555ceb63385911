// SPDX-License-Identifier: GPL-2.0
/*
 * What the guard stands on, as far as the models need it: the order that the
 * kernel's own functions are known to give, and no more. expand.py expands
 * these like the functions of mm/mmu_range_mirror.c; nothing compiles them.
 *
 * assume() drops the executions in which its argument is false; interrupt()
 * stands for one function call on the reader's CPU, asked for and answered by
 * relaxed accesses: the guard's own fences must be enough. command() is the same
 * for a device, asked for by a release.
 */

/*
 * set_bit() and clear_bit() give no order. They are atomic for the bits of the
 * other CPUs; the models have one reading CPU, whose bit only it changes.
 */
void cpumask_set_cpu(int cpu, struct cpumask *mask)
{
	WRITE_ONCE(*mask, 1);
}

void cpumask_clear_cpu(int cpu, struct cpumask *mask)
{
	WRITE_ONCE(*mask, 0);
}

/* The order that a call gives on its way is not relied upon. */
void on_each_cpu_mask(struct cpumask *mask, void *func, void *info, bool wait)
{
	if (mask & READ_ONCE(cpu->online))
		interrupt(func, wait);
}

/*
 * The sequence of mm/mmu_notifier.c, with one other invalidation. The wait reads
 * the sequence with READ_ONCE(), as wait_event() does where it need not sleep;
 * mmu_range_mirror_begin() makes an acquire of it.
 */
unsigned long mmu_interval_read_begin(struct mmu_interval_notifier *notifier)
{
	unsigned long seq, mm_seq;

	spin_lock(&notifier->mm_lock);
	seq = READ_ONCE(notifier->invalidate_seq);
	mm_seq = READ_ONCE(notifier->mm_seq);
	spin_unlock(&notifier->mm_lock);
	if (seq == mm_seq)
		assume(READ_ONCE(notifier->mm_seq) != seq);
	return seq;
}

bool mmu_interval_read_retry(struct mmu_interval_notifier *notifier,
			     unsigned long seq)
{
	return READ_ONCE(notifier->invalidate_seq) != seq;
}

void mmu_interval_set_seq(struct mmu_interval_notifier *notifier,
			  unsigned long cur_seq)
{
	WRITE_ONCE(notifier->invalidate_seq, cur_seq);
}

/* The page table's entry says whether there is a page to be had. */
long get_user_pages_fast_only(unsigned long addr, long n, unsigned int flags,
			      struct page **pages)
{
	return READ_ONCE(mm->pte);
}

bool folio_mark_dirty(struct folio *folio)
{
	WRITE_ONCE(folio->dirty, 1);
}

/*
 * A device that walks shadow entries, and a driver of it. The device does one
 * thing after the other, and commands come in between: when it answers, it has
 * used for the last time what it had cached or was fetching before. Of the CPU
 * no more is asked than any driver needs that drops an entry, flushes and frees:
 * a command is a release, as with writel(), and who has seen its answer has an
 * acquire, as after readl().
 */
void device_flush(void *info)
{
	/* After the command and earlier uses, before the answer and walks. */
	smp_mb();
	WRITE_ONCE(tlb->cached, NULL);
}

void device_flush_all(struct mmu_mirror_tlb *tlb)
{
	command(device_flush, false);
}

void device_sync(struct mmu_mirror_tlb *tlb)
{
	/* Pairs with the smp_mb() of device_flush(). */
	assume(smp_load_acquire(&tlb->done));
}

/* Have the entry in the TLB, if there is one. */
void device_walk(struct mmu_range_mirror *mirror)
{
	if (!READ_ONCE(tlb->cached))
		WRITE_ONCE(tlb->cached, READ_ONCE(mirror->shadow));
}

/* The driver drops an entry by itself ... */
void device_drop(struct mmu_range_mirror *mirror)
{
	mmu_range_mirror_lock(mirror);
	WRITE_ONCE(mirror->shadow, NULL);
	mmu_range_mirror_defer_flush(mirror);
	mmu_range_mirror_unlock(mirror);
}

/* ... or is to flush what it drops by itself, soon ... */
void device_drop_begin(struct mmu_range_mirror *mirror)
{
	mmu_range_mirror_lock(mirror);
	WRITE_ONCE(mirror->shadow, NULL);
	mmu_range_mirror_flush_begin(mirror);
	mmu_range_mirror_unlock(mirror);
}

void device_drop_flush(struct mmu_range_mirror *mirror)
{
	device_drop_begin(mirror);
	device_flush_all(tlb);
	device_sync(tlb);
	mmu_range_mirror_flush_end(mirror);
}

/* ... and for an invalidation, which waits by flushing what is marked. */
void device_invalidate(struct mmu_range_mirror *mirror,
		       const struct mmu_notifier_range *range,
		       struct mmu_mirror_gather *gather)
{
	if (!READ_ONCE(mirror->shadow))
		return;
	WRITE_ONCE(mirror->shadow, NULL);
	mmu_range_mirror_defer_flush(mirror);
}

/* Or it gathers what it drops, which here is all. */
void gatherer_invalidate(struct mmu_range_mirror *mirror,
			 const struct mmu_notifier_range *range,
			 struct mmu_mirror_gather *gather)
{
	if (!READ_ONCE(mirror->shadow))
		return;
	WRITE_ONCE(mirror->shadow, NULL);
	gather->full = true;
}
