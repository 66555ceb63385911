// SPDX-License-Identifier: GPL-2.0
///
/// Find drivers that mirror user memory by hand: a sequence that is begun and
/// tried again, notifiers that count invalidations of their own, and pages that
/// are marked dirty when they are unmapped. mmu_range_mirror does all of it,
/// see Documentation/mm/mmu_range_mirror.rst, which also says when not to use
/// it.
///
// Confidence: Moderate; low for dirtying, where the name of a function decides
// Options: --no-includes --include-headers

virtual report

//----------------------------------------------------------
// A sequence, begun and tried again by the driver
//----------------------------------------------------------

@begin@
position p;
@@

mmu_interval_read_begin@p(...)

@retry@
position p;
@@

mmu_interval_read_retry@p(...)

@setseq@
position p;
@@

mmu_interval_set_seq@p(...)

//----------------------------------------------------------
// Notifiers of a whole mm
//----------------------------------------------------------

@both@
identifier ops, start, end;
position p;
@@

struct mmu_notifier_ops ops@p = {
	.invalidate_range_start = start,
	.invalidate_range_end = end,
 };

@alone@
identifier ops, start;
position p != both.p;
@@

struct mmu_notifier_ops ops@p = {
	.invalidate_range_start = start,
 };

//----------------------------------------------------------
// Pages marked dirty when they are unmapped. Who has pinned them does so under
// their lock, with set_page_dirty_lock(), and is right.
//----------------------------------------------------------

@dirty@
identifier f =~ "unmap|unpin|invalidate|zap|put_pages";
position p;
@@

f(...)
{
<+...
(
set_page_dirty@p(...)
|
folio_mark_dirty@p(...)
)
...+>
}

@script:python depends on report@
p << begin.p;
@@

coccilib.report.print_report(p[0], "WARNING opportunity for mmu_range_mirror: a lookup that is tried again")

@script:python depends on report@
p << retry.p;
@@

coccilib.report.print_report(p[0], "WARNING opportunity for mmu_range_mirror: a retry check")

@script:python depends on report@
p << setseq.p;
@@

coccilib.report.print_report(p[0], "WARNING opportunity for mmu_range_mirror: an invalidation of a range")

@script:python depends on report@
p << both.p;
@@

coccilib.report.print_report(p[0], "WARNING opportunity for mmu_range_mirror: start and end paired by hand")

@script:python depends on report@
p << alone.p;
@@

coccilib.report.print_report(p[0], "WARNING opportunity for mmu_range_mirror: start without end, what stops a lookup in between?")

@script:python depends on report@
p << dirty.p;
@@

coccilib.report.print_report(p[0], "WARNING: a page is marked dirty when it is unmapped, which may be too late")
