/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * vhost's rings and its dirty log through kernel pointers: the accesses, which
 * are inline.
 *
 * ring_mirror.c opens and closes the windows. Where there is none, vhost.c makes
 * its user access, as before.
 */
#ifndef _VHOST_RING_MIRROR_H
#define _VHOST_RING_MIRROR_H

#include "vhost.h"

/* Descriptors of a chain that are read in one section. */
#define VHOST_RING_CHAIN	4

/*
 * Accesses that go through uaccess at once after one that missed. A fill takes
 * longer than that many, and a miss costs several times what it saves.
 */
#define VHOST_RING_SKIP		7

#ifdef CONFIG_VHOST_RING_MIRROR

#include <linux/bitops.h>
#include <linux/list.h>
#include <linux/mmu_mirror_window.h>
#include <linux/moduleparam.h>
#include <linux/spinlock.h>
#include <linux/tracepoint-defs.h>
#include <linux/workqueue.h>

/* The dirty log is one more part, beside those of the ring itself. */
#define VHOST_RING_LOG		VHOST_NUM_ADDRS
#define VHOST_RING_NUM_PARTS	(VHOST_NUM_ADDRS + 1)

/**
 * struct vhost_ring_span - where a ring part is in the owner's address space
 * @uaddr: its first byte; already translated, where there is an IOTLB
 * @size: its bytes; 0: nowhere that a window could be opened on
 *
 * With the mm, which a mirror never changes, and the access, which follows from
 * the part, this is all that a window depends on. The ring's own base is no
 * part of it: accesses are made by their offset from the base of the moment.
 */
struct vhost_ring_span {
	unsigned long uaddr;
	unsigned long size;
};

/**
 * enum vhost_ring_why - why an access goes through uaccess
 * @VHOST_RING_OFF: the parameter ring_mirror is off
 * @VHOST_RING_NOWHERE: the part is not aligned, or in several pieces
 * @VHOST_RING_RESET: its address or translation may have changed, and the queue
 *	has not run since
 * @VHOST_RING_OPENING: the work has not opened the window yet
 * @VHOST_RING_FAILED: it could not
 * @VHOST_RING_UNFILLED: no fill has looked at the page yet
 * @VHOST_RING_INVALIDATED: the page was taken away
 * @VHOST_RING_UNMAPPED: the fill found nothing there that could be mapped
 * @VHOST_RING_OUTSIDE: it is not in the window
 * @VHOST_RING_NUM_WHYS: how many there are
 */
enum vhost_ring_why {
	VHOST_RING_OFF,
	VHOST_RING_NOWHERE,
	VHOST_RING_RESET,
	VHOST_RING_OPENING,
	VHOST_RING_FAILED,
	VHOST_RING_UNFILLED,
	VHOST_RING_INVALIDATED,
	VHOST_RING_UNMAPPED,
	VHOST_RING_OUTSIDE,
	VHOST_RING_NUM_WHYS,
};

/**
 * struct vhost_ring_stats - what the windows of one ring part have seen
 * @mirrored: accesses through a window
 * @shared: those of them that had no section of their own
 * @fallback: accesses through uaccess, by &enum vhost_ring_why
 * @fills: runs of the windows' fill work
 * @collisions: lookups that an invalidation made void
 * @installed: pages installed
 * @drops: invalidations that dropped a page, by event
 * @worst_wait_ns: longest wait for the queue's readers
 */
struct vhost_ring_stats {
	unsigned long mirrored;
	unsigned long shared;
	unsigned long fallback[VHOST_RING_NUM_WHYS];
	unsigned long fills;
	unsigned long collisions;
	unsigned long installed;
	unsigned long drops[MMU_MIRROR_NR_EVENTS];
	long worst_wait_ns;
};

/**
 * struct vhost_ring_part - one of a queue's ring parts
 * @use: the window that accesses go through, or NULL. Never one that the work
 *	is about to close: only the holder of vq->mutex changes @want, and sets
 *	@use only while @want is what @window was opened for.
 * @mirrored: accesses through a window
 * @shared: those of them that had no section of their own
 * @fallback: accesses through uaccess, by @why or what the window knows
 * @why: why an access finds no window to go through
 * @skip: accesses that are not to look at @use, after a miss
 * @missed: why that missed
 * @want: what a window is wanted on
 * @have: what @window was opened on, or could not be opened on
 * @window: the open window, or NULL
 * @counts: its numbers are this part's; those of a log that queues share are of
 *	the one that had it opened
 * @error: why there is none
 * @retry_at: jiffies before which a failed opening is not repeated
 * @backoff: how far @retry_at was last pushed
 * @closed: what the closed windows of this part have seen
 *
 * @use, @why, @skip, @missed and the counters of accesses belong to vq->mutex;
 * the rest to the mirror's lock, and @want is changed under both.
 */
struct vhost_ring_part {
	struct mmu_mirror_window *use;
	unsigned long mirrored;
	unsigned long shared;
	unsigned long fallback[VHOST_RING_NUM_WHYS];
	enum vhost_ring_why why;
	unsigned int skip;
	enum vhost_ring_why missed;
	struct vhost_ring_span want;
	struct vhost_ring_span have;
	struct mmu_mirror_window *window;
	bool counts;
	int error;
	unsigned long retry_at;
	unsigned long backoff;
	struct vhost_ring_stats closed;
};

struct vhost_ring_device;
struct vhost_ring_mirror;

/**
 * struct vhost_ring_entry - a place in the list of all mirrors
 * @list: the list
 * @mirror: what is there, or NULL: somebody who reads the list
 */
struct vhost_ring_entry {
	struct list_head list;
	struct vhost_ring_mirror *mirror;
};

/**
 * struct vhost_ring_mirror - a queue's windows
 * @part: its ring parts, and the log
 * @lock: see &struct vhost_ring_part
 * @mm: the owner's, which @queue holds; its memory may go before the mirror does
 * @domain: the readers, which is the queue's worker; made by @work
 * @queue: the background work of @mm
 * @work: opens and closes windows
 * @retire: closes them for good, once the queue is no more, and frees this
 * @entry: among all mirrors, for reporting
 * @device: what it shares with the other queues of its device
 * @pid: the owner's thread group
 * @index: the queue's number
 */
struct vhost_ring_mirror {
	struct vhost_ring_part part[VHOST_RING_NUM_PARTS];
	spinlock_t lock; /* innermost, never taken by the invalidator */
	struct mm_struct *mm;
	struct mmu_mirror_domain *domain;
	struct mmu_mirror_queue *queue;
	struct work_struct work;
	struct work_struct retire;
	struct vhost_ring_entry entry;
	struct vhost_ring_device *device;
	pid_t pid;
	int index;
};

extern bool vhost_ring_mirror_on;
extern const struct kernel_param_ops vhost_ring_mirror_param_ops;

void vhost_ring_mirror_want(struct vhost_virtqueue *vq, int type,
			    const void __user *uaddr, size_t size);
void __vhost_ring_mirror_want_log(struct vhost_virtqueue *vq, bool logging);
void vhost_ring_mirror_cleanup(struct vhost_dev *dev);
void vhost_ring_missed(struct vhost_virtqueue *vq, int type,
		       const void __user *ptr);
void vhost_ring_trace(struct vhost_virtqueue *vq, int type,
		      enum vhost_ring_why why, const void __user *ptr);

/* Before anything else is done to a queue. */
static inline void vhost_ring_mirror_init(struct vhost_virtqueue *vq)
{
	vq->mirror = NULL;
}

/*
 * The ring's address, translation or size may have changed: no access goes
 * through a window before the next vhost_ring_mirror_want(). Windows stay open,
 * because it may well ask for the same ones. The log is at no such address.
 */
static inline void vhost_ring_mirror_reset(struct vhost_virtqueue *vq)
{
	struct vhost_ring_mirror *mirror = vq->mirror;
	int type;

	if (!mirror)
		return;
	for (type = 0; type < VHOST_NUM_ADDRS; type++) {
		mirror->part[type].use = NULL;
		mirror->part[type].why = VHOST_RING_RESET;
	}
}

/**
 * vhost_ring_mirror_want_log - say whether writes are logged
 * @vq: the queue
 *
 * Called before each run of a queue, like vhost_ring_mirror_want(), and with
 * the same effect.
 *
 * Context: under vq->mutex, by somebody on the owner's mm.
 */
static inline void vhost_ring_mirror_want_log(struct vhost_virtqueue *vq)
{
	bool logging = vq->log_used || vhost_has_feature(vq, VHOST_F_LOG_ALL);

	if (unlikely(logging ||
		     (vq->mirror &&
		      vq->mirror->part[VHOST_RING_LOG].want.size)))
		__vhost_ring_mirror_want_log(vq, logging);
}

/* The window to go through, or NULL. Under vq->mutex. */
static __always_inline struct mmu_mirror_window *
vhost_ring_window(struct vhost_virtqueue *vq, int type)
{
	if (!vq->mirror || !READ_ONCE(vhost_ring_mirror_on) ||
	    unlikely(vq->mirror->part[type].skip))
		return NULL;
	return vq->mirror->part[type].use;
}

static __always_inline unsigned long
vhost_ring_offset(struct vhost_virtqueue *vq, enum vhost_uaddr_type type,
		  const void __user *ptr)
{
	unsigned long base;

	if (type == VHOST_ADDR_DESC)
		base = (unsigned long)vq->desc;
	else if (type == VHOST_ADDR_AVAIL)
		base = (unsigned long)vq->avail;
	else
		base = (unsigned long)vq->used;
	return (unsigned long)ptr - base;
}

DECLARE_TRACEPOINT(vhost_ring_fallback);

/* Count an access without a window. The reader of the counts holds no lock. */
static __always_inline bool
vhost_ring_unmirrored(struct vhost_virtqueue *vq, int type,
		      const void __user *ptr)
{
	struct vhost_ring_part *part;
	enum vhost_ring_why why;
	unsigned long *count;

	if (unlikely(!vq->mirror))
		return false;
	part = &vq->mirror->part[type];
	why = part->why;
	if (part->skip) {
		part->skip--;
		why = part->missed;
	}
	count = &part->fallback[why];
	WRITE_ONCE(*count, *count + 1);
	if (tracepoint_enabled(vhost_ring_fallback))
		vhost_ring_trace(vq, type, why, ptr);
	return false;
}

/* Count an access with a window, which had the page of @ptr or not. */
static __always_inline bool
vhost_ring_count(struct vhost_virtqueue *vq, int type, const void __user *ptr,
		 bool mirrored)
{
	struct vhost_ring_part *part = &vq->mirror->part[type];

	if (likely(mirrored))
		WRITE_ONCE(part->mirrored, part->mirrored + 1);
	else
		vhost_ring_missed(vq, type, ptr);
	return mirrored;
}

/**
 * vhost_ring_get16 - read a field of a ring
 * @vq: the queue
 * @type: the ring part
 * @val: where to put it
 * @ptr: its address, as vhost.c knows it
 *
 * Like all of these, once and in one piece, and not ordered against anything:
 * vhost.c's own barriers do that, for uaccess as for this.
 *
 * Context: under vq->mutex.
 * Cost: a section, see mmu_mirror_enter(), and one increment.
 * Return: true if done; false: use uaccess.
 */
static __always_inline bool
vhost_ring_get16(struct vhost_virtqueue *vq, enum vhost_uaddr_type type,
		 __virtio16 *val, const __virtio16 __user *ptr)
{
	struct mmu_mirror_window *window = vhost_ring_window(vq, type);
	const __virtio16 *p;

	if (unlikely(!window))
		return vhost_ring_unmirrored(vq, type, ptr);
	mmu_mirror_enter(window->domain);
	p = mmu_mirror_window_ptr(window, vhost_ring_offset(vq, type, ptr),
				  sizeof(*p));
	if (likely(p))
		*val = READ_ONCE(*p);
	mmu_mirror_exit(window->domain);
	return vhost_ring_count(vq, type, ptr, p);
}

/**
 * vhost_ring_put16 - write a field of the used ring
 * @vq: the queue
 * @val: the value
 * @ptr: the field's address, as vhost.c knows it
 *
 * Context: under vq->mutex.
 * Return: true if done; false: use uaccess.
 */
static __always_inline bool
vhost_ring_put16(struct vhost_virtqueue *vq, __virtio16 val,
		 __virtio16 __user *ptr)
{
	enum vhost_uaddr_type type = VHOST_ADDR_USED;
	struct mmu_mirror_window *window = vhost_ring_window(vq, type);
	__virtio16 *p;

	if (unlikely(!window))
		return vhost_ring_unmirrored(vq, type, ptr);
	mmu_mirror_enter(window->domain);
	p = mmu_mirror_window_ptr(window, vhost_ring_offset(vq, type, ptr),
				  sizeof(*p));
	if (likely(p))
		WRITE_ONCE(*p, val);
	mmu_mirror_exit(window->domain);
	return vhost_ring_count(vq, type, ptr, p);
}

static __always_inline void vhost_ring_copy_desc(struct vring_desc *to,
						 const struct vring_desc *from)
{
	to->addr = READ_ONCE(from->addr);
	to->len = READ_ONCE(from->len);
	to->flags = READ_ONCE(from->flags);
	to->next = READ_ONCE(from->next);
}

/**
 * vhost_ring_get_desc - read a descriptor
 * @vq: the queue
 * @desc: where to put it
 * @ptr: its address, as vhost.c knows it
 * @size: its size
 *
 * Each field is read once: the copy is what vhost checks and uses.
 *
 * Context: under vq->mutex.
 * Return: true if done; false: use uaccess.
 */
static __always_inline bool
vhost_ring_get_desc(struct vhost_virtqueue *vq, struct vring_desc *desc,
		    const void __user *ptr, unsigned int size)
{
	enum vhost_uaddr_type type = VHOST_ADDR_DESC;
	struct mmu_mirror_window *window = vhost_ring_window(vq, type);
	const struct vring_desc *p;

	if (unlikely(!window || size != sizeof(*desc)))
		return vhost_ring_unmirrored(vq, type, ptr);
	mmu_mirror_enter(window->domain);
	p = mmu_mirror_window_ptr(window, vhost_ring_offset(vq, type, ptr),
				  sizeof(*p));
	if (likely(p))
		vhost_ring_copy_desc(desc, p);
	mmu_mirror_exit(window->domain);
	return vhost_ring_count(vq, type, ptr, p);
}

/* The chain that begins with descriptor @i, as far as there is room and pages. */
static __always_inline unsigned int
vhost_ring_copy_chain(struct vhost_virtqueue *vq,
		      struct mmu_mirror_window *window, unsigned int i,
		      struct vring_desc *chain)
{
	unsigned int n = 0;

	while (i < vq->num) {
		const struct vring_desc *p =
			mmu_mirror_window_peek(window, i * sizeof(*p),
					       sizeof(*p));

		if (unlikely(!p))
			break;
		vhost_ring_copy_desc(&chain[n], p);
		i = vhost16_to_cpu(vq, chain[n].next);
		if (!(chain[n++].flags &
		      cpu_to_vhost16(vq, VRING_DESC_F_NEXT)) ||
		    n == VHOST_RING_CHAIN)
			break;
	}
	return n;
}

/**
 * vhost_ring_get_chain - read the next head and its descriptors
 * @vq: the queue, in whose available ring there is something new
 * @head: where to put the head
 * @chain: where to put up to %VHOST_RING_CHAIN descriptors, each the one that
 *	the one before names
 *
 * One section for what would take one each. It finds them in windows or is as if
 * it had not been called: an access that falls back does so alone, and is counted
 * and asks for a fill then. The section is as long as the constant says, whatever
 * the guest writes, and nothing of vhost.c's runs in it.
 *
 * Context: under vq->mutex.
 * Cost: a section, and three additions.
 * Return: descriptors read; 0: read the head and each of them alone.
 */
static __always_inline unsigned int
vhost_ring_get_chain(struct vhost_virtqueue *vq, __virtio16 *head,
		     struct vring_desc *chain)
{
	struct mmu_mirror_window *avail =
		vhost_ring_window(vq, VHOST_ADDR_AVAIL);
	struct mmu_mirror_window *desc = vhost_ring_window(vq, VHOST_ADDR_DESC);
	unsigned int slot = vq->last_avail_idx & (vq->num - 1);
	struct vhost_ring_part *part;
	const __virtio16 *p;
	unsigned int n = 0;

	if (unlikely(!avail || !desc))
		return 0;
	/* The windows of a queue have one domain. */
	mmu_mirror_enter(avail->domain);
	p = mmu_mirror_window_peek(avail, offsetof(struct vring_avail,
						   ring[slot]), sizeof(*p));
	if (likely(p)) {
		*head = READ_ONCE(*p);
		n = vhost_ring_copy_chain(vq, desc, vhost16_to_cpu(vq, *head),
					  chain);
	}
	mmu_mirror_exit(avail->domain);
	if (unlikely(!n))
		return 0;

	part = vq->mirror->part;
	WRITE_ONCE(part[VHOST_ADDR_AVAIL].mirrored,
		   part[VHOST_ADDR_AVAIL].mirrored + 1);
	WRITE_ONCE(part[VHOST_ADDR_DESC].mirrored,
		   part[VHOST_ADDR_DESC].mirrored + n);
	WRITE_ONCE(part[VHOST_ADDR_DESC].shared,
		   part[VHOST_ADDR_DESC].shared + n);
	return n;
}

/**
 * vhost_ring_put_used - write used elements
 * @vq: the queue
 * @ptr: the first one's address, as vhost.c knows it
 * @from: the elements
 * @size: bytes of them
 *
 * The guest looks at none of them before the used index says so, so they may
 * be written in halves: an element can straddle two pages, and its halves,
 * which are aligned, cannot. Where a later page is absent, uaccess writes the
 * earlier elements once more.
 *
 * Context: under vq->mutex.
 * Return: true if all of them were written; false: use uaccess.
 */
static __always_inline bool
vhost_ring_put_used(struct vhost_virtqueue *vq, const void __user *ptr,
		    const void *from, unsigned int size)
{
	enum vhost_uaddr_type type = VHOST_ADDR_USED;
	struct mmu_mirror_window *window = vhost_ring_window(vq, type);
	unsigned long offset = vhost_ring_offset(vq, type, ptr);
	const u32 *half = from;

	if (unlikely(!window || size % sizeof(*half)))
		return vhost_ring_unmirrored(vq, type, ptr);
	mmu_mirror_enter(window->domain);
	while (size) {
		unsigned int room = PAGE_SIZE -
				    offset_in_page(window->uaddr + offset);
		unsigned int n = min(size, room);
		u32 *p = mmu_mirror_window_ptr(window, offset, n);

		if (unlikely(!p))
			break;
		offset += n;
		size -= n;
		for (; n; n -= sizeof(*half))
			WRITE_ONCE(*p++, *half++);
	}
	mmu_mirror_exit(window->domain);
	return vhost_ring_count(vq, type, ptr, !size);
}

/**
 * vhost_ring_set_bit - set a bit of the dirty log
 * @vq: the queue
 * @nr: the bit, of the byte at @ptr
 * @ptr: its address
 *
 * The window is looked up by address, so it does not matter whether the log
 * has been moved since it was opened: a bit of the log of today that is not in
 * it goes through uaccess, and the log of yesterday is never asked for.
 *
 * The collector of the log takes bits out meanwhile, so this sets the bit
 * atomically; and in the whole word as in vhost.c, so that big-endian hosts agree.
 *
 * Context: under vq->mutex. The caller has ordered the logged write before.
 * Return: true if done; false: use uaccess.
 */
static __always_inline bool
vhost_ring_set_bit(struct vhost_virtqueue *vq, int nr, const void __user *ptr)
{
	struct mmu_mirror_window *window =
		vhost_ring_window(vq, VHOST_RING_LOG);
	void *p;

	if (unlikely(!window))
		return vhost_ring_unmirrored(vq, VHOST_RING_LOG, ptr);
	mmu_mirror_enter(window->domain);
	/* Below the window it wraps, to far beyond it. */
	p = mmu_mirror_window_ptr(window, (unsigned long)ptr - window->uaddr,
				  1);
	if (likely(p))
		set_bit(nr + offset_in_page(p) * BITS_PER_BYTE,
			p - offset_in_page(p));
	mmu_mirror_exit(window->domain);
	return vhost_ring_count(vq, VHOST_RING_LOG, ptr, p);
}

#else /* !CONFIG_VHOST_RING_MIRROR */

static inline void vhost_ring_mirror_want(struct vhost_virtqueue *vq, int type,
					  const void __user *uaddr, size_t size)
{
}

static inline void vhost_ring_mirror_want_log(struct vhost_virtqueue *vq)
{
}

static inline void vhost_ring_mirror_cleanup(struct vhost_dev *dev)
{
}

static inline void vhost_ring_mirror_init(struct vhost_virtqueue *vq)
{
}

static inline void vhost_ring_mirror_reset(struct vhost_virtqueue *vq)
{
}

static inline bool vhost_ring_get16(struct vhost_virtqueue *vq,
				    enum vhost_uaddr_type type,
				    __virtio16 *val,
				    const __virtio16 __user *ptr)
{
	return false;
}

static inline bool vhost_ring_put16(struct vhost_virtqueue *vq, __virtio16 val,
				    __virtio16 __user *ptr)
{
	return false;
}

static inline bool vhost_ring_get_desc(struct vhost_virtqueue *vq,
				       struct vring_desc *desc,
				       const void __user *ptr,
				       unsigned int size)
{
	return false;
}

static inline unsigned int vhost_ring_get_chain(struct vhost_virtqueue *vq,
						__virtio16 *head,
						struct vring_desc *chain)
{
	return 0;
}

static inline bool vhost_ring_put_used(struct vhost_virtqueue *vq,
				       const void __user *ptr,
				       const void *from, unsigned int size)
{
	return false;
}

static inline bool vhost_ring_set_bit(struct vhost_virtqueue *vq, int nr,
				      const void __user *ptr)
{
	return false;
}

#endif /* CONFIG_VHOST_RING_MIRROR */

#endif /* _VHOST_RING_MIRROR_H */
