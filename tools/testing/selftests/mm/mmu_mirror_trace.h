/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the kernel's tracepoints say: for the tests of mm/mmu_range_mirror.c and
 * of vhost's rings on it. The events go to an instance of our own.
 */
#ifndef _MMU_MIRROR_TRACE_H
#define _MMU_MIRROR_TRACE_H

/* Trace all events of a system. Why that cannot be, or NULL. */
const char *trace_start(const char *system);
/* No event from now on; what there was can still be counted. */
void trace_pause(void);
/* Forget everything. Also where nothing was started. */
void trace_stop(void);

/*
 * How many events there were of this name that have all of the words, which are
 * separated by spaces; and the sum of a field over all of the name.
 */
unsigned int trace_count(const char *event, const char *words, ...);
unsigned long trace_sum(const char *event, const char *field);

#endif /* _MMU_MIRROR_TRACE_H */
