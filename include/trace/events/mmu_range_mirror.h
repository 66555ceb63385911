/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What mirrors of user memory do: tracepoints of mm/mmu_range_mirror.c.
 *
 * None is on the way of a reader: a section enters and leaves without.
 */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM mmu_range_mirror

#if !defined(_TRACE_MMU_RANGE_MIRROR_H) || defined(TRACE_HEADER_MULTI_READ)
#define _TRACE_MMU_RANGE_MIRROR_H

#include <linux/mmu_range_mirror.h>
#include <linux/tracepoint.h>

TRACE_DEFINE_ENUM(MMU_NOTIFY_UNMAP);
TRACE_DEFINE_ENUM(MMU_NOTIFY_CLEAR);
TRACE_DEFINE_ENUM(MMU_NOTIFY_PROTECTION_VMA);
TRACE_DEFINE_ENUM(MMU_NOTIFY_PROTECTION_PAGE);
TRACE_DEFINE_ENUM(MMU_NOTIFY_SOFT_DIRTY);
TRACE_DEFINE_ENUM(MMU_NOTIFY_RELEASE);
TRACE_DEFINE_ENUM(MMU_NOTIFY_MIGRATE);
TRACE_DEFINE_ENUM(MMU_NOTIFY_EXCLUSIVE);

#define show_mmu_mirror_event(event) \
	__print_symbolic(event, \
			 { MMU_NOTIFY_UNMAP, "unmap" }, \
			 { MMU_NOTIFY_CLEAR, "clear" }, \
			 { MMU_NOTIFY_PROTECTION_VMA, "protection_vma" }, \
			 { MMU_NOTIFY_PROTECTION_PAGE, "protection_page" }, \
			 { MMU_NOTIFY_SOFT_DIRTY, "soft_dirty" }, \
			 { MMU_NOTIFY_RELEASE, "release" }, \
			 { MMU_NOTIFY_MIGRATE, "migrate" }, \
			 { MMU_NOTIFY_EXCLUSIVE, "exclusive" })

DECLARE_EVENT_CLASS(mmu_mirror,

	TP_PROTO(struct mmu_range_mirror *mirror),

	TP_ARGS(mirror),

	TP_STRUCT__entry(
		__field(void *, mirror)
		__field(pid_t, pid)
		__field(unsigned long, start)
		__field(unsigned long, end)
		__field(unsigned long, dirtied)
	),

	TP_fast_assign(
		__entry->mirror = mirror;
		__entry->pid = mmu_range_mirror_owner(mirror);
		__entry->start = mirror->start;
		__entry->end = mirror->end;
		__entry->dirtied = mirror->nr_dirtied;
	),

	TP_printk("mirror=%p pid=%d start=0x%lx end=0x%lx dirtied=%lu",
		  __entry->mirror, __entry->pid, __entry->start, __entry->end,
		  __entry->dirtied)
);

/* From now on invalidations arrive; but see mmu_range_mirror_insert(). */
DEFINE_EVENT(mmu_mirror, mmu_mirror_insert,
	TP_PROTO(struct mmu_range_mirror *mirror),
	TP_ARGS(mirror)
);

/* No invalidation arrives any more. */
DEFINE_EVENT(mmu_mirror, mmu_mirror_remove,
	TP_PROTO(struct mmu_range_mirror *mirror),
	TP_ARGS(mirror)
);

/* Pages were looked up, and have entries, as far as no error came between. */
TRACE_EVENT(mmu_mirror_populate,

	TP_PROTO(struct mmu_range_mirror *mirror, unsigned long start,
		 unsigned long npages, bool write, int ret),

	TP_ARGS(mirror, start, npages, write, ret),

	TP_STRUCT__entry(
		__field(void *, mirror)
		__field(unsigned long, start)
		__field(unsigned long, npages)
		__field(bool, write)
		__field(int, ret)
	),

	TP_fast_assign(
		__entry->mirror = mirror;
		__entry->start = start;
		__entry->npages = npages;
		__entry->write = write;
		__entry->ret = ret;
	),

	TP_printk("mirror=%p start=0x%lx npages=%lu write=%d ret=%d",
		  __entry->mirror, __entry->start, __entry->npages,
		  __entry->write, __entry->ret)
);

/* An invalidation made a lookup void, for the given time in a row. */
TRACE_EVENT(mmu_mirror_collision,

	TP_PROTO(struct mmu_range_mirror *mirror, unsigned long start,
		 unsigned long npages, int tries, bool given_up),

	TP_ARGS(mirror, start, npages, tries, given_up),

	TP_STRUCT__entry(
		__field(void *, mirror)
		__field(unsigned long, start)
		__field(unsigned long, npages)
		__field(int, tries)
		__field(bool, given_up)
	),

	TP_fast_assign(
		__entry->mirror = mirror;
		__entry->start = start;
		__entry->npages = npages;
		__entry->tries = tries;
		__entry->given_up = given_up;
	),

	TP_printk("mirror=%p start=0x%lx npages=%lu tries=%d given_up=%d",
		  __entry->mirror, __entry->start, __entry->npages,
		  __entry->tries, __entry->given_up)
);

/* Entries were dropped; or not, where that might have had to block. */
TRACE_EVENT(mmu_mirror_invalidate,

	TP_PROTO(struct mmu_range_mirror *mirror,
		 const struct mmu_notifier_range *range, bool refused),

	TP_ARGS(mirror, range, refused),

	TP_STRUCT__entry(
		__field(void *, mirror)
		__field(unsigned long, start)
		__field(unsigned long, end)
		__field(int, event)
		__field(bool, blockable)
		__field(bool, refused)
	),

	TP_fast_assign(
		__entry->mirror = mirror;
		__entry->start = range->start;
		__entry->end = range->end;
		__entry->event = range->event;
		__entry->blockable = mmu_notifier_range_blockable(range);
		__entry->refused = refused;
	),

	TP_printk("mirror=%p event=%s start=0x%lx end=0x%lx blockable=%d refused=%d",
		  __entry->mirror, show_mmu_mirror_event(__entry->event),
		  __entry->start, __entry->end, __entry->blockable,
		  __entry->refused)
);

/* Nobody uses the dropped entries any more. */
TRACE_EVENT(mmu_mirror_wait,

	TP_PROTO(struct mmu_range_mirror *mirror,
		 const struct mmu_notifier_range *range, u64 ns),

	TP_ARGS(mirror, range, ns),

	TP_STRUCT__entry(
		__field(void *, mirror)
		__field(unsigned long, start)
		__field(unsigned long, end)
		__field(int, event)
		__field(u64, ns)
	),

	TP_fast_assign(
		__entry->mirror = mirror;
		__entry->start = range->start;
		__entry->end = range->end;
		__entry->event = range->event;
		__entry->ns = ns;
	),

	TP_printk("mirror=%p event=%s start=0x%lx end=0x%lx ns=%llu",
		  __entry->mirror, show_mmu_mirror_event(__entry->event),
		  __entry->start, __entry->end, __entry->ns)
);

/* The folio of a writable entry was marked dirty, as the entry was made. */
TRACE_EVENT(mmu_mirror_dirty,

	TP_PROTO(struct mmu_range_mirror *mirror, struct folio *folio),

	TP_ARGS(mirror, folio),

	TP_STRUCT__entry(
		__field(void *, mirror)
		__field(unsigned long, pfn)
		__field(unsigned long, npages)
	),

	TP_fast_assign(
		__entry->mirror = mirror;
		__entry->pfn = folio_pfn(folio);
		__entry->npages = folio_nr_pages(folio);
	),

	TP_printk("mirror=%p pfn=0x%lx npages=%lu", __entry->mirror,
		  __entry->pfn, __entry->npages)
);

#endif /* _TRACE_MMU_RANGE_MIRROR_H */

#include <trace/define_trace.h>
