/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Flushes of the TLBs of devices: the tracepoint of
 * mm/mmu_mirror_tlb.c.
 */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM mmu_range_mirror

#if !defined(_TRACE_MMU_MIRROR_TLB_H) || defined(TRACE_HEADER_MULTI_READ)
#define _TRACE_MMU_MIRROR_TLB_H

#include <linux/mmu_mirror_tlb.h>
#include <linux/tracepoint.h>

/* What was gathered is flushed; start and end are of all of it. */
TRACE_EVENT(mmu_mirror_flush,

	TP_PROTO(const struct mmu_mirror_gather *gather, bool full),

	TP_ARGS(gather, full),

	TP_STRUCT__entry(
		__field(void *, tlb)
		__field(unsigned long, added)
		__field(unsigned int, ranges)
		__field(unsigned long, start)
		__field(unsigned long, end)
		__field(bool, full)
	),

	TP_fast_assign(
		unsigned int nr = gather->nr;

		__entry->tlb = gather->tlb;
		__entry->added = gather->nr_added;
		__entry->ranges = nr;
		__entry->start = nr ? gather->range[0].start : 0;
		__entry->end = nr ? gather->range[nr - 1].end : 0;
		__entry->full = full;
	),

	TP_printk("tlb=%p added=%lu ranges=%u start=0x%lx end=0x%lx full=%d",
		  __entry->tlb, __entry->added, __entry->ranges,
		  __entry->start, __entry->end, __entry->full)
);

#endif /* _TRACE_MMU_MIRROR_TLB_H */

#undef TRACE_INCLUDE_FILE
#define TRACE_INCLUDE_FILE mmu_mirror_tlb

#include <trace/define_trace.h>
