/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Accesses to vhost's rings that went through uaccess: the tracepoint of
 * drivers/vhost/ring_mirror.c. One that goes through a window has none.
 */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM vhost_ring_mirror

#if !defined(_TRACE_VHOST_RING_MIRROR_H) || defined(TRACE_HEADER_MULTI_READ)
#define _TRACE_VHOST_RING_MIRROR_H

#include <linux/tracepoint.h>

TRACE_EVENT(vhost_ring_fallback,

	TP_PROTO(pid_t pid, unsigned int dev, int vq, const char *part,
		 const char *why, const void __user *addr),

	TP_ARGS(pid, dev, vq, part, why, addr),

	TP_STRUCT__entry(
		__field(pid_t, pid)
		__field(unsigned int, dev)
		__field(int, vq)
		__string(part, part)
		__string(why, why)
		__field(unsigned long, addr)
	),

	TP_fast_assign(
		__entry->pid = pid;
		__entry->dev = dev;
		__entry->vq = vq;
		__assign_str(part);
		__assign_str(why);
		__entry->addr = (unsigned long)addr;
	),

	TP_printk("pid=%d dev=%u vq=%d part=%s why=%s addr=0x%lx",
		  __entry->pid, __entry->dev, __entry->vq,
		  __get_str(part), __get_str(why), __entry->addr)
);

#endif /* _TRACE_VHOST_RING_MIRROR_H */

#include <trace/define_trace.h>
